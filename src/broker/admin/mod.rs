//! What tools ask of a broker: settings, statistics, who is connected. Source: RocketMQ `AdminBrokerProcessor`.

mod attributes;
mod clean;
mod client;
pub(super) mod group;
mod progress;
mod reset;
mod role;
pub(super) mod runtime;
pub(super) mod stats;
mod subscription;
mod tables;
pub(super) mod topic;
