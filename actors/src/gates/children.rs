//! Allowances: part of a job's money, set aside for a sub-job or a part of its agents. Calls and
//! further allowances are paid from it, so what children spend together cannot pass what their
//! parent set aside, however many there are.

use std::sync::Arc;

use super::book::{Account, Scope};
use super::budget::{BudgetGate, BudgetRefusal, Claim};
use super::call::{Call, Funded, Screened};
use super::vault::{Request, Want};
use crate::money::Micros;

/// An open allowance, as an owned value: dropped, it is closed. What it has not used goes back to
/// its parent, at once or when its calls under way end.
#[derive(Debug)]
#[must_use = "a dropped allowance is closed"]
pub struct Allowance {
    gate: BudgetGate,
    job: Arc<str>,
    path: Arc<str>,
    claim: Claim,
}

impl BudgetGate {
    /// Sets an allowance aside within a job: up to `wanted`, and no less than `least`. What was
    /// spent under this name before (by a process that was killed, say) is part of both. While
    /// money under way may still come back, it waits for it.
    ///
    /// A name holds no `/`: that tells an allowance within an allowance.
    ///
    /// # Errors
    /// The job has not so much left, or the allowance is open already.
    pub async fn open_allowance(
        &self,
        job: &Arc<str>,
        name: &str,
        wanted: Micros,
        least: Micros,
    ) -> Result<Allowance, BudgetRefusal> {
        self.open_within(job, None, name.into(), wanted, least).await
    }

    async fn open_within(
        &self,
        job: &Arc<str>,
        parent: Option<Arc<str>>,
        path: Arc<str>,
        wanted: Micros,
        least: Micros,
    ) -> Result<Allowance, BudgetRefusal> {
        let want = Want::Allowance { path: path.clone(), wanted, least: least.min(wanted) };
        let request = Request { job: job.clone(), child: parent, provider: None, want };
        let claim = self.ask(request).await?;
        Ok(Allowance { gate: self.clone(), job: job.clone(), path, claim })
    }
}

impl Allowance {
    /// What was set aside when it was opened.
    #[must_use]
    pub fn granted(&self) -> Micros {
        self.claim.granted.as_ref().map_or(Micros::ZERO, |granted| granted.amount)
    }

    /// Its account.
    #[must_use]
    pub fn account(&self) -> Account {
        self.gate.account(&Scope::Child(self.job.clone(), self.path.clone()))
    }

    /// As [`BudgetGate::fund`], from this allowance. The call must be one of its job.
    ///
    /// # Errors
    /// The call is refused.
    pub async fn fund(&self, call: Call<Screened>) -> Result<Call<Funded>, BudgetRefusal> {
        self.gate.fund_from(Some(self.path.clone()), call).await
    }

    /// An allowance within this one, as [`BudgetGate::open_allowance`] within a job.
    ///
    /// # Errors
    /// This one has not so much left, or the other is open already.
    pub async fn open_allowance(
        &self,
        name: &str,
        wanted: Micros,
        least: Micros,
    ) -> Result<Allowance, BudgetRefusal> {
        let path = format!("{}/{name}", self.path).into();
        self.gate.open_within(&self.job, Some(self.path.clone()), path, wanted, least).await
    }
}
