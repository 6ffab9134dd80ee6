//! Admission: every row is read, rendered and keyed once, before anything is spent.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use empire_actors::level::Level;
use empire_actors::ports::ItemKey;
use serde::{Deserialize, Serialize};

use super::input::{InputError, InputSource, Row};
use super::script::JobScript;

/// Items of one chunk, and of one cohort.
pub const CHUNK_ITEMS: usize = 1024;

/// Consecutive items, ready for the store: a cohort's share of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRows {
    /// Which cohort, from 0.
    pub cohort: u32,
    /// The number of the first item, from 0.
    pub first: u32,
    /// What decides each item's answer.
    pub keys: Vec<ItemKey>,
    /// Each item's own level, if its row carries one.
    pub levels: Vec<Option<Level>>,
    /// Each item's columns: a compact JSON object.
    pub rows: Vec<Box<str>>,
}

/// What an input adds up to. Bytes are those of rendered prompts, without any framing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Items.
    pub items: u32,
    /// Items that differ: each is called once.
    pub distinct: u32,
    /// Bytes of all user prompts.
    pub prompt_bytes: u64,
    /// Bytes of all system prompts.
    pub system_bytes: u64,
    /// Bytes of the user prompts of distinct items.
    pub distinct_prompt_bytes: u64,
    /// Bytes of the system prompts of distinct items.
    pub distinct_system_bytes: u64,
    /// The longest user prompt.
    pub max_prompt_bytes: u64,
    /// The longest system prompt.
    pub max_system_bytes: u64,
    /// Bytes of all rows as JSON.
    pub rows_bytes: u64,
    /// Items of each level, P0 to P3; an item's level is the higher of the job's and its own.
    pub levels: [u32; 4],
    /// Distinct items of each level.
    pub distinct_levels: [u32; 4],
    /// A hash of the rows in their order, whatever the templates make of them.
    pub input_fingerprint: String,
}

/// Why an input was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError<E: fmt::Display> {
    /// The input cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A template does not go with a row.
    #[error("row {row} ({file}, line {line}): {problem}")]
    Render {
        /// The row's number, from 1.
        row: u64,
        /// The input.
        file: String,
        /// The row's line in it.
        line: u64,
        /// Which template, where, which field.
        problem: String,
    },
    /// The taker of the chunks failed.
    #[error("{0}")]
    Visit(E),
}

/// Takes in the first `limit` rows of `source` (all without one) in a single pass and hands them
/// to `visit` in chunks. On an error, what was visited so far is to be forgotten.
pub fn admit<E: fmt::Display>(
    script: &JobScript,
    source: &InputSource,
    limit: Option<u32>,
    mut visit: impl FnMut(ChunkRows) -> Result<(), E>,
) -> Result<Totals, AdmitError<E>> {
    if limit == Some(0) {
        return Err(InputError::ZeroLimit.into());
    }
    let mut tally = Tally::default();
    let mut chunk = empty_chunk(0);
    for row in source.rows()?.take(limit.map_or(usize::MAX, |limit| limit as usize)) {
        let row = row?;
        let key = tally.take(script, source, &row)?;
        chunk.keys.push(key);
        chunk.levels.push(row.level);
        chunk.rows.push(row.json);
        if chunk.keys.len() == CHUNK_ITEMS {
            let next = empty_chunk(chunk.cohort + 1);
            visit(std::mem::replace(&mut chunk, next)).map_err(AdmitError::Visit)?;
        }
    }
    if !chunk.keys.is_empty() {
        visit(chunk).map_err(AdmitError::Visit)?;
    }
    Ok(tally.finish())
}

fn empty_chunk(cohort: u32) -> ChunkRows {
    let first = cohort * CHUNK_ITEMS as u32;
    ChunkRows { cohort, first, keys: Vec::new(), levels: Vec::new(), rows: Vec::new() }
}

#[derive(Default)]
struct Tally {
    totals: Totals,
    /// 64 bits of a key suffice for counting: at a million items, one is lost in a billion runs.
    seen: HashSet<u64, BuildHasherDefault<AsIs>>,
    rows: blake3::Hasher,
}

impl Tally {
    fn take<E: fmt::Display>(
        &mut self,
        script: &JobScript,
        source: &InputSource,
        row: &Row,
    ) -> Result<ItemKey, AdmitError<E>> {
        let number = u64::from(self.totals.items) + 1;
        let rendered = script.render_fields(&row.fields, number).map_err(|error| AdmitError::Render {
            row: number,
            file: source.label().to_owned(),
            line: row.line,
            problem: error.to_string(),
        })?;
        let key = script.item_key(&rendered, row.level);
        let level = usize::from(script.level(row.level).as_u8());
        let prompt = rendered.prompt.len() as u64;
        let system = rendered.system.as_ref().map_or(0, String::len) as u64;
        let totals = &mut self.totals;
        totals.items += 1;
        totals.prompt_bytes += prompt;
        totals.system_bytes += system;
        totals.max_prompt_bytes = totals.max_prompt_bytes.max(prompt);
        totals.max_system_bytes = totals.max_system_bytes.max(system);
        totals.rows_bytes += row.json.len() as u64;
        totals.levels[level] += 1;
        if self.seen.insert(key_head(key)) {
            totals.distinct += 1;
            totals.distinct_prompt_bytes += prompt;
            totals.distinct_system_bytes += system;
            totals.distinct_levels[level] += 1;
        }
        self.rows.update(&(row.json.len() as u64).to_le_bytes());
        self.rows.update(row.json.as_bytes());
        Ok(key)
    }

    fn finish(mut self) -> Totals {
        self.totals.input_fingerprint = self.rows.finalize().to_hex().to_string();
        self.totals
    }
}

fn key_head(key: ItemKey) -> u64 {
    key.0[..8].iter().fold(0, |head, byte| head << 8 | u64::from(*byte))
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests;
