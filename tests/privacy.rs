//! What may not leave does not: proved by what the simulator received.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use common::{Sim, World, kimi_job};
use serde_json::{Value, json};

/// Rows with something planted.
const PLANTED_ROWS: usize = 50;
const ROWS: usize = 120;

/// Characters of `alphabet`, made when the test runs so that no secret stands in any file.
fn made(random: &mut fastrand::Rng, alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";

/// A text with a secret or an address in it, and what of it must not be seen.
fn planted(random: &mut fastrand::Rng, kind: usize) -> (String, String) {
    let mut token = |head: &str, alphabet: &str, length| format!("{head}{}", made(random, alphabet, length));
    match kind {
        0 => wrap("use key ", token("AKIA", UPPER, 16), " for the bucket"),
        1 => wrap("his token is ", token("ghp_", WORD, 36), ", revoke it"),
        2 => wrap("(", token("sk-ant-api03-", WORD, 60), ")"),
        3 => wrap("MOONSHOT_API_KEY=", token("sk-", WORD, 48), ""),
        4 => wrap("paid with ", token("sk_live_", WORD, 24), "."),
        5 => wrap("bot ", token("xoxb-1234567890-", WORD, 24), ""),
        6 => wrap("maps: ", token("AIza", WORD, 35), ""),
        7 => {
            let parts = [token("eyJ", WORD, 20), token("eyJ", WORD, 40), token("", WORD, 43)];
            wrap("cookie ", parts.join("."), " set")
        }
        8 => wrap("password: ", token("Hx9", WORD, 12), ""),
        9 => wrap("Das Passwort ist ", token("Qz7", WORD, 9), "."),
        10 => wrap("postgres://app:", token("p4", WORD, 14), "@db.internal/x"),
        11 => wrap("Authorization: Bearer ", token("", HEX, 40), ""),
        12 => wrap("write to ", token("anna.", LOWER, 9) + "@example.org", " today"),
        13 => wrap("<", token("bob+x", LOWER, 9) + "@mail.example.co.uk", ">"),
        14 => wrap("mailto:", token("eve", LOWER, 9) + "%40example.com", "?subject=x"),
        _ => {
            let body = token("", WORD, 64);
            (format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\nas agreed"), body)
        }
    }
}

const KINDS: usize = 16;

fn wrap(before: &str, secret: String, after: &str) -> (String, String) {
    (format!("{before}{secret}{after}"), secret)
}

/// A JSONL input with planted rows, and everything that was planted.
fn input() -> (String, Vec<String>) {
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed.into());
    let (mut lines, mut secrets) = (String::new(), Vec::new());
    for row in 0..ROWS {
        let mut columns = json!({
            "name": format!("Company {row}"), "note": format!("row {row} is quiet"), "contact": "unknown",
            "deep": {"log": ["nothing"]},
        });
        if row < PLANTED_ROWS {
            let (text, secret) = planted(&mut random, row % KINDS);
            match row % 4 {
                0 => columns["note"] = text.into(),
                1 => columns["contact"] = text.into(),
                2 => columns["name"] = format!("Company {row}: {text}").into(),
                _ => columns["deep"]["log"][0] = text.into(),
            }
            secrets.push(secret);
        }
        lines.push_str(&format!("{columns}\n"));
    }
    (lines, secrets)
}

fn job(name: &str, route: &str, more: &str) -> String {
    let plain = kimi_job(name, "rows.jsonl", more);
    let prompt = "prompt: \"Say what {{ name }} is. Contact {{ contact }}. {{ note }} {{ deep }}\"\n\
                  system: \"About {{ name }}, known as {{ contact }}.\"";
    plain
        .replace("prompt: \"Say what {{ name }} is.\"", prompt)
        .replace("privacy: P0", "privacy: P1")
        .replace("route: [kimi]", &format!("route: {route}"))
}

/// Checks that no body holds any of `secrets`, in whatever way it is written.
fn none_of(secrets: &[String], bodies: &[Value]) {
    for body in bodies {
        let text = body.to_string();
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} left: {text}");
        }
    }
}

#[test]
fn a_p2_job_with_a_cloud_route_reaches_nobody() {
    let world = World::new("");
    let sim = Sim::start(&world, "steady");
    world.write("rows.csv", &common::csv_rows(20));
    for level in ["P2", "P3"] {
        for (route, sends) in [("[kimi]", false), ("[claude, kimi]", false), ("[ollama, kimi]", true)] {
            let spec = kimi_job(&format!("job-{}", level.to_lowercase()), "rows.csv", "budget: 100");
            let spec = spec.replace("P0", level).replace("[kimi]", route);
            let job = world.write("job.yaml", &spec).display().to_string();
            let args = ["swarm", "run", &job, "--sim", &sim.url, "--yes", "--fresh"];
            world.run(&args).exits(if sends { 0 } else { 4 });
            assert_eq!((sim.received("kimi"), sim.received("claude")), (0, 0));
        }
    }
    assert_eq!(sim.received("ollama"), 40);
}

#[test]
fn planted_secrets_and_addresses_are_in_no_body_that_a_cloud_received() {
    let (rows, secrets) = input();
    assert_eq!(secrets.len(), PLANTED_ROWS);
    // The first answers break their schema, so that repair turns go out and the next model is
    // asked; and the same in packs that lose parts.
    let broken = "keep_bodies: 100000\nname: broken\nkimi: {schema_break_rate: 0.6, pack_drop_rate: 0.3}\n\
                  claude: {schema_break_rate: 0.3}\nollama: {schema_break_rate: 1}";
    for (name, route, more) in [
        ("plain", "[kimi, claude]", ""),
        ("packed", "[kimi, claude]", "pack: 10\n"),
        ("from-local", "[ollama, kimi, claude]", ""),
    ] {
        let world = World::new("");
        let sim = Sim::start(&world, broken);
        world.write("rows.jsonl", &rows);
        let more = format!(
            "{more}budget: 100\nfailure_rule: off\nreduce: {{group: 20, prompt: \"Sum up {{{{ answers }}}}\"}}"
        );
        let job = world.write("job.yaml", &job(name, route, &more)).display().to_string();
        let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
        assert!(matches!(ended.code(), Some(0 | 3)), "{}", ended.stderr);
        world.account(name);
        for cloud in ["kimi", "claude"] {
            let bodies = sim.bodies(cloud);
            assert!(!bodies.is_empty(), "{cloud} was never asked");
            none_of(&secrets, &bodies);
        }
        let asked: String = sim.bodies("kimi").iter().map(Value::to_string).collect();
        assert!(asked.contains("did not pass its check"), "no repair turn went out");
        assert!(asked.contains("<SECRET_1>") && asked.contains("<EMAIL_1>"), "nothing was cut out");
        let report = world.report(name);
        assert!(report["work"]["redactions"].as_u64().unwrap() >= PLANTED_ROWS as u64, "{report}");
    }
}

#[test]
fn a_repair_turn_holds_no_part_of_what_was_cut_out() {
    let mut random = fastrand::Rng::with_seed(5);
    // Spelled so that an answer that quotes it is too long, and so is the reason that quotes that.
    let spelled = |token: &str| token.bytes().map(|byte| format!("&#{byte};")).collect::<String>();
    // On a line of its own after a word, since the simulator quotes that.
    let row = |n: usize| {
        let token = format!("ghp_{}", made(&mut random, WORD, 36));
        format!("{}\n", json!({"name": format!("row {n}\n\nhere it is: {}\n\nSee you", spelled(&token))}))
    };
    let rows: String = (0..40).map(row).collect();
    let world = World::new("");
    let sim = Sim::start(&world, "name: broken\nkeep_bodies: 1000\nkimi: {}");
    world.write("rows.jsonl", &rows);
    let spec = kimi_job("repair", "rows.jsonl", "budget: 100\nfailure_rule: off").replace("P0", "P1");
    let job = world.write("job.yaml", &spec).display().to_string();
    world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]);
    let bodies: Vec<String> = sim.bodies("kimi").iter().map(Value::to_string).collect();
    let repairs = bodies.iter().filter(|body| body.contains("did not pass its check")).count();
    assert!(repairs > 0 && bodies.iter().all(|body| body.contains("<SECRET_1>")), "{repairs}");
    let told = bodies.iter().find(|body| body.contains("&#"));
    assert!(told.is_none(), "{told:?}");
}

#[test]
fn a_row_labelled_p2_stays_at_home_when_its_model_there_fails() {
    let world = World::new("");
    let scenario = "name: sick\nollama: {errors: [{shape: server_error}]}";
    let sim = Sim::start(&world, scenario);
    let row = |n: usize| {
        let level = ["", "P1", "P2", "P3"][n % 4];
        json!({"name": format!("{}-{n}", if n % 4 < 2 { "open" } else { "closed" }), "privacy": level})
    };
    let rows: String = (0..80).map(|n| format!("{}\n", row(n))).collect();
    world.write("rows.jsonl", &rows);
    let more = "budget: 100\nretries: 0\nfailure_rule: off";
    let spec = kimi_job("labels", "rows.jsonl", more).replace("P0", "P1").replace("[kimi]", "[ollama, kimi]");
    for (n, pack) in ["", "\npack: 8"].iter().enumerate() {
        let spec = spec.replace("labels", &format!("labels-{n}"));
        let job = world.write("job.yaml", &format!("{spec}{pack}")).display().to_string();
        // What may not go elsewhere waits for the local model, or has failed there.
        world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(4);
        let account = world.account(&format!("labels-{n}"));
        assert_eq!((account.done, account.dead + account.pending), (40, 40));
        let bodies: String = sim.bodies("kimi").iter().map(Value::to_string).collect();
        assert!(bodies.contains("open-") && !bodies.contains("closed-"), "a P2 row was at kimi");
        let reached: String = sim.bodies("ollama").iter().map(Value::to_string).collect();
        assert!(reached.contains("closed-"));
    }
}
