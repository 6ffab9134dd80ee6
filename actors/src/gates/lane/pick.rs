//! Whose turn it is among those who wait.

use std::time::Duration;

use super::super::meter::breaker::Stop;
use super::super::meter::{Binding, Now};
use super::super::room::Next;
use super::{Chosen, Lane, ModelLane};

impl<T> Lane<T> {
    /// The waiter whose turn it is: by urgency and age, then by what the models have had;
    /// none of a model that is passed over. Those that rest are noted if nobody else goes.
    pub(super) fn choose(&mut self, now: Now) -> Option<Chosen> {
        let retries_left = self.retries < self.retries_allowed();
        let is_well = self.scope.breaker.is_well();
        let breaker = &self.scope.breaker;
        let rest = |next: &Next| breaker.rests_until(next.entered).filter(|until| now.running < *until);
        let mut first_rested: Option<Duration> = None;
        let mut best: Option<(Chosen, u64)> = None;
        let (mut of_loaded, mut of_others): (Option<Chosen>, Option<Chosen>) = (None, None);
        for (index, lane) in self.models.iter_mut().enumerate() {
            if lane.is_passed || lane.waiting() == 0 {
                continue;
            }
            let is_well = is_well && lane.scope.breaker.is_well();
            let resting = lane.again.next(now.running).and_then(|next| rest(&next));
            first_rested = first_rested.into_iter().chain(resting).min();
            let may_retry = resting.is_none() && (is_well || retries_left);
            let Some(chosen) = choose_within(lane, index, now, is_well, may_retry) else { continue };
            if best.is_none_or(|(best, served)| (chosen.next.rank, lane.served) < (best.next.rank, served)) {
                best = Some((chosen, lane.served));
            }
            let order = |chosen: &Chosen| (chosen.next.rank, chosen.next.entered);
            if self.loaded == Some(index) {
                of_loaded = Some(chosen);
            } else if of_others.as_ref().is_none_or(|other| order(&chosen) < order(other)) {
                of_others = Some(chosen);
            }
        }
        let chosen = match self.spec.switch_after {
            Some(patience) => self.with_least_switching(now, patience, of_loaded, of_others),
            None => best.map(|(chosen, _)| chosen),
        };
        if let (None, Some(until)) = (chosen, first_rested) {
            self.note_stop(Stop::Until(until, Binding::TurnedAway));
        }
        chosen
    }

    /// Stays with the loaded model while somebody waits for it, unless somebody more urgent wants
    /// another one, or has waited out the patience since the model was loaded.
    pub(super) fn with_least_switching(
        &self,
        now: Now,
        patience: Duration,
        of_loaded: Option<Chosen>,
        of_others: Option<Chosen>,
    ) -> Option<Chosen> {
        let (Some(loaded), Some(other)) = (of_loaded, of_others) else { return of_loaded.or(of_others) };
        let waited = now.running.saturating_sub(other.next.entered.max(self.loaded_since));
        let stays =
            loaded.next.rank < other.next.rank || loaded.next.rank == other.next.rank && waited < patience;
        Some(if stays { loaded } else { other })
    }

    /// Lets no more calls be in flight than this machine bears, nor than a person allows.
    pub fn narrow(&mut self, machine: u32, person: u32) {
        (self.machine, self.person) = (machine, person);
    }

    /// Calls in flight, and permits that were given for some.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.scope.in_flight
    }

    /// What the machine or a person stops.
    pub(super) fn narrow_stop(&self) -> Option<Stop> {
        let is_full = |most: u32| most < self.spec.limits.concurrency && self.scope.in_flight >= most;
        match () {
            () if is_full(self.machine) => Some(Stop::Full(Binding::Machine)),
            () if is_full(self.person) => Some(Stop::Full(Binding::HeldBack)),
            () => None,
        }
    }

    /// Whether calls of the loaded model must end before one of `model` goes.
    pub(super) fn must_drain(&self, model: usize) -> bool {
        let Some(loaded) = self.loaded.filter(|_| self.spec.switch_after.is_some()) else { return false };
        loaded != model && self.models[loaded].scope.in_flight > 0
    }
}

/// The next one of a model's two rooms. While all is well, those that were turned away before
/// have waited longest and go first; in a storm, those that were not go first, since they repeat
/// nothing, and the others within their share.
fn choose_within<T>(
    lane: &mut ModelLane<T>,
    model: usize,
    now: Now,
    is_well: bool,
    may_retry: bool,
) -> Option<Chosen> {
    let fresh = lane.fresh.next(now.running).map(|next| Chosen { model, is_retry: false, next });
    let again = lane.again.next(now.running).filter(|_| may_retry);
    let again = again.map(|next| Chosen { model, is_retry: true, next });
    match (fresh, again) {
        (Some(fresh), Some(again)) if is_well && again.next.rank <= fresh.next.rank => Some(again),
        (fresh, again) => fresh.or(again),
    }
}
