//! Which alerts are on, and what of them is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Alert, AlertKind, News, Notice, Severity, Sign};
use crate::ports::UnixMillis;

/// Alerts that are remembered. Beyond them those go that have been over for longest, and what is new
/// while all are on is told under one subject.
const MOST: usize = 1_024;
/// The subject of what finds no place of its own.
const OTHERS: &str = "others";

/// How often an alert is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The same alert is told of again, while it lasts, after this time. One that comes and goes is
    /// told of no more often.
    pub again_after: Duration,
    /// An event is over when it has not come again for this long.
    pub quiet_after: Duration,
}

type Key = (AlertKind, Arc<str>);

/// An alert, and what was told of it.
#[derive(Debug)]
struct Kept {
    alert: Alert,
    /// When it was told of last, and how much it mattered then: an earlier time that it was on counts.
    told: Option<(UnixMillis, Severity)>,
}

/// All alerts.
#[derive(Debug)]
pub struct Board {
    pace: Pace,
    alerts: BTreeMap<Key, Kept>,
}

impl Board {
    /// With what was on before, as it was stored.
    #[must_use]
    pub fn new(pace: Pace, before: impl IntoIterator<Item = Alert>) -> Board {
        let keyed = before.into_iter().map(|alert| {
            let told = alert.told_at.map(|at| (at, alert.severity));
            ((alert.kind, alert.subject.clone()), Kept { alert, told })
        });
        Board { pace, alerts: keyed.take(MOST).collect() }
    }

    /// All alerts, those that are over among them.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().map(|kept| &kept.alert)
    }

    /// One alert.
    #[must_use]
    pub fn get(&self, kind: AlertKind, subject: &str) -> Option<&Alert> {
        self.alerts.get(&(kind, subject.into())).map(|kept| &kept.alert)
    }

    /// Something is seen that is not as it should be. Gives what is to be told.
    pub fn raise(&mut self, now: UnixMillis, sign: Sign) -> Option<Notice> {
        let key = self.place(sign.kind, sign.subject);
        let Sign { kind, severity, message, .. } = sign;
        let again_after = self.pace.again_after;
        let fresh = || {
            let alert = Alert {
                kind,
                subject: key.1.clone(),
                severity,
                message: String::new(),
                since: now,
                last_seen: now,
                count: 0,
                told_at: None,
                recovered_at: None,
                acknowledged_at: None,
            };
            Kept { alert, told: None }
        };
        let Kept { alert, told } = self.alerts.entry(key.clone()).or_insert_with(fresh);
        if alert.recovered_at.take().is_some() {
            (alert.since, alert.count, alert.severity) = (now, 0, severity);
            (alert.told_at, alert.acknowledged_at) = (None, None);
        }
        alert.severity = alert.severity.max(severity);
        alert.message = message;
        alert.count = alert.count.saturating_add(1);
        // A clock that is set back makes nothing younger.
        alert.last_seen = alert.last_seen.max(now);
        let is_worse = told.is_some_and(|(_, before)| alert.severity > before);
        let is_due = told.is_none_or(|(at, _)| since(at, now) >= again_after);
        let news = match alert.told_at {
            _ if !is_worse && (!is_due || alert.acknowledged_at.is_some()) => return None,
            // One that comes and goes is one alert.
            None => News::Raised,
            Some(_) if is_worse => News::Worse,
            Some(_) => News::Lasts,
        };
        alert.told_at = Some(now);
        *told = Some((now, alert.severity));
        Some(Notice { news, alert: alert.clone() })
    }

    /// It is as it should be. Gives what is to be told: that it is over, if it was told that it is on.
    pub fn recover(&mut self, now: UnixMillis, kind: AlertKind, subject: &str) -> Option<Notice> {
        let Kept { alert, .. } = self.alerts.get_mut(&(kind, subject.into()))?;
        if !alert.is_open() {
            return None;
        }
        alert.recovered_at = Some(now.max(alert.since));
        alert.told_at.map(|_| Notice { news: News::Recovered, alert: alert.clone() })
    }

    /// Ends the events that have not come again for a while.
    pub fn tick(&mut self, now: UnixMillis) -> Vec<Notice> {
        let quiet_after = self.pace.quiet_after;
        let is_quiet = |alert: &&Alert| {
            alert.is_open() && alert.kind.is_event() && since(alert.last_seen, now) >= quiet_after
        };
        let quiet: Vec<Key> =
            self.alerts().filter(is_quiet).map(|alert| (alert.kind, alert.subject.clone())).collect();
        quiet.into_iter().filter_map(|(kind, subject)| self.recover(now, kind, &subject)).collect()
    }

    /// Somebody knows of it: it is not told of again while it lasts. `false` if it is not on.
    pub fn acknowledge(&mut self, kind: AlertKind, subject: &str, at: UnixMillis) -> bool {
        let alert = self.alerts.get_mut(&(kind, subject.into())).map(|kept| &mut kept.alert);
        let Some(alert) = alert.filter(|alert| alert.is_open() && at >= alert.since) else { return false };
        alert.acknowledged_at = Some(at);
        true
    }

    /// The worst that is on.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.alerts().filter(|alert| alert.is_open()).map(|alert| alert.severity).max()
    }

    /// Where an alert is kept. There is always a place.
    fn place(&mut self, kind: AlertKind, subject: Arc<str>) -> Key {
        let key = (kind, subject);
        if self.alerts.contains_key(&key) || self.alerts.len() < MOST - AlertKind::ALL.len() {
            return key;
        }
        let over = self.alerts().filter(|alert| !alert.is_open());
        let oldest = over.min_by_key(|alert| alert.recovered_at);
        match oldest.map(|alert| (alert.kind, alert.subject.clone())) {
            Some(oldest) => {
                self.alerts.remove(&oldest);
                key
            }
            None => (kind, OTHERS.into()),
        }
    }
}

fn since(then: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace =
        Pace { again_after: Duration::from_secs(3_600), quiet_after: Duration::from_secs(600) };

    fn sign(kind: AlertKind, subject: &str, severity: Severity) -> Sign {
        Sign::new(kind, subject, severity, "a message")
    }

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(seconds * 1_000)
    }

    #[test]
    fn one_is_told_when_it_comes_when_it_lasts_and_when_it_is_over() {
        let mut board = Board::new(PACE, []);
        let mut raise = |now, severity| {
            board.raise(at(now), sign(AlertKind::Provider, "kimi", severity)).map(|notice| notice.news)
        };
        assert_eq!(raise(0, Severity::Warning), Some(News::Raised));
        assert_eq!(raise(60, Severity::Warning), None);
        assert_eq!(raise(120, Severity::Critical), Some(News::Worse));
        assert_eq!(raise(180, Severity::Warning), None);
        assert_eq!(raise(3_720, Severity::Warning), Some(News::Lasts));
        let over = board.recover(at(4_000), AlertKind::Provider, "kimi").unwrap();
        assert_eq!(
            (over.news, over.alert.count, over.alert.severity),
            (News::Recovered, 5, Severity::Critical)
        );
        assert_eq!(board.recover(at(4_001), AlertKind::Provider, "kimi"), None);
        // It comes and goes: told of no more often, and so is its end.
        assert_eq!(board.raise(at(4_100), sign(AlertKind::Provider, "kimi", Severity::Warning)), None);
        assert_eq!(board.recover(at(4_200), AlertKind::Provider, "kimi"), None);
        let again = board.raise(at(7_400), sign(AlertKind::Provider, "kimi", Severity::Warning)).unwrap();
        assert_eq!((again.news, again.alert.count, again.alert.since), (News::Raised, 1, at(7_400)));
    }

    #[test]
    fn whoever_knows_of_it_is_told_only_if_it_gets_worse_or_is_over() {
        let mut board = Board::new(PACE, []);
        assert!(!board.acknowledge(AlertKind::Disk, "data folder", at(0)));
        let low = |severity| sign(AlertKind::Disk, "data folder", severity);
        assert!(board.raise(at(0), low(Severity::Warning)).is_some());
        assert!(board.acknowledge(AlertKind::Disk, "data folder", at(10)));
        assert_eq!(board.raise(at(9_000), low(Severity::Warning)), None);
        assert_eq!(board.raise(at(9_001), low(Severity::Critical)).unwrap().news, News::Worse);
        assert_eq!(board.recover(at(9_002), AlertKind::Disk, "data folder").unwrap().news, News::Recovered);
        // What comes up anew is not known.
        assert!(board.raise(at(99_000), low(Severity::Warning)).unwrap().alert.acknowledged_at.is_none());
    }

    #[test]
    fn an_event_is_over_by_itself_and_a_state_is_not() {
        let mut board = Board::new(PACE, []);
        board.raise(at(0), sign(AlertKind::Secret, "empire::run", Severity::Critical));
        board.raise(at(0), sign(AlertKind::Store, "database", Severity::Critical));
        assert_eq!(board.tick(at(599)), []);
        let over = board.tick(at(600));
        assert_eq!(over.len(), 1);
        assert_eq!((over[0].alert.kind, over[0].news), (AlertKind::Secret, News::Recovered));
        assert_eq!(board.worst(), Some(Severity::Critical));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for kind in AlertKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for severity in Severity::ALL {
            assert_eq!(severity.to_string().parse(), Ok(severity));
        }
        assert!("disks".parse::<AlertKind>().unwrap_err().to_string().contains("machine, disk, queue"));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Raise(usize, u8, Severity),
        Recover(usize, u8),
        Acknowledge(usize, u8),
        Tick,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || (0..AlertKind::ALL.len(), 0u8..3);
        prop_oneof![
            4 => (key(), 0usize..3).prop_map(|((k, s), v)| Step::Raise(k, s, Severity::ALL[v])),
            2 => key().prop_map(|(k, s)| Step::Recover(k, s)),
            1 => key().prop_map(|(k, s)| Step::Acknowledge(k, s)),
            1 => Just(Step::Tick),
        ]
    }

    proptest! {
        /// Of one alert: what is told begins with its coming; its end is told at most once, and only
        /// after it; between two tellings of the same severity lies the pace; what is on was seen.
        #[test]
        fn what_is_told_makes_sense(steps in prop::collection::vec((0i64..2_000, step()), 0..120)) {
            let mut board = Board::new(PACE, []);
            let mut told: BTreeMap<Key, Vec<(i64, News, Severity)>> = BTreeMap::new();
            let mut now = 0;
            for (wait, step) in steps {
                now += wait;
                let subject = |s: u8| format!("s{s}");
                let notices = match step {
                    Step::Raise(k, s, severity) => {
                        let raised = board.raise(at(now), sign(AlertKind::ALL[k], &subject(s), severity));
                        let alert = board.get(AlertKind::ALL[k], &subject(s)).unwrap();
                        prop_assert!(alert.is_open() && alert.severity >= severity && alert.last_seen == at(now));
                        raised.into_iter().collect()
                    }
                    Step::Recover(k, s) => {
                        let over = board.recover(at(now), AlertKind::ALL[k], &subject(s));
                        prop_assert!(board.get(AlertKind::ALL[k], &subject(s)).is_none_or(|a| !a.is_open()));
                        over.into_iter().collect::<Vec<_>>()
                    }
                    Step::Acknowledge(k, s) => {
                        board.acknowledge(AlertKind::ALL[k], &subject(s), at(now));
                        Vec::new()
                    }
                    Step::Tick => board.tick(at(now)),
                };
                for Notice { news, alert } in notices {
                    told.entry((alert.kind, alert.subject)).or_default().push((now, news, alert.severity));
                }
            }
            for line in told.values() {
                prop_assert_eq!(line[0].1, News::Raised);
                for pair in line.windows(2) {
                    let ((before, was, mattered), (after, is, matters)) = (pair[0], pair[1]);
                    let is_over = is == News::Recovered;
                    prop_assert!(!(was == News::Recovered && is != News::Raised), "{:?}", pair);
                    prop_assert!(!(was != News::Recovered && is == News::Raised && matters <= mattered && after - before < 3_600), "{:?}", pair);
                    if is == News::Worse {
                        prop_assert!(matters > mattered, "{:?}", pair);
                    } else if !is_over && was != News::Recovered && matters <= mattered {
                        prop_assert!(after - before >= 3_600, "{:?}", pair);
                    }
                }
            }
        }

    }

    proptest! {
        // Each fills the board, which takes a while where nothing is optimised.
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn any_number_of_subjects_finds_a_place(subjects in 1_000u32..1_400, over in 0u32..400) {
            let mut board = Board::new(PACE, []);
            for n in 0..subjects {
                board.raise(at(i64::from(n)), sign(AlertKind::Actor, &n.to_string(), Severity::Warning));
                if n < over {
                    board.recover(at(i64::from(n)), AlertKind::Actor, &n.to_string());
                }
            }
            prop_assert!(board.alerts().count() <= MOST);
            let lost = u64::from(subjects) > MOST as u64 + u64::from(over);
            prop_assert!(!lost || board.get(AlertKind::Actor, OTHERS).is_some());
        }
    }
}
