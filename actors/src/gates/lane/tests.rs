use proptest::prelude::*;

use super::super::meter::BreakerState;
use super::super::room::Class;
use super::*;
use crate::level::Zone;
use crate::model::Counting;
use crate::money::Usage;

mod strays;

const DAY_MS: u64 = 86_400_000;

fn at(millis: u64) -> Now {
    Now { running: Duration::from_millis(millis), wall: UnixMillis(1_000_000_000_000 + millis.cast_signed()) }
}

fn spec(limits: Limits) -> ProviderSpec {
    ProviderSpec {
        id: "p".into(),
        zone: Zone::Cloud,
        limits,
        model_limits: Default::default(),
        switch_after: None,
        cap: None,
    }
}

fn lane<T>(limits: Limits) -> Lane<T> {
    Lane::new(Arc::new(spec(limits)), Vec::new(), at(0))
}

fn ask(job: &str, model: &str) -> Ask {
    let entry = Entry { job: job.into(), class: Class::Normal, weight: 1, cost: 110, deadline: None };
    Ask {
        model: model.into(),
        entry,
        is_retry: false,
        has_other: false,
        cost: Cost { input: 100, output: 10 },
    }
}

fn good(used: Used) -> News {
    News { health: Health::Good, used, told: Vec::new() }
}

fn counted(input: u64, output: u64) -> Used {
    Used::Counted(Usage { input, output, ..Usage::default() })
}

/// A world of calls that take a while, on a lane.
struct World {
    lane: Lane<Ask>,
    now: u64,
    /// Calls under way, by when they end.
    out: Vec<(u64, Pass, Ask)>,
    /// When calls left.
    sent: Vec<u64>,
    refused: Vec<(Ask, Refused)>,
}

impl World {
    fn new(lane: Lane<Ask>) -> World {
        World { lane, now: 0, out: Vec::new(), sent: Vec::new(), refused: Vec::new() }
    }

    fn ask(&mut self, ask: Ask) {
        if let Some(pass) = self.lane.go_at_once(at(self.now), &ask) {
            return self.leave(pass, ask);
        }
        if let Err((ask, why)) = self.lane.enter(at(self.now), &ask.clone(), ask) {
            self.refused.push((ask, why));
        }
    }

    fn leave(&mut self, mut pass: Pass, ask: Ask) {
        assert!(self.lane.sent(at(self.now), &mut pass));
        self.sent.push(self.now);
        self.out.push((self.now + 20, pass, ask));
    }

    /// Goes on until nothing happens any more, or `until`; `answer` says what comes of a call, and
    /// what is asked again.
    fn run(&mut self, until: u64, mut answer: impl FnMut(u64, Ask) -> (News, Option<Ask>)) {
        loop {
            while let Some((ask, outcome)) = self.lane.serve(at(self.now)) {
                match outcome {
                    Ok(pass) => self.leave(pass, ask),
                    Err(why) => self.refused.push((ask, why)),
                }
            }
            let look = self.lane.look_at().map(|at| u64::try_from(at.as_millis()).unwrap() + 1);
            let ends = self.out.iter().map(|(end, ..)| *end).min();
            let Some(next) = look.into_iter().chain(ends).min().filter(|next| *next < until) else { return };
            self.now = self.now.max(next);
            // One after another: whoever may goes between two.
            if let Some(place) = self.out.iter().position(|(end, ..)| *end <= self.now) {
                let (_, pass, ask) = self.out.swap_remove(place);
                let (news, again) = answer(self.now, ask);
                self.lane.ended(at(self.now), &pass, &news, 0.5);
                if let Some(again) = again {
                    self.ask(again);
                }
            }
        }
    }
}

fn most_within(sent: &[u64], window: u64) -> usize {
    let within = |i: usize| sent[i..].partition_point(|at| *at <= sent[i] + window);
    (0..sent.len()).map(within).max().unwrap_or(0)
}

/// Demand without end: whoever has been answered asks again.
fn endless(_: u64, ask: Ask) -> (News, Option<Ask>) {
    (good(Used::Unknown), Some(ask))
}

proptest! {
    // Each case simulates days; a few cover the ranges.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_minute_holds_more_than_30_over_days_with_restarts(
        restarts in prop::collection::vec(1u64..2 * DAY_MS, 0..6),
    ) {
        let limits = Limits { requests_per_minute: Some(30), ..Limits::slots(50) };
        let (mut ends, mut sent): (Vec<u64>, Vec<u64>) = (restarts, Vec::new());
        ends.push(2 * DAY_MS);
        ends.sort_unstable();
        let mut from = 0;
        for end in &ends {
            // A new process: its own clock starts anew, and it knows what the ledger remembers.
            let model: Arc<str> = "m".into();
            let past = sent.iter().filter(|ms| **ms + DAY_MS > from);
            let past = past.map(|ms| Sent { at: at(*ms).wall, model: model.clone(), calls: 1, tokens: 0, owed: 0 });
            let start = Now { running: Duration::from_millis(from), wall: at(from).wall };
            let mut world = World::new(Lane::new(Arc::new(spec(limits.clone())), past.collect(), start));
            world.now = from;
            (0..60).for_each(|_| world.ask(ask("j", "m")));
            world.run(*end, endless);
            sent.append(&mut world.sent);
            from = *end;
        }
        prop_assert!(most_within(&sent, 60_000) <= 30);
        let allowed = 30.0 * (2 * DAY_MS) as f64 / 60_000.0;
        prop_assert!(sent.len() as f64 >= 0.99 * allowed, "{} of {allowed}", sent.len());
    }

    #[test]
    fn the_day_is_remembered_and_used(limit in 100u32..400, restart in 1u64..DAY_MS) {
        let limits = Limits { requests_per_day: Some(limit), ..Limits::slots(4) };
        let mut world = World::new(lane(limits.clone()));
        (0..8).for_each(|_| world.ask(ask("j", "m")));
        world.run(restart, endless);
        let model: Arc<str> = "m".into();
        let past: Vec<Sent> = world.sent.iter()
            .map(|ms| Sent { at: at(*ms).wall, model: model.clone(), calls: 1, tokens: 0, owed: 0 }).collect();
        let mut later = World::new(Lane::new(Arc::new(spec(limits)), past, at(restart)));
        later.now = restart;
        (0..8).for_each(|_| later.ask(ask("j", "m")));
        later.run(4 * DAY_MS, endless);
        let sent = [world.sent, later.sent].concat();
        prop_assert!(most_within(&sent, DAY_MS) <= limit as usize);
        prop_assert!(sent.len() as u32 >= limit * 4, "{} of {}", sent.len(), limit * 4);
    }

    /// What the vendor counts stays within the limit, whether it counts the requested maximum or
    /// what is used; and where it claims more than was held, the rest is paid back.
    #[test]
    fn tokens_stay_within_the_limit_on_the_whole(
        counting in prop_oneof![Just(Counting::Requested), Just(Counting::Used)], lie in 1u64..8,
    ) {
        let limits = Limits { tokens_per_minute: Some(4_000), counting, ..Limits::slots(10) };
        let mut world = World::new(lane(limits));
        (0..30).for_each(|_| world.ask(ask("j", "m")));
        let (input, output) = (20, 5 * lie);
        let each = input + match counting {
            Counting::Requested => output.max(10),
            Counting::Used => output,
        };
        let minutes = 60;
        world.run(minutes * 60_000, |_, ask| (good(counted(input, output)), Some(ask)));
        let used = world.sent.len() as u64 * each;
        let allowed = 4_000 * minutes;
        prop_assert!(used <= allowed + 4_000 + 10 * each, "{used} of {allowed}");
        prop_assert!(used as f64 >= 0.97 * allowed as f64, "{used} of {allowed}");
        let by_minute = 4_000 + if output > 10 { 10 * (output - 10) } else { 0 };
        prop_assert!(most_within(&world.sent, 60_000) as u64 * each <= by_minute + each);
    }
}

#[test]
fn fifty_calls_on_a_permanent_429_reach_the_vendor_55_times_at_most_and_all_are_told_when() {
    for concurrency in [1, 4, 30, 50, 100] {
        let mut world = World::new(lane(Limits::slots(concurrency)));
        (0..50).for_each(|_| world.ask(ask("j", "m")));
        let wait = Some(Duration::from_secs(2));
        world.run(u64::MAX, |_, ask| {
            let health = Health::Busy(FailureKind::RateLimited, wait);
            let news = News { health, used: Used::Unknown, told: Vec::new() };
            (news, Some(Ask { is_retry: true, ..ask }))
        });
        assert!(world.sent.len() <= 55, "{} with {concurrency} slots", world.sent.len());
        assert_eq!(world.refused.len(), 50);
        for (_, why) in &world.refused {
            let Refused::Tripped(trip) = why else { panic!("{why}") };
            assert_eq!(trip.kind, FailureKind::RateLimited);
            assert!(trip.retry_at.unwrap() > at(world.now).wall);
        }
        // Each closure is waited out: no two calls within two seconds but those of the first wave.
        let wave = world.sent.iter().filter(|sent| **sent == 0).count();
        assert!(world.sent[wave..].windows(2).all(|two| two[1] >= two[0] + 2_000));
    }
}

#[test]
fn after_a_storm_everybody_is_served() {
    let mut world = World::new(lane(Limits::slots(50)));
    (0..300).for_each(|_| world.ask(ask("j", "m")));
    let mut done = 0;
    world.run(u64::MAX, |now, ask| {
        if now < 5_000 {
            let health = Health::Busy(FailureKind::Overloaded, None);
            let news = News { health, used: Used::Unknown, told: Vec::new() };
            return (news, Some(Ask { is_retry: true, ..ask }));
        }
        done += 1;
        (good(Used::Unknown), None)
    });
    assert_eq!((done, world.refused.len()), (300, 0));
    assert!(world.sent.len() <= 300 + 50 + 10, "{}", world.sent.len());
}

#[test]
fn one_call_of_another_job_goes_within_one_turn_of_100_000() {
    let mut world = World::new(lane(Limits { requests_per_minute: Some(60), ..Limits::slots(1) }));
    (0..100_000).for_each(|_| world.ask(ask("heavy", "m")));
    world.run(600_000, |_, _| (good(Used::Unknown), None));
    world.ask(ask("light", "m"));
    let mut order = Vec::new();
    world.run(800_000, |_, ask| {
        order.push(ask.entry.job.to_string());
        (good(Used::Unknown), None)
    });
    assert!(world.lane.models[0].fresh.len() > 99_000);
    // One may have been on its way, and one more is the heavy job's turn.
    let place = order.iter().position(|job| job == "light");
    assert!(place.is_some_and(|place| place <= 2), "{place:?}");
}

#[test]
fn an_unused_permit_comes_back_and_its_call_may_not_leave_any_more() {
    let mut lane: Lane<u32> = lane(Limits { requests_per_minute: Some(1), ..Limits::slots(1) });
    let mut pass = lane.go_at_once(at(0), &ask("j", "m")).unwrap();
    lane.enter(at(0), &ask("j", "m"), 7).unwrap();
    assert!(lane.serve(at(29_999)).is_none());
    assert!(lane.is_good(&pass));
    assert_eq!(lane.look_at(), Some(PERMIT_TIMEOUT));
    let Some((7, Ok(mut second))) = lane.serve(at(30_000)) else { panic!("the permit did not come back") };
    assert!(!lane.is_good(&pass));
    assert!(!lane.sent(at(30_001), &mut pass), "another one has it");
    assert!(lane.sent(at(30_002), &mut second));
    lane.ended(at(30_003), &second, &good(Used::Unknown), 0.0);
    assert!(!lane.sent(at(90_252), &mut pass), "the minute is full");
    assert!(lane.sent(at(90_253), &mut pass), "there is another one now");
    let reading = lane.read(at(90_254));
    assert_eq!((reading.gauges[0].used, reading.meters.in_flight), (1, 1));
    lane.ended(at(90_255), &pass, &good(Used::Unknown), 0.0);
    assert_eq!(lane.read(at(90_256)).meters.in_flight, 0);
}

#[test]
fn a_permit_from_before_a_closure_sends_nothing_after_it() {
    let mut lane: Lane<u32> = lane(Limits::slots(9));
    let mut first = lane.go_at_once(at(0), &ask("j", "m")).unwrap();
    let mut held_up = lane.go_at_once(at(0), &ask("j", "m")).unwrap();
    assert!(lane.sent(at(1), &mut first));
    let health = Health::Busy(FailureKind::RateLimited, Some(Duration::from_secs(2)));
    lane.ended(at(5), &first, &News { health, ..good(Used::Unknown) }, 0.0);
    assert!(!lane.is_good(&held_up));
    assert!(!lane.sent(at(6), &mut held_up));
    assert_eq!(lane.read(at(7)).meters.in_flight, 0);
    assert!(lane.sent(at(2_006), &mut held_up), "then it may probe");
    assert!(lane.go_at_once(at(2_007), &ask("j", "m")).is_none());
}

#[test]
fn who_cannot_make_it_in_time_fails_now_and_is_told_when_it_could() {
    let mut lane: Lane<u32> = lane(Limits { requests_per_minute: Some(1), ..Limits::slots(9) });
    let mut pass = lane.go_at_once(at(0), &ask("j", "m")).unwrap();
    assert!(lane.sent(at(0), &mut pass));
    let due = |seconds| {
        let mut ask = ask("j", "m");
        ask.entry.deadline = Some(Duration::from_secs(seconds));
        ask
    };
    let Err((1, Refused::TooLate(late))) = lane.enter(at(0), &due(60), 1) else { panic!("it waits") };
    assert_eq!(late.could_leave_at, at(60_251).wall);
    let place = lane.enter(at(0), &due(90), 2).unwrap();
    assert_eq!(place.promised, Duration::from_millis(60_251));
    // The lane closes for longer than it has.
    let news = News {
        health: Health::Busy(FailureKind::RateLimited, Some(Duration::from_secs(100))),
        ..good(Used::Unknown)
    };
    lane.ended(at(1_000), &pass, &news, 0.0);
    let Some((2, Err(Refused::TooLate(late)))) = lane.serve(at(1_000)) else { panic!("it waits on") };
    assert_eq!(late.could_leave_at, at(101_000).wall);
    assert!(lane.foresee(at(1_000), &due(90)).is_err());
}

#[test]
fn a_models_own_limits_and_failures_stop_no_other_model() {
    let mut spec = spec(Limits::slots(20));
    spec.model_limits.insert("small".into(), Limits { requests_per_minute: Some(1), ..Limits::slots(20) });
    let mut lane: Lane<&str> = Lane::new(Arc::new(spec), Vec::new(), at(0));
    assert!(lane.go_at_once(at(0), &ask("j", "small")).is_some());
    assert!(lane.go_at_once(at(0), &ask("j", "small")).is_none());
    lane.enter(at(0), &ask("j", "small"), "small").unwrap();
    lane.enter(at(0), &ask("j", "large"), "large").unwrap();
    let Some(("large", Ok(mut pass))) = lane.serve(at(0)) else { panic!("held up") };
    assert!(lane.serve(at(0)).is_none());

    let faulty = || Health::Faulty(FailureKind::ServerError, "oops".into());
    for n in 0..10 {
        assert!(lane.sent(at(n), &mut pass));
        lane.ended(at(n), &pass, &News { health: faulty(), ..good(Used::Unknown) }, 0.0);
        lane.enter(at(n), &ask("j", "large"), "large").unwrap();
        match lane.serve(at(n)) {
            Some(("large", Ok(next))) => pass = next,
            other => assert!(n == 9 && other.is_none()),
        }
    }
    let reading = lane.read(at(20));
    let state = |model: &str| reading.models.iter().find(|m| m.model == model).unwrap().breaker.state;
    assert_eq!((state("large"), state("small")), (BreakerState::Open, BreakerState::Closed));
    assert_eq!(reading.breaker.state, BreakerState::Closed);
    let gone = Trip { kind: FailureKind::ModelGone, message: "retired".into(), retry_at: None };
    lane.models[1].scope.breaker = Breaker::new(20);
    let Some(mut third) = serve_ok(&mut lane, 60_300) else { panic!("held up") };
    assert!(lane.sent(at(60_300), &mut third));
    let _ =
        lane.ended(at(60_301), &third, &News { health: Health::Broken(gone), ..good(Used::Unknown) }, 0.0);
    assert!(lane.read(at(60_302)).meters.tripped.is_none());
}

fn serve_ok<T>(lane: &mut Lane<T>, now: u64) -> Option<Pass> {
    lane.serve(at(now)).and_then(|(_, outcome)| outcome.ok())
}

#[test]
fn a_loaded_model_is_kept_while_it_has_calls_but_not_for_ever() {
    let switch_after = Some(Duration::from_secs(10));
    let spec = ProviderSpec { switch_after, ..spec(Limits::slots(2)) };
    let mut world = World::new(Lane::new(Arc::new(spec), Vec::new(), at(0)));
    for _ in 0..2_000 {
        world.ask(ask("a", "llama"));
        world.ask(ask("b", "qwen"));
    }
    let mut models: Vec<(u64, String)> = Vec::new();
    world.run(u64::MAX, |now, ask| {
        models.push((now, ask.model.to_string()));
        (good(Used::Unknown), None)
    });
    assert_eq!(models.len(), 4_000);
    let switches: Vec<u64> =
        models.windows(2).filter(|two| two[0].1 != two[1].1).map(|two| two[1].0).collect();
    // 2 at a time, 20 ms each: each has 20 s of work, in turns of 10 s.
    assert_eq!(switches.len(), 3, "{switches:?}");
    assert!(switches[0].abs_diff(10_000) < 100, "{switches:?}");
    // A person's call does not wait for the patience.
    let mut lane = world.lane;
    let mut first = lane.go_at_once(at(90_000), &ask("a", "llama")).unwrap();
    assert!(lane.sent(at(90_000), &mut first));
    let mut chat = ask("chat", "qwen");
    chat.entry.class = Class::Interactive;
    lane.enter(at(90_000), &ask("a", "llama"), ask("a", "llama")).unwrap();
    lane.enter(at(90_000), &chat, chat.clone()).unwrap();
    assert!(lane.serve(at(90_000)).is_none(), "the loaded model's calls end first");
    lane.ended(at(90_010), &first, &good(Used::Unknown), 0.0);
    assert!(matches!(lane.serve(at(90_010)), Some((ask, Ok(_))) if &*ask.model == "qwen"));
}

#[test]
fn what_the_vendor_tells_of_its_limits_is_obeyed_and_shown() {
    let limits = Limits { requests_per_minute: Some(100), ..Limits::slots(50) };
    let mut lane: Lane<u32> = lane(limits);
    let mut pass = lane.go_at_once(at(0), &ask("j", "m")).unwrap();
    assert!(lane.sent(at(0), &mut pass));
    let told = |meter, limit, remaining| Told {
        meter,
        limit: Some(limit),
        remaining: Some(remaining),
        resets_in: None,
    };
    let told = vec![told(Binding::RequestsPerMinute, 40, 10), told(Binding::TokensPerMinute, 1_000, 1_000)];
    lane.ended(at(10), &pass, &News { told, ..good(Used::Unknown) }, 0.0);
    let gauges = lane.read(at(20)).gauges;
    assert_eq!((gauges[0].limit, gauges[0].configured, gauges[0].used), (40, Some(100), 30));
    assert_eq!((gauges[1].limit, gauges[1].configured, gauges[1].learnt), (1_000, None, true));
    let more = (0..20).filter(|_| lane.go_at_once(at(30), &ask("j", "m")).is_some()).count();
    assert_eq!(more, 9, "9 calls of 110 tokens");
}

#[test]
fn a_model_that_is_held_up_hides_none_of_many_others() {
    let mut spec = spec(Limits::slots(200));
    for n in 0..70 {
        let limits = Limits { requests_per_minute: Some(1), ..Limits::slots(20) };
        spec.model_limits.insert(format!("m{n:02}"), limits);
    }
    let mut world = World::new(Lane::new(Arc::new(spec), Vec::new(), at(0)));
    for _ in 0..2 {
        (0..70).for_each(|n| world.ask(ask("j", &format!("m{n:02}"))));
    }
    assert_eq!(world.sent.len(), 70, "one of each model went at once, and one of each waits");
    // The last model alone may go on.
    world.ask(ask("j", "another"));
    world.run(50_000, |_, _| (good(Used::Unknown), None));
    assert_eq!(world.sent.len(), 71, "it is found behind all that are held up");
    world.run(100_000, |_, _| (good(Used::Unknown), None));
    assert_eq!((world.sent.len(), world.lane.waiting()), (141, 0));
}
