use proptest::prelude::*;

use super::*;

fn entry(job: &str, class: Class) -> Entry {
    Entry { job: job.into(), class, weight: 1, cost: 1, deadline: None }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn take<T>(room: &mut Room<T>, now: u64) -> Option<T> {
    let next = room.next(seconds(now))?;
    room.take(seconds(now), next)
}

fn all<T>(room: &mut Room<T>, now: u64) -> Vec<T> {
    std::iter::from_fn(|| take(room, now)).collect()
}

#[test]
fn one_job_keeps_its_order() {
    let mut room = Room::default();
    for n in 0..100 {
        room.enter(seconds(0), &entry("a", Class::Normal), n);
    }
    assert_eq!(all(&mut room, 0), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_light_job_starts_within_one_turn_of_a_heavy_one() {
    let mut room = Room::default();
    for _ in 0..100_000 {
        room.enter(seconds(0), &entry("heavy", Class::Normal), "heavy");
    }
    (0..500).for_each(|_| assert_eq!(take(&mut room, 0), Some("heavy")));
    room.enter(seconds(1), &entry("light", Class::Normal), "light");
    assert_eq!(room.ahead_of(&entry("other", Class::Normal)), (2, 2));
    let before = std::iter::from_fn(|| take(&mut room, 1)).position(|job| job == "light");
    assert!(before.unwrap() <= 1, "{before:?} of the heavy one before it");
}

#[test]
fn turns_are_worth_what_they_cost_and_weigh() {
    let mut room = Room::default();
    for n in 0..600 {
        room.enter(seconds(0), &Entry { cost: 3_000, ..entry("large", Class::Normal) }, ("large", 3_000));
        room.enter(seconds(0), &Entry { cost: 500, ..entry("small", Class::Normal) }, ("small", 500));
        let twice = Entry { cost: 1_000, weight: 2, ..entry("twice", Class::Normal) };
        room.enter(seconds(0), &twice, ("twice", 1_000));
        assert_eq!(room.len(), 3 * (n + 1));
    }
    let mut paid = HashMap::<&str, u64>::new();
    while paid.values().sum::<u64>() < 400_000 {
        let (job, cost) = take(&mut room, 0).unwrap();
        *paid.entry(job).or_default() += cost;
    }
    for (job, share) in [("large", 100_000), ("small", 100_000), ("twice", 200_000)] {
        assert!(paid[job].abs_diff(share) <= 8_000, "{job}: {paid:?}");
    }
}

#[test]
fn urgent_ones_overtake_and_nobody_starves() {
    let mut room = Room::default();
    for _ in 0..1_000 {
        room.enter(seconds(0), &entry("swarm", Class::Batch), Class::Batch);
        room.enter(seconds(0), &entry("job", Class::Normal), Class::Normal);
    }
    room.enter(seconds(1), &entry("chat", Class::Interactive), Class::Interactive);
    assert_eq!(take(&mut room, 1), Some(Class::Interactive));
    assert_eq!(take(&mut room, 1), Some(Class::Normal));
    // Two ages later all are equal by rank, and share the turns.
    let mut counts = [0; Class::COUNT];
    for _ in 0..120 {
        room.enter(seconds(61), &entry("chat", Class::Interactive), Class::Interactive);
        counts[take(&mut room, 61).unwrap() as usize] += 1;
    }
    assert_eq!(counts, [80, 30, 10]);
    // Even then a person waits for a turn or two only.
    all_of_class(&mut room, Class::Interactive);
    room.enter(seconds(61), &entry("chat", Class::Interactive), Class::Interactive);
    let place = std::iter::from_fn(|| take(&mut room, 61)).position(|class| class == Class::Interactive);
    assert!(place.unwrap() <= 2, "{place:?}");
}

fn all_of_class(room: &mut Room<Class>, class: Class) {
    while room.by_class()[class as usize] > 0 {
        take(room, 61);
    }
}

#[test]
fn who_cannot_make_it_in_time_is_found_without_a_search() {
    let mut room = Room::default();
    let due = |at| Entry { deadline: Some(seconds(at)), ..entry("a", Class::Normal) };
    let keys: Vec<Key> = [50, 10, 30, 20].map(|at| room.enter(seconds(0), &due(at), at)).into();
    room.enter(seconds(0), &entry("a", Class::Normal), 1_000);
    assert_eq!(room.leave(keys[1]), Some(10));
    assert_eq!(room.first_deadline(), Some(seconds(20)));
    assert_eq!(room.late(seconds(31)), Some(20));
    assert_eq!(room.late(seconds(31)), Some(30));
    assert_eq!(room.late(seconds(31)), None);
    assert_eq!(room.leave(keys[1]), None, "an old key finds nothing");
    assert_eq!(all(&mut room, 0), [50, 1_000]);
}

#[test]
fn half_a_million_wait_in_tens_of_bytes_each_and_leave_in_a_bounded_number_of_steps() {
    const ALL: u64 = 500_000;
    /// A place, and as much again at worst, since places are added by doubling.
    const MOST_BYTES: usize = 2 * 56 * ALL as usize;
    const { assert!(Room::<u64>::WAITER_BYTES <= 56) }
    let mut room = Room::default();
    let jobs: Vec<Entry> = (0..50).map(|n| entry(&format!("job-{n}"), Class::Batch)).collect();
    let enter = |room: &mut Room<u64>, n: u64| room.enter(seconds(0), &jobs[n as usize % jobs.len()], n);
    let mut keys: Vec<Key> = (0..ALL).map(|n| enter(&mut room, n)).collect();
    assert_eq!(room.len(), ALL as usize);
    // From the middle, in an order that no list likes; each comes again at the end of its line.
    let most_looks = |room: &mut Room<u64>, keys: &mut [Key], again: bool| {
        let mut most = 0;
        for step in 0..ALL {
            let n = step * 7_919 % ALL;
            if !n.is_multiple_of(10) {
                let before = room.looks();
                assert_eq!(room.leave(keys[n as usize]), Some(n));
                most = most.max(room.looks() - before);
                if again {
                    keys[n as usize] = enter(room, n);
                }
            }
        }
        most
    };
    // Its place, its two neighbours and its job.
    assert!(most_looks(&mut room, &mut keys, true) <= 4);
    assert_eq!((room.len(), room.waiters.places()), (ALL as usize, ALL as u32), "places are used again");
    assert!(most_looks(&mut room, &mut keys, false) <= 4);
    assert!(room.bytes() <= MOST_BYTES, "{} bytes", room.bytes());
    let mut left: Vec<u64> = all(&mut room, 0);
    left.sort_unstable();
    assert_eq!(left.len(), 50_000);
    assert!(left.iter().all(|n| n % 10 == 0));
}

#[test]
fn deadlines_of_those_who_left_take_no_room() {
    let mut room = Room::default();
    let due = |at| Entry { deadline: Some(seconds(at)), ..entry("a", Class::Normal) };
    room.enter(seconds(0), &due(1_000), 0);
    for n in 1..100_000_u64 {
        let key = room.enter(seconds(0), &due(n), n);
        assert_eq!(room.leave(key), Some(n));
        assert!(room.deadlines.len() <= 2 * room.len() + 66, "{}", room.deadlines.len());
    }
    assert!(room.bytes() <= 8_192, "{} bytes", room.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, everybody who enters comes out once, in its job's and class's order, and
    /// no job that waits is passed over for long.
    #[test]
    fn everybody_comes_out_once_and_in_order(
        steps in prop::collection::vec((0u8..4, 0usize..4, 0usize..3, 1u32..5_000, 0u64..3), 1..400),
    ) {
        let mut room = Room::default();
        let (mut inside, mut out) = (Vec::<(Key, usize)>::new(), Vec::new());
        let (mut count, mut now) = (0, 0);
        for (what, job, class, cost, later) in steps {
            now += later;
            match what {
                0 | 1 => {
                    let named = Entry { cost, ..entry(&job.to_string(), Class::ALL[class]) };
                    inside.push((room.enter(seconds(now), &named, (count, job, class)), count));
                    count += 1;
                }
                2 => out.extend(take(&mut room, now)),
                _ if !inside.is_empty() => {
                    let (key, _) = inside.swap_remove(job * 31 % inside.len());
                    room.leave(key);
                }
                _ => {}
            }
        }
        let waiting = room.len();
        let rest = all(&mut room, now);
        prop_assert_eq!(rest.len(), waiting);
        out.extend(rest);
        for job in 0..4 {
            for class in 0..3 {
                let own: Vec<usize> =
                    out.iter().filter(|(_, j, c)| (*j, *c) == (job, class)).map(|(n, ..)| *n).collect();
                prop_assert!(own.is_sorted(), "{own:?}");
            }
        }
        let mut numbers: Vec<usize> = out.iter().map(|(n, ..)| *n).collect();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), out.len());
    }
}
