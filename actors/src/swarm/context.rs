//! What all agents of a job share.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::agent::{self, AgentEnd, AgentRef, Note};
use super::cohort::Finished;
use super::job;
use super::meters::JobMeters;
use super::order::{CohortPlan, JobOrder, StopReason};
use super::sight::Sight;
use super::turnstile::Turnstile;
use crate::call::Standing;
use crate::gates::budget::BudgetGate;
use crate::gates::privacy::PrivacyGate;
use crate::gates::rate::RateGate;
use crate::guard::Guard;
use crate::kernel::control::Address;
use crate::model::{Model, ProviderId, ProviderSpec};
use crate::ports::{
    Answers, Chunk, ItemKey, Items, Provider, Random, Results, Script, StoreError, WallClock,
};
use crate::route::SharedCalls;

/// Chunks of the input that are kept for the agents that are at work.
const CHUNKS_KEPT: usize = 8;
/// Chunks that are read at the same time.
const CHUNK_READERS: usize = 4;
/// So many items in a row that no money will ever cover stop the job. Until then others, which
/// are smaller, may still fit.
const UNAFFORDABLE: u32 = 32;
/// Results that may wait for the store at a time: enough to fill its commits, few enough that a slow
/// disk holds back calls and not memory.
const UNRECORDED: u32 = 2_048;

/// One provider as calls see it.
#[derive(Clone)]
pub(crate) struct LaneHandle {
    pub(crate) spec: Arc<ProviderSpec>,
    pub(crate) rate: RateGate,
    pub(crate) provider: Arc<dyn Provider>,
}

/// Every provider that can be called.
pub(crate) type Lanes = HashMap<ProviderId, LaneHandle>;

/// What has become of an item that has equals.
#[derive(Debug)]
pub(crate) enum Twin {
    /// Item `leader` is worked; these wait for it.
    Worked { leader: u32, followers: Vec<Follower> },
    /// It ended.
    Ended { dead: bool },
}

/// An agent that waits for that of an equal item.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) agent: AgentRef,
    /// Its cohort's record, where it is counted even if the agent was stopped in the meantime.
    pub(crate) finished: Arc<Finished>,
    pub(crate) index: u16,
}

impl Follower {
    /// The item that it waited for ended.
    pub(crate) fn settle(self, job: &JobContext, end: &AgentEnd) {
        match end {
            AgentEnd::Done => agent::count(job, &self.finished, self.index, false),
            AgentEnd::Dead => agent::count(job, &self.finished, self.index, true),
            AgentEnd::Parked(_) => {}
        }
        // One that has ended needs nothing.
        let _ = self.agent.send(Note::Settled(end.clone()));
    }
}

/// What all agents of a job share.
pub(crate) struct JobContext {
    pub(crate) order: JobOrder,
    /// When the job has to have ended.
    pub(crate) deadline: Option<Instant>,
    pub(crate) script: Arc<dyn Script>,
    pub(crate) items: Arc<dyn Items>,
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) results: Arc<dyn Results>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) privacy: PrivacyGate,
    pub(crate) budget: BudgetGate,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) guard: Guard,
    pub(crate) shared: SharedCalls,
    pub(crate) turnstile: Arc<Turnstile>,
    pub(crate) meters: Arc<JobMeters>,
    pub(crate) sight: Sight,
    pub(crate) twins: Mutex<HashMap<ItemKey, Twin>>,
    pub(crate) chunks: ChunkCache,
    /// Room for results that wait for the store.
    pub(crate) recording: Recording,
    /// Items in a row that what is left does not cover, since one was funded.
    pub(crate) unaffordable: AtomicU32,
    pub(crate) stop: watch::Sender<Option<StopReason>>,
    pub(crate) job: Address<job::Message>,
    /// What the log puts around all that is said of the job.
    pub(crate) span: tracing::Span,
}

/// Room for results that wait for the store.
pub(crate) struct Recording(Semaphore);

impl Default for Recording {
    fn default() -> Recording {
        Recording(Semaphore::new(UNRECORDED as usize))
    }
}

impl JobContext {
    /// Waits until so many more results may wait for the store. The room is given back when it is
    /// dropped.
    pub(crate) async fn room_to_record(&self, results: usize) -> Option<SemaphorePermit<'_>> {
        let results = u32::try_from(results).unwrap_or(u32::MAX).min(UNRECORDED);
        // None if it were closed, which it never is.
        self.recording.0.acquire_many(results).await.ok()
    }

    /// The lane of a model of the route. Every route was checked for this at the start.
    pub(crate) fn lane(&self, model: &Model) -> &LaneHandle {
        &self.lanes[&model.provider]
    }

    /// How a call of the job stands in line when it is made for the first time.
    pub(crate) fn standing(&self) -> Standing {
        let JobOrder { class, weight, .. } = self.order;
        Standing { class, weight, deadline: self.deadline, ..Standing::default() }
    }

    /// Stops the job: no new turns, no new calls. The first reason stays, but cancelling
    /// overrides every other one.
    pub(crate) fn stop(&self, reason: StopReason) {
        let word = reason.word();
        let changed = self.stop.send_if_modified(|current| {
            let takes = match current {
                None => true,
                Some(StopReason::Cancelled) => false,
                Some(_) => reason == StopReason::Cancelled,
            };
            if takes {
                *current = Some(reason);
            }
            takes
        });
        if changed {
            tracing::info!(parent: &self.span, reason = word, "a job stops");
            self.turnstile.close();
            // A job actor that is down looks at the reason when it starts.
            let _ = self.job.send(job::Message::Stopping);
        }
    }

    /// An item waits for what `reason` says, and no model of its route can be asked. Whether that
    /// holds for all others as well, and so stops the job.
    pub(crate) fn holds_for_all(&self, reason: &StopReason) -> bool {
        match reason {
            // Who is too late stops nobody who is before it in line.
            StopReason::Deadline => false,
            StopReason::Budget(_) => self.unaffordable.fetch_add(1, Ordering::Relaxed) + 1 >= UNAFFORDABLE,
            _ => true,
        }
    }

    /// A call was funded: what is left is of use.
    pub(crate) fn funded(&self) {
        self.unaffordable.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// The future's output, or `None` if the job is told to stop first. The future is dropped
    /// then.
    pub(crate) async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut stop = self.stop.subscribe();
        let stopped = stop.wait_for(Option::is_some);
        match select(pin!(stopped), pin!(future)).await {
            Either::Left(_) => None,
            Either::Right((output, _)) => Some(output),
        }
    }

    /// Lets go of the equal items whose agent of `plan` will not work any more.
    pub(crate) fn forsake_twins(&self, plan: CohortPlan, reason: &StopReason) {
        let is_led = |twin: &mut Twin| match twin {
            Twin::Worked { leader, .. } => (plan.first..plan.first + plan.count).contains(leader),
            Twin::Ended { .. } => false,
        };
        let forsaken: Vec<Twin> =
            self.twins.lock().extract_if(|_, twin| is_led(twin)).map(|(_, twin)| twin).collect();
        for twin in forsaken {
            if let Twin::Worked { followers, .. } = twin {
                let end = AgentEnd::Parked(Some(reason.clone()));
                followers.into_iter().for_each(|follower| follower.settle(self, &end));
            }
        }
    }

    /// The items of a cohort.
    pub(crate) async fn chunk(&self, cohort: u32) -> Result<Arc<Chunk>, StoreError> {
        self.chunks.get(cohort, self.items.as_ref()).await
    }
}

/// The chunks read last.
pub(crate) struct ChunkCache {
    recent: Mutex<VecDeque<(u32, Arc<Chunk>)>>,
    readers: Semaphore,
}

impl Default for ChunkCache {
    fn default() -> Self {
        ChunkCache { recent: Mutex::default(), readers: Semaphore::new(CHUNK_READERS) }
    }
}

impl ChunkCache {
    fn recent(&self, cohort: u32) -> Option<Arc<Chunk>> {
        let recent = self.recent.lock();
        recent.iter().find(|(number, _)| *number == cohort).map(|(_, chunk)| chunk.clone())
    }

    async fn get(&self, cohort: u32, items: &dyn Items) -> Result<Arc<Chunk>, StoreError> {
        if let Some(chunk) = self.recent(cohort) {
            return Ok(chunk);
        }
        let _reader = self.readers.acquire().await.map_err(|_| StoreError::Closed)?;
        // Another agent of the cohort may have read it while this one waited.
        if let Some(chunk) = self.recent(cohort) {
            return Ok(chunk);
        }
        let chunk = items.chunk(cohort).await?;
        let mut recent = self.recent.lock();
        if recent.len() >= CHUNKS_KEPT {
            recent.pop_front();
        }
        recent.push_back((cohort, chunk.clone()));
        Ok(chunk)
    }
}
