//! Reads how the machine is: what a container may use where there is one, else the host.
//!
//! A sample must stay far below 0.5 % of a core, so that only what is shown is refreshed, and what
//! cannot change is read once.

#[cfg(target_os = "linux")]
mod cgroup;
mod disk;

use std::path::PathBuf;
use std::sync::Arc;

use empire_actors::guard::pressure::{Disk, Readings};
use empire_actors::ports::Sampler;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use sysinfo::{
    CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, Pid, Process, ProcessRefreshKind,
    ProcessesToUpdate, System,
};
use tokio::time::Instant;

/// The folders whose disks are watched. They need not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The data folder.
    pub data: PathBuf,
    /// The output folder.
    pub out: PathBuf,
}

impl Folders {
    /// What is free on their disks. A disk that does not tell is left out.
    #[must_use]
    pub fn disks(&self) -> Vec<Disk> {
        let both = [("data folder", &self.data), ("output folder", &self.out)];
        let disk = |(what, folder): (&str, &PathBuf)| {
            let free = disk::free(folder)?;
            Some(Disk { what: what.into(), folder: folder.display().to_string().into(), free })
        };
        both.into_iter().filter_map(disk).collect()
    }
}

/// Whose limit a reading is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The machine's.
    Host,
    /// The container's.
    Container,
}

impl Whose {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Whose::Host => "host",
            Whose::Container => "container",
        }
    }
}

/// How much may be used, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allowed<T> {
    /// How much.
    pub amount: T,
    /// By whose limit.
    pub whose: Whose,
}

/// What may be used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineLimits {
    /// Processors.
    pub cores: Allowed<f64>,
    /// Bytes of memory.
    pub memory: Option<Allowed<u64>>,
    /// File handles.
    pub open_files: Option<u64>,
}

/// Reads the real machine.
#[derive(Clone)]
pub struct SystemSampler {
    machine: Arc<Mutex<Machine>>,
}

impl std::fmt::Debug for SystemSampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemSampler")
    }
}

impl SystemSampler {
    /// A sampler that watches the disks of `folders`.
    #[must_use]
    pub fn new(folders: Folders) -> SystemSampler {
        SystemSampler { machine: Arc::new(Mutex::new(Machine::new(folders))) }
    }

    /// One sample. The first tells no CPU: that takes two, some time apart.
    #[must_use]
    pub fn read(&self) -> Readings {
        self.machine.lock().read()
    }

    /// What the readings are measured against.
    #[must_use]
    pub fn limits(&self) -> MachineLimits {
        self.machine.lock().limits()
    }
}

impl Sampler for SystemSampler {
    #[expect(clippy::disallowed_methods, reason = "one at a time: the guard waits for each")]
    fn sample(&self) -> BoxFuture<'_, Readings> {
        // A disk of the network may keep a thread waiting: not one of the runtime's own.
        let machine = self.machine.clone();
        let reading =
            tokio::task::spawn_blocking(move || machine.try_lock().map(|mut machine| machine.read()));
        Box::pin(async move { reading.await.ok().flatten().unwrap_or_default() })
    }
}

struct Machine {
    folders: Folders,
    /// `None` where the system does not tell.
    system: Option<System>,
    pid: Option<Pid>,
    cpu_read_at: Option<Instant>,
    /// The processors that this process may run on, if not all.
    own_cores: Option<Vec<usize>>,
    open_files_limit: Option<u64>,
    #[cfg(target_os = "linux")]
    container: cgroup::Container,
}

impl Machine {
    fn new(folders: Folders) -> Machine {
        let mut system = System::new().ok();
        let pid = sysinfo::get_current_pid().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_list(CpuRefreshKind::nothing().with_usage());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        }
        let mut machine = Machine {
            folders,
            pid,
            cpu_read_at: None,
            own_cores: own_cores(system.as_ref().map_or(0, |system| system.cpus().len())),
            open_files_limit: None,
            #[cfg(target_os = "linux")]
            container: cgroup::Container::find(system.as_ref().map_or(u64::MAX, System::total_memory)),
            system,
        };
        machine.refresh_process();
        let limit = machine.process().and_then(Process::open_files_limit);
        machine.open_files_limit = limit.map(|limit| limit as u64).filter(|limit| *limit > 0);
        machine
    }

    fn refresh_process(&mut self) {
        if let (Some(system), Some(pid)) = (&mut self.system, self.pid) {
            let what = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        }
    }

    fn process(&self) -> Option<&Process> {
        self.system.as_ref()?.process(self.pid?)
    }

    fn read(&mut self) -> Readings {
        self.refresh_process();
        let process = self.process();
        let own_memory = process.map(Process::memory);
        let open = process.and_then(Process::open_files);
        let open_files = open.map(|open| open as u64).zip(self.open_files_limit);
        let (memory_some, memory_full) = self.stalls();
        Readings {
            cpu: self.cpu(),
            load: self.load(),
            memory: self.memory(),
            memory_some,
            memory_full,
            own_memory,
            open_files,
            disks: self.folders.disks(),
        }
    }

    /// Percent of what may be used since the last sample.
    fn cpu(&mut self) -> Option<f64> {
        let before = self.cpu_read_at;
        let passed = before.map(|before| before.elapsed());
        if passed.is_some_and(|passed| passed < MINIMUM_CPU_UPDATE_INTERVAL) {
            return None;
        }
        self.cpu_read_at = Some(Instant::now());
        #[cfg(target_os = "linux")]
        if self.container.cores().is_some() {
            return self.container.cpu_percent(passed);
        }
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        passed?;
        let Some(own) = &self.own_cores else { return Some(f64::from(system.global_cpu_usage())) };
        let used = own.iter().filter_map(|core| system.cpus().get(*core)).map(|core| f64::from(core.usage()));
        Some(used.sum::<f64>() / own.len().max(1) as f64)
    }

    /// The system counts the tasks of the whole host, so they are divided by all of its cores.
    fn load(&self) -> Option<f64> {
        let cores = self.system.as_ref()?.cpus().len();
        let load = System::load_average().ok()?;
        (cores > 0 && load.one.is_finite()).then(|| load.one / cores as f64)
    }

    fn memory(&mut self) -> Option<f64> {
        #[cfg(target_os = "linux")]
        if let Some((used, limit)) = self.container.memory() {
            return Some(used as f64 * 100.0 / limit as f64);
        }
        let system = self.system.as_mut()?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let (total, available) = (system.total_memory(), system.available_memory());
        (total > 0).then(|| total.saturating_sub(available) as f64 * 100.0 / total as f64)
    }

    fn stalls(&self) -> (Option<f64>, Option<f64>) {
        #[cfg(target_os = "linux")]
        return self.container.stalls();
        #[cfg(not(target_os = "linux"))]
        (None, None)
    }

    fn limits(&self) -> MachineLimits {
        #[cfg(target_os = "linux")]
        let (cores, memory) = (self.container.cores(), self.container.memory().map(|(_, limit)| limit));
        #[cfg(not(target_os = "linux"))]
        let (cores, memory) = (None, None);
        let cores = cores.or(self.own_cores.as_ref().map(|own| own.len() as f64));
        let system = self.system.as_ref();
        let on_host = system.map_or(0, |system| system.cpus().len()) as f64;
        MachineLimits {
            cores: Allowed::or_hosts(cores, Some(on_host))
                .unwrap_or(Allowed { amount: 0.0, whose: Whose::Host }),
            memory: Allowed::or_hosts(memory, system.map(System::total_memory)),
            open_files: self.open_files_limit,
        }
    }
}

impl<T> Allowed<T> {
    fn or_hosts(container: Option<T>, host: Option<T>) -> Option<Allowed<T>> {
        let of = |whose| move |amount| Allowed { amount, whose };
        container.map(of(Whose::Container)).or(host.map(of(Whose::Host)))
    }
}

/// The processors that this process is held to, if they are fewer than `in_all`.
#[cfg(target_os = "linux")]
fn own_cores(in_all: usize) -> Option<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let cores: Vec<usize> = cgroup::core_list(list)?.into_iter().filter(|core| *core < in_all).collect();
    (!cores.is_empty() && cores.len() < in_all).then_some(cores)
}

#[cfg(not(target_os = "linux"))]
fn own_cores(_: usize) -> Option<Vec<usize>> {
    None
}

#[cfg(test)]
mod tests;
