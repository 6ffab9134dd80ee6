//! One pass over a text: every occurrence of an anchor, and for each only the rules that can
//! match there, checked by hand. Linear: what a check has read is not read again by the same kind
//! of check, and what it may read ahead is bounded.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::Input;

use super::builtin::Built;
use super::found::{Class, Hit};
use super::meter::Meter;
use super::rules::{Checksum, Rule, Rules, Target};
use super::shape::Span;
use super::{email, keys, named, url};

/// The text is searched in pieces of this size, so that the meter is looked at in between.
const CHUNK: usize = 256 * 1024;
/// No anchor is longer; pieces overlap by this much.
const LONGEST_ANCHOR: usize = 64;
const COMMAND_MEMORY: usize = 64;

/// One text being searched.
pub(crate) struct Pass<'t, 'm> {
    pub(crate) text: &'t str,
    pub(crate) bytes: &'t [u8],
    pub(crate) meter: &'t mut Meter<'m>,
    pub(crate) hits: Vec<Hit>,
    /// To where names have been read.
    pub(crate) name_to: usize,
    /// To where values have been read that a name gave away.
    pub(crate) value_to: usize,
    pub(crate) url_to: usize,
    pub(crate) insert_to: usize,
    /// The head of the last table whose rows were looked at.
    pub(crate) table: Range<usize>,
    /// The `@` that ends a URL's name and password.
    pub(crate) url_sign: Option<usize>,
    pub(crate) block_to: usize,
    pub(crate) token_to: usize,
    pub(crate) command_to: [usize; COMMAND_MEMORY],
    rules: &'t Rules,
    /// The last token that a rule found or turned down.
    shape: Range<usize>,
    /// To where each rule has turned down what is there; as long as the last rule that did.
    turned_down: Vec<usize>,
}

impl<'t, 'm> Pass<'t, 'm> {
    pub(crate) fn new(text: &'t str, rules: &'t Rules, meter: &'t mut Meter<'m>) -> Pass<'t, 'm> {
        Pass {
            text,
            bytes: text.as_bytes(),
            meter,
            hits: Vec::new(),
            name_to: 0,
            value_to: 0,
            url_to: 0,
            insert_to: 0,
            table: 0..0,
            url_sign: None,
            block_to: 0,
            token_to: 0,
            command_to: [0; COMMAND_MEMORY],
            rules,
            shape: 0..0,
            turned_down: Vec::new(),
        }
    }

    /// Finds everything that an anchor leads to.
    pub(crate) fn run(mut self) -> Vec<Hit> {
        let rules = self.rules;
        let anchors = rules.anchors(self.bytes.len());
        let mut from = 0;
        while from < self.bytes.len() && !self.meter.is_blocked() {
            let to = self.bytes.len().min(from + CHUNK);
            self.meter.spend(to - from);
            let input = Input::new(self.bytes).range(from.saturating_sub(LONGEST_ANCHOR)..to);
            for found in anchors.find_overlapping_iter(input) {
                if found.end() <= from {
                    continue;
                }
                if self.meter.is_blocked() {
                    break;
                }
                for target in &rules.targets[found.pattern().as_usize()] {
                    self.check(*target, found.start(), found.end());
                }
            }
            from = to;
        }
        self.hits
    }

    fn check(&mut self, target: Target, at: usize, end: usize) {
        match target {
            Target::Rule(number, anchor) => self.rule(number, anchor, at, end),
            Target::Built(built) => match built {
                Built::Name => named::find(self, at, end),
                Built::Login => named::login::find(self, at, end),
                Built::LoginBehind => named::login::behind(self, at),
                Built::Command(number) => named::command::find(self, number, at, end),
                Built::Insert => named::insert::find(self, end),
                Built::Url => url::authority(self, at, end),
                Built::Bearer => url::bearer(self, at, end),
                Built::Basic => url::basic(self, at, end),
                Built::Jwt => keys::web_token(self, at),
                Built::KeyBlock => keys::block(self, at, end),
                Built::Putty => keys::putty(self, at),
                Built::At => email::at_sign(self, at),
                Built::AtWord => email::at_word(self, at, end),
            },
        }
    }

    /// A rule of the files, at an occurrence of its anchor.
    fn rule(&mut self, number: usize, anchor: usize, at: usize, end: usize) {
        let rule = &self.rules.rules[number];
        // Inside a token that was found, another one begins only where it began.
        let is_inside = at > self.shape.start && at < self.shape.end;
        if is_inside
            || self.turned_down.get(number).is_some_and(|to| at < *to)
            || !is_written(rule, anchor, &self.bytes[at..end])
        {
            return;
        }
        if !rule.glued && anchor == 0 && at > 0 && is_glued(self.bytes[at - 1], self.bytes[at]) {
            return;
        }
        let (span, steps) = rule.shape.matches(self.bytes, anchor, at, end);
        self.meter.spend(steps);
        let Some(span) = span else { return };
        let body = &self.text[span.body..span.end];
        if is_example(body) || (!rule.words && reads_like_words(body)) {
            let rules = self.turned_down.len().max(number + 1);
            self.turned_down.resize(rules, 0);
            self.turned_down[number] = span.end;
            return;
        }
        let end = without_stop(self.text, &span);
        let fits = rule.checksum.is_some_and(|Checksum::Crc32Base62| crc32_fits(body));
        self.shape = span.start..end;
        let score = if fits { 100 } else { rule.score };
        self.hit(span.start..end, Class::Secret, rule.id.to_string(), score);
    }

    /// Notes a value.
    pub(crate) fn hit(
        &mut self,
        range: Range<usize>,
        class: Class,
        rule: impl Into<Cow<'static, str>>,
        score: u8,
    ) {
        self.hits.push(Hit { range, class, rule: rule.into(), score });
    }

    /// Notes a value that its name gave away: names inside it name nothing.
    pub(crate) fn named_hit(&mut self, range: Range<usize>, class: Class, rule: &'static str, score: u8) {
        self.value_to = self.value_to.max(range.end);
        self.hit(range, class, rule, score);
    }
}

/// Whether the anchor stands there as the rule writes it: the prefilter ignores case.
fn is_written(rule: &Rule, anchor: usize, found: &[u8]) -> bool {
    match &rule.shape.parts[anchor] {
        super::shape::Part::Literal(choices) => choices.iter().any(|choice| choice.as_bytes() == found),
        super::shape::Part::Run { .. } => false,
    }
}

/// Whether a token that begins with `first` is a part of something longer. A capital after a
/// small letter begins a word of its own.
fn is_glued(before: u8, first: u8) -> bool {
    before.is_ascii_alphanumeric() && !(before.is_ascii_lowercase() && first.is_ascii_uppercase())
}

/// A full stop that ends the sentence is none of the token's.
fn without_stop(text: &str, span: &Span) -> usize {
    let trimmed = text[span.body..span.end].trim_end_matches('.');
    span.body + trimmed.len()
}

/// What documentation writes in the place of a token.
pub(crate) fn is_example(body: &str) -> bool {
    let bytes = body.as_bytes();
    let mut seen = [false; 128];
    bytes.iter().filter(|byte| byte.is_ascii()).for_each(|byte| seen[usize::from(*byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    if bytes.len() >= 8 && different <= 2 {
        return true;
    }
    let lower = body.to_ascii_lowercase();
    [
        "example",
        "placeholder",
        "your-",
        "your_",
        "yourtoken",
        "yourkey",
        "changeme",
        "xxxxxx",
        "redacted",
        "insert-",
        "replace-",
        "replace_",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

/// Whether every part between signs is a word or a short number.
pub(crate) fn reads_like_words(body: &str) -> bool {
    let is_word = |part: &str| {
        part.bytes().skip(1).all(|byte| byte.is_ascii_lowercase())
            || part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit())
            || part
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .bytes()
                .all(|byte| byte.is_ascii_lowercase())
                && part.bytes().filter(u8::is_ascii_digit).count() <= 2
            || (part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_uppercase()))
    };
    let mut parts = body.split(['-', '_', '.', '/']).filter(|part| !part.is_empty());
    parts.all(is_word)
}

/// The checksum of GitHub's tokens, and of others who followed them.
fn crc32_fits(body: &str) -> bool {
    const CHECK: usize = 6;
    let Some((random, check)) = body.len().checked_sub(CHECK).and_then(|at| body.split_at_checked(at)) else {
        return false;
    };
    let mut crc = !0_u32;
    for byte in random.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = !crc;
    let mut expected = [b'0'; CHECK];
    for place in expected.iter_mut().rev() {
        *place = digits[(rest % 62) as usize];
        rest /= 62;
    }
    check.as_bytes() == expected
}
