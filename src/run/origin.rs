//! Where the files of a job lie. It is kept with the job: a rule about a place that is made later
//! holds for it when it goes on, even if the files are gone by then.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use empire_actors::level::Level;

use super::error::CommandError;
use crate::job::{Input, InputSource, JobSpec};
use crate::privacy::{SourceRules, places_of};
use crate::store::Store;

/// A job's file in the data folder that says where its input and its spec lay.
const ORIGIN_FILE: &str = "origin.json";

/// Where a job's items come from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// Its input, read now: the spec's, or the one that the command line names.
    Input(Option<&'a Path>),
    /// The store, which read them from here before; whatever the spec names is not read again.
    Stored(&'a Places),
}

impl Origin<'_> {
    /// What is read, and where the job's files lie.
    pub(super) fn find(self, spec: &mut JobSpec) -> Result<(InputSource, Places), CommandError> {
        match self {
            Origin::Input(given) => {
                let source = InputSource::resolve(spec, given)?;
                let places = Places::of(spec, &source)?;
                Ok((source, places))
            }
            Origin::Stored(places) => {
                spec.input = Some(Input::Count(1));
                Ok((InputSource::resolve(spec, None)?, places.clone()))
            }
        }
    }
}

/// Where a job's input and its spec lie: by their names, and where these led.
#[derive(Debug, Clone)]
pub struct Places(Vec<PathBuf>);

impl Places {
    fn of(spec: &JobSpec, source: &InputSource) -> Result<Places, CommandError> {
        let mut all = Vec::new();
        for path in source.path().into_iter().chain([spec.path.as_path()]) {
            for place in places_of(path).map_err(|error| not_followed(path, &error))? {
                if !all.contains(&place) {
                    all.push(place);
                }
            }
        }
        Ok(Places(all))
    }

    /// The level of these places where that is above `declared`, and why.
    pub(super) fn level_above(
        &self,
        declared: Level,
        rules: &SourceRules,
    ) -> Result<Option<(Level, String)>, CommandError> {
        let mut highest: Option<(Level, String)> = None;
        for path in &self.0 {
            let rule = rules.level_of(path).map_err(|error| not_followed(path, &error))?;
            let reached = highest.as_ref().map_or(declared, |(level, _)| *level);
            if let Some(rule) = rule.filter(|rule| rule.level > reached) {
                let why = format!("{} is {} by [privacy.sources] {}", path.display(), rule.level, rule.path);
                highest = Some((rule.level, why));
            }
        }
        Ok(highest)
    }

    /// Keeps them with a job, before its items are read in.
    pub fn keep(&self, store: &Store, job: &str) -> Result<(), CommandError> {
        let path = file(store, job);
        // A path need not be UTF-8.
        let names: Vec<OsString> = self.0.iter().map(|place| place.clone().into_os_string()).collect();
        let json = serde_json::to_vec(&names).map_err(CommandError::internal)?;
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            let mut file = File::create(&path)?;
            file.write_all(&json)?;
            file.sync_all()
        };
        write().map_err(|error| {
            CommandError::bad_input(format!(
                "cannot write {}: {error}: free some space, or choose another --data-dir",
                path.display()
            ))
        })
    }

    /// Those that were kept with a job. Without them nobody knows which rules hold for it.
    pub fn kept(store: &Store, job: &str) -> Result<Places, CommandError> {
        let path = file(store, job);
        let names = fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
        let names: Vec<OsString> = names.map_err(|why| {
            CommandError::bad_input(format!(
                "{} cannot be read ({why}), so the privacy level of the job's input is not known: `empire swarm run` with its job file reads the input anew and goes on with it",
                path.display()
            ))
        })?;
        Ok(Places(names.into_iter().map(PathBuf::from).collect()))
    }
}

fn file(store: &Store, job: &str) -> PathBuf {
    store.dir().join("jobs").join(job).join(ORIGIN_FILE)
}

fn not_followed(path: &Path, error: &io::Error) -> CommandError {
    CommandError::bad_input(format!(
        "{} cannot be followed ({error}), so its privacy level is not known: correct the path",
        path.display()
    ))
}
