//! What Prometheus reads of the real program: it agrees with the report and with the journal, names
//! nobody, and is all that the shipped rules and the dashboard ask for.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod common;
mod metrics {
    pub(crate) mod page;
    pub(crate) mod promql;
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, Running, Sim, World, csv_rows, kimi_job, wait_for};
use empire::daemon::{Daemon, Down};
use empire::home::Home;
use empire::metrics::catalogue::{METRICS, of_series};
use empire::run::feed::Feed;
use empire::run::launch::Wanted;
use empire::run::prepare::Place;
use empire_actors::kernel::journal::Event;
use empire_actors::kernel::tree::Order;
use empire_actors::tally::path_kind;
use metrics::page::Page;
use metrics::promql::asked;
use serde_json::Value;
use tokio::time::Instant;

const MEASURED: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// What a later try cures, what none does, and answers of no use; nothing that closes a lane.
const MIXED: &str = "name: mixed
kimi:
  latency: {fixed: 5}
  cached_input_rate: 0.3
  garbage_rate: 0.05
  errors:
    - {shape: server_error, rate: 0.03}
    - {shape: disconnect, rate: 0.02}
    - {shape: content_filter, rate: 0.02}
    - {shape: invalid_request, rate: 0.02}
";

/// A running job, and where its metrics are.
fn start(world: &World, sim: &Sim, job: &str) -> (Running, String) {
    let mut command = world.command(&["swarm", "run", job, "--sim", &sim.url, "--yes"]);
    command.env("EMPIRE_LOG", "empire=info");
    let mut running = world.start_command(command);
    let url = wait_for("the address of the metrics", || {
        assert!(!running.has_ended(), "{}", running.said());
        let said = running.said();
        let at = said.find("http://127.0.0.1:").filter(|at| said[*at..].contains("/metrics"))?;
        Some(said[at..].split_whitespace().next().unwrap().to_owned())
    });
    (running, url)
}

#[test]
fn while_a_job_runs_counters_only_go_up_and_never_say_more_than_its_report() {
    let scenario = "name: pace\nkimi: {latency: {fixed: 20}, errors: [{shape: server_error, rate: 0.05}]}";
    let world = World::new(MEASURED);
    let sim = Sim::start(&world, scenario);
    world.write("rows.csv", &csv_rows(600));
    let spec = kimi_job("job", "rows.csv", "budget: 100\nretries: 10\n");
    let job = world.write("job.yaml", &spec).display().to_string();
    let (running, url) = start(&world, &sim, &job);
    let mut pages: Vec<Page> = Vec::new();
    while let Some(page) = Page::read(&url) {
        if let Some(before) = pages.last() {
            let now = page.counters();
            for (series, value) in before.counters() {
                assert!(now.get(&series).is_some_and(|now| *now >= value), "{series} went back from {value}");
            }
        }
        pages.push(page);
    }
    running.end().exits(0);
    assert!(pages.len() > 3, "{} scrapes", pages.len());
    let (report, last) = (world.account("job").report, pages.pop().unwrap());
    let calls = last.sum("empire_calls_total", &[]);
    assert!(calls > 0.0 && calls <= report["work"]["calls"].as_f64().unwrap(), "{calls}");
    assert!(last.sum("empire_cost_usd_total", &[]) <= report["spent"].as_f64().unwrap() / 1e6 + 1e-9);
    assert!(last.sum("empire_agents_ended_total", &[("outcome", "done")]) <= 600.0);
    assert_eq!(last.sum("empire_agents_spawned_total", &[]), 600.0);
    let in_the_middle = &pages[pages.len() / 2];
    assert_eq!(in_the_middle.sum("empire_jobs_running", &[]), 1.0);
    let agents = in_the_middle.by("empire_agents", "state");
    assert!(agents["waiting"] + agents["awake"] + agents["done"] >= 600.0, "{agents:?}");
}

#[test]
fn metrics_that_cannot_be_served_end_nothing_and_say_which_setting_helps() {
    let world = World::new("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let config = format!(
        "{}[metrics]\nlisten = \"{listen}\"\n",
        common::UNLIMITED.replace("[metrics]\nlisten = \"none\"\n", "")
    );
    world.write("config.toml", &config);
    let sim = Sim::start(&world, "instant");
    world.write("rows.csv", &csv_rows(5));
    let job = world.write("job.yaml", &kimi_job("job", "rows.csv", "")).display().to_string();
    let ended = world.run(&["swarm", "run", &job, "--sim", &sim.url, "--yes"]).exits(0);
    ended.says(&format!("warning: metrics cannot be served on {listen}")).says("[metrics] listen");

    world.write("config.toml", "[metrics]\nlisten = \"0.0.0.0:9464\"\n");
    world.run(&["swarm", "plan", &job, "--sim"]).exits(2).says("metrics.listen").says("127.0.0.1");
}

/// A daemon in this process, and its metrics.
struct InProcess {
    world: World,
    daemon: Arc<Daemon>,
    url: String,
}

impl InProcess {
    async fn start(scenario: &str, config: &str) -> InProcess {
        let world = World::new(&format!("{MEASURED}{config}"));
        let home = Home::resolve(Some(world.path("home")), |_| None).unwrap();
        let place = Place { home, config: Some(world.path("config.toml")) };
        let scenario = match scenario.contains(':') {
            true => world.write("scenario.yaml", scenario).display().to_string(),
            false => scenario.to_owned(),
        };
        let daemon = Daemon::start(place, Some(&scenario)).await.unwrap();
        let url = daemon.status().await.unwrap().metrics.unwrap();
        InProcess { world, daemon, url }
    }

    /// Starts a job of so many rows.
    async fn begin(&self, name: &str, rows: u32, more: &str) -> Arc<Feed> {
        self.world.write(&format!("{name}.csv"), &csv_rows(rows));
        let spec = kimi_job(name, &format!("{name}.csv"), more);
        let job = self.world.write(&format!("{name}.yaml"), &spec);
        let out = Some(self.world.path("out").join(name));
        let (input, limit, sim, budget) = (None, None, None, None);
        let wanted = Wanted { job, input, limit, sim, budget, out, fresh: false, yes: true };
        let taken = self.daemon.take(wanted).await.unwrap();
        self.daemon.feed(&taken.id).unwrap()
    }

    /// Works a job to its end, and gives its report.
    async fn work(&self, name: &str, rows: u32, more: &str) -> Value {
        let feed = self.begin(name, rows, more).await;
        let ended = self.until("the job's end", || feed.from(0).ended).await;
        serde_json::from_str(&ended.report.unwrap()).unwrap()
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn page(&self) -> Page {
        Page::read(&self.url).unwrap()
    }

    async fn stop(self) {
        let InProcess { daemon, url, world } = self;
        daemon.stop(Down { within: Duration::from_secs(10) }).await.unwrap();
        assert!(Page::read(&url).is_none(), "nobody listens any more");
        drop(world);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_jobs_what_was_counted_is_what_their_reports_say() {
    let empire = InProcess::start(MIXED, "").await;
    let mut reports = Vec::new();
    for name in ["one", "two"] {
        reports.push(empire.work(name, 300, "budget: 50\nfailure_rule: off\nretries: 6\ncache: off\n").await);
    }
    let page = empire.page();
    // A dotted path, summed over both reports.
    let sum = |path: &str| -> f64 {
        let of = |report| path.split('.').fold(report, |value: &Value, name| &value[name]).as_f64().unwrap();
        reports.iter().map(of).sum()
    };
    let calls = page.by("empire_calls_total", "outcome");
    assert_eq!(calls.values().sum::<f64>(), sum("work.calls"), "{calls:?}");
    let failed: f64 =
        calls.iter().filter(|(outcome, _)| *outcome != "answered").map(|(_, count)| count).sum();
    assert!(failed > 10.0, "{calls:?}");
    for (outcome, count) in
        calls.iter().filter(|(outcome, _)| !["answered", "lost"].contains(&outcome.as_str()))
    {
        let words = outcome.replace('_', " ");
        let told: u64 = reports.iter().filter_map(|report| report["work"]["tries"][&words].as_u64()).sum();
        assert_eq!(*count, told as f64, "{outcome}: {calls:?}");
    }
    let tokens = page.by("empire_tokens_total", "gen_ai_token_type");
    for (kind, count) in &tokens {
        assert_eq!(*count, sum(&format!("work.usage.{kind}")), "{kind}");
    }
    assert!(tokens["input"] > 0.0 && tokens["output"] > 0.0);
    let usage = page.by("gen_ai_client_token_usage_sum", "gen_ai_token_type");
    assert_eq!(usage["output"], tokens["output"]);
    assert_eq!(usage["input"], tokens["input"] + tokens["cached_input"] + tokens["cache_write"]);
    let took = page.sum("gen_ai_client_operation_duration_seconds_count", &[]);
    assert_eq!(took, sum("work.calls") - calls.get("lost").unwrap_or(&0.0));
    let cost = page.sum("empire_cost_usd_total", &[]);
    assert!((cost * 1e6 - sum("spent")).abs() < 0.5, "{cost}");
    let ended = page.by("empire_agents_ended_total", "outcome");
    assert_eq!((ended["done"], ended["dead"]), (sum("totals.done"), sum("totals.dead")));
    assert_eq!(page.sum("empire_agents_spawned_total", &[]), 600.0);
    // The accounts of this data folder have nothing but these jobs.
    assert!((page.sum("empire_budget_spent_usd", &[("scope", "total")]) - cost).abs() < 1e-6);
    assert_eq!(page.sum("empire_budget_reserved_usd", &[("scope", "total")]), 0.0);
    let at_rate = page.sum("empire_gate_decisions_total", &[("gate", "rate"), ("outcome", "passed")]);
    assert!(at_rate >= sum("work.calls"), "every call passed the rate gate: {at_rate}");
    names_nobody(&page);
    empire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_decisions_are_those_of_the_journal() {
    let empire = InProcess::start("instant", "").await;
    let tree = empire.daemon.house().tree();
    let crashes = ["/empire/guard", "/empire/gates/rate-kimi", "/empire/gates/privacy-0", "/empire/guard"];
    for path in crashes {
        let before = tree.view(path, 0).unwrap().incarnation;
        tree.order(path, Order::Crash, "a test", "to see it counted").await.unwrap();
        empire
            .until("its restart", || {
                let node = tree.view(path, 0).unwrap();
                let all_run = tree.nodes().iter().all(|node| node.state.word() == "running");
                (node.incarnation > before && all_run).then_some(())
            })
            .await;
    }
    tree.order("/empire/guard", Order::Quarantine, "a test", "to see its state").await.unwrap();
    let page = empire.page();
    let mut told: (BTreeMap<String, f64>, BTreeMap<(String, String), f64>) = Default::default();
    for entry in tree.supervision().journal.latest("", 1_000) {
        let kind = path_kind(&entry.path);
        match &entry.event {
            Event::Started { .. } => *told.0.entry(kind).or_default() += 1.0,
            Event::Exit(decision) => {
                *told.1.entry((kind, decision.exit.word().to_owned())).or_default() += 1.0;
            }
            _ => {}
        }
    }
    assert!(told.0["guard"] == 2.0 && told.0["gates/rate"] >= 1.0, "{told:?}");
    for (kind, restarts) in page.by("empire_actor_restarts_total", "actor_kind") {
        assert_eq!(restarts, told.0.get(&kind).copied().unwrap_or(0.0), "{kind}");
    }
    let decisions = page.by("empire_supervisor_decisions_total", "actor_kind");
    assert_eq!(decisions.values().sum::<f64>(), told.1.values().sum::<f64>());
    for ((kind, exit), count) in &told.1 {
        let labels = [("actor_kind", kind.as_str()), ("exit", exit.as_str())];
        assert_eq!(page.sum("empire_supervisor_decisions_total", &labels), *count, "{kind} {exit}");
    }
    let guard = [("actor_kind", "guard"), ("state", "quarantined")];
    assert_eq!(page.sum("empire_actors", &guard), 1.0);
    assert_eq!(page.sum("empire_actors_unhealthy", &[("actor_kind", "guard")]), 1.0);
    empire.stop().await;
}

/// No label says which agent, item, prompt or job it was.
fn names_nobody(page: &Page) {
    for (series, name, value) in page.labels() {
        let metric = of_series(series).unwrap_or_else(|| panic!("{series} is not in the catalogue"));
        assert!(name == "le" || metric.labels.contains(&name), "{series} has the label {name}");
        let numbered = value.len() > 20 && value.matches('-').count() >= 4;
        assert!(!numbered && !["one", "two", "job"].contains(&value), "{series}: {name} is {value}");
    }
}

/// Every expression that ships, and where it stands.
fn expressions() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in ["recording.yml", "alerts.yml"] {
        let text = std::fs::read_to_string(root.join("config/prometheus").join(file)).unwrap();
        let rules: Value = serde_saphyr::from_str(&text).unwrap();
        for rule in
            rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
        {
            let name = rule["alert"].as_str().or(rule["record"].as_str()).expect("a rule has a name");
            found.push((format!("{file}: {name}"), rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    let board = dashboard();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found
                .push((format!("the panel {}", panel["title"]), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let asked = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (series, label) = asked.split_once(", ").unwrap();
            found.push((format!("the variable {}", variable["name"]), format!("{series}{{{label}=\"\"}}")));
        }
    }
    found
}

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/grafana/empire.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rules_and_the_dashboard_ask_for_is_there() {
    // Those that describe the program rather than what it does need no panel, and not every machine
    // tells how long tasks wait for memory.
    let unseen = [
        "empire_host_memory_stall_ratio",
        "process_virtual_memory_bytes",
        "process_max_fds",
        "process_start_time_seconds",
    ];
    let empire = InProcess::start("steady", "[providers.kimi]\nrequests_per_hour = 1_000_000").await;
    empire.begin("one", 20_000, "budget: 100").await;
    let url = empire.url.clone();
    let is_whole = |page: &Page| {
        METRICS.iter().all(|metric| page.types.contains_key(metric.name) || unseen.contains(&metric.name))
    };
    let started = Instant::now();
    let page = empire
        .until("all metrics", || {
            let page = Page::read(&url).unwrap();
            // Then what is missing is told below.
            (is_whole(&page) || started.elapsed() > PATIENCE / 2).then_some(page)
        })
        .await;
    empire.stop().await;
    let recorded: BTreeSet<String> = expressions()
        .iter()
        .filter_map(|(place, _)| place.strip_prefix("recording.yml: ").map(str::to_owned))
        .collect();
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (place, expression) in expressions() {
        let asked = asked(&expression);
        assert!(!asked.series.is_empty(), "{place}: {expression}");
        for series in &asked.series {
            let is_there =
                page.names().contains(series.as_str()) || recorded.contains(series) || series == "up";
            if !is_there && !unseen.contains(&series.as_str()) {
                faults.push(format!("{place}: there is no {series}"));
            }
            used.extend(of_series(series).map(|metric| metric.name));
        }
        for label in &asked.labels {
            let known = METRICS.iter().any(|metric| metric.labels.contains(&label.as_str()));
            if !known && !["instance", "job", "le"].contains(&label.as_str()) {
                faults.push(format!("{place}: nothing has the label {label}"));
            }
        }
    }
    for metric in METRICS {
        if !page.types.contains_key(metric.name) && !unseen.contains(&metric.name) {
            faults.push(format!("{} is in the catalogue, and not on the page", metric.name));
        }
        if !used.contains(metric.name) && !unseen.contains(&metric.name) {
            faults.push(format!("{} is shown nowhere", metric.name));
        }
    }
    for (name, kind) in &page.types {
        let known = METRICS.iter().find(|metric| metric.name == name);
        assert_eq!(known.map(|metric| metric.kind.word()), Some(kind.as_str()), "{name}");
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_dashboard_is_whole() {
    let board = dashboard();
    assert_eq!(board["uid"], "empire");
    assert!(board["schemaVersion"].as_u64().unwrap() >= 36 && board["version"].as_u64().is_some());
    assert!(board.get("id").is_none() && board.get("__inputs").is_none(), "it is provisioned as it is");
    let variables: Vec<&str> = board["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(variables.contains(&"datasource"));
    let mut ids = BTreeSet::new();
    let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                let other = taken.insert((x, y), title.to_owned());
                assert!(x < 24 && other.is_none(), "{title} lies over {other:?} at {x}, {y}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(["timeseries", "stat"].contains(&panel["type"].as_str().unwrap()), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["refId"].is_string(), "{title}");
            let expression = target["expr"].as_str().unwrap();
            for variable in expression.split('$').skip(1) {
                let known = variables.iter().any(|name| variable.starts_with(name));
                assert!(known || variable.starts_with("__rate_interval"), "{title}: ${variable}");
            }
        }
    }
}

/// Scrapes a job of `rows` items while it runs; gives how long each scrape took, and the most bytes.
fn scraped(rows: u32, scrapes: usize) -> (Vec<Duration>, usize) {
    let world = World::new(MEASURED);
    let sim = Sim::start(&world, "name: slow\nkimi: {latency: {fixed: 5}}");
    let spec = format!(
        "name: job\nprivacy: P0\ninput: {{count: {rows}}}\nprompt: 'Say {{{{ item }}}}.'\nmax_tokens: 20\nroute: [kimi]\nbudget: 500\n"
    );
    let job = world.write("job.yaml", &spec).display().to_string();
    let (running, url) = start(&world, &sim, &job);
    wait_for("its agents", || {
        Page::read(&url).filter(|page| page.sum("empire_agents_spawned_total", &[]) >= f64::from(rows))
    });
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..scrapes {
        let began = Instant::now();
        let Some(page) = Page::read(&url) else { break };
        took.push(began.elapsed());
        bytes = bytes.max(page.bytes);
    }
    running.kill();
    took.sort();
    (took, bytes)
}

#[test]
fn a_scrape_is_small_whatever_the_number_of_agents() {
    let (took, bytes) = scraped(5_000, 20);
    assert!(took.len() >= 5, "{took:?}");
    assert!(bytes < 100_000, "{bytes} bytes");
}

#[test]
#[ignore = "half a million agents take a minute and more; it measures time, so run it alone: cargo test --release --test metrics -- --ignored --nocapture"]
#[allow(clippy::print_stdout, reason = "what is measured is shown")]
fn a_scrape_among_half_a_million_agents_takes_less_than_50_ms() {
    let (took, bytes) = scraped(500_000, 200);
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!(
        "{} scrapes: half {:?}, 95 % {:?}, longest {:?}; {bytes} bytes",
        took.len(),
        at(50),
        at(95),
        at(100)
    );
    assert!(at(95) < Duration::from_millis(50), "{took:?}");
    assert!(bytes < 1_000_000);
}
