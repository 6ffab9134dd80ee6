//! `[route]` and `[cache]`: in which order models are tried, ceilings on their shares, and how many
//! answers are kept for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use empire_actors::model::ProviderId;
use empire_actors::route::rules::Policy;
use empire_actors::route::shares::{Ceilings, WhenOver};

use super::error::{ConfigError, hint};
use super::tree::{Field, Fields};
use crate::job::Difficulty;

const POLICIES: [(&str, Policy); 3] =
    [("listed", Policy::Listed), ("price", Policy::Price), ("privacy", Policy::Privacy)];
const WHEN_OVER: [(&str, Option<WhenOver>); 3] =
    [("off", None), ("defer", Some(WhenOver::Defer)), ("deny", Some(WhenOver::Deny))];
const DIFFICULTIES: [Difficulty; 3] = [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
/// More calls than anybody looks back at.
const MOST_WINDOW: usize = 1_000_000;
const MOST_AGE: Duration = Duration::from_secs(3_650 * 86_400);
/// In megabytes: more than a disk should give to it.
const MOST_MEGABYTES: u64 = 1_000_000;

/// In which order models are tried, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// In which order models are tried.
    pub policy: Policy,
    /// The model or provider that items of a difficulty start with.
    pub difficulty: BTreeMap<Difficulty, String>,
    /// Ceilings on each provider's share; `None` if they are off.
    pub shares: Option<Ceilings>,
}

/// How answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSetting {
    /// Whether any are.
    pub is_on: bool,
    /// Bytes in memory at most.
    pub memory_bytes: u64,
    /// Bytes in the data folder at most.
    pub store_bytes: u64,
    /// How long an answer is kept at most.
    pub max_age: Duration,
    /// Whether answers to P3 data go into the data folder too.
    pub stores_p3: bool,
}

/// A route or the start of one, and the field that says so, for what is wrong with it later.
pub(super) type Said = (Vec<String>, Field);

/// Reads `[route]`: the default route, the rest, and every route that is named in it.
pub(super) fn route(
    root: &mut Fields,
    providers: &[&str],
) -> Result<(Vec<String>, Routing, Vec<Said>), ConfigError> {
    let mut fields = root.need("route", "add [route] with default = [\"ollama\"]")?.table()?;
    let field = fields.need("default", "name the models to try, like [\"ollama\", \"kimi\"]")?;
    let default = field.texts()?;
    let policy = fields.take("policy").map(|field| field.choice(&POLICIES)).transpose()?.unwrap_or_default();
    let mut said = vec![(default.clone(), field)];
    let difficulty = match fields.take("difficulty") {
        Some(field) => difficulties(field, &mut said)?,
        None => BTreeMap::new(),
    };
    let shares = fields.take("shares").map(|field| shares(field, providers)).transpose()?.flatten();
    fields.finish()?;
    Ok((default, Routing { policy, difficulty, shares }, said))
}

fn difficulties(field: Field, said: &mut Vec<Said>) -> Result<BTreeMap<Difficulty, String>, ConfigError> {
    let mut fields = field.table()?;
    let mut starts = BTreeMap::new();
    for difficulty in DIFFICULTIES {
        if let Some(field) = fields.take(difficulty.as_str()) {
            let start = field.text()?.to_owned();
            said.push((vec![start.clone()], field));
            starts.insert(difficulty, start);
        }
    }
    fields.finish()?;
    Ok(starts)
}

fn shares(field: Field, providers: &[&str]) -> Result<Option<Ceilings>, ConfigError> {
    let mut fields = field.table()?;
    let when_over = fields.need("when_over", "say \"off\", \"defer\" or \"deny\"")?.choice(&WHEN_OVER)?;
    let window_field = fields.need("window", "say how many of the latest calls count, like 1000")?;
    let window = window_field.number(1..=MOST_WINDOW)?;
    let sample =
        fields.need("sample", "say how many calls are assumed at first, like 100")?.number(1..=window)?;
    let calls = percents(fields.take("calls"), providers)?;
    let spend = percents(fields.take("spend"), providers)?;
    fields.finish()?;
    Ok(when_over.map(|when_over| Ceilings { calls, spend, window, sample, when_over }))
}

fn percents(field: Option<Field>, providers: &[&str]) -> Result<BTreeMap<ProviderId, f64>, ConfigError> {
    let Some(field) = field else { return Ok(BTreeMap::new()) };
    let percent = |(name, field): (String, Field)| {
        if !providers.contains(&name.as_str()) {
            let remedy = hint(&name, providers.iter().copied());
            return Err(field.invalid("names no provider", remedy));
        }
        Ok((ProviderId::from(name.as_str()), field.number(0.0..=100.0)?))
    };
    field.table()?.named().into_iter().map(percent).collect()
}

/// Reads `[cache]`.
pub(super) fn cache(root: &mut Fields) -> Result<CacheSetting, ConfigError> {
    let mut fields = root.need("cache", "add [cache] with enabled = true")?.table()?;
    let is_on = fields.need("enabled", "say true or false")?.flag()?;
    let mut megabytes = |name, remedy| {
        let number: u64 = fields.need(name, remedy)?.number(0..=MOST_MEGABYTES)?;
        Ok::<_, ConfigError>(number * 1_000_000)
    };
    let memory_bytes = megabytes("memory_mb", "say how many megabytes of answers memory holds, like 64")?;
    let store_bytes = megabytes("store_mb", "say how many the data folder holds, like 512")?;
    let max_age =
        fields.need("max_age", "say how long an answer is kept, like \"30d\"")?.duration(MOST_AGE)?;
    let stores_p3 = fields.need("store_p3", "say true or false")?.flag()?;
    fields.finish()?;
    Ok(CacheSetting { is_on, memory_bytes, store_bytes, max_age, stores_p3 })
}
