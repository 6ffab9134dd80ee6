//! Many frequent operations as few statements.

use std::collections::{BTreeMap, HashMap};

use empire_actors::model::ProviderId;
use empire_actors::money::{Micros, Usage};
use empire_actors::ports::{
    HoldId, HoldRecord, ItemKey, Part, ResultRecord, Settlement, TryOutcome, UnixMillis, Verdict,
};
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, Row, SqliteConnection};

use super::error::unreadable;
use super::row::{certainty_word, in_shapes, int, key, part_word};

/// Operations whose order among each other does not show once they are all written.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// New reservations that this batch does not also end.
    reserved: BTreeMap<HoldId, &'a HoldRecord>,
    next_hold: Option<u64>,
    /// Reservations of earlier batches that end.
    ended: Vec<HoldId>,
    settled: Vec<(&'a Settlement, UnixMillis)>,
    sent: BTreeMap<(&'a ProviderId, &'a str, UnixMillis), u64>,
    records: Vec<&'a ResultRecord>,
}

impl<'a> Batch<'a> {
    pub(super) fn reserve(&mut self, hold: &'a HoldRecord) -> Result<(), sqlx::Error> {
        if self.reserved.insert(hold.id, hold).is_some() {
            return Err(sqlx::Error::InvalidArgument(format!("reservation {} exists already", hold.id.0)));
        }
        self.next_hold = self.next_hold.max(Some(hold.id.0 + 1));
        Ok(())
    }

    pub(super) fn settle(&mut self, settlement: &'a Settlement, at: UnixMillis) {
        self.end(settlement.hold.id);
        self.settled.push((settlement, at));
    }

    pub(super) fn end(&mut self, hold: HoldId) {
        if self.reserved.remove(&hold).is_none() {
            self.ended.push(hold);
        }
    }

    pub(super) fn sent(&mut self, provider: &'a ProviderId, job: &'a str, at: UnixMillis) {
        *self.sent.entry((provider, job, at)).or_default() += 1;
    }

    pub(super) fn record(&mut self, record: &'a ResultRecord) {
        self.records.push(record);
    }

    /// Writes it all, within the transaction that is open on `connection`.
    pub(super) async fn write(
        self,
        connection: &mut SqliteConnection,
        now: UnixMillis,
    ) -> Result<(), sqlx::Error> {
        end_holds(connection, &self.ended).await?;
        insert_holds(connection, &self.reserved.into_values().collect::<Vec<_>>()).await?;
        if let Some(next) = self.next_hold {
            sqlx::query("UPDATE next_hold SET id = $1 WHERE id < $1")
                .bind(int(next))
                .execute(&mut *connection)
                .await?;
        }
        insert_settlements(connection, &self.settled).await?;
        add_sends(connection, &self.sent.into_iter().collect::<Vec<_>>()).await?;

        let mut groups: BTreeMap<(&str, &str), Vec<&ResultRecord>> = BTreeMap::new();
        for record in self.records {
            groups.entry((&record.job, part_word(record.part))).or_default().push(record);
        }
        for ((job, part), records) in groups {
            write_results(connection, job, part, &records, now).await?;
        }
        Ok(())
    }
}

async fn end_holds(connection: &mut SqliteConnection, ended: &[HoldId]) -> Result<(), sqlx::Error> {
    for holds in in_shapes(ended) {
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM holds WHERE id IN (");
        let mut list = sql.separated(", ");
        for hold in holds {
            list.push_bind(int(hold.0));
        }
        sql.push(")").build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_holds(connection: &mut SqliteConnection, holds: &[&HoldRecord]) -> Result<(), sqlx::Error> {
    for holds in in_shapes(holds) {
        let mut sql =
            QueryBuilder::<Sqlite>::new("INSERT INTO holds (id, job, item, provider, model, reserved, at) ");
        sql.push_values(holds, |mut row, hold| {
            row.push_bind(int(hold.id.0))
                .push_bind(&*hold.job)
                .push_bind(hold.item)
                .push_bind(hold.provider.as_str())
                .push_bind(hold.model.as_str())
                .push_bind(int(hold.reserved.0))
                .push_bind(hold.at.0);
        });
        sql.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_settlements(
    connection: &mut SqliteConnection,
    settled: &[(&Settlement, UnixMillis)],
) -> Result<(), sqlx::Error> {
    for settled in in_shapes(settled) {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO ledger (hold, job, item, provider, model, reserved, billed, certainty, \
             input_tokens, cached_tokens, cache_write_tokens, output_tokens, sent_at, settled_at) ",
        );
        sql.push_values(settled, |mut row, (settlement, at)| {
            let Settlement { hold, billed, certainty, usage, sent_at } = settlement;
            row.push_bind(int(hold.id.0))
                .push_bind(&*hold.job)
                .push_bind(hold.item)
                .push_bind(hold.provider.as_str())
                .push_bind(hold.model.as_str())
                .push_bind(int(hold.reserved.0))
                .push_bind(int(billed.0))
                .push_bind(certainty_word(*certainty))
                .push_bind(int(usage.input))
                .push_bind(int(usage.cached_input))
                .push_bind(int(usage.cache_write))
                .push_bind(int(usage.output))
                .push_bind(sent_at.0)
                .push_bind(at.0);
        });
        // A call is billed once, whatever happens.
        sql.push(" ON CONFLICT (hold) DO NOTHING").build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn add_sends(
    connection: &mut SqliteConnection,
    sent: &[((&ProviderId, &str, UnixMillis), u64)],
) -> Result<(), sqlx::Error> {
    for sent in in_shapes(sent) {
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO sends (provider, job, at, calls) ");
        sql.push_values(sent, |mut row, ((provider, job, at), calls)| {
            row.push_bind(provider.as_str()).push_bind(*job).push_bind(at.0).push_bind(int(*calls));
        });
        sql.push(" ON CONFLICT (provider, job, at) DO UPDATE SET calls = sends.calls + excluded.calls")
            .build()
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// What a batch of results adds to its job's counters.
#[derive(Default)]
struct Added {
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
        let sent = record.tries.iter().filter(|t| !matches!(t.outcome, TryOutcome::Refused { .. })).count();
        self.calls += u64::from(record.calls);
        self.usage += record.usage;
        self.cost += record.cost;
        self.redactions += u64::from(record.redactions);
        self.retries += sent.saturating_sub(1) as u64;
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        job: &str,
        now: UnixMillis,
    ) -> Result<(), sqlx::Error> {
        let updated = sqlx::query(
            "UPDATE jobs SET done = done + $2, dead = dead + $3, calls = calls + $4, \
             input_tokens = input_tokens + $5, cached_tokens = cached_tokens + $6, \
             cache_write_tokens = cache_write_tokens + $7, output_tokens = output_tokens + $8, \
             cost = cost + $9, redactions = redactions + $10, retries = retries + $11, updated_at = $12 \
             WHERE id = $1",
        )
        .bind(job)
        .bind(self.done)
        .bind(self.dead)
        .bind(int(self.calls))
        .bind(int(self.usage.input))
        .bind(int(self.usage.cached_input))
        .bind(int(self.usage.cache_write))
        .bind(int(self.usage.output))
        .bind(int(self.cost.0))
        .bind(int(self.redactions))
        .bind(int(self.retries))
        .bind(now.0)
        .execute(connection)
        .await?;
        match updated.rows_affected() {
            0 => Err(sqlx::Error::InvalidArgument(format!("there is no job `{job}` to record results of"))),
            _ => Ok(()),
        }
    }
}

/// Writes the results of one job and part: the first record of a key, or one that replaces a
/// dead one; all others change nothing.
async fn write_results(
    connection: &mut SqliteConnection,
    job: &str,
    part: &str,
    records: &[&ResultRecord],
    now: UnixMillis,
) -> Result<(), sqlx::Error> {
    let mut known = recorded(connection, job, part, records).await?;
    let mut added = Added::default();
    let mut chosen: BTreeMap<ItemKey, &ResultRecord> = BTreeMap::new();
    for record in records {
        let before = known.get(&record.key);
        if before == Some(&Known::Done) {
            continue;
        }
        added.add(record, before == Some(&Known::Dead));
        let after = match record.verdict {
            Verdict::Done(_) => Known::Done,
            Verdict::Dead(_) => Known::Dead,
        };
        known.insert(record.key, after);
        chosen.insert(record.key, record);
    }
    added.write(connection, job, now).await?;
    upsert_results(connection, &chosen.into_values().collect::<Vec<_>>()).await
}

/// What is recorded of a key already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Done,
    Dead,
    /// Dead, of an item that had left the input: no counter holds it.
    DeadUncounted,
}

async fn recorded(
    connection: &mut SqliteConnection,
    job: &str,
    part: &str,
    records: &[&ResultRecord],
) -> Result<HashMap<ItemKey, Known>, sqlx::Error> {
    let mut known = HashMap::new();
    for records in in_shapes(records) {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT item_key, state, stale FROM results WHERE job = ");
        sql.push_bind(job).push(" AND part = ").push_bind(part).push(" AND item_key IN (");
        let mut list = sql.separated(", ");
        for record in records {
            list.push_bind(&record.key.0[..]);
        }
        for row in sql.push(")").build().fetch_all(&mut *connection).await? {
            let state = match (row.try_get("state")?, row.try_get("stale")?) {
                ("done", _) => Known::Done,
                (_, false) => Known::Dead,
                (_, true) => Known::DeadUncounted,
            };
            known.insert(key(&row, "item_key")?, state);
        }
    }
    Ok(known)
}

async fn upsert_results(
    connection: &mut SqliteConnection,
    records: &[&ResultRecord],
) -> Result<(), sqlx::Error> {
    for records in in_shapes(records) {
        let tries: Vec<String> = records
            .iter()
            .map(|record| serde_json::to_string(&record.tries).map_err(unreadable))
            .collect::<Result<_, _>>()?;
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO results (job, part, item_key, item, state, answer, reason, model, provider, \
             input_tokens, cached_tokens, cache_write_tokens, output_tokens, cost, calls, redactions, \
             packed, ms, tries, at) ",
        );
        sql.push_values(records.iter().zip(tries), |mut row, (record, tries)| {
            let (state, answer, reason) = match &record.verdict {
                Verdict::Done(answer) => ("done", Some(&**answer), None),
                Verdict::Dead(reason) => ("dead", None, Some(reason.as_str())),
            };
            row.push_bind(&*record.job)
                .push_bind(part_word(record.part))
                .push_bind(&record.key.0[..])
                .push_bind(record.item)
                .push_bind(state)
                .push_bind(answer)
                .push_bind(reason)
                .push_bind(record.model.as_deref())
                .push_bind(record.provider.as_ref().map(ProviderId::as_str))
                .push_bind(int(record.usage.input))
                .push_bind(int(record.usage.cached_input))
                .push_bind(int(record.usage.cache_write))
                .push_bind(int(record.usage.output))
                .push_bind(int(record.cost.0))
                .push_bind(record.calls)
                .push_bind(record.redactions)
                .push_bind(record.packed)
                .push_bind(record.ms)
                .push_bind(tries)
                .push_bind(record.at.0);
        });
        sql.push(
            " ON CONFLICT (job, part, item_key) DO UPDATE SET item = excluded.item, state = excluded.state, \
             answer = excluded.answer, reason = excluded.reason, model = excluded.model, \
             provider = excluded.provider, input_tokens = excluded.input_tokens, \
             cached_tokens = excluded.cached_tokens, cache_write_tokens = excluded.cache_write_tokens, \
             output_tokens = excluded.output_tokens, cost = excluded.cost, calls = excluded.calls, \
             redactions = excluded.redactions, packed = excluded.packed, ms = excluded.ms, \
             tries = excluded.tries, at = excluded.at, stale = 0",
        )
        .build()
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
