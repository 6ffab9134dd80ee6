//! The HTTP layer against a real server on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::Request as Incoming;
use axum::routing::{any, get, post};
use empire_actors::model::Model;
use empire_actors::ports::Finish;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::testing::{plain_model, request};
use super::*;

/// A provider of each dialect as configured for a simulator at `address`.
fn setting(name: &str, address: SocketAddr) -> ProviderSetting {
    let none = |_: &str| None;
    let config = Config::load(std::path::Path::new("/nonexistent"), None, &none).unwrap();
    let config = config.simulated(&format!("http://{address}"));
    ProviderSetting::clone(&config.providers[&ProviderId::from(name)])
}

fn provider(setting: &ProviderSetting) -> HttpProvider {
    HttpProvider::new(setting, Clients::default().client_for(setting).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the server goes with the test's runtime")]
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Answers every connection with these bytes once it has read something, then closes it.
#[expect(clippy::disallowed_methods, reason = "the server goes with the test's runtime")]
async fn serve_raw(bytes: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = [0; 4_096];
            let _ = stream.read(&mut read).await;
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    address
}

fn impatient() -> Model {
    Model { timeout: Duration::from_millis(100), ..plain_model("m") }
}

async fn failure(setting: &ProviderSetting, model: Model) -> CallError {
    provider(setting).ask(&request(model, None), &mut Vec::new()).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_reservation() {
    let address = serve(Router::new().route("/v1/chat/completions", post(std::future::pending::<()>))).await;
    let error = failure(&setting("kimi", address), impatient()).await;
    assert_eq!((error.kind, error.billing), (FailureKind::TimedOut, Billing::Reservation));
    assert_eq!(error.message, "no whole answer within 100ms");
}

#[tokio::test]
async fn a_port_that_refuses_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for name in ["ollama", "kimi", "claude"] {
        let error = failure(&setting(name, address), plain_model("m")).await;
        assert_eq!((error.kind, error.billing), (FailureKind::Unreachable, Billing::Nothing), "{error}");
    }
}

#[tokio::test]
async fn a_cut_body_costs_the_reservation_and_a_cut_refusal_nothing() {
    let cut = serve_raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\":").await;
    let error = failure(&setting("kimi", cut), plain_model("m")).await;
    assert_eq!((error.kind, error.billing), (FailureKind::Disconnected, Billing::Reservation), "{error}");
    let silent = serve_raw("").await;
    let error = failure(&setting("kimi", silent), plain_model("m")).await;
    assert_eq!((error.kind, error.billing), (FailureKind::Disconnected, Billing::Reservation), "{error}");
    let refusal = serve_raw("HTTP/1.1 503 Busy\r\ncontent-length: 500\r\n\r\n{").await;
    let error = failure(&setting("kimi", refusal), plain_model("m")).await;
    assert_eq!((error.kind, error.billing), (FailureKind::Overloaded, Billing::Nothing), "{error}");
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let busy = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        (axum::http::StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy")
    };
    let setting = setting("claude", serve(Router::new().route("/v1/messages", post(busy))).await);
    let error = failure(&setting, plain_model("m")).await;
    assert_eq!((error.kind, error.retry_after), (FailureKind::Overloaded, Some(Duration::ZERO)));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let endless = || async { vec![b' '; (16 << 20) + 1] };
    let address = serve(Router::new().route("/v1/chat/completions", post(endless))).await;
    let error = failure(&setting("kimi", address), plain_model("m")).await;
    assert_eq!((error.kind, error.billing), (FailureKind::Malformed, Billing::Reservation));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let to = || async { axum::response::Redirect::temporary("/elsewhere") };
    let app = Router::new()
        .route("/v1/chat/completions", post(to))
        .route("/elsewhere", any(|| async { unreachable!("a prompt went where nobody sent it") as &str }));
    let error = failure(&setting("kimi", serve(app).await), plain_model("m")).await;
    assert_eq!((error.kind, error.status), (FailureKind::InvalidRequest, Some(307)));
}

#[tokio::test]
async fn each_dialect_sends_its_headers_to_its_address() {
    let echo = |incoming: Incoming| async move {
        let header =
            |name: &str| incoming.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let said = ["authorization", "x-api-key", "anthropic-version", "content-type", "user-agent"]
            .map(header)
            .join("|");
        let said = format!("{}|{said}", incoming.uri());
        axum::Json(serde_json::json!({
            "choices": [{"message": {"content": said}}],
            "content": [{"type": "text", "text": said}],
            "message": {"content": said},
            "done": true,
        }))
    };
    let app = Router::new().route("/api/tags", get(|| async { r#"{"models":[]}"# })).fallback(echo);
    let address = serve(app).await;
    let agent = concat!("empire/", env!("CARGO_PKG_VERSION"));
    let table = [
        ("ollama", format!("/api/chat|-|-|-|application/json|{agent}")),
        ("kimi", format!("/v1/chat/completions|Bearer sk-simulated|-|-|application/json|{agent}")),
        ("claude", format!("/v1/messages|-|sk-simulated|2023-06-01|application/json|{agent}")),
    ];
    for (name, expected) in table {
        let reply = provider(&setting(name, address))
            .ask(&request(plain_model("m"), None), &mut Vec::new())
            .await
            .unwrap();
        assert_eq!((reply.text, reply.finish), (expected, Finish::Stop));
    }
}

#[tokio::test]
async fn a_key_that_the_server_repeats_is_not_kept() {
    let mut setting = setting(
        "kimi",
        serve_raw("HTTP/1.1 401 No\r\ncontent-length: 23\r\n\r\nbad key Zm9vYmFy, sorry").await,
    );
    setting.key = Some(SecretString::from("Zm9vYmFy"));
    let error = failure(&setting, plain_model("m")).await;
    assert_eq!((error.kind, error.message.as_str()), (FailureKind::Unauthorised, "bad key …, sorry"));
}

#[tokio::test]
async fn without_its_key_a_provider_is_not_called() {
    let app = Router::new().fallback(|| async { unreachable!("called without a key") as &str });
    let mut setting = setting("kimi", serve(app).await);
    setting.key = None;
    let error = failure(&setting, plain_model("m")).await;
    assert_eq!((error.kind, error.billing), (FailureKind::Unauthorised, Billing::Nothing));
    assert_eq!(error.message, "there is no usable key for kimi: set MOONSHOT_API_KEY");
}

#[tokio::test]
async fn a_model_that_only_looks_local_gets_no_prompt() {
    let tags = || async {
        r#"{"models":[{"name":"own:latest"},{"name":"far:latest","remote_host":"https://ollama.com:443"},{"name":"empty:1b","remote_host":""}]}"#
    };
    let chat = |body: String| async move {
        assert!(!body.contains("far"), "a prompt left the machine");
        r#"{"message":{"content":"ok"},"done":true}"#
    };
    let address = serve(Router::new().route("/api/tags", get(tags)).route("/api/chat", post(chat))).await;
    let setting = setting("ollama", address);
    let provider = provider(&setting);
    for id in ["own", "empty:1b"] {
        assert_eq!(provider.ask(&request(plain_model(id), None), &mut Vec::new()).await.unwrap().text, "ok");
    }
    for id in ["far", "far:latest"] {
        let error = provider.ask(&request(plain_model(id), None), &mut Vec::new()).await.unwrap_err();
        assert_eq!((error.kind, error.billing), (FailureKind::InvalidRequest, Billing::Nothing));
    }
    let report = probe(&setting, &Clients::default().client_for(&setting).unwrap()).await;
    assert_eq!(report.models, ["own:latest", "far:latest", "empty:1b"]);
    assert_eq!(report.elsewhere, ["far:latest"]);
}

#[tokio::test]
async fn a_probe_says_what_is_there_or_why_nothing_is() {
    let models = || async { r#"{"data":[{"id":"kimi-k2.6","object":"model"}]}"# };
    let address = serve(Router::new().route("/v1/models", get(models))).await;
    let kimi = setting("kimi", address);
    let mut clients = Clients::default();
    let report = probe(&kimi, &clients.client_for(&kimi).unwrap()).await;
    assert_eq!((report.reachable, report.models), (true, vec!["kimi-k2.6".to_owned()]));
    let ollama = setting("ollama", address);
    let report = probe(&ollama, &clients.client_for(&ollama).unwrap()).await;
    assert!(report.reachable && report.models.is_empty() && report.detail.contains("HTTP 404"), "{report:?}");
}

#[test]
fn providers_that_connect_alike_share_a_client() {
    let none = |_: &str| None;
    let config = Config::load(std::path::Path::new("/nonexistent"), None, &none).unwrap();
    assert_eq!(all(&config, None).unwrap().len(), 3);
    let simulated = config.simulated("http://127.0.0.1:1/");
    let url = |name: &str| chat_url(&simulated.providers[&ProviderId::from(name)]);
    assert_eq!(url("ollama"), "http://127.0.0.1:1/api/chat");
    assert_eq!(url("kimi"), "http://127.0.0.1:1/v1/chat/completions");
    assert_eq!(url("claude"), "http://127.0.0.1:1/v1/messages");
}
