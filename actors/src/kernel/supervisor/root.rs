//! The root of a tree, and what looks over it.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};

use super::super::control::{Down, Failure};
use super::super::policy::Policy;
use super::super::tree::{Node, NodeKind, NodeState, NodeView, ROOT, Supervision, Tree};
use super::{Arguments, ChildSpec, Command, StopReport, Supervisor};

/// How often the tree is looked over for actors that are stuck.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The root of a tree.
#[derive(Debug)]
pub struct Root {
    actor: ActorRef<Command>,
    gave_up: watch::Receiver<bool>,
    tree: Tree,
    /// The watch for stuck actors ends with this.
    _looking: oneshot::Sender<()>,
}

impl Root {
    /// Starts a tree.
    ///
    /// # Errors
    /// A child did not start; those before it have been stopped again.
    pub async fn start(
        policy: Policy,
        children: Vec<ChildSpec>,
        supervision: Supervision,
    ) -> Result<Root, Failure> {
        let node = Arc::new(Node::new(ROOT.to_owned(), NodeKind::Supervisor, policy));
        let tree = Tree { root: node.clone(), supervision: supervision.clone() };
        let arguments = Arguments { node: node.clone(), children, supervision };
        let spawned = Actor::spawn(None, Supervisor, arguments).await;
        let (actor, task) = spawned.map_err(|error| Failure(error.to_string()))?;
        node.live.lock().incarnation = 1;
        node.is(NodeState::Running);
        let (looking, over) = oneshot::channel();
        super::super::spawn(look_for_stuck(tree.clone(), over));
        let (tell, gave_up) = watch::channel(false);
        super::super::spawn(async move {
            // However it ended, it is over.
            let _ = task.await;
            tell.send_replace(true);
        });
        Ok(Root { actor, gave_up, tree, _looking: looking })
    }

    /// The way to look at the tree and to steer it.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// The whole tree as it is now.
    #[must_use]
    pub fn view(&self) -> NodeView {
        self.tree.whole()
    }

    /// Starts one more child of the supervisor at `path`, after all others.
    ///
    /// # Errors
    /// There is no such supervisor, it is down, it has such a child already, or the child did not
    /// start.
    pub async fn add(&self, path: &str, child: ChildSpec) -> Result<(), Failure> {
        self.tree.add(path, child).await
    }

    /// Says so once the root has given up, or was stopped.
    #[must_use]
    pub fn gave_up(&self) -> watch::Receiver<bool> {
        self.gave_up.clone()
    }

    /// Resolves when the root has given up, or was stopped.
    pub async fn failed(&self) {
        // Who tells it lives as long as the root.
        let _ = self.gave_up().wait_for(|gave_up| *gave_up).await;
    }

    /// Stops the tree in reverse order of its start.
    pub async fn stop(self) -> StopReport {
        let (reply, answer) = oneshot::channel();
        if self.actor.send_message(Command::Stop(reply)).is_err() {
            return StopReport::default();
        }
        let report = answer.await.unwrap_or_default();
        self.failed().await;
        report
    }
}

impl Drop for Root {
    /// A tree that nobody holds any more ends, without waiting for its children's deadlines.
    fn drop(&mut self) {
        self.actor.kill();
    }
}

/// Looks the tree over for actors that are busy with one message for too long, until `over`.
async fn look_for_stuck(tree: Tree, mut over: oneshot::Receiver<()>) {
    while tokio::time::timeout(LOOK_EVERY, &mut over).await.is_err() {
        tree.each(&mut |node| {
            let Some(busy) = node.pulse.busy_for() else { return };
            if node.state() != NodeState::Running
                || busy <= tree.supervision.effective(node).policy.stuck_after
            {
                return;
            }
            let (supervisor, incarnation) = {
                let live = node.live.lock();
                (live.supervisor.clone(), live.incarnation)
            };
            if let Some(supervisor) = supervisor {
                let child = node.id().to_owned();
                // One that is down is being restarted, with all below it.
                let _ = supervisor.send_message(Command::Stuck { child, incarnation, busy });
            }
        });
    }
}

impl Tree {
    /// Stops a passing child of the supervisor at `path`, without waiting for it.
    pub(crate) fn remove(&self, path: &str, child: String) {
        if let Some(supervisor) = self.supervisor_at(path) {
            // One that is down starts without it.
            let _ = supervisor.send_message(Command::Remove(child));
        }
    }

    /// Starts one more child of the supervisor at `path`.
    async fn add(&self, path: &str, child: ChildSpec) -> Result<(), Failure> {
        let supervisor =
            self.supervisor_at(path).ok_or_else(|| Failure(format!("there is no supervisor at {path}")))?;
        let (reply, answer) = oneshot::channel();
        let sent = supervisor.send_message(Command::Add(Box::new(child), reply));
        sent.map_err(|_| Failure(Down.to_string()))?;
        answer.await.map_err(|_| Failure(Down.to_string()))?
    }
}
