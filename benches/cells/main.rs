//! Cells against ractor, kameo and bare tokio tasks with a channel, in one run: spawn, idle memory,
//! ask, fan-out, stop; and whole agents as the program makes them, under cohorts, a job and a house.
//!
//! ```sh
//! cargo bench --bench cells                                      # criterion, then rounds at 10K to 2M
//! cargo bench --bench cells -- fan-out                           # criterion alone, what has this in its name
//! cargo bench --bench cells -- --rounds 100000,500000            # rounds alone, at these sizes
//! cargo bench --bench cells -- --rounds 100000 --of cells,agents # of these kinds
//! cargo bench --bench cells -- --rounds 100000 --json            # as JSON, a line each
//! ```
//!
//! Every kind has the program's allocator and two worker threads. A spawn ends once the runtime has
//! nothing more to do, a stop once no task is left.

#![allow(clippy::expect_used, reason = "a benchmark without its parts measures nothing")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and waits for its own runtime")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

mod kinds;
mod machine;
mod rounds;
#[path = "../world/mod.rs"]
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};

use self::kinds::{Cells, Kameo, Kind, Ractor, Tasks};
use self::machine::Bench;

const SIZES: [u32; 4] = [10_000, 100_000, 500_000, 2_000_000];
/// Those of `--quick`, and those that criterion measures.
const SMALL: [u32; 2] = [10_000, 100_000];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--round") {
        return one_round(&arguments[at + 1..]);
    }
    if let Some(sizes) = value_of(&arguments, "--rounds") {
        return some_rounds(&arguments, sizes);
    }
    let is_run = arguments.iter().any(|argument| argument == "--bench");
    let mut criterion = Criterion::default().configure_from_args();
    // Where tests are listed or run, the smallest size says that it works.
    for size in &SMALL[..if is_run { 2 } else { 1 }] {
        timed::<Cells>(&mut criterion, *size);
        timed::<Ractor>(&mut criterion, *size);
        timed::<Kameo>(&mut criterion, *size);
        timed::<Tasks>(&mut criterion, *size);
    }
    criterion.final_summary();
    // Not where a part is asked for, or a list.
    let is_whole = arguments.iter().all(|argument| argument.starts_with('-') && argument != "--list");
    if is_run && is_whole {
        let is_quick = arguments.iter().any(|argument| argument == "--quick");
        return table(&rounds::KINDS, if is_quick { &SMALL } else { &SIZES });
    }
    ExitCode::SUCCESS
}

fn value_of<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    Some(arguments.get(at + 1).map_or("", String::as_str))
}

fn refuse(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}

/// Measures one round here; another process of this program reads it.
fn one_round(arguments: &[String]) -> ExitCode {
    let [kind, count, ..] = arguments else { return refuse("--round takes a kind and a number") };
    let Some(round) = count.parse().ok().and_then(|count| rounds::measure(kind, count)) else {
        return refuse("--round takes a kind and a number");
    };
    println!("{}", serde_json::to_string(&round).expect("it is plain data"));
    ExitCode::SUCCESS
}

fn some_rounds(arguments: &[String], sizes: &str) -> ExitCode {
    let sizes: Result<Vec<u32>, _> = sizes.split(',').map(str::parse).collect();
    let Ok(sizes) = sizes else { return refuse("--rounds takes numbers with commas between them") };
    let kinds: Vec<&str> = match value_of(arguments, "--of") {
        Some(kinds) => kinds.split(',').collect(),
        None => rounds::KINDS.to_vec(),
    };
    if let Some(unknown) = kinds.iter().find(|kind| !rounds::KINDS.contains(kind)) {
        return refuse(&format!("--of knows {}, not {unknown}", rounds::KINDS.join(", ")));
    }
    if !arguments.iter().any(|argument| argument == "--json") {
        return table(&kinds, &sizes);
    }
    let mut has_failed = false;
    rounds::run(&kinds, &sizes, |round| match round {
        Ok(round) => println!("{}", serde_json::to_string(&round).expect("it is plain data")),
        Err(why) => {
            has_failed |= why.contains("failed");
            eprintln!("{why}");
        }
    });
    ExitCode::from(u8::from(has_failed))
}

fn table(kinds: &[&str], sizes: &[u32]) -> ExitCode {
    let started = Instant::now();
    println!("\n{}", rounds::head());
    let mut has_failed = false;
    rounds::run(kinds, sizes, |round| match round {
        Ok(round) => println!("{}", round.line()),
        Err(why) => {
            has_failed |= why.contains("failed");
            println!("{why}");
        }
    });
    println!("rounds took {}", rounds::since(started));
    ExitCode::from(u8::from(has_failed))
}

fn timed<K: Kind>(criterion: &mut Criterion, count: u32) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("cells");
    group
        .throughput(Throughput::Elements(u64::from(count)))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let id = |what: &str| BenchmarkId::new(format!("{what}, {}", K::NAME), count);
    group.bench_function(id("spawn"), |bencher| {
        bencher.iter_custom(|times| life::<K>(&bench, count, times).0);
    });
    group.bench_function(id("stop"), |bencher| {
        bencher.iter_custom(|times| life::<K>(&bench, count, times).1);
    });
    let tasks = bench.tasks();
    let mut idle = None;
    let mut spawned =
        || idle.get_or_insert_with(|| Arc::new(bench.until_idle(None, kinds::spawn::<K>(count)).0)).clone();
    group.bench_function(id("ask"), |bencher| {
        let idle = spawned();
        bencher.iter(|| bench.run(kinds::ask::<K>(idle.clone())));
    });
    group.bench_function(id("fan-out"), |bencher| {
        let idle = spawned();
        bencher.iter(|| bench.run(kinds::fan_out::<K>(idle.clone())));
    });
    group.finish();
    if let Some(idle) = idle.and_then(Arc::into_inner) {
        bench.until_idle(Some(tasks), kinds::stop::<K>(idle));
    }
}

/// So many lives of so many actors: the time of all their starts, and of all their ends.
fn life<K: Kind>(bench: &Bench, count: u32, times: u64) -> (Duration, Duration) {
    let (mut starts, mut ends) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..times {
        let tasks = bench.tasks();
        let (idle, took) = bench.until_idle(None, kinds::spawn::<K>(count));
        starts += took;
        ends += bench.until_idle(Some(tasks), kinds::stop::<K>(idle)).1;
    }
    (starts, ends)
}
