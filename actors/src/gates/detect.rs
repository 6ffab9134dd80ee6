//! Finds what may not leave: secrets, addresses, personal data, legal passages. Pure, and linear
//! in the length of the text.
//!
//! A text is folded first (`fold`): read without what hides its letters, with a map back. One
//! pass over the folded text finds every anchor of every rule (`pass`); only the rules whose
//! anchor is there are checked, by hand. Long runs of letters and digits are looked at for what
//! they encode (`runs`), and places where a value is split are read without the split
//! (`joints`). What is found is cut in the original.

mod alphabet;
mod builtin;
mod decode;
mod email;
pub(super) mod encode;
mod fold;
mod found;
mod joints;
mod keys;
pub mod legal;
mod lexicon;
mod meter;
mod named;
mod pass;
pub mod personal;
mod redactor;
mod rules;
mod runs;
mod shape;
mod url;
mod walk;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;

use super::own::OwnSecrets;

pub use found::{Class, Hit};
pub use redactor::Redactor;
pub use rules::{Checksum, Misfire, RuleError, RuleFile, RuleSpec, Rules};
pub use shape::ShapeError;
pub use walk::{Unread, unread};

use meter::Meter;
use pass::Pass;

/// Texts inside texts are read so deep: base64 of base64 of a text.
const MOST_DEPTH: usize = 2;

/// Why a text could not be looked at to its end. It may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// It would take more work than any honest text.
    #[error("the text takes too much work to look at")]
    TooMuchWork,
    /// The caller's deadline.
    #[error("the deadline passed before the text was looked at")]
    Deadline,
    /// Encoded text inside encoded text, deeper than is read.
    #[error("the text holds encoded text more than two levels deep")]
    TooDeep,
    /// JSON inside JSON, deeper than is read.
    #[error("the body is nested too deep")]
    Nested,
    /// The search failed over it.
    #[error("the search crashed over the text")]
    Crashed,
}

/// What a scan found.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Every value, in the order of the text; no two overlap.
    pub hits: Vec<Hit>,
    /// Passages of legal documents. They may hold values too, so they are kept apart.
    pub passages: Vec<Hit>,
    /// Why the text was not looked at to its end, if so: then it may not leave.
    pub blocked: Option<Blocked>,
    /// Bytes that were looked at, again and again counted: what the scan cost.
    pub steps: u64,
}

/// Searches texts with the rules of the day.
#[derive(Debug)]
pub struct Detector {
    rules: RwLock<Arc<Rules>>,
    own: OwnSecrets,
    allowed: HashSet<String>,
}

impl Detector {
    /// Searches with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Detector {
        Detector { rules: RwLock::new(Arc::new(rules)), own: OwnSecrets::default(), allowed: HashSet::new() }
    }

    /// Also finds the owner's own secrets.
    #[must_use]
    pub fn with_own(self, own: OwnSecrets) -> Detector {
        Detector { own, ..self }
    }

    /// Lets these values stand, exactly as they are written, although a rule finds them. The
    /// owner's own secrets are never among them.
    #[must_use]
    pub fn with_allowed(self, values: impl IntoIterator<Item = String>) -> Detector {
        Detector { allowed: values.into_iter().collect(), ..self }
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Puts other rules in force, from the next scan on.
    pub fn swap(&self, rules: Rules) {
        *self.rules.write() = Arc::new(rules);
    }

    /// Everything that is in `text`, however long that takes within the bound on work.
    #[must_use]
    pub fn scan(&self, text: &str) -> Scan {
        self.scan_until(text, &|| false)
    }

    /// Everything that is in `text`; blocked once `is_over` says that the time is up.
    #[must_use]
    pub fn scan_until(&self, text: &str, is_over: &dyn Fn() -> bool) -> Scan {
        let mut meter = Meter::new(text.len(), is_over);
        let (mut hits, passages) = self.search(&self.rules(), text, &mut meter);
        let passages = merge(passages);
        hits.retain(|hit| hit.class == Class::Own || !self.allowed.contains(&text[hit.range.clone()]));
        let hits = merge(hits);
        Scan { hits, passages, blocked: meter.end(), steps: meter.steps() }
    }

    /// Every hit as each rule has it, and the passages of every window.
    fn search(&self, rules: &Rules, text: &str, meter: &mut Meter<'_>) -> (Vec<Hit>, Vec<Hit>) {
        let mut search = Search { rules, own: &self.own, meter, passages: Vec::new() };
        let (mut hits, is_folded) = search.text(text, 0);
        // As written too: folding may read an odd value as something else.
        if is_folded {
            hits.extend(own(&self.own, text));
        }
        (hits, search.passages)
    }

    /// The samples of all rules that do not do what they should.
    #[must_use]
    pub fn misfires(&self) -> Vec<Misfire> {
        let rules = self.rules();
        let fires = |misfire: &Misfire, text: &str| {
            let (hits, _) = self.search(&rules, text, &mut Meter::new(text.len(), &|| false));
            if misfire.is_near { !hits.is_empty() } else { hits.iter().any(|hit| hit.rule == *misfire.rule) }
        };
        let misfires = rules.samples().filter(|(misfire, text)| fires(misfire, text) == misfire.is_near);
        misfires.map(|(misfire, _)| misfire).collect()
    }
}

/// One scan on its way.
struct Search<'a, 'm> {
    rules: &'a Rules,
    own: &'a OwnSecrets,
    meter: &'a mut Meter<'m>,
    passages: Vec<Hit>,
}

impl Search<'_, '_> {
    /// What is in `text`, which was written `depth` encodings deep, and whether it read differently.
    fn text(&mut self, text: &str, depth: usize) -> (Vec<Hit>, bool) {
        let folds = fold::all(text);
        self.meter.spend(text.len() + folds.iter().map(|folded| folded.text.len()).sum::<usize>());
        let read = folds.last().map_or(text, |folded| folded.text.as_str());
        let mut hits = self.folded(read, depth);
        let back = |hit: &mut Hit| {
            hit.range = folds.iter().rev().fold(hit.range.clone(), |range, folded| folded.back(&range));
        };
        hits.iter_mut().for_each(back);
        if depth == 0 {
            self.passages.iter_mut().for_each(back);
        }
        // As it is written, too: what reads as a sign of mail or of a URL may be one of base64.
        if !folds.is_empty() {
            let runs = runs::find(text.as_bytes(), self.meter);
            self.decoded(text, &runs, depth, &mut hits);
        }
        (hits, !folds.is_empty())
    }

    fn folded(&mut self, text: &str, depth: usize) -> Vec<Hit> {
        // Searches of other classes join here: each sees the text as it reads, and adds its hits.
        let mut hits = Pass::new(text, self.rules, self.meter).run();
        self.meter.spend(2 * text.len());
        if !self.meter.is_blocked() {
            personal::find(text, &mut hits);
            self.passages.extend(legal::passages(text));
        }
        hits.extend(own(self.own, text));
        self.runs(text, depth, &mut hits);
        self.joints(text, &mut hits);
        hits
    }

    fn runs(&mut self, text: &str, depth: usize, hits: &mut Vec<Hit>) {
        let runs = runs::find(text.as_bytes(), self.meter);
        for run in &runs {
            if self.meter.is_blocked() {
                return;
            }
            runs::told_by_context(text, run, self.rules, self.meter, hits);
        }
        self.decoded(text, &runs, depth, hits);
    }

    /// What the runs spell in base64 and the like: those of several lines together, or each alone.
    fn decoded(&mut self, text: &str, runs: &[Range<usize>], depth: usize, hits: &mut Vec<Hit>) {
        let mut single = runs.iter().peekable();
        for run in runs::join_lines(text.as_bytes(), runs) {
            let is_found = self.decoded_run(text, &run, depth, hits);
            while let Some(line) = single.next_if(|line| line.start < run.end) {
                if !is_found && *line != run {
                    self.decoded_run(text, line, depth, hits);
                }
            }
        }
    }

    /// Whether what the run spells holds something.
    fn decoded_run(&mut self, text: &str, run: &Range<usize>, depth: usize, hits: &mut Vec<Hit>) -> bool {
        self.meter.spend(run.len() / 8);
        let Some(decoded) = decode::text(&text.as_bytes()[run.clone()]) else { return false };
        if depth == MOST_DEPTH {
            self.meter.block(Blocked::TooDeep);
        }
        if self.meter.is_blocked() {
            return false;
        }
        // Which letters spell a part of it is not plain: all of it goes.
        let before = self.passages.len();
        let found = self.text(&decoded, depth + 1).0.into_iter().max_by_key(|hit| hit.score);
        let passage = self.passages.drain(before..).max_by_key(|hit| hit.score);
        let is_found = found.is_some() || passage.is_some();
        self.passages.extend(passage.map(|hit| Hit { range: run.clone(), ..hit }));
        hits.extend(found.map(|hit| Hit { range: run.clone(), ..hit }));
        is_found
    }

    fn joints(&mut self, text: &str, hits: &mut Vec<Hit>) {
        let mut joined = joints::lines(text, self.meter);
        joined.extend(joints::spaced(text, self.meter));
        joined.extend(joints::arrays(text, self.meter));
        for place in &joined {
            let read = &place.folded.text;
            let mut found = Pass::new(read, self.rules, self.meter).run();
            for run in runs::find(read.as_bytes(), self.meter) {
                runs::told_by_context(read, &run, self.rules, self.meter, &mut found);
            }
            self.meter.spend(read.len());
            personal::find(read, &mut found);
            for hit in found {
                // A name before it holds its own line's value alone.
                let is_told =
                    place.context > 0 && hit.range.start == place.context && hit.rule.starts_with("named");
                let Some(goes_on) = place.crosses(&hit.range).filter(|_| !is_told || place.breaks.is_empty())
                else {
                    continue;
                };
                let range = place.folded.back(&hit.range);
                // The first piece may be all of it, and the next line a word; but an address whose
                // host has no dot is hardly whole.
                let is_known = || {
                    let is_first =
                        |known: &&Hit| known.range.start <= range.start && known.range.end > range.start;
                    let is_whole = |known: &Hit| {
                        let text = &text[known.range.clone()];
                        hit.class != Class::Email
                            || text.split('@').next_back().is_some_and(|host| host.contains('.'))
                    };
                    hits.iter().filter(is_first).any(is_whole)
                };
                if goes_on || !is_known() {
                    hits.push(Hit { range, ..hit });
                }
            }
        }
        self.numbers(text, hits);
    }

    /// Numbers that go on in the next line.
    fn numbers(&mut self, text: &str, hits: &mut Vec<Hit>) {
        /// Two numbers that stand below each other make one of this score by chance too often.
        const SURE: u8 = 75;
        for place in joints::numbers(text, self.meter) {
            let mut found = Vec::new();
            personal::find(&place.folded.text, &mut found);
            let found =
                found.into_iter().filter(|hit| hit.score >= SURE && place.crosses(&hit.range).is_some());
            hits.extend(found.map(|hit| Hit { range: place.folded.back(&hit.range), ..hit }));
        }
    }
}

fn own<'t>(secrets: &'t OwnSecrets, text: &'t str) -> impl Iterator<Item = Hit> + 't {
    secrets.find(text).map(|range| Hit { range, class: Class::Own, rule: "own-secret".into(), score: 100 })
}

/// Hits in order, with those that overlap made one: as far as both reach, as the surer one says.
fn merge(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_by_key(|hit| (hit.range.start, std::cmp::Reverse(hit.range.end)));
    let mut merged: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        match merged.last_mut().filter(|last| hit.range.start < last.range.end) {
            None => merged.push(hit),
            Some(last) => {
                let range: Range<usize> = last.range.start..last.range.end.max(hit.range.end);
                if hit.score > last.score {
                    *last = hit;
                }
                last.range = range;
            }
        }
    }
    merged
}

#[cfg(all(test, not(empire_loom)))]
mod tests;
