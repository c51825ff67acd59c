//! Pops in order (`order=true`): of a queue one consumer of a group has messages at a time, and the next ones come when it has acknowledged those.
//!
//! State of the shard, in memory: which messages of a queue are out. Where the group goes on is its committed offset, which moves with acknowledgements up
//! to the first message that was not acknowledged: when its time is over that comes again, with all that is behind it. So nothing is noted, and no copy
//! goes to a retry topic. A life that begins knows of no consumer, and hands out again at once what was not acknowledged. Source: RocketMQ
//! `ConsumerOrderInfoManager`, `AckMessageProcessor.ackOrderly`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::ControlFlow;

use super::take::{Pop, PopBatch, PopEnd, PopRead, PopSource};
use super::{Broker, PopQueue};
use crate::broker::Refusal;
use crate::limits::{POP_IN_ORDER_MAX, PULL_BYTES_MAX};
use crate::model::{ConnectionId, Now, QueueOffset, UnixMs};
#[cfg(test)]
use crate::model::{GroupName, QueueId, TopicName};
use crate::protocol::code::ResponseCode;
use crate::protocol::record::{Check, RecordView};

/// A message that is out.
#[derive(Clone, Copy, Debug)]
struct OutMessage {
    offset: QueueOffset,
    is_acked: bool,
    /// When it is its consumer's no longer, Unix ms.
    due: i64,
    /// How often it had been out before.
    tries: u32,
}

/// Messages of one queue that were popped together; one of them at least is not acknowledged.
#[derive(Clone, Debug)]
struct OutMessages {
    popped: UnixMs,
    /// By which a client that has lost the answer has it again.
    attempt: Option<String>,
    /// Ascending.
    messages: Vec<OutMessage>,
    /// When its end is told, Unix ms.
    ends: i64,
}

impl OutMessages {
    /// The first message that was not acknowledged; `None` if all were.
    fn first(&self) -> Option<QueueOffset> {
        self.messages.iter().find(|message| !message.is_acked).map(|message| message.offset)
    }

    /// When nobody has any of it any more, Unix ms.
    fn end(&self) -> i64 {
        self.messages.iter().filter(|message| !message.is_acked).map(|message| message.due).max().unwrap_or(i64::MIN)
    }
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckedInOrder {
    /// The group goes on there.
    Next(QueueOffset),
    /// It was popped again since.
    Older,
    /// Other messages are out.
    NotThis,
    /// None are.
    Nothing,
}

/// The messages of a shard that are out in order.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    queues: BTreeMap<PopQueue, OutMessages>,
    ends: BTreeSet<(i64, PopQueue)>,
}

impl InOrder {
    /// Whether messages of the queue from `from` on, where its group goes on, are somebody's.
    pub(super) fn is_out(&mut self, queue: &PopQueue, from: QueueOffset, attempt: Option<&str>, now: UnixMs) -> bool {
        let Some(out) = self.queues.get(queue) else { return false };
        if out.first() != Some(from) {
            // It was reset, or begun anew.
            self.remove(queue);
            return false;
        }
        let is_same = attempt.is_some() && out.attempt.as_deref() == attempt;
        !is_same && out.end() > now.0
    }

    /// Whether messages of one more queue may be out.
    fn has_room(&mut self, queue: &PopQueue, now: UnixMs) -> bool {
        // Those whose end was told have none in `ends`.
        let has_ended = self.queues.len() > self.ends.len() || self.next_end().is_some_and(|end| end <= now.0);
        if self.queues.len() >= POP_IN_ORDER_MAX && has_ended && !self.queues.contains_key(queue) {
            // How often messages had been out is forgotten of those that nobody has.
            self.queues.retain(|_, out| out.end() > now.0);
            self.ends.retain(|(end, _)| *end > now.0);
        }
        self.queues.len() < POP_IN_ORDER_MAX || self.queues.contains_key(queue)
    }

    /// Messages are out. How often each had been before.
    fn hand_out(
        &mut self,
        queue: &PopQueue,
        (popped, invisible_ms): (UnixMs, u64),
        attempt: Option<&str>,
        offsets: &[QueueOffset],
    ) -> Vec<u32> {
        let before = self.remove(queue);
        let is_same = attempt.is_some() && before.as_ref().is_some_and(|out| out.attempt.as_deref() == attempt);
        let tries_of = |offset: QueueOffset| {
            let known = before.iter().flat_map(|out| &out.messages).find(|message| message.offset == offset);
            known.map_or(0, |message| if is_same { message.tries } else { message.tries.saturating_add(1) })
        };
        let due = popped.0.saturating_add(i64::try_from(invisible_ms).unwrap_or(i64::MAX));
        let message =
            |offset: &QueueOffset| OutMessage { offset: *offset, is_acked: false, due, tries: tries_of(*offset) };
        let messages: Vec<OutMessage> = offsets.iter().map(message).collect();
        let tries = messages.iter().map(|message| message.tries).collect();
        self.put(queue, OutMessages { popped, attempt: attempt.map(str::to_owned), messages, ends: due });
        tries
    }

    fn ack(&mut self, queue: &PopQueue, popped: UnixMs, offset: QueueOffset) -> AckedInOrder {
        let Some(out) = self.queues.get(queue) else { return AckedInOrder::Nothing };
        if out.popped != popped {
            return AckedInOrder::Older;
        }
        let Some(mut out) = self.remove(queue) else { return AckedInOrder::Nothing };
        let found = out.messages.iter_mut().find(|message| message.offset == offset);
        let is_found = found.map(|message| message.is_acked = true).is_some();
        let next = match (out.first(), out.messages.last()) {
            (None, Some(last)) => return AckedInOrder::Next(last.offset.plus(1)),
            (first, _) => first,
        };
        self.put(queue, out);
        next.filter(|_| is_found).map_or(AckedInOrder::NotThis, AckedInOrder::Next)
    }

    /// One of them is its consumer's until then.
    fn hold_until(&mut self, queue: &PopQueue, popped: UnixMs, offset: QueueOffset, due: i64) {
        if self.queues.get(queue).is_none_or(|out| out.popped != popped) {
            return;
        }
        let Some(mut out) = self.remove(queue) else { return };
        if let Some(message) = out.messages.iter_mut().find(|message| message.offset == offset) {
            message.due = due;
        }
        self.put(queue, out);
    }

    /// Behind the last message of a queue that is somebody's.
    pub(super) fn out_until(&self, queue: &PopQueue, now: UnixMs) -> Option<QueueOffset> {
        let out = self.queues.get(queue).filter(|out| out.end() > now.0)?;
        out.messages.last().map(|message| message.offset.plus(1))
    }

    /// The offsets that are out of a queue.
    fn offsets(&self, queue: &PopQueue) -> Vec<QueueOffset> {
        self.queues.get(queue).map_or_else(Vec::new, |out| out.messages.iter().map(|message| message.offset).collect())
    }

    fn put(&mut self, queue: &PopQueue, mut out: OutMessages) {
        out.ends = out.end();
        self.ends.insert((out.ends, queue.clone()));
        self.queues.insert(queue.clone(), out);
    }

    fn remove(&mut self, queue: &PopQueue) -> Option<OutMessages> {
        let out = self.queues.remove(queue)?;
        self.ends.remove(&(out.ends, queue.clone()));
        Some(out)
    }

    /// Of how many queues messages are known to be, or to have been, out.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Messages of as many queues are out as may be.
    #[cfg(test)]
    pub(super) fn fill(&mut self, now: UnixMs) {
        for number in 0..u32::MAX {
            let queue = (GroupName::from("other"), TopicName::from("other"), QueueId(number));
            if !self.has_room(&queue, now) {
                return;
            }
            self.hand_out(&queue, (now, 1_000), None, &[QueueOffset(0)]);
        }
    }

    /// When messages are nobody's next, Unix ms.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// A queue whose messages are nobody's any more, each once.
    fn take_ended(&mut self, now: UnixMs) -> Option<PopQueue> {
        let (end, _) = self.ends.first()?;
        if *end > now.0 {
            return None;
        }
        self.ends.pop_first().map(|(_, queue)| queue)
    }

    /// A topic is gone. There are as many as queues of which messages are out.
    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.queues.retain(|(_, other, _), _| other.as_str() != topic);
        self.ends.retain(|(_, (_, other, _))| other.as_str() != topic);
    }
}

impl Broker {
    /// Takes from a queue in order, if nobody has messages of it.
    pub(super) fn pop_in_order(
        &mut self,
        now: Now,
        pop: &Pop,
        source: &PopSource,
        batch: &mut PopBatch,
    ) -> ControlFlow<PopEnd> {
        batch.queues += 1;
        let bounds = self.log.bounds(source.index);
        let mut from = match self.pop_begins_at(pop, source) {
            Ok(Some(from)) => from.max(bounds.min),
            Ok(None) => return ControlFlow::Continue(()),
            Err(block) => return ControlFlow::Break(PopEnd::Cold(block)),
        };
        if from > bounds.appended_max {
            from = bounds.max;
        }
        self.go_on_in_order(now, &source.queue, from);
        let left = |from: QueueOffset| bounds.max.0.saturating_sub(from.0);
        if batch.messages >= pop.messages_max || batch.records.len() >= PULL_BYTES_MAX {
            batch.rest += left(from);
            return ControlFlow::Break(PopEnd::Full);
        }
        let (in_order, attempt) = (&mut self.pops.in_order, pop.attempt.as_deref());
        // What is left behind messages that are out does not count, as with RocketMQ.
        if in_order.is_out(&source.queue, from, attempt, now.unix) {
            return ControlFlow::Continue(());
        }
        if !in_order.has_room(&source.queue, now.unix) {
            batch.lacks_room |= from < bounds.max;
            return ControlFlow::Continue(());
        }
        let start = from;
        match self.read_to_pop(pop, source, &mut from, batch) {
            PopRead::Found { next, before } => {
                batch.rest += left(next);
                self.hand_out_in_order(now, pop, source, before, batch);
                return ControlFlow::Continue(());
            }
            PopRead::Cold(block) => {
                self.go_on_in_order(now, &source.queue, from);
                return ControlFlow::Break(PopEnd::Cold(block));
            }
            PopRead::Nothing => {}
        }
        self.go_on_in_order(now, &source.queue, from);
        batch.rest += left(from);
        batch.is_moved |= from > start && from < bounds.max;
        ControlFlow::Continue(())
    }

    fn hand_out_in_order(&mut self, now: Now, pop: &Pop, source: &PopSource, before: usize, batch: &mut PopBatch) {
        let read = batch.records.split_off(before);
        let mut offsets = Vec::new();
        let mut rest = &read[..];
        while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
            rest = rest.get(view.size as usize..).unwrap_or_default();
            offsets.push(view.queue_offset);
        }
        let Some(first) = offsets.first().copied() else { return };
        // What stands before it is not wanted.
        self.go_on_in_order(now, &source.queue, first);
        let (time, attempt) = ((batch.popped, pop.invisible_ms), pop.attempt.as_deref());
        let tries = self.pops.in_order.hand_out(&source.queue, time, attempt, &offsets);
        let queue_id = source.queue.2;
        batch.name(source.origin, queue_id, first, &offsets);
        batch.messages += offsets.len();
        let origin = source.origin.text();
        let least = tries.iter().min().copied().unwrap_or(0);
        let told = offsets.iter().zip(&tries).filter(|(_, tries)| **tries > 0);
        // Writing to a text does not fail.
        for (offset, tries) in told {
            let separator = if batch.counts.is_empty() { "" } else { ";" };
            let _ = write!(batch.counts, "{separator}{origin} qo{queue_id}%{offset} {tries}");
        }
        let separator = if batch.counts.is_empty() { "" } else { ";" };
        let _ = write!(batch.counts, "{separator}{origin} {queue_id} {least}");
        self.note_got(now.mono, (source.index, &source.queue.1, &pop.group), offsets.len() as u64, &read);
        batch.records.unsplit(read);
    }

    /// An acknowledgement of what was popped in order.
    pub(super) fn ack_in_order(
        &mut self,
        now: Now,
        queue: &PopQueue,
        (popped, offset): (UnixMs, QueueOffset),
        connection: ConnectionId,
    ) -> Result<(), Refusal> {
        let committed = self.next_to_pop(queue).unwrap_or_default();
        if offset < committed {
            return Ok(());
        }
        match self.pops.in_order.ack(queue, popped, offset) {
            AckedInOrder::Next(next) => {
                self.go_on_in_order(now, queue, next);
                self.wake_in_order(now, queue);
            }
            // Of a life before; what stands before it comes again, and it with that.
            AckedInOrder::Nothing if offset == committed => self.go_on_in_order(now, queue, offset.plus(1)),
            AckedInOrder::Nothing | AckedInOrder::Older => {}
            AckedInOrder::NotThis => {
                let ((group, topic, queue_id), peer) = (queue, self.peer(connection));
                let remark = format!(
                    "offset is illegal, key:{topic}@{group}@{queue_id}, old:{committed}, commit:{offset}, next:-1, {peer}"
                );
                return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
            }
        }
        Ok(())
    }

    /// The same of several at once: which of them are out is known here.
    pub(super) fn ack_all_in_order(
        &mut self,
        now: Now,
        queue: &PopQueue,
        popped: UnixMs,
        is_acked: impl Fn(QueueOffset) -> bool,
        connection: ConnectionId,
    ) {
        let mut offsets = self.pops.in_order.offsets(queue);
        if offsets.is_empty() {
            offsets.extend(self.next_to_pop(queue));
        }
        for offset in offsets.into_iter().filter(|offset| is_acked(*offset)) {
            // It is out, or where the group goes on: neither is refused.
            let _ = self.ack_in_order(now, queue, (popped, offset), connection);
        }
    }

    /// Of what was popped in order one message is its consumer's for longer, or shorter. Until when, Unix ms; `None` if it was acknowledged.
    pub(super) fn change_in_order(
        &mut self,
        now: Now,
        queue: &PopQueue,
        (popped, offset): (UnixMs, QueueOffset),
        invisible_ms: u64,
    ) -> Option<i64> {
        if offset < self.next_to_pop(queue).unwrap_or_default() {
            return None;
        }
        let due = now.unix.0.saturating_add(i64::try_from(invisible_ms).unwrap_or(i64::MAX));
        self.pops.in_order.hold_until(queue, popped, offset, due);
        Some(due)
    }

    /// Queues whose messages are nobody's any more: those who wait for them have their turn.
    pub(super) fn end_in_order(&mut self, now: Now) {
        while let Some(queue) = self.pops.in_order.take_ended(now.unix) {
            self.wake_in_order(now, &queue);
        }
    }

    fn wake_in_order(&mut self, now: Now, queue: &PopQueue) {
        let (_, topic, queue_id) = queue;
        let from = self.next_to_pop(queue).unwrap_or_default();
        if let Some(index) = self.log.find_queue(topic.as_str(), *queue_id)
            && !self.pops.in_order.is_out(queue, from, None, now.unix)
        {
            self.pops.queue_has_grown(index);
        }
    }

    /// A group goes on there, unless it does so already.
    fn go_on_in_order(&mut self, now: Now, queue: &PopQueue, next: QueueOffset) {
        let (group, topic, queue_id) = queue;
        if self.next_to_pop(queue) == Some(next) {
            return;
        }
        if !self.offsets.commit(group.as_str(), topic.as_str(), *queue_id, next) {
            tracing::warn!(%group, %topic, "the table of consumer offsets is full: where a group goes on is not kept");
        }
        self.note_set_backs(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixMs = UnixMs(1_000);

    fn queue() -> PopQueue {
        (GroupName::from("g"), TopicName::from("t"), QueueId(0))
    }

    fn offsets(numbers: &[u64]) -> Vec<QueueOffset> {
        numbers.iter().copied().map(QueueOffset).collect()
    }

    #[test]
    fn a_queue_is_one_consumer_s_until_all_is_acknowledged_or_its_time_is_over() {
        let (mut in_order, queue) = (InOrder::default(), queue());
        assert!(!in_order.is_out(&queue, QueueOffset(5), None, T0));
        assert_eq!(in_order.hand_out(&queue, (T0, 100), Some("a"), &offsets(&[5, 7])), [0, 0]);
        let is_out = |in_order: &mut InOrder, from, attempt, now| {
            in_order.is_out(&self::queue(), QueueOffset(from), attempt, UnixMs(now))
        };
        assert!(is_out(&mut in_order, 5, None, 1_099) && is_out(&mut in_order, 5, Some("b"), 1_099));
        assert!(!is_out(&mut in_order, 5, Some("a"), 1_099), "it asks for the same again");
        assert_eq!(in_order.ack(&queue, UnixMs(999), QueueOffset(5)), AckedInOrder::Older);
        assert_eq!(in_order.ack(&queue, T0, QueueOffset(6)), AckedInOrder::NotThis);
        assert_eq!(in_order.ack(&queue, T0, QueueOffset(7)), AckedInOrder::Next(QueueOffset(5)));
        assert!(is_out(&mut in_order, 5, None, 1_099));
        assert_eq!(in_order.ack(&queue, T0, QueueOffset(5)), AckedInOrder::Next(QueueOffset(8)));
        assert_eq!((in_order.next_end(), in_order.ack(&queue, T0, QueueOffset(5))), (None, AckedInOrder::Nothing));
    }

    #[test]
    fn what_comes_again_is_counted_and_a_reset_ends_it() {
        let (mut in_order, queue) = (InOrder::default(), queue());
        in_order.hand_out(&queue, (T0, 100), None, &offsets(&[5, 6]));
        in_order.hold_until(&queue, T0, QueueOffset(6), 1_500);
        assert_eq!(in_order.next_end(), Some(1_500));
        assert!(in_order.is_out(&queue, QueueOffset(5), None, UnixMs(1_499)), "one of them is somebody's");
        assert!(in_order.take_ended(UnixMs(1_499)).is_none());
        assert_eq!(in_order.take_ended(UnixMs(1_500)), Some(queue.clone()));
        assert!(in_order.take_ended(UnixMs(1_500)).is_none(), "once");
        assert_eq!(in_order.hand_out(&queue, (UnixMs(1_600), 100), Some("a"), &offsets(&[5, 6, 7])), [1, 1, 0]);
        assert_eq!(in_order.hand_out(&queue, (UnixMs(1_600), 100), Some("a"), &offsets(&[5, 6, 7])), [1, 1, 0]);
        assert_eq!(in_order.hand_out(&queue, (UnixMs(1_800), 100), None, &offsets(&[5, 6])), [2, 2]);
        assert!(!in_order.is_out(&queue, QueueOffset(0), None, UnixMs(1_801)), "the group begins anew");
        assert_eq!((in_order.next_end(), in_order.queues.len()), (None, 0));
    }

    #[test]
    fn a_topic_takes_what_is_out_with_it_and_there_is_an_end_of_room() {
        let mut in_order = InOrder::default();
        for number in 0..POP_IN_ORDER_MAX {
            let queue = (GroupName::from("g"), TopicName::from("t"), QueueId(u32::try_from(number).expect("few")));
            assert!(in_order.has_room(&queue, T0));
            in_order.hand_out(&queue, (T0, 100), None, &offsets(&[0]));
        }
        let one_more = (GroupName::from("h"), TopicName::from("t"), QueueId(0));
        assert!(!in_order.has_room(&one_more, UnixMs(1_099)) && in_order.has_room(&queue(), T0));
        assert!(in_order.has_room(&one_more, UnixMs(1_100)), "what nobody has is forgotten");
        in_order.hand_out(&one_more, (T0, 100), None, &offsets(&[0]));
        in_order.forget_topic("t");
        assert_eq!((in_order.queues.len(), in_order.ends.len()), (0, 0));
    }
}
