//! Reads what Prometheus would read.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::get;

/// A scrape: series by name and labels, as they are written.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) bytes: usize,
    series: Vec<(String, BTreeMap<String, String>, f64)>,
    pub(crate) types: BTreeMap<String, String>,
}

impl Page {
    /// Reads `http://ADDRESS/metrics`; none once nobody listens.
    pub(crate) fn read(url: &str) -> Option<Page> {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let (head, body) = get(address, &format!("/{path}"))?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Some(Page::parse(&body))
    }

    pub(crate) fn parse(body: &str) -> Page {
        let mut page = Page { bytes: body.len(), series: Vec::new(), types: BTreeMap::new() };
        let mut family = String::new();
        for line in body.lines().filter(|line| !line.is_empty()) {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                family = name.to_owned();
                let twice = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} comes twice");
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = match series.split_once('{') {
                    Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').unwrap())),
                    None => (series, BTreeMap::new()),
                };
                assert!(name.starts_with(&family), "{name} stands below {family}");
                page.series.push((name.to_owned(), labels, value.parse().unwrap()));
            }
        }
        page
    }

    /// The sum of all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|found| found == value))
        };
        let found = self.series.iter().filter(|(found, of, _)| found == name && has(of));
        found.map(|(_, _, value)| value).sum()
    }

    /// The values of a series by one of its labels, added up.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (_, of, value) in self.series.iter().filter(|(found, ..)| found == name) {
            *sums.entry(of.get(label).cloned().unwrap_or_default()).or_default() += value;
        }
        sums
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.series.iter().map(|(name, ..)| name.as_str()).collect()
    }

    /// Every name of a label, and every value of one.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.series.iter().flat_map(|(series, labels, _)| {
            labels.iter().map(move |(name, value)| (series.as_str(), name.as_str(), value.as_str()))
        })
    }

    /// What only goes up, with its labels.
    pub(crate) fn counters(&self) -> BTreeMap<String, f64> {
        let is_counter = |name: &str| self.types.get(name).is_some_and(|kind| kind == "counter");
        let counters = self.series.iter().filter(|(name, ..)| is_counter(name));
        counters.map(|(name, labels, value)| (format!("{name}{labels:?}"), *value)).collect()
    }
}

fn labels_of(text: &str) -> BTreeMap<String, String> {
    let label = |pair: &str| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {pair}"));
        (name.trim_start_matches(',').to_owned(), value.to_owned())
    };
    text.split_terminator('"').collect::<Vec<_>>().chunks(2).map(|pair| label(&pair.join("\""))).collect()
}
