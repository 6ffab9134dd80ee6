//! Inputs of one item a line: JSON Lines and plain text.

use std::io::{BufRead, Read as _};
use std::sync::Arc;

use minijinja::value::Value;

use super::{InputError, MAX_RECORD_BYTES, Row, json_row};
use crate::job::row::Fields;

/// Lines of bounded length, checked to be UTF-8, counted.
#[derive(Debug)]
struct Lines<R> {
    inner: R,
    label: Arc<str>,
    buffer: Vec<u8>,
    /// The number of the line in the buffer, from 1.
    line: u64,
    /// Where in the file the next line begins.
    offset: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(inner: R, skipped: u64, label: &Arc<str>) -> Self {
        Lines { inner, label: label.clone(), buffer: Vec::new(), line: 0, offset: skipped }
    }

    /// Reads on to the next line that is not blank; false at the end.
    fn advance(&mut self) -> Result<bool, InputError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let mut bounded = (&mut self.inner).take(MAX_RECORD_BYTES as u64 + 2);
            let read = bounded.read_until(b'\n', &mut self.buffer).map_err(|source| InputError::Read {
                file: self.label.to_string(),
                line: self.line,
                source,
            })?;
            if read == 0 {
                return Ok(false);
            }
            let start = self.offset;
            self.offset += read as u64;
            let text = self.buffer.trim_ascii_end();
            if text.len() > MAX_RECORD_BYTES {
                let hint = "put each item on a line of its own, or shorten it";
                return Err(InputError::TooLong { file: self.label.to_string(), line: self.line, hint });
            }
            if let Err(error) = std::str::from_utf8(text) {
                let offset = start + error.valid_up_to() as u64;
                return Err(InputError::NotUtf8 { file: self.label.to_string(), line: self.line, offset });
            }
            if !text.trim_ascii_start().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line, without the white space at its end.
    fn text(&self) -> &str {
        std::str::from_utf8(self.buffer.trim_ascii_end()).unwrap_or_default()
    }
}

/// JSON Lines.
#[derive(Debug)]
pub(super) struct JsonRows<R>(Lines<R>);

impl<R: BufRead> JsonRows<R> {
    pub(super) fn new(inner: R, skipped: u64, label: &Arc<str>) -> Self {
        JsonRows(Lines::new(inner, skipped, label))
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, InputError> {
        if !self.0.advance()? {
            return Ok(None);
        }
        json_row(self.0.text(), self.0.line, &self.0.label).map(Some)
    }
}

/// Plain lines of text, each the one column of its row.
#[derive(Debug)]
pub(super) struct TextRows<R> {
    lines: Lines<R>,
    field: Arc<str>,
    /// `{"field":`
    opening: String,
}

impl<R: BufRead> TextRows<R> {
    pub(super) fn new(inner: R, skipped: u64, label: &Arc<str>, field: Arc<str>) -> Self {
        let opening = format!("{{{}:", serde_json::Value::from(&*field));
        TextRows { lines: Lines::new(inner, skipped, label), field, opening }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, InputError> {
        if !self.lines.advance()? {
            return Ok(None);
        }
        let text = self.lines.text();
        let mut json = String::with_capacity(self.opening.len() + text.len() + 3);
        json.push_str(&self.opening);
        push_json_string(text, &mut json);
        json.push('}');
        let fields = Fields(vec![(self.field.clone(), Value::from(text))]);
        let line = self.lines.line;
        let level = fields.level().map_err(|problem| InputError::Bad {
            file: self.lines.label.to_string(),
            line,
            problem,
        })?;
        Ok(Some(Row { line, json: json.into(), level, fields: Arc::new(fields) }))
    }
}

/// Appends `text` as a JSON string.
pub(super) fn push_json_string(text: &str, out: &mut String) {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}
