//! The spec as YAML holds it: every field with its place, so that errors can name it. Also the
//! JSON Schema that is published for editors.

use std::path::Path;

use empire_actors::gates::room::Class;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{Place, Role, SpecError, SpecFault, fields};

/// A spec is written by hand; items belong into files.
pub(super) const MAX_SPEC_BYTES: usize = 1 << 20;

type Field = Option<Spanned<Value>>;

/// A swarm job: a prompt template, the items it is filled with, and the limits it runs under.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "empire job")]
pub(super) struct RawSpec {
    /// The job's name.
    #[schemars(required, schema_with = "name")]
    pub(super) name: Field,
    /// What the job is for; templates may use it as `goal`.
    #[serde(default)]
    #[schemars(schema_with = "text")]
    pub(super) goal: Field,
    /// The standing agent that the job belongs to; `research` if not given.
    #[serde(default)]
    #[schemars(schema_with = "role")]
    pub(super) role: Field,
    /// How private the prompts are: P0 public, P1 low sensitivity, P2 confidential (stays on your
    /// machines), P3 secret (never leaves this machine).
    #[schemars(required, schema_with = "privacy")]
    pub(super) privacy: Field,
    /// The items: a file (relative to the spec; `-` is standard input), how to read one, a list,
    /// or a count. May be left to `--input`.
    #[serde(default)]
    #[schemars(schema_with = "input")]
    pub(super) input: Field,
    /// The template of an item's prompt. It sees the item's columns, and `row`, `item`, `goal`,
    /// `role`, `job`.
    #[schemars(required, schema_with = "text")]
    pub(super) prompt: Field,
    /// The template of the system prompt; it sees the same.
    #[serde(default)]
    #[schemars(schema_with = "text")]
    pub(super) system: Field,
    /// What an answer must be: `text` (the default), or a JSON Schema.
    #[serde(default)]
    #[schemars(schema_with = "answer")]
    pub(super) answer: Field,
    /// The models to try, in order; the configured route if not given.
    #[serde(default)]
    #[schemars(schema_with = "route")]
    pub(super) route: Field,
    /// In which order the route's models are tried: `listed`, `price` (cheapest first) or `privacy`
    /// (most trusted zone first); the configured policy if not given.
    #[serde(default)]
    #[schemars(schema_with = "policy")]
    pub(super) policy: Field,
    /// How hard the items are: `easy`, `medium` or `hard`; the configuration says which model each
    /// starts with.
    #[serde(default)]
    #[schemars(schema_with = "difficulty")]
    pub(super) difficulty: Field,
    /// How far a fallback may go: `permitted` (wherever the level may, the default) or `same_zone`
    /// (never to a less trusted zone than that of the first model).
    #[serde(default)]
    #[schemars(schema_with = "fallback")]
    pub(super) fallback: Field,
    /// Whether kept answers of identical calls serve, and new ones are kept: `on`, `off`, or
    /// `refresh` (every call is made, its answer kept). If not given: on, but off for models with a
    /// temperature above 0.
    #[serde(default)]
    #[schemars(schema_with = "cache")]
    pub(super) cache: Field,
    /// The most that the job may spend, in dollars.
    #[serde(default)]
    #[schemars(schema_with = "budget")]
    pub(super) budget: Field,
    /// How long the job may take, such as `90s`, `2h` or `1d 12h`.
    #[serde(default)]
    #[schemars(schema_with = "text")]
    pub(super) deadline: Field,
    /// How urgent its calls are beside those of other jobs: `interactive`, `normal` (if not
    /// given) or `batch`.
    #[serde(default)]
    #[schemars(schema_with = "priority")]
    pub(super) priority: Field,
    /// Output tokens to request for one item; 512 if not given.
    #[serde(default)]
    #[schemars(schema_with = "max_tokens")]
    pub(super) max_tokens: Field,
    /// How many items go into one call; 1 if not given.
    #[serde(default)]
    #[schemars(schema_with = "pack")]
    pub(super) pack: Field,
    /// Further tries of an item after the first; 3 if not given.
    #[serde(default)]
    #[schemars(schema_with = "retries")]
    pub(super) retries: Field,
    /// Values that the job's calls may hold although a privacy rule finds them, each with the reason.
    /// They must be written exactly as found. The owner's own secrets are never let out.
    #[serde(default)]
    #[schemars(schema_with = "allow")]
    pub(super) allow: Field,
    /// Whether a call may ask for less output than `max_tokens`, where what is left of a budget
    /// does not cover the whole: no less than 64 tokens and a quarter of it. True if not given.
    #[serde(default)]
    #[schemars(schema_with = "clamp")]
    pub(super) clamp: Field,
    /// Stop when `failed` of the first `of_first` items have failed (20 of 50 if not given), or
    /// `off`.
    #[serde(default)]
    #[schemars(schema_with = "failure_rule")]
    pub(super) failure_rule: Field,
    /// Sum the answers up: groups first, then the summaries, down to one. The templates see
    /// `answers`, `count`, `goal`, `role`, `job`.
    #[serde(default)]
    #[schemars(schema_with = "reduce")]
    pub(super) reduce: Field,
    /// The folder for results, relative to the working folder.
    #[serde(default)]
    #[schemars(schema_with = "text")]
    pub(super) out: Field,
}

/// The JSON Schema of a job spec, for editors and checks.
#[must_use]
pub fn spec_json_schema() -> Value {
    let mut schema = schemars::schema_for!(RawSpec).to_value();
    // An absent field has no value; `null` would not even be of its type.
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(serde_json::Map::values_mut) {
        property.as_object_mut().and_then(|property| property.shift_remove("default"));
    }
    schema
}

fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[a-z0-9-]{1,64}$"})
}

fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1})
}

fn role(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": Role::ALL.map(Role::as_str)})
}

fn priority(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": Class::ALL.map(Class::as_str)})
}

fn privacy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": ["P0", "P1", "P2", "P3"]})
}

fn input(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"type": "string", "minLength": 1, "description": "a .csv, .jsonl, .ndjson, .json or .txt file"},
        {
            "type": "object",
            "properties": {
                "file": {"type": "string", "minLength": 1, "description": "relative to the spec; `-` is standard input"},
                "format": {"enum": fields::FORMATS},
                "field": {"type": "string", "minLength": 1, "description": "the column's name, for `lines`"},
                "delimiter": {"type": "string", "description": "one character or `tab`, for `csv`"},
            },
            "additionalProperties": false,
            "minProperties": 1,
        },
        {
            "type": "array",
            "items": {"type": ["object", "string", "number", "boolean"]},
            "minItems": 1,
        },
        {
            "type": "object",
            "properties": {"count": {"type": "integer", "minimum": 1, "maximum": u32::MAX}},
            "required": ["count"],
            "additionalProperties": false,
        },
    ]})
}

fn answer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [{"const": "text"}, {"type": "object"}]})
}

fn route(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": true})
}

fn policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": words(&fields::POLICIES)})
}

fn difficulty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": words(&fields::DIFFICULTIES)})
}

fn fallback(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": words(&fields::FALLBACKS)})
}

fn cache(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": words(&fields::CACHE_MODES)})
}

fn words<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(word, _)| *word).collect()
}

fn budget(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["number", "string"], "exclusiveMinimum": 0})
}

fn max_tokens(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": fields::MOST_TOKENS})
}

fn pack(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [{"type": "integer", "minimum": 1, "maximum": fields::MOST_PACKED}, {"const": "auto"}]})
}

fn allow(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "propertyNames": {"pattern": "\\S"}, "maxProperties": fields::MOST_ALLOWED})
}

fn clamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "boolean"})
}

fn retries(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": fields::MOST_RETRIES})
}

fn failure_rule(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"enum": ["off", false]},
        {
            "type": "object",
            "properties": {"failed": {"type": "integer", "minimum": 1}, "of_first": {"type": "integer", "minimum": 1}},
            "required": ["failed", "of_first"],
            "additionalProperties": false,
        },
    ]})
}

fn reduce(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1},
            "final_prompt": {"type": "string", "minLength": 1},
            "group": {"type": "integer", "minimum": 2, "maximum": fields::MOST_GROUPED},
            "max_tokens": {"type": "integer", "minimum": 1, "maximum": fields::MOST_TOKENS},
        },
        "required": ["prompt"],
        "additionalProperties": false,
    })
}

/// Reads fields and puts their places into errors.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl Reader<'_> {
    /// The YAML as fields.
    pub(super) fn read(&self) -> Result<RawSpec, SpecError> {
        if self.text.len() > MAX_SPEC_BYTES {
            return Err(self.error(None, SpecFault::TooLarge { bytes: self.text.len() }));
        }
        // `y`, `no` and `on` are words, `007` and `1_000` are texts: nothing is silently changed.
        let options = serde_saphyr::options! {
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
        };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            use serde_saphyr::Error;
            let error = error.without_snippet();
            let fault = match error {
                Error::SerdeUnknownField { field, expected, .. } => SpecFault::UnknownField {
                    field: field.clone(),
                    hint: nearest(field, expected)
                        .map_or(String::new(), |near| format!(", perhaps `{near}`")),
                    known: expected.join(", "),
                },
                Error::DuplicateMappingKey { key: Some(key), .. } => {
                    SpecFault::Doubled { field: key.clone() }
                }
                Error::Unexpected { expected: "mapping start", .. } => SpecFault::NotFields,
                other => SpecFault::NotYaml(without_place(&other.to_string())),
            };
            self.error(error.location(), fault)
        })
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &self,
        field: Option<&Spanned<Value>>,
        name: &'static str,
        hint: &'static str,
        read: fn(&Value) -> Result<T, String>,
    ) -> Result<T, SpecError> {
        self.optional(field, name, read)?
            .ok_or_else(|| self.error(None, SpecFault::Missing { field: name, hint }))
    }

    /// A field that may be absent, or empty, which is the same.
    pub(super) fn optional<T>(
        &self,
        field: Option<&Spanned<Value>>,
        name: &'static str,
        read: fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, SpecError> {
        match field {
            Some(spanned) if !spanned.value.is_null() => {
                self.check(Some(spanned), name, || read(&spanned.value)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Puts the place of `field` into what is wrong with it.
    pub(super) fn check<T>(
        &self,
        field: Option<&Spanned<Value>>,
        name: &'static str,
        read: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, SpecError> {
        read().map_err(|problem| {
            self.error(field.map(|spanned| spanned.referenced), SpecFault::Field { field: name, problem })
        })
    }

    /// Where `field` is; the beginning of the spec if it is not there.
    pub(super) fn place(&self, field: Option<&Spanned<Value>>) -> Place {
        self.place_of(field.map(|spanned| spanned.referenced))
    }

    fn place_of(&self, location: Option<Location>) -> Place {
        let (line, column) = location.map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
        Place { file: self.path.to_owned(), line, column }
    }

    fn error(&self, location: Option<Location>, fault: SpecFault) -> SpecError {
        SpecError { place: self.place_of(location), fault }
    }
}

/// The parser's message without the place at its end or beginning, which is told apart.
fn without_place(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    message.trim_start_matches("error: ").to_owned()
}

/// The known field that `field` was perhaps meant to be: at most two letters off.
fn nearest<'a>(field: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (distance(field, name), *name))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
