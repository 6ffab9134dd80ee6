//! Postal addresses, German and American, and post boxes. Each has a number, and is judged there.

mod american;
mod german;

use super::context::Kind;
use super::run::Run;
use super::{Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// Bytes of the longest token that may be a house number or a postal code.
const LONGEST_NUMBER: usize = 6;

/// An address around the token.
pub(super) fn find(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    if token.end - token.start > LONGEST_NUMBER {
        return None;
    }
    post_box(scan, token)
        .or_else(|| german::street(scan, token))
        .or_else(|| american::street(scan, token))
        .or_else(|| german::town(scan, token))
}

/// `Postfach 12 34 56`, `P.O. Box 123`.
fn post_box(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    if !scan.context.near(Kind::PostBox, 3)
        || !scan.bytes[token.start..token.end].iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let run = Run::read(scan.bytes, token.start);
    let groups = (1..=run.groups())
        .rev()
        .find(|groups| run.total(*groups) <= 8 && run.is_separated_by(*groups, b' '))?;
    // A mailbox in a computer has the same name, and a size.
    let unit = scan.text.get(run.end(groups)..)?.trim_start();
    let is_size = ["MB", "GB", "KB", "%", "Mails", "MiB", "GiB"].iter().any(|size| unit.starts_with(size));
    (!is_size).then(|| hit(run.start..run.end(groups), Class::Address, "post-box", 65))
}

/// A word and where it stands.
#[derive(Debug, Clone)]
struct Word<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

impl Word<'_> {
    fn is_capitalised(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }
}

/// Letters that one word may have.
const LONGEST_WORD: usize = 40;

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '\'' | '’' | '.')
}

/// Inside a word they are apostrophes; around it, quotes.
const QUOTES: [char; 2] = ['\'', '’'];

/// The word that ends at `end`: letters, digits, hyphens, apostrophes and full stops.
fn word_before<'t>(scan: &Scan<'t>, end: usize) -> Option<Word<'t>> {
    let head = scan.text.get(scan.floor..end)?;
    let length: usize =
        head.chars().rev().take(LONGEST_WORD).take_while(|c| is_word_char(*c)).map(char::len_utf8).sum();
    let text = head[head.len() - length..].trim_start_matches(QUOTES);
    (!text.is_empty()).then(|| Word { text, start: end - text.len(), end })
}

/// The word that begins at `start`.
fn word_at<'t>(scan: &Scan<'t>, start: usize) -> Option<Word<'t>> {
    let tail = scan.text.get(start..)?;
    let length: usize =
        tail.chars().take(LONGEST_WORD).take_while(|c| is_word_char(*c)).map(char::len_utf8).sum();
    let text = tail[..length].trim_end_matches(QUOTES);
    (!text.is_empty()).then(|| Word { text, start, end: start + text.len() })
}

/// One past a single space at `at`.
fn space(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let (kind, length) = super::separator(scan.bytes, at)?;
    (kind == b' ').then_some(at + length)
}

/// Where the single space before `at` begins.
fn space_before(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let (kind, start) = super::separator_before(scan.bytes, at)?;
    (kind == b' ').then_some(start)
}

/// One past what separates the lines of an address: commas, dashes, line ends, spaces.
fn line_break(scan: &Scan<'_>, at: usize) -> usize {
    let tail = scan.text.get(at..).unwrap_or_default();
    let is_break =
        |c: &char| matches!(c, ' ' | ',' | '\n' | '\r' | '\t' | '|' | ';' | '-' | '–' | '·' | '\u{a0}');
    at + tail.chars().take(8).take_while(is_break).map(char::len_utf8).sum::<usize>()
}
