//! The small language in which rules say what a token looks like, and in which their samples are
//! written: literal text, `{alphabet:length}`, `{alphabet:least-most}`, `{alphabet:least-}`, and
//! `[one|other]`.

use super::alphabet::Alphabet;

/// What an open length means when a sample is made, above the least.
const OPEN_SAMPLE: usize = 4;
/// A part of open length inside a token is not followed farther than this.
const MOST_INSIDE: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// One of these texts.
    Literal(Vec<String>),
    /// Characters of one alphabet; `most` is `None` where only the alphabet ends them.
    Run { alphabet: Alphabet, least: usize, most: Option<usize> },
}

/// A token's parts in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) parts: Vec<Part>,
}

/// What is wrong with a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A bracket is not closed.
    #[error("`{0}` is not closed")]
    Open(char),
    /// No such alphabet.
    #[error("unknown alphabet `{0}`: alphabet.rs lists them")]
    Alphabet(String),
    /// Not a length.
    #[error("`{0}` is no length: write `8`, `8-12` or `8-`")]
    Length(String),
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
}

impl Shape {
    pub(crate) fn parse(text: &str) -> Result<Shape, ShapeError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(first) = rest.chars().next() {
            if let Some(inside) = rest.strip_prefix('{') {
                let (run, after) = inside.split_once('}').ok_or(ShapeError::Open('{'))?;
                parts.push(parse_run(run)?);
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (choices, after) = inside.split_once(']').ok_or(ShapeError::Open('['))?;
                parts.push(Part::Literal(choices.split('|').map(str::to_owned).collect()));
                rest = after;
            } else {
                let end = rest.find(['{', '[']).unwrap_or(rest.len()).max(first.len_utf8());
                parts.push(Part::Literal(vec![rest[..end].to_owned()]));
                rest = &rest[end..];
            }
        }
        if parts.is_empty() {
            return Err(ShapeError::Empty);
        }
        Ok(Shape { parts })
    }

    /// The part that the prefilter looks for: the first literal one, behind one run at most.
    pub(crate) fn anchor(&self) -> Option<usize> {
        let first = self.parts.iter().position(|part| matches!(part, Part::Literal(_)))?;
        (first <= 1).then_some(first)
    }

    /// The alphabet and least length of a shape that is one run.
    pub(crate) fn lone_run(&self) -> Option<(Alphabet, usize, Option<usize>)> {
        match self.parts.as_slice() {
            [Part::Run { alphabet, least, most }] => Some((*alphabet, *least, *most)),
            _ => None,
        }
    }

    /// Where the token stands of whose part `anchor` this is an occurrence, and how many bytes
    /// were looked at.
    pub(crate) fn matches(
        &self,
        bytes: &[u8],
        anchor: usize,
        at: usize,
        end: usize,
    ) -> (Option<Span>, usize) {
        let mut start = at;
        if let Some(Part::Run { alphabet, least, most }) = anchor.checked_sub(1).map(|n| &self.parts[n]) {
            start = alphabet.run_back(bytes, at, most.unwrap_or(MOST_INSIDE));
            if at - start < *least {
                return (None, at - start + 1);
            }
        }
        let mut to = end;
        for (index, part) in self.parts.iter().enumerate().skip(anchor + 1) {
            let reached = match part {
                Part::Literal(choices) => choices
                    .iter()
                    .filter(|choice| bytes[to..].starts_with(choice.as_bytes()))
                    .map(String::len)
                    .max(),
                Part::Run { alphabet, least, most } => {
                    run_length(bytes, to, *alphabet, *least, *most, self.parts.get(index + 1))
                }
            };
            let Some(length) = reached else { return (None, to - start + 8) };
            to += length;
        }
        // Whatever of the last alphabet is glued to it goes as well.
        if let Some(Part::Run { alphabet, .. }) = self.parts.last() {
            to = alphabet.run(bytes, to, usize::MAX);
        }
        (Some(Span { start, body: end, end: to }), to - start + 8)
    }

    /// One text of this shape; the same for the same seed.
    pub(crate) fn sample(&self, seed: u64) -> String {
        let mut state = seed;
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(choices) => {
                    let choice = next(&mut state) as usize % choices.len().max(1);
                    text.extend(choices.get(choice).map(String::as_str));
                }
                Part::Run { alphabet, least, most } => {
                    let characters: Vec<u8> = alphabet
                        .characters()
                        .into_iter()
                        .filter(|byte| byte.is_ascii_alphanumeric())
                        .collect();
                    let most = most.unwrap_or(least + OPEN_SAMPLE);
                    let length = least + next(&mut state) as usize % (most - least + 1);
                    text.extend(
                        (0..length)
                            .map(|_| char::from(characters[next(&mut state) as usize % characters.len()])),
                    );
                }
            }
        }
        text
    }
}

/// Where a token stands: its start, where its anchor ends, its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) body: usize,
    pub(crate) end: usize,
}

/// How long the run at `from` is, given that `next` has to follow it.
fn run_length(
    bytes: &[u8],
    from: usize,
    alphabet: Alphabet,
    least: usize,
    most: Option<usize>,
    next: Option<&Part>,
) -> Option<usize> {
    let length = alphabet.run(bytes, from, most.unwrap_or(MOST_INSIDE)) - from;
    let Some(Part::Literal(choices)) = next else {
        return (length >= least).then_some(length);
    };
    // What follows may be made of the same characters: the first place where it stands.
    (least..=length)
        .find(|length| choices.iter().any(|choice| bytes[from + length..].starts_with(choice.as_bytes())))
}

fn parse_run(text: &str) -> Result<Part, ShapeError> {
    let wrong = || ShapeError::Length(text.to_owned());
    let (name, lengths) = text.split_once(':').ok_or_else(wrong)?;
    let alphabet = Alphabet::named(name).ok_or_else(|| ShapeError::Alphabet(name.to_owned()))?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (least, most) = match lengths.split_once('-') {
        None => (number(lengths)?, Some(number(lengths)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    if most.is_some_and(|most| most < least) {
        return Err(wrong());
    }
    Ok(Part::Run { alphabet, least, most })
}

/// Numbers that look random and are the same every time (SplitMix64, Steele and others 2014).
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 32) as u32
}
