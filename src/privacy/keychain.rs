//! The system's keychain: macOS's own, and on Linux the keyring that the kernel keeps.

use std::fmt;
use std::sync::Arc;

use keyring_core::{CredentialStore, Error};
use secrecy::SecretString;

/// A longer service or account is none.
const MAX_NAME_BYTES: usize = 256;

/// What calls a keychain's entry by its name in the configuration.
pub const PREFIX: &str = "keychain:";

/// The name of one entry: what it is for, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeychainEntry {
    service: String,
    account: String,
}

impl KeychainEntry {
    /// Reads `SERVICE/ACCOUNT`. The last `/` parts them, so that a service may be an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeychainEntry> {
        let (service, account) = text.trim().rsplit_once('/')?;
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control)
        };
        (is_name(service) && is_name(account))
            .then(|| KeychainEntry { service: service.to_owned(), account: account.to_owned() })
    }

    /// The command that puts a value there; it asks for the value, or reads it.
    #[must_use]
    pub fn command(&self) -> String {
        let (service, account) = (&self.service, &self.account);
        if cfg!(target_os = "macos") {
            format!("security add-generic-password -s {} -a {} -w", quoted(service), quoted(account))
        } else {
            format!("keyctl padd user {} @s", quoted(&format!("keyring:{account}@{service}")))
        }
    }
}

impl fmt::Display for KeychainEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.service, self.account)
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@/".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Why an entry cannot be read. One that is not there is no error. Whoever does not know a secret
/// could let it out, so nothing runs before this is put right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// There is no keychain here.
    #[error("{0} cannot be read: no keychain of this system is known; write env:NAME or file:PATH instead")]
    None(KeychainEntry),
    /// It is locked, or access is denied.
    #[error(
        "{entry} cannot be read ({why}): unlock the keychain and let this program read the entry, or take it out of the configuration"
    )]
    Refused {
        /// Which entry.
        entry: KeychainEntry,
        /// What the system said.
        why: String,
    },
    /// No keychain has entries of such a name.
    #[error("{entry} is no name of an entry here ({why}): correct it in the configuration")]
    BadName {
        /// Which entry.
        entry: KeychainEntry,
        /// What is wrong with it.
        why: String,
    },
    /// What it holds can be found in no text.
    #[error("{0} holds bytes that are no UTF-8 text: store the secret as text")]
    NotText(KeychainEntry),
}

/// Where entries are looked up.
pub struct Keychain(Option<Arc<CredentialStore>>);

impl Keychain {
    /// That of this system. Where there is none, every entry is refused.
    #[must_use]
    pub fn system() -> Keychain {
        Keychain(system_store())
    }

    /// The value of an entry; `None` if there is no such entry.
    ///
    /// # Errors
    /// The keychain is locked, denies the access or fails, or the value is no text.
    pub fn read(&self, entry: &KeychainEntry) -> Result<Option<SecretString>, KeychainError> {
        let store = self.0.as_ref().ok_or_else(|| KeychainError::None(entry.clone()))?;
        let value = store.build(&entry.service, &entry.account, None).and_then(|found| found.get_secret());
        match value {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| KeychainError::NotText(entry.clone()))?;
                Ok((!text.trim().is_empty()).then(|| SecretString::from(text)))
            }
            Err(Error::NoEntry) => Ok(None),
            Err(Error::Invalid(_, why)) => Err(KeychainError::BadName { entry: entry.clone(), why }),
            Err(error) => Err(KeychainError::Refused { entry: entry.clone(), why: reason(&error) }),
        }
    }
}

/// What the system said; never what an entry holds, which some errors carry.
fn reason(error: &Error) -> String {
    match error {
        Error::NoStorageAccess(why) | Error::PlatformFailure(why) => why.to_string(),
        Error::BadDataFormat(..) => "its data is not what it should be".to_owned(),
        Error::Ambiguous(found) => format!("{} entries have this name", found.len()),
        other => other.to_string(),
    }
}

#[cfg(target_os = "macos")]
fn system_store() -> Option<Arc<CredentialStore>> {
    let store: Arc<CredentialStore> = apple_native_keyring_store::keychain::Store::new().ok()?;
    Some(store)
}

#[cfg(target_os = "linux")]
fn system_store() -> Option<Arc<CredentialStore>> {
    // The kernel knows one name, `keyring:ACCOUNT@SERVICE`. Without an `@` in the service, no two
    // entries share it.
    let settings = std::collections::HashMap::from([("service_no_divider", "true")]);
    let store: Arc<CredentialStore> =
        linux_keyutils_keyring_store::Store::new_with_configuration(&settings).ok()?;
    Some(store)
}

#[cfg(not(any(target_os = "macos", target_os = "linux")))]
fn system_store() -> Option<Arc<CredentialStore>> {
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use keyring_core::{Entry, mock};
    use secrecy::ExposeSecret;

    use super::*;

    /// A keychain with one entry.
    pub(crate) fn with(entry: &KeychainEntry, value: &[u8]) -> Keychain {
        let (keychain, there) = empty(entry);
        there.set_secret(value).unwrap();
        keychain
    }

    /// A keychain that answers the next look at an entry with an error.
    pub(crate) fn refusing(entry: &KeychainEntry, error: Error) -> Keychain {
        let (keychain, there) = empty(entry);
        there.as_any().downcast_ref::<mock::Cred>().unwrap().set_error(error);
        keychain
    }

    fn empty(entry: &KeychainEntry) -> (Keychain, Entry) {
        let store: Arc<CredentialStore> = mock::Store::new().unwrap();
        let there = store.build(&entry.service, &entry.account, None).unwrap();
        (Keychain(Some(store)), there)
    }

    pub(crate) fn entry(text: &str) -> KeychainEntry {
        KeychainEntry::parse(text).unwrap()
    }

    pub(crate) fn locked() -> Error {
        Error::NoStorageAccess("the keychain is locked".into())
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let address = entry("https://api.example/v1/me@corp.example");
        assert_eq!((&*address.service, &*address.account), ("https://api.example/v1", "me@corp.example"));
        assert_eq!(address.to_string(), "keychain:https://api.example/v1/me@corp.example");
        assert!(entry("my bank/o'neill").command().contains(r"o'\''neill"));
        let long = format!("{}/me", "s".repeat(MAX_NAME_BYTES + 1));
        for wrong in ["", "github", "/me", "github/", "git\nhub/me", "git\0hub/me", &long] {
            assert_eq!(KeychainEntry::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_nothing_and_every_refusal_names_the_entry_and_what_to_do() {
        let github = entry("github/me");
        let value = with(&github, b"a value").read(&github).unwrap().unwrap();
        assert_eq!(value.expose_secret(), "a value");
        assert!(with(&github, b"a value").read(&entry("github/you")).unwrap().is_none());
        assert!(with(&github, b" \n").read(&github).unwrap().is_none());

        let wants = |error: Error, says: &[&str]| {
            let error = refusing(&github, error).read(&github).unwrap_err().to_string();
            for says in ["keychain:github/me"].iter().chain(says) {
                assert!(error.contains(says), "{error}");
            }
        };
        wants(locked(), &["the keychain is locked", "unlock", "take it out"]);
        wants(Error::PlatformFailure("denied".into()), &["denied", "unlock"]);
        wants(Error::Invalid("service".into(), "too odd".into()), &["too odd", "correct it"]);
        wants(Error::BadDataFormat(b"hunter2".to_vec(), "hunter2".into()), &["unlock"]);
        let none = Keychain(None).read(&github).unwrap_err();
        assert_eq!(none, KeychainError::None(github.clone()));
        assert!(none.to_string().contains("env:NAME or file:PATH"));
        let bytes = with(&github, b"\xff\xfe").read(&github).unwrap_err();
        assert_eq!(bytes, KeychainError::NotText(github));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_own_keyring_is_read() {
        let name = entry(&format!("empire-test-{}/me@corp.example", std::process::id()));
        let store = system_store().unwrap();
        let there = store.build(&name.service, &name.account, None);
        let there = match there.and_then(|there| there.set_secret(b"kept by the kernel").map(|()| there)) {
            Ok(there) => there,
            Err(error) => return eprintln!("SKIPPED: the kernel refuses its keyring here: {error}"),
        };
        let read = Keychain::system().read(&name);
        there.delete_credential().unwrap();
        assert_eq!(read.unwrap().unwrap().expose_secret(), "kept by the kernel");
        let other = entry(&format!("empire-test-{}/you", std::process::id()));
        assert!(Keychain::system().read(&other).unwrap().is_none());
        let ambiguous = Keychain::system().read(&entry("corp.example@x/me")).unwrap_err();
        assert!(matches!(ambiguous, KeychainError::BadName { .. }), "{ambiguous}");
    }
}
