//! A slave's log becomes its master's, whatever happens on the way.

use std::net::{Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::log::{
    Boundary, Commit, FlushPolicy, FoundStore, KeySearch, KeysToIndex, LogSettings, Read, ReadLimits, RecordDraft,
    Recovery, Search, Step, Stream,
};
use crate::model::{MonoNs, Now, UnixMs};
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
        let found = FoundStore { files: self.disk.list(), tail, tail_appended, end_max };
        let mut recovery = Recovery::new(self.settings, found).expect("not refused");
        let log = loop {
            let answer = match recovery.step() {
                Step::Done(log) => break log,
                Step::Refused(error) => panic!("refused: {error}"),
                Step::Read { file, at, len } => self.disk.read(file, at, len).map(Bytes::from),
                Step::Write { file, at, data } => self.disk.write(file, at, &data, None).map(|()| Bytes::new()),
                Step::Flush { file } => {
                    self.disk.flush(file);
                    Ok(Bytes::new())
                }
                Step::Remove { file } => {
                    self.disk.remove(file);
                    Ok(Bytes::new())
                }
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
            if commit.flush {
                self.disk.flush(commit.segment);
            }
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

    /// All of it.
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
                Stream::End => return None,
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

    /// The whole log.
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
                Read::Unreadable { next } => panic!("{next} is unreadable"),
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
            tag_code: tag_code(&properties),
            keys: KeysToIndex::of(properties.as_bytes()),
        })
        .collect();
    let log = node.log();
    let queue = log.queue(topic, queue_id);
    match log.append_batch(queue, &drafts) {
        Ok(_) | Err(AppendError::TailFull | AppendError::NoSegment { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn tag_code(properties: &str) -> i64 {
    let tag = properties.split('\x02').find_map(|pair| pair.strip_prefix("TAGS\x01"));
    tag.map_or(0, |tag| i64::from(record::java_hash(0, tag)))
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
