use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    let at = |throttle, alert, emergency| Some(Thresholds { throttle, alert, emergency });
    Settings {
        every: SECOND,
        smoothing: Duration::from_secs(20),
        smoothing_memory: Duration::from_secs(2),
        alert_after: Duration::from_secs(300),
        margin: 0.05,
        dwell: Duration::from_secs(5),
        thresholds: [
            at(70.0, 85.0, 95.0),
            at(2.0, 8.0, 16.0),
            at(85.0, 92.0, 95.0),
            at(20.0, 40.0, 80.0),
            at(5.0, 15.0, 40.0),
            at(70.0, 85.0, 95.0),
            at(70.0, 85.0, 95.0),
        ],
        own_memory_ceiling: 1 << 30,
        disk_floor: 10 << 30,
    }
}

fn cpu(percent: f64) -> Readings {
    Readings { cpu: Some(percent), ..Readings::default() }
}

fn memory(percent: f64) -> Readings {
    Readings { memory: Some(percent), ..Readings::default() }
}

/// A sample each second, from `from` on; the levels after each.
fn levels(watcher: &mut Watcher, from: u64, samples: &[Readings]) -> Vec<GuardLevel> {
    let at = (from..).map(Duration::from_secs);
    at.zip(samples).map(|(now, sample)| watcher.observe(now, sample).level).collect()
}

#[test]
fn cpu_goes_through_its_levels_at_70_85_and_95() {
    let steady = |percent: f64| {
        let mut watcher = Watcher::new(settings());
        *levels(&mut watcher, 0, &vec![cpu(percent); 700]).last().unwrap()
    };
    assert_eq!(steady(69.9), GuardLevel::Normal);
    assert_eq!(steady(70.1), GuardLevel::Throttled);
    assert_eq!(steady(84.9), GuardLevel::Throttled);
    assert_eq!(steady(85.1), GuardLevel::Alert);
    assert_eq!(steady(94.9), GuardLevel::Alert);
    assert_eq!(steady(95.1), GuardLevel::Emergency);
}

#[test]
fn a_short_burst_of_cpu_changes_nothing_but_memory_counts_at_once() {
    let mut watcher = Watcher::new(settings());
    assert!(levels(&mut watcher, 0, &vec![cpu(100.0); 20]).iter().all(|level| *level == GuardLevel::Normal));
    let mut watcher = Watcher::new(settings());
    assert_eq!(levels(&mut watcher, 0, &[memory(97.0)]), [GuardLevel::Emergency]);

    // A second of full load every half minute, on a machine that is nearly at the threshold.
    let busy: Vec<Readings> =
        (0..900).map(|second| cpu(if second % 30 == 29 { 100.0 } else { 94.0 })).collect();
    let mut watcher = Watcher::new(settings());
    assert!(levels(&mut watcher, 0, &busy).iter().all(|level| *level < GuardLevel::Emergency));
    assert_eq!(watcher.pressure().level, GuardLevel::Alert);
}

#[test]
fn it_says_what_binds() {
    let mut watcher = Watcher::new(settings());
    let own = Readings { own_memory: Some(900 << 20), load: Some(1.0), ..Readings::default() };
    let pressure = watcher.observe(Duration::ZERO, &own).clone();
    assert_eq!(pressure.level, GuardLevel::Throttled);
    assert_eq!(pressure.to_string(), "throttled: own memory at 88 % ([guard] own_memory)");
    assert_eq!(pressure.binds.unwrap().to_string(), "own memory at 88 % (throttled from 70 %)");
    assert!((0.7..0.75).contains(&pressure.value), "{pressure:?}");
    let files = Readings { open_files: Some((990, 1_000)), ..own };
    let pressure = watcher.observe(SECOND, &files);
    assert_eq!(pressure.binds.unwrap().gauge, Gauge::OwnMemory, "files are smoothed");
    let pressure = watcher.observe(Duration::from_secs(10), &files);
    assert_eq!(pressure.binds.unwrap().to_string(), "open files at 98 % (emergency from 95 %)");
    assert_eq!(pressure.emergencies, 1);
}

#[test]
fn a_gauge_that_falls_silent_lets_go() {
    let mut watcher = Watcher::new(settings());
    levels(&mut watcher, 0, &vec![memory(99.0); 10]);
    let after = levels(&mut watcher, 10, &vec![Readings::default(); 30]);
    assert_eq!(after.last(), Some(&GuardLevel::Normal));
    let nonsense = vec![memory(f64::NAN); 3];
    assert_eq!(levels(&mut watcher, 40, &nonsense), [GuardLevel::Normal; 3]);
}

#[test]
fn a_gauge_that_is_not_watched_holds_nothing_back() {
    let mut watcher = Watcher::new(Settings { thresholds: [None; GAUGES], ..settings() });
    let all = Readings { memory: Some(100.0), open_files: Some((9, 9)), ..cpu(100.0) };
    assert_eq!(levels(&mut watcher, 0, &vec![all; 500]), [GuardLevel::Normal; 500]);
}

#[test]
fn a_low_disk_is_named_with_what_is_free_and_what_is_needed() {
    let disk = |what: &str, free| Disk { what: what.into(), folder: format!("/{what}").into(), free };
    let disks = vec![disk("data", 20 << 30), disk("out", (3 << 30) + (512 << 20))];
    let mut watcher = Watcher::new(settings());
    let pressure = watcher.observe(SECOND, &Readings { disks, ..Readings::default() });
    assert_eq!(pressure.level, GuardLevel::Normal);
    let low = pressure.low_disk.as_ref().unwrap().to_string();
    assert!(low.starts_with("the disk of the out /out has 3.5 GiB free, and 10.0 GiB are needed"), "{low}");
    assert_eq!(LowDisk::find(&[disk("data", 10 << 30)], 10 << 30), None, "at the floor is enough");
}

#[test]
fn times_add_up_by_level() {
    let mut watcher = Watcher::new(settings());
    levels(&mut watcher, 0, &vec![memory(90.0); 11]);
    levels(&mut watcher, 11, &vec![memory(100.0); 20]);
    let held = watcher.held(Duration::from_secs(31));
    assert_eq!(held.throttled + held.emergency, Duration::from_secs(31));
    assert!(held.emergency >= Duration::from_secs(18), "{held:?}");
    assert_eq!(held.alert, Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Noise as wide as the margin, around any threshold, switches a level on at most once and
    /// never off and on again.
    #[test]
    fn noise_does_not_make_it_flap(
        threshold in prop::sample::select(vec![70.0, 85.0, 95.0]),
        around in -2.0..2.0f64,
        noise in prop::collection::vec(-1.5..1.5f64, 900),
    ) {
        let mut watcher = Watcher::new(settings());
        let samples: Vec<_> = noise.iter().map(|noise| cpu(threshold + around + noise)).collect();
        let levels = levels(&mut watcher, 0, &samples);
        let falls = levels.windows(2).filter(|pair| pair[1] < pair[0]).count();
        prop_assert_eq!(falls, 0);
    }

    /// Whatever comes, a level is not left sooner than a dwell after it was entered.
    #[test]
    fn a_level_lasts_at_least_its_dwell(samples in prop::collection::vec(0.0..120.0f64, 1..300)) {
        let mut watcher = Watcher::new(settings());
        let samples: Vec<_> = samples.into_iter().map(memory).collect();
        let levels = levels(&mut watcher, 0, &samples);
        let mut entered = 0;
        for at in 1..levels.len() {
            if levels[at] > levels[at - 1] {
                entered = at;
            } else if levels[at] < levels[at - 1] && levels[at - 1] > GuardLevel::Normal {
                prop_assert!(at - entered >= 5, "{:?}", &levels[entered..=at]);
                entered = at - 5;
            }
        }
    }

    /// Higher readings never give a lower level or less pressure, nor more permits.
    #[test]
    fn it_is_monotone(
        samples in prop::collection::vec((0.0..110.0f64, 0.0..30.0f64, 0.0..110.0f64, 0.0..30.0f64), 1..500),
    ) {
        let (mut low, mut high) = (Watcher::new(settings()), Watcher::new(settings()));
        for (second, (cpu, more_cpu, memory, more_memory)) in (0..).zip(samples) {
            let now = Duration::from_secs(second);
            let less = Readings { cpu: Some(cpu), memory: Some(memory), ..Readings::default() };
            let more = Readings {
                cpu: Some(cpu + more_cpu),
                memory: Some(memory + more_memory),
                ..Readings::default()
            };
            let (less, more) = (low.observe(now, &less), high.observe(now, &more));
            prop_assert!(less.level <= more.level, "{:?} {:?}", less, more);
            prop_assert!(less.value <= more.value, "{:?} {:?}", less, more);
            prop_assert!(less.permits(50) >= more.permits(50));
            prop_assert!((0.0..=1.0).contains(&more.value));
        }
    }

    /// From any past, calm readings bring it back to normal within a few time constants.
    #[test]
    fn it_returns_to_normal(past in prop::collection::vec((0.0..100.0f64, 0.0..100.0f64), 0..600)) {
        let mut watcher = Watcher::new(settings());
        let samples: Vec<_> = past
            .iter()
            .map(|(cpu, memory)| Readings { cpu: Some(*cpu), memory: Some(*memory), ..Readings::default() })
            .collect();
        levels(&mut watcher, 0, &samples);
        let calm = levels(&mut watcher, samples.len() as u64, &vec![cpu(30.0); 60]);
        prop_assert_eq!(calm.last(), Some(&GuardLevel::Normal));
        prop_assert_eq!(watcher.pressure().value, 0.0);
        prop_assert_eq!(watcher.pressure().permits(50), 50);
    }

    /// A gauge that jumps from `before` to `now` and stays is an emergency as soon as its
    /// smoothed value is at the threshold, and that is known beforehand:
    /// `smoothing × ln((now − before) / (now − threshold))`.
    #[test]
    fn emergency_comes_within_the_known_number_of_samples(before in 0.0..80.0f64, now in 95.5..100.0f64) {
        for (gauge, smoothing) in [(cpu as fn(f64) -> Readings, 20.0), (memory, 2.0)] {
            let mut watcher = Watcher::new(settings());
            levels(&mut watcher, 0, &vec![gauge(before); 400]);
            let bound = (smoothing * ((now - before) / (now - 95.0)).ln()).ceil() as usize + 1;
            let after = levels(&mut watcher, 400, &vec![gauge(now); bound]);
            prop_assert_eq!(after.last(), Some(&GuardLevel::Emergency));
        }
    }

    /// Alert needs its five minutes without a break at its threshold.
    #[test]
    fn alert_comes_only_after_its_five_minutes(samples in prop::collection::vec(80.0..94.0f64, 1..900), steady in 88.0..94.0f64) {
        let mut watcher = Watcher::new(settings());
        let steady = vec![steady; 420];
        let mut above = 0_u64;
        for (second, sample) in (0..).zip(samples.into_iter().chain(steady)) {
            let before = watcher.pressure().level;
            let level = watcher.observe(Duration::from_secs(second), &cpu(sample)).level;
            let smoothed = watcher.gauges[Gauge::Cpu as usize].smoothed.unwrap();
            above = if smoothed >= 85.0 { above + 1 } else { 0 };
            prop_assert!(level < GuardLevel::Emergency);
            if level == GuardLevel::Alert && before < GuardLevel::Alert {
                prop_assert_eq!(above, 301, "300 seconds lie between 301 samples");
            }
        }
        prop_assert_eq!(watcher.pressure().level, GuardLevel::Alert);
    }

    /// Throttled, a provider keeps at least one slot; only an emergency takes all.
    #[test]
    fn permits_scale_gently(value in 0.0..=1.0f64, slots in 1u32..5_000) {
        for level in [GuardLevel::Throttled, GuardLevel::Alert] {
            let pressure = Pressure { level, value, ..Pressure::default() };
            let permits = pressure.permits(slots);
            prop_assert!((1..=slots).contains(&permits));
            prop_assert!(f64::from(permits) >= f64::from(slots) * 0.25 - 1.0);
        }
        let emergency = Pressure { level: GuardLevel::Emergency, value: 1.0, ..Pressure::default() };
        prop_assert_eq!(emergency.permits(slots), 0);
    }
}
