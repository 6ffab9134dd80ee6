//! What the black-box tests share: a world of their own for each (data folder, files, outputs),
//! the real program in it, and a simulator in a process of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// However slow the machine is, nothing here takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// No limit but concurrency, so that tests do not wait for the minute to end, nor for a machine
/// that other tests keep busy.
pub(crate) const UNLIMITED: &str = "\
[guard]
cpu = \"none\"
load = \"none\"
memory = \"none\"
memory_some = \"none\"
memory_full = \"none\"
disk_floor_simulated = \"1 MiB\"
[budget]
total = \"1000\"
approval_above = \"none\"
[metrics]
listen = \"none\"
[confirm]
cost_above = \"500\"
time_above = \"90d\"
[providers.ollama]
concurrency = 16
[providers.kimi]
concurrency = 16
requests_per_minute = \"none\"
requests_per_day = \"none\"
tokens_per_minute = \"none\"
cap = \"none\"
[providers.claude]
concurrency = 16
requests_per_hour = \"none\"
requests_per_day = \"none\"
requests_per_minute = \"none\"
input_tokens_per_minute = \"none\"
output_tokens_per_minute = \"none\"
cap = \"none\"
";

/// Waits until `look` finds something. Panics with `what` when [`PATIENCE`] is over.
#[expect(clippy::disallowed_methods, reason = "another process can only be looked at again and again")]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A folder with everything that one test needs.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) config: Option<PathBuf>,
}

impl World {
    /// A world with the shipped configuration.
    pub(crate) fn shipped() -> World {
        World { dir: TempDir::new().unwrap(), config: None }
    }

    /// A world without limits, changed by `more` TOML.
    pub(crate) fn new(more: &str) -> World {
        let mut world = World::shipped();
        let mut config: toml::Table = UNLIMITED.parse().unwrap();
        lay_over(&mut config, more.parse().unwrap());
        world.config = Some(world.write("config.toml", &config.to_string()));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name).join("simulated")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The program, in this world.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_empire"));
        command.env_clear().env("EMPIRE_HOME", self.path("home")).env("HOME", self.dir.path());
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Starts the program.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), args)
    }

    /// Starts a command that was made with [`World::command`] and changed.
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::start(command, &["(changed)"])
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// Runs the program with something on its standard input.
    pub(crate) fn run_with_stdin(&self, args: &[&str], input: &str) -> Ended {
        let input = File::open(self.write("stdin", input)).unwrap();
        let mut command = self.command(args);
        command.stdin(input);
        Running::start(command, args).end()
    }

    /// `status --json` of a job.
    pub(crate) fn status(&self, job: &str) -> Value {
        self.run(&["swarm", "status", job, "--json"]).exits(0).json()
    }

    /// The lines of a file in a job's output folder; none if it is not there.
    pub(crate) fn lines(&self, job: &str, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.out(job).join(file)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `report.json` of a job.
    pub(crate) fn report(&self, job: &str) -> Value {
        let path = self.out(job).join("report.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Checks that the job's outputs and its report tell of every item exactly once.
    pub(crate) fn account(&self, job: &str) -> Account {
        let report = self.report(job);
        let (done, dead) = (self.lines(job, "results.jsonl"), self.lines(job, "dead.jsonl"));
        let count = |name: &str| report["totals"][name].as_u64().unwrap();
        assert_eq!(count("done"), done.len() as u64, "results.jsonl and report.json differ");
        assert_eq!(count("dead"), dead.len() as u64, "dead.jsonl and report.json differ");
        let ended = count("done") + count("dead") + count("cancelled") + count("pending");
        assert_eq!(ended, count("items"), "agents were lost: {}", report["totals"]);
        let mut numbers: Vec<u64> =
            done.iter().chain(&dead).map(|line| line["item"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), done.len() + dead.len(), "an item ended twice");
        assert!(numbers.iter().all(|number| (1..=count("items")).contains(number)));
        let cost: u64 = done.iter().chain(&dead).map(|line| line["cost_micros"].as_u64().unwrap()).sum();
        Account {
            items: count("items"),
            done: count("done"),
            dead: count("dead"),
            pending: count("pending"),
            cost_of_items: cost,
            report,
        }
    }
}

fn lay_over(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// What a job's outputs add up to.
pub(crate) struct Account {
    pub(crate) items: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) pending: u64,
    /// In millionths of a dollar, of all items that ended.
    pub(crate) cost_of_items: u64,
    pub(crate) report: Value,
}

impl Account {
    /// What the ledger says a provider was paid, and how much of that is held as unknown.
    pub(crate) fn ledger(&self, provider: &str) -> (u64, u64) {
        let providers = self.report["providers"].as_array().unwrap();
        let found = providers.iter().find(|paid| paid["provider"] == provider);
        found.map_or((0, 0), |paid| (micros(&paid["cost"]), micros(&paid["unknown"])))
    }

    /// How often tries had an outcome.
    pub(crate) fn tries(&self, outcome: &str) -> u64 {
        self.report["work"]["tries"][outcome].as_u64().unwrap_or(0)
    }
}

/// An amount of millionths of a dollar in a document.
pub(crate) fn micros(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no amount: {value}"))
}

/// A started program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    what: String,
    stdout: File,
    stderr: File,
}

impl Running {
    fn start(mut command: Command, args: &[&str]) -> Running {
        // Into files, so that a full pipe stops nobody.
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        let child = command.spawn().unwrap();
        Running { child, what: format!("empire {}", args.join(" ")), stdout, stderr }
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success(), "cannot send {name} to `{}`", self.what);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has said so far.
    pub(crate) fn said(&mut self) -> String {
        text_of(&mut self.stderr)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let what = self.what.clone();
        let status = wait_for(&format!("the end of `{what}`"), || self.child.try_wait().unwrap());
        Ended { what, status, stdout: text_of(&mut self.stdout), stderr: text_of(&mut self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both handles of the file share one position, so it is put back to the end for the writer.
fn text_of(file: &mut File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    let read = file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// What a program left behind.
pub(crate) struct Ended {
    what: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ended {
        let Ended { what, status, stdout, stderr } = &self;
        assert_eq!(status.code(), Some(code), "`{what}`:\n{stdout}\n{stderr}");
        self
    }

    /// Checks that standard error says this.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Ended {
        assert!(self.stderr.contains(words), "`{}` does not say `{words}`:\n{}", self.what, self.stderr);
        self
    }

    /// Checks that standard output shows this.
    #[track_caller]
    pub(crate) fn shows(self, words: &str) -> Ended {
        assert!(self.stdout.contains(words), "`{}` does not show `{words}`:\n{}", self.what, self.stdout);
        self
    }

    /// The one document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}`: {error}:\n{}", self.what, self.stdout))
    }
}

/// An answer to GET by HTTP/1.1, head and body. None if nobody listens (any more).
pub(crate) fn get(address: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// Sends the head of a request, without the blank line that ends it, and reads all that comes back.
pub(crate) fn ask_over_tcp(address: &str, head: &str) -> String {
    ask_over_tcp_with(address, head, "")
}

/// The same with a body, whose length the head says.
pub(crate) fn ask_over_tcp_with(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{head}connection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A simulator in a process of its own; killed when dropped.
pub(crate) struct Sim {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Sim {
    /// Starts it with a scenario's name or YAML.
    pub(crate) fn start(world: &World, scenario: &str) -> Sim {
        let scenario = if scenario.contains(':') {
            world.write("scenario.yaml", scenario).display().to_string()
        } else {
            scenario.to_owned()
        };
        let mut command = world.command(&["sim", &scenario, "--listen", "127.0.0.1:0", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let said: Value = serde_json::Deserializer::from_reader(&mut stdout)
            .into_iter()
            .next()
            .expect("the simulator says where it is")
            .unwrap();
        let url = said["base_url"].as_str().unwrap().to_owned();
        Sim { child, _stdout: stdout, url }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// What it says of one provider: received, billed and so on.
    pub(crate) fn provider(&self, name: &str) -> Value {
        self.ask("GET", "/_sim/requests", "")["providers"][name].take()
    }

    /// Chat calls that a provider received.
    pub(crate) fn received(&self, provider: &str) -> u64 {
        self.provider(provider)["received"].as_u64().unwrap()
    }

    /// Chat calls that all providers received.
    pub(crate) fn received_in_all(&self) -> u64 {
        let page = self.ask("GET", "/_sim/requests", "");
        page["providers"].as_object().unwrap().values().map(|one| one["received"].as_u64().unwrap()).sum()
    }

    /// When chat calls reached a provider, in milliseconds since the simulator's start.
    pub(crate) fn times(&self, provider: &str) -> Vec<f64> {
        let page = self.ask("GET", &format!("/_sim/times?provider={provider}"), "");
        page["times"].as_array().unwrap().iter().map(|at| at.as_f64().unwrap()).collect()
    }

    /// What a provider billed, in millionths of a dollar.
    pub(crate) fn billed(&self, provider: &str) -> u64 {
        micros(&self.provider(provider)["billed"]["micros"])
    }

    /// Every kept body that a provider received.
    pub(crate) fn bodies(&self, provider: &str) -> Vec<Value> {
        let mut page = self.ask("GET", &format!("/_sim/requests?bodies=true&dialect={provider}"), "");
        assert_eq!(page["bodies_dropped"], 0, "the scenario keeps too few bodies for this test");
        let Value::Array(kept) = page["bodies"].take() else { panic!("no bodies: {page}") };
        kept.into_iter().map(|mut kept| kept["body"].take()).collect()
    }

    /// Makes an account endless, or adds so many calls.
    pub(crate) fn top_up(&self, provider: &str, calls: Option<u64>) {
        let asked = serde_json::json!({"provider": provider, "calls": calls});
        self.ask("POST", "/_sim/topup", &asked.to_string());
    }

    /// Plays another scenario, from its start.
    pub(crate) fn play(&self, yaml: &str) {
        self.ask("POST", "/_sim/scenario", yaml);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of a shipped job.
pub(crate) fn shipped_job(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/jobs").join(format!("{name}.yaml"))
}

/// How often each item number comes in these lines.
pub(crate) fn by_item(lines: &[Value]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line["item"].as_u64().unwrap()).or_insert(0) += 1;
    }
    counts
}

/// A CSV of `rows` rows with the columns `id` and `name`.
pub(crate) fn csv_rows(rows: u32) -> String {
    let mut text = "id,name\n".to_owned();
    (1..=rows).for_each(|row| text.push_str(&format!("{row},name-{row}\n")));
    text
}

/// A world with a simulator, `rows` rows and a job over them that was written to `job.yaml`.
pub(crate) fn set_up(scenario: &str, rows: u32, config: &str, more: &str) -> (World, Sim, String) {
    let world = World::new(config);
    let sim = Sim::start(&world, scenario);
    world.write("rows.csv", &csv_rows(rows));
    let job = world.write("job.yaml", &kimi_job("job", "rows.csv", more)).display().to_string();
    (world, sim, job)
}

/// A job of kimi's that answers with a little JSON; `more` fields are added to it.
pub(crate) fn kimi_job(name: &str, input: &str, more: &str) -> String {
    format!(
        "name: {name}\nprivacy: P0\ninput: {input}\nprompt: \"Say what {{{{ name }}}} is.\"\n\
         answer: {{type: object, properties: {{kind: {{enum: [thing, place]}}, \
         means: {{type: string, minLength: 1, maxLength: 60}}}}, required: [kind, means], \
         additionalProperties: false}}\nmax_tokens: 100\nroute: [kimi]\n{more}"
    )
}
