//! What agents run of a job: its prompts, and the check of its answers.

use std::collections::HashMap;
use std::sync::Arc;

use empire_actors::call::SharedPrefix;
use empire_actors::level::Level;
use empire_actors::ports::{Item, ItemKey, Rendered, Script};
use empire_actors::schema::Schema;
use minijinja::value::Value as Shown;
use parking_lot::Mutex;

use super::answer::AnswerCheck;
use super::pack;
use super::row::{self, Fields, Parsed};
use super::shared;
use super::spec::JobSpec;
use super::template::{TemplateError, Templates};

/// Part of every key. Raise it when a change here makes other prompts of the same spec.
const KEY_VERSION: &[u8] = b"empire-item-1";
/// Output tokens added for each answer of a pack: its number, quotes and commas.
const PACK_TOKENS_EACH: u32 = 16;

/// A job's templates and answer check, ready to run. Pure, shared by all its agents.
#[derive(Debug)]
pub struct JobScript {
    templates: Arc<Templates>,
    check: Arc<AnswerCheck>,
    max_tokens: u32,
    privacy: Level,
    has_reduce: bool,
    reduce_max_tokens: u32,
    item_seed: blake3::Hash,
    reduce_seed: blake3::Hash,
    shared: Option<Arc<SharedPrefix>>,
    /// Schemas of packs, by how many items they are of.
    pack_schemas: Mutex<HashMap<usize, Arc<Schema>>>,
}

impl JobScript {
    /// The script of `spec`. Simulated answers never stand in for real ones: their keys differ.
    #[must_use]
    pub fn new(spec: &JobSpec, simulated: bool) -> JobScript {
        let reduce = spec.reduce.as_ref();
        let mut item_seed = Digest::new(KEY_VERSION);
        item_seed.part(&[u8::from(simulated)]).part(&spec.max_tokens.to_le_bytes());
        let mut reduce_seed = item_seed.clone();
        item_seed.part(spec.answer.schema().map(|schema| schema.to_string()).unwrap_or_default().as_bytes());
        reduce_seed.part(b"reduce");
        for text in [&spec.name, spec.role.as_str(), spec.goal.as_deref().unwrap_or_default()] {
            reduce_seed.part(text.as_bytes());
        }
        if let Some(reduce) = reduce {
            reduce_seed.part(reduce.prompt.as_bytes());
            reduce_seed.part(reduce.final_prompt.as_deref().unwrap_or_default().as_bytes());
            reduce_seed.part(&reduce.max_tokens.to_le_bytes());
        }
        JobScript {
            templates: spec.templates.clone(),
            check: spec.check.clone(),
            max_tokens: spec.max_tokens,
            privacy: spec.privacy,
            has_reduce: reduce.is_some(),
            reduce_max_tokens: reduce.map_or(spec.max_tokens, |reduce| reduce.max_tokens),
            item_seed: item_seed.0.finalize(),
            reduce_seed: reduce_seed.0.finalize(),
            shared: shared::prefix(&spec.templates, spec.system.as_deref(), &spec.prompt).map(Arc::new),
            pack_schemas: Mutex::default(),
        }
    }

    /// What decides the answer to `rendered`. Packing, retries and the model are no part of it. A
    /// row's own level is where it is above the job's: such a row must never take the answer of
    /// an equal one that was allowed further out, nor lend it its own way.
    #[must_use]
    pub fn item_key(&self, rendered: &Rendered, level: Option<Level>) -> ItemKey {
        let raised = level.filter(|level| *level > self.privacy).map_or(0, |level| level.as_u8() + 1);
        let mut digest = Digest::new(self.item_seed.as_bytes());
        digest.part(&[raised, u8::from(rendered.system.is_some())]);
        digest.part(rendered.system.as_deref().unwrap_or_default().as_bytes());
        digest.part(rendered.prompt.as_bytes());
        digest.key()
    }

    /// The level of an item: the job's, or its own if that is higher.
    #[must_use]
    pub fn level(&self, own: Option<Level>) -> Level {
        own.unwrap_or(self.privacy).max(self.privacy)
    }

    /// The prompts of a row, numbered from 1, that is parsed already.
    pub(super) fn render_fields(&self, fields: &Arc<Fields>, number: u64) -> Result<Rendered, TemplateError> {
        let (system, prompt) = self.templates.render_row(fields, number)?;
        Ok(Rendered { system, prompt })
    }
}

impl Script for JobScript {
    fn render(&self, item: &Item) -> Result<Rendered, String> {
        let number = u64::from(item.number) + 1;
        let fields = match row::parse(&item.row) {
            Ok(Parsed::Object(fields)) => fields,
            Ok(Parsed::Scalar(_)) => return Err(format!("row {number} is no JSON object")),
            Err(error) => return Err(format!("row {number} is no JSON object: {error}")),
        };
        self.render_fields(&Arc::new(fields), number).map_err(|error| format!("row {number}: {error}"))
    }

    fn render_pack(&self, items: &[Item]) -> Result<Rendered, String> {
        let parts: Vec<Rendered> = items.iter().map(|item| self.render(item)).collect::<Result<_, _>>()?;
        Ok(pack::join(&parts))
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        self.check.as_schema().cloned()
    }

    fn pack_schema(&self, n: usize) -> Arc<Schema> {
        let mut known = self.pack_schemas.lock();
        known.entry(n).or_insert_with(|| Arc::new(Schema::new(self.check.pack_schema(n)))).clone()
    }

    fn check(&self, answer: &str) -> Result<Box<str>, String> {
        self.check.check(answer)
    }

    fn split_pack(&self, answer: &str, n: usize) -> Result<Vec<Result<Box<str>, String>>, String> {
        pack::split(&self.check, answer, n)
    }

    fn max_tokens(&self, n: usize) -> u32 {
        match u32::try_from(n).unwrap_or(u32::MAX) {
            0 | 1 => self.max_tokens,
            n => self.max_tokens.saturating_add(PACK_TOKENS_EACH).saturating_mul(n),
        }
    }

    fn shared(&self) -> Option<Arc<SharedPrefix>> {
        self.shared.clone()
    }

    fn reduce_max_tokens(&self) -> u32 {
        self.reduce_max_tokens
    }

    fn reduce_key(&self, depth: u32, inputs: &[Box<str>]) -> ItemKey {
        let mut digest = Digest::new(self.reduce_seed.as_bytes());
        digest.part(&depth.to_le_bytes());
        for input in inputs {
            digest.part(input.as_bytes());
        }
        digest.key()
    }

    fn render_reduce(&self, answers: &[Box<str>], last: bool) -> Option<Result<Rendered, String>> {
        if !self.has_reduce {
            return None;
        }
        let parsed = answers.iter().enumerate().map(|(index, answer)| {
            row::parse_value(answer).map_err(|error| format!("answer {} is not JSON: {error}", index + 1))
        });
        let rendered = parsed.collect::<Result<Vec<Shown>, _>>().and_then(|answers| {
            let prompt = self.templates.render_reduce(answers, last).map_err(|error| error.to_string())?;
            Ok(Rendered { system: None, prompt })
        });
        Some(rendered)
    }
}

/// A hash over parts, each with its length, so that no two lists of parts look alike.
#[derive(Clone)]
struct Digest(blake3::Hasher);

impl Digest {
    fn new(seed: &[u8]) -> Digest {
        let mut digest = Digest(blake3::Hasher::new());
        digest.part(seed);
        digest
    }

    fn part(&mut self, bytes: &[u8]) -> &mut Digest {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn key(&self) -> ItemKey {
        let mut key = [0; 16];
        key.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        ItemKey(key)
    }
}

#[cfg(test)]
mod tests;
