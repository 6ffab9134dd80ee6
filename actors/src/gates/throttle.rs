//! What the machine's pressure does to a lane: fewer slots, none in an emergency, and no blame
//! for a server on this machine that starves with it.

use tokio::sync::watch;

use super::meter::Health;
use crate::guard::pressure::{GuardLevel, Pressure};
use crate::level::Zone;

/// A lane's ear at the guard; without one nothing is held back.
#[derive(Debug)]
pub(super) struct Throttle(Option<watch::Receiver<Pressure>>);

impl Throttle {
    pub(super) fn new(pressure: Option<watch::Receiver<Pressure>>) -> Throttle {
        Throttle(pressure)
    }

    /// How many of `slots` the machine lets be in use.
    pub(super) fn permits(&self, slots: u32) -> u32 {
        self.0.as_ref().map_or(slots, |pressure| pressure.borrow().permits(slots))
    }

    /// What a call told about its provider. In an emergency a server on this machine that does
    /// not answer, or fails, is not to blame.
    pub(super) fn excuse(&self, zone: Zone, health: Health) -> Health {
        let is_emergency =
            self.0.as_ref().is_some_and(|pressure| pressure.borrow().level == GuardLevel::Emergency);
        match health {
            Health::Unreachable(_) | Health::Faulty(..) if is_emergency && zone == Zone::Local => {
                Health::Neutral
            }
            health => health,
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn only_an_emergency_excuses_only_a_server_on_this_machine() {
        let failed = || Health::Faulty(FailureKind::TimedOut, "no answer".to_owned());
        let silent = || Health::Unreachable("refused".to_owned());
        let (tell, ear) = watch::channel(Pressure::default());
        let throttle = Throttle::new(Some(ear));
        let is_excused = |zone, health| matches!(throttle.excuse(zone, health), Health::Neutral);
        assert!(!is_excused(Zone::Local, failed()));
        tell.send_modify(|pressure| pressure.level = GuardLevel::Emergency);
        assert!(is_excused(Zone::Local, failed()) && is_excused(Zone::Local, silent()));
        assert!(!is_excused(Zone::Cloud, failed()) && !is_excused(Zone::Cloud, silent()));
        assert!(!is_excused(Zone::Local, Health::Good));
        assert_eq!((throttle.permits(8), Throttle::new(None).permits(8)), (0, 8));
    }
}
