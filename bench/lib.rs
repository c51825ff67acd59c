//! `ringmq-bench`: puts load on any RocketMQ-compatible cluster, and tells the truth about what its clients would feel.
//!
//! | folder | what it does |
//! |---|---|
//! | [`load`] | sends and pulls, and times it: the path that must never be the bottleneck |
//! | [`lab`] | experiments: which clusters, which loads in which order, what follows from the figures |
//! | [`report`] | what becomes of a file of results: a page, pictures, files for other tools |
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "has clocks, sockets and files: it is the world around a broker, not a broker"
)]

pub mod lab;
pub mod load;
pub mod report;

// The tests' made-up results are shared by those beside the code and those outside of it, which name this crate so.
#[cfg(test)]
extern crate self as ringmq_bench;
#[cfg(test)]
#[path = "tests/sample/mod.rs"]
mod sample;
