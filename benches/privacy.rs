//! What the privacy gate's search takes: `cargo bench --bench privacy`. Throughput is MB/s on one
//! core; prompts are measured as they are and with letters that have to be folded. At the end, the
//! middle and the slowest hundredth of many scans of one prompt are printed.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::privacy::rules;
use empire_actors::gates::detect::{Detector, legal, personal};

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
        include_str!("cells/kinds.rs"),
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
        (
            "prompt of 68 bytes",
            "Bitte fasse die Sitzung vom Montag in drei kurzen Sätzen zusammen.".to_owned(),
        ),
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
    parts(criterion);
    spread("prompt of 4 KB", &detector, &prompt);
}

/// The searches for personal data and legal passages alone, on friendly and on hostile texts.
fn parts(criterion: &mut Criterion) {
    let texts = [
        ("clean prose", PROSE),
        ("near misses", include_str!("../actors/tests/corpus/near_misses.txt")),
        ("legal texts", include_str!("../actors/tests/corpus/legal.txt")),
        ("log lines", "2024-01-31 12:00:00,123 INFO worker-12 took 1234 ms for 5678 rows (0.12 %)\n"),
        ("single digits", "1 "),
        ("pairs of digits", "12-34.56/"),
        ("one long number", "1234567890"),
        ("phones without a match", "Tel. 0 "),
        ("colons", "1:"),
        ("streets", "Alte Straße 1 "),
        ("shall", "the Party shall "),
        ("shall in short paragraphs", "shall\n\n"),
        ("section signs", "§ 1 BGB "),
        ("quotes", "(the \""),
        ("line ends", "\n"),
    ];
    for (part, find) in [("personal", personal_data as fn(&str)), ("legal", legal_passages)] {
        let mut group = criterion.benchmark_group(part);
        group.sample_size(10);
        for (name, piece) in texts {
            let text = repeated(piece, MEGABYTE);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_with_input(BenchmarkId::from_parameter(name), &text, |bencher, text| {
                bencher.iter(|| find(text));
            });
        }
        group.finish();
    }
}

fn personal_data(text: &str) {
    let mut hits = Vec::new();
    personal::find(text, &mut hits);
    std::hint::black_box(hits);
}

fn legal_passages(text: &str) {
    std::hint::black_box(legal::passages(text));
}

/// Prints the middle and the slowest hundredth of many scans, in microseconds.
fn spread(name: &str, detector: &Detector, text: &str) {
    const TIMES: usize = 10_000;
    // Not where tests are listed or run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut times: Vec<u128> = (0..TIMES)
        .map(|_| {
            let start = tokio::time::Instant::now();
            std::hint::black_box(detector.scan(text));
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    println!("{name}: p50 {} µs, p99 {} µs", times[TIMES / 2] / 1_000, times[TIMES * 99 / 100] / 1_000);
}

criterion_group!(benches, bench);
criterion_main!(benches);
