//! What becomes of a permit: given, sent or not, ended; and how many of them retries may have.

use std::sync::Arc;

use super::super::meter::breaker::{Breaker, PAUSE};
use super::super::meter::{BreakerReading, Health, Now, Told};
use super::super::slab::Key;
use super::{
    Cost, Counts, FailureKind, Grant, Lane, News, PERMIT_TIMEOUT, Pass, RETRIES_AT_LEAST, RETRY_MEMORY,
    RETRY_PERCENT,
};

impl<T> Lane<T> {
    /// Whether a retry that nobody is before may go at once: while calls are answered, always; else
    /// within its share; but not if it was a stray.
    pub(super) fn retry_may_go(&self, now: Now, model: usize) -> bool {
        if self.scope.breaker.rests_until(now.running).is_some() {
            return false;
        }
        let is_well = self.scope.breaker.is_well() && self.models[model].scope.breaker.is_well();
        is_well || self.retries < self.retries_allowed()
    }

    pub(super) fn retries_allowed(&self) -> u64 {
        (self.calls * RETRY_PERCENT / 100).max(RETRIES_AT_LEAST)
    }

    /// Only calls that were turned away before wait, and they have had their share of tries:
    /// nobody is kept waiting for what does not come.
    pub(super) fn give_up_on_retries(&mut self, now: Now) -> bool {
        let exhausted = self.retries >= self.retries_allowed();
        let mut any = false;
        for lane in &mut self.models {
            let stuck = exhausted && lane.fresh.is_empty() && !lane.again.is_empty();
            if !stuck {
                continue;
            }
            if !self.scope.breaker.is_well() {
                self.scope.breaker.give_up(now);
                any = true;
            } else if !lane.scope.breaker.is_well() {
                lane.scope.breaker.give_up(now);
                any = true;
            }
        }
        any
    }

    pub(super) fn grant(&mut self, now: Now, model: usize, cost: Cost, is_retry: bool) -> Pass {
        let was_well = self.scope.breaker.is_well() && self.models[model].scope.breaker.is_well();
        // A retry that follows an answer repeats no storm.
        let counts = Counts { calls: u64::from(!is_retry), retries: u64::from(is_retry && !was_well) };
        self.calls += counts.calls;
        self.retries += counts.retries;
        if self.calls >= 2 * RETRY_MEMORY {
            self.calls /= 2;
            self.retries /= 2;
        }
        if self.loaded.replace(model) != Some(model) {
            self.loaded_since = now.running;
        }
        let lane = &mut self.models[model];
        lane.served = lane.served.saturating_add(cost.total().max(1));
        let grant = Grant {
            model,
            cost,
            counts,
            of_provider: self.scope.grant(cost),
            of_model: lane.scope.grant(cost),
            epoch: self.scope.breaker.epoch(),
            model_epoch: lane.scope.breaker.epoch(),
            sent: None,
        };
        let key = self.grants.insert(grant);
        self.unused.push_back((now.running + PERMIT_TIMEOUT, key));
        Pass { key, model, cost, is_retry }
    }

    /// Takes back permits that nobody has used in time.
    pub(super) fn take_back_unused(&mut self, now: Now) {
        while let Some((until, key)) = self.unused.front().copied() {
            let is_unused = self.grants.get(key).is_some_and(|grant| grant.sent.is_none());
            if is_unused && now.running < until {
                if self.waiting() > 0 {
                    self.look_by(until);
                }
                return;
            }
            self.unused.pop_front();
            if is_unused {
                self.give_back_key(key);
            }
        }
    }

    /// Whether a permit is still good: it has not run out, and nothing was heard since that keeps
    /// everybody waiting.
    #[must_use]
    pub fn is_good(&self, pass: &Pass) -> bool {
        self.grants.get(pass.key).is_some_and(|grant| {
            let of_model = &self.models[grant.model].scope.breaker;
            self.scope.breaker.lets(grant.epoch) && of_model.lets(grant.model_epoch)
        })
    }

    /// A permit comes back unused: nothing was sent.
    pub fn give_back(&mut self, pass: &Pass) {
        self.give_back_key(pass.key);
    }

    pub(super) fn give_back_key(&mut self, key: Key) {
        let Some(grant) = self.grants.remove(key) else { return };
        self.calls = self.calls.saturating_sub(grant.counts.calls);
        self.retries = self.retries.saturating_sub(grant.counts.retries);
        let lane = &mut self.models[grant.model];
        for (scope, held, epoch) in [
            (&mut self.scope, &grant.of_provider, grant.epoch),
            (&mut lane.scope, &grant.of_model, grant.model_epoch),
        ] {
            scope.in_flight -= 1;
            scope.meters.unhold(held);
            scope.breaker.returned(epoch);
        }
    }

    /// The call of a permit leaves now, if it may: one whose permit is no longer good needs another
    /// one, and that there is only if nobody waits and nothing stops it.
    #[must_use]
    pub fn sent(&mut self, now: Now, pass: &mut Pass) -> bool {
        if !self.is_good(pass) {
            self.give_back(pass);
            let Some(again) = self.grant_at_once(now, pass.model, pass.cost, pass.is_retry) else {
                return false;
            };
            *pass = again;
        }
        let key = pass.key;
        if let Some(grant) = self.grants.get_mut(key) {
            let of_provider = self.scope.meters.send(now, &grant.of_provider);
            let of_model = self.models[grant.model].scope.meters.send(now, &grant.of_model);
            grant.sent = Some((of_provider, of_model));
        }
        true
    }

    /// A call that was sent has ended. `jitter` is from 0 up to 1. Gives the tokens that the vendor
    /// claims beyond what was held for it: they are owed.
    pub fn ended(&mut self, now: Now, pass: &Pass, news: &News, jitter: f64) -> u64 {
        let Some(grant) = self.grants.remove(pass.key) else { return 0 };
        let Some((of_provider, of_model)) = grant.sent else { return 0 };
        let lane = &mut self.models[grant.model];
        self.scope.in_flight -= 1;
        lane.scope.in_flight -= 1;
        self.scope.meters.correct(now, of_provider, &grant.of_provider, grant.cost, news.used);
        lane.scope.meters.correct(now, of_model, &grant.of_model, grant.cost, news.used);
        for told in &news.told {
            // What is left when calls are turned away is nothing, and the breaker waits for it.
            let is_busy = matches!(news.health, Health::Busy(..));
            let remaining = told.remaining.filter(|_| !is_busy);
            self.scope.meters.learn(now, &Told { remaining, ..*told });
        }
        // What a model does wrong stops that model; what else goes wrong stops the provider.
        let of_model_alone = match &news.health {
            Health::Faulty(..) => true,
            Health::Broken(trip) => trip.kind == FailureKind::ModelGone,
            _ => false,
        };
        // Whose limit is used up by its own word is not asked on.
        let is_used_up = news.told.iter().any(|told| told.remaining == Some(0));
        let health = match &news.health {
            Health::Busy(kind, None) if is_used_up => &Health::Busy(*kind, Some(PAUSE)),
            health => health,
        };
        let (to_provider, to_model) = match health {
            Health::Good => (&Health::Good, &Health::Good),
            health if of_model_alone => (&Health::Neutral, health),
            health => (health, &Health::Neutral),
        };
        let [of_provider, of_model] = [self.scope.in_flight, lane.scope.in_flight];
        self.scope.breaker.report(now, grant.epoch, to_provider, (of_provider, jitter));
        lane.scope.breaker.report(now, grant.model_epoch, to_model, (of_model, jitter));
        news.used.beyond(grant.cost)
    }

    /// How often the provider and the permit's model were closed so far, and whether each is tripped:
    /// if that changes, so does what may go.
    pub(crate) fn closures(&self, pass: &Pass) -> [(u64, bool); 2] {
        let of = |breaker: &Breaker| (breaker.epoch(), breaker.is_tripped());
        [of(&self.scope.breaker), of(&self.models[pass.model].scope.breaker)]
    }

    /// What closed the provider or the permit's model now, and for how long a person need not act.
    pub(crate) fn closed(&mut self, now: Now, pass: &Pass) -> [BreakerReading; 2] {
        [self.scope.breaker.read(now), self.models[pass.model].scope.breaker.read(now)]
    }

    /// The name of the model that a permit is for.
    #[must_use]
    pub fn model_of(&self, pass: &Pass) -> Arc<str> {
        self.models[pass.model].model.clone()
    }
}
