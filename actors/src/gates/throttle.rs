//! What the machine's pressure does to a lane: fewer slots, none in an emergency, and no blame
//! for a server on this machine that starves with it.

use tokio::sync::watch;

use super::meter::Health;
use crate::guard::pressure::{GuardLevel, Pressure};
use crate::level::Zone;

/// A lane's ear at the guard; without one nothing is held back.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle(Option<watch::Receiver<Pressure>>);

impl Throttle {
    pub(super) fn new(pressure: watch::Receiver<Pressure>) -> Throttle {
        Throttle(Some(pressure))
    }

    /// Whether another call must wait because of the machine, with `in_flight` of `slots` out.
    pub(super) fn holds(&self, in_flight: u32, slots: u32) -> bool {
        let Some(pressure) = &self.0 else { return false };
        let permits = pressure.borrow().permits(slots);
        permits < slots && in_flight >= permits
    }

    /// What a call told about its provider. In an emergency a server on this machine that does
    /// not answer is not to blame.
    pub(super) fn excuse(&self, zone: Zone, health: Health) -> Health {
        let is_emergency =
            self.0.as_ref().is_some_and(|pressure| pressure.borrow().level == GuardLevel::Emergency);
        match health {
            Health::Unreachable(_) if is_emergency && zone == Zone::Local => Health::Neutral,
            health => health,
        }
    }
}
