use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use empire_actors::guard::GuardParts;
use empire_actors::guard::pressure::{Readings, Settings, Thresholds};
use empire_actors::ports::{Checkpoint, Sampler, StoreError};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

/// A machine that is as it is told to be.
#[derive(Default)]
pub struct FakeMachine {
    pub readings: Mutex<Readings>,
    pub samples: AtomicUsize,
    pub checkpoints: AtomicUsize,
    /// Samples from now on that never come.
    pub hangs: AtomicUsize,
    /// Samples from now on that panic.
    pub panics: AtomicUsize,
}

impl FakeMachine {
    pub fn set(&self, change: impl FnOnce(&mut Readings)) {
        change(&mut self.readings.lock());
    }

    pub fn memory(&self, percent: f64) {
        self.set(|readings| readings.memory = Some(percent));
    }

    pub fn checkpoints(&self) -> usize {
        self.checkpoints.load(Ordering::Relaxed)
    }

    /// Takes one of what is left.
    fn take(left: &AtomicUsize) -> bool {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Sampler for FakeMachine {
    fn sample(&self) -> BoxFuture<'_, Readings> {
        Box::pin(async {
            self.samples.fetch_add(1, Ordering::Relaxed);
            assert!(!FakeMachine::take(&self.panics), "the sampler has a bug");
            if FakeMachine::take(&self.hangs) {
                std::future::pending::<()>().await;
            }
            self.readings.lock().clone()
        })
    }
}

impl Checkpoint for FakeMachine {
    fn checkpoint(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

/// As shipped, CPU and memory alone.
pub fn guard_settings() -> Settings {
    let seconds = Duration::from_secs;
    let at = |throttle, alert, emergency| Some(Thresholds { throttle, alert, emergency });
    let (cpu, memory) = (at(70.0, 85.0, 95.0), at(70.0, 85.0, 95.0));
    Settings {
        every: seconds(1),
        smoothing: seconds(20),
        smoothing_memory: seconds(2),
        alert_after: seconds(300),
        margin: 0.05,
        dwell: seconds(5),
        thresholds: [cpu, None, memory, None, None, None, None],
        own_memory_ceiling: 1 << 30,
        disk_floor: 10 << 30,
    }
}

pub fn guard_parts(machine: &Arc<FakeMachine>) -> GuardParts {
    GuardParts { sampler: machine.clone(), settings: guard_settings(), checkpoint: machine.clone() }
}
