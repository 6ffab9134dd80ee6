//! `empire top --by`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::duration;
use super::super::{Context, terminal};
use super::{Where, millis};
use crate::control::shapes::{Top, TopBy};
use crate::run::error::{CommandError, Exit};
use crate::text::{self, Lean};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    /// Messages that wait.
    Mailbox,
    /// Starts anew within the window.
    Restarts,
    /// How long messages took and waited.
    Latency,
    /// What was billed, of jobs and of providers.
    Cost,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TopArgs {
    /// What the list goes by.
    #[arg(long, value_name = "WHAT")]
    by: By,
    /// How long to look, up to a minute.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    window: Duration,
    /// How many at most.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn top(context: &Context, args: TopArgs) -> Result<Exit, CommandError> {
    let by = match args.by {
        By::Mailbox => "mailbox",
        By::Restarts => "restarts",
        By::Latency => "latency",
        By::Cost => "cost",
    };
    let query = [
        ("by", by.to_owned()),
        ("window_ms", millis(args.window).to_string()),
        ("limit", args.limit.to_string()),
    ];
    let top: Top = args.place.client(context)?.get("/v1/top", &query, args.window).await?;
    if context.json {
        terminal::print_json(&top)?;
    } else {
        terminal::print(&shown(&top))?;
    }
    Ok(Exit::Done)
}

fn shown(top: &Top) -> String {
    let window = text::duration(Duration::from_millis(top.window_ms));
    if top.rows.is_empty() {
        return match top.by {
            TopBy::Mailbox => "no message waits\n".to_owned(),
            TopBy::Restarts => format!("nothing was restarted in {window}\n"),
            TopBy::Latency => format!("nothing was handled in {window}\n"),
            TopBy::Cost => format!("nothing was billed in {window}\n"),
        };
    }
    let rows: Vec<Vec<String>> =
        top.rows.iter().map(|row| vec![row.path.clone(), row.words.clone()]).collect();
    text::table(&[Lean::Left, Lean::Left], &rows)
}
