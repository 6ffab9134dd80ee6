//! Percentiles: of what the harness times itself, and of the program's own histograms.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::page::Buckets;

/// Three digits of every value are kept.
const DIGITS: u8 = 3;
const SHOWN: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Times that the harness measured, in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

/// One stage's percentiles, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Of what.
    pub(crate) stage: String,
    /// How many there were.
    pub(crate) count: u64,
    /// Half of them took no longer.
    pub(crate) p50: f64,
    /// 90 % took no longer.
    pub(crate) p90: f64,
    /// 99 %.
    pub(crate) p99: f64,
    /// 99.9 %.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
    /// Whether these are upper edges of the program's buckets, not single times.
    pub(crate) from_buckets: bool,
}

impl Default for Times {
    fn default() -> Times {
        Times(Histogram::new(DIGITS).expect("three digits are within what the crate takes"))
    }
}

impl Times {
    /// Adds `count` of the same time.
    pub(crate) fn add(&mut self, time: Duration, count: u64) {
        if count > 0 {
            // It grows as it must; only a time of centuries would not fit.
            let _ = self.0.record_n(micros(time), count);
        }
    }

    /// Adds the time of something that was to happen once every `pace`: when it took longer, those
    /// that it kept from their time would have taken what was left of it, and are added as well.
    pub(crate) fn add_paced(&mut self, time: Duration, pace: Duration) {
        let _ = self.0.record_correct(micros(time), micros(pace));
    }

    /// The percentiles; `None` of nothing.
    pub(crate) fn percentiles(&self, stage: &str) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let [p50, p90, p99, p999] = SHOWN.map(|q| self.0.value_at_quantile(q) as f64 / 1e6);
        Some(Percentiles {
            stage: stage.to_owned(),
            count: self.0.len(),
            p50,
            p90,
            p99,
            p999,
            max: self.0.max() as f64 / 1e6,
            from_buckets: false,
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// The upper edge of the bucket that holds this share of all; of what is above all edges, the
/// highest edge, which it exceeds.
pub(crate) fn edge_at(buckets: &Buckets, share: f64) -> Option<f64> {
    let count: u64 = buckets.values().sum();
    let wanted = (count as f64 * share).ceil().max(1.0) as u64;
    let mut upto = 0;
    let mut highest = 0.0;
    for (edge, own) in buckets {
        upto += own;
        highest = if edge.0.is_finite() { edge.0 } else { highest };
        if upto >= wanted {
            return Some(highest);
        }
    }
    None
}

/// The percentiles of a histogram of the program.
pub(crate) fn of_buckets(stage: &str, buckets: &Buckets) -> Option<Percentiles> {
    let at = |share| edge_at(buckets, share);
    Some(Percentiles {
        stage: stage.to_owned(),
        count: buckets.values().sum(),
        p50: at(SHOWN[0])?,
        p90: at(SHOWN[1])?,
        p99: at(SHOWN[2])?,
        p999: at(SHOWN[3])?,
        max: at(1.0)?,
        from_buckets: true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::page::Edge;

    #[test]
    fn a_stall_counts_for_all_that_it_kept_from_their_time() {
        let second = Duration::from_secs(1);
        let (mut honest, mut naive) = (Times::default(), Times::default());
        for time in [Duration::from_millis(1); 90].into_iter().chain([second * 10]) {
            honest.add_paced(time, second);
            naive.add(time, 1);
        }
        let p95 = |times: &Times| times.0.value_at_quantile(0.95);
        assert!(p95(&naive) < 2_000 && p95(&honest) > 4_000_000, "{} {}", p95(&naive), p95(&honest));
        assert_eq!(honest.percentiles("x").unwrap().count, 100);
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert!(Times::default().percentiles("x").is_none());
        assert!(of_buckets("x", &Buckets::from([(Edge(1.0), 0)])).is_none());
    }

    #[test]
    fn what_is_above_all_edges_is_told_as_the_highest_edge() {
        let buckets = Buckets::from([(Edge(0.1), 1), (Edge(1.0), 0), (Edge(f64::INFINITY), 9)]);
        assert_eq!(edge_at(&buckets, 0.05), Some(0.1));
        assert_eq!(edge_at(&buckets, 0.99), Some(1.0));
    }

    proptest! {
        #[test]
        fn an_edge_is_no_lower_than_the_exact_percentile_and_within_its_bucket(
            values in prop::collection::vec(0.0..10.0f64, 1..200), share in 0.01..1.0f64,
        ) {
            let edges = [0.5, 1.0, 2.0, 5.0, 10.0];
            let mut buckets: Buckets = edges.iter().map(|edge| (Edge(*edge), 0)).collect();
            for value in &values {
                let edge = edges.iter().find(|edge| value <= edge).unwrap();
                *buckets.get_mut(&Edge(*edge)).unwrap() += 1;
            }
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let found = edge_at(&buckets, share).unwrap();
            prop_assert_eq!(found, *edges.iter().find(|edge| exact <= **edge).unwrap());
        }
    }
}
