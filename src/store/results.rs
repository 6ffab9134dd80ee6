//! Reading results back.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use empire_actors::model::ProviderId;
use empire_actors::ports::{Item, ItemKey, Part, ResultRecord, StoreError, Verdict};
use futures_util::{Stream, TryStreamExt, stream};
use serde::Serialize;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row, SqlitePool};

use super::Store;
use super::admin::{Admin, STEP};
use super::chunks::unpack;
use super::error::{store_error, unreadable};
use super::row::{amount, in_shapes, key, number, part, part_word, time, usage};

/// How many ended keys are read at once.
const KEYS_PAGE: i64 = 4_096;

/// How an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Done,
    /// Without one.
    Dead,
}

impl Outcome {
    /// The word for it, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Dead => "dead",
        }
    }
}

/// A key that has a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedKey {
    /// The key.
    pub key: ItemKey,
    /// How it ended.
    pub outcome: Outcome,
    /// The model that answered, or the last one tried.
    pub model: Option<String>,
    /// Whether its item was in the input when that was last read in.
    pub(super) stale: bool,
}

/// Which results are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFilter {
    /// Done and dead.
    All,
    /// Only those that ended so.
    Only(Outcome),
}

/// One line of the results: an item of the input and its result, which equal items share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLine {
    /// The item, with its columns.
    pub item: Item,
    /// Its result; `record.item` is the first of equal items.
    pub record: Arc<ResultRecord>,
}

impl Store {
    /// The keys of the job's results, in the order of the keys. For items it includes results
    /// whose items have left the input: they may come back.
    pub fn done_keys(
        &self,
        job: &str,
        part: Part,
    ) -> impl Stream<Item = Result<EndedKey, StoreError>> + Send + use<> {
        let (readers, job) = (self.readers().clone(), job.to_owned());
        stream::try_unfold(Some(Vec::new()), move |after: Option<Vec<u8>>| {
            let (readers, job) = (readers.clone(), job.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = ended_keys(&readers, &job, part, &after).await.map_err(store_error)?;
                let next = page.last().map(|last| last.key.0.to_vec());
                Ok::<_, StoreError>(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
    }

    /// The keys of all of the job's results, for items as [`done_keys`](Store::done_keys) gives them.
    /// Reads the index alone, a page in one row: the way to a half-done job of many items is short.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keys(&self, job: &str, part: Part) -> Result<HashSet<ItemKey>, StoreError> {
        let sql = "SELECT max(item_key) AS last, coalesce(group_concat(hex(item_key), ''), '') AS page FROM \
                   (SELECT item_key FROM results WHERE job = $1 AND part = $2 AND item_key > $3 \
                    ORDER BY item_key LIMIT $4)";
        let (mut keys, mut after) = (HashSet::new(), Vec::new());
        loop {
            let query = sqlx::query(sql).bind(job).bind(part_word(part)).bind(&after).bind(KEYS_PAGE);
            let row = query.fetch_one(self.readers()).await.map_err(store_error)?;
            let page: &str = row.try_get("page").map_err(store_error)?;
            for hex in page.as_bytes().chunks(32) {
                keys.insert(key_of(hex)?);
            }
            match row.try_get::<Option<Vec<u8>>, _>("last").map_err(store_error)? {
                Some(last) => after = last,
                None => return Ok(keys),
            }
        }
    }

    /// The job's results in the order of its input; equal items each give a line. Items without
    /// a result give none. Reads a chunk at a time: no memory, no long transaction.
    pub fn results(
        &self,
        job: &str,
        filter: ResultFilter,
    ) -> impl Stream<Item = Result<ResultLine, StoreError>> + Send + use<> {
        let (readers, job) = (self.readers().clone(), job.to_owned());
        stream::try_unfold(-1, move |cohort: i64| {
            let (readers, job) = (readers.clone(), job.clone());
            async move {
                let lines = lines_after(&readers, &job, cohort, filter).await.map_err(store_error)?;
                let lines = lines.map(|(cohort, lines)| (stream::iter(lines.into_iter().map(Ok)), cohort));
                Ok::<_, StoreError>(lines)
            }
        })
        .try_flatten()
    }

    /// One result, such as that of a reduce step.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn result(
        &self,
        job: &str,
        part: Part,
        key: ItemKey,
    ) -> Result<Option<ResultRecord>, StoreError> {
        let found = records(self.readers(), job, part, &[key]).await.map_err(store_error)?;
        Ok(found.into_values().next().map(Arc::unwrap_or_clone))
    }

    /// The records of these keys, in no particular order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn records(
        &self,
        job: &str,
        part: Part,
        keys: &[ItemKey],
    ) -> Result<Vec<ResultRecord>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(STEP) {
            let page = records(self.readers(), job, part, keys).await.map_err(store_error)?;
            found.extend(page.into_values().map(Arc::unwrap_or_clone));
        }
        Ok(found)
    }

    /// Forgets dead results, so that their items are worked again. Returns how many items.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn forget_dead(&self, job: &str) -> Result<u64, StoreError> {
        self.forget(job, Outcome::Dead, |_| true).await
    }

    /// Forgets answers by models that are not in `route`, so that their items are worked again.
    /// Returns how many items.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn invalidate(&self, job: &str, route: &[String]) -> Result<u64, StoreError> {
        let is_elsewhere = |model: &str| !route.iter().any(|wanted| wanted == model);
        self.forget(job, Outcome::Done, |ended| ended.model.as_deref().is_some_and(is_elsewhere)).await
    }

    /// Finds the keys beside the writer, so that it need not search.
    async fn forget(
        &self,
        job: &str,
        outcome: Outcome,
        is_wanted: impl Fn(&EndedKey) -> bool,
    ) -> Result<u64, StoreError> {
        let mut items = 0;
        for part in [Part::Item, Part::Reduce] {
            let mut keys = Vec::new();
            let mut ended = pin!(self.done_keys(job, part));
            while let Some(key) = ended.try_next().await? {
                if key.outcome == outcome && !key.stale && is_wanted(&key) {
                    keys.push(key.key);
                }
            }
            for keys in keys.chunks(STEP) {
                let admin = Admin::Forget { job: job.to_owned(), part, outcome, keys: keys.to_vec() };
                let forgotten = self.administer(admin).await?;
                items += if part == Part::Item { forgotten } else { 0 };
            }
        }
        Ok(items)
    }
}

fn outcome(row: &SqliteRow) -> Result<Outcome, sqlx::Error> {
    match row.try_get("state")? {
        "done" => Ok(Outcome::Done),
        "dead" => Ok(Outcome::Dead),
        other => Err(unreadable(format_args!("result state `{other}`"))),
    }
}

/// A key as the database spells it.
fn key_of(hex: &[u8]) -> Result<ItemKey, StoreError> {
    let number = std::str::from_utf8(hex).ok().filter(|hex| hex.len() == 32);
    let number = number.and_then(|hex| u128::from_str_radix(hex, 16).ok());
    let number = number.ok_or_else(|| StoreError::Failed("a result has no whole key".to_owned()))?;
    Ok(ItemKey(number.to_be_bytes()))
}

async fn ended_keys(
    readers: &SqlitePool,
    job: &str,
    part: Part,
    after: &[u8],
) -> Result<Vec<EndedKey>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT item_key, state, model, stale FROM results \
         WHERE job = $1 AND part = $2 AND item_key > $3 ORDER BY item_key LIMIT $4",
    )
    .bind(job)
    .bind(part_word(part))
    .bind(after)
    .bind(KEYS_PAGE)
    .fetch_all(readers)
    .await?;
    let ended = rows.iter().map(|row| {
        Ok(EndedKey {
            key: key(row, "item_key")?,
            outcome: outcome(row)?,
            model: row.try_get("model")?,
            stale: row.try_get("stale")?,
        })
    });
    ended.collect()
}

/// The lines of the first chunk after `cohort`, and that chunk's number.
async fn lines_after(
    readers: &SqlitePool,
    job: &str,
    cohort: i64,
    filter: ResultFilter,
) -> Result<Option<(i64, Vec<ResultLine>)>, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM chunks WHERE job = $1 AND cohort > $2 ORDER BY cohort LIMIT 1")
        .bind(job)
        .bind(cohort)
        .fetch_optional(readers)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let items = unpack(&row)?.items;
    let keys: Vec<ItemKey> = items.iter().map(|item| item.key).collect();
    let found = records(readers, job, Part::Item, &keys).await?;
    let wanted = |record: &ResultRecord| match filter {
        ResultFilter::All => true,
        ResultFilter::Only(outcome) => matches!(
            (outcome, &record.verdict),
            (Outcome::Done, Verdict::Done(_)) | (Outcome::Dead, Verdict::Dead(_))
        ),
    };
    let lines = items.into_iter().filter_map(|item| {
        let record = found.get(&item.key).filter(|record| wanted(record))?.clone();
        Some(ResultLine { item, record })
    });
    Ok(Some((row.try_get("cohort")?, lines.collect())))
}

async fn records(
    readers: &SqlitePool,
    job: &str,
    part: Part,
    keys: &[ItemKey],
) -> Result<HashMap<ItemKey, Arc<ResultRecord>>, sqlx::Error> {
    let mut found = HashMap::with_capacity(keys.len());
    for keys in in_shapes(keys) {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM results WHERE job = ");
        sql.push_bind(job).push(" AND part = ").push_bind(part_word(part)).push(" AND item_key IN (");
        let mut list = sql.separated(", ");
        for key in keys {
            list.push_bind(&key.0[..]);
        }
        for row in sql.push(")").build().fetch_all(readers).await? {
            let record = record(&row)?;
            found.insert(record.key, Arc::new(record));
        }
    }
    Ok(found)
}

fn record(row: &SqliteRow) -> Result<ResultRecord, sqlx::Error> {
    let verdict = match outcome(row)? {
        Outcome::Done => Verdict::Done(row.try_get("answer")?),
        Outcome::Dead => Verdict::Dead(row.try_get("reason")?),
    };
    let provider: Option<&str> = row.try_get("provider")?;
    let tries: &str = row.try_get("tries")?;
    Ok(ResultRecord {
        job: row.try_get::<&str, _>("job")?.into(),
        part: part(row)?,
        key: key(row, "item_key")?,
        item: number(row, "item")?,
        verdict,
        model: row.try_get("model")?,
        provider: provider.map(ProviderId::from),
        usage: usage(row)?,
        cost: amount(row, "cost")?,
        calls: number(row, "calls")?,
        redactions: number(row, "redactions")?,
        packed: number(row, "packed")?,
        ms: number(row, "ms")?,
        tries: serde_json::from_str(tries).map_err(|error| unreadable(format_args!("tries ({error})")))?,
        at: time(row, "at")?,
    })
}
