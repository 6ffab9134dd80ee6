//! TOML as a tree whose every value knows where it was written, so that layers can be merged and
//! an error can still name file, line and field.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::money::Micros;
use toml::de::{DeTable, DeValue};

use super::duration::HumaneDuration;
use super::error::{ConfigError, Place, hint};
use super::money::EuroRate;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A TOML value; numbers as they were written, so that money is read exactly.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Number(String),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
    Date(String),
}

pub(super) type Table = BTreeMap<String, Node>;

/// Reads one file's text; `source` is what errors call the file.
pub(super) fn parse(text: &str, source: &Arc<str>) -> Result<Table, ConfigError> {
    let line_of =
        |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: Place { source: Arc::clone(source), line: error.span().map(|span| line_of(span.start)) },
        problem: error.message().replace('\n', ", "),
    })?;
    Ok(table(document.into_inner(), &|offset| Place::line(source, line_of(offset))))
}

fn table(entries: DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Table {
    let entry = |(key, value): (toml::Spanned<std::borrow::Cow<'_, str>>, toml::Spanned<DeValue<'_>>)| {
        let place_of_key = place(key.span().start);
        let value = convert(value.into_inner(), place);
        (key.into_inner().into_owned(), Node { value, place: place_of_key })
    };
    entries.into_iter().map(entry).collect()
}

fn convert(value: DeValue<'_>, place: &dyn Fn(usize) -> Place) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Table(entries) => Value::Table(table(entries, place)),
        DeValue::Array(list) => Value::List(
            list.into_iter()
                .map(|item| {
                    let place_of_item = place(item.span().start);
                    Node { value: convert(item.into_inner(), place), place: place_of_item }
                })
                .collect(),
        ),
    }
}

/// Lays `over` on `base`: tables are merged, anything else is replaced.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key), node) {
            (Some(Node { value: Value::Table(below), .. }), Node { value: Value::Table(above), .. }) => {
                merge(below, above);
            }
            (_, node) => {
                base.insert(key, node);
            }
        }
    }
}

/// A table that is being read: whatever is not asked for in the end is an unknown field.
pub(super) struct Fields {
    path: String,
    place: Place,
    entries: Table,
    asked: Vec<&'static str>,
}

impl Fields {
    /// The whole document.
    pub(super) fn root(entries: Table, place: Place) -> Fields {
        Fields { path: String::new(), place, entries, asked: Vec::new() }
    }

    /// Takes the field out, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Field> {
        self.asked.push(name);
        let node = self.entries.remove(name)?;
        Some(Field { path: join(&self.path, name), node })
    }

    /// Takes a field that must be there.
    pub(super) fn need(&mut self, name: &'static str, remedy: &str) -> Result<Field, ConfigError> {
        self.take(name).ok_or_else(|| ConfigError::Missing {
            place: self.place.clone(),
            field: join(&self.path, name),
            remedy: remedy.to_owned(),
        })
    }

    /// Takes every entry of a table whose keys are names.
    pub(super) fn named(mut self) -> Vec<(String, Field)> {
        let path = self.path;
        std::mem::take(&mut self.entries)
            .into_iter()
            .map(|(name, node)| {
                let field = Field { path: join(&path, &name), node };
                (name, field)
            })
            .collect()
    }

    /// Refuses what was not asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        match self.entries.into_iter().next() {
            None => Ok(()),
            Some((name, node)) => Err(ConfigError::UnknownField {
                place: node.place,
                field: join(&self.path, &name),
                remedy: hint(&name, self.asked.iter().copied()),
            }),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { format!("\"{name}\"") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// One field that is being read.
pub(super) struct Field {
    path: String,
    node: Node,
}

impl Field {
    pub(super) fn place(&self) -> &Place {
        &self.node.place
    }

    /// An error about this field.
    pub(super) fn invalid(&self, problem: impl Display, remedy: impl Display) -> ConfigError {
        ConfigError::Invalid {
            place: self.node.place.clone(),
            field: self.path.clone(),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        }
    }

    fn not_a(&self, wanted: &str, example: &str) -> ConfigError {
        let found = match &self.node.value {
            Value::Text(_) => "text",
            Value::Number(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Date(_) => "a date",
        };
        self.invalid(format_args!("is {found}, not {wanted}"), format_args!("write it like {example}"))
    }

    pub(super) fn table(self) -> Result<Fields, ConfigError> {
        match self.node.value {
            Value::Table(entries) => {
                Ok(Fields { path: self.path, place: self.node.place, entries, asked: Vec::new() })
            }
            _ => Err(self.not_a("a table", &format!("[{}]", self.path))),
        }
    }

    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        match &self.node.value {
            Value::Text(text) => Ok(text.trim()),
            _ => Err(self.not_a("text", "\"text\"")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, ConfigError> {
        match self.node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.not_a("true or false", "true")),
        }
    }

    pub(super) fn texts(&self) -> Result<Vec<String>, ConfigError> {
        let example = "[\"ollama\", \"kimi\"]";
        let Value::List(items) = &self.node.value else { return Err(self.not_a("a list", example)) };
        let text_of = |item: &Node| match &item.value {
            Value::Text(text) => Ok(text.trim().to_owned()),
            _ => Err(self.invalid("holds something else than text", format_args!("write it like {example}"))),
        };
        items.iter().map(text_of).collect()
    }

    /// A number in `range`.
    pub(super) fn number<T>(&self, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Value::Number(text) = &self.node.value else { return Err(self.not_a("a number", "100")) };
        text.parse::<T>().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            self.invalid(
                format_args!("is {text}"),
                format_args!("it must be from {} to {}", range.start(), range.end()),
            )
        })
    }

    /// A number in `range`, or `"none"`.
    pub(super) fn limit<T>(&self, range: RangeInclusive<T>) -> Result<Option<T>, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
    {
        if self.says_none() { Ok(None) } else { self.number(range).map(Some) }
    }

    /// Whether it is the word for "no such limit".
    pub(super) fn says_none(&self) -> bool {
        matches!(&self.node.value, Value::Text(text) if text.trim() == "none")
    }

    /// Dollars, as text or as a number.
    pub(super) fn money(&self) -> Result<Micros, ConfigError> {
        match &self.node.value {
            Value::Text(text) | Value::Number(text) => text.parse().map_err(|_| {
                self.invalid(
                    format_args!("is {text:?}, which is no amount of money"),
                    "write dollars with up to six decimals, like \"0.95\"",
                )
            }),
            _ => Err(self.not_a("an amount of money", "\"0.95\"")),
        }
    }

    /// Dollars or euros.
    pub(super) fn amount(&self, euro: EuroRate) -> Result<Micros, ConfigError> {
        match &self.node.value {
            Value::Text(text) | Value::Number(text) => euro.read(text).map_err(|_| {
                self.invalid(
                    format_args!("is {text:?}, which is no amount of money"),
                    "write dollars or euros with up to six decimals, like \"0.95\" or \"0.95 EUR\"",
                )
            }),
            _ => Err(self.not_a("an amount of money", "\"0.95\"")),
        }
    }

    /// Numbers in `range`.
    pub(super) fn numbers<T>(&self, range: RangeInclusive<T>, example: &str) -> Result<Vec<T>, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Value::List(items) = &self.node.value else { return Err(self.not_a("a list", example)) };
        let number_of = |item: &Node| match &item.value {
            Value::Number(text) => text.parse::<T>().ok().filter(|number| range.contains(number)),
            _ => None,
        };
        items.iter().map(number_of).collect::<Option<Vec<T>>>().ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            self.invalid(
                format_args!("holds something else than numbers from {from} to {to}"),
                format_args!("write it like {example}"),
            )
        })
    }

    /// A duration that is more than nothing and at most `most`.
    pub(super) fn duration(&self, most: Duration) -> Result<Duration, ConfigError> {
        let text = self.text()?;
        let HumaneDuration(duration) = text.parse().map_err(|_| {
            self.invalid(
                format_args!("is {text:?}, which is no duration"),
                "write a number and a unit (ms, s, m, h, d), like \"5s\" or \"1h30m\"",
            )
        })?;
        if duration.is_zero() || duration > most {
            let remedy = format!("it must be more than 0s and at most {}", HumaneDuration(most));
            return Err(self.invalid(format_args!("is {text:?}"), remedy));
        }
        Ok(duration)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text()?;
        choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.invalid(format_args!("is {text:?}"), format_args!("it must be {}", words.join(" or ")))
        })
    }

    /// A day, as text or as a TOML date.
    pub(super) fn day(&self) -> Result<jiff::civil::Date, ConfigError> {
        match &self.node.value {
            Value::Text(text) | Value::Date(text) => text
                .trim()
                .parse()
                .map_err(|_| self.invalid(format_args!("is {text:?}"), "write a day like \"2026-09-02\"")),
            _ => Err(self.not_a("a day", "\"2026-09-02\"")),
        }
    }
}
