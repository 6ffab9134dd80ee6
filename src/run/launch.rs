//! Getting a job ready to run: a job file that is read in, planned and agreed to, or a stored job
//! that goes on. What the command line and the daemon share.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use empire_actors::house::House;
use empire_actors::money::Micros;
use empire_actors::ports::ItemKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approval::{self, exposure};
use super::engine::{Run, Shape, Told};
use super::error::CommandError;
use super::finish::{Finished, finish};
use super::machine::check_disks;
use super::origin::{Origin, Places};
use super::outputs::Outputs;
use super::prepare::{
    Loaded, Past, Place, Survey, admit_into, finished_keys, highest_level, plan as make_plan, read_spec,
    survey,
};
use super::progress::say;
use super::system::{SystemClock, new_job_id};
use super::watching::Watching;
use crate::config::Config;
use crate::home::Home;
use crate::job::{JobSpec, Totals};
use crate::log;
use crate::plan::{Plan, Verdict as PlanVerdict};
use crate::store::{Job, JobSetup, JobState, NewJob, Store};
use crate::text;

/// A job's file in the data folder that says which simulator it ran against.
const SCENARIO_FILE: &str = "scenario";

/// What a person wants run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The job file.
    pub job: PathBuf,
    /// Input in place of the job file's.
    #[serde(default)]
    pub input: Option<PathBuf>,
    /// Only the first so many items.
    #[serde(default)]
    pub limit: Option<u32>,
    /// The simulator, in place of real models.
    #[serde(default)]
    pub sim: Option<String>,
    /// The most it may spend, in micro-dollars, in place of the job file's.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub budget: Option<Micros>,
    /// The folder for results, in place of the job file's.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// A new job even if there is one of this name, without kept answers.
    #[serde(default)]
    pub fresh: bool,
    /// Nobody is to be asked.
    #[serde(default)]
    pub yes: bool,
}

/// A stored job that a person wants to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedAgain {
    /// A new budget in micro-dollars; what is spent already counts.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub budget: Option<Micros>,
    /// For a simulated job: another scenario than last time.
    #[serde(default)]
    pub sim: Option<String>,
    /// Agents that died are worked anew.
    #[serde(default)]
    pub dead: bool,
}

/// Asks a person for a yes. `None` if nobody is there to ask.
pub type Confirm<'a> = &'a (dyn Fn(&str) -> Option<bool> + Sync);

/// Where a job's store is from.
pub enum StoreOf<'a> {
    /// It is opened, and belongs to the job's run alone.
    Home,
    /// It is open already.
    Open(&'a Store),
}

impl StoreOf<'_> {
    async fn open(&self, home: &Home) -> Result<Store, CommandError> {
        match self {
            StoreOf::Open(store) => Ok((*store).clone()),
            StoreOf::Home => {
                let store = Store::open(home.lock()?, Arc::new(SystemClock)).await?;
                tell_recovered(&store);
                Ok(store)
            }
        }
    }
}

/// A job whose input is read in and that may start.
pub struct Ready {
    /// Its store.
    pub store: Store,
    /// The job.
    pub job: Job,
    /// Its spec and all it needs.
    pub loaded: Loaded,
    /// What its input adds up to.
    pub shape: Shape,
    /// Items that need no call.
    pub finished: HashSet<ItemKey>,
    /// Where its results go.
    pub outputs: Outputs,
}

impl Ready {
    /// Works it to its end and writes its report: in the house of somebody who may tell it to stop,
    /// or in a house of its own.
    pub async fn work(self, house: Option<(&House, &Watching, Told)>) -> Result<Finished, CommandError> {
        let Ready { store, job, loaded, shape, finished, outputs } = self;
        if loaded.simulated.is_some() {
            say("SIMULATED: answers come from the simulator, not from models");
        }
        say(&format!("job {} {}: {} to work", job.setup.name, job.id, text::count(shape.pending, "item")));
        let ran = if shape.pending == 0 && loaded.spec.reduce.is_none() {
            None
        } else {
            let (store, job, loaded, outputs) = (&store, &job, &loaded, &outputs);
            let run = Run { store, job, loaded, shape, finished, only: None, outputs };
            let ran = match house {
                Some((house, watching, told)) => run.run(house, watching, told).await,
                None => run.run_alone().await,
            };
            Some(ran.map_err(|error| resumable(&error, job))?)
        };
        for killed in ran.iter().flat_map(|ran| &ran.killed) {
            say(&format!("warning: {killed} did not stop in time and was killed"));
        }
        finish(&store, &job, &loaded, &outputs, ran).await.map_err(|error| resumable(&error, &job))
    }
}

/// What stopped a job that had begun, such as a full disk, with how to go on.
#[must_use]
pub fn resumable(error: &CommandError, job: &Job) -> CommandError {
    let (name, id) = (&job.setup.name, &job.id);
    let message = format!("{name} stopped: {error}\n  empire swarm resume {id}");
    CommandError { exit: error.exit, message }
}

/// Reads a job in, plans it, has it agreed to.
pub async fn ready_to_run(
    mut opened: Opened,
    wanted: &Wanted,
    confirm: Confirm<'_>,
) -> Result<Ready, CommandError> {
    let out = out_folder(wanted.out.as_deref(), &opened.loaded.spec, opened.loaded.simulated.is_some());
    check_disks(&opened.loaded, &opened.store, Some(&out))?;
    let outputs = Outputs::open(&out)?;
    let finished = Arc::new(opened.finished().await?);
    let survey = survey(&opened.loaded, wanted.limit, finished.clone()).await?;
    let past = Past::read(&opened.store, &opened.loaded, opened.existing.as_ref()).await?;
    let plan = make_plan(&opened.loaded, &survey, &past, None);
    for what in &opened.loaded.left_out {
        say(&format!("left out of the route: {what}"));
    }
    say(&plan.headline());
    agree(&plan, &opened, &survey, wanted.yes, confirm)?;
    let input = survey.totals.input_fingerprint.clone();
    let existing = opened.existing.as_ref().map(|job| job.id.clone());
    let (store, loaded) = (&opened.store, &mut opened.loaded);
    let nobody: Confirm<'_> = &|_| None;
    let ask = if wanted.yes { nobody } else { confirm };
    let given = approval::approve(store, loaded, &input, existing.as_deref(), exposure(&plan), ask).await?;
    let (job, totals) = opened.admit(wanted.limit, &outputs, &survey).await?;
    if let Some(given) = given {
        given.use_up(&opened.store, &job.id).await?;
    }
    let shape = Shape::of(&opened.loaded, &totals, survey.pending_items);
    let finished = Arc::unwrap_or_clone(finished);
    let Opened { store, loaded, .. } = opened;
    Ok(Ready { store, job, loaded, shape, finished, outputs })
}

/// Readies a stored job to go on.
pub async fn ready_to_resume(
    place: &Place,
    home: &Home,
    store: StoreOf<'_>,
    job: Job,
    wanted: WantedAgain,
    confirm: Confirm<'_>,
) -> Result<Ready, CommandError> {
    check_resumable(&job, wanted.dead)?;
    let is_own = matches!(store, StoreOf::Home);
    let store = store.open(home).await?;
    let path =
        PathBuf::from(job.setup.spec_path.clone().unwrap_or_else(|| format!("{}.yaml", job.setup.name)));
    let spec = JobSpec::parse(&job.setup.spec, &path)?;
    if path.exists_with_other_text(&job.setup.spec) {
        say(&format!("note: {} was edited since; `empire swarm run` takes the changes up", path.display()));
    }
    let sim = match (job.simulated, wanted.sim) {
        (false, Some(_)) => return Err(CommandError::bad_input("--sim: this job runs against real models")),
        (false, None) => None,
        (true, Some(given)) => Some(given),
        (true, None) => Some(read_scenario(&store, &job.id)),
    };
    let config = place.load_unlocked()?;
    let budget = wanted.budget.or(job.setup.budget);
    let rules = place.rules(&config, Some(&spec))?;
    if is_own {
        log::start(place.home.dir(), &config.log, rules.detector().clone());
    }
    let places = Places::kept(&store, &job.id)?;
    let origin = Origin::Stored(&places);
    let mut loaded = Loaded::new(spec, config, rules, origin, sim.as_deref(), budget).await?;
    if wanted.dead || job.state != JobState::Done || job.counts.pending() > 0 {
        loaded.check_privacy()?;
    }
    check_disks(&loaded, &store, Some(Path::new(&job.setup.out_dir)))?;
    approval::take_up_job_cap(&store, &mut loaded, Some(&job.id)).await?;
    if let Some(given) = &loaded.simulated {
        write_scenario(&store, &job.id, &given.given)?;
    }
    if wanted.dead {
        let forgotten = store.forget_dead(&job.id).await?;
        say(&format!("{} to be worked anew", text::count(forgotten, "dead agent")));
    }
    let setup = JobSetup { budget: Some(loaded.budget), ..job.setup.clone() };
    store.update_job(&job.id, setup).await?;
    let job = store.job(&job.id).await?.unwrap_or(job);
    let finished = store.keys(&job.id).await?;
    let outputs = Outputs::open(Path::new(&job.setup.out_dir))?;
    ready_results(&outputs, false)?;
    let (shape, survey) = stored_shape(&store, &job, &loaded, &finished).await?;
    let past = Past::read(&store, &loaded, Some(&job)).await?;
    let amount = exposure(&make_plan(&loaded, &survey, &past, None));
    let input = job.setup.fingerprint.clone();
    let given = approval::approve(&store, &mut loaded, &input, Some(&job.id), amount, confirm).await?;
    if let Some(given) = given {
        given.use_up(&store, &job.id).await?;
    }
    Ok(Ready { store, job, loaded, shape, finished, outputs })
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

/// Tells what an earlier, dead process left, now that it is put in order.
pub fn tell_recovered(store: &Store) {
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
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The job file and all it needs.
    pub loaded: Loaded,
    /// The job of its name, if there is one.
    pub existing: Option<Job>,
}

impl Opened {
    /// Reads a job file and opens its store.
    pub async fn new(place: &Place, wanted: &Wanted, store: StoreOf<'_>) -> Result<Opened, CommandError> {
        let config: Config = place.load_unlocked()?;
        let spec = read_spec(&wanted.job)?;
        let home = place.home_of(wanted.sim.is_some())?;
        let rules = place.rules(&config, Some(&spec))?;
        let (origin, sim) = (Origin::Input(wanted.input.as_deref()), wanted.sim.as_deref());
        let mut loaded = Loaded::new(spec, config, rules, origin, sim, wanted.budget).await?;
        let is_own = matches!(store, StoreOf::Home);
        let store = store.open(&home).await?;
        if is_own {
            log::start(place.home.dir(), &loaded.config.log, loaded.rules.detector().clone());
        }
        if loaded.source.is_stdin() {
            check_disks(&loaded, &store, None)?;
        }
        loaded.spool(store.dir()).await?;
        let jobs = store.list_jobs().await?;
        let mut named = jobs.into_iter().filter(|job| job.setup.name == loaded.spec.name);
        // A fresh job has nothing of an earlier one, its cap neither.
        let existing = named.find(|job| job.state != JobState::Cancelled && !wanted.fresh);
        loaded.is_fresh = wanted.fresh;
        let id = existing.as_ref().map(|job| job.id.as_str());
        approval::take_up_job_cap(&store, &mut loaded, id).await?;
        Ok(Opened { store, loaded, existing })
    }

    /// Keys that need no call.
    pub async fn finished(&self) -> Result<HashSet<ItemKey>, CommandError> {
        match &self.existing {
            Some(job) => Ok(finished_keys(&self.store, &job.id, &self.loaded.route).await?),
            None => Ok(HashSet::new()),
        }
    }

    /// Creates or updates the job and reads its input in.
    pub async fn admit(
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
}

/// Where results go: as a person said, else as the job file says.
#[must_use]
pub fn out_folder(given: Option<&Path>, spec: &JobSpec, is_simulated: bool) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let folder = spec.out.clone().unwrap_or_else(|| Path::new("out").join(&spec.name));
    // Simulated answers must not take the place of real ones.
    if is_simulated { folder.join("simulated") } else { folder }
}

/// Starts only what the plan lets start, or what a person agreed to.
fn agree(
    plan: &Plan,
    opened: &Opened,
    survey: &Survey,
    yes: bool,
    confirm: Confirm<'_>,
) -> Result<(), CommandError> {
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
    match confirm(question) {
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
    let given = scenario_path(given);
    let folder = path.parent().unwrap_or(&path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, given));
    written.map_err(|error| CommandError::bad_input(format!("cannot write {}: {error}", path.display())))
}

/// A scenario as it is found again from another folder: a file's full path, else as it was given.
#[must_use]
pub fn scenario_path(given: &str) -> String {
    std::fs::canonicalize(given).map_or_else(|_| given.to_owned(), |path| path.display().to_string())
}

fn read_scenario(store: &Store, job: &str) -> String {
    let known = std::fs::read_to_string(scenario_file(store, job)).ok();
    known.unwrap_or_else(|| super::prepare::DEFAULT_SCENARIO.to_owned())
}
