//! Which caps hold for a job: the configured ones, and over them those that were set by hand.

use std::sync::Arc;

use empire_actors::gates::book::{Book, Payer};
use empire_actors::gates::calendar::Day;
use empire_actors::gates::scope::{Account, Alert, Cap, Scope};
use empire_actors::house::House;
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::ports::{LedgerState, UnixMillis};

use super::prepare::Loaded;
use super::progress::say;
use crate::config::Config;
use crate::job::Role;
use crate::plan::MoneyLimit;
use crate::store::{Store, StoredCap};

/// The caps that are configured, and over them those that were set by hand; those of jobs are not
/// among them.
#[must_use]
pub fn caps(config: &Config, by_hand: &[StoredCap]) -> Vec<Cap> {
    let budget = &config.budget;
    let mut caps = vec![
        Cap { scope: Scope::Total, cap: Some(budget.total) },
        Cap { scope: Scope::EachMonth, cap: budget.month },
        Cap { scope: Scope::EachDay, cap: budget.day },
    ];
    let roles = budget.roles.iter();
    caps.extend(roles.map(|(role, cap)| Cap { scope: Scope::Role(role.as_str().into()), cap: Some(*cap) }));
    let providers = config.providers.values().map(|setting| &setting.spec);
    caps.extend(providers.map(|spec| Cap { scope: Scope::Provider(spec.id.clone()), cap: spec.cap }));
    let is_of_job = |cap: &&StoredCap| matches!(cap.cap.scope, Scope::Job(_));
    for stored in by_hand.iter().filter(|cap| !is_of_job(cap)) {
        caps.retain(|cap| cap.scope != stored.cap.scope);
        caps.push(stored.cap.clone());
    }
    caps
}

/// The cap of a job's run: what was set by hand, else its budget.
#[must_use]
pub fn of_job(by_hand: &[StoredCap], job: &str, budget: Micros) -> Cap {
    Cap { scope: Scope::Job(job.into()), cap: job_cap(by_hand, job).unwrap_or(Some(budget)) }
}

/// The cap of a job that was set by hand.
#[must_use]
pub fn job_cap(by_hand: &[StoredCap], job: &str) -> Option<Option<Micros>> {
    let is_it = |cap: &&StoredCap| matches!(&cap.cap.scope, Scope::Job(id) if **id == *job);
    by_hand.iter().find(is_it).map(|stored| stored.cap.cap)
}

/// The accounts that a ledger and caps make, as they stand now.
#[must_use]
pub fn book(state: &LedgerState, caps: &[Cap]) -> Book {
    let mut book = Book::default();
    book.replay(state, caps.iter().cloned());
    book
}

/// What the caps over all jobs and that of the role leave, and which of them is the tightest.
#[must_use]
pub fn left_over_all(book: &mut Book, role: Role, now: UnixMillis) -> Option<(Micros, MoneyLimit)> {
    let day = Day::of(now);
    // The accounts of today and of this month are there once they are asked for.
    let (job, provider): (Arc<str>, _) = ("".into(), ProviderId::from(""));
    let _ = book.line(&Payer { job: &job, role: None, child: None, provider: Some(&provider), day });
    let scopes = [
        (Scope::Total, MoneyLimit::TotalCap),
        (Scope::Month(day.month()), MoneyLimit::MonthCap),
        (Scope::Day(day), MoneyLimit::DayCap),
        (Scope::Role(role.as_str().into()), MoneyLimit::RoleCap),
    ];
    let left = scopes.into_iter().filter_map(|(scope, limit)| Some((left(&book.account(&scope))?, limit)));
    left.min_by_key(|(left, _)| *left)
}

/// What is left of a cap, besides what is set aside.
#[must_use]
pub fn left(account: &Account) -> Option<Micros> {
    account.cap.map(|cap| cap.saturating_sub(account.spent + account.reserved))
}

/// What a run has to do with caps while it runs: it takes up what is set by hand, and tells of
/// thresholds.
pub struct CapWatch<'a> {
    loaded: &'a Loaded,
    job: &'a str,
    by_hand: Vec<StoredCap>,
}

impl<'a> CapWatch<'a> {
    /// For a run that has started with these caps set by hand.
    #[must_use]
    pub fn new(loaded: &'a Loaded, job: &'a str, by_hand: Vec<StoredCap>) -> CapWatch<'a> {
        CapWatch { loaded, job, by_hand }
    }

    /// Takes up caps that were set or taken back since.
    pub async fn look(&mut self, house: &House, store: &Store) {
        let now = match store.caps().await {
            Ok(now) if now != self.by_hand => now,
            Ok(_) => return,
            // The caps that hold go on holding; results will say if the store is gone.
            Err(error) => return tracing::warn!(%error, "cannot read whether a cap was changed"),
        };
        let of = |by_hand: &[StoredCap]| {
            let mut caps = caps(&self.loaded.config, by_hand);
            caps.push(of_job(by_hand, self.job, self.loaded.budget));
            caps
        };
        let (before, after) = (of(&self.by_hand), of(&now));
        let lifted = before.iter().filter(|cap| !after.iter().any(|new| new.scope == cap.scope));
        let lifted = lifted.map(|cap| Cap { scope: cap.scope.clone(), cap: None });
        for cap in lifted.chain(after.iter().filter(|cap| !before.contains(cap)).cloned()) {
            let words = cap.cap.map_or_else(|| "no cap".to_owned(), |cap| cap.to_string());
            let scope = cap.scope.clone();
            // A gate that is being restarted is told again with the next look.
            if house.set_cap(cap).is_err() {
                return;
            }
            say(&format!("{scope} is {words} from now on"));
        }
        self.by_hand = now;
    }

    /// Tells of thresholds that were passed; `hear` hears of each as well.
    pub fn tell(&self, house: &House, mut hear: impl FnMut(&Alert)) {
        for alert in house.take_alerts() {
            hear(&alert);
            say(&format!("warning: {alert}"));
        }
    }
}
