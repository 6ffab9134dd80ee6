//! The `[privacy]` table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use empire_actors::gates::own::{LEAST_BYTES, OwnSecretError, OwnSecrets};
use empire_actors::level::Level;
use secrecy::ExposeSecret;

use super::error::ConfigError;
use super::tree::Fields;
use super::{Config, Env};
use crate::privacy::keychain::Keychain;
use crate::privacy::{OwnSecret, OwnSource, OwnSourceError, SourceRule, SourceRules};

/// What to do about a source of [`Registered::empty`].
pub const EMPTY_SOURCE: &str =
    "put the secret there, or take the source out of [privacy]: what is not known is cut out of nothing";

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

/// The owner's own secrets as far as they are there.
#[derive(Debug)]
pub struct Registered {
    /// All of them.
    pub secrets: OwnSecrets,
    /// The names of sources that hold nothing now.
    pub empty: Vec<String>,
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
    pub fn own_secrets(&self, env: &Env<'_>, keychain: &Keychain) -> Result<Registered, RegisterError> {
        let mut values: Vec<OwnSecret> = Vec::new();
        let mut empty = Vec::new();
        for setting in self.providers.values() {
            let Some(source) = &setting.key_source else { continue };
            // Also where the keychain was not opened to make calls: what is never called may leave as little.
            let key = if setting.key.is_some() { setting.key.clone() } else { setting.key_in(keychain)? };
            // What is shorter is no key.
            if let Some(value) = key.filter(|key| key.expose_secret().trim().len() >= LEAST_BYTES) {
                values.push(OwnSecret { from: source.to_string(), value });
            }
        }
        if let Some(webhook) = &self.alerts.webhook
            && let Some(source) = &webhook.key_source
        {
            let key = webhook.key_in(keychain)?;
            let key = key.filter(|key| key.expose_secret().trim().len() >= LEAST_BYTES);
            values.extend(key.map(|value| OwnSecret { from: source.to_string(), value }));
        }
        for source in &self.privacy.own {
            let read = source.read(env, keychain)?;
            if read.is_empty() {
                empty.push(source.name());
            }
            values.extend(read);
        }
        let named = values.iter().map(|secret| (secret.from.as_str(), secret.value.expose_secret()));
        Ok(Registered { secrets: OwnSecrets::new(named)?, empty })
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
            if value.trim().is_empty() {
                return Err(field.invalid("names no value", "write the value that may leave before the `=`"));
            }
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
