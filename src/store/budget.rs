//! Caps that were set by hand, lines of the ledger, and what a vendor says against it.

use std::sync::Arc;

use empire_actors::gates::scope::{Cap, Scope};
use empire_actors::model::ProviderId;
use empire_actors::money::Micros;
use empire_actors::ports::{HoldId, LedgerState, StoreError, UnixMillis};
use serde::Serialize;
use sqlx::{Connection, Row, SqliteConnection};

use super::Store;
use super::admin::Admin;
use super::error::{store_error, unreadable};
use super::ledger::StoredLedger;
use super::row::{amount, int, number, time, word};

/// A cap that was set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredCap {
    /// The cap.
    #[serde(flatten)]
    pub cap: Cap,
    /// When it was set.
    pub set_at: UnixMillis,
    /// Why.
    pub reason: String,
}

/// One thing that was done to the money by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// When.
    pub at: UnixMillis,
    /// What: `set` or `reconcile`.
    pub what: String,
    /// Where.
    pub scope: String,
    /// Before and after, in words.
    pub detail: String,
    /// Why, as its author said.
    pub reason: String,
}

/// One reservation, from its making to its end. One that was released is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// Its number.
    pub hold: u64,
    /// `reserved`, `sent`, `settled`, `unknown` or `reconciled`.
    pub state: String,
    /// The job that pays.
    pub job: String,
    /// The allowance in the job that it was taken from.
    pub child: Option<Arc<str>>,
    /// The item it is for, from 0; [`REDUCE_ITEM`](empire_actors::ports::REDUCE_ITEM) for the reduce.
    #[serde(serialize_with = "crate::text::serialize_item")]
    pub item: u32,
    /// Who is paid.
    pub provider: String,
    /// For which model or action.
    pub model: String,
    /// What was set aside.
    pub reserved: Micros,
    /// What was billed; `None` while it is open.
    pub billed: Option<Micros>,
    /// When it was made.
    pub at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
}

/// Money that was billed lately, by who paid whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentSpend {
    /// The job.
    pub job: String,
    /// Its role.
    pub role: Option<Arc<str>>,
    /// The provider.
    pub provider: ProviderId,
    /// How much.
    pub billed: Micros,
    /// When the first of it was.
    pub first_at: UnixMillis,
}

/// What a vendor said was left in the account, when no call was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Baseline {
    /// When.
    pub at: UnixMillis,
    /// What was left, in micro-dollars; below zero in debt.
    pub balance: i64,
    /// The first reservation that was made after it.
    pub first_hold: u64,
}

/// What the ledger has of a provider since a baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinceBaseline {
    /// What was billed by the vendor's own count.
    pub certain: Micros,
    /// Calls of unknown outcome and what they are billed at.
    pub unknown: Vec<(HoldId, Micros)>,
    /// What calls of unknown outcome from before it are billed at: no balance can tell of those.
    pub unknown_before: Micros,
}

/// A change by hand.
#[derive(Debug)]
pub(super) enum BudgetOp {
    /// `None` takes a cap that was set by hand back.
    SetCap {
        scope: String,
        cap: Option<Option<Micros>>,
        reason: String,
    },
    Reconcile {
        provider: String,
        calls: Vec<(HoldId, Micros)>,
        detail: String,
        reason: String,
    },
    Baseline {
        provider: String,
        baseline: Baseline,
    },
}

impl BudgetOp {
    pub(super) async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: UnixMillis,
    ) -> Result<u64, sqlx::Error> {
        match self {
            BudgetOp::SetCap { scope, cap, reason } => set_cap(connection, scope, *cap, reason, now).await,
            BudgetOp::Reconcile { provider, calls, detail, reason } => {
                for (hold, billed) in calls {
                    sqlx::query(
                        "UPDATE ledger SET billed = $2, certainty = 'reconciled' \
                         WHERE hold = $1 AND certainty = 'unknown' AND billed >= $2",
                    )
                    .bind(int(hold.0))
                    .bind(int(billed.0))
                    .execute(&mut *connection)
                    .await?;
                }
                let scope = format!("provider:{provider}");
                audit(connection, "reconcile", &scope, detail, reason, now).await
            }
            BudgetOp::Baseline { provider, baseline } => {
                let query = sqlx::query(
                    "INSERT INTO baselines (provider, at, balance, last_hold) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (provider) DO UPDATE SET at = excluded.at, balance = excluded.balance, \
                     last_hold = excluded.last_hold",
                )
                .bind(provider.as_str())
                .bind(baseline.at.0)
                .bind(baseline.balance)
                .bind(int(baseline.first_hold));
                Ok(query.execute(connection).await?.rows_affected())
            }
        }
    }
}

async fn set_cap(
    connection: &mut SqliteConnection,
    scope: &str,
    cap: Option<Option<Micros>>,
    reason: &str,
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let before = sqlx::query("SELECT amount FROM caps WHERE scope = $1")
        .bind(scope)
        .fetch_optional(&mut *connection)
        .await?;
    let before = match before {
        None => None,
        Some(row) => {
            Some(row.try_get::<Option<i64>, _>("amount")?.map(|_| amount(&row, "amount")).transpose()?)
        }
    };
    match cap {
        Some(cap) => {
            sqlx::query(
                "INSERT INTO caps (scope, amount, set_at, reason) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (scope) DO UPDATE SET amount = excluded.amount, set_at = excluded.set_at, \
                 reason = excluded.reason",
            )
            .bind(scope)
            .bind(cap.map(|cap| int(cap.0)))
            .bind(now.0)
            .bind(reason)
            .execute(&mut *connection)
            .await?;
        }
        None => {
            sqlx::query("DELETE FROM caps WHERE scope = $1").bind(scope).execute(&mut *connection).await?;
        }
    }
    let words = |cap: Option<Option<Micros>>| match cap {
        None => "the configured one".to_owned(),
        Some(None) => "none".to_owned(),
        Some(Some(cap)) => cap.to_string(),
    };
    let detail = format!("from {} to {}", words(before), words(cap));
    audit(connection, "set", scope, &detail, reason, now).await
}

async fn audit(
    connection: &mut SqliteConnection,
    what: &str,
    scope: &str,
    detail: &str,
    reason: &str,
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let query =
        sqlx::query("INSERT INTO budget_audit (at, what, scope, detail, reason) VALUES ($1, $2, $3, $4, $5)")
            .bind(now.0)
            .bind(what)
            .bind(scope)
            .bind(detail)
            .bind(reason);
    Ok(query.execute(connection).await?.rows_affected())
}

/// How a scope whose cap can be set is written: `total`, `month`, `day`, `provider:NAME`,
/// `role:NAME`, `job:ID`. `None` for one whose cap cannot be set.
#[must_use]
pub fn scope_word(scope: &Scope) -> Option<String> {
    Some(match scope {
        Scope::Total => "total".to_owned(),
        Scope::EachMonth => "month".to_owned(),
        Scope::EachDay => "day".to_owned(),
        Scope::Provider(provider) => format!("provider:{provider}"),
        Scope::Role(role) => format!("role:{role}"),
        Scope::Job(job) => format!("job:{job}"),
        Scope::Month(_) | Scope::Day(_) | Scope::Child(..) => return None,
    })
}

/// Reads what [`scope_word`] writes.
#[must_use]
pub fn read_scope_word(word: &str) -> Option<Scope> {
    match word {
        "total" => return Some(Scope::Total),
        "month" => return Some(Scope::EachMonth),
        "day" => return Some(Scope::EachDay),
        _ => {}
    }
    let (kind, name) = word.split_once(':').filter(|(_, name)| !name.is_empty())?;
    match kind {
        "provider" => Some(Scope::Provider(name.into())),
        "role" => Some(Scope::Role(name.into())),
        "job" => Some(Scope::Job(name.into())),
        _ => None,
    }
}

impl Store {
    /// Does one small change, beside a run if there is one.
    pub(super) async fn change(&self, admin: Admin) -> Result<u64, StoreError> {
        if self.writer().is_open() {
            return self.administer(admin).await;
        }
        let mut connection = self.side_connection().await?;
        let changed = async {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let changed = admin.run(&mut tx, self.now()).await?;
            tx.commit().await?;
            Ok(changed)
        };
        changed.await.map_err(store_error)
    }

    /// Sets a cap by hand, from any process: it overrides the configuration from then on, and is
    /// audited. `Some(None)` lifts the cap, `None` takes an override back.
    ///
    /// # Errors
    /// If the scope can have no cap, or the store fails.
    pub async fn set_cap(
        &self,
        scope: &Scope,
        cap: Option<Option<Micros>>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let scope = scope_word(scope).ok_or_else(|| StoreError::Failed(format!("{scope} has no cap")))?;
        let op = BudgetOp::SetCap { scope, cap, reason: reason.to_owned() };
        self.change(Admin::Budget(Box::new(op))).await.map(drop)
    }

    /// Caps that were set by hand.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn caps(&self) -> Result<Vec<StoredCap>, StoreError> {
        let rows = sqlx::query("SELECT scope, amount, set_at, reason FROM caps ORDER BY scope")
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        let cap = |row: &sqlx::sqlite::SqliteRow| {
            let scope: &str = row.try_get("scope")?;
            let scope = read_scope_word(scope).ok_or_else(|| unreadable(format_args!("scope `{scope}`")))?;
            let cap = row.try_get::<Option<i64>, _>("amount")?.map(|_| amount(row, "amount")).transpose()?;
            let (set_at, reason) = (time(row, "set_at")?, row.try_get("reason")?);
            Ok(StoredCap { cap: Cap { scope, cap }, set_at, reason })
        };
        rows.iter().map(cap).collect::<Result<_, _>>().map_err(store_error)
    }

    /// What was done to the money by hand, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn budget_audit(&self, limit: u32) -> Result<Vec<AuditLine>, StoreError> {
        let rows = sqlx::query("SELECT * FROM budget_audit ORDER BY id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        let line = |row: &sqlx::sqlite::SqliteRow| {
            Ok(AuditLine {
                at: time(row, "at")?,
                what: row.try_get("what")?,
                scope: row.try_get("scope")?,
                detail: row.try_get("detail")?,
                reason: row.try_get("reason")?,
            })
        };
        rows.iter().map(line).collect::<Result<_, _>>().map_err(store_error)
    }

    /// What the ledger adds up to, for looking: calls of a run of another process are under way.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ledger_state(&self) -> Result<LedgerState, StoreError> {
        StoredLedger::of_all(self).state().await.map_err(store_error)
    }

    /// What was billed since `since`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn spent_since(&self, since: UnixMillis) -> Result<Vec<RecentSpend>, StoreError> {
        let rows = sqlx::query(
            "SELECT job, role, provider, CAST(sum(billed) AS INTEGER) AS billed, \
             CAST(min(settled_at) AS INTEGER) AS first_at FROM ledger WHERE settled_at >= $1 GROUP BY job, role, provider",
        )
        .bind(since.0)
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let recent = |row: &sqlx::sqlite::SqliteRow| {
            Ok(RecentSpend {
                job: row.try_get("job")?,
                role: word(row, "role")?,
                provider: row.try_get::<&str, _>("provider")?.into(),
                billed: amount(row, "billed")?,
                first_at: time(row, "first_at")?,
            })
        };
        rows.iter().map(recent).collect::<Result<_, _>>().map_err(store_error)
    }

    /// The newest reservations, of one job or of all.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ledger_lines(&self, job: Option<&str>, limit: u32) -> Result<Vec<LedgerLine>, StoreError> {
        self.ledger_where(job, None, limit).await
    }

    /// The reservation with this number.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ledger_line(&self, hold: u64) -> Result<Option<LedgerLine>, StoreError> {
        Ok(self.ledger_where(None, Some(int(hold)), 1).await?.pop())
    }

    async fn ledger_where(
        &self,
        job: Option<&str>,
        hold: Option<i64>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let rows = sqlx::query(
            "SELECT id AS hold, CASE has_left WHEN 1 THEN 'sent' ELSE 'reserved' END AS state, job, child, \
             item, provider, model, reserved, NULL AS billed, at, NULL AS ended_at \
             FROM holds WHERE ($1 IS NULL OR job = $1) AND ($2 IS NULL OR id = $2) \
             UNION ALL SELECT hold, certainty, job, child, item, provider, model, reserved, billed, \
             reserved_at, settled_at FROM ledger WHERE ($1 IS NULL OR job = $1) AND ($2 IS NULL OR hold = $2) \
             ORDER BY hold DESC LIMIT $3",
        )
        .bind(job)
        .bind(hold)
        .bind(limit)
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let line = |row: &sqlx::sqlite::SqliteRow| {
            let optional = |column: &str| row.try_get::<Option<i64>, _>(column);
            Ok(LedgerLine {
                hold: number(row, "hold")?,
                state: row.try_get("state")?,
                job: row.try_get("job")?,
                child: word(row, "child")?,
                item: number(row, "item")?,
                provider: row.try_get("provider")?,
                model: row.try_get("model")?,
                reserved: amount(row, "reserved")?,
                billed: optional("billed")?.map(|_| amount(row, "billed")).transpose()?,
                at: time(row, "at")?,
                ended_at: optional("ended_at")?.map(UnixMillis),
            })
        };
        rows.iter().map(line).collect::<Result<_, _>>().map_err(store_error)
    }

    /// What the provider said was left when it was asked first, or when the ledger was last
    /// brought in line with it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn baseline(&self, provider: &ProviderId) -> Result<Option<Baseline>, StoreError> {
        let row = sqlx::query("SELECT at, balance, last_hold FROM baselines WHERE provider = $1")
            .bind(provider.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(store_error)?;
        let read = |row: sqlx::sqlite::SqliteRow| {
            let (at, balance) = (time(&row, "at")?, row.try_get("balance")?);
            Ok(Baseline { at, balance, first_hold: number(&row, "last_hold")? })
        };
        row.map(read).transpose().map_err(store_error)
    }

    /// Remembers what the provider says is left now. No call may be under way.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn remember_balance(&self, provider: &ProviderId, balance: i64) -> Result<(), StoreError> {
        let first_hold = self.ledger_state().await?.next_hold;
        let baseline = Baseline { at: self.now(), balance, first_hold };
        let op = BudgetOp::Baseline { provider: provider.to_string(), baseline };
        self.change(Admin::Budget(Box::new(op))).await.map(drop)
    }

    /// What the ledger has of a provider since a baseline.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn since_baseline(
        &self,
        provider: &ProviderId,
        baseline: &Baseline,
    ) -> Result<SinceBaseline, StoreError> {
        let rows =
            sqlx::query("SELECT hold, billed, certainty FROM ledger WHERE provider = $1 ORDER BY hold")
                .bind(provider.as_str())
                .fetch_all(self.readers())
                .await
                .map_err(store_error)?;
        let mut since = SinceBaseline::default();
        for row in &rows {
            let read = || {
                let (hold, billed) = (number(row, "hold")?, amount(row, "billed")?);
                Ok((hold, billed, row.try_get::<&str, _>("certainty")? == "unknown"))
            };
            let (hold, billed, is_unknown): (u64, _, _) = read().map_err(store_error)?;
            match (hold >= baseline.first_hold, is_unknown) {
                (true, true) => since.unknown.push((HoldId(hold), billed)),
                (true, false) => since.certain += billed,
                (false, true) => since.unknown_before += billed,
                (false, false) => {}
            }
        }
        Ok(since)
    }

    /// Bills calls of unknown outcome at what was found out; never at more than before. Audited.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn reconcile(
        &self,
        provider: &ProviderId,
        calls: Vec<(HoldId, Micros)>,
        detail: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (detail, reason) = (detail.to_owned(), reason.to_owned());
        let op = BudgetOp::Reconcile { provider: provider.to_string(), calls, detail, reason };
        self.change(Admin::Budget(Box::new(op))).await.map(drop)
    }
}
