//! `empire budget reconcile`.

use std::sync::Arc;

use clap::Args;
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use serde::Serialize;

use super::super::{Context, terminal};
use crate::config::{Config, ProviderSetting};
use crate::providers::{Clients, balance};
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::Simulated;
use crate::run::reconcile::{Verdict, compare, share, taken};
use crate::run::system::SystemClock;
use crate::store::{Baseline, SinceBaseline, Store};
use crate::text;

#[derive(Debug, Args)]
pub(in crate::cli) struct ReconcileArgs {
    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Bill calls of unknown outcome at what the balance says they cost. Audited.
    #[arg(long)]
    settle: bool,
    /// Take the balance as it is now for the baseline, after money was paid in. Calls of unknown
    /// outcome until now stay billed at their reservation.
    #[arg(long, conflicts_with = "settle")]
    baseline: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The money of simulated runs, against the simulator at this address (http://…).
    #[arg(long, value_name = "URL")]
    sim: Option<String>,
}

/// What came of one provider.
#[derive(Debug, Serialize)]
struct Compared {
    provider: ProviderId,
    balance_micros: i64,
    baseline: Baseline,
    /// Whether the balance was remembered for later, and nothing could be compared yet.
    is_new_baseline: bool,
    taken_micros: i64,
    certain_micros: Micros,
    unknown_calls: usize,
    unknown_micros: Micros,
    unknown_before_micros: Micros,
    #[serde(flatten)]
    verdict: Option<Verdict>,
    settled: bool,
}

pub(super) async fn reconcile(context: &Context, args: ReconcileArgs) -> Result<Exit, CommandError> {
    let mut config = context.place.load_unlocked()?;
    let simulated = match &args.sim {
        Some(url) if !url.starts_with("http") => {
            return Err(CommandError::bad_input(
                "--sim: give the address of the simulator that the runs used, like http://127.0.0.1:11434",
            ));
        }
        Some(url) => Some(Simulated::start(url, &config).await?),
        None => None,
    };
    if let Some(simulated) = &simulated {
        config = config.simulated(simulated.base_url());
    }
    let settings = wanted(&config, args.provider.as_deref())?;
    // With the lock, no call is under way whose money the balance would or would not hold.
    let home = context.place.home_of(simulated.is_some())?;
    let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
    let mut all = Vec::new();
    for setting in settings {
        all.push(one(&store, &setting, &args).await?);
    }
    store.close().await?;
    if context.json {
        terminal::print_json(&all)?;
    } else {
        terminal::print(&all.iter().map(words).collect::<String>())?;
    }
    let is_open = |compared: &Compared| {
        !compared.is_new_baseline
            && match &compared.verdict {
                Some(Verdict::Explained { unexplained, .. }) => {
                    *unexplained > Micros::ZERO || (args.settle && !compared.settled)
                }
                _ => true,
            }
    };
    Ok(if all.iter().any(is_open) { Exit::Refused } else { Exit::Done })
}

/// The providers that tell a balance.
fn wanted(config: &Config, name: Option<&str>) -> Result<Vec<Arc<ProviderSetting>>, CommandError> {
    let tells = |setting: &&Arc<ProviderSetting>| setting.balance.is_some();
    if let Some(name) = name {
        let setting = config.providers.get(&ProviderId::from(name)).filter(tells).cloned();
        return setting.map(|setting| vec![setting]).ok_or_else(|| {
            let known: Vec<_> =
                config.providers.values().filter(tells).map(|setting| setting.spec.id.to_string()).collect();
            CommandError::bad_input(format!(
                "--provider: {name} tells no balance; those that do: {}",
                known.join(", ")
            ))
        });
    }
    let has_key = |setting: &&Arc<ProviderSetting>| setting.key_source.is_none() || setting.key.is_some();
    let all: Vec<_> = config.providers.values().filter(tells).filter(has_key).cloned().collect();
    if all.is_empty() {
        return Err(CommandError::bad_input(
            "no provider with a key tells a balance: set its key, or `balance` under [providers.NAME] in empire.toml",
        ));
    }
    Ok(all)
}

async fn one(
    store: &Store,
    setting: &ProviderSetting,
    args: &ReconcileArgs,
) -> Result<Compared, CommandError> {
    let id = &setting.spec.id;
    let client = Clients::default().client_for(setting)?;
    let asked = balance(setting, &client).await;
    let now = asked
        .map_err(|error| CommandError::refused(format!("{id} does not tell its balance: {error}")))?
        .ok_or_else(|| CommandError::bad_input(format!("{id} tells no balance")))?;
    let known = store.baseline(id).await?.filter(|_| !args.baseline);
    let is_new_baseline = known.is_none();
    if is_new_baseline {
        store.remember_balance(id, now).await?;
    }
    let baseline = match known {
        Some(baseline) => baseline,
        None => store.baseline(id).await?.ok_or_else(|| CommandError::internal("the baseline is gone"))?,
    };
    let since = store.since_baseline(id, &baseline).await?;
    let verdict = (!is_new_baseline).then(|| compare(&baseline, now, &since));
    let settled = match &verdict {
        Some(Verdict::Explained { unknown, .. }) if args.settle => {
            settle(store, id, &since, *unknown, now, &args.reason).await?;
            true
        }
        _ => false,
    };
    Ok(Compared {
        provider: id.clone(),
        balance_micros: now,
        baseline,
        is_new_baseline,
        taken_micros: taken(&baseline, now),
        certain_micros: since.certain,
        unknown_calls: since.unknown.len(),
        unknown_micros: since.unknown.iter().map(|(_, billed)| *billed).sum(),
        unknown_before_micros: since.unknown_before,
        verdict,
        settled,
    })
}

async fn settle(
    store: &Store,
    provider: &ProviderId,
    since: &SinceBaseline,
    cost: Micros,
    balance: i64,
    reason: &str,
) -> Result<(), CommandError> {
    let before: Micros = since.unknown.iter().map(|(_, billed)| *billed).sum();
    let calls = text::count(since.unknown.len() as u64, "unknown call");
    let detail = format!("{calls} billed at {cost} instead of {before}");
    store.reconcile(provider, share(&since.unknown, cost), &detail, reason).await?;
    store.remember_balance(provider, balance).await?;
    Ok(())
}

fn words(compared: &Compared) -> String {
    let signed = |micros: i64| {
        let sign = if micros < 0 { "-" } else { "" };
        format!("{sign}{}", Micros(micros.unsigned_abs()))
    };
    let provider = &compared.provider;
    let mut out = format!("{provider}: {} left in the account\n", signed(compared.balance_micros));
    let mut line = |text: String| out += &format!("  {text}\n");
    if compared.is_new_baseline {
        line("remembered as the baseline: what is spent from now on is compared with it".to_owned());
        return out;
    }
    line(format!(
        "since {}: {} taken; the ledger has {} for certain, and {} for {} of unknown outcome",
        compared.baseline.at,
        signed(compared.taken_micros),
        compared.certain_micros,
        compared.unknown_micros,
        text::count(compared.unknown_calls as u64, "call")
    ));
    match &compared.verdict {
        None => {}
        Some(Verdict::PaidIn) => {
            line("more is left than then: money was paid in. --baseline begins anew from here".to_owned());
        }
        Some(Verdict::Behind) => {
            line(
                "that is less than it counted itself: it has not billed everything yet; try later".to_owned(),
            );
        }
        Some(Verdict::Explained { unknown, unexplained }) => {
            if compared.unknown_calls > 0 {
                let done = if compared.settled { "are billed at that now" } else { "--settle bills them so" };
                line(format!("so the calls of unknown outcome cost {unknown}: {done}"));
            }
            if *unexplained > Micros::ZERO {
                line(format!(
                    "{unexplained} more were taken than the ledger knows of: somebody else uses the account"
                ));
            }
        }
    }
    if compared.unknown_before_micros > Micros::ZERO {
        line(format!(
            "{} for calls of unknown outcome from before stay billed",
            compared.unknown_before_micros
        ));
    }
    out
}
