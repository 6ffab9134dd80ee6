//! The input as stored: a cohort's share in each row.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use empire_actors::level::Level;
use empire_actors::ports::{Chunk, Item, ItemKey, Items, StoreError};
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
    /// JSON: of each item the number of the first one equal to it; nothing if each is its own.
    pub(super) firsts: Option<String>,
}

impl StoredChunk {
    /// Packs a chunk whose first item should have this number; `first_of` learns its keys.
    fn pack(
        chunk: &Chunk,
        expected_first: u64,
        first_of: &mut HashMap<ItemKey, u32>,
    ) -> Result<StoredChunk, StoreError> {
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
        let first_of = |item: &Item| *first_of.entry(item.key).or_insert(item.number);
        let firsts: Vec<u32> = items.iter().map(first_of).collect();
        let has_twins = firsts.iter().zip(items).any(|(first, item)| *first != item.number);
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
            firsts: has_twins.then(|| serde_json::Value::from(firsts).to_string()),
        })
    }
}

pub(super) fn unpack(row: &SqliteRow) -> Result<Chunk, sqlx::Error> {
    let first: u32 = number(row, "first_item")?;
    let count: usize = number(row, "item_count")?;
    let (keys, rest) = row.try_get::<&[u8], _>("item_keys")?.as_chunks::<16>();
    let levels: &[u8] = row.try_get("levels")?;
    let rows: Vec<&str> = row.try_get::<&str, _>("item_rows")?.lines().collect();
    let broken = || unreadable(format_args!("chunk at item {first}"));
    let firsts: Vec<u32> = match row.try_get::<Option<&str>, _>("firsts")? {
        Some(firsts) => serde_json::from_str(firsts).map_err(|_| broken())?,
        None => (first..).take(count).collect(),
    };
    if !rest.is_empty() || [keys.len(), levels.len(), rows.len(), firsts.len()] != [count; 4] {
        return Err(broken());
    }
    let items = (first..).zip(keys).zip(levels).zip(rows).zip(firsts);
    let items = items.map(|((((number, key), level), row), first)| {
        let level = match *level {
            NO_LEVEL => None,
            other => Some(
                Level::from_u8(other).ok_or_else(|| unreadable(format_args!("level of item {number}")))?,
            ),
        };
        Ok(Item { number, first, key: ItemKey(*key), level, row: row.into() })
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
        let mut first_of: HashMap<ItemKey, u32> = HashMap::new();
        let (mut cohorts, mut items) = (0, 0);
        while let Some(chunk) = chunks.try_next().await? {
            let stored = StoredChunk::pack(&chunk, items, &mut first_of)?;
            items += chunk.items.len() as u64;
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
        let (done, dead) = self.place_results(job, &first_of).await?;
        let distinct = first_of.len() as u64;
        let admitted = Admitted { cohorts, items, distinct, done, dead };
        self.finish_admission(job, admitted).await?;
        Ok(admitted)
    }

    async fn finish_admission(&self, job: &str, admitted: Admitted) -> Result<(), StoreError> {
        let Admitted { cohorts, items, distinct, done, dead } = admitted;
        let admin = Admin::Admitted { job: job.to_owned(), cohorts, items, distinct, done, dead };
        found(job, self.administer(admin).await?)
    }

    /// Gives the results of an earlier input their places in this one; those whose items are not in
    /// it are kept apart. Gives how many of the input's are done and dead.
    async fn place_results(
        &self,
        job: &str,
        first_of: &HashMap<ItemKey, u32>,
    ) -> Result<(u64, u64), StoreError> {
        let (mut done, mut dead) = (0, 0);
        let (mut away, mut back) = (Vec::new(), Vec::new());
        let mut ended = pin!(self.ended(job));
        while let Some(ended) = ended.try_next().await? {
            let first = first_of.get(&ended.key).copied();
            match ended.outcome {
                _ if first.is_none() => {}
                Outcome::Done => done += 1,
                Outcome::Dead => dead += 1,
            }
            if first != ended.item {
                away.extend(ended.item);
                back.extend(first.map(|first| (ended.key, first)));
            }
        }
        // All of them go first: one's new place may be another's old one.
        for items in away.chunks(STEP) {
            self.administer(Admin::Loosen { job: job.to_owned(), items: items.to_vec() }).await?;
        }
        for items in back.chunks(STEP) {
            self.administer(Admin::Place { job: job.to_owned(), items: items.to_vec() }).await?;
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
