//! How a value is spelled in base64 and hexadecimal digits.

use std::fmt::Write as _;

/// The alphabet of base64 (RFC 4648).
pub(crate) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The one for URLs and file names.
pub(crate) const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters of a base64 text that only the value decides, if it starts `shift` bytes after
/// a multiple of three.
pub(crate) fn base64_inside(bytes: &[u8], shift: usize, alphabet: &[u8; 64]) -> String {
    let bits = |bit: usize| -> usize {
        (bit..bit + 6).fold(0, |six, at| six << 1 | usize::from(bytes[at / 8] >> (7 - at % 8) & 1))
    };
    // The first whole character starts at the first multiple of six bits within the value.
    let first = (6 - shift * 8 % 6) % 6;
    (first..)
        .step_by(6)
        .take_while(|bit| bit + 6 <= bytes.len() * 8)
        .map(|bit| char::from(alphabet[bits(bit)]))
        .collect()
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
        text
    })
}
