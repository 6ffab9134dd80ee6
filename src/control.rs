//! The control API: how people and programs look at a running process and steer it.
//!
//! It listens on a socket in the data folder, which is its owner's alone, and, if the configuration
//! says so, on loopback for whoever shows a token. `routes` is one table that both the server and
//! the document of the API are made from. No request waits for a busy actor: what is shown is read
//! from memory, and orders go to supervisors, with a time-out.

mod access;
pub mod client;
mod explain;
pub mod jobs;
mod log;
mod look;
mod openapi;
pub mod overview;
mod place;
mod policy;
mod problem;
mod routes;
mod server;
pub mod shapes;
mod steer;
#[cfg(test)]
mod tests;
mod top;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use empire_actors::house::House;
use empire_actors::kernel::tree::{OrderRefused, ROOT, Tree};
use empire_actors::ports::WallClock;
use empire_actors::watch::Watch;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::access::RefusedHook;
pub use self::explain::{explain, policy_source, scaled_words};
pub use self::openapi::document;
pub use self::place::{TOKEN_FILE, owners_name};
pub use self::policy::{changes, checked_expiry, effective_without_tree, needed_reason, refuse_idle};
pub use self::problem::Problem;
pub use self::server::{ControlError, Server, Settings, serve};
use crate::alerts::Alerts;
use crate::config::ControlSetting;
use crate::daemon::Daemon;
use crate::run::board::Board;
use crate::run::progress::say;
use crate::run::watching::Watching;
use crate::store::Store;

/// Orders and changes that may be under way at once, and drains beside them.
const MOST_ORDERS: usize = 16;

/// What the API shows and steers.
pub struct Control {
    tree: Tree,
    store: Store,
    watch: Watch,
    board: Board,
    alerts: Alerts,
    simulated: bool,
    started: Instant,
    /// Whether actors may be made to fail.
    chaos: bool,
    clock: Arc<dyn WallClock>,
    orders: Arc<Semaphore>,
    /// Apart, since they take long.
    drains: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    /// The daemon, where this is one.
    daemon: Weak<Daemon>,
    /// Held while a policy changes: what is durable and what is in force must not cross.
    changing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("tree", &self.tree).finish_non_exhaustive()
    }
}

impl Control {
    /// Of the tree of `house`, whose journal and policies are kept in `store`, and that `watching`
    /// watches over. With `chaos`, actors may be made to fail. `daemon` takes jobs in, where there is
    /// one.
    #[must_use]
    pub fn new(
        (house, watching): (&House, &Watching),
        store: Store,
        (chaos, simulated): (bool, bool),
        daemon: Weak<Daemon>,
    ) -> Arc<Control> {
        let tree = house.tree();
        Arc::new(Control {
            clock: tree.supervision().clock.clone(),
            tree,
            store,
            watch: house.watch(),
            board: watching.board().clone(),
            alerts: watching.alerts().clone(),
            simulated,
            started: Instant::now(),
            chaos,
            daemon,
            orders: Arc::new(Semaphore::new(MOST_ORDERS)),
            drains: Arc::new(Semaphore::new(MOST_ORDERS)),
            watchers: Arc::new(Semaphore::new(watch::MOST_WATCHERS)),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// Carries out what must not stop halfway: it goes on if whoever asked for it has gone, or
    /// `within` is over beyond the time that it gives for a drain.
    #[expect(clippy::disallowed_methods, reason = "no actor: it ends by itself, and so many may run at once")]
    async fn carry_out<T, F>(&self, drain: Duration, within: Duration, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let slots = if drain.is_zero() { &self.orders } else { &self.drains };
        let within = drain + within;
        let slot = slots.clone().try_acquire_owned().map_err(|_| Problem::busy("orders"))?;
        let working = tokio::spawn(async move {
            let done = work.await;
            drop(slot);
            done
        });
        match tokio::time::timeout(within, working).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Problem::internal("it failed while it was carried out: the log says why")),
            Err(_) => Err(Problem::late(within)),
        }
    }

    /// The path that is meant: a job may be named by a unique beginning of its id.
    fn resolve(&self, given: Option<&str>) -> Result<String, Problem> {
        let path = full_path(given.unwrap_or_default());
        if self.tree.view(&path, 0).is_ok() {
            return Ok(path);
        }
        let missing = || OrderRefused::NoSuchNode { path: path.clone() };
        let swarm = format!("{ROOT}/swarm/");
        let begun =
            path.strip_prefix(&swarm).filter(|begun| begun.starts_with("job-")).ok_or_else(missing)?;
        let (begun, below) = begun.find('/').map_or((begun, ""), |at| begun.split_at(at));
        let jobs = self.tree.view(swarm.trim_end_matches('/'), 1)?.children;
        let mut meant = jobs
            .iter()
            .filter(|job| job.path.strip_prefix(&swarm).is_some_and(|name| name.starts_with(begun)));
        let Some(job) = meant.next() else { return Err(missing().into()) };
        if let Some(other) = meant.next() {
            return Err(Problem::bad(format!(
                "{path} fits several jobs, such as {} and {}: give more of the id",
                job.path, other.path
            )));
        }
        // One of its cohorts, perhaps.
        let meant = format!("{}{below}", job.path);
        self.tree.view(&meant, 0).map_err(|_| missing())?;
        Ok(meant)
    }
}

/// Opens the API of `house` for a run. A run whose API cannot be opened goes on without, and says so.
pub async fn open(
    house: &House,
    store: &Store,
    setting: ControlSetting,
    watching: &Watching,
    simulated: bool,
) -> Option<Server> {
    let about = (setting.chaos, simulated);
    let control = Control::new((house, watching), store.clone(), about, Weak::new());
    match serve(control, store.dir(), settings(setting, watching.alerts())).await {
        Ok(server) => Some(server),
        Err(error) => {
            say(&format!("warning: {error}"));
            None
        }
    }
}

/// How the API is served, and who hears of whom it refused.
#[must_use]
pub fn settings(setting: ControlSetting, alerts: &Alerts) -> Settings {
    let alerts = alerts.clone();
    let refused: RefusedHook = Arc::new(move || {
        tracing::warn!("the control API was asked without its token, or with a wrong one");
        alerts.login_refused();
    });
    Settings { listen: setting.listen, refused }
}

/// A path of the tree, which may be given without its beginning.
#[must_use]
pub fn full_path(given: &str) -> String {
    let below = given.trim().trim_matches('/');
    let root = ROOT.trim_start_matches('/');
    let below = match below.strip_prefix(root) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('/').unwrap_or(below),
        None => below,
    };
    if below.is_empty() { ROOT.to_owned() } else { format!("{ROOT}/{below}") }
}
