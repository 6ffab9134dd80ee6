//! What a job will cost, how long it takes and which limit binds, before anything is spent.
//! Pure: no I/O, no clock.

mod limits;
mod pack;
mod render;
mod sample;
mod suggest;
mod verdict;
mod workload;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use empire_actors::level::{Level, Zone};
use empire_actors::model::{Model, ProviderId, ProviderSpec};
use empire_actors::money::Micros;
use serde::Serialize;

pub(crate) use limits::scaled;
pub use limits::{LimitKind, LimitTime, Load, binding, times};
pub use pack::{ItemSize, PackChoice, choose_pack, pack_for};
pub use sample::{Estimate, SampleCall, SampleStats, SampledTotals};
pub use suggest::Suggestion;
pub use verdict::{Thresholds, Verdict};
pub use workload::Tokens;
use workload::Workload;

/// Seconds that a call of one item is assumed to take on the owner's machines.
const ASSUMED_OWN: Duration = Duration::from_secs(2);
/// The same in a cloud.
const ASSUMED_CLOUD: Duration = Duration::from_secs(5);
/// What a waiting agent holds.
const AGENT_BYTES: u64 = 300;
/// What the program holds without agents.
const BASE_BYTES: u64 = 48 << 20;

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanInput {
    /// The job's name.
    pub job: String,
    /// Whether the simulator answers.
    pub simulated: bool,
    /// Items in the input.
    pub items: u64,
    /// Items that differ.
    pub distinct: u64,
    /// Of those that differ, how many have an answer already.
    pub already_done: u64,
    /// The prompts of all distinct items without an answer, together.
    pub prompt_bytes: u64,
    /// The longest of those prompts.
    pub max_prompt_bytes: u64,
    /// The system prompt; it goes with every call.
    pub system_bytes: u64,
    /// The answer's schema as JSON; 0 for free text.
    pub schema_bytes: u64,
    /// Output tokens requested for one item.
    pub max_tokens: u32,
    /// How many items shall share a call.
    pub pack: PackChoice,
    /// Further tries after a failed call, at each model.
    pub retries: u32,
    /// The models in the order in which they are tried.
    pub route: Vec<RouteStep>,
    /// The highest level of any item.
    pub level: Level,
    /// What the job declares and which rule raised that, in words; `None` if none did.
    pub raised: Option<String>,
    /// What the job may spend in all.
    pub budget: Option<Micros>,
    /// What it has spent or reserved already.
    pub spent: Micros,
    /// What is left of the caps over all jobs, and which of them is the tightest.
    pub left_over_all: Option<(Micros, MoneyLimit)>,
    /// How long it may take from now.
    pub deadline: Option<Duration>,
    /// All input rows, together.
    pub row_bytes: u64,
    /// Calls of the reduce, if there is one.
    pub reduce: Option<ReduceSize>,
    /// What a few real calls showed.
    pub sample: Option<SampleStats>,
    /// How calls are routed, in sentences.
    pub routing: Vec<String>,
}

/// How large the reduce is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReduceSize {
    /// Calls of all its steps.
    pub calls: u64,
}

/// One model of the route, and what is left of its provider's limits.
#[derive(Debug, Clone)]
pub struct RouteStep {
    /// The model.
    pub model: Arc<Model>,
    /// Its provider.
    pub provider: ProviderSpec,
    /// What the vendor's batch lane charges, in percent of the usual price.
    pub batch_percent: Option<u32>,
    /// Whether it can be used, or why not.
    pub usable: Result<(), String>,
    /// How long a call of one item takes, where the configuration says so.
    pub seconds_per_call: Option<Duration>,
    /// What was spent or reserved there so far.
    pub spent: Micros,
    /// Calls sent there in the last hour.
    pub sent_last_hour: u64,
    /// Calls sent there in the last 24 hours.
    pub sent_last_day: u64,
}

impl RouteStep {
    /// Why it cannot be used, if so. A model without a known price is never called.
    fn obstacle(&self) -> Option<String> {
        match (&self.usable, self.model.price) {
            (Err(why), _) => Some(why.clone()),
            (Ok(()), None) => Some(format!("the price of `{}` is unknown: configure it", self.model.id)),
            (Ok(()), Some(_)) => None,
        }
    }

    fn cap_left(&self) -> Option<Micros> {
        self.provider.cap.map(|cap| cap.saturating_sub(self.spent))
    }
}

/// The units of every number in the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Units {
    money: &'static str,
    time: &'static str,
    size: &'static str,
}

pub(crate) const UNITS: Units = Units { money: "micro_usd", time: "seconds", size: "bytes" };

/// The plan of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    units: Units,
    /// The job's name.
    pub job: String,
    /// Whether the simulator answers: then no money is spent, and times and amounts are those that
    /// real models would take.
    pub simulated: bool,
    /// Items in the input.
    pub items: u64,
    /// Items that differ.
    pub distinct: u64,
    /// Of those, answered already.
    pub already_done: u64,
    /// Of those, still to be worked.
    pub pending: u64,
    /// The highest level of any item.
    pub level: Level,
    /// What the job declares and which rule raised that; `None` if none did.
    pub raised: Option<String>,
    /// Every model of the route, as if it took the whole job.
    pub route: Vec<StepPlan>,
    /// The job as planned: the first usable model takes all. `None` if no model is usable.
    pub planned: Option<JobPlan>,
    /// Peak memory, estimated.
    pub memory_bytes: u64,
    /// Disk for outputs and state, estimated.
    pub disk_bytes: u64,
    /// What would make it fit, cheaper or faster.
    pub suggestions: Vec<Suggestion>,
    /// What a few real calls showed.
    pub sample: Option<SampleStats>,
    /// How calls are routed, in sentences.
    pub routing: Vec<String>,
    /// What the numbers rest on, in sentences.
    pub assumptions: Vec<String>,
}

/// One model of the route, as if it took the whole job.
#[derive(Debug, Clone, Serialize)]
pub struct StepPlan {
    /// The model.
    pub model: String,
    /// Its provider.
    pub provider: ProviderId,
    /// How far that is trusted.
    pub zone: Zone,
    /// Why it cannot be used; `None` if it can.
    pub unusable: Option<String>,
    /// What else is to be known about it.
    pub notes: Vec<String>,
    /// Items that share a call.
    pub items_per_call: u64,
    /// Calls if nothing fails, those of the reduce included.
    pub calls: u64,
    /// Of those, calls that carry several items.
    pub packed_calls: u64,
    /// Of those, calls of the reduce.
    pub reduce_calls: u64,
    /// Tokens if nothing fails.
    pub expected_tokens: Tokens,
    /// Tokens at most: every retry used, every token a byte.
    pub worst_tokens: Tokens,
    /// Cost if nothing fails.
    pub expected_cost: Micros,
    /// What a sample of this model says about all its calls.
    pub sampled: Option<SampledTotals>,
    /// Cost at most: every retry used, every call at its reservation.
    pub worst_cost: Micros,
    /// What the budget gate sets aside for one call.
    pub one_call_reserves: Micros,
    /// How long one call takes.
    #[serde(serialize_with = "seconds_exactly")]
    pub seconds_per_call: Duration,
    /// Where that comes from.
    pub seconds_from: SecondsFrom,
    /// The time under each limit.
    pub limits: Vec<LimitTime>,
    /// The limit that binds.
    pub binds: LimitTime,
    /// What the vendor's batch lane charges, in percent of the usual price.
    pub batch_percent: Option<u32>,
}

/// Where the seconds of a call come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondsFrom {
    /// A default.
    Assumed,
    /// The configuration.
    Configured,
    /// Real calls.
    Sampled,
}

/// The job as planned.
#[derive(Debug, Clone, Serialize)]
pub struct JobPlan {
    /// Which step of the route takes it, from 0.
    pub step: usize,
    /// Calls if nothing fails.
    pub calls: u64,
    /// What it costs if nothing fails.
    pub expected_cost: Micros,
    /// What it costs at most: every item fails on every usable model until the last one.
    pub worst_cost: Micros,
    /// How long it takes.
    #[serde(rename = "seconds", serialize_with = "limits::whole_seconds")]
    pub time: Duration,
    /// The limit that binds.
    pub binds: LimitTime,
    /// Whether it fits.
    pub fit: Fit,
}

/// Which cap on money is the tightest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MoneyLimit {
    /// The job's budget.
    JobBudget,
    /// The provider's cap.
    ProviderCap,
    /// The cap over all jobs.
    TotalCap,
    /// The cap of this month.
    MonthCap,
    /// The cap of this day.
    DayCap,
    /// The cap of the job's role.
    RoleCap,
}

impl MoneyLimit {
    fn words(self) -> &'static str {
        match self {
            MoneyLimit::JobBudget => "job budget",
            MoneyLimit::ProviderCap => "provider cap",
            MoneyLimit::TotalCap => "total cap",
            MoneyLimit::MonthCap => "monthly cap",
            MoneyLimit::DayCap => "daily cap",
            MoneyLimit::RoleCap => "role's cap",
        }
    }
}

/// Whether a job fits its money and its time.
#[derive(Debug, Clone, Serialize)]
pub struct Fit {
    /// What may still be spent; `None` if nothing caps it.
    pub money_left: Option<Micros>,
    /// Which cap that comes from.
    pub money_limit: Option<MoneyLimit>,
    /// Whether one call's reservation fits.
    pub one_call: bool,
    /// Whether the expected cost fits.
    pub expected: bool,
    /// Whether even the worst case fits.
    pub worst: bool,
    /// The deadline.
    #[serde(rename = "deadline_seconds", serialize_with = "limits::optional_seconds")]
    pub deadline: Option<Duration>,
    /// Whether the time fits it.
    pub in_time: bool,
}

impl Plan {
    /// Plans the job.
    #[must_use]
    pub fn new(input: &PlanInput) -> Plan {
        let work = Workload::of(input);
        let route: Vec<StepPlan> =
            input.route.iter().map(|step| StepPlan::new(input, step, &work.packed(input, step))).collect();
        let planned = route
            .iter()
            .position(|step| step.unusable.is_none())
            .map(|index| JobPlan::new(input, &route, index));
        let suggestions = planned
            .as_ref()
            .map(|planned| suggest::suggestions(input, &work, &route, planned))
            .unwrap_or_default();
        let first = planned.as_ref().map(|planned| &input.route[planned.step]);
        Plan {
            units: UNITS,
            job: input.job.clone(),
            simulated: input.simulated,
            items: input.items,
            distinct: input.distinct,
            already_done: input.already_done,
            pending: work.pending,
            level: input.level,
            raised: input.raised.clone(),
            memory_bytes: memory(input, &work, first),
            disk_bytes: disk(input, &work),
            suggestions,
            sample: input.sample.clone(),
            routing: input.routing.clone(),
            assumptions: assumptions(&route, planned.as_ref()),
            route,
            planned,
        }
    }

    /// The step that takes the job as planned.
    #[must_use]
    pub fn planned_step(&self) -> Option<&StepPlan> {
        self.planned.as_ref().and_then(|planned| self.route.get(planned.step))
    }
}

impl StepPlan {
    /// `work` on `step` alone.
    fn new(input: &PlanInput, step: &RouteStep, work: &Workload) -> StepPlan {
        let model = &*step.model;
        let sample = input.sample.as_ref().filter(|sample| sample.model == model.id);
        let expected_tokens = work.expected(model, sample);
        let worst_tokens = work.worst();
        let price = model.price.unwrap_or(empire_actors::money::Price::FREE);
        let estimated = price.cost(&expected_tokens.usage());
        let ceiling = price.bound(worst_tokens.input, worst_tokens.output);
        let sampled = sample.filter(|_| work.pending > 0).map(|sample| work.sampled(sample, &price));
        let expected_cost = sampled
            .map_or(estimated, |totals| Micros(totals.cost.mean.round() as u64))
            .min(ceiling.max(estimated));
        let one_call_reserves = price.bound(work.one_call_input_bound(), work.one_call_output());
        let (seconds_per_call, seconds_from) = per_call(step, work, sample);
        let load = Load {
            calls: work.calls(),
            per_call: seconds_per_call,
            tokens: expected_tokens.input.saturating_add(work.requested_output()),
            covered_at_once: covered_at_once(input, step, one_call_reserves),
            sent_last_hour: step.sent_last_hour,
            sent_last_day: step.sent_last_day,
        };
        let limits = times(&step.provider.limits, &load);
        StepPlan {
            model: model.id.clone(),
            provider: step.provider.id.clone(),
            zone: step.provider.zone,
            unusable: step.obstacle(),
            notes: notes(input, step, work),
            items_per_call: work.pack,
            calls: work.calls(),
            packed_calls: work.packed_calls(),
            reduce_calls: work.reduce_calls,
            expected_tokens,
            worst_tokens,
            expected_cost,
            sampled,
            worst_cost: ceiling.max(expected_cost),
            one_call_reserves,
            seconds_per_call,
            seconds_from,
            binds: binding(&limits).expect("every provider has a concurrency limit"),
            limits,
            batch_percent: step.batch_percent,
        }
    }
}

impl JobPlan {
    fn new(input: &PlanInput, route: &[StepPlan], index: usize) -> JobPlan {
        let step = &route[index];
        let (money_left, money_limit) = money_left(input, &input.route[index]).unzip();
        let usable = || route.iter().zip(&input.route).filter(|(plan, _)| plan.unusable.is_none());
        let worst_cost = usable().map(|(plan, _)| plan.worst_cost).sum();
        let over_all = input.left_over_all.map(|(left, _)| left);
        let all_jobs = [input.budget.map(|budget| budget.saturating_sub(input.spent)), over_all];
        let worst = all_jobs.iter().flatten().all(|left| worst_cost <= *left)
            && usable().all(|(plan, step)| step.cap_left().is_none_or(|left| plan.worst_cost <= left));
        JobPlan {
            step: index,
            calls: step.calls,
            expected_cost: step.expected_cost,
            worst_cost,
            time: step.binds.time,
            binds: step.binds,
            fit: Fit {
                money_left,
                money_limit,
                one_call: step.calls == 0 || money_left.is_none_or(|left| step.one_call_reserves <= left),
                expected: money_left.is_none_or(|left| step.expected_cost <= left),
                worst,
                deadline: input.deadline,
                in_time: input.deadline.is_none_or(|deadline| step.binds.time <= deadline),
            },
        }
    }
}

/// The tightest cap on what `step` may still spend.
fn money_left(input: &PlanInput, step: &RouteStep) -> Option<(Micros, MoneyLimit)> {
    [
        (input.budget.map(|budget| budget.saturating_sub(input.spent)), MoneyLimit::JobBudget),
        (step.cap_left(), MoneyLimit::ProviderCap),
    ]
    .into_iter()
    .filter_map(|(left, limit)| Some((left?, limit)))
    .chain(input.left_over_all)
    .min_by_key(|(left, _)| *left)
}

fn covered_at_once(input: &PlanInput, step: &RouteStep, reserves: Micros) -> Option<u64> {
    let (left, _) = money_left(input, step)?;
    left.0.checked_div(reserves.0)
}

/// The seconds of one call. A call of several items is taken to last as long as its items one
/// after the other: output decides, and there is as much of it.
fn per_call(step: &RouteStep, work: &Workload, sample: Option<&SampleStats>) -> (Duration, SecondsFrom) {
    if let Some(sample) = sample {
        let seconds = sample.seconds.mean * work.pack as f64 / sample.items_per_call as f64;
        return (Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO), SecondsFrom::Sampled);
    }
    let (one, from) = match (step.seconds_per_call, step.provider.zone) {
        (Some(configured), _) => (configured, SecondsFrom::Configured),
        (None, Zone::Local | Zone::Vpn) => (ASSUMED_OWN, SecondsFrom::Assumed),
        (None, Zone::Cloud | Zone::Internet) => (ASSUMED_CLOUD, SecondsFrom::Assumed),
    };
    (scaled(one, work.pack, 1), from)
}

fn notes(input: &PlanInput, step: &RouteStep, work: &Workload) -> Vec<String> {
    let mut notes = Vec::new();
    let ceiling = step.provider.zone.ceiling();
    if step.obstacle().is_none() && input.level > ceiling {
        notes.push(format!("items above {ceiling} never go to {}", step.provider.id));
    }
    if let PackChoice::Fixed(wanted) = input.pack
        && u64::from(wanted) > work.pack
        && work.pending > work.pack
    {
        notes.push(format!("pack {wanted} does not fit this model: {} in a call", work.pack));
    }
    if input.max_tokens > step.model.max_output {
        notes.push(format!(
            "asks for {} output tokens, but it writes at most {}: lower max_tokens",
            input.max_tokens, step.model.max_output
        ));
    }
    if work.longest_call_tokens() > u64::from(step.model.context) {
        notes.push(format!(
            "the longest prompt may not fit its context of {} tokens: such items skip it",
            step.model.context
        ));
    }
    notes
}

fn memory(input: &PlanInput, work: &Workload, step: Option<&RouteStep>) -> u64 {
    let in_flight = step.map_or(0, |step| u64::from(step.provider.limits.concurrency)).min(work.calls());
    // A call in flight holds its prompt, its body and its answer.
    let a_call = 2 * (input.max_prompt_bytes * work.pack + input.system_bytes)
        + workload::BYTES_PER_TOKEN * u64::from(input.max_tokens) * work.pack;
    BASE_BYTES + work.pending * AGENT_BYTES + in_flight * a_call
}

fn disk(input: &PlanInput, work: &Workload) -> u64 {
    const OUTPUT_LINE: u64 = 200;
    const RECORD: u64 = 600;
    const LEDGER_LINE: u64 = 300;
    let answer = workload::BYTES_PER_TOKEN * u64::from(input.max_tokens) / 2;
    let average_row = input.row_bytes / input.items.max(1);
    let outputs = input.items * (average_row + answer + OUTPUT_LINE);
    outputs + input.distinct * (answer + RECORD) + work.calls() * LEDGER_LINE
}

fn assumptions(route: &[StepPlan], planned: Option<&JobPlan>) -> Vec<String> {
    let mut said = vec![
        "expected input is a token for every 4 bytes; the worst case is a token a byte, which is also what a call reserves"
            .to_owned(),
        "prompt caches are not counted on; the worst case uses every retry at every model".to_owned(),
    ];
    let Some(step) = planned.and_then(|planned| route.get(planned.step)) else { return said };
    if step.seconds_from == SecondsFrom::Sampled {
        said.push("output, seconds and cost are from the sample".to_owned());
        return said;
    }
    said.push(
        "expected output is half of max_tokens, and all of it where the model may think first".to_owned(),
    );
    let from = match step.seconds_from {
        SecondsFrom::Assumed => "assumed; --sample measures it",
        SecondsFrom::Configured | SecondsFrom::Sampled => "configured",
    };
    said.push(format!("a call takes {} ({from})", crate::text::duration(step.seconds_per_call)));
    said
}

fn seconds_exactly<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
