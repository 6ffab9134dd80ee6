//! `empire swarm pause` and `empire swarm cancel`.

use std::sync::Arc;
use std::time::Duration;

use super::status::{Found, find};
use super::{Context, terminal};
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::run::system::SystemClock;
use crate::store::{Desired, JobState, Store};

/// How long to wait for a running job to stop, and how often to look.
const WAIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn pause(context: &Context, id: &str) -> Result<Exit, CommandError> {
    steer(context, id, Desired::Pause).await
}

pub(super) async fn cancel(context: &Context, id: &str) -> Result<Exit, CommandError> {
    steer(context, id, Desired::Cancel).await
}

async fn steer(context: &Context, id: &str, desired: Desired) -> Result<Exit, CommandError> {
    let Found { store, home, job } = find(context, id).await?;
    let name = format!("{} ({})", job.setup.name, job.id);
    let is_paused = matches!(job.state, JobState::Paused | JobState::Interrupted);
    if job.state.is_final() || (desired == Desired::Pause && is_paused) {
        say(&format!("{name} is {} already", job.state.as_str()));
        return shown(context, &job.id, job.state);
    }
    if job.state == JobState::Running && home.is_locked()? {
        store.request(&job.id, desired).await?;
        let state = wait_for_the_end(&store, &job.id).await?;
        say(&format!("{name} is {}", state.as_str()));
        return shown(context, &job.id, state);
    }
    // Nobody runs it: we say so ourselves, beside a process that runs others if there is one.
    let Some((target, reason)) = desired.when_idle() else { return shown(context, &job.id, job.state) };
    let is_locked = home.is_locked()?;
    if is_locked && !store.stop_idle(&job.id, target, reason).await? {
        return Err(CommandError::refused(format!("{name} has just been started: try again")));
    }
    store.close().await?;
    if !is_locked {
        let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
        store.set_state(&job.id, target, reason).await?;
        store.close().await?;
    }
    say(&format!("{name} is {}", target.as_str()));
    shown(context, &job.id, target)
}

async fn wait_for_the_end(store: &Store, job: &str) -> Result<JobState, CommandError> {
    let waiting = async {
        loop {
            match store.job(job).await? {
                Some(job) if job.state != JobState::Running => return Ok(job.state),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| {
        Err(CommandError::internal(
            "the job was asked to stop and has not yet: `empire swarm status` shows when it has",
        ))
    })
}

fn shown(context: &Context, id: &str, state: JobState) -> Result<Exit, CommandError> {
    if context.json {
        terminal::print_json(&serde_json::json!({"id": id, "state": state.as_str()}))?;
    }
    Ok(Exit::Done)
}
