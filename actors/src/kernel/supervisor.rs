//! Our supervisor, on ractor's events: ordered start, restarts by [`policy`](super::policy),
//! back-off apart from intensity, stop in reverse order with a deadline for each child.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::control::{Address, Control, Down, Failure, StartChild, starter};
use super::policy::{Action, ChildExit, History, Policy, Restart, Strategy};
use crate::ports::Random;

/// Decisions that a supervisor remembers.
const REMEMBERED: usize = 100;

/// One child: how it is started, restarted and stopped.
pub struct ChildSpec {
    id: String,
    restart: Restart,
    stop_within: Duration,
    start: StartChild,
    is_supervisor: bool,
}

impl ChildSpec {
    /// A permanent control actor; `make` builds the state of each incarnation, and `address`
    /// leads to whichever runs. On stopping it has five seconds for what it is doing.
    pub fn actor<A, F>(id: impl Into<String>, address: &Address<A::Message>, make: F) -> ChildSpec
    where
        A: Control,
        F: Fn() -> BoxFuture<'static, Result<A, Failure>> + Send + Sync + 'static,
    {
        ChildSpec {
            id: id.into(),
            restart: Restart::Permanent,
            stop_within: Duration::from_secs(5),
            start: starter(address, make),
            is_supervisor: false,
        }
    }

    /// A permanent supervisor below this one. `children` is asked anew at each start.
    pub fn supervisor<F>(
        id: impl Into<String>,
        policy: Policy,
        random: Arc<dyn Random>,
        children: F,
    ) -> ChildSpec
    where
        F: Fn() -> Vec<ChildSpec> + Send + Sync + 'static,
    {
        let start: StartChild = Box::new(move |parent| {
            let arguments = Arguments { policy, children: children(), random: random.clone() };
            Box::pin(async move {
                let spawned = Actor::spawn_linked(None, Supervisor, arguments, parent).await;
                spawned.map(|(actor, _)| actor.get_cell()).map_err(|error| Failure(error.to_string()))
            })
        });
        ChildSpec {
            id: id.into(),
            restart: Restart::Permanent,
            stop_within: Duration::from_secs(30),
            start,
            is_supervisor: true,
        }
    }

    /// The same with another restart kind.
    #[must_use]
    pub fn restart(self, restart: Restart) -> ChildSpec {
        ChildSpec { restart, ..self }
    }

    /// The same with another deadline for stopping.
    #[must_use]
    pub fn stop_within(self, stop_within: Duration) -> ChildSpec {
        ChildSpec { stop_within, ..self }
    }
}

/// A decision as it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Since the supervisor started.
    pub after: Duration,
    /// The child that ended.
    pub child: String,
    /// How.
    pub exit: ChildExit,
    /// What was done.
    pub action: Action,
}

/// One child as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildView {
    /// Its name.
    pub id: String,
    /// Whether an incarnation runs.
    pub running: bool,
    /// How often it was started.
    pub incarnation: u32,
    /// Its children, if it is a supervisor that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<Box<TreeView>>,
}

/// A supervisor as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeView {
    /// Children in start order.
    pub children: Vec<ChildView>,
    /// Restarts that count against the intensity now.
    pub restarts_in_window: usize,
    /// The latest decisions, oldest first.
    pub decisions: Vec<Decision>,
}

/// What had to be done to stop a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// Children in the order in which they stopped.
    pub stopped: Vec<String>,
    /// Those of them that did not stop within their deadline and were killed.
    pub killed: Vec<String>,
}

pub(crate) enum Command {
    Start { from: usize, to: usize },
    Tree(oneshot::Sender<TreeView>),
    Stop(oneshot::Sender<StopReport>),
}

struct Supervisor;

struct Arguments {
    policy: Policy,
    children: Vec<ChildSpec>,
    random: Arc<dyn Random>,
}

struct Child {
    spec: ChildSpec,
    cell: Option<ActorCell>,
    incarnation: u32,
    /// It is to be started: at first, or when its back-off is over.
    due: bool,
}

struct State {
    policy: Policy,
    children: Vec<Child>,
    random: Arc<dyn Random>,
    history: History,
    decisions: VecDeque<Decision>,
    started: Instant,
    stopping: bool,
}

impl Actor for Supervisor {
    type Msg = Command;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, own: ActorRef<Command>, given: Arguments) -> Result<State, ActorProcessingErr> {
        let count = given.children.len();
        let children = given
            .children
            .into_iter()
            .map(|spec| Child { spec, cell: None, incarnation: 0, due: true })
            .collect();
        let mut state = State {
            policy: given.policy,
            children,
            random: given.random,
            history: History::new(count),
            decisions: VecDeque::new(),
            started: Instant::now(),
            stopping: false,
        };
        if let Err((child, failure)) = state.start(&own, 0, count).await {
            state.stop(0, count).await;
            return Err(format!("{child} did not start: {failure}").into());
        }
        Ok(state)
    }

    async fn handle(
        &self,
        own: ActorRef<Command>,
        command: Command,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match command {
            // A child before these waits for its own back-off and takes these along in order.
            Command::Start { from, .. } if state.stopping || state.waits_before(from) => {}
            Command::Start { from, to } => {
                if let Err((child, failure)) = state.start(&own, from, to).await {
                    let index = state.index_of_id(&child).unwrap_or(from);
                    return state.child_ended(&own, index, ChildExit::Failed(failure.0)).await;
                }
            }
            Command::Tree(reply) => {
                let _ = reply.send(state.tree().await);
            }
            Command::Stop(reply) => {
                let count = state.children.len();
                state.stopping = true;
                let _ = reply.send(state.stop(0, count).await);
                own.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        own: ActorRef<Command>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, exit) = match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => (cell, ChildExit::Normal),
            SupervisionEvent::ActorFailed(cell, error) => (cell, ChildExit::Failed(error.to_string())),
            _ => return Ok(()),
        };
        // Not found: we stopped or replaced it ourselves.
        match state.index_of(&cell) {
            Some(index) if !state.stopping => state.child_ended(&own, index, exit).await,
            _ => Ok(()),
        }
    }
}

impl State {
    fn index_of(&self, cell: &ActorCell) -> Option<usize> {
        let is_it = |child: &Child| child.cell.as_ref().is_some_and(|own| own.get_id() == cell.get_id());
        self.children.iter().position(is_it)
    }

    fn index_of_id(&self, id: &str) -> Option<usize> {
        self.children.iter().position(|child| child.spec.id == id)
    }

    fn waits_before(&self, index: usize) -> bool {
        self.policy.strategy != Strategy::OneForOne && self.children[..index].iter().any(|child| child.due)
    }

    /// Starts the children that are due, in order.
    async fn start(
        &mut self,
        own: &ActorRef<Command>,
        from: usize,
        to: usize,
    ) -> Result<(), (String, Failure)> {
        for child in &mut self.children[from..to] {
            if !child.due {
                continue;
            }
            let started = (child.spec.start)(own.get_cell()).await;
            child.cell = Some(started.map_err(|failure| (child.spec.id.clone(), failure))?);
            child.due = false;
            child.incarnation += 1;
        }
        Ok(())
    }

    /// Stops children in reverse order of their start.
    async fn stop(&mut self, from: usize, to: usize) -> StopReport {
        let mut report = StopReport::default();
        for child in self.children[from..to].iter_mut().rev() {
            let Some(cell) = child.cell.take() else { continue };
            stop_child(&child.spec, cell, &mut report).await;
        }
        report
    }

    async fn child_ended(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        exit: ChildExit,
    ) -> Result<(), ActorProcessingErr> {
        self.children[index].cell = None;
        let (restart, now, random) =
            (self.children[index].spec.restart, self.started.elapsed(), self.random.unit());
        let action = self.history.decide(&self.policy, restart, index, &exit, now, random);
        let child = self.children[index].spec.id.clone();
        tracing::warn!(%child, ?exit, ?action, "a child ended");
        if self.decisions.len() == REMEMBERED {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Decision { after: now, child: child.clone(), exit, action: action.clone() });
        match action {
            Action::LetGo => Ok(()),
            Action::Restart { from, to, delay } => {
                self.stop(from, to).await;
                for (at, sibling) in self.children[from..to].iter_mut().enumerate() {
                    sibling.due = from + at == index || sibling.spec.restart != Restart::Temporary;
                }
                let own = own.clone();
                super::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = own.send_message(Command::Start { from, to });
                });
                Ok(())
            }
            Action::Escalate => {
                let count = self.children.len();
                self.stopping = true;
                self.stop(0, count).await;
                Err(format!("{child} failed too often; giving up").into())
            }
        }
    }

    async fn tree(&self) -> TreeView {
        let mut children = Vec::with_capacity(self.children.len());
        for child in &self.children {
            let supervisor = match &child.cell {
                Some(cell) if child.spec.is_supervisor => ask(cell, Command::Tree).await.map(Box::new),
                _ => None,
            };
            children.push(ChildView {
                id: child.spec.id.clone(),
                running: child.cell.is_some(),
                incarnation: child.incarnation,
                supervisor,
            });
        }
        TreeView {
            children,
            restarts_in_window: self.history.in_window(&self.policy, self.started.elapsed()),
            decisions: self.decisions.iter().cloned().collect(),
        }
    }
}

/// Asks a supervisor through its cell, giving up after a second.
async fn ask<R>(cell: &ActorCell, command: impl FnOnce(oneshot::Sender<R>) -> Command) -> Option<R> {
    let (reply, answer) = oneshot::channel();
    cell.send_message(command(reply)).ok()?;
    tokio::time::timeout(Duration::from_secs(1), answer).await.ok()?.ok()
}

async fn stop_child(spec: &ChildSpec, cell: ActorCell, report: &mut StopReport) {
    let stopped = if spec.is_supervisor {
        let (reply, answer) = oneshot::channel();
        let sent = cell.send_message(Command::Stop(reply)).is_ok();
        match tokio::time::timeout(spec.stop_within, answer).await {
            Ok(Ok(below)) if sent => {
                let named = |id: String| format!("{}/{id}", spec.id);
                report.stopped.extend(below.stopped.into_iter().map(named));
                report.killed.extend(below.killed.into_iter().map(named));
                cell.wait(Some(spec.stop_within)).await.is_ok()
            }
            _ => false,
        }
    } else {
        cell.stop_and_wait(None, Some(spec.stop_within)).await.is_ok()
    };
    if !stopped {
        // A second for the task to unwind; it cannot refuse.
        let _ = cell.kill_and_wait(Some(Duration::from_secs(1))).await;
        report.killed.push(spec.id.clone());
    }
    report.stopped.push(spec.id.clone());
}

/// The root of a tree.
#[derive(Debug)]
pub struct Root {
    actor: ActorRef<Command>,
    task: tokio::task::JoinHandle<()>,
}

impl Root {
    /// Starts a tree.
    ///
    /// # Errors
    /// A child did not start; those before it have been stopped again.
    pub async fn start(
        policy: Policy,
        children: Vec<ChildSpec>,
        random: Arc<dyn Random>,
    ) -> Result<Root, Failure> {
        let arguments = Arguments { policy, children, random };
        let spawned = Actor::spawn(None, Supervisor, arguments).await;
        let (actor, task) = spawned.map_err(|error| Failure(error.to_string()))?;
        Ok(Root { actor, task })
    }

    /// The tree as it is now.
    ///
    /// # Errors
    /// The root has given up.
    pub async fn tree(&self) -> Result<TreeView, Down> {
        ask(&self.actor.get_cell(), Command::Tree).await.ok_or(Down)
    }

    /// Resolves when the root has given up.
    pub async fn failed(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    /// Stops the tree in reverse order of its start.
    pub async fn stop(mut self) -> StopReport {
        let (reply, answer) = oneshot::channel();
        if self.actor.send_message(Command::Stop(reply)).is_err() {
            return StopReport::default();
        }
        let report = answer.await.unwrap_or_default();
        self.failed().await;
        report
    }
}

impl Drop for Root {
    /// A tree that nobody holds any more ends, without waiting for its children's deadlines.
    fn drop(&mut self) {
        self.actor.kill();
    }
}
