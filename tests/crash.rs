//! `kill -9` costs at most the calls in flight: no item, no money, no cap.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Sim, World, by_item, csv_rows, kimi_job, wait_for};

const ITEMS: u32 = 20_000;
const KILLS: usize = 10;
const CONCURRENCY: u64 = 48;
/// Calls that are funded and wait for their turn at the rate gate, beside those that are out: a
/// crash cannot tell them apart, so they too stay billed at their reservation.
const NEXT_IN_LINE: u64 = 32;
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
    assert!(recovered.iter().all(|calls| *calls <= CONCURRENCY + NEXT_IN_LINE), "{recovered:?}");
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

/// How many calls a start found under way when the run before it ended.
fn unknown_calls(said: &str) -> u64 {
    let Some((_, rest)) = said.split_once("an earlier run ended without closing: ") else { return 0 };
    rest.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}
