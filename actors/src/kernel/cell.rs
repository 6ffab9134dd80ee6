//! Cells: the lightest actors. A cell is one task with its own [`Mailbox`], an id and a status;
//! it handles one message at a time. A panic ends only the cell and is reported to its owner.
//! Whatever a cell needs only while it works is boxed for that time, so that half a million
//! waiting ones stay small: two blocks of memory each, of 128 and of 64 bytes.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

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

impl<M> Core<M> {
    fn set(&self, status: Status) {
        self.status.store(status as u8, Ordering::Relaxed);
    }
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

/// What there is of a cell before its first message, and what hears of its end. The smaller it is,
/// the less a waiting cell takes: up to 8 bytes, its task takes 128.
pub trait Seed: Send + 'static {
    /// What comes of it.
    type Behaviour: Behaviour;

    /// Makes the behaviour of cell `id`, once, for its first message.
    fn grow(&mut self, id: u32) -> Self::Behaviour;

    /// Cell `id` has ended. Its task lives until the returned future has resolved.
    fn ended(&self, id: u32, exit: Exit<ReportOf<Self>>) -> BoxFuture<'static, ()>;
}

type MessageOf<S> = <<S as Seed>::Behaviour as Behaviour>::Message;
type ReportOf<S> = <<S as Seed>::Behaviour as Behaviour>::Report;

/// A behaviour that is there from the start.
struct Grown<B: Behaviour> {
    /// `None` once the first message has come.
    behaviour: Option<B>,
    owner: Arc<dyn Owner<B::Report>>,
}

impl<B: Behaviour> Seed for Grown<B> {
    type Behaviour = B;

    fn grow(&mut self, _: u32) -> B {
        self.behaviour.take().expect("it is asked for once")
    }

    fn ended(&self, id: u32, exit: Exit<B::Report>) -> BoxFuture<'static, ()> {
        self.owner.ended(id, exit)
    }
}

/// Starts a cell with its behaviour. It waits for its first message.
pub fn spawn<B: Behaviour>(id: u32, behaviour: B, owner: Arc<dyn Owner<B::Report>>) -> CellRef<B::Message> {
    sow(id, Grown { behaviour: Some(behaviour), owner })
}

/// Starts a cell that gets its behaviour with its first message: the smallest there is.
pub fn sow<S: Seed>(id: u32, seed: S) -> CellRef<MessageOf<S>> {
    let core =
        Arc::new(Core { mailbox: Mailbox::default(), id, status: AtomicU8::new(Status::Waiting as u8) });
    super::spawn(Live { core: core.clone(), seed, stage: None });
    CellRef { core }
}

/// A cell's task. Written out: the compiler would keep a place for everything that ever lives in it,
/// and every waiting cell would pay for what only a working one has.
struct Live<S: Seed> {
    core: Arc<Core<MessageOf<S>>>,
    seed: S,
    /// `None` until the first message.
    stage: Option<Box<Stage<S::Behaviour>>>,
}

/// What a cell does once it has had a message.
enum Stage<B: Behaviour> {
    Waits(B),
    Works(BoxFuture<'static, Worked<B>>),
    Tells(BoxFuture<'static, ()>),
}

/// The behaviour after a message and what it does next, or what its panic said.
type Worked<B> = Result<(B, Step<<B as Behaviour>::Report>), Box<dyn Any + Send>>;

/// Nothing in it is pinned but what is boxed.
impl<S: Seed> Unpin for Live<S> {}

impl<S: Seed> Future for Live<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let live = self.get_mut();
        loop {
            let exit = match live.stage.as_deref_mut() {
                None | Some(Stage::Waits(_)) => match ready!(live.core.mailbox.poll_next(cx)) {
                    Delivery::Message(message) => {
                        live.work(message);
                        continue;
                    }
                    Delivery::Cancelled => Exit::Cancelled,
                },
                Some(Stage::Works(work)) => match work.as_mut().poll(cx) {
                    Poll::Ready(Ok((behaviour, Step::Wait))) => {
                        live.core.set(Status::Waiting);
                        live.stage = Some(Box::new(Stage::Waits(behaviour)));
                        continue;
                    }
                    Poll::Ready(Ok((_, Step::End(report)))) => Exit::Ended(report),
                    Poll::Ready(Err(panic)) => Exit::Panicked(panic_text(panic.as_ref())),
                    Poll::Pending => {
                        ready!(live.core.mailbox.poll_cancelled(cx));
                        Exit::Cancelled
                    }
                },
                Some(Stage::Tells(telling)) => return telling.as_mut().poll(cx),
            };
            live.end(exit);
        }
    }
}

impl<S: Seed> Live<S> {
    fn work(&mut self, message: MessageOf<S>) {
        self.core.set(Status::Working);
        let behaviour = match self.stage.take().map(|stage| *stage) {
            Some(Stage::Waits(behaviour)) => Ok(behaviour),
            _ => catch_unwind(AssertUnwindSafe(|| self.seed.grow(self.core.id))),
        };
        let work = Box::pin(async move {
            let mut behaviour = behaviour?;
            let handling = async { behaviour.handle(message).await };
            let step = AssertUnwindSafe(handling).catch_unwind().await?;
            Ok((behaviour, step))
        });
        self.stage = Some(Box::new(Stage::Works(work)));
    }

    fn end(&mut self, exit: Exit<ReportOf<S>>) {
        // What it was doing is dropped where it stands.
        self.stage = None;
        self.core.set(Status::Ended);
        self.core.mailbox.end();
        self.stage = Some(Box::new(Stage::Tells(self.seed.ended(self.core.id, exit))));
    }
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

    /// Grows adders that begin with their number, or none at all.
    struct Sower(mpsc::Sender<(u32, Exit<u32>)>);

    impl Seed for Arc<Sower> {
        type Behaviour = Adder;

        fn grow(&mut self, id: u32) -> Adder {
            assert!(id < 100, "the number is too large");
            Adder(id)
        }

        fn ended(&self, id: u32, exit: Exit<u32>) -> BoxFuture<'static, ()> {
            let _ = self.0.try_send((id, exit));
            Box::pin(async {})
        }
    }

    #[test]
    fn a_waiting_cell_takes_two_small_blocks() {
        // With what tokio adds, 96 bytes, and what tells its states apart, this makes 128.
        const { assert!(size_of::<Live<Arc<Sower>>>() <= 24) }
        // With its two counters 64; mimalloc has no size between 48 and that.
        const { assert!(size_of::<Core<Ask>>() <= 48) }
    }

    #[tokio::test]
    async fn a_sown_cell_is_there_before_it_has_grown() {
        let (sender, mut ends) = mpsc::channel(8);
        let sower = Arc::new(Sower(sender));
        let cells: Vec<_> = [7, 8, 9, 100].map(|id| sow(id, sower.clone())).into();
        tokio::task::yield_now().await;
        assert_eq!(
            cells[0].observe(),
            CellView { id: 7, status: Status::Waiting, paused: false, mailbox: 0 }
        );
        cells[0].send(Ask::Add(5)).ok().unwrap();
        cells[0].send(Ask::Finish).ok().unwrap();
        assert_eq!(ends.recv().await, Some((7, Exit::Ended(12))));
        cells[1].cancel();
        assert_eq!(ends.recv().await, Some((8, Exit::Cancelled)));
        cells[2].retire();
        assert_eq!(ends.recv().await, Some((9, Exit::Cancelled)));
        cells[3].send(Ask::Add(1)).ok().unwrap();
        assert_eq!(ends.recv().await, Some((100, Exit::Panicked("the number is too large".into()))));
        assert_eq!(cells[3].status(), Status::Ended);
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
