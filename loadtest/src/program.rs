//! The program under test, and its simulator, as processes of their own in a folder of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::control::{Books, Control};
use crate::scenario::Scenario;

/// Laid under a scenario's own settings: what lets the harness measure; a guard that does not hold
/// a load test back for the load it makes; and nobody to ask.
const BASE: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n[chaos]\nenabled = true\n[guard]\ncpu = \"none\"\n\
load = \"none\"\n[budget]\napproval_above = \"none\"\n[confirm]\ncost_above = \"1000000\"\ntime_above = \"90d\"\n";
const UP_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much of what a process said is shown when it fails.
const SHOWN: usize = 3_000;

/// Where the program is, and the folder in which it works.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// A simulator; it ends with this value.
#[derive(Debug)]
pub(crate) struct Simulator {
    /// Its pages.
    pub(crate) books: Books,
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
}

impl Simulator {
    /// Ends it, and with it every connection.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.child.kill().await.context("the simulator cannot be ended")
    }
}

/// The program, up; it is killed with this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Its control API.
    pub(crate) control: Control,
    /// Its process.
    pub(crate) pid: u32,
    /// Where its metrics are.
    pub(crate) metrics: String,
    child: Child,
}

/// The simulator's scenario in its own words.
pub(crate) fn simulator_scenario(scenario: &Scenario, seed: u64) -> String {
    let header = format!("name: {}\nseed: {seed}\nkeep_bodies: 0", scenario.name);
    scenario.simulator.placed(&header)
}

impl Program {
    /// The program at `given`, or beside this one, to work in `folder`.
    pub(crate) fn find(given: Option<PathBuf>, folder: &Path) -> Result<Program> {
        let beside = || -> Result<PathBuf> {
            let own = std::env::current_exe()?;
            Ok(own.with_file_name(format!("empire{}", std::env::consts::EXE_SUFFIX)))
        };
        let path = given.map_or_else(beside, Ok)?;
        ensure!(
            path.is_file(),
            "there is no program at {}: build it with `cargo build --release`, or name it with --empire",
            path.display()
        );
        let path = path.canonicalize().with_context(|| format!("{} cannot be run", path.display()))?;
        Ok(Program { path, folder: folder.to_owned() })
    }

    /// A file in the folder it works in.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data folder of simulated runs.
    fn home(&self) -> PathBuf {
        self.file("home").join("sim")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().env("HOME", &self.folder).env("EMPIRE_HOME", self.file("home"));
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// What it says of its version.
    pub(crate) async fn version(&self) -> Result<String> {
        let said = self.command().arg("--version").output().await.context("the program cannot be run")?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// Writes the settings. Their lines are the scenario's own.
    pub(crate) fn configure(&self, scenario: &Scenario) -> Result<()> {
        fs::create_dir_all(self.home())?;
        fs::write(self.file("home").join("empire.toml"), BASE)?;
        fs::write(self.file("config.toml"), scenario.config.placed("# settings of the scenario"))?;
        Ok(())
    }

    /// Starts a simulator that plays this scenario, with empty books, at an address.
    pub(crate) async fn start_simulator(&self, scenario: &str, listen: &str) -> Result<Simulator> {
        let (file, talk) = (self.file("simulator.yaml"), self.file("simulator.log"));
        fs::write(&file, scenario)?;
        let mut command = self.command();
        command.arg("sim").arg(&file).args(["--listen", listen, "--json"]);
        command.stdout(Stdio::piped()).stderr(File::create(&talk)?);
        let mut child = command.spawn().context("the simulator cannot be started")?;
        let output = child.stdout.take().context("the simulator has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut document = String::new();
        // One JSON document over several lines: it is whole once it can be read.
        while let Some(line) = lines.next_line().await? {
            document += &line;
            if let Ok(told) = serde_json::from_str::<Value>(&document) {
                let base_url = told["base_url"].as_str().context("the simulator named no address")?;
                let address = base_url.trim_start_matches("http://").to_owned();
                return Ok(Simulator { books: Books::new(base_url)?, address, child });
            }
        }
        bail!("the simulator does not start:\n{}", end_of(&talk))
    }

    /// Starts the program and waits until it answers.
    pub(crate) async fn up(&self, simulator: &str) -> Result<Daemon> {
        let talk = self.file("up.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&talk)?;
        let mut command = self.command();
        command.arg("up").arg(format!("--sim={simulator}"));
        command.arg("--config").arg(self.file("config.toml"));
        command.stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("the program cannot be started")?;
        let pid = child.id().context("the program has no process")?;
        let until = Instant::now() + UP_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the program did not come up ({status}):\n{}", end_of(&talk));
            }
            if let Some(control) = Control::find(&self.home(), pid)?
                && let Ok(status) = control.get("/v1/daemon").await
            {
                let metrics = status["metrics"].as_str();
                let metrics =
                    metrics.context("the program serves no metrics: leave [metrics] to the harness")?;
                let metrics = metrics.to_owned();
                return Ok(Daemon { control, pid, metrics, child });
            }
            ensure!(Instant::now() < until, "the program is not up after {UP_WITHIN:?}:\n{}", end_of(&talk));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Refuses a job file that the program cannot read: with the lines of the scenario, and before
    /// anything runs.
    pub(crate) async fn check(&self, spec: &Path, simulator: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["swarm", "plan"]).arg(spec).args(["--limit", "1"]).arg(format!("--sim={simulator}"));
        command.arg("--config").arg(self.file("config.toml"));
        let done = command.output().await.context("the program cannot be run")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.code() != Some(2), "{}", said.trim().trim_start_matches("error: "));
        Ok(())
    }

    /// `empire chaos kill PATH`; gives what went wrong.
    pub(crate) async fn kill_actor(&self, path: &str) -> Result<(), String> {
        let mut command = self.command();
        command.args(["chaos", "kill", path, "--sim", "--reason", "load test"]);
        let done = command.output().await.map_err(|error| error.to_string())?;
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
        }
    }
}

impl Daemon {
    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("the program cannot be killed")
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }
}

fn end_of(path: &Path) -> String {
    let said = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN)..]).trim_end().to_owned()
}
