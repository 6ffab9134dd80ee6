//! Values that only their name gives away: `password: …`, `"api_key" = …`, `--token …`,
//! `<password>…</password>`, "das Passwort lautet …", "… is the password".

mod columns;
pub(crate) mod command;
pub(crate) mod insert;
pub(crate) mod login;
pub(crate) mod names;
pub(crate) mod value;
mod words;

use std::ops::Range;

use names::{Kind, classify};
use value::{Look, Style};

use super::alphabet::Alphabet;
use super::found::Class;
use super::pass::Pass;

const MOST_NAME: usize = 64;
const MOST_SPACE: usize = 40;

/// A name of a secret ends or begins somewhere in `at..end`.
pub(crate) fn find(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    if at < pass.value_to || end <= pass.name_to {
        return;
    }
    let bytes = pass.bytes;
    let start = Alphabet::DOTTED.run_back(bytes, at, MOST_NAME).max(pass.value_to);
    let mut to = Alphabet::DOTTED.run(bytes, end, MOST_NAME);
    while to > end && matches!(bytes[to - 1], b'.' | b'-' | b'_') {
        to -= 1;
    }
    pass.meter.spend(to - start + 16);
    pass.name_to = to;
    // A letter that is not ASCII goes on with the word.
    if start > 0 && bytes[start - 1] >= 0xC3 && !pass.text.is_char_boundary(start) {
        return;
    }
    let Some(name) = pass.text.get(start..to) else { return };
    let Some(kind) = classify(name) else { return };
    if columns::find(pass, &(start..to)) {
        return;
    }
    let place = Place { start, end: to, kind, is_flag: name.starts_with('-') };
    let found = after(pass, &place).or_else(|| before(pass, &place));
    if let Some((range, score)) = found {
        pass.named_hit(range, Class::Secret, kind.rule(), score);
    }
}

/// A name in the text.
struct Place {
    start: usize,
    end: usize,
    kind: Kind,
    is_flag: bool,
}

/// The value that follows a name.
fn after(pass: &mut Pass<'_, '_>, place: &Place) -> Option<(Range<usize>, u8)> {
    let bytes = pass.bytes;
    let (style, from) = separator(bytes, place).or_else(|| sentence(pass.text, place))?;
    let mut look = Look { style, kind: place.kind, name: place.start..place.end, is_env: false };
    look.is_env =
        style == Style::Assigned && is_line_start(bytes, place.start) && bytes.get(place.end) == Some(&b'=');
    let (range, end) = value::read(pass.text, from, &look);
    pass.meter.spend(end - from + 8);
    // One long word without an end is read once, whatever names are in it.
    if end - from > 2 * value::MOST_BARE {
        pass.value_to = end;
    }
    if range.is_none() && style == Style::Said && place.kind == Kind::Password {
        return further(pass, end);
    }
    let score = if style == Style::Assigned { 90 } else { 80 };
    range.map(|range| (range, score))
}

/// "the password was once …": a later word of the sentence that can be none of the language.
fn further(pass: &mut Pass<'_, '_>, from: usize) -> Option<(Range<usize>, u8)> {
    const MOST: usize = 4;
    let mut at = skip(pass.bytes, from, MOST_SPACE, is_blank);
    for _ in 0..MOST {
        let (word, next) = word_at(pass.text, at)?;
        pass.meter.spend(next - at);
        let bare = word.trim_end_matches(['.', ',', ';', ':', '?']);
        if value::is_strong(bare) && bare.bytes().any(|byte| byte.is_ascii_digit()) && bare.len() >= 5 {
            return Some((at..at + bare.len(), 70));
        }
        if word.ends_with(['.', ';', '!', '?']) {
            return None;
        }
        at = next;
    }
    None
}

fn is_line_start(bytes: &[u8], at: usize) -> bool {
    let from = at.saturating_sub(16);
    let line = bytes[from..at].iter().rposition(|byte| *byte == b'\n').map_or(from, |last| from + last + 1);
    if line == from && from > 0 {
        return false;
    }
    let before = bytes[line..at].trim_ascii();
    before.is_empty()
        || matches!(before, b"export" | b"set" | b"SET" | b"ENV" | b"ARG" | b"-" | b"$" | b"setx")
}

fn skip(bytes: &[u8], from: usize, most: usize, is_skipped: impl Fn(u8) -> bool) -> usize {
    let end = bytes.len().min(from + most);
    bytes[from..end].iter().position(|byte| !is_skipped(*byte)).map_or(end, |n| from + n)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What stands between a name and its value in code, data and lists, and where the value begins.
fn separator(bytes: &[u8], place: &Place) -> Option<(Style, usize)> {
    let mut at = skip(bytes, place.end, 6, |byte| matches!(byte, b'\\' | b'"' | b'\'' | b'`' | b']' | b'*'));
    let closed = at > place.end;
    at = skip(bytes, at, MOST_SPACE, is_blank);
    // A remark: "Passwort (neu): …", but not SQL's PASSWORD('…').
    if bytes.get(at) == Some(&b'(') {
        if matches!(bytes.get(at + 1), Some(b'\'' | b'"')) {
            return Some((Style::Assigned, at + 1));
        }
        let remark = bytes[at..].iter().take(32).position(|byte| *byte == b')')?;
        at = skip(bytes, at + remark + 1, 4, |byte| is_blank(byte) || byte == b'*');
    } else if bytes.get(at) == Some(&b')') {
        at = skip(bytes, at + 1, 4, is_blank);
    }
    let rest = &bytes[at..];
    match rest.first()? {
        b':' if matches!(rest.get(1), Some(b':' | b'/')) => None,
        b':' | b'=' | b'!' if rest[0] != b'!' || rest.get(1) == Some(&b'=') => {
            let to = skip(bytes, at, 4, |byte| matches!(byte, b':' | b'=' | b'!' | b'>' | b'~' | b'?'));
            Some((Style::Assigned, to))
        }
        b'-' if rest.get(1) == Some(&b'>') => Some((Style::Assigned, at + 2)),
        b'|' => Some((Style::Listed, at + 1)),
        0xE2 if rest.starts_with("→".as_bytes()) => Some((Style::Listed, at + 3)),
        b'>' if is_tag(bytes, place.start) => Some((Style::Tagged, at + 1)),
        _ if place.is_flag && at > place.end => Some((Style::Flag, at)),
        b'\'' | b'"' | b'`' if !closed && at > place.end => Some((Style::Spaced, at)),
        0xE2 | 0xC2 if !closed && at > place.end && value::opens_quote(rest) => Some((Style::Spaced, at)),
        _ => beside(bytes, at),
    }
}

/// Whether the tag that holds the name at `at` is an opening one.
fn is_tag(bytes: &[u8], at: usize) -> bool {
    let from = at.saturating_sub(128);
    let open = bytes[from..at].iter().rposition(|byte| matches!(byte, b'<' | b'>'));
    open.is_some_and(|open| bytes[from + open] == b'<' && bytes.get(from + open + 1) != Some(&b'/'))
}

/// `"name": "DB_PASSWORD", "value": "…"`: the value is in a field beside the name.
fn beside(bytes: &[u8], at: usize) -> Option<(Style, usize)> {
    let at = skip(bytes, at, MOST_SPACE, |byte| {
        byte.is_ascii_whitespace() || matches!(byte, b',' | b'"' | b'\'' | b'\\')
    });
    let word = ["value", "wert"].into_iter().find(|word| {
        bytes.get(at..at + word.len()).is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
    })?;
    let at = skip(bytes, at + word.len(), 8, |byte| is_blank(byte) || matches!(byte, b'"' | b'\'' | b'\\'));
    matches!(bytes.get(at), Some(b':' | b'=')).then_some((Style::Assigned, at + 1))
}

const VERBS: &[&str] = &[
    "is", "ist", "lautet", "lauten", "war", "was", "wäre", "waere", "are", "sind", "heißt", "heisst",
    "equals", "wird", "bleibt", "remains", "becomes", "wurde", "now", "jetzt", "neu", "as", "als", "s",
    "isst", "lautete", "lautet:",
];
const FILLERS: &[&str] = &[
    "now",
    "jetzt",
    "still",
    "noch",
    "currently",
    "derzeit",
    "aktuell",
    "momentan",
    "simply",
    "einfach",
    "just",
    "nur",
    "also",
    "auch",
    "to",
    "auf",
    "be",
    "übrigens",
    "wieder",
    "always",
    "immer",
    "set",
    "then",
    "dann",
    "wie",
    "folgt",
    "as",
    "follows",
    "the",
    "following",
    "folgendes",
    "nun",
    "ab",
    "sofort",
    "heute",
    "today",
    "again",
    "still",
];
const LINKS: &[&str] = &["to", "auf", "into", "zu", "in"];
const CHANGES: &[&str] = &[
    "reset",
    "changed",
    "set",
    "geändert",
    "zurückgesetzt",
    "gesetzt",
    "updated",
    "been",
    "wurde",
    "rotated",
    "ändern",
    "setzen",
];
/// Words that a sentence may put between a name and its verb.
const MOST_WORDS: usize = 9;
const MOST_SENTENCE: usize = 96;

/// What stands between a name and its value in a sentence.
fn sentence(text: &str, place: &Place) -> Option<(Style, usize)> {
    let bytes = text.as_bytes();
    let begin = skip(bytes, place.end, 8, |byte| {
        is_blank(byte) || matches!(byte, b'*' | b'_' | b'`' | b'"' | b'\'' | b',')
    });
    // "password's", a new line, or the end: no sentence goes on here.
    if begin == place.end {
        return None;
    }
    let mut at = begin;
    let mut last = String::new();
    for count in 0..MOST_WORDS {
        let Some((word, next)) = word_at(text, at) else { break };
        // Whatever the sentence goes on with: nothing but a value looks like this.
        let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
        let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase);
        if count == 0 && word.len() >= 8 && is_mixed && value::is_strong(word) {
            break;
        }
        let lower = word.trim_end_matches([':', ',']).to_lowercase();
        let is_verb = VERBS.contains(&lower.as_str());
        let is_link = LINKS.contains(&lower.as_str()) && CHANGES.contains(&last.as_str());
        if is_verb || is_link || (count > 0 && word.ends_with([':', '='])) {
            let style = if word.ends_with([':', '=']) { Style::Announced } else { Style::Said };
            return Some(fillers(text, next, style));
        }
        if matches!(word, "=" | ":" | "->" | "=>" | "–" | "-" | "—") {
            return Some((Style::Announced, next));
        }
        if word.ends_with(['.', ';', '!', '?']) || next - begin > MOST_SENTENCE {
            break;
        }
        last = lower;
        at = next;
    }
    Some((Style::Beside, begin))
}

/// Skips words like "now" and "wie folgt" before a value.
fn fillers(text: &str, mut at: usize, mut style: Style) -> (Style, usize) {
    for _ in 0..4 {
        let Some((word, next)) = word_at(text, at) else { break };
        let bare = word.trim_end_matches([':', ',']).to_lowercase();
        if word == ":" || word == "=" {
            style = Style::Announced;
        } else if !FILLERS.contains(&bare.as_str()) && !CHANGES.contains(&bare.as_str()) {
            break;
        } else if word.ends_with(':') {
            style = Style::Announced;
        }
        at = next;
    }
    (style, at)
}

/// The word at `at` in this line, and where the next one begins.
fn word_at(text: &str, at: usize) -> Option<(&str, usize)> {
    const MOST: usize = 64;
    let bytes = text.as_bytes();
    let end = skip(bytes, at, MOST, |byte| !byte.is_ascii_whitespace());
    let word = text.get(at..end).filter(|word| !word.is_empty())?;
    Some((word, skip(bytes, end, MOST_SPACE, is_blank)))
}

const ARTICLES: &[&str] = &[
    "the", "my", "our", "your", "his", "her", "their", "a", "das", "mein", "dein", "ihr", "unser", "sein",
    "neue", "new", "admin", "root", "wlan", "wifi",
];
const BEFORE: &[&str] = &["as", "is", "als", "ist", "was", "war"];

/// "… is the password", "… als Kennwort": the value stands first. Only what cannot be a word of
/// the language counts.
fn before(pass: &mut Pass<'_, '_>, place: &Place) -> Option<(Range<usize>, u8)> {
    const MOST: usize = 96;
    if place.kind != Kind::Password {
        return None;
    }
    pass.meter.spend(MOST);
    let from = (place.start.saturating_sub(MOST)..=place.start).find(|at| pass.text.is_char_boundary(*at))?;
    let line = pass.text[from..place.start].rsplit('\n').next()?;
    let mut words = line.split([' ', '\t']).rev().filter(|word| !word.is_empty());
    let mut word = words.next()?;
    for _ in 0..3 {
        if !ARTICLES.contains(&word.to_lowercase().as_str()) {
            break;
        }
        word = words.next()?;
    }
    if !BEFORE.contains(&word.to_lowercase().as_str()) {
        return None;
    }
    let word = words.next()?;
    let bare = word.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '`' | ',' | ':' | '„' | '“' | '”' | '(' | ')' | '*')
    });
    let is_quoted = bare.len() + 2 <= word.len();
    let is_value = value::is_strong(bare) || (is_quoted && bare.len() >= 4);
    if !is_value {
        return None;
    }
    let start = bare.as_ptr() as usize - pass.text.as_ptr() as usize;
    Some((start..start + bare.len(), 75))
}

/// Whether `value`, which is called `name` in a body, is a secret by that name.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    const MOST: usize = 128;
    name.len() <= MOST && classify(name).is_some_and(|kind| value::is_field(value, kind))
}
