//! A house as it stands, read from memory: no actor is asked, so that whoever measures neither
//! waits for a busy one nor keeps it busy.

use std::sync::Arc;

use crate::gates::book::{Account, Scope};
use crate::gates::calendar::Day;
use crate::gates::rate::LaneReading;
use crate::guard::Guard;
use crate::house::Shared;
use crate::kernel::tree::{NodeState, Tree};
use crate::model::ProviderId;
use crate::ports::UnixMillis;

/// Looks at a house. Cheap to clone; does not keep the tree running.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// The jobs that run, added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobsReading {
    /// Jobs.
    pub running: u64,
    /// Agents that wait for their turn.
    pub waiting: u64,
    /// Agents that have their turn.
    pub awake: u64,
    /// Agents that ended with an answer, of the jobs that run.
    pub done: u64,
    /// Agents that ended without one.
    pub dead: u64,
    /// Agents whose items stay pending.
    pub parked: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Cohorts by state.
    pub cohorts: Vec<(NodeState, u64)>,
    /// The share of its cap that is spent by the job that has spent most of its own (0 to 1); none
    /// without capped jobs.
    pub most_spent: Option<f64>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Watch {
        Watch { shared }
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.shared.tree().clone()
    }

    /// Who watches the machine.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.shared.guard
    }

    /// How every provider's lane stands, by the provider's name.
    #[must_use]
    pub fn lanes(&self) -> Vec<(ProviderId, LaneReading)> {
        let lanes = self.shared.lanes.iter();
        let mut readings: Vec<_> = lanes.map(|(id, lane)| (id.clone(), lane.rate.reading())).collect();
        readings.sort_by(|(a, _), (b, _)| a.cmp(b));
        readings
    }

    /// The accounts of what everybody shares: the total, this month, this day, every provider.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Scope, Account)> {
        let today = Day::of(self.now());
        let mut scopes = vec![Scope::Total, Scope::Month(today.month()), Scope::Day(today)];
        let mut providers: Vec<_> = self.shared.lanes.keys().cloned().collect();
        providers.sort();
        scopes.extend(providers.into_iter().map(Scope::Provider));
        scopes.into_iter().map(|scope| (scope.clone(), self.shared.budget.account(&scope))).collect()
    }

    /// Every account, those of jobs and roles as well.
    #[must_use]
    pub fn every_account(&self) -> Vec<(Scope, Account)> {
        self.shared.budget.accounts_now()
    }

    /// The time that the house goes by.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.shared.clock.now()
    }

    /// The jobs that run.
    #[must_use]
    pub fn jobs(&self) -> JobsReading {
        let mut sum = JobsReading::default();
        for running in self.shared.jobs.all() {
            let (meters, (_, awake)) = (running.context.meters.read(), running.context.turnstile.width());
            let awake = awake as u64;
            sum.running += 1;
            sum.waiting += meters.agents.saturating_sub(awake);
            sum.awake += awake;
            sum.done += meters.done;
            sum.dead += meters.dead;
            sum.parked += meters.parked;
            sum.in_flight += meters.in_flight;
            for state in running.memory.cohort_states() {
                match sum.cohorts.iter_mut().find(|(known, _)| *known == state) {
                    Some((_, count)) => *count += 1,
                    None => sum.cohorts.push((state, 1)),
                }
            }
            let account = self.shared.budget.account(&Scope::Job(running.context.order.id.clone()));
            if let Some(cap) = account.cap.filter(|cap| cap.0 > 0) {
                let share = account.spent.0 as f64 / cap.0 as f64;
                sum.most_spent = Some(sum.most_spent.unwrap_or_default().max(share));
            }
        }
        sum
    }
}
