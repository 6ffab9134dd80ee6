//! Supervision and groups as their users see them.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::supervision;
use empire_actors::kernel::control::{Address, Control, Failure};
use empire_actors::kernel::group::{self, Flow, Group, GroupExit};
use empire_actors::kernel::journal::{Entry, Event};
use empire_actors::kernel::policy::{Action, Policy, Restart, Strategy};
use empire_actors::kernel::supervisor::{ChildSpec, Root};
use empire_actors::kernel::tree::NodeState;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

type Diary = Arc<Mutex<Vec<String>>>;

enum Say {
    Ping(oneshot::Sender<u32>),
    Fail,
    Panic,
    Hang,
}

/// Notes when it starts and when it is gone.
struct Worker {
    name: &'static str,
    diary: Diary,
    pings: u32,
}

impl Control for Worker {
    type Message = Say;
    type Observed = u32;

    async fn handle(&mut self, message: Say) -> Result<(), Failure> {
        match message {
            Say::Ping(reply) => {
                self.pings += 1;
                let _ = reply.send(self.pings);
            }
            Say::Fail => return Err(Failure("as asked".into())),
            Say::Panic => panic!("as asked"),
            Say::Hang => std::future::pending().await,
        }
        Ok(())
    }

    fn observe(&self) -> u32 {
        self.pings
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.diary.lock().push(format!("-{}", self.name));
    }
}

struct Tree {
    diary: Diary,
    addresses: Vec<Address<Say>>,
    /// Starts that fail from now on, by child.
    bad_starts: Arc<Vec<AtomicUsize>>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Tree {
    fn new() -> Tree {
        Tree {
            diary: Diary::default(),
            addresses: NAMES.map(Address::new).to_vec(),
            bad_starts: Arc::new(NAMES.map(|_| AtomicUsize::new(0)).into()),
        }
    }

    fn children(&self) -> Vec<ChildSpec> {
        let child = |(n, address): (usize, &Address<Say>)| {
            let (diary, bad_starts) = (self.diary.clone(), self.bad_starts.clone());
            ChildSpec::actor(NAMES[n], address, move || {
                let (diary, bad_starts) = (diary.clone(), bad_starts.clone());
                Box::pin(async move {
                    let bad = &bad_starts[n];
                    if bad.load(Ordering::Relaxed) > 0 {
                        bad.fetch_sub(1, Ordering::Relaxed);
                        return Err(Failure("not yet".into()));
                    }
                    diary.lock().push(format!("+{}", NAMES[n]));
                    Ok(Worker { name: NAMES[n], diary, pings: 0 })
                })
            })
        };
        self.addresses.iter().enumerate().map(child).collect()
    }

    async fn start(&self, strategy: Strategy) -> Root {
        let policy = Policy::default().with_strategy(strategy);
        Root::start(policy, self.children(), supervision()).await.unwrap()
    }

    fn diary(&self) -> Vec<String> {
        std::mem::take(&mut self.diary.lock())
    }

    async fn ping(&self, child: usize) -> Result<u32, empire_actors::kernel::control::Down> {
        self.addresses[child].ask(Say::Ping).await
    }
}

/// What ended and what was done about it, as the journal has it.
fn exits(root: &Root) -> Vec<(String, Action)> {
    let entries = root.tree().supervision().journal.latest("", 100);
    let exit = |entry: &Arc<Entry>| match &entry.event {
        Event::Exit(decision) => Some((entry.path.clone(), decision.action.clone())),
        _ => None,
    };
    entries.iter().filter_map(exit).collect()
}

async fn a_second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn starts_in_order_and_stops_in_reverse() {
    let tree = Tree::new();
    let root = tree.start(Strategy::OneForOne).await;
    assert_eq!(tree.ping(1).await, Ok(1));
    assert_eq!(tree.diary(), ["+a", "+b", "+c"]);
    let report = root.stop().await;
    assert_eq!(report.stopped, ["c", "b", "a"]);
    assert_eq!(report.killed, Vec::<String>::new());
    assert_eq!(tree.diary(), ["-c", "-b", "-a"]);
    assert!(tree.ping(1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_crash_restarts_who_the_strategy_says_in_order() {
    for (strategy, expected) in [
        (Strategy::OneForOne, vec!["-b", "+b"]),
        (Strategy::RestForOne, vec!["-b", "-c", "+b", "+c"]),
        (Strategy::OneForAll, vec!["-b", "-c", "-a", "+a", "+b", "+c"]),
    ] {
        for poison in [Say::Fail, Say::Panic] {
            let tree = Tree::new();
            let root = tree.start(strategy).await;
            tree.diary();
            tree.addresses[1].send(poison).unwrap();
            // What waits behind the poison is answered with `Down`, not lost in silence.
            assert!(tree.ping(1).await.is_err());
            a_second().await;
            assert_eq!(tree.diary(), expected, "{strategy:?}");
            assert_eq!(tree.ping(1).await, Ok(1), "a new incarnation, at the same address");
            let view = root.view();
            assert!(view.children.iter().all(|child| child.healthy));
            assert_eq!(view.restarts.unwrap().in_window, 1);
            let exits = exits(&root);
            assert_eq!(exits.len(), 1);
            assert_eq!(exits[0].0, "/empire/b");
            root.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_is_tried_again_after_a_longer_wait() {
    let tree = Tree::new();
    let root = tree.start(Strategy::RestForOne).await;
    tree.bad_starts[1].store(2, Ordering::Relaxed);
    tree.diary();
    tree.addresses[0].send(Say::Fail).unwrap();
    a_second().await;
    assert_eq!(tree.diary(), ["-a", "-c", "-b", "+a", "+b", "+c"]);
    assert_eq!(root.view().restarts.unwrap().in_window, 3);
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_crashes_end_the_supervisor_and_everybody_below() {
    let tree = Tree::new();
    let root = tree.start(Strategy::OneForOne).await;
    for _ in 0..6 {
        tree.addresses[2].send(Say::Fail).unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    root.failed().await;
    assert!((0..3).all(|child| tree.addresses[child].send(Say::Fail).is_err()));
    assert_eq!(root.stop().await.stopped, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn crashes_far_apart_do_not_add_up() {
    let tree = Tree::new();
    let root = tree.start(Strategy::OneForOne).await;
    for _ in 0..20 {
        tree.addresses[2].send(Say::Fail).unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(tree.ping(2).await, Ok(1));
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_gives_up_is_restarted_whole_by_its_own() {
    let tree = Arc::new(Tree::new());
    let below = tree.clone();
    let policy = Policy { intensity: 1, ..Policy::default() };
    let child = ChildSpec::supervisor("below", policy, move || below.children());
    let root = Root::start(Policy::default(), vec![child], supervision()).await.unwrap();
    tree.diary();
    for _ in 0..2 {
        tree.addresses[0].send(Say::Panic).unwrap();
        a_second().await;
    }
    assert_eq!(tree.diary(), ["-a", "+a", "-a", "-c", "-b", "+a", "+b", "+c"]);
    let view = root.view();
    assert_eq!(view.children[0].incarnation, 2);
    assert_eq!(view.children[0].children.len(), 3);
    let report = root.stop().await;
    assert_eq!(report.stopped, ["below/c", "below/b", "below/a", "below"]);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_stop_in_time_is_killed_and_named() {
    let tree = Tree::new();
    let mut children = tree.children();
    let stubborn =
        children.remove(1).with_policy(Policy { stop_within: Duration::from_secs(2), ..Policy::default() });
    children.insert(1, stubborn);
    let root = Root::start(Policy::default(), children, supervision()).await.unwrap();
    tree.addresses[1].send(Say::Hang).unwrap();
    a_second().await;
    let stopping = Instant::now();
    let report = root.stop().await;
    assert_eq!(report.stopped, ["c", "b", "a"]);
    assert_eq!(report.killed, ["b"]);
    assert!(stopping.elapsed() >= Duration::from_secs(2) && stopping.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_fails_stops_what_has_started_and_says_why() {
    let tree = Tree::new();
    tree.bad_starts[2].store(1, Ordering::Relaxed);
    let children = tree.children();
    let failed = Root::start(Policy::default(), children, supervision()).await.err().unwrap();
    assert!(
        failed.to_string().contains("c did not start") && failed.to_string().contains("not yet"),
        "{failed}"
    );
    a_second().await;
    assert_eq!(tree.diary(), ["+a", "+b", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_is_let_go() {
    let tree = Tree::new();
    let mut children = tree.children();
    children.truncate(1);
    let children = children
        .into_iter()
        .map(|child| child.with_policy(Policy { restart: Restart::Temporary, ..Policy::default() }))
        .collect();
    let root = Root::start(Policy::default(), children, supervision()).await.unwrap();
    tree.addresses[0].send(Say::Fail).unwrap();
    a_second().await;
    assert!(tree.ping(0).await.is_err());
    assert_eq!(root.view().children[0].state, NodeState::Stopped);
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn depth_shows_what_waits_and_does_not_drift_over_crashes() {
    let tree = Tree::new();
    let root = tree.start(Strategy::OneForOne).await;
    tree.addresses[0].send(Say::Panic).unwrap();
    for _ in 0..10 {
        let _ = tree.addresses[0].send(Say::Fail);
    }
    a_second().await;
    assert_eq!(tree.ping(0).await, Ok(1));
    assert_eq!(tree.addresses[0].depth(), 0);
    assert_eq!(tree.addresses[0].observe().await.unwrap(), 1);
    root.stop().await;
}

struct Echo;

enum EchoMessage {
    Panic,
    Hang,
    Stop,
}

impl Group for Echo {
    type Message = EchoMessage;

    async fn handle(&mut self, message: EchoMessage) -> Flow {
        match message {
            EchoMessage::Panic => panic!("as asked"),
            EchoMessage::Hang => std::future::pending().await,
            EchoMessage::Stop => Flow::Stop,
        }
    }
}

fn echo() -> (group::GroupHandle<Echo>, oneshot::Receiver<GroupExit>) {
    let (ended, end) = oneshot::channel();
    let handle = group::spawn(Echo, 2, |exit| {
        Box::pin(async {
            let _ = ended.send(exit);
        })
    });
    (handle, end)
}

#[tokio::test(start_paused = true)]
async fn a_group_says_how_it_ended() {
    let (handle, end) = echo();
    handle.address().send(EchoMessage::Stop).await.unwrap();
    assert_eq!(end.await, Ok(GroupExit::Stopped));
    assert!(handle.address().send(EchoMessage::Stop).await.is_err());

    let (handle, end) = echo();
    handle.address().send(EchoMessage::Panic).await.unwrap();
    assert!(matches!(end.await, Ok(GroupExit::Crashed(why)) if why.contains("as asked")));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_group_ends_in_the_middle_of_its_message_and_its_senders_hear_of_it() {
    let (handle, end) = echo();
    let address = handle.address();
    address.send(EchoMessage::Hang).await.unwrap();
    // The mailbox holds two more; the third sender waits.
    for _ in 0..2 {
        address.send(EchoMessage::Stop).await.unwrap();
    }
    let mut waiting = Box::pin(address.send(EchoMessage::Stop));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err());
    drop(handle);
    assert!(waiting.await.is_err());
    assert!(matches!(end.await, Ok(GroupExit::Crashed(_))));
}
