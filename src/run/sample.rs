//! A sample: a few items worked first, so that a plan rests on what they took.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::ports::{Part, Verdict};
use futures_util::TryStreamExt;

use super::approval::exposure;
use super::engine::{Run, Shape};
use super::error::CommandError;
use super::launch::{Opened, Wanted, out_folder};
use super::machine::check_disks;
use super::outputs::Outputs;
use super::prepare::{Loaded, Past, finished_keys, plan as make_plan, survey};
use super::progress::say;
use crate::plan::{Plan, SampleCall, SampleStats};
use crate::store::{JobState, ResultFilter};
use crate::text;

/// A sample is spent without a plan of its own: it must stay below what needs an approval.
pub fn check_sample(plan: &Plan, loaded: &Loaded, size: u32) -> Result<(), CommandError> {
    let Some(limit) = loaded.config.budget.approval_above else { return Ok(()) };
    let whole = u128::from(exposure(plan).0);
    let of_sample = whole * u128::from(size) / u128::from(plan.pending.max(1));
    if of_sample > u128::from(limit.0) {
        return Err(CommandError::refused(format!(
            "a sample of {size} may cost more than {limit} in one go: take a smaller one"
        )));
    }
    Ok(())
}

impl Opened {
    /// Works a random part of the items and plans from what they took.
    pub async fn sampled(&self, wanted: &Wanted, size: u32) -> Result<Plan, CommandError> {
        let out = out_folder(None, &self.loaded.spec, self.loaded.simulated.is_some());
        check_disks(&self.loaded, &self.store, Some(&out))?;
        let outputs = Outputs::open(&out)?;
        let finished = self.finished().await?;
        let before = survey(&self.loaded, wanted.limit, Arc::new(finished.clone())).await?;
        let (job, totals) = self.admit(wanted.limit, &outputs, &before).await?;
        let only = random_items(totals.items, size);
        let shape = Shape { pack: 1, ..Shape::of(&self.loaded, &totals, before.pending_items) };
        say(&format!("working a sample of {} first", text::count(only.len() as u64, "item")));
        let run = Run {
            store: &self.store,
            job: &job,
            loaded: &self.loaded,
            shape,
            finished,
            only: Some(only.clone()),
            outputs: &outputs,
        };
        let ran = run.run_alone().await?;
        self.store.set_state(&job.id, JobState::Paused, "sampled for a plan").await?;
        if let Some(reason) = ran.end.stopped {
            return Err(CommandError::refused(format!("the sample was stopped: {reason}")));
        }
        let finished = Arc::new(finished_keys(&self.store, &job.id, &self.loaded.route).await?);
        let after = survey(&self.loaded, wanted.limit, finished).await?;
        let stats = self.sample_stats(&job.id, &only, after.pending_distinct).await?;
        let past = Past::read(&self.store, &self.loaded, Some(&job)).await?;
        Ok(make_plan(&self.loaded, &after, &past, stats))
    }

    async fn sample_stats(
        &self,
        job: &str,
        only: &HashSet<u32>,
        remaining: u64,
    ) -> Result<Option<SampleStats>, CommandError> {
        let mut calls: Vec<(String, SampleCall)> = Vec::new();
        let mut lines = std::pin::pin!(self.store.results(job, ResultFilter::All));
        while let Some(line) = lines.try_next().await? {
            let record = &line.record;
            let (true, Some(model)) = (only.contains(&line.item.number), &record.model) else { continue };
            if matches!(record.verdict, Verdict::Done(_)) && record.part == Part::Item {
                let took = Duration::from_millis(u64::from(record.ms));
                let call = SampleCall { output_tokens: record.usage.output, took, cost: record.cost };
                calls.push((model.clone(), call));
            }
        }
        // The plan speaks of the model that answers; others only stepped in.
        let Some(model) = most_frequent(calls.iter().map(|(model, _)| model.as_str())) else {
            return Ok(None);
        };
        let of_model: Vec<SampleCall> =
            calls.iter().filter(|(m, _)| *m == model).map(|(_, call)| *call).collect();
        Ok(SampleStats::of(&model, 1, &of_model, remaining))
    }
}

fn most_frequent<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut counts = std::collections::BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_insert(0_u32) += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
}

fn random_items(items: u32, size: u32) -> HashSet<u32> {
    let size = size.min(items) as usize;
    let mut only = HashSet::with_capacity(size);
    while only.len() < size {
        only.insert(fastrand::u32(0..items));
    }
    only
}
