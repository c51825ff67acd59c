//! Pops in order in the made-up world: another group, whose consumers have one queue at a time each, acknowledge all that they have, or forget it.
//!
//! What is checked: nothing is passed over that was not acknowledged; what is one consumer's is not another's before its time; and in the end each
//! message was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::client;
use super::pop::{AwaitedPop, INVISIBLE_MS_MAX, PopRule, PopWorld, QUEUES, TOPIC};
use crate::protocol::code::RequestCode;
use crate::protocol::header::Header;
use crate::protocol::record::{Check, RecordView};

const GROUP: &str = "O";

/// Messages of one queue that are a consumer's.
#[derive(Clone, Debug)]
struct HeldInOrder {
    /// Offsets and numbers.
    messages: Vec<(u64, u64)>,
    popped: String,
    /// When they are its no longer, Unix ms.
    due: i64,
}

/// What the group has had.
#[derive(Debug, Default)]
pub(super) struct PopsInOrder {
    held: BTreeMap<u64, HeldInOrder>,
    /// Offsets of each queue that may have been acknowledged.
    acked: BTreeMap<u64, BTreeSet<u64>>,
    /// Messages that may have been.
    pub(super) over: BTreeSet<u64>,
}

impl PopsInOrder {
    /// Nobody knows any more what is whose.
    pub(super) fn forget_held(&mut self) {
        self.held.clear();
    }
}

impl PopWorld {
    pub(super) fn ask_in_order(&mut self, queue: u64, invisible_ms: u64) {
        if !self.node.takes_input() {
            return;
        }
        let numbers = [queue.to_string(), self.random.pick(&[1, 5, 32]).to_string(), invisible_ms.to_string()];
        let [queue_id, messages, invisible] = numbers.each_ref().map(String::as_str);
        let ext = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", queue_id),
            ("maxMsgNums", messages),
            ("invisibleTime", invisible),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("order", "true"),
        ];
        self.client.ask(&mut self.node, self.now, AwaitedPop::PopInOrder(queue), |opaque| {
            client::request(RequestCode::PopMessage, opaque, &ext, &[])
        });
        self.node.end_turn(self.now);
    }

    /// A consumer asks for some of a queue, or acknowledges all that it has of it, or forgets that.
    pub(super) fn go_on_in_order(&mut self) {
        let queue = self.random.below(QUEUES);
        if !self.pops_in_order.held.contains_key(&queue) || self.random.percent(30) {
            let invisible_ms = self.random.pick(&[40, 600, INVISIBLE_MS_MAX]);
            self.ask_in_order(queue, invisible_ms);
        } else if self.random.percent(80) {
            self.ack_in_order(queue);
        }
    }

    /// Acknowledges what is held of a queue, not always in its order.
    pub(super) fn ack_in_order(&mut self, queue: u64) {
        let Some(mut held) = self.pops_in_order.held.get(&queue).cloned() else { return };
        if self.random.percent(50) {
            held.messages.reverse();
        }
        let start = held.messages.iter().map(|(offset, _)| *offset).min().unwrap_or_default();
        for (offset, number) in held.messages {
            if !self.node.takes_input() {
                return;
            }
            self.pops_in_order.acked.entry(queue).or_default().insert(offset);
            let (queue, popped) = (queue.to_string(), &held.popped);
            let (offset, handle) = (offset.to_string(), format!("{start} {popped} 1 999 0 b {queue} {offset}"));
            let ext = [
                ("consumerGroup", GROUP),
                ("topic", TOPIC),
                ("queueId", queue.as_str()),
                ("offset", offset.as_str()),
                ("extraInfo", handle.as_str()),
            ];
            self.client.ask(&mut self.node, self.now, AwaitedPop::AckInOrder(number), |opaque| {
                client::request(RequestCode::AckMessage, opaque, &ext, &[])
            });
            self.counts.acked_in_order += 1;
        }
        self.pops_in_order.held.remove(&queue);
        self.node.end_turn(self.now);
    }

    /// Messages of a queue have come.
    pub(super) fn take_in_order(&mut self, queue: u64, header: &Header<'_>, body: &[u8]) {
        let field = |name: &str| header.ext.get(name).unwrap_or_default().to_owned();
        let (popped, invisible) = (field("popTime"), field("invisibleTime"));
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let (mut rest, mut messages) = (body, Vec::new());
        while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
            rest = &rest[view.size as usize..];
            messages.push((view.queue_offset.0, u64::from_be_bytes(*view.body.first_chunk().expect("a number"))));
        }
        let first = messages.first().map(|(offset, _)| *offset).expect("it has found some");
        if let Some(before) = self.pops_in_order.held.get(&queue) {
            let now = self.now.unix.0;
            assert!(before.due <= now, "queue {queue} is somebody's until {}, and was popped at {now}", before.due);
        }
        let acked = self.pops_in_order.acked.entry(queue).or_default();
        let missed = (0..first).find(|offset| !acked.contains(offset));
        assert!(missed.is_none(), "{missed:?} of queue {queue} was never acknowledged, and {first} comes");
        let longer = if self.rule == PopRule::HoldLongerInOrder { 100 } else { 0 };
        let due = number(&popped) + number(&invisible) + longer;
        self.pops_in_order.held.insert(queue, HeldInOrder { messages, popped, due });
    }

    /// All that comes is acknowledged at once.
    pub(super) fn heal_in_order(&mut self) {
        for queue in 0..QUEUES {
            self.ack_in_order(queue);
            self.ask_in_order(queue, INVISIBLE_MS_MAX);
        }
    }
}
