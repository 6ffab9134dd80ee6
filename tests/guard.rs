//! The resource guard of the real program on the real machine: thresholds are crossed by what is
//! really used, the job waits or pauses and says why, and ends well once there is room.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::process::Child;

use empire::sampler::{Folders, SystemSampler};
use serde_json::Value;
use support::{Ran, Sandbox, Sim, SmallDisk, skip};

const JOB: &str = "\
name: steady
privacy: P0
input: rows.csv
prompt: 'Say a word on {{ name }}.'
max_tokens: 50
route: [ollama]
";
const ROWS: u32 = 400;
/// What other tests press on this machine is no part of these.
const ALONE: &str = "\
[metrics]
listen = \"none\"
[guard]
sample_every = \"100ms\"
smoothing_memory = \"100ms\"
dwell = \"200ms\"
cpu = \"none\"
load = \"none\"
memory_some = \"none\"
memory_full = \"none\"
disk_floor_simulated = \"none\"
";

struct Bench {
    sandbox: Sandbox,
    sim: Sim,
    config: String,
}

impl Bench {
    /// A job of [`ROWS`] rows, under the guard that `config` makes of [`ALONE`].
    fn new(config: &str) -> Bench {
        let sandbox = Sandbox::new();
        sandbox.write("job.yaml", JOB);
        let rows: String = (1..=ROWS).map(|n| format!("person {n}\n")).collect();
        sandbox.write("rows.csv", "name\n".to_owned() + &rows);
        let sim = Sim::start(&sandbox, "instant");
        sim.play("{name: pace, ollama: {latency: {fixed: 20}}}");
        let mut bench = Bench { sandbox, sim, config: String::new() };
        bench.configure(config);
        bench
    }

    fn configure(&mut self, config: &str) {
        let mut settings: toml::Table = ALONE.parse().unwrap();
        let more: toml::Table = format!("[guard]\n{config}").parse().unwrap();
        let (Some(toml::Value::Table(guard)), Some(toml::Value::Table(more))) =
            (settings.get_mut("guard"), more.get("guard"))
        else {
            panic!("no tables")
        };
        guard.extend(more.clone());
        self.config = self.sandbox.write("config.toml", settings.to_string()).display().to_string();
    }

    fn start(&self, args: &[&str]) -> Child {
        self.sandbox.command(&[&["--config", &self.config], args].concat()).spawn().unwrap()
    }

    fn empire(&self, args: &[&str]) -> Ran {
        self.sandbox.end(self.start(args))
    }

    fn run_args(&self) -> [&str; 6] {
        ["swarm", "run", "job.yaml", "--sim", &self.sim.url, "--yes"]
    }

    fn status(&self) -> Value {
        self.empire(&["--json", "swarm", "status", "steady"]).json()
    }

    /// Waits until the running job says this of itself; what else it said, if it ends before.
    fn wait_for_reason(&self, running: &mut Child, words: &str) -> Result<(), String> {
        loop {
            if running.try_wait().unwrap().is_some() {
                let mut said = String::new();
                running.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return Err(said);
            }
            // There is no job before its input is read in.
            let status = self.empire(&["--json", "swarm", "status", "steady"]);
            if status.code == Some(0) {
                let status = status.json();
                if status["reason"].as_str().is_some_and(|reason| reason.contains(words)) {
                    return Ok(());
                }
                assert!(
                    matches!(status["state"].as_str(), Some("running" | "paused" | "admitting")),
                    "{status}"
                );
            }
        }
    }

    fn report(&self) -> Value {
        let path = self.sandbox.path("out/steady/simulated/report.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

#[test]
fn a_run_above_its_memory_ceiling_waits_and_goes_on_under_a_higher_one() {
    let mut bench = Bench::new("own_memory_ceiling = \"4 MiB\"");
    let mut running = bench.start(&bench.run_args());
    bench.wait_for_reason(&mut running, "own memory at").unwrap();
    assert_eq!(bench.sim.received(), 0, "the guard looks before anybody calls");
    let waits = bench.status();
    assert_eq!(waits["state"], "running", "{waits}");
    assert!(waits["reason"].as_str().unwrap().ends_with("(emergency from 95 %)"), "{waits}");
    assert_eq!(bench.empire(&["swarm", "pause", "steady"]).code, Some(0));
    let ran = bench.sandbox.end(running);
    assert_eq!(ran.code, Some(130), "{ran:#?}");
    assert!(ran.err.contains("waiting until the machine has room"), "{ran:#?}");
    let report = bench.report();
    assert!(report["guard"]["seconds_emergency"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["totals"]["dead"], 0, "{report}");

    bench.configure("own_memory_ceiling = \"2 GiB\"");
    let resumed = bench.empire(&["swarm", "resume", "steady"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    let report = bench.report();
    assert_eq!(report["totals"]["done"], ROWS, "{report}");
    assert_eq!(report["guard"]["seconds_emergency"], 0.0, "{report}");
    assert_eq!(bench.sim.received(), u64::from(ROWS), "nothing was bought twice");
}

#[test]
fn a_run_waits_while_the_machines_memory_is_taken_and_goes_on_by_itself() {
    let folder = std::path::PathBuf::from(".");
    let machine = SystemSampler::new(Folders { data: folder.clone(), out: folder });
    let (Some(before), Some(limit)) = (machine.read().memory, machine.limits().memory) else {
        return skip("this system tells nothing of its memory");
    };
    let total = limit.amount;
    let threshold = before + 4.0;
    if threshold > 85.0 || total > 64 << 30 {
        return skip("this machine has too little or too much memory for the test to take some");
    }
    let bench = Bench::new(&format!(
        "memory = {{ throttle = {threshold:.2}, alert = {threshold:.2}, emergency = {threshold:.2} }}\nmargin = 1"
    ));
    // Written to, or the system would not count it.
    let taken = vec![1_u8; usize::try_from(total / 12).unwrap()];
    let mut running = bench.start(&bench.run_args());
    if let Err(said) = bench.wait_for_reason(&mut running, "(emergency from") {
        assert!(machine.read().memory.is_none_or(|now| now < threshold), "it went on without room: {said}");
        return skip("somebody else has given back memory meanwhile");
    }
    assert!(bench.sim.received() < u64::from(ROWS), "it went on without room");
    drop(std::hint::black_box(taken));
    let ran = bench.sandbox.end(running);
    if ran.code.is_none() && machine.read().memory.is_some_and(|now| now > threshold * 0.98) {
        return skip("somebody else has taken the memory meanwhile");
    }
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(
        ran.err.contains("waiting until the machine has room, calls under way may end: memory at"),
        "{ran:#?}"
    );
    assert!(ran.err.contains("the machine has room again"), "{ran:#?}");
    let report = bench.report();
    assert_eq!(report["totals"]["done"], ROWS, "{report}");
    assert!(report["guard"]["seconds_emergency"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(bench.sim.received(), u64::from(ROWS));
}

#[test]
fn a_run_on_a_busy_machine_slows_down_and_ends() {
    // Its own work is more than nothing.
    let bench = Bench::new(
        "cpu = { throttle = 0.01, alert = 100, emergency = 100 }\nsmoothing = \"60s\"\nalert_after = \"1h\"",
    );
    let ran = bench.empire(&bench.run_args());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.err.contains("slowing down: CPU at"), "{ran:#?}");
    let report = bench.report();
    assert!(report["guard"]["seconds_throttled"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["totals"]["done"], ROWS, "{report}");
    assert!(ran.out.contains("held back by the machine"), "{ran:#?}");
}

#[test]
fn below_the_disk_floor_nothing_starts_and_it_says_where_and_how_much() {
    let mut bench = Bench::new("disk_floor_simulated = \"1000000 TiB\"");
    let ran = bench.empire(&bench.run_args());
    assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""), "{ran:#?}");
    let error = ran.error();
    assert!(
        error.starts_with("nothing was started: the disk of the data folder TEMP/home/sim has "),
        "{error}"
    );
    assert!(
        error.contains(" free, and ") && error.contains(" are needed: free some space, or lower"),
        "{error}"
    );
    assert_eq!(bench.sim.received(), 0);
    assert!(bench.sandbox.jobs().is_empty());
    assert!(!bench.sandbox.path("out").exists_at_all(), "it wrote to the output folder");
    bench.configure("");
    assert_eq!(bench.empire(&bench.run_args()).code, Some(0));
}

trait ExistsAtAll {
    fn exists_at_all(&self) -> bool;
}

impl ExistsAtAll for std::path::PathBuf {
    fn exists_at_all(&self) -> bool {
        self.try_exists().unwrap()
    }
}

#[test]
fn a_disk_that_gets_low_during_the_run_pauses_it_and_nothing_more_is_written() {
    let bench = Bench::new("disk_floor_simulated = \"24 MiB\"");
    let Some(_disk) = SmallDisk::mount(&bench.sandbox.path("disk"), "64m") else { return };
    let data = bench.sandbox.path("disk/home").display().to_string();
    let with = |args: &[&str]| bench.start(&[&["--data-dir", &data], args].concat());
    let running = with(&bench.run_args());
    while bench.sim.received() < 20 {
        std::thread::yield_now();
    }
    let filler = bench.sandbox.write("disk/filler", vec![0; 48 << 20]);
    let ran = bench.sandbox.end(running);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    let why = "the disk of the data folder TEMP/disk/home/sim has ";
    assert!(ran.out.contains("paused"), "{ran:#?}");
    let status = bench.sandbox.end(with(&["--json", "swarm", "status", "steady"])).json();
    assert_eq!(status["state"], "paused", "{status}");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.starts_with(why) && reason.contains("and 24.0 MiB are needed"), "{reason}");
    let out = bench.sandbox.path("out/steady/simulated");
    for file in ["report.json", "report.md", "results.csv"] {
        assert!(!out.join(file).exists_at_all(), "{file} was written");
    }
    let refused = bench.sandbox.end(with(&["swarm", "resume", "steady"]));
    assert_eq!(refused.code, Some(4), "{refused:#?}");
    assert!(refused.error().starts_with("nothing was started: the disk of the data folder"), "{refused:#?}");

    fs::remove_file(filler).unwrap();
    let resumed = bench.sandbox.end(with(&["swarm", "resume", "steady"]));
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert_eq!(bench.report()["totals"]["done"], ROWS);
    assert_eq!(bench.sim.received(), u64::from(ROWS), "what was under way was kept");
}

#[test]
fn doctor_tells_readings_limits_and_thresholds() {
    let bench = Bench::new("disk_floor = \"1000000 TiB\"\nown_memory_ceiling = \"1 MiB\"");
    let told = bench.empire(&["--json", "doctor"]).json();
    let findings = told["findings"].as_array().unwrap();
    let of = |what: &str| findings.iter().find(|finding| finding["what"] == what).unwrap().clone();
    let own = of("own memory");
    assert_eq!(own["health"], "attention");
    assert!(
        own["found"].as_str().unwrap().contains(" of 1.0 MiB; throttled from 70 %, alert 85, emergency 95"),
        "{own}"
    );
    let disk = of("disk of the data folder");
    assert_eq!(disk["health"], "attention");
    assert!(disk["todo"].as_str().unwrap().contains("disk_floor"), "{disk}");
    assert!(of("CPU")["found"].as_str().unwrap().contains("not watched"), "{}", of("CPU"));
    let guard = &told["guard"];
    assert!(guard["readings"]["own_memory"].as_u64().unwrap() > 1 << 20, "{guard}");
    assert_eq!(guard["thresholds"]["memory"]["emergency"], 95.0, "{guard}");
    assert!(matches!(guard["limits"]["cores"]["whose"].as_str(), Some("host" | "container")), "{guard}");
}
