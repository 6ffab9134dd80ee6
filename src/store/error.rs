//! What the database says, in the store's words.

use empire_actors::ports::StoreError;
use sqlx::error::DatabaseError;

/// SQLite's result codes that mean something to us: <https://sqlite.org/rescode.html>.
mod code {
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const TOO_BIG: u32 = 18;
    pub(super) const CONSTRAINT: u32 = 19;
    pub(super) const MISMATCH: u32 = 20;
    pub(super) const NOT_A_DATABASE: u32 = 26;
    /// The shared-memory file could not grow: in practice, the disk is full.
    pub(super) const IOERR_SHMSIZE: u32 = 10 | (19 << 8);
}

/// What kind of trouble an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    DiskFull,
    Damaged,
    /// One operation cannot be done; others can.
    Refused,
    Gone,
    Other,
}

fn code_of(error: &dyn DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            let code = code_of(error.as_ref());
            match (code, code & 0xff) {
                (code::IOERR_SHMSIZE, _) | (_, code::FULL) => Trouble::DiskFull,
                (_, code::CORRUPT | code::NOT_A_DATABASE) => Trouble::Damaged,
                (_, code::CONSTRAINT | code::TOO_BIG | code::MISMATCH) => Trouble::Refused,
                _ => Trouble::Other,
            }
        }
        sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_) => Trouble::Refused,
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Trouble::Gone,
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Trouble::DiskFull,
        _ => Trouble::Other,
    }
}

/// The database's own words, without the driver's preamble.
pub(super) fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match trouble(&error) {
        Trouble::DiskFull => StoreError::DiskFull,
        Trouble::Gone => StoreError::Closed,
        Trouble::Damaged => StoreError::Failed(format!(
            "the database `{}` in the data folder is damaged ({}): results.jsonl files already written are safe; move the database away and start afresh, or restore a copy",
            super::open::DATABASE,
            words(&error)
        )),
        Trouble::Refused | Trouble::Other => StoreError::Failed(words(&error)),
    }
}

/// For a stored value that this program could not have written.
pub(super) fn unreadable(what: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("unreadable {what}").into())
}
