//! Alerts: what somebody should look at, told once, told again while it lasts, and told when it is
//! over. Pure: callers say what time it is and what they see; [`Board`] decides what is told, and
//! [`watch`] when a reading is worth it. What delivers it is a [`Deliver`].

mod board;
pub mod watch;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::ports::UnixMillis;

pub use board::{Board, Pace};

/// Bytes of a subject and of a message that are kept.
const SUBJECT_BYTES: usize = 120;
const MESSAGE_BYTES: usize = 400;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// It will get worse, or costs something.
    Warning,
    /// Somebody has to act.
    Critical,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// CPU, memory or another reading of the machine stays high.
    Machine,
    /// A disk is nearly full.
    Disk,
    /// Too much waits to be worked.
    Queue,
    /// The store cannot be written or read.
    Store,
    /// A provider cannot be reached, or takes no calls.
    Provider,
    /// A threshold of a cap was passed.
    Budget,
    /// An actor failed more often than its policy allows.
    Actor,
    /// Somebody tries to get in.
    Logins,
    /// A command that nobody should give.
    Command,
    /// Something wanted to go where nothing was configured.
    Destination,
    /// A secret was kept out of the log, which it should not have come near to.
    Secret,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [AlertKind; 11] = [
        AlertKind::Machine,
        AlertKind::Disk,
        AlertKind::Queue,
        AlertKind::Store,
        AlertKind::Provider,
        AlertKind::Budget,
        AlertKind::Actor,
        AlertKind::Logins,
        AlertKind::Command,
        AlertKind::Destination,
        AlertKind::Secret,
    ];

    /// In a word, as stored and shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AlertKind::Machine => "machine",
            AlertKind::Disk => "disk",
            AlertKind::Queue => "queue",
            AlertKind::Store => "store",
            AlertKind::Provider => "provider",
            AlertKind::Budget => "budget",
            AlertKind::Actor => "actor",
            AlertKind::Logins => "logins",
            AlertKind::Command => "command",
            AlertKind::Destination => "destination",
            AlertKind::Secret => "secret",
        }
    }

    /// Whether it is an event, which nobody sees the end of: it is over when it has not come again for
    /// a while. The others are states, and over when somebody sees that.
    #[must_use]
    pub fn is_event(self) -> bool {
        matches!(
            self,
            AlertKind::Budget
                | AlertKind::Actor
                | AlertKind::Logins
                | AlertKind::Command
                | AlertKind::Destination
                | AlertKind::Secret
        )
    }
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// In a word, as stored and shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A word that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is none of {known}")]
pub struct UnknownWord {
    given: String,
    known: String,
}

macro_rules! read_word {
    ($($word:ty),*) => {$(
        impl FromStr for $word {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<$word, UnknownWord> {
                <$word>::ALL.into_iter().find(|known| known.word() == text).ok_or_else(|| UnknownWord {
                    given: text.chars().take(40).collect(),
                    known: <$word>::ALL.map(<$word>::word).join(", "),
                })
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    )*};
}
read_word!(AlertKind, Severity);

/// What is seen, by whoever sees it. Neither part may hold what a prompt, an answer or a vendor said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// What it is about.
    pub kind: AlertKind,
    /// Of what: a provider, a disk, an actor. With the kind it is what makes two signs one alert.
    pub subject: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// In words.
    pub message: String,
}

impl Sign {
    /// A sign; what is too long is cut.
    #[must_use]
    pub fn new(kind: AlertKind, subject: &str, severity: Severity, message: impl Into<String>) -> Sign {
        let mut message: String = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        let subject = subject[..subject.floor_char_boundary(SUBJECT_BYTES)].into();
        Sign { kind, subject, severity, message }
    }
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// Of what.
    pub subject: Arc<str>,
    /// The most that it mattered since it came up.
    pub severity: Severity,
    /// In words, as seen last.
    pub message: String,
    /// When it came up.
    pub since: UnixMillis,
    /// When it was seen last.
    pub last_seen: UnixMillis,
    /// How often it was seen since it came up.
    pub count: u64,
    /// When it was told of last.
    pub told_at: Option<UnixMillis>,
    /// When it was over.
    pub recovered_at: Option<UnixMillis>,
    /// When somebody said that they know.
    pub acknowledged_at: Option<UnixMillis>,
}

impl Alert {
    /// Whether it is on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.recovered_at.is_none()
    }
}

/// Why an alert is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It came up.
    Raised,
    /// It matters more than before.
    Worse,
    /// It lasts.
    Lasts,
    /// It is over.
    Recovered,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Why.
    pub news: News,
    /// Of what.
    #[serde(flatten)]
    pub alert: Alert,
}

/// Where alerts are told: the log, a webhook; later mail and chat.
pub trait Deliver: Send + Sync {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// Tells of it. What fails is the deliverer's own to try again, within bounds; the error says why
    /// it gave up.
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>>;
}
