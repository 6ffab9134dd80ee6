//! Calls that need not be made: their answer is kept, or somebody asks the same just now. Looked
//! for behind the privacy gate, so that it is the call as it would leave, and before any money is
//! set aside.

use std::sync::Arc;
use std::time::Duration;

use super::context::JobContext;
use crate::call::Request;
use crate::failure::CallError;
use crate::level::Level;
use crate::model::Model;
use crate::ports::{AnswerCache, Finish, Reply, TryOutcome};
use crate::route::joint::{Brought, Entry, FlightKey, Lead};
use crate::route::key::call_key;

/// How a piece of work stands to identical calls of others.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    /// Held while this one asks for all.
    lead: Option<Lead>,
    /// A kept answer did not pass: only a new one will do.
    ignores_kept: bool,
    /// How long to wait before taking a failed leader's place.
    pub(crate) pause: Option<Duration>,
}

impl Joining {
    /// What others brought for this request; `None` if it is for this one to ask.
    pub(crate) async fn look(&mut self, job: &JobContext, request: &Request) -> Option<Arc<Brought>> {
        if self.lead.is_some() {
            return None;
        }
        let rules = &job.order.rules;
        let call = call_key(request, rules.destination(&request.model.provider), rules.simulated);
        let reads_kept = rules.cache.reads(&request.model) && !self.ignores_kept;
        let lead = match job.shared.joint.enter(FlightKey { call, reads_kept }).await {
            Entry::Shared(brought) => return Some(brought),
            Entry::Lead(lead) => lead,
        };
        // Looked up by the leader alone, so that whoever comes after a flight finds what it kept.
        if let Some(cache) = job.shared.cache.as_ref().filter(|_| reads_kept)
            && let Some(answer) = cache.get(call, request.level).await
        {
            let brought = Brought::Kept(answer);
            lead.share(brought.clone());
            return Some(Arc::new(brought));
        }
        self.lead = Some(lead);
        None
    }

    /// An answer came that did not pass. It goes to all who wait: each checks it as its own.
    pub(crate) fn rejected(&mut self, reply: &Reply) {
        if let Some(lead) = self.lead.take() {
            lead.share(Brought::Answer(reply.clone()));
        }
    }

    /// An answer came that passed. It goes to all who wait, and is kept if it is `whole`, once the
    /// landing is dropped.
    pub(crate) fn answered(
        &mut self,
        job: &JobContext,
        level: Level,
        model: &Model,
        reply: Reply,
        whole: bool,
    ) -> Option<Landing> {
        let lead = self.lead.take()?;
        let keeps = whole && reply.finish == Finish::Stop && job.order.rules.cache.writes(model);
        let cache = job.shared.cache.clone().filter(|_| keeps).map(|cache| (cache, level));
        Some(Landing { flight: Some((lead, reply)), cache })
    }

    /// This one gives the model up, and with it all who wait.
    pub(crate) fn gave_up(&mut self, error: &CallError, failures: u32) {
        if let Some(lead) = self.lead.take() {
            lead.share(Brought::Failed { error: error.clone(), failures });
        }
    }

    /// A kept answer did not pass its check.
    pub(crate) fn ignore_kept(&mut self) {
        self.ignores_kept = true;
    }
}

/// An answer on its way to all who wait for it. It lands when this is dropped: once its own result
/// is safe, so that a kill finds as little as possible between what is paid and what is recorded.
pub(crate) struct Landing {
    flight: Option<(Lead, Reply)>,
    cache: Option<(Arc<dyn AnswerCache>, Level)>,
}

impl std::fmt::Debug for Landing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Landing")
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let Some((lead, reply)) = self.flight.take() else { return };
        if let Some((cache, level)) = self.cache.take() {
            // Before the flight ends, so that whoever comes next finds it.
            cache.put(lead.key(), level, &reply.text);
        }
        lead.share(Brought::Answer(reply));
    }
}

/// Where an answer or a failure comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// This one's own call.
    Own,
    /// The cache.
    Kept,
    /// Another one's call.
    Joined,
}

impl Source {
    pub(crate) fn answered(self) -> TryOutcome {
        match self {
            Source::Own => TryOutcome::Answered,
            Source::Kept => TryOutcome::Cached,
            Source::Joined => TryOutcome::Joined { failed: None },
        }
    }

    pub(crate) fn rejected(self, why: String) -> TryOutcome {
        match self {
            Source::Own => TryOutcome::Rejected { why },
            Source::Kept => TryOutcome::Refused { why: format!("the kept answer failed its check: {why}") },
            Source::Joined => TryOutcome::Joined { failed: Some(why) },
        }
    }

    pub(crate) fn failed(self, error: &CallError) -> TryOutcome {
        match self {
            Source::Own | Source::Kept => TryOutcome::Failed { kind: error.kind, why: error.message.clone() },
            Source::Joined => TryOutcome::Joined { failed: Some(error.to_string()) },
        }
    }
}
