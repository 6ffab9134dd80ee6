//! The gates by themselves: nothing is forgotten when they restart, and what is dropped on its
//! way is settled on the safe side.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use common::*;
use empire_actors::call::{Call, Cleared, Draft, Funded, Request, Screened, Standing, Turn};
use empire_actors::failure::FailureKind;
use empire_actors::gates::audit::Act;
use empire_actors::gates::book::{Account, Scope};
use empire_actors::gates::budget::{BudgetGate, BudgetRefusal, Cap};
use empire_actors::gates::privacy::{PrivacyGate, PrivacyRefusal};
use empire_actors::gates::rate::{RateGate, RateRefusal};
use empire_actors::kernel::control::{Address, Control, Failure};
use empire_actors::kernel::policy::{Policy, Strategy};
use empire_actors::kernel::supervisor::{ChildSpec, Root};
use empire_actors::level::{Level, Zone};
use empire_actors::model::ProviderSpec;
use empire_actors::money::Micros;
use empire_actors::ports::{Certainty, StoreError, UnixMillis, WallClock};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};

/// Started before the gates: its crash restarts them all.
struct Fuse;

impl Control for Fuse {
    type Message = ();
    type Observed = ();

    async fn handle(&mut self, (): ()) -> Result<(), Failure> {
        Err(Failure("blown".into()))
    }

    fn observe(&self) {}
}

struct Gates {
    ledger: Arc<FakeLedger>,
    privacy: PrivacyGate,
    budget: BudgetGate,
    rate: RateGate,
    fuse: Address<()>,
    root: Root,
}

impl Gates {
    async fn start(cap: Option<Micros>, spec: ProviderSpec) -> Gates {
        Gates::start_with(cap, spec, Arc::new(TokioClock::new(Arc::default()))).await
    }

    async fn start_with(cap: Option<Micros>, spec: ProviderSpec, clock: Arc<dyn WallClock>) -> Gates {
        let ledger = Arc::new(FakeLedger::default());
        let random = Arc::new(Wobble::default());
        let privacy = PrivacyGate::new(2, detector(), Arc::new(FakeAudit::default()), clock.clone());
        let budget = BudgetGate::new(ledger.clone(), clock.clone());
        let rate = RateGate::new(Arc::new(spec), ledger.clone(), clock, random.clone(), None);
        let fuse = Address::new("fuse");
        let mut children = vec![ChildSpec::actor("fuse", &fuse, || Box::pin(async { Ok(Fuse) }))];
        children.extend(privacy.children());
        children.push(budget.child(vec![Cap { scope: Scope::Job(JOB.into()), cap }]));
        children.push(rate.child());
        let policy = Policy::default().with_strategy(Strategy::RestForOne);
        let root = Root::start(policy, children, supervision()).await.unwrap();
        Gates { ledger, privacy, budget, rate, fuse, root }
    }

    async fn restart(&self) {
        self.fuse.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let view = self.root.view();
        assert!(view.children.iter().all(|child| child.healthy && child.incarnation > 1));
    }

    async fn screened(&self) -> Call<Screened> {
        self.privacy.screen(draft(), Zone::Cloud).await.unwrap()
    }

    async fn funded(&self) -> Call<Funded> {
        self.budget.fund(self.screened().await).await.unwrap()
    }

    async fn cleared(&self) -> Call<Cleared> {
        self.rate.clear(self.funded().await).await.unwrap()
    }

    async fn account(&self) -> Account {
        let accounts = self.budget.accounts().await.unwrap();
        accounts.into_iter().find(|(scope, _)| *scope == Scope::Job(JOB.into())).unwrap().1
    }

    async fn end(self) {
        let account = self.account().await;
        assert_eq!(account.reserved, Micros::ZERO);
        assert_eq!(account.spent, self.ledger.billed());
        assert_eq!((self.ledger.open(), self.ledger.wrongs()), (0, vec![]));
        self.root.stop().await;
    }
}

fn draft() -> Call<Draft> {
    Call::draft(request())
}

fn request() -> Request {
    Request {
        job: JOB.into(),
        item: 0,
        model: model("m", "cloud", paid()),
        system: None,
        turns: vec![Turn::user("hello")],
        schema: None,
        max_tokens: 100,
        level: Level::P1,
        shared: None,
        standing: Standing::default(),
    }
}

fn bound() -> Micros {
    let call = draft();
    paid().unwrap().bound(call.request().input_token_bound(), 100)
}

fn cloud() -> ProviderSpec {
    spec("cloud", Zone::Cloud, 100)
}

/// Whether it is still waiting after a (virtual) minute.
async fn waits<F: Future>(future: F) -> bool {
    timeout(Duration::from_secs(60), future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_left_costs_nothing_and_a_lost_one_its_reservation() {
    let gates = Gates::start(None, cloud()).await;
    drop(gates.funded().await);
    drop(gates.cleared().await);
    assert_eq!(gates.account().await, Account::default());
    assert_eq!(gates.ledger.open(), 0);

    let (request, receipt) = gates.cleared().await.open().unwrap();
    assert_eq!(gates.account().await.reserved, bound());
    drop((request, receipt));
    assert_eq!(gates.account().await.spent, bound());
    assert_eq!(gates.ledger.settled(Certainty::Unknown), 1);
    assert_eq!(gates.rate.reading().meters.in_flight, 0);
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_at_any_moment_leaves_no_reservation_behind() {
    let gates = Gates::start(Some(Micros(bound().0 * 3)), cloud()).await;
    for polls in 0..12 {
        let call = gates.screened().await;
        {
            let mut funding = pin!(gates.budget.fund(call));
            for _ in 0..polls {
                let _ = funding.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(gates.account().await.reserved, Micros::ZERO, "after {polls} polls");
        assert_eq!(gates.ledger.open(), 0, "after {polls} polls");
    }
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_no_reservation_and_gives_no_id_twice() {
    let gates = Gates::start(Some(Micros(bound().0 * 3)), cloud()).await;
    let mut held = vec![gates.funded().await, gates.funded().await];
    // One more is granted, but not journalled yet when the gates go down.
    let call = gates.screened().await;
    let mut granted = Box::pin(gates.budget.fund(call));
    while gates.account().await.reserved < Micros(bound().0 * 3) {
        let _ = granted.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        tokio::task::yield_now().await;
    }
    gates.restart().await;
    held.push(granted.await.unwrap());
    assert_eq!(gates.account().await.reserved, Micros(bound().0 * 3));
    let call = gates.screened().await;
    assert!(waits(gates.budget.fund(call)).await, "the cap is full");
    held.pop();
    held.push(gates.funded().await);
    drop(held);
    gates.end().await;
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the test waits for it")]
async fn what_is_settled_while_the_gate_is_down_is_counted_once_and_wakes_who_waits() {
    let gates = Gates::start(Some(Micros(bound().0 * 2)), cloud()).await;
    let (sent, unsent) = (gates.cleared().await.open().unwrap().1, gates.funded().await);
    let waiting = gates.screened().await;
    let budget = gates.budget.clone();
    let waiter = tokio::spawn(async move {
        match budget.fund(waiting).await {
            Ok(call) => Some(call),
            Err(BudgetRefusal::Down(_)) => None,
            Err(other) => panic!("{other}"),
        }
    });
    tokio::task::yield_now().await;
    gates.fuse.send(()).unwrap();
    while gates.budget.accounts().await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop((sent, unsent));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(gates.account().await.spent, bound());
    // Whoever asked in the middle of the restart asks again.
    let call = timeout(Duration::from_secs(1), waiter).await.expect("the waiter is woken").unwrap();
    let call = match call {
        Some(call) => call,
        None => gates.funded().await,
    };
    drop(call);
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn raising_a_cap_wakes_who_waits_and_lowering_it_holds_at_once() {
    let gates = Gates::start(Some(bound()), cloud()).await;
    let held = gates.funded().await;
    let call = gates.screened().await;
    let mut waiting = Box::pin(gates.budget.fund(call));
    assert!(waits(&mut waiting).await);
    let scope = Scope::Job(JOB.into());
    gates.budget.set_cap(Cap { scope: scope.clone(), cap: Some(Micros(bound().0 * 2)) }).unwrap();
    let second = waiting.await.unwrap();
    gates.budget.set_cap(Cap { scope, cap: Some(Micros(1)) }).unwrap();
    let refused = gates.budget.fund(gates.screened().await).await.err().unwrap();
    assert!(matches!(refused, BudgetRefusal::Short(_)), "{refused}");
    drop((held, second));
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_neither_calls_in_flight_nor_the_minute() {
    let mut one_at_a_time = cloud();
    one_at_a_time.limits.concurrency = 1;
    let gates = Gates::start(None, one_at_a_time).await;
    let out = gates.cleared().await.open().unwrap().1;
    let call = gates.funded().await;
    let in_line = gates.rate.clear(call);
    let restarted = async {
        tokio::task::yield_now().await;
        gates.restart().await;
    };
    let (in_line, ()) = tokio::join!(in_line, restarted);
    assert!(matches!(in_line, Err(RateRefusal::Down(_))), "who waited is told");
    let call = gates.funded().await;
    let mut second = Box::pin(gates.rate.clear(call));
    assert!(waits(&mut second).await, "the call in flight still has the only place");
    drop(out);
    drop(second.await.unwrap());
    gates.end().await;

    let mut spaced = cloud();
    spaced.limits.requests_per_minute = Some(1);
    let gates = Gates::start(None, spaced).await;
    let started = Instant::now();
    let receipt = gates.cleared().await.open().unwrap().1;
    gates.restart().await;
    let call = gates.funded().await;
    assert!(timeout(Duration::from_secs(55), gates.rate.clear(call)).await.is_err());
    drop((receipt, gates.cleared().await));
    assert!(started.elapsed() >= Duration::from_secs(60), "{:?}", started.elapsed());
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_keeps_nobody_waiting() {
    let mut one_at_a_time = cloud();
    one_at_a_time.limits.concurrency = 1;
    let gates = Gates::start(None, one_at_a_time).await;
    let out = gates.cleared().await.open().unwrap().1;
    let impatient = gates.funded().await;
    assert!(waits(gates.rate.clear(impatient)).await);
    let call = gates.funded().await;
    let mut patient = Box::pin(gates.rate.clear(call));
    assert!(waits(&mut patient).await);
    drop(out);
    drop(timeout(Duration::from_secs(1), patient).await.unwrap().unwrap());
    let reading = gates.rate.reading();
    assert_eq!((reading.waiting, reading.meters.in_flight), (0, 0));
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_privacy_gate_decides_is_kept_without_the_content_or_the_call_does_not_leave() {
    let (mail, audit) = ("someone@example.com", Arc::new(FakeAudit::default()));
    let clock = Arc::new(TokioClock::new(Arc::default()));
    let privacy = PrivacyGate::new(1, detector(), audit.clone(), clock);
    let root = Root::start(Policy::default(), privacy.children(), supervision()).await.unwrap();
    let ask = async |text: &str, level: Level, zone: Zone| {
        let request = Request { turns: vec![Turn::user(text)], level, ..request() };
        privacy.screen(Call::draft(request), zone).await.map(drop)
    };
    ask("plain", Level::P1, Zone::Local).await.unwrap();
    assert_eq!(audit.decisions.lock().len(), 0, "the levels alone decided");
    ask("plain", Level::P1, Zone::Cloud).await.unwrap();
    ask(&format!("ask {mail}"), Level::P1, Zone::Cloud).await.unwrap();
    ask(&format!("ask {mail}"), Level::P2, Zone::Cloud).await.unwrap_err();
    {
        let decisions = audit.decisions.lock();
        let acts: Vec<&Act> = decisions.iter().map(|made| &made.act).collect();
        assert!(matches!(acts[..], [Act::Allow, Act::Redact { values: 1 }, Act::Deny { .. }]), "{acts:?}");
        assert_eq!(decisions[1].content, decisions[2].content, "the same was asked");
        assert_ne!(decisions[0].content, decisions[1].content);
        assert!(!format!("{decisions:?}").contains(mail));
    }
    audit.is_full.store(true, Ordering::Relaxed);
    let refused = ask("plain", Level::P1, Zone::Cloud).await.unwrap_err();
    assert!(matches!(refused, PrivacyRefusal::Unrecorded(StoreError::DiskFull)), "{refused}");
    root.stop().await;
}

fn ask_of(job: &str, standing: Standing) -> Call<Draft> {
    Call::draft(Request { job: job.into(), model: model("m", "cloud", free()), standing, ..request() })
}

fn free() -> Option<empire_actors::money::Price> {
    let nothing = Micros::ZERO;
    Some(empire_actors::money::Price {
        input: nothing,
        cached_input: nothing,
        cache_write: nothing,
        output: nothing,
    })
}

#[tokio::test(start_paused = true)]
async fn calls_of_several_jobs_take_turns_at_one_gate() {
    let mut one_at_a_time = cloud();
    one_at_a_time.limits.concurrency = 1;
    let gates = Gates::start(None, one_at_a_time).await;
    let funded = async |job: &str| {
        let screened = gates.privacy.screen(ask_of(job, Standing::default()), Zone::Cloud).await.unwrap();
        gates.budget.fund(screened).await.unwrap()
    };
    let out = gates.rate.clear(funded("heavy").await).await.unwrap();
    let mut waiting = FuturesUnordered::new();
    for _ in 0..1_000 {
        let call = funded("heavy").await;
        waiting.push(gates.rate.clear(call));
    }
    // Each takes its place in line when it is first asked.
    assert!(waiting.next().now_or_never().is_none());
    let light = funded("light").await;
    waiting.push(gates.rate.clear(light));
    assert!(waiting.next().now_or_never().is_none());
    assert_eq!(gates.rate.reading().waiting, 1_001);
    drop(out);
    let mut before = 0;
    loop {
        let cleared = waiting.next().await.unwrap().unwrap();
        if &*cleared.request().job == "light" {
            break;
        }
        before += 1;
    }
    assert!(before <= 1, "{before} of the heavy job went before it");
    drop(waiting);
    assert_eq!(gates.rate.reading().waiting, 0, "who leaves is gone from the line");
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_met_is_refused_before_money_is_set_aside() {
    let mut slow = cloud();
    slow.limits.requests_per_minute = Some(1);
    let gates = Gates::start(None, slow).await;
    let first = gates.cleared().await.open().unwrap().1;
    let due = |seconds| {
        let deadline = Some(Instant::now() + Duration::from_secs(seconds));
        ask_of("j", Standing { deadline, ..Standing::default() })
    };
    let late = gates.privacy.screen(due(30), Zone::Cloud).await.unwrap();
    assert!(matches!(gates.rate.foresee(&late), Err(RateRefusal::TooLate(_))));
    let funded = gates.budget.fund(late).await.unwrap();
    assert!(matches!(gates.rate.clear(funded).await, Err(RateRefusal::TooLate(_))));
    let in_time = gates.privacy.screen(due(90), Zone::Cloud).await.unwrap();
    gates.rate.foresee(&in_time).unwrap();
    drop(first);
    gates.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_nobody_uses_comes_back() {
    let mut one_at_a_time = cloud();
    one_at_a_time.limits.concurrency = 1;
    let gates = Gates::start(None, one_at_a_time).await;
    let started = Instant::now();
    let forgotten = gates.cleared().await;
    let next = gates.cleared().await;
    assert!((30..32).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    // Its call may not leave any more, since another one has the slot; it costs nothing.
    let not_sent = forgotten.open().unwrap_err();
    assert_eq!(not_sent.outcome.as_ref().unwrap_err().kind, FailureKind::NotSent);
    assert_eq!(gates.rate.reading().meters.in_flight, 1);
    drop((not_sent, next));
    assert_eq!(gates.rate.reading().meters.in_flight, 0);
    gates.end().await;
}

/// A clock that counts how often it is read: once for each look at the lane.
struct Counting(TokioClock, AtomicUsize);

impl WallClock for Counting {
    fn now(&self) -> UnixMillis {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.now()
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_another_has_replaced_makes_nobody_look() {
    const WAITERS: u64 = 200;
    let clock = Arc::new(Counting(TokioClock::new(Arc::default()), AtomicUsize::new(0)));
    let gates = Gates::start_with(None, spec("cloud", Zone::Cloud, 1), clock.clone()).await;
    let out = gates.cleared().await.open().unwrap();
    let mut waiting = FuturesUnordered::new();
    // Each has less time than all before, and asks to be looked at earlier.
    for n in 0..WAITERS {
        let mut request = request();
        request.standing.deadline = Some(Instant::now() + Duration::from_secs(10 + WAITERS - n));
        let screened = gates.privacy.screen(Call::draft(request), Zone::Cloud).await.unwrap();
        waiting.push(gates.rate.clear(gates.budget.fund(screened).await.unwrap()));
        assert!(waiting.next().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let before = clock.1.load(Ordering::Relaxed);
    while let Some(outcome) = waiting.next().await {
        assert!(matches!(outcome, Err(RateRefusal::TooLate(_))), "each is told in time");
    }
    let looks = clock.1.load(Ordering::Relaxed) - before;
    assert!(looks < 10 * WAITERS as usize, "looked {looks} times for {WAITERS} waiters");

    // Who comes later is still served in time, and by a new incarnation too.
    gates.restart().await;
    let mut request = request();
    request.standing.deadline = Some(Instant::now() + Duration::from_secs(5));
    let screened = gates.privacy.screen(Call::draft(request), Zone::Cloud).await.unwrap();
    let late = gates.rate.clear(gates.budget.fund(screened).await.unwrap());
    let outcome = timeout(Duration::from_secs(6), late).await.unwrap();
    assert!(matches!(outcome, Err(RateRefusal::TooLate(_))));
    drop((waiting, out));
    gates.end().await;
}
