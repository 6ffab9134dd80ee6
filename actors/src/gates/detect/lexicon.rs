//! Many words in one automaton, with where a word may begin and end.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind};

/// Where a word may begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// A word of its own.
    Word,
    /// The beginning of a word; German goes on from there.
    Head,
    /// Anywhere in a word.
    Part,
    /// A word of its own in capitals, which means something else in small letters.
    Capitals,
}

/// From so many bytes on, making the faster automaton pays.
const LONG_TEXT: usize = 64 << 10;

/// Words and what they mean. ASCII letters match in both cases.
pub(super) struct Lexicon<T> {
    automaton: NFA,
    /// The same, made for long texts.
    dense: OnceLock<Option<DFA>>,
    texts: Vec<String>,
    start: StateID,
    /// Meaning, bound and bytes by pattern.
    words: Vec<(T, Bound, usize)>,
}

impl<T: Copy> Lexicon<T> {
    /// An automaton of all words.
    pub(super) fn new(words: &[(T, Bound, &str)]) -> Result<Self, BuildError> {
        let automaton = NFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(words.iter().map(|(_, _, word)| word))?;
        // It searches both ways, so that this one has a start.
        let start = automaton.start_state(Anchored::No).unwrap_or_default();
        let texts = words;
        let words = words.iter().map(|(meaning, bound, word)| (*meaning, *bound, word.len())).collect();
        let texts = texts.iter().map(|(_, _, word)| (*word).to_owned()).collect();
        Ok(Self { automaton, dense: OnceLock::new(), texts, start, words })
    }

    /// The state before any text.
    pub(super) const fn start(&self) -> StateID {
        self.start
    }

    /// Reads a whole text; tells `seen` the meaning, the start and the end of each word.
    pub(super) fn read_all(&self, bytes: &[u8], seen: impl FnMut(T, usize, usize)) {
        let dense = || {
            let builder = &mut DFA::builder();
            let builder = builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
            builder.start_kind(StartKind::Unanchored).build(&self.texts).ok()
        };
        let dense = (bytes.len() >= LONG_TEXT).then(|| self.dense.get_or_init(dense).as_ref()).flatten();
        match dense {
            Some(dfa) => {
                let start = dfa.start_state(Anchored::No).unwrap_or_default();
                self.walk(dfa, bytes, 0..bytes.len(), start, seen);
            }
            None => {
                self.walk(&self.automaton, bytes, 0..bytes.len(), self.start, seen);
            }
        }
    }

    /// Reads `bytes[range]` from `state` on; tells `seen` the meaning, the start and the end of
    /// each word. What was read before belongs to the text too.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        range: Range<usize>,
        state: StateID,
        seen: impl FnMut(T, usize, usize),
    ) -> StateID {
        self.walk(&self.automaton, bytes, range, state, seen)
    }

    #[inline]
    fn walk(
        &self,
        automaton: &impl Automaton,
        bytes: &[u8],
        range: Range<usize>,
        mut state: StateID,
        mut seen: impl FnMut(T, usize, usize),
    ) -> StateID {
        let from = range.start;
        for (index, byte) in bytes[range].iter().enumerate() {
            state = automaton.next_state(Anchored::No, state, *byte);
            // Dead states are special too: an unanchored standard automaton has none on its way.
            if automaton.is_special(state) && automaton.is_match(state) {
                let end = from + index + 1;
                for which in 0..automaton.match_len(state) {
                    let pattern = automaton.match_pattern(state, which).as_usize();
                    let (meaning, bound, length) = self.words[pattern];
                    if holds(bytes, end - length, end, bound) {
                        seen(meaning, end - length, end);
                    }
                }
            }
        }
        state
    }
}

fn holds(bytes: &[u8], start: usize, end: usize, bound: Bound) -> bool {
    let opens = start == 0 || !is_word(bytes[start - 1]);
    let closes = bytes.get(end).is_none_or(|next| !next.is_ascii_alphabetic() && *next != 0xC3);
    match bound {
        Bound::Part => true,
        Bound::Head => opens,
        Bound::Word => opens && closes,
        Bound::Capitals => opens && closes && !bytes[start..end].iter().any(u8::is_ascii_lowercase),
    }
}

/// A letter or digit; the second bytes of quotes and dashes are not.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || (0xA4..=0xBF).contains(&byte)
}
