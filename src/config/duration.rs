//! Durations as people write them: `5s`, `2m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration that is read and shown as `500ms`, `5s`, `2m`, `1h30m` or `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumaneDuration(pub Duration);

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: write a number and a unit (ms, s, m, h, d), like 500ms, 5s, 2m or 1h30m")]
pub struct DurationError(String);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for HumaneDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        millis_of(text.trim())
            .map(|millis| HumaneDuration(Duration::from_millis(millis)))
            .ok_or_else(|| DurationError(text.chars().take(40).collect()))
    }
}

/// Adds up the parts of `text`, each unit smaller than the one before it.
fn millis_of(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let name_len = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, millis) = units.find(|(name, _)| *name == &rest[..name_len])?;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = &rest[name_len..];
    }
    (!text.is_empty()).then_some(total)
}

impl fmt::Display for HumaneDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, millis) in UNITS {
            if rest >= millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write_and_refuses_the_rest() {
        for (text, millis) in [
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            (" 1d ", 86_400_000),
        ] {
            assert_eq!(text.parse(), Ok(HumaneDuration(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "1.5h", "30m1h", "5x", "99999999999999999999s"] {
            assert!(text.parse::<HumaneDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn durations_survive_being_shown(millis in 0u64..10_000_000_000) {
            let duration = HumaneDuration(Duration::from_millis(millis));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
