//! When a reading is worth an alert: after how long, and how often. Each is a small state that its
//! caller feeds.

use std::collections::VecDeque;
use std::time::Duration;

/// What a watch says of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Fine,
    /// Nothing new: neither long enough over nor far enough below.
    Unsure,
    /// It is not as it should be.
    Bad,
}

/// A number that is bad once it has been over `limit` for `lasting`, and fine again once it is at
/// most `fine_at`.
#[derive(Debug, Clone)]
pub struct Over {
    limit: f64,
    fine_at: f64,
    lasting: Duration,
    over_since: Option<Duration>,
    is_bad: bool,
}

impl Over {
    /// `fine_at` is at most `limit`.
    #[must_use]
    pub fn new(limit: f64, fine_at: f64, lasting: Duration) -> Over {
        Over { limit, fine_at: fine_at.min(limit), lasting, over_since: None, is_bad: false }
    }

    /// A reading, at a time that only grows.
    pub fn look(&mut self, now: Duration, value: f64) -> Verdict {
        if value > self.limit {
            let since = *self.over_since.get_or_insert(now);
            self.is_bad |= now.saturating_sub(since) >= self.lasting;
        } else {
            self.over_since = None;
            self.is_bad &= value > self.fine_at;
        }
        match (self.is_bad, value <= self.fine_at) {
            (true, _) => Verdict::Bad,
            (false, true) => Verdict::Fine,
            (false, false) => Verdict::Unsure,
        }
    }
}

/// A check that is bad once it failed so often in a row, and fine again once it held.
#[derive(Debug, Clone)]
pub struct Failing {
    after: u32,
    in_a_row: u32,
}

impl Failing {
    /// `after` is at least 1.
    #[must_use]
    pub fn new(after: u32) -> Failing {
        Failing { after: after.max(1), in_a_row: 0 }
    }

    /// What came of the check.
    pub fn look(&mut self, is_well: bool) -> Verdict {
        self.in_a_row = if is_well { 0 } else { self.in_a_row.saturating_add(1) };
        match self.in_a_row {
            0 => Verdict::Fine,
            n if n < self.after => Verdict::Unsure,
            _ => Verdict::Bad,
        }
    }
}

/// Logins that were refused: more than five within five minutes are an attack, or somebody who has
/// forgotten the token.
#[derive(Debug, Clone, Default)]
pub struct FailedLogins {
    /// The latest ones; more are not needed to know.
    at: VecDeque<Duration>,
}

impl FailedLogins {
    /// So many are nobody's business.
    pub const ALLOWED: usize = 5;
    /// Within this time.
    pub const WITHIN: Duration = Duration::from_secs(300);

    /// One was refused, at a time that only grows. Whether they are too many.
    pub fn refused(&mut self, now: Duration) -> bool {
        self.at.push_back(now);
        if self.at.len() > FailedLogins::ALLOWED + 1 {
            self.at.pop_front();
        }
        let is_within = |first: &Duration| now.saturating_sub(*first) < FailedLogins::WITHIN;
        self.at.len() > FailedLogins::ALLOWED && self.at.front().is_some_and(is_within)
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_reading_is_bad_once_it_lasted_and_fine_once_it_is_well_below() {
        let mut over = Over::new(85.0, 80.0, seconds(300));
        for (now, value, verdict) in [
            (0, 90.0, Verdict::Unsure),
            (299, 99.0, Verdict::Unsure),
            (300, 86.0, Verdict::Bad),
            (310, 84.0, Verdict::Bad),
            (320, 80.0, Verdict::Fine),
            (330, 82.0, Verdict::Unsure),
            (340, 90.0, Verdict::Unsure),
            (400, 85.0, Verdict::Unsure),
            // The time begins anew.
            (410, 90.0, Verdict::Unsure),
            (709, 90.0, Verdict::Unsure),
            (710, 90.0, Verdict::Bad),
        ] {
            assert_eq!(over.look(seconds(now), value), verdict, "{now}");
        }
    }

    #[test]
    fn a_check_is_bad_after_so_many_failures_in_a_row() {
        let mut failing = Failing::new(2);
        let checks = [false, false, true, false, true].map(|is_well| failing.look(is_well));
        use Verdict::{Bad, Fine, Unsure};
        assert_eq!(checks, [Unsure, Bad, Fine, Unsure, Fine]);
    }

    proptest! {
        #[test]
        fn more_than_five_refusals_in_five_minutes_are_too_many(waits in prop::collection::vec(0u64..200, 1..40)) {
            let (mut logins, mut now, mut all) = (FailedLogins::default(), 0, Vec::new());
            for wait in waits {
                now += wait;
                all.push(now);
                let recent = all.iter().filter(|at| now - **at < 300).count();
                prop_assert_eq!(logins.refused(seconds(now)), recent > 5);
            }
        }

        #[test]
        fn a_number_that_is_never_over_is_never_bad(values in prop::collection::vec(0.0f64..85.0, 0..50)) {
            let mut over = Over::new(85.0, 80.0, Duration::ZERO);
            for (now, value) in values.into_iter().enumerate() {
                prop_assert_ne!(over.look(seconds(now as u64), value), Verdict::Bad);
            }
        }
    }
}
