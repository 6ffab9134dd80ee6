//! The waiting room: who goes next. Fair between jobs (deficit round-robin by cost, weighted),
//! by priority class with ageing, aware of deadlines. Pure, and generic over what a waiter leaves
//! as its ticket.
//!
//! A waiter costs a place in a slab and two links, so that half a million of them cost tens of
//! bytes each; entering, leaving and going next cost the same however many wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::slab::Key;
use super::slab::Slab;

/// A waiter rises by one class each time that it has waited so long.
pub const AGE: Duration = Duration::from_secs(30);
/// How waiters of different classes that are of equal rank by age share the turns.
const SHARES: [i64; Class::COUNT] = [8, 3, 1];
/// No waiter, in a link.
const NONE: u32 = u32::MAX;

/// How urgent a call is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A person waits for it.
    Interactive,
    /// As most work.
    #[default]
    Normal,
    /// Whenever there is room.
    Batch,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// Every class, the most urgent first.
    pub const ALL: [Class; Class::COUNT] = [Class::Interactive, Class::Normal, Class::Batch];

    /// Its name in specs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Normal => "normal",
            Class::Batch => "batch",
        }
    }
}

/// How a waiter enters.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose it is: jobs take turns.
    pub job: Arc<str>,
    /// How urgent it is.
    pub class: Class,
    /// The job's share beside others of its class; at least 1.
    pub weight: u16,
    /// What it costs of what is shared, such as tokens.
    pub cost: u32,
    /// When it must have gone, on the room's clock.
    pub deadline: Option<Duration>,
}

#[derive(Debug)]
struct Waiter<T> {
    ticket: T,
    entered_ms: u64,
    previous: u32,
    next: u32,
    flow: u32,
    cost: u32,
}

/// The waiters of one job and class, first come, first served.
#[derive(Debug)]
struct Flow {
    job: Arc<str>,
    weight: i64,
    head: u32,
    tail: u32,
    length: usize,
    /// What it may still take in this turn; below zero, what it has taken too much.
    credit: i64,
}

/// The jobs of one class.
#[derive(Debug, Default)]
struct Line {
    flows: HashMap<Arc<str>, u32>,
    /// Whose turn it is, and who follows.
    ring: VecDeque<u32>,
    length: usize,
    cost: u64,
    /// Against the other classes, where age has made them equal.
    credit: i64,
}

impl Line {
    /// What one turn is worth: the mean cost of those who wait.
    fn quantum(&self) -> i64 {
        (self.cost / (self.length as u64).max(1)).max(1).cast_signed()
    }
}

/// Who would go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Its key.
    pub key: Key,
    /// Its class and age in one: 0 goes first.
    pub rank: usize,
    /// When it came, on the room's clock.
    pub entered: Duration,
}

/// The waiting room.
#[derive(Debug)]
pub struct Room<T> {
    waiters: Slab<Waiter<T>>,
    flows: Slab<(usize, Flow)>,
    lines: [Line; Class::COUNT],
    /// Who has a deadline, the earliest first; who has left is still in it for a while.
    deadlines: BinaryHeap<Reverse<(u64, Key)>>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Room {
            waiters: Slab::default(),
            flows: Slab::default(),
            lines: Default::default(),
            deadlines: BinaryHeap::new(),
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
impl<T> Room<T> {
    /// Bytes that a waiter without a deadline takes.
    pub(super) const WAITER_BYTES: usize = Slab::<Waiter<T>>::PLACE_BYTES;

    /// Bytes that are reserved for those who wait, in use or not.
    pub(super) fn bytes(&self) -> usize {
        self.waiters.bytes() + self.deadlines.capacity() * size_of::<Reverse<(u64, Key)>>()
    }

    /// Waiters and jobs that were looked at so far.
    pub(super) fn looks(&self) -> u64 {
        self.waiters.looks() + self.flows.looks()
    }
}

impl<T> Room<T> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait in each class.
    #[must_use]
    pub fn by_class(&self) -> [usize; Class::COUNT] {
        [0, 1, 2].map(|class: usize| self.lines[class].length)
    }

    /// Takes a place at the end of its job's line. The key is good for leaving.
    pub fn enter(&mut self, now: Duration, entry: &Entry, ticket: T) -> Key {
        let class = entry.class as usize;
        let flow = self.flow_of(class, entry);
        let waiter = Waiter {
            ticket,
            entered_ms: millis(now),
            previous: NONE,
            next: NONE,
            flow,
            cost: entry.cost.max(1),
        };
        let key = self.waiters.insert(waiter);
        let line = &mut self.lines[class];
        line.length += 1;
        line.cost += u64::from(entry.cost.max(1));
        if let Some((_, flow)) = self.flows.at_mut(flow) {
            flow.weight = i64::from(entry.weight.max(1));
            let tail = std::mem::replace(&mut flow.tail, key.index);
            flow.length += 1;
            if tail == NONE {
                flow.head = key.index;
            } else {
                self.link(tail, key.index);
            }
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.push(Reverse((millis(deadline), key)));
            self.forget_deadlines_of_those_gone();
        }
        key
    }

    fn flow_of(&mut self, class: usize, entry: &Entry) -> u32 {
        let line = &mut self.lines[class];
        if let Some(flow) = line.flows.get(&*entry.job) {
            return *flow;
        }
        // A first turn's worth, so that a newcomer goes when the turn comes round to it.
        let credit = line.quantum().saturating_mul(i64::from(entry.weight.max(1)));
        let flow = Flow { job: entry.job.clone(), weight: 1, head: NONE, tail: NONE, length: 0, credit };
        let index = self.flows.insert((class, flow)).index;
        line.flows.insert(entry.job.clone(), index);
        line.ring.push_back(index);
        index
    }

    fn link(&mut self, before: u32, after: u32) {
        if let Some(waiter) = self.waiters.at_mut(before) {
            waiter.next = after;
        }
        if let Some(waiter) = self.waiters.at_mut(after) {
            waiter.previous = before;
        }
    }

    /// Leaves without having gone; an old key changes nothing.
    pub fn leave(&mut self, key: Key) -> Option<T> {
        self.remove(key).map(|waiter| waiter.ticket)
    }

    /// Who a key names.
    #[must_use]
    pub fn ticket(&self, key: Key) -> Option<&T> {
        self.waiters.get(key).map(|waiter| &waiter.ticket)
    }

    /// The same, to be changed.
    pub fn ticket_mut(&mut self, key: Key) -> Option<&mut T> {
        self.waiters.get_mut(key).map(|waiter| &mut waiter.ticket)
    }

    fn remove(&mut self, key: Key) -> Option<Waiter<T>> {
        let waiter = self.waiters.remove(key)?;
        if waiter.previous != NONE
            && let Some(before) = self.waiters.at_mut(waiter.previous)
        {
            before.next = waiter.next;
        }
        if waiter.next != NONE
            && let Some(after) = self.waiters.at_mut(waiter.next)
        {
            after.previous = waiter.previous;
        }
        if let Some((class, flow)) = self.flows.at_mut(waiter.flow) {
            flow.length -= 1;
            if flow.head == key.index {
                flow.head = waiter.next;
            }
            if flow.tail == key.index {
                flow.tail = waiter.previous;
            }
            let line = &mut self.lines[*class];
            line.length -= 1;
            line.cost -= u64::from(waiter.cost);
        }
        if self.waiters.len() == 0 {
            // Whoever took too much took it from nobody.
            *self = Room { waiters: std::mem::take(&mut self.waiters), ..Room::default() };
        }
        Some(waiter)
    }

    /// Who goes next; it stays until it is [taken](Self::take).
    pub fn next(&mut self, now: Duration) -> Option<Next> {
        let candidates = self.candidates(now);
        let best = candidates.iter().flatten().map(|next| next.rank).min()?;
        let tied = |class: &usize| candidates[*class].is_some_and(|next| next.rank == best);
        let class = (0..Class::COUNT)
            .filter(tied)
            .max_by_key(|class| (self.lines[*class].credit + SHARES[*class], Reverse(*class)))?;
        candidates[class]
    }

    /// The next one of each class.
    fn candidates(&mut self, now: Duration) -> [Option<Next>; Class::COUNT] {
        [0, 1, 2].map(|class: usize| {
            let flow = self.turn(class)?;
            let head = self.flows.at(flow)?.1.head;
            let entered_ms = self.waiters.at(head)?.entered_ms;
            let risen = millis(now).saturating_sub(entered_ms) / millis(AGE);
            let rank = class.saturating_sub(usize::try_from(risen).unwrap_or(usize::MAX));
            Some(Next { key: self.waiters.key_at(head)?, rank, entered: Duration::from_millis(entered_ms) })
        })
    }

    /// The job of a class whose turn it is. Who has used up its turn goes to the end, with the
    /// next turn's worth.
    fn turn(&mut self, class: usize) -> Option<u32> {
        let line = &mut self.lines[class];
        if line.length == 0 {
            return None;
        }
        let quantum = line.quantum();
        let mut passed = 0;
        loop {
            let index = *line.ring.front()?;
            let Some((_, flow)) = self.flows.at_mut(index) else {
                line.ring.pop_front();
                continue;
            };
            if flow.length > 0 && flow.credit > 0 {
                return Some(index);
            }
            line.ring.pop_front();
            if flow.length == 0 && flow.credit >= 0 {
                line.flows.remove(&flow.job);
                let key = self.flows.key_at(index);
                key.and_then(|key| self.flows.remove(key));
                continue;
            }
            flow.credit = flow.credit.saturating_add(quantum.saturating_mul(flow.weight));
            line.ring.push_back(index);
            passed += 1;
            if passed > line.ring.len() {
                // All are in debt: so many rounds at once as the first of them needs.
                let rounds = |index: &u32| {
                    let (_, flow) = self.flows.at(*index)?;
                    (flow.length > 0).then(|| (-flow.credit).max(0) / (quantum * flow.weight).max(1))
                };
                let rounds = line.ring.iter().filter_map(rounds).min().unwrap_or(0);
                for index in &line.ring {
                    if let Some((_, flow)) = self.flows.at_mut(*index) {
                        let paid = rounds.saturating_mul(quantum).saturating_mul(flow.weight);
                        // Nobody saves up for later.
                        let most = quantum.saturating_mul(flow.weight).max(flow.credit);
                        flow.credit = flow.credit.saturating_add(paid).min(most);
                    }
                }
                passed = 0;
            }
        }
    }

    /// Takes the one that [`next`](Self::next) named: it goes, and its job pays for it.
    pub fn take(&mut self, now: Duration, next: Next) -> Option<T> {
        let flow_index = self.waiters.get(next.key)?.flow;
        let class = self.flows.at(flow_index)?.0;
        let candidates = self.candidates(now);
        let tied = candidates.map(|other| other.is_some_and(|other| other.rank == next.rank));
        if tied.iter().filter(|tied| **tied).count() > 1 {
            for (class, line) in self.lines.iter_mut().enumerate().filter(|(class, _)| tied[*class]) {
                line.credit += SHARES[class];
            }
            let all: i64 = SHARES.iter().zip(tied).filter(|(_, tied)| *tied).map(|(share, _)| share).sum();
            self.lines[class].credit -= all;
        }
        let cost = i64::from(self.waiters.get(next.key)?.cost);
        if let Some((_, flow)) = self.flows.at_mut(flow_index) {
            flow.credit = flow.credit.saturating_sub(cost);
        }
        self.leave(next.key)
    }

    /// Somebody who must have gone before `moment`, if anybody: it leaves.
    pub fn late(&mut self, moment: Duration) -> Option<T> {
        let moment = millis(moment);
        while let Some(Reverse((deadline, key))) = self.deadlines.peek().copied() {
            if deadline >= moment {
                return None;
            }
            self.deadlines.pop();
            if let Some(ticket) = self.leave(key) {
                return Some(ticket);
            }
        }
        None
    }

    /// The earliest deadline of anybody who waits.
    pub fn first_deadline(&mut self) -> Option<Duration> {
        while let Some(Reverse((deadline, key))) = self.deadlines.peek().copied() {
            if self.waiters.get(key).is_some() {
                return Some(Duration::from_millis(deadline));
            }
            self.deadlines.pop();
        }
        None
    }

    fn forget_deadlines_of_those_gone(&mut self) {
        if self.deadlines.len() > 2 * self.waiters.len() + 64 {
            let waiters = &self.waiters;
            self.deadlines.retain(|Reverse((_, key))| waiters.get(*key).is_some());
        }
    }

    /// How many go before one that would enter now, and what they cost, if nobody else comes.
    #[must_use]
    pub fn ahead_of(&self, entry: &Entry) -> (u64, u64) {
        let class = entry.class as usize;
        let more_urgent = &self.lines[..class];
        let mut calls: u64 = more_urgent.iter().map(|line| line.length as u64).sum();
        let mut cost: u64 = more_urgent.iter().map(|line| line.cost).sum();
        let line = &self.lines[class];
        let own = line.flows.get(&*entry.job).copied();
        let length_of = |index: u32| self.flows.at(index).map_or(0, |(_, flow)| flow.length as u64);
        let turns = own.map_or(0, length_of) + 1;
        for index in line.flows.values() {
            let Some((_, flow)) = self.flows.at(*index) else { continue };
            let length = flow.length as u64;
            let before = match Some(*index) == own {
                true => length,
                // While this job has its turns, the others have theirs, by weight.
                false => length.min(turns * flow.weight.unsigned_abs() / u64::from(entry.weight.max(1))),
            };
            calls += before;
            cost += before * line.quantum().unsigned_abs();
        }
        (calls, cost)
    }

    /// Lets everybody out.
    pub fn clear(&mut self) -> Vec<T> {
        let keys: Vec<Key> =
            (0..self.waiters.places()).filter_map(|index| self.waiters.key_at(index)).collect();
        keys.into_iter().filter_map(|key| self.leave(key)).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(empire_loom)))]
mod tests;
