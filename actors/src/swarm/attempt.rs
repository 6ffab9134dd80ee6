//! One piece of work through the passage: models in route order, each call through all gates,
//! retries by class, one repair turn.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::context::{JobContext, LaneHandle};
use super::meters::JobMeters;
use super::order::StopReason;
use crate::call::{Call, Cleared, Draft, Request, Standing, Turn};
use crate::failure::{CallError, FailureKind, RetryClass};
use crate::gates::budget::BudgetRefusal;
use crate::gates::privacy::PrivacyRefusal;
use crate::gates::rate::RateRefusal;
use crate::guard::pressure::GuardLevel;
use crate::level::Level;
use crate::model::{Model, ProviderId};
use crate::money::{Micros, Usage};
use crate::ports::{Exchange, Finish, Rendered, Reply, StoreError, Try, TryOutcome, backoff};

/// How often a call is tried again that found no connection while others did.
const UNREACHABLE_TRIES: u32 = 10;
/// How often a call is tried again because a gate is being restarted.
const GATE_TRIES: u32 = 20;

/// What is asked, of whichever model.
pub(crate) struct Question {
    /// The item's number, for records.
    pub(crate) item: u32,
    /// The prompt.
    pub(crate) rendered: Rendered,
    /// What the answer must fit.
    pub(crate) schema: Option<Arc<Value>>,
    /// Output tokens at most.
    pub(crate) max_tokens: u32,
    /// How private it is.
    pub(crate) level: Level,
    /// How many items it carries.
    pub(crate) items: usize,
}

/// What all tries of a piece of work took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) tries: Vec<Try>,
    pub(crate) usage: Usage,
    pub(crate) cost: Micros,
    pub(crate) calls: u32,
    pub(crate) redactions: u32,
    pub(crate) model: Option<(String, ProviderId)>,
    pub(crate) took: Duration,
}

impl Log {
    fn note(&mut self, model: &Model, outcome: TryOutcome, took: Duration) {
        let ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        self.tries.push(Try { model: model.id.clone(), outcome, ms });
    }

    fn refused(&mut self, model: &Model, why: String) {
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
pub(crate) async fn ask<T>(
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
    for (place, model) in job.order.route.iter().enumerate() {
        match ask_in_calm(job, question, place, model, &check, log).await {
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
async fn ask_in_calm<T>(
    job: &JobContext,
    question: &Question,
    place: usize,
    model: &Arc<Model>,
    check: &impl Fn(&str) -> Result<T, String>,
    log: &mut Log,
) -> Tried<T> {
    loop {
        let emergencies = job.guard.emergencies();
        let tried = ask_model(job, question, place, model, check, log).await;
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

async fn ask_model<T>(
    job: &JobContext,
    question: &Question,
    place: usize,
    model: &Arc<Model>,
    check: &impl Fn(&str) -> Result<T, String>,
    log: &mut Log,
) -> Tried<T> {
    let mut turns = vec![Turn::user(&question.rendered.prompt)];
    let (mut failures, mut repaired) = (0, false);
    let mut standing = first_standing(job, question, place);
    loop {
        let (call, redactions) = match pass_gates(job, question, model, &turns, standing, log).await {
            Ok(passed) => passed,
            Err(end) => return end.into(),
        };
        let back = send(job, question, place, call, redactions, log).await;
        let reply = match back.outcome {
            Ok(reply) => reply,
            // Back in line.
            Err(error) if error.kind == FailureKind::NotSent => continue,
            Err(error) => {
                let outcome = TryOutcome::Failed { kind: error.kind, why: error.message.clone() };
                log.note(model, outcome, back.took);
                standing.is_retry = true;
                if let Some(end) = after_failure(job, &error, &mut failures).await {
                    return end;
                }
                continue;
            }
        };
        let judged = judge(&reply, check);
        let cut_short = cut_short(question, &reply, back.tokens, judged.is_err());
        let why = match (cut_short, judged) {
            (Some(why), _) => {
                reject(job, model, &why, back.took, log);
                return Tried::Park(StopReason::Budget(why));
            }
            (None, Ok(answer)) => {
                log.note(model, TryOutcome::Answered, back.took);
                return Tried::Answered(answer);
            }
            (None, Err(why)) => why,
        };
        reject(job, model, &why, back.took, log);
        // A refusal is not mended by asking again, nor is a whole pack.
        if repaired || question.items > 1 || reply.finish == Finish::Refusal {
            return Tried::NextModel;
        }
        repaired = true;
        standing.is_retry = false;
        turns.extend(repair(&reply, &why));
    }
}

/// How a call to the model at `place` of the route stands in line at first.
fn first_standing(job: &JobContext, question: &Question, place: usize) -> Standing {
    // What may not go to any other model waits for this one.
    let is_open = |other: &Arc<Model>| job.lane(other).spec.zone.admits(question.level);
    let has_other = job.order.route[place + 1..].iter().any(is_open);
    Standing { has_other, ..job.standing() }
}

/// A call that has come back.
struct Back {
    outcome: Result<Reply, CallError>,
    /// Output tokens that were requested, and that were wanted.
    tokens: (u32, u32),
    took: Duration,
}

/// Sends a call, settles it and counts it.
async fn send(
    job: &JobContext,
    question: &Question,
    place: usize,
    call: Call<Cleared>,
    redactions: u32,
    log: &mut Log,
) -> Back {
    let started = Instant::now();
    let model = call.request().model.clone();
    let tokens = (call.request().max_tokens, question.max_tokens.min(model.max_output));
    let underway = Underway::begin(&job.meters, &call, question.items > 1, redactions);
    let Exchange { receipt, outcome } = job.lane(&model).provider.send(call).await;
    let outcome = outcome.map(|reply| receipt.restore(reply));
    let bill = receipt.settle(&outcome);
    let took = started.elapsed();
    if outcome.as_ref().is_err_and(|error| error.kind == FailureKind::NotSent) {
        underway.held_back();
        return Back { outcome, tokens, took };
    }
    let usage = outcome.as_ref().ok().and_then(|reply| reply.usage).unwrap_or_default();
    underway.end(place, outcome.is_ok(), &usage, bill.billed);
    log.calls += 1;
    log.cost += bill.billed;
    log.usage += usage;
    log.model = Some((model.id.clone(), model.provider.clone()));
    Back { outcome, tokens, took }
}

/// Why an answer is no good that ended where the money did. Nothing tells how much of a text is
/// missing; what fits a schema is whole.
fn cut_short(
    question: &Question,
    reply: &Reply,
    (granted, wanted): (u32, u32),
    is_rejected: bool,
) -> Option<String> {
    let is_cut = reply.finish == Finish::Length && granted < wanted;
    let is_missed = is_rejected || question.schema.is_none();
    (is_cut && is_missed).then(|| {
        format!("what is left covered {granted} of {wanted} output tokens, and the answer was cut off")
    })
}

fn reject(job: &JobContext, model: &Model, why: &str, took: Duration, log: &mut Log) {
    job.meters.answer_rejected();
    log.note(model, TryOutcome::Rejected { why: why.to_owned() }, took);
}

/// The turns that ask for a better answer.
fn repair(reply: &Reply, why: &str) -> [Turn; 2] {
    let answer = if reply.text.is_empty() { "(no answer)" } else { &reply.text };
    let wish =
        format!("That answer did not pass its check: {why}. Answer again, in full, and mend exactly that.");
    [Turn::assistant(answer), Turn::user(wish)]
}

/// What a failed call leads to; nothing if the same model is to be asked again, once this has
/// waited as long as it takes.
async fn after_failure<T>(job: &JobContext, error: &CallError, failures: &mut u32) -> Option<Tried<T>> {
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
            let waited = job.unless_stopped(tokio::time::sleep(wait)).await;
            waited.is_none().then_some(Tried::Stopped)
        }
    }
}

/// A call under way, as meters count it; dropped when its agent is cancelled or panics.
struct Underway<'a> {
    meters: &'a JobMeters,
    reserved: Option<Micros>,
}

impl<'a> Underway<'a> {
    fn begin(meters: &'a JobMeters, call: &Call<Cleared>, packed: bool, redactions: u32) -> Underway<'a> {
        meters.call_started(packed, redactions);
        Underway { meters, reserved: Some(call.reserved()) }
    }

    fn end(mut self, place: usize, answered: bool, usage: &Usage, billed: Micros) {
        self.reserved = None;
        self.meters.call_ended(place, answered, usage, billed);
    }

    fn held_back(mut self) {
        self.reserved = None;
        self.meters.call_held_back();
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved {
            self.meters.call_lost(reserved);
        }
    }
}

/// The answer if it passes, or what is wrong with it.
fn judge<T>(reply: &Reply, check: &impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    match reply.finish {
        Finish::Refusal => Err("the model declined to answer".into()),
        Finish::Stop => check(&reply.text),
        // A cut-off answer may still be whole enough to pass.
        Finish::Length => {
            check(&reply.text).map_err(|why| format!("it was cut off at the token limit ({why})"))
        }
    }
}

/// How the gates end a try of a model.
enum GateEnd {
    Denied,
    Park(StopReason),
    Stopped,
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

/// Takes a call through all three gates. Gives it with the number of values cut out.
async fn pass_gates(
    job: &JobContext,
    question: &Question,
    model: &Arc<Model>,
    turns: &[Turn],
    standing: Standing,
    log: &mut Log,
) -> Result<(Call<Cleared>, u32), GateEnd> {
    let lane = job.lane(model);
    let mut gate_tries = 0;
    loop {
        if job.is_stopping() {
            return Err(GateEnd::Stopped);
        }
        let draft = Call::draft(Request {
            job: job.order.id.clone(),
            item: question.item,
            model: model.clone(),
            system: question.rendered.system.clone(),
            turns: turns.to_vec(),
            schema: question.schema.clone(),
            max_tokens: question.max_tokens.min(model.max_output),
            level: question.level,
            standing,
        });
        let Some(passed) = job.unless_stopped(pass(job, lane, draft)).await else {
            return Err(GateEnd::Stopped);
        };
        let refusal = match passed {
            Ok((call, redactions)) => {
                log.redactions += redactions;
                return Ok((call, redactions));
            }
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::GateDown if gate_tries < GATE_TRIES => {
                gate_tries += 1;
                let wait = backoff(1, None, job.random.as_ref());
                if job.unless_stopped(tokio::time::sleep(wait)).await.is_none() {
                    return Err(GateEnd::Stopped);
                }
            }
            Refusal::GateDown => {
                // Not the item's fault: it stays pending.
                log.refused(model, "a gate did not come back after its restart".into());
                return Err(GateEnd::Stopped);
            }
            Refusal::Denied(why) => {
                log.refused(model, why);
                return Err(GateEnd::Denied);
            }
            Refusal::Park(reason) => {
                log.refused(model, reason.to_string());
                return Err(GateEnd::Park(reason));
            }
            Refusal::Late(why) => {
                log.refused(model, why);
                return Err(GateEnd::Park(StopReason::Deadline));
            }
            Refusal::Store(error) => {
                job.stop(StopReason::Store(error));
                return Err(GateEnd::Stopped);
            }
        }
    }
}

enum Refusal {
    GateDown,
    Denied(String),
    Park(StopReason),
    /// It cannot leave before the job's deadline.
    Late(String),
    Store(StoreError),
}

async fn pass(
    job: &JobContext,
    lane: &LaneHandle,
    draft: Call<Draft>,
) -> Result<(Call<Cleared>, u32), Refusal> {
    let screened = job.privacy.screen(draft, lane.spec.zone).await.map_err(refused_by_privacy)?;
    let redactions = screened.redactions();
    // Before money is set aside, and journalled, for a call that cannot go anyway.
    lane.rate.foresee(&screened).map_err(|refusal| refused_by_rate(lane, refusal))?;
    let funded = job.budget.fund(screened).await.map_err(refused_by_budget)?;
    job.funded();
    let cleared = lane.rate.clear(funded).await.map_err(|refusal| refused_by_rate(lane, refusal))?;
    Ok((cleared, redactions))
}

fn refused_by_privacy(refusal: PrivacyRefusal) -> Refusal {
    match refusal {
        PrivacyRefusal::Down(_) => Refusal::GateDown,
        denied @ (PrivacyRefusal::Denied { .. }
        | PrivacyRefusal::Legal { .. }
        | PrivacyRefusal::Unseen(_)) => Refusal::Denied(denied.to_string()),
    }
}

fn refused_by_budget(refusal: BudgetRefusal) -> Refusal {
    match refusal {
        BudgetRefusal::Down(_) => Refusal::GateDown,
        BudgetRefusal::Store(error) => Refusal::Store(error),
        short @ (BudgetRefusal::Short(_) | BudgetRefusal::NeedsApproval { .. }) => {
            Refusal::Park(StopReason::Budget(short.to_string()))
        }
        denied @ (BudgetRefusal::Open(_) | BudgetRefusal::NoPrice(_)) => Refusal::Denied(denied.to_string()),
    }
}

fn refused_by_rate(lane: &LaneHandle, refusal: RateRefusal) -> Refusal {
    match refusal {
        RateRefusal::Down(_) => Refusal::GateDown,
        RateRefusal::Store(error) => Refusal::Store(error),
        RateRefusal::Tripped(trip) => {
            Refusal::Park(StopReason::Tripped { provider: lane.spec.id.clone(), trip })
        }
        late @ RateRefusal::TooLate(_) => Refusal::Late(late.to_string()),
    }
}
