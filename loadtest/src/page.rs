//! Reads a page of metrics in Prometheus' text format.

use std::collections::BTreeMap;

/// A page of metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Page(Vec<Series>);

#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Counts by upper edge, in seconds; the last edge is infinite. Not cumulative.
pub(crate) type Buckets = BTreeMap<Edge, u64>;

/// The upper edge of a bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge(pub(crate) f64);

impl PartialEq for Edge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Edge {}

impl PartialOrd for Edge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Edge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Page {
    /// Reads what can be read; lines that cannot are left out.
    pub(crate) fn parse(text: &str) -> Page {
        Page(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// The sum of all series of a name with these labels; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.matching(name, labels).map(|series| series.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The highest value of the name.
    pub(crate) fn most(&self, name: &str) -> Option<f64> {
        self.matching(name, &[]).map(|series| series.value).max_by(f64::total_cmp)
    }

    /// Values by one label, added up over the others.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.matching(name, &[]) {
            *sums.entry(series.label(label).to_owned()).or_default() += series.value;
        }
        sums
    }

    /// Values by two labels; an absent label is empty.
    pub(crate) fn by_two(&self, name: &str, labels: [&str; 2]) -> BTreeMap<(String, String), f64> {
        let mut sums = BTreeMap::new();
        for series in self.matching(name, &[]) {
            let key = (series.label(labels[0]).to_owned(), series.label(labels[1]).to_owned());
            *sums.entry(key).or_default() += series.value;
        }
        sums
    }

    /// The series of a name that lack a label.
    pub(crate) fn without(&self, name: &str, label: &str) -> Page {
        let lacks = |series: &&Series| series.name == name && series.label(label).is_empty();
        Page(self.0.iter().filter(lacks).cloned().collect())
    }

    /// A histogram, added up over all series with these labels.
    pub(crate) fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Buckets {
        let mut upto: BTreeMap<Edge, f64> = BTreeMap::new();
        for series in self.matching(&format!("{name}_bucket"), labels) {
            let edge = series.label("le");
            let edge = if edge == "+Inf" { f64::INFINITY } else { edge.parse().unwrap_or(f64::INFINITY) };
            *upto.entry(Edge(edge)).or_default() += series.value;
        }
        let mut below = 0.0;
        let each = upto.into_iter().map(|(edge, count)| {
            let own = (count - below).max(0.0) as u64;
            below = count;
            (edge, own)
        });
        each.collect()
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> + 'a {
        self.0.iter().filter(move |series| {
            series.name == name && labels.iter().all(|(label, value)| series.label(label) == *value)
        })
    }
}

impl Series {
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

fn series(line: &str) -> Option<Series> {
    let (what, value) = line.trim().rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let (name, labels) = match what.split_once('{') {
        None => (what, Vec::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
    };
    Some(Series { name: name.to_owned(), labels, value })
}

fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut escaped = false;
        let mut end = None;
        for (at, c) in quoted.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, c) => value.push(c),
                (false, '"') => {
                    end = Some(at + 1);
                    break;
                }
                (false, '\\') => {}
                (false, c) => value.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        labels.push((name.to_owned(), value));
        rest = quoted[end?..].trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x y
empire_agents{state=\"waiting\"} 7
empire_agents{state=\"done\"} 3
odd{model=\"a\\\"b,c}\",le=\"0.1\"} 2
wait_bucket{gate=\"rate\",le=\"0.1\"} 5
wait_bucket{gate=\"rate\",le=\"1\"} 9
wait_bucket{gate=\"rate\",le=\"+Inf\"} 10
wait_bucket{gate=\"budget\",le=\"0.1\"} 1
plain 1.5e3
broken{x=\"
";

    #[test]
    fn series_are_found_by_their_labels() {
        let page = Page::parse(PAGE);
        assert_eq!(page.sum("empire_agents", &[("state", "waiting")]), Some(7.0));
        assert_eq!(page.sum("empire_agents", &[]), Some(10.0));
        assert_eq!(page.sum("none", &[]), None);
        assert_eq!(page.most("empire_agents"), Some(7.0));
        assert_eq!(page.sum("odd", &[("model", "a\"b,c}")]), Some(2.0));
        assert_eq!(page.sum("plain", &[]), Some(1_500.0));
        assert_eq!(page.by("empire_agents", "state")["done"], 3.0);
    }

    #[test]
    fn buckets_count_what_is_between_their_edges() {
        let buckets = Page::parse(PAGE).buckets("wait", &[("gate", "rate")]);
        assert_eq!(buckets.values().copied().collect::<Vec<_>>(), [5, 4, 1]);
        let both = Page::parse(PAGE).buckets("wait", &[]);
        assert_eq!(both[&Edge(0.1)], 6);
    }
}
