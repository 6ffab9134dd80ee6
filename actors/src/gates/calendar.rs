//! Days and months of the UTC calendar, for budgets that renew with them. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ports::UnixMillis;

/// Milliseconds of a day. UTC as computers count it has no leap seconds.
pub const DAY_MILLIS: i64 = 86_400_000;
/// Days of 400 years of the Gregorian calendar, after which it repeats.
const CYCLE_DAYS: i64 = 146_097;
/// Days from 0000-03-01, where the years below begin, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

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
        let (year, month, _) = self.civil();
        Month((year - 1970) * 12 + month - 1)
    }

    /// Year, month and day of the month. Years are taken to begin in March, so that the leap day
    /// is a year's last, and the months from March on have 153 days in every five.
    fn civil(self) -> (i64, i64, i64) {
        let day = self.0 + DAYS_TO_1970;
        let (cycle, day) = (day.div_euclid(CYCLE_DAYS), day.rem_euclid(CYCLE_DAYS));
        let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE_DAYS - 1)) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (cycle * 400 + year + i64::from(month <= 2), month, day_of_month)
    }
}

impl Month {
    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        let (year, month) = (1970 + self.0.div_euclid(12), self.0.rem_euclid(12) + 1);
        let year = year - i64::from(month <= 2);
        let from_march = (month + 9) % 12;
        let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
        let day = 365 * year + year / 4 - year / 100 + (153 * from_march + 2) / 5;
        Day(cycle * CYCLE_DAYS + day - DAYS_TO_1970)
    }

    /// The first day of the next one.
    #[must_use]
    pub fn end(self) -> Day {
        Month(self.0 + 1).first_day()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, _) = self.first_day().civil();
        write!(f, "{year:04}-{month:02}")
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
