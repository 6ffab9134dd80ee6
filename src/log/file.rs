//! The log's files: one a day (UTC), their owner's alone, and no more days than are to be kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use empire_actors::ports::UnixMillis;
use jiff::civil::Date;
use tokio::time::Instant;

use super::line::day;

/// The folder in the data folder.
pub(crate) const FOLDER: &str = "logs";
const BEGINNING: &str = "empire-";
const ENDING: &str = ".jsonl";
/// How long a disk that failed is left alone.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The file of a day.
pub(crate) fn name(day: Date) -> String {
    format!("{BEGINNING}{day}{ENDING}")
}

/// The log's files in `folder` with their days, the oldest first.
///
/// # Errors
/// The folder is there and cannot be read.
pub(crate) fn days(folder: &Path) -> io::Result<Vec<(Date, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut days = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let day = name.to_str().and_then(|name| name.strip_prefix(BEGINNING)?.strip_suffix(ENDING));
        // What is not named like that is not ours to read or remove.
        let Some(day) = day.filter(|day| day.len() == 10).and_then(|day| day.parse::<Date>().ok()) else {
            continue;
        };
        if entry.file_type()?.is_file() {
            days.push((day, entry.path()));
        }
    }
    days.sort();
    Ok(days)
}

/// Lines that could not be written, once they can be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The line is in the file.
    Yes,
    /// It is, the first one after so many that are not.
    After(u64),
    /// It is not; the first one of an outage says so.
    No { is_first: bool },
}

/// Appends to the file of the day.
#[derive(Debug)]
pub(crate) struct DayFile {
    folder: PathBuf,
    keep_days: u16,
    open: Option<(Date, File)>,
    outage: Option<Outage>,
    /// Why the disk refused last.
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Outage {
    lost: u64,
    failed_at: Instant,
}

impl DayFile {
    /// In `home`, the data folder. Nothing is opened yet.
    pub(crate) fn new(home: &Path, keep_days: u16) -> DayFile {
        DayFile { folder: home.join(FOLDER), keep_days, open: None, outage: None, error: None }
    }

    /// Why the disk refused last.
    pub(crate) fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Opens the file of the day, and removes those that are too old.
    pub(crate) fn start(&mut self, now: UnixMillis) -> io::Result<()> {
        self.file(day(now)).map(drop)
    }

    /// Appends a line, which ends in its break. A disk that refuses is left alone for a moment, and
    /// what comes meanwhile is counted.
    pub(crate) fn write(&mut self, line: &str, now: UnixMillis) -> Written {
        let is_resting =
            |outage: &mut Outage| Instant::now().duration_since(outage.failed_at) < TRY_AGAIN_AFTER;
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.lost > 0)
            && is_resting(outage)
        {
            outage.lost += 1;
            return Written::No { is_first: false };
        }
        match self.append(line, day(now)) {
            Ok(()) => match self.outage.take() {
                Some(outage) => Written::After(outage.lost),
                None => Written::Yes,
            },
            Err(error) => {
                self.error = Some(error);
                // Opened anew: the folder may have been moved away.
                self.open = None;
                let lost = self.outage.take().map_or(0, |outage| outage.lost);
                self.outage = Some(Outage { lost: lost + 1, failed_at: Instant::now() });
                Written::No { is_first: lost == 0 }
            }
        }
    }

    fn append(&mut self, line: &str, day: Date) -> io::Result<()> {
        let file = self.file(day)?;
        // One write for one line: whoever else appends comes before it or after it.
        let written = loop {
            match file.write(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == line.len() {
            return Ok(());
        }
        // The disk was full in the middle of it, and half a line would spoil the next one.
        let end = file.stream_position()?;
        let is_last = file.metadata()?.len() == end;
        if !is_last || file.set_len(end - written as u64).is_err() {
            // Its break at least is a line's end.
            let _ = file.write(b"\n");
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn file(&mut self, day: Date) -> io::Result<&mut File> {
        let is_open = self.open.as_ref().is_some_and(|(open, file)| *open == day && !is_removed(file));
        if !is_open {
            private_folder(&self.folder)?;
            let file = open(&self.folder.join(name(day)))?;
            // Whoever could not remove old files can still write new ones.
            self.error = self.clean(day).err();
            self.open = Some((day, file));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Removes the files of days that are not to be kept any more.
    fn clean(&self, today: Date) -> io::Result<()> {
        let Ok(oldest) = today.checked_sub(jiff::Span::new().days(i64::from(self.keep_days))) else {
            return Ok(());
        };
        for (_, path) in days(&self.folder)?.into_iter().filter(|(day, _)| *day <= oldest) {
            match fs::remove_file(path) {
                // Another process that writes here removes them too.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Creates the folder for its owner alone, and takes it from others if it is there.
fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    only_for_owner(folder, 0o700)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    only_for_owner(path, 0o600)?;
    Ok(file)
}

#[cfg(unix)]
fn only_for_owner(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn only_for_owner(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Whether somebody has removed the file: what is appended to it is nowhere.
#[cfg(unix)]
fn is_removed(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

#[cfg(not(unix))]
fn is_removed(_: &File) -> bool {
    false
}
