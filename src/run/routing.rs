//! How a job's calls are routed: the order of its models, and what a plan says about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use empire_actors::level::{Level, Zone};
use empire_actors::model::{Model, ProviderId};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{AnswerCache, Script};
use empire_actors::route::SharedCalls;
use empire_actors::route::rules::{self, CacheMode, CallRules, Destination, Fallback, Policy};
use empire_actors::route::shares::{Ceilings, Shares, WhenOver};

use super::error::CommandError;
use super::prepare::{Loaded, Simulated};
use crate::cache::TieredCache;
use crate::config::{Config, Dialect, ProviderSetting};
use crate::job::JobSpec;
use crate::store::Store;
use crate::text;

/// Bytes of text that make a token, on average; as plans count.
const BYTES_PER_TOKEN: u64 = 4;

/// The models of `route` in the order in which the job tries them.
#[must_use]
pub fn arrange(spec: &JobSpec, config: &Config, route: Vec<Arc<Model>>) -> Vec<Arc<Model>> {
    let zone_of = |model: &Model| config.providers[&model.provider].spec.zone;
    let start = start(spec, config, &route).map(|model| model.id.clone());
    rules::arrange(route, zone_of, policy(spec, config), start.as_deref(), spec.max_tokens)
}

fn policy(spec: &JobSpec, config: &Config) -> Policy {
    spec.policy.unwrap_or(config.routing.policy)
}

/// The model of the route that the job's difficulty starts with, if any.
fn start<'a>(spec: &JobSpec, config: &Config, route: &'a [Arc<Model>]) -> Option<&'a Arc<Model>> {
    let named = config.routing.difficulty.get(&spec.difficulty?)?;
    let resolved = config.resolve_route(std::slice::from_ref(named)).ok()?;
    let is_it = |model: &&Arc<Model>| resolved.iter().any(|wanted| wanted.id == model.id);
    // A provider stands for any of its models that the route names.
    route.iter().find(is_it).or_else(|| route.iter().find(|model| *model.provider.as_str() == **named))
}

/// The job's rules for its calls. A job that starts afresh takes no kept answers.
#[must_use]
pub fn rules_of(loaded: &Loaded) -> CallRules {
    let cache = match loaded.spec.cache {
        CacheMode::Auto | CacheMode::On if loaded.is_fresh => CacheMode::Refresh,
        mode => mode,
    };
    CallRules {
        destinations: destinations(loaded),
        simulated: loaded.simulated.is_some(),
        cache,
        fallback: loaded.spec.fallback,
    }
}

/// What answers under each provider's name. A simulator listens anywhere: its scenario counts.
fn destinations(loaded: &Loaded) -> BTreeMap<ProviderId, Destination> {
    let destination = |setting: &ProviderSetting| {
        let dialect = match setting.dialect {
            Dialect::Ollama => "ollama",
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
        };
        let place = loaded.simulated.as_ref().map_or(&*setting.base_url, Simulated::scenario);
        Destination(*blake3::hash(format!("{dialect} {place}").as_bytes()).as_bytes())
    };
    let providers = loaded.config.providers.iter();
    providers.map(|(id, setting)| (id.clone(), destination(setting))).collect()
}

/// What the job shares with others about its calls.
pub async fn shared_calls(loaded: &Loaded, store: &Store) -> Result<SharedCalls, CommandError> {
    let cache = TieredCache::open(&loaded.config.cache, store).await?;
    Ok(SharedCalls {
        cache: cache.map(|cache| Arc::new(cache) as Arc<dyn AnswerCache>),
        shares: loaded.config.routing.shares.clone().map(Shares::new),
        ..SharedCalls::default()
    })
}

/// What a plan says about the routing of a job whose highest level is `level` and which makes
/// about `calls` calls.
#[must_use]
pub fn notes(loaded: &Loaded, level: Level, calls: u64) -> Vec<String> {
    let mut notes = vec![zones(level), order(loaded)];
    notes.extend(fallback(loaded, level));
    notes.extend(loaded.config.routing.shares.as_ref().map(shares));
    notes.push(cache(loaded));
    notes.extend(loaded.route.iter().filter_map(|model| prompt_cache(loaded, model, calls)));
    notes
}

fn zones(level: Level) -> String {
    let all = [Zone::Local, Zone::Vpn, Zone::Cloud, Zone::Internet];
    let admitted: Vec<String> =
        all.into_iter().filter(|zone| zone.admits(level)).map(|zone| zone.to_string()).collect();
    format!("{level} data may go to {}", admitted.join(", "))
}

fn order(loaded: &Loaded) -> String {
    let (spec, config) = (&loaded.spec, &loaded.config);
    let order = match policy(spec, config) {
        Policy::Listed => "as the route lists them",
        Policy::Price => "the cheapest first",
        Policy::Privacy => "the most trusted zone first",
    };
    let mut said = format!("models are tried {order}; one that a prompt does not fit is skipped");
    if let Some(difficulty) = spec.difficulty {
        let (difficulty, named) = (difficulty.as_str(), config.routing.difficulty.get(&difficulty));
        said += &match (start(spec, config, &loaded.route), named) {
            (Some(model), _) => format!("; {difficulty} items start with {}", model.id),
            (None, Some(named)) => {
                format!("; {difficulty} items would start with {named}, which the route does not have")
            }
            (None, None) => format!("; [route.difficulty] says nothing of {difficulty} items"),
        };
    }
    said
}

fn fallback(loaded: &Loaded, level: Level) -> Option<String> {
    let zone_of = |model: &Arc<Model>| loaded.config.providers[&model.provider].spec.zone;
    let origin = rules::origin(loaded.route.iter().map(zone_of), level)?;
    let further: Vec<&str> = loaded
        .route
        .iter()
        .filter(|model| zone_of(model) > origin && zone_of(model).admits(level))
        .map(|model| model.id.as_str())
        .collect();
    if further.is_empty() {
        return None;
    }
    let models = further.join(", ");
    Some(match loaded.spec.fallback {
        Fallback::Permitted => {
            format!("a fallback from {origin} to {models} leaves that zone; `fallback: same_zone` forbids it")
        }
        Fallback::SameZone => format!("`fallback: same_zone` keeps the job in {origin}: never {models}"),
    })
}

fn shares(ceilings: &Ceilings) -> String {
    let list = |what: &str, percents: &BTreeMap<_, f64>| {
        let each = percents.iter().map(|(provider, percent)| format!("{provider} {percent} % of the {what}"));
        each.collect::<Vec<_>>()
    };
    let all = [list("calls", &ceilings.calls), list("spend", &ceilings.spend)].concat();
    let then = match ceilings.when_over {
        WhenOver::Defer => "a call beyond that waits",
        WhenOver::Deny => "a call beyond that goes to the next model",
    };
    let window = text::thousands(ceilings.window as u64);
    format!("shares of the latest {window} calls: at most {}; {then}", all.join(", "))
}

fn cache(loaded: &Loaded) -> String {
    if !loaded.config.cache.is_on {
        return "no answer is kept: [cache] is off".to_owned();
    }
    match rules_of(loaded).cache {
        CacheMode::Off => "kept answers do not serve: `cache: off`".to_owned(),
        CacheMode::Refresh => "every call is made, and its answer kept".to_owned(),
        CacheMode::Auto | CacheMode::On => {
            "a call that was made before, at the same level, is answered from the cache at no cost".to_owned()
        }
    }
}

/// What the vendor's prompt cache is good for, where there is one.
fn prompt_cache(loaded: &Loaded, model: &Model, calls: u64) -> Option<String> {
    let price = model.price.filter(|price| price.cached_input < price.input)?;
    let shared = loaded.script.shared()?;
    let bytes = shared.system.as_ref().map_or(0, String::len) + shared.prompt.len();
    let tokens = bytes as u64 / BYTES_PER_TOKEN;
    let minimum = loaded.config.model_facts.get(&model.id).and_then(|facts| facts.prompt_cache_min);
    let is_marked = loaded.config.providers[&model.provider].dialect == Dialect::Anthropic;
    let id = &model.id;
    let tokens_said = text::thousands(tokens);
    Some(match (is_marked, minimum) {
        (true, None) => return None,
        (true, Some(minimum)) if tokens < u64::from(minimum) => format!(
            "{id}: all prompts begin with the same {tokens_said} tokens, too few for its prompt cache ({})",
            text::thousands(minimum.into())
        ),
        _ if tokens == 0 || calls < 2 => return None,
        _ => format!(
            "{id}: all prompts begin with the same {tokens_said} tokens; its prompt cache may save up to {}",
            text::money(saving(&price, tokens, calls, is_marked))
        ),
    })
}

/// What `calls` that share a beginning of `tokens` cost less if it is read from the cache in all
/// but the first.
fn saving(price: &Price, tokens: u64, calls: u64, is_written: bool) -> Micros {
    let usage = |input, cached_input, cache_write| empire_actors::money::Usage {
        input,
        cached_input,
        cache_write,
        output: 0,
    };
    let full = price.cost(&usage(tokens * calls, 0, 0));
    let first = if is_written { usage(0, 0, tokens) } else { usage(tokens, 0, 0) };
    let rest = usage(0, tokens * (calls - 1), 0);
    full.saturating_sub(price.cost(&first) + price.cost(&rest))
}
