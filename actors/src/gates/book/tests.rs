use proptest::prelude::*;

use super::*;
use crate::gates::calendar::DAY_MILLIS;

const JOBS: [&str; 3] = ["a", "b", "c"];
const ROLES: [Option<&str>; 3] = [Some("dev"), Some("dev"), None];
const PROVIDERS: [&str; 2] = ["x", "y"];
/// Job `a` has allowances, the last within the first.
const CHILDREN: [Option<&str>; 4] = [None, Some("1"), Some("2"), Some("1/1")];

#[derive(Debug, Clone)]
enum Op {
    Reserve {
        job: usize,
        child: usize,
        provider: usize,
        full: u64,
        least: u64,
    },
    Send {
        which: usize,
    },
    /// Bills this share of the reservation, in percent.
    Settle {
        which: usize,
        share: u64,
    },
    Open {
        child: usize,
        wanted: u64,
        least: u64,
    },
    Close {
        child: usize,
    },
    Cap {
        which: usize,
        cap: u64,
    },
    NextDay {
        days: i64,
    },
    /// The process is killed, and the next one reads the ledger.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let place = || (0..3usize, 0..4usize, 0..2usize);
    let reserve = (place(), 0..400u64, 0..=100u64).prop_map(|((job, child, provider), full, part)| {
        Op::Reserve { job, child, provider, full, least: full * part / 100 }
    });
    prop_oneof![
        8 => reserve,
        4 => any::<usize>().prop_map(|which| Op::Send { which }),
        6 => (any::<usize>(), 0..=100u64).prop_map(|(which, share)| Op::Settle { which, share }),
        3 => (1..4usize, 0..800u64, 0..300u64)
            .prop_map(|(child, wanted, least)| Op::Open { child, wanted, least: least.min(wanted) }),
        2 => (1..4usize).prop_map(|child| Op::Close { child }),
        1 => (0..6usize, 0..3000u64).prop_map(|(which, cap)| Op::Cap { which, cap }),
        1 => (1..40i64).prop_map(|days| Op::NextDay { days }),
        1 => Just(Op::Crash),
    ]
}

/// A reservation as the ledger knows it.
#[derive(Debug, Clone)]
struct Held {
    job: usize,
    child: Option<Arc<str>>,
    provider: usize,
    day: Day,
    amount: u64,
    sent: bool,
    line: Line,
}

/// The book beside what it must add up to.
struct World {
    book: Book,
    jobs: Vec<Arc<str>>,
    roles: Vec<Option<Arc<str>>>,
    providers: Vec<ProviderId>,
    day: Day,
    caps: Vec<(Scope, u64)>,
    open: Vec<Held>,
    /// Billed calls.
    ledger: Vec<(Held, u64)>,
    /// Open allowances, and what was set aside for each.
    allowances: Vec<Arc<str>>,
}

impl World {
    fn new(caps: &[u64; 6]) -> World {
        let scopes = [
            Scope::Total,
            Scope::Provider(PROVIDERS[0].into()),
            Scope::Job(JOBS[0].into()),
            Scope::Role("dev".into()),
            Scope::EachDay,
            Scope::EachMonth,
        ];
        let caps: Vec<_> = scopes.into_iter().zip(caps.iter().copied()).collect();
        let mut world = World {
            book: Book::default(),
            jobs: JOBS.map(Arc::from).to_vec(),
            roles: ROLES.map(|role| role.map(Arc::from)).to_vec(),
            providers: PROVIDERS.map(ProviderId::from).to_vec(),
            day: Day(20_000),
            caps,
            open: Vec::new(),
            ledger: Vec::new(),
            allowances: Vec::new(),
        };
        world.set_caps();
        world
    }

    fn set_caps(&mut self) {
        for (scope, cap) in &self.caps {
            self.book.set_cap(scope.clone(), Some(Micros(*cap)));
        }
    }

    fn reserve(&mut self, job: usize, child: usize, provider: usize, full: u64, least: u64) {
        let child = CHILDREN[child].filter(|_| job == 0).map(Arc::from);
        let payer = Payer {
            job: &self.jobs[job],
            role: self.roles[job].as_ref(),
            child: child.as_ref(),
            provider: Some(&self.providers[provider]),
            day: self.day,
        };
        let line = self.book.line(&payer);
        let Ok(quoted) = self.book.quote(&line, Micros(least), Micros(full)) else { return };
        assert!((least..=full).contains(&quoted.0), "{quoted} is not from {least} to {full}");
        self.book.take(&line, quoted);
        let (day, amount) = (self.day, quoted.0);
        self.open.push(Held { job, child, provider, day, amount, sent: false, line });
    }

    fn settle(&mut self, which: usize, share: u64) {
        if self.open.is_empty() {
            return;
        }
        let held = self.open.swap_remove(which % self.open.len());
        let billed = if held.sent { held.amount * share / 100 } else { 0 };
        self.book.settle(&held.line, Micros(held.amount), Micros(billed));
        if held.sent {
            self.ledger.push((held, billed));
        }
    }

    fn open_allowance(&mut self, child: usize, wanted: u64, least: u64) {
        let path: Arc<str> = CHILDREN[child].unwrap().into();
        let parent = path.rsplit_once('/').map(|(parent, _)| Arc::from(parent));
        let payer = Payer {
            job: &self.jobs[0],
            role: self.roles[0].as_ref(),
            child: parent.as_ref(),
            provider: None,
            day: self.day,
        };
        let line = self.book.line(&payer);
        let scope = Scope::Child(self.jobs[0].clone(), path.clone());
        let Ok(quoted) = self.book.quote(&line, Micros(least), Micros(wanted)) else { return };
        if self.book.open(&line, scope, quoted) {
            self.allowances.retain(|open| *open != path);
            self.allowances.push(path);
        }
    }

    /// What the ledger knows is all that is left: calls that were sent count as paid.
    fn crash(&mut self) {
        for held in std::mem::take(&mut self.open) {
            if held.sent {
                let amount = held.amount;
                self.ledger.push((held, amount));
            }
        }
        self.allowances.clear();
        self.book = Book::default();
        self.set_caps();
        for (held, billed) in &self.ledger {
            let payer = Payer {
                job: &self.jobs[held.job],
                role: self.roles[held.job].as_ref(),
                child: held.child.as_ref(),
                provider: Some(&self.providers[held.provider]),
                day: held.day,
            };
            self.book.book_spent(&payer, Micros(*billed));
        }
    }

    /// What an account must hold by the ledger and by the calls under way.
    fn spent(&self, is_in: impl Fn(&Held) -> bool) -> u64 {
        self.ledger.iter().filter(|(held, _)| is_in(held)).map(|(_, billed)| billed).sum()
    }

    fn check(&self, lowered: &[Scope]) -> Result<(), TestCaseError> {
        for (scope, account) in self.book.accounts() {
            let template = match scope {
                Scope::Day(_) => Scope::EachDay,
                Scope::Month(_) => Scope::EachMonth,
                ref other => other.clone(),
            };
            if let Some(cap) = account.cap.filter(|_| !lowered.contains(&template)) {
                prop_assert!(account.spent + account.reserved <= cap, "{:?} {:?}", scope, account);
            }
            let spent = self.spent(|held| is_in(&scope, held));
            prop_assert_eq!(account.spent, Micros(spent), "{:?}", &scope);
            // Calls straight from this purse; what allowances hold is checked from below.
            let direct = |held: &&Held| is_in(&scope, held) && (held.child.is_none() || is_window(&scope));
            let direct: u64 = self.open.iter().filter(direct).map(|held| held.amount).sum();
            if is_window(&scope) {
                prop_assert_eq!(account.reserved, Micros(direct), "{:?}", &scope);
            } else {
                prop_assert!(account.reserved >= Micros(direct), "{:?}", &scope);
            }
        }
        // What is set aside at the root is what calls and allowances there hold, to the cent.
        let roots = ["1", "2"].iter().map(|path| {
            let child = Scope::Child(self.jobs[0].clone(), (*path).into());
            self.book.places.get(&child).and_then(|place| self.book.entries[*place as usize].allowance)
        });
        let prepaid: u64 = roots.flatten().map(|allowance| allowance.prepaid.0).sum();
        let direct: u64 = self.open.iter().filter(|held| held.child.is_none()).map(|held| held.amount).sum();
        prop_assert_eq!(self.book.account(&Scope::Total).reserved, Micros(prepaid + direct));
        Ok(())
    }
}

fn is_window(scope: &Scope) -> bool {
    matches!(scope, Scope::Provider(_) | Scope::Day(_) | Scope::Month(_))
}

fn is_in(scope: &Scope, held: &Held) -> bool {
    match scope {
        Scope::Total => true,
        Scope::Provider(provider) => provider.as_str() == PROVIDERS[held.provider],
        Scope::Month(month) => *month == held.day.month(),
        Scope::Day(day) => *day == held.day,
        Scope::Role(role) => ROLES[held.job] == Some(&**role),
        Scope::Job(job) => **job == *JOBS[held.job],
        Scope::Child(job, path) => {
            let within = |own: &str| own == &**path || own.starts_with(&format!("{path}/"));
            **job == *JOBS[held.job] && held.child.as_deref().is_some_and(within)
        }
        Scope::EachMonth | Scope::EachDay => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the order, over crashes, days, clamps, allowances and changed caps: no scope
    /// passes its cap, and every cent is in its place.
    #[test]
    fn no_interleaving_passes_a_cap_or_loses_a_cent(
        ops in prop::collection::vec(op(), 0..160), caps in prop::array::uniform6(0u64..3000),
    ) {
        let mut world = World::new(&caps);
        // A cap below what is spent already cannot hold backwards.
        let mut lowered = Vec::new();
        for op in ops {
            match op {
                Op::Reserve { job, child, provider, full, least } => {
                    world.reserve(job, child, provider, full, least);
                }
                Op::Send { which } => {
                    let count = world.open.len().max(1);
                    if let Some(held) = world.open.get_mut(which % count) {
                        held.sent = true;
                    }
                }
                Op::Settle { which, share } => world.settle(which, share),
                Op::Open { child, wanted, least } => world.open_allowance(child, wanted, least),
                Op::Close { child } => {
                    let path: Arc<str> = CHILDREN[child].unwrap().into();
                    world.book.close(&Scope::Child(world.jobs[0].clone(), path));
                }
                Op::Cap { which, cap } => {
                    let (scope, before) = &mut world.caps[which];
                    if cap < *before {
                        lowered.push(scope.clone());
                    }
                    *before = cap;
                    let scope = scope.clone();
                    world.book.set_cap(scope, Some(Micros(cap)));
                }
                Op::NextDay { days } => world.day = Day(world.day.0 + days),
                Op::Crash => world.crash(),
            }
            world.check(&lowered)?;
        }
        // All goes back in the end.
        while !world.open.is_empty() {
            world.settle(0, 50);
        }
        for child in ["1/1", "1", "2"] {
            world.book.close(&Scope::Child(world.jobs[0].clone(), child.into()));
        }
        for (scope, account) in world.book.accounts() {
            prop_assert_eq!(account.reserved, Micros::ZERO, "{:?}", scope);
        }
    }

    /// A vendor that bills more than was reserved: the truth is booked in every scope, nobody
    /// else's money is touched, and nothing is granted beyond a cap.
    #[test]
    fn what_is_billed_beyond_the_bound_is_booked_and_stops_further_grants(
        bills in prop::collection::vec((1..300u64, 0..1000u64, any::<bool>()), 1..40), cap in 0..2000u64,
    ) {
        let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
        let child: Arc<str> = "c".into();
        let mut book = Book::default();
        book.set_cap(Scope::Total, Some(Micros(cap)));
        let root = Payer { job: &job, role: None, child: None, provider: None, day: Day(0) };
        let purse = book.line(&root);
        let allowance = Micros(cap / 2);
        prop_assert!(book.open(&purse, Scope::Child(job.clone(), child.clone()), allowance));
        let mut open = Vec::new();
        let (mut in_all, mut debt) = (0, 0);
        for (amount, percent, in_child) in bills {
            let payer = Payer { child: in_child.then_some(&child), provider: Some(&provider), ..root };
            let line = book.line(&payer);
            if book.quote(&line, Micros(amount), Micros(amount)).is_ok() {
                book.take(&line, Micros(amount));
                open.push((line, amount, percent));
                let total = book.account(&Scope::Total);
                prop_assert!(total.spent + total.reserved <= Micros(cap), "granted in debt");
            }
            if open.len() > 3 {
                let (line, amount, percent) = open.remove(0);
                let billed = amount * percent / 100;
                book.settle(&line, Micros(amount), Micros(billed));
                in_all += billed;
                debt += billed.saturating_sub(amount);
                let total = book.account(&Scope::Total);
                prop_assert_eq!(total.spent, Micros(in_all));
                prop_assert!(total.spent + total.reserved <= Micros(cap + debt));
            }
        }
    }
}

fn payer<'a>(job: &'a Arc<str>, provider: &'a ProviderId) -> Payer<'a> {
    Payer { job, role: None, child: None, provider: Some(provider), day: Day(20_780) }
}

#[test]
fn says_whether_waiting_can_help() {
    let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
    let mut book = Book::default();
    book.set_cap(Scope::Job(job.clone()), Some(Micros(10)));
    let line = book.line(&payer(&job, &provider));
    book.take(&line, Micros(8));
    let shortage = book.quote(&line, Micros(5), Micros(5)).unwrap_err();
    assert!(shortage.waiting_may_help());
    book.settle(&line, Micros(8), Micros(8));
    let shortage = book.quote(&line, Micros(5), Micros(5)).unwrap_err();
    assert!(!shortage.waiting_may_help());
    assert_eq!(
        shortage.to_string(),
        "the job's budget of $0.000010 does not cover another $0.000005: $0.000008 spent, $0.00 reserved"
    );
    // Two are left: who makes do with them gets them, once nothing more can come back.
    assert_eq!(book.quote(&line, Micros(2), Micros(5)), Ok(Micros(2)));
}

#[test]
fn a_clamped_call_waits_for_what_may_come_back() {
    let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
    let mut book = Book::default();
    book.set_cap(Scope::Total, Some(Micros(100)));
    let line = book.line(&payer(&job, &provider));
    book.take(&line, Micros(60));
    book.settle(&line, Micros(60), Micros(30));
    book.take(&line, Micros(50));
    // 20 are left now, up to 70 later: 80 will never fit, and 20 is not the best to be had.
    let shortage = book.quote(&line, Micros(20), Micros(80)).unwrap_err();
    assert!(shortage.waiting_may_help());
    book.settle(&line, Micros(50), Micros(10));
    assert_eq!(book.quote(&line, Micros(20), Micros(80)), Ok(Micros(60)));
}

#[test]
fn a_day_and_a_month_renew_and_a_shortage_says_when() {
    let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
    let mut book = Book::default();
    book.set_cap(Scope::EachDay, Some(Micros(10)));
    book.set_cap(Scope::EachMonth, Some(Micros(15)));
    let on = |book: &mut Book, day: Day| book.line(&Payer { day, ..payer(&job, &provider) });
    let spend = |book: &mut Book, day: Day, amount: u64| {
        let line = on(book, day);
        book.quote(&line, Micros(amount), Micros(amount))?;
        book.take(&line, Micros(amount));
        book.settle(&line, Micros(amount), Micros(amount));
        Ok::<_, Shortage>(())
    };
    let today = Day(20_787); // the last of November 2026
    spend(&mut book, Day(20_786), 8).unwrap();
    let shortage = spend(&mut book, Day(20_786), 3).unwrap_err();
    assert_eq!(shortage.renews.unwrap().0, today.0 * DAY_MILLIS);
    spend(&mut book, today, 7).unwrap();
    let shortage = spend(&mut book, today, 1).unwrap_err();
    assert_eq!(shortage.scope, Scope::Month(today.month()));
    assert!(shortage.to_string().ends_with("(a new one begins on 2026-12-01)"), "{shortage}");
    spend(&mut book, Day(today.0 + 1), 9).unwrap();
}

#[test]
fn a_thousand_allowances_cannot_pass_what_their_job_has() {
    let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
    let mut book = Book::default();
    book.set_cap(Scope::Job(job.clone()), Some(Micros(1_000)));
    let purse = book.line(&Payer { provider: None, ..payer(&job, &provider) });
    let mut opened = 0;
    for number in 0..1_000 {
        let child = Scope::Child(job.clone(), number.to_string().into());
        if book.quote(&purse, Micros(7), Micros(7)).is_ok() && book.open(&purse, child, Micros(7)) {
            opened += 1;
        }
    }
    assert_eq!(opened, 142);
    assert_eq!(book.account(&Scope::Job(job.clone())).reserved, Micros(994));
    // Each has its own and no more, and what one leaves over is there for another.
    let first: Arc<str> = "0".into();
    let line = book.line(&Payer { child: Some(&first), ..payer(&job, &provider) });
    assert!(book.quote(&line, Micros(8), Micros(8)).is_err());
    book.take(&line, Micros(7));
    book.close(&Scope::Child(job.clone(), first));
    assert_eq!(book.account(&Scope::Job(job.clone())).reserved, Micros(994));
    book.settle(&line, Micros(7), Micros(2));
    let account = book.account(&Scope::Job(job.clone()));
    assert_eq!((account.spent, account.reserved), (Micros(2), Micros(987)));
    assert!(book.quote(&line, Micros(1), Micros(1)).is_err(), "it is closed");
}

#[test]
fn a_threshold_is_told_once_until_the_cap_is_raised() {
    let (job, provider): (Arc<str>, _) = ("j".into(), ProviderId::from("p"));
    let mut book = Book::default();
    book.tell_at(vec![95, 50, 80]);
    book.set_cap(Scope::Total, Some(Micros(100)));
    let line = book.line(&payer(&job, &provider));
    let mut told = Vec::new();
    for _ in 0..49 {
        book.take(&line, Micros(2));
        book.settle(&line, Micros(2), Micros(2));
        told.extend(book.take_alerts().iter().map(|alert| (alert.percent, alert.spent.0)));
    }
    assert_eq!(told, [(50, 50), (80, 80), (95, 96)]);
    book.set_cap(Scope::Total, Some(Micros(150)));
    assert_eq!(book.take_alerts(), []);
    book.take(&line, Micros(22));
    book.settle(&line, Micros(22), Micros(22));
    assert_eq!(
        book.take_alerts()[0].to_string(),
        "80 % of the total budget of $0.000150 is spent: $0.000120"
    );
}
