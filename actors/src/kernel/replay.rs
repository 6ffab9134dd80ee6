//! Recorded exits once more, under other policies: what would have been decided. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::journal::{Entry, Event};
use super::policy::{Action, ChildExit, History, Policy};
use crate::ports::UnixMillis;

/// An exit, what was decided about it, and what would have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// When.
    pub at: UnixMillis,
    /// Who ended.
    pub path: String,
    /// How.
    pub exit: ChildExit,
    /// What was decided.
    pub was: Action,
    /// What would have been, waits without their random part.
    pub would_be: Action,
    /// Restarts that would have counted before.
    pub in_window: usize,
}

impl Replayed {
    /// Whether the decision is another one; how long to wait does not count.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.was.word() != self.would_be.word()
    }
}

/// Decides about the exits among `entries` once more, oldest first, by the policies that
/// `policy_of` gives for a path. A supervisor that would have given up begins anew.
#[must_use]
pub fn replay(entries: &[Entry], policy_of: impl Fn(&str) -> Policy) -> Vec<Replayed> {
    let mut histories: HashMap<&str, History> = HashMap::new();
    let started = entries.iter().map(|entry| entry.at.0).min().unwrap_or(0);
    let mut ordered: Vec<&Entry> = entries.iter().collect();
    ordered.sort_by_key(|entry| entry.at);
    let mut replayed = Vec::new();
    for entry in ordered {
        let Event::Exit(decision) = &entry.event else { continue };
        let (above, child) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        let now = Duration::from_millis((entry.at.0 - started).unsigned_abs());
        let (policy, own) = (policy_of(above), policy_of(&entry.path));
        let history = histories.entry(above).or_default();
        let in_window = history.in_window(&policy, now);
        let would_be = history.decide(&policy, &own, child, &decision.exit, now, 0.0);
        if would_be == Action::Escalate {
            *history = History::default();
        }
        replayed.push(Replayed {
            at: entry.at,
            path: entry.path.clone(),
            exit: decision.exit.clone(),
            was: decision.action.clone(),
            would_be,
            in_window,
        });
    }
    replayed
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::super::journal::Decision;
    use super::super::policy::OnExhausted;
    use super::*;

    #[test]
    fn a_stricter_policy_would_have_decided_otherwise() {
        let entry = |at: i64| Entry {
            at: UnixMillis(1_000_000 + at),
            path: "/empire/gates/budget".into(),
            event: Event::Exit(Decision {
                exit: ChildExit::Failed("boom".into()),
                action: Action::Restart { delay: Duration::from_millis(47) },
                in_window: 0,
                limit: 5,
                window_ms: 60_000,
                policy: 0,
                on_exhausted: OnExhausted::Escalate,
            }),
        };
        let entries: Vec<Entry> = [2_000, 0, 1_000, 90_000].map(entry).into();
        let same = replay(&entries, |_| Policy::default());
        assert!(same.iter().all(|one| !one.differs()), "{same:?}");
        let strict = Policy { intensity: 2, on_exhausted: OnExhausted::Quarantine, ..Policy::default() };
        let actions: Vec<_> = replay(&entries, |_| strict).iter().map(|one| one.would_be.word()).collect();
        assert_eq!(actions, ["restart", "restart", "quarantine", "restart"]);
    }
}
