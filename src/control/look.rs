//! Looking at the tree, the journal, and single agents.

use std::sync::Arc;

use empire_actors::kernel::journal::Entry;
use empire_actors::kernel::tree::{NodeState, NodeView};

use super::explain::explain;
use super::policy;
use super::problem::Problem;
use super::shapes::{
    AgentQuery, AgentShown, Explained, HistoryQuery, Live, PathQuery, Ready, Shown, Told, TreeQuery,
};
use super::{Control, full_path};

/// Deeper than any tree.
const WHOLE: usize = 64;
const USUAL_ENTRIES: u32 = 100;
const MOST_ENTRIES: u32 = 10_000;
/// Entries that an explanation rests on.
const EXPLAINED_BY: u32 = 20;
/// Where that is which every job needs.
const NEEDED: [&str; 3] = ["/empire", "/empire/guard", "/empire/gates"];

pub(super) fn live() -> Live {
    Live { version: env!("CARGO_PKG_VERSION").to_owned(), process: std::process::id() }
}

/// What every job needs runs; a lane that rests does not count, since the other lanes go on.
pub(super) fn ready(control: &Control) -> Ready {
    let is_needed = |node: &NodeView| {
        NEEDED.contains(&node.path.as_str())
            || node.path.starts_with("/empire/gates/") && !node.path.starts_with("/empire/gates/rate-")
    };
    let waits = |node: &NodeView| !matches!(node.state, NodeState::Running | NodeState::Draining);
    let waits_for: Vec<String> = control
        .tree
        .nodes()
        .into_iter()
        .filter(|node| is_needed(node) && waits(node))
        .map(|node| format!("{} is {}", node.path, node.state.word()))
        .collect();
    Ready { ready: waits_for.is_empty(), waits_for }
}

pub(super) fn tree(control: &Control, query: &TreeQuery) -> Result<NodeView, Problem> {
    let path = control.resolve(query.path.as_deref())?;
    if query.unhealthy {
        return Ok(control.tree.unhealthy(&path)?);
    }
    Ok(control.tree.view(&path, query.depth.unwrap_or(WHOLE).min(WHOLE))?)
}

pub(super) async fn node(control: &Control, query: &PathQuery) -> Result<Shown, Problem> {
    let path = control.resolve(query.path.as_deref())?;
    let node = control.tree.view(&path, 0)?;
    let observed = control.tree.observe(&path).await?;
    Ok(Shown { node, observed, policy: policy::shown(control, Some(&path)).ok() })
}

pub(super) fn agent(control: &Control, query: &AgentQuery) -> Result<AgentShown, Problem> {
    let item = query.item.checked_sub(1).ok_or_else(|| Problem::bad("items are counted from 1"))?;
    let path = control.resolve(Some(&format!("swarm/job-{}", query.job)))?;
    Ok(AgentShown { agent: control.tree.agent(&path, item)? })
}

pub(super) async fn history(control: &Control, query: &HistoryQuery) -> Result<Vec<Told>, Problem> {
    let path = match &query.path {
        None => String::new(),
        // What is gone from the tree may still have a history.
        Some(path) => control.resolve(Some(path)).unwrap_or_else(|_| full_path(path)),
    };
    let limit = query.limit.unwrap_or(USUAL_ENTRIES).min(MOST_ENTRIES);
    entries(control, &path, limit).await
}

pub(super) async fn explained(control: &Control, query: &PathQuery) -> Result<Explained, Problem> {
    let path = control.resolve(query.path.as_deref())?;
    let node = control.tree.view(&path, 0)?;
    let policy = policy::shown(control, Some(&path)).ok();
    let entries = entries(control, &path, EXPLAINED_BY).await?;
    Ok(Explained { words: explain(&node, policy.as_ref()), path, entries })
}

/// What is stored, and what is at hand and not stored yet.
async fn entries(control: &Control, path: &str, limit: u32) -> Result<Vec<Told>, Problem> {
    let at_hand = control.tree.supervision().journal.latest(path, limit as usize);
    let stored = control.store.journal(path, limit).await?;
    Ok(merged(stored, &at_hand, limit as usize).into_iter().map(Told::from).collect())
}

fn merged(mut stored: Vec<Entry>, at_hand: &[Arc<Entry>], limit: usize) -> Vec<Entry> {
    let is_stored = |entry: &Entry| {
        let from = stored.partition_point(|other| other.at < entry.at);
        stored[from..].iter().take_while(|other| other.at == entry.at).any(|other| other == entry)
    };
    let oldest = stored.first().map(|entry| entry.at).filter(|_| stored.len() >= limit);
    let more: Vec<Entry> = at_hand
        .iter()
        .filter(|entry| oldest.is_none_or(|oldest| entry.at >= oldest) && !is_stored(entry))
        .map(|entry| Entry::clone(entry))
        .collect();
    stored.extend(more);
    stored.sort_by_key(|entry| entry.at);
    stored.drain(..stored.len().saturating_sub(limit));
    stored
}

#[cfg(test)]
mod tests {
    use empire_actors::kernel::journal::Event;
    use empire_actors::ports::UnixMillis;

    use super::*;

    #[test]
    fn what_is_at_hand_and_stored_is_told_once() {
        let entry = |at: i64, incarnation| Entry {
            at: UnixMillis(at),
            path: "/empire/guard".into(),
            event: Event::Started { incarnation },
        };
        let stored = vec![entry(1, 1), entry(2, 2), entry(2, 3)];
        let at_hand: Vec<Arc<Entry>> =
            [entry(2, 2), entry(2, 3), entry(2, 4), entry(5, 5)].into_iter().map(Arc::new).collect();
        let numbers = |entries: Vec<Entry>| -> Vec<u32> {
            let number = |entry: &Entry| match entry.event {
                Event::Started { incarnation } => incarnation,
                _ => 0,
            };
            entries.iter().map(number).collect()
        };
        assert_eq!(numbers(merged(stored.clone(), &at_hand, 100)), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(merged(stored, &at_hand, 3)), [3, 4, 5]);
    }
}
