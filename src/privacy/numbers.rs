//! Numbers of a body, as they were written. A number in memory forgets digits and spelling; so one
//! that would change goes through the gate as a marked string and comes back as it was.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Number;

/// Characters that mean nothing to anybody; one that the body does not hold marks its numbers.
const MARKS: RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';
/// Whole numbers with no more digits are kept as they are.
const SAFE_DIGITS: usize = 18;

/// A body in which every number survives being read and written.
#[derive(Debug)]
pub struct Marked<'a> {
    /// The body as JSON.
    pub json: Cow<'a, str>,
    mark: Option<char>,
}

impl<'a> Marked<'a> {
    /// Marks the numbers of valid JSON that would change. `None` if no character is left to mark
    /// with.
    #[must_use]
    pub fn new(json: &'a str) -> Option<Marked<'a>> {
        let changing: Vec<_> = numbers(json).filter(|range| !is_kept(&json[range.clone()])).collect();
        if changing.is_empty() {
            return Some(Marked { json: json.into(), mark: None });
        }
        let mut free = MARKS.filter(|mark| !json.contains(*mark));
        // What is escaped could be any of them, so those are asked for by name.
        let lower = json.to_ascii_lowercase();
        let mark = free.find(|mark| !lower.contains(&format!("\\u{:04x}", u32::from(*mark))))?;
        let mut marked = String::with_capacity(json.len() + 5 * changing.len());
        let mut copied = 0;
        for range in changing {
            marked.push_str(&json[copied..range.start]);
            marked.extend(['"', mark]);
            marked.push_str(&json[range.clone()]);
            marked.push('"');
            copied = range.end;
        }
        marked.push_str(&json[copied..]);
        Some(Marked { json: marked.into(), mark: Some(mark) })
    }

    /// What came of the body, with its numbers as they were. A number of which a part was cut stays
    /// a string.
    #[must_use]
    pub fn restore(&self, json: String) -> String {
        let Some(mark) = self.mark else { return json };
        let opening = format!("\"{mark}");
        let mut restored = String::with_capacity(json.len());
        let mut rest = json.as_str();
        while let Some(at) = rest.find(mark) {
            let after = &rest[at + mark.len_utf8()..];
            let end = after.find(|c: char| !is_of_number(c)).unwrap_or(after.len());
            let is_whole = rest[..at].ends_with('"')
                && rest[at - 1..].starts_with(&opening)
                && end > 0
                && after[end..].starts_with('"');
            if is_whole {
                restored.push_str(&rest[..at - 1]);
                restored.push_str(&after[..end]);
                rest = &after[end + 1..];
            } else {
                restored.push_str(&rest[..at]);
                rest = after;
            }
        }
        restored.push_str(rest);
        restored
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')
}

fn is_kept(number: &str) -> bool {
    let is_short = number.len() <= SAFE_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    is_short || number.parse::<Number>().is_ok_and(|read| read.to_string() == number)
}

/// Where the numbers of valid JSON stand.
fn numbers(json: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            match bytes[at] {
                b'"' => at = after_string(bytes, at + 1),
                b'-' | b'0'..=b'9' => {
                    let length = bytes[at..].iter().position(|byte| !is_of_number(char::from(*byte)));
                    let start = at;
                    at = length.map_or(bytes.len(), |length| start + length);
                    return Some(start..at);
                }
                _ => at += 1,
            }
        }
        None
    })
}

fn after_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn through(json: &str) -> String {
        let marked = Marked::new(json).unwrap();
        let read: Value = serde_json::from_str(&marked.json).unwrap();
        marked.restore(read.to_string())
    }

    #[test]
    fn numbers_come_through_as_written() {
        for json in [
            r#"{"a":100000000000000000000001,"b":[1e400,-0,1.10,1E5,-1e-7,0.1,12],"c":"1e400"}"#,
            r#"["\\\"",1.0e1,"\ue000\uE001"]"#,
            "1.50",
        ] {
            let plain: String = through(json);
            let unescaped = json.replace("\\ue000\\uE001", "\u{e000}\u{e001}");
            assert_eq!(plain, unescaped);
        }
        let marked = Marked::new("[1.50]").unwrap();
        assert_eq!(marked.restore("[\"\u{e000}<CARD_1>\"]".to_owned()), "[\"<CARD_1>\"]");
    }

    proptest! {
        #[test]
        fn any_number_survives(sign in "-?", whole in "0|[1-9][0-9]{0,30}", rest in r"(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?") {
            let json = format!("{{\"n\":[{sign}{whole}{rest}]}}");
            prop_assert_eq!(through(&json), json);
        }
    }
}
