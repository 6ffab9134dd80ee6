//! What a look at the machine costs. One a second may take 5 ms: half a percent of a core.

use criterion::{Criterion, criterion_group, criterion_main};
use empire::sampler::{Folders, SystemSampler};

fn sample(criterion: &mut Criterion) {
    let here = std::path::Path::new(".");
    let sampler = SystemSampler::new(Folders { data: here.into(), out: here.into() });
    criterion.bench_function("sample", |bencher| bencher.iter(|| sampler.read()));
}

criterion_group!(benches, sample);
criterion_main!(benches);
