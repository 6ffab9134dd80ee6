//! What is heard of a provider's health, and what a breaker shows.

use std::time::Duration;

use serde::Serialize;

use crate::failure::FailureKind;
use crate::ports::UnixMillis;

/// Why nothing goes to a provider or model any more: until a person acts, or until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}: {message}{}", kind.words(), retry_at.map(|at| format!("; try again at {at}")).unwrap_or_default())]
pub struct Trip {
    /// What happened.
    pub kind: FailureKind,
    /// What the provider said.
    pub message: String,
    /// When it may work again; `None` if waiting does not help: a person has to act.
    pub retry_at: Option<UnixMillis>,
}

/// What a call told about its provider.
#[derive(Debug, Clone)]
pub enum Health {
    /// It answered.
    Good,
    /// Rate limited or overloaded: how, with the wait it named.
    Busy(FailureKind, Option<Duration>),
    /// No connection.
    Unreachable(String),
    /// The vendor failed: how, and what it said.
    Faulty(FailureKind, String),
    /// Nothing will work until a person acts.
    Broken(Trip),
    /// Says nothing about the provider.
    Neutral,
}

/// A breaker's state in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go.
    Closed,
    /// Nothing goes.
    Open,
    /// A probe may go, or is under way.
    HalfOpen,
    /// Calls go, a few more at a time.
    SlowStart,
    /// Nothing goes until a person acts or the moment named has come.
    Tripped,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [BreakerState; 5] = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
        BreakerState::SlowStart,
        BreakerState::Tripped,
    ];

    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
            BreakerState::SlowStart => "slow_start",
            BreakerState::Tripped => "tripped",
        }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakerReading {
    /// In a word.
    pub state: BreakerState,
    /// Seconds until a probe may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_for: Option<f64>,
    /// What closed it last, while it is not closed for good again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// Probes turned away in a row.
    pub closures_in_a_row: u32,
    /// Calls that may be in flight while it recovers.
    pub width: u32,
    /// Why it is tripped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tripped: Option<Trip>,
}
