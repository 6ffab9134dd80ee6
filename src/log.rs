//! The log: for a person on standard error, and as lines of JSON in the data folder, a file a day.
//!
//! Whoever logs hands a line to a bounded queue and goes on. One thread takes it out, looks at it
//! for secrets with the privacy gate's own search, and writes what is left; a line that cannot be
//! looked at is withheld. A full queue or disk loses lines, never time: both are counted, and said
//! once lines can be written again.

mod collect;
mod file;
mod levels;
mod line;
mod otlp;
mod queue;
pub mod read;
mod redact;
mod terminal;
mod writer;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use empire_actors::gates::detect::Detector;
use empire_actors::ports::WallClock;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

pub use levels::{Levels, LevelsError};
pub(crate) use line::time;
pub use terminal::take_terminal;

use crate::config::LogSetting;
use crate::run::progress::say;
use crate::run::system::SystemClock;
use collect::{Collect, is_silent};
use file::DayFile;
use levels::Want;
use otlp::Exporter;
use queue::{MOST_LINES, Queue};
use terminal::Patient;
use writer::{Looking, Order, Writer};

/// Shown on the terminal where nothing else is wanted. Slow statements are for whoever asks, and a run
/// says itself what is no more than a warning.
const TERMINAL: &str = "warn,sqlx=error,empire::alerts=error";
/// How long a change of what the writer does may wait for place in its queue.
const PATIENCE: Duration = Duration::from_secs(5);

static LOG: OnceLock<LogHandle> = OnceLock::new();

/// A secret that was kept out of the log, which it should never have come near to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// How many lines held one so far.
    pub count: u64,
    /// The rules that found the last one.
    pub rules: String,
    /// The part of the program that logged it.
    pub target: String,
}

/// What the log did so far, in lines where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Written to a file.
    pub written: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Lost because the disk refused them.
    pub lost: u64,
    /// Withheld because they could not be looked at.
    pub withheld: u64,
    /// Values, not lines, that were cut out.
    pub cut: u64,
    /// Lines that held a secret.
    pub secrets: u64,
}

/// What the writer counts.
#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
    withheld: AtomicU64,
    cut: AtomicU64,
    secrets: watch::Sender<SecretSeen>,
}

/// The log as the program holds it. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle(Arc<Log>);

struct Log {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    /// The levels of the file, once there is one.
    levels: Mutex<Levels>,
    /// The levels that it was started with.
    configured: Mutex<Levels>,
    terminal: Levels,
    want: Arc<RwLock<Want>>,
    is_traced: Arc<AtomicBool>,
    filter: reload::Handle<Want, Registry>,
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogHandle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// What a log is made of.
pub struct LogParts {
    /// Where a person reads it.
    pub terminal: Box<dyn io::Write + Send>,
    /// Whether that shows colours.
    pub coloured: bool,
    /// What is shown there.
    pub levels: Levels,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
}

impl std::fmt::Debug for LogParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogParts").field("levels", &self.levels).finish_non_exhaustive()
    }
}

/// Starts the log of the process: to standard error, at the levels that `wanted` names (warnings if
/// it names none). Files are written from [`start`] on. A panic is a line of the log, too.
pub fn init(wanted: Option<&str>) -> LogHandle {
    let levels = wanted.filter(|wanted| !wanted.trim().is_empty()).map(str::parse::<Levels>);
    let (levels, problem) = match levels {
        Some(Ok(levels)) => (levels, None),
        Some(Err(error)) => (default_levels(), Some(error)),
        None => (default_levels(), None),
    };
    if let Some(problem) = problem {
        say(&format!("warning: EMPIRE_LOG: {problem}; logging warnings"));
    }
    // Colours are for eyes: in a file they are noise.
    let coloured = io::stderr().is_terminal();
    let parts =
        LogParts { terminal: Box::new(Patient::stderr()), coloured, levels, clock: Arc::new(SystemClock) };
    let handle = LOG.get_or_init(|| {
        let (subscriber, handle) = build(parts);
        // Whoever has set another one, as tests do, hears what is logged in our place.
        let _ = tracing::subscriber::set_global_default(subscriber);
        log_panics();
        handle
    });
    handle.clone()
}

/// Writes the log to files in the data folder `home` from now on, looking for secrets with
/// `detector`, the privacy gate's own, so that it knows the owner's secrets and rules as well.
pub fn start(home: &Path, setting: &LogSetting, detector: Arc<Detector>) -> LogHandle {
    let handle = LOG.get().cloned().unwrap_or_else(|| init(None));
    handle.write_to(home, setting, detector);
    handle
}

/// The log of the process, once there is one.
#[must_use]
pub fn current() -> Option<LogHandle> {
    LOG.get().cloned()
}

/// Hears of every secret that was kept out of the log of the process.
#[must_use]
pub fn secrets() -> watch::Receiver<SecretSeen> {
    // Without a log there is nothing to keep one out of.
    LOG.get().map_or_else(|| watch::channel(SecretSeen::default()).1, LogHandle::secrets)
}

fn default_levels() -> Levels {
    TERMINAL.parse().unwrap_or_else(|_| Levels::off())
}

/// A subscriber for `tracing` that writes a log of its own, and the way to it. [`init`] is what makes
/// it the log of the process.
pub fn build(parts: LogParts) -> (impl tracing::Subscriber + Send + Sync, LogHandle) {
    let (sender, orders) = sync_channel(MOST_LINES);
    let queue = Arc::new(Queue::new(sender));
    let counters = Arc::new(Counters::default());
    let writer = Writer {
        terminal: parts.terminal,
        coloured: parts.coloured,
        clock: parts.clock.clone(),
        queue: queue.clone(),
        counters: counters.clone(),
        detector: Looking::Shipped,
        file: None,
        exporter: None,
        dropped_told: 0,
    };
    let thread = std::thread::Builder::new().name("log".to_owned());
    // It ends with the process; `close` waits for what it has to write. Where no thread can be had,
    // lines are dropped, and counted.
    if let Err(error) = thread.spawn(move || writer.run(&orders)) {
        say(&format!("warning: nothing is logged: no thread for it: {error}"));
    }
    let want = Want::new(&parts.levels, &Levels::off());
    let (filter, handle) = reload::Layer::new(want.clone());
    let want = Arc::new(RwLock::new(want));
    let is_traced = Arc::new(AtomicBool::new(false));
    let seed = (u128::from(std::process::id()) << 64) | u128::from(parts.clock.now().0.unsigned_abs());
    let collect = Collect {
        want: want.clone(),
        queue: queue.clone(),
        clock: parts.clock,
        is_traced: is_traced.clone(),
        seed,
    };
    let log = Log {
        queue,
        counters,
        levels: Mutex::new(Levels::off()),
        configured: Mutex::new(Levels::off()),
        terminal: parts.levels,
        want,
        is_traced,
        filter: handle,
    };
    (tracing_subscriber::registry().with(collect.with_filter(filter)), LogHandle(Arc::new(log)))
}

impl LogHandle {
    /// Writes to files in the data folder `home` from now on, as [`start`] does for the process.
    pub fn write_to(&self, home: &Path, setting: &LogSetting, detector: Arc<Detector>) {
        self.order(Order::Detect(detector));
        self.order(Order::Open(Box::new(DayFile::new(home, setting.keep_days))));
        if let Some(url) = &setting.otlp {
            self.export_to(url);
        }
        *self.0.configured.lock() = setting.levels.clone();
        self.set_level(setting.levels.clone());
    }

    /// Exports lines and spans to the collector at `url` from now on.
    fn export_to(&self, url: &str) {
        // A process without a runtime runs no jobs.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        match Exporter::start(url) {
            Ok(exporter) => {
                self.order(Order::Export(exporter));
                self.0.is_traced.store(true, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "logs are not exported"),
        }
    }

    /// Waits until all that was logged is written and exported, but not longer than `within`.
    pub async fn exported(&self, within: Duration) {
        if !self.0.is_traced.load(Ordering::Relaxed) {
            return;
        }
        let end = tokio::time::Instant::now() + within;
        if let Some(Some(exported)) = self.written(within) {
            // Whoever is late is not waited for.
            let _ = tokio::time::timeout_at(end, exported).await;
        }
    }

    /// Logs to the file at these levels from now on; the terminal's stay. Gives those of before.
    pub fn set_level(&self, levels: Levels) -> Levels {
        let want = Want::new(&self.0.terminal, &levels.clone().unless_named("sqlx", LevelFilter::ERROR));
        // Held to the end: of two changes at once one is the last, everywhere.
        let mut current = self.0.levels.lock();
        *self.0.want.write() = want.clone();
        // It fails only if the subscriber is gone, and nothing is logged any more.
        let _ = self.0.filter.reload(want);
        std::mem::replace(&mut current, levels)
    }

    /// What is logged to the file.
    #[must_use]
    pub fn level(&self) -> Levels {
        self.0.levels.lock().clone()
    }

    /// What the configuration has it log to the file.
    #[must_use]
    pub fn configured(&self) -> Levels {
        self.0.configured.lock().clone()
    }

    /// What the log did so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let counters = &self.0.counters;
        LogCounts {
            written: counters.written.load(Ordering::Relaxed),
            dropped: self.0.queue.dropped(),
            lost: counters.lost.load(Ordering::Relaxed),
            withheld: counters.withheld.load(Ordering::Relaxed),
            cut: counters.cut.load(Ordering::Relaxed),
            secrets: counters.secrets.borrow().count,
        }
    }

    /// Hears of every secret that was kept out of the log: the part that logged it is at fault.
    #[must_use]
    pub fn secrets(&self) -> watch::Receiver<SecretSeen> {
        self.0.counters.secrets.subscribe()
    }

    /// Waits until all that was logged is written, but not longer than `within`. Says whether it
    /// is.
    pub fn flush(&self, within: Duration) -> bool {
        self.written(within).is_some()
    }

    /// Waits as [`flush`](Self::flush); gives what tells when all of it is exported.
    fn written(&self, within: Duration) -> Option<Option<oneshot::Receiver<()>>> {
        let end = tokio::time::Instant::now() + within;
        let (done, written) = sync_channel(1);
        if !self.order_until(Order::Flush(done), end) {
            return None;
        }
        written.recv_timeout(end.saturating_duration_since(tokio::time::Instant::now())).ok()
    }

    fn order(&self, order: Order) {
        self.order_until(order, tokio::time::Instant::now() + PATIENCE);
    }

    fn order_until(&self, mut order: Order, end: tokio::time::Instant) -> bool {
        loop {
            match self.0.queue.order(order) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if tokio::time::Instant::now() < end => order = back,
                Err(_) => return false,
            }
            // The writer needs a moment; it wakes nobody.
            let (_kept, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv_timeout(Duration::from_millis(1));
        }
    }
}

/// Panics are logged, and so looked at for secrets: what panics over a text often quotes it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if is_silent() {
            // The search for secrets crashed over a line. Its text is what must not be shown.
            return;
        }
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let why = panic.payload_as_str().map_or("", without_quotes);
        tracing::error!(%place, %thread, "panicked: {why}");
        // Nothing comes after the end of `main`.
        if let Some(log) = LOG.get().filter(|_| thread == "main") {
            log.flush(PATIENCE);
        }
    }));
}

/// The words of a panic up to what they quote: a slice out of bounds quotes all of its text.
fn without_quotes(why: &str) -> &str {
    let quote = ["` of `", "of string `", "it is inside", "when slicing `", "left: ", "Err` value: "];
    let end = quote.iter().filter_map(|quote| why.find(quote)).min().unwrap_or(why.len());
    why[..end].trim_end()
}
