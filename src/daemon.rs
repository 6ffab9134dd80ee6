//! The daemon: one process that holds the data folder, runs several jobs in one house, and goes on
//! with them after a restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::house::House;
use empire_actors::kernel::supervisor::StopReport;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::home::Home;
use crate::log;
use crate::metrics::Server;
use crate::run::engine::{Told, Wish};
use crate::run::error::{CommandError, Exit};
use crate::run::feed::{Ended, Feed, Heard, heard_by};
use crate::run::finish::Finished;
use crate::run::house::{self, Plans};
use crate::run::launch::{
    Confirm, Opened, Ready, StoreOf, Wanted, WantedAgain, ready_to_resume, ready_to_run, tell_recovered,
};
use crate::run::prepare::{self, Place, Simulated};
use crate::run::progress::say;
use crate::run::system::SystemClock;
use crate::run::watching::{Watching, each_once};
use crate::store::{Desired, Job, JobState, LedgerScope, Store};

/// Jobs at a time.
const MOST_JOBS: usize = 64;
/// Jobs that have ended and can still be asked after.
const ENDED_KEPT: usize = 100;
/// How wide the report of a job is.
const WIDTH: usize = 100;

/// A running daemon.
pub struct Daemon {
    place: Place,
    home: Home,
    store: Store,
    config: Config,
    /// Lets its metrics be read.
    served: Option<Server>,
    house: House,
    watching: Watching,
    /// The simulator that all its jobs talk to, in a simulated daemon.
    simulated: Option<Simulated>,
    started: Instant,
    jobs: Mutex<Jobs>,
    /// One job at a time is read in.
    admission: Arc<tokio::sync::Mutex<()>>,
    wishes: watch::Sender<Option<Wish>>,
    /// Somebody wants it to end.
    down: watch::Sender<Option<Down>>,
}

#[derive(Default)]
struct Jobs {
    feeds: BTreeMap<String, Arc<Feed>>,
    running: JoinSet<()>,
    /// Ids of the jobs that run.
    at_work: Vec<String>,
}

/// How a daemon is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down {
    /// Calls under way may take so long.
    pub within: Duration,
}

/// A job that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Why a job was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotTaken {
    /// The exit code that `empire swarm run` would give.
    pub exit: u8,
    /// Why, and what to do.
    pub error: String,
    /// What was said on the way.
    pub said: Vec<String>,
    /// A yes to this lets it in.
    pub question: Option<String>,
}

/// What a daemon is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Seconds since it started.
    pub up_s: u64,
    /// Its data folder.
    pub home: String,
    /// The configuration that it goes by on top of the data folder's.
    pub config: Option<String>,
    /// The simulator that its calls go to, as it was given.
    pub simulator: Option<String>,
    /// Whether it is ending.
    pub ending: bool,
    /// Where its metrics are.
    pub metrics: Option<String>,
    /// The machine's pressure, in words.
    pub pressure: String,
    /// The jobs that run, or are about to go on.
    pub jobs: Vec<RunningJob>,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningJob {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Items that have ended, of how many.
    pub done: (u64, u64),
    /// How it stands, in a line.
    pub progress: String,
}

impl Daemon {
    /// Takes the data folder and starts the house. `sim` is a scenario or a simulator's address.
    pub async fn start(place: Place, sim: Option<&str>) -> Result<Arc<Daemon>, CommandError> {
        let config = place.load_unlocked()?;
        let home = place.home_of(sim.is_some())?;
        let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
        tell_recovered(&store);
        let simulated = match sim {
            Some(given) => Some(Simulated::start(given, &config).await?),
            None => None,
        };
        let config = match &simulated {
            Some(simulated) => config.simulated(simulated.base_url()),
            None => config,
        };
        let rules = place.rules(&config, None)?;
        let metrics = house::metrics(&config)?;
        let plans = Plans {
            config: &config,
            simulated: simulated.is_some(),
            scope: LedgerScope::All,
            detector: rules.detector().clone(),
            out: home.dir(),
            metrics: &metrics,
        };
        log::start(place.home.dir(), &config.log, rules.detector().clone());
        let providers = each_once(&config, &config.resolve_route(&config.route)?);
        let watching = Watching::start(&store, &config.alerts, providers).await?;
        let house = house::start(&store, plans, &watching).await?;
        let served = house::serve_metrics(&metrics, &house, &store);
        Ok(Arc::new(Daemon {
            place,
            home,
            store,
            config,
            served,
            house,
            watching,
            simulated,
            started: Instant::now(),
            jobs: Mutex::default(),
            admission: Arc::default(),
            wishes: watch::channel(None).0,
            down: watch::channel(None).0,
        }))
    }

    /// The tree that its jobs share.
    #[must_use]
    pub fn house(&self) -> &House {
        &self.house
    }

    /// What watches over it.
    #[must_use]
    pub fn watching(&self) -> &Watching {
        &self.watching
    }

    /// Whether all its calls go to the simulator.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its data folder.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What it goes by.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Goes on with the jobs that an earlier daemon held when it ended, however it ended. One that
    /// cannot go on is told of and left, and so is one that somebody stopped meanwhile.
    pub async fn go_on(self: &Arc<Self>) -> Result<usize, CommandError> {
        let mut gone_on = 0;
        for job in self.store.held_jobs().await? {
            let (id, name) = (job.id.clone(), job.setup.name.clone());
            if job.state.is_final() || job.desired != Desired::Run {
                self.leave(&job).await?;
                continue;
            }
            match self.resume(&id, WantedAgain::default()).await {
                Ok(_) => gone_on += 1,
                // The rest go on with the next start.
                Err(_) if self.is_ending() => break,
                Err(not_taken) => {
                    say(&format!("warning: {name} ({id}) does not go on: {}", not_taken.error));
                    self.store.set_state(&id, JobState::Paused, &not_taken.error).await?;
                    self.store.set_held(&id, false).await?;
                }
            }
        }
        Ok(gone_on)
    }

    /// Carries out what somebody wanted of a job that no run heard any more.
    async fn leave(&self, job: &Job) -> Result<(), CommandError> {
        if let Some((state, reason)) = job.desired.when_idle().filter(|_| !job.state.is_final()) {
            self.store.set_state(&job.id, state, reason).await?;
        }
        Ok(self.store.set_held(&job.id, false).await?)
    }

    /// Whether it is ending.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.down.borrow().is_some()
    }

    /// Takes a job in: reads its input, plans it, and starts it.
    pub async fn take(self: &Arc<Self>, wanted: Wanted) -> Result<Taken, Box<NotTaken>> {
        let wanted = match (&self.simulated, wanted.sim.is_some()) {
            (Some(simulated), _) => Wanted { sim: Some(simulated.base_url().to_owned()), ..wanted },
            (None, false) => wanted,
            (None, true) => {
                return Err(NotTaken::of(&CommandError::bad_input(
                    "--sim: this daemon makes real calls; `empire up --sim` starts one for simulated jobs beside it",
                )));
            }
        };
        let daemon = self.clone();
        self.admit(wanted.yes, move |confirm| {
            Box::pin(async move {
                let opened = Opened::new(&daemon.place, &wanted, StoreOf::Open(&daemon.store)).await?;
                if let Some(job) = &opened.existing {
                    daemon.refuse_running(&job.id)?;
                }
                ready_to_run(opened, &wanted, confirm).await
            })
        })
        .await
    }

    /// Takes a stored job up again.
    pub async fn resume(self: &Arc<Self>, id: &str, wanted: WantedAgain) -> Result<Taken, Box<NotTaken>> {
        let (daemon, id) = (self.clone(), id.to_owned());
        self.admit(true, move |confirm| {
            Box::pin(async move {
                let job = daemon.store.find_job(&id).await?;
                daemon.refuse_running(&job.id)?;
                let simulated = daemon.simulated.as_ref().map(|simulated| simulated.base_url().to_owned());
                let wanted = WantedAgain { sim: simulated.or(wanted.sim), ..wanted };
                let store = StoreOf::Open(&daemon.store);
                ready_to_resume(&daemon.place, &daemon.home, store, job, wanted, confirm).await
            })
        })
        .await
    }

    fn refuse_running(&self, id: &str) -> Result<(), CommandError> {
        let jobs = self.jobs.lock();
        if jobs.at_work.iter().any(|running| running == id) {
            return Err(CommandError::refused(format!(
                "job {id} runs already: `empire swarm status {id}` shows how it stands"
            )));
        }
        Ok(())
    }

    fn refuse_more(&self) -> Result<(), CommandError> {
        if self.is_ending() {
            return Err(CommandError::refused("the daemon is ending: start it again first"));
        }
        if self.jobs.lock().at_work.len() >= MOST_JOBS {
            return Err(CommandError::refused(format!(
                "{MOST_JOBS} jobs run already: pause one with `empire swarm pause`, or wait"
            )));
        }
        Ok(())
    }

    /// Readies a job, one at a time, and starts it. Reading a large input in keeps a thread busy,
    /// so it has one of its own.
    async fn admit<R>(self: &Arc<Self>, yes: bool, ready: R) -> Result<Taken, Box<NotTaken>>
    where
        R: for<'a> FnOnce(Confirm<'a>) -> LocalBoxFuture<'a, Result<Ready, CommandError>> + Send + 'static,
    {
        let alone = self.admission.clone().lock_owned().await;
        self.refuse_more().map_err(|error| NotTaken::of(&error))?;
        let (feed, runtime) = (Arc::new(Feed::default()), Handle::current());
        let heard = feed.clone();
        // Whoever asked may go: the next one waits for the thread all the same.
        let (readied, question, alone) = prepare::blocking(move || {
            let asked = Mutex::new(None);
            let confirm = |question: &str| {
                *asked.lock() = Some(question.to_owned());
                None
            };
            let readied = runtime.block_on(heard_by(heard, ready(&confirm)));
            (readied, asked.into_inner(), alone)
        })
        .await
        .map_err(|error| NotTaken::of(&error))?;
        let question = question.filter(|_| !yes);
        let not_taken = |error: CommandError| {
            let (said, question) = (feed.from(0).lines, question.clone());
            Box::new(NotTaken { said, question, ..*NotTaken::of(&error) })
        };
        let ready = readied.map_err(not_taken)?;
        let taken = Taken { id: ready.job.id.clone(), name: ready.job.setup.name.clone() };
        self.store.set_held(&taken.id, true).await.map_err(|error| not_taken(error.into()))?;
        self.begin(ready, feed.clone()).map_err(not_taken)?;
        drop(alone);
        Ok(taken)
    }

    /// Runs a job. The daemon holds it, so it is not lost if the daemon ends first.
    fn begin(self: &Arc<Self>, ready: Ready, feed: Arc<Feed>) -> Result<(), CommandError> {
        let (daemon, id) = (self.clone(), ready.job.id.clone());
        // Under the lock: `stop` waits for all that were begun before it was asked for.
        let mut jobs = self.jobs.lock();
        if self.is_ending() {
            let message = format!("the daemon is ending: job {id} goes on with its next start");
            return Err(CommandError::refused(message));
        }
        jobs.at_work.push(id.clone());
        while jobs.feeds.len() >= ENDED_KEPT + MOST_JOBS {
            // Ids sort by time: the oldest one that has ended goes.
            let Some(oldest) = jobs.feeds.keys().find(|id| !jobs.at_work.contains(id)).cloned() else {
                break;
            };
            jobs.feeds.remove(&oldest);
        }
        jobs.feeds.insert(id.clone(), feed.clone());
        while jobs.running.try_join_next().is_some() {}
        let runtime = Handle::current();
        // A thread a job, at most `MOST_JOBS`: writing results and reports keeps it busy.
        jobs.running.spawn_blocking(move || {
            runtime.block_on(async {
                let told = Told::Daemon { wishes: daemon.wishes.subscribe(), heard: None };
                let work = ready.work(Some((&daemon.house, &daemon.watching, told)));
                let worked = heard_by(feed.clone(), Box::pin(work)).await;
                daemon.ended(&id, &feed, worked).await;
            });
        });
        Ok(())
    }

    async fn ended(&self, id: &str, feed: &Feed, worked: Result<Finished, CommandError>) {
        if let Err(error) = self.note_end(id, &worked).await {
            tracing::error!(job = id, %error, "cannot note that the job has ended");
        }
        let ended = match worked {
            Ok(done) => Ended {
                exit: done.exit as u8,
                error: None,
                report: done.report.to_json().ok(),
                words: Some(done.report.to_terminal(WIDTH, false)),
            },
            Err(error) => {
                tracing::error!(job = id, %error, "a job's run failed");
                Ended { exit: error.exit as u8, error: Some(error.to_string()), report: None, words: None }
            }
        };
        tracing::info!(job = id, exit = ended.exit, "a job's run ended");
        self.jobs.lock().at_work.retain(|running| running != id);
        feed.end(ended);
    }

    /// What the daemon itself stopped, or what ended with the house, goes on with its next start;
    /// not what a person stopped.
    async fn note_end(&self, id: &str, worked: &Result<Finished, CommandError>) -> Result<(), CommandError> {
        if let Err(error) = worked {
            self.store.set_state(id, JobState::Interrupted, &error.to_string()).await?;
        }
        let was_cut_off = match worked {
            Ok(done) => done.exit == Exit::Interrupted && self.wishes.borrow().is_some(),
            Err(_) => self.wishes.borrow().is_some() || *self.house.gave_up().borrow(),
        };
        let goes_on = was_cut_off && self.store.desired(id).await? == Desired::Run;
        if !goes_on {
            self.store.set_held(id, false).await?;
        }
        Ok(())
    }

    /// What a job says, if it ran here.
    #[must_use]
    pub fn feed(&self, id: &str) -> Option<Arc<Feed>> {
        self.jobs.lock().feeds.get(id).cloned()
    }

    /// What it is doing.
    pub async fn status(&self) -> Result<Status, CommandError> {
        let held = self.store.held_jobs().await?;
        let jobs = held.into_iter().map(|job| {
            let heard = self.feed(&job.id).map(|feed| feed.from(usize::MAX));
            let heard =
                heard.unwrap_or_else(|| Heard { progress: "about to go on".into(), ..Heard::default() });
            RunningJob { id: job.id, name: job.setup.name, done: heard.done, progress: heard.progress }
        });
        Ok(Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: self.started.elapsed().as_secs(),
            home: self.home.dir().display().to_string(),
            config: self.place.config.as_deref().map(|path| full(path).display().to_string()),
            simulator: self.simulated.as_ref().map(|simulated| simulated.given.clone()),
            ending: self.is_ending(),
            metrics: self.served.as_ref().map(Server::url),
            pressure: self.house.guard().pressure().to_string(),
            jobs: jobs.collect(),
        })
    }

    /// Asks it to end.
    pub fn ask_down(&self, down: Down) {
        self.down.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(down);
            is_first
        });
    }

    /// Resolves once somebody has asked it to end, or the house has given up.
    pub async fn asked_down(&self) -> Result<Down, CommandError> {
        let (mut down, mut gave_up) = (self.down.subscribe(), self.house.gave_up());
        tokio::select! {
            never = self.watching.look_around(&self.house) => match never {},
            asked = down.wait_for(Option::is_some) => {
                let asked = asked.ok().and_then(|asked| *asked);
                asked.ok_or_else(|| CommandError::internal("the daemon is gone"))
            }
            _ = gave_up.wait_for(|gave_up| *gave_up) => Err(CommandError::internal(
                "an actor failed more often than its policy allows; `empire explain /empire` says which. \
                 Finished work is kept: `empire up` goes on",
            )),
        }
    }

    /// Lets calls under way end, as far as `down` gives them time, and writes down what there is.
    /// Gives the actors that had to be killed.
    pub async fn stop(self: Arc<Self>, down: Down) -> Result<StopReport, CommandError> {
        self.ask_down(down);
        self.wishes.send_replace(Some(Wish::Pause));
        let mut running = std::mem::take(&mut self.jobs.lock().running);
        let all_end = async {
            all_of(&mut running).await;
            // One that is being read in ends by itself, and starts no more.
            drop(self.admission.lock().await);
        };
        if tokio::time::timeout(down.within, all_end).await.is_err() {
            self.wishes.send_replace(Some(Wish::StopNow));
            let _ = tokio::time::timeout(STOP_NOW_WITHIN, all_of(&mut running)).await;
        }
        for id in &self.jobs.lock().at_work {
            say(&format!("warning: job {id} did not end in time: it goes on with the next `empire up`"));
        }
        // Threads cannot be stopped; the process ends with them.
        running.detach_all();
        let store = self.store.clone();
        let report = match Arc::try_unwrap(self) {
            Ok(daemon) => {
                drop(daemon.served);
                let report = daemon.house.stop().await;
                daemon.watching.stop().await;
                report
            }
            // A request that is being answered still holds it; its tree ends with it.
            Err(_) => StopReport::default(),
        };
        store.close().await?;
        Ok(report)
    }
}

/// How long jobs that were told to stop at once may take to write their end down.
const STOP_NOW_WITHIN: Duration = Duration::from_secs(10);

/// The path from the root of the file system.
fn full(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

async fn all_of(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

impl NotTaken {
    fn of(error: &CommandError) -> Box<NotTaken> {
        let (exit, error) = (error.exit as u8, error.to_string());
        Box::new(NotTaken { exit, error, said: Vec::new(), question: None })
    }
}
