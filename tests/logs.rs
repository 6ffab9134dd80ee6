//! The log: no secret gets through to a writer, nothing that writes it can stop the program, and
//! `empire logs` reads it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may say what it did not expect by panicking"
)]

#[path = "privacy_rates/planted.rs"]
mod planted;
#[path = "privacy_rates/spelled.rs"]
mod spelled;
mod support;

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use empire::config::LogSetting;
use empire::log::{LogHandle, LogParts, build};
use empire::privacy::rules;
use empire_actors::gates::detect::Detector;
use empire_actors::gates::own::OwnSecrets;
use empire_actors::ports::{UnixMillis, WallClock};
use serde_json::Value;
use support::{Sandbox, Sim, SmallDisk};
use tracing::{Dispatch, debug, error, info, info_span, warn};

const PATIENCE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400_000;
/// 2026-09-02T12:00:00Z
const NOON: i64 = 1_788_350_400_000;

/// A clock that stands still until it is moved.
struct Hands(AtomicI64);

impl WallClock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

/// A terminal that a test can read.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn detector(own: &[(&str, &str)]) -> Arc<Detector> {
    let rules = rules::load(&rules::Look::default()).unwrap();
    Arc::new(Detector::new(rules).with_own(OwnSecrets::new(own.iter().copied()).unwrap()))
}

/// A log of its own, in a data folder of its own.
struct Bench {
    home: tempfile::TempDir,
    screen: Screen,
    clock: Arc<Hands>,
    handle: LogHandle,
    dispatch: Dispatch,
}

impl Bench {
    fn new(level: &str, keep_days: u16, own: &[(&str, &str)]) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let (screen, clock) = (Screen::default(), Arc::new(Hands(AtomicI64::new(NOON))));
        let (subscriber, handle) = build(LogParts {
            terminal: Box::new(screen.clone()),
            coloured: false,
            levels: level.parse().unwrap(),
            clock: clock.clone(),
        });
        let bench = Bench { home, screen, clock, handle, dispatch: Dispatch::new(subscriber) };
        bench.handle.write_to(bench.home.path(), &setting(level, keep_days), detector(own));
        assert!(bench.handle.flush(PATIENCE));
        bench
    }

    /// Logs what `say` says, and waits until it is written.
    fn log(&self, say: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.dispatch, say);
        assert!(self.handle.flush(PATIENCE));
    }

    fn day(&self, day: &str) -> Vec<Value> {
        lines(&self.home.path().join("logs").join(format!("empire-{day}.jsonl")))
    }
}

fn setting(level: &str, keep_days: u16) -> LogSetting {
    LogSetting { levels: level.parse().unwrap(), keep_days, otlp: None }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// All the text of a line.
fn told(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(parts) => parts.iter().map(told).collect(),
        Value::Object(fields) => fields.values().map(told).collect(),
        other => format!("{other}\n"),
    }
}

#[test]
fn no_sample_of_the_corpus_gets_through_to_a_writer() {
    let bench = Bench::new("info", 90, &[]);
    let planted = planted::all(&rules::load(&rules::Look::default()).unwrap(), 0);
    let others: Vec<_> =
        spelled::ALL.iter().filter(|way| spelled::GROUPS[1..4].contains(&way.group)).collect();
    let mut cases = Vec::new();
    for (number, value) in planted.iter().enumerate() {
        for way in [&spelled::ALL[0], others[number % others.len()]] {
            let frame = spelled::FRAMES[cases.len() % spelled::FRAMES.len()];
            let (text, spelled) = way.plant(value, frame).expect("no value is too short");
            // In turn as the message, as a field and as what surrounds the line.
            bench.log(|| match cases.len() % 3 {
                0 => info!("{text}"),
                1 => info!(why = %text, "it failed"),
                _ => info_span!("call", why = text.as_str()).in_scope(|| warn!("it failed")),
            });
            cases.push((format!("{}, {}: {text}", value.class, way.name), spelled));
        }
    }
    let written = bench.day("2026-09-02");
    assert_eq!((written.len(), cases.len() >= 1_000), (cases.len(), true));
    let screen = bench.screen.text();
    let shown: Vec<&str> = screen.lines().collect();
    assert_eq!(shown.len(), cases.len());
    let left: Vec<&String> = cases
        .iter()
        .zip(written.iter().zip(shown))
        .filter(|((_, value), (line, shown))| {
            spelled::remains(&told(line), value) || spelled::remains(shown, value)
        })
        .map(|((what, _), _)| what)
        .collect();
    assert!(left.is_empty(), "{} of {} left: {left:#?}", left.len(), cases.len());
    let counts = bench.handle.counts();
    assert!(counts.cut >= 1_000 && counts.secrets > 500 && counts.dropped == 0, "{counts:?}");
}

#[test]
fn the_owners_own_secrets_are_cut_out_and_an_event() {
    let own = ["tooth", "fairy", "of 1971"].concat();
    let bench = Bench::new("debug", 90, &[("env:OWN", &own)]);
    let secrets = bench.handle.secrets();
    bench.log(|| info!(job = "a", "nothing to see"));
    assert!(!secrets.has_changed().unwrap());
    bench.log(|| {
        // In fields whose names say nothing, in other spellings, and again in an earlier part.
        let hex: String = own.bytes().map(|byte| format!("{byte:02x}")).collect();
        error!(a = %own, b = %hex, c = ?Some(&own), "asked with {own}");
    });
    let line = told(&bench.day("2026-09-02")[1]) + &bench.screen.text();
    assert!(!spelled::remains(&line, &own) && line.contains("asked with <SECRET_1>"), "{line}");
    let seen = secrets.borrow().clone();
    assert_eq!((seen.count, seen.target.as_str()), (1, "logs"));
    assert!(seen.rules.contains("own-secret"), "{seen:?}");
}

#[test]
fn what_a_run_says_of_itself_is_left_alone() {
    let bench = Bench::new("trace", 90, &[]);
    bench.log(|| {
        let job = info_span!("job", job = "01990fe2-7c5c-7d2a-b1c3-2f1f3a6b9c0d");
        let call = info_span!(parent: &job, "call", item = 499_999_u64, call = 123_456_789_u64, provider = "kimi",
            model = "kimi-k2.6");
        call.in_scope(|| {
            debug!(failed = "rate limited", ms = 81_u64, billed = "$0.001400", "a call ended");
            warn!(provider = "kimi", why = "overloaded", seconds = 12.5, "a lane closed for a while");
            warn!(from = "normal", to = "throttled", binds = "cpu 91 % of 85 %", "the machine is pressed");
            info!(scope = "Provider(kimi)", percent = 80, "80 % of the cap of kimi ($12.00) are used: $9.60");
            error!(child = "/empire/gates/rate-kimi", exit = "Failed(\"no answer\")", "a child ended");
            info!(approval = "01990fe2-7c5c-7d2a-b1c3-2f1f3a6b9c0e", amount = "$5.00", "an approval is asked for");
        });
    });
    assert_eq!(bench.handle.counts().cut, 0, "{}", bench.screen.text());
    let written = bench.day("2026-09-02");
    assert_eq!(written[0]["spans"][0]["job"], "01990fe2-7c5c-7d2a-b1c3-2f1f3a6b9c0d");
    assert_eq!(written[0]["spans"][1]["item"], 499_999);
    assert_eq!(written[0]["fields"]["failed"], "rate limited");
    assert_eq!(written[0]["time"], "2026-09-02T12:00:00.000Z");
    assert_eq!(written[1]["level"], "WARN");
    let first = bench.screen.text().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "2026-09-02T12:00:00.000Z DEBUG job{job=01990fe2-7c5c-7d2a-b1c3-2f1f3a6b9c0d}: call{item=499999 \
         call=123456789 provider=kimi model=kimi-k2.6}: logs: a call ended failed=\"rate limited\" ms=81 \
         billed=$0.001400"
    );
}

#[test]
fn what_cannot_be_looked_at_is_withheld() {
    let bench = Bench::new("info", 90, &[]);
    let mut deep = "a text that nobody has to hide, only to pack it up a few times over".to_owned();
    for _ in 0..4 {
        deep = spelled::base64(&deep);
    }
    bench.log(|| info_span!("call", provider = "kimi").in_scope(|| info!(deep, "packed")));
    let line = &bench.day("2026-09-02")[0];
    let said = line["message"].as_str().unwrap();
    assert!(said.starts_with("(withheld: this line could not be looked at"), "{line}");
    assert!(line.get("fields").is_none() && !bench.screen.text().contains(&deep[..40]), "{line}");
    assert_eq!((&line["level"], &line["target"]), (&"INFO".into(), &"logs".into()));
    assert_eq!(bench.handle.counts().withheld, 1);
}

#[test]
fn a_line_stays_one_line_and_harmless_to_a_terminal() {
    let bench = Bench::new("info", 90, &[]);
    let long = "word ".repeat(40_000);
    bench.log(|| {
        info!(path = "a\nb", "two\nlines \u{1b}[31mred\u{202e} and \"quotes\"");
        info!(long, "much");
    });
    let written = bench.day("2026-09-02");
    assert_eq!(written[0]["message"], "two\nlines \u{1b}[31mred\u{202e} and \"quotes\"");
    let bytes = written[1]["fields"]["long"].as_str().unwrap().len();
    assert!((16_000..17_000).contains(&bytes), "{bytes}");
    let screen = bench.screen.text();
    assert_eq!(screen.lines().count(), 2);
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{202e}'), "{screen}");
}

#[test]
fn the_level_changes_while_it_runs() {
    let bench = Bench::new("info", 90, &[]);
    bench.log(|| debug!("before"));
    bench.handle.set_level("debug,logs=trace".parse().unwrap());
    bench.log(|| debug!("after"));
    assert_eq!(bench.handle.level().to_string(), "debug,logs=trace");
    bench.handle.set_level("off".parse().unwrap());
    bench.log(|| error!("never"));
    let written = bench.day("2026-09-02");
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["message"], "after");
    // The terminal keeps its own.
    assert!(bench.screen.text().contains("never") && !bench.screen.text().contains("after"));
}

#[test]
fn a_day_has_a_file_and_old_ones_go() {
    let bench = Bench::new("info", 3, &[]);
    let logs = bench.home.path().join("logs");
    for other in ["empire-2026-08-31.jsonl", "empire-2026-08-30.jsonl", "notes.jsonl", "empire-2020.jsonl"] {
        std::fs::write(logs.join(other), "").unwrap();
    }
    bench.log(|| info!("first"));
    bench.clock.0.store(NOON + DAY / 2 - 1, Ordering::Relaxed);
    bench.log(|| info!("last of the day"));
    bench.clock.0.store(NOON + DAY / 2, Ordering::Relaxed);
    bench.log(|| info!("next"));
    assert_eq!(bench.day("2026-09-02").len(), 2);
    assert_eq!(bench.day("2026-09-03")[0]["message"], "next");
    let mut names: Vec<String> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // Three days, today among them; what is none of ours stays.
    assert_eq!(
        names,
        ["empire-2020.jsonl", "empire-2026-09-02.jsonl", "empire-2026-09-03.jsonl", "notes.jsonl"]
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&logs), mode(&logs.join("empire-2026-09-03.jsonl"))), (0o700, 0o600));
    }
}

#[test]
fn several_that_write_to_one_file_tear_no_line() {
    let first = Bench::new("info", 90, &[]);
    let others: Vec<Bench> = (0..3).map(|_| Bench::new("info", 90, &[])).collect();
    for other in &others {
        other.handle.write_to(first.home.path(), &setting("info", 90), detector(&[]));
    }
    let text = "a sentence of some length ".repeat(200);
    std::thread::scope(|scope| {
        for bench in others.iter().chain([&first]) {
            scope.spawn(|| (0..100).for_each(|number| bench.log(|| info!(number, text, "mine"))));
        }
    });
    assert_eq!(first.day("2026-09-02").len(), 400);
}

/// A terminal that takes nothing until it is let go.
struct Stuck(mpsc::Receiver<()>, Screen);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error is the end of the wait, too: for all that follows.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_hangs_holds_nobody_up_and_the_loss_is_told() {
    let (go, gate) = mpsc::channel();
    let screen = Screen::default();
    let (subscriber, handle) = build(LogParts {
        terminal: Box::new(Stuck(gate, screen.clone())),
        coloured: false,
        levels: "info".parse().unwrap(),
        clock: Arc::new(Hands(AtomicI64::new(NOON))),
    });
    let dispatch = Dispatch::new(subscriber);
    tracing::dispatcher::with_default(&dispatch, || {
        (0..20_000).for_each(|number| info!(number, "one of many"));
    });
    let dropped = handle.counts().dropped;
    assert!((10_000..20_000).contains(&dropped), "{dropped}");
    assert!(!handle.flush(Duration::from_millis(20)));
    drop(go);
    assert!(handle.flush(PATIENCE));
    tracing::dispatcher::with_default(&dispatch, || info!("again"));
    assert!(handle.flush(PATIENCE));
    let screen = screen.text();
    assert!(screen.contains(&format!("lines came faster than they could be written dropped={dropped}")));
    assert!(screen.trim_end().ends_with("again"));
    assert_eq!(screen.lines().count() as u64, 20_000 - dropped + 2);
}

#[test]
fn a_full_disk_loses_lines_and_says_so_once_there_is_room() {
    let bench = Bench::new("info", 90, &[]);
    let logs = bench.home.path().join("logs");
    std::fs::remove_dir_all(&logs).unwrap();
    let Some(disk) = SmallDisk::mount(&logs, "64k") else { return };
    let text = "a sentence of some length ".repeat(20);
    bench.log(|| (0..500).for_each(|number| info!(number, text, "mine")));
    let counts = bench.handle.counts();
    assert!(counts.lost > 300 && counts.written + counts.lost == 500, "{counts:?}");
    assert_eq!(bench.day("2026-09-02").len() as u64, counts.written);
    assert_eq!(bench.screen.text().matches("the log cannot be written").count(), 1);
    disk.resize("1m");
    // It is left alone for a second.
    for _ in 0..1_000_000 {
        bench.log(|| info!("room"));
        if bench.handle.counts().written > counts.written {
            break;
        }
    }
    let written = bench.day("2026-09-02");
    let told =
        written.iter().find(|line| line["message"] == "the log can be written again; lines are missing");
    assert!(told.unwrap()["fields"]["lost"].as_u64() >= Some(counts.lost), "{told:?}");
}

#[test]
fn nothing_to_write_to_is_no_reason_to_stop() {
    let bench = Bench::new("info", 90, &[]);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("logs"), "a file").unwrap();
    bench.handle.write_to(other.path(), &setting("info", 90), detector(&[]));
    bench.log(|| info!("lost"));
    assert_eq!(bench.handle.counts().lost, 1);
    assert!(bench.screen.text().contains("the log cannot be written ("));
    // A folder that was taken away is made anew.
    bench.handle.write_to(bench.home.path(), &setting("info", 90), detector(&[]));
    bench.log(|| info!("one"));
    std::fs::remove_dir_all(bench.home.path().join("logs")).unwrap();
    bench.log(|| info!("two"));
    assert_eq!(bench.day("2026-09-02")[0]["message"], "two");
}

/// A run of the simulator, whose log the commands read.
fn ran() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", "{\"word\": \"one\"}\n{\"word\": \"two\"}\n");
    let job = "name: words\nprivacy: P0\ninput: rows.jsonl\nprompt: \"Say {{ word }}\"\nmax_tokens: 20\n\
        route: [kimi]\nbudget: 1\n";
    sandbox.write("job.yaml", job);
    let sim = Sim::start(&sandbox, "instant");
    let ran = sandbox.empire(&["swarm", "run", "job.yaml", "--sim", &sim.url, "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let id = sandbox.jobs()[0]["id"].as_str().unwrap().to_owned();
    (sandbox, id)
}

#[test]
fn the_log_of_a_run_is_shown_and_filtered() {
    let (sandbox, id) = ran();
    let all = sandbox.empire(&["logs"]);
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
    let line =
        |text: &str| all.out.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{all:#?}"));
    assert!(
        line("a job started").contains(&format!(
            "INFO job{{job={id}}}: empire_actors::swarm: a job started items=2 cohorts=1"
        ))
    );
    assert!(line("a job ended").contains("done=2 dead=0 unfinished=0 calls=2 spent=$0.0"));
    // No colour for whom nobody sees it, and neither prompts nor answers.
    assert!(!all.out.contains('\u{1b}') && !all.out.contains("Say one"), "{all:#?}");
    let of_job = sandbox.empire(&["logs", "--job", "words", "-n", "1", "--json"]);
    let last = of_job.json();
    assert_eq!((&last["message"], &last["spans"][0]["job"]), (&"a job ended".into(), &id.as_str().into()));
    for none in [
        &["logs", "--level", "error"][..],
        &["logs", "--job", "0000-0000"],
        &["logs", "--since", "2020-01-01", "--until", "2020-01-02"],
        &["logs", "-n", "0"],
    ] {
        let shown = sandbox.empire(none);
        assert_eq!((shown.code, shown.out.as_str(), shown.err.as_str()), (Some(0), "", ""), "{none:?}");
    }
    let since = sandbox.empire(&["logs", "--since", "1h"]);
    assert_eq!(since.out, all.out);
    // What something else wrote there is no line, and no reason to show nothing.
    let logs = sandbox.home().join("logs");
    let file = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, [&std::fs::read(&file).unwrap()[..], b"garbage\n{\"half"].concat()).unwrap();
    let shown = sandbox.empire(&["logs"]);
    assert_eq!((shown.out, shown.err.as_str()), (all.out, "note: 1 line of the log cannot be read\n"));
}

#[test]
fn wrong_questions_are_answered_plainly() {
    let sandbox = Sandbox::new();
    let none = sandbox.empire(&["logs"]);
    assert_eq!(none.code, Some(2));
    assert_eq!(none.error(), "there is no log in TEMP/home/logs yet: `empire swarm run` writes one");
    for (args, says) in [
        (&["logs", "--level", "loud"][..], "write error, warn, info, debug or trace"),
        (&["logs", "--since", "yesterday"], "write how long ago, like 30m, 2h or 7d, or a moment"),
        (&["logs", "--since", "1h", "--until", "2h"], "no line can be between them"),
        (&["logs", "-n", "many"], "invalid digit"),
        (&["logs", "--job", "nobody"], "nobody"),
    ] {
        let ran = sandbox.empire(args);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{args:?}: {ran:#?}");
    }
    let config = sandbox.write("other.toml", "[log]\nlevel = \"inof\"\n");
    let ran = sandbox.empire(&["--config", config.to_str().unwrap(), "limits"]);
    assert!(ran.err.contains("other.toml:2: `log.level` cannot be: `inof` is no level"), "{ran:#?}");
    let help = sandbox.empire(&["logs", "--help"]);
    assert!(help.out.contains("--follow") && help.out.contains("one JSON document each"), "{help:#?}");
    let completions = sandbox.empire(&["completions", "bash"]);
    assert!(completions.out.contains("empire__subcmd__logs") || completions.out.contains("empire__logs"));
}

#[test]
fn following_goes_on_into_the_next_day() {
    use std::io::{BufRead, BufReader};
    let sandbox = Sandbox::new();
    let line = |day: &str, message: &str| {
        format!(
            "{{\"time\":\"{day}T00:00:00.000Z\",\"level\":\"INFO\",\"target\":\"t\",\"message\":\"{message}\",\"process\":1}}\n"
        )
    };
    let first = sandbox
        .write("home/logs/empire-2026-09-02.jsonl", line("2026-09-02", "old") + &line("2026-09-02", "one"));
    let mut child = sandbox.command(&["logs", "--follow", "-n", "1"]).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || shown.next().unwrap().unwrap();
    assert_eq!(next(), "2026-09-02T00:00:00.000Z  INFO t: one");
    let append = |path: &Path, text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // Half a line is none yet.
    let two = line("2026-09-02", "two");
    append(&first, &two[..20]);
    append(&first, &two[20..]);
    assert_eq!(next(), "2026-09-02T00:00:00.000Z  INFO t: two");
    append(&first.with_file_name("empire-2026-09-03.jsonl"), &line("2026-09-03", "three"));
    assert_eq!(next(), "2026-09-03T00:00:00.000Z  INFO t: three");
    // Another process may still write to the day before.
    append(&first, &line("2026-09-02", "late"));
    assert_eq!(next(), "2026-09-02T00:00:00.000Z  INFO t: late");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_lines_and_spans_without_their_secrets() {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = ["tooth", "fairy", "of 1971"].concat();
    let bench = Bench::new("info", 90, &[("env:OWN", &own)]);
    let (sender, posts) = mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            sender.send((head.lines().next().unwrap().to_owned(), body)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        }
    });
    let setting = LogSetting { otlp: Some(url), ..setting("info", 90) };
    bench.handle.write_to(bench.home.path(), &setting, detector(&[("env:OWN", &own)]));
    bench.log(|| {
        let job = info_span!("job", job = "j-1");
        let call = info_span!(parent: &job, "call", item = 7_u64, why = own.as_str());
        call.in_scope(|| warn!(n = 3_u64, share = 0.5, "asked with {own}"));
    });
    bench.handle.exported(PATIENCE).await;
    let (mut logs, mut spans) = (Vec::new(), Vec::new());
    for (request, body) in [posts.recv_timeout(PATIENCE).unwrap(), posts.recv_timeout(PATIENCE).unwrap()] {
        assert!(!spelled::remains(&body.to_string(), &own), "{body}");
        if request == "POST /v1/logs HTTP/1.1" {
            logs = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone();
        } else {
            assert_eq!(request, "POST /v1/traces HTTP/1.1");
            spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        }
    }
    let (call, job, line) = (&spans[0], &spans[1], &logs[0]);
    assert_eq!((&call["name"], &job["name"], spans.len(), logs.len()), (&"call".into(), &"job".into(), 2, 1));
    assert_eq!((&call["traceId"], &call["parentSpanId"]), (&job["traceId"], &job["spanId"]));
    assert_eq!((&line["traceId"], &line["spanId"]), (&job["traceId"], &call["spanId"]));
    assert_eq!(job["parentSpanId"], "");
    assert_eq!(job["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(call["startTimeUnixNano"], "1788350400000000000");
    assert_eq!(call["attributes"][0], serde_json::json!({"key": "item", "value": {"intValue": "7"}}));
    assert_eq!(line["body"]["stringValue"], "asked with <SECRET_1>");
    assert_eq!(line["attributes"][2], serde_json::json!({"key": "share", "value": {"doubleValue": 0.5}}));
    assert_eq!((&line["severityText"], &line["severityNumber"]), (&"WARN".into(), &13.into()));
}
