//! What a vendor receives never exceeds its limits: not where the requested maximum is left out,
//! not where the vendor claims more than was asked for, and not when the program is killed.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Running, Sim, World, csv_rows, kimi_job, wait_for};
use serde_json::Value;

/// A job of kimi's with `rows` rows that runs in a world where kimi has these settings.
fn start(kimi: &str, scenario: &str, rows: u32, spec: impl Fn(String) -> String) -> (World, Sim, Running) {
    let world = World::new(&format!("[providers.kimi]\n{kimi}"));
    let sim = Sim::start(&world, &format!("name: rates\nkimi: {{latency: {{fixed: 5}}{scenario}}}"));
    world.write("rows.csv", &csv_rows(rows));
    let job = world.write("job.yaml", &spec(kimi_job("job", "rows.csv", "budget: 100")));
    let running = world.start(&["swarm", "run", &job.display().to_string(), "--sim", &sim.url, "--yes"]);
    (world, sim, running)
}

/// How kimi's lane stands in the running process.
fn kimi(world: &World) -> Option<Value> {
    let shown = world.run(&["limits", "--json"]).exits(0).json();
    let running = shown.as_array().unwrap().iter().find(|shown| shown["source"] == "running")?;
    running["providers"].as_array().unwrap().iter().find(|lane| lane["provider"] == "kimi").cloned()
}

/// Waits until calls wait for nothing but the tokens of the minute.
fn full_minute(world: &World) -> Value {
    wait_for("a minute whose tokens are used up", || {
        let waits = |lane: &Value| lane["binding"] == "tokens_per_minute" && lane["in_flight"] == 0;
        kimi(world).filter(waits)
    })
}

fn gauge(lane: &Value) -> (u64, u64) {
    let mut gauges = lane["gauges"].as_array().unwrap().iter();
    let gauge = gauges.find(|gauge| gauge["meter"] == "tokens_per_minute").unwrap();
    (gauge["used"].as_u64().unwrap(), gauge["limit"].as_u64().unwrap())
}

/// The tokens of the calls received so far, as this vendor counts them against its limit: input
/// and the requested maximum.
fn counted(sim: &Sim) -> u64 {
    let requested = |body: &Value| body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64());
    let requested: u64 = sim.bodies("kimi").iter().map(|body| requested(body).expect("a maximum")).sum();
    requested + sim.provider("kimi")["billed"]["input"].as_u64().unwrap()
}

#[test]
fn tokens_stay_within_the_minute_whether_a_maximum_is_set_or_not() {
    for maximum in ["max_tokens: 100\n", ""] {
        let limit = 100_000;
        let settings = format!("tokens_per_minute = {limit}");
        let (world, sim, running) =
            start(&settings, "", 2_000, |spec| spec.replace("max_tokens: 100\n", maximum));
        full_minute(&world);
        // A call that has its permit and is just leaving is in the meter before it is at the vendor.
        let counted = wait_for("a meter that has what the vendor counts", || {
            let (used, of) = gauge(&full_minute(&world));
            assert_eq!(of, limit);
            Some(counted(&sim)).filter(|counted| *counted == used)
        });
        assert!(counted <= limit, "{counted} of {limit} with `{maximum}`");
        // What is left is less than what one more call may use at most.
        assert!(counted >= limit - 2_000, "{counted} of {limit} with `{maximum}`");
        running.kill();
    }
}

#[test]
fn what_the_vendor_claims_beyond_what_was_asked_is_paid_back_also_after_a_kill() {
    let limit = 20_000;
    let settings = format!("tokens_per_minute = {limit}\nconcurrency = 1");
    let (world, sim, running) = start(&settings, ", bills_times: 1000", 200, |spec| spec);
    let owed = |lane: &Value| {
        let wait = lane["next_permit_in"].as_f64().unwrap();
        let (used, limit) = gauge(lane);
        assert!(used >= 3 * limit, "{used} of {limit}");
        let minutes = (used / limit) as f64;
        assert!(wait > 60.0 * (minutes - 2.0), "{wait} s for {minutes} minutes");
        used
    };
    let used = owed(&full_minute(&world));
    assert_eq!(sim.received("kimi"), 1, "what is owed is paid back first");
    running.kill();
    let resumed = world.start(&["swarm", "resume", "job", "--sim", &sim.url]);
    let after = owed(&full_minute(&world));
    assert!(after + limit >= used, "{after} of {used} are still owed");
    assert_eq!(sim.received("kimi"), 1);
    drop(resumed);
}

#[test]
fn no_minute_holds_more_than_30_calls_over_a_kill_and_none_is_left_unused() {
    let (world, sim, running) = start("requests_per_minute = 30", "", 40, |spec| spec);
    wait_for("a full minute", || (sim.received("kimi") == 30).then_some(()));
    running.kill();
    world.start(&["swarm", "resume", "job", "--sim", &sim.url]).end().exits(0);
    let times = sim.times("kimi");
    // Those that the kill took are sent again; their first tries count all the same.
    assert!((40..=40 + 16).contains(&times.len()), "{}", times.len());
    for first in &times {
        let within = times.iter().filter(|at| (*first..=first + 60_000.0).contains(*at)).count();
        assert!(within <= 30, "{within} calls within a minute from {first} ms on");
    }
    let second = times[30] - times[0];
    assert!(second < 63_000.0, "the second minute began after {second} ms");
}
