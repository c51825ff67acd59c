//! What a broker decides: command and state in, reply and effects out.
//!
//! One [`Broker`] is one shard. The shell calls [`Broker::start`] once; then [`Broker::handle_frame`] for each frame while
//! [`Broker::accepts_input`], [`Broker::handle_progress`] after a burst of frames and after each commit of the log,
//! [`Broker::handle_block`], [`Broker::handle_persisted`] and [`Broker::handle_control`] when what an [`Effect`] asked for is there, and
//! [`Broker::handle_tick`] some times a second and when [`Broker::poll_timeout`] says so. Every call gets the same [`Output`];
//! afterwards the shell carries out its effects and writes its outbox.

pub mod ack;
mod admin;
pub mod client;
mod dispatch;
pub mod filter;
pub mod group;
mod heartbeat;
pub mod hold;
pub mod offset;
mod online;
pub mod order;
pub mod outbox;
mod park;
pub mod persist;
mod pull;
mod query;
pub mod replica;
mod retry;
mod send;
pub mod settings;
mod slave;
mod statistics;
#[cfg(test)]
mod tests;
pub mod topic;
mod view;

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::{Bytes, BytesMut};

use self::ack::{Acks, Ticket, Waiting};
use self::client::Clients;
use self::group::Groups;
use self::hold::{HoldId, HoldTable};
use self::offset::ConsumerOffsets;
use self::online::SettingsChanges;
use self::order::QueueLocks;
use self::outbox::{CloseReason, Outbox};
use self::park::Parked;
use self::persist::{Persistence, Table};
use self::pull::Pull;
use self::replica::Replica;
use self::settings::BrokerSettings;
use self::statistics::Statistics;
use self::topic::TopicTable;
use crate::letter::{CONTROL_TICKET_MIN, ToControl, ToShard};
use crate::log::{BlockId, DiskUsage, IoError, Log, QueueIndex};
use crate::metrics::{Counters, Mornings, Rates, Stage, StageLatency, Stages};
use crate::model::{ConnectionId, LogOffset, MonoNs, Now, ReplicaConnection};
use crate::protocol::body::{self, BodyError, TopicConfig};
use crate::protocol::code::ResponseCode;
use crate::protocol::frame::{Encoding, RawFrame};
use crate::protocol::header::Header;
use crate::protocol::message::{NameError, check_topic};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::BadRequest;
use crate::replication::EpochTable;

/// How often groups are searched for members that are gone, and locks for those that have expired.
const EXPIRY_SCAN_MS: u64 = 10_000;

/// How often consumer offsets are written while they change.
const OFFSETS_WRITE_MS: u64 = 1_000;

/// `delayOffset.json` of a broker that has delayed no message.
const NO_DELAY_OFFSETS: &[u8] = br#"{"offsetTable":{}}"#;

/// What the shell is asked to do.
#[derive(Debug)]
pub enum Effect {
    /// Read this block and call [`Broker::handle_block`].
    Fetch(BlockId),
    /// Replace this table's file, durably, and call [`Broker::handle_persisted`]. At most one a table is under way.
    Persist(Table, Bytes),
    /// Tell the control plane.
    Control(ToControl),
    /// Connect to the master's replication port; then [`Broker::ha_connected`] or [`Broker::ha_failed`].
    HaConnect(SocketAddr),
    /// Close a replication connection; then [`Broker::ha_disconnected`].
    HaClose(ReplicaConnection),
    /// Replace the file of the epochs, durably, and call [`Broker::handle_epochs_written`]. At most one is under way.
    WriteEpochs {
        /// To be given back.
        generation: u64,
        /// The file.
        text: Bytes,
    },
    /// The log is its master's only up to here: open the shard again with a log that ends there.
    Truncate(LogOffset),
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
    /// `topics.json`.
    pub topics: Option<body::TopicTable>,
    /// `subscriptionGroup.json`.
    pub groups: Option<body::GroupTable>,
    /// `consumerOffset.json`.
    pub offsets: Option<body::ConsumerOffsets>,
    /// `epochs`: of a master, with its own reign.
    pub epochs: EpochTable,
    /// `delayOffset.json`, as it is.
    pub delay_offsets: Option<Bytes>,
}

/// One shard as a broker.
pub struct Broker {
    settings: BrokerSettings,
    settings_changes: SettingsChanges,
    /// Of the configuration, as tools are told.
    config_version: body::DataVersion,
    log: Log,
    topics: TopicTable,
    groups: Groups,
    offsets: ConsumerOffsets,
    /// How far a Java master has delivered its delayed messages: kept for the day on which this shard takes its place.
    delay_offsets: Bytes,
    locks: QueueLocks,
    clients: Clients,
    holds: HoldTable<QueueIndex, Pull>,
    acks: Acks,
    parked: Parked,
    replica: Replica,
    persistence: Persistence,
    counters: Counters,
    rates: Rates,
    mornings: Mornings,
    stages: Stages,
    statistics: Statistics,
    disk: DiskUsage,
    started: Now,
    last_expiry_scan: MonoNs,
    last_offsets_write: MonoNs,
    /// Of a slave: queues of the log that were looked at for topics that the master did not live to tell.
    adopted_queues: usize,
    next_queue: u32,
    next_opaque: i32,
    unique_counter: u16,
    scratch: Scratch,
}

/// Buffers that are used again and again, so that a message costs no allocation.
#[derive(Default)]
struct Scratch {
    records: BytesMut,
    properties: Vec<u8>,
    frames: BytesMut,
    woken: Vec<HoldId>,
}

/// Who asks, and how an answer finds its way back.
#[derive(Clone, Copy, Debug)]
struct Asked {
    now: Now,
    connection: ConnectionId,
    encoding: Encoding,
    opaque: i32,
    is_oneway: bool,
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
}

/// A request that gets an error for an answer.
#[derive(Debug)]
pub struct Refusal {
    code: ResponseCode,
    remark: Cow<'static, str>,
    /// Of a pull without permission: RocketMQ's number of the reason.
    forbidden_type: Option<i32>,
}

impl From<BadRequest> for Refusal {
    fn from(error: BadRequest) -> Refusal {
        Refusal::new(error.code(), error.to_string())
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
}

impl Broker {
    /// A broker over a log. `tables` are what the store's files hold; what RocketMQ has from the start is added.
    #[must_use]
    pub fn new(settings: BrokerSettings, log: Log, mut tables: Tables) -> Broker {
        let mut broker = Broker {
            replica: Replica::new(&settings.replica, std::mem::take(&mut tables.epochs)),
            settings,
            settings_changes: SettingsChanges::default(),
            config_version: body::DataVersion::default(),
            log,
            topics: TopicTable::default(),
            groups: Groups::default(),
            offsets: ConsumerOffsets::default(),
            delay_offsets: Bytes::from_static(NO_DELAY_OFFSETS),
            locks: QueueLocks::default(),
            clients: Clients::default(),
            holds: HoldTable::new(),
            acks: Acks::default(),
            parked: Parked::default(),
            persistence: Persistence::default(),
            counters: Counters::default(),
            rates: Rates::default(),
            mornings: Mornings::default(),
            stages: Stages::default(),
            statistics: Statistics::new(MonoNs(0)),
            disk: DiskUsage { used_bytes: 0, total_bytes: 0 },
            started: Now::default(),
            last_expiry_scan: MonoNs(0),
            last_offsets_write: MonoNs(0),
            adopted_queues: 0,
            next_queue: 0,
            next_opaque: 0,
            unique_counter: 0,
            scratch: Scratch::default(),
        };
        broker.load(tables);
        broker
    }

    fn load(&mut self, tables: Tables) {
        if let Some(table) = tables.topics {
            for config in table.topics.into_values() {
                let _ = self.topics.put(table.version.timestamp, config);
            }
            self.topics.version = table.version;
        }
        if let Some(table) = tables.groups {
            self.groups.load(table);
        }
        if let Some(table) = tables.delay_offsets {
            self.delay_offsets = table;
        }
        if let Some(table) = tables.offsets {
            self.offsets.load(&table, !self.settings.replica.role.is_master());
        }
    }

    /// Adds the topics and groups that RocketMQ has from the start, and tells the control plane of all topics.
    pub fn start(&mut self, now: Now, out: &mut Output) {
        self.started = now;
        self.config_version.timestamp = now.unix;
        self.statistics = Statistics::new(now.mono);
        for config in topic::initial_topics(&self.settings) {
            if self.topics.get(config.name.as_str()).is_none() {
                let _ = self.topics.put(now.unix, config);
                self.persistence.change(Table::Topics);
            }
        }
        if self.groups.add_initial() {
            self.persistence.change(Table::Groups);
        }
        self.tell_all_topics(now, out);
        self.write_tables(out);
    }

    /// A connection was accepted.
    pub fn connected(&mut self, _now: Now, connection: ConnectionId, peer: SocketAddr) {
        self.clients.connect(connection, peer);
    }

    /// A connection is gone: its holds and memberships go with it.
    pub fn disconnected(&mut self, now: Now, connection: ConnectionId, out: &mut Output) {
        self.holds.drop_connection(connection);
        self.parked.drop_connection(connection);
        out.outbox.forget(connection);
        for group in self.clients.disconnect(connection) {
            self.notify_group(now, &group, out);
        }
    }

    /// Handles one frame.
    ///
    /// # Errors
    /// [`CloseReason`]: the connection is to be closed.
    pub fn handle_frame(
        &mut self,
        now: Now,
        connection: ConnectionId,
        frame: &RawFrame<'_>,
        out: &mut Output,
    ) -> Result<(), CloseReason> {
        let header = Header::decode(frame.encoding, frame.header).map_err(|_| CloseReason::BadHeader)?;
        // The broker asks clients oneway only, so that no answer is waited for.
        if header.is_response() {
            return Ok(());
        }
        self.handle_request(now, connection, frame, &header, 0, out);
        Ok(())
    }

    fn handle_request(
        &mut self,
        now: Now,
        connection: ConnectionId,
        frame: &RawFrame<'_>,
        header: &Header<'_>,
        rounds: u32,
        out: &mut Output,
    ) {
        let asked = Asked {
            now,
            connection,
            encoding: frame.encoding,
            opaque: header.opaque,
            is_oneway: header.is_oneway(),
            version: header.version,
            rounds,
        };
        let result = match self.dispatch(&asked, header, frame.body, out) {
            Ok(Handled::Cold(block)) => self.park(&asked, frame, block, out),
            Ok(Handled::Done) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = result {
            self.refuse(&asked, &refusal, out);
        }
        for block in self.log.prefetch() {
            out.effects.push(Effect::Fetch(block));
        }
    }

    fn refuse(&self, asked: &Asked, refusal: &Refusal, out: &mut Output) {
        let ext = refusal.forbidden_type.map(|kind| [("forbiddenType", ExtValue::I64(i64::from(kind)))]);
        let ext = ext.as_ref().map_or(&[][..], |fields| &fields[..]);
        let reply = Reply { code: refusal.code, remark: Some(&refusal.remark), ext, body: &[] };
        self.reply(asked, &reply, out);
    }

    fn reply(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Output) {
        if !asked.is_oneway {
            encode_reply(asked.encoding, asked.opaque, reply, out.outbox.buffer(asked.connection));
        }
    }

    /// Answers once the change behind `ticket` is durable and known, at once if there is none.
    fn reply_behind(&mut self, asked: &Asked, ticket: Option<Ticket>, reply: &Reply<'_>, out: &mut Output) {
        let Some(ticket) = ticket.filter(|_| !asked.is_oneway) else { return self.reply(asked, reply, out) };
        let frame = &mut self.scratch.frames;
        encode_reply(asked.encoding, asked.opaque, reply, frame);
        let frame = frame.split();
        self.wait(asked, LogOffset(0), Some(ticket), frame);
    }

    /// Keeps an encoded answer until the log is confirmed up to `at` and `ticket` is open.
    fn wait(&mut self, asked: &Asked, at: LogOffset, ticket: Option<Ticket>, frame: BytesMut) {
        let since = asked.now.mono;
        let waits_for_slaves = at > LogOffset(0) && self.waits_for_slaves();
        // A client gives up after 3 s, which is RocketMQ's slaveTimeout as well: the answer leaves a tenth earlier, to be there in time.
        let slave_wait_ms = self.settings.replica.slave_wait_ms / 10 * 9;
        let flush_wait_ms = self.settings.flush_wait_ms;
        let deadline = since.plus_ms(if waits_for_slaves { slave_wait_ms.min(flush_wait_ms) } else { flush_wait_ms });
        self.acks.push(ticket, Waiting { at, since, deadline, connection: asked.connection, frame });
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
        for config in &configs {
            self.topics.put(now.unix, config.clone())?;
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
        self.write_tables(out);
        Ok(Some(ticket))
    }

    /// Makes sure that a retry or dead letter topic exists.
    fn ensure_plain_topic(
        &mut self,
        now: Now,
        name: &str,
        queues: u32,
        out: &mut Output,
    ) -> Result<Option<Ticket>, Refusal> {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.ticket = topic.ticket.filter(|ticket| self.acks.is_closed(*ticket));
            return Ok(topic.ticket);
        }
        check_topic(name)?;
        self.create_topics(now, vec![TopicConfig::new(name, queues)], false, out)
    }

    /// A block that an [`Effect::Fetch`] asked for: what waited for it runs again.
    pub fn handle_block(&mut self, now: Now, block: BlockId, data: Result<Bytes, IoError>, out: &mut Output) {
        self.log.supply(block, data);
        self.unblock_replicas(block);
        for parked in self.parked.take(block) {
            let Ok(header) = Header::decode(parked.encoding, &parked.header) else { continue };
            let frame = parked.frame();
            self.handle_request(now, parked.connection, &frame, &header, parked.rounds, out);
        }
    }

    /// Releases replies whose promise is met and runs the holds of queues that have grown.
    pub fn handle_progress(&mut self, now: Now, out: &mut Output) {
        self.stages.end_turn(now.mono);
        self.progress_replica(now, out);
        self.stages.note_progress(now.mono, self.log.flushed(), self.replicated());
        self.release_acks(now.mono, &mut out.outbox);
        self.wake_holds(now.mono, out);
    }

    /// What the control plane says.
    pub fn handle_control(&mut self, now: Now, event: ToShard, out: &mut Output) {
        match event {
            ToShard::Registered { ticket } => {
                self.acks.registered(Ticket(ticket));
                self.release_acks(now.mono, &mut out.outbox);
            }
            ToShard::EnsureTopic { ticket, config } => self.ensure_topic_of_sibling(now, ticket, config, out),
            ToShard::MasterFound { ha_address, .. } => self.master_found(now, ha_address, out),
            ToShard::Metadata(metadata) => self.take_metadata(now, *metadata, out),
            ToShard::GivenBack { commits } => self.offsets.given_back(&commits),
            ToShard::TakeOffsets(kept) => self.take_offsets(&kept),
            ToShard::Settings { ticket, generation, config } => {
                self.take_settings(now, ticket, generation, &config, out);
            }
            ToShard::SettingsAnswer { ticket, result } => self.settings_answered(ticket, result, out),
            ToShard::Stop => {}
        }
    }

    fn ensure_topic_of_sibling(&mut self, now: Now, ticket: u64, config: TopicConfig, out: &mut Output) {
        assert!(ticket >= CONTROL_TICKET_MIN, "ticket {ticket} is one of this shard's own");
        let name = config.name.clone();
        if self.topics.get(name.as_str()).is_none() {
            if let Err(refusal) = self.topics.put(now.unix, config) {
                tracing::warn!(topic = %name, why = %refusal.remark, "a topic of another shard was not created here");
                return;
            }
            self.persistence.change(Table::Topics);
            self.write_tables(out);
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

    /// The write of a table has ended.
    pub fn handle_persisted(&mut self, now: Now, table: Table, result: Result<(), IoError>, out: &mut Output) {
        if let Err(error) = &result {
            tracing::warn!(file = table.file_name(), %error, "a table was not written; it is tried again");
        }
        if let Some(generation) = self.persistence.end_write(table, result.is_ok()) {
            self.acks.persisted(table, generation);
            self.release_acks(now.mono, &mut out.outbox);
        }
        self.write_tables(out);
    }

    /// What is to be done from time to time: expiry, tables, rates, deadlines.
    pub fn handle_tick(&mut self, now: Now, out: &mut Output) {
        self.rates.sample(now.mono.0 / 1_000_000, self.counters);
        self.mornings.tick(now.unix, &self.counters);
        self.stages.tick(now.mono);
        if now.mono.ms_since(self.last_expiry_scan) >= EXPIRY_SCAN_MS {
            self.last_expiry_scan = now.mono;
            self.locks.expire(now.mono);
            for group in self.clients.expire(now.mono) {
                self.notify_group(now, &group, out);
            }
        }
        if now.mono.ms_since(self.last_offsets_write) >= OFFSETS_WRITE_MS {
            self.last_offsets_write = now.mono;
            self.adopt_topics(now, out);
            self.persistence.retry_failed();
            if self.offsets.take_dirty() {
                self.persistence.change(Table::ConsumerOffsets);
            }
            self.write_tables(out);
        }
        let late = self.acks.expire_gates(now.mono);
        if late > 0 {
            tracing::warn!(late, "answers did not wait any longer for topics to be written or registered");
        }
        self.tick_replica(now, out);
        self.release_acks(now.mono, &mut out.outbox);
        self.expire_acks(now.mono, out);
        self.expire_holds(now.mono, out);
        self.expire_settings(now.mono, out);
    }

    /// Answers sends whose flush or whose slaves take too long: stored, but not as promised. A log that has failed answers nothing any more.
    fn expire_acks(&mut self, now: MonoNs, out: &mut Output) {
        if self.log.failure().is_some() {
            return;
        }
        let acked = self.replicas_have().acked;
        while let Some(late) = self.acks.pop_late(now) {
            // Where both are missing, the slaves' status is the worse news. Source: RocketMQ `CommitLog.handleDiskFlushAndHA`.
            let lacks_slaves = late.at > acked;
            let code = if lacks_slaves { ResponseCode::FlushSlaveTimeout } else { ResponseCode::FlushDiskTimeout };
            self.answer_instead(&late, code, &mut out.outbox);
        }
    }

    /// Answers a send whose message is stored, but not as promised.
    fn answer_instead(&self, reply: &Waiting, code: ResponseCode, outbox: &mut Outbox) {
        if !self.clients.is_connected(reply.connection) {
            return;
        }
        // The reply was encoded as a success; this is rare enough to read it again.
        let Ok(Some(frame)) = crate::protocol::frame::split(&reply.frame) else { return };
        let Ok(header) = Header::decode(frame.encoding, frame.header) else { return };
        let ext: Vec<(&str, ExtValue<'_>)> =
            header.ext.iter().map(|(name, value)| (name, ExtValue::Str(value))).collect();
        let answer = Reply { code, remark: None, ext: &ext, body: frame.body };
        encode_reply(frame.encoding, header.opaque, &answer, outbox.buffer(reply.connection));
    }

    /// When [`Broker::handle_tick`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoNs> {
        // A log that has failed answers nothing any more, however late it is.
        let acks = if self.log.failure().is_none() { self.acks.next_deadline() } else { None };
        acks.into_iter().chain(self.holds.next_deadline()).min()
    }

    /// Whether sockets are to be read. False while the log's tail or the waiting replies are nearly full, or the next segment is still being
    /// made: reading resumes with progress. Stock clients ask again at once when they are told to be busy, and give up at the third time.
    #[must_use]
    pub fn accepts_input(&self) -> bool {
        self.log.failure().is_some()
            || !(self.acks.is_full() || self.log.is_tail_nearly_full() || self.log.awaits_segment())
    }

    /// The log, for the shell's loops.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for the shell's loops.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// How full the store's disk is, for the tools that ask. The shell says it with each tick of the log.
    pub fn note_disk(&mut self, disk: DiskUsage) {
        self.disk = disk;
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How long messages took from one stage to the next, in the order of [`Stage::ALL`].
    #[must_use]
    pub fn view_stages(&self) -> [StageLatency; Stage::COUNT] {
        self.stages.latencies()
    }

    /// All tables as bytes, for an orderly stop: the shell writes them last of all.
    #[must_use]
    pub fn encode_tables(&self) -> [(Table, Bytes); Table::COUNT] {
        Table::ALL.map(|table| (table, self.encode_table(table)))
    }

    fn write_tables(&mut self, out: &mut Output) {
        for table in Table::ALL {
            if self.persistence.start_write(table) {
                out.effects.push(Effect::Persist(table, self.encode_table(table)));
            }
        }
    }

    fn encode_table(&self, table: Table) -> Bytes {
        match table {
            Table::Topics => self.topic_table().encode().into(),
            Table::Groups => self.groups.table().encode().into(),
            Table::ConsumerOffsets => self.offsets.table().encode().into(),
            Table::DelayOffsets => self.delay_offsets.clone(),
        }
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
