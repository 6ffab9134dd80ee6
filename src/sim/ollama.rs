//! Ollama's dialect.

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::answer::{Answer, THOUGHTS};
use super::ask::{Ask, Conversation, Wanted, required_text};
use super::dice::{Dice, Draw};
use super::reply::{Payload, Reply};
use super::schema::Schemas;
use super::settings::ProviderSettings;

/// Everything is said to have happened then, so that equal requests get equal answers.
const THEN: &str = "2026-01-01T00:00:00Z";
const CONTEXT: u64 = 32_768;

/// Reads the body of `POST /api/chat`.
pub(super) fn read(body: &Value, schemas: &Schemas) -> Result<Ask, String> {
    let model = required_text(body, "model")?;
    let conversation = match body.get("messages") {
        None => Conversation::default(),
        messages => Conversation::read(messages)?,
    };
    let format = body.get("format");
    let wanted = match format {
        None | Some(Value::Null) => Wanted::from(None, &conversation, schemas, Wanted::Text)?,
        Some(Value::String(format)) if format == "json" => {
            Wanted::from(None, &conversation, schemas, Wanted::Json)?
        }
        Some(schema @ Value::Object(_)) => Wanted::from(Some(schema), &conversation, schemas, Wanted::Json)?,
        Some(other) => return Err(format!("invalid format: {other}; expected \"json\" or a JSON schema")),
    };
    // -1 and -2 mean no limit.
    let predict = body.pointer("/options/num_predict").and_then(Value::as_u64);
    let thinks = body.get("think").is_some_and(|think| *think == true || think.is_string());
    let streams = body.get("stream") != Some(&Value::Bool(false));
    Ok(Ask { model, max_tokens: predict, conversation, wanted, streams, thinks, prefixes: Vec::new() })
}

/// Writes the answer, which took `ms`.
pub(super) fn write(ask: &Ask, answer: &Answer, ms: f64, dice: Dice) -> Reply {
    let model = format!("{}-simulated", ask.model);
    let last = |content: &str| {
        let mut last =
            json!({ "model": model, "created_at": THEN, "message": message(ask, content), "done": true });
        let why = match () {
            () if ask.conversation.bytes == 0 => "load",
            () if answer.cut_off => "length",
            () => "stop",
        };
        if let Value::Object(fields) = &mut last {
            fields.insert("done_reason".to_owned(), why.into());
            counters(fields, answer, ms);
        }
        last
    };
    let text = if ask.conversation.bytes == 0 { "" } else { answer.text.as_str() };
    if !ask.streams {
        return Reply::json(200, last(text).to_string().into_bytes());
    }
    let mut lines = String::new();
    for piece in text.split_inclusive(' ').filter(|piece| !piece.is_empty()) {
        let line =
            json!({ "model": model, "created_at": THEN, "message": message(ask, piece), "done": false });
        lines.push_str(&format!("{line}\n"));
    }
    lines.push_str(&format!("{}\n", last("")));
    Reply::lines(lines, dice)
}

fn message(ask: &Ask, content: &str) -> Value {
    let mut message = json!({ "role": "assistant", "content": content });
    if let (true, Value::Object(fields)) = (ask.thinks, &mut message) {
        fields.insert("thinking".to_owned(), THOUGHTS.into());
    }
    message
}

/// Durations in nanoseconds; counts are left out when they are 0.
fn counters(fields: &mut Map<String, Value>, answer: &Answer, ms: f64) {
    let total = (ms * 1e6) as u64;
    fields.insert("total_duration".to_owned(), total.into());
    fields.insert("load_duration".to_owned(), (total / 20).into());
    let counts = [
        ("prompt_eval_count", answer.usage.total_input(), "prompt_eval_duration", total / 5),
        ("eval_count", answer.usage.output, "eval_duration", total / 4 * 3),
    ];
    for (count_name, count, duration_name, duration) in counts {
        if count > 0 && answer.tells_usage {
            fields.insert(count_name.to_owned(), count.into());
        }
        fields.insert(duration_name.to_owned(), duration.into());
    }
}

/// A stream that fails after its first words: the status was sent long ago.
pub(super) fn failing_stream(model: &str, error: &[u8], dice: Dice) -> Reply {
    let first = json!({
        "model": format!("{model}-simulated"), "created_at": THEN,
        "message": { "role": "assistant", "content": "[simulated] " }, "done": false,
    });
    Reply::lines(format!("{first}\n{}\n", String::from_utf8_lossy(error)), dice)
}

impl Reply {
    /// Lines of JSON, in pieces that do not end where lines do.
    fn lines(lines: String, dice: Dice) -> Reply {
        const PIECES: u64 = 3;
        let bytes = Bytes::from(lines);
        let mut cuts: Vec<usize> = (0..PIECES)
            .map(|piece| (dice.unit_of(Draw::Usage, 1 + piece) * bytes.len() as f64) as usize)
            .chain([0, bytes.len()])
            .collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| bytes.slice(cut[0]..cut[1])).filter(|piece| !piece.is_empty());
        Reply { content_type: "application/x-ndjson", ..Reply::new(200, Payload::Pieces(pieces.collect())) }
    }
}

/// `GET /api/tags`.
pub(super) fn tags(settings: &ProviderSettings, models: &[String]) -> Value {
    let local = models.iter().map(|name| entry(name));
    let remote = settings.remote_models.iter().map(|(name, host)| {
        let mut entry = entry(name);
        if let Value::Object(fields) = &mut entry {
            let model = name.trim_end_matches(":cloud").trim_end_matches("-cloud");
            fields.insert("remote_model".to_owned(), model.into());
            fields.insert("remote_host".to_owned(), host.as_str().into());
            fields.insert("size".to_owned(), 384.into());
        }
        entry
    });
    json!({ "models": local.chain(remote).collect::<Vec<_>>() })
}

/// `GET /api/ps`: every local model is loaded.
pub(super) fn processes(models: &[String]) -> Value {
    let loaded = models.iter().map(|name| {
        let mut entry = entry(name);
        if let Value::Object(fields) = &mut entry {
            fields.shift_remove("modified_at");
            fields.insert("expires_at".to_owned(), "2318-01-01T00:00:00Z".into());
            fields.insert("size_vram".to_owned(), 0.into());
            fields.insert("context_length".to_owned(), CONTEXT.into());
        }
        entry
    });
    json!({ "models": loaded.collect::<Vec<_>>() })
}

fn entry(name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": THEN,
        "size": 2_019_393_189_u64,
        "digest": blake3::hash(name.as_bytes()).to_hex().as_str(),
        "details": {
            "parent_model": "", "format": "gguf", "family": "simulated", "families": ["simulated"],
            "parameter_size": "3.2B", "quantization_level": "Q4_K_M",
        },
        "capabilities": ["completion"],
    })
}
