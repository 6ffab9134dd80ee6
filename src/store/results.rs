//! Reading results back.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use empire_actors::ports::{Item, ItemKey, Part, ResultRecord, StoreError, Verdict};
use futures_util::{Stream, TryStreamExt, stream};
use serde::Serialize;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row, SqlitePool};

use super::Store;
use super::admin::{Admin, STEP};
use super::chunks::unpack;
use super::error::{store_error, unreadable};
use super::record::{Detail, LEFT, REDUCE};
use super::row::{amount, in_shapes, item_of, key, place, time};

/// How many ended items are read at once.
const PAGE: i64 = 4_096;

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

/// The key of an item that has a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedKey {
    /// The key.
    pub key: ItemKey,
    /// How it ended.
    pub outcome: Outcome,
    /// The model that answered, or the last one tried.
    pub model: Option<String>,
    /// The item, the first of equal ones; nothing if it has left the input.
    pub(super) item: Option<u32>,
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
    /// The keys of items that have a result, those that have left the input last: they may come back.
    pub fn ended(&self, job: &str) -> impl Stream<Item = Result<EndedKey, StoreError>> + Send + use<> {
        let (readers, job) = (self.readers().clone(), job.to_owned());
        stream::try_unfold(Some(After::Start), move |after: Option<After>| {
            let (readers, job) = (readers.clone(), job.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let (page, next) = after.page(&readers, &job).await.map_err(store_error)?;
                Ok::<_, StoreError>(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
    }

    /// The keys of the items of the input that have a result. A page comes in one row: the way to a
    /// half-done job of many items is short.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keys(&self, job: &str) -> Result<HashSet<ItemKey>, StoreError> {
        let sql = "SELECT max(place) AS last, coalesce(group_concat(hex(item_key), ''), '') AS page FROM \
                   (SELECT place, item_key FROM results WHERE place > $1 AND place < $2 ORDER BY place LIMIT $3)";
        let mut keys = HashSet::new();
        let Some(number) = number_of(self.readers(), job).await.map_err(store_error)? else {
            return Ok(keys);
        };
        let (mut after, end) = (place(number, 0) - 1, place(number + 1, 0));
        loop {
            let query = sqlx::query(sql).bind(after).bind(end).bind(PAGE);
            let row = query.fetch_one(self.readers()).await.map_err(store_error)?;
            let page: &str = row.try_get("page").map_err(store_error)?;
            for hex in page.as_bytes().chunks(32) {
                keys.insert(key_of(hex)?);
            }
            match row.try_get("last").map_err(store_error)? {
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

    /// The result of an item, the first of equal ones.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn result(&self, job: &str, item: u32) -> Result<Option<ResultRecord>, StoreError> {
        Ok(self.records(job, &[item]).await?.pop())
    }

    /// The results of items, each the first of equal ones, in no particular order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn records(&self, job: &str, items: &[u32]) -> Result<Vec<ResultRecord>, StoreError> {
        let number = number_of(self.readers(), job).await.map_err(store_error)?;
        let Some(number) = number else { return Ok(Vec::new()) };
        let found = records(self.readers(), (job, number), items).await.map_err(store_error)?;
        Ok(found.into_values().map(Arc::unwrap_or_clone).collect())
    }

    /// The result of a step of the job's reduce.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn step(&self, job: &str, key: ItemKey) -> Result<Option<ResultRecord>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(STEPS);
        sql.push_bind(job).push(" AND part = ").push_bind(REDUCE);
        sql.push(" AND item_key = ").push_bind(&key.0[..]);
        let row = sql.build().fetch_optional(self.readers()).await.map_err(store_error)?;
        row.map(|row| record(&row, job.into(), Part::Reduce, 0)).transpose().map_err(store_error)
    }

    /// The results of all steps of the job's reduce.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn steps(&self, job: &str) -> Result<Vec<ResultRecord>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(STEPS);
        sql.push_bind(job).push(" AND part = ").push_bind(REDUCE);
        let rows = sql.build().fetch_all(self.readers()).await.map_err(store_error)?;
        let job: Arc<str> = job.into();
        let steps = rows.iter().map(|row| record(row, job.clone(), Part::Reduce, 0));
        steps.collect::<Result<_, _>>().map_err(store_error)
    }

    /// Forgets dead results, so that their items are worked again. Returns how many items.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn forget_dead(&self, job: &str) -> Result<u64, StoreError> {
        self.forget(job, Outcome::Dead, |_| false).await
    }

    /// Forgets answers by models that are not in `route`, so that their items are worked again.
    /// Returns how many items.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn invalidate(&self, job: &str, route: &[String]) -> Result<u64, StoreError> {
        let is_elsewhere = |model: &str| !route.iter().any(|wanted| wanted == model);
        self.forget(job, Outcome::Done, is_elsewhere).await
    }

    /// Finds the items beside the writer, so that it need not search.
    async fn forget(
        &self,
        job: &str,
        outcome: Outcome,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<u64, StoreError> {
        let is_wanted = |model: Option<&str>| outcome == Outcome::Dead || model.is_some_and(&is_wanted);
        let mut items = Vec::new();
        let mut ended = pin!(self.ended(job));
        while let Some(ended) = ended.try_next().await? {
            if ended.outcome == outcome && is_wanted(ended.model.as_deref()) {
                items.extend(ended.item);
            }
        }
        let mut forgotten = 0;
        for items in items.chunks(STEP) {
            let admin = Admin::Forget { job: job.to_owned(), outcome, items: items.to_vec() };
            forgotten += self.administer(admin).await?;
        }
        let is_such = |step: &ResultRecord| {
            matches!(step.verdict, Verdict::Dead(_)) == (outcome == Outcome::Dead)
                && is_wanted(step.model.as_deref())
        };
        let steps = self.steps(job).await?;
        let steps: Vec<ItemKey> = steps.iter().filter(|step| is_such(step)).map(|step| step.key).collect();
        for keys in steps.chunks(STEP) {
            self.administer(Admin::ForgetSteps { job: job.to_owned(), keys: keys.to_vec() }).await?;
        }
        Ok(forgotten)
    }
}

const STEPS: &str =
    "SELECT loose_results.* FROM jobs JOIN loose_results ON job = jobs.number WHERE jobs.id = ";

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

/// How far the ended items are read.
enum After {
    Start,
    Place(i64),
    /// On to those that have left the input.
    Left(Vec<u8>),
}

impl After {
    /// The next page, and how far that is; nothing if it was the last one.
    async fn page(
        self,
        readers: &SqlitePool,
        job: &str,
    ) -> Result<(Vec<EndedKey>, Option<After>), sqlx::Error> {
        let Some(number) = number_of(readers, job).await? else { return Ok((Vec::new(), None)) };
        let after = match self {
            After::Start => place(number, 0) - 1,
            After::Place(after) => after,
            After::Left(after) => {
                let rows = sqlx::query(
                    "SELECT item_key, state, detail FROM loose_results \
                     WHERE job = $1 AND part = $2 AND item_key > $3 ORDER BY item_key LIMIT $4",
                )
                .bind(number)
                .bind(LEFT)
                .bind(&after)
                .bind(PAGE)
                .fetch_all(readers)
                .await?;
                let page: Vec<EndedKey> =
                    rows.iter().map(|row| ended(row, None)).collect::<Result<_, _>>()?;
                let next = page.last().map(|last| After::Left(last.key.0.to_vec()));
                return Ok((page, next));
            }
        };
        let sql = "SELECT place, item_key, state, detail FROM results \
                   WHERE place > $1 AND place < $2 ORDER BY place LIMIT $3";
        let query = sqlx::query(sql).bind(after).bind(place(number + 1, 0)).bind(PAGE);
        let rows = query.fetch_all(readers).await?;
        let page = rows.iter().map(|row| ended(row, Some(item_of(row.try_get("place")?))));
        let page: Vec<EndedKey> = page.collect::<Result<_, _>>()?;
        let last = page.last().and_then(|last| last.item);
        let next = last.map_or(After::Left(Vec::new()), |last| After::Place(place(number, last)));
        Ok((page, Some(next)))
    }
}

fn ended(row: &SqliteRow, item: Option<u32>) -> Result<EndedKey, sqlx::Error> {
    let model = detail(row)?.model.map(Cow::into_owned);
    Ok(EndedKey { key: key(row, "item_key")?, outcome: outcome(row)?, model, item })
}

/// The number that stands for a job where it is named often.
pub(super) async fn number_of(readers: &SqlitePool, job: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT number FROM jobs WHERE id = $1").bind(job).fetch_optional(readers).await
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
    let Some(number) = number_of(readers, job).await? else { return Ok(None) };
    let mut firsts: Vec<u32> = items.iter().map(|item| item.first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let found = records(readers, (job, number), &firsts).await?;
    let wanted = |record: &ResultRecord| match filter {
        ResultFilter::All => true,
        ResultFilter::Only(outcome) => matches!(
            (outcome, &record.verdict),
            (Outcome::Done, Verdict::Done(_)) | (Outcome::Dead, Verdict::Dead(_))
        ),
    };
    let lines = items.into_iter().filter_map(|item| {
        let record = found.get(&item.first).filter(|record| wanted(record))?.clone();
        Some(ResultLine { item, record })
    });
    Ok(Some((row.try_get("cohort")?, lines.collect())))
}

async fn records(
    readers: &SqlitePool,
    (job, number): (&str, i64),
    items: &[u32],
) -> Result<HashMap<u32, Arc<ResultRecord>>, sqlx::Error> {
    let job: Arc<str> = job.into();
    let mut found = HashMap::with_capacity(items.len());
    for items in in_shapes(items) {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM results WHERE place IN (");
        let mut list = sql.separated(", ");
        for item in items {
            list.push_bind(place(number, *item));
        }
        for row in sql.push(")").build().fetch_all(readers).await? {
            let item = item_of(row.try_get("place")?);
            found.insert(item, Arc::new(record(&row, job.clone(), Part::Item, item)?));
        }
    }
    Ok(found)
}

fn record(row: &SqliteRow, job: Arc<str>, part: Part, item: u32) -> Result<ResultRecord, sqlx::Error> {
    let verdict = match outcome(row)? {
        Outcome::Done => Verdict::Done(row.try_get("said")?),
        Outcome::Dead => Verdict::Dead(row.try_get("said")?),
    };
    let mut detail = detail(row)?;
    Ok(ResultRecord {
        tries: detail.tries(),
        usage: detail.usage(),
        job,
        part,
        key: key(row, "item_key")?,
        item,
        verdict,
        model: detail.model.map(Cow::into_owned),
        provider: detail.provider.map(Cow::into_owned),
        cost: amount(row, "cost")?,
        calls: detail.calls,
        redactions: detail.redactions,
        packed: detail.packed,
        ms: detail.ms,
        at: time(row, "at")?,
    })
}

fn detail(row: &SqliteRow) -> Result<Detail<'_>, sqlx::Error> {
    serde_json::from_str(row.try_get("detail")?)
        .map_err(|error| unreadable(format_args!("what is told of a result ({error})")))
}
