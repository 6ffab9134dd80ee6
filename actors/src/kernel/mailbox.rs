//! A cell's mailbox: bounded, and it owns no memory while it is empty.
//!
//! One small lock guards the queue, the control flags and the waker together, so a wake-up
//! cannot fall between looking and sleeping. The loom tests below check exactly that.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use sync::Mutex;

/// Messages that may wait in one mailbox.
pub const CAPACITY: usize = 16;

#[cfg(not(empire_loom))]
mod sync {
    pub(super) use parking_lot::Mutex;
}
#[cfg(empire_loom)]
mod sync {
    /// loom's lock behind `parking_lot`'s signature.
    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);
    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }
        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no test panics while it holds the lock")
        }
    }
}

/// Why a message was not taken; it is given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError<M> {
    /// [`CAPACITY`] messages wait already.
    #[error("the mailbox is full")]
    Full(M),
    /// The cell has ended.
    #[error("the cell has ended")]
    Ended(M),
}

/// What the cell finds in its mailbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery<M> {
    /// The next message, in the order of sending.
    Message(M),
    /// The cell is to end now. Overtakes messages.
    Cancelled,
}

#[derive(Debug)]
struct State<M> {
    /// `None` while empty.
    #[expect(
        clippy::box_collection,
        reason = "an empty mailbox takes 8 bytes instead of 32, half a million times"
    )]
    queue: Option<Box<VecDeque<M>>>,
    waker: Option<Waker>,
    cancelled: bool,
    /// The cell ends when it would next wait.
    retired: bool,
    paused: bool,
    ended: bool,
}

/// A mailbox with one reader, the cell, and any number of senders.
#[derive(Debug)]
pub struct Mailbox<M> {
    state: Mutex<State<M>>,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        let state =
            State { queue: None, waker: None, cancelled: false, retired: false, paused: false, ended: false };
        Mailbox { state: Mutex::new(state) }
    }
}

impl<M> Mailbox<M> {
    /// Puts a message at the end of the queue.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full or its cell has ended.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(SendError::Ended(message));
        }
        let queue = state.queue.get_or_insert_default();
        if queue.len() >= CAPACITY {
            return Err(SendError::Full(message));
        }
        queue.push_back(message);
        let waker = if state.paused { None } else { state.waker.take() };
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Tells the cell to end, whatever it is doing. Final.
    pub fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Tells the cell to end as soon as it is not handling a message; what it is doing goes on
    /// to its end. Final.
    pub fn retire(&self) {
        let mut state = self.state.lock();
        state.retired = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Stops handing out messages; they queue up. Cancelling still works.
    pub fn pause(&self) {
        self.state.lock().paused = true;
    }

    /// Hands out messages again.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.paused = false;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Whether messages are held back.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For the cell: takes the next delivery or registers to be woken by it.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Delivery<M>> {
        let mut state = self.state.lock();
        if state.cancelled || state.retired {
            return Poll::Ready(Delivery::Cancelled);
        }
        if !state.paused
            && let Some(queue) = &mut state.queue
            && let Some(message) = queue.pop_front()
        {
            if queue.is_empty() {
                state.queue = None;
            }
            return Poll::Ready(Delivery::Message(message));
        }
        register(&mut state.waker, cx);
        Poll::Pending
    }

    /// For the cell while it handles a message: ready once it is to end.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        register(&mut state.waker, cx);
        Poll::Pending
    }

    /// For the cell when it ends: refuses all later messages and gives back how many were
    /// never read.
    pub fn end(&self) -> usize {
        let mut state = self.state.lock();
        state.ended = true;
        state.waker = None;
        let unread = state.queue.take();
        // Messages are dropped outside the lock: dropping one may send to this very mailbox.
        drop(state);
        unread.map_or(0, |queue| queue.len())
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

/// Wakes outside the lock: the woken task may look into the mailbox at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    fn poll<M>(mailbox: &Mailbox<M>) -> Poll<Delivery<M>> {
        mailbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn hands_out_messages_in_order_and_holds_nothing_once_empty() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.send(2).unwrap();
        assert_eq!(poll(&mailbox), Poll::Ready(Delivery::Message(1)));
        assert_eq!(poll(&mailbox), Poll::Ready(Delivery::Message(2)));
        assert_eq!(poll(&mailbox), Poll::Pending);
        assert!(mailbox.state.lock().queue.is_none());
    }

    #[test]
    fn gives_back_what_it_cannot_take() {
        let mailbox = Mailbox::default();
        for n in 0..CAPACITY {
            mailbox.send(n).unwrap();
        }
        assert_eq!(mailbox.send(99), Err(SendError::Full(99)));
        assert_eq!(mailbox.end(), CAPACITY);
        assert_eq!(mailbox.send(99), Err(SendError::Ended(99)));
    }

    #[test]
    fn cancelling_overtakes_messages_and_pausing() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.pause();
        assert_eq!(poll(&mailbox), Poll::Pending);
        mailbox.cancel();
        assert_eq!(poll(&mailbox), Poll::Ready(Delivery::Cancelled));
    }

    #[test]
    fn a_message_may_send_to_its_own_mailbox_when_it_is_dropped() {
        struct Echo(std::sync::Weak<Mailbox<Echo>>);
        impl Drop for Echo {
            fn drop(&mut self) {
                if let Some(mailbox) = self.0.upgrade() {
                    assert!(mailbox.send(Echo(std::sync::Weak::new())).is_err());
                }
            }
        }
        let mailbox = std::sync::Arc::new(Mailbox::default());
        mailbox.send(Echo(std::sync::Arc::downgrade(&mailbox))).ok().unwrap();
        assert_eq!(mailbox.end(), 1);
    }

    #[test]
    fn a_retired_cell_gets_no_further_message_but_is_not_disturbed_at_work() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.retire();
        assert!(mailbox.poll_cancelled(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(poll(&mailbox), Poll::Ready(Delivery::Cancelled));
    }

    #[test]
    fn a_pause_keeps_messages_for_later() {
        let mailbox = Mailbox::default();
        mailbox.pause();
        mailbox.send(1).unwrap();
        assert_eq!(poll(&mailbox), Poll::Pending);
        mailbox.resume();
        assert_eq!(poll(&mailbox), Poll::Ready(Delivery::Message(1)));
    }
}

/// Run with `RUSTFLAGS="--cfg empire_loom" cargo test -p empire-actors --lib loom`.
#[cfg(all(test, empire_loom))]
mod loom_tests {
    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    #[test]
    fn loom_no_message_is_lost_or_reordered() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let sender = mailbox.clone();
            let sending = thread::spawn(move || {
                sender.send(1).expect("room");
                sender.send(2).expect("room");
            });
            let first = block_on(poll_fn(|cx| mailbox.poll_next(cx)));
            let second = block_on(poll_fn(|cx| mailbox.poll_next(cx)));
            assert_eq!((first, second), (Delivery::Message(1), Delivery::Message(2)));
            sending.join().expect("no panic");
        });
    }

    #[test]
    fn loom_two_senders_are_both_heard() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let senders: Vec<_> = (0..2)
                .map(|n| {
                    let sender = mailbox.clone();
                    thread::spawn(move || sender.send(n).expect("room"))
                })
                .collect();
            let mut heard = Vec::new();
            for _ in 0..2 {
                if let Delivery::Message(n) = block_on(poll_fn(|cx| mailbox.poll_next(cx))) {
                    heard.push(n);
                }
            }
            heard.sort_unstable();
            assert_eq!(heard, [0, 1]);
            senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        });
    }

    #[test]
    fn loom_a_sleeping_cell_is_woken_by_cancel() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u8>::default());
            let canceller = mailbox.clone();
            let cancelling = thread::spawn(move || canceller.cancel());
            assert_eq!(block_on(poll_fn(|cx| mailbox.poll_next(cx))), Delivery::Cancelled);
            cancelling.join().expect("no panic");
        });
    }

    #[test]
    fn loom_a_sleeping_cell_is_woken_by_retiring() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::<u8>::default());
            let other = mailbox.clone();
            let retiring = thread::spawn(move || other.retire());
            assert_eq!(block_on(poll_fn(|cx| mailbox.poll_next(cx))), Delivery::Cancelled);
            retiring.join().expect("no panic");
        });
    }

    #[test]
    fn loom_a_message_sent_during_a_pause_comes_after_the_resume() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            mailbox.pause();
            let other = mailbox.clone();
            let steering = thread::spawn(move || {
                other.send(1).expect("room");
                other.resume();
            });
            assert_eq!(block_on(poll_fn(|cx| mailbox.poll_next(cx))), Delivery::Message(1));
            steering.join().expect("no panic");
        });
    }

    #[test]
    fn loom_a_send_races_the_end_and_is_either_counted_or_given_back() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let sender = mailbox.clone();
            let sending = thread::spawn(move || sender.send(1).is_ok());
            let unread = mailbox.end();
            let taken = sending.join().expect("no panic");
            assert_eq!(usize::from(taken), unread);
        });
    }
}
