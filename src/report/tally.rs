//! Adds up agents' records in bounded memory.

use std::collections::{BTreeMap, HashMap};

use empire_actors::money::Usage;
use empire_actors::ports::{ResultRecord, Try, TryOutcome, Verdict};
use serde::Serialize;

use crate::text;

/// Dead-letter reasons that a report shows.
const SHOWN_REASONS: usize = 20;
/// Different reasons that are told apart; later ones count as others.
const KEPT_REASONS: usize = 2_000;
/// Slow calls that a report shows.
const SHOWN_SLOW: usize = 10;
/// Characters of a reason that tell it apart.
const REASON_CHARS: usize = 300;

/// Dead agents with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadReason {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The number of one of them, from 1.
    pub example_item: u32,
}

/// One slow call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowCall {
    /// How long it took, in milliseconds.
    pub ms: u32,
    /// The item's number, from 1.
    pub item: u32,
    /// The model.
    pub model: String,
    /// What came of it.
    pub outcome: String,
}

/// Adds up records as they come.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    sums: Tallied,
    reasons: HashMap<String, (u64, u32)>,
}

/// What records add up to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tallied {
    /// Model calls, those of the reduce included.
    pub calls: u64,
    /// Of those, calls of the reduce.
    pub reduce_calls: u64,
    /// Of those, calls that answered several items.
    pub packed_calls: u64,
    /// Calls that packed items did not need.
    pub saved_by_packs: u64,
    /// Calls by model.
    pub calls_by_model: BTreeMap<String, u64>,
    /// Tokens by kind.
    pub usage: Usage,
    /// Items answered from the cache, without a call.
    pub from_cache: u64,
    /// Items answered by the same call of another item or job.
    pub joined: u64,
    /// Items that went on to a less trusted zone than their route begins in.
    pub crossed_zones: u64,
    /// Values cut out of what left.
    pub redactions: u64,
    /// Sent tries after an agent's first one.
    pub retries: u64,
    /// The most tries of one item, or of one summary, that were sent: calls of which each waits for the one before.
    pub most_tries: u64,
    /// Tries by outcome.
    pub tries: BTreeMap<String, u64>,
    /// Dead agents by reason, most first.
    pub dead_letters: Vec<DeadReason>,
    /// Dead agents of all other reasons.
    pub dead_of_other_reasons: u64,
    /// The slowest calls, slowest first.
    pub slowest: Vec<SlowCall>,
}

impl Tally {
    /// Adds the record of an item.
    pub fn add(&mut self, record: &ResultRecord) {
        self.add_calls(record);
        let sums = &mut self.sums;
        if record.packed > 1 {
            match record.calls {
                0 if !was_reused(record) => sums.saved_by_packs += 1,
                0 => {}
                _ => sums.packed_calls += 1,
            }
        }
        // A shared call is in the record of every item that it carried.
        for attempt in record.tries.iter().filter(|attempt| was_sent(attempt) && record.calls > 0) {
            keep_if_slow(&mut sums.slowest, attempt, record.item + 1);
        }
        if let Verdict::Dead(reason) = &record.verdict {
            self.count_dead(reason, record.item + 1);
        }
    }

    /// Adds the record of a summary. It is no item, so it is neither slow nor dead as one.
    pub fn add_reduce(&mut self, record: &ResultRecord) {
        self.add_calls(record);
        self.sums.reduce_calls += u64::from(record.calls);
    }

    fn add_calls(&mut self, record: &ResultRecord) {
        let sums = &mut self.sums;
        if let Some(Try { outcome, .. }) = record.tries.last() {
            sums.from_cache += u64::from(*outcome == TryOutcome::Cached);
            sums.joined += u64::from(*outcome == TryOutcome::Joined { failed: None });
        }
        let crosses = |attempt: &Try| matches!(attempt.outcome, TryOutcome::Crossed { .. });
        sums.crossed_zones += u64::from(record.tries.iter().any(crosses));
        sums.calls += u64::from(record.calls);
        sums.redactions += u64::from(record.redactions);
        sums.usage += record.usage;
        let sent = record.tries.iter().filter(|attempt| was_sent(attempt)).count() as u64;
        sums.retries += sent.saturating_sub(1);
        sums.most_tries = sums.most_tries.max(sent);
        for attempt in &record.tries {
            *sums.tries.entry(outcome_words(&attempt.outcome).to_owned()).or_default() += 1;
        }
        // A try that shared another item's call is that item's; such tries come first.
        let own = record.tries.iter().rev().filter(|attempt| was_sent(attempt)).take(record.calls as usize);
        for attempt in own {
            *sums.calls_by_model.entry(attempt.model.clone()).or_default() += 1;
        }
    }

    fn count_dead(&mut self, reason: &str, item: u32) {
        let reason = text::one_line(reason, REASON_CHARS);
        if let Some((count, _)) = self.reasons.get_mut(&reason) {
            *count += 1;
        } else if self.reasons.len() < KEPT_REASONS {
            self.reasons.insert(reason, (1, item));
        } else {
            self.sums.dead_of_other_reasons += 1;
        }
    }

    /// The sums.
    #[must_use]
    pub fn finish(self) -> Tallied {
        let Tally { mut sums, reasons } = self;
        let mut letters: Vec<DeadReason> = reasons
            .into_iter()
            .map(|(reason, (count, example_item))| DeadReason { reason, count, example_item })
            .collect();
        letters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
        let others = letters.split_off(letters.len().min(SHOWN_REASONS));
        sums.dead_of_other_reasons += others.iter().map(|letter| letter.count).sum::<u64>();
        sums.dead_letters = letters;
        sums
    }
}

fn was_sent(attempt: &Try) -> bool {
    attempt.outcome.was_sent()
}

/// Whether an answer came without a call, of this item or of one that shares its pack.
fn was_reused(record: &ResultRecord) -> bool {
    let last = record.tries.last().map(|attempt| &attempt.outcome);
    matches!(last, Some(TryOutcome::Cached | TryOutcome::Joined { failed: None }))
}

fn outcome_words(outcome: &TryOutcome) -> &'static str {
    match outcome {
        TryOutcome::Answered => "answered",
        TryOutcome::Rejected { .. } => "failed its check",
        TryOutcome::Failed { kind, .. } => kind.words(),
        TryOutcome::Refused { .. } => "refused by a gate",
        TryOutcome::Cached => "answered from the cache",
        TryOutcome::Joined { failed: None } => "answered by the same call of another",
        TryOutcome::Joined { failed: Some(_) } => "failed with the same call of another",
        TryOutcome::Crossed { .. } => "went on to a less trusted zone",
    }
}

fn keep_if_slow(slowest: &mut Vec<SlowCall>, attempt: &Try, item: u32) {
    let place = slowest.partition_point(|kept| kept.ms >= attempt.ms);
    if place < SHOWN_SLOW {
        let (model, outcome) = (attempt.model.clone(), outcome_words(&attempt.outcome).to_owned());
        slowest.insert(place, SlowCall { ms: attempt.ms, item, model, outcome });
        slowest.truncate(SHOWN_SLOW);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use empire_actors::failure::FailureKind;
    use empire_actors::money::Micros;
    use empire_actors::ports::{ItemKey, Part, UnixMillis};

    use super::*;

    fn record(item: u32, calls: u32, packed: u16, verdict: Verdict, tries: Vec<Try>) -> ResultRecord {
        ResultRecord {
            job: Arc::from("job"),
            part: Part::Item,
            key: ItemKey([0; 16]),
            item,
            verdict,
            model: Some("m".into()),
            provider: Some("p".into()),
            usage: Usage { input: 10, output: 5, ..Usage::default() },
            cost: Micros(3),
            calls,
            redactions: 1,
            packed,
            ms: 20,
            tries,
            at: UnixMillis(0),
        }
    }

    fn attempt(outcome: TryOutcome, ms: u32) -> Try {
        Try { model: "m".into(), outcome, ms }
    }

    #[test]
    fn records_add_up() {
        let mut tally = Tally::default();
        let storm = TryOutcome::Failed { kind: FailureKind::RateLimited, why: "slow down".into() };
        let refused = TryOutcome::Refused { why: "P2 may not go there".into() };
        let done = || Verdict::Done("1".into());
        let tries = vec![attempt(refused, 0), attempt(storm, 900), attempt(TryOutcome::Answered, 20)];
        tally.add(&record(0, 2, 1, done(), tries));
        tally.add(&record(1, 1, 2, done(), vec![attempt(TryOutcome::Answered, 50)]));
        tally.add(&record(2, 0, 2, done(), vec![attempt(TryOutcome::Answered, 50)]));
        let sums = tally.finish();
        assert_eq!((sums.calls, sums.packed_calls, sums.saved_by_packs), (3, 1, 1));
        assert_eq!((sums.retries, sums.redactions, sums.usage.input), (1, 3, 30));
        assert_eq!(sums.most_tries, 2, "what a gate refused was not sent");
        let tries: Vec<_> = sums.tries.iter().map(|(outcome, n)| (outcome.as_str(), *n)).collect();
        assert_eq!(tries, [("answered", 3), ("rate limited", 1), ("refused by a gate", 1)]);
        assert_eq!(sums.slowest.iter().map(|slow| slow.ms).collect::<Vec<_>>(), [900, 50, 20]);
    }

    #[test]
    fn a_million_different_reasons_stay_bounded_and_counted() {
        let mut tally = Tally::default();
        for item in 0..5_000 {
            tally.add(&record(item, 1, 1, Verdict::Dead(format!("reason {item}")), vec![]));
            tally.add(&record(item, 1, 1, Verdict::Dead("the same\nagain".into()), vec![]));
        }
        assert!(tally.reasons.len() <= KEPT_REASONS);
        let sums = tally.finish();
        assert_eq!(sums.dead_letters.len(), SHOWN_REASONS);
        assert_eq!(
            sums.dead_letters[0],
            DeadReason { reason: "the same again".into(), count: 5_000, example_item: 1 }
        );
        let shown: u64 = sums.dead_letters.iter().map(|letter| letter.count).sum();
        assert_eq!(shown + sums.dead_of_other_reasons, 10_000);
    }
}
