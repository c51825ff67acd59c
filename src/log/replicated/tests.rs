//! A slave's log becomes its master's, whatever happens on the way.

use std::net::{Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::log::proof::{Compared, FoundRecord};
use crate::log::{
    Commit, FlushPolicy, FoundStore, KeySearch, LogSettings, Read, ReadLimits, Recovery, Search, Step, Stream,
};
use crate::model::{MonoNs, Now, UnixMs};
use crate::protocol::record::{Marks, RecordDraft};
use crate::protocol::record::{Place, Sized};
use crate::protocol::request::Boundary;
use crate::sim::{Random, Remains, SimDisk, SimTail, Slot};

const SEGMENT: u64 = 64 * 1024;
const RING: usize = 64 * 1024;
const LONG: &str = "a-topic-whose-name-is-so-long-that-its-length-does-not-fit-into-one-signed-byte-and-so-its-records-have-the-second-magic-and-two-bytes-for-it";
const TOPICS: [&str; 4] = ["orders", "payments", LONG, "T"];

fn settings(flush: FlushPolicy) -> LogSettings {
    LogSettings {
        segment_bytes: SEGMENT,
        flush,
        commit_bytes_max: 16 * 1024,
        prepare_bytes: 16 * 1024,
        cache_bytes: 1024 * 1024,
        queue_block_entries: 5,
        key_run_entries: 64,
        index_file_bytes: 128 * 1024,
        checkpoint_bytes: 100 * 1024,
        ..LogSettings::default()
    }
}

/// A log, its disk and its ring.
struct Node {
    settings: LogSettings,
    disk: SimDisk,
    slot: Slot,
    log: Option<Box<Log>>,
    commit: Option<(Commit, Vec<u8>)>,
    now: Now,
}

impl Node {
    fn new(settings: LogSettings) -> Node {
        let mut disk = SimDisk::default();
        disk.capacity = 1 << 30;
        let now = Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(0) };
        let mut node = Node { settings, disk, slot: Slot::default(), log: None, commit: None, now };
        node.recover(None);
        node
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a process runs")
    }

    fn recover(&mut self, end_max: Option<LogOffset>) {
        let remains = self.slot.take().unwrap_or(Remains { ring: vec![0; RING], appended: None });
        let tail_appended = remains.appended;
        let tail = Box::new(SimTail::new(remains, self.slot.clone(), true));
        let found = FoundStore { files: self.disk.list(), tail, tail_appended, end_max, unflushed_max: None };
        let mut recovery = Recovery::new(self.settings, found).expect("not refused");
        let log = loop {
            let answer = match recovery.step() {
                Step::Done(log) => break log,
                Step::Refused(error) => panic!("refused: {error}"),
                step => self.disk.recover(step),
            };
            recovery.supply(answer);
        };
        self.log = Some(log);
    }

    /// The process dies; perhaps with the power of the machine.
    fn crash(&mut self, random: &mut Random) {
        if let Some((commit, data)) = self.commit.take() {
            let _ = self.disk.write(commit.segment, commit.at, &data, Some(random));
        }
        self.log = None;
        if random.percent(50) {
            self.slot.take();
            self.disk.lose_power(random);
        }
        self.recover(None);
    }

    fn begin_commit(&mut self) {
        let log = self.log.as_mut().expect("a process runs");
        if self.commit.is_none()
            && let Some(commit) = log.poll_commit()
        {
            let mut data = vec![0xEE; commit.len];
            log.copy_tail(commit.from, &mut data);
            self.commit = Some((commit, data));
        }
    }

    fn end_commit(&mut self) {
        if let Some((commit, data)) = self.commit.take() {
            self.disk.write(commit.segment, commit.at, &data, None).expect("room");
            self.disk.flush_commit(&commit);
            self.log().handle_io(commit.id, Ok(()));
        }
    }

    fn background(&mut self) -> bool {
        self.now.mono = self.now.mono.plus_ms(1);
        let now = self.now;
        let Some(io) = self.log().poll_background(now) else { return false };
        let done = self.disk.work(&io.work, None);
        self.log().handle_io(io.id, done);
        true
    }

    /// Some of what the disk has to do.
    fn work(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.begin_commit(),
            1 => self.end_commit(),
            2 => {
                self.background();
            }
            _ => {
                let (now, disk) = (self.now, crate::log::DiskUsage { used_bytes: 0, total_bytes: 1 });
                self.log().tick(now, disk);
            }
        }
        self.log().check_invariants();
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.now.mono = self.now.mono.plus_ms(1000);
            let (now, disk) = (self.now, crate::log::DiskUsage { used_bytes: 0, total_bytes: 1 });
            self.log().tick(now, disk);
            let works = self.background();
            self.begin_commit();
            if self.commit.is_none() && !works {
                return;
            }
            self.end_commit();
        }
        panic!("the log does not settle");
    }

    /// Bytes of the log from `from` on, cold ones too.
    fn stream(&mut self, from: LogOffset, bytes_max: usize) -> Option<BytesMut> {
        let mut out = BytesMut::new();
        loop {
            match self.log().stream(from, bytes_max, &mut out) {
                Stream::Bytes(len) => {
                    assert!(len > 0 && len <= bytes_max && len == out.len());
                    return Some(out);
                }
                Stream::CaughtUp => return None,
                Stream::Cold(block) => {
                    for block in self.log().prefetch().into_iter().chain([block]) {
                        let data = self.disk.read(block.file, block.at, block.len as usize).map(Bytes::from);
                        self.log().supply(block, data);
                    }
                }
                other => panic!("{other:?} at {from}"),
            }
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let start = self.log().start();
        while let Some(bytes) = self.stream(start.plus(all.len() as u64), 1 << 20) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    fn supply(&mut self, block: crate::log::BlockId) {
        let data = self.disk.read(block.file, block.at, block.len as usize).map(Bytes::from);
        self.log().supply(block, data);
    }

    /// What can be read of a queue.
    fn messages(&mut self, queue: QueueIndex) -> (u64, Vec<u8>) {
        let bounds = self.log().bounds(queue);
        let limits = ReadLimits { messages_max: 1000, bytes_max: 1 << 20, entries_max: 1000 };
        let (mut at, mut all) = (bounds.min, BytesMut::new());
        while at < bounds.max {
            at = match self.log().read(queue, at, &limits, &|_| true, &mut all) {
                Read::Found { next, .. } | Read::NoMatch { next } | Read::Removed { next } => next,
                other @ (Read::Damaged { .. } | Read::Failed) => panic!("{at}: {other:?}"),
                Read::Cold(block) => {
                    self.supply(block);
                    at
                }
            };
        }
        (bounds.max.0, all.to_vec())
    }

    fn find(&mut self, topic: &str, key: &str) -> Vec<LogOffset> {
        loop {
            match self.log().find_keys(topic, key, 100_000, UnixMs(0), UnixMs(i64::MAX / 2)) {
                KeySearch::Ready(found) => return found,
                KeySearch::Cold(block) => self.supply(block),
            }
        }
    }

    fn by_time(&mut self, queue: QueueIndex, time: i64) -> QueueOffset {
        loop {
            match self.log().offset_by_time(queue, UnixMs(time), Boundary::Lower) {
                Search::Found(found) => return found,
                Search::Cold(block) => self.supply(block),
                Search::Failed => panic!("this disk fails no read"),
            }
        }
    }
}

/// Appends a message, or several, that come from the random numbers.
fn append(node: &mut Node, random: &mut Random) {
    let topic = random.pick(&TOPICS);
    let queue_id = QueueId(u32::try_from(random.below(3)).expect("small"));
    let host = |ipv6| {
        if ipv6 { SocketAddr::from((Ipv6Addr::LOCALHOST, 10911)) } else { SocketAddr::from(([127, 0, 0, 1], 10911)) }
    };
    let (born, store) = (host(random.percent(20)), host(random.percent(20)));
    let count = if random.percent(20) { 1 + random.index(5) } else { 1 };
    let body_len = if count == 1 && random.percent(3) { random.index(15_000) } else { random.index(600) };
    let bodies: Vec<_> = (0..count).map(|_| random.bits().to_le_bytes().repeat(body_len / 8)).collect();
    let key = random.below(50);
    let properties = match random.below(4) {
        0 => String::new(),
        1 => format!("KEYS\x01k{key}"),
        2 => format!("TAGS\x01A\x02KEYS\x01k{key} other\x02UNIQ_KEY\x01u{key}\x02"),
        _ => format!("UNIQ_KEY\x01u{key}\x02TAGS\x01{}\x02", "B".repeat(random.index(300) + 1)),
    };
    node.now.unix.0 += 7;
    let time = node.now.unix.0;
    let sys_flag = random.pick(&[0, 0, 0, 1, 4, 8, 12]);
    let drafts: Vec<_> = bodies
        .iter()
        .map(|body| RecordDraft {
            topic,
            queue_id,
            flag: 3,
            sys_flag,
            born_timestamp: time,
            born_host: born,
            store_host: store,
            store_timestamp: time,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: properties.as_bytes(),
            marks: Marks::of(properties.as_bytes()),
        })
        .collect();
    let log = node.log();
    let queue = log.queue(topic, queue_id);
    match log.append_batch(queue, &drafts) {
        Ok(_) | Err(AppendError::TailFull | AppendError::NoSegment { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// The connection between the two: what was sent and not taken yet.
struct Link {
    at: LogOffset,
    bytes: Vec<u8>,
    damaged: bool,
    refused: u64,
}

impl Link {
    fn new(slave: &mut Node) -> Link {
        Link { at: slave.log().appended(), bytes: Vec::new(), damaged: false, refused: 0 }
    }

    /// Sends a piece and lets the slave take what it can. False if there was nothing to do.
    fn carry(&mut self, master: &mut Node, slave: &mut Node, random: &mut Random, damages: bool) -> bool {
        let from = self.at.plus(self.bytes.len() as u64);
        let bytes_max = 1 + if random.percent(50) { random.index(300) } else { random.index(40_000) };
        let sent = if self.bytes.len() < 100_000 { master.stream(from, bytes_max) } else { None };
        let has_sent = sent.is_some();
        let end = sent.map(|bytes| self.bytes.extend_from_slice(&bytes)).map(|()| self.bytes.len());
        if let Some(end) = end.filter(|_| damages && random.percent(3)) {
            let at = random.index(end);
            self.bytes[at] ^= 1 << random.below(8);
            self.damaged = true;
        }
        let before = slave.log().appended();
        match slave.log().append_replicated(self.at, &self.bytes) {
            Ok(taken) => {
                self.bytes.drain(..taken);
                self.at = self.at.plus(taken as u64);
                has_sent || taken > 0
            }
            Err(ReplicaError::Append(AppendError::TailFull | AppendError::NoSegment { .. })) => true,
            Err(error) => {
                assert!(self.damaged, "{error}");
                assert_eq!(slave.log().appended(), before, "nothing was taken");
                let refused = self.refused + 1;
                *self = Link { refused, ..Link::new(slave) };
                true
            }
        }
    }
}

fn assert_same(master: &mut Node, slave: &mut Node) {
    assert_eq!(master.log().appended(), slave.log().appended());
    let (ours, theirs) = (master.bytes(), slave.bytes());
    let differ = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    assert!(differ.is_none() && ours.len() == theirs.len(), "the bytes differ from {differ:?} on");
    for topic in TOPICS {
        for id in (0..3).map(QueueId) {
            let queues = (master.log().find_queue(topic, id), slave.log().find_queue(topic, id));
            let (Some(ours), Some(theirs)) = queues else {
                assert!(queues.0.is_none_or(|queue| master.log().bounds(queue).max.0 == 0));
                continue;
            };
            assert_eq!(master.log().bounds(ours), slave.log().bounds(theirs), "queue {id} of {topic}");
            assert!(master.messages(ours) == slave.messages(theirs), "queue {id} of {topic}");
            for time in [0, 300, 900, 2000] {
                let time = 1_700_000_000_000 + time;
                assert_eq!(master.by_time(ours, time), slave.by_time(theirs, time));
            }
        }
        for key in 0..50 {
            for key in [format!("k{key}"), format!("u{key}")] {
                assert_eq!(master.find(topic, &key), slave.find(topic, &key), "{key} of {topic}");
            }
        }
    }
}

/// What a run has seen, to know that it was worth something.
#[derive(Debug, Default)]
struct Seen {
    segments: u64,
    crashes: u64,
    refused: u64,
}

fn run(seed: u64) -> Seen {
    let mut random = Random::new(seed);
    let flush = |random: &mut Random| if random.percent(50) { FlushPolicy::Sync } else { FlushPolicy::ASYNC };
    let (mut master, mut slave) = (Node::new(settings(flush(&mut random))), Node::new(settings(flush(&mut random))));
    let mut link = Link::new(&mut slave);
    let mut seen = Seen::default();
    for _ in 0..1500 {
        match random.below(100) {
            0..40 => append(&mut master, &mut random),
            40..55 => master.work(&mut random),
            55..70 => slave.work(&mut random),
            70 => {
                let topic = random.pick(&TOPICS);
                master.log().remove_topic(topic);
            }
            71 if random.percent(40) => {
                seen.crashes += 1;
                slave.crash(&mut random);
                link = Link { refused: link.refused, ..Link::new(&mut slave) };
            }
            72..74 => master.settle(),
            _ => {
                link.carry(&mut master, &mut slave, &mut random, true);
            }
        }
    }
    master.settle();
    link = Link { refused: link.refused, ..Link::new(&mut slave) };
    while slave.log().appended() < master.log().appended() {
        link.carry(&mut master, &mut slave, &mut random, false);
        slave.settle();
    }
    slave.settle();
    assert_same(&mut master, &mut slave);
    slave.log = None;
    slave.recover(None);
    assert_same(&mut master, &mut slave);
    Seen { segments: master.log().appended().0 / SEGMENT, refused: link.refused, ..seen }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_slave_becomes_its_master_whatever_happens(seed: u64) {
        run(seed);
    }
}

#[test]
fn the_runs_see_something() {
    let seen: Vec<_> = (0..100).map(run).collect();
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
    assert!(sum(|seen| seen.segments) > 20, "{seen:?}");
    assert!(sum(|seen| seen.crashes) > 20 && sum(|seen| seen.refused) > 20, "{seen:?}");
}

/// A log as RocketMQ's own brokers make it: records without the CRC property, a filler of 8 bytes where what comes next and 8 bytes more do not
/// fit, zeros behind it. `bytes[i]` is log offset `begin + i`. Body and properties of message `n` come from `message`.
struct JavaLog {
    begin: LogOffset,
    bytes: Vec<u8>,
    offsets: std::collections::BTreeMap<(String, QueueId), u64>,
}

impl JavaLog {
    fn new(begin: LogOffset) -> JavaLog {
        JavaLog { begin, bytes: Vec::new(), offsets: std::collections::BTreeMap::new() }
    }

    fn end(&self) -> LogOffset {
        self.begin.plus(self.bytes.len() as u64)
    }

    fn append(&mut self, draft: &RecordDraft<'_>) {
        let sized = Sized::new(draft, false).expect("small");
        let len = sized.size() as usize;
        let remaining = usize::try_from(SEGMENT - self.end().0 % SEGMENT).expect("small");
        if len + 8 > remaining {
            self.bytes.extend_from_slice(&u32::try_from(remaining).expect("small").to_be_bytes());
            self.bytes.extend_from_slice(&MAGIC_FILLER.to_be_bytes());
            self.bytes.resize(self.bytes.len() + remaining - 8, 0);
        }
        let next = self.offsets.entry((draft.topic.to_owned(), draft.queue_id)).or_default();
        let place =
            record::Place { log_offset: self.begin.plus(self.bytes.len() as u64), queue_offset: QueueOffset(*next) };
        // Inner batches take as many offsets as they have messages.
        *next += if draft.sys_flag & 128 == 0 { u64::from(record::is_queued(draft.sys_flag)) } else { 3 };
        let at = self.bytes.len();
        self.bytes.resize(at + len, 0);
        sized.encode(place, &mut self.bytes[at..]);
    }
}

fn java_draft<'a>(topic: &'a str, body: &'a [u8], sys_flag: i32, properties: &'a [u8]) -> RecordDraft<'a> {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    RecordDraft {
        topic,
        queue_id: QueueId(0),
        flag: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        store_timestamp: 1_700_000_000_000,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
        marks: Marks::of(properties),
    }
}

fn java_log(begin: LogOffset, seed: u64) -> JavaLog {
    let mut random = Random::new(seed);
    let mut java = JavaLog::new(begin);
    while java.bytes.len() < 200_000 {
        // Sizes that come close to the end of a segment in every way.
        let room = usize::try_from(SEGMENT - java.end().0 % SEGMENT).expect("small");
        let close = room.saturating_sub(92 + 8 + random.index(16));
        let len = if room < 2000 { close } else { random.index(900) };
        let (sys_flag, properties) = match random.below(10) {
            0 => (4, &b"TRAN_MSG\x01true\x02"[..]),
            1 => (128 | 64, &b"INNER_NUM\x013\x02KEYS\x01k1"[..]),
            2 => (0, &b"KEYS\x01k2 k3\x02TAGS\x01A"[..]),
            _ => (0, &b""[..]),
        };
        let len = if room < 2000 { len.saturating_sub(properties.len()) } else { len };
        java.append(&java_draft("T", &vec![7; len], sys_flag, properties));
    }
    java
}

fn slave_settings() -> LogSettings {
    settings(FlushPolicy::Sync)
}

/// Gives a slave the bytes from where it is, in pieces; a piece that is to be sent again is sent again.
fn feed(slave: &mut Node, begin: LogOffset, bytes: &[u8], piece: usize) {
    let mut at = slave.log().appended();
    let mut have = 0;
    let mut refused = 0;
    let end = begin.plus(bytes.len() as u64);
    while at < end {
        let from = usize::try_from(at.since(begin)).expect("small");
        have = (have + piece).min(bytes.len() - from);
        match slave.log().append_replicated(at, &bytes[from..from + have]) {
            // What is left is no whole record.
            Ok(0) if from + have == bytes.len() => return,
            Ok(taken) => {
                at = at.plus(taken as u64);
                have -= taken;
            }
            Err(ReplicaError::Append(_)) => slave.settle(),
            Err(ReplicaError::Unproven { .. }) if refused < 3 => {
                refused += 1;
                at = slave.log().appended();
                have = 0;
            }
            Err(error) => panic!("{error}"),
        }
        slave.log().check_invariants();
    }
}

#[test]
fn a_log_of_rocketmqs_own_broker_is_stored_as_it_is_and_found_again() {
    for seed in 0..30 {
        for begin in [LogOffset(0), LogOffset(7 * SEGMENT)] {
            let java = java_log(begin, seed);
            let mut slave = Node::new(slave_settings());
            slave.log().begin_at(begin).expect("empty");
            feed(&mut slave, begin, &java.bytes, 1 + usize::try_from(seed * 977).expect("small"));
            slave.settle();
            assert!(slave.bytes() == java.bytes, "seed {seed}: the bytes differ");
            let queue = slave.log().find_queue("T", QueueId(0)).expect("made by the first record");
            let expected = java.offsets[&("T".to_owned(), QueueId(0))];
            assert_eq!(slave.log().bounds(queue).max, QueueOffset(expected));
            let before = (slave.messages(queue), slave.find("T", "k2"));
            assert!(!before.1.is_empty());
            let mut random = Random::new(seed);
            slave.crash(&mut random);
            assert_eq!(slave.log().appended(), java.end(), "seed {seed}");
            assert!(slave.bytes() == java.bytes, "seed {seed}: the bytes differ after a start");
            let queue = slave.log().find_queue("T", QueueId(0)).expect("found again");
            assert_eq!((slave.messages(queue), slave.find("T", "k2")), before);
        }
    }
}

#[test]
fn a_slave_of_rocketmqs_own_broker_survives_crashes_and_takes_its_place() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let java = java_log(LogOffset(0), seed);
        let mut slave = Node::new(slave_settings());
        let mut sent = 0;
        while sent < java.bytes.len() {
            sent = (sent + 1 + random.index(30_000)).min(java.bytes.len());
            let from = usize::try_from(slave.log().appended().0).expect("small");
            if from < sent {
                let at = LogOffset(from as u64);
                let _ = slave.log().append_replicated(at, &java.bytes[from..sent]);
            }
            slave.work(&mut random);
            if random.percent(20) {
                slave.crash(&mut random);
            }
        }
        feed(&mut slave, LogOffset(0), &java.bytes, 10_000);
        // Now it is the master: the first of its own records may find next to no room for a filler.
        let queue = slave.log().queue("T", QueueId(0));
        for _ in 0..200 {
            slave.settle();
            slave.log().append(queue, &java_draft("T", &[1; 700], 0, b"")).expect("room");
        }
        slave.settle();
        let bytes = slave.bytes();
        assert!(bytes.starts_with(&java.bytes));
        slave.crash(&mut random);
        assert!(slave.bytes() == bytes, "seed {seed}: a start finds something else");
        let mut follower = Node::new(slave_settings());
        feed(&mut follower, LogOffset(0), &bytes, 7000);
        follower.settle();
        assert_same(&mut slave, &mut follower);
    }
}

#[test]
fn a_log_whose_segment_ends_with_seven_to_twenty_bytes_goes_on() {
    for remaining in 8..40_usize {
        let mut java = JavaLog::new(LogOffset(0));
        let segment = usize::try_from(SEGMENT).expect("small");
        while segment - java.bytes.len() > 3000 {
            java.append(&java_draft("T", &[7; 900], 0, b""));
        }
        let room = segment - java.bytes.len();
        java.append(&java_draft("T", &vec![8; room - 92 - remaining], 0, b""));
        assert_eq!(java.bytes.len() + remaining, segment);
        let mut slave = Node::new(slave_settings());
        feed(&mut slave, LogOffset(0), &java.bytes, 5000);
        slave.settle();
        let queue = slave.log().queue("T", QueueId(0));
        slave.log().append(queue, &java_draft("T", &[1; 700], 0, b"")).expect("room");
        slave.settle();
        let bytes = slave.bytes();
        assert_eq!(bytes[segment - remaining..][..4], u32::try_from(remaining).expect("small").to_be_bytes());
        let mut random = Random::new(1);
        slave.crash(&mut random);
        assert!(slave.bytes() == bytes, "{remaining} bytes: a start finds something else");
    }
}

#[test]
fn what_does_not_come_next_is_refused() {
    let java = java_log(LogOffset(0), 3);
    let mut slave = Node::new(slave_settings());
    feed(&mut slave, LogOffset(0), &java.bytes[..40_000], 9000);
    let end = slave.log().appended();
    let from = usize::try_from(end.0).expect("small");
    let record = record::peek_size(&java.bytes[from..]).expect("a record") as usize;
    let next = &java.bytes[from..];
    for at in [LogOffset(0), LogOffset(end.0 - 1), end.plus(1), LogOffset(u64::MAX >> 1)] {
        let expected = ReplicaError::OutOfPlace { expected: end, found: at };
        assert_eq!(slave.log().append_replicated(at, next), Err(expected));
    }
    // The right place is said, and the record is another one.
    let found = end.plus(record as u64);
    let refused = slave.log().append_replicated(end, &next[record..]);
    assert_eq!(refused, Err(ReplicaError::OutOfPlace { expected: end, found }));
    // A record of another queue's end, with a sound CRC of its own.
    let mut ours = vec![0; 2000];
    let draft = java_draft("T", b"x", 0, b"");
    let sized = Sized::new(&draft, true).expect("small");
    ours.truncate(sized.size() as usize);
    sized.encode(record::Place { log_offset: end, queue_offset: QueueOffset(1_000_000) }, &mut ours);
    assert!(matches!(slave.log().append_replicated(end, &ours), Err(ReplicaError::QueueGap { .. })));
    assert_eq!(slave.log().append_replicated(end, &next[..record]), Ok(record));
    // Another segment size: the filler says so.
    let at = slave.log().appended();
    let filler = [&100_u32.to_be_bytes()[..], &MAGIC_FILLER.to_be_bytes(), &[0; 92]].concat();
    let expected = ReplicaError::SegmentSize { at, bytes: 100, segment_bytes: SEGMENT };
    assert_eq!(slave.log().append_replicated(at, &filler), Err(expected));
}

#[test]
fn a_removed_topic_that_comes_back_begins_anew() {
    let mut java = JavaLog::new(LogOffset(0));
    for _ in 0..30 {
        java.append(&java_draft("T", b"before", 0, b""));
    }
    // RocketMQ's own brokers have no record of a removal.
    java.offsets.clear();
    for _ in 0..4 {
        java.append(&java_draft("T", b"after", 0, b""));
    }
    let mut slave = Node::new(slave_settings());
    feed(&mut slave, LogOffset(0), &java.bytes, 700);
    for _ in 0..2 {
        slave.settle();
        let queue = slave.log().find_queue("T", QueueId(0)).expect("there");
        let (max, bytes) = slave.messages(queue);
        assert_eq!((max, slave.log().bounds(queue).min), (4, QueueOffset(0)));
        assert_eq!(RecordView::decode(&bytes, None, Check::Crc).expect("sound").body, b"after");
        slave.crash(&mut Random::new(5));
    }
}

#[test]
fn a_log_begins_elsewhere_only_while_it_is_empty() {
    let mut node = Node::new(settings(FlushPolicy::Sync));
    node.settle();
    let at = LogOffset(5 * SEGMENT);
    let misplaced = LogOffset(5 * SEGMENT + 1);
    let expected = BeginError::NotASegment { at: misplaced, segment_bytes: SEGMENT };
    assert_eq!(node.log().begin_at(misplaced), Err(expected));
    assert_eq!(node.log().begin_at(at), Ok(()));
    node.settle();
    assert_eq!((node.log().start(), node.log().appended(), node.log().promised()), (at, at, at));
    assert_eq!(node.log().begin_at(LogOffset(2 * SEGMENT)), Ok(()), "as long as nothing came");
    assert_eq!(node.log().begin_at(at), Ok(()));
    node.settle();
    node.crash(&mut Random::new(0));
    assert_eq!(node.log().appended(), at, "a start finds the place again");
    assert_eq!(node.log().last_segment_start(), at);
    let queue = node.log().queue("T", QueueId(0));
    let appended = node.log().append(queue, &java_draft("T", b"x", 0, b"")).expect("room");
    assert_eq!(appended.log_offset, at);
    let expected = BeginError::NotEmpty { start: at, appended: appended.end };
    assert_eq!(node.log().begin_at(LogOffset(0)), Err(expected));
}

#[test]
fn consumers_see_what_the_in_sync_set_holds() {
    let mut node = Node::new(settings(FlushPolicy::ASYNC));
    node.settle();
    let queue = node.log().queue("T", QueueId(0));
    node.log().set_confirm_max(Some(LogOffset(0)));
    let ends: Vec<_> =
        (0..3).map(|_| node.log().append(queue, &java_draft("T", b"x", 0, b"")).expect("room").end).collect();
    assert_eq!((node.log().promised(), node.log().confirm()), (ends[2], LogOffset(0)));
    for (bound, visible) in [(Some(ends[0]), 1), (Some(ends[1].plus(5)), 2), (Some(ends[0]), 2), (None, 3)] {
        node.log().set_confirm_max(bound);
        assert_eq!(node.log().bounds(queue).max, QueueOffset(visible));
        node.log().check_invariants();
    }
}

/// What is sent over a segment's end is what RocketMQ's own files hold: remaining, magic, and zeros up to the end.
#[test]
fn a_segments_end_is_sent_as_a_file_holds_it() {
    let mut node = Node::new(settings(FlushPolicy::Sync));
    node.settle();
    let queue = node.log().queue("T", QueueId(0));
    while node.log().appended() < LogOffset(SEGMENT) {
        node.settle();
        node.log().append(queue, &java_draft("T", &[9; 777], 0, b"")).expect("room");
    }
    node.settle();
    let bytes = node.bytes();
    let mut at = 0;
    let segment = usize::try_from(SEGMENT).expect("small");
    while let Ok(size) = record::peek_size(&bytes[at..]) {
        at += size as usize;
    }
    let remaining = u32::try_from(segment - at).expect("small");
    assert_eq!(bytes[at..at + 8], [remaining.to_be_bytes(), MAGIC_FILLER.to_be_bytes()].concat());
    assert!(bytes[at + FILLER_BYTES..segment].iter().all(|&byte| byte == 0));
    assert!(RecordView::decode(&bytes[segment..], Some(LogOffset(SEGMENT)), Check::CrcRequired).is_ok());
    // From anywhere, in pieces of any size, it is the same.
    for from in [0, at - 5, at, at + 3, at + 25, segment - 1, segment] {
        for bytes_max in [1, 7, 100_000] {
            let mut got = Vec::new();
            while got.len() < 50
                && let Some(piece) = node.stream(LogOffset((from + got.len()) as u64), bytes_max)
            {
                got.extend_from_slice(&piece);
            }
            assert!(bytes[from..].starts_with(&got), "from {from} by {bytes_max}");
        }
    }
    let mut out = BytesMut::new();
    let end = node.log().appended();
    assert_eq!(node.log().stream(end, 10, &mut out), Stream::CaughtUp);
    assert_eq!(node.log().stream(end.plus(1), 10, &mut out), Stream::Beyond);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// A slave went on by itself; it is cut where it parted, follows the master again, and nothing of its own comes back.
    #[test]
    fn a_slave_that_parted_is_cut_and_follows_again(seed: u64) {
        let mut random = Random::new(seed);
        let (mut master, mut slave) = (Node::new(settings(FlushPolicy::ASYNC)), Node::new(settings(FlushPolicy::ASYNC)));
        let mut link = Link::new(&mut slave);
        let both = |master: &mut Node, slave: &mut Node, link: &mut Link, random: &mut Random| {
            while slave.log().appended() < master.log().appended() {
                link.carry(master, slave, random, false);
                slave.settle();
            }
        };
        for _ in 0..random.index(300) {
            append(&mut master, &mut random);
            master.settle();
        }
        both(&mut master, &mut slave, &mut link, &mut random);
        let parted = slave.log().appended();
        for _ in 0..random.index(300) {
            append(&mut slave, &mut random);
            if random.percent(80) {
                slave.settle();
            }
        }
        for _ in 0..3 {
            slave.commit = None;
            slave.log = None;
            if random.percent(50) {
                slave.slot.take();
            }
            slave.recover(Some(parted));
            prop_assert_eq!(slave.log().appended(), parted);
            for _ in 0..random.index(100) {
                append(&mut master, &mut random);
                master.settle();
            }
            let mut link = Link::new(&mut slave);
            for _ in 0..random.index(20) {
                link.carry(&mut master, &mut slave, &mut random, false);
                slave.work(&mut random);
            }
            slave.crash(&mut random);
        }
        let mut link = Link::new(&mut slave);
        slave.settle();
        both(&mut master, &mut slave, &mut link, &mut random);
        slave.settle();
        assert_same(&mut master, &mut slave);
    }
}

/// From the record that is found, as a slave compares its log with its master's.
fn compare(log: &mut Node, from: LogOffset, theirs: &[u8]) -> Option<LogOffset> {
    let mut at = from;
    while at < log.log().appended() {
        let begin = usize::try_from(at.0).expect("small");
        match log.log().compare(at, &theirs[begin..]) {
            Compared::Same(bytes) => at = at.plus(bytes as u64),
            Compared::Differs(at) => return Some(at),
            Compared::Cold(block) => log.supply(block),
            Compared::Failed => panic!("this disk fails no read"),
        }
    }
    None
}

fn last_records(log: &mut Node) -> LogOffset {
    let mut below = log.log().appended();
    loop {
        match log.log().find_record(below) {
            FoundRecord::At(at) => return at,
            FoundRecord::Before(at) => below = at,
            FoundRecord::Cold(block) => log.supply(block),
            FoundRecord::Failed => panic!("this disk fails no read"),
        }
    }
}

#[test]
fn bytes_tell_whether_two_logs_are_one() {
    for seed in 0..20 {
        let java = java_log(LogOffset(0), seed);
        let mut slave = Node::new(slave_settings());
        // Old bytes come from the disk.
        feed(&mut slave, LogOffset(0), &java.bytes, 9000);
        slave.settle();
        let end = slave.log().appended();
        let from = last_records(&mut slave);
        let begin = usize::try_from(from.0).expect("small");
        assert!(record::peek_size(&java.bytes[begin..]).is_ok(), "a record begins at {from}, seed {seed}");
        assert_eq!(compare(&mut slave, from, &java.bytes), None, "seed {seed}");
        assert_eq!(compare(&mut slave, LogOffset(1), &java.bytes), None, "seed {seed}");
        let mut other = java.bytes.clone();
        let last = usize::try_from(end.0).expect("small") - 1;
        let is_padding = end.0.is_multiple_of(SEGMENT);
        other[last] ^= 1;
        let expected = (!is_padding).then_some(LogOffset(end.0 - 1));
        assert_eq!(
            compare(&mut slave, from, &other),
            expected,
            "what lies behind a filler has no meaning, seed {seed}"
        );
    }
}

#[test]
fn a_record_is_found_before_a_long_message() {
    let settings = LogSettings { segment_bytes: 4 * SEGMENT, cache_bytes: 4 << 20, ..slave_settings() };
    let mut node = Node::new(settings);
    node.log = None;
    *node.slot.borrow_mut() = Some(Remains { ring: vec![0; 512 * 1024], appended: None });
    node.recover(None);
    node.settle();
    let queue = node.log().queue("T", QueueId(0));
    node.log().append(queue, &java_draft("T", b"short", 0, b"")).expect("room");
    // Longer than what is looked through at once: nothing in it says where it lies.
    let long_at = node.log().appended();
    node.log().append(queue, &java_draft("T", &vec![7; 150_000], 0, b"")).expect("room");
    assert!(matches!(node.log().find_record(LogOffset(long_at.0 + 100_000)), FoundRecord::Before(_)));
    let found = last_records(&mut node);
    assert!(found <= long_at, "{found} and not {long_at}");
    let mut bytes = node.bytes();
    assert_eq!(compare(&mut node, found, &bytes), None);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(compare(&mut node, found, &bytes), Some(LogOffset(last as u64)));
}

/// Appends a message that is in these light queues as well, as a broker has it.
fn append_light(node: &mut Node, names: &[&str], body: &[u8]) {
    let log = node.log();
    let ends: Vec<String> = (names.iter())
        .map(|name| {
            let queue = log.queue(name, QueueId(0));
            log.bounds(queue).appended_max.to_string()
        })
        .collect();
    let properties = format!(
        "KEYS\x01k\x02INNER_MULTI_DISPATCH\x01{}\x02INNER_MULTI_QUEUE_OFFSET\x01{}\x02",
        names.join(","),
        ends.join(",")
    );
    let queue = log.queue("T", QueueId(0));
    while node.log().append(queue, &java_draft("T", body, 0, properties.as_bytes())).is_err() {
        node.settle();
    }
}

#[test]
fn light_queues_are_the_same_on_master_slave_and_after_a_crash() {
    const NAMES: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let (mut master, mut slave) = (Node::new(slave_settings()), Node::new(slave_settings()));
        master.settle();
        for number in 0..300_u32 {
            let names: Vec<&str> = NAMES.into_iter().filter(|_| random.percent(40)).collect();
            match names.is_empty() {
                true => append(&mut master, &mut random),
                false => append_light(&mut master, &names, &number.to_be_bytes().repeat(1 + random.index(200))),
            }
        }
        master.settle();
        let bytes = master.bytes();
        feed(&mut slave, LogOffset(0), &bytes, 5_000);
        slave.settle();
        let mut all = Vec::new();
        for node in [&mut master, &mut slave] {
            for is_started_anew in [false, true] {
                if is_started_anew {
                    node.crash(&mut random);
                }
                for name in NAMES {
                    let queue = node.log().find_queue(name, QueueId(0)).expect("it has messages");
                    let (end, messages) = node.messages(queue);
                    assert!(end > 50, "{name} has {end}");
                    all.push((end, messages));
                }
            }
        }
        for found in all.chunks(NAMES.len()) {
            assert!(*found == all[..NAMES.len()], "seed {seed}: a light queue differs");
        }
    }
}

#[test]
fn the_light_queues_of_what_waits_have_places_on_master_slave_and_after_a_crash() {
    let settings = LogSettings { has_light: true, ..slave_settings() };
    let (mut master, mut slave) = (Node::new(settings), Node::new(settings));
    master.settle();
    let properties = b"REAL_TOPIC\x01T\x02INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02";
    let queue = master.log().queue("SCHEDULE_TOPIC_XXXX", QueueId(0));
    master.log().append(queue, &java_draft("SCHEDULE_TOPIC_XXXX", b"late", 0, properties)).expect("room");
    append_light(&mut master, &["%LMQ%b"], b"soon");
    master.settle();
    let bytes = master.bytes();
    feed(&mut slave, LogOffset(0), &bytes, 5_000);
    slave.settle();
    for node in [&mut master, &mut slave] {
        for is_started_anew in [false, true] {
            if is_started_anew {
                node.crash(&mut Random::new(1));
            }
            assert_eq!(node.log().light_queues(), 2);
            for (name, end) in [("%LMQ%a", 0), ("%LMQ%b", 1)] {
                let queue = node.log().find_queue(name, QueueId(0)).expect("something waits for it");
                assert_eq!(node.log().bounds(queue).appended_max, QueueOffset(end), "{name}");
            }
        }
    }
}

#[test]
fn a_light_queue_goes_on_where_a_record_says() {
    let mut slave = Node::new(slave_settings());
    slave.settle();
    let store = |slave: &mut Node, nth: u64, names: &str, offsets: &str| {
        let properties = format!("INNER_MULTI_DISPATCH\x01{names}\x02INNER_MULTI_QUEUE_OFFSET\x01{offsets}\x02");
        let sized = Sized::new(&java_draft("T", b"x", 0, properties.as_bytes()), true).expect("small");
        let mut bytes = vec![0; sized.size() as usize];
        let at = slave.log().appended();
        sized.encode(Place { log_offset: at, queue_offset: QueueOffset(nth) }, &mut bytes);
        slave.log().append_replicated(at, &bytes).expect("sound");
    };
    let ends = |slave: &mut Node, names: &[&str]| -> Vec<Option<(u64, u64)>> {
        let bounds = |name: &&str| {
            let queue = slave.log().find_queue(name, QueueId(0))?;
            let bounds = slave.log().bounds(queue);
            Some((bounds.min.0, bounds.appended_max.0))
        };
        names.iter().map(bounds).collect()
    };
    store(&mut slave, 0, "%LMQ%a", "0");
    store(&mut slave, 1, "%LMQ%a,%LMQ%b", "1,0");
    assert_eq!(ends(&mut slave, &["%LMQ%a", "%LMQ%b"]), [Some((0, 2)), Some((0, 1))]);
    // As where it was deleted on a Java master, or a client of one that knows no light queues has said so.
    store(&mut slave, 2, "%LMQ%a,%LMQ%b,T,%LMQ%c/d", "77,1,9,9");
    let names = ["%LMQ%a", "%LMQ%b", "%LMQ%c/d"];
    let expected = [Some((77, 78)), Some((0, 2)), None];
    assert_eq!(ends(&mut slave, &names), expected);
    let queue = slave.log().find_queue("T", QueueId(0)).expect("it has messages");
    assert_eq!(slave.log().bounds(queue).appended_max, QueueOffset(3), "its own queue goes on");
    slave.settle();
    slave.crash(&mut Random::new(1));
    assert_eq!(ends(&mut slave, &names), expected, "and a start comes to the same");
}
