//! The end of a run: the job's state, its outputs and its report.

use std::time::Duration;

use empire_actors::money::Usage;
use empire_actors::swarm::order::{JobEnd, StopReason};
use jiff::Timestamp;
use serde_json::Value;

use super::engine::Ran;
use super::error::{CommandError, Exit};
use super::outputs::{Outputs, write_all};
use super::prepare::Loaded;
use crate::config::Config;
use crate::report::{EndState, Output, PromptCache, ProviderCost, ReportData, Tallied, Totals};
use crate::store::{Job, JobState, Store};
use crate::text;

/// What a finished run tells.
#[derive(Debug)]
pub struct Finished {
    /// The exit code.
    pub exit: Exit,
    /// The report, also written to the output folder.
    pub report: ReportData,
}

/// Sets the job's state, writes outputs and report.
pub async fn finish(
    store: &Store,
    job: &Job,
    loaded: &Loaded,
    outputs: &Outputs,
    ran: Option<Ran>,
) -> Result<Finished, CommandError> {
    let job = store.job(&job.id).await?.unwrap_or_else(|| job.clone());
    let outcome = Outcome::of(&job, ran.as_ref().map(|ran| &ran.end));
    store.set_state(&job.id, outcome.state, &outcome.reason).await?;
    // On a disk that is nearly full nothing is written but what was paid for.
    let is_full = ran.as_ref().is_some_and(|ran| matches!(ran.end.stopped, Some(StopReason::Disk(_))));
    let to = (!is_full).then_some(outputs);
    let report = report(store, &job, loaded, to, ran, &outcome).await?;
    if let Some(outputs) = to {
        outputs.write("report.json", &report.to_json().map_err(CommandError::internal)?)?;
        outputs.write("report.md", &report.to_markdown())?;
    }
    Ok(Finished { exit: outcome.exit, report })
}

/// What a run's end means.
struct Outcome {
    state: JobState,
    end: EndState,
    exit: Exit,
    reason: String,
}

impl Outcome {
    fn of(job: &Job, end: Option<&JobEnd>) -> Outcome {
        let pending = job.counts.pending() > 0;
        let stopped = end.and_then(|end| end.stopped.as_ref());
        match stopped {
            Some(StopReason::Cancelled) => {
                Outcome::new(JobState::Cancelled, EndState::Cancelled, Exit::Refused, stopped)
            }
            Some(reason) if pending || reason != &StopReason::Paused => {
                let (state, exit) = match reason {
                    StopReason::Paused => (EndState::Interrupted, Exit::Interrupted),
                    StopReason::Budget(_) => (EndState::OutOfBudget, Exit::Refused),
                    _ => (EndState::Paused, Exit::Refused),
                };
                Outcome::new(JobState::Paused, state, exit, stopped)
            }
            _ if pending => Outcome::parked(end),
            _ if job.counts.dead > 0 => {
                Outcome::new(JobState::Done, EndState::CompletedWithDead, Exit::DeadAgents, None)
            }
            _ => match end.and_then(|end| end.reduced.as_ref()) {
                Some(Err(why)) => Outcome {
                    state: JobState::Paused,
                    end: EndState::Paused,
                    exit: Exit::DeadAgents,
                    reason: format!("every item has its answer, but the reduce failed: {why}"),
                },
                _ => Outcome::new(JobState::Done, EndState::Completed, Exit::Done, None),
            },
        }
    }

    fn new(state: JobState, end: EndState, exit: Exit, reason: Option<&StopReason>) -> Outcome {
        Outcome { state, end, exit, reason: reason.map(ToString::to_string).unwrap_or_default() }
    }

    /// Everything that could be worked was; some items wait for a person.
    fn parked(end: Option<&JobEnd>) -> Outcome {
        let parked = end.map(|end| end.parked.clone()).unwrap_or_default();
        let reason = match parked.iter().max_by_key(|(_, count)| **count) {
            Some((reason, 1)) => format!("{reason} (1 item waits)"),
            Some((reason, count)) => format!("{reason} ({} items wait)", text::thousands(*count)),
            None => "not all items were worked".to_owned(),
        };
        let budget = reason.starts_with("budget");
        let end = if budget { EndState::OutOfBudget } else { EndState::Paused };
        Outcome { state: JobState::Paused, end, exit: Exit::Refused, reason }
    }
}

#[expect(clippy::disallowed_methods, reason = "when the run ended is for the report alone")]
async fn report(
    store: &Store,
    job: &Job,
    loaded: &Loaded,
    outputs: Option<&Outputs>,
    ran: Option<Ran>,
    outcome: &Outcome,
) -> Result<ReportData, CommandError> {
    let written = write_all(store, job, outputs).await?;
    let providers = provider_costs(store, &job.id, &loaded.config, &written.tally).await?;
    let counts = &job.counts;
    let finished = Timestamp::now();
    let took = ran.as_ref().map_or(Duration::ZERO, |ran| ran.took);
    let ended = ran.as_ref().map_or(0, |ran| ran.meters.done + ran.meters.dead);
    let reduce = ran.as_ref().and_then(|ran| ran.end.reduced.clone()).and_then(Result::ok);
    let mut files: Vec<Output> = written
        .files
        .into_iter()
        .map(|(what, path)| Output { what: what.to_owned(), path: path.display().to_string() })
        .collect();
    files.extend(outputs.map(|outputs| {
        let path = outputs.file("report.md").display().to_string();
        Output { what: "report".into(), path }
    }));
    Ok(ReportData {
        job: job.setup.name.clone(),
        id: job.id.clone(),
        goal: loaded.spec.goal.clone(),
        state: outcome.end,
        reason: Some(outcome.reason.clone()).filter(|reason| !reason.is_empty()),
        simulated: job.simulated,
        started: finished
            .checked_sub(jiff::SignedDuration::try_from(took).unwrap_or_default())
            .unwrap_or(finished),
        finished,
        seconds: took.as_secs_f64(),
        totals: Totals {
            items: counts.items,
            distinct: counts.distinct,
            done: written.done,
            dead: written.dead,
            cancelled: if outcome.state == JobState::Cancelled {
                counts.items - written.done - written.dead
            } else {
                0
            },
            pending: if outcome.state == JobState::Cancelled {
                0
            } else {
                counts.items - written.done - written.dead
            },
        },
        work: written.tally,
        saved_by_equal_items: counts.items - counts.distinct,
        providers,
        prompt_cache: prompt_cache(store, &job.id, &loaded.config).await?,
        over_share: ran.as_ref().map_or(0, |ran| ran.meters.over_share),
        budget: Some(loaded.budget),
        agents_per_second: if took.is_zero() { 0.0 } else { ended as f64 / took.as_secs_f64() },
        guard: ran.as_ref().map(|ran| ran.held.into()).unwrap_or_default(),
        peak_memory_bytes: ran.and_then(|ran| ran.peak_memory),
        reduce: reduce.and_then(|answer| serde_json::from_str::<Value>(&answer).ok()),
        outputs: files,
    })
}

/// What the vendors' prompt caches changed, at the prices of now.
async fn prompt_cache(store: &Store, job: &str, config: &Config) -> Result<PromptCache, CommandError> {
    let mut sums = PromptCache::default();
    for (model, usage) in store.usage_by_model(job).await? {
        sums.read += usage.cached_input;
        sums.written += usage.cache_write;
        let Some(price) = config.models.get(&model).and_then(|model| model.price) else { continue };
        let cost = |usage: &Usage| i64::try_from(price.cost(usage).0).unwrap_or(i64::MAX);
        let full = Usage { input: usage.cached_input + usage.cache_write, ..Usage::default() };
        let billed = Usage { input: 0, output: 0, ..usage };
        sums.saved = sums.saved.saturating_add(cost(&full).saturating_sub(cost(&billed)));
    }
    Ok(sums)
}

/// Paid calls from the ledger; those of free providers from the agents' records.
async fn provider_costs(
    store: &Store,
    job: &str,
    config: &Config,
    work: &Tallied,
) -> Result<Vec<ProviderCost>, CommandError> {
    let mut costs: Vec<ProviderCost> = store
        .spend_by_provider(job)
        .await?
        .into_iter()
        .map(|spend| ProviderCost {
            provider: spend.provider,
            calls: spend.calls,
            cost: spend.billed,
            unknown: spend.unknown,
        })
        .collect();
    let paid = costs.len();
    for (model, calls) in &work.calls_by_model {
        let Some(provider) = config.models.get(model).map(|model| &model.provider) else { continue };
        match costs.iter().position(|cost| cost.provider == *provider) {
            Some(index) if index < paid => {}
            Some(index) => costs[index].calls += calls,
            None => {
                let (provider, (cost, unknown)) = (provider.clone(), Default::default());
                costs.push(ProviderCost { provider, calls: *calls, cost, unknown });
            }
        }
    }
    Ok(costs)
}
