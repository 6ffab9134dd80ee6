//! The owner's own secrets, matched exactly, however they are spelled: a key without a shape is
//! found where no rule could.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::detect::encode::{STANDARD, URL_SAFE, base64_inside, hex};

/// A shorter value would be found in harmless text.
pub const LEAST_BYTES: usize = 6;
/// A longer one is a document; its level protects it, not its bytes.
const MAX_BYTES: usize = 16 << 10;
/// All spellings of all values together.
const MAX_PATTERN_BYTES: usize = 64 << 20;

/// Why a value cannot be registered. The value itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnSecretError {
    /// It would be found everywhere.
    #[error(
        "the secret from {source_name} has {bytes} bytes: fewer than {LEAST_BYTES} would be found in harmless text; make it longer, or take it out there"
    )]
    TooShort {
        /// Where it comes from.
        source_name: String,
        /// Its length.
        bytes: usize,
    },
    /// It is a file, not a secret.
    #[error(
        "the secret from {source_name} has {bytes} bytes: more than {MAX_BYTES} is no secret to be matched"
    )]
    TooLong {
        /// Where it comes from.
        source_name: String,
        /// Its length.
        bytes: usize,
    },
    /// There are too many.
    #[error("the registered secrets take more than {} MiB with all their spellings: register fewer", MAX_PATTERN_BYTES >> 20)]
    TooMany,
}

/// Values that must never leave, in every spelling. They are held in memory alone.
#[derive(Default)]
pub struct OwnSecrets {
    automaton: Option<AhoCorasick>,
    values: usize,
}

impl std::fmt::Debug for OwnSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnSecrets({} values)", self.values)
    }
}

impl OwnSecrets {
    /// Registers values, each with where it comes from. Space around a value is not part of it.
    ///
    /// # Errors
    /// A value is too short or too long to be matched, or they are too many.
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<OwnSecrets, OwnSecretError> {
        let mut patterns = BTreeSet::new();
        let mut count = 0;
        for (source, value) in values {
            let (value, source_name) = (value.trim(), source.to_owned());
            match value.len() {
                bytes if bytes < LEAST_BYTES => return Err(OwnSecretError::TooShort { source_name, bytes }),
                bytes if bytes > MAX_BYTES => return Err(OwnSecretError::TooLong { source_name, bytes }),
                _ => patterns.extend(spellings(value)),
            }
            count += 1;
        }
        if patterns.is_empty() {
            return Ok(OwnSecrets::default());
        }
        if patterns.iter().map(String::len).sum::<usize>() > MAX_PATTERN_BYTES {
            return Err(OwnSecretError::TooMany);
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
        Ok(OwnSecrets { automaton: Some(automaton.map_err(|_| OwnSecretError::TooMany)?), values: count })
    }

    /// How many values are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Where they stand in the text, in order, not overlapping.
    pub fn find<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        let matches = self.automaton.iter().flat_map(move |automaton| automaton.find_iter(text));
        // A spelling is ASCII or the value itself, so it begins and ends at whole characters.
        matches.map(|found| found.range())
    }
}

/// The value and what it becomes in JSON, URLs, HTML, hex and base64.
fn spellings(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let json = serde_json::Value::from(value).to_string();
    let mut all = vec![
        value.to_owned(),
        json[1..json.len() - 1].to_owned(),
        json[1..json.len() - 1].replace('/', "\\/"),
        percent(bytes, false, true),
        percent(bytes, false, false),
        percent(bytes, true, true),
        percent(bytes, true, false),
        html(value),
        hex(bytes, false),
        hex(bytes, true),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        all.extend((0..3).map(|shift| base64_inside(bytes, shift, alphabet)));
    }
    all.retain(|spelling| spelling.len() >= LEAST_BYTES);
    all
}

fn percent(bytes: &[u8], every: bool, upper: bool) -> String {
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        if !every && (byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            text.push(char::from(*byte));
        } else if upper {
            let _ = write!(text, "%{byte:02X}");
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn html(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(secrets: &OwnSecrets, text: &str) -> Vec<String> {
        secrets.find(text).map(|range| text[range].to_owned()).collect()
    }

    /// Plain base64, for the test alone.
    fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
        let whole = |chunk: &[u8]| {
            let mut three = [0; 3];
            three[..chunk.len()].copy_from_slice(chunk);
            let number = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            (0..=chunk.len())
                .map(|place| char::from(alphabet[(number >> (18 - 6 * place) & 63) as usize]))
                .collect::<String>()
        };
        bytes.chunks(3).map(whole).collect()
    }

    #[test]
    fn short_and_endless_values_are_refused_without_being_shown() {
        let error = OwnSecrets::new([("env:PIN", " 12345 ")]).unwrap_err().to_string();
        assert!(error.contains("env:PIN") && !error.contains("12345"), "{error}");
        let long = "x".repeat(MAX_BYTES + 1);
        assert!(matches!(OwnSecrets::new([("file:a", &*long)]), Err(OwnSecretError::TooLong { .. })));
        assert!(OwnSecrets::new([]).unwrap().is_empty());
        assert!(!format!("{:?}", OwnSecrets::new([("a", "hunter2hunter2")]).unwrap()).contains("hunter"));
    }

    proptest! {
        #[test]
        fn a_value_is_found_in_every_spelling(
            value in "[ -~äöüß€]{8,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}", prefix in 0usize..7,
        ) {
            prop_assume!(value.trim().len() >= 8);
            let value = value.trim();
            let secrets = OwnSecrets::new([("test", value)]).unwrap();
            let wrapped = format!("{}{value}{}", "p".repeat(prefix), "q".repeat(prefix));
            for spelling in [
                value.to_owned(),
                serde_json::to_string(value).unwrap(),
                percent(value.as_bytes(), false, true),
                percent(value.as_bytes(), true, false),
                hex(value.as_bytes(), false),
                html(value),
                base64(wrapped.as_bytes(), STANDARD),
                base64(wrapped.as_bytes(), URL_SAFE),
            ] {
                let text = format!("{before} {spelling} {after}");
                prop_assert!(!found(&secrets, &text).is_empty(), "{} is not found in {}", value, text);
            }
        }

        #[test]
        fn other_text_is_left_alone(value in "[a-z0-9]{12,40}", text in "[A-Z \n.]{0,200}") {
            let secrets = OwnSecrets::new([("test", &*value)]).unwrap();
            prop_assert_eq!(found(&secrets, &text), Vec::<String>::new());
        }
    }
}
