//! The meters of a provider or of one of its models: requests a minute, hour and day, tokens a
//! minute and day. Pure: the caller says what time it is.

use std::time::Duration;

use serde::Serialize;

pub(crate) mod breaker;
mod health;
mod strays;
mod window;

pub use health::{BreakerReading, BreakerState, Health, Trip};
pub(crate) use window::Fit;
use window::Window;

use crate::model::{Counting, Limits};
use crate::money::Usage;
use crate::ports::{Sent, UnixMillis};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The time as meters see it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since any fixed start; never goes back.
    pub running: Duration,
    /// Time of day, for what survives restarts.
    pub wall: UnixMillis,
}

impl Now {
    pub(crate) fn running_ms(self) -> i64 {
        i64::try_from(self.running.as_millis()).unwrap_or(i64::MAX)
    }

    /// The moment in `wait`, by the time of day.
    pub(crate) fn wall_in(self, wait: Duration) -> UnixMillis {
        UnixMillis(self.wall.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// What limits right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Calls in flight.
    Concurrency,
    /// Requests a minute.
    RequestsPerMinute,
    /// Requests an hour.
    RequestsPerHour,
    /// Requests a day.
    RequestsPerDay,
    /// Tokens a minute.
    TokensPerMinute,
    /// Tokens a day.
    TokensPerDay,
    /// Input tokens a minute.
    InputTokensPerMinute,
    /// Output tokens a minute.
    OutputTokensPerMinute,
    /// The provider asked everybody to wait, or is coming back from that.
    ClosedByProvider,
    /// The provider turned single calls away: for a while fewer are in flight, and those rest.
    TurnedAway,
    /// The loaded model's calls end before another one is loaded.
    ModelSwitch,
    /// The machine is pressed.
    Machine,
    /// A person paused it or scaled it down.
    HeldBack,
}

impl Binding {
    /// A few words for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Binding::Concurrency => "slots",
            Binding::RequestsPerMinute => "calls/min",
            Binding::RequestsPerHour => "calls/h",
            Binding::RequestsPerDay => "calls/day",
            Binding::TokensPerMinute => "tokens/min",
            Binding::TokensPerDay => "tokens/day",
            Binding::InputTokensPerMinute => "input tokens/min",
            Binding::OutputTokensPerMinute => "output tokens/min",
            Binding::ClosedByProvider => "closed by the provider",
            Binding::TurnedAway => "single calls turned away",
            Binding::ModelSwitch => "another model is loaded",
            Binding::Machine => "the machine",
            Binding::HeldBack => "held back by a person",
        }
    }

    /// Its name in the configuration, if it is set there; one word for it in any case.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Binding::Concurrency => "concurrency",
            Binding::RequestsPerMinute => "requests_per_minute",
            Binding::RequestsPerHour => "requests_per_hour",
            Binding::RequestsPerDay => "requests_per_day",
            Binding::TokensPerMinute => "tokens_per_minute",
            Binding::TokensPerDay => "tokens_per_day",
            Binding::InputTokensPerMinute => "input_tokens_per_minute",
            Binding::OutputTokensPerMinute => "output_tokens_per_minute",
            Binding::ClosedByProvider => "closed_by_provider",
            Binding::TurnedAway => "turned_away",
            Binding::ModelSwitch => "model_switch",
            Binding::Machine => "machine",
            Binding::HeldBack => "held_back",
        }
    }
}

/// The meters with a window, in the order in which they are shown.
const METERS: [Binding; 7] = [
    Binding::RequestsPerMinute,
    Binding::RequestsPerHour,
    Binding::RequestsPerDay,
    Binding::TokensPerMinute,
    Binding::TokensPerDay,
    Binding::InputTokensPerMinute,
    Binding::OutputTokensPerMinute,
];

fn length(meter: Binding) -> Duration {
    match meter {
        Binding::RequestsPerHour => HOUR,
        Binding::RequestsPerDay | Binding::TokensPerDay => DAY,
        _ => MINUTE,
    }
}

fn limit(limits: &Limits, meter: Binding) -> Option<u64> {
    match meter {
        Binding::RequestsPerMinute => limits.requests_per_minute.map(u64::from),
        Binding::RequestsPerHour => limits.requests_per_hour.map(u64::from),
        Binding::RequestsPerDay => limits.requests_per_day.map(u64::from),
        Binding::TokensPerMinute => limits.tokens_per_minute,
        Binding::TokensPerDay => limits.tokens_per_day,
        Binding::InputTokensPerMinute => limits.input_tokens_per_minute,
        Binding::OutputTokensPerMinute => limits.output_tokens_per_minute,
        _ => None,
    }
}

/// What a call may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// A bound on its input tokens.
    pub input: u32,
    /// The output tokens that it requests.
    pub output: u32,
}

impl Cost {
    /// Input and output.
    #[must_use]
    pub fn total(self) -> u64 {
        u64::from(self.input) + u64::from(self.output)
    }

    fn of(self, meter: Binding) -> u64 {
        match meter {
            Binding::TokensPerMinute | Binding::TokensPerDay => self.total(),
            Binding::InputTokensPerMinute => self.input.into(),
            Binding::OutputTokensPerMinute => self.output.into(),
            _ => 1,
        }
    }
}

/// What a call has used, as far as its meters are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// It never reached the vendor: nothing.
    Nothing,
    /// Nobody knows: what is held for it.
    Unknown,
    /// What the vendor counted.
    Counted(Usage),
}

impl Used {
    /// The tokens that were used beyond what a call may cost.
    pub(crate) fn beyond(self, cost: Cost) -> u64 {
        match self {
            Used::Counted(usage) => {
                usage.total_input().saturating_add(usage.output).saturating_sub(cost.total())
            }
            Used::Nothing | Used::Unknown => 0,
        }
    }

    /// What counts against a meter; `None` if that is what was held. Where the vendor counts the
    /// requested maximum, no answer, however short, gives any of it back.
    fn of(self, meter: Binding, cost: Cost, counting: Counting) -> Option<u64> {
        let usage = match self {
            Used::Nothing => return Some(0),
            Used::Unknown => return None,
            Used::Counted(usage) => usage,
        };
        let output = match counting {
            Counting::Requested => usage.output.max(cost.output.into()),
            Counting::Used => usage.output,
        };
        match meter {
            Binding::TokensPerMinute | Binding::TokensPerDay => {
                Some(usage.total_input().saturating_add(output))
            }
            // What is read from the vendor's cache does not count.
            Binding::InputTokensPerMinute => Some(usage.input.saturating_add(usage.cache_write)),
            Binding::OutputTokensPerMinute => Some(output),
            _ => None,
        }
    }
}

/// What a vendor said about one of its own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Which limit.
    pub meter: Binding,
    /// How high it is.
    pub limit: Option<u64>,
    /// How much of it is left.
    pub remaining: Option<u64>,
    /// When it is whole again, if the vendor said so.
    pub resets_in: Option<Duration>,
}

/// What is held in each window for a call that has its permit.
pub(crate) type Held = [u64; METERS.len()];

/// When a call was sent, as each kind of window counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentAt {
    running: i64,
    wall: i64,
}

/// How one meter stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gauge {
    /// Which.
    pub meter: Binding,
    /// What holds now.
    pub limit: u64,
    /// What is configured, if the vendor allows less; nothing if only the vendor named a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured: Option<u64>,
    /// Whether the limit that holds now is the vendor's word.
    pub learnt: bool,
    /// What counts in the window: sent, granted and owed.
    pub used: u64,
    /// Seconds until there is room for more; nothing if there is some now, or if that takes a
    /// permit to be used.
    pub frees_in: Option<f64>,
}

/// All windows of a provider or a model.
#[derive(Debug)]
pub(crate) struct Meters {
    windows: [Option<Window>; METERS.len()],
    counting: Counting,
}

impl Meters {
    /// Meters under `limits` that remember what was sent in the last day.
    pub(crate) fn new<'a>(
        limits: &Limits,
        now: Now,
        past: &(impl Iterator<Item = &'a Sent> + Clone),
    ) -> Meters {
        let windows = METERS.map(|meter| {
            let mut window = Window::new(length(meter), limit(limits, meter)?);
            for sent in past.clone() {
                let (amount, owed) = match meter {
                    Binding::TokensPerMinute | Binding::TokensPerDay => (sent.tokens, sent.owed),
                    // Not known apart: the whole counts.
                    Binding::InputTokensPerMinute | Binding::OutputTokensPerMinute => {
                        (sent.tokens, sent.owed)
                    }
                    _ => (sent.calls.into(), 0),
                };
                let ago = (now.wall.0 - sent.at.0).max(0);
                window.remember(at(now, meter) - ago, amount, owed);
            }
            Some(window)
        });
        Meters { windows, counting: limits.counting }
    }

    fn each(&mut self) -> impl Iterator<Item = (usize, Binding, &mut Window)> {
        let windows = self.windows.iter_mut().enumerate();
        windows.filter_map(|(index, window)| Some((index, METERS[index], window.as_mut()?)))
    }

    /// What stops a call of this cost, and when that ends.
    pub(crate) fn fit(&mut self, now: Now, cost: Cost) -> Option<(Fit, Binding)> {
        let mut worst: Option<(Fit, Binding)> = None;
        for (_, meter, window) in self.each() {
            let fit = window.fit(at(now, meter), cost.of(meter));
            let is_worse = match (fit, worst) {
                (Fit::Now, _) => false,
                (_, None) => true,
                (Fit::In(wait), Some((Fit::In(longest), _))) => wait > longest,
                (Fit::In(_), Some(_)) => true,
                (Fit::WhenLeft, Some(_)) => false,
            };
            if is_worse {
                worst = Some((fit, meter));
            }
        }
        worst
    }

    /// The least time until `calls` calls of `tokens` tokens and then one of this cost have gone.
    pub(crate) fn promise(&mut self, now: Now, calls: u64, tokens: u64, cost: Cost) -> Duration {
        let wait = self.each().map(|(_, meter, window)| {
            let ahead = match meter {
                Binding::RequestsPerMinute | Binding::RequestsPerHour | Binding::RequestsPerDay => calls,
                Binding::TokensPerMinute | Binding::TokensPerDay => tokens,
                // Not known apart; nothing is promised that may not hold.
                _ => 0,
            };
            window.promise(at(now, meter), ahead, cost.of(meter))
        });
        Duration::from_millis(wait.max().unwrap_or(0).unsigned_abs())
    }

    pub(crate) fn hold(&mut self, cost: Cost) -> Held {
        let mut held = Held::default();
        for (index, meter, window) in self.each() {
            held[index] = window.hold(cost.of(meter));
        }
        held
    }

    pub(crate) fn unhold(&mut self, held: &Held) {
        for (index, _, window) in self.each() {
            window.unhold(held[index]);
        }
    }

    pub(crate) fn send(&mut self, now: Now, held: &Held) -> SentAt {
        for (index, meter, window) in self.each() {
            window.send(at(now, meter), held[index]);
        }
        SentAt { running: now.running_ms(), wall: now.wall.0 }
    }

    /// Puts right what was counted for a call, by what it has used.
    pub(crate) fn correct(&mut self, now: Now, sent: SentAt, held: &Held, cost: Cost, used: Used) {
        let counting = self.counting;
        for (index, meter, window) in self.each() {
            if let Some(actual) = used.of(meter, cost, counting) {
                let sent_at = if is_long(meter) { sent.wall } else { sent.running };
                window.correct(at(now, meter), sent_at, held[index], actual);
            }
        }
    }

    /// Takes in what the vendor said: downward within what is configured, never upward past it.
    pub(crate) fn learn(&mut self, now: Now, told: &Told) {
        let Some(index) = METERS.iter().position(|meter| *meter == told.meter) else { return };
        if let Some(limit) = told.limit.filter(|limit| *limit > 0) {
            match &mut self.windows[index] {
                Some(window) => window.set_limit(limit),
                empty => *empty = Some(Window::learnt(length(told.meter), limit)),
            }
        }
        if let (Some(window), Some(remaining)) = (&mut self.windows[index], told.remaining) {
            window.cap_remaining(at(now, told.meter), remaining, told.resets_in);
        }
    }

    pub(crate) fn gauges(&mut self, now: Now) -> Vec<Gauge> {
        let gauge = |(_, meter, window): (usize, Binding, &mut Window)| {
            let used = window.read(at(now, meter));
            let learnt = window.ceiling() != Some(window.limit());
            Gauge {
                meter,
                limit: window.limit(),
                configured: window.ceiling().filter(|_| learnt),
                learnt,
                used,
                frees_in: window.room_in().map(|wait| wait as f64 / 1_000.0),
            }
        };
        self.each().map(gauge).collect()
    }
}

/// Long windows outlive the process and go by the time of day; short ones by a clock that nobody
/// sets.
fn is_long(meter: Binding) -> bool {
    length(meter) > MINUTE
}

fn at(now: Now, meter: Binding) -> i64 {
    if is_long(meter) { now.wall.0 } else { now.running_ms() }
}
