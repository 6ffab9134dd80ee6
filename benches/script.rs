//! What a job's own logic takes for each agent: `cargo bench --bench script`. A prompt from its
//! template, a pack of prompts, the check of an answer, a pack's answer told apart; and what
//! `serde_json` alone takes to read the same answer, as a yardstick.

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use empire::job::{JobScript, JobSpec};
use empire_actors::ports::{Item, ItemKey, Script};
use serde_json::{Value, json};

const SPEC: &str = r#"
name: companies
goal: find customers for a maker of heat pumps
role: growth
privacy: P1
system: "You are the {{ role }} of a small firm. The goal: {{ goal }}. Answer with JSON alone."
prompt: |
  Company {{ item }}: {{ name }} ({{ symbol }}), {{ sector }} in {{ city }}.
  {% if employees > 1000 %}It is a large one, with {{ employees }} people.{% endif %}
  Tags: {{ tags | join(", ") }}. How well does it fit, and why?
answer:
  type: object
  properties:
    fit: {type: integer, minimum: 0, maximum: 100}
    segment: {enum: [industry, retail, finance, public, other]}
    why: {type: string, minLength: 1, maxLength: 400}
    next: {type: array, items: {type: string}, maxItems: 5}
  required: [fit, segment, why]
  additionalProperties: false
max_tokens: 200
"#;
/// Items in a pack.
const PACKS: [usize; 2] = [5, 20];

fn item(number: u32) -> Item {
    let row = json!({
        "name": format!("Example Works {number}"), "symbol": format!("EX{number}"), "sector": "Industrials",
        "city": "Musterstadt", "employees": 900 + number, "tags": ["steel", "pumps", "service"],
    });
    Item { number, first: number, key: ItemKey([0; 16]), level: None, row: row.to_string().into() }
}

fn answer(number: usize) -> Value {
    json!({
        "fit": 40 + number, "segment": "industry", "next": ["call the works manager", "send the data sheet"],
        "why": "It heats three halls with gas, has said in its report that it wants to stop, and buys from firms nearby.",
    })
}

fn bench(criterion: &mut Criterion) {
    #[allow(clippy::expect_used, reason = "a benchmark without its job measures nothing")]
    let spec = JobSpec::parse(SPEC, Path::new("companies.yaml")).expect("a job");
    let script = JobScript::new(&spec, false);
    let one = answer(1).to_string();
    let fenced = format!("Here is my answer:\n```json\n{one}\n```\nTell me if you need more.");
    let wrong = one.replace("\"fit\":41", "\"fit\":410");

    let mut group = criterion.benchmark_group("script");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    let only = item(7);
    group.bench_function("render one prompt", |bencher| bencher.iter(|| script.render(&only)));
    for n in PACKS {
        let items: Vec<Item> = (0..n as u32).map(item).collect();
        group.throughput(Throughput::Elements(n as u64));
        group.bench_with_input(BenchmarkId::new("render a pack of", n), &items, |bencher, items| {
            bencher.iter(|| script.render_pack(items));
        });
    }
    group.throughput(Throughput::Elements(1));
    assert!(script.check(&one).is_ok() && script.check(&fenced).is_ok() && script.check(&wrong).is_err());
    group.bench_function("serde_json reads the answer", |bencher| {
        bencher.iter(|| serde_json::from_str::<Value>(&one));
    });
    for (name, answer) in [
        ("check an answer", &one),
        ("check an answer in a code fence", &fenced),
        ("check an answer that does not fit", &wrong),
    ] {
        group.bench_with_input(name, answer, |bencher, answer| bencher.iter(|| script.check(answer)));
    }
    for n in PACKS {
        let parts = (1..=n).map(|number| (number.to_string(), answer(number)));
        let pack = Value::Object(parts.collect()).to_string();
        group.throughput(Throughput::Elements(n as u64));
        group.bench_with_input(
            BenchmarkId::new("split the answer to a pack of", n),
            &pack,
            |bencher, pack| {
                bencher.iter(|| script.split_pack(pack, n));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
