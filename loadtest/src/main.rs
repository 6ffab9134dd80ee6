//! Drives `empire` from outside through scenarios, with a simulator in a process of its own, and
//! measures it: rates, times, memory, money, what became of every item. Everything stays on
//! loopback. `docs/loadtest.md` explains what each number means.

mod account;
mod bare;
mod chaos;
mod compare;
mod control;
mod evaluate;
mod jobs;
mod latency;
mod measure;
mod outcome;
mod page;
mod process;
mod program;
mod ratios;
mod report;
mod run;
mod sample;
mod scenario;
mod stage;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::measure::Measure;
use crate::outcome::Outcome;
use crate::scenario::{MOST_ITEMS, Scenario, shipped};

const AFTER_HELP: &str = "\
Exit codes:
  0  all thresholds hold (run), nothing got worse (compare, ratios)
  1  some do not, or something did
  2  bad input, or it could not be run

Build the program first: cargo build --release --workspace";

/// Run load tests of `empire`, and see what came of them.
#[derive(Debug, Parser)]
#[command(name = "empire-loadtest", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario, and say which of its thresholds hold.
    Run(RunArgs),
    /// List the shipped scenarios, or all that a threshold can bound.
    List {
        /// List measures in place of scenarios.
        #[arg(long)]
        thresholds: bool,
    },
    /// Show two results side by side, and what got worse from A to B.
    Compare {
        /// The result.json of one run.
        a: PathBuf,
        /// The result.json of another.
        b: PathBuf,
        /// What changes by no more percent than this is the same.
        #[arg(long, default_value_t = 10.0, value_name = "PERCENT", value_parser = percent)]
        tolerance: f64,
    },
    /// Write the page of a result again, beside it.
    Report {
        /// The result.json of a run.
        result: PathBuf,
    },
    /// Show benchmarks against their recorded baseline, and what got worse; `scripts/bench` asks.
    Ratios(ratios::RatiosArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A shipped scenario's name (see `list`), or a scenario file.
    scenario: String,
    /// Where result.json and report.html go [default: out/loadtest/SCENARIO].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// What all chance is derived from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The program to measure [default: `empire` beside this one].
    #[arg(long, value_name = "PATH")]
    empire: Option<PathBuf>,
    /// So many items in all, shared out over the jobs as the scenario does. Its thresholds may then
    /// not fit any more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ITEMS)))]
    items: Option<u32>,
    /// Let jobs that come in batches come for so many minutes, at the scenario's pace.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: Option<u32>,
    /// Keep the run's data folder, inputs and logs.
    #[arg(long)]
    keep: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "write a number, like 10".to_owned())?;
    if (0.0..=1_000.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("write a number from 0 to 1000".to_owned())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(args).await,
        Command::List { thresholds } => list(thresholds).map(|()| true),
        Command::Compare { a, b, tolerance } => compare(&a, &b, tolerance / 100.0),
        Command::Report { result } => report(&result).map(|()| true),
        Command::Ratios(args) => ratios::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: RunArgs) -> Result<bool> {
    let mut scenario = Scenario::load(&args.scenario)?;
    if let Some(minutes) = args.minutes {
        scenario.stretch(Duration::from_secs(60 * u64::from(minutes)));
    }
    if let Some(items) = args.items {
        scenario.resize(items);
    }
    let out = args.out.unwrap_or_else(|| Path::new("out").join("loadtest").join(&scenario.name));
    // On the same disk as results that matter, not in a folder in memory.
    let folder = out.join("work");
    if folder.try_exists()? {
        fs::remove_dir_all(&folder).with_context(|| format!("{} is in the way", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be written to", out.display()))?;
    let folder = folder.canonicalize()?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("empire-loadtest {}", command.join(" "));
    let wanted = run::Wanted { scenario, seed: args.seed, empire: args.empire, folder, command };
    // What drops the run ends its processes.
    let outcome = tokio::select! {
        outcome = run::run(&wanted) => outcome?,
        ended = interrupted() => {
            ended?;
            anyhow::bail!("interrupted");
        }
    };
    let (result, page) = (out.join("result.json"), out.join("report.html"));
    let json = serde_json::to_string(&outcome)?;
    fs::write(&result, &json).with_context(|| format!("{} cannot be written", result.display()))?;
    fs::write(&page, report::page(&outcome))
        .with_context(|| format!("{} cannot be written", page.display()))?;
    if args.json {
        println!("{json}");
    } else {
        print!("{}", outcome.words());
    }
    eprintln!("{}, {}", result.display(), page.display());
    if args.keep || !outcome.passed {
        eprintln!("the run's data and logs: {}", wanted.folder.display());
    } else {
        fs::remove_dir_all(&wanted.folder)?;
    }
    Ok(outcome.passed)
}

/// Waits until somebody wants it to end.
async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = terminated.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn list(thresholds: bool) -> Result<()> {
    if thresholds {
        for measure in Measure::ALL {
            println!("{:<36} {:<4} {}", measure.name(), measure.unit(), measure.about());
        }
        return Ok(());
    }
    for (name, _) in shipped() {
        println!("{name:<22} {}", Scenario::load(name)?.about);
    }
    Ok(())
}

fn compare(a: &Path, b: &Path, tolerance: f64) -> Result<bool> {
    let (text, is_worse) = compare::table(&Outcome::read(a)?, &Outcome::read(b)?, tolerance);
    print!("{text}");
    Ok(!is_worse)
}

fn report(result: &Path) -> Result<()> {
    let page = result.with_file_name("report.html");
    fs::write(&page, report::page(&Outcome::read(result)?))
        .with_context(|| format!("{} cannot be written", page.display()))?;
    println!("{}", page.display());
    Ok(())
}
