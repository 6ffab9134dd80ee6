//! The budget gate.

/// A reservation.
#[derive(Debug)]
pub struct Hold {}
