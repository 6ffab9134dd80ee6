//! Lines and spans as OpenTelemetry has them, posted to a collector as JSON over HTTP (OTLP 1.x:
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>). They come from the writer, so they were looked
//! at for secrets like what is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use empire_actors::ports::UnixMillis;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Level;

use super::line::{Fields, Line};
use crate::providers::{ClientError, Hook};

/// What may wait to be posted.
const MOST_WAITING: usize = 4_096;
/// What is posted at once.
const MOST_AT_ONCE: usize = 512;
/// How long the first of a post waits for others.
const GATHER_FOR: Duration = Duration::from_secs(2);
/// Pauses before a post is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// What the exporter's own posts say would be exported for ever.
const OWN: [&str; 5] = ["hyper", "reqwest", "h2", "rustls", "tower"];

/// Which trace and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanIds {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
}

impl SpanIds {
    /// New ones: below `parent`, or of a trace of their own. `seed` tells processes apart.
    pub(crate) fn new(seed: u128, parent: Option<SpanIds>) -> SpanIds {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let hash = hasher.finalize();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&hash.as_bytes()[..16]);
        span.copy_from_slice(&hash.as_bytes()[16..24]);
        SpanIds { trace: parent.map_or(trace, |parent| parent.trace), span }
    }
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) ids: SpanIds,
    pub(crate) parent: Option<SpanIds>,
    pub(crate) ended_at: UnixMillis,
    /// When it began, and the span itself around nothing: so it is looked at as a line is.
    pub(crate) line: Line,
}

/// What is posted.
enum Item {
    Log(Value),
    Span(Value),
}

/// The writer's way to the exporter.
#[derive(Debug)]
pub(crate) struct Exporter {
    items: mpsc::Sender<Order>,
    lost: Arc<AtomicU64>,
}

enum Order {
    Item(Item),
    /// Answers once all before it was posted, or given up.
    Flush(oneshot::Sender<()>),
}

impl Exporter {
    /// Starts the exporter to `url` on the runtime that this is called in. It ends with the log.
    ///
    /// # Errors
    /// If no HTTP client can be set up.
    #[expect(clippy::disallowed_methods, reason = "it ends with its queue, and with the runtime")]
    pub(crate) fn start(url: &str) -> Result<Exporter, ClientError> {
        let logs = Hook::new(&format!("{url}/v1/logs"), None)?;
        let spans = Hook::new(&format!("{url}/v1/traces"), None)?;
        let (items, received) = mpsc::channel(MOST_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let poster = Poster { logs, spans, lost: lost.clone(), fails: false };
        tokio::spawn(poster.run(received));
        Ok(Exporter { items, lost })
    }

    pub(crate) fn line(&self, line: &Line) {
        if !OWN.iter().any(|own| line.target.starts_with(own)) {
            self.put(Item::Log(record(line)));
        }
    }

    pub(crate) fn span(&self, ended: &Ended) {
        self.put(Item::Span(span(ended)));
    }

    fn put(&self, item: Item) {
        if self.items.try_send(Order::Item(item)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What will be told once all before it was posted.
    pub(crate) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, posted) = oneshot::channel();
        // Where that finds no place, whoever waits is told so by the dropped end.
        let _ = self.items.try_send(Order::Flush(done));
        posted
    }
}

struct Poster {
    logs: Hook,
    spans: Hook,
    lost: Arc<AtomicU64>,
    fails: bool,
}

impl Poster {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(first) = orders.recv().await {
            let (mut logs, mut spans, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
            let end = Instant::now() + GATHER_FOR;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Item(Item::Log(log)) => logs.push(log),
                    Order::Item(Item::Span(span)) => spans.push(span),
                    Order::Flush(done) => flushes.push(done),
                }
                if !flushes.is_empty() || logs.len() + spans.len() >= MOST_AT_ONCE {
                    break;
                }
                next = tokio::time::timeout_at(end, orders.recv()).await.ok().flatten();
            }
            self.post(logs, spans).await;
            for done in flushes {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn post(&mut self, logs: Vec<Value>, spans: Vec<Value>) {
        let (lines, parts) = (logs.len() as u64, spans.len() as u64);
        let resource = json!({"attributes": [attribute("service.name", &"empire".into())]});
        let scope = json!({"name": "empire", "version": env!("CARGO_PKG_VERSION")});
        let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": logs}]}]});
        let spans = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]});
        let mut failed = None;
        for (hook, body, count) in [(&self.logs, logs, lines), (&self.spans, spans, parts)] {
            if count > 0
                && let Err(why) = posted(hook, &body).await
            {
                self.lost.fetch_add(count, Ordering::Relaxed);
                failed = Some(why);
            }
        }
        match &failed {
            Some(why) if !self.fails => {
                tracing::warn!(%why, "logs cannot be exported: they are in the files");
            }
            None if self.fails => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                tracing::info!(lost, "logs can be exported again");
            }
            _ => {}
        }
        self.fails = failed.is_some();
    }
}

async fn posted(hook: &Hook, body: &Value) -> Result<(), String> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let refused = match hook.post(body).await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        match pauses.next().filter(|_| refused.may_pass) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(refused.why),
        }
    }
}

fn record(line: &Line) -> Value {
    let severity = match line.level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    };
    let mut attributes = vec![attribute("target", &line.target.into())];
    attributes.extend(attributes_of(&line.fields));
    let mut record = json!({
        "timeUnixNano": nanos(line.at),
        "severityNumber": severity,
        "severityText": line.level.as_str(),
        "body": {"stringValue": line.message},
        "attributes": attributes,
    });
    if let Some(ids) = line.within {
        record["traceId"] = hex(&ids.trace).into();
        record["spanId"] = hex(&ids.span).into();
    }
    record
}

fn span(ended: &Ended) -> Value {
    let own = ended.line.spans.last();
    json!({
        "traceId": hex(&ended.ids.trace),
        "spanId": hex(&ended.ids.span),
        "parentSpanId": ended.parent.map(|parent| hex(&parent.span)).unwrap_or_default(),
        "name": own.map_or("span", |own| own.name),
        "kind": 1,
        "startTimeUnixNano": nanos(ended.line.at),
        "endTimeUnixNano": nanos(ended.ended_at),
        "attributes": own.map(|own| attributes_of(&own.fields).collect::<Vec<_>>()).unwrap_or_default(),
    })
}

fn attributes_of(fields: &Fields) -> impl Iterator<Item = Value> {
    fields.iter().map(|(name, value)| attribute(name, value))
}

fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(flag) => json!({"boolValue": flag}),
        // Whole numbers are text: JSON's own are not exact.
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": name, "value": value})
}

fn nanos(at: UnixMillis) -> String {
    (i128::from(at.0) * 1_000_000).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
