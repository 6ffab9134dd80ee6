//! From the bytes of a file to the text that is searched: nothing is lost on the way.

use std::borrow::Cow;

/// What Windows-1252 has in the place of the bytes 0x80 to 0x9f; the five that it leaves open are
/// control characters, as on the web.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// Formats that hold their text packed, by their first bytes.
const PACKED: [&[u8]; 6] = [b"%PDF-", b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];

/// The bytes are no text, so that nothing in them could be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no text")]
pub struct NoText;

/// The text of a file. Bytes that are no UTF-8 are read as Windows-1252, in which each has a
/// meaning.
///
/// # Errors
/// It is no text: it holds NUL bytes, is packed, or is neither UTF-8 nor without control characters.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, NoText> {
    if bytes.contains(&0) || PACKED.iter().any(|head| bytes.starts_with(head)) {
        return Err(NoText);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Cow::Borrowed(text));
    }
    if bytes.iter().any(|byte| matches!(byte, 0x01..=0x06 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)) {
        return Err(NoText);
    }
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| match byte {
            0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
            other => char::from(*other),
        }));
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_has_a_meaning_or_the_whole_is_no_text() {
        for (bytes, text) in [
            (&b"plain"[..], Ok("plain")),
            ("Müller €".as_bytes(), Ok("Müller €")),
            (b"M\xfcller \x80 \x84x\x93", Ok("Müller € „x“")),
            (b"M\xc3\xbcller and M\xfcller", Ok("Müller and Müller")),
            (b"a\0b", Err(NoText)),
            (b"\xff\xfea\0b\0", Err(NoText)),
            (b"\x89PNG\r\n\x1a\n\xff", Err(NoText)),
            (b"%PDF-1.7\n", Err(NoText)),
        ] {
            assert_eq!(decode(bytes).as_deref(), text.as_ref().copied(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_latin_1_is_read_as_that(text in "[a-zA-Z0-9 =:\u{e0}-\u{f6}]{0,40}") {
            // Two of these letters beside each other are never UTF-8 by chance.
            let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            prop_assert_eq!(decode(&bytes).unwrap(), text);
        }
    }
}
