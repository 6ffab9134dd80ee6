//! Input: rows streamed from a file, standard input, the spec itself, or a count.

mod array;
mod csv;
mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use empire_actors::level::Level;
use minijinja::value::Value;

use self::array::ArrayRows;
use self::csv::CsvRows;
use self::lines::{JsonRows, TextRows};
use super::row::{self, Fields, Parsed};
use super::spec::{FileInput, Format, Input, JobSpec};

/// One record of the input may have this many bytes.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// The column of an item that is no object.
pub(super) const TEXT_FIELD: &str = "text";

/// One item of the input.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where it begins in its file, from 1; its number where there is no file.
    pub line: u64,
    /// Its columns: a compact JSON object.
    pub json: Box<str>,
    /// Its own level, if it carries one.
    pub level: Option<Level>,
    pub(super) fields: Arc<Fields>,
}

/// Why input cannot be read, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Neither the spec nor the command line names any.
    #[error("{spec} has no input: add `input: FILE` to it, or give `--input FILE`")]
    None {
        /// The spec.
        spec: String,
    },
    /// The file cannot be opened.
    #[error("cannot open the input {file}: {source}: check the path (one in a spec is relative to the spec)")]
    Open {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The name says nothing about the format, and neither does the spec.
    #[error(
        "cannot tell the format of {file}: name it .csv, .jsonl, .ndjson, .json or .txt, or say which in the spec: \
         `input: {{format: csv}}` (csv, jsonl, json or lines)"
    )]
    UnknownFormat {
        /// The file.
        file: String,
    },
    /// A setting of the spec's input means nothing for its format.
    #[error(
        "`input.{setting}` means nothing for {file}, which is read as {format}: remove it or change `input.format`"
    )]
    UnusedSetting {
        /// The setting.
        setting: &'static str,
        /// The file.
        file: String,
        /// How it is read.
        format: Format,
    },
    /// The file broke while it was read.
    #[error("cannot read {file} at line {line}: {source}")]
    Read {
        /// The file.
        file: String,
        /// How far it got.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// Standard input could not be kept for reading.
    #[error("cannot keep standard input in {file}: {source}: free some space or pass a file")]
    Spool {
        /// Where it would be kept.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Standard input has to be spooled before it is read.
    #[error("standard input can be read only once: spool it to a file first")]
    NotSpooled,
    /// There are no items.
    #[error("{file} holds no items: add at least one, or pass another file with `--input FILE`")]
    Empty {
        /// The file.
        file: String,
    },
    /// Text that is not UTF-8.
    #[error("{file}, line {line}: invalid UTF-8 at byte {offset} of the file: save it as UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
        /// Where the record begins.
        line: u64,
        /// The first bad byte, from 0 at the start of the file.
        offset: u64,
    },
    /// A record over [`MAX_RECORD_BYTES`].
    #[error("{file}, line {line}: a record of more than 1 MiB: {hint}")]
    TooLong {
        /// The file.
        file: String,
        /// Where it begins.
        line: u64,
        /// What to look for.
        hint: &'static str,
    },
    /// A record that cannot be read as an item.
    #[error("{file}, line {line}: {problem}")]
    Bad {
        /// The file.
        file: String,
        /// Where the record begins.
        line: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// More items than a job can number.
    #[error("{file} holds more than 4,294,967,295 items: split it into several jobs")]
    TooMany {
        /// The file.
        file: String,
    },
    /// `--limit 0`.
    #[error("a limit of 0 leaves no items: give `--limit` 1 or more")]
    ZeroLimit,
}

/// A job's input, found but not yet read. It can be read any number of times.
#[derive(Debug, Clone)]
pub struct InputSource {
    label: Arc<str>,
    kind: Kind,
    /// Every row is at least this private.
    least: Option<Level>,
}

#[derive(Debug, Clone)]
enum Kind {
    Stdin(Shape),
    File(PathBuf, Shape),
    Rows(Arc<[Box<str>]>),
    Count(u32),
}

/// How the bytes of a file become rows.
#[derive(Debug, Clone)]
struct Shape {
    format: Format,
    field: Arc<str>,
    delimiter: u8,
}

impl InputSource {
    /// The input that `spec` names, or `given` on the command line in its place (`-` is standard
    /// input). A path in the spec is relative to the spec, one on the command line is not. How a
    /// file is read is said by the spec's `input.format`, else by the file's name.
    pub fn resolve(spec: &JobSpec, given: Option<&Path>) -> Result<InputSource, InputError> {
        let none = || InputError::None { spec: spec.path.display().to_string() };
        let file = match (given, spec.input.as_ref()) {
            (None, None) => return Err(none()),
            (None, Some(Input::Rows(rows))) => {
                return Ok(InputSource::inline(spec, Kind::Rows(rows.clone())));
            }
            (None, Some(Input::Count(count))) => return Ok(InputSource::inline(spec, Kind::Count(*count))),
            (None, Some(Input::File(settings))) => settings.file.clone().ok_or_else(none)?,
            (Some(path), _) => path.to_owned(),
        };
        let settings = match &spec.input {
            Some(Input::File(settings)) => settings,
            _ => &FileInput::default(),
        };
        if file.as_os_str() == "-" {
            let shape = shape_of(settings, None, "standard input")?;
            return Ok(InputSource { label: "standard input".into(), kind: Kind::Stdin(shape), least: None });
        }
        let path = match (given, spec.path.parent()) {
            (None, Some(folder)) => folder.join(&file),
            _ => file,
        };
        let label = path.display().to_string();
        let shape = shape_of(settings, Format::of(&path), &label)?;
        Ok(InputSource { label: label.into(), kind: Kind::File(path, shape), least: None })
    }

    fn inline(spec: &JobSpec, kind: Kind) -> InputSource {
        InputSource { label: format!("the input in {}", spec.path.display()).into(), kind, least: None }
    }

    /// Whether this is standard input, which has to be [spooled](Self::spool) before it is read.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        matches!(self.kind, Kind::Stdin(_))
    }

    /// Copies standard input, `from`, into `file` and reads it from there; any other input is
    /// left as it is.
    pub fn spool(self, from: &mut dyn Read, file: &Path) -> Result<InputSource, InputError> {
        let Kind::Stdin(shape) = &self.kind else { return Ok(self) };
        let shape = shape.clone();
        let copied = File::create(file).and_then(|mut to| {
            io::copy(from, &mut to)?;
            to.sync_all()
        });
        copied.map_err(|source| InputError::Spool { file: file.display().to_string(), source })?;
        Ok(InputSource { kind: Kind::File(file.to_owned(), shape), ..self })
    }

    /// What to call it in messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The same input, each row of it at least this private.
    #[must_use]
    pub fn at_least(self, level: Level) -> InputSource {
        InputSource { least: self.least.max(Some(level)), ..self }
    }

    /// The file it is read from, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File(path, _) => Some(path),
            Kind::Stdin(_) | Kind::Rows(_) | Kind::Count(_) => None,
        }
    }

    /// Reads it from the start.
    pub fn rows(&self) -> Result<Rows, InputError> {
        let reader = match &self.kind {
            Kind::Stdin(_) => return Err(InputError::NotSpooled),
            Kind::Rows(rows) => Reader::Inline(rows.clone(), 0),
            Kind::Count(count) => Reader::Count { next: 1, last: u64::from(*count) },
            Kind::File(path, shape) => {
                let (text, skipped) =
                    open(path).map_err(|source| InputError::Open { file: self.label.to_string(), source })?;
                match shape.format {
                    Format::Csv => {
                        Reader::Csv(Box::new(CsvRows::new(text, skipped, shape.delimiter, &self.label)?))
                    }
                    Format::Jsonl => Reader::Json(JsonRows::new(text, skipped, &self.label)),
                    Format::Json => Reader::Array(ArrayRows::new(text, skipped, &self.label)),
                    Format::Lines => {
                        Reader::Text(TextRows::new(text, skipped, &self.label, shape.field.clone()))
                    }
                }
            }
        };
        Ok(Rows { reader, label: self.label.clone(), least: self.least, count: 0, over: false })
    }
}

fn shape_of(settings: &FileInput, named: Option<Format>, file: &str) -> Result<Shape, InputError> {
    let format = settings.format.or(named);
    let format = format.ok_or_else(|| InputError::UnknownFormat { file: file.to_owned() })?;
    let unused = |setting| InputError::UnusedSetting { setting, file: file.to_owned(), format };
    if settings.field.is_some() && format != Format::Lines {
        return Err(unused("field"));
    }
    if settings.delimiter.is_some() && format != Format::Csv {
        return Err(unused("delimiter"));
    }
    Ok(Shape {
        format,
        field: settings.field.as_deref().unwrap_or(TEXT_FIELD).into(),
        delimiter: settings.delimiter.unwrap_or(b','),
    })
}

/// Opens a file for reading behind its byte order mark, and says how long that was.
fn open(path: &Path) -> io::Result<(BufReader<File>, u64)> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let mut text = BufReader::with_capacity(BUFFER_BYTES, file);
    if !text.fill_buf()?.starts_with(MARK) {
        return Ok((text, 0));
    }
    text.consume(MARK.len());
    Ok((text, MARK.len() as u64))
}

/// The rows of an input, in order. After an error there are no more.
#[derive(Debug)]
pub struct Rows {
    reader: Reader,
    label: Arc<str>,
    least: Option<Level>,
    count: u64,
    over: bool,
}

#[derive(Debug)]
enum Reader {
    Csv(Box<CsvRows<BufReader<File>>>),
    Json(JsonRows<BufReader<File>>),
    Array(ArrayRows<BufReader<File>>),
    Text(TextRows<BufReader<File>>),
    Inline(Arc<[Box<str>]>, usize),
    Count { next: u64, last: u64 },
}

impl Reader {
    fn next_row(&mut self, label: &str) -> Result<Option<Row>, InputError> {
        match self {
            Reader::Csv(rows) => rows.next_row(),
            Reader::Json(rows) => rows.next_row(),
            Reader::Array(rows) => rows.next_row(),
            Reader::Text(rows) => rows.next_row(),
            Reader::Inline(rows, at) => {
                let Some(json) = rows.get(*at) else { return Ok(None) };
                *at += 1;
                json_row(json, *at as u64, label).map(Some)
            }
            Reader::Count { next, last } if *next <= *last => {
                let number = *next;
                *next += 1;
                let fields = Fields(vec![("n".into(), Value::from(number))]);
                let json = format!("{{\"n\":{number}}}").into();
                Ok(Some(Row { line: number, json, level: None, fields: Arc::new(fields) }))
            }
            Reader::Count { .. } => Ok(None),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let file = || self.label.to_string();
        let next = match self.reader.next_row(&self.label) {
            Ok(Some(_)) if self.count == u64::from(u32::MAX) => {
                Some(Err(InputError::TooMany { file: file() }))
            }
            Ok(Some(row)) => Some(Ok(Row { level: row.level.max(self.least), ..row })),
            Ok(None) if self.count == 0 => Some(Err(InputError::Empty { file: file() })),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        self.count += 1;
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The row that a JSON text holds; one that is no object becomes the column `text`.
fn json_row(json: &str, line: u64, label: &str) -> Result<Row, InputError> {
    let bad = |problem| InputError::Bad { file: label.to_owned(), line, problem };
    let parsed = row::parse(json).map_err(|error| {
        // A record over several lines: the line that counts is the one in the file.
        let line = line + (error.line() as u64).saturating_sub(1);
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        let problem = format!("{what} (column {}): correct or remove this item", error.column());
        InputError::Bad { file: label.to_owned(), line, problem }
    })?;
    let mut compact = String::with_capacity(json.len() + 12);
    let fields = match parsed {
        Parsed::Object(fields) => {
            row::push_compact(json, &mut compact);
            fields
        }
        Parsed::Scalar(value) => {
            compact.push_str("{\"text\":");
            row::push_compact(json, &mut compact);
            compact.push('}');
            Fields(vec![(TEXT_FIELD.into(), value)])
        }
    };
    let level = fields.level().map_err(bad)?;
    Ok(Row { line, json: compact.into(), level, fields: Arc::new(fields) })
}

#[cfg(test)]
mod tests;
