//! What is free on a disk.

use std::path::Path;

/// Bytes that this user may still write to the disk that holds `folder`, or will hold it once it
/// is made.
pub(super) fn free(folder: &Path) -> Option<u64> {
    // A relative folder ends in the empty path, which stands for the one that we are in.
    let folder = std::path::absolute(folder).ok()?;
    let there = folder.ancestors().find(|part| part.try_exists().unwrap_or(false))?;
    free_at(there)
}

#[cfg(unix)]
fn free_at(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    // What has no blocks at all is no disk; whoever writes there finds out why not.
    let is_disk = disk.f_blocks > 0;
    disk.f_bavail.checked_mul(disk.f_frsize).filter(|_| is_disk)
}

#[cfg(not(unix))]
fn free_at(folder: &Path) -> Option<u64> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let holds = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    let disk = holds.max_by_key(|disk| disk.mount_point().as_os_str().len())?;
    Some(disk.available_space())
}
