//! The rare operations of the writer, each small.

use empire_actors::level::Level;
use empire_actors::ports::{ItemKey, UnixMillis};
use sqlx::SqliteConnection;

use super::alerts::AlertOp;
use super::approvals::ApprovalOp;
use super::budget::BudgetOp;
use super::chunks::StoredChunk;
use super::jobs::{Desired, JobSetup, JobState, NewJob};
use super::kept;
use super::moved;
use super::results::Outcome;
use super::row::int;
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
    /// Takes the results of items away from their places: the input has changed.
    Loosen {
        job: String,
        items: Vec<u32>,
    },
    /// Gives results whose items are in the input their places there.
    Place {
        job: String,
        items: Vec<(ItemKey, u32)>,
    },
    /// Deletes the results of these items, where they ended so, and moves the counters.
    Forget {
        job: String,
        outcome: Outcome,
        items: Vec<u32>,
    },
    /// Deletes the results of these steps of the reduce.
    ForgetSteps {
        job: String,
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
    /// Lets kept answers up to this row be found by their keys.
    KeyKept {
        up_to: i64,
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
            Admin::Loosen { job, items } => moved::loosen(connection, job, items).await,
            Admin::Place { job, items } => moved::place_at(connection, job, items).await,
            Admin::Forget { job, outcome, items } => {
                moved::forget(connection, job, *outcome, items, now).await
            }
            Admin::ForgetSteps { job, keys } => moved::forget_steps(connection, job, keys).await,
            Admin::Budget(op) => op.run(connection, now).await,
            Admin::Approval(op) => op.run(connection, now).await,
            Admin::Supervision(op) => op.run(connection).await,
            Admin::Alert(op) => op.run(connection, now).await,
            Admin::PruneKept { most_bytes, oldest, most_level } => {
                kept::prune(connection, *most_bytes, *oldest, *most_level).await
            }
            Admin::KeyKept { up_to } => kept::key_rows(connection, *up_to).await,
            Admin::ClearKept => kept::clear(connection).await,
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
        "INSERT INTO jobs (id, number, name, simulated, spec, spec_path, fingerprint, out_dir, state, budget, \
         deadline, created_at, updated_at) \
         VALUES ($1, (SELECT coalesce(max(number), 0) + 1 FROM jobs), $2, $3, $4, $5, $6, $7, 'admitting', \
         $8, $9, $10, $10)",
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
        "INSERT INTO chunks (job, cohort, first_item, item_count, item_keys, levels, item_rows, firsts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (job, cohort) DO UPDATE SET first_item = excluded.first_item, \
         item_count = excluded.item_count, item_keys = excluded.item_keys, levels = excluded.levels, \
         item_rows = excluded.item_rows, firsts = excluded.firsts",
    )
    .bind(job)
    .bind(cohort)
    .bind(chunk.first)
    .bind(chunk.count)
    .bind(chunk.keys.as_slice())
    .bind(chunk.levels.as_slice())
    .bind(chunk.rows.as_str())
    .bind(chunk.firsts.as_deref());
    Ok(query.execute(connection).await?.rows_affected())
}
