//! What a person scales while it runs: lanes, the privacy gate's pool, and jobs. The clock is paused.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Bench, FakeProvider, Swarm, items, paid, spec};
use empire_actors::gates::rate::LaneReading;
use empire_actors::kernel::tree::{NodeState, Order};
use empire_actors::level::Zone;

const LANE: &str = "/empire/gates/rate-kimi";
const SLOTS: u32 = 16;
/// A call of [`FakeProvider::good`] takes 20 ms.
const ALL_ENDED: Duration = Duration::from_millis(40);

fn bench(rows: u32) -> Bench {
    Bench::new(items(rows)).route(spec("kimi", Zone::Cloud, SLOTS), paid(), FakeProvider::good())
}

async fn tell(swarm: &Swarm, path: &str, order: Order) -> Result<String, String> {
    let told = swarm.house.tree().order(path, order, "owner", "a test").await;
    told.map_err(|refused| refused.to_string())
}

async fn lane(swarm: &Swarm) -> LaneReading {
    swarm.house.watch().lanes().remove(0).1
}

/// The most calls in flight, by the provider and by the lane, over a while.
async fn most_in_flight(bench: &Bench, swarm: &Swarm) -> (usize, u32) {
    let mut most = (0, 0);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        // A lane that is being restarted shows nothing.
        let permits = swarm.house.watch().lanes().first().map_or(0, |(_, lane)| lane.meters.in_flight);
        most = (bench.provider("kimi").in_flight().max(most.0), permits.max(most.1));
    }
    most
}

#[tokio::test(start_paused = true)]
async fn a_lane_lets_no_more_calls_out_than_it_is_scaled_to_whatever_becomes_of_its_actor() {
    let bench = bench(3_000);
    let swarm = bench.start().await;
    assert_eq!(most_in_flight(&bench, &swarm).await, (16, 16));

    let said = tell(&swarm, LANE, Order::Scale { to: 4 }).await.unwrap();
    for part in ["4 calls at once may be in flight, of the 16", ", after 16", "16 are now", "this process"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(bench.provider("kimi").in_flight(), 16, "nobody is called back");
    tokio::time::sleep(ALL_ENDED).await;
    assert_eq!(most_in_flight(&bench, &swarm).await, (4, 4));
    let reading = lane(&swarm).await;
    assert_eq!((reading.concurrency, reading.configured), (4, SLOTS));
    assert_eq!(reading.binding.map(|binding| binding.setting()), Some("held_back"));

    for order in [Order::Restart { drain_ms: None }, Order::Crash, Order::Quarantine, Order::Release] {
        tell(&swarm, LANE, order).await.unwrap();
        let (called, permits) = most_in_flight(&bench, &swarm).await;
        assert!(called <= 4 && permits <= 4, "{order}: {called} called, {permits} permits");
    }
    let view = swarm.house.tree().view(LANE, 0).unwrap();
    assert_eq!((view.state, view.scaled.map(|scaled| scaled.to)), (NodeState::Running, Some(4)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(most_in_flight(&bench, &swarm).await, (4, 4), "calls go again");

    // A lane that is paused lets nobody out, and whoever waits goes when it is resumed.
    tell(&swarm, LANE, Order::Pause).await.unwrap();
    tokio::time::sleep(ALL_ENDED).await;
    assert_eq!(most_in_flight(&bench, &swarm).await, (0, 0));
    assert_eq!(tell(&swarm, LANE, Order::Resume).await.unwrap(), "1 actor resumed");
    assert_eq!(most_in_flight(&bench, &swarm).await, (4, 4), "who waited goes at once");
    tell(&swarm, LANE, Order::Pause).await.unwrap();
    tokio::time::sleep(ALL_ENDED).await;
    tell(&swarm, LANE, Order::Restart { drain_ms: None }).await.unwrap();
    assert_eq!(most_in_flight(&bench, &swarm).await, (0, 0), "it stays paused");
    assert_eq!(tell(&swarm, LANE, Order::Resume).await.unwrap(), "1 actor resumed");
    assert_eq!(tell(&swarm, LANE, Order::Resume).await.unwrap(), "nothing there was paused");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(most_in_flight(&bench, &swarm).await, (4, 4), "a killed incarnation takes nobody along");

    let refused = tell(&swarm, LANE, Order::Scale { to: 17 }).await.unwrap_err();
    assert!(refused.contains("16 calls at once") && refused.contains("[providers.kimi]"), "{refused}");
    assert!(tell(&swarm, LANE, Order::Scale { to: 0 }).await.unwrap_err().contains("at least"));
    assert_eq!(lane(&swarm).await.concurrency, 4, "what was refused changed nothing");
    let said = tell(&swarm, LANE, Order::Scale { to: SLOTS }).await.unwrap();
    assert!(said.contains("as it is configured"), "{said}");
    assert_eq!(most_in_flight(&bench, &swarm).await, (16, 16));
    let noted = swarm.house.tree().supervision().journal.latest(LANE, 100);
    let scalings = noted.iter().filter(|entry| entry.event.to_string().contains("owner said scale to"));
    assert_eq!(scalings.count(), 4, "what was refused is noted as well");
    bench.finish(swarm).await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn the_privacy_gate_s_pool_is_scaled_between_one_and_what_was_made() {
    let bench = bench(2_000);
    let swarm = bench.start().await;
    let handled = |number: u32| {
        let path = format!("/empire/gates/privacy-{number}");
        swarm.house.tree().view(&path, 0).unwrap().pulse.unwrap().handled
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(handled(0) > 0 && handled(1) > 0);
    let said = tell(&swarm, "/empire/gates/privacy-1", Order::Scale { to: 1 }).await.unwrap();
    assert!(said.starts_with("1 of 2 privacy workers look at calls, after 2; the other 1 "), "{said}");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = [handled(0), handled(1)];
    tell(&swarm, "/empire/gates/privacy-0", Order::Restart { drain_ms: None }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(handled(0) > 0, "it goes on after a restart");
    assert!(handled(1) <= before[1], "and the other one rests: {before:?}");
    for to in [0, 3] {
        tell(&swarm, "/empire/gates/privacy-0", Order::Scale { to }).await.unwrap_err();
    }
    tell(&swarm, "/empire/gates/privacy-0", Order::Scale { to: 2 }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(handled(1) > 0);
    bench.finish(swarm).await;
    bench.assert_all_done();
}

#[tokio::test(start_paused = true)]
async fn a_job_is_scaled_within_bounds_and_what_has_nothing_to_scale_says_so() {
    let bench = bench(500);
    let swarm = bench.start().await;
    let job = "/empire/swarm/job-j";
    for (path, to, part) in [
        (job, 0, "empire pause"),
        (job, u32::MAX, "at most"),
        ("/empire/gates/budget", 2, "nothing that could be scaled"),
        ("/empire/gates", 2, "nothing that could be scaled"),
    ] {
        let refused = tell(&swarm, path, Order::Scale { to }).await.unwrap_err();
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(tell(&swarm, job, Order::Scale { to: 1 }).await.unwrap(), "1 agent may be awake");
    bench.finish(swarm).await;
    bench.assert_all_done();
}
