//! How things stand at the time of a scrape.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::book::Scope;
use empire_actors::gates::meter::{BreakerReading, BreakerState, Gauge as Meter};
use empire_actors::gates::rate::LaneReading;
use empire_actors::gates::room::Class;
use empire_actors::guard::pressure::{Gauge, GuardLevel};
use empire_actors::kernel::tree::{NodeState, NodeView};
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::tally::{MOST_DETAILED, MOST_MODELS, Tally};
use empire_actors::watch::{JobsReading, Watch};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::page::{Page, Series};
use super::process::OwnProcess;
use crate::store::Standing;

/// Reads everything and writes it down.
pub(super) struct Scraper {
    watch: Watch,
    tally: Arc<Tally>,
    events: PrometheusHandle,
    counts: Arc<Mutex<Standing>>,
    process: OwnProcess,
    work: Work,
    last: Option<Duration>,
}

impl Scraper {
    pub(super) fn new(watch: Watch, tally: Arc<Tally>, events: PrometheusHandle) -> Scraper {
        Scraper {
            watch,
            tally,
            events,
            counts: Arc::default(),
            process: OwnProcess::new(),
            work: Work::default(),
            last: None,
        }
    }

    pub(super) fn with_counts(self, counts: Arc<Mutex<Standing>>) -> Scraper {
        Scraper { counts, ..self }
    }

    /// Adds up what was told since.
    pub(super) fn keep_up(&mut self) {
        self.events.run_upkeep();
        let nodes = self.watch.tree().nodes();
        self.work.look(&nodes, &self.tally);
    }

    /// The whole page.
    pub(super) fn scrape(&mut self) -> String {
        let began = Instant::now();
        let mut page = Page::default();
        let jobs = self.watch.jobs();
        self.actors(&jobs, &mut page);
        show_jobs(&jobs, &self.counts.lock(), &mut page);
        self.costs(&mut page);
        show_lanes(&self.watch.lanes(), &mut page);
        self.budgets(&jobs, &mut page);
        self.machine(&mut page);
        page.family("empire_build_info", [Series::new(&[env!("CARGO_PKG_VERSION")], 1.0)]);
        page.one("empire_last_scrape_seconds", self.last.map(|last| last.as_secs_f64()));
        let text = self.events.render() + &page.text();
        self.last = Some(began.elapsed());
        text
    }

    fn actors(&mut self, jobs: &JobsReading, page: &mut Page) {
        let nodes = self.watch.tree().nodes();
        self.work.look(&nodes, &self.tally);
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        for node in &nodes {
            kinds.entry(self.tally.kind(&node.path)).or_default().add(node);
        }
        if jobs.running > 0 {
            let cohorts = kinds.entry(self.tally.kind("/empire/swarm/job/cohort")).or_default();
            for (state, count) in &jobs.cohorts {
                *cohorts.states.entry(state.word()).or_default() += count;
            }
        }
        let states = |kind: &str, of: &Kind| -> Vec<Series> {
            let count = |state: &NodeState| of.states.get(state.word()).copied().unwrap_or(0) as f64;
            STATES.iter().map(|state| Series::new(&[kind, state.word()], count(state))).collect()
        };
        page.family("empire_actors", kinds.iter().flat_map(|(kind, of)| states(kind, of)));
        // Cohorts have neither a mailbox to look into nor a supervisor of this kind.
        let actors = || kinds.iter().filter(|(_, kind)| kind.nodes > 0);
        let each = |value: fn(&Kind) -> f64| actors().map(move |(kind, of)| Series::new(&[kind], value(of)));
        page.family("empire_actors_unhealthy", each(|kind| kind.unhealthy as f64));
        page.family("empire_mailbox_depth", each(|kind| kind.depth as f64));
        page.family("empire_handler_longest_seconds", each(|kind| kind.longest_us as f64 / 1e6));
        page.family("empire_handler_busy_seconds", each(|kind| kind.busy_us as f64 / 1e6));
        let supervisors = || kinds.iter().filter(|(_, kind)| kind.allowed > 0);
        let counted = |value: fn(&Kind) -> u32| {
            supervisors().map(move |(kind, of)| Series::new(&[kind], f64::from(value(of))))
        };
        page.family("empire_restarts_in_window", counted(|kind| kind.in_window));
        page.family("empire_restarts_allowed", counted(|kind| kind.allowed));
        self.work.show(page);
    }

    fn costs(&self, page: &mut Page) {
        let costs = self.tally.costs();
        let series =
            costs.iter().map(|cost| Series::new(&[&cost.provider, &cost.model], dollars(cost.billed)));
        page.family("empire_cost_usd_total", series);
    }

    fn budgets(&self, jobs: &JobsReading, page: &mut Page) {
        let accounts = self.watch.accounts();
        let labelled = |scope: &Scope, amount: Micros| match scope {
            Scope::Provider(provider) => Series::new(&["provider", provider.as_str()], dollars(amount)),
            Scope::Month(_) => Series::new(&["month", ""], dollars(amount)),
            Scope::Day(_) => Series::new(&["day", ""], dollars(amount)),
            _ => Series::new(&["total", ""], dollars(amount)),
        };
        let accounts = &accounts[..accounts.len().min(MOST_MODELS + 3)];
        let caps = accounts.iter().filter_map(|(scope, account)| Some(labelled(scope, account.cap?)));
        page.family("empire_budget_cap_usd", caps);
        let spent = accounts.iter().map(|(scope, account)| labelled(scope, account.spent));
        page.family("empire_budget_spent_usd", spent);
        let reserved = accounts.iter().map(|(scope, account)| labelled(scope, account.reserved));
        page.family("empire_budget_reserved_usd", reserved);
        page.one("empire_job_budget_spent_ratio_max", jobs.most_spent);
    }

    fn machine(&mut self, page: &mut Page) {
        let guard = self.watch.guard();
        let (pressure, readings, held) = (guard.pressure(), guard.readings(), guard.held());
        let is = |yes: bool| f64::from(u8::from(yes));
        let levels = [GuardLevel::Normal, GuardLevel::Throttled, GuardLevel::Alert, GuardLevel::Emergency];
        let level = |level: GuardLevel| Series::new(&[level.word()], is(pressure.level == level));
        page.family("empire_pressure_level", levels.map(level));
        page.one("empire_pressure_ratio", Some(pressure.value));
        let binds = |gauge: Gauge| pressure.binds.is_some_and(|binds| binds.gauge == gauge);
        let binding = Gauge::ALL.map(|gauge| Series::new(&[gauge.setting()], is(binds(gauge))));
        page.family("empire_pressure_binding", binding);
        page.one("empire_emergencies_total", Some(pressure.emergencies as f64));
        let held = [
            (GuardLevel::Throttled, held.throttled),
            (GuardLevel::Alert, held.alert),
            (GuardLevel::Emergency, held.emergency),
        ];
        let held = held.map(|(level, time)| Series::new(&[level.word()], time.as_secs_f64()));
        page.family("empire_held_back_seconds_total", held);
        let ratio = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
        page.one("empire_host_cpu_ratio", ratio(readings.cpu));
        page.one("empire_host_load_per_core", readings.load);
        page.one("empire_host_memory_ratio", ratio(readings.memory));
        let stalls = [("some", readings.memory_some), ("all", readings.memory_full)];
        let stalls =
            stalls.into_iter().filter_map(|(tasks, stall)| Some(Series::new(&[tasks], stall? / 100.0)));
        page.family("empire_host_memory_stall_ratio", stalls);
        let disks = readings.disks.iter().map(|disk| Series::new(&[&disk.what], disk.free as f64));
        page.family("empire_disk_free_bytes", disks);
        self.process.show(&readings, page);
    }
}

const STATES: [NodeState; 9] = [
    NodeState::Starting,
    NodeState::Running,
    NodeState::Draining,
    NodeState::BackingOff,
    NodeState::Exhausted,
    NodeState::Paused,
    NodeState::Quarantined,
    NodeState::Stopping,
    NodeState::Stopped,
];

/// All nodes of a kind.
#[derive(Debug, Default)]
struct Kind {
    nodes: u64,
    states: HashMap<&'static str, u64>,
    unhealthy: u64,
    depth: u64,
    longest_us: u64,
    busy_us: u64,
    in_window: u32,
    allowed: u32,
}

impl Kind {
    fn add(&mut self, node: &NodeView) {
        self.nodes += 1;
        *self.states.entry(node.state.word()).or_default() += 1;
        self.unhealthy += u64::from(!node.healthy);
        if let Some(pulse) = node.pulse {
            self.depth += pulse.waiting;
            self.longest_us = self.longest_us.max(pulse.longest_us);
            self.busy_us = self.busy_us.max(pulse.busy_us.unwrap_or(0));
        }
        if let Some(restarts) = node.restarts {
            self.in_window += restarts.in_window;
            self.allowed += restarts.limit;
        }
    }
}

/// What actors have done. A node takes its counters along when it leaves the tree; a counter of
/// Prometheus must not go down, so that what nodes had that are gone is kept by kind.
#[derive(Debug, Default)]
struct Work {
    seen: HashMap<String, Done>,
    gone: BTreeMap<String, Done>,
    sums: BTreeMap<String, Done>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Done {
    handled: u64,
    handled_us: u64,
    waited_us: u64,
}

impl Done {
    fn add(&mut self, other: Done) {
        self.handled += other.handled;
        self.handled_us += other.handled_us;
        self.waited_us += other.waited_us;
    }
}

impl Work {
    fn look(&mut self, nodes: &[NodeView], tally: &Tally) {
        let mut now = HashMap::with_capacity(nodes.len());
        for node in nodes {
            let Some(pulse) = node.pulse else { continue };
            let (handled, handled_us, waited_us) = (pulse.handled, pulse.handled_us, pulse.waited_us);
            now.insert(node.path.clone(), Done { handled, handled_us, waited_us });
        }
        for (path, before) in self.seen.drain() {
            let is_another = now.get(&path).is_none_or(|after| after.handled < before.handled);
            if is_another {
                self.gone.entry(tally.kind(&path)).or_default().add(before);
            }
        }
        self.sums.clone_from(&self.gone);
        for (path, done) in &now {
            self.sums.entry(tally.kind(path)).or_default().add(*done);
        }
        self.seen = now;
    }

    fn show(&self, page: &mut Page) {
        let each = |value: fn(&Done) -> f64| {
            self.sums.iter().map(move |(kind, done)| Series::new(&[kind], value(done)))
        };
        page.family("empire_messages_handled_total", each(|done| done.handled as f64));
        page.family("empire_handler_seconds_total", each(|done| done.handled_us as f64 / 1e6));
        page.family("empire_mailbox_wait_seconds_total", each(|done| done.waited_us as f64 / 1e6));
    }
}

fn dollars(amount: Micros) -> f64 {
    amount.0 as f64 / 1e6
}

fn show_jobs(jobs: &JobsReading, counts: &Standing, page: &mut Page) {
    let agents = [
        ("waiting", jobs.waiting),
        ("awake", jobs.awake),
        ("done", jobs.done),
        ("dead", jobs.dead),
        ("parked", jobs.parked),
    ];
    page.family("empire_agents", agents.map(|(state, count)| Series::new(&[state], count as f64)));
    page.one("empire_jobs_running", Some(jobs.running as f64));
    page.one("empire_calls_in_flight", Some(jobs.in_flight as f64));
    let stored = counts.jobs.iter().map(|(state, count)| Series::new(&[state.as_str()], *count as f64));
    page.family("empire_jobs", stored);
    let approvals =
        counts.approvals.iter().map(|(state, count)| Series::new(&[state.as_str()], *count as f64));
    page.family("empire_approvals", approvals);
}

/// Lanes and their models; of more than [`MOST_DETAILED`] models the first.
fn show_lanes(lanes: &[(ProviderId, LaneReading)], page: &mut Page) {
    let lanes = &lanes[..lanes.len().min(MOST_MODELS)];
    let each = |value: fn(&LaneReading) -> u32| {
        lanes.iter().map(move |(id, lane)| Series::new(&[id.as_str()], f64::from(value(lane))))
    };
    page.family("empire_permits_limit", each(|lane| lane.concurrency));
    page.family("empire_permits_in_use", each(|lane| lane.meters.in_flight));
    let waiting = lanes.iter().flat_map(|(id, lane)| {
        let of = |(class, count): (Class, usize)| Series::new(&[id.as_str(), class.as_str()], count as f64);
        Class::ALL.into_iter().zip(lane.waiting_by_class).map(of)
    });
    page.family("empire_lane_waiting", waiting);
    let mut rows: Vec<(&str, &str, &[Meter], &BreakerReading)> = Vec::new();
    for (id, lane) in lanes {
        rows.push((id.as_str(), "", &lane.gauges, &lane.breaker));
    }
    let models = lanes.iter().flat_map(|(id, lane)| lane.models.iter().map(move |model| (id, model)));
    for (id, model) in models.take(MOST_DETAILED) {
        rows.push((id.as_str(), &model.model, &model.gauges, &model.breaker));
    }
    let meters = |value: fn(&Meter) -> u64| {
        rows.iter().flat_map(move |(id, model, meters, _)| {
            meters
                .iter()
                .map(move |meter| Series::new(&[id, model, meter.meter.setting()], value(meter) as f64))
        })
    };
    page.family("empire_meter_used", meters(|meter| meter.used));
    page.family("empire_meter_limit", meters(|meter| meter.limit));
    let breakers = rows.iter().flat_map(|(id, model, _, breaker)| {
        let is = |state: BreakerState| f64::from(u8::from(breaker.state == state));
        BreakerState::ALL.map(|state| Series::new(&[id, model, state.word()], is(state)))
    });
    page.family("empire_breaker_state", breakers);
}

#[cfg(test)]
mod tests;
