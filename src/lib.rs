//! `empire`: the outside world of the swarm: command line, providers, stores, simulator, wiring.

pub mod config;
pub mod providers;
