//! Opening a data folder's database: versions, damage, recovery, closing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use empire_actors::money::Micros;
use empire_actors::ports::UnixMillis;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::batch::Batch;
use super::error::{Trouble, trouble, words};
use super::row::amount;
use super::spool::{self, Found, Spool};
use crate::home::{HomeError, open_private_file};

pub(super) const DATABASE: &str = "empire.db";
/// Says how the database file looked when it was last closed in order.
const CLOSED_MARK: &str = "empire.db.closed";

/// How long free calls are remembered: a day and some slack.
const SENDS_KEPT_MS: i64 = 25 * 60 * 60 * 1000;
/// How long the privacy gate's decisions are kept: a year, and a month to ask about it. The ledger,
/// which says what was paid, keeps its rows.
const DECISIONS_KEPT_MS: i64 = 400 * 24 * 60 * 60 * 1000;
/// They are written in the order of time: only those that go are read.
const FORGET_DECISIONS: &str = "DELETE FROM decisions WHERE id < coalesce((SELECT id FROM decisions \
     WHERE at >= $1 ORDER BY id LIMIT 1), 9223372036854775807)";
/// Pages in the write-ahead log before it is folded into the database: 16 MiB.
const CHECKPOINT_PAGES: &str = "4000";
const LOG_KEPT_BYTES: &str = "67108864";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const FORGET_UNSENT: &str = "DELETE FROM holds WHERE has_left = 0";

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");

/// Why a data folder's database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder itself cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A newer program wrote it.
    #[error(
        "the database {} was written by a newer version (empire {program}, schema {found}); this is empire {} (schema {known}): update empire, or choose another --data-dir",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The program's version that wrote it.
        program: String,
        /// Its schema's version.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// It cannot be read any more.
    #[error(
        "the database {} is damaged ({what}): results.jsonl files already written are safe; move the database away (with the `-wal` and `-shm` files beside it) and start afresh, or restore a copy",
        path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        what: String,
    },
    /// What the last run could not commit any more cannot be committed.
    #[error(
        "the files spool.0 and spool.1 in {} hold what the last run had not written to the database yet, and it cannot be written now ({why}): move them away, and what they say is lost; their calls stay billed at their reservation",
        dir.display()
    )]
    Spool {
        /// The data folder.
        dir: PathBuf,
        /// What the database said.
        why: String,
    },
    /// No space is left.
    #[error("the disk that holds {} is full: free some space, then try again", path.display())]
    DiskFull {
        /// The database file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("the database {} cannot be opened: {why}", path.display())]
    Failed {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
}

impl OpenError {
    fn from_sqlx(path: &Path, error: &sqlx::Error) -> OpenError {
        let path = path.to_owned();
        match trouble(error) {
            Trouble::DiskFull => OpenError::DiskFull { path },
            Trouble::Damaged => OpenError::Damaged { path, what: words(error) },
            _ => OpenError::Failed { path, why: words(error) },
        }
    }

    fn from_migration(path: &Path, error: MigrateError) -> OpenError {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                OpenError::from_sqlx(path, &error)
            }
            other => OpenError::Failed { path: path.to_owned(), why: other.to_string() },
        }
    }

    fn from_io(path: &Path, error: std::io::Error) -> OpenError {
        OpenError::from_sqlx(path, &sqlx::Error::Io(error))
    }
}

/// What was put in order when the data folder was opened after a run that did not close it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Calls whose outcome is unknown: billed at their reservation.
    pub unknown_calls: u64,
    /// What they are billed at in all.
    pub unknown_amount: Micros,
    /// Jobs that were running and are interrupted now.
    pub interrupted_jobs: u64,
}

/// Pages in memory: while a database is brought to a new version, and as SQLite has it.
const MIGRATION_KIB: u64 = 512 * 1024;
const USUAL_KIB: u64 = 2_000;
/// The most of a database that is mapped into memory while it is checked.
const MAPPED_BYTES: u64 = 2_000_000_000;

/// How to connect to the database in `dir`.
pub(super) fn options(dir: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(dir.join(DATABASE))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", LOG_KEPT_BYTES)
        // What a statement would need to take itself back stays off the disk.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

/// Connects for writing, under the folder's lock: checks the version and the file, migrates, and
/// puts in order what an earlier, dead process left.
pub(super) async fn for_writing(
    dir: &Path,
    now: UnixMillis,
) -> Result<(SqliteConnection, Spool, Recovered), OpenError> {
    let path = dir.join(DATABASE);
    let closed_in_order = is_as_closed(dir);
    let mut connection = connect(dir).await?;
    refuse_newer(&mut connection, &path).await?;
    if !closed_in_order {
        check(&mut connection, &path).await?;
    }
    // From here on the file changes: the mark would be stale after a crash.
    match fs::remove_file(dir.join(CLOSED_MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(OpenError::from_io(&path, error));
        }
        _ => {}
    }
    migrate(&mut connection, &path).await?;
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&path, &error);
    let committed: i64 = sqlx::query_scalar("SELECT spooled FROM next_hold")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    let found =
        spool::read(dir, committed.unsigned_abs()).map_err(|error| OpenError::from_io(&path, error))?;
    replay(&mut connection, &found, now).await.map_err(|error| match trouble(&error) {
        Trouble::Refused => OpenError::Spool { dir: dir.to_owned(), why: words(&error) },
        _ => failed(error),
    })?;
    let recovered = recover(&mut connection, found.is_whole, now).await.map_err(failed)?;
    let spool = Spool::start(dir, found.last).map_err(|error| OpenError::from_io(&path, error))?;
    Ok((connection, spool, recovered))
}

/// Whether the database in `dir` exists with this program's schema; refuses a newer one.
pub(super) async fn is_current(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(DATABASE);
    if !path.try_exists().map_err(|error| OpenError::from_io(&path, error))? {
        return Ok(false);
    }
    let mut connection = connect(dir).await?;
    let version = refuse_newer(&mut connection, &path).await?;
    connection.close().await.map_err(|error| OpenError::from_sqlx(&path, &error))?;
    Ok(version == Some(known_version()))
}

/// Closes after the last write, and notes how the file looks then, so that opening it again need
/// not read all of it. The spool goes, if all of it was written.
pub(super) async fn close(
    mut connection: SqliteConnection,
    dir: &Path,
    all_written: bool,
) -> Result<(), sqlx::Error> {
    if all_written {
        // Nobody is left who could send them.
        sqlx::query(FORGET_UNSENT).execute(&mut connection).await?;
    }
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await?;
    if all_written {
        spool::remove(dir)?;
    }
    if let Some(look) = look_of(dir) {
        use std::io::Write;
        let mut file = open_private_file(&dir.join(CLOSED_MARK))?;
        file.set_len(0)?;
        file.write_all(look.as_bytes())?;
    }
    Ok(())
}

async fn connect(dir: &Path) -> Result<SqliteConnection, OpenError> {
    let path = dir.join(DATABASE);
    // Made here for its mode: its owner's alone. SQLite gives its other files the same.
    open_private_file(&path).map_err(|error| OpenError::from_io(&path, error))?;
    options(dir).connect().await.map_err(|error| OpenError::from_sqlx(&path, &error))
}

fn known_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn refuse_newer(connection: &mut SqliteConnection, path: &Path) -> Result<Option<i64>, OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(path, &error);
    let migrated: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    if migrated == 0 {
        return Ok(None);
    }
    let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let known = known_version();
    match found {
        Some(found) if found > known => {
            // A newer schema may keep this elsewhere: then its number must do.
            let program = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'program'")
                .fetch_one(connection)
                .await
                .unwrap_or_else(|_| "of a later version".to_owned());
            Err(OpenError::Newer { path: path.to_owned(), program, found, known })
        }
        found => Ok(found),
    }
}

/// Brings the database to this version. Tables that are written anew are read again and again: for
/// that time their pages stay in memory.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(path, &error);
    let found = refuse_newer(connection, path).await?;
    if found == Some(known_version()) {
        return Ok(());
    }
    if found.is_some() {
        tracing::warn!(
            "the data folder is being brought to this version: with large jobs in it, that takes a moment"
        );
    }
    let pages = |kib: u64| sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA cache_size = -{kib}")));
    pages(MIGRATION_KIB).execute(&mut *connection).await.map_err(failed)?;
    MIGRATOR.run(&mut *connection).await.map_err(|error| OpenError::from_migration(path, error))?;
    pages(USUAL_KIB).execute(connection).await.map_err(failed)?;
    Ok(())
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(path, &error);
    // Mapped while every page is looked at once: half the time. Not beyond that, since what is mapped
    // counts as the process's memory.
    let mapped = |bytes: u64| sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA mmap_size = {bytes}")));
    mapped(MAPPED_BYTES).execute(&mut *connection).await.map_err(failed)?;
    let answer: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(failed)?;
    mapped(0).execute(connection).await.map_err(failed)?;
    if answer == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), what: answer.replace('\n', " ") })
}

/// Commits what the last process could not commit any more.
async fn replay(
    connection: &mut SqliteConnection,
    found: &Found,
    now: UnixMillis,
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    found.facts.iter().for_each(|fact| batch.fact(fact));
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    batch.write(&mut tx, Some(found.last), now).await?;
    tx.commit().await
}

/// Bills the calls that may have been sent at their reservation, and gives the other reservations
/// back. Unless the spool `is_whole`, any call may have been. Nobody knows when such a call left,
/// so it counts against the rates of its provider from now on.
async fn recover(
    connection: &mut SqliteConnection,
    is_whole: bool,
    now: UnixMillis,
) -> Result<Recovered, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    if is_whole {
        sqlx::query(FORGET_UNSENT).execute(&mut *tx).await?;
    }
    let open = sqlx::query(
        "SELECT count(*) AS calls, CAST(coalesce(sum(reserved), 0) AS INTEGER) AS amount FROM holds",
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO ledger (hold, job, role, child, item, provider, model, reserved, billed, certainty, \
         input_tokens, cached_tokens, cache_write_tokens, output_tokens, reserved_at, sent_at, settled_at) \
         SELECT id, job, role, child, item, provider, model, reserved, reserved, 'unknown', 0, 0, 0, 0, \
         at, $1, $1 \
         FROM holds WHERE true ON CONFLICT (hold) DO NOTHING",
    )
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM holds").execute(&mut *tx).await?;
    let interrupted = sqlx::query(
        "UPDATE jobs SET state = 'interrupted', reason = 'the run ended without closing', updated_at = $1 \
         WHERE state = 'running'",
    )
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM sends WHERE at < $1").bind(now.0 - SENDS_KEPT_MS).execute(&mut *tx).await?;
    sqlx::query(FORGET_DECISIONS).bind(now.0 - DECISIONS_KEPT_MS).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('program', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(env!("CARGO_PKG_VERSION"))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Recovered {
        unknown_calls: u64::try_from(open.try_get::<i64, _>("calls")?).unwrap_or(0),
        unknown_amount: amount(&open, "amount")?,
        interrupted_jobs: interrupted.rows_affected(),
    })
}

/// Length and time of the database file; `None` if it cannot be told.
fn look_of(dir: &Path) -> Option<String> {
    let metadata = fs::metadata(dir.join(DATABASE)).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), modified.as_nanos()))
}

/// Whether the file looks as it did when it was closed in order: nobody has touched it since.
fn is_as_closed(dir: &Path) -> bool {
    let mark = fs::read_to_string(dir.join(CLOSED_MARK)).ok();
    mark.is_some() && mark == look_of(dir)
}
