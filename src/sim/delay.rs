//! Delayed messages in the made-up world: one master, a producer, ends of all kinds, and a file of positions that is written late.
//!
//! What is checked when all is well again and everything is due: each message that waits in the log's scheduled topic, and each that was
//! acknowledged and whose promise outlived all ends, was delivered; none before its time by the log's own clock; none twice unless the node has
//! ended in between; and each level in the order of its queue.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{self, SimClient};
use super::node::{Found, NodeEnd, SimNode, life_of, replica_settings, small_flush, small_log};
use super::random::Random;
use crate::log::LogSettings;
use crate::model::{LogOffset, MonoNs, Now, QueueId, Role, UnixMs};
use crate::protocol::frame;
use crate::protocol::header::Header;
use crate::protocol::message::{DelayLevels, SCHEDULE_TOPIC};

const TOPIC: &str = "BenchmarkTest";
const QUEUES: u64 = 3;
const LEVELS: &str = "0s 1s 2s 5s";

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayRule {
    /// It does.
    Sound,
    /// A start believes the file of positions whatever the log has.
    BelieveTheFile,
    /// A start finds no file.
    LoseTheFile,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DelayCounts {
    pub sent: u64,
    pub acknowledged: u64,
    pub ends: u64,
    pub power_losses: u64,
    pub delivered: u64,
    pub doubled: u64,
    pub distrusted: u64,
}

/// The world of one master.
pub struct DelayWorld {
    random: Random,
    now: Now,
    node: SimNode,
    rule: DelayRule,
    levels: DelayLevels,
    next_number: u64,
    /// Sends without an answer.
    client: SimClient<u64>,
    acknowledged: Vec<u64>,
    /// Levels by number.
    sent: BTreeMap<u64, i32>,
    /// What has happened.
    pub counts: DelayCounts,
}

impl DelayWorld {
    /// A world whose every choice comes from `seed`.
    ///
    /// # Panics
    /// Never: the levels are sound.
    #[must_use]
    pub fn new(seed: u64, rule: DelayRule) -> DelayWorld {
        let mut random = Random::new(seed ^ 0xDE1A);
        let flush = small_flush(40, &[10, 500], &mut random);
        let levels = DelayLevels::parse(LEVELS).expect("sound levels");
        let log_settings = LogSettings { delay_levels: levels, ..small_log(flush, &mut random) };
        let settings = replica_settings(false, 1, &mut random);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        DelayWorld {
            node: SimNode::new(0, settings, log_settings, ring_bytes),
            random,
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            rule,
            levels,
            next_number: 0,
            client: SimClient::new(),
            acknowledged: Vec::new(),
            sent: BTreeMap::new(),
            counts: DelayCounts::default(),
        }
    }

    /// Runs so many steps, then lets all that waits become due, and looks at what the log has.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        self.start();
        for _ in 0..steps {
            let elapsed_ms = if self.random.percent(3) { self.random.below(1_500) } else { self.random.below(8) };
            self.pass(elapsed_ms);
            if !self.node.is_up() {
                if self.random.percent(20) {
                    self.start();
                }
                continue;
            }
            match self.random.below(1000) {
                0..150 => self.send_some(),
                150..650 => self.node.work(self.now, &mut self.random),
                650..750 => self.node.tick(self.now),
                750..993 => self.node.meet_deadline(self.now),
                _ => self.end(),
            }
            self.collect();
        }
        self.heal();
        self.check();
    }

    fn pass(&mut self, ms: u64) {
        self.now = super::later(self.now, ms);
    }

    fn start(&mut self) {
        match self.rule {
            DelayRule::Sound => {}
            DelayRule::BelieveTheFile => {
                self.node.change_tables(|tables| {
                    tables.delay_offsets.iter_mut().for_each(|table| table.log_offset = LogOffset(0));
                });
            }
            DelayRule::LoseTheFile => self.node.change_tables(|tables| tables.delay_offsets = None),
        }
        self.node.start(self.now, life_of(0, Role::AsyncMaster, None));
        self.counts.distrusted += u64::from(self.node.distrusted_delay_file);
        self.client.connect(&mut self.node, self.now);
    }

    fn end(&mut self) {
        let end = NodeEnd::pick(&mut self.random);
        self.counts.ends += 1;
        self.counts.power_losses += u64::from(end == NodeEnd::Power);
        if !self.node.survives(end) {
            self.acknowledged.clear();
        }
        self.node.end(end, &mut self.random);
    }

    fn send_some(&mut self) {
        for _ in 0..self.random.below(6) {
            if !self.node.takes_input() {
                break;
            }
            let number = self.next_number;
            self.next_number += 1;
            let level = i32::try_from(self.random.below(6)).expect("small");
            self.sent.insert(number, level);
            let (queue, properties) = (self.random.below(QUEUES), format!("DELAY\u{1}{level}\u{2}"));
            let body_len = if self.random.percent(5) { self.random.index(8_000) } else { self.random.index(400) };
            let mut body = number.to_be_bytes().to_vec();
            body.resize(8 + body_len, 7);
            self.counts.sent += 1;
            self.client
                .ask(&mut self.node, self.now, number, |opaque| client::send(opaque, TOPIC, queue, &properties, &body));
        }
        self.node.end_turn(self.now);
    }

    fn collect(&mut self) {
        let connection = self.node.client();
        let mut bytes = self.node.out.outbox.take(connection);
        while let Some(frame) = frame::split(&bytes).expect("a frame") {
            let header = Header::decode(frame.encoding, frame.header).expect("a header");
            let number = self.client.answered(header.opaque);
            if header.code == 0 {
                self.counts.acknowledged += 1;
                self.acknowledged.push(number);
            }
            let size = frame.size;
            let _ = bytes.split_to(size);
        }
    }

    /// The node runs, and time passes until nothing waits any more.
    fn heal(&mut self) {
        if !self.node.is_up() {
            self.start();
        }
        for round in 1..=2_000 {
            self.pass(20);
            self.node.tick(self.now);
            self.node.settle(self.now, &mut self.random);
            self.node.meet_deadline(self.now);
            self.collect();
            // No level waits for longer than that.
            if round % 300 == 0 && self.is_delivered() {
                return;
            }
        }
    }

    fn is_delivered(&mut self) -> bool {
        let mut read = |topic: &str, queues: i32| -> BTreeSet<u64> {
            let queues = (0..queues).map(|queue| QueueId(u32::try_from(queue).expect("few")));
            let all = queues.flat_map(|queue| self.node.read_queue(&mut self.now, topic, queue));
            all.map(|message| message.number).collect()
        };
        let waited = read(SCHEDULE_TOPIC, self.levels.highest());
        waited.is_subset(&read(TOPIC, i32::try_from(QUEUES).expect("few")))
    }

    fn check(&mut self) {
        let mut waited: BTreeMap<u64, (i32, Found)> = BTreeMap::new();
        for level in 1..=self.levels.highest() {
            let queue_id = QueueId(u32::try_from(level - 1).expect("small"));
            for found in self.node.read_queue(&mut self.now, SCHEDULE_TOPIC, queue_id) {
                waited.insert(found.number, (level, found));
            }
        }
        let mut copies: BTreeMap<u64, Vec<Found>> = BTreeMap::new();
        for queue in 0..QUEUES {
            for found in self.node.read_queue(&mut self.now, TOPIC, QueueId(u32::try_from(queue).expect("small"))) {
                copies.entry(found.number).or_default().push(found);
            }
        }
        let mut firsts: BTreeMap<i32, u64> = BTreeMap::new();
        for (number, (level, waiting)) in &waited {
            let copies = copies.get(number).map_or(&[][..], |copies| &copies[..]);
            let first = copies.first().unwrap_or_else(|| panic!("{waiting:?} of level {level} was never delivered"));
            let due = self.levels.due(*level, waiting.stored).expect("a level");
            let early = copies.iter().find(|copy| copy.stored < due);
            assert!(early.is_none(), "{waiting:?} of level {level} is due at {due}, and was delivered as {early:?}");
            let before = firsts.insert(*level, first.log_offset);
            assert!(before < Some(first.log_offset), "level {level} is out of order at {first:?}");
            self.counts.delivered += 1;
            self.counts.doubled += copies.len() as u64 - 1;
        }
        assert!(
            self.counts.ends > 0 || self.counts.doubled == 0,
            "{} were delivered twice for nothing",
            self.counts.doubled
        );
        for number in &self.acknowledged {
            let is_there = copies.contains_key(number);
            assert!(is_there, "{number} of level {:?} was acknowledged and is lost", self.sent.get(number));
        }
        for number in copies.keys() {
            let level = self.sent.get(number).copied();
            assert!(level.is_some(), "{number} was never sent");
        }
    }
}
