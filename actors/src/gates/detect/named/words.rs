//! Words that stand in the place of a value and are none.

/// What examples, labels and types are made of.
#[rustfmt::skip]
pub(super) const STAND_INS: &[&str] = &[
    "your", "my", "the", "api", "key", "token", "secret", "password", "passwd", "here", "example",
    "placeholder", "pass", "changeme", "change", "me", "insert", "enter", "replace", "with", "value",
    "goes", "some", "sample", "dummy", "redacted", "hidden", "removed", "passwort", "kennwort", "dein",
    "ihr", "hier", "einfügen", "xxx", "none", "null", "true", "false", "required", "optional", "string",
    "undefined", "empty", "nil", "todo", "tbd", "foo", "bar", "auth", "access", "client", "new", "old",
    "user", "username", "app", "pwd", "test", "masked", "filtered", "unset", "default", "omitted", "any",
    "str", "text", "int", "bool", "number", "varchar", "char", "yourpassword", "mypassword", "yourtoken",
    "yourkey", "yourapikey", "geheim", "bearer", "basic", "platzhalter", "beispiel", "secretstring",
    "secretstr", "bytes", "stdin", "prompt",
];

/// What sentences say about a password.
#[rustfmt::skip]
pub(super) const PROSE: &[&str] = &[
    "wrong", "not", "nicht", "invalid", "incorrect", "correct", "too", "weak", "strong", "stored", "the",
    "a", "an", "my", "your", "set", "never", "only", "also", "sent", "falsch", "richtig", "zu", "kein",
    "keine", "noch", "schon", "und", "and", "or", "oder", "ein", "eine", "das", "der", "die", "dem", "in",
    "on", "at", "for", "für", "same", "safe", "secure", "sicher", "unsicher", "leer", "lang", "kurz",
    "long", "short", "missing", "something", "there", "this", "that", "what", "known", "unknown",
    "bekannt", "abgelaufen", "expired", "ungültig", "gültig", "valid", "wichtig", "important", "ok",
    "reset", "must", "muss", "should", "soll", "will", "wird", "can", "kann", "has", "hat", "have",
    "been", "it", "es", "er", "sie", "used", "when", "wenn", "if", "from", "von", "to", "by", "per",
    "via", "none", "null", "true", "false", "fine", "ready", "lost", "gone", "mandatory", "optional",
    "required", "yes", "no", "ja", "nein", "good", "bad", "old", "new", "here", "hier", "unique",
    "simple", "complex", "enough", "case", "security", "encryption", "protection", "management",
    "manager", "policy", "reset?", "change", "login", "user", "users", "string", "undefined", "empty",
    "str", "none,", "option", "private", "public", "static", "void", "self", "other", "input", "output",
    "field", "available", "always", "mandatory.", "please", "bitte", "siehe", "see", "below", "above",
    "unten", "oben", "immer", "eines", "einer", "einem",
];
