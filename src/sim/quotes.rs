//! Distinctive words of a prompt, for answers to quote, so that a reader can tell which item an
//! answer belongs to.

use super::fit::MARK;

/// Looking further than this into a prompt would cost more than it shows.
const FAR_ENOUGH: usize = 8 * 1024;
const MOST_QUOTES: usize = 8;
const LONGEST_QUOTE: usize = 60;
const LONGEST_LABEL: usize = 40;

/// What a prompt, or a part of one, is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quotes(Vec<String>);

impl Quotes {
    /// Picks them out of `text`: values behind labels (`Company: Acme`), then quoted words, then
    /// names inside sentences, then long words.
    pub(super) fn of(text: &str) -> Quotes {
        let text = head(text, FAR_ENOUGH);
        let mut quotes = Quotes(Vec::new());
        labelled(text, &mut quotes);
        quoted(text, &mut quotes);
        if quotes.0.len() < 3 {
            names(text, &mut quotes);
        }
        if quotes.0.len() < 3 {
            long_words(text, &mut quotes);
        }
        if quotes.0.is_empty() {
            quotes.add(head(text.trim(), LONGEST_QUOTE));
        }
        if quotes.0.is_empty() {
            quotes.0.push("nothing".to_owned());
        }
        quotes
    }

    /// What it is about most of all.
    pub(super) fn subject(&self) -> &str {
        &self.0[0]
    }

    /// One of the other quotes, or the subject if there is no other.
    pub(super) fn detail(&self, choice: usize) -> &str {
        if self.0.len() < 2 { &self.0[0] } else { &self.0[1 + choice % (self.0.len() - 1)] }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MOST_QUOTES
    }

    fn add(&mut self, quote: &str) {
        let quote = quote.trim_matches(|c: char| c.is_whitespace() || ",;\"'`".contains(c));
        // A whole earlier answer says little; the names in it do.
        let is_answer = quote.contains(MARK.trim_end());
        let fits = !quote.is_empty() && quote.len() <= LONGEST_QUOTE && !is_answer;
        if fits && !self.is_full() && !self.0.iter().any(|known| known == quote) {
            self.0.push(quote.to_owned());
        }
    }
}

/// The longest start of `text` of at most `bytes` bytes.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn labelled(text: &str, quotes: &mut Quotes) {
    for line in text.lines() {
        let Some((label, value)) = line.split_once(": ") else { continue };
        let is_plain = !label.contains(['"', '{', '`']);
        if is_plain && label.len() <= LONGEST_LABEL && label.split_whitespace().count() <= 4 {
            quotes.add(value);
        }
    }
}

fn quoted(text: &str, quotes: &mut Quotes) {
    const PAIRS: [(char, char); 4] = [('"', '"'), ('`', '`'), ('“', '”'), ('«', '»')];
    let mut rest = text;
    while let Some((start, open)) = rest.char_indices().find(|(_, c)| PAIRS.iter().any(|(open, _)| open == c))
    {
        if quotes.is_full() {
            return;
        }
        let inner = &rest[start + open.len_utf8()..];
        let close = PAIRS.iter().find(|(known, _)| *known == open).map_or(open, |(_, close)| *close);
        let Some(end) = inner.find(close).filter(|end| !inner[..*end].contains('\n')) else {
            rest = inner;
            continue;
        };
        rest = &inner[end + close.len_utf8()..];
        // A quoted word before a colon is a key of JSON, the same for every item.
        if !rest.trim_start().starts_with(':') {
            quotes.add(&inner[..end]);
        }
    }
}

fn names(text: &str, quotes: &mut Quotes) {
    for line in text.lines() {
        let mut starts_sentence = true;
        let mut name = String::new();
        for word in line.split_whitespace() {
            // An earlier answer begins here, as what a reduce is given does.
            if word.ends_with(MARK.trim_end()) {
                quotes.add(&std::mem::take(&mut name));
                starts_sentence = true;
                continue;
            }
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let is_name = !starts_sentence && bare.contains(char::is_uppercase);
            if is_name {
                if !name.is_empty() {
                    name.push(' ');
                }
                name.push_str(bare);
            }
            let ends = word.ends_with(|c: char| ".!?:,;".contains(c));
            if !is_name || ends {
                quotes.add(&std::mem::take(&mut name));
            }
            starts_sentence = word.ends_with(['.', '!', '?', ':']);
        }
        quotes.add(&name);
    }
}

fn long_words(text: &str, quotes: &mut Quotes) {
    let mut words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .filter(|word| (1..=LONGEST_QUOTE).contains(&word.len()))
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    for word in words {
        quotes.add(word);
    }
}

/// Cuts the prompt of a pack into its `n` parts, where its lines are numbered from 1 to `n` in
/// some way (`1.`, `[1]`, `Item 1:`, `"1": {`); every part is the whole prompt where not.
pub(super) fn parts(prompt: &str, n: usize) -> Vec<&str> {
    let numbered: Vec<(usize, usize)> = line_starts(prompt)
        .filter_map(|start| leading_number(&prompt[start..]).map(|number| (number, start)))
        .collect();
    let firsts = numbered.iter().enumerate().filter(|(_, (number, _))| *number == 1);
    // The last list that counts to n is the items; an earlier one may be instructions.
    for (first, _) in firsts.rev() {
        let mut starts = Vec::with_capacity(n);
        for (number, start) in &numbered[first..] {
            if starts.len() < n && *number == starts.len() + 1 {
                starts.push(*start);
            }
        }
        if starts.len() == n {
            let ends = starts[1..].iter().copied().chain([prompt.len()]);
            return starts.iter().zip(ends).map(|(start, end)| &prompt[*start..end]).collect();
        }
    }
    vec![prompt; n]
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0)
        .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1))
}

/// The number a line starts with, behind signs and perhaps one short word.
fn leading_number(line: &str) -> Option<usize> {
    const LONGEST_WORD: usize = 10;
    let line = head(line, 32).split('\n').next()?;
    let sign = |c: char| !c.is_alphanumeric();
    let rest = line.trim_start_matches(sign);
    let word = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let rest = if word <= LONGEST_WORD { rest[word..].trim_start_matches(sign) } else { rest };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let followed_by_letter = rest[digits..].starts_with(char::is_alphanumeric);
    if followed_by_letter { None } else { rest[..digits].parse().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_a_prompt_is_about() {
        for (prompt, subject) in [
            ("Qualify this lead.\nCompany: A. O. Smith\nSector: Industrials", "A. O. Smith"),
            ("Write one line on the word `zebra` please", "zebra"),
            ("Given {\"company\": \"3M\", \"sector\": \"Industrials\"} say more", "3M"),
            ("Please tell me what Deutsche Bahn AG does.", "Deutsche Bahn AG"),
            ("Does 3M pay well?", "3M"),
            ("say something about elephants", "something"),
            ("Sum up:\n- \"[simulated] On Acme: see Texas.\"", "Acme"),
            ("", "nothing"),
        ] {
            assert_eq!(Quotes::of(prompt).subject(), subject, "{prompt}");
        }
    }

    #[test]
    fn splits_a_numbered_prompt() {
        for (one, two) in
            [("1. ", "2. "), ("[1] ", "[2] "), ("### Item 1\n", "### Item 2\n"), ("\"1\": ", "\"2\": ")]
        {
            let prompt = format!("Rules:\n1. Be short.\nItems:\n{one}Acme\n{two}Birch");
            let parts = parts(&prompt, 2);
            assert!(parts[0].contains("Acme") && !parts[0].contains("Birch"), "{parts:?}");
            assert!(parts[1].contains("Birch") && !parts[1].contains("Acme"), "{parts:?}");
        }
        assert_eq!(parts("Acme and Birch", 2), ["Acme and Birch"; 2]);
    }

    proptest! {
        #[test]
        fn any_prompt_can_be_quoted_and_split(prompt in ".{0,200}(\n.{0,40}){0,4}", n in 1usize..5) {
            let quotes = Quotes::of(&prompt);
            prop_assert!(!quotes.subject().is_empty() && !quotes.detail(n).is_empty());
            prop_assert_eq!(parts(&prompt, n).len(), n);
        }
    }
}
