//! When a supervisor restarts which children: a pure decision over recorded exits.
//!
//! Intensity is a true sliding window over the whole supervisor, as in Erlang/OTP. Back-off is
//! apart from it: it delays restarts, intensity ends them. Who steers a policy while it is in
//! force, and which layer says what, is in [`policies`](super::policies).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which children share the fate of a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the failed one is restarted.
    OneForOne,
    /// All are.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

impl Strategy {
    /// Who of `count` children is restarted when the one at `index` failed.
    #[must_use]
    pub fn shares(self, index: usize, count: usize) -> Range<usize> {
        match self {
            Strategy::OneForOne => index..index + 1,
            Strategy::OneForAll => 0..count,
            Strategy::RestForOne => index..count,
        }
    }
}

/// Which exits of a child lead to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Every one.
    Permanent,
    /// Failures only.
    Transient,
    /// None.
    Temporary,
}

/// What happens to a child that failed more often than its supervisor's intensity allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The supervisor stops all its children and fails itself; its own supervisor decides then.
    Escalate,
    /// It stays down until a person releases it; the others go on.
    Quarantine,
    /// It stays down for the length of the window, with an alert, and is started again then.
    PauseAndAlert,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "exit", content = "why", rename_all = "snake_case")]
pub enum ChildExit {
    /// By itself or because it was told to.
    Normal,
    /// With an error or a panic.
    Failed(String),
    /// It made no progress within its deadline, and was killed.
    Stuck(String),
    /// A person killed it; that does not count against the intensity.
    Killed(String),
}

impl ChildExit {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            ChildExit::Normal => "normal",
            ChildExit::Failed(_) => "failed",
            ChildExit::Stuck(_) => "stuck",
            ChildExit::Killed(_) => "killed",
        }
    }

    /// What it said.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            ChildExit::Normal => None,
            ChildExit::Failed(why) | ChildExit::Stuck(why) | ChildExit::Killed(why) => Some(why),
        }
    }
}

/// How long to wait before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backoff {
    /// Before the first restart.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub min: Duration,
    /// At most.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub max: Duration,
    /// What each further failure multiplies the wait by; at least 1.
    pub factor: f64,
    /// The share of the wait that is random, 0 to 1.
    pub jitter: f64,
    /// A child that ran this long without a failure starts again from `min`.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub reset_after: Duration,
}

/// How a node of the tree is treated: the first three say how it treats its children, if it is a
/// supervisor; the others how its own supervisor treats it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Who shares a failure.
    pub strategy: Strategy,
    /// Restarts allowed within `window`; one more and the child's `on_exhausted` says what follows.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// Which exits lead to a restart.
    pub restart: Restart,
    /// The wait before restarts.
    pub backoff: Backoff,
    /// How long it may take to stop; then it is killed.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub stop_within: Duration,
    /// One message may keep it busy so long; then it is stuck, which is a failure.
    #[serde(with = "compact::required")]
    #[schemars(with = "String")]
    pub stuck_after: Duration,
    /// What happens when it failed too often.
    pub on_exhausted: OnExhausted,
}

impl Default for Policy {
    /// Five restarts in a minute, each alone, from 50 ms to 5 s apart, and then its supervisor
    /// fails; five seconds to stop, two minutes for a message.
    fn default() -> Self {
        Policy {
            strategy: Strategy::OneForOne,
            intensity: 5,
            window: Duration::from_secs(60),
            restart: Restart::Permanent,
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_secs(5),
                factor: 2.0,
                jitter: 0.2,
                reset_after: Duration::from_secs(60),
            },
            stop_within: Duration::from_secs(5),
            stuck_after: Duration::from_secs(120),
            on_exhausted: OnExhausted::Escalate,
        }
    }
}

impl Policy {
    /// The same with another strategy.
    #[must_use]
    pub fn with_strategy(self, strategy: Strategy) -> Policy {
        Policy { strategy, ..self }
    }

    /// The same with the time that a supervisor needs to stop its children one by one.
    #[must_use]
    pub(crate) fn of_supervisor(self) -> Policy {
        Policy { stop_within: self.stop_within.max(Duration::from_secs(30)), ..self }
    }
}

/// What a supervisor does about an exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Nothing: the child may end.
    LetGo,
    /// Restarts it, and who shares its fate, after `delay`.
    Restart {
        /// How long to wait first.
        #[serde(with = "compact::required")]
        #[schemars(with = "String")]
        delay: Duration,
    },
    /// Stops its children and fails itself; its own supervisor decides then.
    Escalate,
    /// Leaves it down until a person releases it.
    Quarantine,
    /// Leaves it down for so long.
    Pause {
        /// How long.
        #[serde(with = "compact::required")]
        #[schemars(with = "String")]
        lasts: Duration,
    },
}

impl Action {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Action::LetGo => "let_go",
            Action::Restart { .. } => "restart",
            Action::Escalate => "escalate",
            Action::Quarantine => "quarantine",
            Action::Pause { .. } => "pause",
        }
    }
}

/// The longest that a window may be; restarts are remembered for as long.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(7 * 86_400);
/// So many restarts are remembered at most.
pub const REMEMBERED: usize = 10_000;

/// What a supervisor remembers about restarts. Times are durations since any fixed start.
#[derive(Debug, Default)]
pub struct History {
    restarts: VecDeque<Duration>,
    children: HashMap<String, ChildHistory>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ChildHistory {
    failures_in_a_row: u32,
    last_exit: Option<Duration>,
}

impl History {
    /// Restarts that count against the intensity now.
    #[must_use]
    pub fn in_window(&self, policy: &Policy, now: Duration) -> usize {
        self.counted(policy, now).count()
    }

    /// When those were, oldest first.
    pub fn counted(&self, policy: &Policy, now: Duration) -> impl Iterator<Item = Duration> {
        let window = policy.window;
        self.restarts.iter().copied().filter(move |at| now.saturating_sub(*at) < window)
    }

    /// Forgets a child that is gone for good.
    pub fn forget(&mut self, child: &str) {
        self.children.remove(child);
    }

    /// Records that `child` ended at `now` and decides, by the supervisor's policy `above` and the
    /// child's `own`. `random` is from 0 up to 1.
    pub fn decide(
        &mut self,
        above: &Policy,
        own: &Policy,
        child: &str,
        exit: &ChildExit,
        now: Duration,
        random: f64,
    ) -> Action {
        let wanted = match own.restart {
            Restart::Permanent => true,
            Restart::Transient => *exit != ChildExit::Normal,
            Restart::Temporary => false,
        };
        if !wanted {
            return Action::LetGo;
        }
        if let ChildExit::Killed(_) = exit {
            return Action::Restart { delay: Duration::ZERO };
        }
        // A window that was made longer counts what it covers, as far as that is remembered.
        self.restarts.retain(|at| now.saturating_sub(*at) < REMEMBERED_FOR);
        if self.in_window(above, now) >= above.intensity as usize {
            return match own.on_exhausted {
                OnExhausted::Escalate => Action::Escalate,
                OnExhausted::Quarantine => Action::Quarantine,
                OnExhausted::PauseAndAlert => Action::Pause { lasts: above.window },
            };
        }
        if self.restarts.len() == REMEMBERED {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        Action::Restart { delay: self.delay(own, child, now, random) }
    }

    /// How long `child`, which failed at `now`, waits before its restart.
    pub fn delay(&mut self, own: &Policy, child: &str, now: Duration, random: f64) -> Duration {
        let backoff = &own.backoff;
        let history = self.children.entry(child.to_owned()).or_default();
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

    use super::{Action, ChildExit, Duration, History, OnExhausted, Policy, Restart, Strategy};

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
            let own = Policy { restart, ..policy };
            let action = History::default().decide(&policy, &own, "a", &exit, Duration::ZERO, 0.0);
            assert_eq!(matches!(action, Action::Restart { .. }), restarts, "{restart:?} {exit:?}");
        }
    }

    #[test]
    fn the_strategy_says_who_shares_the_fate() {
        assert_eq!(Strategy::OneForOne.shares(1, 4), 1..2);
        assert_eq!(Strategy::OneForAll.shares(1, 4), 0..4);
        assert_eq!(Strategy::RestForOne.shares(1, 4), 1..4);
    }

    #[test]
    fn who_failed_too_often_ends_as_its_own_policy_says() {
        let above = Policy { intensity: 0, ..Policy::default() };
        for (on_exhausted, expected) in [
            (OnExhausted::Escalate, Action::Escalate),
            (OnExhausted::Quarantine, Action::Quarantine),
            (OnExhausted::PauseAndAlert, Action::Pause { lasts: above.window }),
        ] {
            let own = Policy { on_exhausted, ..Policy::default() };
            let mut history = History::default();
            assert_eq!(history.decide(&above, &own, "a", &failed(), Duration::ZERO, 0.0), expected);
            let killed = ChildExit::Killed("by hand".into());
            let action = history.decide(&above, &own, "a", &killed, Duration::ZERO, 0.0);
            assert_eq!(action, Action::Restart { delay: Duration::ZERO }, "a person's kill does not count");
        }
    }

    #[test]
    fn waits_double_up_to_the_maximum_and_start_afresh_after_health() {
        let policy = Policy { intensity: 100, ..Policy::default() };
        let mut history = History::default();
        let mut wait_at = |seconds| match history.decide(
            &policy,
            &policy,
            "a",
            &failed(),
            Duration::from_secs(seconds),
            0.0,
        ) {
            Action::Restart { delay } => delay.as_millis(),
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
            let mut history = History::default();
            let mut allowed: Vec<Duration> = Vec::new();
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += Duration::from_secs(gap);
                let recent = allowed.iter().filter(|at| now - **at < policy.window).count();
                let action = history.decide(&policy, &policy, "a", &failed(), now, 0.5);
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
