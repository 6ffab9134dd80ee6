//! Chance, made of the seed and a request's content: the same request meets the same fate.

use super::dialect::Dialect;

/// What a draw is for. Draws for different purposes are independent, so that changing one
/// setting of a scenario moves no other decision.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(super) enum Draw {
    Error = 1,
    Hang,
    Garbage,
    GarbageKind,
    SchemaBreak,
    SchemaBreakKind,
    Latency,
    LatencyTail,
    OutputTokens,
    Cache,
    CacheWrite,
    Usage,
    Drop,
    Double,
    Drip,
}

/// The draws of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(u64);

impl Dice {
    /// For the `nth` request (from 0) with this content.
    pub(super) fn new(seed: u64, dialect: Dialect, content: &blake3::Hash, nth: u32) -> Dice {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(dialect.name().as_bytes());
        hasher.update(content.as_bytes());
        hasher.update(&nth.to_le_bytes());
        Dice(first_word(&hasher.finalize()))
    }

    /// A number from 0 up to but not including 1.
    pub(super) fn unit(self, draw: Draw) -> f64 {
        self.unit_of(draw, 0)
    }

    /// The same for number `index` of several draws for one purpose.
    pub(super) fn unit_of(self, draw: Draw, index: u64) -> f64 {
        const STEPS: f64 = (1u64 << 53) as f64;
        (self.word(draw, index) >> 11) as f64 / STEPS
    }

    /// Whether an event of probability `rate` happens.
    pub(super) fn hits(self, draw: Draw, rate: f64) -> bool {
        self.unit(draw) < rate
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(self, draw: Draw, bound: u64) -> u64 {
        self.word(draw, 0) % bound.max(1)
    }

    fn word(self, draw: Draw, index: u64) -> u64 {
        mix(mix(self.0 ^ (draw as u64)).wrapping_add(index))
    }
}

/// The first eight bytes of a hash as a number.
pub(super) fn first_word(hash: &blake3::Hash) -> u64 {
    hash.as_bytes()[..8].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// Spreads every bit of `word` over all of the result (the finaliser of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_dialect_content_and_turn_alone() {
        let (content, other) = (blake3::hash(b"a"), blake3::hash(b"b"));
        let draw = |dice: Dice| dice.unit(Draw::Error).to_bits();
        let first = Dice::new(1, Dialect::Kimi, &content, 0);
        assert_eq!(draw(first), draw(Dice::new(1, Dialect::Kimi, &content, 0)));
        for different in [
            Dice::new(2, Dialect::Kimi, &content, 0),
            Dice::new(1, Dialect::Claude, &content, 0),
            Dice::new(1, Dialect::Kimi, &other, 0),
            Dice::new(1, Dialect::Kimi, &content, 1),
        ] {
            assert_ne!(draw(first), draw(different));
        }
    }

    #[test]
    fn rates_are_met() {
        let content = blake3::hash(b"content");
        let hits = (0..10_000u32)
            .filter(|nth| Dice::new(7, Dialect::Ollama, &content, *nth).hits(Draw::Garbage, 0.3))
            .count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
    }
}
