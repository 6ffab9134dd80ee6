//! How a model call can fail, and what to do about each kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kinds of failure, named for what the caller can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It was held back for too long after it was let go, and may not be sent any more.
    NotSent,
    /// No connection could be made.
    Unreachable,
    /// Sent, and no answer within the time-out.
    TimedOut,
    /// Sent, and the connection broke before the whole answer had come.
    Disconnected,
    /// The provider's rate limit (not its quota).
    RateLimited,
    /// The provider has too much to do.
    Overloaded,
    /// The provider's own error.
    ServerError,
    /// The answer could not be read.
    Malformed,
    /// The provider refuses this request as it stands.
    InvalidRequest,
    /// The request or its answer does not fit the model.
    TooLarge,
    /// The content was refused.
    ContentFiltered,
    /// The key is missing, wrong or revoked.
    Unauthorised,
    /// The account has no money or its quota is used up.
    AccountDry,
    /// The key may not use this.
    Forbidden,
    /// The model does not exist (any more), or is not pulled.
    ModelGone,
}

/// What the caller of a failed call does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// The same request will fail anywhere.
    Never,
    /// At once, the same model.
    Now,
    /// The same model, after waiting.
    After,
    /// The next model of the route.
    OtherModel,
}

impl FailureKind {
    /// What to do next.
    #[must_use]
    pub fn retry(self) -> RetryClass {
        match self {
            FailureKind::NotSent | FailureKind::Disconnected => RetryClass::Now,
            FailureKind::TimedOut
            | FailureKind::RateLimited
            | FailureKind::Overloaded
            | FailureKind::ServerError
            | FailureKind::Malformed
            | FailureKind::Unreachable => RetryClass::After,
            FailureKind::InvalidRequest
            | FailureKind::TooLarge
            | FailureKind::ContentFiltered
            | FailureKind::Unauthorised
            | FailureKind::AccountDry
            | FailureKind::Forbidden
            | FailureKind::ModelGone => RetryClass::OtherModel,
        }
    }

    /// Whether every further call to this provider would fail the same way until a person acts:
    /// such a failure trips the provider for everybody.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            FailureKind::Unauthorised
                | FailureKind::AccountDry
                | FailureKind::Forbidden
                | FailureKind::ModelGone
        )
    }

    /// A few words for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            FailureKind::NotSent => "not sent",
            FailureKind::Unreachable => "unreachable",
            FailureKind::TimedOut => "timed out",
            FailureKind::Disconnected => "connection lost",
            FailureKind::RateLimited => "rate limited",
            FailureKind::Overloaded => "overloaded",
            FailureKind::ServerError => "server error",
            FailureKind::Malformed => "unreadable answer",
            FailureKind::InvalidRequest => "request refused",
            FailureKind::TooLarge => "too large",
            FailureKind::ContentFiltered => "content refused",
            FailureKind::Unauthorised => "key refused",
            FailureKind::AccountDry => "account dry",
            FailureKind::Forbidden => "not permitted",
            FailureKind::ModelGone => "model gone",
        }
    }
}

/// What a failed call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// It never left, or the vendor bills no such failure.
    Nothing,
    /// It was sent and may be billed: it stays billed at its reservation.
    Reservation,
}

/// One failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", kind.words(), status.map(|s| format!(" (HTTP {s})")).unwrap_or_default())]
pub struct CallError {
    /// What kind.
    pub kind: FailureKind,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// What the provider said: short, with keys and account ids cut out.
    pub message: String,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// What it costs.
    pub billing: Billing,
}
