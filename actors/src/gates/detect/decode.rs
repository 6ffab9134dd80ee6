//! Text that is written as base64, hexadecimal digits or base32.

use super::alphabet::Alphabet;

/// So much is decoded first, to see whether it is text.
const PROBE: usize = 24;

/// The text that these bytes spell, if it is one.
pub(crate) fn text(run: &[u8]) -> Option<String> {
    if run.iter().all(u8::is_ascii_hexdigit)
        && let Some(text) = hex(run)
    {
        return Some(text);
    }
    if run.iter().all(|byte| Alphabet::BASE32.has(*byte))
        && let Some(text) = base32(run)
    {
        return Some(text);
    }
    // What stands before it may be of the same characters: a path, a name.
    let mut starts = vec![0];
    starts.extend(
        run.iter()
            .take(96)
            .enumerate()
            .filter(|(_, byte)| matches!(byte, b'/' | b'-' | b'_' | b'+'))
            .map(|(at, _)| at + 1)
            .take(6),
    );
    starts.into_iter().find_map(|start| base64(&run[start..]))
}

/// The text in base64 of either alphabet, whether padded or not, in one line or several.
pub(crate) fn base64(run: &[u8]) -> Option<String> {
    let probe = decode_base64(&run[..run.len().min(PROBE)]);
    if probe.len() < 4 || !looks_like_text(&probe) {
        return None;
    }
    as_text(decode_base64(run))
}

fn decode_base64(run: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(run.len() * 3 / 4);
    decode_bits(run, 6, &mut decoded, |byte| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        })
    });
    decoded
}

fn base32(run: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(run.len() * 5 / 8);
    decode_bits(run, 5, &mut decoded, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    });
    (decoded.len() >= 8).then_some(decoded).and_then(as_text)
}

fn hex(run: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(run.len() / 2);
    decode_bits(run, 4, &mut decoded, |byte| {
        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
    });
    as_text(decoded)
}

fn decode_bits(run: &[u8], width: u32, decoded: &mut Vec<u8>, value: impl Fn(u8) -> Option<u8>) {
    let (mut bits, mut count) = (0_u32, 0);
    for digit in run.iter().filter_map(|byte| value(*byte)) {
        bits = (bits << width) | u32::from(digit);
        count += width;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let is_wide = bytes.len() >= 4 && bytes.iter().skip(1).step_by(2).all(|byte| *byte == 0);
    is_wide
        || bytes
            .iter()
            .all(|byte| *byte >= 0x20 && *byte != 0x7F || matches!(byte, b'\t' | b'\n' | b'\r' | 0x1B))
            && bytes.iter().filter(|byte| byte.is_ascii()).count() * 4 >= bytes.len() * 3
}

fn as_text(mut bytes: Vec<u8>) -> Option<String> {
    // A letter of the next word may have been read as the last digits.
    const MOST_STRAY: usize = 3;
    let is_stray =
        |byte: &&u8| (**byte < 0x20 && !matches!(byte, b'\n' | b'\t' | b'\r' | 0)) || **byte == 0x7F;
    let tail = bytes.len().saturating_sub(MOST_STRAY);
    if let Some(first) = bytes[tail..].iter().position(|byte| is_stray(&byte)) {
        bytes.truncate(tail + first);
    }
    if !looks_like_text(&bytes) {
        return None;
    }
    // UTF-16, as PowerShell takes its commands.
    if bytes.len() >= 4 && bytes[1] == 0 {
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        return String::from_utf16(&units).ok();
    }
    // The last character may be cut off.
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            (valid + 4 > bytes.len()).then(|| {
                bytes.truncate(valid);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        }
    }
}
