//! One run of a scenario, from its files to what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::account::Account;
use crate::bare;
use crate::chaos::{self, Done};
use crate::control::{Books, loopback_client};
use crate::evaluate::{Idle, Seen, measures, percentiles};
use crate::jobs::{Batch, Followed, first_result, follow, prepare, prepare_prime};
use crate::latency::Times;
use crate::measure::Measure;
use crate::outcome::Outcome;
use crate::process::{self, Machine};
use crate::program::{Program, simulator_scenario};
use crate::sample::{Sampled, Sampler};
use crate::scenario::Scenario;
use crate::stage::{Stage, Up};
use crate::verdict::judge;

/// An idle program gives things back for so long: the runtime keeps idle threads for ten seconds.
const SETTLES_IN: Duration = Duration::from_secs(12);
/// What it has then and may still give back, it keeps.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// More than the store has connections for.
const READS_AT_ONCE: usize = 32;
/// The first simulator takes what is free, the second what the first had.
const ANY_PORT: &str = "127.0.0.1:0";
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
    let simulator = program.start_simulator(&plays, ANY_PORT).await?;
    let address = simulator.address.clone();
    let bare = match scenario.yardstick {
        Some(yardstick) => Some(bare::calls_per_second(simulator.books.base_url(), yardstick).await?),
        None => None,
    };
    for batch in first_of_each(scenario, &batches) {
        program.check(&batch.spec, simulator.books.base_url()).await?;
    }
    let daemon = program.up(simulator.books.base_url()).await?;
    let stage = Stage::new(program.clone(), simulator.books.clone(), daemon, batches.len());
    prime(&stage, scenario, &prepare_prime(&program, scenario, *seed)?).await?;
    // With the simulator go the connections to it, however many are kept open for further calls.
    simulator.end().await?;
    let before = settle(&stage, None, scenario.prime > 0).await?;
    let simulator = program.start_simulator(&plays, &address).await?;
    let stage = Arc::new(stage.begin_again(batches.len()));
    let ran = work(scenario, &batches, &stage).await?;
    let books = Booked::read(&simulator.books).await?;
    simulator.end().await?;
    let after = match stage.up() {
        Some(_) => Some(settle(&stage, Some(before), scenario.prime > 0).await?),
        None => None,
    };
    let finished = Finished { wanted, machine, began, version, batches: &batches, bare, before, after };
    Ok(finished.judge(ran, &books, &stage))
}

/// The first batch of every job: all of a job's have the same spec.
fn first_of_each<'a>(scenario: &Scenario, batches: &'a [Batch]) -> Vec<&'a Batch> {
    let mut next = 0;
    let firsts = scenario.jobs.iter().filter_map(|job| {
        let first = batches.get(next);
        next += job.arrival.batches().0 as usize;
        first
    });
    firsts.collect()
}

/// Opens what the program opens once and keeps: connections to each provider, and the store's own.
/// What is open more after the run than after this is a leak.
async fn prime(stage: &Stage, scenario: &Scenario, batches: &[Batch]) -> Result<()> {
    for batch in batches {
        let (times, slot) = (Mutex::default(), Mutex::new(batch.unbegun()));
        follow(stage, 0, batch, scenario.resume_after, &times, &slot).await;
        if let Some(error) = slot.into_inner().line.error {
            bail!("the job {} does not run: {error}", batch.name);
        }
    }
    if let Some(up) = stage.up().filter(|_| !batches.is_empty()) {
        let reads = (0..READS_AT_ONCE).map(|_| up.control.get("/v1/history?limit=1000"));
        for read in join_all(reads).await {
            read?;
        }
    }
    Ok(())
}

/// Starts the jobs as they are due, does what is to go wrong, and looks on until all have ended.
async fn work(scenario: &Scenario, batches: &[Batch], stage: &Arc<Stage>) -> Result<Ran> {
    let (agents, done, first) = (Mutex::default(), Mutex::<Done>::default(), Mutex::new(None));
    let slots: Vec<Mutex<Followed>> = batches.iter().map(|batch| Mutex::new(batch.unbegun())).collect();
    let (stop, stopped) = watch::channel(false);
    let mut sampler = Sampler::new(loopback_client()?, scenario.scrape_every);
    sampler.look(stage).await;
    sampler.count_from_here();
    let sampler = {
        let stage = Arc::clone(stage);
        // A task of its own, so that what the jobs' followers do never makes it late.
        #[expect(clippy::disallowed_methods, reason = "it is joined below")]
        tokio::spawn(async move { sampler.run(&stage, stopped).await })
    };
    let jobs = batches.iter().zip(&slots).enumerate();
    let jobs =
        jobs.map(|(index, (batch, slot))| follow(stage, index, batch, scenario.resume_after, &agents, slot));
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
    Ok(Ran {
        followed,
        sampled,
        agents: agents.into_inner(),
        first_result_s: first.into_inner(),
        chaos,
        faults,
    })
}

/// Says why a run must be given up, once it must.
async fn gives_up(stage: &Stage, limit: Duration) -> String {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
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
async fn settle(stage: &Stage, before: Option<Idle>, in_full: bool) -> Result<Idle> {
    let since = Instant::now();
    // An actor's memory and its place in the tree go a moment after it.
    let calm = if in_full { SETTLES_IN } else { LOOK_EVERY * 4 };
    let mut last: Option<Idle> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let up = stage.up().context("the program is down")?;
        let idle = look_at(&up).await?;
        // Idle threads come and go with what the program does each second.
        let is_like = |other: Idle| idle.files <= other.files && idle.actors <= other.actors;
        let has_settled = since.elapsed() > calm && before.or(last).is_some_and(is_like);
        if has_settled || !in_full && since.elapsed() > calm || since.elapsed() > SETTLES_WITHIN {
            return Ok(idle);
        }
        last = Some(idle);
    }
}

async fn look_at(up: &Up) -> Result<Idle> {
    let actors = up.control.actors().await?;
    let reading = process::read(up.pid).context("the program is gone")?;
    let process::Reading { memory, threads, files, .. } = reading;
    Ok(Idle { memory, threads, files, actors })
}

/// What the simulator has written down.
struct Booked {
    page: Value,
    arrivals: BTreeMap<String, Vec<f64>>,
}

impl Booked {
    async fn read(books: &Books) -> Result<Booked> {
        let page = books.read().await?;
        let mut arrivals = BTreeMap::new();
        for provider in PROVIDERS {
            let times = books.times(provider).await?;
            if !times.is_empty() {
                arrivals.insert(provider.to_owned(), times);
            }
        }
        Ok(Booked { page, arrivals })
    }
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
    fn judge(self, ran: Ran, books: &Booked, stage: &Stage) -> Outcome {
        let Ran { followed, sampled, agents, first_result_s, chaos, mut faults } = ran;
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
            books: &books.page,
            arrivals: &books.arrivals,
            before: self.before,
            after: self.after,
            chaos: &chaos,
            bare: self.bare,
            first_result_s,
            agents: &agents,
            warm_up_s: scenario.warm_up.as_secs_f64(),
        };
        let (measures, percentiles) = (measures(&seen), percentiles(&seen));
        let mut thresholds = scenario.thresholds.clone();
        if !process::tells_all() {
            stage.note("not judged here: threads and open files, of which this system does not tell");
            thresholds
                .retain(|measure, _| !matches!(measure, Measure::ThreadsGrowth | Measure::OpenFilesGrowth));
        }
        let verdicts = judge(&thresholds, &measures);
        Outcome {
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
        }
    }
}
