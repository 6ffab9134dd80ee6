//! What a command takes from its start to its end, as a person waits for it:
//! `cargo bench --bench startup`. The program is the one that was built with this benchmark.
//!
//! `swarm plan` reads every row, renders it and counts its tokens; its peak of memory is printed.

#![allow(clippy::expect_used, reason = "a benchmark without the program measures nothing")]
#![allow(clippy::disallowed_methods, reason = "another process can only be looked at again and again")]
#![allow(clippy::print_stdout, reason = "what is measured is shown")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const JOB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/jobs/words.yaml");
const ITEMS: [u32; 2] = [50_000, 500_000];

/// A data folder, and words to plan with.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        Place(tempfile::tempdir_in(folder).expect("a folder"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_empire"));
        command
            .args(arguments)
            .env_clear()
            .env("EMPIRE_HOME", self.0.path().join("home"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) {
        let status = self.command(arguments).status().expect("the program is there");
        assert!(status.success(), "{arguments:?}: {status}");
    }

    fn words(&self, count: u32) -> PathBuf {
        let path = self.0.path().join(format!("{count}.txt"));
        let mut words = String::new();
        for number in 0..count {
            let _infallible = writeln!(words, "word-{number:07}");
        }
        std::fs::write(&path, words).expect("a file");
        path
    }

    /// The most memory that a command had, in MiB, where Linux says so.
    fn peak(&self, arguments: &[&str]) -> Option<u64> {
        let mut child = self.command(arguments).spawn().expect("the program is there");
        let status = format!("/proc/{}/status", child.id());
        let mut peak = None;
        while child.try_wait().expect("it is ours").is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak = peak.max(kilobytes.map(|kilobytes| kilobytes / 1_024));
            std::thread::sleep(Duration::from_millis(1));
        }
        peak
    }
}

fn bench(criterion: &mut Criterion) {
    let is_run = std::env::args().any(|argument| argument == "--bench");
    let place = Place::new();
    // Makes the data folder, so that a list finds one.
    place.run(&["swarm", "list"]);
    let mut group = criterion.benchmark_group("startup");
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function("version", |bencher| bencher.iter(|| place.run(&["--version"])));
    group.bench_function("swarm list", |bencher| bencher.iter(|| place.run(&["swarm", "list"])));
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for items in ITEMS {
        // Where tests are listed or run, a few words say that it works.
        let words = place.words(if is_run { items } else { 100 });
        let words = words.to_str().expect("a plain path");
        let plan = ["swarm", "plan", JOB, "--input", words];
        group.throughput(Throughput::Elements(u64::from(items)));
        group.bench_function(BenchmarkId::new("plan", items), |bencher| bencher.iter(|| place.run(&plan)));
        if let (true, Some(peak)) = (is_run, place.peak(&plan)) {
            println!("plan of {items} items: {peak} MiB of memory at most");
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
