//! What happens in a house, counted where it happens, for whoever measures it from outside. Counts
//! go up over all jobs of the process; how a job or an actor stands is read from its own counters.
//!
//! Handles are made beforehand: to count takes a few atomic operations, no look-up and no memory.
//! The number of them is bounded: nothing is counted by agent, item, prompt or job, and beyond
//! [`MOST_MODELS`] models count together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};
use parking_lot::Mutex;

use crate::failure::FailureKind;
use crate::kernel::journal::{Entry, Event};
use crate::kernel::policy::Action;
use crate::model::Model;
use crate::money::{Micros, Usage};

/// Models that are counted apart.
pub const MOST_MODELS: usize = 64;
/// Of them those that have histograms of their own, and whose lanes are shown: these take most of
/// the room.
pub const MOST_DETAILED: usize = 32;
/// Kinds of paths that are counted apart.
pub const MOST_KINDS: usize = 32;
/// What all others are counted as.
pub const OTHER: &str = "other";
/// Names are cut to so many characters.
pub const LONGEST_NAME: usize = 48;

/// Names of labels.
pub mod label {
    /// The operation, as OpenTelemetry calls it; always `chat`.
    pub const OPERATION: &str = "gen_ai_operation_name";
    /// A provider, as configured.
    pub const PROVIDER: &str = "gen_ai_provider_name";
    /// A model's id.
    pub const MODEL: &str = "gen_ai_request_model";
    /// What a token was for.
    pub const TOKEN_TYPE: &str = "gen_ai_token_type";
    /// What came of something.
    pub const OUTCOME: &str = "outcome";
    /// Which gate.
    pub const GATE: &str = "gate";
    /// A path of the tree without names and numbers, as `gates/rate`.
    pub const KIND: &str = "actor_kind";
    /// How an actor ended.
    pub const EXIT: &str = "exit";
    /// What its supervisor did.
    pub const DECISION: &str = "decision";
}

/// Names of what is counted here.
pub mod name {
    /// Calls that were sent.
    pub const CALLS: &str = "empire_calls_total";
    /// Their tokens.
    pub const TOKENS: &str = "empire_tokens_total";
    /// How long they took.
    pub const DURATION: &str = "gen_ai_client_operation_duration_seconds";
    /// Tokens of a call.
    pub const TOKEN_USAGE: &str = "gen_ai_client_token_usage";
    /// What gates decided.
    pub const GATE_DECISIONS: &str = "empire_gate_decisions_total";
    /// How long that took, waiting in line included.
    pub const GATE_WAIT: &str = "empire_gate_wait_seconds";
    /// Agents that were started.
    pub const SPAWNED: &str = "empire_agents_spawned_total";
    /// Agents that ended.
    pub const ENDED: &str = "empire_agents_ended_total";
    /// Calls that a kept or a shared answer saved.
    pub const SAVED: &str = "empire_calls_saved_total";
    /// Answers that failed their check.
    pub const REJECTED: &str = "empire_answers_rejected_total";
    /// Values that were cut out of calls.
    pub const REDACTED: &str = "empire_redactions_total";
    /// Pieces of work that went to a less trusted zone.
    pub const CROSSED: &str = "empire_zone_crossings_total";
    /// What supervisors decided.
    pub const DECISIONS: &str = "empire_supervisor_decisions_total";
    /// Actors that run again.
    pub const RESTARTS: &str = "empire_actor_restarts_total";
}

/// Who keeps what is counted. A handle is asked for once, the first time it is needed.
pub trait Instruments: Send + Sync {
    /// The counter of this name and these labels.
    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter;
    /// The histogram of this name and these labels.
    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram;
}

/// Keeps nothing.
struct Nobody;

impl Instruments for Nobody {
    fn counter(&self, _: &'static str, _: &[(&'static str, &str)]) -> Counter {
        Counter::noop()
    }

    fn histogram(&self, _: &'static str, _: &[(&'static str, &str)]) -> Histogram {
        Histogram::noop()
    }
}

/// A gate of the passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Levels and zones, secrets.
    Privacy,
    /// A provider's share of the calls.
    Share,
    /// Money.
    Budget,
    /// Limits over time and slots.
    Rate,
}

impl Gate {
    /// All of them, in the order of the passage.
    pub const ALL: [Gate; 4] = [Gate::Privacy, Gate::Share, Gate::Budget, Gate::Rate];

    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Gate::Privacy => "privacy",
            Gate::Share => "share",
            Gate::Budget => "budget",
            Gate::Rate => "rate",
        }
    }
}

/// What a gate decided of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Passed,
    /// It goes on, and something was cut out.
    Redacted,
    /// It never goes there.
    Denied,
    /// Not now: no money, no share, a provider that is tripped.
    Parked,
    /// It could not leave in time.
    TooLate,
    /// The gate was being restarted.
    Down,
    /// What it decided could not be recorded.
    Store,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 7] = [
        Verdict::Passed,
        Verdict::Redacted,
        Verdict::Denied,
        Verdict::Parked,
        Verdict::TooLate,
        Verdict::Down,
        Verdict::Store,
    ];

    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Redacted => "redacted",
            Verdict::Denied => "denied",
            Verdict::Parked => "parked",
            Verdict::TooLate => "too_late",
            Verdict::Down => "down",
            Verdict::Store => "store",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered,
    /// With this failure.
    Failed(FailureKind),
    /// Its agent was stopped while it was under way.
    Lost,
}

const OUTCOMES: usize = FailureKind::ModelGone as usize + 3;

impl Outcome {
    fn place(self) -> usize {
        match self {
            Outcome::Answered => 0,
            Outcome::Lost => 1,
            Outcome::Failed(kind) => 2 + kind as usize,
        }
    }

    /// One word for it.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Outcome::Answered => "answered".to_owned(),
            Outcome::Lost => "lost".to_owned(),
            Outcome::Failed(kind) => kind.words().replace(' ', "_"),
        }
    }
}

const TOKEN_TYPES: [&str; 4] = ["input", "cached_input", "cache_write", "output"];

/// What the calls of one model add up to.
pub struct ModelTally {
    provider: String,
    model: String,
    /// By [`Outcome`], made with the first of each.
    calls: [OnceLock<Counter>; OUTCOMES],
    /// By [`TOKEN_TYPES`].
    tokens: [Counter; TOKEN_TYPES.len()],
    duration: Histogram,
    input: Histogram,
    output: Histogram,
    /// In micro-dollars.
    cost: AtomicU64,
    instruments: Arc<dyn Instruments>,
}

impl ModelTally {
    fn new(
        instruments: &Arc<dyn Instruments>,
        (provider, model): (String, String),
        is_detailed: bool,
    ) -> ModelTally {
        let labels = [(label::PROVIDER, provider.as_str()), (label::MODEL, model.as_str())];
        let chat = match is_detailed {
            true => [(label::OPERATION, "chat"), labels[0], labels[1]],
            false => [(label::OPERATION, "chat"), (label::PROVIDER, OTHER), (label::MODEL, OTHER)],
        };
        let usage = |kind| {
            let labels = [chat[0], chat[1], chat[2], (label::TOKEN_TYPE, kind)];
            instruments.histogram(name::TOKEN_USAGE, &labels)
        };
        let tokens = TOKEN_TYPES.map(|kind| {
            instruments.counter(name::TOKENS, &[labels[0], labels[1], (label::TOKEN_TYPE, kind)])
        });
        let tally = ModelTally {
            calls: std::array::from_fn(|_| OnceLock::new()),
            tokens,
            duration: instruments.histogram(name::DURATION, &chat),
            input: usage("input"),
            output: usage("output"),
            cost: AtomicU64::new(0),
            instruments: instruments.clone(),
            provider,
            model,
        };
        tally.calls(Outcome::Answered);
        tally
    }

    fn calls(&self, outcome: Outcome) -> &Counter {
        self.calls[outcome.place()].get_or_init(|| {
            let word = outcome.word();
            let labels = [
                (label::PROVIDER, self.provider.as_str()),
                (label::MODEL, self.model.as_str()),
                (label::OUTCOME, word.as_str()),
            ];
            self.instruments.counter(name::CALLS, &labels)
        })
    }

    /// A call has ended. `usage` is what the provider counted, if it did.
    pub(crate) fn ended(&self, outcome: Outcome, usage: Option<&Usage>, billed: Micros, took: Duration) {
        self.calls(outcome).increment(1);
        self.cost.fetch_add(billed.0, Ordering::Relaxed);
        if outcome != Outcome::Lost {
            self.duration.record(took.as_secs_f64());
        }
        let Some(usage) = usage else { return };
        let counts = [usage.input, usage.cached_input, usage.cache_write, usage.output];
        for (counter, count) in self.tokens.iter().zip(counts).filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
        self.input.record(usage.total_input() as f64);
        self.output.record(usage.output as f64);
    }
}

/// A model's cost so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The provider, as in labels.
    pub provider: String,
    /// The model, as in labels.
    pub model: String,
    /// What was billed.
    pub billed: Micros,
}

struct GateTally {
    gate: Gate,
    /// By [`Verdict`], made with the first of each.
    decisions: [OnceLock<Counter>; Verdict::ALL.len()],
    wait: Histogram,
}

/// Counters of a house, shared by all of its jobs.
pub struct Tally {
    instruments: Arc<dyn Instruments>,
    models: Mutex<BTreeMap<(String, String), Arc<ModelTally>>>,
    kinds: Mutex<BTreeSet<String>>,
    gates: [GateTally; Gate::ALL.len()],
    pub(crate) spawned: Counter,
    pub(crate) done: Counter,
    pub(crate) dead: Counter,
    pub(crate) parked: Counter,
    pub(crate) panicked: Counter,
    pub(crate) kept: Counter,
    pub(crate) joined: Counter,
    pub(crate) rejected: Counter,
    pub(crate) redacted: Counter,
    pub(crate) crossed: Counter,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}

impl Default for Tally {
    /// Counts for nobody.
    fn default() -> Tally {
        Tally::new(Arc::new(Nobody))
    }
}

impl Tally {
    /// Counters that `instruments` keep.
    #[must_use]
    pub fn new(instruments: Arc<dyn Instruments>) -> Tally {
        let gates = Gate::ALL.map(|gate| GateTally {
            gate,
            decisions: std::array::from_fn(|_| OnceLock::new()),
            wait: instruments.histogram(name::GATE_WAIT, &[(label::GATE, gate.word())]),
        });
        let agents = |outcome| instruments.counter(name::ENDED, &[(label::OUTCOME, outcome)]);
        let saved = |by| instruments.counter(name::SAVED, &[("by", by)]);
        let tally = Tally {
            models: Mutex::default(),
            kinds: Mutex::default(),
            gates,
            spawned: instruments.counter(name::SPAWNED, &[]),
            done: agents("done"),
            dead: agents("dead"),
            parked: agents("parked"),
            panicked: agents("panicked"),
            kept: saved("kept"),
            joined: saved("joined"),
            rejected: instruments.counter(name::REJECTED, &[]),
            redacted: instruments.counter(name::REDACTED, &[]),
            crossed: instruments.counter(name::CROSSED, &[]),
            instruments,
        };
        for gate in Gate::ALL {
            tally.decisions(gate, Verdict::Passed);
        }
        // A rate of what is not there yet is nothing, not zero.
        tally.supervision(name::RESTARTS, &[(label::KIND, "root")]).increment(0);
        let first = [(label::KIND, "root"), (label::EXIT, "failed"), (label::DECISION, "restart")];
        tally.supervision(name::DECISIONS, &first).increment(0);
        tally
    }

    /// The counters of a model: those of [`OTHER`] once there are too many.
    pub(crate) fn of(&self, model: &Model) -> Arc<ModelTally> {
        let mut models = self.models.lock();
        let mut name = (cut(model.provider.as_str()), cut(&model.id));
        if models.len() >= MOST_MODELS && !models.contains_key(&name) {
            name = (OTHER.to_owned(), OTHER.to_owned());
        }
        let is_detailed = models.len() < MOST_DETAILED;
        let new = || Arc::new(ModelTally::new(&self.instruments, name.clone(), is_detailed));
        models.entry(name.clone()).or_insert_with(new).clone()
    }

    /// What was billed, by model.
    #[must_use]
    pub fn costs(&self) -> Vec<Cost> {
        let models = self.models.lock();
        let cost = |tally: &Arc<ModelTally>| Cost {
            provider: tally.provider.clone(),
            model: tally.model.clone(),
            billed: Micros(tally.cost.load(Ordering::Relaxed)),
        };
        models.values().map(cost).collect()
    }

    fn decisions(&self, gate: Gate, verdict: Verdict) -> &Counter {
        let tally = &self.gates[gate as usize];
        tally.decisions[verdict as usize].get_or_init(|| {
            let labels = [(label::GATE, tally.gate.word()), (label::OUTCOME, verdict.word())];
            self.instruments.counter(name::GATE_DECISIONS, &labels)
        })
    }

    /// A gate decided after `waited`.
    pub(crate) fn decided(&self, gate: Gate, verdict: Verdict, waited: Duration) {
        self.decisions(gate, verdict).increment(1);
        self.gates[gate as usize].wait.record(waited.as_secs_f64());
    }

    /// What a supervisor entered in its journal.
    pub fn entered(&self, entry: &Entry) {
        let kind = self.kind(&entry.path);
        match &entry.event {
            Event::Exit(decision) => self.supervised(&kind, decision.exit.word(), word(&decision.action)),
            Event::Started { .. } => {
                self.supervision(name::RESTARTS, &[(label::KIND, &kind)]).increment(1);
            }
            Event::Order { .. } | Event::Policy { .. } => {}
        }
    }

    /// A cohort crashed; its job starts it again, or gives it up.
    pub(crate) fn cohort_crashed(&self, given_up: bool) {
        let decision = if given_up { "quarantine" } else { "restart" };
        self.supervised(&self.kind("/empire/swarm/job/cohort"), "failed", decision);
    }

    /// A cohort runs again, after a crash, an order or its job's restart.
    pub(crate) fn cohort_restarted(&self) {
        let kind = self.kind("/empire/swarm/job/cohort");
        self.supervision(name::RESTARTS, &[(label::KIND, &kind)]).increment(1);
    }

    fn supervised(&self, kind: &str, exit: &str, decision: &str) {
        let labels = [(label::KIND, kind), (label::EXIT, exit), (label::DECISION, decision)];
        self.supervision(name::DECISIONS, &labels).increment(1);
    }

    /// What supervisors do is rare: its counters are looked up each time.
    fn supervision(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.instruments.counter(name, labels)
    }

    /// The kind of a path of the tree, or [`OTHER`] once there are too many.
    pub fn kind(&self, path: &str) -> String {
        let kind = path_kind(path);
        let mut kinds = self.kinds.lock();
        if kinds.contains(&kind) || kinds.len() < MOST_KINDS {
            kinds.insert(kind.clone());
            return kind;
        }
        OTHER.to_owned()
    }
}

/// A path of the tree without the root, and without what its nodes are named or numbered by:
/// `/empire/swarm/job-17/cohort-3` is `swarm/job/cohort`. The root is `root`.
#[must_use]
pub fn path_kind(path: &str) -> String {
    let below = path.split('/').filter(|segment| !segment.is_empty()).skip(1);
    let bare = below.map(|segment| segment.split_once('-').map_or(segment, |(kind, _)| kind));
    let kind = bare.collect::<Vec<_>>().join("/");
    if kind.is_empty() { "root".to_owned() } else { cut(&kind) }
}

fn cut(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::LetGo => "let_go",
        Action::Restart { .. } => "restart",
        Action::Escalate => "escalate",
        Action::Quarantine => "quarantine",
        Action::Pause { .. } => "pause",
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::{ProviderId, Structured, Thinking};

    #[derive(Default)]
    struct Asked(Mutex<HashSet<String>>);

    impl Instruments for Asked {
        fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
            self.0.lock().insert(format!("{name}{labels:?}"));
            Counter::noop()
        }

        fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
            self.0.lock().insert(format!("{name}{labels:?}"));
            Histogram::noop()
        }
    }

    fn model(n: usize) -> Model {
        Model {
            id: format!("m{n}"),
            provider: ProviderId::from("p"),
            price: None,
            context: 1,
            max_output: 1,
            thinking: Thinking::Off,
            structured: Structured::Schema,
            temperature: None,
            top_p: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn however_many_models_and_paths_there_are_the_names_are_bounded() {
        let asked = Arc::new(Asked::default());
        let tally = Tally::new(asked.clone());
        for n in 0..1_000 {
            let of = tally.of(&model(n));
            of.ended(Outcome::Failed(FailureKind::TimedOut), None, Micros(1), Duration::ZERO);
            tally.kind(&format!("/empire/new{n}"));
        }
        assert_eq!(tally.costs().len(), MOST_MODELS + 1);
        let other = tally.costs().into_iter().find(|cost| cost.model == OTHER).unwrap();
        assert_eq!(other.billed, Micros(1_000 - MOST_MODELS as u64));
        assert_eq!(tally.kind("/empire/one-more/too"), OTHER);
        assert!(asked.0.lock().len() < 20 * (MOST_MODELS + 1), "{}", asked.0.lock().len());
    }

    #[test]
    fn a_kind_of_path_names_nobody() {
        for (path, kind) in [
            ("/empire", "root"),
            ("/empire/gates", "gates"),
            ("/empire/gates/rate-my-lab", "gates/rate"),
            ("/empire/gates/privacy-3", "gates/privacy"),
            ("/empire/swarm/job-0199-aa/cohort-17", "swarm/job/cohort"),
        ] {
            assert_eq!(path_kind(path), kind);
        }
    }
}
