//! A group that consumes in the made-up world: one master, a producer, a consumer that commits what it has had, ends of all kinds, and tables that
//! are written late and lost.
//!
//! Beside it an operator makes and deletes topics.
//!
//! What is checked: a topic that was made or deleted stays so; where a group goes on lies within its queue, nowhere beyond what it has committed,
//! and nowhere before what a file held; and when all is well again, the group has had each message that the log holds, and the log holds each that
//! was acknowledged and whose promise outlived all ends.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::client;
use super::node::{NodeEnd, SimNode, address_of, life_of, replica_settings, small_flush, small_log};
use super::random::Random;
use crate::model::{GroupName, MonoNs, Now, QueueId, Role, TopicName, UnixMs};
use crate::protocol::body::{ConsumerOffsets, TopicTable};
use crate::protocol::code::RequestCode;
use crate::protocol::frame;
use crate::protocol::header::Header;
use crate::protocol::record::{Check, RecordView};

const TOPIC: &str = "Consumed";
const GROUP: &str = "g";
const QUEUES: usize = 3;
const TOPICS: usize = 4;

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeRule {
    /// It does.
    Sound,
    /// The file of the offsets says that the group is further on than it is.
    AheadFile,
    /// The file of the offsets is lost between two lives.
    LoseFile,
    /// The file of the topics is an older one.
    OldTopics,
    /// The group goes on behind what it has asked for, though it has not come.
    CommitUnread,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConsumeCounts {
    pub sent: u64,
    pub acknowledged: u64,
    pub ends: u64,
    pub power_losses: u64,
    pub consumer_ends: u64,
    pub received: u64,
    pub doubled: u64,
    pub commits: u64,
    pub resumed: u64,
    pub lowered: u64,
    pub disks_failed: u64,
    pub topics_changed: u64,
    pub topics_looked_at: u64,
}

/// What a request was about.
#[derive(Clone, Copy, Debug)]
enum About {
    Send {
        number: u64,
    },
    Position(usize),
    Pull(usize),
    Progress(usize),
    Topic {
        number: usize,
        is_made: bool,
    },
    /// Whether the topic is there.
    Look(usize),
}

/// The world of one master and one group.
pub struct ConsumeWorld {
    random: Random,
    now: Now,
    node: SimNode,
    rule: ConsumeRule,
    next_number: u64,
    next_opaque: i32,
    waiting: BTreeMap<i32, About>,
    acknowledged: Vec<u64>,
    received: BTreeSet<u64>,
    /// Where the consumer is in each queue; it asks when it does not know.
    positions: [Option<u64>; QUEUES],
    /// The furthest that it has committed.
    committed: [u64; QUEUES],
    /// Where the group must go on at least in this life of the node.
    at_least: [u64; QUEUES],
    /// Of the operator's topics, whether they are there; not known while it is being changed, or was when the node ended.
    topics: [Option<bool>; TOPICS],
    old_topics: Option<TopicTable>,
    /// What has happened.
    pub counts: ConsumeCounts,
}

impl ConsumeWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: ConsumeRule) -> ConsumeWorld {
        let mut random = Random::new(seed ^ 0xC0_5EED);
        let flush = small_flush(50, &[10, 500, 5_000], &mut random);
        let log_settings = small_log(flush, &mut random);
        let settings = replica_settings(false, 1, &mut random);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let mut node = SimNode::new(0, settings, log_settings, ring_bytes);
        node.one_fails_in = random.pick(&[0, 500]);
        ConsumeWorld {
            node,
            random,
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            rule,
            next_number: 0,
            next_opaque: 0,
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            received: BTreeSet::new(),
            positions: [None; QUEUES],
            committed: [0; QUEUES],
            at_least: [0; QUEUES],
            topics: [Some(false); TOPICS],
            old_topics: None,
            counts: ConsumeCounts::default(),
        }
    }

    /// Runs so many steps, then lets the group read to the end, and looks at what it has had.
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
                0..100 => self.send_some(),
                100..250 => self.consume(),
                250..750 => self.node.work(self.now, &mut self.random),
                750..850 => self.node.tick(self.now),
                850..990 => self.node.meet_deadline(self.now),
                990..992 => self.restart_consumer(),
                992..995 => self.change_topic(),
                _ => self.end(),
            }
            self.collect();
            if self.node.has_failed() {
                self.counts.disks_failed += 1;
                self.end();
            }
        }
        self.heal();
        self.check();
    }

    fn pass(&mut self, ms: u64) {
        self.now = super::later(self.now, ms);
    }

    fn committed_in_file(&self) -> Option<ConsumerOffsets> {
        self.node.tables().offsets
    }

    fn start(&mut self) {
        let name = (TopicName::from(TOPIC), GroupName::from(GROUP));
        let known = self.committed_in_file();
        let offsets = known.as_ref().and_then(|table| table.offsets.get(&name)).cloned().unwrap_or_default();
        match (self.rule, known) {
            (ConsumeRule::OldTopics, _) => self.put_back_topics(),
            (ConsumeRule::LoseFile, _) => self.node.change_tables(|tables| tables.offsets = None),
            (ConsumeRule::AheadFile, Some(mut table)) => {
                table.offsets.values_mut().flat_map(BTreeMap::values_mut).for_each(|offset| *offset = offset.plus(5));
                self.node.change_tables(|tables| tables.offsets = Some(table));
            }
            _ => {}
        }
        self.node.start(self.now, life_of(0, Role::AsyncMaster, None));
        for (queue, at_least) in self.at_least.iter_mut().enumerate() {
            let queue_id = queue_id(queue);
            let log = self.node.broker.as_ref().expect("it runs").view_log();
            let end = log.find_queue(TOPIC, queue_id).map_or(0, |queue| log.bounds(queue).appended_max.0);
            let in_file = offsets.get(&queue_id).map_or(0, |offset| offset.0);
            *at_least = in_file.min(end);
            self.counts.lowered += u64::from(in_file > end);
            self.committed[queue] = self.committed[queue].min(end);
        }
        let (now, connection) = (self.now, self.node.client());
        self.node.act(now, |broker, _| broker.handle_connected(now, connection, address_of(90)));
        self.restart_consumer();
        for number in 0..TOPICS {
            let name = topic_name(number);
            self.ask(About::Look(number), |opaque| {
                client::request(RequestCode::GetTopicConfig, opaque, &[("topic", name.as_str())], &[])
            });
        }
    }

    fn put_back_topics(&mut self) {
        let now = self.node.tables().topics;
        if let Some(old) = std::mem::replace(&mut self.old_topics, now) {
            self.node.change_tables(|tables| tables.topics = Some(old));
        }
    }

    /// The operator makes a topic, or deletes it.
    fn change_topic(&mut self) {
        let number = self.random.index(TOPICS);
        let name = topic_name(number);
        let is_made = self.random.percent(50);
        let is_asked = |about: &About| matches!(about, About::Topic { number: of, .. } if *of == number);
        if self.waiting.values().any(is_asked) || !self.node.takes_input() {
            return;
        }
        let making = [
            ("topic", name.as_str()),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
        ];
        self.topics[number] = None;
        let (code, ext) = match is_made {
            true => (RequestCode::UpdateAndCreateTopic, &making[..]),
            false => (RequestCode::DeleteTopicInBroker, &making[..1]),
        };
        self.ask(About::Topic { number, is_made }, |opaque| client::request(code, opaque, ext, &[]));
    }

    /// Whoever consumes knows nothing but what the broker says.
    fn restart_consumer(&mut self) {
        self.counts.consumer_ends += 1;
        self.positions = [None; QUEUES];
        self.waiting.retain(|_, about| !matches!(about, About::Position(_) | About::Pull(_) | About::Progress(_)));
    }

    fn end(&mut self) {
        let end = NodeEnd::pick(&mut self.random);
        self.counts.ends += 1;
        self.counts.power_losses += u64::from(end == NodeEnd::Power);
        if !self.node.survives(end) {
            self.acknowledged.clear();
        }
        self.waiting.clear();
        self.node.end(end, &mut self.random);
    }

    fn ask(&mut self, about: About, request: impl FnOnce(i32) -> BytesMut) {
        let (now, connection) = (self.now, self.node.client());
        if !self.node.takes_input() {
            return;
        }
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        self.waiting.insert(opaque, about);
        let bytes = request(opaque);
        self.node.act(now, |broker, out| {
            client::say(broker, now, connection, &bytes, out);
            broker.handle_turn_end(now, out);
        });
    }

    fn send_some(&mut self) {
        for _ in 0..self.random.below(6) {
            let number = self.next_number;
            self.next_number += 1;
            self.counts.sent += 1;
            let queue = self.random.below(QUEUES as u64);
            let body_len = if self.random.percent(5) { self.random.index(8_000) } else { self.random.index(400) };
            let mut body = number.to_be_bytes().to_vec();
            body.resize(8 + body_len, 7);
            self.ask(About::Send { number }, |opaque| client::send(opaque, TOPIC, queue, "", &body));
        }
    }

    /// The consumer asks where it is, asks for messages, or commits what it has had.
    fn consume(&mut self) {
        let queue = self.random.index(QUEUES);
        let is_asked = self.waiting.values().any(|about| match about {
            About::Send { .. } | About::Topic { .. } | About::Look(_) => false,
            About::Position(of) | About::Pull(of) | About::Progress(of) => *of == queue,
        });
        if is_asked {
            return;
        }
        let id = queue.to_string();
        let of = [("consumerGroup", GROUP), ("topic", TOPIC), ("queueId", id.as_str())];
        match self.positions[queue] {
            None => self.ask(About::Position(queue), |opaque| {
                client::request(RequestCode::QueryConsumerOffset, opaque, &of, &[])
            }),
            Some(at) if self.random.percent(60) => self.pull(queue, at),
            Some(at) => {
                let offset = at.to_string();
                let of = [of[0], of[1], of[2], ("commitOffset", offset.as_str())];
                self.counts.commits += 1;
                self.committed[queue] = self.committed[queue].max(at);
                self.ask(About::Progress(queue), |opaque| {
                    client::request(RequestCode::UpdateConsumerOffset, opaque, &of, &[])
                });
            }
        }
    }

    fn pull(&mut self, queue: usize, at: u64) {
        let (id, from) = (queue.to_string(), at.to_string());
        let most = (1 + self.random.below(32)).to_string();
        let ext = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", id.as_str()),
            ("queueOffset", from.as_str()),
            ("maxMsgNums", most.as_str()),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        self.ask(About::Pull(queue), |opaque| client::request(RequestCode::PullMessage, opaque, &ext, &[]));
        if self.rule == ConsumeRule::CommitUnread && self.random.percent(5) {
            self.positions[queue] = Some(at + 1);
        }
    }

    fn collect(&mut self) {
        if !self.node.is_up() {
            return;
        }
        let connection = self.node.client();
        let mut bytes = self.node.out.outbox.take(connection);
        while let Some(frame) = frame::split(&bytes).expect("a frame") {
            let header = Header::decode(frame.encoding, frame.header).expect("a header");
            let number = |name: &str| {
                let field = header.ext.iter().find(|(found, _)| *found == name);
                field.map(|(_, value)| value.to_string().parse::<u64>().expect("a number"))
            };
            // Whoever asked may be gone.
            if let Some(about) = self.waiting.remove(&header.opaque) {
                match about {
                    About::Send { number } if header.code == 0 => {
                        self.counts.acknowledged += 1;
                        self.acknowledged.push(number);
                    }
                    About::Position(queue) => self.resume(queue, header.code, number("offset")),
                    About::Pull(queue) => {
                        let next = number("nextBeginOffset");
                        self.receive(queue, header.code, next, frame.body);
                    }
                    About::Topic { number, is_made } if header.code == 0 => {
                        self.topics[number] = Some(is_made);
                        self.counts.topics_changed += 1;
                    }
                    About::Look(number) => {
                        let is_there = header.code == 0;
                        let known = self.topics[number].unwrap_or(is_there);
                        assert_eq!(is_there, known, "topic {number} was made or deleted, and is not as it was left");
                        self.counts.topics_looked_at += 1;
                    }
                    About::Send { .. } | About::Topic { .. } | About::Progress(_) => {}
                }
            }
            let size = frame.size;
            let _ = bytes.split_to(size);
        }
    }

    /// The broker has said where the group is.
    fn resume(&mut self, queue: usize, code: i32, offset: Option<u64>) {
        let at = match (code, offset) {
            (0, Some(offset)) => offset,
            // The group has never committed anything that was kept.
            (22, _) => 0,
            _ => return,
        };
        let log = self.node.broker.as_ref().expect("it runs").view_log();
        let end = log.find_queue(TOPIC, queue_id(queue)).map_or(0, |queue| log.bounds(queue).appended_max.0);
        let (at_least, committed) = (self.at_least[queue], self.committed[queue]);
        assert!(at <= end, "the group is at {at} of queue {queue}, which ends at {end}");
        assert!(at >= at_least, "the group is at {at} of queue {queue}, and the file had {at_least}");
        assert!(at <= committed, "the group is at {at} of queue {queue}, and has committed {committed} at most");
        self.positions[queue] = Some(at);
        self.counts.resumed += 1;
    }

    fn receive(&mut self, queue: usize, code: i32, next: Option<u64>, mut body: &[u8]) {
        let Some(next) = next.filter(|_| matches!(code, 0 | 19..=21)) else { return };
        while !body.is_empty() && code == 0 {
            let view = RecordView::decode(body, None, Check::CrcRequired).expect("a sound record");
            let number = view.body.first_chunk().map(|number| u64::from_be_bytes(*number)).expect("a number");
            assert!(number < self.next_number, "{number} was never sent");
            let is_new = self.received.insert(number);
            self.counts.received += u64::from(is_new);
            self.counts.doubled += u64::from(!is_new);
            body = &body[view.size as usize..];
        }
        if self.rule != ConsumeRule::CommitUnread || self.positions[queue].is_none_or(|at| at < next) {
            self.positions[queue] = Some(next);
        }
    }

    /// The node runs, and the consumer reads until there is nothing more.
    fn heal(&mut self) {
        self.node.one_fails_in = 0;
        if !self.node.is_up() {
            self.start();
        }
        for _ in 0..3_000 {
            self.pass(20);
            self.node.tick(self.now);
            self.node.settle(self.now, &mut self.random);
            self.node.meet_deadline(self.now);
            self.consume();
            self.collect();
            if self.has_read_all() {
                return;
            }
        }
    }

    /// Whether nobody waits, and the consumer is at the end of each queue.
    fn has_read_all(&self) -> bool {
        let log = self.node.broker.as_ref().expect("it runs").view_log();
        let is_at_end = |(queue, at): (usize, &Option<u64>)| match log.find_queue(TOPIC, queue_id(queue)) {
            Some(queue) => *at == Some(log.bounds(queue).appended_max.0),
            None => true,
        };
        self.waiting.is_empty() && self.positions.iter().enumerate().all(is_at_end)
    }

    fn check(&mut self) {
        let mut stored = BTreeSet::new();
        for queue in 0..QUEUES {
            let found = self.node.read_queue(&mut self.now, TOPIC, queue_id(queue));
            let numbers: Vec<u64> = found.into_iter().map(|message| message.number).collect();
            let missing: Vec<_> = numbers.iter().filter(|number| !self.received.contains(number)).collect();
            assert!(missing.is_empty(), "of queue {queue} the group was never given {missing:?}");
            stored.extend(numbers);
        }
        for number in &self.acknowledged {
            assert!(stored.contains(number), "{number} was acknowledged and is lost");
        }
    }
}

fn topic_name(number: usize) -> String {
    format!("t{number}")
}

fn queue_id(queue: usize) -> QueueId {
    QueueId(u32::try_from(queue).expect("few"))
}
