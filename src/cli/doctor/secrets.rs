//! What `doctor` tells of the privacy gate: which sources of the owner's own secrets hold nothing,
//! and which of them or of the rules cannot be read, so that nothing runs.

use std::path::Path;

use super::{Finding, Health};
use crate::config::{Config, EMPTY_SOURCE, Env};
use crate::privacy::keychain::Keychain;
use crate::privacy::rules;
use crate::text;

const WHAT: &str = "own secrets";

/// What is registered, and what is not.
pub(super) fn findings(config: &Config, env: &Env<'_>, keychain: &Keychain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &config.privacy.own {
        let name = source.name();
        let (health, found, todo) = match source.read(env, keychain) {
            Ok(values) if !values.is_empty() => continue,
            Ok(_) => (Health::Attention, format!("{name} holds nothing"), EMPTY_SOURCE),
            Err(error) => (Health::Bad, error.to_string(), "nothing runs before"),
        };
        findings.push(Finding::other(WHAT, health, found, todo));
    }
    if findings.iter().any(|finding| finding.health == Health::Bad) {
        return findings;
    }
    match config.own_secrets(env, keychain) {
        Ok(own) => findings.push(Finding::good(WHAT, format!("{} registered", own.secrets.len()))),
        Err(error) => {
            findings.push(Finding::other(WHAT, Health::Bad, error.to_string(), "nothing runs before"));
        }
    }
    findings
}

/// Whether the rules can be put in force, those in the data folder `home` among them.
pub(super) fn rules(home: &Path) -> Finding {
    const WHAT: &str = "privacy rules";
    match rules::look(home).and_then(|look| rules::load(&look)) {
        Ok(rules) => Finding::good(WHAT, text::count(rules.len() as u64, "format")),
        Err(error) => Finding::other(WHAT, Health::Bad, error.to_string(), "nothing runs before"),
    }
}
