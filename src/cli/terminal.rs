//! Printing, and asking the person at the terminal.

use std::io::{self, IsTerminal, Write, stdin, stdout};

use serde::Serialize;

use crate::run::error::CommandError;
use crate::run::progress::say;

/// Prints data. A reader that has had enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::internal(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON document.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let mut text = serde_json::to_string_pretty(value).map_err(CommandError::internal)?;
    text.push('\n');
    print(&text)
}

/// How wide what we print may be.
pub(super) fn width() -> usize {
    const DEFAULT: usize = 80;
    const WIDEST: usize = 110;
    comfy_table::Table::new().width().map_or(DEFAULT, usize::from).clamp(40, WIDEST)
}

/// Whether to use colour on standard output.
pub(super) fn color() -> bool {
    stdout().is_terminal() && crate::config::system_env("NO_COLOR").is_none()
}

/// Asks for a yes. `None` if nobody is there to ask.
pub(super) fn confirm(question: &str) -> Option<bool> {
    if !stdin().is_terminal() {
        return None;
    }
    say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
