//! The breaker of a provider or of one of its models: closed to everybody after a rate limit, an
//! overload or failures in a row, then one probe, then a slow start. A call that is turned away
//! among many that are answered only makes it narrower.

use std::time::Duration;

use super::health::{BreakerReading, BreakerState, Health, Trip};
use super::strays::Strays;
use super::{Binding, Now};
use crate::failure::FailureKind;

/// Failed connections in a row after which a provider counts as unreachable.
const UNREACHABLE_AFTER: u32 = 5;
/// Failures of the vendor's own in a row after which a model is left alone for a while.
const FAULTY_AFTER: u32 = 10;
/// Closures in a row, each with its probe turned away, after which nobody is made to wait on:
/// a little more than a minute if no waits are named, so that a vendor's full minute passes.
const CLOSED_FOR_GOOD_AFTER: u32 = 13;
/// The same where the vendor fails instead of turning calls away: about 25 seconds.
const FAULTY_FOR_GOOD_AFTER: u32 = 8;
/// The first pause where no wait was named, and what a stray rests.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);
/// Each probe that is turned away makes the next pause so much longer, …
const PAUSE_GROWS: f64 = 1.5;
/// … up to this, unless a longer wait was named.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Part of a pause that is added at random at most.
const JITTER: f64 = 0.1;
/// How long it takes at least, in the slow part of a start, until one more call may be in flight.
const GROWS_EVERY: Duration = Duration::from_secs(1);
/// After this a breaker that tripped by itself lets a probe out.
const TRIPPED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Wanted,
    Out,
}

/// What stops a call here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Until then.
    Until(Duration, Binding),
    /// Until a call in flight has ended.
    Full(Binding),
}

/// One breaker. "Closed until" is its own word for an open breaker: the lane is closed.
#[derive(Debug)]
pub(crate) struct Breaker {
    concurrency: u32,
    closed_until: Option<Duration>,
    why: FailureKind,
    /// After a closure one call goes first; the others follow once it was answered.
    probing: Option<Probe>,
    /// How many calls may be in flight while the provider recovers from a closure.
    width: u32,
    /// Where `width` starts to grow slowly.
    slow_from: u32,
    good_at_width: u32,
    /// When `width` grew last.
    grown_at: Duration,
    /// The most calls in flight since the last closure.
    peak: u32,
    /// Calls that were turned away among many that were answered.
    strays: Strays,
    /// It is narrower for these alone: nothing has closed it since it was as wide as it may be.
    is_narrowed: bool,
    /// How wide it was when it was narrowed last, while that may still help.
    narrowed_from: Option<u32>,
    closures_in_a_row: u32,
    unreachable_in_a_row: u32,
    faulty_in_a_row: u32,
    /// Counts closures: what a call from before a closure tells is old news.
    epoch: u64,
    tripped: Option<Trip>,
    /// When a trip that is not for a person ends.
    tripped_until: Option<Duration>,
}

impl Breaker {
    pub(crate) fn new(concurrency: u32) -> Breaker {
        let concurrency = concurrency.max(1);
        Breaker {
            concurrency,
            closed_until: None,
            why: FailureKind::RateLimited,
            probing: None,
            width: concurrency,
            slow_from: concurrency,
            good_at_width: 0,
            grown_at: Duration::ZERO,
            peak: 1,
            strays: Strays::default(),
            is_narrowed: false,
            narrowed_from: None,
            closures_in_a_row: 0,
            unreachable_in_a_row: 0,
            faulty_in_a_row: 0,
            epoch: 0,
            tripped: None,
            tripped_until: None,
        }
    }

    /// Why nothing goes any more. A trip that has had its time gives way to a probe.
    pub(crate) fn tripped(&mut self, now: Now) -> Option<&Trip> {
        if self.tripped_until.is_some_and(|until| now.running >= until) {
            self.tripped = None;
            self.tripped_until = None;
            self.probing = Some(Probe::Wanted);
        }
        self.tripped.as_ref()
    }

    /// Why and until when it is closed, for whoever need not wait.
    pub(crate) fn open(&self, now: Now) -> Option<Trip> {
        let left = self.closed_until?.checked_sub(now.running).filter(|left| !left.is_zero())?;
        let message = "it failed again and again, and is left alone for a while".to_owned();
        Some(Trip { kind: self.why, message, retry_at: Some(now.wall_in(left)) })
    }

    /// The closure count that a permit carries.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nothing goes until a person acts or a moment has come.
    pub(crate) fn is_tripped(&self) -> bool {
        self.tripped.is_some()
    }

    /// Whether a permit of `epoch` may still be used: nothing has closed since.
    pub(crate) fn lets(&self, epoch: u64) -> bool {
        epoch == self.epoch && self.tripped.is_none()
    }

    /// Whether the last thing heard is not that calls are turned away.
    pub(crate) fn is_well(&self) -> bool {
        self.closed_until.is_none() && self.probing.is_none() && self.tripped.is_none()
    }

    /// Until when it is closed.
    pub(crate) fn closed_until(&self) -> Option<Duration> {
        self.closed_until
    }

    /// What stops a call while `in_flight` calls are out.
    pub(crate) fn stop(&mut self, now: Now, in_flight: u32) -> Option<Stop> {
        if let Some(until) = self.closed_until {
            if now.running < until {
                return Some(Stop::Until(until, Binding::ClosedByProvider));
            }
            self.closed_until = None;
        }
        if self.probing == Some(Probe::Out) {
            return Some(Stop::Full(Binding::ClosedByProvider));
        }
        if self.strays.waits(in_flight) {
            return Some(Stop::Full(Binding::TurnedAway));
        }
        if in_flight >= self.concurrency {
            return Some(Stop::Full(Binding::Concurrency));
        }
        let binding = if self.is_narrowed { Binding::TurnedAway } else { Binding::ClosedByProvider };
        (in_flight >= self.width).then_some(Stop::Full(binding))
    }

    /// Until when a call rests that came back to the line at `entered`, if it was a stray.
    pub(crate) fn rests_until(&self, entered: Duration) -> Option<Duration> {
        self.strays.rests_until(entered, PAUSE)
    }

    /// A call goes, the `in_flight`-th one.
    pub(crate) fn granted(&mut self, in_flight: u32) {
        self.peak = self.peak.max(in_flight);
        if self.probing.is_some() {
            self.probing = Some(Probe::Out);
        }
    }

    /// Takes in what a call granted at `epoch` told while `in_flight` others are out. `jitter` is
    /// from 0 up to 1.
    pub(crate) fn report(&mut self, now: Now, epoch: u64, health: &Health, (in_flight, jitter): (u32, f64)) {
        let current = epoch == self.epoch;
        match health {
            Health::Good => self.answered(now, current),
            Health::Busy(kind, None) if current && self.is_stray(now, in_flight) => self.narrow(now, *kind),
            Health::Busy(kind, named) => self.close(now, current, *kind, *named, jitter),
            Health::Unreachable(message) => {
                self.unreachable_in_a_row += 1;
                if self.unreachable_in_a_row >= UNREACHABLE_AFTER {
                    self.trip(now, FailureKind::Unreachable, message.clone());
                } else {
                    self.end_probe(current);
                }
            }
            Health::Faulty(kind, _) => {
                self.faulty_in_a_row += 1;
                // A failed probe closes at once.
                if self.probing == Some(Probe::Out) && current || self.faulty_in_a_row >= FAULTY_AFTER {
                    self.faulty_in_a_row = 0;
                    self.close(now, current, *kind, None, jitter);
                }
            }
            Health::Broken(trip) => {
                self.tripped = Some(trip.clone());
                self.tripped_until = None;
            }
            Health::Neutral => self.end_probe(current),
        }
    }

    fn answered(&mut self, now: Now, current: bool) {
        self.unreachable_in_a_row = 0;
        self.faulty_in_a_row = 0;
        if current {
            self.closures_in_a_row = 0;
            self.probing = None;
            self.strays.answered();
            self.grow(now);
        }
    }

    /// A permit of `epoch` came back without any news.
    pub(crate) fn returned(&mut self, epoch: u64) {
        self.end_probe(epoch == self.epoch);
    }

    fn end_probe(&mut self, current: bool) {
        if current && self.probing == Some(Probe::Out) {
            self.probing = Some(Probe::Wanted);
        }
    }

    /// Whether a call that was turned away without a wait is one among many that are answered.
    fn is_stray(&mut self, now: Now, in_flight: u32) -> bool {
        self.is_well() && self.strays.turned_away(now.running, in_flight)
    }

    /// Halves what may be in flight, once until it has grown slowly again. Each answer makes that
    /// one more, up to one less than it was: where one too many was out, that one stays out for a
    /// second. If calls are still turned away after a round of answers there, the width is not what
    /// is wrong, and it goes on from where it was.
    fn narrow(&mut self, now: Now, kind: FailureKind) {
        self.why = kind;
        let has_grown = self.width > self.slow_from || self.width == self.concurrency;
        if has_grown {
            self.is_narrowed |= self.width == self.concurrency;
            self.narrowed_from = Some(self.width);
            self.slow_from = (self.width - 1).max(1);
            self.width = (self.width / 2).max(1);
            self.good_at_width = 0;
            self.grown_at = now.running;
        } else if self.width == self.slow_from
            && self.good_at_width >= self.width
            && let Some(before) = self.narrowed_from.take()
        {
            self.slow_from = before;
        }
    }

    fn close(&mut self, now: Now, current: bool, kind: FailureKind, named: Option<Duration>, jitter: f64) {
        let wait = pause(named, self.closures_in_a_row.saturating_sub(u32::from(!current)));
        let until = now.running + wait + wait.mul_f64(JITTER * jitter);
        self.closed_until = Some(self.closed_until.map_or(until, |earlier| earlier.max(until)));
        self.probing = Some(Probe::Wanted);
        self.why = kind;
        // Many calls of one epoch tell of the same storm: it counts once.
        if current {
            self.closures_in_a_row += 1;
            self.epoch += 1;
            self.strays = Strays::default();
            (self.is_narrowed, self.narrowed_from) = (false, None);
            self.slow_from = (self.peak.min(self.width) / 2).max(1);
            self.width = 1;
            self.good_at_width = 0;
            self.grown_at = until;
            self.peak = 1;
            let is_busy = matches!(kind, FailureKind::RateLimited | FailureKind::Overloaded);
            let most = if is_busy { CLOSED_FOR_GOOD_AFTER } else { FAULTY_FOR_GOOD_AFTER };
            if self.closures_in_a_row >= most {
                self.give_up(now);
            }
        }
    }

    /// Makes nobody wait on: every probe was turned away.
    pub(crate) fn give_up(&mut self, now: Now) {
        let times = self.closures_in_a_row;
        let is_busy = matches!(self.why, FailureKind::RateLimited | FailureKind::Overloaded);
        let what = if is_busy { "it turned every call away" } else { "it failed every time it was tried" };
        let message = format!("{what}, {times} times in a row");
        self.trip(now, self.why, message);
    }

    fn trip(&mut self, now: Now, kind: FailureKind, message: String) {
        let until = self.closed_until.unwrap_or_default().max(now.running + TRIPPED_FOR);
        let retry_at = Some(now.wall_in(until - now.running));
        self.tripped = Some(Trip { kind, message, retry_at });
        self.tripped_until = Some(until);
    }

    /// Lets more calls be in flight again after an answer, so that the whole queue does not run
    /// into the same limit at once: one more for each answer up to half of what was too much,
    /// and from there one more for each round of answers, but no faster than one a second: short
    /// calls would be back at what was too much within the same window of the vendor's.
    fn grow(&mut self, now: Now) {
        self.good_at_width += 1;
        let is_slow = self.width >= self.slow_from;
        let enough = if is_slow { self.width } else { 1 };
        let is_due = !is_slow || now.running >= self.grown_at + GROWS_EVERY;
        if self.width < self.concurrency && self.good_at_width >= enough && is_due {
            self.width += 1;
            self.good_at_width = 0;
            self.grown_at = now.running;
        }
    }

    /// How it stands.
    pub(crate) fn read(&mut self, now: Now) -> BreakerReading {
        let tripped = self.tripped(now).cloned();
        let closed_for = self.closed_until.and_then(|until| until.checked_sub(now.running));
        let state = match () {
            () if tripped.is_some() => BreakerState::Tripped,
            () if closed_for.is_some() => BreakerState::Open,
            () if self.probing.is_some() => BreakerState::HalfOpen,
            () if self.width < self.concurrency => BreakerState::SlowStart,
            () => BreakerState::Closed,
        };
        BreakerReading {
            state,
            closed_for: closed_for.map(|left| left.as_secs_f64()),
            why: (state != BreakerState::Closed).then(|| self.why.words()),
            closures_in_a_row: self.closures_in_a_row,
            width: self.width,
            tripped,
        }
    }
}

/// How long nothing goes after probe number `turned_away` (from 0) in a row. What was named is
/// obeyed; whoever names too little again and again is asked less and less often.
fn pause(named: Option<Duration>, turned_away: u32) -> Duration {
    let growth = PAUSE_GROWS.powi(turned_away.min(30).cast_signed());
    let base = match named {
        Some(named) if turned_away == 0 => return named,
        Some(named) => named.max(PAUSE),
        None => PAUSE,
    };
    base.mul_f64(growth).min(LONGEST_PAUSE.max(base))
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;
    use crate::ports::UnixMillis;

    fn at(millis: u64) -> Now {
        Now { running: Duration::from_millis(millis), wall: UnixMillis(millis.cast_signed()) }
    }

    fn busy(seconds: Option<u64>) -> Health {
        Health::Busy(FailureKind::RateLimited, seconds.map(Duration::from_secs))
    }

    /// Lets a call go if one may.
    fn go(breaker: &mut Breaker, millis: u64, in_flight: u32) -> Option<Stop> {
        let stop = breaker.stop(at(millis), in_flight);
        if stop.is_none() {
            breaker.granted(in_flight + 1);
        }
        stop
    }

    #[test]
    fn one_busy_answer_closes_the_lane_for_all_and_one_probe_opens_it() {
        let mut breaker = Breaker::new(1_000);
        let epoch = breaker.epoch();
        assert_eq!((go(&mut breaker, 0, 0), go(&mut breaker, 0, 1)), (None, None));
        for _ in 0..2 {
            breaker.report(at(10), epoch, &busy(Some(2)), (0, 0.0));
        }
        let until = Stop::Until(Duration::from_millis(2_010), Binding::ClosedByProvider);
        assert_eq!(go(&mut breaker, 10, 0), Some(until));
        assert_eq!(go(&mut breaker, 2_010, 0), None);
        let probing = Some(Stop::Full(Binding::ClosedByProvider));
        assert_eq!(go(&mut breaker, 2_010, 1), probing);
        breaker.report(at(2_020), epoch, &Health::Good, (0, 0.0));
        assert_eq!(go(&mut breaker, 2_020, 1), probing, "old news");
        breaker.report(at(3_030), breaker.epoch(), &Health::Good, (0, 0.0));
        assert_eq!(go(&mut breaker, 3_030, 1), None);
        assert!(breaker.is_well());
    }

    #[test]
    fn after_a_closure_calls_come_back_a_few_at_a_time() {
        let mut breaker = Breaker::new(16);
        for in_flight in 0..16 {
            assert_eq!(go(&mut breaker, 0, in_flight), None);
        }
        breaker.report(at(0), breaker.epoch(), &busy(Some(1)), (0, 0.0));
        let mut widths = Vec::new();
        for second in 2..14 {
            let now = second * 1_000;
            let mut in_flight = 0;
            while go(&mut breaker, now, in_flight).is_none() {
                in_flight += 1;
            }
            widths.push(in_flight);
            (0..in_flight).for_each(|_| breaker.report(at(now), breaker.epoch(), &Health::Good, (0, 0.0)));
        }
        assert_eq!(widths[..4], [1, 2, 4, 8], "doubling to half of what was too much");
        assert_eq!(widths[4..], [9, 10, 11, 12, 13, 14, 15, 16], "then slowly");
    }

    #[test]
    fn a_storm_backs_off_once_per_probe_and_ends_in_a_trip_that_says_when() {
        for (named, first) in [(None, [500, 750, 1_125, 1_688]), (Some(2), [2_000, 3_000, 4_500, 6_750])] {
            let mut breaker = Breaker::new(1_000);
            let (mut waits, mut now) = (Vec::new(), 0);
            while breaker.tripped(at(now)).is_none() {
                assert_eq!(go(&mut breaker, now, 0), None);
                breaker.report(at(now), breaker.epoch(), &busy(named), (0, 0.0));
                let Some(Stop::Until(until, _)) = breaker.stop(at(now), 0) else { panic!("open") };
                let until = u64::try_from(until.as_micros().div_ceil(1_000)).unwrap();
                waits.push(until - now);
                now = if breaker.tripped(at(now)).is_none() { until } else { now };
            }
            assert_eq!(waits[..4], first);
            assert_eq!(waits.len() as u32, CLOSED_FOR_GOOD_AFTER);
            assert_eq!(waits.last(), Some(&10_000));
            let trip = breaker.tripped(at(now)).cloned().unwrap();
            assert_eq!(trip.retry_at, Some(UnixMillis(now.cast_signed() + 60_000)));
            assert!(breaker.tripped(at(now + 60_000)).is_none(), "then a probe may go");
            assert_eq!(go(&mut breaker, now + 60_000, 0), None);
            assert!(go(&mut breaker, now + 60_000, 1).is_some());
        }
    }

    #[test]
    fn a_terminal_failure_trips_at_once_and_others_after_a_few() {
        let mut breaker = Breaker::new(4);
        let trip = Trip { kind: FailureKind::AccountDry, message: "no money".into(), retry_at: None };
        breaker.report(at(0), 0, &Health::Broken(trip.clone()), (0, 0.0));
        assert_eq!(breaker.tripped(at(1_000_000_000)), Some(&trip), "until a person acts");

        let mut breaker = Breaker::new(4);
        for n in 0..UNREACHABLE_AFTER {
            assert!(breaker.tripped(at(0)).is_none(), "after {n}");
            breaker.report(at(0), 0, &Health::Unreachable("refused".into()), (0, 0.0));
        }
        assert_eq!(breaker.tripped(at(0)).map(|trip| trip.kind), Some(FailureKind::Unreachable));

        let mut breaker = Breaker::new(4);
        for _ in 0..FAULTY_AFTER {
            assert!(breaker.is_well());
            breaker.report(at(0), 0, &Health::Faulty(FailureKind::ServerError, "oops".into()), (0, 0.0));
        }
        assert_eq!(breaker.read(at(0)).state, BreakerState::Open);
        assert_eq!(breaker.read(at(600)).state, BreakerState::HalfOpen);
    }
}
