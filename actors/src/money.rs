//! Money as integer micro-dollars, prices, and what a call costs.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of money in micro-dollars (1 USD = 1,000,000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// No money.
    pub const ZERO: Micros = Micros(0);

    /// The difference, or zero where `other` is more.
    #[must_use]
    pub fn saturating_sub(self, other: Micros) -> Micros {
        Micros(self.0.saturating_sub(other.0))
    }

    /// The amount in dollars, for display and JSON only: never compute with it.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Splits the amount into shares proportional to `weights` that add up to it exactly
    /// (largest remainder; all-zero weights count as equal ones).
    #[must_use]
    pub fn split(self, weights: &[u64]) -> Vec<Micros> {
        split_exactly(self.0, weights).into_iter().map(Micros).collect()
    }
}

/// Splits `total` into integer shares proportional to `weights`; the shares add up to `total`
/// exactly. All-zero weights count as equal ones; no weights give no shares.
#[must_use]
pub fn split_exactly(total: u64, weights: &[u64]) -> Vec<u64> {
    if weights.is_empty() {
        return Vec::new();
    }
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    let weight_of = |index: usize| if sum == 0 { 1 } else { u128::from(weights[index]) };
    let sum = if sum == 0 { weights.len() as u128 } else { sum };
    let mut shares = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for index in 0..weights.len() {
        let exact = u128::from(total) * weight_of(index);
        shares.push((exact / sum) as u64);
        remainders.push((exact % sum, index));
    }
    let mut left = total - shares.iter().sum::<u64>();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, index) in remainders {
        if left == 0 {
            break;
        }
        shares[index] += 1;
        left -= 1;
    }
    shares
}

impl Add for Micros {
    type Output = Micros;
    fn add(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Micros) {
        *self = *self + other;
    }
}

impl Sub for Micros {
    type Output = Micros;
    fn sub(self, other: Micros) -> Micros {
        debug_assert!(self.0 >= other.0, "money went below zero");
        self.saturating_sub(other)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Micros>>(amounts: I) -> Micros {
        amounts.fold(Micros::ZERO, Add::add)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest % 10_000 == 0 {
            write!(f, "${whole}.{:02}", rest / 10_000)
        } else if rest % 100 == 0 {
            write!(f, "${whole}.{:04}", rest / 100)
        } else {
            write!(f, "${whole}.{rest:06}")
        }
    }
}

/// Text that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a decimal number of dollars.
    #[error("`{0}` is no amount of money: write dollars, like 0.50, $0.50 or \"0.50 USD\"")]
    Malformed(String),
    /// More than six decimals, or too large to count.
    #[error(
        "`{0}` is no amount that can be counted: write up to six decimals and less than a trillion dollars"
    )]
    OutOfRange(String),
}

impl FromStr for Micros {
    type Err = AmountError;

    /// Reads dollars: `1`, `0.50`, `$0.50`, `0.50 USD`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(40).collect::<String>();
        let number = text.trim();
        let number = number.strip_prefix('$').unwrap_or(number);
        let number =
            number.strip_suffix("USD").or_else(|| number.strip_suffix("usd")).unwrap_or(number).trim();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) {
            return Err(AmountError::Malformed(shown()));
        }
        let significant = decimals.trim_end_matches('0');
        if significant.len() > 6 || whole.len() > 12 {
            return Err(AmountError::OutOfRange(shown()));
        }
        let whole: u64 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_| AmountError::OutOfRange(shown()))? };
        let micros: u64 =
            format!("{significant:0<6}").parse().map_err(|_| AmountError::OutOfRange(shown()))?;
        Ok(Micros(whole * 1_000_000 + micros))
    }
}

/// Tokens as a provider counted them, each kind apart (they have different prices).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input read at the full price: not from a cache and not written to one.
    pub input: u64,
    /// Input read from the provider's prompt cache.
    pub cached_input: u64,
    /// Input written to the provider's prompt cache.
    pub cache_write: u64,
    /// Output, thinking included.
    pub output: u64,
}

impl Usage {
    /// All tokens that went in.
    #[must_use]
    pub fn total_input(&self) -> u64 {
        self.input + self.cached_input + self.cache_write
    }

    /// Splits the usage by `weights`; every column adds up exactly.
    #[must_use]
    pub fn split(&self, weights: &[u64]) -> Vec<Usage> {
        let input = split_exactly(self.input, weights);
        let cached = split_exactly(self.cached_input, weights);
        let written = split_exactly(self.cache_write, weights);
        let output = split_exactly(self.output, weights);
        (0..weights.len())
            .map(|i| Usage {
                input: input[i],
                cached_input: cached[i],
                cache_write: written[i],
                output: output[i],
            })
            .collect()
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input += other.input;
        self.cached_input += other.cached_input;
        self.cache_write += other.cache_write;
        self.output += other.output;
    }
}

/// What a model costs, in micro-dollars per million tokens, a column a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Input at the full price.
    pub input: Micros,
    /// Input read from the cache.
    pub cached_input: Micros,
    /// Input written to the cache.
    pub cache_write: Micros,
    /// Output.
    pub output: Micros,
}

impl Price {
    /// A model that costs nothing (it runs on the owner's machine).
    pub const FREE: Price = Price {
        input: Micros::ZERO,
        cached_input: Micros::ZERO,
        cache_write: Micros::ZERO,
        output: Micros::ZERO,
    };

    /// Whether no token costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == Price::FREE
    }

    /// What `usage` costs, rounded up to a whole micro-dollar.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Micros {
        let parts = [
            (usage.input, self.input),
            (usage.cached_input, self.cached_input),
            (usage.cache_write, self.cache_write),
            (usage.output, self.output),
        ];
        let millionths: u128 =
            parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(price.0)).sum();
        Micros(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The most that a call can cost: every input token at the dearest input price, and the
    /// whole requested output.
    #[must_use]
    pub fn bound(&self, input_tokens: u64, max_output: u64) -> Micros {
        let dearest = self.input.max(self.cached_input).max(self.cache_write);
        let worst = Price { input: dearest, ..*self };
        worst.cost(&Usage { input: input_tokens, output: max_output, ..Usage::default() })
    }

    /// How many output tokens may be requested so that the [`bound`](Self::bound) stays within
    /// `money`; `None` if not even the input does.
    #[must_use]
    pub fn affordable_output(&self, input_tokens: u64, money: Micros) -> Option<u64> {
        let dearest = self.input.max(self.cached_input).max(self.cache_write);
        let input = u128::from(input_tokens) * u128::from(dearest.0);
        let left = (u128::from(money.0) * 1_000_000).checked_sub(input)?;
        let tokens = left.checked_div(u128::from(self.output.0)).unwrap_or(u128::MAX);
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_dollars_in_the_usual_spellings() {
        for (text, micros) in
            [("1", 1_000_000), ("0.50", 500_000), ("$0.5", 500_000), ("2.5 USD", 2_500_000), (".000001", 1)]
        {
            assert_eq!(text.parse::<Micros>(), Ok(Micros(micros)), "{text}");
        }
        for text in ["", "-1", "1e3", "one", "$", "0.0000001", "1,5"] {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
    }

    #[test]
    fn shows_as_few_decimals_as_say_it_exactly() {
        assert_eq!(Micros(12_000_000).to_string(), "$12.00");
        assert_eq!(Micros(1_700).to_string(), "$0.0017");
        assert_eq!(Micros(1).to_string(), "$0.000001");
    }

    proptest! {
        #[test]
        fn shares_add_up_exactly(total in 0u64..10_000_000, weights in prop::collection::vec(0u64..1000, 1..40)) {
            let shares = split_exactly(total, &weights);
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            prop_assert_eq!(shares.len(), weights.len());
        }

        #[test]
        fn no_call_costs_more_than_its_bound(
            input in 0u64..100_000, cached in 0u64..100_000, written in 0u64..100_000, output in 0u64..100_000,
            prices in prop::array::uniform4(0u64..50_000_000),
        ) {
            let price = Price { input: Micros(prices[0]), cached_input: Micros(prices[1]), cache_write: Micros(prices[2]), output: Micros(prices[3]) };
            let usage = Usage { input, cached_input: cached, cache_write: written, output };
            prop_assert!(price.cost(&usage) <= price.bound(usage.total_input(), output));
        }

        #[test]
        fn what_is_affordable_is_the_most_that_fits(
            input in 0u64..100_000, money in 0u64..100_000_000, prices in prop::array::uniform2(1u64..50_000_000),
        ) {
            let [input_price, output] = prices.map(Micros);
            let price = Price { input: input_price, cached_input: input_price, cache_write: input_price, output };
            match price.affordable_output(input, Micros(money)) {
                None => prop_assert!(price.bound(input, 0) > Micros(money)),
                Some(tokens) => {
                    prop_assert!(price.bound(input, tokens) <= Micros(money));
                    prop_assert!(price.bound(input, tokens + 1) > Micros(money));
                }
            }
        }

        #[test]
        fn amounts_survive_being_shown(micros in 0u64..1_000_000_000_000) {
            prop_assert_eq!(Micros(micros).to_string().parse::<Micros>(), Ok(Micros(micros)));
        }
    }
}
