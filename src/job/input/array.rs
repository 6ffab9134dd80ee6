//! A JSON array, element by element: the file may be far larger than memory.

use std::io::BufRead;
use std::sync::Arc;

use super::{InputError, MAX_RECORD_BYTES, Row, json_row};

/// The elements of one JSON array.
#[derive(Debug)]
pub(super) struct ArrayRows<R> {
    inner: R,
    label: Arc<str>,
    line: u64,
    offset: u64,
    state: State,
    element: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the `[`.
    Start,
    /// After the `[`: an element or the end.
    First,
    /// After a comma: an element.
    Next,
    /// After the `]`.
    End,
}

impl<R: BufRead> ArrayRows<R> {
    pub(super) fn new(inner: R, skipped: u64, label: &Arc<str>) -> Self {
        let (line, offset, state, element) = (1, skipped, State::Start, Vec::new());
        ArrayRows { inner, label: label.clone(), line, offset, state, element }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, InputError> {
        loop {
            let first = self.skip_white()?;
            match (self.state, first) {
                (State::Start, None) | (State::End, None) => return Ok(None),
                (State::Start, Some(b'[')) => {
                    self.take_byte();
                    self.state = State::First;
                }
                (State::Start, Some(_)) => {
                    return Err(
                        self.bad("not a JSON array: put the items in [ ], or one a line in a .jsonl file")
                    );
                }
                (State::First, Some(b']')) => {
                    self.take_byte();
                    self.state = State::End;
                }
                (State::First | State::Next, Some(b',' | b']')) => {
                    return Err(
                        self.bad("an item is missing before this comma or bracket: remove the extra comma")
                    );
                }
                (State::First | State::Next, Some(_)) => return self.read_element().map(Some),
                (State::First | State::Next, None) => return Err(self.unclosed()),
                (State::End, Some(_)) => {
                    return Err(self.bad("something follows the end of the array: remove it"));
                }
            }
        }
    }

    /// Reads up to the comma or bracket that ends the element, and takes that too.
    fn read_element(&mut self) -> Result<Row, InputError> {
        let (line, offset) = (self.line, self.offset);
        self.element.clear();
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        loop {
            let Some(byte) = self.peek()? else { return Err(self.unclosed()) };
            self.take_byte();
            match byte {
                b'\n' => self.line += 1,
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b',' | b']' if depth == 0 => {
                    self.state = if byte == b',' { State::Next } else { State::End };
                    break;
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if self.element.len() == MAX_RECORD_BYTES {
                let hint = "is a quote or a bracket left open?";
                return Err(InputError::TooLong { file: self.label.to_string(), line, hint });
            }
            self.element.push(byte);
        }
        let text = std::str::from_utf8(&self.element).map_err(|error| {
            let before = &self.element[..error.valid_up_to()];
            let line = line + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            InputError::NotUtf8 { file: self.label.to_string(), line, offset: offset + before.len() as u64 }
        })?;
        json_row(text.trim_end(), line, &self.label)
    }

    /// The next byte that is not white space.
    fn skip_white(&mut self) -> Result<Option<u8>, InputError> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => {
                    self.take_byte();
                    self.line += u64::from(byte == b'\n');
                }
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, InputError> {
        match self.inner.fill_buf() {
            Ok(buffer) => Ok(buffer.first().copied()),
            Err(source) => Err(InputError::Read { file: self.label.to_string(), line: self.line, source }),
        }
    }

    fn take_byte(&mut self) {
        self.inner.consume(1);
        self.offset += 1;
    }

    fn unclosed(&self) -> InputError {
        self.bad("the file ends inside the array: is it cut off, or is a `]` missing?")
    }

    fn bad(&self, problem: &str) -> InputError {
        InputError::Bad { file: self.label.to_string(), line: self.line, problem: problem.to_owned() }
    }
}
