//! What was spent, what is reserved, and whether more fits: the budget gate's decision, without
//! clock or I/O.
//!
//! Invariants, in every scope:
//! - spent + reserved never exceeds the cap by a reservation. (A vendor that reports more than the
//!   bound can still raise `spent`, and a cap can be lowered; the truth is booked, and nothing
//!   further is granted.)
//! - Money is moved, never made: what is reserved ends as spent or is given back.
//!
//! A call's money is taken from its provider, month and day, and from a purse: either total, role
//! and job, or an *allowance* (a child account). An allowance was set aside in its parent's purse
//! when it was opened, so the sum of a job's allowances cannot pass what the job has, however many
//! there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::calendar::Day;
pub use super::scope::{Account, Alert, Cap, Scope, Shortage};
use crate::model::ProviderId;
use crate::money::Micros;
use crate::ports::LedgerState;

/// Who pays for something, and when.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// The job.
    pub job: &'a Arc<str>,
    /// The standing agent that it belongs to.
    pub role: Option<&'a Arc<str>>,
    /// The path of the allowance in the job that pays, `a/b` for one within `a`.
    pub child: Option<&'a Arc<str>>,
    /// Who is paid; nobody yet, for an allowance.
    pub provider: Option<&'a ProviderId>,
    /// The day that it counts for: that of its reservation.
    pub day: Day,
}

/// The accounts that a reservation is in, as the book that made it knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    places: [u32; MOST_PLACES],
    count: usize,
}

const MOST_PLACES: usize = 6;

impl Line {
    fn new() -> Line {
        Line { places: [0; MOST_PLACES], count: 0 }
    }

    fn push(&mut self, place: u32) {
        self.places[self.count] = place;
        self.count += 1;
    }

    /// The accounts' numbers.
    pub(super) fn places(&self) -> &[u32] {
        &self.places[..self.count]
    }
}

/// An opened allowance.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// Where it was set aside.
    purse: Line,
    /// What of it is still set aside there: never less than what is reserved within it.
    prepaid: Micros,
    /// Nothing more is granted; what gets free goes back.
    closing: bool,
}

#[derive(Debug)]
struct Entry {
    scope: Scope,
    account: Account,
    allowance: Option<Allowance>,
    /// The highest threshold that was told.
    told: u8,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    places: HashMap<Scope, u32>,
    each_month: Option<Micros>,
    each_day: Option<Micros>,
    /// In percent, ascending.
    thresholds: Vec<u8>,
    alerts: Vec<Alert>,
}

impl Book {
    /// Takes over caps, and what a ledger knows.
    pub fn replay(&mut self, state: &LedgerState, caps: impl IntoIterator<Item = Cap>) {
        for Cap { scope, cap } in caps {
            self.set_cap(scope, cap);
        }
        for row in &state.spent {
            let payer = Payer {
                job: &row.job,
                role: row.role.as_ref(),
                child: row.child.as_ref(),
                provider: Some(&row.provider),
                day: row.day,
            };
            self.book_spent(&payer, row.billed);
        }
        for hold in &state.open {
            let payer = Payer {
                job: &hold.job,
                role: hold.role.as_ref(),
                child: hold.child.as_ref(),
                provider: Some(&hold.provider),
                day: Day::of(hold.at),
            };
            self.book_reserved(&payer, hold.reserved);
        }
    }

    /// Sets or lifts the cap of a scope. What is spent and reserved stays.
    pub fn set_cap(&mut self, scope: Scope, cap: Option<Micros>) {
        match scope {
            Scope::EachMonth => self.each_month = cap,
            Scope::EachDay => self.each_day = cap,
            scope => {
                let place = self.place(scope);
                self.entry(place).account.cap = cap;
            }
        }
        let renewed = self.entries.iter_mut().filter_map(|entry| match entry.scope {
            Scope::Month(_) => Some((entry, self.each_month)),
            Scope::Day(_) => Some((entry, self.each_day)),
            _ => None,
        });
        renewed.for_each(|(entry, cap)| entry.account.cap = cap);
        (0..self.entries.len()).for_each(|place| self.look(place as u32));
    }

    /// From now on, tells when this many percent of a cap are spent.
    pub fn tell_at(&mut self, mut percents: Vec<u8>) {
        percents.sort_unstable();
        self.thresholds = percents;
        (0..self.entries.len()).for_each(|place| self.look(place as u32));
    }

    /// Alerts since this was asked last.
    pub fn take_alerts(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts)
    }

    /// Books spend from before.
    pub fn book_spent(&mut self, payer: &Payer<'_>, billed: Micros) {
        let purse = Payer { child: None, ..*payer };
        let line = self.line(&purse);
        for place in line.places() {
            self.entry(*place).account.spent += billed;
            self.look(*place);
        }
        let mut path = payer.child.map(|path| &**path);
        while let Some(part) = path {
            let place = self.place(Scope::Child(payer.job.clone(), part.into()));
            self.entry(place).account.spent += billed;
            path = part.rsplit_once('/').map(|(parent, _)| parent);
        }
    }

    /// Books a reservation that is already journalled, fit or not.
    pub fn book_reserved(&mut self, payer: &Payer<'_>, reserved: Micros) {
        let line = self.line(&Payer { child: None, ..*payer });
        self.take(&line, reserved);
    }

    /// The accounts that `payer` takes money from.
    pub fn line(&mut self, payer: &Payer<'_>) -> Line {
        let mut line = Line::new();
        match payer.child {
            Some(path) => line.push(self.place(Scope::Child(payer.job.clone(), path.clone()))),
            None => {
                line.push(self.place(Scope::Total));
                if let Some(role) = payer.role {
                    line.push(self.place(Scope::Role(role.clone())));
                }
                line.push(self.place(Scope::Job(payer.job.clone())));
            }
        }
        if let Some(provider) = payer.provider {
            line.push(self.place(Scope::Provider(provider.clone())));
            line.push(self.place(Scope::Month(payer.day.month())));
            line.push(self.place(Scope::Day(payer.day)));
        }
        line
    }

    /// How much of `full` may be reserved: all of it, or at least `least` where the whole will
    /// never fit. While money under way may still come back, the answer is to wait for it: a call
    /// that is cut short is worth less.
    ///
    /// # Errors
    /// The scope that lacks the money. Nothing was reserved.
    pub fn quote(&self, line: &Line, least: Micros, full: Micros) -> Result<Micros, Shortage> {
        let entries = || line.places().iter().map(|place| &self.entries[*place as usize]);
        if let Some(closed) = entries().find(|entry| entry.is_closed()) {
            return Err(closed.shortage(Micros::ZERO, full, full));
        }
        if let Some(indebted) = line.places().iter().find_map(|place| self.indebted_above(*place)) {
            return Err(indebted.shortage(indebted.account.cap.unwrap_or_default(), least, full));
        }
        let tightest = |left: fn(&Account) -> Option<Micros>| {
            entries().filter_map(|entry| Some((left(&entry.account)?, entry))).min_by_key(|(left, _)| *left)
        };
        let (Some((now, by_now)), Some((at_best, by_best))) =
            (tightest(Account::left), tightest(Account::left_at_best))
        else {
            return Ok(full);
        };
        if full <= now {
            return Ok(full);
        }
        if full > at_best && least <= now && now == at_best {
            return Ok(now);
        }
        let entry = if least <= at_best { by_now } else { by_best };
        Err(entry.shortage(entry.account.cap.unwrap_or_default(), least, full))
    }

    /// The account above an allowance in which more is spent and reserved than its cap allows,
    /// because a vendor billed beyond the bound or the cap was lowered: then what was set aside is
    /// not there any more.
    fn indebted_above(&self, place: u32) -> Option<&Entry> {
        let purse = self.entries[place as usize].allowance.as_ref()?.purse;
        purse.places().iter().find_map(|parent| {
            let entry = &self.entries[*parent as usize];
            let account = &entry.account;
            let is_indebted = account.cap.is_some_and(|cap| account.spent + account.reserved > cap);
            if is_indebted { Some(entry) } else { self.indebted_above(*parent) }
        })
    }

    /// Why who wants `full` of the account at `place` must wait for it.
    pub(super) fn shortage_at(&self, place: u32, least: Micros, full: Micros) -> Shortage {
        let entry = &self.entries[place as usize];
        entry.shortage(entry.account.cap.unwrap_or(Micros(u64::MAX)), least, full)
    }

    /// Sets `amount` aside in every account of the line. It must have been quoted.
    pub fn take(&mut self, line: &Line, amount: Micros) {
        for place in line.places() {
            self.entry(*place).account.reserved += amount;
        }
    }

    /// Ends a reservation: `reserved` is given back and `billed` is spent.
    pub fn settle(&mut self, line: &Line, reserved: Micros, billed: Micros) {
        for place in line.places() {
            let account = &mut self.entry(*place).account;
            account.reserved = account.reserved.saturating_sub(reserved);
            account.spent += billed;
            self.look(*place);
            self.draw(*place, billed);
        }
    }

    /// What was billed within an allowance is paid from what was set aside for it, and is spent
    /// wherever that was.
    fn draw(&mut self, place: u32, billed: Micros) {
        let entry = self.entry(place);
        let Some(allowance) = &mut entry.allowance else { return };
        // What a vendor billed beyond the bound is not taken from what others in it rely on.
        let taken = billed.min(allowance.prepaid.saturating_sub(entry.account.reserved));
        allowance.prepaid = allowance.prepaid.saturating_sub(taken);
        let purse = allowance.purse;
        for parent in purse.places() {
            let account = &mut self.entry(*parent).account;
            account.reserved = account.reserved.saturating_sub(taken);
            account.spent += billed;
            self.look(*parent);
            self.draw(*parent, billed);
        }
        self.give_back(place);
    }

    /// Opens an allowance of `amount` more than what was spent in it before. It must have been
    /// quoted on `purse`, which is its parent's. `false` if it is open already.
    pub fn open(&mut self, purse: &Line, child: Scope, amount: Micros) -> bool {
        let place = self.place(child);
        let entry = self.entry(place);
        if entry.allowance.is_some_and(|allowance| !allowance.closing || entry.account.reserved.0 > 0) {
            return false;
        }
        entry.account.cap = Some(entry.account.spent + amount);
        entry.allowance = Some(Allowance { purse: *purse, prepaid: amount, closing: false });
        self.take(purse, amount);
        true
    }

    /// Closes an allowance: what nobody uses goes back at once, what calls under way leave over
    /// goes back when they end.
    pub fn close(&mut self, child: &Scope) {
        let Some(place) = self.places.get(child).copied() else { return };
        if let Some(allowance) = &mut self.entry(place).allowance {
            allowance.closing = true;
        }
        self.give_back(place);
    }

    fn give_back(&mut self, place: u32) {
        let entry = self.entry(place);
        let Some(allowance) = entry.allowance.as_mut().filter(|allowance| allowance.closing) else { return };
        let free = allowance.prepaid.saturating_sub(entry.account.reserved);
        allowance.prepaid = allowance.prepaid.saturating_sub(free);
        let purse = allowance.purse;
        entry.account.cap = entry.account.cap.map(|cap| cap.saturating_sub(free));
        for parent in purse.places() {
            let account = &mut self.entry(*parent).account;
            account.reserved = account.reserved.saturating_sub(free);
            // A parent that is closing itself has been waiting for this.
            self.give_back(*parent);
        }
    }

    /// One scope's account.
    #[must_use]
    pub fn account(&self, scope: &Scope) -> Account {
        let place = self.places.get(scope);
        place.map(|place| self.entries[*place as usize].account).unwrap_or_default()
    }

    /// Every account, in a stable order.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Scope, Account)> {
        let mut all: Vec<_> = self.entries.iter().map(|entry| (entry.scope.clone(), entry.account)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The number of a scope's account.
    pub(super) fn place(&mut self, scope: Scope) -> u32 {
        if let Some(place) = self.places.get(&scope) {
            return *place;
        }
        let cap = match scope {
            Scope::Month(_) => self.each_month,
            Scope::Day(_) => self.each_day,
            _ => None,
        };
        let account = Account { cap, ..Account::default() };
        // One a scope, for the life of a process: far fewer than fit.
        let place = self.entries.len() as u32;
        self.entries.push(Entry { scope: scope.clone(), account, allowance: None, told: 0 });
        self.places.insert(scope, place);
        place
    }

    fn entry(&mut self, place: u32) -> &mut Entry {
        &mut self.entries[place as usize]
    }

    /// Tells of a threshold that was passed, once; of several the highest.
    fn look(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        let (Some(cap), None) = (entry.account.cap, entry.allowance) else { return };
        let spent = entry.account.spent;
        let passed = |percent: &&u8| {
            u128::from(spent.0) * 100 >= u128::from(cap.0) * u128::from(**percent) && spent.0 > 0
        };
        let highest = self.thresholds.iter().rfind(passed).copied().unwrap_or(0);
        if highest > entry.told {
            self.alerts.push(Alert { scope: entry.scope.clone(), percent: highest, spent, cap });
        }
        entry.told = highest;
    }
}

impl Entry {
    /// Whether it is an allowance that grants nothing (more).
    fn is_closed(&self) -> bool {
        matches!(self.scope, Scope::Child(..)) && self.allowance.is_none_or(|allowance| allowance.closing)
    }

    fn shortage(&self, cap: Micros, least: Micros, asked: Micros) -> Shortage {
        Shortage {
            scope: self.scope.clone(),
            cap,
            spent: self.account.spent,
            reserved: self.account.reserved,
            asked,
            least,
            renews: self.scope.renews_at(),
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests;
