//! A running process is looked at and steered from other terminals: the real program, a real
//! foreground run on a slow simulator, and its control API.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use common::{Ended, Running, Sim, World, ask_over_tcp, set_up, wait_for};
use serde_json::Value;

/// Long enough for every test, and never worked to its end by one.
const ROWS: u32 = 5_000;
const SLOW: &str = "name: slow\nkimi: {latency: {fixed: 150}}";
const CHAOS: &str = "[chaos]\nenabled = true\n";
const LANE: &str = "gates/rate-kimi";

/// A job that runs in the foreground.
struct Bench {
    world: World,
    _sim: Sim,
    job: String,
    url: String,
}

impl Bench {
    fn new(config: &str) -> Bench {
        let (world, sim, job) = set_up(SLOW, ROWS, config, "");
        let url = sim.url.clone();
        Bench { world, _sim: sim, job, url }
    }

    fn home(&self) -> PathBuf {
        self.world.path("home/sim")
    }

    /// Starts it, or goes on with it, and waits until it can be asked and works.
    fn start(&self) -> Running {
        let mut running = self.world.start(&["swarm", "run", &self.job, "--sim", &self.url, "--yes"]);
        wait_for("the job to work", || {
            assert!(!running.has_ended(), "it ended: {}", running.said());
            let tree = self.empire(&["tree", "--json"]);
            let is_there = tree.code() == Some(0) && !tree.json()["children"][2]["children"].is_null();
            is_there.then_some(())
        });
        running
    }

    fn empire(&self, args: &[&str]) -> Ended {
        self.world.run(args)
    }

    fn json(&self, args: &[&str]) -> Value {
        self.empire(&[args, &["--json"]].concat()).exits(0).json()
    }

    fn node(&self, path: &str) -> Value {
        self.json(&["show", path])["node"].take()
    }

    fn wait_for_state(&self, path: &str, state: &str) -> Value {
        wait_for(&format!("{path} to be {state}"), || {
            let node = self.node(path);
            (node["state"] == state).then_some(node)
        })
    }

    fn finished(&self) -> u64 {
        let job = self.json(&["tree", "swarm", "--depth", "1"])["children"][0]["counts"]["agents"].take();
        job["done"].as_u64().unwrap()
    }

    fn stop(&self, running: Running) {
        running.signal("INT");
        running.end().exits(130);
    }
}

#[test]
fn another_terminal_sees_the_tree_and_pauses_and_resumes_a_job() {
    let bench = Bench::new("");
    let running = bench.start();
    bench.empire(&["tree"]).exits(0).shows("├─ gates").shows("rate-kimi").shows("job-").shows("5 cohorts");
    let shallow = bench.json(&["tree", "gates", "--depth", "0"]);
    assert!(shallow["children"].is_null() && shallow["children_left_out"].as_u64() >= Some(4), "{shallow}");
    bench.empire(&["show", LANE]).exits(0).shows("mailbox").shows("concurrency");
    bench.empire(&["show", "/empire/gates/nothing"]).exits(2).says("there is no /empire/gates/nothing");

    let job = "swarm/job-";
    bench.empire(&["pause", job, "--reason", "a look"]).exits(0).shows("paused");
    assert_eq!(bench.node(job)["state"], "paused");
    bench.empire(&["tree", "--unhealthy"]).exits(0).shows("paused !");
    let cohorts = bench.json(&["tree", job]);
    assert_eq!(cohorts["children"].as_array().unwrap().len(), 5, "of a job that is named, its cohorts");
    bench.empire(&["show", "swarm/job-/cohort-0"]).exits(0).shows("/cohort-0 (cohort)");
    bench.empire(&["show", "swarm/job-/cohort-9"]).exits(2).says("there is no /empire/swarm/job-/cohort-9");
    bench.empire(&["history", "gates/nothing"]).exits(0).shows("nothing of /empire/gates/nothing");
    // Those awake end, and nobody wakes after them.
    let done = wait_for("a standstill", || {
        let counts = bench.node(job)["counts"].take();
        let (agents, calls) = (&counts["agents"], &counts["calls"]);
        // Each called once, and what it brought is recorded.
        (agents["awake"] == 0 && agents["done"] == *calls).then(|| calls.as_u64().unwrap())
    });
    assert_eq!(bench.finished(), done);
    let waiting = bench.json(&["swarm", "agent", "job", &ROWS.to_string()]);
    assert_eq!(waiting["live"]["state"], "waiting");
    // Cohorts line up as they come, so the first to end may be any.
    let first = wait_for("a result", || bench.world.lines("job", "results.jsonl").first().cloned());
    let ended = wait_for("its agent to be done", || {
        let agent = bench.json(&["swarm", "agent", "job", &first["item"].to_string()]);
        (agent["state"] == "done").then_some(agent)
    });
    assert!(ended["calls"].as_u64() >= Some(1) && ended["tries"][0]["outcome"] == "answered", "{ended}");
    bench.empire(&["resume", job]).exits(0).shows("resumed: its agents wake again");
    bench.empire(&["resume", job]).exits(0).shows("nothing there was paused");
    wait_for("more to be done", || (bench.finished() > done).then_some(()));
    bench.empire(&["history", job]).exits(0).shows("said pause (a look)").shows("said resume");

    let mut watching = bench.world.start(&["watch", "gates"]);
    wait_for("the watch to begin", || watching.said().contains("watching").then_some(()));
    let restarted = bench.json(&["restart", LANE]);
    assert_eq!(restarted["node"]["incarnation"], 2, "{restarted}");
    assert_eq!(bench.node("gates")["restarts"]["in_window"], 0, "a person's restart counts no failure");
    bench.empire(&["kill", LANE]).exits(2).says("--yes");
    bench.empire(&["chaos", "kill", LANE]).exits(4).says("drills are switched off");
    bench.empire(&["top", "--by", "latency", "--window", "200ms"]).exits(0).shows("/empire/");
    bench.stop(running);
    watching.end().exits(0).shows("rate-kimi  runs, incarnation 2").says("the process has ended");
    bench.empire(&["tree"]).exits(4).says("nothing runs in");
    bench.empire(&["history", "--sim"]).exits(0).shows("said pause (a look)");
}

#[test]
fn a_lane_is_scaled_below_what_is_configured_and_that_is_told() {
    let bench = Bench::new("[providers.kimi]\nconcurrency = 12\n");
    let running = bench.start();
    let in_flight = || bench.json(&["show", LANE])["observed"]["in_flight"].as_u64().unwrap();
    wait_for("all slots to be in use", || (in_flight() == 12).then_some(()));
    bench
        .empire(&["scale", LANE, "3", "--reason", "a slow vendor"])
        .exits(0)
        .shows("/empire/gates/rate-kimi: 3 calls at once may be in flight, of the 12 that are configured");
    wait_for("the others to end", || (in_flight() <= 3).then_some(()));
    bench.empire(&["restart", LANE, "--now"]).exits(0);
    wait_for("calls to go again", || (in_flight() == 3).then_some(()));
    bench.empire(&["tree", "gates"]).exits(0).shows("scaled to 3 of 12 calls at once");
    bench
        .empire(&["explain", LANE])
        .exits(0)
        .shows("it is scaled to 3 of 12 calls at once, until this process ends or `empire scale")
        .shows("said scale to 3 (a slow vendor): 3 calls at once");
    bench
        .empire(&["scale", LANE, "13"])
        .exits(4)
        .says("kimi is configured for 12 calls at once")
        .says("`concurrency` in [providers.kimi] of empire.toml");
    bench.empire(&["scale", LANE, "-1"]).exits(2).says("invalid value '-1'");
    bench.empire(&["scale", "gates/privacy", "1"]).exits(0).shows("privacy workers look at calls");
    bench.empire(&["history", "gates"]).exits(0).shows("said scale to 13: refused: kimi is configured");
    bench.stop(running);
}

#[test]
fn a_policy_holds_from_the_next_failure_on_beyond_a_restart_and_until_it_expires() {
    let bench = Bench::new(CHAOS);
    let running = bench.start();
    wait_for("all cohorts to start", || {
        let job = bench.json(&["tree", "swarm", "--depth", "1"])["children"][0]["counts"].take();
        (job["cohorts"]["starting"] == 0 && job["agents"]["waiting"].as_u64() > Some(4_000)).then_some(())
    });
    let dry = bench.json(&["policy", "set", "gates", "intensity=0", "--dry-run"]);
    assert_eq!((dry["in_force"].as_bool(), dry["changes"][0]["to"].as_str()), (Some(false), Some("0")));
    let reaches = &dry["reaches"];
    assert!(reaches["actors"].as_u64() > Some(4) && reaches["agents"].as_u64() > Some(4_000), "{dry}");
    let reach = |path: &str| {
        let set = ["policy", "set", path, "on_exhausted=quarantine", "--dry-run"];
        let reaches = bench.json(&set)["reaches"].take();
        ["agents", "calls_in_flight", "reserved_micro_usd"].map(|name| reaches[name].as_u64().unwrap())
    };
    let [agents, calls, reserved] = reach(LANE);
    assert!(agents > 4_000 && calls <= 16 && reserved > 0, "{agents} {calls} {reserved}");
    assert_eq!(reach("gates/rate-claude"), [0, 0, 0], "nobody calls there");
    assert!(reach("gates/rate-*")[0] > 4_000 && reach("guard")[0] > 4_000);
    bench
        .empire(&["policy", "set", LANE, "intensity=0", "--reason", "x"])
        .exits(2)
        .says("say it of /empire/gates");
    bench.empire(&["policy", "set", "gates", "intensity=0"]).exits(2).says("--reason");

    bench.empire(&["chaos", "kill", LANE]).exits(0);
    wait_for("its restart", || (bench.node(LANE)["incarnation"] == 2).then_some(()));
    let set = |path: &str, field: &str, more: &[&str]| {
        bench.empire(&[&["policy", "set", path, field, "--reason", "a drill"], more].concat())
    };
    set("gates", "intensity=0", &["--if-version", "0"]).exits(0).shows("in force from the next failure on");
    set("gates", "intensity=9", &["--if-version", "0"]).exits(4).says("is v1 by now, not v0");
    set("gates/rate-*", "on_exhausted=quarantine", &[]).exits(0);
    bench.empire(&["chaos", "kill", LANE]).exits(0);
    bench.wait_for_state(LANE, "quarantined");
    bench.empire(&["explain", LANE]).exits(0).shows("limit 0").shows("quarantined, policy v2");
    bench.empire(&["release", LANE]).exits(0);
    bench.wait_for_state(LANE, "running");
    let history = bench.empire(&["history", "--json"]).exits(0).stdout;
    bench.world.write("history.jsonl", &history);
    bench.empire(&["policy", "simulate", "history.jsonl"]).exits(0).shows("2 exits, 1 decided otherwise");
    bench.stop(running);

    let kept = bench.json(&["policy", "get", "gates", "--sim"]);
    assert_eq!(
        (kept["policy"]["intensity"].as_u64(), kept["version"].as_u64()),
        (Some(0), Some(1)),
        "{kept}"
    );
    let running = bench.start();
    bench.empire(&["chaos", "kill", LANE]).exits(0);
    bench.wait_for_state(LANE, "quarantined");
    bench.empire(&["policy", "reset", "gates", "--reason", "done"]).exits(0).shows("0  →  5");
    set("gates", "intensity=7", &["--expires", "1s"]).exits(0);
    wait_for("its end", || {
        (bench.json(&["policy", "get", "gates"])["policy"]["intensity"] == 5).then_some(())
    });
    bench.stop(running);
    bench
        .empire(&["policy", "set", "gates", "window=2m", "--reason", "at rest", "--sim"])
        .exits(0)
        .shows("in force from the next start on");
    bench.empire(&["history", "--sim"]).exits(0).shows("(at rest)").shows("took the policy back");
}

#[test]
fn policies_at_rest_are_those_of_a_running_process() {
    let bench = Bench::new("");
    let running = bench.start();
    bench.empire(&["policy", "set", "gates", "window=90s", "--reason", "to be seen"]).exits(0);
    let of = |path: &str| bench.json(&["policy", "get", path, "--sim"]);
    let mut paths = vec!["/empire".to_owned(), "/empire/swarm/job-*".to_owned()];
    for above in ["", "gates", "swarm"] {
        let children = bench.json(&["tree", above, "--depth", "1"])["children"].take();
        let children = children.as_array().unwrap().iter();
        paths.extend(children.map(|node| node["path"].as_str().unwrap().to_owned()));
    }
    assert!(paths.len() >= 11, "{paths:?}");
    let then: Vec<Value> = paths.iter().map(|path| of(path)).collect();
    bench.stop(running);
    for (path, then) in paths.iter().zip(then) {
        assert_eq!(of(path), then, "{path}");
    }
    for (path, field, part) in [
        ("gates/rate-kimmi", "stop_within=1s", "/empire/gates/rate-kimmi is no actor that always is"),
        ("swarm/job-01", "stop_within=1s", "give the job's whole id"),
        (LANE, "intensity=3", "say it of /empire/gates"),
        ("gates", "intensity=99999", "at most 10000"),
    ] {
        let set = ["policy", "set", path, field, "--reason", "a mistake", "--sim"];
        bench.empire(&set).exits(2).says(part);
    }
    let none = ["policy", "set", "gates", "window=1m", "--reason", "x", "--expires", "0s", "--sim"];
    bench.empire(&none).exits(2).says("more than 0 ms");
    assert_eq!(of("gates")["version"], 1, "none of it was said");
}

#[test]
fn the_log_s_level_is_changed_over_the_api_until_the_process_ends() {
    let bench = Bench::new("");
    let running = bench.start();
    let lines = |level: &str| {
        let logs = fs::read_dir(bench.world.path("home/logs")).unwrap();
        let text: String = logs.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        text.lines().filter(|line| line.contains(&format!("\"level\":\"{level}\""))).count()
    };
    bench.empire(&["logs", "level"]).exits(0).shows("info, as configured");
    assert_eq!(lines("DEBUG"), 0);
    bench
        .empire(&["logs", "level", "debug", "--reason", "calls look slow"])
        .exits(0)
        .shows("debug, after info; until the process ends or `empire logs level info`");
    wait_for("debug lines", || (lines("DEBUG") > 10).then_some(()));
    assert!(lines("INFO") > 0);
    for wrong in ["loud", "info,empire=", "debug,debug", ""] {
        bench.empire(&["logs", "level", wrong]).exits(2).says("is no level: write error, warn, info");
    }
    let shown = bench.json(&["logs", "level"]);
    assert_eq!((shown["levels"].as_str(), shown["configured"].as_str()), (Some("debug"), Some("info")));
    bench.empire(&["logs", "level", "off"]).exits(0).shows("off, after debug");
    bench.empire(&["logs", "level", "info"]).exits(0).shows("info, after off; as configured");
    // What was on its way when it changed is written before what comes after.
    let finished = bench.finished();
    wait_for("more work", || (bench.finished() > finished + 100).then_some(()));
    let quiet = lines("DEBUG");
    let finished = bench.finished();
    wait_for("more work", || (bench.finished() > finished + 100).then_some(()));
    assert_eq!(lines("DEBUG"), quiet, "no more of them");
    bench
        .empire(&["history"])
        .exits(0)
        .shows("said log level debug (calls look slow): logged at debug until this process ends, after info")
        .shows("said log level info: ");
    bench.stop(running);
    bench.empire(&["logs", "level"]).exits(4).says("nothing runs in");
    let running = bench.start();
    bench.empire(&["logs", "level"]).exits(0).shows("info, as configured");
    bench.stop(running);
}

#[test]
fn the_socket_is_its_owner_s_alone_and_a_stale_one_is_replaced() {
    let bench = Bench::new("");
    let socket = bench.home().join("control.sock");
    bench.start().kill();
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket(), "nobody took it away");
    bench.empire(&["tree"]).exits(4).says("nothing runs in");
    let running = bench.start();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(bench.home()).unwrap().permissions().mode() & 0o777, 0o700);

    // Whoever says nothing, or too much, keeps nobody from an answer.
    let mut idle: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for stream in &mut idle {
        stream
            .write_all(b"POST /v1/order HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
            .unwrap();
    }
    bench.empire(&["tree"]).exits(0);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let post = |path: &str, body: &str| {
        let length = body.len();
        ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    };
    let get =
        |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    for (answer, parts) in [
        (post("/v1/order", "{}"), ["400", "missing field `path`"]),
        (
            post("/v1/order", r#"{"path": "gates", "do": {"order": "restart", "drain": 5}}"#),
            ["400", "`drain`"],
        ),
        (post("/v1/order", &"x".repeat(100_000)), ["413", "larger than 65536"]),
        (post("/v1/tree", "{}"), ["405", "does not take POST"]),
        (get("/v1/order"), ["405", "does not take GET"]),
        (get("/v1/nothing"), ["404", "/v1/openapi.json"]),
        (get("/v1/tree?path=gates&deep=1"), ["400", "unknown field `deep`"]),
        (get("/v1/tree?path=nowhere"), ["404", "no-such-node"]),
        (get("/ready"), ["200", "\"ready\":true"]),
        (get("/v1/openapi.json"), ["200", "operationId"]),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {}", parts[0])) && answer.contains(parts[1]),
            "{answer}"
        );
        let is_problem = answer.split("\r\n\r\n").next().unwrap().contains("application/problem+json");
        assert_eq!(is_problem, parts[0] != "200", "{answer}");
    }
    drop(idle);
    bench.stop(running);
    assert!(!socket.try_exists().unwrap(), "it goes with its process");
}

#[test]
fn over_loopback_only_the_token_opens_and_a_path_too_long_for_a_socket_has_another() {
    let bench = Bench::new("[control]\nlisten = \"127.0.0.1:0\"\n");
    let running = bench.start();
    let place: Value = serde_json::from_slice(&fs::read(bench.home().join("control.json")).unwrap()).unwrap();
    let address = place["address"].as_str().unwrap();
    let token_file = bench.home().join("control.token");
    assert_eq!(fs::metadata(&token_file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(token_file).unwrap();
    let shown = format!("authorization: Bearer {}\r\n", token.trim());
    let wrong = shown.replace(&token[..8], "00000000");
    for (path, more, status) in [
        ("/v1/tree", "", 401),
        ("/v1/tree", wrong.as_str(), 401),
        ("/v1/tree", shown.as_str(), 200),
        ("/v1/nothing", "", 401),
        ("/live", "", 200),
        ("/v1/tree", &format!("{shown}origin: https://evil.example\r\n"), 403),
    ] {
        let answer = ask_over_tcp(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{more}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {more}: {answer}");
    }
    let bent = ask_over_tcp(address, &format!("GET /v1/tree HTTP/1.1\r\nhost: evil.example\r\n{shown}"));
    assert!(bent.starts_with("HTTP/1.1 403"), "{bent}");
    let order = r#"{"path": "gates", "do": {"order": "pause"}}"#;
    let length = order.len();
    let post = format!("POST /v1/order HTTP/1.1\r\nhost: {address}\r\n{shown}content-length: {length}\r\n");
    assert!(common::ask_over_tcp_with(address, &post, order).starts_with("HTTP/1.1 200"));
    bench.empire(&["resume", "gates"]).exits(0);
    bench.empire(&["history", "gates"]).exits(0).shows("token said pause");
    bench.stop(running);

    let deep = bench.world.path(&"deep/".repeat(25));
    fs::create_dir_all(&deep).unwrap();
    let deep = deep.display().to_string();
    let at = |args: &[&str]| bench.world.start(&[args, &["--data-dir", &deep]].concat());
    let running = at(&["swarm", "run", &bench.job, "--sim", &bench.url, "--yes", "--out", "elsewhere"]);
    wait_for("it to be found", || (at(&["tree"]).end().code() == Some(0)).then_some(()));
    running.signal("INT");
    running.end().exits(130);
}
