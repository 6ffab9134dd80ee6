//! Sets of ASCII characters, and how far a run of one reaches.

/// A set of ASCII characters: what a part of a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Alphabet(u128);

const DIGITS: &[u8] = b"0123456789";
const LOWERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Alphabet {
    pub(crate) const DIGIT: Alphabet = Alphabet::of(&[DIGITS]);
    pub(crate) const ALNUM: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS]);
    pub(crate) const HEX: Alphabet = Alphabet::of(&[DIGITS, b"abcdefABCDEF"]);
    pub(crate) const TOKEN: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"_-"]);
    pub(crate) const DOTTED: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"_-."]);
    pub(crate) const BASE64: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"+/="]);
    /// Both alphabets of base64, without the padding.
    pub(crate) const BASE64_ANY: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"+/_-"]);
    pub(crate) const BEARER: Alphabet = Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"._~+/=-"]);
    pub(crate) const BASE32: Alphabet = Alphabet::of(&[UPPERS, b"234567"]);

    pub(crate) const fn of(sets: &[&[u8]]) -> Alphabet {
        let (mut bits, mut set) = (0_u128, 0);
        while set < sets.len() {
            let mut index = 0;
            while index < sets[set].len() {
                bits |= 1 << sets[set][index];
                index += 1;
            }
            set += 1;
        }
        Alphabet(bits)
    }

    /// The alphabet that rules call `name`.
    pub(crate) fn named(name: &str) -> Option<Alphabet> {
        Some(match name {
            "digit" => Alphabet::DIGIT,
            "lower" => Alphabet::of(&[LOWERS]),
            "upper" => Alphabet::of(&[UPPERS]),
            "alpha" => Alphabet::of(&[LOWERS, UPPERS]),
            "alnum" => Alphabet::ALNUM,
            "lnum" => Alphabet::of(&[DIGITS, LOWERS]),
            "unum" => Alphabet::of(&[DIGITS, UPPERS]),
            "hex" => Alphabet::of(&[DIGITS, b"abcdef"]),
            "uhex" => Alphabet::of(&[DIGITS, b"ABCDEF"]),
            "xhex" => Alphabet::HEX,
            "word" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"_"]),
            "token" => Alphabet::TOKEN,
            "dotted" => Alphabet::DOTTED,
            "slug" => Alphabet::of(&[DIGITS, LOWERS, b"-"]),
            "dashed" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"-"]),
            "b64" => Alphabet::BASE64,
            "b64url" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"_-="]),
            "b32" => Alphabet::BASE32,
            "b58" => Alphabet::of(&[b"123456789ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnopqrstuvwxyz"]),
            "bech32" => Alphabet::of(&[b"ACDEFGHJKLMNPQRSTUVWXYZ", b"023456789"]),
            "path" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"_-/."]),
            "bcrypt" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"./"]),
            "phc" => Alphabet::of(&[DIGITS, LOWERS, UPPERS, b"./$=,+-"]),
            "bearer" => Alphabet::BEARER,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) const fn has(self, byte: u8) -> bool {
        byte < 128 && (self.0 >> byte) & 1 == 1
    }

    /// Where the run of this alphabet that begins at `from` ends, `most` bytes on at the latest.
    #[inline]
    pub(crate) fn run(self, bytes: &[u8], from: usize, most: usize) -> usize {
        let end = bytes.len().min(from.saturating_add(most));
        bytes[from.min(end)..end].iter().position(|byte| !self.has(*byte)).map_or(end, |length| from + length)
    }

    /// Where the run of this alphabet that ends at `to` begins, `most` bytes back at the farthest.
    #[inline]
    pub(crate) fn run_back(self, bytes: &[u8], to: usize, most: usize) -> usize {
        let start = to.saturating_sub(most);
        bytes[start..to].iter().rposition(|byte| !self.has(*byte)).map_or(start, |last| start + last + 1)
    }

    /// Its characters, lowest first.
    pub(crate) fn characters(self) -> Vec<u8> {
        (0..128).filter(|byte| self.has(*byte)).collect()
    }

    /// Whether texts of it may read like words: lower-case letters, and something to join them.
    pub(crate) fn spells_words(self) -> bool {
        self.has(b'a') && (self.has(b'-') || self.has(b'_'))
    }
}
