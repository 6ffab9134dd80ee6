//! The one writer: takes what waits, writes it in one transaction, answers once it is durable.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use empire_actors::gates::audit::Decision;
use empire_actors::model::ProviderId;
use empire_actors::ports::{
    Checkpoint, HoldRecord, ResultRecord, Results, Sent, StoreError, UnixMillis, WallClock,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::admin::Admin;
use super::batch::Batch;
use super::error::{Trouble, store_error, trouble};
use super::kept::KeptRow;
use super::open;
use super::spool::{Fact, Spool};
use crate::home::HomeLock;

/// The most operations in one transaction.
const BATCH: usize = 2_000;
/// A batch smaller than this waits for more while commits follow each other within [`BUSY`].
const SMALL: usize = 64;
const LINGER: Duration = Duration::from_millis(2);
const BUSY: Duration = Duration::from_millis(10);
/// How soon operations that nobody waits for are tried again after a failed commit.
const RETRY: Duration = Duration::from_secs(1);

/// One thing to write.
#[derive(Debug)]
pub(super) enum Op {
    Reserve(HoldRecord),
    Fact(Fact),
    /// A free call; the job is empty where the ledger is everybody's.
    Sent(ProviderId, Arc<str>, Sent),
    Admin(Admin),
    /// What the privacy gate decided.
    Decided(Box<Decision>),
    /// An answer to keep for other calls.
    Keep(KeptRow),
    /// Writes nothing: it is answered once everything before it is durable.
    Flush,
    Close,
    /// Ends the writer as a crash would: nothing more is written or closed.
    #[cfg(test)]
    Crash,
}

impl Op {
    /// Whether it is tried again after a commit that failed, although nobody waits for it.
    fn is_never_lost(&self) -> bool {
        matches!(self, Op::Fact(_) | Op::Decided(_) | Op::Admin(Admin::Supervision(_)))
    }
}

type Ack = oneshot::Sender<Result<u64, StoreError>>;

/// An operation and who waits for it; nobody, for what may not be lost by a failed commit.
#[derive(Debug)]
struct Entry {
    op: Op,
    /// Its number in the spool, if it is there.
    spooled: Option<u64>,
    ack: Option<Ack>,
}

/// The way to the writer. Operations are queued the moment they are given, so they take effect
/// in that order. The queue needs no bound of its own: everything in it has either a caller that
/// waits for its answer or an open reservation that it ends.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    intake: Option<Arc<Mutex<Intake>>>,
    meters: Arc<OnceLock<CommitMeters>>,
}

/// What is told of every commit.
pub struct CommitMeters {
    /// Seconds that it took.
    pub seconds: Histogram,
    /// Operations in it.
    pub operations: Histogram,
    /// Those that failed.
    pub failures: Counter,
}

impl std::fmt::Debug for CommitMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CommitMeters")
    }
}

impl CommitMeters {
    fn tell(&self, operations: usize, took: Duration, is_done: bool) {
        self.seconds.record(took.as_secs_f64());
        self.operations.record(operations as f64);
        if !is_done {
            self.failures.increment(1);
        }
    }
}

/// Spool and queue under one lock: both have the same order.
#[derive(Debug)]
struct Intake {
    spool: Spool,
    queue: mpsc::UnboundedSender<Entry>,
}

impl Intake {
    /// Queues an operation, even one that cannot be spooled.
    fn take(&mut self, op: Op, ack: Option<Ack>) -> Result<(), StoreError> {
        let spooled = match &op {
            Op::Fact(fact) if fact.is_paid() => self.spool.append(fact).map(Some),
            _ => Ok(None),
        };
        let number = spooled.as_ref().ok().copied().flatten();
        self.queue.send(Entry { op, spooled: number, ack }).map_err(|_| StoreError::Closed)?;
        spooled.map(drop).map_err(|error| store_error(error.into()))
    }
}

impl Writer {
    /// Starts the writer on `connection`. It holds the lock until everything is written.
    #[expect(
        clippy::disallowed_methods,
        reason = "no actor: it ends with the last sender, and its queue is bounded by those who wait (see `Writer`)"
    )]
    pub(super) fn start(
        connection: SqliteConnection,
        spool: Spool,
        lock: HomeLock,
        clock: Arc<dyn WallClock>,
    ) -> Writer {
        let (queue, entries) = mpsc::unbounded_channel();
        let dir = lock.dir().to_owned();
        let intake = Arc::new(Mutex::new(Intake { spool, queue }));
        let meters = Arc::default();
        let task = WriterTask {
            connection,
            dir,
            entries,
            intake: Arc::downgrade(&intake),
            kept: Vec::new(),
            committed_at: None,
            clock,
            meters: Arc::clone(&meters),
        };
        tokio::spawn(task.run(lock));
        Writer { intake: Some(intake), meters }
    }

    /// A writer that refuses everything, for looking only.
    pub(super) fn none() -> Writer {
        Writer { intake: None, meters: Arc::default() }
    }

    /// Tells `meters` of every commit from now on; those that were given first stay.
    pub(super) fn measure(&self, meters: CommitMeters) {
        let _ = self.meters.set(meters);
    }

    /// Whether it writes at all.
    pub(super) fn is_open(&self) -> bool {
        self.intake.is_some()
    }

    fn take(&self, op: Op, ack: Option<Ack>) -> Result<(), StoreError> {
        let looking = || StoreError::Failed("the data folder is open for looking only".to_owned());
        self.intake.as_ref().ok_or_else(looking)?.lock().take(op, ack)
    }

    /// Queues an operation; resolves when it is durable, with a number that depends on it.
    pub(super) fn submit(&self, op: Op) -> BoxFuture<'static, Result<u64, StoreError>> {
        let (ack, answer) = oneshot::channel();
        let taken = self.take(op, Some(ack));
        async move {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => Err(taken.err().unwrap_or(StoreError::Closed)),
            }
        }
        .boxed()
    }

    /// Queues what nobody waits for. A kept answer is dropped if its commit fails. The queue stays
    /// bounded all the same, since whoever offers something then waits for a result.
    ///
    /// # Errors
    /// The writer has stopped.
    pub(super) fn offer(&self, op: Op) -> Result<(), StoreError> {
        self.take(op, None)
    }

    /// Queues a fact that nobody waits for. Once this has returned, it outlives the process.
    ///
    /// # Errors
    /// It does not, until it is committed.
    pub(super) fn give(&self, fact: Fact) -> Result<(), StoreError> {
        self.take(Op::Fact(fact), None)
    }
}

impl Results for Writer {
    fn record(&self, record: ResultRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(Op::Fact(Fact::Recorded(Box::new(record)))).map(|written| written.map(drop)).boxed()
    }
}

impl Checkpoint for Writer {
    fn checkpoint(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(Op::Flush).map(|flushed| flushed.map(drop)).boxed()
    }
}

struct WriterTask {
    connection: SqliteConnection,
    dir: PathBuf,
    entries: mpsc::UnboundedReceiver<Entry>,
    /// The other end, while anybody has it.
    intake: Weak<Mutex<Intake>>,
    /// Operations that nobody waits for, from commits that failed: they go first in the next.
    kept: Vec<Entry>,
    /// When the last commit ended.
    committed_at: Option<tokio::time::Instant>,
    clock: Arc<dyn WallClock>,
    meters: Arc<OnceLock<CommitMeters>>,
}

impl WriterTask {
    async fn run(mut self, lock: HomeLock) {
        let mut closer = None;
        let mut open = true;
        while open {
            let mut batch = std::mem::take(&mut self.kept);
            open = self.wait(&mut batch).await;
            self.gather(&mut batch).await;
            #[cfg(test)]
            if batch.iter().any(|entry| matches!(entry.op, Op::Crash)) {
                return;
            }
            if let Some(end) = batch.iter().position(|entry| matches!(entry.op, Op::Close)) {
                closer = batch.drain(end..).next().and_then(|entry| entry.ack);
                open = false;
            }
            self.write(batch).await;
            self.committed_at = Some(tokio::time::Instant::now());
        }
        // What came in while the last batch was written gets no answer but `Closed`. Facts among
        // it are in the spool, like those that could not be committed: the next start finds them.
        self.entries.close();
        let late = std::iter::from_fn(|| self.entries.try_recv().ok());
        let late = late.filter(|entry| matches!(entry.op, Op::Fact(_))).count();
        let kept = self.kept.iter().filter(|entry| matches!(entry.op, Op::Fact(_))).count();
        let unwritten = kept + late;
        if unwritten > 0 {
            tracing::error!(
                unwritten,
                "closed with facts that are in the spool only: the next start writes them"
            );
        }
        let closed = open::close(self.connection, &self.dir, unwritten == 0).await.map_err(store_error);
        drop(lock);
        if let Some(closer) = closer {
            let _ = closer.send(closed.map(|()| unwritten as u64));
        }
    }

    /// Waits for operations and takes all that are there. `false` once nobody can give any more.
    async fn wait(&mut self, batch: &mut Vec<Entry>) -> bool {
        if batch.is_empty() {
            return self.entries.recv_many(batch, BATCH).await > 0;
        }
        tokio::select! {
            taken = self.entries.recv_many(batch, BATCH) => taken > 0,
            () = tokio::time::sleep(RETRY) => true,
        }
    }

    /// While commits follow each other closely, waits a moment for more: a commit costs the same
    /// for one operation as for many.
    async fn gather(&mut self, batch: &mut Vec<Entry>) {
        let busy = self.committed_at.is_some_and(|at| at.elapsed() < BUSY);
        if !busy || batch.len() >= SMALL {
            return;
        }
        let mut over = std::pin::pin!(tokio::time::sleep(LINGER));
        while batch.len() < SMALL {
            let entry = tokio::select! {
                entry = self.entries.recv() => entry,
                () = &mut over => None,
            };
            let Some(entry) = entry else { break };
            batch.push(entry);
        }
        while batch.len() < BATCH
            && let Ok(entry) = self.entries.try_recv()
        {
            batch.push(entry);
        }
    }

    /// Writes a batch and answers for it. Where one operation is at fault, the batch is halved
    /// until only that one fails.
    async fn write(&mut self, batch: Vec<Entry>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.commit(&part).await {
                Ok(numbers) => {
                    for (entry, number) in part.into_iter().zip(numbers) {
                        entry.ack.map(|ack| ack.send(Ok(number)));
                    }
                }
                Err(error) if part.len() > 1 && trouble(&error) == Trouble::Refused => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
                Err(error) => self.fail(part, &store_error(error)),
            }
        }
    }

    fn fail(&mut self, part: Vec<Entry>, error: &StoreError) {
        // Who waits is told; a warning for each would bury what they say.
        tracing::debug!(operations = part.len(), %error, "a commit failed");
        for entry in part {
            match entry.ack {
                Some(ack) => drop(ack.send(Err(error.clone()))),
                None if entry.op.is_never_lost() => self.kept.push(entry),
                None => {}
            }
        }
    }

    async fn commit(&mut self, part: &[Entry]) -> Result<Vec<u64>, sqlx::Error> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let began = tokio::time::Instant::now();
        let committed = self.try_commit(part).await;
        if let Some(meters) = self.meters.get() {
            meters.tell(part.len(), began.elapsed(), committed.is_ok());
        }
        committed
    }

    async fn try_commit(&mut self, part: &[Entry]) -> Result<Vec<u64>, sqlx::Error> {
        let connection = &mut self.connection;
        // While an earlier fact waits for its next try, the spool must not take those after it for
        // the last.
        let spooled = self.kept.is_empty().then(|| part.iter().filter_map(|entry| entry.spooled).max());
        let spooled = spooled.flatten();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let outcome = match apply(connection, part, spooled, self.clock.now()).await {
            Ok(numbers) => sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| numbers),
            Err(error) => Err(error),
        };
        match (&outcome, spooled) {
            (Ok(_), Some(number)) => {
                if let Some(intake) = self.intake.upgrade() {
                    intake.lock().spool.committed(number);
                }
            }
            (Ok(_), None) => {}
            // SQLite has rolled some failures back by itself; then this fails, rightly.
            (Err(_), _) => drop(sqlx::query("ROLLBACK").execute(connection).await),
        }
        outcome
    }
}

/// Applies operations in order: runs of the frequent ones together, the rare ones one by one.
/// `spooled` is the last fact of the spool among them.
async fn apply(
    connection: &mut SqliteConnection,
    part: &[Entry],
    spooled: Option<u64>,
    now: UnixMillis,
) -> Result<Vec<u64>, sqlx::Error> {
    let mut numbers = vec![0; part.len()];
    let mut batch = Batch::default();
    for (entry, number) in part.iter().zip(&mut numbers) {
        match &entry.op {
            Op::Reserve(hold) => batch.reserve(hold)?,
            Op::Fact(fact) => batch.fact(fact),
            Op::Sent(provider, job, sent) => batch.sent(provider, job, sent),
            Op::Admin(admin) => {
                std::mem::take(&mut batch).write(connection, None, now).await?;
                *number = admin.run(connection, now).await?;
            }
            Op::Decided(decision) => batch.decided(decision),
            Op::Keep(row) => batch.keep(row),
            Op::Flush | Op::Close => {}
            #[cfg(test)]
            Op::Crash => {}
        }
    }
    batch.write(connection, spooled, now).await?;
    Ok(numbers)
}
