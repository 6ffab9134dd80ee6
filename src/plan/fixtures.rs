//! Models and routes for this module's tests.

use std::sync::Arc;
use std::time::Duration;

use empire_actors::level::{Level, Zone};
use empire_actors::model::{Limits, Model, ProviderSpec, Structured, Thinking};
use empire_actors::money::{Micros, Price};

use super::{PackChoice, PlanInput, RouteStep};

pub(super) fn limits(concurrency: u32) -> Limits {
    Limits::slots(concurrency)
}

pub(super) fn model(provider: &str, input: u64, output: u64) -> Model {
    Model {
        id: format!("{provider}-model"),
        provider: provider.into(),
        price: Some(Price {
            input: Micros(input),
            cached_input: Micros(input),
            cache_write: Micros(input),
            output: Micros(output),
        }),
        context: 262_144,
        max_output: 8_192,
        thinking: Thinking::VendorDefault,
        structured: Structured::PromptOnly,
        temperature: None,
        top_p: None,
        timeout: Duration::from_secs(120),
    }
}

pub(super) fn step(model: Model, zone: Zone, limits: Limits) -> RouteStep {
    RouteStep {
        provider: ProviderSpec {
            id: model.provider.clone(),
            zone,
            limits,
            model_limits: Default::default(),
            switch_after: None,
            cap: None,
        },
        model: Arc::new(model),
        batch_percent: None,
        usable: Ok(()),
        seconds_per_call: None,
        spent: Micros::ZERO,
        sent_last_hour: 0,
        sent_last_day: 0,
    }
}

pub(super) fn ollama() -> RouteStep {
    step(model("ollama", 0, 0), Zone::Local, limits(4))
}

/// K2.6 under the first system's own rules: 100 a minute and 10,000 a day.
pub(super) fn kimi() -> RouteStep {
    let mut limits = limits(50);
    limits.requests_per_minute = Some(100);
    limits.requests_per_day = Some(10_000);
    RouteStep { batch_percent: Some(60), ..step(model("kimi", 950_000, 4_000_000), Zone::Cloud, limits) }
}

/// Items of 150 tokens in and 400 out.
pub(super) fn input(items: u64, route: Vec<RouteStep>) -> PlanInput {
    PlanInput {
        job: "leads".into(),
        simulated: false,
        items,
        distinct: items,
        already_done: 0,
        prompt_bytes: 600 * items,
        max_prompt_bytes: 600,
        system_bytes: 0,
        schema_bytes: 0,
        max_tokens: 400,
        pack: PackChoice::One,
        retries: 3,
        route,
        level: Level::P1,
        raised: None,
        budget: None,
        spent: Micros::ZERO,
        left_over_all: None,
        deadline: None,
        row_bytes: 200 * items,
        reduce: None,
        sample: None,
        routing: Vec::new(),
    }
}
