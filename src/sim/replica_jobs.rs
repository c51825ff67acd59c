//! Jobs in the world of a master and its slaves: a slave that becomes the master goes on with the timer messages and the transactions of the one before.
//!
//! What is checked when all is well again: each timer message that the log holds was delivered, none before the time that it asked for, and none twice
//! unless a master has ended; of each transaction whose half message was acknowledged that is seen which its producer says, commit or rollback,
//! whoever was the master meanwhile, and nothing is seen whose commit was not said. A slave here has no table of its master's progress: it goes by its
//! log, so that what was delivered may be delivered again.

use std::collections::{BTreeMap, BTreeSet};

use super::client;
use super::node::{Found, master_of_reign};
use super::random::Random;
use super::replica_world::{LEVELS_COUNT, QUEUES, ReplicaRule, ReplicaWorld, TOPIC};
use super::transaction::HalfPlace;
use crate::broker::timer::WindowBounds;
use crate::config::TransactionConfig;
use crate::model::{GroupName, LogOffset, QueueId, QueueOffset, TopicName};
use crate::protocol::body::{DelayOffsets, LevelOffsets, TimerPlaces, TimerStep};
use crate::protocol::code::RequestCode;
use crate::protocol::header::Header;
use crate::protocol::message::{HALF_TOPIC, TRANSACTION_GROUP, WHEEL_TOPIC};
use crate::protocol::record::{Check, RecordView};

/// Requests beside the sends have numbers from here on.
const OTHER_OPAQUES: i32 = 1 << 24;

const GROUP: &str = "P";
const DELAY_MS_MAX: u64 = 6_000;

/// What the producer knows of its timer messages.
pub(super) struct TimerSender {
    /// Draws of their own, so that all others stay as they are.
    random: Random,
    /// The time that each asks for, Unix ms, by its number.
    asked: BTreeMap<u64, i64>,
}

/// What the producer knows of its transactions.
pub(super) struct TransactionSender {
    /// Draws of their own as well.
    random: Random,
    /// Whether each is to be committed, by the number of its message.
    begun: BTreeMap<u64, bool>,
    acknowledged: BTreeSet<u64>,
    /// Those that the producer ends unasked.
    known: Vec<(u64, HalfPlace)>,
    /// Those whose commit was said.
    said: BTreeSet<u64>,
    last_opaque: i32,
}

impl ReplicaWorld {
    /// The same where messages ask for times, and no store is lost.
    #[must_use]
    pub fn with_timers(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::with_roles(seed, rule);
        let mut random = Random::new(seed ^ 0x71_3E6);
        for node in &mut world.nodes {
            node.settings.timers.precision_ms = random.pick(&[1, 100, 1_000]);
            node.settings.timer_window = WindowBounds {
                window_max: random.pick(&[8, 40, 1_000]),
                zone_messages: random.pick(&[1, 4, 64]),
                zones_max: random.pick(&[2, 16, 1_000]),
            };
        }
        world.timers = Some(TimerSender { random, asked: BTreeMap::new() });
        world
    }

    /// The same where messages are of transactions, and no store is lost.
    #[must_use]
    pub fn with_transactions(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::with_roles(seed, rule);
        let mut random = Random::new(seed ^ 0x7A_46);
        for node in &mut world.nodes {
            node.settings.transactions = TransactionConfig {
                is_refused: false,
                timeout_ms: random.pick(&[0, 1_000]),
                checks_max: 100_000,
                check_interval_ms: random.pick(&[100, 1_000]),
            };
        }
        world.transactions = Some(TransactionSender {
            random,
            begun: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            known: Vec::new(),
            said: BTreeSet::new(),
            last_opaque: OTHER_OPAQUES,
        });
        world
    }

    /// Whether something waits in the log for more than its own end.
    pub(super) fn has_jobs(&self) -> bool {
        self.timers.is_some() || self.transactions.is_some()
    }

    /// To see that the checks would notice: a master that starts believes that what waits is done with.
    pub(super) fn forget_jobs(&mut self, index: usize) {
        let beyond = 1 << 40;
        let delays = match self.rule {
            ReplicaRule::ForgetDelayed => {
                let offsets: LevelOffsets = (1..=LEVELS_COUNT).map(|level| (level, QueueOffset(1_000))).collect();
                DelayOffsets { safe: offsets.clone(), offsets, ..DelayOffsets::default() }
            }
            ReplicaRule::ForgetTimers => {
                let step = TimerStep { from: LogOffset(0), code: i64::MAX, at: LogOffset(0) };
                let timers = TimerPlaces { end: LogOffset(beyond), floor: QueueOffset(beyond), steps: vec![step] };
                DelayOffsets { safe_timers: timers.clone(), timers, ..DelayOffsets::default() }
            }
            ReplicaRule::ForgetHalves => {
                return self.nodes[index].change_tables(|tables| {
                    let offsets = &mut tables.offsets.get_or_insert_default().offsets;
                    let key = (TopicName::from(HALF_TOPIC), GroupName::from(TRANSACTION_GROUP));
                    // What lies beyond the end is brought down to it.
                    offsets.entry(key).or_default().insert(QueueId(0), QueueOffset(beyond));
                });
            }
            _ => return,
        };
        self.nodes[index].change_tables(|tables| tables.delay_offsets = Some(delays));
    }

    /// The properties by which a message waits for a time, or for the end of its transaction.
    pub(super) fn ask_for_job(&mut self, number: u64) -> String {
        if let Some(timers) = &mut self.timers
            && timers.random.percent(20)
        {
            let delay_ms = timers.random.below(DELAY_MS_MAX);
            timers.asked.insert(number, self.now.unix.0 + i64::try_from(delay_ms).expect("small"));
            return format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}");
        }
        if let Some(transactions) = &mut self.transactions
            && transactions.random.percent(40)
        {
            let is_committed = transactions.random.percent(75);
            transactions.begun.insert(number, is_committed);
            return format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
        }
        String::new()
    }

    /// A send was answered with success; `place` is that of a half message, if it is one.
    pub(super) fn note_half(&mut self, number: u64, place: HalfPlace) {
        let Some(transactions) = &mut self.transactions else { return };
        if transactions.begun.contains_key(&number) {
            transactions.acknowledged.insert(number);
            if transactions.random.percent(70) {
                transactions.known.push((number, place));
            }
        }
    }

    /// Nodes are up more often than in the other worlds, so that one takes over from another many times; and the producer goes on.
    pub(super) fn step_jobs(&mut self) {
        if !self.has_jobs() {
            return;
        }
        if self.random.percent(2) {
            self.start_somewhere();
        }
        if self.random.percent(1) {
            self.change_roles();
        }
        self.end_transactions();
    }

    /// The producer ends some of the transactions that it knows of.
    pub(super) fn end_transactions(&mut self) {
        for _ in 0..3 {
            let runs = self.runs(self.master) && self.nodes[self.master].takes_input();
            let Some(own) = self.transactions.as_mut().filter(|own| runs && !own.known.is_empty()) else { return };
            if own.random.percent(70) {
                return;
            }
            let at = own.random.index(own.known.len());
            let (number, place) = own.known.swap_remove(at);
            self.end_transaction(number, &place, false);
        }
    }

    /// The producer says what a transaction comes to.
    pub(super) fn end_transaction(&mut self, number: u64, place: &HalfPlace, is_asked: bool) {
        let Some(own) = &mut self.transactions else { return };
        let is_committed = own.begun.get(&number).copied().expect("it has begun");
        if is_committed {
            own.said.insert(number);
        }
        self.counts.transactions_asked += u64::from(is_asked);
        let [queue_offset, log_offset, transaction] = place;
        let ext = [
            ("producerGroup", GROUP),
            ("tranStateTableOffset", queue_offset.as_str()),
            ("commitLogOffset", log_offset.as_str()),
            ("commitOrRollback", if is_committed { "8" } else { "12" }),
            ("fromTransactionCheck", if is_asked { "true" } else { "false" }),
            ("transactionId", transaction.as_str()),
        ];
        self.ask_beside(RequestCode::EndTransaction, &ext, &[]);
    }

    /// Brokers ask producers that have said who they are.
    pub(super) fn introduce_producer(&mut self) {
        if self.transactions.is_some() {
            let body =
                format!(r#"{{"clientID":"c","consumerDataSet":[],"producerDataSet":[{{"groupName":"{GROUP}"}}]}}"#);
            self.ask_beside(RequestCode::HeartBeat, &[], body.as_bytes());
        }
    }

    /// A request of the producer whose answer nobody waits for.
    fn ask_beside(&mut self, code: RequestCode, ext: &[(&str, &str)], body: &[u8]) {
        let Some(own) = &mut self.transactions else { return };
        own.last_opaque += 1;
        let bytes = client::request(code, own.last_opaque, ext, body);
        let (now, connection) = (self.now, self.producer());
        let master = &mut self.nodes[self.master];
        master.act(now, |broker, out| client::say(broker, now, connection, &bytes, out));
        master.end_turn(now);
    }

    /// Whether all that waits in the master's log has come to its end.
    ///
    /// # Panics
    /// When something has come that was not to, or not yet.
    pub(super) fn are_jobs_over(&mut self) -> bool {
        if !self.has_jobs() {
            return true;
        }
        let seen = self.places(TOPIC, QUEUES);
        self.are_timers_over(&seen) && self.are_transactions_over(&seen)
    }

    fn are_timers_over(&mut self, seen: &BTreeMap<u64, Vec<Found>>) -> bool {
        let Some(timers) = &self.timers else { return true };
        let mut doubled = 0;
        for (number, copies) in seen {
            let Some(asked) = timers.asked.get(number) else { continue };
            let early = copies.iter().find(|copy| copy.stored < *asked);
            assert!(early.is_none(), "{number} asked for {asked}, and was delivered as {early:?}");
            doubled += copies.len() as u64 - 1;
        }
        let has_ended = self.counts.master_ends > 0 || self.counts.promotions > 0;
        assert!(has_ended || doubled == 0, "{doubled} were delivered twice for nothing");
        let waited = self.places(WHEEL_TOPIC, 1);
        self.counts.timers = waited.len() as u64;
        self.counts.timers_taken_over = self.taken_over(&waited, seen);
        waited.keys().all(|number| seen.contains_key(number))
    }

    fn are_transactions_over(&mut self, seen: &BTreeMap<u64, Vec<Found>>) -> bool {
        let Some(own) = &self.transactions else { return true };
        for number in seen.keys().filter(|number| own.begun.contains_key(number)) {
            assert!(own.said.contains(number), "{number} is seen, and its commit was not said");
        }
        let is_wanted = |number: &&u64| own.begun.get(number) == Some(&true);
        let missing = own.acknowledged.iter().filter(is_wanted).filter(|number| !seen.contains_key(number)).count();
        self.counts.transactions = own.said.iter().filter(|number| seen.contains_key(number)).count() as u64;
        let halves = self.places(HALF_TOPIC, 1);
        self.counts.transactions_taken_over = self.taken_over(&halves, seen);
        // Where more was lost than the flush settings allow, half messages were as well.
        missing == 0 || !self.is_gentle
    }

    /// Of those that waited how many were stored by one master and delivered by another; where reigns have no names, that is not known.
    fn taken_over(&self, waited: &BTreeMap<u64, Vec<Found>>, seen: &BTreeMap<u64, Vec<Found>>) -> u64 {
        let epochs = self.nodes[self.master].epochs();
        let master_of = |places: Option<&Vec<Found>>| {
            let first = places?.iter().map(|found| found.log_offset).min()?;
            epochs.at(LogOffset(first)).and_then(|(entry, _)| master_of_reign(entry.id))
        };
        let is_taken_over = |(number, places): (&u64, &Vec<Found>)| {
            let masters = (master_of(Some(places)), master_of(seen.get(number)));
            matches!(masters, (Some(before), Some(after)) if before != after)
        };
        waited.iter().filter(|it| is_taken_over(*it)).count() as u64
    }

    /// The messages of a topic of the master, by number.
    fn places(&mut self, topic: &str, queues: u32) -> BTreeMap<u64, Vec<Found>> {
        let mut places: BTreeMap<u64, Vec<Found>> = BTreeMap::new();
        for queue in (0..queues).map(QueueId) {
            for found in self.nodes[self.master].read_queue(&mut self.now, topic, queue) {
                places.entry(found.number).or_default().push(found);
            }
        }
        places
    }
}

/// Whether a response is to one of the requests beside the sends.
pub(super) fn is_beside(opaque: i32) -> bool {
    opaque > OTHER_OPAQUES
}

/// Of which transaction a broker asks, and where its half message is.
pub(super) fn check_of(header: &Header<'_>, body: &[u8]) -> Option<(u64, HalfPlace)> {
    if header.is_response() || header.code != RequestCode::CheckTransactionState.number() {
        return None;
    }
    let record = RecordView::decode(body, None, Check::Shape).expect("a record");
    let number = u64::from_be_bytes(*record.body.first_chunk().expect("a number"));
    let fields = ["tranStateTableOffset", "commitLogOffset", "transactionId"];
    Some((number, fields.map(|name| header.ext.get(name).unwrap_or_default().to_owned())))
}
