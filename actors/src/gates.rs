//! The three gates every outbound model call passes.

pub mod budget;
pub mod call;
pub mod rate;
