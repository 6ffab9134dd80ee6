//! `empire up`, `down` and `status`: the daemon.

use std::convert::Infallible;
use std::io::{self, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::{Context, terminal};
use crate::control::client::Client;
use crate::control::jobs::{DownAsked, Heeded};
use crate::control::{self, Control, Server, serve};
use crate::daemon::{Daemon, Down, Status};
use crate::home::{Home, open_private_file};
use crate::run::engine::Signals;
use crate::run::error::{CommandError, Exit};
use crate::run::prepare::DEFAULT_SCENARIO;
use crate::run::progress::say;
use crate::text;

/// How long calls under way may take when a daemon ends, unless it is said.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How long a daemon may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it is up, or has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// What a daemon in the background says goes here, in the data folder.
const TALK_FILE: &str = "up.log";
/// How much of that is shown if it does not come up.
const SHOWN: usize = 4_000;

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Come back once it is up; it goes on in the background.
    #[arg(long)]
    detach: bool,
    /// All calls go to the simulator: a scenario's name or file, or the address (http://…) of a
    /// simulator that runs already. Simulated jobs have a data folder of their own.
    #[arg(long, value_name = "SCENARIO", num_args = 0..=1, default_missing_value = DEFAULT_SCENARIO)]
    sim: Option<String>,
    /// It is the process in the background.
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, Args)]
pub(super) struct DownArgs {
    /// Calls under way may take so long, such as 30s or 2m.
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    within: Option<Duration>,
    /// The daemon of simulated jobs.
    #[arg(long)]
    sim: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The daemon of simulated jobs, even if one of real jobs works as well.
    #[arg(long)]
    sim: bool,
}

/// `empire up`.
pub(super) async fn up(context: &Context, args: UpArgs) -> Result<Exit, CommandError> {
    if args.detach {
        return detach(context, args.sim.as_deref()).await;
    }
    #[cfg(unix)]
    if args.detached {
        // Its terminal may go; it stays. That it leads a session already is as good.
        let _ = rustix::process::setsid();
    }
    let mut signals = Signals::new()?;
    let daemon = Daemon::start(context.place.clone(), args.sim.as_deref()).await?;
    let server = open(&daemon).await?;
    let (simulated, more) = match args.sim {
        Some(_) => (" SIMULATED: no call goes to a model.", " --sim"),
        None => ("", ""),
    };
    say(&format!(
        "empire is up: process {}, data folder {}.{simulated} `empire status{more}` shows what it does, `empire down{more}` ends it",
        std::process::id(),
        daemon.home().dir().display()
    ));
    let asked = tokio::select! {
        never = go_on(&daemon) => match never {},
        asked = daemon.asked_down() => asked,
        () = signals.next() => Ok(Down { within: ENDS_WITHIN }),
    };
    say("going down: calls under way may end; jobs go on with the next `empire up`");
    let down = asked.as_ref().copied().unwrap_or(Down { within: Duration::ZERO });
    let ending = async {
        server.stop().await;
        daemon.stop(down).await
    };
    let report = tokio::select! {
        report = ending => report?,
        () = signals.next() => {
            say("ending at once: calls under way stay billed at their reservation");
            return Ok(Exit::Interrupted);
        }
    };
    for killed in &report.killed {
        say(&format!("warning: {killed} did not stop in time and was killed"));
    }
    say("empire is down");
    asked.map(|_| Exit::Done)
}

/// Goes on with what an earlier daemon held, and tells of it.
async fn go_on(daemon: &Arc<Daemon>) -> Infallible {
    match daemon.go_on().await {
        Ok(0) => {}
        Ok(jobs) => say(&format!("going on with {}", text::count(jobs as u64, "job"))),
        Err(error) => say(&format!(
            "warning: not all jobs go on: {error}; `empire swarm list` shows them, `empire swarm resume` goes on with one"
        )),
    }
    std::future::pending().await
}

async fn open(daemon: &Arc<Daemon>) -> Result<Server, CommandError> {
    let config = daemon.config();
    let about = (config.control.chaos, daemon.is_simulated());
    let control = Control::new(
        (daemon.house(), daemon.watching()),
        daemon.store().clone(),
        about,
        Arc::downgrade(daemon),
    );
    let settings = control::settings(config.control, daemon.watching().alerts());
    serve(control, daemon.home().dir(), settings).await.map_err(CommandError::bad_input)
}

/// Starts the daemon in the background and waits until it is ready.
async fn detach(context: &Context, sim: Option<&str>) -> Result<Exit, CommandError> {
    let home = context.place.home_of(sim.is_some())?;
    if let Some(pid) = home.locked_by()? {
        return Err(CommandError::refused(format!(
            "process {pid} works in {} already: `empire status` shows what it does",
            home.dir().display()
        )));
    }
    let mut child = spawn(context, &home, sim)?;
    let until = Instant::now() + UP_WITHIN;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().map_err(CommandError::internal)? {
            let said = talk(&home);
            return Err(CommandError {
                exit: if status.code() == Some(2) { Exit::BadInput } else { Exit::Internal },
                message: format!("empire did not come up:\n{}", said.trim_end()),
            });
        }
        if let Ok(Some(client)) = Client::find(&home)
            && let Ok(status) = client.get::<Status>("/v1/daemon", &[], ANSWERS_WITHIN).await
        {
            if context.json {
                terminal::print_json(&status)?;
            } else {
                say(&format!("empire is up: process {}, data folder {}", status.pid, status.home));
            }
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(CommandError::internal(format!(
        "empire is not ready after {} s: it says\n{}",
        UP_WITHIN.as_secs(),
        talk(&home).trim_end()
    )))
}

fn spawn(context: &Context, home: &Home, sim: Option<&str>) -> Result<Child, CommandError> {
    let path = home.dir().join(TALK_FILE);
    let cannot =
        |error: io::Error| CommandError::bad_input(format!("cannot write {}: {error}", path.display()));
    let mut talk = open_private_file(&path).map_err(cannot)?;
    talk.set_len(0).and_then(|()| talk.rewind()).map_err(cannot)?;
    let program = std::env::current_exe().map_err(CommandError::internal)?;
    let mut command = Command::new(program);
    command.arg("up").arg("--detached").arg("--data-dir").arg(context.place.home.dir());
    if let Some(config) = &context.place.config {
        command.arg("--config").arg(config);
    }
    if let Some(sim) = sim {
        command.arg(format!("--sim={sim}"));
    }
    let also = talk.try_clone().map_err(cannot)?;
    command.stdin(Stdio::null()).stdout(also).stderr(talk);
    command
        .spawn()
        .map_err(|error| CommandError::internal(format!("cannot start in the background: {error}")))
}

/// The end of what a daemon in the background said.
fn talk(home: &Home) -> String {
    let said = std::fs::read(home.dir().join(TALK_FILE)).unwrap_or_default();
    String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN)..]).into_owned()
}

/// The daemon that works in a data folder.
pub(super) async fn running(home: &Home) -> Result<Option<(Client, Status)>, CommandError> {
    // A run in the foreground has the same API, and takes no jobs.
    let Ok(Some(client)) = Client::find(home) else { return Ok(None) };
    let status = client.get::<Status>("/v1/daemon", &[], ANSWERS_WITHIN).await;
    Ok(status.ok().map(|status| (client, status)))
}

/// The daemon of simulated jobs.
async fn simulated(context: &Context) -> Result<Option<(Client, Status)>, CommandError> {
    if !context.place.home.dir().join("sim").is_dir() {
        return Ok(None);
    }
    running(&context.place.home_of(true)?).await
}

/// What to say beside that there is no daemon of real jobs: another one may be meant.
async fn other(context: &Context, sim: bool) -> Result<&'static str, CommandError> {
    let is_there = !sim && simulated(context).await?.is_some();
    Ok(if is_there { "; one of simulated jobs works: --sim means that one" } else { "" })
}

/// `empire down`.
pub(super) async fn down(context: &Context, args: DownArgs) -> Result<Exit, CommandError> {
    let home = context.place.home_of(args.sim)?;
    let Some((client, status)) = running(&home).await? else {
        say(&format!("no daemon works in {}{}", home.dir().display(), other(context, args.sim).await?));
        return Ok(Exit::Done);
    };
    let within = args.within.unwrap_or(ENDS_WITHIN);
    let asked = DownAsked { within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) };
    let _: Heeded =
        client.post("/v1/daemon/down", &asked, None, ANSWERS_WITHIN).await.map_err(CommandError::internal)?;
    // For the calls under way, and as long again for what comes after them.
    let until = Instant::now() + within + UP_WITHIN;
    while home.locked_by()? == Some(status.pid) {
        if Instant::now() > until {
            return Err(CommandError::internal(format!("process {} has not ended yet", status.pid)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    say(&format!(
        "empire is down: {} with the next `empire up`",
        match status.jobs.len() {
            0 => "no job goes on".to_owned(),
            1 => "1 job goes on".to_owned(),
            jobs => format!("{jobs} jobs go on"),
        }
    ));
    Ok(Exit::Done)
}

/// `empire restart` without a path: down, and up again in the background, with the jobs that ran.
pub(super) async fn restart(
    context: &Context,
    sim: bool,
    within: Option<Duration>,
) -> Result<Exit, CommandError> {
    let home = context.place.home_of(sim)?;
    let Some((_, status)) = running(&home).await? else {
        return Err(CommandError::refused(format!(
            "no daemon works in {}: `empire up` starts one{}",
            home.dir().display(),
            other(context, sim).await?
        )));
    };
    down(context, DownArgs { within, sim }).await?;
    detach(context, status.simulator.as_deref()).await
}

/// `empire status`.
pub(super) async fn status(context: &Context, args: StatusArgs) -> Result<Exit, CommandError> {
    let home = context.place.home_of(args.sim)?;
    let found = match running(&home).await? {
        None if !args.sim => simulated(context).await?,
        found => found,
    };
    let Some((_, status)) = found else {
        let who = match home.locked_by()? {
            Some(pid) => format!("no daemon; process {pid} runs a job in the foreground"),
            None => "no daemon".to_owned(),
        };
        if context.json {
            terminal::print_json(&serde_json::json!({ "up": false, "process": home.locked_by()? }))?;
        } else {
            terminal::print(&format!("{who} ({}): `empire up` starts one\n", home.dir().display()))?;
        }
        return Ok(Exit::Refused);
    };
    if context.json {
        let mut shown = serde_json::to_value(&status).map_err(CommandError::internal)?;
        shown["up"] = true.into();
        terminal::print_json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut page = String::new();
    if let Some(simulator) = &status.simulator {
        page += &format!("SIMULATED: calls go to the simulator ({simulator})\n");
    }
    let ending = if status.ending { ", going down" } else { "" };
    page += &format!(
        "up for {}{ending}: process {}, version {}, data folder {}\nmachine: {}\n",
        text::duration(Duration::from_secs(status.up_s)),
        status.pid,
        status.version,
        status.home,
        status.pressure
    );
    if status.jobs.is_empty() {
        page += "no job runs\n";
    }
    for job in &status.jobs {
        page += &format!("{}  {}  {}\n", &job.id[..job.id.len().min(8)], job.name, job.progress);
    }
    terminal::print(&page)?;
    Ok(Exit::Done)
}
