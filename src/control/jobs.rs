//! Where a daemon runs: its jobs, its status, its end.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Control;
use super::problem::Problem;
use crate::daemon::{Daemon, Down, NotTaken, Status, Taken};
use crate::run::feed::Heard;
use crate::run::launch::{Wanted, WantedAgain};

/// The longest that a daemon may be given to end.
const LONGEST_END: Duration = Duration::from_secs(3_600);

/// How long reading a job in may take.
pub const ADMITS_WITHIN: Duration = Duration::from_secs(1_800);

/// Which job's talk, from which line on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FeedQuery {
    /// The job's id.
    pub id: String,
    /// The number of the first line.
    #[serde(default)]
    pub from: usize,
}

/// A stored job that is to go on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ResumeAsked {
    /// The job's id.
    pub id: String,
    /// How.
    pub wanted: WantedAgain,
}

/// Asks a daemon to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct DownAsked {
    /// Calls under way may take so many milliseconds.
    pub within_ms: u64,
}

/// Whether a job was taken in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// It runs.
    Taken(Taken),
    /// It does not.
    NotTaken(NotTaken),
}

/// The daemon heard it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Heeded {
    /// The process that ends.
    pub process: u32,
}

fn daemon(control: &Control) -> Result<Arc<Daemon>, Problem> {
    control.daemon.upgrade().ok_or_else(|| {
        Problem::bad("this process runs a single job in the foreground and takes no others: `empire up` starts one that does")
    })
}

fn admission(taken: Result<Taken, Box<NotTaken>>) -> Admission {
    match taken {
        Ok(taken) => Admission::Taken(taken),
        Err(not_taken) => Admission::NotTaken(*not_taken),
    }
}

pub(super) async fn status(control: &Control) -> Result<Status, Problem> {
    daemon(control)?.status().await.map_err(|error| Problem::internal(error.to_string()))
}

pub(super) fn down(control: &Control, asked: DownAsked) -> Result<Heeded, Problem> {
    let within = Duration::from_millis(asked.within_ms).min(LONGEST_END);
    daemon(control)?.ask_down(Down { within });
    Ok(Heeded { process: std::process::id() })
}

/// What is begun is ended, also if whoever asked has gone: a job must not be left half read in.
pub(super) async fn take(control: &Control, wanted: Wanted) -> Result<Admission, Problem> {
    let daemon = daemon(control)?;
    control
        .carry_out(ADMITS_WITHIN, ADMITS_WITHIN, async move { Ok(admission(daemon.take(wanted).await)) })
        .await
}

pub(super) async fn resume(control: &Control, asked: ResumeAsked) -> Result<Admission, Problem> {
    let daemon = daemon(control)?;
    let resumed = async move { Ok(admission(daemon.resume(&asked.id, asked.wanted).await)) };
    control.carry_out(ADMITS_WITHIN, ADMITS_WITHIN, resumed).await
}

pub(super) fn feed(control: &Control, query: &FeedQuery) -> Result<Heard, Problem> {
    let feed = daemon(control)?.feed(&query.id).ok_or_else(|| {
        let id = &query.id;
        Problem::bad(format!(
            "no job {id} has run in this daemon: `empire swarm status {id}` shows what is stored"
        ))
    })?;
    Ok(feed.from(query.from))
}
