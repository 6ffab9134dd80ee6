//! `empire logs level`.

use std::time::Duration;

use clap::Args;

use super::super::actors::Where;
use super::super::{Context, terminal};
use crate::control::shapes::{LogLevels, LogLevelsAsked, LogLevelsChanged};
use crate::run::error::{CommandError, Exit};

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "The files' levels change, not the terminal's, and until the process ends: what is \
                        to last is `level` in [log] of empire.toml.")]
pub(super) struct LevelArgs {
    /// What is to be logged from now on: error, warn, info, debug, trace or off, and others for single
    /// targets behind it, as in info,empire::store=debug. Without it, what is logged now is shown.
    #[arg(value_name = "LEVELS")]
    levels: Option<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "levels")]
    reason: String,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn level(context: &Context, args: LevelArgs) -> Result<Exit, CommandError> {
    let LevelArgs { levels, reason, place } = args;
    let client = place.client(context)?;
    let Some(levels) = levels else {
        let shown: LogLevels = client.get("/v1/log", &[], Duration::ZERO).await?;
        let words = match shown.levels == shown.configured {
            true => format!("{}, as configured\n", shown.levels),
            false => format!("{}, until the process ends; configured: {}\n", shown.levels, shown.configured),
        };
        return print(context, &shown, &words);
    };
    let asked = LogLevelsAsked { levels, reason };
    let changed: LogLevelsChanged = client.post("/v1/log/level", &asked, None, ANSWERS_WITHIN).await?;
    let back = match changed.levels == changed.configured {
        true => "as configured".to_owned(),
        false => format!("until the process ends or `empire logs level {}`", changed.configured),
    };
    print(context, &changed, &format!("{}, after {}; {back}\n", changed.levels, changed.was))
}

fn print(context: &Context, value: &impl serde::Serialize, words: &str) -> Result<Exit, CommandError> {
    if context.json {
        terminal::print_json(value)?;
    } else {
        terminal::print(words)?;
    }
    Ok(Exit::Done)
}
