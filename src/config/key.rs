//! Where a provider's key comes from, and what is a key.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::error::{ConfigError, Place};
use super::tree::Field;
use super::{Env, ProviderSetting};
use crate::privacy::keychain::{Keychain, KeychainEntry, PREFIX};

/// Where a provider's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// An environment variable.
    Variable(String),
    /// An entry of the system's keychain.
    Keychain(KeychainEntry),
}

impl KeySource {
    /// What puts a key there.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            KeySource::Variable(name) => format!("set {name}"),
            KeySource::Keychain(entry) => format!("store one as {entry} (`{}`)", entry.command()),
        }
    }

    /// Reads the field that says it. A key written there by mistake is never repeated.
    pub(super) fn read(field: &Field) -> Result<Option<KeySource>, ConfigError> {
        let text = field.text()?;
        if let Some(entry) = text.strip_prefix(PREFIX) {
            let entry = KeychainEntry::parse(entry).map(KeySource::Keychain).map(Some);
            return entry.ok_or_else(|| {
                let remedy = "write keychain:SERVICE/ACCOUNT, like \"keychain:moonshot/me\"";
                field.invalid("names no entry of the keychain", remedy)
            });
        }
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !text.bytes().all(plain) || text.len() > 64 {
            return Err(field.invalid(
                "is no name of a variable",
                "put the key itself into an environment variable and write that variable's name here, like \"MOONSHOT_API_KEY\", or keep it in the keychain and write keychain:SERVICE/ACCOUNT",
            ));
        }
        Ok((!text.is_empty()).then(|| KeySource::Variable(text.to_owned())))
    }

    /// The key, if it is in the environment.
    pub(super) fn key_in_env(&self, env: &Env<'_>) -> Result<Option<SecretString>, ConfigError> {
        let KeySource::Variable(name) = self else { return Ok(None) };
        let Some(text) = env(name).map(SecretString::from) else { return Ok(None) };
        checked(&text, || (Place::variable(name), name.clone()))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Variable(name) => write!(f, "env:{name}"),
            KeySource::Keychain(entry) => entry.fmt(f),
        }
    }
}

impl KeySource {
    /// The key, if it is in the keychain.
    pub(super) fn key_in_keychain(&self, keychain: &Keychain) -> Result<Option<SecretString>, ConfigError> {
        let KeySource::Keychain(entry) = self else { return Ok(None) };
        let Some(text) = keychain.read(entry).map_err(ConfigError::Keychain)? else { return Ok(None) };
        checked(&text, || (Place::keychain(), entry.to_string()))
    }
}

impl ProviderSetting {
    /// Its key, if that is in the keychain.
    ///
    /// # Errors
    /// The keychain cannot be read, or holds something else than a key.
    pub fn key_in(&self, keychain: &Keychain) -> Result<Option<SecretString>, ConfigError> {
        self.key_source.as_ref().map_or(Ok(None), |source| source.key_in_keychain(keychain))
    }
}

/// The key without space around it; `place` is its place and name, for errors.
fn checked(
    text: &SecretString,
    place: impl FnOnce() -> (Place, String),
) -> Result<Option<SecretString>, ConfigError> {
    let key = text.expose_secret().trim();
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        let (place, field) = place();
        return Err(ConfigError::Invalid {
            place,
            field,
            problem: "holds characters that no key has".to_owned(),
            remedy: "set it to the key alone, without quotes, spaces or line breaks".to_owned(),
        });
    }
    Ok((!key.is_empty()).then(|| SecretString::from(key)))
}
