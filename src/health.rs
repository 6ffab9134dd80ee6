//! Checks of what a run depends on, made every minute while it runs, and by `empire doctor`: the
//! store, and the providers, without spending anything.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use empire_actors::alerts::watch::{Failing, Verdict};
use empire_actors::alerts::{AlertKind, Severity, Sign};
use empire_actors::model::ProviderId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::alerts::Alerts;
use crate::config::ProviderSetting;
use crate::providers::{ClientError, Clients, ProbeReport, probe};
use crate::store::Store;

/// A store that takes longer fails.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// A provider is told of when it failed so often in a row: one lost packet is nobody's business.
const PROVIDER_FAILS: u32 = 2;
const STORE: &str = "database";

/// Whether a provider is there and what it serves. Costs nothing.
///
/// # Errors
/// If no HTTP client can be set up.
pub async fn provider(setting: &ProviderSetting) -> Result<ProbeReport, ClientError> {
    let client = Clients::default().client_for(setting)?;
    Ok(probe(setting, &client).await)
}

/// Whether the store can be written and read.
///
/// # Errors
/// In words, why not.
pub async fn store(store: &Store) -> Result<(), String> {
    match tokio::time::timeout(STORE_WITHIN, store.check()).await {
        Ok(checked) => checked.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the database took longer than {} s", STORE_WITHIN.as_secs())),
    }
}

/// What one round of checks saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Whether the store works.
    pub store: bool,
    /// Whether each provider can be reached.
    pub providers: Vec<(ProviderId, bool)>,
}

/// What follows from a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Something is not as it should be.
    Bad(Sign),
    /// It is.
    Fine(AlertKind, String),
}

/// What of the rounds is worth an alert. Pure.
#[derive(Debug, Default)]
pub struct Judge {
    providers: BTreeMap<ProviderId, Option<Failing>>,
}

impl Judge {
    /// Takes in a round.
    pub fn judge(&mut self, round: &Round) -> Vec<Finding> {
        let mut findings = vec![if round.store {
            Finding::Fine(AlertKind::Store, STORE.to_owned())
        } else {
            let message = "the database cannot be written and read";
            Finding::Bad(Sign::new(AlertKind::Store, STORE, Severity::Critical, message))
        }];
        for (id, is_there) in &round.providers {
            let failing = self.providers.entry(id.clone()).or_default();
            let failing = failing.get_or_insert_with(|| Failing::new(PROVIDER_FAILS));
            match failing.look(*is_there) {
                Verdict::Fine => findings.push(Finding::Fine(AlertKind::Provider, id.to_string())),
                Verdict::Unsure => {}
                Verdict::Bad => {
                    let message = format!("{id} cannot be reached");
                    findings.push(Finding::Bad(Sign::new(
                        AlertKind::Provider,
                        id.as_str(),
                        Severity::Warning,
                        message,
                    )));
                }
            }
        }
        findings
    }
}

/// Looks every so often until told to stop. The first look is after that time: whoever starts has
/// just looked.
pub async fn every<F: Future<Output = Round>>(
    interval: Duration,
    look: impl Fn() -> F,
    tell: impl Fn(Finding),
    mut stopped: watch::Receiver<bool>,
) {
    let mut judge = Judge::default();
    let mut due = tokio::time::interval_at(Instant::now() + interval, interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let round = async {
            due.tick().await;
            look().await
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            round = round => judge.judge(&round).into_iter().for_each(&tell),
        }
    }
}

/// Checks a store and providers, and says what is wrong with them, until told to stop.
pub async fn watch_over(
    over: Store,
    providers: Vec<Arc<ProviderSetting>>,
    interval: Duration,
    alerts: Alerts,
    stopped: watch::Receiver<bool>,
) {
    let look = || async {
        let reach = |setting: Arc<ProviderSetting>| async move {
            // Where no client can be had, no call can be made either.
            let is_there = provider(&setting).await.is_ok_and(|report| report.reachable);
            (setting.spec.id.clone(), is_there)
        };
        let reached = futures_util::future::join_all(providers.iter().cloned().map(reach));
        let (checked, providers) = tokio::join!(store(&over), reached);
        Round { store: checked.is_ok(), providers }
    };
    let tell = |finding| match finding {
        Finding::Bad(sign) => alerts.raise(sign),
        Finding::Fine(kind, subject) => alerts.fine(kind, &subject),
    };
    every(interval, look, tell, stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_told_of_when_it_is_gone_for_longer_and_a_store_at_once() {
        let mut judge = Judge::default();
        let kimi = || ProviderId::from("kimi");
        let mut look = |store, is_there| {
            let round = Round { store, providers: vec![(kimi(), is_there)] };
            judge
                .judge(&round)
                .into_iter()
                .map(|finding| match finding {
                    Finding::Bad(sign) => format!("bad {}/{}", sign.kind, sign.subject),
                    Finding::Fine(kind, subject) => format!("fine {kind}/{subject}"),
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(look(true, true), "fine store/database, fine provider/kimi");
        assert_eq!(look(false, false), "bad store/database");
        assert_eq!(look(true, false), "fine store/database, bad provider/kimi");
        assert_eq!(look(true, true), "fine store/database, fine provider/kimi");
    }
}
