//! The program under test, and its simulator, as processes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// A load test presses the machine on purpose.
const UNGUARDED: &str = "[guard]\ncpu = \"none\"\nload = \"none\"\n";
const JOB: &str = r#"name: loadtest
privacy: P0
route: [ollama]
input: {format: lines, field: word}
prompt: "Define this word: {{ word }}"
max_tokens: 64
"#;

/// Where the program is.
pub(crate) struct Program {
    path: PathBuf,
}

/// A simulator that ends with this value.
pub(crate) struct Simulator {
    pub(crate) base_url: String,
    _process: Child,
}

/// What a job told of its run.
pub(crate) struct Ran {
    pub(crate) agents_per_second: f64,
    pub(crate) peak_memory_bytes: Option<u64>,
}

impl Program {
    pub(crate) fn find(given: Option<PathBuf>) -> Result<Program> {
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
        Ok(Program { path })
    }

    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env("EMPIRE_HOME", home.join("home"))
            .current_dir(home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn start_simulator(&self, folder: &Path, scenario: &str) -> Result<Simulator> {
        let file = folder.join("scenario.yaml");
        fs::write(&file, scenario)?;
        let mut command = self.command(folder);
        command.arg("sim").arg(&file).args(["--listen", "127.0.0.1:0", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("cannot start the simulator")?;
        let output = process.stdout.take().context("the simulator has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut document = String::new();
        // One JSON document over several lines: it is whole once it can be read.
        while let Some(line) = lines.next_line().await? {
            document += &line;
            if let Ok(told) = serde_json::from_str::<Value>(&document) {
                let base_url =
                    told["base_url"].as_str().context("the simulator named no address")?.to_owned();
                return Ok(Simulator { base_url, _process: process });
            }
        }
        anyhow::bail!("the simulator ended without naming its address")
    }

    /// Runs a job of `rows` words.
    pub(crate) async fn run_words(
        &self,
        folder: &Path,
        simulator: &str,
        rows: u32,
        slots: u32,
    ) -> Result<Ran> {
        let (job, words, config) =
            (folder.join("job.yaml"), folder.join("words.txt"), folder.join("config.toml"));
        fs::write(&job, JOB)?;
        let mut text = String::new();
        for number in 0..rows {
            writeln!(text, "word number {number}")?;
        }
        fs::write(&words, text)?;
        fs::write(&config, format!("{UNGUARDED}[providers.ollama]\nconcurrency = {slots}\n"))?;
        let mut command = self.command(folder);
        command.args(["swarm", "run"]).arg(&job).arg("--input").arg(&words);
        command.args(["--sim", simulator, "--yes", "--json", "--config"]).arg(&config);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start the program")?;
        let (mut out, mut err) = (String::new(), String::new());
        let (mut output, mut talk) =
            (process.stdout.take().context("no output")?, process.stderr.take().context("no talk")?);
        let (read, heard) = tokio::join!(output.read_to_string(&mut out), talk.read_to_string(&mut err));
        read?;
        heard?;
        let status = process.wait().await?;
        ensure!(status.success(), "the job ended with {status}:\n{err}");
        let report: Value = serde_json::from_str(&out).context("the job's report is no JSON")?;
        Ok(Ran {
            agents_per_second: report["agents_per_second"].as_f64().context("the report names no rate")?,
            peak_memory_bytes: report["peak_memory_bytes"].as_u64(),
        })
    }
}
