//! Answers: which schema they must fit, how they are found in what a model said, and what to
//! tell it when they do not fit.

use std::borrow::Cow;
use std::sync::Arc;

use empire_actors::schema::Schema;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Problems named in one message: more than a model can act on helps nobody.
const MAX_PROBLEMS: usize = 5;
/// Places in an answer where JSON might begin that are tried.
pub(super) const MAX_STARTS: usize = 16;

/// Keywords that would make one copy of the schema differ from another, or reach outside it.
const REFUSED_KEYWORDS: [&str; 6] =
    ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"];
/// Where named sub-schemas may be kept.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The check of a job's answers.
#[derive(Debug)]
pub(super) struct AnswerCheck {
    fits: Option<(Arc<Schema>, Validator)>,
}

impl AnswerCheck {
    /// Free text: anything but nothing.
    pub(super) fn text() -> AnswerCheck {
        AnswerCheck { fits: None }
    }

    /// Answers must be JSON that fits `schema`. The error says why that is no usable schema.
    pub(super) fn schema(schema: &Arc<Value>) -> Result<AnswerCheck, String> {
        if !schema.is_object() {
            return Err(
                "is no JSON Schema: write `text`, or a map such as {type: object, properties: …}".into()
            );
        }
        let mut refused = None;
        let mut copy = Value::clone(schema);
        walk(&mut copy, &mut |keywords| refuse_unfit(keywords, &mut refused));
        if let Some(problem) = refused {
            return Err(problem);
        }
        let built = jsonschema::options().offline().build(schema);
        let validator = built.map_err(|error| {
            let place = match error.instance_path().as_str() {
                "" => String::new(),
                path => format!(" at `{path}`"),
            };
            format!(
                "is no valid JSON Schema{place}: {}: correct it, or write `text`",
                short(&error.to_string())
            )
        })?;
        Ok(AnswerCheck { fits: Some((Arc::new(Schema::new(Value::clone(schema))), validator)) })
    }

    /// The schema of a single answer; none for text.
    pub(super) fn as_schema(&self) -> Option<&Arc<Schema>> {
        self.fits.as_ref().map(|(schema, _)| schema)
    }

    /// Checks a whole answer; gives it as compact JSON.
    pub(super) fn check(&self, answer: &str) -> Result<Box<str>, String> {
        match &self.fits {
            None => text_answer(answer),
            Some(_) => self.check_value(&find_json(answer)?),
        }
    }

    /// Checks one part of a pack's answer, or a whole one that is already parsed.
    pub(super) fn check_value(&self, value: &Value) -> Result<Box<str>, String> {
        match (&self.fits, value) {
            (None, Value::String(text)) => text_answer(text),
            (None, _) => Err("the answer must be a string".to_owned()),
            (Some((_, validator)), value) if validator.is_valid(value) => Ok(value.to_string().into()),
            (Some((_, validator)), value) => Err(problems(validator, value)),
        }
    }

    /// The schema of `n` answers in one object with the keys `1` to `n`. Definitions move to its
    /// root, so that references to them still resolve; references to other parts of the answer's
    /// schema are pointed at the first copy, which is the same as all others.
    pub(super) fn pack_schema(&self, n: usize) -> Value {
        let mut part =
            self.as_schema().map_or_else(|| json!({"type": "string"}), |schema| Value::clone(schema));
        walk(&mut part, &mut point_at_first_copy);
        let mut root = Map::new();
        if let Some(keywords) = part.as_object_mut() {
            for keyword in ["$schema"].into_iter().chain(DEFINITIONS) {
                if let Some(moved) = keywords.shift_remove(keyword) {
                    root.insert(keyword.to_owned(), moved);
                }
            }
        }
        let names: Vec<String> = (1..=n).map(|k| k.to_string()).collect();
        root.insert("type".to_owned(), "object".into());
        let properties = names.iter().map(|name| (name.clone(), part.clone())).collect();
        root.insert("properties".to_owned(), Value::Object(properties));
        root.insert("required".to_owned(), names.into());
        root.insert("additionalProperties".to_owned(), false.into());
        Value::Object(root)
    }
}

fn refuse_unfit(keywords: &mut Map<String, Value>, refused: &mut Option<String>) {
    let keyword = REFUSED_KEYWORDS.iter().find(|keyword| keywords.contains_key(**keyword));
    if let Some(keyword) = keyword {
        refused
            .get_or_insert(format!("uses `{keyword}`, which is not supported: refer with `#/$defs/…` alone"));
    }
    match keywords.get("$ref") {
        Some(Value::String(target)) if target != "#" && !target.starts_with("#/") => {
            refused.get_or_insert(format!(
                "refers to `{}`, outside the schema: nothing is fetched, copy it under `$defs` and refer to `#/$defs/…`",
                short(target)
            ));
        }
        _ => {}
    }
}

fn point_at_first_copy(keywords: &mut Map<String, Value>) {
    if let Some(Value::String(target)) = keywords.get_mut("$ref") {
        let in_definitions = DEFINITIONS.iter().any(|name| {
            target
                .strip_prefix("#/")
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if !in_definitions {
            *target = format!("#/properties/1{}", target.strip_prefix('#').unwrap_or_default());
        }
    }
}

/// Visits every sub-schema, parents first. Names of properties are not taken for keywords, and
/// plain data (`enum`, `const`, `default`, `examples`) is left alone.
fn walk(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(keywords) = schema else { return };
    visit(keywords);
    for (keyword, value) in keywords.iter_mut() {
        match (keyword.as_str(), value) {
            ("enum" | "const" | "default" | "examples" | "example", _) => {}
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
                | "dependencies",
                Value::Object(named),
            ) => named.values_mut().for_each(|sub| walk(sub, visit)),
            (_, Value::Array(list)) => list.iter_mut().for_each(|sub| walk(sub, visit)),
            (_, sub) => walk(sub, visit),
        }
    }
}

fn text_answer(answer: &str) -> Result<Box<str>, String> {
    match answer.trim() {
        "" => Err("the answer is empty".to_owned()),
        text => Ok(Value::from(text).to_string().into()),
    }
}

fn problems(validator: &Validator, value: &Value) -> String {
    let mut errors = validator.iter_errors(value);
    let mut words: Vec<String> = errors
        .by_ref()
        .take(MAX_PROBLEMS)
        .map(|error| match error.instance_path().as_str() {
            "" => format!("at the top: {}", short(&error.to_string())),
            path => format!("at `{path}`: {}", short(&error.to_string())),
        })
        .collect();
    let more = errors.count();
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    format!("the answer does not fit the schema: {}", words.join("; "))
}

/// The JSON value in an answer: the whole of it, else in a code fence, else the first complete
/// object or list in it.
fn find_json(answer: &str) -> Result<Value, String> {
    let text = answer.trim();
    if text.is_empty() {
        return Err("the answer is empty: answer with one JSON value".to_owned());
    }
    let whole = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    fenced(text).chain(balanced(text)).find_map(|part| serde_json::from_str(part).ok()).ok_or_else(|| {
        format!("the answer is not JSON ({whole}): answer with one JSON value and nothing else")
    })
}

/// What stands in code fences.
fn fenced(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").skip(1).step_by(2).take(MAX_STARTS).map(|block| {
        // The first line may name the language.
        let body = block.split_once('\n').map_or(block, |(language, body)| {
            if language.trim().chars().all(char::is_alphanumeric) { body } else { block }
        });
        body.trim()
    })
}

/// Objects and lists in `text`, each up to where its brackets close.
fn balanced(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.char_indices().filter(|(_, c)| matches!(c, '{' | '[')).map(|(at, _)| at);
    starts.take(MAX_STARTS).filter_map(|start| Some(&text[start..start + closed_at(&text[start..])?]))
}

/// How many bytes of `text`, which starts with a bracket, it takes until all brackets are closed.
fn closed_at(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// A message of bounded length: validators quote the value, which can be long.
fn short(message: &str) -> Cow<'_, str> {
    const SHOWN: usize = 240;
    match message.char_indices().nth(SHOWN) {
        None => message.into(),
        Some((end, _)) => format!("{}…", &message[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value) -> Result<AnswerCheck, String> {
        AnswerCheck::schema(&Arc::new(schema))
    }

    fn fit() -> AnswerCheck {
        check(json!({
            "type": "object",
            "properties": {"fit": {"type": "integer", "maximum": 100}, "why": {"type": "string"}},
            "required": ["fit"], "additionalProperties": false,
        }))
        .unwrap()
    }

    #[test]
    fn json_is_found_whole_in_fences_and_in_prose() {
        for answer in [
            r#" {"fit": 7} "#,
            "```json\n{\"fit\": 7}\n```",
            "Sure:\n```\n{\"fit\": 7}\n```\nAnything else?",
            r#"Here [sic] it is: {"fit": 7} as asked {really}."#,
        ] {
            assert_eq!(fit().check(answer).as_deref(), Ok(r#"{"fit":7}"#), "{answer}");
        }
        let odd = r#"note: {"fit": 7, "why": "a \"}\" in a string"} done"#;
        assert_eq!(fit().check(odd).as_deref(), Ok(r#"{"fit":7,"why":"a \"}\" in a string"}"#));
    }

    #[test]
    fn a_model_is_told_what_to_mend() {
        assert_eq!(
            fit().check(r#"{"fit": 120, "mood": "good"}"#).unwrap_err(),
            "the answer does not fit the schema: at `/fit`: 120 is greater than the maximum of 100; at the top: \
             Additional properties are not allowed ('mood' was unexpected)"
        );
        assert_eq!(
            fit().check("I cannot say.").unwrap_err(),
            "the answer is not JSON (expected value at line 1 column 1): answer with one JSON value and nothing else"
        );
        assert_eq!(fit().check(" ").unwrap_err(), "the answer is empty: answer with one JSON value");
        let list = check(json!({"type": "array", "items": {"type": "integer"}})).unwrap();
        let message = list.check(r#"["a","b","c","d","e","f","g"]"#).unwrap_err();
        assert!(message.ends_with("; and 2 more"), "{message}");
    }

    #[test]
    fn text_is_anything_but_nothing() {
        assert_eq!(AnswerCheck::text().check(" a \"b\" \n").as_deref(), Ok(r#""a \"b\"""#));
        assert_eq!(AnswerCheck::text().check("\n").unwrap_err(), "the answer is empty");
    }

    #[test]
    fn what_is_no_schema_or_reaches_outside_is_refused() {
        assert_eq!(
            check(json!({"type": "objekt"})).unwrap_err(),
            "is no valid JSON Schema at `/type`: \"objekt\" is not valid under any of the schemas listed in the \
             'anyOf' keyword: correct it, or write `text`"
        );
        assert_eq!(
            check(json!([1])).unwrap_err(),
            "is no JSON Schema: write `text`, or a map such as {type: object, properties: …}"
        );
        for target in ["https://example.com/s.json", "file:///etc/passwd", "other.json#/a"] {
            let message = check(json!({"properties": {"a": {"$ref": target}}})).unwrap_err();
            assert!(message.starts_with(&format!("refers to `{target}`, outside the schema")), "{message}");
        }
        assert!(check(json!({"$ref": "#/$defs/missing"})).is_err());
        // Property names are names, not keywords.
        assert!(
            check(json!({"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}}})).is_ok()
        );
    }

    #[test]
    fn packed_schemas_still_resolve_every_reference() {
        let tree = check(json!({
            "type": "object",
            "properties": {
                "level": {"$ref": "#/$defs/level"},
                "same": {"$ref": "#/properties/level"},
                "child": {"$ref": "#"},
            },
            "required": ["level"],
            "$defs": {"level": {"enum": ["low", "high"]}},
        }))
        .unwrap();
        let schema = tree.pack_schema(2);
        assert_eq!(schema["properties"]["2"]["properties"]["child"]["$ref"], "#/properties/1");
        assert!(schema["properties"]["1"].get("$defs").is_none());
        let packed = jsonschema::options().offline().build(&schema).unwrap();
        let good = json!({"level": "low", "same": "high", "child": {"level": "low"}});
        assert!(packed.is_valid(&json!({"1": good, "2": good})));
        assert!(!packed.is_valid(&json!({"1": good})));
        assert!(!packed.is_valid(&json!({"1": good, "2": good, "3": good})));
        let bad = json!({"level": "low", "child": {"level": "middling"}});
        assert!(!packed.is_valid(&json!({"1": good, "2": bad})));
        let same = json!({"level": "low", "same": "middling"});
        assert!(!packed.is_valid(&json!({"1": good, "2": same})));
    }
}
