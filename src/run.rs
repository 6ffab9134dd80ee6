//! Running a job: what `empire swarm run`, `resume`, `retry` and `plan` share.
//!
//! [`prepare`] reads spec, input and configuration and refuses what can be refused; [`launch`] readies
//! a job to run; [`house`]
//! puts the actors together that all jobs share, [`engine`] runs a job among them and waits for its
//! end; [`outputs`] writes results while they come
//! and once more, whole and in order, at the end; [`finish`] makes the report.

pub mod approval;
pub mod board;
pub mod caps;
pub mod engine;
pub mod error;
pub mod feed;
pub mod finish;
pub mod house;
pub mod launch;
pub mod limits;
pub mod machine;
pub mod origin;
pub mod outputs;
pub mod prepare;
pub mod progress;
pub mod reconcile;
pub mod routing;
pub mod sample;
pub mod supervision;
pub mod system;
mod table;
pub mod watching;
