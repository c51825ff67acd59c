//! What a broker decides: command and state in, reply and effects out.
//!
//! One [`Broker`] is one shard, its log and its replication included. A shell (the shard's, or the simulator) speaks to it through four
//! families of method, and to nothing behind it:
//!
//! | family | what it is | the shell's part |
//! |---|---|---|
//! | `handle_*` | an event; the time comes first | one at a time, in the order in which things happened, always with the same [`Output`] |
//! | `poll_*` | a wish | asked after each event: what is to be written, which sockets are to be read, when to come back |
//! | `fill_*` | bytes that a wish is about | right after the wish, in the same turn |
//! | `view_*` | a look | at any time; nothing changes by it. The simulator's oracles alone read messages so (`view_reader`), which fills caches |
//!
//! [`Broker::handle_start`] comes first and once. Then frames ([`Broker::handle_frame`] while [`Broker::poll_input`], and
//! [`Broker::handle_turn_end`] behind the last of a turn), replication's links ([`Broker::handle_link_up`] and its like;
//! [`Broker::fill_link`] for those that [`Broker::poll_links`] names), the results of what was wished for ([`Broker::handle_io`]) or of
//! an [`Effect`] ([`Broker::handle_block`], [`Broker::handle_appended`], [`Broker::handle_control`], [`Broker::handle_epochs_written`]), the steps of a
//! table's snapshot ([`Broker::poll_snapshot`], [`Broker::handle_snapshot`]), and
//! time ([`Broker::handle_tick`], [`Broker::handle_deadline`]). After each event the shell carries out the effects, in their order, and sends
//! what the outbox has. [`Broker::handle_stop`] is the last but for the results that are still under way; where another life follows
//! ([`life`]), [`Broker::handle_end`].

pub(crate) mod ack;
mod admin;
mod assign;
mod call;
pub(crate) mod change_files;
pub mod client;
mod delay;
mod dispatch;
mod door;
mod due;
pub mod filter;
pub(crate) mod group;
mod heartbeat;
pub(crate) mod hold;
mod job;
pub mod life;
mod light;
mod notice;
pub(crate) mod offset;
mod online;
pub mod order;
pub mod outbox;
mod park;
pub(crate) mod persist;
mod pop;
mod pull;
mod query;
pub mod replica;
mod reply_message;
mod retry;
mod send;
pub mod settings;
mod slave;
pub(crate) mod snapshot;
mod statistics;
mod store;
mod templates;
#[cfg(test)]
mod tests;
pub(crate) mod timer;
pub(crate) mod topic;
mod trail;
mod transaction;
mod undelivered;
mod unsettled;
mod unwritten;
mod view;
mod whole;

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::{Bytes, BytesMut};

use self::ack::{Acks, Ticket};
use self::assign::Routes;
use self::call::Calls;
use self::client::Clients;
use self::delay::Delays;
use self::filter::KeptFilters;
use self::group::Groups;
use self::hold::HoldTable;
use self::life::{Life, LoweredOffsets};
use self::notice::Notices;
use self::offset::CommittedOffsets;
use self::online::SettingsChanges;
use self::order::QueueLocks;
use self::outbox::Outbox;
use self::park::Parked;
use self::persist::{Append, FoundChanges, Persistence, Table};
use self::pop::Pops;
use self::pull::{HeldFor, Pull};
use self::replica::Replica;
use self::reply_message::PassedReplies;
use self::settings::BrokerSettings;
use self::snapshot::Snapshots;
use self::statistics::Statistics;
use self::templates::Templates;
use self::topic::Topics;
use self::trail::Trail;
use self::transaction::Transactions;
use self::whole::WholeTables;
use crate::letter::{CONTROL_TICKET_MIN, ToControl};
use crate::log::{BlockId, DiskUsage, Log};
use crate::metrics::{Counters, Mornings, Rates, Stages};
use crate::model::{ConnectionId, LinkId, LogOffset, MasterLog, MonoNs, Now};
use crate::protocol::body::{self, BodyError, StoredTables, TopicConfig};
use crate::protocol::code::{Language, ResponseCode};
use crate::protocol::frame::Encoding;
use crate::protocol::message::{NameError, check_topic};
use crate::protocol::request::BadRequest;
use crate::replication::EpochTable;
use crate::said::BY_STRANGERS;

/// How often consumer offsets are written while they change.
const OFFSETS_WRITE_MS: u64 = 1_000;

/// What the shell is asked to do.
#[derive(Debug)]
pub enum Effect {
    /// Read this block, for which somebody waits, and call [`Broker::handle_block`].
    Fetch(BlockId),
    /// Read this block, which will be wanted, if there is nothing better to do; then [`Broker::handle_block`].
    Prefetch(BlockId),
    /// Append to a file of changes, and call [`Broker::handle_appended`]. At most one is under way.
    Append(Append),
    /// Tell the control plane.
    Control(ToControl),
    /// Connect to the master's replication port; then [`Broker::handle_link_up`] or [`Broker::handle_link_failed`].
    LinkConnect(SocketAddr),
    /// Close a link; then [`Broker::handle_link_down`].
    LinkClose(LinkId),
    /// Replace the file of the epochs, durably, and call [`Broker::handle_epochs_written`]. At most one is under way.
    WriteEpochs {
        /// To be given back.
        generation: u64,
        /// The file.
        text: Bytes,
    },
    /// Let this life end ([`Broker::handle_end`]), and begin this one: with the log as it is recovered, and a broker of its own. The last one that is
    /// asked for counts.
    BeginLife(Life),
}

/// What one call has brought about.
#[derive(Debug, Default)]
pub struct Output {
    /// Frames to send.
    pub outbox: Outbox,
    /// In the order in which they are to be carried out.
    pub effects: Vec<Effect>,
}

/// The durable tables as they were found at the start.
#[derive(Debug, Default)]
pub struct Tables {
    /// As the tables' files and the files of changes say.
    pub stored: StoredTables,
    /// What there is of changes.
    pub changes: FoundChanges,
    /// `epochs`: of a master, with its own reign.
    pub epochs: EpochTable,
}

/// One shard as a broker.
pub struct Broker {
    life: Life,
    /// What was asked of the shell to follow it.
    next_life: Option<Life>,
    /// The process is to end in order.
    is_stopping: bool,
    settings: BrokerSettings,
    settings_changes: SettingsChanges,
    /// Of the configuration, as tools are told.
    config_version: body::DataVersion,
    log: Log,
    topics: Topics,
    groups: Groups,
    offsets: CommittedOffsets,
    delays: Delays,
    transactions: Transactions,
    pops: Pops,
    locks: QueueLocks,
    clients: Clients,
    calls: Calls,
    passed_replies: PassedReplies,
    routes: Routes,
    holds: HoldTable<HeldFor, Pull>,
    kept_filters: KeptFilters,
    acks: Acks,
    parked: Parked,
    templates: Templates,
    replica: Replica,
    persistence: Persistence,
    snapshots: Snapshots,
    trail: Trail,
    whole_tables: WholeTables,
    /// To be on the disk before a client's frame is read, or, if there is no room for them, before anything is stored.
    lowered_offsets: Option<LoweredOffsets>,
    counters: Counters,
    rates: Rates,
    mornings: Mornings,
    stages: Stages,
    statistics: Statistics,
    disk: DiskUsage,
    started: Now,
    last_offsets_write: MonoNs,
    /// Of a slave: how far the log was looked through for topics that the master did not live to tell.
    adopted_until: LogOffset,
    /// Of a master: a slave has followed it in this life.
    knows_slaves: bool,
    next_queue: u32,
    notices: Notices,
    next_opaque: i32,
    unique_counter: u16,
    scratch: Scratch,
}

/// Buffers that are used again and again, so that a message costs no allocation.
#[derive(Default)]
struct Scratch {
    records: BytesMut,
    /// Bytes of the records that the last pull passed over by their properties.
    passed_bytes: usize,
    properties: Vec<u8>,
    frames: BytesMut,
}

/// Who asks, and how an answer finds its way back.
#[derive(Clone, Copy, Debug)]
struct Asked {
    now: Now,
    connection: ConnectionId,
    encoding: Encoding,
    opaque: i32,
    is_oneway: bool,
    language: Language,
    version: i32,
    /// How often this request has waited for a block.
    rounds: u32,
}

/// How the handling of a request has ended, if not with a [`Refusal`].
#[derive(Debug)]
enum Handled {
    /// Answered, or held, or the answer waits among the acks.
    Done,
    /// It needs a block of the disk and is to be run again.
    Cold(BlockId),
    /// The same, of a search that goes on where it was: it may need many, one after the other.
    Searching(BlockId),
}

/// What a client is told that asks for what the disk cannot read.
const UNREADABLE: &str = "old messages cannot be read from the disk now";

/// A request that gets an error for an answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: ResponseCode,
    remark: Cow<'static, str>,
    /// Of a pull without permission: RocketMQ's number of the reason.
    forbidden_type: Option<i32>,
}

impl From<&BadRequest> for Refusal {
    fn from(error: &BadRequest) -> Refusal {
        Refusal::new(error.code(), error.to_string())
    }
}

impl From<BadRequest> for Refusal {
    fn from(error: BadRequest) -> Refusal {
        Refusal::from(&error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        Refusal::from(BadRequest::Body(error))
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Refusal {
        Refusal::new(ResponseCode::InvalidParameter, error.to_string())
    }
}

impl Refusal {
    fn new(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, remark: remark.into(), forbidden_type: None }
    }

    /// The disk fails where the answer lies: nothing is known to be lost.
    fn unreadable() -> Refusal {
        Refusal::new(ResponseCode::SystemError, UNREADABLE)
    }
}

impl Broker {
    /// A broker over a log, for one life. `tables` are what the store's files hold; what RocketMQ has from the start is added.
    #[must_use]
    pub fn new(life: Life, settings: BrokerSettings, log: Log, mut tables: Tables) -> Broker {
        let mut broker = Broker {
            replica: Replica::new(&life, &settings.replica, std::mem::take(&mut tables.epochs)),
            life,
            next_life: None,
            is_stopping: false,
            settings,
            settings_changes: SettingsChanges::default(),
            config_version: body::DataVersion::default(),
            log,
            topics: Topics::default(),
            groups: Groups::default(),
            offsets: CommittedOffsets::default(),
            delays: Delays::default(),
            transactions: Transactions::default(),
            pops: Pops::default(),
            locks: QueueLocks::default(),
            clients: Clients::default(),
            calls: Calls::default(),
            passed_replies: PassedReplies::default(),
            routes: Routes::default(),
            holds: HoldTable::new(),
            kept_filters: KeptFilters::default(),
            acks: Acks::default(),
            parked: Parked::default(),
            templates: Templates::default(),
            persistence: Persistence::default(),
            snapshots: Snapshots::default(),
            trail: Trail::default(),
            whole_tables: WholeTables::default(),
            lowered_offsets: None,
            counters: Counters::default(),
            rates: Rates::default(),
            mornings: Mornings::default(),
            stages: Stages::default(),
            statistics: Statistics::new(MonoNs(0)),
            disk: DiskUsage { used_bytes: 0, total_bytes: 0 },
            started: Now::default(),
            last_offsets_write: MonoNs(0),
            adopted_until: LogOffset(0),
            knows_slaves: false,
            next_queue: 0,
            notices: Notices::default(),
            next_opaque: 0,
            unique_counter: 0,
            scratch: Scratch::default(),
        };
        broker.load(tables);
        broker
    }

    fn load(&mut self, Tables { stored: tables, changes, .. }: Tables) {
        self.persistence.load(changes);
        if let Some(table) = tables.topics {
            for config in table.topics.into_values() {
                let name = config.name.clone();
                if let Err(refusal) = self.topics.put(table.version.timestamp, config) {
                    tracing::error!(topic = %name, why = %refusal.remark, "a topic of topics.json is not served");
                }
            }
            self.topics.version = table.version;
            self.topics.settle();
        }
        if let Some(table) = tables.groups {
            self.groups.load(table);
        }
        if let Some(table) = tables.delay_offsets {
            self.delays.load(table);
        }
        if let Some(table) = tables.offsets {
            self.offsets.load(&table, self.is_slave());
        }
        if let Some(MasterLog::Named { reign, .. }) = self.own_reign() {
            self.offsets.begin_reign(reign);
        }
    }

    /// Refuses a change of topics or groups while very many are under way.
    fn check_changes(&self) -> Result<(), Refusal> {
        if self.acks.is_full_of_changes() { Err(store::busy()) } else { Ok(()) }
    }

    /// Creates or changes topics; returns what answers that tell of them wait for.
    fn create_topics(
        &mut self,
        now: Now,
        configs: Vec<TopicConfig>,
        spread: bool,
        out: &mut Output,
    ) -> Result<Option<Ticket>, Refusal> {
        if configs.is_empty() {
            return Ok(None);
        }
        self.check_changes()?;
        self.topics.check_room(&configs)?;
        for config in &configs {
            self.topics.put_checked(now.unix, config.clone());
        }
        let generation = self.persistence.change(Table::Topics);
        let ticket = self.acks.make_gate(now.mono, Some((Table::Topics, generation)), true);
        for config in &configs {
            if let Some(topic) = self.topics.get_mut(config.name.as_str()) {
                topic.ticket = Some(ticket);
            }
        }
        out.effects.push(Effect::Control(ToControl::TopicsChanged {
            shard: self.settings.shard,
            ticket: ticket.0,
            topics: configs,
            version: self.topics.version,
            spread,
            full: false,
        }));
        self.write_changes(out);
        Ok(Some(ticket))
    }

    /// Makes sure that a retry or dead letter topic exists.
    fn ensure_plain_topic(
        &mut self,
        now: Now,
        name: &str,
        queues: u32,
        sys_flag: i32,
        out: &mut Output,
    ) -> Result<Option<Ticket>, Refusal> {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.ticket = topic.ticket.filter(|ticket| self.acks.is_closed(*ticket));
            return Ok(topic.ticket);
        }
        check_topic(name)?;
        self.make_plain_topic(now, name, queues, sys_flag, out)
    }

    /// Makes a topic that is not there, whose name is the broker's own making.
    fn make_plain_topic(
        &mut self,
        now: Now,
        name: &str,
        queues: u32,
        sys_flag: i32,
        out: &mut Output,
    ) -> Result<Option<Ticket>, Refusal> {
        let mut config = TopicConfig::new(name, queues);
        config.sys_flag = sys_flag;
        self.create_topics(now, vec![config], false, out)
    }

    fn ensure_topic_of_sibling(&mut self, now: Now, ticket: u64, config: TopicConfig, out: &mut Output) {
        assert!(ticket >= CONTROL_TICKET_MIN, "ticket {ticket} is one of this shard's own");
        let name = config.name.clone();
        if self.topics.get(name.as_str()).is_none() {
            if let Err(refusal) = self.topics.put(now.unix, config) {
                tracing::warn!(target: BY_STRANGERS, topic = %name, why = %refusal.remark, "a topic of another shard was not created here");
                return;
            }
            let generation = self.persistence.change(Table::Topics);
            // What is sent to it here is answered when its table has it, as on the shard where it was made.
            let gate = self.acks.make_gate(now.mono, Some((Table::Topics, generation)), false);
            if let Some(topic) = self.topics.get_mut(name.as_str()) {
                topic.ticket = Some(gate);
            }
            self.write_changes(out);
        }
        let Some(topic) = self.topics.get(name.as_str()) else { return };
        out.effects.push(Effect::Control(ToControl::TopicsChanged {
            shard: self.settings.shard,
            ticket,
            topics: vec![topic.config.clone()],
            version: self.topics.version,
            spread: false,
            full: false,
        }));
    }

    fn topic_table(&self) -> body::TopicTable {
        let topics = self.topics.sorted().into_iter().map(|topic| (topic.name.clone(), topic.config.clone())).collect();
        body::TopicTable { version: self.topics.version, topics }
    }

    /// The producer's address. A request's connection is always there.
    fn peer(&self, connection: ConnectionId) -> SocketAddr {
        let unknown = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        self.clients.peer(connection).unwrap_or(unknown)
    }
}
