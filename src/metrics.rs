//! Metrics for Prometheus, on this machine only. What happens is counted where it happens
//! ([`Tally`]); how things stand is read from memory when somebody asks, on a thread of its own, so
//! that neither waits for busy actors. What there is to read is in [`catalogue`] and, for people,
//! in `docs/metrics.md`.

pub mod catalogue;
mod page;
mod process;
mod server;
mod standing;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use empire_actors::house::House;
use empire_actors::tally::{Instruments, Tally};
use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use self::catalogue::{METRICS, MetricKind};
use self::state::Scraper;
use crate::config::MetricsSetting;
use crate::store::{CommitMeters, Store};

pub use self::server::Server;

/// Where the metrics are.
pub const PATH: &str = "/metrics";

/// Why there are no metrics to read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The port is taken, or may not be used.
    #[error(
        "metrics cannot be served on {address} ({source}): set [metrics] listen in empire.toml to another address on this machine, or to \"none\""
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A bucket or a thread could not be made.
    #[error("metrics cannot be kept: {0}")]
    Setup(String),
}

/// What a process counts, for one house.
pub struct Metrics {
    listen: Option<SocketAddr>,
    keeper: Option<Arc<Keeper>>,
    tally: Arc<Tally>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counts if anybody may ask.
    ///
    /// # Errors
    /// [`MetricsError::Setup`].
    pub fn new(setting: &MetricsSetting) -> Result<Metrics, MetricsError> {
        let Some(listen) = setting.listen else {
            return Ok(Metrics { listen: None, keeper: None, tally: Arc::default() });
        };
        let keeper = Arc::new(Keeper::new()?);
        let tally = Arc::new(Tally::new(keeper.clone()));
        Ok(Metrics { listen: Some(listen), keeper: Some(keeper), tally })
    }

    /// What the house counts with.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    /// Has the store's commits measured.
    pub fn measure(&self, store: &Store) {
        if let Some(keeper) = &self.keeper {
            store.measure(CommitMeters {
                seconds: keeper.histogram(catalogue::COMMIT_SECONDS, &[]),
                operations: keeper.histogram(catalogue::COMMIT_OPERATIONS, &[]),
                failures: keeper.counter(catalogue::COMMIT_FAILURES, &[]),
            });
        }
    }

    fn scraper(&self, house: &House, keeper: &Keeper) -> Scraper {
        Scraper::new(house.watch(), self.tally(), keeper.handle.clone())
    }
}

/// Lets whoever is on this machine read the metrics, as long as the server is held. None if the
/// setting says so.
///
/// # Errors
/// The port is taken, or a thread could not be made.
pub fn serve(metrics: &Metrics, house: &House, store: &Store) -> Result<Option<Server>, MetricsError> {
    let (Some(listen), Some(keeper)) = (metrics.listen, &metrics.keeper) else { return Ok(None) };
    Server::start(listen, metrics.scraper(house, keeper), store).map(Some)
}

/// Keeps counters and histograms. Not the process's global recorder, so that two houses (in tests)
/// do not count into each other.
struct Keeper {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

const METADATA: Metadata<'static> = Metadata::new("empire", Level::INFO, None);

impl Keeper {
    fn new() -> Result<Keeper, MetricsError> {
        let mut builder = PrometheusBuilder::new();
        for metric in METRICS {
            if let MetricKind::Histogram(buckets) = metric.kind {
                let name = Matcher::Full(metric.name.to_owned());
                let set = builder.set_buckets_for_metric(name, buckets);
                builder = set.map_err(|error| MetricsError::Setup(error.to_string()))?;
            }
        }
        let recorder = builder.build_recorder();
        for metric in METRICS {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, None, metric.help.into()),
                MetricKind::Histogram(_) => recorder.describe_histogram(name, None, metric.help.into()),
                MetricKind::Gauge => {}
            }
        }
        let handle = recorder.handle();
        Ok(Keeper { recorder, handle })
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

impl Instruments for Keeper {
    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }
}

#[cfg(test)]
mod tests;
