//! All that a screen shows of a process, in one answer: read from memory, as everything that is
//! looked at often.

use std::time::Duration;

use empire_actors::alerts::Alert;
use empire_actors::gates::meter::{BreakerReading, BreakerState, Gauge};
use empire_actors::gates::rate::LaneReading;
use empire_actors::gates::scope::{Account, Scope};
use empire_actors::kernel::tree::{NodeState, NodeView, ROOT};
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::ports::UnixMillis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Control;
use super::problem::Problem;
use crate::report::ProgressFacts;
use crate::run::board::Standing;

/// Deeper than any tree.
const WHOLE: usize = 64;
/// Of what may be many, so many are named at most.
const MOST_NAMED: usize = 50;

/// What is wanted beside what everybody gets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverviewQuery {
    /// The cohorts of this job are in the tree as well. A job that is gone has none.
    pub cohorts_of: Option<String>,
}

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// Which moment.
    pub at: UnixMillis,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// Milliseconds since it came up.
    pub up_ms: u64,
    /// Its data folder.
    pub home: String,
    /// Whether its calls go to the simulator.
    pub simulated: bool,
    /// Whether it is the daemon; else it runs one job in the foreground.
    pub daemon: bool,
    /// Whether it is ending.
    pub ending: bool,
    /// How the machine is.
    pub machine: Machine,
    /// The jobs that run, the oldest first, and then those that ended last.
    pub jobs: Vec<JobLine>,
    /// The providers' lanes.
    pub lanes: Vec<LaneLine>,
    /// What may be spent in all, this month, this day, at each provider.
    pub accounts: Vec<AccountLine>,
    /// What somebody should look at.
    pub alerts: Vec<AlertLine>,
    /// Nodes that are not well, 50 at most.
    pub unhealthy: Vec<Unwell>,
    /// How many there are.
    pub unhealthy_count: usize,
    /// The tree, without cohorts but for those of a job that was asked for.
    pub tree: NodeView,
}

/// How the machine is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// normal, throttled, alert or emergency.
    pub level: String,
    /// From 0 (nothing is held back) to 1 (emergency).
    pub pressure: f64,
    /// What decides the level, in words, unless it is normal.
    pub binds: Option<String>,
    /// Percent of the processors that may be used, if the machine tells.
    pub cpu_percent: Option<f64>,
    /// Percent of the memory that may be used, if the machine tells.
    pub memory_percent: Option<f64>,
    /// Resident bytes of the process, if the machine tells.
    pub own_memory_bytes: Option<u64>,
    /// A disk that is nearly full, in words.
    pub low_disk: Option<String>,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is in the tree, as long as it runs.
    pub path: String,
    /// The state of its actor; once it has ended, how.
    pub state: String,
    /// When it ended.
    pub ended: Option<UnixMillis>,
    /// Items.
    pub total: u64,
    /// Items with an answer.
    pub done: u64,
    /// Items without one for good.
    pub dead: u64,
    /// Agents that wait for their turn.
    pub waiting: u64,
    /// Agents that have it.
    pub awake: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that were not made, since their answer was kept or on its way.
    pub reused: u64,
    /// Calls that ended in a second, lately.
    pub calls_per_s: f64,
    /// Billed, in micro-dollars.
    pub spent_micro_usd: u64,
    /// What may be spent, in micro-dollars.
    pub budget_micro_usd: Option<u64>,
    /// Milliseconds that are left, if that can be told.
    pub eta_ms: Option<u64>,
    /// When the budget is reached at this rate, if that is before the end.
    pub budget_reached: Option<String>,
    /// What limits the pace now, in words.
    pub binds: Option<String>,
}

/// How a provider's lane stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LaneLine {
    /// The provider.
    pub provider: String,
    /// Its place in the tree.
    pub path: String,
    /// open, closed, probing, recovering or tripped.
    pub state: String,
    /// Why it is not open, in words.
    pub why: Option<String>,
    /// Milliseconds until it opens, where that is known.
    pub closed_for_ms: Option<u64>,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that may be under way at once.
    pub slots: u64,
    /// Calls that wait here.
    pub waiting: u64,
    /// What the first of them waits for, in words.
    pub binds: Option<String>,
    /// Milliseconds until the next permit, where that is known.
    pub next_permit_in_ms: Option<u64>,
    /// Its limits over time, and those of its models.
    pub meters: Vec<MeterLine>,
}

/// How a limit over time stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeterLine {
    /// The model, if it is its own.
    pub model: Option<String>,
    /// What is counted, as `calls/min`.
    pub counts: String,
    /// What counts in its window.
    pub used: u64,
    /// What may.
    pub limit: u64,
}

/// How an account stands, in micro-dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountLine {
    /// total, month, day or provider.
    pub scope: String,
    /// The provider's name.
    pub name: Option<String>,
    /// The most that may be spent; nothing if only other accounts limit.
    pub cap_micro_usd: Option<u64>,
    /// Billed.
    pub spent_micro_usd: u64,
    /// Set aside for calls under way.
    pub reserved_micro_usd: u64,
}

/// What somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertLine {
    /// What it is about.
    pub kind: String,
    /// Of what.
    pub subject: String,
    /// info, warning or critical.
    pub severity: String,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: UnixMillis,
    /// Whether somebody said that they know.
    pub acknowledged: bool,
}

/// A node that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unwell {
    /// Where.
    pub path: String,
    /// How it is.
    pub state: NodeState,
    /// Milliseconds since it is so.
    pub for_ms: u64,
    /// How it ended last, in words.
    pub why: Option<String>,
}

pub(super) fn overview(control: &Control, query: &OverviewQuery) -> Result<Overview, Problem> {
    let mut tree = control.tree.view(ROOT, WHOLE)?;
    if let Some(job) = &query.cohorts_of
        && let Ok(path) = control.resolve(Some(job))
        && let Ok(with_cohorts) = control.tree.view(&path, 1)
        && let Some(node) = find_mut(&mut tree, &path)
    {
        *node = with_cohorts;
    }
    let mut unhealthy = Vec::new();
    unwell(&control.tree.unhealthy(ROOT)?, &mut unhealthy);
    let unhealthy_count = unhealthy.len();
    unhealthy.truncate(MOST_NAMED);
    let mut alerts: Vec<AlertLine> = control.alerts.open().iter().map(alert).collect();
    alerts.truncate(MOST_NAMED);
    let daemon = control.daemon.upgrade();
    Ok(Overview {
        at: control.clock.now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        up_ms: millis(control.started.elapsed()),
        home: control.store.dir().display().to_string(),
        simulated: control.simulated,
        daemon: daemon.is_some(),
        ending: daemon.is_some_and(|daemon| daemon.is_ending()),
        machine: machine(control),
        jobs: control.board.jobs().into_iter().map(|job| job_line(job, &tree)).collect(),
        lanes: control.watch.lanes().iter().map(lane).collect(),
        accounts: control.watch.accounts().iter().filter_map(account).collect(),
        alerts,
        unhealthy,
        unhealthy_count,
        tree,
    })
}

fn machine(control: &Control) -> Machine {
    let guard = control.watch.guard();
    let (pressure, readings) = (guard.pressure(), guard.readings());
    Machine {
        level: pressure.level.word().to_owned(),
        pressure: pressure.value,
        binds: pressure.binds.map(|binds| binds.to_string()),
        cpu_percent: readings.cpu,
        memory_percent: readings.memory,
        own_memory_bytes: readings.own_memory,
        low_disk: pressure.low_disk.as_ref().map(ToString::to_string),
    }
}

fn job_line(standing: Standing, tree: &NodeView) -> JobLine {
    let Standing { id, name, facts, ended } = standing;
    let path = format!("{ROOT}/swarm/job-{id}");
    let node = find(tree, &path).filter(|_| ended.is_none());
    let agents = |word: &str| {
        let counts = node.and_then(|node| node.counts.as_ref());
        counts.and_then(|counts| counts["agents"][word].as_u64()).unwrap_or_default()
    };
    let state = match (&ended, node) {
        (Some((how, _)), _) => (*how).to_owned(),
        (None, Some(node)) => node.state.word().to_owned(),
        (None, None) => NodeState::Stopping.word().to_owned(),
    };
    let (waiting, awake) = (agents("waiting"), agents("awake"));
    let facts: ProgressFacts = facts.unwrap_or_default();
    let is_over = ended.is_some();
    JobLine {
        id,
        name,
        path,
        state,
        ended: ended.map(|(_, at)| at),
        total: facts.total,
        done: facts.done,
        dead: facts.failed,
        waiting,
        awake,
        in_flight: if is_over { 0 } else { facts.in_flight },
        reused: facts.reused,
        calls_per_s: if is_over || !facts.calls_per_second.is_finite() {
            0.0
        } else {
            facts.calls_per_second
        },
        spent_micro_usd: facts.spent.0,
        budget_micro_usd: facts.budget.map(|budget| budget.0),
        eta_ms: facts.eta.filter(|_| !is_over).map(millis),
        budget_reached: facts.budget_reached.filter(|_| !is_over),
        binds: facts.binds.filter(|_| !is_over),
    }
}

fn lane((provider, reading): &(ProviderId, LaneReading)) -> LaneLine {
    let (state, why, closed_for_ms) = standing(&reading.breaker);
    let own = reading.gauges.iter().map(|gauge| meter(None, gauge));
    let of_models = reading
        .models
        .iter()
        .flat_map(|model| model.gauges.iter().map(|gauge| meter(Some(model.model.clone()), gauge)));
    LaneLine {
        provider: provider.to_string(),
        path: format!("{ROOT}/gates/rate-{provider}"),
        state: state.to_owned(),
        why,
        closed_for_ms,
        in_flight: reading.meters.in_flight.into(),
        slots: reading.concurrency.into(),
        waiting: reading.waiting as u64,
        binds: reading.binding.map(|binding| binding.words().to_owned()),
        next_permit_in_ms: reading.next_permit_in.filter(|_| reading.waiting > 0).and_then(seconds),
        meters: own.chain(of_models).collect(),
    }
}

/// Whether calls go, in a word; why not, and for how long.
fn standing(breaker: &BreakerReading) -> (&'static str, Option<String>, Option<u64>) {
    let why = breaker.why.map(str::to_owned);
    match breaker.state {
        BreakerState::Closed => ("open", None, None),
        BreakerState::Open => ("closed", why, breaker.closed_for.and_then(seconds)),
        BreakerState::HalfOpen => ("probing", why, None),
        BreakerState::SlowStart => ("recovering", why, None),
        // What the vendor said of it stays out: the kind says enough.
        BreakerState::Tripped => {
            ("tripped", breaker.tripped.as_ref().map(|trip| trip.kind.words().to_owned()), None)
        }
    }
}

fn meter(model: Option<String>, gauge: &Gauge) -> MeterLine {
    MeterLine { model, counts: gauge.meter.words().to_owned(), used: gauge.used, limit: gauge.limit }
}

fn account((scope, account): &(Scope, Account)) -> Option<AccountLine> {
    let (scope, name) = match scope {
        Scope::Total => ("total", None),
        Scope::Month(_) => ("month", None),
        Scope::Day(_) => ("day", None),
        Scope::Provider(provider) => ("provider", Some(provider.to_string())),
        _ => return None,
    };
    Some(AccountLine {
        scope: scope.to_owned(),
        name,
        cap_micro_usd: account.cap.map(|Micros(cap)| cap),
        spent_micro_usd: account.spent.0,
        reserved_micro_usd: account.reserved.0,
    })
}

fn alert(alert: &Alert) -> AlertLine {
    AlertLine {
        kind: alert.kind.word().to_owned(),
        subject: alert.subject.to_string(),
        severity: alert.severity.word().to_owned(),
        message: alert.message.clone(),
        since: alert.since,
        acknowledged: alert.acknowledged_at.is_some(),
    }
}

/// Those that are not well, of `node` and all below it.
fn unwell(node: &NodeView, found: &mut Vec<Unwell>) {
    if !node.healthy {
        let why = node.last_exit.as_ref().map(|last| match last.exit.why() {
            Some(why) => format!("last {}: {why}", last.exit.word()),
            None => format!("last {}", last.exit.word()),
        });
        found.push(Unwell { path: node.path.clone(), state: node.state, for_ms: node.for_ms, why });
    }
    node.children.iter().for_each(|child| unwell(child, found));
}

/// The node at `path` in `tree`.
#[must_use]
pub fn find<'a>(tree: &'a NodeView, path: &str) -> Option<&'a NodeView> {
    if tree.path == path {
        return Some(tree);
    }
    tree.children.iter().find_map(|child| leads_to(child, path).then(|| find(child, path))?)
}

fn find_mut<'a>(tree: &'a mut NodeView, path: &str) -> Option<&'a mut NodeView> {
    if tree.path == path {
        return Some(tree);
    }
    tree.children.iter_mut().find_map(|child| leads_to(child, path).then(|| find_mut(child, path))?)
}

fn leads_to(node: &NodeView, path: &str) -> bool {
    path.strip_prefix(node.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn seconds(seconds: f64) -> Option<u64> {
    Duration::try_from_secs_f64(seconds).ok().map(millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
