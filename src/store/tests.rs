//! The conformance suite on SQLite, and what only a file can suffer.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use empire_actors::gates::audit::{Act, Decision, Found};
use empire_actors::level::{Level, Zone};
use empire_actors::money::Micros;
use empire_actors::ports::*;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use sqlx::{Connection, Row};

use super::admin::Admin;
use super::conformance::{self as suite, Fixture, NOW, done, hold, new_job, settled, setup};
use super::writer::Op;
use super::*;

mod earlier;

struct Fixed;

impl WallClock for Fixed {
    fn now(&self) -> UnixMillis {
        NOW
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn home(&self) -> Home {
        home_at(self.0.path())
    }

    fn database(&self) -> PathBuf {
        self.0.path().join(open::DATABASE)
    }

    async fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(self.home().lock().unwrap(), Arc::new(Fixed)).await
    }

    /// One job and a few thousand results, closed in order.
    async fn filled(&self) {
        let store = self.open().await;
        new_job(&store, "j", "job").await;
        let recorder = store.recorder();
        join_all((0..3_000).map(|n| recorder.record(done("j", n)))).await;
        store.close().await.unwrap();
    }

    async fn raw(&self) -> SqliteConnection {
        open::options(self.0.path()).connect().await.unwrap()
    }
}

impl Fixture for Folder {
    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    async fn crash(&self, store: Store) {
        assert_eq!(store.writer.submit(Op::Crash).await, Err(StoreError::Closed));
    }
}

fn home_at(dir: &Path) -> Home {
    Home::resolve(Some(dir.to_owned()), |_| None).unwrap()
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            suite::$name(&Folder::new()).await;
        }
    )*};
}
conforms!(
    a_result_is_recorded_once_unless_it_was_dead,
    operations_take_effect_in_the_order_given,
    one_bad_operation_fails_alone,
    a_dead_process_forgets_nothing_paid,
    what_a_dead_process_left_open_is_billed,
    ledgers_count_what_their_scope_says,
    input_and_results_come_back_in_order,
    an_edited_input_counts_what_is_in_it,
    forgetting_moves_the_counters,
    jobs_are_found_and_told_what_to_do,
    an_alert_has_one_row_that_outlives_a_crash,
    who_knows_of_an_alert_knows_of_that_one,
);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_run_adds_up(steps in suite::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(suite::any_run_adds_up(&Folder::new(), steps));
    }
}

#[tokio::test]
async fn a_full_disk_fails_what_waits_and_loses_nothing_else() {
    let folder = Folder::new();
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    for id in 0..3 {
        ledger.reserve(hold("j", id, 100)).await.unwrap();
    }
    let pragma = |sql: &str| store.administer(Admin::Pragma(sql.to_owned()));
    // The database may not grow any more: the same error, from the same place, as a full disk.
    pragma("PRAGMA max_page_count = 1").await.unwrap();
    let huge = ResultRecord { verdict: Verdict::Done("x".repeat(1 << 20).into()), ..done("j", 1) };
    // Nothing is awaited in between: these share a commit.
    ledger.settle(settled(hold("j", 0, 100), 40));
    ledger.release(HoldId(1));
    let reserved = ledger.reserve(hold("j", 3, 100));
    let recorded = recorder.record(huge.clone());
    assert_eq!(recorded.await, Err(StoreError::DiskFull));
    assert_eq!(reserved.await, Err(StoreError::DiskFull));
    assert_eq!(store.job("j").await.unwrap().unwrap().counts.done, 0);
    assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(0));

    pragma("PRAGMA max_page_count = 100000").await.unwrap();
    recorder.record(huge).await.unwrap();
    let state = ledger.load().await.unwrap();
    assert_eq!(state.open, [hold("j", 2, 100)]);
    assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(40));
    assert_eq!(store.job("j").await.unwrap().unwrap().counts.done, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_says_so_and_what_to_do() {
    let folder = Folder::new();
    folder.filled().await;
    let whole = fs::read(folder.database()).unwrap();
    let damage = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0xa5);
        fs::write(folder.database(), bytes).unwrap();
    };
    for range in [0..100, whole.len() / 2..whole.len() / 2 + 8_192] {
        damage(range);
        let error = folder.try_open().await.err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("results.jsonl"), "{error}");
        assert!(error.to_string().contains(folder.database().to_str().unwrap()), "{error}");
    }
    fs::write(folder.database(), &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(folder.try_open().await, Err(OpenError::Damaged { .. })));
    // Whole again, and the lock was let go each time.
    fs::write(folder.database(), &whole).unwrap();
    folder.open().await.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_database_names_both_versions() {
    let folder = Folder::new();
    folder.filled().await;
    let mut raw = folder.raw().await;
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', true, x'00', 1); UPDATE meta SET value = '7.8.9' WHERE name = 'program'",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
    for error in [folder.try_open().await.err(), Store::watch(&folder.home(), Arc::new(Fixed)).await.err()] {
        let words = error.unwrap().to_string();
        for version in ["7.8.9", "99", env!("CARGO_PKG_VERSION")] {
            assert!(words.contains(version), "{words}");
        }
    }
}

#[tokio::test]
async fn another_process_looks_and_asks_but_does_not_write() {
    let folder = Folder::new();
    // New: it is prepared, and shows no jobs.
    let empty = Store::watch(&folder.home(), Arc::new(Fixed)).await.unwrap();
    assert!(empty.list_jobs().await.unwrap().is_empty());
    empty.close().await.unwrap();

    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let other = Store::watch(&folder.home(), Arc::new(Fixed)).await.unwrap();
    other.request("j", Desired::Pause).await.unwrap();
    assert_eq!(store.desired("j").await.unwrap(), Desired::Pause);
    store.recorder().record(done("j", 1)).await.unwrap();
    assert_eq!(other.find_job("j").await.unwrap().counts.done, 1);
    assert!(other.set_state("j", JobState::Done, "").await.is_err());
    assert!(other.stop_idle("j", JobState::Cancelled, "by request").await.unwrap());
    assert_eq!(store.find_job("j").await.unwrap().state, JobState::Cancelled);
    store.set_state("j", JobState::Running, "").await.unwrap();
    assert!(!other.stop_idle("j", JobState::Cancelled, "by request").await.unwrap());
    assert!(other.recorder().record(done("j", 2)).await.is_err());
    assert!(folder.home().is_locked().unwrap());
    other.close().await.unwrap();
    store.close().await.unwrap();
    assert!(!folder.home().is_locked().unwrap());
}

#[tokio::test]
async fn a_dropped_store_writes_what_was_given() {
    let folder = Folder::new();
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let ledger = store.ledger(LedgerScope::All);
    ledger.reserve(hold("j", 0, 100)).await.unwrap();
    ledger.settle(settled(hold("j", 0, 100), 40));
    drop((ledger, store));
    // The writer lets go of the lock when it is done.
    let store = loop {
        match folder.home().lock() {
            Ok(lock) => break Store::open(lock, Arc::new(Fixed)).await.unwrap(),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(store.recovered(), Recovered::default());
    assert_eq!(store.ledger_sum("j").await.unwrap(), Micros(40));
    store.close().await.unwrap();
}

/// A killed run whose call 0 has left, while call 1 waits.
async fn killed(folder: &Folder) {
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let ledger = store.ledger(LedgerScope::All);
    for id in 0..2 {
        ledger.reserve(hold("j", id, 100)).await.unwrap();
    }
    ledger.leave(HoldId(0)).unwrap();
    folder.crash(store).await;
}

#[tokio::test]
async fn after_a_power_cut_every_reservation_counts_as_sent() {
    let spoil: [&dyn Fn(&Path); 3] = [
        &|spool| fs::write(spool, fs::read_to_string(spool).unwrap().replacen("boot ", "boot 0", 1)).unwrap(),
        &|spool| fs::OpenOptions::new().append(true).open(spool).unwrap().write_all(b"9 {\"leav").unwrap(),
        &|spool| fs::remove_file(spool).unwrap(),
    ];
    for spoil in spoil {
        let folder = Folder::new();
        killed(&folder).await;
        spoil(&folder.0.path().join("spool.0"));
        let store = folder.open().await;
        let expected = Recovered { unknown_calls: 2, unknown_amount: Micros(200), interrupted_jobs: 0 };
        assert_eq!(store.recovered(), expected);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_spool_that_cannot_be_replayed_says_what_to_do() {
    let folder = Folder::new();
    killed(&folder).await;
    let path = folder.0.path().join("spool.0");
    let fact = spool::Fact::Recorded(Box::new(done("nobody", 1)));
    let line = format!("7 {}\n", serde_json::to_string(&fact).unwrap());
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(line.as_bytes()).unwrap();
    for _ in 0..2 {
        let error = folder.try_open().await.err().unwrap().to_string();
        assert!(error.contains("nobody") && error.contains("spool.0") && error.contains("move"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let store = folder.open().await;
    assert_eq!(store.recovered().unknown_calls, 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_spool_stays_small_and_goes_when_all_is_written() {
    const ENDS: u64 = 4_000;
    let folder = Folder::new();
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    let bytes = || ["spool.0", "spool.1"].map(|name| fs::metadata(folder.0.path().join(name)).unwrap().len());
    let mut most = 0;
    for start in (0..ENDS).step_by(500) {
        let ids = start..start + 500;
        let verdict = Verdict::Done("x".repeat(1_000).into());
        let paid = ResultRecord { cost: Micros(1), verdict, ..done("j", 0) };
        let paid = ids
            .map(|id| recorder.record(ResultRecord { key: suite::key(id), item: id as u32, ..paid.clone() }));
        join_all(paid).await.into_iter().for_each(|done| done.unwrap());
        most = most.max(bytes().iter().sum());
    }
    assert!((1 << 20..3 << 20).contains(&most), "4 MB went through it, and {most} bytes were there");
    folder.crash(store).await;
    drop(ledger);
    let store = folder.open().await;
    assert_eq!(store.job("j").await.unwrap().unwrap().counts.done, ENDS);
    assert!(bytes().iter().all(|bytes| *bytes < 100));
    store.close().await.unwrap();
    let is_there = |name: &str| folder.0.path().join(name).try_exists().unwrap();
    assert!(!is_there("spool.0") && !is_there("spool.1"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    for file in fs::read_dir(folder.0.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    store.close().await.unwrap();
}

/// Where the child of the next test works; unset in an ordinary run.
const CHILD_FOLDER: &str = "EMPIRE_TEST_KILLED_CHILD";
const ROUND: u64 = 48;
const RESERVED: u64 = 100;

/// Works until it is killed, and says what outlives it: `l` that a call leaves, `d` its settlement
/// and its result, whose commit it does not wait for.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how the next test talks to its child")]
async fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_FOLDER) else { return };
    let home = home_at(Path::new(&dir));
    let store = Store::open(home.lock().unwrap(), Arc::new(Fixed)).await.unwrap();
    let (ledger, recorder) = (store.ledger(LedgerScope::All), store.recorder());
    let first = ledger.load().await.unwrap().next_hold;
    let say = |word: char, ids: std::ops::Range<u64>| {
        let lines: String = ids.map(|id| format!("\n{word} {id}\n")).collect();
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
    };
    for start in (first..).step_by(ROUND as usize) {
        let ids = start..start + ROUND;
        let reserved = ids.clone().map(|id| ledger.reserve(hold("j", id, RESERVED)));
        join_all(reserved).await.into_iter().for_each(|done| done.unwrap());
        ids.clone().for_each(|id| ledger.leave(HoldId(id)).unwrap());
        say('l', ids.clone());
        for id in ids.clone() {
            ledger.settle(settled(hold("j", id, RESERVED), id % RESERVED));
            drop(recorder.record(done("j", id)));
        }
        say('d', ids);
    }
}

#[tokio::test]
async fn kill_dash_nine_loses_nothing_that_was_answered_for() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create_job(NewJob { id: "j".into(), simulated: false, setup: setup("job") }).await.unwrap();
    store.close().await.unwrap();
    let (mut left, mut recorded) = (BTreeSet::new(), BTreeSet::new());
    for lines in [1, 70, 500] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_is_killed", "--nocapture"])
            .env(CHILD_FOLDER, folder.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        for line in output.lines() {
            let line = line.unwrap();
            let (word, id) = line.split_once(' ').unwrap_or_default();
            let (Ok(id), "l" | "d") = (id.parse::<u64>(), word) else { continue };
            if word == "l" {
                left.insert(id)
            } else {
                recorded.insert(id)
            };
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= lines, "the child ended by itself after {seen} lines");
        check_after_kill(&folder, &left, &recorded).await;
    }
}

async fn check_after_kill(folder: &Folder, left: &BTreeSet<u64>, recorded: &BTreeSet<u64>) {
    let store = folder.open().await;
    let unknown = store.recovered().unknown_calls;
    let ended: Vec<EndedKey> = store.ended("j").try_collect().await.unwrap();
    let keys: BTreeSet<ItemKey> = ended.iter().map(|ended| ended.key).collect();
    assert_eq!(keys.len(), ended.len());
    assert!(recorded.iter().all(|id| keys.contains(&suite::key(*id))));
    let counts = store.job("j").await.unwrap().unwrap().counts;
    assert_eq!((counts.done, counts.cost), (keys.len() as u64, Micros(7 * keys.len() as u64)));
    assert!(store.unknown_total("j").await.unwrap().calls >= unknown);
    let state = store.ledger(LedgerScope::All).load().await.unwrap();
    assert!(state.open.is_empty());
    assert!(left.last().is_none_or(|last| *last < state.next_hold));
    store.close().await.unwrap();

    let mut raw = folder.raw().await;
    let rows = sqlx::query("SELECT * FROM ledger").fetch_all(&mut raw).await.unwrap();
    raw.close().await.unwrap();
    let mut billed = BTreeSet::new();
    for row in rows {
        let (hold, amount): (i64, i64) = (row.get("hold"), row.get("billed"));
        let (hold, amount) = (hold as u64, amount as u64);
        billed.insert(hold);
        match row.get("certainty") {
            "settled" => assert_eq!(amount, hold % RESERVED),
            _ => assert!(amount == RESERVED && !recorded.contains(&hold), "reservation {hold}"),
        }
    }
    assert!(left.is_subset(&billed));
}

#[tokio::test]
async fn decisions_are_forgotten_after_400_days_and_what_was_paid_is_not() {
    const DAY_MS: i64 = 86_400_000;
    let folder = Folder::new();
    let store = folder.open().await;
    new_job(&store, "j", "job").await;
    let audit = store.audit().await.unwrap();
    for days_ago in [900, 401, 399, 0] {
        let decision = Decision {
            at: UnixMillis(NOW.0 - days_ago * DAY_MS),
            job: "j".into(),
            item: 7,
            provider: "p".into(),
            model: "m".to_owned(),
            zone: Zone::Cloud,
            declared: Level::P1,
            level: Level::P1,
            act: Act::Allow,
            found: Found::default(),
            content: [0; 32],
        };
        audit.decided(decision).unwrap();
    }
    drop(audit);
    store.close().await.unwrap();
    let mut raw = folder.raw().await;
    sqlx::query(
        "INSERT INTO ledger (hold, job, role, item, provider, model, reserved, billed, certainty, input_tokens, \
         cached_tokens, cache_write_tokens, output_tokens, reserved_at, sent_at, settled_at) \
         VALUES (1, 'j', 'research', 7, 'p', 'm', 5, 5, 'metered', 0, 0, 0, 0, 1, 1, 1)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
    let store = folder.open().await;
    let ages: Vec<i64> =
        store.decisions("j", 7).await.unwrap().iter().map(|made| (NOW.0 - made.at.0) / DAY_MS).collect();
    assert_eq!(ages, [399, 0]);
    let paid: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(store.readers()).await.unwrap();
    assert_eq!(paid, 1);
    store.close().await.unwrap();
}
