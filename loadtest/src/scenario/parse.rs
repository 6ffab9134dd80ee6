//! Reads a scenario's YAML. Whatever is wrong is told with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::time::Time;
use super::{Arrival, Job, MOST_ITEMS, Mishap, Scenario, ScenarioError, Text, Traits, What, When, Yardstick};
use crate::measure::Measure;
use crate::verdict::Bound;

const MOST_BATCHES: u32 = 10_000;
const MOST_CONNECTIONS: u32 = 4_096;
/// As the program's own default for a reduce that names no group.
const USUAL_GROUP: u32 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: Spanned<String>,
    about: String,
    simulator: Spanned<String>,
    #[serde(default)]
    config: Option<Spanned<String>>,
    jobs: Spanned<Vec<RawJob>>,
    #[serde(default)]
    prime: u32,
    #[serde(default)]
    yardstick: Option<Spanned<RawYardstick>>,
    #[serde(default)]
    resume_after: Option<Time>,
    #[serde(default)]
    chaos: Vec<Spanned<RawMishap>>,
    #[serde(default)]
    warm_up: Time,
    limit: Time,
    #[serde(default)]
    scrape_every: Option<Spanned<Time>>,
    thresholds: Spanned<BTreeMap<Measure, Bound>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    name: Spanned<String>,
    items: Spanned<u32>,
    #[serde(default)]
    words: Option<PathBuf>,
    #[serde(default)]
    start: Time,
    #[serde(default)]
    arrival: Option<Spanned<RawArrival>>,
    spec: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawArrival {
    AtOnce,
    Steady { batches: u32, every: Time },
    Ramp { batches: u32, every: Time },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawYardstick {
    calls: u32,
    connections: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMishap {
    at: Option<Time>,
    after_results: Option<u32>,
    every: Option<Time>,
    kill_actor: Option<String>,
    kill_process: Option<RawKill>,
    load_host: Option<RawLoad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKill {
    down_for: Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    threads: u32,
    #[serde(rename = "for")]
    lasts: Time,
}

/// What is read of a job's spec; the program reads the rest.
#[derive(Deserialize)]
struct SpecTraits {
    priority: Option<String>,
    reduce: Option<ReduceTraits>,
    name: Option<String>,
    input: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct ReduceTraits {
    group: Option<u32>,
}

/// Reads YAML that came from `file`.
pub(super) fn parse(file: &str, yaml: &str) -> Result<Scenario, ScenarioError> {
    let raw: RawScenario = serde_saphyr::from_str(yaml).map_err(|error| ScenarioError::Yaml {
        file: file.to_owned(),
        message: error.without_snippet().to_string(),
    })?;
    Reader { file }.scenario(raw)
}

struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn scenario(&self, raw: RawScenario) -> Result<Scenario, ScenarioError> {
        let every = raw.scrape_every.map_or(Ok(Duration::from_secs(1)), |every| {
            let fits = (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&every.value.0);
            fits.then_some(every.value.0).ok_or_else(|| {
                self.invalid("scrape_every", &every, "write a time from 50ms to 60s".to_owned())
            })
        })?;
        let yardstick = raw.yardstick.map(|yardstick| {
            let RawYardstick { calls, connections } = yardstick.value;
            if (1..=MOST_ITEMS).contains(&calls) && (1..=MOST_CONNECTIONS).contains(&connections) {
                return Ok(Yardstick { calls, connections });
            }
            let message =
                format!("from 1 to {MOST_ITEMS} calls, and from 1 to {MOST_CONNECTIONS} connections");
            Err(self.invalid("yardstick", &yardstick, message))
        });
        let chaos: Result<Vec<Mishap>, _> =
            raw.chaos.iter().enumerate().map(|(index, mishap)| self.mishap(index, mishap)).collect();
        let scenario = Scenario {
            name: self.name("name", &raw.name)?,
            about: raw.about,
            simulator: text(&raw.simulator),
            config: raw.config.as_ref().map(text).unwrap_or_default(),
            jobs: self.jobs(&raw.jobs)?,
            prime: raw.prime,
            yardstick: yardstick.transpose()?,
            resume_after: raw.resume_after.map(|time| time.0),
            chaos: chaos?,
            warm_up: raw.warm_up.0,
            limit: raw.limit.0,
            scrape_every: every,
            thresholds: raw.thresholds.value.clone(),
        };
        self.check_thresholds(&scenario, &raw.thresholds)?;
        Ok(scenario)
    }

    /// Refuses thresholds of what this scenario cannot measure.
    fn check_thresholds(
        &self,
        scenario: &Scenario,
        place: &Spanned<BTreeMap<Measure, Bound>>,
    ) -> Result<(), ScenarioError> {
        let kills = scenario.chaos.iter().any(|mishap| matches!(mishap.what, What::KillProcess { .. }));
        for measure in scenario.thresholds.keys() {
            let lacks = match measure {
                Measure::RateAgainstBare | Measure::BareCallsPerSecond if scenario.yardstick.is_none() => {
                    "a `yardstick` to compare with"
                }
                Measure::FirstCallAfterKillS if !kills => "a `kill_process`",
                Measure::ThreadsGrowth | Measure::OpenFilesGrowth | Measure::ActorsGrowth
                    if kills || scenario.prime == 0 =>
                {
                    "one process, without `kill_process`, that a `prime` has warmed up"
                }
                Measure::LongestInteractiveJobS
                    if !scenario.jobs.iter().any(|job| job.traits.is_interactive) =>
                {
                    "a job with `priority: interactive`"
                }
                _ => continue,
            };
            let message = format!("it takes {lacks}: add one, or leave the threshold out");
            return Err(self.invalid(&format!("thresholds.{measure}"), place, message));
        }
        Ok(())
    }

    fn jobs(&self, raw: &Spanned<Vec<RawJob>>) -> Result<Vec<Job>, ScenarioError> {
        if raw.value.is_empty() {
            return Err(self.invalid("jobs", raw, "there is none: write at least one".to_owned()));
        }
        let mut names = BTreeSet::new();
        let mut jobs = Vec::new();
        for (index, job) in raw.value.iter().enumerate() {
            let field = |name: &str| format!("jobs[{index}].{name}");
            let name = self.name(&field("name"), &job.name)?;
            if !names.insert(name.clone()) {
                let message = format!("there are two jobs `{name}`: name them differently");
                return Err(self.invalid(&field("name"), &job.name, message));
            }
            let arrival = self.arrival(&field("arrival"), job.arrival.as_ref())?;
            let batches = arrival.batches().0;
            if !(batches..=MOST_ITEMS).contains(&job.items.value) {
                let message = format!("write a number from {batches}, one for each batch, to {MOST_ITEMS}");
                return Err(self.invalid(&field("items"), &job.items, message));
            }
            jobs.push(Job {
                name,
                items: job.items.value,
                words: job.words.clone(),
                start: job.start.0,
                arrival,
                spec: text(&job.spec),
                traits: self.traits(&field("spec"), &job.spec)?,
            });
        }
        let items: u64 = jobs.iter().map(|job| u64::from(job.items)).sum();
        if items > u64::from(MOST_ITEMS) {
            return Err(self.invalid(
                "jobs",
                raw,
                format!("{items} items are too many: at most {MOST_ITEMS}"),
            ));
        }
        Ok(jobs)
    }

    fn arrival(&self, field: &str, raw: Option<&Spanned<RawArrival>>) -> Result<Arrival, ScenarioError> {
        let Some(raw) = raw else { return Ok(Arrival::AtOnce) };
        let arrival = match raw.value {
            RawArrival::AtOnce => Arrival::AtOnce,
            RawArrival::Steady { batches, every } => Arrival::Steady { batches, every: every.0 },
            RawArrival::Ramp { batches, every } => Arrival::Ramp { batches, every: every.0 },
        };
        if (1..=MOST_BATCHES).contains(&arrival.batches().0) {
            Ok(arrival)
        } else {
            Err(self.invalid(field, raw, format!("write from 1 to {MOST_BATCHES} batches")))
        }
    }

    fn traits(&self, field: &str, spec: &Spanned<String>) -> Result<Traits, ScenarioError> {
        let read: SpecTraits =
            serde_saphyr::from_str(&text(spec).placed("# a job's spec")).map_err(|error| {
                let message = format!("it is no job spec: {}", error.without_snippet());
                self.invalid(field, spec, message)
            })?;
        if read.name.is_some() || read.input.is_some() {
            let message = "leave `name` and `input` out: they come from the scenario".to_owned();
            return Err(self.invalid(field, spec, message));
        }
        Ok(Traits {
            is_interactive: read.priority.as_deref() == Some("interactive"),
            reduce_group: read.reduce.map(|reduce| reduce.group.unwrap_or(USUAL_GROUP).max(2)),
        })
    }

    fn mishap(&self, index: usize, raw: &Spanned<RawMishap>) -> Result<Mishap, ScenarioError> {
        let field = format!("chaos[{index}]");
        let wrong = |message: &str| self.invalid(&field, raw, message.to_owned());
        let mishap = &raw.value;
        let when = match (mishap.at, mishap.after_results) {
            (Some(at), None) => When::At(at.0),
            (None, Some(results)) => When::AfterResults(results),
            _ => return Err(wrong("write either `at` or `after_results`")),
        };
        let what = match (&mishap.kill_actor, &mishap.kill_process, &mishap.load_host) {
            (Some(path), None, None) => What::KillActor(path.clone()),
            (None, Some(kill), None) => What::KillProcess { down_for: kill.down_for.0 },
            (None, None, Some(load)) if (1..=256).contains(&load.threads) => {
                What::LoadHost { threads: load.threads, lasts: load.lasts.0 }
            }
            (None, None, Some(_)) => return Err(wrong("load_host takes from 1 to 256 threads")),
            _ => return Err(wrong("write one of `kill_actor`, `kill_process` and `load_host`")),
        };
        if mishap.every.is_some_and(|every| every.0 < Duration::from_millis(100)) {
            return Err(wrong("`every` must be 100ms or more"));
        }
        Ok(Mishap { when, every: mishap.every.map(|every| every.0), what })
    }

    fn name(&self, field: &str, name: &Spanned<String>) -> Result<String, ScenarioError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=40).contains(&name.value.len()) && name.value.chars().all(fits) {
            return Ok(name.value.clone());
        }
        let message = "write up to 40 small letters, digits and hyphens".to_owned();
        Err(self.invalid(field, name, message))
    }

    fn invalid<T>(&self, field: &str, at: &Spanned<T>, message: String) -> ScenarioError {
        let line = at.referenced.line();
        ScenarioError::Invalid { file: self.file.to_owned(), line, field: field.to_owned(), message }
    }
}

/// A text and where it begins; of a block that is the line after the field's own.
fn text(spanned: &Spanned<String>) -> Text {
    Text { text: spanned.value.clone(), line: spanned.referenced.line() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name: small
about: a small one
simulator: |
  kimi: {latency: {fixed: 5}}
jobs:
  - name: words
    items: 10
    arrival: {steady: {batches: 2, every: 3s}}
    spec: |
      privacy: P0
      prompt: \"Define {{ word }}\"
      reduce: {prompt: \"Sum up {{ answers }}\"}
chaos:
  - {at: 2s, kill_actor: gates/budget}
limit: 30s
thresholds:
  lost: 0
";

    #[test]
    fn a_scenario_is_read() {
        let small = parse("small.yaml", SMALL).unwrap();
        assert_eq!(small.items(), 10);
        assert_eq!(small.jobs[0].traits, Traits { is_interactive: false, reduce_group: Some(50) });
        assert_eq!(small.chaos[0].what, What::KillActor("gates/budget".to_owned()));
        assert_eq!(small.scrape_every, Duration::from_secs(1));
    }

    #[test]
    fn texts_for_the_program_keep_their_lines() {
        let small = parse("small.yaml", SMALL).unwrap();
        let line_of = |text: &str, what: &str| text.lines().position(|line| line.contains(what)).unwrap() + 1;
        let simulator = small.simulator.placed("name: x");
        assert_eq!(line_of(&simulator, "latency"), line_of(SMALL, "latency"), "{simulator}");
        let spec = small.jobs[0].spec.placed("name: x");
        assert_eq!(line_of(&spec, "Define"), line_of(SMALL, "Define"), "{spec}");
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let say = |from: &str, to: &str| {
            assert!(SMALL.contains(from), "{from}");
            parse("mine.yaml", &SMALL.replacen(from, to, 1)).unwrap_err().to_string()
        };
        for (from, to, expected) in [
            ("limit: 30s", "limit: soon", ["mine.yaml", "line 15", "no time"]),
            ("lost: 0", "lots: 0", ["mine.yaml", "line 17", "lots"]),
            ("lost: 0", "rate_against_bare: 1", ["line 17", "thresholds.rate_against_bare", "yardstick"]),
            ("lost: 0", "threads_growth: 0", ["line 17", "thresholds.threads_growth", "prime"]),
            ("items: 10", "items: 1", ["line 7", "jobs[0].items", "from 2"]),
            ("at: 2s, ", "", ["line 14", "chaos[0]", "after_results"]),
            ("privacy: P0", "name: x", ["line 10", "jobs[0].spec", "leave `name`"]),
            ("name: words", "name: Words", ["line 6", "jobs[0].name", "small letters"]),
            ("about:", "abuot:", ["line 2", "abuot", "about"]),
        ] {
            let said = say(from, to);
            assert!(expected.iter().all(|part| said.contains(part)), "{to}: {said}");
        }
    }
}
