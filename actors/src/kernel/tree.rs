//! The tree as it is, for whoever looks: every node in memory, written by its supervisor alone,
//! read without asking a busy actor. Orders go to the supervisor, which carries them out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::control::Down;
use super::journal::{Entry, Event, Journal};
pub use super::order::{Order, OrderRefused};
use super::policies::{Effective, Policies};
use super::policy::{ChildExit, Policy};
use super::pulse::{Pulse, PulseView};
use super::scale::{Scale, Scaled};
use super::sight::AgentView;
use super::supervisor::{Command, SetPaused};
use crate::ports::{Random, UnixMillis, WallClock};

/// The root's path.
pub const ROOT: &str = "/empire";

/// How long an actor may take to show itself.
const SHOW_WITHIN: Duration = Duration::from_millis(40);

/// What all supervisors of a tree share.
#[derive(Clone)]
pub struct Supervision {
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
    /// Randomness for jitter.
    pub random: Arc<dyn Random>,
    /// Which policy is in force where.
    pub policies: Arc<Policies>,
    /// What was decided.
    pub journal: Arc<Journal>,
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Supervision {
    /// Supervision by the policies of the code alone, whose decisions are kept in memory.
    #[must_use]
    pub fn new(clock: Arc<dyn WallClock>, random: Arc<dyn Random>) -> Supervision {
        Supervision { clock, random, policies: Arc::default(), journal: Arc::new(Journal::new(None)) }
    }

    pub(super) fn effective(&self, node: &Node) -> Effective {
        self.policies.effective(&node.path, &node.default, self.clock.now())
    }

    pub(super) fn enter(&self, path: &str, event: Event) {
        self.journal.enter(Entry { at: self.clock.now(), path: path.to_owned(), event });
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// It restarts others.
    Supervisor,
    /// A control actor.
    Actor,
    /// A group of agents.
    Cohort,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It is being started.
    Starting,
    /// It works.
    Running,
    /// It takes no new work and ends when it has done what waits.
    Draining,
    /// It waits for its restart.
    BackingOff,
    /// It failed too often and is started again later.
    Exhausted,
    /// It holds back its messages, as it was told.
    Paused,
    /// It is down until a person releases it.
    Quarantined,
    /// It is told to stop.
    Stopping,
    /// It is down, as it was told or because it had nothing more to do.
    Stopped,
}

impl NodeState {
    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Starting => "starting",
            NodeState::Running => "running",
            NodeState::Draining => "draining",
            NodeState::BackingOff => "backing_off",
            NodeState::Exhausted => "exhausted",
            NodeState::Paused => "paused",
            NodeState::Quarantined => "quarantined",
            NodeState::Stopping => "stopping",
            NodeState::Stopped => "stopped",
        }
    }
}

/// How a node ended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastExit {
    /// How.
    #[serde(flatten)]
    pub exit: ChildExit,
    /// When.
    pub at: UnixMillis,
}

/// Restarts of a supervisor's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restarts {
    /// That count now.
    pub in_window: u32,
    /// That may.
    pub limit: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// When the oldest stops counting, in milliseconds.
    pub oldest_leaves_in_ms: Option<u64>,
}

/// A node as it was at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Where it is.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// How it is.
    pub state: NodeState,
    /// Milliseconds since it is so.
    pub for_ms: u64,
    /// How often it was started.
    pub incarnation: u32,
    /// Whether nothing is wrong with it.
    pub healthy: bool,
    /// What it works on and what waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulse: Option<PulseView>,
    /// If it is a supervisor: restarts of its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// The newest override in its policy; 0 if there is none.
    pub policy: u64,
    /// What of it can be scaled, and how many there are; a job says that in what it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled: Option<Scaled>,
    /// What it counts, if it has something to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<serde_json::Value>,
    /// Its children in start order; none of what was not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<NodeView>,
    /// Children that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub children_left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What an actor shows of itself when asked.
pub(super) type Observe = Arc<dyn Fn() -> BoxFuture<'static, Result<serde_json::Value, Down>> + Send + Sync>;

/// What is below an actor that has its own way of supervising: the cohorts of a job.
pub trait Branch: Send + Sync {
    /// What it counts, such as its agents by state.
    fn counts(&self) -> serde_json::Value;
    /// Whether it holds back its work, as it was told.
    fn is_paused(&self) -> bool {
        false
    }
    /// How many cohorts it has.
    fn cohort_count(&self) -> usize {
        0
    }
    /// Its cohorts. Must not wait for one of them.
    fn cohorts(&self) -> Vec<NodeView> {
        Vec::new()
    }
    /// One of them.
    fn cohort(&self, _name: &str) -> Option<NodeView> {
        None
    }
    /// The agent of the item with this number, from 0, if it is an item of this job.
    fn agent(&self, _item: u32) -> Option<AgentView> {
        None
    }
    /// How many of its calls are at the provider `id`. `None` if it has no model there to call.
    fn calls_at(&self, _id: &str) -> Option<u64> {
        None
    }
    /// Tells the cohort `name` something.
    ///
    /// # Errors
    /// It cannot do that.
    fn order(&self, name: &str, _order: Order) -> Result<String, OrderRefused> {
        Err(OrderRefused::NoSuchNode { path: name.to_owned() })
    }
    /// Tells the actor itself something that its supervisor cannot do for it. `None` leaves it to
    /// the supervisor.
    ///
    /// # Errors
    /// It cannot do that.
    fn own_order(&self, order: Order) -> Option<Result<String, OrderRefused>>;
}

/// A node of the tree.
pub struct Node {
    pub(super) path: Arc<str>,
    pub(super) kind: NodeKind,
    pub(super) default: Policy,
    pub(super) pulse: Arc<Pulse>,
    pub(super) observe: Option<Observe>,
    pub(super) set_paused: Option<SetPaused>,
    pub(super) branch: Option<Arc<dyn Branch>>,
    pub(super) scale: Option<Arc<dyn Scale>>,
    pub(super) live: Mutex<Live>,
    /// Below a supervisor, in start order.
    pub(super) children: RwLock<Vec<Arc<Node>>>,
}

/// What changes; its supervisor alone writes it.
pub(super) struct Live {
    pub(super) state: NodeState,
    pub(super) since: Instant,
    pub(super) incarnation: u32,
    pub(super) last_exit: Option<LastExit>,
    /// When its children were restarted, as far as that counted at the latest one; oldest first.
    pub(super) restarts: VecDeque<Instant>,
    /// Who takes its own commands, if it is a supervisor.
    pub(super) own: Option<ActorRef<Command>>,
    /// Who carries out orders for it. None for the root.
    pub(super) supervisor: Option<ActorRef<Command>>,
}

impl Node {
    pub(super) fn new(path: String, kind: NodeKind, default: Policy) -> Node {
        Node {
            path: path.into(),
            kind,
            default,
            pulse: Arc::default(),
            observe: None,
            set_paused: None,
            branch: None,
            scale: None,
            live: Mutex::new(Live {
                state: NodeState::Starting,
                since: Instant::now(),
                incarnation: 0,
                last_exit: None,
                restarts: VecDeque::new(),
                own: None,
                supervisor: None,
            }),
            children: RwLock::default(),
        }
    }

    pub(super) fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn is(&self, state: NodeState) {
        let mut live = self.live.lock();
        if live.state != state {
            (live.state, live.since) = (state, Instant::now());
        }
    }

    pub(super) fn state(&self) -> NodeState {
        self.live.lock().state
    }

    fn whole(&self, supervision: &Supervision) -> NodeView {
        let children = self.children.read().clone();
        let children = children.iter().map(|child| child.whole(supervision)).collect();
        NodeView { children, children_left_out: 0, ..self.view(supervision, 0) }
    }

    fn is_paused(&self) -> bool {
        self.pulse.is_paused() || self.branch.as_ref().is_some_and(|branch| branch.is_paused())
    }

    /// Holds back the messages of all below it, or lets them through. Gives what each actor says that
    /// was not so before; most say nothing.
    fn set_paused(&self, is_paused: bool) -> Vec<String> {
        let mut heeded = Vec::new();
        if self.is_paused() != is_paused
            && let Some(set_paused) = &self.set_paused
        {
            let order = if is_paused { Order::Pause } else { Order::Resume };
            // What holds back its own work goes on hearing what it is told.
            match self.branch.as_ref().and_then(|branch| branch.own_order(order)) {
                Some(said) => heeded.push(said.unwrap_or_default()),
                None => {
                    set_paused(is_paused);
                    heeded.push(String::new());
                }
            }
            self.live.lock().since = Instant::now();
        }
        for child in self.children.read().clone() {
            heeded.extend(child.set_paused(is_paused));
        }
        heeded
    }

    /// With the nodes that are so far below it, and without cohorts.
    pub(super) fn view(&self, supervision: &Supervision, depth: usize) -> NodeView {
        let effective = supervision.effective(self);
        let below = self.children.read().clone();
        let policy = effective.policy;
        let mut view = {
            let live = self.live.lock();
            let counted: Vec<Duration> =
                live.restarts.iter().map(Instant::elapsed).filter(|age| *age < policy.window).collect();
            let restarts = (self.kind == NodeKind::Supervisor).then(|| Restarts {
                in_window: u32::try_from(counted.len()).unwrap_or(u32::MAX),
                limit: policy.intensity,
                window_ms: millis(policy.window),
                oldest_leaves_in_ms: counted.first().map(|age| millis(policy.window.saturating_sub(*age))),
            });
            let pulse = self.pulse.view();
            let is_slow = pulse.busy_us.is_some_and(|busy| busy > micros(policy.stuck_after) / 2);
            let is_paused = live.state == NodeState::Running && self.is_paused();
            NodeView {
                path: self.path.to_string(),
                kind: self.kind,
                state: if is_paused { NodeState::Paused } else { live.state },
                for_ms: millis(live.since.elapsed()),
                incarnation: live.incarnation,
                healthy: live.state == NodeState::Running && !is_paused && !is_slow,
                pulse: Some(pulse),
                restarts,
                last_exit: live.last_exit.clone(),
                policy: effective.version,
                scaled: None,
                counts: None,
                children: Vec::new(),
                children_left_out: 0,
            }
        };
        view.scaled = self.scale.as_ref().map(|scale| scale.scaled());
        view.counts = self.branch.as_ref().map(|branch| branch.counts());
        view.children_left_out = self.branch.as_ref().map_or(0, |branch| branch.cohort_count());
        match depth {
            0 => view.children_left_out += below.len(),
            _ => view.children = below.iter().map(|node| node.view(supervision, depth - 1)).collect(),
        }
        view
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The way to look at a tree and to steer it. Cheap to clone.
#[derive(Clone)]
pub struct Tree {
    pub(super) root: Arc<Node>,
    pub(super) supervision: Supervision,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({})", self.root.path)
    }
}

/// Where a path leads.
pub(super) enum Found {
    Node(Arc<Node>),
    Cohort(Arc<dyn Branch>, String),
}

impl Tree {
    /// What its supervisors share.
    #[must_use]
    pub fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    pub(super) fn find(&self, path: &str) -> Result<Found, OrderRefused> {
        let missing = || OrderRefused::NoSuchNode { path: path.to_owned() };
        let rest = path.trim_end_matches('/').strip_prefix(&*self.root.path).ok_or_else(missing)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(missing());
        }
        let mut node = self.root.clone();
        let mut segments = rest.split('/').filter(|segment| !segment.is_empty()).peekable();
        while let Some(segment) = segments.next() {
            let child = node.children.read().iter().find(|child| child.id() == segment).cloned();
            match (child, &node.branch) {
                (Some(child), _) => node = child,
                (None, Some(branch)) if segments.peek().is_none() && branch.cohort(segment).is_some() => {
                    return Ok(Found::Cohort(branch.clone(), segment.to_owned()));
                }
                _ => return Err(missing()),
            }
        }
        Ok(Found::Node(node))
    }

    /// The node at `path` and `depth` levels below it. Cohorts are among them only where the node
    /// itself is a job: there may be hundreds.
    ///
    /// # Errors
    /// Nothing has this path.
    pub fn view(&self, path: &str, depth: usize) -> Result<NodeView, OrderRefused> {
        match self.find(path)? {
            Found::Node(node) => {
                let mut view = node.view(&self.supervision, depth);
                if let Some(branch) = node.branch.as_ref().filter(|_| depth > 0) {
                    view.children.extend(branch.cohorts());
                    view.children_left_out = 0;
                }
                Ok(view)
            }
            Found::Cohort(branch, name) => {
                branch.cohort(&name).ok_or_else(|| OrderRefused::NoSuchNode { path: path.to_owned() })
            }
        }
    }

    /// The whole tree but for the cohorts.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        let mut views = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(node) = open.pop() {
            views.push(node.view(&self.supervision, 0));
            open.extend(node.children.read().iter().rev().cloned());
        }
        views
    }

    /// The whole tree but for the cohorts, as one.
    #[must_use]
    pub fn whole(&self) -> NodeView {
        self.root.whole(&self.supervision)
    }

    pub(super) fn each(&self, visit: &mut impl FnMut(&Node)) {
        let mut open = vec![self.root.clone()];
        while let Some(node) = open.pop() {
            visit(&node);
            open.extend(node.children.read().iter().cloned());
        }
    }

    /// How many messages wait in the deepest mailbox.
    #[must_use]
    pub fn deepest_mailbox(&self) -> usize {
        let mut deepest = 0;
        self.each(&mut |node| deepest = deepest.max(node.pulse.depth()));
        deepest
    }

    pub(super) fn supervisor_at(&self, path: &str) -> Option<ActorRef<Command>> {
        match self.find(path) {
            Ok(Found::Node(node)) => node.live.lock().own.clone(),
            _ => None,
        }
    }

    /// What the actor at `path` shows of itself. `None` if it does not answer at once, or is none.
    ///
    /// # Errors
    /// Nothing has this path.
    pub async fn observe(&self, path: &str) -> Result<Option<serde_json::Value>, OrderRefused> {
        let Found::Node(node) = self.find(path)? else { return Ok(None) };
        let Some(observe) = &node.observe else { return Ok(None) };
        Ok(tokio::time::timeout(SHOW_WITHIN, observe()).await.ok().and_then(Result::ok))
    }

    /// The policy in force at `path`, and what the code alone says.
    ///
    /// # Errors
    /// Nothing has this path.
    pub fn policy(&self, path: &str) -> Result<(Effective, Policy), OrderRefused> {
        match self.find(path)? {
            Found::Node(node) => Ok((self.supervision.effective(&node), node.default)),
            Found::Cohort(..) => Err(OrderRefused::not_now(path, "a cohort has its job's policy")),
        }
    }

    /// Has an order carried out, and enters it in the journal. Gives what came of it, in words.
    ///
    /// # Errors
    /// It was not carried out.
    pub async fn order(
        &self,
        path: &str,
        order: Order,
        by: &str,
        reason: &str,
    ) -> Result<String, OrderRefused> {
        let outcome = self.carry_out(path, order, by).await;
        let said = match &outcome {
            Ok(done) => done.clone(),
            // The entry tells the path.
            Err(OrderRefused::NotNow { why, .. }) => format!("refused: {why}"),
            Err(refused) => format!("refused: {refused}"),
        };
        if !matches!(outcome, Err(OrderRefused::NoSuchNode { .. })) {
            let (by, reason) = (by.to_owned(), reason.to_owned());
            self.supervision
                .enter(path, Event::Order { order: order.to_string(), by, reason, outcome: said });
        }
        outcome
    }

    async fn carry_out(&self, path: &str, order: Order, by: &str) -> Result<String, OrderRefused> {
        let node = match self.find(path)? {
            Found::Cohort(branch, name) => return branch.order(&name, order),
            Found::Node(node) => node,
        };
        match order {
            Order::Pause | Order::Resume => {
                let is_pause = order == Order::Pause;
                let heeded = node.set_paused(is_pause);
                let done = if is_pause { "paused" } else { "resumed" };
                return Ok(match &heeded[..] {
                    [] if is_pause => "nothing there was left to pause".to_owned(),
                    [] => "nothing there was paused".to_owned(),
                    [said] if said.is_empty() => format!("1 actor {done}"),
                    [said] => format!("{done}: {said}"),
                    several => format!("{} actors {done}", several.len()),
                });
            }
            _ => {
                if let (Order::Scale { to }, Some(scale)) = (order, &node.scale) {
                    return scale.scale(to).map_err(|why| OrderRefused::not_now(path, why));
                }
                if let Some(outcome) = node.branch.as_ref().and_then(|branch| branch.own_order(order)) {
                    return outcome;
                }
            }
        }
        let supervisor = node.live.lock().supervisor.clone();
        let Some(supervisor) = supervisor else {
            return Err(OrderRefused::not_now(
                path,
                "this is the root: `empire down` and `empire restart` stop and restart everything",
            ));
        };
        let (reply, answer) = oneshot::channel();
        let down = || OrderRefused::Down { path: path.to_owned() };
        let command = Command::Order { child: node.id().to_owned(), order, by: by.to_owned(), reply };
        supervisor.send_message(command).map_err(|_| down())?;
        answer.await.map_err(|_| down())?
    }
}
