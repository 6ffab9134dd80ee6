//! The budget gate from outside: caps in every scope hold to the cent and are used up, whatever
//! happens to the process, the vendor or the clock; much money needs a yes.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Running, Sim, World, kimi_job, micros, set_up, wait_for};
use serde_json::Value;

const ITEMS: u32 = 10_000;

/// The worst case of a call: 100 tokens out at 1,000 dollars a million, ten cents. Answers take a
/// part of that.
const TEN_CENTS: &str = "[models.\"kimi-k2.6\"]\n\
    price = {input = \"0\", cached_input = \"0\", cache_write = \"0\", output = \"1000\"}\n";
const QUICK: &str =
    "name: quick\nkimi: {latency: {fixed: 10}, output_tokens: {from: 20, to: 90}}\nkeep_bodies: 0";

fn with_slots(slots: u32) -> String {
    format!("[providers.kimi]\nconcurrency = {slots}\n{TEN_CENTS}")
}

/// Twenty calls at their worst.
const CAP: u64 = 2_000_000;

fn is_used_up(spent: u64) {
    assert!(spent <= CAP, "the cap was passed: {spent} of {CAP}");
    assert!(spent >= CAP / 100 * 95, "the last of it was of no use: {spent} of {CAP}");
}

fn json(world: &World, args: &[&str]) -> Value {
    world.run(&[args, &["--json"]].concat()).exits(0).json()
}

/// The account of one scope, as `budget show` tells it.
fn scope(world: &World, name: &str) -> Value {
    let shown = json(world, &["budget", "show", "--sim"]);
    let scopes = shown["scopes"].as_array().unwrap().clone();
    let found = scopes.into_iter().find(|line| line["scope"] == name);
    found.unwrap_or_else(|| panic!("no scope {name} in {shown}"))
}

#[test]
fn ten_thousand_calls_at_once_use_a_cap_worth_twenty_up_and_no_cent_more() {
    let (world, sim, job) = set_up(QUICK, ITEMS, &with_slots(500), "budget: 2.00");
    let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    is_used_up(sim.billed("kimi"));
    let stopped = world.account("job");
    assert_eq!(stopped.ledger("kimi"), (sim.billed("kimi"), 0));
    assert_eq!(stopped.dead, 0);
    for percent in [50, 80, 95] {
        let told = ended.stderr.matches(&format!("{percent} % of the job's budget")).count();
        assert_eq!(told, 1, "{percent} % was told {told} times:\n{}", ended.stderr);
    }

    // A clamp that the job does not want leaves what no whole answer fits into.
    let (world, sim, job) = set_up(QUICK, 500, &with_slots(50), "budget: 2.00\nclamp: false");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    let spent = sim.billed("kimi");
    assert!(spent <= CAP && spent > CAP - 100_000, "{spent}");
}

#[test]
fn eight_runs_at_once_killed_at_random_share_one_cap_and_use_it_up() {
    const ROUNDS: u64 = 6;
    const SLOTS: u64 = 2;
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let slow = QUICK.replace("fixed: 10", "fixed: 60");
    let (world, sim, job) = set_up(&slow, ITEMS, &with_slots(SLOTS as u32), "budget: 2.00");
    let args = ["swarm", "run", &job, "--sim", &sim.url, "--yes"];
    let (mut refused, mut at_work) = (0, 0);
    for _ in 0..ROUNDS {
        // One of the eight gets the data folder; the others are refused before they spend anything.
        let before = sim.received("kimi");
        let mut all: Vec<_> = (0..8).map(|_| world.start(&args)).collect();
        random.shuffle(&mut all);
        // Some die before they have got so far.
        all.drain(..random.usize(0..4)).for_each(Running::kill);
        let moment = before + random.u64(1..4);
        wait_for("some calls, or that all have ended", || {
            let all_ended = all.iter_mut().all(Running::has_ended);
            (all_ended || sim.received("kimi") >= moment).then_some(())
        });
        for mut run in all {
            if run.has_ended() {
                let ended = run.end();
                assert!(matches!(ended.code(), Some(2 | 4)), "{:?}: {}", ended.code(), ended.stderr);
                refused += u32::from(ended.code() == Some(2) && ended.stderr.contains("in use"));
            } else {
                run.kill();
                at_work += u64::from(sim.received("kimi") > before);
            }
        }
        let total = scope(&world, "total");
        assert!(micros(&total["spent_micros"]) + micros(&total["reserved_micros"]) <= CAP, "{total}");
        assert!(sim.billed("kimi") <= CAP);
    }
    assert!(refused > 0 && at_work > 0, "{refused} refused, {at_work} killed at work");
    world.run(&args).exits(4);
    let (spent, unknown) = world.account("job").ledger("kimi");
    let billed = sim.billed("kimi");
    println!(
        "spent {spent}, of it {unknown} unknown; billed {billed}; {refused} refused, {at_work} killed at work"
    );
    is_used_up(spent);
    assert!(billed <= spent && billed >= spent - unknown);
    assert!(unknown <= ROUNDS * SLOTS * 100_000, "more is unknown than can have been under way: {unknown}");
}

#[test]
fn a_second_process_is_refused_before_it_spends_and_may_look() {
    let slow = QUICK.replace("fixed: 10", "fixed: 200");
    let (world, sim, job) = set_up(&slow, 500, &with_slots(20), "budget: 2.00");
    let first = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    wait_for("a call", || (sim.received("kimi") > 0).then_some(()));
    let other = world.write("other.yaml", &kimi_job("other", "rows.csv", "budget: 2.00"));
    let other = other.display().to_string();
    let second_sim = Sim::start(&world, QUICK);
    world.run(&["swarm", "run", &other, "--sim", &second_sim.url, "--yes"]).exits(2).says("in use");
    assert_eq!(second_sim.received_in_all(), 0);
    let total = scope(&world, "total");
    assert!(micros(&total["spent_micros"]) + micros(&total["reserved_micros"]) <= CAP, "{total}");
    let lines = json(&world, &["budget", "ledger", "--sim", "--job", "job"]);
    assert!(lines.as_array().unwrap().iter().any(|line| line["state"] == "sent"), "{lines}");
    drop(first);
}

#[test]
fn a_model_without_a_price_gets_no_call() {
    let config = "[models.mystery]\nprovider = \"kimi\"\ncontext = 8000\nmax_output = 1000";
    let (world, sim, _) = set_up(QUICK, 200, config, "");
    let job = kimi_job("job", "rows.csv", "budget: 2.00").replace("route: [kimi]", "route: [mystery]");
    let job = world.write("job.yaml", &job).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4).says("price");
    assert_eq!(sim.received_in_all(), 0);
}

#[test]
fn a_vendor_that_bills_more_than_was_asked_for_is_booked_truthfully_and_gets_nothing_more() {
    let greedy = QUICK.replace("kimi: {", "kimi: {bills_times: 8, ");
    let (world, sim, job) = set_up(&greedy, 2_000, &with_slots(50), "budget: 2.00");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    // What was reserved at once fits the cap; what each was billed beyond that is debt.
    assert!(sim.received("kimi") <= 20, "{} calls", sim.received("kimi"));
    let billed = sim.billed("kimi");
    assert!(billed > CAP, "{billed}");
    assert_eq!(world.account("job").ledger("kimi"), (billed, 0));
    let before = sim.received_in_all();
    world.run(&["swarm", "resume", "job"]).exits(4);
    assert_eq!(sim.received_in_all(), before, "something was granted in debt");
}

#[test]
fn caps_of_a_day_a_month_and_a_role_hold_as_the_total_does() {
    for (caps, scope_name) in [
        ("[budget]\nday = \"2.00\"", "day"),
        ("[budget]\nmonth = \"2.00\"", "month"),
        ("[budget.roles]\nresearch = \"2.00\"", "role:research"),
        ("[budget]\neur_usd = \"2\"\nday = \"1 EUR\"", "day"),
    ] {
        let config = format!("{caps}\n{}", with_slots(50));
        let (world, sim, job) = set_up(QUICK, 500, &config, "budget: 100");
        world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4).shows("budget");
        is_used_up(sim.billed("kimi"));
        let account = scope(&world, scope_name);
        assert_eq!(micros(&account["spent_micros"]), sim.billed("kimi"), "{account}");
        assert_eq!((micros(&account["cap_micros"]), &account["alert_percent"]), (CAP, &95.into()));
    }
}

#[test]
fn a_cap_set_by_hand_overrides_the_configuration_at_once_and_is_audited() {
    let slow = QUICK.replace("fixed: 10", "fixed: 100");
    let (world, sim, job) = set_up(&slow, 2_000, &with_slots(8), "budget: 100");
    let running = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    wait_for("some calls", || (sim.received("kimi") >= 8).then_some(()));
    let cap = sim.billed("kimi") + 20_000_000;
    let amount = format!("{}.{:06}", cap / 1_000_000, cap % 1_000_000);
    let set = ["budget", "set", "provider:kimi", &amount, "--reason", "enough for today", "--sim"];
    world.run(&set).exits(0);
    let ended = running.end();
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("from now on"), "{}", ended.stderr);
    let billed = sim.billed("kimi");
    assert!(billed <= cap && billed > cap - 100_000, "{billed} of {cap}");

    let account = scope(&world, "provider:kimi");
    assert_eq!((micros(&account["cap_micros"]), &account["set_by_hand"]), (cap, &"enough for today".into()));
    let changes = json(&world, &["budget", "show", "--sim"])["changes"].clone();
    assert_eq!(
        (&changes[0]["scope"], &changes[0]["reason"]),
        (&"provider:kimi".into(), &"enough for today".into())
    );

    world.run(&["swarm", "resume", "job"]).exits(4);
    assert!(sim.billed("kimi") <= cap);
    world.run(&["budget", "set", "provider:kimi", "default", "--sim"]).exits(0);
    world.run(&["budget", "set", "total", "3 dollars", "--sim"]).exits(2).says("AMOUNT");
    world.run(&["budget", "set", "totl", "3", "--sim"]).exits(2).says("SCOPE");
    world.run(&["budget", "set", "provider:mars", "3", "--sim"]).exits(2).says("kimi");
    let before = sim.received_in_all();
    let running = world.start(&["swarm", "resume", "job"]);
    wait_for("further calls", || (sim.received_in_all() > before).then_some(()));
    drop(running);
}

#[test]
fn a_fresh_job_does_not_inherit_the_cap_that_was_set_by_hand_for_an_earlier_one() {
    let (world, sim, job) = set_up(QUICK, 40, &with_slots(8), "budget: 0.01");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    let earlier = json(&world, &["swarm", "list"])[0]["id"].as_str().unwrap().to_owned();
    world.run(&["budget", "set", &format!("job:{earlier}"), "50", "--sim"]).exits(0);
    let before = sim.billed("kimi");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes", "--fresh"]).exits(4);
    let spent = sim.billed("kimi") - before;
    assert!(spent <= 10_000, "{spent} of a budget of $0.01");
}

#[test]
fn prices_are_shown_with_their_date_and_fixed_ones_too() {
    let world = World::new("");
    let prices = json(&world, &["budget", "show"])["prices"].clone();
    let of = |name: &str| {
        let found = prices.as_array().unwrap().iter().find(|price| price["name"] == name);
        found.unwrap_or_else(|| panic!("no price of {name}")).clone()
    };
    assert_eq!((&of("x.post")["fixed"], &of("x.post-with-link")["fixed"]), (&15_000.into(), &200_000.into()));
    let kimi = of("kimi-k2.6");
    assert_eq!((&kimi["price"]["cached_input"], &kimi["batch_percent"]), (&160_000.into(), &60.into()));
    assert!(
        prices.as_array().unwrap().iter().all(|price| price["price"]["output"] == 0
            || (price["date"].is_string() && price["source"].is_string()))
    );
    world.run(&["budget", "show"]).exits(0).shows("x.post-with-link").shows("BATCH");
}

#[test]
fn much_in_one_go_needs_an_approval_that_holds_for_one_job_and_once() {
    let config = format!("[budget]\napproval_above = \"10 EUR\"\n{}", with_slots(16));
    let (world, sim, job) = set_up(QUICK, 120, &config, "budget: 100");
    let run = ["swarm", "run", &job, "--sim", &sim.url, "--yes"];
    let approvals = || json(&world, &["approvals"]);
    for _ in 0..2 {
        let refused = world.run(&run).exits(4).says("empire approvals approve ");
        assert!(refused.stderr.contains("$11.00"), "{}", refused.stderr);
    }
    assert_eq!(sim.received_in_all(), 0);
    assert_eq!(approvals().as_array().unwrap().len(), 1, "asked twice for the same");
    let asked = approvals()[0].clone();
    assert_eq!(asked["state"], "pending");
    assert!(micros(&asked["amount"]) > 11_000_000, "{asked}");
    let id = asked["id"].as_str().unwrap();

    world.run(&["approvals", "deny", id, "--reason", "too much"]).exits(0);
    world.run(&["approvals", "approve", id]).exits(4).says("denied already");
    world.run(&run).exits(4);
    assert_eq!(sim.received_in_all(), 0);
    let id = approvals()[0]["id"].as_str().unwrap().to_owned();
    world.run(&["approvals", "approve", &id, "--reason", "go"]).exits(0);
    world.run(&["approvals", "show", &id]).exits(0).shows("go");
    world.run(&run).exits(0);
    assert_eq!(world.account("job").done, 120);
    assert!(approvals()[0]["used_by"].is_string());

    // Another job of the same file needs its own; a changed budget makes it another job.
    let before = sim.received_in_all();
    world.run(&[&run[..], &["--fresh"]].concat()).exits(4).says("approve");
    world.run(&[&run[..], &["--fresh", "--budget", "90"]].concat()).exits(4).says("approve");
    // What stays below needs none.
    assert_eq!(sim.received_in_all(), before);
    world.run(&[&run[..], &["--fresh", "--budget", "10.99"]].concat()).exits(0);
}

#[test]
fn an_approval_that_nobody_gives_in_time_is_denied() {
    let config =
        format!("[budget]\napproval_above = \"10 EUR\"\napproval_timeout = \"1ms\"\n{}", with_slots(16));
    let (world, sim, job) = set_up(QUICK, 120, &config, "budget: 100");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    let asked = json(&world, &["approvals", "list"])[0].clone();
    assert_eq!(asked["state"], "expired");
    world.run(&["approvals", "approve", asked["id"].as_str().unwrap()]).exits(4).says("expired");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
    assert_eq!(sim.received_in_all(), 0);
}

#[test]
fn a_balance_settles_what_calls_of_unknown_outcome_really_cost() {
    let slow = QUICK.replace("fixed: 10", "fixed: 150");
    let (world, sim, job) = set_up(&slow, 400, &with_slots(16), "budget: 100");
    let reconcile = ["budget", "reconcile", "--sim", &sim.url];
    let first = json(&world, &reconcile);
    assert_eq!((&first[0]["provider"], &first[0]["is_new_baseline"]), (&"kimi".into(), &true.into()));

    let running = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    wait_for("some calls", || (sim.received("kimi") >= 40).then_some(()));
    running.kill();
    wait_for("their end", || (sim.provider("kimi")["in_flight"] == 0).then_some(()));
    let told = json(&world, &reconcile)[0].clone();
    let unknown = micros(&told["unknown_micros"]);
    assert!(told["unknown_calls"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["taken_micros"].as_u64().unwrap(), sim.billed("kimi"));
    assert_eq!(told["verdict"], "explained");
    let before = micros(&scope(&world, "total")["spent_micros"]);
    let settled = json(&world, &[&reconcile[..], &["--settle", "--reason", "by the balance"]].concat());
    assert_eq!(settled[0]["settled"], true);
    let after = micros(&scope(&world, "total")["spent_micros"]);
    assert_eq!(after, sim.billed("kimi"), "the ledger is not in line with the vendor");
    assert!(after < before && before - after <= unknown);
    let changes = json(&world, &["budget", "show", "--sim"])["changes"].clone();
    assert_eq!((&changes[0]["what"], &changes[0]["reason"]), (&"reconcile".into(), &"by the balance".into()));
    let lines = json(&world, &["budget", "ledger", "--sim", "--limit", "1000"]);
    let states: Vec<&Value> = lines.as_array().unwrap().iter().map(|line| &line["state"]).collect();
    assert!(states.iter().any(|state| **state == "reconciled"), "{states:?}");
    assert!(!states.iter().any(|state| **state == "unknown"), "{states:?}");
}
