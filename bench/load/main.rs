//! `ringmq-bench`.
fn main() {}
