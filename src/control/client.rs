//! The other side of the API: how commands find a running process and talk to it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, header};
use futures_util::{Stream, StreamExt, stream};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use super::place::{self, Reached};
use super::problem::Problem;
use crate::home::{Home, HomeError};

/// How long an answer may take where nothing is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// Larger answers are not read.
const LARGEST_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The data folder cannot be looked at.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A process works there, and has no API.
    #[error(
        "process {process} works in {} and has no control API: it is starting, or its log says why not; try again",
        dir.display()
    )]
    Closed {
        /// The data folder.
        dir: PathBuf,
        /// Who works there.
        process: u32,
    },
    /// It cannot be reached.
    #[error("the process that works in {} cannot be reached ({source}): it may be ending; try again", dir.display())]
    Unreachable {
        /// The data folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not answer.
    #[error("no answer within {} s: `empire history` says what came of an order", within.as_secs())]
    Late {
        /// How long was waited.
        within: Duration,
    },
    /// It answered something that is no answer.
    #[error("the answer cannot be read ({0}): the process may be of another version; restart it")]
    Unreadable(String),
    /// It refused.
    #[error("{0}")]
    Problem(Problem),
}

/// The way to a running process.
#[derive(Debug)]
pub struct Client {
    dir: PathBuf,
    reached: Reached,
    token: Option<SecretString>,
}

impl Client {
    /// The process that works in this data folder, if one does.
    ///
    /// # Errors
    /// The folder cannot be looked at, or that process has no API.
    pub fn find(home: &Home) -> Result<Option<Client>, ClientError> {
        // Who holds it without a name does so for a moment's work.
        let Some(process) = home.locked_by()? else { return Ok(None) };
        let dir = home.dir().to_owned();
        match Reached::read(&dir).filter(|reached| reached.process == process) {
            Some(reached) => Ok(Some(Client { token: place::read_token(&dir), dir, reached })),
            None => Err(ClientError::Closed { dir, process }),
        }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.reached.process
    }

    /// The data folder that the process works in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Asks for something.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub async fn get<R: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        takes: Duration,
    ) -> Result<R, ClientError> {
        self.answer(self.request(Method::GET, path, query, None, Vec::new())?, takes).await
    }

    /// Changes something. With `if_match`, only if the version there is still this one.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub async fn post<R: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        if_match: Option<u64>,
        takes: Duration,
    ) -> Result<R, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Unreadable(error.to_string()))?;
        self.answer(self.request(Method::POST, path, &[], if_match, body)?, takes).await
    }

    /// Hears events, each with its name and what it carries, until the process ends.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub async fn events(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<impl Stream<Item = (String, String)> + use<>, ClientError> {
        let request = self.request(Method::GET, path, query, None, Vec::new())?;
        let response = within(ANSWERS_WITHIN, self.send(request)).await?;
        let response = refused(response).await?;
        let chunks = Body::new(response.into_body()).into_data_stream();
        Ok(stream::unfold((Box::pin(chunks), Vec::new()), |(mut chunks, mut read)| async move {
            loop {
                if let Some(event) = next_event(&mut read) {
                    return Some((event, (chunks, read)));
                }
                if read.len() > LARGEST_ANSWER {
                    return None;
                }
                read.extend_from_slice(&chunks.next().await?.ok()?);
            }
        }))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        if_match: Option<u64>,
        body: Vec<u8>,
    ) -> Result<Request<Body>, ClientError> {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let uri = if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(version) = if_match {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let (None, Some(token)) = (&self.reached.socket, &self.token) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        request.body(Body::from(body)).map_err(|error| ClientError::Unreadable(error.to_string()))
    }

    async fn answer<R: DeserializeOwned>(
        &self,
        request: Request<Body>,
        takes: Duration,
    ) -> Result<R, ClientError> {
        within(takes + ANSWERS_WITHIN, async {
            let response = refused(self.send(request).await?).await?;
            let body = whole(response).await?;
            serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable(error.to_string()))
        })
        .await
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { dir: self.dir.clone(), source };
        #[cfg(unix)]
        if let Some(socket) = &self.reached.socket {
            let stream = in_time(tokio::net::UnixStream::connect(socket)).await.map_err(unreachable)?;
            return exchange(stream, request).await.map_err(unreachable);
        }
        let Some(address) = self.reached.address else {
            return Err(ClientError::Closed { dir: self.dir.clone(), process: self.reached.process });
        };
        let stream = in_time(tokio::net::TcpStream::connect(address)).await.map_err(unreachable)?;
        exchange(stream, request).await.map_err(unreachable)
    }
}

async fn in_time<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not accept connections");
    tokio::time::timeout(CONNECTS_WITHIN, connecting).await.map_err(|_| late())?
}

async fn within<T>(
    time: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(time, exchange).await.unwrap_or(Err(ClientError::Late { within: time }))
}

#[expect(clippy::disallowed_methods, reason = "it drives one connection and ends with it")]
async fn exchange<S>(stream: S, request: Request<Body>) -> io::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // What goes wrong with it is seen where the answer is read.
    drop(tokio::spawn(connection));
    sender.send_request(request).await.map_err(io::Error::other)
}

async fn whole(response: Response<Incoming>) -> Result<axum::body::Bytes, ClientError> {
    let body = to_bytes(Body::new(response.into_body()), LARGEST_ANSWER).await;
    body.map_err(|error| ClientError::Unreadable(error.to_string()))
}

/// The response, unless it says what is wrong.
async fn refused(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = whole(response).await?;
    Err(match serde_json::from_slice(&body) {
        Ok(problem) => ClientError::Problem(problem),
        Err(_) => ClientError::Unreadable(format!("status {status}")),
    })
}

/// Takes the next whole event out of what was read. Comments, which keep the connection open, are
/// none.
fn next_event(read: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let end = read.windows(2).position(|pair| pair == b"\n\n")?;
        let text: Vec<u8> = read.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&text);
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in text.lines() {
            match line.split_once(':') {
                Some(("event", value)) => name = value.trim_start().to_owned(),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                _ => {}
            }
        }
        if !data.is_empty() {
            return Some((name, data.join("\n")));
        }
    }
}

/// As the value of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whole_whatever_the_pieces() {
        let mut read = b": still here\n\nevent: entry\ndata: {\"a\":1}\n\nevent: sta".to_vec();
        assert_eq!(next_event(&mut read), Some(("entry".to_owned(), "{\"a\":1}".to_owned())));
        assert_eq!(next_event(&mut read), None);
        read.extend_from_slice(b"te\ndata: 2\n\n");
        assert_eq!(next_event(&mut read), Some(("state".to_owned(), "2".to_owned())));
        assert!(read.is_empty());
    }

    #[test]
    fn what_a_query_says_arrives_as_it_was() {
        assert_eq!(escaped("/empire/gates/rate-* &ü"), "/empire/gates/rate-%2A%20%26%C3%BC");
    }
}
