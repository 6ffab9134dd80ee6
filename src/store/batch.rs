//! Many frequent operations as one statement text.
//!
//! Every statement that goes to the database crosses threads twice. So what a batch writes is put
//! together as one text of several statements, and each writes many rows. Rows come in few
//! numbers, filled up with empty ones, so that a text is prepared once and found again.
//!
//! A statement that fails takes its whole transaction back, so those that only add rows need not be
//! able to take themselves back: `OR FAIL` spares them a copy of every page that they touch.

use std::collections::BTreeMap;

use empire_actors::gates::audit::Decision;
use empire_actors::model::ProviderId;
use empire_actors::ports::{HoldId, HoldRecord, ResultRecord, Sent, Settlement, UnixMillis};
use sqlx::query_builder::Separated;
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, SqliteConnection};

use super::audit::insert_decisions;
use super::kept::{self, KeptRow};
use super::record::{delete_replaced, insert_loose, insert_placed, take_in};
use super::row::{certainty_word, int};
use super::spool::Fact;

/// The most rows that one statement writes.
pub(super) const ROWS: usize = 64;

type SentKey<'a> = (&'a ProviderId, &'a str, &'a str, UnixMillis);

/// What was sent at one moment.
#[derive(Clone, Copy, Default)]
struct Sums {
    calls: u64,
    tokens: u64,
    owed: u64,
}

/// Operations whose order among each other does not show once they are all written.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// New reservations that this batch does not also end, and whether their calls leave.
    reserved: BTreeMap<HoldId, (&'a HoldRecord, bool)>,
    next_hold: Option<u64>,
    /// Reservations of earlier batches whose calls leave.
    leaving: Vec<HoldId>,
    /// Reservations of earlier batches that end.
    ended: Vec<HoldId>,
    settled: Vec<(&'a Settlement, UnixMillis)>,
    /// By provider, model, job and time.
    sent: BTreeMap<SentKey<'a>, Sums>,
    records: Vec<&'a ResultRecord>,
    kept: Vec<&'a KeptRow>,
    decisions: Vec<&'a Decision>,
}

impl<'a> Batch<'a> {
    pub(super) fn reserve(&mut self, hold: &'a HoldRecord) -> Result<(), sqlx::Error> {
        if self.reserved.insert(hold.id, (hold, false)).is_some() {
            return Err(sqlx::Error::InvalidArgument(format!("reservation {} exists already", hold.id.0)));
        }
        self.next_hold = self.next_hold.max(Some(hold.id.0 + 1));
        Ok(())
    }

    pub(super) fn fact(&mut self, fact: &'a Fact) {
        match fact {
            Fact::Leaves(hold) => match self.reserved.get_mut(hold) {
                Some((_, leaves)) => *leaves = true,
                None => self.leaving.push(*hold),
            },
            Fact::Settled(settlement, at) => {
                self.end(settlement.hold.id);
                self.settled.push((settlement, *at));
            }
            Fact::Released(hold) => self.end(*hold),
            Fact::Recorded(record) => self.records.push(record),
        }
    }

    fn end(&mut self, hold: HoldId) {
        if self.reserved.remove(&hold).is_none() {
            self.ended.push(hold);
        }
    }

    pub(super) fn sent(&mut self, provider: &'a ProviderId, job: &'a str, sent: &'a Sent) {
        let sums = self.sent.entry((provider, &sent.model, job, sent.at)).or_default();
        sums.calls += u64::from(sent.calls);
        sums.tokens = sums.tokens.saturating_add(sent.tokens);
        sums.owed = sums.owed.saturating_add(sent.owed);
    }

    pub(super) fn decided(&mut self, decision: &'a Decision) {
        self.decisions.push(decision);
    }

    pub(super) fn keep(&mut self, row: &'a KeptRow) {
        self.kept.push(row);
    }

    /// Writes it all, within the transaction that is open on `connection`. `spooled` is the number
    /// of the last fact of the spool in it.
    pub(super) async fn write(
        self,
        connection: &mut SqliteConnection,
        spooled: Option<u64>,
        now: UnixMillis,
    ) -> Result<(), sqlx::Error> {
        kept::write(&self.kept, connection).await?;
        let taken = take_in(connection, &self.records).await?;
        let (reserved, sent) = (Vec::from_iter(self.reserved.into_values()), Vec::from_iter(self.sent));
        let mut script = Script::default();
        if self.next_hold.is_some() || spooled.is_some() {
            move_marks(script.statement(), self.next_hold.unwrap_or(0), spooled.unwrap_or(0));
        }
        for places in taken.replaced.chunks(ROWS) {
            delete_replaced(script.statement(), places);
        }
        for (job, added) in &taken.added {
            added.push(script.statement(), job, now);
        }
        let (mut leaving, mut ended, mut reserved) =
            (Rest(&self.leaving), Rest(&self.ended), Rest(&reserved));
        let (mut settled, mut sent) = (Rest(&self.settled), Rest(&sent));
        let (mut placed, mut loose) = (Rest(&taken.placed), Rest(&taken.loose));
        let mut decisions = Rest(&self.decisions);
        loop {
            let lengths = [
                leaving.len(),
                ended.len(),
                reserved.len(),
                settled.len(),
                sent.len(),
                placed.len(),
                loose.len(),
                decisions.len(),
            ];
            let size = lengths.into_iter().max().unwrap_or(0).min(ROWS).next_power_of_two();
            leaving.take(size, |rows| mark_leaving(script.statement(), &rows));
            ended.take(size, |rows| end_holds(script.statement(), &rows));
            reserved.take(size, |rows| insert_holds(script.statement(), rows));
            settled.take(size, |rows| insert_settlements(script.statement(), rows));
            sent.take(size, |rows| add_sends(script.statement(), rows));
            placed.take(size, |rows| insert_placed(script.statement(), rows));
            loose.take(size, |rows| insert_loose(script.statement(), rows));
            decisions.take(size, |rows| insert_decisions(script.statement(), rows));
            if script.is_empty() {
                return Ok(());
            }
            std::mem::take(&mut script).run(connection).await?;
        }
    }
}

/// Statements that go to the database together.
#[derive(Default)]
struct Script {
    sql: QueryBuilder<Sqlite>,
    statements: usize,
}

impl Script {
    fn is_empty(&self) -> bool {
        self.statements == 0
    }

    /// Begins the next statement.
    fn statement(&mut self) -> &mut QueryBuilder<Sqlite> {
        if !self.is_empty() {
            self.sql.push("; ");
        }
        self.statements += 1;
        &mut self.sql
    }

    async fn run(mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.sql.build().execute(connection).await.map(drop)
    }
}

/// What is still to be written of a table.
struct Rest<'r, T>(&'r [T]);

/// Rows of one statement, filled up with empty ones.
pub(super) type Filled<'r, T> = Vec<Option<&'r T>>;

impl<'r, T> Rest<'r, T> {
    fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes up to `size` rows, and fills them up to that, unless there are none.
    fn take(&mut self, size: usize, write: impl FnOnce(Filled<'r, T>)) {
        let (rows, rest) = self.0.split_at(size.min(self.0.len()));
        self.0 = rest;
        if !rows.is_empty() {
            write(fill(rows, size));
        }
    }
}

pub(super) fn fill<T>(rows: &[T], size: usize) -> Filled<'_, T> {
    rows.iter().map(Some).chain(std::iter::repeat(None)).take(size).collect()
}

/// Writes `rows` as a table whose first column is empty in those that only fill up.
pub(super) fn push_rows<T>(
    sql: &mut QueryBuilder<Sqlite>,
    rows: Filled<'_, T>,
    push: impl FnMut(Separated<'_, Sqlite, &'static str>, Option<&T>),
) {
    sql.push("SELECT * FROM (").push_values(rows, push).push(") WHERE column1 IS NOT NULL");
}

fn push_ids(sql: &mut QueryBuilder<Sqlite>, ids: &Filled<'_, HoldId>) {
    let mut list = sql.separated(", ");
    list.push_unseparated("(");
    for id in ids {
        list.push_bind(id.map(|id| int(id.0)));
    }
    list.push_unseparated(")");
}

fn move_marks(sql: &mut QueryBuilder<Sqlite>, next_hold: u64, spooled: u64) {
    sql.push("UPDATE next_hold SET id = max(id, ").push_bind(int(next_hold));
    sql.push("), spooled = max(spooled, ").push_bind(int(spooled)).push(")");
}

fn mark_leaving(sql: &mut QueryBuilder<Sqlite>, ids: &Filled<'_, HoldId>) {
    push_ids(sql.push("UPDATE holds SET has_left = 1 WHERE id IN "), ids);
}

fn end_holds(sql: &mut QueryBuilder<Sqlite>, ids: &Filled<'_, HoldId>) {
    push_ids(sql.push("DELETE FROM holds WHERE id IN "), ids);
}

fn insert_holds(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, (&HoldRecord, bool)>) {
    sql.push(
        "INSERT OR FAIL INTO holds (id, job, role, child, item, provider, model, reserved, at, has_left) ",
    );
    push_rows(sql, rows, |mut row, hold| {
        let (hold, leaves) = (hold.map(|(hold, _)| *hold), hold.map(|(_, leaves)| *leaves));
        row.push_bind(hold.map(|hold| int(hold.id.0)))
            .push_bind(hold.map(|hold| &*hold.job))
            .push_bind(hold.and_then(|hold| hold.role.as_deref()))
            .push_bind(hold.and_then(|hold| hold.child.as_deref()))
            .push_bind(hold.map(|hold| hold.item))
            .push_bind(hold.map(|hold| hold.provider.as_str()))
            .push_bind(hold.map(|hold| hold.model.as_str()))
            .push_bind(hold.map(|hold| int(hold.reserved.0)))
            .push_bind(hold.map(|hold| hold.at.0))
            .push_bind(leaves);
    });
}

fn insert_settlements(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, (&Settlement, UnixMillis)>) {
    sql.push(
        "INSERT OR FAIL INTO ledger (hold, job, role, child, item, provider, model, reserved, billed, certainty, \
         input_tokens, cached_tokens, cache_write_tokens, output_tokens, reserved_at, sent_at, settled_at) ",
    );
    push_rows(sql, rows, |mut row, settled| {
        let (end, at) = (settled.map(|(end, _)| *end), settled.map(|(_, at)| *at));
        row.push_bind(end.map(|end| int(end.hold.id.0)))
            .push_bind(end.map(|end| &*end.hold.job))
            .push_bind(end.and_then(|end| end.hold.role.as_deref()))
            .push_bind(end.and_then(|end| end.hold.child.as_deref()))
            .push_bind(end.map(|end| end.hold.item))
            .push_bind(end.map(|end| end.hold.provider.as_str()))
            .push_bind(end.map(|end| end.hold.model.as_str()))
            .push_bind(end.map(|end| int(end.hold.reserved.0)))
            .push_bind(end.map(|end| int(end.billed.0)))
            .push_bind(end.map(|end| certainty_word(end.certainty)))
            .push_bind(end.map(|end| int(end.usage.input)))
            .push_bind(end.map(|end| int(end.usage.cached_input)))
            .push_bind(end.map(|end| int(end.usage.cache_write)))
            .push_bind(end.map(|end| int(end.usage.output)))
            .push_bind(end.map(|end| end.hold.at.0))
            .push_bind(end.map(|end| end.sent_at.0))
            .push_bind(at.map(|at| at.0));
    });
    // A call is billed once, whatever happens.
    sql.push(" ON CONFLICT (hold) DO NOTHING");
}

fn add_sends(sql: &mut QueryBuilder<Sqlite>, rows: Filled<'_, (SentKey<'_>, Sums)>) {
    sql.push("INSERT INTO sends (provider, model, job, at, calls, tokens, owed) ");
    push_rows(sql, rows, |mut row, sent| {
        row.push_bind(sent.map(|((provider, ..), _)| provider.as_str()))
            .push_bind(sent.map(|((_, model, ..), _)| *model))
            .push_bind(sent.map(|((_, _, job, _), _)| *job))
            .push_bind(sent.map(|((.., at), _)| at.0))
            .push_bind(sent.map(|(_, sums)| int(sums.calls)))
            .push_bind(sent.map(|(_, sums)| int(sums.tokens)))
            .push_bind(sent.map(|(_, sums)| int(sums.owed)));
    });
    sql.push(
        " ON CONFLICT (provider, model, job, at) DO UPDATE SET calls = sends.calls + excluded.calls, \
         tokens = sends.tokens + excluded.tokens, owed = sends.owed + excluded.owed",
    );
}
