//! Any actor of the tree dies at any moment, under load, by seed: the tree heals, and no promise
//! is broken.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use empire_actors::house::{House, HouseParts};
use empire_actors::kernel::journal::{Event, Journal};
use empire_actors::kernel::policies::{Policies, PolicyPatch};
use empire_actors::kernel::policy::{Action, ChildExit};
use empire_actors::kernel::tree::{NodeState, Order, Supervision, Tree};
use empire_actors::level::Zone;
use empire_actors::money::{Micros, Price};
use empire_actors::ports::Part;

/// A small generator: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    /// From 0 up to but not including `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize % sides
    }
}

/// However often they die, all are restarted.
fn patient() -> Supervision {
    let patch = PolicyPatch {
        intensity: Some(10_000),
        backoff_max: Some(Duration::from_millis(100)),
        ..PolicyPatch::default()
    };
    let everywhere = ["/empire", "/empire/*", "/empire/*/*"].map(|path| (path.to_owned(), patch));
    let policies = Arc::new(Policies::new(everywhere.into(), Vec::new(), 0));
    Supervision { policies, journal: Arc::new(Journal::new(None)), ..supervision() }
}

/// Everything that can be killed: every node below the root, and the cohorts.
fn victims(tree: &Tree) -> Vec<String> {
    let nodes = tree.nodes().into_iter().skip(1);
    let mut victims: Vec<String> = nodes.map(|node| node.path).collect();
    let jobs: Vec<String> = victims.iter().filter(|path| path.contains("/job-")).cloned().collect();
    for job in jobs {
        victims.extend((0..2).map(|cohort| format!("{job}/cohort-{cohort}")));
    }
    victims
}

/// Kills as long as the job runs. Gives the kills by path.
async fn kill_at_random(tree: &Tree, dice: &mut Dice, most: usize) -> BTreeMap<String, u32> {
    let mut kills = BTreeMap::new();
    while kills.values().sum::<u32>() < u32::try_from(most).unwrap() {
        let all = victims(tree);
        let victim = &all[dice.roll(all.len())];
        // A cohort that crashes again and again is given up, as its policy says: here it is restarted.
        let order = if victim.contains("cohort-") { Order::Kill } else { Order::Crash };
        if tree.order(victim, order, "the test", "a drill").await.is_ok() {
            *kills.entry(victim.clone()).or_default() += 1;
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(120) as u64)).await;
    }
    kills
}

async fn heals(seed: u64) -> usize {
    let dice = &mut Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bench = Bench::new(items(1_500))
        .route(
            spec("local", Zone::Local, 4),
            Some(Price::FREE),
            FakeProvider::new(Duration::from_millis(40), |_, request| Reaction::Answer(good_answer(request))),
        )
        .route(spec("cloud", Zone::Cloud, 4), paid(), FakeProvider::good())
        .cap(Micros(40_000));
    let mut kills = 0;
    for round in 0.. {
        assert!(round < 50, "seed {seed}: it gets on");
        bench.resume();
        if bench.order.pending == 0 {
            break;
        }
        let parts = HouseParts { supervision: patient(), ..bench.house_parts() };
        let house = House::start(parts).await.unwrap();
        let job =
            empire_actors::swarm::Swarm::start(&house, bench.job_parts(), bench.order.clone()).await.unwrap();
        let mut swarm = Swarm { job, house };
        let tree = swarm.house.tree();
        let killing = kill_at_random(&tree, dice, 200);
        let killed = tokio::select! {
            killed = killing => killed,
            _ = swarm.job.ended() => BTreeMap::new(),
        };
        // It heals: within a minute all that is not done for runs.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ill: Vec<_> = tree
            .nodes()
            .into_iter()
            // A job that is done for has stopped.
            .filter(|node| node.state != NodeState::Stopped || !node.path.contains("/job-"))
            .filter(|node| !node.healthy)
            .collect();
        assert!(ill.is_empty(), "seed {seed}: {ill:?}");
        agree(&tree, &killed);
        kills += killed.values().sum::<u32>() as usize;
        bench.finish(swarm).await;
    }
    bench.assert_all_done();
    assert_eq!(bench.results.all(Part::Item).len(), 1_500, "seed {seed}");
    kills
}

/// What the journal says is what was done: an exit for every kill that hit, a start for each
/// restart, and nobody ended without being killed.
fn agree(tree: &Tree, killed: &BTreeMap<String, u32>) {
    let entries = tree.supervision().journal.latest("", 10_000);
    for entry in &entries {
        if let Event::Exit(decision) = &entry.event {
            assert!(
                matches!(&decision.exit, ChildExit::Failed(why) if why.contains("a drill"))
                    || decision.exit == ChildExit::Normal,
                "{entry:?}"
            );
            assert!(matches!(decision.action, Action::Restart { .. } | Action::LetGo), "{entry:?}");
        }
    }
    for node in tree.nodes().into_iter().skip(1) {
        let starts = entries
            .iter()
            .filter(|entry| entry.path == node.path && matches!(entry.event, Event::Started { .. }));
        if killed.contains_key(&node.path) && node.state == NodeState::Running && entries.len() < 1_000 {
            assert!(starts.count() > 0, "{} was killed and never started again", node.path);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_tree_heals_whoever_dies_and_no_promise_is_broken() {
    let mut kills = 0;
    for seed in 1.. {
        kills += heals(seed).await;
        if kills >= 1_000 {
            break;
        }
    }
}
