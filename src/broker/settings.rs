//! What a broker is told at its start, from the node's configuration.

use std::net::SocketAddr;

use crate::model::{BrokerName, ShardId};
use crate::replication::ReplicaSettings;

/// The settings of one shard as a broker.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Which shard of the node.
    pub shard: ShardId,
    /// `brokerClusterName`.
    pub cluster: String,
    /// The name under which this shard registers.
    pub name: BrokerName,
    /// `brokerIP1:listenPort`: where clients reach this shard. Every message id holds it.
    pub address: SocketAddr,
    /// `regionId`, returned with every send.
    pub region: String,
    /// `traceOn`, returned with every send.
    pub trace_on: bool,
    /// `autoCreateTopicEnable`.
    pub auto_create_topic: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_group: bool,
    /// `defaultTopicQueueNums`: queues of `TBW102`, and the most that a send may create.
    pub default_topic_queues: u32,
    /// `brokerPermission`: bits 2 write, 4 read.
    pub permission: u32,
    /// `clusterTopicEnable`: clients may create topics from the topic named like the cluster.
    pub cluster_topic: bool,
    /// `brokerTopicEnable`: likewise from the topic named like the broker.
    pub broker_topic: bool,
    /// `traceTopicEnable`.
    pub trace_topic: bool,
    /// `msgTraceTopicName`.
    pub trace_topic_name: String,
    /// `maxMessageSize`: longest body in bytes.
    pub message_body_bytes_max: usize,
    /// `longPollingEnable`.
    pub long_polling: bool,
    /// `useServerSideResetOffset`: the broker resets offsets itself; else it tells the clients to.
    pub resets_offsets: bool,
    /// `syncFlushTimeout`.
    pub flush_wait_ms: u64,
    /// How it keeps together with its replicas.
    pub replica: ReplicaSettings,
    /// The configuration in force as properties text, answered to tools.
    pub config_text: String,
}
