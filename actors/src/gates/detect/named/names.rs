//! Whether a name (of a field, a variable, an option, in a sentence) is that of a secret.

/// What kind of value a name promises, and so what may count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A password: nearly anything.
    Password,
    /// A key or token: nothing that is a word.
    Key,
    /// `token`, `key`, `pass`: only what looks like one.
    Bare,
    /// Digits: a PIN, a one-time code.
    Digits,
    /// Several words.
    Phrase,
    /// The value of an `Authorization` header: a scheme, then the secret.
    Header,
}

impl Kind {
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Kind::Password => "named-password",
            Kind::Key | Kind::Bare => "named-key",
            Kind::Digits => "named-code",
            Kind::Phrase => "named-phrase",
            Kind::Header => "authorization-header",
        }
    }
}

/// Last words of names that speak about a secret but do not hold one.
const ABOUT: &[&str] = &[
    "length",
    "len",
    "count",
    "counts",
    "id",
    "ids",
    "name",
    "names",
    "type",
    "types",
    "url",
    "uri",
    "path",
    "file",
    "files",
    "field",
    "fields",
    "policy",
    "policies",
    "reset",
    "changed",
    "expiry",
    "expires",
    "expiration",
    "ttl",
    "size",
    "limit",
    "limits",
    "min",
    "max",
    "required",
    "hint",
    "prompt",
    "label",
    "regex",
    "pattern",
    "format",
    "env",
    "manager",
    "store",
    "provider",
    "service",
    "helper",
    "input",
    "form",
    "page",
    "link",
    "strength",
    "error",
    "validator",
    "validation",
    "usage",
    "used",
    "budget",
    "index",
    "per",
    "rate",
    "at",
    "in",
    "exists",
    "valid",
    "enabled",
    "disabled",
    "version",
    "algorithm",
    "alg",
    "encoder",
    "hasher",
    "checker",
    "generator",
    "factory",
    "class",
    "test",
    "tests",
    "endpoint",
    "issuer",
    "header",
    "prefix",
    "suffix",
    "source",
    "ref",
    "selector",
    "mode",
    "method",
    "rotation",
    "tokens",
    "tokenizer",
    "vault",
    "scanner",
    "scope",
    "scopes",
    "audience",
    "status",
    "state",
    "date",
    "time",
    "created",
    "updated",
    "config",
    "settings",
    "options",
    "handler",
    "column",
    "placeholder",
    "bucket",
    "map",
    "chain",
    "pair",
    "ring",
    "board",
    "visible",
    "visibility",
    "toggle",
    "attempts",
    "retries",
    "age",
    "history",
    "window",
    "str",
];

/// Words after which `key` is the key to something.
const KEY_OF: &[&str] = &[
    "api",
    "access",
    "secret",
    "auth",
    "signing",
    "encryption",
    "master",
    "shared",
    "license",
    "licence",
    "client",
    "storage",
    "deploy",
    "subscription",
    "admin",
    "consumer",
    "webhook",
    "app",
    "application",
    "lizenz",
    "private",
    "service",
    "account",
    "server",
    "session",
    "hmac",
    "aes",
    "jwt",
    "decryption",
    "personal",
    "vault",
    "ssh",
    "x",
];

/// Words after which `key` opens nothing.
const KEY_OF_DATA: &[&str] = &[
    "primary",
    "foreign",
    "public",
    "sort",
    "cache",
    "partition",
    "hot",
    "map",
    "row",
    "object",
    "dict",
    "lookup",
    "group",
    "unique",
    "index",
    "json",
    "hash",
    "candidate",
    "message",
    "routing",
    "ordering",
    "idempotency",
    "s3",
];

/// What the name of a value says about it; `None` if it is no secret's.
pub(crate) fn classify(name: &str) -> Option<Kind> {
    let words = words(name);
    let last = words.last()?;
    if ABOUT.contains(&last.as_str()) {
        return None;
    }
    let has = |word: &str| words.iter().any(|known| known == word);
    if words.iter().any(|word| is_password(word)) {
        return Some(Kind::Password);
    }
    if has("phrase") || has("mnemonic") || last == "passphrase" || last == "seed" && words.len() > 1 {
        return Some(Kind::Phrase);
    }
    if matches!(
        last.as_str(),
        "apikey"
            | "accesskey"
            | "secretkey"
            | "authtoken"
            | "accesstoken"
            | "clientsecret"
            | "privatekey"
            | "apitoken"
            | "bearertoken"
            | "refreshtoken"
            | "authkey"
            | "signingkey"
            | "masterkey"
            | "sessionid"
            | "sessid"
            | "accountkey"
            | "sharedaccesskey"
            | "sharedaccesssignature"
            | "phpsessid"
            | "jsessionid"
            | "passkey"
            | "idtoken"
            | "bottoken"
            | "encryptionkey"
            | "zugangscode"
            | "freischaltcode"
            | "sharedkey"
            | "storagekey"
            | "apisecret"
            | "appsecret"
            | "secrettoken"
            | "webhooksecret"
            | "consumersecret"
            | "dbpass"
            | "userpass"
    ) {
        return Some(Kind::Key);
    }
    if matches!(last.as_str(), "authorization" | "auth") {
        return (last == "authorization" || words.len() > 1).then_some(Kind::Header);
    }
    let is_key = matches!(last.as_str(), "key" | "schlüssel" | "schluessel");
    if is_key && words.iter().any(|word| KEY_OF_DATA.contains(&word.as_str())) {
        return None;
    }
    if is_key && words.iter().any(|word| KEY_OF.contains(&word.as_str())) {
        return Some(Kind::Key);
    }
    match last.as_str() {
        "secret" | "geheimnis" | "credential" | "parole" | "losung" => Some(Kind::Key),
        "token" if words.len() > 1 => Some(Kind::Key),
        "token" | "key" | "schlüssel" | "schluessel" | "pass" | "pw" | "signature" | "credentials" => {
            Some(Kind::Bare)
        }
        "pin" | "otp" | "tan" | "cvv" | "cvc" | "cvv2" | "sicherheitscode" | "bestätigungscode" => {
            Some(Kind::Digits)
        }
        "code" | "nummer" | "number" if has("verification") || has("pin") || has("otp") => Some(Kind::Digits),
        "string" if has("connection") => Some(Kind::Bare),
        "by" => Some(Kind::Password),
        _ => None,
    }
}

/// `pass` and `pw` count as passwords where another word says whose.
fn is_password(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    ["password", "passwort", "kennwort", "passwd", "pwd", "passcode"].iter().any(|end| word.ends_with(end))
        || matches!(word, "passphrase" | "rootpw" | "adminpw" | "userpw" | "dbpw" | "pgpass" | "mypass")
}

/// The words of a name, in lower case: divided at signs and where capitals begin.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let begins = letter.is_uppercase()
            && (before.is_lowercase()
                || before.is_numeric()
                || letters.peek().is_some_and(|next| next.is_lowercase()));
        if (!letter.is_alphanumeric() || begins) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn tells_names_of_secrets_from_names_about_them() {
        for (name, kind) in [
            ("password", Some(Kind::Password)),
            ("DB_PASSWORD_PROD", Some(Kind::Password)),
            ("spring.datasource.password", Some(Kind::Password)),
            ("adminPassword2", Some(Kind::Password)),
            ("WLAN-Passwort", Some(Kind::Password)),
            ("apiKey", Some(Kind::Key)),
            ("X-API-Key", Some(Kind::Key)),
            ("APIKEY", Some(Kind::Key)),
            ("client_secret", Some(Kind::Key)),
            ("access token", Some(Kind::Key)),
            ("token", Some(Kind::Bare)),
            ("PIN", Some(Kind::Digits)),
            ("max_tokens", None),
            ("password_length", None),
            ("passwordPolicy", None),
            ("opinion", None),
            ("secretary", None),
            ("keyboard", None),
            ("primary_key", None),
            ("token_type", None),
            ("bypass", None),
        ] {
            assert_eq!(classify(name), kind, "{name}");
        }
    }
}
