//! Timer messages in the made-up world: one master, a producer that sends and recalls, a clock that is set, ends of all kinds, and a file of places
//! that is written late.
//!
//! What is checked when all is well again and everything is due: each message that waits in the wheel, and each that was acknowledged and whose
//! promise outlived all ends, was delivered, unless somebody has recalled it; none before the time that its producer asked for, by the log's own
//! clock; none twice unless the node has ended in between; and none behind an acknowledged recall of it. Two topics have messages of the same
//! unique keys, and the recall of one is not that of the other. In some worlds each start finds another `timerPrecisionMs`, and in some the log's old
//! segments go, as far as the broker lets them: what they held is remembered.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{self, SimClient};
use super::node::{NodeEnd, SimNode, life_of, replica_settings, small_flush, small_log};
use super::random::Random;
use crate::broker::timer::WindowBounds;
use crate::log::{DiskUsage, Retention};
use crate::model::{LogOffset, MonoNs, Now, QueueId, Role, UnixMs};
use crate::protocol::code::RequestCode;
use crate::protocol::frame;
use crate::protocol::header::Header;
use crate::protocol::message::{Properties, WHEEL_TOPIC, property};
use crate::protocol::record::RecordView;

/// The even messages are for the first, the odd ones for the second.
const TOPICS: [&str; 2] = ["BenchmarkTest", "Other"];
const QUEUES: u32 = 2;
const DELAY_MS_MAX: u64 = 20_000;
/// Percent of the disk that is used when it is tight: a little more than the 75 that retention allows.
const TIGHT_PERCENT: u8 = 76;
/// `timerPrecisionMs`.
const STEPS_MS: [u64; 3] = [1, 100, 1_000];

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerRule {
    /// It does.
    Sound,
    /// A start believes the file of places whatever the log has.
    BelieveTheFile,
    /// A start takes the file for one that knows of all that the log has, also of what was put after it was written.
    ForgetTheEnd,
    /// A start finds no file.
    LoseTheFile,
    /// The producer forgets that it has recalled.
    ForgetRecalls,
    /// Segments go whatever they hold.
    TakeHeld,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TimerCounts {
    pub sent: u64,
    pub acknowledged: u64,
    pub recalls: u64,
    pub recalled: u64,
    pub ends: u64,
    pub power_losses: u64,
    pub clock_steps: u64,
    pub delivered: u64,
    pub doubled: u64,
    pub distrusted: u64,
    pub segments_retired: u64,
}

/// What an answer is to.
#[derive(Clone, Copy, Debug)]
enum AwaitedTimer {
    Send(u64),
    Recall(u64),
}

/// What the log holds of one message.
#[derive(Clone, Debug, Default)]
struct HeldMessage {
    /// First bytes of it in the wheel.
    waits: BTreeSet<LogOffset>,
    /// Of those that recall it.
    recalls: BTreeSet<LogOffset>,
    /// And of its copies, with their times.
    copies: BTreeSet<(LogOffset, i64)>,
}

impl HeldMessage {
    /// The log ends there.
    fn cut(&mut self, end: LogOffset) {
        self.waits.retain(|place| *place < end);
        self.recalls.retain(|place| *place < end);
        self.copies.retain(|(place, _)| *place < end);
    }
}

/// The world of one master.
pub struct TimerWorld {
    random: Random,
    now: Now,
    node: SimNode,
    rule: TimerRule,
    /// Whether a start may find other steps than the one before; the clock is not set then, so that no message is recalled that was stored for
    /// another step since.
    changes_steps: bool,
    /// Whether old segments go.
    retires: bool,
    /// What the log had when some of it was to go.
    remembered: BTreeMap<u64, HeldMessage>,
    client: SimClient<AwaitedTimer>,
    /// The time that each message asks for, Unix ms.
    asked: Vec<i64>,
    acknowledged: BTreeSet<u64>,
    /// Handles of messages that were acknowledged.
    handles: Vec<(u64, String)>,
    /// Messages that somebody has tried to recall.
    recalled: BTreeSet<u64>,
    /// Those whose recall was acknowledged, and outlived all ends.
    surely_recalled: BTreeSet<u64>,
    /// What has happened.
    pub counts: TimerCounts,
}

impl TimerWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: TimerRule) -> TimerWorld {
        let mut random = Random::new(seed ^ 0x71_3E5);
        let flush = small_flush(40, &[10, 500], &mut random);
        let mut log_settings = small_log(flush, &mut random);
        let retires = rule == TimerRule::TakeHeld || random.percent(30);
        if retires {
            log_settings.segment_bytes = 64 * 1024;
            // All segments are old, and go as soon as the disk is tight, but those that the broker holds.
            let used_percent_forced = (rule == TimerRule::TakeHeld).then_some(TIGHT_PERCENT);
            log_settings.retention =
                Retention { reserved_hours: 0, delete_hours: 0, used_percent_forced, ..Retention::default() };
        }
        let settings = replica_settings(false, 1, &mut random);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let mut node = SimNode::new(0, settings, log_settings, ring_bytes);
        node.settings.timers.precision_ms = random.pick(&STEPS_MS);
        node.settings.timers.takes_recalls = true;
        node.settings.timer_window = WindowBounds {
            window_max: random.pick(&[8, 40, 1_000]),
            zone_messages: random.pick(&[1, 4, 64]),
            zones_max: random.pick(&[2, 16, 1_000]),
        };
        TimerWorld {
            node,
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            rule,
            changes_steps: random.percent(30),
            retires,
            remembered: BTreeMap::new(),
            client: SimClient::new(),
            asked: Vec::new(),
            acknowledged: BTreeSet::new(),
            handles: Vec::new(),
            recalled: BTreeSet::new(),
            surely_recalled: BTreeSet::new(),
            counts: TimerCounts::default(),
            random,
        }
    }

    /// Runs so many steps, then lets all that waits become due, and looks at what the log has.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        self.start();
        for _ in 0..steps {
            let elapsed_ms = if self.random.percent(3) { self.random.below(2_500) } else { self.random.below(8) };
            self.now = super::later(self.now, elapsed_ms);
            if !self.node.is_up() {
                if self.random.percent(20) {
                    self.start();
                }
                continue;
            }
            match self.random.below(1000) {
                0..110 => self.send_some(),
                110..140 => self.recall_one(),
                140..650 => self.node.work(self.now, &mut self.random),
                650..750 => self.node.tick(self.now),
                750..980 => self.node.meet_deadline(self.now),
                980..990 if self.retires => self.retire(),
                980..990 => self.node.meet_deadline(self.now),
                990..994 if !self.changes_steps => self.set_clock(),
                990..994 => {}
                _ => self.end(),
            }
            self.collect();
        }
        self.heal();
        self.check();
    }

    fn start(&mut self) {
        match self.rule {
            TimerRule::Sound | TimerRule::ForgetRecalls | TimerRule::TakeHeld => {}
            TimerRule::BelieveTheFile => self.node.change_tables(|tables| {
                if let Some(table) = &mut tables.delay_offsets {
                    table.log_offset = LogOffset(0);
                }
            }),
            TimerRule::ForgetTheEnd => self.node.change_tables(|tables| {
                if let Some(table) = &mut tables.delay_offsets {
                    (table.timers.end, table.safe_timers.end) = (LogOffset(1 << 40), LogOffset(1 << 40));
                }
            }),
            TimerRule::LoseTheFile => self.node.change_tables(|tables| tables.delay_offsets = None),
        }
        if self.changes_steps {
            self.node.settings.timers.precision_ms = self.random.pick(&STEPS_MS);
        }
        self.node.start(self.now, life_of(0, Role::AsyncMaster, None));
        self.counts.distrusted += u64::from(self.node.distrusted_delay_file);
        let end = self.node.broker.as_ref().expect("it runs").view_log().appended();
        self.remembered.values_mut().for_each(|held| held.cut(end));
        self.client.connect(&mut self.node, self.now);
    }

    fn end(&mut self) {
        let end = NodeEnd::pick(&mut self.random);
        self.counts.ends += 1;
        self.counts.power_losses += u64::from(end == NodeEnd::Power);
        if !self.node.survives(end) {
            self.acknowledged.clear();
            self.surely_recalled.clear();
        }
        self.node.end(end, &mut self.random);
    }

    /// The disk is tight for a while: old segments go.
    fn retire(&mut self) {
        let tight = DiskUsage { used_bytes: TIGHT_PERCENT.into(), total_bytes: 100 };
        for _ in 0..4 {
            if self.node.has_failed() {
                return;
            }
            // The broker looks at what waits once a second.
            self.now = super::later(self.now, 1_000);
            self.node.tick(self.now);
            self.remembered = self.held();
            let start = self.node.broker.as_ref().expect("it runs").view_log().start();
            self.now = super::later(self.now, 1);
            self.node.tick_with(self.now, tight);
            let moved = self.node.broker.as_ref().expect("it runs").view_log().start();
            self.counts.segments_retired += u64::from(moved > start);
            self.node.settle(self.now, &mut self.random);
        }
    }

    /// Somebody sets the wall clock.
    fn set_clock(&mut self) {
        let by_ms = i64::try_from(self.random.below(10_000)).expect("small");
        self.now.unix.0 += if self.random.percent(50) { by_ms } else { -by_ms };
        self.counts.clock_steps += 1;
    }

    fn send_some(&mut self) {
        // Some for the very same moment.
        let body_len_max = if self.retires { 3_000 } else { 400 };
        let together = self.random.percent(20).then(|| self.random.below(DELAY_MS_MAX));
        for _ in 0..self.random.below(8) {
            if !self.node.takes_input() {
                break;
            }
            let number = self.asked.len() as u64;
            let most = self.random.pick(&[10, 1_500, DELAY_MS_MAX]);
            let delay_ms = together.unwrap_or_else(|| self.random.below(most));
            let deliver_ms = self.now.unix.0 + i64::try_from(delay_ms).expect("small");
            self.asked.push(deliver_ms);
            let time = match self.random.below(2) {
                0 => format!("TIMER_DELIVER_MS\u{1}{deliver_ms}\u{2}"),
                _ => format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}"),
            };
            let properties = format!("UNIQ_KEY\u{1}K{}\u{2}{time}", number / 2);
            let body_len =
                if self.random.percent(5) { self.random.index(8_000) } else { self.random.index(body_len_max) };
            let mut body = number.to_be_bytes().to_vec();
            body.resize(8 + body_len, 7);
            let queue = self.random.below(u64::from(QUEUES));
            self.counts.sent += 1;
            self.client.ask(&mut self.node, self.now, AwaitedTimer::Send(number), |opaque| {
                client::send(opaque, topic_of(number), queue, &properties, &body)
            });
        }
        self.node.end_turn(self.now);
    }

    fn recall_one(&mut self) {
        if self.handles.is_empty() || !self.node.takes_input() {
            return;
        }
        let at = self.random.index(self.handles.len());
        let (number, handle) = self.handles.swap_remove(at);
        if self.rule != TimerRule::ForgetRecalls {
            self.recalled.insert(number);
        }
        self.counts.recalls += 1;
        let ext = [("producerGroup", "P"), ("topic", topic_of(number)), ("recallHandle", handle.as_str())];
        self.client.ask(&mut self.node, self.now, AwaitedTimer::Recall(number), |opaque| {
            client::request(RequestCode::RecallMessage, opaque, &ext, &[])
        });
        self.node.end_turn(self.now);
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
            match self.client.answered(header.opaque) {
                AwaitedTimer::Send(number) if header.code == 0 => {
                    self.counts.acknowledged += 1;
                    self.acknowledged.insert(number);
                    self.handles.extend(header.ext.get("recallHandle").map(|handle| (number, handle.to_owned())));
                }
                AwaitedTimer::Recall(number) if header.code == 0 => {
                    self.counts.recalled += 1;
                    self.surely_recalled.insert(number);
                }
                AwaitedTimer::Send(_) | AwaitedTimer::Recall(_) => {}
            }
            rest = &rest[frame.size..];
        }
    }

    /// The node runs, and time passes until nothing waits any more.
    fn heal(&mut self) {
        if !self.node.is_up() {
            self.start();
        }
        self.node.disk.capacity = 1 << 30;
        // The clock may stand behind the last time that was asked for.
        let last = self.asked.iter().copied().max().unwrap_or_default() + 2_000;
        for round in 1..=4_000 {
            self.now = super::later(self.now, 40);
            self.node.tick(self.now);
            self.node.settle(self.now, &mut self.random);
            self.node.meet_deadline(self.now);
            self.collect();
            if round % 200 == 0 && self.now.unix.0 > last && self.missing().is_empty() {
                return;
            }
        }
    }

    /// All that the log has, by number.
    fn held(&mut self) -> BTreeMap<u64, HeldMessage> {
        let mut held = self.remembered.clone();
        let mut recalls: Vec<(String, LogOffset)> = Vec::new();
        let (node, now) = (&mut self.node, &mut self.now);
        node.read_records(now, WHEEL_TOPIC, QueueId(0), |view| {
            let name = Properties::new(view.properties).get(property::TIMER_DEL_UNIQKEY);
            match name {
                Some(name) => recalls.push((name.to_owned(), view.log_offset)),
                None => drop(held.entry(number_of(view)).or_default().waits.insert(view.log_offset)),
            }
        });
        for (topic, queue) in TOPICS.iter().flat_map(|topic| (0..QUEUES).map(move |queue| (topic, queue))) {
            node.read_records(now, topic, QueueId(queue), |view| {
                held.entry(number_of(view)).or_default().copies.insert((view.log_offset, view.store_timestamp));
            });
        }
        for (name, place) in recalls {
            let (topic, unique) = name.split_once("+K").expect("a name");
            let second = u64::from(topic == TOPICS[1]);
            let number = 2 * unique.parse::<u64>().expect("a number") + second;
            held.entry(number).or_default().recalls.insert(place);
        }
        held
    }

    /// What waits or was acknowledged, was not recalled, and was not delivered.
    fn missing(&mut self) -> Vec<u64> {
        let held = self.held();
        let is_delivered = |number: &u64| held.get(number).is_some_and(|held| !held.copies.is_empty());
        let waits = held.iter().filter(|(_, held)| !held.waits.is_empty()).map(|(number, _)| *number);
        let wanted: BTreeSet<u64> = waits.chain(self.acknowledged.iter().copied()).collect();
        wanted.into_iter().filter(|number| !self.recalled.contains(number) && !is_delivered(number)).collect()
    }

    fn check(&mut self) {
        let missing = self.missing();
        assert!(missing.is_empty(), "{} were never delivered: {missing:?}", missing.len());
        for (number, held) in self.held() {
            let asked = usize::try_from(number).ok().and_then(|number| self.asked.get(number).copied());
            let asked = asked.unwrap_or_else(|| panic!("{number} was never sent"));
            let early = held.copies.iter().find(|(_, stored)| *stored < asked);
            assert!(early.is_none(), "{number} asked for {asked}, and was delivered as {early:?}");
            if self.surely_recalled.contains(&number) {
                let recalled = held.recalls.first();
                let recalled = recalled.unwrap_or_else(|| panic!("the recall of {number} is lost"));
                let late = held.copies.iter().find(|(place, _)| place > recalled);
                assert!(late.is_none(), "{number} was recalled at {recalled}, and was delivered as {late:?}");
            }
            self.counts.delivered += u64::from(!held.copies.is_empty());
            self.counts.doubled += (held.copies.len() as u64).saturating_sub(1);
        }
        let doubled = self.counts.doubled;
        assert!(self.counts.ends > 0 || doubled == 0, "{doubled} were delivered twice for nothing");
    }
}

fn topic_of(number: u64) -> &'static str {
    if number.is_multiple_of(2) { TOPICS[0] } else { TOPICS[1] }
}

fn number_of(view: &RecordView<'_>) -> u64 {
    u64::from_be_bytes(*view.body.first_chunk().expect("a number"))
}
