//! What kind of failure a vendor's error is: by the error's own type first, since one status
//! stands for several kinds, then by its words, then by the status.

use empire_actors::failure::FailureKind;
use serde_json::Value;

/// What a vendor said about an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The error's type and code, as far as there are any.
    pub(super) types: Vec<String>,
    /// Its message.
    pub(super) message: String,
}

impl Said {
    /// What the body of an error answer says; a body that is no JSON speaks for itself.
    pub(super) fn in_body(body: &str) -> Said {
        let value = serde_json::from_str::<Value>(body).ok();
        value.as_ref().and_then(Said::in_value).unwrap_or_else(|| {
            let message = if body.trim().is_empty() { "no explanation" } else { body };
            Said { types: Vec::new(), message: message.to_owned() }
        })
    }

    /// The error in a JSON body: `{"error": {"type", "code", "message"}}` or `{"error": "…"}`.
    pub(super) fn in_value(value: &Value) -> Option<Said> {
        match value.get("error")? {
            Value::String(message) => Some(Said { types: Vec::new(), message: message.clone() }),
            Value::Object(error) => {
                let text = |field: &str| error.get(field).and_then(Value::as_str).map(str::to_owned);
                let types: Vec<String> = [text("code"), text("type")].into_iter().flatten().collect();
                let message = text("message").unwrap_or_else(|| types.join(" "));
                Some(Said { types, message })
            }
            _ => None,
        }
    }
}

/// The kind of an error that came under `status`; `waits` is whether the vendor named a time
/// after which to try again.
pub(super) fn kind(status: u16, said: &Said, waits: bool) -> FailureKind {
    let words = said.message.to_lowercase();
    match said.types.iter().find_map(|name| by_type(name)) {
        Some(FailureKind::Forbidden) if speaks_of_quota(&words) => FailureKind::AccountDry,
        // A limit that no waiting helps against is a spend cap.
        Some(FailureKind::RateLimited) if !waits && speaks_of_money(&words) => FailureKind::AccountDry,
        Some(kind) => kind,
        None => by_status(status, &words, waits),
    }
}

/// What the vendors' and common servers' error types mean. `invalid_request_error` is not among
/// them: it stands for much, so words and status decide.
fn by_type(name: &str) -> Option<FailureKind> {
    Some(match name {
        "exceeded_current_quota_error" | "insufficient_quota" | "insufficient_balance" | "billing_error" => {
            FailureKind::AccountDry
        }
        "rate_limit_reached_error" | "rate_limit_error" | "rate_limit_exceeded" => FailureKind::RateLimited,
        "engine_overloaded_error" | "overloaded_error" => FailureKind::Overloaded,
        "content_filter" | "content_policy_violation" => FailureKind::ContentFiltered,
        "context_length_exceeded" | "exceed_context_size_error" | "request_too_large" => {
            FailureKind::TooLarge
        }
        "invalid_authentication_error"
        | "incorrect_api_key_error"
        | "invalid_api_key"
        | "authentication_error" => FailureKind::Unauthorised,
        "permission_denied_error" | "permission_error" => FailureKind::Forbidden,
        "resource_not_found_error" | "not_found_error" | "model_not_found" => FailureKind::ModelGone,
        "server_error" | "unexpected_output" | "api_error" | "timeout_error" | "conflict_error" => {
            FailureKind::ServerError
        }
        _ => return None,
    })
}

fn by_status(status: u16, words: &str, waits: bool) -> FailureKind {
    match status {
        400 | 413 | 422 if speaks_of_size(words) => FailureKind::TooLarge,
        400 | 422 if speaks_of_money(words) => FailureKind::AccountDry,
        401 => FailureKind::Unauthorised,
        402 => FailureKind::AccountDry,
        403 if speaks_of_quota(words) => FailureKind::AccountDry,
        403 => FailureKind::Forbidden,
        404 | 410 => FailureKind::ModelGone,
        413 => FailureKind::TooLarge,
        429 if !waits && speaks_of_money(words) => FailureKind::AccountDry,
        429 => FailureKind::RateLimited,
        503 | 529 => FailureKind::Overloaded,
        // 200: an error that came after all seemed well. 499: cancelled on the server's side.
        200..300 | 408 | 409 | 425 | 499.. => FailureKind::ServerError,
        _ => FailureKind::InvalidRequest,
    }
}

fn speaks_of(words: &str, any: &[&str]) -> bool {
    any.iter().any(|phrase| words.contains(phrase))
}

fn speaks_of_money(words: &str) -> bool {
    speaks_of(
        words,
        &[
            "credit balance",
            "insufficient balance",
            "spend limit",
            "spending limit",
            "spend cap",
            "usage limit",
        ],
    )
}

fn speaks_of_quota(words: &str) -> bool {
    speaks_of_money(words) || speaks_of(words, &["quota", "suspended", "recharge"])
}

fn speaks_of_size(words: &str) -> bool {
    let sizes = [
        "context length",
        "context size",
        "context window",
        "context limit",
        "maximum context",
        "token limit",
        "prompt is too long",
        "prompt too long",
        "too many tokens",
    ];
    speaks_of(words, &sizes)
}
