//! The budget gate: one actor that alone reserves money, before a call leaves.
//!
//! A reservation is a [`Hold`]. It is durable before its call may leave, and that the call leaves
//! is journalled too: after `kill -9`, calls that may have left are billed at their reservation,
//! and the others nothing. A hold ends by being settled; dropping it settles as conservatively.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::book::{Account, Book, Scope, Shortage};
use super::call::{Call, Funded, Screened};
use crate::failure::Billing;
use crate::kernel::control::{Address, Control, Down, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::money::{Micros, Price, Usage};
use crate::ports::{
    Certainty, HoldId, HoldRecord, Ledger, LedgerState, Settlement, StoreError, UnixMillis, WallClock,
};

/// Why a call was not funded. Nothing stays reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetRefusal {
    /// A cap is reached.
    #[error(transparent)]
    Short(Box<Shortage>),
    /// The model has no price, and unknown prices are not paid.
    #[error(
        "the model {0} has no price: give it one under [models.\"{0}\"] in empire.toml, or `free = true`"
    )]
    NoPrice(String),
    /// The reservation could not be journalled.
    #[error("the reservation could not be journalled: {0}")]
    Store(#[from] StoreError),
    /// The gate is being restarted.
    #[error("the budget gate is down")]
    Down(#[from] Down),
}

/// A change of a cap.
#[derive(Debug, Clone)]
pub struct Cap {
    /// Where.
    pub scope: Scope,
    /// The new cap.
    pub cap: Option<Micros>,
}

pub(crate) enum Message {
    Reserve { record: HoldRecord, price: Price, reply: oneshot::Sender<Result<Hold, Shortage>> },
    SetCap(Cap),
    Accounts(oneshot::Sender<Vec<(Scope, Account)>>),
}

/// Decides who gets money, one after another.
struct BudgetActor {
    gate: BudgetGate,
}

/// What the budget actor shows.
#[derive(Debug, Serialize)]
pub struct Observed {
    accounts: Vec<(Scope, Account)>,
}

impl Control for BudgetActor {
    type Message = Message;
    type Observed = Observed;

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Reserve { record, price, reply } => {
                // A caller that has gone drops the hold, and that gives the money back.
                let _ = reply.send(self.gate.set_aside(record, price));
            }
            Message::SetCap(Cap { scope, cap }) => {
                self.gate.shared.vault.lock().book.set_cap(scope, cap);
                self.gate.wake_waiters();
            }
            Message::Accounts(reply) => {
                let _ = reply.send(self.gate.shared.vault.lock().book.accounts());
            }
        }
        Ok(())
    }

    fn observe(&self) -> Observed {
        Observed { accounts: self.gate.shared.vault.lock().book.accounts() }
    }
}

/// The money itself. It outlives the actor's incarnations: calls are under way while the actor
/// restarts, and what was granted but not journalled yet, or settled in that moment, must
/// neither be forgotten nor counted twice.
#[derive(Default)]
struct Vault {
    book: Book,
    next_hold: u64,
    loaded: bool,
}

struct Shared {
    vault: Mutex<Vault>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn WallClock>,
    /// Counts the times that money became free.
    freed: watch::Sender<u64>,
}

/// The way to the budget gate. Cheap to clone.
#[derive(Clone)]
pub struct BudgetGate {
    address: Address<Message>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for BudgetGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BudgetGate")
    }
}

impl BudgetGate {
    /// A gate over `ledger`; its actor starts with [`child`](Self::child).
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn WallClock>) -> BudgetGate {
        let shared = Shared { vault: Mutex::default(), ledger, clock, freed: watch::channel(0).0 };
        BudgetGate { address: Address::new("/empire/gates/budget"), shared: Arc::new(shared) }
    }

    /// The gate's actor. Its first incarnation reads the ledger; `caps` hold from then on.
    #[must_use]
    pub fn child(&self, caps: Vec<Cap>) -> ChildSpec {
        let gate = self.clone();
        ChildSpec::actor("budget", &self.address, move || {
            let (gate, caps) = (gate.clone(), caps.clone());
            Box::pin(async move {
                if !gate.shared.vault.lock().loaded {
                    let state = gate.shared.ledger.load().await;
                    gate.open_vault(&state.map_err(|error| Failure(error.to_string()))?, caps);
                }
                Ok(BudgetActor { gate })
            })
        })
    }

    fn open_vault(&self, state: &LedgerState, caps: Vec<Cap>) {
        let mut vault = self.shared.vault.lock();
        for Cap { scope, cap } in caps {
            vault.book.set_cap(scope, cap);
        }
        for row in &state.spent {
            vault.book.book_spent(&row.job, &row.provider, row.billed);
        }
        for hold in &state.open {
            vault.book.book_reserved(&hold.job, &hold.provider, hold.reserved);
        }
        vault.next_hold = state.next_hold;
        vault.loaded = true;
    }

    fn set_aside(&self, mut record: HoldRecord, price: Price) -> Result<Hold, Shortage> {
        let mut vault = self.shared.vault.lock();
        vault.book.reserve(&record.job, &record.provider, record.reserved)?;
        record.id = HoldId(vault.next_hold);
        vault.next_hold += 1;
        Ok(Hold { record, price, gate: self.clone(), sent_at: None, stage: HoldStage::Booked })
    }

    /// Ends a reservation in the book, whether the actor runs or not.
    fn free(&self, record: &HoldRecord, billed: Micros) {
        let HoldRecord { job, provider, reserved, .. } = record;
        self.shared.vault.lock().book.settle(job, provider, *reserved, billed);
        self.wake_waiters();
    }

    fn wake_waiters(&self) {
        self.shared.freed.send_modify(|times| *times += 1);
    }

    /// Reserves the worst case of a call. While a cap is full of reservations that may turn out
    /// cheaper, it waits for them.
    ///
    /// # Errors
    /// The call is refused; it comes back to be tried elsewhere.
    pub async fn fund(&self, call: Call<Screened>) -> Result<Call<Funded>, BudgetRefusal> {
        let request = call.request();
        let Some(price) = request.model.price else {
            return Err(BudgetRefusal::NoPrice(request.model.id.clone()));
        };
        let amount = price.bound(request.input_token_bound(), u64::from(request.max_tokens));
        let record = HoldRecord {
            id: HoldId(0),
            job: request.job.clone(),
            item: request.item,
            provider: request.model.provider.clone(),
            model: request.model.id.clone(),
            reserved: amount,
            at: self.shared.clock.now(),
        };
        let hold = if amount == Micros::ZERO {
            Hold { record, price, gate: self.clone(), sent_at: None, stage: HoldStage::Free }
        } else {
            self.reserve(record, price).await?
        };
        Ok(call.funded(hold))
    }

    async fn reserve(&self, record: HoldRecord, price: Price) -> Result<Hold, BudgetRefusal> {
        let mut freed = self.shared.freed.subscribe();
        let mut hold = loop {
            freed.mark_unchanged();
            let record = record.clone();
            match self.address.ask(|reply| Message::Reserve { record, price, reply }).await? {
                Ok(hold) => break hold,
                Err(shortage) if shortage.waiting_may_help() => {
                    if freed.changed().await.is_err() {
                        return Err(BudgetRefusal::Down(Down));
                    }
                }
                Err(shortage) => return Err(BudgetRefusal::Short(Box::new(shortage))),
            }
        };
        hold.stage = HoldStage::Journalled;
        // If this future is dropped or fails from here on, the hold gives the money back.
        self.shared.ledger.reserve(hold.record.clone()).await?;
        Ok(hold)
    }

    /// Sets a cap from now on.
    ///
    /// # Errors
    /// The gate is being restarted.
    pub fn set_cap(&self, cap: Cap) -> Result<(), Down> {
        self.address.send(Message::SetCap(cap))
    }

    /// Every account.
    ///
    /// # Errors
    /// The gate is being restarted.
    pub async fn accounts(&self) -> Result<Vec<(Scope, Account)>, Down> {
        self.address.ask(Message::Accounts).await
    }
}

/// Money set aside for one call. Owned: it is settled once, or conservatively when dropped.
#[derive(Debug)]
pub struct Hold {
    record: HoldRecord,
    price: Price,
    gate: BudgetGate,
    sent_at: Option<UnixMillis>,
    stage: HoldStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HoldStage {
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

    /// Journals that the call is about to leave, for a process that is killed meanwhile.
    pub(super) fn leave(&self) -> Result<(), StoreError> {
        match self.stage {
            HoldStage::Journalled => self.gate.shared.ledger.leave(self.record.id),
            _ => Ok(()),
        }
    }

    /// From here on a lost call counts as paid.
    pub(crate) fn mark_sent(&mut self) {
        self.sent_at = Some(self.gate.shared.clock.now());
    }

    /// Settles by what the provider counted.
    pub(crate) fn settle_usage(mut self, usage: &Usage) -> Bill {
        let bill = Bill { billed: self.price.cost(usage), certainty: Certainty::Settled };
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
                let bill = Bill { billed: self.record.reserved, certainty: Certainty::Unknown };
                self.end(bill, &Usage::default());
                bill
            }
        }
    }

    fn release(&mut self) {
        let stage = std::mem::replace(&mut self.stage, HoldStage::Ended);
        if stage == HoldStage::Journalled {
            self.gate.shared.ledger.release(self.record.id);
        }
        if matches!(stage, HoldStage::Booked | HoldStage::Journalled) {
            self.gate.free(&self.record, Micros::ZERO);
        }
    }

    fn end(&mut self, bill: Bill, usage: &Usage) {
        let stage = std::mem::replace(&mut self.stage, HoldStage::Ended);
        if matches!(stage, HoldStage::Free | HoldStage::Ended) {
            return;
        }
        self.gate.shared.ledger.settle(Settlement {
            hold: self.record.clone(),
            billed: bill.billed,
            certainty: bill.certainty,
            usage: *usage,
            sent_at: self.sent_at.unwrap_or(self.record.at),
        });
        self.gate.free(&self.record, bill.billed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.stage == HoldStage::Ended {
            return;
        }
        if self.sent_at.is_some() {
            let bill = Bill { billed: self.record.reserved, certainty: Certainty::Unknown };
            self.end(bill, &Usage::default());
        } else {
            self.release();
        }
    }
}
