//! What people tell nodes of the tree.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person tells a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// A new incarnation, which does not count as a failure. With a time, what waits is done
    /// first, as far as that time goes; without, the old one is killed.
    Restart {
        /// Milliseconds for what waits.
        drain_ms: Option<u64>,
    },
    /// It holds back its messages; it can still be seen and stopped.
    Pause,
    /// It goes on after a pause.
    Resume,
    /// It takes nothing new, does what waits within this time, and stays down.
    Drain {
        /// Milliseconds for what waits.
        within_ms: u64,
    },
    /// It is stopped and stays down.
    Quarantine,
    /// It is started again after a drain, a quarantine or a pause for failures.
    Release,
    /// It is killed at once; its policy says what follows.
    Kill,
    /// A kill that counts as a failure, for drills.
    Crash,
    /// So many workers, permits or agents at once, whatever the node has.
    Scale {
        /// How many.
        to: u32,
    },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Restart { drain_ms: None } => f.write_str("restart now"),
            Order::Restart { drain_ms: Some(ms) } => write!(f, "restart, drain {} s", *ms as f64 / 1_000.0),
            Order::Pause => f.write_str("pause"),
            Order::Resume => f.write_str("resume"),
            Order::Drain { within_ms } => write!(f, "drain within {} s", *within_ms as f64 / 1_000.0),
            Order::Quarantine => f.write_str("quarantine"),
            Order::Release => f.write_str("release"),
            Order::Kill => f.write_str("kill"),
            Order::Crash => f.write_str("crash"),
            Order::Scale { to } => write!(f, "scale to {to}"),
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum OrderRefused {
    /// Nothing has this path.
    #[error("there is no {path} in the tree: `empire tree` shows what there is")]
    NoSuchNode {
        /// What was asked for.
        path: String,
    },
    /// The node cannot do that, or not now.
    #[error("{path}: {why}")]
    NotNow {
        /// The node.
        path: String,
        /// Why.
        why: String,
    },
    /// Its supervisor is down.
    #[error("the supervisor of {path} is down: it is being restarted; try again")]
    Down {
        /// The node.
        path: String,
    },
}

impl OrderRefused {
    pub(crate) fn not_now(path: &str, why: impl Into<String>) -> OrderRefused {
        OrderRefused::NotNow { path: path.to_owned(), why: why.into() }
    }
}
