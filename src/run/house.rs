//! The tree that the jobs of this process share, put together from the configuration.

use std::path::Path;
use std::sync::Arc;

use empire_actors::gates::detect::Detector;
use empire_actors::house::{House, HouseParts};
use empire_actors::ports::Provider;

use super::caps;
use super::error::CommandError;
use super::machine;
use super::supervision::supervision;
use super::system::SystemClock;
use super::watching::Watching;
use crate::config::Config;
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
}

/// Starts the guard, the gates and a lane for every provider. `watching` hears what is amiss.
pub async fn start(store: &Store, plans: Plans<'_>, watching: &Watching) -> Result<House, CommandError> {
    let Plans { config, simulated, scope, detector, out } = plans;
    let parts = HouseParts {
        providers: providers::all(config, Some(watching.alerts()))?
            .into_iter()
            .map(|(id, client)| (Arc::new(config.providers[&id].spec.clone()), client as Arc<dyn Provider>))
            .collect(),
        ledger: store.ledger(scope),
        caps: caps::caps(config, &store.caps().await?),
        alerts: config.budget.alerts.clone(),
        privacy_workers: std::thread::available_parallelism().map_or(1, usize::from),
        audit: store.audit().await?,
        detector,
        guard: machine::guard(config, simulated, store, out),
        clock: Arc::new(SystemClock),
        supervision: supervision(store).await?,
    };
    House::start(parts).await.map_err(CommandError::internal)
}
