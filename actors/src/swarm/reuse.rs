//! Calls that need not be made: their answer is kept, or somebody asks the same just now. Looked
//! for behind the privacy gate, so that it is the call as it would leave, and before any money is
//! set aside.

use std::sync::Arc;
use std::time::Duration;

use super::context::JobContext;
use crate::call::Request;
use crate::failure::CallError;
use crate::ports::{Finish, Reply};
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
        let call = call_key(request, rules.simulated);
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

    /// An answer came. It goes to all who wait, whether or not it passes: each checks it as its
    /// own. It is kept if it is `whole`.
    pub(crate) fn answered(
        &mut self,
        job: &JobContext,
        question: &super::attempt::Question,
        model: &crate::model::Model,
        reply: &Reply,
        whole: bool,
    ) {
        let Some(lead) = self.lead.take() else { return };
        let keeps = whole && reply.finish == Finish::Stop && job.order.rules.cache.writes(model);
        if let Some(cache) = job.shared.cache.as_ref().filter(|_| keeps) {
            cache.put(lead.key(), question.level, &reply.text);
        }
        lead.share(Brought::Answer(reply.clone()));
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
