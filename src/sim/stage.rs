//! A scenario being played: what has happened in it so far decides what happens next.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::time::Instant;

use super::dialect::Dialect;
use super::dice::Dice;
use super::prefix::Prefixes;
use super::scenario::Scenario;

/// Contents beyond this many are taken as seen for the first time, to bound memory.
const MOST_SEEN: usize = 4_000_000;
/// An account that does not run dry.
const ENDLESS: u64 = u64::MAX;

/// A scenario and how far it has come.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) scenario: Scenario,
    started: Instant,
    calls: [AtomicU64; 3],
    /// Answers that each account still pays for.
    credit: [AtomicU64; 3],
    seen: DashMap<[u8; 16], u32>,
    pub(super) prefixes: Prefixes,
}

impl Stage {
    pub(super) fn new(scenario: Scenario) -> Stage {
        let credit = Dialect::ALL
            .map(|dialect| AtomicU64::new(scenario.behaviour(dialect).dry_after_calls.unwrap_or(ENDLESS)));
        Stage {
            scenario,
            started: Instant::now(),
            calls: Default::default(),
            credit,
            seen: DashMap::new(),
            prefixes: Prefixes::default(),
        }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The number of this call, from 0.
    pub(super) fn number(&self, dialect: Dialect) -> u64 {
        self.calls[dialect.index()].fetch_add(1, Ordering::Relaxed)
    }

    /// The draws of a request, which may have been seen before.
    pub(super) fn dice(&self, dialect: Dialect, content: &blake3::Hash) -> Dice {
        let mut key = [dialect as u8; 16];
        key[1..].copy_from_slice(&content.as_bytes()[..15]);
        let nth = if let Some(mut times) = self.seen.get_mut(&key) {
            *times = times.saturating_add(1);
            *times - 1
        } else if self.seen.len() < MOST_SEEN {
            let mut times = self.seen.entry(key).or_insert(0);
            *times += 1;
            *times - 1
        } else {
            0
        };
        Dice::new(self.scenario.seed(), dialect, content, nth)
    }

    /// Whether the account pays for no further answer.
    pub(super) fn is_dry(&self, dialect: Dialect) -> bool {
        self.credit[dialect.index()].load(Ordering::Relaxed) == 0
    }

    /// Takes one answer from the account; false if it is dry.
    pub(super) fn pay(&self, dialect: Dialect) -> bool {
        let pay = |credit| match credit {
            ENDLESS => Some(ENDLESS),
            _ => u64::checked_sub(credit, 1),
        };
        self.credit[dialect.index()].fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    /// Adds `calls` answers to the account, or makes it endless.
    pub(super) fn top_up(&self, dialect: Dialect, calls: Option<u64>) {
        let add = |credit: u64| Some(calls.map_or(ENDLESS, |calls| credit.saturating_add(calls)));
        // The closure always gives a value, so this always succeeds.
        let _previous = self.credit[dialect.index()].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_pays_for_exactly_its_credit() {
        let scenario = Scenario::parse("x", "name: x\nkimi: {dry_after_calls: 2}").unwrap();
        let stage = Stage::new(scenario);
        assert!(stage.pay(Dialect::Kimi) && stage.pay(Dialect::Kimi));
        assert!(!stage.pay(Dialect::Kimi) && stage.is_dry(Dialect::Kimi));
        stage.top_up(Dialect::Kimi, Some(1));
        assert!(stage.pay(Dialect::Kimi) && !stage.pay(Dialect::Kimi));
        stage.top_up(Dialect::Kimi, None);
        assert!((0..100).all(|_| stage.pay(Dialect::Kimi)));
        assert!(stage.pay(Dialect::Claude));
    }
}
