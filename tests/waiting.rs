//! Very many calls wait at the gates: nobody is refused, forgotten or passed over for long.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::sync::Arc;

use common::{Sim, World};
use empire::config::{Config, system_env};
use empire::home::Home;
use empire::providers;
use empire::run::system::{SystemClock, SystemRandom};
use empire::store::{LedgerScope, Store};
use empire_actors::call::{Call, Draft, Funded, Request, Standing, Turn};
use empire_actors::gates::audit::Decision;
use empire_actors::gates::budget::BudgetGate;
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec};
use empire_actors::money::Price;
use empire_actors::ports::{Audit, Provider, StoreError};
use futures_util::poll;
use tokio::task::JoinSet;

const HEAVY: usize = 100_000;

/// What the privacy gate decides is of no interest here.
struct NoRecords;

impl Audit for NoRecords {
    fn salt(&self) -> &[u8; 32] {
        &[0; 32]
    }

    fn decided(&self, _: Decision) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The gates in front of kimi, and kimi as the simulator plays it.
#[derive(Clone)]
struct Passage {
    privacy: PrivacyGate,
    budget: BudgetGate,
    rate: RateGate,
    kimi: Arc<dyn Provider>,
    model: Arc<Model>,
}

impl Passage {
    async fn start(world: &World, sim: &Sim) -> (Passage, Root) {
        let config = Config::load(&world.path("home"), None, &system_env).unwrap().simulated(&sim.url);
        let (id, clock) = (ProviderId::from("kimi"), Arc::new(SystemClock));
        let home = Home::resolve(Some(world.path("home")), |_| None).unwrap();
        let store = Store::open(home.lock().unwrap(), clock.clone()).await.unwrap();
        let ledger = store.ledger(LedgerScope::All);
        let spec = ProviderSpec { limits: Limits::slots(1), ..config.providers[&id].spec.clone() };
        let detector = Arc::new(Detector::new(Rules::compile(&[]).unwrap()));
        let passage = Passage {
            privacy: PrivacyGate::new(1, detector, Arc::new(NoRecords), clock.clone()),
            budget: BudgetGate::new(ledger.clone(), clock.clone()),
            rate: RateGate::new(Arc::new(spec), ledger, clock, Arc::new(SystemRandom), None),
            kimi: providers::all(&config).unwrap()[&id].clone(),
            model: Arc::new(Model { price: Some(Price::FREE), ..(*config.models["kimi-k2.6"]).clone() }),
        };
        let mut children = passage.privacy.children();
        children.extend([passage.budget.child(Vec::new()), passage.rate.child()]);
        let root = Root::start(Policy::default(), children, Arc::new(SystemRandom)).await.unwrap();
        (passage, root)
    }

    fn draft(&self, job: &str) -> Call<Draft> {
        Call::draft(Request {
            job: job.into(),
            item: 0,
            model: self.model.clone(),
            system: None,
            turns: vec![Turn::user(format!("say hello to the {job} one"))],
            schema: None,
            max_tokens: 50,
            level: Level::P0,
            shared: None,
            standing: Standing::default(),
        })
    }

    async fn funded(&self, job: &str) -> Call<Funded> {
        let screened = self.privacy.screen(self.draft(job), Zone::Cloud).await.unwrap();
        self.budget.fund(screened).await.unwrap()
    }

    async fn send(&self, call: Call<Funded>) {
        let cleared = self.rate.clear(call).await.unwrap();
        self.kimi.send(cleared).await.outcome.unwrap();
    }

    async fn waiting(&self) -> usize {
        self.rate.read().await.unwrap().waiting
    }
}

#[tokio::test]
async fn one_call_of_another_job_starts_within_one_turn_of_a_hundred_thousand() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: busy\nkimi: {latency: {fixed: 100}}");
    let (passage, root) = Passage::start(&world, &sim).await;
    let mut heavy = JoinSet::new();
    for _ in 0..HEAVY {
        let (passage, call) = (passage.clone(), passage.funded("heavy").await);
        heavy.spawn(async move { passage.send(call).await });
    }
    // Each has been polled once when the gate is read after it.
    tokio::task::yield_now().await;
    let waiting = passage.waiting().await;
    let light = passage.funded("light").await;
    let before = sim.received("kimi") as usize;
    assert!(waiting + before + 1 >= HEAVY, "{waiting} wait");
    passage.send(light).await;
    let bodies = sim.bodies("kimi");
    let place = bodies.iter().position(|body| body.to_string().contains("light")).unwrap();
    // One was on its way, and one more is the heavy job's turn.
    assert!(place <= before + 2, "at place {place}, after {before}");
    heavy.shutdown().await;
    assert_eq!(passage.waiting().await, 0, "whoever leaves is gone from the line");
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
    const BYTES_EACH: usize = 256;
    let world = World::new("");
    let sim = Sim::start(&world, "name: hangs\nkimi: {hang_rate: 1}");
    let (passage, root) = Passage::start(&world, &sim).await;
    let first = passage.funded("first").await;
    let mut in_flight = Box::pin(passage.send(first));
    assert!(poll!(&mut in_flight).is_pending());
    let mut calls = Vec::with_capacity(ALL);
    for n in 0..ALL {
        calls.push(passage.funded(&format!("job-{}", n % 50)).await);
    }

    let before = own_memory();
    let mut waiters: Vec<_> =
        calls.into_iter().map(|call| Some(Box::pin(passage.rate.clear(call)))).collect();
    for waiter in waiters.iter_mut().flatten() {
        assert!(poll!(waiter).is_pending(), "nobody is refused");
    }
    assert_eq!(passage.waiting().await, ALL);
    if let (Some(before), Some(after)) = (before, own_memory()) {
        let call = waiters.first().and_then(Option::as_ref).map_or(0, |waiter| size_of_val(&**waiter));
        let each = (after.saturating_sub(before) / ALL).saturating_sub(call);
        assert!(each <= BYTES_EACH, "{each} bytes each");
    }

    // From the middle, in an order that no list likes: if one had to be looked for, this would not end.
    for step in 0..ALL {
        waiters[step * 7_919 % ALL] = None;
    }
    assert_eq!(passage.waiting().await, 0);
    drop(in_flight);
    root.stop().await;
}
