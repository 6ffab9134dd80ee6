//! What the simulator received, and what it bills.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use empire_actors::money::{Price, Usage};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::dialect::Dialect;

/// However few bodies a scenario keeps, they may not take more memory than this.
const MOST_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Times beyond this many are not kept; the counts go on.
const MOST_TIMES: usize = 4_000_000;

/// A dialect, a method and a path, and the status it was answered with (0: none was).
type Line = (Option<Dialect>, &'static str, &'static str, u16);

/// The records since the start, or since they were cleared.
#[derive(Debug)]
pub(super) struct Books {
    started: Instant,
    prices: HashMap<String, Price>,
    lines: DashMap<Line, u64>,
    accounts: [Account; 3],
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Account {
    received: AtomicU64,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    hung: AtomicU64,
    disconnected: AtomicU64,
    billed_calls: AtomicU64,
    input: AtomicU64,
    cached_input: AtomicU64,
    cache_write: AtomicU64,
    output: AtomicU64,
    micros: AtomicU64,
    unpriced: AtomicU64,
    times: Mutex<Vec<f64>>,
}

#[derive(Debug, Default)]
struct Bodies {
    kept: VecDeque<Kept>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Kept {
    dialect: Dialect,
    path: &'static str,
    ms: f64,
    body: Box<[u8]>,
}

/// A call being worked on; it is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    account: &'a Account,
    /// How many were in flight when it came, with itself.
    pub(super) at_once: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.account.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Books {
    pub(super) fn new(prices: HashMap<String, Price>) -> Books {
        Books {
            started: Instant::now(),
            prices,
            lines: DashMap::new(),
            accounts: Default::default(),
            bodies: Mutex::default(),
        }
    }

    /// The models that have a price, in order.
    pub(super) fn priced_models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.prices.keys().map(String::as_str).collect();
        models.sort_unstable();
        models
    }

    /// Notes that a chat call came, whatever becomes of it.
    pub(super) fn arrive(
        &self,
        dialect: Dialect,
        path: &'static str,
        body: &[u8],
        keep: usize,
    ) -> InFlight<'_> {
        let account = &self.accounts[dialect.index()];
        let ms = self.started.elapsed().as_secs_f64() * 1_000.0;
        account.received.fetch_add(1, Ordering::Relaxed);
        let at_once = account.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        account.max_in_flight.fetch_max(at_once, Ordering::Relaxed);
        {
            let mut times = account.times.lock();
            if times.len() < MOST_TIMES {
                times.push(ms);
            }
        }
        let body = body.into();
        self.bodies.lock().keep(Kept { dialect, path, ms, body }, keep);
        InFlight { account, at_once }
    }

    /// Notes how a request was answered; status 0 if the connection was closed instead.
    pub(super) fn answered(
        &self,
        dialect: Option<Dialect>,
        method: &'static str,
        path: &'static str,
        status: u16,
    ) {
        *self.lines.entry((dialect, method, path, status)).or_insert(0) += 1;
        if let (Some(dialect), 0) = (dialect, status) {
            self.accounts[dialect.index()].disconnected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a call will never be answered.
    pub(super) fn hung(&self, dialect: Dialect) {
        self.accounts[dialect.index()].hung.fetch_add(1, Ordering::Relaxed);
    }

    /// Bills a call.
    pub(super) fn bill(&self, dialect: Dialect, model: &str, usage: &Usage) {
        let account = &self.accounts[dialect.index()];
        let cost = self.prices.get(model).map(|price| price.cost(usage));
        if cost.is_none() {
            account.unpriced.fetch_add(1, Ordering::Relaxed);
        }
        let additions = [
            (&account.billed_calls, 1),
            (&account.input, usage.input),
            (&account.cached_input, usage.cached_input),
            (&account.cache_write, usage.cache_write),
            (&account.output, usage.output),
            (&account.micros, cost.unwrap_or_default().0),
        ];
        for (total, more) in additions {
            total.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// What was billed in micro-dollars.
    pub(super) fn billed(&self, dialect: Dialect) -> u64 {
        self.accounts[dialect.index()].micros.load(Ordering::Relaxed)
    }

    /// Forgets everything but what is in flight.
    pub(super) fn clear(&self) {
        self.lines.clear();
        *self.bodies.lock() = Bodies::default();
        for account in &self.accounts {
            let totals = [
                &account.received,
                &account.hung,
                &account.disconnected,
                &account.billed_calls,
                &account.input,
                &account.cached_input,
                &account.cache_write,
                &account.output,
                &account.micros,
                &account.unpriced,
            ];
            totals.into_iter().for_each(|total| total.store(0, Ordering::Relaxed));
            account.max_in_flight.store(account.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
            account.times.lock().clear();
        }
    }

    /// Counts per dialect, path and status, and what every provider received and billed.
    pub(super) fn summary(&self) -> Value {
        let mut lines: Vec<(Line, u64)> =
            self.lines.iter().map(|line| (*line.key(), *line.value())).collect();
        lines.sort_unstable();
        let counts = lines.iter().map(|((dialect, method, path, status), count)| {
            json!({ "dialect": dialect, "method": method, "path": path, "status": status, "count": count })
        });
        let providers: serde_json::Map<String, Value> = Dialect::ALL
            .iter()
            .map(|dialect| (dialect.name().to_owned(), self.accounts[dialect.index()].summary()))
            .collect();
        let bodies = self.bodies.lock();
        json!({
            "counts": counts.collect::<Vec<_>>(),
            "providers": providers,
            "bodies_kept": bodies.kept.len(),
            "bodies_dropped": bodies.dropped,
        })
    }

    /// The latest `limit` bodies that are kept, oldest first.
    pub(super) fn bodies(&self, dialect: Option<Dialect>, limit: usize) -> Vec<Value> {
        let bodies = self.bodies.lock();
        let wanted =
            bodies.kept.iter().rev().filter(|kept| dialect.is_none_or(|dialect| kept.dialect == dialect));
        let mut shown: Vec<Value> = wanted.take(limit).map(Kept::show).collect();
        shown.reverse();
        shown
    }

    /// When chat calls came, in milliseconds since the start.
    pub(super) fn times(&self, dialect: Dialect) -> Vec<f64> {
        self.accounts[dialect.index()].times.lock().clone()
    }
}

impl Account {
    fn summary(&self) -> Value {
        let total = |total: &AtomicU64| total.load(Ordering::Relaxed);
        json!({
            "received": total(&self.received),
            "in_flight": self.in_flight.load(Ordering::Relaxed),
            "max_in_flight": self.max_in_flight.load(Ordering::Relaxed),
            "hung": total(&self.hung),
            "disconnected": total(&self.disconnected),
            "billed": {
                "calls": total(&self.billed_calls),
                "input": total(&self.input),
                "cached_input": total(&self.cached_input),
                "cache_write": total(&self.cache_write),
                "output": total(&self.output),
                "micros": total(&self.micros),
                "unpriced": total(&self.unpriced),
            },
        })
    }
}

impl Bodies {
    fn keep(&mut self, body: Kept, most: usize) {
        self.bytes += body.body.len();
        self.kept.push_back(body);
        while self.kept.len() > most || self.bytes > MOST_BODY_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.body.len();
            self.dropped += 1;
        }
    }
}

impl Kept {
    /// The body as JSON if it is JSON, or else as a string.
    fn show(&self) -> Value {
        let body = serde_json::from_slice::<Value>(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()));
        json!({ "dialect": self.dialect, "path": self.path, "ms": self.ms, "body": body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_bodies_are_kept_and_the_counts_stay_exact() {
        let books = Books::new(HashMap::new());
        for number in 0..10 {
            drop(books.arrive(Dialect::Kimi, "/", number.to_string().as_bytes(), 3));
        }
        let kept: Vec<i64> =
            books.bodies(None, 2).iter().filter_map(|shown| shown["body"].as_i64()).collect();
        assert_eq!(kept, [8, 9]);
        let summary = books.summary();
        assert_eq!(summary["bodies_dropped"], 7);
        assert_eq!(summary["providers"]["kimi"]["received"], 10);
        assert_eq!(summary["providers"]["kimi"]["max_in_flight"], 1);
        assert_eq!(books.times(Dialect::Kimi).len(), 10);
    }
}
