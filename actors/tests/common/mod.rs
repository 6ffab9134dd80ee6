//! The outside world in memory: providers that behave as told, a ledger, results and items that
//! can fail, and an audit of every promise that holds for any run.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support"
)]

mod machine;
mod provider;
mod stores;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::failure::{Billing, CallError, FailureKind};
use empire_actors::gates::book::Scope;
use empire_actors::gates::budget::Cap;
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::room::Class;
use empire_actors::guard::Guard;
use empire_actors::house::{House, HouseParts};
use empire_actors::kernel::control::Failure;
use empire_actors::kernel::supervisor::StopReport;
use empire_actors::kernel::tree::{NodeView, Supervision};
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec, Structured, Thinking};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{Item, ItemKey, Part, Provider, Verdict};
use empire_actors::route::SharedCalls;
use empire_actors::route::rules::CallRules;
use empire_actors::swarm::JobParts;
use empire_actors::swarm::meters::MeterReading;
use empire_actors::swarm::order::{CohortPlan, JobEnd, JobOrder};

pub use machine::{FakeMachine, guard_parts, guard_settings};
pub use provider::{FakeProvider, Reaction, good_answer, usage_of};
pub use stores::{FakeAudit, FakeItems, FakeLedger, FakeResults, FakeScript, Hooks, TokioClock, Wobble};

pub const JOB: &str = "j";

/// Supervision by the policies of the code.
pub fn supervision() -> Supervision {
    Supervision::new(Arc::new(TokioClock::new(Arc::default())), Arc::new(Wobble::default()))
}

/// A job and the world it runs in.
pub struct Bench {
    pub ledger: Arc<FakeLedger>,
    pub results: Arc<FakeResults>,
    pub items: Arc<FakeItems>,
    pub script: Arc<FakeScript>,
    pub hooks: Arc<Hooks>,
    pub providers: Vec<(Arc<ProviderSpec>, Arc<FakeProvider>)>,
    pub caps: Vec<Cap>,
    pub machine: Arc<FakeMachine>,
    pub audit: Arc<FakeAudit>,
    pub order: JobOrder,
    pub shared: SharedCalls,
}

/// A job in a house of its own.
pub struct Swarm {
    pub job: empire_actors::swarm::Swarm,
    pub house: House,
}

impl std::ops::Deref for Swarm {
    type Target = empire_actors::swarm::Swarm;

    fn deref(&self) -> &Self::Target {
        &self.job
    }
}

impl std::ops::DerefMut for Swarm {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.job
    }
}

impl Swarm {
    pub fn guard(&self) -> &Guard {
        self.house.guard()
    }

    pub async fn shutdown(self) -> StopReport {
        let report = self.house.stop().await;
        drop(self.job);
        report
    }
}

/// The tree and all below it, the deeper ones after those above.
pub fn flat(view: &NodeView) -> Vec<NodeView> {
    let mut all = vec![view.clone()];
    for n in 0.. {
        let Some(next) = all.get(n).map(|view| view.children.clone()) else { break };
        all.extend(next);
    }
    all
}

/// What a run left behind.
pub struct Ran {
    pub end: JobEnd,
    pub meters: MeterReading,
    /// The total account just before the shutdown.
    pub spent: Micros,
}

pub fn item(number: u32, text: &str) -> Item {
    let mut key = [0; 16];
    for (n, byte) in text.bytes().enumerate() {
        key[n % 16] = u8::wrapping_mul(key[n % 16], 31).wrapping_add(byte);
    }
    Item {
        number,
        first: number,
        key: ItemKey(key),
        level: None,
        row: format!("{{\"name\":\"{text}\"}}").into(),
    }
}

/// Items `row-0`, `row-1`, …
pub fn items(count: u32) -> Vec<Item> {
    (0..count).map(|n| item(n, &format!("row-{n:06}"))).collect()
}

pub fn model(id: &str, provider: &str, price: Option<Price>) -> Arc<Model> {
    Arc::new(Model {
        id: id.into(),
        provider: provider.into(),
        price,
        context: 32_768,
        max_output: 4_096,
        thinking: Thinking::VendorDefault,
        structured: Structured::PromptOnly,
        temperature: None,
        top_p: None,
        timeout: Duration::from_secs(30),
    })
}

/// A dollar for a million tokens in, two for a million out.
pub fn paid() -> Option<Price> {
    let (input, output) = (Micros(1_000_000), Micros(2_000_000));
    Some(Price { input, cached_input: input, cache_write: input, output })
}

pub fn error(kind: FailureKind) -> CallError {
    let billing = match kind {
        FailureKind::TimedOut | FailureKind::Disconnected => Billing::Reservation,
        _ => Billing::Nothing,
    };
    CallError { kind, status: None, message: "as scripted".into(), retry_after: None, billing }
}

pub fn spec(id: &str, zone: Zone, concurrency: u32) -> ProviderSpec {
    ProviderSpec {
        id: id.into(),
        zone,
        limits: Limits::slots(concurrency),
        model_limits: BTreeMap::new(),
        switch_after: None,
        cap: None,
    }
}

impl Bench {
    /// A P1 job over `items` without any provider yet.
    pub fn new(items: Vec<Item>) -> Bench {
        let hooks = Arc::new(Hooks::default());
        let results = Arc::new(FakeResults::default());
        let count = u32::try_from(items.len()).unwrap();
        let distinct: HashSet<ItemKey> = items.iter().map(|item| item.key).collect();
        let cohorts = (0..count.div_ceil(64))
            .map(|number| CohortPlan { number, first: number * 64, count: 64.min(count - number * 64) })
            .collect();
        let order = JobOrder {
            id: JOB.into(),
            level: Level::P1,
            highest_level: items.iter().filter_map(|item| item.level).max().unwrap_or(Level::P1),
            route: Vec::new(),
            cohorts,
            pending: u64::from(count),
            finished: Arc::default(),
            only: None,
            has_twins: distinct.len() < items.len(),
            pack: 1,
            retries: 2,
            failure_rule: None,
            deadline: None,
            class: Class::Normal,
            weight: 1,
            reduce_group: None,
            terms: Default::default(),
            drain_within: Duration::from_secs(60),
            rules: CallRules::default(),
        };
        Bench {
            ledger: Arc::new(FakeLedger::default()),
            items: Arc::new(FakeItems::new(items, results.clone(), hooks.clone())),
            results,
            script: Arc::new(FakeScript { hooks: hooks.clone() }),
            hooks,
            providers: Vec::new(),
            caps: Vec::new(),
            machine: Arc::default(),
            audit: Arc::default(),
            order,
            shared: SharedCalls::default(),
        }
    }

    /// Adds a provider, and a model of it at the end of the route.
    pub fn route(mut self, spec: ProviderSpec, price: Option<Price>, fake: FakeProvider) -> Bench {
        self.order.route.push(model(&format!("{}-model", spec.id), spec.id.as_str(), price));
        self.providers.push((Arc::new(spec), Arc::new(fake)));
        self
    }

    pub fn cap(mut self, cap: Micros) -> Bench {
        self.caps.push(Cap { scope: Scope::Job(JOB.into()), cap: Some(cap) });
        self
    }

    pub fn order(mut self, change: impl FnOnce(&mut JobOrder)) -> Bench {
        change(&mut self.order);
        self
    }

    pub fn provider(&self, id: &str) -> &FakeProvider {
        let id = ProviderId::from(id);
        &self.providers.iter().find(|(spec, _)| spec.id == id).unwrap().1
    }

    pub fn house_parts(&self) -> HouseParts {
        HouseParts {
            providers: self
                .providers
                .iter()
                .map(|(spec, fake)| (spec.clone(), fake.clone() as Arc<dyn Provider>))
                .collect(),
            ledger: self.ledger.clone(),
            caps: self.caps.clone(),
            alerts: vec![50, 80, 95],
            privacy_workers: 2,
            audit: self.audit.clone(),
            detector: detector(),
            guard: guard_parts(&self.machine),
            clock: Arc::new(TokioClock::new(self.hooks.clone())),
            supervision: supervision(),
            tally: Arc::default(),
        }
    }

    pub fn job_parts(&self) -> JobParts {
        JobParts {
            results: self.results.clone(),
            items: self.items.clone(),
            answers: self.items.clone(),
            script: self.script.clone(),
            detector: detector(),
            shared: self.shared.clone(),
            caps: Vec::new(),
        }
    }

    pub async fn start(&self) -> Swarm {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Swarm, Failure> {
        let house = House::start(self.house_parts()).await?;
        let job = empire_actors::swarm::Swarm::start(&house, self.job_parts(), self.order.clone()).await?;
        Ok(Swarm { job, house })
    }

    /// Runs the job to its end, within a (virtual) day, and audits it.
    pub async fn run(&self) -> Ran {
        self.finish(self.start().await).await
    }

    /// Waits for the end of a running job, and audits it.
    pub async fn finish(&self, mut swarm: Swarm) -> Ran {
        let day = Duration::from_secs(86_400);
        let end = tokio::time::timeout(day, swarm.ended()).await.expect("the job ends").unwrap();
        // What was cancelled at the end hears of it in the next moments.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let meters = swarm.meters().read();
        let accounts = swarm.house.watch().every_account();
        assert_eq!(meters.agents, 0, "no agent is left behind");
        assert_eq!(meters.in_flight, 0, "no call is left behind");
        let pending = self.order.only.as_ref().map_or(self.order.pending, |only| only.len() as u64);
        assert_eq!(meters.done + meters.dead + end.unfinished, pending, "every agent is accounted for");
        for (scope, account) in &accounts {
            assert_eq!(account.reserved, Micros::ZERO, "{scope:?} keeps a reservation");
            if let Some(cap) = account.cap {
                assert!(account.spent <= cap, "{scope:?} passed its cap: {account:?}");
            }
        }
        let spent = accounts.iter().find(|(scope, _)| *scope == Scope::Total).map(|(_, a)| a.spent);
        let spent = spent.unwrap_or_default();
        assert_eq!(spent, self.ledger.billed(), "the book and the ledger agree");
        let report = swarm.shutdown().await;
        assert_eq!(report.killed, Vec::<String>::new());
        assert_eq!(self.ledger.open(), 0, "no reservation is left open");
        assert_eq!(self.ledger.wrongs(), Vec::<String>::new());
        assert_eq!(self.results.doubles(), 0, "no result is recorded twice");
        Ran { end, meters, spent }
    }

    /// The same job resumed: what is recorded as done is finished.
    pub fn resume(&mut self) {
        let done = self.results.done_keys(Part::Item);
        self.order.pending = self.items.all.iter().filter(|item| !done.contains(&item.key)).count() as u64;
        self.order.finished = Arc::new(done);
    }

    /// Every item has exactly one record, and it is an answer.
    pub fn assert_all_done(&self) {
        let done = self.results.done_keys(Part::Item);
        let keys: HashSet<ItemKey> = self.items.all.iter().map(|item| item.key).collect();
        assert_eq!(done.len(), keys.len());
        assert_eq!(done, keys);
    }

    /// Why items died, with how many each.
    pub fn dead(&self) -> Vec<(String, usize)> {
        let mut reasons = BTreeMap::<String, usize>::new();
        for record in self.results.all(Part::Item) {
            if let Verdict::Dead(why) = record.verdict {
                *reasons.entry(why).or_default() += 1;
            }
        }
        reasons.into_iter().collect()
    }

    /// What all records say was paid, items and reduce.
    pub fn recorded_cost(&self) -> Micros {
        let records = self.results.all(Part::Item).into_iter().chain(self.results.all(Part::Reduce));
        records.map(|record| record.cost).sum()
    }
}

/// The search with one rule for keys; the rules that ship are read by the program.
pub fn detector() -> Arc<Detector> {
    let rule = serde_json::json!({
        "id": "key", "about": "a key", "shape": "sk-{token:20-}",
        "positive": ["sk-{token:20-}"], "near": ["sk-{token:5}"],
    });
    let file = serde_json::from_value(serde_json::json!({"rule": [rule]})).unwrap();
    Arc::new(Detector::new(Rules::compile(&[file]).unwrap()))
}
