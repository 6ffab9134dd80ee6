//! Cells: the lightest actors. A cell is one task with its own [`Mailbox`], an id and a status;
//! it handles one message at a time. A panic ends only the cell and is reported to its owner.
//! Whatever a cell needs only while it works is boxed for that time, so that half a million
//! waiting ones stay small.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::mailbox::{Delivery, Mailbox, SendError};

/// What a cell does with its messages.
pub trait Behaviour: Send + 'static {
    /// What it is sent.
    type Message: Send + 'static;
    /// What it ends with.
    type Report: Send + 'static;

    /// Handles one message. The next one is handed over only once this has resolved; a
    /// cancelled cell drops it where it stands.
    fn handle(&mut self, message: Self::Message) -> impl Future<Output = Step<Self::Report>> + Send;
}

/// What a cell does after a message.
#[derive(Debug)]
pub enum Step<R> {
    /// Waits for the next one.
    Wait,
    /// Ends.
    End(R),
}

/// How a cell ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<R> {
    /// By itself, with its report.
    Ended(R),
    /// It was cancelled.
    Cancelled,
    /// It panicked, saying this.
    Panicked(String),
}

/// What a cell is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Status {
    /// Waiting for a message.
    Waiting = 0,
    /// Handling one.
    Working = 1,
    /// Ended.
    Ended = 2,
}

/// A look at a cell from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CellView {
    /// Its number among its owner's cells.
    pub id: u32,
    /// What it is doing.
    pub status: Status,
    /// Whether its messages are held back.
    pub paused: bool,
    /// Messages that wait.
    pub mailbox: usize,
}

struct Core<M> {
    mailbox: Mailbox<M>,
    id: u32,
    status: AtomicU8,
}

/// The address of a cell. Cheap to clone.
pub struct CellRef<M> {
    core: Arc<Core<M>>,
}

impl<M> Clone for CellRef<M> {
    fn clone(&self) -> Self {
        CellRef { core: self.core.clone() }
    }
}

impl<M> fmt::Debug for CellRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CellRef({})", self.core.id)
    }
}

impl<M> CellRef<M> {
    /// Its number among its owner's cells.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.core.id
    }

    /// Sends it a message.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full or the cell has ended.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        self.core.mailbox.send(message)
    }

    /// Ends the cell wherever it stands.
    pub fn cancel(&self) {
        self.core.mailbox.cancel();
    }

    /// Ends the cell as soon as it is not handling a message.
    pub fn retire(&self) {
        self.core.mailbox.retire();
    }

    /// Holds its messages back; what it is doing goes on.
    pub fn pause(&self) {
        self.core.mailbox.pause();
    }

    /// Lets messages through again.
    pub fn resume(&self) {
        self.core.mailbox.resume();
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.core.status.load(Ordering::Relaxed) {
            0 => Status::Waiting,
            1 => Status::Working,
            _ => Status::Ended,
        }
    }

    /// A look at it.
    #[must_use]
    pub fn observe(&self) -> CellView {
        CellView {
            id: self.core.id,
            status: self.status(),
            paused: self.core.mailbox.is_paused(),
            mailbox: self.core.mailbox.len(),
        }
    }
}

/// Who hears of a cell's end. The cell's task lives until the returned future has resolved,
/// so a bounded owner slows its cells down instead of being flooded.
pub trait Owner<R>: Send + Sync + 'static {
    /// Cell `id` has ended.
    fn ended(&self, id: u32, exit: Exit<R>) -> BoxFuture<'static, ()>;
}

/// Starts a cell. It waits for its first message.
pub fn spawn<B: Behaviour>(id: u32, behaviour: B, owner: Arc<dyn Owner<B::Report>>) -> CellRef<B::Message> {
    let core =
        Arc::new(Core { mailbox: Mailbox::default(), id, status: AtomicU8::new(Status::Waiting as u8) });
    super::spawn(live(core.clone(), behaviour, owner));
    CellRef { core }
}

async fn live<B: Behaviour>(core: Arc<Core<B::Message>>, behaviour: B, owner: Arc<dyn Owner<B::Report>>) {
    let exit = run(&core, behaviour).await;
    core.status.store(Status::Ended as u8, Ordering::Relaxed);
    core.mailbox.end();
    let id = core.id;
    drop(core);
    owner.ended(id, exit).await;
}

async fn run<B: Behaviour>(core: &Core<B::Message>, mut behaviour: B) -> Exit<B::Report> {
    loop {
        let message = match poll_fn(|cx| core.mailbox.poll_next(cx)).await {
            Delivery::Cancelled => return Exit::Cancelled,
            Delivery::Message(message) => message,
        };
        core.status.store(Status::Working as u8, Ordering::Relaxed);
        // Boxed, so that a waiting cell does not carry the space of a working one.
        let work: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(AssertUnwindSafe(behaviour.handle(message)).catch_unwind());
        match unless_cancelled(core, work).await {
            None => return Exit::Cancelled,
            Some(Ok(Step::End(report))) => return Exit::Ended(report),
            Some(Ok(Step::Wait)) => core.status.store(Status::Waiting as u8, Ordering::Relaxed),
            Some(Err(panic)) => return Exit::Panicked(panic_text(panic.as_ref())),
        }
    }
}

/// The work's output, or `None` if the cell was cancelled first (the work is dropped then).
async fn unless_cancelled<M, F: Future>(core: &Core<M>, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        core.mailbox.poll_cancelled(cx).map(|()| None)
    })
    .await
}

/// What a panic said.
#[must_use]
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use tokio::sync::{Notify, mpsc};

    use super::*;

    struct Listener(mpsc::UnboundedSender<(u32, Exit<u32>)>);

    impl Owner<u32> for Listener {
        fn ended(&self, id: u32, exit: Exit<u32>) -> BoxFuture<'static, ()> {
            let _ = self.0.send((id, exit));
            Box::pin(async {})
        }
    }

    enum Ask {
        Add(u32),
        Hang(Arc<Notify>),
        Work(Arc<Notify>, Arc<Notify>),
        Panic,
        Finish,
    }

    struct Adder(u32);

    impl Behaviour for Adder {
        type Message = Ask;
        type Report = u32;

        async fn handle(&mut self, message: Ask) -> Step<u32> {
            match message {
                Ask::Add(n) => {
                    self.0 += n;
                    Step::Wait
                }
                Ask::Hang(started) => {
                    started.notify_one();
                    std::future::pending().await
                }
                Ask::Work(started, go_on) => {
                    started.notify_one();
                    go_on.notified().await;
                    Step::Wait
                }
                Ask::Panic => panic!("as asked"),
                Ask::Finish => Step::End(self.0),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a handful of reports in a test")]
    fn adder() -> (CellRef<Ask>, mpsc::UnboundedReceiver<(u32, Exit<u32>)>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (spawn(7, Adder(0), Arc::new(Listener(tx))), rx)
    }

    #[tokio::test]
    async fn handles_messages_one_by_one_and_reports_its_end() {
        let (cell, mut ends) = adder();
        for n in [1, 2, 3] {
            cell.send(Ask::Add(n)).ok().unwrap();
        }
        cell.send(Ask::Finish).ok().unwrap();
        assert_eq!(ends.recv().await, Some((7, Exit::Ended(6))));
        assert_eq!(cell.status(), Status::Ended);
        assert!(matches!(cell.send(Ask::Finish), Err(SendError::Ended(_))));
    }

    #[tokio::test]
    async fn a_panic_ends_the_cell_alone_and_says_what_it_said() {
        let (cell, mut ends) = adder();
        let (other, mut other_ends) = adder();
        cell.send(Ask::Panic).ok().unwrap();
        assert_eq!(ends.recv().await, Some((7, Exit::Panicked("as asked".into()))));
        other.send(Ask::Finish).ok().unwrap();
        assert_eq!(other_ends.recv().await, Some((7, Exit::Ended(0))));
    }

    #[tokio::test]
    async fn cancelling_drops_the_work_where_it_stands() {
        let (cell, mut ends) = adder();
        let started = Arc::new(Notify::new());
        cell.send(Ask::Hang(started.clone())).ok().unwrap();
        started.notified().await;
        assert_eq!(cell.observe().status, Status::Working);
        cell.cancel();
        assert_eq!(ends.recv().await, Some((7, Exit::Cancelled)));
    }

    #[tokio::test]
    async fn a_retired_cell_ends_what_it_is_doing_and_then_itself() {
        let (cell, mut ends) = adder();
        let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        cell.send(Ask::Work(started.clone(), go_on.clone())).ok().unwrap();
        started.notified().await;
        cell.retire();
        cell.send(Ask::Finish).ok().unwrap();
        tokio::task::yield_now().await;
        assert_eq!(cell.status(), Status::Working);
        go_on.notify_one();
        assert_eq!(ends.recv().await, Some((7, Exit::Cancelled)));
    }

    #[tokio::test]
    async fn a_paused_cell_keeps_its_messages_for_later() {
        let (cell, mut ends) = adder();
        cell.pause();
        cell.send(Ask::Add(5)).ok().unwrap();
        cell.send(Ask::Finish).ok().unwrap();
        tokio::task::yield_now().await;
        assert_eq!(cell.observe(), CellView { id: 7, status: Status::Waiting, paused: true, mailbox: 2 });
        cell.resume();
        assert_eq!(ends.recv().await, Some((7, Exit::Ended(5))));
    }
}
