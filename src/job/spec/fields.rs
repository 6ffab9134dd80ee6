//! What each field of a spec may hold. Every error says what to write instead.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::room::Class;
use empire_actors::level::Level;
use empire_actors::money::Micros;
use empire_actors::route::rules::{CacheMode, Fallback, Policy};
use serde_json::{Map, Value, json};

use super::{Answer, Difficulty, FailureRule, FileInput, Format, Input, Pack, Reduce, Role};
use crate::job::input::TEXT_FIELD;
use crate::job::row::{self, Parsed};

pub(super) const DEFAULT_MAX_TOKENS: u32 = 512;
pub(super) const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_GROUP: u32 = 50;
pub(super) const MOST_TOKENS: u32 = 32_768;
pub(super) const MOST_PACKED: u32 = 100;
pub(super) const MOST_RETRIES: u32 = 20;
pub(super) const MOST_GROUPED: u32 = 1000;
pub(super) const MOST_ALLOWED: usize = 1000;
pub(super) const FORMATS: [&str; 4] = ["csv", "jsonl", "json", "lines"];
const MOST_MODELS: usize = 16;
pub(super) const POLICIES: [(&str, Policy); 3] =
    [("listed", Policy::Listed), ("price", Policy::Price), ("privacy", Policy::Privacy)];
pub(super) const DIFFICULTIES: [(&str, Difficulty); 3] =
    [("easy", Difficulty::Easy), ("medium", Difficulty::Medium), ("hard", Difficulty::Hard)];
pub(super) const FALLBACKS: [(&str, Fallback); 2] =
    [("permitted", Fallback::Permitted), ("same_zone", Fallback::SameZone)];
pub(super) const CACHE_MODES: [(&str, CacheMode); 3] =
    [("on", CacheMode::On), ("off", CacheMode::Off), ("refresh", CacheMode::Refresh)];

/// What to write into `privacy`.
pub(super) const LEVELS: &str = "say how private the prompts are: P0 (public), P1 (low sensitivity), \
    P2 (confidential, stays on your machines) or P3 (secret, never leaves this machine)";

type Read<T> = Result<T, String>;

pub(super) fn name(value: &Value) -> Read<String> {
    let fits = |name: &&str| {
        (1..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let found = value.as_str().filter(fits);
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("must be 1 to 64 of a-z, 0-9 and -, it is {}", shown(value)))
}

pub(super) fn text(value: &Value) -> Read<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err("is empty: fill it or remove it".to_owned()),
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("must be text, it is {}: put it in quotes", shown(other))),
    }
}

pub(super) fn role(value: &Value) -> Read<Role> {
    let found = Role::ALL.into_iter().find(|role| value.as_str() == Some(role.as_str()));
    found.ok_or_else(|| {
        format!("must be one of {}, it is {}", Role::ALL.map(Role::as_str).join(", "), shown(value))
    })
}

pub(super) fn privacy(value: &Value) -> Read<Level> {
    let level = value.as_str().and_then(|text| text.parse().ok());
    level.ok_or_else(|| format!("is {}: {LEVELS}", shown(value)))
}

pub(super) fn answer(value: &Value) -> Read<Answer> {
    match value {
        Value::String(text) if text == "text" => Ok(Answer::Text),
        other => Ok(Answer::Schema(Arc::new(other.clone()))),
    }
}

pub(super) fn route(value: &Value) -> Read<Vec<String>> {
    let advice = "list the models to try, in order, such as `route: [ollama, kimi]`";
    let list = value.as_array().filter(|list| (1..=MOST_MODELS).contains(&list.len()));
    let list = list.ok_or_else(|| {
        format!("must be a list of 1 to {MOST_MODELS} names, it is {}: {advice}", shown(value))
    })?;
    let mut seen = HashSet::new();
    list.iter()
        .map(|entry| match entry.as_str().map(str::trim) {
            None | Some("") => Err(format!("holds {}, which is no model's name: {advice}", shown(entry))),
            Some(model) if !seen.insert(model) => Err(format!("names `{model}` twice: remove one")),
            Some(model) => Ok(model.to_owned()),
        })
        .collect()
}

pub(super) fn policy(value: &Value) -> Read<Policy> {
    choice(value, &POLICIES)
}

pub(super) fn difficulty(value: &Value) -> Read<Difficulty> {
    choice(value, &DIFFICULTIES)
}

pub(super) fn fallback(value: &Value) -> Read<Fallback> {
    choice(value, &FALLBACKS)
}

pub(super) fn cache(value: &Value) -> Read<CacheMode> {
    match value {
        Value::Bool(true) => Ok(CacheMode::On),
        Value::Bool(false) => Ok(CacheMode::Off),
        other => choice(other, &CACHE_MODES),
    }
}

/// One of a few words.
fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Read<T> {
    let found = choices.iter().find(|(word, _)| value.as_str() == Some(word));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}, it is {}", words.join(", "), shown(value))
    })
}

pub(super) fn budget(value: &Value) -> Read<Micros> {
    let amount = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => return Err(format!("must be an amount in dollars, such as 0.50, it is {}", shown(other))),
    };
    let positive =
        "must be above 0: write what the job may spend at most, such as 0.50, or use a local route";
    if amount.trim_start_matches(['$', ' ']).starts_with('-') {
        return Err(format!("is {amount}, it {positive}"));
    }
    match amount.parse::<Micros>() {
        Ok(Micros::ZERO) => Err(format!("is {amount}, it {positive}")),
        Ok(micros) => Ok(micros),
        Err(error) => Err(format!("is unusable: {error}")),
    }
}

pub(super) fn deadline(value: &Value) -> Read<Duration> {
    let advice = "write a time span above 0 with its unit, such as 90s, 2h or 1d 12h";
    let bad = || format!("is {}: {advice}", shown(value));
    let span: jiff::Span = value.as_str().ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(bad)
}

pub(super) fn priority(value: &Value) -> Read<Class> {
    let found = Class::ALL.into_iter().find(|class| value.as_str() == Some(class.as_str()));
    found.ok_or_else(|| {
        format!("must be one of {}, it is {}", Class::ALL.map(Class::as_str).join(", "), shown(value))
    })
}

pub(super) fn max_tokens(value: &Value) -> Read<u32> {
    whole(value, 1, MOST_TOKENS)
}

pub(super) fn pack(value: &Value) -> Read<Pack> {
    if value.as_str() == Some("auto") {
        return Ok(Pack::Auto);
    }
    let fixed = whole(value, 1, MOST_PACKED).map_err(|problem| format!("{problem}; or write auto"))?;
    Ok(Pack::Fixed(fixed as u16))
}

/// Values that may leave, and why.
pub(super) fn allow(value: &Value) -> Read<BTreeMap<String, String>> {
    let advice =
        "write each value with the reason why it may leave, like {\"help@example.com\": our public address}";
    let map = value.as_object().ok_or_else(|| format!("is {}: {advice}", shown(value)))?;
    if map.len() > MOST_ALLOWED {
        return Err(format!("has {} values, and {MOST_ALLOWED} at most are allowed", map.len()));
    }
    if map.keys().any(|value| value.trim().is_empty()) {
        return Err(format!("names an empty value: {advice}"));
    }
    let reasoned = |(allowed, reason): (&String, &Value)| match reason.as_str().map(str::trim) {
        Some(reason) if !reason.is_empty() => Ok((allowed.clone(), reason.to_owned())),
        _ => Err(format!("gives no reason for a value: {advice}")),
    };
    map.iter().map(reasoned).collect()
}

pub(super) fn clamp(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| format!("must be true or false, it is {}", shown(value)))
}

pub(super) fn retries(value: &Value) -> Read<u32> {
    whole(value, 0, MOST_RETRIES)
}

/// `Some(None)` would be off; the outer option is whether the field is there.
pub(super) fn failure_rule(value: &Value) -> Read<Option<FailureRule>> {
    let advice = "write {failed: 20, of_first: 50}, or off";
    let map = match value {
        Value::Bool(false) => return Ok(None),
        Value::String(text) if text == "off" => return Ok(None),
        Value::Object(map) => map,
        other => return Err(format!("is {}: {advice}", shown(other))),
    };
    known_keys(map, &["failed", "of_first"])?;
    let number = |key: &str| match map.get(key) {
        Some(value) => {
            whole(value, 1, u32::MAX).map_err(|problem| format!("has a bad `{key}`, which {problem}"))
        }
        None => Err(format!("lacks `{key}`: {advice}")),
    };
    let rule = FailureRule { failed: number("failed")?, of_first: number("of_first")? };
    if rule.failed > rule.of_first {
        return Err(format!(
            "can never hold: {} failures of the first {} items: make `failed` at most `of_first`, or write off",
            rule.failed, rule.of_first
        ));
    }
    Ok(Some(rule))
}

pub(super) fn reduce(value: &Value) -> Read<Reduce> {
    let map = value.as_object();
    let map = map.ok_or_else(|| format!("is {}: write a map with at least `prompt`", shown(value)))?;
    known_keys(map, &["prompt", "final_prompt", "group", "max_tokens"])?;
    fn part<T>(map: &Map<String, Value>, key: &str, read: impl Fn(&Value) -> Read<T>) -> Read<Option<T>> {
        let value = map.get(key).filter(|value| !value.is_null());
        value.map(read).transpose().map_err(|problem| format!("has a bad `{key}`, which {problem}"))
    }
    Ok(Reduce {
        prompt: part(map, "prompt", text)?.ok_or("lacks `prompt`: write the template of a summary")?,
        final_prompt: part(map, "final_prompt", text)?,
        group: part(map, "group", |value| whole(value, 2, MOST_GROUPED))?.unwrap_or(DEFAULT_GROUP),
        max_tokens: part(map, "max_tokens", max_tokens)?.unwrap_or(DEFAULT_MAX_TOKENS),
    })
}

pub(super) fn input(value: &Value) -> Read<Input> {
    match value {
        Value::String(path) if path.trim().is_empty() => {
            Err("is empty: name a file, or remove it".to_owned())
        }
        Value::String(path) => {
            Ok(Input::File(FileInput { file: Some(PathBuf::from(path)), ..FileInput::default() }))
        }
        Value::Array(list) => inline_rows(list),
        Value::Object(map) if map.contains_key("count") => {
            known_keys(map, &["count"])?;
            let count = whole(&map["count"], 1, u32::MAX);
            Ok(Input::Count(count.map_err(|problem| format!("has a bad `count`, which {problem}"))?))
        }
        Value::Object(map) => file_input(map),
        other => Err(format!("is {}: name a file, list the items, or write {{count: 10}}", shown(other))),
    }
}

fn file_input(map: &Map<String, Value>) -> Read<Input> {
    known_keys(map, &["file", "format", "field", "delimiter"])?;
    let part = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(value).map(Some).map_err(|problem| format!("has a bad `{key}`, which {problem}")),
    };
    let format = match part("format")?.as_deref() {
        None => None,
        Some("csv") => Some(Format::Csv),
        Some("jsonl" | "ndjson") => Some(Format::Jsonl),
        Some("json") => Some(Format::Json),
        Some("lines") => Some(Format::Lines),
        Some(other) => return Err(format!("has the unknown format `{other}`: use {}", FORMATS.join(", "))),
    };
    // A tab is white space, which `part` would take for empty.
    let delimiter = match map.get("delimiter").and_then(Value::as_str) {
        Some("\t" | "tab") => Some(b'\t'),
        Some(text) if text.len() == 1 && !matches!(text, "\"" | "\n" | "\r") && text.is_ascii() => {
            Some(text.as_bytes()[0])
        }
        None if map.get("delimiter").is_none_or(Value::is_null) => None,
        _ => return Err("has a bad `delimiter`: write one character such as \";\", or tab".to_owned()),
    };
    let (file, field) = (part("file")?.map(PathBuf::from), part("field")?);
    if file.is_none() && format.is_none() {
        return Err(
            "names neither `file` nor `format`: name the file, or how to read the one given with `--input`"
                .to_owned(),
        );
    }
    Ok(Input::File(FileInput { file, format, field, delimiter }))
}

fn inline_rows(list: &[Value]) -> Read<Input> {
    if list.is_empty() {
        return Err("is an empty list: add at least one item".to_owned());
    }
    let rows = list.iter().enumerate().map(|(index, item)| {
        let number = index + 1;
        let row = match item {
            Value::Object(_) => item.to_string(),
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                json!({TEXT_FIELD: item, "item": item}).to_string()
            }
            other => {
                return Err(format!(
                    "holds {} as item {number}: write a text, a number or a map",
                    shown(other)
                ));
            }
        };
        match row::parse(&row) {
            Ok(Parsed::Object(fields)) => {
                fields.level().map_err(|problem| format!("has a bad item {number}: {problem}"))?
            }
            Ok(Parsed::Scalar(_)) => None,
            Err(error) => return Err(format!("has a bad item {number}: {error}")),
        };
        Ok(row.into_boxed_str())
    });
    Ok(Input::Rows(rows.collect::<Read<Vec<_>>>()?.into()))
}

fn known_keys(map: &Map<String, Value>, known: &[&str]) -> Read<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("has an unknown field `{key}`: use {}", known.join(", "))),
        None => Ok(()),
    }
}

fn whole(value: &Value, least: u32, most: u32) -> Read<u32> {
    let found = value.as_u64().and_then(|number| u32::try_from(number).ok());
    found
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}, it is {}", shown(value)))
}

/// A value as people would write it, cut short.
fn shown(value: &Value) -> String {
    const SHOWN: usize = 60;
    match value {
        Value::Null => "empty".to_owned(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "a map".to_owned(),
        Value::String(text) => format!("`{}`", text.chars().take(SHOWN).collect::<String>()),
        other => other.to_string(),
    }
}
