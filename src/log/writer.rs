//! The one thread that writes the log: it looks at each line for secrets, and then shows it, files
//! it and sends it. Nobody else waits for a disk.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use empire_actors::gates::detect::Detector;
use empire_actors::ports::WallClock;
use tokio::sync::oneshot;

use super::Counters;
use super::collect::silence_this_thread;
use super::file::{DayFile, Written};
use super::levels::Sinks;
use super::line::Line;
use super::otlp::{Ended, Exporter};
use super::queue::Queue;
use super::redact::{Found, redact};
use crate::privacy::rules;

/// What the writer is told.
pub(crate) enum Order {
    Write(Sinks, Box<Line>),
    /// A span has ended, and is exported.
    Ended(Box<Ended>),
    /// Exports from now on.
    Export(Exporter),
    /// Looks for secrets with this from now on.
    Detect(Arc<Detector>),
    /// Writes to files from now on.
    Open(Box<DayFile>),
    /// Answers once all that came before it is written.
    Flush(SyncSender<Option<oneshot::Receiver<()>>>),
}

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) terminal: Box<dyn Write + Send>,
    pub(crate) coloured: bool,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) detector: Looking,
    pub(crate) file: Option<Box<DayFile>>,
    pub(crate) exporter: Option<Exporter>,
    /// Lines that were dropped, as far as the log says so.
    pub(crate) dropped_told: u64,
}

/// Who looks for secrets.
pub(crate) enum Looking {
    /// With the rules that ship, once there is something to look at.
    Shipped,
    With(Arc<Detector>),
    /// The rules could not be read: nothing is written.
    Blind,
}

impl Looking {
    fn detector(&mut self) -> Option<&Arc<Detector>> {
        if let Looking::Shipped = self {
            let rules = rules::load(&rules::Look::default());
            *self = rules.map_or(Looking::Blind, |rules| Looking::With(Arc::new(Detector::new(rules))));
        }
        match self {
            Looking::With(detector) => Some(detector),
            _ => None,
        }
    }
}

impl Writer {
    /// Writes until nobody can log any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        silence_this_thread();
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(sinks, line) => {
                    self.queue.taken(&line);
                    self.tell_dropped(sinks);
                    self.write(sinks, *line);
                }
                Order::Ended(mut ended) => {
                    self.queue.taken(&ended.line);
                    self.look(&mut ended.line);
                    if let Some(exporter) = &self.exporter {
                        exporter.span(&ended);
                    }
                }
                Order::Export(exporter) => self.exporter = Some(exporter),
                Order::Detect(detector) => self.detector = Looking::With(detector),
                Order::Open(file) => self.open(file),
                Order::Flush(done) => {
                    self.tell_dropped(Sinks { terminal: false, file: true });
                    let _ = self.terminal.flush();
                    // Who asked may have stopped waiting.
                    let _ = done.try_send(self.exporter.as_ref().map(Exporter::flush));
                }
            }
        }
    }

    fn open(&mut self, mut file: Box<DayFile>) {
        if let Err(error) = file.start(self.clock.now()) {
            self.cannot_write(&error);
        }
        self.file = Some(file);
    }

    fn write(&mut self, sinks: Sinks, mut line: Line) {
        self.look(&mut line);
        self.put(sinks, &line);
    }

    fn look(&mut self, line: &mut Line) {
        let found = redact(line, self.detector.detector());
        self.count(line, found);
    }

    fn put(&mut self, sinks: Sinks, line: &Line) {
        if sinks.terminal {
            self.show(line);
        }
        if sinks.file {
            if let Some(exporter) = &self.exporter {
                exporter.line(line);
            }
            self.file(line);
        }
    }

    fn count(&self, line: &Line, found: Found) {
        let counters = &self.counters;
        counters.cut.fetch_add(u64::from(found.values), Ordering::Relaxed);
        counters.withheld.fetch_add(u64::from(found.withheld), Ordering::Relaxed);
        if let Some(rules) = found.secret {
            counters.secrets.send_modify(|seen| {
                seen.count += 1;
                seen.rules = rules;
                line.target.clone_into(&mut seen.target);
            });
        }
    }

    fn show(&mut self, line: &Line) {
        // A closed standard error leaves nobody to tell.
        let _ = self.terminal.write_all(line.pretty(self.coloured).as_bytes());
    }

    fn file(&mut self, line: &Line) {
        let now = self.clock.now();
        let Some(file) = &mut self.file else { return };
        match file.write(&line.json(std::process::id()), now) {
            Written::Yes => self.counters.written.fetch_add(1, Ordering::Relaxed),
            Written::After(lost) => {
                let told =
                    Line::own(now, "the log can be written again; lines are missing", &[("lost", lost)]);
                file.write(&told.json(std::process::id()), now);
                self.counters.written.fetch_add(1, Ordering::Relaxed)
            }
            Written::No { is_first } => {
                let error = is_first.then(|| file.error().map(ToString::to_string)).flatten();
                if let Some(error) = error {
                    self.cannot_write(&error);
                }
                self.counters.lost.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Says once an outage that lines go to no file.
    fn cannot_write(&mut self, error: &dyn std::fmt::Display) {
        let message = format!("the log cannot be written ({error}): what is logged meanwhile is counted");
        self.show(&Line::own(self.clock.now(), message, &[]));
    }

    /// Lines that found no place in the queue are told of where the next one stands.
    fn tell_dropped(&mut self, sinks: Sinks) {
        let dropped = self.queue.dropped();
        let more = dropped - self.dropped_told;
        if more == 0 {
            return;
        }
        self.dropped_told = dropped;
        let told =
            Line::own(self.clock.now(), "lines came faster than they could be written", &[("dropped", more)]);
        self.put(sinks, &told);
    }
}
