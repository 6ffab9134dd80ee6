//! The levels of the log, and changing them while it is written.

use empire_actors::kernel::journal::{Entry, Event};
use empire_actors::kernel::tree::ROOT;

use super::Control;
use super::problem::Problem;
use super::routes::Asked;
use super::shapes::{LogLevels, LogLevelsAsked, LogLevelsChanged};
use super::steer::checked_reason;
use crate::log::{self, Levels, LogHandle};

/// Characters of levels.
const LONGEST_LEVELS: usize = 500;

fn log() -> Result<LogHandle, Problem> {
    log::current().ok_or_else(|| Problem::internal("this process writes no log"))
}

/// What is logged now.
pub(super) fn shown() -> Result<LogLevels, Problem> {
    let log = log()?;
    Ok(LogLevels { levels: log.level().to_string(), configured: log.configured().to_string() })
}

/// Logs at other levels from now on.
pub(super) fn set(
    control: &Control,
    asked: &Asked,
    body: &LogLevelsAsked,
) -> Result<LogLevelsChanged, Problem> {
    if body.levels.chars().count() > LONGEST_LEVELS {
        return Err(Problem::bad(format!(
            "levels have at most {LONGEST_LEVELS} characters: name fewer targets"
        )));
    }
    let levels: Levels =
        body.levels.parse().map_err(|error: log::LevelsError| Problem::bad(error.to_string()))?;
    let (reason, by, log) = (checked_reason(&body.reason)?, asked.peer.name(), log()?);
    let was = log.set_level(levels.clone()).to_string();
    let (is, configured) = (levels.to_string(), log.configured().to_string());
    // Whoever reads the log itself sees why it grows.
    tracing::info!(levels = %is, %was, %by, "the log's levels were changed");
    let event = Event::Order {
        order: format!("log level {is}"),
        by,
        reason,
        outcome: format!("logged at {is} until this process ends, after {was}"),
    };
    control.tree.supervision().journal.enter(Entry { at: control.clock.now(), path: ROOT.to_owned(), event });
    Ok(LogLevelsChanged { levels: is, was, configured })
}
