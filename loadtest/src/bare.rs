//! The yardstick: the same calls from a loop that does nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::control::bare_client;
use crate::scenario::Yardstick;

/// Makes the calls, so many at a time; gives how many ended a second.
pub(crate) async fn calls_per_second(base_url: &str, yardstick: Yardstick) -> Result<f64> {
    let Yardstick { calls, connections } = yardstick;
    let client = bare_client(connections as usize)?;
    let url: Arc<str> = format!("{base_url}/api/chat").into();
    let next = Arc::new(AtomicU32::new(0));
    let mut workers = JoinSet::new();
    let started = Instant::now();
    for _ in 0..connections {
        let (client, url, next) = (client.clone(), url.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return Ok::<_, anyhow::Error>(());
                }
                let body = json!({
                    "model": "bare", "stream": false,
                    "messages": [{"role": "user", "content": format!("define the word number {number}")}],
                });
                let answer = client.post(&*url).json(&body).send().await.context("a bare call failed")?;
                ensure!(answer.status().is_success(), "the simulator answered {}", answer.status());
                answer.bytes().await?;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(f64::from(calls) / started.elapsed().as_secs_f64())
}
