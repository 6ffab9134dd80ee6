//! The nodes of a house, and what the program alone says of the policy of each. The tree is made of
//! this; whoever looks where no process runs reads the same.

use std::time::Duration;

use crate::kernel::policy::{OnExhausted, Policy, Restart, Strategy};
use crate::kernel::tree::{NodeKind, ROOT};
use crate::model::ProviderId;

/// How long a job's stop may take beyond its drain: for cells to be cancelled and heard.
const JOB_STOPS_WITHIN: Duration = Duration::from_secs(10);

/// What a node is, and its policy where nobody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What it is.
    pub kind: NodeKind,
    /// What the program says of it.
    pub policy: Policy,
}

/// The paths of the nodes that a house always has: with these providers, and so many privacy workers.
pub fn always<'a>(
    providers: impl IntoIterator<Item = &'a ProviderId>,
    privacy_workers: usize,
) -> Vec<String> {
    let mut paths = vec![ROOT.to_owned()];
    let below = |name: &str| format!("{ROOT}/{name}");
    paths.extend(["guard", "gates", "gates/budget", "swarm"].map(below));
    paths.extend((0..privacy_workers).map(|number| below(&format!("gates/privacy-{number}"))));
    paths.extend(providers.into_iter().map(|id| below(&format!("gates/rate-{id}"))));
    paths.sort();
    paths
}

/// What the node at `path` is, if a house can have one there; a cohort has no policy of its own. A
/// pattern is taken for the nodes that it names.
#[must_use]
pub fn standing(path: &str) -> Option<Standing> {
    let actor = |policy| Some(Standing { kind: NodeKind::Actor, policy });
    let supervisor =
        |policy: Policy| Some(Standing { kind: NodeKind::Supervisor, policy: policy.of_supervisor() });
    let below = path.strip_prefix(ROOT)?;
    match below {
        // Nobody stops the root but the process, in its own time.
        "" => Some(Standing { kind: NodeKind::Supervisor, policy: Policy::default() }),
        "/guard" | "/gates/budget" => actor(Policy::default()),
        "/gates" => supervisor(gates()),
        "/swarm" => supervisor(Policy::default()),
        _ if is_one(below, "/gates/privacy-") => actor(Policy::default()),
        _ if is_one(below, "/gates/rate-") => actor(lane()),
        _ if is_one(below, "/swarm/job-") => actor(job()),
        _ => None,
    }
}

fn is_one(below: &str, kind: &str) -> bool {
    below.strip_prefix(kind).is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Gates depend on each other from left to right: when one restarts, so do those after it.
pub(crate) fn gates() -> Policy {
    Policy { strategy: Strategy::RestForOne, ..Policy::default() }
}

/// A provider's lane that fails again and again rests; it does not take the others down.
pub(crate) fn lane() -> Policy {
    Policy { on_exhausted: OnExhausted::PauseAndAlert, ..Policy::default() }
}

/// One job that fails too often is left down; the others go on.
pub(crate) fn job() -> Policy {
    Policy {
        restart: Restart::Transient,
        stop_within: JOB_STOPS_WITHIN,
        on_exhausted: OnExhausted::Quarantine,
        ..Policy::default()
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_node_that_always_is_stands_somewhere_and_nothing_else_does() {
        let providers = [ProviderId::from("kimi"), ProviderId::from("ollama")];
        let paths = always(&providers, 2);
        assert_eq!(paths.len(), 9);
        assert!(paths.iter().all(|path| standing(path).is_some()), "{paths:?}");
        for path in ["/empire/gates/rate-", "/empire/gates/rate", "/empires", "/empire/swarm/job-a/cohort-0"]
        {
            assert_eq!(standing(path), None, "{path}");
        }
    }
}
