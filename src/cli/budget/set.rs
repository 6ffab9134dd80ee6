//! `empire budget set SCOPE AMOUNT`.

use clap::Args;
use empire_actors::gates::scope::Scope;
use empire_actors::money::Micros;

use super::super::{Context, terminal};
use crate::config::Config;
use crate::job::Role;
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::store::{Store, read_scope_word, scope_word};

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// Which cap: total, month, day, provider:NAME, role:NAME or job:ID.
    #[arg(value_name = "SCOPE")]
    scope: String,
    /// The most that may be spent there (`5`, `5 EUR`), `none` for no cap, or `default` for the
    /// configured one.
    #[arg(value_name = "AMOUNT")]
    amount: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The money of simulated runs.
    #[arg(long)]
    sim: bool,
}

pub(super) async fn set(context: &Context, args: SetArgs) -> Result<Exit, CommandError> {
    let config = context.place.load_config()?;
    let cap = cap(&args.amount, &config)?;
    let store = super::watch(context, args.sim).await?;
    let scope = scope(&args.scope, &config, &store).await?;
    store.set_cap(&scope, cap, &args.reason).await?;
    store.close().await?;
    let word = scope_word(&scope).unwrap_or_default();
    let words = match cap {
        None => "the configured one".to_owned(),
        Some(None) => "no cap".to_owned(),
        Some(Some(cap)) => cap.to_string(),
    };
    say(&format!("{word}: {words}"));
    if context.json {
        terminal::print_json(&serde_json::json!({
            "scope": word, "cap_micros": cap.flatten(), "is_default": cap.is_none(), "reason": args.reason,
        }))?;
    }
    Ok(Exit::Done)
}

/// `None` takes an override back, `Some(None)` is no cap.
fn cap(text: &str, config: &Config) -> Result<Option<Option<Micros>>, CommandError> {
    match text.trim() {
        "default" => Ok(None),
        "none" => Ok(Some(None)),
        text => config.budget.euro.read(text).map(|cap| Some(Some(cap))).map_err(|error| {
            CommandError::bad_input(format!(
                "AMOUNT: {error}; it may also be euros, like \"0.50 EUR\", or `none` or `default`"
            ))
        }),
    }
}

async fn scope(word: &str, config: &Config, store: &Store) -> Result<Scope, CommandError> {
    let scope = read_scope_word(word.trim()).ok_or_else(|| {
        CommandError::bad_input(format!(
            "SCOPE: `{word}` has no cap: name total, month, day, provider:NAME, role:NAME or job:ID"
        ))
    })?;
    match &scope {
        Scope::Provider(provider) => {
            let sells = config.actions.values().map(|action| &action.provider);
            let mut known = config.providers.keys().chain(sells).collect::<Vec<_>>();
            known.sort();
            known.dedup();
            if !known.contains(&provider) {
                let names = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(CommandError::bad_input(format!(
                    "SCOPE: there is no provider `{provider}`: name one of {names}"
                )));
            }
        }
        Scope::Role(role) if !Role::ALL.iter().any(|known| known.as_str() == &**role) => {
            let names = Role::ALL.map(Role::as_str).join(", ");
            return Err(CommandError::bad_input(format!(
                "SCOPE: there is no role `{role}`: name one of {names}"
            )));
        }
        Scope::Job(job) => return Ok(Scope::Job(store.find_job(job).await?.id.into())),
        _ => {}
    }
    Ok(scope)
}
