//! CSV: a header, then one item a record; all values are strings.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use minijinja::value::Value;

use super::lines::push_json_string;
use super::{BUFFER_BYTES, InputError, MAX_RECORD_BYTES, Row};
use crate::job::row::Fields;
use crate::text;

/// The records of a CSV file.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<Watched<R>>,
    label: Arc<str>,
    columns: Vec<Column>,
    record: ByteRecord,
    /// Where the record begins.
    line: u64,
}

#[derive(Debug)]
struct Column {
    name: Arc<str>,
    /// `"name":`
    key: String,
}

impl<R> std::fmt::Debug for CsvRows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRows")
            .field("label", &self.label)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl<R: BufRead> CsvRows<R> {
    pub(super) fn new(inner: R, skipped: u64, delimiter: u8, label: &Arc<str>) -> Result<Self, InputError> {
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(Watched::new(inner, skipped));
        let (columns, record) = (Vec::new(), ByteRecord::new());
        let mut rows = CsvRows { reader, label: label.clone(), columns, record, line: 1 };
        rows.read_header()?;
        Ok(rows)
    }

    fn read_header(&mut self) -> Result<(), InputError> {
        if !self.read_record()? {
            return Ok(());
        }
        for index in 0..self.record.len() {
            let name: Arc<str> = self.field(index)?.trim().into();
            if self.columns.iter().any(|column| column.name == name) {
                return Err(
                    self.bad(format!("the column `{name}` comes twice in the header: rename one of them"))
                );
            }
            let mut key = String::new();
            push_json_string(&name, &mut key);
            key.push(':');
            self.columns.push(Column { name, key });
        }
        Ok(())
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, InputError> {
        if !self.read_record()? {
            return Ok(None);
        }
        let (expected, found) = (self.columns.len(), self.record.len());
        if found != expected {
            return Err(self.bad(self.ragged(found, expected)));
        }
        let mut json = String::with_capacity(self.record.as_slice().len() + 16 * expected + 2);
        let mut fields = Vec::with_capacity(expected);
        json.push('{');
        for (index, column) in self.columns.iter().enumerate() {
            let text = self.field(index)?;
            if index > 0 {
                json.push(',');
            }
            json.push_str(&column.key);
            push_json_string(text, &mut json);
            fields.push((column.name.clone(), Value::from(text)));
        }
        json.push('}');
        let fields = Fields(fields);
        let level = fields.level().map_err(|problem| self.bad(problem))?;
        Ok(Some(Row { line: self.line, json: json.into(), level, fields: Arc::new(fields) }))
    }

    /// What is wrong with a record that does not go with the header.
    fn ragged(&self, found: usize, expected: usize) -> String {
        let values = text::count(found as u64, "value");
        let columns = text::count(expected as u64, "column");
        match self.newlines_inside() {
            0 => format!(
                "{values}, but the header has {columns}: quote values that hold the delimiter, and fill up rows \
                 that are short"
            ),
            newlines => format!(
                "{values} on {} lines, but the header has {columns}: is a quote left open here?",
                text::thousands(newlines + 1)
            ),
        }
    }

    fn read_record(&mut self) -> Result<bool, InputError> {
        self.reader.get_mut().since_record = 0;
        let read = self.reader.read_byte_record(&mut self.record).map_err(|error| {
            let (file, line) = (self.label.to_string(), self.line + 1);
            match error.into_kind() {
                ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    InputError::TooLong { file, line, hint: "is a quote left open?" }
                }
                ErrorKind::Io(source) => InputError::Read { file, line, source },
                other => InputError::Bad { file, line, problem: format!("{other:?}") },
            }
        })?;
        if read {
            self.line = self.first_line();
        }
        Ok(read)
    }

    fn field(&self, index: usize) -> Result<&str, InputError> {
        let bytes = self.record.get(index).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.not_utf8())
    }

    fn not_utf8(&self) -> InputError {
        let (line, offset) = self.reader.get_ref().first_bad.unwrap_or((self.line, 0));
        InputError::NotUtf8 { file: self.label.to_string(), line, offset }
    }

    /// The line on which the record that was just read begins. The CSV reader's own count is off
    /// behind blank lines and with CRLF, so it is counted back from the record's end.
    fn first_line(&self) -> u64 {
        let end = self.reader.position();
        let watched = self.reader.get_ref();
        // At the end of the file the last newline may be inside the record: a quote was left open.
        let behind_newline = watched.byte_before(end.byte()) == Some(b'\n') && !watched.ended;
        end.line().saturating_sub(self.newlines_inside() + u64::from(behind_newline)).max(1)
    }

    fn newlines_inside(&self) -> u64 {
        self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn bad(&self, problem: String) -> InputError {
        InputError::Bad { file: self.label.to_string(), line: self.line, problem }
    }
}

/// Watches the bytes on their way to the CSV reader, which forgets where they came from: ends a
/// record that never ends (such as one behind a quote left open) before it fills the memory, and
/// notes where the text stops being UTF-8.
struct Watched<R> {
    inner: R,
    since_record: usize,
    /// The bytes of the last read, and where they began for the CSV reader.
    chunk: Vec<u8>,
    chunk_start: u64,
    /// Where the bytes of the next read begin in the file.
    line: u64,
    offset: u64,
    /// The beginning of a character whose end has not been read yet.
    split: Vec<u8>,
    /// Line and offset of the first byte that is not UTF-8.
    first_bad: Option<(u64, u64)>,
    /// Whether the file has ended.
    ended: bool,
}

impl<R> Watched<R> {
    fn new(inner: R, offset: u64) -> Self {
        Watched {
            inner,
            since_record: 0,
            chunk: Vec::new(),
            chunk_start: 0,
            line: 1,
            offset,
            split: Vec::new(),
            first_bad: None,
            ended: false,
        }
    }

    /// The byte before `place`, which the CSV reader has just reached.
    fn byte_before(&self, place: u64) -> Option<u8> {
        let index = place.checked_sub(self.chunk_start + 1)?;
        self.chunk.get(usize::try_from(index).ok()?).copied()
    }

    fn note(&mut self, fresh: &[u8]) {
        let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let joined;
        let (bytes, start) = if self.split.is_empty() {
            (fresh, self.offset)
        } else {
            joined = [self.split.as_slice(), fresh].concat();
            (joined.as_slice(), self.offset - self.split.len() as u64)
        };
        let rest = match std::str::from_utf8(bytes) {
            Ok(_) => Vec::new(),
            Err(error) if error.error_len().is_none() && !fresh.is_empty() => {
                bytes[error.valid_up_to()..].to_vec()
            }
            Err(error) => {
                let good = &bytes[..error.valid_up_to()];
                self.first_bad = Some((self.line + newlines(good), start + good.len() as u64));
                Vec::new()
            }
        };
        self.line += newlines(fresh);
        self.offset += fresh.len() as u64;
        self.split = rest;
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record > MAX_RECORD_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        self.since_record += read;
        self.ended = read == 0;
        if read > 0 {
            self.chunk_start += self.chunk.len() as u64;
            self.chunk.clear();
            self.chunk.extend_from_slice(&buffer[..read]);
        }
        if self.first_bad.is_none() {
            self.note(&buffer[..read]);
        }
        Ok(read)
    }
}
