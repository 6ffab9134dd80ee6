//! Jobs as people write them: the spec, its input, its prompts and the check of its answers.
//!
//! [`JobSpec::parse`] reads the YAML and refuses what can be refused without the input.
//! [`InputSource`] streams rows, [`admit()`] takes them all in once, before anything is spent, and
//! [`JobScript`] is what the agents run: templates, packing and answer checks.

mod admit;
mod answer;
mod input;
mod pack;
mod row;
mod script;
mod shared;
mod spec;
mod template;

pub use admit::{AdmitError, CHUNK_ITEMS, ChunkRows, Totals, admit};
pub use input::{InputError, InputSource, MAX_RECORD_BYTES, Row, Rows};
pub use script::JobScript;
pub use spec::{
    Answer, Difficulty, FailureRule, FileInput, Format, Input, JobSpec, Pack, Place, Reduce, Role, SpecError,
    SpecFault, spec_json_schema,
};
