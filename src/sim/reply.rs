//! What goes back over the wire, spoilt where a scenario says so.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use futures_util::stream;
use serde_json::Value;

/// On every response.
const SIMULATED: HeaderName = HeaderName::from_static("x-empire-simulated");

/// Pieces of a body that comes drop by drop.
const DROPS: usize = 20;

/// A response in the making.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Payload,
}

/// Its body.
#[derive(Debug)]
pub(super) enum Payload {
    /// All at once.
    Whole(Vec<u8>),
    /// In several pieces, one at a time.
    Pieces(Vec<Bytes>),
    /// Drop by drop, over this time.
    Dripping(Vec<u8>, Duration),
    /// The connection ends in the middle of it.
    Torn(Vec<u8>),
    /// The connection ends without a response.
    Nothing,
}

impl Payload {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Payload::Whole(bytes) | Payload::Torn(bytes) | Payload::Dripping(bytes, _) => bytes,
            Payload::Pieces(pieces) => pieces.concat(),
            Payload::Nothing => Vec::new(),
        }
    }
}

impl Reply {
    pub(super) fn new(status: u16, payload: Payload) -> Reply {
        Reply { status, content_type: "application/json", headers: Vec::new(), payload }
    }

    pub(super) fn json(status: u16, body: Vec<u8>) -> Reply {
        Reply::new(status, Payload::Whole(body))
    }

    pub(super) fn value(status: u16, body: &Value) -> Reply {
        Reply::json(status, body.to_string().into_bytes())
    }

    pub(super) fn text(text: &str) -> Reply {
        Reply { content_type: "text/plain; charset=utf-8", ..Reply::json(200, text.as_bytes().to_vec()) }
    }

    /// Closes the connection instead of answering.
    pub(super) fn disconnect() -> Reply {
        Reply::new(0, Payload::Nothing)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: String) -> Reply {
        self.headers.push((name, value));
        self
    }

    /// Cuts the JSON short, as a whole response.
    #[must_use]
    pub(super) fn malformed(mut self) -> Reply {
        let mut bytes = self.payload.into_bytes();
        bytes.truncate(bytes.len() * 2 / 3);
        self.payload = Payload::Whole(bytes);
        self
    }

    /// Ends the connection in the middle of the body.
    #[must_use]
    pub(super) fn torn(mut self) -> Reply {
        self.payload = Payload::Torn(self.payload.into_bytes());
        self
    }

    /// Lets the body come drop by drop.
    #[must_use]
    pub(super) fn dripping(mut self, over: Duration) -> Reply {
        self.payload = Payload::Dripping(self.payload.into_bytes(), over);
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut length = None;
        let body = match self.payload {
            Payload::Whole(bytes) => Body::from(bytes),
            Payload::Pieces(pieces) => in_pieces(pieces),
            Payload::Dripping(bytes, over) => drop_by_drop(bytes, over),
            Payload::Torn(bytes) => {
                length = Some(bytes.len());
                torn(bytes)
            }
            Payload::Nothing => Body::from_stream(stream::iter([Err::<Bytes, _>(broken())])),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(SIMULATED, HeaderValue::from_static("true"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the scenario ends this connection")
}

/// Yields between pieces, so that each one is written by itself.
fn in_pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::unfold(pieces.into_iter(), |mut pieces| async {
        tokio::task::yield_now().await;
        pieces.next().map(|piece| (Ok::<_, Infallible>(piece), pieces))
    }))
}

/// So many drops, evenly over the time; the last one comes at its end.
fn drop_by_drop(bytes: Vec<u8>, over: Duration) -> Body {
    let drops = bytes.len().clamp(1, DROPS);
    let size = bytes.len().div_ceil(drops).max(1);
    let pause = over / u32::try_from(bytes.len().div_ceil(size).max(1)).unwrap_or(u32::MAX);
    Body::from_stream(stream::unfold(Bytes::from(bytes), move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let drop = left.split_to(size.min(left.len()));
        Some((Ok::<_, Infallible>(drop), left))
    }))
}

/// The first half, and once that was written the end of the connection.
fn torn(mut bytes: Vec<u8>) -> Body {
    bytes.truncate(bytes.len() / 2);
    Body::from_stream(stream::unfold(Some(Bytes::from(bytes)), |half| async {
        tokio::task::yield_now().await;
        match half {
            Some(half) => Some((Ok(half), None)),
            None => Some((Err(broken()), None)),
        }
    }))
}
