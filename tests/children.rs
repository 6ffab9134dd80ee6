//! A tree of a thousand allowances in front of one vendor: what the children are billed together
//! stays within their parent's cap and uses it up, in one process and in eight that are killed.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;
#[path = "common/passage.rs"]
mod passage;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Sim, World, micros, wait_for};
use empire::config::Config;
use empire::home::{Home, HomeError};
use empire::store::Store;
use empire_actors::gates::budget::{BudgetRefusal, Cap, Terms, least_tokens};
use empire_actors::gates::children::Allowance;
use empire_actors::gates::scope::Scope;
use empire_actors::kernel::supervisor::Root;
use empire_actors::model::Limits;
use empire_actors::money::Micros;
use futures_util::future::join_all;
use passage::{NoRecords, Passage};
use serde_json::Value;
use tokio::task::JoinSet;

const JOB: &str = "tree";
const CHILDREN: u32 = 1_000;
/// Each at once.
const CALLS_OF_EACH: u32 = 10;
/// Output tokens that a call asks for; answers take a part of them.
const TOKENS: u32 = 100;
/// What goes in is paid for, too.
const PRICE: &str = "[models.\"kimi-k2.6\"]\n\
    price = {input = \"10\", cached_input = \"10\", cache_write = \"10\", output = \"1000\"}\n";

fn scenario(latency: u32) -> String {
    format!("name: tree\nkimi: {{latency: {{fixed: {latency}}}, output_tokens: {{from: 20, to: 90}}}}")
}

/// The tree, and what its calls came to.
#[derive(Clone)]
struct Tree {
    passage: Passage,
    cap: Micros,
    /// Calls that asked for money.
    asked: Arc<AtomicU64>,
    /// What the vendor counted for those that were answered.
    billed: Arc<AtomicU64>,
}

impl Tree {
    /// Its job's cap is worth twenty calls at their worst.
    async fn start(store: &Store, config: &Config, slots: u32) -> (Tree, Root) {
        let job = Scope::Job(JOB.into());
        let (passage, root) =
            Passage::start(store, config, Limits::slots(slots), None, Arc::new(NoRecords)).await;
        let tree =
            Tree { cap: worth_of(&passage, 20), passage, asked: Arc::default(), billed: Arc::default() };
        tree.passage.budget.enroll(JOB.into(), Terms { clamp: true, ..Terms::default() });
        tree.passage.budget.set_cap(Cap { scope: job, cap: Some(tree.cap) }).unwrap();
        (tree, root)
    }

    /// All children at once. What one of them trips over fails the test.
    async fn grow(&self) {
        let mut children = JoinSet::new();
        for number in 0..CHILDREN {
            let tree = self.clone();
            children.spawn(async move { tree.child(number).await });
        }
        while let Some(ended) = children.join_next().await {
            ended.unwrap();
        }
    }

    /// Ten calls at once: half of them from an allowance within the child's, every other time.
    async fn child(&self, number: u32) {
        let (budget, name) = (&self.passage.budget, format!("child-{number:04}"));
        let (one, two) = (worth_of(&self.passage, 1), worth_of(&self.passage, 2));
        let least = self.passage.model.price.unwrap().bound(0, least_tokens(TOKENS).into());
        let own = is_short(budget.open_allowance(&JOB.into(), &name, two, least).await);
        let inner = match &own {
            Some(own) if number.is_multiple_of(2) => is_short(own.open_allowance("inner", one, least).await),
            _ => None,
        };
        let half = CALLS_OF_EACH / 2;
        let inner_half = async {
            // Closed when its calls have ended: what is left goes back to the child.
            let inner = inner;
            let payer = inner.as_ref().or(own.as_ref());
            join_all((0..half).map(|call| self.call(payer, number, call))).await;
        };
        let own_half = join_all((half..CALLS_OF_EACH).map(|call| self.call(own.as_ref(), number, call)));
        tokio::join!(inner_half, own_half);
        if let Some(own) = &own {
            let account = own.account();
            assert!(account.spent <= account.cap.unwrap(), "{account:?}");
        }
    }

    /// Paid by an allowance; whoever got none asks the job itself.
    async fn call(&self, payer: Option<&Allowance>, child: u32, call: u32) {
        let passage = &self.passage;
        let screened = passage.screened(passage.request(JOB, child, prompt(child, call), TOKENS)).await;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let funded = match payer {
            Some(allowance) => allowance.fund(screened).await,
            None => passage.budget.fund(screened).await,
        };
        let Some(funded) = is_short(funded) else { return };
        let account = passage.budget.account(&Scope::Job(JOB.into()));
        assert!(account.spent + account.reserved <= self.cap, "{account:?}");
        let (outcome, bill) = passage.send(funded).await;
        outcome.unwrap();
        self.billed.fetch_add(bill.billed.0, Ordering::Relaxed);
    }
}

/// Being short of money is the only refusal that there may be.
fn is_short<T>(answer: Result<T, BudgetRefusal>) -> Option<T> {
    match answer {
        Ok(granted) => Some(granted),
        Err(BudgetRefusal::Short(_)) => None,
        Err(other) => panic!("{other}"),
    }
}

/// All of one length, so that the worst case of each is the same.
fn prompt(child: u32, call: u32) -> String {
    format!("say hello to child {child:04} for the {call}th time")
}

fn worth_of(passage: &Passage, calls: u64) -> Micros {
    let input = passage.request(JOB, 0, prompt(0, 0), TOKENS).input_token_bound();
    Micros(passage.model.price.unwrap().bound(input, TOKENS.into()).0 * calls)
}

fn is_used_up(spent: u64, cap: Micros) {
    assert!(spent <= cap.0, "the cap was passed: {spent} of {cap}");
    assert!(spent >= cap.0 / 100 * 95, "the last of it was of no use: {spent} of {cap}");
}

fn config_of(home: &Path, file: &Path, url: &str) -> Config {
    Config::load(home, Some(file), &|_| None).unwrap().simulated(url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_children_of_ten_calls_at_once_use_a_cap_worth_twenty_up_and_no_cent_more() {
    let world = World::new(PRICE);
    let sim = Sim::start(&world, &scenario(10));
    let config = config_of(&world.path("home"), &world.path("config.toml"), &sim.url);
    let store = passage::open(&world.path("home")).await.unwrap();
    let (tree, root) = Tree::start(&store, &config, 500).await;
    tree.grow().await;

    assert_eq!(tree.asked.load(Ordering::Relaxed), u64::from(CHILDREN * CALLS_OF_EACH));
    let (billed, cap) = (sim.billed("kimi"), tree.cap);
    println!("{} calls, {billed} billed of {cap}", sim.received("kimi"));
    is_used_up(billed, cap);
    assert_eq!(tree.billed.load(Ordering::Relaxed), billed);
    let account = tree.passage.budget.account(&Scope::Job(JOB.into()));
    assert_eq!((account.spent, account.reserved), (Micros(billed), Micros::ZERO));
    root.stop().await;
    assert_eq!(store.ledger_sum(JOB).await.unwrap(), Micros(billed));
    assert_eq!(store.unknown_total(JOB).await.unwrap().calls, 0);
    store.close().await.unwrap();
}

// --- Eight processes that are killed -------------------------------------------------------------

const HOME: &str = "EMPIRE_TEST_HOME";
const CONFIG: &str = "EMPIRE_TEST_CONFIG";
const URL: &str = "EMPIRE_TEST_URL";
const PROCESSES: usize = 8;
const ROUNDS: usize = 5;
/// Few, so that what a kill makes unknown does not use the cap up by itself.
const SLOTS: u32 = 2;

/// One of the processes of the next test: waits for the data folder, grows the tree, ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "how the next test talks to its processes")]
async fn one_of_eight_processes() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else { return };
    let (file, url) = (std::env::var_os(CONFIG).unwrap(), std::env::var(URL).unwrap());
    let config = config_of(&home, Path::new(&file), &url);
    let store = loop {
        match passage::open(&home).await {
            Ok(store) => break store,
            Err(HomeError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let (tree, root) = Tree::start(&store, &config, SLOTS).await;
    tree.grow().await;
    root.stop().await;
    store.close().await.unwrap();
}

struct Processes<'a> {
    world: &'a World,
    sim: &'a Sim,
    all: Vec<Child>,
}

impl Processes<'_> {
    fn start_missing(&mut self) {
        while self.all.len() < PROCESSES {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "one_of_eight_processes", "--nocapture"]);
            command.env(HOME, self.world.path("home")).env(CONFIG, self.world.path("config.toml"));
            command.env(URL, &self.sim.url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.all.push(command.spawn().unwrap());
        }
    }

    fn kill(&mut self, index: usize) {
        let mut child = self.all.swap_remove(index);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether one has ended by itself: the cap is used up.
    fn one_has_ended(&mut self) -> bool {
        self.all.iter_mut().any(|child| child.try_wait().unwrap().is_some())
    }

    /// Whoever has the data folder now.
    fn holder(&self, home: &Home) -> Option<usize> {
        let id = home.locked_by().unwrap()?;
        self.all.iter().position(|child| child.id() == id)
    }
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        while let Some(mut child) = self.all.pop() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the ledger has on the disk, set aside or spent, whoever works on it now.
fn in_ledger(world: &World) -> u64 {
    let shown: Value = world.run(&["budget", "show", "--json"]).exits(0).json();
    let scopes = shown["scopes"].as_array().unwrap();
    let total = scopes.iter().find(|line| line["scope"] == "total").unwrap();
    micros(&total["spent_micros"]) + micros(&total["reserved_micros"])
}

#[tokio::test]
async fn eight_processes_killed_at_random_grow_one_tree_within_its_cap_and_use_it_up() {
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let world = World::new(PRICE);
    let sim = Sim::start(&world, &scenario(60));
    let home = Home::resolve(Some(world.path("home")), |_| None).unwrap();
    let config = config_of(&world.path("home"), &world.path("config.toml"), &sim.url);
    // The data folder is made before anybody looks into it.
    let store = passage::open(home.dir()).await.unwrap();
    let (tree, root) = Tree::start(&store, &config, SLOTS).await;
    let cap = tree.cap;
    root.stop().await;
    drop(tree);
    store.close().await.unwrap();

    let mut processes = Processes { world: &world, sim: &sim, all: Vec::new() };
    let mut killed_at_work = 0;
    for _ in 0..ROUNDS {
        processes.start_missing();
        let moment = sim.received("kimi") + random.u64(1..4);
        wait_for("some calls", || {
            (processes.one_has_ended() || sim.received("kimi") >= moment).then_some(())
        });
        // Any of them, then the one that works, whichever it is by now.
        for _ in 0..random.usize(0..4) {
            let any = random.usize(0..processes.all.len());
            killed_at_work += u64::from(processes.holder(&home) == Some(any));
            processes.kill(any);
        }
        if let Some(holder) = processes.holder(&home) {
            processes.kill(holder);
            killed_at_work += 1;
        }
        let in_ledger = in_ledger(&world);
        println!("{} calls so far, {in_ledger} in the ledger", sim.received("kimi"));
        assert!(in_ledger <= cap.0 && sim.billed("kimi") <= cap.0, "{in_ledger} of {cap}");
    }
    processes.start_missing();
    while let Some(mut child) = processes.all.pop() {
        let ended = wait_for("the end of all", || child.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }

    wait_for("the end of every call", || (sim.provider("kimi")["in_flight"] == 0).then_some(()));
    let store = passage::open(home.dir()).await.unwrap();
    let (spent, unknown) = (store.ledger_sum(JOB).await.unwrap().0, store.unknown_total(JOB).await.unwrap());
    let (billed, calls) = (sim.billed("kimi"), sim.provider("kimi")["billed"]["calls"].as_u64().unwrap());
    println!("{calls} calls, {billed} billed, {spent} of {cap} spent, {unknown:?}");
    is_used_up(spent, cap);
    assert!(billed <= spent, "the ledger lost {}", billed - spent);
    // All but the calls that a kill met is settled to the cent.
    let settled = store.spend_by_provider(JOB).await.unwrap().iter().map(|one| one.calls).sum::<u64>();
    assert!(spent - unknown.billed.0 <= billed, "{} is too much", spent - unknown.billed.0 - billed);
    assert!((settled - unknown.calls..=settled).contains(&calls), "{calls} of {settled}");
    assert!(unknown.calls <= u64::from(SLOTS) * killed_at_work, "{unknown:?} of {killed_at_work} kills");
    assert!(killed_at_work > 1, "too few kills met one at work");
    store.close().await.unwrap();
}
