//! What the control API offers where a daemon runs, beside the tree: its jobs, its status, its end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::{Daemon, Down, NotTaken, Taken};
use crate::run::error::CommandError;
use crate::run::launch::{Wanted, WantedAgain};

/// The longest that a daemon may take to end.
const LONGEST_END: Duration = Duration::from_secs(3_600);

/// From which line on.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct FeedQuery {
    /// The number of the line.
    #[serde(default)]
    pub from: usize,
}

/// Asks a daemon to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DownWanted {
    /// Calls under way may take so many milliseconds.
    pub within_ms: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// Why, and what to do.
    pub error: String,
}

/// The daemon's own routes.
pub fn routes(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/daemon", get(status))
        .route("/v1/daemon/down", post(down))
        .route("/v1/jobs", post(take))
        .route("/v1/jobs/{id}/resume", post(resume))
        .route("/v1/jobs/{id}/feed", get(feed))
        .with_state(daemon)
}

async fn status(State(daemon): State<Arc<Daemon>>) -> Response {
    match daemon.status().await {
        Ok(status) => Json(status).into_response(),
        Err(error) => failed(&error),
    }
}

async fn down(State(daemon): State<Arc<Daemon>>, Json(wanted): Json<DownWanted>) -> Response {
    daemon.ask_down(Down { within: Duration::from_millis(wanted.within_ms).min(LONGEST_END) });
    StatusCode::ACCEPTED.into_response()
}

async fn take(State(daemon): State<Arc<Daemon>>, Json(wanted): Json<Wanted>) -> Response {
    answer(daemon.take(wanted).await)
}

async fn resume(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Json(wanted): Json<WantedAgain>,
) -> Response {
    answer(daemon.resume(&id, wanted).await)
}

fn answer(taken: Result<Taken, Box<NotTaken>>) -> Response {
    match taken {
        Ok(taken) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
        Err(not_taken) => (StatusCode::CONFLICT, Json(*not_taken)).into_response(),
    }
}

async fn feed(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(query): Query<FeedQuery>,
) -> Response {
    match daemon.feed(&id) {
        Some(feed) => Json(feed.from(query.from)).into_response(),
        None => {
            let error = format!(
                "no job {id} has run in this daemon: `empire swarm status {id}` shows what is stored"
            );
            (StatusCode::NOT_FOUND, Json(Refused { error })).into_response()
        }
    }
}

fn failed(error: &CommandError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(Refused { error: error.to_string() })).into_response()
}
