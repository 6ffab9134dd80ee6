//! Which policy is in force at a node: what the code says, under what the file says, under what
//! a person said while it ran.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{OnExhausted, Policy, REMEMBERED, REMEMBERED_FOR, Restart, Strategy};
use crate::ports::UnixMillis;

/// What a layer says of a policy; the rest is as below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyPatch {
    /// Who shares a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Restarts allowed within `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity: Option<u32>,
    /// The sliding window of `intensity`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub window: Option<Duration>,
    /// Which exits lead to a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// The wait before the first restart.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub backoff_min: Option<Duration>,
    /// The longest wait before a restart.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub backoff_max: Option<Duration>,
    /// What each further failure multiplies the wait by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_factor: Option<f64>,
    /// The share of the wait that is random, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_jitter: Option<f64>,
    /// A child that ran this long without a failure waits from `backoff_min` again.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub backoff_reset_after: Option<Duration>,
    /// How long it may take to stop.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub stop_within: Option<Duration>,
    /// One message may keep it busy so long.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    #[schemars(with = "Option<String>")]
    pub stuck_after: Option<Duration>,
    /// What happens when it failed too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhausted>,
}

/// Why a policy makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A number is out of its range.
    #[error("`{field}` is {value}: give {wanted}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
}

/// The longest time of any field.
const LONGEST: Duration = REMEMBERED_FOR;
/// The most restarts that a window may allow.
const MOST_RESTARTS: u32 = REMEMBERED as u32;

impl PolicyPatch {
    /// The policy `below` with what this says.
    #[must_use]
    pub fn over(&self, below: &Policy) -> Policy {
        let mut policy = *below;
        let backoff = &mut policy.backoff;
        set(&mut policy.strategy, self.strategy);
        set(&mut policy.intensity, self.intensity);
        set(&mut policy.window, self.window);
        set(&mut policy.restart, self.restart);
        set(&mut backoff.min, self.backoff_min);
        set(&mut backoff.max, self.backoff_max);
        set(&mut backoff.factor, self.backoff_factor);
        set(&mut backoff.jitter, self.backoff_jitter);
        set(&mut backoff.reset_after, self.backoff_reset_after);
        set(&mut policy.stop_within, self.stop_within);
        set(&mut policy.stuck_after, self.stuck_after);
        set(&mut policy.on_exhausted, self.on_exhausted);
        policy
    }

    /// This with what `above` says on top.
    #[must_use]
    pub fn under(&self, above: &PolicyPatch) -> PolicyPatch {
        PolicyPatch {
            strategy: above.strategy.or(self.strategy),
            intensity: above.intensity.or(self.intensity),
            window: above.window.or(self.window),
            restart: above.restart.or(self.restart),
            backoff_min: above.backoff_min.or(self.backoff_min),
            backoff_max: above.backoff_max.or(self.backoff_max),
            backoff_factor: above.backoff_factor.or(self.backoff_factor),
            backoff_jitter: above.backoff_jitter.or(self.backoff_jitter),
            backoff_reset_after: above.backoff_reset_after.or(self.backoff_reset_after),
            stop_within: above.stop_within.or(self.stop_within),
            stuck_after: above.stuck_after.or(self.stuck_after),
            on_exhausted: above.on_exhausted.or(self.on_exhausted),
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == PolicyPatch::default()
    }

    /// Refuses what no supervisor could work with.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        let out = |field, value: String, wanted| Err(PolicyError::OutOfRange { field, value, wanted });
        if let Some(intensity) = self.intensity.filter(|intensity| *intensity > MOST_RESTARTS) {
            return out("intensity", intensity.to_string(), "at most 10000 restarts");
        }
        let times = [
            ("window", self.window, Duration::from_millis(1)),
            ("backoff_min", self.backoff_min, Duration::ZERO),
            ("backoff_max", self.backoff_max, Duration::ZERO),
            ("backoff_reset_after", self.backoff_reset_after, Duration::ZERO),
            ("stop_within", self.stop_within, Duration::ZERO),
            ("stuck_after", self.stuck_after, Duration::from_secs(1)),
        ];
        for (field, time, least) in times {
            if let Some(time) = time.filter(|time| *time < least || *time > LONGEST) {
                let wanted = match least {
                    Duration::ZERO => "at most 7 days",
                    _ => "a time above zero, at most 7 days; `stuck_after` at least 1 s",
                };
                return out(field, format!("{time:?}"), wanted);
            }
        }
        if let Some(factor) = self.backoff_factor.filter(|factor| !(1.0..=100.0).contains(factor)) {
            return out("backoff_factor", factor.to_string(), "a number from 1 to 100");
        }
        if let Some(jitter) = self.backoff_jitter.filter(|jitter| !(0.0..=1.0).contains(jitter)) {
            return out("backoff_jitter", jitter.to_string(), "a share from 0 to 1");
        }
        Ok(())
    }
}

fn set<T>(field: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *field = said;
    }
}

/// What a person said of a node while it ran. It holds until it expires or is reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// The node, or the nodes: a segment may end with `*`.
    pub path: String,
    /// What was said.
    pub patch: PolicyPatch,
    /// Counts every change of any override; 0 is none.
    pub version: u64,
    /// Who said it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixMillis,
    /// Until when it holds.
    pub expires_at: Option<UnixMillis>,
}

impl Override {
    fn holds(&self, now: UnixMillis) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// The uppermost layer that says something of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// The program.
    Default,
    /// The file.
    File,
    /// A person.
    Override {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// Until when.
        expires_at: Option<UnixMillis>,
    },
}

/// The policy that is in force at a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effective {
    /// The policy.
    pub policy: Policy,
    /// The newest override in it; 0 if there is none.
    pub version: u64,
    /// Where its uppermost part is from.
    #[serde(flatten)]
    pub source: Source,
}

/// What the file says: patches by pattern.
pub type FileLayer = Vec<(String, PolicyPatch)>;

/// All layers over what the code says. Shared by every supervisor; read at each decision, so that
/// a change takes effect on the next failure.
#[derive(Debug, Default)]
pub struct Policies(RwLock<Layers>);

#[derive(Debug, Default, Clone)]
struct Layers {
    /// The more general first.
    file: FileLayer,
    overrides: BTreeMap<String, Override>,
    version: u64,
}

impl Policies {
    /// The file's layer, and the overrides that are in force. Their order does not matter.
    #[must_use]
    pub fn new(mut file: FileLayer, overrides: Vec<Override>, version: u64) -> Policies {
        file.sort_by_key(|(pattern, _)| generality(pattern));
        let version = overrides.iter().map(|said| said.version).max().unwrap_or(0).max(version);
        let overrides = overrides.into_iter().map(|said| (said.path.clone(), said)).collect();
        Policies(RwLock::new(Layers { file, overrides, version }))
    }

    /// The policy in force at `path` at `now`, where the code says `default`.
    #[must_use]
    pub fn effective(&self, path: &str, default: &Policy, now: UnixMillis) -> Effective {
        let layers = self.0.read();
        let (mut policy, mut version, mut source) = (*default, 0, Source::Default);
        for (_, patch) in layers.file.iter().filter(|(pattern, _)| matches(pattern, path)) {
            policy = patch.over(&policy);
            source = Source::File;
        }
        let mut said: Vec<&Override> =
            layers.overrides.values().filter(|said| said.holds(now) && matches(&said.path, path)).collect();
        said.sort_by_key(|said| generality(&said.path));
        for said in said {
            policy = said.patch.over(&policy);
            version = version.max(said.version);
            source = Source::Override {
                by: said.by.clone(),
                reason: said.reason.clone(),
                expires_at: said.expires_at,
            };
        }
        Effective { policy, version, source }
    }

    /// What is said of exactly this path, if that holds at `now`.
    #[must_use]
    pub fn said(&self, path: &str, now: UnixMillis) -> Option<Override> {
        self.0.read().overrides.get(path).filter(|said| said.holds(now)).cloned()
    }

    /// Every override that holds at `now`.
    #[must_use]
    pub fn all_said(&self, now: UnixMillis) -> Vec<Override> {
        self.0.read().overrides.values().filter(|said| said.holds(now)).cloned().collect()
    }

    /// The number of the newest change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.read().version
    }

    /// Takes what a person said of `said.path` in place of what was said of it before. Its version
    /// must be above every other one's.
    pub fn say(&self, said: Override) {
        let mut layers = self.0.write();
        layers.version = layers.version.max(said.version);
        layers.overrides.insert(said.path.clone(), said);
    }

    /// What would be in force if `said` were said, to look at it first.
    #[must_use]
    pub fn with(&self, said: Override) -> Policies {
        let trial = self.copy();
        trial.say(said);
        trial
    }

    /// What would be in force if what was said of `path` were taken back.
    #[must_use]
    pub fn without(&self, path: &str) -> Policies {
        let trial = self.copy();
        trial.unsay(path, 0);
        trial
    }

    fn copy(&self) -> Policies {
        Policies(RwLock::new(self.0.read().clone()))
    }

    /// Takes back what was said of `path`, as change number `version`.
    pub fn unsay(&self, path: &str, version: u64) {
        let mut layers = self.0.write();
        layers.version = layers.version.max(version);
        layers.overrides.remove(path);
    }
}

/// Patterns that say less come first, and so lie below.
fn generality(pattern: &str) -> (usize, std::cmp::Reverse<usize>, String) {
    let stars = pattern.matches('*').count();
    (pattern.len() - stars, std::cmp::Reverse(stars), pattern.to_owned())
}

/// Whether `path` is what `pattern` names: segment by segment, and a segment that ends with `*`
/// stands for all that begin like it.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) => {
                let fits = match wanted.strip_suffix('*') {
                    Some(begins) => given.starts_with(begins),
                    None => wanted == given,
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    fn patch(intensity: u32) -> PolicyPatch {
        PolicyPatch { intensity: Some(intensity), ..PolicyPatch::default() }
    }

    fn said(path: &str, intensity: u32, version: u64, expires_at: Option<i64>) -> Override {
        Override {
            path: path.into(),
            patch: patch(intensity),
            version,
            by: "owner".into(),
            reason: "a drill".into(),
            at: UnixMillis(0),
            expires_at: expires_at.map(UnixMillis),
        }
    }

    #[test]
    fn the_nearer_layer_wins_field_by_field_until_it_expires() {
        let window = PolicyPatch { window: Some(Duration::from_secs(9)), ..PolicyPatch::default() };
        let file = vec![("/empire/gates/rate-*".to_owned(), window), ("/empire/*/*".to_owned(), patch(1))];
        let policies = Policies::new(file, vec![said("/empire/gates/rate-kimi", 7, 3, Some(1_000))], 0);
        let at = |path: &str, now| {
            let found = policies.effective(path, &Policy::default(), UnixMillis(now));
            (found.policy.intensity, found.policy.window.as_secs(), found.version)
        };
        assert_eq!(at("/empire/gates/rate-kimi", 999), (7, 9, 3));
        assert_eq!(at("/empire/gates/rate-kimi", 1_000), (1, 9, 0), "it expired");
        assert_eq!(at("/empire/gates/budget", 0), (1, 60, 0));
        assert_eq!(at("/empire/gates", 0), (5, 60, 0), "a star is one segment");
        policies.unsay("/empire/gates/rate-kimi", 4);
        assert_eq!((at("/empire/gates/rate-kimi", 0).0, policies.version()), (1, 4));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (patch, field) in [
            (PolicyPatch { window: Some(Duration::ZERO), ..PolicyPatch::default() }, "window"),
            (PolicyPatch { backoff_factor: Some(0.5), ..PolicyPatch::default() }, "backoff_factor"),
            (PolicyPatch { backoff_jitter: Some(f64::NAN), ..PolicyPatch::default() }, "backoff_jitter"),
            (PolicyPatch { stuck_after: Some(LONGEST * 2), ..PolicyPatch::default() }, "stuck_after"),
            (patch(MOST_RESTARTS + 1), "intensity"),
        ] {
            let error = patch.check().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        assert_eq!(patch(3).check(), Ok(()));
    }

    #[test]
    fn a_patch_reads_as_people_write_it() {
        let patch: PolicyPatch =
            serde_json::from_str(r#"{"window":"1m 30s","on_exhausted":"quarantine"}"#).unwrap();
        assert_eq!(patch.window, Some(Duration::from_secs(90)));
        assert_eq!(patch.on_exhausted, Some(OnExhausted::Quarantine));
        assert!(serde_json::from_str::<PolicyPatch>(r#"{"windows":"1m"}"#).is_err());
        let policy = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&policy).unwrap(), Policy::default());
    }
}
