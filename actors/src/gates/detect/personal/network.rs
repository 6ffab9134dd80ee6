//! Addresses in networks: IPv4, IPv6, and of network cards.

use super::context::Kind;
use super::run::Run;
use super::{Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// What begins with a letter: `fe80::1`, `aa:bb:…`.
pub(super) fn lettered(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let is_hex = scan.bytes[token.start..token.end].iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| colons(scan, token))?
}

/// What begins with a digit.
pub(super) fn numbered(scan: &Scan<'_>, token: &Token, run: &Run) -> Option<Hit> {
    dotted(scan, run).or_else(|| colons(scan, token))
}

/// An IPv4 address. Neither a version nor a chapter, nor one that means nobody: unspecified,
/// loopback, masks.
fn dotted(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    if run.groups() < 4 || !run.is_separated_by(4, b'.') {
        return None;
    }
    let digits = run.digits(4);
    let mut parts = [0_u32; 4];
    for (index, part) in parts.iter_mut().enumerate() {
        let group = &digits[run.total(index)..run.total(index + 1)];
        if group.len() > 3 || (group.len() > 1 && group[0] == 0) {
            return None;
        }
        *part = group.iter().fold(0, |value, digit| value * 10 + u32::from(*digit));
    }
    let range = run.start..run.end(4);
    let before = scan.before(run.start);
    let is_path_of_a_program = before == b'/' && scan.before(run.start - 1).is_ascii_alphanumeric();
    let goes_on = run.groups() > 4 && run.gap(3) == b'.';
    let is_part = goes_on || matches!(before, b'.' | b'-' | b'_' | b'^' | b'~') || is_path_of_a_program;
    let means_nobody = parts[0] == 0 || parts[0] == 127 || parts[0] == 255;
    if parts.iter().any(|part| *part > 255) || is_part || means_nobody || scan.ends_in_latin(run.start) {
        return None;
    }
    let is_named = scan.context.near(Kind::Ip, 48)
        || (before == b'@')
        || scan.context.nearest(Kind::Address, 32)
        || matches!(scan.at(range.end), b':' | b'/') && scan.at(range.end + 1).is_ascii_digit()
        || scan.bytes[..run.start].ends_with(b"://");
    let is_version = scan.context.nearest(Kind::Version, 24)
        || matches!(before, b'=' | b'<' | b'>') && scan.at(run.start.saturating_sub(2)) == b'=';
    // `1.2.3.4` at the head of a line or in a text is a chapter, unless it is said to be more.
    let is_small = parts.iter().all(|part| *part < 20) && parts[0] != 10;
    let score = match (is_version, is_named, is_small) {
        (true, ..) | (false, false, true) => 0,
        (false, true, _) => 90,
        (false, false, false) => 75,
    };
    (score > 0).then(|| hit(range, Class::Ip, "ipv4", score))
}

/// An IPv6 address or that of a network card, around the token.
fn colons(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    const LONGEST: usize = 45;
    let joins = |byte: u8| matches!(byte, b':' | b'-');
    if !joins(scan.at(token.end)) && !joins(scan.before(token.start)) {
        return None;
    }
    // What begins earlier was looked at there, unless there was no digit yet.
    if scan.before(token.start) == b':' && token.start < scan.colons.get() {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    let mut start = token.start;
    while start > scan.floor && token.start - start < LONGEST && is_part(scan.before(start)) {
        start -= 1;
    }
    let mut end = token.end;
    while end - token.start < LONGEST && is_part(scan.at(end)) {
        end += 1;
    }
    scan.colons.set(end);
    // A colon that ends a sentence or begins a port is none of it.
    while end > token.end && scan.before(end) == b':' && !scan.bytes[..end].ends_with(b"::") {
        end -= 1;
    }
    while start < token.start && scan.at(start) == b':' {
        start += 1;
    }
    let is_cut = scan.before(start).is_ascii_alphanumeric()
        || scan.at(end).is_ascii_alphanumeric()
        || scan.before(start) == b':'
        || scan.ends_in_latin(start);
    let is_dashed = scan.at(token.start + 2) == b'-' && token.end - token.start == 2;
    if is_dashed {
        return card(scan, token.start, b'-');
    }
    if is_cut || end - start < 5 {
        return None;
    }
    if end - start == 17
        && let Some(found) = card(scan, start, b':')
    {
        return Some(found);
    }
    is_ipv6(&scan.bytes[start..end]).then(|| hit(start..end, Class::Ip, "ipv6", 90))
}

/// Whether these are the eight groups of a global, local or unique address, or fewer around one
/// `::`.
fn is_ipv6(text: &[u8]) -> bool {
    let (mut groups, mut gaps) = (0, 0);
    for (index, group) in text.split(|byte| *byte == b':').enumerate() {
        match group.len() {
            0 if index > 0 => gaps += 1,
            1..=4 => groups += 1,
            _ => return false,
        }
    }
    // An address that ends in `::` has two empty groups there.
    if text.ends_with(b"::") {
        gaps -= 1;
    }
    let first = text.get(..4).unwrap_or_default();
    let is_given = matches!(first[0].to_ascii_lowercase(), b'2' | b'3')
        || matches!(
            [first[0].to_ascii_lowercase(), first[1].to_ascii_lowercase()],
            [b'f', b'c' | b'd' | b'e']
        );
    let is_whole = first.iter().all(u8::is_ascii_hexdigit) && text.get(4) == Some(&b':');
    is_given && is_whole && ((gaps == 0 && groups == 8) || (gaps == 1 && groups < 8))
}

/// The address of a network card: six pairs of hex digits.
fn card(scan: &Scan<'_>, start: usize, separator: u8) -> Option<Hit> {
    let text = scan.bytes.get(start..start + 17)?;
    let is_pair = |pair: &[u8]| pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
    let is_shaped = text.split(|byte| *byte == separator).all(is_pair);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == separator || byte == b'_';
    let is_cut = is_part(scan.before(start)) || is_part(scan.at(start + 17));
    // All zeros and all ones mean nobody.
    let means_nobody = text.iter().all(|byte| matches!(byte, b'0' | b':' | b'-'))
        || text.iter().all(|byte| matches!(byte, b'f' | b'F' | b':' | b'-'));
    // Six numbers of two digits may be anything; a letter among them makes the difference.
    let has_letter = text.iter().any(u8::is_ascii_alphabetic);
    (is_shaped && !is_cut && !means_nobody && has_letter)
        .then(|| hit(start..start + 17, Class::Ip, "mac-address", 75))
}
