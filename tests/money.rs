//! Nothing is bought twice, and nothing beyond a cap.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{by_item, csv_rows, kimi_job, micros, set_up};

const QUICK: &str = "name: quick\nkimi: {latency: {fixed: 5}, output_tokens: {from: 20, to: 80}}";

/// Micro-dollars as a person writes them.
fn dollars(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[test]
fn a_budget_for_a_third_stops_the_job_and_a_larger_one_goes_on() {
    let (world, sim, job) =
        set_up(QUICK, 600, "[providers.kimi]\nconcurrency = 4", "budget: 100\nclamp: false");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--out", "whole"]).exits(0);
    let whole = sim.billed("kimi");

    let (world, sim, job) =
        set_up(QUICK, 600, "[providers.kimi]\nconcurrency = 4", "budget: 100\nclamp: false");
    let third = whole / 3;
    let args = ["swarm", "run", &job, "--sim", &sim.url, "--budget", &dollars(third)];
    world.run(&args).exits(4);
    assert_eq!(sim.received_in_all(), 0, "it started without being told to go beyond its budget");
    world.run(&[&args[..], &["--yes"]].concat()).exits(4).shows("budget");
    let stopped = world.account("job");
    assert_eq!(stopped.report["state"], "out_of_budget");
    assert!(stopped.pending > 0 && stopped.dead == 0, "{}", stopped.report["totals"]);
    let spent = micros(&stopped.report["spent"]);
    assert_eq!(spent, sim.billed("kimi"));
    assert!(spent <= third, "{spent} of {third}");
    assert!(spent > third * 8 / 10, "it stopped long before its budget: {spent} of {third}");
    let status = world.status("job");
    assert_eq!((&status["state"], status["spent_micros"].as_u64()), (&"paused".into(), Some(spent)));
    assert!(status["reason"].as_str().unwrap().contains("budget"), "{status}");

    // The same budget again buys nothing; a larger one buys what is missing.
    let before = sim.received("kimi");
    world.run(&["swarm", "resume", "job"]).exits(4);
    assert!(sim.received("kimi") - before <= 4);
    world.run(&["swarm", "resume", "job", "--budget", "100"]).exits(0);
    let end = world.account("job");
    assert_eq!((end.done, end.pending), (600, 0));
    assert_eq!(sim.received("kimi"), 600, "an item was bought twice");
    assert_eq!((micros(&end.report["spent"]), end.cost_of_items), (whole, whole));
    assert_eq!(sim.billed("kimi"), whole);
}

#[test]
fn an_account_that_runs_dry_stops_everybody_at_once_and_only_the_rest_is_bought_later() {
    let scenario = "name: dry\nkimi: {latency: {uniform: {from: 5, to: 25}}, dry_after_calls: 500}";
    let (world, sim, job) = set_up(scenario, 1_000, "[providers.kimi]\nconcurrency = 50", "budget: 100");
    let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(4);
    assert!(ended.stdout.contains("account dry (kimi)"), "{}", ended.stdout);
    let further = sim.received("kimi") - 500;
    assert!(further <= 50, "{further} further calls");
    let status = world.status("job");
    assert_eq!(status["state"], "paused");
    assert!(status["reason"].as_str().unwrap().starts_with("account dry (kimi)"), "{status}");
    let account = world.account("job");
    assert_eq!((account.done, account.dead, account.pending), (500, 0, 500));

    // Still dry: one look is enough.
    let before = sim.received("kimi");
    world.run(&["swarm", "resume", "job"]).exits(4);
    assert!(sim.received("kimi") - before <= 50);

    sim.top_up("kimi", None);
    let before = sim.received("kimi");
    world.run(&["swarm", "resume", "job"]).exits(0);
    assert_eq!(sim.received("kimi") - before, 500, "not exactly the missing rows were bought");
    let account = world.account("job");
    assert_eq!((account.done, account.dead, account.pending), (1_000, 0, 0));
    assert_eq!(account.ledger("kimi"), (sim.billed("kimi"), 0));
}

#[test]
fn a_job_grown_by_ten_rows_makes_ten_calls() {
    let (world, sim, job) = set_up(QUICK, 200, "", "budget: 100");
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    world.write("rows.csv", &csv_rows(210));
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!(sim.received("kimi"), 210);
    let lines = world.lines("job", "results.jsonl");
    assert_eq!(by_item(&lines).len(), 210);
    assert_eq!(world.account("job").done, 210);
    // And shrunk again, it makes none.
    world.write("rows.csv", &csv_rows(50));
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!((sim.received("kimi"), world.account("job").done), (210, 50));
}

#[test]
fn every_row_twice_is_half_the_calls() {
    let (world, sim, job) = set_up(QUICK, 200, "", "budget: 100");
    let rows: String = csv_rows(200).lines().skip(1).flat_map(|row| [row, "\n", row, "\n"]).collect();
    world.write("rows.csv", &format!("id,name\n{rows}"));
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!(sim.received("kimi"), 200);
    let lines = world.lines("job", "results.jsonl");
    assert_eq!((lines.len(), by_item(&lines).len()), (400, 400));
    assert!(lines.chunks(2).all(|pair| pair[0]["answer"] == pair[1]["answer"]));
    let account = world.account("job");
    assert_eq!((account.done, account.cost_of_items), (400, sim.billed("kimi")));
    assert_eq!(account.report["saved_by_equal_items"], 200);
}

#[test]
fn a_cap_worth_ten_calls_lets_at_most_ten_out_of_fifty_slots() {
    // The worst case of a call: every byte of it a token in, all of its maximum out.
    let config = "[providers.kimi]\nconcurrency = 50\n[models.\"kimi-k2.6\"]\n\
                  price = {input = \"0\", cached_input = \"0\", cache_write = \"0\", output = \"1000\"}";
    let scenario = "name: slow\nkimi: {latency: {fixed: 40}, output_tokens: {from: 100, to: 100}}";
    // 100 tokens out at 1,000 dollars a million: ten cents a call.
    let (world, sim, job) = set_up(scenario, 500, config, "budget: 1.00");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    assert_eq!(sim.received("kimi"), 10);
    assert_eq!(sim.billed("kimi"), 1_000_000);
    assert_eq!(world.account("job").pending, 490);

    // A provider's own cap holds as the job's does.
    let config = config.replace("concurrency = 50", "concurrency = 50\ncap = \"0.50\"");
    let (world, sim, job) = set_up(scenario, 500, &config, "budget: 100");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    assert_eq!((sim.received("kimi"), world.account("job").done), (5, 5));
}

#[test]
fn changed_retries_and_limits_make_no_call_and_an_edited_template_asks_first() {
    let (world, sim, job) = set_up(QUICK, 100, "", "budget: 100\nretries: 2");
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    let more = "budget: 90\nretries: 7\ndeadline: 3h\npack: 4\nfailure_rule: off";
    world.write("job.yaml", &kimi_job("job", "rows.csv", more));
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    assert_eq!((sim.received("kimi"), world.account("job").done), (100, 100));

    let edited = kimi_job("job", "rows.csv", "budget: 90").replace("Say what", "Tell me what");
    world.write("job.yaml", &edited);
    let refused = world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(4);
    assert!(refused.stderr.contains("100 items to be called"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(sim.received("kimi"), 100);
    assert_eq!(world.status("job")["counts"]["done"], 100, "a refused edit changed the job");

    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(0);
    assert_eq!((sim.received("kimi"), world.account("job").done), (200, 100));
    assert_eq!(world.status("job")["spent_micros"], sim.billed("kimi"));
}

#[test]
fn packs_of_twenty_make_a_twentieth_of_the_calls_and_their_shares_add_up() {
    let (world, sim, job) = set_up(QUICK, 410, "", "budget: 100\npack: 20");
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    let account = world.account("job");
    assert_eq!((account.done, sim.received("kimi")), (410, 21));
    assert_eq!(account.ledger("kimi"), (sim.billed("kimi"), 0));
    assert_eq!(account.cost_of_items, sim.billed("kimi"), "the shares do not add up");
    assert_eq!(account.report["work"]["packed_calls"], 21);

    // Missing and doubled parts go back as single calls; the sums stay exact.
    let torn = "name: torn\nkimi: {pack_drop_rate: 0.05, pack_double_rate: 0.05}";
    let (world, sim, job) = set_up(torn, 400, "", "budget: 100\npack: 20");
    world.run(&["swarm", "run", &job, "--sim", &sim.url]).exits(0);
    let account = world.account("job");
    assert_eq!(account.done, 400);
    assert!((21..200).contains(&sim.received("kimi")), "{}", sim.received("kimi"));
    assert_eq!(account.cost_of_items, sim.billed("kimi"), "the shares do not add up");
    assert_eq!(account.ledger("kimi"), (sim.billed("kimi"), 0));
}
