//! What happens in the tree, as it happens.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use empire_actors::kernel::journal::Entry;
use empire_actors::kernel::tree::{NodeState, ROOT};
use empire_actors::ports::UnixMillis;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::Interval;

use super::problem::Problem;
use super::shapes::{Changed, PathQuery, Told};
use super::{Control, full_path};

/// Who may watch at once; each has a connection for as long.
pub(super) const MOST_WATCHERS: usize = 16;
/// How often states are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

type States = BTreeMap<String, (NodeState, u32)>;

struct Watching {
    control: Arc<Control>,
    path: String,
    entries: broadcast::Receiver<Arc<Entry>>,
    look: Interval,
    known: States,
    waiting: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

pub(super) fn watch(control: &Arc<Control>, query: &PathQuery) -> Result<Response, Problem> {
    let path = match &query.path {
        None => ROOT.to_owned(),
        Some(path) => control.resolve(Some(path)).unwrap_or_else(|_| full_path(path)),
    };
    let place = control.watchers.clone().try_acquire_owned().map_err(|_| Problem::busy("watchers"))?;
    let watching = Watching {
        entries: control.tree.supervision().journal.follow(),
        look: tokio::time::interval(LOOK_EVERY),
        known: states(control, &path),
        waiting: VecDeque::new(),
        control: control.clone(),
        path,
        _place: place,
    };
    let events = stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl Watching {
    /// `None` once the tree is gone.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                entry = self.entries.recv() => match entry {
                    Ok(entry) if is_within(&entry.path, &self.path) => {
                        return Some(event("entry", &Told::from(Entry::clone(&entry))));
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(missed)) => return Some(event("missed", &missed)),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.look.tick() => {
                    let now = states(&self.control, &self.path);
                    let changed = changes(&self.known, &now, self.control.clock.now());
                    self.waiting.extend(changed.iter().map(|changed| event("state", changed)));
                    self.known = now;
                }
            }
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(data)
}

fn states(control: &Control, path: &str) -> States {
    let nodes = control.tree.nodes().into_iter().filter(|node| is_within(&node.path, path));
    nodes.map(|node| (node.path, (node.state, node.incarnation))).collect()
}

fn changes(before: &States, now: &States, at: UnixMillis) -> Vec<Changed> {
    let gone =
        before.iter().filter(|(path, _)| !now.contains_key(*path)).map(|(path, (state, incarnation))| {
            Changed { at, path: path.clone(), from: Some(*state), to: None, incarnation: *incarnation }
        });
    let other = now.iter().filter_map(|(path, (state, incarnation))| {
        let from = before.get(path).map(|(state, _)| *state);
        let changed = Changed { at, path: path.clone(), from, to: Some(*state), incarnation: *incarnation };
        (from != Some(*state)).then_some(changed)
    });
    gone.chain(other).collect()
}

/// Whether `path` is `above` or below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_gone_or_other_is_told() {
        let states = |pairs: &[(&str, NodeState)]| -> States {
            pairs.iter().map(|(path, state)| ((*path).to_owned(), (*state, 1))).collect()
        };
        let before =
            states(&[("/a", NodeState::Running), ("/b", NodeState::Running), ("/c", NodeState::Paused)]);
        let now =
            states(&[("/a", NodeState::Running), ("/b", NodeState::Paused), ("/d", NodeState::Starting)]);
        let told: Vec<_> = changes(&before, &now, UnixMillis(0))
            .into_iter()
            .map(|changed| (changed.path, changed.from, changed.to))
            .collect();
        assert_eq!(
            told,
            [
                ("/c".to_owned(), Some(NodeState::Paused), None),
                ("/b".to_owned(), Some(NodeState::Running), Some(NodeState::Paused)),
                ("/d".to_owned(), None, Some(NodeState::Starting)),
            ]
        );
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && !is_within("/ab", "/a"));
    }
}
