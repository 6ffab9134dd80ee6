//! Ceilings on each provider's share of the recent calls and of the recent spend.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::model::ProviderId;
use crate::money::Micros;

/// What is done about a call that would break a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenOver {
    /// It waits for other calls to make room. Once none are under way that could, the next model
    /// is asked; with none left, its item stays pending.
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

/// A call that waits for room: when it came, and where it is told.
#[derive(Debug)]
struct Waiter {
    number: u64,
    told: oneshot::Sender<Result<Share, OverShare>>,
}

#[derive(Debug, Default)]
struct State {
    recent: Recent,
    /// By provider, first come first.
    waiting: BTreeMap<ProviderId, VecDeque<Waiter>>,
    /// Waiters so far.
    waiters: u64,
}

impl State {
    /// The next one who need not wait any longer, and what it is told: of those for whom there is
    /// room, who came first; if nothing is under way that could make any, who came first of all.
    /// With its place counted.
    fn next(&mut self, ceilings: &Ceilings) -> Option<(Waiter, ProviderId, Result<(), OverShare>)> {
        let mut next: Option<(u64, ProviderId, Result<(), OverShare>)> = None;
        for (provider, line) in &mut self.waiting {
            while line.pop_front_if(|waiter| waiter.told.is_closed()).is_some() {}
            let Some(first) = line.front() else { continue };
            let verdict = self.recent.admit(ceilings, provider);
            let is_told = verdict.is_ok() || self.recent.under_way_in_all == 0;
            let is_earlier = next.as_ref().is_none_or(|(number, _, earlier)| {
                (verdict.is_err(), first.number) < (earlier.is_err(), *number)
            });
            if is_told && is_earlier {
                next = Some((first.number, provider.clone(), verdict));
            }
        }
        let (_, provider, verdict) = next?;
        let waiter = self.waiting.get_mut(&provider)?.pop_front()?;
        if verdict.is_ok() {
            self.recent.begin(&provider);
        }
        Some((waiter, provider, verdict))
    }
}

/// The meter of shares. Bounded by its window and by who waits.
#[derive(Debug)]
pub struct Shares {
    ceilings: Ceilings,
    state: Mutex<State>,
}

impl Shares {
    /// A meter that has seen nothing yet.
    #[must_use]
    pub fn new(ceilings: Ceilings) -> Arc<Shares> {
        Arc::new(Shares { ceilings, state: Mutex::default() })
    }

    /// Counts a call to `provider` that is about to go. Under [`WhenOver::Defer`] it waits while
    /// other calls are under way that may make room.
    ///
    /// # Errors
    /// It would break a ceiling.
    pub(crate) async fn begin(self: &Arc<Self>, provider: &ProviderId) -> Result<Share, OverShare> {
        let answer = {
            let mut state = self.state.lock();
            match state.recent.admit(&self.ceilings, provider) {
                Ok(()) => {
                    state.recent.begin(provider);
                    None
                }
                Err(over) => {
                    let waits =
                        self.ceilings.when_over == WhenOver::Defer && state.recent.under_way_in_all > 0;
                    if !waits {
                        return Err(over);
                    }
                    let (told, answer) = oneshot::channel();
                    state.waiters += 1;
                    let number = state.waiters;
                    state.waiting.entry(provider.clone()).or_default().push_back(Waiter { number, told });
                    Some((answer, over))
                }
            }
        };
        match answer {
            None => {
                let share = self.share(provider.clone());
                // Of more calls, the others' shares are smaller.
                self.serve();
                Ok(share)
            }
            Some((answer, over)) => answer.await.unwrap_or(Err(over)),
        }
    }

    fn share(self: &Arc<Self>, provider: ProviderId) -> Share {
        Share { shares: self.clone(), provider, sent: None }
    }

    /// Tells those who wait for what has changed, one after the other and none under the lock: a
    /// share that nobody takes any more is given back at once.
    fn serve(self: &Arc<Self>) {
        loop {
            let Some((waiter, provider, verdict)) = self.state.lock().next(&self.ceilings) else { return };
            let _ = waiter.told.send(verdict.map(|()| self.share(provider)));
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
        self.shares.state.lock().recent.end(&self.provider, self.sent, window);
        // Somebody who waits may go now, or has nobody left to wait for.
        self.shares.serve();
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use futures_util::{FutureExt, StreamExt};
    use proptest::prelude::*;
    use tokio::task::unconstrained;

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

    #[tokio::test(start_paused = true)]
    async fn many_waiters_go_in_order_as_there_is_room_and_none_is_forgotten() {
        const WAITERS: usize = 2_000;
        let mut ceilings = ceilings(50.0, WhenOver::Defer);
        (ceilings.window, ceilings.sample) = (1_000, 2);
        let shares = Shares::new(ceilings);
        let polls = std::sync::atomic::AtomicUsize::new(0);
        let (dear, cheap) = (ProviderId::from("dear"), ProviderId::from("cheap"));
        let mut out = VecDeque::from([shares.begin(&dear).await.unwrap()]);
        let mut waiting: futures_util::stream::FuturesUnordered<_> = (0..WAITERS)
            .map(|n| {
                let (mut call, polls) = (Box::pin(shares.begin(&dear)), &polls);
                std::future::poll_fn(move |context| {
                    polls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    call.as_mut().poll(context).map(|outcome| (n, outcome))
                })
            })
            .collect();
        assert!(unconstrained(waiting.next()).now_or_never().is_none());
        let mut went = Vec::new();
        // Each cheap call makes room for one dear one, whether it is still under way or not.
        for round in 0..WAITERS {
            let share = shares.begin(&cheap).await.unwrap();
            if round % 2 == 0 {
                share.settle(Micros::ZERO);
            } else {
                out.push_back(share);
            }
            while let Some(Some((n, outcome))) = unconstrained(waiting.next()).now_or_never() {
                went.push(n);
                // One in three never leaves, and makes room for the next.
                let share = outcome.unwrap();
                if n % 3 == 0 { share.held_back() } else { share.settle(Micros(1)) }
            }
            let waits = shares.state.lock().waiting[&dear].len();
            assert_eq!(waits + went.len(), WAITERS, "nobody is lost");
            if waits > 0 {
                let is_full = shares.state.lock().recent.admit(&shares.ceilings, &dear).is_err();
                assert!(is_full, "nobody waits while there is room");
            }
        }
        drop(out);
        while let Some((n, _)) = waiting.next().await {
            went.push(n);
        }
        assert!(went.is_sorted() && went.len() == WAITERS, "{went:?}");
        assert!(polls.load(std::sync::atomic::Ordering::Relaxed) <= 2 * WAITERS, "each is woken once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_is_gone_passes_its_place_on() {
        let mut ceilings = ceilings(50.0, WhenOver::Defer);
        ceilings.sample = 2;
        let shares = Shares::new(ceilings);
        let dear = ProviderId::from("dear");
        let first = shares.begin(&dear).await.unwrap();
        let mut lines: Vec<_> = (0..4).map(|_| Box::pin(shares.begin(&dear))).collect();
        assert!(lines.iter_mut().all(|call| call.now_or_never().is_none()));
        drop(lines.remove(0));
        // Room for one: the second has it and is dropped before it looks.
        first.held_back();
        drop(lines.remove(0));
        let third = lines.remove(0).now_or_never().expect("its turn").unwrap();
        let last = lines.remove(0);
        third.settle(Micros(1));
        assert!(last.await.is_err(), "nobody is left to make room");
        assert_eq!(shares.state.lock().recent.under_way_in_all, 0);
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
                let recent = &shares.state.lock().recent;
                let own = recent.calls.get(&"dear".into()).copied().unwrap_or(0);
                let most = f64::from(percent) / 100.0 * (recent.settled.len() + 1).max(20) as f64;
                prop_assert!(own as f64 <= most + 1e-9, "{} of {}", own, recent.settled.len());
                prop_assert!(recent.settled.len() <= window);
            }
        }
    }
}
