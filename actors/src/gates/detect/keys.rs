//! Private keys with their bodies, and JSON Web Tokens.

use super::alphabet::Alphabet;
use super::found::Class;
use super::pass::Pass;

/// The name of a block is not longer.
const MOST_LABEL: usize = 80;
/// A body begins within so many bytes after the first line, headers included.
const MOST_HEADERS: usize = 400;
/// So many characters of base64 side by side are a body.
const LEAST_BODY: usize = 16;

const BASE64URL: Alphabet = Alphabet::TOKEN;

/// `-----BEGIN … PRIVATE KEY-----`, in all its kinds; `end` is where the label begins. A block
/// that is cut off reaches to the end of the text.
pub(crate) fn block(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    let bytes = pass.bytes;
    if at < pass.block_to {
        return;
    }
    let label_to = bytes.len().min(end + MOST_LABEL);
    let Some(dashes) = find(&bytes[end..label_to], b"---").map(|n| end + n) else { return };
    let label = bytes[end..dashes].to_ascii_uppercase();
    if find(&label, b"PRIVATE").is_none() && find(&label, b"SECRET KEY").is_none() {
        return;
    }
    let body = dashes + bytes[dashes..].iter().take_while(|byte| **byte == b'-').count();
    let start = at - bytes[..at].iter().rev().take(8).take_while(|byte| **byte == b'-').count();
    if !has_body(&bytes[body..bytes.len().min(body + MOST_HEADERS)]) {
        return;
    }
    let to = match find(&bytes[body..], b"---").map(|n| body + n) {
        None => bytes.len(),
        Some(next) => {
            let dashes = bytes[next..].iter().take_while(|byte| **byte == b'-').count();
            let label = next + dashes;
            let closes = bytes[label..]
                .trim_ascii_start()
                .get(..3)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"END"));
            let line_to = bytes.len().min(label + MOST_LABEL);
            let last = find(&bytes[label..line_to], b"---").map(|n| label + n);
            match last {
                Some(last) if closes => last + bytes[last..].iter().take_while(|byte| **byte == b'-').count(),
                _ if closes => line_to,
                _ => next,
            }
        }
    };
    let to = (to..=bytes.len()).find(|to| pass.text.is_char_boundary(*to)).unwrap_or(bytes.len());
    pass.meter.spend(to - start);
    pass.block_to = to;
    pass.hit(start..to, Class::Secret, "private-key", 100);
}

fn has_body(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        let end = Alphabet::BASE64.run(bytes, at, bytes.len());
        if end - at >= LEAST_BODY {
            return true;
        }
        at = end + 1;
    }
    false
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A key file of PuTTY, to the end of its checksum.
pub(crate) fn putty(pass: &mut Pass<'_, '_>, at: usize) {
    let bytes = pass.bytes;
    if at < pass.block_to {
        return;
    }
    let to = find(&bytes[at..], b"Private-MAC:").map_or(bytes.len(), |mac| {
        let value = at + mac + b"Private-MAC:".len();
        let value = value + usize::from(bytes.get(value) == Some(&b' '));
        Alphabet::HEX.run(bytes, value, 128)
    });
    pass.meter.spend(to - at);
    pass.block_to = to;
    if find(&bytes[at..to], b"Private-Lines").is_some() {
        pass.hit(at..to, Class::Secret, "putty-key", 100);
    }
}

/// A JSON Web Token: two parts that are JSON in base64, and what follows.
pub(crate) fn web_token(pass: &mut Pass<'_, '_>, at: usize) {
    const LEAST: usize = 8;
    let bytes = pass.bytes;
    if at < pass.token_to
        || !bytes[at..].starts_with(b"eyJ")
        || (at > 0 && Alphabet::ALNUM.has(bytes[at - 1]))
    {
        return;
    }
    let header = BASE64URL.run(bytes, at, usize::MAX);
    pass.meter.spend(header - at);
    pass.token_to = header;
    if header - at < LEAST || bytes.get(header) != Some(&b'.') {
        return;
    }
    let (mut to, mut parts) = (header, 1);
    while parts < 5 && bytes.get(to) == Some(&b'.') {
        let next = BASE64URL.run(bytes, to + 1, usize::MAX);
        if next == to + 1 && parts > 2 {
            break;
        }
        to = next;
        parts += 1;
    }
    let payload = BASE64URL.run(bytes, header + 1, usize::MAX) - header - 1;
    pass.meter.spend(to - at);
    pass.token_to = to;
    if payload >= LEAST || (parts == 5 && to - header > LEAST) {
        // A full stop after it belongs to the sentence.
        let to = if bytes[to - 1] == b'.' { to - 1 } else { to };
        pass.hit(at..to, Class::Secret, "json-web-token", 95);
    }
}
