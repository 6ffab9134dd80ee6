//! What `run` and `resume` ask about money before they start: caps set by hand, approvals.

use empire_actors::money::Micros;

use super::terminal;
use crate::config::system_env;
use crate::plan::Plan;
use crate::run::approval::{Standing, exposure, refusal, standing};
use crate::run::caps::job_cap;
use crate::run::error::CommandError;
use crate::run::prepare::Loaded;
use crate::run::progress::say;
use crate::store::Store;

/// A cap that was set by hand for this job takes the place of its budget.
pub(super) async fn take_up_job_cap(
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
pub(super) struct Given {
    id: String,
    is_used: bool,
}

/// Makes sure that a job which may spend much in one go has an approval: one that was given, or
/// one that the person at the terminal gives now. Where nobody can be asked, or `--yes` says not
/// to ask, it is put on record and the job is refused.
pub(super) async fn approve(
    store: &Store,
    loaded: &mut Loaded,
    input: &str,
    job: Option<&str>,
    amount: Micros,
    ask: bool,
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
    let answer = if ask { terminal::confirm(&question) } else { None };
    let Some(yes) = answer else { return Err(refusal(&subject, limit, &id)) };
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
    pub(super) async fn use_up(self, store: &Store, job: &str) -> Result<(), CommandError> {
        if self.is_used || store.use_approval(&self.id, job).await? {
            tracing::info!(approval = %self.id, job, "a job starts with its approval");
            return Ok(());
        }
        Err(CommandError::refused(format!("approval {} was used by another job meanwhile", self.id)))
    }
}

/// A sample is spent without a plan of its own: it must stay below what needs an approval.
pub(super) fn check_sample(plan: &Plan, loaded: &Loaded, size: u32) -> Result<(), CommandError> {
    let Some(limit) = loaded.config.budget.approval_above else { return Ok(()) };
    let whole = u128::from(exposure(plan).0);
    let of_sample = whole * u128::from(size) / u128::from(plan.pending.max(1));
    if of_sample > u128::from(limit.0) {
        return Err(CommandError::refused(format!(
            "a sample of {size} may cost more than {limit} in one go: take a smaller one"
        )));
    }
    Ok(())
}

/// Who answers here.
pub(super) fn who() -> String {
    ["USER", "USERNAME", "LOGNAME"]
        .iter()
        .find_map(|name| system_env(name).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "the owner of the data folder".to_owned())
}
