use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use empire_actors::call::{Call, Cleared, Request};
use empire_actors::failure::{CallError, FailureKind};
use empire_actors::money::Usage;
use empire_actors::ports::{Exchange, Finish, Provider, Reply};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What a provider does about one call.
pub enum Reaction {
    Answer(String),
    Reply(Reply),
    Fail(CallError),
    /// Nothing comes until the client gives up after the model's time-out.
    Hang,
    /// Nothing ever comes, and the client waits.
    Never,
    Panic,
}

type Behave = dyn Fn(usize, &Request) -> Reaction + Send + Sync;

/// A provider that does as it is told, and remembers what reached it.
pub struct FakeProvider {
    latency: Duration,
    behave: Box<Behave>,
    sent: Mutex<Vec<(Instant, Request)>>,
    in_flight: AtomicUsize,
    peak: AtomicUsize,
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FakeProvider {
    /// Call number n (from 0) gets what `behave` says, after `latency`.
    pub fn new(
        latency: Duration,
        behave: impl Fn(usize, &Request) -> Reaction + Send + Sync + 'static,
    ) -> FakeProvider {
        FakeProvider {
            latency,
            behave: Box::new(behave),
            sent: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Answers everything well after 20 ms.
    pub fn good() -> FakeProvider {
        FakeProvider::new(Duration::from_millis(20), |_, request| Reaction::Answer(good_answer(request)))
    }

    /// Fails everything.
    pub fn failing(kind: FailureKind) -> FakeProvider {
        FakeProvider::new(Duration::from_millis(20), move |_, _| Reaction::Fail(super::error(kind)))
    }

    pub fn calls(&self) -> usize {
        self.sent.lock().len()
    }

    pub fn calls_after(&self, at: Instant) -> usize {
        self.sent.lock().iter().filter(|(sent, _)| *sent > at).count()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.sent.lock().iter().map(|(_, request)| request.clone()).collect()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// An answer that passes the script's check, for single and shared calls alike.
pub fn good_answer(request: &Request) -> String {
    let prompt = &request.turns[0].text;
    match prompt.strip_prefix("pack\n") {
        None => format!("ok {prompt}"),
        Some(rows) => {
            let parts = rows.lines().enumerate().map(|(n, row)| format!("{}=ok {row}", n + 1));
            parts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// As many tokens as the call could use at most.
pub fn usage_of(request: &Request) -> Usage {
    Usage { input: request.input_token_bound(), output: u64::from(request.max_tokens), ..Usage::default() }
}

impl Provider for FakeProvider {
    fn send(&self, call: Call<Cleared>) -> BoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (request, receipt) = match call.open() {
                Ok(opened) => opened,
                Err(not_sent) => return *not_sent,
            };
            let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            let _in_flight = InFlight(&self.in_flight);
            self.peak.fetch_max(now, Ordering::Relaxed);
            let number = {
                let mut sent = self.sent.lock();
                sent.push((Instant::now(), request.clone()));
                sent.len() - 1
            };
            let reaction = (self.behave)(number, &request);
            if self.latency > Duration::ZERO {
                tokio::time::sleep(self.latency).await;
            }
            let outcome = match reaction {
                Reaction::Answer(text) => {
                    let output = text.len() as u64;
                    let usage = Usage { input: 100, output, ..Usage::default() };
                    Ok(Reply { text, usage: Some(usage), finish: Finish::Stop })
                }
                Reaction::Reply(reply) => Ok(reply),
                Reaction::Fail(error) => Err(error),
                Reaction::Hang => {
                    tokio::time::sleep(request.model.timeout).await;
                    Err(super::error(FailureKind::TimedOut))
                }
                Reaction::Never => pending().await,
                Reaction::Panic => panic!("the provider's code has a bug"),
            };
            Exchange { receipt, outcome }
        })
    }
}
