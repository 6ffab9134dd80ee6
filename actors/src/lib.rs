//! Who decides in `empire`: every actor, and the pure logic each one moves messages around.
//!
//! This crate knows no HTTP, SQL, file system or environment. It states what it needs in
//! [`ports`], so that the whole brain runs in memory under a paused clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod alerts;
pub mod failure;
pub mod gates;
pub mod guard;
pub mod house;
pub mod kernel;
pub mod level;
pub mod model;
pub mod money;
pub mod ports;
pub mod route;
pub mod schema;
pub mod swarm;
pub mod tally;
pub mod watch;

pub use gates::call;
