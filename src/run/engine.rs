//! Puts the actors of one job together, runs it, and waits for its end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::budget::Terms;
use empire_actors::guard::pressure::Held;
use empire_actors::house::House;
use empire_actors::ports::{Answers, Item, ItemKey, Items, ResultRecord, StoreError, Verdict};
use empire_actors::swarm::meters::MeterReading;
use empire_actors::swarm::order::{COHORT_SIZE, CohortPlan, FailureRule, JobEnd, JobOrder, StopReason};
use empire_actors::swarm::{JobParts, Swarm};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::board::Entry;
use super::caps::{self, CapWatch};
use super::error::CommandError;
use super::house::{self, Plans};
use super::limits;
use super::machine::Teller;
use super::outputs::{Appender, Outputs};
use super::prepare::{Loaded, highest_level, scope_of};
use super::progress::{Fixed, Progress, say};
use super::routing;
use super::watching::{Watching, of_route};
use crate::control;
use crate::job::Totals;
use crate::privacy::rules::RulesInForce;
use crate::store::{Desired, Job, JobState, Store};

/// How often progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often the store is asked whether somebody wants the job to stop.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often the owner's privacy rules are looked at.
const LOOK_AT_RULES_EVERY: Duration = Duration::from_secs(1);
/// How often the own memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_secs(1);
/// How long calls in flight may go on after a stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// What a run is to do.
pub struct Run<'a> {
    /// The store, open for writing.
    pub store: &'a Store,
    /// The job as stored, its input read in.
    pub job: &'a Job,
    /// Its spec and all it needs.
    pub loaded: &'a Loaded,
    /// What its input adds up to.
    pub shape: Shape,
    /// Items that need no call.
    pub finished: HashSet<ItemKey>,
    /// Only these items, if given.
    pub only: Option<HashSet<u32>>,
    /// Where results are appended.
    pub outputs: &'a Outputs,
}

/// What a run needs to know of its input.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Items that are not finished, equal ones counted each.
    pub pending: u64,
    /// Items that share a call.
    pub pack: usize,
    /// The highest level of any item.
    pub highest: empire_actors::level::Level,
}

impl Shape {
    /// The shape of an input that was just read.
    #[must_use]
    pub fn of(loaded: &Loaded, totals: &Totals, pending: u64) -> Shape {
        Shape { pending, pack: loaded.pack(totals), highest: highest_level(totals, loaded.spec.privacy) }
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Ran {
    /// How the job ended.
    pub end: JobEnd,
    /// Its counters.
    pub meters: MeterReading,
    /// How long it took.
    pub took: Duration,
    /// The most memory that was seen in use, in bytes.
    pub peak_memory: Option<u64>,
    /// How long the machine held it back.
    pub held: Held,
    /// Actors that did not stop in time and were killed.
    pub killed: Vec<String>,
}

impl Run<'_> {
    /// Runs in a house of its own until the job ends or is stopped, hearing the terminal's signals.
    pub async fn run_alone(self) -> Result<Ran, CommandError> {
        let Run { store, job, loaded, outputs, .. } = self;
        let simulated = loaded.simulated.is_some();
        let metrics = house::metrics(&loaded.config)?;
        let plans = Plans {
            config: &loaded.config,
            simulated,
            scope: scope_of(simulated, &job.id),
            detector: loaded.rules.detector().clone(),
            out: outputs.folder(),
            metrics: &metrics,
        };
        let watching = Watching::start(store, &loaded.config.alerts, of_route(loaded)).await?;
        let house = house::start(store, plans, &watching).await?;
        let served = house::serve_metrics(&metrics, &house, store);
        let control = control::open(&house, store, loaded.config.control, &watching, simulated).await;
        let ran = tokio::select! {
            ran = self.run(&house, &watching, Told::Terminal(Signals::new()?)) => ran,
            never = watching.look_around(&house) => match never {},
        };
        drop(served);
        if let Some(control) = control {
            control.stop().await;
        }
        let killed = house.stop().await.killed;
        watching.stop().await;
        Ok(Ran { killed, ..ran? })
    }

    /// Runs in `house` until the job ends or is `told` to stop.
    pub async fn run(self, house: &House, watching: &Watching, told: Told) -> Result<Ran, CommandError> {
        let Run { store, job, loaded, outputs, .. } = self;
        let items = store.items(&job.id);
        let simulated = loaded.simulated.is_some();
        let (recorder, appender) = Appender::start(outputs, store.recorder(), items.clone(), simulated)?;
        let order = self.order();
        let by_hand = store.caps().await?;
        let answers = StoredAnswers { store: store.clone(), job: job.id.clone(), items: items.clone() };
        let parts = JobParts {
            results: recorder,
            items,
            answers: Arc::new(answers),
            script: loaded.script.clone(),
            detector: loaded.rules.detector().clone(),
            shared: routing::shared_calls(loaded, store).await?,
            caps: vec![caps::of_job(&by_hand, &job.id, loaded.budget)],
        };
        let progress = Progress::new(self.fixed(&order));
        store.set_state(&job.id, JobState::Running, "").await?;
        let (started, held_before) = (Instant::now(), house.guard().held());
        let swarm = Swarm::start(house, parts, order).await.map_err(CommandError::internal)?;
        let mut watch = Watch {
            house,
            watching,
            swarm,
            store,
            job: &job.id,
            progress,
            entry: watching.board().enter(&job.id, &job.setup.name),
            money: CapWatch::new(loaded, &job.id, by_hand),
            rules: loaded.rules.clone(),
            told,
        };
        let watched = watch.until_the_end().await;
        watch.money.tell(house, |passed| watching.threshold(passed));
        if watched.is_err() {
            watching.gave_up();
        }
        watch.progress.finish();
        let took = started.elapsed();
        let meters = watch.swarm.meters().read();
        watch.entry.show(watch.progress.facts(&meters, &[]));
        let Watch { swarm, entry, .. } = watch;
        drop(swarm);
        let (end, peak_memory) = watched?;
        entry.end(end.stopped.as_ref().map_or("done", StopReason::word));
        if let Err(error) = appender.finish().await {
            say(&format!("warning: {error}"));
        }
        let held = house.guard().held().since(held_before);
        Ok(Ran { end, meters, took, peak_memory, held, killed: Vec::new() })
    }

    fn order(&self) -> JobOrder {
        let (loaded, counts) = (self.loaded, &self.job.counts);
        let spec = &loaded.spec;
        let items = u32::try_from(counts.items).unwrap_or(u32::MAX);
        let cohorts = (0..items.div_ceil(COHORT_SIZE)).map(|number| {
            let first = number * COHORT_SIZE;
            CohortPlan { number, first, count: COHORT_SIZE.min(items - first) }
        });
        JobOrder {
            id: self.job.id.as_str().into(),
            level: spec.privacy,
            highest_level: self.shape.highest,
            route: loaded.route.clone(),
            cohorts: cohorts.collect(),
            pending: self.shape.pending,
            finished: Arc::new(self.finished.clone()),
            only: self.only.clone().map(Arc::new),
            has_twins: counts.distinct < counts.items,
            pack: self.shape.pack,
            retries: spec.retries,
            failure_rule: spec
                .failure_rule
                .map(|rule| FailureRule { failed: rule.failed, of_first: rule.of_first }),
            deadline: spec.deadline,
            class: spec.priority,
            weight: 1,
            terms: self.terms(),
            reduce_group: spec.reduce.as_ref().map(|reduce| reduce.group as usize),
            drain_within: DRAIN_WITHIN,
            rules: routing::rules_of(loaded),
        }
    }

    fn terms(&self) -> Terms {
        let limit = self.loaded.config.budget.approval_above;
        Terms {
            role: Some(self.loaded.spec.role.as_str().into()),
            clamp: self.loaded.spec.clamp,
            most_at_once: limit.map(|limit| self.loaded.approved.unwrap_or(limit).max(limit)),
        }
    }

    fn fixed(&self, order: &JobOrder) -> Fixed {
        let counts = &self.job.counts;
        let total = self.only.as_ref().map_or(counts.items, |only| only.len() as u64);
        let finished = total.saturating_sub(order.pending.min(total));
        Fixed {
            total,
            done_before: finished.saturating_sub(counts.dead),
            dead_before: counts.dead.min(finished),
            pack: order.pack as u64,
            spent_before: counts.cost,
            budget: self.loaded.budget,
            route: order.route.clone(),
            limits: order.route.iter().map(|model| self.loaded.limits_of(model)).collect(),
        }
    }
}

/// What goes on beside a job while it runs.
struct Watch<'a> {
    house: &'a House,
    watching: &'a Watching,
    swarm: Swarm,
    store: &'a Store,
    job: &'a str,
    progress: Progress,
    entry: Entry,
    money: CapWatch<'a>,
    rules: RulesInForce,
    told: Told,
}

impl Watch<'_> {
    /// Waits for the end, drawing progress and hearing wishes to stop. Gives the most memory that
    /// was seen, too.
    async fn until_the_end(&mut self) -> Result<(JobEnd, Option<u64>), CommandError> {
        let meters = self.swarm.meters();
        let mut draw = tokio::time::interval(DRAW_EVERY);
        let mut ask = tokio::time::interval(ASK_EVERY);
        let mut look = tokio::time::interval(LOOK_AT_RULES_EVERY);
        let mut memory = Memory::new();
        let mut snapshot = limits::Snapshot::new(self.store.dir(), self.job);
        let mut teller = Teller::default();
        loop {
            tokio::select! {
                end = self.swarm.ended() => {
                    memory.look();
                    return Ok((end.map_err(CommandError::internal)?, memory.peak));
                }
                _ = draw.tick() => {
                    let lanes = self.swarm.lanes();
                    let pressure = self.house.guard().pressure();
                    snapshot.write_sometimes(&lanes).await;
                    self.entry.show(self.progress.show(&meters.read(), &lanes, &pressure));
                    teller.tell(&pressure, self.store, self.job).await;
                    self.money.tell(self.house, |passed| self.watching.threshold(passed));
                    memory.look_sometimes();
                }
                _ = ask.tick() => match self.store.desired(self.job).await {
                    Ok(Desired::Run) => self.money.look(self.house, self.store).await,
                    Ok(Desired::Pause) => self.swarm.stop(StopReason::Paused),
                    Ok(Desired::Cancel) => self.swarm.stop(StopReason::Cancelled),
                    // Not knowing is no reason to stop; results will say if the store is gone.
                    Err(error) => tracing::warn!(%error, "cannot read whether the job is to stop"),
                },
                _ = look.tick() => match self.rules.refresh() {
                    Ok(false) => {}
                    Ok(true) => say("privacy: the changed rules are in force"),
                    Err(error) => say(&format!("warning: {error}; until then the rules of before stay in force")),
                },
                wish = self.told.next() => match wish {
                    Wish::Pause => {
                        say("pausing: calls under way may end, nothing new starts; once more stops at once");
                        self.swarm.stop(StopReason::Paused);
                    }
                    Wish::StopNow => {
                        say("stopping at once: calls under way stay billed at their reservation");
                        self.swarm.stop_now(StopReason::Paused);
                    }
                }
            }
        }
    }
}

/// What a run is told while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Calls under way may end.
    Pause,
    /// They are dropped.
    StopNow,
}

/// Who tells a run to stop.
pub enum Told {
    /// A person at the terminal: the first signal pauses, the next one stops at once.
    Terminal(Signals),
    /// The daemon, when it ends.
    Daemon {
        /// What it wishes.
        wishes: watch::Receiver<Option<Wish>>,
        /// The last of that which was heard.
        heard: Option<Wish>,
    },
}

impl Told {
    async fn next(&mut self) -> Wish {
        match self {
            Told::Terminal(signals) => {
                signals.next().await;
                signals.heard += 1;
                if signals.heard == 1 { Wish::Pause } else { Wish::StopNow }
            }
            Told::Daemon { wishes, heard } => {
                // One that was wished before the job started counts, too.
                let Ok(wish) = wishes.wait_for(|wish| wish != heard).await else {
                    return std::future::pending().await;
                };
                *heard = *wish;
                wish.unwrap_or(Wish::Pause)
            }
        }
    }
}

/// Ctrl-C and, where there is one, the signal that asks a process to end.
pub struct Signals {
    heard: u32,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Hears them from now on.
    pub fn new() -> Result<Signals, CommandError> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen = |kind| signal(kind).map_err(CommandError::internal);
            Ok(Signals {
                heard: 0,
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Signals { heard: 0 })
    }

    /// Resolves with the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        // Without a handler Ctrl-C ends the process; the job is resumable all the same.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The memory of this process, looked at now and then.
struct Memory {
    /// `None` where the system does not tell.
    process: Option<(sysinfo::System, sysinfo::Pid)>,
    looked_at: Instant,
    peak: Option<u64>,
}

impl Memory {
    fn new() -> Memory {
        let process = sysinfo::System::new().ok().zip(sysinfo::get_current_pid().ok());
        Memory { process, looked_at: Instant::now(), peak: None }
    }

    fn look_sometimes(&mut self) {
        if self.looked_at.elapsed() >= MEMORY_EVERY {
            self.look();
        }
    }

    fn look(&mut self) {
        self.looked_at = Instant::now();
        let Some((system, pid)) = &mut self.process else { return };
        let what = sysinfo::ProcessRefreshKind::nothing().with_memory();
        let pids = sysinfo::ProcessesToUpdate::Some(&[*pid]);
        system.refresh_processes_specifics(pids, false, what);
        let now = system.process(*pid).map(sysinfo::Process::memory);
        self.peak = self.peak.max(now);
    }
}

/// Finished answers, read again for the reduce.
struct StoredAnswers {
    store: Store,
    job: String,
    items: Arc<dyn Items>,
}

impl Answers for StoredAnswers {
    fn of_cohort(&self, cohort: u32) -> BoxFuture<'_, Result<Vec<Box<str>>, StoreError>> {
        Box::pin(async move {
            let chunk = self.items.chunk(cohort).await?;
            let firsts: Vec<u32> = chunk.items.iter().map(|item| item.first).collect();
            let records = self.store.records(&self.job, &firsts).await?;
            let found: HashMap<u32, ResultRecord> =
                records.into_iter().map(|record| (record.item, record)).collect();
            let answer = |item: &Item| match &found.get(&item.first)?.verdict {
                Verdict::Done(answer) => Some(answer.clone()),
                Verdict::Dead(_) => None,
            };
            let answers = chunk.items.iter().filter_map(answer).collect();
            Ok(answers)
        })
    }

    fn reduced(&self, key: ItemKey) -> BoxFuture<'_, Result<Option<Box<str>>, StoreError>> {
        Box::pin(async move {
            let record = self.store.step(&self.job, key).await?;
            Ok(record.and_then(|record| match record.verdict {
                Verdict::Done(answer) => Some(answer),
                Verdict::Dead(_) => None,
            }))
        })
    }
}
