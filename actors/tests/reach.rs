//! Whom a change of the tree reaches. The clock is paused.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Bench, FakeProvider, items, paid, spec};
use empire_actors::house::nodes::{Standing, always, standing};
use empire_actors::kernel::sight::Users;
use empire_actors::level::Zone;
use empire_actors::swarm::Swarm;

/// One job calls kimi alone; the other claude, and kimi where claude fails.
#[tokio::test(start_paused = true)]
async fn a_lane_s_users_are_the_agents_of_jobs_that_can_call_its_provider() {
    let bench = Bench::new(items(100))
        .route(spec("kimi", Zone::Cloud, 4), paid(), FakeProvider::good())
        .route(spec("claude", Zone::Cloud, 3), paid(), FakeProvider::good())
        .route(spec("ollama", Zone::Local, 2), None, FakeProvider::good());
    let mut first = bench.order.clone();
    first.route.truncate(1);
    let mut second = bench.order.clone();
    second.id = "second".into();
    second.route.truncate(2);
    second.route.swap(0, 1);
    let swarm = bench.house_parts();
    let house = empire_actors::house::House::start(swarm).await.unwrap();
    let mut jobs = Vec::new();
    for order in [first, second] {
        jobs.push(Swarm::start(&house, bench.job_parts(), order).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let tree = house.tree();
    let everybody = tree.reach("/empire/swarm").users;
    assert_eq!(everybody, Users { agents: 200, calls_in_flight: 7 });
    assert_eq!(tree.users(&["kimi"]), Users { agents: 200, calls_in_flight: 4 });
    assert_eq!(tree.users(&["claude"]), Users { agents: 100, calls_in_flight: 3 });
    assert_eq!(tree.users(&["kimi", "claude"]), everybody);
    assert_eq!(tree.users(&["ollama"]), Users::default());
    // What is known without a tree is what the tree is made of.
    let nodes = tree.nodes();
    for node in &nodes {
        let (_, policy) = tree.policy(&node.path).unwrap();
        assert_eq!(standing(&node.path), Some(Standing { kind: node.kind, policy }), "{}", node.path);
    }
    let mut paths: Vec<String> = nodes.into_iter().map(|node| node.path).collect();
    paths.retain(|path| !path.contains("/job-"));
    paths.sort();
    assert_eq!(paths, always(bench.providers.iter().map(|(spec, _)| &spec.id), 2));
    drop(jobs);
    house.stop().await;
}
