//! Whether a plan may simply start.

use std::time::Duration;

use empire_actors::money::Micros;
use serde::Serialize;

use super::{MoneyLimit, Plan};
use crate::text;

/// Above what a run asks before it starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Expected cost; `None` never asks.
    pub cost_above: Option<Micros>,
    /// Expected time; `None` never asks.
    pub time_above: Option<Duration>,
}

/// Whether a plan may start, with reasons in sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "snake_case")]
pub enum Verdict {
    /// It may.
    Fits,
    /// It may once a person has said yes.
    NeedsYes(Vec<String>),
    /// It would run out of money or time.
    DoesNotFit(Vec<String>),
    /// No model of the route can be used.
    Impossible(Vec<String>),
}

impl Plan {
    /// Whether the job may start.
    #[must_use]
    pub fn verdict(&self, thresholds: &Thresholds) -> Verdict {
        let Some(planned) = &self.planned else { return self.without_model() };
        if planned.calls == 0 {
            return Verdict::Fits;
        }
        let misfits = self.misfits();
        if !misfits.is_empty() {
            return Verdict::DoesNotFit(misfits);
        }
        let mut questions = Vec::new();
        if let Some(limit) = thresholds.cost_above.filter(|limit| planned.expected_cost > *limit) {
            let (cost, limit) = (text::money(planned.expected_cost), text::money(limit));
            questions.push(format!("it is expected to cost {cost}, more than {limit}"));
        }
        if let Some(limit) = thresholds.time_above.filter(|limit| planned.time > *limit) {
            let (time, limit) = (text::duration(planned.time), text::duration(limit));
            questions.push(format!("it takes about {time}, longer than {limit}"));
        }
        if questions.is_empty() { Verdict::Fits } else { Verdict::NeedsYes(questions) }
    }

    fn without_model(&self) -> Verdict {
        let reduces = self.route.iter().any(|step| step.reduce_calls > 0);
        if self.pending == 0 && !reduces {
            return Verdict::Fits;
        }
        if self.route.is_empty() {
            return Verdict::Impossible(vec!["the route is empty: name at least one model".to_owned()]);
        }
        let obstacle = |step: &super::StepPlan| {
            format!("{} cannot be used: {}", step.model, step.unusable.as_deref().unwrap_or_default())
        };
        Verdict::Impossible(self.route.iter().map(obstacle).collect())
    }

    /// Why the job as planned does not fit, if so.
    pub(super) fn misfits(&self) -> Vec<String> {
        let (Some(planned), Some(step)) = (&self.planned, self.planned_step()) else { return Vec::new() };
        let fit = &planned.fit;
        let mut misfits = Vec::new();
        let left = text::money(fit.money_left.unwrap_or_default());
        let cap = fit.money_limit.map_or("money", MoneyLimit::words);
        if !fit.expected {
            let cost = text::money(planned.expected_cost);
            misfits.push(format!("it is expected to cost {cost}, but {left} of the {cap} is left"));
        } else if !fit.one_call {
            let reserve = text::money(step.one_call_reserves);
            misfits.push(format!("one call reserves up to {reserve}, but {left} of the {cap} is left"));
        }
        if let Some(deadline) = fit.deadline.filter(|_| !fit.in_time) {
            let (time, deadline) = (text::duration(planned.time), text::duration(deadline));
            misfits.push(format!(
                "it takes about {time} ({} binds), longer than the deadline of {deadline}",
                planned.binds.words()
            ));
        }
        misfits
    }
}
