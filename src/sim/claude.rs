//! Anthropic's dialect.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::Answer;
use super::ask::{Ask, Conversation, Wanted, required_text, text_of};
use super::prefix;
use super::reply::Reply;
use super::schema::Schemas;

/// Reads the body of `POST /v1/messages`.
pub(super) fn read(body: &Value, schemas: &Schemas) -> Result<Ask, String> {
    let model = required_text(body, "model")?;
    for field in ["temperature", "top_p", "top_k"] {
        if body.get(field).is_some() {
            return Err(format!("{field}: this model does not support sampling parameters"));
        }
    }
    let max_tokens = match body.get("max_tokens").map(Value::as_u64) {
        None => return Err("max_tokens: Field required".to_owned()),
        Some(Some(tokens)) if tokens > 0 => tokens,
        Some(_) => return Err("max_tokens: Input should be greater than or equal to 1".to_owned()),
    };
    let mut conversation = Conversation::read(body.get("messages"))?;
    if conversation.bytes == 0 {
        return Err("messages: at least one message is required".to_owned());
    }
    conversation.hear(&text_of(body.get("system")));
    if body.get("stream") == Some(&Value::Bool(true)) {
        return Err("the simulator does not stream this dialect: send `stream: false`".to_owned());
    }
    let wanted = match forced_tool(body)? {
        Some((name, schema)) => match Wanted::from(Some(schema), &conversation, schemas, Wanted::Json)? {
            Wanted::Schema(schema) => Wanted::Tool(name.to_owned(), schema),
            other => other,
        },
        None => Wanted::from(output_schema(body)?, &conversation, schemas, Wanted::Text)?,
    };
    let (max_tokens, prefixes) = (Some(max_tokens), prefix::marked(body));
    Ok(Ask { model, max_tokens, conversation, wanted, streams: false, thinks: false, prefixes })
}

/// The tool that must be called, and what it takes.
fn forced_tool(body: &Value) -> Result<Option<(&str, &Value)>, String> {
    let Some(choice) =
        body.get("tool_choice").filter(|choice| choice.get("type").is_some_and(|kind| kind == "tool"))
    else {
        return Ok(None);
    };
    let name = choice.get("name").and_then(Value::as_str).unwrap_or_default();
    let tools = body.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tool = tools.iter().find(|tool| tool.get("name").is_some_and(|known| known == name));
    match tool.and_then(|tool| tool.get("input_schema")) {
        Some(schema) => Ok(Some((name, schema))),
        None => Err(format!("tool_choice.name: `{name}` is not among the tools with an input_schema")),
    }
}

fn output_schema(body: &Value) -> Result<Option<&Value>, String> {
    let Some(format) = body.pointer("/output_config/format").filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    match (format.get("type").and_then(Value::as_str), format.get("schema")) {
        (Some("json_schema"), Some(schema)) => Ok(Some(schema)),
        _ => Err("output_config.format: expected type `json_schema` with a schema".to_owned()),
    }
}

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: String,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'a str },
    ToolUse { id: String, name: &'a str, input: Box<RawValue> },
}

/// Writes the answer.
pub(super) fn write(ask: &Ask, answer: &Answer, id: &str) -> Reply {
    let content = match &ask.wanted {
        _ if answer.text.is_empty() => Vec::new(),
        Wanted::Tool(name, _) => {
            vec![Block::ToolUse { id: format!("toolu_{id}"), name, input: input(answer) }]
        }
        _ => vec![Block::Text { text: &answer.text }],
    };
    let stop_reason = match &content[..] {
        _ if answer.cut_off => "max_tokens",
        [Block::ToolUse { .. }] => "tool_use",
        _ => "end_turn",
    };
    let message = Message {
        id: format!("msg_{id}"),
        kind: "message",
        role: "assistant",
        model: format!("{}-simulated", ask.model),
        content,
        stop_reason,
        stop_sequence: None,
        usage: answer.tells_usage.then(|| usage(answer)),
    };
    let body = serde_json::to_vec(&message).expect("a message has string keys and finite numbers");
    Reply::json(200, body).with("request-id", format!("req_{id}"))
}

/// The tool's input as the text has it, doubled keys included; nothing if it was cut off or is
/// no object, since that is what the vendor's parser would leave.
fn input(answer: &Answer) -> Box<RawValue> {
    let raw = RawValue::from_string(answer.text.clone()).ok().filter(|raw| raw.get().starts_with('{'));
    raw.unwrap_or_else(|| RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"))
}

fn usage(answer: &Answer) -> Value {
    let usage = &answer.usage;
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached_input,
        "cache_creation": { "ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0 },
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}

/// `GET /v1/models`.
pub(super) fn models(models: &[String]) -> Value {
    let entry = |id: &String| json!({ "type": "model", "id": id, "display_name": format!("{id} (simulated)"), "created_at": "2026-01-01T00:00:00Z" });
    json!({
        "data": models.iter().map(entry).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first(),
        "last_id": models.last(),
    })
}
