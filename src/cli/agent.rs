//! `empire swarm agent JOB ITEM`.

use std::time::Duration;

use clap::Args;
use empire_actors::kernel::sight::AgentView;
use empire_actors::ports::{ResultRecord, Verdict};
use serde_json::json;

use super::privacy::explain::{self, Known};
use super::status::{Found, find};
use super::{Context, terminal};
use crate::control::client::{Client, ClientError};
use crate::control::shapes::AgentShown;
use crate::run::error::{CommandError, Exit};
use crate::store::Job;
use crate::text;

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// The job's id, a unique beginning of it, or its name.
    #[arg(value_name = "JOB")]
    job: String,
    /// The item's number, from 1, as the results have it.
    #[arg(value_name = "ITEM", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    item: u32,
}

pub(super) async fn agent(context: &Context, args: AgentArgs) -> Result<Exit, CommandError> {
    let Found { store, home, job } = find(context, &args.job).await?;
    if u64::from(args.item) > job.counts.items {
        return Err(CommandError::bad_input(format!(
            "job {} has items 1 to {}: there is no item {}",
            job.setup.name, job.counts.items, args.item
        )));
    }
    let live = match Client::find(&home) {
        Ok(Some(client)) => live(&client, &job.id, args.item).await?,
        // Nothing runs, or what runs cannot be asked: the store knows what has ended.
        _ => None,
    };
    let known = explain::about(&store, job.id.clone(), args.item - 1).await?;
    if context.json {
        terminal::print_json(&document(&job, args.item, live.as_ref(), &known))?;
    } else {
        terminal::print(&words(&job, args.item, live.as_ref(), &known))?;
    }
    Ok(Exit::Done)
}

/// What it does now, if its job runs there.
async fn live(client: &Client, job: &str, item: u32) -> Result<Option<AgentView>, CommandError> {
    let query = [("job", job.to_owned()), ("item", item.to_string())];
    match client.get::<AgentShown>("/v1/agent", &query, Duration::ZERO).await {
        Ok(shown) => Ok(Some(shown.agent)),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How it is, by what is durable first: a result outlives every run.
fn state(record: Option<&ResultRecord>, live: Option<&AgentView>) -> String {
    match (record.map(|record| &record.verdict), live) {
        (Some(Verdict::Done(_)), _) => "done".to_owned(),
        (Some(Verdict::Dead(why)), _) => format!("dead: {}", text::one_line(why, 200)),
        (None, Some(live)) => live.state.words().to_owned(),
        (None, None) => "pending, and nothing works on it now".to_owned(),
    }
}

fn document(job: &Job, item: u32, live: Option<&AgentView>, known: &Known) -> serde_json::Value {
    let record = known.record.as_ref();
    json!({
        "job": job.id, "item": item, "state": state(record, live),
        "live": live.map(|live| json!({"state": live.state, "cohort": live.cohort, "call": live.call})),
        "ended_at": record.map(|record| record.at.to_string()),
        "ms": record.map(|record| record.ms),
        "calls": record.map(|record| record.calls),
        "cost_micros": record.map(|record| record.cost),
        "usage": record.map(|record| record.usage),
        "redactions": record.map(|record| record.redactions),
        "packed": record.map(|record| record.packed),
        "same_as_item": record.map(|record| record.item + 1).filter(|first| *first != item),
        "row_level": known.own_level,
        "tries": record.map(|record| &record.tries),
        "served_by": known.served_by.map(|served| served + 1),
        "decisions": known.decisions,
    })
}

fn words(job: &Job, item: u32, live: Option<&AgentView>, known: &Known) -> String {
    let record = known.record.as_ref();
    let mut lines = vec![
        format!(
            "item {item} of {} {}{}",
            job.setup.name,
            job.id,
            if job.simulated { "  SIMULATED" } else { "" }
        ),
        format!("  state       {}", state(record, live)),
    ];
    if let Some(live) = live {
        lines.push(format!("  cohort      cohort-{} of this run", live.cohort));
        if let Some(call) = &live.call {
            let lasts = text::duration(Duration::from_millis(call.for_ms));
            lines.push(format!("  call        {} at {}, for {lasts}", call.model, call.provider));
        }
    }
    if let Some(level) = known.own_level {
        lines.push(format!("  level       its row is {level}"));
    }
    if let Some(record) = record {
        let took = text::duration(Duration::from_millis(record.ms.into()));
        lines.push(format!("  ended       {}, {took} after its first call began", record.at));
        lines.push(format!(
            "  cost        {} for {}",
            text::money(record.cost),
            text::count(record.calls.into(), "call")
        ));
        let tokens = format!(
            "{} tokens in, {} out",
            text::thousands(record.usage.total_input()),
            text::thousands(record.usage.output)
        );
        let shared = if record.packed > 1 {
            format!(", its part of a call for {} items", record.packed)
        } else {
            String::new()
        };
        lines.push(format!("  usage       {tokens}{shared}"));
        if record.item + 1 != item {
            lines.push(format!("  equal to    item {}, whose result this is", record.item + 1));
        }
        lines.push(format!("  redactions  {}", text::count(record.redactions.into(), "value")));
        for tried in &record.tries {
            let took = text::duration(Duration::from_millis(tried.ms.into()));
            lines.push(format!("  tried       {}: {} ({took})", tried.model, explain::outcome(tried)));
        }
    }
    if let Some(served) = known.served_by {
        lines.push(format!("  served by   the call of item {}", served + 1));
    }
    for made in &known.decisions {
        lines.push(format!("  privacy     {}", explain::decision(made).replace('\n', "\n            ")));
    }
    lines.join("\n") + "\n"
}
