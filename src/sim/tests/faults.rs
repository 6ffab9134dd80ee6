//! What goes wrong when a scenario says so, as a client sees it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::dialect::Dialect;
use super::super::shapes::Shape;
use super::super::{Scenario, Simulator};
use super::{Sim, good, lead_schema, refused};

#[tokio::test]
async fn every_error_shape_has_its_status_and_body() {
    let sim = Sim::playing("instant").await;
    for dialect in Dialect::ALL {
        for shape in Shape::all(dialect) {
            let yaml = format!(
                "name: x\n{}: {{errors: [{{shape: {}, wait_seconds: 3}}]}}",
                dialect.name(),
                shape.name
            );
            assert_eq!(sim.post("/_sim/scenario", &yaml).await.status(), 200);
            let response = sim.call(dialect, "hi").send().await.unwrap();
            assert_eq!(response.status(), shape.status, "{}", shape.name);
            let retry_after =
                response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(retry_after, shape.says_when.then(|| "3".to_owned()), "{}", shape.name);
            let request_id =
                response.headers().get("request-id").map(|value| value.to_str().unwrap().to_owned());
            let body: Value = response.json().await.unwrap();
            match dialect {
                Dialect::Ollama => assert!(body["error"].is_string(), "{body}"),
                Dialect::Kimi => assert!(
                    body["error"]["type"].is_string() && body["error"]["message"].is_string(),
                    "{body}"
                ),
                Dialect::Claude => {
                    assert_eq!(body["type"], "error");
                    assert!(body["error"]["type"].is_string());
                    assert_eq!(body["request_id"].as_str().map(str::to_owned), request_id);
                }
            }
            if (dialect, shape.name) == (Dialect::Kimi, "rate_limit") {
                assert!(body["error"]["message"].as_str().unwrap().contains("try again after 3 seconds"));
            }
        }
        assert_eq!(sim.billed(dialect.name()).await["calls"], 0);
    }
}

#[tokio::test]
async fn an_ollama_stream_can_fail_after_its_status() {
    let sim = Sim::playing("name: x\nollama: {errors: [{shape: error_line}]}").await;
    let response = sim
        .ollama(&json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["error"].is_string() && last.get("done").is_none(), "{last}");
}

#[tokio::test]
async fn an_account_runs_dry_and_is_topped_up() {
    let sim = Sim::playing("name: x\nkimi: {dry_after_calls: 2}\nclaude: {dry_after_calls: 0}").await;
    for number in 0..2 {
        good(sim.call(Dialect::Kimi, &format!("{number}"))).await;
    }
    let (status, body) = refused(sim.call(Dialect::Kimi, "more")).await;
    assert_eq!((status, &body["error"]["type"]), (429, &json!("exceeded_current_quota_error")));
    assert_eq!(
        good(sim.client.get(sim.at("/v1/users/me/balance")).bearer_auth("k")).await["data"]["available_balance"],
        0.0
    );
    let (status, body) = refused(sim.call(Dialect::Claude, "more")).await;
    assert_eq!((status, &body["error"]["type"]), (402, &json!("billing_error")));

    assert_eq!(sim.post("/_sim/topup", r#"{"provider":"kimi","calls":1}"#).await.status(), 200);
    good(sim.call(Dialect::Kimi, "more")).await;
    assert_eq!(refused(sim.call(Dialect::Kimi, "more")).await.0, 429);
    assert_eq!(sim.post("/_sim/topup", r#"{"provider":"kimi","calls":null}"#).await.status(), 200);
    for _ in 0..5 {
        good(sim.call(Dialect::Kimi, "more")).await;
    }
    assert_eq!(sim.billed("kimi").await["calls"], 8);
    assert_eq!(sim.post("/_sim/topup", r#"{"provider":"nobody","calls":1}"#).await.status(), 400);
}

#[tokio::test]
async fn garbage_is_billed_and_comes_in_every_kind() {
    let sim = Sim::playing("instant").await;
    for kind in ["malformed", "truncated", "empty", "cut_off", "all_thinking"] {
        let yaml: String = std::iter::once("name: x\n".to_owned())
            .chain(
                Dialect::ALL.map(|d| format!("{}: {{garbage_rate: 1, garbage_kinds: [{kind}]}}\n", d.name())),
            )
            .collect();
        sim.post("/_sim/scenario", &yaml).await;
        for dialect in Dialect::ALL {
            let response = sim.call(dialect, "Company: Acme").send().await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.bytes().await;
            let whole = body.as_ref().ok().and_then(|body| serde_json::from_slice::<Value>(body).ok());
            match kind {
                "truncated" => assert!(body.is_err(), "{}", dialect.name()),
                "malformed" => assert!(body.is_ok() && whole.is_none(), "{}", dialect.name()),
                _ => {
                    let whole = whole.unwrap();
                    let (text, finish) = match dialect {
                        Dialect::Ollama => (&whole["message"]["content"], &whole["done_reason"]),
                        Dialect::Kimi => (
                            &whole["choices"][0]["message"]["content"],
                            &whole["choices"][0]["finish_reason"],
                        ),
                        Dialect::Claude => (&whole["content"][0]["text"], &whole["stop_reason"]),
                    };
                    assert_eq!(text.as_str().unwrap_or_default().is_empty(), kind != "cut_off");
                    let by_length = finish == "length" || finish == "max_tokens";
                    assert_eq!(by_length, kind != "empty", "{finish}");
                    assert_eq!(
                        whole.get("eval_count").is_some(),
                        dialect == Dialect::Ollama && kind != "empty"
                    );
                }
            }
        }
    }
    for dialect in Dialect::ALL {
        assert_eq!(sim.billed(dialect.name()).await["calls"], 5);
    }
}

#[tokio::test]
async fn schemas_are_broken_and_packs_lose_and_double_parts() {
    let sim = Sim::playing("name: x\nollama: {schema_break_rate: 1}").await;
    let ask = async |schema: &Value, prompt: &str| {
        let body = json!({"model": "m", "stream": false, "format": schema, "messages": [{"role": "user", "content": prompt}]});
        good(sim.ollama(&body)).await["message"]["content"].as_str().unwrap().to_owned()
    };
    let fits = |schema: &Value, text: &str| {
        serde_json::from_str(text)
            .is_ok_and(|value| jsonschema::validator_for(schema).unwrap().is_valid(&value))
    };
    for number in 0..20 {
        let answer = ask(&lead_schema(), &format!("Company: Number {number}")).await;
        assert!(!fits(&lead_schema(), &answer), "{answer}");
    }

    let parts: serde_json::Map<String, Value> = (1..=4).map(|k| (k.to_string(), lead_schema())).collect();
    let pack = json!({"type": "object", "properties": parts, "required": ["1", "2", "3", "4"], "additionalProperties": false});
    let prompt = "Qualify:\n1. Company: Acme\n2. Company: Birch\n3. Company: Cedar\n4. Company: Delta";
    sim.post("/_sim/scenario", "instant").await;
    let whole = ask(&pack, prompt).await;
    assert!(fits(&pack, &whole), "{whole}");
    let value: Value = serde_json::from_str(&whole).unwrap();
    for (key, company) in [("1", "Acme"), ("2", "Birch"), ("3", "Cedar"), ("4", "Delta")] {
        let need = value[key]["need"].as_str().unwrap();
        assert!(need.starts_with("[simulated] ") && need.contains(company), "{need}");
    }
    sim.post("/_sim/scenario", "name: x\nollama: {pack_drop_rate: 1}").await;
    assert_eq!(ask(&pack, prompt).await, "{}");
    sim.post("/_sim/scenario", "name: x\nollama: {pack_double_rate: 1}").await;
    let doubled = ask(&pack, prompt).await;
    for key in 1..=4 {
        assert_eq!(doubled.matches(&format!("\"{key}\":")).count(), 2, "{doubled}");
    }
}

#[tokio::test]
async fn disconnects_hangs_and_crowds_are_seen_as_such() {
    let sim = Sim::playing("name: x\nkimi: {outages: [{calls: {from: 0, to: 1}}]}\nclaude: {hang_rate: 1}\nollama: {concurrency: 0}").await;
    let error = sim.call(Dialect::Kimi, "hi").send().await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    good(sim.call(Dialect::Kimi, "hi")).await;
    assert_eq!(refused(sim.call(Dialect::Ollama, "hi")).await.0, 503);
    let hung = sim.call(Dialect::Claude, "hi").timeout(Duration::from_millis(50)).send().await.unwrap_err();
    assert!(hung.is_timeout(), "{hung:?}");
    let seen = sim.get("/_sim/requests").await;
    assert_eq!(seen["providers"]["claude"]["hung"], 1);
    assert_eq!(seen["providers"]["claude"]["billed"]["calls"], 0);
    assert_eq!(seen["providers"]["kimi"]["disconnected"], 1);
}

#[tokio::test]
async fn a_body_can_come_drop_by_drop_and_is_whole_in_the_end() {
    const OVER: Duration = Duration::from_millis(80);
    let sim =
        Sim::playing("name: x\nkimi: {drip_rate: 1, drip_ms: 80}\nollama: {drip_rate: 1, drip_ms: 0}").await;
    let began = Instant::now();
    let answer = sim.call(Dialect::Kimi, "hi").send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert!(began.elapsed() >= OVER, "{:?}", began.elapsed());
    assert!(body["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    good(sim.call(Dialect::Ollama, "hi")).await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the call goes with the test's runtime")]
async fn stopping_ends_hung_calls_at_once_and_frees_the_port() {
    let sim = Sim::playing("name: x\nclaude: {hang_rate: 1}").await;
    let hanging = tokio::spawn(sim.call(Dialect::Claude, "hi").send());
    while sim.get("/_sim/requests").await["providers"]["claude"]["hung"] != 1 {
        tokio::task::yield_now().await;
    }
    let address = sim.server.address();
    sim.server.shutdown().await;
    assert!(hanging.await.unwrap().is_err());
    let again = Simulator::start(Scenario::builtin("instant").unwrap(), HashMap::new(), address).await;
    assert!(again.is_ok(), "{again:?}");
    drop(again);
}
