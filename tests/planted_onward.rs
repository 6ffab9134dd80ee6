//! What `planted.rs` does for single calls, for those that go on from there: repair turns, packs and
//! reduces, with split values too.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;
#[path = "privacy_rates/planted.rs"]
mod planted;
#[path = "privacy_rates/spelled.rs"]
#[allow(dead_code, reason = "the table has columns, this has none")]
mod spelled;

use std::collections::BTreeSet;

use common::{Sim, World, kimi_job};
use empire::privacy::rules;
use serde_json::{Value, json};

/// A row of the input, and how its value is spelled there.
struct Row {
    text: String,
    value: String,
    spelled: String,
    what: String,
}

/// Each value of a round in `ways` ways of writing, all of them over all values, each in another
/// kind of text.
fn rows(ways: usize, round: u64) -> Vec<Row> {
    let rules = rules::load(&rules::Look::default()).unwrap();
    let mut rows = Vec::new();
    for (number, planted) in planted::all(&rules, round).iter().enumerate() {
        for way in 0..ways {
            let frame = spelled::FRAMES[(number + way) % spelled::FRAMES.len()];
            let usual = &spelled::ALL[(number * ways + way) % spelled::ALL.len()];
            // Not every value can be written in every way, but each can be written as it is.
            let written = [usual, &spelled::ALL[0]];
            let (text, spelled) = written.iter().find_map(|way| way.plant(planted, frame)).unwrap();
            let what = format!("{} / {}, {}", planted.class, usual.group, usual.name);
            rows.push(Row { text, value: planted.value.clone(), spelled, what });
        }
    }
    rows
}

/// Every string in a body, as the vendor reads it.
fn strings(body: &Value, into: &mut String) {
    match body {
        Value::String(text) => into.extend([text, "\n"]),
        Value::Array(all) => all.iter().for_each(|one| strings(one, into)),
        Value::Object(all) => all.iter().for_each(|(key, value)| {
            into.extend([key, "\n"]);
            strings(value, into);
        }),
        _ => {}
    }
}

fn marker(number: usize) -> String {
    format!("[row {number}]")
}

/// Runs the rows as a job and gives what of them is left in bodies that clouds received.
fn left_in_bodies(rows: &[Row], name: &str, more: &str) -> Vec<String> {
    let world = World::new("");
    let scenario = "keep_bodies: 100000\nname: broken\nkimi: {latency: {fixed: 1}, schema_break_rate: 0.2}\n\
                    claude: {latency: {fixed: 1}}";
    let sim = Sim::start(&world, scenario);
    let lines: String = rows
        .iter()
        .enumerate()
        .map(|(number, row)| format!("{}\n", json!({"name": marker(number), "text": row.text})))
        .collect();
    world.write("rows.jsonl", &lines);
    let more = format!(
        "budget: 1000\nfailure_rule: off\nreduce: {{group: 20, prompt: \"Sum up {{{{ answers }}}}\"}}\n{more}"
    );
    let spec = kimi_job(name, "rows.jsonl", &more)
        .replace("Say what {{ name }} is.", "Sum up {{ name }}:\\n\\n{{ text }}")
        .replace("privacy: P0", "privacy: P1")
        .replace("[kimi]", "[kimi, claude]");
    let job = world.write("job.yaml", &spec).display().to_string();
    let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    assert!(matches!(ended.code(), Some(0 | 3 | 4)), "{}", ended.stderr);
    world.account(name);
    let mut left = Vec::new();
    let mut seen = BTreeSet::<usize>::new();
    for body in ["kimi", "claude"].iter().flat_map(|cloud| sim.bodies(cloud)) {
        let mut text = String::new();
        strings(&body, &mut text);
        for part in text.split("[row ").skip(1) {
            let Some(number) = part.split(']').next().and_then(|number| number.parse().ok()) else {
                continue;
            };
            let row: &Row = &rows[number];
            seen.insert(number);
            if spelled::remains(&text, &row.spelled) || spelled::remains(&text, &row.value) {
                left.push(format!("{}: {:?}", row.what, row.text));
            }
        }
    }
    println!("{name}: {} rows, {} reached a cloud, {} left", rows.len(), seen.len(), left.len());
    // A text that cannot be cut does not leave; by far most can.
    assert!(seen.len() * 10 >= rows.len() * 9, "{} of {} left at all", seen.len(), rows.len());
    left
}

#[test]
fn planted_values_do_not_leave_with_repairs_packs_and_reduces() {
    let (single, packed) = (rows(2, 1), rows(1, 2));
    let all = single.len() + packed.len();
    assert!(all >= 2_000, "{all} rows");
    let mut left = left_in_bodies(&single, "single", "");
    left.extend(left_in_bodies(&packed, "packed", "pack: 8"));
    left.iter().for_each(|row| println!("  left: {row}"));
    assert!(left.is_empty(), "{} of {all} values are in bodies", left.len());
}
