//! JSON Schemas that answers must fit: compiled once, kept for the calls that follow.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use dashmap::DashMap;
use jsonschema::Validator;
use serde_json::Value;

use super::fit::Fitter;
use super::merge::merge;
use super::quotes::Quotes;

/// A swarm uses a few schemas; whoever uses more pays for compiling them anew.
const MOST_KEPT: usize = 512;
/// Choices among branches can go wrong (`oneOf`, `not`); other choices are tried that often.
const ATTEMPTS: u64 = 24;

/// A schema ready for use.
#[derive(Debug)]
pub(super) struct Schema {
    value: Value,
    validator: Validator,
    /// The parts' schemas, if this is one of a pack: an object with the keys "1" to "n" alone.
    parts: Vec<Arc<Schema>>,
}

impl Schema {
    /// Compiles `value`. The error says what is wrong with the schema.
    fn new(value: &Value) -> Result<Schema, String> {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(value)
            .map_err(|error| error.to_string())?;
        Ok(Schema { value: value.clone(), validator, parts: parts_of(value)? })
    }

    /// The schemas of a pack's parts; empty if this is not a pack's.
    pub(super) fn parts(&self) -> &[Arc<Schema>] {
        &self.parts
    }

    /// Whether `value` fits.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Data that fits and quotes `quotes`; the same for the same `seed`.
    pub(super) fn fill(&self, quotes: &Quotes, seed: u64) -> Value {
        let mut last = Value::Null;
        for attempt in 0..ATTEMPTS {
            last = Fitter::new(&self.value, quotes, seed.wrapping_add(attempt), attempt > 0).fill();
            if self.accepts(&last) {
                break;
            }
        }
        last
    }
}

/// A pack's part schemas, each with the definitions of the whole.
fn parts_of(whole: &Value) -> Result<Vec<Arc<Schema>>, String> {
    let Some(properties) = whole.get("properties").and_then(Value::as_object) else { return Ok(Vec::new()) };
    let n = properties.len();
    let is_pack = n > 0 && (1..=n).all(|k| properties.contains_key(&k.to_string()));
    if !is_pack {
        return Ok(Vec::new());
    }
    let part = |k: usize| {
        let mut part = properties[&k.to_string()].clone();
        if let Value::Object(part) = &mut part {
            for definitions in ["$defs", "definitions"] {
                if let Some(shared) = whole.get(definitions) {
                    part.entry(definitions).or_insert_with(|| shared.clone());
                }
            }
        }
        part
    };
    let mut parts: Vec<Arc<Schema>> = Vec::with_capacity(n);
    for k in 1..=n {
        let value = part(k);
        // The parts of a pack are alike, as a rule: compiling one is enough.
        match parts.last().filter(|before| before.value == value) {
            Some(same) => parts.push(Arc::clone(same)),
            None => parts.push(Arc::new(Schema::new(&value)?)),
        }
    }
    Ok(parts)
}

/// A schema that was given beside another that was told, and what they come to.
#[derive(Debug)]
struct Pair {
    given: Value,
    told: Value,
    both: Arc<Schema>,
}

/// The schemas that were asked for.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    single: DashMap<u64, Arc<Schema>>,
    pairs: DashMap<u64, Pair>,
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Schemas {
    /// What fits the schema `given` and, as far as that leaves it open, the one `told` in words.
    ///
    /// # Errors
    /// If `given` is no schema; in words for the one who sent it.
    pub(super) fn get_both(&self, given: &Value, told: &Value) -> Result<Arc<Schema>, String> {
        let key = hash_of(&(given, told));
        if let Some(known) = self.pairs.get(&key).filter(|known| known.given == *given && known.told == *told)
        {
            return Ok(Arc::clone(&known.both));
        }
        let binding = self.get(given)?;
        let both = self.narrowed(&binding, told).unwrap_or(binding);
        if self.pairs.len() >= MOST_KEPT {
            self.pairs.clear();
        }
        self.pairs.insert(key, Pair { given: given.clone(), told: told.clone(), both: Arc::clone(&both) });
        Ok(both)
    }

    /// `told` held within `binding`; `None` if they contradict each other, or it is no schema.
    fn narrowed(&self, binding: &Schema, told: &Value) -> Option<Arc<Schema>> {
        let mut narrowed = told.as_object()?.clone();
        merge(&mut narrowed, binding.value.as_object()?);
        let narrowed = self.get(&Value::Object(narrowed)).ok()?;
        let sample = narrowed.fill(&Quotes::of(""), 0);
        (narrowed.accepts(&sample) && binding.accepts(&sample)).then_some(narrowed)
    }

    /// The compiled form of `value`.
    ///
    /// # Errors
    /// If it is no schema; in words for the one who sent it.
    pub(super) fn get(&self, value: &Value) -> Result<Arc<Schema>, String> {
        let key = hash_of(value);
        if let Some(known) = self.single.get(&key).filter(|known| known.value == *value) {
            return Ok(Arc::clone(&known));
        }
        let schema = Arc::new(Schema::new(value)?);
        if self.single.len() >= MOST_KEPT {
            self.single.clear();
        }
        self.single.insert(key, Arc::clone(&schema));
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Any schema of the kinds that jobs use, nested up to `depth`.
    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({"type": "boolean"})),
            Just(json!({"type": ["string", "null"]})),
            Just(json!({"type": "null"})),
            Just(json!(true)),
            (0u64..12, 0u64..60).prop_map(|(min, more)| json!({"type": "string", "minLength": min, "maxLength": min + more})),
            (-1000i64..1000, 0i64..50, 1i64..4).prop_map(
                |(low, span, step)| json!({"type": "integer", "minimum": low, "maximum": low + span + step, "multipleOf": step})
            ),
            (-10.0f64..10.0, 0.1f64..5.0).prop_map(|(low, span)| json!({"type": "number", "exclusiveMinimum": low, "maximum": low + span})),
            (0i64..9).prop_map(|low| json!({"type": "integer", "exclusiveMinimum": low})),
            prop::collection::vec("[a-z]{1,8}", 1..5).prop_map(|values| json!({"enum": values})),
            "[a-z]{1,8}".prop_map(|value| json!({"const": value})),
            prop::sample::select(vec!["^[A-Z]{3}-\\d{2,4}$", "^(yes|no|maybe)$", "^a+b?[0-9a-f]*$", "\\w+@\\w+"])
                .prop_map(|pattern| json!({"type": "string", "pattern": pattern})),
            prop::sample::select(vec!["date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname"])
                .prop_map(|format| json!({"type": "string", "format": format})),
            Just(json!({"$ref": "#/$defs/leaf"})),
            Just(json!({"$ref": "#/$defs/tree"})),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let object = |closed: bool| {
                prop::collection::btree_map("[a-z]{1,6}", inner.clone(), 0..5).prop_flat_map(move |properties| {
                    let names: Vec<String> = properties.keys().cloned().collect();
                    let count = names.len();
                    prop::sample::subsequence(names, 0..=count).prop_map(move |required| {
                        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": !closed})
                    })
                })
            };
            prop_oneof![
                object(true),
                object(false),
                (inner.clone(), 0usize..4, 0usize..4).prop_map(
                    |(items, min, more)| json!({"type": "array", "items": items, "minItems": min, "maxItems": min + more})
                ),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| json!({"anyOf": branches})),
                (inner.clone(), inner.clone()).prop_map(|(first, second)| json!({"type": "array", "prefixItems": [first, second], "items": false, "minItems": 2})),
                inner.clone().prop_map(|one| json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "value": one}, "required": ["kind", "value"]}, {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]}]})),
                inner.prop_map(|one| json!({"allOf": [{"type": "object", "properties": {"x": one}, "required": ["x"]}, {"type": "object", "properties": {"y": {"type": "integer"}}, "required": ["y"]}]})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn what_is_filled_in_fits(inner in any_schema(), seed in any::<u64>()) {
            let whole = json!({
                "type": "object", "properties": {"answer": inner}, "required": ["answer"],
                "$defs": {
                    "leaf": {"type": "string", "minLength": 1},
                    "tree": {"type": "object", "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["name", "children"]},
                },
            });
            let schema = Schemas::default().get(&whole).unwrap();
            let quotes = Quotes::of("Company: Acme\nSector: Mining");
            let value = schema.fill(&quotes, seed);
            let wrong = schema.validator.iter_errors(&value).map(|e| e.to_string()).collect::<Vec<_>>();
            prop_assert!(wrong.is_empty(), "{whole} gave {value}: {wrong:?}");
            prop_assert_eq!(schema.fill(&quotes, seed), value);
        }
    }

    #[test]
    fn what_is_told_narrows_what_is_given_unless_they_contradict_each_other() {
        let one = |name: &str, schema: Value| json!({"type": "object", "properties": {name: schema}, "required": [name]});
        let given = one("word", json!({"anyOf": [{"type": "string"}, {"type": "null"}]}));
        let told = one("word", json!({"anyOf": [{"type": "string", "minLength": 30, "maxLength": 31}]}));
        let schemas = Schemas::default();
        let quotes = Quotes::of("Company: Acme");
        let both = schemas.get_both(&given, &told).unwrap();
        let length = both.fill(&quotes, 1)["word"].as_str().unwrap().chars().count();
        assert!((30..=31).contains(&length), "{length}");
        assert!(Arc::ptr_eq(&both, &schemas.get_both(&given, &told).unwrap()));
        for other in
            [one("word", json!({"type": "integer"})), json!({"not": {}}), json!("words"), json!({"type": 3})]
        {
            let value = schemas.get_both(&given, &other).unwrap().fill(&quotes, 1);
            assert!(schemas.get(&given).unwrap().accepts(&value), "{other} gave {value}");
        }
        // A pack stays one.
        let pack = |part: Value| json!({"type": "object", "properties": {"1": part, "2": part}, "required": ["1", "2"]});
        let both = schemas.get_both(&pack(given), &pack(told)).unwrap();
        assert!(
            both.parts()
                .iter()
                .all(|part| part.fill(&quotes, 1)["word"].as_str().is_some_and(|word| word.len() > 29))
        );
        assert_eq!(both.parts().len(), 2);
    }

    #[test]
    fn a_pack_is_seen_and_its_parts_keep_the_definitions() {
        let pack = json!({"type": "object", "properties": {"1": {"$ref": "#/$defs/a"}, "2": {"$ref": "#/$defs/a"}},
            "required": ["1", "2"], "$defs": {"a": {"type": "integer", "minimum": 3, "maximum": 4}}});
        let schema = Schemas::default().get(&pack).unwrap();
        assert_eq!(schema.parts().len(), 2);
        assert!(schema.parts()[1].fill(&Quotes::of("x"), 1).as_i64().is_some_and(|n| n == 3 || n == 4));
        let single = json!({"type": "object", "properties": {"1": {}, "name": {}}});
        assert!(Schemas::default().get(&single).unwrap().parts().is_empty());
    }

    #[test]
    fn no_schema_is_an_error() {
        assert!(Schemas::default().get(&json!({"type": "strang"})).is_err());
        assert!(Schemas::default().get(&json!({"$ref": "https://example.com/elsewhere"})).is_err());
    }

    #[test]
    fn a_leads_answer_quotes_the_company_and_says_it_is_simulated() {
        let schema = Schemas::default()
            .get(&json!({"type": "object", "additionalProperties": false,
            "required": ["fit", "budget", "need", "reasons"], "properties": {
                "fit": {"type": "integer", "minimum": 0, "maximum": 10},
                "budget": {"enum": ["low", "medium", "high"]},
                "need": {"type": "string", "maxLength": 200},
                "reasons": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3}}}))
            .unwrap();
        let value = schema.fill(&Quotes::of("Company: A. O. Smith\nSector: Industrials"), 9);
        let need = value["need"].as_str().unwrap();
        assert!(need.starts_with("[simulated] ") && need.contains("A. O. Smith"), "{need}");
        assert!(value["reasons"][0].as_str().unwrap().contains("A. O. Smith"));
    }
}
