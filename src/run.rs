//! Running a job: what `empire swarm run`, `resume`, `retry` and `plan` share.
//!
//! [`prepare`] reads spec, input and configuration and refuses what can be refused; [`engine`]
//! puts the actors together and waits for the end; [`outputs`] writes results while they come
//! and once more, whole and in order, at the end; [`finish`] makes the report.

pub mod approval;
pub mod caps;
pub mod engine;
pub mod error;
pub mod finish;
pub mod limits;
pub mod machine;
pub mod origin;
pub mod outputs;
pub mod prepare;
pub mod progress;
pub mod reconcile;
pub mod routing;
pub mod system;
mod watching;
