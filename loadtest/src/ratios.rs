//! Benchmarks against a recorded baseline: ratios of figures of one run, since absolute times are
//! another machine's. A ratio is what is ours over its yardstick, so less is better.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `scripts/bench` asks.
#[derive(Debug, Args)]
pub(crate) struct RatiosArgs {
    /// The ratios, and what was recorded of them.
    #[arg(long, default_value = "benches/baseline.json", value_name = "FILE")]
    baseline: PathBuf,
    /// Where criterion kept what it measured.
    #[arg(long, default_value = "target/criterion", value_name = "DIR")]
    criterion: PathBuf,
    /// What `cargo bench --bench cells -- --rounds … --json` printed.
    #[arg(long, value_name = "FILE")]
    rounds: PathBuf,
    /// Write the ratios of this run into the baseline.
    #[arg(long)]
    record: bool,
}

/// `benches/baseline.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    about: String,
    /// Where it was recorded.
    recorded_on: String,
    ratios: Vec<Ratio>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    name: String,
    of: Figure,
    against: Figure,
    /// Worse is what is more than this share above what was recorded.
    margin: f64,
    recorded: Option<f64>,
}

/// `criterion/GROUP/FUNCTION/VALUE`: nanoseconds of one iteration, the median; or
/// `rounds/KIND/COUNT/FIELD`. `for` says of how many things it is, if not of one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    figure: String,
    #[serde(default = "one", rename = "for", skip_serializing_if = "is_one")]
    things: f64,
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(things: &f64) -> bool {
    *things == 1.0
}

/// What was measured, by the names that [`Figure`] uses.
type Figures = BTreeMap<String, f64>;

/// Prints the table; gives whether nothing got worse.
pub(crate) fn run(args: &RatiosArgs) -> Result<bool> {
    let text = read(&args.baseline)?;
    let mut baseline: Baseline = serde_json::from_str(&text)
        .with_context(|| format!("{} is no baseline of ratios", args.baseline.display()))?;
    let mut figures = rounds(&read(&args.rounds)?)
        .with_context(|| format!("{} is no list of rounds", args.rounds.display()))?;
    for name in baseline.ratios.iter().flat_map(|ratio| [&ratio.of.figure, &ratio.against.figure]) {
        if let Some(path) = name.strip_prefix("criterion/") {
            figures.insert(name.clone(), median(&args.criterion.join(path).join("new/estimates.json"))?);
        }
    }
    let now = baseline.ratios.iter().map(|ratio| ratio.now(&figures)).collect::<Result<Vec<f64>>>()?;
    if args.record {
        baseline.record(&now);
        let json = serde_json::to_string_pretty(&baseline)? + "\n";
        fs::write(&args.baseline, json)
            .with_context(|| format!("{} cannot be written", args.baseline.display()))?;
    }
    let (table, is_worse) = table(&baseline, &now);
    print!("{table}");
    Ok(!is_worse)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What criterion found.
fn median(path: &Path) -> Result<f64> {
    let estimates: Value = serde_json::from_str(&read(path)?)?;
    let median = estimates.pointer("/median/point_estimate").and_then(Value::as_f64);
    median.with_context(|| format!("{} has no median", path.display()))
}

/// A round a line.
fn rounds(lines: &str) -> Result<Figures> {
    let mut figures = Figures::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let round: BTreeMap<String, Value> = serde_json::from_str(line)?;
        let (Some(Value::String(kind)), Some(count)) = (round.get("kind"), round.get("count")) else {
            bail!("a line has no kind and count");
        };
        let numbers = round.iter().filter_map(|(field, value)| Some((field, value.as_f64()?)));
        figures.extend(numbers.map(|(field, number)| (format!("rounds/{kind}/{count}/{field}"), number)));
    }
    Ok(figures)
}

impl Ratio {
    fn now(&self, figures: &Figures) -> Result<f64> {
        let [of, against] = [&self.of, &self.against].map(|figure| {
            let measured = figures.get(&figure.figure).copied().filter(|value| *value > 0.0);
            let measured = measured.map(|value| value / figure.things);
            measured.with_context(|| format!("{}: {} was not measured", self.name, figure.figure))
        });
        Ok(of? / against?)
    }

    fn is_worse(&self, now: f64) -> bool {
        self.recorded.is_some_and(|recorded| now > recorded * (1.0 + self.margin))
    }
}

impl Baseline {
    fn record(&mut self, now: &[f64]) {
        for (ratio, now) in self.ratios.iter_mut().zip(now) {
            // Four digits: the rest is noise, and only makes a change longer.
            ratio.recorded = format!("{now:.3e}").parse().ok();
        }
        let machine = crate::process::Machine::look();
        self.recorded_on = format!("{}, {} cores", machine.cpu, machine.cores);
    }
}

/// The table for a terminal, and whether anything got worse.
fn table(baseline: &Baseline, now: &[f64]) -> (String, bool) {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "recorded on: {}; less is better\n", baseline.recorded_on);
    let _ = writeln!(text, "  {:<58} {:>9} {:>9} {:>8} {:>7}", "", "recorded", "now", "change", "margin");
    let mut worse = 0;
    for (ratio, now) in baseline.ratios.iter().zip(now) {
        let recorded = ratio.recorded.map_or("-".to_owned(), digits);
        let change = ratio
            .recorded
            .map_or("-".to_owned(), |recorded| format!("{:+.0} %", (now / recorded - 1.0) * 100.0));
        let mark = if ratio.is_worse(*now) { "  WORSE" } else { "" };
        worse += usize::from(ratio.is_worse(*now));
        let margin = format!("{:.0} %", ratio.margin * 100.0);
        let now = digits(*now);
        let _ = writeln!(text, "  {:<58} {recorded:>9} {now:>9} {change:>8} {margin:>7}{mark}", ratio.name);
    }
    let _ = match worse {
        0 => writeln!(text, "\nnothing got worse by more than its margin"),
        worse => writeln!(text, "\n{worse} got worse by more than their margin"),
    };
    (text, worse > 0)
}

/// Three digits.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figure(name: &str, things: f64) -> Figure {
        Figure { figure: name.to_owned(), things }
    }

    fn baseline(recorded: Option<f64>, margin: f64) -> Baseline {
        let ratio = Ratio {
            name: "one commit of many against many of one".to_owned(),
            of: figure("criterion/store/many", 1.0),
            against: figure("rounds/tokio tasks/10/spawn_s", 0.5),
            margin,
            recorded,
        };
        Baseline { about: String::new(), recorded_on: "a machine".to_owned(), ratios: vec![ratio] }
    }

    #[test]
    fn a_ratio_is_of_what_was_measured_by_how_much_it_is_for() {
        let mut figures = rounds(
            "{\"kind\":\"tokio tasks\",\"count\":10,\"spawn_s\":2.0,\"ask_s\":null}\n\n\
             {\"kind\":\"cells\",\"count\":10,\"spawn_s\":1.0}\n",
        )
        .unwrap();
        let ratio = &baseline(None, 0.2).ratios[0];
        let missing = ratio.now(&figures).unwrap_err().to_string();
        assert!(missing.contains("criterion/store/many was not measured"), "{missing}");
        figures.insert("criterion/store/many".to_owned(), 6.0);
        assert_eq!(ratio.now(&figures).unwrap(), 1.5);
        assert!(rounds("{\"kind\":1}").is_err() && rounds("spawned").is_err());
    }

    #[test]
    fn only_what_is_beyond_its_margin_is_worse() {
        let (text, is_worse) = table(&baseline(Some(1.0), 0.2), &[1.19]);
        assert!(!is_worse && text.contains("+19 %") && text.contains("nothing got worse"), "{text}");
        let (text, is_worse) = table(&baseline(Some(1.0), 0.2), &[1.21]);
        assert!(is_worse && text.contains("20 %  WORSE\n"), "{text}");
        assert!(!table(&baseline(None, 0.2), &[9.0]).1, "nothing is recorded yet");
    }

    #[test]
    fn the_baseline_that_ships_can_be_read_and_names_each_ratio_once() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/baseline.json");
        let baseline: Baseline = serde_json::from_str(&read(&path).unwrap()).unwrap();
        let mut names: Vec<&str> = baseline.ratios.iter().map(|ratio| ratio.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == baseline.ratios.len() && names.len() >= 10, "{names:?}");
        assert!(baseline.ratios.iter().all(|ratio| ratio.margin > 0.0 && ratio.recorded.is_some()));
    }

    proptest! {
        #[test]
        fn what_is_recorded_is_not_worse_than_itself(now in 1e-6..1e6f64, margin in 0.01..1.0f64) {
            let mut baseline = baseline(None, margin);
            baseline.record(&[now]);
            prop_assert!(!baseline.ratios[0].is_worse(now));
            prop_assert!(baseline.ratios[0].is_worse(now * (1.0 + margin) * 1.01));
        }
    }
}
