//! `empire doctor`: what is reachable, configured and missing, and what to do about each.

mod machine;
mod secrets;

use std::sync::Arc;

use empire_actors::model::ProviderId;
use serde::Serialize;

use self::machine::Machine;
use super::{Context, terminal};
use crate::config::{Config, Dialect, system_env};
use crate::health;
use crate::privacy::keychain::Keychain;
use crate::run::error::{CommandError, Exit};
use crate::run::system::SystemClock;
use crate::store::Store;
use crate::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    /// Works, but not all of it.
    Attention,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { what: what.into(), health: Health::Good, found: found.into(), todo: None }
    }

    fn other(what: &str, health: Health, found: impl Into<String>, todo: impl Into<String>) -> Finding {
        Finding { what: what.to_owned(), health, found: found.into(), todo: Some(todo.into()) }
    }
}

pub(super) async fn doctor(context: &Context) -> Result<Exit, CommandError> {
    let mut findings = vec![data_folder(context).await];
    let mut any_model = false;
    let is_configured;
    let mut guard = None;
    match context.place.load_config() {
        Err(error) => {
            is_configured = false;
            let todo = "correct it there; nothing runs before";
            findings.push(Finding::other("configuration", Health::Bad, error.message, todo));
        }
        Ok(mut config) => {
            findings.push(Finding::good("configuration", format!("{} models", config.models.len())));
            let machine = Machine::look(context, &config).await;
            findings.extend(machine.findings());
            guard = Some(machine);
            let keychain = Keychain::system();
            // A keychain that refuses is told of with the secrets, which holds everything back.
            is_configured = config.unlock(&keychain).is_ok();
            findings.extend(secrets::findings(&config, &system_env, &keychain));
            findings.push(secrets::rules(context.place.home.dir()));
            let tells = |id: &ProviderId| config.providers[id].key_in(&keychain).is_ok();
            for id in config.providers.keys().filter(|id| is_configured || tells(id)) {
                let (finding, usable) = provider(&config, id).await?;
                any_model |= usable && config.route.iter().any(|entry| route_uses(&config, entry, id));
                findings.push(finding);
            }
        }
    }
    if is_configured && !any_model {
        findings.push(Finding::other(
            "default route",
            Health::Bad,
            "no model of it can be used",
            "start Ollama and pull its model, or set a key; `--sim` runs without any",
        ));
    }
    let worst_is_bad = !any_model || findings.iter().any(|finding| finding.health == Health::Bad);
    if context.json {
        terminal::print_json(
            &serde_json::json!({"healthy": !worst_is_bad, "findings": findings, "guard": guard}),
        )?;
    } else {
        terminal::print(&render(&findings))?;
    }
    Ok(if worst_is_bad { Exit::Refused } else { Exit::Done })
}

fn route_uses(config: &Config, entry: &str, id: &ProviderId) -> bool {
    entry == id.as_str() || config.models.get(entry).is_some_and(|model| model.provider == *id)
}

async fn data_folder(context: &Context) -> Finding {
    let what = "data folder";
    let home = &context.place.home;
    let shown = home.dir().display().to_string();
    match home.is_locked() {
        Ok(true) => return Finding::good(what, format!("{shown}, in use by a run")),
        Err(error) => {
            return Finding::other(what, Health::Bad, error.to_string(), "choose another with --data-dir");
        }
        Ok(false) => {}
    }
    let opened = match home.lock() {
        Ok(lock) => Store::open(lock, Arc::new(SystemClock)).await,
        Err(error) => {
            return Finding::other(what, Health::Bad, error.to_string(), "choose another with --data-dir");
        }
    };
    match opened {
        Err(error) => Finding::other(what, Health::Bad, error.to_string(), "see the message"),
        Ok(store) => {
            let checked = health::store(&store).await;
            let jobs = store.list_jobs().await.map(|jobs| jobs.len() as u64);
            let closed = store.close().await;
            match (jobs, closed) {
                _ if let Err(why) = checked => Finding::other(what, Health::Bad, why, "see the message"),
                (Ok(jobs), Ok(())) => {
                    Finding::good(what, format!("{shown}, {}", text::count(jobs, "real job")))
                }
                (Err(error), _) | (_, Err(error)) => {
                    Finding::other(what, Health::Bad, error.to_string(), "see the message")
                }
            }
        }
    }
}

/// Looks at one provider. Gives whether a model of it can be called.
async fn provider(config: &Config, id: &ProviderId) -> Result<(Finding, bool), CommandError> {
    let setting = &config.providers[id];
    let what = format!("{id} ({})", setting.spec.zone);
    if let Some(remedy) = config.missing_key(id) {
        let finding = Finding::other(&what, Health::Attention, "no key", format!("{remedy} to use it"));
        return Ok((finding, false));
    }
    let report = health::provider(setting).await?;
    if !report.reachable {
        let todo = match setting.dialect {
            Dialect::Ollama => "start it with `ollama serve`, or set OLLAMA_HOST".to_owned(),
            _ => format!("check the network, the key and base_url under [providers.{id}] in empire.toml"),
        };
        return Ok((Finding::other(&what, Health::Attention, report.detail, todo), false));
    }
    let default = setting.default_model.as_deref();
    let missing = default.filter(|model| !report.models.iter().any(|there| there == model));
    let found =
        format!("reachable at {}, {}", setting.base_url, text::count(report.models.len() as u64, "model"));
    let finding = match missing {
        Some(model) if setting.dialect == Dialect::Ollama => {
            let todo = format!("pull it with `ollama pull {model}`");
            Finding::other(&what, Health::Attention, format!("{found}, but not {model}"), todo)
        }
        Some(model) => {
            let todo =
                format!("set default_model under [providers.{id}] in empire.toml to one that it lists");
            Finding::other(&what, Health::Attention, format!("{found}, but not {model}"), todo)
        }
        None => Finding::good(what, found),
    };
    Ok((finding, missing.is_none()))
}

fn render(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let mark = match finding.health {
            Health::Good => "ok  ",
            Health::Attention => "look",
            Health::Bad => "BAD ",
        };
        out += &format!("{mark}  {}: {}\n", finding.what, finding.found);
        if let Some(todo) = &finding.todo {
            out += &format!("      → {todo}\n");
        }
    }
    out
}
