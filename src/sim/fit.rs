//! Makes up data that fits a JSON Schema and quotes the prompt.

use std::borrow::Cow;

use fastrand::Rng;
use serde_json::{Map, Number, Value, json};

use super::merge::merge;
use super::quotes::Quotes;
use super::strings;

/// What every free text starts with.
pub(super) const MARK: &str = "[simulated] ";

/// Deeper than this, or with more values than that, only what is required is filled in: a schema
/// may refer to itself.
const DEEP: usize = 5;
const MANY: usize = 400;
/// Deeper than this nothing is filled in any more.
const DEEPEST: usize = 40;
/// References and branches that lead to one another are followed that far.
const LONGEST_CHAIN: usize = 16;

type Keywords = Map<String, Value>;

/// One filling of one schema.
pub(super) struct Fitter<'a> {
    root: &'a Value,
    quotes: &'a Quotes,
    rng: Rng,
    /// A first attempt failed: leave out optional properties more often.
    daring: bool,
    marked: bool,
    made: usize,
}

impl<'a> Fitter<'a> {
    pub(super) fn new(root: &'a Value, quotes: &'a Quotes, seed: u64, daring: bool) -> Fitter<'a> {
        Fitter { root, quotes, rng: Rng::with_seed(seed), daring, marked: false, made: 0 }
    }

    pub(super) fn fill(mut self) -> Value {
        self.value(self.root, "answer", 0)
    }

    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        self.made += 1;
        if depth > DEEPEST {
            return Value::Null;
        }
        let terse = depth > DEEP || self.made > MANY;
        let Some(keywords) = self.settle(schema, terse, 0) else {
            return Value::String(self.text(&Map::new(), name));
        };
        if let Some(constant) = keywords.get("const") {
            return constant.clone();
        }
        let kind = self.kind(&keywords);
        if let Some(Value::Array(choices)) = keywords.get("enum") {
            return self.choose(choices, &keywords);
        }
        match kind {
            "object" => self.object(&keywords, depth, terse),
            "array" => self.array(&keywords, name, depth, terse),
            "integer" => strings::integer(&keywords, &mut self.rng),
            "number" => strings::number(&keywords, &mut self.rng),
            "boolean" => Value::Bool(self.rng.bool()),
            "null" => Value::Null,
            _ => Value::String(self.text(&keywords, name)),
        }
    }

    /// The schema's keywords with references followed, branches chosen and everything that
    /// holds together merged; `None` for `true` and `false`.
    fn settle<'s>(&mut self, schema: &'s Value, terse: bool, chain: usize) -> Option<Cow<'s, Keywords>>
    where
        'a: 's,
    {
        const COMPOUND: [&str; 4] = ["$ref", "allOf", "anyOf", "oneOf"];
        let keywords = schema.as_object()?;
        if chain > LONGEST_CHAIN || !COMPOUND.iter().any(|word| keywords.contains_key(*word)) {
            return Some(Cow::Borrowed(keywords));
        }
        let mut parts: Vec<&Value> = Vec::new();
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str) {
            parts.extend(self.target(target));
        }
        if let Some(Value::Array(all)) = keywords.get("allOf") {
            parts.extend(all);
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = keywords.get(word) {
                parts.extend(self.branch(branches, terse));
            }
        }
        let mut merged = keywords.clone();
        merged.retain(|word, _| !COMPOUND.contains(&word.as_str()));
        for part in parts {
            if let Some(part) = self.settle(part, terse, chain + 1) {
                merge(&mut merged, &part);
            }
        }
        Some(Cow::Owned(merged))
    }

    /// What a reference inside the schema means.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// One of several alternatives: rarely `null`, and near the bottom the plainest.
    fn branch<'s>(&mut self, branches: &'s [Value], terse: bool) -> Option<&'s Value> {
        if branches.is_empty() {
            return None;
        }
        if terse && !self.daring {
            return branches.iter().min_by_key(|branch| weight(branch));
        }
        let chosen = &branches[self.rng.usize(..branches.len())];
        let is_null = chosen.get("type").is_some_and(|kind| kind == "null");
        if is_null && self.rng.u8(..8) > 0 {
            return branches
                .iter()
                .find(|branch| branch.get("type").is_none_or(|kind| kind != "null"))
                .or(Some(chosen));
        }
        Some(chosen)
    }

    /// The type to fill in: what is named (not `null`, if there is another), or what the
    /// keywords are about.
    fn kind<'k>(&mut self, keywords: &'k Keywords) -> &'k str {
        match keywords.get("type") {
            Some(Value::String(kind)) => kind,
            Some(Value::Array(kinds)) => {
                let mut kinds = kinds.iter().filter_map(Value::as_str);
                kinds.clone().find(|kind| *kind != "null").or_else(|| kinds.next()).unwrap_or("null")
            }
            _ => {
                let about = |words: &[&str]| words.iter().any(|word| keywords.contains_key(*word));
                if about(&["properties", "required", "additionalProperties", "minProperties"]) {
                    "object"
                } else if about(&["items", "prefixItems", "minItems", "maxItems", "contains"]) {
                    "array"
                } else if about(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
                {
                    "number"
                } else {
                    "string"
                }
            }
        }
    }

    fn choose(&mut self, choices: &[Value], keywords: &Keywords) -> Value {
        let fitting: Vec<&Value> =
            choices.iter().filter(|choice| has_type(choice, keywords.get("type"))).collect();
        if fitting.is_empty() { Value::Null } else { fitting[self.rng.usize(..fitting.len())].clone() }
    }

    fn object(&mut self, keywords: &Keywords, depth: usize, terse: bool) -> Value {
        let required: Vec<&str> = keywords
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let most = bound(keywords, "maxProperties").unwrap_or(usize::MAX);
        let mut object = Map::new();
        let mut optional_left = most.saturating_sub(required.len());
        let anything = json!(true);
        let other = keywords.get("additionalProperties").unwrap_or(&anything);
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            for (name, schema) in properties {
                let is_required = required.contains(&name.as_str());
                let wanted = !terse && *schema != Value::Bool(false) && !(self.daring && self.rng.bool());
                if is_required || (wanted && optional_left > 0) {
                    optional_left -= usize::from(!is_required);
                    let value = self.value(schema, name, depth + 1);
                    object.insert(name.clone(), value);
                }
            }
        }
        for name in required {
            if !object.contains_key(name) {
                let value = self.value(other, name, depth + 1);
                object.insert(name.to_owned(), value);
            }
        }
        let least = bound(keywords, "minProperties").unwrap_or(0).min(most).min(MANY);
        while object.len() < least {
            let name = format!("more_{}", object.len() + 1);
            let value = self.value(other, &name, depth + 1);
            object.insert(name, value);
        }
        Value::Object(object)
    }

    fn array(&mut self, keywords: &Keywords, name: &str, depth: usize, terse: bool) -> Value {
        let anything = json!(true);
        let first: &[Value] =
            keywords.get("prefixItems").and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let rest = keywords.get("items").unwrap_or(&anything);
        let least = bound(keywords, "minItems").unwrap_or(0);
        let most = bound(keywords, "maxItems").unwrap_or(usize::MAX);
        let most = if *rest == Value::Bool(false) { most.min(first.len()) } else { most };
        let wanted = if terse { least } else { least.max(first.len()).max(1 + self.rng.usize(..3)) };
        let wanted = wanted.max(least).min(most).min(MANY);
        let unique = keywords.get("uniqueItems") == Some(&Value::Bool(true));
        let mut items: Vec<Value> = Vec::with_capacity(wanted);
        if let (Some(contained), true) = (keywords.get("contains"), first.is_empty() && most > 0) {
            let both = json!({ "allOf": [rest, contained] });
            items.push(self.value(&both, name, depth + 1));
        }
        let mut misses = 0;
        while items.len() < wanted && misses < 32 {
            let schema = first.get(items.len()).unwrap_or(rest);
            let item = self.value(schema, name, depth + 1);
            if unique && items.contains(&item) {
                misses += 1;
            } else {
                items.push(item);
            }
        }
        Value::Array(items)
    }

    fn text(&mut self, keywords: &Keywords, name: &str) -> String {
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
            return strings::matching(pattern, &mut self.rng);
        }
        if let Some(text) = keywords
            .get("format")
            .and_then(Value::as_str)
            .and_then(|format| strings::of_format(format, &mut self.rng))
        {
            return text;
        }
        let least = bound(keywords, "minLength").unwrap_or(0);
        let most = bound(keywords, "maxLength").unwrap_or(usize::MAX);
        let words = strings::sentence(name, self.quotes, &mut self.rng);
        let mark = if !self.marked && most >= MARK.len() + words.len() { MARK } else { "" };
        self.marked |= !mark.is_empty();
        strings::sized(&format!("{mark}{words}"), least, most)
    }
}

/// How much a schema leads to: branches without references end a recursion.
fn weight(schema: &Value) -> usize {
    match schema {
        Value::Object(keywords) => {
            keywords.iter().map(|(word, value)| usize::from(word == "$ref") * 100 + 1 + weight(value)).sum()
        }
        Value::Array(values) => values.iter().map(weight).sum(),
        _ => 0,
    }
}

fn has_type(value: &Value, kinds: Option<&Value>) -> bool {
    let is = |kind: &str| match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || (kind == "integer" && is_whole(number)),
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    };
    match kinds {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn bound(keywords: &Keywords, word: &str) -> Option<usize> {
    let value = keywords.get(word)?;
    value.as_u64().or_else(|| value.as_f64().map(|float| float as u64)).and_then(|n| usize::try_from(n).ok())
}
