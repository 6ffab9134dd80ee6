//! The job spec: what a person writes, as the program understands it.

mod fields;
mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::room::Class;
use empire_actors::level::Level;
use empire_actors::money::Micros;
use empire_actors::route::rules::{CacheMode, Fallback, Policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::AnswerCheck;
use super::template::{Templates, Which};
pub use raw::spec_json_schema;
use raw::{RawSpec, Reader};

/// One job, read and checked as far as that goes without its input.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Where it was read from; paths in it are relative to that.
    pub path: PathBuf,
    /// The YAML itself, to be kept with the job.
    pub text: Arc<str>,
    /// The job's name: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What it is for; templates may use it.
    pub goal: Option<String>,
    /// Which standing agent it belongs to.
    pub role: Role,
    /// How private its prompts are at least.
    pub privacy: Level,
    /// Its items; `None` if they have to be given on the command line.
    pub input: Option<Input>,
    /// The template of an item's prompt.
    pub prompt: String,
    /// The template of the system prompt.
    pub system: Option<String>,
    /// What an answer must be.
    pub answer: Answer,
    /// The models to try, in order; `None` means the configured route.
    pub route: Option<Vec<String>>,
    /// Where the spec names them, or would.
    pub route_place: Place,
    /// In which order they are tried; `None` means the configured policy.
    pub policy: Option<Policy>,
    /// How hard its items are, which decides the model to start with.
    pub difficulty: Option<Difficulty>,
    /// How far a fallback may go.
    pub fallback: Fallback,
    /// Whether kept answers serve.
    pub cache: CacheMode,
    /// The most it may spend; above zero.
    pub budget: Option<Micros>,
    /// Values that its calls may hold although a rule finds them, and why.
    pub allow: BTreeMap<String, String>,
    /// How long it may take; above zero.
    pub deadline: Option<Duration>,
    /// How urgent its calls are.
    pub priority: Class,
    /// Output tokens to request for one item.
    pub max_tokens: u32,
    /// Items in one call.
    pub pack: Pack,
    /// Further tries of an item after the first.
    pub retries: u32,
    /// When failures stop the job early; `None` means never.
    pub failure_rule: Option<FailureRule>,
    /// Whether a call may ask for less output than `max_tokens`, where what is left does not cover
    /// the whole.
    pub clamp: bool,
    /// How the answers are summed up.
    pub reduce: Option<Reduce>,
    /// The folder for results, relative to the working folder.
    pub out: Option<PathBuf>,
    pub(super) templates: Arc<Templates>,
    pub(super) check: Arc<AnswerCheck>,
}

/// The seven standing agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Finds out.
    #[default]
    Research,
    /// Writes.
    Content,
    /// Programs.
    Dev,
    /// Operates.
    Ops,
    /// Tests.
    Qa,
    /// Guards.
    Security,
    /// Sells.
    Growth,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 7] =
        [Role::Research, Role::Content, Role::Dev, Role::Ops, Role::Qa, Role::Security, Role::Growth];

    /// Its name in specs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Research => "research",
            Role::Content => "content",
            Role::Dev => "dev",
            Role::Ops => "ops",
            Role::Qa => "qa",
            Role::Security => "security",
            Role::Growth => "growth",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How hard a job says its items are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difficulty {
    /// Any model will do.
    Easy,
    /// Some thought is needed.
    Medium,
    /// The best model first.
    Hard,
}

impl Difficulty {
    /// Its name in specs and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Difficulty::Easy => "easy",
            Difficulty::Medium => "medium",
            Difficulty::Hard => "hard",
        }
    }
}

/// Where a spec's items come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, or how to read the one given on the command line.
    File(FileInput),
    /// A list in the spec: compact JSON objects.
    Rows(Arc<[Box<str>]>),
    /// The numbers from 1 to this.
    Count(u32),
}

/// A file and how to read it. What is `None` follows from the file's name or is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileInput {
    /// The file, relative to the spec; `-` is standard input; `None` if it comes from the
    /// command line.
    pub file: Option<PathBuf>,
    /// How it is read.
    pub format: Option<Format>,
    /// The name of the one column of `lines`; `text` if not given.
    pub field: Option<String>,
    /// What stands between the values of CSV; a comma if not given.
    pub delimiter: Option<u8>,
}

/// Formats of input files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A header, then one item a record.
    Csv,
    /// One JSON value a line.
    Jsonl,
    /// One JSON array.
    Json,
    /// One item a line of text.
    Lines,
}

impl Format {
    /// The format that a file's name tells.
    #[must_use]
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_ascii_lowercase().to_str()? {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "json" => Some(Format::Json),
            "txt" => Some(Format::Lines),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Json => "json",
            Format::Lines => "lines",
        })
    }
}

/// What an answer must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Answer {
    /// Free text.
    #[default]
    Text,
    /// JSON that fits this schema.
    Schema(Arc<Value>),
}

impl Answer {
    /// The schema; `None` for text.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Value>> {
        match self {
            Answer::Text => None,
            Answer::Schema(schema) => Some(schema),
        }
    }
}

/// How many items go into one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pack {
    /// This many, 1 to 100.
    Fixed(u16),
    /// As many as the plan finds best.
    Auto,
}

/// Stop the job when this many of its first items have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRule {
    /// So many failures.
    pub failed: u32,
    /// Among so many first items; at least `failed`.
    pub of_first: u32,
}

impl Default for FailureRule {
    fn default() -> Self {
        FailureRule { failed: 20, of_first: 50 }
    }
}

/// How answers are summed up: in groups, then the summaries again, down to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// The template of a summary.
    pub prompt: String,
    /// The template of the last summary; `prompt` if not given.
    pub final_prompt: Option<String>,
    /// Answers in one summary; at least 2.
    pub group: u32,
    /// Output tokens to request for one summary.
    pub max_tokens: u32,
}

/// A place in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// What is wrong with a spec, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct SpecError {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: SpecFault,
}

/// What can be wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// It is larger than any spec should be.
    #[error(
        "the spec is {bytes} bytes long, more than the {} allowed: put the items in a file and name it in `input`",
        raw::MAX_SPEC_BYTES
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is not YAML.
    #[error("not a job spec in YAML: {0}: correct it there")]
    NotYaml(String),
    /// It is YAML, but no map of fields.
    #[error("not a job spec: write its fields, such as `name: leads`, each on a line")]
    NotFields,
    /// A field that does not exist.
    #[error("unknown field `{field}`{hint}: the fields are {known}")]
    UnknownField {
        /// The field.
        field: String,
        /// The field that was perhaps meant.
        hint: String,
        /// All fields.
        known: String,
    },
    /// A field that comes twice.
    #[error("the field `{field}` comes twice: remove one")]
    Doubled {
        /// The field.
        field: String,
    },
    /// A required field is not there.
    #[error("missing `{field}`: {hint}")]
    Missing {
        /// The field.
        field: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// A field holds what it may not.
    #[error("`{field}` {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl JobSpec {
    /// Reads a spec. `path` is where `text` comes from: paths in the spec are relative to it, and
    /// errors name it.
    pub fn parse(text: &str, path: &Path) -> Result<JobSpec, SpecError> {
        let reader = Reader { text, path };
        let raw: RawSpec = reader.read()?;
        let name = reader.required(
            raw.name.as_ref(),
            "name",
            "give the job a name, such as `name: leads`",
            fields::name,
        )?;
        let goal = reader.optional(raw.goal.as_ref(), "goal", fields::text)?;
        let role = reader.optional(raw.role.as_ref(), "role", fields::role)?.unwrap_or_default();
        let privacy = reader.required(raw.privacy.as_ref(), "privacy", fields::LEVELS, fields::privacy)?;
        let prompt_hint = "write the template of an item's prompt, such as `prompt: Describe {{ name }}`";
        let prompt = reader.required(raw.prompt.as_ref(), "prompt", prompt_hint, fields::text)?;
        let system = reader.optional(raw.system.as_ref(), "system", fields::text)?;
        let reduce = reader.optional(raw.reduce.as_ref(), "reduce", fields::reduce)?;

        let mut templates = Templates::new(&name, role.as_str(), goal.as_deref());
        let mut compile = |which: Which, source: Option<&String>| match source {
            Some(source) => templates.add(which, source).map_err(|error| error.in_field()),
            None => Ok(()),
        };
        reader.check(raw.prompt.as_ref(), "prompt", || compile(Which::Prompt, Some(&prompt)))?;
        reader.check(raw.system.as_ref(), "system", || compile(Which::System, system.as_ref()))?;
        reader.check(raw.reduce.as_ref(), "reduce", || {
            let Some(reduce) = &reduce else { return Ok(()) };
            compile(Which::Reduce, Some(&reduce.prompt))?;
            compile(Which::ReduceFinal, reduce.final_prompt.as_ref())
        })?;
        let answer = reader.optional(raw.answer.as_ref(), "answer", fields::answer)?.unwrap_or_default();
        let check = reader.check(raw.answer.as_ref(), "answer", || match &answer {
            Answer::Text => Ok(AnswerCheck::text()),
            Answer::Schema(schema) => AnswerCheck::schema(schema),
        })?;

        let failure_rule =
            reader.optional(raw.failure_rule.as_ref(), "failure_rule", fields::failure_rule)?;
        Ok(JobSpec {
            path: path.to_owned(),
            text: text.into(),
            input: reader.optional(raw.input.as_ref(), "input", fields::input)?,
            route: reader.optional(raw.route.as_ref(), "route", fields::route)?,
            route_place: reader.place(raw.route.as_ref()),
            policy: reader.optional(raw.policy.as_ref(), "policy", fields::policy)?,
            difficulty: reader.optional(raw.difficulty.as_ref(), "difficulty", fields::difficulty)?,
            fallback: reader
                .optional(raw.fallback.as_ref(), "fallback", fields::fallback)?
                .unwrap_or_default(),
            cache: reader.optional(raw.cache.as_ref(), "cache", fields::cache)?.unwrap_or_default(),
            budget: reader.optional(raw.budget.as_ref(), "budget", fields::budget)?,
            allow: reader.optional(raw.allow.as_ref(), "allow", fields::allow)?.unwrap_or_default(),
            deadline: reader.optional(raw.deadline.as_ref(), "deadline", fields::deadline)?,
            priority: reader
                .optional(raw.priority.as_ref(), "priority", fields::priority)?
                .unwrap_or_default(),
            max_tokens: reader
                .optional(raw.max_tokens.as_ref(), "max_tokens", fields::max_tokens)?
                .unwrap_or(fields::DEFAULT_MAX_TOKENS),
            pack: reader.optional(raw.pack.as_ref(), "pack", fields::pack)?.unwrap_or(Pack::Fixed(1)),
            retries: reader
                .optional(raw.retries.as_ref(), "retries", fields::retries)?
                .unwrap_or(fields::DEFAULT_RETRIES),
            clamp: reader.optional(raw.clamp.as_ref(), "clamp", fields::clamp)?.unwrap_or(true),
            failure_rule: failure_rule.unwrap_or(Some(FailureRule::default())),
            out: reader.optional(raw.out.as_ref(), "out", fields::text)?.map(PathBuf::from),
            templates: Arc::new(templates),
            check: Arc::new(check),
            name,
            goal,
            role,
            privacy,
            prompt,
            system,
            answer,
            reduce,
        })
    }
}

#[cfg(test)]
mod tests;
