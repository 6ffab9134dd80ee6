//! One run of a scenario, from its files to what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::account::Account;
use crate::bare;
use crate::chaos::{self, Done};
use crate::control::{Books, loopback_client};
use crate::evaluate::{Idle, Seen, measures, percentiles};
use crate::jobs::{Batch, Followed, first_result, follow, prepare, prepare_prime};
use crate::latency::Times;
use crate::outcome::Outcome;
use crate::process::{self, Machine};
use crate::program::{Program, simulator_scenario};
use crate::sample::{Sampled, sample};
use crate::scenario::Scenario;
use crate::stage::{Stage, Up};
use crate::verdict::judge;

/// What is idle has nothing in its hands after this time, or keeps it.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// The providers of the simulator.
const PROVIDERS: [&str; 3] = ["ollama", "kimi", "claude"];

/// What is wanted of a run.
pub(crate) struct Wanted {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) empire: Option<PathBuf>,
    /// Where the data of the run goes.
    pub(crate) folder: PathBuf,
    /// The command line.
    pub(crate) command: String,
}

/// What the jobs of a run left behind.
struct Ran {
    followed: Vec<Followed>,
    sampled: Sampled,
    agents: Times,
    first_result_s: Option<f64>,
    chaos: Done,
    faults: Vec<String>,
}

/// Runs it.
pub(crate) async fn run(wanted: &Wanted) -> Result<Outcome> {
    let Wanted { scenario, seed, .. } = wanted;
    let machine = Machine::look();
    #[expect(clippy::disallowed_methods, reason = "a result says when it was measured")]
    let began = jiff::Timestamp::now();
    let program = Program::find(wanted.empire.clone(), &wanted.folder)?;
    let version = program.version().await?;
    program.configure(scenario)?;
    let batches = prepare(&program, scenario, *seed)?;
    let plays = simulator_scenario(scenario, *seed);
    let simulator = program.start_simulator(&plays).await?;
    let bare = match scenario.yardstick {
        Some(yardstick) => Some(bare::calls_per_second(simulator.books.base_url(), yardstick).await?),
        None => None,
    };
    let daemon = program.up(simulator.books.base_url()).await?;
    // Warm-up and jobs have a clock each.
    let stage = Stage::new(program.clone(), simulator.books.clone(), daemon, batches.len());
    if let Some(batch) = prepare_prime(&program, scenario, *seed)? {
        let (times, slot) = (Mutex::default(), Mutex::new(batch.unbegun()));
        follow(&stage, 0, &batch, scenario.resume_after, &times, &slot).await;
        if let Some(error) = slot.into_inner().line.error {
            bail!("the priming job does not run: {error}");
        }
    }
    let before = settle(&stage, None).await?;
    simulator.books.begin(&plays).await?;
    let stage = Arc::new(stage.begin_again(batches.len()));
    let ran = work(scenario, &batches, &stage).await?;
    let after = match stage.up() {
        Some(_) => Some(settle(&stage, Some(before)).await?),
        None => None,
    };
    let finished = Finished { wanted, machine, began, version, batches: &batches, bare, before, after };
    finished.judge(ran, &simulator.books, &stage).await
}

/// Starts the jobs as they are due, does what is to go wrong, and looks on until all have ended.
async fn work(scenario: &Scenario, batches: &[Batch], stage: &Arc<Stage>) -> Result<Ran> {
    let (agents, done, first) = (Mutex::default(), Mutex::<Done>::default(), Mutex::new(None));
    let slots: Vec<Mutex<Followed>> = batches.iter().map(|batch| Mutex::new(batch.unbegun())).collect();
    let (stop, stopped) = watch::channel(false);
    let client = loopback_client()?;
    let sampler = {
        let (stage, every) = (Arc::clone(stage), scenario.scrape_every);
        // A task of its own, so that what the jobs' followers do never makes it late.
        #[expect(clippy::disallowed_methods, reason = "it is joined below")]
        tokio::spawn(async move { sample(&stage, &client, every, stopped).await })
    };
    let jobs = batches.iter().zip(&slots).enumerate();
    let jobs = jobs.map(|(index, (batch, slot))| follow(stage, index, batch, scenario.resume_after, &agents, slot));
    let mishaps = async {
        join_all(scenario.chaos.iter().map(|mishap| chaos::play(stage, mishap, &done))).await;
        std::future::pending::<()>().await;
    };
    let look = async {
        *first.lock() = Some(first_result(stage, batches).await.as_secs_f64());
        std::future::pending::<()>().await;
    };
    let mut faults = Vec::new();
    tokio::select! {
        _ = join_all(jobs) => {}
        () = mishaps => {}
        () = look => {}
        fault = gives_up(stage, scenario.limit) => faults.push(fault),
    }
    stop.send_replace(true);
    let sampled = sampler.await.context("the sampler failed")?;
    let followed: Vec<Followed> = slots.into_iter().map(Mutex::into_inner).collect();
    let mut chaos = done.into_inner();
    faults.append(&mut chaos.faults);
    for line in followed.iter().map(|job| &job.line) {
        faults.extend(line.error.iter().map(|error| format!("{}: {error}", line.name)));
    }
    Ok(Ran { followed, sampled, agents: agents.into_inner(), first_result_s: first.into_inner(), chaos, faults })
}

/// Says why a run must be given up, once it must.
async fn gives_up(stage: &Stage, limit: Duration) -> String {
    loop {
        tokio::time::sleep(SETTLE_EVERY).await;
        if stage.now() > limit {
            return format!("it was not over after {:.0} s (`limit`)", limit.as_secs_f64());
        }
        if stage.has_died().await {
            return "the program ended by itself: up.log in the run's folder says why".to_owned();
        }
    }
}

/// How the program stands once it is idle: as little as before if it gets there, or else what it
/// keeps.
async fn settle(stage: &Stage, before: Option<Idle>) -> Result<Idle> {
    let since = Instant::now();
    let mut last: Option<Idle> = None;
    loop {
        tokio::time::sleep(SETTLE_EVERY).await;
        let up = stage.up().context("the program is down")?;
        let idle = look_at(&up).await?;
        let is_like = |other: Idle| {
            idle.threads <= other.threads && idle.files <= other.files && idle.actors <= other.actors
        };
        // An actor's memory and its place in the tree go a moment after it.
        let is_calm = since.elapsed() > SETTLE_EVERY * 4;
        if is_calm && before.or(last).is_some_and(is_like) || since.elapsed() > SETTLES_WITHIN {
            return Ok(idle);
        }
        last = Some(idle);
    }
}

async fn look_at(up: &Up) -> Result<Idle> {
    let actors = up.control.actors().await?;
    let reading = process::read(up.pid).context("the program is gone")?;
    let process::Reading { memory, threads, files, cpu_s, .. } = reading;
    Ok(Idle { memory, threads, files, actors, cpu_s })
}

/// A run that is over, all but its evaluation.
struct Finished<'a> {
    wanted: &'a Wanted,
    machine: Machine,
    began: jiff::Timestamp,
    version: String,
    batches: &'a [Batch],
    bare: Option<f64>,
    before: Idle,
    after: Option<Idle>,
}

impl Finished<'_> {
    async fn judge(self, ran: Ran, books: &Books, stage: &Stage) -> Result<Outcome> {
        let Ran { followed, sampled, agents, first_result_s, chaos, mut faults } = ran;
        let page = books.read().await?;
        let mut arrivals = BTreeMap::new();
        for provider in PROVIDERS {
            let times = books.times(provider).await?;
            if !times.is_empty() {
                arrivals.insert(provider.to_owned(), times);
            }
        }
        let mut account = Account::default();
        for (batch, followed) in self.batches.iter().zip(&followed) {
            match Account::take(&batch.out, u64::from(batch.items), followed) {
                Ok(one) => account = [account, one].into_iter().sum(),
                Err(error) => faults.push(format!("{}: its results cannot be read: {error}", batch.name)),
            }
        }
        let Wanted { scenario, seed, command, .. } = self.wanted;
        let seen = Seen {
            batches: self.batches,
            followed: &followed,
            account,
            sampled: &sampled,
            books: &page,
            arrivals: &arrivals,
            before: self.before,
            after: self.after,
            chaos: &chaos,
            bare: self.bare,
            first_result_s,
            agents: &agents,
            warm_up_s: scenario.warm_up.as_secs_f64(),
        };
        let (measures, percentiles) = (measures(&seen), percentiles(&seen));
        let verdicts = judge(&scenario.thresholds, &measures);
        Ok(Outcome {
            form: Outcome::FORM,
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            seed: *seed,
            command: command.clone(),
            began: self.began,
            machine: self.machine,
            program: self.version,
            harness: env!("CARGO_PKG_VERSION").to_owned(),
            items: scenario.items(),
            passed: faults.is_empty() && verdicts.iter().all(|verdict| verdict.holds),
            faults,
            verdicts,
            measures,
            percentiles,
            jobs: followed.into_iter().map(|followed| followed.line).collect(),
            events: stage.events(),
            samples: sampled.samples,
        })
    }
}
