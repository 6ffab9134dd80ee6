//! From the merged tree to the configuration: every field is read, checked and accounted for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::level::Zone;
use empire_actors::model::{Counting, Limits, Model, ProviderId, ProviderSpec, Structured, Thinking};
use empire_actors::money::Price;

use super::error::{BUILT_IN, ConfigError, Place, hint};
use super::tree::{Field, Fields, Node, Table, Value};
use super::{
    BalanceKind, Config, Confirm, Dialect, Env, EuroRate, KeySource, ModelFacts, ProviderSetting, address,
    budget, routing,
};

const DIALECTS: [(&str, Dialect); 3] =
    [("ollama", Dialect::Ollama), ("openai", Dialect::OpenAi), ("anthropic", Dialect::Anthropic)];
const THINKING: [(&str, Thinking); 3] =
    [("vendor_default", Thinking::VendorDefault), ("off", Thinking::Off), ("on", Thinking::On)];
const STRUCTURED: [(&str, Structured); 3] = [
    ("schema", Structured::Schema),
    ("json_object", Structured::JsonObject),
    ("prompt_only", Structured::PromptOnly),
];

const COUNTING: [(&str, Counting); 2] = [("requested", Counting::Requested), ("used", Counting::Used)];
const BALANCES: [(&str, BalanceKind); 1] = [("moonshot", BalanceKind::Moonshot)];

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How long calls of another model wait while there are some for the loaded one.
const DEFAULT_SWITCH_AFTER: Duration = Duration::from_secs(30);
const MOST_SLOTS: u32 = 100_000;
const MOST_TOKENS_OVER_TIME: u64 = 1 << 50;
/// More tokens than any model takes.
const MOST_TOKENS: u32 = 100_000_000;

/// A model is either free or has a price: a layer that says one takes back the other.
pub(super) fn drop_what_contradicts(merged: &mut Table, layer: &Table) {
    let (Some(Node { value: Value::Table(below), .. }), Some(Node { value: Value::Table(above), .. })) =
        (merged.get_mut("models"), layer.get("models"))
    else {
        return;
    };
    for (id, node) in above {
        if let (Value::Table(above), Some(Node { value: Value::Table(below), .. })) =
            (&node.value, below.get_mut(id))
        {
            if above.contains_key("free") {
                for field in ["price", "price_date", "price_source"] {
                    below.remove(field);
                }
            } else if above.contains_key("price") {
                below.remove("free");
            }
        }
    }
}

/// Reads the whole document.
pub(super) fn config(merged: Table, env: &Env<'_>) -> Result<Config, ConfigError> {
    let built_in = Place { source: BUILT_IN.into(), line: None };
    let mut root = Fields::root(merged, built_in);
    let mut money = root.need("budget", "add [budget] with total and job_default")?.table()?;
    let euro = budget::euro(&mut money)?;
    let mut providers = BTreeMap::new();
    let mut default_models = Vec::new();
    for (name, field) in root.need("providers", "name at least one provider")?.table()?.named() {
        let (setting, default_model) = provider(&name, field, euro, env)?;
        default_models.extend(default_model.map(|field| (setting.spec.id.clone(), field)));
        providers.insert(setting.spec.id.clone(), setting);
    }
    let mut models = BTreeMap::new();
    let mut model_facts = BTreeMap::new();
    for (id, field) in root.need("models", "name at least one model")?.table()?.named() {
        let (model, limits, facts) = model(&id, field, &providers)?;
        if let (Some(limits), Some(provider)) = (limits, providers.get_mut(&model.provider)) {
            provider.spec.model_limits.insert(id.clone(), limits);
        }
        models.insert(id.clone(), Arc::new(model));
        model_facts.insert(id, facts);
    }
    for (provider, field) in default_models {
        check_default_model(&provider, &field, &models)?;
    }
    let names: Vec<&str> = providers.keys().map(ProviderId::as_str).collect();
    let (route, routing, said) = routing::route(&mut root, &names)?;
    let cache = routing::cache(&mut root)?;
    let budget = budget::budget(money, euro)?;
    let actions = budget::actions(&mut root, euro)?;
    let confirm = confirm(&mut root, euro)?;
    let privacy = super::privacy::privacy(&mut root, env)?;
    let guard = super::guard::guard(&mut root)?;
    let metrics = super::metrics::metrics(&mut root)?;
    let control = super::control::control(&mut root)?;
    let log = super::log::log(&mut root)?;
    let alerts = super::alerts::alerts(&mut root, env)?;
    root.finish()?;
    let providers = providers.into_iter().map(|(id, setting)| (id, Arc::new(setting))).collect();
    let config = Config {
        providers,
        models,
        model_facts,
        route,
        routing,
        cache,
        budget,
        actions,
        confirm,
        privacy,
        guard,
        metrics,
        control,
        log,
        alerts,
    };
    for (route, field) in said {
        config.resolve_route(&route).map_err(|error| field.invalid("cannot be followed", error))?;
    }
    Ok(config)
}

fn provider(
    name: &str,
    field: Field,
    euro: EuroRate,
    env: &Env<'_>,
) -> Result<(ProviderSetting, Option<Field>), ConfigError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) {
        return Err(field.invalid("is no name for a provider", "use up to 40 of a-z, 0-9, - and _"));
    }
    let mut fields = field.table()?;
    let dialect =
        fields.need("dialect", "it must be \"ollama\" or \"openai\" or \"anthropic\"")?.choice(&DIALECTS)?;
    let base_field = fields.need("base_url", "say where the server is, like \"http://127.0.0.1:11434\"")?;
    let (base_url, url) = address::base_url(base_field.text()?)
        .map_err(|(problem, remedy)| base_field.invalid(problem, remedy))?;
    let key_source = fields.take("key_env").map(|field| KeySource::read(&field)).transpose()?.flatten();
    if key_source.is_some() && url.scheme() == "http" && address::most_trusted_zone(&url) > Zone::Vpn {
        return Err(base_field.invalid("would send a key in clear over the internet", "use https://"));
    }
    let zone = zone(dialect, &url, fields.take("zone").as_ref(), &base_field)?;
    let key = key_source.as_ref().map(|source| source.key_in_env(env)).transpose()?.flatten();
    let timeout = duration_or(fields.take("timeout"), DEFAULT_TIMEOUT)?;
    let connect_timeout = duration_or(fields.take("connect_timeout"), DEFAULT_CONNECT_TIMEOUT.min(timeout))?;
    let spec = ProviderSpec {
        id: ProviderId::from(name),
        zone,
        limits: limits(&mut fields, dialect)?,
        model_limits: BTreeMap::new(),
        switch_after: switch_after(&mut fields, dialect)?,
        cap: budget::cap(fields.take("cap"), euro)?,
    };
    let balance = fields.take("balance").map(|field| field.choice(&BALANCES)).transpose()?;
    let default_field = fields.take("default_model");
    let default_model = default_field.as_ref().map(|field| field.text().map(str::to_owned)).transpose()?;
    fields.finish()?;
    let setting = ProviderSetting {
        spec,
        dialect,
        base_url,
        key_source,
        key,
        connect_timeout,
        timeout,
        default_model,
        balance,
    };
    Ok((setting, default_field))
}

fn zone(
    dialect: Dialect,
    url: &reqwest::Url,
    field: Option<&Field>,
    base: &Field,
) -> Result<Zone, ConfigError> {
    let most_trusted = address::most_trusted_zone(url);
    let Some(field) = field else {
        return Ok(match dialect {
            Dialect::Ollama => most_trusted,
            Dialect::OpenAi | Dialect::Anthropic => Zone::Cloud.max(most_trusted),
        });
    };
    let zone =
        Zone::try_from(field.number(1..=4u8)?).map_err(|problem| field.invalid("is no zone", problem))?;
    if zone < most_trusted {
        return Err(field.invalid(
            format_args!("is {}, but the address in base_url ({}) is {most_trusted} at best", zone.number(), base.place()),
            "leave zone out, or use an address on this machine or your VPN (100.64.0.0/10 or fd7a:…) in numbers, since names can change",
        ));
    }
    Ok(zone)
}

fn limits(fields: &mut Fields, dialect: Dialect) -> Result<Limits, ConfigError> {
    let concurrency = fields.need("concurrency", "say how many calls may be in flight at once, like 4")?;
    let concurrency = concurrency.number(1..=MOST_SLOTS)?;
    let counting = match dialect {
        Dialect::OpenAi => Counting::Requested,
        Dialect::Ollama | Dialect::Anthropic => Counting::Used,
    };
    let limits = limits_over_time(fields, concurrency, counting)?;
    let counting = fields.take("tokens_counted").map_or(Ok(counting), |field| field.choice(&COUNTING))?;
    Ok(Limits { counting, ..limits })
}

/// What is allowed of one model, beside what its provider allows.
fn model_limits(fields: &mut Fields, provider: &Limits) -> Result<Option<Limits>, ConfigError> {
    let concurrency = fields.take("concurrency").map(|field| field.number(1..=MOST_SLOTS)).transpose()?;
    let limits = limits_over_time(fields, concurrency.unwrap_or(provider.concurrency), provider.counting)?;
    Ok((concurrency.is_some() || limits.remembers()).then_some(limits))
}

fn limits_over_time(
    fields: &mut Fields,
    concurrency: u32,
    counting: Counting,
) -> Result<Limits, ConfigError> {
    let mut requests = |name| match fields.take(name) {
        Some(field) => field.limit(1..=u32::MAX),
        None => Ok(None),
    };
    let (requests_per_minute, requests_per_hour, requests_per_day) =
        (requests("requests_per_minute")?, requests("requests_per_hour")?, requests("requests_per_day")?);
    let mut tokens = |name| match fields.take(name) {
        // So that sums of what is held, used and owed cannot overflow.
        Some(field) => field.limit(1..=MOST_TOKENS_OVER_TIME),
        None => Ok(None),
    };
    Ok(Limits {
        requests_per_minute,
        requests_per_hour,
        requests_per_day,
        tokens_per_minute: tokens("tokens_per_minute")?,
        tokens_per_day: tokens("tokens_per_day")?,
        input_tokens_per_minute: tokens("input_tokens_per_minute")?,
        output_tokens_per_minute: tokens("output_tokens_per_minute")?,
        counting,
        ..Limits::slots(concurrency)
    })
}

/// An Ollama loads a model before its first call, and has little room for several.
fn switch_after(fields: &mut Fields, dialect: Dialect) -> Result<Option<Duration>, ConfigError> {
    match fields.take("switch_after") {
        Some(field) if field.says_none() => Ok(None),
        Some(field) => field.duration(DAY).map(Some),
        None => Ok((dialect == Dialect::Ollama).then_some(DEFAULT_SWITCH_AFTER)),
    }
}

fn duration_or(field: Option<Field>, default: Duration) -> Result<Duration, ConfigError> {
    field.map_or(Ok(default), |field| field.duration(DAY))
}

fn model(
    id: &str,
    field: Field,
    providers: &BTreeMap<ProviderId, ProviderSetting>,
) -> Result<(Model, Option<Limits>, ModelFacts), ConfigError> {
    if id.is_empty() || id.len() > 200 || providers.contains_key(&ProviderId::from(id)) {
        return Err(field.invalid(
            "is no id for a model",
            "use the vendor's id, up to 200 characters, that no provider has as its name",
        ));
    }
    let mut fields = field.table()?;
    let provider_field = fields.need("provider", "say who serves it, like \"ollama\"")?;
    let provider_name = provider_field.text()?;
    let Some(provider) = providers.get(&ProviderId::from(provider_name)) else {
        let remedy = hint(provider_name, providers.keys().map(ProviderId::as_str));
        return Err(provider_field.invalid(format_args!("names no provider: {provider_name:?}"), remedy));
    };
    refuse_hidden_cloud(id, provider, &provider_field)?;
    let price = price(&mut fields)?;
    let context_field = fields.need("context", "say how many tokens fit into one call, like 8192")?;
    let context = context_field.number(1..=MOST_TOKENS)?;
    let max_output = fields
        .need("max_output", "say how many output tokens one call may ask for, like 4096")?
        .number(1..=context)?;
    let model = Model {
        id: id.to_owned(),
        provider: provider.spec.id.clone(),
        price,
        context,
        max_output,
        thinking: choice_or_default(fields.take("thinking"), &THINKING)?,
        structured: choice_or_default(fields.take("structured"), &STRUCTURED)?,
        temperature: fields.take("temperature").map(|field| field.number(0.0..=2.0)).transpose()?,
        top_p: fields.take("top_p").map(|field| field.number(0.0..=1.0)).transpose()?,
        timeout: provider.timeout,
    };
    let limits = model_limits(&mut fields, &provider.spec.limits)?;
    let facts = ModelFacts {
        batch_discount: fields.take("batch_discount").map(|field| field.number(1..=100)).transpose()?,
        prompt_cache_min: fields
            .take("prompt_cache_min")
            .map(|field| field.number(1..=context))
            .transpose()?,
        price_date: fields.take("price_date").map(|field| field.day()).transpose()?,
        price_source: fields.take("price_source").map(|field| field.text().map(str::to_owned)).transpose()?,
    };
    fields.finish()?;
    Ok((model, limits, facts))
}

/// An Ollama on this machine passes a `:cloud` model's calls on to its vendor: what looks local
/// is not.
fn refuse_hidden_cloud(id: &str, provider: &ProviderSetting, field: &Field) -> Result<(), ConfigError> {
    let hidden = provider.dialect == Dialect::Ollama && (id.ends_with(":cloud") || id.ends_with("-cloud"));
    if hidden && provider.spec.zone < Zone::Cloud {
        return Err(field.invalid(
            format_args!(
                "is {}, which is {}, but Ollama runs `{id}` in the cloud",
                provider.spec.id, provider.spec.zone
            ),
            "serve it by a second ollama provider that has zone = 3",
        ));
    }
    Ok(())
}

fn choice_or_default<T: Copy + Default>(
    field: Option<Field>,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    field.map_or(Ok(T::default()), |field| field.choice(choices))
}

fn price(fields: &mut Fields) -> Result<Option<Price>, ConfigError> {
    let free = match fields.take("free") {
        Some(field) => field.flag()?,
        None => false,
    };
    let Some(field) = fields.take("price") else { return Ok(free.then_some(Price::FREE)) };
    if free {
        return Err(field.invalid("contradicts free = true", "write one of the two"));
    }
    let mut parts = field.table()?;
    let need = "say what a million tokens cost in dollars, like \"0.95\"";
    let input = parts.need("input", need)?.money()?;
    let mut or_input = |name| parts.take(name).map_or(Ok(input), |field| field.money());
    let (cached_input, cache_write) = (or_input("cached_input")?, or_input("cache_write")?);
    let output = parts.need("output", need)?.money()?;
    parts.finish()?;
    Ok(Some(Price { input, cached_input, cache_write, output }))
}

fn check_default_model(
    provider: &ProviderId,
    field: &Field,
    models: &BTreeMap<String, Arc<Model>>,
) -> Result<(), ConfigError> {
    let name = field.text()?;
    match models.get(name) {
        Some(model) if model.provider == *provider => Ok(()),
        Some(model) => Err(field.invalid(
            format_args!("is {name:?}, which {} serves", model.provider),
            format_args!("name a model of {provider}"),
        )),
        None => {
            let own =
                models.values().filter(|model| model.provider == *provider).map(|model| model.id.as_str());
            Err(field.invalid(format_args!("names no model: {name:?}"), hint(name, own)))
        }
    }
}

fn confirm(root: &mut Fields, euro: EuroRate) -> Result<Confirm, ConfigError> {
    let mut fields = root.need("confirm", "add [confirm] with cost_above and time_above")?.table()?;
    let cost_above = fields.need("cost_above", "say above what cost to ask, like \"1.00\"")?.amount(euro)?;
    let time_above = fields.need("time_above", "say above what time to ask, like \"1h\"")?.duration(YEAR)?;
    fields.finish()?;
    Ok(Confirm { cost_above, time_above })
}
