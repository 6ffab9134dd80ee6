//! How hard the machine is pressed: from readings to a level and a number. Pure; the caller says
//! what time it is.
//!
//! Each gauge is smoothed exponentially by time, and compared with three thresholds. A level is
//! entered at its threshold (alert only after its minutes) and left a margin below it, once the
//! gauge has stayed there for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// How many gauges there are.
pub const GAUGES: usize = 7;
/// Share of a provider's slots that the highest pressure short of an emergency takes away.
const MOST_WITHHELD: f64 = 0.75;

/// How hard the machine is pressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardLevel {
    /// Nothing is held back.
    #[default]
    Normal,
    /// Fewer calls at once.
    Throttled,
    /// That, and no agent is woken.
    Alert,
    /// No new call at all.
    Emergency,
}

impl GuardLevel {
    /// The level in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            GuardLevel::Normal => "normal",
            GuardLevel::Throttled => "throttled",
            GuardLevel::Alert => "alert",
            GuardLevel::Emergency => "emergency",
        }
    }
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauge {
    /// Percent of the processors that may be used.
    Cpu,
    /// Tasks that run or want to, by core, averaged over a minute by the system.
    Load,
    /// Percent of the memory that may be used.
    Memory,
    /// Percent of the last ten seconds in which some task waited for memory.
    MemorySome,
    /// Percent of the last ten seconds in which every task waited for memory.
    MemoryFull,
    /// Own memory in percent of its ceiling.
    OwnMemory,
    /// Open file handles in percent of their limit.
    OpenFiles,
}

impl Gauge {
    /// All of them, in the order of their places in [`Settings::thresholds`].
    pub const ALL: [Gauge; GAUGES] = [
        Gauge::Cpu,
        Gauge::Load,
        Gauge::Memory,
        Gauge::MemorySome,
        Gauge::MemoryFull,
        Gauge::OwnMemory,
        Gauge::OpenFiles,
    ];

    /// Its name under `[guard]`.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Gauge::Cpu => "cpu",
            Gauge::Load => "load",
            Gauge::Memory => "memory",
            Gauge::MemorySome => "memory_some",
            Gauge::MemoryFull => "memory_full",
            Gauge::OwnMemory => "own_memory",
            Gauge::OpenFiles => "open_files",
        }
    }

    /// A value of it in words, such as `CPU at 81 %`.
    #[must_use]
    pub fn words(self, value: f64) -> String {
        let unit = self.unit();
        let name = match self {
            Gauge::Cpu => "CPU at",
            Gauge::Load => "load at",
            Gauge::Memory => "memory at",
            Gauge::MemorySome => "some wait for memory",
            Gauge::MemoryFull => "all wait for memory",
            Gauge::OwnMemory => "own memory at",
            Gauge::OpenFiles => "open files at",
        };
        format!("{name} {value:.*}{unit}", self.digits())
    }

    /// What its thresholds are measured in.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Gauge::Load => " a core",
            _ => " %",
        }
    }

    fn digits(self) -> usize {
        usize::from(self == Gauge::Load)
    }

    /// Whether it jumps about by nature and harms nobody for a while. Such a gauge starts calm
    /// and follows slowly; the others count at once.
    fn is_slow(self) -> bool {
        matches!(self, Gauge::Cpu | Gauge::Load)
    }
}

/// Where the levels of one gauge begin; each at least the one before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// Of throttling.
    pub throttle: f64,
    /// Of alert, once it lasted.
    pub alert: f64,
    /// Of emergency.
    pub emergency: f64,
}

/// How the guard decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Between two samples.
    pub every: Duration,
    /// In which time CPU and load follow a jump for 63 %.
    pub smoothing: Duration,
    /// The same of everything else.
    pub smoothing_memory: Duration,
    /// How long a gauge must stay at its alert threshold.
    pub alert_after: Duration,
    /// How far below a threshold its level ends, as a share of the threshold (0 to 1).
    pub margin: f64,
    /// How long a gauge must stay there.
    pub dwell: Duration,
    /// By gauge, in the order of [`Gauge::ALL`]; `None` for one that is not watched.
    pub thresholds: [Option<Thresholds>; GAUGES],
    /// What own memory is measured against, in bytes.
    pub own_memory_ceiling: u64,
    /// Bytes that are kept free on the disks of the data folder and of the output folder.
    pub disk_floor: u64,
}

impl Settings {
    /// The thresholds of one gauge.
    #[must_use]
    pub fn of(&self, gauge: Gauge) -> Option<Thresholds> {
        self.thresholds[gauge as usize]
    }
}

/// What is free on the disk of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What the folder is for, such as `data folder`.
    pub what: Arc<str>,
    /// The folder.
    pub folder: Arc<str>,
    /// Bytes that this user may still write.
    pub free: u64,
}

/// The machine at one moment; `None` for what it does not tell, which then holds nothing back.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Readings {
    /// As [`Gauge::Cpu`].
    pub cpu: Option<f64>,
    /// As [`Gauge::Load`].
    pub load: Option<f64>,
    /// As [`Gauge::Memory`].
    pub memory: Option<f64>,
    /// As [`Gauge::MemorySome`].
    pub memory_some: Option<f64>,
    /// As [`Gauge::MemoryFull`].
    pub memory_full: Option<f64>,
    /// Resident bytes of this process.
    pub own_memory: Option<u64>,
    /// File handles that this process has open, and how many it may have.
    pub open_files: Option<(u64, u64)>,
    /// The disks that are written to.
    pub disks: Vec<Disk>,
}

impl Readings {
    /// One gauge, in its own unit.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge, settings: &Settings) -> Option<f64> {
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
        let value = match gauge {
            Gauge::Cpu => self.cpu,
            Gauge::Load => self.load,
            Gauge::Memory => self.memory,
            Gauge::MemorySome => self.memory_some,
            Gauge::MemoryFull => self.memory_full,
            Gauge::OwnMemory => self.own_memory.map(|own| percent(own, settings.own_memory_ceiling)),
            Gauge::OpenFiles => self.open_files.map(|(open, limit)| percent(open, limit)),
        };
        value.filter(|value| value.is_finite())
    }
}

/// A disk with less room than is to be kept free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LowDisk {
    /// Which.
    #[serde(flatten)]
    pub disk: Disk,
    /// What is to be kept free, in bytes.
    pub floor: u64,
}

impl LowDisk {
    /// The first of `disks` that has less than `floor` bytes free.
    #[must_use]
    pub fn find(disks: &[Disk], floor: u64) -> Option<LowDisk> {
        let low = disks.iter().find(|disk| disk.free < floor)?;
        Some(LowDisk { disk: low.clone(), floor })
    }
}

impl fmt::Display for LowDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disk { what, folder, free } = &self.disk;
        write!(
            f,
            "the disk of the {what} {folder} has {} free, and {} are needed: free some space, or lower the disk floor under [guard] in empire.toml",
            size(*free),
            size(self.floor)
        )
    }
}

/// A number of bytes in words.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// The gauge that decides the level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Binds {
    /// Which.
    pub gauge: Gauge,
    /// What it shows, smoothed.
    pub value: f64,
    /// Where its level begins.
    pub threshold: f64,
    /// The level.
    pub level: GuardLevel,
}

impl fmt::Display for Binds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, digits) = (self.gauge.unit(), self.gauge.digits());
        let (words, level) = (self.gauge.words(self.value), self.level.word());
        write!(f, "{words} ({level} from {:.digits$}{unit})", self.threshold)
    }
}

/// What the guard tells everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// The level.
    pub level: GuardLevel,
    /// From 0 (nothing is held back) to 1 (emergency).
    pub value: f64,
    /// What decides it, unless it is normal.
    pub binds: Option<Binds>,
    /// A disk that is nearly full.
    pub low_disk: Option<LowDisk>,
    /// Emergencies since the start, the one that may be on included.
    pub emergencies: u64,
}

impl Pressure {
    /// How many of a provider's `slots` may be used.
    #[must_use]
    pub fn permits(&self, slots: u32) -> u32 {
        if self.level == GuardLevel::Emergency {
            return 0;
        }
        let kept = f64::from(slots) * (1.0 - MOST_WITHHELD * self.value.clamp(0.0, 1.0));
        (kept.round() as u32).clamp(1, slots.max(1))
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.word())?;
        let Some(Binds { gauge, value, .. }) = self.binds else { return Ok(()) };
        write!(f, ": {} ([guard] {})", gauge.words(value), gauge.setting())
    }
}

/// How long each level but the normal one has held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Throttled.
    pub throttled: Duration,
    /// On alert.
    pub alert: Duration,
    /// In an emergency.
    pub emergency: Duration,
}

impl Held {
    /// What has come since `before`.
    #[must_use]
    pub fn since(self, before: Held) -> Held {
        Held {
            throttled: self.throttled.saturating_sub(before.throttled),
            alert: self.alert.saturating_sub(before.alert),
            emergency: self.emergency.saturating_sub(before.emergency),
        }
    }

    fn add(&mut self, level: GuardLevel, time: Duration) {
        match level {
            GuardLevel::Normal => {}
            GuardLevel::Throttled => self.throttled += time,
            GuardLevel::Alert => self.alert += time,
            GuardLevel::Emergency => self.emergency += time,
        }
    }
}

/// One level of one gauge.
#[derive(Debug, Clone, Copy, Default)]
struct Latch {
    on: bool,
    low_since: Option<Duration>,
}

impl Latch {
    /// `enters` says whether the level may begin; it ends once `value` stayed under `exit` for
    /// `dwell`.
    fn update(&mut self, now: Duration, enters: bool, value: f64, exit: f64, dwell: Duration) {
        if enters {
            *self = Latch { on: true, low_since: None };
        } else if self.on && value < exit {
            let since = *self.low_since.get_or_insert(now);
            self.on = now.saturating_sub(since) < dwell;
        } else {
            self.low_since = None;
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct GaugeState {
    /// `None` before the first sample.
    smoothed: Option<f64>,
    throttled: Latch,
    alert: Latch,
    emergency: Latch,
    at_alert_since: Option<Duration>,
}

impl GaugeState {
    fn smooth(&mut self, raw: f64, passed: Duration, over: Duration, is_slow: bool) -> f64 {
        let weight =
            if over.is_zero() { 1.0 } else { 1.0 - (-passed.as_secs_f64() / over.as_secs_f64()).exp() };
        let before = self.smoothed.unwrap_or(if is_slow { 0.0 } else { raw });
        // Written so that rounding cannot leave the span between the two.
        let smoothed = before.mul_add(1.0 - weight, raw * weight);
        let (least, most) = if before < raw { (before, raw) } else { (raw, before) };
        let smoothed = smoothed.clamp(least, most);
        self.smoothed = Some(smoothed);
        smoothed
    }

    fn decide(&mut self, now: Duration, value: f64, at: &Thresholds, settings: &Settings) -> GuardLevel {
        let keep = 1.0 - settings.margin;
        let dwell = settings.dwell;
        if value >= at.alert {
            self.at_alert_since.get_or_insert(now);
        } else {
            self.at_alert_since = None;
        }
        let lasted =
            self.at_alert_since.is_some_and(|since| now.saturating_sub(since) >= settings.alert_after);
        self.throttled.update(now, value >= at.throttle, value, at.throttle * keep, dwell);
        self.alert.update(now, lasted, value, at.alert * keep, dwell);
        self.emergency.update(now, value >= at.emergency, value, at.emergency * keep, dwell);
        match (self.emergency.on, self.alert.on, self.throttled.on) {
            (true, ..) => GuardLevel::Emergency,
            (_, true, _) => GuardLevel::Alert,
            (.., true) => GuardLevel::Throttled,
            _ => GuardLevel::Normal,
        }
    }
}

impl Thresholds {
    fn of(&self, level: GuardLevel) -> f64 {
        match level {
            GuardLevel::Normal | GuardLevel::Throttled => self.throttle,
            GuardLevel::Alert => self.alert,
            GuardLevel::Emergency => self.emergency,
        }
    }

    /// How far `value` is from the first threshold to the last, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let span = self.emergency - self.throttle;
        if value < self.throttle {
            0.0
        } else if span <= 0.0 {
            1.0
        } else {
            ((value - self.throttle) / span).clamp(0.0, 1.0)
        }
    }
}

/// Turns samples into pressure, one after another.
#[derive(Debug, Clone)]
pub struct Watcher {
    settings: Settings,
    gauges: [GaugeState; GAUGES],
    last: Option<Duration>,
    pressure: Pressure,
    held: Held,
}

impl Watcher {
    /// A watcher that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Watcher {
        Watcher {
            settings,
            gauges: [GaugeState::default(); GAUGES],
            last: None,
            pressure: Pressure::default(),
            held: Held::default(),
        }
    }

    /// What it decided last.
    #[must_use]
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// How it decides.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long each level has held, up to `now`.
    #[must_use]
    pub fn held(&self, now: Duration) -> Held {
        let mut held = self.held;
        held.add(self.pressure.level, self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last)));
        held
    }

    /// Takes in a sample. `now` is since any fixed start and never goes back.
    pub fn observe(&mut self, now: Duration, readings: &Readings) -> &Pressure {
        let passed = self.last.map_or(self.settings.every, |last| now.saturating_sub(last));
        self.held = self.held(now);
        self.last = Some(now);
        let (mut level, mut value, mut binds) = (GuardLevel::Normal, 0.0_f64, None::<(f64, Binds)>);
        for gauge in Gauge::ALL {
            let Some(at) = self.settings.of(gauge) else { continue };
            let is_slow = gauge.is_slow();
            let over = if is_slow { self.settings.smoothing } else { self.settings.smoothing_memory };
            let raw = readings.gauge(gauge, &self.settings).unwrap_or(0.0);
            let state = &mut self.gauges[gauge as usize];
            let smoothed = state.smooth(raw, passed, over, is_slow);
            let own_level = state.decide(now, smoothed, &at, &self.settings);
            let share = match own_level {
                GuardLevel::Emergency => 1.0,
                GuardLevel::Alert => at.share(smoothed).max(at.share(at.alert)),
                _ => at.share(smoothed),
            };
            let binds_more =
                binds.as_ref().is_none_or(|(most, binding)| (own_level, share) > (binding.level, *most));
            if own_level > GuardLevel::Normal && binds_more {
                let threshold = at.of(own_level);
                binds = Some((share, Binds { gauge, value: smoothed, threshold, level: own_level }));
            }
            level = level.max(own_level);
            value = value.max(share);
        }
        let began = level == GuardLevel::Emergency && self.pressure.level < GuardLevel::Emergency;
        self.pressure = Pressure {
            level,
            value,
            binds: binds.map(|(_, binds)| binds),
            low_disk: LowDisk::find(&readings.disks, self.settings.disk_floor),
            emergencies: self.pressure.emergencies + u64::from(began),
        };
        &self.pressure
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests;
