//! `empire swarm list` and `empire swarm status`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use empire_actors::money::Micros;
use empire_actors::ports::{UnixMillis, WallClock};
use serde::Serialize;

use super::{Context, terminal};
use crate::home::Home;
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::run::system::SystemClock;
use crate::store::{Counts, FindError, Job, JobState, Store};
use crate::text::{self, Lean};

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Characters of an id and of a name that a list shows.
const SHORTEST_ID: usize = 8;
const LONGEST_NAME: usize = 24;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The job's id, a unique beginning of it, or its name.
    #[arg(value_name = "ID")]
    id: String,
    /// Show it anew every second until the job stops.
    #[arg(long)]
    watch: bool,
}

/// A job where it was found.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) home: Home,
    pub(super) job: Job,
}

/// The data folders that hold jobs: of real runs, and of simulated ones.
pub(super) async fn stores(context: &Context) -> Result<Vec<(Home, Store)>, CommandError> {
    let mut stores = Vec::new();
    for simulated in [false, true] {
        // A folder that nobody has used is not made just to look into it.
        if simulated && !context.place.home.dir().join("sim").is_dir() {
            continue;
        }
        let home = context.place.home_of(simulated)?;
        let store = Store::watch(&home, Arc::new(SystemClock)).await?;
        stores.push((home, store));
    }
    Ok(stores)
}

/// Finds a job by id, beginning of an id, or name, among real and simulated ones.
pub(super) async fn find(context: &Context, wanted: &str) -> Result<Found, CommandError> {
    let mut found = Vec::new();
    for (home, store) in stores(context).await? {
        match store.find_job(wanted).await {
            Ok(job) => found.push(Found { store, home, job }),
            Err(FindError::NotFound { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    match found.len() {
        0 => Err(FindError::NotFound { wanted: wanted.to_owned() }.into()),
        1 => Ok(found.remove(0)),
        _ => {
            let matches = found.iter().map(|found| {
                let kind = if found.job.simulated { "simulated" } else { "real" };
                format!("  {} {} ({kind}, {})", found.job.id, found.job.setup.name, found.job.state.as_str())
            });
            Err(FindError::Ambiguous { wanted: wanted.to_owned(), matches: matches.collect() }.into())
        }
    }
}

/// A job as commands show it.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    name: String,
    simulated: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    counts: Counts,
    pending: u64,
    /// By the ledger: calls that a crash cut off are in it, at their reservation.
    spent_micros: u64,
    budget_micros: Option<u64>,
    out: String,
    created: String,
    updated: String,
}

impl Shown {
    async fn of(job: &Job, home: &Home, store: &Store) -> Result<Shown, CommandError> {
        // Whoever ran it is gone without a word.
        let is_gone = job.state == JobState::Running && !home.is_locked()?;
        let state = if is_gone { JobState::Interrupted } else { job.state };
        Ok(Shown {
            id: job.id.clone(),
            name: job.setup.name.clone(),
            simulated: job.simulated,
            state: state.as_str(),
            reason: if is_gone { String::new() } else { job.reason.clone() },
            counts: job.counts,
            pending: job.counts.pending(),
            spent_micros: store.ledger_sum(&job.id).await?.0,
            budget_micros: job.setup.budget.map(|budget| budget.0),
            out: job.setup.out_dir.clone(),
            created: job.created_at.to_string(),
            updated: job.updated_at.to_string(),
        })
    }

    fn lines(&self) -> String {
        let counts = &self.counts;
        let mut lines = vec![
            format!("{} {}{}", self.name, self.id, if self.simulated { "  SIMULATED" } else { "" }),
            format!("  state    {}{}", self.state, self.because()),
            format!(
                "  items    {} of {} done, {} dead, {} pending{}",
                text::thousands(counts.done),
                text::thousands(counts.distinct),
                text::thousands(counts.dead),
                text::thousands(self.pending),
                if counts.distinct < counts.items {
                    format!(" (equal ones counted once; {} in all)", text::thousands(counts.items))
                } else {
                    String::new()
                }
            ),
            format!(
                "  calls    {}, {} tokens in, {} out",
                text::thousands(counts.calls),
                text::thousands(counts.usage.total_input()),
                text::thousands(counts.usage.output)
            ),
            format!(
                "  spent    {}{}",
                Micros(self.spent_micros),
                self.budget_micros.map(|budget| format!(" of {}", Micros(budget))).unwrap_or_default()
            ),
            format!("  outputs  {}", self.out),
            format!("  updated  {}", self.updated),
        ];
        if matches!(self.state, "paused" | "interrupted") {
            lines.push(format!("  go on    empire swarm resume {}", self.id));
        }
        lines.join("\n") + "\n"
    }

    fn because(&self) -> String {
        match self.reason.strip_prefix(self.state).unwrap_or(&self.reason).trim_start() {
            "" => String::new(),
            reason if reason.len() < self.reason.len() => format!(" {reason}"),
            reason => format!(": {reason}"),
        }
    }
}

/// `empire swarm list`.
pub(super) async fn list(context: &Context) -> Result<Exit, CommandError> {
    let mut shown = Vec::new();
    for (home, store) in stores(context).await? {
        for job in store.list_jobs().await? {
            shown.push(Shown::of(&job, &home, &store).await?);
        }
    }
    shown.sort_by(|a, b| b.id.cmp(&a.id));
    if context.json {
        return terminal::print_json(&shown).map(|()| Exit::Done);
    }
    let id_length = unique_length(&shown);
    if shown.is_empty() {
        say("no jobs yet: `empire swarm run config/jobs/leads.yaml --sim` runs one against the simulator");
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    let header = ["ID", "NAME", "STATE", "DONE", "DEAD", "PENDING", "SPENT", "UPDATED"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(|job| {
        let state = if job.simulated { format!("{} (sim)", job.state) } else { job.state.to_owned() };
        vec![
            job.id.chars().take(id_length).collect(),
            text::one_line(&job.name, LONGEST_NAME),
            state,
            text::thousands(job.counts.done),
            text::thousands(job.counts.dead),
            text::thousands(job.pending),
            text::money(Micros(job.spent_micros)),
            ago(&job.updated, now),
        ]
    }));
    use Lean::{Left, Right};
    terminal::print(&text::table(&[Left, Left, Left, Right, Right, Right, Right, Left], &rows))?;
    Ok(Exit::Done)
}

/// How long ago `at` was, in its largest unit.
fn ago(at: &str, now: UnixMillis) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    let minutes = (now.0 - at.as_millisecond()).max(0) / 60_000;
    match minutes {
        ..1 => "just now".to_owned(),
        1..120 => format!("{minutes} min ago"),
        120..2_880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1_440),
    }
}

/// How much of the ids tells them apart.
fn unique_length(shown: &[Shown]) -> usize {
    // They are sorted, so the closest are neighbours.
    let shared = shown
        .windows(2)
        .map(|pair| pair[0].id.bytes().zip(pair[1].id.bytes()).take_while(|(a, b)| a == b).count() + 1);
    shared.max().unwrap_or(0).max(SHORTEST_ID)
}

/// `empire swarm status ID`.
pub(super) async fn status(context: &Context, args: StatusArgs) -> Result<Exit, CommandError> {
    let Found { store, home, job } = find(context, &args.id).await?;
    let mut job = job;
    loop {
        let shown = Shown::of(&job, &home, &store).await?;
        let over = !args.watch || !matches!(shown.state, "running" | "admitting");
        if context.json {
            if over {
                terminal::print_json(&shown)?;
            }
        } else {
            if args.watch && terminal::color() {
                terminal::print("\x1b[2J\x1b[H")?;
            }
            terminal::print(&shown.lines())?;
        }
        if over {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(WATCH_EVERY).await;
        if let Some(now) = store.job(&job.id).await? {
            job = now;
        }
    }
}
