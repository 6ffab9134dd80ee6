//! `empire privacy explain`.

use std::fmt::Write;

use clap::Args;
use empire_actors::gates::audit::Act;
use empire_actors::level::Level;
use empire_actors::ports::{REDUCE_ITEM, ResultRecord, Try, TryOutcome};
use serde_json::json;

use super::super::status::{Found, find};
use super::super::{Context, budget, terminal};
use crate::run::error::{CommandError, Exit};
use crate::store::{LedgerLine, Store, StoredDecision};
use crate::text;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// A call's number, as `empire budget ledger` shows it, or an agent as JOB/ITEM: the job's id, a
    /// unique beginning of it or its name, and the item's number as the results have it, or `reduce`.
    #[arg(value_name = "CALL")]
    call: String,
    /// A call of a simulated run.
    #[arg(long)]
    sim: bool,
}

/// What is known about what was asked for.
pub(in crate::cli) struct Known {
    /// The call, where one was named.
    call: Option<LedgerLine>,
    job: String,
    item: u32,
    /// The item whose call served this one: an equal one, or the first of a pack.
    pub(in crate::cli) served_by: Option<u32>,
    pub(in crate::cli) decisions: Vec<StoredDecision>,
    /// The level of the item's row, where it carries one.
    pub(in crate::cli) own_level: Option<Level>,
    pub(in crate::cli) record: Option<ResultRecord>,
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
        let Known { call, job, item, served_by, decisions, own_level, record } = known;
        let tries = record.map(|record| record.tries);
        terminal::print_json(&json!({
            "job": job, "item": text::item_number(item), "served_by": served_by.map(text::item_number), "call": call,
            "row_level": own_level, "decisions": decisions, "tries": tries,
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
    let Found { store, job, .. } = find(context, job).await?;
    let number = match item {
        "reduce" => REDUCE_ITEM,
        _ => {
            let item: u32 = item.parse().map_err(|_| {
                CommandError::bad_input(format!(
                    "`{item}` is no item's number: write JOB/ITEM, like words/17"
                ))
            })?;
            if item == 0 || u64::from(item) > job.counts.items {
                return Err(CommandError::bad_input(format!(
                    "job {} has items 1 to {}: there is no item {item}",
                    job.setup.name, job.counts.items
                )));
            }
            item - 1
        }
    };
    about(&store, job.id, number).await
}

pub(in crate::cli) async fn about(store: &Store, job: String, item: u32) -> Result<Known, CommandError> {
    let (own_level, record) = store.result_of(&job, item).await?.unwrap_or_default();
    let mut decisions = store.decisions(&job, item).await?;
    let mut served_by = None;
    if let Some(record) = record.as_ref().filter(|_| decisions.is_empty()) {
        // Equal items share the first one's call; the members of a pack share its first item's.
        decisions = store.decisions(&job, record.item).await?;
        served_by = Some(record.item);
        if decisions.is_empty() && record.packed > 1 {
            served_by = store.carrier_before(&job, record.item).await?;
            if let Some(carrier) = served_by {
                decisions = store.decisions(&job, carrier).await?;
            }
        }
    }
    let served_by = served_by.filter(|served| *served != item && !decisions.is_empty());
    Ok(Known { call: None, job, item, served_by, decisions, own_level, record })
}

fn item_words(item: u32) -> String {
    if item == REDUCE_ITEM { "the reduce".to_owned() } else { format!("item {}", text::item(item)) }
}

fn words(known: &Known) -> String {
    let mut out = String::new();
    let level = known.own_level.map_or_else(String::new, |level| format!(", its row is {level}"));
    match &known.call {
        Some(call) => line(
            &mut out,
            &format!(
                "call {} of {} of job {}{level}: {}, {} at {}",
                call.hold,
                item_words(known.item),
                known.job,
                call.state,
                text::one_line(&call.model, 64),
                call.provider
            ),
        ),
        None => line(&mut out, &format!("{} of job {}{level}", item_words(known.item), known.job)),
    }
    if let Some(served_by) = known.served_by {
        line(
            &mut out,
            &format!(
                "the call was made for {}, an equal one or the first of its pack",
                item_words(served_by)
            ),
        );
    }
    for made in &known.decisions {
        line(&mut out, &decision(made));
    }
    if known.decisions.is_empty() {
        line(
            &mut out,
            "no decision is recorded: its calls, if any, went to zones 1 and 2, where levels alone decide",
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

pub(in crate::cli) fn decision(made: &StoredDecision) -> String {
    let what = match &made.act {
        Act::Allow => "may leave as it is".to_owned(),
        Act::Redact { values: 1 } => "may leave without 1 value, which was cut out".to_owned(),
        Act::Redact { values } => format!("may leave without {values} values, which were cut out"),
        Act::Deny { reason } => format!("may not leave: {reason}"),
    };
    let level = if made.level == made.declared {
        format!("{} by the job, its row or the place of its files", made.level)
    } else {
        format!("{} by the job, found to be {}", made.declared, made.level)
    };
    let mut text = format!(
        "{} to {} ({}) in {}: {what}\n  level: {level}; {} admits up to {}\n",
        made.at,
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

pub(in crate::cli) fn outcome(tried: &Try) -> String {
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
