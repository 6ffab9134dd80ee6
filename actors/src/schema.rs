//! A JSON Schema and its text, which is written out once: it goes with every call of a job.

use std::ops::Deref;

use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON Schema.
#[derive(Debug, Clone)]
pub struct Schema {
    value: Value,
    text: Box<RawValue>,
}

impl Schema {
    /// The schema that `value` is.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a tree of values has no key but strings, and is always JSON")]
    pub fn new(value: Value) -> Schema {
        let text = serde_json::value::to_raw_value(&value).expect("a tree of values is JSON");
        Schema { value, text }
    }

    /// Its compact text, to be sent as it is.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.text
    }

    /// Its compact text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get()
    }
}

impl Deref for Schema {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}
