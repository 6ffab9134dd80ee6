//! An agent: a cell that works one item of a job. While it waits it is an id, a mailbox and a
//! pointer to its cohort; prompt and call exist only during its turn.

use std::sync::Arc;

use futures_util::future::join_all;

use super::attempt::{self, Log, Outcome, Question};
use super::cohort::{CohortShared, Finished};
use super::context::{JobContext, Twin};
use super::order::StopReason;
use super::turnstile::Turn;
use crate::kernel::cell::{Behaviour, CellRef, Step};
use crate::level::Labelled;
use crate::money::{Micros, Usage};
use crate::ports::{Item, Part, ResultRecord, StoreError, Try, Verdict};

/// The address of an agent.
pub(crate) type AgentRef = CellRef<Note>;

/// What an agent is sent.
#[derive(Debug)]
pub(crate) enum Note {
    /// Its turn has come.
    Go(Turn),
    /// Another agent's call brought this one's end; it is durable.
    Settled(AgentEnd),
    /// The shared call brought it nothing: it works alone when its turn comes. It carries its
    /// share of that call.
    Alone(Box<Log>),
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgentEnd {
    /// With an answer that is durable.
    Done,
    /// Without one, for good; durable too.
    Dead,
    /// Its item stays pending, for this reason.
    Parked(Option<StopReason>),
}

/// An agent's state.
pub(crate) struct Agent {
    pub(crate) cohort: Arc<CohortShared>,
    pub(crate) index: u16,
    /// What it has taken so far, if it works on after a shared call.
    pub(crate) alone: Option<Box<Log>>,
}

impl Behaviour for Agent {
    type Message = Note;
    type Report = AgentEnd;

    async fn handle(&mut self, note: Note) -> Step<AgentEnd> {
        match note {
            Note::Go(turn) => self.work(turn).await,
            Note::Settled(end) => Step::End(end),
            // Told twice when its carrier panicked after it had told everybody.
            Note::Alone(_) if self.alone.is_some() => Step::Wait,
            Note::Alone(log) => self.go_alone(log),
        }
    }
}

impl Agent {
    /// Waits for a turn of its own, before those that have not had any.
    fn go_alone(&mut self, log: Box<Log>) -> Step<AgentEnd> {
        self.alone = Some(log);
        let job = &self.cohort.job;
        match self.cohort.agent(self.index) {
            Some(own) if !job.is_stopping() => {
                job.turnstile.enqueue_first(own);
                Step::Wait
            }
            _ => Step::End(AgentEnd::Parked(None)),
        }
    }

    async fn work(&mut self, turn: Turn) -> Step<AgentEnd> {
        let job = self.cohort.job.clone();
        let indices = match self.alone {
            Some(_) => vec![self.index],
            None => self.cohort.unit_of(self.index),
        };
        let chunk = match job.unless_stopped(job.chunk(self.cohort.plan.number)).await {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                job.stop(StopReason::Store(error));
                return Step::End(AgentEnd::Parked(None));
            }
            None => return Step::End(AgentEnd::Parked(None)),
        };
        let items: Vec<Item> = indices.iter().map(|index| chunk.items[usize::from(*index)].clone()).collect();
        drop(chunk);
        let end = match items.as_slice() {
            [item] => Ok(self.work_alone(&job, item, turn).await),
            _ => self.work_pack(&job, &indices, &items, turn).await,
        };
        match end {
            Ok(end) => {
                if let AgentEnd::Parked(_) = end {
                    settle_twins(&job, &items[0], &end);
                }
                Step::End(end)
            }
            Err(own_share) => self.go_alone(own_share),
        }
    }

    async fn work_alone(&mut self, job: &Arc<JobContext>, item: &Item, turn: Turn) -> AgentEnd {
        let mut log = self.alone.take().map_or_else(Log::default, |log| *log);
        let verdict = match labelled(job, item).try_map(|item| job.script.render(item)) {
            // Every prompt was rendered once at admission; a row that fails now is a bad row.
            Err(why) => Verdict::Dead(why),
            Ok(rendered) => {
                let question = Question {
                    item: item.number,
                    rendered,
                    schema: job.script.schema(),
                    max_tokens: job.script.max_tokens(1),
                    items: 1,
                    // A beginning that no other call has costs more to keep than it saves.
                    shared: job.script.shared().filter(|_| job.order.pending > 1),
                };
                match attempt::ask(job, &question, |answer| job.script.check(answer), &mut log).await {
                    Outcome::Answered(answer) => Verdict::Done(answer),
                    Outcome::Dead(why) => Verdict::Dead(why),
                    Outcome::Parked(reason) => return AgentEnd::Parked(Some(reason)),
                    Outcome::Stopped => return AgentEnd::Parked(None),
                }
            }
        };
        // Whoever cannot be recorded yet keeps its turn.
        let _room = job.room_to_record(1).await;
        drop(turn);
        let landing = log.landing.take();
        let end = self.record(job, self.index, item, verdict, log, 1).await;
        drop(landing);
        end
    }

    /// One call for several items. What it brings is shared out; whoever it brought nothing
    /// works alone. `Err` if that is the carrier itself, with its share of the call.
    async fn work_pack(
        &mut self,
        job: &Arc<JobContext>,
        indices: &[u16],
        items: &[Item],
        turn: Turn,
    ) -> Result<AgentEnd, Box<Log>> {
        let mut log = Log::default();
        let together =
            Labelled::new(items, job.order.level).with(items.iter().map(|item| labelled(job, item)));
        let outcome = match together.try_map(|(items, _)| job.script.render_pack(items)) {
            Err(why) => Outcome::Dead(why),
            Ok(rendered) => {
                let question = Question {
                    item: items[0].number,
                    rendered,
                    schema: Some(job.script.pack_schema(items.len())),
                    max_tokens: job.script.max_tokens(items.len()),
                    items: items.len(),
                    shared: None,
                };
                attempt::ask(job, &question, |answer| job.script.split_pack(answer, items.len()), &mut log)
                    .await
            }
        };
        let parts = match outcome {
            Outcome::Answered(parts) => parts,
            Outcome::Dead(why) => items.iter().map(|_| Err(why.clone())).collect(),
            Outcome::Parked(reason) => return Ok(self.park_pack(job, indices, items, Some(reason))),
            Outcome::Stopped => return Ok(self.park_pack(job, indices, items, None)),
        };
        let _room = job.room_to_record(items.len()).await;
        drop(turn);
        let landing = log.landing.take();
        let answered = parts.iter().filter(|part| part.is_ok()).count();
        let shares = share_out(&log, items, &parts);
        let mut failed = Vec::new();
        let agent = &*self;
        let mut recording = Vec::with_capacity(answered);
        for (place, (part, share)) in parts.into_iter().zip(shares).enumerate() {
            match part {
                Ok(answer) => {
                    let packed = u16::try_from(items.len()).unwrap_or(u16::MAX);
                    recording.push(async move {
                        let verdict = Verdict::Done(answer);
                        (
                            place,
                            agent.record(job, indices[place], &items[place], verdict, share, packed).await,
                        )
                    });
                }
                Err(_) => failed.push((place, share)),
            }
        }
        let mut own_end = None;
        for (place, end) in join_all(recording).await {
            if place == 0 {
                own_end = Some(end);
            } else {
                self.tell(indices[place], Note::Settled(end));
            }
        }
        drop(landing);
        let mut own_log = None;
        for (place, share) in failed {
            if place == 0 {
                own_log = Some(Box::new(share));
            } else {
                self.tell(indices[place], Note::Alone(Box::new(share)));
            }
        }
        own_end.ok_or_else(|| own_log.unwrap_or_default())
    }

    fn park_pack(
        &self,
        job: &Arc<JobContext>,
        indices: &[u16],
        items: &[Item],
        reason: Option<StopReason>,
    ) -> AgentEnd {
        let end = AgentEnd::Parked(reason);
        for (index, item) in indices.iter().zip(items).skip(1) {
            settle_twins(job, item, &end);
            self.tell(*index, Note::Settled(end.clone()));
        }
        end
    }

    fn tell(&self, index: u16, note: Note) {
        if let Some(agent) = self.cohort.agent(index) {
            // A member that was cancelled in the meantime is accounted for by its cohort.
            let _ = agent.send(note);
        }
    }

    /// Makes the end of one item durable, then counts it.
    async fn record(
        &self,
        job: &Arc<JobContext>,
        index: u16,
        item: &Item,
        verdict: Verdict,
        log: Log,
        packed: u16,
    ) -> AgentEnd {
        let dead = matches!(verdict, Verdict::Dead(_));
        if let Verdict::Dead(why) = &verdict {
            job.sight.died(item.number, why);
        }
        let record = result_record(job, Part::Item, item, verdict, log, packed);
        finish(job, &self.cohort, index, item, dead, job.results.record(record).await)
    }
}

/// Counts an item whose record is durable, or stops the job if it could not be made so.
pub(crate) fn finish(
    job: &Arc<JobContext>,
    cohort: &CohortShared,
    index: u16,
    item: &Item,
    dead: bool,
    recorded: Result<(), StoreError>,
) -> AgentEnd {
    if let Err(error) = recorded {
        job.stop(StopReason::Store(error));
        return AgentEnd::Parked(None);
    }
    count(job, &cohort.finished, index, dead);
    let end = if dead { AgentEnd::Dead } else { AgentEnd::Done };
    settle_twins(job, item, &end);
    end
}

/// Counts a finished item, once; too many dead ones stop the job.
pub(crate) fn count(job: &JobContext, finished: &Finished, index: u16, dead: bool) {
    if !finished.set(index) {
        return;
    }
    if let Some((failed, of)) = job.meters.agent_finished(dead, job.order.failure_rule) {
        job.stop(StopReason::FailureRate { failed, of });
    }
}

/// Counts equal items as this one, and tells their agents how it ended.
fn settle_twins(job: &JobContext, item: &Item, end: &AgentEnd) {
    if !job.order.has_twins {
        return;
    }
    let mut twins = job.twins.lock();
    let before = match end {
        AgentEnd::Parked(_) => twins.remove(&item.key),
        AgentEnd::Done => twins.insert(item.key, Twin::Ended { dead: false }),
        AgentEnd::Dead => twins.insert(item.key, Twin::Ended { dead: true }),
    };
    drop(twins);
    if let Some(Twin::Worked { followers, .. }) = before {
        for follower in followers {
            follower.settle(job, end);
        }
    }
}

/// The record of a finished item or reduce step.
pub(crate) fn result_record(
    job: &JobContext,
    part: Part,
    item: &Item,
    verdict: Verdict,
    log: Log,
    packed: u16,
) -> ResultRecord {
    let (model, provider) = log.model.unzip();
    ResultRecord {
        job: job.order.id.clone(),
        part,
        key: item.key,
        item: item.first,
        verdict,
        model,
        provider,
        usage: log.usage,
        cost: log.cost,
        calls: log.calls,
        redactions: log.redactions,
        packed,
        ms: u32::try_from(log.took.as_millis()).unwrap_or(u32::MAX),
        tries: log.tries,
        at: job.clock.now(),
    }
}

/// An item and how private it is: as its job, or more.
pub(crate) fn labelled<'a>(job: &JobContext, item: &'a Item) -> Labelled<&'a Item> {
    Labelled::new(item, item.level.map_or(job.order.level, |own| own.max(job.order.level)))
}

/// Shares out a pack's cost and usage by the size of rows, so that the sums stay exact. The call
/// itself counts once, at the carrier.
fn share_out(log: &Log, items: &[Item], parts: &[Result<Box<str>, String>]) -> Vec<Log> {
    let weights: Vec<u64> = items.iter().map(|item| item.row.len() as u64 + 1).collect();
    let costs: Vec<Micros> = log.cost.split(&weights);
    let usages: Vec<Usage> = log.usage.split(&weights);
    let redactions = crate::money::split_exactly(u64::from(log.redactions), &weights);
    let share = |place: usize| Log {
        tries: tries_of(&log.tries, &parts[place]),
        usage: usages[place],
        cost: costs[place],
        calls: if place == 0 { log.calls } else { 0 },
        redactions: u32::try_from(redactions[place]).unwrap_or(u32::MAX),
        model: log.model.clone(),
        took: log.took,
        landing: None,
    };
    (0..items.len()).map(share).collect()
}

/// A member's view of the shared tries: the last one brought it an answer, or did not.
fn tries_of(tries: &[Try], part: &Result<Box<str>, String>) -> Vec<Try> {
    use crate::ports::TryOutcome;
    let mut own = tries.to_vec();
    if let (Some(last), Err(why)) = (own.last_mut(), part) {
        let why = format!("in the shared call: {why}");
        match &last.outcome {
            TryOutcome::Answered => last.outcome = TryOutcome::Rejected { why },
            TryOutcome::Joined { failed: None } => last.outcome = TryOutcome::Joined { failed: Some(why) },
            _ => {}
        }
    }
    own
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::ItemKey;

    proptest! {
        #[test]
        fn what_a_pack_cost_is_shared_out_exactly(
            cost in 0u64..1_000_000, input in 0u64..100_000, output in 0u64..100_000, redactions in 0u32..50,
            rows in prop::collection::vec("[a-z]{0,40}", 2..30),
        ) {
            let items: Vec<Item> = rows.iter().enumerate().map(|(n, row)| Item {
                number: u32::try_from(n).unwrap(), first: 0, key: ItemKey([0; 16]), level: None, row: row.as_str().into(),
            }).collect();
            let parts: Vec<_> = items.iter().map(|_| Ok("1".into())).collect();
            let log = Log {
                cost: Micros(cost), usage: Usage { input, output, ..Usage::default() }, calls: 1, redactions,
                ..Log::default()
            };
            let shares = share_out(&log, &items, &parts);
            prop_assert_eq!(shares.iter().map(|s| s.cost).sum::<Micros>(), Micros(cost));
            prop_assert_eq!(shares.iter().map(|s| s.usage.input).sum::<u64>(), input);
            prop_assert_eq!(shares.iter().map(|s| s.usage.output).sum::<u64>(), output);
            prop_assert_eq!(shares.iter().map(|s| s.redactions).sum::<u32>(), redactions);
            prop_assert_eq!(shares.iter().map(|s| s.calls).sum::<u32>(), 1);
        }
    }
}
