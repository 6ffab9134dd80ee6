//! What a running process says of its lanes to `empire limits`: a small file in the data folder,
//! written anew once a second.

use std::path::{Path, PathBuf};
use std::time::Duration;

use empire_actors::gates::rate::LaneReading;
use empire_actors::model::ProviderId;
use empire_actors::ports::{UnixMillis, WallClock};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::system::SystemClock;

/// The file's name in the data folder.
const FILE: &str = "limits.json";
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// One provider's lane as it is shown.
#[derive(Debug, Serialize)]
pub struct ShownLane {
    /// The provider.
    pub provider: ProviderId,
    /// How its lane stands.
    #[serde(flatten)]
    pub lane: LaneReading,
}

#[derive(Serialize)]
struct Written<'a> {
    at: UnixMillis,
    process: u32,
    job: &'a str,
    providers: Vec<ShownLane>,
}

/// Writes the file for as long as a job runs. It stays after that, and is told by its age and by
/// the folder's lock, which nobody holds then.
pub struct Snapshot {
    path: PathBuf,
    job: String,
    written: Option<Instant>,
}

impl Snapshot {
    /// For a job that works in the data folder `dir`.
    #[must_use]
    pub fn new(dir: &Path, job: &str) -> Snapshot {
        Snapshot { path: dir.join(FILE), job: job.to_owned(), written: None }
    }

    /// Writes how the lanes stand, unless that was done in this second. That it cannot be written
    /// stops no job.
    pub async fn write_sometimes(&mut self, lanes: &[(ProviderId, LaneReading)]) {
        if self.written.is_some_and(|at| at.elapsed() < WRITE_EVERY) {
            return;
        }
        self.written = Some(Instant::now());
        let providers =
            lanes.iter().map(|(provider, lane)| ShownLane { provider: provider.clone(), lane: lane.clone() });
        let written = Written {
            at: SystemClock.now(),
            process: std::process::id(),
            job: &self.job,
            providers: providers.collect(),
        };
        let Ok(text) = serde_json::to_vec(&written) else { return };
        // A reader finds the old file or the new one, never half of one.
        let draft = self.path.with_extension("json.new");
        let outcome = async {
            tokio::fs::write(&draft, &text).await?;
            tokio::fs::rename(&draft, &self.path).await
        };
        if let Err(error) = outcome.await {
            tracing::debug!(%error, "limits.json could not be written");
        }
    }
}

/// What a running process wrote last, and how long ago.
#[must_use]
pub fn read(dir: &Path) -> Option<(Value, Duration)> {
    const MOST_BYTES: u64 = 16 << 20;
    let path = dir.join(FILE);
    let is_small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= MOST_BYTES);
    let text = std::fs::read(path).ok().filter(|_| is_small)?;
    let written: Value = serde_json::from_slice(&text).ok()?;
    let age = SystemClock.now().0.saturating_sub(written["at"].as_i64()?);
    Some((written, Duration::from_millis(age.max(0).unsigned_abs())))
}
