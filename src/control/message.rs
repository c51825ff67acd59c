//! What a shard and the control plane say to each other: plain data over bounded mailboxes, one pair a shard.
//!
//! | when | shard to control | control to shard |
//! |---|---|---|
//! | start | `Listening` (shell) and `TopicsChanged { full: true }` (broker), in either order | `Registered` when name servers know the shard |
//! | a topic was created or changed | `TopicsChanged` | `Registered` with the same ticket |
//! | a client made a topic by sending to it | `TopicsChanged { spread: true }` | siblings get `EnsureTopic`, then the origin `Registered` |
//! | `EnsureTopic` was carried out | `TopicsChanged` with the ticket of the `EnsureTopic` | `Registered`, which needs no action |
//! | a topic was deleted | `TopicDeleted` | `Registered` |
//! | slave: the name server says where the master is, or that it is gone | | `MasterFound`, when it is known first and when it changes |
//! | slave: the master was asked for its tables | | `Metadata`, with what has changed |
//! | slave: it holds commits that its master lacks | `GiveBack` | `GivenBack` when the master has taken them |
//! | master: a replica that lived on was asked for commits made there | | `TakeOffsets`, before the shard listens |
//! | stop | `Stopped` | `Stop`, unless the shard stopped by itself |
//!
//! A ticket is chosen by whoever asks. Shards choose below [`CONTROL_TICKET_MIN`], the control plane from it on, so that a
//! shard's own change is never taken for an answer. `Registered` comes for every ticket, also when no name server could be
//! reached: the shard must not wait for a name server that is down.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::limits::{CONTROL_MAILBOX_MAX, SHARD_MAILBOX_MAX};
use crate::model::{GroupName, QueueId, QueueOffset, ShardId, TopicName};
use crate::protocol::body::{ConsumerOffsets, DataVersion, DelayOffsets, GroupTable, TopicConfig, TopicTable};

/// Tickets from here on were chosen by the control plane, those below by a shard.
pub const CONTROL_TICKET_MIN: u64 = 1 << 63;

/// From a shard to the control plane.
#[derive(Clone, Debug)]
pub enum ToControl {
    /// The shard has recovered its log and accepts connections.
    Listening {
        /// Who speaks.
        shard: ShardId,
        /// Where it really listens (the configured port may have been 0).
        address: SocketAddr,
        /// Whether its tail lies on memory that outlives the process; if not, `ASYNC_FLUSH` replies after the write.
        tail_survives_kill: bool,
    },
    /// Topics were created or changed, or the whole table is told at the start.
    TopicsChanged {
        /// Who speaks.
        shard: ShardId,
        /// Returned in [`ToShard::Registered`].
        ticket: u64,
        /// What changed, or everything if `full`. Permissions are the topic's own, not yet masked by `brokerPermission`.
        topics: Vec<TopicConfig>,
        /// The topic table's version after the change.
        version: DataVersion,
        /// Created by a send: siblings create it first, so that the first route a producer sees has the queues of all shards.
        spread: bool,
        /// `topics` is the whole table.
        full: bool,
    },
    /// A topic is gone from this shard.
    TopicDeleted {
        /// Who speaks.
        shard: ShardId,
        /// Returned in [`ToShard::Registered`].
        ticket: u64,
        /// The topic's name.
        topic: String,
        /// The topic table's version after the change.
        version: DataVersion,
    },
    /// A slave's answer to [`ToShard::Metadata`]: consumers committed these here while the master was away, and it has less.
    GiveBack {
        /// Who speaks.
        shard: ShardId,
        /// To be committed on the master.
        commits: Vec<Commit>,
    },
    /// The shard's last word.
    Stopped {
        /// Who speaks.
        shard: ShardId,
        /// On request, or by a failure.
        why: StopReason,
    },
    /// Counters for the log and, later, for metrics.
    Runtime {
        /// Who speaks.
        shard: ShardId,
        /// Name and value; the names carry their units.
        counters: Vec<(&'static str, u64)>,
    },
}

/// Why a shard stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to: everything is flushed.
    Asked,
    /// One sentence: what failed, where, and what to do.
    Failed(String),
}

/// From the control plane to a shard.
#[derive(Clone, Debug)]
pub enum ToShard {
    /// All name servers that could be reached know the change of this ticket.
    Registered {
        /// The ticket of the change.
        ticket: u64,
    },
    /// Create this topic if it does not exist yet, then answer with [`ToControl::TopicsChanged`] of the same ticket.
    EnsureTopic {
        /// Chosen by the control plane.
        ticket: u64,
        /// As the sibling created it.
        config: TopicConfig,
    },
    /// A slave's master, as the configuration or the name server names it. Both `None`: no name server knows a master now.
    MasterFound {
        /// Its replication port.
        ha_address: Option<SocketAddr>,
        /// Where clients reach it; `None` if only `haMasterAddress` is known.
        address: Option<SocketAddr>,
    },
    /// Tables of a slave's master: what they hold replaces the slave's own.
    Metadata(Box<Metadata>),
    /// The master has taken these commits of a [`ToControl::GiveBack`].
    GivenBack {
        /// As they were given.
        commits: Vec<Commit>,
    },
    /// A master's replica kept these offsets while the master was away: each is taken if it is further than the master's own.
    TakeOffsets(Box<ConsumerOffsets>),
    /// No new connections, flush, say [`ToControl::Stopped`], end.
    Stop,
}

/// What a slave takes from its master; `None` where nothing has changed since the last time.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// 21.
    pub topics: Option<TopicTable>,
    /// 43.
    pub offsets: Option<ConsumerOffsets>,
    /// 45: how far the master has delivered delayed messages, for the day on which this slave becomes a master.
    pub delay_offsets: Option<DelayOffsets>,
    /// 201.
    pub groups: Option<GroupTable>,
}

/// One consumer offset of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Who reads.
    pub group: GroupName,
    /// What.
    pub topic: TopicName,
    /// Its queue.
    pub queue: QueueId,
    /// The next message to read.
    pub offset: QueueOffset,
}

/// The shards' end of the mailbox that leads to the control plane; all shards share one.
pub type ControlSender = mpsc::Sender<ToControl>;
/// The control plane's end of it.
pub type ControlReceiver = mpsc::Receiver<ToControl>;
/// The control plane's end of the mailbox that leads to one shard.
pub type ShardSender = mpsc::Sender<ToShard>;
/// The shard's end of it.
pub type ShardReceiver = mpsc::Receiver<ToShard>;

/// The mailbox from all shards to the control plane.
#[must_use]
pub fn control_mailbox() -> (ControlSender, ControlReceiver) {
    mpsc::channel(CONTROL_MAILBOX_MAX)
}

/// The mailbox from the control plane to one shard.
#[must_use]
pub fn shard_mailbox() -> (ShardSender, ShardReceiver) {
    mpsc::channel(SHARD_MAILBOX_MAX)
}
