//! Values that are split: over lines, or by a space between all their letters. Each such place is
//! read once more without what splits it.

use std::ops::Range;

use super::alphabet::Alphabet;
use super::fold::Folded;
use super::meter::Meter;

/// Joined parts are at least so long together.
const LEAST: usize = 16;
const MOST_PIECE: usize = 512;
const MOST_PIECES: usize = 64;
const MOST_INDENT: usize = 24;
/// What a first piece is made of: tokens, and what names them in a URL or before a colon.
const PIECE: Alphabet =
    Alphabet::of(&[b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._~+/=-:!?&@%$"]);
/// So much of what stands before a list of pieces may name it.
const MOST_CONTEXT: usize = 96;

/// A place where a value may go on behind a break.
pub(crate) struct Joined {
    pub(crate) folded: Folded,
    /// Where the first piece ends, in the joined text, if that piece may be all of the value.
    pub(crate) first: Option<usize>,
    /// Whether what follows the first piece looks like more of a token.
    pub(crate) goes_on: bool,
    /// Bytes before the first piece that may say what it is.
    pub(crate) context: usize,
}

/// Every place where a line ends inside something like a token.
pub(crate) fn lines(text: &str, meter: &mut Meter<'_>) -> Vec<Joined> {
    let bytes = text.as_bytes();
    let mut joined = Vec::new();
    let mut done = 0;
    for at in memchr(bytes) {
        if at < done || meter.is_blocked() {
            continue;
        }
        let end = if at > 0 && bytes[at - 1] == b'\r' { at - 1 } else { at };
        if end == 0 || !Alphabet::BEARER.has(bytes[end - 1]) {
            continue;
        }
        let start = PIECE.run_back(bytes, end, MOST_PIECE).max(done);
        meter.spend(end - start + MOST_INDENT);
        let mut pieces: Vec<Range<usize>> = std::iter::once(start..end).collect();
        let mut line_end = at;
        while let Some(piece) = next_piece(bytes, line_end) {
            meter.spend(piece.len());
            line_end = piece.end;
            // What was wrapped ends with the first line that is shorter than the one before.
            let is_whole =
                is_line_end(bytes, piece.end) && pieces.last().is_none_or(|last| piece.len() >= last.len());
            pieces.push(piece);
            if !is_whole || pieces.len() > MOST_PIECES {
                break;
            }
            line_end += usize::from(bytes.get(line_end) == Some(&b'\r'));
        }
        if pieces.len() < 2 {
            continue;
        }
        done = pieces[pieces.len() - 2].end;
        let length: usize = pieces.iter().map(Range::len).sum();
        let goes_on = is_token(&bytes[pieces[1].clone()]);
        if length < LEAST || !pieces.iter().any(|piece| is_token(&bytes[piece.clone()])) {
            continue;
        }
        let context = if goes_on { context_of(text, start) } else { start..start };
        let (length, first) = (context.len(), context.len() + pieces[0].len());
        pieces.insert(0, context);
        joined.push(Joined {
            first: Some(first),
            folded: Folded::of_pieces(text, &pieces),
            goes_on,
            context: length,
        });
    }
    joined
}

/// What stands before `at` in its line and may say what follows.
fn context_of(text: &str, at: usize) -> Range<usize> {
    let from = at.saturating_sub(MOST_CONTEXT);
    let from = (from..=at).find(|from| text.is_char_boundary(*from)).unwrap_or(at);
    let line = text[from..at].rfind('\n').map_or(from, |line| from + line + 1);
    line..at
}

/// Whether it has letters or digits, as no word has them.
fn is_token(piece: &[u8]) -> bool {
    let has_inner_capital =
        piece.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    let has_sign = piece.iter().any(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    (has_sign && piece.iter().any(u8::is_ascii_alphanumeric)) || has_inner_capital
}

fn memchr(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

fn is_line_end(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at), Some(b'\n'))
        || (bytes.get(at) == Some(&b'\r') && bytes.get(at + 1) == Some(&b'\n'))
}

/// What stands at the start of the line after `at`, behind indentation and the signs of quoting.
fn next_piece(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if bytes.get(at) != Some(&b'\n') {
        return None;
    }
    let most = bytes.len().min(at + 1 + MOST_INDENT);
    let is_sign = |byte: &u8| matches!(byte, b' ' | b'\t' | b'>' | b'|' | b'#' | b'*');
    let start = at + 1 + bytes[at + 1..most].iter().take_while(|byte| is_sign(byte)).count();
    let end = PIECE.run(bytes, start, MOST_PIECE);
    (end > start).then_some(start..end)
}

/// Every stretch of single characters with the same sign between each two: `g h p _ A 1`.
pub(crate) fn spaced(text: &str, meter: &mut Meter<'_>) -> Vec<Joined> {
    const STRIDE: usize = 16;
    let bytes = text.as_bytes();
    let is_pair = |at: usize| {
        matches!(bytes[at], b' ' | b'.' | b'-' | b'|' | b',')
            && bytes.get(at + 1).is_some_and(|byte| byte.is_ascii_graphic())
    };
    let mut joined = Vec::new();
    let (mut at, mut last) = (STRIDE, 0);
    meter.spend(bytes.len() / STRIDE);
    while at + 4 < bytes.len() {
        let sign = if is_pair(at) { at } else { at + 1 };
        let mark = bytes[sign];
        if !is_pair(sign) || bytes[sign + 2] != mark {
            at += STRIDE;
            continue;
        }
        let is_one = |sign: usize| {
            bytes[sign] == mark && bytes.get(sign + 1).is_some_and(|byte| byte.is_ascii_graphic())
        };
        let mut first = sign;
        while first >= last + 3 && is_one(first - 2) {
            first -= 2;
        }
        let mut end = sign;
        while end + 1 < bytes.len() && is_one(end) {
            end += 2;
        }
        meter.spend(end - first);
        let mut pieces: Vec<Range<usize>> =
            (first.saturating_sub(1)..end).step_by(2).map(|at| at..at + 1).collect();
        // Letters at both ends may be those of words.
        let is_word = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
        };
        if is_word(pieces.last().map(|piece| piece.end)) {
            pieces.pop();
        }
        if is_word(pieces.first().and_then(|piece| piece.start.checked_sub(1))) {
            pieces.remove(0);
        }
        let is_whole = pieces.iter().all(|piece| bytes[piece.clone()].is_ascii());
        if pieces.len() >= LEAST && is_whole {
            let folded = Folded::of_pieces(text, &pieces);
            joined.push(Joined { first: None, folded, goes_on: true, context: 0 });
        }
        last = end;
        at = end.max(at) + STRIDE;
    }
    joined
}

/// Every list of texts in quotes that is put together to one: `["ab", "cd"].join("")`.
pub(crate) fn arrays(text: &str, meter: &mut Meter<'_>) -> Vec<Joined> {
    const MOST: usize = 1_024;
    let bytes = text.as_bytes();
    let mut joined = Vec::new();
    let mut done = 0;
    meter.spend(bytes.len() / 8);
    for (at, word) in text.match_indices("join(") {
        let (before, after) = (&bytes[..at], &bytes[at + word.len()..]);
        let is_empty = |two: &[u8]| matches!(two, b"\"\"" | b"''" | b"``");
        // JavaScript, Ruby: the list stands before; Python: behind.
        let list = if after.get(..2).is_some_and(is_empty) {
            let from = at.saturating_sub(MOST).max(done);
            let open = bytes[from..at].iter().rposition(|byte| *byte == b'[');
            open.map(|open| from + open..at)
        } else if before.ends_with(b".") && before.len() >= 3 && is_empty(&before[at - 3..at - 1]) {
            let from = at + word.len();
            let to = bytes.len().min(from + MOST);
            let close = bytes[from..to].iter().position(|byte| matches!(byte, b']' | b')'));
            close.map(|close| from..from + close)
        } else {
            None
        };
        let Some(list) = list else { continue };
        meter.spend(list.len());
        done = list.end;
        let context = context_of(text, list.start.min(at));
        let length = context.len();
        let mut pieces = quoted(bytes, list);
        pieces.insert(0, context);
        let is_whole = pieces.iter().all(|piece| text.get(piece.clone()).is_some());
        if pieces.len() >= 3 && is_whole && pieces.len() <= MOST_PIECE {
            let folded = Folded::of_pieces(text, &pieces);
            joined.push(Joined { first: None, folded, goes_on: true, context: length });
        }
    }
    joined
}

/// What stands in quotes within `range`.
fn quoted(bytes: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    let (mut pieces, mut open) = (Vec::new(), None);
    for at in range {
        match open {
            None if matches!(bytes[at], b'"' | b'\'' | b'`') => open = Some((at + 1, bytes[at])),
            Some((from, quote)) if bytes[at] == quote => {
                pieces.push(from..at);
                open = None;
            }
            _ => {}
        }
    }
    pieces
}
