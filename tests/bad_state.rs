//! What befalls a data folder and a running job from outside: other runs, newer versions, damage,
//! edits, torn files, full disks. Nothing is lost, and each says what to do.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use support::{Sandbox, Sim, SmallDisk};

const JOB: &str = "\
name: steady
privacy: P0
input: rows.csv
prompt: 'Say a word on {{ name }}.'
max_tokens: 50
route: [ollama]
";
/// Calls take long enough to do something meanwhile.
const LONG: &str = "{name: long, ollama: {latency: {fixed: 2000}}}";
/// For disks that are smaller than any floor.
const NO_FLOOR: &str = "[guard]\ndisk_floor_simulated = \"none\"\n";
const SHORT: &str = "{name: short, ollama: {latency: {fixed: 20}}}";

fn rows(number: u32) -> String {
    let rows = (1..=number).map(|n| format!("person {n},{}\n", "x".repeat(300)));
    "name,note\n".to_owned() + &rows.collect::<String>()
}

fn sandbox(items: u32) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("job.yaml", JOB);
    sandbox.write("rows.csv", rows(items));
    sandbox
}

/// The numbers of the items in `results.jsonl`, every line of which must be whole.
fn results(sandbox: &Sandbox, out: &str) -> Vec<u64> {
    let text = fs::read_to_string(sandbox.path(out).join("results.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["item"].as_u64().unwrap()).collect()
}

/// Waits until the simulator has been called so often.
fn wait_for_calls(sim: &Sim, calls: u64) {
    while sim.received() < calls {
        std::thread::yield_now();
    }
}

#[test]
fn data_folder_in_use_by_another_run() {
    let sandbox = sandbox(8);
    let sim = Sim::start(&sandbox, "instant");
    sim.play(LONG);
    let args = ["swarm", "run", "job.yaml", "--sim", &sim.url];
    let first = sandbox.command(&args).spawn().unwrap();
    let pid = first.id();
    wait_for_calls(&sim, 4);
    let second = sandbox.empire(&args);
    let error = format!(
        "the data folder TEMP/home/sim is in use by another run (process {pid}): wait for it, stop it with `empire \
         swarm pause`, or choose another --data-dir"
    );
    assert_eq!((second.code, second.out.as_str(), second.error()), (Some(2), "", error.as_str()));
    assert_eq!(sim.received(), 4);
    // Looking and stopping work all the same.
    assert_eq!(sandbox.jobs()[0]["state"], "running");
    let paused = sandbox.empire(&["--json", "swarm", "pause", "steady"]);
    assert_eq!((paused.code, paused.json()["state"].as_str()), (Some(0), Some("paused")), "{paused:#?}");
    assert_eq!(sandbox.end(first).code, Some(130));
}

#[test]
fn data_folder_that_is_none() {
    let sandbox = sandbox(3);
    sandbox.write("file", "x");
    let ran = sandbox.empire(&["--data-dir", "file", "swarm", "run", "job.yaml", "--sim"]);
    let error =
        "the data folder TEMP/file is not a folder: move that file away, or choose another --data-dir";
    assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error));
}

#[test]
fn data_folder_of_a_newer_version() {
    let sandbox = sandbox(3);
    let args = ["swarm", "run", "job.yaml", "--sim", "instant"];
    assert_eq!(sandbox.empire(&args).code, Some(0));
    support::forge_newer(&sandbox.path("home/sim/empire.db"));
    for args in [&args[..], &["swarm", "list"], &["swarm", "status", "steady"]] {
        let ran = sandbox.empire(args);
        let (before, after) = ran.error().split_once("; this is").unwrap();
        assert_eq!(
            before,
            "the database TEMP/home/sim/empire.db was written by a newer version (empire 9.9.9, schema 999999)"
        );
        assert!(after.ends_with("update empire, or choose another --data-dir"), "{after}");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    }
}

#[test]
fn damaged_database() {
    let sandbox = sandbox(2_000);
    let args = ["swarm", "run", "job.yaml", "--sim", "instant", "--yes"];
    assert_eq!(sandbox.empire(&args).code, Some(0));
    let path = sandbox.path("home/sim/empire.db");
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length / 3)).unwrap();
    file.write_all(&vec![0xa5; (length / 3) as usize]).unwrap();
    drop(file);
    let damaged = |ran: support::Ran| {
        assert!(ran.error().starts_with("the database TEMP/home/sim/empire.db is damaged ("), "{ran:#?}");
        assert!(ran.error().contains("results.jsonl files already written are safe"), "{ran:#?}");
        assert!(ran.error().ends_with("and start afresh, or restore a copy"), "{ran:#?}");
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    };
    damaged(sandbox.empire(&args));
    fs::write(&path, "this was never a database, and it is long enough to be looked at ".repeat(40)).unwrap();
    damaged(sandbox.empire(&args));
    damaged(sandbox.empire(&["swarm", "list"]));
    // What was written stays; and what the message says to do, does it.
    assert_eq!(results(&sandbox, "out/steady/simulated").len(), 2_000);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    assert_eq!(sandbox.empire(&args).code, Some(0));
}

#[test]
fn spec_edited_under_a_running_job() {
    let sandbox = sandbox(8);
    let sim = Sim::start(&sandbox, "instant");
    sim.play(LONG);
    let args = ["swarm", "run", "job.yaml", "--sim", &sim.url];
    let running = sandbox.command(&args).spawn().unwrap();
    wait_for_calls(&sim, 4);
    // The running job goes by what it was started with.
    sandbox.write("job.yaml", JOB.replace("Say a word on", "Say two words on"));
    assert_eq!(sandbox.empire(&["swarm", "pause", "steady"]).code, Some(0));
    assert_eq!(sandbox.end(running).code, Some(130));
    sim.play("instant");
    let resumed = sandbox.empire(&["swarm", "resume", "steady"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    let note = "note: job.yaml was edited since; `empire swarm run` takes the changes up";
    assert!(resumed.err.contains(note), "{resumed:#?}");
    let calls = sim.received();

    // The edit costs; nobody is there to say yes, so it is not bought.
    let edited = sandbox.empire(&args);
    assert_eq!((edited.code, edited.out.as_str()), (Some(4), ""), "{edited:#?}");
    let told =
        "the job file was edited: the answers of 8 items no longer hold; 8 items to be called, about $0.00";
    assert!(edited.err.contains(told), "{edited:#?}");
    assert_eq!(edited.error(), "not started: nobody is there to ask; --yes starts it without asking");
    assert_eq!(sim.received(), calls);
    let agreed = sandbox.empire(&[&args[..], &["--yes"]].concat());
    assert_eq!((agreed.code, sim.received()), (Some(0), calls + 8), "{agreed:#?}");
}

#[test]
fn results_file_torn_by_a_power_cut() {
    let sandbox = sandbox(40);
    let sim = Sim::start(&sandbox, "instant");
    sim.play(SHORT);
    let args = ["swarm", "run", "job.yaml", "--sim", &sim.url];
    let mut running = sandbox.command(&args).spawn().unwrap();
    let results_file = sandbox.path("out/steady/simulated/results.jsonl");
    while fs::read_to_string(&results_file).unwrap_or_default().lines().count() < 2 {
        std::thread::yield_now();
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let torn = fs::read(&results_file).unwrap();
    fs::write(&results_file, &torn[..torn.len() - 7]).unwrap();
    sim.play("instant");
    let resumed = sandbox.empire(&["swarm", "resume", "steady"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert_eq!(results(&sandbox, "out/steady/simulated"), (1..=40).collect::<Vec<_>>());
}

#[test]
fn ids_that_mean_no_job_or_several() {
    let sandbox = sandbox(2);
    for command in ["status", "results", "pause", "resume", "retry", "cancel"] {
        let ran = sandbox.empire(&["--json", "swarm", command, "0199"]);
        let error = "there is no job `0199` in this data folder: `empire swarm list` shows those there are";
        assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error));
    }
    for _ in 0..2 {
        let ran = sandbox.empire(&["swarm", "run", "job.yaml", "--sim", "instant", "--fresh"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }
    let ids: Vec<String> = sandbox.jobs().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    for command in ["status", "results", "pause", "resume", "retry", "cancel"] {
        for wanted in ["steady", &ids[0][..4]] {
            let ran = sandbox.empire(&["--json", "swarm", command, wanted]);
            let error = format!(
                "`{wanted}` fits several jobs: give more of the id\n  {}  steady  done\n  {}  steady  done",
                ids[0], ids[1]
            );
            assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error.as_str()));
        }
        let ran = sandbox.empire(&["--json", "swarm", command, &ids[1]]);
        assert_eq!(ran.code, Some(0), "{command}: {ran:#?}");
        ran.json();
    }
}

#[test]
fn disk_that_is_full_before_the_run() {
    let sandbox = sandbox(3);
    let Some(disk) = SmallDisk::mount(&sandbox.path("disk"), "1m") else { return };
    let sim = Sim::start(&sandbox, "instant");
    disk.fill();
    let data = sandbox.path("disk/home");
    let ran = sandbox.empire(&[
        "--data-dir",
        data.to_str().unwrap(),
        "swarm",
        "run",
        "job.yaml",
        "--sim",
        &sim.url,
    ]);
    let error =
        "no space is left for the data folder TEMP/disk/home: free some space, or choose another --data-dir";
    assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error));
    let config = sandbox.write("config.toml", NO_FLOOR);
    let config = ["--config", config.to_str().unwrap()];
    let run = ["swarm", "run", "job.yaml", "--sim", &sim.url, "--out", "disk/out"];
    let ran = sandbox.empire(&[&config[..], &run].concat());
    assert!(ran.error().contains("No space left on device"), "{ran:#?}");
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert_eq!(sim.received(), 0);
    assert!(sandbox.jobs().is_empty());
}

#[test]
fn disk_that_fills_up_during_the_run() {
    let sandbox = sandbox(4_000);
    let Some(disk) = SmallDisk::mount(&sandbox.path("disk"), "64m") else { return };
    let sim = Sim::start(&sandbox, "instant");
    sim.play("{name: pace, ollama: {latency: {fixed: 2}}}");
    let (data, config) = (sandbox.path("disk/home"), sandbox.write("config.toml", NO_FLOOR));
    let with = |args: &[&str]| {
        let mut all = vec!["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        all.extend(args);
        sandbox.command(&all)
    };
    let running = with(&["swarm", "run", "job.yaml", "--sim", &sim.url, "--yes"]).spawn().unwrap();
    wait_for_calls(&sim, 100);
    disk.fill();
    let ran = sandbox.end(running);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    let why = "steady stopped: the disk that holds the data folder is full: free some space, then `resume`\n  \
        empire swarm resume ";
    assert!(ran.error().starts_with(why), "{ran:#?}");
    let called = sim.received();
    assert!(called < 3_900, "it went on without a disk: {called}");
    disk.empty();
    let status = sandbox.run(with(&["--json", "swarm", "status", "steady"])).json();
    // There was no room to write down why.
    assert_eq!(status["state"], "interrupted", "{status}");
    let resumed = sandbox.run(with(&["swarm", "resume", "steady"]));
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert_eq!(results(&sandbox, "out/steady/simulated"), (1..=4_000).collect::<Vec<_>>());
    // At most the calls in flight were bought twice.
    assert!(sim.received() <= 4_000 + 64, "{} calls", sim.received());
}

#[test]
fn out_folder_whose_disk_fills_up_during_the_run() {
    let sandbox = sandbox(4_000);
    let Some(disk) = SmallDisk::mount(&sandbox.path("disk"), "1m") else { return };
    let config = sandbox.write("config.toml", NO_FLOOR);
    let config = ["--config", config.to_str().unwrap()];
    let args = ["swarm", "run", "job.yaml", "--sim", "instant", "--yes", "--out", "disk/out"];
    let args = [&config[..], &args].concat();
    let ran = sandbox.empire(&args);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    assert!(ran.error().contains("the results are safe in the data folder"), "{ran:#?}");
    disk.resize("64m");
    assert_eq!(sandbox.empire(&args).code, Some(0));
    assert_eq!(results(&sandbox, "disk/out").len(), 4_000);
}
