//! Everything about a job before anything is spent: spec, configuration, route, input, plan.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::detect::Detector;
use empire_actors::gates::privacy;
use empire_actors::gates::scope::Scope;
use empire_actors::level::Level;
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec};
use empire_actors::money::Micros;
use empire_actors::ports::{Chunk, Item, ItemKey, StoreError, UnixMillis, WallClock};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::caps;
use super::error::CommandError;
use super::origin::{Origin, Places};
use super::progress::say;
use super::routing;
use super::system::SystemClock;
use crate::config::{Config, EMPTY_SOURCE, system_env};
use crate::home::Home;
use crate::job::{AdmitError, ChunkRows, InputSource, JobScript, JobSpec, Pack, Totals, admit};
use crate::plan::{
    MoneyLimit, PackChoice, Plan, PlanInput, ReduceSize, RouteStep, SampleStats, Thresholds, pack_for,
};
use crate::privacy::keychain::Keychain;
use crate::privacy::rules::RulesInForce;
use crate::providers;
use crate::sim::{Scenario, Simulator};
use crate::store::{Admitted, Job, JobState, LedgerScope, Store};

/// Chunks on their way from the input to the store.
const CHUNKS_AHEAD: usize = 4;
/// The default scenario of `--sim`.
pub const DEFAULT_SCENARIO: &str = "steady";
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

/// What all commands are told: where state is and what is configured.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data folder.
    pub home: Home,
    /// A configuration file on top of the data folder's.
    pub config: Option<PathBuf>,
}

impl Place {
    /// The effective configuration, without the keys that are in the keychain.
    pub fn load_config(&self) -> Result<Config, CommandError> {
        Ok(Config::load(self.home.dir(), self.config.as_deref(), &system_env)?)
    }

    /// The effective configuration with every key that there is, to make calls with.
    pub fn load_unlocked(&self) -> Result<Config, CommandError> {
        let mut config = self.load_config()?;
        config.unlock(&Keychain::system())?;
        Ok(config)
    }

    /// The rules of the privacy gate, the owner's own secrets among them. A job may let values
    /// through beside those of the configuration.
    pub fn rules(&self, config: &Config, job: Option<&JobSpec>) -> Result<RulesInForce, CommandError> {
        let own = config.own_secrets(&system_env, &Keychain::system()).map_err(CommandError::bad_input)?;
        for source in &own.empty {
            say(&format!("warning: own secrets: {source} holds nothing: {EMPTY_SOURCE}"));
        }
        let of_job = job.into_iter().flat_map(|job| job.allow.keys());
        let allowed: Vec<String> = config.privacy.allow.keys().chain(of_job).cloned().collect();
        let detector = |rules| Detector::new(rules).with_own(own.secrets).with_allowed(allowed);
        Ok(RulesInForce::new(self.home.dir(), detector)?)
    }

    /// The folder that holds the state of real or of simulated runs.
    pub fn home_of(&self, simulated: bool) -> Result<Home, CommandError> {
        Ok(if simulated { self.home.simulated()? } else { self.home.clone() })
    }
}

/// The simulator that a run talks to.
pub struct Simulated {
    /// How it was asked for: a scenario's name or file, or a simulator's address.
    pub given: String,
    base_url: String,
    scenario: String,
    /// Ours, if it was started for this run; it stops when dropped.
    _own: Option<Simulator>,
}

impl Simulated {
    /// Where it listens.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What it plays: a hash of the scenario.
    #[must_use]
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// Starts a simulator with the scenario `given`, or uses the one that runs at the address
    /// `given`.
    pub async fn start(given: &str, config: &Config) -> Result<Simulated, CommandError> {
        if given.starts_with("http://") || given.starts_with("https://") {
            let base_url = given.trim_end_matches('/').to_owned();
            let scenario = providers::check_simulator(&base_url).await.map_err(CommandError::bad_input)?;
            return Ok(Simulated { given: given.to_owned(), base_url, scenario, _own: None });
        }
        let scenario = Scenario::load(given)?;
        let prices =
            config.models.iter().filter_map(|(id, model)| Some((id.clone(), model.price?))).collect();
        let played = scenario.fingerprint().to_owned();
        let simulator = Simulator::start(scenario, prices, ([127, 0, 0, 1], 0).into()).await?;
        let base_url = simulator.base_url();
        Ok(Simulated { given: given.to_owned(), base_url, scenario: played, _own: Some(simulator) })
    }
}

/// Where a job's standard input is kept in the data folder.
#[must_use]
pub fn stdin_file(folder: &Path, spec: &JobSpec) -> PathBuf {
    folder.join(format!("stdin-{}", spec.name))
}

/// A job as far as its spec and the configuration say, before its input is read.
pub struct Loaded {
    /// The rules of the privacy gate.
    pub rules: RulesInForce,
    /// The spec.
    pub spec: JobSpec,
    /// Where its items come from.
    pub source: InputSource,
    /// Where its input and its spec lie.
    pub places: Places,
    /// Its logic.
    pub script: Arc<JobScript>,
    /// The configuration; points at the simulator if there is one.
    pub config: Config,
    /// The simulator, in a simulated run.
    pub simulated: Option<Simulated>,
    /// The models that are tried, in order.
    pub route: Vec<Arc<Model>>,
    /// Models of the route that cannot be used, and why.
    pub left_out: Vec<String>,
    /// The job's budget.
    pub budget: Micros,
    /// What an approval lets it spend in one go.
    pub approved: Option<Micros>,
    /// The level that it declares and the rule that raised that, in words, if one did.
    pub raised: Option<String>,
    /// Whether it starts afresh, with nothing that was answered before.
    pub is_fresh: bool,
}

/// Reads a spec file.
pub fn read_spec(path: &Path) -> Result<JobSpec, CommandError> {
    let text = fs::read(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": check the path; shipped jobs are in config/jobs/",
            _ => "",
        };
        CommandError::bad_input(format!("cannot read the job file {}: {error}{hint}", path.display()))
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        CommandError::bad_input(format!(
            "{}:{line}: the job file is not valid UTF-8: save it as UTF-8",
            path.display()
        ))
    })?;
    Ok(JobSpec::parse(&text, path)?)
}

impl Loaded {
    /// Checks a spec against the configuration.
    pub async fn new(
        mut spec: JobSpec,
        config: Config,
        rules: RulesInForce,
        origin: Origin<'_>,
        sim: Option<&str>,
        budget: Option<Micros>,
    ) -> Result<Loaded, CommandError> {
        let (mut source, places) = origin.find(&mut spec)?;
        let mut raised = None;
        if let Some((level, why)) = places.level_above(spec.privacy, &config.privacy.sources)? {
            say(&format!("note: {why}: the job is treated as {level}"));
            // The rows carry it too: they stay what they are when the rule is gone.
            source = source.at_least(level);
            raised = Some(format!("declared {}; {why}", spec.privacy));
            spec.privacy = level;
        }
        let route = config.resolve_route(spec.route.as_deref().unwrap_or(&config.route)).map_err(
            |error| match &spec.route {
                Some(_) => CommandError::bad_input(format!("{}: `route`: {error}", spec.route_place)),
                None => error.into(),
            },
        )?;
        let (route, left_out) = usable_keys(&spec, &config, route, sim.is_some())?;
        let route = routing::arrange(&spec, &config, route);
        let budget = budget.or(spec.budget).unwrap_or(config.budget.job_default);
        let simulated = match sim {
            Some(given) => Some(Simulated::start(given, &config).await?),
            None => None,
        };
        let config = match &simulated {
            Some(simulated) => config.simulated(&simulated.base_url),
            None => config,
        };
        let script = Arc::new(JobScript::new(&spec, simulated.is_some()));
        let approved = None;
        Ok(Loaded {
            rules,
            spec,
            source,
            places,
            script,
            config,
            simulated,
            route,
            left_out,
            budget,
            approved,
            raised,
            is_fresh: false,
        })
    }

    /// Standard input is kept in `folder`, so that it can be read again.
    pub async fn spool(&mut self, folder: &Path) -> Result<(), CommandError> {
        if !self.source.is_stdin() {
            return Ok(());
        }
        let file = stdin_file(folder, &self.spec);
        let source = self.source.clone();
        self.source = blocking(move || source.spool(&mut io::stdin().lock(), &file)).await??;
        Ok(())
    }

    /// How many items share a call.
    #[must_use]
    pub fn pack(&self, totals: &Totals) -> usize {
        let Some(model) = self.route.iter().find(|model| self.refusal(model).is_none()) else { return 1 };
        let limits = &self.config.providers[&model.provider].spec.limits;
        let size = crate::plan::ItemSize {
            max_prompt_bytes: totals.max_prompt_bytes,
            system_bytes: totals.max_system_bytes,
            schema_bytes: self.schema_bytes(),
            max_tokens: self.spec.max_tokens,
        };
        pack_for(self.pack_choice(), model, limits, &size)
    }

    /// What the provider of a model of the route allows.
    #[must_use]
    pub fn limits_of(&self, model: &Model) -> Limits {
        self.config.providers[&model.provider].spec.limits.clone()
    }

    fn pack_choice(&self) -> PackChoice {
        match self.spec.pack {
            Pack::Fixed(1) => PackChoice::One,
            Pack::Fixed(n) => PackChoice::Fixed(n),
            Pack::Auto => PackChoice::Auto,
        }
    }

    fn schema_bytes(&self) -> u64 {
        self.spec.answer.schema().map_or(0, |schema| schema.to_string().len() as u64)
    }

    /// Why the job's own data may not go to a model.
    fn refusal(&self, model: &Model) -> Option<String> {
        let zone = self.config.providers[&model.provider].spec.zone;
        privacy::permit(self.spec.privacy, &model.provider, zone).err().map(|refusal| refusal.to_string())
    }

    /// Refuses a job that is too private for its whole route before anything is asked.
    pub fn check_privacy(&self) -> Result<(), CommandError> {
        let refusals: Option<Vec<String>> = self.route.iter().map(|model| self.refusal(model)).collect();
        refusals.map_or(Ok(()), |refusals| {
            Err(CommandError::refused(format!(
                "{}: add a model that it may go to to the route of {}, and `empire swarm run` takes it up",
                refusals.join("; "),
                self.spec.path.display()
            )))
        })
    }

    /// The route's providers, as configured.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let confirm = &self.config.confirm;
        Thresholds { cost_above: Some(confirm.cost_above), time_above: Some(confirm.time_above) }
    }
}

/// Drops models whose provider has no key, if the route is the default one; a route that the
/// spec names is meant.
fn usable_keys(
    spec: &JobSpec,
    config: &Config,
    route: Vec<Arc<Model>>,
    simulated: bool,
) -> Result<(Vec<Arc<Model>>, Vec<String>), CommandError> {
    if simulated {
        return Ok((route, Vec::new()));
    }
    let (mut usable, mut left_out) = (Vec::new(), Vec::new());
    for model in route {
        let zone = config.providers[&model.provider].spec.zone;
        match config.missing_key(&model.provider) {
            // What privacy refuses anyway needs no key.
            Some(remedy) if zone.admits(spec.privacy) => {
                let what = format!("{} has no key: {remedy}", model.provider);
                if spec.route.is_some() {
                    return Err(CommandError::bad_input(format!(
                        "{}: `route`: {what}, or leave {} out of the route",
                        spec.route_place, model.provider
                    )));
                }
                left_out.push(what);
            }
            _ => usable.push(model),
        }
    }
    if usable.is_empty() {
        return Err(CommandError::bad_input(format!(
            "no model of the route can be used: {}",
            left_out.join("; ")
        )));
    }
    Ok((usable, left_out))
}

/// What a job's input is, against what is finished already.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What the input adds up to.
    pub totals: Totals,
    /// Items without a result, equal ones counted each.
    pub pending_items: u64,
    /// Different items without a result.
    pub pending_distinct: u64,
}

/// Reads the whole input once and keeps nothing of it.
pub async fn survey(
    loaded: &Loaded,
    limit: Option<u32>,
    finished: Arc<HashSet<ItemKey>>,
) -> Result<Survey, CommandError> {
    let (script, source) = (loaded.script.clone(), loaded.source.clone());
    let spec_path = loaded.spec.path.clone();
    blocking(move || {
        let mut survey = Survey::default();
        let mut finished_here = HashSet::new();
        let visit = |chunk: ChunkRows| {
            if finished.is_empty() {
                survey.pending_items += chunk.keys.len() as u64;
                return Ok::<_, std::convert::Infallible>(());
            }
            for key in chunk.keys {
                if finished.contains(&key) {
                    finished_here.insert(key);
                } else {
                    survey.pending_items += 1;
                }
            }
            Ok(())
        };
        let totals = admit(&script, &source, limit, visit).map_err(|error| match error {
            AdmitError::Render { .. } => CommandError::bad_input(format!(
                "{}: {error}: correct the template, or the input",
                spec_path.display()
            )),
            other => CommandError::bad_input(other),
        })?;
        survey.pending_distinct = u64::from(totals.distinct).saturating_sub(finished_here.len() as u64);
        survey.totals = totals;
        Ok(survey)
    })
    .await?
}

/// Reads the whole input once into the store.
pub async fn admit_into(
    store: &Store,
    job: &str,
    loaded: &Loaded,
    limit: Option<u32>,
) -> Result<(Admitted, Totals), CommandError> {
    let (script, source) = (loaded.script.clone(), loaded.source.clone());
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let reading = blocking(move || {
        admit(&script, &source, limit, |chunk| {
            sender.blocking_send(chunk).map_err(|_| "the store stopped reading")
        })
    });
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, StoreError>(to_chunk(chunk)), receiver))
    });
    let (totals, admitted) = tokio::join!(reading, store.replace_chunks(job, chunks));
    // If the store failed, the reader only says that nobody listens.
    match totals? {
        Err(AdmitError::Visit(_)) => Err(admitted
            .err()
            .map_or_else(|| CommandError::internal("the store stopped reading"), Into::into)),
        Err(other) => Err(CommandError::bad_input(other)),
        Ok(totals) => Ok((admitted?, totals)),
    }
}

fn to_chunk(rows: ChunkRows) -> Chunk {
    let items = rows.keys.into_iter().zip(rows.levels).zip(rows.rows);
    // Which of them are equal, the store finds out.
    let items = (rows.first..).zip(items);
    let items = items.map(|(number, ((key, level), row))| Item { number, first: number, key, level, row });
    Chunk { items: items.collect() }
}

/// What the ledger knows that a plan needs.
#[derive(Debug, Clone, Default)]
pub struct Past {
    spent_on_job: Micros,
    /// What the caps over all jobs leave.
    left_over_all: Option<(Micros, MoneyLimit)>,
    spent: BTreeMap<ProviderId, Micros>,
    /// Caps of providers.
    provider_caps: BTreeMap<ProviderId, Option<Micros>>,
    sent: BTreeMap<ProviderId, (u64, u64)>,
    /// The input with which the job, as its spec is now, was done to its end, reduce and all.
    done_with: Option<String>,
}

impl Past {
    /// Reads it from the store. `job` is the job to go on with, if there is one.
    pub async fn read(store: &Store, loaded: &Loaded, job: Option<&Job>) -> Result<Past, CommandError> {
        let scope = scope_of(loaded.simulated.is_some(), job.map_or("", |job| &job.id));
        let ledger = store.ledger(scope);
        let state = ledger.load().await?;
        let is_done = |job: &&Job| job.state == JobState::Done && job.setup.spec == *loaded.spec.text;
        let done_with = job.filter(is_done).map(|job| job.setup.fingerprint.clone());
        let now = SystemClock.now();
        let caps = caps::caps(&loaded.config, &store.caps().await?);
        let left_over_all = caps::left_over_all(&mut caps::book(&state, &caps), loaded.spec.role, now);
        let mut past = Past { done_with, left_over_all, ..Past::default() };
        past.provider_caps.extend(caps.into_iter().filter_map(|cap| match cap.scope {
            Scope::Provider(provider) => Some((provider, cap.cap)),
            _ => None,
        }));
        for row in state.spent {
            *past.spent.entry(row.provider).or_default() += row.billed;
            if job.is_some_and(|job| *job.id == *row.job) {
                past.spent_on_job += row.billed;
            }
        }
        let before = |ago: Duration| UnixMillis(now.0 - i64::try_from(ago.as_millis()).unwrap_or(0));
        for model in &loaded.route {
            let sent = ledger.sent_since(&model.provider, before(DAY)).await?;
            let calls = |since: UnixMillis| {
                let recent = sent.iter().filter(|sent| sent.at > since);
                recent.map(|sent| u64::from(sent.calls)).sum::<u64>()
            };
            past.sent.insert(model.provider.clone(), (calls(before(HOUR)), calls(before(DAY))));
        }
        Ok(past)
    }
}

/// Whose spend counts against caps: simulated jobs do not count against each other.
#[must_use]
pub fn scope_of(simulated: bool, job: &str) -> LedgerScope {
    if simulated { LedgerScope::Job(job.into()) } else { LedgerScope::All }
}

/// The plan of what is left to do.
#[must_use]
pub fn plan(loaded: &Loaded, survey: &Survey, past: &Past, sample: Option<SampleStats>) -> Plan {
    let totals = &survey.totals;
    let spec = &loaded.spec;
    let is_done =
        survey.pending_distinct == 0 && past.done_with.as_deref() == Some(totals.input_fingerprint.as_str());
    let reduce = spec.reduce.as_ref().filter(|_| !is_done);
    let reduce = reduce.map(|reduce| ReduceSize { calls: reduce_calls(totals.distinct, reduce.group) });
    let level = highest_level(totals, spec.privacy);
    let step = |model: &Arc<Model>| {
        let setting = &loaded.config.providers[&model.provider];
        let (sent_last_hour, sent_last_day) = past.sent.get(&model.provider).copied().unwrap_or_default();
        RouteStep {
            model: model.clone(),
            provider: ProviderSpec {
                cap: past.provider_caps.get(&model.provider).copied().unwrap_or(setting.spec.cap),
                ..setting.spec.clone()
            },
            batch_percent: loaded
                .config
                .model_facts
                .get(&model.id)
                .and_then(|facts| facts.batch_discount)
                .map(u32::from),
            usable: loaded.refusal(model).map_or(Ok(()), Err),
            seconds_per_call: None,
            spent: past.spent.get(&model.provider).copied().unwrap_or_default(),
            sent_last_hour,
            sent_last_day,
        }
    };
    Plan::new(&PlanInput {
        job: spec.name.clone(),
        simulated: loaded.simulated.is_some(),
        items: u64::from(totals.items),
        distinct: u64::from(totals.distinct),
        already_done: u64::from(totals.distinct) - survey.pending_distinct,
        prompt_bytes: share(totals.distinct_prompt_bytes, survey),
        max_prompt_bytes: totals.max_prompt_bytes,
        system_bytes: totals.max_system_bytes,
        schema_bytes: loaded.schema_bytes(),
        max_tokens: spec.max_tokens,
        pack: loaded.pack_choice(),
        retries: spec.retries,
        route: loaded.route.iter().map(step).collect(),
        level,
        raised: loaded.raised.clone(),
        routing: routing::notes(loaded, level, survey.pending_distinct),
        budget: Some(loaded.budget),
        spent: past.spent_on_job,
        left_over_all: past.left_over_all,
        deadline: spec.deadline,
        row_bytes: totals.rows_bytes,
        reduce,
        sample,
    })
}

/// The part of the prompts that is still to be sent, by the average.
fn share(bytes: u64, survey: &Survey) -> u64 {
    let distinct = u128::from(survey.totals.distinct.max(1));
    u64::try_from(u128::from(bytes) * u128::from(survey.pending_distinct) / distinct).unwrap_or(u64::MAX)
}

/// The highest level that any item has.
#[must_use]
pub fn highest_level(totals: &Totals, declared: Level) -> Level {
    let with_items = Level::ALL.into_iter().zip(totals.levels).filter(|(_, count)| *count > 0);
    with_items.map(|(level, _)| level).max().unwrap_or(declared).max(declared)
}

fn reduce_calls(answers: u32, group: u32) -> u64 {
    let (mut left, mut calls) = (u64::from(answers), 0);
    while left > u64::from(group.max(2)) {
        left = left.div_ceil(u64::from(group.max(2)));
        calls += left;
    }
    calls + 1
}

/// The keys that need no call: their result is there, and its model is in the route.
pub async fn finished_keys(
    store: &Store,
    job: &str,
    route: &[Arc<Model>],
) -> Result<HashSet<ItemKey>, StoreError> {
    let counts = |model: &Option<String>| {
        model.as_ref().is_none_or(|model| route.iter().any(|other| other.id == *model))
    };
    store
        .ended(job)
        .try_filter(|ended| std::future::ready(counts(&ended.model)))
        .map(|ended| ended.map(|ended| ended.key))
        .try_collect()
        .await
}

/// Runs file and CPU work off the runtime's own threads.
#[allow(clippy::disallowed_methods, reason = "the one place that does so; its caller waits for it")]
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work).await.map_err(CommandError::internal)
}
