//! How long a provider asks to wait: in a header, or in the words of its message.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Nobody is waited for longer than this; whatever is asked beyond it is asked again then.
const MOST: Duration = Duration::from_secs(3_600);

/// The wait that an answer asks for: the finest header first, then the message.
pub(super) fn asked(headers: &HeaderMap, message: &str) -> Option<Duration> {
    in_headers(headers).or_else(|| in_words(message)).map(|wait| wait.min(MOST))
}

fn in_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return duration(millis / 1_000.0);
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<f64>() {
        return duration(seconds);
    }
    // A moment, by the server's own clock: ours may differ.
    let moment = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let (until, now): (Timestamp, Timestamp) = (moment(after)?, moment(text(DATE.as_str())?)?);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// How long from now a header's moment is: as seconds, as a span such as `1m30s`, or as a time by
/// the server's own clock.
pub(super) fn until(headers: &HeaderMap, text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return duration(seconds);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        let now = headers.get(DATE)?.to_str().ok()?;
        let now: Timestamp = DateTimeParser::new().parse_timestamp(now.trim()).ok()?;
        return Some(Duration::try_from(moment.duration_since(now)).unwrap_or_default());
    }
    span(text)
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.min(MOST.as_secs_f64())).ok()
}

/// The last "after 3 seconds", "in 2s" or "in 6m0s" of a message.
fn in_words(message: &str) -> Option<Duration> {
    let words = message.chars().take(4_096).collect::<String>().to_ascii_lowercase();
    let starts = ["after ", "in ", "for "].into_iter().flat_map(|word| {
        words
            .match_indices(word)
            .filter(|(at, _)| !ends_in_letter(&words[..*at]))
            .map(|(at, _)| at + word.len())
            .collect::<Vec<_>>()
    });
    starts
        .filter_map(|start| Some((start, span(&words[start..])?)))
        .max_by_key(|(start, _)| *start)
        .map(|(_, wait)| wait)
}

fn ends_in_letter(text: &str) -> bool {
    text.chars().next_back().is_some_and(char::is_alphanumeric)
}

/// The sum of the numbers with units that `text` starts with.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: Option<f64> = None;
    while let Some((seconds, after)) = part(rest) {
        total = Some(total.unwrap_or_default() + seconds);
        rest = after;
    }
    duration(total?)
}

/// One number with its unit, in seconds, and what follows it.
fn part(text: &str) -> Option<(f64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let unit = match &rest[..letters] {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        _ => return None,
    };
    Some((number * unit, &rest[letters..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: Pairs) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn headers_are_obeyed_finest_first() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let table: [(Pairs, Option<u64>); 8] = [
            (&[("retry-after", "7")], Some(7_000)),
            (&[("retry-after", "1.5")], Some(1_500)),
            (&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), DATE], Some(30_000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), DATE], Some(0)),
            (&[("retry-after", "999999")], Some(3_600_000)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-3")], None),
        ];
        for (pairs, millis) in table {
            assert_eq!(asked(&headers(pairs), ""), millis.map(Duration::from_millis), "{pairs:?}");
        }
    }

    #[test]
    fn waits_are_read_out_of_messages() {
        let table = [
            ("max organization RPM: 200, please try again after 1 seconds", Some(1_000)),
            ("rate limited, retry in 2s", Some(2_000)),
            ("Please try again in 20ms.", Some(20)),
            ("try again in 6m0s. Visit us", Some(360_000)),
            ("limit of 200 requests in 60 seconds, try again after 3 seconds", Some(3_000)),
            ("try again in 1.5 minutes", Some(90_000)),
            ("try again after 9 hours", Some(3_600_000)),
            ("within 5 seconds", None),
            ("try again after a while", None),
            ("in 3 parts", None),
            ("in .", None),
            ("", None),
        ];
        for (message, millis) in table {
            assert_eq!(asked(&HeaderMap::new(), message), millis.map(Duration::from_millis), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_it_or_makes_it_wait_long(message in "\\PC*( in | after )?[0-9.]{0,30}[a-z]{0,3}") {
            prop_assert!(asked(&HeaderMap::new(), &message).is_none_or(|wait| wait <= MOST));
        }
    }
}
