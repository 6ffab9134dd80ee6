use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use empire_actors::gates::audit::Decision;
use empire_actors::gates::calendar::Day;
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::ports::*;
use empire_actors::schema::Schema;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a group commit takes.
const COMMIT: Duration = Duration::from_millis(1);

/// What the privacy gate decided, in order.
#[derive(Default)]
pub struct FakeAudit {
    pub decisions: Mutex<Vec<Decision>>,
    /// Whether nothing can be kept.
    pub is_full: AtomicBool,
    /// How many decisions crash whoever makes them.
    pub crashes: AtomicUsize,
}

impl Audit for FakeAudit {
    fn salt(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn decided(&self, decision: Decision) -> Result<(), StoreError> {
        let left = self.crashes.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left.is_err(), "a crash on purpose");
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::DiskFull);
        }
        self.decisions.lock().push(decision);
        Ok(())
    }
}

type Hook<A> = Mutex<Option<Box<dyn Fn(A) + Send + Sync>>>;

/// Places where a test can make something go wrong.
#[derive(Default)]
pub struct Hooks {
    pub render: Hook<u32>,
    pub check: Hook<String>,
    pub chunk: Hook<u32>,
    pub now: Hook<()>,
    pub reduce: Hook<()>,
}

impl Hooks {
    pub fn set<A>(hook: &Hook<A>, act: impl Fn(A) + Send + Sync + 'static) {
        *hook.lock() = Some(Box::new(act));
    }

    fn run<A>(hook: &Hook<A>, argument: A) {
        let taken = hook.lock();
        if let Some(act) = &*taken {
            act(argument);
        }
    }
}

/// The time of day on tokio's clock.
pub struct TokioClock {
    started: Instant,
    hooks: Arc<Hooks>,
}

impl TokioClock {
    pub fn new(hooks: Arc<Hooks>) -> TokioClock {
        TokioClock { started: Instant::now(), hooks }
    }
}

impl WallClock for TokioClock {
    fn now(&self) -> UnixMillis {
        Hooks::run(&self.hooks.now, ());
        UnixMillis(1_700_000_000_000 + i64::try_from(self.started.elapsed().as_millis()).unwrap())
    }
}

/// The same numbers in every run.
#[derive(Default)]
pub struct Wobble(AtomicU64);

impl Random for Wobble {
    fn unit(&self) -> f64 {
        (self.0.fetch_add(37, Ordering::Relaxed) % 100) as f64 / 100.0
    }
}

#[derive(Default)]
struct LedgerLog {
    known: BTreeSet<HoldId>,
    open: BTreeMap<HoldId, HoldRecord>,
    /// The calls of these have left.
    left: BTreeSet<HoldId>,
    settled: Vec<Settlement>,
    noted: Vec<(ProviderId, Sent)>,
    wrongs: Vec<String>,
}

/// A durable ledger: what it was told stays when everything else is gone.
#[derive(Default)]
pub struct FakeLedger {
    log: Mutex<LedgerLog>,
    pub load_fails: AtomicUsize,
    /// Reservations from this one on find the disk full.
    pub full_from: Mutex<Option<usize>>,
}

impl FakeLedger {
    pub fn billed(&self) -> Micros {
        self.log.lock().settled.iter().map(|settled| settled.billed).sum()
    }

    pub fn open(&self) -> usize {
        self.log.lock().open.len()
    }

    pub fn wrongs(&self) -> Vec<String> {
        self.log.lock().wrongs.clone()
    }

    pub fn settled(&self, certainty: Certainty) -> usize {
        self.log.lock().settled.iter().filter(|settled| settled.certainty == certainty).count()
    }

    /// What a new process finds after the old one was killed: calls that may have left count as
    /// paid.
    pub fn after_kill(&self) -> FakeLedger {
        let log = self.log.lock();
        let mut settled = log.settled.clone();
        settled.extend(log.open.values().filter(|hold| log.left.contains(&hold.id)).map(|hold| Settlement {
            hold: hold.clone(),
            billed: hold.reserved,
            certainty: Certainty::Unknown,
            usage: Default::default(),
            sent_at: hold.at,
        }));
        let (known, noted) = (log.known.clone(), log.noted.clone());
        let log = LedgerLog { known, settled, noted, ..LedgerLog::default() };
        FakeLedger { log: Mutex::new(log), ..FakeLedger::default() }
    }
}

impl Ledger for FakeLedger {
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>> {
        Box::pin(async {
            tokio::time::sleep(COMMIT).await;
            if self.load_fails.load(Ordering::Relaxed) > 0 {
                self.load_fails.fetch_sub(1, Ordering::Relaxed);
                return Err(StoreError::Failed("no such table".into()));
            }
            let log = self.log.lock();
            let spent = log.settled.iter().map(|settled| SpendRow {
                job: settled.hold.job.clone(),
                role: settled.hold.role.clone(),
                child: settled.hold.child.clone(),
                provider: settled.hold.provider.clone(),
                day: Day::of(settled.hold.at),
                billed: settled.billed,
            });
            Ok(LedgerState {
                spent: spent.collect(),
                open: log.open.values().cloned().collect(),
                next_hold: log.known.last().map_or(1, |last| last.0 + 1),
            })
        })
    }

    fn reserve(&self, hold: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut log = self.log.lock();
        if self.full_from.lock().is_some_and(|from| log.known.len() >= from) {
            return Box::pin(async { Err(StoreError::DiskFull) });
        }
        if !log.known.insert(hold.id) {
            log.wrongs.push(format!("{:?} was reserved twice", hold.id));
        }
        log.open.insert(hold.id, hold);
        Box::pin(async {
            tokio::time::sleep(COMMIT).await;
            Ok(())
        })
    }

    fn leave(&self, hold: HoldId) -> Result<(), StoreError> {
        let mut log = self.log.lock();
        if !log.open.contains_key(&hold) || !log.left.insert(hold) {
            log.wrongs.push(format!("{hold:?} left without an open reservation, or twice"));
        }
        Ok(())
    }

    fn settle(&self, settlement: Settlement) {
        let mut log = self.log.lock();
        if !log.left.contains(&settlement.hold.id) {
            log.wrongs.push(format!("{:?} was settled but has not left", settlement.hold.id));
        }
        if log.open.remove(&settlement.hold.id).is_none() {
            log.wrongs.push(format!("{:?} was settled but not open", settlement.hold.id));
        }
        log.settled.push(settlement);
    }

    fn release(&self, hold: HoldId) {
        self.log.lock().open.remove(&hold);
    }

    fn sent_since(
        &self,
        provider: &ProviderId,
        since: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>> {
        let log = self.log.lock();
        let paid = log.settled.iter().filter(|settled| settled.hold.provider == *provider);
        let paid = paid.map(|settled| Sent {
            at: settled.sent_at,
            model: settled.hold.model.as_str().into(),
            calls: 1,
            tokens: 0,
            owed: 0,
        });
        let noted = log.noted.iter().filter(|(noted, _)| noted == provider).map(|(_, sent)| sent.clone());
        let mut sent: Vec<_> = paid.chain(noted).filter(|sent| sent.at >= since).collect();
        sent.sort_unstable_by_key(|sent| sent.at);
        Box::pin(async { Ok(sent) })
    }

    fn note_sent(&self, provider: &ProviderId, sent: Sent) -> BoxFuture<'static, Result<(), StoreError>> {
        self.log.lock().noted.push((provider.clone(), sent));
        Box::pin(async {
            tokio::time::sleep(COMMIT).await;
            Ok(())
        })
    }
}

#[derive(Default)]
struct ResultsLog {
    records: HashMap<(bool, ItemKey), ResultRecord>,
    doubles: usize,
}

/// Results that are durable once their commit is over.
#[derive(Default)]
pub struct FakeResults {
    log: Arc<Mutex<ResultsLog>>,
    /// Records from this one on find the disk full.
    pub full_from: Mutex<Option<usize>>,
    /// How much longer than usual a commit takes.
    pub slower: Mutex<Duration>,
}

impl FakeResults {
    pub fn all(&self, part: Part) -> Vec<ResultRecord> {
        let log = self.log.lock();
        let mut records: Vec<_> =
            log.records.values().filter(|record| record.part == part).cloned().collect();
        records.sort_by_key(|record| record.item);
        records
    }

    pub fn doubles(&self) -> usize {
        self.log.lock().doubles
    }

    pub fn done_keys(&self, part: Part) -> HashSet<ItemKey> {
        let is_done = |record: &ResultRecord| matches!(record.verdict, Verdict::Done(_));
        self.all(part).into_iter().filter(is_done).map(|record| record.key).collect()
    }
}

impl Results for FakeResults {
    fn record(&self, record: ResultRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        let log = self.log.clone();
        if self.full_from.lock().is_some_and(|from| log.lock().records.len() >= from) {
            return Box::pin(async { Err(StoreError::DiskFull) });
        }
        let takes = COMMIT + *self.slower.lock();
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let mut log = log.lock();
            let key = (record.part == Part::Item, record.key);
            match log.records.get(&key) {
                Some(earlier) if matches!(earlier.verdict, Verdict::Done(_)) => log.doubles += 1,
                _ => drop(log.records.insert(key, record)),
            }
            Ok(())
        })
    }
}

/// The input, and the answers to it.
pub struct FakeItems {
    pub all: Vec<Item>,
    results: Arc<FakeResults>,
    hooks: Arc<Hooks>,
}

impl FakeItems {
    pub fn new(all: Vec<Item>, results: Arc<FakeResults>, hooks: Arc<Hooks>) -> FakeItems {
        FakeItems { all, results, hooks }
    }

    fn cohort(&self, number: u32) -> &[Item] {
        self.all.chunks(64).nth(number as usize).unwrap_or_default()
    }
}

impl Items for FakeItems {
    fn chunk(&self, cohort: u32) -> BoxFuture<'_, Result<Arc<Chunk>, StoreError>> {
        Box::pin(async move {
            tokio::time::sleep(COMMIT).await;
            Hooks::run(&self.hooks.chunk, cohort);
            Ok(Arc::new(Chunk { items: self.cohort(cohort).to_vec() }))
        })
    }
}

impl Answers for FakeItems {
    fn of_cohort(&self, cohort: u32) -> BoxFuture<'_, Result<Vec<Box<str>>, StoreError>> {
        let records = self.results.all(Part::Item);
        let range = self.cohort(cohort);
        let answers = records.into_iter().filter_map(|record| match record.verdict {
            Verdict::Done(answer) if range.iter().any(|item| item.number == record.item) => Some(answer),
            _ => None,
        });
        let answers = answers.collect();
        Box::pin(async { Ok(answers) })
    }

    fn reduced(&self, key: ItemKey) -> BoxFuture<'_, Result<Option<Box<str>>, StoreError>> {
        let records = self.results.all(Part::Reduce).into_iter();
        let found = records.filter(|record| record.key == key).find_map(|record| match record.verdict {
            Verdict::Done(answer) => Some(answer),
            Verdict::Dead(_) => None,
        });
        Box::pin(async { Ok(found) })
    }
}

/// A prompt is the row; an answer passes if it starts with `ok`.
pub struct FakeScript {
    pub hooks: Arc<Hooks>,
}

impl Script for FakeScript {
    fn render(&self, item: &Item) -> Result<Rendered, String> {
        Hooks::run(&self.hooks.render, item.number);
        if item.row.contains("unrenderable") {
            return Err(format!("row {}: no field `x`", item.number));
        }
        Ok(Rendered { system: Some("Be brief.".into()), prompt: item.row.to_string() })
    }

    fn render_pack(&self, items: &[Item]) -> Result<Rendered, String> {
        let rows: Vec<&str> = items.iter().map(|item| &*item.row).collect();
        Ok(Rendered { system: None, prompt: format!("pack\n{}", rows.join("\n")) })
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        None
    }

    fn pack_schema(&self, _: usize) -> Arc<Schema> {
        Arc::new(Schema::new(json!({ "type": "object" })))
    }

    fn check(&self, answer: &str) -> Result<Box<str>, String> {
        Hooks::run(&self.hooks.check, answer.to_owned());
        if answer.starts_with("ok") {
            Ok(json!(answer).to_string().into())
        } else {
            Err(format!("it does not start with ok: {answer}"))
        }
    }

    fn split_pack(&self, answer: &str, n: usize) -> Result<Vec<Result<Box<str>, String>>, String> {
        if answer.starts_with("garbage") {
            return Err("it is no list of parts".into());
        }
        let parts: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('=')).collect();
        let part = |number: usize| {
            let mut own = parts.iter().filter(|(name, _)| *name == number.to_string());
            match (own.next(), own.next()) {
                (None, _) => Err("missing".to_owned()),
                (Some(_), Some(_)) => Err("doubled".to_owned()),
                (Some((_, text)), None) => self.check(text),
            }
        };
        Ok((1..=n).map(part).collect())
    }

    fn max_tokens(&self, n: usize) -> u32 {
        u32::try_from(100 * n).unwrap()
    }

    fn reduce_max_tokens(&self) -> u32 {
        200
    }

    fn reduce_key(&self, depth: u32, inputs: &[Box<str>]) -> ItemKey {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, depth, inputs).hash(&mut hasher);
            hasher.finish().to_le_bytes()
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half(0));
        key[8..].copy_from_slice(&half(1));
        ItemKey(key)
    }

    fn render_reduce(&self, answers: &[Box<str>], last: bool) -> Option<Result<Rendered, String>> {
        Hooks::run(&self.hooks.reduce, ());
        let which = if last { "all".into() } else { format!("some from {}", answers[0]) };
        let prompt = format!("sum {which} of {}", answers.len());
        Some(Ok(Rendered { system: None, prompt }))
    }
}
