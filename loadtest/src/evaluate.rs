//! From what was seen to measures. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::account::{Account, Reported};
use crate::chaos::Done;
use crate::jobs::{Batch, Followed};
use crate::latency::{Percentiles, Times, edge_at, of_buckets};
use crate::measure::Measure;
use crate::sample::{BUDGET_GATE, MIB, MODEL_CALL, RATE_GATE, STAGES, STORE_COMMIT, Sample, Sampled};
use crate::verdict::Measures;

/// Of fewer agents, their memory is lost in that of everything else.
const ENOUGH_WAITING: f64 = 10_000.0;

/// How the idle program stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Idle {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    pub(crate) threads: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) actors: u64,
}

/// All that was seen of a run.
pub(crate) struct Seen<'a> {
    pub(crate) batches: &'a [Batch],
    pub(crate) followed: &'a [Followed],
    pub(crate) account: Account,
    pub(crate) sampled: &'a Sampled,
    /// The simulator's own counts.
    pub(crate) books: &'a Value,
    /// When calls reached each provider, in milliseconds of the simulator's clock.
    pub(crate) arrivals: &'a BTreeMap<String, Vec<f64>>,
    pub(crate) before: Idle,
    pub(crate) after: Option<Idle>,
    pub(crate) chaos: &'a Done,
    pub(crate) bare: Option<f64>,
    pub(crate) first_result_s: Option<f64>,
    /// From a job's intended start to each agent's durable result.
    pub(crate) agents: &'a Times,
    pub(crate) warm_up_s: f64,
}

/// All that can be measured of it.
pub(crate) fn measures(seen: &Seen<'_>) -> Measures {
    let mut found = Measures::new();
    let mut set = |measure: Measure, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            found.insert(measure, value);
        }
    };
    times(seen, &mut set);
    memory(seen, &mut set);
    gates(seen, &mut set);
    work(seen, &mut set);
    found
}

type Set<'a> = dyn FnMut(Measure, Option<f64>) + 'a;

fn times(seen: &Seen<'_>, set: &mut Set<'_>) {
    let finished = seen.followed.iter().map(|job| job.line.ended_s).collect::<Option<Vec<f64>>>();
    let finished = finished.and_then(|ends| ends.into_iter().reduce(f64::max));
    let began = seen.batches.iter().map(|batch| batch.intended.as_secs_f64()).reduce(f64::min);
    let began = began.unwrap_or_default();
    let ended = (seen.account.done + seen.account.dead) as f64;
    set(Measure::FinishedS, finished.map(|end| end - began));
    set(Measure::AgentsPerSecond, finished.map(|end| ended / (end - began).max(1e-3)));
    set(Measure::FirstResultS, seen.first_result_s.map(|first| first - began));
    let calls = calls_per_second(seen.arrivals);
    set(Measure::CallsPerSecond, calls);
    set(Measure::BareCallsPerSecond, seen.bare);
    set(Measure::RateAgainstBare, calls.zip(seen.bare).map(|(calls, bare)| calls / bare));
    let longest = |interactive_only: bool, end: fn(&Followed) -> Option<f64>| {
        let jobs = seen.followed.iter().zip(seen.batches);
        let jobs = jobs.filter(|(_, batch)| !interactive_only || batch.traits.is_interactive);
        let spans = jobs.map(|(job, batch)| end(job).map(|end| end - batch.intended.as_secs_f64()));
        spans.collect::<Option<Vec<f64>>>().and_then(|spans| spans.into_iter().reduce(f64::max))
    };
    set(Measure::AdmissionS, longest(false, |job| job.line.taken_s));
    set(Measure::LongestJobS, longest(false, |job| job.line.ended_s));
    set(Measure::LongestInteractiveJobS, longest(true, |job| job.line.ended_s));
    let agents = seen.agents.percentiles("agent");
    set(Measure::AgentP50S, agents.as_ref().map(|agents| agents.p50));
    set(Measure::AgentP99S, agents.as_ref().map(|agents| agents.p99));
    for (measure, stage) in [
        (Measure::RateWaitP99S, RATE_GATE),
        (Measure::BudgetWaitP99S, BUDGET_GATE),
        (Measure::CallP99S, MODEL_CALL),
        (Measure::CommitP99S, STORE_COMMIT),
    ] {
        set(measure, edge_at(&seen.sampled.stage(stage), 0.99));
    }
    let scrapes = seen.sampled.scrapes.percentiles("scrape");
    set(Measure::ScrapeP99Ms, scrapes.as_ref().map(|scrapes| scrapes.p99 * 1e3));
    set(Measure::ScrapeMaxMs, scrapes.as_ref().map(|scrapes| scrapes.max * 1e3));
}

/// Calls between the first and the last that came, of all providers.
fn calls_per_second(arrivals: &BTreeMap<String, Vec<f64>>) -> Option<f64> {
    let all = || arrivals.values().flatten().copied();
    let span = all().reduce(f64::max)? - all().reduce(f64::min)?;
    let count = all().count() as f64;
    (span > 0.0).then(|| (count - 1.0) / (span / 1e3))
}

fn memory(seen: &Seen<'_>, set: &mut Set<'_>) {
    let sampled = seen.sampled;
    let before = seen.before.memory as f64;
    set(Measure::MemoryBeforeMib, Some(before / MIB));
    set(Measure::PeakMemoryMib, Some(sampled.peak_memory as f64 / MIB));
    set(Measure::SettledMemoryMib, seen.after.map(|after| after.memory as f64 / MIB));
    let most = sampled.samples.iter().max_by(|a, b| a.waiting.total_cmp(&b.waiting));
    if let Some(most) = most.filter(|most| most.waiting > 0.0) {
        set(Measure::PeakWaitingAgents, Some(most.waiting));
        let bytes = (most.memory_mib * MIB - before).max(0.0) / most.waiting;
        set(Measure::BytesPerWaitingAgent, (most.waiting >= ENOUGH_WAITING).then_some(bytes));
    }
    set(Measure::MemoryGrowthAfterWarmUpPercent, growth_after(&sampled.samples, seen.warm_up_s));
    let cpu_us = sampled.cpu_s() * 1e6;
    let ended = (seen.account.done + seen.account.dead) as f64;
    set(Measure::CpuUsPerAgent, (ended > 0.0).then(|| cpu_us / ended));
    let calls = seen.arrivals.values().map(Vec::len).sum::<usize>() as f64;
    set(Measure::CpuUsPerCall, (calls > 0.0).then(|| cpu_us / calls));
    set(Measure::DeepestMailbox, sampled.samples.iter().map(|sample| sample.mailbox).reduce(f64::max));
    if !seen.chaos.kills.is_empty() {
        // Another process has other threads and files.
        return;
    }
    let growth = |of: fn(Idle) -> Option<u64>| {
        seen.after.and_then(|after| Some(of(after)? as f64 - of(seen.before)? as f64))
    };
    set(Measure::ThreadsGrowth, growth(|idle| idle.threads));
    set(Measure::OpenFilesGrowth, growth(|idle| idle.files));
    set(Measure::ActorsGrowth, growth(|idle| Some(idle.actors)));
}

/// By how many percent the median memory of a fifth of the time after the warm-up is above that of
/// the first fifth, at most.
fn growth_after(samples: &[Sample], warm_up_s: f64) -> Option<f64> {
    const FIFTHS: usize = 5;
    let after: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.up && sample.t >= warm_up_s)
        .map(|sample| sample.memory_mib)
        .collect();
    if after.len() < 2 * FIFTHS {
        return None;
    }
    let medians: Vec<f64> = after
        .chunks(after.len().div_ceil(FIFTHS))
        .map(|fifth| {
            let mut sorted = fifth.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        })
        .collect();
    let most = medians.iter().copied().reduce(f64::max)?;
    Some((most / medians[0] - 1.0) * 100.0)
}

fn gates(seen: &Seen<'_>, set: &mut Set<'_>) {
    let sampled = seen.sampled;
    let provider = |name: &str, field: &str| seen.books["providers"][name][field].as_f64();
    let by_simulator = sampled
        .concurrency
        .iter()
        .filter_map(|(name, allowed)| provider(name, "max_in_flight").map(|most| most - allowed));
    let over = by_simulator.fold(sampled.permits_over, f64::max);
    set(Measure::PermitsOverAllowed, (!sampled.concurrency.is_empty()).then_some(over.max(0.0)));
    set(Measure::CallsOverRateLimit, calls_over_limits(&sampled.limits, seen.arrivals));

    let reported = reported(seen);
    let usd = |micros: f64| micros / 1e6;
    let billed: f64 = providers(seen.books).filter_map(|page| page["billed"]["micros"].as_f64()).sum();
    let (spent, unknown) = (reported.spent as f64, reported.unknown as f64);
    set(Measure::SpentUsd, Some(usd(spent)));
    let overs = [
        sampled.over_cap_usd,
        reported.over_budget.map(|micros| usd(micros as f64)),
        sampled.total_cap_usd.map(|cap| usd(billed) - cap),
    ];
    let over = overs.into_iter().flatten().reduce(f64::max);
    set(Measure::SpentOverCapUsd, over.map(|over| over.max(0.0)));
    let share = (reported.budgets > 0).then(|| spent / reported.budgets as f64 * 100.0);
    set(Measure::SpentOfCapPercent, share);
    set(Measure::BillOverLedgerUsd, Some(usd((billed - spent).max(0.0))));
    set(Measure::LedgerOverBillUsd, Some(usd((spent - unknown - billed).max(0.0))));
}

fn providers(books: &Value) -> impl Iterator<Item = &Value> {
    books["providers"].as_object().into_iter().flat_map(|providers| providers.values())
}

fn reported(seen: &Seen<'_>) -> Reported {
    let mut reported = Reported::default();
    for (followed, batch) in seen.followed.iter().zip(seen.batches) {
        if let Some(report) = &followed.report {
            reported.add(report, batch.traits.reduce_group);
        }
    }
    reported
}

/// The most calls above a limit in any window of its length.
fn calls_over_limits(
    limits: &BTreeMap<(String, String), f64>,
    arrivals: &BTreeMap<String, Vec<f64>>,
) -> Option<f64> {
    let over = limits.iter().filter_map(|((provider, meter), limit)| {
        let length_ms = match meter.as_str() {
            "requests_per_minute" => 60_000.0,
            "requests_per_hour" => 3_600_000.0,
            "requests_per_day" => 86_400_000.0,
            _ => return None,
        };
        let times = arrivals.get(provider)?;
        Some((most_within(times, length_ms) as f64 - limit).max(0.0))
    });
    over.reduce(f64::max)
}

/// The most times that lie within one window, its end excluded.
fn most_within(times: &[f64], length: f64) -> usize {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut first = 0;
    let mut most = 0;
    for (last, time) in sorted.iter().enumerate() {
        while time - sorted[first] >= length {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

fn work(seen: &Seen<'_>, set: &mut Set<'_>) {
    let account = seen.account;
    for (measure, count) in [
        (Measure::Agents, account.items),
        (Measure::Done, account.done),
        (Measure::Dead, account.dead),
        (Measure::Undone, account.undone),
        (Measure::Lost, account.lost),
        (Measure::Twice, account.twice),
        (Measure::Kills, seen.chaos.kills.len() as u64),
        (Measure::ActorKills, seen.chaos.actor_kills),
        (Measure::Resumes, seen.followed.iter().map(|job| u64::from(job.line.resumes)).sum()),
    ] {
        set(measure, Some(count as f64));
    }
    let reported = reported(seen);
    let sum = |field: fn(&Value) -> &Value| -> f64 {
        providers(seen.books).filter_map(|page| field(page).as_f64()).sum()
    };
    let received = sum(|page| &page["received"]);
    let answered = sum(|page| &page["billed"]["calls"]);
    set(Measure::Calls, Some(received));
    set(Measure::RefusedCalls, Some(received - answered));
    let useful = reported.useful as f64;
    set(Measure::PaidInVain, Some((answered - useful).max(0.0)));
    let wasted = (received > 0.0).then(|| (received - useful).max(0.0) / received * 100.0);
    set(Measure::WastedCallsPercent, wasted);
    let spawned = seen.sampled.counter("empire_agents_spawned_total");
    let useless = (spawned > 0.0).then(|| (spawned - account.done as f64).max(0.0) / spawned * 100.0);
    set(Measure::UselessAgentsPercent, useless);
    set(Measure::CriticalSteps, Some(reported.steps as f64));
    let first_calls = seen.chaos.kills.iter().filter_map(|kill| kill.first_call_after);
    set(Measure::FirstCallAfterKillS, first_calls.max().map(|after| after.as_secs_f64()));
    set(Measure::ActorRestarts, Some(seen.sampled.counter("empire_actor_restarts_total")));
    set(Measure::HeldBackS, Some(seen.sampled.held_back_s()));
}

/// Percentiles of every stage.
pub(crate) fn percentiles(seen: &Seen<'_>) -> Vec<Percentiles> {
    let stages = STAGES.iter().enumerate();
    let mut all: Vec<Percentiles> =
        stages.filter_map(|(index, stage)| of_buckets(stage.name, &seen.sampled.stage(index))).collect();
    all.extend(seen.agents.percentiles("agent, from its job's intended start"));
    all.extend(seen.sampled.scrapes.percentiles("scrape"));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_over_a_limit_are_found_wherever_the_window_lies() {
        let limits = BTreeMap::from([(("kimi".to_owned(), "requests_per_minute".to_owned()), 2.0)]);
        let over = |times: &[f64]| {
            calls_over_limits(&limits, &BTreeMap::from([("kimi".to_owned(), times.to_vec())]))
        };
        assert_eq!(over(&[0.0, 59_000.0, 60_000.0]), Some(0.0));
        assert_eq!(over(&[0.0, 59_000.0, 59_999.0]), Some(1.0));
        assert_eq!(over(&[50_000.0, 61_000.0, 62_000.0, 109_000.0]), Some(2.0));
        assert_eq!(calls_over_limits(&BTreeMap::new(), &BTreeMap::new()), None);
    }

    #[test]
    fn flat_memory_does_not_grow_and_a_leak_does() {
        let samples = |grows: f64| -> Vec<Sample> {
            let each = (0..60).map(|second| Sample {
                t: f64::from(second),
                up: true,
                memory_mib: 100.0 + f64::from(second % 3) + grows * f64::from(second),
                ..Sample::default()
            });
            each.collect()
        };
        assert_eq!(growth_after(&samples(0.0), 10.0), Some(0.0));
        assert!(growth_after(&samples(1.0), 10.0).unwrap() > 30.0);
        assert_eq!(growth_after(&samples(1.0), 55.0), None, "five samples say nothing");
    }

    proptest! {
        #[test]
        fn the_fullest_window_is_found(times in prop::collection::vec(0.0..1_000.0f64, 1..60), length in 1.0..500.0f64) {
            let by_hand = times.iter().map(|start| {
                times.iter().filter(|time| **time >= *start && **time - start < length).count()
            });
            prop_assert_eq!(most_within(&times, length), by_hand.max().unwrap());
        }
    }
}
