//! The reduce: answers are summed up in groups, cohort by cohort, and the summaries again, until
//! one answer is left. Each step is a call through the same passage and is durable by its key,
//! so a resumed reduce buys nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};

use super::agent::result_record;
use super::attempt::{self, Log, Outcome, Question};
use super::context::JobContext;
use super::order::StopReason;
use crate::level::Labelled;
use crate::ports::{Item, Part, REDUCE_ITEM, Verdict};

/// Steps under way at once.
const WIDTH: usize = 8;

/// Sums up all answers of the job. `None` if there is nothing to sum up or the job was stopped.
pub(crate) async fn run(job: &Arc<JobContext>) -> Option<Result<Box<str>, String>> {
    let group = job.order.reduce_group?.max(2);
    let mut summaries: Vec<Box<str>> = Vec::new();
    let single = job.order.cohorts.len() == 1;
    for cohort in &job.order.cohorts {
        let answers = match job.answers.of_cohort(cohort.number).await {
            Ok(answers) => answers,
            Err(error) => return Some(Err(error.to_string())),
        };
        if single && answers.len() <= group {
            summaries = answers;
            break;
        }
        match level(job, 0, answers, group).await {
            Ok(level) => summaries.extend(level),
            Err(end) => return end,
        }
    }
    if summaries.is_empty() {
        return None;
    }
    let mut depth = 1;
    while summaries.len() > group {
        summaries = match level(job, depth, summaries, group).await {
            Ok(level) => level,
            Err(end) => return end,
        };
        depth += 1;
    }
    match step(job, depth, &summaries, true).await {
        Ok(answer) => Some(Ok(answer)),
        Err(end) => end,
    }
}

type StepEnd = Option<Result<Box<str>, String>>;

/// Sums up each group of `answers`.
async fn level(
    job: &Arc<JobContext>,
    depth: u32,
    answers: Vec<Box<str>>,
    group: usize,
) -> Result<Vec<Box<str>>, StepEnd> {
    let groups: Vec<Vec<Box<str>>> = answers.chunks(group).map(<[_]>::to_vec).collect();
    let failed = AtomicBool::new(false);
    let failed = &failed;
    let steps = groups.into_iter().map(|group| async move {
        if failed.load(Ordering::Relaxed) {
            return Err(None);
        }
        let end = step(job, depth, &group, false).await;
        failed.fetch_or(end.is_err(), Ordering::Relaxed);
        end
    });
    // After a failure no step begins any more, but those under way end: they are paid for.
    let ends: Vec<Result<Box<str>, StepEnd>> = stream::iter(steps).buffered(WIDTH).collect().await;
    ends.into_iter().collect()
}

/// One call that sums up `answers`, unless it was made before.
async fn step(
    job: &Arc<JobContext>,
    depth: u32,
    answers: &[Box<str>],
    last: bool,
) -> Result<Box<str>, StepEnd> {
    // The last step has a prompt of its own, so it needs keys of its own too.
    let key = job.script.reduce_key(if last { u32::MAX } else { depth }, answers);
    match job.answers.reduced(key).await {
        Ok(Some(answer)) => return Ok(answer),
        Ok(None) => {}
        Err(error) => return Err(Some(Err(error.to_string()))),
    }
    let rendered = match job.script.render_reduce(answers, last) {
        None => return Err(None),
        Some(Err(why)) => return Err(Some(Err(why))),
        // It is made from answers of any row.
        Some(Ok(rendered)) => Labelled::new(rendered, job.order.highest_level),
    };
    let question = Question {
        item: REDUCE_ITEM,
        rendered,
        schema: None,
        max_tokens: job.script.reduce_max_tokens(),
        items: 1,
        shared: None,
    };
    let check = |answer: &str| {
        let text = answer.trim();
        if text.is_empty() {
            Err("it is empty".to_owned())
        } else {
            Ok(serde_json::Value::from(text).to_string().into())
        }
    };
    let mut log = Log::default();
    let answer: Result<Box<str>, String> = match attempt::ask(job, &question, check, &mut log).await {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Dead(why) => Err(why),
        Outcome::Parked(reason) => {
            job.stop(reason);
            return Err(None);
        }
        Outcome::Stopped => return Err(None),
    };
    let item = Item { number: 0, first: 0, key, level: None, row: "{}".into() };
    let verdict = match &answer {
        Ok(answer) => Verdict::Done(answer.clone()),
        Err(why) => Verdict::Dead(why.clone()),
    };
    let _landing = log.landing.take();
    let record = result_record(job, Part::Reduce, &item, verdict, log, 1);
    if let Err(error) = job.results.record(record).await {
        job.stop(StopReason::Store(error));
        return Err(None);
    }
    answer.map_err(|why| Some(Err(why)))
}
