//! What went wrong with a request, as problem details (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use empire_actors::kernel::policies::PolicyError;
use empire_actors::kernel::tree::OrderRefused;
use empire_actors::ports::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind: `urn:empire:problem:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// The version that a policy has now, if another one was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, word: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:empire:problem:{word}"),
            title: word.replace('-', " "),
            status: status.as_u16(),
            detail: detail.into(),
            version: None,
        }
    }

    /// What was asked makes no sense.
    pub(super) fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// There is no such page.
    pub(super) fn no_page(method: &str, path: &str) -> Problem {
        let path: String = path.chars().take(200).collect();
        let detail = format!("there is no {method} {path}: /v1/openapi.json lists what there is");
        Problem::new(StatusCode::NOT_FOUND, "no-such-page", detail)
    }

    pub(super) fn method(method: &str, path: &str) -> Problem {
        let path: String = path.chars().take(200).collect();
        let detail = format!("{path} does not take {method}: /v1/openapi.json says what it takes");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    pub(super) fn too_large(most: usize) -> Problem {
        let detail = format!("the body is larger than {most} bytes, or did not come whole");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    pub(super) fn unauthorized() -> Problem {
        let detail = "show the token of the data folder's file control.token: `authorization: Bearer …`";
        Problem::new(StatusCode::UNAUTHORIZED, "token-refused", detail)
    }

    /// Refused whatever is shown.
    pub(super) fn forbidden(word: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, word, detail)
    }

    pub(super) fn not_found(word: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, word, detail)
    }

    /// Somebody changed it meanwhile.
    pub(super) fn conflict(path: &str, expected: u64, version: u64) -> Problem {
        let detail = format!(
            "the policy of {path} is v{version} by now, not v{expected}: look at it again, then change it"
        );
        Problem { version: Some(version), ..Problem::new(StatusCode::CONFLICT, "policy-changed", detail) }
    }

    pub(super) fn late(within: Duration) -> Problem {
        let detail = format!(
            "not done within {} s: it goes on, and `empire history` says what comes of it",
            within.as_secs_f64()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "not-done-yet", detail)
    }

    pub(super) fn slow(within: Duration) -> Problem {
        let detail = format!("the request did not come whole within {} s", within.as_secs_f64());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request-too-slow", detail)
    }

    pub(super) fn busy(what: &str) -> Problem {
        let detail = format!("too many {what} are under way at once: try again when some have ended");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl From<OrderRefused> for Problem {
    fn from(refused: OrderRefused) -> Problem {
        let (status, word) = match refused {
            OrderRefused::NoSuchNode { .. } => (StatusCode::NOT_FOUND, "no-such-node"),
            OrderRefused::NotNow { .. } => (StatusCode::CONFLICT, "not-now"),
            OrderRefused::Down { .. } => (StatusCode::SERVICE_UNAVAILABLE, "supervisor-down"),
        };
        Problem::new(status, word, refused.to_string())
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Problem {
        Problem::bad(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Problem::internal(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
