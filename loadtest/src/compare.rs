//! Two results side by side: ratios, and what got worse.

use std::fmt::Write as _;

use crate::measure::{Better, Measure, show};
use crate::outcome::Outcome;

/// How one measure changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Better,
    Worse,
    Same,
    /// No way is better, or one of the two was not measured.
    Unjudged,
}

/// How a measure changed from `before` to `after`; what changes by no more than `tolerance` (0.1 is a
/// tenth) is the same.
pub(crate) fn change(measure: Measure, before: Option<f64>, after: Option<f64>, tolerance: f64) -> Change {
    let (Some(before), Some(after)) = (before, after) else { return Change::Unjudged };
    let slack = before.abs() * tolerance + f64::EPSILON;
    match measure.better() {
        Better::Neither => Change::Unjudged,
        _ if (after - before).abs() <= slack => Change::Same,
        Better::More if after > before => Change::Better,
        Better::Less if after < before => Change::Better,
        Better::More | Better::Less => Change::Worse,
    }
}

/// The table for a terminal, and whether anything got worse.
pub(crate) fn table(a: &Outcome, b: &Outcome, tolerance: f64) -> (String, bool) {
    let mut text = String::new();
    let who = |outcome: &Outcome| {
        let Outcome { scenario, seed, items, program, machine, began, .. } = outcome;
        format!("{scenario}, {items} agents, seed {seed}, {program}, {} cores, {began:.0}", machine.cores)
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "A  {}\nB  {}\n", who(a), who(b));
    for warning in warnings(a, b) {
        let _ = writeln!(text, "note: {warning}");
    }
    let _ = writeln!(text, "  {:<38} {:>16} {:>16} {:>8}", "", "A", "B", "B / A");
    let mut worse = Vec::new();
    for measure in Measure::ALL {
        let (before, after) = (a.measures.get(measure).copied(), b.measures.get(measure).copied());
        if before.is_none() && after.is_none() {
            continue;
        }
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| show(*measure, value));
        let ratio = before.zip(after).filter(|(before, _)| *before != 0.0);
        let ratio = ratio.map_or("-".to_owned(), |(before, after)| format!("{:.2}", after / before));
        let mark = match change(*measure, before, after, tolerance) {
            Change::Better => "better",
            Change::Worse => {
                worse.push(measure.name());
                "WORSE"
            }
            Change::Same | Change::Unjudged => "",
        };
        let (before, after) = (cell(before), cell(after));
        let line = format!("  {:<38} {before:>16} {after:>16} {ratio:>8}  {mark}", measure.name());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let percent = tolerance * 100.0;
    let _ = match worse.as_slice() {
        [] => writeln!(text, "\nnothing got worse by more than {percent:.0} %"),
        worse => writeln!(text, "\nworse by more than {percent:.0} %: {}", worse.join(", ")),
    };
    (text, !worse.is_empty())
}

/// Why two results may not be comparable.
fn warnings(a: &Outcome, b: &Outcome) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if a.scenario != b.scenario || a.items != b.items {
        warnings.push("these are different scenarios or sizes: ratios say little");
    }
    if a.machine.cpu != b.machine.cpu || a.machine.cores != b.machine.cores {
        warnings.push("these are different machines: compare only what is a ratio itself");
    }
    if [a, b].iter().any(|outcome| outcome.machine.load_before > 0.5) {
        warnings.push("something else was busy before one of the runs: times and rates say little");
    }
    warnings
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::Machine;
    use crate::verdict::{Bound, Measures, judge};

    /// A result with these measures.
    pub(crate) fn outcome(measures: &[(Measure, f64)]) -> Outcome {
        let measures: Measures = measures.iter().copied().collect();
        let wanted = Bound { at_least: None, at_most: Some(350.0) };
        Outcome {
            form: Outcome::FORM,
            scenario: "small".to_owned(),
            about: "a <small> one & only".to_owned(),
            seed: 1,
            command: "empire-loadtest run small".to_owned(),
            began: jiff::Timestamp::UNIX_EPOCH,
            machine: Machine {
                cpu: "a processor".to_owned(),
                cores: 2,
                memory: 8 << 30,
                system: "some Linux".to_owned(),
                load_before: 0.1,
            },
            program: "empire 0.1.0".to_owned(),
            harness: "0.1.0".to_owned(),
            items: 10,
            passed: true,
            faults: vec![],
            verdicts: judge(&[(Measure::PeakMemoryMib, wanted)].into(), &measures),
            measures,
            percentiles: vec![],
            jobs: vec![],
            events: vec![],
            samples: vec![],
        }
    }

    #[test]
    fn what_got_worse_is_named() {
        let a = outcome(&[
            (Measure::AgentsPerSecond, 100.0),
            (Measure::PeakMemoryMib, 300.0),
            (Measure::Lost, 0.0),
        ]);
        let b = outcome(&[
            (Measure::AgentsPerSecond, 80.0),
            (Measure::PeakMemoryMib, 305.0),
            (Measure::Lost, 0.0),
        ]);
        let (text, is_worse) = table(&a, &b, 0.1);
        assert!(is_worse && text.contains("worse by more than 10 %: agents_per_second\n"), "{text}");
        assert!(text.contains("0.80  WORSE"), "{text}");
        let (text, is_worse) = table(&a, &b, 0.25);
        assert!(!is_worse && text.contains("nothing got worse"), "{text}");
    }

    #[test]
    fn one_lost_item_is_worse_than_none_whatever_the_tolerance() {
        assert_eq!(change(Measure::Lost, Some(0.0), Some(1.0), 0.5), Change::Worse);
        assert_eq!(change(Measure::Calls, Some(1.0), Some(9.0), 0.0), Change::Unjudged);
        assert_eq!(change(Measure::Lost, None, Some(1.0), 0.0), Change::Unjudged);
    }

    #[test]
    fn a_result_can_be_kept_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let kept = outcome(&[(Measure::PeakMemoryMib, 12.5)]);
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(Outcome::read(&path).unwrap(), kept);
        std::fs::write(&path, "{}").unwrap();
        assert!(Outcome::read(&path).unwrap_err().to_string().contains("is no result"));
    }

    proptest! {
        #[test]
        fn there_and_back_is_better_one_way_and_worse_the_other(a in 1.0..1e6f64, factor in 1.3..10.0f64) {
            for measure in [Measure::AgentsPerSecond, Measure::PeakMemoryMib] {
                let (low, high) = (Some(a), Some(a * factor));
                let ways = [change(measure, low, high, 0.1), change(measure, high, low, 0.1)];
                prop_assert!(ways.contains(&Change::Better) && ways.contains(&Change::Worse));
            }
        }
    }
}
