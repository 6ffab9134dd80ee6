//! Alerts: told once, kept, delivered, and known of from another process.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use empire::alerts::webhook::Webhook;
use empire::alerts::{AlertParts, Alerts, Running};
use empire::home::Home;
use empire::log::SecretSeen;
use empire::store::Store;
use empire_actors::alerts::{AlertKind, Deliver, Notice, Pace, Severity, Sign};
use empire_actors::ports::{UnixMillis, WallClock};
use futures_util::future::BoxFuture;
use serde_json::Value;
use support::{Sandbox, Sim};
use tokio::sync::watch;

const PACE: Pace = Pace { again_after: Duration::from_secs(3_600), quiet_after: Duration::from_secs(3_600) };

/// Nothing here takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Hands(AtomicI64);

impl WallClock for Hands {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

/// Keeps what it is told of; or never comes back.
#[derive(Default)]
struct Told {
    notices: Mutex<Vec<String>>,
    hangs: bool,
}

impl Deliver for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let alert = &notice.alert;
            let news = serde_json::to_value(notice.news).unwrap();
            let said = format!("{} {}/{}", news.as_str().unwrap(), alert.kind, alert.subject);
            self.notices.lock().unwrap().push(said);
            Ok(())
        })
    }
}

struct World {
    _folder: tempfile::TempDir,
    home: Home,
    clock: Arc<Hands>,
    secrets: watch::Sender<SecretSeen>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(folder.path().join("home")), |_| None).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_788_350_400_000)));
        World { _folder: folder, home, clock, secrets: watch::channel(SecretSeen::default()).0 }
    }

    async fn store(&self) -> Store {
        Store::open(self.home.lock().unwrap(), self.clock.clone()).await.unwrap()
    }

    async fn alerts(&self, store: &Store, deliver: Vec<Arc<dyn Deliver>>) -> (Alerts, Running) {
        let (clock, secrets) = (self.clock.clone(), self.secrets.subscribe());
        Alerts::start(AlertParts { store: store.clone(), deliver, pace: PACE, clock, secrets }).await
    }
}

fn gone(severity: Severity) -> Sign {
    Sign::new(AlertKind::Provider, "kimi", severity, "kimi cannot be reached")
}

#[tokio::test]
async fn what_is_on_outlives_the_process_and_is_told_once() {
    let (world, told) = (World::new(), Arc::new(Told::default()));
    let store = world.store().await;
    let (alerts, running) = world.alerts(&store, vec![told.clone()]).await;
    for _ in 0..3 {
        alerts.raise(gone(Severity::Warning));
    }
    running.stop().await;
    assert_eq!(alerts.open().len(), 1);
    // Another process sees it, and somebody says there that they know of it.
    let other = Store::watch(&world.home, world.clock.clone()).await.unwrap();
    assert_eq!(other.alerts().await.unwrap()[0].alert.count, 3);
    assert!(other.acknowledge_alert(AlertKind::Provider, "kimi", "me", "on holiday").await.unwrap());
    let (alerts, running) = world.alerts(&store, vec![told.clone()]).await;
    world.clock.0.fetch_add(7_200_000, Ordering::Relaxed);
    alerts.raise(gone(Severity::Warning));
    alerts.raise(gone(Severity::Critical));
    alerts.fine(AlertKind::Provider, "kimi");
    alerts.fine(AlertKind::Disk, "data folder");
    running.stop().await;
    let said = told.notices.lock().unwrap().clone();
    assert_eq!(said, ["raised provider/kimi", "worse provider/kimi", "recovered provider/kimi"]);
    assert!(!store.alerts().await.unwrap()[0].alert.is_open());
    assert_eq!(alerts.open(), []);
}

#[tokio::test]
async fn a_secret_in_the_log_and_too_many_logins_are_alerts() {
    let (world, told) = (World::new(), Arc::new(Told::default()));
    let store = world.store().await;
    let (alerts, running) = world.alerts(&store, vec![told.clone()]).await;
    (0..5).for_each(|_| alerts.login_refused());
    world.secrets.send_modify(|seen| {
        seen.count += 1;
        seen.rules = "github-token".to_owned();
        seen.target = "empire::run".to_owned();
    });
    while told.notices.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    alerts.login_refused();
    running.stop().await;
    assert_eq!(*told.notices.lock().unwrap(), ["raised secret/empire::run", "raised logins/control"]);
}

#[tokio::test]
async fn one_who_does_not_deliver_holds_up_nobody() {
    let (world, told) = (World::new(), Arc::new(Told::default()));
    let store = world.store().await;
    let hangs = Arc::new(Told { hangs: true, ..Told::default() });
    let (alerts, running) = world.alerts(&store, vec![hangs, told.clone()]).await;
    for number in 0..200 {
        alerts.raise(Sign::new(AlertKind::Actor, &number.to_string(), Severity::Warning, "gone"));
        tokio::task::yield_now().await;
    }
    while told.notices.lock().unwrap().len() < 200 {
        tokio::task::yield_now().await;
    }
    drop(running);
}

/// A webhook that answers each post with the next status, and hands on what it got.
fn hook(statuses: &'static [u16]) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let (sender, posts) = mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
                head += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let location = "location: http://127.0.0.1:9/elsewhere\r\n";
            write!(stream, "HTTP/1.1 {status} X\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            sender.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
        }
    });
    (url, posts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_happened_and_is_asked_again_if_it_fails() {
    let (world, (url, posts)) = (World::new(), hook(&[503, 204]));
    let store = world.store().await;
    let key = ["hook", "-key", "-of-mine"].concat();
    let webhook = Webhook::new(&url, Some(key.clone().into())).unwrap();
    assert!(!format!("{webhook:?}").contains(&key));
    let (alerts, running) = world.alerts(&store, vec![Arc::new(webhook)]).await;
    alerts.raise(gone(Severity::Critical));
    let first = posts.recv_timeout(PATIENCE).unwrap();
    let (head, body) = posts.recv_timeout(PATIENCE).unwrap();
    running.stop().await;
    assert_eq!(first.1, body);
    assert!(head.starts_with("POST /alerts ") && head.contains(&format!("authorization: Bearer {key}")));
    let expected = serde_json::json!({
        "news": "raised", "kind": "provider", "subject": "kimi", "severity": "critical",
        "message": "kimi cannot be reached", "since": "2026-09-02T12:00:00.000Z",
        "last_seen": "2026-09-02T12:00:00.000Z", "recovered_at": null, "count": 1,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_webhook_that_refuses_or_redirects_is_left_alone() {
    for status in [&[401][..], &[307]] {
        let (url, posts) = hook(status);
        let webhook = Webhook::new(&url, None).unwrap();
        let (world, told) = (World::new(), Arc::new(Told::default()));
        let store = world.store().await;
        let (alerts, running) = world.alerts(&store, vec![told.clone()]).await;
        alerts.raise(gone(Severity::Info));
        running.stop().await;
        let alert = alerts.open().remove(0);
        let notice = Notice { news: empire_actors::alerts::News::Raised, alert };
        let error = webhook.deliver(&notice).await.unwrap_err();
        assert!(error.starts_with(&format!("it answered {}", status[0])), "{error}");
        assert!(posts.recv_timeout(PATIENCE).unwrap().0.starts_with("POST /alerts "));
    }
}

#[test]
fn a_run_tells_of_a_passed_cap_in_the_log_to_the_webhook_and_to_whoever_asks() {
    let sandbox = Sandbox::new();
    let (url, posts) = hook(&[200]);
    let rows: String = (0..20).map(|n| format!("{{\"word\": \"word {n}\"}}\n")).collect();
    sandbox.write("rows.jsonl", rows);
    let job = "name: words\nprivacy: P0\ninput: rows.jsonl\nprompt: \"Say {{ word }}\"\nmax_tokens: 20\n\
        route: [kimi]\nbudget: 0.02\nfailure_rule: off\n";
    sandbox.write("job.yaml", job);
    let config = format!("[alerts]\nwebhook = \"{url}\"\n[budget]\nalerts = [1]\n");
    sandbox.write("home/empire.toml", config);
    assert_eq!(sandbox.empire(&["alerts"]).err, "nothing is wrong\n");
    let sim = Sim::start(&sandbox, "instant");
    let ran = sandbox.empire(&["swarm", "run", "job.yaml", "--sim", &sim.url, "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let (_, post) = posts.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&post["kind"], &post["severity"]), (&"budget".into(), &"warning".into()));
    let listed = sandbox.empire(&["alerts", "--json"]).json();
    let alert = &listed[0];
    assert_eq!((&alert["kind"], &alert["subject"]), (&"budget".into(), &post["subject"]));
    let logged = sandbox.empire(&["logs", "--level", "warn"]);
    assert!(logged.out.contains("WARN job{") || logged.out.contains("WARN empire::alerts"), "{logged:#?}");
    assert!(logged.out.contains("kind=budget"), "{logged:#?}");
    let name = format!("budget/{}", alert["subject"].as_str().unwrap());
    let known = sandbox.empire(&["alerts", "ack", &name, "--reason", "a small one"]);
    assert_eq!((known.code, known.err), (Some(0), format!("{name} is known from now on\n")));
    let shown = sandbox.empire(&["alerts"]);
    assert!(shown.out.contains("known to "), "{shown:#?}");
    for (wrong, says) in [
        ("budget", "write KIND/SUBJECT"),
        ("bugdet/x", "is none of machine, disk"),
        ("disk/none", "it is not on"),
    ] {
        let ran = sandbox.empire(&["alerts", "ack", wrong]);
        assert!(ran.code == Some(2) && ran.error().contains(says), "{wrong}: {ran:#?}");
    }
}

#[test]
fn a_provider_that_sends_calls_elsewhere_is_told_of_and_nothing_follows() {
    let sandbox = Sandbox::new();
    let (url, posts) = hook(&[307, 307, 307, 307]);
    sandbox.write("rows.jsonl", "{\"word\": \"one\"}\n");
    let job = "name: words\nprivacy: P0\ninput: rows.jsonl\nprompt: \"Say {{ word }}\"\nmax_tokens: 20\n\
        route: [kimi]\nbudget: 1\n";
    sandbox.write("job.yaml", job);
    let base = url.trim_end_matches("/alerts");
    sandbox.write(
        "home/empire.toml",
        format!("[providers.kimi]\nbase_url = \"{base}\"\n[guard]\ndisk_floor = \"none\"\n"),
    );
    let mut command = sandbox.command(&["swarm", "run", "job.yaml", "--yes"]);
    command.env("MOONSHOT_API_KEY", ["sk", "-of-nobody"].concat());
    let ran = sandbox.run(command);
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    assert!(posts.recv_timeout(PATIENCE).unwrap().0.starts_with("POST /chat/completions "));
    let listed = sandbox.empire(&["alerts", "--json"]).json();
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["subject"]),
        (&"destination".into(), &"kimi".into()),
        "{ran:#?}"
    );
    assert_eq!(listed[0]["message"], "kimi wants calls to go to another address: none went there");
}
