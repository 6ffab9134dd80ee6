//! `--jsonl`: a text or a body a line, answered in order. A line that cannot be read is answered, too.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use empire_actors::gates::detect::{Class, Detector};
use empire_actors::level::Zone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{open, shown, unreadable};
use crate::cli::terminal;
use crate::privacy::numbers::Marked;
use crate::privacy::screen::{self, Action, Screened};
use crate::run::error::{CommandError, Exit};
use crate::text;

/// The longest line.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// Lines that are looked at side by side, and how long they may be together.
const BATCH_LINES: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;
/// What some programs begin a stream with; it is no part of the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines that could not be read.
#[derive(Debug, Default)]
pub(super) struct Broken {
    first: Option<String>,
    count: u64,
}

impl Broken {
    fn add(&mut self, path: &Path, number: u64, why: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{}:{number}: {why}", shown(path)));
    }

    /// Tells of them once all is answered.
    pub(super) fn told(self) -> Result<Exit, CommandError> {
        let Some(first) = self.first else { return Ok(Exit::Done) };
        let more = match self.count - 1 {
            0 => String::new(),
            more => format!("; {} could not be read either", text::count(more, "more line")),
        };
        let how = "write {\"id\", \"text\"} or {\"id\", \"request\"}";
        Err(CommandError::bad_input(format!("{first}: {how}{more}")))
    }
}

/// A line of the stream.
struct Line {
    number: u64,
    /// `None` if it is too long.
    bytes: Option<Vec<u8>>,
}

/// The answer to a line, and why the line could not be read.
struct Answer {
    json: String,
    broken: Option<String>,
}

/// Answers every line of a file.
///
/// # Errors
/// The file cannot be read, or nobody takes the answers.
pub(super) fn answer_all(
    detector: &Arc<Detector>,
    path: &Path,
    zone: Zone,
    broken: &mut Broken,
) -> Result<(), CommandError> {
    let mut input = open(path)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut number = 0;
    loop {
        let batch = batch(&mut input, path, &mut number)?;
        if batch.is_empty() {
            return Ok(());
        }
        let share = batch.len().div_ceil(workers).max(1);
        let answers: Vec<Option<Answer>> = std::thread::scope(|scope| {
            let work = |line: &Line| answer(detector, zone, line);
            let running: Vec<_> = batch
                .chunks(share)
                .map(|lines| scope.spawn(move || lines.iter().map(work).collect::<Vec<_>>()))
                .collect();
            let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
            let all: Result<Vec<_>, _> = joined.collect();
            all.map(|answers| answers.into_iter().flatten().collect())
        })
        .map_err(|_| CommandError::internal("the scanner failed: nothing of its lines is printed"))?;
        let mut out = String::new();
        for (answer, line) in answers.into_iter().zip(&batch) {
            let Some(Answer { json, broken: why }) = answer else { continue };
            out.push_str(&json);
            out.push('\n');
            if let Some(why) = why {
                broken.add(path, line.number, &why);
            }
        }
        terminal::print(&out)?;
    }
}

/// The next lines; none at the end.
fn batch(
    input: &mut BufReader<Box<dyn Read>>,
    path: &Path,
    number: &mut u64,
) -> Result<Vec<Line>, CommandError> {
    let mut batch = Vec::new();
    let mut taken = 0;
    while batch.len() < BATCH_LINES && taken < BATCH_BYTES {
        let failed = |error| unreadable(path, &error);
        let mut bytes = Vec::new();
        input.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        *number += 1;
        let mut bytes = Some(bytes).filter(|bytes| bytes.len() as u64 <= MAX_LINE_BYTES);
        match &mut bytes {
            Some(bytes) if *number == 1 && bytes.starts_with(BYTE_ORDER_MARK) => {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            Some(_) => {}
            None => {
                input.skip_until(b'\n').map_err(failed)?;
            }
        }
        taken += bytes.as_ref().map_or(0, Vec::len);
        batch.push(Line { number: *number, bytes });
        // What came in one go from a pipe is answered before more is waited for.
        if input.buffer().is_empty() {
            break;
        }
    }
    Ok(batch)
}

/// What a line says. Its parts are read one by one, so that one that is broken leaves the others.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Told<'a> {
    id: Option<&'a RawValue>,
    redacted: Option<Box<RawValue>>,
    action: Action,
    labels: Vec<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The answer to a line; `None` to an empty one.
fn answer(detector: &Arc<Detector>, zone: Zone, line: &Line) -> Option<Answer> {
    let Some(bytes) = &line.bytes else {
        let why = format!("the line is longer than {} MiB", MAX_LINE_BYTES >> 20);
        return Some(refused(None, why));
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let asked = match serde_json::from_slice::<Asked<'_>>(bytes) {
        Ok(asked) => asked,
        Err(error) => return Some(refused(id_of(bytes).as_deref(), in_words(&error))),
    };
    Some(match screened(detector, zone, &asked) {
        Ok(screened) => {
            let Screened { redacted, action, labels, reason } = screened;
            told(&Told { id: Some(asked.id), redacted, action, labels, reason }, None)
        }
        Err(why) => refused(Some(asked.id), why),
    })
}

fn screened(
    detector: &Arc<Detector>,
    zone: Zone,
    asked: &Asked<'_>,
) -> Result<Screened<Box<RawValue>>, String> {
    let wrong = |error: serde_json::Error| in_words(&error);
    match (asked.text, asked.request) {
        (Some(text), None) => {
            if !text.get().starts_with('"') {
                return Err("its `text` is no string".to_owned());
            }
            let text: String = serde_json::from_str(text.get()).map_err(wrong)?;
            let screened = screen::text(detector, zone, &text);
            raw(screened, |text| serde_json::value::to_raw_value(&text))
        }
        (None, Some(request)) => {
            let marked = Marked::new(request.get()).ok_or("its request has no private-use character left")?;
            let body: Value = serde_json::from_str(&marked.json).map_err(wrong)?;
            let screened = screen::body(detector, zone, body);
            raw(screened, |body| RawValue::from_string(marked.restore(body.to_string())))
        }
        (Some(_), Some(_)) => Err("it has both a text and a request".to_owned()),
        (None, None) => Err("it has neither a text nor a request".to_owned()),
    }
}

fn raw<T>(
    screened: Screened<T>,
    write: impl FnOnce(T) -> Result<Box<RawValue>, serde_json::Error>,
) -> Result<Screened<Box<RawValue>>, String> {
    let Screened { redacted, action, labels, reason } = screened;
    let redacted = redacted.map(write).transpose().map_err(|error| in_words(&error))?;
    Ok(Screened { redacted, action, labels, reason })
}

/// The id of a line that cannot be read otherwise.
fn id_of(line: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Named {
        id: Box<RawValue>,
    }
    serde_json::from_str::<Named>(&String::from_utf8_lossy(line)).ok().map(|named| named.id)
}

/// What is wrong with a line, without its number, which is always 1 here.
fn in_words(error: &serde_json::Error) -> String {
    let said = error.to_string();
    match said.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => said,
    }
}

fn refused(id: Option<&RawValue>, why: String) -> Answer {
    let reason = Some(format!("the line cannot be read: {why}"));
    told(&Told { id, redacted: None, action: Action::Block, labels: Vec::new(), reason }, Some(why))
}

fn told(told: &Told<'_>, broken: Option<String>) -> Answer {
    match serde_json::to_string(told) {
        Ok(json) => Answer { json, broken },
        // Nothing in it can fail to be written; if it did, nothing would be told of the line.
        Err(error) => Answer {
            json: "{\"id\":null,\"redacted\":null,\"action\":\"block\",\"labels\":[]}".to_owned(),
            broken: Some(error.to_string()),
        },
    }
}
