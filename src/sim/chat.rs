//! One chat call: what befalls it, or its answer.

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

use super::answer::{Answer, compose};
use super::ask::Ask;
use super::dialect::Dialect;
use super::dice::{Dice, Draw, first_word};
use super::reply::Reply;
use super::scenario::Mishap;
use super::server::Shared;
use super::settings::Garbage;
use super::shapes::Shape;
use super::stage::Stage;
use super::{claude, kimi, ollama};

/// Answers one chat call in `dialect`, or never comes back.
pub(super) async fn chat(
    shared: &Shared,
    dialect: Dialect,
    path: &'static str,
    headers: &HeaderMap,
    body: Option<&Bytes>,
) -> Reply {
    let came = Instant::now();
    let stage = shared.stage();
    let bytes: &[u8] = body.map_or(&[], |body| body.as_ref());
    let in_flight = shared.books.arrive(dialect, path, bytes, stage.scenario.keep_bodies());
    let number = stage.number(dialect);
    let content = blake3::hash(bytes);
    let id = &content.to_hex()[..24];
    if body.is_none() {
        return refuse(dialect, Shape::too_large(dialect), "", 0, id);
    }
    let ask = match understand(shared, dialect, headers, bytes) {
        Ok(ask) => ask,
        Err((shape, message)) => return refuse_saying(dialect, shape, &message, 0, id),
    };
    let settings = &stage.scenario.behaviour(dialect).settings;
    if !shared.knows(&stage, dialect, &ask.model) {
        return refuse(dialect, Shape::no_model(dialect), &ask.model, 0, id);
    }
    let dice = stage.dice(dialect, &content);
    if settings.concurrency.is_some_and(|most| in_flight.at_once > most) {
        return refuse(dialect, Shape::crowded(dialect), &ask.model, 1, id);
    }
    match stage.scenario.behaviour(dialect).mishap(number, stage.seconds(), dice) {
        Some(Mishap::Hang) => {
            shared.books.hung(dialect);
            return std::future::pending().await;
        }
        Some(Mishap::Disconnect) => return Reply::disconnect(),
        Some(Mishap::Refusal(shape, wait)) => return mishap(dialect, shape, &ask, wait, id, dice),
        None => {}
    }
    if stage.is_dry(dialect) {
        return refuse(dialect, Shape::dry(dialect), &ask.model, 0, id);
    }
    let seed = stage.scenario.seed() ^ first_word(&content);
    let mut answer = compose(dialect, &ask, stage.scenario.behaviour(dialect), dice, seed);
    if dialect == Dialect::Claude && !ask.prefixes.is_empty() || settings.prefix_cache {
        answer.usage = stage.prefixes.divide(came, dialect, &ask.prefixes, answer.usage);
    }
    let ms = settings.latency.draw(dice);
    wait_until(came, ms).await;
    deliver(shared, &stage, dialect, &ask, &answer, (ms, dice, id))
}

/// Bills the answer and writes it down.
fn deliver(
    shared: &Shared,
    stage: &Stage,
    dialect: Dialect,
    ask: &Ask,
    answer: &Answer,
    (ms, dice, id): (f64, Dice, &str),
) -> Reply {
    // Calls that came before the account ran dry may reach this point after it did.
    if !stage.pay(dialect) {
        return refuse(dialect, Shape::dry(dialect), &ask.model, 0, id);
    }
    shared.books.bill(dialect, &ask.model, &answer.usage);
    let settings = &stage.scenario.behaviour(dialect).settings;
    let reply = match dialect {
        Dialect::Ollama => ollama::write(ask, answer, ms, dice),
        Dialect::Kimi => kimi::write(ask, answer, id),
        Dialect::Claude => claude::write(ask, answer, id),
    };
    match answer.garbage {
        Some(Garbage::Malformed) => reply.malformed(),
        Some(Garbage::Truncated) => reply.torn(),
        _ if dice.hits(Draw::Drip, settings.drip_rate.0) => reply.dripping(settings.drip_ms.0.time()),
        Some(Garbage::Empty | Garbage::CutOff | Garbage::AllThinking) | None => reply,
    }
}

/// Reads a request; or says what is wrong with it, as its vendor would.
fn understand(
    shared: &Shared,
    dialect: Dialect,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Ask, (&'static Shape, String)> {
    check_key(dialect, headers)?;
    let invalid = |message: String| (Shape::invalid(dialect), message);
    if dialect == Dialect::Claude && !headers.contains_key("anthropic-version") {
        return Err(invalid("anthropic-version: header is required".to_owned()));
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    let read = match dialect {
        Dialect::Ollama => ollama::read,
        Dialect::Kimi => kimi::read,
        Dialect::Claude => claude::read,
    };
    read(&body, &shared.schemas).map_err(invalid)
}

/// Whether a cloud dialect was given any key at all.
pub(super) fn check_key(dialect: Dialect, headers: &HeaderMap) -> Result<(), (&'static Shape, String)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has_key = match dialect {
        Dialect::Ollama => true,
        Dialect::Kimi => {
            header("authorization").strip_prefix("Bearer ").is_some_and(|key| !key.trim().is_empty())
        }
        Dialect::Claude => !header("x-api-key").trim().is_empty(),
    };
    let shape = Shape::no_key(dialect);
    if has_key { Ok(()) } else { Err((shape, shape.message("", 0))) }
}

fn mishap(dialect: Dialect, shape: &'static Shape, ask: &Ask, wait: u32, id: &str, dice: Dice) -> Reply {
    if shape.status == 200 && ask.streams {
        let error = shape.body(dialect, &shape.message(&ask.model, wait), id);
        return ollama::failing_stream(&ask.model, &error, dice);
    }
    refuse(dialect, shape, &ask.model, wait, id)
}

fn refuse(dialect: Dialect, shape: &'static Shape, model: &str, wait: u32, id: &str) -> Reply {
    refuse_saying(dialect, shape, &shape.message(model, wait), wait, id)
}

/// An error's answer.
pub(super) fn refuse_saying(dialect: Dialect, shape: &Shape, message: &str, wait: u32, id: &str) -> Reply {
    let request_id = format!("req_{id}");
    let mut reply = Reply::json(shape.status, shape.body(dialect, message, &request_id));
    if shape.says_when {
        reply = reply
            .with("retry-after", wait.to_string())
            .with("anthropic-ratelimit-requests-limit", "50".to_owned())
            .with("anthropic-ratelimit-requests-remaining", "0".to_owned());
    }
    if dialect == Dialect::Claude { reply.with("request-id", request_id) } else { reply }
}

/// Sleeps until `ms` after `came`. The timer and the system's wait each round up to whole
/// milliseconds, so one is taken off to be right on average.
async fn wait_until(came: Instant, ms: f64) {
    const TICK_MS: f64 = 1.0;
    if ms > TICK_MS {
        tokio::time::sleep_until(came + Duration::from_secs_f64((ms - TICK_MS) / 1_000.0)).await;
    }
}
