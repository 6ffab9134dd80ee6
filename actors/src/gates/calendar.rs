//! Days and months of the UTC calendar, for budgets that renew with them. Pure.

use std::fmt;

use jiff::Span;
use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};

use crate::ports::UnixMillis;

/// Milliseconds of a day. UTC as computers count it has no leap seconds.
pub const DAY_MILLIS: i64 = 86_400_000;
const EPOCH: Date = date(1970, 1, 1);

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i64);

/// A UTC month, counted from January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Month(pub i64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(at: UnixMillis) -> Day {
        Day(at.0.div_euclid(DAY_MILLIS))
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> UnixMillis {
        UnixMillis(self.0.saturating_mul(DAY_MILLIS))
    }

    /// Its month.
    #[must_use]
    pub fn month(self) -> Month {
        let date = self.date();
        Month((i64::from(date.year()) - 1970) * 12 + i64::from(date.month()) - 1)
    }

    /// As a date; days beyond what a calendar holds are its first or last.
    fn date(self) -> Date {
        let beyond = if self.0 < 0 { Date::MIN } else { Date::MAX };
        let since = Span::new().try_days(self.0);
        since.and_then(|days| EPOCH.checked_add(days)).unwrap_or(beyond)
    }
}

impl Month {
    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        let (year, month) = (1970 + self.0.div_euclid(12), self.0.rem_euclid(12) + 1);
        let beyond = if self.0 < 0 { Date::MIN } else { Date::MAX };
        let date = match (i16::try_from(year), i8::try_from(month)) {
            (Ok(year), Ok(month)) => Date::new(year, month, 1).unwrap_or(beyond),
            _ => beyond,
        };
        Day(date.duration_since(EPOCH).as_secs() / (DAY_MILLIS / 1_000))
    }

    /// The first day of the next one.
    #[must_use]
    pub fn end(self) -> Day {
        Month(self.0 + 1).first_day()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.first_day().date();
        write!(f, "{:04}-{:02}", first.year(), first.month())
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days_have_their_names() {
        for (day, name) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_780, "2026-11-23"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Day(day).to_string(), name);
        }
        assert_eq!(Day(20_780).month().to_string(), "2026-11");
        assert_eq!(Month(682).end().to_string(), "2026-12-01");
        assert_eq!(Day::of(UnixMillis(-1)), Day(-1));
    }

    proptest! {
        #[test]
        fn every_day_lies_in_its_month(day in -800_000i64..800_000) {
            let (day, month) = (Day(day), Day(day).month());
            prop_assert!(month.first_day() <= day && day < month.end());
            prop_assert!((28..=31).contains(&(month.end().0 - month.first_day().0)));
            prop_assert_eq!(Day::of(day.start()), day);
        }
    }
}
