//! Many words in one automaton, with where a word may begin and end.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError, MatchKind};

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

/// Words and what they mean. ASCII letters match in both cases.
pub(super) struct Lexicon<T> {
    automaton: NFA,
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
        let words = words.iter().map(|(meaning, bound, word)| (*meaning, *bound, word.len())).collect();
        Ok(Self { automaton, start, words })
    }

    /// The state before any text.
    pub(super) const fn start(&self) -> StateID {
        self.start
    }

    /// Reads `bytes[from..to]` from `state` on; tells `seen` the meaning, the start and the end of
    /// each word. What was read before `from` belongs to the text too.
    #[inline]
    pub(super) fn read(
        &self,
        bytes: &[u8],
        from: usize,
        to: usize,
        mut state: StateID,
        mut seen: impl FnMut(T, usize, usize),
    ) -> StateID {
        for (index, byte) in bytes[from..to].iter().enumerate() {
            state = self.automaton.next_state(Anchored::No, state, *byte);
            // Dead states are special too: an unanchored standard automaton has none on its way.
            if self.automaton.is_special(state) && self.automaton.is_match(state) {
                let end = from + index + 1;
                for which in 0..self.automaton.match_len(state) {
                    let pattern = self.automaton.match_pattern(state, which).as_usize();
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
