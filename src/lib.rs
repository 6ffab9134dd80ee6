//! `empire`: the outside world of the swarm: command line, providers, stores, simulator, wiring.
//! Who decides lives in the `empire-actors` crate.

pub mod sim;
