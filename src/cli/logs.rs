//! `empire logs`: reads the log of what ran here.

mod level;

use std::time::Duration;

use clap::{Args, Subcommand};
use empire_actors::ports::{UnixMillis, WallClock};
use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};
use tracing::level_filters::LevelFilter;

use super::status::{Found, find};
use super::{Context, terminal};
use crate::config::HumaneDuration;
use crate::log::read::{Entry, Reader, Wanted};
use crate::run::error::{CommandError, Exit};
use crate::run::progress::say;
use crate::run::system::SystemClock;
use crate::text;

/// Lines that are shown where nothing says how many.
const LINES: usize = 100;
/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(
    after_help = "With --json the lines are printed as they are in the files: one JSON document each.",
    args_conflicts_with_subcommands = true
)]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: Option<LogCommand>,
    /// Go on with what comes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Only of this job: its id, a beginning of it, or its name.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only what is at least so severe: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<LevelFilter>,
    /// Only from then on: so long ago (2h), or a moment (2026-09-02, 2026-09-02T14:30, UTC if it
    /// does not say).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<UnixMillis>,
    /// Only before then, as --since.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<UnixMillis>,
    /// The last N lines [default: 100; with --since or --until all].
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show what the running process logs, or change it.
    Level(level::LevelArgs),
}

fn level(name: &str) -> Result<LevelFilter, String> {
    Wanted::level_of(name).ok_or_else(|| "write error, warn, info, debug or trace".to_owned())
}

fn moment(given: &str) -> Result<UnixMillis, String> {
    moment_at(given, SystemClock.now())
}

fn moment_at(given: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let given = given.trim();
    if let Ok(HumaneDuration(ago)) = given.parse() {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(UnixMillis(now.0.saturating_sub(ago)));
    }
    let of_utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    // A moment that names its own zone first: read as a plain one, that would be left out.
    let moment = given.parse::<Timestamp>().ok();
    let moment = moment.or_else(|| given.parse::<DateTime>().ok().and_then(of_utc));
    let moment = moment.or_else(|| {
        given.parse::<Date>().ok().and_then(|day| of_utc(day.to_datetime(jiff::civil::Time::midnight())))
    });
    moment.map(|at| UnixMillis(at.as_millisecond())).ok_or_else(|| {
        "write how long ago, like 30m, 2h or 7d, or a moment, like 2026-09-02 or 2026-09-02T14:30".to_owned()
    })
}

pub(super) async fn logs(context: &Context, args: LogArgs) -> Result<Exit, CommandError> {
    if let Some(LogCommand::Level(args)) = args.command {
        return level::level(context, args).await;
    }
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(CommandError::bad_input(format!(
            "--since {since} is not before --until {until}: no line can be between them"
        )));
    }
    let job = match args.job {
        Some(job) => Some(id_of(context, &job).await?),
        None => None,
    };
    let wanted = Wanted { job, level: args.level, since: args.since, until: args.until, process: None };
    let is_all = args.lines.is_none() && (args.since.is_some() || args.until.is_some());
    let home = context.place.home.dir();
    let mut reader = Reader::new(home, wanted);
    let unreadable = |error: std::io::Error| {
        CommandError::bad_input(format!("cannot read the log in {}: {error}", home.join("logs").display()))
    };
    if reader.is_empty().map_err(unreadable)? {
        let place = reader.folder().display().to_string();
        if !args.follow {
            return Err(CommandError::bad_input(format!(
                "there is no log in {place} yet: `empire swarm run` writes one"
            )));
        }
        say(&format!("there is no log in {place} yet; waiting for one"));
    }
    let show = Show { json: context.json, coloured: terminal::color() };
    if is_all {
        show.all(&mut reader).map_err(unreadable)??;
    } else {
        let last = reader.last(args.lines.unwrap_or(LINES)).map_err(unreadable)?;
        last.iter().try_for_each(|entry| show.one(entry))?;
    }
    if args.follow {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = &mut interrupted => break,
                _ = look.tick() => show.all(&mut reader).map_err(unreadable)??,
            }
        }
    }
    if reader.unread() > 0 {
        say(&format!("note: {} of the log cannot be read", text::count(reader.unread(), "line")));
    }
    Ok(Exit::Done)
}

/// A job by its name is looked up; an id is not, so that its lines are found without its job.
async fn id_of(context: &Context, given: &str) -> Result<String, CommandError> {
    let is_id = given.len() >= 4 && given.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_id {
        return Ok(given.to_ascii_lowercase());
    }
    let Found { store, job, .. } = find(context, given).await?;
    store.close().await?;
    Ok(job.id)
}

struct Show {
    json: bool,
    coloured: bool,
}

impl Show {
    fn one(&self, entry: &Entry) -> Result<(), CommandError> {
        if self.json {
            terminal::print(&format!("{}\n", entry.raw))
        } else {
            terminal::print(&entry.pretty(self.coloured))
        }
    }

    /// Shows what was not read yet.
    fn all(&self, reader: &mut Reader) -> std::io::Result<Result<(), CommandError>> {
        let mut shown = Ok(());
        reader.each(&mut |entry| {
            shown = self.one(&entry);
            shown.is_ok()
        })?;
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        let now = UnixMillis(1_788_000_000_000);
        for (given, at) in [
            ("2h", 1_788_000_000_000 - 7_200_000),
            ("1d", 1_788_000_000_000 - 86_400_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-01T01:00", 3_600_000),
            ("1970-01-01 01:00:01.5", 3_601_500),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T01:00:00Z", 3_600_000),
        ] {
            assert_eq!(moment_at(given, now), Ok(UnixMillis(at)), "{given}");
        }
        for wrong in ["", "yesterday", "2h ago", "12", "2026-13-01", "-1h"] {
            assert!(moment_at(wrong, now).unwrap_err().contains("like 30m"), "{wrong}");
        }
    }
}
