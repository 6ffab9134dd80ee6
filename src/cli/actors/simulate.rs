//! `empire policy simulate`.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use empire_actors::house::nodes::standing;
use empire_actors::kernel::journal::Entry;
use empire_actors::kernel::policies::Policies;
use empire_actors::kernel::policy::{Action, Policy};
use empire_actors::kernel::replay::{Replayed, replay};
use empire_actors::ports::WallClock;
use serde_json::json;

use super::super::{Context, terminal};
use super::{Where, offline};
use crate::run::error::{CommandError, Exit};
use crate::run::supervision::file_layer_of;
use crate::run::system::SystemClock;
use crate::text;

/// Longer files hold more exits than anybody reads about.
const LARGEST: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct SimulateArgs {
    /// Recorded exits, as `empire history --json` prints them; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Decide by this file, over what ships, in place of the policies in force.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn simulate(context: &Context, args: SimulateArgs) -> Result<Exit, CommandError> {
    let entries = entries(&args.file)?;
    let policies = match &args.policy {
        Some(file) => Policies::new(file_layer_of(file)?, Vec::new(), 0),
        None => offline::policies(context, args.place).await?,
    };
    // What has expired by now is not in force, whenever the exits were.
    let now = SystemClock.now();
    let policy_of = |path: &str| {
        let default = standing(path).map_or_else(Policy::default, |node| node.policy);
        policies.effective(path, &default, now).policy
    };
    let replayed = replay(&entries, policy_of);
    let text: String = if context.json {
        replayed.iter().map(|one| format!("{}\n", document(one))).collect()
    } else {
        words(&replayed)
    };
    terminal::print(&text)?;
    Ok(Exit::Done)
}

fn entries(file: &Path) -> Result<Vec<Entry>, CommandError> {
    let name = file.display();
    let unreadable = |error: std::io::Error| CommandError::bad_input(format!("cannot read {name}: {error}"));
    let mut text = String::new();
    if file.as_os_str() == "-" {
        stdin().take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let mut file = File::open(file).map_err(unreadable)?.take(LARGEST + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
    }
    if text.len() as u64 > LARGEST {
        return Err(CommandError::bad_input(format!(
            "{name} is larger than {LARGEST} bytes: give a part of it"
        )));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let line = index + 1;
                CommandError::bad_input(format!(
                    "{name}:{line}: {error}: give lines as `empire history --json` prints them"
                ))
            })
        })
        .collect()
}

fn document(one: &Replayed) -> serde_json::Value {
    json!({
        "at": one.at, "path": one.path, "exit": one.exit, "was": one.was, "would_be": one.would_be,
        "in_window": one.in_window, "differs": one.differs(),
    })
}

fn words(replayed: &[Replayed]) -> String {
    let line = |one: &Replayed| {
        let why = one.exit.why().map(|why| format!(" ({})", text::one_line(why, 80))).unwrap_or_default();
        let was = if one.differs() { format!(", and not {}", action(&one.was)) } else { String::new() };
        format!("{}  {}  {}{why}: {}{was}\n", one.at, one.path, one.exit.word(), action(&one.would_be))
    };
    let mut words: String = replayed.iter().map(line).collect();
    let differ = replayed.iter().filter(|one| one.differs()).count();
    words.push_str(&format!(
        "{}, {} decided otherwise\n",
        text::count(replayed.len() as u64, "exit"),
        text::thousands(differ as u64)
    ));
    words
}

fn action(action: &Action) -> String {
    match action {
        Action::LetGo => "let go".to_owned(),
        Action::Restart { delay } => format!("restarted after {}", text::duration(*delay)),
        Action::Escalate => "its supervisor gives up".to_owned(),
        Action::Quarantine => "quarantined".to_owned(),
        Action::Pause { lasts } => format!("left down for {}", text::duration(*lasts)),
    }
}
