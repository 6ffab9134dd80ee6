//! A name and a password side by side: "login anna / …", "Zugangsdaten: admin:…".

use super::super::alphabet::Alphabet;
use super::super::found::Class;
use super::super::pass::Pass;
use super::value::is_strong;

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
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty()).take(14).peekable();
    let mut before = "";
    while let Some(word) = words.next() {
        let pair = match word {
            "/" | "|" | "//" if !before.is_empty() => words.peek().copied(),
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
            if is_strong(bare) && bare.len() >= 5 && !is_path {
                let start = bare.as_ptr() as usize - text.as_ptr() as usize;
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
