//! What a broker goes by, from the node's configuration, whatever its role ([`super::life`]) is. Some of it changes while it runs: see
//! [`Setting`](crate::config::table::Setting).

use std::net::SocketAddr;

use super::timer::WindowBounds;
use crate::config::{FlushDiskType, LightConfig, NodeConfig, PopConfig, TimerConfig, TransactionConfig};
use crate::log::{FlushPolicy, LogSettings, Retention};
use crate::model::{BrokerName, ShardId, UnixMs};
use crate::protocol::body::GroupMode;
use crate::replication::ReplicaSettings;

/// Blocks of old data that a shard keeps. The largest record, 16 MiB, fits with room for its neighbours.
const CACHE_BYTES: usize = 24 * 1024 * 1024;

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
    pub(crate) region: String,
    /// `traceOn`, returned with every send.
    pub(crate) trace_on: bool,
    /// `autoCreateTopicEnable`.
    pub(crate) auto_create_topic: bool,
    /// `autoCreateSubscriptionGroup`.
    pub(crate) auto_create_group: bool,
    /// `defaultTopicQueueNums`: queues of `TBW102`, and the most that a send may create.
    pub(crate) default_topic_queues: u32,
    /// `brokerPermission`: bits 2 write, 4 read.
    pub(crate) permission: u32,
    /// `clusterTopicEnable`: clients may create topics from the topic named like the cluster.
    pub(crate) cluster_topic: bool,
    /// `brokerTopicEnable`: likewise from the topic named like the broker.
    pub(crate) broker_topic: bool,
    /// `traceTopicEnable`.
    pub(crate) trace_topic: bool,
    /// `msgTraceTopicName`.
    pub(crate) trace_topic_name: String,
    /// `maxMessageSize`: longest body in bytes.
    pub message_body_bytes_max: usize,
    /// `longPollingEnable`.
    pub(crate) long_polling: bool,
    /// `shortPollingTimeMills`: how long a pull is held if `long_polling` is off.
    pub(crate) short_polling_ms: u64,
    /// `enablePropertyFilter`: subscriptions may be by SQL92.
    pub(crate) filters_properties: bool,
    /// `filterSupportRetry`.
    pub(crate) filters_retries: bool,
    /// `storeReplyMessageEnable`.
    pub(crate) stores_replies: bool,
    /// `useServerSideResetOffset`: the broker resets offsets itself; else it tells the clients to.
    pub(crate) resets_offsets: bool,
    /// `syncFlushTimeout`.
    pub(crate) flush_wait_ms: u64,
    /// A queue is young until so many bytes were stored since its first message: `accessMessageInMemoryMaxRatio` of the machine's memory.
    pub(crate) young_bytes_max: u64,
    /// `defaultMessageRequestMode` and `defaultPopShareQueueNum`: how a group gets the messages of a topic where nothing was said.
    pub(crate) default_mode: GroupMode,
    /// `serverLoadBalancerEnable`: queues are dealt out among consumers that ask; else each is told all.
    pub(crate) deals_out_queues: bool,
    /// How messages are popped.
    pub(crate) pops: PopConfig,
    /// When producers are asked about their transactions.
    pub(crate) transactions: TransactionConfig,
    /// Messages that wait for a time of their own.
    pub(crate) timers: TimerConfig,
    /// Light queues.
    pub(crate) light: LightConfig,
    /// How much of those that wait is in memory. No setting: the simulator makes it small.
    pub(crate) timer_window: WindowBounds,
    /// Its log's.
    pub log: LogSettings,
    /// How it keeps together with its replicas.
    pub replica: ReplicaSettings,
    /// The configuration in force as properties text, answered to tools.
    pub(crate) config_text: String,
}

impl BrokerSettings {
    /// Those of shard `shard` of a node with `shards` of them, which clients reach at `address`.
    #[must_use]
    pub fn of(config: &NodeConfig, shard: ShardId, shards: u16, address: SocketAddr) -> BrokerSettings {
        BrokerSettings {
            shard,
            cluster: config.cluster.clone(),
            name: BrokerName::from(config.shard_name(shard.0, shards).as_str()),
            address,
            region: config.region_id.clone(),
            trace_on: config.trace_on,
            auto_create_topic: config.auto_create_topic,
            auto_create_group: config.auto_create_group,
            default_topic_queues: config.default_topic_queues,
            permission: u32::from(config.broker_permission),
            cluster_topic: config.cluster_topic,
            broker_topic: config.broker_topic,
            trace_topic: config.trace_topic,
            trace_topic_name: config.trace_topic_name.clone(),
            message_body_bytes_max: usize::try_from(config.message_bytes_max).expect("8 MiB at most"),
            long_polling: config.long_polling,
            short_polling_ms: config.short_polling_ms,
            filters_properties: config.filters_properties,
            filters_retries: config.filters_retries,
            stores_replies: config.stores_replies,
            resets_offsets: config.resets_offsets,
            flush_wait_ms: config.sync_flush_timeout_ms,
            young_bytes_max: config.memory_bytes / 100 * u64::from(config.young_percent_max),
            default_mode: config.assignment.default_mode,
            deals_out_queues: config.assignment.deals_out,
            pops: config.pops,
            transactions: config.transactions,
            timers: config.timers,
            light: config.light,
            timer_window: WindowBounds::default(),
            log: log_settings(config),
            replica: config.replication.of_any_role(),
            config_text: config.print(),
        }
    }

    /// The same shard's after its node's configuration has changed.
    #[must_use]
    pub(crate) fn changed(&self, config: &NodeConfig) -> BrokerSettings {
        let name = self.name.clone();
        BrokerSettings { name, ..BrokerSettings::of(config, self.shard, 1, self.address) }
    }
}

fn retention(config: &NodeConfig) -> Retention {
    Retention {
        reserved_hours: config.file_reserved_hours,
        delete_hours: config.delete_hours.bits(),
        used_percent_max: config.disk_used_percent_max,
        used_percent_refused: config.disk_used_percent_refused,
        clock_accepted: UnixMs(i64::try_from(config.clock_accepted_ms).unwrap_or(0)),
        used_percent_forced: config.clean_forcibly.then_some(config.clean_forcibly_percent),
    }
}

fn log_settings(config: &NodeConfig) -> LogSettings {
    let flush = match config.flush {
        FlushDiskType::Sync => FlushPolicy::Sync,
        FlushDiskType::Async => FlushPolicy::ASYNC,
    };
    LogSettings {
        segment_bytes: config.segment_bytes,
        flush,
        has_record_crc: config.append_property_crc,
        cache_bytes: CACHE_BYTES,
        retention: retention(config),
        delay_levels: config.delay_levels,
        has_light: config.light.is_enabled,
        scrub_interval_ms: config.scrub_interval_ms,
        ..LogSettings::default()
    }
}
