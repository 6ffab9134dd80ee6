//! How a command can fail, and the exit code that says so.

use empire_actors::ports::StoreError;

use crate::config::ConfigError;
use crate::home::HomeError;
use crate::job::{InputError, SpecError};
use crate::privacy::rules::RulesError;
use crate::providers::ClientError;
use crate::sim::{ScenarioError, SimError};
use crate::store::{FindError, OpenError};

/// What a command's exit code says. See `docs/errors-and-exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// The program itself failed.
    Internal = 1,
    /// Wrong usage or bad input; nothing was spent.
    BadInput = 2,
    /// All was worked, and some agents died.
    DeadAgents = 3,
    /// A gate or the plan refused, or the job stopped before its end.
    Refused = 4,
    /// Interrupted, and resumable.
    Interrupted = 130,
}

impl Exit {
    /// The exit of another process's code; what is none of ours counts as a failure.
    #[must_use]
    pub fn of(code: u8) -> Exit {
        let all = [Exit::Done, Exit::BadInput, Exit::DeadAgents, Exit::Refused, Exit::Interrupted];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Internal)
    }
}

/// A failed command: what to tell the user, and how to exit.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl CommandError {
    /// Wrong usage or bad input.
    pub fn bad_input(message: impl std::fmt::Display) -> CommandError {
        CommandError { exit: Exit::BadInput, message: message.to_string() }
    }

    /// Refused by a gate or the plan.
    pub fn refused(message: impl std::fmt::Display) -> CommandError {
        CommandError { exit: Exit::Refused, message: message.to_string() }
    }

    /// The program itself failed.
    pub fn internal(message: impl std::fmt::Display) -> CommandError {
        CommandError { exit: Exit::Internal, message: message.to_string() }
    }
}

macro_rules! bad_input {
    ($($error:ty),*) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                CommandError::bad_input(error)
            }
        }
    )*};
}
bad_input!(
    ConfigError,
    HomeError,
    SpecError,
    InputError,
    OpenError,
    ClientError,
    ScenarioError,
    SimError,
    RulesError
);

impl From<FindError> for CommandError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            other => CommandError::bad_input(other),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => CommandError::refused(error),
            other => CommandError::internal(other),
        }
    }
}
