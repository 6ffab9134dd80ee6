//! Alerts in the log.

use empire_actors::alerts::{Deliver, News, Notice, Severity};
use futures_util::future::{BoxFuture, FutureExt, ready};

/// Tells of alerts in the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToLog;

impl Deliver for ToLog {
    fn name(&self) -> &'static str {
        "log"
    }

    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        let Notice { news, alert } = notice;
        let (kind, subject, severity) = (alert.kind.word(), &*alert.subject, alert.severity.word());
        let (count, message) = (alert.count, alert.message.as_str());
        match (news, alert.severity) {
            (News::Recovered, _) => {
                tracing::info!(target: "empire::alerts", kind, subject, severity, count, "over: {message}");
            }
            (_, Severity::Critical) => {
                tracing::error!(target: "empire::alerts", kind, subject, severity, count, "{message}");
            }
            (_, Severity::Warning) => {
                tracing::warn!(target: "empire::alerts", kind, subject, severity, count, "{message}");
            }
            (_, Severity::Info) => {
                tracing::info!(target: "empire::alerts", kind, subject, severity, count, "{message}");
            }
        }
        ready(Ok(())).boxed()
    }
}
