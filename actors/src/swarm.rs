//! Jobs, cohorts and agents.

mod agent;
mod attempt;
mod cohort;
mod context;
mod heed;
mod job;
mod jobs;
pub mod meters;
pub mod order;
mod passage;
mod reduce;
mod reuse;
mod sight;
mod turnstile;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use self::context::{ChunkCache, JobContext, Recording};
use self::job::JobMemory;
use self::jobs::Running;
use self::meters::JobMeters;
use self::order::{JobEnd, JobOrder, StopReason};
use self::sight::Sight;
use self::turnstile::Turnstile;
use crate::gates::budget::Cap;
use crate::gates::detect::Detector;
use crate::gates::rate::LaneReading;
use crate::house::{House, Shared};
use crate::kernel::control::{Address, Failure};
use crate::kernel::journal::Event;
use crate::kernel::policy::Action;
use crate::model::ProviderId;
use crate::ports::{Answers, Items, Results, Script};
use crate::route::SharedCalls;

pub(crate) use self::context::{LaneHandle, Lanes};
pub(crate) use self::heed::HeedOfJobs;
pub(crate) use self::jobs::Jobs;

/// Agents that are awake beyond the calls that may be in flight: they have rendered their
/// prompt and reserved their money, so that no permit waits for an agent.
const AWAKE_SLACK: usize = 32;
/// Agents awake at most, whatever the providers allow.
pub(crate) const AWAKE_MAX: usize = 8_192;

/// What a job is made of.
pub struct JobParts {
    /// Where results go.
    pub results: Arc<dyn Results>,
    /// Where items come from.
    pub items: Arc<dyn Items>,
    /// Where answers are read again.
    pub answers: Arc<dyn Answers>,
    /// The job's own logic.
    pub script: Arc<dyn Script>,
    /// What the privacy gate looks at its calls with.
    pub detector: Arc<Detector>,
    /// What it shares with others about its calls.
    pub shared: SharedCalls,
    /// Caps that hold from its start.
    pub caps: Vec<Cap>,
}

/// A job that runs. Dropping it stops the job at once.
pub struct Swarm {
    house: Arc<Shared>,
    running: Arc<Running>,
    end: watch::Receiver<Option<JobEnd>>,
    events: tokio::sync::broadcast::Receiver<Arc<crate::kernel::journal::Entry>>,
    gave_up: watch::Receiver<bool>,
}

impl Swarm {
    /// Starts a job in the house.
    ///
    /// # Errors
    /// A model of the route has no provider, the job runs already, or its actor did not start.
    pub async fn start(house: &House, parts: JobParts, order: JobOrder) -> Result<Swarm, Failure> {
        let shared = house.shared().clone();
        if let Some(model) = order.route.iter().find(|model| !shared.lanes.contains_key(&model.provider)) {
            return Err(Failure(format!("model {} names the unknown provider {}", model.id, model.provider)));
        }
        // No job starts without its caps.
        for cap in parts.caps {
            shared.set_cap(cap).await?;
        }
        shared.budget.enroll(order.id.clone(), order.terms.clone());
        shared.privacy.enroll(order.id.clone(), parts.detector);
        let context = Arc::new(JobContext {
            meters: Arc::new(JobMeters::new(shared.tally.clone(), &order.route)),
            sight: Sight::default(),
            turnstile: Turnstile::new(awake(&order, &shared.lanes)),
            script: parts.script,
            items: parts.items,
            answers: parts.answers,
            results: parts.results,
            clock: shared.clock.clone(),
            random: shared.random.clone(),
            privacy: shared.privacy.clone(),
            budget: shared.budget.clone(),
            lanes: shared.lanes.clone(),
            guard: shared.guard.clone(),
            shared: parts.shared,
            twins: Mutex::default(),
            chunks: ChunkCache::default(),
            recording: Recording::default(),
            unaffordable: AtomicU32::new(0),
            stop: watch::channel(None).0,
            job: Address::new(format!("{}/job-{}", crate::house::SWARM, order.id)),
            span: tracing::info_span!(parent: None, "job", job = &*order.id),
            deadline: order.deadline.map(|deadline| Instant::now() + deadline),
            order,
        });
        // What the machine's pressure was when nobody heeded it for this job.
        context.heed(&shared.guard.pressure());
        let memory = Arc::new(JobMemory::new(context.order.cohorts.len()));
        let (end_sender, end) = watch::channel(None);
        let running = Arc::new(Running { context, memory, end: end_sender });
        let events = shared.supervision.journal.follow();
        shared.jobs.add(running.clone());
        let swarm = Swarm { house: shared, running, end, events, gave_up: house.gave_up() };
        house.add_job(swarm.running.child()).await?;
        let context = &swarm.running.context;
        let (items, cohorts) = (context.order.pending, context.order.cohorts.len());
        tracing::info!(parent: &context.span, items, cohorts, "a job started");
        Ok(swarm)
    }

    /// Resolves with how the job ended.
    ///
    /// # Errors
    /// An actor failed more often than its policy allows: the job's own, or one that everybody
    /// needs.
    pub async fn ended(&mut self) -> Result<JobEnd, Failure> {
        let too_often = || Failure("an actor failed more often than its policy allows".to_owned());
        loop {
            tokio::select! {
                biased;
                end = self.end.wait_for(Option::is_some) => {
                    let end = end.ok().and_then(|end| end.clone());
                    return end.ok_or_else(|| Failure("the job's actor is gone".to_owned()));
                }
                _ = self.gave_up.wait_for(|gave_up| *gave_up) => return Err(too_often()),
                event = self.events.recv() => {
                    let Ok(entry) = event else { continue };
                    if let Event::Exit(decision) = &entry.event
                        && decision.action == Action::Quarantine
                        && entry.path == self.running.context.job.path()
                    {
                        return Err(too_often());
                    }
                }
            }
        }
    }

    /// Stops the job: calls in flight may end within the drain deadline.
    pub fn stop(&self, reason: StopReason) {
        self.running.context.stop(reason);
    }

    /// Stops the job at once: calls in flight are dropped and stay billed at their reservation.
    pub fn stop_now(&self, reason: StopReason) {
        self.running.context.stop(reason);
        // A job actor that is down starts with the stop reason in place.
        let _ = self.running.context.job.send(job::Message::StopNow);
    }

    /// The job's live counters.
    #[must_use]
    pub fn meters(&self) -> Arc<JobMeters> {
        self.running.context.meters.clone()
    }

    /// How the lane of each provider of the route stands, in route order.
    #[must_use]
    pub fn lanes(&self) -> Vec<(ProviderId, LaneReading)> {
        let mut readings: Vec<(ProviderId, LaneReading)> = Vec::new();
        for model in &self.running.context.order.route {
            if readings.iter().any(|(id, _)| *id == model.provider) {
                continue;
            }
            let reading = self.running.context.lane(model).rate.reading();
            readings.push((model.provider.clone(), reading));
        }
        readings
    }
}

impl Drop for Swarm {
    /// The house forgets a job that nobody holds any more, and its actor ends.
    fn drop(&mut self) {
        let id = self.running.context.order.id.clone();
        if self.end.borrow().is_none() {
            self.running.context.stop(StopReason::Paused);
        }
        self.house.jobs.remove(&id);
        self.house.privacy.dismiss(&id);
        self.house.budget.dismiss(&id);
        let (house, name) = (self.house.clone(), self.running.name());
        house.remove_job(name);
    }
}

fn awake(order: &JobOrder, lanes: &Lanes) -> usize {
    let mut providers: Vec<&ProviderId> = order.route.iter().map(|model| &model.provider).collect();
    providers.sort();
    providers.dedup();
    let slots: usize = providers.iter().map(|id| lanes[*id].spec.limits.concurrency as usize).sum();
    (slots + AWAKE_SLACK).min(AWAKE_MAX)
}
