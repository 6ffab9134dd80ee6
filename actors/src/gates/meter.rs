//! One provider's meters: concurrency, requests a minute, hour and day, tokens a minute, and
//! when it is closed. Pure: the caller says what time it is.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::Serialize;

use crate::failure::FailureKind;
use crate::model::Limits;
use crate::ports::UnixMillis;

/// Failed connections in a row after which a provider counts as unreachable.
const UNREACHABLE_AFTER: u32 = 5;
/// Closures in a row, each with its probe turned away, after which a provider counts as closed
/// until a person acts: about two minutes, if it names no waits.
const BUSY_FOR_GOOD_AFTER: u32 = 25;
/// The shortest and longest pause after a rate limit or overload without a named wait.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Part of a minute's tokens that may be used at once; the rest trickles in. Burst and trickle
/// together never pass the limit in any 60 seconds.
const TOKEN_BURST_PARTS: u64 = 2;

/// The time as meters see it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since any fixed start; never goes back.
    pub running: Duration,
    /// Time of day, for what survives restarts.
    pub wall: UnixMillis,
}

/// What limits right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Calls in flight.
    Concurrency,
    /// Requests a minute.
    RequestsPerMinute,
    /// Requests an hour.
    RequestsPerHour,
    /// Requests a day.
    RequestsPerDay,
    /// Tokens a minute.
    TokensPerMinute,
    /// The provider asked everybody to wait.
    ClosedByProvider,
    /// The machine is pressed.
    Machine,
}

/// May a call go?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it is counted.
    Go,
    /// Not before this much time has passed.
    Wait(Duration, Binding),
    /// When a call in flight has ended.
    Full(Binding),
}

/// Why nothing goes to a provider any more until a person acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}: {message}", kind.words())]
pub struct Trip {
    /// What happened.
    pub kind: FailureKind,
    /// What the provider said.
    pub message: String,
}

/// What a call told about its provider.
#[derive(Debug, Clone)]
pub enum Health {
    /// It answered.
    Good,
    /// Rate limited or overloaded; with the wait it named.
    Busy(Option<Duration>),
    /// No connection.
    Unreachable(String),
    /// Nothing will work until a person acts.
    Broken(Trip),
    /// Says nothing about the provider.
    Neutral,
}

/// A meter reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls in the last hour, if it is metered.
    pub last_hour: Option<usize>,
    /// Calls in the last day, if it is metered.
    pub last_day: Option<usize>,
    /// Seconds until it opens again.
    pub closed_for: Option<f64>,
    /// Why it is tripped.
    pub tripped: Option<Trip>,
}

#[derive(Debug, Clone, Default)]
struct TestableClock(Arc<AtomicU64>);

impl Clock for TestableClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TestableClock, NoOpMiddleware<Duration>>;

/// Calls within a true sliding window, each remembered.
#[derive(Debug)]
struct Window {
    length: Duration,
    limit: usize,
    binding: Binding,
    sent: VecDeque<UnixMillis>,
}

impl Window {
    fn wait(&mut self, now: UnixMillis) -> Option<Duration> {
        let length = i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX);
        while self.sent.front().is_some_and(|at| now.0.saturating_sub(at.0) >= length) {
            self.sent.pop_front();
        }
        if self.sent.len() < self.limit {
            return None;
        }
        let free_at = self.sent[self.sent.len() - self.limit].0.saturating_add(length);
        Some(Duration::from_millis(free_at.saturating_sub(now.0).max(1).unsigned_abs()))
    }
}

/// One provider's lane.
#[derive(Debug)]
pub struct Lane {
    concurrency: u32,
    clock: TestableClock,
    requests: Option<Limiter>,
    tokens: Option<(Limiter, u64)>,
    /// What the call at the head of the queue has already taken while it waits for the rest.
    head_has_tokens: bool,
    windows: Vec<Window>,
    closed_until: Option<Duration>,
    /// After a closure one call goes first; the others follow once it was answered.
    probing: Option<Probe>,
    /// How many calls may be in flight while the provider recovers from a closure.
    width: u32,
    /// Where `width` starts to grow slowly.
    slow_from: u32,
    good_at_width: u32,
    /// The most calls in flight since the last closure.
    peak: u32,
    busy_in_a_row: u32,
    unreachable_in_a_row: u32,
    /// Counts closures: what a call from before a closure tells is old news.
    epoch: u64,
    tripped: Option<Trip>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Wanted,
    Out,
}

impl Lane {
    /// A lane under `limits`, with the calls of the last day as remembered.
    #[must_use]
    pub fn new(limits: &Limits, sent: &[UnixMillis]) -> Lane {
        let clock = TestableClock::default();
        let window = |length: u64, limit: Option<u32>, binding| {
            limit.map(|limit| Window {
                length: Duration::from_secs(length),
                limit: limit.max(1) as usize,
                binding,
                sent: sent.iter().copied().collect(),
            })
        };
        let hour = window(3_600, limits.requests_per_hour, Binding::RequestsPerHour);
        let day = window(86_400, limits.requests_per_day, Binding::RequestsPerDay);
        Lane {
            concurrency: limits.concurrency.max(1),
            requests: limits.requests_per_minute.map(|limit| spaced_limiter(limit, &clock)),
            tokens: limits.tokens_per_minute.map(|limit| token_limiter(limit, &clock)),
            clock,
            head_has_tokens: false,
            windows: hour.into_iter().chain(day).collect(),
            closed_until: None,
            probing: None,
            width: limits.concurrency.max(1),
            slow_from: limits.concurrency.max(1),
            good_at_width: 0,
            peak: 1,
            busy_in_a_row: 0,
            unreachable_in_a_row: 0,
            epoch: 0,
            tripped: None,
        }
    }

    /// Why nothing goes any more.
    #[must_use]
    pub fn tripped(&self) -> Option<&Trip> {
        self.tripped.as_ref()
    }

    /// The closure count that a permit carries.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the call at the head of the queue, of `tokens` input and requested output tokens,
    /// may go while `in_flight` calls are out. `Go` counts it.
    pub fn admit(&mut self, now: Now, in_flight: u32, tokens: u64) -> Admission {
        self.clock.0.store(u64::try_from(now.running.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(until) = self.closed_until {
            if now.running < until {
                return Admission::Wait(until - now.running, Binding::ClosedByProvider);
            }
            self.closed_until = None;
        }
        if self.probing == Some(Probe::Out) {
            return Admission::Full(Binding::ClosedByProvider);
        }
        if in_flight >= self.concurrency {
            return Admission::Full(Binding::Concurrency);
        }
        if in_flight >= self.width {
            return Admission::Full(Binding::ClosedByProvider);
        }
        for window in &mut self.windows {
            if let Some(wait) = window.wait(now.wall) {
                return Admission::Wait(wait, window.binding);
            }
        }
        if let Some(wait) = self.take_tokens(now, tokens) {
            return Admission::Wait(wait, Binding::TokensPerMinute);
        }
        if let Some(limiter) = &self.requests
            && let Err(not_until) = limiter.check()
        {
            return Admission::Wait(not_until.wait_time_from(now.running), Binding::RequestsPerMinute);
        }
        self.head_has_tokens = false;
        self.windows.iter_mut().for_each(|window| window.sent.push_back(now.wall));
        self.peak = self.peak.max(in_flight + 1);
        if self.probing.is_some() {
            self.probing = Some(Probe::Out);
        }
        Admission::Go
    }

    /// The call at the head of the queue has gone away. What it took stays taken.
    pub fn head_left(&mut self) {
        self.head_has_tokens = false;
    }

    fn take_tokens(&mut self, now: Now, tokens: u64) -> Option<Duration> {
        let (limiter, burst) = self.tokens.as_ref()?;
        if self.head_has_tokens {
            return None;
        }
        // A call larger than the burst waits for a full one; it cannot be split.
        let count = u32::try_from(tokens.clamp(1, *burst)).unwrap_or(u32::MAX);
        match limiter.check_n(NonZeroU32::new(count)?) {
            Ok(Ok(())) => {
                self.head_has_tokens = true;
                None
            }
            Ok(Err(not_until)) => Some(not_until.wait_time_from(now.running)),
            // Cannot be: `count` is at most the burst.
            Err(_) => None,
        }
    }

    /// Takes in what a call admitted at `epoch` told. `jitter` is from 0 up to 1.
    pub fn report(&mut self, now: Now, epoch: u64, health: Health, jitter: f64) {
        let current = epoch == self.epoch;
        match health {
            Health::Good => {
                self.unreachable_in_a_row = 0;
                if current {
                    self.busy_in_a_row = 0;
                    self.probing = None;
                    self.grow();
                }
            }
            Health::Busy(named) => {
                let wait = named.unwrap_or_else(|| pause(self.busy_in_a_row));
                self.close(now, current, wait, jitter);
            }
            Health::Unreachable(message) => {
                self.unreachable_in_a_row += 1;
                if self.unreachable_in_a_row >= UNREACHABLE_AFTER {
                    self.tripped = Some(Trip { kind: FailureKind::Unreachable, message });
                } else {
                    self.end_probe(current);
                }
            }
            Health::Broken(trip) => self.tripped = Some(trip),
            Health::Neutral => self.end_probe(current),
        }
    }

    /// A permit of `epoch` came back without any news.
    pub fn returned(&mut self, epoch: u64) {
        self.end_probe(epoch == self.epoch);
    }

    fn end_probe(&mut self, current: bool) {
        if current && self.probing == Some(Probe::Out) {
            self.probing = Some(Probe::Wanted);
        }
    }

    fn close(&mut self, now: Now, current: bool, wait: Duration, jitter: f64) {
        let until = now.running + wait + wait.mul_f64(0.1 * jitter);
        self.closed_until = Some(self.closed_until.map_or(until, |earlier| earlier.max(until)));
        self.probing = Some(Probe::Wanted);
        // Many calls of one epoch tell of the same storm: it counts once.
        if current {
            self.busy_in_a_row += 1;
            if self.busy_in_a_row >= BUSY_FOR_GOOD_AFTER {
                let message = format!("it turned every call away, {BUSY_FOR_GOOD_AFTER} times in a row");
                self.tripped = Some(Trip { kind: FailureKind::RateLimited, message });
            }
            self.epoch += 1;
            self.slow_from = (self.peak.min(self.width) / 2).max(1);
            self.width = 1;
            self.good_at_width = 0;
            self.peak = 1;
        }
    }

    /// Lets more calls be in flight again after an answer, so that the whole queue does not run
    /// into the same limit at once: one more for each answer up to half of what was too much,
    /// and from there one more for each round of answers.
    fn grow(&mut self) {
        self.good_at_width += 1;
        let enough = if self.width < self.slow_from { 1 } else { self.width };
        if self.width < self.concurrency && self.good_at_width >= enough {
            self.width += 1;
            self.good_at_width = 0;
        }
    }

    /// How the lane stands.
    pub fn read(&mut self, now: Now, in_flight: u32) -> Reading {
        let mut count = |binding| {
            self.windows.iter_mut().find(|window| window.binding == binding).map(|window| {
                window.wait(now.wall);
                window.sent.len()
            })
        };
        Reading {
            in_flight,
            last_hour: count(Binding::RequestsPerHour),
            last_day: count(Binding::RequestsPerDay),
            closed_for: self
                .closed_until
                .and_then(|until| until.checked_sub(now.running))
                .map(|left| left.as_secs_f64()),
            tripped: self.tripped.clone(),
        }
    }
}

/// Requests evenly spaced: no 60 seconds, wherever they start, hold more than `limit`.
fn spaced_limiter(limit: u32, clock: &TestableClock) -> Limiter {
    let quota = Quota::with_period(Duration::from_secs(60) / limit.max(1))
        .unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    RateLimiter::direct_with_clock(quota.allow_burst(NonZeroU32::MIN), clock.clone())
}

/// Tokens: a burst and a trickle that together stay within `limit` in any 60 seconds.
fn token_limiter(limit: u64, clock: &TestableClock) -> (Limiter, u64) {
    let limit = limit.clamp(2, u64::from(u32::MAX));
    let burst = (limit / TOKEN_BURST_PARTS).max(1);
    let trickle = (limit - burst).max(1);
    let count = |n: u64| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_minute(count(trickle)).allow_burst(count(burst));
    (RateLimiter::direct_with_clock(quota, clock.clone()), burst)
}

fn pause(busy_in_a_row: u32) -> Duration {
    PAUSE.0.saturating_mul(1 << busy_in_a_row.min(10)).min(PAUSE.1)
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        Limits {
            concurrency: 1_000,
            requests_per_minute: None,
            requests_per_hour: None,
            requests_per_day: None,
            tokens_per_minute: None,
        }
    }

    fn at(millis: u64) -> Now {
        Now {
            running: Duration::from_millis(millis),
            wall: UnixMillis(1_000_000_000_000 + millis.cast_signed()),
        }
    }

    /// Sends as fast as the lane allows until `until` milliseconds, and says when each call went.
    #[expect(clippy::unwrap_used, reason = "a wait of this test fits")]
    fn send_all(lane: &mut Lane, from: u64, until: u64, tokens: impl Fn(usize) -> u64) -> Vec<u64> {
        let (mut sent, mut now) = (Vec::new(), from);
        while now < until {
            match lane.admit(at(now), 0, tokens(sent.len())) {
                Admission::Go => sent.push(now),
                Admission::Wait(wait, _) => now += u64::try_from(wait.as_millis()).unwrap().max(1),
                Admission::Full(_) => unreachable!("nothing is in flight"),
            }
        }
        sent
    }

    fn most_within(sent: &[u64], window: u64) -> usize {
        let within = |i: usize| sent[i..].partition_point(|at| *at < sent[i] + window);
        (0..sent.len()).map(within).max().unwrap_or(0)
    }

    proptest! {
        // Each case simulates minutes to days; a few dozen cover the ranges.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_minute_holds_more_requests_than_allowed(rpm in 1u32..300) {
            let mut lane = Lane::new(&Limits { requests_per_minute: Some(rpm), ..limits() }, &[]);
            let sent = send_all(&mut lane, 0, 300_000, |_| 1);
            prop_assert!(most_within(&sent, 60_000) <= rpm as usize);
            prop_assert!(sent.len() as f64 >= 0.95 * f64::from(rpm) * 5.0, "{} of {}", sent.len(), rpm * 5);
        }

        #[test]
        fn no_minute_holds_more_tokens_than_allowed(tpm in 100u64..100_000, size in 1u64..50) {
            let mut lane = Lane::new(&Limits { tokens_per_minute: Some(tpm), ..limits() }, &[]);
            let sent = send_all(&mut lane, 0, 180_000, |n| size + n as u64 % 7);
            let (mut oldest, mut used) = (0, 0);
            for (n, at) in sent.iter().enumerate() {
                used += size + n as u64 % 7;
                while sent[oldest] + 60_000 <= *at {
                    used -= size + oldest as u64 % 7;
                    oldest += 1;
                }
                prop_assert!(used <= tpm, "{used} of {tpm}");
            }
        }

        #[test]
        fn the_day_is_remembered_across_restarts(limit in 1u32..50, restart_after in 0u64..86_400_000) {
            let limits = Limits { requests_per_day: Some(limit), ..limits() };
            let mut sent = send_all(&mut Lane::new(&limits, &[]), 0, restart_after, |_| 1);
            let remembered: Vec<_> = sent.iter().map(|ms| at(*ms).wall).collect();
            sent.extend(send_all(&mut Lane::new(&limits, &remembered), restart_after, 200_000_000, |_| 1));
            prop_assert!(most_within(&sent, 86_400_000) <= limit as usize);
        }
    }

    #[test]
    fn one_busy_answer_closes_the_lane_for_all_and_one_probe_opens_it() {
        let mut lane = Lane::new(&limits(), &[]);
        let epoch = lane.epoch();
        assert_eq!(lane.admit(at(0), 0, 1), Admission::Go);
        assert_eq!(lane.admit(at(0), 1, 1), Admission::Go);
        for _ in 0..2 {
            lane.report(at(10), epoch, Health::Busy(Some(Duration::from_secs(2))), 0.0);
        }
        assert_eq!(
            lane.admit(at(10), 0, 1),
            Admission::Wait(Duration::from_secs(2), Binding::ClosedByProvider)
        );
        assert_eq!(lane.admit(at(2_010), 0, 1), Admission::Go);
        assert_eq!(lane.admit(at(2_010), 1, 1), Admission::Full(Binding::ClosedByProvider));
        lane.report(at(2_020), epoch, Health::Good, 0.0);
        assert_eq!(lane.admit(at(2_020), 1, 1), Admission::Full(Binding::ClosedByProvider), "old news");
        lane.report(at(2_030), lane.epoch(), Health::Good, 0.0);
        assert_eq!(lane.admit(at(2_030), 1, 1), Admission::Go);
    }

    #[test]
    fn after_a_closure_calls_come_back_a_few_at_a_time() {
        let mut lane = Lane::new(&Limits { concurrency: 16, ..limits() }, &[]);
        for in_flight in 0..16 {
            assert_eq!(lane.admit(at(0), in_flight, 1), Admission::Go);
        }
        lane.report(at(0), lane.epoch(), Health::Busy(Some(Duration::from_secs(1))), 0.0);
        let mut widths = Vec::new();
        for _ in 0..12 {
            let mut in_flight = 0;
            while lane.admit(at(2_000), in_flight, 1) == Admission::Go {
                in_flight += 1;
            }
            widths.push(in_flight);
            (0..in_flight).for_each(|_| lane.report(at(2_000), lane.epoch(), Health::Good, 0.0));
        }
        assert_eq!(widths[..4], [1, 2, 4, 8], "doubling to half of what was too much");
        assert_eq!(widths[4..], [9, 10, 11, 12, 13, 14, 15, 16], "then slowly");
    }

    #[test]
    fn a_storm_without_named_waits_backs_off_once_per_probe() {
        let mut lane = Lane::new(&limits(), &[]);
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..5 {
            assert_eq!(lane.admit(at(now), 0, 1), Admission::Go);
            lane.report(at(now), lane.epoch(), Health::Busy(None), 0.0);
            let Admission::Wait(wait, Binding::ClosedByProvider) = lane.admit(at(now), 0, 1) else {
                panic!("open");
            };
            waits.push(wait.as_millis());
            now += u64::try_from(wait.as_millis()).unwrap();
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 5_000]);
    }

    #[test]
    fn a_terminal_failure_trips_at_once_and_lost_connections_after_a_few() {
        let mut lane = Lane::new(&limits(), &[]);
        let trip = Trip { kind: FailureKind::AccountDry, message: "no money".into() };
        lane.report(at(0), 0, Health::Broken(trip.clone()), 0.0);
        assert_eq!(lane.tripped(), Some(&trip));

        let mut lane = Lane::new(&limits(), &[]);
        for n in 0..UNREACHABLE_AFTER {
            assert!(lane.tripped().is_none(), "after {n}");
            lane.report(at(0), 0, Health::Unreachable("refused".into()), 0.0);
        }
        assert_eq!(lane.tripped().map(|trip| trip.kind), Some(FailureKind::Unreachable));
    }
}
