//! How a supervisor carries out the orders of people.

use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef};

use super::super::policy::ChildExit;
use super::super::tree::{NodeState, Order, OrderRefused};
use super::spec::Start;
use super::{Child, Command, Ending, OrderReply, State, later};

impl State {
    pub(super) async fn order(
        &mut self,
        own: &ActorRef<Command>,
        id: &str,
        order: Order,
        by: &str,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let Some(index) = self.index_of_id(id).filter(|_| !self.stopping) else {
            let _ = reply.send(Err(OrderRefused::Down { path: format!("{}/{id}", self.node.path) }));
            return Ok(());
        };
        let (path, state) = (self.children[index].node.path.clone(), self.children[index].node.state());
        let refuse = |why: &str| Err(OrderRefused::not_now(&path, why));
        let is_down = self.children[index].cell.is_none();
        let outcome = match order {
            Order::Restart { drain_ms: None } => {
                self.children[index].give_up_drain("it was restarted while it drained");
                // What it works on is not waited for.
                if let Some(cell) = self.children[index].cell.take() {
                    let _ = cell.kill_and_wait(Some(Duration::from_secs(1))).await;
                }
                self.restart(own, index).await?;
                let incarnation = self.children.get(index).map_or(0, Child::incarnation);
                Ok(format!("restarted; incarnation {incarnation} runs"))
            }
            Order::Restart { .. } | Order::Drain { .. } if is_down => {
                refuse(&format!("it is {}: nothing waits there that could be drained", state.word()))
            }
            Order::Restart { drain_ms: Some(ms) } => return self.drain(own, index, ms, true, reply),
            Order::Drain { within_ms } => return self.drain(own, index, within_ms, false, reply),
            Order::Quarantine => {
                self.children[index].due = false;
                self.stop(index..index + 1).await;
                self.children[index].node.is(NodeState::Quarantined);
                Ok("quarantined until `empire release`".to_owned())
            }
            Order::Release if self.children[index].is_held() => {
                self.children[index].due = true;
                self.start_or_decide(own, index..index + 1).await?;
                Ok(format!("started; incarnation {} runs", self.children[index].incarnation()))
            }
            Order::Release => refuse(&format!("it is {}, so there is nothing to release", state.word())),
            Order::Kill | Order::Crash if is_down => refuse(&format!("it is {} already", state.word())),
            Order::Kill => {
                self.kill(index, ChildExit::Killed(by.to_owned()));
                Ok("killed; its policy says what follows".to_owned())
            }
            Order::Crash => {
                self.kill(index, ChildExit::Failed(format!("a drill by {by}")));
                Ok("killed as if it had failed; its policy says what follows".to_owned())
            }
            Order::Pause | Order::Resume | Order::Scale { .. } => {
                refuse("it has nothing that could be scaled: jobs, lanes and privacy workers have")
            }
        };
        let _ = reply.send(outcome);
        Ok(())
    }

    fn drain(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        within_ms: u64,
        restarts: bool,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let child = &mut self.children[index];
        let path = child.node.path.clone();
        let refused = match (&child.spec.start, &child.ending, &child.cell) {
            (Start::Supervisor(_), ..) => Some("a supervisor has nothing to drain: drain what is below it"),
            (_, Some(_), _) => Some("it is ending already"),
            (.., None) => Some("it is down"),
            (.., Some(cell)) => cell.drain().err().map(|_| "it is ending already"),
        };
        if let Some(why) = refused {
            let _ = reply.send(Err(OrderRefused::not_now(&path, why)));
            return Ok(());
        }
        child.ending = Some(Ending::Drain { restarts, cut_off: None, reply });
        child.node.is(NodeState::Draining);
        let over = Command::DrainOver { child: child.spec.id.clone(), incarnation: child.incarnation() };
        later(own, Duration::from_millis(within_ms), over);
        Ok(())
    }

    pub(super) async fn drained(
        &mut self,
        own: &ActorRef<Command>,
        index: usize,
        restarts: bool,
        cut_off: Option<usize>,
        reply: OrderReply,
    ) -> Result<(), ActorProcessingErr> {
        let how = match cut_off {
            None => "drained".to_owned(),
            Some(lost) => format!("its time was over: killed with {lost} of its messages unhandled"),
        };
        if !restarts {
            self.children[index].node.is(NodeState::Stopped);
            let _ = reply.send(Ok(format!("{how}; it stays down until `empire release`")));
            return Ok(());
        }
        let started = self.restart(own, index).await;
        let incarnation = self.children.get(index).map_or(0, Child::incarnation);
        let _ = reply.send(Ok(format!("{how}; incarnation {incarnation} runs")));
        started
    }

    /// Restarts the child at `index` and those that share its fate, which is no failure.
    async fn restart(&mut self, own: &ActorRef<Command>, index: usize) -> Result<(), ActorProcessingErr> {
        let strategy = self.policy().strategy;
        let range = self.take_down(index, strategy).await;
        self.start_or_decide(own, range).await
    }
}
