//! Stopping and going on, and everything else that is done to a job by name.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::fs::{self, OpenOptions};

use common::{Running, Sim, World, by_item, csv_rows, kimi_job, wait_for};
use serde_json::Value;

/// 2,000 rows of 20 ms at 16 at a time: two and a half seconds in which to stop it.
const ROWS: u32 = 2_000;
const STEADY: &str = "name: steady-20\nkimi: {latency: {fixed: 20}, output_tokens: {from: 20, to: 80}}";

fn set_up(scenario: &str, rows: u32, more: &str) -> (World, Sim, String) {
    let world = World::new("");
    let sim = Sim::start(&world, scenario);
    world.write("rows.csv", &csv_rows(rows));
    let spec = kimi_job("job", "rows.csv", &format!("budget: 100\n{more}"));
    let job = world.write("job.yaml", &spec).display().to_string();
    (world, sim, job)
}

/// Starts the job and waits until it has made some calls.
fn under_way(world: &World, sim: &Sim, job: &str) -> Running {
    let mut run = world.start(&["swarm", "run", job, "--sim", &sim.url]);
    wait_for("the first calls", || {
        assert!(!run.has_ended(), "{}", run.said());
        (sim.received("kimi") >= 100).then_some(())
    });
    run
}

/// Checks a job that was stopped, goes on with it, and checks that nothing was bought twice.
fn goes_on(world: &World, sim: &Sim, bought_twice: u64) {
    let account = world.account("job");
    assert!(account.pending > 0 && account.done > 0, "{}", account.report["totals"]);
    assert_eq!(world.status("job")["state"], "paused");
    world.run(&["swarm", "resume", "job"]).exits(0);
    let account = world.account("job");
    assert_eq!((account.done, account.pending), (u64::from(ROWS), 0));
    let again = sim.received("kimi") - u64::from(ROWS);
    assert!(again <= bought_twice, "{again} calls were made twice");
    let (spent, unknown) = account.ledger("kimi");
    let billed = sim.billed("kimi");
    assert!(spent >= billed && spent - unknown <= billed, "{spent}, {unknown}, {billed}");
}

#[test]
fn ctrl_c_pauses_cleanly_and_says_how_to_go_on() {
    let (world, sim, job) = set_up(STEADY, ROWS, "");
    let run = under_way(&world, &sim, &job);
    run.signal("INT");
    let ended = run.end().exits(130);
    let id = world.status("job")["id"].as_str().unwrap().to_owned();
    ended.says("pausing").shows(&format!("empire swarm resume {id}"));
    assert_eq!(world.account("job").report["state"], "interrupted");
    assert_eq!(world.account("job").ledger("kimi"), (sim.billed("kimi"), 0), "a call was not waited for");
    goes_on(&world, &sim, 0);
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    // No answer ever comes: a clean pause would wait for the calls under way.
    let (world, sim, job) =
        set_up("name: hung\nkimi: {errors: [{shape: hang, calls: {from: 120}}]}", ROWS, "");
    let mut run = under_way(&world, &sim, &job);
    wait_for("all slots to hang", || (sim.provider("kimi")["hung"].as_u64() == Some(16)).then_some(()));
    run.signal("INT");
    wait_for("the first word", || run.said().contains("pausing").then_some(()));
    assert!(!run.has_ended());
    run.signal("INT");
    run.end().exits(130).says("stopping at once");
    let (spent, unknown) = world.account("job").ledger("kimi");
    assert!(unknown > 0 && spent - unknown == sim.billed("kimi"), "{spent} {unknown}");
    sim.play(STEADY);
    goes_on(&world, &sim, 16);
}

#[test]
fn another_process_pauses_a_job() {
    let (world, sim, job) = set_up(STEADY, ROWS, "");
    let run = under_way(&world, &sim, &job);
    assert_eq!(world.status("job")["state"], "running");
    // The data folder is in use: a second run is told so, and by whom.
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(2).says("in use");
    world.run(&["swarm", "pause", "job"]).exits(0).says("paused");
    run.end().exits(130).shows("empire swarm resume");
    world.run(&["swarm", "pause", "job"]).exits(0).says("already");
    goes_on(&world, &sim, 0);
}

#[test]
fn another_process_cancels_a_job_for_good() {
    let (world, sim, job) = set_up(STEADY, ROWS, "");
    let run = under_way(&world, &sim, &job);
    world.run(&["swarm", "cancel", "job"]).exits(0).says("cancelled");
    run.end().exits(4);
    let account = world.account("job");
    assert_eq!(account.report["state"], "cancelled");
    assert!(account.done > 0 && account.pending == 0, "{}", account.report["totals"]);
    assert_eq!(account.report["totals"]["cancelled"], u64::from(ROWS) - account.done);
    world.run(&["swarm", "resume", "job"]).exits(2).says("cancelled");
    assert_eq!(world.lines("job", "results.jsonl").len() as u64, account.done);
}

#[test]
fn a_torn_results_file_is_mended_and_told_of() {
    let (world, sim, job) = set_up(STEADY, ROWS, "");
    let run = under_way(&world, &sim, &job);
    let results = world.out("job").join("results.jsonl");
    wait_for("some lines", || (fs::read_to_string(&results).ok()?.lines().count() > 50).then_some(()));
    run.kill();
    let whole = fs::read_to_string(&results).unwrap();
    let last = whole.trim_end().rfind('\n').unwrap();
    let file = OpenOptions::new().write(true).open(&results).unwrap();
    file.set_len((last + 20) as u64).unwrap();
    world.run(&["swarm", "resume", "job"]).exits(0).says("torn last line");
    let lines = world.lines("job", "results.jsonl");
    assert_eq!((lines.len(), by_item(&lines).len()), (ROWS as usize, ROWS as usize));
    assert_eq!(world.account("job").done, u64::from(ROWS));

    // Lost altogether, it is written again from the store, and nothing is bought.
    let (before, lines) = (sim.received("kimi"), fs::read(&results).unwrap());
    fs::remove_file(&results).unwrap();
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!((sim.received("kimi"), fs::read(&results).unwrap()), (before, lines));
}

#[test]
fn dead_agents_are_shown_and_worked_anew() {
    let scenario = "name: refuses\nkimi: {errors: [{shape: invalid_request, calls: {from: 20, to: 30}}]}";
    let (world, sim, job) = set_up(scenario, 100, "");
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(3);
    assert_eq!(world.account("job").dead, 10);
    let failed = world.run(&["swarm", "results", "job", "--failed"]).exits(0);
    let failed: Vec<Value> = failed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(failed.len(), 10);
    for letter in &failed {
        assert_eq!(letter["status"], "dead");
        assert!(letter["reason"].as_str().unwrap().contains("request refused"), "{letter}");
        assert!(letter["tries"].as_array().is_some_and(|tries| !tries.is_empty()), "{letter}");
    }
    // Going on does not work them again by itself; retry does.
    let before = sim.received("kimi");
    world.run(&["swarm", "resume", "job"]).exits(3);
    assert_eq!(sim.received("kimi"), before);
    world.run(&["swarm", "retry", "job"]).exits(0).says("10 dead agents");
    assert_eq!(sim.received("kimi"), before + 10);
    let account = world.account("job");
    assert_eq!((account.done, account.dead), (100, 0));
    assert!(world.run(&["swarm", "results", "job", "--failed"]).exits(0).stdout.is_empty());
}

#[test]
fn results_and_lists_are_for_people_and_machines() {
    let (world, sim, job) = set_up(STEADY, 100, "");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--limit", "30"]).exits(0);
    assert_eq!(sim.received("kimi"), 30);
    let ran = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--json"]).exits(0).json();
    assert_eq!((sim.received("kimi"), &ran["totals"]["done"]), (100, &100.into()));
    assert_eq!(ran, world.report("job"));

    let table = world.run(&["swarm", "results", "job", "--format", "csv"]).exits(0);
    let mut table = csv::Reader::from_reader(table.stdout.as_bytes());
    let header: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    for column in ["item", "id", "name", "answer.kind", "answer.means"] {
        assert!(header.iter().any(|name| name == column), "{header:?}");
    }
    assert_eq!(table.records().map(Result::unwrap).count(), 100);
    let lines = world.run(&["swarm", "results", "job"]).exits(0).stdout;
    assert_eq!(lines, fs::read_to_string(world.out("job").join("results.jsonl")).unwrap());

    let list = world.run(&["swarm", "list", "--json"]).exits(0).json();
    let status = world.status("job");
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&status["id"], &"done".into()));
    assert_eq!(status["spent_micros"], sim.billed("kimi"));
    let id = status["id"].as_str().unwrap();
    world.run(&["swarm", "list"]).exits(0).shows(&id[..8]);
    world.run(&["swarm", "status", id]).exits(0).shows("100 of 100 done");
    world.run(&["swarm", "status", "nosuch"]).exits(2).says("nosuch");
}

#[test]
fn plans_are_made_without_a_call_and_from_a_sample_with_an_interval() {
    let (world, sim, job) = set_up(STEADY, 400, "");
    let plan = world.run(&["swarm", "plan", &job, "--sim", &sim.url, "--json"]).exits(0).json();
    assert_eq!(sim.received_in_all(), 0);
    assert_eq!(plan["verdict"]["verdict"], "fits");
    assert_eq!(plan["plan"]["planned"]["calls"], 400);
    let expected = plan["plan"]["planned"]["expected_cost"].as_u64().unwrap();
    assert!(expected > 0, "{plan}");

    let sampled = ["swarm", "plan", &job, "--sim", &sim.url, "--sample", "20", "--json"];
    let sampled = world.run(&sampled).exits(0).json();
    assert_eq!(sim.received("kimi"), 20);
    let sample = &sampled["plan"]["sample"];
    assert_eq!(sample["calls"], 20, "{sample}");
    let figure = |name: &str| sample["cost"][name].as_f64().unwrap();
    assert!(figure("low") < figure("mean") && figure("mean") < figure("high"), "{sample}");
    let mean = sim.billed("kimi") as f64 / 20.0;
    assert!((figure("mean") - mean).abs() < 0.01, "{sample}, billed {mean} a call");
    assert_eq!(sampled["plan"]["planned"]["calls"], 380);
    // They were paid for and are kept.
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!((sim.received("kimi"), world.account("job").done), (400, 400));
}

#[test]
fn rows_come_from_standard_input_too() {
    let (world, sim, job) = set_up(STEADY, 10, "");
    let spec = kimi_job("job", "{format: jsonl}", "budget: 100");
    world.write("job.yaml", &spec);
    let rows: String = (0..50).map(|n| format!("{{\"name\":\"n{n}\",\"more\":[{n}]}}\n")).collect();
    let args = ["swarm", "run", &job, "--input", "-", "--sim", &sim.url];
    world.run_with_stdin(&args, &rows).exits(0);
    let lines = world.lines("job", "results.jsonl");
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().enumerate().all(|(n, line)| line["input"]["more"][0] == n));
    world.run_with_stdin(&args, &rows).exits(0);
    assert_eq!(sim.received("kimi"), 50);
}

#[test]
fn a_reduce_sums_up_all_answers_and_is_bought_once() {
    let reduce = "reduce: {group: 10, prompt: \"Sum up {{ count }}: {{ answers }}\", max_tokens: 80}";
    let (world, sim, job) = set_up(STEADY, 100, reduce);
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    // 10 groups of 10 answers, and those 10 summed up.
    assert_eq!(sim.received("kimi"), 111);
    let account = world.account("job");
    let answer = account.report["reduce"].as_str().unwrap().to_owned();
    assert!(!answer.is_empty());
    assert_eq!(account.ledger("kimi"), (sim.billed("kimi"), 0));
    let page = fs::read_to_string(world.out("job").join("report.md")).unwrap();
    assert!(page.contains(answer.split('\n').next().unwrap()), "{page}");

    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!(sim.received("kimi"), 111, "the reduce was bought again");
    assert_eq!(world.account("job").report["reduce"], answer);
}
