//! Scenarios: what goes well and what goes wrong, per provider, as YAML.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::dialect::Dialect;
use super::dice::{Dice, Draw};
use super::settings::{ProviderSettings, Window};
use super::shapes::Shape;

/// A YAML file larger than this is no scenario.
pub(super) const LARGEST_SCENARIO: u64 = 1024 * 1024;
const MOST_KEPT_BODIES: usize = 1_000_000;

const BUILT_IN: [(&str, &str); 9] = [
    ("steady", include_str!("../../config/sim/steady.yaml")),
    ("instant", include_str!("../../config/sim/instant.yaml")),
    ("slow", include_str!("../../config/sim/slow.yaml")),
    ("flaky", include_str!("../../config/sim/flaky.yaml")),
    ("storm", include_str!("../../config/sim/storm.yaml")),
    ("outage", include_str!("../../config/sim/outage.yaml")),
    ("hang", include_str!("../../config/sim/hang.yaml")),
    ("garbage", include_str!("../../config/sim/garbage.yaml")),
    ("dry", include_str!("../../config/sim/dry.yaml")),
];

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a built-in scenario nor a file.
    #[error("there is no scenario `{0}`: name one of {names}, or a YAML file that exists", names = Scenario::names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// The file cannot be read.
    #[error("scenario {} cannot be read: check the file and its permissions", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is far too large.
    #[error("scenario {} is larger than {LARGEST_SCENARIO} bytes: is it the right file?", .0.display())]
    TooLarge(PathBuf),
    /// The YAML is broken, has an unknown field, or a value out of range.
    #[error("scenario {file}: {message}")]
    Yaml {
        /// Which file, or the built-in's name.
        file: String,
        /// Line, column, field and what to write instead.
        message: String,
    },
    /// A value that makes no sense for its provider.
    #[error("scenario {file}, line {line}, {field}: {message}")]
    Invalid {
        /// Which file, or the built-in's name.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The field, as a path.
        field: String,
        /// What is wrong and what to write instead.
        message: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// A sentence for people who read the file; the program has no use for it.
    #[serde(default, rename = "about")]
    _about: Option<String>,
    #[serde(default)]
    seed: u64,
    #[serde(default = "usual_kept_bodies")]
    keep_bodies: Spanned<usize>,
    #[serde(default)]
    ollama: ProviderSettings,
    #[serde(default)]
    kimi: ProviderSettings,
    #[serde(default)]
    claude: ProviderSettings,
}

fn usual_kept_bodies() -> Spanned<usize> {
    Spanned::new(10_000, serde_saphyr::Location::UNKNOWN, serde_saphyr::Location::UNKNOWN)
}

/// What goes well and what goes wrong, per provider. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scenario(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    fingerprint: String,
    seed: u64,
    keep_bodies: usize,
    providers: [Behaviour; 3],
}

/// One provider's settings, with its rules worked out.
#[derive(Debug)]
pub(super) struct Behaviour {
    pub(super) settings: ProviderSettings,
    pub(super) dry_after_calls: Option<u64>,
    rules: Vec<Rule>,
}

/// What befalls a call instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    /// Nothing ever comes back.
    Hang,
    /// The connection is closed without an answer.
    Disconnect,
    /// The vendor says no, and perhaps to wait so many seconds.
    Refusal(&'static Shape, u32),
}

#[derive(Debug)]
struct Rule {
    rate: f64,
    for_first: u64,
    calls: Option<Window>,
    seconds: Option<Window>,
    mishap: Mishap,
}

impl Scenario {
    /// The names of the built-in scenarios; the first one is the default.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A built-in scenario.
    #[must_use]
    pub fn builtin(name: &str) -> Option<Scenario> {
        let (name, yaml) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Scenario::parse(name, yaml).expect("a test reads every built-in scenario"))
    }

    /// A built-in scenario by its name, or one from a YAML file.
    ///
    /// # Errors
    /// If there is neither, or the file cannot be read or used: names file, line and field.
    pub fn load(name_or_path: &str) -> Result<Scenario, ScenarioError> {
        if let Some(scenario) = Scenario::builtin(name_or_path) {
            return Ok(scenario);
        }
        let path = Path::new(name_or_path);
        let unreadable = |source| ScenarioError::Unreadable { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ScenarioError::Unknown(name_or_path.to_owned()));
            }
            Err(error) => return Err(unreadable(error)),
            Ok(found) if found.len() > LARGEST_SCENARIO => {
                return Err(ScenarioError::TooLarge(path.to_owned()));
            }
            Ok(_) => {}
        }
        Scenario::parse(name_or_path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads YAML that came from `file`.
    pub(super) fn parse(file: &str, yaml: &str) -> Result<Scenario, ScenarioError> {
        let raw: File = serde_saphyr::from_str(yaml).map_err(|error| ScenarioError::Yaml {
            file: file.to_owned(),
            message: error.without_snippet().to_string(),
        })?;
        if raw.keep_bodies.value > MOST_KEPT_BODIES {
            let message = format!("{} is too many: keep up to {MOST_KEPT_BODIES}", raw.keep_bodies.value);
            return Err(invalid(file, "keep_bodies", raw.keep_bodies.referenced.line(), message));
        }
        let providers = [
            Behaviour::new(file, Dialect::Ollama, raw.ollama)?,
            Behaviour::new(file, Dialect::Kimi, raw.kimi)?,
            Behaviour::new(file, Dialect::Claude, raw.claude)?,
        ];
        Ok(Scenario(Arc::new(Inner {
            name: raw.name,
            fingerprint: blake3::hash(yaml.as_bytes()).to_hex().to_string(),
            seed: raw.seed,
            keep_bodies: raw.keep_bodies.value,
            providers,
        })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A hash of all that it says.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// What all chance is derived from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// How many request bodies are kept.
    pub(super) fn keep_bodies(&self) -> usize {
        self.0.keep_bodies
    }

    /// How the provider that speaks `dialect` behaves.
    pub(super) fn behaviour(&self, dialect: Dialect) -> &Behaviour {
        &self.0.providers[dialect.index()]
    }
}

fn invalid(file: &str, field: &str, line: u64, message: String) -> ScenarioError {
    ScenarioError::Invalid { file: file.to_owned(), line, field: field.to_owned(), message }
}

impl Behaviour {
    fn new(file: &str, dialect: Dialect, settings: ProviderSettings) -> Result<Behaviour, ScenarioError> {
        let provider = dialect.name();
        let mut rules = Vec::new();
        for (index, outage) in settings.outages.iter().enumerate() {
            let mishap = match &outage.answer {
                None => Mishap::Disconnect,
                Some(name) => mishap(file, dialect, &format!("{provider}.outages[{index}].as"), name, 1)?,
            };
            let (calls, seconds) = (outage.calls, outage.seconds);
            rules.push(Rule { rate: 1.0, for_first: u64::MAX, calls, seconds, mishap });
        }
        for (index, error) in settings.errors.iter().enumerate() {
            let field = format!("{provider}.errors[{index}].shape");
            rules.push(Rule {
                rate: error.rate.0,
                for_first: error.for_first.unwrap_or(u64::MAX),
                calls: error.calls,
                seconds: error.seconds,
                mishap: mishap(file, dialect, &field, &error.shape, error.wait_seconds)?,
            });
        }
        let dry_after_calls = settings.dry_after_calls.as_ref().map(|calls| calls.value);
        if let (Dialect::Ollama, Some(calls)) = (dialect, &settings.dry_after_calls) {
            let message = "ollama has no account that could run dry: leave this out".to_owned();
            return Err(invalid(file, "ollama.dry_after_calls", calls.referenced.line(), message));
        }
        Ok(Behaviour { settings, dry_after_calls, rules })
    }

    /// What befalls call `number`, `seconds` after the start, if anything does. Rates of rules
    /// that hold at the same time add up.
    pub(super) fn mishap(&self, number: u64, seconds: f64, dice: Dice) -> Option<Mishap> {
        let mut left = dice.unit(Draw::Error);
        for rule in &self.rules {
            let holds = number < rule.for_first
                && rule.calls.is_none_or(|window| window.contains(number as f64))
                && rule.seconds.is_none_or(|window| window.contains(seconds));
            if holds && left < rule.rate {
                return Some(rule.mishap);
            }
            if holds {
                left -= rule.rate;
            }
        }
        dice.hits(Draw::Hang, self.settings.hang_rate.0).then_some(Mishap::Hang)
    }
}

fn mishap(
    file: &str,
    dialect: Dialect,
    field: &str,
    name: &Spanned<String>,
    wait: u32,
) -> Result<Mishap, ScenarioError> {
    match name.value.as_str() {
        "hang" => Ok(Mishap::Hang),
        "disconnect" => Ok(Mishap::Disconnect),
        other => Shape::named(dialect, other).map(|shape| Mishap::Refusal(shape, wait)).ok_or_else(|| {
            let known: Vec<&str> = Shape::all(dialect).iter().map(|shape| shape.name).collect();
            let message = format!(
                "{} has no answer `{other}`: write hang, disconnect or one of {}",
                dialect.name(),
                known.join(", ")
            );
            invalid(file, field, name.referenced.line(), message)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_reads_and_knows_its_name() {
        for name in Scenario::names() {
            assert_eq!(Scenario::builtin(name).unwrap().name(), name);
        }
        assert_eq!(Scenario::names().next(), Some("steady"));
        assert!(Scenario::builtin("calm").is_none());
    }

    #[test]
    fn flaky_has_every_shape_of_every_dialect_but_the_terminal_ones() {
        let scenario = Scenario::builtin("flaky").unwrap();
        for dialect in Dialect::ALL {
            let rules = &scenario.behaviour(dialect).rules;
            for shape in Shape::all(dialect) {
                let terminal = [401, 402, 403, 404].contains(&shape.status)
                    || shape == Shape::dry(dialect)
                    || ["spend_limit", "spend_cap"].contains(&shape.name);
                let there = rules
                    .iter()
                    .any(|rule| matches!(rule.mishap, Mishap::Refusal(known, _) if known == shape));
                assert_eq!(there, !terminal, "{} {}", dialect.name(), shape.name);
            }
        }
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let say = |yaml: &str| Scenario::parse("mine.yaml", yaml).unwrap_err().to_string();
        let unknown = say("name: x\nkimi:\n  latencyy: 3\n");
        assert!(
            unknown.contains("mine.yaml") && unknown.contains("line 3") && unknown.contains("latencyy"),
            "{unknown}"
        );
        let shape = say("name: x\nclaude:\n  errors:\n    - shape: engine_overloaded\n");
        assert!(shape.contains("line 4") && shape.contains("claude.errors[0].shape"), "{shape}");
        assert!(shape.contains("overloaded"), "{shape}");
        let rate = say("name: x\nollama:\n  hang_rate: 2\n");
        assert!(rate.contains("line 3") && rate.contains("share from 0 to 1"), "{rate}");
        let dry = say("name: x\nollama:\n  dry_after_calls: 2\n");
        assert!(dry.contains("line 3") && dry.contains("ollama.dry_after_calls"), "{dry}");
        let missing = Scenario::load("no-such-thing").unwrap_err().to_string();
        assert!(missing.contains("steady") && missing.contains("no-such-thing"), "{missing}");
    }

    #[test]
    fn rules_hold_in_their_windows_and_rates_add_up() {
        let yaml = "name: x\nkimi:\n  outages: [{calls: {from: 2, to: 4}, as: server_error}]\n  errors:\n    \
                    - {shape: rate_limit, rate: 0.5, for_first: 2, wait_seconds: 7}\n    \
                    - {shape: hang, rate: 0.5, for_first: 2}\n    \
                    - {shape: disconnect, seconds: {from: 1, to: 2, every: 10}}\n";
        let scenario = Scenario::parse("x", yaml).unwrap();
        let kimi = scenario.behaviour(Dialect::Kimi);
        let dice = |n| Dice::new(1, Dialect::Kimi, &blake3::hash(b"x"), n);
        let rate_limit = Mishap::Refusal(Shape::named(Dialect::Kimi, "rate_limit").unwrap(), 7);
        for n in 0..50 {
            let first = kimi.mishap(0, 0.0, dice(n));
            assert!(first == Some(rate_limit) || first == Some(Mishap::Hang));
            assert!(
                matches!(kimi.mishap(3, 0.0, dice(n)), Some(Mishap::Refusal(shape, _)) if shape.status == 500)
            );
            assert_eq!(kimi.mishap(4, 0.5, dice(n)), None);
            assert_eq!(kimi.mishap(4, 11.5, dice(n)), Some(Mishap::Disconnect));
        }
    }
}
