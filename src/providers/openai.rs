//! Chat completions as Moonshot (Kimi) and other `OpenAI`-compatible servers speak them.

use empire_actors::call::Request;
use empire_actors::failure::CallError;
use empire_actors::model::{Structured, Thinking};
use empire_actors::money::Usage;
use empire_actors::ports::{Finish, Reply};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::{Answer, bounded};
use super::prompt;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<prompt::Message<'a>>,
    max_completion_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Typed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Typed {
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Format<'a> {
    Named(Typed),
    Schema { r#type: &'static str, json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    schema: &'a RawValue,
}

/// The request as chat completions read it.
pub(super) fn encode(request: &Request) -> impl Serialize + '_ {
    let model = &request.model;
    let schema = request.schema.as_deref();
    let in_prompt = schema.filter(|_| model.structured != Structured::Schema);
    Body {
        model: &model.id,
        messages: prompt::messages_with_system(request, in_prompt),
        max_completion_tokens: request.max_tokens,
        temperature: model.temperature,
        top_p: model.top_p,
        thinking: match model.thinking {
            Thinking::VendorDefault => None,
            Thinking::Off => Some(Typed { r#type: "disabled" }),
            Thinking::On => Some(Typed { r#type: "enabled" }),
        },
        response_format: schema.and_then(|schema| match model.structured {
            Structured::Schema => Some(Format::Schema {
                r#type: "json_schema",
                json_schema: NamedSchema { name: "answer", schema: schema.raw() },
            }),
            Structured::JsonObject => Some(Format::Named(Typed { r#type: "json_object" })),
            Structured::PromptOnly => None,
        }),
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    /// Where Moonshot puts it.
    cached_tokens: Option<u64>,
    /// Where others put it.
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// What the answer says.
pub(super) fn decode(answer: &Answer) -> Result<Reply, CallError> {
    let completion: Completion = answer.read()?;
    let usage = completion.usage.and_then(|counted| usage(&counted));
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(answer.unreadable("the answer holds no choice"));
    };
    let finish = match choice.finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Refusal,
        _ if choice.message.refusal.is_some_and(|refusal| !refusal.is_empty()) => Finish::Refusal,
        _ => Finish::Stop,
    };
    let text = prompt::without_thinking(choice.message.content.unwrap_or_default());
    Ok(Reply { text, usage, finish })
}

/// The prompt's count includes what came from the cache; the two have different prices.
fn usage(counted: &Counted) -> Option<Usage> {
    let (prompt, output) = (counted.prompt_tokens?, counted.completion_tokens?);
    let cached = counted.cached_tokens.or_else(|| counted.prompt_tokens_details.as_ref()?.cached_tokens);
    let cached = cached.unwrap_or(0).min(prompt);
    Some(bounded(Usage { input: prompt - cached, cached_input: cached, cache_write: 0, output }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use empire_actors::failure::{Billing, FailureKind};
    use serde_json::{json, to_value};

    use super::*;
    use crate::config::Dialect;
    use crate::providers::testing::{TAIL, decoded, plain_model, request, schema};

    #[test]
    fn a_request_says_what_is_configured_and_no_more() {
        let plain = json!({
            "model": "kimi-k2.6",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "Rate Acme"}
            ],
            "max_completion_tokens": 300
        });
        assert_eq!(to_value(encode(&request(plain_model("kimi-k2.6"), None))).unwrap(), plain);

        let mut model = plain_model("kimi-k2.6");
        model.structured = Structured::JsonObject;
        model.thinking = Thinking::Off;
        let mut kimi = plain;
        kimi["thinking"] = json!({"type": "disabled"});
        kimi["response_format"] = json!({"type": "json_object"});
        kimi["messages"][3]["content"] = json!(format!("Rate Acme{TAIL}"));
        assert_eq!(to_value(encode(&request(model.clone(), Some(schema())))).unwrap(), kimi);

        model.structured = Structured::Schema;
        model.top_p = Some(0.9);
        let body = to_value(encode(&request(model, Some(schema())))).unwrap();
        assert_eq!(
            body["response_format"],
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema()}})
        );
        assert_eq!((&body["messages"][3]["content"], &body["top_p"]), (&json!("Rate Acme"), &json!(0.9)));
    }

    fn completion(content: &str, finish: &str, usage: &str) -> String {
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":{content}}},"finish_reason":"{finish}"}}]{usage}}}"#
        )
    }

    #[test]
    fn usage_is_read_wherever_the_cache_figure_is() {
        let expected = Usage { input: 30, cached_input: 70, cache_write: 0, output: 9 };
        let table = [
            (
                r#","usage":{"prompt_tokens":100,"completion_tokens":9,"total_tokens":109,"cached_tokens":70}"#,
                Some(expected),
            ),
            (
                r#","usage":{"prompt_tokens":100,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":70}}"#,
                Some(expected),
            ),
            (
                r#","usage":{"prompt_tokens":100,"completion_tokens":9}"#,
                Some(Usage { input: 100, output: 9, ..Usage::default() }),
            ),
            (
                r#","usage":{"prompt_tokens":5,"completion_tokens":9,"cached_tokens":70}"#,
                Some(Usage { cached_input: 5, output: 9, ..Usage::default() }),
            ),
            (r#","usage":{"total_tokens":5}"#, None),
            (r#","usage":null"#, None),
            ("", None),
        ];
        for (usage, expected) in table {
            let reply = decoded(Dialect::OpenAi, 200, &[], &completion("\"hi\"", "stop", usage)).unwrap();
            assert_eq!(reply, Reply { text: "hi".into(), usage: expected, finish: Finish::Stop }, "{usage}");
        }
    }

    #[test]
    fn why_it_stopped_is_kept_and_thinking_is_not() {
        let table = [
            ("\"\"", "length", "", Finish::Length),
            ("null", "content_filter", "", Finish::Refusal),
            ("\"<think>so\\nand so</think>\\n{}\"", "stop", "{}", Finish::Stop),
            ("\"<think>never done\"", "length", "", Finish::Length),
        ];
        for (content, finish, text, expected) in table {
            let reply = decoded(Dialect::OpenAi, 200, &[], &completion(content, finish, "")).unwrap();
            assert_eq!((reply.text.as_str(), reply.finish), (text, expected), "{content}");
        }
    }

    #[test]
    fn every_error_of_the_table_is_told_apart_by_its_type() {
        let table = [
            (400, "invalid_request_error", "bad field", FailureKind::InvalidRequest),
            (
                400,
                "invalid_request_error",
                "Your request exceeded model token limit: 262144",
                FailureKind::TooLarge,
            ),
            (400, "content_filter", "high risk", FailureKind::ContentFiltered),
            (401, "invalid_authentication_error", "Invalid Authentication", FailureKind::Unauthorised),
            (401, "incorrect_api_key_error", "Incorrect API key", FailureKind::Unauthorised),
            (403, "permission_denied_error", "not open to you", FailureKind::Forbidden),
            (403, "permission_denied_error", "You exceeded your quota", FailureKind::AccountDry),
            (
                404,
                "resource_not_found_error",
                "Not found the model k or Permission denied",
                FailureKind::ModelGone,
            ),
            (429, "rate_limit_reached_error", "max RPM: 200", FailureKind::RateLimited),
            (429, "engine_overloaded_error", "The engine is currently overloaded", FailureKind::Overloaded),
            (429, "exceeded_current_quota_error", "try again after 1 seconds", FailureKind::AccountDry),
            (500, "server_error", "x", FailureKind::ServerError),
            (500, "unexpected_output", "x", FailureKind::ServerError),
        ];
        for (status, name, message, kind) in table {
            let body = json!({"error": {"type": name, "message": message}}).to_string();
            let error = decoded(Dialect::OpenAi, status, &[], &body).unwrap_err();
            assert_eq!(
                (error.kind, error.status, error.billing),
                (kind, Some(status), Billing::Nothing),
                "{name}"
            );
        }
        let bare = [
            (302, FailureKind::InvalidRequest),
            (402, FailureKind::AccountDry),
            (408, FailureKind::ServerError),
            (429, FailureKind::RateLimited),
            (500, FailureKind::ServerError),
            (503, FailureKind::Overloaded),
        ];
        for (status, kind) in bare {
            assert_eq!(decoded(Dialect::OpenAi, status, &[], "").unwrap_err().kind, kind, "{status}");
        }
    }

    #[test]
    fn a_limit_names_its_wait_and_no_account() {
        let body = r#"{"error":{"type":"rate_limit_reached_error","message":"Your account org-a1b2<ak-c3d4> request reached organization max RPM: 3, please try again after 2 seconds"}}"#;
        let error = decoded(Dialect::OpenAi, 429, &[], body).unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(
            error.message,
            "Your account org-…<ak-…> request reached organization max RPM: 3, please try again after 2 seconds"
        );
    }

    #[test]
    fn a_200_that_is_no_answer_stays_billed() {
        let table = [
            (r#"{"choices":[]}"#, FailureKind::Malformed),
            ("{\"choices\":[{\"mess", FailureKind::Malformed),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", FailureKind::Malformed),
            (r#"{"error":{"code":"insufficient_quota","message":"empty"}}"#, FailureKind::AccountDry),
        ];
        for (body, kind) in table {
            let error = decoded(Dialect::OpenAi, 200, &[], body).unwrap_err();
            assert_eq!((error.kind, error.billing), (kind, Billing::Reservation), "{body}");
        }
    }
}
