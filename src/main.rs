//! `ringmq`.
fn main() {}
