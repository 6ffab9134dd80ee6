//! The output folder. Results are appended to `results.jsonl` as they become durable; at the end
//! of a run it is written anew, whole and in input order, with `results.csv` and `dead.jsonl`
//! beside it. The store is the truth, so a torn or deleted file loses nothing.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use empire_actors::ports::{Items, Part, ResultRecord, Results, StoreError, Verdict};
use empire_actors::swarm::order::COHORT_SIZE;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::error::CommandError;
use super::prepare::blocking;
use super::table::Columns;
use crate::report::{Tallied, Tally};
use crate::store::{Job, ResultFilter, ResultLine, Store};

/// Results that may wait to be appended; then recording waits for the file.
const APPENDS_AHEAD: usize = 4_096;
/// The files of results.
const RESULTS: &str = "results.jsonl";
const DEAD_LETTERS: &str = "dead.jsonl";
const TABLE: &str = "results.csv";
/// How far back from its end a file is searched for its last whole line.
const TAIL: u64 = 1 << 20;

/// The output folder of a job.
#[derive(Debug, Clone)]
pub struct Outputs {
    folder: PathBuf,
}

impl Outputs {
    /// Makes sure that the folder is there and can be written to.
    pub fn open(folder: &Path) -> Result<Outputs, CommandError> {
        let unusable = |error: io::Error| {
            let folder = folder.display();
            CommandError::bad_input(format!(
                "cannot write to the output folder {folder}: {error}: make it writable, or choose another with --out"
            ))
        };
        fs::create_dir_all(folder).map_err(unusable)?;
        let probe = folder.join(".empire-probe");
        File::create(&probe).and_then(|mut file| file.write_all(b"probe")).map_err(unusable)?;
        fs::remove_file(&probe).map_err(unusable)?;
        let folder = fs::canonicalize(folder).map_err(unusable)?;
        Ok(Outputs { folder })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Prepares `results.jsonl` for appending: emptied if the input is new, else freed of a line
    /// that a power cut has torn. Gives the bytes cut off.
    pub fn prepare_results(&self, anew: bool) -> Result<u64, CommandError> {
        let path = self.file(RESULTS);
        let failed =
            |error: io::Error| CommandError::bad_input(format!("cannot write {}: {error}", path.display()));
        let options = owners_only().read(true).write(true).truncate(anew).open(&path);
        let mut file = options.map_err(failed)?;
        cut_torn_line(&mut file).map_err(failed)
    }

    /// Writes a file whole, or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, CommandError> {
        let path = self.file(name);
        replace(&path, |file| file.write_all(text.as_bytes()))?;
        Ok(path)
    }
}

/// Options for a new file that only its owner may read: answers can hold what the input holds.
fn owners_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| start + at as u64 + 1);
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(length - whole)
}

/// Writes a file beside `path` and puts it in its place once it is whole.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), CommandError> {
    let beside = path.with_extension("part");
    let written = owners_only().write(true).truncate(true).open(&beside).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_data()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        // What could be written of it is of no use.
        let _ = fs::remove_file(&beside);
        let text =
            format!("cannot write {}: {error}: the results are safe in the data folder", path.display());
        if error.kind() == io::ErrorKind::StorageFull {
            CommandError::refused(text)
        } else {
            CommandError::internal(text)
        }
    })
}

/// One line of `results.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    /// The item's number, from 1.
    item: u64,
    status: &'static str,
    input: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    cost_micros: u64,
    #[serde(skip_serializing_if = "is_false")]
    simulated: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn raw(json: &str) -> Result<&RawValue, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Failed(format!("a stored value is no JSON: {error}")))
}

/// How a line is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Whether the answers are a simulator's.
    pub simulated: bool,
    /// Whether the item's cost stands here: equal items share one call, which was paid once.
    pub paid_here: bool,
}

/// Writes the line of one item.
pub fn write_line(
    to: &mut impl Write,
    number: u32,
    row: &str,
    record: &ResultRecord,
    look: Look,
) -> Result<(), StoreError> {
    let (status, answer, reason) = match &record.verdict {
        Verdict::Done(answer) => ("done", Some(raw(answer)?), None),
        Verdict::Dead(reason) => ("dead", None, Some(reason.as_str())),
    };
    let line = Line {
        item: u64::from(number) + 1,
        status,
        input: raw(row)?,
        answer,
        reason,
        model: record.model.as_deref(),
        provider: record.provider.as_ref().map(|provider| provider.as_str()),
        cost_micros: if look.paid_here { record.cost.0 } else { 0 },
        simulated: look.simulated,
    };
    let written =
        serde_json::to_writer(&mut *to, &line).map_err(io::Error::from).and_then(|()| to.write_all(b"\n"));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => StoreError::DiskFull,
        _ => StoreError::Failed(format!("cannot write results: {error}")),
    })
}

/// Records results and appends those with an answer to the file.
pub struct Appending {
    store: Arc<dyn Results>,
    /// `None` once the run has ended.
    appends: Mutex<Option<mpsc::Sender<ResultRecord>>>,
}

impl Results for Appending {
    fn record(&self, record: ResultRecord) -> BoxFuture<'static, Result<(), StoreError>> {
        let appends = self.appends.lock().clone();
        let is_line = record.part == Part::Item && matches!(record.verdict, Verdict::Done(_));
        let line = is_line.then(|| record.clone());
        let recorded = self.store.record(record);
        Box::pin(async move {
            recorded.await?;
            if let (Some(line), Some(appends)) = (line, appends) {
                // The appender stops only when its file cannot be written; the end says so.
                let _ = appends.send(line).await;
            }
            Ok(())
        })
    }
}

/// The task that appends.
pub struct Appender {
    appending: Arc<Appending>,
    task: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl Appender {
    /// Starts appending to `results.jsonl`.
    #[allow(clippy::disallowed_methods, reason = "it is waited for in `finish`")]
    pub fn start(
        outputs: &Outputs,
        store: Arc<dyn Results>,
        items: Arc<dyn Items>,
        simulated: bool,
    ) -> Result<(Arc<Appending>, Appender), CommandError> {
        let path = outputs.file(RESULTS);
        let file = owners_only().append(true).open(&path);
        let file = file
            .map_err(|error| CommandError::bad_input(format!("cannot write {}: {error}", path.display())))?;
        let (appends, records) = mpsc::channel(APPENDS_AHEAD);
        let task = tokio::spawn(append(file, records, items, simulated));
        let appending = Arc::new(Appending { store, appends: Mutex::new(Some(appends)) });
        Ok((appending.clone(), Appender { appending, task }))
    }

    /// Waits until everything that was recorded is appended; what is recorded later is not.
    ///
    /// # Errors
    /// The file could not be written; the results are safe in the store.
    pub async fn finish(self) -> Result<(), CommandError> {
        self.appending.appends.lock().take();
        Ok(self.task.await.map_err(CommandError::internal)??)
    }
}

async fn append(
    mut file: File,
    mut records: mpsc::Receiver<ResultRecord>,
    items: Arc<dyn Items>,
    simulated: bool,
) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    let mut chunk: Option<(u32, Arc<empire_actors::ports::Chunk>)> = None;
    while records.recv_many(&mut batch, 256).await > 0 {
        // Neighbours are in one chunk, which is then read once.
        batch.sort_by_key(|record: &ResultRecord| record.item);
        let mut lines = Vec::with_capacity(batch.len() * 256);
        for record in batch.drain(..) {
            let cohort = record.item / COHORT_SIZE;
            let current = match &chunk {
                Some((number, chunk)) if *number == cohort => chunk.clone(),
                _ => items.chunk(cohort).await?,
            };
            if let Some(item) = current.items.get((record.item % COHORT_SIZE) as usize) {
                let look = Look { simulated, paid_here: true };
                write_line(&mut lines, record.item, &item.row, &record, look)?;
            }
            chunk = Some((cohort, current));
        }
        file.write_all(&lines)
            .map_err(|error| StoreError::Failed(format!("cannot append results: {error}")))?;
    }
    Ok(())
}

/// What the final pass over all results brought.
#[derive(Debug)]
pub struct Written {
    /// Figures for the report.
    pub tally: Tallied,
    /// Items with an answer, equal ones counted each.
    pub done: u64,
    /// Items that ended without one.
    pub dead: u64,
    /// Files, with what is in them.
    pub files: Vec<(&'static str, PathBuf)>,
}

/// Writes all results anew, in input order; only adds them up if there is nowhere to write.
pub async fn write_all(store: &Store, job: &Job, outputs: Option<&Outputs>) -> Result<Written, CommandError> {
    let (simulated, has_twins) = (job.simulated, job.counts.distinct < job.counts.items);
    let (sender, receiver) = mpsc::channel::<Vec<ResultLine>>(4);
    let outputs = outputs.cloned();
    let to = outputs.clone();
    let writing = blocking(move || write_files(receiver, to.as_ref(), (simulated, has_twins)));
    let reading = async {
        let mut pages = std::pin::pin!(store.results(&job.id, ResultFilter::All).try_ready_chunks(1_024));
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CommandError::from(error.1))?;
            if sender.send(page).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok::<_, CommandError>(())
    };
    let (written, read) = tokio::join!(writing, reading);
    let (mut tally, done, dead) = written??;
    read?;
    for step in store.steps(&job.id).await? {
        tally.add_reduce(&step);
    }
    let mut files = Vec::new();
    if let Some(outputs) = outputs {
        files.push(("results", outputs.file(RESULTS)));
        files.push(("results as a table", outputs.file(TABLE)));
        if dead > 0 {
            files.push(("dead letters", outputs.file(DEAD_LETTERS)));
        }
    }
    Ok(Written { tally: tally.finish(), done, dead, files })
}

fn write_files(
    mut pages: mpsc::Receiver<Vec<ResultLine>>,
    to: Option<&Outputs>,
    (simulated, has_twins): (bool, bool),
) -> Result<(Tally, u64, u64), CommandError> {
    let (mut tally, mut done, mut dead) = (Tally::default(), 0, 0);
    let mut columns = Columns::default();
    let mut dead_lines = Vec::new();
    // Only of jobs that have equal items: keys that were met.
    let mut met = HashSet::new();
    let mut work = |mut file: &mut dyn Write| {
        while let Some(page) = pages.blocking_recv() {
            for ResultLine { item, record } in page {
                let paid_here = !has_twins || met.insert(item.key);
                if paid_here {
                    tally.add(&record);
                }
                if let Verdict::Done(answer) = &record.verdict {
                    done += 1;
                    columns.learn(&item.row, Some(answer));
                    let look = Look { simulated, paid_here };
                    write_line(&mut file, item.number, &item.row, &record, look).map_err(
                        |error| match error {
                            StoreError::DiskFull => io::ErrorKind::StorageFull.into(),
                            other => io::Error::other(other),
                        },
                    )?;
                } else {
                    dead += 1;
                    write_dead(&mut dead_lines, item.number, &item.row, &record)?;
                }
            }
        }
        Ok(())
    };
    let Some(to) = to else {
        work(&mut io::sink()).map_err(CommandError::internal)?;
        return Ok((tally, done, dead));
    };
    let results = to.file(RESULTS);
    replace(&results, |file| work(file))?;
    if dead_lines.is_empty() {
        // From an earlier run; all of them were worked since.
        let _ = fs::remove_file(to.file(DEAD_LETTERS));
    } else {
        replace(&to.file(DEAD_LETTERS), |file| file.write_all(&dead_lines))?;
    }
    let source = File::open(&results).map_err(CommandError::internal)?;
    replace(&to.file(TABLE), |file| columns.write(io::BufReader::new(source), file))?;
    Ok((tally, done, dead))
}

fn write_dead(to: &mut Vec<u8>, number: u32, row: &str, record: &ResultRecord) -> io::Result<()> {
    let Verdict::Dead(reason) = &record.verdict else { return Ok(()) };
    let line = serde_json::json!({
        "item": u64::from(number) + 1,
        "reason": reason,
        "input": serde_json::from_str::<Value>(row).unwrap_or(Value::Null),
        "key": record.key.to_string(),
        "tries": record.tries,
        "cost_micros": record.cost.0,
    });
    serde_json::to_writer(&mut *to, &line)?;
    to.write_all(b"\n")
}

/// Writes the table of results to `to`, for `results --format csv`: `lines` as in
/// `results.jsonl`, read twice.
pub fn write_table(lines: &Path, to: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::default();
    for line in io::BufRead::lines(io::BufReader::new(File::open(lines)?)) {
        columns.learn_line(&line?)?;
    }
    columns.write(io::BufReader::new(File::open(lines)?), to)
}
