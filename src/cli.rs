//! The command line. Data goes to standard output, talk to standard error.

mod actors;
mod agent;
mod alerts;
mod approvals;
mod attach;
mod budget;
mod completions;
mod daemon;
mod doctor;
mod limits;
mod logs;
mod privacy;
mod results;
mod run;
mod screen;
mod sim;
mod status;
mod steer;
mod terminal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use empire_actors::money::Micros;

use crate::config::HumaneDuration;
use crate::home::Home;
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::{DEFAULT_SCENARIO, Place};
use crate::text;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes:
  0    all done
  1    the program itself failed
  2    wrong usage or bad input; nothing was spent
  3    all items were worked, and some agents died
  4    refused by a gate or the plan, or stopped before the end
  130  interrupted, and resumable";

/// Run a swarm of model-driven agents: local models first, under a hard budget, private by type.
#[derive(Debug, Parser)]
#[command(name = "empire", version, styles = STYLES, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Folder that holds all state [default: ~/.empire].
    #[arg(long, global = true, value_name = "DIR", env = "EMPIRE_HOME", hide_env_values = true)]
    data_dir: Option<PathBuf>,
    /// Configuration on top of the data folder's empire.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one machine-readable JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plan, run and steer swarm jobs.
    #[command(subcommand)]
    Swarm(Swarm),
    /// See and set what may be spent, and compare the ledger with what vendors say.
    #[command(subcommand)]
    Budget(budget::Budget),
    /// See and answer what waits for a yes or a no.
    Approvals(approvals::ApprovalArgs),
    /// See what somebody should look at, and say that you know of it.
    Alerts(alerts::AlertArgs),
    /// Run the simulator of the model vendors alone, on loopback.
    Sim(sim::SimArgs),
    /// See and try what the privacy gate does with texts.
    #[command(subcommand)]
    Privacy(privacy::Privacy),
    /// Start the daemon: it runs jobs day and night, several at once, and goes on with them after a
    /// restart.
    Up(daemon::UpArgs),
    /// End the daemon: calls under way may end, and jobs go on with its next start.
    Down(daemon::DownArgs),
    /// Show what the daemon is doing.
    Status(daemon::StatusArgs),
    #[command(flatten)]
    Actors(actors::Actors),
    /// Check what is reachable, configured and missing, and say what to do about each.
    Doctor,
    /// Show what each provider still allows, who waits for it, and when the next call may go.
    Limits,
    /// Show the log of what ran here, and follow it.
    Logs(logs::LogArgs),
    /// Print the JSON Schema of a file that people write.
    #[command(subcommand)]
    Schema(Schema),
    /// Print a completion script for a shell.
    Completions(completions::CompletionArgs),
}

#[derive(Debug, Subcommand)]
enum Schema {
    /// Of a job file.
    Job,
    /// Of the control API: its OpenAPI document.
    Api,
}

#[derive(Debug, Subcommand)]
enum Swarm {
    /// Say what a job costs, how long it takes and which limit binds, before anything is spent.
    Plan(PlanArgs),
    /// Run a job, or go on with it: finished items are not bought again.
    Run(RunArgs),
    /// List all jobs.
    List,
    /// Show how a job stands.
    Status(status::StatusArgs),
    /// Print a job's results in input order.
    Results(results::ResultArgs),
    /// Let calls under way end and start no new ones; the job can be resumed.
    Pause(JobArgs),
    /// Go on with a job that was paused or interrupted.
    Resume(ResumeArgs),
    /// Work the dead agents of a job anew.
    Retry(ResumeArgs),
    /// Show one agent: its state, times, model tries, cost and redactions.
    Agent(agent::AgentArgs),
    /// Give a job up for good. Its results stay.
    Cancel(JobArgs),
}

#[derive(Debug, Args)]
struct JobArgs {
    /// The job's id, a unique beginning of it, or its name.
    #[arg(value_name = "ID")]
    id: String,
}

/// What `plan` and `run` share.
#[derive(Debug, Args)]
struct SpecArgs {
    /// The job file (see `empire schema job`).
    #[arg(value_name = "JOB.yaml")]
    job: PathBuf,
    /// Input in place of the job file's; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the first N items.
    #[arg(long, value_name = "N", value_parser = items, allow_negative_numbers = true)]
    limit: Option<u32>,
    /// Against the simulator instead of real models: a scenario's name or file, or the address
    /// (http://…) of a simulator that runs already.
    #[arg(long, value_name = "SCENARIO", num_args = 0..=1, default_missing_value = DEFAULT_SCENARIO)]
    sim: Option<String>,
    /// The most this job may spend, in dollars, in place of the job file's.
    #[arg(long, value_name = "AMOUNT", value_parser = amount, allow_negative_numbers = true)]
    budget: Option<Micros>,
}

#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Work N items first and plan from what they took, with a 95 % interval. They are paid for,
    /// and kept: a later `run` does not buy them again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    sample: Option<u32>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Folder for results and report [default: the job file's `out`, else out/NAME; with
    /// --sim the folder `simulated` in it].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Do not ask; run even what the plan says does not fit, up to the budget.
    #[arg(long, short)]
    yes: bool,
    /// Start a new job even if there is one of this name, without any kept answers.
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// The job's id, a unique beginning of it, or its name.
    #[arg(value_name = "ID")]
    id: String,
    /// A new budget for the job, in dollars; what is spent already counts.
    #[arg(long, value_name = "AMOUNT", value_parser = amount, allow_negative_numbers = true)]
    budget: Option<Micros>,
    /// For a simulated job: another scenario than last time.
    #[arg(long, value_name = "SCENARIO")]
    sim: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<HumaneDuration>().map(|time| time.0).map_err(|error| error.to_string())
}

fn amount(text: &str) -> Result<Micros, String> {
    const POSITIVE: &str = "a budget must be more than 0: say what may be spent at most, like 0.50";
    if text.trim_start_matches(['$', ' ']).starts_with('-') {
        return Err(POSITIVE.to_owned());
    }
    let amount: Micros =
        text.parse().map_err(|error: empire_actors::money::AmountError| error.to_string())?;
    if amount == Micros::ZERO { Err(POSITIVE.to_owned()) } else { Ok(amount) }
}

fn items(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("write a whole number from 1 to {}", text::thousands(u32::MAX.into()))),
        Ok(items) => Ok(items),
    }
}

/// What may help with a command line that was not understood.
#[must_use]
pub fn tip(error: &clap::Error, args: impl Iterator<Item = OsString>) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let taken = args.skip_while(|arg| arg != "--sim").nth(1)?;
    let is_job = Path::new(&taken).extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let taken = taken.display();
    is_job.then(|| format!("  tip: `--sim {taken}` took {taken} for its scenario: write `{taken} --sim`"))
}

/// What every command gets.
struct Context {
    place: Place,
    json: bool,
}

/// Runs the command line that the process was started with.
///
/// # Errors
/// With the message and exit code to end with.
pub async fn main(cli: Cli) -> Result<Exit, CommandError> {
    match cli.command {
        Command::Schema(Schema::Job) => {
            return terminal::print_json(&crate::job::spec_json_schema()).map(|()| Exit::Done);
        }
        Command::Schema(Schema::Api) => {
            return terminal::print_json(&crate::control::document()).map(|()| Exit::Done);
        }
        Command::Completions(args) => return completions::print(&args, &mut Cli::command()),
        _ => {}
    }
    // An empty variable counts as none, as everywhere in a shell.
    let data_dir = cli.global.data_dir.filter(|dir| !dir.as_os_str().is_empty());
    let home = Home::resolve(data_dir, |name| crate::config::system_env(name).map(Into::into))?;
    let context = Context { place: Place { home, config: cli.global.config }, json: cli.global.json };
    match cli.command {
        Command::Swarm(Swarm::Plan(args)) => Box::pin(run::plan(&context, args)).await,
        Command::Swarm(Swarm::Run(args)) => Box::pin(run::run(&context, args)).await,
        Command::Swarm(Swarm::Resume(args)) => Box::pin(run::resume(&context, args, false)).await,
        Command::Swarm(Swarm::Retry(args)) => Box::pin(run::resume(&context, args, true)).await,
        Command::Swarm(Swarm::List) => status::list(&context).await,
        Command::Swarm(Swarm::Status(args)) => status::status(&context, args).await,
        Command::Swarm(Swarm::Results(args)) => results::results(&context, args).await,
        Command::Swarm(Swarm::Pause(args)) => steer::pause(&context, &args.id).await,
        Command::Swarm(Swarm::Cancel(args)) => steer::cancel(&context, &args.id).await,
        Command::Budget(command) => budget::budget(&context, command).await,
        Command::Approvals(args) => approvals::approvals(&context, args).await,
        Command::Alerts(args) => alerts::alerts(&context, args).await,
        Command::Sim(args) => sim::sim(&context, args).await,
        Command::Privacy(command) => privacy::privacy(context, command).await,
        Command::Up(args) => Box::pin(daemon::up(&context, args)).await,
        Command::Down(args) => daemon::down(&context, args).await,
        Command::Status(args) => daemon::status(&context, args).await,
        Command::Swarm(Swarm::Agent(args)) => agent::agent(&context, args).await,
        Command::Actors(command) => Box::pin(actors::run(&context, command)).await,
        Command::Doctor => doctor::doctor(&context).await,
        Command::Limits => limits::limits(&context).await,
        Command::Logs(args) => logs::logs(&context, args).await,
        Command::Schema(_) | Command::Completions(_) => Ok(Exit::Done),
    }
}
