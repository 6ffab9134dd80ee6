//! Anthropic Messages.

use empire_actors::call::Request;
use empire_actors::failure::CallError;
use empire_actors::model::{Structured, Thinking};
use empire_actors::money::Usage;
use empire_actors::ports::{Finish, Reply};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, bounded};
use super::{prompt, schema};

/// Bytes of text that make a token, on average.
const BYTES_PER_TOKEN: u64 = 4;

/// The request as the Messages API reads it.
/// What the job's calls share is marked for the vendor's cache if it has `marked_from` tokens.
pub(super) fn encode(request: &Request, marked_from: Option<u32>) -> Value {
    let model = &request.model;
    let wanted = request.schema.as_deref();
    let taken =
        wanted.filter(|_| model.structured == Structured::Schema).and_then(|schema| schema::closed(schema));
    let in_prompt = wanted.filter(|_| !taken.as_ref().is_some_and(|closed| closed.whole));
    let mut body = json!({"model": model.id, "max_tokens": request.max_tokens});
    if let Some(system) = &request.system {
        body["system"] = json!(system);
    }
    body["messages"] = json!(prompt::messages(request, in_prompt));
    if let Some(bytes) = marked_from.and_then(|least| shared_bytes(request, least)) {
        mark(&mut body, bytes);
    }
    for (name, value) in [("temperature", model.temperature), ("top_p", model.top_p)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    match model.thinking {
        Thinking::VendorDefault => {}
        Thinking::Off => body["thinking"] = json!({"type": "disabled"}),
        Thinking::On => body["thinking"] = json!({"type": "adaptive"}),
    }
    if let Some(closed) = taken {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": closed.schema}});
    }
    body
}

/// How many bytes of the first turn the job's other calls begin with as well, behind the system
/// prompt they share; `None` if all of that has fewer than `least` tokens. Compared with what is
/// sent, after redaction.
fn shared_bytes(request: &Request, least: u32) -> Option<usize> {
    let shared = request.shared.as_ref()?;
    if request.system != shared.system {
        return None;
    }
    let first = &request.turns.first()?.text;
    let equal = first.bytes().zip(shared.prompt.bytes()).take_while(|(one, other)| one == other).count();
    let bytes = first.floor_char_boundary(equal);
    let in_all = (bytes + shared.system.as_ref().map_or(0, String::len)) as u64;
    (in_all / BYTES_PER_TOKEN >= u64::from(least)).then_some(bytes)
}

/// Marks the end of what is shared: so many bytes into the first turn, or the system prompt.
fn mark(body: &mut Value, bytes: usize) {
    let block = |text: &str| json!({"type": "text", "text": text});
    let marked = |text: &str| {
        let mut block = block(text);
        block["cache_control"] = json!({"type": "ephemeral"});
        block
    };
    let content = if bytes == 0 { &mut body["system"] } else { &mut body["messages"][0]["content"] };
    let Some(text) = content.as_str().map(str::to_owned) else { return };
    let (shared, own) = if bytes == 0 { (text.as_str(), "") } else { text.split_at(bytes) };
    let blocks = [marked(shared)].into_iter().chain((!own.is_empty()).then(|| block(own)));
    *content = blocks.collect();
}

#[derive(Deserialize)]
struct Message {
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Counted {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// What the answer says.
pub(super) fn decode(answer: &Answer) -> Result<Reply, CallError> {
    let message: Message = answer.read()?;
    let texts = message.content.into_iter().filter(|block| block.kind == "text").map(|block| block.text);
    let finish = match message.stop_reason.as_deref() {
        Some("refusal") => Finish::Refusal,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        _ => Finish::Stop,
    };
    let usage = message.usage.and_then(|counted| usage(&counted));
    Ok(Reply { text: prompt::without_thinking(texts.collect()), usage, finish })
}

/// The three input figures are disjoint: what was read from the cache, written to it, and the rest.
fn usage(counted: &Counted) -> Option<Usage> {
    Some(bounded(Usage {
        input: counted.input_tokens?,
        cached_input: counted.cache_read_input_tokens.unwrap_or(0),
        cache_write: counted.cache_creation_input_tokens.unwrap_or(0),
        output: counted.output_tokens?,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use empire_actors::call::{SharedPrefix, Turn};
    use empire_actors::failure::{Billing, FailureKind};

    use super::*;
    use crate::config::Dialect;
    use crate::providers::testing::{TAIL, decoded, plain_model, request, schema};

    #[test]
    fn a_request_says_what_is_configured_and_no_more() {
        let plain = json!({
            "model": "claude-sonnet-4-6",
            "max_tokens": 300,
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "Rate Acme"}
            ]
        });
        assert_eq!(encode(&request(plain_model("claude-sonnet-4-6"), None), None), plain);

        let mut model = plain_model("claude-sonnet-4-6");
        model.structured = Structured::Schema;
        model.thinking = Thinking::Off;
        let mut held = plain;
        held["thinking"] = json!({"type": "disabled"});
        held["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
        assert_eq!(encode(&request(model.clone(), Some(schema())), None), held);

        model.structured = Structured::JsonObject;
        let body = encode(&request(model, Some(schema())), None);
        assert_eq!(body.get("output_config"), None);
        assert_eq!(body["messages"][2]["content"], json!(format!("Rate Acme{TAIL}")));
    }

    #[test]
    fn what_the_vendor_cannot_hold_the_model_to_is_asked_for_in_the_prompt() {
        let mut model = plain_model("claude-sonnet-4-6");
        model.structured = Structured::Schema;
        let bounded = json!({"type": "object", "properties": {"fit": {"type": "integer", "maximum": 10}}});
        let body = encode(&request(model.clone(), Some(bounded.clone())), None);
        assert_eq!(
            body["output_config"]["format"]["schema"]["properties"]["fit"],
            json!({"type": "integer"})
        );
        assert!(body["messages"][2]["content"].as_str().unwrap().ends_with(&bounded.to_string()));
        let open = json!({"type": "object", "additionalProperties": true});
        let body = encode(&request(model, Some(open.clone())), None);
        assert_eq!(body.get("output_config"), None);
        assert!(body["messages"][2]["content"].as_str().unwrap().ends_with(&open.to_string()));
    }

    #[test]
    fn what_all_calls_share_is_marked_where_it_is_long_enough() {
        let mut request = request(plain_model("claude-sonnet-4-6"), None);
        let shared = |system: &str, prompt: &str| {
            Some(Arc::new(SharedPrefix { system: Some(system.to_owned()), prompt: prompt.to_owned() }))
        };
        request.turns = vec![Turn::user(format!("{} and Ä", "rules ".repeat(700)))];
        request.shared = shared("Be brief.", &format!("{} and Ö", "rules ".repeat(700)));
        let body = encode(&request, Some(1_024));
        let blocks = &body["messages"][0]["content"];
        assert_eq!(blocks[0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(blocks[0]["text"], json!(format!("{} and ", "rules ".repeat(700))));
        assert_eq!(blocks[1], json!({"type": "text", "text": "Ä"}));
        assert_eq!(body["system"], json!("Be brief."));

        let plain = encode(&request, None);
        assert_eq!(encode(&request, Some(1_100)), plain, "too short");
        request.shared = shared("Be long.", "rules");
        assert_eq!(encode(&request, Some(1)), plain, "another system prompt");
        request.system = Some("rules ".repeat(700));
        request.shared = shared(&"rules ".repeat(700), "");
        let body = encode(&request, Some(1_024));
        assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(body["messages"], plain["messages"]);
    }

    #[test]
    fn the_three_input_figures_are_kept_apart() {
        let body = r#"{"id":"m","type":"message","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},{"type":"text","text":"b"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":4,"service_tier":"standard"}}"#;
        let usage = Usage { input: 10, cached_input: 30, cache_write: 20, output: 4 };
        let expected = Reply { text: "ab".into(), usage: Some(usage), finish: Finish::Stop };
        assert_eq!(decoded(Dialect::Anthropic, 200, &[], body), Ok(expected));
    }

    #[test]
    fn why_it_stopped_is_kept() {
        for (reason, finish) in [
            ("refusal", Finish::Refusal),
            ("max_tokens", Finish::Length),
            ("model_context_window_exceeded", Finish::Length),
            ("stop_sequence", Finish::Stop),
        ] {
            let body = json!({"content": [], "stop_reason": reason}).to_string();
            let expected = Reply { text: String::new(), usage: None, finish };
            assert_eq!(decoded(Dialect::Anthropic, 200, &[], &body), Ok(expected), "{reason}");
        }
    }

    #[test]
    fn every_error_of_the_table_is_told_apart_by_its_type() {
        let capped = "You have reached your specified API usage limits. You will regain access on 2026-10-01";
        let table = [
            (400, "invalid_request_error", "temperature: may not be set", FailureKind::InvalidRequest),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
                FailureKind::TooLarge,
            ),
            (400, "invalid_request_error", "Your credit balance is too low", FailureKind::AccountDry),
            (400, "invalid_request_error", capped, FailureKind::AccountDry),
            (401, "authentication_error", "invalid x-api-key", FailureKind::Unauthorised),
            (402, "billing_error", "x", FailureKind::AccountDry),
            (403, "permission_error", "x", FailureKind::Forbidden),
            (404, "not_found_error", "model: claude-2", FailureKind::ModelGone),
            (409, "conflict_error", "x", FailureKind::ServerError),
            (413, "request_too_large", "x", FailureKind::TooLarge),
            (
                429,
                "rate_limit_error",
                "would exceed 30,000 input tokens per minute",
                FailureKind::RateLimited,
            ),
            (429, "rate_limit_error", capped, FailureKind::AccountDry),
            (500, "api_error", "x", FailureKind::ServerError),
            (504, "timeout_error", "x", FailureKind::ServerError),
            (529, "overloaded_error", "Overloaded", FailureKind::Overloaded),
        ];
        for (status, name, message, kind) in table {
            let body =
                json!({"type": "error", "error": {"type": name, "message": message}, "request_id": "r"})
                    .to_string();
            let error = decoded(Dialect::Anthropic, status, &[], &body).unwrap_err();
            assert_eq!(
                (error.kind, error.status, error.billing),
                (kind, Some(status), Billing::Nothing),
                "{message}"
            );
        }
        let body =
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": capped}}).to_string();
        let error = decoded(Dialect::Anthropic, 429, &[("retry-after", "9")], &body).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (FailureKind::RateLimited, Some(Duration::from_secs(9))));
    }

    #[test]
    fn an_error_event_after_a_200_is_that_error_and_stays_billed() {
        let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        let error = decoded(Dialect::Anthropic, 200, &[], body).unwrap_err();
        assert_eq!((error.kind, error.billing), (FailureKind::Overloaded, Billing::Reservation));
    }
}
