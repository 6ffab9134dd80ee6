//! What is seen of single agents without asking them: who is in a call, and who died of what.
//! Only calls under way and a handful of ends are kept, so waiting agents cost nothing.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::kernel::sight::CallView;

/// Dead agents that a job shows.
const SHOWN: usize = 8;
/// Characters of why one died.
const LONGEST_WHY: usize = 200;

/// Of one job.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// By item, at most as many as lanes let through.
    calls: Mutex<HashMap<u32, Calling>>,
    dead: Mutex<VecDeque<Dead>>,
}

#[derive(Debug)]
struct Calling {
    provider: String,
    model: String,
    since: Instant,
}

/// An agent that died.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Dead {
    /// Its item's number as people count, from 1.
    item: u32,
    why: String,
}

/// A call under way, until this is dropped.
pub(crate) struct Seen<'a> {
    sight: &'a Sight,
    item: u32,
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.sight.calls.lock().remove(&self.item);
    }
}

impl Sight {
    /// The agent of `item` calls `model` at `provider` now.
    pub(crate) fn calling(&self, item: u32, provider: &str, model: &str) -> Seen<'_> {
        let calling =
            Calling { provider: provider.to_owned(), model: model.to_owned(), since: Instant::now() };
        self.calls.lock().insert(item, calling);
        Seen { sight: self, item }
    }

    /// The call that the agent of `item` is in.
    pub(crate) fn call_of(&self, item: u32) -> Option<CallView> {
        let calls = self.calls.lock();
        let Calling { provider, model, since } = calls.get(&item)?;
        let for_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(CallView { provider: provider.clone(), model: model.clone(), for_ms })
    }

    /// How many calls are at this provider.
    pub(crate) fn calls_at(&self, provider: &str) -> u64 {
        self.calls.lock().values().filter(|calling| calling.provider == provider).count() as u64
    }

    /// The agent of `item` died.
    pub(crate) fn died(&self, item: u32, why: &str) {
        let mut dead = self.dead.lock();
        if dead.len() == SHOWN {
            dead.pop_front();
        }
        dead.push_back(Dead { item: item + 1, why: why.chars().take(LONGEST_WHY).collect() });
    }

    /// The latest that died, oldest first.
    pub(crate) fn latest_dead(&self) -> Vec<Dead> {
        self.dead.lock().iter().cloned().collect()
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_seen_until_it_is_over_and_the_latest_dead_are_kept() {
        let sight = Sight::default();
        let call = sight.calling(3, "kimi", "kimi-k2.6");
        tokio::time::advance(Duration::from_millis(40)).await;
        let seen = CallView { provider: "kimi".into(), model: "kimi-k2.6".into(), for_ms: 40 };
        assert_eq!((sight.call_of(3), sight.call_of(4)), (Some(seen), None));
        assert_eq!((sight.calls_at("kimi"), sight.calls_at("claude")), (1, 0));
        drop(call);
        assert_eq!(sight.call_of(3), None);
        (0..20).for_each(|item| sight.died(item, &"why ".repeat(500)));
        let dead = sight.latest_dead();
        assert_eq!((dead.len(), dead[0].item, dead[SHOWN - 1].item), (SHOWN, 13, 20));
        assert_eq!(dead[0].why.chars().count(), LONGEST_WHY);
    }
}
