//! Posting to an address of the owner's own: no model, no prompt.

use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::client::{ClientError, Kind, build};

/// How long one post may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An address that takes JSON.
#[derive(Debug)]
pub struct Hook {
    url: String,
    key: Option<SecretString>,
    client: Client,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// In words, without what the other side said.
    pub why: String,
    /// Whether it may be taken later.
    pub may_pass: bool,
}

impl Hook {
    /// Posts to `url`, which is shown `key` as a bearer token if there is one.
    ///
    /// # Errors
    /// If no HTTP client can be set up.
    pub fn new(url: &str, key: Option<SecretString>) -> Result<Hook, ClientError> {
        let direct = crate::config::is_own_network(url);
        let client = build(Kind { connect_timeout: TIMEOUT / 2, direct })?;
        Ok(Hook { url: url.to_owned(), key, client })
    }

    /// Posts once.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn post(&self, body: &Value) -> Result<(), NotTaken> {
        let post = self.client.post(&self.url).timeout(TIMEOUT).json(body);
        let post = match &self.key {
            Some(key) => post.bearer_auth(key.expose_secret()),
            None => post,
        };
        let status = match post.send().await {
            Ok(response) => response.status(),
            Err(error) => {
                let why = if error.is_timeout() { "it does not answer" } else { "it cannot be reached" };
                return Err(NotTaken { why: why.to_owned(), may_pass: true });
            }
        };
        if status.is_success() {
            return Ok(());
        }
        let may_pass = status.is_server_error() || status.as_u16() == 429;
        Err(NotTaken { why: format!("it answered {status}"), may_pass })
    }
}
