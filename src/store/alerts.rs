//! Alerts, so that they outlive a process and can be looked at from another one.

use empire_actors::alerts::{Alert, AlertKind};
use empire_actors::ports::{StoreError, UnixMillis};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::admin::Admin;
use super::error::{store_error, unreadable};
use super::row::{int, time};

/// How long an alert is kept that is over.
const KEPT_MILLIS: i64 = 90 * 86_400_000;

/// An alert as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredAlert {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// Who said that they know.
    pub acknowledged_by: Option<String>,
    /// Why, as they said.
    pub reason: String,
}

#[derive(Debug)]
pub(super) enum AlertOp {
    Save(Alert),
    Acknowledge {
        kind: AlertKind,
        subject: String,
        by: String,
        reason: String,
    },
    /// Shows that the store can be written.
    Beat,
}

impl AlertOp {
    pub(super) async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: UnixMillis,
    ) -> Result<u64, sqlx::Error> {
        let query = match self {
            AlertOp::Save(alert) => {
                sqlx::query("DELETE FROM alerts WHERE recovered_at < $1")
                    .bind(now.0.saturating_sub(KEPT_MILLIS))
                    .execute(&mut *connection)
                    .await?;
                // What somebody knows of is what was on then; coming up anew it is nobody's.
                sqlx::query(
                    "INSERT INTO alerts (kind, subject, severity, message, since, last_seen, count, told_at, \
                     recovered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                     ON CONFLICT (kind, subject) DO UPDATE SET severity = excluded.severity, \
                     message = excluded.message, last_seen = excluded.last_seen, count = excluded.count, \
                     told_at = excluded.told_at, recovered_at = excluded.recovered_at, \
                     acknowledged_at = CASE WHEN alerts.since = excluded.since THEN acknowledged_at END, \
                     acknowledged_by = CASE WHEN alerts.since = excluded.since THEN acknowledged_by END, \
                     reason = CASE WHEN alerts.since = excluded.since THEN reason ELSE '' END, \
                     since = excluded.since",
                )
                .bind(alert.kind.word())
                .bind(&*alert.subject)
                .bind(alert.severity.word())
                .bind(alert.message.as_str())
                .bind(alert.since.0)
                .bind(alert.last_seen.0)
                .bind(int(alert.count))
                .bind(alert.told_at.map(|at| at.0))
                .bind(alert.recovered_at.map(|at| at.0))
            }
            AlertOp::Acknowledge { kind, subject, by, reason } => sqlx::query(
                "UPDATE alerts SET acknowledged_at = $3, acknowledged_by = $4, reason = $5 \
                 WHERE kind = $1 AND subject = $2 AND recovered_at IS NULL",
            )
            .bind(kind.word())
            .bind(subject.as_str())
            .bind(now.0)
            .bind(by.as_str())
            .bind(reason.as_str()),
            AlertOp::Beat => sqlx::query(
                "INSERT INTO meta (name, value) VALUES ('beat', $1) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(now.0.to_string()),
        };
        Ok(query.execute(connection).await?.rows_affected())
    }
}

impl Store {
    /// Keeps an alert as it is now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn save_alert(&self, alert: Alert) -> Result<(), StoreError> {
        self.change(Admin::Alert(Box::new(AlertOp::Save(alert)))).await.map(drop)
    }

    /// Somebody knows of an alert, from any process. `false` if it is not on.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn acknowledge_alert(
        &self,
        kind: AlertKind,
        subject: &str,
        by: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let (subject, by, reason) = (subject.to_owned(), by.to_owned(), reason.to_owned());
        let op = AlertOp::Acknowledge { kind, subject, by, reason };
        Ok(self.change(Admin::Alert(Box::new(op))).await? == 1)
    }

    /// All alerts, those that are on before the others, each the newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn alerts(&self) -> Result<Vec<StoredAlert>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM alerts ORDER BY recovered_at IS NOT NULL, since DESC, kind, subject")
                .fetch_all(self.readers())
                .await
                .map_err(store_error)?;
        rows.iter().map(alert).collect::<Result<_, _>>().map_err(store_error)
    }

    /// Writes something and reads it again.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn check(&self) -> Result<(), StoreError> {
        let before = self.now();
        self.change(Admin::Alert(Box::new(AlertOp::Beat))).await?;
        let read: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'beat'")
            .fetch_optional(self.readers())
            .await
            .map_err(store_error)?;
        let beat = read.and_then(|beat| beat.parse::<i64>().ok());
        if beat.is_some_and(|beat| beat >= before.0) {
            return Ok(());
        }
        Err(StoreError::Failed("what was written to the database cannot be read there".to_owned()))
    }
}

fn alert(row: &SqliteRow) -> Result<StoredAlert, sqlx::Error> {
    let word = |name| row.try_get::<&str, _>(name);
    let moment = |name| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(name)?.map(UnixMillis));
    let alert = Alert {
        kind: word("kind")?.parse().map_err(unreadable)?,
        subject: word("subject")?.into(),
        severity: word("severity")?.parse().map_err(unreadable)?,
        message: row.try_get("message")?,
        since: time(row, "since")?,
        last_seen: time(row, "last_seen")?,
        count: u64::try_from(row.try_get::<i64, _>("count")?).unwrap_or(0),
        told_at: moment("told_at")?,
        recovered_at: moment("recovered_at")?,
        acknowledged_at: moment("acknowledged_at")?,
    };
    Ok(StoredAlert {
        alert,
        acknowledged_by: row.try_get("acknowledged_by")?,
        reason: row.try_get("reason")?,
    })
}
