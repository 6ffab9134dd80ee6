//! Answers that are kept for the same calls, bounded by bytes and age; the oldest go first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use empire_actors::level::Level;
use empire_actors::ports::{CallKey, StoreError, UnixMillis};
use fastbloom::BloomFilter;
use parking_lot::Mutex;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row, SqliteConnection};

use super::Store;
use super::admin::Admin;
use super::error::store_error;
use super::row::{int, time};
use super::writer::Op;

/// What a row takes beside its answer.
const ROW_BYTES: u64 = 100;
/// How much is written between two looks at the size, as a part of what may be kept.
const LOOK_EVERY: u64 = 16;
/// How many rows one statement writes.
const ROWS: usize = 64;
/// How many rows get their entries in `kept_keys` together: one by one, each would touch a page of
/// its own.
const KEYED_AT_ONCE: usize = 32_768;
/// What was kept before is asked for by its key, however rare, if it is more than this.
const MOST_FILTERED: u64 = 250_000;
/// How many keys the filter tells apart well, and how often it then errs: it takes 1.2 MB.
const FILTERED: usize = 1_000_000;
const FILTER_ERRS: f64 = 0.01;

/// One answer to keep.
#[derive(Debug)]
pub(super) struct KeptRow {
    /// How many bytes were kept up to it, ever: rows lie in the order they came, and what lies
    /// between two is known.
    id: i64,
    key: CallKey,
    level: Level,
    answer: Box<str>,
    at: UnixMillis,
}

/// The beginning of a key; enough to find it.
type Start = [u8; 8];

fn start(key: &CallKey) -> Start {
    let mut start = Start::default();
    start.copy_from_slice(&key.0[..8]);
    start
}

/// What is known of a data folder's kept answers without asking it.
#[derive(Default)]
pub(super) struct Recent(Mutex<Known>);

#[derive(Default)]
struct Known {
    last_id: i64,
    /// The newest rows, which are not in `kept_keys` yet.
    unkeyed: HashMap<(Start, Level), i64>,
    /// Those before them: their keys are on the way there.
    being_keyed: HashMap<(Start, Level), i64>,
    /// What may be there at all; nothing while that is not known.
    filter: Option<BloomFilter>,
}

impl Known {
    /// Whether a key may be there, and its newest row if that is not found by its key.
    fn look(&self, key: &CallKey, level: Level) -> Option<Option<i64>> {
        let start = start(key);
        if self.filter.as_ref().is_some_and(|filter| !filter.contains(&start)) {
            return None;
        }
        let find = |rows: &HashMap<_, i64>| rows.get(&(start, level)).copied();
        Some(find(&self.unkeyed).or_else(|| find(&self.being_keyed)))
    }

    /// The id of a new row of so many bytes.
    fn add(&mut self, key: &CallKey, level: Level, bytes: u64) -> i64 {
        let start = start(key);
        self.last_id += int(bytes);
        self.unkeyed.insert((start, level), self.last_id);
        if let Some(filter) = &mut self.filter {
            filter.insert(&start);
        }
        self.last_id
    }
}

/// The kept answers of a data folder.
#[derive(Clone)]
pub struct KeptAnswers {
    store: Store,
    most_bytes: u64,
    max_age: Duration,
    most_level: Level,
    /// Written since the size was last looked at.
    written: Arc<AtomicU64>,
}

impl KeptAnswers {
    /// The answers that `store` keeps, at most `most_bytes` of them, none older than `max_age` and
    /// none of a level above `most_level`. What is more than that goes now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(
        store: &Store,
        most_bytes: u64,
        max_age: Duration,
        most_level: Level,
    ) -> Result<KeptAnswers, StoreError> {
        let kept =
            KeptAnswers { store: store.clone(), most_bytes, max_age, most_level, written: Arc::default() };
        store.administer(kept.pruning()).await?;
        store.administer(Admin::KeyKept { up_to: i64::MAX }).await?;
        kept.learn().await.map_err(store_error)?;
        Ok(kept)
    }

    /// Reads how far the rows go, and the keys that are there if they are few.
    async fn learn(&self) -> Result<(), sqlx::Error> {
        let readers = self.store.readers();
        let last: i64 = sqlx::query_scalar(
            "SELECT max(keyed_to, coalesce((SELECT max(id) FROM kept), 0)) FROM kept_state",
        )
        .fetch_one(readers)
        .await?;
        // In one row, since that is soon there.
        let starts: String = sqlx::query_scalar(
            "SELECT coalesce(group_concat(hex(start), ''), '') FROM (SELECT start FROM kept_keys LIMIT $1)",
        )
        .bind(int(MOST_FILTERED + 1))
        .fetch_one(readers)
        .await?;
        let starts = starts.as_bytes().chunks(2 * size_of::<Start>());
        let mut known = self.store.kept().0.lock();
        known.last_id = known.last_id.max(last);
        // What another one has put in the meantime is in its filter alone.
        if known.filter.is_none() && known.unkeyed.is_empty() && starts.len() as u64 <= MOST_FILTERED {
            let mut filter = BloomFilter::with_false_pos(FILTER_ERRS).expected_items(FILTERED);
            for start in starts.filter_map(|hex| u64::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()) {
                filter.insert(&start.to_be_bytes());
            }
            known.filter = Some(filter);
        }
        Ok(())
    }

    /// Drops all that `store` keeps.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clear(store: &Store) -> Result<(), StoreError> {
        store.administer(Admin::ClearKept).await.map(drop)
    }

    /// What time it is, as answers are dated.
    pub(crate) fn now(&self) -> UnixMillis {
        self.store.now()
    }

    /// Answers from before this are too old.
    pub(crate) fn oldest(&self) -> UnixMillis {
        let age = i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX);
        UnixMillis(self.store.now().0.saturating_sub(age))
    }

    fn pruning(&self) -> Admin {
        // Room for what may be written until the next look.
        let most_bytes = self.most_bytes - self.most_bytes / LOOK_EVERY * 2;
        Admin::PruneKept { most_bytes, oldest: self.oldest(), most_level: self.most_level }
    }

    /// The answer that is kept for a call of `level`, and since when.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn get(
        &self,
        key: CallKey,
        level: Level,
    ) -> Result<Option<(Arc<str>, UnixMillis)>, StoreError> {
        let Some(unkeyed) = self.store.kept().0.lock().look(&key, level) else { return Ok(None) };
        let sql = "SELECT answer, at FROM kept \
                   WHERE id IN (SELECT id FROM kept_keys WHERE start = $1 UNION ALL SELECT $2) \
                   AND call_key = $3 AND level = $4 AND at >= $5 ORDER BY id DESC LIMIT 1";
        let query = sqlx::query(sql).bind(&key.0[..8]).bind(unkeyed).bind(&key.0[..]);
        let query = query.bind(level.as_u8()).bind(self.oldest().0);
        let row = query.fetch_optional(self.store.readers()).await.map_err(store_error)?;
        let read = |row: SqliteRow| Ok((row.try_get::<&str, _>("answer")?.into(), time(&row, "at")?));
        row.map(read).transpose().map_err(store_error)
    }

    /// Keeps an answer, in the place of an earlier one. Returns at once; written with the next
    /// commit. One that is too large to share the room with others is not kept.
    ///
    /// # Errors
    /// If the store is closed.
    pub fn put(&self, key: CallKey, level: Level, answer: &str) -> Result<(), StoreError> {
        let (bytes, look_every) = (answer.len() as u64 + ROW_BYTES, self.most_bytes / LOOK_EVERY);
        if bytes > look_every {
            return Ok(());
        }
        self.give(key, level, answer, bytes)?;
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > look_every {
            self.written.store(0, Ordering::Relaxed);
            self.store.writer().offer(Op::Admin(self.pruning()))?;
        }
        Ok(())
    }

    /// Gives a row to the writer. Under one lock with its id: they are written in the order of their
    /// ids, so that none is passed over when those before another get their keys.
    fn give(&self, key: CallKey, level: Level, answer: &str, bytes: u64) -> Result<(), StoreError> {
        let mut known = self.store.kept().0.lock();
        let id = known.add(&key, level, bytes);
        let row = KeptRow { id, key, level, answer: answer.into(), at: self.store.now() };
        self.store.writer().offer(Op::Keep(row))?;
        if known.unkeyed.len() >= KEYED_AT_ONCE {
            self.store.writer().offer(Op::Admin(Admin::KeyKept { up_to: id }))?;
            known.being_keyed = std::mem::take(&mut known.unkeyed);
        }
        Ok(())
    }
}

/// Writes rows.
pub(super) async fn write(rows: &[&KeptRow], connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(ROWS) {
        let mut sql =
            QueryBuilder::<Sqlite>::new("INSERT OR FAIL INTO kept (id, call_key, level, answer, at) ");
        sql.push_values(rows, |mut values, row| {
            values
                .push_bind(row.id)
                .push_bind(&row.key.0[..])
                .push_bind(row.level.as_u8())
                .push_bind(&*row.answer)
                .push_bind(row.at.0);
        });
        sql.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Lets the rows up to `up_to` be found by their keys. Gives how many were not.
pub(super) async fn key_rows(connection: &mut SqliteConnection, up_to: i64) -> Result<u64, sqlx::Error> {
    let keyed = sqlx::query(
        "INSERT OR IGNORE INTO kept_keys (start, id) SELECT substr(call_key, 1, 8), id FROM kept \
         WHERE id > (SELECT keyed_to FROM kept_state) AND id <= $1 ORDER BY 1, 2",
    )
    .bind(up_to)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE kept_state SET keyed_to = max(keyed_to, coalesce((SELECT max(id) FROM kept WHERE id <= $1), 0))",
    )
    .bind(up_to)
    .execute(connection)
    .await?;
    Ok(keyed.rows_affected())
}

/// Drops what is older than `oldest` or above `most_level`, and the oldest of the rest beyond
/// `most_bytes`.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    most_bytes: u64,
    oldest: UnixMillis,
    most_level: Level,
) -> Result<u64, sqlx::Error> {
    // Rows lie in the order of time: only those that go are read.
    let old = sqlx::query(
        "DELETE FROM kept WHERE id < coalesce((SELECT id FROM kept WHERE at >= $1 ORDER BY id LIMIT 1), \
         9223372036854775807) OR id <= (SELECT max(id) FROM kept) - $2",
    )
    .bind(oldest.0)
    .bind(int(most_bytes))
    .execute(&mut *connection)
    .await?;
    let mut gone = old.rows_affected();
    if most_level < Level::P3 {
        // As the index over them says it.
        let private = sqlx::query("DELETE FROM kept WHERE level = 3").execute(&mut *connection).await?;
        gone += private.rows_affected();
    }
    if gone > 0 {
        let first = "SELECT coalesce(min(id), 9223372036854775807) FROM kept";
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM kept_keys WHERE id < (");
        sql.push(first).push(")").build().execute(connection).await?;
    }
    Ok(gone)
}

/// Drops all.
pub(super) async fn clear(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    sqlx::query("DELETE FROM kept_keys").execute(&mut *connection).await?;
    Ok(sqlx::query("DELETE FROM kept").execute(connection).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;
    use crate::home::Home;
    use crate::run::system::Hands;

    const DAY: Duration = Duration::from_secs(86_400);

    fn key(n: u32) -> CallKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        CallKey(key)
    }

    async fn size(store: &Store) -> u64 {
        let sql = "SELECT CAST(coalesce(sum(length(answer)), 0) AS INTEGER) FROM kept";
        let bytes: i64 = sqlx::query_scalar(sql).fetch_one(store.readers()).await.unwrap();
        bytes.unsigned_abs()
    }

    async fn flush(store: &Store) {
        store.writer().submit(Op::Flush).await.unwrap();
    }

    #[tokio::test]
    async fn kept_answers_are_found_by_call_and_level_until_they_are_old_or_too_many() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_700_000_000_000)));
        let store = Store::open(home.lock().unwrap(), clock.clone()).await.unwrap();
        let kept = KeptAnswers::open(&store, 64_000, DAY, Level::P3).await.unwrap();
        kept.put(key(1), Level::P1, "old").unwrap();
        kept.put(key(1), Level::P1, "one").unwrap();
        flush(&store).await;
        let one = kept.get(key(1), Level::P1).await.unwrap();
        assert_eq!(one, Some(("one".into(), UnixMillis(1_700_000_000_000))));
        assert_eq!(kept.get(key(1), Level::P0).await.unwrap(), None, "levels are apart");
        assert_eq!(kept.get(key(2), Level::P1).await.unwrap(), None);

        // Far more than there is room for.
        let answer = "x".repeat(1_000);
        for n in 10..500 {
            clock.0.fetch_add(1, Ordering::Relaxed);
            kept.put(key(n), Level::P1, &answer).unwrap();
            if n % 7 == 0 {
                flush(&store).await;
                assert!(size(&store).await <= 64_000);
            }
        }
        kept.put(key(3), Level::P1, &"x".repeat(5_000)).unwrap();
        flush(&store).await;
        assert_eq!(kept.get(key(1), Level::P1).await.unwrap(), None, "the oldest goes first");
        assert_eq!(kept.get(key(3), Level::P1).await.unwrap(), None, "one that is too large");
        assert!(kept.get(key(499), Level::P1).await.unwrap().is_some());
        assert!(size(&store).await > 32_000, "the room is used");

        clock.0.fetch_add(86_400_001, Ordering::Relaxed);
        assert_eq!(kept.get(key(499), Level::P1).await.unwrap(), None, "too old");
        KeptAnswers::open(&store, 64_000, DAY, Level::P3).await.unwrap();
        assert_eq!(size(&store).await, 0, "and gone when it is opened");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_is_found_before_and_after_its_key_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_700_000_000_000)));
        let keyed = u32::try_from(KEYED_AT_ONCE).unwrap();
        let store = Store::open(home.lock().unwrap(), clock.clone()).await.unwrap();
        let kept = KeptAnswers::open(&store, 64_000_000, DAY, Level::P3).await.unwrap();
        let there = async |kept: &KeptAnswers, n: u32| {
            let found = kept.get(key(n), Level::P1).await.unwrap();
            found.map(|(answer, _)| answer.to_string())
        };
        for n in 0..keyed + 10 {
            kept.put(key(n), Level::P1, &n.to_string()).unwrap();
        }
        kept.put(key(3), Level::P1, "three anew").unwrap();
        flush(&store).await;
        let in_keys = "SELECT count(*) FROM kept_keys";
        let count: i64 = sqlx::query_scalar(in_keys).fetch_one(store.readers()).await.unwrap();
        assert_eq!(count, i64::from(keyed));
        for again in [false, true] {
            // Another one over the same store knows no less, and gives what came later its keys.
            let other = KeptAnswers::open(&store, 64_000_000, DAY, Level::P3).await.unwrap();
            for kept in [&kept, &other] {
                assert_eq!(there(kept, 0).await.as_deref(), Some("0"), "{again}");
                assert_eq!(there(kept, 3).await.as_deref(), Some("three anew"), "{again}");
                assert_eq!(there(kept, keyed + 9).await, Some((keyed + 9).to_string()), "{again}");
                assert_eq!(there(kept, keyed + 10).await, None, "{again}");
            }
        }
        store.close().await.unwrap();
        let store = Store::open(home.lock().unwrap(), clock).await.unwrap();
        let kept = KeptAnswers::open(&store, 64_000_000, DAY, Level::P3).await.unwrap();
        kept.put(key(keyed + 10), Level::P1, "new").unwrap();
        flush(&store).await;
        for (n, said) in [(3, "three anew"), (keyed + 9, &(keyed + 9).to_string()), (keyed + 10, "new")] {
            assert_eq!(there(&kept, n).await.as_deref(), Some(said));
        }
        store.close().await.unwrap();
    }
}
