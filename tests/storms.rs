//! Whatever the providers do, the job ends or pauses, and every agent is accounted for.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Account, Sim, World, csv_rows, kimi_job};
use serde_json::Value;

/// Runs a job of `rows` rows over `route` in a scenario, and checks that nobody is lost.
fn storm(scenario: &str, rows: u32, route: &str, config: &str, more: &str) -> (World, Sim, Account, i32) {
    let world = World::new(config);
    let sim = Sim::start(&world, scenario);
    world.write("rows.csv", &csv_rows(rows));
    let spec = kimi_job("job", "rows.csv", &format!("budget: 100\nfailure_rule: off\n{more}"));
    let job = world.write("job.yaml", &spec.replace("[kimi]", route)).display().to_string();
    let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    let account = world.account("job");
    let code = ended.code().unwrap();
    let expected = match (account.pending, account.dead) {
        (0, 0) => 0,
        (0, _) => 3,
        _ => 4,
    };
    assert_eq!(code, expected, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(account.items, u64::from(rows));
    // What was paid is what the ledger has; it never has less than was billed.
    for provider in ["kimi", "claude"] {
        let (spent, unknown) = account.ledger(provider);
        let billed = sim.billed(provider);
        assert!(spent >= billed, "{provider}: the ledger has {spent}, billed were {billed}");
        assert!(spent - unknown <= billed, "{provider}: {} is too much", spent - unknown - billed);
    }
    for letter in world.lines("job", "dead.jsonl") {
        assert!(letter["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{letter}");
        assert!(letter["tries"].as_array().is_some_and(|tries| !tries.is_empty()), "{letter}");
    }
    (world, sim, account, code)
}

#[test]
fn a_storm_for_rate_passes() {
    let scenario = "name: rate\nkimi: {latency: {fixed: 5}, errors: [{shape: rate_limit, calls: {to: 4}}]}";
    let (_world, _sim, account, code) = storm(scenario, 300, "[kimi]", "", "");
    assert_eq!((code, account.done), (0, 300));
    assert_eq!(account.tries("rate limited"), 4);
}

#[test]
fn a_storm_of_overload_passes() {
    let scenario =
        "name: overload\nkimi: {latency: {fixed: 5}, errors: [{shape: engine_overloaded, calls: {to: 4}}]}";
    let (_world, _sim, account, code) = storm(scenario, 300, "[kimi]", "", "");
    assert_eq!((code, account.done), (0, 300));
    assert_eq!(account.tries("overloaded"), 4);
}

#[test]
fn fifty_calls_on_a_permanent_429_reach_the_vendor_55_times_at_most() {
    let scenario = "name: shut\nkimi: {latency: {fixed: 5}, errors: [{shape: rate_limit, wait_seconds: 2}]}";
    let config = "[providers.kimi]\nconcurrency = 50";
    let (world, sim, account, code) = storm(scenario, 50, "[kimi]", config, "retries: 20");
    assert!(sim.received("kimi") <= 55, "{} calls", sim.received("kimi"));
    assert_eq!((code, account.dead, account.pending), (4, 0, 50), "everyone stays pending");
    let reason = account.report["reason"].as_str().unwrap();
    assert!(reason.contains("rate limited (kimi)") && reason.contains("; try again at 20"), "{reason}");
    sim.play("steady");
    world.run(&["swarm", "resume", "job"]).exits(0);
    assert_eq!(world.account("job").done, 50);
}

#[test]
fn a_used_up_quota_pauses_the_job_and_resume_goes_on() {
    let scenario =
        "name: quota\nkimi: {latency: {fixed: 5}, errors: [{shape: quota, calls: {from: 100, to: 116}}]}";
    let (world, sim, account, code) = storm(scenario, 300, "[kimi]", "", "");
    assert_eq!((code, account.dead), (4, 0));
    assert!(account.report["reason"].as_str().unwrap().starts_with("account dry (kimi)"));
    assert!(sim.received("kimi") <= 116, "a dry account was asked {} times", sim.received("kimi"));
    sim.play("steady");
    world.run(&["swarm", "resume", "job"]).exits(0);
    assert_eq!(world.account("job").done, 300);
}

#[test]
fn other_providers_go_on_where_one_account_is_dry() {
    let scenario = "name: one-dry\nkimi: {dry_after_calls: 50}\nclaude: {latency: {fixed: 3}}";
    let (_world, sim, account, code) = storm(scenario, 300, "[kimi, claude]", "", "");
    assert_eq!((code, account.done), (0, 300));
    assert!(sim.received("kimi") <= 50 + 16);
    assert_eq!(sim.received("claude"), 250);
}

#[test]
fn a_provider_that_hangs_is_left_behind() {
    let scenario = "name: hang\nkimi: {hang_rate: 0.1}";
    let config = "[providers.kimi]\ntimeout = \"400ms\"\nconcurrency = 30";
    let (_world, sim, account, code) = storm(scenario, 200, "[kimi]", config, "retries: 6");
    assert_eq!((code, account.done), (0, 200));
    let hung = sim.provider("kimi")["hung"].as_u64().unwrap();
    assert!(hung > 5, "{hung}");
    assert_eq!(account.tries("timed out"), hung);
    assert!(account.ledger("kimi").1 > 0, "a call that timed out may have been billed");

    let scenario = "name: dead\nkimi: {hang_rate: 1}";
    let (_world, sim, account, code) = storm(scenario, 40, "[kimi, claude]", config, "retries: 0");
    assert_eq!((code, account.done), (0, 40));
    assert_eq!(sim.received("claude"), 40);
}

#[test]
fn garbage_ends_as_answers_or_dead_letters() {
    for scenario in ["garbage", "flaky"] {
        for (route, pack) in [("[kimi]", 1), ("[ollama, kimi, claude]", 1), ("[kimi, claude]", 10)] {
            let (world, _sim, account, _) =
                storm(scenario, 150, route, "", &format!("pack: {pack}\nretries: 1"));
            assert_eq!(account.pending, 0, "{scenario} {route}: {}", account.report["reason"]);
            assert!(account.done > 75, "{scenario} {route}: only {} done", account.done);
            for line in world.lines("job", "results.jsonl") {
                assert!(["thing", "place"].contains(&line["answer"]["kind"].as_str().unwrap()), "{line}");
            }
        }
    }
}

#[test]
fn errors_of_every_shape_leave_every_agent_accounted_for() {
    // What the simulator knows, by the providers' names; terminal ones pause the job.
    let shapes = [
        ("ollama", "bad_request cancelled busy bad_gateway server_error error_line", false),
        ("ollama", "not_found cloud_limit", true),
        (
            "kimi",
            "invalid_request content_filter rate_limit engine_overloaded server_error unexpected_output",
            false,
        ),
        (
            "kimi",
            "invalid_authentication incorrect_api_key permission_denied forbidden_quota model_gone quota",
            true,
        ),
        ("claude", "invalid_request conflict too_large rate_limit api_error timeout overloaded", false),
        ("claude", "spend_limit authentication billing permission not_found spend_cap", true),
    ];
    let mut seen = BTreeSet::new();
    for (provider, names, terminal) in shapes {
        for shape in names.split(' ') {
            let scenario = format!(
                "name: shape\n{provider}: {{errors: [{{shape: {shape}, calls: {{from: 5, to: 8}}, wait_seconds: 0}}]}}"
            );
            let config = format!("[providers.{provider}]\nconcurrency = 3");
            let (world, sim, account, code) =
                storm(&scenario, 30, &format!("[{provider}]"), &config, "retries: 1");
            if terminal {
                assert_eq!((code, account.dead), (4, 0), "{shape}: {}", account.report["totals"]);
                let after = sim.received(provider) - 5;
                assert!(after <= 3, "{shape}: {after} calls after the account was known to be shut");
                sim.play("steady");
                world.run(&["swarm", "resume", "job"]).exits(0);
                assert_eq!(world.account("job").done, 30, "{shape}");
            } else {
                assert_eq!(account.pending, 0, "{shape}: {}", account.report["reason"]);
                assert!(account.done >= 27, "{shape}: {}", account.report["totals"]);
            }
            let tries = account.report["work"]["tries"].as_object().unwrap();
            seen.extend(tries.keys().cloned());
        }
    }
    println!("{seen:?}");
}

#[test]
fn a_job_that_only_fails_stops_early_by_its_rule() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: bad\nkimi: {errors: [{shape: invalid_request}]}");
    world.write("rows.csv", &csv_rows(2_000));
    let spec = kimi_job("job", "rows.csv", "budget: 100");
    let job = world.write("job.yaml", &spec).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(4).shows("first");
    let account = world.account("job");
    assert!((20..=100).contains(&account.dead), "{}", account.report["totals"]);
    assert!(sim.received("kimi") <= 100, "{} calls", sim.received("kimi"));
    let reasons = account.report["work"]["dead_letters"].as_array().unwrap();
    let counted: u64 = reasons.iter().map(|reason: &Value| reason["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, account.dead);
}
