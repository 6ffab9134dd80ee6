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
        let plan = world.run(&["swarm", "plan", &job]).stdout;
        let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            plan.contains("level P3 (declared P0; ") && plan.contains("[privacy.sources] ~/vault)"),
            "{plan}"
        );
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

/// Runs a job on kimi alone until its budget is used up, in a folder that is not private.
fn paused_by_its_budget(world: &World, sim: &Sim, name: &str, spec: &str, args: &[&str]) -> u64 {
    let job = world.write(spec, &kimi_job(name, "none.csv", "budget: 0.01\nclamp: false"));
    let job = job.display().to_string();
    let run = ["swarm", "run", &job, "--sim", &sim.url, "--yes"];
    world.run(&[&run[..], args].concat()).exits(4).shows("budget");
    assert!(world.account(name).done > 0 && world.account(name).pending > 0);
    sim.received("kimi")
}

#[test]
fn a_rule_that_is_made_later_holds_for_a_job_that_goes_on() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: quick\nkimi: {output_tokens: {from: 20, to: 80}}");
    for folder in ["data", "specs", "home", "elsewhere"] {
        fs::create_dir_all(world.path(folder)).unwrap();
    }
    let rules = |rules: &str| world.write("home/empire.toml", &format!("[privacy.sources]\n{rules}"));
    let rows = world.write("data/rows.csv", &csv_rows(400));
    let link = world.path("elsewhere/link.csv");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&rows, &link).unwrap();
    #[cfg(not(unix))]
    fs::copy(&rows, &link).unwrap();
    let by_input = paused_by_its_budget(&world, &sim, "by-input", "job.yaml", &["--input", "data/rows.csv"]);
    assert!(by_input > 0);
    paused_by_its_budget(&world, &sim, "by-link", "job.yaml", &["--input", "elsewhere/link.csv"]);
    let before =
        paused_by_its_budget(&world, &sim, "by-spec", "specs/job.yaml", &["--input", "elsewhere/link.csv"]);

    // The files are gone; the rules need none.
    for gone in [&rows, &link, &world.path("specs/job.yaml"), &world.path("job.yaml")] {
        fs::remove_file(gone).unwrap();
    }
    for (job, folder) in [("by-input", "data"), ("by-link", "data"), ("by-spec", "specs")] {
        rules(&format!("\"~/{folder}\" = \"P3\""));
        for command in ["resume", "retry"] {
            let ran = world.run(&["swarm", command, job, "--budget", "100"]).exits(4);
            let ran = ran.says(&format!("P3 by [privacy.sources] ~/{folder}: the job is treated as P3"));
            ran.says("P3 data may not go to kimi");
        }
        assert_eq!(world.status(job)["state"], "paused", "nothing is lost");
    }
    assert_eq!(sim.received("kimi"), before);

    // Where nobody knows any more where the input lay, nobody knows its level.
    let id = world.status("by-link")["id"].as_str().unwrap().to_owned();
    fs::remove_file(world.path("home/sim/jobs").join(id).join("origin.json")).unwrap();
    world.run(&["swarm", "resume", "by-link", "--budget", "100"]).exits(2).says("reads the input anew");
    assert_eq!(sim.received("kimi"), before);
    rules("");
    world.run(&["swarm", "resume", "by-input", "--budget", "100"]).exits(0);
    assert!(sim.received("kimi") > before);
}

#[test]
fn a_job_that_became_private_goes_on_at_the_local_model() {
    let world = World::new("");
    let sim = Sim::start(&world, "name: slow\nkimi: {latency: {fixed: 20}}");
    fs::create_dir_all(world.path("data")).unwrap();
    world.write("data/rows.csv", &csv_rows(1_000));
    let spec = kimi_job("both", "data/rows.csv", "budget: 100").replace("[kimi]", "[kimi, ollama]");
    let job = world.write("job.yaml", &spec).display().to_string();
    let run = world.start(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    wait_for("the first calls", || (sim.received("kimi") > 20).then_some(()));
    run.signal("INT");
    run.end().exits(130);
    let before = sim.received("kimi");
    world.write("home/empire.toml", "[privacy.sources]\n\"~/data\" = \"P3\"");
    world.run(&["swarm", "resume", "both"]).exits(0).says("the job is treated as P3");
    assert_eq!((sim.received("kimi"), world.account("both").done), (before, 1_000));
    assert!(sim.received("ollama") > 0);
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
fn a_file_of_secrets_protects_by_every_line_or_is_refused() {
    let world = World::new("[privacy]\nown_secrets = [\"file:~/keys.env\"]");
    world.write("keys.env", "# mine\n#Geheim2024!xyz\ncorrect=horse\nhunter2\n");
    let text = "#Geheim2024!xyz, correct=horse and hunter2";
    let cut = world.run_with_stdin(&["privacy", "redact"], text).exits(0).stdout;
    assert!(["Geheim", "horse", "hunter2"].iter().all(|secret| !cut.contains(secret)), "{cut}");

    let path = world.write("keys.env", "TOKEN=abcdefgh12\nPIN=9731\n");
    let place = format!("file:{}:2 has 4 bytes", path.display());
    let refused = world.run_with_stdin(&["privacy", "redact"], "hello").exits(2).says(&place);
    assert!(!refused.stderr.contains("9731"), "{}", refused.stderr);
    assert!(world.run(&["doctor"]).exits(4).stdout.contains(&place));

    let world = World::new("[privacy]\nown_secrets = [\"file:keys.env\"]");
    world.run_with_stdin(&["privacy", "redact"], "hello").exits(2).says("`file:keys.env` is relative");
}

#[test]
fn sources_that_hold_nothing_are_told_of_and_one_that_cannot_be_read_stops_everything() {
    let world = World::new(
        "[privacy]\nown_secrets = [\"env:NOT_SET\", \"file:~/nowhere\", \"keychain:empire-no-such-entry/me\"]",
    );
    let told = world.run(&["doctor", "--json"]).json();
    let told = told["findings"].to_string();
    assert!(told.contains("env:NOT_SET holds nothing"), "{told}");
    // Containers often have no keyring: then it is refused, and says so.
    let no_entry = told.contains("keychain:empire-no-such-entry/me holds nothing");
    assert!(no_entry || told.contains("keychain:empire-no-such-entry/me cannot be read"), "{told}");

    let world = World::new("[privacy]\nown_secrets = [\"env:NOT_SET\", \"file:~/nowhere\"]");
    world.write("rows.csv", &csv_rows(3));
    let job = world.write("job.yaml", &kimi_job("told", "rows.csv", "budget: 1")).display().to_string();
    for args in
        [&["swarm", "plan", &job][..], &["swarm", "run", &job, "--sim", "--yes"], &["privacy", "test"]]
    {
        let told = world.run(args);
        for source in ["env:NOT_SET".to_owned(), format!("file:{}", world.path("nowhere").display())] {
            let line = format!("own secrets: {source} holds nothing");
            assert_eq!(told.stderr.matches(&line).count(), 1, "{}", told.stderr);
        }
    }

    // No keychain has such an entry, so every one refuses it.
    let unreadable = if cfg!(target_os = "linux") { "keychain:a@b/me" } else { "file:~/home" };
    let world = World::new(&format!("[privacy]\nown_secrets = [\"{unreadable}\"]"));
    fs::create_dir_all(world.path("home")).unwrap();
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &csv_rows(3));
    let job = world.write("job.yaml", &kimi_job("held", "rows.csv", "budget: 1")).display().to_string();
    let named = unreadable.trim_start_matches("file:~/");
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(2).says(named);
    world.run_with_stdin(&["privacy", "redact"], "hello").exits(2).says(named);
    assert!(world.run(&["doctor"]).exits(4).stdout.contains("BAD   own secrets"));
    assert_eq!(sim.received("kimi"), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_secret_in_the_kernels_keyring_does_not_leave() {
    use keyring_core::api::CredentialStoreApi;

    let mut random = fastrand::Rng::with_seed(11);
    let secret: String = (0..18).map(|_| random.lowercase()).collect();
    let service = format!("empire-gate-test-{}", std::process::id());
    let store = linux_keyutils_keyring_store::Store::new().unwrap();
    let entry = match store.build(&service, "me", None).and_then(|entry| {
        entry.set_password(&secret)?;
        Ok(entry)
    }) {
        Ok(entry) => entry,
        Err(error) => return eprintln!("SKIPPED: the kernel refuses its keyring here: {error}"),
    };
    let world = World::new(&format!("[privacy]\nown_secrets = [\"keychain:{service}/me\"]"));
    let text = format!("ask {secret} now");
    let redacted = world.run_with_stdin(&["privacy", "redact"], &text);
    let told = world.run(&["doctor"]).stdout;
    entry.delete_credential().unwrap();
    assert_eq!(redacted.exits(0).stdout, "ask <SECRET_1> now");
    assert!(told.contains("own secrets: 1 registered") && !told.contains(&secret), "{told}");
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
fn a_broken_line_is_blocked_and_the_next_ones_are_answered() {
    let world = World::new("");
    let mut input = b"\xef\xbb\xbf{\"id\": 1, \"text\": \"ask anna@corp.example\"}\n".to_vec();
    input.extend(b"{\"id\": 2, \"text\": \"\\ud800\"}\n{\"id\": 3, \"text\": \"M\xfcller\"}\n{\n");
    input.extend(b"{\"id\": 1e400, \"text\": 987654321}\n\n");
    input.extend(b"{\"id\": 6, \"request\": {\"a\":100000000000000000000001,\"b\":1e400}}\n");
    let path = world.path("lines.jsonl");
    fs::write(&path, input).unwrap();
    let path = path.display().to_string();
    let ran = world.run(&["privacy", "redact", "--jsonl", &path]).exits(2);
    let answers: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(answers.len(), 6, "{answers:?}");
    assert!(answers[0].contains("ask <EMAIL_1>"), "{answers:?}");
    for (answer, id) in answers[1..5].iter().zip(["2", "3", "null", "1e400"]) {
        let told = format!("{{\"id\":{id},\"redacted\":null,\"action\":\"block\",\"labels\":[],\"reason\":");
        assert!(answer.starts_with(&told), "{answer}");
    }
    assert!(answers[5].contains("{\"a\":100000000000000000000001,\"b\":1e400}"), "{}", answers[5]);
    assert!(ran.stderr.contains(":2: ") && ran.stderr.contains("3 more lines"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("line 1") && !ran.stdout.contains("987654321"), "{}", ran.stderr);
}

#[test]
fn what_may_not_leave_is_not_printed() {
    let world = World::new("");
    let refused = world.run_with_stdin(&["privacy", "redact"], CONTRACT).exits(4);
    assert_eq!(refused.stdout, "");
    refused.says("it stays in zones 1 and 2");
    let told = world.run_with_stdin(&["privacy", "redact", "--json"], CONTRACT).exits(4).json();
    assert_eq!((&told["action"], told["redacted"].is_string()), (&json!("local"), true));
    let local = world.run_with_stdin(&["privacy", "redact", "--zone", "2"], CONTRACT).exits(0);
    assert_eq!(local.stdout, CONTRACT);
}

#[test]
fn a_file_in_another_encoding_is_searched_and_one_that_is_no_text_is_blocked() {
    let world = World::new("");
    let file = |name: &str, bytes: &[u8]| {
        fs::write(world.path(name), bytes).unwrap();
        world.path(name).display().to_string()
    };
    for (bytes, cut) in [
        (&b"PASSWORD=h\xe4hunter22x\n"[..], "PASSWORD=<SECRET_1>\n"),
        (b"Kennwort: M\xfcller2024\n", "Kennwort: <SECRET_1>\n"),
        (b"f\xfcr \x80 5\n", "für € 5\n"),
    ] {
        let path = file("latin.txt", bytes);
        assert_eq!(world.run(&["privacy", "redact", &path]).exits(0).stdout, cut);
    }
    let path = file("data.bin", b"PASSWORD=\0hunter22x");
    let refused = world.run(&["privacy", "redact", &path]).exits(4).says("it is blocked: it is no text");
    assert_eq!(refused.stdout, "");
    let told = world.run(&["privacy", "redact", "--json", &path]).exits(4).json();
    assert_eq!((&told["action"], &told["reason"]), (&json!("block"), &json!("it is no text")));
    assert!(world.run(&["privacy", "scan", &path]).exits(4).stdout.contains("blocked: it is no text"));
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
    let told = world.run(&["doctor"]).exits(4).stdout;
    assert!(told.contains("BAD   privacy rules: ") && told.contains("own.toml: line 4: "), "{told}");
    fs::write(folder.join("own.toml"), HOUSE_KEY.replace("alnum:12}'\n", "nope:12}'\n")).unwrap();
    world.run_with_stdin(&["privacy", "redact"], "x").exits(2).says("own.toml: rule `house-key`, `shape`");
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
    let of = |item: u64| explain(&format!("told/{}", item + 1))["decisions"].clone();
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
        assert_eq!(told["decisions"], of(line["item"].as_u64().unwrap() - 1));
    }

    let said = world.run(&["privacy", "explain", "told/2", "--sim"]).exits(0);
    let said = said.shows("P1 by the job, its row or the place of its files; zone 3 (cloud) admits up to P1");
    assert!(!said.stdout.contains(mail), "{}", said.stdout);
    world.run(&["privacy", "explain", "99", "--sim"]).exits(2).says("there is no call 99");
    for missing in ["told/0", "told/4", "told/x"] {
        world.run(&["privacy", "explain", missing, "--sim"]).exits(2);
    }
}

#[test]
fn a_job_lets_values_through_with_a_reason_but_never_the_owners_secrets() {
    let mut random = fastrand::Rng::with_seed(11);
    let secret: String = (0..18).map(|_| random.lowercase()).collect();
    let world = World::new("[privacy]\nown_secrets = [\"file:~/keys.env\"]");
    world.write("keys.env", &secret);
    let sim = Sim::start(&world, "steady");
    let text = format!("ask help@example.com or jane@example.com about {secret}");
    world.write("rows.jsonl", &format!("{}\n", json!({"name": text})));
    let run = |name: &str, allow: &str, exit: i32| {
        let spec = kimi_job(name, "rows.jsonl", &format!("budget: 1\nallow: {allow}")).replace("P0", "P1");
        let job = world.write("job.yaml", &spec).display().to_string();
        world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(exit)
    };
    run("open", &json!({"help@example.com": "our public address", &secret: "a mistake"}).to_string(), 0);
    let asked = all(&sim.bodies("kimi"));
    assert!(asked.contains("help@example.com") && !asked.contains("jane@example.com"), "{asked}");
    assert!(!asked.contains(&secret), "{asked}");
    run("reasonless", "{\"help@example.com\": \"\"}", 2).says("`allow` gives no reason");
    run("empty", "{\"\": \"a mistake\"}", 2).says("`allow` names an empty value");
    run("wrong", "[help@example.com]", 2).says("`allow` is");
}

#[test]
fn a_decision_is_found_for_every_member_of_a_pack_for_equal_items_and_for_the_reduce() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    let rows: String =
        ["ann", "bob", "cid", "bob"].map(|name| format!("{}\n", json!({"name": name}))).concat();
    world.write("rows.jsonl", &rows);
    let more = "budget: 1\npack: 3\nreduce: {prompt: \"Sum up {{ answers }}\"}";
    let job = world.write("job.yaml", &kimi_job("pack", "rows.jsonl", more)).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(0);
    for item in ["1", "2", "3", "4", "reduce"] {
        let told = world.run(&["privacy", "explain", &format!("pack/{item}"), "--json"]).exits(0).json();
        assert_eq!(told["decisions"][0]["provider"], "kimi", "{told}");
        let served_by = if ["1", "reduce"].contains(&item) { Value::Null } else { json!(1) };
        assert_eq!(told["served_by"], served_by, "{told}");
    }
    let ledger = world.run(&["budget", "ledger", "--sim", "--json"]).exits(0).json();
    let items: Vec<&Value> = ledger.as_array().unwrap().iter().map(|line| &line["item"]).collect();
    assert_eq!(items, [&json!("reduce"), &json!(1)]);
}
