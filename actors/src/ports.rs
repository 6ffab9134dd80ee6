//! What the actors need from the outside world. The `empire` crate implements these.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, Cleared, Receipt, SharedPrefix};
use crate::failure::{CallError, FailureKind};
use crate::gates::audit::Decision;
use crate::gates::budget::Bill;
use crate::gates::calendar::Day;
use crate::guard::pressure::Readings;
use crate::level::{Level, Zone};
use crate::model::ProviderId;
use crate::money::{Micros, Usage};
use crate::schema::Schema;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Wall-clock time in milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// Date and time, to the second, as RFC 3339 has it.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.0}"),
            Err(_) => f.write_str("beyond the calendar"),
        }
    }
}

/// The time of day. Durations are measured on tokio's clock, which tests can pause; this is for
/// what must survive a restart.
pub trait WallClock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// Randomness, so that tests can fix it.
pub trait Random: Send + Sync {
    /// A number from 0 up to but not including 1.
    fn unit(&self) -> f64;
}

// --- Providers ---------------------------------------------------------------------------------

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    Stop,
    /// It ran into the requested maximum.
    Length,
    /// It declined to answer.
    Refusal,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, without any thinking.
    pub text: String,
    /// What the provider counted; `None` if it said nothing, and then the call is billed at its
    /// reservation.
    pub usage: Option<Usage>,
    /// Why it stopped.
    pub finish: Finish,
}

/// A call that was sent: what came of it, and what it still owes.
#[derive(Debug)]
pub struct Exchange {
    /// To be settled by the caller.
    pub receipt: Receipt,
    /// What came of it.
    pub outcome: Result<Reply, CallError>,
}

impl Exchange {
    /// Settles the call by what came of it, and tells its lane about the provider's health. An
    /// exchange that is dropped instead bills the call at its reservation.
    pub fn settle(self) -> (Result<Reply, CallError>, Bill) {
        let bill = self.receipt.settle(&self.outcome);
        (self.outcome, bill)
    }
}

/// A model vendor, or a server that speaks a vendor's dialect.
pub trait Provider: Send + Sync {
    /// Sends one call and waits for its answer. Retries nothing by itself.
    fn send(&self, call: Call<Cleared>) -> BoxFuture<'_, Exchange>;
}

// --- Store -------------------------------------------------------------------------------------

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space is left.
    #[error("the disk that holds the data folder is full: free some space, then `resume`")]
    DiskFull,
    /// Anything else, with what the store said.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

/// Identifies one reservation; unique in its data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(pub u64);

/// A reservation as journalled before its call leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Its id.
    pub id: HoldId,
    /// The job that pays.
    pub job: Arc<str>,
    /// The standing agent that the job belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Arc<str>>,
    /// The path of the allowance in the job that it is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<Arc<str>>,
    /// The item it is for; [`REDUCE_ITEM`] if it is for none.
    pub item: u32,
    /// Who would be paid.
    pub provider: ProviderId,
    /// For which model, or which action.
    pub model: String,
    /// The worst case.
    pub reserved: Micros,
    /// When it was made.
    pub at: UnixMillis,
}

/// How sure the final amount of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// From the provider's own count.
    Settled,
    /// Not known: billed at the reservation until reconciled.
    Unknown,
}

/// The end of a reservation whose call was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The reservation that ends.
    pub hold: HoldRecord,
    /// What is billed.
    pub billed: Micros,
    /// How sure that is.
    pub certainty: Certainty,
    /// What the provider counted.
    pub usage: Usage,
    /// When the call was sent.
    pub sent_at: UnixMillis,
}

/// One line of what the ledger adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendRow {
    /// The job that paid.
    pub job: Arc<str>,
    /// The standing agent that it belonged to.
    pub role: Option<Arc<str>>,
    /// The path of the allowance in the job that it was taken from.
    pub child: Option<Arc<str>>,
    /// Who was paid.
    pub provider: ProviderId,
    /// The day of the reservations.
    pub day: Day,
    /// How much in all.
    pub billed: Micros,
}

/// What the ledger knows when gates start.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    /// Settled spend.
    pub spent: Vec<SpendRow>,
    /// Reservations that are open now.
    pub open: Vec<HoldRecord>,
    /// The first id that no reservation has had.
    pub next_hold: u64,
}

/// Calls that were sent at one moment, as the rate gate remembers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: UnixMillis,
    /// To which model.
    pub model: Arc<str>,
    /// How many. None for tokens alone, of a call that the ledger has.
    pub calls: u32,
    /// The tokens that count for them.
    pub tokens: u64,
    /// The tokens that the vendor claims beyond those: a debt from then on.
    pub owed: u64,
}

/// The durable ledger. Operations take effect in the order in which they are given, across all
/// methods of this trait and of [`Results`].
pub trait Ledger: Send + Sync {
    /// What the ledger adds up to. Of the reservations that an earlier, dead process left open,
    /// those of calls that may have left were turned into `Unknown` settlements when the data
    /// folder was opened; the others are gone.
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>>;

    /// Journals a reservation. Its call may leave only once this has resolved.
    fn reserve(&self, hold: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Notes that the call of a durable reservation is about to leave. Once this has returned, a
    /// killed process cannot make anybody forget it; it is durable with the next commit.
    ///
    /// # Errors
    /// It could not be noted: the call may not leave.
    fn leave(&self, hold: HoldId) -> Result<(), StoreError>;

    /// Ends a reservation whose call was sent. Returns at once, as sure as [`leave`](Self::leave).
    fn settle(&self, settlement: Settlement);

    /// Ends a reservation whose call never left. Returns at once; written with the next commit.
    fn release(&self, hold: HoldId);

    /// What was sent to `provider` since `since`, oldest first: the calls that the ledger has, and
    /// what was [noted](Self::note_sent).
    fn sent_since(
        &self,
        provider: &ProviderId,
        since: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>>;

    /// Notes what the ledger does not tell of a call: that it was sent, if it is free and so has
    /// no reservation, the tokens that count for it, which are not those that it is billed, and
    /// those that it owes.
    /// Resolves when durable.
    fn note_sent(&self, provider: &ProviderId, sent: Sent) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// What decides an item's answer: a hash of its prompt and parameters. Equal items have equal
/// keys and are called once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ItemKey(pub [u8; 16]);

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemKey({self})")
    }
}

/// Stands where an item's number would, for calls of the reduce.
pub const REDUCE_ITEM: u32 = u32::MAX;

/// Which part of the job a result belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// An item of the input.
    Item,
    /// A step of the reduce.
    Reduce,
}

/// One model call of an agent, as its record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The model that was asked, or would have been.
    pub model: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: TryOutcome,
    /// How long the call took, in milliseconds; 0 if it was not sent.
    pub ms: u32,
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TryOutcome {
    /// The answer passed its check.
    Answered,
    /// An answer came and failed its check.
    Rejected {
        /// What was wrong with it.
        why: String,
    },
    /// The call failed.
    Failed {
        /// How.
        kind: FailureKind,
        /// What the provider said.
        why: String,
    },
    /// A gate refused; nothing was sent.
    Refused {
        /// Which gate and why.
        why: String,
    },
    /// The answer to the same call was kept; nothing was sent.
    Cached,
    /// The same call was under way for somebody else; nothing was sent.
    Joined {
        /// What was wrong with what it brought; nothing, if its answer passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// The call that comes next goes to a less trusted zone than the route began in.
    Crossed {
        /// Where the route began.
        from: Zone,
        /// Where it goes now.
        to: Zone,
    },
}

impl TryOutcome {
    /// Whether a call was sent for it.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        matches!(self, TryOutcome::Answered | TryOutcome::Rejected { .. } | TryOutcome::Failed { .. })
    }
}

/// How an agent ended for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// With an answer: JSON text that fits the schema, or plain text as a JSON string.
    Done(Box<str>),
    /// Without one, and why.
    Dead(String),
}

/// One finished agent's record: the answer, and all it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// The job.
    pub job: Arc<str>,
    /// Item or reduce step.
    pub part: Part,
    /// What decided the answer.
    pub key: ItemKey,
    /// The item's number (the first one, where several are equal).
    pub item: u32,
    /// Done or dead.
    pub verdict: Verdict,
    /// The model that answered; the last one tried for a dead agent; `None` if none was asked.
    pub model: Option<String>,
    /// Its provider.
    pub provider: Option<ProviderId>,
    /// All tokens of all tries.
    pub usage: Usage,
    /// All money of all tries, as billed.
    pub cost: Micros,
    /// Model calls, shared calls counted once at the item that carried them.
    pub calls: u32,
    /// Values that were cut out of what left.
    pub redactions: u32,
    /// How many items shared the call that answered (1: alone).
    pub packed: u16,
    /// From the first call's start to the answer, in milliseconds.
    pub ms: u32,
    /// What was tried, in order.
    pub tries: Vec<Try>,
    /// When.
    pub at: UnixMillis,
}

/// Where results go.
pub trait Results: Send + Sync {
    /// Records a result. The agent is done once this has resolved. A second record of the same
    /// job, part and key changes nothing, unless the first one was dead.
    fn record(&self, record: ResultRecord) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// One input item as an agent needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number in the input, from 0.
    pub number: u32,
    /// The number of the first item with the same key: its own, unless an equal one came before.
    pub first: u32,
    /// What decides its answer.
    pub key: ItemKey,
    /// Its own level, if the row carries one.
    pub level: Option<Level>,
    /// Its columns: a JSON object.
    pub row: Box<str>,
}

/// A cohort's share of the input: up to 1,024 consecutive items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Items in order of their number, without gaps.
    pub items: Vec<Item>,
}

/// Where items come from.
pub trait Items: Send + Sync {
    /// The items of cohort number `cohort`, read afresh: the caller lets go of them soon.
    fn chunk(&self, cohort: u32) -> BoxFuture<'_, Result<Arc<Chunk>, StoreError>>;
}

/// Where finished answers are read again, for the reduce.
pub trait Answers: Send + Sync {
    /// The answers of one cohort's done items, in input order.
    fn of_cohort(&self, cohort: u32) -> BoxFuture<'_, Result<Vec<Box<str>>, StoreError>>;

    /// The answer of a reduce step that was done before.
    fn reduced(&self, key: ItemKey) -> BoxFuture<'_, Result<Option<Box<str>>, StoreError>>;
}

// --- What the privacy gate decided -------------------------------------------------------------

/// Keeps what the privacy gate decided.
pub trait Audit: Send + Sync {
    /// What contents are hashed with, so that a hash tells nobody what it is of.
    fn salt(&self) -> &[u8; 32];

    /// Keeps a decision. Returns at once; it is durable no later than a reservation that is made
    /// after it.
    ///
    /// # Errors
    /// It cannot be kept: the call may not leave.
    fn decided(&self, decision: Decision) -> Result<(), StoreError>;
}

// --- The machine -------------------------------------------------------------------------------

/// Reads how the machine is.
pub trait Sampler: Send + Sync {
    /// One sample: cheap, and soon there.
    fn sample(&self) -> BoxFuture<'_, Readings>;
}

/// Makes durable what was given to the store so far.
pub trait Checkpoint: Send + Sync {
    /// Resolves once it is.
    fn checkpoint(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

// --- Kept answers ------------------------------------------------------------------------------

/// What makes two calls the same call; see [`call_key`](crate::route::key::call_key).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub [u8; 32]);

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallKey(")?;
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

/// Answers to calls that were made before. Each passed its check, and is as the model wrote it.
/// Bounded; losing one loses nothing but money. Failing to find one is no error.
pub trait AnswerCache: Send + Sync {
    /// The answer that is kept for a call.
    fn get(&self, key: CallKey, level: Level) -> BoxFuture<'_, Option<Arc<str>>>;

    /// Keeps an answer, in the place of an earlier one. Returns at once.
    fn put(&self, key: CallKey, level: Level, answer: &str);
}

// --- The job's own logic -----------------------------------------------------------------------

/// A prompt made from items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The system prompt.
    pub system: Option<String>,
    /// The user's prompt.
    pub prompt: String,
}

/// What a job does with its items: templates and answer checks. Pure; no I/O.
pub trait Script: Send + Sync {
    /// The prompt for one item. The error names the template, the field, the row and the line.
    fn render(&self, item: &Item) -> Result<Rendered, String>;

    /// The one prompt for several items, which are told apart by `1` to `n` in order.
    fn render_pack(&self, items: &[Item]) -> Result<Rendered, String>;

    /// The schema a single answer must fit; `None` for free text.
    fn schema(&self) -> Option<Arc<Schema>>;

    /// The schema of a pack of `n` answers: an object with the keys `1` to `n`.
    fn pack_schema(&self, n: usize) -> Arc<Schema>;

    /// Checks an answer. Gives it as compact JSON (text as a JSON string), or what is wrong, in
    /// words that a model can act on.
    fn check(&self, answer: &str) -> Result<Box<str>, String>;

    /// Splits the answer to a pack of `n` and checks each part: for each item its answer, or
    /// what is wrong with it (missing, doubled, or failing its check). `Err` if the whole
    /// cannot be read.
    fn split_pack(&self, answer: &str, n: usize) -> Result<Vec<Result<Box<str>, String>>, String>;

    /// Output tokens to request for `n` items in one call.
    fn max_tokens(&self, n: usize) -> u32;

    /// What is the same at the beginning of every prompt of an item; `None` if nothing is.
    fn shared(&self) -> Option<Arc<SharedPrefix>> {
        None
    }

    /// Output tokens to request for a reduce step.
    fn reduce_max_tokens(&self) -> u32;

    /// What decides the answer of a reduce step over `inputs`.
    fn reduce_key(&self, depth: u32, inputs: &[Box<str>]) -> ItemKey;

    /// The prompt of one reduce step over `answers` (compact JSON each). `last` for the final
    /// step. `None` if the job has no reduce.
    fn render_reduce(&self, answers: &[Box<str>], last: bool) -> Option<Result<Rendered, String>>;
}

/// How long to wait before try number `tries` (1 for the first retry): exponential from half a
/// second to a minute, with full jitter on the upper half, and never less than the provider
/// asked for.
#[must_use]
pub fn backoff(tries: u32, asked: Option<Duration>, random: &dyn Random) -> Duration {
    let ceiling = Duration::from_millis(500)
        .saturating_mul(1 << tries.saturating_sub(1).min(7))
        .min(Duration::from_secs(60));
    let jittered = ceiling.mul_f64(0.5 + random.unit() / 2.0);
    asked.map_or(jittered, |asked| asked + jittered.min(asked.mul_f64(0.1)))
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::UnixMillis;

    #[test]
    fn moments_are_written_as_everybody_writes_them() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-1_000, "1969-12-31T23:59:59Z"),
        ];
        for (millis, text) in table {
            assert_eq!(UnixMillis(millis).to_string(), text);
        }
    }
}
