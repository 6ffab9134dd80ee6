//! Jobs, cohorts and agents, and the tree that runs them.

mod agent;
mod attempt;
mod cohort;
mod context;
mod heed;
mod job;
pub mod meters;
pub mod order;
mod passage;
mod reduce;
mod reuse;
mod turnstile;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use self::context::{ChunkCache, JobContext, LaneHandle};
use self::heed::HeedOfJob;
use self::job::{JobActor, JobMemory};
use self::meters::JobMeters;
use self::order::{JobEnd, JobOrder, StopReason};
use self::turnstile::Turnstile;
use crate::gates::book::{Account, Alert, Scope};
use crate::gates::budget::{BudgetGate, Cap};
use crate::gates::detect::Detector;
use crate::gates::privacy::PrivacyGate;
use crate::gates::rate::{LaneReading, RateGate};
use crate::guard::{Guard, GuardParts};
use crate::kernel::control::{Address, Down, Failure};
use crate::kernel::policy::{Policy, Restart, Strategy};
use crate::kernel::supervisor::{ChildSpec, Root, StopReport, TreeView};
use crate::model::{ProviderId, ProviderSpec};
use crate::ports::{Answers, Audit, Items, Ledger, Provider, Random, Results, Script, WallClock};
use crate::route::SharedCalls;

/// Agents that are awake beyond the calls that may be in flight: they have rendered their
/// prompt and reserved their money, so that no permit waits for an agent.
const AWAKE_SLACK: usize = 32;
/// Agents awake at most, whatever the providers allow.
const AWAKE_MAX: usize = 8_192;

/// What a swarm is made of.
pub struct SwarmParts {
    /// Who can be called.
    pub providers: Vec<(Arc<ProviderSpec>, Arc<dyn Provider>)>,
    /// The durable ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Where results go.
    pub results: Arc<dyn Results>,
    /// Where items come from.
    pub items: Arc<dyn Items>,
    /// Where answers are read again.
    pub answers: Arc<dyn Answers>,
    /// The job's own logic.
    pub script: Arc<dyn Script>,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
    /// Randomness for jitter.
    pub random: Arc<dyn Random>,
    /// Caps that hold from the start.
    pub caps: Vec<Cap>,
    /// Privacy actors.
    pub privacy_workers: usize,
    /// Where the privacy gate's decisions are kept.
    pub audit: Arc<dyn Audit>,
    /// What the privacy gate looks with.
    pub detector: Arc<Detector>,
    /// Who watches the machine.
    pub guard: GuardParts,
    /// What this job shares with others about its calls.
    pub shared: SharedCalls,
}

/// A running job under its tree.
pub struct Swarm {
    root: Root,
    context: Arc<JobContext>,
    end: watch::Receiver<Option<JobEnd>>,
}

impl Swarm {
    /// Starts the guard, gates, lanes and the job. A model of the route whose provider is not among the
    /// parts is an error.
    ///
    /// # Errors
    /// An actor did not start.
    pub async fn start(parts: SwarmParts, order: JobOrder) -> Result<Swarm, Failure> {
        let budget = BudgetGate::new(parts.ledger.clone(), parts.clock.clone());
        let privacy =
            PrivacyGate::new(parts.privacy_workers, parts.detector.clone(), parts.audit, parts.clock.clone());
        let GuardParts { sampler, settings, checkpoint } = parts.guard;
        let guard = Guard::new(sampler, settings);
        budget.enroll(order.id.clone(), order.terms.clone());
        budget.alert_at(order.alerts.clone());
        let lanes: HashMap<ProviderId, LaneHandle> = parts
            .providers
            .iter()
            .map(|(spec, provider)| {
                let (ledger, clock, random) =
                    (parts.ledger.clone(), parts.clock.clone(), parts.random.clone());
                let pressure = Some(guard.subscribe());
                let rate = RateGate::new(spec.clone(), ledger, clock, random, pressure);
                (spec.id.clone(), lane_handle(spec, rate, provider))
            })
            .collect();
        if let Some(model) = order.route.iter().find(|model| !lanes.contains_key(&model.provider)) {
            return Err(Failure(format!("model {} names the unknown provider {}", model.id, model.provider)));
        }
        let width = awake(&order, &lanes);
        let caps = all_caps(&lanes, parts.caps);
        let context = Arc::new(JobContext {
            meters: Arc::new(JobMeters::new(order.route.len())),
            turnstile: Turnstile::new(width),
            script: parts.script,
            items: parts.items,
            answers: parts.answers,
            results: parts.results,
            clock: parts.clock,
            random: parts.random.clone(),
            privacy: privacy.clone(),
            budget: budget.clone(),
            lanes,
            guard: guard.clone(),
            shared: parts.shared,
            twins: Mutex::default(),
            chunks: ChunkCache::default(),
            unaffordable: AtomicU32::new(0),
            stop: watch::channel(None).0,
            job: Address::new(format!("/empire/swarm/job-{}", order.id)),
            span: tracing::info_span!(parent: None, "job", job = &*order.id),
            deadline: order.deadline.map(|deadline| Instant::now() + deadline),
            order,
        });
        let (end_sender, end) = watch::channel(None);
        let guard = guard.child(Arc::new(HeedOfJob::new(context.clone(), checkpoint)));
        let gates = gates_spec(&context, privacy, caps, parts.random.clone());
        let swarm = swarm_spec(&context, end_sender, parts.random.clone());
        let policy = Policy::default().with_strategy(Strategy::OneForOne);
        let root = Root::start(policy, vec![guard, gates, swarm], parts.random).await?;
        let (items, cohorts) = (context.order.pending, context.order.cohorts.len());
        tracing::info!(parent: &context.span, items, cohorts, "a job started");
        Ok(Swarm { root, context, end })
    }

    /// Resolves with how the job ended. Giving up of the root ends it too.
    ///
    /// # Errors
    /// The tree gave up: an actor failed more often than its policy allows.
    pub async fn ended(&mut self) -> Result<JobEnd, Failure> {
        tokio::select! {
            end = self.end.wait_for(Option::is_some) => {
                let end = end.ok().and_then(|end| end.clone());
                end.ok_or_else(|| Failure("the job's actor is gone".to_owned()))
            }
            () = self.root.failed() => Err(Failure("an actor failed more often than its policy allows".to_owned())),
        }
    }

    /// Stops the job: calls in flight may end within the drain deadline.
    pub fn stop(&self, reason: StopReason) {
        self.context.stop(reason);
    }

    /// Stops the job at once: calls in flight are dropped and stay billed at their reservation.
    pub fn stop_now(&self, reason: StopReason) {
        self.context.stop(reason);
        // A job actor that is down starts with the stop reason in place.
        let _ = self.context.job.send(job::Message::StopNow);
    }

    /// The job's live counters.
    #[must_use]
    pub fn meters(&self) -> Arc<JobMeters> {
        self.context.meters.clone()
    }

    /// Every budget account.
    ///
    /// # Errors
    /// The budget gate is being restarted.
    pub async fn accounts(&self) -> Result<Vec<(Scope, Account)>, Down> {
        self.context.budget.accounts().await
    }

    /// Sets a cap from now on.
    ///
    /// # Errors
    /// The budget gate is being restarted.
    pub fn set_cap(&self, cap: Cap) -> Result<(), Down> {
        self.context.budget.set_cap(cap)
    }

    /// Thresholds of caps that were passed since this was asked last.
    #[must_use]
    pub fn take_alerts(&self) -> Vec<Alert> {
        self.context.budget.take_alerts()
    }

    /// How each provider's lane stands, in route order.
    pub async fn lanes(&self) -> Vec<(ProviderId, LaneReading)> {
        let mut readings: Vec<(ProviderId, LaneReading)> = Vec::new();
        for model in &self.context.order.route {
            if readings.iter().any(|(id, _)| *id == model.provider) {
                continue;
            }
            if let Ok(reading) = self.context.lane(model).rate.read().await {
                readings.push((model.provider.clone(), reading));
            }
        }
        readings
    }

    /// How many messages wait in the deepest mailbox of a control actor.
    #[must_use]
    pub fn deepest_mailbox(&self) -> usize {
        let context = &self.context;
        let lanes = context.lanes.values().map(|lane| lane.rate.depth());
        let gates = [context.job.depth(), context.budget.depth(), context.privacy.depth()];
        lanes.chain(gates).max().unwrap_or(0)
    }

    /// Who watches the machine.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.context.guard
    }

    /// The tree of control actors.
    ///
    /// # Errors
    /// The root has given up.
    pub async fn tree(&self) -> Result<TreeView, Down> {
        self.root.tree().await
    }

    /// Stops the tree in reverse order of its start.
    pub async fn shutdown(self) -> StopReport {
        self.root.stop().await
    }
}

/// The providers' own caps, and after them those that were given, which override them.
fn all_caps(lanes: &HashMap<ProviderId, LaneHandle>, given: Vec<Cap>) -> Vec<Cap> {
    let own = |lane: &LaneHandle| {
        let scope = Scope::Provider(lane.spec.id.clone());
        lane.spec.cap.map(|cap| Cap { scope, cap: Some(cap) })
    };
    lanes.values().filter_map(own).chain(given).collect()
}

fn lane_handle(spec: &Arc<ProviderSpec>, rate: RateGate, provider: &Arc<dyn Provider>) -> LaneHandle {
    LaneHandle { spec: spec.clone(), rate, provider: provider.clone() }
}

fn awake(order: &JobOrder, lanes: &HashMap<ProviderId, LaneHandle>) -> usize {
    let mut providers: Vec<&ProviderId> = order.route.iter().map(|model| &model.provider).collect();
    providers.sort();
    providers.dedup();
    let slots: usize = providers.iter().map(|id| lanes[*id].spec.limits.concurrency as usize).sum();
    (slots + AWAKE_SLACK).min(AWAKE_MAX)
}

/// Gates depend on each other from left to right: when one restarts, so do those after it.
fn gates_spec(
    context: &Arc<JobContext>,
    privacy: PrivacyGate,
    caps: Vec<Cap>,
    random: Arc<dyn Random>,
) -> ChildSpec {
    let context = context.clone();
    let policy = Policy::default().with_strategy(Strategy::RestForOne);
    ChildSpec::supervisor("gates", policy, random, move || {
        let mut children = privacy.children();
        children.push(context.budget.child(caps.clone()));
        children.extend(context.lanes.values().map(|lane| lane.rate.child()));
        children
    })
}

fn swarm_spec(
    context: &Arc<JobContext>,
    end: watch::Sender<Option<JobEnd>>,
    random: Arc<dyn Random>,
) -> ChildSpec {
    let memory = Arc::new(JobMemory::new(context.order.cohorts.len()));
    let context = context.clone();
    ChildSpec::supervisor("swarm", Policy::default(), random, move || {
        let (context, memory, end) = (context.clone(), memory.clone(), end.clone());
        let name = format!("job-{}", context.order.id);
        let address = context.job.clone();
        let job = ChildSpec::actor(name, &address, move || {
            let actor = JobActor::new(context.clone(), memory.clone(), end.clone());
            Box::pin(async move { Ok(actor) })
        });
        vec![job.restart(Restart::Transient).stop_within(job::STOP_SLACK)]
    })
    .stop_within(job::STOP_SLACK * 2)
}
