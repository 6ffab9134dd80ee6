//! The control API of the program, and the simulator's own pages, over HTTP.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// What is only looked at takes no longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Reading a large job in takes its time.
const ADMITS_WITHIN: Duration = Duration::from_secs(1_800);

/// The control API of one process.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    client: Client,
}

/// What a job that runs says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Heard {
    /// Items that have ended, of how many.
    pub(crate) done: (u64, u64),
    /// How it ended, once it has.
    pub(crate) ended: Option<Ended>,
}

/// How a job's run ended.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ended {
    /// As `empire swarm run` would exit.
    pub(crate) exit: u8,
    /// The error, if it failed.
    pub(crate) error: Option<String>,
    /// The report as JSON.
    pub(crate) report: Option<String>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nobody answers: the process may be down.
    #[error("the program does not answer: {0:#}")]
    Silent(anyhow::Error),
    /// It said no.
    #[error("{0}")]
    Said(String),
}

fn client() -> reqwest::ClientBuilder {
    #[expect(
        clippy::disallowed_methods,
        reason = "a load generator calls loopback, as any user's client would"
    )]
    Client::builder().no_proxy().tcp_nodelay(true)
}

/// A client for addresses on loopback.
pub(crate) fn loopback_client() -> Result<Client> {
    Ok(client().timeout(ANSWERS_WITHIN).build()?)
}

/// A client without a time limit, as the bare loop uses.
pub(crate) fn bare_client(connections: usize) -> Result<Client> {
    Ok(client().pool_max_idle_per_host(connections).build()?)
}

impl Control {
    /// Talks over the socket that `control.json` in the data folder names, once it is there.
    pub(crate) fn find(home: &Path, process: u32) -> Result<Option<Control>> {
        let Ok(text) = std::fs::read(home.join("control.json")) else { return Ok(None) };
        let Ok(reached) = serde_json::from_slice::<Value>(&text) else { return Ok(None) };
        if reached["process"] != process {
            return Ok(None);
        }
        let socket = reached["socket"].as_str().context("the program has no control socket")?.to_owned();
        Ok(Some(Control { client: client().unix_socket(socket).build()? }))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, Refusal> {
        let mut request = self.client.request(method, format!("http://localhost{path}")).timeout(within);
        if let Some(body) = body {
            request = request.json(body);
        }
        let silent = |error: reqwest::Error| Refusal::Silent(error.into());
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let value: Value = answer.json().await.map_err(silent)?;
        if status.is_success() {
            Ok(value)
        } else {
            let said = value["detail"].as_str().or(value["title"].as_str()).unwrap_or("it gave no reason");
            Err(Refusal::Said(format!("{path}: {said}")))
        }
    }

    /// `GET` of something that is known at once.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Method::GET, path, None, ANSWERS_WITHIN).await
    }

    /// Starts a job; gives its id.
    pub(crate) async fn start(&self, job: &Path, out: &Path) -> Result<String, Refusal> {
        let wanted = json!({ "job": job, "out": out, "yes": true });
        taken(&self.ask(Method::POST, "/v1/jobs", Some(&wanted), ADMITS_WITHIN).await?)
    }

    /// Has a job that paused go on; gives its id.
    pub(crate) async fn resume(&self, id: &str) -> Result<String, Refusal> {
        let asked = json!({ "id": id, "wanted": {} });
        taken(&self.ask(Method::POST, "/v1/jobs/resume", Some(&asked), ADMITS_WITHIN).await?)
    }

    /// What a job says.
    pub(crate) async fn feed(&self, id: &str) -> Result<Heard, Refusal> {
        let value = self.get(&format!("/v1/jobs/feed?id={id}&from=4294967295")).await?;
        serde_json::from_value(value)
            .map_err(|error| Refusal::Said(format!("a feed cannot be read: {error}")))
    }

    /// Actors in the tree, cohorts counted too.
    pub(crate) async fn actors(&self) -> Result<u64, Refusal> {
        Ok(nodes(&self.get("/v1/tree?depth=64").await?))
    }
}

fn nodes(node: &Value) -> u64 {
    1 + node["children"].as_array().map_or(0, |children| children.iter().map(nodes).sum())
}

fn taken(admission: &Value) -> Result<String, Refusal> {
    match admission["taken"]["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => {
            let error = admission["not_taken"]["error"].as_str();
            Err(Refusal::Said(error.unwrap_or("the job was not taken in").to_owned()))
        }
    }
}

/// The simulator's own pages.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    client: Client,
    base_url: String,
}

impl Books {
    /// Those of the simulator at this address.
    pub(crate) fn new(base_url: &str) -> Result<Books> {
        Ok(Books { client: loopback_client()?, base_url: base_url.to_owned() })
    }

    /// Where the simulator is.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Counts and bills of all providers.
    pub(crate) async fn read(&self) -> Result<Value> {
        said(self.client.get(format!("{}/_sim/requests", self.base_url)).send().await?).await
    }

    /// Chat calls that came, of all providers.
    pub(crate) async fn received(&self) -> Result<u64> {
        let page = self.read().await?;
        let providers = page["providers"].as_object().context("the simulator tells of no providers")?;
        Ok(providers.values().filter_map(|provider| provider["received"].as_u64()).sum())
    }

    /// When a provider's calls came, in milliseconds of the simulator's clock.
    pub(crate) async fn times(&self, provider: &str) -> Result<Vec<f64>> {
        let url = format!("{}/_sim/times?provider={provider}", self.base_url);
        let page = said(self.client.get(url).timeout(Duration::from_secs(120)).send().await?).await?;
        let times = page["times"].as_array().context("the simulator tells no times")?;
        Ok(times.iter().filter_map(Value::as_f64).collect())
    }
}

async fn said(answer: Response) -> Result<Value> {
    let status = answer.status();
    let page: Value = answer.json().await?;
    if let Some(error) = page["error"].as_str() {
        bail!("the simulator refused: {error}");
    }
    ensure!(status.is_success(), "the simulator answered {status}");
    Ok(page)
}
