//! The yardstick: the same calls from a loop that does nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Makes `calls` chat calls with `slots` at a time; gives how many ended a second.
#[allow(clippy::disallowed_methods, reason = "a load generator measures real time with its own tasks")]
pub(crate) async fn calls_per_second(base_url: &str, calls: u32, slots: u32) -> Result<f64> {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let url: Arc<str> = format!("{base_url}/api/chat").into();
    let next = Arc::new(AtomicU32::new(0));
    let started = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..slots {
        let (client, url, next) = (client.clone(), url.clone(), next.clone());
        workers.push(tokio::spawn(async move {
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
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(f64::from(calls) / started.elapsed().as_secs_f64())
}
