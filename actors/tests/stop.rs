//! Jobs that are stopped, starved or hit: nothing is overspent, lost, doubled or left behind.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use empire_actors::failure::{Billing, CallError, FailureKind};
use empire_actors::kernel::tree::{NodeState, Order};
use empire_actors::level::{Level, Zone};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{Certainty, Finish, Item, Part, Reply, StoreError};
use empire_actors::swarm::order::{FailureRule, StopReason};
use parking_lot::Mutex;
use tokio::time::Instant;

const MS20: Duration = Duration::from_millis(20);

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Bills the whole of what was reserved.
fn greedy() -> FakeProvider {
    FakeProvider::new(MS20, |_, request| {
        let usage = Some(usage_of(request));
        Reaction::Reply(Reply { text: good_answer(request), usage, finish: Finish::Stop })
    })
}

async fn cost_of_one() -> Micros {
    let bench = Bench::new(items(1)).route(spec("cloud", Zone::Cloud, 1), paid(), greedy());
    bench.run().await.spent
}

#[tokio::test(start_paused = true)]
async fn a_cap_worth_ten_calls_sends_at_most_ten_with_fifty_slots() {
    let one = cost_of_one().await;
    let bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 50), paid(), greedy());
    let mut bench = bench.cap(Micros(one.0 * 10 + one.0 / 2));
    let ran = bench.run().await;
    assert_eq!(bench.provider("cloud").calls(), 10);
    assert!(matches!(ran.end.stopped, Some(StopReason::Budget(_))), "{:?}", ran.end);
    assert_eq!((ran.meters.done, ran.end.unfinished), (10, 490));

    bench.caps.clear();
    bench = bench.cap(Micros(one.0 * 1_000));
    bench.resume();
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 500, "the missing rows only are bought");
}

#[tokio::test(start_paused = true)]
async fn reservations_that_turn_out_cheaper_are_used_again() {
    let one = cost_of_one().await;
    // A good provider bills far less than the worst case.
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 50), paid(), FakeProvider::good());
    let bench = bench.cap(Micros(one.0 * 30));
    bench.run().await;
    bench.assert_all_done();
    assert!(bench.provider("cloud").peak() <= 30);
}

#[tokio::test(start_paused = true)]
async fn every_scope_is_a_wall_also_the_providers_own_cap() {
    let one = cost_of_one().await;
    let mut capped = spec("dear", Zone::Cloud, 50);
    capped.cap = Some(Micros(one.0 * 3));
    let bench = Bench::new(items(40)).route(capped, paid(), greedy()).route(
        spec("other", Zone::Cloud, 5),
        paid(),
        greedy(),
    );
    bench.run().await;
    bench.assert_all_done();
    assert_eq!((bench.provider("dear").calls(), bench.provider("other").calls()), (3, 37));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_is_not_called() {
    let bench = Bench::new(items(3)).route(spec("cloud", Zone::Cloud, 5), None, FakeProvider::good());
    let ran = bench.run().await;
    assert_eq!((ran.meters.dead, bench.provider("cloud").calls()), (3, 0));
    assert!(bench.dead()[0].0.contains("has no price"));
}

fn dry_after(n: usize) -> FakeProvider {
    FakeProvider::new(MS20, move |call, request| {
        if call < n {
            Reaction::Answer(good_answer(request))
        } else {
            Reaction::Fail(error(FailureKind::AccountDry))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_dry_account_stops_the_job_with_at_most_the_calls_in_flight() {
    let bench = Bench::new(items(1_000)).route(spec("kimi", Zone::Cloud, 50), paid(), dry_after(500));
    let mut bench = bench;
    let ran = bench.run().await;
    assert!(bench.provider("kimi").calls() <= 550, "{}", bench.provider("kimi").calls());
    let Some(StopReason::Tripped { provider, trip }) = &ran.end.stopped else { panic!("{:?}", ran.end) };
    assert_eq!((provider.as_str(), trip.kind), ("kimi", FailureKind::AccountDry));
    assert_eq!(ran.end.stopped.as_ref().unwrap().to_string(), "account dry (kimi): as scripted");
    assert_eq!((ran.meters.done, ran.meters.dead, ran.end.unfinished), (500, 0, 500));

    bench.providers.clear();
    bench.order.route.clear();
    let mut bench = bench.route(spec("kimi", Zone::Cloud, 50), paid(), FakeProvider::good());
    bench.resume();
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("kimi").calls(), 500, "the missing rows exactly");
}

#[tokio::test(start_paused = true)]
async fn when_one_account_is_dry_the_next_provider_goes_on() {
    let bench = Bench::new(items(300)).route(spec("kimi", Zone::Cloud, 20), paid(), dry_after(100)).route(
        spec("claude", Zone::Cloud, 20),
        paid(),
        FakeProvider::good(),
    );
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, None);
    bench.assert_all_done();
    assert!(bench.provider("kimi").calls() <= 120);
    assert_eq!(bench.recorded_cost(), ran.spent);
}

#[tokio::test(start_paused = true)]
async fn items_that_only_the_dry_one_may_see_wait_while_the_others_go_on() {
    let mut rows = items(60);
    rows.iter_mut().step_by(6).for_each(|row| row.level = Some(Level::P2));
    let free = Some(Price::FREE);
    let bench = Bench::new(rows)
        .route(spec("local", Zone::Local, 2), free, FakeProvider::failing(FailureKind::ModelGone))
        .route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    let ran = bench.run().await;
    assert_eq!((ran.end.stopped, ran.end.unfinished, ran.meters.done), (None, 10, 50));
    assert_eq!(ran.end.parked.values().sum::<u64>(), 10);
    assert!(ran.end.parked.keys().next().unwrap().starts_with("model gone (local)"), "{:?}", ran.end.parked);
}

#[tokio::test(start_paused = true)]
async fn a_provider_nobody_can_reach_hands_over_to_the_next_one() {
    let free = Some(Price::FREE);
    let bench = Bench::new(items(100))
        .route(spec("local", Zone::Local, 4), free, FakeProvider::failing(FailureKind::Unreachable))
        .route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    bench.run().await;
    bench.assert_all_done();
    assert!(bench.provider("local").calls() <= 8, "{}", bench.provider("local").calls());
}

#[tokio::test(start_paused = true)]
async fn pausing_lets_calls_in_flight_end_and_starts_none() {
    let slow = FakeProvider::new(millis(1_000), |_, request| Reaction::Answer(good_answer(request)));
    let mut bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 20), paid(), slow);
    let swarm = bench.start().await;
    tokio::time::sleep(millis(2_500)).await;
    assert_eq!(bench.provider("cloud").in_flight(), 20);
    let paused = Instant::now();
    swarm.stop(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert_eq!(ran.end.stopped, Some(StopReason::Paused));
    assert_eq!(bench.provider("cloud").calls_after(paused), 0);
    assert!(paused.elapsed() < millis(1_000), "it does not wait for the drain deadline");
    assert_eq!((ran.meters.done, ran.meters.calls), (60, 60), "what was in flight counts");
    assert_eq!(bench.ledger.settled(Certainty::Unknown), 0);

    bench.resume();
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_person_pauses_in_the_tree_still_hears_what_it_is_told() {
    let slow = || FakeProvider::new(millis(1_000), |_, request| Reaction::Answer(good_answer(request)));
    for goes_on in [true, false] {
        let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), slow());
        let swarm = bench.start().await;
        let tree = swarm.house.tree();
        let job = format!("/empire/swarm/job-{}", bench.order.id);
        let state = || tree.view(&job, 0).unwrap().state;
        tokio::time::sleep(millis(2_500)).await;
        tree.order(&job, Order::Pause, "the test", "").await.unwrap();
        tokio::time::sleep(millis(10_000)).await;
        let calls = bench.provider("cloud").calls();
        assert!(state() == NodeState::Paused && calls < 100, "{calls}: only who was awake went on");
        tokio::time::sleep(millis(10_000)).await;
        assert_eq!(bench.provider("cloud").calls(), calls);
        if goes_on {
            tree.order(&job, Order::Resume, "the test", "").await.unwrap();
            bench.finish(swarm).await;
            bench.assert_all_done();
        } else {
            swarm.stop(StopReason::Cancelled);
            let ran = bench.finish(swarm).await;
            assert_eq!((ran.end.stopped, ran.meters.done), (Some(StopReason::Cancelled), calls as u64));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_back_calls_instead_of_filling_the_memory() {
    let bench = Bench::new(items(10_000)).route(spec("cloud", Zone::Cloud, 50), paid(), FakeProvider::good());
    *bench.results.slower.lock() = Duration::from_secs(60);
    let swarm = bench.start().await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    let calls = bench.provider("cloud").calls();
    assert!((2_048..3_000).contains(&calls), "{calls} answers wait for the store");
    *bench.results.slower.lock() = Duration::ZERO;
    bench.finish(swarm).await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn equal_items_that_were_stopped_count_when_the_call_in_flight_brings_their_answer() {
    let rows: Vec<Item> = (0..90).map(|n| item(n, &format!("row-{}", n % 10))).collect();
    let slow = FakeProvider::new(millis(1_000), |_, request| Reaction::Answer(good_answer(request)));
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 5), paid(), slow);
    let swarm = bench.start().await;
    tokio::time::sleep(millis(500)).await;
    swarm.stop(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert_eq!((ran.meters.done, ran.end.unfinished), (45, 45));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlasts_the_drain_is_dropped_and_billed_as_reserved() {
    let never = FakeProvider::new(MS20, |_, _| Reaction::Never);
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), never);
    let swarm = bench.start().await;
    tokio::time::sleep(millis(500)).await;
    let paused = Instant::now();
    swarm.stop(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert!(paused.elapsed() >= Duration::from_secs(60) && paused.elapsed() < Duration::from_secs(62));
    assert_eq!(bench.ledger.settled(Certainty::Unknown), 10);
    assert_eq!((ran.end.unfinished, ran.meters.spent), (100, ran.spent));
}

#[tokio::test(start_paused = true)]
async fn stopping_now_drops_calls_in_flight_at_once() {
    let slow = FakeProvider::new(millis(10_000), |_, request| Reaction::Answer(good_answer(request)));
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), slow);
    let swarm = bench.start().await;
    tokio::time::sleep(millis(500)).await;
    let stopped = Instant::now();
    swarm.stop(StopReason::Paused);
    swarm.stop_now(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert!(stopped.elapsed() < millis(100), "{:?}", stopped.elapsed());
    assert_eq!((ran.meters.calls, ran.end.unfinished), (10, 100));
    assert_eq!(bench.ledger.settled(Certainty::Unknown), 10, "they stay billed at their reservation");
}

#[tokio::test(start_paused = true)]
async fn cancelling_overrides_pausing() {
    let bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 5), paid(), FakeProvider::good());
    let swarm = bench.start().await;
    tokio::time::sleep(millis(50)).await;
    swarm.stop(StopReason::Paused);
    swarm.stop(StopReason::Cancelled);
    swarm.stop(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert_eq!(ran.end.stopped, Some(StopReason::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_reduce_ends_it_too() {
    for now in [false, true] {
        let provider = FakeProvider::new(MS20, |_, request| {
            let is_step = request.turns[0].text.starts_with("sum");
            if is_step { Reaction::Never } else { Reaction::Answer(good_answer(request)) }
        });
        let mut bench = Bench::new(items(50)).route(spec("cloud", Zone::Cloud, 50), paid(), provider);
        bench.order.reduce_group = Some(10);
        let swarm = bench.start().await;
        tokio::time::sleep(millis(1_000)).await;
        let stopped = Instant::now();
        if now {
            swarm.stop_now(StopReason::Paused);
        } else {
            swarm.stop(StopReason::Paused);
        }
        let ran = bench.finish(swarm).await;
        assert_eq!(ran.end.reduced, None);
        assert!(stopped.elapsed() < Duration::from_secs(if now { 1 } else { 62 }));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stops_the_job() {
    let slow = FakeProvider::new(millis(1_000), |_, request| Reaction::Answer(good_answer(request)));
    let bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 10), paid(), slow);
    let bench = bench.order(|order| order.deadline = Some(millis(4_500)));
    let started = Instant::now();
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, Some(StopReason::Deadline));
    assert_eq!(ran.meters.done, 50);
    assert!(started.elapsed() < millis(5_500));
}

#[tokio::test(start_paused = true)]
async fn too_many_dead_among_the_first_stop_the_job() {
    let bad = FakeProvider::failing(FailureKind::InvalidRequest);
    let bench = Bench::new(items(1_000)).route(spec("cloud", Zone::Cloud, 10), paid(), bad);
    let bench = bench.order(|order| order.failure_rule = Some(FailureRule { failed: 20, of_first: 50 }));
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, Some(StopReason::FailureRate { failed: 20, of: 20 }));
    assert!(ran.meters.dead >= 20 && ran.meters.dead <= 60, "{}", ran.meters.dead);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_asked_less_and_less_and_kills_no_agent() {
    let hanging = FakeProvider::new(MS20, |_, _| Reaction::Hang);
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), hanging);
    let ran = bench.run().await;
    assert!(
        matches!(&ran.end.stopped, Some(StopReason::Tripped { trip, .. }) if trip.kind == FailureKind::TimedOut && trip.retry_at.is_some())
    );
    assert_eq!((ran.meters.dead, ran.end.unfinished), (0, 100));
    let calls = bench.provider("cloud").calls();
    assert!(calls <= 2 * 10 + 25, "{calls} calls: two waves until it is known, and a probe at a time");
    assert_eq!(bench.ledger.settled(Certainty::Unknown), calls, "what may have been billed counts");
}

/// A vendor that allows so many calls in each window, and answers the others with 429.
fn throttled(per_window: usize, window: Duration, named: bool) -> FakeProvider {
    let used = Mutex::new((0_u128, 0));
    let started = Instant::now();
    FakeProvider::new(MS20, move |_, request| {
        let elapsed = started.elapsed();
        let current = elapsed.as_millis() / window.as_millis();
        let mut used = used.lock();
        if used.0 != current {
            *used = (current, 0);
        }
        used.1 += 1;
        if used.1 <= per_window {
            return Reaction::Answer(good_answer(request));
        }
        let left = window.as_millis() - elapsed.as_millis() % window.as_millis();
        let retry_after = named.then(|| Duration::from_millis(u64::try_from(left).unwrap()));
        Reaction::Fail(CallError { retry_after, ..error(FailureKind::RateLimited) })
    })
}

#[tokio::test(start_paused = true)]
async fn storms_of_429_end_with_every_item_done_and_little_said_in_vain() {
    let outage = {
        let started = Instant::now();
        FakeProvider::new(MS20, move |_, request| {
            if started.elapsed() < Duration::from_secs(30) {
                Reaction::Fail(error(FailureKind::Overloaded))
            } else {
                Reaction::Answer(good_answer(request))
            }
        })
    };
    let kinds = [
        ("wait named", throttled(200, Duration::from_secs(60), true)),
        ("wait not named", throttled(200, Duration::from_secs(60), false)),
        ("short windows", throttled(40, Duration::from_secs(1), true)),
        ("overloaded at first", outage),
    ];
    for (kind, provider) in kinds {
        let bench = Bench::new(items(2_000)).route(spec("cloud", Zone::Cloud, 50), paid(), provider);
        let ran = bench.run().await;
        bench.assert_all_done();
        let calls = bench.provider("cloud").calls();
        assert!(calls <= 2_200, "{kind}: {calls} calls for 2,000 items");
        assert_eq!(ran.meters.calls as usize, calls, "{kind}: what is held back in the end is no call");
        assert_eq!(bench.recorded_cost(), ran.spent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_never_ends_pauses_the_job_and_kills_no_agent() {
    let stormy = FakeProvider::failing(FailureKind::RateLimited);
    let bench = Bench::new(items(40)).route(spec("cloud", Zone::Cloud, 50), paid(), stormy);
    let ran = bench.run().await;
    assert!(
        matches!(&ran.end.stopped, Some(StopReason::Tripped { trip, .. }) if trip.kind == FailureKind::RateLimited)
    );
    assert_eq!((ran.meters.dead, ran.end.unfinished), (0, 40));
    assert!(bench.provider("cloud").calls() < 50 + 40, "a probe at a time after the first wave");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_the_job_and_nothing_is_counted_that_is_not_durable() {
    let bench = Bench::new(items(200)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    *bench.results.full_from.lock() = Some(55);
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, Some(StopReason::Store(StoreError::DiskFull)));
    assert_eq!(ran.meters.done as usize, bench.results.all(Part::Item).len());

    let bench = Bench::new(items(200)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    *bench.ledger.full_from.lock() = Some(55);
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, Some(StopReason::Store(StoreError::DiskFull)));
    assert!(bench.provider("cloud").calls() <= 55, "no call leaves that is not journalled");
}

#[tokio::test(start_paused = true)]
async fn a_cohort_that_crashes_restarts_with_what_is_unfinished() {
    let mut bench =
        Bench::new(items(1_000)).route(spec("cloud", Zone::Cloud, 20), paid(), FakeProvider::good());
    bench.order.has_twins = true;
    let crashes = AtomicUsize::new(0);
    Hooks::set(&bench.hooks.chunk, move |cohort| {
        assert!(cohort != 3 || crashes.fetch_add(1, Ordering::Relaxed) > 0, "the first read of cohort 3");
    });
    let ran = bench.run().await;
    assert_eq!(ran.end.unfinished, 0);
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 1_000, "nothing is paid twice");
}

#[tokio::test(start_paused = true)]
async fn a_cohort_that_always_crashes_is_given_up_and_its_items_stay_pending() {
    // The last rows equal those of the cohort that crashes: they must not wait for it for ever.
    let rows: Vec<Item> = (0..320).map(|n| item(n, &format!("row-{}", n % 256))).collect();
    let bench = Bench::new(rows).route(spec("cloud", Zone::Cloud, 20), paid(), FakeProvider::good());
    Hooks::set(&bench.hooks.chunk, |cohort| assert!(cohort != 0, "cohort 0 is cursed"));
    let ran = bench.run().await;
    assert_eq!(ran.end.stopped, None);
    assert_eq!(ran.end.unfinished, 64);
    let (reason, count) = ran.end.parked.first_key_value().unwrap();
    assert!(reason.contains("cohort 0 crashed too often") && reason.contains("cursed"), "{reason}");
    assert_eq!(*count, 64);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_crashes_restarts_and_forgets_neither_limits_nor_money() {
    let one = cost_of_one().await;
    let bench = Bench::new(items(300)).route(spec("cloud", Zone::Cloud, 20), paid(), greedy());
    let bench = bench.cap(Micros(one.0 * 1_000));
    // The clock fails in whoever asks at that moment: agents and the rate gate's actor.
    let (armed, hits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_armed, hit) = (armed.clone(), hits.clone());
    let doomed = Arc::new(AtomicBool::new(false));
    let is_doomed = doomed.clone();
    Hooks::set(&bench.hooks.now, move |()| {
        assert!(!is_doomed.swap(false, Ordering::Relaxed), "no time for the next who asks");
        if is_armed.load(Ordering::Relaxed) && hit.fetch_add(1, Ordering::Relaxed) % 23 == 7 {
            is_armed.store(hit.load(Ordering::Relaxed) < 100, Ordering::Relaxed);
            panic!("no time");
        }
    });
    let swarm = bench.start().await;
    tokio::time::sleep(millis(50)).await;
    armed.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        // The gate's actor asks for the time when it shows itself.
        doomed.store(true, Ordering::Relaxed);
        let _ = swarm.house.tree().observe("/empire/gates/rate-cloud").await;
        tokio::time::sleep(millis(30)).await;
    }
    let tree = swarm.house.tree();
    let lane = tree.view("/empire/gates/rate-cloud", 0).unwrap();
    let ran = bench.finish(swarm).await;
    assert!(lane.incarnation > 1, "the gate's actor did crash: {lane:?}");
    assert_eq!((ran.end.unfinished, ran.end.stopped), (0, None));
    bench.assert_all_done();
    assert!(bench.provider("cloud").peak() <= 20);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_cannot_be_read_is_a_clear_error_at_the_start() {
    let bench = Bench::new(items(3)).route(spec("cloud", Zone::Cloud, 5), paid(), FakeProvider::good());
    bench.ledger.load_fails.store(1, Ordering::Relaxed);
    let error = bench.try_start().await.err().unwrap().to_string();
    assert!(error.contains("budget did not start") && error.contains("no such table"), "{error}");
    bench.run().await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_open_reservations_count_and_the_cap_still_holds() {
    let one = cost_of_one().await;
    let mut bench = Bench::new(items(200)).route(spec("cloud", Zone::Cloud, 10), paid(), greedy());
    bench = bench.cap(Micros(one.0 * 60));
    for kill in 0_u64..6 {
        let swarm = bench.start().await;
        tokio::time::sleep(millis(10 + kill * 7)).await;
        // The process is gone: what it would still have written was never written.
        let ledger = Arc::new(bench.ledger.after_kill());
        drop(swarm);
        tokio::time::sleep(millis(50)).await;
        bench.ledger = ledger;
        bench.resume();
    }
    let ran = bench.run().await;
    assert!(matches!(ran.end.stopped, Some(StopReason::Budget(_))));
    assert!(ran.spent <= Micros(one.0 * 60));
    assert!(bench.provider("cloud").calls() <= 60, "{}", bench.provider("cloud").calls());
    let done = bench.results.done_keys(Part::Item).len();
    assert!(done + 60 >= bench.provider("cloud").calls(), "at most the calls in flight are lost");
}

#[tokio::test(start_paused = true)]
async fn a_swarm_that_nobody_holds_ends() {
    let slow = FakeProvider::new(millis(1_000), |_, request| Reaction::Answer(good_answer(request)));
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), slow);
    let swarm = bench.start().await;
    tokio::time::sleep(millis(500)).await;
    drop(swarm);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((bench.provider("cloud").calls(), bench.provider("cloud").in_flight()), (10, 0));
    assert_eq!((bench.ledger.open(), bench.ledger.settled(Certainty::Unknown)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn failures_cost_what_their_kind_says() {
    let provider = FakeProvider::new(MS20, |n, request| match n {
        0 => Reaction::Fail(CallError { billing: Billing::Reservation, ..error(FailureKind::Disconnected) }),
        1 => Reaction::Fail(error(FailureKind::ServerError)),
        _ => Reaction::Answer(good_answer(request)),
    });
    let bench = Bench::new(items(1)).route(spec("cloud", Zone::Cloud, 5), paid(), provider);
    let ran = bench.run().await;
    bench.assert_all_done();
    let record = &bench.results.all(Part::Item)[0];
    assert_eq!((record.calls, record.tries.len(), record.cost), (3, 3, ran.spent));
    assert_eq!(bench.ledger.settled(Certainty::Unknown), 1);
    assert_eq!(bench.ledger.settled(Certainty::Settled), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_provider_in_the_route_is_refused_before_anything_starts() {
    let mut bench = Bench::new(items(1)).route(spec("cloud", Zone::Cloud, 5), paid(), FakeProvider::good());
    bench.order.route.push(model("m", "nobody", paid()));
    bench.order.only = Some(Arc::new(HashSet::new()));
    let error = bench.try_start().await.err().unwrap().to_string();
    assert_eq!(error, "model m names the unknown provider nobody");
}
