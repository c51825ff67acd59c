//! Transactions in the made-up world: one master, a producer that ends them, is silent, or answers when it is asked, and ends of all kinds.
//!
//! What each transaction comes to is decided when it begins. What is checked when all is well again and nobody waits: nothing is seen whose commit
//! was not said, nothing that was rolled back; whatever was acknowledged as a half message, and is to be committed, is seen; and nothing is seen
//! twice unless the node has ended in between, or its producer has said it twice.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{self, SimClient};
use super::node::{NodeEnd, SimNode, life_of, replica_settings, small_flush, small_log};
use super::random::Random;
use crate::config::TransactionConfig;
use crate::log::LogSettings;
use crate::model::{Now, QueueId, Role, UnixMs};
use crate::protocol::code::RequestCode;
use crate::protocol::frame;
use crate::protocol::header::Header;
use crate::protocol::message::{HALF_TOPIC, MessageId, OP_TOPIC};
use crate::protocol::record::{Check, RecordView};

const TOPIC: &str = "BenchmarkTest";
const QUEUES: u64 = 3;
const GROUP: &str = "P";

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionRule {
    /// It does.
    Sound,
    /// A start believes that all half messages were looked at.
    ForgetHalves,
    /// A start believes that all notes were read.
    ForgetNotes,
    /// The producer says commit, and rolls back when it is asked.
    SayBoth,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TransactionCounts {
    pub halves: u64,
    pub ended: u64,
    pub asked: u64,
    /// About what its producer has ended already.
    pub asked_again: u64,
    pub ends: u64,
    pub power_losses: u64,
    pub seen: u64,
    pub doubled: u64,
}

/// What a transaction comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Rollback,
    /// Its producer says nothing, asked or not.
    Silent,
}

/// One transaction.
#[derive(Clone, Copy, Debug)]
struct Begun {
    fate: Fate,
    /// Its producer ends it unasked.
    is_told: bool,
    /// How often its end was said, and that it is a commit.
    ends_said: u64,
    commits_said: u64,
}

/// A half message as its producer knows it: queue offset, log offset, transaction.
pub(super) type HalfPlace = [String; 3];

/// What an answer is to.
#[derive(Clone, Copy, Debug)]
enum AwaitedAnswer {
    Half(u64),
    Transaction,
    Other,
}

/// The world of one master.
pub struct TransactionWorld {
    random: Random,
    now: Now,
    node: SimNode,
    rule: TransactionRule,
    begun: Vec<Begun>,
    client: SimClient<AwaitedAnswer>,
    /// Half messages whose answer has come. They are to be ended.
    known: Vec<(u64, HalfPlace)>,
    /// Half messages that were acknowledged, and whose promise has outlived all ends.
    acknowledged: BTreeSet<u64>,
    /// What has happened.
    pub counts: TransactionCounts,
}

impl TransactionWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: TransactionRule) -> TransactionWorld {
        let mut random = Random::new(seed ^ 0x7A45);
        let flush = small_flush(40, &[10, 500], &mut random);
        let log_settings: LogSettings = small_log(flush, &mut random);
        let settings = replica_settings(false, 1, &mut random);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let mut node = SimNode::new(0, settings, log_settings, ring_bytes);
        node.settings.transactions = TransactionConfig {
            is_refused: false,
            timeout_ms: random.pick(&[0, 1_000, 1_000]),
            checks_max: 100_000,
            check_interval_ms: random.pick(&[100, 1_000]),
        };
        TransactionWorld {
            node,
            random,
            now: Now { unix: UnixMs(1_700_000_000_000), mono: crate::model::MonoNs(1_000_000_000) },
            rule,
            begun: Vec::new(),
            client: SimClient::new(),
            known: Vec::new(),
            acknowledged: BTreeSet::new(),
            counts: TransactionCounts::default(),
        }
    }

    /// Runs so many steps, then lets producers answer until nothing waits, and looks at what the log has.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        self.start();
        for _ in 0..steps {
            let elapsed_ms = if self.random.percent(3) { self.random.below(700) } else { self.random.below(8) };
            self.now = super::later(self.now, elapsed_ms);
            if !self.node.is_up() {
                if self.random.percent(20) {
                    self.start();
                }
                continue;
            }
            match self.random.below(1000) {
                0..120 => self.begin_some(),
                120..220 => self.end_some(),
                220..650 => self.node.work(self.now, &mut self.random),
                650..750 => self.node.tick(self.now),
                750..980 => self.node.meet_deadline(self.now),
                980..993 => self.heartbeat(),
                _ => self.stop(),
            }
            self.collect();
        }
        self.heal();
        self.check();
    }

    fn start(&mut self) {
        let forgotten = match self.rule {
            TransactionRule::ForgetHalves => Some(HALF_TOPIC),
            TransactionRule::ForgetNotes => Some(OP_TOPIC),
            TransactionRule::Sound | TransactionRule::SayBoth => None,
        };
        if let Some(forgotten) = forgotten {
            self.node.change_tables(|tables| {
                let pairs = tables.offsets.iter_mut().flat_map(|table| table.offsets.iter_mut());
                for (_, queues) in pairs.filter(|((topic, _), _)| topic.as_str() == forgotten) {
                    // What lies beyond the end is brought down to it.
                    queues.values_mut().for_each(|offset| offset.0 = 1 << 40);
                }
            });
        }
        self.node.start(self.now, life_of(0, Role::AsyncMaster, None));
        self.client.connect(&mut self.node, self.now);
        self.heartbeat();
    }

    fn stop(&mut self) {
        let end = NodeEnd::pick(&mut self.random);
        self.counts.ends += 1;
        self.counts.power_losses += u64::from(end == NodeEnd::Power);
        if !self.node.survives(end) {
            self.acknowledged.clear();
        }
        self.node.end(end, &mut self.random);
    }

    fn heartbeat(&mut self) {
        let body = format!(r#"{{"clientID":"c","consumerDataSet":[],"producerDataSet":[{{"groupName":"{GROUP}"}}]}}"#);
        self.client.ask(&mut self.node, self.now, AwaitedAnswer::Other, |opaque| {
            client::request(RequestCode::HeartBeat, opaque, &[], body.as_bytes())
        });
    }

    fn begin_some(&mut self) {
        for _ in 0..self.random.below(5) {
            if !self.node.takes_input() {
                break;
            }
            let number = self.begun.len() as u64;
            let fate =
                self.random.pick(&[Fate::Committed, Fate::Committed, Fate::Committed, Fate::Rollback, Fate::Silent]);
            let is_told = fate != Fate::Silent && self.random.percent(70);
            self.begun.push(Begun { fate, is_told, ends_said: 0, commits_said: 0 });
            let mut body = number.to_be_bytes().to_vec();
            body.resize(8 + self.random.index(300), 7);
            let immunity = if self.random.percent(20) { "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}" } else { "" };
            let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}{immunity}");
            let (queue, born) = (self.random.below(QUEUES), self.now.unix.0);
            self.counts.halves += 1;
            self.client.ask(&mut self.node, self.now, AwaitedAnswer::Half(number), |opaque| {
                client::send_born(opaque, TOPIC, queue, &properties, &body, born)
            });
        }
        self.node.end_turn(self.now);
    }

    fn end_some(&mut self) {
        for _ in 0..self.random.below(40) {
            if self.known.is_empty() || !self.node.takes_input() {
                break;
            }
            let at = self.random.index(self.known.len());
            let (number, place) = self.known.swap_remove(at);
            self.end(number, &place, false);
        }
        self.node.end_turn(self.now);
    }

    fn end(&mut self, number: u64, [queue_offset, log_offset, transaction]: &HalfPlace, is_asked: bool) {
        let begun = &mut self.begun[usize::try_from(number).expect("few")];
        let is_commit = match begun.fate {
            Fate::Silent => return,
            fate => (fate == Fate::Committed) && !(is_asked && self.rule == TransactionRule::SayBoth),
        };
        begun.ends_said += 1;
        begun.commits_said += u64::from(is_commit);
        self.counts.ended += 1;
        let ext = [
            ("producerGroup", GROUP),
            ("tranStateTableOffset", queue_offset.as_str()),
            ("commitLogOffset", log_offset.as_str()),
            ("commitOrRollback", if is_commit { "8" } else { "12" }),
            ("fromTransactionCheck", if is_asked { "true" } else { "false" }),
            ("transactionId", transaction.as_str()),
        ];
        self.client.ask(&mut self.node, self.now, AwaitedAnswer::Transaction, |opaque| {
            client::request(RequestCode::EndTransaction, opaque, &ext, &[])
        });
    }

    fn collect(&mut self) {
        if !self.node.is_up() {
            return;
        }
        let connection = self.node.client();
        let bytes = self.node.out.outbox.take(connection);
        let mut rest = &bytes[..];
        while let Some(frame) = frame::split(rest).expect("a frame") {
            let header = Header::decode(frame.encoding, frame.header).expect("a header");
            let field = |name: &str| header.ext.get(name).unwrap_or_default().to_owned();
            if header.is_response() {
                match self.client.answered(header.opaque) {
                    AwaitedAnswer::Half(number) if header.code == 0 => {
                        self.acknowledged.insert(number);
                        let id = MessageId::decode(&field("msgId")).expect("an id");
                        if self.begun[usize::try_from(number).expect("few")].is_told {
                            let place = [field("queueOffset"), id.log_offset.to_string(), field("transactionId")];
                            self.known.push((number, place));
                        }
                    }
                    AwaitedAnswer::Half(_) | AwaitedAnswer::Transaction | AwaitedAnswer::Other => {}
                }
            } else if header.code == RequestCode::CheckTransactionState.number() {
                let record = RecordView::decode(frame.body, None, Check::Shape).expect("a record");
                let number = u64::from_be_bytes(record.body[..8].try_into().expect("eight bytes"));
                self.counts.asked += 1;
                let begun = self.begun.get(usize::try_from(number).expect("few"));
                self.counts.asked_again += u64::from(begun.is_some_and(|begun| begun.ends_said > 0));
                let place = ["tranStateTableOffset", "commitLogOffset", "transactionId"].map(field);
                self.end(number, &place, true);
            }
            rest = &rest[frame.size..];
        }
    }

    /// The node runs, and producers answer until only those wait about whom nobody says anything.
    fn heal(&mut self) {
        if !self.node.is_up() {
            self.start();
        }
        // What nobody answers is put back again and again.
        self.node.disk.capacity = 1 << 30;
        for round in 1..=3_000 {
            self.now = super::later(self.now, 20);
            self.node.tick(self.now);
            self.node.settle(self.now, &mut self.random);
            self.node.meet_deadline(self.now);
            self.collect();
            if round % 100 == 0 {
                self.heartbeat();
                if round > 100 && self.missing().is_empty() {
                    return;
                }
            }
        }
    }

    fn seen(&mut self) -> BTreeMap<u64, u64> {
        let mut seen = BTreeMap::new();
        for queue in 0..QUEUES {
            for found in self.node.read_queue(&mut self.now, TOPIC, QueueId(u32::try_from(queue).expect("small"))) {
                *seen.entry(found.number).or_default() += 1;
            }
        }
        seen
    }

    /// What was acknowledged, is to be committed, and is not seen.
    fn missing(&mut self) -> Vec<u64> {
        let seen = self.seen();
        let fate = |number: &&u64| self.begun[usize::try_from(**number).expect("few")].fate;
        let wanted = self.acknowledged.iter().filter(|number| fate(number) == Fate::Committed);
        wanted.filter(|number| !seen.contains_key(number)).copied().collect()
    }

    fn check(&mut self) {
        let missing = self.missing();
        assert!(missing.is_empty(), "acknowledged as half messages, to be committed, and lost: {missing:?}");
        for (number, times) in self.seen() {
            let begun = self.begun[usize::try_from(number).expect("few")];
            assert!(begun.fate == Fate::Committed, "{number} is seen: {begun:?}");
            assert!(begun.commits_said > 0, "{number} is seen before its commit was said: {begun:?}");
            assert!(times <= begun.commits_said, "{number} is seen {times} times: {begun:?}");
            self.counts.seen += 1;
            self.counts.doubled += times - 1;
        }
    }
}
