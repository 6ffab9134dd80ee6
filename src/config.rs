//! The configuration: providers, models, prices, limits, the default route and the budgets.
//!
//! What ships is `config/empire.toml`. Over it are laid, in this order, the file in the data
//! folder, the file given with `--config`, and the environment. Every error names the file, the
//! line and the field, and what to do.

mod address;
mod alerts;
mod budget;
mod build;
mod control;
mod duration;
mod error;
mod guard;
mod key;
mod log;
mod metrics;
mod money;
mod privacy;
mod routing;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::level::Zone;
use empire_actors::model::{Model, ProviderId, ProviderSpec};
use empire_actors::money::Micros;
use secrecy::SecretString;

pub use alerts::{AlertSetting, WebhookSetting};
pub use budget::{ActionPrice, Budget};
pub use control::ControlSetting;
pub use duration::{DurationError, HumaneDuration};
pub use error::{ConfigError, Place};
pub use guard::GuardSetting;
pub use key::KeySource;
pub use log::LogSetting;
pub use metrics::MetricsSetting;
pub use money::EuroRate;
pub use privacy::{EMPTY_SOURCE, Privacy, RegisterError, Registered};
pub use routing::{CacheSetting, Routing};

use crate::privacy::keychain::Keychain;
use error::hint;
use tree::{Node, Table, Value};

/// The configuration that the program ships with.
pub const DEFAULTS: &str = include_str!("../config/empire.toml");

/// A configuration file longer than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The key that a simulator is shown, so that no real one is ever sent to it.
const SIMULATED_KEY: &str = "sk-simulated";

/// Looks up an environment variable. Injected, so that tests have an environment of their own.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The real environment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn system_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The data folder: `flag` if given, else `EMPIRE_HOME`, else `.empire` in the home folder.
///
/// # Errors
/// [`ConfigError::NoHome`] if nothing says where it is.
pub fn data_dir(flag: Option<&Path>, env: &Env<'_>) -> Result<PathBuf, ConfigError> {
    let said = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(Path::to_path_buf)
        .or_else(|| said("EMPIRE_HOME"))
        .or_else(|| said("HOME").or_else(|| said("USERPROFILE")).map(|home| home.join(".empire")))
        .ok_or(ConfigError::NoHome)
}

/// The wire format that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ollama's own: `/api/chat`.
    Ollama,
    /// `OpenAI`-compatible chat completions, as Moonshot and most local servers speak it.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

/// How a vendor tells what is left in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalanceKind {
    /// As Moonshot does: `GET /users/me/balance`.
    Moonshot,
}

/// One provider: who it is for the gates, and how to reach it.
#[derive(Debug, Clone)]
pub struct ProviderSetting {
    /// What the gates know of it.
    pub spec: ProviderSpec,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is, without a slash at the end.
    pub base_url: String,
    /// Where its key comes from; `None` if it needs none.
    pub key_source: Option<KeySource>,
    /// Its key, if it is there. One in the keychain is read by [`Config::unlock`].
    pub key: Option<SecretString>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one call may take in all.
    pub timeout: Duration,
    /// The model that its name stands for in a route.
    pub default_model: Option<String>,
    /// How it tells what is left in the account, if it does.
    pub balance: Option<BalanceKind>,
}

/// What is known of a model beside what the gates need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// Percent of the price that the vendor's batch lane costs; `None` if there is no such lane.
    pub batch_discount: Option<u8>,
    /// Tokens that the shared beginning of prompts must have before it is marked for the vendor's
    /// cache; `None` if nothing is to be marked.
    pub prompt_cache_min: Option<u32>,
    /// When the price was last read.
    pub price_date: Option<jiff::civil::Date>,
    /// Where the price was read.
    pub price_source: Option<String>,
}

/// Above what `run` asks before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// What the job may cost.
    pub cost_above: Micros,
    /// How long the job may take.
    pub time_above: Duration,
}

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The providers by name.
    pub providers: BTreeMap<ProviderId, Arc<ProviderSetting>>,
    /// The models by id.
    pub models: BTreeMap<String, Arc<Model>>,
    /// What else is known of each model; the same keys as `models`.
    pub model_facts: BTreeMap<String, ModelFacts>,
    /// The route of jobs that name none: models and providers, to be resolved.
    pub route: Vec<String>,
    /// In which order models are tried, and when.
    pub routing: Routing,
    /// How answers are kept.
    pub cache: CacheSetting,
    /// The budgets.
    pub budget: Budget,
    /// Actions of fixed price by name.
    pub actions: BTreeMap<String, ActionPrice>,
    /// When to ask first.
    pub confirm: Confirm,
    /// What is private.
    pub privacy: Privacy,
    /// When the machine holds a run back.
    pub guard: GuardSetting,
    /// Where metrics are served.
    pub metrics: MetricsSetting,
    /// How a running process is looked at and steered.
    pub control: ControlSetting,
    /// What is logged.
    pub log: LogSetting,
    /// When somebody is told.
    pub alerts: AlertSetting,
}

impl Config {
    /// The effective configuration: what ships, over it `empire.toml` in `home` if there is one,
    /// over it `extra`, over it the environment.
    ///
    /// # Errors
    /// If a file cannot be read or a setting cannot be; the error says where and what to do.
    pub fn load(home: &Path, extra: Option<&Path>, env: &Env<'_>) -> Result<Config, ConfigError> {
        let mut layers = vec![tree::parse(DEFAULTS, &Arc::from(error::BUILT_IN))?];
        let own = home.join("empire.toml");
        // `try_exists` fails where the folder may not be looked into: then reading says why.
        if own.try_exists().unwrap_or(true) {
            layers.push(read_file(&own)?);
        }
        if let Some(extra) = extra {
            layers.push(read_file(extra)?);
        }
        let mut merged = Table::new();
        for layer in layers {
            build::drop_what_contradicts(&mut merged, &layer);
            tree::merge(&mut merged, layer);
        }
        lay_ollama_host(&mut merged, env);
        build::config(merged, env)
    }

    /// The models that a route stands for, in order, each once. An entry is a model's id, or a
    /// provider's name, which stands for that provider's default model.
    ///
    /// # Errors
    /// If the route is empty or an entry is neither.
    pub fn resolve_route(&self, route: &[String]) -> Result<Vec<Arc<Model>>, ConfigError> {
        let mut models: Vec<Arc<Model>> = Vec::with_capacity(route.len());
        for name in route {
            let model = self.resolve(name.trim())?;
            if !models.iter().any(|known| known.id == model.id) {
                models.push(model);
            }
        }
        if models.is_empty() { Err(ConfigError::EmptyRoute) } else { Ok(models) }
    }

    fn resolve(&self, name: &str) -> Result<Arc<Model>, ConfigError> {
        if let Some(model) = self.models.get(name) {
            return Ok(Arc::clone(model));
        }
        let Some(setting) = self.providers.get(&ProviderId::from(name)) else {
            let known = self.providers.keys().map(ProviderId::as_str);
            let known = known.chain(self.models.keys().map(String::as_str));
            return Err(ConfigError::UnknownModel { name: shown(name), remedy: hint(name, known) });
        };
        let default = setting.default_model.as_ref().and_then(|id| self.models.get(id));
        default.cloned().ok_or_else(|| ConfigError::NoDefaultModel { provider: name.to_owned() })
    }

    /// What must be done before this provider can be called, if it has no key and needs one.
    #[must_use]
    pub fn missing_key(&self, provider: &ProviderId) -> Option<String> {
        let setting = self.providers.get(provider)?;
        setting.key_source.as_ref().filter(|_| setting.key.is_none()).map(KeySource::remedy)
    }

    /// Reads the providers' keys that are in the keychain.
    ///
    /// # Errors
    /// The keychain cannot be read, or holds something else than a key. The other keys are there.
    pub fn unlock(&mut self, keychain: &Keychain) -> Result<(), ConfigError> {
        let mut outcome = Ok(());
        for setting in self.providers.values_mut() {
            match setting.key_in(keychain) {
                Ok(None) => {}
                Ok(key) => Arc::make_mut(setting).key = key,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// The same configuration with every provider at a simulator, which takes any key. Zones are
    /// kept, so that the gates behave as they would in earnest; if the simulator is not on this
    /// machine, no provider is trusted further than its address.
    #[must_use]
    pub fn simulated(&self, base_url: &str) -> Config {
        let base = base_url.trim_end_matches('/');
        let most_trusted =
            address::base_url(base).map_or(Zone::Internet, |(_, url)| address::most_trusted_zone(&url));
        let at_simulator = |setting: &Arc<ProviderSetting>| {
            let mut setting = ProviderSetting::clone(setting);
            setting.base_url = match setting.dialect {
                Dialect::OpenAi => format!("{base}/v1"),
                Dialect::Ollama | Dialect::Anthropic => base.to_owned(),
            };
            setting.key = setting.key_source.as_ref().map(|_| SecretString::from(SIMULATED_KEY));
            setting.spec.zone = setting.spec.zone.max(most_trusted);
            Arc::new(setting)
        };
        Config {
            providers: self
                .providers
                .iter()
                .map(|(id, setting)| (id.clone(), at_simulator(setting)))
                .collect(),
            ..self.clone()
        }
    }
}

/// Whether this is an address on this machine or in the owner's own network.
pub(crate) fn is_own_network(base_url: &str) -> bool {
    address::base_url(base_url).is_ok_and(|(_, url)| address::most_trusted_zone(&url) < Zone::Cloud)
}

/// Whether this is an address of this machine or of the owner's own network.
pub(crate) fn is_own_address(address: std::net::IpAddr) -> bool {
    address::zone_of(address.to_canonical()) < Zone::Cloud
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let name = path.display().to_string();
    let unreadable = |why: String| ConfigError::Unreadable { file: name.clone(), why };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("it is longer than 1 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        unreadable(format!("line {line} is not valid UTF-8"))
    })?;
    tree::parse(&text, &Arc::from(name))
}

/// `OLLAMA_HOST` says where the provider called `ollama` is.
fn lay_ollama_host(merged: &mut Table, env: &Env<'_>) {
    const VARIABLE: &str = "OLLAMA_HOST";
    let Some(host) = env(VARIABLE).map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()) else {
        return;
    };
    let providers = merged.get_mut("providers").map(|node| &mut node.value);
    let Some(Value::Table(providers)) = providers else { return };
    if let Some(Node { value: Value::Table(ollama), .. }) = providers.get_mut("ollama") {
        let value = Value::Text(address::from_ollama_host(&host));
        ollama.insert("base_url".to_owned(), Node { value, place: Place::variable(VARIABLE) });
    }
}
