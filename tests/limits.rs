//! `empire limits`: from the running process while there is one, from the ledger else.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Sim, World, csv_rows, kimi_job, wait_for};
use serde_json::Value;

fn provider<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let mut providers = shown["providers"].as_array().unwrap().iter();
    providers.find(|provider| provider["provider"] == name).unwrap_or_else(|| panic!("no {name}: {shown}"))
}

fn gauge<'a>(provider: &'a Value, meter: &str) -> &'a Value {
    let mut gauges = provider["gauges"].as_array().unwrap().iter();
    gauges.find(|gauge| gauge["meter"] == meter).unwrap_or_else(|| panic!("no {meter}: {provider}"))
}

#[test]
fn limits_are_shown_while_a_job_runs_and_when_none_does() {
    let world = World::new("[providers.kimi]\nconcurrency = 3\nrequests_per_minute = 5");
    world.run(&["limits"]).exits(0).shows("nothing runs").shows("requests per minute");
    let before = world.run(&["limits", "--json"]).exits(0).json();
    assert_eq!((before.as_array().unwrap().len(), &before[0]["source"]), (1, &"ledger".into()));
    assert_eq!(gauge(provider(&before[0], "kimi"), "requests_per_minute")["limit"], 5);

    let sim = Sim::start(&world, "name: quick\nkimi: {latency: {fixed: 5}}");
    world.write("rows.csv", &csv_rows(40));
    let spec = kimi_job("job", "rows.csv", "budget: 100\npriority: batch");
    let job = world.write("job.yaml", &spec).display().to_string();
    let running = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    let shown = wait_for("a minute that is used up", || {
        let all = world.run(&["limits", "--json"]).exits(0).json();
        let shown = all.as_array().unwrap().iter().find(|shown| shown["source"] == "running")?.clone();
        (gauge(provider(&shown, "kimi"), "requests_per_minute")["used"] == 5).then_some(shown)
    });
    assert_eq!(shown["simulated"], true);
    let kimi = provider(&shown, "kimi");
    assert_eq!(kimi["binding"], "requests_per_minute");
    assert!(kimi["waiting_by_class"][2].as_u64() > Some(0), "{kimi}");
    let wait = kimi["next_permit_in"].as_f64().unwrap();
    assert!((1.0..61.0).contains(&wait), "{wait}");
    world.run(&["limits"]).exits(0).shows("SIMULATED").shows("batch").shows("the next permit comes in");
    assert_eq!(sim.received("kimi"), 5);

    // What is left of a process that was killed passes for nothing that runs.
    running.kill();
    let after = world.run(&["limits", "--json"]).exits(0).json();
    assert_eq!(after.as_array().unwrap().len(), 1);
    // The minute is remembered by whoever goes on.
    let resumed = world.start(&["swarm", "resume", "job", "--sim", &sim.url]);
    wait_for("the minute of the killed run", || {
        let all = world.run(&["limits", "--json"]).exits(0).json();
        let shown = all.as_array().unwrap().iter().find(|shown| shown["source"] == "running")?.clone();
        (provider(&shown, "kimi")["waiting"].as_u64() > Some(0)).then_some(())
    });
    assert_eq!(sim.received("kimi"), 5);
    drop(resumed);
}
