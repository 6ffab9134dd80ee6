//! Very many calls wait at the gates: nobody is refused, forgotten or passed over for long.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

#[path = "common/passage.rs"]
mod passage;

use std::sync::Arc;

use common::{Sim, World};
use empire::config::Config;
use empire_actors::call::{Call, Funded};
use empire_actors::kernel::supervisor::Root;
use empire_actors::model::Limits;
use empire_actors::money::Price;
use futures_util::poll;
use passage::{NoRecords, Passage};
use tokio::task::JoinSet;

const HEAVY: usize = 100_000;

/// One slot, and calls that cost nothing.
async fn start(world: &World, sim: &Sim) -> (Passage, Root) {
    let home = world.path("home");
    let config = Config::load(&home, None, &|_| None).unwrap().simulated(&sim.url);
    let store = passage::open(&home).await.unwrap();
    Passage::start(&store, &config, Limits::slots(1), Some(Price::FREE), Arc::new(NoRecords)).await
}

async fn funded(passage: &Passage, job: &str) -> Call<Funded> {
    let request = passage.request(job, 0, format!("say hello to the {job} one"), 50);
    let screened = passage.screened(request).await;
    passage.budget.fund(screened).await.unwrap()
}

#[tokio::test]
async fn one_call_of_another_job_starts_within_one_turn_of_a_hundred_thousand() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: busy\nkimi: {latency: {fixed: 100}}");
    let (passage, root) = start(&world, &sim).await;
    let mut heavy = JoinSet::new();
    for _ in 0..HEAVY {
        let (passage, call) = (passage.clone(), funded(&passage, "heavy").await);
        heavy.spawn(async move { passage.send(call).await.0.unwrap() });
    }
    // Each has been polled once when the gate is read after it.
    tokio::task::yield_now().await;
    let waiting = passage.waiting();
    let light = funded(&passage, "light").await;
    let before = sim.received("kimi") as usize;
    assert!(waiting + before + 1 >= HEAVY, "{waiting} wait");
    passage.send(light).await.0.unwrap();
    let bodies = sim.bodies("kimi");
    let place = bodies.iter().position(|body| body.to_string().contains("light")).unwrap();
    // One was on its way, and one more is the heavy job's turn.
    assert!(place <= before + 2, "at place {place}, after {before}");
    heavy.shutdown().await;
    assert_eq!(passage.waiting(), 0, "whoever leaves is gone from the line");
    root.stop().await;
}

/// Bytes of memory that this process takes, where the system tells.
fn own_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[tokio::test]
async fn half_a_million_wait_in_bounded_memory_without_a_refusal_and_leave_in_any_order() {
    const ALL: usize = 500_000;
    /// Beside the call itself, which is its owner's.
    const BYTES_EACH: usize = 192;
    let world = World::new("");
    let sim = Sim::start(&world, "name: hangs\nkimi: {hang_rate: 1}");
    let (passage, root) = start(&world, &sim).await;
    let first = funded(&passage, "first").await;
    let mut in_flight = Box::pin(passage.send(first));
    assert!(poll!(&mut in_flight).is_pending());
    let mut calls = Vec::with_capacity(ALL);
    for n in 0..ALL {
        calls.push(funded(&passage, &format!("job-{}", n % 50)).await);
    }

    let before = own_memory();
    let mut waiters: Vec<_> =
        calls.into_iter().map(|call| Some(Box::pin(passage.rate.clear(call)))).collect();
    for waiter in waiters.iter_mut().flatten() {
        assert!(poll!(waiter).is_pending(), "nobody is refused");
    }
    assert_eq!(passage.waiting(), ALL);
    if let (Some(before), Some(after)) = (before, own_memory()) {
        let call = waiters.first().and_then(Option::as_ref).map_or(0, |waiter| size_of_val(&**waiter));
        let each = (after.saturating_sub(before) / ALL).saturating_sub(call);
        println!("{each} bytes each, and {call} of the call itself");
        assert!(each <= BYTES_EACH, "{each} bytes each");
    }

    // From the middle, in an order that no list likes: if one had to be looked for, this would not end.
    for step in 0..ALL {
        waiters[step * 7_919 % ALL] = None;
    }
    assert_eq!(passage.waiting(), 0);
    drop(in_flight);
    root.stop().await;
}
