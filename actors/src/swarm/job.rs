//! The job actor: owns the cohorts, restarts those that crash, and ends the job.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cohort::{self, Cohort, Finished};
use super::context::JobContext;
use super::order::{JobEnd, StopReason};
use super::reduce;
use crate::kernel::control::{Control, Failure};
use crate::kernel::group::{self, GroupExit, GroupHandle};
use crate::kernel::policy::{Action, ChildExit, History, Policy, Restart};

pub(crate) enum Message {
    /// Starts the cohorts that have not ended.
    Begin,
    /// The job's stop reason was set.
    Stopping,
    /// Calls in flight have had their time.
    StopNow,
    CohortEnded {
        number: u32,
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
    Reduced(Option<Result<Box<str>, String>>),
}

/// What outlives the job actor's incarnations.
pub(crate) struct JobMemory {
    finished: Vec<Arc<Finished>>,
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    parked: BTreeMap<String, u64>,
    ended: Vec<bool>,
}

impl JobMemory {
    pub(crate) fn new(cohorts: usize) -> JobMemory {
        JobMemory {
            finished: (0..cohorts).map(|_| Arc::default()).collect(),
            state: Mutex::new(MemoryState { parked: BTreeMap::new(), ended: vec![false; cohorts] }),
        }
    }
}

/// The job actor's state.
pub(crate) struct JobActor {
    context: Arc<JobContext>,
    memory: Arc<JobMemory>,
    /// Running cohorts by number.
    cohorts: HashMap<u32, (u64, GroupHandle<Cohort>)>,
    incarnations: u64,
    history: History,
    policy: Policy,
    started: Instant,
    reducing: bool,
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
            Message::Stopping => self.stop_cohorts(false).await,
            Message::StopNow => self.stop_cohorts(true).await,
            Message::CohortEnded { number, parked } => self.cohort_ended(number, parked),
            Message::CohortCrashed { number, incarnation, why } => {
                self.cohort_crashed(number, incarnation, why)?;
            }
            Message::RestartCohort { number } => self.start_cohort(number).await,
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
        let cohorts = context.order.cohorts.len();
        JobActor {
            context,
            memory,
            cohorts: HashMap::new(),
            incarnations: 0,
            history: History::new(cohorts),
            policy: Policy { intensity: 20, ..Policy::default() },
            started: Instant::now(),
            reducing: false,
            end,
        }
    }

    async fn begin(&mut self) {
        if let Some(deadline) = self.context.order.deadline {
            let context = self.context.clone();
            crate::kernel::spawn(async move {
                let over = tokio::time::sleep(deadline);
                if context.unless_stopped(over).await.is_some() {
                    context.stop(StopReason::Deadline);
                }
            });
        }
        for plan in self.context.order.cohorts.clone() {
            self.start_cohort(plan.number).await;
        }
        self.look_for_the_end();
    }

    async fn start_cohort(&mut self, number: u32) {
        let index = number as usize;
        if self.memory.state.lock().ended[index] || self.cohorts.contains_key(&number) {
            return;
        }
        let (context, plan) = (self.context.clone(), self.context.order.cohorts[index]);
        let cohort = Cohort::new(context, plan, self.memory.finished[index].clone());
        self.incarnations += 1;
        let (incarnation, job) = (self.incarnations, self.context.job.clone());
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

    fn cohort_ended(&mut self, number: u32, parked: HashMap<String, u64>) {
        self.cohorts.remove(&number);
        let mut state = self.memory.state.lock();
        state.ended[number as usize] = true;
        for (reason, count) in parked {
            *state.parked.entry(reason).or_default() += count;
        }
        drop(state);
        self.look_for_the_end();
    }

    fn cohort_crashed(&mut self, number: u32, incarnation: u64, why: String) -> Result<(), Failure> {
        if !self.cohorts.get(&number).is_some_and(|(current, _)| *current == incarnation) {
            return Ok(());
        }
        self.cohorts.remove(&number);
        tracing::error!(job = %self.context.order.id, cohort = number, %why, "a cohort crashed");
        if self.context.is_stopping() {
            self.memory.state.lock().ended[number as usize] = true;
            self.look_for_the_end();
            return Ok(());
        }
        let exit = ChildExit::Failed(why);
        let (now, random) = (self.started.elapsed(), self.context.random.unit());
        match self.history.decide(&self.policy, Restart::Transient, number as usize, &exit, now, random) {
            Action::Restart { delay, .. } => {
                self.context.job.send_after(delay, Message::RestartCohort { number });
                Ok(())
            }
            Action::Escalate | Action::LetGo => Err(Failure(format!("cohort {number} crashed too often"))),
        }
    }

    async fn stop_cohorts(&mut self, now: bool) {
        for (_, handle) in self.cohorts.values() {
            // One that ended in this moment has nothing left to stop.
            let _ = handle.address().send(cohort::Message::Stop { now }).await;
        }
        if !now {
            let within = self.context.order.drain_within;
            self.context.job.send_after(within, Message::StopNow);
        }
        self.look_for_the_end();
    }

    fn look_for_the_end(&mut self) {
        let all_ended = self.memory.state.lock().ended.iter().all(|ended| *ended);
        let crashed_while_stopping = self.context.is_stopping() && self.cohorts.is_empty();
        if !(all_ended || crashed_while_stopping) || self.reducing || self.end.borrow().is_some() {
            return;
        }
        let wants_reduce = self.context.order.reduce_group.is_some() && self.context.order.only.is_none();
        if !wants_reduce || self.context.is_stopping() || self.unfinished() > 0 {
            return self.finish(None);
        }
        self.reducing = true;
        let context = self.context.clone();
        crate::kernel::spawn(async move {
            let answer = reduce::run(&context).await;
            // Nobody else ends the job; a restarted job actor reduces anew, from what is durable.
            let _ = context.job.send(Message::Reduced(answer));
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
        self.reducing = false;
        let parked = self.memory.state.lock().parked.clone();
        let stopped = self.context.stop.borrow().clone();
        let end = JobEnd { stopped, parked, unfinished: self.unfinished(), reduced };
        self.end.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(end);
            first
        });
    }
}

/// How long a stop may take beyond the drain: for cells to be cancelled and heard.
pub(crate) const STOP_SLACK: Duration = Duration::from_secs(10);
