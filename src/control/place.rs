//! Where the API of a data folder is found: the socket, the file that says where it is, and the
//! token.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::home::open_private_file;

/// Where the API is, written by who serves it.
const PLACE_FILE: &str = "control.json";
/// The socket.
const SOCKET: &str = "control.sock";
/// What is shown over TCP.
pub const TOKEN_FILE: &str = "control.token";
/// Longer paths are no socket's: Linux takes 107 bytes, macOS 103.
#[cfg(unix)]
const LONGEST_SOCKET: usize = 100;
/// Larger files were not written by us.
const LARGEST: u64 = 4_096;

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Whose it is.
    pub(super) process: u32,
    /// Its socket.
    pub(super) socket: Option<PathBuf>,
    /// Where it listens beside that.
    pub(super) address: Option<SocketAddr>,
}

impl Reached {
    /// What was written last; who wrote it may be dead.
    pub(super) fn read(dir: &Path) -> Option<Reached> {
        let path = dir.join(PLACE_FILE);
        let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= LARGEST);
        let text = fs::read(path).ok().filter(|_| is_small)?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let draft = dir.join(format!("{PLACE_FILE}.new"));
        let mut file = open_private_file(&draft)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(draft, dir.join(PLACE_FILE))
    }

    /// Takes the socket away. The file that says where it was stays: whoever reads it looks at the
    /// lock first, and on a full disk the little room that it had would let the last writes of a run
    /// go through by half.
    pub(super) fn remove(&self, dir: &Path) {
        // Whoever serves next has written its own.
        if let Some(socket) = self.socket.as_ref().filter(|_| Reached::read(dir).as_ref() == Some(self)) {
            let _ = fs::remove_file(socket);
        }
    }
}

/// Where the socket of the data folder `dir` is: in it, or, if that path is too long for a socket,
/// in a folder of the same owner alone in `runtime` or in the system's folder for such things.
#[cfg(unix)]
pub(super) fn socket_path(dir: &Path, runtime: Option<PathBuf>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    let usual = dir.join(SOCKET);
    if usual.as_os_str().len() <= LONGEST_SOCKET {
        return Ok(usual);
    }
    let owner = fs::metadata(dir)?.uid();
    let runtime = runtime.filter(|dir| dir.is_absolute() && dir.as_os_str().len() <= LONGEST_SOCKET / 2);
    let folder = runtime
        .map_or_else(|| PathBuf::from(format!("/tmp/empire-{owner}")), |runtime| runtime.join("empire"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Anybody may have made it before us.
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
        let why = format!("{} is not a folder of this user alone: remove it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let name = blake3::hash(dir.as_os_str().as_bytes()).to_hex();
    Ok(folder.join(format!("{}.sock", &name[..16])))
}

/// The token of the data folder; made if there is none.
pub(super) fn token(dir: &Path) -> io::Result<SecretString> {
    if let Some(token) = read_token(dir) {
        return Ok(token);
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = SecretString::from(token);
    let mut file = open_private_file(&dir.join(TOKEN_FILE))?;
    file.set_len(0)?;
    writeln!(file, "{}", token.expose_secret())?;
    Ok(token)
}

/// The token that is there, if one is.
pub(super) fn read_token(dir: &Path) -> Option<SecretString> {
    let path = dir.join(TOKEN_FILE);
    let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= LARGEST);
    let text = SecretString::from(fs::read_to_string(path).ok().filter(|_| is_small)?);
    let token = text.expose_secret().trim();
    // A short one was not made by us.
    (token.len() >= 32).then(|| SecretString::from(token))
}

/// Who runs this process, for the journal.
#[must_use]
pub fn owners_name() -> String {
    let said = |name: &str| crate::config::system_env(name).filter(|value| !value.is_empty());
    said("USER")
        .or_else(|| said("LOGNAME"))
        .or_else(|| said("USERNAME"))
        .unwrap_or_else(|| "the owner".to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_path_that_is_too_long_for_a_socket_has_a_short_one_that_is_its_owner_s_alone() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(socket_path(temp.path(), None).unwrap(), temp.path().join(SOCKET));
        let deep = temp.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let short = socket_path(&deep, Some(temp.path().to_owned())).unwrap();
        assert!(short.starts_with(temp.path().join("empire")) && short.as_os_str().len() <= LONGEST_SOCKET);
        assert_eq!(short, socket_path(&deep, Some(temp.path().to_owned())).unwrap());
        fs::set_permissions(temp.path().join("empire"), fs::Permissions::from_mode(0o755)).unwrap();
        let error = socket_path(&deep, Some(temp.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains("of this user alone"), "{error}");
    }

    #[test]
    fn the_token_is_made_once_and_is_its_owner_s_alone() {
        let temp = tempfile::tempdir().unwrap();
        let token_made = token(temp.path()).unwrap();
        assert_eq!(token_made.expose_secret().len(), 64);
        assert_eq!(token(temp.path()).unwrap().expose_secret(), token_made.expose_secret());
        let mode = fs::metadata(temp.path().join(TOKEN_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
