//! The real gates in front of kimi, over a real store, and kimi as the simulator plays it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use empire::config::Config;
use empire::home::{Home, HomeError};
use empire::providers;
use empire::run::system::{SystemClock, SystemRandom};
use empire::store::{LedgerScope, Store};
use empire_actors::call::{Call, Funded, Request, Screened, Standing, Turn};
use empire_actors::failure::CallError;
use empire_actors::gates::audit::Decision;
use empire_actors::gates::budget::{Bill, BudgetGate};
use empire_actors::gates::detect::{Detector, Rules};
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::kernel::tree::Supervision;
use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderId, ProviderSpec};
use empire_actors::money::Price;
use empire_actors::ports::{Audit, Provider, Reply, StoreError};

/// What the privacy gate decides is of no interest here.
pub(crate) struct NoRecords;

impl Audit for NoRecords {
    fn salt(&self) -> &[u8; 32] {
        &[0; 32]
    }

    fn decided(&self, _: Decision) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Opens a data folder, unless another process has it.
pub(crate) async fn open(home: &Path) -> Result<Store, HomeError> {
    let lock = Home::resolve(Some(home.to_owned()), |_| None)?.lock()?;
    Ok(Store::open(lock, Arc::new(SystemClock)).await.unwrap())
}

/// The gates in front of kimi. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passage {
    pub(crate) privacy: PrivacyGate,
    pub(crate) budget: BudgetGate,
    pub(crate) rate: RateGate,
    kimi: Arc<dyn Provider>,
    pub(crate) model: Arc<Model>,
}

impl Passage {
    /// Starts the gates, without caps. A `price` replaces the configured one.
    pub(crate) async fn start(
        store: &Store,
        config: &Config,
        limits: Limits,
        price: Option<Price>,
        audit: Arc<dyn Audit>,
    ) -> (Passage, Root) {
        let (id, clock) = (ProviderId::from("kimi"), Arc::new(SystemClock));
        let ledger = store.ledger(LedgerScope::All);
        let spec = ProviderSpec { limits, ..config.providers[&id].spec.clone() };
        let detector = Arc::new(Detector::new(Rules::compile(&[]).unwrap()));
        let model = Model::clone(&config.models["kimi-k2.6"]);
        let passage = Passage {
            privacy: PrivacyGate::new(1, detector, audit, clock.clone()),
            budget: BudgetGate::new(ledger.clone(), clock.clone()),
            rate: RateGate::new(Arc::new(spec), ledger, clock, Arc::new(SystemRandom), None),
            kimi: providers::all(config, None).unwrap()[&id].clone(),
            model: Arc::new(Model { price: price.or(model.price), ..model }),
        };
        let mut children = passage.privacy.children();
        children.extend([passage.budget.child(Vec::new()), passage.rate.child()]);
        let root = Root::start(
            Policy::default(),
            children,
            Supervision::new(Arc::new(SystemClock), Arc::new(SystemRandom)),
        )
        .await
        .unwrap();
        (passage, root)
    }

    /// What is asked, with this prompt.
    pub(crate) fn request(&self, job: &str, item: u32, prompt: String, max_tokens: u32) -> Request {
        Request {
            job: job.into(),
            item,
            model: self.model.clone(),
            system: None,
            turns: vec![Turn::user(prompt)],
            schema: None,
            max_tokens,
            level: Level::P0,
            shared: None,
            standing: Standing::default(),
        }
    }

    /// A call that the privacy gate has let pass.
    pub(crate) async fn screened(&self, request: Request) -> Call<Screened> {
        self.privacy.screen(Call::draft(request), Zone::Cloud).await.unwrap()
    }

    /// Waits in line, sends and settles.
    pub(crate) async fn send(&self, call: Call<Funded>) -> (Result<Reply, CallError>, Bill) {
        let cleared = self.rate.clear(call).await.unwrap();
        self.kimi.send(cleared).await.settle()
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.rate.reading().waiting
    }
}
