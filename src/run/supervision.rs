//! The policies of the tree: those that ship, the owner's file over them, and what people said
//! while they were in force.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use empire_actors::kernel::journal::{Chronicle, Entry, Journal};
use empire_actors::kernel::policies::{FileLayer, Policies, PolicyPatch};
use empire_actors::kernel::tree::{ROOT, Supervision};
use empire_actors::tally::Tally;

use super::error::CommandError;
use super::system::{SystemClock, SystemRandom};
use crate::store::Store;

/// What ships.
const SHIPPED: &str = include_str!("../../config/supervision.toml");
/// The owner's file in the data folder.
pub const FILE: &str = "supervision.toml";
/// Larger files are not read.
const LARGEST: u64 = 1 << 20;

/// Writes decisions down, and counts them.
struct Counted {
    chronicle: Arc<dyn Chronicle>,
    tally: Arc<Tally>,
}

impl Chronicle for Counted {
    fn write(&self, entry: &Entry) {
        self.tally.entered(entry);
        self.chronicle.write(entry);
    }
}

/// Supervision by all layers, whose decisions go to the store and into `tally`.
pub async fn supervision(store: &Store, tally: Arc<Tally>) -> Result<Supervision, CommandError> {
    let (said, version) = store.policy_overrides().await?;
    let chronicle = Arc::new(Counted { chronicle: store.chronicle(), tally });
    Ok(Supervision {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        policies: Arc::new(Policies::new(file_layer(store.dir())?, said, version)),
        journal: Arc::new(Journal::new(Some(chronicle))),
    })
}

/// What the files say: the owner's over what ships, field by field.
pub fn file_layer(dir: &Path) -> Result<FileLayer, CommandError> {
    layer_with(&dir.join(FILE), false)
}

fn layer_with(path: &Path, must_be: bool) -> Result<FileLayer, CommandError> {
    let mut layer = parse(SHIPPED, "config/supervision.toml")?;
    let name = path.display().to_string();
    let unreadable = |error: io::Error| CommandError::bad_input(format!("cannot read {name}: {error}"));
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be => {
            return Ok(layer.into_iter().collect());
        }
        Err(error) => return Err(unreadable(error)),
        Ok(found) if found.len() > LARGEST => {
            return Err(CommandError::bad_input(format!(
                "{name} is larger than {LARGEST} bytes: nobody wrote that by hand"
            )));
        }
        Ok(_) => {}
    }
    for (pattern, patch) in parse(&fs::read_to_string(path).map_err(unreadable)?, &name)? {
        let below = layer.entry(pattern).or_default();
        *below = below.under(&patch);
    }
    Ok(layer.into_iter().collect())
}

/// A policy file that lies somewhere else, over what ships.
pub fn file_layer_of(path: &Path) -> Result<FileLayer, CommandError> {
    layer_with(path, true)
}

fn parse(text: &str, name: &str) -> Result<BTreeMap<String, PolicyPatch>, CommandError> {
    let line_of =
        |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
    let layer: BTreeMap<String, PolicyPatch> = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        CommandError::bad_input(format!("{name}:{line}: {}", error.message().replace('\n', ", ")))
    })?;
    for (pattern, patch) in &layer {
        // Where its table begins, as it is written.
        let line = text.find(&format!("[\"{pattern}\"]")).map_or(1, line_of);
        if pattern != ROOT && !pattern.starts_with(&format!("{ROOT}/")) {
            return Err(CommandError::bad_input(format!(
                "{name}:{line}: `{pattern}` is no path of the tree: paths begin with {ROOT}"
            )));
        }
        patch
            .check()
            .map_err(|error| CommandError::bad_input(format!("{name}:{line}: {pattern}: {error}")))?;
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_owner_s_file_lies_over_the_shipped_one_field_by_field() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = file_layer(dir.path()).unwrap();
        assert!(shipped.len() >= 4);
        fs::write(dir.path().join(FILE), "[\"/empire/gates\"]\nwindow = \"90s\"\n").unwrap();
        let layer = file_layer(dir.path()).unwrap();
        let gates = layer.iter().find(|(pattern, _)| pattern == "/empire/gates").unwrap().1;
        assert_eq!((gates.window, gates.intensity), (Some(Duration::from_secs(90)), Some(5)));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("[\"/empire\"]\nintensity = 1\nwindows = 3\n", "supervision.toml:3: unknown field"),
            ("\n[\"/gates\"]\nintensity = 1\n", "supervision.toml:2: `/gates` is no path"),
            ("[\"/empire\"]\nbackoff_factor = 0.1\n", "supervision.toml:1: /empire: `backoff_factor` is 0.1"),
            ("[\"/empire\"]\nwindow = \"soon\"\n", "supervision.toml:2: "),
        ] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = file_layer(dir.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
