//! What a shard says of its replication to those who operate it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use crate::model::{BrokerId, LogId, LogOffset, MonoNs, Role, UnixMs};
use crate::protocol::ha::{LogVerdict, Statement};

/// A shard's part in replication, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaStatus {
    /// `brokerRole`.
    pub(crate) role: Role,
    /// Which log this is; unknown until it has a master.
    pub(crate) log: LogId,
    /// Of a master: the slaves that are connected.
    pub(crate) slaves: Vec<SlaveStatus>,
    /// Of a master: the slaves that do not follow it.
    pub(crate) refused: Vec<RefusedSlave>,
    /// Of a master that stores nothing: the slaves that have what its log has lost, whether they are there or not.
    pub(crate) ahead: BTreeSet<BrokerId>,
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
#[derive(Clone, Debug)]
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
    /// Why it was left last, as long as it is not followed again.
    pub(crate) left: Option<String>,
}

/// A slave whose log and its master's do not go together, as the master knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedSlave {
    /// Where its connection came from.
    pub(crate) address: SocketAddr,
    /// Why.
    pub(crate) refusal: UnfitSlave,
    /// When it said so last. It comes again and again as long as it is there.
    pub(crate) said_at: MonoNs,
}

/// Why a slave does not follow. One sentence for the log and for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnfitSlave {
    /// The slave's brokerId.
    pub(crate) broker: BrokerId,
    /// The master's log.
    pub(crate) own: LogId,
    /// Where that ends.
    pub(crate) own_end: LogOffset,
    /// What the slave says.
    pub(crate) said: Statement,
}

impl fmt::Display for UnfitSlave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnfitSlave { broker, own, own_end, said } = self;
        let Statement { log, start, end, point, .. } = said;
        match said.verdict {
            LogVerdict::Follows => write!(f, "the slave with brokerId {broker} follows"),
            LogVerdict::Stranger => write!(
                f,
                "the slave with brokerId {broker} has the log {log}, {start} to {end}, and this one is {own}, to {own_end}: one of the two is not of this group, or was emptied or replaced; nothing is sent and nothing is cut"
            ),
            LogVerdict::Ahead => write!(
                f,
                "the slave with brokerId {broker} goes to {end}, this log, which is the same up to {point}, to {own_end}; what lies beyond was confirmed to the slave, which keeps it"
            ),
            LogVerdict::Hopeless => write!(
                f,
                "the slave with brokerId {broker} begins at {start}, and its log is this one only up to {point}: give it an empty store to copy this one"
            ),
            LogVerdict::Damaged => write!(
                f,
                "the slave with brokerId {broker} was sent no sound record at {point}: this log is damaged there, or what was sent was on its way"
            ),
        }
    }
}
