//! What a job is asked to do, and how it can end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::gates::budget::Terms;
use crate::gates::meter::Trip;
use crate::gates::room::Class;
use crate::guard::pressure::LowDisk;
use crate::level::Level;
use crate::model::{Model, ProviderId};
use crate::ports::{ItemKey, REDUCE_ITEM, StoreError};
use crate::route::rules::CallRules;

/// Agents that one cohort supervises at most.
pub const COHORT_SIZE: u32 = 1_024;

/// A cohort's share of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CohortPlan {
    /// Its number, from 0.
    pub number: u32,
    /// Its first item.
    pub first: u32,
    /// How many items it has; at most [`COHORT_SIZE`].
    pub count: u32,
}

/// Stops a job early when too many of its first agents die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FailureRule {
    /// This many dead …
    pub failed: u32,
    /// … among this many first finished agents.
    pub of_first: u32,
}

/// An item's number as people count, from 1; calls of the reduce are for none.
pub(crate) fn item_number(item: u32) -> Option<u64> {
    (item != REDUCE_ITEM).then(|| u64::from(item) + 1)
}

/// Everything a job needs to know to run.
#[derive(Debug, Clone)]
pub struct JobOrder {
    /// The job's id.
    pub id: Arc<str>,
    /// Its declared level.
    pub level: Level,
    /// The highest level that any of its rows carries, or its own.
    pub highest_level: Level,
    /// The models in the order in which they are tried; not empty.
    pub route: Vec<Arc<Model>>,
    /// Its cohorts.
    pub cohorts: Vec<CohortPlan>,
    /// Items that are not finished yet, equal ones counted each.
    pub pending: u64,
    /// Items that are finished already, by key.
    pub finished: Arc<HashSet<ItemKey>>,
    /// Only these items are worked, if given (a sample).
    pub only: Option<Arc<HashSet<u32>>>,
    /// Whether some items are equal.
    pub has_twins: bool,
    /// Items in one call, at least 1.
    pub pack: usize,
    /// Failed tries of one model after which the next one is asked.
    pub retries: u32,
    /// When to stop early.
    pub failure_rule: Option<FailureRule>,
    /// How long the job may run from now.
    pub deadline: Option<Duration>,
    /// How urgent its calls are.
    pub class: Class,
    /// Its share beside other jobs of its class; at least 1.
    pub weight: u16,
    /// How many answers one reduce step sums up; `None` for no reduce.
    pub reduce_group: Option<usize>,
    /// What holds for its money beside the caps.
    pub terms: Terms,
    /// How long calls in flight may go on once the job is told to stop.
    pub drain_within: Duration,
    /// How its calls are routed.
    pub rules: CallRules,
}

/// Why a job stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A person paused it.
    Paused,
    /// A person cancelled it.
    Cancelled,
    /// A cap is reached; says which.
    Budget(String),
    /// A provider works for nobody until a person acts, and no other one is left.
    Tripped {
        /// Which.
        provider: ProviderId,
        /// Why.
        trip: Trip,
    },
    /// A provider's share of the calls is at its ceiling; says which.
    Share(String),
    /// Too many of the first agents died.
    FailureRate {
        /// Dead …
        failed: u32,
        /// … of so many.
        of: u32,
    },
    /// Its deadline is over.
    Deadline,
    /// A disk that is written to is nearly full.
    Disk(LowDisk),
    /// Results can no longer be made durable.
    Store(StoreError),
}

impl StopReason {
    /// In a word, for the log: what a vendor said of a call stays out of it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            StopReason::Paused => "paused",
            StopReason::Cancelled => "cancelled",
            StopReason::Budget(_) => "budget",
            StopReason::Tripped { trip, .. } => trip.kind.words(),
            StopReason::Share(_) => "share",
            StopReason::FailureRate { .. } => "failure_rate",
            StopReason::Deadline => "deadline",
            StopReason::Disk(_) => "disk",
            StopReason::Store(_) => "store",
        }
    }
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopReason::Paused => f.write_str("paused by request"),
            StopReason::Cancelled => f.write_str("cancelled by request"),
            StopReason::Budget(what) => write!(f, "budget reached: {what}"),
            StopReason::Tripped { provider, trip } => {
                write!(f, "{} ({provider}): {}", trip.kind.words(), trip.message)?;
                trip.retry_at.map_or(Ok(()), |at| write!(f, "; try again at {at}"))
            }
            StopReason::Share(what) => f.write_str(what),
            StopReason::FailureRate { failed, of } => {
                write!(f, "{failed} of the first {of} agents died")
            }
            StopReason::Deadline => f.write_str("the job's deadline is over"),
            StopReason::Disk(low) => write!(f, "{low}"),
            StopReason::Store(error) => write!(f, "{error}"),
        }
    }
}

/// How a run of a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// Why it stopped early; `None` if every item came to an end or was parked.
    pub stopped: Option<StopReason>,
    /// Items that stay pending although the job went on, by reason.
    pub parked: BTreeMap<String, u64>,
    /// Items that are not finished.
    pub unfinished: u64,
    /// What came of the reduce, if there was one to do.
    pub reduced: Option<Result<Box<str>, String>>,
}
