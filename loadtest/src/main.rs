//! Measures `empire` from outside: the real program, a simulator in a process of its own, and a
//! bare HTTP client as the yardstick, all in one run. Everything stays on loopback and ends by
//! itself.

mod bare;
mod program;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::program::Program;

/// Compare a swarm job with a bare HTTP loop against the same simulator.
#[derive(Debug, Parser)]
#[command(name = "empire-loadtest", version)]
struct Args {
    /// What the simulator does.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Rows of the job, one agent each.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rows: u32,
    /// Calls in flight at once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    slots: u32,
    /// Fail below this share of the bare client's rate [default: 0.92 for slots, 0.5 for instant].
    #[arg(long)]
    at_least: Option<f64>,
    /// The program to measure [default: `empire` beside this one].
    #[arg(long)]
    empire: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scenario {
    /// Every answer takes 20 ms: slots bound the rate.
    Slots,
    /// Answers come at once: the client bounds the rate.
    Instant,
}

impl Scenario {
    /// What is wanted, whether or not it is reached: for slots 2,300 of the possible 2,500.
    fn at_least(self) -> f64 {
        match self {
            Scenario::Slots => 0.92,
            Scenario::Instant => 0.5,
        }
    }

    fn yaml(self) -> &'static str {
        match self {
            Scenario::Slots => include_str!("../scenarios/slots.yaml"),
            Scenario::Instant => include_str!("../scenarios/instant.yaml"),
        }
    }
}

/// What was measured. Rates are calls a second; everything else of the same run beside it.
#[derive(Debug, Serialize)]
struct Outcome {
    scenario: String,
    rows: u32,
    slots: u32,
    bare_per_second: f64,
    empire_per_second: f64,
    ratio: f64,
    empire_peak_memory_bytes: Option<u64>,
    passed: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn measure(args: Args) -> Result<bool> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let program = Program::find(args.empire)?;
    let simulator = program.start_simulator(folder.path(), args.scenario.yaml()).await?;
    let bare_per_second = bare::calls_per_second(&simulator.base_url, args.rows, args.slots).await?;
    let ran = program.run_words(folder.path(), &simulator.base_url, args.rows, args.slots).await?;
    let ratio = ran.agents_per_second / bare_per_second;
    let at_least = args.at_least.unwrap_or(args.scenario.at_least());
    let outcome = Outcome {
        scenario: format!("{:?}", args.scenario).to_lowercase(),
        rows: args.rows,
        slots: args.slots,
        bare_per_second,
        empire_per_second: ran.agents_per_second,
        ratio,
        empire_peak_memory_bytes: ran.peak_memory_bytes,
        passed: ratio >= at_least,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print_table(&outcome, at_least);
    }
    Ok(outcome.passed)
}

fn print_table(outcome: &Outcome, at_least: f64) {
    println!("{} rows, {} slots, scenario {}", outcome.rows, outcome.slots, outcome.scenario);
    println!("  bare client  {:>9.0} calls/s", outcome.bare_per_second);
    println!("  empire       {:>9.0} agents/s, durable", outcome.empire_per_second);
    println!("  ratio        {:>9.2} (at least {at_least:.2})", outcome.ratio);
    if let Some(bytes) = outcome.empire_peak_memory_bytes {
        println!("  peak memory  {:>9.1} MiB", bytes as f64 / f64::from(1 << 20));
    }
    println!("{}", if outcome.passed { "passed" } else { "FAILED" });
}
