//! How long a number of calls takes under each limit of a provider, and which limit binds.
//! Pure; the plan and the running job's estimate both use it.

use std::time::Duration;

use empire_actors::model::Limits;
use serde::{Serialize, Serializer};

use crate::text;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What limits the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Calls in flight at once.
    Concurrency,
    /// Calls in flight at once, fewer than the provider allows, because the money that is left
    /// covers the reservations of no more.
    Reservations,
    /// Calls in any minute.
    RequestsPerMinute,
    /// Calls in any hour.
    RequestsPerHour,
    /// Calls in any 24 hours.
    RequestsPerDay,
    /// Input plus requested output tokens in any minute.
    TokensPerMinute,
    /// The same in any 24 hours.
    TokensPerDay,
    /// None of the limits: what the provider was seen to deliver.
    Observed,
}

/// The time that one limit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LimitTime {
    /// Which.
    pub limit: LimitKind,
    /// What it allows in its window (a rate per hour for `observed`).
    pub allowed: u64,
    /// The time if no other limit held, in whole seconds in JSON.
    #[serde(rename = "seconds", serialize_with = "whole_seconds")]
    pub time: Duration,
}

impl LimitTime {
    /// The limit in a few words, such as `4 slots` or `10,000/day`.
    #[must_use]
    pub fn words(&self) -> String {
        let allowed = text::thousands(self.allowed);
        match self.limit {
            LimitKind::Concurrency => text::count(self.allowed, "slot"),
            LimitKind::Reservations => format!("money for {allowed} at once"),
            LimitKind::RequestsPerMinute => format!("{allowed}/min"),
            LimitKind::RequestsPerHour => format!("{allowed}/h"),
            LimitKind::RequestsPerDay => format!("{allowed}/day"),
            LimitKind::TokensPerMinute => format!("{allowed} tokens/min"),
            LimitKind::TokensPerDay => format!("{allowed} tokens/day"),
            LimitKind::Observed => format!("seen {allowed}/h"),
        }
    }
}

/// What has to be got through the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls to make.
    pub calls: u64,
    /// How long one call takes.
    pub per_call: Duration,
    /// Input plus requested output tokens of all calls.
    pub tokens: u64,
    /// How many calls' reservations the money covers at once; `None` if there is no cap.
    pub covered_at_once: Option<u64>,
    /// Calls sent in the last hour.
    pub sent_last_hour: u64,
    /// Calls sent in the last 24 hours.
    pub sent_last_day: u64,
}

/// The time under each limit that there is, in a fixed order.
#[must_use]
pub fn times(limits: &Limits, load: &Load) -> Vec<LimitTime> {
    let slots = u64::from(limits.concurrency.max(1));
    let covered = load.covered_at_once.map_or(slots, |covered| covered.clamp(1, slots));
    let mut times = vec![LimitTime {
        limit: if covered < slots && covered < load.calls {
            LimitKind::Reservations
        } else {
            LimitKind::Concurrency
        },
        allowed: covered,
        time: scaled(load.per_call, load.calls.div_ceil(covered), 1),
    }];
    let mut push = |limit, allowed: Option<u64>, time: &dyn Fn(u64) -> Duration| {
        if let Some(allowed) = allowed.filter(|allowed| *allowed > 0) {
            times.push(LimitTime { limit, allowed, time: time(allowed) });
        }
    };
    push(LimitKind::RequestsPerMinute, limits.requests_per_minute.map(u64::from), &|allowed| {
        scaled(MINUTE, load.calls, allowed)
    });
    push(LimitKind::RequestsPerHour, limits.requests_per_hour.map(u64::from), &|allowed| {
        windowed(HOUR, load.calls, load.sent_last_hour, allowed)
    });
    push(LimitKind::RequestsPerDay, limits.requests_per_day.map(u64::from), &|allowed| {
        windowed(DAY, load.calls, load.sent_last_day, allowed)
    });
    push(LimitKind::TokensPerMinute, tokens_per_minute(limits), &|allowed| {
        scaled(MINUTE, load.tokens, allowed)
    });
    push(LimitKind::TokensPerDay, limits.tokens_per_day, &|allowed| windowed(DAY, load.tokens, 0, allowed));
    times
}

/// The most tokens of both kinds that go in a minute. Where input and output are limited apart,
/// that is what both allow together.
fn tokens_per_minute(limits: &Limits) -> Option<u64> {
    let apart = limits.input_tokens_per_minute.zip(limits.output_tokens_per_minute);
    let together = apart.map(|(input, output)| input.saturating_add(output));
    limits.tokens_per_minute.into_iter().chain(together).min()
}

/// The limit that takes longest; of equal ones the first.
#[must_use]
pub fn binding(times: &[LimitTime]) -> Option<LimitTime> {
    times.iter().copied().reduce(|longest, next| if next.time > longest.time { next } else { longest })
}

/// A long window is no pace: what still fits into it may go at once, and only more than that
/// has to wait for the window to move on.
fn windowed(window: Duration, calls: u64, sent: u64, allowed: u64) -> Duration {
    if calls == 0 || calls.saturating_add(sent) <= allowed {
        return Duration::ZERO;
    }
    scaled(window, calls.saturating_add(sent), allowed)
}

/// `unit × times ÷ by`, in whole milliseconds rounded up, saturating.
pub(crate) fn scaled(unit: Duration, times: u64, by: u64) -> Duration {
    let millis = unit.as_millis().saturating_mul(u128::from(times)).div_ceil(u128::from(by.max(1)));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

pub(crate) fn whole_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(up(*time))
}

pub(crate) fn optional_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(up).serialize(serializer)
}

fn up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrency: u32, rpm: Option<u32>, rpd: Option<u32>, tpm: Option<u64>) -> Limits {
        Limits {
            requests_per_minute: rpm,
            requests_per_day: rpd,
            tokens_per_minute: tpm,
            ..Limits::slots(concurrency)
        }
    }

    fn load(calls: u64, per_call: u64, tokens_each: u64) -> Load {
        Load {
            calls,
            per_call: Duration::from_secs(per_call),
            tokens: calls * tokens_each,
            covered_at_once: None,
            sent_last_hour: 0,
            sent_last_day: 0,
        }
    }

    fn bound(limits: &Limits, load: &Load) -> (String, Duration) {
        let longest = binding(&times(limits, load)).unwrap();
        (longest.words(), longest.time)
    }

    fn hours(time: Duration) -> f64 {
        (time.as_secs_f64() / 360.0).round() / 10.0
    }

    /// The tables of the published tiers and of the first system's own rules.
    #[test]
    fn half_a_million_calls_take_what_the_tiers_say() {
        let calls = 500_000;
        let (binds, time) = bound(&limits(50, Some(100), None, None), &load(calls, 5, 550));
        assert_eq!((binds.as_str(), hours(time)), ("100/min", 83.3));

        let (binds, time) = bound(&limits(50, Some(100), Some(10_000), None), &load(calls, 5, 550));
        assert_eq!((binds.as_str(), time), ("10,000/day", 50 * DAY));

        let (binds, time) = bound(&limits(1, Some(3), None, Some(500_000)), &load(calls, 5, 1_000));
        assert_eq!((binds.as_str(), text::duration(time).as_str()), ("3/min", "116 days"));

        let (binds, time) = bound(&limits(50, Some(200), None, Some(2_000_000)), &load(calls, 5, 1_000));
        assert_eq!((binds.as_str(), hours(time)), ("200/min", 41.7));

        let (binds, time) = bound(&limits(100, Some(500), None, Some(3_000_000)), &load(calls, 5, 1_000));
        assert_eq!((binds.as_str(), hours(time)), ("500/min", 16.7));

        let (binds, time) = bound(&limits(200, Some(5_000), None, Some(3_000_000)), &load(calls, 2, 1_000));
        assert_eq!((binds.as_str(), hours(time)), ("3,000,000 tokens/min", 2.8));

        let (binds, time) =
            bound(&limits(1_000, Some(10_000), None, Some(5_000_000)), &load(calls, 5, 1_000));
        assert_eq!((binds.as_str(), hours(time)), ("5,000,000 tokens/min", 1.7));

        let (_, time) = bound(&limits(1_000, Some(10_000), None, Some(5_000_000)), &load(calls, 5, 550));
        assert_eq!(time, Duration::from_secs(55 * 60));

        let (binds, time) = bound(&limits(10, None, None, None), &load(calls, 1, 550));
        assert_eq!((binds.as_str(), hours(time)), ("10 slots", 13.9));

        let (binds, time) = bound(&limits(1, None, None, None), &load(calls, 1, 550));
        assert_eq!((binds.as_str(), text::duration(time).as_str()), ("1 slot", "5 days 19 h"));
    }

    #[test]
    fn a_day_binds_only_when_it_is_used_up() {
        let day = limits(50, None, Some(10_000), None);
        let fresh = load(4_000, 5, 0);
        assert_eq!(bound(&day, &fresh).0, "50 slots");
        let late = Load { sent_last_day: 8_000, ..fresh };
        assert_eq!(bound(&day, &late), ("10,000/day".into(), Duration::from_millis(103_680_000)));
    }

    #[test]
    fn money_for_few_reservations_means_few_slots() {
        let few = Load { covered_at_once: Some(7), ..load(1_000, 2, 0) };
        assert_eq!(bound(&limits(50, None, None, None), &few).0, "money for 7 at once");
    }
}
