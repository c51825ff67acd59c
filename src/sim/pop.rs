//! Pops in the made-up world: one master, a producer, a consumer that acknowledges in time, late, all at once, asks for longer, or forgets, and an
//! operator who resets where the group goes on and sets the clock, with ends of all kinds in between. What another group does in order is in
//! [`pop_order`](super::pop_order).
//!
//! What is checked: what was acknowledged in time does not come again, as long as that promise outlives all ends; what was popped does not come again
//! before its time is over, and then as a later try; and when all is well again and everything that comes is acknowledged: each message whose send was
//! acknowledged, and whose promise outlived all ends, was acknowledged in time by its consumer. A handle of before an end that may have taken its note
//! proves nothing: what it names may be with somebody else by then. And such an end may take the note that a message was put up for another try, and leave
//! the copy: what was not acknowledged by then may come twice. What a reset passes over need not come, and what it goes back behind may come anew.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{self, SimClient};
use super::node::{NodeEnd, SimNode, life_of, replica_settings, small_flush, small_log};
use super::pop_order::PopsInOrder;
use super::random::Random;
use crate::model::{MonoNs, Now, QueueOffset, Role, UnixMs};
use crate::protocol::code::RequestCode;
use crate::protocol::frame;
use crate::protocol::header::Header;
use crate::protocol::message::{PopHandle, PopOrigin, Properties, REVIVE_GROUP, pop_retry_topic, property};
use crate::protocol::record::{Check, RecordView};

pub(super) const TOPIC: &str = "BenchmarkTest";
pub(super) const QUEUES: u64 = 3;
const GROUP: &str = "G";
/// Longest time for which a message is its consumer's.
pub(super) const INVISIBLE_MS_MAX: u64 = 5_000;

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopRule {
    /// It does.
    Sound,
    /// A start believes that no note is of use.
    ForgetNotes,
    /// A start has lost where the group goes on.
    ForgetOffsets,
    /// The consumer takes an acknowledgement for one in time that was late.
    AckLate,
    /// The consumer believes that its messages are its own for longer than they are.
    HoldLonger,
    /// The consumer never acknowledges some of them.
    KeepSome,
    /// The consumer does not know of resets to the beginning.
    ForgetResets,
    /// Of what is popped in order the consumer believes the same as with `HoldLonger`.
    HoldLongerInOrder,
    /// Nobody is told that the clock was set back.
    ForgetClock,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PopCounts {
    pub sent: u64,
    pub popped: u64,
    pub again: u64,
    pub acked: u64,
    pub late: u64,
    pub changed: u64,
    pub resets: u64,
    pub clock_steps: u64,
    pub acked_in_order: u64,
    pub ends: u64,
    pub power_losses: u64,
}

/// A message as its consumer has it.
#[derive(Clone, Debug)]
pub(super) struct PoppedMessage {
    number: u64,
    topic: String,
    queue: String,
    offset: u64,
    start: u64,
    handle: String,
    tries: i32,
    /// When it is its consumer's no longer, Unix ms.
    due: i64,
    /// Whether no end since can have taken its note.
    is_sure: bool,
}

impl PoppedMessage {
    fn fields(&self) -> [(&str, String); 5] {
        [
            ("consumerGroup", GROUP.to_owned()),
            ("topic", self.topic.clone()),
            ("queueId", self.queue.clone()),
            ("offset", self.offset.to_string()),
            ("extraInfo", self.handle.clone()),
        ]
    }
}

/// What an answer is to.
#[derive(Clone, Debug)]
pub(super) enum AwaitedPop {
    Send(u64),
    Pop,
    /// Of messages, and of each whether it was in time for sure.
    Ack(Vec<(u64, bool)>),
    Change(Box<PoppedMessage>),
    Reset,
    /// Of this queue.
    PopInOrder(u64),
    /// Of this message.
    AckInOrder(u64),
}

/// The world of one master.
pub struct PopWorld {
    pub(super) random: Random,
    pub(super) now: Now,
    pub(super) node: SimNode,
    pub(super) rule: PopRule,
    pub(super) client: SimClient<AwaitedPop>,
    pub(super) pops_in_order: PopsInOrder,
    /// Of each message, whether its send was acknowledged, and the promise has outlived all ends.
    sent: Vec<bool>,
    /// Messages as they were popped last.
    held: Vec<PoppedMessage>,
    /// Of each message, when its last handle ends, and which try that was.
    last: BTreeMap<u64, (i64, i32)>,
    /// Acknowledged in time: they must not come again.
    over: BTreeSet<u64>,
    /// Acknowledged at some time or other: they need not.
    perhaps_over: BTreeSet<u64>,
    /// An end may have left two copies of them.
    perhaps_doubled: BTreeSet<u64>,
    /// What has happened.
    pub counts: PopCounts,
}

impl PopWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: PopRule) -> PopWorld {
        let mut random = Random::new(seed ^ 0x90_F0);
        let flush = small_flush(40, &[10, 500], &mut random);
        let log_settings = small_log(flush, &mut random);
        let settings = replica_settings(false, 1, &mut random);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let node = SimNode::new(0, settings, log_settings, ring_bytes);
        PopWorld {
            node,
            random,
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            rule,
            client: SimClient::new(),
            pops_in_order: PopsInOrder::default(),
            sent: Vec::new(),
            held: Vec::new(),
            last: BTreeMap::new(),
            over: BTreeSet::new(),
            perhaps_over: BTreeSet::new(),
            perhaps_doubled: BTreeSet::new(),
            counts: PopCounts::default(),
        }
    }

    /// Runs so many steps, then pops and acknowledges until nothing comes any more.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        self.start();
        for _ in 0..steps {
            let elapsed_ms = if self.random.percent(3) { self.random.below(1_500) } else { self.random.below(8) };
            self.now = super::later(self.now, elapsed_ms);
            if !self.node.is_up() {
                if self.random.percent(20) {
                    self.start();
                }
                continue;
            }
            match self.random.below(1000) {
                0..80 => self.send_some(),
                80..160 => self.pop(),
                160..250 => self.ack_some(),
                250..270 => self.change_one(),
                270..330 => self.go_on_in_order(),
                330..650 => self.node.work(self.now, &mut self.random),
                650..750 => self.node.tick(self.now),
                750..986 => self.node.meet_deadline(self.now),
                986..988 => self.set_clock(),
                988..991 => self.reset(),
                _ => {
                    let end = NodeEnd::pick(&mut self.random);
                    self.end(end);
                }
            }
            self.collect();
        }
        self.heal();
        for lost in [self.lost(&self.perhaps_over), self.lost(&self.pops_in_order.over)] {
            assert!(lost.is_empty(), "acknowledged as sent, and lost: {lost:?}");
        }
        // All is over, and stays so.
        self.end(NodeEnd::Kill);
        self.start();
        for _ in 0..20 {
            self.settle();
            self.ask_pop(-1, 32, INVISIBLE_MS_MAX, 0);
        }
    }

    fn start(&mut self) {
        let rule = self.rule;
        if matches!(rule, PopRule::ForgetNotes | PopRule::ForgetOffsets) {
            self.node.change_tables(|tables| {
                let pairs = tables.offsets.iter_mut().flat_map(|table| table.offsets.iter_mut());
                for ((_, group), queues) in pairs {
                    match rule {
                        // What lies beyond the end is brought down to it.
                        PopRule::ForgetNotes if group.as_str() == REVIVE_GROUP => {
                            queues.values_mut().for_each(|offset| offset.0 = 1 << 40);
                        }
                        PopRule::ForgetOffsets if group.as_str() == GROUP => queues.clear(),
                        _ => {}
                    }
                }
            });
        }
        self.node.start(self.now, life_of(0, Role::AsyncMaster, None));
        self.client.connect(&mut self.node, self.now);
    }

    fn end(&mut self, end: NodeEnd) {
        self.counts.ends += 1;
        self.counts.power_losses += u64::from(end == NodeEnd::Power);
        if !self.node.survives(end) {
            self.sent.iter_mut().for_each(|sent| *sent = false);
            self.over.clear();
        }
        if end != NodeEnd::Kill {
            // A pop is answered before its note is on the disk.
            self.held.iter_mut().for_each(|held| held.is_sure = false);
            self.last.clear();
            self.perhaps_doubled.extend((0..self.sent.len() as u64).filter(|number| !self.over.contains(number)));
        }
        self.pops_in_order.forget_held();
        // What was asked, and not answered, may have been done.
        for awaited in std::mem::take(&mut self.client.waiting).into_values() {
            match awaited {
                AwaitedPop::Ack(acked) => self.perhaps_over.extend(acked.iter().map(|(number, _)| *number)),
                AwaitedPop::Change(held) => drop(self.last.remove(&held.number)),
                AwaitedPop::AckInOrder(number) => drop(self.pops_in_order.over.insert(number)),
                AwaitedPop::Send(_) | AwaitedPop::Pop | AwaitedPop::Reset | AwaitedPop::PopInOrder(_) => {}
            }
        }
        self.node.end(end, &mut self.random);
    }

    fn send_some(&mut self) {
        for _ in 0..self.random.below(6) {
            if !self.node.takes_input() {
                break;
            }
            let number = self.sent.len() as u64;
            self.sent.push(false);
            let mut body = number.to_be_bytes().to_vec();
            body.resize(8 + self.random.index(300), 7);
            let queue = self.random.below(QUEUES);
            self.counts.sent += 1;
            self.client.ask(&mut self.node, self.now, AwaitedPop::Send(number), |opaque| {
                client::send(opaque, TOPIC, queue, "", &body)
            });
        }
        self.node.end_turn(self.now);
    }

    fn pop(&mut self) {
        let messages = self.random.pick(&[1, 3, 8, 32]);
        let invisible_ms = self.random.pick(&[40, 600, INVISIBLE_MS_MAX]);
        let queue = if self.random.percent(70) { -1 } else { self.random.pick(&[0, 1, 2]) };
        let poll_ms = self.random.pick(&[0, 0, 30, 800]);
        self.ask_pop(queue, messages, invisible_ms, poll_ms);
    }

    fn ask_pop(&mut self, queue: i64, messages: u64, invisible_ms: u64, poll_ms: u64) {
        if !self.node.takes_input() {
            return;
        }
        let numbers = [queue.to_string(), messages.to_string(), invisible_ms.to_string(), poll_ms.to_string()];
        let [queue, messages, invisible, poll] = numbers.each_ref().map(String::as_str);
        let ext = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", queue),
            ("maxMsgNums", messages),
            ("invisibleTime", invisible),
            ("pollTime", poll),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("order", "false"),
        ];
        self.client.ask(&mut self.node, self.now, AwaitedPop::Pop, |opaque| {
            client::request(RequestCode::PopMessage, opaque, &ext, &[])
        });
        self.node.end_turn(self.now);
    }

    /// Acknowledges some of what is held, one by one or those that were popped together at once; some are forgotten.
    fn ack_some(&mut self) {
        for _ in 0..self.random.below(8) {
            if self.held.is_empty() || !self.node.takes_input() {
                break;
            }
            let at = self.random.index(self.held.len());
            let held = self.held.swap_remove(at);
            match self.random.below(10) {
                0 => {}
                1..4 => self.ack_together(held),
                _ => self.ack(&held),
            }
        }
        self.node.end_turn(self.now);
    }

    /// Whether the message is over for good when this is acknowledged now.
    fn is_in_time(&mut self, held: &PoppedMessage) -> bool {
        let is_late = held.due <= self.now.unix.0;
        self.counts.late += u64::from(is_late);
        held.is_sure && (!is_late || self.rule == PopRule::AckLate)
    }

    fn ack(&mut self, held: &PoppedMessage) {
        let about = AwaitedPop::Ack(vec![(held.number, self.is_in_time(held))]);
        let fields = held.fields();
        let ext = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.client
            .ask(&mut self.node, self.now, about, |opaque| client::request(RequestCode::AckMessage, opaque, &ext, &[]));
    }

    fn ack_together(&mut self, held: PoppedMessage) {
        let is_with = |other: &PoppedMessage| {
            (&other.topic, &other.queue, other.start, time_of(&other.handle))
                == (&held.topic, &held.queue, held.start, time_of(&held.handle))
        };
        let (mut together, others): (Vec<PoppedMessage>, Vec<PoppedMessage>) = self.held.drain(..).partition(is_with);
        self.held = others;
        together.push(held.clone());
        let mut bits = Vec::new();
        for one in &together {
            let bit = usize::try_from(one.offset - one.start).expect("near");
            bits.resize(bits.len().max(bit / 8 + 1), 0_u8);
            bits[bit / 8] |= 1 << (bit % 8);
        }
        let bits = base64(&bits);
        let retry = u8::from(held.topic != TOPIC);
        let (queue, start, popped) = (&held.queue, held.start, time_of(&held.handle));
        let body = format!(
            r#"{{"brokerName":"b","acks":[{{"c":"{GROUP}","t":"{TOPIC}","r":"{retry}","so":{start},"q":{queue},"rq":0,"pt":{popped},"it":1,"b":"{bits}"}}]}}"#
        );
        let about = together.iter().map(|one| (one.number, self.is_in_time(one))).collect();
        self.client.ask(&mut self.node, self.now, AwaitedPop::Ack(about), |opaque| {
            client::request(RequestCode::BatchAckMessage, opaque, &[], body.as_bytes())
        });
    }

    fn change_one(&mut self) {
        if self.held.is_empty() || !self.node.takes_input() {
            return;
        }
        let at = self.random.index(self.held.len());
        let held = self.held.swap_remove(at);
        let invisible_ms = self.random.pick(&[40, 600, INVISIBLE_MS_MAX]).to_string();
        let fields = held.fields();
        let ext = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut ext = ext.to_vec();
        ext.push(("invisibleTime", &invisible_ms));
        // Until it is answered nobody knows until when it is held.
        self.last.remove(&held.number);
        self.client.ask(&mut self.node, self.now, AwaitedPop::Change(Box::new(held.clone())), |opaque| {
            client::request(RequestCode::ChangeMessageInvisibletime, opaque, &ext, &[])
        });
        self.node.end_turn(self.now);
    }

    /// Somebody resets where the group goes on, to the end of all queues or to their beginning.
    fn reset(&mut self) {
        if !self.node.takes_input() {
            return;
        }
        let (all, is_back) = (0..self.sent.len() as u64, self.random.percent(20));
        match is_back {
            false => self.perhaps_over.extend(all),
            true if self.rule == PopRule::ForgetResets => {}
            true => self.perhaps_doubled.extend(all),
        }
        self.counts.resets += 1;
        let time = if is_back { "0" } else { "-1" };
        let ext = [("topic", TOPIC), ("group", GROUP), ("timestamp", time), ("isForce", "true")];
        self.client.ask(&mut self.node, self.now, AwaitedPop::Reset, |opaque| {
            client::request(RequestCode::InvokeBrokerToResetOffset, opaque, &ext, &[])
        });
        self.node.end_turn(self.now);
    }

    /// Somebody sets the wall clock. What was popped before it was set back is nobody's at once, or for longer than was asked for.
    fn set_clock(&mut self) {
        let by_ms = i64::try_from(self.random.below(10_000)).expect("small");
        let is_back = self.random.percent(50);
        self.now.unix.0 += if is_back { -by_ms } else { by_ms };
        self.counts.clock_steps += 1;
        if is_back && self.rule != PopRule::ForgetClock {
            self.last.clear();
            self.pops_in_order.forget_held();
            self.held.iter_mut().for_each(|held| held.is_sure = false);
            for awaited in self.client.waiting.values_mut() {
                if let AwaitedPop::Change(held) = awaited {
                    held.is_sure = false;
                }
            }
        }
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
            let is_done = header.code == 0;
            match self.client.answered(header.opaque) {
                AwaitedPop::Send(number) if is_done => {
                    self.sent[usize::try_from(number).expect("few")] = true;
                }
                AwaitedPop::Pop if is_done => self.take(&header, frame.body),
                AwaitedPop::Ack(acked) if is_done => {
                    for (number, is_in_time) in acked {
                        self.perhaps_over.insert(number);
                        if is_in_time && !self.perhaps_doubled.contains(&number) {
                            self.counts.acked += 1;
                            self.over.insert(number);
                        }
                    }
                }
                // It may be done, and be not as safe as was promised.
                AwaitedPop::Ack(acked) => self.perhaps_over.extend(acked.iter().map(|(number, _)| *number)),
                AwaitedPop::Change(held) if is_done => self.hold_anew(*held, &header),
                AwaitedPop::PopInOrder(queue) if is_done => self.take_in_order(queue, &header, frame.body),
                AwaitedPop::AckInOrder(number) if is_done => drop(self.pops_in_order.over.insert(number)),
                _ => {}
            }
            rest = &rest[frame.size..];
        }
    }

    /// Messages have come.
    fn take(&mut self, header: &Header<'_>, body: &[u8]) {
        let field = |name: &str| header.ext.get(name).unwrap_or_default().to_owned();
        let number = |name: &str| field(name).parse::<u64>().expect("a number");
        let popped = i64::try_from(number("popTime")).expect("it is now");
        let (invisible_ms, all_starts) = (number("invisibleTime"), field("startOffsetInfo"));
        let starts: BTreeMap<&str, u64> = all_starts
            .split(';')
            .filter_map(|part| part.rsplit_once(' '))
            .map(|(queue, start)| (queue, start.parse().expect("a number")))
            .collect();
        let mut rest = body;
        while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
            rest = &rest[view.size as usize..];
            let own = Properties::new(view.properties).get(property::POP_CK).map(str::to_owned);
            let origin = if own.is_some() { PopOrigin::Retry } else { PopOrigin::Topic };
            let start = starts[format!("{} {}", origin.text(), view.queue_id).as_str()];
            let handle = own.unwrap_or_else(|| {
                let handle = PopHandle {
                    start: QueueOffset(start),
                    popped: UnixMs(popped),
                    invisible_ms,
                    revive_queue: 0,
                    origin,
                    broker: "b",
                    queue_id: view.queue_id,
                    offset: view.queue_offset,
                };
                handle.to_string()
            });
            let topic = if origin == PopOrigin::Retry { pop_retry_topic(GROUP, TOPIC) } else { TOPIC.to_owned() };
            let longer = if self.rule == PopRule::HoldLonger { 100 } else { 0 };
            self.hold(PoppedMessage {
                number: u64::from_be_bytes(*view.body.first_chunk().expect("a number")),
                topic,
                queue: view.queue_id.to_string(),
                offset: view.queue_offset.0,
                start,
                handle,
                tries: view.reconsume_times,
                due: popped + i64::try_from(invisible_ms).expect("short") + longer,
                is_sure: true,
            });
        }
        assert!(rest.is_empty(), "what is no record is left");
    }

    /// A message has come: checks that it may.
    fn hold(&mut self, held: PoppedMessage) {
        let (number, now) = (held.number, self.now.unix.0);
        self.counts.popped += 1;
        if self.perhaps_doubled.contains(&number) {
            self.held.push(held);
            return;
        }
        assert!(!self.over.contains(&number), "{number} was acknowledged, and came again: {held:?}");
        if let Some((due, tries)) = self.last.insert(number, (held.due, held.tries)) {
            self.counts.again += 1;
            assert!(due <= now, "{number} came again at {now}, and was held until {due}: {held:?}");
            assert!(tries < held.tries, "{number} came again as try {}, and had come as {tries}", held.tries);
        }
        self.held.push(held);
    }

    /// A message is held for another while.
    fn hold_anew(&mut self, held: PoppedMessage, header: &Header<'_>) {
        let field = |name: &str| header.ext.get(name).unwrap_or_default().to_owned();
        let (popped, invisible) = (field("popTime"), field("invisibleTime"));
        let (offset, queue) = (held.offset, &held.queue);
        let retry = u8::from(held.topic != TOPIC);
        let handle = format!("{offset} {popped} {invisible} 0 {retry} b {queue} {offset}");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let due = number(&popped) + number(&invisible);
        self.counts.changed += 1;
        if held.is_sure {
            self.last.insert(held.number, (due, held.tries));
        }
        self.held.push(PoppedMessage { start: offset, handle, due, ..held });
    }

    /// The node runs, and all that comes is acknowledged at once.
    fn heal(&mut self) {
        if !self.node.is_up() {
            self.start();
        }
        self.node.disk.capacity = 1 << 30;
        for round in 1..=500 {
            self.settle();
            for held in std::mem::take(&mut self.held) {
                if self.rule != PopRule::KeepSome || held.number % 20 > 0 {
                    self.ack(&held);
                }
            }
            self.ask_pop(-1, 32, INVISIBLE_MS_MAX, 0);
            self.heal_in_order();
            let is_over = |over: &BTreeSet<u64>| self.lost(over).is_empty();
            if round > 100 && round % 25 == 0 && is_over(&self.perhaps_over) && is_over(&self.pops_in_order.over) {
                return;
            }
        }
    }

    /// Time passes, and the node does what it has to.
    fn settle(&mut self) {
        self.now = super::later(self.now, 80);
        self.node.tick(self.now);
        self.node.settle(self.now, &mut self.random);
        self.node.meet_deadline(self.now);
        self.collect();
    }

    /// What was acknowledged as sent, and no consumer has acknowledged.
    fn lost(&self, over: &BTreeSet<u64>) -> Vec<u64> {
        let sent = self.sent.iter().enumerate().filter(|(_, is_sent)| **is_sent);
        sent.map(|(number, _)| number as u64).filter(|number| !over.contains(number)).collect()
    }
}

/// When what has this handle was popped.
fn time_of(handle: &str) -> &str {
    handle.split(' ').nth(1).unwrap_or_default()
}

/// Bytes as batches of acknowledgements have them.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([0, 0].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for nth in 0..=three.len() {
            text.push(char::from(DIGITS[bits >> (18 - 6 * nth) & 63]));
        }
    }
    text
}
