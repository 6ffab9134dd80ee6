//! What can be wrong with the configuration, said so that it can be put right.

use std::fmt;
use std::sync::Arc;

use crate::privacy::keychain::KeychainError;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or the environment variable.
    pub(super) source: Arc<str>,
    /// The line in the file, from 1.
    pub(super) line: Option<usize>,
}

/// What errors call the configuration that ships.
pub(super) const BUILT_IN: &str = "built-in empire.toml";

impl Place {
    /// Whether this is what ships, not what somebody wrote.
    pub(super) fn is_built_in(&self) -> bool {
        &*self.source == BUILT_IN
    }

    pub(super) fn line(source: &Arc<str>, line: usize) -> Place {
        Place { source: Arc::clone(source), line: Some(line) }
    }

    pub(super) fn variable(name: &str) -> Place {
        Place { source: format!("environment variable {name}").into(), line: None }
    }

    pub(super) fn keychain() -> Place {
        Place { source: "keychain".into(), line: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Why there is no usable configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file is not there, too large or not to be read.
    #[error("{file}: cannot be read: {why}: check the path and its permissions")]
    Unreadable {
        /// Which file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// A file is no TOML.
    #[error("{place}: not valid TOML: {problem}: correct this line")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser said.
        problem: String,
    },
    /// A field that means nothing.
    #[error("{place}: unknown field `{field}`: {remedy}")]
    UnknownField {
        /// Where.
        place: Place,
        /// The field with its tables.
        field: String,
        /// What to do.
        remedy: String,
    },
    /// A field that must be there.
    #[error("{place}: `{field}` is missing: {remedy}")]
    Missing {
        /// Where it belongs.
        place: Place,
        /// The field with its tables.
        field: String,
        /// What to do.
        remedy: String,
    },
    /// A field whose value cannot be.
    #[error("{place}: `{field}` {problem}: {remedy}")]
    Invalid {
        /// Where.
        place: Place,
        /// The field with its tables.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A route names what is not configured.
    #[error("no model or provider is called `{name}`: {remedy}")]
    UnknownModel {
        /// The name.
        name: String,
        /// What to do, with the names that are known.
        remedy: String,
    },
    /// A route names a provider that stands for no model.
    #[error(
        "provider `{provider}` has no default model: set `providers.{provider}.default_model` in empire.toml, or name one of its models in the route"
    )]
    NoDefaultModel {
        /// The provider.
        provider: String,
    },
    /// A route with nothing in it.
    #[error("the route is empty: name at least one model or provider, such as `ollama`")]
    EmptyRoute,
    /// The keychain does not tell a key.
    #[error(transparent)]
    Keychain(KeychainError),
    /// Nothing says where the data folder is.
    #[error("no data folder is known: give --data-dir, or set EMPIRE_HOME or HOME")]
    NoHome,
}

/// The one of `known` that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(100).collect();
    let most = (name.len() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be put in, taken out or changed to make one of the other.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// "did you mean `x`? known are a, b and c".
pub(super) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list = known.clone().into_iter().collect::<Vec<_>>().join(", ");
    match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`? known are {list}"),
        None => format!("known are {list}"),
    }
}
