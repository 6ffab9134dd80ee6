//! The journal of the tree, and what people said of its policies.

use std::sync::Arc;

use empire_actors::kernel::journal::{Chronicle, Entry};
use empire_actors::kernel::policies::Override;
use empire_actors::ports::StoreError;
use sqlx::types::Json;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::admin::Admin;
use super::error::store_error;
use super::row::int;
use super::writer::{Op, Writer};

/// Entries that are kept.
const KEPT: i64 = 100_000;

#[derive(Debug)]
pub(super) enum SupervisionOp {
    Enter(Entry),
    Say(Override),
    Unsay { path: String, version: u64 },
}

impl SupervisionOp {
    pub(super) async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let query = match self {
            SupervisionOp::Enter(entry) => {
                sqlx::query("DELETE FROM supervision WHERE id <= (SELECT max(id) FROM supervision) - $1")
                    .bind(KEPT)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("INSERT INTO supervision (at, path, entry) VALUES ($1, $2, $3)")
                    .bind(entry.at.0)
                    .bind(entry.path.as_str())
                    .bind(Json(entry))
            }
            SupervisionOp::Say(said) => sqlx::query(
                "INSERT OR REPLACE INTO policy_overrides (path, said, version) VALUES ($1, $2, $3)",
            )
            .bind(said.path.as_str())
            .bind(Json(said))
            .bind(int(said.version)),
            SupervisionOp::Unsay { path, version } => sqlx::query(
                "INSERT OR REPLACE INTO policy_overrides (path, said, version) VALUES ($1, NULL, $2)",
            )
            .bind(path.as_str())
            .bind(int(*version)),
        };
        Ok(query.execute(connection).await?.rows_affected())
    }
}

struct StoredChronicle(Writer);

impl Chronicle for StoredChronicle {
    fn write(&self, entry: &Entry) {
        let op = Op::Admin(Admin::Supervision(Box::new(SupervisionOp::Enter(entry.clone()))));
        if let Err(error) = self.0.offer(op) {
            tracing::warn!(%error, path = %entry.path, event = %entry.event, "not kept in the journal");
        }
    }
}

impl Store {
    /// Where the journal of the tree is kept.
    #[must_use]
    pub fn chronicle(&self) -> Arc<dyn Chronicle> {
        Arc::new(StoredChronicle(self.writer().clone()))
    }

    /// The latest `most` entries of `path` and all below it, oldest first; of all, if it is empty.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn journal(&self, path: &str, most: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query(
            "SELECT entry FROM supervision WHERE $1 = '' OR path = $1 \
             OR substr(path, 1, length($1) + 1) = $1 || '/' ORDER BY id DESC LIMIT $2",
        )
        .bind(path)
        .bind(most)
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        let entry =
            |row: &sqlx::sqlite::SqliteRow| row.try_get::<Json<Entry>, _>("entry").map(|entry| entry.0);
        rows.iter().rev().map(entry).collect::<Result<_, _>>().map_err(store_error)
    }

    /// What people said of policies, and the number of the newest change.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn policy_overrides(&self) -> Result<(Vec<Override>, u64), StoreError> {
        let rows = sqlx::query("SELECT said, version FROM policy_overrides")
            .fetch_all(self.readers())
            .await
            .map_err(store_error)?;
        let (mut said, mut newest) = (Vec::new(), 0);
        for row in rows {
            newest = newest.max(super::row::number(&row, "version").map_err(store_error)?);
            let override_: Option<Json<Override>> = row.try_get("said").map_err(store_error)?;
            said.extend(override_.map(|said| said.0));
        }
        Ok((said, newest))
    }

    /// Enters what a person did where no process runs.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn enter(&self, entry: Entry) -> Result<(), StoreError> {
        self.change(Admin::Supervision(Box::new(SupervisionOp::Enter(entry)))).await.map(drop)
    }

    /// Keeps what a person said of a policy.
    ///
    /// # Errors
    /// If the store fails; then it does not hold.
    pub async fn say_policy(&self, said: Override) -> Result<(), StoreError> {
        self.change(Admin::Supervision(Box::new(SupervisionOp::Say(said)))).await.map(drop)
    }

    /// Takes back what was said of `path`, as change number `version`.
    ///
    /// # Errors
    /// If the store fails; then it holds on.
    pub async fn unsay_policy(&self, path: &str, version: u64) -> Result<(), StoreError> {
        let op = SupervisionOp::Unsay { path: path.to_owned(), version };
        self.change(Admin::Supervision(Box::new(op))).await.map(drop)
    }
}
