//! The privacy gate fails closed: while it crashes, and where it cannot record what it decides,
//! not a byte of anything reaches a cloud, and afterwards nothing leaves unseen.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;
#[path = "common/passage.rs"]
mod passage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{Sim, World};
use empire::config::Config;
use empire_actors::call::{Call, Turn};
use empire_actors::gates::audit::Decision;
use empire_actors::gates::privacy::PrivacyRefusal;
use empire_actors::level::{Level, Zone};
use empire_actors::model::Limits;
use empire_actors::money::Price;
use empire_actors::ports::{Audit, StoreError};
use passage::Passage;

const LEVELS: [Level; 4] = [Level::P0, Level::P1, Level::P2, Level::P3];
const CRASHES: usize = 4;

/// Crashes whoever records a decision, so many times; then, if it is full, keeps nothing.
#[derive(Default)]
struct Failing {
    crashes: AtomicUsize,
    is_full: AtomicBool,
}

impl Audit for Failing {
    fn salt(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn decided(&self, _: Decision) -> Result<(), StoreError> {
        let left = self.crashes.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left.is_err(), "a crash on purpose");
        if self.is_full.load(Ordering::Relaxed) { Err(StoreError::DiskFull) } else { Ok(()) }
    }
}

/// Sends one call as far as the gates let it; an answer that is an error is none of the gate's.
async fn try_to_send(passage: &Passage, n: usize, level: Level) -> Result<(), PrivacyRefusal> {
    let text = format!("row {n} is {level:?}, write to jane.doe{n}@example.com");
    let mut request = passage.request("job", 0, text, 50);
    request.level = level;
    // As after an answer that failed its check.
    request.turns.push(Turn::assistant(format!("jane.doe{n}@example.com said no")));
    request.turns.push(Turn::user("it did not pass its check: once more"));
    let screened = passage.privacy.screen(Call::draft(request), Zone::Cloud).await?;
    let funded = passage.budget.fund(screened).await.unwrap();
    passage.send(funded).await.0.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_gate_that_crashes_or_cannot_record_lets_nothing_out() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    let home = world.path("home");
    let config = Config::load(&home, None, &|_| None).unwrap().simulated(&sim.url);
    let store = passage::open(&home).await.unwrap();
    let audit = Arc::new(Failing::default());
    let (free, slots) = (Some(Price::FREE), Limits::slots(4));
    let (passage, root) = Passage::start(&store, &config, slots, free, audit.clone()).await;

    audit.crashes.store(CRASHES, Ordering::Relaxed);
    let mut refused = 0;
    while audit.crashes.load(Ordering::Relaxed) > 0 {
        let sent = try_to_send(&passage, refused, LEVELS[refused % 4]).await;
        assert!(matches!(sent, Err(PrivacyRefusal::Down(_))), "{sent:?}");
        assert_eq!(sim.received_in_all(), 0);
        refused += 1;
        // The gate is started again meanwhile.
        tokio::task::yield_now().await;
    }
    assert!(refused >= CRASHES);

    audit.is_full.store(true, Ordering::Relaxed);
    let mut told = 0;
    while told < 20 {
        match try_to_send(&passage, told, LEVELS[told % 4]).await {
            Err(PrivacyRefusal::Unrecorded(StoreError::DiskFull)) => told += 1,
            Err(PrivacyRefusal::Down(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sim.received_in_all(), 0, "something left without a record");

    audit.is_full.store(false, Ordering::Relaxed);
    for n in 0..40 {
        let sent = try_to_send(&passage, n, LEVELS[n % 4]).await;
        assert_eq!(sent.is_ok(), n % 4 < 2, "{sent:?}");
    }
    let bodies = sim.bodies("kimi");
    assert_eq!(bodies.len(), 20);
    for body in bodies.iter().map(ToString::to_string) {
        assert!(!body.contains("jane.doe") && body.contains("<EMAIL_1> said no"), "{body}");
        assert!(!body.contains("P2") && !body.contains("P3"), "{body}");
    }
    root.stop().await;
}
