//! The privacy gate: decides whether data of a level may meet a zone, and cuts secrets and
//! addresses out of whatever leaves the owner's machines. A pool of actors, one a core. Fails
//! closed: a call that could not be looked at does not go on.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::audit::{Act, Auditor, Decision};
use super::call::{Call, Cut, Draft, Request, Screened};
use super::detect::{Blocked, Class, Detector, Redactor, Rules};
use crate::kernel::control::{Address, Control, Down, Failure};
use crate::kernel::supervisor::ChildSpec;
use crate::level::{Level, Zone};
use crate::model::ProviderId;
use crate::ports::{Audit, StoreError, WallClock};
use crate::schema::Schema;

mod scale;

/// Why a call may not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivacyRefusal {
    /// The data is too private for the destination.
    #[error("{level} data may not go to {provider} in {zone}, which admits up to {ceiling}")]
    Denied {
        /// The data's level.
        level: Level,
        /// Who would have got it.
        provider: ProviderId,
        /// Where that is.
        zone: Zone,
        /// The most that may go there.
        ceiling: Level,
    },
    /// A passage of it reads like a legal document, which is P2 whatever the job says.
    #[error(
        "a passage reads like a legal document, which is {} data: it may not go to {provider} in {zone}",
        Level::P2
    )]
    Legal {
        /// Who would have got it.
        provider: ProviderId,
        /// Where that is.
        zone: Zone,
    },
    /// It could not be looked at to its end; nothing leaves unseen.
    #[error("the call could not be looked at: {0}")]
    Unseen(#[from] Blocked),
    /// Nothing leaves whose decision is not recorded.
    #[error("the privacy gate's decision could not be recorded: {0}")]
    Unrecorded(StoreError),
    /// The gate did not answer; nothing leaves unseen.
    #[error("the privacy gate is down")]
    Down(#[from] Down),
}

/// Whether data of `level` may go to `provider` in `zone`.
///
/// # Errors
/// It may not.
pub fn permit(level: Level, provider: &ProviderId, zone: Zone) -> Result<(), PrivacyRefusal> {
    if zone.admits(level) {
        return Ok(());
    }
    Err(PrivacyRefusal::Denied { level, provider: provider.clone(), zone, ceiling: zone.ceiling() })
}

pub(crate) struct Look {
    call: Call<Draft>,
    zone: Zone,
    reply: oneshot::Sender<Result<Call<Screened>, PrivacyRefusal>>,
}

/// A call that takes longer to look at does not leave.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

struct PrivacyActor {
    detectors: Detectors,
    auditor: Auditor,
    counts: Counts,
    /// The last schema that was looked at and held nothing, and the rules of that time.
    clean_schema: Option<(Arc<Schema>, Arc<Rules>)>,
}

/// What a privacy actor shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    passed: u64,
    redacted: u64,
    denied: u64,
}

impl Control for PrivacyActor {
    type Message = Look;
    type Observed = Counts;

    async fn handle(&mut self, Look { call, zone, reply }: Look) -> Result<(), Failure> {
        let verdict = self.screen(call, zone);
        match &verdict {
            Ok(call) if call.cut().values() > 0 => self.counts.redacted += 1,
            Ok(_) => self.counts.passed += 1,
            Err(_) => self.counts.denied += 1,
        }
        // A caller that has gone needs no answer.
        let _ = reply.send(verdict);
        Ok(())
    }

    fn observe(&self) -> Counts {
        self.counts.clone()
    }
}

impl PrivacyActor {
    fn screen(&mut self, call: Call<Draft>, zone: Zone) -> Result<Call<Screened>, PrivacyRefusal> {
        let request = call.request();
        let permitted = permit(request.level, &request.model.provider, zone);
        if permitted.is_ok() && !zone.redacts() {
            // Nothing was looked at: the levels decide, and the agent's own record tells them.
            return Ok(Call::screened(call.into_request(), Cut::default()));
        }
        let mut decision = self.auditor.draft(request, zone);
        let mut request = call.into_request();
        let verdict = permitted.and_then(|()| contained(|| self.redact(&mut request, zone, &mut decision)));
        if let Err(PrivacyRefusal::Unseen(_)) = verdict {
            self.clean_schema = None;
        }
        decision.act = match &verdict {
            Ok(cut) if cut.values() == 0 => Act::Allow,
            Ok(cut) => Act::Redact { values: cut.values() },
            Err(refusal) => Act::Deny { reason: refusal.to_string() },
        };
        self.auditor.record(decision).map_err(PrivacyRefusal::Unrecorded)?;
        Ok(Call::screened(request, verdict?))
    }

    /// Cuts what may not leave out of every part of the request that is sent.
    fn redact(
        &mut self,
        request: &mut Request,
        zone: Zone,
        decision: &mut Decision,
    ) -> Result<Cut, PrivacyRefusal> {
        let detector = self.detectors.of(&request.job);
        let mut redactor = redactor(&detector);
        let learnt = self.learn(&detector, request, &mut redactor);
        decision.found.clone_from(redactor.rules());
        learnt?;
        if redactor.classes().contains(&Class::Legal) {
            decision.level = decision.level.max(Level::P2);
            return Err(PrivacyRefusal::Legal { provider: request.model.provider.clone(), zone });
        }
        if redactor.found() == 0 {
            return Ok(Cut::default());
        }
        for text in request.system.iter_mut().chain(request.turns.iter_mut().map(|turn| &mut turn.text)) {
            if let Some(cut) = redactor.cut(text)? {
                *text = cut;
            }
        }
        if let Some(schema) = &mut request.schema {
            *schema = Arc::new(Schema::new(redactor.cut_json(schema)?));
        }
        Ok(Cut(Some(Arc::new(redactor))))
    }

    /// Finds what has to go, in every part of the request.
    fn learn(
        &mut self,
        detector: &Arc<Detector>,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<(), Blocked> {
        request.system.iter().try_for_each(|text| redactor.learn(text))?;
        request.turns.iter().try_for_each(|turn| redactor.learn(&turn.text))?;
        match &request.schema {
            Some(schema) if !self.is_clean(detector, schema)? => redactor.learn_json(schema),
            _ => Ok(()),
        }
    }

    /// Whether nothing in the schema has to go, whatever the call says. The same one comes with
    /// every call of a job.
    fn is_clean(&mut self, detector: &Arc<Detector>, schema: &Arc<Schema>) -> Result<bool, Blocked> {
        let rules = detector.rules();
        let is_known = |(clean, then): &(Arc<Schema>, Arc<Rules>)| {
            Arc::ptr_eq(clean, schema) && Arc::ptr_eq(then, &rules)
        };
        if self.clean_schema.as_ref().is_some_and(is_known) {
            return Ok(true);
        }
        let mut redactor = redactor(detector);
        redactor.learn_json(schema)?;
        let is_clean = redactor.found() == 0;
        if is_clean {
            self.clean_schema = Some((schema.clone(), rules));
        }
        Ok(is_clean)
    }
}

fn redactor(detector: &Arc<Detector>) -> Redactor {
    let end = Instant::now() + LONGEST_LOOK;
    Redactor::until(detector.clone(), Box::new(move || Instant::now() >= end))
}

/// What the calls of each job are looked at with: what a job lets through holds for it alone.
#[derive(Debug, Clone)]
struct Detectors {
    /// For calls of no job that is known.
    common: Arc<Detector>,
    of_jobs: Arc<RwLock<HashMap<Arc<str>, Arc<Detector>>>>,
}

impl Detectors {
    fn of(&self, job: &str) -> Arc<Detector> {
        self.of_jobs.read().get(job).unwrap_or(&self.common).clone()
    }
}

/// What `search` says. A text that crashes it does not leave, and takes nobody else's calls with it.
fn contained(search: impl FnOnce() -> Result<Cut, PrivacyRefusal>) -> Result<Cut, PrivacyRefusal> {
    catch_unwind(AssertUnwindSafe(search)).unwrap_or(Err(PrivacyRefusal::Unseen(Blocked::Crashed)))
}

/// The way to the privacy gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PrivacyGate {
    detectors: Detectors,
    auditor: Auditor,
    pool: Arc<[Address<Look>]>,
    next: Arc<AtomicUsize>,
    /// How many of the pool, from its first on, look at calls.
    in_use: Arc<AtomicUsize>,
}

impl PrivacyGate {
    /// A pool of `workers` actors (at least one) that look with `detector` and tell `audit` what
    /// they decide; they start with [`children`](Self::children).
    #[must_use]
    pub fn new(
        workers: usize,
        detector: Arc<Detector>,
        audit: Arc<dyn Audit>,
        clock: Arc<dyn WallClock>,
    ) -> PrivacyGate {
        let pool: Arc<[_]> =
            (0..workers.max(1)).map(|n| Address::new(format!("/empire/gates/privacy-{n}"))).collect();
        let in_use = Arc::new(AtomicUsize::new(pool.len()));
        let detectors = Detectors { common: detector, of_jobs: Arc::default() };
        PrivacyGate { detectors, auditor: Auditor { audit, clock }, pool, next: Arc::default(), in_use }
    }

    /// Looks at the calls of `job` with `detector` from now on.
    pub fn enroll(&self, job: Arc<str>, detector: Arc<Detector>) {
        self.detectors.of_jobs.write().insert(job, detector);
    }

    /// Forgets a job that makes no more calls.
    pub fn dismiss(&self, job: &str) {
        self.detectors.of_jobs.write().remove(job);
    }

    /// The gate's actors.
    #[must_use]
    pub fn children(&self) -> Vec<ChildSpec> {
        let child = |(n, address): (usize, &Address<Look>)| {
            let (detectors, auditor) = (self.detectors.clone(), self.auditor.clone());
            ChildSpec::actor(format!("privacy-{n}"), address, move || {
                let (detectors, auditor) = (detectors.clone(), auditor.clone());
                Box::pin(async {
                    Ok(PrivacyActor { detectors, auditor, counts: Counts::default(), clean_schema: None })
                })
            })
            .with_scale(Arc::new(self.clone()))
        };
        self.pool.iter().enumerate().map(child).collect()
    }

    /// Has a call looked at before it may go to `zone`.
    ///
    /// # Errors
    /// It may not go there, or could not be looked at.
    pub async fn screen(&self, call: Call<Draft>, zone: Zone) -> Result<Call<Screened>, PrivacyRefusal> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.in_use.load(Ordering::Relaxed);
        self.pool[turn].ask(|reply| Look { call, zone, reply }).await?
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_crashes_lets_nothing_out() {
        let crashed = contained(|| panic!("over this text")).unwrap_err();
        assert_eq!(crashed, PrivacyRefusal::Unseen(Blocked::Crashed));
        assert_eq!(contained(|| Ok(Cut::default())).unwrap().values(), 0);
    }
}
