//! This process, as the conventions of Prometheus name it.

use empire_actors::guard::pressure::Readings;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::page::Page;

pub(super) struct OwnProcess(Option<(System, Pid)>);

impl OwnProcess {
    pub(super) fn new() -> OwnProcess {
        OwnProcess(System::new().ok().zip(sysinfo::get_current_pid().ok()))
    }

    /// What the system tells now; file handles as the guard's last sample has them.
    pub(super) fn show(&mut self, readings: &Readings, page: &mut Page) {
        let (open, limit) = readings.open_files.unzip();
        page.one("process_open_fds", open.map(|open| open as f64));
        page.one("process_max_fds", limit.map(|limit| limit as f64));
        let Some((system, pid)) = &mut self.0 else { return };
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[*pid]), false, what);
        let Some(process) = system.process(*pid) else { return };
        page.one("process_cpu_seconds_total", Some(process.accumulated_cpu_time() as f64 / 1_000.0));
        page.one("process_resident_memory_bytes", Some(process.memory() as f64));
        page.one("process_virtual_memory_bytes", Some(process.virtual_memory() as f64));
        page.one("process_start_time_seconds", Some(process.start_time() as f64));
    }
}
