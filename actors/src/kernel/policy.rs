//! When a supervisor restarts which children: a pure decision over recorded exits.
//!
//! Intensity is a true sliding window over the whole supervisor, as in Erlang/OTP. Back-off is
//! apart from it: it delays restarts, intensity ends them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// Which children share the fate of a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the failed one is restarted.
    OneForOne,
    /// All are.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

/// Which exits of a child lead to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Every one.
    Permanent,
    /// Failures only.
    Transient,
    /// None.
    Temporary,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "exit", content = "why", rename_all = "snake_case")]
pub enum ChildExit {
    /// By itself or because it was told to.
    Normal,
    /// With an error or a panic.
    Failed(String),
}

/// How long to wait before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Backoff {
    /// Before the first restart.
    pub min: Duration,
    /// At most.
    pub max: Duration,
    /// What each further failure multiplies the wait by; at least 1.
    pub factor: f64,
    /// The share of the wait that is random, 0 to 1.
    pub jitter: f64,
    /// A child that ran this long without a failure starts again from `min`.
    pub reset_after: Duration,
}

/// How a supervisor treats its children.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Policy {
    /// Who shares a failure.
    pub strategy: Strategy,
    /// Restarts allowed within `window`; one more and the supervisor gives up.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    pub window: Duration,
    /// The wait before restarts.
    pub backoff: Backoff,
}

impl Default for Policy {
    /// Five restarts in a minute, each alone, from 50 ms to 5 s apart.
    fn default() -> Self {
        Policy {
            strategy: Strategy::OneForOne,
            intensity: 5,
            window: Duration::from_secs(60),
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_secs(5),
                factor: 2.0,
                jitter: 0.2,
                reset_after: Duration::from_secs(60),
            },
        }
    }
}

impl Policy {
    /// The same with another strategy.
    #[must_use]
    pub fn with_strategy(self, strategy: Strategy) -> Policy {
        Policy { strategy, ..self }
    }
}

/// What a supervisor does about an exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Nothing: the child may end.
    LetGo,
    /// Restarts the children from `from` up to but not including `to`, after `delay`.
    Restart {
        /// First child in start order.
        from: usize,
        /// One past the last.
        to: usize,
        /// How long to wait first.
        delay: Duration,
    },
    /// Stops its children and fails itself; its own supervisor decides then.
    Escalate,
}

/// What a supervisor remembers about restarts. Times are durations since any fixed start.
#[derive(Debug, Default)]
pub struct History {
    restarts: VecDeque<Duration>,
    children: Vec<ChildHistory>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ChildHistory {
    failures_in_a_row: u32,
    last_exit: Option<Duration>,
}

impl History {
    /// A history of `children` children without any exit.
    #[must_use]
    pub fn new(children: usize) -> Self {
        History { restarts: VecDeque::new(), children: vec![ChildHistory::default(); children] }
    }

    /// Restarts that count against the intensity now.
    #[must_use]
    pub fn in_window(&self, policy: &Policy, now: Duration) -> usize {
        self.restarts.iter().filter(|at| now.saturating_sub(**at) < policy.window).count()
    }

    /// Records that `child` ended at `now` and decides. `random` is from 0 up to 1.
    pub fn decide(
        &mut self,
        policy: &Policy,
        restart: Restart,
        child: usize,
        exit: &ChildExit,
        now: Duration,
        random: f64,
    ) -> Action {
        let wanted = match (restart, exit) {
            (Restart::Permanent, _) | (Restart::Transient, ChildExit::Failed(_)) => true,
            (Restart::Transient, ChildExit::Normal) | (Restart::Temporary, _) => false,
        };
        if !wanted {
            return Action::LetGo;
        }
        self.restarts.retain(|at| now.saturating_sub(*at) < policy.window);
        if self.restarts.len() >= policy.intensity as usize {
            return Action::Escalate;
        }
        self.restarts.push_back(now);
        let count = self.children.len();
        let (from, to) = match policy.strategy {
            Strategy::OneForOne => (child, child + 1),
            Strategy::OneForAll => (0, count),
            Strategy::RestForOne => (child, count),
        };
        Action::Restart { from, to, delay: self.delay(policy, child, now, random) }
    }

    fn delay(&mut self, policy: &Policy, child: usize, now: Duration, random: f64) -> Duration {
        let backoff = &policy.backoff;
        let history = &mut self.children[child];
        if history.last_exit.is_some_and(|at| now.saturating_sub(at) >= backoff.reset_after) {
            history.failures_in_a_row = 0;
        }
        history.last_exit = Some(now);
        let exponent = history.failures_in_a_row.min(63);
        history.failures_in_a_row += 1;
        let full = backoff.min.as_secs_f64() * backoff.factor.max(1.0).powi(exponent.cast_signed());
        let full = full.min(backoff.max.as_secs_f64());
        Duration::from_secs_f64(full * (1.0 - backoff.jitter * random))
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::{Action, ChildExit, Duration, History, Policy, Restart, Strategy};

    fn failed() -> ChildExit {
        ChildExit::Failed("boom".into())
    }

    #[test]
    fn restart_kinds_decide_which_exits_count() {
        let policy = Policy::default();
        let cases = [
            (Restart::Permanent, ChildExit::Normal, true),
            (Restart::Permanent, failed(), true),
            (Restart::Transient, ChildExit::Normal, false),
            (Restart::Transient, failed(), true),
            (Restart::Temporary, ChildExit::Normal, false),
            (Restart::Temporary, failed(), false),
        ];
        for (restart, exit, restarts) in cases {
            let action = History::new(1).decide(&policy, restart, 0, &exit, Duration::ZERO, 0.0);
            assert_eq!(matches!(action, Action::Restart { .. }), restarts, "{restart:?} {exit:?}");
        }
    }

    #[test]
    fn the_strategy_says_who_shares_the_fate() {
        let who = |strategy| {
            let policy = Policy::default().with_strategy(strategy);
            match History::new(4).decide(&policy, Restart::Permanent, 1, &failed(), Duration::ZERO, 0.0) {
                Action::Restart { from, to, .. } => (from, to),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(who(Strategy::OneForOne), (1, 2));
        assert_eq!(who(Strategy::OneForAll), (0, 4));
        assert_eq!(who(Strategy::RestForOne), (1, 4));
    }

    #[test]
    fn waits_double_up_to_the_maximum_and_start_afresh_after_health() {
        let policy = Policy { intensity: 100, ..Policy::default() };
        let mut history = History::new(1);
        let mut wait_at = |seconds| match history.decide(
            &policy,
            Restart::Permanent,
            0,
            &failed(),
            Duration::from_secs(seconds),
            0.0,
        ) {
            Action::Restart { delay, .. } => delay.as_millis(),
            other => panic!("{other:?}"),
        };
        let waits: Vec<_> = (0..9).map(&mut wait_at).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(wait_at(8 + 60), 50);
    }

    proptest! {
        /// A supervisor gives up exactly when a restart would be one too many in the window.
        #[test]
        fn intensity_is_a_true_sliding_window(gaps in prop::collection::vec(0u64..30, 1..60)) {
            let policy = Policy::default();
            let mut history = History::new(1);
            let mut allowed: Vec<Duration> = Vec::new();
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += Duration::from_secs(gap);
                let recent = allowed.iter().filter(|at| now - **at < policy.window).count();
                let action = history.decide(&policy, Restart::Permanent, 0, &failed(), now, 0.5);
                if recent >= policy.intensity as usize {
                    prop_assert_eq!(action, Action::Escalate);
                } else {
                    let is_restart = matches!(action, Action::Restart { .. });
                    prop_assert!(is_restart);
                    allowed.push(now);
                }
            }
        }
    }
}
