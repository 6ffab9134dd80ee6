//! The server: one port, and what is asked for decides the dialect.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response};
use empire_actors::money::Price;
use futures_util::FutureExt;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::books::Books;
use super::chat::{chat, check_key, refuse_saying};
use super::control;
use super::dialect::Dialect;
use super::line::Lines;
use super::reply::Reply;
use super::scenario::Scenario;
use super::schema::Schemas;
use super::stage::Stage;
use super::{claude, kimi, ollama};

/// The largest body that is read: Claude's own limit.
const LARGEST_BODY: usize = 32 * 1024 * 1024;
/// The version of Ollama whose dialect is spoken.
const OLLAMA_VERSION: &str = "0.12.0";

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// It shows what it receives to whoever asks, so it must not be reachable from elsewhere.
    #[error("the simulator listens on loopback only, not on {0}: give an address like 127.0.0.1:11434")]
    NotLoopback(SocketAddr),
    /// The port is taken, or may not be used.
    #[error("the simulator cannot listen on {address}: choose another address, or port 0 for any free one")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it cannot.
        source: io::Error,
    },
}

/// A running simulator. It stops when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    /// Dropping it ends the server and every connection.
    running: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Plays `scenario` on `listen` (port 0: any free one). `prices` says what a call of each
    /// model is billed at.
    ///
    /// # Errors
    /// If `listen` is not a loopback address or cannot be listened on.
    #[expect(clippy::disallowed_methods, reason = "no actor: the server ends with its `Simulator`")]
    pub async fn start(
        scenario: Scenario,
        prices: HashMap<String, Price>,
        listen: SocketAddr,
    ) -> Result<Simulator, SimError> {
        if !listen.ip().is_loopback() {
            return Err(SimError::NotLoopback(listen));
        }
        let cannot = |source| SimError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let shared = Arc::new(Shared {
            stage: RwLock::new(Arc::new(Stage::new(scenario))),
            books: Books::new(prices),
            schemas: Schemas::default(),
        });
        let (running, ended) = oneshot::channel();
        let ended = ended.shared();
        let app = Router::new().fallback(respond).with_state(shared);
        let lines = Lines::new(listener, ended.clone());
        let server = tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(lines, app).into_future() => {}
                _ = ended => {}
            }
        });
        Ok(Simulator { address, running, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops at once: it listens no more, and every connection is closed, a hung one too.
    pub async fn shutdown(self) {
        drop(self.running);
        // The task only ends or panics; either way it is over.
        let _ended = self.server.await;
    }
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    stage: RwLock<Arc<Stage>>,
    pub(super) books: Books,
    pub(super) schemas: Schemas,
}

impl Shared {
    /// The scenario that is played.
    pub(super) fn stage(&self) -> Arc<Stage> {
        Arc::clone(&self.stage.read())
    }

    /// Plays another scenario, from its start.
    pub(super) fn play(&self, scenario: Scenario) {
        *self.stage.write() = Arc::new(Stage::new(scenario));
    }

    /// Whether `model` exists.
    pub(super) fn knows(&self, stage: &Stage, dialect: Dialect, model: &str) -> bool {
        let settings = &stage.scenario.behaviour(dialect).settings;
        let is_it = |known: &str| {
            known == model || (dialect == Dialect::Ollama && known.strip_suffix(":latest") == Some(model))
        };
        match &settings.models {
            None => true,
            Some(models) => {
                models.iter().any(|known| is_it(known))
                    || settings.remote_models.keys().any(|known| is_it(known))
            }
        }
    }

    /// The models to list: the scenario's, or else those with a price that sound like the
    /// dialect's, or else a likely one.
    fn models(&self, stage: &Stage, dialect: Dialect) -> Vec<String> {
        if let Some(models) = &stage.scenario.behaviour(dialect).settings.models {
            return models.clone();
        }
        let sounds_like = |model: &str| match model {
            _ if model.contains(':') => Dialect::Ollama,
            _ if model.starts_with("claude-") => Dialect::Claude,
            _ if model.starts_with("kimi-") || model.starts_with("moonshot-") => Dialect::Kimi,
            _ => Dialect::Ollama,
        };
        let priced = self.books.priced_models().into_iter().filter(|model| sounds_like(model) == dialect);
        let models: Vec<String> = priced.map(str::to_owned).collect();
        if models.is_empty() {
            let likely = ["llama3.2:3b", "kimi-k2.6", "claude-sonnet-4-6"][dialect.index()];
            return vec![likely.to_owned()];
        }
        models
    }
}

async fn respond(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_BODY).await.ok();
    let path = parts.uri.path();
    if path.starts_with("/_sim/") {
        return control::page(&shared, parts.method.as_str(), &parts.uri, &parts.headers, body.as_ref())
            .into_response();
    }
    let Some((dialect, method, path)) = route(&parts.method, path, &parts.headers) else {
        let reply = control::not_found(parts.method.as_str(), path);
        shared.books.answered(None, "other", "other", reply.status);
        return reply.into_response();
    };
    let reply = if method == "POST" {
        chat(&shared, dialect, path, &parts.headers, body.as_ref()).await
    } else {
        look_up(&shared, dialect, path, &parts.headers)
    };
    shared.books.answered(Some(dialect), method, path, reply.status);
    reply.into_response()
}

/// Whose dialect a request is in, and which of its known pages it asks for.
fn route(method: &Method, path: &str, headers: &HeaderMap) -> Option<(Dialect, &'static str, &'static str)> {
    const PAGES: [(Dialect, &str, &str); 9] = [
        (Dialect::Ollama, "POST", "/api/chat"),
        (Dialect::Kimi, "POST", "/v1/chat/completions"),
        (Dialect::Claude, "POST", "/v1/messages"),
        (Dialect::Ollama, "GET", "/"),
        (Dialect::Ollama, "GET", "/api/tags"),
        (Dialect::Ollama, "GET", "/api/ps"),
        (Dialect::Ollama, "GET", "/api/version"),
        (Dialect::Kimi, "GET", "/v1/models"),
        (Dialect::Kimi, "GET", "/v1/users/me/balance"),
    ];
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    let (dialect, method, path) = *PAGES.iter().find(|page| page.1 == asked && page.2 == path)?;
    let is_claude = path == "/v1/models" && headers.contains_key("anthropic-version");
    Some((if is_claude { Dialect::Claude } else { dialect }, method, path))
}

fn look_up(shared: &Shared, dialect: Dialect, path: &str, headers: &HeaderMap) -> Reply {
    if let Err((shape, message)) = check_key(dialect, headers) {
        return refuse_saying(dialect, shape, &message, 0, "simulated");
    }
    let stage = shared.stage();
    let models = shared.models(&stage, dialect);
    let settings = &stage.scenario.behaviour(dialect).settings;
    let page = match path {
        "/" => return Reply::text("Ollama is running"),
        "/api/tags" => ollama::tags(settings, &models),
        "/api/ps" => ollama::processes(&models),
        "/api/version" => serde_json::json!({ "version": format!("{OLLAMA_VERSION}-simulated") }),
        "/v1/users/me/balance" => kimi::balance(stage.is_dry(dialect), shared.books.billed(dialect)),
        _ if dialect == Dialect::Claude => claude::models(&models),
        _ => kimi::models(&models),
    };
    Reply::value(200, &page)
}
