//! A provider that turns single calls away, without a word for how long.

use super::*;

const SLOTS: u32 = 64;
/// A call takes 20 ms.
const AT_MOST: f64 = 50.0 * SLOTS as f64;

/// Numbers from 0 up to 1, by chance but the same each time.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn turned_away(ask: Ask, told: Vec<Told>) -> (News, Option<Ask>) {
    let health = Health::Busy(FailureKind::RateLimited, None);
    (News { health, used: Used::Unknown, told }, Some(Ask { is_retry: true, ..ask }))
}

fn answered(ask: Ask) -> (News, Option<Ask>) {
    (good(Used::Unknown), Some(Ask { is_retry: false, ..ask }))
}

/// A busy lane whose provider has answered for a second.
fn busy_world(limits: Limits) -> World {
    let mut world = World::new(lane(limits));
    (0..8 * SLOTS).for_each(|_| world.ask(ask("j", "m")));
    world.run(1_000, |_, ask| answered(ask));
    world
}

/// Answers and refusals a second, over 15 seconds in which this share is turned away.
fn rates(share: f64, seed: u64) -> (f64, f64) {
    let mut world = busy_world(Limits::slots(SLOTS));
    let (mut chance, mut counts) = (Chance(seed), [0u32; 2]);
    world.run(16_000, |_, ask| {
        let is_turned_away = chance.draw() < share;
        counts[usize::from(is_turned_away)] += 1;
        if is_turned_away { turned_away(ask, Vec::new()) } else { answered(ask) }
    });
    assert!(most_within(&world.sent, 19) <= SLOTS as usize);
    let [answers, refusals] = counts.map(|count| f64::from(count) / 15.0);
    (answers, refusals)
}

#[test]
fn strays_cost_little_and_storms_are_left_alone() {
    for seed in 0..2 {
        for (share, most) in [(0.01, 0.015), (0.05, 0.06)] {
            let (answers, refusals) = rates(share, seed);
            assert!(answers > 0.9 * AT_MOST, "{share}: {answers} a second");
            assert!(refusals < most * answers, "{share}: {refusals} of {answers}");
        }
        for (share, most) in [(0.2, 4.0), (1.0, 6.0)] {
            let (_, refusals) = rates(share, seed);
            assert!(refusals <= most, "{share}: {refusals} a second");
        }
    }
}

/// Where single calls are turned away whatever is in flight, a lane becomes as wide again after
/// it was closed as it does elsewhere.
#[test]
fn strays_keep_no_lane_narrow() {
    let mut world = busy_world(Limits::slots(SLOTS));
    let mut chance = Chance(5);
    world.run(3_000, |now, ask| if now < 2_000 { turned_away(ask, Vec::new()) } else { answered(ask) });
    let before = world.lane.read(at(3_000)).breaker.width;
    assert!(before < SLOTS, "{before}");
    world.run(
        90_000,
        |_, ask| {
            if chance.draw() < 0.01 { turned_away(ask, Vec::new()) } else { answered(ask) }
        },
    );
    let after = world.lane.read(at(90_000)).breaker.width;
    assert!(after >= SLOTS / 2 && world.lane.scope.breaker.epoch() > 0, "{before}, then {after}");
    let last = world.sent.iter().filter(|sent| **sent > 85_000).count() as f64 / 5.0;
    assert!(last > 0.9 * AT_MOST, "{last} a second");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// From the first refusal on nothing leaves until the lane has been closed for its time.
    #[test]
    fn a_storm_goes_quiet_with_its_first_refusal(slots in 2u32..200, begins in 1_000u64..3_000) {
        let mut world = World::new(lane(Limits::slots(slots)));
        (0..8 * slots).for_each(|_| world.ask(ask("j", "m")));
        let mut first = None;
        world.run(begins + 10_000, |now, ask| {
            if now < begins {
                return answered(ask);
            }
            first.get_or_insert(now);
            turned_away(ask, Vec::new())
        });
        let first = first.unwrap();
        let then: Vec<u64> = world.sent.iter().copied().filter(|sent| *sent > first).collect();
        prop_assert!(then[0] >= first + 500, "{:?} after {first}", &then[..2]);
        // One probe at a time, ever less often: after 0.5, 0.75, 1.1, 1.7, 2.5 s and so on.
        prop_assert!(then.len() <= 6, "{}", then.len());
    }
}

#[test]
fn with_one_slot_a_second_refusal_in_a_row_closes() {
    let mut world = World::new(lane(Limits::slots(1)));
    (0..9).for_each(|_| world.ask(ask("j", "m")));
    world.run(1_000, |_, ask| answered(ask));
    let mut refusals = Vec::new();
    world.run(1_600, |now, ask| {
        refusals.push(now);
        turned_away(ask, Vec::new())
    });
    assert_eq!(refusals.len(), 3, "{refusals:?}");
    assert_eq!((refusals[1] - refusals[0], refusals[2] - refusals[1] >= 500), (20, true), "{refusals:?}");
}

#[test]
fn a_stray_halves_the_lane_rests_and_comes_back_first() {
    let mut world = busy_world(Limits::slots(SLOTS));
    let mut stray = None;
    world.run(1_021, |now, ask| match stray {
        None => {
            stray = Some(now);
            turned_away(Ask { entry: Entry { job: "stray".into(), ..ask.entry }, ..ask }, Vec::new())
        }
        Some(_) => answered(ask),
    });
    let reading = world.lane.read(at(1_020));
    assert_eq!((reading.breaker.state, reading.breaker.why), (BreakerState::SlowStart, Some("rate limited")));
    assert!((SLOTS / 2..SLOTS).contains(&reading.breaker.width), "{}", reading.breaker.width);
    let mut back = None;
    world.run(2_000, |now, ask| {
        if &*ask.entry.job == "stray" {
            back.get_or_insert(now - 20);
        }
        answered(ask)
    });
    let (stray, back) = (stray.unwrap(), back.unwrap());
    assert!((500..530).contains(&(back - stray)), "{stray}, {back}");
    assert_eq!(world.lane.read(at(2_000)).breaker.width, SLOTS - 1);
    world.run(3_000, |_, ask| answered(ask));
    assert_eq!(world.lane.read(at(3_000)).breaker.state, BreakerState::Closed);
}

#[test]
fn one_that_rests_alone_says_what_it_waits_for_and_goes_by_itself() {
    let mut lane: Lane<u32> = lane(Limits::slots(4));
    let out: Vec<Pass> = (0..3).map(|_| lane.go_at_once(at(0), &ask("j", "m")).unwrap()).collect();
    for n in 0..200 {
        let mut pass = lane.go_at_once(at(n), &ask("j", "m")).unwrap();
        assert!(lane.sent(at(n), &mut pass));
        lane.ended(at(n), &pass, &good(Used::Unknown), 0.0);
    }
    let mut pass = lane.go_at_once(at(300), &ask("j", "m")).unwrap();
    assert!(lane.sent(at(300), &mut pass));
    lane.ended(at(300), &pass, &turned_away(ask("j", "m"), Vec::new()).0, 0.0);
    let again = Ask { is_retry: true, ..ask("j", "m") };
    assert!(lane.go_at_once(at(301), &again).is_none());
    lane.enter(at(301), &again, 7).unwrap();
    for pass in &out {
        lane.give_back(pass);
    }
    assert!(lane.serve(at(302)).is_none());
    assert_eq!(lane.look_at(), Some(Duration::from_millis(801)));
    let reading = lane.read(at(302));
    assert_eq!((reading.binding, reading.next_permit_in), (Some(Binding::TurnedAway), Some(0.499)));
    assert!(matches!(lane.serve(at(801)), Some((7, Ok(_)))));
}

#[test]
fn what_the_vendor_says_itself_closes_as_ever() {
    let spent =
        Told { meter: Binding::RequestsPerMinute, limit: Some(100), remaining: Some(0), resets_in: None };
    for (named, told, closed_for) in
        [(Some(Duration::from_secs(3)), Vec::new(), 3.0), (None, vec![spent], 0.5)]
    {
        let mut world = busy_world(Limits::slots(SLOTS));
        let mut is_first = true;
        let mut read = None;
        world.run(1_021, |now, ask| {
            if !std::mem::take(&mut is_first) {
                return answered(ask);
            }
            read = Some(now);
            let (mut news, again) = turned_away(ask, told.clone());
            news.health = Health::Busy(FailureKind::RateLimited, named);
            (news, again)
        });
        let now = at(read.unwrap());
        let left = world.lane.read(now).meters.closed_for.unwrap();
        assert!((closed_for..closed_for * 1.1).contains(&left), "{left}");
        assert_eq!(world.lane.read(now).breaker.state, BreakerState::Open);
    }
}

/// A provider that bears fewer calls at once than are configured finds its width, and then one
/// call a second is too much.
#[test]
fn a_lane_that_is_too_wide_settles_at_what_the_provider_bears() {
    const BEARS: usize = 40;
    let mut lane: Lane<Ask> = lane(Limits::slots(SLOTS));
    (0..1_000).for_each(|_| drop(lane.enter(at(0), &ask("j", "m"), ask("j", "m"))));
    let mut refused = Vec::new();
    for round in 0..6_000 {
        let now = at(round * 20);
        let mut out = Vec::new();
        while let Some((ask, Ok(mut pass))) = lane.serve(now) {
            assert!(lane.sent(now, &mut pass));
            out.push((ask, pass));
        }
        for (n, (ask, pass)) in out.into_iter().enumerate() {
            let (news, again) = if n < BEARS { answered(ask) } else { turned_away(ask, Vec::new()) };
            if n >= BEARS {
                refused.push(round * 20);
            }
            lane.ended(now, &pass, &news, 0.0);
            let again = again.unwrap();
            drop(lane.enter(now, &again.clone(), again));
        }
    }
    let late = refused.iter().filter(|at| **at > 60_000).count();
    assert!(late <= 65, "{late} in the second minute");
    assert!(refused.len() < 150, "{}", refused.len());
}
