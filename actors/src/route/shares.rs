//! Ceilings on each provider's share of the recent calls and of the recent spend.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::ProviderId;
use crate::money::Micros;

/// What is done about a call that would break a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenOver {
    /// It waits for other calls to make room; once none are under way, its item stays pending.
    Defer,
    /// The next model is asked.
    Deny,
}

/// The ceilings, in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceilings {
    /// Of the calls, by provider.
    pub calls: BTreeMap<ProviderId, f64>,
    /// Of the spend, by provider.
    pub spend: BTreeMap<ProviderId, f64>,
    /// How many of the latest calls are looked at.
    pub window: usize,
    /// While there were fewer calls, as many as this are assumed: a ceiling of 4 % on a sample
    /// of 100 lets 4 calls go at once.
    pub sample: usize,
    /// What is done about a call that would break one.
    pub when_over: WhenOver,
}

/// A call that would break a ceiling.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the share of {provider} is at its ceiling: {percent} % of the {of} in the last {looked_at} calls ([route.shares])"
)]
pub struct OverShare {
    provider: ProviderId,
    percent: f64,
    of: &'static str,
    looked_at: usize,
}

/// What was called lately, and what is under way.
#[derive(Debug, Default)]
struct Recent {
    settled: VecDeque<(ProviderId, Micros)>,
    calls: BTreeMap<ProviderId, usize>,
    spend: BTreeMap<ProviderId, Micros>,
    spend_in_all: Micros,
    under_way: BTreeMap<ProviderId, usize>,
    under_way_in_all: usize,
}

impl Recent {
    fn admit(&self, ceilings: &Ceilings, provider: &ProviderId) -> Result<(), OverShare> {
        let count = |counts: &BTreeMap<ProviderId, usize>| counts.get(provider).copied().unwrap_or(0);
        let with_this = self.settled.len() + self.under_way_in_all + 1;
        let looked_at = with_this.max(ceilings.sample);
        let own = count(&self.calls) + count(&self.under_way) + 1;
        let over = |percent: f64, of| OverShare { provider: provider.clone(), percent, of, looked_at };
        if let Some(percent) = ceilings.calls.get(provider).copied()
            && own as f64 * 100.0 > percent * looked_at as f64
        {
            return Err(over(percent, "calls"));
        }
        // A share of little money says little: it counts from a full sample on.
        if let Some(percent) = ceilings.spend.get(provider).copied()
            && self.settled.len() >= ceilings.sample
            && let Some(own) = self.spend.get(provider)
            && own.0 as f64 * 100.0 > percent * self.spend_in_all.0 as f64
        {
            return Err(over(percent, "spend"));
        }
        Ok(())
    }

    fn begin(&mut self, provider: &ProviderId) {
        *self.under_way.entry(provider.clone()).or_default() += 1;
        self.under_way_in_all += 1;
    }

    fn end(&mut self, provider: &ProviderId, billed: Option<Micros>, window: usize) {
        if let Some(count) = self.under_way.get_mut(provider) {
            *count -= 1;
        }
        self.under_way_in_all -= 1;
        let Some(billed) = billed else { return };
        *self.calls.entry(provider.clone()).or_default() += 1;
        *self.spend.entry(provider.clone()).or_default() += billed;
        self.spend_in_all += billed;
        self.settled.push_back((provider.clone(), billed));
        if self.settled.len() > window
            && let Some((oldest, billed)) = self.settled.pop_front()
        {
            if let Some(count) = self.calls.get_mut(&oldest) {
                *count -= 1;
            }
            if let Some(spend) = self.spend.get_mut(&oldest) {
                *spend = *spend - billed;
            }
            self.spend_in_all = self.spend_in_all - billed;
        }
    }
}

/// The meter of shares. Bounded by its window.
#[derive(Debug)]
pub struct Shares {
    ceilings: Ceilings,
    recent: Mutex<Recent>,
    changed: Notify,
}

impl Shares {
    /// A meter that has seen nothing yet.
    #[must_use]
    pub fn new(ceilings: Ceilings) -> Arc<Shares> {
        Arc::new(Shares { ceilings, recent: Mutex::default(), changed: Notify::new() })
    }

    /// Counts a call to `provider` that is about to go. Under [`WhenOver::Defer`] it waits while
    /// other calls are under way that may make room.
    ///
    /// # Errors
    /// It would break a ceiling.
    pub(crate) async fn begin(self: &Arc<Self>, provider: &ProviderId) -> Result<Share, OverShare> {
        loop {
            let changed = self.changed.notified();
            let refused = {
                let mut recent = self.recent.lock();
                match recent.admit(&self.ceilings, provider) {
                    Ok(()) => {
                        recent.begin(provider);
                        return Ok(Share { shares: self.clone(), provider: provider.clone(), sent: None });
                    }
                    Err(over) if recent.under_way_in_all == 0 => return Err(over),
                    Err(over) => over,
                }
            };
            match self.ceilings.when_over {
                WhenOver::Deny => return Err(refused),
                WhenOver::Defer => changed.await,
            }
        }
    }

    /// What is done about a call that would break a ceiling.
    #[must_use]
    pub fn when_over(&self) -> WhenOver {
        self.ceilings.when_over
    }
}

/// A counted call. Dropping it before it was sent takes it back.
#[derive(Debug)]
#[must_use = "a dropped share is taken back"]
pub(crate) struct Share {
    shares: Arc<Shares>,
    provider: ProviderId,
    /// What it is billed, once it was sent.
    sent: Option<Micros>,
}

impl Share {
    /// The call left; until it is settled it counts for what was set aside for it.
    pub(crate) fn sent(&mut self, reserved: Micros) {
        self.sent = Some(reserved);
    }

    /// The call did not leave after all.
    pub(crate) fn held_back(mut self) {
        self.sent = None;
    }

    /// The call ended.
    pub(crate) fn settle(mut self, billed: Micros) {
        self.sent = Some(billed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let window = self.shares.ceilings.window;
        self.shares.recent.lock().end(&self.provider, self.sent, window);
        // Somebody who waits may go now, or has nobody left to wait for.
        self.shares.changed.notify_waiters();
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn ceilings(calls: f64, when_over: WhenOver) -> Ceilings {
        let calls = BTreeMap::from([("dear".into(), calls)]);
        Ceilings { calls, spend: BTreeMap::new(), window: 1_000, sample: 100, when_over }
    }

    fn call(shares: &Arc<Shares>, provider: &str, billed: u64) -> Result<(), OverShare> {
        let share = shares.begin(&provider.into()).now_or_never().expect("nothing is under way")?;
        share.settle(Micros(billed));
        Ok(())
    }

    #[test]
    fn the_first_calls_are_measured_against_the_sample() {
        let shares = Shares::new(ceilings(4.0, WhenOver::Deny));
        let went = (0..50).filter(|_| call(&shares, "dear", 1).is_ok()).count();
        assert_eq!(went, 4);
        let why = call(&shares, "dear", 1).unwrap_err().to_string();
        assert!(why.starts_with("the share of dear is at its ceiling: 4 % of the calls"), "{why}");
        (0..96).for_each(|_| call(&shares, "cheap", 0).unwrap());
        assert!(call(&shares, "dear", 1).is_err(), "5 of 101");
        (0..24).for_each(|_| call(&shares, "cheap", 0).unwrap());
        assert!(call(&shares, "dear", 1).is_ok(), "5 of 125");
    }

    #[test]
    fn a_share_of_the_spend_counts_from_a_full_sample_on() {
        let mut by_spend = ceilings(100.0, WhenOver::Deny);
        by_spend.spend = BTreeMap::from([("dear".into(), 50.0)]);
        by_spend.sample = 4;
        let shares = Shares::new(by_spend);
        for _ in 0..2 {
            call(&shares, "dear", 10).unwrap();
            call(&shares, "other", 5).unwrap();
        }
        assert!(call(&shares, "dear", 1).unwrap_err().to_string().contains("50 % of the spend"));
        call(&shares, "other", 10).unwrap();
        call(&shares, "dear", 10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_deferred_call_goes_once_others_made_room_and_is_refused_once_nobody_can() {
        let shares = Shares::new(ceilings(1.0, WhenOver::Defer));
        call(&shares, "dear", 1).unwrap();
        let mut under_way = Vec::new();
        for _ in 0..150 {
            under_way.push(shares.begin(&"cheap".into()).await.unwrap());
        }
        let dear = ProviderId::from("dear");
        let mut waiter = Box::pin(shares.begin(&dear));
        assert!((&mut waiter).now_or_never().is_none());
        let mut made_room = under_way.drain(..100);
        made_room.by_ref().for_each(|share| share.settle(Micros::ZERO));
        drop(made_room);
        assert!((&mut waiter).now_or_never().is_none(), "2 of 152 are more than 1 %");
        for _ in 0..60 {
            under_way.push(shares.begin(&"cheap".into()).await.unwrap());
        }
        under_way.pop().unwrap().settle(Micros::ZERO);
        let share = (&mut waiter).now_or_never().expect("there is room").unwrap();
        share.settle(Micros(1));
        drop(waiter);
        let mut waiter = Box::pin(shares.begin(&dear));
        assert!((&mut waiter).now_or_never().is_none());
        // Calls that were not sent make no room: when the last is gone, nothing is left to wait for.
        drop(under_way);
        assert!(waiter.await.is_err());
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_ceiling(
            dear in prop::collection::vec(any::<bool>(), 1..600), percent in 1u32..60, window in 20usize..200,
        ) {
            let mut ceilings = ceilings(f64::from(percent), WhenOver::Deny);
            (ceilings.window, ceilings.sample) = (window, 20);
            let shares = Shares::new(ceilings);
            for dear in dear {
                // A refusal is no call.
                let _ = call(&shares, if dear { "dear" } else { "cheap" }, 1);
                let recent = shares.recent.lock();
                let own = recent.calls.get(&"dear".into()).copied().unwrap_or(0);
                let most = f64::from(percent) / 100.0 * (recent.settled.len() + 1).max(20) as f64;
                prop_assert!(own as f64 <= most + 1e-9, "{} of {}", own, recent.settled.len());
                prop_assert!(recent.settled.len() <= window);
            }
        }
    }
}
