//! Scrapes the program as Prometheus would, and reads its process, at a fixed pace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::latency::{Times, edge_at};
use crate::page::{Buckets, Page};
use crate::process::{self, Reading};
use crate::stage::Stage;

pub(crate) const MIB: f64 = 1_048_576.0;

/// A stage of a call, and the histogram that the program keeps of it.
pub(crate) struct Timed {
    /// What people call it.
    pub(crate) name: &'static str,
    metric: &'static str,
    /// Only of this gate.
    gate: Option<&'static str>,
}

const fn gate(name: &'static str, gate: &'static str) -> Timed {
    Timed { name, metric: "empire_gate_wait_seconds", gate: Some(gate) }
}

/// All stages.
pub(crate) const STAGES: [Timed; 6] = [
    gate("privacy gate", "privacy"),
    gate("budget gate", "budget"),
    gate("rate gate", "rate"),
    gate("share gate", "share"),
    Timed { name: "model call", metric: "gen_ai_client_operation_duration_seconds", gate: None },
    Timed { name: "store commit", metric: "empire_store_commit_seconds", gate: None },
];
/// The place of stages in [`STAGES`].
pub(crate) const BUDGET_GATE: usize = 1;
pub(crate) const RATE_GATE: usize = 2;
pub(crate) const MODEL_CALL: usize = 4;
pub(crate) const STORE_COMMIT: usize = 5;

/// Counters that are added up over the processes of a run.
const COUNTERS: [&str; 4] = [
    "empire_agents_spawned_total",
    "empire_agents_ended_total",
    "empire_calls_total",
    "empire_actor_restarts_total",
];

/// One look at the program. Rates are since the look before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds since the run began.
    pub(crate) t: f64,
    /// Whether the program was up and answered.
    pub(crate) up: bool,
    pub(crate) memory_mib: f64,
    /// Of one processor.
    pub(crate) cpu_percent: f64,
    pub(crate) threads: f64,
    pub(crate) files: f64,
    pub(crate) scrape_ms: f64,
    /// Agents that wait.
    pub(crate) waiting: f64,
    /// Agents at work.
    pub(crate) awake: f64,
    pub(crate) agents_per_s: f64,
    pub(crate) calls_per_s: f64,
    pub(crate) permits_used: f64,
    /// Of the providers that have been called.
    pub(crate) permits_limit: f64,
    /// Calls that wait for a permit.
    pub(crate) lane_waiting: f64,
    /// The deepest mailboxes of one kind.
    pub(crate) mailbox: f64,
    /// The machine's pressure, 0 to 1.
    pub(crate) pressure: f64,
    pub(crate) spent_usd: f64,
    /// Percentiles since the look before, in milliseconds.
    pub(crate) rate_wait_p50_ms: Option<f64>,
    pub(crate) rate_wait_p99_ms: Option<f64>,
    pub(crate) call_p50_ms: Option<f64>,
    pub(crate) call_p99_ms: Option<f64>,
}

/// What is added up of one process.
#[derive(Debug, Clone, Default)]
struct Sums {
    counters: BTreeMap<&'static str, f64>,
    held_back_s: f64,
    stages: Vec<Buckets>,
    cpu_s: f64,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sampled {
    pub(crate) samples: Vec<Sample>,
    pub(crate) scrapes: Times,
    /// The highest resident memory, in bytes.
    pub(crate) peak_memory: u64,
    /// Permits in use above a provider's limit.
    pub(crate) permits_over: f64,
    /// Spent and reserved above a cap, in dollars.
    pub(crate) over_cap_usd: Option<f64>,
    /// Calls at once that each provider allows.
    pub(crate) concurrency: BTreeMap<String, f64>,
    /// Providers that were called.
    busy: BTreeSet<String>,
    /// Limits over time, by provider and setting.
    pub(crate) limits: BTreeMap<(String, String), f64>,
    /// The lowest cap on all providers together, in dollars.
    pub(crate) total_cap_usd: Option<f64>,
    /// What the first process had counted before the run.
    before: Sums,
    /// What processes counted that are gone.
    past: Sums,
    now: Sums,
    incarnation: u32,
}

impl Sampled {
    /// What a counter added up to, over all processes.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let of = |sums: &Sums| sums.counters.get(name).copied().unwrap_or_default();
        of(&self.past) + of(&self.now) - of(&self.before)
    }

    /// Seconds in which the guard held work back.
    pub(crate) fn held_back_s(&self) -> f64 {
        self.past.held_back_s + self.now.held_back_s - self.before.held_back_s
    }

    /// Processor seconds of the program.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.past.cpu_s + self.now.cpu_s - self.before.cpu_s
    }

    /// A stage's histogram over the whole run.
    pub(crate) fn stage(&self, stage: usize) -> Buckets {
        let mut whole = self.past.stages.get(stage).cloned().unwrap_or_default();
        add(&mut whole, self.now.stages.get(stage));
        less(&whole, self.before.stages.get(stage))
    }

    /// Takes one look in.
    fn take(&mut self, t: f64, incarnation: u32, page: &Page, reading: Reading, scrape: Duration) {
        if incarnation != self.incarnation {
            let ended = std::mem::take(&mut self.now);
            self.past.absorb(ended);
            self.incarnation = incarnation;
        }
        let before = std::mem::replace(&mut self.now, Sums::read(page, reading));
        self.peak_memory = self.peak_memory.max(reading.peak_memory);
        self.check_limits(page);
        let last = self.samples.last();
        let seconds = (t - last.map_or(0.0, |last| last.t)).max(1e-3);
        let rise = |name: &str| {
            let of = |sums: &Sums| sums.counters.get(name).copied().unwrap_or_default();
            ((of(&self.now) - of(&before)) / seconds).max(0.0)
        };
        let since = |stage: usize, share: f64| {
            let fresh = less(self.now.stages.get(stage)?, before.stages.get(stage));
            edge_at(&fresh, share).map(|seconds| seconds * 1e3)
        };
        let value = |name: &str, labels: &[(&str, &str)]| page.sum(name, labels).unwrap_or_default();
        self.samples.push(Sample {
            t,
            up: true,
            memory_mib: reading.memory as f64 / MIB,
            cpu_percent: ((self.now.cpu_s - before.cpu_s) / seconds * 100.0).max(0.0),
            threads: reading.threads.unwrap_or_default() as f64,
            files: reading.files.unwrap_or_default() as f64,
            scrape_ms: scrape.as_secs_f64() * 1e3,
            waiting: value("empire_agents", &[("state", "waiting")]),
            awake: value("empire_agents", &[("state", "awake")]),
            agents_per_s: rise("empire_agents_ended_total"),
            calls_per_s: rise("empire_calls_total"),
            permits_used: value("empire_permits_in_use", &[]),
            permits_limit: self.busy.iter().filter_map(|provider| self.concurrency.get(provider)).sum(),
            lane_waiting: value("empire_lane_waiting", &[]),
            mailbox: page.most("empire_mailbox_depth").unwrap_or_default(),
            pressure: value("empire_pressure_ratio", &[]),
            spent_usd: value("empire_budget_spent_usd", &[("scope", "total")]),
            rate_wait_p50_ms: since(RATE_GATE, 0.5),
            rate_wait_p99_ms: since(RATE_GATE, 0.99),
            call_p50_ms: since(MODEL_CALL, 0.5),
            call_p99_ms: since(MODEL_CALL, 0.99),
        });
    }

    fn check_limits(&mut self, page: &Page) {
        let used = page.by("empire_permits_in_use", "gen_ai_provider_name");
        self.concurrency = page.by("empire_permits_limit", "gen_ai_provider_name");
        for (provider, limit) in &self.concurrency {
            let used = used.get(provider).copied().unwrap_or_default();
            if used > 0.0 {
                self.busy.insert(provider.clone());
            }
            let over = used - limit;
            self.permits_over = self.permits_over.max(over);
        }
        let labels = ["scope", "gen_ai_provider_name"];
        let spent = page.by_two("empire_budget_spent_usd", labels);
        let reserved = page.by_two("empire_budget_reserved_usd", labels);
        for (scope, cap) in page.by_two("empire_budget_cap_usd", labels) {
            let of = |sums: &BTreeMap<_, f64>| sums.get(&scope).copied().unwrap_or_default();
            let over = of(&spent) + of(&reserved) - cap;
            self.over_cap_usd = Some(self.over_cap_usd.map_or(over, |most| most.max(over)));
            if scope.0 == "total" {
                self.total_cap_usd = Some(cap);
            }
        }
        // Those of single models are left out.
        let meters = page.without("empire_meter_limit", "gen_ai_request_model");
        let meters = meters.by_two("empire_meter_limit", ["gen_ai_provider_name", "meter"]);
        for (meter, limit) in meters {
            let most = self.limits.entry(meter).or_default();
            *most = most.max(limit);
        }
    }
}

impl Timed {
    fn buckets(&self, page: &Page) -> Buckets {
        let labels = self.gate.map(|gate| ("gate", gate));
        page.buckets(self.metric, labels.as_slice())
    }
}

impl Sums {
    fn read(page: &Page, reading: Reading) -> Sums {
        let held = page.by("empire_held_back_seconds_total", "level");
        Sums {
            counters: COUNTERS.map(|name| (name, page.sum(name, &[]).unwrap_or_default())).into(),
            held_back_s: held
                .iter()
                .filter(|(level, _)| *level != "normal")
                .map(|(_, seconds)| seconds)
                .sum(),
            stages: STAGES.iter().map(|stage| stage.buckets(page)).collect(),
            cpu_s: reading.cpu_s,
        }
    }

    fn absorb(&mut self, other: Sums) {
        for (name, value) in other.counters {
            *self.counters.entry(name).or_default() += value;
        }
        self.held_back_s += other.held_back_s;
        self.cpu_s += other.cpu_s;
        self.stages.resize(STAGES.len(), Buckets::new());
        for (whole, more) in self.stages.iter_mut().zip(&other.stages) {
            add(whole, Some(more));
        }
    }
}

fn add(to: &mut Buckets, more: Option<&Buckets>) {
    for (edge, count) in more.into_iter().flatten() {
        *to.entry(*edge).or_default() += count;
    }
}

fn less(now: &Buckets, before: Option<&Buckets>) -> Buckets {
    let of = |edge| before.and_then(|before| before.get(edge)).copied().unwrap_or_default();
    now.iter().map(|(edge, count)| (*edge, count.saturating_sub(of(edge)))).collect()
}

/// Looks at the program at a fixed pace.
pub(crate) struct Sampler {
    client: Client,
    pace: Duration,
    sampled: Sampled,
}

impl Sampler {
    /// One that has seen nothing yet.
    pub(crate) fn new(client: Client, pace: Duration) -> Sampler {
        Sampler { client, pace, sampled: Sampled::default() }
    }

    /// What was counted up to the last look is left out, and so is that look.
    pub(crate) fn count_from_here(&mut self) {
        self.sampled.before = self.sampled.now.clone();
        self.sampled.samples.clear();
        self.sampled.scrapes = Times::default();
    }

    /// Looks once every pace until told to stop, and once more then.
    pub(crate) async fn run(mut self, stage: &Stage, mut stop: watch::Receiver<bool>) -> Sampled {
        let mut ticks = tokio::time::interval(self.pace);
        // One that is late is not made up for; `add_paced` counts those that did not happen.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(stage).await,
                // It is told once; and a sender that is gone means the same.
                _ = stop.changed() => {
                    self.look(stage).await;
                    return self.sampled;
                }
            }
        }
    }

    /// Looks once.
    pub(crate) async fn look(&mut self, stage: &Stage) {
        let t = stage.now().as_secs_f64();
        let down = Sample { t, ..Sample::default() };
        let Some(up) = stage.up() else { return self.sampled.samples.push(down) };
        let asked = Instant::now();
        let page = async { self.client.get(&up.metrics).send().await?.error_for_status()?.text().await };
        let page = page.await;
        let took = asked.elapsed();
        match (page, process::read(up.pid)) {
            (Ok(text), Some(reading)) => {
                self.sampled.scrapes.add_paced(took, self.pace);
                self.sampled.take(t, up.incarnation, &Page::parse(&text), reading, took);
            }
            _ => self.sampled.samples.push(down),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu_s: f64) -> Reading {
        Reading { memory: 10 << 20, peak_memory: 20 << 20, cpu_s, threads: Some(3), files: Some(9) }
    }

    #[test]
    fn counters_add_up_over_processes() {
        let page = |calls: u32| {
            Page::parse(&format!(
                "empire_calls_total {calls}\nempire_store_commit_seconds_bucket{{le=\"1\"}} {calls}\n"
            ))
        };
        let mut sampled = Sampled::default();
        let took = Duration::from_millis(3);
        sampled.take(1.0, 0, &page(10), reading(1.0), took);
        sampled.take(2.0, 0, &page(30), reading(2.0), took);
        sampled.take(3.0, 1, &page(5), reading(0.5), took);
        assert_eq!(sampled.counter("empire_calls_total"), 35.0);
        assert_eq!(sampled.cpu_s(), 2.5);
        assert_eq!(sampled.stage(STORE_COMMIT).values().sum::<u64>(), 35);
        let rates: Vec<f64> = sampled.samples.iter().map(|sample| sample.calls_per_s).collect();
        assert_eq!(rates, [10.0, 20.0, 5.0]);
    }

    #[test]
    fn what_is_above_a_limit_is_noted() {
        let text = "empire_permits_in_use{gen_ai_provider_name=\"kimi\"} 9
empire_permits_limit{gen_ai_provider_name=\"kimi\"} 8
empire_budget_cap_usd{scope=\"total\"} 5
empire_budget_spent_usd{scope=\"total\"} 4
empire_budget_reserved_usd{scope=\"total\"} 0.5
empire_meter_limit{gen_ai_provider_name=\"kimi\",meter=\"requests_per_minute\"} 100
empire_meter_limit{gen_ai_provider_name=\"kimi\",gen_ai_request_model=\"m\",meter=\"requests_per_minute\"} 7
";
        let mut sampled = Sampled::default();
        sampled.take(1.0, 0, &Page::parse(text), reading(1.0), Duration::from_millis(1));
        assert_eq!(sampled.permits_over, 1.0);
        assert_eq!(sampled.over_cap_usd, Some(-0.5));
        assert_eq!(sampled.total_cap_usd, Some(5.0));
        let key = ("kimi".to_owned(), "requests_per_minute".to_owned());
        assert_eq!(sampled.limits, BTreeMap::from([(key, 100.0)]));
    }
}
