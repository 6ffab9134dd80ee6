//! `empire policy`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, Subcommand};
use empire_actors::kernel::policies::PolicyPatch;
use empire_actors::money::Micros;
use serde_json::{Value, json};

use super::super::duration;
use super::super::{Context, terminal};
use super::offline::{self, Change};
use super::{Where, look, millis, path_query, simulate};
use crate::control::shapes::{FieldChange, PolicyAsked, PolicyChanged, PolicyResetAsked, PolicyShown};
use crate::control::{changes, policy_source};
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::text::{self, Lean};

/// Fields that are numbers; the others are words and times.
const NUMBERS: [&str; 3] = ["intensity", "backoff_factor", "backoff_jitter"];

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Policy {
    /// Show the policy that is in force at an actor, and where it is from.
    Get(look::PathArgs),
    /// Change fields of a policy, live: it counts from the next failure on, and survives restarts of
    /// the program.
    Set(SetArgs),
    /// Show where a policy differs from what the program alone says.
    Diff(look::PathArgs),
    /// Take back what was said with `set`.
    Reset(ResetArgs),
    /// Replay recorded exits, and say what would be decided about each.
    Simulate(simulate::SimulateArgs),
}

/// What any change takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ChangeArgs {
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would change and whom that reaches, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only if the policy there is still this version, as `get` shows it.
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    #[command(flatten)]
    place: Where,
}

impl ChangeArgs {
    /// A look needs none.
    fn reason(&self) -> Result<String, CommandError> {
        match &self.reason {
            Some(reason) if !reason.trim().is_empty() => Ok(reason.clone()),
            _ if self.dry_run => Ok("a dry run".to_owned()),
            _ => Err(CommandError::bad_input(
                "a change of a policy needs a reason, for who reads the journal: --reason TEXT",
            )),
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// The actor; or several, where a segment may end with `*`, as in 'gates/rate-*'.
    #[arg(value_name = "PATH")]
    path: String,
    /// What is to hold, as in supervision.toml: intensity=3 window=1m on_exhausted=quarantine.
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
    /// For how long; until it is taken back if it is not given.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResetArgs {
    /// Exactly what `set` was told.
    #[arg(value_name = "PATH")]
    path: String,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn policy(context: &Context, command: Policy) -> Result<Exit, CommandError> {
    match command {
        Policy::Get(args) => {
            let shown = of(context, args).await?;
            print(context, &shown, || fields(&shown))
        }
        Policy::Diff(args) => {
            let shown = of(context, args).await?;
            let changed = changes(&shown.default, &shown.effective.policy);
            print(context, &changed, || differences(&shown, &changed))
        }
        Policy::Set(args) => set(context, args).await,
        Policy::Reset(args) => reset(context, args).await,
        Policy::Simulate(args) => simulate::simulate(context, args).await,
    }
}

fn print(
    context: &Context,
    value: &impl serde::Serialize,
    words: impl FnOnce() -> String,
) -> Result<Exit, CommandError> {
    if context.json {
        terminal::print_json(value)?;
    } else {
        terminal::print(&words())?;
    }
    Ok(Exit::Done)
}

async fn of(context: &Context, args: look::PathArgs) -> Result<PolicyShown, CommandError> {
    match args.place.running_to_ask(context)? {
        Some(client) => {
            Ok(client.get("/v1/policy", &path_query(args.path.as_deref()), Duration::ZERO).await?)
        }
        None => {
            say("nothing runs: this is what will be in force from the next start on");
            offline::policy(context, args.place, args.path.as_deref()).await
        }
    }
}

fn fields(shown: &PolicyShown) -> String {
    // As the file names them: what differs from a policy that nothing is like.
    let policy = serde_json::to_value(shown.effective.policy).unwrap_or_default();
    let mut rows = Vec::new();
    for (name, value) in policy.as_object().into_iter().flatten() {
        match value {
            Value::Object(parts) => {
                rows.extend(parts.iter().map(|(part, value)| vec![format!("{name}_{part}"), plain(value)]));
            }
            value => rows.push(vec![name.clone(), plain(value)]),
        }
    }
    let table = text::table(&[Lean::Left, Lean::Left], &rows);
    format!(
        "{}, version {}: {}\n{table}",
        shown.path,
        shown.effective.version,
        policy_source(&shown.effective)
    )
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn differences(shown: &PolicyShown, changed: &[FieldChange]) -> String {
    if changed.is_empty() {
        return format!("{}: as the program has it\n", shown.path);
    }
    format!("{}: {}\n{}", shown.path, policy_source(&shown.effective), table(changed))
}

fn table(changed: &[FieldChange]) -> String {
    let row = |change: &FieldChange| {
        vec![change.field.clone(), change.from.clone(), "→".to_owned(), change.to.clone()]
    };
    text::table(&[Lean::Left; 4], &changed.iter().map(row).collect::<Vec<_>>())
}

async fn set(context: &Context, args: SetArgs) -> Result<Exit, CommandError> {
    let SetArgs { path, fields, expires, change } = args;
    let (patch, reason) = (patch(&fields)?, change.reason()?);
    let expires_ms = expires.map(millis);
    let changed = match change.place.running(context)? {
        Some(client) => {
            let asked = PolicyAsked { path, patch, reason, expires_ms, dry_run: change.dry_run };
            client.post("/v1/policy/set", &asked, change.if_version, Duration::from_secs(30)).await?
        }
        None => {
            let ChangeArgs { dry_run, if_version, place, .. } = change;
            let said = Change { path, patch: Some(patch), expires_ms, reason, dry_run, if_version };
            offline::change(context, place, said).await?
        }
    };
    print(context, &changed, || told(&changed, change.dry_run))
}

async fn reset(context: &Context, args: ResetArgs) -> Result<Exit, CommandError> {
    let ResetArgs { path, change } = args;
    let reason = change.reason()?;
    let changed = match change.place.running(context)? {
        Some(client) => {
            let asked = PolicyResetAsked { path, reason, dry_run: change.dry_run };
            client.post("/v1/policy/reset", &asked, change.if_version, Duration::from_secs(30)).await?
        }
        None => {
            let ChangeArgs { dry_run, if_version, place, .. } = change;
            let said = Change { path, patch: None, expires_ms: None, reason, dry_run, if_version };
            offline::change(context, place, said).await?
        }
    };
    print(context, &changed, || told(&changed, change.dry_run))
}

/// What became of a policy, or would.
fn told(changed: &PolicyChanged, dry_run: bool) -> String {
    let when = match (dry_run, changed.in_force) {
        (true, _) => "a dry run: nothing was changed",
        (false, true) => "in force from the next failure on",
        (false, false) => "nothing runs: in force from the next start on",
    };
    let mut words = format!("{}: {when}\n", changed.path);
    words.push_str(&format!("  policy: {}\n", policy_source(&changed.effective)));
    if changed.changes.is_empty() {
        words.push_str("  no field changes\n");
    }
    words.push_str(&table(&changed.changes));
    if let Some(reach) = changed.reaches.as_ref().filter(|_| dry_run) {
        words.push_str(&format!(
            "  it would reach {} ({}), {} with {} in flight, and {} set aside for them\n",
            text::count(reach.actors, "actor"),
            reach.nodes.join(", "),
            text::count(reach.agents, "agent"),
            text::count(reach.calls_in_flight, "call"),
            text::money(Micros(reach.reserved_micro_usd)),
        ));
    }
    words
}

/// `FIELD=VALUE` as a patch.
fn patch(fields: &[String]) -> Result<PolicyPatch, CommandError> {
    let mut patch = PolicyPatch::default();
    let mut said = BTreeSet::new();
    for field in fields {
        let (name, value) = field.split_once('=').ok_or_else(|| {
            CommandError::bad_input(format!("`{field}` says nothing: write FIELD=VALUE, like intensity=3"))
        })?;
        let (name, value) = (name.trim(), value.trim());
        let value = if NUMBERS.contains(&name) {
            serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))
        } else {
            Value::from(value)
        };
        if !said.insert(name) {
            return Err(CommandError::bad_input(format!("`{name}` is said twice")));
        }
        let one: PolicyPatch = serde_json::from_value(json!({ name: value }))
            .map_err(|error| CommandError::bad_input(format!("`{field}`: {error}")))?;
        patch = patch.under(&one);
    }
    patch.check().map_err(CommandError::bad_input)?;
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use empire_actors::kernel::policy::OnExhausted;

    use super::*;

    fn read(fields: &[&str]) -> Result<PolicyPatch, String> {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        patch(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_written_as_in_the_file() {
        let patch =
            read(&["intensity=3", "window=1m", "on_exhausted=quarantine", "backoff_jitter=0.5"]).unwrap();
        assert_eq!((patch.intensity, patch.window), (Some(3), Some(Duration::from_secs(60))));
        assert_eq!((patch.on_exhausted, patch.backoff_jitter), (Some(OnExhausted::Quarantine), Some(0.5)));
        for (fields, part) in [
            (&["intensity"][..], "write FIELD=VALUE"),
            (&["intensity=3", "intensity=4"], "said twice"),
            (&["windows=1m"], "unknown field `windows`"),
            (&["intensity=many"], "invalid type"),
            (&["backoff_factor=0.5"], "`backoff_factor` is 0.5"),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
