//! The line of progress of a running job, and its time left.

use std::time::Duration;

use empire_actors::model::Limits;
use empire_actors::money::Micros;

use crate::plan::{LimitKind, LimitTime, Load, binding, scaled, times};
use crate::text;

/// Seen calls below which a rate says nothing yet.
const TOO_FEW: u64 = 20;

/// What a line of progress is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgressFacts {
    /// Items with an answer.
    pub done: u64,
    /// Items without one for good.
    pub failed: u64,
    /// Items in all.
    pub total: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that were not made, since their answer was kept or on its way.
    pub reused: u64,
    /// Calls that ended in a second, lately.
    pub calls_per_second: f64,
    /// Billed so far.
    pub spent: Micros,
    /// What may be spent.
    pub budget: Option<Micros>,
    /// Calls by provider.
    pub shares: Vec<(String, u64)>,
    /// The time left, if it can be told.
    pub eta: Option<Duration>,
    /// When the budget is reached at this rate, as a time of the day, if that is before the end.
    pub budget_reached: Option<String>,
    /// What limits the pace right now, in words.
    pub binds: Option<String>,
    /// How the machine holds it back, in words, if it does.
    pub machine: Option<String>,
}

/// The facts on one line of at most `width` characters (100 at most). What matters least goes
/// first where there is no room: shares, calls in flight, the binding limit, the rate.
#[must_use]
pub fn progress_line(facts: &ProgressFacts, width: usize) -> String {
    let width = width.min(100);
    let mut parts = parts(facts);
    loop {
        let shown: Vec<&str> = parts.iter().map(|(_, part)| part.as_str()).collect();
        let line = shown.join(" · ");
        if line.chars().count() <= width || parts.len() <= 1 {
            return text::one_line(&line, width);
        }
        let least = parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank).map_or(0, |(index, _)| index);
        parts.remove(least);
    }
}

/// The parts in the order in which they are shown, each with its rank: 0 matters most.
fn parts(facts: &ProgressFacts) -> Vec<(u8, String)> {
    let share = text::percent(facts.done, facts.total);
    let (done, total) = (text::thousands(facts.done), text::thousands(facts.total));
    let mut parts = vec![(0, format!("{done}/{total} done ({share})"))];
    if let Some(machine) = &facts.machine {
        parts.push((1, text::one_line(machine, 45)));
    }
    if facts.failed > 0 {
        parts.push((3, format!("{} failed", text::thousands(facts.failed))));
    }
    if facts.in_flight > 0 {
        parts.push((6, format!("{} in flight", text::thousands(facts.in_flight))));
    }
    if facts.reused > 0 {
        parts.push((7, format!("{} reused", text::thousands(facts.reused))));
    }
    parts.push((4, format!("{:.1}/s", facts.calls_per_second)));
    let spent = text::money(facts.spent);
    match facts.budget {
        Some(budget) => parts.push((2, format!("{spent} of {}", text::money(budget)))),
        None if facts.spent > Micros::ZERO => parts.push((2, spent)),
        None => {}
    }
    let calls: u64 = facts.shares.iter().map(|(_, calls)| calls).sum();
    let shares: Vec<String> = facts
        .shares
        .iter()
        .filter(|(_, calls)| *calls > 0)
        .map(|(provider, share)| format!("{} {}", text::one_line(provider, 20), text::percent(*share, calls)))
        .collect();
    if !shares.is_empty() {
        parts.push((8, shares.join(" ")));
    }
    if let Some(eta) = facts.eta {
        parts.push((1, format!("{} left", text::duration(eta))));
    }
    if let Some(at) = &facts.budget_reached {
        parts.push((2, format!("budget reached at {at}")));
    }
    if let Some(binds) = &facts.binds {
        parts.push((5, format!("binds: {}", text::one_line(binds, 40))));
    }
    parts
}

/// The time left, and what decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// The time left.
    pub time: Duration,
    /// What decides it.
    pub limit: LimitTime,
}

/// The time that `load` (what remains) still takes: as long as the binding limit says, and no
/// shorter than what was seen lately suggests, since retries and slow answers count too.
/// `seen` is a number of calls that ended, and in which time; it is ignored while it is small.
#[must_use]
pub fn eta(limits: &Limits, load: &Load, seen: (u64, Duration)) -> Option<Eta> {
    let mut candidates = times(limits, load);
    let (ended, took) = seen;
    if ended >= TOO_FEW && !took.is_zero() {
        candidates.push(LimitTime {
            limit: LimitKind::Observed,
            allowed: (ended as f64 / took.as_secs_f64() * 3_600.0) as u64,
            time: scaled(took, load.calls, ended),
        });
    }
    binding(&candidates).map(|limit| Eta { time: limit.time, limit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> ProgressFacts {
        ProgressFacts {
            done: 12_345,
            failed: 12,
            total: 500_000,
            in_flight: 50,
            reused: 0,
            calls_per_second: 12.34,
            spent: Micros(1_234_567),
            budget: Some(Micros(12_000_000)),
            shares: vec![("ollama".into(), 9_000), ("kimi".into(), 3_357)],
            eta: Some(Duration::from_secs(12_000)),
            budget_reached: None,
            binds: Some("100/min".into()),
            machine: None,
        }
    }

    #[test]
    fn that_the_machine_is_pressed_is_said_first() {
        let pressed = ProgressFacts { machine: Some("emergency: memory at 97 %".into()), ..facts() };
        let line = progress_line(&pressed, 80);
        assert!(line.starts_with("12,345/500,000 done (2.5 %) · emergency: memory at 97 % · "), "{line}");
    }

    #[test]
    fn the_line_drops_what_matters_least() {
        assert_eq!(
            progress_line(&facts(), 200),
            "12,345/500,000 done (2.5 %) · 12 failed · 12.3/s · $1.23 of $12.00 · 3 h 20 min left"
        );
        assert_eq!(
            progress_line(&facts(), 80),
            "12,345/500,000 done (2.5 %) · 12 failed · $1.23 of $12.00 · 3 h 20 min left"
        );
        assert_eq!(progress_line(&facts(), 40), "12,345/500,000 done (2.5 %)");
        let small = ProgressFacts { total: 503, done: 100, failed: 0, shares: vec![], ..facts() };
        assert_eq!(
            progress_line(&small, 100),
            "100/503 done (19.9 %) · 50 in flight · 12.3/s · $1.23 of $12.00 · 3 h 20 min left · binds: 100/min"
        );
    }

    #[test]
    fn a_budget_that_will_not_do_is_told() {
        let facts = ProgressFacts { budget_reached: Some("14:20 UTC".into()), ..facts() };
        let line = progress_line(&facts, 100);
        assert!(line.ends_with("$1.23 of $12.00 · 3 h 20 min left · budget reached at 14:20 UTC"), "{line}");
    }

    #[test]
    fn time_left_follows_the_binding_limit_not_the_burst() {
        let limits =
            Limits { requests_per_minute: Some(100), requests_per_day: Some(10_000), ..Limits::slots(50) };
        let load = Load {
            calls: 490_000,
            per_call: Duration::from_secs(5),
            tokens: 0,
            covered_at_once: None,
            sent_last_hour: 6_000,
            sent_last_day: 10_000,
        };
        // 10 calls a second were seen; the day allows 10,000.
        let left = eta(&limits, &load, (600, Duration::from_secs(60))).unwrap();
        assert_eq!(
            (left.time, left.limit.words().as_str()),
            (Duration::from_secs(50 * 86_400), "10,000/day")
        );

        let last = Load { calls: 200, sent_last_day: 0, ..load };
        let left = eta(&limits, &last, (30, Duration::from_secs(60))).unwrap();
        assert_eq!((left.time, left.limit.limit), (Duration::from_secs(400), LimitKind::Observed));
        let left = eta(&limits, &last, (3, Duration::from_secs(60))).unwrap();
        assert_eq!((left.time, left.limit.words().as_str()), (Duration::from_secs(120), "100/min"));
    }

    proptest! {
        #[test]
        fn the_line_always_fits(done in 0u64..1_000_000_000, spent: u64, width in 1usize..200, name in ".{0,40}") {
            let facts = ProgressFacts {
                done, spent: Micros(spent), shares: vec![(name.clone(), 1)], binds: Some(name), ..facts()
            };
            prop_assert!(progress_line(&facts, width).chars().count() <= width.min(100));
        }
    }
}
