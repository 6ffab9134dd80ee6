//! What benchmarks of the actors run against: ports that answer at once, or never.

#![allow(dead_code, reason = "each benchmark needs a part of it")]
#![allow(clippy::expect_used, reason = "a benchmark without its parts measures nothing")]

pub(crate) mod swarm;

use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::audit::Decision;
use empire_actors::level::Zone;
use empire_actors::model::ProviderId;
use empire_actors::model::{Limits, Model, ProviderSpec, Structured, Thinking};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{
    Audit, HoldId, HoldRecord, Ledger, LedgerState, Sent, Settlement, StoreError, UnixMillis,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// The one provider.
pub(crate) const PROVIDER: &str = "bench";

/// Forgets everything at once.
pub(crate) struct InMemory;

impl Ledger for InMemory {
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>> {
        async { Ok(LedgerState { spent: Vec::new(), open: Vec::new(), next_hold: 0 }) }.boxed()
    }

    fn reserve(&self, _: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn leave(&self, _: HoldId) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self, _: Settlement) {}

    fn release(&self, _: HoldId) {}

    fn sent_since(&self, _: &ProviderId, _: UnixMillis) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn note_sent(&self, _: &ProviderId, _: Sent) -> BoxFuture<'static, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

impl Audit for InMemory {
    fn salt(&self) -> &[u8; 32] {
        &[0; 32]
    }

    fn decided(&self, _: Decision) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A model of the one provider, at this price.
pub(crate) fn model(price: Price) -> Arc<Model> {
    Arc::new(Model {
        id: "bench-model".into(),
        provider: PROVIDER.into(),
        price: Some(price),
        context: 100_000,
        max_output: 1_000,
        thinking: Thinking::Off,
        structured: Structured::Schema,
        temperature: None,
        top_p: None,
        timeout: Duration::from_secs(60),
    })
}

/// A vendor's usual price.
pub(crate) fn price() -> Price {
    Price {
        input: Micros(600_000),
        cached_input: Micros(100_000),
        cache_write: Micros(600_000),
        output: Micros(2_500_000),
    }
}

/// The one provider, on this machine, with these limits.
pub(crate) fn spec(limits: Limits) -> Arc<ProviderSpec> {
    Arc::new(ProviderSpec {
        id: PROVIDER.into(),
        zone: Zone::Local,
        limits,
        model_limits: Default::default(),
        switch_after: None,
        cap: None,
    })
}
