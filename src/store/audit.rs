//! What the privacy gate decided.

use std::sync::Arc;

use empire_actors::gates::audit::{Act, Decision, Found};
use empire_actors::level::{Level, Zone};
use empire_actors::ports::{Audit, ResultRecord, StoreError, UnixMillis};
use serde::Serialize;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::types::Json;
use sqlx::{QueryBuilder, Row};

use super::Store;
use super::batch::{Filled, push_rows};
use super::error::{store_error, unreadable};
use super::row::{number, time};
use super::writer::{Op, Writer};

/// Items in one call, at most.
const MOST_PACKED: u32 = 100;

/// A decision as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDecision {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: UnixMillis,
    /// The job.
    pub job: String,
    /// The item's number in its job, from 0; [`REDUCE_ITEM`](empire_actors::ports::REDUCE_ITEM) for
    /// the reduce.
    #[serde(serialize_with = "crate::text::serialize_item")]
    pub item: u32,
    /// Who would get it.
    pub provider: String,
    /// The model there.
    pub model: String,
    /// Where that is.
    pub zone: Zone,
    /// How private the content was said to be.
    pub declared: Level,
    /// How private it is.
    pub level: Level,
    /// What was decided.
    #[serde(flatten)]
    pub act: Act,
    /// How often each rule found something.
    pub found: Found,
    /// The salted hash of what was asked.
    pub content: String,
}

struct StoredAudit {
    writer: Writer,
    salt: [u8; 32],
}

impl Audit for StoredAudit {
    fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    fn decided(&self, decision: Decision) -> Result<(), StoreError> {
        self.writer.offer(Op::Decided(Box::new(decision)))
    }
}

impl Store {
    /// Where the privacy gate's decisions go.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn audit(&self) -> Result<Arc<dyn Audit>, StoreError> {
        let salt: String = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'salt'")
            .fetch_one(self.readers())
            .await
            .map_err(store_error)?;
        let salt = *blake3::hash(salt.as_bytes()).as_bytes();
        Ok(Arc::new(StoredAudit { writer: self.writer().clone(), salt }))
    }

    /// What was decided for an item of a job, in order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn decisions(&self, job: &str, item: u32) -> Result<Vec<StoredDecision>, StoreError> {
        let rows = sqlx::query("SELECT * FROM decisions WHERE job = $1 AND item = $2 ORDER BY id")
            .bind(job)
            .bind(item)
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        rows.iter().map(decision).collect::<Result<_, _>>().map_err(store_error)
    }

    /// The item before this one, within the largest pack, that calls were decided for last: it may
    /// have carried this one's.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn carrier_before(&self, job: &str, item: u32) -> Result<Option<u32>, StoreError> {
        sqlx::query_scalar("SELECT max(item) FROM decisions WHERE job = $1 AND item < $2 AND item >= $3")
            .bind(job)
            .bind(item)
            .bind(item.saturating_sub(MOST_PACKED))
            .fetch_one(self.readers())
            .await
            .map_err(store_error)
    }

    /// The result of the item with this number, and the level that its row carries.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn result_of(
        &self,
        job: &str,
        item: u32,
    ) -> Result<Option<(Option<Level>, Option<ResultRecord>)>, StoreError> {
        let cohort: Option<u32> = sqlx::query_scalar(
            "SELECT cohort FROM chunks WHERE job = $1 AND first_item <= $2 AND $2 < first_item + item_count",
        )
        .bind(job)
        .bind(item)
        .fetch_optional(self.readers())
        .await
        .map_err(store_error)?;
        let Some(cohort) = cohort else { return Ok(None) };
        let chunk = self.items(job).chunk(cohort).await?;
        let Some(found) = chunk.items.iter().find(|found| found.number == item) else { return Ok(None) };
        Ok(Some((found.level, self.result(job, found.first).await?)))
    }
}

fn decision(row: &SqliteRow) -> Result<StoredDecision, sqlx::Error> {
    let level = |column: &str| {
        let stored: u8 = number(row, column)?;
        Level::from_u8(stored).ok_or_else(|| unreadable(format_args!("level {stored} in `{column}`")))
    };
    let content: &[u8] = row.try_get("content")?;
    Ok(StoredDecision {
        id: row.try_get("id")?,
        at: time(row, "at")?,
        job: row.try_get("job")?,
        item: number(row, "item")?,
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        zone: Zone::try_from(number::<u8>(row, "zone")?).map_err(unreadable)?,
        declared: level("declared")?,
        level: level("level")?,
        act: row.try_get::<Json<Act>, _>("act")?.0,
        found: row.try_get::<Json<Found>, _>("found")?.0,
        content: content.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

pub(super) fn insert_decisions(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, &Decision>) {
    sql.push(
        "INSERT OR FAIL INTO decisions (at, job, item, provider, model, zone, declared, level, act, found, content) ",
    );
    push_rows(sql, rows, |mut row, decision| {
        row.push_bind(decision.map(|made| made.at.0))
            .push_bind(decision.map(|made| &*made.job))
            .push_bind(decision.map(|made| made.item))
            .push_bind(decision.map(|made| made.provider.as_str()))
            .push_bind(decision.map(|made| made.model.as_str()))
            .push_bind(decision.map(|made| made.zone.number()))
            .push_bind(decision.map(|made| made.declared.as_u8()))
            .push_bind(decision.map(|made| made.level.as_u8()))
            .push_bind(decision.map(|made| Json(&made.act)))
            .push_bind(decision.map(|made| Json(&made.found)))
            .push_bind(decision.map(|made| &made.content[..]));
    });
}
