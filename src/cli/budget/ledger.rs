//! `empire budget ledger`.

use clap::Args;

use super::super::{Context, terminal};
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::text::{self, Lean};

#[derive(Debug, Args)]
pub(in crate::cli) struct LedgerArgs {
    /// Only this job's: its id, a unique beginning of it, or its name.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// How many, the newest first.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// The money of simulated runs.
    #[arg(long)]
    sim: bool,
}

pub(super) async fn ledger(context: &Context, args: LedgerArgs) -> Result<Exit, CommandError> {
    let store = super::watch(context, args.sim).await?;
    let job = match &args.job {
        Some(wanted) => Some(store.find_job(wanted).await?.id),
        None => None,
    };
    let lines = store.ledger_lines(job.as_deref(), args.limit).await?;
    store.close().await?;
    if context.json {
        return terminal::print_json(&lines).map(|()| Exit::Done);
    }
    if lines.is_empty() {
        say("nothing was paid yet: free calls are not in the ledger");
        return Ok(Exit::Done);
    }
    use Lean::{Left, Right};
    let header = ["CALL", "STATE", "RESERVED", "BILLED", "PROVIDER", "FOR", "JOB", "ITEM", "MADE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|line| {
        let child = line.child.as_ref().map(|child| format!("/{child}")).unwrap_or_default();
        vec![
            line.hold.to_string(),
            line.state.clone(),
            line.reserved.to_string(),
            line.billed.map_or_else(|| "-".to_owned(), |billed| billed.to_string()),
            line.provider.clone(),
            text::one_line(&line.model, 32),
            text::one_line(&format!("{}{child}", line.job), 48),
            text::item(line.item),
            line.at.to_string(),
        ]
    }));
    terminal::print(&text::table(&[Right, Left, Right, Right, Left, Left, Left, Right, Left], &rows))?;
    Ok(Exit::Done)
}
