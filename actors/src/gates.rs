//! The three gates every outbound model call passes, and the passage through them.
//!
//! Privacy, then budget, then rate: what is denied costs nothing, and what waits for a permit
//! has its money set aside.

pub mod book;
pub mod budget;
pub mod call;
pub mod detect;
pub mod lane;
pub mod meter;
pub mod privacy;
pub mod rate;
pub mod room;
mod slab;
