//! The tree that the jobs of this process share, put together from the configuration.

use std::path::Path;
use std::sync::Arc;

use empire_actors::gates::detect::Detector;
use empire_actors::house::{House, HouseParts};
use empire_actors::ports::Provider;

use super::caps;
use super::error::CommandError;
use super::machine;
use super::progress::say;
use super::supervision::supervision;
use super::system::SystemClock;
use super::watching::Watching;
use crate::config::Config;
use crate::metrics::{self, Metrics, Server};
use crate::providers;
use crate::store::{LedgerScope, Store};

/// What a house goes by.
pub struct Plans<'a> {
    /// The configuration; points at the simulator in a simulated house.
    pub config: &'a Config,
    /// Whether its calls go to the simulator.
    pub simulated: bool,
    /// Whose money counts.
    pub scope: LedgerScope,
    /// What the privacy gate looks with.
    pub detector: Arc<Detector>,
    /// The folder that results go to, beside the store's.
    pub out: &'a Path,
    /// What it counts with.
    pub metrics: &'a Metrics,
}

/// Starts the guard, the gates and a lane for every provider. `watching` hears what is amiss.
pub async fn start(store: &Store, plans: Plans<'_>, watching: &Watching) -> Result<House, CommandError> {
    let Plans { config, simulated, scope, detector, out, metrics } = plans;
    metrics.measure(store);
    let parts = HouseParts {
        providers: providers::all(config, Some(watching.alerts()))?
            .into_iter()
            .map(|(id, client)| (Arc::new(config.providers[&id].spec.clone()), client as Arc<dyn Provider>))
            .collect(),
        ledger: store.ledger(scope),
        caps: caps::caps(config, &store.caps().await?),
        alerts: config.budget.alerts.clone(),
        privacy_workers: privacy_workers(),
        audit: store.audit().await?,
        detector,
        guard: machine::guard(config, simulated, store, out),
        clock: Arc::new(SystemClock),
        supervision: supervision(store, metrics.tally()).await?,
        tally: metrics.tally(),
    };
    House::start(parts).await.map_err(CommandError::internal)
}

/// Privacy workers: one a core, since all they do is work for one.
#[must_use]
pub fn privacy_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a house counts with, as configured.
pub fn metrics(config: &Config) -> Result<Metrics, CommandError> {
    Metrics::new(&config.metrics).map_err(CommandError::internal)
}

/// Lets the metrics be read while the server is held. A port that is taken ends nothing.
#[must_use]
pub fn serve_metrics(metrics: &Metrics, house: &House, store: &Store) -> Option<Server> {
    metrics::serve(metrics, house, store).unwrap_or_else(|error| {
        say(&format!("warning: {error}"));
        None
    })
}
