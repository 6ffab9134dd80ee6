//! How many of the privacy gate's actors look at calls.

use std::sync::atomic::Ordering;

use super::PrivacyGate;
use crate::kernel::scale::{Scale, Scaled};

impl PrivacyGate {
    fn size(&self) -> u32 {
        u32::try_from(self.pool.len()).unwrap_or(u32::MAX)
    }
}

/// Each actor of the pool scales the whole pool. There are never more than were made at the start,
/// one a core: looking at a call is nothing but work for a core, so more would only take turns.
impl Scale for PrivacyGate {
    fn scaled(&self) -> Scaled {
        let to = u32::try_from(self.in_use.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        Scaled { to, at_most: self.size(), of: "privacy workers".to_owned() }
    }

    fn scale(&self, to: u32) -> Result<String, String> {
        let size = self.size();
        if to == 0 {
            return Err("with 0 privacy workers nothing could leave: keep 1 at least".to_owned());
        }
        if to > size {
            return Err(format!(
                "there are {size} privacy workers, one a core, and more would only take turns on them: scale them to {size} at most"
            ));
        }
        let was = self.in_use.swap(to as usize, Ordering::Relaxed);
        let after = if was == to as usize { String::new() } else { format!(", after {was}") };
        let idle = match size - to {
            0 => String::new(),
            idle => format!(
                "; the other {idle} end what waits for them, and rest until this process ends or is told otherwise"
            ),
        };
        Ok(format!("{to} of {size} privacy workers look at calls{after}{idle}"))
    }
}
