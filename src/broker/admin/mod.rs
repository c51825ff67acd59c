//! What tools ask of a broker: settings, statistics, who is connected. Source: RocketMQ `AdminBrokerProcessor`.

pub(super) mod group;
pub(super) mod runtime;
pub(super) mod stats;
mod tables;
pub(super) mod topic;
