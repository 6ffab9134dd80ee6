//! The HTTP clients.

use std::collections::HashMap;
use std::time::Duration;

use empire_actors::level::Zone;
use reqwest::{Client, redirect, retry};

use crate::config::ProviderSetting;

/// Idle connections kept per host: as many as a swarm may have in flight.
const MAX_IDLE_PER_HOST: usize = 1_024;
const IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// No HTTP client could be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: check that the system's certificates can be read")]
pub struct ClientError(#[from] reqwest::Error);

/// The HTTP clients. There is one for all providers that connect in the same way, which is one
/// connection pool; whether a proxy may be used and how long connecting may take are a client's
/// own.
#[derive(Debug, Default)]
pub struct Clients {
    made: HashMap<Kind, Client>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) connect_timeout: Duration,
    pub(super) direct: bool,
}

impl Clients {
    /// The client for this provider.
    ///
    /// # Errors
    /// If a client cannot be set up.
    pub fn client_for(&mut self, setting: &ProviderSetting) -> Result<Client, ClientError> {
        let kind = Kind { connect_timeout: setting.connect_timeout, direct: must_be_direct(setting) };
        if let Some(client) = self.made.get(&kind) {
            return Ok(client.clone());
        }
        let client = build(kind)?;
        self.made.insert(kind, client.clone());
        Ok(client)
    }
}

/// A proxy must not see what may not leave the owner's machines, and cannot reach loopback.
fn must_be_direct(setting: &ProviderSetting) -> bool {
    setting.spec.zone < Zone::Cloud || crate::config::is_own_network(&setting.base_url)
}

#[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
pub(super) fn build(kind: Kind) -> Result<Client, ClientError> {
    let builder = Client::builder()
        .user_agent(concat!("empire/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(kind.connect_timeout)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        // A redirect could carry a prompt to a host of another zone.
        .redirect(redirect::Policy::none())
        // Every call is paid for and counted: only the swarm decides about a second one.
        .retry(retry::never());
    let builder = if kind.direct { builder.no_proxy() } else { builder };
    Ok(builder.build()?)
}

/// Asks whether the simulator, and nothing else, answers at `base_url`, and what it plays.
pub(super) async fn simulator_answers(base_url: &str) -> Result<String, String> {
    if !crate::config::is_own_network(base_url) {
        return Err(format!(
            "--sim {base_url}: a simulator runs on this machine only: use http://127.0.0.1:PORT"
        ));
    }
    let client = build(Kind { connect_timeout: IDLE, direct: true }).map_err(|error| error.to_string())?;
    let asked = client.get(format!("{base_url}/_sim/info")).timeout(KEEP_ALIVE).send().await;
    let unreachable = |_| format!("--sim {base_url}: nothing answers there: start it with `empire sim`");
    let answer = asked.map_err(unreachable)?.json::<serde_json::Value>().await;
    match answer.as_ref().map(|info| (&info["simulator"], info["fingerprint"].as_str())) {
        Ok((serde_json::Value::Bool(true), Some(fingerprint))) => Ok(fingerprint.to_owned()),
        _ => Err(format!(
            "--sim {base_url}: what answers there is no simulator of this version of the program"
        )),
    }
}
