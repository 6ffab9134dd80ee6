//! The actor kernel: three weights of actor behind one vocabulary.
//!
//! - **Control actors** ([`control`]): few, named, long-lived, supervised. On ractor.
//! - **Groups** ([`group`]): thousands, temporary, with a small bounded mailbox. On kameo.
//! - **Cells** ([`cell`]): half a million, under a kilobyte each. Our own.
//!
//! Only this module names ractor and kameo, and only this module spawns tasks. Supervision
//! ([`supervisor`], deciding by [`policy`]) is ours; the [`tree`] is what people see of it and
//! steer it by, the [`journal`] what it decided.

pub mod cell;
pub mod control;
pub mod group;
pub mod journal;
pub mod mailbox;
mod order;
pub mod policies;
pub mod policy;
pub mod pulse;
pub mod replay;
pub mod scale;
pub mod sight;
pub mod supervisor;
pub mod tree;

use std::future::Future;

/// Starts a task that no supervisor watches: for glue that ends by itself soon.
#[expect(clippy::disallowed_methods, reason = "the kernel is where tasks are spawned")]
pub(crate) fn spawn<F>(future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(tokio::spawn(future));
}
