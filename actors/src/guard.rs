//! The resource guard: a control actor that samples the machine, decides how hard it is pressed,
//! and publishes that. Whoever starts work asks it first.

pub mod pressure;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use self::pressure::{GuardLevel, Held, Pressure, Readings, Settings, Watcher};
use crate::kernel::control::{Address, Control, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::ports::{Checkpoint, Sampler};

/// A machine that does not tell in this time how it is tells nothing.
const SAMPLE_WITHIN: Duration = Duration::from_secs(10);

/// What the guard of a swarm is made of.
#[derive(Clone)]
pub struct GuardParts {
    /// Who reads the machine.
    pub sampler: Arc<dyn Sampler>,
    /// How it decides.
    pub settings: Settings,
    /// What makes durable what is finished, when an emergency comes.
    pub checkpoint: Arc<dyn Checkpoint>,
}

impl std::fmt::Debug for GuardParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardParts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Hears of every sample what came of it. Must return at once.
pub(crate) trait Heed: Send + Sync {
    /// Acts on the pressure as it is now.
    fn heed(&self, pressure: &Pressure);
}

/// Time for the next sample, of the incarnation with this number.
pub(crate) struct Sample(u64);

/// What the guard shows.
#[derive(Debug, Serialize)]
pub(crate) struct Observed {
    pressure: Pressure,
    readings: Readings,
    held: Held,
}

struct GuardActor {
    guard: Guard,
    heed: Arc<dyn Heed>,
    incarnation: u64,
}

impl Control for GuardActor {
    type Message = Sample;
    type Observed = Observed;

    async fn handle(&mut self, Sample(incarnation): Sample) -> Result<(), Failure> {
        // The timer of an incarnation that is gone.
        if incarnation != self.incarnation {
            return Ok(());
        }
        self.guard.look(self.heed.as_ref()).await;
        self.guard.address.send_after(self.guard.every, Sample(self.incarnation));
        Ok(())
    }

    fn first_message(&self) -> Option<Sample> {
        Some(Sample(self.incarnation))
    }

    fn observe(&self) -> Observed {
        Observed { pressure: self.guard.pressure(), readings: self.guard.readings(), held: self.guard.held() }
    }
}

/// What outlives the actor's incarnations: a restart does not end an emergency.
struct Shared {
    state: Mutex<State>,
    pressure: watch::Sender<Pressure>,
}

struct State {
    watcher: Watcher,
    readings: Readings,
    incarnations: u64,
}

/// The way to the guard. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    address: Address<Sample>,
    sampler: Arc<dyn Sampler>,
    every: Duration,
    started: Instant,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({})", self.pressure())
    }
}

impl Guard {
    /// The guard; its actor starts with `child`.
    #[must_use]
    pub fn new(sampler: Arc<dyn Sampler>, settings: Settings) -> Guard {
        let every = settings.every;
        let state = State { watcher: Watcher::new(settings), readings: Readings::default(), incarnations: 0 };
        let shared = Shared { state: Mutex::new(state), pressure: watch::Sender::new(Pressure::default()) };
        Guard {
            address: Address::new("/empire/guard"),
            sampler,
            every,
            started: Instant::now(),
            shared: Arc::new(shared),
        }
    }

    /// The actor. `heed` hears of every sample.
    pub(crate) fn child(&self, heed: Arc<dyn Heed>) -> ChildSpec {
        let guard = self.clone();
        ChildSpec::actor("guard", &self.address, move || {
            let (guard, heed) = (guard.clone(), heed.clone());
            Box::pin(async move {
                let incarnation = {
                    let mut state = guard.shared.state.lock();
                    state.incarnations += 1;
                    state.incarnations
                };
                // Whoever starts after the guard finds the machine looked at.
                if incarnation == 1 {
                    guard.look(heed.as_ref()).await;
                }
                Ok(GuardActor { guard, heed, incarnation })
            })
        })
    }

    /// The pressure as it is now.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.shared.pressure.borrow().clone()
    }

    /// The machine as it was last sampled.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.shared.state.lock().readings.clone()
    }

    /// Hears of every change of the pressure.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Pressure> {
        self.shared.pressure.subscribe()
    }

    /// How long each level has held.
    #[must_use]
    pub fn held(&self) -> Held {
        self.shared.state.lock().watcher.held(self.started.elapsed())
    }

    /// Emergencies so far, the one that may be on included.
    pub(crate) fn emergencies(&self) -> u64 {
        self.shared.pressure.borrow().emergencies
    }

    /// Resolves once the level is below `level`.
    pub(crate) async fn below(&self, level: GuardLevel) {
        // The sender lives as long as this guard.
        let _ = self.subscribe().wait_for(|pressure| pressure.level < level).await;
    }

    /// Takes a sample and acts on it.
    async fn look(&self, heed: &dyn Heed) {
        let sampled = tokio::time::timeout(SAMPLE_WITHIN, self.sampler.sample()).await;
        let readings = sampled.unwrap_or_else(|_| {
            tracing::warn!("the machine did not tell how it is");
            Readings::default()
        });
        heed.heed(&self.observe(readings));
    }

    fn observe(&self, readings: Readings) -> Pressure {
        let (before, pressure) = {
            let mut state = self.shared.state.lock();
            let before = state.watcher.pressure().clone();
            let pressure = state.watcher.observe(self.started.elapsed(), &readings).clone();
            state.readings = readings;
            (before, pressure)
        };
        log_change(&before, &pressure);
        self.shared.pressure.send_if_modified(|current| {
            let changed = *current != pressure;
            current.clone_from(&pressure);
            changed
        });
        pressure
    }
}

/// Tells of a decision once, with what it rests on.
fn log_change(before: &Pressure, now: &Pressure) {
    if let (None, Some(low)) = (&before.low_disk, &now.low_disk) {
        tracing::warn!(%low, "a disk is below its floor");
    }
    if before.level == now.level {
        return;
    }
    let (from, to) = (before.level.word(), now.level.word());
    match now.binds {
        Some(binds) if now.level > before.level => tracing::warn!(from, to, %binds, "the machine is pressed"),
        Some(binds) => tracing::info!(from, to, %binds, "the machine recovers"),
        None => tracing::info!(from, to, "the machine has recovered"),
    }
}
