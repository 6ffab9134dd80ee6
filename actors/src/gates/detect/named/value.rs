//! Where the value after a name ends, and whether it is one: not a variable, a mask, a word of
//! the sentence or an example.

use std::ops::Range;

use super::names::Kind;
use super::words::{PROSE, STAND_INS};

/// How name and value are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `name: value`, `name = value`.
    Assigned,
    /// `| name | value |`.
    Listed,
    /// `<name>value</name>`.
    Tagged,
    /// `--name value`.
    Flag,
    /// `name 'value'`.
    Spaced,
    /// "the name of it: value".
    Announced,
    /// "the name is value".
    Said,
    /// "name value".
    Beside,
}

impl Style {
    fn is_prose(self) -> bool {
        matches!(self, Style::Said | Style::Beside)
    }
}

/// What is known of a value before it is read.
pub(crate) struct Look {
    pub(crate) style: Style,
    pub(crate) kind: Kind,
    pub(crate) name: Range<usize>,
    /// A line of its own, `NAME=value`: only space ends the value.
    pub(crate) is_env: bool,
}

const MOST_QUOTED: usize = 1_024;
pub(super) const MOST_BARE: usize = 128;
const OPENING: &[char] = &['"', '\'', '`', '„', '“', '”', '‚', '‘', '’', '«', '»', '‹', '›'];

pub(super) fn opens_quote(rest: &[u8]) -> bool {
    let head = &rest[..rest.len().min(4)];
    String::from_utf8_lossy(head).chars().next().is_some_and(|first| OPENING.contains(&first))
}

/// The value that begins at `from`, if it is one, and to where was read.
pub(crate) fn read(text: &str, from: usize, look: &Look) -> (Option<Range<usize>>, usize) {
    let mut at = start(text, from, look.style);
    if look.kind == Kind::Header {
        at = after_scheme(text, at);
    }
    let (range, is_quoted) = extent(text, at, look);
    let end = range.end;
    if range.is_empty() {
        return (None, end);
    }
    let value = &text[range.clone()];
    let counts = if is_quoted { quoted_counts(value, look) } else { bare_counts(text, &range, look) };
    (counts.then_some(range), end)
}

/// Skips space, a line break before an indented value, string prefixes and emphasis.
fn start(text: &str, from: usize, style: Style) -> usize {
    const MOST: usize = 64;
    let bytes = text.as_bytes();
    let breaks = if style.is_prose() || style == Style::Flag { 0 } else { 1 };
    let (mut at, mut broken) = (from, 0);
    while at < bytes.len().min(from + MOST) {
        match bytes[at] {
            b' ' | b'\t' | b'\r' => {}
            b'*' if bytes.get(at + 1) == Some(&b'*')
                || style == Style::Assigned && bytes.get(at + 1) == Some(&b' ') => {}
            b'*' if at > from && bytes[at - 1] == b'*' && bytes.get(at + 1) != Some(&b'*') => {}
            b'\n' if broken < breaks => broken += 1,
            b'|' if style == Style::Assigned && matches!(bytes.get(at + 1), Some(b'\n' | b'-')) => {}
            b'N' | b'b' | b'r' | b'f' | b'u' | b'@' | b'L'
                if matches!(bytes.get(at + 1), Some(b'"' | b'\'')) => {}
            _ => break,
        }
        at += 1;
    }
    // On the next line stands the value only if nothing is said there.
    if broken > 0 && style != Style::Tagged && !stands_alone(text, at) {
        return from;
    }
    at
}

/// Whether the word at `at` is all of its line, and not a field of its own.
fn stands_alone(text: &str, at: usize) -> bool {
    let line: String = text[at..].chars().take(MOST_BARE).take_while(|c| *c != '\n').collect();
    let line = line.trim();
    !line.is_empty()
        && !line.contains(char::is_whitespace)
        && !line.ends_with(':')
        && !line.starts_with(['-', '#', '/'])
}

/// `Authorization: Token …`: what follows the scheme.
fn after_scheme(text: &str, at: usize) -> usize {
    let word =
        text[at..].bytes().take(24).take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-').count();
    let is_followed = text[at + word..].starts_with(' ') && word > 0;
    if is_followed { at + word + 1 } else { at }
}

/// Where the value ends, and whether quotes say so.
fn extent(text: &str, at: usize, look: &Look) -> (Range<usize>, bool) {
    let slashes = text[at..].bytes().take(8).take_while(|byte| *byte == b'\\').count();
    let open = text[at + slashes..].chars().next();
    if let Some(open) = open.filter(|open| OPENING.contains(open)) {
        let mut inside = at + slashes + open.len_utf8();
        // A quote in a text in quotes may be written twice; nothing at all is followed by a space.
        let second = inside + slashes;
        let is_doubled = open.is_ascii()
            && text[inside..].bytes().take_while(|byte| *byte == b'\\').count() == slashes
            && text[second..].starts_with(open)
            && text[second + 1..].starts_with(|next: char| next.is_alphanumeric() || next == open);
        if is_doubled {
            inside = second + text[second..].bytes().take(2).take_while(|byte| *byte == open as u8).count();
        }
        if let Some(length) = closing(&text[inside..], open, slashes) {
            return (inside..inside + length, true);
        }
        return (bare(text, inside, look), false);
    }
    (bare(text, at, look), false)
}

/// How long the quoted text is; `None` if nothing closes it in its line.
fn closing(text: &str, open: char, slashes: usize) -> Option<usize> {
    let mut before = 0;
    for (at, letter) in text.char_indices() {
        if at > MOST_QUOTED || letter == '\n' {
            return None;
        }
        let closes =
            if open.is_ascii() { letter == open } else { OPENING.contains(&letter) && letter != '\'' };
        if closes && before <= slashes {
            return Some(at - before.min(slashes));
        }
        before = if letter == '\\' { before + 1 } else { 0 };
    }
    None
}

fn bare(text: &str, at: usize, look: &Look) -> Range<usize> {
    if look.kind == Kind::Phrase {
        return phrase(text, at);
    }
    if look.kind == Kind::Digits {
        let digits = text[at..]
            .bytes()
            .take(16)
            .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
            .count();
        return at..at + text[at..at + digits].trim_end_matches([' ', '-']).len();
    }
    let is_query =
        at > 0 && look.name.start > 0 && matches!(text.as_bytes()[look.name.start - 1], b'?' | b'&');
    let ends = |letter: char| {
        letter.is_whitespace()
            || matches!(letter, '"' | '\'' | '`' | '<' | '>' | '\u{1b}')
            || (letter == '&' && is_query)
            || (!look.is_env && look.style != Style::Flag && matches!(letter, ',' | ';' | ')' | ']' | '}'))
            || (look.style == Style::Listed && letter == '|')
            || (!letter.is_ascii() && !letter.is_alphanumeric())
    };
    // `<…>` and `${…}` are read whole, so that they can be told.
    let opens = text[at..].starts_with(['<', '{', '[']);
    let skipped = usize::from(opens);
    let most = text[at + skipped..].char_indices().find(|(n, letter)| ends(*letter) || *n > MOST_BARE);
    let mut end = most.map_or(text.len(), |(length, _)| at + skipped + length);
    if end - at > MOST_BARE {
        // A long one goes to where it ends.
        end = text[end..].find(ends).map_or(text.len(), |more| end + more);
    }
    let trimmed = text[at..end].trim_end_matches(['.', ',', ';', ':', '?']);
    at..at + trimmed.len()
}

/// Up to 24 words of letters in one line.
fn phrase(text: &str, at: usize) -> Range<usize> {
    let mut end = at;
    for _ in 0..24 {
        let rest = &text[end..];
        let space = rest.bytes().take(2).take_while(|byte| *byte == b' ').count();
        let word = rest[space..]
            .bytes()
            .take(32)
            .take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'"' | b'<'))
            .count();
        if word == 0 || (space == 0 && end > at) {
            break;
        }
        end += space + word;
    }
    at..at + text[at..end].trim_end_matches(['.', ':', '!', '?']).len()
}

fn quoted_counts(value: &str, look: &Look) -> bool {
    if is_stand_in(value) {
        return false;
    }
    match look.kind {
        Kind::Password => value.len() >= 3 && value.len() <= 128 && !is_wordy_text(value),
        Kind::Key => {
            value.len() >= 6 && !is_plain_word(value) && !value.contains(' ') && !is_wordy_text(value)
        }
        Kind::Bare => value.len() >= 8 && is_token(value) && !is_number_of_a_thing(value),
        Kind::Header => value.len() >= 8 && !is_plain_word(value) && !is_wordy_text(value),
        Kind::Digits => is_code(value),
        Kind::Phrase => value.len() >= 6,
    }
}

fn bare_counts(text: &str, range: &Range<usize>, look: &Look) -> bool {
    let value = &text[range.clone()];
    if is_stand_in(value) || is_reference(value) || is_code_of_a_program(text, range, look) {
        return false;
    }
    match look.kind {
        Kind::Digits => is_code(value) && look.style != Style::Beside,
        Kind::Phrase => {
            let words = value.split(' ').count();
            words >= 4 && !look.style.is_prose() || value.split(' ').next().is_some_and(is_strong)
        }
        Kind::Bare => {
            !look.style.is_prose() && value.len() >= 8 && is_token(value) && !is_number_of_a_thing(value)
                || is_strong(value)
                    && value.len() >= 8
                    && look.style == Style::Said
                    && !is_number_of_a_thing(value)
                || is_pass_name(text, look)
                    && (is_strong(value) || look.style == Style::Assigned && says_word(text, range))
        }
        Kind::Key | Kind::Header => match look.style {
            Style::Beside => value.len() >= 12 && is_token(value),
            Style::Said => value.len() >= 6 && is_strong(value),
            _ => value.len() >= 6 && !is_plain_word(value) && !value.contains('/') | is_token(value),
        },
        Kind::Password => match look.style {
            // `f(password, limit=8)`: the next one of a list has a name of its own.
            Style::Beside => {
                let is_named = value
                    .split_once('=')
                    .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
                is_strong(value) && value.len() >= 6 && !is_named
            }
            Style::Said => is_strong(value) || says_word(text, range),
            _ => value.len() >= 4 && !is_word_of_prose(value),
        },
    }
}

/// `pass` and `pw` alone.
fn is_pass_name(text: &str, look: &Look) -> bool {
    let name = text[look.name.clone()].to_ascii_lowercase();
    let is_pw = name == "pw" && look.style == Style::Beside;
    is_pw || (name.ends_with("pw") || name.ends_with("pass")) && look.style != Style::Beside
}

/// A word in the place of a password counts where the sentence ends with it.
pub(super) fn says_word(text: &str, range: &Range<usize>) -> bool {
    let value = &text[range.clone()];
    let rest = text[range.end..].trim_start_matches(['"', '\'']);
    let ends = rest.is_empty() || rest.starts_with(['.', '\n', ',', ';', '!', ')']);
    ends && value.len() >= 5
        && value.chars().all(char::is_alphanumeric)
        && !is_word_of_prose(value)
        && !has_ending(value)
}

/// Endings of words that say something about a password.
fn has_ending(value: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "ed", "ing", "ly", "able", "ible", "ful", "less", "ent", "ant", "ive", "ous", "iert", "bar", "lich",
        "ig", "en", "t", "isch", "sam", "los", "al", "ic", "wn", "ort", "ung", "heit", "ion", "es", "er",
    ];
    let lower = value.to_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// Whether it has something that words have not: digits or signs among letters, capitals inside.
pub(crate) fn is_strong(value: &str) -> bool {
    let has_letter = value.chars().any(char::is_alphabetic);
    let has_digit = value.chars().any(|c| c.is_ascii_digit());
    let has_sign =
        value.trim_end_matches(['!', '?', '.', '-']).chars().skip(1).any(|c| "!@#$%^&*+=~|€§?_".contains(c));
    let has_inner_capital =
        value.chars().zip(value.chars().skip(1)).any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let is_version = value.trim_start_matches(['v', 'V']).chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_length = value.starts_with(|c: char| c.is_ascii_digit()) && value.contains('-');
    let is_strong = has_letter && (has_digit || has_sign || has_inner_capital);
    value.chars().count() >= 4
        && is_strong
        && !is_version
        && !is_length
        && !is_stand_in(value)
        && !is_reference(value)
}

/// Letters and digits as in a token, without an obvious word.
fn is_token(value: &str) -> bool {
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_mixed = value.bytes().any(|byte| byte.is_ascii_uppercase())
        && value.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_plain =
        value.chars().all(|c| c.is_ascii_graphic()) && !value.contains("://") && !value.starts_with('/');
    is_plain && has_letter && (has_digit || is_mixed && value.len() >= 20) && !is_reference(value)
}

/// UUIDs, and hashes in hexadecimal: numbers of things rather than keys to them.
fn is_number_of_a_thing(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_uuid = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let slug = value.split(['-', '_', '.', '/', ':']).filter(|part| part.len() > 2).count() >= 2
        && value
            .split(['-', '_', '.', '/', ':'])
            .all(|part| part.bytes().all(|b| b.is_ascii_lowercase()) || part.len() <= 4);
    is_uuid || slug
}

fn is_code(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    (3..=10).contains(&digits)
        && value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
}

fn is_plain_word(value: &str) -> bool {
    value.chars().all(|c| c.is_lowercase())
        || value.chars().skip(1).all(|c| c.is_lowercase() || c == '-' || c == '_')
}

/// Several words of a sentence in quotes: a label, a message.
fn is_wordy_text(value: &str) -> bool {
    let words = value.split_whitespace().count();
    words >= 2
        && (value.ends_with([':', '.', '?', '!', '…']) || words > 6 || has_stand_in(value))
        && value.split_whitespace().all(|word| !is_strong(word))
        || is_word_of_prose(value)
}

/// Whether a word of it is one that examples and labels are made of.
fn has_stand_in(value: &str) -> bool {
    value.to_lowercase().split([' ', '-', '_']).any(|word| STAND_INS.contains(&word) || word == "enter")
}

/// A reference to where the value is, not the value.
fn is_reference(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let opens = value.starts_with("${")
        || value.starts_with("$(")
        || value.starts_with("{{")
        || value.starts_with("#{");
    let is_variable = value.strip_prefix('$').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == ':')
            || rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    });
    let is_percent = value.len() > 2 && value.starts_with('%') && value.ends_with('%');
    let is_bracketed =
        value.starts_with(['<', '{', '[']) || value.starts_with("!Ref") || value.starts_with("!Sub");
    let names = [
        "environ",
        "getenv",
        "process.env",
        "env.",
        "env[",
        "env(",
        "secrets.",
        "vault:",
        "config.",
        "settings.",
        "self.",
        "this.",
        "var.",
        "local.",
        "data.",
        "keyring",
        "op://",
        "sm://",
        "ssm:",
        "kms:",
        "arn:",
        "@@",
        "null)",
    ];
    opens || is_variable || is_percent || is_bracketed || names.iter().any(|name| lower.contains(name))
}

/// A mask, or an example's stand-in.
pub(crate) fn is_stand_in(value: &str) -> bool {
    let bare = value.trim_matches(|c: char| matches!(c, '"' | '\'' | '`'));
    let length = bare.chars().count();
    let masks = bare.chars().filter(|c| matches!(c, '*' | '•' | '●' | '…' | '█' | '▪')).count();
    let is_mask =
        bare.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '•' | '_' | '-' | '#' | '?' | '●' | '0'))
            || masks * 2 > length
            || bare.contains("****")
            || bare.ends_with("...");
    if is_mask || is_reference_start(bare) {
        return true;
    }
    let lower = bare.to_lowercase();
    let mut words = lower.split(['-', '_', ' ', '.', '/', ':']).filter(|word| !word.is_empty()).peekable();
    let is_known = |word: &str| {
        STAND_INS.contains(&word) || word.bytes().all(|b| b == b'x' || b == b'*' || b.is_ascii_digit())
    };
    let some = lower.split(['-', '_', ' ', '.', '/', ':']).any(|word| STAND_INS.contains(&word));
    words.peek().is_some() && some && words.all(is_known)
}

fn is_reference_start(value: &str) -> bool {
    value.starts_with("${")
        || value.starts_with("{{")
        || value.starts_with("$(")
        || value.starts_with('<') && value.ends_with('>')
        || value.len() > 2 && value.starts_with('%') && value.ends_with('%')
        || ["process.env", "os.environ", "getenv"].iter().any(|name| value.contains(name))
}

fn is_word_of_prose(value: &str) -> bool {
    PROSE.contains(&value.to_lowercase().as_str())
}

/// An expression of a programming language in the place of a value: a call, a variable, a type.
fn is_code_of_a_program(text: &str, range: &Range<usize>, look: &Look) -> bool {
    let value = &text[range.clone()];
    let next = text[range.end..].chars().next();
    let is_identifier = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    let is_call = value.contains('(')
        && (value
            .split('(')
            .next()
            .is_some_and(|head| head.split(['.', ':']).all(|p| p.is_empty() || is_identifier(p))));
    let is_generic = value.contains("::")
        || next == Some('<')
            && !text[range.end..].starts_with("</")
            && look.style != Style::Tagged
            && is_identifier(value)
        || value.starts_with('&');
    let is_path = value.contains('.')
        && !value.bytes().any(|byte| byte.is_ascii_digit())
        && value.split('.').all(is_identifier);
    let is_index = value.contains('[') && is_identifier(value.split('[').next().unwrap_or_default());
    if is_call || is_generic || is_path || is_index {
        return true;
    }
    if look.is_env || look.style != Style::Assigned || !is_identifier(value) {
        return false;
    }
    // An identifier: a statement's end, a list's sign, or a name for a secret tells it from a value.
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let names_secret = super::names::classify(value).is_some();
    let is_type =
        value.starts_with(char::is_uppercase) && value.chars().skip(1).any(char::is_lowercase) && !has_digit;
    let ends_code = matches!(next, Some(';' | ',' | ')' | '}')) && !has_digit;
    names_secret || is_type && !look.style.is_prose() && ends_type(text, range) || ends_code
}

fn ends_type(text: &str, range: &Range<usize>) -> bool {
    let rest = text[range.end..].trim_start_matches(' ');
    rest.starts_with([',', ';', ')', '}', '=', '|', '{', '?'])
}

/// Whether the whole of a field, whose name promises `kind`, is a secret.
pub(crate) fn is_field(value: &str, kind: Kind) -> bool {
    quoted_counts(value, &Look { style: Style::Assigned, kind, name: 0..0, is_env: false })
        && !is_reference(value)
}
