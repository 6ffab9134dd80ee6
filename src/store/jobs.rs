//! Jobs: what the store knows of them, and how one is found.

use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{StoreError, UnixMillis};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::admin::Admin;
use super::error::{store_error, unreadable};
use super::row::{amount, number, time, usage};

/// The most jobs that an ambiguous name lists.
const LISTED: usize = 10;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its input is being read in; it cannot run before that has ended.
    Admitting,
    /// A run works on it.
    Running,
    /// Stopped on purpose or by a rule; the reason says which. `resume` goes on.
    Paused,
    /// Its run ended without closing. `resume` goes on.
    Interrupted,
    /// Every item has its end.
    Done,
    /// Given up by its owner.
    Cancelled,
}

impl JobState {
    pub(super) const ALL: [JobState; 6] = [
        JobState::Admitting,
        JobState::Running,
        JobState::Paused,
        JobState::Interrupted,
        JobState::Done,
        JobState::Cancelled,
    ];

    /// The word for it, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Admitting => "admitting",
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Interrupted => "interrupted",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether the job has ended for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Cancelled)
    }
}

/// What a job's owner wants of its run, possibly said from another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Go on.
    Run,
    /// Finish the calls in flight, then stop; resumable.
    Pause,
    /// Stop for good.
    Cancel,
}

impl Desired {
    /// What becomes of a job that no run works on, and why in words; nothing if it is to go on.
    #[must_use]
    pub fn when_idle(self) -> Option<(JobState, &'static str)> {
        match self {
            Desired::Run => None,
            Desired::Pause => Some((JobState::Paused, "paused by request")),
            Desired::Cancel => Some((JobState::Cancelled, "cancelled by request")),
        }
    }

    const ALL: [Desired; 3] = [Desired::Run, Desired::Pause, Desired::Cancel];

    /// The word for it, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Desired::Run => "run",
            Desired::Pause => "pause",
            Desired::Cancel => "cancel",
        }
    }
}

/// What a job is made from; changes only between runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSetup {
    /// Its name.
    pub name: String,
    /// The spec as given (YAML).
    pub spec: String,
    /// The file it came from.
    pub spec_path: Option<String>,
    /// Identifies the input.
    pub fingerprint: String,
    /// Where results are written.
    pub out_dir: String,
    /// The most it may spend; `None`: only the other caps hold.
    pub budget: Option<Micros>,
    /// When it must have ended.
    pub deadline: Option<UnixMillis>,
}

/// A job to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// A UUID v7, new.
    pub id: String,
    /// Whether it runs against the simulator.
    pub simulated: bool,
    /// What it is made from.
    pub setup: JobSetup,
}

/// A job's counters. Outcomes are of the input as it is now; what was consumed is of all calls
/// ever recorded for the job, even where a result was replaced or forgotten later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Items of the input.
    pub items: u64,
    /// Different items: equal ones are called once.
    pub distinct: u64,
    /// Different items with an answer.
    pub done: u64,
    /// Different items that ended without one.
    pub dead: u64,
    /// Different items given up when the job was cancelled.
    pub cancelled: u64,
    /// Model calls.
    pub calls: u64,
    /// Tokens.
    pub usage: Usage,
    /// Money, as billed.
    pub cost: Micros,
    /// Values cut out of what left.
    pub redactions: u64,
    /// Tries after the first.
    pub retries: u64,
}

impl Counts {
    /// Different items without an end.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.distinct.saturating_sub(self.done + self.dead + self.cancelled)
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id: a UUID v7.
    pub id: String,
    /// Whether it runs against the simulator.
    pub simulated: bool,
    /// What it is made from.
    pub setup: JobSetup,
    /// Where it stands.
    pub state: JobState,
    /// Why it stands there; empty if there is nothing to say.
    pub reason: String,
    /// What its owner wants of its run.
    pub desired: Desired,
    /// How far it is.
    pub counts: Counts,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it first ran.
    pub started_at: Option<UnixMillis>,
    /// When it ended for good.
    pub finished_at: Option<UnixMillis>,
    /// When anything of it last changed.
    pub updated_at: UnixMillis,
}

/// Why no job was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No id starts so, and no job is called so.
    #[error("there is no job `{wanted}` in this data folder: `empire swarm list` shows those there are")]
    NotFound {
        /// What was asked for.
        wanted: String,
    },
    /// Several jobs fit.
    #[error("`{wanted}` fits several jobs: give more of the id\n{}", matches.join("\n"))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The newest of those that fit: id, name and state.
        matches: Vec<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Adds a job in state [`JobState::Admitting`]: it can run once
    /// [`replace_chunks`](Store::replace_chunks) has read its input in.
    ///
    /// # Errors
    /// If the id is taken, or the store fails.
    pub async fn create_job(&self, job: NewJob) -> Result<(), StoreError> {
        self.administer(Admin::Create(Box::new(job))).await.map(drop)
    }

    /// Changes what a job is made from: another budget, an edited spec.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn update_job(&self, job: &str, setup: JobSetup) -> Result<(), StoreError> {
        let changed = self.administer(Admin::Update { job: job.into(), setup: Box::new(setup) }).await?;
        found(job, changed)
    }

    /// Moves a job to `state`. `Running` clears what was requested before; `Cancelled` counts
    /// the items without an end as cancelled.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn set_state(&self, job: &str, state: JobState, reason: &str) -> Result<(), StoreError> {
        let admin = Admin::SetState { job: job.into(), state, reason: reason.into() };
        found(job, self.administer(admin).await?)
    }

    /// Pauses a job that no run works on, or gives it up; works from any process. False if a run
    /// works on it by now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stop_idle(&self, job: &str, state: JobState, reason: &str) -> Result<bool, StoreError> {
        let admin = Admin::StopIdle { job: job.into(), state, reason: reason.into() };
        Ok(self.administer_anywhere(admin).await? > 0)
    }

    /// Notes what there is to know of a job while it runs; empty for nothing. Its next state
    /// replaces it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn note(&self, job: &str, note: &str) -> Result<(), StoreError> {
        self.administer(Admin::Note { job: job.into(), note: note.into() }).await.map(drop)
    }

    /// Tells the job's run what its owner wants. Works from any process, whoever runs the job.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn request(&self, job: &str, desired: Desired) -> Result<(), StoreError> {
        found(job, self.administer_anywhere(Admin::Request { job: job.into(), desired }).await?)
    }

    /// Through the writer where there is one, else beside that of another process.
    async fn administer_anywhere(&self, admin: Admin) -> Result<u64, StoreError> {
        if self.writer().is_open() {
            return self.administer(admin).await;
        }
        let mut connection = self.side_connection().await?;
        admin.run(&mut connection, self.now()).await.map_err(store_error)
    }

    /// Says whether the daemon holds the job, and so goes on with it after a restart.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn set_held(&self, job: &str, held: bool) -> Result<(), StoreError> {
        found(job, self.administer(Admin::Hold { job: job.into(), held }).await?)
    }

    /// The jobs that the daemon holds, oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn held_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query("SELECT * FROM jobs WHERE held = 1 ORDER BY created_at, id")
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        rows.iter().map(job).collect::<Result<_, _>>().map_err(store_error)
    }

    /// What the job's owner wants of its run.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn desired(&self, job: &str) -> Result<Desired, StoreError> {
        let row = sqlx::query("SELECT desired FROM jobs WHERE id = $1")
            .bind(job)
            .fetch_optional(self.readers())
            .await
            .map_err(store_error)?
            .ok_or_else(|| missing(job))?;
        desired(&row).map_err(store_error)
    }

    /// The job with exactly this id.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = $1")
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(store_error)?;
        row.as_ref().map(job).transpose().map_err(store_error)
    }

    /// The job that `wanted` means: an id, the unique start of one, or a unique name.
    ///
    /// # Errors
    /// If none or several fit (the error lists them), or the store fails.
    pub async fn find_job(&self, wanted: &str) -> Result<Job, FindError> {
        let wanted = wanted.trim();
        let rows = sqlx::query(
            "SELECT id, name, state FROM jobs \
             WHERE name = $1 OR ($2 <> '' AND substr(id, 1, length($2)) = $2) ORDER BY id DESC",
        )
        .bind(wanted)
        .bind(wanted.to_ascii_lowercase())
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let mut fits = Vec::with_capacity(rows.len());
        for row in &rows {
            let read = || Ok((row.try_get("id")?, row.try_get("name")?, row.try_get("state")?));
            let fit: (&str, &str, &str) = read().map_err(store_error)?;
            fits.push(fit);
        }
        let exact = fits.iter().find(|(id, ..)| id.eq_ignore_ascii_case(wanted));
        let id = match (exact, fits.as_slice()) {
            (Some((id, ..)), _) | (None, [(id, ..)]) => *id,
            (None, []) => return Err(FindError::NotFound { wanted: wanted.to_owned() }),
            (None, several) => {
                let line = |(id, name, state): &(&str, &str, &str)| format!("  {id}  {name}  {state}");
                let mut matches: Vec<String> = several.iter().take(LISTED).map(line).collect();
                if several.len() > LISTED {
                    matches.push(format!("  and {} older ones", several.len() - LISTED));
                }
                return Err(FindError::Ambiguous { wanted: wanted.to_owned(), matches });
            }
        };
        self.job(id).await?.ok_or_else(|| FindError::NotFound { wanted: wanted.to_owned() })
    }

    /// All jobs, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query("SELECT * FROM jobs ORDER BY created_at DESC, id DESC")
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        rows.iter().map(job).collect::<Result<_, _>>().map_err(store_error)
    }
}

fn missing(job: &str) -> StoreError {
    StoreError::Failed(format!("there is no job `{job}`"))
}

pub(super) fn found(job: &str, changed: u64) -> Result<(), StoreError> {
    if changed == 0 { Err(missing(job)) } else { Ok(()) }
}

fn desired(row: &SqliteRow) -> Result<Desired, sqlx::Error> {
    let word: &str = row.try_get("desired")?;
    let desired = Desired::ALL.into_iter().find(|desired| desired.as_str() == word);
    desired.ok_or_else(|| unreadable(format_args!("request `{word}`")))
}

fn state(row: &SqliteRow) -> Result<JobState, sqlx::Error> {
    let word: &str = row.try_get("state")?;
    let state = JobState::ALL.into_iter().find(|state| state.as_str() == word);
    state.ok_or_else(|| unreadable(format_args!("job state `{word}`")))
}

fn job(row: &SqliteRow) -> Result<Job, sqlx::Error> {
    let optional = |column: &str| row.try_get::<Option<i64>, _>(column);
    let setup = JobSetup {
        name: row.try_get("name")?,
        spec: row.try_get("spec")?,
        spec_path: row.try_get("spec_path")?,
        fingerprint: row.try_get("fingerprint")?,
        out_dir: row.try_get("out_dir")?,
        budget: optional("budget")?.map(|_| amount(row, "budget")).transpose()?,
        deadline: optional("deadline")?.map(UnixMillis),
    };
    let counts = Counts {
        items: number(row, "items")?,
        distinct: number(row, "distinct_items")?,
        done: number(row, "done")?,
        dead: number(row, "dead")?,
        cancelled: number(row, "cancelled")?,
        calls: number(row, "calls")?,
        usage: usage(row)?,
        cost: amount(row, "cost")?,
        redactions: number(row, "redactions")?,
        retries: number(row, "retries")?,
    };
    Ok(Job {
        id: row.try_get("id")?,
        simulated: row.try_get("simulated")?,
        setup,
        state: state(row)?,
        reason: row.try_get("reason")?,
        desired: desired(row)?,
        counts,
        created_at: time(row, "created_at")?,
        started_at: optional("started_at")?.map(UnixMillis),
        finished_at: optional("finished_at")?.map(UnixMillis),
        updated_at: time(row, "updated_at")?,
    })
}
