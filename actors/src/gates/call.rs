//! A model call and the passage it must take.
//!
//! `Call<Draft> → Call<Screened> → Call<Funded> → Call<Cleared>`: each stage can be made only by
//! its gate, and a [`Provider`](crate::ports::Provider) takes the last one alone. Skipping a gate
//! does not compile.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::budget::{Bill, Hold};
use super::detect::Redactor;
use super::meter::{Health, Told, Trip, Used};
use super::rate::{News, Permit};
use super::room::Class;
use crate::failure::{Billing, CallError, FailureKind};
use crate::level::Level;
use crate::model::Model;
use crate::money::Micros;
use crate::money::Usage;
use crate::ports::{Exchange, HoldId, Reply, StoreError};
use crate::schema::Schema;

/// Who said a turn of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The program, asking.
    User,
    /// The model, answering.
    Assistant,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who said it.
    pub speaker: Speaker,
    /// What was said.
    pub text: String,
}

impl Turn {
    /// A turn of the program's.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Turn {
        Turn { speaker: Speaker::User, text: text.into() }
    }

    /// A turn of the model's.
    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Turn {
        Turn { speaker: Speaker::Assistant, text: text.into() }
    }
}

/// What the prompts of a job begin with, as written by its templates: a hint for vendors' prompt
/// caches. It is never sent, since it was not looked at by any gate; only how far a request still
/// begins with it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPrefix {
    /// The system prompt, if it is the same in every call.
    pub system: Option<String>,
    /// The beginning of the first user's turn, as far as it is.
    pub prompt: String,
}

/// How a call stands in line at the rate gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How urgent it is.
    pub class: Class,
    /// Its job's share beside other jobs of its class; at least 1.
    pub weight: u16,
    /// When it must have left.
    pub deadline: Option<Instant>,
    /// Whether the same call was sent before and turned away or lost.
    pub is_retry: bool,
    /// Whether its caller has another model to turn to: then it does not wait for one that fails.
    pub has_other: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Standing { class: Class::Normal, weight: 1, deadline: None, is_retry: false, has_other: false }
    }
}

/// Everything a vendor will be told, in no vendor's dialect yet.
#[derive(Debug, Clone)]
pub struct Request {
    /// The job that pays.
    pub job: Arc<str>,
    /// The item's number in its job, for records only; it is never sent.
    pub item: u32,
    /// Who is asked.
    pub model: Arc<Model>,
    /// The system prompt.
    pub system: Option<String>,
    /// The conversation, a user's turn last.
    pub turns: Vec<Turn>,
    /// The JSON Schema that the answer must fit; `None` for free text.
    pub schema: Option<Arc<Schema>>,
    /// Output tokens requested at most.
    pub max_tokens: u32,
    /// How private the content is.
    pub level: Level,
    /// What the job's other calls begin with as well.
    pub shared: Option<Arc<SharedPrefix>>,
    /// How it stands in line; never sent.
    pub standing: Standing,
}

impl Request {
    /// A bound on the input tokens: a token is at least one byte, and framing is counted
    /// generously per turn. Counts the schema too, since it is sent in one way or another.
    #[must_use]
    pub fn input_token_bound(&self) -> u64 {
        const FRAME_TOKENS: usize = 512;
        const TURN_TOKENS: usize = 16;
        let schema = self.schema.as_ref().map_or(0, |schema| 2 * schema.text().len());
        let turns: usize = self.turns.iter().map(|turn| turn.text.len() + TURN_TOKENS).sum();
        (FRAME_TOKENS + self.system.as_ref().map_or(0, String::len) + turns + schema) as u64
    }
}

mod sealed {
    pub trait Stage {}
}

/// How far a call has come.
pub trait Stage: sealed::Stage {}

/// Written, not looked at by any gate.
#[derive(Debug)]
pub struct Draft(());

/// What the privacy gate cut out of a call, if anything, to be put back for its owner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(pub(super) Option<Arc<Redactor>>);

impl Cut {
    /// How many values.
    pub(crate) fn values(&self) -> u32 {
        self.0.as_ref().map_or(0, |redactor| redactor.found())
    }

    /// An answer as its owner may see it: what was cut out of the call is put back. It goes through
    /// the privacy gate again before it is sent anywhere.
    pub(crate) fn restore<'a>(&self, answer: &'a str) -> Cow<'a, str> {
        let Some(redactor) = &self.0 else { return Cow::Borrowed(answer) };
        Cow::Owned(match serde_json::from_str::<serde_json::Value>(answer) {
            Ok(json) => redactor.restore_json(&json).to_string(),
            Err(_) => redactor.restore(answer),
        })
    }
}

/// Seen by the privacy gate: what may not leave has been cut out.
#[derive(Debug)]
pub struct Screened {
    cut: Cut,
    input_bound: u64,
}

/// Its worst case is reserved by the budget gate.
#[derive(Debug)]
pub struct Funded {
    input_bound: u64,
    hold: Hold,
}

/// May be sent now.
#[derive(Debug)]
pub struct Cleared {
    hold: Hold,
    permit: Permit,
}

macro_rules! stages {
    ($($stage:ty),*) => {$(
        impl sealed::Stage for $stage {}
        impl Stage for $stage {}
    )*};
}
stages!(Draft, Screened, Funded, Cleared);

/// A model call at stage `S` of the passage.
#[derive(Debug)]
pub struct Call<S: Stage> {
    request: Request,
    stage: S,
}

impl<S: Stage> Call<S> {
    /// What would be sent.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }
}

impl Call<Draft> {
    /// A new call, to be taken to the privacy gate.
    #[must_use]
    pub fn draft(request: Request) -> Self {
        Call { request, stage: Draft(()) }
    }

    /// Only the privacy gate does this, with the request as it may leave.
    pub(super) fn screened(request: Request, cut: Cut) -> Call<Screened> {
        let input_bound = request.input_token_bound();
        Call { request, stage: Screened { cut, input_bound } }
    }

    /// Only the privacy gate does this.
    pub(super) fn into_request(self) -> Request {
        self.request
    }
}

impl Call<Screened> {
    /// [`Request::input_token_bound`], counted once: several gates ask for it.
    pub(super) fn input_bound(&self) -> u64 {
        self.stage.input_bound
    }

    /// What was cut out of it.
    pub(crate) fn cut(&self) -> Cut {
        self.stage.cut.clone()
    }

    /// Only the budget gate does this. No more output is requested than the hold covers.
    pub(super) fn funded(self, hold: Hold) -> Call<Funded> {
        let mut request = self.request;
        if let Some(granted) = hold.granted_tokens() {
            request.max_tokens = request.max_tokens.min(granted);
        }
        Call { request, stage: Funded { input_bound: self.stage.input_bound, hold } }
    }
}

impl Call<Funded> {
    /// As of the call that was [screened](Call::<Screened>::input_bound).
    pub(super) fn input_bound(&self) -> u64 {
        self.stage.input_bound
    }

    /// Only the rate gate does this. If the process is killed from here on, the call counts as
    /// sent.
    pub(super) fn cleared(self, permit: Permit) -> Result<Call<Cleared>, StoreError> {
        let Funded { hold, .. } = self.stage;
        hold.leave()?;
        Ok(Call { request: self.request, stage: Cleared { hold, permit } })
    }
}

impl Call<Cleared> {
    /// Identifies it, as its reservation does.
    pub(crate) fn id(&self) -> HoldId {
        self.stage.hold.record.id
    }

    /// What it is billed if it gets lost.
    pub(crate) fn reserved(&self) -> Micros {
        self.stage.hold.reserved()
    }

    /// Takes the call apart for sending: the request, and the receipt that must go back with
    /// the outcome. A receipt that is dropped instead bills the call at its reservation.
    ///
    /// # Errors
    /// The permit has run out, and there is no other one right now: the call may not be sent. What
    /// came of it is to be handed back instead of an exchange.
    pub fn open(self) -> Result<(Request, Receipt), Box<Exchange>> {
        let Cleared { mut hold, mut permit } = self.stage;
        let may_leave = permit.sent();
        if may_leave {
            hold.mark_sent();
        }
        let receipt = Receipt { hold, permit, told: Vec::new() };
        if may_leave {
            Ok((self.request, receipt))
        } else {
            Err(Box::new(Exchange { receipt, outcome: Err(too_late()) }))
        }
    }
}

/// What a sent call still owes: its reservation to settle, its permit to give back.
#[derive(Debug)]
#[must_use = "a dropped receipt bills the call at its reservation"]
pub struct Receipt {
    hold: Hold,
    permit: Permit,
    told: Vec<Told>,
}

impl Receipt {
    /// Notes what the vendor said about its own limits, for the lane.
    pub fn heard(&mut self, told: Vec<Told>) {
        self.told = told;
    }

    /// Settles the call by what came of it, and tells its lane about the provider's health.
    pub(crate) fn settle(self, outcome: &Result<Reply, CallError>) -> Bill {
        self.permit.report(News { health: health(outcome), used: used(outcome), told: self.told });
        match outcome {
            Ok(Reply { usage: Some(usage), .. }) => self.hold.settle_usage(usage),
            Ok(_) => self.hold.settle_failed(Billing::Reservation),
            // The provider answered, so the call counts against its hour and day, though it is free.
            Err(CallError { billing: Billing::Nothing, status: Some(_), .. }) => {
                self.hold.settle_usage(&Usage::default())
            }
            Err(error) => self.hold.settle_failed(error.billing),
        }
    }
}

fn too_late() -> CallError {
    CallError {
        kind: FailureKind::NotSent,
        status: None,
        message: "its permit ran out before it was sent, and another one is not free".to_owned(),
        retry_after: None,
        billing: Billing::Nothing,
    }
}

fn health(outcome: &Result<Reply, CallError>) -> Health {
    let Err(error) = outcome else { return Health::Good };
    if error.kind.is_terminal() {
        let message = error.message.clone();
        return Health::Broken(Trip { kind: error.kind, message, retry_at: None });
    }
    match error.kind {
        FailureKind::RateLimited | FailureKind::Overloaded => Health::Busy(error.kind, error.retry_after),
        FailureKind::Unreachable => Health::Unreachable(error.message.clone()),
        FailureKind::TimedOut | FailureKind::Disconnected | FailureKind::ServerError => {
            Health::Faulty(error.kind, error.message.clone())
        }
        _ => Health::Neutral,
    }
}

fn used(outcome: &Result<Reply, CallError>) -> Used {
    match outcome {
        Ok(Reply { usage: Some(usage), .. }) => Used::Counted(*usage),
        Err(CallError { billing: Billing::Nothing, status: None, .. }) => Used::Nothing,
        _ => Used::Unknown,
    }
}
