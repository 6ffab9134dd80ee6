//! `empire`: the outside world of the swarm: command line, providers, stores, simulator, wiring.
//! Who decides lives in the `empire-actors` crate.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod alerts;
pub mod cache;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod health;
pub mod home;
pub mod job;
pub mod log;
pub mod metrics;
pub mod plan;
pub mod privacy;
pub mod providers;
pub mod report;
pub mod run;
pub mod sampler;
pub mod sim;
pub mod store;
pub mod text;
