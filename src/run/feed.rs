//! What a job that runs in a daemon says: kept for whoever looks, and logged.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the log calls a line that a job says.
pub const SAYS: &str = "a job says";

/// Lines that are kept of a job.
const KEPT: usize = 500;

/// A job's talk.
#[derive(Debug, Default)]
pub struct Feed(Mutex<Talk>);

#[derive(Debug, Default)]
struct Talk {
    lines: VecDeque<String>,
    /// Lines that were dropped before the first that is kept.
    dropped: usize,
    progress: String,
    done: (u64, u64),
    ended: Option<Ended>,
}

/// How a job's run in the daemon ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The exit code that `empire swarm run` would give.
    pub exit: u8,
    /// The error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The report as JSON, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The report for a terminal, without colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// A job's talk from some line on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// The lines.
    pub lines: Vec<String>,
    /// What to ask for next.
    pub next: usize,
    /// The line of progress; empty before the first.
    pub progress: String,
    /// Items that have ended, of how many.
    pub done: (u64, u64),
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

impl Feed {
    pub(super) fn say(&self, line: &str) {
        tracing::info!(line, "{SAYS}");
        let mut talk = self.0.lock();
        if talk.lines.len() == KEPT {
            talk.lines.pop_front();
            talk.dropped += 1;
        }
        talk.lines.push_back(line.to_owned());
    }

    pub(super) fn progress(&self, line: String, ended: u64, total: u64) {
        let mut talk = self.0.lock();
        talk.progress = line;
        talk.done = (ended, total);
    }

    /// Says how the run ended.
    pub fn end(&self, ended: Ended) {
        self.0.lock().ended = Some(ended);
    }

    /// All from line number `from` on, as far as it is kept.
    #[must_use]
    pub fn from(&self, from: usize) -> Heard {
        let talk = self.0.lock();
        let skip = from.saturating_sub(talk.dropped);
        Heard {
            lines: talk.lines.iter().skip(skip).cloned().collect(),
            next: talk.dropped + talk.lines.len(),
            progress: talk.progress.clone(),
            done: talk.done,
            ended: talk.ended.clone(),
        }
    }
}

tokio::task_local! {
    static HEARS: Arc<Feed>;
}

/// The feed of the job that this task works for.
pub(super) fn current() -> Option<Arc<Feed>> {
    HEARS.try_with(Arc::clone).ok()
}

/// Does `work`, whose talk goes to `feed` and not to the terminal.
pub async fn heard_by<F: Future>(feed: Arc<Feed>, work: F) -> F::Output {
    HEARS.scope(feed, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_from_where_it_stopped_hears_every_line_once() {
        let feed = Arc::new(Feed::default());
        let mut heard = Vec::new();
        let mut next = 0;
        for n in 0..1_000 {
            heard_by(feed.clone(), async { super::super::progress::say(&format!("line {n}")) }).await;
            if n % 100 == 99 {
                let now = feed.from(next);
                heard.extend(now.lines);
                next = now.next;
            }
        }
        assert_eq!(heard, (0..1_000).map(|n| format!("line {n}")).collect::<Vec<_>>());
        assert_eq!(feed.from(0).lines.len(), KEPT, "the oldest are dropped");
    }
}
