//! Rules as data: what `config/privacy/*.toml` may say, and what is made of it for the search.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde::Deserialize;

use super::alphabet::Alphabet;
use super::builtin::{self, Built};
use super::shape::{Part, Shape, ShapeError};

/// The rules of one file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// What errors call it.
    #[serde(skip)]
    pub name: String,
    /// Its rules.
    #[serde(rename = "rule", default)]
    pub rules: Vec<RuleSpec>,
}

/// One format of a secret, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name, of its own among all rules.
    pub id: String,
    /// What it finds.
    pub about: String,
    /// What it looks like, e.g. `xyz_{alnum:36}`. Without a literal part it needs `context`.
    pub shape: String,
    /// Words one of which, together with a word for a secret, must stand shortly before it.
    #[serde(default)]
    pub context: Vec<String>,
    /// Whether it may follow a letter or digit directly. Without it: if its literal part is long
    /// and not of letters and digits alone.
    pub glued: Option<bool>,
    /// Whether a body that reads like words counts. Without it: if its alphabet cannot join words.
    pub words: Option<bool>,
    /// A checksum in its body. Where it fits, the score is 100.
    pub checksum: Option<Checksum>,
    /// How sure a match is, 0 to 100.
    #[serde(default = "usual_score")]
    pub score: u8,
    /// Samples that must be found, in the language of `shape`.
    pub positive: Vec<String>,
    /// Samples that must be left alone.
    pub near: Vec<String>,
}

fn usual_score() -> u8 {
    90
}

/// A checksum within a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The last six characters are the CRC-32 of those before, in base 62.
    Crc32Base62,
}

/// What is wrong with the rules.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A shape or sample cannot be read.
    #[error("{file}: rule `{rule}`, `{field}`: {source}")]
    Shape {
        /// The file.
        file: String,
        /// The rule.
        rule: String,
        /// The field of it.
        field: &'static str,
        /// What is wrong.
        source: ShapeError,
    },
    /// A field does not fit.
    #[error("{file}: rule `{rule}`, `{field}`: {message}")]
    Field {
        /// The file.
        file: String,
        /// The rule.
        rule: String,
        /// The field of it.
        field: &'static str,
        /// What to do.
        message: &'static str,
    },
    /// Two rules have the same name.
    #[error("{file}: rule `{rule}`, `id`: {by} has a rule of this name: give every rule a name of its own")]
    Taken {
        /// The file.
        file: String,
        /// The rule.
        rule: String,
        /// The file that has it, too.
        by: String,
    },
    /// The prefilter could not be made.
    #[error("the anchors of all rules make no prefilter: {0}")]
    Prefilter(#[from] aho_corasick::BuildError),
}

/// One format, ready for the search.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    pub(crate) shape: Shape,
    pub(crate) glued: bool,
    pub(crate) words: bool,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) score: u8,
}

/// A format without a literal part: only what stands before it tells.
#[derive(Debug)]
pub(crate) struct LoneRule {
    pub(crate) id: Arc<str>,
    pub(crate) alphabet: Alphabet,
    pub(crate) least: usize,
    pub(crate) most: Option<usize>,
    pub(crate) score: u8,
}

/// What an occurrence of an anchor calls for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// A rule of the files; the number of its anchor's part.
    Rule(usize, usize),
    /// A matcher written by hand.
    Built(Built),
}

/// A word that is looked for before a token that nothing else tells.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ContextWord {
    /// One of a lone rule.
    Rule(usize),
    /// A word for a secret.
    Naming,
    /// A word that says it is none.
    Harmless,
}

/// All rules, compiled.
#[derive(Debug)]
pub struct Rules {
    pub(crate) rules: Vec<Rule>,
    pub(crate) lone: Vec<LoneRule>,
    anchors: AhoCorasick,
    /// The same, made for long texts: twice as fast, and several times as long to make.
    dense: OnceLock<Option<AhoCorasick>>,
    /// The anchors' texts.
    words: Vec<String>,
    /// What each anchor calls for. The search ignores case; a rule compares with how it is written.
    pub(crate) targets: Vec<Vec<Target>>,
    /// Finds the words that tell a token which nothing else tells.
    pub(crate) context: AhoCorasick,
    pub(crate) context_words: Vec<Vec<ContextWord>>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    rule: Arc<str>,
    shape: Shape,
    /// What its random parts begin with.
    seed: u64,
    is_near: bool,
}

/// A sample of a rule that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfire {
    /// The rule.
    pub rule: Arc<str>,
    /// Whether it is a near miss that was found; otherwise a positive one that was not.
    pub is_near: bool,
    /// Which sample of the rule, counted from 0, positive ones first.
    pub number: usize,
}

/// From so many bytes on, making the faster search pays.
const LONG_TEXT: usize = 64 << 10;

fn search(kind: AhoCorasickKind, words: &[String]) -> Result<AhoCorasick, aho_corasick::BuildError> {
    AhoCorasick::builder()
        .kind(Some(kind))
        .match_kind(MatchKind::Standard)
        .ascii_case_insensitive(true)
        .build(words)
}

/// How often each sample is made anew.
const SEEDS: u64 = 3;

impl Rules {
    /// Puts the rules of all files together with those written by hand.
    ///
    /// # Errors
    /// A rule cannot be read; the error names it, its file and its field.
    pub fn compile(files: &[RuleFile]) -> Result<Rules, RuleError> {
        let mut compiler = Compiler::default();
        for file in files {
            for spec in &file.rules {
                compiler.add(&file.name, spec)?;
            }
        }
        compiler.finish()
    }

    /// What finds the anchors in a text of so many bytes.
    pub(crate) fn anchors(&self, bytes: usize) -> &AhoCorasick {
        if bytes < LONG_TEXT {
            return &self.anchors;
        }
        let dense = self.dense.get_or_init(|| search(AhoCorasickKind::DFA, &self.words).ok());
        dense.as_ref().unwrap_or(&self.anchors)
    }

    /// How many formats there are, without those written by hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len() + self.lone.len()
    }

    /// Whether there is no format but those written by hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every sample with its rule, its number within the rule, and whether it is a near miss; made
    /// when it is asked for.
    pub fn samples(&self) -> impl Iterator<Item = (Misfire, String)> {
        let mut number = 0;
        let mut last: Option<&Arc<str>> = None;
        let seeds = self.samples.iter().flat_map(|sample| (0..SEEDS).map(move |n| (sample, n)));
        seeds.map(move |(sample, n)| {
            number = if last == Some(&sample.rule) { number + 1 } else { 0 };
            last = Some(&sample.rule);
            let text = sample.shape.sample(sample.seed.wrapping_add(n << 32));
            (Misfire { rule: sample.rule.clone(), is_near: sample.is_near, number }, text)
        })
    }
}

#[derive(Default)]
struct Compiler {
    /// The file of every rule so far, by the rule's name.
    files: BTreeMap<Arc<str>, String>,
    rules: Vec<Rule>,
    lone: Vec<LoneRule>,
    anchors: BTreeMap<String, Vec<Target>>,
    context: BTreeMap<String, Vec<ContextWord>>,
    samples: Vec<Sample>,
}

impl Compiler {
    fn add(&mut self, file: &str, spec: &RuleSpec) -> Result<(), RuleError> {
        let (file, rule) = (|| file.to_owned(), || spec.id.clone());
        let field = |field, message| RuleError::Field { file: file(), rule: rule(), field, message };
        let shape_error =
            |field| move |source| RuleError::Shape { file: file(), rule: rule(), field, source };
        let id: Arc<str> = spec.id.as_str().into();
        if spec.id.is_empty() {
            return Err(field("id", "give every rule a name of its own"));
        }
        if let Some(by) = self.files.insert(id.clone(), file()) {
            return Err(RuleError::Taken { file: file(), rule: rule(), by });
        }
        if spec.score > 100 {
            return Err(field("score", "it is at most 100"));
        }
        let shape = Shape::parse(&spec.shape).map_err(shape_error("shape"))?;
        self.add_samples(spec, &id).map_err(|(name, source)| shape_error(name)(source))?;
        if let Some((alphabet, least, most)) = shape.lone_run() {
            if spec.context.is_empty() {
                return Err(field(
                    "context",
                    "a shape without a literal part needs words that stand before it",
                ));
            }
            for word in &spec.context {
                self.context
                    .entry(word.to_ascii_lowercase())
                    .or_default()
                    .push(ContextWord::Rule(self.lone.len()));
            }
            self.lone.push(LoneRule { id, alphabet, least, most, score: spec.score });
            return Ok(());
        }
        if !spec.context.is_empty() {
            return Err(field("context", "only a shape without a literal part is looked up by context"));
        }
        let anchor = shape
            .anchor()
            .ok_or_else(|| field("shape", "begin with a literal part, or one run and then a literal part"))?;
        let Part::Literal(literals) = &shape.parts[anchor] else {
            return Err(field("shape", "begin with a literal part, or one run and then a literal part"));
        };
        if literals.iter().any(|literal| literal.len() < 2) {
            return Err(field("shape", "its first literal part is too short to look for"));
        }
        for literal in literals {
            let targets = self.anchors.entry(literal.to_ascii_lowercase()).or_default();
            targets.push(Target::Rule(self.rules.len(), anchor));
        }
        let tells =
            |literal: &String| literal.len() >= 4 && !literal.bytes().all(|b| b.is_ascii_alphanumeric());
        let glued = spec.glued.unwrap_or_else(|| anchor == 0 && literals.iter().all(tells));
        let spells = |part: &Part| matches!(part, Part::Run { alphabet, .. } if alphabet.spells_words());
        let words = spec.words.unwrap_or_else(|| !shape.parts.iter().any(spells));
        self.rules.push(Rule { id, shape, glued, words, checksum: spec.checksum, score: spec.score });
        Ok(())
    }

    fn add_samples(&mut self, spec: &RuleSpec, id: &Arc<str>) -> Result<(), (&'static str, ShapeError)> {
        for (name, templates, is_near) in [("positive", &spec.positive, false), ("near", &spec.near, true)] {
            if templates.is_empty() {
                return Err((name, ShapeError::Empty));
            }
            for template in templates {
                let shape = Shape::parse(template).map_err(|error| (name, error))?;
                let seed = template
                    .bytes()
                    .chain(id.bytes())
                    .fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
                self.samples.push(Sample { rule: id.clone(), shape, seed, is_near });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Rules, RuleError> {
        for (anchor, built) in builtin::anchors() {
            self.anchors.entry(anchor.to_owned()).or_default().push(Target::Built(built));
        }
        for word in builtin::NAMING_WORDS {
            self.context.entry((*word).to_owned()).or_default().push(ContextWord::Naming);
        }
        for word in builtin::HARMLESS_WORDS {
            self.context.entry((*word).to_owned()).or_default().push(ContextWord::Harmless);
        }
        let nfa = AhoCorasickKind::ContiguousNFA;
        let (words, context): (Vec<_>, Vec<_>) =
            (self.anchors.keys().cloned().collect(), self.context.keys().cloned().collect());
        Ok(Rules {
            anchors: search(nfa, &words)?,
            dense: OnceLock::new(),
            words,
            context: search(nfa, &context)?,
            targets: self.anchors.into_values().collect(),
            context_words: self.context.into_values().collect(),
            rules: self.rules,
            lone: self.lone,
            samples: self.samples,
        })
    }
}
