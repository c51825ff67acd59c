#![doc = include_str!("ARCHITECTURE.md")]

pub use ringmq_protocol as protocol;
pub use ringmq_protocol::{limits, model};

pub mod config;

pub mod net;

pub mod broker;
pub mod letter;
pub mod log;
pub mod repair;
pub mod replication;
pub mod shard;

pub mod disk;

pub mod control;
pub(crate) mod controller;
pub mod namesrv;
pub mod route;

pub(crate) mod files;
pub(crate) mod metrics;
pub mod said;
pub mod sim;
