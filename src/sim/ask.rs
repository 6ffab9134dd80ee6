//! What a request asks for, whatever its dialect.

use std::sync::Arc;

use serde_json::Value;

use super::prefix::Prefix;
use super::schema::{Schema, Schemas};

/// The line in a prompt behind which a JSON Schema stands, up to an empty line.
const SCHEMA_LINE: &str = "JSON Schema:";

/// A chat request, understood.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    /// Output tokens at most, if any were named.
    pub(super) max_tokens: Option<u64>,
    pub(super) conversation: Conversation,
    pub(super) wanted: Wanted,
    /// Whether the answer is to come line by line.
    pub(super) streams: bool,
    /// Whether the model is to show what it thinks.
    pub(super) thinks: bool,
    /// The beginnings that a prompt cache may hold, shortest first.
    pub(super) prefixes: Vec<Prefix>,
}

/// What the answer must look like.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Words.
    Text,
    /// A JSON object of any shape.
    Json,
    /// JSON that fits.
    Schema(Arc<Schema>),
    /// A call of the tool with this name, with input that fits.
    Tool(String, Arc<Schema>),
}

impl Wanted {
    /// The schema given by the request itself and the prompt's, whichever are there, or else
    /// `otherwise`. A dialect's own field cannot say all of a schema; the prompt tells the rest.
    pub(super) fn from(
        given: Option<&Value>,
        conversation: &Conversation,
        schemas: &Schemas,
        otherwise: Wanted,
    ) -> Result<Wanted, String> {
        let schema = match (given, &conversation.schema) {
            (Some(given), Some(told)) => schemas.get_both(given, told),
            (Some(schema), None) | (None, Some(schema)) => schemas.get(schema),
            (None, None) => return Ok(otherwise),
        };
        schema.map(Wanted::Schema).map_err(|error| format!("the schema of the answer is not valid: {error}"))
    }
}

/// The messages, as far as the simulator looks at them.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The first thing the user said, without any schema: the item's prompt.
    pub(super) prompt: String,
    /// All text, in bytes.
    pub(super) bytes: usize,
    /// The last schema that stands in a text.
    schema: Option<Value>,
}

impl Conversation {
    /// Reads `messages`, a list of roles with contents.
    pub(super) fn read(messages: Option<&Value>) -> Result<Conversation, String> {
        let Some(Value::Array(messages)) = messages else {
            return Err("messages: field required, a list of messages".to_owned());
        };
        let mut conversation = Conversation::default();
        let mut is_first = true;
        for (index, message) in messages.iter().enumerate() {
            let role = message.get("role").and_then(Value::as_str);
            let role = role.ok_or_else(|| format!("messages.{index}.role: field required"))?;
            let text = text_of(message.get("content"));
            let words = conversation.hear(&text);
            if role == "user" && is_first {
                conversation.prompt = words;
                is_first = false;
            }
        }
        Ok(conversation)
    }

    /// Counts a text, takes a schema from it and gives back the rest.
    pub(super) fn hear(&mut self, text: &str) -> String {
        self.bytes += text.len();
        let (words, schema) = without_schema(text);
        if schema.is_some() {
            self.schema = schema;
        }
        words
    }
}

/// A message's text: a string, or the texts among its blocks.
pub(super) fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts: Vec<&str> =
                blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn without_schema(text: &str) -> (String, Option<Value>) {
    let is_line = |at: usize| {
        let after = text[at + SCHEMA_LINE.len()..].trim_start_matches([' ', '\t', '\r']);
        (at == 0 || text[..at].ends_with('\n')) && after.starts_with('\n')
    };
    let Some((at, _)) = text.match_indices(SCHEMA_LINE).filter(|(at, _)| is_line(*at)).last() else {
        return (text.to_owned(), None);
    };
    let block = &text[at + SCHEMA_LINE.len()..];
    let block = &block[block.find('\n').map_or(block.len(), |line_end| line_end + 1)..];
    let end = ["\n\n", "\n\r\n"].iter().filter_map(|gap| block.find(gap)).min().unwrap_or(block.len());
    match serde_json::from_str(block[..end].trim()) {
        Ok(schema) => (format!("{}{}", &text[..at], &block[end..]), Some(schema)),
        Err(_) => (text.to_owned(), None),
    }
}

/// A field that must be a string with something in it.
pub(super) fn required_text(body: &Value, field: &str) -> Result<String, String> {
    match body.get(field).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{field}: field required, a string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_taken_out_of_the_prompt() {
        let text = "Company: Acme\n\nJSON Schema:\n{\"type\":\n \"object\"}\n\nBe short.";
        let messages = json!([
            {"role": "system", "content": "You qualify leads."},
            {"role": "user", "content": [{"type": "text", "text": text}]},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": "again"},
        ]);
        let conversation = Conversation::read(Some(&messages)).unwrap();
        assert_eq!(conversation.schema, Some(json!({"type": "object"})));
        assert_eq!(conversation.prompt, "Company: Acme\n\n\n\nBe short.");
        assert_eq!(conversation.bytes, text.len() + "You qualify leads.noagain".len());
    }

    #[test]
    fn what_is_no_schema_stays_in_the_prompt() {
        for text in ["JSON Schema:", "JSON Schema:\nnot json", "A JSON Schema: {}", "JSON Schema: {}\n"] {
            assert_eq!(without_schema(text), (text.to_owned(), None));
        }
        assert_eq!(without_schema("JSON Schema:\r\n{}\r\n\r\nx"), ("\n\r\nx".to_owned(), Some(json!({}))));
    }
}
