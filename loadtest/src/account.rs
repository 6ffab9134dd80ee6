//! Adds up what the jobs left behind: every item one result, nothing twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::jobs::Followed;

/// What became of the items of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) items: u64,
    /// Items with an answer, by the results.
    pub(crate) done: u64,
    /// Items without one for good, by the dead letters.
    pub(crate) dead: u64,
    /// Items still to be worked, or cancelled, by the report.
    pub(crate) undone: u64,
    /// Items that nobody knows of.
    pub(crate) lost: u64,
    /// Lines about an item that had one before, or that is none of the job's.
    pub(crate) twice: u64,
}

#[derive(Deserialize)]
struct Line {
    item: u64,
}

/// Which items have been seen, a bit each.
struct Seen(Vec<u64>);

impl Seen {
    fn new(items: u64) -> Seen {
        Seen(vec![0; usize::try_from(items / 64 + 1).unwrap_or(0)])
    }

    /// Marks an item; whether it was new.
    fn mark(&mut self, item: u64) -> bool {
        let Some(word) = usize::try_from(item / 64).ok().and_then(|at| self.0.get_mut(at)) else {
            return false;
        };
        let bit = 1 << (item % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

impl Account {
    /// Of a job of so many items, by its output folder and its report.
    ///
    /// # Errors
    /// A file of results cannot be read, or has a line that is none.
    pub(crate) fn take(out: &Path, items: u64, followed: &Followed) -> io::Result<Account> {
        let mut seen = Seen::new(items);
        let mut twice = 0;
        let mut read = |name: &str| -> io::Result<u64> {
            let file = match File::open(out.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(error),
            };
            let mut count = 0;
            for line in BufReader::new(file).lines() {
                let Line { item } = serde_json::from_str(&line?)?;
                if (1..=items).contains(&item) && seen.mark(item - 1) {
                    count += 1;
                } else {
                    twice += 1;
                }
            }
            Ok(count)
        };
        let (done, dead) = (read("results.jsonl")?, read("dead.jsonl")?);
        let total = |name: &str| {
            followed.report.as_ref().and_then(|report| report["totals"][name].as_u64()).unwrap_or_default()
        };
        let undone = total("pending") + total("cancelled");
        // Report and files must tell the same; what they do not both know of is lost.
        let missing = items.saturating_sub(done + dead + undone);
        let differ =
            |name: &str, counted: u64| followed.report.as_ref().map_or(0, |_| total(name).abs_diff(counted));
        let lost = missing.max(differ("done", done)).max(differ("dead", dead));
        Ok(Account { items, done, dead, undone, lost, twice })
    }
}

impl std::iter::Sum for Account {
    fn sum<I: Iterator<Item = Account>>(accounts: I) -> Account {
        accounts.fold(Account::default(), |a, b| Account {
            items: a.items + b.items,
            done: a.done + b.done,
            dead: a.dead + b.dead,
            undone: a.undone + b.undone,
            lost: a.lost + b.lost,
            twice: a.twice + b.twice,
        })
    }
}

/// What the reports of all jobs say of calls and money, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reported {
    /// Micro-dollars in the ledger.
    pub(crate) spent: u64,
    /// Of those, booked without a bill.
    pub(crate) unknown: u64,
    /// Micro-dollars of the jobs' budgets.
    pub(crate) budgets: u64,
    /// The most that a job spent above its budget; below 0 if none did.
    pub(crate) over_budget: Option<i64>,
    /// Calls whose answer is in a result or a summary.
    pub(crate) useful: u64,
    /// The longest chain of calls.
    pub(crate) steps: u64,
}

impl Reported {
    /// Adds the report of a job whose reduce takes `group` answers at a time.
    pub(crate) fn add(&mut self, report: &Value, group: Option<u32>) {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let (work, totals) = (&report["work"], &report["totals"]);
        let spent = number(&report["spent"]);
        self.spent += spent;
        self.unknown += number(&report["unknown"]);
        if let Some(budget) = report["budget"].as_u64() {
            self.budgets += budget;
            let over = i64::try_from(spent).unwrap_or(i64::MAX) - i64::try_from(budget).unwrap_or(i64::MAX);
            self.over_budget = Some(self.over_budget.map_or(over, |most| most.max(over)));
        }
        let without_call = ["from_cache", "joined", "saved_by_packs"].map(|name| number(&work[name]));
        let own = number(&totals["done"])
            .saturating_sub(without_call.iter().sum::<u64>() + number(&report["saved_by_equal_items"]));
        self.useful += own + number(&work["reduce_calls"]);
        let levels = group.filter(|_| !report["reduce"].is_null());
        let levels = levels.map_or(0, |group| levels_of(number(&totals["done"]), u64::from(group)));
        self.steps = self.steps.max(number(&work["most_tries"]) + levels);
    }
}

/// Levels of a reduce: groups of answers, groups of those, down to one.
fn levels_of(answers: u64, group: u64) -> u64 {
    let (mut left, mut levels) = (answers, 0);
    while left > 1 || (levels == 0 && left > 0) {
        left = left.div_ceil(group.max(2));
        levels += 1;
    }
    levels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jobs::JobLine;

    fn followed(totals: &Value) -> Followed {
        let line = JobLine {
            name: "job".to_owned(),
            items: 0,
            intended_s: 0.0,
            taken_s: None,
            ended_s: None,
            exit: Some(0),
            error: None,
            resumes: 0,
        };
        Followed { line, report: Some(json!({ "totals": totals })) }
    }

    fn account(results: &[u64], dead: &[u64], items: u64, totals: &Value) -> Account {
        let folder = tempfile::tempdir().unwrap();
        let lines =
            |items: &[u64]| items.iter().map(|item| format!("{{\"item\":{item}}}\n")).collect::<String>();
        std::fs::write(folder.path().join("results.jsonl"), lines(results)).unwrap();
        std::fs::write(folder.path().join("dead.jsonl"), lines(dead)).unwrap();
        Account::take(folder.path(), items, &followed(totals)).unwrap()
    }

    #[test]
    fn what_is_missing_is_lost_and_what_is_there_again_is_twice() {
        let all = account(&[1, 3, 2], &[4], 5, &json!({"done": 3, "dead": 1, "pending": 1}));
        assert_eq!(all, Account { items: 5, done: 3, dead: 1, undone: 1, lost: 0, twice: 0 });
        let bad = account(&[1, 1, 9], &[1], 4, &json!({"done": 1, "dead": 0, "pending": 1}));
        assert_eq!(bad, Account { items: 4, done: 1, dead: 0, undone: 1, lost: 2, twice: 3 });
        let differs = account(&[1, 2], &[], 2, &json!({"done": 1, "dead": 0}));
        assert_eq!(differs.lost, 1, "the report knows of one only");
    }

    #[test]
    fn reports_add_up() {
        let report = json!({
            "spent": 700, "unknown": 20, "budget": 1_000, "reduce": "all in all", "saved_by_equal_items": 5,
            "totals": {"done": 100},
            "work": {"from_cache": 10, "joined": 0, "saved_by_packs": 45, "reduce_calls": 11, "most_tries": 3},
        });
        let mut all = Reported::default();
        all.add(&report, Some(10));
        let other =
            json!({"spent": 1_100, "budget": 1_000, "totals": {"done": 1}, "work": {"most_tries": 4}});
        all.add(&other, None);
        assert_eq!((all.spent, all.unknown, all.over_budget), (1_800, 20, Some(100)));
        assert_eq!(all.useful, 40 + 11 + 1);
        assert_eq!(all.steps, 3 + 2, "three tries, then a hundred answers by ten are two levels");
    }

    proptest! {
        #[test]
        fn a_reduce_has_as_many_levels_as_its_groups_make(answers in 2..1_000_000u64, group in 2..200u64) {
            let levels = levels_of(answers, group);
            prop_assert!(group.saturating_pow(levels as u32) >= answers);
            prop_assert!(group.pow(levels as u32 - 1) < answers);
        }
    }
}
