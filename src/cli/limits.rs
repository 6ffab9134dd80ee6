//! `empire limits`: what each provider still allows, who waits for it, and when the next call may
//! go.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::lane::Lane;
use empire_actors::gates::meter::Now;
use empire_actors::ports::{UnixMillis, WallClock};
use serde_json::{Value, json};

use super::{Context, terminal};
use crate::home::Home;
use crate::run::error::{CommandError, Exit};
use crate::run::limits::{self, ShownLane};
use crate::run::system::SystemClock;
use crate::store::{LedgerScope, Store};
use crate::text::{self, Lean};

/// What is older comes from a process that no longer runs.
const FRESH: Duration = Duration::from_secs(10);
/// How far back a lane remembers.
const DAY_MILLIS: i64 = 86_400_000;

pub(super) async fn limits(context: &Context) -> Result<Exit, CommandError> {
    let mut all = vec![of_home(context, &context.place.home, false).await?];
    // Simulated limits are of interest only while somebody runs into them.
    if context.place.home.dir().join("sim").is_dir() {
        let home = context.place.home_of(true)?;
        all.extend(running(&home, true)?);
    }
    if context.json {
        return terminal::print_json(&all).map(|()| Exit::Done);
    }
    terminal::print(&all.iter().map(shown).collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Done)
}

async fn of_home(context: &Context, home: &Home, simulated: bool) -> Result<Value, CommandError> {
    match running(home, simulated)? {
        Some(running) => Ok(running),
        None => from_ledger(context, home).await,
    }
}

/// What a process that runs in this data folder says.
fn running(home: &Home, simulated: bool) -> Result<Option<Value>, CommandError> {
    let Some((mut written, age)) = limits::read(home.dir()).filter(|(_, age)| *age <= FRESH) else {
        return Ok(None);
    };
    let process = written["process"].as_u64().and_then(|process| u32::try_from(process).ok());
    if process.is_none() || home.locked_by()? != process {
        return Ok(None);
    }
    let providers = written["providers"].take();
    Ok(Some(json!({
        "source": "running",
        "simulated": simulated,
        "job": written["job"],
        "age_seconds": age.as_secs_f64(),
        "providers": providers,
    })))
}

/// What the ledger says was used, against the configuration.
async fn from_ledger(context: &Context, home: &Home) -> Result<Value, CommandError> {
    let config = context.place.load_config()?;
    let store = Store::watch(home, Arc::new(SystemClock)).await?;
    let ledger = store.ledger(LedgerScope::All);
    let now = Now { running: Duration::ZERO, wall: SystemClock.now() };
    let mut providers = Vec::new();
    for (id, setting) in &config.providers {
        let past = ledger.sent_since(id, UnixMillis(now.wall.0 - DAY_MILLIS)).await?;
        let lane = Lane::<()>::new(Arc::new(setting.spec.clone()), past, now).read(now);
        providers.push(ShownLane { provider: id.clone(), lane });
    }
    let providers = serde_json::to_value(providers).map_err(CommandError::internal)?;
    Ok(json!({ "source": "ledger", "simulated": false, "providers": providers }))
}

fn shown(all: &Value) -> String {
    let mut lines = match all["source"].as_str() {
        Some("running") => format!(
            "job {}{}, as of {:.1} s ago\n",
            text_of(&all["job"]),
            if all["simulated"] == true { " (SIMULATED)" } else { "" },
            all["age_seconds"].as_f64().unwrap_or_default(),
        ),
        _ => "nothing runs: what the ledger has of the last day\n".to_owned(),
    };
    let header = ["PROVIDER", "METER", "USED", "LIMIT", "FREE IN", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for provider in list(&all["providers"]) {
        rows.extend(meters(provider));
    }
    use Lean::{Left, Right};
    lines.push_str(&text::table(&[Left, Left, Right, Right, Right, Left], &rows));
    for provider in list(&all["providers"]) {
        lines.push_str(&standing(provider));
    }
    lines
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The rows of a provider, and of its models that have limits of their own.
fn meters(provider: &Value) -> Vec<Vec<String>> {
    let name = text_of(&provider["provider"]);
    let number = |value: &Value| text::thousands(value.as_u64().unwrap_or_default());
    let mut rows = vec![vec![
        name.to_owned(),
        "calls in flight".to_owned(),
        number(&provider["in_flight"]),
        number(&provider["concurrency"]),
        String::new(),
        String::new(),
    ]];
    let mut push = |of: &str, gauge: &Value| {
        let remark = match (gauge["learnt"].as_bool(), gauge["configured"].as_u64()) {
            (Some(true), Some(configured)) => {
                format!("the vendor's word; configured {}", text::thousands(configured))
            }
            (Some(true), None) => "the vendor's word".to_owned(),
            _ => String::new(),
        };
        let is_full = gauge["used"].as_u64() >= gauge["limit"].as_u64();
        let frees_in = gauge["frees_in"].as_f64().filter(|_| is_full);
        rows.push(vec![
            of.to_owned(),
            text_of(&gauge["meter"]).replace('_', " "),
            number(&gauge["used"]),
            number(&gauge["limit"]),
            frees_in.map_or_else(|| "now".to_owned(), seconds),
            remark,
        ]);
    };
    list(&provider["gauges"]).for_each(|gauge| push(name, gauge));
    for model in list(&provider["models"]) {
        let of = format!("{name} {}", text_of(&model["model"]));
        list(&model["gauges"]).for_each(|gauge| push(&of, gauge));
    }
    rows
}

fn seconds(seconds: f64) -> String {
    text::duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9).ceil()))
}

/// Who waits, for what, and what is closed; nothing if there is nothing to say.
fn standing(provider: &Value) -> String {
    let name = text_of(&provider["provider"]);
    let mut lines = String::new();
    let waiting = provider["waiting"].as_u64().unwrap_or_default();
    if waiting > 0 {
        let by_class: Vec<String> = ["interactive", "normal", "batch"]
            .iter()
            .zip(list(&provider["waiting_by_class"]))
            .filter(|(_, count)| count.as_u64() > Some(0))
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        let next = match (provider["next_permit_in"].as_f64(), text_of(&provider["binding"])) {
            (Some(wait), _) => format!("in {}", seconds(wait)),
            (None, "machine") => "when the machine is less pressed".to_owned(),
            (None, _) if provider["breaker"]["state"] == "tripped" => "when somebody has acted".to_owned(),
            (None, _) => "when a call has ended".to_owned(),
        };
        let last = provider["last_promised_in"].as_f64().filter(|wait| *wait > 0.0);
        let last = last.map_or_else(String::new, |wait| {
            format!(", the last in line goes in {} at the earliest", seconds(wait))
        });
        let why = text_of(&provider["binding"]).replace('_', " ");
        lines.push_str(&format!(
            "{name}: {} waiting ({}){}; the next permit comes {next}{last}\n",
            text::thousands(waiting),
            by_class.join(", "),
            if why.is_empty() { String::new() } else { format!(" for {why}") },
        ));
    }
    lines.push_str(&closed(name, &provider["breaker"]));
    for model in list(&provider["models"]) {
        lines.push_str(&closed(&format!("{name} {}", text_of(&model["model"])), &model["breaker"]));
    }
    lines
}

fn closed(of: &str, breaker: &Value) -> String {
    let why = text_of(&breaker["why"]);
    match text_of(&breaker["state"]) {
        "open" => {
            let left = breaker["closed_for"].as_f64().unwrap_or_default();
            format!("{of}: closed for {} ({why})\n", seconds(left))
        }
        "half_open" => format!("{of}: one call probes whether it is open again ({why})\n"),
        "slow_start" => format!("{of}: coming back, {} calls at a time ({why})\n", breaker["width"]),
        "tripped" => {
            let trip = &breaker["tripped"];
            let retry =
                trip["retry_at"].as_i64().map(|at| format!("; it is tried again at {}", UnixMillis(at)));
            format!("{of}: nothing goes: {}{}\n", text_of(&trip["message"]), retry.unwrap_or_default())
        }
        _ => String::new(),
    }
}
