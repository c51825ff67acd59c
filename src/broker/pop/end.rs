//! What a consumer says of messages that it popped: 200051 and 200151, that they were consumed; 200053, that one is needed for longer.

use super::{Broker, Flight, PopQueue};
use crate::broker::ack::Promise;
use crate::broker::store::busy;
use crate::broker::{Asked, Handled, Output, Refusal};
use crate::limits::POP_INVISIBLE_MS_MAX;
use crate::model::{LogOffset, Now, QueueId, QueueOffset, UnixMs};
use crate::protocol::body::AckedMessages;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{GivenHandle, ORDER_REVIVE_QUEUE, PopNote, PopOrigin, PopTime};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::{AckRequest, ChangeInvisibleRequest};

impl Broker {
    /// ACK_MESSAGE 200051. What is in flight no longer needs no acknowledgement, and gets a success, as with RocketMQ.
    pub(in crate::broker) fn ack_popped(
        &mut self,
        asked: &Asked,
        request: &AckRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let (queue, offset) = self.popped_message(request, |offset, _, end| offset <= end)?;
        let handle = given_handle(request)?;
        self.check_knows_pops()?;
        if handle.revive_queue == ORDER_REVIVE_QUEUE {
            self.ack_in_order(asked.now, &queue, (handle.popped, offset), asked.connection)?;
            self.reply(asked, &Reply::new(ResponseCode::Success), out);
            return Ok(Handled::Done);
        }
        self.check_can_store(true)?;
        let time = PopTime { start: handle.start, popped: handle.popped };
        let at = self.end_messages(asked.now, &queue, time, |other| other == offset)?;
        if at.is_none() && self.next_to_pop(&queue).is_none_or(|next| offset >= next) {
            // A power loss has taken the pop, or it never was. The message will be popped: who hears of success would not expect it.
            let remark = format!("the message at {offset} of {} was not popped", request.topic);
            return Err(Refusal::new(ResponseCode::NoMessage, remark));
        }
        self.answer_ended(asked, at, out);
        Ok(Handled::Done)
    }

    /// BATCH_ACK_MESSAGE 200151. Entries of topics and queues that are not there are passed over, as with RocketMQ, and so is what was never popped: one
    /// answer is for all, and who is refused would not know what of it is done.
    pub(in crate::broker) fn ack_all_popped(
        &mut self,
        asked: &Asked,
        acks: &[AckedMessages],
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if acks.is_empty() {
            return Err(Refusal::new(ResponseCode::NoMessage, ""));
        }
        self.check_knows_pops()?;
        self.check_can_store(true)?;
        let mut end = None;
        for ack in acks {
            let Some(origin) = PopOrigin::parse(&ack.retry) else { continue };
            let topic = origin.topic(ack.group.as_str(), ack.topic.as_str());
            let Some(topic) = self.topics.get(&topic).map(|topic| topic.name.clone()) else { continue };
            let Some(queue_id) = ack.queue_id else { continue };
            let queue = (ack.group.clone(), topic, queue_id);
            if ack.revive_queue == ORDER_REVIVE_QUEUE {
                let popped = ack.time.popped;
                self.ack_all_in_order(asked.now, &queue, popped, |offset| ack.has(offset), asked.connection);
                continue;
            }
            let at = self.end_messages(asked.now, &queue, ack.time, |offset| ack.has(offset))?;
            end = end.max(at);
        }
        self.answer_ended(asked, end, out);
        Ok(Handled::Done)
    }

    /// CHANGE_MESSAGE_INVISIBLETIME 200053. The message has a new name from then on, which begins with its own offset.
    pub(in crate::broker) fn change_invisible(
        &mut self,
        asked: &Asked,
        request: &ChangeInvisibleRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let message = &request.message;
        let (queue, offset) = self.popped_message(message, |offset, _, end| offset < end)?;
        let handle = given_handle(message)?;
        self.check_knows_pops()?;
        if handle.revive_queue == ORDER_REVIVE_QUEUE {
            let invisible_ms = invisible_ms(request.invisible_ms);
            let due = self.change_in_order(asked.now, &queue, (handle.popped, offset), invisible_ms);
            // The handle stays: its times are counted from when it was popped.
            let ext = due.map(|due| {
                [
                    ("popTime", ExtValue::I64(handle.popped.0)),
                    ("invisibleTime", ExtValue::I64(due.saturating_sub(handle.popped.0))),
                    ("reviveQid", ExtValue::I64(i64::from(ORDER_REVIVE_QUEUE))),
                ]
            });
            self.reply(asked, &Reply::fields(ext.as_ref().map_or(&[][..], |ext| &ext[..])), out);
            return Ok(Handled::Done);
        }
        self.check_can_store(true)?;
        let time = PopTime { start: handle.start, popped: handle.popped };
        let flight = self
            .pops
            .flights
            .find(&queue, time)
            .filter(|note| self.pops.flights.get(*note).is_some_and(|flight| flight.open.contains(&offset)));
        let Some(flight) = flight else {
            let remark = format!("the message at {offset} of {} is not in flight any more", message.topic);
            return Err(Refusal::new(ResponseCode::NoMessage, remark));
        };
        let invisible_ms = invisible_ms(request.invisible_ms);
        // A name is used once.
        let mut again =
            PopTime { start: offset, popped: UnixMs(asked.now.unix.0.max(time.popped.0.saturating_add(1))) };
        while self.pops.flights.find(&queue, again).is_some() {
            again.popped.0 = again.popped.0.saturating_add(1);
        }
        let place = super::place_of(&queue);
        let stored = self.note_pop(asked.now, &PopNote::Changed { place, time, invisible_ms, again })?;
        self.pops.flights.end(flight, |other| other == offset);
        self.pops.flights.insert(stored.queue_offset, Flight::new(queue, again, invisible_ms, vec![offset]));
        let promise = Promise::relied_on(stored.end);
        let ext = [
            ("popTime", ExtValue::I64(again.popped.0)),
            ("invisibleTime", ExtValue::I64(i64::try_from(invisible_ms).unwrap_or(i64::MAX))),
            ("reviveQid", ExtValue::I64(i64::from(handle.revive_queue))),
        ];
        self.answer(asked, promise, out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::fields(&ext), frame);
        });
        Ok(Handled::Done)
    }

    /// Answers that messages are in flight no longer, when that is as safe as promised. One that was acknowledged before waits for that as well.
    fn answer_ended(&mut self, asked: &Asked, at: Option<LogOffset>, out: &mut Output) {
        let at = at.unwrap_or_else(|| self.log.appended());
        let promise = Promise::relied_on(at);
        self.answer(asked, promise, out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::new(ResponseCode::Success), frame);
        });
    }

    /// Notes that messages which were popped together are in flight no longer. Where the log ends behind that; `None` if none of them was.
    ///
    /// # Errors
    /// The log takes nothing now; nothing has changed.
    fn end_messages(
        &mut self,
        now: Now,
        queue: &PopQueue,
        time: PopTime,
        is_over: impl Fn(QueueOffset) -> bool,
    ) -> Result<Option<LogOffset>, Refusal> {
        let Some(flight) = self.pops.flights.find(queue, time) else { return Ok(None) };
        let open = self.pops.flights.get(flight).map(|flight| flight.open.as_slice()).unwrap_or_default();
        let offsets: Vec<QueueOffset> = open.iter().copied().filter(|offset| is_over(*offset)).collect();
        if offsets.is_empty() {
            return Ok(None);
        }
        let note = PopNote::Ended { place: super::place_of(queue), time, offsets };
        let stored = self.note_pop(now, &note)?;
        self.pops.flights.end(flight, is_over);
        Ok(Some(stored.end))
    }

    /// The queue and the offset that a request is about, checked as RocketMQ does; `is_within` has the offset, and the first and the end of the queue.
    fn popped_message(
        &self,
        request: &AckRequest<'_>,
        is_within: impl Fn(QueueOffset, QueueOffset, QueueOffset) -> bool,
    ) -> Result<(PopQueue, QueueOffset), Refusal> {
        let name = request.topic;
        let Some(topic) = self.topics.get(name) else {
            let remark = format!("topic[{name}] not exist, apply first please!");
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        let read_queues = topic.config.read_queues;
        let Some(queue_id) = request.queue_id.filter(|queue| queue.0 < read_queues) else {
            let queue = request.queue_id.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
            let remark =
                format!("queueId[{queue}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{read_queues}]");
            return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
        };
        let (min, max) = self.ends_of(name, queue_id);
        let Some(offset) = request.offset.filter(|offset| *offset >= min && is_within(*offset, min, max)) else {
            let offset = request.offset.map_or_else(|| "-1".to_owned(), |offset| offset.to_string());
            let remark = format!("offset is illegal, key:{name}@{queue_id}, commit:{offset}, store:{min}~{max}");
            return Err(Refusal::new(ResponseCode::NoMessage, remark));
        };
        let group = self.groups.get(request.group).map_or_else(|| request.group.into(), |group| group.name.clone());
        Ok(((group, topic.name.clone(), queue_id), offset))
    }

    fn ends_of(&self, topic: &str, queue_id: QueueId) -> (QueueOffset, QueueOffset) {
        let bounds = self.log.find_queue(topic, queue_id).map(|queue| self.log.bounds(queue));
        bounds.map_or((QueueOffset(0), QueueOffset(0)), |bounds| (bounds.min, bounds.max))
    }

    /// Refuses while the notes of former lives are still being read.
    pub(super) fn check_knows_pops(&self) -> Result<(), Refusal> {
        if self.pops.is_known() { Ok(()) } else { Err(busy()) }
    }
}

fn given_handle(request: &AckRequest<'_>) -> Result<GivenHandle, Refusal> {
    request.handle.ok_or_else(|| Refusal::new(ResponseCode::SystemError, "extraInfo is not what a pop has handed out"))
}

/// For how long a message is its consumer's that asks for so many milliseconds. The answer says it.
pub(super) fn invisible_ms(asked: i64) -> u64 {
    u64::try_from(asked).unwrap_or(0).min(POP_INVISIBLE_MS_MAX)
}
