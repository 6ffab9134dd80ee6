//! What is asked and answered, as both sides of the API know it.

use empire_actors::kernel::journal::Entry;
use empire_actors::kernel::policies::{Effective, Override, PolicyPatch};
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::sight::AgentView;
use empire_actors::kernel::tree::{NodeState, NodeView, Order};
use empire_actors::ports::UnixMillis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing is asked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Which part of the tree.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TreeQuery {
    /// The topmost node; the root if it is not given. `/empire/` may be left out.
    pub path: Option<String>,
    /// How many levels below it; all if it is not given. Cohorts are shown only below a job that is
    /// asked for by itself.
    pub depth: Option<usize>,
    /// Only what is not well, cohorts too, and what leads there.
    #[serde(default)]
    pub unhealthy: bool,
}

/// Which node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathQuery {
    /// The node; the root if it is not given. `/empire/` may be left out.
    pub path: Option<String>,
}

/// Which part of the journal.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// The node, and all below it; everything if it is not given.
    pub path: Option<String>,
    /// How many entries at most, the latest; 100 if it is not given, 10000 at most.
    pub limit: Option<u32>,
}

/// What a list of the busiest goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopBy {
    /// Messages that wait.
    Mailbox,
    /// Starts anew within the window.
    Restarts,
    /// The mean time that messages took, and waited, within the window.
    Latency,
    /// What was billed within the window: of jobs and of providers.
    Cost,
}

/// Which list of the busiest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopQuery {
    /// What it goes by.
    pub by: TopBy,
    /// How long to look, in milliseconds; 5000 if it is not given, 60000 at most.
    pub window_ms: Option<u64>,
    /// How many at most; 10 if it is not given.
    pub limit: Option<usize>,
}

/// Which agent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentQuery {
    /// The job's id.
    pub job: String,
    /// The item's number, from 1.
    pub item: u32,
}

/// An agent, if its job runs here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentShown {
    /// The agent.
    pub agent: AgentView,
}

/// A node in full.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// The node, without those below it.
    pub node: NodeView,
    /// What the actor shows of itself; nothing if it is too busy to show it at once.
    pub observed: Option<serde_json::Value>,
    /// Its policy; cohorts have none of their own.
    pub policy: Option<PolicyShown>,
}

/// A policy and where it is from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PolicyShown {
    /// The node.
    pub path: String,
    /// What is in force there.
    #[serde(flatten)]
    pub effective: Effective,
    /// What the program alone says.
    pub default: Policy,
    /// What was said of exactly this path while it ran, if that holds.
    pub said: Option<Override>,
}

/// An entry of the journal, and what it says in words.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// In words.
    pub words: String,
}

impl From<Entry> for Told {
    fn from(entry: Entry) -> Told {
        Told { words: entry.event.to_string(), entry }
    }
}

/// How a node came to be as it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The node.
    pub path: String,
    /// How it is and why, a thought a line.
    pub words: Vec<String>,
    /// What its supervisor decided and people told it, oldest first.
    pub entries: Vec<Told>,
}

/// A node's state that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// When that was seen.
    pub at: UnixMillis,
    /// The node.
    pub path: String,
    /// What it was; nothing if it is new.
    pub from: Option<NodeState>,
    /// What it is; nothing if it is gone.
    pub to: Option<NodeState>,
    /// How often it was started.
    pub incarnation: u32,
}

/// A line of a list of the busiest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopRow {
    /// The node.
    pub path: String,
    /// What the list goes by: messages, restarts, microseconds, or micro-dollars.
    pub value: u64,
    /// More about it in words.
    pub words: String,
}

/// A list of the busiest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// What it goes by.
    pub by: TopBy,
    /// How long was looked, in milliseconds.
    pub window_ms: u64,
    /// The busiest first; those with nothing are left out.
    pub rows: Vec<TopRow>,
}

/// An order for a node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderAsked {
    /// The node.
    pub path: String,
    /// What it is to do. `crash` is refused unless drills are switched on.
    #[serde(rename = "do")]
    pub order: Order,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: String,
}

/// What came of an order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OrderDone {
    /// The node.
    pub path: String,
    /// What came of it, in words.
    pub outcome: String,
    /// The node as it is now; nothing if it is gone.
    pub node: Option<NodeView>,
}

/// What is logged to the files of the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevels {
    /// Now: a level, and others for single targets, as in `info,empire::store=debug`.
    pub levels: String,
    /// By the configuration, and so from the next start on.
    pub configured: String,
}

/// Other levels for the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelsAsked {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, and others for single targets behind it.
    pub levels: String,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: String,
}

/// What became of the levels of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevelsChanged {
    /// What is logged now, until the process ends.
    pub levels: String,
    /// What was logged before.
    pub was: String,
    /// What is logged by the configuration, and so from the next start on.
    pub configured: String,
}

/// A change of a policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyAsked {
    /// The node; or several, where a segment may end with `*`.
    pub path: String,
    /// What is said of it from now on, beside what was said of exactly this path before.
    pub patch: PolicyPatch,
    /// Why, for the journal.
    pub reason: String,
    /// For how many milliseconds it holds, with all that was said of this path before; until it is
    /// taken back if this is not given.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Only says what would follow.
    #[serde(default)]
    pub dry_run: bool,
}

/// All that was said of a path while it ran is to be taken back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyResetAsked {
    /// Exactly the path that it was said of.
    pub path: String,
    /// Why, for the journal.
    pub reason: String,
    /// Only says what would follow.
    #[serde(default)]
    pub dry_run: bool,
}

/// A field of a policy that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Which, as in a policy file.
    pub field: String,
    /// What it was.
    pub from: String,
    /// What it is to be.
    pub to: String,
}

/// What a change reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blast {
    /// The nodes that are named.
    pub nodes: Vec<String>,
    /// Actors: those nodes and all below them.
    pub actors: u64,
    /// Agents that rely on them: of a lane those of jobs that can call its provider, of another gate
    /// and of the guard all, else those below.
    pub agents: u64,
    /// Calls that those agents are in; of a lane those at its provider.
    pub calls_in_flight: u64,
    /// Money that is set aside for their calls, in micro-dollars.
    pub reserved_micro_usd: u64,
}

/// What became of a policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PolicyChanged {
    /// What it was said of.
    pub path: String,
    /// Whether it is in force now; a dry run is not.
    pub in_force: bool,
    /// What is in force there, or would be.
    #[serde(flatten)]
    pub effective: Effective,
    /// Which fields changed, or would.
    pub changes: Vec<FieldChange>,
    /// What that reaches; nothing where no process runs.
    pub reaches: Option<Blast>,
}

/// Whether the process lives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub process: u32,
}

/// Whether it can work.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Whether all that everybody needs runs.
    pub ready: bool,
    /// What does not.
    pub waits_for: Vec<String>,
}
