//! The bounded queue between those who log and the one thread that writes. Who finds it full drops
//! the line and counts that: nobody waits for a disk.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use super::levels::Sinks;
use super::line::Line;
use super::otlp::Ended;
use super::writer::Order;

/// Lines that may wait.
pub(crate) const MOST_LINES: usize = 8_192;
/// Bytes that may wait.
const MOST_BYTES: usize = 16 << 20;

/// The writing end.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: SyncSender<Order>,
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Queue {
    pub(crate) fn new(sender: SyncSender<Order>) -> Queue {
        Queue { sender, bytes: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    /// Hands a line over, or drops it.
    pub(crate) fn put(&self, sinks: Sinks, line: Line) {
        let bytes = line.bytes();
        self.offer(bytes, Order::Write(sinks, Box::new(line)));
    }

    /// Hands a span that has ended over, or drops it.
    pub(crate) fn put_span(&self, ended: Ended) {
        self.offer(ended.line.bytes(), Order::Ended(Box::new(ended)));
    }

    fn offer(&self, bytes: usize, order: Order) {
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = waiting + bytes <= MOST_BYTES && self.sender.try_send(order).is_ok();
        if !is_taken {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A line was taken out.
    pub(crate) fn taken(&self, line: &Line) {
        self.bytes.fetch_sub(line.bytes(), Ordering::Relaxed);
    }

    /// Lines that found no place so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Gives the writer something to do; `false` if there is no place, or no writer.
    pub(crate) fn order(&self, order: Order) -> Result<(), TrySendError<Order>> {
        self.sender.try_send(order)
    }
}
