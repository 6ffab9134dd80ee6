//! What is measured with: a runtime that can be seen to have nothing more to do, the bytes that live,
//! and the process's memory.

use std::future::Future;
use std::time::{Duration, Instant};

use cap::Cap;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// The program's allocator, with an account of what lives in it.
#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

/// Between two looks at the runtime.
const LOOK: Duration = Duration::from_micros(50);
/// So many looks in a row find it idle.
const LOOKS: u32 = 3;

/// Bytes that are allocated now, as they were asked for.
pub(crate) fn live_bytes() -> i64 {
    i64::try_from(ALLOCATOR.allocated()).unwrap_or(i64::MAX)
}

/// A line of what Linux says of this process, in bytes.
pub(crate) fn own_bytes(field: &str) -> Option<u64> {
    read("/proc/self/status", field)
}

/// Memory that the machine has left, in bytes, where Linux says so.
pub(crate) fn free_bytes() -> Option<u64> {
    read("/proc/meminfo", "MemAvailable:")
}

fn read(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1_024)
}

/// A runtime of two threads, whatever the machine has.
pub(crate) struct Bench(pub(crate) Runtime);

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench(Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
    }

    /// Runs this as a task, so that all happens on the runtime's own threads.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(self.0.spawn(work)).expect("it does not panic")
    }

    /// The same, and how long it takes.
    pub(crate) fn timed<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (T, Duration) {
        let started = Instant::now();
        let output = self.run(work);
        (output, started.elapsed())
    }

    /// The same, until the runtime has nothing more to do, and if `tasks` are given, no more of them
    /// live.
    pub(crate) fn until_idle<T: Send + 'static>(
        &self,
        tasks: Option<usize>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (T, Duration) {
        let started = Instant::now();
        let output = self.run(work);
        let metrics = self.0.metrics();
        let (mut looks, mut idle_since) = (0, Instant::now());
        while looks < LOOKS {
            // An odd number of parks and unparks: the worker is parked.
            let parked =
                (0..metrics.num_workers()).all(|worker| metrics.worker_park_unpark_count(worker) % 2 == 1);
            let ended = tasks.is_none_or(|tasks| metrics.num_alive_tasks() <= tasks);
            if parked && ended && metrics.global_queue_depth() == 0 {
                if looks == 0 {
                    idle_since = Instant::now();
                }
                looks += 1;
            } else {
                looks = 0;
            }
            std::thread::sleep(LOOK);
        }
        (output, idle_since.duration_since(started))
    }

    /// Tasks that live now.
    pub(crate) fn tasks(&self) -> usize {
        self.0.metrics().num_alive_tasks()
    }
}
