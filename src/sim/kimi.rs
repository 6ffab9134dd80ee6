//! Moonshot's dialect, which is OpenAI's chat completions with its own ways.

use serde_json::{Value, json};

use super::answer::{Answer, THOUGHTS};
use super::ask::{Ask, Conversation, Wanted, required_text};
use super::prefix;
use super::reply::Reply;
use super::schema::Schemas;

/// Everything is said to have happened then, so that equal requests get equal answers.
const THEN: u64 = 1_767_225_600;
/// What the vendor allows where nothing is asked for.
const USUAL_MAX_TOKENS: u64 = 1_024;

/// Reads the body of `POST /v1/chat/completions`.
pub(super) fn read(body: &Value, schemas: &Schemas) -> Result<Ask, String> {
    let model = required_text(body, "model")?;
    let conversation = Conversation::read(body.get("messages"))?;
    if conversation.bytes == 0 {
        return Err("Invalid request: messages must not be empty".to_owned());
    }
    if body.get("stream") == Some(&Value::Bool(true)) {
        return Err("the simulator does not stream this dialect: send `stream: false`".to_owned());
    }
    let thinks = body.pointer("/thinking/type").is_none_or(|kind| kind != "disabled");
    if !thinks && model.starts_with("kimi-k2.7-code") {
        return Err(format!("Invalid request: thinking cannot be disabled for {model}"));
    }
    refuse_sampling(body, &model, thinks)?;
    let format = body.pointer("/response_format/type").and_then(Value::as_str).unwrap_or("text");
    let (given, otherwise) = match format {
        "text" => (None, Wanted::Text),
        "json_object" => (None, Wanted::Json),
        "json_schema" => match body.pointer("/response_format/json_schema/schema") {
            Some(schema) => (Some(schema), Wanted::Json),
            None => return Err("Invalid request: response_format.json_schema.schema is required".to_owned()),
        },
        other => return Err(format!("Invalid request: response_format.type `{other}` is not supported")),
    };
    let wanted = Wanted::from(given, &conversation, schemas, otherwise)?;
    let max_tokens = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|field| body.get(*field))
        .and_then(Value::as_u64)
        .unwrap_or(USUAL_MAX_TOKENS);
    let (max_tokens, prefixes) = (Some(max_tokens), prefix::blocks(body));
    Ok(Ask { model, max_tokens, conversation, wanted, streams: false, thinks, prefixes })
}

/// These models take one value each and refuse any other.
fn refuse_sampling(body: &Value, model: &str, thinks: bool) -> Result<(), String> {
    if !["kimi-k2.5", "kimi-k2.6"].iter().any(|fixed| model.starts_with(fixed)) {
        return Ok(());
    }
    let temperature = if thinks { 1.0 } else { 0.6 };
    let fixed = [
        ("temperature", temperature),
        ("top_p", 0.95),
        ("n", 1.0),
        ("presence_penalty", 0.0),
        ("frequency_penalty", 0.0),
    ];
    for (field, only) in fixed {
        if body.get(field).and_then(Value::as_f64).is_some_and(|value| value != only) {
            return Err(format!("invalid {field}: only {only} is allowed for this model"));
        }
    }
    Ok(())
}

/// Writes the answer.
pub(super) fn write(ask: &Ask, answer: &Answer, id: &str) -> Reply {
    let mut body = json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "created": THEN,
        "model": ask.model,
        "system_fingerprint": "simulated",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": answer.text },
            "finish_reason": if answer.cut_off { "length" } else { "stop" },
        }],
    });
    if ask.thinks {
        body["choices"][0]["message"]["reasoning_content"] = THOUGHTS.into();
    }
    if answer.tells_usage {
        let (input, output) = (answer.usage.total_input(), answer.usage.output);
        body["usage"] =
            json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
        if answer.usage.cached_input > 0 {
            body["usage"]["cached_tokens"] = answer.usage.cached_input.into();
        }
    }
    Reply::json(200, body.to_string().into_bytes())
}

/// `GET /v1/models`.
pub(super) fn models(models: &[String]) -> Value {
    let entry = |id: &String| json!({ "id": id, "object": "model", "created": THEN, "owned_by": "moonshot" });
    json!({ "object": "list", "data": models.iter().map(entry).collect::<Vec<_>>() })
}

/// What is in the account at the start.
const BALANCE_MICROS: i64 = 12_000_000;

/// `GET /v1/users/me/balance`: what `billed` micro-dollars leave. An account that ran dry has
/// nothing.
pub(super) fn balance(is_dry: bool, billed: u64) -> Value {
    let left = BALANCE_MICROS.saturating_sub(i64::try_from(billed).unwrap_or(i64::MAX));
    let dollars = if is_dry { 0.0 } else { left as f64 / 1e6 };
    json!({
        "code": 0,
        "data": { "available_balance": dollars, "voucher_balance": 0.0, "cash_balance": dollars },
        "scode": "0x0",
        "status": true,
    })
}
