//! The job actor: owns the cohorts, restarts those that crash, and ends the job.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::cohort::{self, Cohort, CohortShared, Finished};
use super::context::JobContext;
use super::order::{CohortPlan, JobEnd, StopReason};
use super::reduce;
use crate::kernel::cell::{Status, panic_text};
use crate::kernel::control::{Control, Failure, Timer};
use crate::kernel::group::{self, GroupExit, GroupHandle};
use crate::kernel::policy::{History, Policy};
use crate::kernel::sight::AgentState;
use crate::kernel::tree::{NodeKind, NodeState, NodeView};
use crate::ports::StoreError;

/// What a cohort is called in the tree.
pub(crate) fn cohort_name(number: u32) -> String {
    format!("cohort-{number}")
}

/// A cohort that crashes more often than this is given up.
const CRASHES: u32 = 5;

pub(crate) enum Message {
    /// Starts the cohorts that have not ended.
    Begin,
    /// The job's stop reason was set.
    Stopping,
    /// Calls in flight have had their time.
    StopNow,
    CohortEnded {
        number: u32,
        incarnation: u64,
        parked: HashMap<String, u64>,
    },
    CohortCrashed {
        number: u32,
        incarnation: u64,
        why: String,
    },
    RestartCohort {
        number: u32,
    },
    /// A person's order. A crash counts as one; a restart does not.
    EndCohort {
        number: u32,
        is_crash: bool,
    },
    Reduced(Option<Result<Box<str>, String>>),
}

/// What outlives the job actor's incarnations.
pub(crate) struct JobMemory {
    finished: Vec<Arc<Finished>>,
    started: Instant,
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    parked: BTreeMap<String, u64>,
    ended: Vec<bool>,
    /// Incarnations of all cohorts, so that news of an old one is told from that of a new one.
    incarnations: u64,
    /// How often each was started.
    starts: Vec<u32>,
    crashes: HashMap<u32, u32>,
    /// Those that run, by number, to look at their agents.
    running: HashMap<u32, Weak<CohortShared>>,
}

impl MemoryState {
    /// How the cohort with this number is.
    fn of(&self, number: usize) -> NodeState {
        let crashes = u32::try_from(number).ok().and_then(|number| self.crashes.get(&number)).copied();
        match (self.ended[number], self.starts[number]) {
            (true, _) if crashes > Some(CRASHES) => NodeState::Quarantined,
            (true, _) => NodeState::Stopped,
            (false, 0) => NodeState::Starting,
            (false, _) => NodeState::Running,
        }
    }
}

impl JobMemory {
    pub(crate) fn new(cohorts: usize) -> JobMemory {
        JobMemory {
            finished: (0..cohorts).map(|_| Arc::default()).collect(),
            state: Mutex::new(MemoryState {
                ended: vec![false; cohorts],
                starts: vec![0; cohorts],
                ..MemoryState::default()
            }),
            started: Instant::now(),
        }
    }

    /// The states of all cohorts.
    pub(crate) fn cohort_states(&self) -> Vec<NodeState> {
        let state = self.state.lock();
        (0..state.ended.len()).map(|index| state.of(index)).collect()
    }

    /// How many cohorts are in which state.
    pub(crate) fn by_state(&self) -> serde_json::Value {
        let state = self.state.lock();
        let count = |wanted: NodeState| (0..state.ended.len()).filter(|n| state.of(*n) == wanted).count();
        json!({
            "starting": count(NodeState::Starting),
            "running": count(NodeState::Running),
            "ended": count(NodeState::Stopped),
            "given_up": count(NodeState::Quarantined),
            "crashes": state.crashes.values().sum::<u32>(),
        })
    }

    /// What the agent of the item at `index` of a cohort does.
    pub(crate) fn agent(&self, number: u32, index: u16, is_calling: bool) -> AgentState {
        if self.finished[number as usize].has(index) {
            return AgentState::Finished;
        }
        let (cohort, state) = {
            let state = self.state.lock();
            (state.running.get(&number).and_then(Weak::upgrade), state.of(number as usize))
        };
        match cohort.and_then(|cohort| cohort.agent(index)).map(|agent| agent.status()) {
            _ if is_calling => AgentState::Calling,
            Some(Status::Waiting) => AgentState::Waiting,
            Some(Status::Working) => AgentState::Awake,
            Some(Status::Ended) => AgentState::Pending,
            None if state == NodeState::Starting => AgentState::NotStarted,
            None => AgentState::NotWorked,
        }
    }

    /// A cohort as it is now.
    pub(crate) fn view(&self, plan: CohortPlan, path: String) -> NodeView {
        let index = plan.number as usize;
        let (state, starts, crashes) = {
            let state = self.state.lock();
            let crashes = state.crashes.get(&plan.number).copied().unwrap_or(0);
            (state.of(index), state.starts[index], crashes)
        };
        let finished = self.finished[index].count();
        NodeView {
            path,
            kind: NodeKind::Cohort,
            state,
            for_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            incarnation: starts,
            healthy: crashes <= CRASHES,
            pulse: None,
            restarts: None,
            last_exit: None,
            policy: 0,
            scaled: None,
            counts: Some(json!({ "items": plan.count, "finished": finished, "crashes": crashes })),
            children: Vec::new(),
            children_left_out: 0,
        }
    }
}

/// The job actor's state.
pub(crate) struct JobActor {
    context: Arc<JobContext>,
    memory: Arc<JobMemory>,
    /// Running cohorts by number.
    cohorts: HashMap<u32, (u64, GroupHandle<Cohort>)>,
    history: History,
    /// The reduce runs as long as this is held.
    reducing: Option<oneshot::Sender<()>>,
    /// How long calls in flight still have, once it stops.
    draining: Option<Timer>,
    end: watch::Sender<Option<JobEnd>>,
}

/// What the job actor shows.
#[derive(Debug, Serialize)]
pub(crate) struct Observed {
    cohorts_running: usize,
    cohorts_in_all: usize,
    stopping: Option<String>,
}

impl Control for JobActor {
    type Message = Message;
    type Observed = Observed;

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Begin => self.begin().await,
            Message::Stopping => self.stop_cohorts(false),
            Message::StopNow => self.stop_cohorts(true),
            Message::CohortEnded { number, incarnation, parked } => {
                self.cohort_ended(number, incarnation, parked);
            }
            Message::CohortCrashed { number, incarnation, why } => {
                self.cohort_crashed(number, incarnation, &why);
            }
            Message::RestartCohort { number } => self.start_cohort(number).await,
            Message::EndCohort { number, is_crash: true } => {
                if let Some((incarnation, _)) = self.cohorts.get(&number) {
                    self.cohort_crashed(number, *incarnation, "a drill");
                }
            }
            Message::EndCohort { number, is_crash: false } => {
                // Dropping its handle ends it, with its agents; the next one starts with the rest.
                if self.cohorts.remove(&number).is_some() && !self.context.is_stopping() {
                    self.start_cohort(number).await;
                }
            }
            Message::Reduced(answer) => self.finish(answer),
        }
        Ok(())
    }

    fn first_message(&self) -> Option<Message> {
        Some(Message::Begin)
    }

    fn observe(&self) -> Observed {
        Observed {
            cohorts_running: self.cohorts.len(),
            cohorts_in_all: self.context.order.cohorts.len(),
            stopping: self.context.stop.borrow().as_ref().map(ToString::to_string),
        }
    }
}

impl JobActor {
    pub(crate) fn new(
        context: Arc<JobContext>,
        memory: Arc<JobMemory>,
        end: watch::Sender<Option<JobEnd>>,
    ) -> JobActor {
        JobActor {
            context,
            memory,
            cohorts: HashMap::new(),
            history: History::default(),
            reducing: None,
            draining: None,
            end,
        }
    }

    async fn begin(&mut self) {
        self.watch_the_deadline();
        for plan in self.context.order.cohorts.clone() {
            self.start_cohort(plan.number).await;
        }
        self.look_for_the_end();
    }

    /// The deadline counts from the job's start, whichever incarnation watches it.
    fn watch_the_deadline(&self) {
        let Some(deadline) = self.context.order.deadline else { return };
        let (context, mut end) = (self.context.clone(), self.end.subscribe());
        let over = self.memory.started + deadline;
        crate::kernel::spawn(async move {
            let ended = end.wait_for(Option::is_some);
            let over = tokio::time::timeout_at(over, context.unless_stopped(ended));
            if over.await.is_err() {
                context.stop(StopReason::Deadline);
            }
        });
    }

    async fn start_cohort(&mut self, number: u32) {
        let index = number as usize;
        if self.memory.state.lock().ended[index] || self.cohorts.contains_key(&number) {
            return;
        }
        let (context, plan) = (self.context.clone(), self.context.order.cohorts[index]);
        let incarnation = {
            let mut state = self.memory.state.lock();
            state.incarnations += 1;
            state.starts[index] += 1;
            if state.starts[index] > 1 {
                self.context.meters.tally().cohort_restarted();
            }
            state.incarnations
        };
        let cohort = Cohort::new(context, plan, self.memory.finished[index].clone(), incarnation);
        self.memory.state.lock().running.insert(number, Arc::downgrade(cohort.shared()));
        let job = self.context.job.clone();
        let handle = group::spawn(cohort, cohort::MAILBOX, move |exit| {
            Box::pin(async move {
                if let GroupExit::Crashed(why) = exit {
                    // A job actor that is down starts its cohorts anew anyway.
                    let _ = job.send(Message::CohortCrashed { number, incarnation, why });
                }
            })
        });
        let address = handle.address();
        // The group lives as long as its handle, which we hold.
        let _ = address.send(cohort::Message::Begin(address.clone())).await;
        self.cohorts.insert(number, (incarnation, handle));
    }

    /// Whether this is news of the incarnation that runs.
    fn is_current(&self, number: u32, incarnation: u64) -> bool {
        self.cohorts.get(&number).is_some_and(|(current, _)| *current == incarnation)
    }

    fn cohort_ended(&mut self, number: u32, incarnation: u64, parked: HashMap<String, u64>) {
        if !self.is_current(number, incarnation) {
            return;
        }
        self.cohorts.remove(&number);
        let mut state = self.memory.state.lock();
        state.ended[number as usize] = true;
        for (reason, count) in parked {
            *state.parked.entry(reason).or_default() += count;
        }
        drop(state);
        self.look_for_the_end();
    }

    fn cohort_crashed(&mut self, number: u32, incarnation: u64, why: &str) {
        if !self.is_current(number, incarnation) {
            return;
        }
        self.cohorts.remove(&number);
        tracing::error!(parent: &self.context.span, cohort = number, %why, "a cohort crashed");
        if self.context.is_stopping() {
            self.memory.state.lock().ended[number as usize] = true;
            return self.look_for_the_end();
        }
        let crashes = {
            let mut state = self.memory.state.lock();
            let crashes = state.crashes.entry(number).or_default();
            *crashes += 1;
            *crashes
        };
        self.context.meters.tally().cohort_crashed(crashes > CRASHES);
        if crashes > CRASHES {
            return self.give_up_cohort(number, why);
        }
        // How often is counted above, for each cohort apart; this says how long to wait.
        let (now, random) = (self.memory.started.elapsed(), self.context.random.unit());
        let delay = self.history.delay(&Policy::default(), &cohort_name(number), now, random);
        self.context.job.send_after(delay, Message::RestartCohort { number });
    }

    /// A cohort that crashes again and again is left alone; its items stay pending, and the
    /// others go on.
    fn give_up_cohort(&mut self, number: u32, why: &str) {
        let reason =
            StopReason::Store(StoreError::Failed(format!("cohort {number} crashed too often: {why}")));
        let plan = self.context.order.cohorts[number as usize];
        let finished = &self.memory.finished[number as usize];
        // Items that an earlier run finished are not in this run's record.
        let left = (0..plan.count).filter(|n| u16::try_from(*n).is_ok_and(|n| !finished.has(n))).count();
        let left = (left as u64).min(self.unfinished());
        {
            let mut state = self.memory.state.lock();
            state.ended[number as usize] = true;
            *state.parked.entry(reason.to_string()).or_default() += left;
        }
        self.context.forsake_twins(plan, &reason);
        self.look_for_the_end();
    }

    fn stop_cohorts(&mut self, now: bool) {
        for (_, handle) in self.cohorts.values() {
            let cohort = handle.address();
            // Not waited for: a cohort that is stuck must not hold up the others.
            crate::kernel::spawn(async move {
                // One that ended in this moment has nothing left to stop.
                let _ = cohort.send(cohort::Message::Stop { now }).await;
            });
        }
        if now {
            if self.reducing.take().is_some() {
                self.finish(None);
            }
        } else {
            self.draining = Some(self.context.job.timer(self.context.order.drain_within, Message::StopNow));
        }
        self.look_for_the_end();
    }

    fn look_for_the_end(&mut self) {
        let all_ended = self.memory.state.lock().ended.iter().all(|ended| *ended);
        let crashed_while_stopping = self.context.is_stopping() && self.cohorts.is_empty();
        let is_over = all_ended || crashed_while_stopping;
        if !is_over || self.reducing.is_some() || self.end.borrow().is_some() {
            return;
        }
        let wants_reduce = self.context.order.reduce_group.is_some() && self.context.order.only.is_none();
        if !wants_reduce || self.context.is_stopping() || self.unfinished() > 0 {
            return self.finish(None);
        }
        let (held, dropped) = oneshot::channel::<()>();
        self.reducing = Some(held);
        let context = self.context.clone();
        crate::kernel::spawn(async move {
            let reduce = pin!(AssertUnwindSafe(reduce::run(&context)).catch_unwind());
            // Dropped by a stop, or with this incarnation; the next one reduces anew, from what
            // is durable.
            if let Either::Right((answer, _)) = select(dropped, reduce).await {
                let panicked = |panic: Box<dyn Any + Send>| {
                    Some(Err(format!("the reduce panicked: {}", panic_text(panic.as_ref()))))
                };
                let _ = context.job.send(Message::Reduced(answer.unwrap_or_else(panicked)));
            }
        });
    }

    /// Items of this run that did not come to an end.
    fn unfinished(&self) -> u64 {
        let meters = self.context.meters.read();
        let order = &self.context.order;
        let items: u64 = match &order.only {
            Some(only) => only.len() as u64,
            None => order.pending,
        };
        items.saturating_sub(meters.done + meters.dead)
    }

    fn finish(&mut self, reduced: Option<Result<Box<str>, String>>) {
        self.reducing = None;
        self.draining = None;
        let parked = self.memory.state.lock().parked.clone();
        let stopped = self.context.stop.borrow().clone();
        let end = JobEnd { stopped, parked, unfinished: self.unfinished(), reduced };
        let (stopped, unfinished) = (end.stopped.as_ref().map(StopReason::word), end.unfinished);
        let is_first = self.end.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(end);
            first
        });
        if is_first {
            let meters = self.context.meters.read();
            let (done, dead, calls) = (meters.done, meters.dead, meters.calls);
            let spent = tracing::field::display(meters.spent);
            tracing::info!(parent: &self.context.span, done, dead, unfinished, calls, spent, stopped, "a job ended");
        }
    }
}
