//! The jobs of a run: their files, when they start, and how each is followed to its end.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{Ended, Refusal};
use crate::latency::Times;
use crate::program::Program;
use crate::scenario::{Job, Scenario, Traits};
use crate::stage::Stage;

/// How often a job is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the program itself counts.
const COUNTS_EVERY: Duration = Duration::from_millis(200);
const FIRST_LOOK_EVERY: Duration = Duration::from_millis(10);
/// How `empire swarm run` exits where a job stopped before its end.
const PAUSED: u8 = 4;
/// A job that pauses more often than this does not get on.
const MOST_RESUMES: u32 = 1_000;

/// One job as it is handed to the program.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) name: String,
    pub(crate) items: u32,
    /// When it is to start, whatever became of those before.
    pub(crate) intended: Duration,
    pub(crate) traits: Traits,
    pub(crate) spec: PathBuf,
    pub(crate) out: PathBuf,
}

/// How a job went. Times are seconds since the run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobLine {
    pub(crate) name: String,
    pub(crate) items: u32,
    pub(crate) intended_s: f64,
    /// When it was taken in.
    pub(crate) taken_s: Option<f64>,
    /// When its report was there.
    pub(crate) ended_s: Option<f64>,
    /// As `empire swarm run` would exit.
    pub(crate) exit: Option<u8>,
    pub(crate) error: Option<String>,
    pub(crate) resumes: u32,
}

/// A job that was followed, with its report.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) line: JobLine,
    pub(crate) report: Option<Value>,
}

/// Writes the files of all jobs of a scenario.
pub(crate) fn prepare(program: &Program, scenario: &Scenario, seed: u64) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut first = u64::from(scenario.prime) * scenario.jobs.len() as u64;
    for job in &scenario.jobs {
        let (count, every) = job.arrival.batches();
        let words = Words::of(job, seed)?;
        let mut from = 0;
        for (index, items) in job.arrival.shares(job.items).into_iter().enumerate() {
            let name = if count == 1 { job.name.clone() } else { format!("{}-{:04}", job.name, index + 1) };
            let intended = job.start + every * u32::try_from(index).unwrap_or(u32::MAX);
            let lines = words.lines(first + from, from, items)?;
            batches.push(write(program, job, &name, items, intended, &lines)?);
            from += u64::from(items);
        }
        first += u64::from(job.items);
    }
    Ok(batches)
}

/// Writes the files of the jobs that open connections and caches: a small one for each.
pub(crate) fn prepare_prime(program: &Program, scenario: &Scenario, seed: u64) -> Result<Vec<Batch>> {
    let jobs = scenario.jobs.iter().filter(|_| scenario.prime > 0).zip(0..);
    let each = jobs.map(|(job, number)| {
        let lines = Words::Generated { seed }.lines(number * u64::from(scenario.prime), 0, scenario.prime)?;
        write(program, job, &format!("prime-{}", job.name), scenario.prime, Duration::ZERO, &lines)
    });
    each.collect()
}

fn write(
    program: &Program,
    job: &Job,
    name: &str,
    items: u32,
    intended: Duration,
    lines: &str,
) -> Result<Batch> {
    let file = |ending: &str| program.file(&format!("{name}.{ending}"));
    let (spec, words, out) = (file("yaml"), file("txt"), program.file("out").join(name));
    let input = serde_json::json!({ "file": words, "format": "lines", "field": "word" });
    fs::write(&words, lines)?;
    fs::write(&spec, job.spec.placed(&format!("name: {name}\ninput: {input}")))?;
    Ok(Batch { name: name.to_owned(), items, intended, traits: job.traits, spec, out })
}

/// Where the items of a job come from.
enum Words {
    Generated { seed: u64 },
    Read(Vec<String>),
}

impl Words {
    fn of(job: &Job, seed: u64) -> Result<Words> {
        let Some(path) = &job.words else { return Ok(Words::Generated { seed }) };
        let text = fs::read_to_string(path)
            .with_context(|| format!("job {}: its words {} cannot be read", job.name, path.display()))?;
        let words: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        ensure!(
            words.len() >= job.items as usize,
            "job {}: {} has {} words and {} are wanted: lower `items`, or leave `words` out",
            job.name,
            path.display(),
            words.len(),
            job.items
        );
        Ok(Words::Read(words))
    }

    /// So many lines: generated ones differ over the whole run, read ones begin at `from`.
    fn lines(&self, first: u64, from: u64, items: u32) -> Result<String> {
        let mut text = String::with_capacity(items as usize * 16);
        for number in 0..u64::from(items) {
            match self {
                Words::Generated { seed } => writeln!(text, "{}", word(*seed, first + number))?,
                Words::Read(words) => {
                    let at = usize::try_from(from + number)?;
                    writeln!(text, "{}", words.get(at).context("too few words")?)?;
                }
            }
        }
        Ok(text)
    }
}

/// A word that can be spoken: another one for each number, and for each seed in other ways.
fn word(seed: u64, number: u64) -> String {
    const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8; 4] = b"aeio";
    // An odd factor maps 48 bits onto themselves, so that words stay different.
    let mixed = (number ^ (seed << 24)).wrapping_mul(0x9E37_79B9_7F4A_7C15 | 1) & 0xFFFF_FFFF_FFFF;
    let mut word = String::with_capacity(16);
    for syllable in 0..8 {
        let bits = (mixed >> (6 * syllable)) as usize;
        word.push(char::from(CONSONANTS[bits & 15]));
        word.push(char::from(VOWELS[(bits >> 4) & 3]));
    }
    word
}

impl Batch {
    /// The job before its start.
    pub(crate) fn unbegun(&self) -> Followed {
        let line = JobLine {
            name: self.name.clone(),
            items: self.items,
            intended_s: self.intended.as_secs_f64(),
            taken_s: None,
            ended_s: None,
            exit: None,
            error: None,
            resumes: 0,
        };
        Followed { line, report: None }
    }
}

/// Starts a job when it is due and follows it to its end; what is known of it is always in `slot`.
/// Whatever waits until it is taken in counts from when it was due: a late start is the program's,
/// not the load's.
pub(crate) async fn follow(
    stage: &Stage,
    index: usize,
    batch: &Batch,
    resume_after: Option<Duration>,
    times: &Mutex<Times>,
    slot: &Mutex<Followed>,
) {
    tokio::time::sleep_until(stage.moment(batch.intended)).await;
    if let Err(error) = work(stage, index, batch, resume_after, times, slot).await {
        slot.lock().line.error = Some(error);
    }
}

async fn work(
    stage: &Stage,
    index: usize,
    batch: &Batch,
    resume_after: Option<Duration>,
    times: &Mutex<Times>,
    slot: &Mutex<Followed>,
) -> Result<(), String> {
    let mut id = start(stage, batch).await?;
    slot.lock().line.taken_s = Some(stage.now().as_secs_f64());
    let mut counted = Counted::default();
    loop {
        let ended = until_end(stage, index, batch, &id, &mut counted, times).await;
        let pauses = ended.exit == PAUSED && slot.lock().line.resumes < MOST_RESUMES;
        if let Some(after) = resume_after.filter(|_| pauses) {
            tokio::time::sleep(after).await;
            stage.note(format!("{} paused by itself and goes on", batch.name));
            slot.lock().line.resumes += 1;
            id = resume(stage, &id).await?;
            continue;
        }
        let mut slot = slot.lock();
        slot.line.ended_s = Some(stage.now().as_secs_f64());
        slot.line.exit = Some(ended.exit);
        slot.report = ended.report.and_then(|report| serde_json::from_str(&report).ok());
        let total = |name: &str| slot.report.as_ref().and_then(|report| report["totals"][name].as_u64());
        let ended_in_all = total("done").unwrap_or_default() + total("dead").unwrap_or_default();
        counted.rest(ended_in_all, times);
        return ended.error.map_or(Ok(()), Err);
    }
}

/// How many of a job's items have ended, and how long after it was due the last of them.
#[derive(Debug, Default)]
struct Counted {
    ended: u64,
    last: Duration,
}

impl Counted {
    /// Notes that so many have ended by now.
    fn note(&mut self, ended: u64, since: Duration, times: &Mutex<Times>) {
        times.lock().add(since, ended.saturating_sub(self.ended));
        self.ended = ended;
        self.last = since;
    }

    /// Adds the last ones, which only the report tells of: they ended before the next count would
    /// have come.
    fn rest(&self, ended_in_all: u64, times: &Mutex<Times>) {
        times.lock().add(self.last + COUNTS_EVERY, ended_in_all.saturating_sub(self.ended));
    }
}

async fn start(stage: &Stage, batch: &Batch) -> Result<String, String> {
    loop {
        let Some(up) = stage.when_up().await else { return Err("the program is gone".to_owned()) };
        match up.control.start(&batch.spec, &batch.out).await {
            Ok(id) => return Ok(id),
            // It was killed while it read the job in, or is about to come up.
            Err(Refusal::Silent(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(Refusal::Said(why)) => return Err(why),
        }
    }
}

async fn resume(stage: &Stage, id: &str) -> Result<String, String> {
    loop {
        let Some(up) = stage.when_up().await else { return Err("the program is gone".to_owned()) };
        match up.control.resume(id).await {
            Ok(id) => return Ok(id),
            Err(Refusal::Silent(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(Refusal::Said(why)) => return Err(why),
        }
    }
}

/// Counts a job's results as they become durable, until its run has ended. Over kills it goes on.
async fn until_end(
    stage: &Stage,
    index: usize,
    batch: &Batch,
    id: &str,
    counted: &mut Counted,
    times: &Mutex<Times>,
) -> Ended {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(up) = stage.up() else { continue };
        // Of a process that has just come up, the job may not be under way yet.
        let Ok(heard) = up.control.feed(id).await else { continue };
        if heard.done.0 > counted.ended {
            counted.note(heard.done.0, stage.now().saturating_sub(batch.intended), times);
            stage.note_ended(index, heard.done.0);
        }
        if let Some(ended) = heard.ended {
            return ended;
        }
    }
}

/// When the first result of any job was on the disk, since the run began.
pub(crate) async fn first_result(stage: &Stage, batches: &[Batch]) -> Duration {
    loop {
        let is_there =
            |batch: &Batch| fs::metadata(batch.out.join("results.jsonl")).is_ok_and(|file| file.len() > 0);
        if batches.iter().any(is_there) {
            return stage.now();
        }
        tokio::time::sleep(FIRST_LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_differ_within_a_run_and_between_seeds() {
        let words: HashSet<String> = (0..100_000).map(|number| word(1, number)).collect();
        assert_eq!(words.len(), 100_000);
        assert_ne!(word(1, 5), word(2, 5));
        assert_eq!(word(1, 5), word(1, 5));
        assert_eq!(word(7, 7).len(), 16);
    }
}
