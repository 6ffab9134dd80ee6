//! One HTTP exchange: what was sent once, what came back, or how it failed and what that costs.

use std::error::Error as _;
use std::time::Duration;

use empire_actors::failure::{Billing, CallError, FailureKind};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};

use super::answer::Answer;
use super::redact;
use crate::config::HumaneDuration;

/// No answer is read beyond this.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Sends `request`, which has `timeout` in all, and reads the whole answer. Should a refusal
/// repeat `key`, it is cut out at once.
pub(super) async fn exchange(
    request: RequestBuilder,
    timeout: Duration,
    key: Option<&SecretString>,
) -> Result<Answer, CallError> {
    let response = request.timeout(timeout).send().await.map_err(|error| failure(&error, timeout))?;
    let (status, peer) = (response.status(), response.remote_addr());
    let headers = response.headers().clone();
    let bytes = match body(response, timeout).await {
        Ok(bytes) => bytes,
        // The status alone says what a refusal is.
        Err(_) if !status.is_success() => Vec::new(),
        Err(error) => return Err(CallError { status: Some(status.as_u16()), ..error }),
    };
    let body = match String::from_utf8(bytes) {
        Ok(body) => body,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    let body = match key.map(ExposeSecret::expose_secret) {
        Some(key) if !status.is_success() && !key.is_empty() => body.replace(key, "…"),
        _ => body,
    };
    Ok(Answer { status: status.as_u16(), headers, body, peer })
}

async fn body(mut response: Response, timeout: Duration) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error, timeout))? {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            let message = format!("the answer is longer than {} MiB", MAX_BODY_BYTES >> 20);
            return Err(error(FailureKind::Malformed, &message, Billing::Reservation));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What a transport error means. Only what certainly never left costs nothing.
fn failure(problem: &reqwest::Error, timeout: Duration) -> CallError {
    if problem.is_connect() {
        return error(
            FailureKind::Unreachable,
            &format!("could not connect: {}", cause(problem)),
            Billing::Nothing,
        );
    }
    if problem.is_builder() {
        return error(
            FailureKind::InvalidRequest,
            &format!("cannot be sent: {}", cause(problem)),
            Billing::Nothing,
        );
    }
    if problem.is_timeout() {
        let message = format!("no whole answer within {}", HumaneDuration(timeout));
        return error(FailureKind::TimedOut, &message, Billing::Reservation);
    }
    error(FailureKind::Disconnected, &cause(problem), Billing::Reservation)
}

fn error(kind: FailureKind, message: &str, billing: Billing) -> CallError {
    CallError { kind, status: None, message: redact::message(message), retry_after: None, billing }
}

/// The innermost cause, which is the one that says something.
fn cause(problem: &reqwest::Error) -> String {
    let mut cause = problem.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the connection failed".to_owned(), ToString::to_string)
}
