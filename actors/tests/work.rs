//! Jobs that run through: every item ends with one record, and the money adds up.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use empire_actors::failure::FailureKind;
use empire_actors::level::{Level, Zone};
use empire_actors::money::Micros;
use empire_actors::ports::{Finish, Item, Part, Reply, TryOutcome, Verdict};
use tokio::time::Instant;

const MS20: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn every_item_ends_with_one_record_and_one_call() {
    let bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 50), paid(), FakeProvider::good());
    let started = Instant::now();
    let ran = bench.run().await;
    assert_eq!((ran.end.stopped, ran.end.unfinished), (None, 0));
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 500);
    assert_eq!(bench.provider("cloud").peak(), 50, "the limit is used, and held");
    assert_eq!(bench.recorded_cost(), ran.spent);
    assert!(ran.spent > Micros::ZERO);
    // Ten rounds of 20 ms, and a little for commits.
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn equal_items_are_called_once_and_all_accounted_for() {
    let rows: Vec<Item> = (0..400).map(|n| item(n, &format!("row-{}", n % 200))).collect();
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 50), paid(), FakeProvider::good());
    let ran = bench.run().await;
    assert_eq!(ran.meters.done, 400);
    assert_eq!(bench.provider("cloud").calls(), 200);
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn equal_items_die_together_and_packs_know_them_too() {
    let rows: Vec<Item> = (0..300).map(|n| item(n, &format!("row-{}", n % 100))).collect();
    let bad = FakeProvider::failing(FailureKind::InvalidRequest);
    let bench = Bench::new(rows.clone()).route(spec("cloud", Zone::Cloud, 50), paid(), bad);
    let ran = bench.run().await;
    assert_eq!((ran.meters.dead, bench.provider("cloud").calls()), (300, 100));

    let good = FakeProvider::good();
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 50), paid(), good);
    let bench = bench.order(|order| order.pack = 10);
    let ran = bench.run().await;
    assert_eq!(ran.meters.done, 300);
    assert!(bench.provider("cloud").calls() <= 14, "{}", bench.provider("cloud").calls());
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn missing_doubled_and_broken_parts_go_back_alone_and_the_sums_stay_exact() {
    let provider = FakeProvider::new(MS20, |_, request| {
        let answer = good_answer(request);
        if !request.turns[0].text.starts_with("pack") {
            return Reaction::Answer(answer);
        }
        let mut lines: Vec<&str> = answer.lines().collect();
        let broken = "3=no idea";
        lines[2] = broken;
        lines.extend(lines.get(4).copied());
        // The carrier's own part is missing.
        lines.remove(0);
        Reaction::Answer(lines.join("\n"))
    });
    let bench = Bench::new(items(640)).route(spec("cloud", Zone::Cloud, 8), paid(), provider);
    let bench = bench.order(|order| order.pack = 10);
    let ran = bench.run().await;
    bench.assert_all_done();
    // 64 cohort rows make six packs of ten and one of four; each pack sends some back.
    let packs = 10 * 7;
    assert_eq!(ran.meters.packed_calls, packs);
    assert_eq!(ran.meters.calls, packs + 10 * (6 * 3 + 2));
    assert_eq!(bench.recorded_cost(), ran.spent);
    let records = bench.results.all(Part::Item);
    assert_eq!(records.iter().map(|record| u64::from(record.calls)).sum::<u64>(), ran.meters.calls);
    let missing = &records[0];
    assert_eq!(missing.packed, 1);
    assert!(
        matches!(&missing.tries[0].outcome, TryOutcome::Rejected { why } if why == "in the shared call: missing")
    );
    assert_eq!(records[1].packed, 10);
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_cannot_be_read_at_all_falls_apart_into_single_calls() {
    let provider = FakeProvider::new(MS20, |_, request| {
        let packed = request.turns[0].text.starts_with("pack");
        Reaction::Answer(if packed { "garbage".into() } else { good_answer(request) })
    });
    let bench = Bench::new(items(64)).route(spec("cloud", Zone::Cloud, 8), paid(), provider);
    let bench = bench.order(|order| order.pack = 8);
    let ran = bench.run().await;
    bench.assert_all_done();
    assert_eq!(ran.meters.calls, 8 + 64);
    assert_eq!(bench.recorded_cost(), ran.spent);
    assert!(bench.provider("cloud").peak() <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_gets_one_repair_turn_then_the_next_model() {
    let stubborn = FakeProvider::new(MS20, |_, _| Reaction::Answer("no".into()));
    let bench = Bench::new(items(10))
        .route(spec("local", Zone::Local, 4), Some(empire_actors::money::Price::FREE), stubborn)
        .route(spec("cloud", Zone::Cloud, 4), paid(), FakeProvider::good());
    let ran = bench.run().await;
    bench.assert_all_done();
    assert_eq!((bench.provider("local").calls(), bench.provider("cloud").calls()), (20, 10));
    assert_eq!(ran.meters.rejected, 20);
    let repair = &bench.provider("local").requests()[10..];
    assert!(repair.iter().any(|request| request.turns.len() == 3));
    assert_eq!(bench.recorded_cost(), ran.spent);
}

#[tokio::test(start_paused = true)]
async fn garbage_everywhere_ends_in_dead_letters_with_the_reason() {
    let garbage = || FakeProvider::new(MS20, |_, _| Reaction::Answer("%&/".into()));
    let bench = Bench::new(items(30)).route(spec("a", Zone::Cloud, 4), paid(), garbage()).route(
        spec("b", Zone::Cloud, 4),
        paid(),
        garbage(),
    );
    let ran = bench.run().await;
    assert_eq!(ran.meters.dead, 30);
    let dead = bench.dead();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].0.contains("b-model") && dead[0].0.contains("does not start with ok"), "{dead:?}");
    assert_eq!(bench.recorded_cost(), ran.spent);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_rendered_dies_alone() {
    let mut rows = items(20);
    rows[7].row = "{\"name\":\"unrenderable\"}".into();
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 4), paid(), FakeProvider::good());
    let ran = bench.run().await;
    assert_eq!((ran.meters.done, ran.meters.dead), (19, 1));
    assert_eq!(bench.dead(), [("row 7: no field `x`".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_declines_is_not_asked_to_repair() {
    let declining = FakeProvider::new(MS20, |_, _| {
        Reaction::Reply(Reply { text: "I would rather not".into(), usage: None, finish: Finish::Refusal })
    });
    let bench = Bench::new(items(5)).route(spec("cloud", Zone::Cloud, 4), paid(), declining);
    let ran = bench.run().await;
    assert_eq!((ran.meters.dead, ran.meters.calls), (5, 5));
    assert_eq!(bench.recorded_cost(), ran.spent, "an answer without a count is billed as reserved");
}

#[tokio::test(start_paused = true)]
async fn private_rows_of_a_public_job_stay_at_home() {
    let mut rows = items(100);
    for row in rows.iter_mut().step_by(10) {
        row.level = Some(Level::P2);
    }
    let cloud_only =
        Bench::new(rows.clone()).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    let cloud_only = cloud_only.order(|order| order.pack = 4);
    let ran = cloud_only.run().await;
    assert_eq!((ran.meters.done, ran.meters.dead), (90, 10));
    let dead = cloud_only.dead();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].0.starts_with("P2 data may not go to cloud"), "{dead:?}");
    for request in cloud_only.provider("cloud").requests() {
        for row in rows.iter().step_by(10) {
            assert!(!request.turns.iter().any(|turn| turn.text.contains(&*row.row)));
        }
    }

    let free = Some(empire_actors::money::Price::FREE);
    let both = Bench::new(rows).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good()).route(
        spec("local", Zone::Local, 2),
        free,
        FakeProvider::good(),
    );
    both.run().await;
    both.assert_all_done();
    assert_eq!((both.provider("cloud").calls(), both.provider("local").calls()), (90, 10));
}

#[tokio::test(start_paused = true)]
async fn planted_secrets_never_reach_a_cloud_provider_not_even_in_a_repair_turn() {
    let key = format!("sk-ant-api03-{}", "q7Xw".repeat(12));
    let secrets = [key.as_str(), "jane.doe@example.com", "hunter2-swordfish"];
    let planted = format!("key {} mail {} password: {}", secrets[0], secrets[1], secrets[2]);
    let rows: Vec<Item> = (0..50).map(|n| item(n, &format!("{planted} row {n}"))).collect();
    let parrot = || {
        let leaked = "jane.doe@example.com";
        FakeProvider::new(MS20, move |_, request| {
            let is_repair = request.turns.len() > 1;
            // A model may say what it knows by itself; that must not go out again either.
            Reaction::Answer(if is_repair { good_answer(request) } else { format!("no, ask {leaked}") })
        })
    };
    let shared = |_: usize, request: &empire_actors::call::Request| Reaction::Answer(good_answer(request));
    for (pack, provider) in [(1, parrot()), (5, FakeProvider::new(MS20, shared))] {
        let bench = Bench::new(rows.clone()).route(spec("cloud", Zone::Cloud, 10), paid(), provider);
        let bench = bench.order(|order| order.pack = pack);
        let ran = bench.run().await;
        bench.assert_all_done();
        assert!(ran.meters.redactions > 0);
        let noted: u64 = bench.results.all(Part::Item).iter().map(|r| u64::from(r.redactions)).sum();
        assert_eq!(noted, ran.meters.redactions);
        let requests = bench.provider("cloud").requests();
        assert!(requests.len() >= 10);
        for request in requests {
            let seen = format!("{request:?}");
            assert!(!secrets.iter().any(|secret| seen.contains(secret)), "{seen}");
        }
    }
    let free = Some(empire_actors::money::Price::FREE);
    let local = Bench::new(rows).route(spec("local", Zone::Local, 10), free, FakeProvider::good());
    local.run().await;
    assert!(local.provider("local").requests()[0].turns[0].text.contains(secrets[0]), "at home it stays");
}

#[tokio::test(start_paused = true)]
async fn answers_are_summed_up_to_one_and_a_resumed_reduce_buys_nothing_twice() {
    let mut bench = Bench::new(items(200)).route(spec("cloud", Zone::Cloud, 20), paid(), {
        FakeProvider::new(MS20, |_, request| Reaction::Answer(good_answer(request)))
    });
    bench.order.reduce_group = Some(10);
    let ran = bench.run().await;
    let answer = ran.end.reduced.clone().unwrap().unwrap();
    assert_eq!(&*answer, "\"ok sum all of 3\"");
    assert_eq!(bench.recorded_cost(), ran.spent);
    let steps = bench.results.all(Part::Reduce).len() as u64;
    assert_eq!(ran.meters.calls, 200 + steps);

    bench.resume();
    let again = bench.run().await;
    assert_eq!(again.end.reduced, ran.end.reduced);
    assert_eq!(again.meters.calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reduce_that_fails_or_panics_ends_the_job_and_says_so() {
    let provider = || {
        FakeProvider::new(MS20, |_, request| {
            if request.turns[0].text.starts_with("sum") {
                return Reaction::Fail(error(FailureKind::InvalidRequest));
            }
            Reaction::Answer(good_answer(request))
        })
    };
    let mut bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 20), paid(), provider());
    bench.order.reduce_group = Some(10);
    let ran = bench.run().await;
    bench.assert_all_done();
    assert!(ran.end.reduced.unwrap().unwrap_err().contains("request refused"));
    assert_eq!(bench.recorded_cost(), ran.spent);

    let mut bench = Bench::new(items(10)).route(spec("cloud", Zone::Cloud, 20), paid(), FakeProvider::good());
    bench.order.reduce_group = Some(10);
    Hooks::set(&bench.hooks.reduce, |()| panic!("bad template"));
    let ran = bench.run().await;
    assert_eq!(ran.end.reduced, Some(Err("the reduce panicked: bad template".into())));
}

#[tokio::test(start_paused = true)]
async fn a_sample_works_its_items_only_and_the_rest_later_is_not_bought_twice() {
    let mut bench =
        Bench::new(items(300)).route(spec("cloud", Zone::Cloud, 20), paid(), FakeProvider::good());
    bench.order.reduce_group = Some(10);
    bench.order.only = Some(Arc::new(HashSet::from([3, 70, 299])));
    let ran = bench.run().await;
    assert_eq!((ran.meters.done, ran.end.unfinished, ran.end.reduced), (3, 0, None));
    bench.order.only = None;
    bench.order.reduce_group = None;
    bench.resume();
    let ran = bench.run().await;
    assert_eq!((ran.meters.done, ran.meters.calls), (297, 297));
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn an_empty_job_ends_at_once() {
    let bench = Bench::new(items(0)).route(spec("cloud", Zone::Cloud, 20), paid(), FakeProvider::good());
    let ran = bench.run().await;
    assert_eq!((ran.end.stopped, ran.end.unfinished, ran.meters.calls), (None, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_the_day_is_remembered_by_the_next_run() {
    let mut limited = spec("cloud", Zone::Cloud, 50);
    limited.limits.requests_per_minute = Some(60);
    limited.limits.requests_per_day = Some(100);
    let mut bench = Bench::new(items(150)).route(limited, paid(), FakeProvider::good());
    let started = Instant::now();
    let swarm = bench.start().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.provider("cloud").calls(), 100, "the day is full");
    assert_eq!(bench.provider("cloud").calls_after(started + Duration::from_secs(60)), 40);
    swarm.stop(empire_actors::swarm::order::StopReason::Paused);
    bench.finish(swarm).await;
    bench.resume();
    let swarm = bench.start().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.provider("cloud").calls(), 100, "and stays full");
    bench.finish(swarm).await;
    bench.assert_all_done();
    assert!(started.elapsed() > Duration::from_secs(86_400));
}

/// Real threads and real time: races that a single-threaded runtime cannot show.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pausing_again_and_again_on_many_threads_loses_and_doubles_nothing() {
    let rows: Vec<Item> = (0..3_000).map(|n| item(n, &format!("row-{}", n % 2_500))).collect();
    let quick = FakeProvider::new(Duration::ZERO, |_, request| Reaction::Answer(good_answer(request)));
    let mut bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 50), paid(), quick);
    bench.order.pack = 3;
    let mut rounds = 0;
    loop {
        bench.resume();
        let swarm = bench.start().await;
        tokio::time::sleep(Duration::from_millis(7 + rounds * 5)).await;
        swarm.stop(empire_actors::swarm::order::StopReason::Paused);
        let ran = bench.finish(swarm).await;
        rounds += 1;
        if ran.end.unfinished == 0 {
            break;
        }
        assert!(rounds < 200, "it gets on");
    }
    bench.assert_all_done();
    let carried: u32 = bench.results.all(Part::Item).iter().map(|record| record.calls).sum();
    assert_eq!(carried as usize, bench.provider("cloud").calls(), "no call was in vain");
    assert!(bench.results.all(Part::Item).iter().all(|record| matches!(record.verdict, Verdict::Done(_))));
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_an_agent_is_isolated_and_the_item_tried_again_then_dead() {
    let bench = Bench::new(items(130)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    let once = AtomicUsize::new(0);
    Hooks::set(&bench.hooks.render, move |number| match number {
        5 => panic!("always"),
        70 if once.fetch_add(1, Ordering::Relaxed) == 0 => panic!("once"),
        _ => {}
    });
    let ran = bench.run().await;
    assert_eq!((ran.meters.done, ran.meters.dead), (129, 1));
    assert_eq!(bench.dead(), [("the agent panicked 3 times: always".to_owned(), 1)]);
    assert_eq!(ran.meters.calls, 129);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_provider_is_billed_as_reserved_and_the_item_tried_again() {
    let provider = FakeProvider::new(MS20, |n, request| {
        if n == 3 { Reaction::Panic } else { Reaction::Answer(good_answer(request)) }
    });
    let bench = Bench::new(items(20)).route(spec("cloud", Zone::Cloud, 4), paid(), provider);
    let ran = bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 21);
    assert_eq!(bench.ledger.settled(empire_actors::ports::Certainty::Unknown), 1);
    assert_eq!(ran.meters.spent, ran.spent, "the meter counts lost calls as paid too");
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_panics_has_its_members_go_on_and_nothing_durable_bought_again() {
    let provider = FakeProvider::new(MS20, |n, request| {
        if n == 0 { Reaction::Panic } else { Reaction::Answer(good_answer(request)) }
    });
    let bench = Bench::new(items(32)).route(spec("cloud", Zone::Cloud, 1), paid(), provider);
    let bench = bench.order(|order| order.pack = 8);
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 1 + 3 + 8);
}

#[tokio::test(start_paused = true)]
async fn a_privacy_gate_that_crashes_lets_nothing_out_unseen() {
    let rows = (0..40).map(|n| item(n, &format!("write to jane{n}@example.com about {n}"))).collect();
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 200), paid(), FakeProvider::good());
    bench.audit.crashes.store(4, Ordering::Relaxed);
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.audit.crashes.load(Ordering::Relaxed), 0);
    let asked = bench.provider("cloud").requests();
    assert!(asked.iter().all(|request| request.turns[0].text.contains("<EMAIL_1>")), "{asked:?}");
}
