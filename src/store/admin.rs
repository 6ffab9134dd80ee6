//! The rare operations of the writer, each small.

use empire_actors::level::Level;
use empire_actors::ports::{ItemKey, Part, UnixMillis};
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, SqliteConnection};

use super::alerts::AlertOp;
use super::approvals::ApprovalOp;
use super::budget::BudgetOp;
use super::chunks::StoredChunk;
use super::jobs::{Desired, JobSetup, JobState, NewJob};
use super::kept;
use super::results::Outcome;
use super::row::{in_shapes, int, part_word};
use super::supervision::SupervisionOp;

/// The most keys that one operation is given: the next result must not wait long.
pub(super) const STEP: usize = 1_000;

/// One operation; its number is how many rows it changed.
#[derive(Debug)]
pub(super) enum Admin {
    Create(Box<NewJob>),
    Update {
        job: String,
        setup: Box<JobSetup>,
    },
    SetState {
        job: String,
        state: JobState,
        reason: String,
    },
    /// As [`SetState`](Admin::SetState), unless a run works on the job.
    StopIdle {
        job: String,
        state: JobState,
        reason: String,
    },
    Request {
        job: String,
        desired: Desired,
    },
    /// Whether the daemon holds a job.
    Hold {
        job: String,
        held: bool,
    },
    /// What a running job is about, in words.
    Note {
        job: String,
        note: String,
    },
    PutChunk {
        job: String,
        cohort: u32,
        chunk: StoredChunk,
    },
    /// The input is whole: so many cohorts; so many items; and what of them has ended already.
    Admitted {
        job: String,
        cohorts: u32,
        items: u64,
        distinct: u64,
        done: u64,
        dead: u64,
    },
    /// Results of items that have left the input, or are back in it.
    MarkStale {
        job: String,
        keys: Vec<ItemKey>,
        stale: bool,
    },
    /// Deletes the results of these keys, where they ended so, and moves the counters.
    Forget {
        job: String,
        part: Part,
        outcome: Outcome,
        keys: Vec<ItemKey>,
    },
    Budget(Box<BudgetOp>),
    Approval(Box<ApprovalOp>),
    Supervision(Box<SupervisionOp>),
    Alert(Box<AlertOp>),
    /// Drops kept answers that are older or of a higher level, and the oldest of the rest beyond
    /// so many bytes.
    PruneKept {
        most_bytes: u64,
        oldest: UnixMillis,
        most_level: Level,
    },
    /// Drops all kept answers.
    ClearKept,
    #[cfg(test)]
    Pragma(String),
}

impl Admin {
    pub(super) async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: UnixMillis,
    ) -> Result<u64, sqlx::Error> {
        match self {
            Admin::Create(job) => create(connection, job, now).await,
            Admin::Update { job, setup } => update(connection, job, setup, now).await,
            Admin::SetState { job, state, reason } => set_state(connection, job, *state, reason, now).await,
            Admin::StopIdle { job, state, reason } => {
                let query = sqlx::query("SELECT 1 FROM jobs WHERE id = $1 AND state <> 'running'");
                match query.bind(job.as_str()).fetch_optional(&mut *connection).await? {
                    Some(_) => set_state(connection, job, *state, reason, now).await,
                    None => Ok(0),
                }
            }
            Admin::Request { job, desired } => {
                let query = sqlx::query("UPDATE jobs SET desired = $2, updated_at = $3 WHERE id = $1")
                    .bind(job.as_str())
                    .bind(desired.as_str())
                    .bind(now.0);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Admin::Hold { job, held } => {
                let query =
                    sqlx::query("UPDATE jobs SET held = $2 WHERE id = $1").bind(job.as_str()).bind(held);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Admin::Note { job, note } => {
                let sql = "UPDATE jobs SET reason = $2, updated_at = $3 WHERE id = $1 AND state = 'running'";
                let query = sqlx::query(sql).bind(job.as_str()).bind(note.as_str()).bind(now.0);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Admin::PutChunk { job, cohort, chunk } => put_chunk(connection, job, *cohort, chunk).await,
            Admin::Admitted { job, cohorts, items, distinct, done, dead } => {
                sqlx::query("DELETE FROM chunks WHERE job = $1 AND cohort >= $2")
                    .bind(job.as_str())
                    .bind(cohorts)
                    .execute(&mut *connection)
                    .await?;
                let query = sqlx::query(
                    "UPDATE jobs SET state = 'paused', reason = 'not started', items = $2, \
                     distinct_items = $3, done = $4, dead = $5, cancelled = 0, updated_at = $6 WHERE id = $1",
                )
                .bind(job.as_str())
                .bind(int(*items))
                .bind(int(*distinct))
                .bind(int(*done))
                .bind(int(*dead))
                .bind(now.0);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Admin::MarkStale { job, keys, stale } => mark_stale(connection, job, keys, *stale).await,
            Admin::Forget { job, part, outcome, keys } => {
                forget(connection, job, *part, *outcome, keys, now).await
            }
            Admin::Budget(op) => op.run(connection, now).await,
            Admin::Approval(op) => op.run(connection, now).await,
            Admin::Supervision(op) => op.run(connection).await,
            Admin::Alert(op) => op.run(connection, now).await,
            Admin::PruneKept { most_bytes, oldest, most_level } => {
                kept::prune(connection, *most_bytes, *oldest, *most_level).await
            }
            Admin::ClearKept => {
                Ok(sqlx::query("DELETE FROM kept").execute(connection).await?.rows_affected())
            }
            #[cfg(test)]
            Admin::Pragma(sql) => {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(connection).await.map(|_| 0)
            }
        }
    }
}

async fn create(
    connection: &mut SqliteConnection,
    job: &NewJob,
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let setup = &job.setup;
    let query = sqlx::query(
        "INSERT INTO jobs (id, name, simulated, spec, spec_path, fingerprint, out_dir, state, budget, \
         deadline, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'admitting', $8, $9, $10, $10)",
    )
    .bind(job.id.as_str())
    .bind(setup.name.as_str())
    .bind(i64::from(job.simulated))
    .bind(setup.spec.as_str())
    .bind(setup.spec_path.as_deref())
    .bind(setup.fingerprint.as_str())
    .bind(setup.out_dir.as_str())
    .bind(setup.budget.map(|budget| int(budget.0)))
    .bind(setup.deadline.map(|deadline| deadline.0))
    .bind(now.0);
    Ok(query.execute(connection).await?.rows_affected())
}

async fn update(
    connection: &mut SqliteConnection,
    job: &str,
    setup: &JobSetup,
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(
        "UPDATE jobs SET name = $2, spec = $3, spec_path = $4, fingerprint = $5, out_dir = $6, \
         budget = $7, deadline = $8, updated_at = $9 WHERE id = $1",
    )
    .bind(job)
    .bind(setup.name.as_str())
    .bind(setup.spec.as_str())
    .bind(setup.spec_path.as_deref())
    .bind(setup.fingerprint.as_str())
    .bind(setup.out_dir.as_str())
    .bind(setup.budget.map(|budget| int(budget.0)))
    .bind(setup.deadline.map(|deadline| deadline.0))
    .bind(now.0);
    Ok(query.execute(connection).await?.rows_affected())
}

async fn set_state(
    connection: &mut SqliteConnection,
    job: &str,
    state: JobState,
    reason: &str,
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(
        "UPDATE jobs SET state = $2, reason = $3, updated_at = $4, \
         desired = CASE WHEN $2 = 'running' THEN 'run' ELSE desired END, \
         cancelled = CASE WHEN $2 = 'cancelled' AND distinct_items > done + dead \
                     THEN distinct_items - done - dead ELSE 0 END, \
         started_at = CASE WHEN $2 = 'running' THEN coalesce(started_at, $4) ELSE started_at END, \
         finished_at = CASE WHEN $2 IN ('done', 'cancelled') THEN $4 END \
         WHERE id = $1",
    )
    .bind(job)
    .bind(state.as_str())
    .bind(reason)
    .bind(now.0);
    Ok(query.execute(connection).await?.rows_affected())
}

async fn put_chunk(
    connection: &mut SqliteConnection,
    job: &str,
    cohort: u32,
    chunk: &StoredChunk,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO chunks (job, cohort, first_item, item_count, item_keys, levels, item_rows) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (job, cohort) DO UPDATE SET first_item = excluded.first_item, \
         item_count = excluded.item_count, item_keys = excluded.item_keys, levels = excluded.levels, \
         item_rows = excluded.item_rows",
    )
    .bind(job)
    .bind(cohort)
    .bind(chunk.first)
    .bind(chunk.count)
    .bind(chunk.keys.as_slice())
    .bind(chunk.levels.as_slice())
    .bind(chunk.rows.as_str());
    Ok(query.execute(connection).await?.rows_affected())
}

async fn mark_stale(
    connection: &mut SqliteConnection,
    job: &str,
    keys: &[ItemKey],
    stale: bool,
) -> Result<u64, sqlx::Error> {
    let mut marked = 0;
    for keys in in_shapes(keys) {
        let mut sql = QueryBuilder::<Sqlite>::new("UPDATE results SET stale = ");
        sql.push_bind(i64::from(stale)).push(" WHERE part = 'item' AND job = ").push_bind(job);
        sql.push(" AND item_key IN (");
        let mut list = sql.separated(", ");
        for key in keys {
            list.push_bind(&key.0[..]);
        }
        marked += sql.push(")").build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(marked)
}

async fn forget(
    connection: &mut SqliteConnection,
    job: &str,
    part: Part,
    outcome: Outcome,
    keys: &[ItemKey],
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    for keys in in_shapes(keys) {
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM results WHERE stale = 0 AND job = ");
        sql.push_bind(job).push(" AND part = ").push_bind(part_word(part));
        sql.push(" AND state = ").push_bind(outcome.as_str()).push(" AND item_key IN (");
        let mut list = sql.separated(", ");
        for key in keys {
            list.push_bind(&key.0[..]);
        }
        forgotten += sql.push(")").build().execute(&mut *connection).await?.rows_affected();
    }
    if forgotten > 0 && part == Part::Item {
        let counter = match outcome {
            Outcome::Done => "UPDATE jobs SET done = done - $2, updated_at = $3 WHERE id = $1",
            Outcome::Dead => "UPDATE jobs SET dead = dead - $2, updated_at = $3 WHERE id = $1",
        };
        sqlx::query(counter).bind(job).bind(int(forgotten)).bind(now.0).execute(connection).await?;
    }
    Ok(forgotten)
}
