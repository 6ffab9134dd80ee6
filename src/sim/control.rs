//! The simulator's own pages under `/_sim/`.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::reply::Reply;
use super::scenario::{LARGEST_SCENARIO, Scenario};
use super::server::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    #[serde(default)]
    bodies: bool,
    dialect: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    provider: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUp {
    provider: String,
    calls: Option<u64>,
}

/// Answers a request for one of these pages.
pub(super) fn page(
    shared: &Shared,
    method: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: Option<&Bytes>,
) -> Reply {
    if !is_asked_as_loopback(headers) {
        let message = "these pages are for this machine: ask for them at localhost or a loopback address";
        return Reply::value(403, &json!({ "error": message }));
    }
    let done = match (method, uri.path()) {
        ("GET", "/_sim/info") => Ok(info(shared)),
        ("GET", "/_sim/requests") => requests(shared, uri),
        ("GET", "/_sim/times") => times(shared, uri),
        ("POST", "/_sim/topup") => top_up(shared, body),
        ("POST", "/_sim/scenario") => scenario(shared, body),
        ("POST", "/_sim/reset") => {
            shared.books.clear();
            Ok(json!({ "cleared": true }))
        }
        _ => return not_found(method, uri.path()),
    };
    match done {
        Ok(value) => Reply::value(200, &value),
        Err(message) => Reply::value(400, &json!({ "error": message })),
    }
}

/// Whether the request names this machine. A web page elsewhere can make its own name resolve to
/// loopback and then read these pages in the owner's browser; but that name is what it must ask for.
fn is_asked_as_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is not here.
pub(super) fn not_found(method: &str, path: &str) -> Reply {
    let path: String = path.chars().take(200).collect();
    Reply::value(404, &json!({ "error": format!("the simulator has no {method} {path}") }))
}

fn info(shared: &Shared) -> Value {
    let stage = shared.stage();
    let scenario = &stage.scenario;
    json!({
        "simulator": true,
        "scenario": scenario.name(),
        "fingerprint": scenario.fingerprint(),
        "seed": scenario.seed(),
    })
}

fn requests(shared: &Shared, uri: &Uri) -> Result<Value, String> {
    let Query(query) = Query::<Requests>::try_from_uri(uri).map_err(|error| error.to_string())?;
    let dialect = query.dialect.as_deref().map(dialect).transpose()?;
    let mut page = info(shared);
    if let (Value::Object(page), Value::Object(summary)) = (&mut page, shared.books.summary()) {
        page.extend(summary);
        if query.bodies {
            let bodies = shared.books.bodies(dialect, query.limit.unwrap_or(usize::MAX));
            page.insert("bodies".to_owned(), Value::Array(bodies));
        }
    }
    Ok(page)
}

fn times(shared: &Shared, uri: &Uri) -> Result<Value, String> {
    let Query(query) = Query::<Times>::try_from_uri(uri).map_err(|error| error.to_string())?;
    let dialect = dialect(&query.provider)?;
    let times = shared.books.times(dialect);
    Ok(json!({ "provider": dialect, "count": times.len(), "times": times }))
}

fn top_up(shared: &Shared, body: Option<&Bytes>) -> Result<Value, String> {
    let body = body.ok_or("the body is too large")?;
    let asked: TopUp = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let dialect = dialect(&asked.provider)?;
    shared.stage().top_up(dialect, asked.calls);
    Ok(json!({ "provider": dialect, "added": asked.calls }))
}

/// Starts another scenario: a built-in one's name, or YAML.
fn scenario(shared: &Shared, body: Option<&Bytes>) -> Result<Value, String> {
    let body = body.filter(|body| body.len() as u64 <= LARGEST_SCENARIO).ok_or("the body is too large")?;
    let text = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
    let scenario = match Scenario::builtin(text.trim()) {
        Some(scenario) => scenario,
        None => Scenario::parse("in the request", text).map_err(|error| error.to_string())?,
    };
    shared.play(scenario);
    Ok(info(shared))
}

fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::named(name).ok_or_else(|| {
        format!("there is no provider `{name}`: name one of {}", Dialect::ALL.map(Dialect::name).join(", "))
    })
}
