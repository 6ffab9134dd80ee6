//! The `[privacy]` table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use empire_actors::gates::own::{OwnSecretError, OwnSecrets};
use empire_actors::level::Level;
use secrecy::{ExposeSecret, SecretString};

use super::error::ConfigError;
use super::tree::Fields;
use super::{Config, Env};
use crate::privacy::keychain::Keychain;
use crate::privacy::{OwnSource, OwnSourceError, SourceRule, SourceRules};

/// A provider's key shorter than this is none, and would be found in harmless text.
const SHORTEST_KEY: usize = 8;

/// What is configured about privacy.
#[derive(Debug, Clone, Default)]
pub struct Privacy {
    /// Files whose place says their level.
    pub sources: SourceRules,
    /// The owner's own secrets, as configured.
    pub own: Vec<OwnSource>,
    /// Values that may leave as they are, with the reason.
    pub allow: BTreeMap<String, String>,
}

/// Why the owner's own secrets cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] OwnSourceError),
    /// A provider's key cannot be read.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// A value cannot be matched.
    #[error(transparent)]
    Secret(#[from] OwnSecretError),
}

impl Config {
    /// The owner's own secrets: the providers' keys and what `[privacy]` names.
    ///
    /// # Errors
    /// A source cannot be read, or holds what cannot be matched.
    pub fn own_secrets(&self, env: &Env<'_>, keychain: &Keychain) -> Result<OwnSecrets, RegisterError> {
        let mut values: Vec<(String, SecretString)> = Vec::new();
        for setting in self.providers.values() {
            let Some(source) = &setting.key_source else { continue };
            // Also where the keychain was not opened to make calls: what is never called may leave as little.
            let key = if setting.key.is_some() { setting.key.clone() } else { setting.key_in(keychain)? };
            if let Some(key) = key.filter(|key| key.expose_secret().len() >= SHORTEST_KEY) {
                values.push((source.to_string(), key));
            }
        }
        for source in &self.privacy.own {
            values.extend(source.read(env, keychain)?.into_iter().map(|value| (source.name(), value)));
        }
        let named = values.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        Ok(OwnSecrets::new(named)?)
    }
}

pub(super) fn privacy(root: &mut Fields, env: &Env<'_>) -> Result<Privacy, ConfigError> {
    let Some(field) = root.take("privacy") else { return Ok(Privacy::default()) };
    let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let mut fields = field.table()?;
    let mut privacy = Privacy::default();
    if let Some(sources) = fields.take("sources") {
        let mut rules = Vec::new();
        for (path, field) in sources.table()?.named() {
            let level: Level =
                field.text()?.parse().map_err(|error| field.invalid("is no privacy level", error))?;
            // What ships names folders of the home folder; where there is none, nor are they.
            if home.is_none() && path.starts_with('~') && field.place().is_built_in() {
                continue;
            }
            let rule = SourceRule { path, level };
            // One by one, so that an error names its own line.
            SourceRules::new(std::slice::from_ref(&rule), home.as_deref())
                .map_err(|problem| field.invalid(problem, "name a file or a folder"))?;
            rules.push(rule);
        }
        let place = |problem: String| ConfigError::Invalid {
            place: super::Place { source: "configuration".into(), line: None },
            field: "privacy.sources".to_owned(),
            problem,
            remedy: "name files or folders".to_owned(),
        };
        privacy.sources = SourceRules::new(&rules, home.as_deref()).map_err(place)?;
    }
    if let Some(own) = fields.take("own_secrets") {
        let sources = own.texts()?.into_iter().map(|text| OwnSource::parse(&text, home.as_deref()));
        privacy.own = sources.collect::<Result<_, _>>().map_err(|error| {
            own.invalid(error, "the value itself never belongs into a configuration file")
        })?;
    }
    if let Some(allow) = fields.take("allow") {
        for (value, field) in allow.table()?.named() {
            let reason = field.text()?;
            if reason.is_empty() {
                return Err(field.invalid("gives no reason", "say why this value may leave"));
            }
            privacy.allow.insert(value, reason.to_owned());
        }
    }
    fields.finish()?;
    Ok(privacy)
}
