//! The register of a passage: how its plain words lean, towards contracts and courts or towards
//! news, lessons, talk and code.
//!
//! The weights of `register.txt` were fitted by logistic regression, with a penalty on large ones, to
//! the halves of the corpora that may be tuned on. A word counts once; what the words of a passage
//! add up to is divided by the square root of how many there are, so that short ones can tell.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// Points that the register adds to or takes from a score at most.
pub(super) const MOST: i32 = 45;
/// Points of a passage without any word of the list.
const PLAIN: i32 = -22;

static REGISTER: LazyLock<Register> = LazyLock::new(Register::new);

/// A word, its beginning or a pair of neighbours, and the points of one.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Hash of the words; none is zero.
    key: u64,
    points: i16,
    /// Which of the words it is.
    index: u16,
}

/// An open table, at most half full.
struct Register {
    slots: Vec<Slot>,
    words: usize,
}

impl Register {
    fn new() -> Self {
        let mut points = 0_i16;
        let mut words = Vec::new();
        for line in include_str!("register.txt").lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix(' ') {
                Some(line) => {
                    let line = line.split('|').map(str::trim).filter(|word| !word.is_empty());
                    words.extend(line.map(|word| (word, points)));
                }
                None => points = line.parse().unwrap_or_default(),
            }
        }
        let mut register =
            Self { slots: vec![Slot::default(); (2 * words.len()).next_power_of_two()], words: words.len() };
        for (index, (word, points)) in (0_u16..).zip(words) {
            let (mut last, mut key) = (0, 0);
            each_word(word.trim_end_matches('*'), |word| {
                if let Piece::Word(word) = word {
                    (last, key) = (word, if last == 0 { word } else { pair(last, word) });
                }
            });
            let key = if word.ends_with('*') { beginning(key) } else { key };
            let at = register.place(key);
            register.slots[at] = Slot { key, points, index };
        }
        register
    }

    /// Where the slot of `key` is, or would be.
    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        // Only the bits of the mask count.
        let mut at = (key >> 20) as usize & mask;
        while self.slots[at].key != 0 && self.slots[at].key != key {
            at = (at + 1) & mask;
        }
        at
    }
}

/// How the words of `passage` lean: points, at most [`MOST`] either way.
pub(super) fn lean(passage: &str) -> i32 {
    let register = &*REGISTER;
    let mut seen = vec![false; register.words];
    let (mut sum, mut count, mut last) = (0_i64, 0_u64, 0);
    let mut add = |key| {
        let slot = register.slots[register.place(key)];
        if slot.key == key && !std::mem::replace(&mut seen[usize::from(slot.index)], true) {
            sum += i64::from(slot.points);
        }
    };
    each_word(passage, |piece| {
        let word = match piece {
            Piece::Word(word) => word,
            Piece::Beginning(key) => return add(key),
        };
        add(word);
        if last != 0 {
            add(pair(last, word));
        }
        last = word;
        count += 1;
    });
    // The root of the count, in sixteenths.
    let root = i64::try_from((count * 256).isqrt().max(16)).unwrap_or(i64::MAX);
    let points = (sum * 16 / root).clamp(i64::from(-2 * MOST), i64::from(2 * MOST));
    (PLAIN + i32::try_from(points).unwrap_or_default()).clamp(-MOST, MOST)
}

const fn mixed(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

const fn pair(first: u64, second: u64) -> u64 {
    mixed(first, second) | 1
}

const fn beginning(word: u64) -> u64 {
    mixed(word | 1, '*' as u64) | 1
}

/// What a text is read as, hashed.
enum Piece {
    Word(u64),
    /// The beginning of a longer word, in [`BEGINNINGS`] letters.
    Beginning(u64),
}

/// Letters of the beginnings that count.
const BEGINNINGS: RangeInclusive<usize> = 5..=8;

/// Tells `seen` the words: runs of letters in small ones and their beginnings, any number, some signs.
fn each_word(text: &str, mut seen: impl FnMut(Piece)) {
    const NUMBER: u64 = mixed(1, '0' as u64) | 1;
    let (mut word, mut letters) = (0, 0);
    for c in text.chars() {
        let is_letter = c.is_alphabetic();
        let ends = if is_letter { word == NUMBER } else { word != NUMBER || !c.is_numeric() };
        if word != 0 && ends {
            seen(Piece::Word(word | 1));
            (word, letters) = (0, 0);
        }
        if is_letter {
            if BEGINNINGS.contains(&letters) {
                seen(Piece::Beginning(beginning(word)));
            }
            letters += 1;
            word = match c.to_ascii_lowercase() {
                c if c.is_ascii() => mixed(word.max(1), u64::from(c)),
                c => c.to_lowercase().fold(word.max(1), |word, c| mixed(word, u64::from(c))),
            };
        } else if c.is_numeric() {
            word = NUMBER;
        } else if matches!(
            c,
            '§' | '"' | '“' | '„' | '«' | '(' | ')' | ':' | ';' | '?' | '!' | '€' | '$' | '£'
        ) {
            seen(Piece::Word(mixed(1, u64::from(c)) | 1));
        }
    }
    if word != 0 {
        seen(Piece::Word(word | 1));
    }
}
