//! Alerts to a webhook: what happened in the program's own words, and nothing of anybody's data.

use std::time::Duration;

use empire_actors::alerts::{Deliver, Notice};
use futures_util::future::{BoxFuture, FutureExt};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::log::time;
use crate::providers::{ClientError, Hook};

/// Tries of one notice, and how long to wait before the next ones.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// Posts alerts as JSON.
#[derive(Debug)]
pub struct Webhook {
    hook: Hook,
}

impl Webhook {
    /// To `url`, which is shown `key` as a bearer token if there is one.
    ///
    /// # Errors
    /// If no HTTP client can be set up.
    pub fn new(url: &str, key: Option<SecretString>) -> Result<Webhook, ClientError> {
        Ok(Webhook { hook: Hook::new(url, key)? })
    }
}

/// What is posted.
fn body(notice: &Notice) -> Value {
    let Notice { news, alert } = notice;
    json!({
        "news": news,
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "message": alert.message,
        "since": time(alert.since),
        "last_seen": time(alert.last_seen),
        "recovered_at": alert.recovered_at.map(time),
        "count": alert.count,
    })
}

impl Deliver for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let body = body(notice);
            let mut pauses = PAUSES.into_iter();
            loop {
                let refused = match self.hook.post(&body).await {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                };
                match pauses.next().filter(|_| refused.may_pass) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(refused.why),
                }
            }
        }
        .boxed()
    }
}
