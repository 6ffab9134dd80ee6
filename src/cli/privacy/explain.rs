//! `empire privacy explain`.

use std::fmt::Write;

use clap::Args;
use empire_actors::gates::audit::Act;
use empire_actors::level::Level;
use empire_actors::ports::{ResultRecord, Try, TryOutcome};
use serde_json::json;

use super::super::status::{Found, find};
use super::super::{Context, budget, terminal};
use crate::run::error::{CommandError, Exit};
use crate::store::{LedgerLine, Store, StoredDecision};
use crate::text;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// A call's number, as `empire budget ledger` shows it, or an agent as JOB/ITEM: the job's id, a
    /// unique beginning of it or its name, and the item's number.
    #[arg(value_name = "CALL")]
    call: String,
    /// A call of a simulated run.
    #[arg(long)]
    sim: bool,
}

/// What is known about what was asked for.
struct Known {
    /// The call, where one was named.
    call: Option<LedgerLine>,
    job: String,
    item: u32,
    decisions: Vec<StoredDecision>,
    /// The level of the item's row, where it carries one.
    own_level: Option<Level>,
    record: Option<ResultRecord>,
}

pub(super) async fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let known = match (args.call.parse::<u64>(), args.call.rsplit_once('/')) {
        (Ok(number), _) => of_call(context, number, args.sim).await?,
        (Err(_), Some((job, item))) => of_agent(context, job, item).await?,
        (Err(_), None) => {
            return Err(CommandError::bad_input(format!(
                "`{}` names no call: give a number of `empire budget ledger`, or JOB/ITEM",
                args.call
            )));
        }
    };
    if context.json {
        let Known { call, job, item, decisions, own_level, record } = &known;
        let tries = record.as_ref().map(|record| &record.tries);
        terminal::print_json(&json!({
            "job": job, "item": item, "call": call, "row_level": own_level, "decisions": decisions, "tries": tries,
        }))?;
    } else {
        terminal::print(&words(&known))?;
    }
    Ok(Exit::Done)
}

async fn of_call(context: &Context, number: u64, sim: bool) -> Result<Known, CommandError> {
    let store = budget::watch(context, sim).await?;
    if let Some(call) = store.ledger_line(number).await? {
        let (job, item) = (call.job.clone(), call.item);
        let mut known = about(&store, job, item).await?;
        // An agent makes its calls one after another: the last decision before the reservation is
        // the one that it was made on.
        known.decisions.retain(|made| made.provider == call.provider && made.at <= call.at);
        known.decisions.drain(..known.decisions.len().saturating_sub(1));
        known.call = Some(call);
        return Ok(known);
    }
    Err(CommandError::bad_input(format!(
        "there is no call {number} in the ledger of {} runs: `empire budget ledger{}` lists them; free calls are found as JOB/ITEM",
        if sim { "simulated" } else { "real" },
        if sim { " --sim" } else { "" },
    )))
}

async fn of_agent(context: &Context, job: &str, item: &str) -> Result<Known, CommandError> {
    let item: u32 = item.parse().map_err(|_| {
        CommandError::bad_input(format!("`{item}` is no item's number: write JOB/ITEM, like words/17"))
    })?;
    let Found { store, job, .. } = find(context, job).await?;
    if u64::from(item) >= job.counts.items {
        return Err(CommandError::bad_input(format!(
            "job {} has {} items, from 0: there is no item {item}",
            job.setup.name, job.counts.items
        )));
    }
    about(&store, job.id, item).await
}

async fn about(store: &Store, job: String, item: u32) -> Result<Known, CommandError> {
    let decisions = store.decisions(&job, item).await?;
    let (own_level, record) = store.result_of(&job, item).await?.unwrap_or_default();
    Ok(Known { call: None, job, item, decisions, own_level, record })
}

fn words(known: &Known) -> String {
    let mut out = String::new();
    let level = known.own_level.map_or_else(String::new, |level| format!(", its row is {level}"));
    match &known.call {
        Some(call) => line(
            &mut out,
            &format!(
                "call {} of item {} of job {}{level}: {}, {} at {}",
                call.hold,
                known.item,
                known.job,
                call.state,
                text::one_line(&call.model, 64),
                call.provider
            ),
        ),
        None => line(&mut out, &format!("item {} of job {}{level}", known.item, known.job)),
    }
    for made in &known.decisions {
        line(&mut out, &decision(made));
    }
    if known.decisions.is_empty() {
        line(
            &mut out,
            "no decision is recorded: nothing was to leave the zones 1 and 2, whose calls are not looked at",
        );
    }
    if let (None, Some(record)) = (&known.call, &known.record) {
        for tried in &record.tries {
            line(&mut out, &format!("  tried {}: {}", tried.model, outcome(tried)));
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{text}");
}

fn decision(made: &StoredDecision) -> String {
    let what = match &made.act {
        Act::Allow => "may leave as it is".to_owned(),
        Act::Redact { values: 1 } => "may leave without 1 value, which was cut out".to_owned(),
        Act::Redact { values } => format!("may leave without {values} values, which were cut out"),
        Act::Deny { reason } => format!("may not leave: {reason}"),
    };
    let level = if made.level == made.declared {
        format!("{} as declared", made.level)
    } else {
        format!("declared {}, found to be {}", made.declared, made.level)
    };
    let mut text = format!(
        "{} to {} ({}) in {}: {what}\n  level: {level}; {} admits up to {}\n",
        budget::time(made.at),
        made.provider,
        text::one_line(&made.model, 64),
        made.zone,
        made.zone,
        made.zone.ceiling(),
    );
    let found: Vec<String> = made.found.iter().map(|(rule, times)| format!("{rule} ({times})")).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    text.push_str(&format!(
        "  rules that found something: {found}\n  content (salted hash): {}",
        made.content
    ));
    text
}

fn outcome(tried: &Try) -> String {
    match &tried.outcome {
        TryOutcome::Answered => "answered".to_owned(),
        TryOutcome::Rejected { why } => format!("the answer failed its check: {why}"),
        TryOutcome::Failed { kind, why } => format!("{}: {why}", kind.words()),
        TryOutcome::Refused { why } => format!("not sent: {why}"),
        TryOutcome::Cached => "not sent: its answer was kept".to_owned(),
        TryOutcome::Joined { failed: None } => "not sent: the same call of another answered".to_owned(),
        TryOutcome::Joined { failed: Some(why) } => format!("not sent: the same call of another: {why}"),
        TryOutcome::Crossed { from, to } => format!("went from {from} to {to}"),
    }
}
