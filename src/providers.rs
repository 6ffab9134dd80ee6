//! The model vendors, and any server that speaks a vendor's dialect.
//!
//! Each dialect is two pure functions: [`Request`] to JSON, and HTTP answer to [`Reply`] or
//! [`CallError`]. One function does the HTTP for all of them, once: nothing here retries.

mod answer;
mod anthropic;
mod balance;
mod classify;
mod client;
mod hook;
mod limits;
mod ollama;
mod openai;
mod probe;
mod prompt;
mod redact;
mod schema;
mod send;
#[cfg(test)]
mod testing;
mod wait;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use empire_actors::alerts::{AlertKind, Severity, Sign};
use empire_actors::call::{Call, Cleared, Request};
use empire_actors::failure::{Billing, CallError, FailureKind};
use empire_actors::gates::meter::Told;
use empire_actors::level::Zone;
use empire_actors::model::ProviderId;
use empire_actors::ports::{Exchange, Provider, Reply};
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

pub use balance::balance;
pub use client::{ClientError, Clients};
pub use hook::{Hook, NotTaken};
pub use probe::{ProbeReport, probe};

use crate::alerts::Alerts;
use crate::config::{Config, Dialect, KeySource, ProviderSetting};
use answer::Answer;

/// How long a list of models may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// A provider that is reached over HTTP.
#[derive(Debug)]
pub struct HttpProvider {
    setting: ProviderSetting,
    client: reqwest::Client,
    chat_url: String,
    /// `None` if the key is missing or cannot be sent.
    headers: Option<HeaderMap>,
    /// From how many shared tokens on a model's prompts are marked for the vendor's cache.
    prompt_cache: BTreeMap<String, u32>,
    /// The models that an Ollama lists but runs elsewhere, once it was asked.
    elsewhere: OnceLock<Vec<String>>,
    /// Who is told if it wants calls to go elsewhere.
    alerts: Option<Alerts>,
}

impl HttpProvider {
    /// A provider as configured, reached through `client` (see [`Clients`]).
    #[must_use]
    pub fn new(setting: &ProviderSetting, client: reqwest::Client) -> HttpProvider {
        HttpProvider {
            chat_url: chat_url(setting),
            headers: headers(setting),
            setting: setting.clone(),
            client,
            prompt_cache: BTreeMap::new(),
            elsewhere: OnceLock::new(),
            alerts: None,
        }
    }

    /// Tells of an address that sends calls elsewhere.
    #[must_use]
    pub fn with_alerts(self, alerts: Option<Alerts>) -> HttpProvider {
        HttpProvider { alerts, ..self }
    }

    /// Marks what prompts share for the vendor's cache, by model from so many tokens on.
    #[must_use]
    pub fn with_prompt_cache(self, prompt_cache: BTreeMap<String, u32>) -> HttpProvider {
        HttpProvider { prompt_cache, ..self }
    }

    /// Asks the model, once. What the vendor says of its own limits goes to `told`.
    async fn ask(&self, request: &Request, told: &mut Vec<Told>) -> Result<Reply, CallError> {
        let headers = self.headers.as_ref().ok_or_else(|| no_key(&self.setting))?;
        if self.setting.dialect == Dialect::Ollama && self.setting.spec.zone < Zone::Cloud {
            self.refuse_if_elsewhere(&request.model.id).await?;
        }
        let minimum = self.prompt_cache.get(&request.model.id).copied();
        let body = encode(self.setting.dialect, request, minimum).map_err(|error| not_encoded(&error))?;
        let post = self.client.post(&self.chat_url).headers(headers.clone()).body(body);
        let answer = send::exchange(post, request.model.timeout, self.setting.key.as_ref()).await?;
        *told = limits::told(&answer.headers);
        self.look_where_it_went(&answer);
        decode(self.setting.dialect, &answer)
    }

    /// A redirect is never followed, and what is trusted by its address must be there.
    fn look_where_it_went(&self, answer: &Answer) {
        let Some(alerts) = &self.alerts else { return };
        let id = &self.setting.spec.id;
        let is_elsewhere = |peer: &SocketAddr| !crate::config::is_own_address(peer.ip());
        let what = if (300..400).contains(&answer.status) {
            "wants calls to go to another address: none went there"
        } else if self.setting.spec.zone < Zone::Cloud && answer.peer.as_ref().is_some_and(is_elsewhere) {
            "is trusted as the owner's own, and answers from an address on the internet"
        } else {
            return;
        };
        let message = format!("{id} {what}");
        alerts.raise(Sign::new(AlertKind::Destination, id.as_str(), Severity::Critical, message));
    }

    /// An Ollama on this machine may hold models that it passes on to a cloud. What looks local
    /// must be local, so it is asked before anything private is sent to it.
    async fn refuse_if_elsewhere(&self, model: &str) -> Result<(), CallError> {
        let elsewhere = match self.elsewhere.get() {
            Some(known) => known,
            None => {
                let listed = probe::ollama_models(&self.setting, &self.client, LIST_TIMEOUT).await;
                let listed = listed.map_err(|error| no_list(&self.setting, error))?;
                self.elsewhere
                    .get_or_init(|| listed.into_iter().filter(|m| m.elsewhere).map(|m| m.id).collect())
            }
        };
        if !elsewhere.iter().any(|id| id == model || id.strip_suffix(":latest") == Some(model)) {
            return Ok(());
        }
        Err(CallError {
            kind: FailureKind::InvalidRequest,
            status: None,
            message: format!(
                "`{model}` does not run here: this Ollama passes it on to another host, but {} counts as {}; serve it by a provider that has zone = 3",
                self.setting.spec.id, self.setting.spec.zone
            ),
            retry_after: None,
            billing: Billing::Nothing,
        })
    }
}

impl Provider for HttpProvider {
    fn send(&self, call: Call<Cleared>) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (request, mut receipt) = match call.open() {
                Ok(opened) => opened,
                Err(not_sent) => return *not_sent,
            };
            let mut told = Vec::new();
            let outcome = self.ask(&request, &mut told).await;
            receipt.heard(told);
            Exchange { receipt, outcome }
        })
    }
}

/// A provider for every one that is configured; those that connect alike share connections. `alerts`
/// hears of those that want calls to go elsewhere.
///
/// # Errors
/// If the HTTP client cannot be set up.
pub fn all(
    config: &Config,
    alerts: Option<&Alerts>,
) -> Result<BTreeMap<ProviderId, Arc<HttpProvider>>, ClientError> {
    let mut clients = Clients::default();
    let provider = |(id, setting): (&ProviderId, &Arc<ProviderSetting>)| {
        let client = clients.client_for(setting)?;
        let marked =
            config.model_facts.iter().filter_map(|(id, facts)| Some((id.clone(), facts.prompt_cache_min?)));
        let provider = HttpProvider::new(setting, client)
            .with_prompt_cache(marked.collect())
            .with_alerts(alerts.cloned());
        Ok((id.clone(), Arc::new(provider)))
    };
    config.providers.iter().map(provider).collect()
}

/// Makes sure that a simulator answers at `base_url`: nothing else may pass for one. Gives the
/// fingerprint of the scenario that it plays.
///
/// # Errors
/// In words, if the address is not on this machine or something else answers.
pub async fn check_simulator(base_url: &str) -> Result<String, String> {
    client::simulator_answers(base_url).await
}

/// The request's body. What the job's calls share is marked if it has `marked_from` tokens, where
/// the dialect knows such marks.
fn encode(dialect: Dialect, request: &Request, marked_from: Option<u32>) -> serde_json::Result<Vec<u8>> {
    match dialect {
        Dialect::Ollama => serde_json::to_vec(&ollama::encode(request)),
        Dialect::OpenAi => serde_json::to_vec(&openai::encode(request)),
        Dialect::Anthropic => serde_json::to_vec(&anthropic::encode(request, marked_from)),
    }
}

fn not_encoded(error: &serde_json::Error) -> CallError {
    CallError {
        kind: FailureKind::InvalidRequest,
        status: None,
        message: format!("the request cannot be written as JSON: {error}"),
        retry_after: None,
        billing: Billing::Nothing,
    }
}

fn decode(dialect: Dialect, answer: &Answer) -> Result<Reply, CallError> {
    match dialect {
        Dialect::Ollama => ollama::decode(answer),
        Dialect::OpenAi => openai::decode(answer),
        Dialect::Anthropic => anthropic::decode(answer),
    }
}

fn chat_url(setting: &ProviderSetting) -> String {
    let path = match setting.dialect {
        Dialect::Ollama => "/api/chat",
        Dialect::OpenAi => "/chat/completions",
        Dialect::Anthropic => "/v1/messages",
    };
    endpoint(setting, path)
}

/// `path` at the provider. A base URL for the Messages API is met with and without its `/v1`.
fn endpoint(setting: &ProviderSetting, path: &str) -> String {
    let base = match setting.dialect {
        Dialect::Anthropic => setting.base_url.strip_suffix("/v1").unwrap_or(&setting.base_url),
        Dialect::Ollama | Dialect::OpenAi => &setting.base_url,
    };
    format!("{base}{path}")
}

/// What goes with every call; `None` if a key is needed and there is none that can be sent.
fn headers(setting: &ProviderSetting) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if setting.dialect == Dialect::Anthropic {
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
    }
    if setting.key_source.is_some() {
        let key = setting.key.as_ref()?.expose_secret();
        let (name, value) = match setting.dialect {
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Dialect::Ollama | Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
        };
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

fn no_key(setting: &ProviderSetting) -> CallError {
    let remedy = setting.key_source.as_ref().map(KeySource::remedy).unwrap_or_default();
    CallError {
        kind: FailureKind::Unauthorised,
        status: None,
        message: format!("there is no usable key for {}: {remedy}", setting.spec.id),
        retry_after: None,
        billing: Billing::Nothing,
    }
}

/// A server that does not list its models may be passing them on, and is not asked; that says
/// nothing about the model that was wanted.
fn no_list(setting: &ProviderSetting, error: CallError) -> CallError {
    if error.kind != FailureKind::ModelGone {
        return error;
    }
    let message = format!(
        "nothing answers at {}/api/tags: correct the base_url of {}",
        setting.base_url, setting.spec.id
    );
    CallError { kind: FailureKind::InvalidRequest, message, ..error }
}

#[cfg(test)]
mod tests;
