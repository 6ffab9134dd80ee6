//! Jobs and approvals in the data folder, counted now and then: a scrape does not wait for a disk.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::store::{Standing, Store};

/// How often they are counted. With what a slow disk takes, the counts are at most twice as old.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// The counts, and the task that renews them until this is dropped.
#[derive(Debug)]
pub(super) struct Counts {
    latest: Arc<Mutex<Standing>>,
    task: JoinHandle<()>,
}

impl Counts {
    #[expect(clippy::disallowed_methods, reason = "no actor: it ends with its `Counts`")]
    pub(super) fn start(store: Store) -> Counts {
        let latest = Arc::new(Mutex::new(Standing::default()));
        let counted = latest.clone();
        let task = tokio::spawn(async move {
            loop {
                match store.standing().await {
                    Ok(standing) => *counted.lock() = standing,
                    Err(error) => tracing::debug!(%error, "jobs and approvals cannot be counted"),
                }
                tokio::time::sleep(COUNT_EVERY).await;
            }
        });
        Counts { latest, task }
    }

    pub(super) fn latest(&self) -> Arc<Mutex<Standing>> {
        self.latest.clone()
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        self.task.abort();
    }
}
