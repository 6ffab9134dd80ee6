//! What came of a run: the JSON to keep and compare.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::jobs::JobLine;
use crate::latency::Percentiles;
use crate::measure::{number, show};
use crate::process::Machine;
use crate::sample::Sample;
use crate::stage::Event;
use crate::verdict::{Measures, Verdict};

/// Of another number, a result is of another form.
const FORM: u32 = 1;
/// A larger file is no result.
const LARGEST: u64 = 256 << 20;

/// All that is kept of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) form: u32,
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    /// The command line, as it was given.
    pub(crate) command: String,
    /// When it began, UTC.
    pub(crate) began: jiff::Timestamp,
    pub(crate) machine: Machine,
    /// What the program says of its version.
    pub(crate) program: String,
    /// Of the harness.
    pub(crate) harness: String,
    pub(crate) items: u32,
    /// Whether every threshold held and nothing else went wrong.
    pub(crate) passed: bool,
    /// What went wrong beside thresholds.
    pub(crate) faults: Vec<String>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) measures: Measures,
    pub(crate) percentiles: Vec<Percentiles>,
    pub(crate) jobs: Vec<JobLine>,
    pub(crate) events: Vec<Event>,
    pub(crate) samples: Vec<Sample>,
}

impl Outcome {
    /// The form of results that this program writes.
    pub(crate) const FORM: u32 = FORM;

    /// Reads one.
    pub(crate) fn read(path: &Path) -> Result<Outcome> {
        let shown = path.display();
        let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be read"))?.len();
        ensure!(size <= LARGEST, "{shown} is too large for a result: is it the right file?");
        let text = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
        let outcome: Outcome = serde_json::from_slice(&text)
            .with_context(|| format!("{shown} is no result: give the result.json that `run` wrote"))?;
        ensure!(outcome.form == FORM, "{shown} is of another version's form: measure it again");
        Ok(outcome)
    }

    /// For a terminal: measures, thresholds, verdict.
    pub(crate) fn words(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario, self.about);
        let machine = &self.machine;
        text += &format!(
            "{} agents, seed {}, {}, {} cores, load before {:.2}\n\n",
            number(f64::from(self.items)),
            self.seed,
            machine.cpu,
            machine.cores,
            machine.load_before
        );
        for (measure, value) in &self.measures {
            text += &format!("  {:<38} {:>16}\n", measure.name(), show(*measure, *value));
        }
        text.push('\n');
        for verdict in &self.verdicts {
            let mark = if verdict.holds { "holds " } else { "FAILS " };
            let value = verdict.value.map_or("not measured".to_owned(), |value| show(verdict.measure, value));
            let wanted = verdict.wanted.words(verdict.measure);
            text += &format!("  {mark} {:<38} {value:>16}   {wanted}\n", verdict.measure.name());
        }
        for fault in &self.faults {
            text += &format!("  FAILS  {fault}\n");
        }
        let held = self.verdicts.iter().filter(|verdict| verdict.holds).count();
        let verdict = if self.passed { "passed" } else { "FAILED" };
        text + &format!("\n{verdict}: {held} of {} thresholds hold\n", self.verdicts.len())
    }
}
