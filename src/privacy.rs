//! What is private: files by their place, and the owner's own secrets.

pub mod decode;
pub mod keychain;
pub mod numbers;
mod own;
pub mod rules;
pub mod screen;
mod sources;

pub use own::{OwnSecret, OwnSource, OwnSourceError};
pub use sources::{SourceRule, SourceRules, places_of};
