//! What a scenario says about one provider, as its YAML spells it. Values are checked while
//! they are read, so that an error carries its line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::dice::{Dice, Draw};

/// How one provider behaves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderSettings {
    /// How long an answer takes.
    pub(super) latency: Latency,
    /// Output tokens of an answer, unless it needs more or may have fewer.
    pub(super) output_tokens: TokenRange,
    /// How many answers read part of their input from a prompt cache.
    pub(super) cached_input_rate: Rate,
    /// How many times the tokens of a call are told and billed: above 1, the vendor takes more than
    /// was asked for.
    pub(super) bills_times: Times,
    /// Kimi only: its prompt cache holds the beginnings of earlier prompts. (Claude's always holds
    /// what requests mark.)
    pub(super) prefix_cache: bool,
    /// How many answers say nothing about usage.
    pub(super) no_usage_rate: Rate,
    /// Errors, each with its rate and when it can come.
    pub(super) errors: Vec<ErrorRule>,
    /// Times at which nothing works.
    pub(super) outages: Vec<Outage>,
    /// How many calls are never answered.
    pub(super) hang_rate: Rate,
    /// How many answers come drop by drop.
    pub(super) drip_rate: Rate,
    /// How long such an answer's body takes.
    pub(super) drip_ms: DripTime,
    /// How many answers cannot be used as they are.
    pub(super) garbage_rate: Rate,
    /// In which ways; all of them if none is named.
    pub(super) garbage_kinds: Vec<Garbage>,
    /// How many answers do not fit the schema.
    pub(super) schema_break_rate: Rate,
    /// How many parts of a packed answer are missing.
    pub(super) pack_drop_rate: Rate,
    /// How many parts of a packed answer come twice.
    pub(super) pack_double_rate: Rate,
    /// Answers until the account is empty.
    pub(super) dry_after_calls: Option<Spanned<u64>>,
    /// Calls at once above which further ones are refused.
    pub(super) concurrency: Option<usize>,
    /// The models that exist; any model does if this is left out.
    pub(super) models: Option<Vec<String>>,
    /// Ollama only: models that exist and are served elsewhere, and where.
    pub(super) remote_models: BTreeMap<String, String>,
}

/// A factor from 1 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Times(pub(super) u64);

impl Default for Times {
    fn default() -> Self {
        Times(1)
    }
}

impl TryFrom<u64> for Times {
    type Error = String;

    fn try_from(times: u64) -> Result<Self, Self::Error> {
        if (1..=1_000).contains(&times) {
            Ok(Times(times))
        } else {
            Err(format!("{times} is out of range: give a whole number from 1 to 1000"))
        }
    }
}

/// A distribution of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Latency {
    /// Always the same.
    Fixed(Millis),
    /// Anything between, equally likely.
    Uniform(UniformMillis),
    /// Mostly near the median, with a long tail.
    Lognormal { median: Millis, sigma: Millis, max: Option<Millis> },
    /// Mostly short, with a long tail.
    Exponential { mean: Millis, max: Option<Millis> },
}

impl Default for Latency {
    fn default() -> Self {
        Latency::Fixed(Millis(0.0))
    }
}

impl Latency {
    /// Draws one, in milliseconds.
    pub(super) fn draw(&self, dice: Dice) -> f64 {
        let unit = dice.unit(Draw::Latency);
        let cap =
            |ms: f64, max: &Option<Millis>| max.as_ref().map_or(ms.min(LONGEST_MS), |max| ms.min(max.0));
        match self {
            Latency::Fixed(ms) => ms.0,
            Latency::Uniform(UniformMillis { from, to }) => from + unit * (to - from),
            Latency::Lognormal { median, sigma, max } => {
                // Box and Muller's way from two even draws to a normal one.
                let radius = (-2.0 * (1.0 - unit).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * dice.unit(Draw::LatencyTail)).cos();
                cap(median.0 * (sigma.0 * normal).exp(), max)
            }
            Latency::Exponential { mean, max } => cap(-mean.0 * (1.0 - unit).ln(), max),
        }
    }
}

const LONGEST_MS: f64 = 3_600_000.0;

/// A number of milliseconds from 0 to an hour.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Millis(f64);

impl TryFrom<f64> for Millis {
    type Error = String;

    fn try_from(ms: f64) -> Result<Self, Self::Error> {
        if (0.0..=LONGEST_MS).contains(&ms) {
            Ok(Millis(ms))
        } else {
            Err(format!("{ms} is out of range: give a number from 0 to {LONGEST_MS}"))
        }
    }
}

impl Millis {
    /// As a time.
    pub(super) fn time(self) -> Duration {
        Duration::from_secs_f64(self.0 / 1_000.0)
    }
}

/// How long the body of an answer takes that comes drop by drop; two seconds if it is not said.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct DripTime(pub(super) Millis);

impl Default for DripTime {
    fn default() -> Self {
        DripTime(Millis(2_000.0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "FromTo<Millis>")]
pub(super) struct UniformMillis {
    from: f64,
    to: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromTo<T> {
    from: T,
    to: T,
}

impl TryFrom<FromTo<Millis>> for UniformMillis {
    type Error = String;

    fn try_from(raw: FromTo<Millis>) -> Result<Self, Self::Error> {
        let (from, to) = (raw.from.0, raw.to.0);
        if from <= to {
            Ok(UniformMillis { from, to })
        } else {
            Err(format!("`from` ({from}) is above `to` ({to}): swap them"))
        }
    }
}

/// How many output tokens an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FromTo<u64>")]
pub(super) struct TokenRange {
    from: u64,
    to: u64,
}

impl Default for TokenRange {
    fn default() -> Self {
        TokenRange { from: 40, to: 160 }
    }
}

impl TryFrom<FromTo<u64>> for TokenRange {
    type Error = String;

    fn try_from(raw: FromTo<u64>) -> Result<Self, Self::Error> {
        const MOST: u64 = 1_000_000;
        if raw.from <= raw.to && raw.to <= MOST {
            Ok(TokenRange { from: raw.from, to: raw.to })
        } else {
            Err(format!("tokens from {} to {} make no range: from <= to <= {MOST}", raw.from, raw.to))
        }
    }
}

impl TokenRange {
    /// Draws one.
    pub(super) fn draw(self, dice: Dice) -> u64 {
        self.from + dice.below(Draw::OutputTokens, self.to - self.from + 1)
    }
}

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Rate(pub(super) f64);

impl TryFrom<f64> for Rate {
    type Error = String;

    fn try_from(rate: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&rate) {
            Ok(Rate(rate))
        } else {
            Err(format!("{rate} is no rate: give a share from 0 to 1"))
        }
    }
}

/// An error that comes at a rate, perhaps only at certain times.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorRule {
    /// A name from the dialect's table, `disconnect` or `hang`.
    pub(super) shape: Spanned<String>,
    /// How many of the calls it meets.
    #[serde(default = "always")]
    pub(super) rate: Rate,
    /// It meets only that many calls from the start.
    pub(super) for_first: Option<u64>,
    /// It meets only calls with these numbers, from 0.
    pub(super) calls: Option<Window>,
    /// It comes only in these seconds from the start.
    pub(super) seconds: Option<Window>,
    /// Seconds that the answer asks to wait, where the shape says any.
    #[serde(default = "one_second")]
    pub(super) wait_seconds: u32,
}

fn always() -> Rate {
    Rate(1.0)
}

fn one_second() -> u32 {
    1
}

/// A time at which nothing works.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outage {
    /// In these seconds from the start.
    pub(super) seconds: Option<Window>,
    /// Or for calls with these numbers, from 0.
    pub(super) calls: Option<Window>,
    /// What happens: `disconnect` (the default), `hang`, or a name from the dialect's table.
    #[serde(rename = "as")]
    pub(super) answer: Option<Spanned<String>>,
}

/// From a number up to but not including another one, perhaps again and again.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "RawWindow")]
pub(super) struct Window {
    from: f64,
    to: f64,
    every: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    #[serde(default)]
    from: f64,
    to: Option<f64>,
    every: Option<f64>,
}

impl TryFrom<RawWindow> for Window {
    type Error = String;

    fn try_from(raw: RawWindow) -> Result<Self, Self::Error> {
        let to = raw.to.or(raw.every).unwrap_or(f64::INFINITY);
        let every = raw.every.unwrap_or(f64::INFINITY);
        if raw.from >= 0.0 && raw.from < to && to <= every {
            Ok(Window { from: raw.from, to, every })
        } else {
            Err(format!(
                "a window from {} to {to}, every {every}, is empty: 0 <= from < to <= every",
                raw.from
            ))
        }
    }
}

impl Window {
    /// Whether `position` lies inside.
    pub(super) fn contains(&self, position: f64) -> bool {
        let position = if self.every.is_finite() { position % self.every } else { position };
        (self.from..self.to).contains(&position)
    }
}

/// A way in which a billed answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Garbage {
    /// The body is no JSON.
    Malformed,
    /// The connection ends in the middle of the body.
    Truncated,
    /// The text is empty.
    Empty,
    /// The text ends early and says so.
    CutOff,
    /// Thinking used up all the output: empty, and ended by length.
    AllThinking,
}

impl Garbage {
    /// All of them.
    pub(super) const ALL: [Garbage; 5] =
        [Garbage::Malformed, Garbage::Truncated, Garbage::Empty, Garbage::CutOff, Garbage::AllThinking];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dialect::Dialect;
    use super::*;

    fn draws(yaml: &str) -> Vec<f64> {
        let latency: Latency = serde_saphyr::from_str(yaml).unwrap();
        let content = blake3::hash(b"x");
        (0..2_000).map(|nth| latency.draw(Dice::new(1, Dialect::Ollama, &content, nth))).collect()
    }

    #[test]
    fn latencies_follow_their_distribution() {
        assert!(draws("fixed: 20").iter().all(|ms| *ms == 20.0));
        assert!(draws("uniform: {from: 5, to: 30}").iter().all(|ms| (5.0..30.0).contains(ms)));
        let mut lognormal = draws("lognormal: {median: 12, sigma: 0.5, max: 60}");
        lognormal.sort_by(f64::total_cmp);
        assert!((11.0..13.0).contains(&lognormal[1_000]) && lognormal[1_999] <= 60.0);
        let mean = draws("exponential: {mean: 10}").iter().sum::<f64>() / 2_000.0;
        assert!((9.0..11.0).contains(&mean), "{mean}");
    }

    #[test]
    fn nonsense_is_refused() {
        for yaml in ["fixed: -1", "uniform: {from: 5, to: 1}", "sometimes: 3", "fixed: .nan"] {
            assert!(serde_saphyr::from_str::<Latency>(yaml).is_err(), "{yaml}");
        }
        for yaml in ["{from: 5, to: 1}", "{from: -1}", "{to: 9, every: 3}"] {
            assert!(serde_saphyr::from_str::<Window>(yaml).is_err(), "{yaml}");
        }
    }

    proptest! {
        #[test]
        fn windows_repeat(from in 0.0..5.0f64, length in 0.1..5.0f64, position in 0.0..10.0f64, round in 0u32..5) {
            let window = Window { from, to: from + length, every: 10.0 };
            prop_assume!(((position - from).abs() > 1e-6) && ((position - from - length).abs() > 1e-6));
            let inside = (from..from + length).contains(&position);
            prop_assert_eq!(window.contains(position + 10.0 * f64::from(round)), inside);
        }
    }
}
