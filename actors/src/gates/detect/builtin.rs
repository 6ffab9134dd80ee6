//! Anchors of the matchers that are written by hand, and the words that name a secret.

use super::named::command::COMMANDS;

/// A matcher written by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Built {
    /// A word that names a secret.
    Name,
    /// A word before a name and a password.
    Login,
    /// Words behind a password: "… to log in".
    LoginBehind,
    /// Columns and values of a database.
    Insert,
    /// A program that takes a password; its number in the table.
    Command(usize),
    /// `://`.
    Url,
    /// `Bearer`.
    Bearer,
    /// `Basic`.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// The first line of a key.
    KeyBlock,
    /// PuTTY's own key file.
    Putty,
    /// The sign of an e-mail address.
    At,
    /// The sign, spelt out.
    AtWord,
}

/// Every anchor in lower case, with its matcher.
pub(crate) fn anchors() -> impl Iterator<Item = (&'static str, Built)> {
    let fixed = [
        ("://", Built::Url),
        ("insert into", Built::Insert),
        ("bearer ", Built::Bearer),
        ("basic ", Built::Basic),
        ("eyj", Built::Jwt),
        ("---begin ", Built::KeyBlock),
        ("--- begin ", Built::KeyBlock),
        ("putty-user-key-file-", Built::Putty),
        ("@", Built::At),
    ];
    let names = NAMES.iter().map(|name| (*name, Built::Name));
    let logins = LOGINS.iter().map(|word| (*word, Built::Login));
    let logins = logins.chain(LOGINS_BEHIND.iter().map(|word| (*word, Built::LoginBehind)));
    let at = AT_WORDS.iter().map(|word| (*word, Built::AtWord));
    let commands = COMMANDS.iter().enumerate().map(|(index, command)| (command.name, Built::Command(index)));
    fixed.into_iter().chain(names).chain(logins).chain(at).chain(commands)
}

/// Parts of names of secrets. Whether the whole name is one, `named::names` decides.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passwort",
    "passwörter",
    "passphrase",
    "passcode",
    "kennwort",
    "pwd",
    "pass",
    "pw",
    "secret",
    "token",
    "apikey",
    "api key",
    "api-key",
    "api_key",
    "accesskey",
    "access key",
    "access-key",
    "access_key",
    "secretkey",
    "private key",
    "private_key",
    "private-key",
    "privatekey",
    "signing key",
    "encryption key",
    "master key",
    "key",
    "schlüssel",
    "schluessel",
    "geheimnis",
    "credential",
    "authorization",
    "auth",
    "pin",
    "otp",
    "tan",
    "cvv",
    "cvc",
    "mnemonic",
    "seed phrase",
    "recovery phrase",
    "seed",
    "sessionid",
    "session_id",
    "sessid",
    "identified by",
    "parole",
    "losung",
    "zugangscode",
    "freischaltcode",
    "sicherheitscode",
    "verification code",
    "bestätigungscode",
    "passkey",
    "signature",
    "connection string",
];

const LOGINS: &[&str] = &[
    "login",
    "zugangsdaten",
    "anmeldedaten",
    "logindaten",
    "zugang",
    "credentials",
    "creds",
    "log in with",
    "sign in with",
    "melde dich mit",
    "melden sie sich mit",
    "einloggen mit",
    "anmelden mit",
    "logge dich mit",
];

const LOGINS_BEHIND: &[&str] = &[
    "to log in",
    "to login",
    "to sign in",
    "to log on",
    "zum einloggen",
    "zum anmelden",
    "zum login",
    "beim login",
];

const AT_WORDS: &[&str] =
    &["(at)", "[at]", "{at}", "<at>", " at ", "(ät)", "[ät]", " ät ", "(@)", "[@]", "_at_", "-at-"];

/// Words before a token that says nothing by itself.
pub(crate) const NAMING_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passwort",
    "kennwort",
    "secret",
    "token",
    "api key",
    "apikey",
    "api-key",
    "api_key",
    "key",
    "schlüssel",
    "schluessel",
    "credential",
    "zugang",
    "geheim",
    "bearer",
];

/// Words that say that a number is no secret.
pub(crate) const HARMLESS_WORDS: &[&str] = &[
    "commit",
    "sha",
    "hash",
    "digest",
    "checksum",
    "uuid",
    "guid",
    "etag",
    "primary key",
    "foreign key",
    "public key",
    "public_key",
    "publickey",
    "cache key",
    "order",
    "bestell",
    "fingerprint",
    "revision",
    "tracking",
    "trace",
    "integrity",
    "primary_key",
    "foreign_key",
    "md5",
    "parent",
    "blob",
    "tree",
    "idempotency",
    "ssh-rsa",
    "ssh-ed25519",
    "build",
    "version",
    "request id",
    "request_id",
];
