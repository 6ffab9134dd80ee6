//! What jobs do about the machine's pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::{JobContext, Lanes};
use super::jobs::Jobs;
use super::order::StopReason;
use crate::guard::Heed;
use crate::guard::pressure::{GuardLevel, Pressure};
use crate::level::Zone;
use crate::model::Model;
use crate::ports::Checkpoint;

/// Holds all jobs back as hard as the machine is pressed, and lets them go on.
pub(crate) struct HeedOfJobs {
    jobs: Arc<Jobs>,
    lanes: Arc<Lanes>,
    checkpoint: Arc<dyn Checkpoint>,
    /// What this emergency has made durable already.
    checkpoints: Checkpoints,
}

#[derive(Default)]
struct Checkpoints {
    at_its_start: AtomicBool,
    when_settled: AtomicBool,
}

impl HeedOfJobs {
    pub(crate) fn new(jobs: Arc<Jobs>, lanes: Arc<Lanes>, checkpoint: Arc<dyn Checkpoint>) -> HeedOfJobs {
        HeedOfJobs { jobs, lanes, checkpoint, checkpoints: Checkpoints::default() }
    }

    /// Makes durable what is finished: at once, and again when the calls in flight have settled.
    fn checkpoint(&self, level: GuardLevel) {
        let Checkpoints { at_its_start, when_settled } = &self.checkpoints;
        if level < GuardLevel::Emergency {
            at_its_start.store(false, Ordering::Relaxed);
            when_settled.store(false, Ordering::Relaxed);
            return;
        }
        let is_settled = self.jobs.all().iter().all(|job| job.context.meters.read().in_flight == 0);
        let is_first = !at_its_start.swap(true, Ordering::Relaxed);
        let is_due = (is_settled && !when_settled.swap(true, Ordering::Relaxed)) || is_first;
        if is_due {
            let checkpoint = self.checkpoint.checkpoint();
            crate::kernel::spawn(async move {
                match checkpoint.await {
                    Ok(()) => tracing::info!(is_settled, "checkpoint: what is finished is durable"),
                    // Whoever records a result finds out as well, and decides.
                    Err(error) => tracing::warn!(%error, "no checkpoint"),
                }
            });
        }
    }
}

impl Heed for HeedOfJobs {
    fn heed(&self, pressure: &Pressure) {
        for job in self.jobs.all() {
            job.context.heed(pressure);
        }
        for lane in self.lanes.values() {
            lane.rate.look();
        }
        self.checkpoint(pressure.level);
    }
}

impl JobContext {
    pub(crate) fn heed(&self, pressure: &Pressure) {
        if let Some(low) = &pressure.low_disk {
            self.stop(StopReason::Disk(low.clone()));
        }
        self.turnstile.hold(pressure.level >= GuardLevel::Alert);
    }

    /// Waits until agents may be started. `None` if the job is told to stop first.
    pub(super) async fn may_start(&self) -> Option<()> {
        self.unless_stopped(self.guard.below(GuardLevel::Alert)).await
    }

    /// Whether a try of `model` that began after so many `emergencies` failed together with the
    /// machine: then it is no reason to ask a model elsewhere.
    pub(super) fn starved(&self, model: &Model, emergencies: u64) -> bool {
        let pressure = self.guard.pressure();
        let in_emergency = pressure.level == GuardLevel::Emergency || pressure.emergencies > emergencies;
        in_emergency && self.lane(model).spec.zone == Zone::Local
    }
}
