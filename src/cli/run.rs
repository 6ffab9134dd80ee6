//! `empire swarm plan`, `run`, `resume` and `retry`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::money::Micros;
use empire_actors::ports::{ItemKey, Part, Verdict};
use futures_util::TryStreamExt;

use super::status::{Found, find};
use super::{Context, PlanArgs, ResumeArgs, RunArgs, SpecArgs, money, terminal};
use crate::config::Config;
use crate::job::{JobSpec, Totals};
use crate::plan::{Plan, SampleCall, SampleStats, Verdict as PlanVerdict};
use crate::run::approval::exposure;
use crate::run::engine::{Run, Shape};
use crate::run::error::{CommandError, Exit};
use crate::run::finish::{Finished, finish};
use crate::run::machine::check_disks;
use crate::run::origin::{Origin, Places};
use crate::run::outputs::Outputs;
use crate::run::prepare::{
    Loaded, Past, Survey, admit_into, finished_keys, highest_level, plan as make_plan, read_spec, survey,
};
use crate::run::progress::say;
use crate::run::system::{SystemClock, new_job_id};
use crate::store::{Job, JobSetup, JobState, NewJob, ResultFilter, Store};
use crate::text;

/// A job's file in the data folder that says which simulator it ran against.
const SCENARIO_FILE: &str = "scenario";

/// `empire swarm plan`.
pub(super) async fn plan(context: &Context, args: PlanArgs) -> Result<Exit, CommandError> {
    let opened = Opened::new(context, &args.spec, false).await?;
    let finished = Arc::new(opened.finished().await?);
    let survey = survey(&opened.loaded, args.spec.limit, finished.clone()).await?;
    let past = Past::read(&opened.store, &opened.loaded, opened.existing.as_ref()).await?;
    let mut plan = make_plan(&opened.loaded, &survey, &past, None);
    if let Some(size) = args.sample {
        if let PlanVerdict::Impossible(reasons) = plan.verdict(&opened.loaded.thresholds()) {
            return Err(CommandError::refused(reasons.join("\n")));
        }
        money::check_sample(&plan, &opened.loaded, size)?;
        plan = Box::pin(opened.sampled(&args.spec, size)).await?;
    }
    let verdict = plan.verdict(&opened.loaded.thresholds());
    if context.json {
        terminal::print_json(&serde_json::json!({"plan": plan, "verdict": verdict}))?;
    } else {
        terminal::print(&plan.render(terminal::width(), terminal::color()))?;
        for what in &opened.loaded.left_out {
            say(&format!("left out of the route: {what}"));
        }
    }
    opened.store.close().await?;
    Ok(match verdict {
        PlanVerdict::Fits | PlanVerdict::NeedsYes(_) => Exit::Done,
        PlanVerdict::DoesNotFit(_) | PlanVerdict::Impossible(_) => Exit::Refused,
    })
}

/// `empire swarm run`.
pub(super) async fn run(context: &Context, args: RunArgs) -> Result<Exit, CommandError> {
    let mut opened = Opened::new(context, &args.spec, args.fresh).await?;
    let out = out_folder(args.out.as_deref(), &opened.loaded);
    check_disks(&opened.loaded, &opened.store, Some(&out))?;
    let outputs = Outputs::open(&out)?;
    let finished = Arc::new(opened.finished().await?);
    let survey = survey(&opened.loaded, args.spec.limit, finished.clone()).await?;
    let past = Past::read(&opened.store, &opened.loaded, opened.existing.as_ref()).await?;
    let plan = make_plan(&opened.loaded, &survey, &past, None);
    for what in &opened.loaded.left_out {
        say(&format!("left out of the route: {what}"));
    }
    say(&plan.headline());
    agree(&plan, &opened, &survey, args.yes)?;
    let input = survey.totals.input_fingerprint.clone();
    let existing = opened.existing.as_ref().map(|job| job.id.clone());
    let (store, loaded) = (&opened.store, &mut opened.loaded);
    let given =
        money::approve(store, loaded, &input, existing.as_deref(), exposure(&plan), !args.yes).await?;
    let (job, totals) = opened.admit(args.spec.limit, &outputs, &survey).await?;
    if let Some(given) = given {
        given.use_up(&opened.store, &job.id).await?;
    }
    let shape = Shape::of(&opened.loaded, &totals, survey.pending_items);
    let finished = Arc::unwrap_or_clone(finished);
    Box::pin(work(context, opened.store, job, opened.loaded, shape, finished, outputs)).await
}

/// `empire swarm resume`, and `retry` if `dead` agents are to be worked anew.
pub(super) async fn resume(context: &Context, args: ResumeArgs, dead: bool) -> Result<Exit, CommandError> {
    let Found { store, home, job } = find(context, &args.id).await?;
    store.close().await?;
    check_resumable(&job, dead)?;
    let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
    tell_recovered(&store);
    let path =
        PathBuf::from(job.setup.spec_path.clone().unwrap_or_else(|| format!("{}.yaml", job.setup.name)));
    let spec = JobSpec::parse(&job.setup.spec, &path)?;
    if path.exists_with_other_text(&job.setup.spec) {
        say(&format!("note: {} was edited since; `empire swarm run` takes the changes up", path.display()));
    }
    let sim = match (job.simulated, args.sim) {
        (false, Some(_)) => return Err(CommandError::bad_input("--sim: this job runs against real models")),
        (false, None) => None,
        (true, Some(given)) => Some(given),
        (true, None) => Some(read_scenario(&store, &job.id)),
    };
    let config = context.place.load_unlocked()?;
    let budget = args.budget.or(job.setup.budget);
    let rules = context.place.rules(&config, Some(&spec))?;
    let places = Places::kept(&store, &job.id)?;
    let origin = Origin::Stored(&places);
    let mut loaded = Loaded::new(spec, config, rules, origin, sim.as_deref(), budget).await?;
    if dead || job.state != JobState::Done || job.counts.pending() > 0 {
        loaded.check_privacy()?;
    }
    check_disks(&loaded, &store, Some(Path::new(&job.setup.out_dir)))?;
    money::take_up_job_cap(&store, &mut loaded, Some(&job.id)).await?;
    if let Some(given) = &loaded.simulated {
        write_scenario(&store, &job.id, &given.given)?;
    }
    if dead {
        let forgotten = store.forget_dead(&job.id).await?;
        say(&format!("{} to be worked anew", text::count(forgotten, "dead agent")));
    }
    let setup = JobSetup { budget: Some(loaded.budget), ..job.setup.clone() };
    store.update_job(&job.id, setup).await?;
    let job = store.job(&job.id).await?.unwrap_or(job);
    let finished = finished_keys(&store, &job.id, None).await?;
    let outputs = Outputs::open(Path::new(&job.setup.out_dir))?;
    ready_results(&outputs, false)?;
    let (shape, survey) = stored_shape(&store, &job, &loaded, &finished).await?;
    let past = Past::read(&store, &loaded, Some(&job)).await?;
    let amount = exposure(&make_plan(&loaded, &survey, &past, None));
    let input = job.setup.fingerprint.clone();
    let given = money::approve(&store, &mut loaded, &input, Some(&job.id), amount, true).await?;
    if let Some(given) = given {
        given.use_up(&store, &job.id).await?;
    }
    Box::pin(work(context, store, job, loaded, shape, finished, outputs)).await
}

/// Readies `results.jsonl` for appending, and tells of a line that a power cut tore.
fn ready_results(outputs: &Outputs, anew: bool) -> Result<(), CommandError> {
    let cut = outputs.prepare_results(anew)?;
    if cut > 0 {
        let lost =
            if cut == 1 { "1 byte was".to_owned() } else { format!("{} bytes were", text::thousands(cut)) };
        say(&format!(
            "results.jsonl had a torn last line: {lost} cut off; the result itself is in the data folder"
        ));
    }
    Ok(())
}

trait ExistsWithOtherText {
    fn exists_with_other_text(&self, text: &str) -> bool;
}

impl ExistsWithOtherText for PathBuf {
    fn exists_with_other_text(&self, text: &str) -> bool {
        std::fs::read_to_string(self).is_ok_and(|now| now != text)
    }
}

fn check_resumable(job: &Job, dead: bool) -> Result<(), CommandError> {
    let id = &job.id;
    match job.state {
        JobState::Cancelled => Err(CommandError::bad_input(format!(
            "job {id} was cancelled for good: `empire swarm run` starts it again as a new one"
        ))),
        JobState::Admitting => Err(CommandError::bad_input(format!(
            "the input of job {id} was not read in to its end: `empire swarm run {}` reads it in anew",
            job.setup.spec_path.as_deref().unwrap_or("JOB.yaml")
        ))),
        JobState::Done if !dead && job.counts.pending() == 0 => {
            say(&format!("job {id} is done already"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn tell_recovered(store: &Store) {
    let recovered = store.recovered();
    if recovered.unknown_calls > 0 {
        say(&format!(
            "an earlier run ended without closing: {} under way then {} billed at the reservation, {} in all",
            text::count(recovered.unknown_calls, "call"),
            if recovered.unknown_calls == 1 { "stays" } else { "stay" },
            recovered.unknown_amount
        ));
    }
}

/// What a stored job's input adds up to, as far as a run needs it.
async fn stored_shape(
    store: &Store,
    job: &Job,
    loaded: &Loaded,
    finished: &HashSet<ItemKey>,
) -> Result<(Shape, Survey), CommandError> {
    let items = store.items(&job.id);
    let mut totals = Totals::default();
    let (mut pending, mut row_bytes) = (0, 0);
    for cohort in 0..store.chunk_count(&job.id).await? {
        let chunk = items.chunk(cohort).await?;
        for item in &chunk.items {
            pending += u64::from(!finished.contains(&item.key));
            let level = item.level.unwrap_or(loaded.spec.privacy).max(loaded.spec.privacy);
            totals.levels[usize::from(level.as_u8())] += 1;
            row_bytes = row_bytes.max(item.row.len() as u64);
        }
    }
    // A prompt holds its template and at most its row a few times over.
    totals.max_prompt_bytes = loaded.spec.prompt.len() as u64 + row_bytes;
    totals.max_system_bytes = loaded.spec.system.as_ref().map_or(0, |system| system.len() as u64 + row_bytes);
    let highest = highest_level(&totals, loaded.spec.privacy);
    let shape = Shape { pending, pack: loaded.pack(&totals), highest };
    // As if every prompt were as long as the longest.
    let counts = &job.counts;
    let whole = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    totals.items = whole(counts.items);
    totals.distinct = whole(counts.distinct);
    totals.distinct_prompt_bytes = counts.distinct.saturating_mul(totals.max_prompt_bytes);
    totals.input_fingerprint.clone_from(&job.setup.fingerprint);
    let pending_distinct = counts.distinct.saturating_sub(counts.done).min(pending);
    Ok((shape, Survey { totals, pending_items: pending, pending_distinct }))
}

/// A job file with its store, and the job of its name if there is one.
struct Opened {
    store: Store,
    loaded: Loaded,
    existing: Option<Job>,
}

impl Opened {
    async fn new(context: &Context, args: &SpecArgs, is_fresh: bool) -> Result<Opened, CommandError> {
        let config: Config = context.place.load_unlocked()?;
        let spec = read_spec(&args.job)?;
        let home = context.place.home_of(args.sim.is_some())?;
        let rules = context.place.rules(&config, Some(&spec))?;
        let (origin, sim) = (Origin::Input(args.input.as_deref()), args.sim.as_deref());
        let mut loaded = Loaded::new(spec, config, rules, origin, sim, args.budget).await?;
        let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
        tell_recovered(&store);
        if loaded.source.is_stdin() {
            check_disks(&loaded, &store, None)?;
        }
        loaded.spool(store.dir()).await?;
        let jobs = store.list_jobs().await?;
        let mut named = jobs.into_iter().filter(|job| job.setup.name == loaded.spec.name);
        // A fresh job has nothing of an earlier one, its cap neither.
        let existing = named.find(|job| job.state != JobState::Cancelled && !is_fresh);
        loaded.is_fresh = is_fresh;
        let id = existing.as_ref().map(|job| job.id.as_str());
        money::take_up_job_cap(&store, &mut loaded, id).await?;
        Ok(Opened { store, loaded, existing })
    }

    /// Keys that need no call.
    async fn finished(&self) -> Result<HashSet<ItemKey>, CommandError> {
        match &self.existing {
            Some(job) => Ok(finished_keys(&self.store, &job.id, Some(&self.loaded.route)).await?),
            None => Ok(HashSet::new()),
        }
    }

    /// Creates or updates the job and reads its input in.
    async fn admit(
        &self,
        limit: Option<u32>,
        outputs: &Outputs,
        survey: &Survey,
    ) -> Result<(Job, Totals), CommandError> {
        let (store, loaded) = (&self.store, &self.loaded);
        let setup = JobSetup {
            name: loaded.spec.name.clone(),
            spec: loaded.spec.text.to_string(),
            spec_path: Some(loaded.spec.path.display().to_string()),
            fingerprint: survey.totals.input_fingerprint.clone(),
            out_dir: outputs.folder().display().to_string(),
            budget: Some(loaded.budget),
            deadline: None,
        };
        let id = match &self.existing {
            Some(job) => {
                // From here on it cannot be resumed with one input's rows and another's places.
                store.set_state(&job.id, JobState::Admitting, "").await?;
                store.update_job(&job.id, setup).await?;
                let route: Vec<String> = loaded.route.iter().map(|model| model.id.clone()).collect();
                store.invalidate(&job.id, &route).await?;
                job.id.clone()
            }
            None => {
                let id = new_job_id();
                let job = NewJob { id: id.clone(), simulated: loaded.simulated.is_some(), setup };
                store.create_job(job).await?;
                id
            }
        };
        if let Some(simulated) = &loaded.simulated {
            write_scenario(store, &id, &simulated.given)?;
        }
        loaded.places.keep(store, &id)?;
        let (_, totals) = admit_into(store, &id, loaded, limit).await?;
        if totals.input_fingerprint != survey.totals.input_fingerprint {
            return Err(CommandError::bad_input(format!(
                "{} changed while it was read: run again once it is complete",
                loaded.source.label()
            )));
        }
        let is_other = self.existing.as_ref().is_none_or(|job| {
            job.setup.fingerprint != totals.input_fingerprint || job.setup.spec != *loaded.spec.text
        });
        ready_results(outputs, is_other)?;
        let job =
            store.job(&id).await?.ok_or_else(|| CommandError::internal("the new job is not in the store"))?;
        Ok((job, totals))
    }

    /// Works a random part of the items and plans from what they took.
    async fn sampled(&self, args: &SpecArgs, size: u32) -> Result<Plan, CommandError> {
        let out = out_folder(None, &self.loaded);
        check_disks(&self.loaded, &self.store, Some(&out))?;
        let outputs = Outputs::open(&out)?;
        let finished = self.finished().await?;
        let before = survey(&self.loaded, args.limit, Arc::new(finished.clone())).await?;
        let (job, totals) = self.admit(args.limit, &outputs, &before).await?;
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
        let finished = Arc::new(finished_keys(&self.store, &job.id, Some(&self.loaded.route)).await?);
        let after = survey(&self.loaded, args.limit, finished).await?;
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

fn out_folder(given: Option<&Path>, loaded: &Loaded) -> PathBuf {
    let spec = &loaded.spec;
    if let Some(given) = given {
        return given.to_owned();
    }
    let folder = spec.out.clone().unwrap_or_else(|| Path::new("out").join(&spec.name));
    // Simulated answers must not take the place of real ones.
    if loaded.simulated.is_some() { folder.join("simulated") } else { folder }
}

/// Starts only what the plan lets start, or what a person agreed to.
fn agree(plan: &Plan, opened: &Opened, survey: &Survey, yes: bool) -> Result<(), CommandError> {
    let (question, mut reasons, fits) = match plan.verdict(&opened.loaded.thresholds()) {
        PlanVerdict::Impossible(reasons) => return Err(CommandError::refused(reasons.join("\n"))),
        PlanVerdict::Fits => ("run it?", Vec::new(), true),
        PlanVerdict::NeedsYes(reasons) => ("run it all the same?", reasons, true),
        PlanVerdict::DoesNotFit(reasons) => ("run it as far as it goes?", reasons, false),
    };
    reasons.extend(edited(opened, survey, plan));
    if reasons.is_empty() {
        return Ok(());
    }
    for reason in &reasons {
        say(reason);
    }
    for suggestion in plan.suggestions.iter().filter(|_| !fits) {
        say(&format!("  {}", suggestion.words()));
    }
    if yes {
        return Ok(());
    }
    match terminal::confirm(question) {
        Some(true) => Ok(()),
        Some(false) => Err(CommandError::refused("not started")),
        None => {
            Err(CommandError::refused("not started: nobody is there to ask; --yes starts it without asking"))
        }
    }
}

/// What an edit of a known job means, if it loses answers that are paid for.
fn edited(opened: &Opened, survey: &Survey, plan: &Plan) -> Option<String> {
    let job = opened.existing.as_ref()?;
    let still_good = u64::from(survey.totals.distinct) - survey.pending_distinct;
    let lost = job.counts.done.saturating_sub(still_good);
    let before = JobSpec::parse(&job.setup.spec, &opened.loaded.spec.path).ok();
    let now = &opened.loaded.spec;
    // Another input alone is no edit: its items are new ones.
    let is_edited = before.is_none_or(|before| {
        before.prompt != now.prompt
            || before.system != now.system
            || before.goal != now.goal
            || before.role != now.role
            || before.max_tokens != now.max_tokens
            || before.answer.schema() != now.answer.schema()
            || before.route != now.route
    });
    (is_edited && lost > 0 && survey.pending_distinct > 0).then(|| {
        let cost = plan.planned.as_ref().map_or(Micros::ZERO, |planned| planned.expected_cost);
        format!(
            "the job file was edited: the answers of {} no longer hold; {} to be called, about {}",
            text::count(lost, "item"),
            text::count(survey.pending_distinct, "item"),
            text::money(cost)
        )
    })
}

fn scenario_file(store: &Store, job: &str) -> PathBuf {
    store.dir().join("jobs").join(job).join(SCENARIO_FILE)
}

fn write_scenario(store: &Store, job: &str, given: &str) -> Result<(), CommandError> {
    let path = scenario_file(store, job);
    // A scenario file is found again from another folder, too.
    let given =
        std::fs::canonicalize(given).map_or_else(|_| given.to_owned(), |path| path.display().to_string());
    let folder = path.parent().unwrap_or(&path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, given));
    written.map_err(|error| CommandError::bad_input(format!("cannot write {}: {error}", path.display())))
}

fn read_scenario(store: &Store, job: &str) -> String {
    let known = std::fs::read_to_string(scenario_file(store, job)).ok();
    known.unwrap_or_else(|| crate::run::prepare::DEFAULT_SCENARIO.to_owned())
}

/// What stopped a job that had begun, such as a full disk, with how to go on.
fn resumable(error: &CommandError, job: &Job) -> CommandError {
    let (name, id) = (&job.setup.name, &job.id);
    let message = format!("{name} stopped: {error}\n  empire swarm resume {id}");
    CommandError { exit: error.exit, message }
}

/// Runs a job whose input is read in, and tells how it went.
async fn work(
    context: &Context,
    store: Store,
    job: Job,
    loaded: Loaded,
    shape: Shape,
    finished: HashSet<ItemKey>,
    outputs: Outputs,
) -> Result<Exit, CommandError> {
    let name = &job.setup.name;
    if loaded.simulated.is_some() {
        say("SIMULATED: answers come from the simulator, not from models");
    }
    say(&format!("job {name} {}: {} to work", job.id, text::count(shape.pending, "item")));
    let has_reduce = loaded.spec.reduce.is_some();
    let ran = if shape.pending == 0 && !has_reduce {
        None
    } else {
        let run =
            Run { store: &store, job: &job, loaded: &loaded, shape, finished, only: None, outputs: &outputs };
        Some(run.run_alone().await.map_err(|error| resumable(&error, &job))?)
    };
    for killed in ran.iter().flat_map(|ran| &ran.killed) {
        say(&format!("warning: {killed} did not stop in time and was killed"));
    }
    let Finished { exit, report } =
        finish(&store, &job, &loaded, &outputs, ran).await.map_err(|error| resumable(&error, &job))?;
    store.close().await.map_err(|error| resumable(&error.into(), &job))?;
    if context.json {
        terminal::print(&(report.to_json().map_err(CommandError::internal)? + "\n"))?;
    } else {
        terminal::print(&report.to_terminal(terminal::width(), terminal::color()))?;
    }
    Ok(exit)
}
