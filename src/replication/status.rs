//! What a shard says of its replication to those who operate it.

use std::net::SocketAddr;

use crate::model::{LogOffset, Role, UnixMs};

/// A shard's part in replication, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaStatus {
    /// `brokerRole`.
    pub(crate) role: Role,
    /// Of a master: the slaves that are connected.
    pub(crate) slaves: Vec<SlaveStatus>,
    /// Of a slave: the master that it follows, if it has found one.
    pub(crate) master: Option<MasterStatus>,
    /// Of a master: replicas in sync, itself among them.
    pub(crate) in_sync_count: usize,
    /// Where consumers' reading ends.
    pub(crate) confirm: LogOffset,
}

/// A slave as its master sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlaveStatus {
    /// Where its connection comes from.
    pub(crate) address: SocketAddr,
    /// It has everything before this.
    pub(crate) acked: LogOffset,
    /// It was sent everything before this.
    pub(crate) sent: LogOffset,
    /// Bytes of the master's log that it has not acknowledged.
    pub(crate) behind_bytes: u64,
    /// Bytes sent in the last second or so.
    pub(crate) bytes_per_second: u64,
    /// Whether the master counts it among the replicas in sync.
    pub(crate) in_sync: bool,
}

/// A master as its slave sees it.
#[derive(Clone, Copy, Debug)]
pub struct MasterStatus {
    /// Its replication port.
    pub address: SocketAddr,
    /// Whether the stream runs: the master is there.
    pub(crate) is_connected: bool,
    /// When the last byte came from it; 0 if never.
    pub(crate) last_read: UnixMs,
    /// When the last report went to it; 0 if never.
    pub(crate) last_write: UnixMs,
    /// Bytes received in the last second or so.
    pub(crate) bytes_per_second: u64,
    /// Up to where the master lets consumers read, if its stream says so.
    pub(crate) confirm: Option<LogOffset>,
}
