//! The rate gate.

/// Leave to make one call now.
#[derive(Debug)]
pub struct Permit {}
