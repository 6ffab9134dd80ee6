//! The budget gate: one actor that alone reserves money, before a call leaves.
//!
//! A reservation is a [`Hold`]. It is durable before its call may leave, and that the call leaves
//! is journalled too: after `kill -9`, calls that may have left are billed at their reservation,
//! and the others nothing. A hold ends by being settled; dropping it settles as conservatively.
//!
//! Where a call's whole output will never fit again, less of it is asked for (the clamp), so that
//! the last money is of use. While money under way may still come back, callers wait for it.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

pub use super::book::Cap;
use super::book::{Account, Alert, Line, Scope, Shortage};
use super::call::{Call, Funded, Screened};
pub use super::hold::{ActionHold, Bill, Hold};
use super::hold::{HoldStage, Pricing};
use super::vault::{Answers, Denied, Granted, Reply, Request, Vault, Want};
pub use super::vault::{Terms, least_tokens};
use crate::kernel::control::{Address, Control, Down, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::model::ProviderId;
use crate::money::{Micros, Price};
use crate::ports::{HoldId, HoldRecord, Ledger, StoreError, UnixMillis, WallClock};

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
    /// One call would set aside more than may be spent in one go without asking.
    #[error(
        "one call sets aside up to {amount}, and more than {most} in one go needs an approval: `empire swarm run` asks for it"
    )]
    NeedsApproval {
        /// What it sets aside.
        amount: Micros,
        /// What may be set aside without asking.
        most: Micros,
    },
    /// An allowance of this path is in use.
    #[error("the allowance {0} is open already: close it first, or choose another name")]
    Open(Arc<str>),
    /// The reservation could not be journalled.
    #[error("the reservation could not be journalled: {0}")]
    Store(#[from] StoreError),
    /// The gate is being restarted.
    #[error("the budget gate is down")]
    Down(#[from] Down),
}

pub(super) enum Message {
    Ask {
        request: Request,
        reply: Reply,
    },
    SetCap(Cap),
    /// Money got free.
    Serve,
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
        let now = self.gate.now();
        match message {
            Message::Ask { request, reply } => {
                self.gate.change(|vault| vault.ask(request, reply, now));
            }
            Message::SetCap(Cap { scope, cap }) => {
                self.gate.change(|vault| {
                    vault.book.set_cap(scope, cap);
                    vault.serve_waiters(now)
                });
            }
            Message::Serve => self.gate.change(|vault| vault.serve_waiters(now)),
            Message::Accounts(reply) => {
                let _ = reply.send(self.gate.shared.vault.lock().book.accounts());
            }
        }
        Ok(())
    }

    fn first_message(&self) -> Option<Message> {
        Some(Message::Serve)
    }

    fn observe(&self) -> Observed {
        Observed { accounts: self.gate.shared.vault.lock().book.accounts() }
    }
}

struct Shared {
    vault: Mutex<Vault>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn WallClock>,
    /// Alerts that nobody has taken yet: at most a few a scope.
    alerts: Mutex<Vec<Alert>>,
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
        let shared = Shared { vault: Mutex::default(), ledger, clock, alerts: Mutex::default() };
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
                    let state = state.map_err(|error| Failure(error.to_string()))?;
                    gate.shared.vault.lock().open(&state, caps);
                }
                Ok(BudgetActor { gate })
            })
        })
    }

    /// What holds for a job's money beside the caps. A job without terms belongs to no role, and
    /// its calls are not clamped.
    pub fn enroll(&self, job: Arc<str>, terms: Terms) {
        self.shared.vault.lock().terms.insert(job, terms);
    }

    /// Forgets a job that makes no more calls.
    pub fn dismiss(&self, job: &str) {
        self.shared.vault.lock().terms.remove(job);
    }

    /// When to tell that a cap is used up, in percent of it.
    pub fn alert_at(&self, percents: Vec<u8>) {
        self.shared.vault.lock().book.tell_at(percents);
    }

    pub(super) fn ledger(&self) -> &dyn Ledger {
        self.shared.ledger.as_ref()
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.shared.clock.now()
    }

    /// Ends a reservation in the book, whether the actor runs or not.
    pub(super) fn free(&self, line: &Line, reserved: Micros, billed: Micros) {
        self.change(|vault| {
            vault.book.settle(line, reserved, billed);
            Answers::new()
        });
        self.serve_waiters();
    }

    /// Ends an allowance in the book.
    pub(super) fn close(&self, child: &Scope) {
        self.change(|vault| {
            vault.book.close(child);
            Answers::new()
        });
        self.serve_waiters();
    }

    /// The actor serves who waits; one that is down does so when it starts.
    fn serve_waiters(&self) {
        if self.shared.vault.lock().has_waiters() {
            let _ = self.address.send(Message::Serve);
        }
    }

    /// Does something to the vault, and tells what follows once it is unlocked again.
    fn change(&self, act: impl FnOnce(&mut Vault) -> Answers) {
        let (answers, alerts) = {
            let mut vault = self.shared.vault.lock();
            (act(&mut vault), vault.book.take_alerts())
        };
        for alert in alerts {
            tracing::info!(scope = ?alert.scope, percent = alert.percent, "{alert}");
            self.shared.alerts.lock().push(alert);
        }
        for (reply, answer) in answers {
            // Who has gone drops the claim, and that gives the money back.
            let _ = reply.send(answer.map(|granted| Claim { gate: self.clone(), granted: Some(granted) }));
        }
    }

    /// Reserves the worst case of a call. While a cap is full of reservations that may turn out
    /// cheaper, it waits for them. Where the whole output will never fit and the job's
    /// [`Terms`] allow it, less of it is requested.
    ///
    /// # Errors
    /// The call is refused; it comes back to be tried elsewhere.
    pub async fn fund(&self, call: Call<Screened>) -> Result<Call<Funded>, BudgetRefusal> {
        self.fund_from(None, call).await
    }

    /// As [`fund`](Self::fund), from an allowance.
    pub(super) async fn fund_from(
        &self,
        child: Option<Arc<str>>,
        call: Call<Screened>,
    ) -> Result<Call<Funded>, BudgetRefusal> {
        let request = call.request();
        let Some(price) = request.model.price else {
            return Err(BudgetRefusal::NoPrice(request.model.id.clone()));
        };
        let (input, output) = (call.input_bound(), request.max_tokens);
        let (job, item) = (request.job.clone(), request.item);
        let (provider, model) = (request.model.provider.clone(), request.model.id.clone());
        if price.bound(input, output.into()) == Micros::ZERO {
            return Ok(call.funded(self.free_hold(&job, item, provider, model, price, output)));
        }
        let want = Want::Tokens { price, input, output };
        let asked = Request { job, child, provider: Some(provider), want };
        let hold = self.reserve(asked, item, model).await?;
        Ok(call.funded(hold))
    }

    fn free_hold(
        &self,
        job: &Arc<str>,
        item: u32,
        provider: ProviderId,
        model: String,
        price: Price,
        granted: u32,
    ) -> Hold {
        let record = HoldRecord {
            id: HoldId(0),
            job: job.clone(),
            role: None,
            child: None,
            item,
            provider,
            model,
            reserved: Micros::ZERO,
            at: self.now(),
        };
        let pricing = Pricing::Tokens { price, granted };
        Hold { record, pricing, line: None, gate: self.clone(), sent_at: None, stage: HoldStage::Free }
    }

    /// Reserves what an action costs that is no model call, such as a post.
    ///
    /// # Errors
    /// It is refused.
    pub async fn reserve_action(&self, action: Action) -> Result<ActionHold, BudgetRefusal> {
        let Action { job, item, provider, name, price } = action;
        let want = Want::Fixed(price);
        let asked = Request { job, child: None, provider: Some(provider), want };
        self.reserve(asked, item, name).await.map(ActionHold)
    }

    async fn reserve(&self, asked: Request, item: u32, model: String) -> Result<Hold, BudgetRefusal> {
        let Request { job, child, provider, want } = asked.clone();
        let mut claim = self.ask(asked).await?;
        let (Some(granted), Some(provider)) = (claim.granted.take(), provider) else {
            return Err(BudgetRefusal::Down(Down));
        };
        let record = HoldRecord {
            id: HoldId(granted.number),
            job,
            role: granted.role,
            child,
            item,
            provider,
            model,
            reserved: granted.amount,
            at: granted.at,
        };
        let pricing = match want {
            Want::Tokens { price, .. } => Pricing::Tokens { price, granted: granted.tokens },
            Want::Fixed(_) | Want::Allowance { .. } => Pricing::Fixed,
        };
        let (line, gate) = (Some(granted.line), self.clone());
        let mut hold = Hold { record, pricing, line, gate, sent_at: None, stage: HoldStage::Booked };
        hold.stage = HoldStage::Journalled;
        // If this future is dropped or fails from here on, the hold gives the money back.
        self.shared.ledger.reserve(hold.record.clone()).await?;
        Ok(hold)
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Claim, BudgetRefusal> {
        self.address.ask(|reply| Message::Ask { request, reply }).await?.map_err(|denied| match denied {
            Denied::Short(shortage) => BudgetRefusal::Short(Box::new(shortage)),
            Denied::NeedsApproval { amount, most } => BudgetRefusal::NeedsApproval { amount, most },
            Denied::Open(path) => BudgetRefusal::Open(path),
        })
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

    /// Every account as it stands, without asking the gate's actor.
    pub(crate) fn accounts_now(&self) -> Vec<(Scope, Account)> {
        self.shared.vault.lock().book.accounts()
    }

    /// One account, as it stands.
    #[must_use]
    pub fn account(&self, scope: &Scope) -> Account {
        self.shared.vault.lock().book.account(scope)
    }

    /// Alerts since this was asked last. Each is told once.
    #[must_use]
    pub fn take_alerts(&self) -> Vec<Alert> {
        std::mem::take(&mut self.shared.alerts.lock())
    }
}

/// An action of fixed price that is no model call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The job that pays.
    pub job: Arc<str>,
    /// The item it is for.
    pub item: u32,
    /// Who is paid.
    pub provider: ProviderId,
    /// What it is, as the price table calls it, such as `x.post`.
    pub name: String,
    /// What it costs.
    pub price: Micros,
}

/// Money that was set aside and that nobody has taken yet: dropped, it goes back.
#[derive(Debug)]
pub(super) struct Claim {
    gate: BudgetGate,
    pub(super) granted: Option<Granted>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(granted) = self.granted.take() else { return };
        match &granted.allowance {
            Some(child) => self.gate.close(child),
            None => self.gate.free(&granted.line, granted.amount, Micros::ZERO),
        }
    }
}
