//! One line of the log: what was said where, ready to be looked at for secrets and written.

use empire_actors::ports::UnixMillis;
use serde_json::{Map, Value};
use tracing::Level;

use super::otlp::SpanIds;
use crate::text::{self, Paint};

/// A line's fields, or a span's, in the order in which they were given.
pub(crate) type Fields = Map<String, Value>;

/// What surrounds a line: a job, a call, a task.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    pub(crate) name: &'static str,
    pub(crate) fields: Fields,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: UnixMillis,
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Fields,
    /// From the outermost to the innermost.
    pub(crate) spans: Vec<Around>,
    /// The innermost, where lines are exported.
    pub(crate) within: Option<SpanIds>,
}

impl Line {
    /// A line of the log about itself.
    pub(crate) fn own(at: UnixMillis, message: impl Into<String>, fields: &[(&str, u64)]) -> Line {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        Line {
            at,
            level: Level::WARN,
            target: "empire::log",
            message: message.into(),
            fields,
            spans: Vec::new(),
            within: None,
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |fields: &Fields| {
            fields.iter().map(|(name, value)| 64 + name.len() + value.as_str().map_or(0, str::len)).sum()
        };
        let spans: usize = self.spans.iter().map(|span| 32 + of(&span.fields)).sum();
        let fields: usize = of(&self.fields);
        128 + self.message.len() + fields + spans
    }

    /// As JSON, with the line break. `process` tells apart those that write to one file.
    pub(crate) fn json(&self, process: u32) -> String {
        let mut line = Map::new();
        line.insert("time".to_owned(), time(self.at).into());
        line.insert("level".to_owned(), self.level.as_str().into());
        line.insert("target".to_owned(), self.target.into());
        line.insert("message".to_owned(), self.message.as_str().into());
        if !self.fields.is_empty() {
            line.insert("fields".to_owned(), self.fields.clone().into());
        }
        if !self.spans.is_empty() {
            let span = |around: &Around| {
                let mut span = Map::from_iter([("name".to_owned(), Value::from(around.name))]);
                span.extend(around.fields.clone());
                Value::Object(span)
            };
            line.insert("spans".to_owned(), self.spans.iter().map(span).collect());
        }
        line.insert("process".to_owned(), process.into());
        Value::Object(line).to_string() + "\n"
    }

    /// For a person's eyes, with the line break.
    pub(crate) fn pretty(&self, coloured: bool) -> String {
        let spans = self.spans.iter().map(|span| (span.name, &span.fields));
        let shown = Shown {
            time: &time(self.at),
            level: self.level.as_str(),
            target: self.target,
            message: &self.message,
            fields: Some(&self.fields),
        };
        shown.pretty(spans, coloured)
    }
}

/// What of a line is shown to a person.
pub(crate) struct Shown<'a> {
    pub(crate) time: &'a str,
    pub(crate) level: &'a str,
    pub(crate) target: &'a str,
    pub(crate) message: &'a str,
    pub(crate) fields: Option<&'a Fields>,
}

impl Shown<'_> {
    /// One line with its break. What a terminal would obey is not in it.
    pub(crate) fn pretty<'s>(
        &self,
        spans: impl Iterator<Item = (&'s str, &'s Fields)>,
        coloured: bool,
    ) -> String {
        let paint = Paint(coloured);
        let level = format!("{:>5}", clean(self.level));
        let level = match level.trim() {
            "ERROR" => paint.bad(&level),
            "WARN" => paint.warn(&level),
            "INFO" => paint.good(&level),
            _ => level,
        };
        let mut line = format!("{} {level} ", clean(self.time));
        for (name, fields) in spans {
            line += &paint.strong(&clean(name));
            line += "{";
            line += pairs(fields, Some("name")).trim_start();
            line += "}: ";
        }
        line += &format!("{}: {}", clean(self.target), clean(self.message));
        line += &self.fields.map(|fields| pairs(fields, None)).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// A message with its fields, on one line.
pub(crate) fn words(message: &str, fields: Option<&Fields>) -> String {
    clean(message) + &fields.map(|fields| pairs(fields, None)).unwrap_or_default()
}

fn pairs(fields: &Fields, but: Option<&str>) -> String {
    let fields = fields.iter().filter(|(name, _)| but != Some(name.as_str()));
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) if is_word(text) => format!(" {}={text}", clean(name)),
        Value::String(text) => format!(" {}={:?}", clean(name), clean(text)),
        other => format!(" {}={}", clean(name), clean(&other.to_string())),
    };
    fields.map(pair).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || text::is_unprintable(c))
}

fn clean(text: &str) -> String {
    text::one_line(text, usize::MAX)
}

/// A moment with milliseconds, always as long, so that lines sort by it as text.
pub(crate) fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// The day of a moment, as it stands in a file's name.
pub(crate) fn day(at: UnixMillis) -> jiff::civil::Date {
    let zoned = jiff::Timestamp::from_millisecond(at.0).map(|at| at.to_zoned(jiff::tz::TimeZone::UTC));
    zoned.map_or(jiff::civil::Date::ZERO, |zoned| zoned.date())
}
