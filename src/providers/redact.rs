//! What a vendor says about an error names keys and accounts: before it is shown, logged or
//! stored, they are cut out and it is made short.

/// Longer messages are cut.
const MAX_CHARS: usize = 300;
/// Only this much is looked at; what lies behind it is cut anyway.
const MAX_SCANNED_CHARS: usize = 4_096;
/// Words this long that mix letters and digits are keys or hashes, not words.
const OPAQUE_CHARS: usize = 32;

/// The message as it may be shown.
pub(super) fn message(text: &str) -> String {
    let scanned: String = text.chars().take(MAX_SCANNED_CHARS).collect();
    let one_line =
        scanned.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let cut = cut(&one_line.collect::<Vec<_>>().join(" "));
    if cut.chars().count() <= MAX_CHARS {
        return cut;
    }
    cut.chars().take(MAX_CHARS - 1).chain(['…']).collect()
}

/// `text` without keys, account ids, bearer tokens and credentials in addresses.
fn cut(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_letter = false;
    while let Some(first) = rest.chars().next() {
        let found = if let Some(after) = rest.strip_prefix("://") {
            credentials(after).map(|len| ("://…@", 3 + len))
        } else if after_letter {
            rest.strip_prefix('=').and_then(|value| assigned(&out, value)).map(|len| ("=…", 1 + len))
        } else {
            secret(rest)
        };
        if let Some((instead, len)) = found {
            out.push_str(instead);
            rest = &rest[len..];
            after_letter = false;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            // A letter of another script does not make a key part of a word.
            after_letter = first.is_ascii() && in_word(first);
        }
    }
    out
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

/// The length of the word that `text` starts with.
fn word(text: &str) -> usize {
    text.find(|c: char| !in_word(c)).unwrap_or(text.len())
}

/// A secret at the start of a word: what to put instead, and how long it is.
fn secret(text: &str) -> Option<(&'static str, usize)> {
    const BEARER: usize = "bearer ".len();
    if text.get(..BEARER).is_some_and(|start| start.eq_ignore_ascii_case("bearer ")) {
        let token = text[BEARER..].find([' ', '"', '\'', ',', ';', '<', '>']).unwrap_or(text.len() - BEARER);
        return Some(("Bearer …", BEARER + token));
    }
    let len = word(text);
    let known =
        [("sk-", "sk-…"), ("ak-", "ak-…"), ("org-", "org-…"), ("proj-", "proj-…"), ("sess-", "sess-…")];
    for (prefix, instead) in known {
        if len > prefix.len() && text.starts_with(prefix) {
            return Some((instead, len));
        }
    }
    let opaque = &text[..len];
    let mixed = opaque.chars().any(|c| c.is_ascii_digit()) && opaque.chars().any(char::is_alphabetic);
    (len >= OPAQUE_CHARS && mixed).then_some(("…", len))
}

/// The length of `user:password@`, if an address has it.
fn credentials(authority: &str) -> Option<usize> {
    let end =
        authority.find(|c: char| c.is_whitespace() || "/?#\"'<>)".contains(c)).unwrap_or(authority.len());
    authority[..end].rfind('@').map(|at| at + 1)
}

/// The length of `value`, if what it is assigned to names a secret.
fn assigned(before: &str, value: &str) -> Option<usize> {
    let name = before.rsplit(|c: char| !in_word(c)).next().unwrap_or_default().to_ascii_lowercase();
    let secret = ["key", "token", "secret", "password"].iter().any(|word| name.ends_with(word));
    let len = value.find(|c: char| c.is_whitespace() || "&\"'<>,;)".contains(c)).unwrap_or(value.len());
    (secret && len > 0).then_some(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_and_accounts_are_cut_out() {
        let table = [
            (
                "organization org-0a1b2c<ak-f00ba7> reached its limit",
                "organization org-…<ak-…> reached its limit",
            ),
            ("Incorrect API key provided: sk-proj-12_ab.", "Incorrect API key provided: sk-…."),
            ("authorization: bearer abc.def-1, next", "authorization: Bearer …, next"),
            ("at https://me:pw@box:1/x and http://plain/y", "at https://…@box:1/x and http://plain/y"),
            ("GET /v1?api_key=abc123&x=1", "GET /v1?api_key=…&x=1"),
            ("id 0123456789abcdef0123456789abcdef!", "id …!"),
            (
                "task-based ask-me risk-free claude-sonnet-4-5-20250929",
                "task-based ask-me risk-free claude-sonnet-4-5-20250929",
            ),
            ("two\n  lines\tand a\u{7} bell", "two lines and a bell"),
        ];
        for (text, expected) in table {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn a_key_at_the_cut_does_not_show_its_first_half() {
        let text = format!("{} sk-abcdefghijklmnop", "x".repeat(290));
        assert!(!message(&text).contains("sk-a"));
        assert_eq!(message(&"ä ".repeat(1_000)).chars().count(), MAX_CHARS);
    }

    proptest! {
        #[test]
        fn no_key_survives_between_any_words(before in "[^\\pL\\pN_-]?", key in "(sk|ak|org)-[A-Za-z0-9_-]{4,60}", after in "([^\\pL\\pN_-].*)?") {
            let shown = message(&format!("{before}{key}{after}"));
            prop_assert!(!shown.contains(&key), "{}", shown);
        }
    }
}
