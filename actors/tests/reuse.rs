//! Calls that need not be made: joined with identical ones, or answered before; and how far a
//! fallback may go.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use empire_actors::failure::FailureKind;
use empire_actors::level::{Level, Zone};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::{AnswerCache, CallKey, Item, ItemKey, Part, TryOutcome, Verdict};
use empire_actors::route::SharedCalls;
use empire_actors::route::rules::{CacheMode, Fallback};
use empire_actors::route::shares::{Ceilings, Shares, WhenOver};
use empire_actors::swarm::order::StopReason;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

const MS20: Duration = Duration::from_millis(20);

/// Items that differ, but whose calls do not.
fn same(count: u32, text: &str) -> Vec<Item> {
    (0..count)
        .map(|number| {
            let key = ItemKey((u128::from(number) + 1).to_le_bytes());
            Item { key, ..item(number, text) }
        })
        .collect()
}

fn bench(rows: Vec<Item>, provider: FakeProvider) -> Bench {
    Bench::new(rows).route(spec("cloud", Zone::Cloud, 200), paid(), provider)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_identical_calls_in_flight_are_one() {
    let bench = bench(same(100, "equal"), FakeProvider::good());
    let ran = bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 1);
    assert_eq!((ran.meters.calls, ran.meters.joined, ran.meters.done), (1, 99, 100));
    assert_eq!(bench.recorded_cost(), ran.spent, "followers pay nothing");
    let records = bench.results.all(Part::Item);
    let joined = TryOutcome::Joined { failed: None };
    assert_eq!(records.iter().filter(|record| record.tries[0].outcome == joined).count(), 99);
    assert!(records.iter().all(|record| record.model.as_deref() == Some("cloud-model")));
}

/// Each row's own address stands in its own answer, and nobody else's does.
fn assert_own_addresses(bench: &Bench, user: &str) {
    for record in bench.results.all(Part::Item) {
        let own = format!("write to {user}{}@example.com", record.item);
        assert!(matches!(&record.verdict, Verdict::Done(answer) if answer.contains(&own)), "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_identical_only_once_redacted_are_one_and_each_gets_its_own_back() {
    let rows = |user: &str| (0..100).map(|n| item(n, &format!("write to {user}{n}@example.com"))).collect();
    let kept = Arc::new(Kept::default());
    let joined = cached(rows("jane"), FakeProvider::good(), &kept, CacheMode::Auto);
    joined.run().await;
    joined.assert_all_done();
    assert_eq!(joined.provider("cloud").calls(), 1);
    assert_own_addresses(&joined, "jane");
    let is_plain = |text: &Arc<str>| text.contains("@example.com");
    assert!(!kept.answers.lock().values().any(is_plain), "what is kept is as the vendor wrote it");

    let later = cached(rows("john"), FakeProvider::good(), &kept, CacheMode::Auto);
    later.run().await;
    assert_eq!(later.provider("cloud").calls(), 0);
    assert_own_addresses(&later, "john");
}

#[tokio::test(start_paused = true)]
async fn a_failing_leader_retries_for_all_and_gives_up_for_all() {
    let recovering = FakeProvider::new(MS20, |n, request| match n {
        0 | 1 => Reaction::Fail(error(FailureKind::ServerError)),
        _ => Reaction::Answer(good_answer(request)),
    });
    let first = bench(same(100, "equal"), recovering);
    first.run().await;
    first.assert_all_done();
    assert_eq!(first.provider("cloud").calls(), 3);

    let second = bench(same(100, "equal"), FakeProvider::failing(FailureKind::ServerError));
    let ran = second.run().await;
    assert_eq!((ran.meters.dead, second.provider("cloud").calls()), (100, 3));
    let why = second.dead();
    assert!(why.iter().all(|(why, _)| why.contains("server error")), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_repaired_once_for_all() {
    let stubborn = FakeProvider::new(MS20, |_, request| {
        Reaction::Answer(if request.turns.len() == 1 { "no".into() } else { good_answer(request) })
    });
    let bench = bench(same(100, "equal"), stubborn);
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("cloud").calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn levels_are_never_joined() {
    let mut rows = same(100, "equal");
    for row in rows.iter_mut().step_by(2) {
        row.level = Some(Level::P2);
    }
    let free = Some(Price::FREE);
    let bench = Bench::new(rows).route(spec("local", Zone::Local, 200), free, FakeProvider::good());
    bench.run().await;
    bench.assert_all_done();
    assert_eq!(bench.provider("local").calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn jobs_share_calls_and_followers_survive_the_leaders_job() {
    let slow = || FakeProvider::new(Duration::from_secs(5), |_, r| Reaction::Answer(good_answer(r)));
    let mut leads = bench(items(50), slow());
    let mut follows = bench(items(50), slow());
    leads.shared = SharedCalls::default();
    follows.shared = leads.shared.clone();
    let first = leads.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = follows.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((leads.provider("cloud").calls(), follows.provider("cloud").calls()), (50, 0));
    first.stop_now(StopReason::Cancelled);
    let ran = leads.finish(first).await;
    assert_eq!(ran.end.unfinished, 50);
    follows.finish(second).await;
    follows.assert_all_done();
    assert_eq!(follows.provider("cloud").calls(), 50, "one new call for each that was lost");
    assert_eq!(leads.shared.joint.under_way(), 0);

    let (mut third, mut fourth) = (bench(items(50), slow()), bench(items(50), slow()));
    third.shared = SharedCalls::default();
    fourth.shared = third.shared.clone();
    let (third_runs, fourth_runs) = (third.start().await, fourth.start().await);
    third.finish(third_runs).await;
    fourth.finish(fourth_runs).await;
    third.assert_all_done();
    fourth.assert_all_done();
    assert_eq!(third.provider("cloud").calls() + fourth.provider("cloud").calls(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_money_leaves_the_call_to_one_that_has_some() {
    let slow = || FakeProvider::new(Duration::from_secs(5), |_, r| Reaction::Answer(good_answer(r)));
    let mut poor = bench(items(10), slow()).cap(Micros(1));
    let mut rich = bench(items(10), slow());
    poor.shared = SharedCalls::default();
    rich.shared = poor.shared.clone();
    let (poor_runs, rich_runs) = (poor.start().await, rich.start().await);
    rich.finish(rich_runs).await;
    rich.assert_all_done();
    poor.finish(poor_runs).await;
    assert_eq!(poor.provider("cloud").calls(), 0);
    assert_eq!(rich.provider("cloud").calls(), 10);
}

#[derive(Default)]
struct Kept {
    answers: Mutex<HashMap<CallKey, Arc<str>>>,
    looks: AtomicUsize,
}

impl AnswerCache for Kept {
    fn get(&self, key: CallKey, _: Level) -> BoxFuture<'_, Option<Arc<str>>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let found = self.answers.lock().get(&key).cloned();
        Box::pin(async { found })
    }

    fn put(&self, key: CallKey, _: Level, answer: &str) {
        self.answers.lock().insert(key, answer.into());
    }
}

fn cached(rows: Vec<Item>, provider: FakeProvider, kept: &Arc<Kept>, mode: CacheMode) -> Bench {
    let mut bench = bench(rows, provider).order(|order| order.rules.cache = mode);
    bench.shared = SharedCalls { cache: Some(kept.clone()), ..SharedCalls::default() };
    bench
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_passed_serves_the_next_job_and_costs_nothing() {
    let kept = Arc::new(Kept::default());
    cached(items(50), FakeProvider::good(), &kept, CacheMode::Auto).run().await;
    for (mode, calls) in [(CacheMode::Auto, 0), (CacheMode::Refresh, 50), (CacheMode::Off, 50)] {
        let again = cached(items(50), FakeProvider::good(), &kept, mode);
        let ran = again.run().await;
        again.assert_all_done();
        assert_eq!(again.provider("cloud").calls(), calls, "{mode:?}");
        assert_eq!(ran.meters.cache_hits, 50 - calls as u64);
        assert_eq!(again.recorded_cost(), ran.spent);
        assert_eq!(ran.spent == Micros::ZERO, calls == 0);
    }
    assert_eq!(kept.looks.load(Ordering::Relaxed), 100, "off and refresh do not look");
    // Another level finds nothing.
    let other = cached(items(50), FakeProvider::good(), &kept, CacheMode::Auto);
    let other = other.order(|order| order.level = Level::P0);
    other.run().await;
    assert_eq!(other.provider("cloud").calls(), 50);
}

#[tokio::test(start_paused = true)]
async fn only_what_passed_its_check_is_kept_and_packs_only_whole() {
    let kept = Arc::new(Kept::default());
    let bad = FakeProvider::new(MS20, |_, _| Reaction::Answer("no".into()));
    cached(items(10), bad, &kept, CacheMode::On).run().await;
    assert!(kept.answers.lock().is_empty());

    // Of a pack, the first part is missing and the ninth comes twice.
    let partly = FakeProvider::new(MS20, |_, request| {
        let answer = good_answer(request);
        Reaction::Answer(answer.strip_prefix("1=").map_or(answer.clone(), |rest| format!("9={rest}")))
    });
    let packed = cached(items(10), partly, &kept, CacheMode::On).order(|order| order.pack = 10);
    packed.run().await;
    packed.assert_all_done();
    assert_eq!(kept.answers.lock().len(), 2, "the two items that worked alone");
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_that_passes_no_more_is_asked_anew_and_replaced() {
    let kept = Arc::new(Kept::default());
    cached(items(10), FakeProvider::good(), &kept, CacheMode::On).run().await;
    kept.answers.lock().values_mut().for_each(|answer| *answer = "stale".into());
    let again = cached(items(10), FakeProvider::good(), &kept, CacheMode::On);
    again.run().await;
    again.assert_all_done();
    assert_eq!(again.provider("cloud").calls(), 10);
    assert!(kept.answers.lock().values().all(|answer| answer.starts_with("ok")));
}

fn two_zones(rows: Vec<Item>, local: FakeProvider) -> Bench {
    let free = Some(Price::FREE);
    Bench::new(rows).route(spec("local", Zone::Local, 20), free, local).route(
        spec("cloud", Zone::Cloud, 20),
        paid(),
        FakeProvider::good(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_fallback_to_a_less_trusted_zone_is_told_and_can_be_forbidden() {
    let ill = || FakeProvider::failing(FailureKind::ServerError);
    let open = two_zones(items(20), ill());
    let ran = open.run().await;
    open.assert_all_done();
    assert_eq!(ran.meters.crossed, 20);
    let crossed = TryOutcome::Crossed { from: Zone::Local, to: Zone::Cloud };
    let records = open.results.all(Part::Item);
    assert!(records.iter().all(|record| record.tries.iter().any(|tried| tried.outcome == crossed)));

    let strict = two_zones(items(20), ill()).order(|order| order.rules.fallback = Fallback::SameZone);
    let ran = strict.run().await;
    // It has no other model to turn to, so it waits for this one.
    assert!(matches!(ran.end.stopped, Some(StopReason::Tripped { .. })), "{:?}", ran.end);
    assert_eq!((ran.end.unfinished, strict.provider("cloud").calls()), (20, 0));

    // What it alone cannot do dies, and says why nobody else was asked.
    let rubbish = FakeProvider::new(MS20, |_, _| Reaction::Answer("no".into()));
    let strict = two_zones(items(20), rubbish).order(|order| order.rules.fallback = Fallback::SameZone);
    let ran = strict.run().await;
    assert_eq!((ran.meters.dead, ran.meters.crossed), (20, 0));
    assert_eq!(strict.provider("cloud").calls(), 0);
    assert!(strict.dead()[0].0.contains("forbids going on from zone 1"), "{:?}", strict.dead());

    // Nobody is at home: a job that may not go out waits.
    let down = FakeProvider::failing(FailureKind::Unreachable);
    let waits = two_zones(items(20), down).order(|order| order.rules.fallback = Fallback::SameZone);
    let ran = waits.run().await;
    assert!(matches!(ran.end.stopped, Some(StopReason::Tripped { .. })), "{:?}", ran.end);
    assert_eq!((ran.end.unfinished, waits.provider("cloud").calls()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_model_with_too_little_room_is_skipped_with_a_reason() {
    let mut bench = two_zones(items(5), FakeProvider::good());
    let mut small = empire_actors::model::Model::clone(&bench.order.route[0]);
    small.context = 101;
    bench.order.route[0] = Arc::new(small);
    bench.run().await;
    bench.assert_all_done();
    assert_eq!((bench.provider("local").calls(), bench.provider("cloud").calls()), (0, 5));
    let record = &bench.results.all(Part::Item)[0];
    assert!(
        matches!(&record.tries[0].outcome, TryOutcome::Refused { why } if why.contains("does not fit local-model")),
        "{record:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_share_at_its_ceiling_denies_or_defers_with_a_reason() {
    let ceilings = |when_over| Ceilings {
        calls: BTreeMap::from([("cloud".into(), 10.0)]),
        spend: BTreeMap::new(),
        window: 1_000,
        sample: 50,
        when_over,
    };
    let shares = |bench: &mut Bench, when_over| {
        bench.shared =
            SharedCalls { shares: Some(Shares::new(ceilings(when_over))), ..SharedCalls::default() };
    };
    let mut denying = two_zones(items(100), FakeProvider::good()).order(|order| order.route.reverse());
    shares(&mut denying, WhenOver::Deny);
    let ran = denying.run().await;
    denying.assert_all_done();
    let (cloud, local) = (denying.provider("cloud").calls(), denying.provider("local").calls());
    assert!((5..=10).contains(&cloud) && cloud + local == 100, "{cloud} of 100");
    assert_eq!(ran.meters.over_share, local as u64);

    let mut deferring = bench(items(20), FakeProvider::good());
    shares(&mut deferring, WhenOver::Defer);
    let ran = deferring.run().await;
    assert_eq!((ran.meters.done, ran.end.unfinished), (5, 15));
    assert!(matches!(&ran.end.stopped, Some(StopReason::Share(why)) if why.contains("at its ceiling: 10 %")));
}
