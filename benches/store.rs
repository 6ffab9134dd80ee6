//! What one commit takes, by how many operations share it: `cargo bench --bench store`. In a real
//! folder, below the build's, so that the disk is a disk; throughput counts operations.
//!
//! Commits that follow each other closely and are small wait 2 ms for more: that is in the time.

#![allow(clippy::expect_used, reason = "a benchmark without a store measures nothing")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::home::Home;
use empire::run::system::SystemClock;
use empire::store::{JobSetup, LedgerScope, NewJob, Store};
use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{
    HoldId, HoldRecord, ItemKey, Ledger, Part, ResultRecord, Try, TryOutcome, UnixMillis, Verdict,
};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

const JOB: &str = "bench";
const BATCHES: [u64; 5] = [1, 16, 64, 256, 2_000];
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// A store of one job in a new folder. On one thread, so that the writer sees a batch as a whole.
struct Bench {
    runtime: Runtime,
    store: Store,
    next: u64,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::tempdir_in(folder).expect("a folder");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = runtime.block_on(async {
            let home = Home::resolve(Some(folder.path().to_owned()), |_| None).expect("a data folder");
            let lock = home.lock().expect("nobody else's");
            let store = Store::open(lock, Arc::new(SystemClock)).await.expect("a store");
            let setup = JobSetup {
                name: JOB.into(),
                spec: "name: bench\n".into(),
                spec_path: None,
                fingerprint: "f".into(),
                out_dir: "out".into(),
                budget: None,
                deadline: None,
            };
            let job = NewJob { id: JOB.into(), simulated: false, setup };
            store.create_job(job).await.expect("a job");
            store
        });
        Bench { runtime, store, next: 0, _folder: folder }
    }

    /// So many numbers that were not used before.
    fn numbers(&mut self, count: u64) -> std::ops::Range<u64> {
        self.next += count;
        self.next - count..self.next
    }

    fn results(&mut self, count: u64) {
        let recorder = self.store.recorder();
        let records = self.numbers(count).map(|number| recorder.record(result(number)));
        let written = self.runtime.block_on(join_all(records));
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }

    fn reservations(&mut self, ledger: &Arc<dyn Ledger>, count: u64) {
        let numbers = self.numbers(count);
        let holds = numbers.clone().map(|number| ledger.reserve(hold(number)));
        let written = self.runtime.block_on(join_all(holds));
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        // Written with the next commit, as when calls are not sent after all.
        numbers.for_each(|number| ledger.release(HoldId(number)));
    }

    fn close(self) {
        self.runtime.block_on(self.store.close()).expect("everything is written");
    }
}

/// As an agent records its answer. Keys are hashes.
fn result(number: u64) -> ResultRecord {
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    ResultRecord {
        job: JOB.into(),
        part: Part::Item,
        key: ItemKey(mixed.to_be_bytes()),
        item: number as u32,
        verdict: Verdict::Done(
            "{\"kind\":\"noun\",\"means\":\"what stands for something that can be seen\"}".into(),
        ),
        model: Some("bench-model".into()),
        provider: Some("bench".into()),
        usage: Usage { input: 60, cached_input: 0, cache_write: 0, output: 20 },
        cost: Micros(86),
        calls: 1,
        redactions: 0,
        packed: 1,
        ms: 700,
        tries: vec![Try { model: "bench-model".into(), outcome: TryOutcome::Answered, ms: 700 }],
        at: NOW,
    }
}

fn hold(number: u64) -> HoldRecord {
    HoldRecord {
        id: HoldId(number),
        job: JOB.into(),
        role: None,
        child: None,
        item: number as u32,
        provider: "bench".into(),
        model: "bench-model".into(),
        reserved: Micros(300),
        at: NOW,
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch));
        let mut results = Bench::new();
        group.bench_function(BenchmarkId::new("results in one commit", batch), |bencher| {
            bencher.iter(|| results.results(batch));
        });
        results.close();
        let mut reservations = Bench::new();
        let ledger = reservations.store.ledger(LedgerScope::All);
        group.bench_function(BenchmarkId::new("reservations in one commit", batch), |bencher| {
            bencher.iter(|| reservations.reservations(&ledger, batch));
        });
        drop(ledger);
        reservations.close();
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
