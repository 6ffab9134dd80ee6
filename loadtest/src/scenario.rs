//! Scenarios: what is run, against which provider behaviour, what goes wrong on the way, and what
//! must come of it. `docs/loadtest.md` explains the format.

mod parse;
mod shipped;
mod time;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use shipped::shipped;

use crate::measure::Measure;
use crate::verdict::Bound;

/// A YAML file larger than this is no scenario.
const LARGEST: u64 = 1 << 20;
/// Items of all jobs together.
pub(crate) const MOST_ITEMS: u32 = 5_000_000;

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// Neither shipped nor a file.
    #[error("there is no scenario `{name}`: write one of {known}, or a YAML file that exists")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What is shipped.
        known: String,
    },
    /// The file cannot be read.
    #[error("scenario {} cannot be read ({source}): check the file and its permissions", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is far too large.
    #[error("scenario {} is larger than {LARGEST} bytes: is it the right file?", .0.display())]
    TooLarge(PathBuf),
    /// The YAML is broken, has an unknown field, or a value of the wrong kind.
    #[error("scenario {file}: {message}")]
    Yaml {
        /// Which file, or the shipped one's name.
        file: String,
        /// Line, column, field and what to write instead.
        message: String,
    },
    /// A value that makes no sense.
    #[error("scenario {file}, line {line}, {field}: {message}")]
    Invalid {
        /// Which file, or the shipped one's name.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The field, as a path.
        field: String,
        /// What is wrong and what to write instead.
        message: String,
    },
}

/// Text inside a scenario that the program reads: it knows its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// The text.
    pub(crate) text: String,
    /// The line of the scenario that it begins on, from 1.
    pub(crate) line: u64,
}

impl Text {
    /// The text below a header and as many empty lines as make the program name the scenario's own
    /// lines when it finds something wrong.
    pub(crate) fn placed(&self, header: &str) -> String {
        let above = usize::try_from(self.line).unwrap_or(1).saturating_sub(1 + header.lines().count());
        format!("{header}\n{}{}", "\n".repeat(above), self.text)
    }
}

/// What is run, and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: String,
    /// What it shows, in a line.
    pub(crate) about: String,
    /// How the providers behave: a simulator's scenario without name and seed.
    pub(crate) simulator: Text,
    /// Settings of the program, as TOML.
    pub(crate) config: Text,
    /// The jobs.
    pub(crate) jobs: Vec<Job>,
    /// Items of a first job that opens connections and caches, and is not measured; 0 = none.
    pub(crate) prime: u32,
    /// A bare client to compare with.
    pub(crate) yardstick: Option<Yardstick>,
    /// A job that pauses by itself is told to go on after this time.
    pub(crate) resume_after: Option<Duration>,
    /// What goes wrong on purpose.
    pub(crate) chaos: Vec<Mishap>,
    /// Memory is flat from then on.
    pub(crate) warm_up: Duration,
    /// The run is ended after this time, and has failed.
    pub(crate) limit: Duration,
    /// Between two scrapes.
    pub(crate) scrape_every: Duration,
    /// What must hold.
    pub(crate) thresholds: BTreeMap<Measure, Bound>,
}

/// One job, perhaps in several batches that start on a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    /// Its name.
    pub(crate) name: String,
    /// Items of all batches together.
    pub(crate) items: u32,
    /// A file with a word a line, in place of generated ones.
    pub(crate) words: Option<PathBuf>,
    /// When the first batch starts.
    pub(crate) start: Duration,
    /// When its batches come.
    pub(crate) arrival: Arrival,
    /// The job's spec without name and input.
    pub(crate) spec: Text,
    /// What the harness itself must know of the spec.
    pub(crate) traits: Traits,
}

/// What the harness must know of a job's spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Whether it has `priority: interactive`.
    pub(crate) is_interactive: bool,
    /// How many answers a call of its reduce takes, if it has one.
    pub(crate) reduce_group: Option<u32>,
}

/// When a job's items come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// All in one job.
    AtOnce,
    /// In equal batches, a job each.
    Steady {
        /// How many.
        batches: u32,
        /// From one's start to the next one's.
        every: Duration,
    },
    /// In batches that grow: the second is twice the first, the third three times.
    Ramp {
        /// How many.
        batches: u32,
        /// From one's start to the next one's.
        every: Duration,
    },
}

impl Arrival {
    /// How many jobs it makes, and the time between them.
    pub(crate) fn batches(self) -> (u32, Duration) {
        match self {
            Arrival::AtOnce => (1, Duration::ZERO),
            Arrival::Steady { batches, every } | Arrival::Ramp { batches, every } => (batches, every),
        }
    }

    /// The items of each batch; they add up to `items`.
    pub(crate) fn shares(self, items: u32) -> Vec<u32> {
        let (batches, _) = self.batches();
        let weight = |batch: u32| match self {
            Arrival::Ramp { .. } => u64::from(batch),
            Arrival::AtOnce | Arrival::Steady { .. } => 1,
        };
        let whole: u64 = (1..=batches).map(weight).sum();
        let upto = |batch: u32| {
            let sum: u64 = (1..=batch).map(weight).sum();
            // No more than `items`, which is a u32.
            u32::try_from(u64::from(items) * sum / whole).unwrap_or(items)
        };
        (1..=batches).map(|batch| upto(batch) - upto(batch - 1)).collect()
    }
}

/// A bare HTTP loop against the same simulator, before the run. It speaks as Ollama's clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Yardstick {
    /// How many calls it makes.
    pub(crate) calls: u32,
    /// How many at once.
    pub(crate) connections: u32,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mishap {
    /// When.
    pub(crate) when: When,
    /// Again after each such time, as long as jobs run.
    pub(crate) every: Option<Duration>,
    /// What.
    pub(crate) what: What,
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So long after the first intended start.
    At(Duration),
    /// Once so many items have ended.
    AfterResults(u32),
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// `empire chaos kill PATH`.
    KillActor(String),
    /// `kill -9`, and `empire up` again after a while.
    KillProcess {
        /// How long it stays down.
        down_for: Duration,
    },
    /// Threads of the harness that do nothing but use up processor time.
    LoadHost {
        /// How many.
        threads: u32,
        /// How long.
        lasts: Duration,
    },
}

impl Scenario {
    /// A shipped scenario by its name, or one from a file.
    ///
    /// # Errors
    /// If there is neither, or it cannot be used: names file, line and field.
    pub(crate) fn load(name_or_path: &str) -> Result<Scenario, ScenarioError> {
        if let Some((name, yaml)) = shipped().iter().find(|(name, _)| *name == name_or_path) {
            return parse::parse(name, yaml);
        }
        let path = Path::new(name_or_path);
        let unreadable = |source| ScenarioError::Unreadable { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let known: Vec<&str> = shipped().iter().map(|(name, _)| *name).collect();
                let known = known.join(", ");
                return Err(ScenarioError::Unknown { name: name_or_path.to_owned(), known });
            }
            Err(error) => return Err(unreadable(error)),
            Ok(file) if file.len() > LARGEST => return Err(ScenarioError::TooLarge(path.to_owned())),
            Ok(_) => {}
        }
        parse::parse(name_or_path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Items of all jobs.
    pub(crate) fn items(&self) -> u32 {
        self.jobs.iter().map(|job| job.items).sum()
    }

    /// Makes it larger or smaller: so many items in all, shared out as before, but at least one for
    /// each batch.
    pub(crate) fn resize(&mut self, items: u32) {
        let before = u64::from(self.items());
        for job in &mut self.jobs {
            let share = u64::from(job.items) * u64::from(items) / before;
            job.items = u32::try_from(share).unwrap_or(items).max(job.arrival.batches().0);
        }
    }

    /// Makes what comes in batches go on for so long, at the same pace; limit and warm-up follow.
    pub(crate) fn stretch(&mut self, to: Duration) {
        let longest = self.jobs.iter().map(|job| {
            let (batches, every) = job.arrival.batches();
            job.start + every * batches
        });
        let before = longest.max().unwrap_or_default().max(Duration::from_secs(1));
        let factor = to.as_secs_f64() / before.as_secs_f64();
        for job in &mut self.jobs {
            if let Arrival::Steady { batches, .. } | Arrival::Ramp { batches, .. } = &mut job.arrival {
                let by_batch = f64::from(job.items) / f64::from(*batches);
                *batches = ((f64::from(*batches) * factor).round() as u32).max(1);
                job.items = ((by_batch * f64::from(*batches)).round() as u32).clamp(*batches, MOST_ITEMS);
            }
        }
        self.warm_up = self.warm_up.mul_f64(factor.min(1.0));
        self.limit = self.limit.mul_f64(factor.max(1.0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_shipped_scenario_can_be_read_and_has_its_name() {
        assert_eq!(shipped().len(), 12);
        for (name, _) in shipped() {
            let scenario = Scenario::load(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, *name);
            assert!(!scenario.thresholds.is_empty(), "{name} promises nothing");
        }
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let error = Scenario::load("no-such-thing").unwrap_err().to_string();
        assert!(error.contains("no-such-thing") && error.contains("half-million"), "{error}");
    }

    #[test]
    fn a_longer_soak_has_more_batches_of_the_same_size() {
        let mut soak = Scenario::load("soak").unwrap();
        let before = soak.clone();
        soak.stretch(Duration::from_secs(60));
        let by_batch = |scenario: &Scenario| scenario.jobs[0].items / scenario.jobs[0].arrival.batches().0;
        assert_eq!(by_batch(&soak), by_batch(&before));
        assert!(soak.items() < before.items() && soak.warm_up < before.warm_up);
    }

    proptest! {
        #[test]
        fn shares_add_up(items in 1..100_000u32, batches in 1..50u32, grows: bool) {
            let every = Duration::from_secs(1);
            let arrival = if grows { Arrival::Ramp { batches, every } } else { Arrival::Steady { batches, every } };
            let shares = arrival.shares(items);
            prop_assert_eq!(shares.len(), batches as usize);
            prop_assert_eq!(shares.iter().sum::<u32>(), items);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(grows || most - least <= 1);
            prop_assert!(!grows || items < batches * batches || shares.is_sorted());
        }
    }
}
