//! Which calls are made at all, and where they go: kept answers, joined calls, ceilings, fallbacks
//! and vendors' prompt caches, through the real program.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::path::Path;

use common::{Sim, World, csv_rows, kimi_job, micros};
use serde_json::{Value, json};

fn run(world: &World, spec: &str, sim: &Sim, more: &[&str], exit: i32) -> common::Ended {
    let job = world.write("job.yaml", spec).display().to_string();
    let args = [&["swarm", "run", &job, "--sim", &sim.url, "--yes"], more].concat();
    world.run(&args).exits(exit)
}

#[test]
fn an_equal_call_of_another_job_costs_nothing_unless_it_must_be_new() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(40));
    let spec = |name: &str, more: &str| kimi_job(name, "rows.csv", more);
    run(&world, &spec("first", ""), &sim, &[], 0);
    assert_eq!(sim.received("kimi"), 40);
    let first = world.lines("first", "results.jsonl");

    // The same prompts from an edited template, in another process.
    let edited = spec("second", "").replace("Say what {{ name }} is.", "Say what {{ name|trim }} is.");
    run(&world, &edited, &sim, &[], 0).shows("answered from the cache: 40");
    assert_eq!(sim.received("kimi"), 40);
    let report = world.report("second");
    assert_eq!((&report["work"]["from_cache"], &report["work"]["calls"]), (&json!(40), &json!(0)));
    assert_eq!(micros(&report["spent"]), 0);
    assert_eq!(report["work"]["tries"]["answered from the cache"], 40);
    let answers = |lines: &[Value]| lines.iter().map(|line| line["answer"].clone()).collect::<Vec<_>>();
    assert_eq!(answers(&world.lines("second", "results.jsonl")), answers(&first));

    run(&world, &spec("third", "cache: off"), &sim, &[], 0);
    assert_eq!(sim.received("kimi"), 80);
    run(&world, &spec("fourth", "cache: refresh"), &sim, &[], 0);
    assert_eq!(sim.received("kimi"), 120);
    run(&world, &spec("second", ""), &sim, &["--fresh"], 0);
    assert_eq!(sim.received("kimi"), 160);
    // Another level asks anew.
    run(&world, &spec("fifth", "").replace("P0", "P1"), &sim, &[], 0);
    assert_eq!(sim.received("kimi"), 200);
}

#[test]
fn another_scenario_behind_the_same_name_is_asked_anew() {
    let world = World::new("");
    world.write("rows.csv", &csv_rows(10));
    let spec = |name: &str| kimi_job(name, "rows.csv", "retries: 0\nfailure_rule: off");
    let sim = Sim::start(&world, "steady");
    run(&world, &spec("first"), &sim, &[], 0);
    assert_eq!(sim.received("kimi"), 10);
    sim.play("name: ill\nkimi: {errors: [{shape: server_error}]}");
    let before = sim.received("kimi");
    run(&world, &spec("second"), &sim, &[], 3);
    assert!(sim.received("kimi") > before);
    // The same scenario elsewhere is the same.
    let other = Sim::start(&world, "steady");
    run(&world, &spec("third"), &other, &[], 0).shows("answered from the cache: 10");
    assert_eq!(other.received("kimi"), 0);
}

#[test]
fn p3_answers_are_not_written_down_for_other_jobs_unless_configured() {
    for (config, received) in [("", 20), ("[cache]\nstore_p3 = true", 10), ("[cache]\nenabled = false", 20)] {
        let world = World::new(config);
        let sim = Sim::start(&world, "steady");
        world.write("rows.csv", &csv_rows(10));
        for name in ["first", "second"] {
            let spec = kimi_job(name, "rows.csv", "").replace("P0", "P3").replace("[kimi]", "[ollama]");
            run(&world, &spec, &sim, &[], 0);
        }
        assert_eq!(sim.received("ollama"), received, "{config}");
    }
}

#[test]
fn a_hundred_identical_calls_in_flight_reach_the_vendor_once() {
    let world = World::new("[providers.kimi]\nconcurrency = 100");
    let sim = Sim::start(&world, "name: slow\nkimi: {latency: {fixed: 1000}}");
    // They differ in what is cut out before they leave.
    let rows: String = (0..100).map(|n| format!("{n},person{n}@example.org\n")).collect();
    world.write("rows.csv", &format!("id,name\n{rows}"));
    for (name, more) in [("kept", ""), ("not-kept", "cache: off")] {
        let before = sim.received("kimi");
        run(&world, &kimi_job(name, "rows.csv", more), &sim, &[], 0);
        let account = world.account(name);
        assert_eq!(account.done, 100);
        let made = sim.received("kimi") - before;
        assert_eq!(made, 1, "{name}");
        assert_eq!(account.ledger("kimi").0, account.cost_of_items);
    }
}

#[test]
fn with_the_local_tier_down_nothing_private_reaches_a_cloud_dialect() {
    // Down in three ways: broken, answering rubbish (so repair turns are due), and not there.
    let broken = "name: broken\nollama: {errors: [{shape: server_error}]}";
    let rubbish = "name: rubbish\nollama: {schema_break_rate: 1}";
    let gone = "name: gone\nollama: {outages: [{seconds: {from: 0, to: 100000}, as: disconnect}]}";
    let pairs = [broken, rubbish, gone].into_iter().flat_map(|scenario| [(scenario, "P2"), (scenario, "P3")]);
    // Each waits for a while before it gives up: side by side, on folders of their own.
    std::thread::scope(|scope| {
        for (scenario, level) in pairs {
            scope.spawn(move || private_jobs_reach_no_cloud(scenario, level));
        }
    });
}

fn private_jobs_reach_no_cloud(scenario: &str, level: &str) {
    let world = World::new("");
    let sim = Sim::start(&world, scenario);
    world.write("rows.csv", &csv_rows(12));
    for (n, more) in ["", "pack: 4", "policy: price", "difficulty: hard"].iter().enumerate() {
        let more = format!(
            "{more}\nretries: 1\nfailure_rule: off\nreduce: {{group: 5, prompt: \"Sum up {{{{ answers }}}}\"}}"
        );
        let spec = kimi_job(&format!("job-{n}"), "rows.csv", &more);
        let spec = spec.replace("P0", level).replace("[kimi]", "[ollama, kimi, claude]");
        let job = world.write("job.yaml", &spec).display().to_string();
        let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
        assert!(matches!(ended.code(), Some(3 | 4)), "{}", ended.stderr);
        assert_eq!((sim.received("kimi"), sim.received("claude")), (0, 0), "{scenario} {spec}");
    }
    assert!(sim.received("ollama") > 0);
}

#[test]
fn a_private_jobs_reduce_stays_at_home_too() {
    let world = World::new("");
    let sim = Sim::start(
        &world,
        "name: half\nollama: {errors: [{shape: server_error, calls: {from: 12, to: 999}}]}",
    );
    world.write("rows.csv", &csv_rows(12));
    let more = "retries: 0\nreduce: {group: 5, prompt: \"Sum up {{ answers }}\"}";
    let spec = kimi_job("reduce", "rows.csv", more).replace("P0", "P2").replace("[kimi]", "[ollama, kimi]");
    run(&world, &spec, &sim, &[], 3).shows("the reduce failed");
    assert_eq!(world.account("reduce").done, 12);
    assert_eq!(sim.received("kimi"), 0);
}

#[test]
fn a_fallback_to_the_cloud_is_told_and_can_be_forbidden() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: ill\nollama: {errors: [{shape: server_error}]}");
    world.write("rows.csv", &csv_rows(10));
    let spec = |name: &str, more: &str| {
        let more = format!("retries: 0\nfailure_rule: off\n{more}");
        kimi_job(name, "rows.csv", &more).replace("[kimi]", "[ollama, kimi]")
    };
    run(&world, &spec("open", ""), &sim, &[], 0).shows("fallbacks to a less trusted zone: 10");
    let report = world.report("open");
    assert_eq!(report["work"]["crossed_zones"], 10);

    let strict = spec("strict", "fallback: same_zone");
    let before = sim.received("kimi");
    run(&world, &strict, &sim, &[], 3);
    assert_eq!(sim.received("kimi"), before);
    let dead = world.lines("strict", "dead.jsonl");
    assert!(dead[0].to_string().contains("forbids going on from zone 1"), "{}", dead[0]);
    let job = world.path("job.yaml").display().to_string();
    world
        .run(&["swarm", "plan", &job, "--sim", &sim.url])
        .shows("P0 data may go to zone 1")
        .shows("`fallback: same_zone` keeps the job in zone 1");
}

#[test]
fn shares_deny_or_defer_with_a_reason_and_are_shown() {
    let shares = |when_over: &str| {
        format!("[route.shares]\nwhen_over = \"{when_over}\"\nsample = 50\ncalls = {{ kimi = 10 }}")
    };
    let world = World::new(&shares("deny"));
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(40));
    let spec = kimi_job("denied", "rows.csv", "").replace("[kimi]", "[kimi, ollama]");
    run(&world, &spec, &sim, &[], 0).shows("calls over their provider's share: 35");
    assert_eq!((sim.received("kimi"), sim.received("ollama")), (5, 35));
    world
        .run(&["swarm", "plan", &world.path("job.yaml").display().to_string(), "--sim", &sim.url])
        .shows("kimi 10 %");

    let world = World::new(&shares("defer"));
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(40));
    run(&world, &kimi_job("deferred", "rows.csv", ""), &sim, &[], 4)
        .shows("the share of kimi is at its ceiling");
    let account = world.account("deferred");
    assert_eq!((account.done, account.pending, sim.received("kimi")), (5, 35, 5));
}

#[test]
fn a_prompt_that_does_not_fit_skips_the_model_with_a_reason() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &format!("id,name\n1,short\n2,{}\n", "long ".repeat(8_000)));
    let spec = kimi_job("sizes", "rows.csv", "").replace("[kimi]", "[ollama, kimi]");
    run(&world, &spec, &sim, &[], 0);
    assert_eq!((sim.received("ollama"), sim.received("kimi")), (1, 1));
    // Nobody has room: the reason is in the dead letter.
    let spec = kimi_job("no-room", "rows.csv", "").replace("[kimi]", "[ollama]");
    run(&world, &spec, &sim, &[], 3);
    let dead = world.lines("no-room", "dead.jsonl");
    assert!(dead[0].to_string().contains("the prompt does not fit qwen2.5-coder:7b"), "{}", dead[0]);
}

#[test]
fn policy_and_difficulty_decide_who_is_asked_first() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(3));
    let asked = |more: &str, route: &str| {
        let before = ["ollama", "kimi", "claude"].map(|name| sim.received(name));
        let spec = kimi_job(&format!("order-{}", more.len()), "rows.csv", &format!("cache: off\n{more}"));
        run(&world, &spec.replace("[kimi]", route), &sim, &["--fresh"], 0);
        let after = ["ollama", "kimi", "claude"].map(|name| sim.received(name));
        [0, 1, 2].map(|n| after[n] - before[n])
    };
    assert_eq!(asked("policy: price", "[claude, kimi]"), [0, 3, 0]);
    assert_eq!(asked("policy: privacy", "[claude, ollama]"), [3, 0, 0]);
    assert_eq!(asked("difficulty: hard", "[ollama, kimi, claude]"), [0, 0, 3]);
    assert_eq!(asked("difficulty: medium", "[ollama, kimi]"), [0, 3, 0]);
    assert_eq!(asked("difficulty: medium", "[ollama]"), [3, 0, 0]);
}

#[test]
fn the_shared_beginning_is_marked_for_claude_and_found_by_kimi_and_the_saving_is_told() {
    let world = World::new("");
    // One after the other, so that the first has written what the others read.
    let sim = Sim::start(&world, "name: one\nkeep_bodies: 100\nkimi: {prefix_cache: true}");
    world.write("rows.csv", &csv_rows(10));
    let rules = "Follow each of these rules with care. ".repeat(300);
    for (provider, field) in [("claude", "system"), ("claude", "prompt"), ("kimi", "system")] {
        let name = format!("{provider}-{field}");
        let spec = kimi_job(&name, "rows.csv", "").replace("[kimi]", &format!("[{provider}]"));
        let spec = match field {
            "system" => format!("{spec}system: \"{rules}\"\n"),
            _ => spec.replace("Say what", &format!("Now. {rules} Say what")),
        };
        let job = world.write("job.yaml", &spec).display().to_string();
        world.run(&["swarm", "plan", &job, "--sim", &sim.url]).shows("may save up to");
        run(&world, &spec, &sim, &[], 0).shows("vendors' prompt caches: $");
        let report = world.report(&name);
        let cache = &report["prompt_cache"];
        assert!(cache["read"].as_u64().unwrap() > 9_000, "{name}: {cache}");
        assert!(cache["saved"].as_i64().unwrap() > 0, "{name}: {cache}");
        assert_eq!(cache["written"].as_u64().unwrap() > 0, provider == "claude", "{name}: {cache}");
        let billed = sim.provider(provider)["billed"].clone();
        let ledger: u64 = ["claude-system", "claude-prompt", "kimi-system"]
            .iter()
            .filter(|job| {
                job.starts_with(provider) && Path::new(&world.out(job)).join("report.json").is_file()
            })
            .map(|job| micros(&world.report(job)["spent"]))
            .sum();
        assert_eq!(micros(&billed["micros"]), ledger, "{name}");
    }
    let marked =
        sim.bodies("claude").iter().filter(|body| body.to_string().contains("cache_control")).count();
    assert_eq!(marked, 20);
}
