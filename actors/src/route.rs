//! Which models a call may go to, in which order, and when it need not go at all. Pure, but for
//! the joint, whose followers wait.

pub mod joint;
pub mod key;
pub mod rules;
pub mod shares;

use std::sync::Arc;

use self::joint::Joint;
use self::shares::Shares;
use crate::ports::AnswerCache;

/// What jobs share about their calls. Jobs that are given the same one join their calls.
#[derive(Clone, Default)]
pub struct SharedCalls {
    /// Identical calls under way.
    pub joint: Joint,
    /// Answers that are kept; `None` keeps none.
    pub cache: Option<Arc<dyn AnswerCache>>,
    /// Ceilings on each provider's share of the calls; `None` for none.
    pub shares: Option<Arc<Shares>>,
}
