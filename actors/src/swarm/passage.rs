//! A call's way through the gates: privacy, reuse, shares, budget, rate. Nothing is consumed by a
//! call that is refused on its way.

use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::{Log, Question};
use super::context::{JobContext, LaneHandle};
use super::order::StopReason;
use super::reuse::Joining;
use crate::call::{Call, Cleared, Cut, Draft, Funded, Request, Screened, Standing, Turn};
use crate::gates::budget::BudgetRefusal;
use crate::gates::privacy::PrivacyRefusal;
use crate::gates::rate::RateRefusal;
use crate::model::Model;
use crate::ports::{StoreError, backoff};
use crate::route::joint::Brought;
use crate::route::shares::{Share, WhenOver};
use crate::tally::{Gate, Verdict};

/// How often a call is tried again because a gate is being restarted.
const GATE_TRIES: u32 = 20;

/// A call that came through, and what the privacy gate cut out of it.
pub(super) struct Passed {
    pub(super) way: Way,
    pub(super) cut: Cut,
}

/// How a call came through.
pub(super) enum Way {
    /// It may be sent; with its place in the shares.
    Cleared(Box<Call<Cleared>>, Option<Share>),
    /// It need not be.
    Brought(Arc<Brought>),
}

/// How the gates end a try of a model.
pub(super) enum GateEnd {
    Denied,
    Park(StopReason),
    Stopped,
}

/// Takes a call through all gates, unless others have what it asks for.
pub(super) async fn pass_gates(
    job: &JobContext,
    question: &Question,
    model: &Arc<Model>,
    (turns, standing): (&[Turn], Standing),
    joining: &mut Joining,
    log: &mut Log,
) -> Result<Passed, GateEnd> {
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
            system: question.rendered.get().system.clone(),
            turns: turns.to_vec(),
            schema: question.schema.clone(),
            max_tokens: question.max_tokens.min(model.max_output),
            level: question.level(),
            shared: question.shared.clone(),
            standing,
        });
        let Some(passed) = job.unless_stopped(pass(job, lane, draft, joining)).await else {
            return Err(GateEnd::Stopped);
        };
        let refusal = match passed {
            Ok(passed) => return Ok(passed),
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
    joining: &mut Joining,
) -> Result<Passed, Refusal> {
    let screening = async { job.privacy.screen(draft, lane.spec.zone).await.map_err(refused_by_privacy) };
    let screened = at(job, Gate::Privacy, screening).await?;
    let cut = screened.cut();
    if let Some(brought) = joining.look(job, screened.request()).await {
        return Ok(Passed { way: Way::Brought(brought), cut });
    }
    if let Some(pause) = joining.pause.take() {
        tokio::time::sleep(pause).await;
    }
    // Before money is set aside, and journalled, for a call that cannot go anyway.
    if let Err(refusal) = lane.rate.foresee(&screened) {
        return at(job, Gate::Rate, async { Err(refused_by_rate(lane, refusal)) }).await;
    }
    let share = match &job.shared.shares {
        Some(_) => at(job, Gate::Share, take_share(job, lane)).await?,
        None => None,
    };
    let funding = async { job.budget.fund(screened).await.map_err(refused_by_budget) };
    let funded = at(job, Gate::Budget, funding).await?;
    job.funded();
    let clearing = async { lane.rate.clear(funded).await.map_err(|refusal| refused_by_rate(lane, refusal)) };
    let cleared = at(job, Gate::Rate, clearing).await?;
    Ok(Passed { way: Way::Cleared(Box::new(cleared), share), cut })
}

/// What a gate says, counted together with how long it took.
async fn at<T: Passes>(
    job: &JobContext,
    gate: Gate,
    asked: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let began = Instant::now();
    let said = asked.await;
    let verdict = match &said {
        Ok(passed) => passed.verdict(),
        Err(Refusal::GateDown) => Verdict::Down,
        Err(Refusal::Denied(_)) => Verdict::Denied,
        Err(Refusal::Park(_)) => Verdict::Parked,
        Err(Refusal::Late(_)) => Verdict::TooLate,
        Err(Refusal::Store(_)) => Verdict::Store,
    };
    job.meters.tally().decided(gate, verdict, began.elapsed());
    said
}

/// What a gate lets through.
trait Passes {
    fn verdict(&self) -> Verdict {
        Verdict::Passed
    }
}

impl Passes for Call<Screened> {
    fn verdict(&self) -> Verdict {
        if self.cut().values() > 0 { Verdict::Redacted } else { Verdict::Passed }
    }
}

impl Passes for Call<Funded> {}
impl Passes for Call<Cleared> {}
impl Passes for Option<Share> {}
impl Passes for Passed {}

fn refused_by_privacy(refusal: PrivacyRefusal) -> Refusal {
    match refusal {
        PrivacyRefusal::Down(_) => Refusal::GateDown,
        PrivacyRefusal::Unrecorded(error) => Refusal::Store(error),
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

/// Counts the call against its provider's share, where there are ceilings.
async fn take_share(job: &JobContext, lane: &LaneHandle) -> Result<Option<Share>, Refusal> {
    let Some(shares) = &job.shared.shares else { return Ok(None) };
    let refused = match shares.begin(&lane.spec.id).await {
        Ok(share) => return Ok(Some(share)),
        Err(over) => over.to_string(),
    };
    job.meters.over_share();
    Err(match shares.when_over() {
        WhenOver::Deny => Refusal::Denied(refused),
        WhenOver::Defer => Refusal::Park(StopReason::Share(refused)),
    })
}
