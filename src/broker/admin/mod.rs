//! What tools ask of a broker: settings, statistics, who is connected. Source: RocketMQ `AdminBrokerProcessor`.

pub(super) mod group;
mod replica;
pub(super) mod runtime;
pub(super) mod stats;
pub(super) mod topic;
