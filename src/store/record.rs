//! Writing results. Those of items lie in the order of the input, so that what ends together is
//! written together; steps of a reduce are found by their key.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use empire_actors::model::ProviderId;
use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{ItemKey, Part, ResultRecord, Try, TryOutcome, UnixMillis, Verdict};
use serde::{Deserialize, Serialize};
use sqlx::query_builder::Separated;
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, Row, SqliteConnection};

use super::batch::{Filled, ROWS, fill, push_rows};
use super::row::{int, item_of, key, place};

/// The part of a reduce step, and that of an item that has left the input.
pub(super) const REDUCE: &str = "reduce";
pub(super) const LEFT: &str = "left";

/// What is stored of a result beside what is counted or looked for. Hundreds of thousands lie there,
/// so that what goes without saying is left out.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Detail<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<Cow<'a, ProviderId>>,
    /// Input, cached input, written to a cache, output.
    tokens: [u64; 4],
    pub(super) calls: u32,
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) redactions: u32,
    pub(super) packed: u16,
    pub(super) ms: u32,
    /// Nothing: the model answered when it was first asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tries: Option<Cow<'a, [Try]>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

impl<'a> Detail<'a> {
    fn of(record: &'a ResultRecord) -> Detail<'a> {
        let Usage { input, cached_input, cache_write, output } = record.usage;
        let goes_without_saying = match record.tries.as_slice() {
            [only] => {
                only.outcome == TryOutcome::Answered
                    && only.ms == record.ms
                    && record.model.as_ref() == Some(&only.model)
            }
            _ => false,
        };
        Detail {
            model: record.model.as_deref().map(Cow::Borrowed),
            provider: record.provider.as_ref().map(Cow::Borrowed),
            tokens: [input, cached_input, cache_write, output],
            calls: record.calls,
            redactions: record.redactions,
            packed: record.packed,
            ms: record.ms,
            tries: (!goes_without_saying).then_some(Cow::Borrowed(&*record.tries)),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let [input, cached_input, cache_write, output] = self.tokens;
        Usage { input, cached_input, cache_write, output }
    }

    pub(super) fn tries(&mut self) -> Vec<Try> {
        let only = |model: &Cow<'_, str>| Try {
            model: model.to_string(),
            outcome: TryOutcome::Answered,
            ms: self.ms,
        };
        match self.tries.take() {
            Some(tries) => tries.into_owned(),
            None => self.model.iter().map(only).collect(),
        }
    }
}

/// A record, and its job's number.
pub(super) struct Numbered<'a> {
    job: i64,
    record: &'a ResultRecord,
}

/// Records to write, and what they add to their jobs' counters.
#[derive(Default)]
pub(super) struct Taken<'a> {
    /// Of items.
    pub(super) placed: Vec<Numbered<'a>>,
    /// Of steps of a reduce.
    pub(super) loose: Vec<Numbered<'a>>,
    /// Where dead results of items lie that are replaced.
    pub(super) replaced: Vec<i64>,
    pub(super) added: BTreeMap<&'a str, Added>,
}

/// Chooses the records to write: the first record of a key, or one that replaces a dead one; all
/// others change nothing.
pub(super) async fn take_in<'a>(
    connection: &mut SqliteConnection,
    records: &[&'a ResultRecord],
) -> Result<Taken<'a>, sqlx::Error> {
    let mut groups: BTreeMap<&str, (Vec<&ResultRecord>, Vec<&ResultRecord>)> = BTreeMap::new();
    for record in records {
        let (items, steps) = groups.entry(&record.job).or_default();
        match record.part {
            Part::Item => items.push(record),
            Part::Reduce => steps.push(record),
        }
    }
    let mut taken = Taken::default();
    for (job, (items, steps)) in groups {
        let number = number_of(connection, job).await?;
        let added = taken.added.entry(job).or_default();
        let known = recorded_items(connection, number, &items).await?;
        let dead = known.iter().filter(|(_, is_dead)| **is_dead).map(|(item, _)| place(number, *item));
        taken.replaced.extend(dead);
        let chosen = choose(&items, known, |record| record.item, added);
        taken.placed.extend(chosen.into_iter().map(|record| Numbered { job: number, record }));
        let known = recorded_steps(connection, number, &steps).await?;
        let chosen = choose(&steps, known, |record| record.key, added);
        taken.loose.extend(chosen.into_iter().map(|record| Numbered { job: number, record }));
    }
    Ok(taken)
}

/// The chosen ones of `records` in the order of what tells them apart, given whether what is
/// `known` is dead.
fn choose<'a, K: Ord + std::hash::Hash + Copy>(
    records: &[&'a ResultRecord],
    mut known: HashMap<K, bool>,
    tell: impl Fn(&ResultRecord) -> K,
    added: &mut Added,
) -> Vec<&'a ResultRecord> {
    let mut latest: BTreeMap<K, &ResultRecord> = BTreeMap::new();
    for record in records {
        let which = tell(record);
        let is_dead = matches!(record.verdict, Verdict::Dead(_));
        match known.insert(which, is_dead) {
            Some(false) => {
                known.insert(which, false);
            }
            before => {
                added.add(record, before == Some(true));
                latest.insert(which, record);
            }
        }
    }
    latest.into_values().collect()
}

/// The number that stands for a job where it is named often.
pub(super) async fn number_of(connection: &mut SqliteConnection, job: &str) -> Result<i64, sqlx::Error> {
    let number = sqlx::query_scalar("SELECT number FROM jobs WHERE id = $1").bind(job);
    number
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| sqlx::Error::InvalidArgument(format!("there is no job `{job}` to have results")))
}

/// Which of the items have a result already, and whether it is dead.
async fn recorded_items(
    connection: &mut SqliteConnection,
    job: i64,
    records: &[&ResultRecord],
) -> Result<HashMap<u32, bool>, sqlx::Error> {
    let mut known = HashMap::with_capacity(records.len());
    for records in records.chunks(ROWS) {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT place, state FROM results WHERE place IN (");
        let mut list = sql.separated(", ");
        for record in fill(records, records.len().next_power_of_two()) {
            list.push_bind(record.map(|record| place(job, record.item)));
        }
        for row in sql.push(")").build().fetch_all(&mut *connection).await? {
            known.insert(item_of(row.try_get("place")?), row.try_get::<&str, _>("state")? != "done");
        }
    }
    Ok(known)
}

/// Which of the steps have a result already, and whether it is dead.
async fn recorded_steps(
    connection: &mut SqliteConnection,
    job: i64,
    records: &[&ResultRecord],
) -> Result<HashMap<ItemKey, bool>, sqlx::Error> {
    let mut known = HashMap::new();
    for record in records {
        let row = sqlx::query(
            "SELECT item_key, state FROM loose_results WHERE job = $1 AND part = $2 AND item_key = $3",
        )
        .bind(job)
        .bind(REDUCE)
        .bind(&record.key.0[..])
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            known.insert(key(&row, "item_key")?, row.try_get::<&str, _>("state")? != "done");
        }
    }
    Ok(known)
}

pub(super) fn delete_replaced(sql: &mut QueryBuilder<Sqlite>, places: &[i64]) {
    let mut list = sql.push("DELETE FROM results WHERE place IN (").separated(", ");
    for place in fill(places, places.len().next_power_of_two()) {
        list.push_bind(place.copied());
    }
    list.push_unseparated(")");
}

pub(super) fn insert_placed(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, Numbered<'_>>) {
    sql.push("INSERT OR FAIL INTO results (place, item_key, state, said, cost, detail, at) ");
    push_rows(sql, rows, |mut row, numbered| {
        row.push_bind(numbered.map(|numbered| place(numbered.job, numbered.record.item)));
        push_record(&mut row, numbered.map(|numbered| numbered.record));
    });
}

pub(super) fn insert_loose(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, Numbered<'_>>) {
    sql.push("INSERT INTO loose_results (job, part, item_key, state, said, cost, detail, at) ");
    push_rows(sql, rows, |mut row, numbered| {
        row.push_bind(numbered.map(|numbered| numbered.job)).push_bind(REDUCE);
        push_record(&mut row, numbered.map(|numbered| numbered.record));
    });
    sql.push(
        " ON CONFLICT (job, part, item_key) DO UPDATE SET state = excluded.state, said = excluded.said, \
         cost = excluded.cost, detail = excluded.detail, at = excluded.at",
    );
}

fn push_record(row: &mut Separated<'_, Sqlite, &'static str>, record: Option<&ResultRecord>) {
    let (state, said) = match record.map(|record| &record.verdict) {
        Some(Verdict::Done(answer)) => (Some("done"), Some(&**answer)),
        Some(Verdict::Dead(reason)) => (Some("dead"), Some(reason.as_str())),
        None => (None, None),
    };
    row.push_bind(record.map(|record| &record.key.0[..]))
        .push_bind(state)
        .push_bind(said)
        .push_bind(record.map(|record| int(record.cost.0)))
        .push_bind(record.map(|record| sqlx::types::Json(Detail::of(record))))
        .push_bind(record.map(|record| record.at.0));
}

/// What a batch of results adds to its job's counters.
#[derive(Default)]
pub(super) struct Added {
    done: i64,
    dead: i64,
    calls: u64,
    usage: Usage,
    cost: Micros,
    redactions: u64,
    retries: u64,
}

impl Added {
    /// The outcome counters follow the records; what was consumed stays consumed, even if a
    /// record is replaced or forgotten later.
    fn add(&mut self, record: &ResultRecord, replaces_dead: bool) {
        if record.part == Part::Item {
            self.dead -= i64::from(replaces_dead);
            match record.verdict {
                Verdict::Done(_) => self.done += 1,
                Verdict::Dead(_) => self.dead += 1,
            }
        }
        let sent = record.tries.iter().filter(|t| t.outcome.was_sent()).count();
        self.calls += u64::from(record.calls);
        self.usage += record.usage;
        self.cost += record.cost;
        self.redactions += u64::from(record.redactions);
        self.retries += sent.saturating_sub(1) as u64;
    }

    pub(super) fn push(&self, sql: &mut QueryBuilder<Sqlite>, job: &str, now: UnixMillis) {
        let steps: [(&str, i64); 10] = [
            ("done", self.done),
            ("dead", self.dead),
            ("calls", int(self.calls)),
            ("input_tokens", int(self.usage.input)),
            ("cached_tokens", int(self.usage.cached_input)),
            ("cache_write_tokens", int(self.usage.cache_write)),
            ("output_tokens", int(self.usage.output)),
            ("cost", int(self.cost.0)),
            ("redactions", int(self.redactions)),
            ("retries", int(self.retries)),
        ];
        sql.push("UPDATE jobs SET ");
        for (counter, step) in steps {
            sql.push(format_args!("{counter} = {counter} + ")).push_bind(step).push(", ");
        }
        sql.push("updated_at = ").push_bind(now.0).push(" WHERE id = ").push_bind(job);
    }
}
