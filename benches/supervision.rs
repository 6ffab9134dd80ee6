//! What a supervisor's decision about a failed child takes: `cargo bench --bench supervision`. It is
//! pure, so this is all of it beside the message that tells of the failure.

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use empire_actors::kernel::policy::{Action, ChildExit, History, Policy, REMEMBERED, REMEMBERED_FOR};

/// The supervisor's policy, with a window in which no number of restarts is too many.
fn patient() -> Policy {
    Policy { intensity: u32::MAX, window: REMEMBERED_FOR, ..Policy::default() }
}

/// Failures of a thousand children one after the other, so far apart that always as many are remembered.
struct Failures<'a> {
    history: History,
    names: &'a [String],
    apart: Duration,
    count: usize,
}

impl Failures<'_> {
    fn new(names: &[String], remembered: usize) -> Failures<'_> {
        let apart = REMEMBERED_FOR / remembered as u32;
        let mut failures = Failures { history: History::default(), names, apart, count: 0 };
        for _ in 0..remembered {
            failures.next(&failed());
        }
        failures
    }

    fn next(&mut self, exit: &ChildExit) -> Action {
        self.count += 1;
        let (now, child) = (self.apart * self.count as u32, &self.names[self.count % self.names.len()]);
        self.history.decide(&patient(), &patient(), child, exit, now, 0.5)
    }
}

fn failed() -> ChildExit {
    ChildExit::Failed("the other side closed the connection".into())
}

fn bench(criterion: &mut Criterion) {
    let names: Vec<String> = (0..1_000).map(|number| format!("cohort-{number}")).collect();
    let exit = failed();
    let mut group = criterion.benchmark_group("supervision");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.bench_function("first failure", |bencher| {
        let (policy, now) = (Policy::default(), Duration::from_secs(1));
        bencher.iter_batched_ref(
            History::default,
            |history| history.decide(&policy, &policy, &names[0], &exit, now, 0.5),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("one failure too many", |bencher| {
        let (policy, now) = (Policy::default(), Duration::from_secs(5));
        let mut history = History::default();
        for _ in 0..policy.intensity {
            history.decide(&policy, &policy, &names[0], &exit, now, 0.5);
        }
        bencher.iter(|| history.decide(&policy, &policy, &names[0], &exit, now, 0.5));
    });
    // The more is remembered, the more is looked through; no more than this is.
    for remembered in [100, 1_000, REMEMBERED] {
        let mut failures = Failures::new(&names, remembered);
        group.bench_function(BenchmarkId::new("restarts remembered", remembered), |bencher| {
            bencher.iter(|| failures.next(&exit));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
