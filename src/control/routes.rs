//! The table of routes. The server and the document of the API are both made from it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::Peer;
use super::jobs::{self, Admission, DownAsked, FeedQuery, Heeded, ResumeAsked};
use super::overview::{self, Overview, OverviewQuery};
use super::problem::Problem;
use super::shapes::{
    AgentQuery, AgentShown, Changed, Explained, HistoryQuery, Live, LogLevels, LogLevelsAsked,
    LogLevelsChanged, Nothing, OrderAsked, OrderDone, PathQuery, PolicyAsked, PolicyChanged,
    PolicyResetAsked, PolicyShown, Ready, Shown, Told, Top, TopQuery, TreeQuery,
};
use super::{Control, log, look, openapi, policy, steer, top, watch};
use crate::daemon::Status;
use crate::run::feed::Heard;
use crate::run::launch::Wanted;
use empire_actors::kernel::tree::NodeView;

/// What is shown is read from memory; only the store may take a moment.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Who asks, and what goes with any change.
pub(super) struct Asked {
    pub(super) peer: Peer,
    /// The version that is expected.
    pub(super) if_match: Option<u64>,
}

/// What a handler is given.
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) uri: Uri,
    pub(super) body: Bytes,
}

type Describe = fn(&mut SchemaGenerator) -> Schema;
type Handler = dyn Fn(Arc<Control>, Request) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync;

/// What comes back.
pub(super) enum Output {
    /// A document.
    Json(Describe),
    /// Server-sent events: by name, what each carries.
    Events(Vec<(&'static str, Describe)>),
}

/// One route.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// What the document calls it.
    pub(super) id: &'static str,
    pub(super) about: &'static str,
    /// Whether it changes state: then it is POST, and else GET.
    pub(super) changes: bool,
    /// Whether it needs no token.
    pub(super) open: bool,
    /// What the query says, or the body of what changes state.
    pub(super) input: Describe,
    pub(super) output: Output,
    pub(super) handle: Box<Handler>,
}

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn describe_inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

fn read_query<Q: DeserializeOwned>(uri: &Uri) -> Result<Q, Problem> {
    let Query(query) = Query::<Q>::try_from_uri(uri)
        .map_err(|error| Problem::bad(format!("the query: {}", error.body_text())))?;
    Ok(query)
}

impl Route {
    /// A look at something.
    fn get<Q, R, F, W>(path: &'static str, id: &'static str, about: &'static str, look: F) -> Route
    where
        Q: DeserializeOwned + JsonSchema,
        R: Serialize + JsonSchema,
        F: Fn(Arc<Control>, Q) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<R, Problem>> + Send,
        Q: Send,
    {
        let handle = move |control: Arc<Control>, request: Request| -> BoxFuture<'static, _> {
            let look = look.clone();
            Box::pin(async move {
                let query = read_query::<Q>(&request.uri)?;
                Ok(Json(look(control, query).await?).into_response())
            })
        };
        Route {
            path,
            id,
            about,
            changes: false,
            open: false,
            input: describe_inline::<Q>,
            output: Output::Json(describe::<R>),
            handle: Box::new(handle),
        }
    }

    /// A change of something.
    fn post<B, R, F, W>(path: &'static str, id: &'static str, about: &'static str, change: F) -> Route
    where
        B: DeserializeOwned + JsonSchema + Send,
        R: Serialize + JsonSchema,
        F: Fn(Arc<Control>, Asked, B) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<R, Problem>> + Send,
    {
        let handle = move |control: Arc<Control>, request: Request| -> BoxFuture<'static, _> {
            let change = change.clone();
            Box::pin(async move {
                let body = serde_json::from_slice::<B>(&request.body)
                    .map_err(|error| Problem::bad(format!("the body: {error}")))?;
                Ok(Json(change(control, request.asked, body).await?).into_response())
            })
        };
        Route {
            path,
            id,
            about,
            changes: true,
            open: false,
            input: describe::<B>,
            output: Output::Json(describe::<R>),
            handle: Box::new(handle),
        }
    }

    /// For probes: without a token.
    fn open(self) -> Route {
        Route { open: true, ..self }
    }
}

/// A look that may not take longer than looks do.
async fn soon<T>(look: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let looked = tokio::time::timeout(LOOK_WITHIN, look).await;
    looked.unwrap_or_else(|_| Err(Problem::busy("reads of the store")))
}

/// All of them.
pub(super) fn routes() -> Vec<Route> {
    let ready = Route {
        open: true,
        handle: Box::new(|control, _| {
            Box::pin(async move {
                let ready = look::ready(&control);
                let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Ok((status, Json(ready)).into_response())
            })
        }),
        ..Route::get::<Nothing, Ready, _, _>(
            "/ready",
            "ready",
            "Whether all that everybody needs runs: 200 if so, 503 if not.",
            |control, _| async move { Ok(look::ready(&control)) },
        )
    };
    let watch = Route {
        output: Output::Events(vec![
            ("entry", describe::<Told> as Describe),
            ("state", describe::<Changed>),
            ("missed", describe::<u64>),
        ]),
        handle: Box::new(|control, request| {
            Box::pin(async move { watch::watch(&control, &read_query::<PathQuery>(&request.uri)?) })
        }),
        ..Route::get::<PathQuery, Told, _, _>(
            "/v1/watch",
            "watch",
            "What happens at a node and below it, from now on: entries of the journal, changes of state, and how many entries a slow reader missed.",
            |_, _: PathQuery| async move { Err(Problem::internal("answered as events")) },
        )
    };
    vec![
        Route::get::<Nothing, Live, _, _>("/live", "live", "Whether the process lives.", |_, _| async {
            Ok(look::live())
        })
        .open(),
        ready,
        Route::get::<Nothing, serde_json::Value, _, _>(
            "/v1/openapi.json",
            "openapi",
            "This document.",
            |_, _| async { Ok(openapi::document()) },
        ),
        Route::get::<TreeQuery, NodeView, _, _>(
            "/v1/tree",
            "tree",
            "A node and those below it.",
            |control, query| async move { look::tree(&control, &query) },
        ),
        Route::get::<PathQuery, Shown, _, _>(
            "/v1/node",
            "node",
            "A node in full: its state, what it shows of itself, its policy.",
            |control, query| async move { look::node(&control, &query).await },
        ),
        Route::get::<AgentQuery, AgentShown, _, _>(
            "/v1/agent",
            "agent",
            "One agent of a job that runs.",
            |control, query| async move { look::agent(&control, &query) },
        ),
        Route::get::<HistoryQuery, Vec<Told>, _, _>(
            "/v1/history",
            "history",
            "The journal: what supervisors decided and people said, oldest first.",
            |control, query| async move { soon(look::history(&control, &query)).await },
        ),
        Route::get::<PathQuery, Explained, _, _>(
            "/v1/explain",
            "explain",
            "How a node is, and why, in words.",
            |control, query| async move { soon(look::explained(&control, &query)).await },
        ),
        watch,
        Route::get::<TopQuery, Top, _, _>(
            "/v1/top",
            "top",
            "The busiest nodes over a window: it answers when that is over.",
            |control, query| async move { top::top(&control, &query).await },
        ),
        Route::get::<OverviewQuery, Overview, _, _>(
            "/v1/overview",
            "overview",
            "All that a screen shows of the process at once: machine, jobs, gates, money, alerts, what is not well, the tree. From memory.",
            |control, query| async move { overview::overview(&control, &query) },
        ),
        Route::get::<PathQuery, PolicyShown, _, _>(
            "/v1/policy",
            "policy",
            "The policy that is in force at a node, and where it is from.",
            |control, query| async move { policy::shown(&control, query.path.as_deref()) },
        ),
        Route::post::<PolicyAsked, PolicyChanged, _, _>(
            "/v1/policy/set",
            "setPolicy",
            "Says something of a policy: durable, and in force from the next failure on. With `if-match`, only if the version there is still this one.",
            |control, asked, body| async move { policy::set(control, asked, body).await },
        ),
        Route::post::<PolicyResetAsked, PolicyChanged, _, _>(
            "/v1/policy/reset",
            "resetPolicy",
            "Takes back what was said of a path. With `if-match`, only if the version there is still this one.",
            |control, asked, body| async move { policy::reset(control, asked, body).await },
        ),
        Route::post::<OrderAsked, OrderDone, _, _>(
            "/v1/order",
            "order",
            "Tells a node to do something, and answers when it has.",
            |control, asked, body| async move { steer::order(control, asked, body).await },
        ),
        Route::get::<Nothing, LogLevels, _, _>(
            "/v1/log",
            "logLevels",
            "What is logged to the files of the data folder.",
            |_, _| async { log::shown() },
        ),
        Route::post::<LogLevelsAsked, LogLevelsChanged, _, _>(
            "/v1/log/level",
            "setLogLevels",
            "Logs at other levels from now on, until the process ends.",
            |control, asked, body| async move { log::set(&control, &asked, &body) },
        ),
        Route::get::<Nothing, Status, _, _>(
            "/v1/daemon",
            "daemon",
            "What the daemon is doing.",
            |control, _| async move { soon(jobs::status(&control)).await },
        ),
        Route::post::<DownAsked, Heeded, _, _>(
            "/v1/daemon/down",
            "down",
            "Asks the daemon to end: calls under way may take so long; jobs go on with its next start.",
            |control, _, body| async move { jobs::down(&control, body) },
        ),
        Route::post::<Wanted, Admission, _, _>(
            "/v1/jobs",
            "take",
            "Takes a job in: reads its input, plans it, starts it. Answers when it runs, or why it does not.",
            |control, _, body| async move { jobs::take(&control, body).await },
        ),
        Route::post::<ResumeAsked, Admission, _, _>(
            "/v1/jobs/resume",
            "resume",
            "Takes a stored job up again.",
            |control, _, body| async move { jobs::resume(&control, body).await },
        ),
        Route::get::<FeedQuery, Heard, _, _>(
            "/v1/jobs/feed",
            "feed",
            "What a job says, from some line on, how far it is, and how it ended.",
            |control, query| async move { jobs::feed(&control, &query) },
        ),
    ]
}
