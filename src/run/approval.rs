//! Spending much in one go needs a human's yes. It is asked for as a durable record, which
//! `empire approvals` shows and answers; it holds for one job as it is, and once.

use empire_actors::money::Micros;
use empire_actors::ports::{StoreError, UnixMillis, WallClock};

use super::caps::job_cap;
use super::error::CommandError;
use super::launch::Confirm;
use super::prepare::Loaded;
use super::progress::say;
use super::system::{SystemClock, new_job_id};
use crate::config::system_env;
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

/// A cap that was set by hand for this job takes the place of its budget.
pub async fn take_up_job_cap(
    store: &Store,
    loaded: &mut Loaded,
    job: Option<&str>,
) -> Result<(), CommandError> {
    let Some(job) = job else { return Ok(()) };
    let Some(Some(cap)) = job_cap(&store.caps().await?, job).filter(|cap| *cap != Some(loaded.budget)) else {
        return Ok(());
    };
    say(&format!(
        "this job's cap was set by hand: {cap} in place of {} (`empire budget set job:{job} default` takes it back)",
        loaded.budget
    ));
    loaded.budget = cap;
    Ok(())
}

/// An approval that lets a job start, to be used up once it does.
pub struct Given {
    id: String,
    is_used: bool,
}

/// Makes sure that a job which may spend much in one go has an approval: one that was given, or
/// one that a person gives now. Where nobody can be asked, it is put on record and the job is refused.
pub async fn approve(
    store: &Store,
    loaded: &mut Loaded,
    input: &str,
    job: Option<&str>,
    amount: Micros,
    confirm: Confirm<'_>,
) -> Result<Option<Given>, CommandError> {
    let limit = loaded.config.budget.approval_above.unwrap_or_default();
    let (subject, id) = match standing(store, loaded, input, job, amount).await? {
        Standing::NotNeeded => return Ok(None),
        Standing::Given { id, amount, is_used } => {
            loaded.approved = Some(amount);
            return Ok(Some(Given { id, is_used }));
        }
        Standing::Pending(approval) => (approval.subject, approval.id),
        Standing::Missing(needed) => (needed.subject().to_owned(), needed.ask(store, loaded).await?),
    };
    let question = format!("{subject} in one go, more than {limit}: approve it?");
    let Some(yes) = confirm(&question) else { return Err(refusal(&subject, limit, &id)) };
    let by = who();
    if !store.answer_approval(&id, yes, &by, "answered at the terminal").await? {
        return Err(CommandError::refused(format!("approval {id} was answered elsewhere, or took too long")));
    }
    if !yes {
        return Err(CommandError::refused("not started: the approval was denied"));
    }
    loaded.approved = Some(amount);
    Ok(Some(Given { id, is_used: false }))
}

impl Given {
    /// Uses it up for this job.
    pub async fn use_up(self, store: &Store, job: &str) -> Result<(), CommandError> {
        if self.is_used || store.use_approval(&self.id, job).await? {
            tracing::info!(approval = %self.id, job, "a job starts with its approval");
            return Ok(());
        }
        Err(CommandError::refused(format!("approval {} was used by another job meanwhile", self.id)))
    }
}

/// Who answers here.
#[must_use]
pub fn who() -> String {
    ["USER", "USERNAME", "LOGNAME"]
        .iter()
        .find_map(|name| system_env(name).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "the owner of the data folder".to_owned())
}
