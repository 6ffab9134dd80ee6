//! How the jobs of a process stand, for whoever looks at all of them at once: written where a job
//! draws its progress, read without asking anybody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use empire_actors::ports::{UnixMillis, WallClock};
use parking_lot::Mutex;

use super::system::SystemClock;
use crate::report::ProgressFacts;

/// Jobs that have ended and are still shown.
const ENDED_KEPT: usize = 8;

/// Where jobs say how they stand. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Jobs>>);

#[derive(Debug, Default)]
struct Jobs {
    /// By id, and so by age.
    running: BTreeMap<String, Standing>,
    ended: VecDeque<Standing>,
}

/// How a job stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How far it is; nothing before it was drawn first.
    pub facts: Option<ProgressFacts>,
    /// How its run ended, in a word, and when.
    pub ended: Option<(&'static str, UnixMillis)>,
}

/// A job's place on the board. A run that drops it without an end has failed.
#[derive(Debug)]
pub struct Entry {
    board: Board,
    id: String,
}

impl Board {
    /// A run of this job begins.
    #[must_use]
    pub fn enter(&self, id: &str, name: &str) -> Entry {
        let standing = Standing { id: id.to_owned(), name: name.to_owned(), facts: None, ended: None };
        let mut jobs = self.0.lock();
        jobs.ended.retain(|ended| ended.id != id);
        jobs.running.insert(id.to_owned(), standing);
        Entry { board: self.clone(), id: id.to_owned() }
    }

    /// Those that run, the oldest first, and then those that ended last.
    #[must_use]
    pub fn jobs(&self) -> Vec<Standing> {
        let jobs = self.0.lock();
        jobs.running.values().chain(jobs.ended.iter().rev()).cloned().collect()
    }

    fn end(&self, id: &str, how: &'static str) {
        let mut jobs = self.0.lock();
        let Some(mut standing) = jobs.running.remove(id) else { return };
        standing.ended = Some((how, SystemClock.now()));
        jobs.ended.push_back(standing);
        if jobs.ended.len() > ENDED_KEPT {
            jobs.ended.pop_front();
        }
    }
}

impl Entry {
    /// How it stands now.
    pub fn show(&self, facts: ProgressFacts) {
        if let Some(standing) = self.board.0.lock().running.get_mut(&self.id) {
            standing.facts = Some(facts);
        }
    }

    /// How its run ended, in a word.
    pub fn end(self, how: &'static str) {
        self.board.end(&self.id, how);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.board.end(&self.id, "failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(board: &Board) -> Vec<(String, Option<&'static str>)> {
        board.jobs().into_iter().map(|job| (job.id, job.ended.map(|(how, _)| how))).collect()
    }

    #[test]
    fn jobs_that_run_come_first_and_only_the_last_that_ended_are_kept() {
        let board = Board::default();
        for number in 0..20 {
            board.enter(&format!("job-{number:02}"), "old").end("done");
        }
        let newer = board.enter("job-31", "newer");
        let older = board.enter("job-30", "older");
        let shown_now = shown(&board);
        assert_eq!(shown_now.len(), 2 + ENDED_KEPT);
        assert_eq!(shown_now[0], ("job-30".to_owned(), None));
        assert_eq!(shown_now[2], ("job-19".to_owned(), Some("done")));
        drop(older);
        newer.end("paused");
        let shown_now = shown(&board);
        assert_eq!(shown_now[0], ("job-31".to_owned(), Some("paused")));
        assert_eq!(shown_now[1], ("job-30".to_owned(), Some("failed")), "nobody said how it ended");
        let _again = board.enter("job-30", "older");
        let again = shown(&board).into_iter().filter(|(id, _)| id == "job-30").collect::<Vec<_>>();
        assert_eq!(again, [("job-30".to_owned(), None)], "a job that goes on is shown once");
    }
}
