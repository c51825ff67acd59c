//! What a shard is told of replication, from the node's configuration. Its role is not among it: that is its life's.

/// How a shard replicates, whatever its role is.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// `inSyncReplicas`: replicas that must have a message before `SYNC_MASTER` replies, the master among them. At least 1.
    pub in_sync_replicas: u32,
    /// `minInSyncReplicas`: with fewer in sync, the master among them, `SYNC_MASTER` refuses sends before it stores them. At least 1, at
    /// most `in_sync_replicas`.
    pub(crate) min_in_sync_replicas: u32,
    /// `slaveTimeout`, ms: a send that waits longer for slaves is answered `FLUSH_SLAVE_TIMEOUT`.
    pub(crate) slave_wait_ms: u64,
    /// `haSendHeartbeatInterval`, ms: no replication connection is silent for longer, in either direction.
    pub(crate) heartbeat_ms: u64,
    /// `haHousekeepingInterval`, ms: a replication connection that was silent for longer is closed.
    pub(crate) silence_ms_max: u64,
    /// `haTransferBatchSize`: bytes of the log in one batch to a slave, at most.
    pub(crate) batch_bytes_max: usize,
    /// `haMaxTimeSlaveNotCatchup`, ms: a slave that is behind for longer leaves the in-sync set.
    pub(crate) catch_up_within_ms: u64,
    /// `haMaxTimeWaitInSyncSlaves`, ms: how long a master that begins waits for slaves to say how far they are, before it stores anything.
    pub(crate) ask_ms: u64,
    /// `haMasterBehindSlave`: a master that has less than a slave takes messages nevertheless.
    pub(crate) goes_on_behind: bool,
    /// `slaveReadEnable`: a master sends readers of what its tail no longer holds to a slave.
    pub(crate) slave_read: bool,
}

impl Default for ReplicaSettings {
    /// A master that waits for nobody, with RocketMQ's times.
    fn default() -> ReplicaSettings {
        ReplicaSettings {
            in_sync_replicas: 1,
            min_in_sync_replicas: 1,
            slave_wait_ms: 3_000,
            heartbeat_ms: 5_000,
            silence_ms_max: 20_000,
            batch_bytes_max: 32 * 1024,
            catch_up_within_ms: 15_000,
            ask_ms: 3_000,
            goes_on_behind: false,
            slave_read: false,
        }
    }
}
