//! `kill -9` costs at most the calls in flight: no item, no money, no cap.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Sim, World, by_item, csv_rows, kimi_job, wait_for};

const ITEMS: u32 = 20_000;
const KILLS: usize = 10;
const CONCURRENCY: u64 = 48;
const BUDGET_MICROS: u64 = 15_000_000;

#[test]
fn ten_kills_of_20_000_agents_lose_nothing() {
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let world = World::new(&format!("[providers.kimi]\nconcurrency = {CONCURRENCY}"));
    let sim = Sim::start(&world, "name: quick\nkimi: {output_tokens: {from: 20, to: 80}}\nkeep_bodies: 0");
    world.write("rows.csv", &csv_rows(ITEMS));
    let job = kimi_job("crash", "rows.csv", &format!("budget: {}", BUDGET_MICROS / 1_000_000));
    let job = world.write("job.yaml", &job).display().to_string();

    let mut moments: Vec<u64> = (0..KILLS).map(|_| random.u64(1..u64::from(ITEMS))).collect();
    moments.sort_unstable();
    let mut recovered = Vec::new();
    let mut args = vec!["swarm", "run", &job, "--sim", &sim.url, "--yes"];
    for moment in moments {
        let mut run = world.start(&args);
        wait_for(&format!("call {moment}"), || {
            assert!(!run.has_ended(), "it ended before call {moment}: {}", run.said());
            (sim.received("kimi") >= moment).then_some(())
        });
        recovered.push(unknown_calls(&run.said()));
        run.kill();
        assert_eq!(world.status("crash")["state"], "interrupted");
        args = vec!["swarm", "resume", "crash"];
    }
    let ended = world.run(&args).exits(0);
    recovered.push(unknown_calls(&ended.stderr));

    let account = world.account("crash");
    assert_eq!((account.done, account.dead, account.pending), (u64::from(ITEMS), 0, 0));
    let lines = world.lines("crash", "results.jsonl");
    assert!(by_item(&lines).values().all(|times| *times == 1));

    let (billed, (spent, unknown)) = (sim.billed("kimi"), account.ledger("kimi"));
    println!("the simulator billed {billed}, the ledger has {spent}, {unknown} of it unknown");
    println!("calls recovered at each start: {recovered:?}");
    assert!(recovered.iter().all(|calls| *calls <= CONCURRENCY), "{recovered:?}");
    assert!(spent >= billed, "the ledger lost {}", billed - spent);
    assert!(spent - unknown <= billed, "the ledger has {} too much", spent - unknown - billed);
    assert!(spent <= BUDGET_MICROS, "the cap was passed: {spent}");
    assert_eq!(world.status("crash")["spent_micros"], spent);
    let calls = sim.provider("kimi")["billed"]["calls"].as_u64().unwrap();
    let again = calls - u64::from(ITEMS);
    println!("{again} calls were made again");
    let allowed = recovered.iter().sum::<u64>();
    assert!(again <= allowed, "{again} calls were bought twice, and only {allowed} were under way");
}

#[test]
fn kills_of_a_packed_job_with_equal_rows_and_a_reduce_lose_nothing() {
    const ROWS: u32 = 3_000;
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let world = World::new("");
    let scenario = "name: packs\nkimi: {latency: {uniform: {from: 1, to: 30}}, pack_drop_rate: 0.02}";
    let sim = Sim::start(&world, scenario);
    let rows: String = (0..ROWS).map(|row| format!("{row},name-{}\n", row / 2)).collect();
    world.write("rows.csv", &format!("id,name\n{rows}"));
    let more = "pack: 10\nbudget: 100\nreduce: {group: 50, prompt: \"Sum up {{ answers }}\"}";
    let job = world.write("job.yaml", &kimi_job("packs", "rows.csv", more)).display().to_string();

    let mut recovered = 0;
    let mut args = vec!["swarm", "run", &job, "--sim", &sim.url];
    for kill in 1..=4 {
        let mut run = world.start(&args);
        let moment = sim.received("kimi") + random.u64(1..80);
        wait_for(&format!("call {moment}"), || {
            (run.has_ended() || sim.received("kimi") >= moment).then_some(())
        });
        recovered += unknown_calls(&run.said());
        run.kill();
        println!("kill {kill} at call {}", sim.received("kimi"));
        args = vec!["swarm", "resume", "packs"];
    }
    let ended = world.run(&args).exits(0);
    recovered += unknown_calls(&ended.stderr);
    let account = world.account("packs");
    assert_eq!((account.done, account.dead, account.pending), (u64::from(ROWS), 0, 0));
    assert!(account.report["reduce"].as_str().is_some_and(|answer| !answer.is_empty()));
    let (billed, (spent, unknown)) = (sim.billed("kimi"), account.ledger("kimi"));
    assert!(
        spent >= billed && spent - unknown <= billed,
        "{billed} billed, {spent} spent, {unknown} unknown"
    );
    assert!((unknown == 0) == (recovered == 0), "{unknown} unknown of {recovered} calls");
}

#[test]
fn a_cap_that_binds_is_not_passed_by_kills() {
    const CAP_MICROS: u64 = 450_000;
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let world = World::new("");
    let sim = Sim::start(&world, "name: quick\nkimi: {output_tokens: {from: 20, to: 80}}");
    world.write("rows.csv", &csv_rows(3_000));
    let job = world.write("job.yaml", &kimi_job("capped", "rows.csv", "budget: 0.45"));
    let job = job.display().to_string();

    let mut moments: Vec<u64> = (0..5).map(|_| random.u64(1..400)).collect();
    moments.sort_unstable();
    let mut args = vec!["swarm", "run", &job, "--sim", &sim.url, "--yes"];
    for moment in moments {
        let run = world.start(&args);
        wait_for(&format!("call {moment}"), || (sim.received("kimi") >= moment).then_some(()));
        run.kill();
        args = vec!["swarm", "resume", "capped"];
    }
    world.run(&args).exits(4).shows("budget");
    let stopped = world.account("capped");
    let (spent, unknown) = stopped.ledger("kimi");
    let billed = sim.billed("kimi");
    println!("billed {billed}, spent {spent}, unknown {unknown}");
    assert!(stopped.pending > 0 && stopped.dead == 0, "{}", stopped.report["totals"]);
    assert!(billed <= spent && spent <= CAP_MICROS, "{billed} billed, {spent} spent");
    assert!(unknown > 0, "no kill met a call under way");
    assert!(spent > CAP_MICROS * 8 / 10, "it stopped long before its cap: {spent}");

    world.run(&["swarm", "resume", "capped", "--budget", "15"]).exits(0);
    let end = world.account("capped");
    assert_eq!((end.done, end.pending), (3_000, 0));
    let (spent, unknown) = end.ledger("kimi");
    let billed = sim.billed("kimi");
    assert!(spent >= billed && spent - unknown <= billed, "{billed}, {spent}, {unknown}");
}

/// How many calls a start found under way when the run before it ended.
fn unknown_calls(said: &str) -> u64 {
    let Some((_, rest)) = said.split_once("an earlier run ended without closing: ") else { return 0 };
    rest.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}
