//! What goes wrong on purpose, when it is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::scenario::{Mishap, What, When};
use crate::stage::{Restarted, Stage};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Kills of the process, and how it came back from each.
    pub(crate) kills: Vec<Restarted>,
    /// Actors that were killed.
    pub(crate) actor_kills: u64,
    /// What could not be done.
    pub(crate) faults: Vec<String>,
}

/// Does one mishap, again and again if it says so. It never ends by itself.
pub(crate) async fn play(stage: &Stage, mishap: &Mishap, done: &Mutex<Done>) {
    match mishap.when {
        When::At(at) => tokio::time::sleep_until(stage.moment(at)).await,
        When::AfterResults(results) => {
            while stage.ended() < u64::from(results) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
    let first = Instant::now();
    let mut round = 0;
    loop {
        act(stage, &mishap.what, done).await;
        let Some(every) = mishap.every else { return std::future::pending().await };
        round += 1;
        tokio::time::sleep_until(first + every * round).await;
    }
}

async fn act(stage: &Stage, what: &What, done: &Mutex<Done>) {
    match what {
        What::KillActor(path) => {
            // The process that is meant to hear of it may be down.
            stage.when_up().await;
            match stage.program.kill_actor(path).await {
                Ok(()) => {
                    stage.note(format!("killed {path}"));
                    done.lock().actor_kills += 1;
                }
                Err(why) => {
                    stage.note(format!("{path} could not be killed: {why}"));
                    done.lock().faults.push(format!("{path} could not be killed: {why}"));
                }
            }
        }
        What::KillProcess { down_for } => {
            stage.note("kill -9 of the process");
            match stage.kill_and_start(*down_for).await {
                Ok(restarted) => {
                    let called = restarted.first_call_after.map_or("no call came".to_owned(), |after| {
                        format!("its first call came after {:.2} s", after.as_secs_f64())
                    });
                    let up = restarted.up_after.as_secs_f64();
                    stage.note(format!("the process is up again after {up:.2} s; {called}"));
                    done.lock().kills.push(restarted);
                }
                Err(error) => done.lock().faults.push(format!("it did not come up again: {error:#}")),
            }
        }
        What::LoadHost { threads, lasts } => {
            stage.note(format!("{threads} threads of load for {:.1} s", lasts.as_secs_f64()));
            load_host(*threads, *lasts).await;
            stage.note("the load is over");
        }
    }
}

/// Threads that spin. They end when this future does.
async fn load_host(threads: u32, lasts: Duration) {
    struct Ends(Arc<AtomicBool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = Ends(Arc::default());
    for _ in 0..threads {
        let over = Arc::clone(&over.0);
        #[expect(clippy::disallowed_methods, reason = "it is to be a load; it ends with the flag")]
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    tokio::time::sleep(lasts).await;
}
