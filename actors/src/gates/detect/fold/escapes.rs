//! Spellings of characters: JSON and source code, URLs, HTML, mail, terminals.

use super::{Unit, is_between_signs, is_between_token_bytes};

/// More backslashes than this before a letter are nobody's escape.
const MOST_BACKSLASHES: usize = 8;

/// `\u0067`, `\u{67}`, `\x67`, `\U00000067`, `\n`, `\t`, `\/`, with any number of backslashes.
pub(super) fn backslash(text: &str, at: usize) -> Unit {
    let bytes = text.as_bytes();
    let slashes = bytes[at..].iter().take(MOST_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let head = at + slashes + 1;
    let (code, end) = match bytes.get(at + slashes) {
        Some(b'n') => return Unit::Letter('\n', slashes + 1),
        Some(b'r') => return Unit::Letter('\r', slashes + 1),
        Some(b't') => return Unit::Letter('\t', slashes + 1),
        Some(b'/') => return Unit::Letter('/', slashes + 1),
        // The end of a piece of a text, inside a text.
        Some(b'"' | b'\'' | b'`') => return super::joint(bytes, at, slashes),
        // A line that goes on in the next one.
        Some(b'\n') if slashes == 1 && is_between_signs(bytes, at, at + 2) => return Unit::Nothing(2),
        Some(b'x') => (hex(bytes, head, 2), head + 2),
        Some(b'U') => (hex(bytes, head, 8), head + 8),
        Some(b'u') if bytes.get(head) == Some(&b'{') => {
            let digits = bytes[head + 1..].iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            if bytes.get(head + 1 + digits) != Some(&b'}') {
                return Unit::Same;
            }
            (hex(bytes, head + 1, digits), head + digits + 2)
        }
        Some(b'u') => (hex(bytes, head, 4), head + 4),
        _ => return Unit::Same,
    };
    match code {
        Some(high @ 0xD800..=0xDBFF) => surrogates(bytes, high, at, end),
        Some(code) => char::from_u32(code).map_or(Unit::Same, |letter| Unit::Letter(letter, end - at)),
        None => Unit::Same,
    }
}

/// The second half of a character that JSON writes as two.
fn surrogates(bytes: &[u8], high: u32, at: usize, end: usize) -> Unit {
    let slashes = bytes[end..].iter().take(MOST_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let head = end + slashes + 1;
    match hex(bytes, head, 4) {
        Some(low @ 0xDC00..=0xDFFF) if bytes.get(head - 1) == Some(&b'u') => {
            let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            char::from_u32(code).map_or(Unit::Same, |letter| Unit::Letter(letter, head + 4 - at))
        }
        _ => Unit::Same,
    }
}

fn hex(bytes: &[u8], from: usize, digits: usize) -> Option<u32> {
    if digits == 0 {
        return None;
    }
    bytes
        .get(from..from + digits)?
        .iter()
        .try_fold(0_u32, |code, byte| Some((code << 4) | char::from(*byte).to_digit(16)?))
}

/// `%67`, and the characters of several bytes that URLs write so.
pub(super) fn percent(bytes: &[u8], at: usize) -> Unit {
    let byte_at = |at: usize| if bytes.get(at) == Some(&b'%') { hex(bytes, at + 1, 2) } else { None };
    let mut raw = [0_u8; 4];
    for length in 1..=4 {
        let Some(byte) = byte_at(at + 3 * (length - 1)) else { return Unit::Same };
        raw[length - 1] = byte as u8;
        if let Ok(read) = std::str::from_utf8(&raw[..length]) {
            return read.chars().next().map_or(Unit::Same, |letter| Unit::Letter(letter, 3 * length));
        }
    }
    Unit::Same
}

const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("commat", '@'),
    ("lowbar", '_'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("period", '.'),
    ("colon", ':'),
    ("sol", '/'),
    ("bsol", '\\'),
    ("equals", '='),
    ("plus", '+'),
    ("num", '#'),
    ("excl", '!'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("NewLine", '\n'),
    ("Tab", '\t'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("szlig", 'ß'),
    ("shy", '\u{AD}'),
    ("zwj", '\u{200D}'),
    ("zwnj", '\u{200C}'),
    ("ZeroWidthSpace", '\u{200B}'),
];

/// `&#103;`, `&#x67;`, `&commat;`.
pub(super) fn entity(text: &str, at: usize) -> Unit {
    let bytes = text.as_bytes();
    if bytes.get(at + 1) == Some(&b'#') {
        let is_hex = matches!(bytes.get(at + 2), Some(b'x' | b'X'));
        let from = at + 2 + usize::from(is_hex);
        let radix = if is_hex { 16 } else { 10 };
        let digits = bytes[from.min(bytes.len())..].iter().take(7);
        let digits = digits.take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let code = text.get(from..from + digits).and_then(|code| u32::from_str_radix(code, radix).ok());
        let ends = usize::from(bytes.get(from + digits) == Some(&b';'));
        return code
            .and_then(char::from_u32)
            .map_or(Unit::Same, |letter| Unit::Letter(letter, from + digits + ends - at));
    }
    let name = bytes[at + 1..].iter().take(16).take_while(|byte| byte.is_ascii_alphabetic()).count();
    if name == 0 || bytes.get(at + 1 + name) != Some(&b';') {
        return Unit::Same;
    }
    let known = ENTITIES.iter().find(|(known, _)| known.as_bytes() == &bytes[at + 1..at + 1 + name]);
    known.map_or(Unit::Same, |(_, letter)| Unit::Letter(*letter, name + 2))
}

/// Mail: `=` at the end of a line joins it with the next, `=3D` is the sign itself.
pub(super) fn quoted_printable(bytes: &[u8], at: usize) -> Unit {
    match &bytes[at + 1..] {
        [b'\n', ..] if is_between_token_bytes(bytes, at, at + 2) => Unit::Nothing(2),
        [b'\r', b'\n', ..] if is_between_token_bytes(bytes, at, at + 3) => Unit::Nothing(3),
        [b'3', b'D', ..] => Unit::Letter('=', 3),
        _ => Unit::Same,
    }
}

/// Colours and the like: `ESC [ … letter`, `ESC ] … BEL`, `ESC letter`.
pub(super) fn terminal(bytes: &[u8], at: usize) -> Unit {
    const MOST: usize = 64;
    let body = &bytes[at + 1..bytes.len().min(at + MOST)];
    match body.first() {
        Some(b'[') => {
            let end = body[1..].iter().position(|byte| (0x40..=0x7E).contains(byte));
            Unit::Nothing(end.map_or(1, |end| end + 3))
        }
        Some(b']') => {
            let end = body[1..].iter().position(|byte| matches!(byte, 0x07 | 0x1B));
            Unit::Nothing(end.map_or(1, |end| end + 3))
        }
        _ => Unit::Nothing(1),
    }
}

const INLINE: &[&[u8]] =
    &[b"b", b"i", b"u", b"s", b"em", b"strong", b"span", b"wbr", b"font", b"code", b"mark", b"small", b"!--"];

/// A tag that changes how a part of a word looks: `gh<b>p_</b>`.
pub(super) fn inline_tag(bytes: &[u8], at: usize) -> Unit {
    const MOST: usize = 96;
    let end = bytes.len().min(at + MOST);
    let Some(close) = bytes[at..end].iter().position(|byte| *byte == b'>') else { return Unit::Same };
    let inside = &bytes[at + 1..at + close];
    let inside = inside.strip_prefix(b"/").unwrap_or(inside);
    let is_inline = INLINE.iter().any(|name| {
        inside.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
            && (*name == b"!--" || !inside.get(name.len()).is_some_and(u8::is_ascii_alphanumeric))
    });
    // Another tag may follow at once.
    let after = at + close + 1;
    let joins = is_between_token_bytes(bytes, at, after)
        || (at > 0 && bytes.get(after) == Some(&b'<') && bytes[at - 1].is_ascii_alphanumeric())
        || (at > 0 && bytes[at - 1] == b'>' && bytes.get(after).is_some_and(u8::is_ascii_alphanumeric));
    if is_inline && joins { Unit::Nothing(close + 1) } else { Unit::Same }
}
