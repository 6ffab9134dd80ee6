//! `empire up`: jobs in the daemon, its end, and what survives it.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Running, Sim, World, csv_rows, kimi_job, micros, wait_for};
use serde_json::Value;

/// 2,000 rows of 20 ms at 16 at a time: two and a half seconds in which to stop it.
const ROWS: u32 = 2_000;
const STEADY: &str = "name: steady-20\nkimi: {latency: {fixed: 20}, output_tokens: {from: 20, to: 80}}";

fn set_up(more: &str) -> (World, Sim) {
    let world = World::new(more);
    let sim = Sim::start(&world, STEADY);
    world.write("rows.csv", &csv_rows(ROWS));
    (world, sim)
}

fn job_file(world: &World, name: &str, budget: &str) -> String {
    let spec = kimi_job(name, "rows.csv", &format!("budget: {budget}\n"));
    world.write(&format!("{name}.yaml"), &spec).display().to_string()
}

fn status(world: &World) -> Option<Value> {
    let shown = world.run(&["status", "--sim", "--json"]);
    let status = shown.json();
    (status["up"] == true).then_some(status)
}

fn up(world: &World, sim: &Sim) -> Running {
    let mut daemon = world.start(&["up", &format!("--sim={}", sim.url)]);
    wait_for("the daemon", || {
        assert!(!daemon.has_ended(), "{}", daemon.said());
        status(world)
    });
    daemon
}

/// Starts the job in the daemon and waits until it has made some calls.
fn under_way(world: &World, sim: &Sim, job: &str) -> Running {
    let before = sim.received("kimi");
    let mut run = world.start(&["swarm", "run", job, "--sim", "--yes"]);
    wait_for("the first calls", || {
        assert!(!run.has_ended(), "{}", run.said());
        (sim.received("kimi") >= before + 100).then_some(())
    });
    run
}

fn done(world: &World, sim: &Sim, jobs: &[&str], bought_twice: u64) {
    wait_for("the end of the jobs", || (status(world)?["jobs"].as_array()?.is_empty()).then_some(()));
    for job in jobs {
        assert_eq!(world.status(job)["state"], "done");
        let account = world.account(job);
        assert_eq!((account.done, account.pending), (u64::from(ROWS), 0));
    }
    let again = sim.received("kimi") - u64::from(ROWS) * jobs.len() as u64;
    assert!(again <= bought_twice, "{again} calls were made twice");
}

#[test]
fn a_run_is_handed_to_the_daemon_and_followed_to_its_end() {
    let (world, sim) = set_up("");
    let daemon = up(&world, &sim);
    let job = job_file(&world, "job", "100");
    let run = world.run(&["swarm", "run", &job, "--sim", "--yes"]).exits(0);
    run.says("job job").shows("2,000 of 2,000 done");
    let json = world.run(&["swarm", "run", &job, "--sim", "--yes", "--json"]).exits(0).json();
    assert_eq!(json["totals"]["done"], ROWS, "nothing was left to do: {json}");
    done(&world, &sim, &["job"], 0);
    // What is wrong is told by the daemon as it is without one.
    world.run(&["swarm", "run", "nowhere.yaml", "--sim"]).exits(2).says("cannot read the job file");
    daemon.signal("TERM");
    daemon.end().exits(0).says("empire is down");
    assert!(status(&world).is_none());
}

#[test]
fn two_jobs_run_at_once_under_one_cap() {
    let (world, sim) = set_up("[providers.kimi]\ncap = \"0.10\"");
    let daemon = up(&world, &sim);
    let [one, two] = ["one", "two"].map(|name| job_file(&world, name, "100"));
    let runs = [under_way(&world, &sim, &one), world.start(&["swarm", "run", &two, "--sim", "--yes"])];
    wait_for("both jobs at work, or the cap used up", || {
        let jobs = status(&world)?["jobs"].as_array()?.len();
        (jobs == 2 || sim.billed("kimi") > 90_000).then_some(())
    });
    for run in runs {
        run.end().exits(4);
    }
    let cap = 100_000;
    let billed = sim.billed("kimi");
    assert!(billed <= cap && billed * 100 >= cap * 95, "{billed} of {cap}");
    let spent: u64 = ["one", "two"].iter().map(|job| world.account(job).ledger("kimi").0).sum();
    assert_eq!(spent, billed);
    daemon.signal("INT");
    daemon.end().exits(0);
}

#[test]
fn a_job_goes_on_with_the_next_start_after_an_end_in_order_and_after_a_kill() {
    let (world, sim) = set_up("");
    let job = job_file(&world, "job", "100");
    let daemon = up(&world, &sim);
    let run = under_way(&world, &sim, &job);
    world.run(&["down", "--sim"]).exits(0).says("1 job goes on");
    daemon.end().exits(0);
    run.end().exits(130).says("goes on with the next `empire up`");
    let calls = sim.received("kimi");
    assert_eq!(world.account("job").ledger("kimi"), (sim.billed("kimi"), 0), "a call was not waited for");

    let daemon = up(&world, &sim);
    wait_for("it goes on", || (sim.received("kimi") >= calls + 100).then_some(()));
    daemon.kill();
    let killed_at = sim.received("kimi");
    assert!(killed_at < u64::from(ROWS), "it was too fast to be killed");
    let daemon = up(&world, &sim);
    done(&world, &sim, &["job"], 16);
    let (spent, unknown) = world.account("job").ledger("kimi");
    let billed = sim.billed("kimi");
    assert!(spent >= billed && spent - unknown <= billed, "{spent}, {unknown}, {billed}");
    daemon.signal("TERM");
    daemon.end().exits(0);
}

#[test]
fn a_job_that_a_person_pauses_stays_paused() {
    let (world, sim) = set_up("");
    let job = job_file(&world, "job", "100");
    let daemon = up(&world, &sim);
    let run = under_way(&world, &sim, &job);
    world.run(&["swarm", "pause", "job"]).exits(0);
    run.end().exits(130);
    daemon.signal("TERM");
    daemon.end().exits(0);
    let calls = sim.received("kimi");
    let daemon = up(&world, &sim);
    assert_eq!(status(&world).unwrap()["jobs"].as_array().unwrap().len(), 0);
    assert_eq!((world.status("job")["state"].as_str(), sim.received("kimi")), (Some("paused"), calls));
    world.run(&["swarm", "resume", "job"]).exits(0).shows("2,000 of 2,000 done");
    done(&world, &sim, &["job"], 0);
    drop(daemon);
}

#[test]
fn it_restarts_in_the_background_with_the_jobs_that_ran() {
    let (world, sim) = set_up("");
    let job = job_file(&world, "job", "100");
    let url = format!("--sim={}", sim.url);
    world.run(&["restart", "--sim"]).exits(4).says("`empire up` starts one");
    world.run(&["up", "--detach", &url]).exits(0);
    let run = under_way(&world, &sim, &job);
    let before = status(&world).unwrap()["pid"].clone();
    world.run(&["restart", "--sim"]).exits(0).says("1 job goes on").says("empire is up");
    assert_ne!(status(&world).unwrap()["pid"], before);
    run.end().exits(130);
    done(&world, &sim, &["job"], 0);
    world.run(&["down", "--sim"]).exits(0);
}

/// The tree is looked at and steered as in the foreground.
#[test]
fn its_tree_is_seen_and_steered() {
    let (world, sim) = set_up("");
    let job = job_file(&world, "job", "100");
    let daemon = up(&world, &sim);
    let run = under_way(&world, &sim, &job);
    let tree = world.run(&["tree", "--sim", "--json"]).exits(0).json();
    let names: Vec<&str> =
        tree["children"].as_array().unwrap().iter().map(|node| node["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["/empire/guard", "/empire/gates", "/empire/swarm"]);
    world.run(&["restart", "gates/budget", "--sim", "--now"]).exits(0).shows("restarted; incarnation 2 runs");
    run.end().exits(0).shows("2,000 of 2,000 done");
    let (spent, unknown) = world.account("job").ledger("kimi");
    assert_eq!((spent, unknown), (sim.billed("kimi"), 0));
    world.run(&["history", "gates/budget", "--sim"]).exits(0).shows("restart now");
    drop(daemon);
}

#[test]
fn ctrl_c_ends_the_following_and_not_the_job() {
    let (world, sim) = set_up("");
    let job = job_file(&world, "job", "100");
    let daemon = up(&world, &sim);
    let run = under_way(&world, &sim, &job);
    run.signal("INT");
    run.end().exits(130).says("job goes on in the daemon");
    done(&world, &sim, &["job"], 0);
    drop(daemon);
}

#[test]
fn what_needs_a_yes_is_asked_for_and_refused_where_nobody_is() {
    let (world, sim) = set_up("[confirm]\ncost_above = \"0.01\"");
    let job = job_file(&world, "job", "100");
    let daemon = up(&world, &sim);
    let refused = world.run(&["swarm", "run", &job, "--sim"]).exits(4);
    refused.says("--yes starts it without asking");
    assert_eq!(sim.received("kimi"), 0);
    drop(daemon);
}

#[test]
fn in_the_background_it_says_when_it_is_up_and_why_not() {
    let (world, sim) = set_up("");
    let url = format!("--sim={}", sim.url);
    let shown = world.run(&["up", "--detach", &url, "--json"]).exits(0).json();
    assert!(micros(&shown["pid"]) > 0);
    world.run(&["up", "--detach", &url]).exits(4).says("works in");
    world.run(&["up", &url]).exits(2).says("in use");
    world.run(&["down", "--sim"]).exits(0).says("empire is down: no job goes on");
    world.run(&["down", "--sim"]).exits(0).says("no daemon works in");
    world.run(&["status", "--sim"]).exits(4).shows("`empire up` starts one");
    world.write("config.toml", "[guard]\ncpu = \"warm\"\n");
    world.run(&["up", "--detach", &url]).exits(2).says("config.toml:2");
}
