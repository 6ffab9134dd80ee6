//! The real clock and real randomness, for the actors' ports.

use std::time::{SystemTime, UNIX_EPOCH};

use empire_actors::ports::{Random, UnixMillis, WallClock};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved.
#[cfg(test)]
pub(crate) struct Hands(pub(crate) std::sync::atomic::AtomicI64);

#[cfg(test)]
impl WallClock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// Randomness for jitter; nothing secret depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes chance")]
    fn unit(&self) -> f64 {
        fastrand::f64()
    }
}

/// A new job id: sorts by time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
pub fn new_job_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
