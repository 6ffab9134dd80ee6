//! What `doctor` tells of the machine: each reading, what it is measured against, and from where
//! on it holds a job back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use empire_actors::guard::pressure::{Gauge, LowDisk, Readings, Settings, Thresholds};
use serde::Serialize;
use sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;

use super::{Context, Finding, Health};
use crate::config::Config;
use crate::sampler::{Folders, MachineLimits, SystemSampler};
use crate::text;

/// The machine as the guard of a real run sees it.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    readings: Readings,
    limits: MachineLimits,
    thresholds: BTreeMap<Gauge, Thresholds>,
    disk_floor: u64,
    #[serde(skip)]
    settings: Settings,
}

impl Machine {
    pub(super) async fn look(context: &Context, config: &Config) -> Machine {
        let data = context.place.home.dir().to_owned();
        let sampler = SystemSampler::new(Folders { data, out: PathBuf::from(".") });
        // CPU is told between two looks.
        let _ = sampler.read();
        tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL * 2).await;
        let settings = config.guard.settings(false);
        let thresholds = Gauge::ALL.into_iter().filter_map(|gauge| Some((gauge, settings.of(gauge)?)));
        Machine {
            readings: sampler.read(),
            limits: sampler.limits(),
            thresholds: thresholds.collect(),
            disk_floor: settings.disk_floor,
            settings,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Gauge::ALL.into_iter().map(|gauge| self.gauge(gauge)).collect();
        findings.extend(self.disks());
        findings
    }

    fn gauge(&self, gauge: Gauge) -> Finding {
        let what = name(gauge);
        let Some(value) = self.readings.gauge(gauge, &self.settings) else {
            return Finding::good(what, "not told by this system, so it holds nothing back");
        };
        let mut found = format!("{}{}", shown(gauge, value), self.against(gauge));
        let Some(at) = self.settings.of(gauge) else {
            return Finding::good(what, found + "; not watched");
        };
        let unit = gauge.unit();
        found += &format!(
            "; throttled from {}{unit}, alert {}, emergency {}",
            at.throttle, at.alert, at.emergency
        );
        if value < at.throttle {
            return Finding::good(what, found);
        }
        let setting = gauge.setting();
        let todo = format!(
            "close what presses the machine, or a job is held back; {setting} under [guard] in empire.toml says from where on"
        );
        Finding::other(what, Health::Attention, found, todo)
    }

    /// What the reading is a part of, and whose limit that is.
    fn against(&self, gauge: Gauge) -> String {
        let MachineLimits { cores, memory, open_files } = &self.limits;
        match gauge {
            Gauge::Cpu => format!(" of {} cores ({})", cores.amount, cores.whose.word()),
            Gauge::Memory => memory.map_or(String::new(), |memory| {
                format!(" of {} ({})", text::bytes(memory.amount), memory.whose.word())
            }),
            Gauge::OwnMemory => format!(" of {}", text::bytes(self.settings.own_memory_ceiling)),
            Gauge::OpenFiles => {
                open_files.map_or(String::new(), |limit| format!(" of {}", text::thousands(limit)))
            }
            Gauge::Load | Gauge::MemorySome | Gauge::MemoryFull => String::new(),
        }
    }

    fn disks(&self) -> Vec<Finding> {
        let floor = self.disk_floor;
        let disk = |disk| {
            let low = LowDisk::find(std::slice::from_ref(disk), floor);
            let found = format!("{} free; {} are kept free", text::bytes(disk.free), text::bytes(floor));
            let what = match &*disk.what {
                "output folder" => "disk of this folder".to_owned(),
                what => format!("disk of the {what}"),
            };
            match low {
                None => Finding::good(what, found),
                Some(_) => {
                    let todo = "free some space, or lower disk_floor under [guard] in empire.toml: no job starts there, except with --sim";
                    Finding::other(&what, Health::Attention, found, todo)
                }
            }
        };
        self.readings.disks.iter().map(disk).collect()
    }
}

fn name(gauge: Gauge) -> &'static str {
    match gauge {
        Gauge::Cpu => "CPU",
        Gauge::Load => "load",
        Gauge::Memory => "memory",
        Gauge::MemorySome => "some wait for memory",
        Gauge::MemoryFull => "all wait for memory",
        Gauge::OwnMemory => "own memory",
        Gauge::OpenFiles => "open files",
    }
}

fn shown(gauge: Gauge, value: f64) -> String {
    let digits = if gauge == Gauge::Load { 2 } else { 1 };
    format!("{value:.digits$}{}", gauge.unit())
}
