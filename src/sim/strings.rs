//! Single values: numbers in bounds, strings of a pattern, a format or a length.

use fastrand::Rng;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Number, Value};

use super::quotes::Quotes;

/// Bounds are widened by this much where one is missing.
const USUAL_SPAN: f64 = 100.0;
/// Longest text that is made to meet a minimum length.
const LONGEST: usize = 64 * 1024;

/// A whole number within the keywords' bounds.
pub(super) fn integer(keywords: &Map<String, Value>, rng: &mut Rng) -> Value {
    let (low, high) = bounds(keywords);
    let step = keywords.get("multipleOf").and_then(Value::as_f64).filter(|step| *step >= 1.0).unwrap_or(1.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let mut number = rng.i64(first..=last.max(first)).saturating_mul(step as i64);
    let excluded =
        |word: &str, number: i64| keywords.get(word).and_then(Value::as_f64) == Some(number as f64);
    if excluded("exclusiveMinimum", number) {
        number = number.saturating_add(step as i64);
    } else if excluded("exclusiveMaximum", number) {
        number = number.saturating_sub(step as i64);
    }
    Value::from(number)
}

/// A number within the keywords' bounds, of few decimals where those fit.
pub(super) fn number(keywords: &Map<String, Value>, rng: &mut Rng) -> Value {
    let (low, high) = bounds(keywords);
    if let Some(step) = keywords.get("multipleOf").and_then(Value::as_f64).filter(|step| *step > 0.0) {
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        let number = rng.i64(first..=last.max(first)) as f64 * step;
        return float(number);
    }
    // Never the very ends, which may be excluded.
    let exact = low + (high - low) * (0.01 + 0.98 * rng.f64());
    let rounded = (exact * 100.0).round() / 100.0;
    float(if low < rounded && rounded < high { rounded } else { exact })
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn bounds(keywords: &Map<String, Value>) -> (f64, f64) {
    let bound = |word: &str| keywords.get(word).and_then(Value::as_f64);
    let stricter = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| match (a, b) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (one, other) => one.or(other),
    };
    let low = stricter(bound("minimum"), bound("exclusiveMinimum"), f64::max);
    let high = stricter(bound("maximum"), bound("exclusiveMaximum"), f64::min);
    match (low, high) {
        (Some(low), Some(high)) => (low, high.max(low)),
        (Some(low), None) => (low, low + USUAL_SPAN),
        (None, Some(high)) => (if high > 0.0 { 0.0 } else { high - USUAL_SPAN }, high),
        (None, None) => (0.0, USUAL_SPAN),
    }
}

/// Words for the property `name` that quote the prompt.
pub(super) fn sentence(name: &str, quotes: &Quotes, rng: &mut Rng) -> String {
    const NAMES: [&str; 5] = ["name", "company", "title", "word", "subject"];
    let subject = quotes.subject();
    if NAMES.contains(&name) {
        return subject.to_owned();
    }
    let label = name.replace(['_', '-'], " ");
    format!("{label} of {subject}, given {}", quotes.detail(rng.usize(..)))
}

/// `text` cut to `most` characters, or repeated until it has `least`.
pub(super) fn sized(text: &str, least: usize, most: usize) -> String {
    let length = text.chars().count();
    if length > most {
        return text.chars().take(most).collect();
    }
    if length >= least || text.is_empty() {
        return text.to_owned();
    }
    text.chars().chain([' ']).cycle().take(least.min(most).min(LONGEST)).collect()
}

/// A text of that format; `None` if the format is not known, and then any text will do.
pub(super) fn of_format(format: &str, rng: &mut Rng) -> Option<String> {
    let number = rng.u32(..);
    let (month, day) = (1 + number % 12, 1 + number / 12 % 28);
    let (hour, minute) = (number % 24, number / 24 % 60);
    Some(match format {
        "date" => format!("2026-{month:02}-{day:02}"),
        "time" => format!("{hour:02}:{minute:02}:00Z"),
        "date-time" => format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"),
        "duration" => format!("PT{}M", 1 + number % 600),
        "email" | "idn-email" => format!("simulated-{}@example.com", number % 10_000),
        "hostname" | "idn-hostname" => format!("simulated-{}.example.com", number % 10_000),
        "uri" | "uri-reference" | "iri" | "iri-reference" => {
            format!("https://example.com/simulated/{number}")
        }
        "uuid" => format!("{number:08x}-0000-4000-8000-{:012x}", u64::from(number) * 3),
        // Addresses kept for documentation.
        "ipv4" => format!("192.0.2.{}", number % 256),
        "ipv6" => format!("2001:db8::{:x}", number % 65_536),
        _ => return None,
    })
}

/// A text that matches `pattern`; any text if the pattern is not understood.
pub(super) fn matching(pattern: &str, rng: &mut Rng) -> String {
    let mut text = String::new();
    match regex_syntax::parse(pattern) {
        Ok(hir) => matching_part(&hir, rng, &mut text),
        Err(_) => text.push_str("simulated"),
    }
    text
}

fn matching_part(part: &Hir, rng: &mut Rng, text: &mut String) {
    if text.len() > LONGEST {
        return;
    }
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => text.extend(member(class, rng)),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX).min(repetition.min.saturating_add(4));
            for _ in 0..rng.u32(repetition.min..=most) {
                matching_part(&repetition.sub, rng, text);
            }
        }
        HirKind::Capture(capture) => matching_part(&capture.sub, rng, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| matching_part(part, rng, text)),
        HirKind::Alternation(branches) => matching_part(&branches[rng.usize(..branches.len())], rng, text),
    }
}

/// A character of the class: a letter or digit if it has one, or else printable if it can be.
fn member(class: &Class, rng: &mut Rng) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
    };
    let holds = |c: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&c));
    let pick = |choices: Vec<char>, rng: &mut Rng| rng.choice(choices);
    let plain = ('0'..='9').chain('A'..='Z').chain('a'..='z').filter(holds).collect();
    pick(plain, rng)
        .or_else(|| pick((' '..='~').filter(holds).collect(), rng))
        .or_else(|| ranges.first().map(|(start, _)| *start))
}
