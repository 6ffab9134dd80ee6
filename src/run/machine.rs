//! The machine that a run works on: whether it has room to start, and how the run tells that it
//! is held back.

use std::path::Path;
use std::sync::Arc;

use empire_actors::guard::GuardParts;
use empire_actors::guard::pressure::{Gauge, GuardLevel, LowDisk, Pressure};

use super::error::CommandError;
use super::prepare::Loaded;
use super::progress::say;
use crate::config::Config;
use crate::sampler::{Folders, SystemSampler};
use crate::store::Store;

/// Refuses to start where the disk of the data folder, or of the output folder if it is known, has
/// less room than is to be kept free.
pub fn check_disks(loaded: &Loaded, store: &Store, out: Option<&Path>) -> Result<(), CommandError> {
    let data = store.dir().to_owned();
    let folders = Folders { out: out.unwrap_or(&data).to_owned(), data };
    let floor = loaded.config.guard.settings(loaded.simulated.is_some()).disk_floor;
    match LowDisk::find(&folders.disks(), floor) {
        None => Ok(()),
        Some(low) => Err(CommandError::refused(format!("nothing was started: {low}"))),
    }
}

/// The guard of a run that writes to `out`.
pub(super) fn guard(config: &Config, simulated: bool, store: &Store, out: &Path) -> GuardParts {
    let folders = Folders { data: store.dir().to_owned(), out: out.to_owned() };
    GuardParts {
        sampler: Arc::new(SystemSampler::new(folders)),
        settings: config.guard.settings(simulated),
        checkpoint: store.checkpoint(),
    }
}

/// Tells of each change of the machine's level: the person at the terminal, and whoever asks for
/// the job's status.
#[derive(Debug, Default)]
pub(super) struct Teller {
    told: (GuardLevel, Option<Gauge>),
}

impl Teller {
    pub(super) async fn tell(&mut self, pressure: &Pressure, store: &Store, job: &str) {
        let now = (pressure.level, pressure.binds.map(|binds| binds.gauge));
        if now == self.told {
            return;
        }
        let is_other_level = now.0 != self.told.0;
        self.told = now;
        let why = pressure.binds.map(|binds| binds.to_string());
        if is_other_level {
            let remedy = pressure.binds.map(|binds| remedy(binds.gauge)).unwrap_or_default();
            say(&format!("{}{remedy}", words(pressure.level, why.as_deref().unwrap_or_default())));
        }
        if let Err(error) = store.note(job, &why.unwrap_or_default()).await {
            // Results will say if the store is gone.
            tracing::warn!(%error, "cannot note that the machine holds the job back");
        }
    }
}

/// What a person may do about it beside giving the machine room.
fn remedy(gauge: Gauge) -> String {
    let setting = gauge.setting();
    format!(
        "; to work on regardless, raise `{setting}` under [guard] in empire.toml, or say {setting} = \"none\""
    )
}

fn words(level: GuardLevel, why: &str) -> String {
    match level {
        GuardLevel::Normal => "the machine has room again: going on as before".to_owned(),
        GuardLevel::Throttled => format!("slowing down: {why}"),
        GuardLevel::Alert => format!("waking no more agents for now: {why}"),
        GuardLevel::Emergency => {
            format!("waiting until the machine has room, calls under way may end: {why}")
        }
    }
}
