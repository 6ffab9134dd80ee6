//! What would make a job fit, cheaper or faster.

use std::time::Duration;

use empire_actors::level::Zone;
use empire_actors::money::Micros;
use serde::Serialize;

use super::limits::whole_seconds;
use super::pack::{largest_pack, limits_requests};
use super::workload::Workload;
use super::{JobPlan, MoneyLimit, PlanInput, StepPlan};
use crate::text;

/// The fewest output tokens worth asking for.
const LEAST_TOKENS: u64 = 32;
/// Suggested answer sizes are multiples of this.
const TOKEN_STEP: u64 = 16;

/// One thing that would help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Suggestion {
    /// Several items in a call.
    Pack {
        /// How many.
        items_per_call: u64,
        /// Calls then.
        calls: u64,
        /// Expected cost then.
        cost: Micros,
        /// Time then.
        #[serde(rename = "seconds", serialize_with = "whole_seconds")]
        time: Duration,
    },
    /// Only the owner's machines.
    LocalOnly {
        /// The model there.
        model: String,
        /// Expected cost then.
        cost: Micros,
        /// Time then.
        #[serde(rename = "seconds", serialize_with = "whole_seconds")]
        time: Duration,
    },
    /// The vendor's batch lane, which this program does not drive.
    BatchLane {
        /// The model there.
        model: String,
        /// The price in percent of the usual one.
        percent: u32,
        /// Expected cost then.
        cost: Micros,
    },
    /// Smaller answers.
    SmallerAnswer {
        /// Output tokens to request for one item.
        max_tokens: u64,
        /// Expected cost then.
        cost: Micros,
    },
    /// More money.
    HigherCap {
        /// Which cap.
        cap: MoneyLimit,
        /// How much more the expected cost needs.
        more: Micros,
        /// The job's budget as it would have to be, if that is the cap.
        budget: Option<Micros>,
    },
    /// Fewer items.
    FewerItems {
        /// How many items the money covers, at the expected cost.
        items: u64,
    },
}

impl Suggestion {
    /// The suggestion as a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Suggestion::Pack { items_per_call, calls, cost, time } => format!(
                "pack: {items_per_call} makes it {}, {}, about {}",
                text::count(*calls, "call"),
                text::money(*cost),
                text::duration(*time)
            ),
            Suggestion::LocalOnly { model, cost, time } => {
                let model = text::one_line(model, 40);
                format!("local only ({model}): {}, about {}", text::money(*cost), text::duration(*time))
            }
            Suggestion::BatchLane { model, percent, cost } => format!(
                "the vendor's batch lane for {} charges {percent} %: about {}, within up to 24 h (a vendor feature; this program does not drive it yet)",
                text::one_line(model, 40),
                text::money(*cost)
            ),
            Suggestion::SmallerAnswer { max_tokens, cost } => {
                format!("max_tokens: {max_tokens} brings it to {}", text::money(*cost))
            }
            Suggestion::HigherCap { budget: Some(budget), more, .. } => {
                format!("a budget of {} ({} more) covers it", text::money(*budget), text::money(*more))
            }
            Suggestion::HigherCap { cap, more, budget: None } => {
                format!("{} more in the {} covers it", text::money(*more), cap.words())
            }
            Suggestion::FewerItems { items } => {
                format!("the money covers {}: --limit {items}", text::count(*items, "item"))
            }
        }
    }
}

/// What would help the job as planned.
pub(super) fn suggestions(
    input: &PlanInput,
    work: &Workload,
    route: &[StepPlan],
    planned: &JobPlan,
) -> Vec<Suggestion> {
    if planned.calls == 0 {
        return Vec::new();
    }
    let current = work.with_pack(route[planned.step].items_per_call);
    let mut found = Vec::new();
    found.extend(pack(input, &current, planned));
    found.extend(local_only(route, planned));
    found.extend(batch_lane(input, planned));
    if !planned.fit.expected {
        found.extend(smaller_answer(input, &current, planned));
        found.extend(higher_cap(input, planned));
        found.extend(fewer_items(&current, planned));
    }
    found
}

/// Offered where it saves a tenth of the time or a twentieth of the money.
fn pack(input: &PlanInput, current: &Workload, planned: &JobPlan) -> Option<Suggestion> {
    let step = &input.route[planned.step];
    let most = largest_pack(&step.model, &current.item_size()) as u64;
    let packed = current.with_pack(most);
    if packed.pack <= current.pack {
        return None;
    }
    let then = StepPlan::new(input, step, &packed);
    let saves_time =
        limits_requests(&step.provider.limits) && then.binds.time < super::scaled(planned.time, 9, 10);
    let saves_money = then.expected_cost.0 < planned.expected_cost.0 / 20 * 19;
    (saves_time || saves_money).then_some(Suggestion::Pack {
        items_per_call: packed.pack,
        calls: then.calls,
        cost: then.expected_cost,
        time: then.binds.time,
    })
}

fn local_only(route: &[StepPlan], planned: &JobPlan) -> Option<Suggestion> {
    let is_own = |step: &StepPlan| matches!(step.zone, Zone::Local | Zone::Vpn);
    if is_own(&route[planned.step]) {
        return None;
    }
    let own = route.iter().find(|step| step.unusable.is_none() && is_own(step))?;
    let (cost, time) = (own.expected_cost, own.binds.time);
    Some(Suggestion::LocalOnly { model: own.model.clone(), cost, time })
}

fn batch_lane(input: &PlanInput, planned: &JobPlan) -> Option<Suggestion> {
    let step = &input.route[planned.step];
    let percent = step.batch_percent.filter(|percent| *percent < 100)?;
    let cost = u128::from(planned.expected_cost.0) * u128::from(percent);
    let cost = Micros(u64::try_from(cost.div_ceil(100)).unwrap_or(u64::MAX));
    (cost < planned.expected_cost).then(|| Suggestion::BatchLane {
        model: step.model.id.clone(),
        percent,
        cost,
    })
}

/// The largest answer with which the expected cost fits. Measured answers do not get smaller by
/// asking for fewer tokens, they get cut off, so a sample rules this out.
fn smaller_answer(input: &PlanInput, current: &Workload, planned: &JobPlan) -> Option<Suggestion> {
    let left = planned.fit.money_left?;
    let step = &input.route[planned.step];
    if input.sample.as_ref().is_some_and(|sample| sample.model == step.model.id) {
        return None;
    }
    let cost = |steps: u64| {
        let smaller = current.with_max_tokens(steps * TOKEN_STEP);
        StepPlan::new(input, step, &smaller).expected_cost
    };
    let (mut fits, mut too_large) = (LEAST_TOKENS / TOKEN_STEP, current.max_tokens.div_ceil(TOKEN_STEP));
    if fits >= too_large || cost(fits) > left {
        return None;
    }
    while too_large - fits > 1 {
        let middle = fits.midpoint(too_large);
        if cost(middle) <= left { fits = middle } else { too_large = middle }
    }
    Some(Suggestion::SmallerAnswer { max_tokens: fits * TOKEN_STEP, cost: cost(fits) })
}

fn higher_cap(input: &PlanInput, planned: &JobPlan) -> Option<Suggestion> {
    let (left, cap) = (planned.fit.money_left?, planned.fit.money_limit?);
    let budget = (cap == MoneyLimit::JobBudget).then(|| up_to_cents(input.spent + planned.expected_cost));
    let more = up_to_cents(planned.expected_cost.saturating_sub(left));
    Some(Suggestion::HigherCap { cap, more, budget })
}

fn up_to_cents(amount: Micros) -> Micros {
    Micros(amount.0.div_ceil(10_000).saturating_mul(10_000))
}

fn fewer_items(current: &Workload, planned: &JobPlan) -> Option<Suggestion> {
    let left = planned.fit.money_left?;
    let covered =
        u128::from(left.0) * u128::from(current.pending) / u128::from(planned.expected_cost.0.max(1));
    let items = u64::try_from(covered).unwrap_or(u64::MAX);
    (items > 0).then_some(Suggestion::FewerItems { items })
}
