use std::collections::BTreeSet;

use empire_actors::tally::{LONGEST_NAME, MOST_DETAILED, MOST_MODELS, label, name};

use super::catalogue::Metric;
use super::page::{Page, Series};
use super::*;

#[test]
fn the_documentation_has_the_table_of_all_metrics() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let (docs, table) = (std::fs::read_to_string(path).unwrap(), catalogue::table());
    assert!(docs.contains(&table), "docs/metrics.md must hold this table:\n\n{table}");
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let Metric { name, kind, unit, .. } = metric;
        assert!(names.insert(name), "{name} comes twice");
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(is_plain), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
        let bare = name.trim_end_matches("_total").trim_end_matches("_max");
        for (ending, of) in
            [("seconds", "seconds"), ("bytes", "bytes"), ("ratio", "ratio"), ("usd", "dollars")]
        {
            assert_eq!(bare.ends_with(ending), *unit == of, "{name} is in {unit}");
        }
        if let MetricKind::Histogram(buckets) = kind {
            assert!(buckets.is_sorted() && buckets.len() < 20, "{name}");
        }
    }
}

/// However much is configured, a page stays below 1 MB. This is what of it grows with that: as many
/// models as are counted apart, with the longest names, each of which has met every outcome, and
/// limits of every kind.
#[test]
fn the_largest_page_is_below_a_megabyte() {
    let keeper = Keeper::new().unwrap();
    let mut page = Page::default();
    let meters = ["output_tokens_per_minute"; 7];
    let (mut used, mut states) = (Vec::new(), Vec::new());
    for n in 0..=MOST_MODELS {
        let (provider, model) = (format!("{n:040}"), format!("{n:0width$}", width = LONGEST_NAME));
        let of = [(label::PROVIDER, provider.as_str()), (label::MODEL, model.as_str())];
        for outcome in 0..17 {
            let outcome = format!("{outcome:015}");
            keeper.counter(name::CALLS, &[of[0], of[1], (label::OUTCOME, &outcome)]).increment(1 << 30);
        }
        for kind in ["input", "cached_input", "cache_write", "output"] {
            keeper.counter(name::TOKENS, &[of[0], of[1], (label::TOKEN_TYPE, kind)]).increment(1 << 40);
        }
        if n > MOST_DETAILED {
            continue;
        }
        let chat = [(label::OPERATION, "chat"), of[0], of[1]];
        keeper.histogram(name::DURATION, &chat).record(0.001);
        for kind in ["input", "output"] {
            let labels = [chat[0], chat[1], chat[2], (label::TOKEN_TYPE, kind)];
            keeper.histogram(name::TOKEN_USAGE, &labels).record(1.0);
        }
        used.extend(meters.map(|meter| Series::new(&[&provider, &model, meter], 1e9)));
        states.extend(["half_open"; 5].map(|state| Series::new(&[&provider, &model, state], 0.0)));
    }
    page.family("empire_meter_used", used.clone());
    page.family("empire_meter_limit", used);
    page.family("empire_breaker_state", states);
    let bytes = keeper.handle.render().len() + page.text().len();
    assert!(bytes < 950_000, "{bytes} bytes");
}
