//! Single measured rounds, each in a process of its own, so that none finds another's memory.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use empire_actors::swarm::Swarm;
use empire_actors::swarm::order::StopReason;
use serde::{Deserialize, Serialize};

use crate::kinds::{self, Cells, Kameo, Kind, Ractor, Tasks};
use crate::machine::{Bench, free_bytes, live_bytes, own_bytes};
use crate::world::swarm as world;

/// What a kind may take at most; more of it is skipped.
const MEMORY: u64 = 12 << 30;
/// Agents that have not all started by then never will.
const PATIENCE: Duration = Duration::from_secs(120);
/// Whole agents, as the program makes them.
const AGENTS: &str = "agents";
/// In the order of the table.
pub(crate) const KINDS: [&str; 5] = [Cells::NAME, Ractor::NAME, Kameo::NAME, Tasks::NAME, AGENTS];

/// What one round gave. Times are for all actors together, in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) kind: String,
    pub(crate) count: u32,
    /// From the first to all waiting.
    pub(crate) spawn_s: f64,
    /// Each asked, one after the other.
    pub(crate) ask_s: Option<f64>,
    /// One message to each, until all have handled it.
    pub(crate) fan_out_s: Option<f64>,
    /// Until none lives.
    pub(crate) stop_s: f64,
    /// Bytes that live in the allocator, an idle actor.
    pub(crate) live_bytes: f64,
    /// Growth of the resident memory, an idle actor; where the system says so.
    pub(crate) resident_bytes: Option<f64>,
}

/// Cycles of one round; their middle counts.
fn cycles(count: u32) -> usize {
    match count {
        0..=20_000 => 7,
        20_001..=200_000 => 5,
        200_001..=1_000_000 => 3,
        _ => 1,
    }
}

/// Measures one kind at one size, here.
pub(crate) fn measure(kind: &str, count: u32) -> Option<Round> {
    let cycle: fn(&Bench, u32) -> Round = match kind {
        AGENTS => agents,
        _ if kind == Cells::NAME => actors::<Cells>,
        _ if kind == Ractor::NAME => actors::<Ractor>,
        _ if kind == Kameo::NAME => actors::<Kameo>,
        _ if kind == Tasks::NAME => actors::<Tasks>,
        _ => return None,
    };
    let bench = Bench::new();
    let mut rounds: Vec<Round> = (0..cycles(count)).map(|_| cycle(&bench, count)).collect();
    let middle = |value: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (spawn_s, stop_s) = (middle(&|round| round.spawn_s), middle(&|round| round.stop_s));
    let optional = |value: fn(&Round) -> Option<f64>| {
        value(&rounds[0]).map(|_| middle(&|round| value(round).unwrap_or_default()))
    };
    let (ask_s, fan_out_s) = (optional(|round| round.ask_s), optional(|round| round.fan_out_s));
    // Memory is that of the first cycle: later ones find what it left.
    let first = rounds.swap_remove(0);
    Some(Round { spawn_s, ask_s, fan_out_s, stop_s, ..first })
}

/// One life of so many actors.
fn actors<K: Kind>(bench: &Bench, count: u32) -> Round {
    let (live, resident, tasks) = (live_bytes(), own_bytes("VmRSS:"), bench.tasks());
    let (idle, spawn) = bench.until_idle(None, kinds::spawn::<K>(count));
    let (live, resident) = grown(live, resident, count);
    let idle = Arc::new(idle);
    let (_, ask) = bench.timed(kinds::ask::<K>(idle.clone()));
    let (_, fan_out) = bench.timed(kinds::fan_out::<K>(idle.clone()));
    let idle = Arc::into_inner(idle).expect("nobody else has it");
    let (_, stop) = bench.until_idle(Some(tasks), kinds::stop::<K>(idle));
    Round {
        kind: K::NAME.to_owned(),
        count,
        spawn_s: spawn.as_secs_f64(),
        ask_s: Some(ask.as_secs_f64()),
        fan_out_s: Some(fan_out.as_secs_f64()),
        stop_s: stop.as_secs_f64(),
        live_bytes: live,
        resident_bytes: resident,
    }
}

/// One job of so many items whose calls never end, from its start until all agents wait, and cancelled.
fn agents(bench: &Bench, count: u32) -> Round {
    let house = Arc::new(bench.run(world::house()));
    let (parts, order) = world::job("bench", count);
    let (live, resident) = (live_bytes(), own_bytes("VmRSS:"));
    let (swarm, spawn) = bench.until_idle(None, {
        let house = house.clone();
        async move {
            let swarm = Swarm::start(&house, parts, order).await.expect("the job starts");
            let (meters, started) = (swarm.meters(), Instant::now());
            while meters.read().agents < u64::from(count) {
                assert!(started.elapsed() < PATIENCE, "agents do not start: {:?}", meters.read());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            swarm
        }
    });
    let (live, resident) = grown(live, resident, count);
    // Its end is told once the last agent's is; a timer that is left over is none.
    let (_, stop) = bench.until_idle(None, async move {
        let mut swarm = swarm;
        swarm.stop_now(StopReason::Cancelled);
        swarm.ended().await.expect("the job ends");
    });
    let house = Arc::into_inner(house).expect("nobody else has it");
    bench.run(house.stop());
    Round {
        kind: AGENTS.to_owned(),
        count,
        spawn_s: spawn.as_secs_f64(),
        ask_s: None,
        fan_out_s: None,
        stop_s: stop.as_secs_f64(),
        live_bytes: live,
        resident_bytes: resident,
    }
}

/// Bytes by actor that came since.
fn grown(live: i64, resident: Option<u64>, count: u32) -> (f64, Option<f64>) {
    let each = |bytes: f64| bytes / f64::from(count);
    let resident = own_bytes("VmRSS:").zip(resident);
    let resident = resident.map(|(now, before)| each(now as f64 - before as f64));
    (each((live_bytes() - live) as f64), resident)
}

/// Runs the rounds one after the other and tells of each. Those that would not fit are skipped.
pub(crate) fn run(kinds: &[&str], counts: &[u32], mut tell: impl FnMut(Result<Round, String>)) {
    for kind in kinds {
        let mut each = None::<f64>;
        for count in counts {
            let budget = MEMORY.min(free_bytes().map_or(u64::MAX, |free| free / 10 * 9));
            if let Some(needed) = each.map(|each| each * f64::from(*count))
                && needed > budget as f64
            {
                let gibibytes = |bytes: f64| bytes / f64::from(1 << 30);
                tell(Err(format!(
                    "{kind} at {count}: skipped, it would take {:.1} GiB of the {:.1} there may be",
                    gibibytes(needed),
                    gibibytes(budget as f64)
                )));
                continue;
            }
            let round = in_its_own_process(kind, *count);
            if let Ok(round) = &round {
                each = Some(round.resident_bytes.unwrap_or(round.live_bytes).max(round.live_bytes));
            }
            tell(round);
        }
    }
}

fn in_its_own_process(kind: &str, count: u32) -> Result<Round, String> {
    let failed = |why: String| format!("{kind} at {count}: failed: {why}");
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(program)
        .args(["--round", kind, &count.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<12} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "actors", "spawned/s", "spawn", "live", "resident", "ask", "fan-out", "stop"
    ) + &format!(
        "\n{:<12} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "", "", "ns each", "B each", "B each", "ns each", "ns each", "ns each"
    )
}

impl Round {
    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let nanos = |seconds: f64| format!("{:.0}", seconds * 1e9 / f64::from(self.count));
        let maybe = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        format!(
            "{:<12} {:>9} {:>11.0} {:>9} {:>9.0} {:>9} {:>9} {:>9} {:>9}",
            self.kind,
            self.count,
            f64::from(self.count) / self.spawn_s,
            nanos(self.spawn_s),
            self.live_bytes,
            maybe(self.resident_bytes.map(|bytes| format!("{bytes:.0}"))),
            maybe(self.ask_s.map(nanos)),
            maybe(self.fan_out_s.map(nanos)),
            nanos(self.stop_s),
        )
    }
}

/// How long the rounds took.
pub(crate) fn since(started: Instant) -> String {
    format!("{:.0} s", started.elapsed().as_secs_f64())
}
