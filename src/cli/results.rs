//! `empire swarm results ID`.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};

use clap::{Args, ValueEnum};
use empire_actors::ports::Verdict;
use futures_util::TryStreamExt;

use super::status::{Found, find};
use super::{Context, terminal};
use crate::run::error::{CommandError, Exit};
use crate::run::outputs::{Look, write_line, write_table};
use crate::store::{Outcome, ResultFilter};

#[derive(Debug, Args)]
pub(super) struct ResultArgs {
    /// The job's id, a unique beginning of it, or its name.
    #[arg(value_name = "ID")]
    id: String,
    /// Only the dead letters, with what was tried.
    #[arg(long)]
    failed: bool,
    /// One JSON object a line, or a table.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

pub(super) async fn results(context: &Context, args: ResultArgs) -> Result<Exit, CommandError> {
    if context.json && matches!(args.format, Format::Csv) {
        return Err(CommandError::bad_input("--json prints JSON: leave out --format csv, or --json"));
    }
    let Found { store, job, .. } = find(context, &args.id).await?;
    let filter = ResultFilter::Only(if args.failed { Outcome::Dead } else { Outcome::Done });
    let mut lines = std::pin::pin!(store.results(&job.id, filter));
    if context.json {
        let mut all = Vec::new();
        while let Some(line) = lines.try_next().await? {
            all.push(json_line(&line, job.simulated)?);
        }
        return terminal::print_json(&all).map(|()| Exit::Done);
    }
    match args.format {
        Format::Jsonl => {
            let mut out = BufWriter::new(stdout().lock());
            while let Some(line) = lines.try_next().await? {
                let json = json_line(&line, job.simulated)?;
                if writeln!(out, "{json}").is_err() {
                    // The reader has had enough.
                    return Ok(Exit::Done);
                }
            }
            // The same holds for the rest.
            let _ = out.flush();
        }
        Format::Csv => {
            // A table needs all columns before its first line, so the lines are kept in a file.
            let path = store.dir().join(format!("results-{}.part", std::process::id()));
            let kept = File::create(&path).map_err(CommandError::internal)?;
            let mut kept = BufWriter::new(kept);
            while let Some(line) = lines.try_next().await? {
                writeln!(kept, "{}", json_line(&line, job.simulated)?).map_err(CommandError::internal)?;
            }
            kept.flush().map_err(CommandError::internal)?;
            // The reader may have had enough; the file goes in any case.
            let _ = write_table(&path, &mut stdout().lock());
            std::fs::remove_file(&path).map_err(CommandError::internal)?;
        }
    }
    Ok(Exit::Done)
}

fn json_line(line: &crate::store::ResultLine, simulated: bool) -> Result<serde_json::Value, CommandError> {
    let mut text = Vec::new();
    let paid_here = line.item.number == line.record.item;
    write_line(&mut text, line.item.number, &line.item.row, &line.record, Look { simulated, paid_here })?;
    let mut value: serde_json::Value = serde_json::from_slice(&text).map_err(CommandError::internal)?;
    if let Verdict::Dead(_) = line.record.verdict {
        value["tries"] = serde_json::to_value(&line.record.tries).map_err(CommandError::internal)?;
    }
    Ok(value)
}
