//! Everything goes wrong at once, by seed; the audit of each run must hold all the same.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use empire_actors::failure::{CallError, FailureKind};
use empire_actors::level::Zone;
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{Finish, Item, Part, Reply};
use empire_actors::swarm::order::StopReason;
use parking_lot::Mutex;

/// A small generator: the same numbers for the same seed.
#[derive(Clone)]
struct Dice(Arc<Mutex<u64>>);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)))
    }

    /// From 0 up to but not including `sides`.
    fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.lock();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % sides
    }
}

/// Failures that nobody waits after.
const QUICK: [FailureKind; 3] =
    [FailureKind::Disconnected, FailureKind::InvalidRequest, FailureKind::ContentFiltered];
const KINDS: [FailureKind; 10] = [
    FailureKind::Unreachable,
    FailureKind::TimedOut,
    FailureKind::Disconnected,
    FailureKind::RateLimited,
    FailureKind::Overloaded,
    FailureKind::ServerError,
    FailureKind::Malformed,
    FailureKind::InvalidRequest,
    FailureKind::ContentFiltered,
    FailureKind::AccountDry,
];

/// Without latency it runs in real time, and does nothing that would make a call wait.
fn unruly(dice: &Dice, latency: Duration) -> FakeProvider {
    let dice = dice.clone();
    let quick = latency == Duration::ZERO;
    FakeProvider::new(latency, move |_, request| {
        let good = good_answer(request);
        match dice.roll(40) {
            0..=2 if quick => Reaction::Fail(error(QUICK[dice.roll(3) as usize])),
            0..=2 => {
                let kind = KINDS[dice.roll(if dice.roll(10) == 0 { 10 } else { 9 }) as usize];
                let retry_after = (dice.roll(2) == 0).then(|| Duration::from_millis(dice.roll(3_000)));
                Reaction::Fail(CallError { retry_after, ..error(kind) })
            }
            3 => Reaction::Answer("garbage".into()),
            4 => Reaction::Answer(good.lines().skip(1).collect::<Vec<_>>().join("\n")),
            5 => Reaction::Reply(Reply { text: good, usage: None, finish: Finish::Length }),
            6 if dice.roll(4) == 0 => Reaction::Panic,
            7 if !quick && dice.roll(4) == 0 => Reaction::Hang,
            _ => Reaction::Answer(good),
        }
    })
}

fn unruly_bench(seed: u64, dice: &Dice, latency: Duration) -> Bench {
    let count = 150 + dice.roll(250);
    let rows: Vec<Item> =
        (0..count).map(|n| item(u32::try_from(n).unwrap(), &format!("row-{}", dice.roll(count)))).collect();
    let mut bench = Bench::new(rows);
    for place in 0..2 {
        bench = if seed % 2 == place {
            bench.route(spec("local", Zone::Local, 3), Some(Price::FREE), unruly(dice, latency))
        } else {
            bench.route(spec("cloud", Zone::Cloud, 20), paid(), unruly(dice, latency * 2))
        };
    }
    bench.order.pack = [1, 1, 4, 9][(seed % 4) as usize];
    let hooked = dice.clone();
    Hooks::set(&bench.hooks.render, move |_| assert!(hooked.roll(150) > 0, "a bad render"));
    let hooked = dice.clone();
    Hooks::set(&bench.hooks.check, move |_| assert!(hooked.roll(150) > 0, "a bad check"));
    let hooked = dice.clone();
    Hooks::set(&bench.hooks.chunk, move |_| assert!(hooked.roll(12) > 0, "a bad read"));
    bench
}

async fn survive(seed: u64, latency: Duration) {
    let dice = Dice::new(seed);
    let mut bench = unruly_bench(seed, &dice, latency);
    let mut cap = 8_000;
    for round in 0.. {
        assert!(round < 300, "seed {seed}: it gets on");
        bench.caps.clear();
        bench = bench.cap(Micros(cap));
        bench.resume();
        if bench.order.pending == 0 {
            break;
        }
        let swarm = bench.start().await;
        match dice.roll(4) {
            0 => {
                let moment = latency.max(Duration::from_micros(300));
                tokio::time::sleep(moment * u32::try_from(dice.roll(30)).unwrap()).await;
                swarm.stop(StopReason::Paused);
            }
            1 => {
                let moment = latency.max(Duration::from_micros(300));
                tokio::time::sleep(moment * u32::try_from(dice.roll(30)).unwrap()).await;
                swarm.stop_now(StopReason::Paused);
            }
            _ => {}
        }
        let ran = bench.finish(swarm).await;
        if matches!(ran.end.stopped, Some(StopReason::Budget(_))) {
            cap += 8_000;
        }
    }
    bench.assert_all_done();
    assert!(bench.results.all(Part::Item).iter().all(|record| record.packed >= 1));
}

/// The panics that are asked for would fill the screen.
fn hush() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !["a bad", "has a bug"].iter().any(|asked| text.contains(asked)) {
            eprintln!("{text}");
        }
    }));
}

#[tokio::test(start_paused = true)]
async fn every_promise_holds_whatever_goes_wrong() {
    hush();
    for seed in 0..24 {
        survive(seed, Duration::from_millis(20)).await;
    }
}

/// Real threads: races that one thread cannot show.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_promise_holds_on_many_threads_too() {
    hush();
    for seed in 100..112 {
        survive(seed, Duration::ZERO).await;
    }
}
