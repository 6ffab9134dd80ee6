//! Folding: a text as it reads, without what hides its letters, and a map back to where each of
//! them stands. Searched is the folded text; cut is the original.

mod escapes;
mod letters;

use std::ops::Range;

use super::alphabet::Alphabet;

/// How often a text is folded at most: what was escaped twice needs it twice, and once more for
/// letters that only then appear.
pub(crate) const MOST_FOLDS: usize = 3;

/// A stretch of the folded text and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Where it begins in the folded text.
    at: usize,
    /// Where that is in the original.
    from: usize,
    /// How long it is in the original.
    span: usize,
    /// Whether it is the same bytes; otherwise it can only be cut as a whole.
    is_same: bool,
}

/// A text that reads differently from how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Folded {
    pub(crate) text: String,
    segments: Vec<Segment>,
}

impl Folded {
    /// Some pieces of `text`, one behind the other.
    pub(crate) fn of_pieces(text: &str, pieces: &[Range<usize>]) -> Folded {
        let mut folded = Folded::default();
        for piece in pieces {
            folded.copy(text, piece.clone());
        }
        folded
    }

    /// The pieces of `text` with `between` for what stands between each two.
    pub(crate) fn of_lines(text: &str, pieces: &[Range<usize>], between: &str) -> Folded {
        let mut folded = Folded::default();
        let mut last: Option<usize> = None;
        for piece in pieces {
            if let Some(last) = last.filter(|_| !between.is_empty()) {
                folded.put(between, last, piece.start - last);
            }
            last = Some(piece.end);
            folded.copy(text, piece.clone());
        }
        folded
    }

    /// Where a range of the folded text stands in the original. Half a character is all of it.
    pub(crate) fn back(&self, range: &Range<usize>) -> Range<usize> {
        let segment = |at: usize| {
            let index = self.segments.partition_point(|segment| segment.at <= at);
            &self.segments[index.saturating_sub(1)]
        };
        let (first, last) = (segment(range.start), segment(range.end.max(range.start + 1) - 1));
        let start = if first.is_same { first.from + (range.start - first.at) } else { first.from };
        let end = if last.is_same { last.from + (range.end - last.at) } else { last.from + last.span };
        start..end.max(start)
    }

    fn copy(&mut self, text: &str, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let at = self.text.len();
        self.segments.push(Segment { at, from: range.start, span: range.len(), is_same: true });
        self.text.push_str(&text[range]);
    }

    fn put(&mut self, read: &str, from: usize, span: usize) {
        self.segments.push(Segment { at: self.text.len(), from, span, is_same: false });
        self.text.push_str(read);
    }

    /// A mark belongs to the letter before it, and goes with it.
    fn attach(&mut self, mark: char, end: usize) {
        let Some(letter) = self.text.pop() else { return };
        let Some(last) = self.segments.last_mut() else { return };
        let read = letters::compose(letter, mark).unwrap_or(letter);
        let (at, mut from) = (self.text.len(), last.from);
        if last.is_same && at > last.at {
            from = last.from + (at - last.at);
            last.span = at - last.at;
        } else {
            self.segments.pop();
        }
        self.segments.push(Segment { at, from, span: end - from, is_same: false });
        self.text.push(read);
    }
}

/// Every fold of the text, each of the one before; none if it reads as it is written.
pub(crate) fn all(text: &str) -> Vec<Folded> {
    let mut folds: Vec<Folded> = Vec::new();
    while folds.len() < MOST_FOLDS {
        let Some(folded) = fold(folds.last().map_or(text, |folded| folded.text.as_str())) else { break };
        folds.push(folded);
    }
    folds
}

/// How a place of the text reads.
enum Unit {
    /// As it is written.
    Same,
    /// Nothing is to be seen of these bytes.
    Nothing(usize),
    /// These bytes are a mark on the letter before.
    Mark(char, usize),
    /// These bytes read as this character.
    Letter(char, usize),
    /// These bytes read as several characters.
    Letters(String, usize),
}

/// Bytes at which a text may read differently from how it is written.
static MAY_DIFFER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let control = byte < 0x20 && byte != 0x09 && byte != 0x0A && byte != 0x0D;
        let mark =
            matches!(byte as u8, b'\\' | b'%' | b'&' | b'<' | b'*' | b'~' | b'=' | b'"' | b'\'' | b'`');
        table[byte] = control || mark || byte >= 0x7F;
        byte += 1;
    }
    table
};

/// The folded text, or `None` if the text reads as it is written.
pub(crate) fn fold(text: &str) -> Option<Folded> {
    let bytes = text.as_bytes();
    let mut folded: Option<Folded> = None;
    let (mut copied, mut at) = (0, 0);
    let mut words = letters::Words::default();
    while let Some(skipped) = bytes[at..].iter().position(|byte| MAY_DIFFER[usize::from(*byte)]) {
        at += skipped;
        let unit = unit(text, at, &mut words);
        let length = match &unit {
            Unit::Same => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            Unit::Nothing(length)
            | Unit::Mark(_, length)
            | Unit::Letter(_, length)
            | Unit::Letters(_, length) => *length,
        };
        let folded = folded
            .get_or_insert_with(|| Folded { text: String::with_capacity(text.len()), segments: vec![] });
        folded.copy(text, copied..at);
        match unit {
            Unit::Same | Unit::Nothing(_) => {}
            Unit::Mark(mark, length) => folded.attach(mark, at + length),
            Unit::Letter(letter, length) => folded.put(letter.encode_utf8(&mut [0; 4]), at, length),
            Unit::Letters(letters, length) => folded.put(&letters, at, length),
        }
        at += length;
        copied = at;
    }
    let mut folded = folded?;
    folded.copy(text, copied..text.len());
    // A text of nothing but invisible characters has no letter to find.
    (!folded.text.is_empty()).then_some(folded)
}

fn unit(text: &str, at: usize, words: &mut letters::Words) -> Unit {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'\\' => escapes::backslash(text, at),
        b'%' => escapes::percent(bytes, at),
        b'&' => escapes::entity(text, at),
        b'=' => escapes::quoted_printable(bytes, at),
        0x1B => escapes::terminal(bytes, at),
        b'<' => escapes::inline_tag(bytes, at),
        mark @ (b'*' | b'~') => emphasis(bytes, at, mark),
        b'"' | b'\'' | b'`' => joint(bytes, at, 0),
        0x80.. => letters::letter(text, at, words),
        _ => Unit::Nothing(1),
    }
}

fn is_between_token_bytes(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_token = |byte: Option<&u8>| byte.is_some_and(|byte| Alphabet::TOKEN.has(*byte));
    start > 0 && is_token(bytes.get(start - 1)) && is_token(bytes.get(end))
}

/// Between letters, digits and the signs that values are made of. A piece may end with a quote.
fn is_between_signs(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| *byte == b' ' || *byte > 0x20 && *byte != 0x7F);
    start > 0 && is_part(bytes.get(start - 1)) && is_part(bytes.get(end))
}

/// Between what two pieces of a text may end and begin with: not where a list or a call does.
fn is_between_pieces(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_sign = |byte: u8| matches!(byte, b'"' | b'\'' | b'`' | b'(' | b')' | b'[' | b']' | b',' | b'=');
    is_between_signs(bytes, start, end) && !(is_sign(bytes[start - 1]) && is_sign(bytes[end]))
}

/// `**` or `~~` inside a word.
fn emphasis(bytes: &[u8], at: usize, mark: u8) -> Unit {
    let is_pair = bytes.get(at + 1) == Some(&mark) && is_between_token_bytes(bytes, at, at + 2);
    if is_pair { Unit::Nothing(2) } else { Unit::Same }
}

/// `"ab" + "cd"` in the ways of several languages; what is joined reads `abcd`. Inside a text in
/// quotes, so many backslashes stand before each quote: they begin at `at`.
fn joint(bytes: &[u8], at: usize, slashes: usize) -> Unit {
    const MOST: usize = 48;
    let first = at + slashes;
    let quote = bytes[first];
    // With its backslashes it was looked at before.
    if slashes == 0 && at > 0 && bytes[at - 1] == b'\\' {
        return Unit::Same;
    }
    let Some(next) = bytes.get(first + 1) else { return Unit::Same };
    if !matches!(next, b' ' | b'\t' | b'\n' | b'\r' | b'+' | b'.' | b'&' | b'|' | b'\\' | b'<' | b'"' | b'\'')
    {
        return Unit::Same;
    }
    let end = bytes.len().min(first + MOST);
    let (mut to, mut has_sign, mut has_break) = (first + 1, false, false);
    while to < end {
        match bytes[to] {
            b' ' | b'\t' => {}
            b'\n' | b'\r' => has_break = true,
            b'\\' if bytes.get(to + slashes) == Some(&quote) => to += slashes - 1,
            // A line break as a text in quotes has it.
            b'\\' if slashes > 0 && bytes.get(to + slashes) == Some(&b'n') => {
                has_break = true;
                to += slashes;
            }
            // One at the end of a line is a sign; any other is a part of what follows.
            b'\\' if !bytes.get(to + 1).is_some_and(u8::is_ascii_whitespace) => break,
            b'+' | b'.' | b'&' | b'|' | b'\\' | b'<' | b'>' | b'_' => has_sign = true,
            _ => break,
        }
        to += 1;
    }
    // Without a sign, only what stands side by side or in the next line is one text.
    let is_adjacent = to == first + slashes + 1;
    let is_beside = is_adjacent || to == first + slashes + 2;
    let is_joint = to < end && bytes[to] == quote && (has_sign || has_break || is_beside);
    let is_between = match (has_sign, is_adjacent) {
        (true, _) => is_between_signs,
        (false, true) => is_between_token_bytes,
        (false, false) => is_between_pieces,
    };
    if is_joint && is_between(bytes, at, to + 1) { Unit::Nothing(to + 1 - at) } else { Unit::Same }
}
