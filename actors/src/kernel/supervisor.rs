//! Our supervisor, on ractor's events: ordered start, restarts by [`policy`](super::policy),
//! back-off apart from intensity, stop in reverse order with a deadline for each child, and the
//! orders of people. It alone changes what its part of the [`tree`](super::tree) says.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::control::{Address, Control, Down, Failure, StartChild, starter};
use super::journal::{Decision, Event};
use super::policy::{Action, ChildExit, History, OnExhausted, Policy, Restart, Strategy};
use super::pulse::Pulse;
use super::tree::{
    Branch, LastExit, Node, NodeKind, NodeState, NodeView, Observe, Order, OrderRefused, ROOT, Supervision,
    Tree,
};

/// How often the tree is looked over for actors that are stuck.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One child: how it is started, restarted and stopped.
pub struct ChildSpec {
    id: String,
    policy: Policy,
    start: Start,
    pulse: Arc<Pulse>,
    observe: Option<Observe>,
    set_paused: Option<SetPaused>,
    branch: Option<Arc<dyn Branch>>,
    is_passing: bool,
}

/// Holds an actor's messages back, or lets them through again.
pub(super) type SetPaused = Arc<dyn Fn(bool) + Send + Sync>;

enum Start {
    Actor(StartChild),
    Supervisor(Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>),
}

impl ChildSpec {
    /// A permanent control actor; `make` builds the state of each incarnation, and `address`
    /// leads to whichever runs. On stopping it has five seconds for what it is doing.
    pub fn actor<A, F>(id: impl Into<String>, address: &Address<A::Message>, make: F) -> ChildSpec
    where
        A: Control,
        F: Fn() -> futures_util::future::BoxFuture<'static, Result<A, Failure>> + Send + Sync + 'static,
    {
        let (observed, paused) = (address.clone(), address.clone());
        ChildSpec {
            id: id.into(),
            policy: Policy::default(),
            start: Start::Actor(starter(address, make)),
            pulse: address.pulse(),
            observe: Some(Arc::new(move || {
                let address = observed.clone();
                Box::pin(async move { address.observe().await })
            })),
            set_paused: Some(Arc::new(move |is_paused| paused.set_paused(is_paused))),
            branch: None,
            is_passing: false,
        }
    }

    /// A permanent supervisor below this one. `children` is asked anew at each start.
    pub fn supervisor<F>(id: impl Into<String>, policy: Policy, children: F) -> ChildSpec
    where
        F: Fn() -> Vec<ChildSpec> + Send + Sync + 'static,
    {
        ChildSpec {
            id: id.into(),
            policy: Policy { stop_within: policy.stop_within.max(Duration::from_secs(30)), ..policy },
            start: Start::Supervisor(Arc::new(children)),
            pulse: Arc::default(),
            observe: None,
            set_paused: None,
            branch: None,
            is_passing: false,
        }
    }

    /// The same with another restart kind.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> ChildSpec {
        self.policy.restart = restart;
        self
    }

    /// The same with another deadline for stopping.
    #[must_use]
    pub fn stop_within(mut self, stop_within: Duration) -> ChildSpec {
        self.policy.stop_within = stop_within;
        self
    }

    /// The same, and this happens when it failed too often.
    #[must_use]
    pub fn on_exhausted(mut self, on_exhausted: OnExhausted) -> ChildSpec {
        self.policy.on_exhausted = on_exhausted;
        self
    }

    /// The same, and it goes from the tree once it is let go or removed.
    #[must_use]
    pub fn passing(self) -> ChildSpec {
        ChildSpec { is_passing: true, ..self }
    }

    /// The same with something below that it supervises itself, or orders that it carries out
    /// itself.
    #[must_use]
    pub fn with_branch(self, branch: Arc<dyn Branch>) -> ChildSpec {
        ChildSpec { branch: Some(branch), ..self }
    }

    fn node(&self, above: &str) -> Node {
        let kind = match self.start {
            Start::Actor(_) => NodeKind::Actor,
            Start::Supervisor(_) => NodeKind::Supervisor,
        };
        let mut node = Node::new(format!("{above}/{}", self.id), kind, self.policy);
        node.pulse = self.pulse.clone();
        node.observe.clone_from(&self.observe);
        node.set_paused.clone_from(&self.set_paused);
        node.branch.clone_from(&self.branch);
        node
    }
}

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

    async fn drained(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        restarts: bool,
        cut_off: Option<usize>,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let how = match cut_off {
            None => "drained".to_owned(),
            Some(lost) => format!("its time was over: killed with {lost} of its messages unhandled"),
        };
        if !restarts {
            self.children[index].node.is(NodeState::Stopped);
            let _ = reply.send(Ok(format!("{how}; it stays down until `empire release`")));
            return Ok(());
        }
        let started = self.restart(own, index).await;
        let incarnation = self.children.get(index).map_or(0, Child::incarnation);
        let _ = reply.send(Ok(format!("{how}; incarnation {incarnation} runs")));
        started
    }

    /// Restarts the child at `index` and those that share its fate, which is no failure.
    async fn restart(&mut self, own: &ActorRef<Command>, index: usize) -> Result<(), ActorProcessingErr> {
        let strategy = self.policy().strategy;
        let range = self.take_down(index, strategy).await;
        self.start_or_decide(own, range).await
    }

    async fn order(
        &mut self,
        own: &ActorRef<Command>,
        id: &str,
        order: Order,
        by: &str,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let Some(index) = self.index_of_id(id).filter(|_| !self.stopping) else {
            let _ = reply.send(Err(OrderRefused::Down { path: format!("{}/{id}", self.node.path) }));
            return Ok(());
        };
        let (path, state) = (self.children[index].node.path.clone(), self.children[index].node.state());
        let refuse = |why: &str| Err(OrderRefused::not_now(&path, why));
        let is_down = self.children[index].cell.is_none();
        let outcome = match order {
            Order::Restart { drain_ms: None } => {
                // What it works on is not waited for.
                if let Some(cell) = self.children[index].cell.take() {
                    let _ = cell.kill_and_wait(Some(Duration::from_secs(1))).await;
                }
                self.restart(own, index).await?;
                let incarnation = self.children.get(index).map_or(0, Child::incarnation);
                Ok(format!("restarted; incarnation {incarnation} runs"))
            }
            Order::Restart { .. } | Order::Drain { .. } if is_down => refuse(&format!(
                "it is {} and has nothing to drain: `empire release` starts it",
                state.word()
            )),
            Order::Restart { drain_ms: Some(ms) } => return self.drain(own, index, ms, true, reply),
            Order::Drain { within_ms } => return self.drain(own, index, within_ms, false, reply),
            Order::Quarantine => {
                self.children[index].due = false;
                self.stop(index..index + 1).await;
                self.children[index].node.is(NodeState::Quarantined);
                Ok("quarantined until `empire release`".to_owned())
            }
            Order::Release if self.children[index].is_held() => {
                self.children[index].due = true;
                self.start_or_decide(own, index..index + 1).await?;
                Ok(format!("started; incarnation {} runs", self.children[index].incarnation()))
            }
            Order::Release => refuse(&format!("it is {}, so there is nothing to release", state.word())),
            Order::Kill | Order::Crash if is_down => refuse(&format!("it is {} already", state.word())),
            Order::Kill => {
                self.kill(index, ChildExit::Killed(by.to_owned()));
                Ok("killed; its policy says what follows".to_owned())
            }
            Order::Crash => {
                self.kill(index, ChildExit::Failed(format!("a drill by {by}")));
                Ok("killed as if it had failed; its policy says what follows".to_owned())
            }
            Order::Pause | Order::Resume | Order::Scale { .. } => refuse("it has no such thing"),
        };
        let _ = reply.send(outcome);
        Ok(())
    }

    fn drain(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        within_ms: u64,
        restarts: bool,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let child = &mut self.children[index];
        let path = child.node.path.clone();
        let refused = match (&child.spec.start, &child.ending, &child.cell) {
            (Start::Supervisor(_), ..) => Some("a supervisor has nothing to drain: drain what is below it"),
            (_, Some(_), _) => Some("it is ending already"),
            (.., None) => Some("it is down"),
            (.., Some(cell)) => cell.drain().err().map(|_| "it is ending already"),
        };
        if let Some(why) = refused {
            let _ = reply.send(Err(OrderRefused::not_now(&path, why)));
            return Ok(());
        }
        child.ending = Some(Ending::Drain { restarts, cut_off: None, reply });
        child.node.is(NodeState::Draining);
        let over = Command::DrainOver { child: child.spec.id.clone(), incarnation: child.incarnation() };
        self.later(own, Duration::from_millis(within_ms), over);
        Ok(())
    }
}

/// Tells of a decision once.
fn tell(path: &str, decision: &Decision) {
    match decision.action {
        Action::LetGo if decision.exit == ChildExit::Normal => {
            tracing::debug!(%path, %decision, "an actor ended")
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

/// The root of a tree.
#[derive(Debug)]
pub struct Root {
    actor: ActorRef<Command>,
    gave_up: watch::Receiver<bool>,
    tree: Tree,
    /// The watch for stuck actors ends with this.
    _looking: oneshot::Sender<()>,
}

impl Root {
    /// Starts a tree.
    ///
    /// # Errors
    /// A child did not start; those before it have been stopped again.
    pub async fn start(
        policy: Policy,
        children: Vec<ChildSpec>,
        supervision: Supervision,
    ) -> Result<Root, Failure> {
        let node = Arc::new(Node::new(ROOT.to_owned(), NodeKind::Supervisor, policy));
        let tree = Tree { root: node.clone(), supervision: supervision.clone() };
        let arguments = Arguments { node: node.clone(), children, supervision };
        let spawned = Actor::spawn(None, Supervisor, arguments).await;
        let (actor, task) = spawned.map_err(|error| Failure(error.to_string()))?;
        node.live.lock().incarnation = 1;
        node.is(NodeState::Running);
        let (looking, over) = oneshot::channel();
        super::spawn(look_for_stuck(tree.clone(), over));
        let (tell, gave_up) = watch::channel(false);
        super::spawn(async move {
            // However it ended, it is over.
            let _ = task.await;
            tell.send_replace(true);
        });
        Ok(Root { actor, gave_up, tree, _looking: looking })
    }

    /// The way to look at the tree and to steer it.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// The whole tree as it is now.
    #[must_use]
    pub fn view(&self) -> NodeView {
        self.tree.whole()
    }

    /// Starts one more child of the supervisor at `path`, after all others.
    ///
    /// # Errors
    /// There is no such supervisor, it is down, it has such a child already, or the child did not
    /// start.
    pub async fn add(&self, path: &str, child: ChildSpec) -> Result<(), Failure> {
        self.tree.add(path, child).await
    }

    /// Says so once the root has given up, or was stopped.
    #[must_use]
    pub fn gave_up(&self) -> watch::Receiver<bool> {
        self.gave_up.clone()
    }

    /// Resolves when the root has given up, or was stopped.
    pub async fn failed(&self) {
        // Who tells it lives as long as the root.
        let _ = self.gave_up().wait_for(|gave_up| *gave_up).await;
    }

    /// Stops the tree in reverse order of its start.
    pub async fn stop(self) -> StopReport {
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

/// Looks the tree over for actors that are busy with one message for too long, until `over`.
async fn look_for_stuck(tree: Tree, mut over: oneshot::Receiver<()>) {
    while tokio::time::timeout(LOOK_EVERY, &mut over).await.is_err() {
        tree.each(&mut |node| {
            let Some(busy) = node.pulse.busy_for() else { return };
            if node.state() != NodeState::Running
                || busy <= tree.supervision.effective(node).policy.stuck_after
            {
                return;
            }
            let (supervisor, incarnation) = {
                let live = node.live.lock();
                (live.supervisor.clone(), live.incarnation)
            };
            if let Some(supervisor) = supervisor {
                let child = node.id().to_owned();
                // One that is down is being restarted, with all below it.
                let _ = supervisor.send_message(Command::Stuck { child, incarnation, busy });
            }
        });
    }
}

impl Tree {
    /// Stops a passing child of the supervisor at `path`, without waiting for it.
    pub(crate) fn remove(&self, path: &str, child: String) {
        if let Some(supervisor) = self.supervisor_at(path) {
            // One that is down starts without it.
            let _ = supervisor.send_message(Command::Remove(child));
        }
    }

    /// Starts one more child of the supervisor at `path`.
    async fn add(&self, path: &str, child: ChildSpec) -> Result<(), Failure> {
        let supervisor =
            self.supervisor_at(path).ok_or_else(|| Failure(format!("there is no supervisor at {path}")))?;
        let (reply, answer) = oneshot::channel();
        let sent = supervisor.send_message(Command::Add(Box::new(child), reply));
        sent.map_err(|_| Failure(Down.to_string()))?;
        answer.await.map_err(|_| Failure(Down.to_string()))?
    }
}
