//! The simulator as a client sees it: over real HTTP.

mod faults;

use std::collections::HashMap;
use std::net::SocketAddr;

use empire_actors::money::{Micros, Price};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::{Scenario, ScenarioError, SimError, Simulator};

const KIMI_PRICE: Price = Price {
    input: Micros(950_000),
    cached_input: Micros(160_000),
    cache_write: Micros(950_000),
    output: Micros(4_000_000),
};

struct Sim {
    server: Simulator,
    client: Client,
}

impl Sim {
    #[expect(clippy::disallowed_methods, reason = "a test's client, to loopback only")]
    async fn playing(yaml: &str) -> Sim {
        let scenario = Scenario::builtin(yaml).unwrap_or_else(|| Scenario::parse("test", yaml).unwrap());
        let prices = HashMap::from([("kimi-k2.6".to_owned(), KIMI_PRICE)]);
        let server = Simulator::start(scenario, prices, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        Sim { server, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.server.base_url())
    }

    fn ollama(&self, body: &Value) -> RequestBuilder {
        self.client.post(self.at("/api/chat")).json(body)
    }

    fn kimi(&self, body: &Value) -> RequestBuilder {
        self.client.post(self.at("/v1/chat/completions")).bearer_auth("k").json(body)
    }

    fn claude(&self, body: &Value) -> RequestBuilder {
        let post = self.client.post(self.at("/v1/messages"));
        post.header("x-api-key", "k").header("anthropic-version", "2023-06-01").json(body)
    }

    /// One plain call in any dialect.
    fn call(&self, dialect: Dialect, prompt: &str) -> RequestBuilder {
        let messages = json!([{"role": "user", "content": prompt}]);
        match dialect {
            Dialect::Ollama => self.ollama(&json!({"model": "m", "messages": messages, "stream": false})),
            Dialect::Kimi => self.kimi(&json!({"model": "kimi-k2.6", "messages": messages})),
            Dialect::Claude => self.claude(&json!({"model": "c", "max_tokens": 900, "messages": messages})),
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(self.at(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> Response {
        self.client.post(self.at(path)).body(body.to_owned()).send().await.unwrap()
    }

    async fn billed(&self, provider: &str) -> Value {
        self.get("/_sim/requests").await["providers"][provider]["billed"].take()
    }
}

async fn good(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-empire-simulated"], "true");
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn refused(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-empire-simulated"], "true");
    (response.status().as_u16(), response.json().await.unwrap())
}

fn lead_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["fit", "need"],
        "properties": {"fit": {"type": "integer", "minimum": 0, "maximum": 10}, "need": {"type": "string"}}})
}

#[tokio::test]
async fn ollama_answers_at_once_and_in_lines() {
    let sim = Sim::playing("instant").await;
    let messages = json!([{"role": "user", "content": "Company: Acme\nIndustry: mining"}]);
    let whole = good(
        sim.ollama(&json!({"model": "m", "messages": messages, "stream": false, "format": lead_schema()})),
    )
    .await;
    let lead: Value = serde_json::from_str(whole["message"]["content"].as_str().unwrap()).unwrap();
    assert!(lead["need"].as_str().unwrap().starts_with("[simulated] "));
    assert!(lead["need"].as_str().unwrap().contains("Acme"));
    assert_eq!(
        (&whole["done"], &whole["done_reason"], &whole["model"]),
        (&json!(true), &json!("stop"), &json!("m-simulated"))
    );
    assert!(whole["eval_count"].as_u64().unwrap() >= 40 && whole["prompt_eval_count"].as_u64().unwrap() > 0);

    let response = sim.ollama(&json!({"model": "m", "messages": messages})).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let content: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert!(content.starts_with("[simulated] ") && content.contains("Acme"), "{content}");
    assert_eq!(lines.iter().filter(|line| line["done"] == true).count(), 1);
    assert_eq!(lines.last().unwrap()["done_reason"], "stop");
}

#[tokio::test]
async fn kimi_answers_a_schema_given_or_in_the_prompt() {
    let sim = Sim::playing("name: x\nkimi: {cached_input_rate: 1.0}").await;
    let prompt = format!("Company: Acme\n\nJSON Schema:\n{}", lead_schema());
    let answer =
        good(sim.kimi(&json!({"model": "kimi-k2.6", "messages": [{"role": "user", "content": prompt}],
        "response_format": {"type": "json_object"}, "thinking": {"type": "disabled"}})))
        .await;
    let message = &answer["choices"][0]["message"];
    let lead: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
    assert!(lead["fit"].is_i64() && lead["need"].as_str().unwrap().contains("Acme"));
    assert!(message.get("reasoning_content").is_none());
    assert_eq!(
        (&answer["system_fingerprint"], &answer["object"]),
        (&json!("simulated"), &json!("chat.completion"))
    );
    let usage = &answer["usage"];
    let count = |field: &str| usage[field].as_u64().unwrap();
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    assert!(count("cached_tokens") > 0 && count("cached_tokens") < count("prompt_tokens"));
    let billed = sim.billed("kimi").await;
    let cached = count("cached_tokens");
    let usage = empire_actors::money::Usage {
        input: count("prompt_tokens") - cached,
        cached_input: cached,
        cache_write: 0,
        output: count("completion_tokens"),
    };
    assert_eq!(billed["micros"], KIMI_PRICE.cost(&usage).0);

    let given = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 7}}});
    let answer = good(sim.kimi(
        &json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": given}),
    ))
    .await;
    assert_eq!(answer["choices"][0]["message"]["content"], "7");
    assert_eq!(sim.billed("kimi").await["unpriced"], 1);
}

#[tokio::test]
async fn claude_answers_a_format_or_a_forced_tool() {
    let sim = Sim::playing("name: x\nclaude: {cached_input_rate: 1.0}").await;
    let ask = |extra: Value| {
        let mut body = json!({"model": "claude-sonnet-4-6", "max_tokens": 500, "system": "You qualify leads.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Company: Acme"}]}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let body = ask(json!({"output_config": {"format": {"type": "json_schema", "schema": lead_schema()}}}));
    let response = sim.claude(&body).send().await.unwrap();
    assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_"));
    let answer: Value = response.json().await.unwrap();
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("Acme"));
    assert_eq!(
        (&answer["stop_reason"], &answer["model"]),
        (&json!("end_turn"), &json!("claude-sonnet-4-6-simulated"))
    );
    let usage = &answer["usage"];
    for field in ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"] {
        assert!(usage[field].is_u64(), "{field}");
    }
    let billed = sim.billed("claude").await;
    assert_eq!(billed["cached_input"], usage["cache_read_input_tokens"]);
    assert_eq!(billed["input"], usage["input_tokens"]);

    let answer = good(sim.claude(&ask(json!({"tool_choice": {"type": "tool", "name": "lead"},
        "tools": [{"name": "lead", "input_schema": lead_schema()}]}))))
    .await;
    assert_eq!((&answer["stop_reason"], &answer["content"][0]["name"]), (&json!("tool_use"), &json!("lead")));
    assert!(answer["content"][0]["input"]["need"].as_str().unwrap().contains("Acme"));

    let plain = good(sim.claude(&ask(json!({})))).await;
    assert!(plain["content"][0]["text"].as_str().unwrap().starts_with("[simulated] "));
}

#[tokio::test]
async fn a_maximum_that_is_too_low_cuts_the_answer_off() {
    let sim = Sim::playing("instant").await;
    let messages = json!([{"role": "user", "content": "Company: Acme"}]);
    let kimi = good(sim.kimi(&json!({"model": "m", "messages": messages, "max_completion_tokens": 3, "thinking": {"type": "disabled"}}))).await;
    assert_eq!(
        (&kimi["choices"][0]["finish_reason"], &kimi["usage"]["completion_tokens"]),
        (&json!("length"), &json!(3))
    );
    let claude = good(sim.claude(&json!({"model": "m", "messages": messages, "max_tokens": 3}))).await;
    assert_eq!(
        (&claude["stop_reason"], &claude["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(3))
    );
    let ollama = good(sim.ollama(
        &json!({"model": "m", "messages": messages, "stream": false, "options": {"num_predict": 3}}),
    ))
    .await;
    assert_eq!((&ollama["done_reason"], &ollama["eval_count"]), (&json!("length"), &json!(3)));
}

#[tokio::test]
async fn lists_and_small_pages_are_in_their_dialects() {
    let sim = Sim::playing("name: x\nollama: {models: ['llama3.2:3b'], remote_models: {'kimi-k2.6:cloud': 'https://ollama.com:443'}}").await;
    let tags = sim.get("/api/tags").await;
    assert_eq!(tags["models"][0]["name"], "llama3.2:3b");
    assert_eq!(tags["models"][1]["remote_host"], "https://ollama.com:443");
    assert!(sim.get("/api/version").await["version"].is_string());
    assert_eq!(sim.get("/api/ps").await["models"][0]["model"], "llama3.2:3b");
    let home = sim.client.get(sim.at("/")).send().await.unwrap().text().await.unwrap();
    assert_eq!(home, "Ollama is running");

    let kimi = |path: &str| sim.client.get(sim.at(path)).bearer_auth("k");
    assert_eq!(good(kimi("/v1/models")).await["data"][0]["id"], "kimi-k2.6");
    assert!(good(kimi("/v1/users/me/balance")).await["data"]["available_balance"].as_f64().unwrap() > 0.0);
    let claude = sim
        .client
        .get(sim.at("/v1/models"))
        .header("anthropic-version", "2023-06-01")
        .header("x-api-key", "k");
    assert_eq!(good(claude).await["data"][0]["type"], "model");
    assert_eq!(refused(sim.client.get(sim.at("/v1/models"))).await.0, 401);
    assert_eq!(refused(sim.client.get(sim.at("/elsewhere"))).await.0, 404);
    let foreign = sim.client.get(sim.at("/_sim/requests")).header("host", "elsewhere.example");
    assert_eq!(refused(foreign).await.0, 403);
    let mut info = sim.get("/_sim/info").await;
    assert_eq!(info["fingerprint"].take().as_str().map(str::len), Some(64));
    assert_eq!(info, json!({"simulator": true, "scenario": "x", "fingerprint": null, "seed": 0}));
}

#[tokio::test]
async fn requests_a_vendor_would_refuse_are_refused() {
    let sim = Sim::playing(
        "name: x\nollama: {models: ['a:latest']}\nkimi: {models: [kimi-k2.6]}\nclaude: {models: [c]}",
    )
    .await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let kind = |(status, body): (u16, Value)| {
        (status, body["error"]["type"].as_str().unwrap_or_default().to_owned())
    };

    let no_key = sim.client.post(sim.at("/v1/chat/completions")).bearer_auth("").json(&json!({}));
    assert_eq!(kind(refused(no_key).await), (401, "invalid_authentication_error".to_owned()));
    let no_key =
        sim.client.post(sim.at("/v1/messages")).header("anthropic-version", "2023-06-01").json(&json!({}));
    assert_eq!(kind(refused(no_key).await), (401, "authentication_error".to_owned()));
    let no_version = sim.client.post(sim.at("/v1/messages")).header("x-api-key", "k").json(&json!({}));
    assert_eq!(kind(refused(no_version).await), (400, "invalid_request_error".to_owned()));

    for extra in [
        json!({"temperature": 1}),
        json!({"top_p": 0.9}),
        json!({"top_k": 1}),
        json!({"max_tokens": null}),
        json!({"stream": true}),
    ] {
        let mut body = json!({"model": "c", "messages": messages, "max_tokens": 10});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(
            kind(refused(sim.claude(&body)).await),
            (400, "invalid_request_error".to_owned()),
            "{extra}"
        );
    }
    let hot = json!({"model": "kimi-k2.6", "messages": messages, "temperature": 0.7});
    assert_eq!(refused(sim.kimi(&hot)).await.0, 400);
    let bad = json!({"model": "c", "messages": messages, "max_tokens": 9, "output_config": {"format": {"type": "json_schema", "schema": {"type": "strang"}}}});
    assert_eq!(refused(sim.claude(&bad)).await.0, 400);

    let (status, body) = refused(sim.ollama(&json!({"model": "b", "messages": messages}))).await;
    assert_eq!((status, body), (404, json!({"error": "model 'b' not found, try pulling it first"})));
    assert_eq!(
        good(sim.ollama(&json!({"model": "a", "messages": messages, "stream": false}))).await["model"],
        "a-simulated"
    );
    let gone = refused(sim.kimi(&json!({"model": "kimi-k2.5", "messages": messages}))).await;
    assert_eq!(kind(gone), (404, "resource_not_found_error".to_owned()));
    assert_eq!(
        kind(refused(sim.claude(&json!({"model": "d", "messages": messages, "max_tokens": 9}))).await).0,
        404
    );
    assert_eq!(sim.billed("kimi").await["calls"], 0);
}

#[tokio::test]
async fn equal_seeds_give_equal_answers_in_any_order() {
    let yaml = "name: x\nseed: 5\nkimi: {cached_input_rate: 0.5, schema_break_rate: 0.3, garbage_rate: 0.3, garbage_kinds: [empty, cut_off, malformed], errors: [{shape: server_error, rate: 0.3}]}";
    let (one, other) = (Sim::playing(yaml).await, Sim::playing(yaml).await);
    let ask = async |sim: &Sim, number: u32| {
        let response = sim.call(Dialect::Kimi, &format!("Company: Number {number}")).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap())
    };
    let mut forward = Vec::new();
    for number in (0..20).chain(0..20) {
        forward.push((number, ask(&one, number).await));
    }
    let mut backward = Vec::new();
    for number in (0..20).rev().chain((0..20).rev()) {
        backward.push((number, ask(&other, number).await));
    }
    // Within each half, the order does not matter; the second half asks the same things again.
    for half in [0..20, 20..40] {
        let mut theirs = backward[half.clone()].to_vec();
        theirs.reverse();
        assert_eq!(forward[half].to_vec(), theirs);
    }
    assert!(forward[..20] != forward[20..], "a second try may meet another fate");
}

#[tokio::test]
async fn what_was_received_is_shown() {
    let sim = Sim::playing("instant").await;
    for number in 0..5 {
        good(sim.call(Dialect::Kimi, &format!("secret {number}"))).await;
    }
    good(sim.call(Dialect::Ollama, "other")).await;
    let seen = sim.get("/_sim/requests?bodies=true&dialect=kimi&limit=2").await;
    assert_eq!(
        seen["counts"][1],
        json!({"dialect": "kimi", "method": "POST", "path": "/v1/chat/completions", "status": 200, "count": 5})
    );
    let bodies = seen["bodies"].as_array().unwrap();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[1]["body"]["messages"][0]["content"], "secret 4");
    assert!(sim.get("/_sim/requests").await.get("bodies").is_none());
    let times = sim.get("/_sim/times?provider=kimi").await;
    let times = times["times"].as_array().unwrap();
    assert!(times.len() == 5 && times.windows(2).all(|two| two[0].as_f64() <= two[1].as_f64()));
    assert_eq!(sim.post("/_sim/reset", "").await.status(), 200);
    assert_eq!(sim.get("/_sim/requests").await["counts"], json!([]));
    let bad = sim.post("/_sim/scenario", "name: x\nkimi: {latency: {fixed: -1}}").await;
    assert_eq!(bad.status(), 400);
    assert!(bad.text().await.unwrap().contains("line 2"));
}

#[tokio::test]
async fn it_listens_on_loopback_alone_and_says_when_a_port_is_taken() {
    let start = |address: SocketAddr| {
        Simulator::start(Scenario::builtin("instant").unwrap(), HashMap::new(), address)
    };
    let error = start("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, SimError::NotLoopback(_)));
    assert!(error.to_string().contains("0.0.0.0:0"));
    let first = start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert!(matches!(start(first.address()).await.unwrap_err(), SimError::Bind { .. }));
}

#[test]
fn a_scenario_file_is_loaded_and_its_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.yaml");
    std::fs::write(&path, "name: mine\nseed: 3\n").unwrap();
    let mine = Scenario::load(path.to_str().unwrap()).unwrap();
    assert_eq!((mine.name(), mine.seed()), ("mine", 3));
    std::fs::write(&path, "name: mine\nkimi: {hang_rte: 1}\n").unwrap();
    let error = Scenario::load(path.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, ScenarioError::Yaml { .. }));
    assert!(error.to_string().contains("mine.yaml") && error.to_string().contains("line 2"), "{error}");
}
