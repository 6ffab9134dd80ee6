//! How many calls at once a person lets be in flight at a provider.

use std::sync::atomic::Ordering;

use super::RateGate;
use crate::kernel::scale::{Scale, Scaled};

impl Scale for RateGate {
    fn scaled(&self) -> Scaled {
        Scaled {
            to: self.0.scaled.load(Ordering::Relaxed),
            at_most: self.0.spec.limits.concurrency,
            of: "calls at once".to_owned(),
        }
    }

    fn scale(&self, to: u32) -> Result<String, String> {
        let (id, configured) = (&self.0.spec.id, self.0.spec.limits.concurrency);
        if to > configured {
            return Err(format!(
                "{id} is configured for {configured} calls at once, so it cannot be scaled to {to}: change `concurrency` in [providers.{id}] of empire.toml and start again for more"
            ));
        }
        if to == 0 {
            return Err(format!(
                "with 0 calls at once whoever wants {id} would wait without an end: scale it to 1 at least, or quarantine it, which turns calls away"
            ));
        }
        let was = self.0.scaled.swap(to, Ordering::Relaxed);
        // Whoever waits may go now; who is in flight beyond it ends first.
        self.serve();
        let in_flight = self.lane().lane.in_flight();
        let mut said = match to == configured {
            true => format!("{to} calls at once may be in flight, as it is configured"),
            false => {
                format!("{to} calls at once may be in flight, of the {configured} that are configured")
            }
        };
        if was != to {
            said.push_str(&format!(", after {was}"));
        }
        if in_flight > to {
            said.push_str(&format!("; {in_flight} are now, and none goes until fewer than {to} are left"));
        }
        let borne = self.0.throttle.permits(configured);
        if borne < to {
            said.push_str(&format!("; the machine is pressed and lets {borne} go for now"));
        }
        if to != configured {
            said.push_str("; it holds beyond a restart of this actor, until this process ends");
        }
        Ok(said)
    }
}
