//! A hold: money set aside for one call, as an owned value. It is settled once, or conservatively
//! when dropped.

use super::book::Line;
use super::budget::BudgetGate;
use crate::failure::Billing;
use crate::money::{Micros, Price, Usage};
use crate::ports::{Certainty, HoldRecord, Settlement, StoreError, UnixMillis};

/// Money set aside for one call.
#[derive(Debug)]
pub struct Hold {
    pub(super) record: HoldRecord,
    pub(super) pricing: Pricing,
    /// The accounts that it is in; `None` for free calls.
    pub(super) line: Option<Line>,
    pub(super) gate: BudgetGate,
    pub(super) sent_at: Option<UnixMillis>,
    pub(super) stage: HoldStage,
}

/// What the end of a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pricing {
    /// By what the provider counts.
    Tokens {
        price: Price,
        /// Output tokens that the hold covers.
        granted: u32,
    },
    /// What was reserved.
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldStage {
    /// Free calls reserve nothing and leave no trace in the ledger.
    Free,
    /// In the book only.
    Booked,
    /// The ledger has been told.
    Journalled,
    /// Settled or given back.
    Ended,
}

/// What a call was billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// How much.
    pub billed: Micros,
    /// How sure that is.
    pub certainty: Certainty,
}

impl Hold {
    /// What is set aside.
    #[must_use]
    pub fn reserved(&self) -> Micros {
        self.record.reserved
    }

    /// Output tokens that it covers; `None` if it is not for a model call.
    pub(super) fn granted_tokens(&self) -> Option<u32> {
        match self.pricing {
            Pricing::Tokens { granted, .. } => Some(granted),
            Pricing::Fixed => None,
        }
    }

    /// Journals that the call is about to leave, for a process that is killed meanwhile.
    pub(super) fn leave(&self) -> Result<(), StoreError> {
        match self.stage {
            HoldStage::Journalled => self.gate.ledger().leave(self.record.id),
            _ => Ok(()),
        }
    }

    /// From here on a lost call counts as paid.
    pub(crate) fn mark_sent(&mut self) {
        self.sent_at = Some(self.gate.now());
    }

    /// Settles by what the provider counted.
    pub(crate) fn settle_usage(mut self, usage: &Usage) -> Bill {
        let billed = match self.pricing {
            Pricing::Tokens { price, .. } => price.cost(usage),
            Pricing::Fixed => self.record.reserved,
        };
        let bill = Bill { billed, certainty: Certainty::Settled };
        self.end(bill, usage);
        bill
    }

    /// Settles a call without a count.
    pub(crate) fn settle_failed(mut self, billing: Billing) -> Bill {
        match billing {
            Billing::Nothing => {
                self.release();
                Bill { billed: Micros::ZERO, certainty: Certainty::Settled }
            }
            Billing::Reservation => {
                let bill = self.unknown();
                self.end(bill, &Usage::default());
                bill
            }
        }
    }

    fn unknown(&self) -> Bill {
        Bill { billed: self.record.reserved, certainty: Certainty::Unknown }
    }

    fn release(&mut self) {
        let stage = std::mem::replace(&mut self.stage, HoldStage::Ended);
        if stage == HoldStage::Journalled {
            self.gate.ledger().release(self.record.id);
        }
        if matches!(stage, HoldStage::Booked | HoldStage::Journalled) {
            self.free(Micros::ZERO);
        }
    }

    fn end(&mut self, bill: Bill, usage: &Usage) {
        let stage = std::mem::replace(&mut self.stage, HoldStage::Ended);
        if matches!(stage, HoldStage::Free | HoldStage::Ended) {
            return;
        }
        self.gate.ledger().settle(Settlement {
            hold: self.record.clone(),
            billed: bill.billed,
            certainty: bill.certainty,
            usage: *usage,
            sent_at: self.sent_at.unwrap_or(self.record.at),
        });
        self.free(bill.billed);
    }

    fn free(&self, billed: Micros) {
        if let Some(line) = &self.line {
            self.gate.free(line, self.record.reserved, billed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.stage == HoldStage::Ended {
            return;
        }
        if self.sent_at.is_some() {
            let bill = self.unknown();
            self.end(bill, &Usage::default());
        } else {
            self.release();
        }
    }
}

/// Money set aside for an action that is no model call and has a fixed price.
#[derive(Debug)]
#[must_use = "a dropped one gives the money back, or bills it all once the action was begun"]
pub struct ActionHold(pub(super) Hold);

impl ActionHold {
    /// What is set aside.
    #[must_use]
    pub fn reserved(&self) -> Micros {
        self.0.reserved()
    }

    /// The action is about to be done. From here on it is billed, unless it certainly was not.
    ///
    /// # Errors
    /// That could not be journalled: it must not be done.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.0.leave()?;
        self.0.mark_sent();
        Ok(())
    }

    /// It was done, and costs what was set aside.
    pub fn done(self) -> Bill {
        self.0.settle_usage(&Usage::default())
    }

    /// It failed, and what that costs.
    pub fn failed(self, billing: Billing) -> Bill {
        self.0.settle_failed(billing)
    }
}
