//! What a few real calls say about all the others. Pure.

use std::time::Duration;

use empire_actors::money::Micros;
use serde::Serialize;

/// Student's t for a two-sided 95 % interval, by degrees of freedom from 1.
const T95: [f64; 29] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
];
/// The same for many degrees of freedom.
const Z95: f64 = 1.960;

/// One sampled call, as settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleCall {
    /// Output tokens, thinking included.
    pub output_tokens: u64,
    /// How long it took.
    pub took: Duration,
    /// What was billed.
    pub cost: Micros,
}

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The best guess.
    pub mean: f64,
    /// The lower end; not below 0. Equal to the mean where one value leaves the interval unknown.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What a sample of calls to one model showed, per call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleStats {
    /// The model that was called.
    pub model: String,
    /// How many calls.
    pub calls: u64,
    /// How many items shared each of them.
    pub items_per_call: u64,
    /// Output tokens of a call.
    pub output_tokens: Estimate,
    /// Seconds a call took.
    pub seconds: Estimate,
    /// Micro-dollars a call cost.
    pub cost: Estimate,
    #[serde(skip)]
    spread: Spread,
}

/// Standard deviations, kept for scaling.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Spread {
    output_tokens: f64,
    seconds: f64,
    cost: f64,
}

impl SampleStats {
    /// What `calls` of `items_per_call` items each showed about `model`, with `remaining` calls
    /// still to make. `None` without calls.
    #[must_use]
    pub fn of(model: &str, items_per_call: u64, calls: &[SampleCall], remaining: u64) -> Option<SampleStats> {
        let outputs: Vec<f64> = calls.iter().map(|call| call.output_tokens as f64).collect();
        let seconds: Vec<f64> = calls.iter().map(|call| call.took.as_secs_f64()).collect();
        let costs: Vec<f64> = calls.iter().map(|call| call.cost.0 as f64).collect();
        let n = calls.len() as u64;
        let of = |values: &[f64]| {
            let (mean, deviation) = moments(values)?;
            Some((around(mean, mean_half_width(deviation, n, remaining)), deviation))
        };
        let (output_tokens, output_spread) = of(&outputs)?;
        let (seconds, seconds_spread) = of(&seconds)?;
        let (cost, cost_spread) = of(&costs)?;
        Some(SampleStats {
            model: model.to_owned(),
            calls: n,
            items_per_call: items_per_call.max(1),
            output_tokens,
            seconds,
            cost,
            spread: Spread { output_tokens: output_spread, seconds: seconds_spread, cost: cost_spread },
        })
    }

    /// Output tokens of `remaining` calls together.
    #[must_use]
    pub fn total_output_tokens(&self, remaining: u64) -> Estimate {
        self.total(self.output_tokens.mean, self.spread.output_tokens, remaining)
    }

    /// Seconds of `remaining` calls one after the other.
    #[must_use]
    pub fn total_seconds(&self, remaining: u64) -> Estimate {
        self.total(self.seconds.mean, self.spread.seconds, remaining)
    }

    /// Micro-dollars of `remaining` calls together.
    #[must_use]
    pub fn total_cost(&self, remaining: u64) -> Estimate {
        self.total(self.cost.mean, self.spread.cost, remaining)
    }

    /// The sampled calls' answers are kept, so only the others are uncertain. With `n` known of
    /// `n + m`, the finite population correction makes the total's half-width
    /// `t·s·(n+m)/√n·√(m/(n+m))`, which is `t·s·√(m(n+m)/n)`.
    fn total(&self, mean: f64, deviation: f64, remaining: u64) -> Estimate {
        let (n, m) = (self.calls as f64, remaining as f64);
        let half = quantile(self.calls) * deviation * (m * (n + m) / n).sqrt();
        around(mean * m, half)
    }
}

/// A sample scaled to the calls that remain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SampledTotals {
    /// Output tokens of all items.
    pub output_tokens: Estimate,
    /// Seconds of all their calls, one after the other.
    pub call_seconds: Estimate,
    /// Micro-dollars, those of the reduce included.
    pub cost: Estimate,
}

impl Estimate {
    /// The estimate and `known` more.
    #[must_use]
    pub(super) fn plus(self, known: f64) -> Estimate {
        Estimate { mean: self.mean + known, low: self.low + known, high: self.high + known }
    }

    /// The estimate times `factor`.
    #[must_use]
    pub(super) fn times(self, factor: f64) -> Estimate {
        Estimate { mean: self.mean * factor, low: self.low * factor, high: self.high * factor }
    }
}

fn around(mean: f64, half: f64) -> Estimate {
    Estimate { mean, low: (mean - half).max(0.0), high: mean + half }
}

/// Mean and standard deviation (of a sample); `None` of nothing.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 }))
}

/// The half-width of the mean's interval, with the finite population correction.
fn mean_half_width(deviation: f64, sampled: u64, remaining: u64) -> f64 {
    let (n, population) = (sampled as f64, (sampled + remaining) as f64);
    quantile(sampled) * deviation / n.sqrt() * (remaining as f64 / population).sqrt()
}

fn quantile(sampled: u64) -> f64 {
    usize::try_from(sampled.saturating_sub(2)).ok().and_then(|index| T95.get(index)).copied().unwrap_or(Z95)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(outputs: impl IntoIterator<Item = u64>) -> Vec<SampleCall> {
        outputs
            .into_iter()
            .map(|output_tokens| SampleCall {
                output_tokens,
                took: Duration::from_secs(2),
                cost: Micros(output_tokens * 4),
            })
            .collect()
    }

    #[test]
    fn twenty_calls_give_a_student_interval() {
        let stats = SampleStats::of("kimi", 1, &calls((0..20).map(|i| 300 + 10 * (i % 5))), 480).unwrap();
        assert!((stats.output_tokens.mean - 320.0).abs() < 1e-9);
        // s = √(20·200/19) = 14.51, t(19) = 2.093, √(480/500) = 0.980
        let half = 2.093 * (4_000.0_f64 / 19.0).sqrt() / 20.0_f64.sqrt() * (480.0_f64 / 500.0).sqrt();
        assert!((stats.output_tokens.high - 320.0 - half).abs() < 1e-9);
        assert_eq!(stats.seconds, Estimate { mean: 2.0, low: 2.0, high: 2.0 });
        let total = stats.total_cost(480);
        assert!((total.mean - 480.0 * 1_280.0).abs() < 1e-6);
        assert!(total.low < total.mean && total.mean < total.high);
    }

    #[test]
    fn nothing_left_is_certain_and_nothing_sampled_is_unknown() {
        let stats = SampleStats::of("kimi", 1, &calls([1, 100, 1_000]), 0).unwrap();
        assert_eq!(stats.output_tokens.low, stats.output_tokens.high);
        assert_eq!(stats.total_cost(0), Estimate { mean: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(SampleStats::of("kimi", 1, &[], 10), None);
    }

    #[test]
    fn few_calls_use_t_and_many_the_normal_curve() {
        assert_eq!(quantile(2), 12.706);
        assert_eq!(quantile(20), 2.093);
        assert_eq!(quantile(30), 2.045);
        assert_eq!(quantile(31), 1.960);
    }

    /// Every sample of two out of four: the corrected total's error never exceeds its variance
    /// formula on average, which pins the correction factor.
    #[test]
    fn the_correction_matches_all_samples_of_a_small_population() {
        let population = [10.0, 20.0, 40.0, 70.0];
        let (_, deviation) = moments(&population).unwrap();
        let mut squared_error = 0.0;
        for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            let rest = population.iter().sum::<f64>() - population[a] - population[b];
            squared_error += ((population[a] + population[b]) / 2.0 * 2.0 - rest).powi(2) / 6.0;
        }
        let (n, m) = (2.0, 2.0);
        assert!((squared_error - deviation * deviation * m * (n + m) / n).abs() < 1e-9);
    }
}
