//! What the gates cost a call: the rate gate alone, the budget gate alone, and all three, on a
//! ledger in memory, with 1 to 4,096 callers. One iteration is one decision for each caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::privacy::rules;
use empire_actors::call::{Call, Draft, Funded, Request, Screened, Standing, Turn};
use empire_actors::gates::budget::BudgetGate;
use empire_actors::gates::detect::Detector;
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec, Structured, Thinking};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{
    HoldId, HoldRecord, Ledger, LedgerState, Random, Sent, Settlement, StoreError, UnixMillis, WallClock,
};
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::runtime::Runtime;

const CALLERS: [usize; 4] = [1, 64, 512, 4_096];

/// A ledger that forgets: what is measured is the gates.
struct NoLedger;

impl Ledger for NoLedger {
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>> {
        Box::pin(ready(Ok(LedgerState::default())))
    }

    fn reserve(&self, _: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    fn leave(&self, _: HoldId) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self, _: Settlement) {}

    fn release(&self, _: HoldId) {}

    fn sent_since(&self, _: &ProviderId, _: UnixMillis) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn note_sent(&self, _: &ProviderId, _: Sent) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}

/// A clock that moves when it is read.
#[derive(Default)]
struct Ticks(AtomicI64);

impl WallClock for Ticks {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.fetch_add(1, Ordering::Relaxed) / 1_000)
    }
}

struct Half;

impl Random for Half {
    fn unit(&self) -> f64 {
        0.5
    }
}

struct Gates {
    privacy: PrivacyGate,
    budget: BudgetGate,
    rate: RateGate,
    _root: Root,
}

#[allow(clippy::expect_used, reason = "a benchmark without gates measures nothing")]
impl Gates {
    async fn start() -> Gates {
        let (ledger, clock, random) = (Arc::new(NoLedger), Arc::new(Ticks::default()), Arc::new(Half));
        // Every kind of meter is on, and none of them binds.
        let limits = Limits {
            requests_per_minute: Some(u32::MAX),
            requests_per_hour: Some(u32::MAX),
            requests_per_day: Some(u32::MAX),
            tokens_per_minute: Some(1 << 50),
            ..Limits::slots(100_000)
        };
        let spec = ProviderSpec {
            id: "p".into(),
            zone: Zone::Cloud,
            limits,
            model_limits: BTreeMap::new(),
            switch_after: None,
            cap: None,
        };
        let rules = rules::load(&rules::Look::default()).expect("the rules that ship");
        let privacy = PrivacyGate::new(1, Arc::new(Detector::new(rules)));
        let budget = BudgetGate::new(ledger.clone(), clock.clone());
        let rate = RateGate::new(Arc::new(spec), ledger, clock, random.clone(), None);
        let mut children = privacy.children();
        children.push(budget.child(Vec::new()));
        children.push(rate.child());
        let root = Root::start(Policy::default(), children, random).await.expect("the gates start");
        Gates { privacy, budget, rate, _root: root }
    }

    async fn screened(&self, draft: Call<Draft>) -> Call<Screened> {
        self.privacy.screen(draft, Zone::Cloud).await.expect("nothing private")
    }

    async fn funded(&self, call: Call<Screened>) -> Call<Funded> {
        self.budget.fund(call).await.expect("no cap")
    }

    /// Through the rate gate and back. Nothing is sent, so the permit comes back.
    async fn through_rate(&self, call: Call<Funded>) {
        drop(self.rate.clear(call).await.expect("no limit binds"));
    }
}

fn draft(price: u64) -> Call<Draft> {
    let price = Micros(price);
    Call::draft(Request {
        job: "bench".into(),
        item: 0,
        model: Arc::new(Model {
            id: "m".into(),
            provider: "p".into(),
            price: Some(Price { input: price, cached_input: price, cache_write: price, output: price }),
            context: 32_768,
            max_output: 4_096,
            thinking: Thinking::VendorDefault,
            structured: Structured::PromptOnly,
            temperature: None,
            top_p: None,
            timeout: std::time::Duration::from_secs(30),
        }),
        system: None,
        turns: vec![Turn::user("hello")],
        schema: None,
        max_tokens: 100,
        level: Level::P1,
        standing: Standing::default(),
    })
}

fn bench(criterion: &mut Criterion) {
    #[allow(clippy::expect_used, reason = "a benchmark without a runtime measures nothing")]
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime on one core");
    let gates = runtime.block_on(Gates::start());
    for (name, which) in [("rate gate", 0), ("budget gate", 1), ("all gates", 2)] {
        let mut group = criterion.benchmark_group(name);
        for callers in CALLERS {
            group.throughput(Throughput::Elements(callers as u64)).sample_size(20);
            group.bench_with_input(BenchmarkId::from_parameter(callers), &callers, |bencher, callers| {
                let calls = || match which {
                    0 => Calls::Funded(runtime.block_on(join_all(
                        (0..*callers).map(|_| async { gates.funded(gates.screened(draft(0)).await).await }),
                    ))),
                    1 => Calls::Screened(
                        runtime.block_on(join_all((0..*callers).map(|_| gates.screened(draft(1_000_000))))),
                    ),
                    _ => Calls::Drafts((0..*callers).map(|_| draft(1_000_000)).collect()),
                };
                bencher.iter_batched(
                    calls,
                    |calls| runtime.block_on(pass(&gates, calls)),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

enum Calls {
    Drafts(Vec<Call<Draft>>),
    Screened(Vec<Call<Screened>>),
    Funded(Vec<Call<Funded>>),
}

async fn pass(gates: &Gates, calls: Calls) {
    match calls {
        Calls::Funded(calls) => {
            join_all(calls.into_iter().map(|call| gates.through_rate(call))).await;
        }
        Calls::Screened(calls) => {
            join_all(calls.into_iter().map(|call| gates.funded(call))).await;
        }
        Calls::Drafts(calls) => {
            let through = calls.into_iter().map(async |draft| {
                let funded = gates.funded(gates.screened(draft).await).await;
                gates.through_rate(funded).await;
            });
            join_all(through).await;
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
