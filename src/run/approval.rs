//! Spending much in one go needs a human's yes. It is asked for as a durable record, which
//! `empire approvals` shows and answers; it holds for one job as it is, and once.

use empire_actors::money::Micros;
use empire_actors::ports::{StoreError, UnixMillis, WallClock};

use super::error::CommandError;
use super::prepare::Loaded;
use super::system::{SystemClock, new_job_id};
use crate::plan::Plan;
use crate::store::{Approval, ApprovalState, NewApproval, Store};

/// The kind of these approvals.
pub const SPEND: &str = "spend";

/// What a job may spend in one go: its worst case, as far as its caps let it.
#[must_use]
pub fn exposure(plan: &Plan) -> Micros {
    let Some(planned) = &plan.planned else { return Micros::ZERO };
    planned.fit.money_left.map_or(planned.worst_cost, |left| planned.worst_cost.min(left))
}

/// An approval that is needed.
#[derive(Debug, Clone)]
pub struct Needed {
    /// What may be spent in one go.
    pub amount: Micros,
    /// Identifies the job as it is: spec, input and budget.
    pub fingerprint: String,
    subject: String,
}

/// Where a job stands with its approval.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It needs none.
    NotNeeded,
    /// It has one, and may spend so much in one go.
    Given {
        /// Its id.
        id: String,
        /// How much.
        amount: Micros,
        /// Whether it is this job's already.
        is_used: bool,
    },
    /// It waits for this one.
    Pending(Approval),
    /// Nobody has been asked yet, or the last answer was no: then it can be asked for anew.
    Missing(Needed),
}

/// Finds out where a job stands. `job` is the one to go on with, if there is one.
///
/// # Errors
/// If the store fails.
pub async fn standing(
    store: &Store,
    loaded: &Loaded,
    input: &str,
    job: Option<&str>,
    amount: Micros,
) -> Result<Standing, StoreError> {
    let budget = &loaded.config.budget;
    if budget.approval_above.is_none_or(|limit| amount <= limit) {
        return Ok(Standing::NotNeeded);
    }
    let fingerprint = fingerprint(loaded, input);
    let mut known = store.approvals().await?;
    known.retain(|approval| approval.kind == SPEND && approval.fingerprint == fingerprint);
    // What is left of a job that was let start is no more than what it was let start for.
    let is_its = |approval: &&Approval| job.is_some() && approval.used_by.as_deref() == job;
    if let Some(approval) = known.iter().find(is_its) {
        return Ok(given(approval));
    }
    let is_good = |approval: &&Approval| {
        approval.state == ApprovalState::Approved && approval.used_by.is_none() && approval.amount >= amount
    };
    if let Some(approval) = known.iter().find(is_good) {
        return Ok(given(approval));
    }
    let is_pending =
        |approval: &&Approval| approval.state == ApprovalState::Pending && approval.amount >= amount;
    if let Some(approval) = known.iter().find(is_pending) {
        return Ok(Standing::Pending(approval.clone()));
    }
    let subject = format!("job {} may spend up to {}", loaded.spec.name, budget.euro.both(amount));
    Ok(Standing::Missing(Needed { amount, fingerprint, subject }))
}

fn given(approval: &Approval) -> Standing {
    let (id, amount) = (approval.id.clone(), approval.amount);
    Standing::Given { id, amount, is_used: approval.used_by.is_some() }
}

impl Needed {
    /// Puts it on record.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ask(&self, store: &Store, loaded: &Loaded) -> Result<String, StoreError> {
        let id = new_job_id();
        let waits = i64::try_from(loaded.config.budget.approval_timeout.as_millis()).unwrap_or(i64::MAX);
        let new = NewApproval {
            id: id.clone(),
            kind: SPEND.to_owned(),
            subject: self.subject.clone(),
            fingerprint: self.fingerprint.clone(),
            amount: self.amount,
            expires_at: UnixMillis(SystemClock.now().0.saturating_add(waits)),
        };
        let subject = new.subject.clone();
        store.ask_approval(new).await?;
        tracing::info!(approval = %id, %subject, amount = %self.amount, "an approval is asked for");
        Ok(id)
    }

    /// What it is for, in words.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// The refusal of a job that has no approval (yet), with the command that gives one.
#[must_use]
pub fn refusal(subject: &str, limit: Micros, id: &str) -> CommandError {
    CommandError::refused(format!(
        "{subject} in one go, and more than {limit} needs an approval\n  empire approvals approve {id}\nthen run it again"
    ))
}

/// Identifies what is approved: another spec, input or budget is another job.
fn fingerprint(loaded: &Loaded, input: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [loaded.spec.text.as_bytes(), input.as_bytes(), &loaded.budget.0.to_le_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
