//! A child: what it is, how it is started and treated.

use std::sync::Arc;

use super::super::control::{Address, Control, Failure, StartChild, starter};
use super::super::policy::Policy;
use super::super::pulse::Pulse;
use super::super::scale::Scale;
use super::super::tree::{Branch, Node, NodeKind, Observe};

/// One child: how it is started, restarted and stopped.
pub struct ChildSpec {
    pub(super) id: String,
    policy: Policy,
    pub(super) start: Start,
    pulse: Arc<Pulse>,
    observe: Option<Observe>,
    set_paused: Option<SetPaused>,
    branch: Option<Arc<dyn Branch>>,
    scale: Option<Arc<dyn Scale>>,
    pub(super) is_passing: bool,
}

/// Holds an actor's messages back, or lets them through again.
pub(crate) type SetPaused = Arc<dyn Fn(bool) + Send + Sync>;

pub(super) enum Start {
    Actor(StartChild),
    Supervisor(Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>),
}

impl ChildSpec {
    /// A permanent control actor; `make` builds the state of each incarnation, and `address`
    /// leads to whichever runs. On stopping it has five seconds for what it is doing.
    pub fn actor<A, F>(id: impl Into<String>, address: &Address<A::Message>, make: F) -> ChildSpec
    where
        A: Control,
        F: Fn() -> futures_util::future::BoxFuture<'static, Result<A, Failure>> + Send + Sync + 'static,
    {
        let (observed, paused) = (address.clone(), address.clone());
        ChildSpec {
            id: id.into(),
            policy: Policy::default(),
            start: Start::Actor(starter(address, make)),
            pulse: address.pulse(),
            observe: Some(Arc::new(move || {
                let address = observed.clone();
                Box::pin(async move { address.observe().await })
            })),
            set_paused: Some(Arc::new(move |is_paused| paused.set_paused(is_paused))),
            branch: None,
            scale: None,
            is_passing: false,
        }
    }

    /// A permanent supervisor below this one. `children` is asked anew at each start.
    pub fn supervisor<F>(id: impl Into<String>, policy: Policy, children: F) -> ChildSpec
    where
        F: Fn() -> Vec<ChildSpec> + Send + Sync + 'static,
    {
        ChildSpec {
            id: id.into(),
            policy: policy.of_supervisor(),
            start: Start::Supervisor(Arc::new(children)),
            pulse: Arc::default(),
            observe: None,
            set_paused: None,
            branch: None,
            scale: None,
            is_passing: false,
        }
    }

    /// The same with another policy.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> ChildSpec {
        ChildSpec { policy, ..self }
    }

    /// The same, and it goes from the tree once it is let go or removed.
    #[must_use]
    pub fn passing(self) -> ChildSpec {
        ChildSpec { is_passing: true, ..self }
    }

    /// The same with something below that it supervises itself, or orders that it carries out
    /// itself.
    #[must_use]
    pub fn with_branch(self, branch: Arc<dyn Branch>) -> ChildSpec {
        ChildSpec { branch: Some(branch), ..self }
    }

    /// The same, and it can be scaled.
    #[must_use]
    pub fn with_scale(self, scale: Arc<dyn Scale>) -> ChildSpec {
        ChildSpec { scale: Some(scale), ..self }
    }

    pub(super) fn node(&self, above: &str) -> Node {
        let kind = match self.start {
            Start::Actor(_) => NodeKind::Actor,
            Start::Supervisor(_) => NodeKind::Supervisor,
        };
        let mut node = Node::new(format!("{above}/{}", self.id), kind, self.policy);
        node.pulse = self.pulse.clone();
        node.observe.clone_from(&self.observe);
        node.set_paused.clone_from(&self.set_paused);
        node.branch.clone_from(&self.branch);
        node.scale.clone_from(&self.scale);
        node
    }
}
