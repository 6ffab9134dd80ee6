//! What is private by its place, its owner's word or its form; and the commands that show it.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::fs;

use common::{Sim, World, csv_rows, kimi_job, wait_for};
use serde_json::{Value, json};

/// A contract in a row's words.
const CONTRACT: &str = "NON-DISCLOSURE AGREEMENT. This Agreement is made between Muster GmbH (the \
    \"Disclosing Party\") and Beispiel AG (the \"Receiving Party\"). WHEREAS the parties wish to share \
    Confidential Information: 1. The Receiving Party shall not disclose it. 2. This Agreement is governed by \
    the laws of Germany. IN WITNESS WHEREOF the parties hereto have executed this Agreement.";

/// A rule of the owner's own.
const HOUSE_KEY: &str = "[[rule]]\nid = \"house-key\"\nabout = \"ours\"\nshape = 'house-{alnum:12}'\n\
    positive = ['house-{alnum:12}']\nnear = ['house-{alnum:3}']\n";

fn all(bodies: &[Value]) -> String {
    bodies.iter().map(Value::to_string).collect()
}

#[test]
fn a_file_is_as_private_as_its_place_whatever_the_job_says() {
    let world = World::new("[privacy.sources]\n\"~/vault\" = \"P3\"");
    let sim = Sim::start(&world, "steady");
    fs::create_dir(world.path("vault")).unwrap();
    world.write("vault/rows.csv", &csv_rows(5));
    let link = world.path("innocent.csv");
    #[cfg(unix)]
    std::os::unix::fs::symlink(world.path("vault/rows.csv"), &link).unwrap();
    #[cfg(not(unix))]
    fs::copy(world.path("vault/rows.csv"), &link).unwrap();
    for (n, input) in ["vault/rows.csv", "vault/../vault/rows.csv", "innocent.csv"].iter().enumerate() {
        let job = world.write("job.yaml", &kimi_job(&format!("place-{n}"), input, "budget: 1"));
        let job = job.display().to_string();
        let ran = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
        ran.exits(4).says("P3 by [privacy.sources] ~/vault");
    }
    assert_eq!(sim.received("kimi"), 0);

    // The rows carry it, so it holds when the file is gone and the job goes on by itself.
    let spec = kimi_job("place-local", "vault/rows.csv", "budget: 1").replace("[kimi]", "[ollama, kimi]");
    let job = world.write("job.yaml", &spec).display().to_string();
    let sick = Sim::start(&world, "name: sick\nollama: {errors: [{shape: server_error}]}");
    world.run(&["swarm", "run", &job, "--sim", &sick.url, "--yes"]).exits(4);
    fs::remove_file(world.path("vault/rows.csv")).unwrap();
    world.run(&["swarm", "resume", "place-local"]).exits(4);
    assert_eq!((sick.received("kimi"), sick.received("ollama") > 0), (0, true));
}

#[test]
fn the_owners_own_secrets_leave_in_no_spelling() {
    let mut random = fastrand::Rng::with_seed(7);
    let secret: String = (0..18).map(|_| random.lowercase()).collect();
    let world = World::new("[privacy]\nown_secrets = [\"file:~/keys.env\"]");
    world.write("keys.env", &format!("# mine\nSHAPELESS={secret}\n"));
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let sim = Sim::start(&world, "steady");
    let names = [format!("ask {secret} now"), format!("x{secret}y"), hex.clone(), percent.clone()];
    let rows: String = names.iter().map(|name| format!("{}\n", json!({"name": name}))).collect();
    world.write("rows.jsonl", &rows);
    let spec = kimi_job("own", "rows.jsonl", "budget: 1").replace("P0", "P1");
    let job = world.write("job.yaml", &spec).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(0);
    let asked = all(&sim.bodies("kimi"));
    assert!(asked.contains("<SECRET_1>"), "{asked}");
    for spelling in [secret, hex, percent] {
        assert!(!asked.contains(&spelling), "{spelling} left: {asked}");
    }
}

#[test]
fn a_legal_document_goes_to_the_local_model_or_nowhere() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    let rows = [json!({"name": "a bakery in Kiel"}), json!({"name": CONTRACT})];
    world.write("rows.jsonl", &rows.map(|row| format!("{row}\n")).concat());
    for (name, route, exit) in [("legal", "[kimi, ollama]", 0), ("legal-cloud", "[kimi, claude]", 3)] {
        let spec = kimi_job(name, "rows.jsonl", "budget: 1").replace("P0", "P1").replace("[kimi]", route);
        let job = world.write("job.yaml", &spec).display().to_string();
        world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(exit);
    }
    let cloud = all(&sim.bodies("kimi")) + &all(&sim.bodies("claude"));
    assert!(cloud.contains("bakery") && !cloud.contains("Receiving Party"), "{cloud}");
    assert!(all(&sim.bodies("ollama")).contains("Receiving Party"));
    let dead = world.lines("legal-cloud", "dead.jsonl");
    assert!(dead[0]["reason"].as_str().unwrap().contains("legal document"), "{dead:?}");
}

#[test]
fn lines_of_texts_and_bodies_come_back_in_order_without_what_may_not_leave() {
    let world = World::new("[privacy.allow]\n\"info@example.org\" = \"our public address\"");
    let body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "write to anna@corp.example"}],
        "tools": [{"function": {"name": "mail", "description": "also anna@corp.example"}}],
    });
    let mut input = vec![
        json!({"id": 1, "text": "a quiet day"}),
        json!({"id": "two", "request": body}),
        json!({"id": 3, "text": CONTRACT}),
        json!({"id": 4, "text": "ask info@example.org"}),
    ];
    input.extend((5..3_000).map(|id| json!({"id": id, "text": format!("row {id} of bert@corp.example")})));
    let lines: String = input.iter().map(|line| format!("{line}\n")).collect();
    let ran = world.run_with_stdin(&["privacy", "redact", "--jsonl"], &lines);
    let ran = ran.exits(0);
    let answers: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), input.len());
    assert!(answers.iter().zip(&input).all(|(answer, line)| answer["id"] == line["id"]));
    assert_eq!(answers[0], json!({"id": 1, "redacted": "a quiet day", "action": "allow", "labels": []}));
    assert_eq!((&answers[1]["action"], &answers[1]["labels"]), (&json!("redact"), &json!(["email"])));
    assert_eq!(answers[1]["redacted"]["messages"][0]["content"], "write to <EMAIL_1>");
    assert_eq!(answers[1]["redacted"]["tools"][0]["function"]["description"], "also <EMAIL_1>");
    assert_eq!((&answers[2]["action"], &answers[2]["labels"]), (&json!("local"), &json!(["legal"])));
    assert_eq!(answers[3]["action"], "allow");
    assert_eq!(answers[4]["redacted"], "row 5 of <EMAIL_1>");

    let local = world.run_with_stdin(&["privacy", "redact", "--jsonl", "--zone", "1"], &lines).exits(0);
    assert!(local.stdout.contains("anna@corp.example"), "what stays here is left whole");
    let image = json!({"id": 1, "request": {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}});
    let blocked =
        world.run_with_stdin(&["privacy", "scan", "--jsonl"], &format!("{image}\n")).exits(0).json();
    assert_eq!((&blocked["action"], &blocked["redacted"]), (&json!("block"), &Value::Null));
    let broken =
        world.run_with_stdin(&["privacy", "scan", "--jsonl"], "{\"id\": 1, \"text\": \"x\"}\n{\"id\": 2}\n");
    broken.exits(2).says("standard input:2: it has neither a text nor a request");
}

#[test]
fn findings_are_told_by_place_and_never_shown() {
    let world = World::new("");
    let path = world.write("note.txt", "hello\nthe password is Tr0ub4dor, mail anna@corp.example\n");
    let path = path.display().to_string();
    let scan = world.run(&["privacy", "scan", &path]).exits(4);
    assert!(scan.stdout.contains(":2:17: secret (") && scan.stdout.contains(": email ("), "{}", scan.stdout);
    assert!(!scan.stdout.contains("Tr0ub4dor") && !scan.stdout.contains("anna@"));
    let json = world.run(&["privacy", "scan", &path, "--json"]).exits(4).json();
    assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    let redacted = world.run(&["privacy", "redact", &path]).exits(0);
    assert_eq!(redacted.stdout, "hello\nthe password is <SECRET_1>, mail <EMAIL_1>\n");
    world.run(&["privacy", "test"]).exits(0);
    world.run(&["privacy", "scan", "nowhere.txt"]).exits(2).says("cannot read nowhere.txt");
}

#[test]
fn a_rule_that_is_added_holds_for_the_calls_of_a_running_job() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: slow\nkimi: {latency: {fixed: 100}}");
    fs::create_dir_all(world.path("home/privacy")).unwrap();
    let rows: String = (0..5_000).map(|n| format!("{n},it is house-a1B2c3D4e5F6\n")).collect();
    world.write("rows.csv", &format!("id,name\n{rows}"));
    let spec = kimi_job("reload", "rows.csv", "budget: 100").replace("{{ name }}", "{{ id }} {{ name }}");
    let job = world.write("job.yaml", &spec).display().to_string();
    let run = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    wait_for("the first calls", || (sim.received("kimi") > 20).then_some(()));
    assert!(!all(&sim.bodies("kimi")).contains("<SECRET_1>"));
    world.write("home/privacy/own.toml", HOUSE_KEY);
    wait_for("a call without the key", || all(&sim.bodies("kimi")).contains("<SECRET_1>").then_some(()));
    run.kill();
}

#[test]
fn the_owners_rules_are_read_and_a_broken_one_stops_everything() {
    let world = World::new("");
    let folder = world.path("home/privacy");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own.toml"), HOUSE_KEY).unwrap();
    let cut = world.run_with_stdin(&["privacy", "redact"], "it is house-a1B2c3D4e5F6, ok").exits(0);
    assert_eq!(cut.stdout, "it is <SECRET_1>, ok");
    fs::write(folder.join("own.toml"), HOUSE_KEY.replace("shape", "shappe")).unwrap();
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(3));
    let job = world.write("job.yaml", &kimi_job("rules", "rows.csv", "budget: 1")).display().to_string();
    let ran = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(2);
    assert!(ran.stderr.contains("own.toml") && ran.stderr.contains("shappe"), "{}", ran.stderr);
    assert_eq!(sim.received("kimi"), 0);
}

#[test]
fn every_decision_is_told_without_the_content() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    let mail = "someone@example.com";
    let rows = [json!({"name": "plain"}), json!({"name": format!("ask {mail}")}), json!({"name": CONTRACT})];
    world.write("rows.jsonl", &rows.map(|row| format!("{row}\n")).concat());
    let spec = kimi_job("told", "rows.jsonl", "budget: 1").replace("P0", "P1");
    let job = world.write("job.yaml", &spec).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(3);

    let explain = |call: &str| world.run(&["privacy", "explain", call, "--sim", "--json"]).exits(0).json();
    let of = |item: usize| explain(&format!("told/{item}"))["decisions"].clone();
    assert_eq!(of(0)[0]["action"], "allow");
    assert_eq!((&of(1)[0]["action"], &of(1)[0]["values"]), (&json!("redact"), &json!(1)));
    assert_eq!(of(1)[0]["found"].as_object().unwrap().len(), 1);
    assert_eq!((&of(2)[0]["action"], &of(2)[0]["level"]), (&json!("deny"), &json!("P2")));
    assert_eq!((&of(2)[0]["declared"], &of(2)[0]["zone"]), (&json!("P1"), &json!(3)));

    let ledger = world.run(&["budget", "ledger", "--sim", "--json"]).exits(0).json();
    let lines = ledger.as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let told = explain(&line["hold"].to_string());
        assert_eq!((&told["item"], told["decisions"].as_array().unwrap().len()), (&line["item"], 1));
        assert_eq!(told["decisions"], of(line["item"].as_u64().unwrap().try_into().unwrap()));
    }

    let said = world.run(&["privacy", "explain", "told/1", "--sim"]).exits(0);
    let said = said.shows("P1 as declared; zone 3 (cloud) admits up to P1");
    assert!(!said.stdout.contains(mail), "{}", said.stdout);
    world.run(&["privacy", "explain", "99", "--sim"]).exits(2).says("there is no call 99");
    world.run(&["privacy", "explain", "told/3", "--sim"]).exits(2);
}
