#![doc = include_str!("ARCHITECTURE.md")]

pub mod config;
pub mod limits;
pub mod model;

pub mod net;
pub mod protocol;

pub mod broker;
pub mod log;
pub mod replication;
pub mod shard;

pub mod disk;

pub mod control;
pub mod namesrv;
pub mod route;

pub mod metrics;
pub mod sim;
