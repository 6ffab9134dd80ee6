//! What is watched while a job runs, so that somebody is told: the machine, the lanes, the mailboxes,
//! caps, the store and the providers.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::alerts::watch::{Over, Verdict};
use empire_actors::alerts::{AlertKind, Deliver, Severity, Sign};
use empire_actors::gates::rate::LaneReading;
use empire_actors::gates::scope::Alert as Threshold;
use empire_actors::guard::pressure::Pressure;
use empire_actors::model::ProviderId;
use empire_actors::swarm::Swarm;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::CommandError;
use super::prepare::Loaded;
use super::system::SystemClock;
use crate::alerts::webhook::Webhook;
use crate::alerts::{AlertParts, Alerts, Running, ToLog};
use crate::config::{AlertSetting, ProviderSetting};
use crate::health;
use crate::log;
use crate::privacy::keychain::Keychain;
use crate::store::{Store, scope_word};

/// Mailboxes may be deep for a moment: thousands of agents end at once.
const DEEP_FOR: Duration = Duration::from_secs(30);

/// What watches over one run. Stopped with it.
pub(super) struct Watching {
    alerts: Alerts,
    running: Running,
    health: JoinHandle<()>,
    stop: watch::Sender<bool>,
    queue: Over,
    started: Instant,
}

impl Watching {
    #[expect(clippy::disallowed_methods, reason = "`stop` ends it and waits for it")]
    pub(super) async fn start(store: &Store, loaded: &Loaded) -> Result<Watching, CommandError> {
        let setting = &loaded.config.alerts;
        let parts = AlertParts {
            store: store.clone(),
            deliver: deliver(setting)?,
            pace: setting.pace,
            clock: Arc::new(SystemClock),
            secrets: log::secrets(),
        };
        let (alerts, running) = Alerts::start(parts).await;
        let (stop, stopped) = watch::channel(false);
        let providers = of_route(loaded);
        let health =
            health::watch_over(store.clone(), providers, setting.check_every, alerts.clone(), stopped);
        let depth = f64::from(u32::try_from(setting.queue_depth).unwrap_or(u32::MAX));
        Ok(Watching {
            alerts,
            running,
            health: tokio::spawn(health),
            stop,
            queue: Over::new(depth, depth / 2.0, DEEP_FOR),
            started: Instant::now(),
        })
    }

    /// Where signs go.
    pub(super) fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Looks at the run as it is now.
    pub(super) fn look(&mut self, swarm: &Swarm, lanes: &[(ProviderId, LaneReading)], pressure: &Pressure) {
        self.alerts.pressure(pressure);
        self.alerts.lanes(lanes);
        let depth = swarm.deepest_mailbox();
        let shown = f64::from(u32::try_from(depth).unwrap_or(u32::MAX));
        match self.queue.look(self.started.elapsed(), shown) {
            Verdict::Fine => self.alerts.fine(AlertKind::Queue, "mailbox"),
            Verdict::Unsure => {}
            Verdict::Bad => {
                let message = format!("{depth} messages wait in one actor's mailbox");
                self.alerts.raise(Sign::new(AlertKind::Queue, "mailbox", Severity::Warning, message));
            }
        }
    }

    /// A threshold of a cap was passed.
    pub(super) fn threshold(&self, passed: &Threshold) {
        let severity = if passed.percent >= 100 { Severity::Critical } else { Severity::Warning };
        // Each threshold is told, as it is passed once.
        let scope = scope_word(&passed.scope).unwrap_or_else(|| passed.scope.to_string());
        let subject = format!("{scope} {} %", passed.percent);
        self.alerts.raise(Sign::new(AlertKind::Budget, &subject, severity, passed.to_string()));
    }

    /// The tree gave up.
    pub(super) fn gave_up(&self) {
        let message = "an actor failed more often than its policy allows, and the run ended with it";
        self.alerts.raise(Sign::new(AlertKind::Actor, "tree", Severity::Critical, message));
    }

    /// Tells of what is still to be told, and ends.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // A check under way is not waited for.
        self.health.abort();
        self.running.stop().await;
    }
}

fn deliver(setting: &AlertSetting) -> Result<Vec<Arc<dyn Deliver>>, CommandError> {
    let mut deliver: Vec<Arc<dyn Deliver>> = vec![Arc::new(ToLog)];
    if let Some(webhook) = &setting.webhook {
        let key = webhook.key_in(&Keychain::system())?;
        deliver.push(Arc::new(Webhook::new(&webhook.url, key)?));
    }
    Ok(deliver)
}

/// The providers of the route, each once.
fn of_route(loaded: &Loaded) -> Vec<Arc<ProviderSetting>> {
    let mut ids: Vec<&ProviderId> = loaded.route.iter().map(|model| &model.provider).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| loaded.config.providers[id].clone()).collect()
}
