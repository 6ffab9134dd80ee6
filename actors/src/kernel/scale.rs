//! What of an actor can be more or less while it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of something an actor has at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaled {
    /// So many now.
    pub to: u32,
    /// So many if nobody had scaled it, which is also the most.
    pub at_most: u32,
    /// Of what, in words.
    pub of: String,
}

/// What carries out [`Order::Scale`](super::tree::Order::Scale) for an actor. What it was told outlives
/// the actor's incarnations, but not the process.
pub trait Scale: Send + Sync {
    /// How many there are. Must not wait for the actor.
    fn scaled(&self) -> Scaled;

    /// So many from now on. Says what came of it.
    ///
    /// # Errors
    /// It cannot be so many: why, in words.
    fn scale(&self, to: u32) -> Result<String, String>;
}
