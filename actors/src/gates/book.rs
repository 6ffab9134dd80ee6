//! What was spent, what is reserved, and whether more fits: the budget gate's decision, without
//! clock or I/O.
//!
//! Invariant: in every scope, spent + reserved never exceeds the cap by a reservation. (A vendor
//! that reports more than the bound can still raise `spent`; the truth is booked, and nothing
//! further is granted.)

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::model::ProviderId;
use crate::money::Micros;

/// Where a cap holds. A reservation must fit into all of its scopes at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "scope", content = "name", rename_all = "snake_case")]
pub enum Scope {
    /// Everything that this data folder spends.
    Total,
    /// One provider.
    Provider(ProviderId),
    /// One job.
    Job(Arc<str>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Total => f.write_str("the total budget"),
            Scope::Provider(provider) => write!(f, "the cap of {provider}"),
            Scope::Job(_) => f.write_str("the job's budget"),
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
    /// Set aside for calls under way.
    pub reserved: Micros,
}

impl Account {
    fn left(&self) -> Option<Micros> {
        self.cap.map(|cap| cap.saturating_sub(self.spent + self.reserved))
    }
}

/// Why a reservation was not made. Nothing was reserved in any scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{scope} of {cap} does not cover another {asked}: {spent} spent, {reserved} reserved")]
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
}

impl Shortage {
    /// Whether it could fit once calls under way turn out cheaper than reserved.
    #[must_use]
    pub fn waiting_may_help(&self) -> bool {
        self.reserved > Micros::ZERO && self.spent + self.asked <= self.cap
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<Scope, Account>,
}

impl Book {
    /// Sets or lifts the cap of a scope. What is spent and reserved stays.
    pub fn set_cap(&mut self, scope: Scope, cap: Option<Micros>) {
        self.accounts.entry(scope).or_default().cap = cap;
    }

    /// Books spend from before.
    pub fn book_spent(&mut self, job: &Arc<str>, provider: &ProviderId, billed: Micros) {
        for scope in scopes(job, provider) {
            self.accounts.entry(scope).or_default().spent += billed;
        }
    }

    /// Books a reservation that is already journalled, fit or not.
    pub fn book_reserved(&mut self, job: &Arc<str>, provider: &ProviderId, reserved: Micros) {
        for scope in scopes(job, provider) {
            self.accounts.entry(scope).or_default().reserved += reserved;
        }
    }

    /// Sets `amount` aside in every scope, or in none.
    ///
    /// # Errors
    /// The first scope that lacks the money.
    pub fn reserve(&mut self, job: &Arc<str>, provider: &ProviderId, amount: Micros) -> Result<(), Shortage> {
        let scopes = scopes(job, provider);
        for scope in &scopes {
            let account = self.accounts.get(scope).copied().unwrap_or_default();
            if account.left().is_some_and(|left| left < amount) {
                return Err(Shortage {
                    scope: scope.clone(),
                    cap: account.cap.unwrap_or_default(),
                    spent: account.spent,
                    reserved: account.reserved,
                    asked: amount,
                });
            }
        }
        for scope in scopes {
            self.accounts.entry(scope).or_default().reserved += amount;
        }
        Ok(())
    }

    /// Ends a reservation: `reserved` is given back and `billed` is spent.
    pub fn settle(&mut self, job: &Arc<str>, provider: &ProviderId, reserved: Micros, billed: Micros) {
        for scope in scopes(job, provider) {
            let account = self.accounts.entry(scope).or_default();
            account.reserved = account.reserved.saturating_sub(reserved);
            account.spent += billed;
        }
    }

    /// One scope's account.
    #[must_use]
    pub fn account(&self, scope: &Scope) -> Account {
        self.accounts.get(scope).copied().unwrap_or_default()
    }

    /// Every account, in a stable order.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Scope, Account)> {
        let mut all: Vec<_> =
            self.accounts.iter().map(|(scope, account)| (scope.clone(), *account)).collect();
        all.sort_by_key(|(scope, _)| match scope {
            Scope::Total => (0, String::new()),
            Scope::Provider(provider) => (1, provider.to_string()),
            Scope::Job(job) => (2, job.to_string()),
        });
        all
    }
}

fn scopes(job: &Arc<str>, provider: &ProviderId) -> [Scope; 3] {
    [Scope::Total, Scope::Provider(provider.clone()), Scope::Job(job.clone())]
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Reserve { job: usize, provider: usize, amount: u64 },
        Settle { which: usize, share: u64 },
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let reserve = (0..3usize, 0..2usize, 0..400u64).prop_map(|(job, provider, amount)| Op::Reserve {
            job,
            provider,
            amount,
        });
        let settle = (any::<usize>(), 0..=100u64).prop_map(|(which, share)| Op::Settle { which, share });
        prop::collection::vec(prop_oneof![3 => reserve, 2 => settle], 0..200)
    }

    proptest! {
        /// Whatever the order: no scope passes its cap, and every cent is in its place.
        #[test]
        fn no_interleaving_passes_a_cap_or_loses_a_cent(ops in ops(), caps in prop::array::uniform3(0u64..2000)) {
            let jobs: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
            let providers = [ProviderId::from("x"), ProviderId::from("y")];
            let mut book = Book::default();
            book.set_cap(Scope::Total, Some(Micros(caps[0])));
            book.set_cap(Scope::Provider(providers[0].clone()), Some(Micros(caps[1])));
            book.set_cap(Scope::Job(jobs[0].clone()), Some(Micros(caps[2])));
            let mut open: Vec<(usize, usize, u64)> = Vec::new();
            let mut billed_in_all = 0;
            for op in ops {
                match op {
                    Op::Reserve { job, provider, amount } => {
                        if book.reserve(&jobs[job], &providers[provider], Micros(amount)).is_ok() {
                            open.push((job, provider, amount));
                        }
                    }
                    Op::Settle { which, share } if !open.is_empty() => {
                        let (job, provider, amount) = open.swap_remove(which % open.len());
                        let billed = amount * share / 100;
                        billed_in_all += billed;
                        book.settle(&jobs[job], &providers[provider], Micros(amount), Micros(billed));
                    }
                    Op::Settle { .. } => {}
                }
                for (scope, account) in book.accounts() {
                    if let Some(cap) = account.cap {
                        prop_assert!(account.spent + account.reserved <= cap, "{scope:?} {account:?}");
                    }
                }
                let total = book.account(&Scope::Total);
                prop_assert_eq!(total.spent, Micros(billed_in_all));
                prop_assert_eq!(total.reserved, Micros(open.iter().map(|(_, _, amount)| amount).sum()));
            }
        }
    }

    #[test]
    fn says_whether_waiting_can_help() {
        let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
        let mut book = Book::default();
        book.set_cap(Scope::Job(job.clone()), Some(Micros(10)));
        book.reserve(&job, &provider, Micros(8)).unwrap();
        let shortage = book.reserve(&job, &provider, Micros(5)).unwrap_err();
        assert!(shortage.waiting_may_help());
        book.settle(&job, &provider, Micros(8), Micros(8));
        let shortage = book.reserve(&job, &provider, Micros(5)).unwrap_err();
        assert!(!shortage.waiting_may_help());
        assert_eq!(
            shortage.to_string(),
            "the job's budget of $0.000010 does not cover another $0.000005: $0.000008 spent, $0.00 reserved"
        );
    }
}
