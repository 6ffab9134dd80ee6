//! What came of a job: `report.json`, `report.md`, the last words on the terminal, and the line
//! of progress before them. Pure.

mod markdown;
mod progress;
mod tally;
mod terminal;

use std::time::Duration;

use empire_actors::guard::pressure::Held;
use empire_actors::model::ProviderId;
use empire_actors::money::{Micros, Usage};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::plan::{UNITS, Units};
use crate::text;
pub use progress::{Eta, ProgressFacts, eta, progress_line};
pub use tally::{DeadReason, SlowCall, Tallied, Tally};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// Every item has its answer.
    Completed,
    /// Every item was worked, and some have no answer.
    CompletedWithDead,
    /// It waits for somebody: a person's pause, a dry account, too many failures.
    Paused,
    /// It ran into a cap on money.
    OutOfBudget,
    /// It was interrupted.
    Interrupted,
    /// It was cancelled.
    Cancelled,
}

impl EndState {
    /// The state in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            EndState::Completed => "completed",
            EndState::CompletedWithDead => "completed, with dead agents",
            EndState::Paused => "paused",
            EndState::OutOfBudget => "stopped at its budget",
            EndState::Interrupted => "interrupted",
            EndState::Cancelled => "cancelled",
        }
    }
}

/// How many items ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// In the input.
    pub items: u64,
    /// That differ.
    pub distinct: u64,
    /// With an answer.
    pub done: u64,
    /// Without one for good.
    pub dead: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Still to be worked.
    pub pending: u64,
}

/// What one provider was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderCost {
    /// Who.
    pub provider: ProviderId,
    /// Calls sent there.
    pub calls: u64,
    /// Billed in all.
    pub cost: Micros,
    /// Of that, billed at the reservation because the provider's own count never came.
    pub unknown: Micros,
}

/// How long the machine held a run back, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct GuardTimes {
    /// With fewer calls at once.
    pub seconds_throttled: f64,
    /// Without waking agents.
    pub seconds_alert: f64,
    /// Without any new call.
    pub seconds_emergency: f64,
}

impl From<Held> for GuardTimes {
    fn from(held: Held) -> GuardTimes {
        GuardTimes {
            seconds_throttled: held.throttled.as_secs_f64(),
            seconds_alert: held.alert.as_secs_f64(),
            seconds_emergency: held.emergency.as_secs_f64(),
        }
    }
}

/// What the vendors' prompt caches read and wrote, and what that made of the bill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PromptCache {
    /// Input tokens that were read from a cache.
    pub read: u64,
    /// Input tokens that were written to one.
    pub written: u64,
    /// What all of them would have cost at the full price of input, less what they did cost, in
    /// micro-dollars; below 0 if writing cost more than reading saved.
    pub saved: i64,
}

/// A file or folder that the run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// What it is, such as `results`.
    pub what: String,
    /// Where it is.
    pub path: String,
}

/// Everything that is to be said about a run.
#[derive(Debug, Clone, Serialize)]
pub struct ReportData {
    /// The job's name.
    pub job: String,
    /// The run's id.
    pub id: String,
    /// What it was for.
    pub goal: Option<String>,
    /// How it ended.
    pub state: EndState,
    /// Why, where that needs saying.
    pub reason: Option<String>,
    /// Whether the simulator answered.
    pub simulated: bool,
    /// When it started first.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How long it worked, pauses apart, in seconds.
    pub seconds: f64,
    /// How many items ended how.
    pub totals: Totals,
    /// What the agents' records add up to.
    pub work: Tallied,
    /// Calls that items equal to others did not need.
    pub saved_by_equal_items: u64,
    /// What each provider was paid.
    pub providers: Vec<ProviderCost>,
    /// What the vendors' own prompt caches changed.
    pub prompt_cache: PromptCache,
    /// Calls of this run that were denied or deferred for their provider's share.
    pub over_share: u64,
    /// What the job may spend.
    pub budget: Option<Micros>,
    /// Agents that ended a second.
    pub agents_per_second: f64,
    /// Peak memory of the process, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// How long the machine held the run back.
    pub guard: GuardTimes,
    /// The reduce's answer.
    pub reduce: Option<Value>,
    /// What the run wrote.
    pub outputs: Vec<Output>,
}

/// The JSON form: the data with its units, sums and next steps.
#[derive(Serialize)]
struct ReportJson<'a> {
    units: Units,
    #[serde(flatten)]
    data: &'a ReportData,
    spent: Micros,
    unknown: Micros,
    budget_used: Option<f64>,
    next: Vec<String>,
}

impl ReportData {
    /// What all providers were paid.
    #[must_use]
    pub fn spent(&self) -> Micros {
        self.providers.iter().map(|provider| provider.cost).sum()
    }

    /// The part of that which is billed at reservations.
    #[must_use]
    pub fn unknown(&self) -> Micros {
        self.providers.iter().map(|provider| provider.unknown).sum()
    }

    /// What a person can do next, a line each.
    #[must_use]
    pub fn next_steps(&self) -> Vec<String> {
        let id = &self.id;
        let mut next = Vec::new();
        if self.state == EndState::Paused && self.totals.done == 0 && !self.simulated {
            // Most likely nothing can be reached; that is what it tells about.
            next.push("empire doctor".to_owned());
        }
        if self.totals.pending > 0 && self.state != EndState::Cancelled {
            let more = if self.state == EndState::OutOfBudget { " --budget AMOUNT" } else { "" };
            next.push(format!("empire swarm resume {id}{more}"));
        }
        if self.totals.dead > 0 {
            next.push(format!("empire swarm results {id} --failed"));
            next.push(format!("empire swarm retry {id}"));
        }
        next
    }

    /// `report.json`.
    ///
    /// # Errors
    /// If the data cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let budget = self.budget.filter(|budget| *budget > Micros::ZERO);
        serde_json::to_string_pretty(&ReportJson {
            units: UNITS,
            data: self,
            spent: self.spent(),
            unknown: self.unknown(),
            budget_used: budget.map(|budget| self.spent().dollars() / budget.dollars()),
            next: self.next_steps(),
        })
    }
}

/// What both forms for people show, a fact a row.
struct Facts {
    rows: Vec<(&'static str, String)>,
}

impl Facts {
    fn of(data: &ReportData) -> Facts {
        let mut facts = Facts { rows: Vec::new() };
        facts.items(data);
        facts.calls(data);
        facts.money(data);
        facts.pace(data);
        facts
    }

    fn say(&mut self, name: &'static str, value: String) {
        self.rows.push((name, value));
    }

    /// Says a number unless it is 0.
    fn number(&mut self, name: &'static str, number: u64) {
        if number > 0 {
            self.say(name, text::thousands(number));
        }
    }

    fn items(&mut self, data: &ReportData) {
        let totals = &data.totals;
        self.say("items", text::thousands(totals.items));
        self.number("distinct", if totals.distinct < totals.items { totals.distinct } else { 0 });
        self.say("done", text::thousands(totals.done));
        self.number("dead", totals.dead);
        self.number("cancelled", totals.cancelled);
        self.number("pending", totals.pending);
    }

    fn calls(&mut self, data: &ReportData) {
        let work = &data.work;
        let reduce = match work.reduce_calls {
            0 => String::new(),
            calls => format!(", {} of them to reduce", text::thousands(calls)),
        };
        self.say("calls", text::thousands(work.calls) + &reduce);
        self.number("packed calls", work.packed_calls);
        self.number("calls saved by packs", work.saved_by_packs);
        self.number("calls saved by equal items", data.saved_by_equal_items);
        self.number("answered from the cache", work.from_cache);
        self.number("answered by the same call of another", work.joined);
        self.number("fallbacks to a less trusted zone", work.crossed_zones);
        self.number("calls over their provider's share", data.over_share);
        self.number("retries", work.retries);
        if !work.tries.is_empty() {
            let tries = work.tries.iter().map(|(outcome, n)| format!("{outcome} {}", text::thousands(*n)));
            self.say("tries", tries.collect::<Vec<_>>().join(", "));
        }
        self.number("values redacted", work.redactions);
        let Usage { input, cached_input, cache_write, output } = work.usage;
        self.say("tokens in", text::thousands(input));
        self.number("tokens in, from cache", cached_input);
        self.number("tokens in, to cache", cache_write);
        self.say("tokens out", text::thousands(output));
    }

    fn money(&mut self, data: &ReportData) {
        let (spent, unknown) = (data.spent(), data.unknown());
        self.say("cost", text::money(spent));
        if let Some(budget) = data.budget {
            self.say("budget", format!("{}, {} used", text::money(budget), text::percent(spent.0, budget.0)));
        }
        let cache = &data.prompt_cache;
        if cache.read + cache.written > 0 {
            let amount = text::money(Micros(cache.saved.unsigned_abs()));
            let what = if cache.saved < 0 { "more spent than without" } else { "saved" };
            let (read, written) = (text::thousands(cache.read), text::thousands(cache.written));
            self.say(
                "vendors' prompt caches",
                format!("{amount} {what}; {read} tokens read, {written} written"),
            );
        }
        if unknown > Micros::ZERO {
            let unknown = text::money(unknown);
            self.say("of the cost unknown", format!("{unknown}, billed as reserved until reconciled"));
        }
    }

    fn pace(&mut self, data: &ReportData) {
        let worked = Duration::try_from_secs_f64(data.seconds).unwrap_or_default();
        let rate = match data.agents_per_second {
            0.0 => String::new(),
            rate => format!(", {rate:.1} agents/s"),
        };
        self.say("worked for", text::duration(worked) + &rate);
        let guard = &data.guard;
        let held = [
            ("throttled", guard.seconds_throttled),
            ("on alert", guard.seconds_alert),
            ("in emergency", guard.seconds_emergency),
        ];
        let held = held.into_iter().filter(|(_, seconds)| *seconds > 0.0);
        let held: Vec<String> = held.map(|(word, seconds)| format!("{seconds:.0} s {word}")).collect();
        if !held.is_empty() {
            self.say("held back by the machine", held.join(", "));
        }
        if let Some(peak) = data.peak_memory_bytes {
            self.say("peak memory", text::bytes(peak));
        }
    }
}

#[cfg(test)]
mod tests;
