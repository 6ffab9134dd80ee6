//! The house: the tree that all jobs of a process share, and the way to it.

pub mod nodes;

use std::sync::Arc;

use tokio::sync::watch;

use crate::gates::book::{Alert, Scope};
use crate::gates::budget::{BudgetGate, Cap};
use crate::gates::detect::Detector;
use crate::gates::privacy::PrivacyGate;
use crate::gates::rate::RateGate;
use crate::guard::{Guard, GuardParts};
use crate::kernel::control::{Down, Failure};
use crate::kernel::policy::Policy;
use crate::kernel::supervisor::{ChildSpec, Root, StopReport};
use crate::kernel::tree::{Supervision, Tree};
use crate::model::ProviderSpec;
use crate::ports::{Audit, Ledger, Provider, Random, WallClock};
use crate::swarm::{HeedOfJobs, Jobs, LaneHandle, Lanes};
use crate::tally::Tally;
use crate::watch::Watch;

/// Where the jobs are.
pub(crate) const SWARM: &str = "/empire/swarm";

/// What a house is made of.
pub struct HouseParts {
    /// Who can be called.
    pub providers: Vec<(Arc<ProviderSpec>, Arc<dyn Provider>)>,
    /// The durable ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Caps that hold from the start.
    pub caps: Vec<Cap>,
    /// When to tell that a cap is used up, in percent of it.
    pub alerts: Vec<u8>,
    /// Privacy actors.
    pub privacy_workers: usize,
    /// Where the privacy gate's decisions are kept.
    pub audit: Arc<dyn Audit>,
    /// What the privacy gate looks with at calls of no job.
    pub detector: Arc<Detector>,
    /// Who watches the machine.
    pub guard: GuardParts,
    /// The time that the gates go by.
    pub clock: Arc<dyn WallClock>,
    /// How the tree is supervised.
    pub supervision: Supervision,
    /// What counts over all jobs.
    pub tally: Arc<Tally>,
}

/// What jobs need of the house.
pub(crate) struct Shared {
    pub(crate) privacy: PrivacyGate,
    pub(crate) budget: BudgetGate,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) guard: Guard,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) supervision: Supervision,
    pub(crate) tally: Arc<Tally>,
    tree: Tree,
}

impl Shared {
    /// Sets a cap before any call is funded under it.
    pub(crate) async fn set_cap(&self, cap: Cap) -> Result<(), Failure> {
        self.budget.set_cap(cap).map_err(|down| Failure(format!("the budget gate: {down}")))?;
        // Messages are handled in order: behind this answer the cap holds.
        self.budget.accounts().await.map(drop).map_err(|down| Failure(format!("the budget gate: {down}")))
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Ends a job's actor, without waiting for it.
    pub(crate) fn remove_job(&self, name: String) {
        self.tree.remove(SWARM, name);
    }
}

/// The tree that all jobs share. Dropping it ends everything at once.
pub struct House {
    root: Root,
    shared: Arc<Shared>,
}

impl House {
    /// Starts the guard, the gates and the lanes.
    ///
    /// # Errors
    /// An actor did not start.
    pub async fn start(parts: HouseParts) -> Result<House, Failure> {
        let (clock, random) = (parts.clock, parts.supervision.random.clone());
        let budget = BudgetGate::new(parts.ledger.clone(), clock.clone());
        let privacy = PrivacyGate::new(parts.privacy_workers, parts.detector, parts.audit, clock.clone());
        let GuardParts { sampler, settings, checkpoint } = parts.guard;
        let guard = Guard::new(sampler, settings);
        budget.alert_at(parts.alerts);
        let lanes: Lanes = parts
            .providers
            .into_iter()
            .map(|(spec, provider)| {
                let (ledger, clock, random) = (parts.ledger.clone(), clock.clone(), random.clone());
                let rate = RateGate::new(spec.clone(), ledger, clock, random, Some(guard.subscribe()));
                (spec.id.clone(), LaneHandle { spec, rate, provider })
            })
            .collect();
        let (lanes, jobs) = (Arc::new(lanes), Arc::new(Jobs::default()));
        let caps = all_caps(&lanes, parts.caps);
        let heed = Arc::new(HeedOfJobs::new(jobs.clone(), lanes.clone(), checkpoint));
        let children = vec![guard.child(heed), gates(&privacy, &budget, &lanes, caps), swarm(&jobs)];
        let root = Root::start(Policy::default(), children, parts.supervision.clone()).await?;
        let shared = Shared {
            privacy,
            budget,
            lanes,
            guard,
            jobs,
            clock,
            random,
            supervision: parts.supervision,
            tally: parts.tally,
            tree: root.tree(),
        };
        Ok(House { root, shared: Arc::new(shared) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) async fn add_job(&self, child: ChildSpec) -> Result<(), Failure> {
        self.root.add(SWARM, child).await
    }

    /// Says so once the root has given up: an actor failed more often than its policy allows.
    #[must_use]
    pub fn gave_up(&self) -> watch::Receiver<bool> {
        self.root.gave_up()
    }

    /// The way to look at the tree and to steer it.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.root.tree()
    }

    /// Who watches the machine.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.shared.guard
    }

    /// The way to read how it stands.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.shared.clone())
    }

    /// How many messages wait in the deepest mailbox of a control actor.
    #[must_use]
    pub fn deepest_mailbox(&self) -> usize {
        self.tree().deepest_mailbox()
    }

    /// Sets a cap from now on.
    ///
    /// # Errors
    /// The budget gate is being restarted.
    pub fn set_cap(&self, cap: Cap) -> Result<(), Down> {
        self.shared.budget.set_cap(cap)
    }

    /// Thresholds of caps that were passed since this was asked last.
    #[must_use]
    pub fn take_alerts(&self) -> Vec<Alert> {
        self.shared.budget.take_alerts()
    }

    /// Stops the tree in reverse order of its start.
    pub async fn stop(self) -> StopReport {
        self.root.stop().await
    }
}

/// The providers' own caps, and after them those that were given, which override them.
fn all_caps(lanes: &Lanes, given: Vec<Cap>) -> Vec<Cap> {
    let own = |lane: &LaneHandle| {
        let scope = Scope::Provider(lane.spec.id.clone());
        lane.spec.cap.map(|cap| Cap { scope, cap: Some(cap) })
    };
    lanes.values().filter_map(own).chain(given).collect()
}

fn gates(privacy: &PrivacyGate, budget: &BudgetGate, lanes: &Arc<Lanes>, caps: Vec<Cap>) -> ChildSpec {
    let (privacy, budget, lanes) = (privacy.clone(), budget.clone(), lanes.clone());
    ChildSpec::supervisor("gates", nodes::gates(), move || {
        let mut children = privacy.children();
        children.push(budget.child(caps.clone()));
        let mut lanes: Vec<&LaneHandle> = lanes.values().collect();
        lanes.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        let lane = |lane: &LaneHandle| lane.rate.child().with_policy(nodes::lane());
        children.extend(lanes.into_iter().map(lane));
        children
    })
}

fn swarm(jobs: &Arc<Jobs>) -> ChildSpec {
    let jobs = jobs.clone();
    ChildSpec::supervisor("swarm", Policy::default(), move || {
        jobs.all().iter().map(|running| running.child()).collect()
    })
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;
    use crate::kernel::tree::ROOT;

    #[test]
    fn the_jobs_are_below_the_root() {
        assert_eq!(SWARM, format!("{ROOT}/swarm"));
    }
}
