//! Alerts of a running process: whoever sees something says so; one task decides what of it is told,
//! keeps it in the store, and hands it to those who deliver. Nobody waits for any of that.

mod log;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use empire_actors::alerts::watch::FailedLogins;
use empire_actors::alerts::{Alert, AlertKind, Board, Deliver, Notice, Pace, Severity, Sign};
use empire_actors::gates::meter::BreakerState;
use empire_actors::gates::rate::LaneReading;
use empire_actors::guard::pressure::{GuardLevel, Pressure};
use empire_actors::model::ProviderId;
use empire_actors::ports::WallClock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use log::ToLog;

use crate::log::SecretSeen;
use crate::store::Store;

/// Signs that may wait for the task.
const MOST_SIGNS: usize = 1_024;
/// Notices that may wait for one who delivers.
const MOST_NOTICES: usize = 64;
/// How often it is looked whether an event is over, and whether somebody has acknowledged one.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What lasts is said again so often.
const SAID_AGAIN_MILLIS: i64 = 60_000;
/// How long the end waits for what is still to be delivered.
const END_WITHIN: Duration = Duration::from_secs(5);

enum Input {
    Sign(Sign),
    Fine(AlertKind, Arc<str>),
    LoginRefused,
}

/// Where signs go. Cheap to clone; nothing here waits.
#[derive(Clone)]
pub struct Alerts {
    inputs: mpsc::Sender<Input>,
    open: watch::Receiver<Vec<Alert>>,
    clock: Arc<dyn WallClock>,
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").field("open", &self.open.borrow().len()).finish_non_exhaustive()
    }
}

/// What the alerts of a process are made of.
pub struct AlertParts {
    /// Where they are kept.
    pub store: Store,
    /// Who tells of them.
    pub deliver: Vec<Arc<dyn Deliver>>,
    /// How often.
    pub pace: Pace,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
    /// What the log kept out of itself.
    pub secrets: watch::Receiver<SecretSeen>,
}

/// The task behind [`Alerts`], as its owner holds it.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes in what was said so far, delivers it, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(END_WITHIN * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Alerts {
    /// Starts the task. What was on when the process before ended is on again, and is not told anew.
    #[expect(clippy::disallowed_methods, reason = "its owner stops it and waits for it")]
    pub async fn start(parts: AlertParts) -> (Alerts, Running) {
        let (inputs, received) = mpsc::channel(MOST_SIGNS);
        let (open, opened) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let before = parts.store.alerts().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the alerts of before cannot be read");
            Vec::new()
        });
        let board = Board::new(parts.pace, before.into_iter().map(|stored| stored.alert));
        let posts = parts.deliver.into_iter().map(Post::start).collect();
        let task = Task {
            board,
            store: parts.store,
            posts,
            clock: parts.clock.clone(),
            open,
            logins: FailedLogins::default(),
            started: Instant::now(),
            is_stored: true,
        };
        let task = tokio::spawn(task.run(received, parts.secrets, stopped));
        (Alerts { inputs, open: opened, clock: parts.clock }, Running { stop, task })
    }

    /// Something is seen that is not as it should be.
    pub fn raise(&self, sign: Sign) {
        self.put(Input::Sign(sign));
    }

    /// It is as it should be.
    pub fn fine(&self, kind: AlertKind, subject: &str) {
        self.put(Input::Fine(kind, subject.into()));
    }

    /// A login, or a token, was refused.
    pub fn login_refused(&self) {
        self.put(Input::LoginRefused);
    }

    /// The machine's pressure, as the guard publishes it.
    pub fn pressure(&self, pressure: &Pressure) {
        const SUBJECT: &str = "pressure";
        match (&pressure.binds, pressure.level) {
            (Some(binds), GuardLevel::Alert | GuardLevel::Emergency) => {
                let is_over = pressure.level == GuardLevel::Emergency;
                let severity = if is_over { Severity::Critical } else { Severity::Warning };
                self.raise_once(Sign::new(AlertKind::Machine, SUBJECT, severity, binds.to_string()));
            }
            _ => self.fine(AlertKind::Machine, SUBJECT),
        }
        match &pressure.low_disk {
            Some(low) => {
                let message = format!("{} has less room than is to be kept free", low.disk.what);
                self.raise_once(Sign::new(AlertKind::Disk, &low.disk.what, Severity::Critical, message));
            }
            None => {
                for folder in ["data folder", "output folder"] {
                    self.fine(AlertKind::Disk, folder);
                }
            }
        }
    }

    /// How the lanes stand: one that is tripped, or whose model is, takes no calls.
    pub fn lanes(&self, lanes: &[(ProviderId, LaneReading)]) {
        for (provider, lane) in lanes {
            let subject = format!("{provider} breaker");
            let tripped = std::iter::once(&lane.breaker)
                .chain(lane.models.iter().map(|model| &model.breaker))
                .find(|breaker| breaker.state == BreakerState::Tripped)
                .and_then(|breaker| breaker.tripped.as_ref());
            match tripped {
                Some(trip) => {
                    // A trip that ends by itself needs nobody.
                    let severity =
                        if trip.retry_at.is_some() { Severity::Warning } else { Severity::Critical };
                    let message = format!("{provider} takes no calls: {}", trip.kind.words());
                    self.raise_once(Sign::new(AlertKind::Provider, &subject, severity, message));
                }
                None => self.fine(AlertKind::Provider, &subject),
            }
        }
    }

    /// What is on.
    #[must_use]
    pub fn open(&self) -> Vec<Alert> {
        self.open.borrow().clone()
    }

    /// For what is looked at many times a minute: said again only when it gets worse, or after a while.
    fn raise_once(&self, sign: Sign) {
        let seen_before = self.clock.now().0 - SAID_AGAIN_MILLIS;
        let is_known = self.open.borrow().iter().any(|alert| {
            let is_it = alert.kind == sign.kind && alert.subject == sign.subject;
            is_it && alert.severity >= sign.severity && alert.last_seen.0 > seen_before
        });
        if !is_known {
            self.raise(sign);
        }
    }

    fn put(&self, input: Input) {
        // Full only if the task hangs; the end of a channel is the end of the process.
        if self.inputs.try_send(input).is_err() {
            tracing::warn!("an alert found no place in the queue");
        }
    }
}

struct Task {
    board: Board,
    store: Store,
    posts: Vec<Post>,
    clock: Arc<dyn WallClock>,
    open: watch::Sender<Vec<Alert>>,
    logins: FailedLogins,
    started: Instant,
    /// Whether the last alert could be kept: a store that fails is told of once.
    is_stored: bool,
}

impl Task {
    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut secrets: watch::Receiver<SecretSeen>,
        mut stopped: watch::Receiver<bool>,
    ) {
        self.publish();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                input = inputs.recv() => match input {
                    Some(input) => self.take(input).await,
                    None => break,
                },
                Ok(()) = secrets.changed() => {
                    let seen = secrets.borrow_and_update().clone();
                    self.secret(&seen).await;
                }
                // It only ever says stop.
                _ = stopped.changed() => break,
                _ = look.tick() => self.look().await,
            }
        }
        let ends = self.posts.drain(..).map(Post::stop);
        futures_util::future::join_all(ends).await;
    }

    async fn take(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Sign(sign) => {
                let (kind, subject) = (sign.kind, sign.subject.clone());
                let notice = self.board.raise(now, sign);
                self.tell(kind, &subject, notice).await;
            }
            // Mostly it always was.
            Input::Fine(kind, subject) if !self.board.get(kind, &subject).is_some_and(Alert::is_open) => {}
            Input::Fine(kind, subject) => {
                let notice = self.board.recover(now, kind, &subject);
                self.tell(kind, &subject, notice).await;
            }
            Input::LoginRefused if self.logins.refused(self.started.elapsed()) => {
                let message = format!(
                    "more than {} logins were refused within {} minutes",
                    FailedLogins::ALLOWED,
                    FailedLogins::WITHIN.as_secs() / 60
                );
                let sign = Sign::new(AlertKind::Logins, "control", Severity::Critical, message);
                let notice = self.board.raise(now, sign);
                self.tell(AlertKind::Logins, "control", notice).await;
            }
            Input::LoginRefused => {}
        }
    }

    async fn secret(&mut self, seen: &SecretSeen) {
        let message =
            format!("a secret was kept out of the log ({}): {} tried to log it", seen.rules, seen.target);
        let sign = Sign::new(AlertKind::Secret, &seen.target, Severity::Critical, message);
        let notice = self.board.raise(self.clock.now(), sign);
        self.tell(AlertKind::Secret, &seen.target, notice).await;
    }

    async fn look(&mut self) {
        for notice in self.board.tick(self.clock.now()) {
            let (kind, subject) = (notice.alert.kind, notice.alert.subject.clone());
            self.tell(kind, &subject, Some(notice)).await;
        }
        // A store that cannot be read is told of by whoever checks it.
        for stored in self.store.alerts().await.unwrap_or_default() {
            if let Some(at) = stored.alert.acknowledged_at {
                self.board.acknowledge(stored.alert.kind, &stored.alert.subject, at);
            }
        }
    }

    /// Keeps an alert as it is now, and tells of it if there is news.
    async fn tell(&mut self, kind: AlertKind, subject: &str, notice: Option<Notice>) {
        self.publish();
        if let Some(notice) = notice {
            self.posts.iter().for_each(|post| post.put(&notice));
        }
        let Some(alert) = self.board.get(kind, subject).cloned() else { return };
        let saved = tokio::time::timeout(END_WITHIN, self.store.save_alert(alert)).await;
        let error = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it takes too long".to_owned()),
        };
        if let Some(error) = error.as_ref().filter(|_| self.is_stored) {
            tracing::warn!(%error, "alerts cannot be kept: they are told all the same");
        }
        self.is_stored = error.is_none();
    }

    fn publish(&self) {
        self.open.send_replace(self.board.alerts().filter(|alert| alert.is_open()).cloned().collect());
    }
}

/// One who delivers, with a queue of its own: a slow one holds up nobody.
struct Post {
    name: &'static str,
    notices: mpsc::Sender<Notice>,
    task: JoinHandle<()>,
}

impl Post {
    #[expect(clippy::disallowed_methods, reason = "it ends with its queue, and `stop` waits for it")]
    fn start(deliver: Arc<dyn Deliver>) -> Post {
        let (notices, mut received) = mpsc::channel::<Notice>(MOST_NOTICES);
        let name = deliver.name();
        let task = tokio::spawn(async move {
            while let Some(notice) = received.recv().await {
                if let Err(error) = deliver.deliver(&notice).await {
                    tracing::warn!(by = deliver.name(), %error, kind = %notice.alert.kind, "an alert could not be delivered");
                }
            }
        });
        Post { name, notices, task }
    }

    fn put(&self, notice: &Notice) {
        if self.notices.try_send(notice.clone()).is_err() {
            tracing::warn!(by = self.name, kind = %notice.alert.kind, "an alert is not delivered: too many wait");
        }
    }

    async fn stop(self) {
        drop(self.notices);
        let mut task = self.task;
        if tokio::time::timeout(END_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}
