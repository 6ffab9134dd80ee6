//! One limit over a truly sliding window. No interval of the window's length, wherever it
//! starts, holds more than the limit, and yet nearly all of it is used: what was sent is
//! remembered exactly, or in fine buckets where there is much, and leaves when the whole bucket
//! is older than the window.

use std::collections::VecDeque;
use std::time::Duration;

/// So many amounts are remembered one by one; a window that may hold more gathers them in about
/// so many buckets. A bucket costs 1/512 of the window at most, and 24 bytes.
const BUCKETS: u64 = 512;
/// A vendor counts calls as they arrive, and not all take equally long to get there: so much
/// longer is waited than the window lasts, in the same unit ([`Duration`]), …
const ARRIVAL: Duration = Duration::from_millis(250);
/// … but never more than this part of the window, which would cost too much of a short one.
const ARRIVAL_PART: i64 = 240;

/// What was sent from `first` to `last`, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    first: i64,
    last: i64,
    amount: u64,
}

/// When an amount fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Now.
    Now,
    /// So many milliseconds from now.
    In(i64),
    /// When calls that have their permit have left or given it back.
    WhenLeft,
}

/// An amount of calls or tokens within a sliding window.
#[derive(Debug)]
pub(crate) struct Window {
    length: i64,
    guard: i64,
    limit: u64,
    /// What the configuration allows; `None` if only the vendor named a limit.
    ceiling: Option<u64>,
    /// Granted, not sent yet.
    held: u64,
    /// The sum of the log.
    used: u64,
    /// In order of time. Buckets of the future are debt: what was used beyond the limit is paid
    /// back at the limit's pace.
    log: VecDeque<Bucket>,
    now: i64,
}

impl Window {
    pub(crate) fn new(length: Duration, limit: u64) -> Window {
        let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4).max(1);
        let arrival = i64::try_from(ARRIVAL.as_millis()).unwrap_or(0);
        Window {
            length,
            guard: arrival.min(length / ARRIVAL_PART),
            limit: limit.max(1),
            ceiling: Some(limit.max(1)),
            held: 0,
            used: 0,
            log: VecDeque::new(),
            now: i64::MIN,
        }
    }

    /// A window for a limit that only the vendor named.
    pub(crate) fn learnt(length: Duration, limit: u64) -> Window {
        Window { ceiling: None, ..Window::new(length, limit) }
    }

    /// What holds now: the configured limit, or less if the vendor said so.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn ceiling(&self) -> Option<u64> {
        self.ceiling
    }

    /// Takes the vendor's limit, within what is configured.
    pub(crate) fn set_limit(&mut self, told: u64) {
        self.limit = self.ceiling.map_or(told, |ceiling| told.min(ceiling)).max(1);
    }

    /// What counts against the limit: sent, granted and owed.
    pub(crate) fn taken(&self) -> u64 {
        self.used.saturating_add(self.held)
    }

    /// What a vendor still allows, as far as it knows: the rest was used by others, and leaves
    /// when the vendor says that all is free again.
    pub(crate) fn cap_remaining(&mut self, now: i64, remaining: u64, resets_in: Option<Duration>) {
        self.sweep(now);
        let free = self.limit.saturating_sub(self.taken());
        let resets_in = resets_in.and_then(|resets_in| i64::try_from(resets_in.as_millis()).ok());
        let early = resets_in.map_or(0, |resets_in| (self.length - resets_in).max(0));
        if free > remaining {
            self.insert(self.now - early, free - remaining);
        }
    }

    /// What can be held for a call: one that is larger than the limit waits for an empty window,
    /// and what it uses beyond the limit is owed.
    fn holdable(&self, amount: u64) -> u64 {
        amount.min(self.limit)
    }

    /// When `amount` fits.
    pub(crate) fn fit(&mut self, now: i64, amount: u64) -> Fit {
        self.sweep(now);
        let wanted = self.taken().saturating_add(self.holdable(amount));
        self.freed_in(wanted.saturating_sub(self.limit))
    }

    /// When `amount` will have left the log.
    fn freed_in(&self, amount: u64) -> Fit {
        if amount == 0 {
            return Fit::Now;
        }
        let mut freed = 0_u64;
        for bucket in &self.log {
            freed = freed.saturating_add(bucket.amount);
            if freed >= amount {
                return Fit::In(bucket.last + self.length + self.guard + 1 - self.now);
            }
        }
        Fit::WhenLeft
    }

    /// The least time, in milliseconds, until `ahead` and then `amount` can have gone, if all
    /// that is held is sent now.
    pub(crate) fn promise(&mut self, now: i64, ahead: u64, amount: u64) -> i64 {
        self.sweep(now);
        let wanted = ahead.saturating_add(self.holdable(amount));
        let free = self.limit.saturating_sub(self.taken());
        let Some(missing) = wanted.checked_sub(free).filter(|missing| *missing > 0) else { return 0 };
        let rounds = i64::try_from((missing - 1) / self.limit).unwrap_or(i64::MAX);
        let round = rounds.saturating_mul(self.length + self.guard);
        match self.freed_in((missing - 1) % self.limit + 1) {
            Fit::Now => round,
            Fit::In(wait) => round.saturating_add(wait),
            Fit::WhenLeft => round.saturating_add(self.length + self.guard),
        }
    }

    /// Counts a grant, and gives what is held for it.
    pub(crate) fn hold(&mut self, amount: u64) -> u64 {
        let held = self.holdable(amount);
        self.held = self.held.saturating_add(held);
        held
    }

    /// A grant that holds so much comes back unused.
    pub(crate) fn unhold(&mut self, held: u64) {
        self.held = self.held.saturating_sub(held);
    }

    /// A grant was sent.
    pub(crate) fn send(&mut self, now: i64, held: u64) {
        self.unhold(held);
        self.sweep(now);
        self.insert(self.now, held);
    }

    /// What was sent at `at` and counted as `counted` was `actual`. What is less is free again;
    /// what is more counts from now on, beyond the limit as debt.
    pub(crate) fn correct(&mut self, now: i64, at: i64, counted: u64, actual: u64) {
        self.sweep(now);
        if actual > counted {
            self.owe(actual - counted);
        } else {
            self.give_back(at, counted - actual);
        }
    }

    fn give_back(&mut self, at: i64, amount: u64) {
        let index = self.log.partition_point(|bucket| bucket.last < at);
        if let Some(bucket) = self.log.get_mut(index).filter(|bucket| bucket.first <= at) {
            let back = bucket.amount.min(amount);
            bucket.amount -= back;
            self.used -= back;
        }
    }

    fn owe(&mut self, amount: u64) {
        let now_part = amount.min(self.limit.saturating_sub(self.taken()));
        if now_part > 0 {
            self.insert(self.now, now_part);
        }
        // At the limit's pace; a vendor that claims absurd amounts closes the lane for no longer
        // than that many windows.
        const MOST_WINDOWS: u64 = 1_000;
        let mut owed = (amount - now_part).min(self.limit.saturating_mul(MOST_WINDOWS));
        let step = self.length + self.guard;
        // The last window that is already owed is filled up first.
        if let Some(bucket) = self.log.back_mut().filter(|bucket| bucket.last > self.now) {
            let part = owed.min(self.limit.saturating_sub(bucket.amount));
            bucket.amount += part;
            self.used = self.used.saturating_add(part);
            owed -= part;
        }
        let mut at = self.log.back().map_or(self.now, |bucket| bucket.last.max(self.now));
        while owed > 0 {
            at += step;
            let part = owed.min(self.limit);
            self.insert(at, part);
            owed -= part;
        }
    }

    /// Counts what an earlier process sent, and what it owed from then on, oldest first.
    pub(crate) fn remember(&mut self, at: i64, amount: u64, owed: u64) {
        self.insert(at, amount);
        if owed > 0 {
            self.sweep(at);
            self.owe(owed);
        }
    }

    fn insert(&mut self, at: i64, amount: u64) {
        if amount == 0 {
            return;
        }
        self.used = self.used.saturating_add(amount);
        let width = if self.limit > BUCKETS { self.length / BUCKETS.cast_signed() } else { 0 };
        let index = self.log.partition_point(|bucket| bucket.last <= at);
        if let Some(bucket) = index.checked_sub(1).and_then(|before| self.log.get_mut(before))
            && at - bucket.first <= width
        {
            bucket.last = at;
            bucket.amount = bucket.amount.saturating_add(amount);
        } else {
            self.log.insert(index, Bucket { first: at, last: at, amount });
        }
    }

    /// Lets go of what has left the window. Time never goes back.
    fn sweep(&mut self, now: i64) {
        self.now = self.now.max(now);
        let gone = |bucket: &Bucket| self.now - bucket.last > self.length + self.guard;
        while let Some(bucket) = self.log.front().copied().filter(gone) {
            self.used = self.used.saturating_sub(bucket.amount);
            self.log.pop_front();
        }
    }

    /// What counts now.
    pub(crate) fn read(&mut self, now: i64) -> u64 {
        self.sweep(now);
        self.taken()
    }

    /// When there is room for anything more, in milliseconds from now; nothing if there is now, or
    /// only once a grant is used.
    pub(crate) fn room_in(&self) -> Option<i64> {
        match self.freed_in((self.taken() + 1).saturating_sub(self.limit)) {
            Fit::In(wait) => Some(wait),
            Fit::Now | Fit::WhenLeft => None,
        }
    }

    #[cfg(all(test, not(empire_loom)))]
    pub(crate) fn buckets(&self) -> usize {
        self.log.len()
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    /// Sends as much as fits, each call as long after its grant as `lag` says, and gives back when
    /// each left and how much it was.
    fn drain(
        window: &mut Window,
        from: i64,
        until: i64,
        size: impl Fn(usize) -> u64,
        lag: i64,
    ) -> Vec<(i64, u64)> {
        let (mut sent, mut now) = (Vec::new(), from);
        while now < until {
            let amount = size(sent.len());
            match window.fit(now, amount) {
                Fit::Now => {
                    let held = window.hold(amount);
                    window.send(now + lag, held);
                    sent.push((now + lag, amount));
                    now += lag;
                }
                Fit::In(wait) => {
                    assert!(wait > 0);
                    now += wait;
                }
                Fit::WhenLeft => unreachable!("nothing is held"),
            }
        }
        sent
    }

    /// The most that any closed interval of `length` holds.
    fn most_within(sent: &[(i64, u64)], length: i64) -> u64 {
        let (mut oldest, mut sum, mut most) = (0, 0, 0);
        for (at, amount) in sent {
            sum += amount;
            while sent[oldest].0 + length < *at {
                sum -= sent[oldest].1;
                oldest += 1;
            }
            most = most.max(sum);
        }
        most
    }

    proptest! {
        // Each case simulates an hour of demand; a few dozen cover the ranges.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_minute_holds_more_than_allowed_and_99_percent_are_used(
            limit in prop_oneof![1u64..60, 400u64..700, 1_000u64..3_000], lag in 0i64..3,
        ) {
            let mut window = Window::new(Duration::from_secs(60), limit);
            let sent = drain(&mut window, 0, 20 * MINUTE, |_| 1, lag);
            prop_assert!(most_within(&sent, MINUTE) <= limit);
            // A window that is full at the end has not had its time: count whole ones.
            let whole = sent.iter().filter(|(at, _)| *at <= 19 * MINUTE).count() as f64;
            prop_assert!(whole >= 0.99 * 19.0 * limit as f64, "{whole} of {}", 19 * limit);
        }

        #[test]
        fn no_minute_holds_more_tokens_than_allowed(limit in 5_000u64..2_000_000, size in 1u64..40) {
            let mut window = Window::new(Duration::from_secs(60), limit);
            let size = |n: usize| (limit * size / 4_000).max(1) + n as u64 % 7;
            let sent = drain(&mut window, 0, 20 * MINUTE, size, 1);
            prop_assert!(most_within(&sent, MINUTE) <= limit);
            let whole: u64 = sent.iter().filter(|(at, _)| *at <= 19 * MINUTE).map(|(_, n)| n).sum();
            prop_assert!(whole as f64 >= 0.98 * 19.0 * limit as f64, "{whole} of {}", 19 * limit);
            prop_assert!(window.buckets() as u64 <= BUCKETS + 2, "{} buckets", window.buckets());
        }

        #[test]
        fn what_a_vendor_counts_beyond_the_hold_is_paid_back(
            limit in 100u64..10_000, lies in 1u64..40, hours in 1i64..3,
        ) {
            let mut window = Window::new(Duration::from_secs(60), limit);
            let (held, actual) = (limit / 10, limit / 10 * lies);
            let (mut now, mut counted) = (0, 0);
            while now < hours * 60 * MINUTE {
                match window.fit(now, held) {
                    Fit::Now => {
                        window.hold(held);
                        window.send(now, held);
                        window.correct(now + 5, now, held, actual);
                        counted += actual;
                        now += 5;
                    }
                    Fit::In(wait) => now += wait,
                    Fit::WhenLeft => unreachable!("nothing is held"),
                }
            }
            // On the whole no more than the limit, but for the last debt that is still open.
            let allowed = limit * (now / MINUTE + 2).unsigned_abs() + actual;
            prop_assert!(counted <= allowed, "{counted} of {allowed}");
        }
    }

    #[test]
    fn a_grant_counts_from_when_it_leaves_not_from_when_it_was_given() {
        let mut window = Window::new(Duration::from_secs(60), 2);
        window.hold(1);
        window.hold(1);
        assert_eq!(window.fit(0, 1), Fit::WhenLeft);
        window.send(30_000, 1);
        assert_eq!(window.fit(80_000, 1), Fit::In(30_000 + 60_000 + 250 + 1 - 80_000));
        window.unhold(1);
        assert_eq!(window.fit(80_000, 1), Fit::Now, "what came back unused is free at once");
    }

    #[test]
    fn the_vendor_corrects_downward_and_never_past_the_ceiling() {
        let mut window = Window::new(Duration::from_secs(60), 100);
        window.set_limit(40);
        assert_eq!(window.limit(), 40);
        window.set_limit(5_000);
        assert_eq!(window.limit(), 100);
        window.cap_remaining(0, 3, None);
        assert_eq!((window.taken(), window.fit(0, 4)), (97, Fit::In(60_251)));
        window.cap_remaining(0, 50, None);
        assert_eq!(window.taken(), 97, "never upward");
        let mut window = Window::new(Duration::from_secs(60), 100);
        window.cap_remaining(0, 0, Some(Duration::from_secs(5)));
        assert_eq!(window.fit(0, 1), Fit::In(5_251), "free when the vendor says so");
    }

    #[test]
    fn a_promise_counts_who_is_ahead() {
        let mut window = Window::new(Duration::from_secs(60), 10);
        assert_eq!(window.promise(0, 9, 1), 0);
        assert_eq!(window.promise(0, 10, 1), 60_250);
        (0..10).for_each(|_| {
            window.hold(1);
            window.send(0, 1);
        });
        assert_eq!(window.promise(1_000, 0, 1), 59_251);
        assert_eq!(window.promise(1_000, 25, 1), 59_251 + 2 * 60_250);
    }
}
