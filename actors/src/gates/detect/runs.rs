//! Long runs of letters and digits without a space: text in base64 or hexadecimal, and tokens
//! that only the words before them tell.

use std::ops::Range;

use super::alphabet::Alphabet;
use super::found::{Class, Hit};
use super::meter::Meter;
use super::pass::{is_example, reads_like_words};
use super::rules::{ContextWord, Rules};

/// Shorter runs are words.
pub(crate) const LEAST: usize = 16;
/// Words that tell a token stand so close before it.
const NEAR: usize = 96;
/// Words for any secret stand closer.
const NEARER: usize = 40;
/// Lines of encoded text are at least so long, but for the last.
const LEAST_LINE: usize = 32;

static IN_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = Alphabet::BASE64_ANY.has(byte as u8);
        byte += 1;
    }
    table
};

/// Every run of the text, in order. Looks at every sixteenth byte and around what it finds there.
pub(crate) fn find(bytes: &[u8], meter: &mut Meter<'_>) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut at, mut last) = (LEAST - 1, 0);
    meter.spend(bytes.len() / LEAST);
    while at < bytes.len() {
        if !IN_RUN[usize::from(bytes[at])] {
            at += LEAST;
            continue;
        }
        let start = bytes[last..at]
            .iter()
            .rposition(|byte| !IN_RUN[usize::from(*byte)])
            .map_or(last, |n| last + n + 1);
        let end =
            bytes[at..].iter().position(|byte| !IN_RUN[usize::from(*byte)]).map_or(bytes.len(), |n| at + n);
        if end - start >= LEAST {
            runs.push(start..end);
            meter.spend(end - start);
        }
        last = end;
        at = end + LEAST;
    }
    runs
}

/// Runs that are lines of one encoded text become one, from the first line to the last.
pub(crate) fn join_lines(bytes: &[u8], runs: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for run in runs {
        if let Some(last) = joined.last_mut() {
            let between = &bytes[last.end..run.start];
            let length = bytes[last.start..last.end].iter().rev().take_while(|byte| **byte != b'\n').count();
            let is_break = between.len() <= 8
                && between.contains(&b'\n')
                && between.iter().all(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'|'));
            if is_break && length >= LEAST_LINE {
                last.end = run.end;
                continue;
            }
        }
        joined.push(run.clone());
    }
    // The last line may be too short for a run.
    for run in &mut joined {
        let length = bytes[run.clone()].iter().rev().take_while(|byte| **byte != b'\n').count();
        if length >= LEAST_LINE && bytes.get(run.end) == Some(&b'\n') {
            let more = Alphabet::BASE64.run(bytes, run.end + 1, LEAST + 2) - run.end - 1;
            if more > 0 && !bytes.get(run.end + 1 + more).is_some_and(u8::is_ascii_alphanumeric) {
                run.end += 1 + more;
            }
        }
    }
    joined
}

/// Tokens in a run that the words before it tell.
pub(crate) fn told_by_context(
    text: &str,
    run: &Range<usize>,
    rules: &Rules,
    meter: &mut Meter<'_>,
    hits: &mut Vec<Hit>,
) {
    let bytes = text.as_bytes();
    let whole = &text[run.clone()];
    if !whole.bytes().any(|byte| byte.is_ascii_digit()) && reads_like_words(whole) {
        return;
    }
    let from = run.start.saturating_sub(NEAR);
    let mut context = Context { lone: Vec::new(), naming: None, harmless: None };
    meter.spend(run.start - from + 8);
    for word in rules.context.find_overlapping_iter(&bytes[from..run.start]) {
        for kind in &rules.context_words[word.pattern().as_usize()] {
            match kind {
                ContextWord::Rule(number) => context.lone.push(*number),
                ContextWord::Naming => context.naming = Some(from + word.end()),
                ContextWord::Harmless => context.harmless = Some(from + word.end()),
            }
        }
    }
    // The run itself may name what it holds: `key-…`, `datadog_api_key_…`.
    let Some(naming) = context.naming else { return };
    for number in &context.lone {
        let rule = &rules.lone[*number];
        for part in parts(bytes, run, rule.alphabet) {
            let fits = part.len() >= rule.least && rule.most.is_none_or(|most| part.len() <= most);
            if fits && !is_example(&text[part.clone()]) && is_random(&text[part.clone()]) {
                hits.push(Hit {
                    range: part,
                    class: Class::Secret,
                    rule: rule.id.to_string().into(),
                    score: rule.score,
                });
            }
        }
    }
    let is_told = run.start - naming <= NEARER && context.harmless.is_none();
    if is_told && is_random(whole) && !is_example(whole) && !is_name_of_a_thing(whole) {
        hits.push(Hit { range: run.clone(), class: Class::Secret, rule: "random-token".into(), score: 60 });
    }
}

struct Context {
    lone: Vec<usize>,
    naming: Option<usize>,
    harmless: Option<usize>,
}

/// The stretches of a run that are of one alphabet.
fn parts(bytes: &[u8], run: &Range<usize>, alphabet: Alphabet) -> Vec<Range<usize>> {
    // Padding stands behind the run, but belongs to an alphabet that has it.
    let to = alphabet.run(bytes, run.end, 3);
    let (mut parts, mut at) = (Vec::new(), run.start);
    while at < to {
        let end = alphabet.run(bytes, at, to - at);
        if end > at {
            parts.push(at..end);
        }
        at = end + 1;
    }
    parts
}

/// Letters and digits mixed as words and numbers never are: at least three bits a character.
pub(crate) fn is_random(token: &str) -> bool {
    const LEAST_BITS: f64 = 3.0;
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = token.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_mixed = token.bytes().any(|byte| byte.is_ascii_uppercase())
        && token.bytes().any(|byte| byte.is_ascii_lowercase());
    if !has_letter || (digits < 2 && !(digits == 1 && is_mixed)) || reads_like_words(token) {
        return false;
    }
    let mut counts = [0_u32; 128];
    token.bytes().filter(u8::is_ascii).for_each(|byte| counts[usize::from(byte)] += 1);
    let length = token.len() as f64;
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum();
    bits >= LEAST_BITS
}

/// Numbers of things, paths, and hashes in hexadecimal.
fn is_name_of_a_thing(token: &str) -> bool {
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let letters: Vec<&str> = token.split(['-', '_', '/']).filter(|part| part.len() >= 3).collect();
    let words = letters.iter().filter(|part| part.bytes().all(|byte| byte.is_ascii_lowercase())).count();
    let is_path = token.contains('/') && words * 2 >= letters.len();
    let is_uuid = is_hex && token.len() == 36 && token.bytes().filter(|byte| *byte == b'-').count() == 4;
    let is_number = token.starts_with("0x");
    is_uuid || is_number || is_path || (words >= 2 && words * 2 >= letters.len())
}
