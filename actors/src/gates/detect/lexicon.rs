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

/// Parts of a long text that are read at once.
const LANES: usize = 4;
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
    /// Bytes of the longest word.
    longest: usize,
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
        let longest = words.iter().map(|(_, _, word)| word.len()).max().unwrap_or_default();
        let texts = words;
        let words = words.iter().map(|(meaning, bound, word)| (*meaning, *bound, word.len())).collect();
        let texts = texts.iter().map(|(_, _, word)| (*word).to_owned()).collect();
        Ok(Self { automaton, dense: OnceLock::new(), texts, start, words, longest })
    }

    /// The state before any text.
    pub(super) const fn start(&self) -> StateID {
        self.start
    }

    /// Reads a whole text; tells `seen` the meaning, the start and the end of each word, in any order.
    pub(super) fn read_all(&self, bytes: &[u8], seen: impl FnMut(T, usize, usize)) {
        let dense = || {
            let builder = &mut DFA::builder();
            let builder = builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
            builder.start_kind(StartKind::Unanchored).build(&self.texts).ok()
        };
        let dense = (bytes.len() >= LONG_TEXT).then(|| self.dense.get_or_init(dense).as_ref()).flatten();
        match dense {
            Some(dfa) => self.walk_lanes(dfa, bytes, seen),
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

    /// Reads several parts of a long text at once: each waits for memory most of the time.
    fn walk_lanes(&self, dfa: &DFA, bytes: &[u8], mut seen: impl FnMut(T, usize, usize)) {
        let start = dfa.start_state(Anchored::No).unwrap_or_default();
        let part = bytes.len() / LANES;
        let mut states = [start; LANES];
        let lanes: [&[u8]; LANES] = std::array::from_fn(|lane| &bytes[lane * part..][..part]);
        for index in 0..part {
            let mut is_special = false;
            for (state, lane) in states.iter_mut().zip(lanes) {
                *state = dfa.next_state(Anchored::No, *state, lane[index]);
                is_special |= dfa.is_special(*state);
            }
            if is_special {
                for (lane, state) in states.iter().enumerate().filter(|(_, state)| dfa.is_match(**state)) {
                    self.tell(dfa, bytes, *state, lane * part + index + 1, &mut seen);
                }
            }
        }
        // What lies across the end of a part; the last part has the bytes that are left over.
        for (lane, state) in states.into_iter().enumerate() {
            let next = (lane + 1) * part;
            let last = if lane + 1 == LANES { bytes.len() } else { (next + self.longest).min(bytes.len()) };
            let begins_here = |start: usize| lane + 1 == LANES || start < next;
            self.walk(dfa, bytes, next..last, state, |meaning, start, end| {
                if begins_here(start) {
                    seen(meaning, start, end);
                }
            });
        }
    }

    /// Tells `seen` the words that end at `end`, where the automaton is in `state`.
    #[inline]
    fn tell(
        &self,
        automaton: &impl Automaton,
        bytes: &[u8],
        state: StateID,
        end: usize,
        seen: &mut impl FnMut(T, usize, usize),
    ) {
        for which in 0..automaton.match_len(state) {
            let pattern = automaton.match_pattern(state, which).as_usize();
            let (meaning, bound, length) = self.words[pattern];
            if holds(bytes, end - length, end, bound) {
                seen(meaning, end - length, end);
            }
        }
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
        let (mut at, until) = (range.start, range.end);
        while at < until {
            // Nothing else happens in here, so that the state stays in a register.
            let ahead = bytes[at..until].iter().position(|byte| {
                state = automaton.next_state(Anchored::No, state, *byte);
                automaton.is_special(state)
            });
            let Some(ahead) = ahead else { break };
            at += ahead + 1;
            // Dead states are special too: an unanchored standard automaton has none on its way.
            if automaton.is_match(state) {
                self.tell(automaton, bytes, state, at, &mut seen);
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

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_read_in_parts_as_it_is_in_one() {
        let words = [(0_u8, Bound::Part, "aab"), (1, Bound::Head, "baaaa"), (2, Bound::Part, "b")];
        let lexicon = Lexicon::new(&words).unwrap();
        for extra in 0..9 {
            let text = "aabbaaaabaab".repeat(LONG_TEXT / 12 + 1) + &"b".repeat(extra);
            let mut parts = Vec::new();
            lexicon.read_all(text.as_bytes(), |word, start, end| parts.push((start, end, word)));
            let mut one = Vec::new();
            let seen = |word, start, end| one.push((start, end, word));
            lexicon.read(text.as_bytes(), 0..text.len(), lexicon.start(), seen);
            parts.sort_unstable();
            one.sort_unstable();
            assert!(text.len() >= LONG_TEXT && parts == one, "{extra}");
        }
    }
}
