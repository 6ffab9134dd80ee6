//! A name and a password side by side: "login anna / …", "Zugangsdaten: admin:…".

use super::super::alphabet::Alphabet;
use super::super::found::Class;
use super::super::pass::Pass;
use super::value::{is_strong, says_word};

const MOST: usize = 160;

/// A word before a name and a password ends at `end`.
pub(crate) fn find(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    if at > 0 && Alphabet::ALNUM.has(pass.bytes[at - 1]) {
        return;
    }
    pass.meter.spend(MOST);
    let text = pass.text;
    let to = (0..=MOST.min(text.len() - end)).rev().find(|n| text.is_char_boundary(end + n)).unwrap_or(0);
    let line = text[end..end + to].split(['\n', '\r']).next().unwrap_or_default();
    if text[at..end].ends_with([' ', 't', 'h'])
        && let Some(word) = line.split([' ', '\t']).find(|word| !word.is_empty())
        && let Some(value) = alone(word)
    {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        pass.named_hit(start..start + value.len(), Class::Secret, "login-pair", 75);
        return;
    }
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty()).take(14).peekable();
    let mut before = "";
    while let Some(word) = words.next() {
        let word = untagged(word);
        let pair = match word {
            "/" | "|" | "//" if !before.is_empty() => words.peek().map(|word| untagged(word)),
            _ => word
                .split_once('/')
                .or_else(|| word.split_once(':'))
                .filter(|(name, _)| is_name(name))
                .map(|(_, value)| value),
        };
        if let Some(value) = pair.filter(|value| !value.starts_with('/')) {
            let bare = value.trim_matches(|c: char| {
                matches!(c, '"' | '\'' | '`' | ',' | '„' | '“' | '”' | '(' | ')' | '*')
            });
            let bare = bare.trim_end_matches(['.', ';', ':', '?']);
            let is_path = bare.contains(['/', '=', '(']) || bare.contains("://");
            let start = bare.as_ptr() as usize - text.as_ptr() as usize;
            // A plain word counts where it is the second of two and ends the sentence.
            let is_second = || {
                line.matches(['/', '|']).count() == 1
                    && is_label(line, before)
                    && says_word(text, &(start..start + bare.len()))
            };
            if (is_strong(bare) || is_second()) && bare.len() >= 5 && !is_path {
                pass.named_hit(start..start + bare.len(), Class::Secret, "login-pair", 80);
                return;
            }
        }
        if word.ends_with(['.', '!', '?']) {
            return;
        }
        before = word;
    }
}

fn is_name(name: &str) -> bool {
    let name = name.trim_matches(|c: char| matches!(c, '"' | '\'' | '`' | '(' | '„' | '“'));
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'))
}

/// The word without the tag that ends what it is in.
fn untagged(word: &str) -> &str {
    word.split_once("</").map_or(word, |(word, _)| word)
}

/// Whether nothing but a verb or a colon stands before the name in the rest of a line.
fn is_label(line: &str, name: &str) -> bool {
    let head = line.split(name).next().unwrap_or_default();
    !name.is_empty()
        && is_name(name)
        && matches!(
            head.trim(),
            ":" | "is" | "ist" | "lautet" | "is:" | "ist:" | "lautet:" | "=" | "sind" | "are"
        )
}

/// The word without its quotes and stops, if it can be no word of the language.
fn alone(word: &str) -> Option<&str> {
    let bare =
        word.trim_matches(|c: char| matches!(c, '"' | '\'' | '`' | ',' | '„' | '“' | '”' | '(' | ')' | '*'));
    let bare = untagged(bare).trim_end_matches(['.', ';', ':', '?', ',']);
    let is_value = is_strong(bare)
        && bare.len() >= 6
        && bare.bytes().any(|byte| byte.is_ascii_digit())
        && !bare.contains(['/', '=', '@', ':']);
    is_value.then_some(bare)
}

/// "use … to log in": the words begin at `at`.
pub(crate) fn behind(pass: &mut Pass<'_, '_>, at: usize) {
    const MOST: usize = 64;
    let text = pass.text;
    pass.meter.spend(MOST);
    let Some(head) = text[..at].strip_suffix(' ') else { return };
    let Some(word) = head.rsplit([' ', '\n']).next().filter(|word| word.len() <= MOST) else { return };
    if let Some(value) = alone(word) {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        pass.named_hit(start..start + value.len(), Class::Secret, "login-pair", 75);
    }
}
