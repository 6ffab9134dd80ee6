//! Passwords in URLs and connection strings, and what HTTP headers carry.

use super::alphabet::Alphabet;
use super::decode;
use super::found::Class;
use super::named::value::is_stand_in;
use super::pass::Pass;

const MOST_AUTHORITY: usize = 1_024;
/// So long must a name be that stands there without a password, to be a token.
const LEAST_TOKEN: usize = 16;

/// `://` ends at `end`: is there `name:password@` behind it?
pub(crate) fn authority(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    let bytes = pass.bytes;
    if at < pass.url_to || at == 0 || !bytes[at - 1].is_ascii_alphanumeric() {
        return;
    }
    let most = bytes.len().min(end + MOST_AUTHORITY);
    let stops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'<' | b'>' | b'`' | b'\\');
    let first = bytes[end..most].iter().position(stops).map_or(most, |n| end + n);
    // Code may put the password together: it stands in quotes then.
    let all = quoted_password(bytes, first, most).unwrap_or(first);
    pass.meter.spend(all - end);
    pass.url_to = all;
    // A slash inside a password is not always escaped: then an `@` behind it tells.
    let slash =
        bytes[end..all].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).map_or(all, |n| end + n);
    let sign = bytes[end..slash].iter().rposition(|byte| *byte == b'@').map(|n| end + n);
    let colon = |to: usize| bytes[end..to].iter().position(|byte| *byte == b':').map(|n| end + n + 1);
    let sign = sign.or_else(|| {
        let colon = colon(slash).filter(|colon| !bytes.get(*colon).is_some_and(u8::is_ascii_digit))?;
        bytes[colon..all].iter().position(|byte| *byte == b'@').map(|n| colon + n)
    });
    let Some(sign) = sign else { return };
    pass.url_sign = Some(sign);
    let (from, least) = match colon(sign) {
        Some(from) => (from, 1),
        None => (end, LEAST_TOKEN),
    };
    let Some(value) = pass.text.get(from..sign) else { return };
    let is_reference = value.starts_with(['$', '{', '<', '%', '[']) && !value.starts_with("%2");
    if value.len() >= least && !is_stand_in(value) && !is_reference {
        pass.hit(from..sign, Class::Secret, "connection-string", 90);
    }
}

/// Where the authority ends whose password begins with the quote at `at`, or the backslashes
/// before one.
fn quoted_password(bytes: &[u8], at: usize, most: usize) -> Option<usize> {
    let rest = &bytes[at..most];
    let open = rest.iter().take_while(|byte| **byte == b'\\').count() + 1;
    if bytes[at - 1] != b':' || rest.get(open - 1) != Some(&b'"') {
        return None;
    }
    let is_end = |byte: &u8| *byte == b'"' || byte.is_ascii_whitespace();
    let close = at + open + rest[open..].iter().position(is_end)?;
    bytes[close..].starts_with(b"\"@").then(|| Alphabet::DOTTED.run(bytes, close + 2, most - close - 2))
}

/// `Bearer …`.
pub(crate) fn bearer(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    const LEAST: usize = 16;
    let bytes = pass.bytes;
    if at > 0 && Alphabet::ALNUM.has(bytes[at - 1]) {
        return;
    }
    let from = end + bytes[end..].iter().take(8).take_while(|byte| **byte == b' ').count();
    let to = Alphabet::BEARER.run(bytes, from, usize::MAX);
    let to = to - bytes[from..to].iter().rev().take_while(|byte| **byte == b'.').count();
    pass.meter.spend(to - from);
    let value = &pass.text[from..to];
    let mut words = value.split(['-', '_', '.', '/']).filter(|word| !word.is_empty());
    let is_words = words.all(|word| word.bytes().skip(1).all(|byte| byte.is_ascii_lowercase()));
    if value.len() >= LEAST && !is_words && !is_stand_in(value) {
        pass.named_hit(from..to, Class::Secret, "bearer-token", 90);
    }
}

/// `Basic …`: a name, a colon and a password in base64.
pub(crate) fn basic(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    const MOST: usize = 1_024;
    let bytes = pass.bytes;
    if at > 0 && Alphabet::ALNUM.has(bytes[at - 1]) {
        return;
    }
    let to = Alphabet::BASE64.run(bytes, end, MOST);
    pass.meter.spend(to - end);
    let decoded = decode::base64(&bytes[end..to]);
    if to - end >= 6 && decoded.is_some_and(|text| text.contains(':')) {
        pass.named_hit(end..to, Class::Secret, "basic-authorization", 95);
    }
}
