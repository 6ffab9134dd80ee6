//! The spool: facts that wait for their commit, where a killed process leaves them behind.
//!
//! A commit takes a moment, and a call that ends does not wait for it. So what must not be
//! forgotten is first appended to a file, unsynced: what was handed to the system outlives the
//! process. The next one reads it before it does anything else. Only a power cut can take it away;
//! then every open reservation counts as sent, since what was written of it may be missing.
//!
//! There are two files, used in turn: one is emptied once all of it is committed and the other
//! has grown. A line is the fact's number, a space, and the fact as JSON. The first line names
//! the boot of the machine.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use empire_actors::ports::{HoldId, ResultRecord, Settlement, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::home::open_private_file;

const FILES: [&str; 2] = ["spool.0", "spool.1"];
/// How large a file grows before the other one is used.
const FILE_BYTES: u64 = 1 << 20;
const BOOT: &str = "boot ";

/// What has happened, and must be in the database sooner or later. Each may be applied twice
/// without harm, but for a dead result, which would count what it took again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fact {
    /// The call of this reservation is about to leave.
    Leaves(HoldId),
    /// It ended, and when that was.
    Settled(Box<Settlement>, UnixMillis),
    /// It will never leave.
    Released(HoldId),
    Recorded(Box<ResultRecord>),
}

impl Fact {
    /// Whether money hangs on it. What is free is done again at no cost, and not spooled.
    pub(super) fn is_paid(&self) -> bool {
        match self {
            Fact::Leaves(_) | Fact::Settled(..) | Fact::Released(_) => true,
            Fact::Recorded(record) => record.cost.0 > 0,
        }
    }
}

/// The open spool.
#[derive(Debug)]
pub(super) struct Spool {
    files: [SpoolFile; 2],
    active: usize,
    /// The number given last.
    last: u64,
    committed: u64,
}

#[derive(Debug)]
struct SpoolFile {
    file: File,
    bytes: u64,
    /// The number of its last fact.
    last: u64,
}

impl SpoolFile {
    fn create(path: &Path) -> io::Result<SpoolFile> {
        let mut file = SpoolFile { file: open_private_file(path)?, bytes: 0, last: 0 };
        file.empty()?;
        Ok(file)
    }

    fn empty(&mut self) -> io::Result<()> {
        self.cut(0)?;
        self.write(format!("{BOOT}{}\n", boot()).as_bytes())
    }

    /// One call to the system: a killed process has written the whole line or none of it, unless
    /// the disk is full.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line) {
            // Half a line would hide those after it.
            self.cut(self.bytes)?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes = bytes;
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

impl Spool {
    /// An empty spool in `dir`, whose next fact has number `last` + 1. What was in it must have
    /// been committed.
    pub(super) fn start(dir: &Path, last: u64) -> io::Result<Spool> {
        let [first, second] = paths(dir);
        let files = [SpoolFile::create(&first)?, SpoolFile::create(&second)?];
        Ok(Spool { files, active: 0, last, committed: last })
    }

    /// Appends a fact and gives its number.
    pub(super) fn append(&mut self, fact: &Fact) -> io::Result<u64> {
        if self.files[self.active].bytes > FILE_BYTES && self.files[1 - self.active].last <= self.committed {
            self.files[1 - self.active].empty()?;
            self.active = 1 - self.active;
        }
        let number = self.last + 1;
        let mut line = Vec::with_capacity(512);
        write!(line, "{number} ")?;
        serde_json::to_writer(&mut line, fact)?;
        line.push(b'\n');
        let file = &mut self.files[self.active];
        file.write(&line)?;
        file.last = number;
        self.last = number;
        Ok(number)
    }

    /// Everything up to this number is committed.
    pub(super) fn committed(&mut self, number: u64) {
        self.committed = self.committed.max(number);
    }
}

/// Deletes the spool in `dir`, once all of it is committed.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    paths(dir).iter().try_for_each(fs::remove_file)
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Facts in their order, without those that are committed.
    pub(super) facts: Vec<Fact>,
    /// The number of the last one.
    pub(super) last: u64,
    /// Whether the machine has run ever since, so that nothing is missing.
    pub(super) is_whole: bool,
}

/// Reads what an earlier process left in `dir`; facts up to number `committed` are left out.
pub(super) fn read(dir: &Path, committed: u64) -> io::Result<Found> {
    let (mut numbered, mut is_whole) = (Vec::new(), true);
    for path in paths(dir) {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        is_whole &= read_file(&String::from_utf8_lossy(&bytes), &mut numbered);
    }
    numbered.retain(|(number, _)| *number > committed);
    numbered.sort_by_key(|(number, _)| *number);
    let last = numbered.last().map_or(committed, |(number, _)| *number);
    Ok(Found { facts: numbered.into_iter().map(|(_, fact)| fact).collect(), last, is_whole })
}

/// Adds the facts of one file. `false` if some may be missing.
fn read_file(text: &str, numbered: &mut Vec<(u64, Fact)>) -> bool {
    let mut lines = text.split_inclusive('\n');
    let boot = lines.next().and_then(|line| line.trim_end().strip_prefix(BOOT));
    let is_of_this_boot = boot.is_some_and(|named| !named.is_empty() && named == self::boot());
    for line in lines {
        match read_line(line) {
            Some(fact) => numbered.push(fact),
            None => return false,
        }
    }
    is_of_this_boot
}

fn read_line(line: &str) -> Option<(u64, Fact)> {
    let (number, fact) = line.strip_suffix('\n')?.split_once(' ')?;
    Some((number.parse().ok()?, serde_json::from_str(fact).ok()?))
}

fn paths(dir: &Path) -> [PathBuf; 2] {
    FILES.map(|file| dir.join(file))
}

/// Names the time since the machine was started; nothing, if that cannot be told.
fn boot() -> String {
    match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => sysinfo::System::boot_time().map_or_else(|_| String::new(), |time| time.to_string()),
    }
}
