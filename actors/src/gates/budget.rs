//! The budget gate: one actor that alone reserves money, before a call leaves.
//!
//! A reservation is a [`Hold`]. It is journalled before its call may leave, so it survives
//! `kill -9`. It ends by being settled; dropping it settles conservatively: nothing if its call
//! never left, the whole reservation if it did.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::book::{Account, Book, Scope, Shortage};
use super::call::{Call, Funded, Screened};
use crate::failure::Billing;
use crate::kernel::control::{Address, Control, Down, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::model::ProviderId;
use crate::money::{Micros, Price, Usage};
use crate::ports::{Certainty, HoldId, HoldRecord, Ledger, Settlement, StoreError, UnixMillis, WallClock};

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
    Reserve {
        job: Arc<str>,
        provider: ProviderId,
        amount: Micros,
        reply: oneshot::Sender<Result<HoldId, Shortage>>,
    },
    Settle {
        job: Arc<str>,
        provider: ProviderId,
        reserved: Micros,
        billed: Micros,
    },
    SetCap(Cap),
    Accounts(oneshot::Sender<Vec<(Scope, Account)>>),
}

struct BudgetActor {
    book: Book,
    next_hold: u64,
    freed: watch::Sender<u64>,
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
            Message::Reserve { job, provider, amount, reply } => {
                let reserved = self.book.reserve(&job, &provider, amount).map(|()| {
                    self.next_hold += 1;
                    HoldId(self.next_hold)
                });
                if let Err(Ok(_)) = reply.send(reserved) {
                    // The caller has gone without a hold that could give it back.
                    self.free(&job, &provider, amount, Micros::ZERO);
                }
            }
            Message::Settle { job, provider, reserved, billed } => {
                self.free(&job, &provider, reserved, billed)
            }
            Message::SetCap(Cap { scope, cap }) => {
                self.book.set_cap(scope, cap);
                self.freed.send_modify(|times| *times += 1);
            }
            Message::Accounts(reply) => {
                let _ = reply.send(self.book.accounts());
            }
        }
        Ok(())
    }

    fn observe(&self) -> Observed {
        Observed { accounts: self.book.accounts() }
    }
}

impl BudgetActor {
    fn free(&mut self, job: &Arc<str>, provider: &ProviderId, reserved: Micros, billed: Micros) {
        self.book.settle(job, provider, reserved, billed);
        self.freed.send_modify(|times| *times += 1);
    }
}

/// The way to the budget gate. Cheap to clone.
#[derive(Clone)]
pub struct BudgetGate {
    address: Address<Message>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn WallClock>,
    freed: watch::Sender<u64>,
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
        let (freed, _) = watch::channel(0);
        BudgetGate { address: Address::new("/empire/gates/budget"), ledger, clock, freed }
    }

    /// The gate's actor. Each incarnation reads the ledger anew; `caps` hold from the start.
    pub fn child(&self, caps: Arc<parking_lot::Mutex<Vec<Cap>>>) -> ChildSpec {
        let (ledger, freed) = (self.ledger.clone(), self.freed.clone());
        ChildSpec::actor("budget", &self.address, move || {
            let (ledger, freed, caps) = (ledger.clone(), freed.clone(), caps.clone());
            Box::pin(async move {
                let state = ledger.load().await.map_err(|error| Failure(error.to_string()))?;
                let mut book = Book::default();
                for Cap { scope, cap } in caps.lock().iter().cloned() {
                    book.set_cap(scope, cap);
                }
                for row in &state.spent {
                    book.book_spent(&row.job, &row.provider, row.billed);
                }
                for hold in &state.open {
                    book.book_reserved(&hold.job, &hold.provider, hold.reserved);
                }
                Ok(BudgetActor { book, next_hold: state.next_hold, freed })
            })
        })
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
            at: self.clock.now(),
        };
        let hold = if amount == Micros::ZERO {
            Hold::free(record, price, self.clone())
        } else {
            self.reserve(record, price).await?
        };
        Ok(call.funded(hold))
    }

    async fn reserve(&self, mut record: HoldRecord, price: Price) -> Result<Hold, BudgetRefusal> {
        let mut freed = self.freed.subscribe();
        let (job, provider, amount) = (record.job.clone(), record.provider.clone(), record.reserved);
        let id = loop {
            freed.mark_unchanged();
            let (job, provider) = (job.clone(), provider.clone());
            let asked = self.address.ask(|reply| Message::Reserve { job, provider, amount, reply }).await?;
            match asked {
                Ok(id) => break id,
                Err(shortage) if shortage.waiting_may_help() => {
                    if freed.changed().await.is_err() {
                        return Err(BudgetRefusal::Down(Down));
                    }
                }
                Err(shortage) => return Err(BudgetRefusal::Short(Box::new(shortage))),
            }
        };
        record.id = id;
        let hold = Hold {
            record: record.clone(),
            price,
            gate: self.clone(),
            sent_at: None,
            journalled: true,
            ended: false,
        };
        // If this future is dropped or fails from here on, the hold gives the money back.
        self.ledger.reserve(record).await?;
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
    /// Free calls reserve nothing and leave no trace in the ledger.
    journalled: bool,
    ended: bool,
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
    fn free(record: HoldRecord, price: Price, gate: BudgetGate) -> Hold {
        Hold { record, price, gate, sent_at: None, journalled: false, ended: false }
    }

    /// What is set aside.
    #[must_use]
    pub fn reserved(&self) -> Micros {
        self.record.reserved
    }

    /// From here on a lost call counts as paid.
    pub(crate) fn mark_sent(&mut self) {
        self.sent_at = Some(self.gate.clock.now());
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
        self.ended = true;
        if self.journalled {
            self.gate.ledger.release(self.record.id);
            self.tell_gate(Micros::ZERO);
        }
    }

    fn end(&mut self, bill: Bill, usage: &Usage) {
        self.ended = true;
        if !self.journalled {
            return;
        }
        self.gate.ledger.settle(Settlement {
            hold: self.record.clone(),
            billed: bill.billed,
            certainty: bill.certainty,
            usage: *usage,
            sent_at: self.sent_at.unwrap_or(self.record.at),
        });
        self.tell_gate(bill.billed);
    }

    fn tell_gate(&self, billed: Micros) {
        let HoldRecord { job, provider, reserved, .. } = self.record.clone();
        // A gate that is down reads the ledger when it starts, and we have just written there.
        let _ = self.gate.address.send(Message::Settle { job, provider, reserved, billed });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ended {
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
