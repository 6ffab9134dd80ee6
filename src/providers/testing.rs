//! What the tests of this module share.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::call::{Request, Standing, Turn};
use empire_actors::failure::CallError;
use empire_actors::level::Level;
use empire_actors::model::{Model, ProviderId, Structured, Thinking};
use empire_actors::money::Price;
use empire_actors::ports::Reply;
use empire_actors::schema::Schema;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::Answer;
use crate::config::Dialect;

/// A model with nothing configured but its limits.
pub(super) fn plain_model(id: &str) -> Model {
    Model {
        id: id.to_owned(),
        provider: ProviderId::from("p"),
        price: Some(Price::FREE),
        context: 8_192,
        max_output: 4_096,
        thinking: Thinking::VendorDefault,
        structured: Structured::PromptOnly,
        temperature: None,
        top_p: None,
        timeout: Duration::from_secs(5),
    }
}

/// A question, its answer and a second question.
pub(super) fn request(model: Model, schema: Option<Value>) -> Request {
    Request {
        job: "job-1".into(),
        item: 7,
        model: Arc::new(model),
        system: Some("Be brief.".to_owned()),
        turns: vec![Turn::user("Hello"), Turn::assistant("Hi"), Turn::user("Rate Acme")],
        schema: schema.map(|schema| Arc::new(Schema::new(schema))),
        max_tokens: 300,
        level: Level::P1,
        shared: None,
        standing: Standing::default(),
    }
}

/// A schema that every vendor takes whole.
pub(super) fn schema() -> Value {
    json!({"type": "object", "properties": {"fit": {"type": "integer"}}, "required": ["fit"], "additionalProperties": false})
}

/// The end of a prompt that holds [`schema`].
pub(super) const TAIL: &str = "\n\nAnswer with one JSON value only, no prose, no code fence, that fits this schema.\nJSON Schema:\n{\"type\":\"object\",\"properties\":{\"fit\":{\"type\":\"integer\"}},\"required\":[\"fit\"],\"additionalProperties\":false}";

/// What `dialect` makes of an answer.
pub(super) fn decoded(
    dialect: Dialect,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> Result<Reply, CallError> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    super::decode(dialect, &Answer { status, headers, body: body.to_owned(), peer: None })
}
