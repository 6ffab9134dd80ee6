//! Our supervisor, on ractor's events: ordered start, restarts by [`policy`](super::policy),
//! back-off apart from intensity, stop in reverse order with a deadline for each child, and the
//! orders of people. It alone changes what its part of the [`tree`](super::tree) says.

mod orders;
mod root;
mod spec;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::spec::Start;
use super::control::Failure;
use super::journal::{Decision, Event};
use super::policy::{Action, ChildExit, History, Policy, Restart, Strategy};
use super::tree::{LastExit, Node, NodeState, Order, OrderRefused, Supervision};

pub use self::root::Root;
pub use self::spec::ChildSpec;
pub(crate) use self::spec::SetPaused;

/// What had to be done to stop a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// Children in the order in which they stopped.
    pub stopped: Vec<String>,
    /// Those of them that did not stop within their deadline and were killed.
    pub killed: Vec<String>,
}

type OrderReply = oneshot::Sender<Result<String, OrderRefused>>;

pub(crate) enum Command {
    /// Starts what is due of the child with this name and those that share its fate.
    Start {
        first: String,
        alone: bool,
    },
    /// Starts one more child after all others.
    Add(Box<ChildSpec>, oneshot::Sender<Result<(), Failure>>),
    /// Stops a passing child, and takes it out of the tree.
    Remove(String),
    /// A person's order.
    Order {
        child: String,
        order: Order,
        by: String,
        reply: OrderReply,
    },
    /// A child's time to drain is over.
    DrainOver {
        child: String,
        incarnation: u32,
    },
    /// A child is busy with one message for so long.
    Stuck {
        child: String,
        incarnation: u32,
        busy: Duration,
    },
    /// Starts a child that failed too often, if nobody has meanwhile.
    Rested {
        child: String,
        incarnation: u32,
    },
    Stop(oneshot::Sender<StopReport>),
}

struct Supervisor;

struct Arguments {
    node: Arc<Node>,
    children: Vec<ChildSpec>,
    supervision: Supervision,
}

struct Child {
    spec: ChildSpec,
    node: Arc<Node>,
    cell: Option<ActorCell>,
    /// It is to be started: at first, or when its back-off is over.
    due: bool,
    /// Why it is about to end.
    ending: Option<Ending>,
}

enum Ending {
    /// It does what waits; who asked for that hears of it.
    Drain { restarts: bool, cut_off: Option<usize>, reply: OrderReply },
    /// It was killed, which is this exit.
    Killed(ChildExit),
}

impl Child {
    fn is_held(&self) -> bool {
        matches!(self.node.state(), NodeState::Quarantined | NodeState::Exhausted | NodeState::Stopped)
    }

    fn incarnation(&self) -> u32 {
        self.node.live.lock().incarnation
    }
}

struct State {
    node: Arc<Node>,
    supervision: Supervision,
    children: Vec<Child>,
    history: History,
    started: Instant,
    stopping: bool,
}

impl Actor for Supervisor {
    type Msg = Command;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, own: ActorRef<Command>, given: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { node, children, supervision } = given;
        node.children.write().clear();
        {
            let mut live = node.live.lock();
            live.own = Some(own.clone());
            live.restarts.clear();
        }
        let mut state = State {
            node,
            supervision,
            children: Vec::new(),
            history: History::default(),
            started: Instant::now(),
            stopping: false,
        };
        for spec in children {
            state.add(&own, spec);
        }
        let count = state.children.len();
        if let Err((child, failure)) = state.start(&own, 0..count).await {
            state.stop(0..count).await;
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
        let pulse = state.node.pulse.clone();
        pulse.begin(None);
        let handled = state.handle(&own, command).await;
        pulse.end();
        handled
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
        let pulse = state.node.pulse.clone();
        pulse.begin(None);
        // Not found: we stopped or replaced it ourselves.
        let handled = match state.index_of(&cell) {
            Some(index) if !state.stopping => state.child_ended(&own, index, exit).await,
            _ => Ok(()),
        };
        pulse.end();
        handled
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

    fn policy(&self) -> Policy {
        self.supervision.effective(&self.node).policy
    }

    fn policy_of(&self, index: usize) -> Policy {
        self.supervision.effective(&self.children[index].node).policy
    }

    /// The child's index, if its incarnation is still this one.
    fn current(&self, id: &str, incarnation: u32) -> Option<usize> {
        self.index_of_id(id).filter(|index| self.children[*index].incarnation() == incarnation)
    }

    fn add(&mut self, own: &ActorRef<Command>, spec: ChildSpec) {
        let node = Arc::new(spec.node(&self.node.path));
        node.live.lock().supervisor = Some(own.clone());
        self.node.children.write().push(node.clone());
        self.children.push(Child { spec, node, cell: None, due: true, ending: None });
    }

    fn remove(&mut self, index: usize) {
        let child = self.children.remove(index);
        self.history.forget(&child.spec.id);
        self.node.children.write().retain(|node| !Arc::ptr_eq(node, &child.node));
    }

    async fn handle(&mut self, own: &ActorRef<Command>, command: Command) -> Result<(), ActorProcessingErr> {
        match command {
            Command::Stop(reply) => {
                let count = self.children.len();
                self.stopping = true;
                let _ = reply.send(self.stop(0..count).await);
                own.stop(None);
            }
            Command::Order { child, order, by, reply } => {
                return self.order(own, &child, order, &by, reply).await;
            }
            _ if self.stopping => {}
            Command::Start { first, alone } => {
                let Some(first) = self.index_of_id(&first) else { return Ok(()) };
                // A child before these waits for its own back-off and takes these along in order.
                if !alone && self.children[..first].iter().any(|child| child.due) {
                    return Ok(());
                }
                let end = if alone { first + 1 } else { self.children.len() };
                return self.start_or_decide(own, first..end).await;
            }
            Command::Add(spec, reply) => {
                if self.index_of_id(&spec.id).is_some() {
                    let _ = reply.send(Err(Failure(format!("there is a {} already", spec.id))));
                    return Ok(());
                }
                self.add(own, *spec);
                let last = self.children.len() - 1;
                let started = self.start(own, last..last + 1).await;
                if started.is_err() {
                    self.remove(last);
                }
                let _ =
                    reply
                        .send(started.map_err(|(child, failure)| {
                            Failure(format!("{child} did not start: {failure}"))
                        }));
            }
            Command::Remove(child) => {
                if let Some(index) =
                    self.index_of_id(&child).filter(|index| self.children[*index].spec.is_passing)
                {
                    self.stop(index..index + 1).await;
                    self.remove(index);
                }
            }
            Command::DrainOver { child, incarnation } => {
                if let Some(index) = self.current(&child, incarnation) {
                    let child = &mut self.children[index];
                    if let (Some(Ending::Drain { cut_off, .. }), Some(cell)) =
                        (&mut child.ending, &child.cell)
                    {
                        *cut_off = Some(
                            child.node.pulse.depth() + usize::from(child.node.pulse.busy_for().is_some()),
                        );
                        cell.kill();
                    }
                }
            }
            Command::Stuck { child, incarnation, busy } => {
                if let Some(index) = self.current(&child, incarnation) {
                    let why = format!("busy with one message for {} s", busy.as_secs());
                    self.kill(index, ChildExit::Stuck(why));
                }
            }
            Command::Rested { child, incarnation } => {
                if let Some(index) = self.current(&child, incarnation)
                    && self.children[index].node.state() == NodeState::Exhausted
                {
                    self.children[index].due = true;
                    return self.start_or_decide(own, index..index + 1).await;
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self, index: usize, exit: ChildExit) {
        let child = &mut self.children[index];
        if let Some(cell) = &child.cell {
            // Who waits for a drain hears of its end all the same.
            if !matches!(child.ending, Some(Ending::Drain { .. })) {
                child.ending = Some(Ending::Killed(exit));
            }
            cell.kill();
        }
    }

    async fn start_or_decide(
        &mut self,
        own: &ActorRef<Command>,
        range: Range<usize>,
    ) -> Result<(), ActorProcessingErr> {
        let first = range.start;
        if let Err((child, failure)) = self.start(own, range).await {
            let index = self.index_of_id(&child).unwrap_or(first);
            return Box::pin(self.child_ended(own, index, ChildExit::Failed(failure.0))).await;
        }
        Ok(())
    }

    /// Starts the children that are due, in order.
    async fn start(&mut self, own: &ActorRef<Command>, range: Range<usize>) -> Result<(), (String, Failure)> {
        for child in &mut self.children[range] {
            if !child.due {
                continue;
            }
            child.node.is(NodeState::Starting);
            child.node.pulse.restart();
            let started = match &child.spec.start {
                Start::Actor(start) => start(own.get_cell()).await,
                Start::Supervisor(children) => {
                    let (node, supervision) = (child.node.clone(), self.supervision.clone());
                    let arguments = Arguments { node, children: children(), supervision };
                    let spawned = Actor::spawn_linked(None, Supervisor, arguments, own.get_cell()).await;
                    spawned.map(|(actor, _)| actor.get_cell()).map_err(|error| Failure(error.to_string()))
                }
            };
            child.cell = Some(started.map_err(|failure| (child.spec.id.clone(), failure))?);
            child.due = false;
            child.ending = None;
            let incarnation = {
                let mut live = child.node.live.lock();
                live.incarnation += 1;
                live.incarnation
            };
            child.node.is(NodeState::Running);
            if incarnation > 1 {
                self.supervision.enter(&child.node.path, Event::Started { incarnation });
            }
        }
        Ok(())
    }

    /// Stops children in reverse order of their start.
    async fn stop(&mut self, range: Range<usize>) -> StopReport {
        let mut report = StopReport::default();
        for index in range.rev() {
            let policy = self.policy_of(index);
            let child = &mut self.children[index];
            let Some(cell) = child.cell.take() else { continue };
            let held = child.node.state();
            child.node.is(NodeState::Stopping);
            stop_child(&child.spec, policy.stop_within, cell, &mut report).await;
            child.node.is(if held == NodeState::Quarantined { held } else { NodeState::Stopped });
            if let Some(Ending::Drain { reply, .. }) = child.ending.take() {
                let path = &child.node.path;
                let _ = reply.send(Err(OrderRefused::not_now(path, "it was stopped while it drained")));
            }
        }
        report
    }

    /// Stops the child at `index` and those that share its fate, and makes them due.
    async fn take_down(&mut self, index: usize, strategy: Strategy) -> Range<usize> {
        let range = strategy.shares(index, self.children.len());
        let held: Vec<bool> = self.children.iter().map(Child::is_held).collect();
        self.stop(range.clone()).await;
        for at in range.clone() {
            let restart = self.policy_of(at).restart;
            let child = &mut self.children[at];
            child.due = at == index || (!held[at] && restart != Restart::Temporary);
            if child.due {
                child.node.is(NodeState::BackingOff);
            }
        }
        range
    }

    async fn child_ended(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        seen: ChildExit,
    ) -> Result<(), ActorProcessingErr> {
        let ending = self.children[index].ending.take();
        self.children[index].cell = None;
        let (exit, drained) = match ending {
            Some(Ending::Killed(exit)) => (exit, None),
            Some(Ending::Drain { restarts, cut_off, reply }) => (seen, Some((restarts, cut_off, reply))),
            None => (seen, None),
        };
        let last = LastExit { exit: exit.clone(), at: self.supervision.clock.now() };
        self.children[index].node.live.lock().last_exit = Some(last);
        if let Some((restarts, cut_off, reply)) = drained {
            return self.drained(own, index, restarts, cut_off, reply).await;
        }
        let (above, own_policy) =
            (self.supervision.effective(&self.node), self.supervision.effective(&self.children[index].node));
        let (now, random) = (self.started.elapsed(), self.supervision.random.unit());
        let id = self.children[index].spec.id.clone();
        let in_window = self.history.in_window(&above.policy, now);
        let action = self.history.decide(&above.policy, &own_policy.policy, &id, &exit, now, random);
        self.show_window(&above.policy, now);
        let decision = Decision {
            exit,
            action: action.clone(),
            in_window: u32::try_from(in_window).unwrap_or(u32::MAX),
            limit: above.policy.intensity,
            window_ms: u64::try_from(above.policy.window.as_millis()).unwrap_or(u64::MAX),
            policy: above.version.max(own_policy.version),
            on_exhausted: own_policy.policy.on_exhausted,
        };
        let path = self.children[index].node.path.clone();
        tell(&path, &decision);
        self.supervision.enter(&path, Event::Exit(decision));
        match action {
            Action::LetGo if self.children[index].spec.is_passing => self.remove(index),
            Action::LetGo => self.children[index].node.is(NodeState::Stopped),
            Action::Restart { delay } => {
                let strategy = above.policy.strategy;
                let range = self.take_down(index, strategy).await;
                let first = self.children[range.start].spec.id.clone();
                let alone = strategy == Strategy::OneForOne;
                self.later(own, delay, Command::Start { first, alone });
            }
            Action::Quarantine => self.children[index].node.is(NodeState::Quarantined),
            Action::Pause { lasts } => {
                self.children[index].node.is(NodeState::Exhausted);
                let incarnation = self.children[index].incarnation();
                self.later(own, lasts, Command::Rested { child: id, incarnation });
            }
            Action::Escalate => {
                let count = self.children.len();
                self.stopping = true;
                self.stop(0..count).await;
                return Err(format!("{id} failed too often; giving up").into());
            }
        }
        Ok(())
    }

    /// Says in the tree how many restarts count.
    fn show_window(&self, policy: &Policy, now: Duration) {
        let mut live = self.node.live.lock();
        live.restarts = self.history.counted(policy, now).map(|at| self.started + at).collect();
    }

    #[expect(clippy::unused_self, reason = "reads as what a supervisor does")]
    fn later(&self, own: &ActorRef<Command>, delay: Duration, command: Command) {
        let own = own.clone();
        super::spawn(async move {
            tokio::time::sleep(delay).await;
            // One that is gone has nothing to do any more.
            let _ = own.send_message(command);
        });
    }
}

/// Tells of a decision once.
fn tell(path: &str, decision: &Decision) {
    match decision.action {
        Action::LetGo if decision.exit == ChildExit::Normal => {
            tracing::debug!(%path, %decision, "an actor ended");
        }
        Action::LetGo | Action::Restart { .. } => tracing::warn!(%path, %decision, "an actor ended"),
        Action::Escalate | Action::Quarantine | Action::Pause { .. } => {
            tracing::error!(%path, %decision, "an actor failed too often");
        }
    }
}

async fn stop_child(spec: &ChildSpec, within: Duration, cell: ActorCell, report: &mut StopReport) {
    let is_supervisor = matches!(spec.start, Start::Supervisor(_));
    let stopped = if is_supervisor {
        let (reply, answer) = oneshot::channel();
        let sent = cell.send_message(Command::Stop(reply)).is_ok();
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(below)) if sent => {
                let named = |id: String| format!("{}/{id}", spec.id);
                report.stopped.extend(below.stopped.into_iter().map(named));
                report.killed.extend(below.killed.into_iter().map(named));
                cell.wait(Some(within)).await.is_ok()
            }
            _ => false,
        }
    } else {
        cell.stop_and_wait(None, Some(within)).await.is_ok()
    };
    if !stopped {
        // A second for the task to unwind; it cannot refuse.
        let _ = cell.kill_and_wait(Some(Duration::from_secs(1))).await;
        report.killed.push(spec.id.clone());
    }
    report.stopped.push(spec.id.clone());
}
