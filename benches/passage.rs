//! What it takes to admit a call, all gates on: `cargo bench --bench passage`. The scan of texts is
//! counted apart (`--bench privacy`), so the calls go to this machine, though at a price.
//!
//! `one caller` prints how long one decision takes and how many a core makes in a second, with the
//! ledger in memory; `durable` has callers wait for the disk, as they do before a call leaves.

#![allow(clippy::expect_used, reason = "a benchmark without its parts measures nothing")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::home::Home;
use empire::run::system::{SystemClock, SystemRandom};
use empire::store::{LedgerScope, Store};
use empire_actors::call::{Call, Cleared, Request, Turn};
use empire_actors::gates::audit::Decision;
use empire_actors::gates::book::Scope;
use empire_actors::gates::budget::{BudgetGate, Cap};
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::kernel::tree::Supervision;
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec, Structured, Thinking};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{
    Audit, HoldId, HoldRecord, Ledger, LedgerState, Sent, Settlement, StoreError, UnixMillis,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::runtime::{Builder, Runtime};

const JOB: &str = "bench";
/// Admissions between two looks at the clock.
const ROUND: usize = 1_000;

/// Forgets everything at once.
struct InMemory;

impl Ledger for InMemory {
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>> {
        async { Ok(LedgerState { spent: Vec::new(), open: Vec::new(), next_hold: 0 }) }.boxed()
    }

    fn reserve(&self, _: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn leave(&self, _: HoldId) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self, _: Settlement) {}

    fn release(&self, _: HoldId) {}

    fn sent_since(&self, _: &ProviderId, _: UnixMillis) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn note_sent(&self, _: &ProviderId, _: Sent) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

impl Audit for InMemory {
    fn salt(&self) -> &[u8; 32] {
        &[0; 32]
    }

    fn decided(&self, _: Decision) -> Result<(), StoreError> {
        Ok(())
    }
}

/// All gates over one ledger, under a root of their own.
struct Gates {
    privacy: PrivacyGate,
    budget: BudgetGate,
    rate: RateGate,
    model: Arc<Model>,
    root: Root,
}

impl Gates {
    async fn start(ledger: Arc<dyn Ledger>) -> Gates {
        let price = Price {
            input: Micros(600_000),
            cached_input: Micros(100_000),
            cache_write: Micros(600_000),
            output: Micros(2_500_000),
        };
        let model = Model {
            id: "bench-model".into(),
            provider: "bench".into(),
            price: Some(price),
            context: 100_000,
            max_output: 1_000,
            thinking: Thinking::Off,
            structured: Structured::Schema,
            temperature: None,
            top_p: None,
            timeout: Duration::from_secs(60),
        };
        // Every kind of limit, each too high to bind: that is what is measured.
        let limits = Limits {
            requests_per_minute: Some(u32::MAX),
            requests_per_hour: Some(u32::MAX),
            requests_per_day: Some(u32::MAX),
            tokens_per_minute: Some(1 << 50),
            ..Limits::slots(8_192)
        };
        let spec = ProviderSpec {
            id: "bench".into(),
            zone: Zone::Local,
            limits,
            model_limits: Default::default(),
            switch_after: None,
            cap: None,
        };
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let detector = Arc::new(Detector::new(Rules::compile(&[]).expect("no rules")));
        let privacy = PrivacyGate::new(1, detector, Arc::new(InMemory), clock.clone());
        let budget = BudgetGate::new(ledger.clone(), clock.clone());
        let rate = RateGate::new(Arc::new(spec), ledger, clock, random.clone(), None);
        let caps = [Scope::Total, Scope::Provider("bench".into()), Scope::Job(JOB.into())];
        let caps = caps.map(|scope| Cap { scope, cap: Some(Micros(u64::MAX / 4)) });
        let mut children = privacy.children();
        children.extend([budget.child(caps.into()), rate.child()]);
        let root = Root::start(Policy::default(), children, Supervision::new(Arc::new(SystemClock), random))
            .await
            .expect("the gates start");
        Gates { privacy, budget, rate, model: Arc::new(model), root }
    }

    /// One call through all gates.
    async fn admit(&self) -> Call<Cleared> {
        let draft = Call::draft(Request {
            job: JOB.into(),
            item: 0,
            model: self.model.clone(),
            system: None,
            turns: vec![Turn::user("Name the capital of the country on this line.")],
            schema: None,
            max_tokens: 100,
            level: Level::P1,
            shared: None,
            standing: Default::default(),
        });
        let screened = self.privacy.screen(draft, Zone::Local).await.expect("permitted");
        let funded = self.budget.fund(screened).await.expect("affordable");
        self.rate.clear(funded).await.expect("within the limits")
    }
}

fn one_core() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// How long one decision takes: printed, since criterion shows no percentiles.
fn distribution(runtime: &Runtime, gates: &Gates) {
    let mut times = Vec::with_capacity(200 * ROUND);
    runtime.block_on(async {
        for _ in 0..200 * ROUND {
            let started = Instant::now();
            let call = gates.admit().await;
            times.push(started.elapsed());
            drop(call);
        }
    });
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let total: Duration = times.iter().sum();
    println!(
        "one caller, ledger in memory: p50 {:?}, p99 {:?}, p99.9 {:?}; {:.0} decisions a second on one core",
        at(0.5),
        at(0.99),
        at(0.999),
        times.len() as f64 / total.as_secs_f64()
    );
}

fn in_memory(criterion: &mut Criterion) {
    let runtime = one_core();
    let gates = runtime.block_on(Gates::start(Arc::new(InMemory)));
    // Not where tests are listed or run.
    if std::env::args().any(|argument| argument == "--bench") {
        distribution(&runtime, &gates);
    }
    let mut group = criterion.benchmark_group("admission, ledger in memory");
    for callers in [1, 64, 512, 4_096] {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_with_input(BenchmarkId::new("callers", callers), &callers, |bencher, callers| {
            bencher.iter(|| runtime.block_on(join_all((0..*callers).map(|_| gates.admit()))));
        });
    }
    group.finish();
    runtime.block_on(gates.root.stop());
}

fn durable(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let store = runtime.block_on(async {
        let home = Home::resolve(Some(folder.path().to_owned()), |_| None).expect("a data folder");
        Store::open(home.lock().expect("nobody else's"), Arc::new(SystemClock)).await.expect("a store")
    });
    let gates = Arc::new(runtime.block_on(Gates::start(store.ledger(LedgerScope::All))));
    let mut group = criterion.benchmark_group("admission, durable");
    group.sample_size(10);
    for callers in [1usize, 64, 512, 4_096] {
        let each = (16 * ROUND / callers).clamp(1, 100);
        group.throughput(Throughput::Elements((callers * each) as u64));
        group.bench_with_input(BenchmarkId::new("callers", callers), &callers, |bencher, callers| {
            bencher.iter(|| {
                let caller = |_| {
                    let gates = gates.clone();
                    runtime.spawn(async move {
                        for _ in 0..each {
                            drop(gates.admit().await);
                        }
                    })
                };
                runtime.block_on(join_all((0..*callers).map(caller)))
            });
        });
    }
    group.finish();
    if let Some(gates) = Arc::into_inner(gates) {
        runtime.block_on(gates.root.stop());
    }
    runtime.block_on(store.close()).expect("everything is written");
}

criterion_group!(benches, in_memory, durable);
criterion_main!(benches);
