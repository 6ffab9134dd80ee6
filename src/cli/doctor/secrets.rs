//! What `doctor` tells of the owner's own secrets: which sources hold nothing, and which cannot be
//! read, so that nothing runs.

use super::{Finding, Health};
use crate::config::{Config, EMPTY_SOURCE, Env};
use crate::privacy::keychain::Keychain;

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
