//! The rules that ship and the owner's own beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use empire_actors::gates::detect::{Detector, RuleError, RuleFile, Rules};

/// The rules that the program ships with, by file name.
const SHIPPED: [(&str, &str); 7] = [
    ("secrets-chat.toml", include_str!("../../config/privacy/secrets-chat.toml")),
    ("secrets-cloud.toml", include_str!("../../config/privacy/secrets-cloud.toml")),
    ("secrets-code.toml", include_str!("../../config/privacy/secrets-code.toml")),
    ("secrets-keys.toml", include_str!("../../config/privacy/secrets-keys.toml")),
    ("secrets-models.toml", include_str!("../../config/privacy/secrets-models.toml")),
    ("secrets-trade.toml", include_str!("../../config/privacy/secrets-trade.toml")),
    ("secrets-work.toml", include_str!("../../config/privacy/secrets-work.toml")),
];

/// The folder in the data folder that holds the owner's rules.
const FOLDER: &str = "privacy";
/// A longer file holds no rules.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More files than this are a mistake.
const MAX_FILES: usize = 100;

/// Why the rules cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A file cannot be read.
    #[error("the privacy rules in {} cannot be read ({why}): correct or remove the file; nothing leaves without its rules", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is no file of rules.
    #[error("{file}: {why}: correct it; nothing leaves without its rules")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong, with the line.
        why: String,
    },
    /// A rule cannot be put in force.
    #[error("{0}: correct it; nothing leaves without its rules")]
    Rule(#[from] RuleError),
}

/// How the owner's rule files look: if it changes, they are read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// The owner's rule files in the data folder `home`, as they look now.
///
/// # Errors
/// The folder is there but cannot be read.
pub fn look(home: &Path) -> Result<Look, RulesError> {
    let folder = home.join(FOLDER);
    let unreadable =
        |error: std::io::Error| RulesError::Unreadable { path: folder.clone(), why: error.to_string() };
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Look::default()),
        other => other.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let metadata = entry.metadata().map_err(unreadable)?;
        files.push((path, metadata.len(), metadata.modified().ok()));
    }
    if files.len() > MAX_FILES {
        return Err(RulesError::Unreadable {
            path: folder,
            why: format!("it holds more than {MAX_FILES} files"),
        });
    }
    files.sort();
    Ok(Look(files))
}

/// The rules that ship, and those of the files as they looked.
///
/// # Errors
/// A file cannot be read, or a rule in it is none: no rules at all are given then.
pub fn load(look: &Look) -> Result<Rules, RulesError> {
    let mut files = Vec::new();
    for (name, text) in SHIPPED {
        files.push(parse(&format!("built-in {name}"), text)?);
    }
    for (path, bytes, _) in &look.0 {
        let unreadable = |why: String| RulesError::Unreadable { path: path.clone(), why };
        if *bytes > MAX_FILE_BYTES {
            return Err(unreadable("it is longer than 1 MiB".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        files.push(parse(&path.display().to_string(), &text)?);
    }
    Ok(Rules::compile(&files)?)
}

/// The detector, and the owner's rule files as they looked when they were read last.
#[derive(Debug, Clone)]
pub struct RulesInForce {
    detector: Arc<Detector>,
    home: PathBuf,
    look: Look,
}

impl RulesInForce {
    /// Puts the rules that ship and those in the data folder `home` in force.
    ///
    /// # Errors
    /// Some cannot be.
    pub fn new(home: &Path, detector: impl FnOnce(Rules) -> Detector) -> Result<RulesInForce, RulesError> {
        let look = look(home)?;
        let detector = Arc::new(detector(load(&look)?));
        Ok(RulesInForce { detector, home: home.to_owned(), look })
    }

    /// Searches with them.
    #[must_use]
    pub fn detector(&self) -> &Arc<Detector> {
        &self.detector
    }

    /// Reads the owner's files again if they look different. Says whether other rules are in force
    /// now.
    ///
    /// # Errors
    /// They cannot be read: then the rules of before stay in force. Told once a change.
    pub fn refresh(&mut self) -> Result<bool, RulesError> {
        let now = look(&self.home)?;
        if now == self.look {
            return Ok(false);
        }
        self.look = now;
        self.detector.swap(load(&self.look)?);
        Ok(true)
    }
}

fn parse(file: &str, text: &str) -> Result<RuleFile, RulesError> {
    let read = toml::from_str(text).map(|read| RuleFile { name: file.to_owned(), ..read });
    read.map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        let why = format!("{place}{}", error.message().replace('\n', ", "));
        RulesError::Malformed { file: file.to_owned(), why }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
