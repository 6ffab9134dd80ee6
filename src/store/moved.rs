//! Results that move or go: an input that was edited, and items that are worked anew.

use empire_actors::ports::{ItemKey, UnixMillis};
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, SqliteConnection};

use super::record::{LEFT, REDUCE, number_of};
use super::results::Outcome;
use super::row::{in_shapes, int, place};

const COLUMNS: &str = "item_key, state, said, cost, detail, at";

/// Takes results away from their places, and keeps them for when their items come back.
pub(super) async fn loosen(
    connection: &mut SqliteConnection,
    job: &str,
    items: &[u32],
) -> Result<u64, sqlx::Error> {
    let number = number_of(connection, job).await?;
    let mut moved = 0;
    for items in in_shapes(items) {
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO loose_results (job, part, ");
        sql.push(COLUMNS).push(") SELECT ").push_bind(number).push(", ").push_bind(LEFT).push(", ");
        sql.push(COLUMNS).push(" FROM results WHERE place IN ");
        push_places(&mut sql, number, items);
        sql.build().execute(&mut *connection).await?;
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM results WHERE place IN ");
        push_places(&mut sql, number, items);
        moved += sql.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(moved)
}

/// Gives results their places.
pub(super) async fn place_at(
    connection: &mut SqliteConnection,
    job: &str,
    items: &[(ItemKey, u32)],
) -> Result<u64, sqlx::Error> {
    let number = number_of(connection, job).await?;
    let mut moved = 0;
    for items in in_shapes(items) {
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO results (place, ");
        sql.push(COLUMNS).push(") SELECT column2, ").push(COLUMNS).push(" FROM (");
        sql.push_values(items, |mut row, (key, item)| {
            row.push_bind(&key.0[..]).push_bind(place(number, *item));
        });
        sql.push(") JOIN loose_results ON item_key = column1 AND part = ").push_bind(LEFT);
        sql.push(" AND job = ").push_bind(number);
        sql.build().execute(&mut *connection).await?;
        let keys = items.iter().map(|(key, _)| key);
        moved += delete_loose(connection, (number, LEFT), keys).await?;
    }
    Ok(moved)
}

/// Deletes results that ended so, and takes them out of the job's counters.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    job: &str,
    outcome: Outcome,
    items: &[u32],
    now: UnixMillis,
) -> Result<u64, sqlx::Error> {
    let number = number_of(connection, job).await?;
    let mut forgotten = 0;
    for items in in_shapes(items) {
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM results WHERE state = ");
        sql.push_bind(outcome.as_str()).push(" AND place IN ");
        push_places(&mut sql, number, items);
        forgotten += sql.build().execute(&mut *connection).await?.rows_affected();
    }
    let counter = match outcome {
        Outcome::Done => "UPDATE jobs SET done = done - $2, updated_at = $3 WHERE id = $1",
        Outcome::Dead => "UPDATE jobs SET dead = dead - $2, updated_at = $3 WHERE id = $1",
    };
    sqlx::query(counter).bind(job).bind(int(forgotten)).bind(now.0).execute(connection).await?;
    Ok(forgotten)
}

/// Deletes results of steps of the reduce.
pub(super) async fn forget_steps(
    connection: &mut SqliteConnection,
    job: &str,
    keys: &[ItemKey],
) -> Result<u64, sqlx::Error> {
    let number = number_of(connection, job).await?;
    let mut forgotten = 0;
    for keys in in_shapes(keys) {
        forgotten += delete_loose(connection, (number, REDUCE), keys.iter()).await?;
    }
    Ok(forgotten)
}

async fn delete_loose(
    connection: &mut SqliteConnection,
    (job, part): (i64, &'static str),
    keys: impl Iterator<Item = &ItemKey>,
) -> Result<u64, sqlx::Error> {
    let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM loose_results WHERE job = ");
    sql.push_bind(job).push(" AND part = ").push_bind(part).push(" AND item_key IN (");
    let mut list = sql.separated(", ");
    for key in keys {
        list.push_bind(key.0.to_vec());
    }
    Ok(sql.push(")").build().execute(connection).await?.rows_affected())
}

fn push_places(sql: &mut QueryBuilder<Sqlite>, job: i64, items: &[u32]) {
    let mut list = sql.separated(", ");
    list.push_unseparated("(");
    for item in items {
        list.push_bind(place(job, *item));
    }
    list.push_unseparated(")");
}
