//! Groups: temporary actors with a small bounded mailbox, thousands at a time. The bound is the
//! back-pressure between half a million agents and what is behind them.

use std::fmt;
use std::future::Future;

use futures_util::future::BoxFuture;
use kameo::actor::{ActorRef, PreparedActor, WeakActorRef};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};

use super::control::Down;

/// What a group actor does.
pub trait Group: Send + Sync + 'static {
    /// What it is sent.
    type Message: Send + 'static;

    /// Handles one message. A panic ends the group.
    fn handle(&mut self, message: Self::Message) -> impl Future<Output = Flow> + Send;
}

/// Whether a group goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It waits for the next message.
    Continue,
    /// It ends.
    Stop,
}

/// How a group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupExit {
    /// By itself.
    Stopped,
    /// It panicked or was killed, and this was said.
    Crashed(String),
}

struct Host<G: Group> {
    group: G,
}

impl<G: Group> kameo::Actor for Host<G> {
    type Args = G;
    type Error = Infallible;

    async fn on_start(group: G, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Host { group })
    }
}

impl<G: Group> Message<Deliver<G>> for Host<G> {
    type Reply = ();

    async fn handle(&mut self, message: Deliver<G>, context: &mut Context<Self, ()>) {
        if self.group.handle(message.0).await == Flow::Stop {
            context.stop();
        }
    }
}

/// A distinct message type per group, whatever its payload is.
struct Deliver<G: Group>(G::Message);

/// The address of a group, for its members: it does not keep the group alive.
pub struct GroupRef<G: Group> {
    actor: WeakActorRef<Host<G>>,
}

impl<G: Group> Clone for GroupRef<G> {
    fn clone(&self) -> Self {
        GroupRef { actor: self.actor.clone() }
    }
}

impl<G: Group> fmt::Debug for GroupRef<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupRef")
    }
}

impl<G: Group> GroupRef<G> {
    /// Sends, waiting while the mailbox is full.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn send(&self, message: G::Message) -> Result<(), Down> {
        let actor = self.actor.upgrade().ok_or(Down)?;
        actor.tell(Deliver::<G>(message)).send().await.map_err(|_| Down)
    }
}

/// The owner's hold on a group: dropping it ends the group at once, in the middle of a message if
/// need be.
pub struct GroupHandle<G: Group> {
    actor: ActorRef<Host<G>>,
}

impl<G: Group> fmt::Debug for GroupHandle<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupHandle")
    }
}

impl<G: Group> GroupHandle<G> {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> GroupRef<G> {
        GroupRef { actor: self.actor.downgrade() }
    }
}

impl<G: Group> Drop for GroupHandle<G> {
    fn drop(&mut self) {
        self.actor.kill();
    }
}

/// Starts a group with a mailbox of `capacity` messages. `ended` hears how it ended.
pub fn spawn<G: Group>(
    group: G,
    capacity: usize,
    ended: impl FnOnce(GroupExit) -> BoxFuture<'static, ()> + Send + 'static,
) -> GroupHandle<G> {
    let prepared = PreparedActor::<Host<G>>::new(mailbox::bounded(capacity));
    let handle = GroupHandle { actor: prepared.actor_ref().clone() };
    super::spawn(async move {
        let exit = match prepared.run(group).await {
            Ok((_, kameo::error::ActorStopReason::Normal)) => GroupExit::Stopped,
            Ok((_, reason)) => GroupExit::Crashed(reason.to_string()),
            Err(panic) => GroupExit::Crashed(panic.to_string()),
        };
        ended(exit).await;
    });
    handle
}
