//! Answers that are kept for the same calls, bounded by bytes and age; the oldest go first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use empire_actors::level::Level;
use empire_actors::ports::{CallKey, StoreError, UnixMillis};
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

/// One answer to keep.
#[derive(Debug)]
pub(super) struct KeptRow {
    key: CallKey,
    level: Level,
    answer: Box<str>,
    at: UnixMillis,
}

impl KeptRow {
    fn bytes(&self) -> u64 {
        self.answer.len() as u64 + ROW_BYTES
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
        Ok(kept)
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
        let sql = "SELECT answer, at FROM kept WHERE call_key = $1 AND level = $2 AND at >= $3";
        let query = sqlx::query(sql).bind(&key.0[..]).bind(level.as_u8()).bind(self.oldest().0);
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
        let row = KeptRow { key, level, answer: answer.into(), at: self.store.now() };
        let (bytes, look_every) = (row.bytes(), self.most_bytes / LOOK_EVERY);
        if bytes > look_every {
            return Ok(());
        }
        self.store.writer().offer(Op::Keep(row))?;
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > look_every {
            self.written.store(0, Ordering::Relaxed);
            self.store.writer().offer(Op::Admin(self.pruning()))?;
        }
        Ok(())
    }
}

/// Writes rows; of equal keys the last one stays.
pub(super) async fn write(rows: &[&KeptRow], connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(ROWS) {
        let mut sql =
            QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO kept (call_key, level, answer, bytes, at) ");
        sql.push_values(rows, |mut values, row| {
            values
                .push_bind(&row.key.0[..])
                .push_bind(row.level.as_u8())
                .push_bind(&*row.answer)
                .push_bind(int(row.bytes()))
                .push_bind(row.at.0);
        });
        sql.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops what is older than `oldest` or above `most_level`, and the oldest of the rest beyond
/// `most_bytes`.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    most_bytes: u64,
    oldest: UnixMillis,
    most_level: Level,
) -> Result<u64, sqlx::Error> {
    let old = sqlx::query("DELETE FROM kept WHERE at < $1 OR level > $2")
        .bind(oldest.0)
        .bind(most_level.as_u8())
        .execute(&mut *connection)
        .await?;
    let sql = "DELETE FROM kept WHERE (call_key, level) IN (SELECT call_key, level FROM (SELECT call_key, level, \
               sum(bytes) OVER (ORDER BY at DESC, call_key, level) AS up_to FROM kept) WHERE up_to > $1)";
    let beyond = sqlx::query(sql).bind(int(most_bytes)).execute(connection).await?;
    Ok(old.rows_affected() + beyond.rows_affected())
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
}
