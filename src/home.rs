//! The data folder: where it is, that it can be used, and who is using it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variable that names the data folder.
pub const HOME_VARIABLE: &str = "EMPIRE_HOME";

const LOCK_FILE: &str = "lock";
const SIMULATED_FOLDER: &str = "sim";

/// How often to wait for a lock whose holder says who it is, and for one that somebody has for a
/// moment, and how long each time.
const SIGNED_PAUSES: u32 = 5;
const UNSIGNED_PAUSES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing says where it is.
    #[error("no data folder: set --data-dir or {HOME_VARIABLE} (the default needs HOME, which is not set)")]
    Unset,
    /// Something else is in its place.
    #[error("the data folder {} is not a folder: move that file away, or choose another --data-dir", path.display())]
    NotAFolder {
        /// The data folder, or the part of its path that is no folder.
        path: PathBuf,
    },
    /// It is there but cannot be written to.
    #[error(
        "the data folder {} cannot be written to ({source}): make it writable, or choose another --data-dir",
        path.display()
    )]
    NotWritable {
        /// The data folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full.
    #[error("no space is left for the data folder {}: free some space, or choose another --data-dir", path.display())]
    NoSpace {
        /// The data folder.
        path: PathBuf,
    },
    /// Another run holds it.
    #[error(
        "the data folder {} is in use by another run{}: wait for it, stop it with `empire swarm pause`, or choose another --data-dir",
        path.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// The process that holds it, if it has said so.
        pid: Option<u32>,
    },
    /// Anything else.
    #[error("the data folder {} cannot be used: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HomeError {
    fn from_io(path: &Path, source: io::Error) -> HomeError {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => HomeError::NotAFolder { path },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                HomeError::NotWritable { path, source }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => HomeError::NoSpace { path },
            _ => HomeError::Io { path, source },
        }
    }
}

/// A data folder that exists and can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// The data folder: `flag` (`--data-dir`), else `EMPIRE_HOME`, else `~/.empire`. It is
    /// created, for its owner alone, if it is not there. `env` looks up environment variables;
    /// an empty value counts as unset.
    ///
    /// # Errors
    /// If nothing says where it is, or it cannot be created or written to.
    pub fn resolve(flag: Option<PathBuf>, env: impl Fn(&str) -> Option<OsString>) -> Result<Home, HomeError> {
        let variable = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = flag
            .or_else(|| variable(HOME_VARIABLE))
            .or_else(|| variable("HOME").map(|home| home.join(".empire")))
            .ok_or(HomeError::Unset)?;
        let dir = std::path::absolute(&dir).map_err(|source| HomeError::Io { path: dir, source })?;
        Home::prepare(dir)
    }

    /// The data folder of simulated runs: wholly apart, so that simulated money and results never
    /// mix with real ones.
    ///
    /// # Errors
    /// If it cannot be created or written to.
    pub fn simulated(&self) -> Result<Home, HomeError> {
        Home::prepare(self.dir.join(SIMULATED_FOLDER))
    }

    fn prepare(dir: PathBuf) -> Result<Home, HomeError> {
        create_private_folder(&dir).map_err(|source| HomeError::from_io(&dir, source))?;
        if !dir.is_dir() {
            return Err(HomeError::NotAFolder { path: dir });
        }
        probe(&dir).map_err(|source| HomeError::from_io(&dir, source))?;
        Ok(Home { dir })
    }

    /// Where it is: an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the folder for this process until the lock is dropped. A process that dies lets go
    /// of it, however it dies.
    ///
    /// # Errors
    /// [`HomeError::InUse`] with the process that holds it, or why there is no telling.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let mut lock = self.lock_unsigned()?;
        let file = &mut lock.file;
        let signed = file.rewind().and_then(|()| writeln!(file, "{}", std::process::id()));
        signed.map_err(|source| HomeError::from_io(&self.dir, source))?;
        Ok(lock)
    }

    /// As [`lock`](Self::lock), for a moment's work: whoever wants the folder meanwhile waits.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[expect(clippy::disallowed_methods, reason = "taken before anything runs; mostly at once")]
    pub(crate) fn lock_unsigned(&self) -> Result<HomeLock, HomeError> {
        let failed = |source| HomeError::from_io(&self.dir, source);
        let mut file = self.lock_file()?;
        let mut pauses = 0;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    // A process that was killed has left its number.
                    file.set_len(0).map_err(failed)?;
                    return Ok(HomeLock { file, dir: self.dir.clone() });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            let mut text = String::new();
            let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            // Who holds it without a name looks at it or prepares it, and is done soon.
            let most = if pid.is_some() { SIGNED_PAUSES } else { UNSIGNED_PAUSES };
            if pauses >= most {
                return Err(HomeError::InUse { path: self.dir.clone(), pid });
            }
            pauses += 1;
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Whether a run holds the folder now.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn is_locked(&self) -> Result<bool, HomeError> {
        match self.lock_file()?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(HomeError::from_io(&self.dir, source)),
        }
    }

    /// The process that holds the folder now, if one does and says which.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn locked_by(&self) -> Result<Option<u32>, HomeError> {
        let mut file = self.lock_file()?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                Ok(file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok()))
            }
            Err(TryLockError::Error(source)) => Err(HomeError::from_io(&self.dir, source)),
        }
    }

    fn lock_file(&self) -> Result<File, HomeError> {
        let path = self.dir.join(LOCK_FILE);
        open_private_file(&path).map_err(|source| match source.kind() {
            ErrorKind::IsADirectory => HomeError::Io { path, source },
            _ => HomeError::from_io(&self.dir, source),
        })
    }
}

/// The data folder is this process's, until this is dropped.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
    dir: PathBuf,
}

impl HomeLock {
    /// The locked folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // The lock itself goes with the file; a stale process number would only confuse.
        let _ = self.file.set_len(0);
    }
}

fn create_private_folder(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Opens a file for reading and writing; a new one is its owner's alone.
pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes and removes a small file: permissions alone do not tell (read-only mounts, quotas,
/// full disks).
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let written = open_private_file(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_data()
    });
    let removed = fs::remove_file(&path);
    written?;
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home_in(dir: &Path) -> Home {
        Home::resolve(Some(dir.to_owned()), |_| None).unwrap()
    }

    #[test]
    fn flag_goes_before_variable_before_default() {
        let temp = tempfile::tempdir().unwrap();
        let [flag, variable, home] = ["flag", "variable", "home"].map(|name| temp.path().join(name));
        let env = |set: &'static [&'static str]| {
            let (variable, home) = (variable.clone(), home.clone());
            move |name: &str| match name {
                _ if !set.contains(&name) => Some(OsString::new()),
                HOME_VARIABLE => Some(variable.clone().into_os_string()),
                "HOME" => Some(home.clone().into_os_string()),
                _ => None,
            }
        };
        let both = env(&[HOME_VARIABLE, "HOME"]);
        assert_eq!(Home::resolve(Some(flag.clone()), &both).unwrap().dir(), flag);
        assert_eq!(Home::resolve(None, &both).unwrap().dir(), variable);
        assert_eq!(Home::resolve(None, env(&["HOME"])).unwrap().dir(), home.join(".empire"));
        assert!(matches!(Home::resolve(None, env(&[])), Err(HomeError::Unset)));
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let home = home_in(&temp.path().join("a/b"));
        let _lock = home.lock().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.dir()), 0o700);
        assert_eq!(mode(&home.dir().join(LOCK_FILE)), 0o600);
        assert_eq!(mode(home.simulated().unwrap().dir()), 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "x").unwrap();
        for wanted in [path.clone(), path.join("below")] {
            let error = Home::resolve(Some(wanted.clone()), |_| None).unwrap_err();
            assert!(matches!(error, HomeError::NotAFolder { .. }), "{error}");
            assert!(error.to_string().contains(wanted.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn one_run_at_a_time_and_the_other_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let home = home_in(temp.path());
        assert!(!home.is_locked().unwrap());
        let lock = home.lock().unwrap();
        assert!(home.is_locked().unwrap());
        assert_eq!(home.locked_by().unwrap(), Some(std::process::id()));
        let error = home.lock().unwrap_err();
        assert!(matches!(error, HomeError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(!home.simulated().unwrap().is_locked().unwrap());
        drop(lock);
        assert!(!home.is_locked().unwrap());
        home.lock().unwrap();
    }
}
