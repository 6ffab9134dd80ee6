//! What every backend of the store must hold to. Generic over how a store is opened and killed.

mod alerts;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use empire_actors::failure::FailureKind;
use empire_actors::gates::calendar::Day;
use empire_actors::level::Level;
use empire_actors::money::{Micros, Usage};
use empire_actors::ports::*;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{TryStreamExt, stream};
use proptest::prelude::*;

use super::*;

pub(super) use alerts::{
    an_alert_has_one_row_that_outlives_a_crash, who_knows_of_an_alert_knows_of_that_one,
};

pub(super) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// One place where a store can be opened again and again.
pub(super) trait Fixture {
    fn open(&self) -> impl Future<Output = Store>;

    /// Ends the store's process as far as the backend can tell.
    fn crash(&self, store: Store) -> impl Future<Output = ()>;
}

pub(super) fn setup(name: &str) -> JobSetup {
    JobSetup {
        name: name.into(),
        spec: "name: test\n".into(),
        spec_path: Some("test.yaml".into()),
        fingerprint: "f".into(),
        out_dir: "out".into(),
        budget: Some(Micros(5)),
        deadline: None,
    }
}

pub(super) async fn new_job(store: &Store, id: &str, name: &str) {
    store.create_job(NewJob { id: id.into(), simulated: false, setup: setup(name) }).await.unwrap();
}

pub(super) fn key(n: u64) -> ItemKey {
    ItemKey((u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes())
}

pub(super) fn done(job: &str, n: u64) -> ResultRecord {
    ResultRecord {
        job: job.into(),
        part: Part::Item,
        key: key(n),
        item: n as u32,
        verdict: Verdict::Done(format!("{{\"n\":{n}}}").into()),
        model: Some("kimi-k2.6".into()),
        provider: Some("kimi".into()),
        usage: Usage { input: 10, cached_input: 1, cache_write: 2, output: 5 },
        cost: Micros(7),
        calls: 2,
        redactions: 1,
        packed: 1,
        ms: n as u32,
        tries: vec![
            Try {
                model: "local".into(),
                outcome: TryOutcome::Failed { kind: FailureKind::TimedOut, why: "slow".into() },
                ms: 9,
            },
            Try { model: "dear".into(), outcome: TryOutcome::Refused { why: "budget".into() }, ms: 0 },
            Try { model: "kimi-k2.6".into(), outcome: TryOutcome::Answered, ms: 3 },
        ],
        at: NOW,
    }
}

/// A record of an item that stands elsewhere in the input.
fn at(item: u32, record: ResultRecord) -> ResultRecord {
    ResultRecord { item, ..record }
}

pub(super) fn dead(job: &str, n: u64, reason: &str) -> ResultRecord {
    ResultRecord { verdict: Verdict::Dead(reason.into()), model: None, provider: None, ..done(job, n) }
}

pub(super) fn hold(job: &str, id: u64, reserved: u64) -> HoldRecord {
    HoldRecord {
        id: HoldId(id),
        job: job.into(),
        role: Some("dev".into()),
        child: Some("a/b".into()),
        item: 3,
        provider: "kimi".into(),
        model: "kimi-k2.6".into(),
        reserved: Micros(reserved),
        at: NOW,
    }
}

pub(super) fn settled(hold: HoldRecord, billed: u64) -> Settlement {
    let usage = Usage { input: 1, ..Usage::default() };
    Settlement { hold, billed: Micros(billed), certainty: Certainty::Settled, usage, sent_at: NOW }
}

fn item(number: u32, n: u64) -> Item {
    Item { number, first: number, key: key(n), level: None, row: format!("{{\"n\":{n}}}").into() }
}

async fn admit(store: &Store, job: &str, keys: &[u64], cohort: usize) -> Admitted {
    let items: Vec<Item> = (0..).zip(keys).map(|(number, n)| item(number, *n)).collect();
    let chunks: Vec<_> = items.chunks(cohort).map(|items| Ok(Chunk { items: items.to_vec() })).collect();
    store.replace_chunks::<_, StoreError>(job, stream::iter(chunks)).await.unwrap()
}

async fn counts(store: &Store, job: &str) -> Counts {
    store.job(job).await.unwrap().unwrap().counts
}

async fn record(store: &Store, record: ResultRecord) {
    store.recorder().record(record).await.unwrap();
}

pub(super) async fn a_result_is_recorded_once_unless_it_was_dead(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    admit(&store, "j", &[0, 1, 2], 2).await;
    let recorder = store.recorder();
    // All in one commit, and again in others.
    let together = [dead("j", 1, "first"), dead("j", 1, "second"), done("j", 1), dead("j", 1, "late")];
    join_all(together.into_iter().map(|r| recorder.record(r))).await.into_iter().for_each(|r| r.unwrap());
    record(&store, ResultRecord { cost: Micros(1_000), ..done("j", 1) }).await;
    record(&store, dead("j", 2, "why")).await;
    let reduce = ResultRecord { part: Part::Reduce, item: 0, ..done("j", 1) };
    record(&store, reduce.clone()).await;

    let counts = counts(&store, "j").await;
    assert_eq!((counts.items, counts.distinct, counts.done, counts.dead), (3, 3, 1, 1));
    // Two dead, one done, one dead, one reduce step: five records were taken.
    assert_eq!((counts.cost, counts.calls, counts.redactions, counts.retries), (Micros(35), 10, 5, 5));
    assert_eq!(counts.usage, Usage { input: 50, cached_input: 5, cache_write: 10, output: 25 });
    assert_eq!(store.result("j", 1).await.unwrap(), Some(done("j", 1)));
    assert_eq!(store.result("j", 2).await.unwrap(), Some(dead("j", 2, "why")));
    assert_eq!(store.result("j", 0).await.unwrap(), None);
    assert_eq!(store.step("j", key(1)).await.unwrap().as_ref(), Some(&reduce));
    assert_eq!(store.step("j", key(2)).await.unwrap(), None);
    assert_eq!(store.steps("j").await.unwrap(), [reduce]);
    store.close().await.unwrap();
}

pub(super) async fn operations_take_effect_in_the_order_given(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    let released = ledger.reserve(hold("j", 0, 10));
    ledger.release(HoldId(0));
    let spent = ledger.reserve(hold("j", 1, 10));
    ledger.settle(settled(hold("j", 1, 10), 4));
    let open = ledger.reserve(hold("j", 2, 10));
    let recorded = recorder.record(done("j", 1));
    // The last one given is durable: so are all before it.
    recorded.await.unwrap();
    assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(4));
    for reserved in [released, spent, open] {
        reserved.await.unwrap();
    }
    let state = ledger.load().await.unwrap();
    assert_eq!(state.open, [hold("j", 2, 10)]);
    assert_eq!(
        state.spent,
        [SpendRow {
            job: "j".into(),
            role: Some("dev".into()),
            child: Some("a/b".into()),
            provider: "kimi".into(),
            day: Day::of(NOW),
            billed: Micros(4),
        }]
    );
    assert_eq!(state.next_hold, 3);
    store.close().await.unwrap();
    assert_eq!(recorder.record(done("j", 2)).await, Err(StoreError::Closed));
}

pub(super) async fn one_bad_operation_fails_alone(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    ledger.reserve(hold("j", 1, 10)).await.unwrap();
    ledger.settle(settled(hold("j", 1, 10), 4));
    let again = ledger.reserve(hold("j", 7, 1));
    let twice = ledger.reserve(hold("j", 7, 1));
    let jobs = ["j", "j", "nobody", "j", "j"];
    let recorded = join_all((0..).zip(jobs).map(|(n, job)| recorder.record(done(job, n)))).await;
    again.await.unwrap();
    assert!(matches!(twice.await, Err(StoreError::Failed(why)) if !why.is_empty()));
    for (result, job) in recorded.into_iter().zip(jobs) {
        match result {
            Err(StoreError::Failed(why)) => assert!(job == "nobody" && why.contains("nobody"), "{why}"),
            other => assert!(job == "j" && other == Ok(()), "{other:?}"),
        }
    }
    assert_eq!(counts(&store, "j").await.done, 4);
    assert_eq!(ledger.load().await.unwrap().open, [hold("j", 7, 1)]);
    assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(4));
    store.close().await.unwrap();
}

/// What was told to a process that was killed at once is known to the next, though no commit came
/// in between.
pub(super) async fn a_dead_process_forgets_nothing_paid(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    for id in 0..4 {
        ledger.reserve(hold("j", id, 100)).await.unwrap();
    }
    (0..3).for_each(|id| ledger.leave(HoldId(id)).unwrap());
    ledger.settle(settled(hold("j", 0, 100), 30));
    ledger.release(HoldId(1));
    let paid = |record: ResultRecord| ResultRecord { cost: Micros(30), ..record };
    drop(recorder.record(paid(done("j", 1))));
    drop(recorder.record(paid(dead("j", 2, "why"))));
    fixture.crash(store).await;

    for start in 1..=3 {
        let store = fixture.open().await;
        let calls = u64::from(start == 1);
        assert_eq!(store.recovered().unknown_calls, calls, "only the one that left and did not end");
        assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(130));
        let counts = counts(&store, "j").await;
        assert_eq!((counts.done, counts.dead, counts.cost), (1, 1, Micros(60)));
        assert!(store.ledger(LedgerScope::All).load().await.unwrap().open.is_empty());
        fixture.crash(store).await;
    }
}

pub(super) async fn what_a_dead_process_left_open_is_billed(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (id, state) in [("r", JobState::Running), ("p", JobState::Paused)] {
        new_job(&store, id, "job").await;
        store.set_state(id, state, "").await.unwrap();
    }
    let ledger = store.ledger(LedgerScope::All);
    for id in 0..4 {
        ledger.reserve(hold("r", id, 100)).await.unwrap();
    }
    // The last one waits for its turn: it costs nothing.
    (0..3).for_each(|id| ledger.leave(HoldId(id)).unwrap());
    ledger.settle(settled(hold("r", 0, 100), 30));
    ledger.load().await.unwrap();
    fixture.crash(store).await;

    let store = fixture.open().await;
    let expected = Recovered { unknown_calls: 2, unknown_amount: Micros(200), interrupted_jobs: 1 };
    assert_eq!(store.recovered(), expected);
    assert_eq!(store.ledger_sum("r").await.unwrap(), Micros(230));
    let unknown = UnknownTotal { calls: 2, billed: Micros(200) };
    assert_eq!(store.unknown_total("r").await.unwrap(), unknown);
    let spend = store.spend_by_provider("r").await.unwrap();
    assert_eq!((spend.len(), spend[0].calls, spend[0].unknown), (1, 3, Micros(200)));
    let state = store.ledger(LedgerScope::All).load().await.unwrap();
    assert!(state.open.is_empty());
    assert_eq!(state.next_hold, 4);
    assert_eq!(store.job("r").await.unwrap().unwrap().state, JobState::Interrupted);
    assert_eq!(store.job("p").await.unwrap().unwrap().state, JobState::Paused);
    store.close().await.unwrap();
}

fn sent(at: i64) -> Sent {
    Sent { at: UnixMillis(at), model: "m".into(), calls: 1, tokens: 500, owed: 20 }
}

pub(super) async fn ledgers_count_what_their_scope_says(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let all = store.ledger(LedgerScope::All);
    let one = store.ledger(LedgerScope::Job("a".into()));
    for (job, id) in [("a", 0), ("b", 1)] {
        all.reserve(hold(job, id, 10)).await.unwrap();
        all.settle(settled(hold(job, id, 10), 5));
        all.reserve(hold(job, id + 10, 10)).await.unwrap();
    }
    let (kimi, local) = ("kimi".into(), "ollama".into());
    for at in [1, 2, 2, 3] {
        one.note_sent(&local, sent(NOW.0 + at)).await.unwrap();
    }
    let state = one.load().await.unwrap();
    assert_eq!((state.spent.len(), state.open.len(), state.next_hold), (1, 1, 12));
    let state = all.load().await.unwrap();
    assert_eq!((state.spent.len(), state.open.len()), (2, 2));
    assert_eq!(one.sent_since(&kimi, NOW).await.unwrap()[0].calls, 1);
    assert_eq!(all.sent_since(&kimi, NOW).await.unwrap()[0].calls, 2);
    assert_eq!(all.sent_since(&kimi, UnixMillis(NOW.0 + 1)).await.unwrap(), []);
    // What was sent at the same moment is one line; another model's is another.
    let other = Sent { model: "n".into(), ..sent(NOW.0 + 3) };
    one.note_sent(&local, other.clone()).await.unwrap();
    let two = Sent { calls: 2, tokens: 1_000, owed: 40, ..sent(NOW.0 + 2) };
    let found = one.sent_since(&local, UnixMillis(NOW.0 + 2)).await.unwrap();
    assert_eq!(found, [two, sent(NOW.0 + 3), other]);

    // What is older than a day and an hour is forgotten when it is opened again; the rest is not.
    let hour = 60 * 60 * 1000;
    for hours in [24, 26] {
        one.note_sent(&local, sent(NOW.0 - hours * hour)).await.unwrap();
    }
    fixture.crash(store).await;
    let store = fixture.open().await;
    let one = store.ledger(LedgerScope::Job("a".into()));
    assert_eq!(one.sent_since(&local, UnixMillis(0)).await.unwrap().len(), 5);
    assert_eq!(store.ledger(LedgerScope::All).sent_since(&local, NOW).await.unwrap().len(), 4);
    store.close().await.unwrap();
}

pub(super) async fn input_and_results_come_back_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    let mut items: Vec<Item> = (0..).zip([5, 6, 5, 7, 8, 5, 9]).map(|(number, n)| item(number, n)).collect();
    items[1].level = Some(Level::P3);
    items[3].row = "{\n\"a\": \"é\\n\"}".into();
    let chunks: Vec<_> = items.chunks(3).map(|items| Ok(Chunk { items: items.to_vec() })).collect();
    let admitted = store.replace_chunks::<_, StoreError>("j", stream::iter(chunks)).await.unwrap();
    assert_eq!(admitted, Admitted { cohorts: 3, items: 7, distinct: 5, done: 0, dead: 0 });
    assert_eq!(store.chunk_count("j").await.unwrap(), 3);
    items[3].row = "{ \"a\": \"é\\n\"}".into();
    for equal in [2, 5] {
        items[equal].first = 0;
    }
    let stored = store.items("j");
    assert_eq!(stored.chunk(1).await.unwrap().items, items[3..6]);
    assert!(matches!(stored.chunk(3).await, Err(StoreError::Failed(why)) if why.contains("cohort 3")));

    for (n, place) in [(9, 6), (5, 0), (7, 3)] {
        record(&store, at(place, done("j", n))).await;
    }
    record(&store, at(4, dead("j", 8, "why"))).await;
    let numbers = async |filter| {
        let lines: Vec<ResultLine> = store.results("j", filter).try_collect().await.unwrap();
        assert!(lines.iter().all(|line| line.item.key == line.record.key));
        lines.iter().map(|line| line.item.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(ResultFilter::All).await, [0, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(ResultFilter::Only(Outcome::Dead)).await, [4]);
    assert_eq!(numbers(ResultFilter::Only(Outcome::Done)).await, [0, 2, 3, 5, 6]);
    store.close().await.unwrap();
}

pub(super) async fn an_edited_input_counts_what_is_in_it(fixture: &impl Fixture) {
    let store = fixture.open().await;
    new_job(&store, "j", "job").await;
    admit(&store, "j", &[1, 2, 3, 4], 2).await;
    for n in [1, 2] {
        record(&store, at(n as u32 - 1, done("j", n))).await;
    }
    record(&store, at(2, dead("j", 3, "why"))).await;
    // A hole: nothing of this job may be taken for its input.
    let gap = [Ok(Chunk { items: vec![item(0, 1)] }), Ok(Chunk { items: vec![item(2, 2)] })];
    let failed = store.replace_chunks::<_, StoreError>("j", stream::iter(gap)).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))));
    assert_eq!(store.job("j").await.unwrap().unwrap().state, JobState::Admitting);

    let admitted = admit(&store, "j", &[2, 4, 5], 2).await;
    assert_eq!(admitted, Admitted { cohorts: 2, items: 3, distinct: 3, done: 1, dead: 0 });
    assert_eq!(store.chunk_count("j").await.unwrap(), 2);
    assert_eq!(counts(&store, "j").await.pending(), 2);
    assert_eq!(store.forget_dead("j").await.unwrap(), 0);
    assert_eq!(store.result("j", 0).await.unwrap(), Some(at(0, done("j", 2))));
    assert_eq!(store.result("j", 1).await.unwrap(), None);
    assert_eq!(store.keys("j").await.unwrap(), [key(2)].into());
    let known: Vec<EndedKey> = store.ended("j").try_collect().await.unwrap();
    assert_eq!(known.len(), 3, "those that may come back among them");

    // What comes back was not lost, wherever it stands.
    let admitted = admit(&store, "j", &[3, 2, 1, 3], 2).await;
    assert_eq!((admitted.distinct, admitted.done, admitted.dead), (3, 2, 1));
    assert_eq!(store.result("j", 2).await.unwrap(), Some(at(2, done("j", 1))));
    let lines: Vec<ResultLine> = store.results("j", ResultFilter::All).try_collect().await.unwrap();
    assert_eq!(lines.iter().map(|line| line.record.item).collect::<Vec<_>>(), [0, 1, 2, 0]);
    assert_eq!(store.forget_dead("j").await.unwrap(), 1);
    let counts = counts(&store, "j").await;
    assert_eq!((counts.done, counts.dead, counts.pending()), (2, 0, 1));
    assert_eq!(store.job("j").await.unwrap().unwrap().state, JobState::Paused);
    store.close().await.unwrap();
}

pub(super) async fn forgetting_moves_the_counters(fixture: &impl Fixture) {
    const DEAD: u64 = 1_203;
    let store = fixture.open().await;
    for id in ["j", "other"] {
        new_job(&store, id, "job").await;
        let recorder = store.recorder();
        let dead = (0..DEAD).map(|n| dead(id, n, if n % 3 == 0 { "rare" } else { "common" }));
        let by_other = (DEAD..DEAD + 5).map(|n| ResultRecord { model: Some("old".into()), ..done(id, n) });
        let all = dead.chain(by_other).chain([done(id, 9_999)]).map(|r| recorder.record(r));
        join_all(all).await.into_iter().for_each(|r| r.unwrap());
    }
    assert_eq!(store.forget_dead("j").await.unwrap(), DEAD);
    assert_eq!(store.invalidate("j", &["kimi-k2.6".into()]).await.unwrap(), 5);
    let after = counts(&store, "j").await;
    assert_eq!((after.done, after.dead), (1, 0));
    let left: Vec<EndedKey> = store.ended("j").try_collect().await.unwrap();
    assert_eq!(left.iter().map(|ended| ended.key).collect::<Vec<_>>(), [key(9_999)]);
    let other = counts(&store, "other").await;
    assert_eq!((other.done, other.dead), (6, DEAD));
    // What was paid stays paid.
    assert_eq!(after.cost, other.cost);
    store.close().await.unwrap();
}

pub(super) async fn jobs_are_found_and_told_what_to_do(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (id, name) in [("0190aa", "leads"), ("0190ab", "posts"), ("0191", "posts")] {
        new_job(&store, id, name).await;
    }
    for (wanted, id) in [("0190aa", "0190aa"), ("0190AB", "0190ab"), ("0191", "0191"), ("leads", "0190aa")] {
        assert_eq!(store.find_job(wanted).await.unwrap().id, id, "{wanted}");
    }
    for (wanted, fits) in [("0190", 2), ("posts", 2), ("019", 3)] {
        let error = store.find_job(wanted).await.unwrap_err();
        assert!(matches!(&error, FindError::Ambiguous { matches, .. } if matches.len() == fits), "{error}");
        assert!(error.to_string().contains("0190ab"), "{error}");
    }
    for wanted in ["", "0192", "lead", "%"] {
        let error = store.find_job(wanted).await.unwrap_err();
        assert!(matches!(&error, FindError::NotFound { .. }), "{wanted}: {error}");
    }
    assert_eq!(store.list_jobs().await.unwrap().len(), 3);

    admit(&store, "0191", &[1, 2, 3], 3).await;
    store.set_state("0191", JobState::Running, "").await.unwrap();
    store.request("0191", Desired::Cancel).await.unwrap();
    assert_eq!(store.desired("0191").await.unwrap(), Desired::Cancel);
    record(&store, done("0191", 1)).await;
    store.set_state("0191", JobState::Cancelled, "by its owner").await.unwrap();
    let job = store.find_job("0191").await.unwrap();
    assert_eq!((job.counts.cancelled, job.counts.pending()), (2, 0));
    assert_eq!((job.state, job.reason.as_str()), (JobState::Cancelled, "by its owner"));
    assert!(job.started_at.is_some() && job.finished_at.is_some());

    let edited = JobSetup { budget: None, ..setup("renamed") };
    store.update_job("0191", edited.clone()).await.unwrap();
    store.set_state("0191", JobState::Running, "").await.unwrap();
    let job = store.job("0191").await.unwrap().unwrap();
    assert_eq!((job.setup, job.desired, job.counts.cancelled), (edited, Desired::Run, 0));
    assert!(store.set_state("nobody", JobState::Done, "").await.is_err());
    assert!(store.request("nobody", Desired::Pause).await.is_err());
    assert!(store.desired("nobody").await.is_err());
    store.close().await.unwrap();
}

/// One step of a random run.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Reserve(u64),
    /// The call of one of the open reservations.
    Leave(usize),
    /// Of one of the open reservations; how much of it, in percent.
    Settle(usize, u64),
    Release(usize),
    Record {
        key: u64,
        is_dead: bool,
        cost: u64,
    },
    Reopen {
        crash: bool,
    },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..1_000).prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Leave),
        4 => (any::<usize>(), 0u64..=100).prop_map(|(which, percent)| Step::Settle(which, percent)),
        2 => any::<usize>().prop_map(Step::Release),
        6 => (0u64..12, any::<bool>(), 1u64..50)
            .prop_map(|(key, is_dead, cost)| Step::Record { key, is_dead, cost }),
        1 => any::<bool>().prop_map(|crash| Step::Reopen { crash }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the store should add up to.
#[derive(Default)]
struct Model {
    next: u64,
    open: BTreeMap<u64, u64>,
    left: BTreeSet<u64>,
    billed: u64,
    results: BTreeMap<u64, bool>,
    cost: u64,
}

impl Model {
    fn pick(&self, which: usize) -> Option<HoldRecord> {
        let index = which.checked_rem(self.open.len())?;
        self.open.iter().nth(index).map(|(id, reserved)| hold("j", *id, *reserved))
    }

    async fn check(&self, store: &Store) {
        let state = store.ledger(LedgerScope::All).load().await.unwrap();
        assert_eq!(state.spent.iter().map(|row| row.billed.0).sum::<u64>(), self.billed);
        let open: BTreeMap<u64, u64> = state.open.iter().map(|hold| (hold.id.0, hold.reserved.0)).collect();
        assert_eq!(open, self.open);
        assert_eq!(state.next_hold, self.next);
        assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(self.billed));
        let counts = counts(store, "j").await;
        let dead = self.results.values().filter(|is_dead| **is_dead).count() as u64;
        assert_eq!((counts.done, counts.dead), (self.results.len() as u64 - dead, dead));
        assert_eq!(counts.cost, Micros(self.cost));
        let ended: Vec<EndedKey> = store.ended("j").try_collect().await.unwrap();
        let keys = ended.iter().map(|ended| ended.key).collect();
        assert_eq!(store.keys("j").await.unwrap(), keys);
        let ended: BTreeMap<ItemKey, bool> =
            ended.into_iter().map(|ended| (ended.key, ended.outcome == Outcome::Dead)).collect();
        assert_eq!(ended, self.results.iter().map(|(n, is_dead)| (key(*n), *is_dead)).collect());
    }
}

/// Whatever happens in whatever order: money is neither made nor lost, and a key has one result.
pub(super) async fn any_run_adds_up(fixture: &impl Fixture, steps: Vec<Step>) {
    let mut store = fixture.open().await;
    new_job(&store, "j", "job").await;
    let (mut ledger, mut recorder) = (store.ledger(LedgerScope::All), store.recorder());
    let mut model = Model::default();
    let (mut reserving, mut recording) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Reserve(amount) => {
                reserving.push(ledger.reserve(hold("j", model.next, amount)));
                model.open.insert(model.next, amount);
                model.next += 1;
            }
            Step::Leave(which) => {
                let Some(hold) = model.pick(which) else { continue };
                if model.left.insert(hold.id.0) {
                    all_written(&mut reserving).await;
                    ledger.leave(hold.id).unwrap();
                }
            }
            Step::Settle(which, percent) => {
                let Some(hold) = model.pick(which) else { continue };
                model.open.remove(&hold.id.0);
                let billed = hold.reserved.0 * percent / 100;
                ledger.settle(settled(hold, billed));
                model.billed += billed;
            }
            Step::Release(which) => {
                let Some(hold) = model.pick(which) else { continue };
                model.open.remove(&hold.id.0);
                ledger.release(hold.id);
            }
            Step::Record { key, is_dead, cost } => {
                let record = if is_dead { dead("j", key, "why") } else { done("j", key) };
                recording.push(recorder.record(ResultRecord { cost: Micros(cost), ..record }));
                if model.results.get(&key) != Some(&false) {
                    model.results.insert(key, is_dead);
                    model.cost += cost;
                }
            }
            Step::Reopen { crash: true } => {
                // A call leaves once its reservation is durable. For the rest nobody waits.
                all_written(&mut reserving).await;
                recording.clear();
                fixture.crash(store).await;
                (store, ledger, recorder) = reopened(fixture, &mut model).await;
            }
            Step::Reopen { crash: false } => {
                all_written(&mut reserving).await;
                all_written(&mut recording).await;
                model.check(&store).await;
                store.close().await.unwrap();
                (store, ledger, recorder) = reopened(fixture, &mut model).await;
            }
        }
    }
    all_written(&mut reserving).await;
    all_written(&mut recording).await;
    model.check(&store).await;
    store.close().await.unwrap();
}

async fn all_written(waiting: &mut Vec<BoxFuture<'static, Result<(), StoreError>>>) {
    join_all(waiting.drain(..)).await.into_iter().for_each(|done| done.unwrap());
}

/// Calls that have left and did not end are billed; reservations of the others are gone.
async fn reopened(fixture: &impl Fixture, model: &mut Model) -> (Store, Arc<dyn Ledger>, Arc<dyn Results>) {
    let store = fixture.open().await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    let open = std::mem::take(&mut model.open).into_iter();
    let unknown: u64 = open.filter(|(id, _)| model.left.contains(id)).map(|(_, reserved)| reserved).sum();
    assert_eq!(store.recovered().unknown_amount, Micros(unknown));
    model.billed += unknown;
    model.check(&store).await;
    (store, ledger, recorder)
}
