//! Cells against bare tokio tasks with a channel, in one run: spawn, one message each, end.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use empire_actors::kernel::cell::{self, Behaviour, Exit, Owner, Step};
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const CELLS: u32 = 10_000;

struct Echo;

impl Behaviour for Echo {
    type Message = u32;
    type Report = u32;

    async fn handle(&mut self, message: u32) -> Step<u32> {
        Step::End(message)
    }
}

struct Counter(mpsc::Sender<u32>);

impl Owner<u32> for Counter {
    fn ended(&self, id: u32, _: Exit<u32>) -> BoxFuture<'static, ()> {
        let ends = self.0.clone();
        Box::pin(async move {
            let _ = ends.send(id).await;
        })
    }
}

async fn cells() {
    let (sender, mut ends) = mpsc::channel(1_024);
    let owner: Arc<dyn Owner<u32>> = Arc::new(Counter(sender));
    let cells: Vec<_> = (0..CELLS).map(|id| cell::spawn(id, Echo, owner.clone())).collect();
    for cell in &cells {
        assert!(cell.send(1).is_ok());
    }
    for _ in 0..CELLS {
        ends.recv().await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the yardstick is what tokio offers by itself")]
async fn tasks() {
    let (sender, mut ends) = mpsc::channel(1_024);
    let tasks: Vec<_> = (0..CELLS)
        .map(|id| {
            let (mailbox, mut messages) = mpsc::unbounded_channel::<u32>();
            let ends = sender.clone();
            tokio::spawn(async move {
                messages.recv().await;
                let _ = ends.send(id).await;
            });
            mailbox
        })
        .collect();
    for task in &tasks {
        assert!(task.send(1).is_ok());
    }
    for _ in 0..CELLS {
        ends.recv().await;
    }
}

fn bench(criterion: &mut Criterion) {
    #[allow(clippy::expect_used, reason = "a benchmark without a runtime measures nothing")]
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("spawn, one message, end");
    group.throughput(Throughput::Elements(u64::from(CELLS))).sample_size(20);
    group.bench_function("cells", |bencher| bencher.iter(|| runtime.block_on(cells())));
    group.bench_function("tokio tasks with a channel", |bencher| bencher.iter(|| runtime.block_on(tasks())));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
