//! Our actor kernel.
