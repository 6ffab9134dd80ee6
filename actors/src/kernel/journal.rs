//! What supervisors decided and what people told them to do, in order, and in words.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Action, ChildExit, OnExhausted};
use crate::ports::UnixMillis;

/// Entries that are at hand without asking the store.
const AT_HAND: usize = 1_000;

/// One thing that happened to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When.
    pub at: UnixMillis,
    /// To which node.
    pub path: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It ended, and its supervisor decided.
    Exit(Decision),
    /// It runs again.
    Started {
        /// How often it was started.
        incarnation: u32,
    },
    /// A person told it to do something.
    Order {
        /// What, in a word.
        order: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What came of it.
        outcome: String,
    },
    /// A person changed its policy.
    Policy {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What it says now, as JSON; nothing if it was taken back.
        says: Option<String>,
        /// The change's number.
        version: u64,
    },
}

/// A supervisor's decision, with all that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// How the child ended.
    #[serde(flatten)]
    pub exit: ChildExit,
    /// What was done.
    #[serde(flatten)]
    pub action: Action,
    /// Restarts that counted before this one.
    pub in_window: u32,
    /// Restarts that the window allows.
    pub limit: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// The newest override in the policy that decided; 0 if there was none.
    pub policy: u64,
    /// What its policy says of failing too often.
    pub on_exhausted: OnExhausted,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Exit(decision) => decision.fmt(f),
            Event::Started { incarnation } => write!(f, "runs, incarnation {incarnation}"),
            Event::Order { order, by, reason, outcome } => {
                write!(f, "{by} said {order}")?;
                if !reason.is_empty() {
                    write!(f, " ({reason})")?;
                }
                write!(f, ": {outcome}")
            }
            Event::Policy { by, reason, says: Some(says), version } => {
                write!(f, "{by} set policy v{version} ({reason}): {says}")
            }
            Event::Policy { by, reason, says: None, version } => {
                write!(f, "{by} took the policy back as v{version} ({reason})")
            }
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = format_args!("{} s", self.window_ms as f64 / 1_000.0).to_string();
        match &self.exit {
            ChildExit::Normal => f.write_str("ended by itself")?,
            ChildExit::Failed(why) => {
                write!(
                    f,
                    "{} failure in {window}, limit {} ({why})",
                    ordinal(self.in_window + 1),
                    self.limit
                )?;
            }
            ChildExit::Stuck(why) => {
                write!(
                    f,
                    "stuck, {} failure in {window}, limit {} ({why})",
                    ordinal(self.in_window + 1),
                    self.limit
                )?;
            }
            ChildExit::Killed(by) => write!(f, "killed by {by}")?,
        }
        f.write_str(": ")?;
        match &self.action {
            Action::LetGo => f.write_str("let go")?,
            Action::Restart { delay } => write!(f, "restarted after {} ms", delay.as_millis())?,
            Action::Escalate => f.write_str("its supervisor gave up")?,
            Action::Quarantine => f.write_str("quarantined")?,
            Action::Pause { lasts } => write!(f, "left down for {} s", lasts.as_secs_f64())?,
        }
        match self.policy {
            0 => Ok(()),
            version => write!(f, ", policy v{version}"),
        }
    }
}

fn ordinal(n: u32) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// Where entries are kept beyond this process. Must return at once.
pub trait Chronicle: Send + Sync {
    /// Takes an entry.
    fn write(&self, entry: &Entry);
}

/// The latest entries, and the way to where all are kept.
pub struct Journal {
    at_hand: Mutex<VecDeque<Arc<Entry>>>,
    news: tokio::sync::broadcast::Sender<Arc<Entry>>,
    chronicle: Option<Arc<dyn Chronicle>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} at hand)", self.at_hand.lock().len())
    }
}

impl Journal {
    /// An empty journal. Without a chronicle only the latest entries are kept.
    #[must_use]
    pub fn new(chronicle: Option<Arc<dyn Chronicle>>) -> Journal {
        Journal { at_hand: Mutex::default(), news: tokio::sync::broadcast::Sender::new(AT_HAND), chronicle }
    }

    /// Enters what happened.
    pub fn enter(&self, entry: Entry) {
        if let Some(chronicle) = &self.chronicle {
            chronicle.write(&entry);
        }
        let entry = Arc::new(entry);
        {
            let mut at_hand = self.at_hand.lock();
            if at_hand.len() == AT_HAND {
                at_hand.pop_front();
            }
            at_hand.push_back(entry.clone());
        }
        // Nobody listens: then nobody misses it.
        let _ = self.news.send(entry);
    }

    /// The latest entries of `path` and all below it, oldest first; all, if it is empty.
    #[must_use]
    pub fn latest(&self, path: &str, most: usize) -> Vec<Arc<Entry>> {
        let at_hand = self.at_hand.lock();
        let mut found: Vec<Arc<Entry>> =
            at_hand.iter().rev().filter(|entry| is_below(&entry.path, path)).take(most).cloned().collect();
        found.reverse();
        found
    }

    /// Hears of every entry from now on. Who is too slow misses the oldest.
    #[must_use]
    pub fn follow(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>> {
        self.news.subscribe()
    }
}

/// Whether `path` is `above` or below it.
#[must_use]
pub fn is_below(path: &str, above: &str) -> bool {
    match path.strip_prefix(above) {
        Some(rest) => above.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn decision(in_window: u32, action: Action, policy: u64) -> Decision {
        Decision {
            exit: ChildExit::Failed("boom".into()),
            action,
            in_window,
            limit: 3,
            window_ms: 60_000,
            policy,
            on_exhausted: OnExhausted::Quarantine,
        }
    }

    #[test]
    fn a_decision_is_told_in_words() {
        let delay = Duration::from_millis(50);
        for (made, said) in [
            (
                decision(0, Action::Restart { delay }, 0),
                "1st failure in 60 s, limit 3 (boom): restarted after 50 ms",
            ),
            (
                decision(3, Action::Quarantine, 7),
                "4th failure in 60 s, limit 3 (boom): quarantined, policy v7",
            ),
            (
                Decision { exit: ChildExit::Killed("owner".into()), ..decision(1, Action::LetGo, 0) },
                "killed by owner: let go",
            ),
        ] {
            assert_eq!(made.to_string(), said);
            let event = Event::Exit(made);
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "{json}");
        }
    }

    #[test]
    fn the_latest_of_a_branch_are_at_hand() {
        let journal = Journal::new(None);
        for n in 0..2_000 {
            let path = ["/empire/gates/budget", "/empire/gates-else"][n % 2];
            let event = Event::Started { incarnation: u32::try_from(n).unwrap() };
            journal.enter(Entry { at: UnixMillis(0), path: path.into(), event });
        }
        let latest = journal.latest("/empire/gates", 2);
        let numbers = latest.iter().map(|entry| match entry.event {
            Event::Started { incarnation } => incarnation,
            _ => 0,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [1_996, 1_998]);
        assert_eq!(journal.latest("", 5_000).len(), AT_HAND);
    }
}
