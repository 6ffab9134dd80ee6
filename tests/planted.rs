//! One value of every rule and class, in every spelling, through a real run: no body that a cloud
//! vendor received holds it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may say what it did not expect by panicking"
)]

mod common;
#[path = "privacy_rates/planted.rs"]
mod planted;
#[path = "privacy_rates/spelled.rs"]
#[allow(dead_code, reason = "the table has columns, this has none")]
mod spelled;

use std::collections::HashMap;

use common::{Sim, World};
use empire::privacy::rules;
use serde_json::{Value, json};

/// Nothing else holds these calls up.
const CONFIG: &str = "[providers.kimi]\nconcurrency = 100\nrequests_per_minute = 100000\n";

const JOB: &str = "name: planted\nprivacy: P1\ninput: rows.jsonl\nprompt: \"Case {{ case }}: {{ text }}\"\n\
    max_tokens: 50\nroute: [kimi, ollama]\nfailure_rule: off\nbudget: 10\ncache: off\n";

/// All the text that a vendor was told.
fn told(body: &Value) -> String {
    match body {
        Value::String(text) => format!("{text}\n"),
        Value::Array(parts) => parts.iter().map(told).collect(),
        Value::Object(fields) => fields.values().map(told).collect(),
        _ => String::new(),
    }
}

#[test]
fn nothing_planted_is_in_a_body_that_a_cloud_received() {
    let world = World::new(CONFIG);
    let sim = Sim::start(&world, "name: kept\nkeep_bodies: 10000");
    let planted = planted::all(&rules::load(&rules::Look::default()).unwrap(), 0);
    // As it is, and escaped, encoded, hidden or split in one way each, every way in turn.
    let others = &spelled::ALL[1..];
    let (mut rows, mut cases) = (String::new(), Vec::new());
    for (number, value) in planted.iter().enumerate() {
        for way in [&spelled::ALL[0], &others[number % others.len()]] {
            let frame = spelled::FRAMES[cases.len() % spelled::FRAMES.len()];
            // A short value is not split.
            let Some((text, spelled)) = way.plant(value, frame) else { continue };
            rows.push_str(&format!("{}\n", json!({"case": cases.len(), "text": text})));
            cases.push((format!("{}, {}: {text}", value.class, way.name), spelled));
        }
    }
    assert!(cases.len() >= 1_000, "{}", cases.len());
    world.write("rows.jsonl", &rows);
    let job = world.write("job.yaml", JOB).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(0);

    let mut asked: HashMap<usize, String> = HashMap::new();
    for body in sim.bodies("kimi") {
        let told = told(&body);
        let case = told.split_once("Case ").and_then(|(_, rest)| rest.split_once(':')).expect("a case");
        asked.entry(case.0.parse().unwrap()).or_default().push_str(&told);
    }
    // What is wholly refused goes to the local model.
    assert!(asked.len() * 10 > cases.len() * 9, "{} of {} were sent at all", asked.len(), cases.len());
    let left: Vec<&String> = cases
        .iter()
        .enumerate()
        .filter(|(case, (_, spelled))| asked.get(case).is_some_and(|told| spelled::remains(told, spelled)))
        .map(|(_, (what, _))| what)
        .collect();
    assert!(left.is_empty(), "{} of {} left: {left:#?}", left.len(), cases.len());
}
