//! Finds secrets and e-mail addresses in text, and cuts them out. Pure, linear time (the regex
//! engine does not backtrack).

pub mod found;
pub mod legal;
mod lexicon;
pub mod personal;

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What kind of value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A key, token, password or the like.
    Secret,
    /// An e-mail address.
    Email,
}

impl Kind {
    fn placeholder(self, number: usize) -> String {
        match self {
            Kind::Secret => format!("<SECRET_{number}>"),
            Kind::Email => format!("<EMAIL_{number}>"),
        }
    }
}

/// Formats that say by themselves that they are secret. A token ends where its alphabet ends, so
/// that prose, mail and chat around it do not hide it.
const SHAPED: &[&str] = &[
    // Private keys with their bodies; a cut-off one reaches to the end of the text.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    // JSON Web Tokens.
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    // Cloud providers.
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",
    r"AIza[0-9A-Za-z_-]{35}",
    r"ya29\.[0-9A-Za-z_-]{20,}",
    r"GOCSPX-[0-9A-Za-z_-]{20,}",
    r"do[opr]_v1_[0-9a-f]{32,}",
    r"dop_v1_[0-9a-f]{32,}",
    r"tskey-[a-z]+-[0-9A-Za-z-]{10,}",
    // Model vendors: OpenAI, Anthropic, Moonshot and others share this head.
    r"sk-[A-Za-z0-9_-]{16,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"gsk_[A-Za-z0-9]{20,}",
    r"xai-[A-Za-z0-9]{20,}",
    r"r8_[A-Za-z0-9]{30,}",
    r"pplx-[A-Za-z0-9]{30,}",
    // Code hosts and package registries.
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"gl(?:pat|dt|ptt|rt|soat|cbt)-[A-Za-z0-9_-]{16,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[A-Za-z0-9_-]{16,}",
    r"dckr_pat_[A-Za-z0-9_-]{20,}",
    // Chat, mail, payment, shops.
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"xapp-[0-9]-[A-Za-z0-9-]{10,}",
    r"hooks\.slack\.com/services/[A-Za-z0-9/_-]{20,}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"key-[0-9a-f]{32}",
    r"(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{10,}",
    r"whsec_[A-Za-z0-9+/=]{20,}",
    r"sq0(?:atp|csp)-[0-9A-Za-z_-]{20,}",
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,}",
    r"lin_api_[A-Za-z0-9]{30,}",
    r"(?:secret|ntn)_[A-Za-z0-9]{40,}",
    r"NRAK-[A-Z0-9]{20,}",
    r"dapi[0-9a-f]{32}",
    r"hvs\.[A-Za-z0-9_-]{20,}",
];

/// A value after a word that names it: `password: …`, `"api_key" = "…"`, `Passwort ist …`.
/// Group `value` is what goes.
const NAMED: &[&str] = &[
    r#"(?i)(?:pass(?:word|wd|phrase|wort|code)?|pwd|kennwort|secret|api[_ -]?key|access[_ -]?key|private[_ -]?key|client[_ -]?secret|auth[_ -]?token|access[_ -]?token|refresh[_ -]?token|zugangsdaten|schlüssel|token)["'`]?\s*(?:=>|:=|=|:)\s*["'`]?(?P<value>[^\s"'`,;<>{}\[\]()]{4,})"#,
    r#"(?i)(?:password|passphrase|passcode|passwort|kennwort|pin)\s+(?:is|ist|lautet|war|was)\s*:?\s*["'`„“]?(?P<value>[^\s"'`,;<>„“]{4,})"#,
    r"(?i)(?:bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{16,})",
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]+:(?P<value>[^\s@/]+)@",
    r"(?:--password|--passwd|--token|--api-key|-p)[= ](?P<value>[^\s-][^\s]{5,})",
];

const EMAIL: &str =
    r"[\p{L}\p{N}][\p{L}\p{N}._%+'-]*(?:@|%40|＠|&#64;|&commat;)[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+";

#[allow(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
static SECRETS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&SHAPED.join("|")).expect("the shaped patterns compile"));
#[allow(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
static NAMED_VALUES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    NAMED.iter().map(|pattern| Regex::new(pattern).expect("the named patterns compile")).collect()
});
#[allow(clippy::expect_used, reason = "the pattern is a constant, and a test compiles it")]
static EMAILS: LazyLock<Regex> = LazyLock::new(|| Regex::new(EMAIL).expect("the e-mail pattern compiles"));

/// Cuts secrets and addresses out of the texts of one call. The same value gets the same
/// placeholder wherever it stands.
#[derive(Debug, Default)]
pub struct Redactor {
    placeholders: HashMap<String, String>,
    secrets: usize,
    emails: usize,
}

impl Redactor {
    /// How many different values were found.
    #[must_use]
    pub fn found(&self) -> u32 {
        u32::try_from(self.placeholders.len()).unwrap_or(u32::MAX)
    }

    /// Finds what has to go from `text` and remembers it.
    pub fn learn(&mut self, text: &str) {
        for found in SECRETS.find_iter(text) {
            self.remember(found.as_str(), Kind::Secret);
        }
        // Most texts match none: asking that first is several times cheaper than for captures.
        for pattern in NAMED_VALUES.iter().filter(|pattern| pattern.is_match(text)) {
            for captures in pattern.captures_iter(text) {
                if let Some(value) = secret_value(&captures) {
                    self.remember(value, Kind::Secret);
                }
            }
        }
        if text.contains(['@', '%', '＠', '&']) {
            for found in EMAILS.find_iter(text) {
                self.remember(found.as_str(), Kind::Email);
            }
        }
    }

    /// The text without any value that was learnt, from this text or another of the call.
    #[must_use]
    pub fn cut(&self, text: &str) -> Option<String> {
        if self.placeholders.is_empty() {
            return None;
        }
        // Longest first: a value may be a part of another one.
        let mut values: Vec<_> =
            self.placeholders.iter().filter(|(value, _)| text.contains(value.as_str())).collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(b.0)));
        let mut cut = text.to_owned();
        for (value, placeholder) in values {
            cut = cut.replace(value.as_str(), placeholder);
        }
        Some(cut)
    }

    /// Learns from every string and key of a JSON value.
    pub fn learn_json(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.learn(text),
            Value::Array(values) => values.iter().for_each(|value| self.learn_json(value)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                self.learn(key);
                self.learn_json(value);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The JSON value without any value that was learnt.
    #[must_use]
    pub fn cut_json(&self, value: &Value) -> Value {
        let cut = |text: &String| self.cut(text).unwrap_or_else(|| text.clone());
        match value {
            Value::String(text) => Value::String(cut(text)),
            Value::Array(values) => Value::Array(values.iter().map(|value| self.cut_json(value)).collect()),
            Value::Object(map) => {
                Value::Object(map.iter().map(|(key, value)| (cut(key), self.cut_json(value))).collect())
            }
            other => other.clone(),
        }
    }

    fn remember(&mut self, value: &str, kind: Kind) {
        if self.placeholders.contains_key(value) {
            return;
        }
        let count = match kind {
            Kind::Secret => &mut self.secrets,
            Kind::Email => &mut self.emails,
        };
        *count += 1;
        self.placeholders.insert(value.to_owned(), kind.placeholder(*count));
    }
}

/// The captured value, unless it plainly stands for one: a variable, a mask, a word.
fn secret_value<'t>(captures: &Captures<'t>) -> Option<&'t str> {
    let value = captures.name("value")?.as_str().trim_end_matches(['.', '!', '?', ':']);
    let lower = value.to_ascii_lowercase();
    let is_reference =
        value.starts_with(['$', '%', '<', '{']) || lower.contains("environ") || lower.contains("getenv");
    let is_mask = value.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '•' | '_' | '-'));
    let is_word = matches!(
        lower.as_str(),
        "none"
            | "null"
            | "true"
            | "false"
            | "required"
            | "optional"
            | "string"
            | "undefined"
            | "empty"
            | "nicht"
    );
    // A plain lower-case word after "is" is prose ("the password is wrong"), not a password.
    let is_prose = captures.get(0).is_some_and(|all| !all.as_str().contains(['=', ':']))
        && captures.get(0).is_some_and(|all| !all.as_str().contains("://"))
        && value.chars().all(|c| c.is_lowercase());
    let is_short = value.chars().count() < 4;
    (!is_reference && !is_mask && !is_word && !is_prose && !is_short).then_some(value)
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redact(text: &str) -> String {
        let mut redactor = Redactor::default();
        redactor.learn(text);
        redactor.cut(text).unwrap_or_else(|| text.to_owned())
    }

    /// Samples are put together here, so that the repository holds no token.
    fn token(head: &str, body: &str, length: usize) -> String {
        let body: String = body.chars().cycle().take(length).collect();
        format!("{head}{body}")
    }

    #[test]
    fn cuts_keys_and_tokens_out_of_prose_mail_and_code() {
        let samples = [
            token("AKIA", "QZ7XV2", 16),
            token("ghp_", "aB3dE5", 36),
            token("sk-ant-api03-", "Zk8_q-", 60),
            token("sk_live_", "a1B2c3", 24),
            token("xoxb-", "123456789-", 40),
            token("AIza", "Sy4_k-", 35),
            token("glpat-", "x9Y8z7", 20),
            format!(
                "{}.{}.{}",
                token("eyJ", "hbGci1", 20),
                token("eyJ", "zdWIi2", 30),
                token("", "s1Gn4t", 43)
            ),
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
                token("", "MIIEow", 200)
            ),
        ];
        for sample in samples {
            for frame in [
                "use {} now.",
                "key=\"{}\"",
                "({}), thanks",
                "Nimm „{}“ bitte",
                "{}\n-- \nsent from my phone",
            ] {
                let text = frame.replace("{}", &sample);
                let cut = redact(&text);
                assert!(!cut.contains(&sample), "{text} became {cut}");
                assert!(cut.contains("<SECRET_1>"), "{cut}");
            }
        }
    }

    #[test]
    fn cuts_values_by_the_name_before_them() {
        for (text, cut) in [
            ("password: hunter2!x", "password: <SECRET_1>"),
            (r#"{"api_key": "zzTop99"}"#, r#"{"api_key": "<SECRET_1>"}"#),
            ("Das Passwort ist Sommer2026.", "Das Passwort ist <SECRET_1>."),
            ("my password is Tr0ub4dor, ok?", "my password is <SECRET_1>, ok?"),
            ("postgres://app:s3cr3tpw@db/x", "postgres://app:<SECRET_1>@db/x"),
            ("Authorization: Bearer abcdef0123456789abcd", "Authorization: Bearer <SECRET_1>"),
        ] {
            assert_eq!(redact(text), cut);
        }
    }

    #[test]
    fn leaves_harmless_text_alone() {
        for text in [
            "the password is wrong",
            "password: ${DB_PASSWORD}",
            "api_key = os.environ[\"KEY\"]",
            "password: ********",
            "token: none",
            "the token economy is growing",
            "Basic research and skill-building at 3M",
            "a sketch of the risk-based approach",
            "meet @ noon, room 3",
            "price 12 % of sales",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn the_same_value_gets_the_same_placeholder_everywhere() {
        let mut redactor = Redactor::default();
        redactor.learn("write to anna.muster@example.org or bert@example.org");
        redactor.learn("no address in here");
        assert_eq!(
            redactor.cut("anna.muster@example.org, again anna.muster@example.org; bert@example.org").unwrap(),
            "<EMAIL_1>, again <EMAIL_1>; <EMAIL_2>"
        );
        assert_eq!(redactor.found(), 2);
    }

    #[test]
    fn walks_keys_and_strings_of_json() {
        let mut redactor = Redactor::default();
        let value = serde_json::json!({"who@example.org": ["x", {"note": "ask who@example.org"}], "n": 1});
        redactor.learn_json(&value);
        assert_eq!(
            redactor.cut_json(&value),
            serde_json::json!({"<EMAIL_1>": ["x", {"note": "ask <EMAIL_1>"}], "n": 1})
        );
    }

    proptest! {
        #[test]
        fn no_address_survives_in_any_frame(
            local in "[a-z][a-z0-9._+-]{0,15}[a-z0-9]", host in "[a-z][a-z0-9-]{0,10}[a-z0-9]", tld in "[a-z]{2,6}",
            before in "[ -~\n]{0,20}", after in "[ -~\n]{0,20}",
        ) {
            let address = format!("{local}@{host}.{tld}");
            let cut = redact(&format!("{before} {address} {after}"));
            prop_assert!(!cut.contains(&address), "{}", cut);
        }
    }
}
