//! What it takes to admit a call: `cargo bench --bench passage`. The scan of texts is counted apart
//! (`--bench privacy`), so the calls go to this machine, though at a price.
//!
//! `passage` has each gate alone, what was before it not counted, and all of them, by 1 to 4,096
//! callers at once on one core and the ledger in memory; `no gate` is a call that passes none. `one
//! caller` prints how long one decision takes and how many a core makes in a second; `durable` has
//! callers wait for the disk, as they do before a call leaves.

#![allow(clippy::expect_used, reason = "a benchmark without its parts measures nothing")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::home::Home;
use empire::run::system::{SystemClock, SystemRandom};
use empire::store::{LedgerScope, Store};
use empire_actors::call::{Call, Cleared, Draft, Funded, Request, Screened, Turn};
use empire_actors::gates::book::Scope;
use empire_actors::gates::budget::{BudgetGate, Cap};
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::kernel::tree::Supervision;
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model};
use empire_actors::money::Micros;
use empire_actors::ports::{Finish, Ledger, Reply};
use empire_actors::route::joint::{Brought, Entry, FlightKey, Joint};
use empire_actors::route::key::call_key;
use empire_actors::route::rules::{self, Destination, Fallback};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

use self::world::{InMemory, PROVIDER, model, price, spec};

const JOB: &str = "bench";
/// Admissions between two looks at the clock.
const ROUND: usize = 1_000;
const CALLERS: [usize; 4] = [1, 64, 512, 4_096];

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
        // Every kind of limit, each too high to bind: that is what is measured.
        let limits = Limits {
            requests_per_minute: Some(u32::MAX),
            requests_per_hour: Some(u32::MAX),
            requests_per_day: Some(u32::MAX),
            tokens_per_minute: Some(1 << 50),
            ..Limits::slots(8_192)
        };
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let detector = Arc::new(Detector::new(Rules::compile(&[]).expect("no rules")));
        let privacy = PrivacyGate::new(1, detector, Arc::new(InMemory), clock.clone());
        let budget = BudgetGate::new(ledger.clone(), clock.clone());
        let rate = RateGate::new(spec(limits), ledger, clock, random.clone(), None);
        let caps = [Scope::Total, Scope::Provider(PROVIDER.into()), Scope::Job(JOB.into())];
        let caps = caps.map(|scope| Cap { scope, cap: Some(Micros(u64::MAX / 4)) });
        let mut children = privacy.children();
        children.extend([budget.child(caps.into()), rate.child()]);
        let root = Root::start(Policy::default(), children, Supervision::new(Arc::new(SystemClock), random))
            .await
            .expect("the gates start");
        let model = model(price());
        Gates { privacy, budget, rate, model, root }
    }

    fn request(&self) -> Request {
        Request {
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
        }
    }

    fn draft(&self) -> Call<Draft> {
        Call::draft(self.request())
    }

    async fn screened(&self) -> Call<Screened> {
        self.privacy.screen(self.draft(), Zone::Local).await.expect("permitted")
    }

    async fn funded(&self) -> Call<Funded> {
        self.budget.fund(self.screened().await).await.expect("affordable")
    }

    /// One call through all gates.
    async fn admit(&self) -> Call<Cleared> {
        self.rate.clear(self.funded().await).await.expect("within the limits")
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
    let mut group = criterion.benchmark_group("passage");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for callers in CALLERS {
        group.throughput(Throughput::Elements(callers as u64));
        let mut measure = |what: &str, time: &dyn Fn() -> Duration| {
            group.bench_function(BenchmarkId::new(what, callers), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| time()).sum());
            });
        };
        let many = 0..callers;
        let timed = Timed { runtime: &runtime, callers };
        measure("no gate", &|| timed.alone(|| async {}, |()| async { gates.draft() }));
        measure("privacy", &|| {
            let screen = |draft| gates.privacy.screen(draft, Zone::Local);
            timed.alone(|| async { gates.draft() }, screen)
        });
        measure("budget", &|| timed.alone(|| gates.screened(), |call| gates.budget.fund(call)));
        measure("rate", &|| timed.alone(|| gates.funded(), |call| gates.rate.clear(call)));
        let joint = Joint::default();
        let requests: Vec<Request> = many.map(|n| Request { item: n as u32, ..gates.request() }).collect();
        measure("reuse", &|| timed.each(&requests, |request| look(&joint, request)));
        measure("all gates", &|| timed.alone(|| async {}, |()| gates.admit()));
    }
    group.finish();
    runtime.block_on(gates.root.stop());
}

/// What is looked up before money is set aside: whether the model can take the call, whether the way
/// there is allowed, and whether somebody asks the same just now. Each asks for something else.
async fn look(joint: &Joint, request: &Request) {
    let destination = Destination([request.item as u8; 32]);
    rules::fits(&request.model, 100, request.max_tokens).expect("it is short");
    rules::crossing(Fallback::default(), Some(Zone::Local), Zone::Local).expect("it is here");
    let mut call = call_key(request, destination, false);
    call.0[..4].copy_from_slice(&request.item.to_be_bytes());
    match joint.enter(FlightKey { call, reads_kept: true }).await {
        Entry::Lead(lead) => {
            let reply = Reply { text: String::new(), usage: None, finish: Finish::Stop };
            lead.share(Brought::Answer(reply));
        }
        Entry::Shared(_) => unreachable!("all are different"),
    }
}

/// So many callers at once on one core.
struct Timed<'a> {
    runtime: &'a Runtime,
    callers: usize,
}

impl Timed<'_> {
    /// How long `step` takes for all of them, after what comes `before` it.
    fn alone<A, B, F: Future<Output = A>, G: Future<Output = B>>(
        &self,
        before: impl Fn() -> F,
        step: impl Fn(A) -> G,
    ) -> Duration {
        let ready = self.runtime.block_on(join_all((0..self.callers).map(|_| before())));
        let started = Instant::now();
        let passed = self.runtime.block_on(join_all(ready.into_iter().map(step)));
        let took = started.elapsed();
        drop(passed);
        took
    }

    /// How long `step` takes for all of these.
    fn each<'r, A, F: Future>(&self, ready: &'r [A], step: impl Fn(&'r A) -> F) -> Duration {
        let started = Instant::now();
        self.runtime.block_on(join_all(ready.iter().map(step)));
        started.elapsed()
    }
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
    for callers in CALLERS {
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
