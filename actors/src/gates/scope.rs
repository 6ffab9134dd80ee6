//! The words of the budget: where a cap holds, how an account stands, and why money was refused.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calendar::{Day, Month};
use crate::model::ProviderId;
use crate::money::Micros;
use crate::ports::UnixMillis;

/// Where a cap holds. A reservation must fit into all of its scopes at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "scope", content = "name", rename_all = "snake_case")]
pub enum Scope {
    /// Everything that this data folder spends.
    Total,
    /// Every calendar month (UTC); only caps are given so.
    EachMonth,
    /// Every calendar day (UTC); only caps are given so.
    EachDay,
    /// One month.
    Month(Month),
    /// One day.
    Day(Day),
    /// One provider.
    Provider(ProviderId),
    /// One of the standing agents.
    Role(Arc<str>),
    /// One job.
    Job(Arc<str>),
    /// An allowance within a job, by the job's id and its path there.
    Child(Arc<str>, Arc<str>),
}

impl Scope {
    /// When its money comes back by itself.
    #[must_use]
    pub fn renews_at(&self) -> Option<UnixMillis> {
        match self {
            Scope::Day(day) => Some(Day(day.0 + 1).start()),
            Scope::Month(month) => Some(month.end().start()),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Total => f.write_str("the total budget"),
            Scope::EachMonth => f.write_str("the monthly budget"),
            Scope::EachDay => f.write_str("the daily budget"),
            Scope::Month(month) => write!(f, "the budget of {month}"),
            Scope::Day(day) => write!(f, "the budget of {day}"),
            Scope::Provider(provider) => write!(f, "the cap of {provider}"),
            Scope::Role(role) => write!(f, "the cap of the role {role}"),
            Scope::Job(_) => f.write_str("the job's budget"),
            Scope::Child(_, path) => write!(f, "the allowance of {path}"),
        }
    }
}

/// One scope's account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The most that may be spent; `None` means only other scopes limit.
    pub cap: Option<Micros>,
    /// Billed.
    pub spent: Micros,
    /// Set aside for calls under way, and for allowances that were opened within it.
    pub reserved: Micros,
}

impl Account {
    /// What may be reserved now.
    pub(super) fn left(&self) -> Option<Micros> {
        self.cap.map(|cap| cap.saturating_sub(self.spent + self.reserved))
    }

    /// What could be reserved if everything under way turned out to cost nothing.
    pub(super) fn left_at_best(&self) -> Option<Micros> {
        self.cap.map(|cap| cap.saturating_sub(self.spent))
    }
}

/// A change of a cap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Where.
    #[serde(flatten)]
    pub scope: Scope,
    /// The new cap.
    pub cap: Option<Micros>,
}

/// Why a reservation was not made. Nothing was reserved in any scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{scope} of {cap} does not cover another {asked}: {spent} spent, {reserved} reserved{}", renewal(.renews))]
pub struct Shortage {
    /// The scope that lacks money.
    pub scope: Scope,
    /// Its cap.
    pub cap: Micros,
    /// What is billed there.
    pub spent: Micros,
    /// What is set aside there.
    pub reserved: Micros,
    /// What was asked for.
    pub asked: Micros,
    /// With how much the asker would have made do.
    pub least: Micros,
    /// When the scope's money comes back by itself.
    pub renews: Option<UnixMillis>,
}

fn renewal(renews: &Option<UnixMillis>) -> String {
    renews.map(|at| format!(" (a new one begins on {})", Day::of(at))).unwrap_or_default()
}

impl Shortage {
    /// Whether it could fit once calls under way turn out cheaper than reserved.
    #[must_use]
    pub fn waiting_may_help(&self) -> bool {
        self.reserved > Micros::ZERO && self.spent + self.least <= self.cap
    }
}

/// A part of a cap is spent that somebody wants to know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Where.
    pub scope: Scope,
    /// The threshold that was passed, in percent of the cap.
    pub percent: u8,
    /// What is spent there.
    pub spent: Micros,
    /// The cap.
    pub cap: Micros,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of {} of {} is spent: {}", self.percent, self.scope, self.cap, self.spent)
    }
}
