//! `empire history`.

use std::time::Duration;

use clap::Args;

use super::super::{Context, terminal};
use super::{Where, offline, path_query};
use crate::control::full_path;
use crate::control::shapes::Told;
use crate::run::error::{CommandError, Exit};

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArgs {
    /// The actor, and all below it; everything if it is not given.
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// How many entries at most, the latest.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    place: Where,
}

/// With `--json` a line of JSON an entry, as `empire policy simulate` reads them.
pub(super) async fn history(context: &Context, args: HistoryArgs) -> Result<Exit, CommandError> {
    let HistoryArgs { path, limit, place } = args;
    let entries: Vec<Told> = match place.running_to_ask(context)? {
        Some(client) => {
            let mut query = path_query(path.as_deref());
            query.push(("limit", limit.to_string()));
            client.get("/v1/history", &query, Duration::ZERO).await?
        }
        None => offline::history(context, place, path.as_deref(), limit).await?,
    };
    let mut lines = String::new();
    for told in &entries {
        if context.json {
            lines.push_str(&serde_json::to_string(told).map_err(CommandError::internal)?);
        } else {
            lines.push_str(&line(told));
        }
        lines.push('\n');
    }
    if entries.is_empty() && !context.json {
        lines.push_str(&match &path {
            Some(path) => format!("the journal has nothing of {}\n", full_path(path)),
            None => "nothing has happened yet\n".to_owned(),
        });
    }
    terminal::print(&lines)?;
    Ok(Exit::Done)
}

pub(super) fn line(told: &Told) -> String {
    format!("{}  {}  {}", told.entry.at, told.entry.path, told.words)
}
