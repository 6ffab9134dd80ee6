//! The four kinds of actor: each keeps a number, says it when asked, and takes a message.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use empire_actors::kernel::cell::{self, Behaviour, CellRef, Exit, Owner, Step};
use futures_util::future::BoxFuture;
use kameo::actor::Spawn as _;
use tokio::sync::{Notify, mpsc, oneshot};

/// Counts down what was handled.
#[derive(Default)]
pub(crate) struct Countdown {
    left: AtomicU32,
    over: Notify,
}

impl Countdown {
    /// Before so many messages are sent.
    fn expect(&self, messages: u32) {
        self.left.store(messages, Ordering::Relaxed);
    }

    fn one(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.notify_one();
        }
    }
}

/// What each actor keeps.
pub(crate) struct Own {
    number: u64,
    handled: Arc<Countdown>,
}

/// Many idle actors of one kind, by their addresses.
pub(crate) struct Idle<A> {
    actors: Vec<A>,
    handled: Arc<Countdown>,
}

/// One kind of actor.
pub(crate) trait Kind: 'static {
    /// What it is called in tables.
    const NAME: &'static str;
    /// The address of one.
    type Address: Send + Sync + 'static;
    /// What all need of each other's surroundings.
    type Shared: Default + Send;

    /// Spawns one; it need not have run yet.
    fn one(shared: &Self::Shared, number: u32, own: Own) -> impl Future<Output = Self::Address> + Send;

    /// Asks one for its number.
    fn ask(actor: &Self::Address) -> impl Future<Output = u64> + Send;

    /// Sends one a message.
    fn tell(actor: &Self::Address) -> impl Future<Output = ()> + Send;

    /// Tells one to stop once it has handled what it has.
    fn end(actor: Self::Address) -> impl Future<Output = ()> + Send;
}

/// Spawns so many.
pub(crate) async fn spawn<K: Kind>(count: u32) -> Idle<K::Address> {
    let (shared, handled) = (K::Shared::default(), Arc::<Countdown>::default());
    let mut actors = Vec::with_capacity(count as usize);
    for number in 0..count {
        let own = Own { number: u64::from(number), handled: handled.clone() };
        actors.push(K::one(&shared, number, own).await);
    }
    Idle { actors, handled }
}

/// Asks each for its number, one after the other.
pub(crate) async fn ask<K: Kind>(idle: Arc<Idle<K::Address>>) {
    let mut sum = 0;
    for actor in &idle.actors {
        sum += K::ask(actor).await;
    }
    let count = idle.actors.len() as u64;
    assert_eq!(sum, count * (count - 1) / 2, "every one has answered");
}

/// Sends each a message, and waits until all have handled it.
pub(crate) async fn fan_out<K: Kind>(idle: Arc<Idle<K::Address>>) {
    idle.handled.expect(u32::try_from(idle.actors.len()).unwrap_or(u32::MAX));
    for actor in &idle.actors {
        K::tell(actor).await;
    }
    idle.handled.over.notified().await;
}

/// Tells each to stop. They may still be ending.
pub(crate) async fn stop<K: Kind>(idle: Idle<K::Address>) {
    for actor in idle.actors {
        K::end(actor).await;
    }
}

/// What the enum-minded kinds are sent.
pub(crate) enum Note {
    Ask(oneshot::Sender<u64>),
    Tell,
}

impl Own {
    fn handle(&self, note: Note) {
        match note {
            // Whoever asked waits.
            Note::Ask(reply) => drop(reply.send(self.number)),
            Note::Tell => self.handled.one(),
        }
    }
}

/// Ours.
pub(crate) struct Cells;

impl Behaviour for Own {
    type Message = Note;
    type Report = ();

    async fn handle(&mut self, note: Note) -> Step<()> {
        Own::handle(self, note);
        Step::Wait
    }
}

/// Hears of every end, as a cohort does.
#[derive(Default)]
pub(crate) struct Members(AtomicU32);

impl Owner<()> for Members {
    fn ended(&self, _: u32, _: Exit<()>) -> BoxFuture<'static, ()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(ready(()))
    }
}

impl Kind for Cells {
    const NAME: &'static str = "cells";
    type Address = CellRef<Note>;
    type Shared = Arc<Members>;

    async fn one(shared: &Arc<Members>, number: u32, own: Own) -> CellRef<Note> {
        cell::spawn(number, own, shared.clone())
    }

    async fn ask(actor: &CellRef<Note>) -> u64 {
        let (reply, answer) = oneshot::channel();
        let _ = actor.send(Note::Ask(reply));
        answer.await.expect("it answers")
    }

    async fn tell(actor: &CellRef<Note>) {
        assert!(actor.send(Note::Tell).is_ok());
    }

    async fn end(actor: CellRef<Note>) {
        actor.retire();
    }
}

/// ractor's, without a name and a supervisor.
pub(crate) struct Ractor;

/// What ractor calls an actor: its logic, apart from its state.
struct Logic;

pub(crate) enum Ask {
    Ask(ractor::RpcReplyPort<u64>),
    Tell,
}

impl ractor::Actor for Logic {
    type Msg = Ask;
    type State = Own;
    type Arguments = Own;

    async fn pre_start(&self, _: ractor::ActorRef<Ask>, own: Own) -> Result<Own, ractor::ActorProcessingErr> {
        Ok(own)
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<Ask>,
        ask: Ask,
        own: &mut Own,
    ) -> Result<(), ractor::ActorProcessingErr> {
        match ask {
            Ask::Ask(reply) => drop(reply.send(own.number)),
            Ask::Tell => own.handled.one(),
        }
        Ok(())
    }
}

impl Kind for Ractor {
    const NAME: &'static str = "ractor";
    type Address = ractor::ActorRef<Ask>;
    type Shared = ();

    async fn one((): &(), _: u32, own: Own) -> ractor::ActorRef<Ask> {
        ractor::Actor::spawn(None, Logic, own).await.expect("it starts").0
    }

    async fn ask(actor: &ractor::ActorRef<Ask>) -> u64 {
        actor.call(Ask::Ask, None).await.expect("it is there").expect("it answers")
    }

    async fn tell(actor: &ractor::ActorRef<Ask>) {
        actor.send_message(Ask::Tell).expect("it is there");
    }

    async fn end(actor: ractor::ActorRef<Ask>) {
        actor.stop(None);
    }
}

/// kameo's, with its usual mailbox of 64.
pub(crate) struct Kameo;

impl kameo::Actor for Own {
    type Args = Own;
    type Error = Infallible;

    async fn on_start(own: Own, _: kameo::actor::ActorRef<Own>) -> Result<Own, Infallible> {
        Ok(own)
    }
}

struct AskNumber;

impl kameo::message::Message<AskNumber> for Own {
    type Reply = u64;

    async fn handle(&mut self, _: AskNumber, _: &mut kameo::message::Context<Own, u64>) -> u64 {
        self.number
    }
}

struct Tell;

impl kameo::message::Message<Tell> for Own {
    type Reply = ();

    async fn handle(&mut self, _: Tell, _: &mut kameo::message::Context<Own, ()>) {
        self.handled.one();
    }
}

impl Kind for Kameo {
    const NAME: &'static str = "kameo";
    type Address = kameo::actor::ActorRef<Own>;
    type Shared = ();

    async fn one((): &(), _: u32, own: Own) -> kameo::actor::ActorRef<Own> {
        Own::spawn(own)
    }

    async fn ask(actor: &kameo::actor::ActorRef<Own>) -> u64 {
        actor.ask(AskNumber).await.expect("it answers")
    }

    async fn tell(actor: &kameo::actor::ActorRef<Own>) {
        actor.tell(Tell).await.expect("it is there");
    }

    async fn end(actor: kameo::actor::ActorRef<Own>) {
        actor.stop_gracefully().await.expect("it is there");
    }
}

/// What tokio offers by itself: a task that reads a channel.
pub(crate) struct Tasks;

impl Kind for Tasks {
    const NAME: &'static str = "tokio tasks";
    type Address = mpsc::UnboundedSender<Note>;
    type Shared = ();

    #[allow(clippy::disallowed_methods, reason = "the yardstick is what tokio offers by itself")]
    async fn one((): &(), _: u32, own: Own) -> mpsc::UnboundedSender<Note> {
        let (mailbox, mut notes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(note) = notes.recv().await {
                own.handle(note);
            }
        });
        mailbox
    }

    async fn ask(actor: &mpsc::UnboundedSender<Note>) -> u64 {
        let (reply, answer) = oneshot::channel();
        let _ = actor.send(Note::Ask(reply));
        answer.await.expect("it answers")
    }

    async fn tell(actor: &mpsc::UnboundedSender<Note>) {
        assert!(actor.send(Note::Tell).is_ok());
    }

    async fn end(actor: mpsc::UnboundedSender<Note>) {
        drop(actor);
    }
}
