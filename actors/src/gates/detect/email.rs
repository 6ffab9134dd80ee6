//! E-mail addresses: with names of any script, hosts without a dot, and signs that are spelt out.

use super::found::Class;
use super::pass::Pass;

const MOST_NAME: usize = 64;
const MOST_HOST: usize = 255;

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | '_' | '%' | '+' | '\'' | '-')
}

fn is_host(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '-' | '.')
}

/// Where the longest end of `text` of such letters begins.
fn tail(text: &str, most: usize, is_part: impl Fn(char) -> bool) -> &str {
    let mut from = text.len();
    for (at, letter) in text.char_indices().rev() {
        if !is_part(letter) || text.len() - at > most {
            break;
        }
        from = at;
    }
    &text[from..]
}

fn head(text: &str, most: usize, is_part: impl Fn(char) -> bool) -> &str {
    let end = text.char_indices().find(|(at, letter)| !is_part(*letter) || *at > most);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// An `@` stands at `at`.
pub(crate) fn at_sign(pass: &mut Pass<'_, '_>, at: usize) {
    if pass.url_sign == Some(at) {
        return;
    }
    let text = pass.text;
    let name = local_part(&text[..at]);
    let host = head(&text[at + 1..], MOST_HOST, is_host);
    pass.meter.spend(name.len() + host.len() + 2);
    if let Some(host) = bracketed_host(&text[at + 1..]).or_else(|| checked_host(name, host))
        && !name.is_empty()
        && name != "git"
    {
        pass.hit(at - name.len()..at + 1 + host, Class::Email, "email", 90);
    }
}

/// The name before an address's sign: letters, or whatever quotes hold.
fn local_part(before: &str) -> &str {
    if let Some(inside) = before.strip_suffix('"') {
        let from = tail(inside, MOST_NAME, |letter| letter != '"' && letter != '\n');
        let start = before.len() - 1 - from.len();
        if !from.is_empty() && before[..start].ends_with('"') {
            return &before[start - 1..];
        }
        return "";
    }
    tail(before, MOST_NAME, is_name).trim_start_matches(['.', '\'', '-', '%', '+'])
}

/// `[192.0.2.1]`, with its brackets.
fn bracketed_host(after: &str) -> Option<usize> {
    let inside = after.strip_prefix('[')?;
    let address = head(inside, 64, |letter| {
        letter.is_ascii_hexdigit() || matches!(letter, '.' | ':' | 'I' | 'P' | 'v')
    });
    (address.len() >= 3 && inside[address.len()..].starts_with(']')).then_some(address.len() + 2)
}

/// What is written like an address but is none: versions and branches.
const NO_HOSTS: &[&str] = &[
    "latest", "next", "beta", "alpha", "canary", "main", "master", "stable", "media", "import", "param",
    "return", "override", "head",
];

/// How long the host is, if it is one.
fn checked_host(name: &str, host: &str) -> Option<usize> {
    let host = host.trim_end_matches(['.', '-']);
    let labels = host.split('.').count();
    let last = host.rsplit('.').next()?;
    let is_address = labels == 4 && host.split('.').all(|label| label.parse::<u8>().is_ok());
    let is_domain = labels >= 2
        && host.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
        && last.chars().count() >= 2
        && last.chars().any(char::is_alphabetic);
    // Without a dot, both sides must read like names.
    let lone = host.to_ascii_lowercase();
    let is_lone = labels == 1
        && lone.chars().count() >= 3
        && name.chars().count() >= 2
        && lone.starts_with(char::is_alphabetic)
        && name.starts_with(char::is_alphabetic)
        && !(lone.starts_with('v') && lone[1..].starts_with(|c: char| c.is_ascii_digit()))
        && !NO_HOSTS.contains(&lone.as_str());
    (is_address || is_domain || is_lone).then_some(host.len())
}

/// A spelt-out sign stands in `at..end`: "anna (at) example (dot) org".
pub(crate) fn at_word(pass: &mut Pass<'_, '_>, at: usize, end: usize) {
    let text = pass.text;
    // A space or a joined word may mean anything: then a dot must be spelt out, too.
    let is_marked = !text[at..end].starts_with([' ', '_', '-']);
    let before = text[..at].strip_suffix(' ').unwrap_or(&text[..at]);
    let dotted = spelt_name(before);
    let after = &text[end..];
    let gap = after.len() - after.trim_start_matches(' ').len();
    pass.meter.spend(dotted.len() + 8);
    if dotted.is_empty() || gap > 2 {
        return;
    }
    let (host, spelt) = spelt_host(&after[gap..]);
    pass.meter.spend(host + 8);
    let labels = after[gap..gap + host].matches('.').count() + spelt;
    let is_real = if is_marked { labels > 0 || host >= 4 } else { spelt > 0 };
    if is_real && host >= 3 {
        let start = before.len() - dotted.len();
        pass.hit(start..end + gap + host, Class::Email, "email-spelt", 80);
    }
}

const DOTS: &[&str] = &[
    " dot ",
    " punkt ",
    "(dot)",
    "[dot]",
    "{dot}",
    "(punkt)",
    "[punkt]",
    "{punkt}",
    " (dot) ",
    " [dot] ",
    " (punkt) ",
    " [punkt] ",
    " {dot} ",
    "(.)",
    "[.]",
    " DOT ",
    " PUNKT ",
    "(DOT)",
    "[DOT]",
    " (DOT) ",
    " [DOT] ",
    "<dot>",
    "_dot_",
    "-dot-",
    " . ",
    " Punkt ",
    " Dot ",
];

/// The host at the start of `text`: its length, and how many dots are spelt out.
fn spelt_host(text: &str) -> (usize, usize) {
    let (mut length, mut spelt) = (0, 0);
    for _ in 0..6 {
        let label = head(&text[length..], 63, is_host).trim_end_matches(['.', '-']);
        // "-dot-" is made of a host's letters.
        let label = label.split("-dot-").next().unwrap_or(label);
        if label.is_empty() {
            break;
        }
        length += label.len();
        let Some(dot) = DOTS.iter().find(|dot| text[length..].starts_with(**dot)) else { break };
        let next = head(&text[length + dot.len()..], 63, char::is_alphanumeric);
        if next.len() < 2 || (*dot == " . " && spelt == 0 && next.len() > 6) {
            break;
        }
        length += dot.len();
        spelt += 1;
    }
    (length, spelt)
}

/// The name at the end of `text`, with dots that are spelt out.
fn spelt_name(text: &str) -> &str {
    let mut from = text.len() - tail(text, MOST_NAME, is_name).len();
    for _ in 0..3 {
        let Some(dot) = DOTS.iter().find(|dot| dot.len() > 3 && text[..from].ends_with(**dot)) else { break };
        let name = tail(&text[..from - dot.len()], MOST_NAME, is_name);
        if name.is_empty() || from == text.len() {
            break;
        }
        from -= dot.len() + name.len();
    }
    &text[from..]
}
