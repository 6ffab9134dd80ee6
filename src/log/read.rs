//! Reads the log's files again: the last lines, all of a time, or what comes.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use empire_actors::ports::UnixMillis;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::file::{FOLDER, days};
use super::levels;
use crate::run::feed::SAYS;

use super::line::{Fields, Shown, day, time, words};

/// A longer line is none of ours.
const LONGEST_LINE: u64 = 4 << 20;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of the job whose id begins so.
    pub job: Option<String>,
    /// At least so severe.
    pub level: Option<LevelFilter>,
    /// From this moment on.
    pub since: Option<UnixMillis>,
    /// Before this moment.
    pub until: Option<UnixMillis>,
    /// Of this process.
    pub process: Option<u32>,
}

impl Wanted {
    /// A least level by its name: error, warn, info, debug or trace.
    #[must_use]
    pub fn level_of(name: &str) -> Option<LevelFilter> {
        levels::level(name).filter(|level| *level != LevelFilter::OFF)
    }

    fn admits(&self, entry: &Parsed) -> bool {
        let is_severe = self.level.is_none_or(|least| {
            levels::level(&entry.level).is_some_and(|level| level != LevelFilter::OFF && level <= least)
        });
        // Moments are written so that they sort as text.
        let is_since = self.since.is_none_or(|since| *entry.time >= *time(since));
        let is_until = self.until.is_none_or(|until| *entry.time < *time(until));
        let is_of_job = self.job.as_deref().is_none_or(|job| {
            let of = |fields: &Fields| {
                fields.get("job").and_then(|job| job.as_str()).is_some_and(|id| id.starts_with(job))
            };
            of(&entry.fields) || entry.spans.iter().any(of)
        });
        let is_of_process = self.process.is_none_or(|process| entry.process == Some(process));
        is_severe && is_since && is_until && is_of_job && is_of_process
    }
}

/// A line that was read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As it stands in the file, without its break.
    pub raw: String,
    parsed: Parsed,
}

#[derive(Debug, Clone, Deserialize)]
struct Parsed {
    time: String,
    level: String,
    target: String,
    message: String,
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    spans: Vec<Fields>,
    process: Option<u32>,
}

/// A line in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The time of the day: `14:20:05`.
    pub time: String,
    /// How severe, as `WARN`.
    pub level: String,
    /// What was said, with its fields. Nothing in it moves a cursor.
    pub words: String,
}

impl Entry {
    /// In short.
    #[must_use]
    pub fn brief(&self) -> Brief {
        let Parsed { time, level, message, fields, .. } = &self.parsed;
        // What a job says needs no further words.
        let said = fields.get("line").and_then(|line| line.as_str()).filter(|_| message == SAYS);
        let of_day = time.split_once('T').map_or(time.as_str(), |(_, of_day)| of_day);
        Brief {
            time: words(of_day.split('.').next().unwrap_or(of_day), None),
            level: words(level, None),
            words: said.map_or_else(|| words(message, Some(fields)), |said| words(said, None)),
        }
    }

    /// For a person's eyes, with the line break.
    #[must_use]
    pub fn pretty(&self, coloured: bool) -> String {
        let Parsed { time, level, target, message, fields, spans, .. } = &self.parsed;
        let name =
            |span: &'_ Fields| span.get("name").and_then(|name| name.as_str()).unwrap_or("span").to_owned();
        let names: Vec<String> = spans.iter().map(name).collect();
        let shown = Shown { time, level, target, message, fields: Some(fields) };
        shown.pretty(names.iter().map(String::as_str).zip(spans), coloured)
    }
}

/// The log of a data folder, as far as it was read.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    wanted: Wanted,
    /// How far each file was read.
    read_to: BTreeMap<PathBuf, u64>,
    /// Where to follow from.
    followed: Option<jiff::civil::Date>,
    unread: u64,
}

impl Reader {
    /// Reads the log in the data folder `home`.
    #[must_use]
    pub fn new(home: &Path, wanted: Wanted) -> Reader {
        let folder = home.join(FOLDER);
        Reader { folder, wanted, read_to: BTreeMap::new(), followed: None, unread: 0 }
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lines so far that are none: something else wrote there.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Skips what is older than about the last `bytes` of the newest file: of a large log, the end
    /// alone is read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn skip_to_the_last(&mut self, bytes: u64) -> io::Result<()> {
        let Some((newest, path)) = self.files()?.pop() else { return Ok(()) };
        self.followed = Some(newest);
        let mut file = File::open(&path)?;
        let from = file.metadata()?.len().saturating_sub(bytes);
        if from > 0 {
            // From the middle of a line to its end.
            file.seek(SeekFrom::Start(from))?;
            let mut part = Vec::new();
            BufReader::new(file).take(LONGEST_LINE).read_until(b'\n', &mut part)?;
            self.read_to.insert(path, from + part.len() as u64);
        }
        Ok(())
    }

    /// Whether there is any file yet.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(days(&self.folder)?.is_empty())
    }

    /// The last `most` lines that are wanted, the oldest first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn last(&mut self, most: usize) -> io::Result<Vec<Entry>> {
        let mut last: VecDeque<Entry> = VecDeque::new();
        for (_, path) in self.files()?.into_iter().rev() {
            let missing = most - last.len();
            if missing == 0 {
                self.read_to.entry(path).or_insert(0);
                continue;
            }
            let mut of_file = VecDeque::with_capacity(missing.min(1_024));
            self.read(&path, &mut |entry| {
                if of_file.len() == missing {
                    of_file.pop_front();
                }
                of_file.push_back(entry);
                true
            })?;
            while let Some(entry) = of_file.pop_back() {
                last.push_front(entry);
            }
        }
        Ok(last.into())
    }

    /// Every line that is wanted and was not read yet, the oldest first, until `take` has enough.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn each(&mut self, take: &mut dyn FnMut(Entry) -> bool) -> io::Result<()> {
        for (_, path) in self.files()? {
            if !self.read(&path, take)? {
                break;
            }
        }
        Ok(())
    }

    /// The files that may hold what is wanted. Once something was read, only the newest of then and
    /// what came since can grow.
    fn files(&mut self) -> io::Result<Vec<(jiff::civil::Date, PathBuf)>> {
        let mut files = days(&self.folder)?;
        let newest = files.last().map(|(day, _)| *day);
        let (since, until) = (self.wanted.since.map(day), self.wanted.until.map(day));
        let first = self.followed;
        files.retain(|(day, _)| {
            first.is_none_or(|first| *day >= first)
                && since.is_none_or(|since| *day >= since)
                && until.is_none_or(|until| *day <= until)
        });
        self.followed = first.or(newest);
        Ok(files)
    }

    /// Reads the whole lines of a file that were not read yet. Says whether `take` wants more.
    fn read(&mut self, path: &Path, take: &mut dyn FnMut(Entry) -> bool) -> io::Result<bool> {
        let mut file = match File::open(path) {
            // It was too old, and is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        let mut at = self.read_to.get(path).copied().unwrap_or(0);
        if file.metadata()?.len() < at {
            at = 0;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut lines = BufReader::with_capacity(64 << 10, file);
        let mut bytes = Vec::new();
        let mut wants_more = true;
        while wants_more {
            bytes.clear();
            let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
            // A line without its end is still being written, unless it is endless.
            if read == 0 || bytes.last() != Some(&b'\n') && (read as u64) < LONGEST_LINE {
                break;
            }
            at += read as u64;
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            match serde_json::from_str::<Parsed>(line) {
                Ok(parsed) if self.wanted.admits(&parsed) => {
                    wants_more = take(Entry { raw: line.to_owned(), parsed });
                }
                Ok(_) => {}
                Err(_) => self.unread += u64::from(!line.is_empty()),
            }
        }
        self.read_to.insert(path.to_owned(), at);
        Ok(wants_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_log_the_end_alone_is_read_and_of_one_process_if_wanted() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(FOLDER)).unwrap();
        let write = |number: u32, process: u32| {
            let line = format!(
                r#"{{"time":"2026-09-02T14:30:05.123Z","level":"INFO","target":"t","message":"said","fields":{{"number":{number}}},"process":{process}}}"#
            );
            line + "\n"
        };
        let text: String = (0..1_000).map(|number| write(number, 7 + number % 2)).collect();
        let day = moment_file(home.path());
        std::fs::write(&day, &text).unwrap();
        let wanted = Wanted { process: Some(7), ..Wanted::default() };
        let mut reader = Reader::new(home.path(), wanted);
        let bytes = write(0, 7).len() as u64 * 20;
        reader.skip_to_the_last(bytes).unwrap();
        let read: Vec<Brief> = reader.last(100).unwrap().iter().map(Entry::brief).collect();
        assert!((8..=10).contains(&read.len()), "half of the last twenty lines: {read:?}");
        let last = Brief { time: "14:30:05".into(), level: "INFO".into(), words: "said number=998".into() };
        assert_eq!((read.last(), reader.unread()), (Some(&last), 0), "no line is read by half");
        std::fs::write(&day, text + &write(1_001, 8) + &write(1_002, 7)).unwrap();
        let mut more = Vec::new();
        reader
            .each(&mut |entry| {
                more.push(entry.brief().words);
                true
            })
            .unwrap();
        assert_eq!(more, ["said number=1002"]);
    }

    fn moment_file(home: &Path) -> PathBuf {
        home.join(FOLDER).join(super::super::file::name(day(UnixMillis(1_788_359_405_123))))
    }
}
