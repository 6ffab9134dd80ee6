//! `[alerts]`: when something is worth one, and who is told.

use std::time::Duration;

use empire_actors::alerts::Pace;
use secrecy::SecretString;

use super::error::ConfigError;
use super::tree::Fields;
use super::{Env, KeySource, address};
use crate::privacy::keychain::Keychain;

const DAY: Duration = Duration::from_secs(86_400);
/// More never waits in any queue.
const MOST_WAITING: u64 = 1_000_000;

/// When something is worth an alert, and who is told.
#[derive(Debug, Clone)]
pub struct AlertSetting {
    /// How often one is told.
    pub pace: Pace,
    /// Between two checks of stores, providers, disks and queues.
    pub check_every: Duration,
    /// More messages than this in a mailbox are too many.
    pub queue_depth: u64,
    /// Where else they are told than in the log.
    pub webhook: Option<WebhookSetting>,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookSetting {
    /// Its address.
    pub url: String,
    /// Where its key comes from.
    pub key_source: Option<KeySource>,
    /// Its key, if that is in the environment.
    pub key: Option<SecretString>,
}

impl WebhookSetting {
    /// Its key, wherever it is kept.
    ///
    /// # Errors
    /// The keychain cannot be read, or holds something else than a key.
    pub fn key_in(&self, keychain: &Keychain) -> Result<Option<SecretString>, ConfigError> {
        match (&self.key_source, &self.key) {
            (Some(source), None) => source.key_in_keychain(keychain),
            (_, key) => Ok(key.clone()),
        }
    }
}

/// Reads the table.
pub(super) fn alerts(root: &mut Fields, env: &Env<'_>) -> Result<AlertSetting, ConfigError> {
    let mut fields = root.need("alerts", "add [alerts] as in the shipped empire.toml")?.table()?;
    let mut time = |name, example: &str| {
        fields.need(name, &format!("say how long, like \"{example}\""))?.duration(30 * DAY)
    };
    let again_after = time("again_after", "1h")?;
    let quiet_after = time("quiet_after", "1h")?;
    let check_every = time("check_every", "60s")?;
    let depth = fields.need("queue_depth", "say how many messages are too many, like 1000")?;
    let queue_depth = depth.number(1..=MOST_WAITING)?;
    let url = fields.take("webhook").filter(|field| !field.says_none());
    let key = fields.take("webhook_key_env");
    let webhook = match url {
        None => None,
        Some(field) => {
            let (url, _) = address::base_url(field.text()?)
                .map_err(|(problem, remedy)| field.invalid(problem, remedy))?;
            let key_source = key.as_ref().map(KeySource::read).transpose()?.flatten();
            let key = key_source.as_ref().map(|source| source.key_in_env(env)).transpose()?.flatten();
            Some(WebhookSetting { url, key_source, key })
        }
    };
    fields.finish()?;
    Ok(AlertSetting { pace: Pace { again_after, quiet_after }, check_every, queue_depth, webhook })
}
