//! `[log]`: what is written to the log's files, and how long they are kept.

use empire_actors::level::Zone;

use super::address;
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
    /// The collector that gets it too.
    pub otlp: Option<String>,
}

/// Reads the table.
pub(super) fn log(root: &mut Fields) -> Result<LogSetting, ConfigError> {
    let mut fields = root.need("log", "add [log] as in the shipped empire.toml")?.table()?;
    let level = fields.need("level", "say what is logged, like \"info\"")?;
    let levels = level.text()?.parse().map_err(|error| level.invalid("cannot be", error))?;
    let keep = fields.need("keep_days", "say how many days are kept, like 90")?;
    let keep_days = keep.number(1..=MOST_DAYS)?;
    let elsewhere = fields.take("otlp_elsewhere").map_or(Ok(false), |field| field.flag())?;
    let otlp = match fields.take("otlp").filter(|field| !field.says_none()) {
        None => None,
        Some(field) => {
            let (text, url) = address::base_url(field.text()?)
                .map_err(|(problem, remedy)| field.invalid(problem, remedy))?;
            if !elsewhere && address::most_trusted_zone(&url) != Zone::Local {
                let remedy = "say otlp_elsewhere = true if the log may go there";
                return Err(field.invalid("is not on this machine", remedy));
            }
            Some(text)
        }
    };
    fields.finish()?;
    Ok(LogSetting { levels, keep_days, otlp })
}
