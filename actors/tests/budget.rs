//! The budget gate under many callers at once: caps hold to the cent and are used up, allowances
//! included, and nobody who waits is forgotten or overtaken.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use empire_actors::call::{Call, Funded, Request, Screened, Standing, Turn};
use empire_actors::failure::Billing;
use empire_actors::gates::book::{Account, Cap, Scope};
use empire_actors::gates::budget::{Action, BudgetGate, BudgetRefusal, Terms, least_tokens};
use empire_actors::gates::privacy::PrivacyGate;
use empire_actors::gates::rate::RateGate;
use empire_actors::kernel::policy::Policy;
use empire_actors::kernel::supervisor::Root;
use empire_actors::level::{Level, Zone};
use empire_actors::money::{Micros, Price};
use empire_actors::ports::Certainty;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

/// A micro-dollar for a token out; what goes in is free.
fn price() -> Option<Price> {
    Some(Price { output: Micros(1_000_000), ..Price::FREE })
}

const TOKENS: u32 = 400;

struct Gate {
    ledger: Arc<FakeLedger>,
    privacy: PrivacyGate,
    budget: BudgetGate,
    rate: RateGate,
    root: Root,
}

impl Gate {
    async fn start(caps: &[(Scope, u64)], terms: Terms) -> Gate {
        Gate::over(Arc::new(FakeLedger::default()), caps, terms).await
    }

    async fn over(ledger: Arc<FakeLedger>, caps: &[(Scope, u64)], terms: Terms) -> Gate {
        let clock = Arc::new(TokioClock::new(Arc::default()));
        let privacy = PrivacyGate::new(1, detector(), Arc::new(FakeAudit::default()), clock.clone());
        let budget = BudgetGate::new(ledger.clone(), clock.clone());
        let lane = Arc::new(spec("cloud", Zone::Cloud, 100_000));
        let rate = RateGate::new(lane, ledger.clone(), clock, Arc::new(Wobble::default()), None);
        budget.enroll(JOB.into(), terms);
        budget.alert_at(vec![50, 80, 95]);
        let mut children = privacy.children();
        let cap = |(scope, cap): &(Scope, u64)| Cap { scope: scope.clone(), cap: Some(Micros(*cap)) };
        children.push(budget.child(caps.iter().map(cap).collect()));
        children.push(rate.child());
        let root = Root::start(Policy::default(), children, supervision()).await.unwrap();
        Gate { ledger, privacy, budget, rate, root }
    }

    async fn screened(&self) -> Call<Screened> {
        let request = Request {
            job: JOB.into(),
            item: 0,
            model: model("m", "cloud", price()),
            system: None,
            turns: vec![Turn::user("hello")],
            schema: None,
            max_tokens: TOKENS,
            level: Level::P1,
            shared: None,
            standing: Standing::default(),
        };
        self.privacy.screen(Call::draft(request), Zone::Cloud).await.unwrap()
    }

    async fn funded(&self) -> Result<Call<Funded>, BudgetRefusal> {
        self.budget.fund(self.screened().await).await
    }

    /// The call leaves and nobody hears of it again: it is billed at its reservation.
    async fn lose(&self, call: Call<Funded>) -> u64 {
        let tokens = call.request().max_tokens;
        drop(self.rate.clear(call).await.unwrap().open().unwrap());
        tokens.into()
    }

    fn job(&self) -> Account {
        self.budget.account(&job())
    }

    /// An action stands for a call whose end the test decides.
    async fn action(&self, price: u64) -> Result<empire_actors::gates::budget::ActionHold, BudgetRefusal> {
        let action = Action {
            job: JOB.into(),
            item: 0,
            provider: "x".into(),
            name: "x.post".into(),
            price: Micros(price),
        };
        self.budget.reserve_action(action).await
    }

    async fn end(self) {
        assert_eq!(self.job().reserved, Micros::ZERO);
        assert_eq!(self.job().spent, self.ledger.billed());
        assert_eq!((self.ledger.open(), self.ledger.wrongs()), (0, vec![]));
        self.root.stop().await;
    }
}

fn job() -> Scope {
    Scope::Job(JOB.into())
}

fn clamped() -> Terms {
    Terms { clamp: true, ..Terms::default() }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_share_a_cap_worth_twenty() {
    // What is left after twenty is of use to a clamped one.
    let cap = 20 * u64::from(TOKENS) + 150;
    let gate = Gate::start(&[(job(), cap)], clamped()).await;
    let caller = |number: u32| {
        let gate = &gate;
        async move {
            let call = gate.funded().await.ok()?;
            let account = gate.job();
            assert!(account.spent + account.reserved <= Micros(cap), "{account:?}");
            assert!(call.request().max_tokens >= least_tokens(TOKENS));
            tokio::time::sleep(Duration::from_millis(u64::from(number % 50))).await;
            // Every third never leaves, and costs nothing.
            if number.is_multiple_of(3) { None } else { Some(gate.lose(call).await) }
        }
    };
    let mut callers: FuturesUnordered<_> = (0..10_000).map(caller).collect();
    let mut spent = 0;
    while let Some(used) = timeout(Duration::from_secs(600), callers.next()).await.expect("nobody hangs") {
        spent += used.unwrap_or(0);
    }
    drop(callers);
    assert_eq!(spent, cap);
    let told: Vec<u8> = gate.budget.take_alerts().iter().map(|alert| alert.percent).collect();
    assert_eq!(told, [50, 80, 95]);
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_allowances_of_ten_calls_each_share_a_cap_worth_twenty() {
    let cap = 20 * u64::from(TOKENS);
    let gate = Gate::start(&[(job(), cap), (Scope::Total, cap * 2)], clamped()).await;
    let (least, wanted) = (Micros(least_tokens(TOKENS).into()), Micros(2 * u64::from(TOKENS)));
    let child = |number: u32| {
        let gate = &gate;
        async move {
            let name = number.to_string();
            let Ok(allowance) = gate.budget.open_allowance(&JOB.into(), &name, wanted, least).await else {
                return;
            };
            // Half of the children pass a part on to one of their own.
            let inner = match number % 2 {
                0 => allowance.open_allowance("inner", Micros(wanted.0 / 2), least).await.ok(),
                _ => None,
            };
            for _ in 0..10 {
                let call = gate.screened().await;
                let payer = inner.as_ref().unwrap_or(&allowance);
                let Ok(call) = payer.fund(call).await else { break };
                tokio::time::sleep(Duration::from_millis(u64::from(number % 7))).await;
                assert!(gate.lose(call).await <= u64::from(TOKENS));
                let own = allowance.account();
                assert!(own.spent + own.reserved <= own.cap.unwrap(), "{own:?}");
            }
            let account = gate.job();
            assert!(account.spent + account.reserved <= Micros(cap), "{account:?}");
        }
    };
    let mut children: FuturesUnordered<_> = (0..1_000).map(child).collect();
    while timeout(Duration::from_secs(600), children.next()).await.expect("nobody hangs").is_some() {}
    drop(children);
    let spent = gate.job().spent.0;
    assert!(spent <= cap && spent >= cap / 100 * 95, "{spent} of {cap}");
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_allowance_spent_counts_after_a_crash() {
    let gate = Gate::start(&[(job(), 10_000)], clamped()).await;
    let allowance = gate.budget.open_allowance(&JOB.into(), "a", Micros(1_000), Micros(1)).await.unwrap();
    assert_eq!(allowance.granted(), Micros(1_000));
    let call = gate.screened().await;
    let call = allowance.fund(call).await.unwrap();
    assert_eq!(gate.lose(call).await, u64::from(TOKENS));
    let again = gate.budget.open_allowance(&JOB.into(), "a", Micros(9), Micros(1)).await;
    assert!(matches!(again, Err(BudgetRefusal::Open(_))));
    let ledger = Arc::new(gate.ledger.after_kill());
    drop(allowance);
    gate.end().await;

    let gate = Gate::over(ledger, &[(job(), 10_000)], clamped()).await;
    let allowance = gate.budget.open_allowance(&JOB.into(), "a", Micros(1_000), Micros(1)).await.unwrap();
    assert_eq!(allowance.granted(), Micros(600), "400 were spent before");
    let account = allowance.account();
    assert_eq!((account.cap, account.spent), (Some(Micros(1_000)), Micros(400)));
    assert_eq!(gate.job().reserved, Micros(600));
    drop(allowance);
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_small_one_does_not_overtake_who_waits_for_much() {
    let gate = Gate::start(&[(job(), 1_000)], Terms::default()).await;
    let held = gate.action(700).await.unwrap();
    let mut large = Box::pin(gate.action(900));
    assert!(timeout(Duration::from_secs(1), &mut large).await.is_err());
    let mut small = Box::pin(gate.action(100));
    assert!(
        timeout(Duration::from_secs(1), &mut small).await.is_err(),
        "there was money, but others came first"
    );
    drop(held);
    let large = timeout(Duration::from_secs(1), large).await.expect("its turn").unwrap();
    let small = timeout(Duration::from_secs(1), small).await.expect("then its").unwrap();
    drop((large, small));
    // Who leaves the line holds nobody up.
    let held = gate.action(700).await.unwrap();
    let mut large = Box::pin(gate.action(900));
    assert!(timeout(Duration::from_secs(1), &mut large).await.is_err());
    drop(large);
    drop(timeout(Duration::from_secs(1), gate.action(100)).await.expect("nobody waits").unwrap());
    drop(held);
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_action_has_a_fixed_price_and_is_billed_once_it_was_begun() {
    let caps = [(Scope::Provider("x".into()), 300_000)];
    let gate = Gate::start(&caps, Terms { most_at_once: Some(Micros(250_000)), ..Terms::default() }).await;
    let unused = gate.action(15_000).await.unwrap();
    drop(unused);
    assert_eq!(gate.job(), Account::default());
    let mut post = gate.action(15_000).await.unwrap();
    post.begin().unwrap();
    assert_eq!(post.done().billed, Micros(15_000));
    let mut lost = gate.action(200_000).await.unwrap();
    lost.begin().unwrap();
    drop(lost);
    assert_eq!(gate.ledger.settled(Certainty::Unknown), 1);
    let mut refused = gate.action(15_000).await.unwrap();
    refused.begin().unwrap();
    assert_eq!(refused.failed(Billing::Nothing).billed, Micros::ZERO);
    assert_eq!(gate.job().spent, Micros(215_000));
    let short = gate.action(200_000).await.err().unwrap();
    assert!(matches!(short, BudgetRefusal::Short(_)), "{short}");
    let large = gate.action(260_000).await.err().unwrap();
    assert!(large.to_string().contains("approval"), "{large}");
    gate.end().await;
}
