//! `[log]`: what is written to the log's files, and how long they are kept.

use super::error::ConfigError;
use super::tree::Fields;
use crate::log::Levels;

/// Ten years.
const MOST_DAYS: u16 = 3_650;

/// What is logged, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSetting {
    /// The levels of the files.
    pub levels: Levels,
    /// Days that are kept, today among them.
    pub keep_days: u16,
}

/// Reads the table.
pub(super) fn log(root: &mut Fields) -> Result<LogSetting, ConfigError> {
    let mut fields = root.need("log", "add [log] as in the shipped empire.toml")?.table()?;
    let level = fields.need("level", "say what is logged, like \"info\"")?;
    let levels = level.text()?.parse().map_err(|error| level.invalid("cannot be", error))?;
    let keep = fields.need("keep_days", "say how many days are kept, like 90")?;
    let keep_days = keep.number(1..=MOST_DAYS)?;
    fields.finish()?;
    Ok(LogSetting { levels, keep_days })
}
