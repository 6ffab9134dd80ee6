//! JSON Schema as the Messages API takes it.
//!
//! It takes a part of the language only: every object closed, no bounds on numbers, lengths or
//! counts, no recursion. What it cannot take is left out here, and then the whole schema goes
//! into the prompt as well; the answer is checked against the whole schema in any case.
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>

use serde_json::{Map, Value, json};

/// A schema that the vendor takes.
#[derive(Debug, PartialEq)]
pub(super) struct Closed {
    /// The schema.
    pub(super) schema: Value,
    /// Whether it says all that the original says.
    pub(super) whole: bool,
}

/// Keywords that are taken as they are.
const PLAIN: [&str; 8] = ["type", "enum", "const", "required", "title", "description", "default", "minItems"];
/// Keywords that say nothing about which values fit.
const IDLE: [&str; 4] = ["$schema", "$id", "$comment", "examples"];
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as the vendor takes it; `None` if no such schema would admit the same answers.
pub(super) fn closed(schema: &Value) -> Option<Closed> {
    let mut whole = true;
    let schema = close(schema, &mut whole)?;
    Some(Closed { schema, whole })
}

fn close(schema: &Value, whole: &mut bool) -> Option<Value> {
    let Value::Object(keywords) = schema else { return None };
    let mut closed = Map::new();
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let properties =
                    properties.iter().map(|(name, schema)| Some((name.clone(), close(schema, whole)?)));
                closed.insert(keyword.clone(), Value::Object(properties.collect::<Option<_>>()?));
            }
            ("items", items) => {
                closed.insert(keyword.clone(), close(items, whole)?);
            }
            ("anyOf" | "allOf", Value::Array(branches)) => {
                let branches = branches.iter().map(|branch| close(branch, whole));
                closed.insert(keyword.clone(), Value::Array(branches.collect::<Option<_>>()?));
            }
            ("format", Value::String(format)) if FORMATS.contains(&format.as_str()) => {
                closed.insert(keyword.clone(), value.clone());
            }
            ("minItems", value) if !matches!(value.as_u64(), Some(0 | 1)) => *whole = false,
            (plain, value) if PLAIN.contains(&plain) => {
                closed.insert(keyword.clone(), value.clone());
            }
            (idle, _) if IDLE.contains(&idle) => {}
            ("additionalProperties", Value::Bool(false)) => {}
            // Closing an object that is meant to be open, or following references, would change
            // which answers are possible.
            ("additionalProperties" | "patternProperties" | "$ref" | "$defs" | "oneOf" | "not" | "if", _) => {
                return None;
            }
            _ => *whole = false,
        }
    }
    if keywords.contains_key("properties") || keywords.get("type") == Some(&json!("object")) {
        closed.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Some(Value::Object(closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_bounds_left_out() {
        let original = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["fit"],
            "properties": {
                "fit": {"type": "integer", "minimum": 0, "maximum": 10},
                "tags": {"type": "array", "items": {"type": "object", "properties": {"tag": {"type": "string"}}}}
            }
        });
        let expected = json!({
            "type": "object",
            "required": ["fit"],
            "properties": {
                "fit": {"type": "integer"},
                "tags": {"type": "array", "items": {
                    "type": "object", "properties": {"tag": {"type": "string"}}, "additionalProperties": false
                }}
            },
            "additionalProperties": false
        });
        assert_eq!(closed(&original), Some(Closed { schema: expected, whole: false }));
    }

    #[test]
    fn what_fits_is_whole_and_what_cannot_be_said_is_not_said() {
        let fits = json!({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "additionalProperties": false});
        assert_eq!(closed(&fits), Some(Closed { schema: fits.clone(), whole: true }));
        for open in [
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"self": {"$ref": "#"}}}),
            json!({"oneOf": [{"type": "string"}, {"type": "null"}]}),
            json!(true),
        ] {
            assert_eq!(closed(&open), None, "{open}");
        }
    }
}
