//! The JSON bodies of requests and replies, as types.
//!
//! Each has `decode` where a peer or a file sends it and `encode` where this side does. Decoding is as lenient as fastjson:
//! unknown members are ignored, missing ones take RocketMQ's defaults, numbers come as texts and texts as numbers. Encoding
//! is compact with members in alphabetical order, as Java's, and never writes `$ref`.

mod assign;
#[cfg(test)]
mod bounds;
mod change;
mod client;
mod controller;
mod fields;
mod group;
mod ha;
mod heartbeat;
mod lock;
mod offset;
mod place;
mod pop;
mod progress;
mod queue;
mod register;
mod route;
mod runtime;
mod stats;
mod topic;

pub use assign::{
    AssignedQueue, AssignmentRequest, GroupMode, ModeRequest, RequestMode, Strategy, assignments, decode_request_modes,
    request_modes,
};
pub use change::{ChangesError, StoredTables, TableChange, TableFrame, decode_changes, encode_flushed};
pub use client::{
    ClientConnection, ConsumerConnection, ProducerInfo, consumer_list, producer_connection, producer_table,
};
pub use controller::{ReplicaInfo, ReplicasInfo, SyncStateSet, decode_broker_names, elected, replicas_info};
pub use group::{GroupTable, SubscriptionGroupConfig};
pub use ha::{HaMaster, HaRefusedSlave, HaRuntimeInfo, HaSlave};
pub use heartbeat::{
    ClientConfig, ConsumeFromWhere, ConsumeType, ConsumerData, ExpressionType, HeartbeatData, MessageModel,
    SubscriptionData,
};
pub use lock::{LockRequest, locked_queues};
pub use offset::{
    ConsumerOffsets, DelayOffsets, LevelOffsets, OffsetTable, ResetForm, SetBack, TimerPlaces, TimerStep,
    client_offsets, decode_client_offsets, reset_offsets,
};
pub use place::TablePlace;
pub use pop::AckedMessages;
pub use progress::{
    AllConsumeStats, QueueEntries, QueueEntry, TimeSpan, correction_offsets, group_forbidden, subscription_of_group,
    time_spans,
};
pub use queue::MessageQueue;
pub use register::RegisterBody;
pub use route::{
    BrokerData, BrokerMemberGroup, ClusterInfo, QueueData, TopicList, TopicRouteData, decode_key_values, group_list,
    key_values,
};
pub use runtime::{RuntimeInfo, STAGE_KEYS, byte_text, capacity_text, put_time_text, rate_text, uptime_text};
pub use stats::{BrokerStats, ConsumeStats, OffsetStats, StatsItem, TopicOffsets, TopicStats};
pub(crate) use topic::TopicFilterType;
pub use topic::{DataVersion, TopicConfig, TopicConfigList, TopicTable, perm};

use super::json::JsonError;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not even fastjson's JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member that the request makes no sense without is absent.
    #[error("`{field}` is missing")]
    Missing {
        /// The member's name.
        field: &'static str,
    },
    /// A member is of a kind that cannot be taken for what it should be.
    #[error("`{field}` is not {expected}")]
    Kind {
        /// The member's name.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number is out of range.
    #[error("`{field}` is out of range: {found}")]
    OutOfRange {
        /// The member's name.
        field: &'static str,
        /// The number that was sent.
        found: i64,
    },
    /// A compressed body does not inflate, or to more than its bound.
    #[error("compressed body is damaged or inflates to more than {max} bytes")]
    Inflate {
        /// The bound.
        max: usize,
    },
    /// A binary part ended within a value.
    #[error("body ends within a value")]
    Ended,
    /// More entries than a table may have.
    #[error("`{field}` has more than {max} entries")]
    TooMany {
        /// The table's name.
        field: &'static str,
        /// The bound.
        max: usize,
    },
}

impl From<super::cursor::Ended> for BodyError {
    fn from(_: super::cursor::Ended) -> Self {
        BodyError::Ended
    }
}
