//! Cuts what was found out of the texts of one conversation, and puts it back for its owner.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};

use super::alphabet::Alphabet;
use super::encode::{STANDARD, base64_inside, hex};
use super::fold::all;
use super::found::{Class, Hit};
use super::{Blocked, Detector, merge};
use crate::gates::audit::Found;

/// Shorter values are cut only where they were found: as text they stand anywhere.
const LEAST_EVERYWHERE: usize = 4;
/// Shorter values are cut elsewhere only as words of their own.
const LEAST_INSIDE: usize = 8;
/// Shorter values are not looked for in base64 and hexadecimal.
const LEAST_ENCODED: usize = 6;

fn label(class: Class) -> &'static str {
    match class {
        Class::Secret | Class::Own => "SECRET",
        Class::Email => "EMAIL",
        Class::Phone => "PHONE",
        Class::Iban => "IBAN",
        Class::Card => "CARD",
        Class::TaxId => "TAX_ID",
        Class::SocialId => "SOCIAL_ID",
        Class::Identity => "IDENTITY",
        Class::Address => "ADDRESS",
        Class::Ip => "IP",
        Class::Legal => "LEGAL",
    }
}

/// Says whether the time is up.
type IsOver = Box<dyn Fn() -> bool + Send + Sync>;

/// What was cut out of one conversation, and by what it is replaced.
///
/// The same spelling of a value gets the same placeholder in every text. A value that was found
/// once is cut wherever it stands in later texts, however it is escaped there. A text that is
/// written like a placeholder before that one is given out keeps its number to itself.
pub struct Redactor {
    detector: Arc<Detector>,
    is_over: IsOver,
    placeholders: HashMap<String, String>,
    originals: HashMap<String, String>,
    counts: HashMap<&'static str, usize>,
    /// Placeholders that stood in the texts themselves.
    taken: HashSet<String>,
    needles: Needles,
    classes: BTreeSet<Class>,
    rules: Found,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("found", &self.found()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// Nothing learnt yet.
    #[must_use]
    pub fn new(detector: Arc<Detector>) -> Redactor {
        Redactor::until(detector, Box::new(|| false))
    }

    /// Nothing learnt yet; no text is looked at any more once `is_over` says so.
    #[must_use]
    pub fn until(detector: Arc<Detector>, is_over: IsOver) -> Redactor {
        Redactor {
            detector,
            is_over,
            placeholders: HashMap::new(),
            originals: HashMap::new(),
            counts: HashMap::new(),
            taken: HashSet::new(),
            needles: Needles::default(),
            classes: BTreeSet::new(),
            rules: Found::new(),
        }
    }

    /// How many different values were found.
    #[must_use]
    pub fn found(&self) -> u32 {
        u32::try_from(self.placeholders.len()).unwrap_or(u32::MAX)
    }

    /// The kinds of what was found, legal passages among them, each once.
    #[must_use]
    pub fn classes(&self) -> Vec<Class> {
        self.classes.iter().copied().collect()
    }

    /// The rules that found something, legal passages among them, and how often.
    #[must_use]
    pub fn rules(&self) -> &Found {
        &self.rules
    }

    /// Finds what has to go from `text` and remembers it.
    ///
    /// # Errors
    /// The text could not be looked at to its end: it may not leave.
    pub fn learn(&mut self, text: &str) -> Result<(), Blocked> {
        self.look(text).map(drop)
    }

    /// The text without what was found in it or in any text before; `None` if nothing has to go.
    ///
    /// # Errors
    /// The text could not be looked at to its end: it may not leave.
    pub fn cut(&mut self, text: &str) -> Result<Option<String>, Blocked> {
        let mut hits = self.look(text)?;
        hits.extend(self.needles.find(text));
        let hits = merge(hits);
        if hits.is_empty() {
            return Ok(None);
        }
        let mut cut = String::with_capacity(text.len());
        let mut copied = 0;
        for hit in hits {
            cut.push_str(&text[copied..hit.range.start]);
            cut.push_str(self.remember(&text[hit.range.clone()], hit.class));
            copied = hit.range.end;
        }
        cut.push_str(&text[copied..]);
        Ok(Some(cut))
    }

    /// The text with the originals in the place of their placeholders: for the owner's eyes. It
    /// may not be sent anywhere without being cut again.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        let mut restored = String::with_capacity(text.len());
        let mut copied = 0;
        for range in placeholders(text) {
            if let Some(original) = self.originals.get(&text[range.clone()]) {
                restored.push_str(&text[copied..range.start]);
                restored.push_str(original);
                copied = range.end;
            }
        }
        restored.push_str(&text[copied..]);
        restored
    }

    fn look(&mut self, text: &str) -> Result<Vec<Hit>, Blocked> {
        for range in placeholders(text) {
            let written = &text[range];
            if !self.originals.contains_key(written) {
                self.taken.insert(written.to_owned());
            }
        }
        let scan = self.detector.scan_until(text, &*self.is_over);
        if let Some(reason) = scan.blocked {
            return Err(reason);
        }
        for hit in scan.hits.iter().chain(&scan.passages) {
            self.classes.insert(hit.class);
            *self.rules.entry(hit.rule.clone()).or_default() += 1;
        }
        for hit in &scan.hits {
            self.remember(&text[hit.range.clone()], hit.class);
        }
        Ok(scan.hits)
    }

    /// The placeholder of a value.
    pub(super) fn remember(&mut self, value: &str, class: Class) -> &str {
        if !self.placeholders.contains_key(value) {
            let label = label(class);
            let count = self.counts.entry(label).or_default();
            let placeholder = loop {
                *count += 1;
                let placeholder = format!("<{label}_{count}>");
                if !self.taken.contains(&placeholder) {
                    break placeholder;
                }
            };
            self.originals.insert(placeholder.clone(), value.to_owned());
            self.placeholders.insert(value.to_owned(), placeholder);
            self.needles.add(value, class);
        }
        &self.placeholders[value]
    }
}

/// Everything in `text` that is written like a placeholder.
fn placeholders(text: &str) -> impl Iterator<Item = Range<usize>> {
    const MOST: usize = 32;
    text.match_indices('<').filter_map(|(at, _)| {
        let rest = &text.as_bytes()[at + 1..text.len().min(at + MOST)];
        let close = rest.iter().position(|byte| *byte == b'>')?;
        let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        let is_one = rest[..close].iter().all(is_part) && close > 2 && rest[close - 1].is_ascii_digit();
        is_one.then_some(at..at + close + 2)
    })
}

/// Finds values again that are known.
#[derive(Default)]
struct Needles {
    spellings: Vec<Spelling>,
    search: Option<AhoCorasick>,
}

struct Spelling {
    text: String,
    class: Class,
    is_encoded: bool,
    /// It counts only as a word of its own.
    is_word: bool,
}

impl Needles {
    fn add(&mut self, value: &str, class: Class) {
        if value.len() < LEAST_EVERYWHERE {
            return;
        }
        self.search = None;
        let read = all(value).into_iter().next_back().map_or_else(|| value.to_owned(), |folded| folded.text);
        let is_word = value.len() < LEAST_INSIDE || value.bytes().all(|byte| byte.is_ascii_digit());
        if value.len() >= LEAST_ENCODED {
            let encoded = (0..3)
                .map(|shift| base64_inside(read.as_bytes(), shift, STANDARD))
                .chain([hex(read.as_bytes(), false), hex(read.as_bytes(), true)]);
            let encoded = encoded.filter(|text| text.len() >= LEAST_ENCODED);
            self.spellings.extend(encoded.map(|text| Spelling {
                text,
                class,
                is_encoded: true,
                is_word: false,
            }));
        }
        if !read.is_empty() {
            self.spellings.push(Spelling { text: read, class, is_encoded: false, is_word });
        }
    }

    /// Every place of `text` where a known value stands.
    fn find(&mut self, text: &str) -> Vec<Hit> {
        if self.spellings.is_empty() {
            return Vec::new();
        }
        if self.search.is_none() {
            let texts = self.spellings.iter().map(|spelling| &spelling.text);
            self.search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts).ok();
        }
        let folds = all(text);
        let read = folds.last().map_or(text, |folded| folded.text.as_str());
        let mut hits = self.find_in(read);
        for hit in &mut hits {
            hit.range = folds.iter().rev().fold(hit.range.clone(), |range, folded| folded.back(&range));
        }
        // As it is written, too: folding may read it differently beside other characters.
        if !folds.is_empty() {
            hits.extend(self.find_in(text));
        }
        hits
    }

    fn find_in(&self, text: &str) -> Vec<Hit> {
        let bytes = text.as_bytes();
        let is_inside = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric())
        };
        let hit = |found: aho_corasick::Match| {
            let spelling = &self.spellings[found.pattern().as_usize()];
            let mut range = found.range();
            if spelling.is_word && (is_inside(range.start.checked_sub(1)) || is_inside(Some(range.end))) {
                return None;
            }
            if spelling.is_encoded {
                range.start = Alphabet::BASE64_ANY.run_back(bytes, range.start, usize::MAX);
                range.end = Alphabet::BASE64.run(bytes, range.end, usize::MAX);
            }
            Some(Hit { range, class: spelling.class, rule: "known-value".into(), score: 100 })
        };
        self.search.iter().flat_map(|search| search.find_iter(text)).filter_map(hit).collect()
    }
}
