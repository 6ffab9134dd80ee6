//! Drives the real program in a folder of its own: no home, no keys and no configuration of the
//! machine that tests run on.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

/// No command of these tests takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// An empty folder with a data folder of its own.
pub(crate) struct Sandbox {
    temp: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        Sandbox { temp: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file of the sandbox.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program in this folder, not yet started.
    pub(crate) fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_empire"));
        command
            .args(args)
            .current_dir(self.temp.path())
            .env_clear()
            .env("EMPIRE_HOME", self.home())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn empire(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        self.run(self.command(args))
    }

    pub(crate) fn run(&self, mut command: Command) -> Ran {
        let child = command.spawn().unwrap();
        self.end(child)
    }

    /// Waits for the end of a program that was started with [`Sandbox::command`].
    pub(crate) fn end(&self, mut child: Child) -> Ran {
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let child = Mutex::new(child);
        let (ended, end) = mpsc::channel::<()>();
        let (mut out, mut err) = (String::new(), String::new());
        std::thread::scope(|scope| {
            let running = &child;
            scope.spawn(move || {
                if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    running.lock().unwrap().kill().unwrap();
                }
            });
            let reader = scope.spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).unwrap();
                text
            });
            stderr.read_to_string(&mut err).unwrap();
            out = reader.join().unwrap();
            drop(ended);
        });
        let status = child.into_inner().unwrap().wait().unwrap();
        Ran { code: status.code(), out: self.shorten(&out), err: self.shorten(&err) }
    }

    /// The folder's own path changes with every test.
    fn shorten(&self, text: &str) -> String {
        let real = fs::canonicalize(self.temp.path()).unwrap();
        let text = text.replace(real.to_str().unwrap(), "TEMP");
        text.replace(self.temp.path().to_str().unwrap(), "TEMP")
    }

    /// The jobs in the data folder, as `swarm list` tells.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let listed = self.empire(&["--json", "swarm", "list"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        match listed.json() {
            Value::Array(jobs) => jobs,
            other => panic!("no list: {other}"),
        }
    }
}

/// How a command ended and what it said. The sandbox's path is `TEMP` in it.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if it was killed: it hung.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as the one JSON document that it must be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// What came after `error: `.
    pub(crate) fn error(&self) -> &str {
        let at = self.err.find("error: ").unwrap_or_else(|| panic!("no error: {self:#?}"));
        self.err[at + "error: ".len()..].trim_end()
    }
}

/// A simulator in a process of its own, on a free port.
pub(crate) struct Sim {
    child: Child,
    pub(crate) url: String,
}

impl Sim {
    pub(crate) fn start(sandbox: &Sandbox, scenario: &str) -> Sim {
        let args = ["--json", "sim", scenario, "--listen", "127.0.0.1:0"];
        let child = sandbox.command(&args).stderr(Stdio::null()).spawn().unwrap();
        let mut sim = Sim { child, url: String::new() };
        let mut said = String::new();
        for line in BufReader::new(sim.child.stdout.take().unwrap()).lines() {
            said.push_str(&line.unwrap());
            if let Ok(said) = serde_json::from_str::<Value>(&said) {
                said["base_url"].as_str().unwrap().clone_into(&mut sim.url);
                return sim;
            }
        }
        panic!("the simulator did not start: {said}");
    }

    /// Calls that reached it, of all providers.
    pub(crate) fn received(&self) -> u64 {
        let page = self.ask("GET", "/_sim/requests", "");
        let providers = page["providers"].as_object().unwrap();
        providers.values().map(|provider| provider["received"].as_u64().unwrap()).sum()
    }

    /// Plays another scenario: YAML or a built-in one's name.
    pub(crate) fn play(&self, scenario: &str) {
        self.ask("POST", "/_sim/scenario", scenario);
    }

    fn ask(&self, method: &str, page: &str, body: &str) -> Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {page} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{method} {page}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small file system in memory; it goes with the value.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not permitted, with a word about it.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let option = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(SmallDisk { at: at.to_owned() }),
            refused => {
                skip(&format!("cannot mount a small disk: {refused:?}"));
                None
            }
        }
    }

    pub(crate) fn resize(&self, size: &str) {
        let option = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &option]).arg(&self.at).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let mut filler = fs::File::create(self.at.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    pub(crate) fn empty(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still looks at it keeps it until it is done.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// Says that a test could not look at what it is for.
#[allow(clippy::print_stderr, reason = "the one word that a skipped test says")]
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Makes a database look as a later version of the program would leave it.
pub(crate) fn forge_newer(database: &Path) {
    use sqlx::{Connection, Executor, SqliteConnection};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = format!("sqlite://{}", database.display());
        let mut connection = SqliteConnection::connect(&address).await.unwrap();
        connection
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'later', 1, x'00', 0); \
                 UPDATE meta SET value = '9.9.9' WHERE name = 'program'",
            )
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
}
