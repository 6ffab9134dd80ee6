//! One row of the input as templates see it: parsed once, found by column name or by alias.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use empire_actors::level::Level;
use minijinja::value::{Enumerator, Object, ObjectExt, Value};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The columns of one row, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(Arc<str>, Value)>);

impl Fields {
    /// The value of the column called `name`, exactly.
    pub(super) fn exact(&self, name: &str) -> Option<Value> {
        self.0.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.clone())
    }

    /// The value of the one column whose snake-case alias is `name`; none if several share it,
    /// since any choice would be a guess.
    pub(super) fn aliased(&self, name: &str) -> Option<Value> {
        let mut found = self.0.iter().filter(|(key, _)| snake_chars(key).eq(name.chars()));
        let (_, value) = found.next()?;
        found.next().is_none().then(|| value.clone())
    }

    /// The columns for people, each with its alias where that differs.
    pub(super) fn listed(&self) -> String {
        const SHOWN: usize = 40;
        let mut names: Vec<String> = self
            .0
            .iter()
            .take(SHOWN)
            .map(|(key, _)| match snake_chars(key).collect::<String>() {
                alias if alias == **key => alias,
                alias => format!("{key} ({alias})"),
            })
            .collect();
        if self.0.len() > SHOWN {
            names.push(format!("and {} more", self.0.len() - SHOWN));
        }
        if names.is_empty() { "no columns".to_owned() } else { names.join(", ") }
    }

    /// The row's own privacy level: the highest that any `privacy` column names. However its
    /// column is spelt (`Privacy`, `PRIVACY`), a label is never overlooked.
    pub(super) fn level(&self) -> Result<Option<Level>, String> {
        let mut highest = None;
        for (key, value) in self.0.iter().filter(|(key, _)| snake_chars(key).eq("privacy".chars())) {
            let text = match (value.as_str(), value.is_none()) {
                (Some(text), _) if text.trim().is_empty() => continue,
                (Some(text), _) => text.to_owned(),
                (None, true) => continue,
                (None, false) => value.to_string(),
            };
            let level: Level = text.parse().map_err(|error| format!("column `{key}`: {error}"))?;
            highest = highest.max(Some(level));
        }
        Ok(highest)
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.exact(key).or_else(|| self.aliased(key))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| Box::new(this.0.iter().map(|(key, _)| Value::from(&**key))))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The snake-case alias of a column name: letters and digits in lower case, everything between
/// them one `_`, and a `_` before a leading digit. `GICS Sector` gives `gics_sector`.
fn snake_chars(name: &str) -> impl Iterator<Item = char> + '_ {
    let mut rest = name.chars().peekable();
    let mut started = false;
    let mut pending: Option<std::char::ToLowercase> = None;
    std::iter::from_fn(move || {
        loop {
            if let Some(lower) = pending.as_mut() {
                match lower.next() {
                    Some(letter) => return Some(letter),
                    None => pending = None,
                }
            }
            let next = *rest.peek()?;
            if next.is_alphanumeric() {
                let first = !started;
                started = true;
                rest.next();
                pending = Some(next.to_lowercase());
                if first && next.is_numeric() {
                    return Some('_');
                }
                continue;
            }
            while rest.next_if(|c| !c.is_alphanumeric()).is_some() {}
            if started && rest.peek().is_some() {
                return Some('_');
            }
        }
    })
}

/// What one JSON text of the input holds.
pub(super) enum Parsed {
    /// An object: its columns.
    Object(Fields),
    /// A string, number or boolean.
    Scalar(Value),
}

/// Parses one row. Refuses lists, `null`, and objects with a key twice.
pub(super) fn parse(json: &str) -> Result<Parsed, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let parsed = (&mut reader).deserialize_any(RowVisitor)?;
    reader.end()?;
    Ok(parsed)
}

/// Parses any JSON text into a template value.
pub(super) fn parse_value(json: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = AnyValue.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Appends `json`, which must be valid JSON, without the white space between its tokens.
pub(super) fn push_compact(json: &str, out: &mut String) {
    let mut kept_from = 0;
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                out.push_str(&json[kept_from..at]);
                kept_from = at + 1;
            }
            _ => {}
        }
    }
    out.push_str(&json[kept_from..]);
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a string, number or boolean")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        /// From here on a set finds a key that comes twice faster than looking at each.
        const MANY: usize = 32;
        let mut fields: Vec<(Arc<str>, Value)> = Vec::with_capacity(map.size_hint().unwrap_or(4).min(MANY));
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let key: Arc<str> = key.as_ref().into();
            let doubled = if fields.len() < MANY {
                fields.iter().any(|(earlier, _)| *earlier == key)
            } else {
                if seen.is_empty() {
                    seen.extend(fields.iter().map(|(earlier, _)| earlier.clone()));
                }
                !seen.insert(key.clone())
            };
            if doubled {
                return Err(A::Error::custom(format_args!("the key `{key}` comes twice")));
            }
            let value = map.next_value_seed(AnyValue)?;
            fields.push((key, value));
        }
        Ok(Parsed::Object(Fields(fields)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::from(text)))
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::from(flag)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::from(number)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::from(number)))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::from(number)))
    }
}

struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::from(flag))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(AnyValue)? {
            values.push(value);
        }
        Ok(Value::from(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.push((key, map.next_value_seed(AnyValue)?));
        }
        Ok(Value::from_pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(json: &str) -> Arc<Fields> {
        match parse(json).unwrap() {
            Parsed::Object(fields) => Arc::new(fields),
            Parsed::Scalar(_) => panic!("no object"),
        }
    }

    #[test]
    fn aliases_are_snake_case_and_never_a_guess() {
        let alias = |name: &str| snake_chars(name).collect::<String>();
        assert_eq!(alias("GICS Sub-Industry"), "gics_sub_industry");
        assert_eq!(alias("  Date (added) "), "date_added");
        assert_eq!(alias("2013 sales"), "_2013_sales");
        assert_eq!(alias("---"), "");
        let row = fields(r#"{"A B": 1, "a-b": 2, "C": 3}"#);
        assert!(row.get_value_by_str("a_b").is_none(), "two columns share the alias");
        assert_eq!(row.get_value_by_str("c"), Some(Value::from(3)));
        assert_eq!(row.get_value_by_str("a-b"), Some(Value::from(2)));
    }

    #[test]
    fn a_label_is_found_however_its_column_is_spelt_and_the_highest_wins() {
        assert_eq!(fields(r#"{"Privacy": "p2", "privacy": "P1"}"#).level(), Ok(Some(Level::P2)));
        assert_eq!(fields(r#"{"privacy": " ", "PRIVACY": null}"#).level(), Ok(None));
        assert_eq!(
            fields(r#"{"privacy": 2}"#).level().unwrap_err(),
            "column `privacy`: unknown privacy level `2`: use P0 (public), P1 (low sensitivity), P2 \
             (confidential, stays on your machines) or P3 (secret, never leaves this machine)"
        );
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_in_narrow_and_wide_rows() {
        let wide: String = (0..40).map(|i| format!("\"k{i}\":0,")).collect();
        for json in [r#"{"a":1,"a":2}"#.to_owned(), format!("{{{wide}\"k3\":1}}")] {
            let Err(error) = parse(&json) else { panic!("taken: {json}") };
            assert!(error.to_string().contains("comes twice"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn compacting_keeps_the_meaning(value in arbitrary_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let mut compact = String::new();
            push_compact(&pretty, &mut compact);
            prop_assert_eq!(compact, value.to_string());
        }
    }

    fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
