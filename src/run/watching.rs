//! What is watched while a house stands, so that somebody is told: the machine, the lanes, the
//! mailboxes, the tree, caps, the store and the providers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::alerts::watch::{Over, Verdict};
use empire_actors::alerts::{AlertKind, Deliver, Severity, Sign};
use empire_actors::gates::scope::Alert as Threshold;
use empire_actors::house::House;
use empire_actors::kernel::journal::{Entry, Event};
use empire_actors::kernel::policy::Action;
use empire_actors::model::{Model, ProviderId};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::board::Board;
use super::error::CommandError;
use super::prepare::Loaded;
use super::system::SystemClock;
use crate::alerts::webhook::Webhook;
use crate::alerts::{AlertParts, Alerts, Running, ToLog};
use crate::config::{AlertSetting, Config, ProviderSetting};
use crate::health;
use crate::log;
use crate::privacy::keychain::Keychain;
use crate::store::{Store, scope_word};

/// Mailboxes may be deep for a moment: thousands of agents end at once.
const DEEP_FOR: Duration = Duration::from_secs(30);
/// How often the house is looked over.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What watches over one house. Stopped with it.
pub struct Watching {
    alerts: Alerts,
    board: Board,
    running: Running,
    health: JoinHandle<()>,
    stop: watch::Sender<bool>,
    queue: Mutex<Over>,
    /// What supervisors decided since the last look.
    decided: Mutex<Option<broadcast::Receiver<Arc<Entry>>>>,
    started: Instant,
}

impl Watching {
    #[expect(clippy::disallowed_methods, reason = "`stop` ends it and waits for it")]
    /// Watches over the store and these providers from now on.
    pub async fn start(
        store: &Store,
        setting: &AlertSetting,
        providers: Vec<Arc<ProviderSetting>>,
    ) -> Result<Watching, CommandError> {
        let parts = AlertParts {
            store: store.clone(),
            deliver: deliver(setting)?,
            pace: setting.pace,
            clock: Arc::new(SystemClock),
            secrets: log::secrets(),
        };
        let (alerts, running) = Alerts::start(parts).await;
        let (stop, stopped) = watch::channel(false);
        let health =
            health::watch_over(store.clone(), providers, setting.check_every, alerts.clone(), stopped);
        let depth = f64::from(u32::try_from(setting.queue_depth).unwrap_or(u32::MAX));
        Ok(Watching {
            alerts,
            board: Board::default(),
            running,
            health: tokio::spawn(health),
            stop,
            queue: Mutex::new(Over::new(depth, depth / 2.0, DEEP_FOR)),
            decided: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Where signs go.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Where its jobs say how they stand.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Looks over the house again and again, until it is dropped.
    pub async fn look_around(&self, house: &House) -> Infallible {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            self.look(house);
        }
    }

    fn look(&self, house: &House) {
        self.alerts.pressure(&house.guard().pressure());
        self.alerts.lanes(&house.watch().lanes());
        let depth = house.deepest_mailbox();
        let shown = f64::from(u32::try_from(depth).unwrap_or(u32::MAX));
        match self.queue.lock().look(self.started.elapsed(), shown) {
            Verdict::Fine => self.alerts.fine(AlertKind::Queue, "mailbox"),
            Verdict::Unsure => {}
            Verdict::Bad => {
                let message = format!("{depth} messages wait in one actor's mailbox");
                self.alerts.raise(Sign::new(AlertKind::Queue, "mailbox", Severity::Warning, message));
            }
        }
        self.look_at_the_tree(house);
    }

    /// An actor that failed too often is an alert until it runs again.
    fn look_at_the_tree(&self, house: &House) {
        let mut decided = self.decided.lock();
        let decided = decided.get_or_insert_with(|| house.tree().supervision().journal.follow());
        loop {
            let entry = match decided.try_recv() {
                Ok(entry) => entry,
                // So many at once that some are missed: the next ones tell.
                Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                Err(_) => return,
            };
            match &entry.event {
                Event::Started { .. } => self.alerts.fine(AlertKind::Actor, &entry.path),
                Event::Exit(decision) => {
                    let severity = match decision.action {
                        Action::Pause { .. } => Severity::Warning,
                        Action::Quarantine | Action::Escalate => Severity::Critical,
                        Action::LetGo | Action::Restart { .. } => continue,
                    };
                    self.alerts.raise(Sign::new(
                        AlertKind::Actor,
                        &entry.path,
                        severity,
                        decision.to_string(),
                    ));
                }
                Event::Order { .. } | Event::Policy { .. } => {}
            }
        }
    }

    /// A threshold of a cap was passed.
    pub fn threshold(&self, passed: &Threshold) {
        let severity = if passed.percent >= 100 { Severity::Critical } else { Severity::Warning };
        // Each threshold is told, as it is passed once.
        let scope = scope_word(&passed.scope).unwrap_or_else(|| passed.scope.to_string());
        let subject = format!("{scope} {} %", passed.percent);
        self.alerts.raise(Sign::new(AlertKind::Budget, &subject, severity, passed.to_string()));
    }

    /// The tree gave up.
    pub fn gave_up(&self) {
        let message = "an actor failed more often than its policy allows, and the run ended with it";
        self.alerts.raise(Sign::new(AlertKind::Actor, "tree", Severity::Critical, message));
    }

    /// Tells of what is still to be told, and ends.
    pub async fn stop(self) {
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
#[must_use]
pub fn of_route(loaded: &Loaded) -> Vec<Arc<ProviderSetting>> {
    each_once(&loaded.config, &loaded.route)
}

/// The providers of these models, each once.
#[must_use]
pub fn each_once(config: &Config, route: &[Arc<Model>]) -> Vec<Arc<ProviderSetting>> {
    let mut ids: Vec<&ProviderId> = route.iter().map(|model| &model.provider).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| config.providers[id].clone()).collect()
}
