//! What a server sent back, before anyone understands it.

use empire_actors::failure::{Billing, CallError, FailureKind};
use empire_actors::money::Usage;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::classify::{self, Said};
use super::{redact, wait};

/// An HTTP answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// Who answered, if that is known.
    pub(super) peer: Option<std::net::SocketAddr>,
}

impl Answer {
    /// The body of a successful answer as `T`.
    ///
    /// # Errors
    /// The vendor's own error, wherever it put it: under an error status, in the body of a 200,
    /// or in an event of a stream that nobody asked for. Else that the body cannot be read.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        if !self.is_success() {
            return Err(self.refusal(&Said::in_body(&self.body)));
        }
        match serde_json::from_str::<T>(&self.body) {
            Ok(read) => Ok(read),
            Err(problem) => Err(match self.late_error() {
                Some(said) => self.refusal(&said),
                None => self.unreadable(&problem.to_string()),
            }),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// An error that came after the status had said that all was well.
    fn late_error(&self) -> Option<Said> {
        let of_value = |text: &str| Said::in_value(&serde_json::from_str::<Value>(text).ok()?);
        of_value(&self.body)
            .or_else(|| self.body.lines().filter_map(|line| line.strip_prefix("data:")).find_map(of_value))
    }

    /// The vendor said no.
    pub(super) fn refusal(&self, said: &Said) -> CallError {
        let retry_after = wait::asked(&self.headers, &said.message);
        CallError {
            kind: classify::kind(self.status, said, retry_after.is_some()),
            status: Some(self.status),
            message: redact::message(&said.message),
            retry_after,
            // Vendors do not bill what they refuse; what broke off under way they may.
            billing: if self.is_success() { Billing::Reservation } else { Billing::Nothing },
        }
    }

    /// The answer says nothing that can be understood, and may be billed.
    pub(super) fn unreadable(&self, problem: &str) -> CallError {
        CallError {
            kind: FailureKind::Malformed,
            status: Some(self.status),
            message: redact::message(problem),
            retry_after: None,
            billing: Billing::Reservation,
        }
    }
}

/// Tokens as counted, each figure within what a call can possibly use, so that sums cannot
/// overflow whatever a server claims.
pub(super) fn bounded(usage: Usage) -> Usage {
    let most = u64::from(u32::MAX);
    Usage {
        input: usage.input.min(most),
        cached_input: usage.cached_input.min(most),
        cache_write: usage.cache_write.min(most),
        output: usage.output.min(most),
    }
}
