//! What the privacy gate's search takes: `cargo bench --bench privacy`. Throughput is MB/s on one
//! core; the prompt of 4 KB is measured as it is and with letters that have to be folded.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::privacy::rules;
use empire_actors::gates::detect::Detector;

const PROSE: &str = "The committee looked at the matter again and found that nothing had to be changed before \
    spring; people were content. Der Ausschuss hat in seiner Sitzung am 3. März beschlossen, den Antrag zu \
    vertagen, und „mehr Zeit“ erbeten.\n";
const MEGABYTE: usize = 1_000_000;

fn repeated(part: &str, bytes: usize) -> String {
    part.repeat(bytes / part.len() + 1)
}

/// Source code: this repository's own.
fn source() -> String {
    let files = [
        include_str!("../src/privacy.rs"),
        include_str!("../tests/architecture.rs"),
        include_str!("cells.rs"),
    ];
    repeated(&files.concat(), MEGABYTE)
}

/// A log in which every line holds several secrets, made when it runs.
fn log() -> String {
    let mut random = fastrand::Rng::with_seed(7);
    let mut word = |length| (0..length).map(|_| random.alphanumeric()).collect::<String>();
    let mut log = String::new();
    while log.len() < MEGABYTE {
        let line = ["INFO login user=", "@example.org password=", " key sk-", " from 10.0.0.1\n"];
        let [name, password, key] = [word(6), word(12), word(40)];
        log.extend([line[0], &name, line[1], &password, line[2], &key, line[3]]);
    }
    log
}

fn bench(criterion: &mut Criterion) {
    #[allow(clippy::expect_used, reason = "without rules a benchmark measures nothing")]
    let detector = Detector::new(rules::load(&rules::Look::default()).expect("the rules that ship"));
    let prompt: String = PROSE.chars().cycle().take(4_000).collect();
    let texts = [
        ("clean prose", repeated(PROSE, MEGABYTE)),
        ("source code", source()),
        ("secret-dense log", log()),
        ("prompt of 4 KB", prompt.clone()),
        ("prompt of 4 KB, folded", prompt.replace("tt", "t\u{200b}t").replace('o', "о")),
        ("hostile, 10 MB: names", repeated("password:", 10 * MEGABYTE)),
        ("hostile, 10 MB: anchors", repeated("ghp_sk-AKIAeyJ", 10 * MEGABYTE)),
        ("hostile, 10 MB: escapes", repeated("\\\\u0067%41&#65;", 10 * MEGABYTE)),
    ];
    let mut group = criterion.benchmark_group("privacy scan");
    group.sample_size(10);
    for (name, text) in &texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), text, |bencher, text| {
            bencher.iter(|| detector.scan(text));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
