//! More ways to look at a tree: what is not well, one agent, and what a change would reach.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policies::matches;
use super::tree::{Found, Node, NodeKind, NodeView, OrderRefused, Supervision, Tree};

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Its cohort has not started it yet.
    NotStarted,
    /// It waits for its turn, or for the agent that carries its call.
    Waiting,
    /// It has its turn: it passes the gates, or waits there.
    Awake,
    /// It is in a call.
    Calling,
    /// It ended with a result, in this run.
    Finished,
    /// It ended without a result: its item stays pending.
    Pending,
    /// This run does not work its item: an earlier one did, or it is not among those that were
    /// asked for.
    NotWorked,
}

impl AgentState {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            AgentState::NotStarted => "not started yet",
            AgentState::Waiting => "waiting for its turn",
            AgentState::Awake => "awake, passing the gates",
            AgentState::Calling => "in a call",
            AgentState::Finished => "finished in this run",
            AgentState::Pending => "ended without a result, its item stays pending",
            AgentState::NotWorked => "not worked in this run",
        }
    }
}

/// A call that an agent is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// Who is called.
    pub provider: String,
    /// The model there.
    pub model: String,
    /// Milliseconds since it left.
    pub for_ms: u64,
}

/// An agent of a job as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// Its item's number, from 0.
    pub item: u32,
    /// Its cohort's number.
    pub cohort: u32,
    /// What it does.
    pub state: AgentState,
    /// The call that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallView>,
}

/// What a change at a node would reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The nodes themselves.
    pub nodes: Vec<String>,
    /// Actors: those nodes and all below them, cohorts too.
    pub actors: u64,
    /// Agents below them, and the calls that those are in.
    pub users: Users,
}

impl Tree {
    /// What is not well at `path` and below it, cohorts too, and what leads there; the node itself
    /// in any case.
    ///
    /// # Errors
    /// Nothing has this path.
    pub fn unhealthy(&self, path: &str) -> Result<NodeView, OrderRefused> {
        match self.find(path)? {
            Found::Node(node) => {
                Ok(troubled(&node, self.supervision()).unwrap_or_else(|| node.view(self.supervision(), 0)))
            }
            Found::Cohort(..) => self.view(path, 0),
        }
    }

    /// The agent of the item with this number, from 0, of the job at `path`.
    ///
    /// # Errors
    /// Nothing has this path, or it is no job with such an item.
    pub fn agent(&self, path: &str, item: u32) -> Result<AgentView, OrderRefused> {
        let Found::Node(node) = self.find(path)? else {
            return Err(OrderRefused::not_now(path, "this is a cohort: name its job"));
        };
        let branch = node.branch.as_ref().ok_or_else(|| OrderRefused::not_now(path, "this is no job"))?;
        branch
            .agent(item)
            .ok_or_else(|| OrderRefused::not_now(path, format!("it has no item {}", u64::from(item) + 1)))
    }

    /// What a change of the nodes that `pattern` names would reach.
    #[must_use]
    pub fn reach(&self, pattern: &str) -> Reach {
        let mut reach = Reach::default();
        let mut open = vec![(self.root.clone(), false)];
        while let Some((node, is_below)) = open.pop() {
            let is_named = matches(pattern, &node.path);
            if is_named {
                reach.nodes.push(node.path.to_string());
            }
            let counts = is_named || is_below;
            if counts {
                reach.count(&node);
            }
            open.extend(node.children.read().iter().rev().map(|child| (child.clone(), counts)));
        }
        reach
    }

    /// The agents of jobs that have a model of one of these providers to call, and the calls that
    /// are there.
    #[must_use]
    pub fn users(&self, providers: &[&str]) -> Users {
        let mut users = Users::default();
        self.each(&mut |node| {
            let Some(branch) = &node.branch else { return };
            let calls: Vec<u64> = providers.iter().filter_map(|id| branch.calls_at(id)).collect();
            if !calls.is_empty() {
                users.agents += unfinished(&branch.counts());
                users.calls_in_flight += calls.iter().sum::<u64>();
            }
        });
        users
    }
}

/// Who relies on something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Users {
    /// Agents that have not ended.
    pub agents: u64,
    /// Calls of theirs that are under way there.
    pub calls_in_flight: u64,
}

impl Reach {
    fn count(&mut self, node: &Arc<Node>) {
        self.actors += 1;
        let Some(branch) = &node.branch else { return };
        self.actors += branch.cohort_count() as u64;
        let counts = branch.counts();
        self.users.agents += unfinished(&counts);
        self.users.calls_in_flight += number(&counts["in_flight"]);
    }
}

fn unfinished(counts: &serde_json::Value) -> u64 {
    number(&counts["agents"]["waiting"]) + number(&counts["agents"]["awake"])
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn troubled(node: &Node, supervision: &Supervision) -> Option<NodeView> {
    let below = node.children.read().clone();
    let mut children: Vec<NodeView> = below.iter().filter_map(|child| troubled(child, supervision)).collect();
    let cohorts = node.branch.iter().flat_map(|branch| branch.cohorts());
    children.extend(cohorts.filter(|cohort| !cohort.healthy));
    let own = node.view(supervision, 0);
    let left_out = own.children_left_out.saturating_sub(children.len());
    let is_shown = !own.healthy || !children.is_empty();
    is_shown.then_some(NodeView { children, children_left_out: left_out, ..own })
}

impl NodeKind {
    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NodeKind::Supervisor => "supervisor",
            NodeKind::Actor => "actor",
            NodeKind::Cohort => "cohort",
        }
    }
}
