//! Every part of a JSON body: strings, keys, numbers, JSON in strings, fields nobody knows. And
//! which parts cannot be read.

use serde_json::{Map, Value};

use super::found::Class;
use super::named;
use super::{Blocked, Redactor};

/// JSON deeper than this is not looked at, and may not leave.
const MOST_DEPTH: usize = 128;
/// Opaque data at least so long cannot be text that was merely not recognised.
const LEAST_OPAQUE: usize = 1_024;

/// A part of a body that cannot be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Where it is, as a JSON pointer (RFC 6901).
    pub path: String,
    /// What it is.
    pub what: &'static str,
}

impl Redactor {
    /// Learns from every part of a JSON value.
    ///
    /// # Errors
    /// A part could not be looked at to its end: the value may not leave.
    pub fn learn_json(&mut self, value: &Value) -> Result<(), Blocked> {
        self.cut_value(value, None, 0).map(drop)
    }

    /// The JSON value without what was found in it or anywhere before.
    ///
    /// # Errors
    /// A part could not be looked at to its end: the value may not leave.
    pub fn cut_json(&mut self, value: &Value) -> Result<Value, Blocked> {
        self.cut_value(value, None, 0)
    }

    /// The value of a field that is called `name`, without what was found in it or anywhere before.
    ///
    /// # Errors
    /// A part could not be looked at to its end: the value may not leave.
    pub fn cut_field(&mut self, name: &str, value: &Value) -> Result<Value, Blocked> {
        self.cut_value(value, Some(name), 0)
    }

    /// The JSON value with the originals in the place of their placeholders: for the owner's
    /// eyes. A number that was cut comes back as a string.
    #[must_use]
    pub fn restore_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.restore(text)),
            Value::Array(values) => values.iter().map(|value| self.restore_json(value)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| (self.restore(key), self.restore_json(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// `name` is what the value is called, if anything.
    fn cut_value(&mut self, value: &Value, name: Option<&str>, depth: usize) -> Result<Value, Blocked> {
        if depth > MOST_DEPTH {
            return Err(Blocked::Nested);
        }
        Ok(match value {
            Value::String(text) => Value::String(self.cut_string(text, name, depth)?),
            Value::Array(values) => {
                let cut = values.iter().map(|value| self.cut_value(value, name, depth + 1));
                Value::Array(cut.collect::<Result<_, _>>()?)
            }
            Value::Object(map) => self.cut_object(map, depth)?,
            Value::Number(number) => {
                self.cut_number(&number.to_string(), name)?.map_or_else(|| value.clone(), Value::String)
            }
            Value::Null | Value::Bool(_) => value.clone(),
        })
    }

    fn cut_object(&mut self, map: &Map<String, Value>, depth: usize) -> Result<Value, Blocked> {
        let said = ["name", "key", "header", "field", "Name", "Key"]
            .iter()
            .find_map(|field| map.get(*field)?.as_str());
        let mut cut = Map::with_capacity(map.len());
        for (key, value) in map {
            let is_value = matches!(key.as_str(), "value" | "Value" | "val" | "default");
            let name = said.filter(|_| is_value).unwrap_or(key);
            let value = self.cut_value(value, Some(name), depth + 1)?;
            cut.insert(self.cut(key)?.unwrap_or_else(|| key.clone()), value);
        }
        Ok(Value::Object(cut))
    }

    fn cut_string(&mut self, text: &str, name: Option<&str>, depth: usize) -> Result<String, Blocked> {
        if name.is_some_and(|name| named::is_secret(name, text)) {
            return Ok(self.remember(text, Class::Secret).to_owned());
        }
        let Some(cut) = self.cut(text)? else { return Ok(text.to_owned()) };
        // What was JSON has to stay JSON: a number that went leaves a hole without quotes.
        let is_json = |text: &str| {
            text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok()
        };
        if !is_json(text) || is_json(&cut) {
            return Ok(cut);
        }
        let inner: Value = serde_json::from_str(text).map_err(|_| Blocked::Nested)?;
        Ok(self.cut_value(&inner, None, depth + 1)?.to_string())
    }

    fn cut_number(&mut self, number: &str, name: Option<&str>) -> Result<Option<String>, Blocked> {
        if name.is_some_and(|name| named::is_secret(name, number)) {
            return Ok(Some(self.remember(number, Class::Secret).to_owned()));
        }
        // Nothing that is told by its form alone is shorter.
        const LEAST: usize = 8;
        if number.len() < LEAST { Ok(None) } else { self.cut(number) }
    }
}

/// The parts of a body that nobody can look into: images, sound, files.
#[must_use]
pub fn unread(body: &Value) -> Vec<Unread> {
    let mut found = Vec::new();
    look(body, &mut String::new(), 0, &mut found);
    found
}

fn look(value: &Value, path: &mut String, depth: usize, found: &mut Vec<Unread>) {
    let what = match value {
        _ if depth > MOST_DEPTH => Some("a part that is nested too deep"),
        Value::String(text) => opaque(text),
        Value::Object(map) => kind(map),
        _ => None,
    };
    if let Some(what) = what {
        found.push(Unread { path: path.clone(), what });
        return;
    }
    let length = path.len();
    let mut each = |step: &str, value: &Value| {
        path.push('/');
        path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        look(value, path, depth + 1, found);
        path.truncate(length);
    };
    match value {
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| each(&at.to_string(), value));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| each(key, value)),
        _ => {}
    }
}

/// What a part of a message is, if its type says that it is no text and it holds something.
fn kind(map: &Map<String, Value>) -> Option<&'static str> {
    const HOLDS: &[&str] = &[
        "source",
        "image_url",
        "input_audio",
        "audio",
        "file",
        "file_data",
        "file_id",
        "file_url",
        "data",
        "url",
        "video_url",
    ];
    let is_text = |value: &Value| {
        let source = value.as_object();
        let says = |field: &str, text: &str| {
            source.and_then(|map| map.get(field)?.as_str()).is_some_and(|value| value == text)
        };
        says("type", "text") || says("media_type", "text/plain") && !says("type", "base64")
    };
    let held = HOLDS.iter().find_map(|field| map.get(*field))?;
    match map.get("type")?.as_str()? {
        "image" | "image_url" | "input_image" => Some("an image"),
        "audio" | "input_audio" => Some("a sound"),
        "video" | "video_url" | "input_video" => Some("a video"),
        "document" | "file" | "input_file" if !is_text(held) => Some("a file"),
        _ => None,
    }
}

/// Data that is no text, though it is written as a string.
fn opaque(text: &str) -> Option<&'static str> {
    if let Some(head) = text.strip_prefix("data:") {
        let kind = head.split([';', ',']).next().unwrap_or_default();
        return (!kind.starts_with("text/") && !kind.is_empty() && head.contains(','))
            .then_some("embedded data");
    }
    let is_encoded = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\n' | b'\r')
    };
    let is_opaque = text.len() >= LEAST_OPAQUE
        && text.bytes().all(is_encoded)
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && super::decode::base64(text.as_bytes()).is_none();
    is_opaque.then_some("encoded data")
}
