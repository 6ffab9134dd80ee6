//! One provider's lane: who waits for it, who may go, and what is known of its health. Pure: the
//! caller says what time it is, and tells the waiters.
//!
//! What a provider allows holds over all its models, and what it allows of one model beside that.
//! Each model has a waiting room of its own, so that one that is held up stops no other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::meter::breaker::{Breaker, Stop};
use super::meter::{Binding, Cost, Fit, Health, Held, Meters, Now, SentAt, Told, Trip, Used};
use super::room::{Entry, Key, Next, Room};
use super::slab::Slab;
use crate::failure::FailureKind;
use crate::model::{Limits, ProviderSpec};
use crate::ports::{Sent, UnixMillis};

mod permits;
mod pick;
mod reading;

pub use reading::{LaneReading, ModelReading, Reading, RetryReading};

/// A permit whose call is not sent within this comes back.
pub const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries may be so many of a hundred calls while the provider turns calls away, …
const RETRY_PERCENT: u64 = 10;
/// … but so many in any case, or a job of few calls could never try again.
const RETRIES_AT_LEAST: u64 = 3;
/// Calls after which the budget of retries looks back no further: it halves what it counted.
const RETRY_MEMORY: u64 = 10_000;

/// A wish to send one call.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which model is called.
    pub model: Arc<str>,
    /// How it stands in line. Its deadline is on the lane's running clock.
    pub entry: Entry,
    /// Whether the same call was sent before and turned away or lost.
    pub is_retry: bool,
    /// Whether its caller has another model to turn to.
    pub has_other: bool,
    /// What it may use.
    pub cost: Cost,
}

/// Why a call may not wait here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing goes to this provider or model.
    #[error(transparent)]
    Tripped(Trip),
    /// It could not leave before its deadline.
    #[error("it could leave at {} at the earliest, after its deadline: {}", .0.could_leave_at, .0.binding.map_or("too many are before it", Binding::words))]
    TooLate(TooLate),
}

/// A deadline that cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate {
    /// When the call could leave at the earliest.
    pub could_leave_at: UnixMillis,
    /// What keeps it that long.
    pub binding: Option<Binding>,
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    model: usize,
    is_retry: bool,
    key: Key,
    /// The least time that the call has to wait, by the meters and who is before it.
    pub promised: Duration,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    cost: Cost,
    has_other: bool,
}

/// What a provider or one of its models allows, and how it is.
#[derive(Debug)]
struct Scope {
    meters: Meters,
    breaker: Breaker,
    in_flight: u32,
}

impl Scope {
    fn new<'a>(limits: &Limits, now: Now, past: &(impl Iterator<Item = &'a Sent> + Clone)) -> Scope {
        Scope {
            meters: Meters::new(limits, now, past),
            breaker: Breaker::new(limits.concurrency),
            in_flight: 0,
        }
    }

    /// What stops any call.
    fn stop(&mut self, now: Now) -> Option<Stop> {
        self.breaker.stop(now, self.in_flight)
    }

    /// What stops a call of this cost.
    fn short(&mut self, now: Now, cost: Cost) -> Option<Stop> {
        self.meters.fit(now, cost).map(|(fit, binding)| match fit {
            Fit::In(wait) => Stop::Until(now.running + Duration::from_millis(wait.unsigned_abs()), binding),
            Fit::WhenLeft | Fit::Now => Stop::Full(binding),
        })
    }

    fn grant(&mut self, cost: Cost) -> Held {
        self.in_flight += 1;
        self.breaker.granted(self.in_flight);
        self.meters.hold(cost)
    }
}

#[derive(Debug)]
struct ModelLane<T> {
    model: Arc<str>,
    scope: Scope,
    fresh: Room<Waiting<T>>,
    /// Those that were turned away or lost before.
    again: Room<Waiting<T>>,
    /// What its calls have cost, against other models.
    served: u64,
    /// Its own limits hold it up, as was seen in this round.
    is_passed: bool,
}

impl<T> ModelLane<T> {
    fn waiting(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    fn room(&mut self, is_retry: bool) -> &mut Room<Waiting<T>> {
        if is_retry { &mut self.again } else { &mut self.fresh }
    }
}

/// What a call counts in the budget of retries.
#[derive(Debug, Clone, Copy)]
struct Counts {
    calls: u64,
    retries: u64,
}

#[derive(Debug)]
struct Grant {
    model: usize,
    cost: Cost,
    /// What it counts in the budget of retries.
    counts: Counts,
    of_provider: Held,
    of_model: Held,
    epoch: u64,
    model_epoch: u64,
    /// `None` while the permit is unused.
    sent: Option<(SentAt, SentAt)>,
}

/// The waiter that goes next, and from where.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    model: usize,
    is_retry: bool,
    next: Next,
}

/// A permit, as the lane knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    key: Key,
    model: usize,
    cost: Cost,
    is_retry: bool,
}

/// What has come of somebody who waited.
pub type Outcome = Result<Pass, Refused>;

/// What a call that was sent told.
#[derive(Debug)]
pub struct News {
    /// About the provider's health.
    pub health: Health,
    /// About its own tokens.
    pub used: Used,
    /// About the vendor's limits.
    pub told: Vec<Told>,
}

/// One provider's lane; `T` is what a waiter leaves as its ticket.
#[derive(Debug)]
pub struct Lane<T> {
    spec: Arc<ProviderSpec>,
    scope: Scope,
    models: Vec<ModelLane<T>>,
    past: Vec<Sent>,
    grants: Slab<Grant>,
    /// Permits in the order in which they were given, for their time-out.
    unused: VecDeque<(Duration, Key)>,
    /// How many calls may be in flight as far as this machine is concerned.
    machine: u32,
    /// How many a person lets be in flight.
    person: u32,
    calls: u64,
    retries: u64,
    /// The model that was called last, for providers that load one at a time, …
    loaded: Option<usize>,
    /// … and since when it is that one.
    loaded_since: Duration,
    binding: Option<Binding>,
    /// When the next one of those who wait can go, unless that takes a call to end.
    next_at: Option<Duration>,
    /// When whoever entered last can go at the earliest.
    last_promised: Duration,
    look_at: Option<Duration>,
}

impl<T> Lane<T> {
    /// Bytes that a waiter without a deadline takes.
    #[cfg(all(test, not(empire_loom)))]
    pub(super) const WAITER_BYTES: usize = Room::<Waiting<T>>::WAITER_BYTES;

    /// A lane that remembers what was sent in the last day.
    #[must_use]
    pub fn new(spec: Arc<ProviderSpec>, past: Vec<Sent>, now: Now) -> Lane<T> {
        let mut lane = Lane {
            scope: Scope::new(&spec.limits, now, &past.iter()),
            models: Vec::new(),
            past: Vec::new(),
            grants: Slab::default(),
            unused: VecDeque::new(),
            machine: spec.limits.concurrency,
            person: spec.limits.concurrency,
            calls: 0,
            retries: 0,
            loaded: None,
            loaded_since: Duration::ZERO,
            binding: None,
            next_at: None,
            last_promised: Duration::ZERO,
            look_at: None,
            spec,
        };
        lane.past = past;
        for model in lane.spec.clone().model_limits.keys() {
            lane.model(&model.as_str().into(), now);
        }
        lane.past = Vec::new();
        lane
    }

    fn model(&mut self, model: &Arc<str>, now: Now) -> usize {
        if let Some(index) = self.models.iter().position(|lane| lane.model == *model) {
            return index;
        }
        // A model without limits of its own still has a breaker of its own.
        let free = Limits::slots(self.spec.limits.concurrency);
        let limits = self.spec.model_limits.get(&**model).unwrap_or(&free);
        let past = self.past.iter().filter(|sent| sent.model == *model);
        let scope = Scope::new(limits, now, &past);
        self.models.push(ModelLane {
            model: model.clone(),
            scope,
            fresh: Room::default(),
            again: Room::default(),
            served: 0,
            is_passed: false,
        });
        self.models.len() - 1
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.models.iter().map(ModelLane::waiting).sum()
    }

    /// Lets a call go at once, if nobody is before it and nothing stops it.
    pub fn go_at_once(&mut self, now: Now, ask: &Ask) -> Option<Pass> {
        let model = self.model(&ask.model, now);
        self.grant_at_once(now, model, ask.cost, ask.is_retry)
    }

    fn grant_at_once(&mut self, now: Now, model: usize, cost: Cost, is_retry: bool) -> Option<Pass> {
        self.take_back_unused(now);
        if self.waiting() > 0 || (is_retry && !self.retry_may_go(now, model)) {
            return None;
        }
        let stopped = self.narrow_stop().is_some()
            || self.tripped(now, model).is_some()
            || self.scope.stop(now).is_some()
            || self.must_drain(model)
            || self.model_stop(now, model, cost).is_some()
            || self.scope.short(now, cost).is_some();
        (!stopped).then(|| self.grant(now, model, cost, is_retry))
    }

    /// Takes a place in line.
    ///
    /// # Errors
    /// It need not wait: it would not get through in time, or nobody does.
    pub fn enter(&mut self, now: Now, ask: &Ask, ticket: T) -> Result<Place, (T, Refused)> {
        if let Err(refused) = self.foresee(now, ask) {
            return Err((ticket, refused));
        }
        let model = self.model(&ask.model, now);
        let promised = self.promise(now, model, ask, true);
        self.last_promised = now.running + promised;
        let (is_retry, waiting) =
            (ask.is_retry, Waiting { ticket, cost: ask.cost, has_other: ask.has_other });
        let is_first = self.models[model].waiting() == 0;
        if is_first {
            // A model that nobody wanted for a while has not saved up turns.
            let least = self.models.iter().filter(|lane| lane.waiting() > 0).map(|lane| lane.served).min();
            let lane = &mut self.models[model];
            lane.served = lane.served.max(least.unwrap_or(0));
        }
        let key = self.models[model].room(is_retry).enter(now.running, &ask.entry, waiting);
        if let Some(deadline) = ask.entry.deadline {
            self.look_by(deadline + Duration::from_millis(2));
        }
        Ok(Place { model, is_retry, key, promised })
    }

    /// Whether a call may wait at all.
    ///
    /// # Errors
    /// Why not.
    pub fn foresee(&mut self, now: Now, ask: &Ask) -> Result<(), Refused> {
        let model = self.model(&ask.model, now);
        let failing = self.models[model].scope.breaker.open(now).filter(|_| ask.has_other);
        if let Some(trip) = self.tripped(now, model).or(failing) {
            return Err(Refused::Tripped(trip));
        }
        let Some(deadline) = ask.entry.deadline else { return Ok(()) };
        let promised = self.promise(now, model, ask, false);
        if now.running + promised <= deadline {
            return Ok(());
        }
        Err(Refused::TooLate(TooLate { could_leave_at: now.wall_in(promised), binding: self.binding }))
    }

    /// How long a call that enters now will wait at least: until the lane opens, and until the
    /// meters have let through those before it. What those will use of the tokens is a bound, and
    /// most use less, so `with_tokens` is no ground to refuse anybody.
    fn promise(&mut self, now: Now, model: usize, ask: &Ask, with_tokens: bool) -> Duration {
        let (mut calls, mut tokens) = (0, 0);
        for (index, lane) in self.models.iter().enumerate() {
            // Of other models only the more urgent are surely before it.
            let ahead = if index == model { lane.fresh.ahead_of(&ask.entry) } else { (0, 0) };
            calls += ahead.0;
            tokens += if with_tokens { ahead.1 } else { 0 };
        }
        let lane = &mut self.models[model];
        let opens = [self.scope.breaker.closed_until(), lane.scope.breaker.closed_until()];
        let opens = opens.into_iter().flatten().max().unwrap_or_default().saturating_sub(now.running);
        let own = lane.scope.meters.promise(now, calls, tokens, ask.cost);
        opens.max(own).max(self.scope.meters.promise(now, calls, tokens, ask.cost))
    }

    fn tripped(&mut self, now: Now, model: usize) -> Option<Trip> {
        let of_provider = self.scope.breaker.tripped(now).cloned();
        of_provider.or_else(|| self.models[model].scope.breaker.tripped(now).cloned())
    }

    /// What somebody who waits has left here; nothing if it waits no longer.
    pub fn ticket_mut(&mut self, place: &Place) -> Option<&mut T> {
        let room = self.models.get_mut(place.model)?.room(place.is_retry);
        room.ticket_mut(place.key).map(|waiting| &mut waiting.ticket)
    }

    /// Leaves the line; an old place changes nothing.
    pub fn leave(&mut self, place: &Place) {
        let Some(lane) = self.models.get_mut(place.model) else { return };
        lane.room(place.is_retry).leave(place.key);
    }

    /// The next one of those who wait that goes, or need not wait any longer. To be asked until
    /// there is none; then [`look_at`](Self::look_at) says when to ask again.
    pub fn serve(&mut self, now: Now) -> Option<(T, Outcome)> {
        self.take_back_unused(now);
        if let Some(turned_away) = self.turn_away(now) {
            return Some(turned_away);
        }
        (self.binding, self.next_at) = (None, None);
        if self.waiting() == 0 {
            return None;
        }
        if let Some(stop) = self.narrow_stop() {
            return self.stopped(stop);
        }
        if self.scope.in_flight == 0 && self.give_up_on_retries(now) {
            return self.turn_away(now);
        }
        if let Some(stop) = self.scope.stop(now) {
            return self.stopped(stop);
        }
        self.models.iter_mut().for_each(|lane| lane.is_passed = false);
        while let Some(chosen) = self.choose(now) {
            if self.must_drain(chosen.model) {
                return self.stopped(Stop::Full(Binding::ModelSwitch));
            }
            let lane = &mut self.models[chosen.model];
            let cost = lane.room(chosen.is_retry).ticket(chosen.next.key).map(|waiting| waiting.cost)?;
            if let Some(stop) = self.model_stop(now, chosen.model, cost) {
                // Held up by its own limits: the next model's turn.
                self.note_stop(stop);
                self.models[chosen.model].is_passed = true;
                continue;
            }
            // What is short for all models is kept for the one whose turn it is, or a large call
            // would never go.
            if let Some(stop) = self.scope.short(now, cost) {
                return self.stopped(stop);
            }
            let waiting = self.models[chosen.model].room(chosen.is_retry).take(now.running, chosen.next)?;
            let pass = self.grant(now, chosen.model, cost, chosen.is_retry);
            return Some((waiting.ticket, Ok(pass)));
        }
        None
    }

    fn stopped<R>(&mut self, stop: Stop) -> Option<R> {
        self.note_stop(stop);
        None
    }

    fn note_stop(&mut self, stop: Stop) {
        let (Stop::Until(_, binding) | Stop::Full(binding)) = stop;
        self.binding.get_or_insert(binding);
        if let Stop::Until(until, _) = stop {
            self.next_at = Some(self.next_at.map_or(until, |earlier| earlier.min(until)));
            self.look_by(until);
        }
    }

    fn look_by(&mut self, at: Duration) {
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Somebody who waits in vain.
    fn turn_away(&mut self, now: Now) -> Option<(T, Outcome)> {
        if self.waiting() == 0 {
            return None;
        }
        let provider_trip = self.scope.breaker.tripped(now).cloned();
        let opens = self.scope.breaker.closed_until().unwrap_or_default().max(now.running);
        for lane in &mut self.models {
            let trip = provider_trip.clone().or_else(|| lane.scope.breaker.tripped(now).cloned());
            let failing = lane.scope.breaker.open(now);
            let opens = lane.scope.breaker.closed_until().unwrap_or_default().max(opens);
            for room in [&mut lane.fresh, &mut lane.again] {
                if (trip.is_some() || failing.is_some())
                    && let Some(next) = room.next(now.running)
                    && let Some(has_other) = room.ticket(next.key).map(|waiting| waiting.has_other)
                    && let Some(trip) = trip.as_ref().or(failing.as_ref().filter(|_| has_other))
                    && let Some(waiting) = room.leave(next.key)
                {
                    return Some((waiting.ticket, Err(Refused::Tripped(trip.clone()))));
                }
                if let Some(waiting) = room.late(opens) {
                    let late =
                        TooLate { could_leave_at: now.wall_in(opens - now.running), binding: self.binding };
                    return Some((waiting.ticket, Err(Refused::TooLate(late))));
                }
                if let Some(deadline) = room.first_deadline() {
                    let at = deadline + Duration::from_millis(2);
                    self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
        None
    }

    /// Everybody who waits, to be told that nobody is served here any more.
    pub fn send_all_away(&mut self) -> Vec<T> {
        let rooms = self.models.iter_mut().flat_map(|lane| [&mut lane.fresh, &mut lane.again]);
        rooms.flat_map(Room::clear).map(|waiting| waiting.ticket).collect()
    }

    fn model_stop(&mut self, now: Now, model: usize, cost: Cost) -> Option<Stop> {
        let scope = &mut self.models[model].scope;
        scope.stop(now).or_else(|| scope.short(now, cost))
    }

    /// When to [serve](Self::serve) again although nothing happens until then.
    pub fn look_at(&mut self) -> Option<Duration> {
        self.look_at.take()
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests;
