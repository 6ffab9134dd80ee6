//! The prompts' templates: compiled once, strict about what they name.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::row::Fields;

/// Prompts longer than this are refused: no model takes them, and a loop may have run away.
const MAX_PROMPT_BYTES: usize = 4 << 20;

/// What every template may name besides the row's columns.
const ROW_WORDS: &str = "row, item, goal, role, job";
/// What the templates of a reduce may name.
const REDUCE_WORDS: [&str; 5] = ["answers", "count", "goal", "role", "job"];

/// Which template of the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Prompt,
    System,
    Reduce,
    ReduceFinal,
}

impl Which {
    /// Its name in the spec.
    pub(super) fn name(self) -> &'static str {
        match self {
            Which::Prompt => "prompt",
            Which::System => "system",
            Which::Reduce => "reduce.prompt",
            Which::ReduceFinal => "reduce.final_prompt",
        }
    }
}

/// A template that does not compile, or names what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{name}`, line {line}: {problem}")]
pub(super) struct TemplateError {
    name: &'static str,
    line: usize,
    problem: String,
}

impl TemplateError {
    /// The message behind the name of the field that holds the template.
    pub(super) fn in_field(&self) -> String {
        let TemplateError { name, line, problem } = self;
        match name.split_once('.') {
            Some(_) => format!("template `{name}`, line {line}: {problem}"),
            None => format!("template, line {line}: {problem}: correct the template"),
        }
    }

    fn new(which: Which, error: &minijinja::Error, known: impl FnOnce() -> String) -> TemplateError {
        let detail = error.detail().unwrap_or_default();
        let problem = match error.kind() {
            ErrorKind::UndefinedError => {
                let field = detail.split('`').nth(1).unwrap_or("(an expression)");
                format!("unknown field `{field}`: {}", known())
            }
            kind if detail.is_empty() => kind.to_string(),
            kind => format!("{kind}: {detail}"),
        };
        TemplateError { name: which.name(), line: error.line().unwrap_or(1), problem }
    }
}

/// The job's own words, the same for all rows.
#[derive(Debug)]
pub(super) struct JobWords {
    goal: Option<Value>,
    role: Value,
    job: Value,
}

impl JobWords {
    fn get(&self, name: &str) -> Option<Value> {
        match name {
            "goal" => self.goal.clone(),
            "role" => Some(self.role.clone()),
            "job" => Some(self.job.clone()),
            _ => None,
        }
    }
}

/// All templates of one job.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    words: Arc<JobWords>,
    has_system: bool,
    has_final: bool,
}

impl Templates {
    /// No templates yet.
    pub(super) fn new(job: &str, role: &str, goal: Option<&str>) -> Templates {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Only with this do errors say which field is unknown.
        environment.set_debug(true);
        let words = JobWords { goal: goal.map(Value::from), role: role.into(), job: job.into() };
        Templates { environment, words: Arc::new(words), has_system: false, has_final: false }
    }

    /// Compiles one template.
    pub(super) fn add(&mut self, which: Which, source: &str) -> Result<(), TemplateError> {
        self.environment
            .add_template_owned(which.name(), source.to_owned())
            .map_err(|error| TemplateError::new(which, &error, String::new))?;
        match which {
            Which::System => self.has_system = true,
            Which::ReduceFinal => self.has_final = true,
            Which::Prompt | Which::Reduce => {}
        }
        if matches!(which, Which::Reduce | Which::ReduceFinal) { self.check_reduce(which) } else { Ok(()) }
    }

    /// What a reduce may name is known without any input, so a slip shows before the run.
    fn check_reduce(&self, which: Which) -> Result<(), TemplateError> {
        let template = self.environment.get_template(which.name());
        let template = template.map_err(|error| TemplateError::new(which, &error, String::new))?;
        let mut unknown: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !REDUCE_WORDS.contains(&name.as_str()))
            .filter(|name| !self.environment.globals().any(|(global, _)| global == name))
            .collect();
        unknown.sort();
        let Some(field) = unknown.first() else { return Ok(()) };
        let line = template.source().lines().position(|line| line.contains(field.as_str())).unwrap_or(0) + 1;
        let problem = format!("unknown field `{field}`: a reduce knows {}", REDUCE_WORDS.join(", "));
        Err(TemplateError { name: which.name(), line, problem })
    }

    /// A part of a template that names nothing of a row; `None` if it names what is not there.
    pub(super) fn render_constant(&self, which: Which, source: &str) -> Option<String> {
        let JobWords { goal, role, job } = &*self.words;
        let goal = goal.iter().map(|goal| ("goal", goal.clone()));
        let words: Vec<(&str, Value)> = goal.chain([("role", role.clone()), ("job", job.clone())]).collect();
        let words = Value::from_pairs(words);
        self.environment.render_named_str(which.name(), source, words).ok()
    }

    /// The system prompt and the user's prompt of row number `number` (from 1).
    pub(super) fn render_row(
        &self,
        row: &Arc<Fields>,
        number: u64,
    ) -> Result<(Option<String>, String), TemplateError> {
        let scope = Scope { row: row.clone(), number, words: self.words.clone() };
        let scope = Value::from_object(scope);
        let known = || format!("the row has {}; beside them there are {ROW_WORDS}", row.listed());
        let system = match self.has_system {
            true => Some(self.render(Which::System, scope.clone(), known)?),
            false => None,
        };
        Ok((system, self.render(Which::Prompt, scope, known)?))
    }

    /// The prompt of one reduce step; the final one where there is one of its own.
    pub(super) fn render_reduce(&self, answers: Vec<Value>, last: bool) -> Result<String, TemplateError> {
        let which = if last && self.has_final { Which::ReduceFinal } else { Which::Reduce };
        let mut scope = vec![("count", Value::from(answers.len())), ("answers", Value::from(answers))];
        scope.extend(
            ["goal", "role", "job"].into_iter().filter_map(|name| Some((name, self.words.get(name)?))),
        );
        self.render(which, Value::from_pairs(scope), || format!("a reduce knows {}", REDUCE_WORDS.join(", ")))
    }

    fn render(
        &self,
        which: Which,
        scope: Value,
        known: impl Fn() -> String,
    ) -> Result<String, TemplateError> {
        let rendered =
            self.environment.get_template(which.name()).and_then(|template| template.render(scope));
        let text = rendered.map_err(|error| TemplateError::new(which, &error, known))?;
        if text.len() > MAX_PROMPT_BYTES {
            let problem = format!(
                "the rendered text is {} bytes long, more than the {MAX_PROMPT_BYTES} allowed: shorten it",
                text.len()
            );
            return Err(TemplateError { name: which.name(), line: 1, problem });
        }
        Ok(text)
    }
}

/// What a row's templates see. A column wins over the job's words, these win over an alias.
#[derive(Debug)]
struct Scope {
    row: Arc<Fields>,
    number: u64,
    words: Arc<JobWords>,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.row.exact(key).or_else(|| match key {
            "row" => Some(Value::from_dyn_object(self.row.clone())),
            "item" => Some(Value::from(self.number)),
            _ => self.words.get(key).or_else(|| self.row.aliased(key)),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.row.enumerate()
    }
}
