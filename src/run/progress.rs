//! Progress on the terminal while a job runs.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::time::Duration;

use comfy_table::Table;
use empire_actors::gates::forecast::runs_out;
use empire_actors::gates::meter::Binding;
use empire_actors::gates::rate::LaneReading;
use empire_actors::guard::pressure::{GuardLevel, Pressure};
use empire_actors::model::{Limits, Model, ProviderId};
use empire_actors::money::Micros;
use empire_actors::ports::WallClock;
use empire_actors::swarm::meters::MeterReading;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::feed::Feed;
use super::system::SystemClock;
use crate::plan::Load;
use crate::report::{ProgressFacts, eta, progress_line};

/// How far back the rate of calls looks.
const RATE_OVER: Duration = Duration::from_secs(10);
/// How often a line is written where no bar can be drawn.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const PLAIN_WIDTH: usize = 100;

/// What does not change during a run.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Items of the job.
    pub total: u64,
    /// Items that were finished before this run.
    pub done_before: u64,
    /// Items that had died before this run.
    pub dead_before: u64,
    /// Items of one call.
    pub pack: u64,
    /// Spent before this run.
    pub spent_before: Micros,
    /// The job's budget.
    pub budget: Micros,
    /// The models by place in the route.
    pub route: Vec<Arc<Model>>,
    /// What their providers allow, by place in the route.
    pub limits: Vec<Limits>,
}

/// Draws progress: a bar on a terminal, a line now and then elsewhere.
pub struct Progress {
    fixed: Fixed,
    bar: Option<ProgressBar>,
    /// Who hears it in a daemon.
    feed: Option<Arc<Feed>>,
    /// Calls made by then.
    seen: VecDeque<(Instant, u64)>,
    started: Instant,
    last_plain: Instant,
}

impl Progress {
    /// Starts drawing. Progress is talk: it goes where [`say`] goes.
    #[must_use]
    pub fn new(fixed: Fixed) -> Progress {
        let feed = super::feed::current();
        let bar = (feed.is_none() && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(fixed.total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Progress {
            fixed,
            bar,
            feed,
            seen: VecDeque::new(),
            started: Instant::now(),
            last_plain: Instant::now(),
        }
    }

    /// Shows how things stand, and gives it.
    pub fn show(
        &mut self,
        meters: &MeterReading,
        lanes: &[(ProviderId, LaneReading)],
        pressure: &Pressure,
    ) -> ProgressFacts {
        let machine = (pressure.level > GuardLevel::Normal).then(|| pressure.to_string());
        let facts = ProgressFacts { machine, ..self.facts(meters, lanes) };
        self.draw(&facts);
        facts
    }

    fn draw(&mut self, facts: &ProgressFacts) {
        if let Some(feed) = &self.feed {
            return feed.progress(progress_line(facts, PLAIN_WIDTH), facts.done + facts.failed, facts.total);
        }
        if let Some(bar) = &self.bar {
            // One message with bar and line: each change of a bar is drawn, and drawing twice flickers.
            let width = Table::new().use_stderr().width().map_or(PLAIN_WIDTH, usize::from);
            let (full, empty) = filled(facts.done + facts.failed, facts.total, width);
            let line = progress_line(facts, width.saturating_sub(1));
            bar.set_message(format!("\u{1b}[32m{full}\u{1b}[0m{empty}\n{line}"));
        } else if self.last_plain.elapsed() >= PLAIN_EVERY {
            self.last_plain = Instant::now();
            say(&progress_line(facts, PLAIN_WIDTH));
        }
    }

    /// Stops drawing.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// How things stand.
    pub fn facts(&mut self, meters: &MeterReading, lanes: &[(ProviderId, LaneReading)]) -> ProgressFacts {
        let ended = meters.done + meters.dead;
        let now = Instant::now();
        self.seen.push_back((now, meters.calls));
        while self.seen.len() > 2 && self.seen.front().is_some_and(|(at, _)| now - *at > RATE_OVER) {
            self.seen.pop_front();
        }
        let calls_per_second = match (self.seen.front(), self.seen.back()) {
            (Some(first), Some(last)) if last.0 > first.0 => {
                (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()
            }
            _ => 0.0,
        };
        let fixed = &self.fixed;
        let left = fixed.total.saturating_sub(fixed.done_before + fixed.dead_before + ended);
        let eta = self.time_left(left, meters, lanes);
        let busy = lanes.iter().find_map(|(provider, lane)| Some((provider, lane, lane.binding?)));
        let budget_reached = self.budget_reached(meters, eta);
        ProgressFacts {
            done: fixed.done_before + meters.done,
            failed: fixed.dead_before + meters.dead,
            total: fixed.total,
            in_flight: meters.in_flight,
            reused: meters.cache_hits + meters.joined,
            calls_per_second,
            spent: fixed.spent_before + meters.spent,
            budget: Some(fixed.budget),
            shares: shares(&fixed.route, &meters.by_model),
            eta,
            budget_reached,
            binds: busy.map(|(provider, lane, binding)| binding_words(provider, lane, binding)),
            machine: None,
        }
    }
}

impl Progress {
    /// When the budget is reached at this run's rate, unless the job ends before.
    fn budget_reached(&self, meters: &MeterReading, eta: Option<Duration>) -> Option<String> {
        let (fixed, now) = (&self.fixed, SystemClock.now());
        let left = fixed.budget.saturating_sub(fixed.spent_before + meters.spent);
        let at = runs_out(meters.spent, self.started.elapsed(), left, now)?;
        let after = Duration::from_millis(u64::try_from(at.0 - now.0).unwrap_or(0));
        let is_before_the_end = eta.is_none_or(|eta| after < eta);
        is_before_the_end.then(|| crate::text::time_of_day(at))
    }

    /// As long as the limits of the provider that answers most still need, and no less than what
    /// was seen in this run says.
    fn time_left(
        &self,
        left: u64,
        meters: &MeterReading,
        lanes: &[(ProviderId, LaneReading)],
    ) -> Option<Duration> {
        let ended = meters.done + meters.dead;
        let fixed = &self.fixed;
        let place = (0..fixed.route.len()).rev().max_by_key(|place| meters.by_model.get(*place))?;
        let lane = lanes.iter().find(|(provider, _)| *provider == fixed.route[place].provider);
        let sent = |count: Option<usize>| count.unwrap_or_default() as u64;
        let load = Load {
            calls: left.div_ceil(fixed.pack.max(1)),
            per_call: Duration::ZERO,
            tokens: 0,
            covered_at_once: None,
            sent_last_hour: lane.map_or(0, |(_, lane)| sent(lane.meters.last_hour)),
            sent_last_day: lane.map_or(0, |(_, lane)| sent(lane.meters.last_day)),
        };
        let seen = (ended / fixed.pack.max(1), self.started.elapsed());
        // Nothing to say yet: no limit decides, and too little was seen.
        eta(&fixed.limits[place], &load, seen).map(|eta| eta.time).filter(|time| left == 0 || !time.is_zero())
    }
}

/// The full and the empty part of a bar.
fn filled(ended: u64, total: u64, width: usize) -> (String, String) {
    let width = width.saturating_sub(1);
    let full = (u128::from(ended.min(total)) * width as u128 / u128::from(total.max(1))) as usize;
    ("█".repeat(full), "░".repeat(width - full))
}

/// Answered calls by provider.
fn shares(route: &[Arc<Model>], by_model: &[u64]) -> Vec<(String, u64)> {
    let mut shares: Vec<(String, u64)> = Vec::new();
    for (model, calls) in route.iter().zip(by_model) {
        match shares.iter_mut().find(|(provider, _)| *provider == *model.provider.as_str()) {
            Some((_, sum)) => *sum += calls,
            None => shares.push((model.provider.to_string(), *calls)),
        }
    }
    shares.retain(|(_, calls)| *calls > 0);
    shares
}

fn binding_words(provider: &ProviderId, lane: &LaneReading, binding: Binding) -> String {
    match (binding, lane.meters.closed_for) {
        (Binding::Machine, _) => binding.words().to_owned(),
        (Binding::ClosedByProvider, Some(seconds)) => format!("{provider}: closed {seconds:.0} s"),
        (Binding::ClosedByProvider, None) => format!("{provider}: probing"),
        (binding, _) => format!("{provider}: {}", binding.words()),
    }
}

/// Says a line to the person at the terminal, on standard error; in a daemon to whoever follows the
/// job.
#[allow(clippy::print_stderr, reason = "the one place that talks")]
pub fn say(line: &str) {
    if let Some(feed) = super::feed::current() {
        return feed.say(line);
    }
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(stderr().lock(), "{line}");
}
