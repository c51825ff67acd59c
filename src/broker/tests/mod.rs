//! The broker from frame to frame: requests as clients encode them, over a log whose disk is a map.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::life::Life;
use super::persist::Append;
use super::settings::BrokerSettings;
use super::{Broker, Effect, Output, Tables};
use crate::config::{NodeConfig, NodeKind};
use crate::letter::{ToControl, ToShard};
use crate::log::{BlockId, DiskUsage, FileName, FlushPolicy, HeapTail, IoError, Log, LogSettings, TailMemory, Work};
use crate::model::{BrokerId, ConnectionId, Epoch, LinkId, LogOffset, MonoNs, Now, Role, ShardId, UnixMs};
use crate::protocol::body::StoredTables;
use crate::protocol::code::RequestCode;
use crate::protocol::frame::{Encoding, split};
use crate::protocol::header::Header;
use crate::protocol::message::Properties;
use crate::protocol::reply::{ExtValue, encode_request};
use crate::replication::{EpochTable, FreshIds, ReplicaSettings};

mod admin;
mod assign;
mod batch;
mod bounds;
mod calls;
mod clients;
mod crowd;
mod daily;
mod delay;
mod filter;
mod life;
mod light;
mod master;
mod online;
mod pop;
mod pull;
mod reply_message;
mod send;
mod slave;
mod statistics;
mod tables;
mod timer;
mod transaction;

/// A quarter of the disk is in use.
const DISK: DiskUsage = DiskUsage { used_bytes: 25, total_bytes: 100 };

/// A ring that is said to outlive the process.
struct SurvivingTail(HeapTail);

impl TailMemory for SurvivingTail {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn ring(&self) -> &[u8] {
        self.0.ring()
    }
    fn ring_mut(&mut self) -> &mut [u8] {
        self.0.ring_mut()
    }
    fn publish(&mut self, appended: LogOffset) {
        self.0.publish(appended);
    }
    fn survives_kill(&self) -> bool {
        true
    }
}

/// A frame that a client received.
#[derive(Clone, Debug)]
struct Received {
    code: i32,
    opaque: i32,
    flag: i32,
    remark: String,
    ext: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Received {
    fn number(&self, name: &str) -> i64 {
        self.ext.get(name).unwrap_or_else(|| panic!("no `{name}` in {self:?}")).parse().unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let view =
                crate::protocol::record::RecordView::decode(rest, None, crate::protocol::record::Check::Crc).unwrap();
            records.push(Record {
                topic: view.topic.to_owned(),
                body: String::from_utf8(view.body.to_vec()).unwrap(),
                queue_offset: view.queue_offset.0,
                log_offset: view.log_offset.0,
                reconsume_times: view.reconsume_times,
                sys_flag: view.sys_flag,
                properties: Properties::new(view.properties)
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            });
            rest = &rest[view.size as usize..];
        }
        records
    }
}

#[derive(Clone, Debug)]
struct Record {
    topic: String,
    body: String,
    queue_offset: u64,
    log_offset: u64,
    reconsume_times: i32,
    sys_flag: i32,
    properties: BTreeMap<String, String>,
}

/// One broker with all that its shell would be.
struct World {
    broker: Broker,
    out: Output,
    now: Now,
    disk: BTreeMap<FileName, Vec<u8>>,
    received: BTreeMap<ConnectionId, Vec<Received>>,
    controls: Vec<ToControl>,
    fetches: Vec<BlockId>,
    /// The lives that the broker asks for.
    lives: Vec<Life>,
    /// Replication connections that the broker wants closed.
    closed: Vec<LinkId>,
    /// Masters that a slave wants to be connected to.
    connects: Vec<SocketAddr>,
    next_connection: u64,
    next_opaque: i32,
    /// An append of changes that waits for `persists`.
    unwritten: Option<Append>,
    /// Whether commits of the log are carried out.
    commits: bool,
    /// Whether tables are written.
    persists: bool,
    /// Whether the control plane answers.
    registers: bool,
    /// Whether blocks of the disk can be read.
    reads: bool,
}

fn life(role: Role) -> Life {
    Life { role, broker_id: BrokerId(1), epoch: None, end_max: None }
}

fn settings() -> BrokerSettings {
    let address = SocketAddr::from(([127, 0, 0, 1], 10911));
    BrokerSettings {
        message_body_bytes_max: 4096,
        config_text: "brokerName=broker-a\n".to_owned(),
        ..BrokerSettings::of(&NodeConfig::defaults(NodeKind::Broker), ShardId(0), 1, address)
    }
}

fn log_settings(flush: FlushPolicy) -> LogSettings {
    LogSettings {
        segment_bytes: 1024 * 1024,
        cache_bytes: 1024 * 1024,
        queue_block_entries: 16,
        key_run_entries: 64,
        index_file_bytes: 128 * 1024,
        flush,
        ..LogSettings::default()
    }
}

impl World {
    fn new() -> World {
        World::with(settings(), FlushPolicy::Sync, false)
    }

    /// With such settings of timers.
    fn with_timers(change: impl FnOnce(&mut BrokerSettings)) -> World {
        let mut settings = settings();
        change(&mut settings);
        World::with(settings, FlushPolicy::Sync, false)
    }

    fn with(settings: BrokerSettings, flush: FlushPolicy, survives: bool) -> World {
        World::living(life(Role::AsyncMaster), settings, flush, survives)
    }

    fn living(life: Life, settings: BrokerSettings, flush: FlushPolicy, survives: bool) -> World {
        let log_settings = LogSettings { has_light: settings.light.is_enabled, ..log_settings(flush) };
        let ring = HeapTail::new(64 * 1024);
        let tail: Box<dyn TailMemory> = if survives { Box::new(SurvivingTail(ring)) } else { Box::new(ring) };
        let mut epochs = EpochTable::default();
        if life.role.is_master() {
            epochs.begin(Epoch(1), LogOffset(0), &FreshIds::of([7; 16], [7; 16]));
        }
        let tables = Tables { epochs, ..Tables::default() };
        let broker = Broker::new(life, settings, Log::create(log_settings, tail), tables);
        let mut world = World {
            broker,
            out: Output::default(),
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            disk: BTreeMap::new(),
            received: BTreeMap::new(),
            controls: Vec::new(),
            fetches: Vec::new(),
            closed: Vec::new(),
            connects: Vec::new(),
            lives: Vec::new(),
            unwritten: None,
            next_connection: 0,
            next_opaque: 100,
            commits: true,
            persists: true,
            registers: true,
            reads: true,
        };
        world.broker.handle_start(world.now, &mut world.out);
        world.run();
        world
    }

    /// Flips a bit of the message with this body on the disk.
    fn damage(&mut self, body: &str) {
        let mut segments = self.disk.values_mut();
        let damaged = segments.find_map(|content| {
            let at = content.windows(body.len()).position(|bytes| bytes == body.as_bytes())?;
            Some(&mut content[at])
        });
        *damaged.expect("it is on the disk") ^= 1;
    }

    fn connect(&mut self) -> ConnectionId {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let port = u16::try_from(40_000 + self.next_connection).unwrap();
        self.broker.handle_connected(self.now, connection, SocketAddr::from(([10, 0, 0, 9], port)));
        connection
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        self.broker.handle_disconnected(self.now, connection, &mut self.out);
        self.run();
    }

    /// Sends a request without letting anything else happen.
    fn ask(&mut self, connection: ConnectionId, code: RequestCode, ext: &[(&str, &str)], body: &[u8]) -> i32 {
        self.ask_raw(connection, code.number(), false, ext, body)
    }

    fn ask_raw(&mut self, connection: ConnectionId, code: i32, oneway: bool, ext: &[(&str, &str)], body: &[u8]) -> i32 {
        self.next_opaque += 1;
        let ext: Vec<(&str, ExtValue<'_>)> = ext.iter().map(|(name, value)| (*name, ExtValue::Str(value))).collect();
        let mut bytes = BytesMut::new();
        encode_request(Encoding::Json, code, self.next_opaque, oneway, &ext, body, &mut bytes);
        let frame = split(&bytes).unwrap().unwrap();
        self.broker.handle_frame(self.now, connection, &frame, &mut self.out).unwrap();
        self.collect();
        self.next_opaque
    }

    /// Sends a request, lets everything happen, returns the answer.
    fn call(&mut self, connection: ConnectionId, code: RequestCode, ext: &[(&str, &str)], body: &[u8]) -> Received {
        let opaque = self.ask(connection, code, ext, body);
        self.run();
        self.answer(connection, opaque).unwrap_or_else(|| panic!("no answer to {code:?}"))
    }

    /// The answer to a request, if it has come.
    fn answer(&mut self, connection: ConnectionId, opaque: i32) -> Option<Received> {
        let frames = self.received.get_mut(&connection)?;
        let place = frames.iter().position(|frame| frame.opaque == opaque && frame.flag & 1 == 1)?;
        Some(frames.remove(place))
    }

    /// Requests of the broker to this client, taken.
    fn notices(&mut self, connection: ConnectionId) -> usize {
        let frames = self.received.entry(connection).or_default();
        let before = frames.len();
        frames.retain(|frame| frame.flag & 1 == 1);
        before - frames.len()
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.unix.0 += i64::try_from(ms).unwrap();
        self.broker.handle_tick(self.now, DISK, &mut self.out);
        self.run();
    }

    /// Does what the shell does until nothing is left to do.
    fn run(&mut self) {
        for _ in 0..1_000 {
            let mut is_idle = self.run_effects();
            is_idle &= self.run_log();
            self.broker.handle_turn_end(self.now, &mut self.out);
            self.collect();
            if is_idle && self.out.effects.is_empty() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn run_effects(&mut self) -> bool {
        let mut is_idle = !self.broker.whole_tables.is_waiting();
        if !is_idle {
            self.broker.handle_deadline(self.now, &mut self.out);
        }
        if self.persists && self.unwritten.take().is_some() {
            is_idle = false;
            self.broker.handle_appended(self.now, Ok(()), &mut self.out);
        }
        for effect in std::mem::take(&mut self.out.effects) {
            is_idle = false;
            match effect {
                Effect::Append(append) => {
                    assert!(self.unwritten.is_none(), "one append is under way");
                    self.unwritten = Some(append);
                }
                Effect::Control(event) => self.run_control(event),
                Effect::LinkClose(link) => self.closed.push(link),
                Effect::LinkConnect(address) => self.connects.push(address),
                Effect::WriteEpochs { generation, .. } => {
                    self.broker.handle_epochs_written(self.now, generation, Ok(()), &mut self.out);
                }
                Effect::BeginLife(life) => self.lives.push(life),
                Effect::Fetch(block) | Effect::Prefetch(block) => {
                    self.fetches.push(block);
                    let start = usize::try_from(block.at).unwrap();
                    let data = Bytes::copy_from_slice(&self.disk[&block.file][start..start + block.len as usize]);
                    let data = if self.reads { Ok(data) } else { Err(IoError::Failed { errno: 5 }) };
                    self.broker.handle_block(self.now, block, data, &mut self.out);
                }
            }
        }
        is_idle
    }

    fn run_control(&mut self, event: ToControl) {
        let ticket = match &event {
            ToControl::TopicsChanged { ticket, .. } | ToControl::TopicDeleted { ticket, .. } => Some(*ticket),
            _ => None,
        };
        self.controls.push(event);
        if let Some(ticket) = ticket.filter(|_| self.registers) {
            self.broker.handle_control(self.now, ToShard::Registered { ticket }, &mut self.out);
        }
    }

    fn run_log(&mut self) -> bool {
        let mut is_idle = true;
        while let Some(io) = self.broker.poll_background(self.now) {
            is_idle = false;
            match io.work {
                Work::Prepare { file, at, len, size } => {
                    let (at, len) = (usize::try_from(at).unwrap(), usize::try_from(len).unwrap());
                    let content = self.disk.entry(file).or_insert_with(|| vec![1; usize::try_from(size).unwrap()]);
                    content[at..at + len].fill(0);
                }
                Work::Rename { from, to } => {
                    let content = self.disk.remove(&from).unwrap();
                    self.disk.insert(to, content);
                }
                Work::Remove { file } => {
                    self.disk.remove(&file);
                }
                Work::Write { file, at, data, .. } => {
                    let at = usize::try_from(at).unwrap();
                    let content = self.disk.entry(file).or_default();
                    content.resize(content.len().max(at + data.len()), 0);
                    content[at..at + data.len()].copy_from_slice(&data);
                }
                Work::Mend { file, at, data, .. } => {
                    let at = usize::try_from(at).unwrap();
                    self.disk.get_mut(&file).unwrap()[at..at + data.len()].copy_from_slice(&data);
                }
                Work::Replace { file, data } => {
                    self.disk.insert(file, data.to_vec());
                }
            }
            self.broker.handle_io(self.now, io.id, Ok(()), &mut self.out);
        }
        while let Some(commit) = self.commits.then(|| self.broker.poll_commit()).flatten() {
            is_idle = false;
            let mut block = vec![0; commit.len];
            self.broker.fill_commit(&commit, &mut block);
            let at = usize::try_from(commit.at).unwrap();
            self.disk.get_mut(&commit.segment).unwrap()[at..at + commit.len].copy_from_slice(&block);
            self.broker.handle_io(self.now, commit.id, Ok(()), &mut self.out);
        }
        is_idle
    }

    /// Takes what the outbox holds to its clients.
    fn collect(&mut self) {
        while let Some(connection) = self.out.outbox.next_touched() {
            let bytes = self.out.outbox.take(connection);
            let mut rest = &bytes[..];
            while let Some(frame) = split(rest).unwrap() {
                let header = Header::decode(frame.encoding, frame.header).unwrap();
                self.received.entry(connection).or_default().push(Received {
                    code: header.code,
                    opaque: header.opaque,
                    flag: header.flag,
                    remark: header.remark().unwrap_or_default().to_owned(),
                    ext: header.ext.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                    body: frame.body.to_vec(),
                });
                rest = &rest[frame.size..];
            }
            assert!(rest.is_empty(), "whole frames only");
        }
    }

    // --- what clients say ---

    fn make_topic(&mut self, topic: &str, queues: u32) {
        let connection = self.connect();
        let queues = queues.to_string();
        let ext = topic_ext(topic, &queues);
        let answer = self.call(connection, RequestCode::UpdateAndCreateTopic, &ext, b"");
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    fn make_group(&mut self, group: &str) {
        let connection = self.connect();
        let body = format!(r#"{{"groupName":"{group}"}}"#);
        let answer = self.call(connection, RequestCode::UpdateAndCreateSubscriptiongroup, &[], body.as_bytes());
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    fn ask_send(&mut self, connection: ConnectionId, topic: &str, queue: i32, properties: &str, body: &str) -> i32 {
        let queue = queue.to_string();
        let ext = send_ext(topic, &queue, properties);
        self.ask(connection, RequestCode::SendMessageV2, &ext, body.as_bytes())
    }

    fn send(&mut self, connection: ConnectionId, topic: &str, queue: i32, properties: &str, body: &str) -> Received {
        let opaque = self.ask_send(connection, topic, queue, properties, body);
        self.run();
        self.answer(connection, opaque).expect("an answer to a send")
    }

    fn ask_pull(&mut self, connection: ConnectionId, topic: &str, from: i64, tags: &str, hold_ms: u64) -> i32 {
        let (from, hold) = (from.to_string(), hold_ms.to_string());
        let flag = if hold_ms > 0 { "6" } else { "4" };
        let ext = [
            ("consumerGroup", "g"),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &from),
            ("maxMsgNums", "32"),
            ("sysFlag", flag),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &hold),
            ("subscription", tags),
            ("subVersion", "0"),
        ];
        self.ask(connection, RequestCode::PullMessage, &ext, b"")
    }

    fn pull(&mut self, connection: ConnectionId, topic: &str, from: i64, tags: &str) -> Received {
        let opaque = self.ask_pull(connection, topic, from, tags, 0);
        self.run();
        self.answer(connection, opaque).expect("an answer to a pull")
    }

    fn heartbeat(&mut self, connection: ConnectionId, client: &str, group: &str, topic: &str) -> Received {
        let body = heartbeat_body(client, group, topic, "CLUSTERING", 1);
        self.call(connection, RequestCode::HeartBeat, &[], body.as_bytes())
    }
}

/// What tools say to make a topic (17).
fn topic_ext<'a>(topic: &'a str, queues: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ]
}

fn send_ext<'a>(topic: &'a str, queue: &'a str, properties: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("a", "pg"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ]
}

fn heartbeat_body(client: &str, group: &str, topic: &str, model: &str, version: i64) -> String {
    format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"{model}","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":{version},"tagsSet":[],"topic":"{topic}"}}],"unitMode":false}}],"producerDataSet":[{{"groupName":"pg"}}]}}"#
    )
}
