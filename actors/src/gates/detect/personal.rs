//! Finds personal data: telephone numbers, bank accounts, cards, tax, insurance and identity
//! numbers, postal addresses, dates of birth, addresses in networks.
//!
//! All of them have digits. So one pass looks for digits and nothing else; at each token with a
//! digit every family has a bounded look at what stands there and at the words before. Clean prose
//! costs next to nothing, and any text costs linear time.
//!
//! A score is 0 to 100: 90 and more is a checksum that chance rarely passes, or one with a word
//! that names the number; 70 to 89 a checksum that one in ten passes, or a shape with a word; 50 to
//! 69 a shape that hardly means anything else. What is below [`REPORTED`] is not reported.

mod address;
mod anglo;
mod bank;
mod birth;
mod context;
mod germany;
mod network;
mod phone;
mod run;
#[cfg(all(test, not(empire_loom)))]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use super::found::{Class, Hit};
use context::Context;
use run::{Run, separator, separator_before};

/// Hits below this score are kept to ourselves.
pub const REPORTED: u8 = 50;

/// Bytes between a label and the value that it names although its checksum is wrong.
const LABEL: usize = 24;

/// Bytes that a token may reach back from its first digit; no number has a longer head.
const LONGEST_HEAD: usize = 34;

/// Finds personal data in folded text. The hits are sorted and disjoint, and lie on character
/// boundaries.
pub fn find(text: &str, hits: &mut Vec<Hit>) {
    let mut scan =
        Scan { text, bytes: text.as_bytes(), floor: 0, context: Context::new(), colons: Cell::new(0) };
    let mut from = 0;
    while let Some(digit) = next_digit(scan.bytes, from) {
        let mut token = scan.token(digit);
        scan.context.advance(scan.bytes, token.start);
        let found = judge(&scan, &mut token);
        from = token.end;
        if let Some(hit) = found {
            scan.floor = hit.range.end;
            from = from.max(hit.range.end);
            hits.push(hit);
        }
    }
}

/// Asks each family in turn; those that are surest come first. A table of numbers is one token.
fn judge(scan: &Scan<'_>, token: &mut Token) -> Option<Hit> {
    // A long blob is a hash or base64; the secrets' detector looks at those.
    if token.end - token.start > 2 * LONGEST_HEAD {
        return None;
    }
    // What a family is not sure enough of may be another one's.
    let sure = |hit: &Hit| hit.score >= REPORTED;
    if token.digit > token.start {
        return bank::iban(scan, token)
            .filter(sure)
            .or_else(|| germany::lettered(scan, token).filter(sure))
            .or_else(|| anglo::lettered(scan, token).filter(sure))
            .or_else(|| network::lettered(scan, token).filter(sure));
    }
    let run = Run::read(scan.bytes, token.start);
    if run.is_table() {
        // Its last group may begin something else.
        token.end = run.end(run.groups() - 1);
        return None;
    }
    bank::iban(scan, token)
        .filter(sure)
        .or_else(|| network::numbered(scan, token, &run).filter(sure))
        .or_else(|| birth::date(scan, token).filter(sure))
        .or_else(|| address::find(scan, token).filter(sure))
        .or_else(|| germany::numbered(scan, token, &run).filter(sure))
        .or_else(|| bank::card(scan, &run).filter(sure))
        .or_else(|| anglo::numbered(scan, token, &run).filter(sure))
        .or_else(|| phone::find(scan, &run).filter(sure))
}

/// The next digit at or after `from`. A block without one is skipped as a whole.
fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 32;
    let mut at = from;
    while let Some(block) = bytes.get(at..at + BLOCK) {
        // Without a branch in it, this is a few vector instructions.
        if block.iter().fold(false, |any, byte| any | byte.is_ascii_digit()) {
            break;
        }
        at += BLOCK;
    }
    bytes.get(at..)?.iter().position(u8::is_ascii_digit).map(|ahead| at + ahead)
}

/// The text, and what is known at the token that is judged.
struct Scan<'t> {
    text: &'t str,
    bytes: &'t [u8],
    /// One past the last hit: nothing before belongs to another one.
    floor: usize,
    context: Context,
    /// Up to where a chain of hex digits and colons was looked at.
    colons: Cell<usize>,
}

/// A run of ASCII letters and digits with at least one digit.
struct Token {
    start: usize,
    /// The first digit.
    digit: usize,
    end: usize,
}

impl Scan<'_> {
    fn token(&self, digit: usize) -> Token {
        let lowest = self.floor.max(digit.saturating_sub(LONGEST_HEAD));
        let mut start = digit;
        while start > lowest && self.bytes[start - 1].is_ascii_alphanumeric() {
            start -= 1;
        }
        let mut end = digit;
        while self.bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            end += 1;
        }
        Token { start, digit, end }
    }

    /// The byte before `at`, or a space.
    fn before(&self, at: usize) -> u8 {
        if at == 0 { b' ' } else { self.bytes[at - 1] }
    }

    /// The byte at `at`, or a space.
    fn at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b' ')
    }

    /// Whether a number at `range` is a part of something longer: a code, a path, a decimal.
    fn is_glued(&self, range: &Range<usize>) -> bool {
        let joins = |byte: u8| matches!(byte, b'-' | b'_' | b'.' | b'/' | b',' | b':' | b'=' | b'+');
        let left = self.before(range.start);
        let glued_left = matches!(left, b'_' | b'$' | b'#')
            || (matches!(left, b'-' | b'.' | b'/' | b',' | b'+')
                && self.before(range.start - 1).is_ascii_alphanumeric())
            || self.ends_in_latin(range.start);
        let right = self.at(range.end);
        let glued_right = right == b'_'
            || right == b'%'
            || (joins(right)
                && !matches!(right, b':' | b'=')
                && self.at(range.end + 1).is_ascii_alphanumeric())
            || self.begins_with_latin(range.end);
        glued_left || glued_right
    }

    /// Whether a digit stands one separator before `at`.
    fn follows_digit(&self, at: usize) -> bool {
        separator_before(self.bytes, at).is_some_and(|(_, start)| self.before(start).is_ascii_digit())
    }

    fn ends_in_latin(&self, at: usize) -> bool {
        self.text.get(..at).and_then(|head| head.chars().next_back()).is_some_and(is_latin)
    }

    fn begins_with_latin(&self, at: usize) -> bool {
        self.text.get(at..).and_then(|tail| tail.chars().next()).is_some_and(is_latin)
    }

    /// The ASCII letters, one to `most`, that stand one separator before `at`.
    fn letters_before(&self, at: usize, most: usize) -> Option<Range<usize>> {
        let (_, end) = separator_before(self.bytes, at)?;
        let mut start = end;
        while start > self.floor && end - start <= most && self.bytes[start - 1].is_ascii_alphabetic() {
            start -= 1;
        }
        let is_word = start < end && end - start <= most && !self.before(start).is_ascii_alphanumeric();
        (is_word && !self.ends_in_latin(start)).then_some(start..end)
    }

    /// Reads as many letters and digits from `start` as the pattern has, with at most one separator
    /// between two of them. In the pattern `9` is a digit, `A` a letter, `*` either. It must end
    /// where the word ends.
    fn shaped(&self, start: usize, pattern: &[u8]) -> Option<Shaped> {
        let mut shaped = Shaped { start, end: start, chars: [0; LONGEST_HEAD], length: 0 };
        let mut at = start;
        for want in pattern {
            if shaped.length > 0 && !self.at(at).is_ascii_alphanumeric() {
                at += separator(self.bytes, at)?.1;
            }
            let byte = self.at(at);
            let fits = match want {
                b'9' => byte.is_ascii_digit(),
                b'A' => byte.is_ascii_alphabetic(),
                _ => byte.is_ascii_alphanumeric(),
            };
            if !fits || shaped.length == LONGEST_HEAD {
                return None;
            }
            shaped.chars[shaped.length] = byte.to_ascii_uppercase();
            shaped.length += 1;
            at += 1;
        }
        shaped.end = at;
        let closes =
            !self.at(at).is_ascii_alphanumeric() && self.at(at) != b'_' && !self.begins_with_latin(at);
        closes.then_some(shaped)
    }
}

/// Letters of the alphabets that digits are glued to in words; in Chinese or Thai a number may
/// follow a word directly.
fn is_latin(c: char) -> bool {
    c.is_alphabetic() && c < '\u{250}'
}

/// Letters, in capitals, and digits without their separators.
struct Shaped {
    start: usize,
    end: usize,
    chars: [u8; LONGEST_HEAD],
    length: usize,
}

impl Shaped {
    fn chars(&self) -> &[u8] {
        &self.chars[..self.length]
    }

    fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

fn hit(range: Range<usize>, class: Class, rule: &'static str, score: u8) -> Hit {
    Hit { range, class, rule: Cow::Borrowed(rule), score }
}
