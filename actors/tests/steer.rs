//! The tree as people see it and steer it while it runs. The clock is paused: a sleep passes once
//! everybody else waits, too.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{TokioClock, Wobble, supervision};
use empire_actors::kernel::control::{Address, Control, Failure};
use empire_actors::kernel::journal::{Event, Journal};
use empire_actors::kernel::policies::{Override, Policies, PolicyPatch, Source};
use empire_actors::kernel::policy::{Action, ChildExit, OnExhausted, Policy, Strategy};
use empire_actors::kernel::supervisor::{ChildSpec, Root};
use empire_actors::kernel::tree::{NodeState, NodeView, Order, OrderRefused, Supervision};
use empire_actors::ports::{UnixMillis, WallClock};
use tokio::sync::oneshot;

enum Say {
    Ping(oneshot::Sender<u32>),
    Fail,
    Work(Duration),
}

struct Worker(u32);

impl Control for Worker {
    type Message = Say;
    type Observed = u32;

    async fn handle(&mut self, message: Say) -> Result<(), Failure> {
        match message {
            Say::Fail => return Err(Failure("boom".into())),
            Say::Work(time) => tokio::time::sleep(time).await,
            Say::Ping(reply) => {
                self.0 += 1;
                let _ = reply.send(self.0);
            }
        }
        Ok(())
    }

    fn observe(&self) -> u32 {
        self.0
    }
}

fn child(address: &Address<Say>) -> ChildSpec {
    ChildSpec::actor(address.path(), address, || Box::pin(async { Ok(Worker(0)) }))
}

/// Two workers below `/empire/pair`.
struct Pair {
    a: Address<Say>,
    b: Address<Say>,
    root: Root,
}

const A: &str = "/empire/pair/a";
const B: &str = "/empire/pair/b";

impl Pair {
    async fn start(policy: Policy, supervision: Supervision) -> Pair {
        let (a, b) = (Address::new("a"), Address::new("b"));
        let below = (a.clone(), b.clone());
        let pair = ChildSpec::supervisor("pair", policy, move || vec![child(&below.0), child(&below.1)]);
        Pair { a, b, root: Root::start(Policy::default(), vec![pair], supervision).await.unwrap() }
    }

    fn view(&self, path: &str) -> NodeView {
        self.root.tree().view(path, 0).unwrap()
    }

    async fn tell(&self, path: &str, order: Order) -> Result<String, OrderRefused> {
        self.root.tree().order(path, order, "owner", "a test").await
    }

    fn actions(&self) -> Vec<Action> {
        let entries = self.root.tree().supervision().journal.latest("", 1_000);
        let action = |event: &Event| match event {
            Event::Exit(decision) => Some(decision.action.clone()),
            _ => None,
        };
        entries.iter().filter_map(|entry| action(&entry.event)).collect()
    }
}

async fn a_second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_s_restart_counts_no_failure_and_takes_along_who_depends_on_it() {
    let pair = Pair::start(Policy::default().with_strategy(Strategy::RestForOne), supervision()).await;
    for round in 2..20 {
        let said = pair.tell(A, Order::Restart { drain_ms: None }).await.unwrap();
        assert_eq!(said, format!("restarted; incarnation {round} runs"));
        assert_eq!((pair.view(A).incarnation, pair.view(B).incarnation), (round, round));
    }
    assert_eq!(pair.view("/empire/pair").restarts.unwrap().in_window, 0);
    assert_eq!(pair.actions(), []);
    assert_eq!(pair.b.ask(Say::Ping).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_what_waits_and_a_late_one_says_what_it_lost() {
    let pair = Pair::start(Policy::default(), supervision()).await;
    pair.a.send(Say::Work(Duration::from_secs(2))).unwrap();
    let waits = pair.a.ask(Say::Ping);
    let order = pair.tell(A, Order::Restart { drain_ms: Some(10_000) });
    let (answer, said) = tokio::join!(waits, order);
    assert_eq!((answer, said.unwrap().as_str()), (Ok(1), "drained; incarnation 2 runs"));

    pair.a.send(Say::Work(Duration::from_secs(60))).unwrap();
    pair.a.send(Say::Work(Duration::from_secs(60))).unwrap();
    let said = pair.tell(A, Order::Drain { within_ms: 5_000 }).await.unwrap();
    assert!(said.starts_with("its time was over: killed with 2 of its messages unhandled"), "{said}");
    assert_eq!(pair.view(A).state, NodeState::Stopped);
    a_second().await;
    assert!(pair.a.ask(Say::Ping).await.is_err(), "it stays down");
    pair.tell(A, Order::Release).await.unwrap();
    assert_eq!(pair.a.ask(Say::Ping).await, Ok(1));
    assert_eq!(pair.actions(), [], "none of it was a failure");
}

#[tokio::test(start_paused = true)]
async fn a_paused_actor_holds_back_its_work_in_order_and_is_still_seen() {
    let pair = Pair::start(Policy::default(), supervision()).await;
    assert_eq!(pair.tell("/empire/pair", Order::Pause).await.unwrap(), "2 actors paused");
    let (first, second) = (pair.a.ask(Say::Ping), pair.a.ask(Say::Ping));
    let resumed = async {
        a_second().await;
        let view = pair.view(A);
        assert_eq!((view.state, view.healthy, view.pulse.unwrap().waiting), (NodeState::Paused, false, 2));
        assert_eq!(pair.root.tree().observe(A).await.unwrap(), Some(0.into()));
        pair.tell("/empire/pair", Order::Resume).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(first, second, resumed);
    assert_eq!((first, second), (Ok(1), Ok(2)));
    assert!(pair.view(A).healthy);
}

#[tokio::test(start_paused = true)]
async fn what_failed_too_often_ends_as_its_policy_says_and_can_be_released() {
    for (on_exhausted, state) in [
        (OnExhausted::Quarantine, NodeState::Quarantined),
        (OnExhausted::PauseAndAlert, NodeState::Exhausted),
    ] {
        let patch =
            PolicyPatch { on_exhausted: Some(on_exhausted), intensity: Some(2), ..PolicyPatch::default() };
        let policies =
            Policies::new(vec![("/empire/pair*".into(), patch), ("/empire/pair/*".into(), patch)], vec![], 0);
        let supervision = Supervision { policies: Arc::new(policies), ..supervision() };
        let pair = Pair::start(Policy::default(), supervision).await;
        for _ in 0..3 {
            pair.a.send(Say::Fail).unwrap();
            a_second().await;
        }
        assert_eq!(pair.view(A).state, state);
        assert_eq!(pair.b.ask(Say::Ping).await, Ok(1), "the other one goes on");
        let restarts = pair.view("/empire/pair").restarts.unwrap();
        assert_eq!((restarts.in_window, restarts.limit), (2, 2));
        match on_exhausted {
            OnExhausted::Quarantine => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                assert_eq!(pair.view(A).state, state);
                pair.tell(A, Order::Release).await.unwrap();
            }
            _ => tokio::time::sleep(Duration::from_secs(60)).await,
        }
        assert_eq!(pair.a.ask(Say::Ping).await, Ok(1));
        let explained = pair.root.tree().supervision().journal.latest(A, 100);
        let words: Vec<String> = explained.iter().map(|entry| entry.event.to_string()).collect();
        assert!(
            words.iter().any(|said| said.starts_with("3rd failure in 60 s, limit 2 (boom): ")),
            "{words:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_changed_live_holds_from_the_next_failure_until_it_expires() {
    let clock = Arc::new(TokioClock::new(Arc::default()));
    let supervision = Supervision::new(clock.clone(), Arc::new(Wobble::default()));
    let policies = supervision.policies.clone();
    let pair = Pair::start(Policy::default(), supervision).await;
    let patch = PolicyPatch { on_exhausted: Some(OnExhausted::Quarantine), ..PolicyPatch::default() };
    let strict = PolicyPatch { intensity: Some(0), ..PolicyPatch::default() };
    let ends = UnixMillis(clock.now().0 + 60_000);
    for (path, patch, version) in [("/empire/pair", strict, 1), (A, patch, 2)] {
        policies.say(Override {
            path: path.into(),
            patch,
            version,
            by: "owner".into(),
            reason: "a drill".into(),
            at: clock.now(),
            expires_at: Some(ends),
        });
    }
    pair.a.send(Say::Fail).unwrap();
    a_second().await;
    assert_eq!(pair.view(A).state, NodeState::Quarantined);
    assert_eq!(pair.actions(), [Action::Quarantine]);
    let (effective, _) = pair.root.tree().policy(A).unwrap();
    assert!(effective.version == 2 && matches!(effective.source, Source::Override { .. }));
    pair.tell(A, Order::Release).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    pair.a.send(Say::Fail).unwrap();
    a_second().await;
    assert_eq!(pair.view(A).state, NodeState::Running, "the policy of before is back");
    assert_eq!(pair.root.tree().policy(A).unwrap().0.source, Source::Default);
}

#[tokio::test(start_paused = true)]
async fn who_makes_no_progress_is_killed_as_a_failure() {
    let pair = Pair::start(Policy::default(), supervision()).await;
    pair.a.send(Say::Work(Duration::from_secs(1_000_000))).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!pair.view(A).healthy, "it is slow already");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(pair.a.ask(Say::Ping).await, Ok(1));
    let last = pair.view(A).last_exit.unwrap();
    assert!(matches!(last.exit, ChildExit::Stuck(_)), "{last:?}");
    assert_eq!(pair.view("/empire/pair").restarts.unwrap().in_window, 1);
}

#[tokio::test(start_paused = true)]
async fn a_kill_does_not_count_and_a_drill_does() {
    let pair = Pair::start(Policy::default(), supervision()).await;
    for (order, counted) in [(Order::Kill, 0), (Order::Crash, 1)] {
        pair.tell(A, order).await.unwrap();
        a_second().await;
        assert_eq!(pair.view("/empire/pair").restarts.unwrap().in_window, counted);
        assert_eq!(pair.a.ask(Say::Ping).await, Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused_in_words_and_noted() {
    let pair = Pair::start(Policy::default(), supervision()).await;
    for (path, order, part) in [
        ("/empire/pair/c", Order::Kill, "there is no /empire/pair/c"),
        ("/empirepair", Order::Kill, "there is no"),
        ("/empire", Order::Kill, "this is the root"),
        ("/empire/pair", Order::Drain { within_ms: 1 }, "a supervisor has nothing to drain"),
        (A, Order::Release, "nothing to release"),
        (A, Order::Scale { to: 3 }, "nothing that could be scaled"),
    ] {
        let refused = pair.tell(path, order).await.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    let noted = pair.root.tree().supervision().journal.latest(A, 10);
    assert!(noted.iter().all(|entry| entry.event.to_string().contains("owner said")), "{noted:?}");
    assert_eq!(noted.len(), 2);
}

/// Every order, at random, among failures: what the tree says stays true.
#[tokio::test(start_paused = true)]
async fn the_tree_stays_true_whatever_it_is_told() {
    let rng = &mut fastrand_like(7);
    let base = supervision();
    let patch = PolicyPatch { intensity: Some(10_000), ..PolicyPatch::default() };
    let policies = Arc::new(Policies::new(vec![("/empire/*".into(), patch)], vec![], 0));
    let supervision = Supervision { policies, journal: Arc::new(Journal::new(None)), ..base };
    let pair = Pair::start(Policy::default().with_strategy(Strategy::RestForOne), supervision).await;
    for _ in 0..1_000 {
        let path = [A, B][rng() % 2];
        let order = match rng() % 10 {
            0 => Order::Restart { drain_ms: None },
            1 => Order::Restart { drain_ms: Some((rng() % 50) as u64) },
            2 => Order::Drain { within_ms: (rng() % 50) as u64 },
            3 => Order::Quarantine,
            4 | 5 => Order::Release,
            6 => Order::Kill,
            7 => Order::Crash,
            8 => Order::Pause,
            _ => Order::Resume,
        };
        if rng().is_multiple_of(3) {
            let _ = pair
                .a
                .send([Say::Fail, Say::Work(Duration::from_millis(30))].into_iter().nth(rng() % 2).unwrap());
        }
        let _ = pair.tell(path, order).await;
        tokio::time::sleep(Duration::from_millis((rng() % 20) as u64)).await;
    }
    pair.tell("/empire/pair", Order::Resume).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (path, address) in [(A, &pair.a), (B, &pair.b)] {
        let _ = pair.tell(path, Order::Release).await;
        a_second().await;
        assert_eq!(pair.view(path).state, NodeState::Running, "{:?}", pair.view(path));
        assert!(address.ask(Say::Ping).await.is_ok());
    }
    assert_eq!(pair.root.stop().await.killed, Vec::<String>::new());
}

/// A small generator: the same numbers for the same seed.
fn fastrand_like(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) as usize
    }
}
