//! The three gates every outbound model call passes, and the passage through them.
//!
//! Privacy, then budget, then rate: what is denied costs nothing, and what waits for a permit
//! has its money set aside.

pub mod audit;
pub mod book;
pub mod budget;
pub mod calendar;
pub mod call;
pub mod children;
pub mod detect;
pub mod forecast;
pub mod hold;
pub mod lane;
pub mod meter;
pub mod own;
pub mod privacy;
pub mod rate;
pub mod room;
pub mod scope;
mod slab;
mod throttle;
mod vault;
