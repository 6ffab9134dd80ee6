//! The `empire` program.
fn main() {}
