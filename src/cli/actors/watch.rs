//! `empire watch`.

use std::pin::pin;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::super::{Context, terminal};
use super::history::line;
use super::look::PathArgs;
use super::path_query;
use crate::control::shapes::{Changed, Told};
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;

/// Until the process ends, or somebody has seen enough.
pub(super) async fn watch(context: &Context, args: PathArgs) -> Result<Exit, CommandError> {
    let client = args.place.client(context)?;
    let events = client.events("/v1/watch", &path_query(args.path.as_deref())).await?;
    say("watching; Ctrl-C ends it");
    let mut events = pin!(events);
    while let Some((name, data)) = events.next().await {
        let text = if context.json {
            let data: Value = serde_json::from_str(&data).map_err(CommandError::internal)?;
            json!({"event": name, "data": data}).to_string()
        } else {
            words(&name, &data)
        };
        terminal::print(&(text + "\n"))?;
    }
    say("the process has ended");
    Ok(Exit::Done)
}

fn words(name: &str, data: &str) -> String {
    match name {
        "entry" => serde_json::from_str::<Told>(data).map_or_else(|_| data.to_owned(), |told| line(&told)),
        "state" => serde_json::from_str::<Changed>(data).map_or_else(
            |_| data.to_owned(),
            |changed| {
                let word = |state: Option<empire_actors::kernel::tree::NodeState>, none: &str| {
                    state.map_or(none.to_owned(), |state| state.word().to_owned())
                };
                format!(
                    "{}  {}  {} → {}",
                    changed.at,
                    changed.path,
                    word(changed.from, "new"),
                    word(changed.to, "gone")
                )
            },
        ),
        "missed" => format!("{data} entries came too fast to be shown: `empire history` has them"),
        _ => format!("{name} {data}"),
    }
}
