//! What the screen shows and where a person is on it. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use empire_actors::kernel::tree::{NodeKind, NodeState, NodeView, Order, ROOT};

use crate::control::overview::{Overview, find};
use crate::log::read::Brief;
use crate::text;

/// Lines of the log that are kept.
const MOST_LINES: usize = 500;
/// How long what waits may take before a restart, in milliseconds; as `empire restart` has it.
const USUAL_DRAIN_MS: u64 = 30_000;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Jobs,
    Gates,
    Tree,
    Log,
}

impl Pane {
    /// From top to bottom.
    pub(super) const ALL: [Pane; 4] = [Pane::Jobs, Pane::Gates, Pane::Tree, Pane::Log];
}

/// What a person can tell an actor here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Pause,
    Resume,
    Restart,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Restart => "restart",
        }
    }

    /// What waits is done before a restart, where something runs that can do it.
    pub(super) fn order(self, node: &NodeView) -> Order {
        let drains = node.kind == NodeKind::Actor && node.state == NodeState::Running;
        match self {
            Verb::Pause => Order::Pause,
            Verb::Resume => Order::Resume,
            Verb::Restart => Order::Restart { drain_ms: drains.then_some(USUAL_DRAIN_MS) },
        }
    }
}

/// An order that a person gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) order: Order,
}

impl Given {
    /// How long it may take because of what waits.
    pub(super) fn takes(&self) -> Duration {
        match self.order {
            Order::Restart { drain_ms: Some(ms) } => Duration::from_millis(ms),
            _ => Duration::ZERO,
        }
    }
}

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// A line of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct TreeRow<'a> {
    pub(super) node: &'a NodeView,
    pub(super) depth: usize,
    pub(super) is_open: bool,
    /// Nodes right below it.
    pub(super) below: usize,
}

/// All that the screen knows.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) now: Overview,
    pub(super) log: VecDeque<Brief>,
    /// Lines that the log was scrolled back.
    pub(super) back: usize,
    pub(super) focus: Pane,
    pub(super) is_zoomed: bool,
    pub(super) is_helping: bool,
    /// What is to be answered with yes or no.
    pub(super) asked: Option<Given>,
    /// What was said last.
    pub(super) said: Option<(Tone, String)>,
    /// Why there is no newer picture, and how old this one is.
    pub(super) lost: Option<(String, Duration)>,
    at: [String; 3],
    open: BTreeSet<String>,
    /// The job whose cohorts are shown.
    cohorts_of: Option<String>,
}

impl View {
    pub(super) fn new(now: Overview) -> View {
        let [jobs, gates] = ["swarm", "gates"].map(|name| format!("{ROOT}/{name}"));
        View {
            now,
            log: VecDeque::new(),
            back: 0,
            focus: Pane::Tree,
            is_zoomed: false,
            is_helping: false,
            asked: None,
            said: None,
            lost: None,
            open: BTreeSet::from([ROOT.to_owned(), jobs.clone()]),
            at: [jobs, gates, ROOT.to_owned()],
            cohorts_of: None,
        }
    }

    /// A newer picture. What was selected stays selected.
    pub(super) fn see(&mut self, now: Overview) {
        self.now = now;
        self.lost = None;
    }

    /// More of the log. Who has scrolled back stays where they are.
    pub(super) fn hear(&mut self, lines: Vec<Brief>) {
        if self.back > 0 {
            self.back += lines.len();
        }
        self.log.extend(lines);
        self.log.drain(..self.log.len().saturating_sub(MOST_LINES));
        self.back = self.back.min(self.log.len().saturating_sub(1));
    }

    pub(super) fn say(&mut self, tone: Tone, words: impl Into<String>) {
        self.said = Some((tone, words.into()));
    }

    /// The job whose cohorts are wanted.
    pub(super) fn cohorts_of(&self) -> Option<&str> {
        self.cohorts_of.as_deref()
    }

    /// The lines of the tree, as far as it is open.
    pub(super) fn tree(&self) -> Vec<TreeRow<'_>> {
        let mut rows = Vec::new();
        self.below(&self.now.tree, 0, &mut rows);
        rows
    }

    fn below<'a>(&self, node: &'a NodeView, depth: usize, rows: &mut Vec<TreeRow<'a>>) {
        let is_open = self.open.contains(&node.path) && !node.children.is_empty();
        rows.push(TreeRow { node, depth, is_open, below: node.children.len() + node.children_left_out });
        if is_open {
            node.children.iter().for_each(|child| self.below(child, depth + 1, rows));
        }
    }

    /// The paths that can be selected in a pane, from top to bottom.
    pub(super) fn paths(&self, pane: Pane) -> Vec<String> {
        match pane {
            Pane::Jobs => self.now.jobs.iter().map(|job| job.path.clone()).collect(),
            Pane::Gates => {
                let gates = ["privacy-*", "budget"].map(|gate| format!("{ROOT}/gates/{gate}"));
                gates.into_iter().chain(self.now.lanes.iter().map(|lane| lane.path.clone())).collect()
            }
            Pane::Tree => self.tree().into_iter().map(|row| row.node.path.clone()).collect(),
            Pane::Log => Vec::new(),
        }
    }

    /// Which line of a pane is selected: what was, or what it was in, or the first.
    pub(super) fn selected(&self, pane: Pane) -> usize {
        let Some(mut wanted) = self.at.get(pane as usize).map(String::as_str) else { return 0 };
        let paths = self.paths(pane);
        loop {
            if let Some(place) = paths.iter().position(|path| path == wanted) {
                return place;
            }
            match wanted.rsplit_once('/') {
                Some((above, _)) if !above.is_empty() => wanted = above,
                _ => return 0,
            }
        }
    }

    /// The path that is selected where the person is.
    pub(super) fn path(&self) -> Option<String> {
        self.paths(self.focus).into_iter().nth(self.selected(self.focus))
    }

    /// Its node, if it is one.
    pub(super) fn node(&self) -> Option<&NodeView> {
        find(&self.now.tree, &self.path()?)
    }

    pub(super) fn select(&mut self, pane: Pane, path: String) {
        if let Some(at) = self.at.get_mut(pane as usize) {
            *at = path;
        }
    }

    /// Goes so many lines down, or up. The log scrolls.
    pub(super) fn go(&mut self, lines: isize) {
        if self.focus == Pane::Log {
            let back = self.back.saturating_add_signed(lines.saturating_neg());
            self.back = back.min(self.log.len().saturating_sub(1));
            return;
        }
        let mut paths = self.paths(self.focus);
        let place = self.selected(self.focus).saturating_add_signed(lines);
        if !paths.is_empty() {
            let path = paths.swap_remove(place.min(paths.len() - 1));
            self.select(self.focus, path);
        }
    }

    pub(super) fn is_open(&self, path: &str) -> bool {
        self.open.contains(path)
    }

    /// Opens the selected node, or closes it. Cohorts are shown of one job at a time.
    pub(super) fn open(&mut self, is_open: bool) {
        let Some(node) = self.node() else { return };
        let (path, has_cohorts) = (node.path.clone(), is_job(&node.path));
        if node.children.is_empty() && node.children_left_out == 0 {
            return;
        }
        if has_cohorts {
            if let Some(other) = self.cohorts_of.take() {
                self.open.remove(&other);
            }
            self.cohorts_of = is_open.then(|| path.clone());
        }
        if is_open {
            self.open.insert(path);
        } else {
            self.open.remove(&path);
        }
    }

    /// Goes to a node in the tree, opening what is above it.
    pub(super) fn reveal(&mut self, path: String) {
        let above = path.match_indices('/').skip(1).map(|(end, _)| path[..end].to_owned());
        self.open.extend(above);
        self.focus = Pane::Tree;
        self.select(Pane::Tree, path);
    }

    /// What a job is called, by its place in the tree.
    pub(super) fn job_name(&self, path: &str) -> Option<&str> {
        let job = self.now.jobs.iter().find(|job| job.path == path && job.ended.is_none())?;
        Some(&job.name)
    }

    /// Prepares an order for what is selected. Says why there is nothing to give it to.
    pub(super) fn prepare(&self, verb: Verb) -> Result<Given, String> {
        let word = verb.word();
        let Some(path) = self.path() else {
            return Err(format!(
                "nothing is selected to {word}: Tab goes to the tree, the jobs or the gates"
            ));
        };
        match find(&self.now.tree, &path) {
            Some(node) => Ok(Given { verb, order: verb.order(node), path }),
            None if path.ends_with('*') => {
                Err(format!("these are several actors: select one in the tree to {word} it"))
            }
            None => Err(format!("{} has ended: there is nothing to {word}", short(&path))),
        }
    }

    /// What a yes to the order means.
    pub(super) fn question(&self, given: &Given) -> String {
        let node = find(&self.now.tree, &given.path);
        let name = self.job_name(&given.path).map_or_else(
            || short(&given.path).to_owned(),
            |name| format!("the job {}", text::one_line(name, 24)),
        );
        let below = node.map_or(0, count_below);
        let all = match below {
            _ if is_job(&given.path) => String::new(),
            0 => String::new(),
            below => format!(" and {} below it", text::count(below, "actor")),
        };
        let after = match given.order {
            Order::Restart { drain_ms: Some(_) } => "; what waits is done first, for 30 s at most",
            Order::Pause if is_job(&given.path) => "; agents that are awake end their call",
            _ => "",
        };
        format!("{} {name}{all}{after}? y/n", given.verb.word())
    }
}

/// Whether a path is that of a job.
fn is_job(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .and_then(|rest| rest.strip_prefix("/swarm/job-"))
        .is_some_and(|id| !id.contains('/'))
}

fn count_below(node: &NodeView) -> u64 {
    node.children.iter().map(|child| 1 + count_below(child)).sum()
}

/// A path without what all paths begin with.
pub(super) fn short(path: &str) -> &str {
    path.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}
