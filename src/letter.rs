//! What a shard and the control plane say to each other: plain data. The mailboxes that carry it are `control::mailbox`.
//!
//! Shards have no way to one another but this: what one has to tell its siblings goes to the control plane, which tells them. It is for the
//! few things that are the node's, and never in a message's way.
//!
//! | when | shard to control | control to shard |
//! |---|---|---|
//! | start | `Listening` (shell) and `TopicsChanged { full: true }` (broker), in either order | `Registered` when name servers know the shard |
//! | a topic was created or changed | `TopicsChanged` | `Registered` with the same ticket |
//! | a client made a topic by sending to it | `TopicsChanged { spread: true }` | siblings get `EnsureTopic`, then the origin `Registered` |
//! | `EnsureTopic` was carried out | `TopicsChanged` with the ticket of the `EnsureTopic` | `Registered`, which needs no action |
//! | a topic was deleted | `TopicDeleted` | `Registered` |
//! | slave: the name server says where the master is, or that it is gone | | `MasterFound`, when it is known first and when it changes |
//! | slave: it begins or ceases to follow a master | `Follows` | |
//! | slave: the master that it follows was asked for its tables | | `MasterTables`, in parts, then what has changed |
//! | slave: it holds commits that its master lacks | `GiveBack` | `GivenBack` when the master has taken them |
//! | master: a replica that lived on was asked for commits made there | | `TakeOffsets`, before the shard listens |
//! | master: it begins or ceases to wait for what its replicas have | `HoldsBack` | |
//! | master: replicas are registered when it begins | | `ReplicasFound`, before the shard listens |
//! | a tool changes settings (25) | `ChangeSettings` | all shards get `Settings`, then the origin `SettingsAnswer` |
//! | a reply message is for a client that is not connected here | `PassReply` | siblings get `PushReply`; without any, the origin `ReplyPassed` |
//! | the client has the reply message of a `PushReply`, or it is not here either | `ReplyPushed` | the origin gets `ReplyPassed` |
//! | a consumer asks which queues it has (400) | `AskRoute` | `RouteTold`, within some seconds whatever name servers do |
//! | `Settings` are in force | `SettingsTaken` with the ticket of the `Settings` | |
//! | a life begins: at the start, and after a change of role | `LifeBegan`, before `TopicsChanged { full: true }` | none: the shard keeps what it was told |
//! | whoever gives roles gives this shard one | `LifeBegan` when it is so | `Role` |
//! | once a minute | `Measured` | |
//! | stop | `Stopped` | `Stop`, unless the shard stopped by itself |
//!
//! A ticket is chosen by whoever asks. Shards choose below [`CONTROL_TICKET_MIN`], the control plane from it on, so that a
//! shard's own change is never taken for an answer. `Registered` comes for every ticket, also when no name server could be
//! reached: the shard must not wait for a name server that is down.

mod tables;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::NodeConfig;
use crate::metrics::Snapshot;
use crate::model::{
    BrokerId, BrokerName, ClientId, Epoch, GroupName, LogId, MasterLog, QueueId, QueueOffset, Role, ShardId, TopicName,
};
use crate::protocol::body::{ConsumerOffsets, DataVersion, TopicConfig};
use crate::protocol::code::ResponseCode;

pub use tables::MasterTables;
pub(crate) use tables::{TableFollower, parts_of_groups, parts_of_offsets, parts_of_topics};

/// Tickets from here on were chosen by the control plane, those below by a shard.
pub(crate) const CONTROL_TICKET_MIN: u64 = 1 << 63;

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
    /// The shard is this from now on; name servers are to know it so.
    LifeBegan {
        /// Who speaks.
        shard: ShardId,
        /// Its part in replication.
        role: Role,
        /// The brokerId that it is known by: 0 of a master.
        broker_id: BrokerId,
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
    /// A slave's answer to [`ToShard::MasterTables`]: consumers committed these here while the master was away, and it has less.
    GiveBack {
        /// Who speaks.
        shard: ShardId,
        /// To be committed on the master.
        commits: Vec<OffsetCommit>,
    },
    /// A master begins or ceases to wait for what its replicas have and it has not: until then nothing is stored, and name servers are not to say that it
    /// may be written.
    HoldsBack {
        /// Who speaks.
        shard: ShardId,
        /// Whether it waits now.
        holds_back: bool,
        /// The topic table's version with the change.
        version: DataVersion,
    },
    /// A slave begins or ceases to follow a master. Only from that one are tables to be taken, whoever is registered as the master.
    Follows {
        /// Who speaks.
        shard: ShardId,
        /// Whom it follows, if anybody.
        master: Option<MasterLog>,
    },
    /// A tool wants settings of the node changed.
    ChangeSettings {
        /// Who speaks.
        shard: ShardId,
        /// Returned in [`ToShard::SettingsAnswer`].
        ticket: u64,
        /// Where the tool is.
        by: IpAddr,
        /// Properties.
        text: String,
    },
    /// A client replies to a request of another one that is not connected to this shard.
    PassReply {
        /// Who speaks.
        shard: ShardId,
        /// Returned in [`ToShard::ReplyPassed`].
        ticket: u64,
        /// For whichever sibling the client is connected to.
        message: Arc<ReplyMessage>,
    },
    /// What has become of a [`ToShard::PushReply`].
    ReplyPushed {
        /// Who speaks.
        shard: ShardId,
        /// Who passed the message on.
        to: PassedBy,
        /// What the client said.
        outcome: ReplyOutcome,
    },
    /// Which queues a topic has, on all brokers.
    AskRoute {
        /// Who asks.
        shard: ShardId,
        /// Returned in [`ToShard::RouteTold`].
        topic: TopicName,
    },
    /// The shard goes by the settings of a [`ToShard::Settings`].
    SettingsTaken {
        /// Who speaks.
        shard: ShardId,
        /// That of the `Settings`.
        ticket: u64,
        /// If `brokerPermission` has changed, which is part of every topic that name servers know: the topic table's version now.
        topics: Option<DataVersion>,
    },
    /// The shard's last word.
    Stopped {
        /// Who speaks.
        shard: ShardId,
        /// On request, or by a failure.
        why: StopReason,
    },
    /// What the shard has counted and measured, once a minute.
    Measured {
        /// Who speaks.
        shard: ShardId,
        /// The numbers.
        snapshot: Box<Snapshot>,
    },
}

/// Why a shard stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to: everything is flushed.
    Ordered,
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
    /// Of the tables of a slave's master: what they hold replaces the slave's own.
    MasterTables(Box<MasterTables>),
    /// The master has taken these commits of a [`ToControl::GiveBack`].
    GivenBack {
        /// As they were given.
        commits: Vec<OffsetCommit>,
    },
    /// A master's replica kept these offsets while the master was away: each is taken if it is further than the master's own.
    TakeOffsets(Box<KeptOffsets>),
    /// These are registered as replicas of a master that begins: they may have what its store has lost.
    ReplicasFound {
        /// Those that can say which log they have.
        broker_ids: BTreeSet<BrokerId>,
    },
    /// The node's configuration has changed.
    Settings {
        /// Chosen by the control plane.
        ticket: u64,
        /// Rises with every change: an older one that comes late changes nothing.
        generation: u64,
        /// In force from now on.
        config: Arc<NodeConfig>,
    },
    /// What has become of a [`ToControl::ChangeSettings`].
    SettingsAnswer {
        /// The ticket of the change.
        ticket: u64,
        /// All shards go by it and the file has it, with what else is to be said of that; or it was refused.
        result: Result<Option<&'static str>, SettingsRefused>,
    },
    /// A sibling has a reply message for a client that may be connected here; answered by [`ToControl::ReplyPushed`].
    PushReply {
        /// Who has it.
        from: PassedBy,
        /// To whom, and what.
        message: Arc<ReplyMessage>,
    },
    /// What one sibling made of a [`ToControl::PassReply`].
    ReplyPassed {
        /// That of the `PassReply`.
        ticket: u64,
        /// How many siblings were asked, each of which says something.
        asked: usize,
        /// What this one says; that there is no such client if none was asked.
        outcome: ReplyOutcome,
    },
    /// The answer to a [`ToControl::AskRoute`].
    RouteTold {
        /// Of the `AskRoute`.
        topic: TopicName,
        /// What a name server says.
        route: ToldRoute,
    },
    /// The shard is to be this from now on: another life begins, in place, unless a reign at least as new is known to the shard. No answer but
    /// [`ToControl::LifeBegan`].
    Role {
        /// Its part in replication.
        role: Role,
        /// Its number among its replicas, from 1; 0 only of a master that never is a slave.
        broker_id: BrokerId,
        /// The reign: of a master its own, of a slave that of the master it is to follow. Each has a higher number than all before.
        epoch: Epoch,
    },
    /// No new connections, flush, say [`ToControl::Stopped`], end.
    Stop,
}

/// What one client replies to another's request, as the broker pushes it (326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyMessage {
    /// Who made the request.
    pub(crate) client: ClientId,
    /// Fields of the push. Source: RocketMQ `ReplyMessageRequestHeader`.
    pub(crate) ext: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// A topic's route, as far as consumers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToldRoute {
    /// How many queues they may read on each broker, by the brokers' names.
    Queues(Vec<(BrokerName, u32)>),
    /// The name server knows no such topic.
    NoTopic,
    /// No name server has said anything.
    Unknown,
}

/// Where word of a passed reply message goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedBy {
    pub(crate) origin: ShardId,
    pub(crate) ticket: u64,
    /// How many siblings were asked.
    pub(crate) asked: usize,
}

/// What has become of a reply message at one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// The client has taken it.
    Taken,
    /// The client could not be called, refused it, or said nothing in time.
    Failed,
    /// The client is not connected.
    NotConnected,
}

/// What a replica kept of consumers' commits.
#[derive(Clone, Debug, Default)]
pub struct KeptOffsets {
    /// Of which log it is a replica; `None` if it cannot say so, as Apache's.
    pub log: Option<LogId>,
    /// 43.
    pub offsets: ConsumerOffsets,
}

/// Why settings were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRefused {
    /// RocketMQ's.
    pub code: ResponseCode,
    /// One sentence.
    pub remark: String,
}

/// One consumer offset of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct OffsetCommit {
    pub(crate) group: GroupName,
    pub topic: TopicName,
    pub queue: QueueId,
    /// The next message to read.
    pub(crate) offset: QueueOffset,
}
