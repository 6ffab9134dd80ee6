//! What must survive: jobs, their input, results and the ledger, in SQLite in the data folder.
//!
//! One writer groups operations into transactions; reads use connections of their own. Whatever
//! a caller was told is written, is on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use empire_actors::ports::{Checkpoint, Results, StoreError, UnixMillis, WallClock};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use crate::home::{Home, HomeLock};

mod admin;
mod alerts;
mod approvals;
mod audit;
mod batch;
mod budget;
mod chunks;
mod error;
mod jobs;
mod kept;
mod ledger;
mod moved;
mod open;
mod record;
mod results;
mod row;
mod spool;
mod standing;
mod supervision;
mod writer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use alerts::StoredAlert;
pub use approvals::{Approval, ApprovalState, NewApproval};
pub use audit::StoredDecision;
pub use budget::{
    AuditLine, Baseline, LedgerLine, RecentSpend, SinceBaseline, StoredCap, read_scope_word, scope_word,
};
pub use chunks::Admitted;
pub use jobs::{Counts, Desired, FindError, Job, JobSetup, JobState, NewJob};
pub use kept::KeptAnswers;
pub use ledger::{LedgerScope, ProviderSpend, UnknownTotal};
pub use open::{OpenError, Recovered};
pub use results::{EndedKey, Outcome, ResultFilter, ResultLine};
pub use standing::Standing;
pub use writer::CommitMeters;

/// Connections for reading.
const READERS: u32 = 4;

/// An open data folder. Clones share it.
#[derive(Clone)]
pub struct Store {
    writer: writer::Writer,
    readers: SqlitePool,
    clock: Arc<dyn WallClock>,
    dir: PathBuf,
    recovered: Recovered,
    kept: Arc<kept::Recent>,
}

impl Store {
    /// Opens a data folder to work in it. The store keeps the lock until it is closed. What an
    /// earlier, dead process left is put in order: [`recovered`](Store::recovered).
    ///
    /// # Errors
    /// If a newer version wrote it, it is damaged, the disk is full, or it cannot be opened.
    pub async fn open(lock: HomeLock, clock: Arc<dyn WallClock>) -> Result<Store, OpenError> {
        let dir = lock.dir().to_owned();
        let (connection, spool, recovered) = open::for_writing(&dir, clock.now()).await?;
        let writer = writer::Writer::start(connection, spool, lock, clock.clone());
        Ok(Store { writer, readers: readers(&dir), clock, dir, recovered, kept: Arc::default() })
    }

    /// Opens a data folder to look at it and to pass requests on, whoever works in it. A data
    /// folder that is new or of an older version is prepared first.
    ///
    /// # Errors
    /// As [`open`](Store::open); and if it is of an older version and in use.
    pub async fn watch(home: &Home, clock: Arc<dyn WallClock>) -> Result<Store, OpenError> {
        let dir = home.dir().to_owned();
        if !open::is_current(&dir).await? {
            Store::open(home.lock_unsigned()?, clock.clone()).await?.close().await.map_err(|error| {
                OpenError::Failed { path: dir.join(open::DATABASE), why: error.to_string() }
            })?;
        }
        let (writer, recovered) = (writer::Writer::none(), Recovered::default());
        Ok(Store { writer, readers: readers(&dir), clock, dir, recovered, kept: Arc::default() })
    }

    /// Writes what is still to be written, closes the database and lets go of the lock.
    ///
    /// # Errors
    /// If something could not be written or closed; nothing that was answered for is lost.
    pub async fn close(self) -> Result<(), StoreError> {
        self.readers.close().await;
        if !self.writer.is_open() {
            return Ok(());
        }
        match self.writer.submit(writer::Op::Close).await? {
            0 => Ok(()),
            lost => Err(StoreError::Failed(format!(
                "{lost} ends of calls and results could not be written to the database: they wait in {} for the next start",
                self.dir.display()
            ))),
        }
    }

    /// What was put in order when it was opened.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Has commits measured from now on. The first one who asks gets it.
    pub fn measure(&self, meters: CommitMeters) {
        self.writer.measure(meters);
    }

    /// The folder it is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where results go.
    #[must_use]
    pub fn recorder(&self) -> Arc<dyn Results> {
        Arc::new(self.writer.clone())
    }

    /// Makes durable what was given so far.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<dyn Checkpoint> {
        Arc::new(self.writer.clone())
    }

    fn writer(&self) -> &writer::Writer {
        &self.writer
    }

    fn kept(&self) -> &kept::Recent {
        &self.kept
    }

    fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    fn clock(&self) -> Arc<dyn WallClock> {
        self.clock.clone()
    }

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    async fn administer(&self, admin: admin::Admin) -> Result<u64, StoreError> {
        self.writer.submit(writer::Op::Admin(admin)).await
    }

    /// A connection for one small write beside the writer, who may be another process.
    async fn side_connection(&self) -> Result<SqliteConnection, StoreError> {
        open::options(&self.dir).connect().await.map_err(error::store_error)
    }
}

fn readers(dir: &Path) -> SqlitePool {
    let options = open::options(dir).pragma("query_only", "ON");
    SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options)
}
