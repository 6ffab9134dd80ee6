//! A cohort: the supervisor of up to 1,024 agents of one job. It starts them, hears how each
//! ended, and replaces those that panic. When it crashes itself, its next incarnation starts
//! with what is unfinished.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use super::agent::{self, Agent, AgentEnd, AgentRef, Note};
use super::attempt::Log;
use super::context::{Follower, JobContext, Twin};
use super::job;
use super::order::{COHORT_SIZE, CohortPlan, StopReason, item_number};
use crate::kernel::cell::{self, Exit, Seed};
use crate::kernel::group::{Flow, Group, GroupRef};
use crate::ports::{Chunk, Item, Part, StoreError, Verdict};

/// Messages that may wait for a cohort; its agents' ends wait with them.
pub(crate) const MAILBOX: usize = 8;
/// An agent that panics more often than this ends as dead.
const PANICS: u32 = 2;

/// Which of a cohort's agents have finished. Outlives the cohort's incarnations.
#[derive(Debug)]
pub(crate) struct Finished([AtomicU64; COHORT_SIZE as usize / 64]);

impl Default for Finished {
    fn default() -> Self {
        Finished(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Finished {
    /// Gives whether it was not set before.
    pub(crate) fn set(&self, index: u16) -> bool {
        let bit = 1 << (index % 64);
        self.0[usize::from(index) / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// How many are set.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }

    pub(crate) fn has(&self, index: u16) -> bool {
        self.0[usize::from(index) / 64].load(Ordering::Relaxed) & (1 << (index % 64)) != 0
    }
}

/// What the agents of a cohort share.
pub(crate) struct CohortShared {
    pub(crate) job: Arc<JobContext>,
    pub(crate) plan: CohortPlan,
    pub(crate) finished: Arc<Finished>,
    agents: RwLock<Agents>,
}

#[derive(Default)]
struct Agents {
    /// By place in `indices`.
    refs: Vec<AgentRef>,
    /// The items that are worked, ascending.
    indices: Vec<u16>,
    /// Where in `indices` each shared call begins; empty if every agent works alone.
    units: Vec<u16>,
}

impl CohortShared {
    /// The agent of an item, if it is worked here.
    pub(crate) fn agent(&self, index: u16) -> Option<AgentRef> {
        let agents = self.agents.read();
        let place = agents.indices.binary_search(&index).ok()?;
        agents.refs.get(place).cloned()
    }

    /// The items that share a call with the one at `index`, its carrier.
    pub(crate) fn unit_of(&self, index: u16) -> Vec<u16> {
        let agents = self.agents.read();
        let Ok(place) = agents.indices.binary_search(&index) else { return vec![index] };
        let Ok(unit) = agents.units.binary_search(&u16::try_from(place).unwrap_or(u16::MAX)) else {
            return vec![index];
        };
        let end = agents.units.get(unit + 1).map_or(agents.indices.len(), |next| usize::from(*next));
        agents.indices[place..end].to_vec()
    }
}

pub(crate) enum Message {
    Begin(GroupRef<Cohort>),
    Ended {
        index: u16,
        exit: Exit<AgentEnd>,
    },
    /// Idle agents end now; those at work end their call first, unless `now`.
    Stop {
        now: bool,
    },
}

/// The cohort's own state.
pub(crate) struct Cohort {
    shared: Arc<CohortShared>,
    incarnation: u64,
    own: Option<Arc<Members>>,
    live: usize,
    panics: HashMap<u16, u32>,
    parked: HashMap<String, u64>,
}

/// What the agents of a cohort grow from, and where they tell of their end.
struct Members {
    cohort: GroupRef<Cohort>,
    shared: Arc<CohortShared>,
}

impl Seed for Arc<Members> {
    type Behaviour = Agent;

    fn grow(&mut self, id: u32) -> Agent {
        Agent { cohort: self.shared.clone(), index: index_of(id), alone: None }
    }

    fn ended(&self, id: u32, exit: Exit<AgentEnd>) -> BoxFuture<'static, ()> {
        let cohort = self.cohort.clone();
        Box::pin(async move {
            // A cohort that crashed is replaced, and with it all of its agents.
            let _ = cohort.send(Message::Ended { index: index_of(id), exit }).await;
        })
    }
}

/// An agent's place in its cohort: what its cell is numbered by.
fn index_of(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(u16::MAX)
}

impl Cohort {
    /// Incarnation number `incarnation` of the cohort of `plan`.
    pub(crate) fn new(
        job: Arc<JobContext>,
        plan: CohortPlan,
        finished: Arc<Finished>,
        incarnation: u64,
    ) -> Cohort {
        let shared = CohortShared { job, plan, finished, agents: RwLock::default() };
        Cohort {
            shared: Arc::new(shared),
            incarnation,
            own: None,
            live: 0,
            panics: HashMap::new(),
            parked: HashMap::new(),
        }
    }

    /// What its agents share.
    pub(crate) fn shared(&self) -> &Arc<CohortShared> {
        &self.shared
    }
}

impl Group for Cohort {
    type Message = Message;

    async fn handle(&mut self, message: Message) -> Flow {
        match message {
            Message::Begin(own) => {
                self.own = Some(Arc::new(Members { cohort: own, shared: self.shared.clone() }));
                if let Err(error) = self.begin().await {
                    self.shared.job.stop(StopReason::Store(error));
                }
            }
            Message::Ended { index, exit } => self.ended(index, exit).await,
            Message::Stop { now } => self.stop(now),
        }
        if self.live > 0 {
            return Flow::Continue;
        }
        let parked = std::mem::take(&mut self.parked);
        // A job actor that is down asks anew when it starts.
        let _ = self.shared.job.job.send(job::Message::CohortEnded {
            number: self.shared.plan.number,
            incarnation: self.incarnation,
            parked,
        });
        Flow::Stop
    }
}

impl Cohort {
    /// Starts an agent for every item that is not finished, once the machine has room for them.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let job = &shared.job;
        if job.may_start().await.is_none() {
            return Ok(());
        }
        let Some(chunk) = job.unless_stopped(job.chunk(shared.plan.number)).await else { return Ok(()) };
        let chunk = chunk?;
        let indices: Vec<u16> = (0..u16::try_from(chunk.items.len()).unwrap_or(u16::MAX))
            .filter(|index| self.is_pending(&chunk.items[usize::from(*index)], *index))
            .collect();
        if job.is_stopping() || indices.is_empty() {
            return Ok(());
        }
        let refs: Vec<AgentRef> = indices.iter().filter_map(|index| self.spawn(*index)).collect();
        self.live = refs.len();
        job.meters.agents_started(self.live as u64);
        let leaders = self.leaders(&chunk, &indices, &refs);
        let units = units(job, &chunk, &indices, &leaders);
        let carriers = if units.is_empty() {
            (0..indices.len()).filter(|place| leaders[*place]).map(|place| refs[place].clone()).collect()
        } else {
            let starts = units.iter().map(|place| usize::from(*place));
            starts.filter(|place| leaders[*place]).map(|place| refs[place].clone()).collect()
        };
        *shared.agents.write() = Agents { refs, indices, units };
        job.turnstile.enqueue(carriers);
        // Agents that were stopped between the check above and now.
        if job.is_stopping() {
            self.stop(false);
        }
        Ok(())
    }

    fn is_pending(&self, item: &Item, index: u16) -> bool {
        let order = &self.shared.job.order;
        !self.shared.finished.has(index)
            && !order.finished.contains(&item.key)
            && order.only.as_ref().is_none_or(|only| only.contains(&item.number))
    }

    fn spawn(&self, index: u16) -> Option<AgentRef> {
        Some(cell::sow(u32::from(index), self.own.clone()?))
    }

    /// Which agents work themselves; the others wait for the agent of an equal item.
    fn leaders(&self, chunk: &Chunk, indices: &[u16], refs: &[AgentRef]) -> Vec<bool> {
        let job = &self.shared.job;
        if !job.order.has_twins {
            return vec![true; indices.len()];
        }
        let follower = |place: usize| Follower {
            agent: refs[place].clone(),
            finished: self.shared.finished.clone(),
            index: indices[place],
        };
        let mut twins = job.twins.lock();
        let mut leads = |place: usize| {
            let item = &chunk.items[usize::from(indices[place])];
            match twins.get_mut(&item.key) {
                None => {
                    twins.insert(item.key, Twin::Worked { leader: item.number, followers: Vec::new() });
                    true
                }
                Some(Twin::Worked { leader, .. }) if *leader == item.number => true,
                Some(Twin::Worked { followers, .. }) => {
                    followers.push(follower(place));
                    false
                }
                Some(Twin::Ended { dead }) => {
                    let end = if *dead { AgentEnd::Dead } else { AgentEnd::Done };
                    follower(place).settle(job, &end);
                    false
                }
            }
        };
        (0..indices.len()).map(&mut leads).collect()
    }

    async fn ended(&mut self, index: u16, exit: Exit<AgentEnd>) {
        let job = self.shared.job.clone();
        match exit {
            // Whoever made its end durable has counted it.
            Exit::Ended(AgentEnd::Done | AgentEnd::Dead) | Exit::Cancelled => {}
            Exit::Ended(AgentEnd::Parked(reason)) => {
                if let Some(reason) = reason {
                    *self.parked.entry(reason.to_string()).or_default() += 1;
                    job.meters.agent_parked();
                }
            }
            Exit::Panicked(why) => {
                if self.replace(index, &why).await {
                    return;
                }
            }
        }
        self.live -= 1;
        job.meters.agent_gone();
    }

    /// Starts a panicked agent anew, or ends it as dead after too many panics. Gives whether a
    /// new one lives.
    async fn replace(&mut self, index: u16, why: &str) -> bool {
        let job = self.shared.job.clone();
        // What it says may quote a prompt, and stays in the item's record.
        let item = item_number(self.shared.plan.first + u32::from(index));
        tracing::error!(parent: &job.span, item, "an agent panicked");
        job.meters.agent_panicked();
        let panics = self.panics.entry(index).or_default();
        *panics += 1;
        let panics = *panics;
        if job.is_stopping() {
            return false;
        }
        // What it carried for others, they do themselves.
        for member in self.shared.unit_of(index).into_iter().filter(|member| *member != index) {
            self.send_on(member);
        }
        if self.shared.finished.has(index) {
            return false;
        }
        if panics <= PANICS {
            let Some(fresh) = self.spawn(index) else { return false };
            let mut agents = self.shared.agents.write();
            if let Ok(place) = agents.indices.binary_search(&index) {
                agents.refs[place] = fresh.clone();
            }
            drop(agents);
            let _ = fresh.send(Note::Alone(Box::default()));
            return true;
        }
        let chunk = match job.chunk(self.shared.plan.number).await {
            Ok(chunk) => chunk,
            Err(error) => {
                job.stop(StopReason::Store(error));
                return false;
            }
        };
        let item = &chunk.items[usize::from(index)];
        let why = format!("the agent panicked {} times: {why}", PANICS + 1);
        job.sight.died(item.number, &why);
        let verdict = Verdict::Dead(why);
        let record = agent::result_record(&job, Part::Item, item, verdict, Log::default(), 1);
        let recorded = job.results.record(record).await;
        agent::finish(&job, &self.shared, index, item, true, recorded);
        false
    }

    /// Lets a member whose carrier is gone go on by itself.
    fn send_on(&self, index: u16) {
        let is_finished = self.shared.finished.has(index);
        let note = if is_finished { Note::Settled(AgentEnd::Done) } else { Note::Alone(Box::default()) };
        if let Some(agent) = self.shared.agent(index) {
            // A member that has ended needs nothing.
            let _ = agent.send(note);
        }
    }

    fn stop(&self, now: bool) {
        let agents = self.shared.agents.read();
        agents.refs.iter().for_each(if now { AgentRef::cancel } else { AgentRef::retire });
    }
}

impl Drop for Cohort {
    /// A crashed cohort takes its agents along; the next incarnation starts new ones.
    fn drop(&mut self) {
        self.stop(true);
        let parked: u64 = self.parked.values().sum();
        self.shared.job.meters.agents_lost(self.live as u64, parked);
    }
}

/// Where shared calls begin: up to `pack` neighbours of one level, leaders only.
fn units(job: &JobContext, chunk: &Chunk, indices: &[u16], leaders: &[bool]) -> Vec<u16> {
    if job.order.pack <= 1 {
        return Vec::new();
    }
    let mut starts = Vec::new();
    let mut current: Option<(usize, crate::level::Level)> = None;
    for (place, index) in indices.iter().enumerate() {
        let level = agent::labelled(job, &chunk.items[usize::from(*index)]).level();
        let joins = leaders[place]
            && current.is_some_and(|(count, unit_level)| count < job.order.pack && unit_level == level);
        if joins {
            current = current.map(|(count, level)| (count + 1, level));
        } else {
            starts.push(u16::try_from(place).unwrap_or(u16::MAX));
            // A follower is a unit of its own that is never carried.
            current = leaders[place].then_some((1, level));
        }
    }
    starts
}
