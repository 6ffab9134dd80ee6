//! The simulator: a real HTTP server on loopback that speaks the dialects of Ollama, Kimi and
//! Claude, deterministic by seed, with whatever going wrong that a scenario asks for.
//!
//! It records what it received under `/_sim/requests`, so that tests can prove what left, and
//! marks everything it answers as simulated.
//!
//! Its own pages:
//!
//! | page | what it does |
//! |---|---|
//! | `GET /_sim/info` | scenario, its fingerprint, and seed |
//! | `GET /_sim/requests?bodies=true&dialect=kimi&limit=10` | counts, bills, and the latest bodies |
//! | `GET /_sim/times?provider=kimi` | when chat calls came, in milliseconds since the start |
//! | `POST /_sim/topup` `{"provider": "kimi", "calls": 10}` | adds answers to an account; `null` makes it endless |
//! | `POST /_sim/scenario` | starts another scenario: a built-in one's name, or YAML |
//! | `POST /_sim/reset` | clears the records; the scenario goes on |

mod answer;
mod ask;
mod books;
mod chat;
mod claude;
mod control;
mod dialect;
mod dice;
mod fit;
mod kimi;
mod line;
mod merge;
mod ollama;
mod prefix;
mod quotes;
mod reply;
mod scenario;
mod schema;
mod server;
mod settings;
mod shapes;
mod stage;
mod strings;
#[cfg(test)]
mod tests;

pub use scenario::{Scenario, ScenarioError};
pub use server::{SimError, Simulator};
