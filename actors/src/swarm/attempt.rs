//! One piece of work through the passage: models in route order, each call through all gates,
//! retries by class, one repair turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use super::context::JobContext;
use super::meters::JobMeters;
use super::order::{StopReason, item_number};
use super::passage::{GateEnd, Passed, Way, pass_gates};
use super::reuse::{Joining, Landing, Source};
use crate::call::{Call, Cleared, SharedPrefix, Standing, Turn};
use crate::failure::{CallError, FailureKind, RetryClass};
use crate::guard::pressure::GuardLevel;
use crate::level::{Labelled, Level};
use crate::model::{Model, ProviderId};
use crate::money::{Micros, Usage};
use crate::ports::{Finish, Rendered, Reply, Try, TryOutcome, backoff};
use crate::route::joint::Brought;
use crate::route::rules::{self, Crossing};
use crate::route::shares::Share;
use crate::schema::Schema;
use crate::tally::Outcome as Ended;

/// How often a call is tried again that found no connection while others did.
const UNREACHABLE_TRIES: u32 = 10;

/// What is asked, of whichever model.
pub(crate) struct Question {
    /// The item's number, for records.
    pub(crate) item: u32,
    /// The prompt, and how private it is.
    pub(crate) rendered: Labelled<Rendered>,
    /// What the answer must fit.
    pub(crate) schema: Option<Arc<Schema>>,
    /// Output tokens at most.
    pub(crate) max_tokens: u32,
    /// How many items it carries.
    pub(crate) items: usize,
    /// What the job's other calls begin with as well.
    pub(crate) shared: Option<Arc<SharedPrefix>>,
}

impl Question {
    /// How private it is.
    pub(super) fn level(&self) -> Level {
        self.rendered.level()
    }

    /// Bytes of all that is asked.
    fn bytes(&self) -> u64 {
        let schema = self.schema.as_ref().map_or(0, |schema| schema.text().len());
        let Rendered { system, prompt } = self.rendered.get();
        (schema + system.as_ref().map_or(0, String::len) + prompt.len()) as u64
    }
}

/// What an answer brought, once checked.
pub(crate) trait Checked {
    /// Whether nothing of it has to be asked again.
    fn is_whole(&self) -> bool;
}

impl Checked for Box<str> {
    fn is_whole(&self) -> bool {
        true
    }
}

impl Checked for Vec<Result<Box<str>, String>> {
    fn is_whole(&self) -> bool {
        self.iter().all(Result::is_ok)
    }
}

/// What all tries of a piece of work took.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) tries: Vec<Try>,
    pub(crate) usage: Usage,
    pub(crate) cost: Micros,
    pub(crate) calls: u32,
    pub(crate) redactions: u32,
    pub(crate) model: Option<(String, ProviderId)>,
    pub(crate) took: Duration,
    /// The answer on its way to others; to be dropped once this one's result is durable.
    pub(crate) landing: Option<Landing>,
}

impl Log {
    fn note(&mut self, model: &Model, outcome: TryOutcome, took: Duration) {
        let ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        self.tries.push(Try { model: model.id.clone(), outcome, ms });
    }

    pub(super) fn refused(&mut self, model: &Model, why: String) {
        self.note(model, TryOutcome::Refused { why }, Duration::ZERO);
    }

    /// The last thing that went wrong, in words.
    fn last_words(&self) -> String {
        let Some(last) = self.tries.last() else { return "no model of the route could be asked".into() };
        match &last.outcome {
            TryOutcome::Answered => format!("{} answered", last.model),
            TryOutcome::Rejected { why } => format!("the answer of {} failed its check: {why}", last.model),
            TryOutcome::Failed { kind, why } => format!("{}: {}: {why}", last.model, kind.words()),
            TryOutcome::Refused { why } => why.clone(),
            TryOutcome::Joined { failed: Some(why) } => {
                format!("{}: the same call of another: {why}", last.model)
            }
            TryOutcome::Cached | TryOutcome::Joined { failed: None } => format!("{} answered", last.model),
            TryOutcome::Crossed { .. } => format!("{} was not asked", last.model),
        }
    }
}

/// What came of a piece of work.
pub(crate) enum Outcome<T> {
    /// The checked answer.
    Answered(T),
    /// No model could do it.
    Dead(String),
    /// It can be done later, once what the reason says has changed.
    Parked(StopReason),
    /// The job stopped first.
    Stopped,
}

/// How trying one model ended.
enum Tried<T> {
    Answered(T),
    NextModel,
    /// A gate will never let this item go there.
    Denied,
    Never,
    Park(StopReason),
    Stopped,
}

/// Asks the models of the route, one after another, until an answer passes `check`.
pub(crate) async fn ask<T: Checked>(
    job: &JobContext,
    question: &Question,
    check: impl Fn(&str) -> Result<T, String>,
    log: &mut Log,
) -> Outcome<T> {
    let started = Instant::now();
    let mut parked = None;
    // Whether every model that this job may use at all waits for a person.
    let mut all_parked = true;
    let mut outcome = None;
    let zone_of = |model: &Arc<Model>| job.lane(model).spec.zone;
    let origin = rules::origin(job.order.route.iter().map(zone_of), question.level());
    let bytes = question.bytes();
    for (place, model) in job.order.route.iter().enumerate() {
        let crossing = match rules::crossing(job.order.rules.fallback, origin, zone_of(model)) {
            Ok(crossing) => crossing,
            Err(forbidden) => {
                log.refused(model, forbidden.to_string());
                continue;
            }
        };
        if let Err(too_long) = rules::fits(model, bytes, question.max_tokens) {
            log.refused(model, too_long.to_string());
            all_parked &= !zone_of(model).admits(job.order.level);
            continue;
        }
        match ask_in_calm(job, question, (place, crossing), model, &check, log).await {
            Tried::Answered(answer) => outcome = Some(Outcome::Answered(answer)),
            Tried::Never => outcome = Some(Outcome::Dead(log.last_words())),
            Tried::Stopped => outcome = Some(Outcome::Stopped),
            Tried::NextModel => all_parked = false,
            Tried::Denied => all_parked &= !job.lane(model).spec.zone.admits(job.order.level),
            Tried::Park(reason) => {
                parked.get_or_insert(reason);
            }
        }
        if outcome.is_some() {
            break;
        }
    }
    log.took += started.elapsed();
    if let Some(outcome) = outcome {
        return outcome;
    }
    match parked {
        Some(reason) => {
            if all_parked && job.holds_for_all(&reason) {
                job.stop(reason.clone());
            }
            Outcome::Parked(reason)
        }
        None => Outcome::Dead(log.last_words()),
    }
}

/// As [`ask_model`]; a failure that came with an emergency of the machine moves nothing to
/// another model: once the emergency is over, the same one is asked again.
async fn ask_in_calm<T: Checked>(
    job: &JobContext,
    question: &Question,
    (place, mut crossing): (usize, Option<Crossing>),
    model: &Arc<Model>,
    check: &impl Fn(&str) -> Result<T, String>,
    log: &mut Log,
) -> Tried<T> {
    loop {
        let emergencies = job.guard.emergencies();
        let tried = ask_model(job, question, (place, &mut crossing), model, check, log).await;
        let moves_on = matches!(tried, Tried::NextModel | Tried::Park(StopReason::Tripped { .. }));
        if !moves_on || !job.starved(model, emergencies) {
            return tried;
        }
        let over = job.guard.below(GuardLevel::Emergency);
        if job.unless_stopped(over).await.is_none() {
            return Tried::Stopped;
        }
    }
}

async fn ask_model<T: Checked>(
    job: &JobContext,
    question: &Question,
    (place, crossing): (usize, &mut Option<Crossing>),
    model: &Arc<Model>,
    check: &impl Fn(&str) -> Result<T, String>,
    log: &mut Log,
) -> Tried<T> {
    let mut turns = vec![Turn::user(&question.rendered.get().prompt)];
    let (mut failures, mut repaired) = (0, false);
    let mut standing = first_standing(job, question, place);
    let mut joining = Joining::default();
    loop {
        let passed = pass_gates(job, question, model, (&turns, standing), &mut joining, log).await;
        let Passed { way, cut } = match passed {
            Ok(passed) => passed,
            Err(end) => return end.into(),
        };
        if let Some(Crossing { from, to }) = crossing.take() {
            job.meters.zone_crossed();
            log.note(model, TryOutcome::Crossed { from, to }, Duration::ZERO);
        }
        log.model = Some((model.id.clone(), model.provider.clone()));
        let back = match way {
            Way::Cleared(call, share) => send(job, question, place, (*call, cut.values(), share), log).await,
            Way::Brought(brought) => taken_over(job, &brought, &mut failures),
        };
        let reply = match back.outcome {
            Ok(reply) => reply,
            // Back in line.
            Err(error) if error.kind == FailureKind::NotSent => continue,
            Err(error) => {
                log.note(model, back.source.failed(&error), back.took);
                standing.is_retry = true;
                match after_failure(job, &error, &mut failures, (back.source, &mut joining)).await {
                    None => continue,
                    Some(Tried::Stopped) => return Tried::Stopped,
                    Some(end) => {
                        joining.gave_up(&error, failures);
                        return end;
                    }
                }
            }
        };
        // Others get the answer as the model wrote it: what was cut out of this call is this one's
        // alone.
        let text = cut.restore(&reply.text);
        let judged = judge(reply.finish, &text, check);
        let why = match (cut_short(question, reply.finish, back.tokens, judged.is_err()), judged) {
            (Some(why), _) => {
                job.meters.answer_rejected();
                log.note(model, TryOutcome::Rejected { why: why.clone() }, back.took);
                return Tried::Park(StopReason::Budget(why));
            }
            (None, Ok(answer)) => {
                log.note(model, back.source.answered(), back.took);
                let is_whole = answer.is_whole();
                log.landing = joining.answered(job, question.level(), model, reply, is_whole);
                return Tried::Answered(answer);
            }
            (None, Err(why)) => why,
        };
        job.meters.answer_rejected();
        joining.rejected(&reply);
        log.note(model, back.source.rejected(why.clone()), back.took);
        if back.source == Source::Kept {
            joining.ignore_kept();
            continue;
        }
        // A refusal is not mended by asking again, nor is a whole pack.
        if repaired || question.items > 1 || reply.finish == Finish::Refusal {
            return Tried::NextModel;
        }
        repaired = true;
        standing.is_retry = false;
        turns.extend(repair(&reply, check));
    }
}

/// How a call to the model at `place` of the route stands in line at first.
fn first_standing(job: &JobContext, question: &Question, place: usize) -> Standing {
    let zone_of = |model: &Arc<Model>| job.lane(model).spec.zone;
    let origin = rules::origin(job.order.route.iter().map(zone_of), question.level());
    // What may not go to any other model waits for this one.
    let is_open = |other: &Arc<Model>| {
        let zone = zone_of(other);
        zone.admits(question.level()) && rules::crossing(job.order.rules.fallback, origin, zone).is_ok()
    };
    let has_other = job.order.route[place + 1..].iter().any(is_open);
    Standing { has_other, ..job.standing() }
}

/// A call that has come back.
struct Back {
    outcome: Result<Reply, CallError>,
    /// Output tokens that were requested, and that were wanted.
    tokens: (u32, u32),
    took: Duration,
    source: Source,
}

/// What another one's call brought.
fn taken_over(job: &JobContext, brought: &Brought, failures: &mut u32) -> Back {
    let (outcome, source) = match brought {
        Brought::Kept(text) => {
            job.meters.cache_hit();
            (Ok(Reply { text: text.to_string(), usage: None, finish: Finish::Stop }), Source::Kept)
        }
        Brought::Answer(reply) => {
            job.meters.call_joined();
            (Ok(reply.clone()), Source::Joined)
        }
        Brought::Failed { error, failures: others } => {
            job.meters.call_joined();
            *failures = (*failures).max(others.saturating_sub(1));
            (Err(error.clone()), Source::Joined)
        }
    };
    Back { outcome, tokens: (0, 0), took: Duration::ZERO, source }
}

/// Sends a call, settles it and counts it.
async fn send(
    job: &JobContext,
    question: &Question,
    place: usize,
    (call, redactions, share): (Call<Cleared>, u32, Option<Share>),
    log: &mut Log,
) -> Back {
    let started = Instant::now();
    let model = call.request().model.clone();
    let tokens = (call.request().max_tokens, question.max_tokens.min(model.max_output));
    let content = (question.items > 1, redactions);
    let underway = Underway::begin(&job.meters, &call, (place, content), share);
    let seen = job.sight.calling(question.item, model.provider.as_str(), &model.id);
    // Only calls under way have one: half a million agents wait.
    let span = tracing::info_span!(
        parent: &job.span,
        "call",
        item = item_number(question.item),
        call = call.id().0,
        provider = model.provider.as_str(),
        model = model.id.as_str(),
    );
    let exchange = job.lane(&model).provider.send(call).instrument(span.clone()).await;
    let (outcome, bill) = exchange.settle();
    drop(seen);
    let took = started.elapsed();
    let failed = outcome.as_ref().err().map(|error| error.kind.words());
    tracing::debug!(parent: &span, failed, ms = took.as_millis() as u64, billed = %bill.billed, "a call ended");
    if outcome.as_ref().is_err_and(|error| error.kind == FailureKind::NotSent) {
        underway.held_back();
        return Back { outcome, tokens, took, source: Source::Own };
    }
    let usage = outcome.as_ref().ok().and_then(|reply| reply.usage);
    let ended = outcome.as_ref().map_or_else(|error| Ended::Failed(error.kind), |_| Ended::Answered);
    underway.end(ended, usage.as_ref(), bill.billed, took);
    log.calls += 1;
    log.redactions += redactions;
    log.cost += bill.billed;
    log.usage += usage.unwrap_or_default();
    Back { outcome, tokens, took, source: Source::Own }
}

/// Why an answer is no good that ended where the money did. Nothing tells how much of a text is
/// missing; what fits a schema is whole.
fn cut_short(
    question: &Question,
    finish: Finish,
    (granted, wanted): (u32, u32),
    is_rejected: bool,
) -> Option<String> {
    let is_cut = finish == Finish::Length && granted < wanted;
    let is_missed = is_rejected || question.schema.is_none();
    (is_cut && is_missed).then(|| {
        format!("what is left covered {granted} of {wanted} output tokens, and the answer was cut off")
    })
}

/// The turns that ask for a better answer. They quote it as the model wrote it, placeholders and
/// all: put back, what was cut out could stand in an answer so escaped, and in a reason so cut
/// short, that no gate would know it again.
fn repair<T>(reply: &Reply, check: &impl Fn(&str) -> Result<T, String>) -> [Turn; 2] {
    let why = judge(reply.finish, &reply.text, check).err().unwrap_or_else(|| {
        "it does not fit any more once its placeholders are what they stand for".to_owned()
    });
    let answer = if reply.text.is_empty() { "(no answer)" } else { &reply.text };
    let wish =
        format!("That answer did not pass its check: {why}. Answer again, in full, and mend exactly that.");
    [Turn::assistant(answer), Turn::user(wish)]
}

/// What a failed call leads to; nothing if the same model is to be asked again, once this has
/// waited as long as it takes.
async fn after_failure<T>(
    job: &JobContext,
    error: &CallError,
    failures: &mut u32,
    (source, joining): (Source, &mut Joining),
) -> Option<Tried<T>> {
    // A provider's rate limit is no item's fault: the lane closes for everybody, and trips if
    // it does not open again.
    let is_busy = matches!(error.kind, FailureKind::RateLimited | FailureKind::Overloaded);
    *failures += u32::from(!is_busy);
    // A provider that cannot be reached trips its lane after a few calls of anybody: then it
    // is known how to park. Until that, no item is given up for it.
    let bound = match error.kind {
        FailureKind::Unreachable => UNREACHABLE_TRIES.max(job.order.retries),
        _ => job.order.retries,
    };
    match error.kind.retry() {
        RetryClass::Never => Some(Tried::Never),
        // The lane is tripped; going through the gate again finds out how to park.
        RetryClass::OtherModel if error.kind.is_terminal() => None,
        RetryClass::OtherModel => Some(Tried::NextModel),
        _ if *failures > bound => Some(Tried::NextModel),
        RetryClass::Now => None,
        // The lane itself keeps everybody waiting for as long as the provider asked.
        RetryClass::After if is_busy => None,
        RetryClass::After => {
            let wait = backoff(*failures, error.retry_after, job.random.as_ref());
            if source == Source::Joined {
                // Whoever takes the lead now waits; all others wait for that one.
                joining.pause = Some(wait);
                return None;
            }
            let waited = job.unless_stopped(tokio::time::sleep(wait)).await;
            waited.is_none().then_some(Tried::Stopped)
        }
    }
}

/// A call under way, as meters count it; dropped when its agent is cancelled or panics.
struct Underway<'a> {
    meters: &'a JobMeters,
    /// Its model's place in the route.
    place: usize,
    /// Whether it carries several items, and how many values were cut out of it.
    content: (bool, u32),
    reserved: Option<Micros>,
    share: Option<Share>,
}

impl<'a> Underway<'a> {
    fn begin(
        meters: &'a JobMeters,
        call: &Call<Cleared>,
        (place, content): (usize, (bool, u32)),
        mut share: Option<Share>,
    ) -> Underway<'a> {
        meters.call_started();
        if let Some(share) = &mut share {
            share.sent(call.reserved());
        }
        Underway { meters, place, content, reserved: Some(call.reserved()), share }
    }

    fn end(mut self, outcome: Ended, usage: Option<&Usage>, billed: Micros, took: Duration) {
        self.reserved = None;
        if let Some(share) = self.share.take() {
            share.settle(billed);
        }
        self.meters.call_ended(self.content, self.place, outcome, usage, (billed, took));
    }

    /// It never left.
    fn held_back(mut self) {
        self.reserved = None;
        if let Some(share) = self.share.take() {
            share.held_back();
        }
        self.meters.call_held_back();
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved {
            self.meters.call_lost(self.content, self.place, reserved);
        }
    }
}

/// The answer if it passes, or what is wrong with it.
fn judge<T>(finish: Finish, text: &str, check: &impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    match finish {
        Finish::Refusal => Err("the model declined to answer".into()),
        Finish::Stop => check(text),
        // A cut-off answer may still be whole enough to pass.
        Finish::Length => check(text).map_err(|why| format!("it was cut off at the token limit ({why})")),
    }
}

impl<T> From<GateEnd> for Tried<T> {
    fn from(end: GateEnd) -> Tried<T> {
        match end {
            GateEnd::Denied => Tried::Denied,
            GateEnd::Park(reason) => Tried::Park(reason),
            GateEnd::Stopped => Tried::Stopped,
        }
    }
}
