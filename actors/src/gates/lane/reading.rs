//! How a lane stands, for people and for the plan.

use serde::Serialize;

use super::super::meter::{Binding, BreakerReading, Gauge, Now, Trip};
use super::super::room::Class;
use super::{Lane, ModelLane, Scope};

/// A meter reading in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Calls in flight, and permits that were given for some.
    pub in_flight: u32,
    /// Calls in the last hour, if it is metered.
    pub last_hour: Option<usize>,
    /// Calls in the last day, if it is metered.
    pub last_day: Option<usize>,
    /// Seconds until it opens again.
    pub closed_for: Option<f64>,
    /// Why it is tripped.
    pub tripped: Option<Trip>,
}

/// How one model of a provider stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelReading {
    /// Which.
    pub model: String,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that wait.
    pub waiting: usize,
    /// Its own limits.
    pub gauges: Vec<Gauge>,
    /// Its own breaker.
    pub breaker: BreakerReading,
}

/// How the budget of retries stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetryReading {
    /// Calls that were made for the first time.
    pub calls: u64,
    /// Calls that were made again while the provider turned calls away.
    pub retries: u64,
    /// How many of those there may be.
    pub allowed: u64,
}

/// How a lane stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneReading {
    /// In short.
    #[serde(flatten)]
    pub meters: Reading,
    /// Calls in flight at once at most: as configured, or fewer if a person scaled it down, and
    /// none while it is paused.
    pub concurrency: u32,
    /// What of them is configured.
    pub configured: u32,
    /// Calls that wait here.
    pub waiting: usize,
    /// The same by class, the most urgent first.
    pub waiting_by_class: [usize; Class::COUNT],
    /// What makes the first of them wait.
    pub binding: Option<Binding>,
    /// Seconds until the next permit can be given; nothing if that takes a call to end, a machine
    /// that is less pressed, or a person.
    pub next_permit_in: Option<f64>,
    /// Seconds until the one that came last can go at the earliest, as it was told when it came;
    /// nothing if nobody waits.
    pub last_promised_in: Option<f64>,
    /// Every limit over time.
    pub gauges: Vec<Gauge>,
    /// The provider's breaker.
    pub breaker: BreakerReading,
    /// Retries.
    pub retries: RetryReading,
    /// The model that is loaded, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<String>,
    /// Its models.
    pub models: Vec<ModelReading>,
}

impl<T> Lane<T> {
    /// How the lane stands.
    pub fn read(&mut self, now: Now) -> LaneReading {
        let gauges = self.scope.meters.gauges(now);
        let breaker = self.scope.breaker.read(now);
        let used = |binding| {
            let gauge = gauges.iter().find(|gauge: &&Gauge| gauge.meter == binding)?;
            usize::try_from(gauge.used).ok()
        };
        let meters = Reading {
            in_flight: self.scope.in_flight,
            last_hour: used(Binding::RequestsPerHour),
            last_day: used(Binding::RequestsPerDay),
            closed_for: breaker.closed_for,
            tripped: breaker.tripped.clone(),
        };
        let mut waiting_by_class = [0; Class::COUNT];
        for lane in &self.models {
            for (sum, more) in waiting_by_class.iter_mut().zip(lane.fresh.by_class()) {
                *sum += more;
            }
            for (sum, more) in waiting_by_class.iter_mut().zip(lane.again.by_class()) {
                *sum += more;
            }
        }
        LaneReading {
            meters,
            concurrency: self.person,
            configured: self.spec.limits.concurrency,
            waiting: self.waiting(),
            waiting_by_class,
            binding: self.binding,
            next_permit_in: self.next_permit_in(now, &gauges, &breaker),
            last_promised_in: (self.waiting() > 0)
                .then(|| self.last_promised.saturating_sub(now.running).as_secs_f64()),
            gauges,
            breaker,
            retries: RetryReading {
                calls: self.calls,
                retries: self.retries,
                allowed: self.retries_allowed(),
            },
            loaded: self
                .spec
                .switch_after
                .and(self.loaded)
                .map(|index| self.models[index].model.as_ref().to_owned()),
            models: self.models.iter_mut().map(|lane| read_model(lane, now)).collect(),
        }
    }

    /// When the one whose turn it is can go; if nobody waits, when the smallest call could.
    fn next_permit_in(&self, now: Now, gauges: &[Gauge], breaker: &BreakerReading) -> Option<f64> {
        if let Some(trip) = &breaker.tripped {
            let at = trip.retry_at?;
            return Some((at.0 - now.wall.0).max(0) as f64 / 1_000.0);
        }
        let is_full = breaker.closed_for.is_none() && self.scope.in_flight >= breaker.width;
        if is_full || self.narrow_stop().is_some() {
            return None;
        }
        let is_waited_for = self.waiting() > 0;
        if is_waited_for && self.next_at.is_none() {
            return None;
        }
        let next = self.next_at.filter(|_| is_waited_for).unwrap_or_default();
        let next = next.saturating_sub(now.running).as_secs_f64();
        let full = gauges.iter().filter(|gauge| gauge.used >= gauge.limit);
        let free = full.filter_map(|gauge| gauge.frees_in).fold(0.0, f64::max);
        Some(free.max(next).max(breaker.closed_for.unwrap_or_default()))
    }
}

fn read_model<T>(lane: &mut ModelLane<T>, now: Now) -> ModelReading {
    let waiting = lane.waiting();
    let Scope { meters, breaker, in_flight } = &mut lane.scope;
    ModelReading {
        model: lane.model.as_ref().to_owned(),
        in_flight: *in_flight,
        waiting,
        gauges: meters.gauges(now),
        breaker: breaker.read(now),
    }
}
