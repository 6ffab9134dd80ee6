//! Whether a provider is there and what it serves, for `doctor`.

use std::time::Duration;

use empire_actors::failure::{Billing, CallError};
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{LIST_TIMEOUT, endpoint, headers, no_key, send};
use crate::config::{Dialect, ProviderSetting};

/// No list is believed beyond this.
const MAX_MODELS: usize = 10_000;

/// What a provider says when asked what it serves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ProbeReport {
    /// Whether it answered at all.
    pub reachable: bool,
    /// The models that it lists.
    pub models: Vec<String>,
    /// Those of them that run on another host, though this one looks local (Ollama only).
    pub elsewhere: Vec<String>,
    /// What came of it, in a line.
    pub detail: String,
}

/// A model as a provider lists it.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) elsewhere: bool,
}

/// Asks a provider for its models. Costs nothing.
pub async fn probe(setting: &ProviderSetting, client: &Client) -> ProbeReport {
    let listed = match setting.dialect {
        Dialect::Ollama => ollama_models(setting, client, LIST_TIMEOUT).await,
        Dialect::OpenAi | Dialect::Anthropic => vendor_models(setting, client).await,
    };
    match listed {
        Ok(models) => ProbeReport {
            reachable: true,
            detail: format!("{} models at {}", models.len(), setting.base_url),
            elsewhere: models.iter().filter(|model| model.elsewhere).map(|model| model.id.clone()).collect(),
            models: models.into_iter().map(|model| model.id).collect(),
        },
        Err(error) => ProbeReport {
            reachable: error.status.is_some(),
            models: Vec::new(),
            elsewhere: Vec::new(),
            detail: format!("{error} ({})", setting.base_url),
        },
    }
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    remote_host: Option<String>,
    remote_model: Option<String>,
}

/// What an Ollama has, and what of it runs elsewhere.
pub(super) async fn ollama_models(
    setting: &ProviderSetting,
    client: &Client,
    timeout: Duration,
) -> Result<Vec<Listed>, CallError> {
    let tags: Tags = list(setting, client, "/api/tags", timeout).await?;
    let said = |text: Option<String>| text.is_some_and(|text| !text.is_empty());
    let listed =
        |tag: Tag| Listed { id: tag.name, elsewhere: said(tag.remote_host) || said(tag.remote_model) };
    Ok(tags.models.into_iter().take(MAX_MODELS).map(listed).collect())
}

#[derive(Deserialize)]
struct Models {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

async fn vendor_models(setting: &ProviderSetting, client: &Client) -> Result<Vec<Listed>, CallError> {
    let path = match setting.dialect {
        Dialect::Anthropic => "/v1/models?limit=1000",
        Dialect::OpenAi | Dialect::Ollama => "/models",
    };
    let models: Models = list(setting, client, path, LIST_TIMEOUT).await?;
    Ok(models
        .data
        .into_iter()
        .take(MAX_MODELS)
        .map(|entry| Listed { id: entry.id, elsewhere: false })
        .collect())
}

async fn list<T: DeserializeOwned>(
    setting: &ProviderSetting,
    client: &Client,
    path: &str,
    timeout: Duration,
) -> Result<T, CallError> {
    let headers = headers(setting).ok_or_else(|| no_key(setting))?;
    let get = client.get(endpoint(setting, path)).headers(headers);
    let answer = send::exchange(get, timeout, setting.key.as_ref()).await;
    // A list is never paid for, so nothing that fails here may be billed.
    answer.and_then(|answer| answer.read()).map_err(|error| CallError { billing: Billing::Nothing, ..error })
}
