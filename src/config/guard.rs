//! `[guard]`: from what pressure on the machine runs are held back.

use std::time::Duration;

use empire_actors::guard::pressure::{GAUGES, Gauge, Settings, Thresholds};

use super::error::ConfigError;
use super::tree::{Field, Fields};

const HOUR: Duration = Duration::from_secs(3_600);
/// Tasks a core above which no system works.
const MOST_LOAD: f64 = 1_000.0;
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The guard of real runs, and what is different for simulated ones.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSetting {
    real: Settings,
    disk_floor_simulated: u64,
}

impl GuardSetting {
    /// How the guard of a run decides.
    #[must_use]
    pub fn settings(&self, simulated: bool) -> Settings {
        let disk_floor = if simulated { self.disk_floor_simulated } else { self.real.disk_floor };
        Settings { disk_floor, ..self.real.clone() }
    }
}

/// Reads the table.
pub(super) fn guard(root: &mut Fields) -> Result<GuardSetting, ConfigError> {
    let mut fields = root.need("guard", "add [guard] as in the shipped empire.toml")?.table()?;
    let mut thresholds = [None; GAUGES];
    for gauge in Gauge::ALL {
        let field = fields.need(gauge.setting(), "say where its levels begin, or \"none\"")?;
        thresholds[gauge as usize] = levels(field, gauge)?;
    }
    let mut time = |name, example: &str, most| {
        fields.need(name, &format!("say how long, like \"{example}\""))?.duration(most)
    };
    let every = time("sample_every", "1s", HOUR)?;
    let smoothing = time("smoothing", "20s", HOUR)?;
    let smoothing_memory = time("smoothing_memory", "2s", HOUR)?;
    let alert_after = time("alert_after", "5m", 24 * HOUR)?;
    let dwell = time("dwell", "5s", HOUR)?;
    let margin: f64 = fields.need("margin", "say how many percent, like 5")?.number(0.0..=50.0)?;
    let floor = "say how much is to be kept free, like \"10 GiB\"";
    let disk_floor = size(&fields.need("disk_floor", floor)?)?;
    let disk_floor_simulated = size(&fields.need("disk_floor_simulated", floor)?)?;
    let ceiling = fields.need("own_memory_ceiling", "say how much memory it may take, like \"4 GiB\"")?;
    let own_memory_ceiling = size(&ceiling)?;
    if own_memory_ceiling == 0 {
        return Err(ceiling.invalid("is no memory at all", "write own_memory = \"none\" to allow any"));
    }
    fields.finish()?;
    let real = Settings {
        every,
        smoothing,
        smoothing_memory,
        alert_after,
        margin: margin / 100.0,
        dwell,
        thresholds,
        own_memory_ceiling,
        disk_floor,
    };
    Ok(GuardSetting { real, disk_floor_simulated })
}

fn levels(field: Field, gauge: Gauge) -> Result<Option<Thresholds>, ConfigError> {
    if field.says_none() {
        return Ok(None);
    }
    let most = if gauge == Gauge::Load { MOST_LOAD } else { 100.0 };
    let mut fields = field.table()?;
    let mut level = |name| {
        let field = fields.need(name, "say where this level begins, like 85")?;
        Ok((field.number(0.0..=most)?, field))
    };
    let ((throttle, _), (alert, alert_field)) = (level("throttle")?, level("alert")?);
    let (emergency, emergency_field) = level("emergency")?;
    for (field, below, above) in [(alert_field, throttle, alert), (emergency_field, alert, emergency)] {
        if above < below {
            let problem = format!("is {above}, less than the level before it ({below})");
            return Err(field.invalid(problem, "throttle, alert and emergency go upwards"));
        }
    }
    fields.finish()?;
    Ok(Some(Thresholds { throttle, alert, emergency }))
}

/// A number of bytes, as `10 GiB`; `none` is 0.
fn size(field: &Field) -> Result<u64, ConfigError> {
    if field.says_none() {
        return Ok(0);
    }
    let text = field.text()?;
    let bytes = text.find(|c: char| !c.is_ascii_digit()).and_then(|end| {
        let (number, unit) = (text[..end].parse::<u64>().ok()?, text[end..].trim());
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        number.checked_mul(*factor)
    });
    bytes.ok_or_else(|| {
        field.invalid(
            format_args!("is {text:?}, which is no size"),
            "write a whole number and a unit (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB), like \"10 GiB\"",
        )
    })
}
