//! Between Rust's types and the database's.

use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{Certainty, HoldRecord, ItemKey, UnixMillis};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::unreadable;

/// The longest statement takes this many rows; what is left over goes in smaller, equally few
/// shapes, so that every statement is prepared once.
const SHAPES: [usize; 4] = [256, 32, 4, 1];

/// Cuts `items` into slices of few different lengths.
pub(super) fn in_shapes<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let length = SHAPES.into_iter().find(|length| *length <= rest.len())?;
        let (head, tail) = rest.split_at(length);
        rest = tail;
        Some(head)
    })
}

/// A number as the database holds it: too large ones stay at the largest.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let stored: i64 = row.try_get(column)?;
    T::try_from(stored).map_err(|_| unreadable(format_args!("number {stored} in `{column}`")))
}

pub(super) fn amount(row: &SqliteRow, column: &str) -> Result<Micros, sqlx::Error> {
    number(row, column).map(Micros)
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<UnixMillis, sqlx::Error> {
    row.try_get(column).map(UnixMillis)
}

pub(super) fn usage(row: &SqliteRow) -> Result<Usage, sqlx::Error> {
    Ok(Usage {
        input: number(row, "input_tokens")?,
        cached_input: number(row, "cached_tokens")?,
        cache_write: number(row, "cache_write_tokens")?,
        output: number(row, "output_tokens")?,
    })
}

pub(super) fn key(row: &SqliteRow, column: &str) -> Result<ItemKey, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(ItemKey).map_err(|_| unreadable(format_args!("key in `{column}`")))
}

pub(super) fn hold(row: &SqliteRow) -> Result<HoldRecord, sqlx::Error> {
    Ok(HoldRecord {
        id: empire_actors::ports::HoldId(number(row, "id")?),
        job: row.try_get::<&str, _>("job")?.into(),
        role: word(row, "role")?,
        child: word(row, "child")?,
        item: number(row, "item")?,
        provider: row.try_get::<&str, _>("provider")?.into(),
        model: row.try_get("model")?,
        reserved: amount(row, "reserved")?,
        at: time(row, "at")?,
    })
}

pub(super) fn word(row: &SqliteRow, column: &str) -> Result<Option<std::sync::Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(Into::into))
}

/// Where the result of an item lies, given its job's number.
pub(super) fn place(job: i64, item: u32) -> i64 {
    job << 32 | i64::from(item)
}

/// The item whose result lies there.
pub(super) fn item_of(place: i64) -> u32 {
    (place & i64::from(u32::MAX)) as u32
}

pub(super) fn certainty_word(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Settled => "settled",
        Certainty::Unknown => "unknown",
    }
}
