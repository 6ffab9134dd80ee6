//! Jobs on a machine that is pressed: they slow down, stop and go on by themselves, and nothing
//! goes elsewhere to make room.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use empire_actors::failure::FailureKind;
use empire_actors::gates::meter::Binding;
use empire_actors::guard::pressure::{Disk, GuardLevel};
use empire_actors::level::Zone;
use empire_actors::swarm::order::StopReason;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn level(swarm: &Swarm) -> GuardLevel {
    swarm.guard().pressure().level
}

async fn seconds(number: u32) {
    sleep(SECOND * number).await;
}

/// Answers after `latency`.
fn slow(latency: Duration) -> FakeProvider {
    FakeProvider::new(latency, |_, request| Reaction::Answer(good_answer(request)))
}

#[tokio::test(start_paused = true)]
async fn cpu_throttles_at_70_alerts_at_85_after_five_minutes_and_stops_at_95() {
    let bench = Bench::new(items(40_000)).route(spec("local", Zone::Local, 40), None, slow(SECOND));
    let mut bench = bench;
    bench.order.route[0] = model("free", "local", Some(empire_actors::money::Price::FREE));
    let swarm = bench.start().await;
    let local = bench.provider("local");
    let cpu = |percent| bench.machine.set(|readings| readings.cpu = Some(percent));

    seconds(10).await;
    assert_eq!((level(&swarm), local.in_flight()), (GuardLevel::Normal, 40));

    cpu(82.5);
    seconds(120).await;
    assert_eq!(level(&swarm), GuardLevel::Throttled);
    // Half-way from 70 to 95, three eighths of the slots are withheld.
    assert_eq!(local.in_flight(), 25);
    assert_eq!(swarm.lanes()[0].1.binding, Some(Binding::Machine));

    cpu(90.0);
    seconds(300).await;
    assert_eq!(level(&swarm), GuardLevel::Throttled, "not yet five minutes at 85 %");
    seconds(60).await;
    assert_eq!(level(&swarm), GuardLevel::Alert);
    seconds(120).await;
    let called = local.calls();
    seconds(60).await;
    assert_eq!(local.calls(), called, "nobody is woken on alert, and whoever was awake is done");

    cpu(99.0);
    seconds(60).await;
    assert_eq!(level(&swarm), GuardLevel::Emergency);
    assert_eq!(swarm.guard().pressure().binds.unwrap().to_string(), "CPU at 99 % (emergency from 95 %)");

    cpu(20.0);
    seconds(60).await;
    assert_eq!((level(&swarm), local.in_flight()), (GuardLevel::Normal, 40));
    let held = swarm.guard().held();
    assert!(held.throttled > SECOND * 300 && held.alert > SECOND * 100, "{held:?}");
    assert!(held.emergency > SECOND * 10, "{held:?}");
    bench.finish(swarm).await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn an_emergency_starts_nothing_settles_what_is_out_checkpoints_and_ends_by_itself() {
    let bench = Bench::new(items(500)).route(spec("cloud", Zone::Cloud, 10), paid(), slow(SECOND * 4));
    let swarm = bench.start().await;
    let cloud = bench.provider("cloud");
    seconds(2).await;
    assert_eq!(cloud.in_flight(), 10);

    bench.machine.memory(100.0);
    // The first sample of it, and the smoothing.
    seconds(8).await;
    assert_eq!(level(&swarm), GuardLevel::Emergency);
    let called = cloud.calls();
    seconds(600).await;
    assert_eq!((cloud.calls(), cloud.in_flight()), (called, 0), "what was out has settled, nothing followed");
    let read = swarm.meters().read();
    assert_eq!((read.done, read.in_flight), (called as u64, 0));
    let checkpoints = bench.machine.checkpoints();
    assert!((1..=2).contains(&checkpoints), "at its start and when all was settled: {checkpoints}");

    bench.machine.memory(30.0);
    bench.finish(swarm).await;
    bench.assert_all_done();
    assert_eq!(cloud.calls(), 500, "nothing was bought twice");
}

#[tokio::test(start_paused = true)]
async fn in_an_emergency_a_local_first_route_waits_instead_of_falling_through() {
    for kind in [FailureKind::Unreachable, FailureKind::TimedOut, FailureKind::ServerError] {
        let starves = Arc::new(AtomicBool::new(false));
        let starving = starves.clone();
        // The local server starves with the machine: what reaches it then fails in the end.
        let local = FakeProvider::new(SECOND * 3, move |_, request| match starving.load(Ordering::Relaxed) {
            true => Reaction::Fail(error(kind)),
            false => Reaction::Answer(good_answer(request)),
        });
        let free = Some(empire_actors::money::Price::FREE);
        let bench = Bench::new(items(200)).route(spec("local", Zone::Local, 8), free, local);
        let bench = bench.route(spec("cloud", Zone::Cloud, 8), paid(), FakeProvider::good());
        let bench = bench.order(|order| order.retries = 0);
        let swarm = bench.start().await;
        seconds(2).await;
        starves.store(true, Ordering::Relaxed);
        // The calls that are sent at 3 s fail at 6 s, in the emergency that begins meanwhile.
        seconds(2).await;
        bench.machine.memory(100_000.0);
        seconds(900).await;
        assert_eq!(level(&swarm), GuardLevel::Emergency);
        assert_eq!(bench.provider("local").calls(), 16, "{kind:?}");
        assert_eq!(swarm.meters().read().failed_calls, 8, "{kind:?}");
        assert_eq!(bench.provider("cloud").calls(), 0, "{kind:?}");
        starves.store(false, Ordering::Relaxed);
        bench.machine.memory(10.0);
        bench.finish(swarm).await;
        bench.assert_all_done();
        assert_eq!(bench.provider("cloud").calls(), 0, "{kind:?}");
        assert_eq!(bench.provider("local").calls(), 208, "{kind:?}: each failed one once more");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_emergency_the_route_falls_through_as_ever() {
    let free = Some(empire_actors::money::Price::FREE);
    let bench = Bench::new(items(50)).route(
        spec("local", Zone::Local, 8),
        free,
        FakeProvider::failing(FailureKind::ServerError),
    );
    let bench = bench.route(spec("cloud", Zone::Cloud, 8), paid(), FakeProvider::good());
    bench.machine.memory(75.0);
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_begins_in_an_emergency_starts_no_agent_until_it_is_over() {
    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    bench.machine.memory(99.0);
    // The guard looks before anybody else starts.
    let swarm = bench.start().await;
    seconds(60).await;
    assert_eq!(bench.provider("cloud").calls(), 0);
    bench.machine.memory(20.0);
    bench.finish(swarm).await;
    bench.assert_all_done();

    let bench = Bench::new(items(100)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    bench.machine.memory(99.0);
    let swarm = bench.start().await;
    seconds(60).await;
    swarm.stop(StopReason::Paused);
    let ran = bench.finish(swarm).await;
    assert_eq!((ran.end.stopped, ran.end.unfinished), (Some(StopReason::Paused), 100), "it can be stopped");
}

#[tokio::test(start_paused = true)]
async fn below_the_disk_floor_the_job_pauses_and_says_where_and_how_much() {
    let bench = Bench::new(items(1_000)).route(spec("cloud", Zone::Cloud, 10), paid(), slow(SECOND));
    let disk = |free: u64| vec![Disk { what: "data folder".into(), folder: "/data".into(), free }];
    bench.machine.set(|readings| readings.disks = disk(20 << 30));
    let swarm = bench.start().await;
    seconds(5).await;
    bench.machine.set(|readings| readings.disks = disk(9 << 30));
    let ran = bench.finish(swarm).await;
    let why = ran.end.stopped.unwrap().to_string();
    assert!(
        why.starts_with("the disk of the data folder /data has 9.0 GiB free, and 10.0 GiB are needed"),
        "{why}"
    );
    assert_eq!(ran.meters.done, bench.provider("cloud").calls() as u64, "what was in flight is kept");
    assert!(ran.end.unfinished > 900);
}

#[tokio::test(start_paused = true)]
async fn a_sampler_that_hangs_or_panics_stops_nobody() {
    let bench = Bench::new(items(2_000)).route(spec("cloud", Zone::Cloud, 10), paid(), slow(SECOND));
    bench.machine.memory(97.0);
    let swarm = bench.start().await;
    seconds(10).await;
    assert_eq!(level(&swarm), GuardLevel::Emergency);
    bench.machine.panics.store(2, Ordering::Relaxed);
    seconds(10).await;
    assert_eq!(level(&swarm), GuardLevel::Emergency, "a restart forgets nothing");
    let before = bench.machine.samples.load(Ordering::Relaxed);
    seconds(20).await;
    let sampled = bench.machine.samples.load(Ordering::Relaxed) - before;
    assert!((19..=21).contains(&sampled), "one timer, not one an incarnation: {sampled}");

    bench.machine.hangs.store(1, Ordering::Relaxed);
    bench.machine.memory(30.0);
    bench.finish(swarm).await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn the_guard_is_in_the_tree_before_the_gates_and_shows_itself() {
    let bench = Bench::new(items(10)).route(spec("cloud", Zone::Cloud, 10), paid(), FakeProvider::good());
    let swarm = bench.start().await;
    let tree = swarm.house.tree().whole();
    let names: Vec<&str> = tree.children.iter().map(|child| child.path.as_str()).collect();
    assert_eq!(names, ["/empire/guard", "/empire/gates", "/empire/swarm"]);
    let started = Instant::now();
    bench.finish(swarm).await;
    assert!(started.elapsed() < SECOND * 2, "it holds nothing back on a calm machine");
}
