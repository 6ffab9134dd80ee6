//! The first command of a new owner, and the other shipped jobs.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::fs;

use common::{Sim, World, shipped_job};
use serde_json::Value;

/// The answer schema of a shipped job.
fn schema_of(job: &str) -> jsonschema::Validator {
    let spec: Value = serde_saphyr::from_str(&fs::read_to_string(shipped_job(job)).unwrap()).unwrap();
    jsonschema::validator_for(&spec["answer"]).unwrap()
}

#[test]
fn the_first_command_works_503_agents_and_a_second_one_calls_nobody() {
    let world = World::shipped();
    let sim = Sim::start(&world, "steady");
    let leads = shipped_job("leads").display().to_string();
    // Built in, as a new owner runs it: the answers are those of the simulator next door.
    let ended = world.run(&["swarm", "run", &leads, "--sim"]).exits(0).says("SIMULATED");
    assert!(ended.stdout.contains("cost"), "{}", ended.stdout);
    assert!(ended.stdout.to_lowercase().contains("simulat"), "{}", ended.stdout);

    let source = fs::read(shipped_job("leads").with_file_name("data/companies.csv")).unwrap();
    let mut source = csv::Reader::from_reader(source.as_slice());
    let columns = source.headers().unwrap().len();
    let rows: Vec<csv::StringRecord> = source.records().collect::<Result<_, _>>().unwrap();
    let lines = world.lines("leads", "results.jsonl");
    assert_eq!((lines.len(), rows.len()), (503, 503));
    let schema = schema_of("leads");
    for (line, row) in lines.iter().zip(&rows) {
        assert!(schema.is_valid(&line["answer"]), "{line}");
        assert_eq!(line["simulated"], true, "{line}");
        let input: Vec<String> = line["input"].as_object().unwrap().values().map(cell).collect();
        assert_eq!((input.len(), input), (columns, row.iter().map(str::to_owned).collect()));
    }
    let mut table = csv::Reader::from_path(world.out("leads").join("results.csv")).unwrap();
    assert_eq!(table.records().map(Result::unwrap).count(), 503);

    let account = world.account("leads");
    assert_eq!((account.done, account.dead, account.pending), (503, 0, 0));
    assert_eq!(account.report["simulated"], true);
    assert!(account.report["spent"].is_u64(), "{}", account.report);
    assert!(account.report["reduce"].as_str().is_some_and(|text| !text.is_empty()), "{}", account.report);
    let page = fs::read_to_string(world.out("leads").join("report.md")).unwrap();
    assert!(page.to_lowercase().contains("simulat"), "{page}");

    let before = fs::read(world.out("leads").join("results.jsonl")).unwrap();
    world.run(&["swarm", "run", &leads, "--sim", &sim.url]).exits(0);
    assert_eq!(sim.received_in_all(), 0, "the second run bought again what was there");
    assert_eq!(fs::read(world.out("leads").join("results.jsonl")).unwrap(), before);
    let again = world.account("leads").report;
    assert_eq!(again["reduce"], account.report["reduce"], "the reduce's answer was lost");
}

fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn posts_and_words_run() {
    let world = World::shipped();
    let posts = shipped_job("posts").display().to_string();
    world.run(&["swarm", "run", &posts, "--sim"]).exits(0);
    let schema = schema_of("posts");
    let lines = world.lines("posts", "results.jsonl");
    assert!(lines.len() == 10 && lines.iter().all(|line| schema.is_valid(&line["answer"])), "{lines:?}");

    // One agent a word, the words on standard input.
    let words = shipped_job("words").display().to_string();
    world.run_with_stdin(&["swarm", "run", &words, "--input", "-", "--sim"], "lamp\nriver\nrun\n").exits(0);
    let schema = schema_of("words");
    let lines = world.lines("words", "results.jsonl");
    let given: Vec<_> = lines.iter().map(|line| line["input"]["word"].as_str().unwrap()).collect();
    assert_eq!(given, ["lamp", "river", "run"]);
    assert!(lines.iter().all(|line| schema.is_valid(&line["answer"])), "{lines:?}");
}

/// The job that the README begins with.
fn readme_job() -> &'static str {
    let after = include_str!("../README.md").split("## The job file").nth(1).unwrap();
    after.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_readmes_job_works_with_the_simulator_on_every_route_packed_or_not() {
    let world = World::shipped();
    world.write("cities.csv", "name,country\nParis,France\nNairobi,Kenya\nLima,Peru\n");
    for route in ["ollama", "kimi", "claude"] {
        for pack in [1, 3] {
            let job = format!("{}route: [{route}]\npack: {pack}\nretries: 0\n", readme_job());
            let job = world.write("cities.yaml", &job).display().to_string();
            world.run(&["swarm", "run", &job, "--sim", "--fresh"]).exits(0);
            let lines = world.lines("cities", "results.jsonl");
            assert_eq!(lines.len(), 3);
            for line in lines {
                let said = line["answer"]["known_for"].as_str().unwrap();
                assert!(said.chars().count() <= 40, "{route}: {said}");
            }
        }
    }
}
