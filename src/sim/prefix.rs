//! The vendors' prompt caches: which beginnings of prompts an account has sent lately.
//!
//! Claude's holds what a request marks, from a least length on; writing it costs extra. Kimi's
//! holds every beginning in whole blocks, unasked and at no cost. What is remembered depends on
//! the order of the calls alone.

use std::time::Duration;

use dashmap::DashMap;
use empire_actors::money::Usage;
use serde_json::Value;
use tokio::time::Instant;

use super::ask::text_of;
use super::dialect::Dialect;

/// How long a beginning stays after it was used last.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// The shortest beginning that Claude's cache takes, in tokens.
const LEAST_MARKED: u64 = 1_024;
/// What Kimi's cache is made of, in bytes.
const BLOCK_BYTES: usize = 1_024;
const BYTES_A_TOKEN: u64 = 4;
/// Beginnings beyond this many make all be forgotten, to bound memory.
const MOST_KEPT: usize = 200_000;

/// A beginning of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    hash: [u8; 16],
    tokens: u64,
}

impl Prefix {
    fn new(hasher: &blake3::Hasher, bytes: usize) -> Prefix {
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Prefix { hash, tokens: bytes as u64 / BYTES_A_TOKEN }
    }
}

/// The beginning that a Messages request marks last, if any.
pub(super) fn marked(body: &Value) -> Vec<Prefix> {
    let blocks = |content: Option<&Value>| match content {
        Some(Value::Array(blocks)) => blocks.clone(),
        Some(text @ Value::String(_)) => vec![serde_json::json!({ "text": text })],
        _ => Vec::new(),
    };
    let messages = body.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let said = messages.iter().flat_map(|message| blocks(message.get("content")));
    let (mut hasher, mut bytes, mut last) = (start(body), 0, None);
    for block in blocks(body.get("system")).into_iter().chain(said) {
        let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
        bytes += text.len();
        if block.get("cache_control").is_some_and(|mark| mark.get("type").is_some_and(|t| t == "ephemeral")) {
            last = Some(Prefix::new(&hasher, bytes));
        }
    }
    last.into_iter().filter(|prefix| prefix.tokens >= LEAST_MARKED).collect()
}

/// Every beginning of a chat request in whole blocks, shortest first.
pub(super) fn blocks(body: &Value) -> Vec<Prefix> {
    let mut text = String::new();
    for message in body.get("messages").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(message.get("role").and_then(Value::as_str).unwrap_or_default());
        text.push('\n');
        text.push_str(&text_of(message.get("content")));
        text.push('\n');
    }
    let mut hasher = start(body);
    let whole = text.as_bytes().chunks_exact(BLOCK_BYTES).enumerate();
    whole
        .map(|(index, block)| {
            hasher.update(block);
            Prefix::new(&hasher, (index + 1) * BLOCK_BYTES)
        })
        .collect()
}

/// Each model has a cache of its own.
fn start(body: &Value) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(body.get("model").and_then(Value::as_str).unwrap_or_default().as_bytes());
    hasher.update(&[0]);
    hasher
}

/// What an account's caches hold.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    used: DashMap<[u8; 16], Instant>,
}

impl Prefixes {
    /// Divides the input of a call by what the cache held of it, and remembers the rest.
    pub(super) fn divide(&self, now: Instant, dialect: Dialect, prefixes: &[Prefix], usage: Usage) -> Usage {
        let total = usage.total_input();
        let is_held = |prefix: &&Prefix| {
            self.used.get(&prefix.hash).is_some_and(|used| now.duration_since(*used) <= KEPT_FOR)
        };
        let cached_input = prefixes.iter().rev().find(is_held).map_or(0, |prefix| prefix.tokens).min(total);
        if self.used.len() > MOST_KEPT {
            self.used.clear();
        }
        for prefix in prefixes {
            self.used.insert(prefix.hash, now);
        }
        let longest = prefixes.last().map_or(0, |prefix| prefix.tokens).min(total);
        let cache_write = if dialect == Dialect::Claude { longest - cached_input } else { 0 };
        Usage { input: total - cached_input - cache_write, cached_input, cache_write, ..usage }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(input: u64) -> Usage {
        Usage { input, output: 7, ..Usage::default() }
    }

    #[test]
    fn what_is_marked_is_written_once_and_read_until_it_is_old() {
        let caches = Prefixes::default();
        let body = |shared: &str, own: &str| {
            json!({"model": "m", "system": "Be brief.", "messages": [{"role": "user", "content": [
                {"type": "text", "text": shared, "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": own},
            ]}]})
        };
        let long = "x".repeat(8_000);
        let now = Instant::now();
        let call_at = |at, own| caches.divide(at, Dialect::Claude, &marked(&body(&long, own)), usage(2_100));
        let call = |own| call_at(now, own);
        let tokens = (8_000 + 9) / 4;
        let first = call("a");
        assert_eq!((first.cache_write, first.cached_input, first.input), (tokens, 0, 2_100 - tokens));
        let second = call("b");
        assert_eq!((second.cache_write, second.cached_input, second.input), (0, tokens, 2_100 - tokens));
        let later = now + KEPT_FOR + Duration::from_secs(1);
        assert_eq!(call_at(later, "c").cache_write, tokens);
        assert_eq!(marked(&body("short", "a")), [], "too short to be held");
    }

    #[test]
    fn whole_blocks_are_found_again_unasked() {
        let caches = Prefixes::default();
        let body = |own: &str| {
            json!({"model": "m", "messages": [
                {"role": "system", "content": "x".repeat(3_000)}, {"role": "user", "content": own},
            ]})
        };
        let now = Instant::now();
        let call = |own| caches.divide(now, Dialect::Kimi, &blocks(&body(own)), usage(800));
        assert_eq!(call("a").cached_input, 0);
        let again = call("b");
        assert_eq!((again.cached_input, again.cache_write, again.input), (512, 0, 288));
    }
}
