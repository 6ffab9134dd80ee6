//! What vendors say of their own limits in the headers of an answer.

use std::time::Duration;

use empire_actors::gates::meter::{Binding, Told};
use reqwest::header::HeaderMap;

use super::wait;

const MINUTE: Duration = Duration::from_secs(60);

/// Which header family tells of which meter: the prefix of the limit, of what is left, and of when
/// it is whole again.
const FAMILIES: [(Binding, [&str; 3]); 6] = [
    (
        Binding::RequestsPerMinute,
        [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        Binding::InputTokensPerMinute,
        [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        Binding::OutputTokensPerMinute,
        [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
    (
        Binding::RequestsPerMinute,
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ),
    (
        Binding::TokensPerMinute,
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    ),
    (Binding::RequestsPerMinute, ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]),
];

/// Every limit that the headers tell of. One that is whole again only after more than a minute is
/// no limit of a minute, and is left alone.
pub(super) fn told(headers: &HeaderMap) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for (meter, [limit, remaining, reset]) in FAMILIES {
        let number = |name: &str| text(headers, name)?.parse::<u64>().ok();
        let resets_in = text(headers, reset).and_then(|reset| wait::until(headers, reset));
        let told = Told { meter, limit: number(limit), remaining: number(remaining), resets_in };
        let says_something = told.limit.is_some() || told.remaining.is_some();
        let of_a_minute = resets_in.is_none_or(|reset| reset <= MINUTE);
        if says_something && of_a_minute && all.iter().all(|other| other.meter != meter) {
            all.push(told);
        }
    }
    all
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Vec<(Binding, Option<u64>, Option<u64>)> {
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        told(&headers).into_iter().map(|told| (told.meter, told.limit, told.remaining)).collect()
    }

    #[test]
    fn each_vendors_headers_are_understood() {
        let claude = of(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-01-02T03:04:05Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-input-tokens-remaining", "27000"),
            ("anthropic-ratelimit-output-tokens-remaining", "8000"),
        ]);
        assert_eq!(
            claude,
            [
                (Binding::RequestsPerMinute, Some(50), Some(49)),
                (Binding::InputTokensPerMinute, Some(30_000), Some(27_000)),
                (Binding::OutputTokensPerMinute, None, Some(8_000)),
            ]
        );
        let others = of(&[
            ("x-ratelimit-limit-requests", "200"),
            ("x-ratelimit-reset-requests", "300ms"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-tokens", "1999000"),
            ("x-ratelimit-reset-tokens", "30ms"),
        ]);
        assert_eq!(
            others,
            [
                (Binding::RequestsPerMinute, Some(200), None),
                (Binding::TokensPerMinute, Some(2_000_000), Some(1_999_000)),
            ]
        );
    }

    #[test]
    fn a_reset_is_taken_as_a_span_or_by_the_vendors_own_clock() {
        let reset = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            told(&headers)[0].resets_in
        };
        let date = ("date", "Fri, 02 Jan 2026 03:03:35 GMT");
        let limit = ("anthropic-ratelimit-requests-limit", "50");
        let moment = ("anthropic-ratelimit-requests-reset", "2026-01-02T03:04:05Z");
        assert_eq!(reset(&[date, limit, moment]), Some(Duration::from_secs(30)));
        assert_eq!(reset(&[limit, moment]), None);
        let other = [("x-ratelimit-limit-requests", "9"), ("x-ratelimit-reset-requests", "250ms")];
        assert_eq!(reset(&other), Some(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_limit_of_a_minute_is_left_alone() {
        for reset in ["6m0s", "1700000000", "3600", "24h"] {
            assert_eq!(of(&[("x-ratelimit-limit", "10"), ("x-ratelimit-reset", reset)]), [], "{reset}");
        }
        assert_eq!(of(&[("x-ratelimit-limit", "many")]), []);
        assert_eq!(of(&[]), []);
    }
}
