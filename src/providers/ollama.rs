//! Ollama: `/api/chat`.

use empire_actors::call::Request;
use empire_actors::failure::{CallError, FailureKind};
use empire_actors::model::{Structured, Thinking};
use empire_actors::money::Usage;
use empire_actors::ports::{Finish, Reply};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{Answer, bounded};
use super::classify::Said;
use super::prompt;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<prompt::Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<bool>,
    options: Options,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Format<'a> {
    Schema(&'a RawValue),
    Named(&'static str),
}

/// The window is always named and always the same: a smaller default would cut prompts off unseen,
/// and a changing one would reload the model.
#[derive(Serialize)]
struct Options {
    num_ctx: u32,
    num_predict: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
}

/// The request as Ollama reads it.
pub(super) fn encode(request: &Request) -> impl Serialize + '_ {
    let model = &request.model;
    let schema = request.schema.as_deref();
    let in_prompt = schema.filter(|_| model.structured != Structured::Schema);
    Body {
        model: &model.id,
        messages: prompt::messages_with_system(request, in_prompt),
        stream: false,
        format: schema.and_then(|schema| match model.structured {
            Structured::Schema => Some(Format::Schema(schema.raw())),
            Structured::JsonObject => Some(Format::Named("json")),
            Structured::PromptOnly => None,
        }),
        think: match model.thinking {
            Thinking::VendorDefault => None,
            Thinking::Off => Some(false),
            Thinking::On => Some(true),
        },
        options: Options {
            num_ctx: model.context,
            num_predict: request.max_tokens,
            temperature: model.temperature,
            top_p: model.top_p,
        },
    }
}

/// A line of the answer: the whole of it, as asked, or a piece if the server streams all the same.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    // Left out by the server where 0.
    #[serde(default)]
    prompt_eval_count: u64,
    #[serde(default)]
    eval_count: u64,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
}

/// What Ollama's answer says.
pub(super) fn decode(answer: &Answer) -> Result<Reply, CallError> {
    if !answer.is_success() {
        return Err(refused(answer, &Said::in_body(&answer.body)));
    }
    let mut text = String::new();
    for line in serde_json::Deserializer::from_str(&answer.body).into_iter::<Line>() {
        let line = line.map_err(|problem| answer.unreadable(&problem.to_string()))?;
        if let Some(error) = line.error {
            let said = Said::in_value(&json!({"error": error})).unwrap_or_default();
            return Err(refused(answer, &said));
        }
        text.push_str(&line.message.map(|message| message.content).unwrap_or_default());
        if line.done {
            let usage = Usage { input: line.prompt_eval_count, output: line.eval_count, ..Usage::default() };
            let finish =
                if line.done_reason.as_deref() == Some("length") { Finish::Length } else { Finish::Stop };
            return Ok(Reply { text: prompt::without_thinking(text), usage: Some(bounded(usage)), finish });
        }
    }
    Err(answer.unreadable("the answer ends before it says that it is done"))
}

/// Ollama's errors are plain text; a model that is not there wants pulling.
fn refused(answer: &Answer, said: &Said) -> CallError {
    let mut error = answer.refusal(said);
    if error.kind == FailureKind::ModelGone && !error.message.contains("pull") {
        error.message.push_str(": pull it with `ollama pull`");
    }
    error
}

#[cfg(test)]
mod tests {
    use empire_actors::failure::Billing;
    use serde_json::to_value;

    use super::*;
    use crate::config::Dialect;
    use crate::providers::testing::{TAIL, decoded, plain_model, request, schema};

    fn decoded_ok(body: &str) -> Reply {
        decoded(Dialect::Ollama, 200, &[], body).unwrap()
    }

    #[test]
    fn a_request_says_what_is_configured_and_no_more() {
        let plain = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "Rate Acme"}
            ],
            "stream": false,
            "options": {"num_ctx": 8192, "num_predict": 300}
        });
        assert_eq!(to_value(encode(&request(plain_model("m"), None))).unwrap(), plain);

        let mut model = plain_model("m");
        model.structured = Structured::Schema;
        model.thinking = Thinking::Off;
        model.temperature = Some(0.5);
        let body = to_value(encode(&request(model.clone(), Some(schema())))).unwrap();
        assert_eq!(body["format"], schema());
        assert_eq!(body["think"], json!(false));
        assert_eq!(body["options"], json!({"num_ctx": 8192, "num_predict": 300, "temperature": 0.5}));
        assert_eq!(body["messages"][3]["content"], json!("Rate Acme"));

        model.structured = Structured::JsonObject;
        let body = to_value(encode(&request(model, Some(schema())))).unwrap();
        assert_eq!(body["format"], json!("json"));
        assert_eq!(body["messages"][3]["content"], json!(format!("Rate Acme{TAIL}")));
        assert_eq!(body["messages"][1]["content"], json!("Hello"));
    }

    #[test]
    fn an_answer_is_read_with_and_without_counters_and_in_pieces() {
        let whole = r#"{"model":"m","message":{"role":"assistant","content":"hi","thinking":"hm"},"done":true,"done_reason":"stop","prompt_eval_count":12,"eval_count":3}"#;
        let usage = Usage { input: 12, output: 3, ..Usage::default() };
        assert_eq!(decoded_ok(whole), Reply { text: "hi".into(), usage: Some(usage), finish: Finish::Stop });
        let bare = r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"length"}"#;
        assert_eq!(
            decoded_ok(bare),
            Reply { text: String::new(), usage: Some(Usage::default()), finish: Finish::Length }
        );
        let pieces = "{\"message\":{\"content\":\"<think>a\"}}\n{\"message\":{\"content\":\"b</think>\\n42\"}}\n{\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":5}\n";
        let usage = Usage { input: 5, ..Usage::default() };
        assert_eq!(decoded_ok(pieces), Reply { text: "42".into(), usage: Some(usage), finish: Finish::Stop });
    }

    #[test]
    fn what_is_no_whole_answer_stays_billed() {
        let table = [
            (
                "{\"message\":{\"content\":\"a\"}}\n{\"error\":\"an error was encountered\"}\n",
                FailureKind::ServerError,
            ),
            ("{\"message\":{\"content\":\"a\"}}\n", FailureKind::Malformed),
            ("{\"message\":{\"conte", FailureKind::Malformed),
            ("<html>", FailureKind::Malformed),
            ("", FailureKind::Malformed),
        ];
        for (body, kind) in table {
            let error = decoded(Dialect::Ollama, 200, &[], body).unwrap_err();
            assert_eq!((error.kind, error.billing), (kind, Billing::Reservation), "{body}");
        }
    }

    #[test]
    fn every_error_of_the_table_is_told_apart() {
        let table = [
            (400, "does not support thinking", FailureKind::InvalidRequest),
            (400, "input length exceeds maximum context length", FailureKind::TooLarge),
            (404, "model 'm' not found", FailureKind::ModelGone),
            (429, "too many requests", FailureKind::RateLimited),
            (499, "request cancelled", FailureKind::ServerError),
            (500, "llama runner process has terminated", FailureKind::ServerError),
            (502, "upstream", FailureKind::ServerError),
            (
                503,
                "server busy, please try again. maximum pending requests exceeded",
                FailureKind::Overloaded,
            ),
        ];
        for (status, message, kind) in table {
            let body = json!({"error": message}).to_string();
            let error = decoded(Dialect::Ollama, status, &[], &body).unwrap_err();
            assert_eq!(
                (error.kind, error.status, error.billing),
                (kind, Some(status), Billing::Nothing),
                "{message}"
            );
            assert!(error.message.starts_with(message), "{error}");
        }
        let gone = decoded(Dialect::Ollama, 404, &[], r#"{"error":"model 'm' not found"}"#).unwrap_err();
        assert_eq!(
            gone.to_string(),
            "model gone (HTTP 404): model 'm' not found: pull it with `ollama pull`"
        );
    }
}
