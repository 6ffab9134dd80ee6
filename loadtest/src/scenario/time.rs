//! Times as scenarios write them.

use std::time::Duration;

use serde::Deserialize;

const LONGEST_S: f64 = 7.0 * 86_400.0;

/// A time with its unit, such as `250ms`, `3s`, `5m` or `1.5h`; at most a week.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) Duration);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let wrong = || format!("`{text}` is no time: write a number and its unit, like 250ms, 3s, 5m or 1h");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match &text[digits..] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(wrong()),
        };
        let seconds = number * unit;
        if seconds > LONGEST_S {
            return Err(format!("`{text}` is longer than a week: write less"));
        }
        Ok(Time(Duration::from_secs_f64(seconds)))
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Time, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let read = |text: &str| text.parse::<Time>().map(|time| time.0.as_millis());
        assert_eq!(read("250ms"), Ok(250));
        assert_eq!(read("1.5m"), Ok(90_000));
        for wrong in ["", "5", "s", "5 s", "-5s", "5d", "1e3s", "9000h", "1.2.3s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
