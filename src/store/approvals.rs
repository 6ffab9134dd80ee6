//! Approvals: a human's yes or no, as durable records. One that is not answered in time is denied.

use empire_actors::money::Micros;
use empire_actors::ports::{StoreError, UnixMillis};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::admin::Admin;
use super::error::{store_error, unreadable};
use super::row::{amount, int, time};

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// It waits for an answer.
    Pending,
    /// Yes.
    Approved,
    /// No.
    Denied,
    /// Nobody answered in time, which is a no.
    Expired,
}

impl ApprovalState {
    pub(super) const ALL: [ApprovalState; 4] =
        [ApprovalState::Pending, ApprovalState::Approved, ApprovalState::Denied, ApprovalState::Expired];

    /// The word for it, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ApprovalState::Pending => "pending",
            ApprovalState::Approved => "approved",
            ApprovalState::Denied => "denied",
            ApprovalState::Expired => "expired",
        }
    }
}

/// What an approval is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    /// A UUID v7, new.
    pub id: String,
    /// What kind of action: `spend`.
    pub kind: String,
    /// The action, in words.
    pub subject: String,
    /// Identifies the action: an approval holds for no other one.
    pub fingerprint: String,
    /// What it may cost at most.
    pub amount: Micros,
    /// When it is denied, if nobody answered.
    pub expires_at: UnixMillis,
}

/// An approval as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// What kind of action.
    pub kind: String,
    /// The action, in words.
    pub subject: String,
    /// Identifies the action.
    pub fingerprint: String,
    /// What it may cost at most.
    pub amount: Micros,
    /// When it was asked for.
    pub asked_at: UnixMillis,
    /// When it is denied, if nobody answered.
    pub expires_at: UnixMillis,
    /// Where it stands.
    pub state: ApprovalState,
    /// When it was answered.
    pub answered_at: Option<UnixMillis>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// Why, as they said.
    pub reason: String,
    /// The job that it let start: it holds once.
    pub used_by: Option<String>,
}

#[derive(Debug)]
pub(super) enum ApprovalOp {
    Ask(NewApproval),
    Answer { id: String, yes: bool, by: String, reason: String },
    Use { id: String, job: String },
}

impl ApprovalOp {
    pub(super) async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: UnixMillis,
    ) -> Result<u64, sqlx::Error> {
        sqlx::query("UPDATE approvals SET state = 'expired' WHERE state = 'pending' AND expires_at <= $1")
            .bind(now.0)
            .execute(&mut *connection)
            .await?;
        let query = match self {
            ApprovalOp::Ask(new) => sqlx::query(
                "INSERT INTO approvals (id, kind, subject, fingerprint, amount, asked_at, expires_at, state) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending')",
            )
            .bind(new.id.as_str())
            .bind(new.kind.as_str())
            .bind(new.subject.as_str())
            .bind(new.fingerprint.as_str())
            .bind(int(new.amount.0))
            .bind(now.0)
            .bind(new.expires_at.0),
            ApprovalOp::Answer { id, yes, by, reason } => sqlx::query(
                "UPDATE approvals SET state = $2, answered_at = $3, answered_by = $4, reason = $5 \
                 WHERE id = $1 AND state = 'pending'",
            )
            .bind(id.as_str())
            .bind(if *yes { "approved" } else { "denied" })
            .bind(now.0)
            .bind(by.as_str())
            .bind(reason.as_str()),
            ApprovalOp::Use { id, job } => sqlx::query(
                "UPDATE approvals SET used_by = $2 WHERE id = $1 AND state = 'approved' AND used_by IS NULL",
            )
            .bind(id.as_str())
            .bind(job.as_str()),
        };
        Ok(query.execute(connection).await?.rows_affected())
    }
}

impl Store {
    /// Records that an approval is asked for.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ask_approval(&self, new: NewApproval) -> Result<(), StoreError> {
        self.change(Admin::Approval(Box::new(ApprovalOp::Ask(new)))).await.map(drop)
    }

    /// Answers an approval, from any process. `false` if it does not wait for an answer (any
    /// more).
    ///
    /// # Errors
    /// If the store fails.
    pub async fn answer_approval(
        &self,
        id: &str,
        yes: bool,
        by: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let (id, by, reason) = (id.to_owned(), by.to_owned(), reason.to_owned());
        let op = ApprovalOp::Answer { id, yes, by, reason };
        Ok(self.change(Admin::Approval(Box::new(op))).await? == 1)
    }

    /// Uses an approval up. `false` if it does not hold, or was used already.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn use_approval(&self, id: &str, job: &str) -> Result<bool, StoreError> {
        let op = ApprovalOp::Use { id: id.to_owned(), job: job.to_owned() };
        Ok(self.change(Admin::Approval(Box::new(op))).await? == 1)
    }

    /// All approvals, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn approvals(&self) -> Result<Vec<Approval>, StoreError> {
        let rows = sqlx::query("SELECT * FROM approvals ORDER BY asked_at DESC, id DESC")
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        let now = self.now();
        rows.iter().map(|row| approval(row, now)).collect::<Result<_, _>>().map_err(store_error)
    }
}

fn approval(row: &SqliteRow, now: UnixMillis) -> Result<Approval, sqlx::Error> {
    let word: &str = row.try_get("state")?;
    let state = ApprovalState::ALL.into_iter().find(|state| state.as_str() == word);
    let state = state.ok_or_else(|| unreadable(format_args!("approval state `{word}`")))?;
    let expires_at = time(row, "expires_at")?;
    let state = match state {
        // Whoever writes next will say so.
        ApprovalState::Pending if expires_at <= now => ApprovalState::Expired,
        state => state,
    };
    Ok(Approval {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        subject: row.try_get("subject")?,
        fingerprint: row.try_get("fingerprint")?,
        amount: amount(row, "amount")?,
        asked_at: time(row, "asked_at")?,
        expires_at,
        state,
        answered_at: row.try_get::<Option<i64>, _>("answered_at")?.map(UnixMillis),
        answered_by: row.try_get("answered_by")?,
        reason: row.try_get("reason")?,
        used_by: row.try_get("used_by")?,
    })
}
