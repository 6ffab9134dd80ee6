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
/// What a piece may end with: what ends a sentence or a name hardly does.
const LAST: Alphabet =
    Alphabet::of(&[b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._~+/=-@$!%&"]);
/// So much of what stands before a list of pieces may name it.
const MOST_CONTEXT: usize = 96;

/// A place where a value may go on behind a break.
pub(crate) struct Joined {
    pub(crate) folded: Folded,
    /// Where pieces end, in the joined text, that may be all of a value; none if no piece can be.
    pub(crate) breaks: Vec<Break>,
    /// Bytes before the first piece that may say what it is.
    pub(crate) context: usize,
}

/// Where a line ended, in the joined text.
pub(crate) struct Break {
    at: usize,
    /// Whether what follows looks like more of a token.
    pub(crate) goes_on: bool,
}

impl Joined {
    /// Whether a value at `range` is split, and whether it goes on for sure.
    pub(crate) fn crosses(&self, range: &Range<usize>) -> Option<bool> {
        if self.breaks.is_empty() {
            return Some(true);
        }
        let mut inside = self.breaks.iter().filter(|split| range.start < split.at && range.end > split.at);
        inside.next().map(|split| split.goes_on)
    }
}

/// Every place where a line ends inside something like a token.
pub(crate) fn lines(text: &str, meter: &mut Meter<'_>) -> Vec<Joined> {
    let bytes = text.as_bytes();
    let mut joined = Vec::new();
    // To where lines were joined, and where the last but one of them begins: it may go on.
    let (mut done, mut floor) = (0, 0);
    for at in memchr(bytes) {
        if at < done || meter.is_blocked() {
            continue;
        }
        let end = if at > 0 && bytes[at - 1] == b'\r' { at - 1 } else { at };
        if end == 0 || !LAST.has(bytes[end - 1]) {
            continue;
        }
        let start = PIECE.run_back(bytes, end, MOST_PIECE).max(floor);
        meter.spend(end - start + MOST_INDENT);
        let mut pieces: Vec<Range<usize>> = std::iter::once(start..end).collect();
        let mut line_end = at;
        while let Some(piece) = next_piece(bytes, line_end) {
            meter.spend(piece.len());
            line_end = piece.end;
            // What was wrapped ends with the first line that is shorter than the one before.
            // How long the first is says nothing: a label may be a part of it.
            let is_longer = pieces.len() == 1 || pieces.last().is_none_or(|last| piece.len() >= last.len());
            let is_whole = is_line_end(bytes, piece.end) && is_longer;
            pieces.push(piece);
            if !is_whole || pieces.len() > MOST_PIECES {
                break;
            }
            line_end += usize::from(bytes.get(line_end) == Some(&b'\r'));
        }
        if pieces.len() < 2 {
            continue;
        }
        (floor, done) = (pieces[pieces.len() - 2].start, pieces[pieces.len() - 2].end);
        let length: usize = pieces.iter().map(Range::len).sum();
        let goes_on = is_token(&bytes[pieces[1].clone()]);
        let is_part =
            |piece: &Range<usize>| is_token(&bytes[piece.clone()]) || bytes[piece.clone()].contains(&b'@');
        if length < LEAST || !pieces.iter().any(is_part) {
            continue;
        }
        let context = if goes_on { context_of(text, start) } else { start..start };
        let (length, mut at) = (context.len(), context.len());
        let breaks = pieces.windows(2).map(|pair| {
            at += pair[0].len();
            Break { at, goes_on: is_token(&bytes[pair[1].clone()]) }
        });
        let breaks = breaks.collect();
        pieces.insert(0, context);
        pieces.extend(pieces.last().map(|last| rest_of(text, last.end)));
        joined.push(Joined { breaks, folded: Folded::of_pieces(text, &pieces), context: length });
    }
    joined
}

/// What stands before `at` in its line and may say what follows.
fn context_of(text: &str, at: usize) -> Range<usize> {
    let from = at.saturating_sub(MOST_CONTEXT);
    let from = (from..=at).find(|from| text.is_char_boundary(*from)).unwrap_or(at);
    let line = text[from..at].rfind('\n').map_or(from, |line| from + line + 1);
    // A name may stand in the line before.
    let is_first = text[line..at].bytes().all(|byte| is_margin(&byte));
    let before = text[from..line].trim_end();
    if is_first && before.ends_with(['=', ':']) {
        return before.rfind('\n').map_or(from, |line| from + line + 1)..at;
    }
    line..at
}

/// What stands behind `at` in its line and may say what stood before.
fn rest_of(text: &str, at: usize) -> Range<usize> {
    let to = text.len().min(at + MOST_CONTEXT);
    let to = (at..=to).rev().find(|to| text.is_char_boundary(*to)).unwrap_or(at);
    let line = text[at..to].find(['\n', '\r']).map_or(to, |line| at + line);
    at..line
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

/// Indentation, and the signs of quoting.
fn is_margin(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'>' | b'|' | b'#' | b'*')
}

/// What stands at the start of the line after `at`, behind indentation and the signs of quoting.
fn next_piece(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if bytes.get(at) != Some(&b'\n') {
        return None;
    }
    let most = bytes.len().min(at + 1 + MOST_INDENT);
    let start = at + 1 + bytes[at + 1..most].iter().take_while(|byte| is_margin(byte)).count();
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
            bytes[sign] == mark
                && bytes.get(sign + 1).is_some_and(|byte| byte.is_ascii_graphic() || *byte == mark)
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
        // The last letter may be that of a word.
        let is_latin = |letter: char| letter.is_alphanumeric() && letter < '\u{250}';
        let follows =
            pieces.last().and_then(|last| text.get(last.end..)?.chars().next()).is_some_and(is_latin);
        if follows {
            pieces.pop();
        }
        let is_whole = pieces.iter().all(|piece| bytes[piece.clone()].is_ascii());
        let is_part = |piece: &&Range<usize>| bytes[piece.start].is_ascii_alphanumeric();
        let is_spelt = 2 * pieces.iter().filter(is_part).count() > pieces.len();
        if pieces.len() >= LEAST && is_whole && is_spelt {
            // What stands first may be the end of a word, or a sign of the sentence.
            let first = pieces[0].clone();
            let is_lone = text[..first.start].ends_with([' ', '\n', '\t']) || first.start == 0;
            if !is_lone || !bytes[first.start].is_ascii_alphanumeric() {
                joined.push(in_context(text, pieces[1..].to_vec()));
            }
            joined.push(in_context(text, pieces));
        }
        last = end;
        at = end.max(at) + STRIDE;
    }
    joined
}

/// Pieces of one value, with what stands around them in their line.
fn in_context(text: &str, mut pieces: Vec<Range<usize>>) -> Joined {
    let context = pieces.first().map_or(0..0, |first| context_of(text, first.start));
    let length = context.len();
    pieces.extend(pieces.last().map(|last| rest_of(text, last.end)));
    pieces.insert(0, context);
    Joined { breaks: Vec::new(), folded: Folded::of_pieces(text, &pieces), context: length }
}

/// Every place where a line ends near a digit, read on in the next lines: without the break, and
/// with a space for it.
pub(crate) fn numbers(text: &str, meter: &mut Meter<'_>) -> Vec<Joined> {
    /// No number that is looked for is longer, with its separators.
    const REACH: usize = 40;
    const MOST_LINES: usize = 4;
    /// None has fewer, and an address with its code has not either.
    const LEAST_DIGITS: usize = 6;
    let bytes = text.as_bytes();
    let mut joined = Vec::new();
    for at in memchr(bytes) {
        if meter.is_blocked() {
            break;
        }
        let end = if at > 0 && bytes[at - 1] == b'\r' { at - 1 } else { at };
        let from = end.saturating_sub(REACH);
        let line = bytes[from..end].iter().rposition(|byte| *byte == b'\n').map_or(from, |n| from + n + 1);
        let Some(next) = line_at(text, at + 1, REACH) else { continue };
        let digits =
            |range: &Range<usize>| bytes[range.clone()].iter().filter(|byte| byte.is_ascii_digit()).count();
        let goes_on = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b' ' | b',' | b'.' | b'-' | b'/' | b':' | b'(' | b')' | b'+' | 0x80..)
        };
        let is_inside = line < end && goes_on(&bytes[end - 1]) && bytes.get(next.start).is_some_and(goes_on);
        if !is_inside || digits(&(line..end)) + digits(&next) == 0 {
            continue;
        }
        let mut pieces = vec![context_of(text, end), next];
        while let Some(last) = pieces.last().filter(|_| pieces.len() <= MOST_LINES)
            && is_line_end(bytes, last.end)
        {
            let line_end = last.end + usize::from(bytes[last.end] == b'\r');
            let Some(next) = line_at(text, line_end + 1, REACH).filter(|next| !next.is_empty()) else {
                break;
            };
            pieces.push(next);
        }
        // Where it ends, is not plain: the next line may be another one's.
        let mut count = digits(&(line..end));
        for lines in 2..=pieces.len() {
            count += digits(&pieces[lines - 1]);
            if count < LEAST_DIGITS {
                continue;
            }
            for between in ["", " "] {
                let folded = Folded::of_lines(text, &pieces[..lines], between);
                meter.spend(folded.text.len());
                let breaks = vec![Break { at: pieces[0].len(), goes_on: true }];
                joined.push(Joined { breaks, folded, context: 0 });
            }
        }
    }
    joined
}

/// The first `most` bytes of the line at `at`, behind indentation and the signs of quoting.
fn line_at(text: &str, at: usize, most: usize) -> Option<Range<usize>> {
    let indented = text.as_bytes().get(at..text.len().min(at + MOST_INDENT))?;
    let start = at + indented.iter().take_while(|byte| is_margin(byte)).count();
    let rest = rest_of(text, start);
    let end = (start..=rest.end.min(start + most)).rev().find(|end| text.is_char_boundary(*end))?;
    Some(start..end)
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
        // JavaScript, Ruby: the list stands before; Python: behind.
        let list = if begins_with_nothing(after) {
            let from = at.saturating_sub(MOST).max(done);
            let open = bytes[from..at].iter().rposition(|byte| *byte == b'[');
            open.map(|open| from + open..at)
        } else if before.strip_suffix(b".").is_some_and(ends_with_nothing) {
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
        // What separates and puts together is none of it.
        let is_around = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'.');
        let head = at - bytes[..at].iter().rev().take(8).take_while(|byte| is_around(byte)).count();
        let context = context_of(text, list.start.min(head));
        let length = context.len();
        let last = list.end.max(at + word.len());
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b']' | b')');
        let last = last + bytes[last..].iter().take(8).take_while(|byte| is_end(byte)).count();
        let mut pieces = quoted(bytes, list);
        pieces.insert(0, context);
        pieces.push(rest_of(text, last));
        let is_whole = pieces.iter().all(|piece| text.get(piece.clone()).is_some());
        if pieces.len() >= 4 && is_whole && pieces.len() <= MOST_PIECE {
            let folded = Folded::of_pieces(text, &pieces);
            joined.push(Joined { breaks: Vec::new(), folded, context: length });
        }
    }
    joined
}

/// Whether an empty text in quotes, which may have backslashes before them, is at the start.
fn begins_with_nothing(bytes: &[u8]) -> bool {
    let slashes = bytes.iter().take(4).take_while(|byte| **byte == b'\\').count();
    let second = 2 * slashes + 1;
    let is_quote = bytes.get(slashes).is_some_and(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    is_quote && bytes.get(second) == bytes.get(slashes)
}

/// Whether an empty text in quotes is at the end.
fn ends_with_nothing(bytes: &[u8]) -> bool {
    let Some((quote, head)) = bytes.split_last() else { return false };
    let slashes = head.iter().rev().take(4).take_while(|byte| **byte == b'\\').count();
    matches!(quote, b'"' | b'\'' | b'`') && head[..head.len() - slashes].last() == Some(quote)
}

/// What stands in quotes within `range`; a quote with more backslashes than the one that opens is
/// a part of the text.
fn quoted(bytes: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    const MOST_SLASHES: usize = 8;
    let (mut pieces, mut open) = (Vec::new(), None);
    for at in range {
        if !matches!(bytes[at], b'"' | b'\'' | b'`') {
            continue;
        }
        let slashes = bytes[..at].iter().rev().take(MOST_SLASHES).take_while(|byte| **byte == b'\\').count();
        match open {
            None => open = Some((at + 1, bytes[at], slashes)),
            Some((from, quote, most)) if bytes[at] == quote && slashes <= most => {
                pieces.push(from..at.saturating_sub(slashes).max(from));
                open = None;
            }
            Some(_) => {}
        }
    }
    pieces
}
