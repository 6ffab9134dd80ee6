//! The record of what the privacy gate decided: everything but the content.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::call::{Request, Speaker};
use crate::level::{Level, Zone};
use crate::model::ProviderId;
use crate::ports::{Audit, StoreError, UnixMillis, WallClock};

/// How often each rule found something, by the rules' names.
pub type Found = BTreeMap<Cow<'static, str>, u32>;

/// What was decided about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: UnixMillis,
    /// The job.
    pub job: Arc<str>,
    /// The item's number in its job.
    pub item: u32,
    /// Who would get it.
    pub provider: ProviderId,
    /// The model there.
    pub model: String,
    /// Where that is.
    pub zone: Zone,
    /// How private the content was said to be.
    pub declared: Level,
    /// How private it is: the higher of what was said and what was found.
    pub level: Level,
    /// What was decided.
    pub act: Act,
    /// Why.
    pub found: Found,
    /// A hash of what was asked, before anything was cut out of it, with the data folder's own salt.
    pub content: [u8; 32],
}

/// What the privacy gate does with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Act {
    /// It may leave as it is.
    Allow,
    /// It may leave without what was cut out.
    Redact {
        /// How many different values.
        values: u32,
    },
    /// It may not go there.
    Deny {
        /// Why.
        reason: String,
    },
}

/// Makes decisions and hands them to the store.
#[derive(Clone)]
pub(super) struct Auditor {
    pub(super) audit: Arc<dyn Audit>,
    pub(super) clock: Arc<dyn WallClock>,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auditor")
    }
}

impl Auditor {
    /// A decision about this request; it is not made yet.
    pub(super) fn draft(&self, request: &Request, zone: Zone) -> Decision {
        Decision {
            at: self.clock.now(),
            job: request.job.clone(),
            item: request.item,
            provider: request.model.provider.clone(),
            model: request.model.id.clone(),
            zone,
            declared: request.level,
            level: request.level,
            act: Act::Allow,
            found: Found::new(),
            content: content(self.audit.salt(), request),
        }
    }

    pub(super) fn record(&self, decision: Decision) -> Result<(), StoreError> {
        self.audit.decided(decision)
    }
}

/// A keyed hash over all texts of a request, each with its length.
fn content(salt: &[u8; 32], request: &Request) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    let mut part = |mark: u8, text: &str| {
        hasher.update(&[mark]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    if let Some(system) = &request.system {
        part(0, system);
    }
    for turn in &request.turns {
        part(if turn.speaker == Speaker::User { 1 } else { 2 }, &turn.text);
    }
    *hasher.finalize().as_bytes()
}
