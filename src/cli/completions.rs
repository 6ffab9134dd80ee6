//! `empire completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::terminal;
use crate::run::error::{CommandError, Exit};

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// Which shell.
    shell: Shell,
}

pub(super) fn print(args: &CompletionArgs, command: &mut Command) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "empire", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
