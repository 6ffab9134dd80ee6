//! What everything that works on one run shares: the processes, the clock, how far the jobs are.

use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::control::{Books, Control};
use crate::program::{Daemon, Program};

/// Something that happened on the way, for people and plots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Seconds since the run began.
    pub(crate) t: f64,
    /// What.
    pub(crate) what: String,
}

/// The process that is up.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    /// Its control API.
    pub(crate) control: Control,
    /// Its process.
    pub(crate) pid: u32,
    /// Where its metrics are.
    pub(crate) metrics: String,
    /// Which process of the run it is, from 0.
    pub(crate) incarnation: u32,
}

/// What a run shares.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The program's place.
    pub(crate) program: Program,
    /// The simulator's pages.
    pub(crate) books: Books,
    began: Instant,
    up: watch::Sender<Option<Up>>,
    daemon: tokio::sync::Mutex<Option<Daemon>>,
    ended: Mutex<Vec<u64>>,
    events: Mutex<Vec<Event>>,
}

impl Stage {
    /// A stage with the program up, for so many jobs; its clock starts now.
    pub(crate) fn new(program: Program, books: Books, daemon: Daemon, jobs: usize) -> Stage {
        let (up, _) = watch::channel(Some(shown(&daemon, 0)));
        Stage {
            program,
            books,
            began: Instant::now(),
            up,
            daemon: tokio::sync::Mutex::new(Some(daemon)),
            ended: Mutex::new(vec![0; jobs]),
            events: Mutex::default(),
        }
    }

    /// The same processes for other jobs, with a clock that starts now.
    pub(crate) fn begin_again(self, jobs: usize) -> Stage {
        Stage { began: Instant::now(), ended: Mutex::new(vec![0; jobs]), events: Mutex::default(), ..self }
    }

    /// The moment so long after the beginning.
    pub(crate) fn moment(&self, after: Duration) -> Instant {
        self.began + after
    }

    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The process that is up, if one is.
    pub(crate) fn up(&self) -> Option<Up> {
        self.up.borrow().clone()
    }

    /// The process that is up, once one is.
    pub(crate) async fn when_up(&self) -> Option<Up> {
        let mut up = self.up.subscribe();
        up.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Notes how many items of a job have ended.
    pub(crate) fn note_ended(&self, job: usize, ended: u64) {
        if let Some(noted) = self.ended.lock().get_mut(job) {
            *noted = ended.max(*noted);
        }
    }

    /// Items of all jobs that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.lock().iter().sum()
    }

    /// Notes that something happened.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let event = Event { t: self.now().as_secs_f64(), what: what.into() };
        eprintln!("{:>8.1} s  {}", event.t, event.what);
        self.events.lock().push(event);
    }

    /// What happened.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// Whether the process ended although nobody ended it.
    pub(crate) async fn has_died(&self) -> bool {
        // While it is being killed or started, that is somebody's work.
        self.daemon.try_lock().is_ok_and(|mut daemon| daemon.as_mut().is_some_and(Daemon::has_ended))
    }

    /// Kills the process, waits, and starts it again. Gives when the new one was started.
    pub(crate) async fn kill_and_start(&self, down_for: Duration) -> anyhow::Result<Restarted> {
        let mut daemon = self.daemon.lock().await;
        let incarnation = self.up().map_or(0, |up| up.incarnation) + 1;
        self.up.send_replace(None);
        if let Some(daemon) = daemon.take() {
            daemon.kill().await?;
        }
        tokio::time::sleep(down_for).await;
        let received = self.books.received().await?;
        let started = Instant::now();
        let first_call = async {
            // A little finer than what is to be measured.
            while self.books.received().await.is_ok_and(|now| now == received) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            started.elapsed()
        };
        let start = async {
            let next = self.program.up(self.books.base_url()).await?;
            self.up.send_replace(Some(shown(&next, incarnation)));
            *daemon = Some(next);
            anyhow::Ok(started.elapsed())
        };
        let called = tokio::time::timeout(Duration::from_secs(120), first_call);
        let (up_after, called) = tokio::join!(start, called);
        Ok(Restarted { up_after: up_after?, first_call_after: called.ok() })
    }
}

/// How a process came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restarted {
    /// Until its control API answered.
    pub(crate) up_after: Duration,
    /// Until its first call; nothing if there was none.
    pub(crate) first_call_after: Option<Duration>,
}

fn shown(daemon: &Daemon, incarnation: u32) -> Up {
    Up { control: daemon.control.clone(), pid: daemon.pid, metrics: daemon.metrics.clone(), incarnation }
}
