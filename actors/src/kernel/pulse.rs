//! What an actor's life looks like from outside, read without asking it: how much waits, what it
//! is busy with since when, how long things took.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// One actor's pulse, over all its incarnations. Times are kept as nanoseconds since `epoch`.
#[derive(Debug)]
pub struct Pulse {
    epoch: Instant,
    depth: AtomicUsize,
    paused: AtomicBool,
    /// When what it works on began, plus one; 0 while it is idle.
    busy_since: AtomicU64,
    /// When it last finished something.
    finished_at: AtomicU64,
    handled: AtomicU64,
    busy: AtomicU64,
    longest: AtomicU64,
    waited: AtomicU64,
}

/// A pulse as it was at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PulseView {
    /// Messages that wait.
    pub waiting: u64,
    /// Whether they are held back.
    pub paused: bool,
    /// Microseconds that it has been busy with one message; none while it is idle.
    pub busy_us: Option<u64>,
    /// Microseconds since it finished a message; none before the first.
    pub idle_us: Option<u64>,
    /// Messages handled, over all incarnations.
    pub handled: u64,
    /// Microseconds that they took in all.
    pub handled_us: u64,
    /// Microseconds that the longest took.
    pub longest_us: u64,
    /// Microseconds that they waited in all.
    pub waited_us: u64,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            epoch: Instant::now(),
            depth: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            finished_at: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }
    }
}

/// A message's time in line, for [`Pulse::begin`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued(u64);

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    /// A message is sent.
    pub(crate) fn queued(&self) -> Queued {
        self.depth.fetch_add(1, Ordering::Relaxed);
        Queued(self.now())
    }

    /// A message that waited is taken out, or lost. A restart sets the depth to zero, maybe before
    /// messages that it lost are counted off.
    pub(crate) fn one_less(&self) {
        let less = |depth: usize| depth.checked_sub(1);
        let _ = self.depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What waited for the last incarnation is gone with it, and so is what it worked on.
    pub(crate) fn restart(&self) {
        self.depth.store(0, Ordering::Relaxed);
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// Its next work begins.
    pub(crate) fn begin(&self, queued: Option<Queued>) {
        let now = self.now();
        if let Some(Queued(at)) = queued {
            self.waited.fetch_add(now.saturating_sub(at), Ordering::Relaxed);
        }
        self.busy_since.store(now + 1, Ordering::Relaxed);
    }

    /// It is done with that.
    pub(crate) fn end(&self) {
        let now = self.now();
        let took = (now + 1).saturating_sub(self.busy_since.swap(0, Ordering::Relaxed));
        self.finished_at.store(now + 1, Ordering::Relaxed);
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(took, Ordering::Relaxed);
        self.longest.fetch_max(took, Ordering::Relaxed);
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether its messages are held back.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Messages that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How long it has been busy with what it works on.
    #[must_use]
    pub fn busy_for(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_nanos(self.now().saturating_sub(since)))
    }

    /// All of it as it is now.
    #[must_use]
    pub fn view(&self) -> PulseView {
        let micros = |field: &AtomicU64| field.load(Ordering::Relaxed) / 1_000;
        let in_micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let finished = self.finished_at.load(Ordering::Relaxed).checked_sub(1);
        PulseView {
            waiting: self.depth() as u64,
            paused: self.is_paused(),
            busy_us: self.busy_for().map(in_micros),
            idle_us: finished.map(|at| self.now().saturating_sub(at) / 1_000),
            handled: self.handled.load(Ordering::Relaxed),
            handled_us: micros(&self.busy),
            longest_us: micros(&self.longest),
            waited_us: micros(&self.waited),
        }
    }
}
