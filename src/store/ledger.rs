//! The durable ledger, and what it adds up to.

use std::sync::Arc;

use empire_actors::gates::calendar::{DAY_MILLIS, Day};
use empire_actors::model::ProviderId;
use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{
    HoldId, HoldRecord, Ledger, LedgerState, Sent, Settlement, SpendRow, StoreError, UnixMillis, WallClock,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::Store;
use super::error::store_error;
use super::row::{amount, hold, number, usage, word};
use super::spool::Fact;
use super::writer::{Op, Writer};

/// Whose spend and calls a ledger counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerScope {
    /// Everybody's: real money.
    All,
    /// One job's alone: simulated jobs do not count against each other's caps.
    Job(Arc<str>),
}

/// What a job spent at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderSpend {
    /// The provider.
    pub provider: ProviderId,
    /// Settled calls.
    pub calls: u64,
    /// What was billed for them in all.
    pub billed: Micros,
    /// How much of that is of calls whose outcome is unknown.
    pub unknown: Micros,
    /// What the provider counted.
    pub usage: Usage,
}

/// Calls whose outcome is unknown, billed at their reservation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UnknownTotal {
    /// How many.
    pub calls: u64,
    /// What they are billed at in all.
    pub billed: Micros,
}

impl Store {
    /// The ledger, counting what `scope` says.
    #[must_use]
    pub fn ledger(&self, scope: LedgerScope) -> Arc<dyn Ledger> {
        let job = match scope {
            LedgerScope::All => "".into(),
            LedgerScope::Job(job) => job,
        };
        Arc::new(StoredLedger { job, ..StoredLedger::of_all(self) })
    }

    /// What the job spent, by provider, in the providers' order. Free calls are not in it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn spend_by_provider(&self, job: &str) -> Result<Vec<ProviderSpend>, StoreError> {
        let rows = sqlx::query(
            "SELECT provider, count(*) AS calls, CAST(sum(billed) AS INTEGER) AS billed, \
             CAST(sum(CASE WHEN certainty = 'unknown' THEN billed ELSE 0 END) AS INTEGER) AS unknown, \
             CAST(sum(input_tokens) AS INTEGER) AS input_tokens, \
             CAST(sum(cached_tokens) AS INTEGER) AS cached_tokens, \
             CAST(sum(cache_write_tokens) AS INTEGER) AS cache_write_tokens, \
             CAST(sum(output_tokens) AS INTEGER) AS output_tokens \
             FROM ledger WHERE job = $1 GROUP BY provider ORDER BY provider",
        )
        .bind(job)
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let spend = rows.iter().map(|row| {
            Ok(ProviderSpend {
                provider: row.try_get::<&str, _>("provider")?.into(),
                calls: number(row, "calls")?,
                billed: amount(row, "billed")?,
                unknown: amount(row, "unknown")?,
                usage: usage(row)?,
            })
        });
        spend.collect::<Result<_, _>>().map_err(store_error)
    }

    /// What the job's settled calls were billed in all.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ledger_sum(&self, job: &str) -> Result<Micros, StoreError> {
        let row = sqlx::query(
            "SELECT CAST(coalesce(sum(billed), 0) AS INTEGER) AS billed FROM ledger WHERE job = $1",
        )
        .bind(job)
        .fetch_one(self.readers())
        .await
        .map_err(store_error)?;
        amount(&row, "billed").map_err(store_error)
    }

    /// What the job's settled calls used, by model.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn usage_by_model(&self, job: &str) -> Result<Vec<(String, Usage)>, StoreError> {
        let rows = sqlx::query(
            "SELECT model, CAST(sum(input_tokens) AS INTEGER) AS input_tokens, \
             CAST(sum(cached_tokens) AS INTEGER) AS cached_tokens, \
             CAST(sum(cache_write_tokens) AS INTEGER) AS cache_write_tokens, \
             CAST(sum(output_tokens) AS INTEGER) AS output_tokens \
             FROM ledger WHERE job = $1 GROUP BY model ORDER BY model",
        )
        .bind(job)
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let read = |row: &SqliteRow| Ok((row.try_get("model")?, usage(row)?));
        rows.iter().map(read).collect::<Result<_, _>>().map_err(store_error)
    }

    /// The job's calls whose outcome is unknown.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn unknown_total(&self, job: &str) -> Result<UnknownTotal, StoreError> {
        let row = sqlx::query(
            "SELECT count(*) AS calls, CAST(coalesce(sum(billed), 0) AS INTEGER) AS billed FROM ledger \
             WHERE job = $1 AND certainty = 'unknown'",
        )
        .bind(job)
        .fetch_one(self.readers())
        .await
        .map_err(store_error)?;
        let read = || Ok(UnknownTotal { calls: number(&row, "calls")?, billed: amount(&row, "billed")? });
        read().map_err(store_error)
    }
}

pub(super) struct StoredLedger {
    writer: Writer,
    readers: SqlitePool,
    clock: Arc<dyn WallClock>,
    /// The only job that counts; empty: all do.
    job: Arc<str>,
}

impl StoredLedger {
    pub(super) fn of_all(store: &Store) -> StoredLedger {
        StoredLedger {
            writer: store.writer().clone(),
            readers: store.readers().clone(),
            clock: store.clock(),
            job: "".into(),
        }
    }

    pub(super) async fn state(&self) -> Result<LedgerState, sqlx::Error> {
        // One transaction: what is moved from one table to the other must not be missed or seen
        // twice.
        let mut tx = self.readers.begin().await?;
        let spent = sqlx::query(
            // Of what lies before this month, no cap asks for the day.
            "SELECT job, role, child, provider, max(reserved_at / $2, $3) AS day, \
             CAST(sum(billed) AS INTEGER) AS billed FROM ledger \
             WHERE $1 = '' OR job = $1 GROUP BY job, role, child, provider, day",
        )
        .bind(&*self.job)
        .bind(DAY_MILLIS)
        .bind(Day::of(self.clock.now()).month().first_day().0 - 1)
        .fetch_all(&mut *tx)
        .await?;
        let spent = spent.iter().map(|row| {
            Ok(SpendRow {
                job: row.try_get::<&str, _>("job")?.into(),
                role: word(row, "role")?,
                child: word(row, "child")?,
                provider: row.try_get::<&str, _>("provider")?.into(),
                day: Day(row.try_get("day")?),
                billed: amount(row, "billed")?,
            })
        });
        let spent = spent.collect::<Result<_, sqlx::Error>>()?;
        let open = sqlx::query("SELECT * FROM holds WHERE $1 = '' OR job = $1 ORDER BY id")
            .bind(&*self.job)
            .fetch_all(&mut *tx)
            .await?;
        let open = open.iter().map(hold).collect::<Result<_, _>>()?;
        let next = sqlx::query("SELECT id FROM next_hold").fetch_one(&mut *tx).await?;
        Ok(LedgerState { spent, open, next_hold: number(&next, "id")? })
    }

    async fn sent(&self, provider: &ProviderId, since: UnixMillis) -> Result<Vec<Sent>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT sent_at AS at, model, count(*) AS calls, 0 AS tokens, 0 AS owed FROM ledger \
             WHERE provider = $1 AND sent_at >= $2 AND ($3 = '' OR job = $3) GROUP BY sent_at, model \
             UNION ALL SELECT at, model, calls, tokens, owed FROM sends \
             WHERE provider = $1 AND at >= $2 AND ($3 = '' OR job = $3) ORDER BY 1",
        )
        .bind(provider.as_str())
        .bind(since.0)
        .bind(&*self.job)
        .fetch_all(&self.readers)
        .await?;
        let sent = rows.iter().map(|row| {
            Ok(Sent {
                at: UnixMillis(row.try_get("at")?),
                model: row.try_get::<&str, _>("model")?.into(),
                calls: number(row, "calls")?,
                tokens: number(row, "tokens")?,
                owed: number(row, "owed")?,
            })
        });
        sent.collect()
    }

    fn submit(&self, op: Op) -> BoxFuture<'static, Result<(), StoreError>> {
        self.writer.submit(op).map(|written| written.map(drop)).boxed()
    }

    fn end(&self, end: Fact) {
        if let Err(error) = self.writer.give(end) {
            tracing::error!(%error, "the end of a call could not be journalled: until it is committed, the call is billed at its reservation");
        }
    }
}

impl Ledger for StoredLedger {
    fn load(&self) -> BoxFuture<'_, Result<LedgerState, StoreError>> {
        async move {
            self.submit(Op::Flush).await?;
            self.state().await.map_err(store_error)
        }
        .boxed()
    }

    fn reserve(&self, hold: HoldRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(Op::Reserve(hold))
    }

    fn leave(&self, hold: HoldId) -> Result<(), StoreError> {
        self.writer.give(Fact::Leaves(hold))
    }

    fn settle(&self, settlement: Settlement) {
        self.end(Fact::Settled(Box::new(settlement), self.clock.now()));
    }

    fn release(&self, hold: HoldId) {
        self.end(Fact::Released(hold));
    }

    fn sent_since(
        &self,
        provider: &ProviderId,
        since: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<Sent>, StoreError>> {
        let provider = provider.clone();
        async move {
            // Who only looks has nothing of its own to write.
            if self.writer.is_open() {
                self.submit(Op::Flush).await?;
            }
            self.sent(&provider, since).await.map_err(store_error)
        }
        .boxed()
    }

    fn note_sent(&self, provider: &ProviderId, sent: Sent) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(Op::Sent(provider.clone(), self.job.clone(), sent))
    }
}
