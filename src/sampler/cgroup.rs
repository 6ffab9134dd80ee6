//! The limits of a Linux container: control groups, version 2 and, where it is simple, 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the system shows control groups, and what it says of this process.
const ROOT: &str = "/sys/fs/cgroup";
const OWN: &str = "/proc/self/cgroup";
const HOST_STALLS: &str = "/proc/pressure/memory";

/// What this process is held to, with where to read it.
#[derive(Debug, Default)]
pub(super) struct Container {
    memory: Vec<MemoryLimit>,
    cpu: Option<CpuLimit>,
    stalls: Option<PathBuf>,
}

/// A group with a limit on memory; every group above it may have one, too.
#[derive(Debug, PartialEq, Eq)]
struct MemoryLimit {
    limit: PathBuf,
    used: PathBuf,
    stat: PathBuf,
    /// The line of `stat` with what can be taken back at once: files that nobody has read lately.
    spare: &'static str,
}

#[derive(Debug, PartialEq)]
struct CpuLimit {
    cores: f64,
    used: CpuUsed,
    /// Nanoseconds used by the last sample.
    last: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum CpuUsed {
    /// `cpu.stat` of version 2, in microseconds.
    V2(PathBuf),
    /// `cpuacct.usage` of version 1, in nanoseconds.
    V1(PathBuf),
}

impl Container {
    /// Looks for limits below those of the host, which has `host_memory` bytes.
    pub(super) fn find(host_memory: u64) -> Container {
        let own = fs::read_to_string(OWN).unwrap_or_default();
        Container::find_in(Path::new(ROOT), &own, host_memory)
    }

    fn find_in(root: &Path, own: &str, host_memory: u64) -> Container {
        let mut container = Container::default();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let has = |name| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                container.find_v2(root, path, host_memory);
            } else if has("memory") {
                container.find_memory_v1(&root.join("memory"), path, host_memory);
            } else if has("cpu") {
                container.find_cpu_v1(root, path);
            }
        }
        container
    }

    fn find_v2(&mut self, root: &Path, path: &str, host_memory: u64) {
        for group in groups(root, path) {
            let (limit, used) = (group.join("memory.max"), group.join("memory.current"));
            if number(&limit).is_some_and(|limit| limit < host_memory) && number(&used).is_some() {
                let stat = group.join("memory.stat");
                self.memory.push(MemoryLimit { limit, used, stat, spare: "inactive_file" });
                self.stalls.get_or_insert(group.join("memory.pressure"));
            }
            let quota = fs::read_to_string(group.join("cpu.max")).ok().and_then(|text| cores_v2(&text));
            self.limit_cpu(quota, CpuUsed::V2(group.join("cpu.stat")));
        }
    }

    fn find_memory_v1(&mut self, root: &Path, path: &str, host_memory: u64) {
        for group in groups(root, path) {
            let (limit, used) = (group.join("memory.limit_in_bytes"), group.join("memory.usage_in_bytes"));
            // Without a limit there stands a number larger than any memory.
            if number(&limit).is_some_and(|limit| limit < host_memory) && number(&used).is_some() {
                let stat = group.join("memory.stat");
                self.memory.push(MemoryLimit { limit, used, stat, spare: "total_inactive_file" });
            }
        }
    }

    fn find_cpu_v1(&mut self, root: &Path, path: &str) {
        let (groups, used) = (groups(&root.join("cpu"), path), groups(&root.join("cpuacct"), path));
        if groups.len() != used.len() {
            return; // What is used is not told of the same groups.
        }
        for (group, used) in groups.into_iter().zip(used) {
            let quota = number(&group.join("cpu.cfs_quota_us")).zip(number(&group.join("cpu.cfs_period_us")));
            let cores =
                quota.filter(|(_, period)| *period > 0).map(|(quota, period)| quota as f64 / period as f64);
            self.limit_cpu(cores, CpuUsed::V1(used.join("cpuacct.usage")));
        }
    }

    /// The tightest limit counts.
    fn limit_cpu(&mut self, cores: Option<f64>, used: CpuUsed) {
        let Some(cores) = cores.filter(|cores| *cores > 0.0) else { return };
        let is_tighter = self.cpu.as_ref().is_none_or(|other| cores < other.cores);
        if is_tighter && used.nanos().is_some() {
            self.cpu = Some(CpuLimit { cores, used, last: None });
        }
    }

    /// How many processors the container may use, if it has a limit.
    pub(super) fn cores(&self) -> Option<f64> {
        self.cpu.as_ref().map(|cpu| cpu.cores)
    }

    /// Percent of that used since the last call, `passed` ago.
    pub(super) fn cpu_percent(&mut self, passed: Option<Duration>) -> Option<f64> {
        let cpu = self.cpu.as_mut()?;
        let now = cpu.used.nanos()?;
        let used = now.saturating_sub(cpu.last.replace(now)?);
        let passed = passed.filter(|passed| !passed.is_zero())?.as_nanos() as f64;
        Some(used as f64 * 100.0 / (passed * cpu.cores))
    }

    /// Bytes used and allowed, of the group that is nearest its limit.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        let share = |(used, limit): &(u64, u64)| *used as f64 / (*limit).max(1) as f64;
        let groups = self.memory.iter().filter_map(MemoryLimit::read);
        groups.max_by(|a, b| share(a).total_cmp(&share(b)))
    }

    /// Percent of the last ten seconds in which some, and all, tasks waited for memory.
    pub(super) fn stalls(&self) -> (Option<f64>, Option<f64>) {
        let path = self.stalls.as_deref().filter(|path| path.is_file()).unwrap_or(Path::new(HOST_STALLS));
        let text = fs::read_to_string(path).unwrap_or_default();
        (stall(&text, "some"), stall(&text, "full"))
    }
}

impl MemoryLimit {
    fn read(&self) -> Option<(u64, u64)> {
        let (used, limit) = (number(&self.used)?, number(&self.limit)?);
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let spare = entry(&stat, self.spare).unwrap_or(0);
        Some((used.saturating_sub(spare), limit))
    }
}

impl CpuUsed {
    fn nanos(&self) -> Option<u64> {
        match self {
            CpuUsed::V2(stat) => entry(&fs::read_to_string(stat).ok()?, "usage_usec")?.checked_mul(1_000),
            CpuUsed::V1(usage) => number(usage),
        }
    }
}

/// The folders of a group and of all above it. A container may see its own group as the root,
/// whatever path the host knows it by: then that path is not there, and the root alone counts.
fn groups(root: &Path, path: &str) -> Vec<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let own = root.join(path);
    if !plain || !own.is_dir() {
        return vec![root.to_owned()];
    }
    own.ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned).collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `name` at the start of a line.
fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `cpu.max`: quota and period in microseconds, or `max`.
fn cores_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// `avg10` of the line that begins with `kind`.
fn stall(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10=")?.parse().ok())
}

/// The numbers of a list such as `0-3,8`.
pub(super) fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No system has as many, so that a list gone wrong stays small.
        cores.extend(first..=last.min(first.saturating_add(8_191)));
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const HOST: u64 = 64 << 30;

    fn write(root: &TempDir, path: &str, text: &str) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_container_of_version_2_that_sees_itself_as_the_root() {
        let root = TempDir::new().unwrap();
        write(&root, "memory.max", "536870912\n");
        write(&root, "memory.current", "402653184\n");
        write(&root, "memory.stat", "anon 1\ninactive_file 134217728\nactive_file 5\n");
        write(
            &root,
            "memory.pressure",
            "some avg10=12.50 avg60=1.00 avg300=0 total=9\nfull avg10=3.00 avg60=0 avg300=0 total=1\n",
        );
        write(&root, "cpu.max", "50000 100000\n");
        write(&root, "cpu.stat", "usage_usec 1000000\nuser_usec 1\n");
        let mut container = Container::find_in(root.path(), "0::/system.slice/of-the-host\n", HOST);
        assert_eq!(container.memory(), Some((256 << 20, 512 << 20)));
        assert_eq!(container.stalls(), (Some(12.5), Some(3.0)));
        assert_eq!(container.cores(), Some(0.5));
        assert_eq!(container.cpu_percent(None), None);
        write(&root, "cpu.stat", "usage_usec 1250000\n");
        assert_eq!(container.cpu_percent(Some(Duration::from_secs(1))), Some(50.0));
    }

    #[test]
    fn limits_of_all_groups_above_count_and_the_tightest_binds() {
        let root = TempDir::new().unwrap();
        for (group, limit, used, quota) in
            [("a", "1000", "900", "400000"), ("a/b", "max", "800", "max"), ("a/b/c", "5000", "700", "100000")]
        {
            write(&root, &format!("{group}/memory.max"), limit);
            write(&root, &format!("{group}/memory.current"), used);
            write(&root, &format!("{group}/cpu.max"), &format!("{quota} 100000"));
            write(&root, &format!("{group}/cpu.stat"), "usage_usec 1");
        }
        let container = Container::find_in(root.path(), "0::/a/b/c\n", HOST);
        assert_eq!(container.memory(), Some((900, 1000)));
        assert_eq!(container.cores(), Some(1.0));
    }

    #[test]
    fn a_container_of_version_1() {
        let root = TempDir::new().unwrap();
        write(&root, "memory/docker/x/memory.limit_in_bytes", "2000");
        write(&root, "memory/docker/x/memory.usage_in_bytes", "1500");
        write(&root, "memory/docker/x/memory.stat", "cache 9\ntotal_inactive_file 500\n");
        write(&root, "memory/memory.limit_in_bytes", "9223372036854771712");
        write(&root, "memory/memory.usage_in_bytes", "77");
        write(&root, "cpu/docker/x/cpu.cfs_quota_us", "150000");
        write(&root, "cpu/docker/x/cpu.cfs_period_us", "100000");
        write(&root, "cpu/cpu.cfs_quota_us", "-1");
        write(&root, "cpu/cpu.cfs_period_us", "100000");
        write(&root, "cpuacct/docker/x/cpuacct.usage", "3000000000");
        let own = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n";
        let mut container = Container::find_in(root.path(), own, HOST);
        assert_eq!(container.memory(), Some((1000, 2000)));
        assert_eq!(container.cores(), Some(1.5));
        container.cpu_percent(None);
        write(&root, "cpuacct/docker/x/cpuacct.usage", "4500000000");
        assert_eq!(container.cpu_percent(Some(Duration::from_secs(2))), Some(50.0));
    }

    #[test]
    fn without_limits_the_host_counts() {
        let root = TempDir::new().unwrap();
        write(&root, "memory.max", "max");
        write(&root, "memory.current", "5");
        write(&root, "cpu.max", "max 100000");
        for own in ["0::/\n", "0::/../..\n", "", "nonsense", "1:memory:/x\n2:cpu:/x\n"] {
            let container = Container::find_in(root.path(), own, HOST);
            assert_eq!((container.memory(), container.cores()), (None, None), "{own}");
        }
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(core_list("\t0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(core_list("5"), Some(vec![5]));
        assert_eq!(core_list("x-3"), None);
    }
}
