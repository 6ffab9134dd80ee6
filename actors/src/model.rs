//! Providers and models as configuration describes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::level::Zone;
use crate::money::{Micros, Price};

/// The name of a provider in the configuration, such as `ollama`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderId(pub Arc<str>);

impl ProviderId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ProviderId {
    fn from(name: &str) -> Self {
        ProviderId(name.into())
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a vendor counts against a limit of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// Input and the requested maximum of output, however short the answer is.
    #[default]
    Requested,
    /// What was really used; the requested maximum only until the answer is there.
    Used,
}

/// What a provider or a model lets us do, all at the same time. `None` means no such limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Calls in flight at once; at least 1.
    pub concurrency: u32,
    /// Calls in any 60 seconds.
    pub requests_per_minute: Option<u32>,
    /// Calls in any hour.
    pub requests_per_hour: Option<u32>,
    /// Calls in any 24 hours.
    pub requests_per_day: Option<u32>,
    /// Input and output tokens in any 60 seconds.
    pub tokens_per_minute: Option<u64>,
    /// Input and output tokens in any 24 hours.
    pub tokens_per_day: Option<u64>,
    /// Input tokens in any 60 seconds; what is read from the vendor's cache does not count.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens in any 60 seconds.
    pub output_tokens_per_minute: Option<u64>,
    /// What of a call counts as its tokens.
    pub counting: Counting,
}

impl Limits {
    /// So many calls in flight at once, and no other limit.
    #[must_use]
    pub const fn slots(concurrency: u32) -> Limits {
        Limits {
            concurrency,
            requests_per_minute: None,
            requests_per_hour: None,
            requests_per_day: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            counting: Counting::Requested,
        }
    }

    /// Whether anything is limited over time, so that what was sent must be remembered.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.requests_per_minute.is_some()
            || self.requests_per_hour.is_some()
            || self.requests_per_day.is_some()
            || self.limits_tokens()
    }

    /// Whether tokens are limited over time.
    #[must_use]
    pub fn limits_tokens(&self) -> bool {
        self.tokens_per_minute.is_some()
            || self.tokens_per_day.is_some()
            || self.input_tokens_per_minute.is_some()
            || self.output_tokens_per_minute.is_some()
    }
}

/// A provider: where it is and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderSpec {
    /// Its name in the configuration.
    pub id: ProviderId,
    /// How far it is trusted.
    pub zone: Zone,
    /// What it allows.
    pub limits: Limits,
    /// What it allows of single models beside that, by the models' ids.
    pub model_limits: BTreeMap<String, Limits>,
    /// It has one model loaded at a time: calls of another one wait so long at most while there
    /// are calls for the loaded one. `None` if changing between models costs nothing.
    pub switch_after: Option<Duration>,
    /// The most that may ever be spent there from this data folder; `None` means only the
    /// other caps hold.
    pub cap: Option<Micros>,
}

/// What is asked of a model about thinking before it answers (thinking is billed as output).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Nothing is said; the vendor's default holds.
    #[default]
    VendorDefault,
    /// Asked to be off.
    Off,
    /// Asked to be on.
    On,
}

/// How a model can be held to a JSON Schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The vendor takes the schema itself.
    Schema,
    /// The vendor promises JSON, but of no certain shape; the schema goes into the prompt.
    JsonObject,
    /// Nothing: the schema goes into the prompt.
    #[default]
    PromptOnly,
}

/// One model of one provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// The vendor's id, such as `kimi-k2.6`.
    pub id: String,
    /// Who serves it.
    pub provider: ProviderId,
    /// What it costs; `None` means unknown, and then no call is made.
    pub price: Option<Price>,
    /// Input and output tokens that fit into one call.
    pub context: u32,
    /// Output tokens that one call may request.
    pub max_output: u32,
    /// What is asked about thinking.
    pub thinking: Thinking,
    /// How answers are held to a schema.
    pub structured: Structured,
    /// Sent only if configured: most vendors refuse other values than their own.
    pub temperature: Option<f64>,
    /// Sent only if configured.
    pub top_p: Option<f64>,
    /// How long one call may take in all.
    pub timeout: Duration,
}

impl Model {
    /// Whether a call costs nothing for certain.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.price.is_some_and(|price| price.is_free())
    }
}
