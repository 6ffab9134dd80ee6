//! The server: one page for whoever is on this machine. It has a thread of its own, so that a
//! scrape is answered while all others are busy.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::standing::Counts;
use super::state::Scraper;
use super::{MetricsError, PATH};
use crate::store::Store;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How often what histograms were told is added up, so that it takes no memory if nobody asks.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);

/// A server of metrics; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _counts: Counts,
}

impl Server {
    /// Serves on a thread of its own, which is joined when the server is dropped.
    pub(super) fn start(listen: SocketAddr, scraper: Scraper, store: &Store) -> Result<Server, MetricsError> {
        let cannot = |source| MetricsError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let setup = |error: std::io::Error| MetricsError::Setup(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(setup)?;
        let counts = Counts::start(store.clone());
        let scraper = Arc::new(Mutex::new(scraper.with_counts(counts.latest())));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = answer(listener, scraper.clone()) => {}
                    () = keep_up(scraper) => {}
                    _ = stopped => {}
                }
            });
        });
        let thread = thread.map_err(setup)?;
        tracing::info!("metrics at http://{address}{PATH}");
        Ok(Server { address, stop: Some(stop), thread: Some(thread), _counts: counts })
    }

    /// Where the metrics are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It does nothing that takes longer than a scrape.
            let _ = thread.join();
        }
    }
}

async fn answer(listener: TcpListener, scraper: Arc<Mutex<Scraper>>) {
    let served = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = Router::new().route(PATH, get(page)).with_state(scraper);
        axum::serve(listener, app).await
    };
    if let Err(error) = served.await {
        tracing::warn!(%error, "metrics are not served any more");
    }
}

async fn keep_up(scraper: Arc<Mutex<Scraper>>) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        scraper.lock().keep_up();
    }
}

async fn page(State(scraper): State<Arc<Mutex<Scraper>>>, headers: HeaderMap) -> Response {
    if !is_local(&headers) {
        let why = "metrics are for this machine only: ask for them by a loopback address\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], scraper.lock().scrape()).into_response()
}

/// Whether it was asked for by an address of this machine: a web page can have a browser here ask
/// for a name that leads here, but not for this address.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_this_machine_is_answered() {
        for (host, local) in [
            ("127.0.0.1:9464", true),
            ("127.0.0.1", true),
            ("localhost:9464", true),
            ("[::1]:9464", true),
            ("[::1]", true),
            ("metrics.example:9464", false),
            ("10.0.0.1:9464", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(is_local(&headers), local, "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
