//! Control actors: few, named, long-lived, each a child of a [`supervisor`](super::supervisor).
//!
//! An actor is reached through its [`Address`], which outlives restarts. ractor's mailboxes are
//! unbounded, so senders must admit before they send; the address shows the depth.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde::Serialize;
use tokio::sync::oneshot;

use super::pulse::{Pulse, Queued};

/// Why an actor failed; its supervisor decides what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What a control actor does.
pub trait Control: Send + 'static {
    /// What it is sent.
    type Message: Send + 'static;
    /// What it shows of itself.
    type Observed: Serialize + Send + 'static;

    /// Handles one message. An error or a panic ends this incarnation.
    fn handle(&mut self, message: Self::Message) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What it is sent by itself as soon as it has started.
    fn first_message(&self) -> Option<Self::Message> {
        None
    }

    /// A pause is over, and what was held back is handled.
    fn resumed(&mut self) {}

    /// What it shows of itself now.
    fn observe(&self) -> Self::Observed;
}

/// The actor did not take or did not answer a message: it is being restarted, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor is down")]
pub struct Down;

/// A message that is sent later, unless this is dropped before.
#[derive(Debug)]
#[must_use = "a dropped timer sends nothing"]
pub(crate) struct Timer(
    #[expect(dead_code, reason = "only that it is dropped says something")] oneshot::Sender<()>,
);

pub(crate) enum Envelope<M> {
    Work(M, Queued),
    Observe(oneshot::Sender<serde_json::Value>),
    /// What was held back may be handled.
    Resumed,
}

struct Slot<M> {
    path: String,
    current: RwLock<Option<ActorRef<Envelope<M>>>>,
    pulse: Arc<Pulse>,
}

/// Where a control actor is reached, whichever incarnation runs.
pub struct Address<M> {
    slot: Arc<Slot<M>>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Address { slot: self.slot.clone() }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.slot.path)
    }
}

impl<M: Send + 'static> Address<M> {
    /// An address at which no actor is reached yet.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        let slot = Slot { path: path.into(), current: RwLock::new(None), pulse: Arc::default() };
        Address { slot: Arc::new(slot) }
    }

    /// Where it is in the tree.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.slot.path
    }

    /// Messages sent and not handled yet.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.slot.pulse.depth()
    }

    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        self.slot.pulse.clone()
    }

    /// Whether it holds its messages back.
    pub(crate) fn is_paused(&self) -> bool {
        self.slot.pulse.is_paused()
    }

    /// Holds its messages back, or lets them through again. An actor that is restarted stays paused.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.slot.pulse.set_paused(paused);
        if let (false, Some(actor)) = (paused, self.slot.current.read().as_ref()) {
            // One that is down holds nothing back.
            let _ = actor.send_message(Envelope::Resumed);
        }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// The actor is down.
    pub fn send(&self, message: M) -> Result<(), Down> {
        let current = self.slot.current.read();
        let actor = current.as_ref().ok_or(Down)?;
        let queued = self.slot.pulse.queued();
        actor.send_message(Envelope::Work(message, queued)).map_err(|_| {
            self.slot.pulse.one_less();
            Down
        })
    }

    /// Sends a message that carries a reply port, and waits for the reply.
    ///
    /// # Errors
    /// The actor is down, or ended before it replied.
    pub async fn ask<R>(&self, message: impl FnOnce(oneshot::Sender<R>) -> M) -> Result<R, Down> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply))?;
        answer.await.map_err(|_| Down)
    }

    /// Sends `message` after `delay`, unless the actor is down then.
    pub fn send_after(&self, delay: Duration, message: M) {
        let address = self.clone();
        super::spawn(async move {
            tokio::time::sleep(delay).await;
            // Down: the next incarnation starts from its own state and needs no old timer.
            let _ = address.send(message);
        });
    }

    /// The same, unless the timer is dropped before.
    pub(crate) fn timer(&self, delay: Duration, message: M) -> Timer {
        let (timer, dropped) = oneshot::channel();
        let address = self.clone();
        super::spawn(async move {
            if tokio::time::timeout(delay, dropped).await.is_err() {
                let _ = address.send(message);
            }
        });
        Timer(timer)
    }

    /// What the actor shows of itself.
    ///
    /// # Errors
    /// The actor is down.
    pub async fn observe(&self) -> Result<serde_json::Value, Down> {
        let (reply, answer) = oneshot::channel();
        {
            let current = self.slot.current.read();
            let actor = current.as_ref().ok_or(Down)?;
            actor.send_message(Envelope::Observe(reply)).map_err(|_| Down)?;
        }
        answer.await.map_err(|_| Down)
    }
}

/// Makes a new incarnation of a child, linked to its supervisor.
pub(crate) type StartChild =
    Box<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, Failure>> + Send + Sync>;

/// How to start control actor `A` at `address`: `make` builds each incarnation's state.
pub(crate) fn starter<A, F>(address: &Address<A::Message>, make: F) -> StartChild
where
    A: Control,
    F: Fn() -> BoxFuture<'static, Result<A, Failure>> + Send + Sync + 'static,
{
    let address = address.clone();
    let make: Arc<MakeFn<A>> = Arc::new(make);
    Box::new(move |supervisor| {
        let (address, make) = (address.clone(), make.clone());
        Box::pin(async move {
            // What waited for the last incarnation is gone with it.
            address.slot.pulse.restart();
            let host = Host::<A> { address, marker: PhantomData };
            let (actor, _) = Actor::spawn_linked(None, host, make, supervisor)
                .await
                .map_err(|error| Failure(error.to_string()))?;
            Ok(actor.get_cell())
        })
    })
}

type MakeFn<A> = dyn Fn() -> BoxFuture<'static, Result<A, Failure>> + Send + Sync;

/// Runs a [`Control`] on ractor.
struct Host<A: Control> {
    address: Address<A::Message>,
    marker: PhantomData<fn() -> A>,
}

/// ractor wants its state to be `Sync`; only the actor's own task ever touches it.
struct Exclusive<A: Control>(parking_lot::Mutex<Option<Incarnation<A>>>);

struct Incarnation<A: Control> {
    actor: A,
    /// What came while it was paused.
    held_back: VecDeque<(A::Message, Queued)>,
}

impl<A: Control> Incarnation<A> {
    async fn work(&mut self, pulse: &Pulse, message: A::Message, queued: Queued) -> Result<(), Failure> {
        pulse.one_less();
        pulse.begin(Some(queued));
        let handled = self.actor.handle(message).await;
        pulse.end();
        handled
    }
}

impl<A: Control> Actor for Host<A> {
    type Msg = Envelope<A::Message>;
    type State = Exclusive<A>;
    type Arguments = Arc<MakeFn<A>>;

    async fn pre_start(
        &self,
        own: ActorRef<Self::Msg>,
        make: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let actor = make().await?;
        // Before the first message is handled: whoever it starts may answer at once.
        *self.address.slot.current.write() = Some(own.clone());
        if let Some(message) = actor.first_message() {
            own.send_message(Envelope::Work(message, self.address.slot.pulse.queued()))?;
        }
        Ok(Exclusive(parking_lot::Mutex::new(Some(Incarnation { actor, held_back: VecDeque::new() }))))
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(own) = state.0.get_mut() else { return Ok(()) };
        let pulse = &self.address.slot.pulse;
        match message {
            // What waits already comes first.
            Envelope::Work(message, queued) if pulse.is_paused() || !own.held_back.is_empty() => {
                own.held_back.push_back((message, queued));
            }
            Envelope::Work(message, queued) => own.work(pulse, message, queued).await?,
            Envelope::Resumed => {
                while !pulse.is_paused()
                    && let Some((message, queued)) = own.held_back.pop_front()
                {
                    own.work(pulse, message, queued).await?;
                }
                if !pulse.is_paused() {
                    own.actor.resumed();
                }
            }
            Envelope::Observe(reply) => {
                let seen = serde_json::to_value(own.actor.observe())?;
                let _ = reply.send(seen);
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.0.get_mut().take();
        Ok(())
    }

    /// Control actors have no children of their own.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        _: ractor::SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
