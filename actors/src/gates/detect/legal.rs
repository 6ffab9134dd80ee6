//! Finds passages of legal documents: contracts, secrecy agreements, papers of courts, letters of
//! lawyers and what is privileged. German and English.
//!
//! That is a property of a passage, not of a word. A window of paragraphs collects features: the
//! formulas and roles of such texts, clauses with numbers, sections with their statutes, terms
//! defined in quotes, lines for signatures. Repeating a word adds little, and what reports, teaches,
//! advertises or programs speaks against. Where features point, the register of all words there has
//! its say. Scores are 0 to 100; [`REPORTED`] and more is a passage.

mod register;
mod structure;
#[cfg(all(test, not(empire_loom)))]
mod tests;
mod words;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::LazyLock;

use super::found::{Class, Hit};
use super::lexicon::Lexicon;
use words::{Entry, Group};

/// A window with this score is a legal passage.
pub const REPORTED: u8 = 50;

/// A quotation alone needs this score.
const QUOTED: u8 = 60;

/// Bytes that a window has at least, where the text has as many.
const WINDOW: usize = 1_600;
/// Weight of features that a whole window needs before its words are; a shorter one needs less.
const WORTH_A_LOOK: usize = 14;
/// Lines that begin with the number of a clause before they count.
const LEAST_CLAUSES: usize = 2;
/// Features of public licences with this weight are titles and formulas; the others are words that
/// licences are made of.
const TITLE: i32 = 60;
/// Bytes after the title of a public licence in which its text may stand; the longest are as long.
const LICENCE: usize = 36_000;
/// So many words of licences in a window, behind such a title, make it a part of the licence.
const LEAST_LICENCE_WORDS: usize = 2;
/// What speaks against a passage counts up to here, so that a contract about software stays one.
const MOST_AGAINST: i32 = 60;
/// Features with this weight are formulas; those with less are what the news write, too.
const FORMULA: i32 = 10;
/// What the other features may count together, beside as much again as the formulas do.
const MOST_TOPICAL: i32 = 20;
/// The sum that makes a passage; it becomes a score of [`REPORTED`].
const ENOUGH: i32 = 18;
/// What counts for a text in which nothing speaks against it.
const SOBER: i32 = 3;

/// The list of words, and the automaton that finds them.
struct Words {
    entries: Vec<Entry>,
    lexicon: Lexicon<u16>,
}

#[allow(clippy::expect_used, reason = "the list is a constant, and a test reads it")]
static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let mut entries = words::entries().expect("the list is written as its head says");
    // An underscore at the end of a word stands for a space.
    let mut texts: Vec<String> = entries.iter().map(|entry| entry.word.replace('_', " ")).collect();
    let (anchors, places): (Vec<_>, Vec<_>) = structure::entries().into_iter().unzip();
    entries.extend(anchors);
    texts.extend(places);
    // ASCII letters match in both cases; the capitals of others are words of their own.
    let capitals: Vec<Option<String>> = texts.iter().map(|text| capitalised(text)).collect();
    let spellings = texts.iter().map(Some).zip(capitals.iter().map(Option::as_ref));
    let words: Vec<_> = (0_u16..)
        .zip(entries.iter().zip(spellings))
        .flat_map(|(index, (entry, (text, capital)))| {
            text.into_iter().chain(capital).map(move |text| (index, entry.bound, text.as_str()))
        })
        .collect();
    let lexicon = Lexicon::new(&words).expect("some hundred short words make a small automaton");
    Words { entries, lexicon }
});

/// The text with its first letter in capitals, where that is none of ASCII.
fn capitalised(text: &str) -> Option<String> {
    let first = text.chars().next().filter(|first| !first.is_ascii() && first.is_lowercase())?;
    Some(first.to_uppercase().chain(text.chars().skip(1)).collect())
}

/// A feature at a place.
#[derive(Debug, Clone, Copy)]
struct Mark {
    start: usize,
    /// Bytes of it; words are short.
    length: u16,
    /// Which entry of the list it is.
    entry: u16,
}

impl Mark {
    fn entry(&self) -> &'static Entry {
        &WORDS.entries[usize::from(self.entry)]
    }

    fn end(&self) -> usize {
        self.start + usize::from(self.length)
    }

    fn side(&self) -> Side {
        match self.entry().group {
            Group::Against => Side::Against,
            Group::Public => Side::Public,
            _ => Side::For,
        }
    }

    fn speaks(&self) -> bool {
        self.side() == Side::For
    }
}

/// What a feature says of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    For,
    Against,
    Public,
}

/// A window, its score and what counted.
struct Verdict {
    range: Range<usize>,
    score: u8,
    kind: Group,
    reason: String,
}

/// The legal passages of a text, sorted and disjoint, on character boundaries. The rule tells the
/// kind of document.
#[must_use]
pub fn passages(text: &str) -> Vec<Hit> {
    judged(text)
        .into_iter()
        .map(|verdict| Hit {
            range: verdict.range,
            class: Class::Legal,
            rule: Cow::Borrowed(rule(verdict.kind)),
            score: verdict.score,
        })
        .collect()
}

/// The legal passages of a text, each with its score and the features that counted, in words.
#[must_use]
pub fn explain(text: &str) -> Vec<(Range<usize>, u8, String)> {
    judged(text).into_iter().map(|verdict| (verdict.range, verdict.score, verdict.reason)).collect()
}

const fn rule(kind: Group) -> &'static str {
    match kind {
        Group::Nda => "legal-nda",
        Group::Court => "legal-court",
        Group::Letter => "legal-letter",
        Group::Privileged => "legal-privileged",
        Group::Contract | Group::Structure | Group::Against | Group::Public => "legal-contract",
    }
}

/// The windows that are legal passages; those that touch are one.
fn judged(text: &str) -> Vec<Verdict> {
    let marks = marks(text);
    let mut passages: Vec<Verdict> = Vec::new();
    let mut tally = Tally::default();
    if !is_worth_a_look(tally.weight(&marks), text.len()) {
        return passages;
    }
    let titles = public_titles(text, &marks);
    let mut first = 0;
    for window in windows(text) {
        first += marks[first..].iter().take_while(|mark| mark.start < window.start).count();
        let inside = marks[first..].iter().take_while(|mark| mark.start < window.end).count();
        let marks = &marks[first..first + inside];
        let weight = tally.weight(marks);
        if !is_worth_a_look(weight, window.len()) {
            continue;
        }
        let follows = titles.iter().any(|title| *title < window.end && window.start < *title + LICENCE);
        if follows && is_licence(marks) {
            continue;
        }
        let Some(verdict) = judge(text, &window, marks, weight) else { continue };
        match passages.last_mut() {
            Some(last) if verdict.range.start <= last.range.end => {
                last.range.end = last.range.end.max(verdict.range.end);
                if verdict.score > last.score {
                    (last.score, last.kind, last.reason) = (verdict.score, verdict.kind, verdict.reason);
                }
            }
            _ => passages.push(verdict),
        }
    }
    passages
}

/// All features, in the order of their starts.
fn marks(text: &str) -> Vec<Mark> {
    let Words { entries, lexicon } = &*WORDS;
    let mut marks: Vec<Mark> = Vec::new();
    lexicon.read_all(text.as_bytes(), |index, start, end| {
        let name = entries[usize::from(index)].word;
        if structure::holds(text, name, &(start..end)) {
            let length = u16::try_from(end - start).unwrap_or(u16::MAX);
            marks.push(Mark { start, length, entry: index });
        }
    });
    marks.sort_unstable_by_key(|mark| (mark.start, Reverse(mark.length), Reverse(mark.entry().weight)));
    let mut last: Option<Mark> = None;
    // What is a part of another word says nothing more. Where both are equally long, the heavier.
    marks.retain(|mark| {
        if mark.entry().group == Group::Structure {
            return true;
        }
        let is_part = last.is_some_and(|last| mark.end() <= last.end() && mark.side() == last.side());
        if !is_part {
            last = Some(*mark);
        }
        !is_part
    });
    marks
}

/// Where lines begin with the title of a public licence: a clause that only names one does not.
fn public_titles(text: &str, marks: &[Mark]) -> Vec<usize> {
    let is_sign = |c: char| c.is_ascii_whitespace() && c != '\n' || matches!(c, '#' | '*' | '/' | ';' | '-');
    let begins_line = |mark: &&Mark| {
        let before = text[..mark.start].trim_end_matches(is_sign);
        before.is_empty() || before.ends_with('\n')
    };
    let titles =
        marks.iter().filter(|mark| mark.entry().group == Group::Public && mark.entry().weight >= TITLE);
    titles.filter(begins_line).map(|mark| mark.start).collect()
}

/// Whether a window behind the title of a public licence is a part of it.
fn is_licence(marks: &[Mark]) -> bool {
    marks.iter().filter(|mark| mark.side() == Side::Public).count() >= LEAST_LICENCE_WORDS
}

/// How often each entry of the list was seen; made once, so that windows cost no memory.
struct Tally {
    times: Vec<u8>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { times: vec![0; WORDS.entries.len()] }
    }
}

impl Tally {
    /// What the features at most count that speak for a legal text.
    fn weight(&mut self, marks: &[Mark]) -> i32 {
        let speaking = || marks.iter().filter(|mark| mark.speaks());
        let mut sum = 0;
        for mark in speaking() {
            let times = &mut self.times[usize::from(mark.entry)];
            if *times < 3 {
                let weight = mark.entry().weight;
                sum += counts(weight, usize::from(*times) + 1) - counts(weight, usize::from(*times));
                *times += 1;
            }
        }
        speaking().for_each(|mark| self.times[usize::from(mark.entry)] = 0);
        sum
    }
}

/// Whether the features of so many bytes have the weight that makes it worth to read them.
fn is_worth_a_look(weight: i32, bytes: usize) -> bool {
    usize::try_from(weight)
        .is_ok_and(|weight| weight > 0 && weight * WINDOW >= WORTH_A_LOOK * bytes.min(WINDOW))
}

/// Windows of whole paragraphs. Each begins half a window after the one before, so that no passage
/// is cut in two, and no byte lies in more than three.
fn windows(text: &str) -> Vec<Range<usize>> {
    let starts = paragraphs(text);
    let mut windows = Vec::new();
    let (mut first, mut last) = (0, 0);
    while first < starts.len() {
        last = last.max(first);
        while last < starts.len() && starts[last] - starts[first] < WINDOW {
            last += 1;
        }
        let end = starts.get(last).copied().unwrap_or(text.len());
        windows.push(starts[first]..end);
        if last == starts.len() {
            break;
        }
        let half = starts[first] + WINDOW / 2;
        let next = starts[first..].partition_point(|start| *start < half);
        first += next.clamp(1, (last - first).max(1));
    }
    windows
}

/// Where paragraphs begin; one that is longer than a window counts as several.
fn paragraphs(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        let start = starts.last().copied().unwrap_or(0);
        let line = bytes[at..].iter().take(WINDOW / 2).position(|byte| *byte == b'\n');
        let next = line.map_or((at + WINDOW / 2).min(bytes.len()), |ahead| at + ahead + 1);
        let next = (next..=bytes.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(bytes.len());
        let is_blank = line.is_some() && bytes[at..next].iter().all(u8::is_ascii_whitespace);
        if next < bytes.len() && (is_blank || next - start >= WINDOW / 4) {
            starts.push(next);
        }
        at = next;
    }
    starts
}

/// Scores one window. The passage reaches from its first line with a feature to its last.
fn judge(text: &str, window: &Range<usize>, marks: &[Mark], weight: i32) -> Option<Verdict> {
    let (clauses, clause_range) = structure::clauses(&text[window.clone()]);
    let sums = Sums::of(marks, clauses);
    if sums.score() + register::MOST < i32::from(REPORTED) {
        return None;
    }
    let speaking = || marks.iter().filter(|mark| mark.speaks());
    let (mut first, mut last) = (speaking().map(|mark| mark.start).min()?, speaking().map(Mark::end).max()?);
    if clauses >= LEAST_CLAUSES {
        first = first.min(window.start + clause_range.start);
        last = last.max(window.start + clause_range.end);
    }
    // Whole lines.
    let start = text[window.start..first].rfind('\n').map_or(window.start, |line| window.start + line + 1);
    let rest = &text[last..window.end.max(last)];
    let end = rest.find('\n').map_or(last + rest.len(), |line| last + line);
    let verdict = sums.verdict(text, start..end, REPORTED);
    verdict.or_else(|| quoted(text, window, marks, weight))
}

/// The surest of the quotations in a window: a clause that somebody quotes stays one, whatever is
/// said around it.
fn quoted(text: &str, window: &Range<usize>, marks: &[Mark], weight: i32) -> Option<Verdict> {
    // Not even all of them together would do.
    if weight + SOBER < i32::from(QUOTED) * ENOUGH / i32::from(REPORTED) {
        return None;
    }
    let verdict = |quote: Range<usize>| {
        let from = marks.partition_point(|mark| mark.start < quote.start);
        let inside = marks[from..].iter().take_while(|mark| mark.end() <= quote.end);
        let inside: Vec<Mark> = inside.copied().collect();
        Sums::of(&inside, 0).verdict(text, quote, QUOTED)
    };
    let quotes = structure::quotations(&text[window.clone()]).into_iter();
    quotes
        .map(|quote| window.start + quote.start..window.start + quote.end)
        .filter_map(verdict)
        .max_by_key(|verdict| verdict.score)
}

/// What the features of a window add up to.
struct Sums {
    features: Vec<Feature>,
}

/// The second time counts half, the third a quarter, and then it is enough.
const fn counts(weight: i32, times: usize) -> i32 {
    match times {
        0 => 0,
        1 => weight,
        2 => weight + weight / 2,
        _ => weight + weight / 2 + weight / 4,
    }
}

/// What one feature adds to a window.
struct Feature {
    group: Group,
    name: &'static str,
    weight: i32,
    times: usize,
    counts: i32,
}

impl Feature {
    fn is_against(&self) -> bool {
        matches!(self.group, Group::Against | Group::Public)
    }

    fn is_formula(&self) -> bool {
        self.weight >= FORMULA || self.group == Group::Structure
    }
}

impl Sums {
    /// Adds up the marks of a window in which so many lines begin with the number of a clause.
    fn of(marks: &[Mark], clauses: usize) -> Self {
        let mut entries: Vec<u16> = marks.iter().map(|mark| mark.entry).collect();
        entries.sort_unstable();
        let same = |a: &u16, b: &u16| {
            a == b || WORDS.entries[usize::from(*a)].word == WORDS.entries[usize::from(*b)].word
        };
        let mut features: Vec<Feature> = entries
            .chunk_by(same)
            .map(|same| {
                let Entry { group, weight, word: name, .. } = WORDS.entries[usize::from(same[0])];
                Feature { group, name, weight, times: same.len(), counts: counts(weight, same.len()) }
            })
            .collect();
        if clauses >= LEAST_CLAUSES {
            let weight = if clauses >= 2 * LEAST_CLAUSES { 14 } else { 10 };
            let (group, name) = (Group::Structure, structure::CLAUSES);
            features.push(Feature { group, name, weight, times: clauses, counts: weight });
        }
        Self { features }
    }

    /// The verdict on the passage at `range`, if it scores `least` or more.
    fn verdict(&self, text: &str, range: Range<usize>, least: u8) -> Option<Verdict> {
        // Where the register could change nothing, it is not asked.
        let is_sure = self.score() >= i32::from(least) + register::MOST;
        let lean = if is_sure { 0 } else { register::lean(&text[range.clone()]) };
        let score = u8::try_from((self.score() + lean).clamp(0, 100)).unwrap_or_default();
        (score >= least).then(|| Verdict {
            range,
            score,
            kind: self.kind(),
            reason: self.reason(score, lean),
        })
    }

    fn group(&self, group: Group) -> i32 {
        self.features.iter().filter(|feature| feature.group == group).map(|feature| feature.counts).sum()
    }

    /// What titles and formulas of public licences count.
    fn licence(&self) -> i32 {
        let titles = self.features.iter().filter(|feature| feature.group == Group::Public);
        titles.filter(|feature| feature.weight >= TITLE).map(|feature| feature.counts).sum()
    }

    /// 0 to 100, before the register is asked.
    fn score(&self) -> i32 {
        let sum = |is_formula: bool| -> i32 {
            let speaks = self.features.iter().filter(|feature| !feature.is_against());
            speaks.filter(|feature| feature.is_formula() == is_formula).map(|feature| feature.counts).sum()
        };
        let (formulas, topical) = (sum(true), sum(false));
        // Nobody talks, reports or teaches here.
        let is_sober = self.group(Group::Against) == 0;
        let sum = if is_sober { SOBER } else { 0 } + formulas + topical.min(MOST_TOPICAL + formulas)
            - self.group(Group::Against).min(MOST_AGAINST)
            - self.licence();
        (sum * i32::from(REPORTED) / ENOUGH).clamp(0, 100)
    }

    fn kind(&self) -> Group {
        let kinds = [Group::Contract, Group::Nda, Group::Court, Group::Letter, Group::Privileged];
        // Every secrecy agreement is a contract too, and every privileged letter a letter.
        let weigh = |kind: Group| match kind {
            Group::Nda | Group::Privileged => self.group(kind) * 3 / 2,
            kind => self.group(kind),
        };
        kinds.into_iter().max_by_key(|kind| weigh(*kind)).unwrap_or(Group::Contract)
    }

    fn reason(&self, score: u8, lean: i32) -> String {
        let mut features: Vec<_> = self.features.iter().collect();
        features.sort_by_key(|feature| Reverse(feature.counts));
        let list = |against: bool, most: usize| {
            let chosen = features.iter().filter(|feature| feature.is_against() == against).take(most);
            let named = chosen.map(|Feature { name, times, counts, .. }| {
                let name = name.trim();
                if *times > 1 { format!("{name} ×{times} ({counts})") } else { format!("{name} ({counts})") }
            });
            named.collect::<Vec<_>>().join(", ")
        };
        let against = list(true, 4);
        let against = if against.is_empty() { against } else { format!("; against it: {against}") };
        format!("score {score}: {}{against}; register {lean:+}", list(false, 8))
    }
}
