//! A whole swarm, as the program runs it, over ports in memory: a provider that never answers keeps
//! its agents waiting.

use std::sync::Arc;
use std::time::Duration;

use empire::run::system::{SystemClock, SystemRandom};
use empire_actors::call::{Call, Cleared};
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::room::Class;
use empire_actors::guard::GuardParts;
use empire_actors::guard::pressure::{Readings, Settings};
use empire_actors::house::{House, HouseParts};
use empire_actors::kernel::tree::Supervision;
use empire_actors::level::Level;
use empire_actors::model::Limits;
use empire_actors::ports::{
    Answers, Checkpoint, Chunk, Exchange, Item, ItemKey, Items, Provider, Rendered, ResultRecord, Results,
    Sampler, Script, StoreError,
};
use empire_actors::route::SharedCalls;
use empire_actors::route::rules::CallRules;
use empire_actors::schema::Schema;
use empire_actors::swarm::JobParts;
use empire_actors::swarm::order::{COHORT_SIZE, CohortPlan, JobOrder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;

use empire_actors::money::Price;

use super::{InMemory, model, spec};

/// Calls that may be in flight; they hang.
const SLOTS: u32 = 64;

/// Takes calls and never answers.
struct Hangs;

impl Provider for Hangs {
    fn send(&self, call: Call<Cleared>) -> BoxFuture<'_, Exchange> {
        async move {
            let _held = call;
            std::future::pending().await
        }
        .boxed()
    }
}

/// So many one-word rows; results that go nowhere; a machine that is well.
struct Outside {
    items: u32,
}

impl Items for Outside {
    fn chunk(&self, cohort: u32) -> BoxFuture<'_, Result<Arc<Chunk>, StoreError>> {
        let first = cohort * COHORT_SIZE;
        let last = self.items.min(first + COHORT_SIZE);
        let item = |number: u32| {
            let mut key = [0; 16];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let row = format!("{{\"word\":\"word-{number:07}\"}}").into();
            Item { number, first: number, key: ItemKey(key), level: None, row }
        };
        let items = (first..last).map(item).collect();
        async { Ok(Arc::new(Chunk { items })) }.boxed()
    }
}

impl Results for Outside {
    fn record(&self, _: ResultRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

impl Answers for Outside {
    fn of_cohort(&self, _: u32) -> BoxFuture<'_, Result<Vec<Box<str>>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn reduced(&self, _: ItemKey) -> BoxFuture<'_, Result<Option<Box<str>>, StoreError>> {
        async { Ok(None) }.boxed()
    }
}

impl Sampler for Outside {
    fn sample(&self) -> BoxFuture<'_, Readings> {
        async { Readings::default() }.boxed()
    }
}

impl Checkpoint for Outside {
    fn checkpoint(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

impl Script for Outside {
    fn render(&self, item: &Item) -> Result<Rendered, String> {
        Ok(Rendered { system: None, prompt: item.row.to_string() })
    }

    fn render_pack(&self, items: &[Item]) -> Result<Rendered, String> {
        Ok(Rendered { system: None, prompt: items.iter().map(|item| &*item.row).collect() })
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        None
    }

    fn pack_schema(&self, _: usize) -> Arc<Schema> {
        Arc::new(Schema::new(json!({ "type": "object" })))
    }

    fn check(&self, answer: &str) -> Result<Box<str>, String> {
        Ok(answer.into())
    }

    fn split_pack(&self, answer: &str, n: usize) -> Result<Vec<Result<Box<str>, String>>, String> {
        Ok((0..n).map(|_| Ok(answer.into())).collect())
    }

    fn max_tokens(&self, _: usize) -> u32 {
        100
    }

    fn reduce_max_tokens(&self) -> u32 {
        100
    }

    fn reduce_key(&self, _: u32, _: &[Box<str>]) -> ItemKey {
        ItemKey([0; 16])
    }

    fn render_reduce(&self, _: &[Box<str>], _: bool) -> Option<Result<Rendered, String>> {
        None
    }
}

fn detector() -> Arc<Detector> {
    Arc::new(Detector::new(Rules::compile(&[]).expect("no rules")))
}

/// A house with the one provider.
pub(crate) async fn house() -> House {
    let machine = Arc::new(Outside { items: 0 });
    let settings = Settings {
        every: Duration::from_secs(1),
        smoothing: Duration::from_secs(20),
        smoothing_memory: Duration::from_secs(2),
        alert_after: Duration::from_secs(300),
        margin: 0.05,
        dwell: Duration::from_secs(5),
        thresholds: [None; 7],
        own_memory_ceiling: u64::MAX,
        disk_floor: 0,
    };
    let parts = HouseParts {
        providers: vec![(spec(Limits::slots(SLOTS)), Arc::new(Hangs))],
        ledger: Arc::new(InMemory),
        caps: Vec::new(),
        alerts: Vec::new(),
        privacy_workers: 2,
        audit: Arc::new(InMemory),
        detector: detector(),
        guard: GuardParts { sampler: machine.clone(), settings, checkpoint: machine },
        clock: Arc::new(SystemClock),
        supervision: Supervision::new(Arc::new(SystemClock), Arc::new(SystemRandom)),
        tally: Arc::default(),
    };
    House::start(parts).await.expect("the house starts")
}

/// A job of so many items, none of them equal.
pub(crate) fn job(id: &str, items: u32) -> (JobParts, JobOrder) {
    let outside = Arc::new(Outside { items });
    let parts = JobParts {
        results: outside.clone(),
        items: outside.clone(),
        answers: outside.clone(),
        script: outside,
        detector: detector(),
        shared: SharedCalls::default(),
        caps: Vec::new(),
    };
    let cohort = |number| {
        let first = number * COHORT_SIZE;
        CohortPlan { number, first, count: COHORT_SIZE.min(items - first) }
    };
    let order = JobOrder {
        id: id.into(),
        level: Level::P1,
        highest_level: Level::P1,
        route: vec![model(Price::FREE)],
        cohorts: (0..items.div_ceil(COHORT_SIZE)).map(cohort).collect(),
        pending: u64::from(items),
        finished: Arc::default(),
        only: None,
        has_twins: false,
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
    (parts, order)
}
