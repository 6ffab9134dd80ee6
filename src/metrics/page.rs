//! Writes what is read at the time of a scrape, in the text format of Prometheus 0.0.4.

use std::fmt::Write;

use super::catalogue::{Metric, find};

/// A page that is being written. Series of one metric come together.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// All series of one metric. What is no metric of the catalogue is not written.
    pub(super) fn family(&mut self, name: &str, series: impl IntoIterator<Item = Series>) {
        debug_assert!(find(name).is_some(), "{name} is not in the catalogue");
        let Some(metric) = find(name) else { return };
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.word());
        for one in series {
            self.line(metric, &one);
        }
    }

    /// A metric without labels, if there is a value.
    pub(super) fn one(&mut self, name: &str, value: Option<f64>) {
        self.family(name, value.map(|value| Series::new(&[], value)));
    }

    fn line(&mut self, metric: &Metric, series: &Series) {
        debug_assert!(series.labels.len() <= metric.labels.len(), "{}: too many labels", metric.name);
        self.0 += metric.name;
        for (index, (name, value)) in metric.labels.iter().zip(&series.labels).enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0 += name;
            self.0 += "=\"";
            escape(value, &mut self.0);
            self.0.push('"');
        }
        if !series.labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", series.value);
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

/// One value, and those of the labels in the order of the catalogue.
#[derive(Debug, Clone)]
pub(super) struct Series {
    labels: Vec<String>,
    value: f64,
}

impl Series {
    pub(super) fn new(labels: &[&str], value: f64) -> Series {
        Series { labels: labels.iter().map(|label| (*label).to_owned()).collect(), value }
    }
}

fn escape(value: &str, into: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => *into += "\\\\",
            '"' => *into += "\\\"",
            '\n' => *into += "\\n",
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.family("empire_jobs", [Series::new(&["do\"ne\n\\"], 1_500_000.0)]);
        page.one("empire_host_cpu_ratio", Some(0.25));
        page.one("empire_host_memory_ratio", None);
        let text = page.text();
        assert!(
            text.contains("# TYPE empire_jobs gauge\nempire_jobs{state=\"do\\\"ne\\n\\\\\"} 1500000\n"),
            "{text}"
        );
        assert!(text.ends_with("# TYPE empire_host_cpu_ratio gauge\nempire_host_cpu_ratio 0.25\n"), "{text}");
    }
}
