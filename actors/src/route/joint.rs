//! Joins identical calls: whoever comes first leads, and the others wait for what it brings.
//!
//! A flight lasts as long as its leader asks for the same thing, tries again and waits to do so
//! included. Only what comes from outside is shared: an answer, a kept answer, or a failure that
//! made the leader give up. A leader that leaves for reasons of its own (its job stops, a gate of
//! its own refuses, it panics) shares nothing: the next in line takes over.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::failure::CallError;
use crate::ports::{CallKey, Reply};

/// What identical calls have in common. Calls that may take a kept answer are not joined with
/// those that may not: that one must be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// What is asked.
    pub call: CallKey,
    /// Whether a kept answer serves.
    pub reads_kept: bool,
}

/// What a flight brings to all who wait for it.
#[derive(Debug, Clone)]
pub enum Brought {
    /// An answer that was kept; it passed its check then.
    Kept(Arc<str>),
    /// An answer, not checked yet.
    Answer(Reply),
    /// The leader gave up after so many failures, the last of them this one.
    Failed {
        /// The last failure.
        error: CallError,
        /// How many there were.
        failures: u32,
    },
}

type News = Result<Arc<Brought>, Lead>;
type Flights = Mutex<HashMap<FlightKey, VecDeque<oneshot::Sender<News>>>>;

/// Identical calls under way. Clones share it; a follower costs it one channel.
#[derive(Debug, Clone, Default)]
pub struct Joint {
    /// Who waits, by what they wait for.
    flights: Arc<Flights>,
}

/// How a call enters the joint.
#[derive(Debug)]
pub enum Entry {
    /// Nobody else asks this now: this one does, for all that come.
    Lead(Lead),
    /// Another one's call brought this.
    Shared(Arc<Brought>),
}

impl Joint {
    /// Leads at once, or waits for what the leader brings. Dropping the future leaves the line.
    pub async fn enter(&self, key: FlightKey) -> Entry {
        let receiver = {
            let mut flights = self.flights.lock();
            match flights.get_mut(&key) {
                Some(waiting) => {
                    // Who left the line is forgotten here, so that it stays as short as it is.
                    while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                        waiting.pop_front();
                    }
                    let (sender, receiver) = oneshot::channel();
                    waiting.push_back(sender);
                    receiver
                }
                None => {
                    flights.insert(key, VecDeque::new());
                    return Entry::Lead(Lead { flights: Some(self.flights.clone()), key });
                }
            }
        };
        match receiver.await {
            Ok(Ok(brought)) => Entry::Shared(brought),
            Ok(Err(lead)) => Entry::Lead(lead),
            // A flight's senders go only with its end; then the next call leads.
            Err(_) => Box::pin(self.enter(key)).await,
        }
    }

    /// Flights under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.flights.lock().len()
    }
}

/// The right and the duty to ask for all that wait. Dropping it passes it on.
#[derive(Debug)]
#[must_use = "a dropped lead goes to the next in line"]
pub struct Lead {
    /// `None` once it is passed on or over.
    flights: Option<Arc<Flights>>,
    key: FlightKey,
}

impl Lead {
    /// What is asked.
    #[must_use]
    pub fn key(&self) -> CallKey {
        self.key.call
    }

    /// Ends the flight: all that wait get this.
    pub fn share(mut self, brought: Brought) {
        let Some(flights) = self.flights.take() else { return };
        let waiting = flights.lock().remove(&self.key).unwrap_or_default();
        if waiting.is_empty() {
            return;
        }
        let brought = Arc::new(brought);
        for follower in waiting {
            // One that has left needs nothing.
            let _ = follower.send(Ok(brought.clone()));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(flights) = self.flights.take() else { return };
        loop {
            let next = {
                let mut all = flights.lock();
                let next = all.get_mut(&self.key).and_then(VecDeque::pop_front);
                if next.is_none() {
                    all.remove(&self.key);
                }
                next
            };
            let Some(follower) = next else { return };
            let lead = Lead { flights: Some(flights.clone()), key: self.key };
            match follower.send(Err(lead)) {
                Ok(()) => return,
                // It has left. Its lead is taken back here: dropping it would come back into this
                // function, as deep as the line is long.
                Err(Err(mut lead)) => drop(lead.flights.take()),
                Err(Ok(_)) => {}
            }
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::ports::Finish;

    fn key(n: u8, reads_kept: bool) -> FlightKey {
        FlightKey { call: CallKey([n; 32]), reads_kept }
    }

    fn answer(text: &str) -> Brought {
        Brought::Answer(Reply { text: text.into(), usage: None, finish: Finish::Stop })
    }

    fn text_of(brought: &Brought) -> &str {
        match brought {
            Brought::Answer(reply) => &reply.text,
            Brought::Kept(text) => text,
            Brought::Failed { .. } => "",
        }
    }

    async fn lead(joint: &Joint, key: FlightKey) -> Lead {
        match joint.enter(key).now_or_never() {
            Some(Entry::Lead(lead)) => lead,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn followers_get_what_the_leader_brings_and_the_next_call_is_a_new_one() {
        let joint = Joint::default();
        let first = lead(&joint, key(1, true)).await;
        let mut followers: Vec<_> = (0..99).map(|_| Box::pin(joint.enter(key(1, true)))).collect();
        assert!(followers.iter_mut().all(|follower| follower.now_or_never().is_none()));
        let apart = [lead(&joint, key(2, true)).await, lead(&joint, key(1, false)).await];
        assert_eq!(joint.under_way(), 3);
        first.share(answer("x"));
        for entry in join_all(followers).await {
            assert!(matches!(entry, Entry::Shared(brought) if text_of(&brought) == "x"));
        }
        drop((apart, lead(&joint, key(1, true)).await));
        assert_eq!(joint.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_leaves_passes_the_lead_on_past_those_who_left() {
        let joint = Joint::default();
        let first = lead(&joint, key(1, true)).await;
        let mut followers: Vec<_> = (0..10_000).map(|_| Box::pin(joint.enter(key(1, true)))).collect();
        assert!(followers.iter_mut().all(|follower| follower.now_or_never().is_none()));
        let last = followers.pop().unwrap();
        drop(followers);
        drop(first);
        let Entry::Lead(lead) = last.await else { panic!("nobody leads") };
        drop(lead);
        assert_eq!(joint.under_way(), 0);
    }

    proptest! {
        /// Whatever leaves, shares or comes, in whatever order: at most one leads at a time, nobody
        /// waits for nobody, and nothing is left behind.
        #[test]
        fn there_is_always_exactly_one_leader(steps in prop::collection::vec((0u8..4, 0usize..8), 0..80)) {
            let joint = Joint::default();
            let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = Entry> + '_>>> = Vec::new();
            let mut leads: Vec<Lead> = Vec::new();
            for (step, which) in steps {
                match step {
                    0 | 1 => waiting.push(Box::pin(joint.enter(key(1, true)))),
                    2 if !waiting.is_empty() => drop(waiting.swap_remove(which % waiting.len())),
                    3 => if let Some(lead) = leads.pop() {
                        if which % 2 == 0 { lead.share(answer("x")) } else { drop(lead) }
                    }
                    _ => {}
                }
                // Twice: a lead that came to one who left in the same moment goes on.
                for _ in 0..2 {
                    waiting.retain_mut(|one| match one.as_mut().now_or_never() {
                        None => true,
                        Some(Entry::Lead(lead)) => { leads.push(lead); false }
                        Some(Entry::Shared(_)) => false,
                    });
                }
                prop_assert!(leads.len() <= 1);
                prop_assert!(waiting.is_empty() || leads.len() == 1, "somebody waits for nobody");
            }
            drop((waiting, leads));
            prop_assert_eq!(joint.under_way(), 0);
        }
    }
}
