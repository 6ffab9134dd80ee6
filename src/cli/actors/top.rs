//! `empire top`, on a screen or once.

use std::io::{IsTerminal, stdin, stdout};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::{Context, duration, screen, terminal};
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
    /// Print the busiest actors over a window, once, in place of a screen.
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// With --by: how long to look, up to a minute.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "by")]
    window: Duration,
    /// With --by: how many at most.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 10, requires = "by")]
    limit: usize,
    /// How often the screen looks, from 200ms to a minute.
    #[arg(long, value_name = "TIME", value_parser = every, default_value = "1s", conflicts_with = "by")]
    every: Duration,
    #[command(flatten)]
    place: Where,
}

fn every(given: &str) -> Result<Duration, String> {
    let every = duration(given)?;
    let may = Duration::from_millis(200)..=Duration::from_secs(60);
    if may.contains(&every) { Ok(every) } else { Err("write a time from 200ms to 1m".to_owned()) }
}

pub(super) async fn top(context: &Context, args: TopArgs) -> Result<Exit, CommandError> {
    match args.by {
        Some(by) => once(context, &args, by).await,
        None => live(context, &args).await,
    }
}

/// On a screen; with --json once what it would show.
async fn live(context: &Context, args: &TopArgs) -> Result<Exit, CommandError> {
    let dumb = crate::config::system_env("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let has_screen = stdin().is_terminal() && stdout().is_terminal() && !dumb;
    if !context.json && !has_screen {
        return Err(CommandError::bad_input(
            "empire top draws on a terminal, and this is none: `empire top --by mailbox` prints a list, `empire top --json` all that it shows",
        ));
    }
    let Some((home, client)) = args.place.found(context)? else {
        return Err(args.place.nothing_runs(context));
    };
    let place = screen::Place { home, client, logs: context.place.home.dir().to_owned() };
    if context.json {
        return terminal::print_json(&screen::snapshot(place).await?).map(|()| Exit::Done);
    }
    screen::run(place, args.every, terminal::color()).await
}

async fn once(context: &Context, args: &TopArgs, by: By) -> Result<Exit, CommandError> {
    let by = match by {
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
