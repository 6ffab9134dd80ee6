//! What can be said of actors where no process runs: the journal, and the policies that will be in
//! force at the next start.

use std::sync::Arc;

use empire_actors::house::nodes;
use empire_actors::kernel::journal::{Entry, Event};
use empire_actors::kernel::policies::{Override, Policies, PolicyPatch, matches};
use empire_actors::kernel::tree::{NodeKind, ROOT};
use empire_actors::ports::{UnixMillis, WallClock};

use super::super::Context;
use super::Where;
use crate::control::shapes::{Explained, PolicyChanged, PolicyShown, Told};
use crate::control::{
    changes, checked_expiry, effective_without_tree, full_path, needed_reason, owners_name, refuse_idle,
};
use crate::home::Home;
use crate::run::error::CommandError;
use crate::run::house::privacy_workers;
use crate::run::supervision::file_layer;
use crate::run::system::SystemClock;
use crate::store::Store;

/// The data folder that is meant, and its store: that of the running process, if there is one.
async fn store(context: &Context, place: Where) -> Result<(Home, Store), CommandError> {
    let mut home = context.place.home_of(place.sim)?;
    for other in place.homes(context)? {
        if other.locked_by()?.is_some() {
            home = other;
            break;
        }
    }
    let store = Store::watch(&home, Arc::new(SystemClock)).await?;
    Ok((home, store))
}

pub(super) async fn history(
    context: &Context,
    place: Where,
    path: Option<&str>,
    limit: u32,
) -> Result<Vec<Told>, CommandError> {
    let (_, store) = store(context, place).await?;
    let entries = store.journal(&path.map(full_path).unwrap_or_default(), limit).await?;
    Ok(entries.into_iter().map(Told::from).collect())
}

pub(super) async fn explained(
    context: &Context,
    place: Where,
    path: Option<&str>,
    limit: u32,
) -> Result<Explained, CommandError> {
    let path = full_path(path.unwrap_or_default());
    let entries = history(context, place, Some(&path), limit).await?;
    let words = vec![format!("nothing runs now; what the journal has of {path}:")];
    Ok(Explained { path, words, entries })
}

/// The policies that will be in force at the next start.
pub(super) async fn policies(context: &Context, place: Where) -> Result<Policies, CommandError> {
    let (_, store) = store(context, place).await?;
    read(&store).await
}

async fn read(store: &Store) -> Result<Policies, CommandError> {
    let (said, version) = store.policy_overrides().await?;
    Ok(Policies::new(file_layer(store.dir())?, said, version))
}

pub(super) async fn policy(
    context: &Context,
    place: Where,
    path: Option<&str>,
) -> Result<PolicyShown, CommandError> {
    let path = full_path(path.unwrap_or_default());
    Standing::of(context)?.check(&path)?;
    let policies = policies(context, place).await?;
    Ok(effective_without_tree(&policies, &path, SystemClock.now()))
}

/// The nodes that there will be.
struct Standing(Vec<String>);

impl Standing {
    fn of(context: &Context) -> Result<Standing, CommandError> {
        let config = context.place.load_config()?;
        Ok(Standing(nodes::always(config.providers.keys(), privacy_workers())))
    }

    /// Refuses a path that names nothing: what is said of it would never be in force.
    fn check(&self, path: &str) -> Result<(), CommandError> {
        let job = path.strip_prefix(&format!("{ROOT}/swarm/job-"));
        if let Some(job) = job.filter(|job| !job.contains('*')) {
            // Beginnings of ids are for jobs that run.
            return match job.len() == ID_LENGTH {
                true => Ok(()),
                false => Err(CommandError::bad_input(format!(
                    "nothing runs that {path} could be a beginning of: give the job's whole id, or `{path}*` for all that begin so"
                ))),
            };
        }
        if job.is_some() || self.0.iter().any(|node| matches(path, node)) {
            return Ok(());
        }
        Err(CommandError::bad_input(format!(
            "nothing runs, and {path} is no actor that always is: those are {}; a job is {ROOT}/swarm/job-ID",
            self.0.join(", ")
        )))
    }

    fn kinds(&self) -> impl Iterator<Item = (&str, NodeKind)> {
        let kind = |path: &String| nodes::standing(path).map_or(NodeKind::Actor, |node| node.kind);
        self.0.iter().map(move |path| (path.as_str(), kind(path)))
    }
}

/// Characters of a job's id.
const ID_LENGTH: usize = 36;

/// A change of a policy, from the next start on.
pub(super) struct Change {
    pub(super) path: String,
    /// What is said; nothing takes back what was.
    pub(super) patch: Option<PolicyPatch>,
    pub(super) expires_ms: Option<u64>,
    pub(super) reason: String,
    pub(super) dry_run: bool,
    pub(super) if_version: Option<u64>,
}

pub(super) async fn change(
    context: &Context,
    place: Where,
    change: Change,
) -> Result<PolicyChanged, CommandError> {
    let (home, store) = store(context, place).await?;
    // Whoever starts now waits until this is said.
    let _lock = home.lock_unsigned()?;
    let policies = read(&store).await?;
    let (path, now) = (full_path(&change.path), SystemClock.now());
    let was = effective_without_tree(&policies, &path, now);
    let version = was.effective.version;
    if let Some(expected) = change.if_version.filter(|expected| *expected != version) {
        return Err(CommandError::refused(format!(
            "the policy of {path} is v{version} by now, not v{expected}: look at it again, then change it"
        )));
    }
    if change.patch.is_none() && was.said.is_none() {
        return Err(CommandError::bad_input(format!(
            "nothing was said of exactly {path}: `empire policy get` shows what is in force"
        )));
    }
    let number = policies.version() + 1;
    let by = owners_name();
    let reason = needed_reason(&change.reason)?;
    match &change.patch {
        Some(patch) => {
            let standing = Standing::of(context)?;
            standing.check(&path)?;
            refuse_idle(&path, patch, standing.kinds())?;
            let expires = checked_expiry(change.expires_ms)?;
            let before = was.said.map(|said| said.patch).unwrap_or_default();
            let said = Override {
                path: path.clone(),
                patch: before.under(patch),
                version: number,
                by: by.clone(),
                reason: reason.clone(),
                at: now,
                expires_at: expires.map(|expires| expires.after(now)),
            };
            policies.say(said.clone());
            if !change.dry_run {
                let says = serde_json::to_string(&said.patch).ok();
                store.say_policy(said).await?;
                store.enter(entry(&path, now, by, reason, says, number)).await?;
            }
        }
        None => {
            policies.unsay(&path, number);
            if !change.dry_run {
                store.unsay_policy(&path, number).await?;
                store.enter(entry(&path, now, by, reason, None, number)).await?;
            }
        }
    }
    let is = effective_without_tree(&policies, &path, now);
    Ok(PolicyChanged {
        path,
        in_force: false,
        changes: changes(&was.effective.policy, &is.effective.policy),
        effective: is.effective,
        reaches: None,
    })
}

fn entry(
    path: &str,
    at: UnixMillis,
    by: String,
    reason: String,
    says: Option<String>,
    version: u64,
) -> Entry {
    Entry { at, path: path.to_owned(), event: Event::Policy { by, reason, says, version } }
}
