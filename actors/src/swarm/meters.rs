//! A job's live counters: what the progress line shows. Lock-free; read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use std::time::Duration;

use serde::Serialize;

use super::order::FailureRule;
use crate::model::Model;
use crate::money::{Micros, Usage};
use crate::tally::{ModelTally, Outcome, Tally};

/// Counters of one run of a job.
pub struct JobMeters {
    done: AtomicU64,
    dead: AtomicU64,
    parked: AtomicU64,
    calls: AtomicU64,
    packed_calls: AtomicU64,
    in_flight: AtomicI64,
    redactions: AtomicU64,
    spent: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    rejected: AtomicU64,
    failed_calls: AtomicU64,
    cache_hits: AtomicU64,
    joined: AtomicU64,
    crossed: AtomicU64,
    over_share: AtomicU64,
    agents: AtomicU64,
    /// Answered calls by place in the route.
    by_model: Vec<AtomicU64>,
    first_ended: AtomicU32,
    first_dead: AtomicU32,
    /// What counts beyond this job.
    tally: Arc<Tally>,
    /// The same by place in the route.
    tally_by_model: Vec<Arc<ModelTally>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MeterReading {
    /// Agents that finished with an answer.
    pub done: u64,
    /// Agents that finished without one.
    pub dead: u64,
    /// Agents that gave up for now; their items stay pending.
    pub parked: u64,
    /// Agents that live.
    pub agents: u64,
    /// Model calls that were sent and have ended, or were lost.
    pub calls: u64,
    /// Those of them that carried several items.
    pub packed_calls: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Values cut out of what left.
    pub redactions: u64,
    /// Billed in this run.
    pub spent: Micros,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Answers that failed their check.
    pub rejected: u64,
    /// Calls that failed.
    pub failed_calls: u64,
    /// Calls that were not made, since their answer was kept.
    pub cache_hits: u64,
    /// Calls that were not made, since the same call was under way.
    pub joined: u64,
    /// Pieces of work that went on to a less trusted zone than their route begins in.
    pub crossed: u64,
    /// Calls denied or deferred for their provider's share.
    pub over_share: u64,
    /// Calls answered, by place in the route.
    pub by_model: Vec<u64>,
}

impl std::fmt::Debug for JobMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read().fmt(f)
    }
}

impl JobMeters {
    /// Counters for a route. What they count counts in `tally`, too.
    #[must_use]
    pub fn new(tally: Arc<Tally>, route: &[Arc<Model>]) -> JobMeters {
        JobMeters {
            done: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            packed_calls: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            redactions: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed_calls: AtomicU64::new(0),
            cache_hits: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            crossed: AtomicU64::new(0),
            over_share: AtomicU64::new(0),
            agents: AtomicU64::new(0),
            by_model: route.iter().map(|_| AtomicU64::new(0)).collect(),
            first_ended: AtomicU32::new(0),
            first_dead: AtomicU32::new(0),
            tally_by_model: route.iter().map(|model| tally.of(model)).collect(),
            tally,
        }
    }

    /// What counts beyond this job.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The counters now.
    #[must_use]
    pub fn read(&self) -> MeterReading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeterReading {
            done: get(&self.done),
            dead: get(&self.dead),
            parked: get(&self.parked),
            agents: get(&self.agents),
            calls: get(&self.calls),
            packed_calls: get(&self.packed_calls),
            in_flight: self.in_flight.load(Ordering::Relaxed).max(0).unsigned_abs(),
            redactions: get(&self.redactions),
            spent: Micros(get(&self.spent)),
            input_tokens: get(&self.input),
            output_tokens: get(&self.output),
            rejected: get(&self.rejected),
            failed_calls: get(&self.failed_calls),
            cache_hits: get(&self.cache_hits),
            joined: get(&self.joined),
            crossed: get(&self.crossed),
            over_share: get(&self.over_share),
            by_model: self.by_model.iter().map(get).collect(),
        }
    }

    pub(crate) fn agents_started(&self, count: u64) {
        self.agents.fetch_add(count, Ordering::Relaxed);
        self.tally.spawned.increment(count);
    }

    /// An agent panicked.
    pub(crate) fn agent_panicked(&self) {
        self.tally.panicked.increment(1);
    }

    pub(crate) fn agent_gone(&self) {
        self.agents.fetch_sub(1, Ordering::Relaxed);
    }

    /// A cohort crashed with agents that nobody will hear of; those parked are worked anew.
    pub(crate) fn agents_lost(&self, count: u64, parked: u64) {
        self.agents.fetch_sub(count, Ordering::Relaxed);
        self.parked.fetch_sub(parked, Ordering::Relaxed);
    }

    pub(crate) fn call_started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call only now, since one that is held back in the end is none, and no counter ever
    /// goes back.
    fn count_call(&self, packed: bool, redactions: u32) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.packed_calls.fetch_add(u64::from(packed), Ordering::Relaxed);
        self.redactions.fetch_add(u64::from(redactions), Ordering::Relaxed);
        if redactions > 0 {
            self.tally.redacted.increment(redactions.into());
        }
    }

    pub(crate) fn call_ended(
        &self,
        (packed, redactions): (bool, u32),
        model: usize,
        outcome: Outcome,
        usage: Option<&Usage>,
        (billed, took): (Micros, Duration),
    ) {
        self.count_call(packed, redactions);
        self.spent.fetch_add(billed.0, Ordering::Relaxed);
        self.tally_by_model[model].ended(outcome, usage, billed, took);
        if let Some(usage) = usage {
            self.input.fetch_add(usage.total_input(), Ordering::Relaxed);
            self.output.fetch_add(usage.output, Ordering::Relaxed);
        }
        if outcome == Outcome::Answered {
            self.by_model[model].fetch_add(1, Ordering::Relaxed);
        } else {
            self.failed_calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call was held back in the end: it was none.
    pub(crate) fn call_held_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call was dropped on its way: it counts as paid.
    pub(crate) fn call_lost(&self, (packed, redactions): (bool, u32), model: usize, reserved: Micros) {
        self.count_call(packed, redactions);
        self.tally_by_model[model].ended(Outcome::Lost, None, reserved, Duration::ZERO);
        self.spent.fetch_add(reserved.0, Ordering::Relaxed);
        self.failed_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answer_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.tally.rejected.increment(1);
    }

    /// A kept answer served instead of a call.
    pub(crate) fn cache_hit(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
        self.tally.kept.increment(1);
    }

    /// Another one's call served instead of a call.
    pub(crate) fn call_joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
        self.tally.joined.increment(1);
    }

    /// A fallback goes to a less trusted zone.
    pub(crate) fn zone_crossed(&self) {
        self.crossed.fetch_add(1, Ordering::Relaxed);
        self.tally.crossed.increment(1);
    }

    /// A call was denied or deferred for its provider's share.
    pub(crate) fn over_share(&self) {
        self.over_share.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn agent_parked(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
        self.tally.parked.increment(1);
    }

    /// Counts a finished agent. Gives the count of the dead and the ended when `rule` says that
    /// the job should stop.
    pub(crate) fn agent_finished(&self, dead: bool, rule: Option<FailureRule>) -> Option<(u32, u32)> {
        let counter = if dead { &self.dead } else { &self.done };
        counter.fetch_add(1, Ordering::Relaxed);
        if dead { &self.tally.dead } else { &self.tally.done }.increment(1);
        let rule = rule?;
        if self.first_ended.load(Ordering::Relaxed) >= rule.of_first {
            return None;
        }
        let ended = self.first_ended.fetch_add(1, Ordering::Relaxed) + 1;
        let dead = self.first_dead.fetch_add(u32::from(dead), Ordering::Relaxed) + u32::from(dead);
        (ended <= rule.of_first && dead >= rule.failed).then_some((dead, ended))
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_failure_rule_looks_at_the_first_agents_only() {
        let rule = Some(FailureRule { failed: 2, of_first: 4 });
        let meters = JobMeters::new(Arc::default(), &[]);
        assert_eq!(meters.agent_finished(true, rule), None);
        assert_eq!(meters.agent_finished(false, rule), None);
        assert_eq!(meters.agent_finished(true, rule), Some((2, 3)));

        let meters = JobMeters::new(Arc::default(), &[]);
        for _ in 0..4 {
            assert_eq!(meters.agent_finished(false, rule), None);
        }
        assert_eq!(meters.agent_finished(true, rule), None);
        assert_eq!(meters.agent_finished(true, rule), None);
    }
}
