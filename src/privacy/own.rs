//! Where the owner's own secrets come from: the environment, files and the keychain. They are read
//! once at the start and held in memory alone.

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::keychain::{Keychain, KeychainEntry, KeychainError, PREFIX};
use crate::config::Env;

/// A file longer than this holds no secret that could be matched.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Where one secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnSource {
    /// An environment variable; one that is not set holds nothing.
    Variable(String),
    /// A file: every line of it that is long enough is a secret, `NAME=` before it is not part.
    File(PathBuf),
    /// An entry of the system's keychain; one that is not there holds nothing.
    Keychain(KeychainEntry),
}

/// Why a source is none or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnSourceError {
    /// It is written in no known way. It may be a secret that was written here by mistake, so it
    /// is not repeated.
    #[error("an entry is no source of a secret: write env:NAME, file:PATH or keychain:SERVICE/ACCOUNT")]
    Unknown,
    /// It is under the home folder, and nobody knows where that is.
    #[error("`{0}` is under the home folder, and HOME is not set")]
    NoHome(String),
    /// It is there but cannot be read; a gate that does not know a secret could let it out.
    #[error("the secrets in {path} cannot be read ({why}): make the file readable, or take it out of [privacy]", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The keychain does not let an entry be read.
    #[error(transparent)]
    Keychain(#[from] KeychainError),
}

impl OwnSource {
    /// Reads `env:NAME`, `file:PATH` or `keychain:SERVICE/ACCOUNT`; `~` is `home`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str, home: Option<&Path>) -> Result<OwnSource, OwnSourceError> {
        if let Some(entry) = text.strip_prefix(PREFIX) {
            return KeychainEntry::parse(entry).map(OwnSource::Keychain).ok_or(OwnSourceError::Unknown);
        }
        match text.split_once(':').map(|(kind, rest)| (kind, rest.trim())) {
            Some((_, "")) => Err(OwnSourceError::Unknown),
            Some(("env", name)) => Ok(OwnSource::Variable(name.to_owned())),
            Some(("file", path)) => match path.strip_prefix("~/") {
                Some(rest) => {
                    let home = home.ok_or_else(|| OwnSourceError::NoHome(text.to_owned()))?;
                    Ok(OwnSource::File(home.join(rest)))
                }
                None => Ok(OwnSource::File(PathBuf::from(path))),
            },
            _ => Err(OwnSourceError::Unknown),
        }
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            OwnSource::Variable(name) => format!("env:{name}"),
            OwnSource::File(path) => format!("file:{}", path.display()),
            OwnSource::Keychain(entry) => entry.to_string(),
        }
    }

    /// The secrets that are there now.
    ///
    /// # Errors
    /// A file or the keychain cannot be read. What is not there is no error: it holds nothing.
    pub fn read(&self, env: &Env<'_>, keychain: &Keychain) -> Result<Vec<SecretString>, OwnSourceError> {
        let path = match self {
            OwnSource::Variable(name) => {
                return Ok(env(name)
                    .filter(|value| !value.trim().is_empty())
                    .map(SecretString::from)
                    .into_iter()
                    .collect());
            }
            OwnSource::Keychain(entry) => return Ok(keychain.read(entry)?.into_iter().collect()),
            OwnSource::File(path) => path,
        };
        let unreadable = |why: String| OwnSourceError::Unreadable { path: path.clone(), why };
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                return Err(unreadable(format!("it is longer than {} KiB", MAX_FILE_BYTES >> 10)));
            }
            Ok(_) => {}
        }
        let text =
            SecretString::from(fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?);
        Ok(text.expose_secret().lines().filter_map(secret_of_line).map(SecretString::from).collect())
    }
}

/// The secret of a line: what follows `NAME=`, without quotes; comments and heads of keys are none.
fn secret_of_line(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with('#') || line.starts_with("-----") {
        return None;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let value = match line.split_once('=') {
        Some((name, value)) if is_name(name.trim()) && !value.trim_matches('=').is_empty() => value.trim(),
        _ => line,
    };
    let value = value.trim_matches(['"', '\'']);
    (value.len() >= 8).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::keychain::tests::{entry, locked, refusing, with};
    use super::*;

    #[test]
    fn sources_are_read_from_where_they_say() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.env");
        fs::write(
            &path,
            "# mine\nexport TOKEN=\"abcdefgh12\"\nPIN=1234\n-----BEGIN X-----\nplainsecretline\n",
        )
        .unwrap();
        let source = OwnSource::parse("file:~/keys.env", Some(temp.path())).unwrap();
        let keychain = with(&entry("github/me"), b"kept in the keychain\n");
        let values = source.read(&|_| None, &keychain).unwrap();
        let values: Vec<&str> = values.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(values, ["abcdefgh12", "plainsecretline"]);
        let env = |name: &str| (name == "A").then(|| "from the environment".to_owned());
        let holds = |source: &str| {
            OwnSource::parse(source, None).unwrap().read(&env, &keychain).map(|values| values.len())
        };
        assert_eq!((holds("env:A"), holds("keychain:github/me")), (Ok(1), Ok(1)));
        for empty in ["env:B", "file:/no/such/file", "keychain:github/you"] {
            assert_eq!(holds(empty), Ok(0), "{empty}");
        }
        for wrong in ["hunter2", "env:", "vault:x", "keychain:", "keychain:github"] {
            assert_eq!(OwnSource::parse(wrong, None), Err(OwnSourceError::Unknown), "{wrong}");
        }
        assert!(OwnSource::parse("file:~/x", None).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let source = OwnSource::File(temp.path().to_owned());
        let github = entry("github/me");
        let locked = refusing(&github, locked());
        let error = source.read(&|_| None, &locked).unwrap_err().to_string();
        assert!(error.contains(&temp.path().display().to_string()), "{error}");
        let error = OwnSource::Keychain(github).read(&|_| None, &locked).unwrap_err().to_string();
        assert!(error.contains("keychain:github/me"), "{error}");
    }
}
