//! Where the owner's own secrets come from: the environment, files and the keychain. They are read
//! once at the start and held in memory alone.

use std::fs;
use std::path::{Path, PathBuf};

use empire_actors::gates::own::LEAST_BYTES;
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
    /// A file: every line of it is a secret, a `NAME=` before it is not part. A comment is `#` and a
    /// space.
    File(PathBuf),
    /// An entry of the system's keychain; one that is not there holds nothing.
    Keychain(KeychainEntry),
}

/// One of the owner's own secrets.
#[derive(Debug, Clone)]
pub struct OwnSecret {
    /// Where it stands, for errors: the source, with the line in a file.
    pub from: String,
    /// The value.
    pub value: SecretString,
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
    /// It would be another file in another working directory.
    #[error("`{0}` is relative: begin the path with `/` or `~/`")]
    Relative(String),
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
                None if Path::new(path).is_absolute() => Ok(OwnSource::File(PathBuf::from(path))),
                None => Err(OwnSourceError::Relative(text.to_owned())),
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

    /// The secrets that are there now. A value of several lines counts as a whole and by each line
    /// that can be matched.
    ///
    /// # Errors
    /// A file or the keychain cannot be read. What is not there is no error: it holds nothing.
    pub fn read(&self, env: &Env<'_>, keychain: &Keychain) -> Result<Vec<OwnSecret>, OwnSourceError> {
        let value = match self {
            OwnSource::Variable(name) => env(name).map(SecretString::from),
            OwnSource::Keychain(entry) => keychain.read(entry)?,
            OwnSource::File(path) => return Ok(self.of_lines(&read_file(path)?)),
        };
        let value = value.filter(|value| !value.expose_secret().trim().is_empty());
        Ok(value.map_or_else(Vec::new, |value| self.of_value(value)))
    }

    fn of_value(&self, value: SecretString) -> Vec<OwnSecret> {
        let text = value.expose_secret().trim();
        let lines = text.lines().map(str::trim).filter(|line| can_be_matched(line) && !is_head_of_key(line));
        let lines: Vec<&str> = if text.contains('\n') { lines.collect() } else { Vec::new() };
        let mut secrets: Vec<OwnSecret> = lines.into_iter().map(|line| secret(self.name(), line)).collect();
        secrets.push(OwnSecret { from: self.name(), value });
        secrets
    }

    fn of_lines(&self, text: &SecretString) -> Vec<OwnSecret> {
        let text = text.expose_secret();
        let mut secrets = Vec::new();
        let mut is_in_key = false;
        // Some editors begin a file with a mark that is part of no secret.
        for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            let line = line.trim();
            if is_head_of_key(line) {
                is_in_key = line.contains("BEGIN ");
                continue;
            }
            // The last line of a key may be very short; the others give the key away.
            if line.is_empty() || is_comment(line) || is_in_key && !can_be_matched(line) {
                continue;
            }
            let from = format!("{}:{}", self.name(), at + 1);
            secrets.extend(values_of_line(line).into_iter().map(|value| secret(from.clone(), value)));
        }
        secrets
    }
}

fn secret(from: String, value: &str) -> OwnSecret {
    OwnSecret { from, value: SecretString::from(value) }
}

fn read_file(path: &Path) -> Result<SecretString, OwnSourceError> {
    let unreadable = |why: String| OwnSourceError::Unreadable { path: path.to_owned(), why };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(SecretString::default()),
        Err(error) => return Err(unreadable(error.to_string())),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(unreadable(format!("it is longer than {} KiB", MAX_FILE_BYTES >> 10)));
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(SecretString::from).map_err(|error| unreadable(error.to_string()))
}

fn can_be_matched(value: &str) -> bool {
    value.len() >= LEAST_BYTES
}

fn is_head_of_key(line: &str) -> bool {
    line.starts_with("-----BEGIN ") || line.starts_with("-----END ")
}

/// A secret may begin with `#`, too.
fn is_comment(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// What of a line must not leave. What follows a usual `NAME=` is the secret, however short: the
/// gate refuses what it cannot match. `correct=horse` is a secret as a whole, and may be a setting.
fn values_of_line(line: &str) -> Vec<&str> {
    let exported = line.strip_prefix("export ").map(str::trim_start);
    let setting = exported.unwrap_or(line).split_once('=');
    let setting = setting.map(|(name, value)| (name.trim(), value.trim()));
    // Padding at the end of an encoded value is no setting.
    let setting = setting.filter(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty());
    let Some((name, value)) = setting else { return vec![unquoted(line)] };
    let bare = unquoted(value);
    // What stands before a comment, if that is one.
    let short = value.split_once(" #").map(|(value, _)| unquoted(value.trim()));
    let short = short.filter(|short| can_be_matched(short));
    if exported.is_some() || is_usual_name(name) {
        return [Some(bare), short].into_iter().flatten().collect();
    }
    [Some(line), Some(bare).filter(|bare| can_be_matched(bare)), short].into_iter().flatten().collect()
}

fn unquoted(value: &str) -> &str {
    value.trim_matches(['"', '\''])
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a name is written as those of variables are, or says that a secret follows.
fn is_usual_name(name: &str) -> bool {
    const SAYS_SO: [&str; 7] = ["pass", "pwd", "secret", "token", "key", "kennwort", "pin"];
    let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
    let lower = name.to_ascii_lowercase();
    let looks_so = name.contains('_') || name.bytes().all(|byte| !byte.is_ascii_lowercase());
    starts_well && (looks_so || SAYS_SO.iter().any(|word| lower.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::super::keychain::tests::{entry, locked, refusing, with};
    use super::*;

    fn values(secrets: &[OwnSecret]) -> Vec<&str> {
        secrets.iter().map(|secret| secret.value.expose_secret()).collect()
    }

    #[test]
    fn no_line_is_dropped_that_may_be_a_secret() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.env");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            let read = OwnSource::File(path.clone()).read(&|_| None, &with(&entry("a/b"), b"x")).unwrap();
            values(&read).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        for (line, secrets) in [
            ("# a comment", vec![]),
            ("#", vec![]),
            ("", vec![]),
            ("#Geheim2024!xyz", vec!["#Geheim2024!xyz"]),
            ("correct=horse", vec!["correct=horse"]),
            ("correct=horses", vec!["correct=horses", "horses"]),
            ("a b=c d e f g", vec!["a b=c d e f g"]),
            ("PASS = hunter2", vec!["hunter2"]),
            ("export pass='hunter2'", vec!["hunter2"]),
            ("db_password=abc12", vec!["abc12"]),
            ("hunter2", vec!["hunter2"]),
            ("PIN=1234", vec!["1234"]),
            ("QUJDREVGR0g=", vec!["QUJDREVGR0g="]),
            ("TOKEN=\"abcdef1\" # mine", vec!["abcdef1\" # mine", "abcdef1"]),
            ("-----BEGIN X-----\nabcdefgh\nab==\n-----END X-----", vec!["abcdefgh"]),
        ] {
            assert_eq!(read(line), secrets, "{line}");
        }
    }

    #[test]
    fn a_value_of_several_lines_counts_by_each_of_them() {
        let env = |_: &str| Some("first line\n  second line\nx\n".to_owned());
        let keychain = with(&entry("a/b"), b"x");
        let read = OwnSource::Variable("A".to_owned()).read(&env, &keychain).unwrap();
        assert_eq!(values(&read), ["first line", "second line", "first line\n  second line\nx\n"]);
    }

    #[test]
    fn sources_are_read_from_where_they_say() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.env");
        fs::write(&path, "\u{feff}export TOKEN=\"abcdefgh12\"\nplainsecretline\n").unwrap();
        let source = OwnSource::parse("file:~/keys.env", Some(temp.path())).unwrap();
        let keychain = with(&entry("github/me"), b"kept in the keychain\n");
        let read = source.read(&|_| None, &keychain).unwrap();
        assert_eq!(values(&read), ["abcdefgh12", "plainsecretline"]);
        assert_eq!(read[1].from, format!("file:{}:2", path.display()));
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
        for relative in ["file:rel.txt", "file:./rel.txt", "file:~you/rel.txt"] {
            let error = OwnSource::parse(relative, Some(Path::new("/home"))).unwrap_err().to_string();
            assert!(error.contains(relative) && error.contains("relative"), "{error}");
        }
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
