//! Every error a vendor is known to answer with, as one table per dialect, and the bodies and
//! headers it comes in.

use serde_json::json;

use super::dialect::Dialect;

/// One way in which a vendor says no.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// As scenarios call it.
    pub(super) name: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// The vendor's own type; Ollama has none.
    kind: &'static str,
    /// What it says; `{model}` and `{wait}` are filled in.
    message: &'static str,
    /// Whether the answer carries headers that say when to come back.
    pub(super) says_when: bool,
}

const fn shape(name: &'static str, status: u16, kind: &'static str, message: &'static str) -> Shape {
    Shape { name, status, kind, message, says_when: false }
}

const OLLAMA: &[Shape] = &[
    shape("bad_request", 400, "", "invalid request"),
    shape("not_found", 404, "", "model '{model}' not found, try pulling it first"),
    shape("cancelled", 499, "", "request cancelled"),
    shape("busy", 503, "", "server busy, please try again. maximum pending requests exceeded"),
    shape("cloud_limit", 429, "", "you have reached your hourly usage limit, please try again later"),
    shape("bad_gateway", 502, "", "upstream model provider could not be reached"),
    shape("server_error", 500, "", "llama runner process has terminated: signal: killed"),
    // The status is sent before the model fails, so it says 200.
    shape("error_line", 200, "", "an error was encountered while running the model: unexpected EOF"),
];

const KIMI: &[Shape] = &[
    shape("invalid_request", 400, "invalid_request_error", "Invalid request: the request body is not valid"),
    shape(
        "content_filter",
        400,
        "content_filter",
        "The request was rejected because it was considered high risk",
    ),
    shape("invalid_authentication", 401, "invalid_authentication_error", "Invalid Authentication"),
    shape("incorrect_api_key", 401, "incorrect_api_key_error", "Incorrect API key provided"),
    shape("permission_denied", 403, "permission_denied_error", "The API you are accessing is not open"),
    shape(
        "forbidden_quota",
        403,
        "exceeded_current_quota_error",
        "Your account org-51mulated<ak-51mulated> has exceeded its quota",
    ),
    shape("model_gone", 404, "resource_not_found_error", "Not found the model {model} or Permission denied"),
    shape(
        "rate_limit",
        429,
        "rate_limit_reached_error",
        "Your account org-51mulated<ak-51mulated> request reached organization max RPM: 200, please try again \
         after {wait} seconds",
    ),
    shape(
        "engine_overloaded",
        429,
        "engine_overloaded_error",
        "The engine is currently overloaded, please try again later",
    ),
    shape(
        "quota",
        429,
        "exceeded_current_quota_error",
        "Your account org-51mulated<ak-51mulated> is suspended, please check your plan and billing details",
    ),
    shape("server_error", 500, "server_error", "Failed to get files: internal server error"),
    shape("unexpected_output", 500, "unexpected_output", "Invalid state transition"),
];

const CLAUDE: &[Shape] = &[
    shape("invalid_request", 400, "invalid_request_error", "messages: the request is not valid"),
    shape(
        "spend_limit",
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on the first of the month.",
    ),
    shape("authentication", 401, "authentication_error", "invalid x-api-key"),
    shape("billing", 402, "billing_error", "Your credit balance is too low to access the API"),
    shape(
        "permission",
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource",
    ),
    shape("not_found", 404, "not_found_error", "model: {model}"),
    shape("conflict", 409, "conflict_error", "The request conflicts with the current state of the resource"),
    shape("too_large", 413, "request_too_large", "Request exceeds the maximum size"),
    Shape {
        says_when: true,
        ..shape(
            "rate_limit",
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50 requests per minute",
        )
    },
    shape(
        "spend_cap",
        429,
        "rate_limit_error",
        "This request would exceed your organization's monthly spend limit",
    ),
    shape("api_error", 500, "api_error", "Internal server error"),
    shape("timeout", 504, "timeout_error", "The request timed out"),
    shape("overloaded", 529, "overloaded_error", "Overloaded"),
];

impl Shape {
    /// The shape of that name in `dialect`.
    pub(super) fn named(dialect: Dialect, name: &str) -> Option<&'static Shape> {
        Shape::all(dialect).iter().find(|shape| shape.name == name)
    }

    /// Every shape of `dialect`.
    pub(super) fn all(dialect: Dialect) -> &'static [Shape] {
        match dialect {
            Dialect::Ollama => OLLAMA,
            Dialect::Kimi => KIMI,
            Dialect::Claude => CLAUDE,
        }
    }

    /// A request that cannot be understood.
    pub(super) fn invalid(dialect: Dialect) -> &'static Shape {
        &Shape::all(dialect)[0]
    }

    /// No key, or an empty one. Ollama asks for none.
    pub(super) fn no_key(dialect: Dialect) -> &'static Shape {
        &Shape::all(dialect)[if dialect == Dialect::Ollama { 0 } else { 2 }]
    }

    /// A model that does not exist.
    pub(super) fn no_model(dialect: Dialect) -> &'static Shape {
        Shape::constant(dialect, ["not_found", "model_gone", "not_found"])
    }

    /// More calls at once than allowed.
    pub(super) fn crowded(dialect: Dialect) -> &'static Shape {
        Shape::constant(dialect, ["busy", "rate_limit", "rate_limit"])
    }

    /// An account without money. Ollama has no account; its cloud models have a limit.
    pub(super) fn dry(dialect: Dialect) -> &'static Shape {
        Shape::constant(dialect, ["cloud_limit", "quota", "billing"])
    }

    /// A body larger than is read.
    pub(super) fn too_large(dialect: Dialect) -> &'static Shape {
        Shape::constant(dialect, ["bad_request", "invalid_request", "too_large"])
    }

    fn constant(dialect: Dialect, names: [&'static str; 3]) -> &'static Shape {
        Shape::named(dialect, names[dialect.index()]).unwrap_or(Shape::invalid(dialect))
    }

    /// What it says about `model` and a wait of `wait` seconds.
    pub(super) fn message(&self, model: &str, wait: u32) -> String {
        self.message.replace("{model}", model).replace("{wait}", &wait.to_string())
    }

    /// The body, saying `message`.
    pub(super) fn body(&self, dialect: Dialect, message: &str, request_id: &str) -> Vec<u8> {
        let body = match dialect {
            Dialect::Ollama => json!({ "error": message }),
            Dialect::Kimi => json!({ "error": { "message": message, "type": self.kind } }),
            Dialect::Claude => json!({
                "type": "error",
                "error": { "type": self.kind, "message": message },
                "request_id": request_id,
            }),
        };
        body.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_shapes_are_the_right_ones() {
        let statuses = |pick: fn(Dialect) -> &'static Shape| Dialect::ALL.map(|dialect| pick(dialect).status);
        assert_eq!(statuses(Shape::invalid), [400, 400, 400]);
        assert_eq!(statuses(Shape::no_key)[1..], [401, 401]);
        assert_eq!(statuses(Shape::no_model), [404, 404, 404]);
        assert_eq!(statuses(Shape::crowded), [503, 429, 429]);
        assert_eq!(statuses(Shape::dry), [429, 429, 402]);
        assert_eq!(statuses(Shape::too_large), [400, 400, 413]);
    }

    #[test]
    fn names_are_unique_within_a_dialect() {
        for dialect in Dialect::ALL {
            let mut names: Vec<_> = Shape::all(dialect).iter().map(|shape| shape.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), Shape::all(dialect).len());
        }
    }
}
