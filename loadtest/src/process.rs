//! What the system knows of a process, and of the machine.

use serde::{Deserialize, Serialize};
use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// Processor time is told in hundredths of a second to programs, on every Linux.
const TICKS: f64 = 100.0;

/// How a process stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// The most that it was; where the system does not note it, what it is.
    pub(crate) peak_memory: u64,
    /// Processor time in seconds.
    pub(crate) cpu_s: f64,
    /// Threads, where the system tells.
    pub(crate) threads: Option<u64>,
    /// Open file handles, where the system tells.
    pub(crate) files: Option<u64>,
}

/// Reads a process; `None` once it is gone.
pub(crate) fn read(pid: u32) -> Option<Reading> {
    from_proc(pid).or_else(|| from_system(pid))
}

/// Whether this system tells of a process's threads and file handles.
pub(crate) fn tells_all() -> bool {
    read(std::process::id()).is_some_and(|reading| reading.threads.is_some() && reading.files.is_some())
}

fn from_proc(pid: u32) -> Option<Reading> {
    let folder = format!("/proc/{pid}");
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    let files = std::fs::read_dir(format!("{folder}/fd")).ok().map(|entries| entries.count() as u64);
    let memory = field(&status, "VmRSS:")? * 1024;
    Some(Reading {
        memory,
        peak_memory: field(&status, "VmHWM:").map_or(memory, |kib| kib * 1024),
        cpu_s: cpu_seconds(&stat)?,
        threads: field(&status, "Threads:"),
        files,
    })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th field; the second one is a name in brackets that may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn from_system(pid: u32) -> Option<Reading> {
    let (mut system, pid) = (System::new().ok()?, Pid::from_u32(pid));
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let process = system.process(pid)?;
    let memory = process.memory();
    let cpu_s = process.accumulated_cpu_time() as f64 / 1_000.0;
    Some(Reading { memory, peak_memory: memory, cpu_s, threads: None, files: None })
}

/// What a run was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: String,
    /// Processors that may be used.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// The system and its version.
    pub(crate) system: String,
    /// Tasks that ran or wanted to, over a minute, just before: above 0.5 something else was busy.
    pub(crate) load_before: f64,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn look() -> Machine {
        let what = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(what);
        let cpu =
            system.as_ref().ok().and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()));
        let name = System::long_os_version().unwrap_or_else(|_| "unknown".to_owned());
        let kernel = System::kernel_version().unwrap_or_default();
        Machine {
            cpu: cpu.filter(|cpu| !cpu.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: system.map_or(0, |system| system.total_memory()),
            system: format!("{name}, kernel {kernel}, {}", std::env::consts::ARCH),
            load_before: System::load_average().map_or(0.0, |load| load.one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_itself() {
        let reading = read(std::process::id()).unwrap();
        assert!(reading.memory > 0 && reading.peak_memory >= reading.memory);
        assert!(read(u32::MAX - 1).is_none());
    }

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }
}
