//! The jobs that run, and what the tree shows of each.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;

use super::AWAKE_MAX;
use super::context::JobContext;
use super::job::{self, JobActor, JobMemory, Message};
use super::order::{COHORT_SIZE, JobEnd, StopReason};
use crate::house::nodes;
use crate::kernel::sight::AgentView;
use crate::kernel::supervisor::ChildSpec;
use crate::kernel::tree::{Branch, NodeView, Order, OrderRefused};

/// A job that runs: what outlives its actor's incarnations.
pub(crate) struct Running {
    pub(crate) context: Arc<JobContext>,
    pub(crate) memory: Arc<JobMemory>,
    pub(crate) end: watch::Sender<Option<JobEnd>>,
}

impl Running {
    pub(crate) fn name(&self) -> String {
        format!("job-{}", self.context.order.id)
    }

    /// Its actor.
    pub(crate) fn child(self: &Arc<Self>) -> ChildSpec {
        let running = self.clone();
        let actor = ChildSpec::actor(self.name(), &self.context.job, move || {
            let Running { context, memory, end } = &*running;
            let actor = JobActor::new(context.clone(), memory.clone(), end.clone());
            Box::pin(async move { Ok(actor) })
        });
        actor.with_policy(nodes::job()).with_branch(self.clone()).passing()
    }

    fn cohort_path(&self, number: u32) -> String {
        format!("{}/{}", self.context.job.path(), job::cohort_name(number))
    }

    fn cohort_view(&self, number: u32) -> Option<NodeView> {
        let plan = self.context.order.cohorts.get(number as usize)?;
        Some(self.memory.view(*plan, self.cohort_path(number)))
    }
}

impl Running {
    /// So many agents may be awake from now on.
    fn scale(&self, to: u32) -> Result<String, OrderRefused> {
        let path = self.context.job.path();
        if to == 0 {
            let why = format!("with 0 agents awake it would stand still: `empire pause {path}` does that");
            return Err(OrderRefused::not_now(path, why));
        }
        if to as usize > AWAKE_MAX {
            let why = format!("at most {AWAKE_MAX} of its agents may be awake: scale it to that at most");
            return Err(OrderRefused::not_now(path, why));
        }
        self.context.turnstile.widen(to as usize);
        Ok(format!("{to} agent{} may be awake", if to == 1 { "" } else { "s" }))
    }
}

/// To a tenth.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 1_000.0 / whole as f64).round() / 10.0 }
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("cohort-")?.parse().ok()
}

impl Branch for Running {
    fn counts(&self) -> serde_json::Value {
        let meters = self.context.meters.read();
        let (width, awake) = self.context.turnstile.width();
        json!({
            "agents": {
                "waiting": meters.agents.saturating_sub(awake as u64),
                "awake": awake,
                "at_most_awake": width,
                "done": meters.done,
                "dead": meters.dead,
                "parked": meters.parked,
            },
            "dead_percent": percent(meters.dead, meters.done + meters.dead),
            "latest_dead": self.context.sight.latest_dead(),
            "cohorts": self.memory.by_state(),
            "calls": meters.calls,
            "in_flight": meters.in_flight,
            "failed_calls": meters.failed_calls,
            "spent_micro_usd": meters.spent.0,
        })
    }

    fn cohort_count(&self) -> usize {
        self.context.order.cohorts.len()
    }

    fn agent(&self, item: u32) -> Option<AgentView> {
        let number = item / COHORT_SIZE;
        let plan = self.context.order.cohorts.get(number as usize)?;
        let index = u16::try_from(item - plan.first).ok().filter(|index| u32::from(*index) < plan.count)?;
        let call = self.context.sight.call_of(item);
        Some(AgentView {
            item,
            cohort: number,
            state: self.memory.agent(number, index, call.is_some()),
            call,
        })
    }

    fn calls_at(&self, id: &str) -> Option<u64> {
        let calls_it = self.context.order.route.iter().any(|model| model.provider.as_str() == id);
        calls_it.then(|| self.context.sight.calls_at(id))
    }

    fn is_paused(&self) -> bool {
        self.context.turnstile.is_paused()
    }

    fn cohorts(&self) -> Vec<NodeView> {
        let cohorts = self.context.order.cohorts.iter();
        cohorts.map(|plan| self.memory.view(*plan, self.cohort_path(plan.number))).collect()
    }

    fn cohort(&self, name: &str) -> Option<NodeView> {
        self.cohort_view(number(name)?)
    }

    fn order(&self, name: &str, order: Order) -> Result<String, OrderRefused> {
        let Some((number, view)) = number(name).and_then(|number| Some((number, self.cohort_view(number)?)))
        else {
            return Err(OrderRefused::NoSuchNode { path: format!("{}/{name}", self.context.job.path()) });
        };
        let is_crash = match order {
            Order::Restart { drain_ms: None } | Order::Kill => false,
            Order::Crash => true,
            _ => {
                let why = "a cohort can be restarted or killed; pause, drain and scale its job";
                return Err(OrderRefused::not_now(&view.path, why));
            }
        };
        let sent = self.context.job.send(Message::EndCohort { number, is_crash });
        sent.map_err(|_| OrderRefused::Down { path: view.path })?;
        Ok("its unfinished agents start anew".to_owned())
    }

    fn own_order(&self, order: Order) -> Option<Result<String, OrderRefused>> {
        let turnstile = &self.context.turnstile;
        Some(Ok(match order {
            Order::Pause => {
                turnstile.pause(true);
                let (_, awake) = turnstile.width();
                format!("no further agent wakes; the {awake} that are awake end their call")
            }
            Order::Resume => {
                turnstile.pause(false);
                "its agents wake again".to_owned()
            }
            Order::Scale { to } => return Some(self.scale(to)),
            Order::Drain { .. } => {
                self.context.stop(StopReason::Paused);
                "calls under way end, then the job is paused; `empire swarm resume` goes on".to_owned()
            }
            _ => return None,
        }))
    }
}

/// All jobs that run.
#[derive(Default)]
pub(crate) struct Jobs(RwLock<Vec<Arc<Running>>>);

impl Jobs {
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.0.read().clone()
    }

    pub(crate) fn add(&self, running: Arc<Running>) {
        self.0.write().push(running);
    }

    pub(crate) fn remove(&self, job: &str) {
        self.0.write().retain(|running| &*running.context.order.id != job);
    }
}
