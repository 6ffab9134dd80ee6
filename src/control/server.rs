//! The server: who it listens to, for how long, and how a request finds its route.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::Control;
use super::access::{Gatekeeper, Peer, RefusedHook};
use super::place::{self, Reached};
use super::problem::Problem;
use super::routes::{Asked, Request, Route, routes};

/// The largest body that is read.
const LARGEST_BODY: usize = 64 << 10;
/// What a request's head takes at most, with what of its body came along.
const LARGEST_HEAD: usize = 64 << 10;
/// How long a request's head, and then its body, may take to come. Idle connections end so, too.
const COMES_WITHIN: Duration = Duration::from_secs(10);
/// Connections that are open at once, over each way.
const MOST_CONNECTIONS: usize = 64;
/// What is under way when the server stops may end within this.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Why the API cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Anybody could reach it.
    #[error(
        "the control API listens on loopback only, not on {0}: set `listen` in [control] to an address like 127.0.0.1:18790"
    )]
    NotLoopback(SocketAddr),
    /// The port is taken, or may not be used.
    #[error(
        "the control API cannot listen on {address} ({source}): set another port with `listen` in [control], or \"none\""
    )]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it cannot.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("the control API has no socket in {} ({source}): `empire tree` will not find this process", dir.display())]
    Socket {
        /// The data folder.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// How the API is served.
pub struct Settings {
    /// Where to listen beside the socket.
    pub listen: Option<SocketAddr>,
    /// Hears of every request over TCP that showed no token, or a wrong one.
    pub refused: RefusedHook,
}

/// The API is served until this is dropped.
#[derive(Debug)]
pub struct Server {
    running: watch::Sender<bool>,
    reached: Reached,
    dir: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens beside its socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.reached.address
    }

    /// Takes no more requests, and gives those under way a moment to end.
    pub async fn stop(mut self) {
        self.running.send_replace(false);
        // It ends by itself, soon.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.send_replace(false);
        self.reached.remove(&self.dir);
    }
}

/// Serves the API for whoever works in the data folder `dir`, whose lock the caller holds: a socket
/// that lies there was left by a dead process.
///
/// # Errors
/// It cannot listen.
#[expect(clippy::disallowed_methods, reason = "no actor: it ends with its `Server`")]
pub async fn serve(control: Arc<Control>, dir: &Path, settings: Settings) -> Result<Server, ControlError> {
    let cannot = |source| ControlError::Socket { dir: dir.to_owned(), source };
    let tcp = match settings.listen {
        None => None,
        Some(address) if !address.ip().is_loopback() => return Err(ControlError::NotLoopback(address)),
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| ControlError::Bind { address, source })?)
        }
    };
    let token = tcp.as_ref().map(|_| place::token(dir)).transpose().map_err(cannot)?;
    let unix = Socket::bind(dir).map_err(cannot)?;
    let reached = Reached {
        process: std::process::id(),
        socket: unix.path(),
        address: tcp.as_ref().and_then(|tcp| tcp.local_addr().ok()),
    };
    reached.write(dir).map_err(cannot)?;
    let app = router(control, Gatekeeper::new(token.as_ref(), settings.refused));
    let (running, ended) = watch::channel(true);
    let task = tokio::spawn(listen(unix, tcp, app, ended));
    Ok(Server { running, reached, dir: dir.to_owned(), task })
}

#[cfg(unix)]
struct Socket {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    owner: Arc<str>,
    uid: u32,
}

#[cfg(unix)]
impl Socket {
    fn bind(dir: &Path) -> io::Result<Socket> {
        use std::fs;
        use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

        let runtime = crate::config::system_env("XDG_RUNTIME_DIR").map(PathBuf::from);
        let path = place::socket_path(dir, runtime)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => {
                let why = format!("{} is no socket: move it away", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Its folder is its owner's alone, so nobody gets in before its own mode is set.
        let listener = tokio::net::UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let uid = fs::metadata(&path)?.uid();
        Ok(Socket { listener, path, owner: place::owners_name().into(), uid })
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    async fn accept(&self) -> io::Result<(tokio::net::UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let name = if uid == self.uid { self.owner.clone() } else { format!("user {uid}").into() };
        Ok((stream, Peer::User(name)))
    }
}

/// Where there are no sockets with an owner, there is TCP.
#[cfg(not(unix))]
struct Socket;

#[cfg(not(unix))]
impl Socket {
    fn bind(_: &Path) -> io::Result<Socket> {
        Ok(Socket)
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }

    async fn accept(&self) -> io::Result<(tokio::net::TcpStream, Peer)> {
        std::future::pending().await
    }
}

async fn accept_tcp(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, Peer)> {
    match listener {
        Some(listener) => Ok((listener.accept().await?.0, Peer::Loopback)),
        None => std::future::pending().await,
    }
}

async fn listen(unix: Socket, tcp: Option<TcpListener>, app: Router, mut ended: watch::Receiver<bool>) {
    // Apart, so that whoever knocks at the port keeps nobody from the socket.
    let slots = [MOST_CONNECTIONS; 2].map(|most| Arc::new(Semaphore::new(most)));
    let mut connections = JoinSet::new();
    let over = ended.clone();
    loop {
        let failed = tokio::select! {
            _ = ended.wait_for(|running| !running) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => None,
            accepted = unix.accept() => match (accepted, slots[0].clone().try_acquire_owned()) {
                (Err(error), _) => Some(error),
                // Too many: this one is closed.
                (Ok(_), Err(_)) => None,
                (Ok((stream, peer)), Ok(slot)) => {
                    let attended = attend(stream, peer, app.clone(), over.clone());
                    connections.spawn(async move { attended.await; drop(slot); });
                    None
                }
            },
            accepted = accept_tcp(tcp.as_ref()) => match (accepted, slots[1].clone().try_acquire_owned()) {
                (Err(error), _) => Some(error),
                (Ok(_), Err(_)) => None,
                (Ok((stream, peer)), Ok(slot)) => {
                    let attended = attend(stream, peer, app.clone(), over.clone());
                    connections.spawn(async move { attended.await; drop(slot); });
                    None
                }
            },
        };
        if let Some(error) = failed {
            // Out of file handles, mostly: what is open goes on, and some end soon.
            tracing::warn!(%error, "the control API could not accept a connection");
            tokio::time::sleep(ENDS_WITHIN).await;
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Answers what comes over one connection.
async fn attend<S>(stream: S, peer: Peer, app: Router, mut ended: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(app.layer(Extension(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(COMES_WITHIN)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // However it ended: whoever was there has gone.
        _ = connection.as_mut() => return,
        _ = ended.wait_for(|running| !running) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Who watches would do so for ever.
    let _ = tokio::time::timeout(ENDS_WITHIN, connection).await;
}

struct App {
    control: Arc<Control>,
    keeper: Gatekeeper,
}

fn router(control: Arc<Control>, keeper: Gatekeeper) -> Router {
    let app = Arc::new(App { control, keeper });
    let mut router: Router<Arc<App>> = Router::new();
    for route in routes() {
        let method = if route.changes { MethodFilter::POST } else { MethodFilter::GET };
        let (path, route) = (route.path, Arc::new(route));
        let handler = move |State(app): State<Arc<App>>,
                            Extension(peer): Extension<Peer>,
                            request: HttpRequest<Body>| {
            let route = route.clone();
            async move { answer(&app, &route, peer, request).await.unwrap_or_else(Problem::into_response) }
        };
        router = router.route(path, on(method, handler));
    }
    router.fallback(no_page).method_not_allowed_fallback(no_method).with_state(app)
}

async fn no_page(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Problem {
    let refused = app.keeper.admit(&peer, &headers, false).err();
    refused.unwrap_or_else(|| Problem::no_page(method.as_str(), uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::method(method.as_str(), uri.path())
}

async fn answer(
    app: &App,
    route: &Route,
    peer: Peer,
    request: HttpRequest<Body>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    app.keeper.admit(&peer, &parts.headers, route.open)?;
    let if_match = if_match(&parts.headers)?;
    let read = tokio::time::timeout(COMES_WITHIN, to_bytes(body, LARGEST_BODY)).await;
    let body =
        read.map_err(|_| Problem::slow(COMES_WITHIN))?.map_err(|_| Problem::too_large(LARGEST_BODY))?;
    let request = Request { asked: Asked { peer, if_match }, uri: parts.uri, body };
    let mut response = (route.handle)(app.control.clone(), request).await?;
    // What is shown is of this moment.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The version that is expected, in quotes or not.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(given) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let number = given.to_str().ok().map(|text| text.trim_matches('"'));
    match number {
        Some("*") => Ok(None),
        Some(number) => number
            .parse()
            .map(Some)
            .map_err(|_| Problem::bad("if-match: give the version's number, as /v1/policy shows it")),
        None => Err(Problem::bad("if-match: give the version's number, as /v1/policy shows it")),
    }
}
