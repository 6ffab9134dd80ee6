//! The input as stored: a cohort's share in each row.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use empire_actors::level::Level;
use empire_actors::ports::{Chunk, Item, ItemKey, Items, Part, StoreError};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, TryStreamExt};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::Store;
use super::admin::{Admin, STEP};
use super::error::{store_error, unreadable};
use super::jobs::{JobState, found};
use super::results::Outcome;
use super::row::number;
use super::writer::Op;

/// The most items in one chunk: a cohort's.
const CHUNK_ITEMS: usize = 1_024;
/// Chunks on their way to the disk at once: they share a commit.
const IN_FLIGHT: usize = 8;
/// The level byte of an item without a level of its own.
const NO_LEVEL: u8 = u8::MAX;

/// What a job's input came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Cohorts.
    pub cohorts: u32,
    /// Items.
    pub items: u64,
    /// Different items.
    pub distinct: u64,
    /// Different items that had an answer already.
    pub done: u64,
    /// Different items that had ended without one.
    pub dead: u64,
}

/// A chunk as its row holds it.
#[derive(Debug)]
pub(super) struct StoredChunk {
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) keys: Vec<u8>,
    pub(super) levels: Vec<u8>,
    pub(super) rows: String,
}

impl StoredChunk {
    fn pack(chunk: &Chunk, expected_first: u64) -> Result<StoredChunk, StoreError> {
        let items = &chunk.items;
        if items.is_empty() || items.len() > CHUNK_ITEMS {
            let length = items.len();
            return Err(StoreError::Failed(format!("a chunk of {length} items: 1 to {CHUNK_ITEMS} fit")));
        }
        for (item, number) in items.iter().zip(expected_first..) {
            if u64::from(item.number) != number {
                let found = item.number;
                return Err(StoreError::Failed(format!("item {found} stands where item {number} should")));
            }
        }
        let mut rows = String::with_capacity(items.iter().map(|item| item.row.len() + 1).sum());
        for item in items {
            // Between JSON's tokens a line break is but white space; within them there is none.
            rows.extend(item.row.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
            rows.push('\n');
        }
        Ok(StoredChunk {
            first: items[0].number,
            count: items.len() as u32,
            keys: items.iter().flat_map(|item| item.key.0).collect(),
            levels: items.iter().map(|item| item.level.map_or(NO_LEVEL, Level::as_u8)).collect(),
            rows,
        })
    }
}

pub(super) fn unpack(row: &SqliteRow) -> Result<Chunk, sqlx::Error> {
    let first: u32 = number(row, "first_item")?;
    let count: usize = number(row, "item_count")?;
    let (keys, rest) = row.try_get::<&[u8], _>("item_keys")?.as_chunks::<16>();
    let levels: &[u8] = row.try_get("levels")?;
    let rows: Vec<&str> = row.try_get::<&str, _>("item_rows")?.lines().collect();
    if !rest.is_empty() || [keys.len(), levels.len(), rows.len()] != [count; 3] {
        return Err(unreadable(format_args!("chunk at item {first}")));
    }
    let items = (first..).zip(keys).zip(levels).zip(rows);
    let items = items.map(|(((number, key), level), row)| {
        let level = match *level {
            NO_LEVEL => None,
            other => Some(
                Level::from_u8(other).ok_or_else(|| unreadable(format_args!("level of item {number}")))?,
            ),
        };
        Ok(Item { number, key: ItemKey(*key), level, row: row.into() })
    });
    Ok(Chunk { items: items.collect::<Result<_, sqlx::Error>>()? })
}

impl Store {
    /// Reads a job's input in, in place of any before. The job is [`JobState::Admitting`] until
    /// the end, and [`JobState::Paused`] then; a failure on the way leaves it admitting, to be
    /// read in again. Results of items that are no longer in the input are kept, uncounted, and
    /// count again should their items come back.
    ///
    /// # Errors
    /// What `chunks` gives; if chunks do not follow on each other; if there is no such job; if
    /// the store fails.
    pub async fn replace_chunks<S, E>(&self, job: &str, chunks: S) -> Result<Admitted, E>
    where
        S: Stream<Item = Result<Chunk, E>>,
        E: From<StoreError>,
    {
        self.set_state(job, JobState::Admitting, "").await?;
        let mut chunks = pin!(chunks);
        let mut on_the_way: VecDeque<BoxFuture<'static, Result<u64, StoreError>>> = VecDeque::new();
        let mut keys: Vec<ItemKey> = Vec::new();
        let mut cohorts = 0;
        while let Some(chunk) = chunks.try_next().await? {
            let stored = StoredChunk::pack(&chunk, keys.len() as u64)?;
            keys.extend(chunk.items.iter().map(|item| item.key));
            if on_the_way.len() == IN_FLIGHT
                && let Some(oldest) = on_the_way.pop_front()
            {
                oldest.await?;
            }
            let put = Admin::PutChunk { job: job.to_owned(), cohort: cohorts, chunk: stored };
            on_the_way.push_back(self.writer().submit(Op::Admin(put)));
            cohorts += 1;
        }
        for written in on_the_way {
            written.await?;
        }
        let items = keys.len() as u64;
        keys.sort_unstable();
        keys.dedup();
        let (done, dead) = self.sort_out_stale(job, &keys).await?;
        let admitted = Admitted { cohorts, items, distinct: keys.len() as u64, done, dead };
        self.finish_admission(job, admitted).await?;
        Ok(admitted)
    }

    async fn finish_admission(&self, job: &str, admitted: Admitted) -> Result<(), StoreError> {
        let Admitted { cohorts, items, distinct, done, dead } = admitted;
        let admin = Admin::Admitted { job: job.to_owned(), cohorts, items, distinct, done, dead };
        found(job, self.administer(admin).await?)
    }

    /// Marks results by whether their item is among `input` (sorted); gives how many of the
    /// input's are done and dead.
    async fn sort_out_stale(&self, job: &str, input: &[ItemKey]) -> Result<(u64, u64), StoreError> {
        let (mut done, mut dead) = (0, 0);
        let (mut gone, mut back) = (Vec::new(), Vec::new());
        let mut ended = pin!(self.done_keys(job, Part::Item));
        while let Some(key) = ended.try_next().await? {
            let is_in_input = input.binary_search(&key.key).is_ok();
            match key.outcome {
                _ if !is_in_input => {}
                Outcome::Done => done += 1,
                Outcome::Dead => dead += 1,
            }
            match (is_in_input, key.stale) {
                (false, false) => gone.push(key.key),
                (true, true) => back.push(key.key),
                _ => {}
            }
        }
        for (keys, stale) in [(gone, true), (back, false)] {
            for keys in keys.chunks(STEP) {
                let admin = Admin::MarkStale { job: job.to_owned(), keys: keys.to_vec(), stale };
                self.administer(admin).await?;
            }
        }
        Ok((done, dead))
    }

    /// How many chunks the job's input has: its cohorts.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn chunk_count(&self, job: &str) -> Result<u32, StoreError> {
        sqlx::query_scalar("SELECT count(*) FROM chunks WHERE job = $1")
            .bind(job)
            .fetch_one(self.readers())
            .await
            .map_err(store_error)
    }

    /// The job's input, for its cohorts.
    #[must_use]
    pub fn items(&self, job: &str) -> Arc<dyn Items> {
        Arc::new(StoredItems { readers: self.readers().clone(), job: job.into() })
    }
}

struct StoredItems {
    readers: SqlitePool,
    job: Arc<str>,
}

impl Items for StoredItems {
    fn chunk(&self, cohort: u32) -> BoxFuture<'_, Result<Arc<Chunk>, StoreError>> {
        async move {
            let row = sqlx::query("SELECT * FROM chunks WHERE job = $1 AND cohort = $2")
                .bind(&*self.job)
                .bind(cohort)
                .fetch_optional(&self.readers)
                .await
                .map_err(store_error)?;
            let row = row.ok_or_else(|| {
                StoreError::Failed(format!("the input of cohort {cohort} of job `{}` is missing", self.job))
            })?;
            unpack(&row).map(Arc::new).map_err(store_error)
        }
        .boxed()
    }
}
