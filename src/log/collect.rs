//! Takes what is said out of `tracing` and hands it to the writer's queue: nothing here waits,
//! looks for secrets or touches a disk.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use empire_actors::ports::{UnixMillis, WallClock};
use parking_lot::RwLock;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::levels::Want;
use super::line::{Around, Fields, Line};
use super::otlp::{Ended, SpanIds};
use super::queue::Queue;

/// Bytes of one value that are taken; of those, [`SHOWN_BYTES`](super::redact::SHOWN_BYTES) are
/// written once the value was looked at. What is cut in the middle of a secret is never shown.
const MOST_BYTES: usize = 64 << 10;
/// Fields of one line.
const MOST_FIELDS: usize = 64;

thread_local! {
    /// What this thread says is not logged: it writes the log.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Logs nothing of what this thread says from now on: it writes the log, and would write for ever.
pub(crate) fn silence_this_thread() {
    IS_SILENT.set(true);
}

/// Whether this thread writes the log.
pub(crate) fn is_silent() -> bool {
    IS_SILENT.get()
}

/// A span while it is open.
struct OfSpan {
    fields: Fields,
    /// What it is in its trace and when it began, where spans are exported.
    traced: Option<Traced>,
}

#[derive(Clone, Copy)]
struct Traced {
    ids: SpanIds,
    parent: Option<SpanIds>,
    began_at: UnixMillis,
}

/// The layer.
pub(crate) struct Collect {
    pub(crate) want: Arc<RwLock<Want>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn WallClock>,
    /// Whether spans are exported.
    pub(crate) is_traced: Arc<AtomicBool>,
    /// Tells the ids of this process from those of others.
    pub(crate) seed: u128,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Collect {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut taken = Taken::default();
        attributes.record(&mut taken);
        let traced = self.is_traced.load(Ordering::Relaxed).then(|| {
            let traced_of = |span: SpanRef<'_, S>| span.extensions().get::<OfSpan>().and_then(|of| of.traced);
            let parent = span.parent().and_then(traced_of).map(|parent| parent.ids);
            Traced { ids: SpanIds::new(self.seed, parent), parent, began_at: self.clock.now() }
        });
        span.extensions_mut().insert(OfSpan { fields: taken.fields, traced });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(OfSpan { fields, .. }) = extensions.get_mut() else { return };
        let mut taken = Taken { fields: std::mem::take(fields), message: String::new() };
        values.record(&mut taken);
        *fields = taken.fields;
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_silent() {
            return;
        }
        let sinks = self.want.read().sinks(event.metadata());
        let mut taken = Taken::default();
        event.record(&mut taken);
        let spans = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let spans = spans.map(|span| Around {
            name: span.name(),
            fields: span.extensions().get::<OfSpan>().map(|of| of.fields.clone()).unwrap_or_default(),
        });
        let line = Line {
            at: self.clock.now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message: taken.message,
            fields: taken.fields,
            spans: spans.collect(),
            within: context.event_span(event).and_then(|span| {
                let extensions = span.extensions();
                extensions.get::<OfSpan>()?.traced.map(|traced| traced.ids)
            }),
        };
        self.queue.put(sinks, line);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id).filter(|_| !is_silent()) else { return };
        let Some(OfSpan { fields, traced: Some(traced) }) = span.extensions_mut().remove::<OfSpan>() else {
            return;
        };
        let line = Line {
            at: traced.began_at,
            level: *span.metadata().level(),
            target: span.metadata().target(),
            message: String::new(),
            fields: Fields::new(),
            spans: vec![Around { name: span.name(), fields }],
            within: None,
        };
        let Traced { ids, parent, .. } = traced;
        self.queue.put_span(Ended { ids, parent, ended_at: self.clock.now(), line });
    }
}

/// What was said, with its types.
#[derive(Default)]
struct Taken {
    message: String,
    fields: Fields,
}

impl Taken {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        if self.fields.len() < MOST_FIELDS || self.fields.contains_key(field.name()) {
            self.fields.insert(field.name().to_owned(), value.into());
        }
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // It fails once it is full.
        let _ = text.write_fmt(value);
        if field.name() == "message" {
            self.message = text.0;
        } else {
            self.put(field, text.0);
        }
    }
}

impl Visit for Taken {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// Text that is full at some point.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MOST_BYTES - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}
