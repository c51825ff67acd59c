//! Pops: messages of a topic's queues, and of its pop retry topic, for a while; and pops that wait until there are some.
//!
//! A pop looks at the queues one after the other, from another one on each time, until it has as many messages as it wants. What it takes from one is
//! noted before it is answered; whoever takes the answer's place after a crash finds the note. A message that is tried again is told under the topic that
//! was asked for, with its handle as a property, since stock clients acknowledge by what they find there. Source: RocketMQ `PopMessageProcessor`.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::BytesMut;

use super::end::invisible_ms;
use super::look::answer_word;
use super::{Broker, Flight, PopQueue};
use crate::broker::filter::MessageFilter;
use crate::broker::group::check_is_clients;
use crate::broker::hold::{HoldId, Turn};
use crate::broker::pull::HoldBudget;
use crate::broker::store::NotStored;
use crate::broker::{Asked, Handled, Output, Refusal, topic};
use crate::limits::{HOLD_MS_MAX, POP_MESSAGES_MAX, POP_QUEUES_MAX, POP_UNPROMISED_MAX, PULL_BYTES_MAX};
use crate::log::{BlockId, QueueIndex, Read, ReadLimits};
use crate::model::{GroupName, MonoNs, Now, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::body::DataVersion;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    ORDER_REVIVE_QUEUE, PopHandle, PopNote, PopOrigin, PopTime, append_property, check_topic, is_revive_topic,
    pop_retry_topic, property, without_property,
};
use crate::protocol::record::{Check, Marks, Place, RecordDraft, RecordView, Sized};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::{PopFrom, PopRequest};
use crate::said::BY_STRANGERS;

/// How much later than its time a request may come. Source: RocketMQ `PopMessageRequestHeader.isTimeoutTooMuch`.
const LATE_MS_MAX: i64 = 500;

/// How often one pop reads on in a queue in which nothing matched. With that it looks at as many messages as some pulls.
const READS_PER_QUEUE: usize = 4;

/// Longest `attemptId`. RocketMQ's proxy has UUIDs.
const ATTEMPT_BYTES_MAX: usize = 128;

/// Looking whether a queue has anything costs as much as looking at so many bytes.
const QUEUE_LOOK_BYTES: usize = 64;

/// What whoever waits for messages gets when there are some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PopWants {
    /// What it wants of them, as its own for a while.
    Messages,
    /// Word that there are some: it is not a pop, and takes nothing (200054).
    Word,
}

/// A pop whose checks are passed.
#[derive(Clone, Debug)]
pub(super) struct Pop {
    pub(super) asked: Asked,
    pub(super) wants: PopWants,
    pub(super) group: GroupName,
    pub(super) topic: TopicName,
    /// Its pop retry topics.
    pub(super) retries: Vec<(TopicName, PopOrigin)>,
    pub(super) queue_id: Option<QueueId>,
    pub(super) messages_max: usize,
    pub(super) invisible_ms: u64,
    from: PopFrom,
    pub(super) filter: Arc<MessageFilter>,
    pub(super) is_ordered: bool,
    /// Of a pop in order: who asks again by this name has the same messages again.
    pub(super) attempt: Option<String>,
    /// When it is answered with nothing, Unix ms.
    ends: i64,
    /// The version of the groups' table by which it was allowed.
    allowed_by: DataVersion,
}

/// What one pop has found.
pub(super) struct PopBatch {
    pub(super) popped: UnixMs,
    /// Records, as they are answered.
    pub(super) records: BytesMut,
    pub(super) messages: usize,
    /// Whether they were taken in order, and then `orderCountInfo`.
    is_ordered: bool,
    pub(super) counts: String,
    /// `startOffsetInfo` and `msgOffsetInfo`.
    starts: String,
    offsets: String,
    /// How many messages are left behind what was found.
    pub(super) rest: u64,
    /// Where the group goes on has moved without a message, and there is more behind.
    pub(super) is_moved: bool,
    /// Something was found in order, and messages of no further queue may be out.
    pub(super) lacks_room: bool,
    pub(super) queues: usize,
}

/// Why a pop looks at no further queue.
pub(super) enum PopEnd {
    /// It has enough.
    Full,
    Cold(BlockId),
    NotStored(NotStored),
}

/// A queue that a pop looks at.
pub(super) struct PopSource {
    pub(super) queue: PopQueue,
    pub(super) index: QueueIndex,
    pub(super) origin: PopOrigin,
}

impl PopBatch {
    fn new(popped: UnixMs, mut records: BytesMut) -> PopBatch {
        records.clear();
        let [starts, offsets, counts] = [const { String::new() }; 3];
        let (is_ordered, is_moved, lacks_room) = (false, false, false);
        let (messages, rest, queues) = (0, 0, 0);
        PopBatch { popped, records, messages, is_ordered, counts, starts, offsets, rest, is_moved, lacks_room, queues }
    }

    /// Says which messages of a queue were found.
    pub(super) fn name(&mut self, origin: PopOrigin, queue_id: QueueId, start: QueueOffset, offsets: &[QueueOffset]) {
        let separator = if self.starts.is_empty() { "" } else { ";" };
        let origin = origin.text();
        // Writing to a text does not fail.
        let _ = write!(self.starts, "{separator}{origin} {queue_id} {start}");
        let _ = write!(self.offsets, "{separator}{origin} {queue_id} ");
        for (index, offset) in offsets.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(self.offsets, "{comma}{offset}");
        }
    }
}

/// What a pop has read of a queue.
pub(super) enum PopRead {
    /// Records, which begin at byte `before` of the batch; the queue goes on at `next`.
    Found { next: QueueOffset, before: usize },
    /// Nothing that it wants, for now.
    Nothing,
    /// To be read again when this block was supplied.
    Cold(BlockId),
}

impl Broker {
    /// POP_MESSAGE 200050.
    pub(in crate::broker) fn pop(
        &mut self,
        asked: &Asked,
        request: &PopRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let now = asked.now;
        let born = request.born.unwrap_or(now.unix);
        let ends = born.0.saturating_add(request.poll_ms.max(0));
        if now.unix.0.saturating_sub(ends) > LATE_MS_MAX {
            let remark = format!("the broker[{}] pop message is timeout too much", self.settings.address.ip());
            let batch = PopBatch::new(UnixMs(0), BytesMut::new());
            answer_pop(asked, (ResponseCode::PollingTimeout, &remark), 0, &batch, out);
            return Ok(Handled::Done);
        }
        let pop = self.checked_pop(asked, request, ends, out)?;
        self.check_knows_pops()?;
        self.check_can_store(false)?;
        let mut batch = PopBatch::new(now.unix, std::mem::take(&mut self.scratch.records));
        let end = self.run_pop(now, &pop, &mut batch);
        let result = match end {
            ControlFlow::Break(PopEnd::Cold(block)) if batch.messages == 0 => Ok(Handled::Cold(block)),
            ControlFlow::Break(PopEnd::NotStored(error)) if batch.messages == 0 => Err(error.into()),
            _ if batch.messages > 0 => {
                answer_pop(asked, (ResponseCode::Success, "FOUND"), pop.invisible_ms, &batch, out);
                Ok(Handled::Done)
            }
            _ => {
                if batch.lacks_room || (batch.rest > 0 && self.lacks_room(&pop)) {
                    self.say_no_room(&pop);
                }
                let code = self.hold_pop(now, pop.clone(), batch.is_moved);
                if let Some(code) = code {
                    answer_pop(asked, (code, NOTHING), pop.invisible_ms, &batch, out);
                }
                Ok(Handled::Done)
            }
        };
        self.scratch.records = batch.records;
        result
    }

    /// Checks in RocketMQ's order.
    pub(super) fn checked_pop(
        &mut self,
        asked: &Asked,
        request: &PopRequest<'_>,
        ends: i64,
        out: &mut Output,
    ) -> Result<Pop, Refusal> {
        let address = self.settings.address.ip();
        if self.settings.permission & topic::perm::READ == 0 {
            let remark = format!("the broker[{address}] pop message is forbidden");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if request.messages_max > POP_MESSAGES_MAX {
            let remark = format!("the broker[{address}] pop message's num is greater than {POP_MESSAGES_MAX}");
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        if out.outbox.is_full() {
            let remark = "readers are behind: the broker holds too many answers";
            return Err(Refusal::new(ResponseCode::FlowControl, remark));
        }
        let name = request.topic;
        let (topic, read_queues) = self.topic_to_pop(name)?;
        check_is_clients(request.group)?;
        if is_revive_topic(name) {
            let remark = format!("the topic[{name}] is the broker's own");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        self.check_popped_queue(asked, request, read_queues)?;
        let group = self.group_config(asked.now, request.group, out)?;
        if !group.consume_enable {
            let remark = format!("subscription group no permission, {}", request.group);
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        let group = group.name.clone();
        let filter = match request.expression {
            Some(expression) => self.filter_of(request.expression_type.unwrap_or("TAG"), expression)?,
            None => self.filter_of("TAG", "*")?,
        };
        // Names that together are too long for it, or have letters that no topic of ours has: nothing could be given again.
        check_topic(&pop_retry_topic(group.as_str(), topic.as_str()))?;
        let retries = self.pop_retries(group.as_str(), topic.as_str());
        if request.attempt.is_some_and(|attempt| attempt.len() > ATTEMPT_BYTES_MAX) {
            let remark = format!("attemptId has more than {ATTEMPT_BYTES_MAX} bytes");
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        Ok(Pop {
            asked: *asked,
            wants: PopWants::Messages,
            group,
            topic,
            retries,
            queue_id: request.queue_id,
            messages_max: request.messages_max.max(1) as usize,
            invisible_ms: invisible_ms(request.invisible_ms),
            from: request.from,
            filter,
            is_ordered: request.is_ordered,
            attempt: request.attempt.map(str::to_owned),
            ends,
            allowed_by: self.groups.version(),
        })
    }

    /// The topics in which messages of a group are tried again that it did not acknowledge: the one of now, and the one of before `enableRetryTopicV2`.
    fn pop_retries(&self, group: &str, topic: &str) -> Vec<(TopicName, PopOrigin)> {
        let settings = &self.settings.pops;
        let second = settings.second_retry_names.then_some(PopOrigin::SecondRetry);
        let first = (second.is_none() || settings.pops_first_retry_names).then_some(PopOrigin::Retry);
        let origins = second.into_iter().chain(first);
        origins.map(|origin| (TopicName::from(origin.topic(group, topic).as_str()), origin)).collect()
    }

    fn check_popped_queue(&self, asked: &Asked, request: &PopRequest<'_>, read_queues: u32) -> Result<(), Refusal> {
        let name = request.topic;
        if request.queue_id.is_none() && read_queues > POP_QUEUES_MAX {
            let remark = format!(
                "the topic[{name}] has {read_queues} queues on this broker: one must be named, since a pop looks at {POP_QUEUES_MAX} at most"
            );
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        if request.queue_id.is_some_and(|queue| queue.0 >= read_queues) {
            let queue = request.queue_id.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
            let remark = format!(
                "queueId[{queue}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{read_queues}] consumer:[/{}]",
                self.peer(asked.connection)
            );
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        Ok(())
    }

    /// A topic that is there and may be popped, and how many queues it has to read.
    fn topic_to_pop(&self, name: &str) -> Result<(TopicName, u32), Refusal> {
        let Some(topic) = self.topics.get(name) else {
            let remark = format!("topic[{name}] not exist, apply first please!");
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        if topic.config.perm & topic::perm::READ == 0 {
            let remark = format!("the topic[{name}] peeking message is forbidden");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if topic.has_inner_batches {
            // Stock clients take batches apart that they pull, not those that they pop, and what comes again of one could not be stored.
            let remark = format!("the topic[{name}] is of queue.type BatchCQ, which is for pulls, not for pops");
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        Ok((topic.name.clone(), topic.config.read_queues))
    }

    /// Takes what there is.
    fn run_pop(&mut self, now: Now, pop: &Pop, batch: &mut PopBatch) -> ControlFlow<PopEnd> {
        self.note_set_backs(now);
        let turn = self.pops.turn;
        self.pops.turn = turn.wrapping_add(1);
        batch.is_ordered = pop.is_ordered;
        if pop.is_ordered {
            return self.pop_from_topic(now, pop, (&pop.topic, PopOrigin::Topic, turn), batch);
        }
        // Groups that pop in turns do not share one draw among them: it is Fibonacci hashing.
        let draw = turn.wrapping_mul(0x9E37_79B1) >> 16;
        let retry_first = draw % 100 < self.settings.pops.retry_first_percent;
        if retry_first {
            self.pop_from_retries(now, pop, turn, draw, batch)?;
        }
        self.pop_from_topic(now, pop, (&pop.topic, PopOrigin::Topic, turn), batch)?;
        if !retry_first {
            self.pop_from_retries(now, pop, turn, draw, batch)?;
        }
        ControlFlow::Continue(())
    }

    /// Takes from one of the pop retry topics: clients would not tell their messages apart. Which one is looked at first is drawn, as by RocketMQ.
    fn pop_from_retries(
        &mut self,
        now: Now,
        pop: &Pop,
        turn: u32,
        draw: u32,
        batch: &mut PopBatch,
    ) -> ControlFlow<PopEnd> {
        let (before, skipped) = (batch.messages, draw as usize % pop.retries.len().max(1));
        for (name, origin) in pop.retries.iter().cycle().skip(skipped).take(pop.retries.len()) {
            self.pop_from_topic(now, pop, (name, *origin, turn), batch)?;
            if batch.messages > before {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes from a topic's queues, the one whose turn it is first.
    fn pop_from_topic(
        &mut self,
        now: Now,
        pop: &Pop,
        (name, origin, turn): (&TopicName, PopOrigin, u32),
        batch: &mut PopBatch,
    ) -> ControlFlow<PopEnd> {
        let Some(topic) = self.topics.get(name.as_str()) else { return ControlFlow::Continue(()) };
        let (name, queues) = (topic.name.clone(), topic.config.read_queues);
        let only = pop.queue_id.filter(|_| origin == PopOrigin::Topic);
        let count = if only.is_some() { 1 } else { queues.min(POP_QUEUES_MAX) };
        for nth in 0..count {
            let queue_id = only.unwrap_or(QueueId(turn.wrapping_add(nth) % queues.max(1)));
            let Some(topic) = self.topics.get_mut(name.as_str()) else { break };
            let index = topic.queue(&mut self.log, queue_id);
            let source = PopSource { queue: (pop.group.clone(), name.clone(), queue_id), index, origin };
            if pop.is_ordered {
                self.pop_in_order(now, pop, &source, batch)?;
            } else {
                self.pop_from_queue(now, pop, &source, batch)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pop_from_queue(&mut self, now: Now, pop: &Pop, source: &PopSource, batch: &mut PopBatch) -> ControlFlow<PopEnd> {
        batch.queues += 1;
        let bounds = self.log.bounds(source.index);
        let mut from = match self.pop_begins_at(pop, source) {
            Ok(Some(from)) => from,
            Ok(None) => return ControlFlow::Continue(()),
            Err(block) => return ControlFlow::Break(PopEnd::Cold(block)),
        };
        if from < bounds.min {
            from = bounds.min;
        } else if from > bounds.appended_max {
            // Nothing was ever there. Whoever went on from here would miss what comes.
            from = bounds.max;
            let (group, topic, queue_id) = &source.queue;
            self.offsets.commit(group.as_str(), topic.as_str(), *queue_id, from);
            self.note_set_backs(now);
        }
        let left = |from: QueueOffset| bounds.max.0.saturating_sub(from.0);
        let time = PopTime { start: from, popped: batch.popped };
        let has_room = !self.lacks_room(pop);
        // A name is used once.
        let is_known = self.pops.flights.find(&source.queue, time).is_some();
        if batch.messages >= pop.messages_max || batch.records.len() >= PULL_BYTES_MAX || !has_room || is_known {
            batch.rest += left(from);
            let is_full = batch.messages >= pop.messages_max || batch.records.len() >= PULL_BYTES_MAX;
            return if is_full { ControlFlow::Break(PopEnd::Full) } else { ControlFlow::Continue(()) };
        }
        let start = from;
        match self.read_to_pop(pop, source, &mut from, batch) {
            PopRead::Found { next, before } => {
                batch.rest += left(next);
                return self.take_popped(now, pop, source, (start, next, before), batch);
            }
            PopRead::Cold(block) => {
                self.pop_goes_on(source, start, from);
                return ControlFlow::Break(PopEnd::Cold(block));
            }
            PopRead::Nothing => {}
        }
        self.pop_goes_on(source, start, from);
        batch.rest += left(from);
        batch.is_moved |= from > start && from < bounds.max;
        ControlFlow::Continue(())
    }

    /// Reads from a queue what a pop wants, from `from` on, which moves over what it does not want.
    pub(super) fn read_to_pop(
        &mut self,
        pop: &Pop,
        source: &PopSource,
        from: &mut QueueOffset,
        batch: &mut PopBatch,
    ) -> PopRead {
        let max = self.log.bounds(source.index).max;
        for _ in 0..READS_PER_QUEUE {
            if *from >= max {
                break;
            }
            let before = batch.records.len();
            let limits = ReadLimits {
                messages_max: pop.messages_max - batch.messages,
                bytes_max: PULL_BYTES_MAX.saturating_sub(before),
                entries_max: pop.filter.entries_max(),
            };
            let filter = &pop.filter;
            let wanted = |tag_code: i64| filter.wants(tag_code);
            let matches = |record: &[u8]| filter.matches(record);
            let records = &mut batch.records;
            match self.log.read_matching(source.index, *from, &limits, &wanted, &matches, records) {
                Read::Found { next, .. } => return PopRead::Found { next, before },
                Read::NoMatch { next } | Read::Removed { next } => *from = next,
                Read::Damaged { at, next } if !self.may_be_whole_elsewhere(at) => {
                    self.counters.damaged_passed_count += 1;
                    tracing::warn!(
                        target: BY_STRANGERS,
                        topic = %source.queue.1, group = %pop.group, log_offset = %at, %next,
                        "a group goes on behind a message that is damaged on the disk, and of which no replica is known to be whole"
                    );
                    *from = next;
                }
                // Others need not wait for this queue. Its next reader tries again.
                Read::Damaged { .. } | Read::Failed => break,
                Read::Cold(block) => return PopRead::Cold(block),
            }
        }
        PopRead::Nothing
    }

    /// Where a pop begins in a queue; `None` if the table of offsets has no room to keep that.
    ///
    /// # Errors
    /// It depends on what is in a block of the disk.
    pub(super) fn pop_begins_at(&mut self, pop: &Pop, source: &PopSource) -> Result<Option<QueueOffset>, BlockId> {
        let (group, topic, queue_id) = &source.queue;
        let (group, topic, queue_id) = (group.as_str(), topic.as_str(), *queue_id);
        if let Some(reset) = self.offsets.take_reset(group, topic, queue_id) {
            return Ok(Some(reset));
        }
        if let Some(next) = self.next_to_pop(&source.queue) {
            return Ok(Some(next));
        }
        let bounds = self.log.bounds(source.index);
        let begin = if pop.from == PopFrom::First || source.origin != PopOrigin::Topic {
            bounds.min
        } else if self.settings.pops.begins_young && bounds.min.0 == 0 && self.is_young(source.index)? {
            QueueOffset(0)
        } else {
            QueueOffset(bounds.max.0.saturating_sub(1))
        };
        Ok(self.offsets.commit(group, topic, queue_id, begin).then_some(begin))
    }

    /// Where a group goes on in a queue; `None` if it has not begun there.
    pub(super) fn next_to_pop(&self, queue: &PopQueue) -> Option<QueueOffset> {
        let (group, topic, queue_id) = queue;
        let committed = self.offsets.get(group.as_str(), topic.as_str(), *queue_id);
        let ahead = self.pops.queues.get(queue).and_then(|known| known.ahead);
        committed.max(ahead)
    }

    /// A group goes on behind messages that it does not want, or that are gone. That is not noted: a start looks at them once more.
    fn pop_goes_on(&mut self, source: &PopSource, start: QueueOffset, next: QueueOffset) {
        if next <= start {
            return;
        }
        let (at, queue) = (self.log.appended(), source.queue.clone());
        let note = self.pops.queues.get(&queue).map_or(QueueOffset(0), |known| known.last);
        self.pops.go_on_at(queue, next, note, at);
    }

    /// Hands out the messages whose records were read behind `before`: they are noted, and known to be in flight.
    fn take_popped(
        &mut self,
        now: Now,
        pop: &Pop,
        source: &PopSource,
        (start, next, before): (QueueOffset, QueueOffset, usize),
        batch: &mut PopBatch,
    ) -> ControlFlow<PopEnd> {
        let read = batch.records.split_off(before);
        let mut offsets = Vec::with_capacity(POP_MESSAGES_MAX as usize);
        let mut rest = &read[..];
        while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
            rest = rest.get(view.size as usize..).unwrap_or_default();
            offsets.push(view.queue_offset);
        }
        let (time, invisible_ms) = (PopTime { start, popped: batch.popped }, pop.invisible_ms);
        let note = PopNote::Taken {
            place: super::place_of(&source.queue),
            time,
            invisible_ms,
            next: Some(next),
            offsets: offsets.clone(),
        };
        let stored = match self.note_pop(now, &note) {
            Ok(stored) => stored,
            Err(error) => return ControlFlow::Break(PopEnd::NotStored(error)),
        };
        self.pops.go_on_at(source.queue.clone(), next, stored.queue_offset, stored.end);
        batch.name(source.origin, source.queue.2, start, &offsets);
        batch.messages += offsets.len();
        self.note_got(now.mono, (source.index, &source.queue.1, &pop.group), offsets.len() as u64, &read);
        match source.origin {
            PopOrigin::Topic => batch.records.unsplit(read),
            PopOrigin::Retry | PopOrigin::SecondRetry if self.settings.pops.tells_retry_topic => {
                batch.records.unsplit(read)
            }
            PopOrigin::Retry | PopOrigin::SecondRetry => {
                self.tell_as_asked(pop, source, time, &read, &mut batch.records);
            }
        }
        self.pops.flights.insert(stored.queue_offset, Flight::new(source.queue.clone(), time, invisible_ms, offsets));
        ControlFlow::Continue(())
    }

    /// Appends records of the pop retry topic as messages of the topic that was asked for, each with its handle.
    fn tell_as_asked(&self, pop: &Pop, source: &PopSource, time: PopTime, read: &[u8], records: &mut BytesMut) {
        let mut rest = read;
        while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
            rest = rest.get(view.size as usize..).unwrap_or_default();
            let handle = PopHandle {
                start: time.start,
                popped: time.popped,
                invisible_ms: pop.invisible_ms,
                revive_queue: 0,
                origin: source.origin,
                broker: self.settings.name.as_str(),
                queue_id: view.queue_id,
                offset: view.queue_offset,
            };
            let mut properties = Vec::with_capacity(view.properties.len() + 128);
            without_property(view.properties, property::CRC32, &mut properties);
            append_property(&mut properties, property::POP_CK, &handle.to_string());
            let draft = RecordDraft {
                topic: pop.topic.as_str(),
                queue_id: view.queue_id,
                flag: view.flag,
                sys_flag: view.sys_flag,
                born_timestamp: view.born_timestamp,
                born_host: view.born_host,
                store_host: view.store_host,
                store_timestamp: view.store_timestamp,
                reconsume_times: view.reconsume_times,
                prepared_transaction_offset: view.prepared_transaction_offset,
                body: view.body,
                properties: &properties,
                marks: Marks::default(),
            };
            match Sized::new(&draft, false) {
                Ok(told) => {
                    let begin = records.len();
                    records.resize(begin + told.size() as usize, 0);
                    let place = Place { log_offset: view.log_offset, queue_offset: view.queue_offset };
                    told.encode(place, records.get_mut(begin..).unwrap_or_default());
                }
                // With its handle it would be too long. Clients find it by what the answer says, under the retry topic's name.
                Err(_) => records.extend_from_slice(view.bytes),
            }
        }
    }

    /// Lets a pop wait that has found nothing, or says how it is answered.
    pub(super) fn hold_pop(&mut self, now: Now, pop: Pop, is_moved: bool) -> Option<ResponseCode> {
        let left_ms = u64::try_from(pop.ends.saturating_sub(now.unix.0)).unwrap_or(0).min(HOLD_MS_MAX);
        if left_ms == 0 || pop.asked.is_oneway {
            return Some(ResponseCode::PollingTimeout);
        }
        let Some(anchor) = self.anchor_of(&pop) else { return Some(ResponseCode::PollingTimeout) };
        let (connection, deadline) = (pop.asked.connection, now.mono.plus_ms(left_ms));
        let needs_room = self.lacks_room(&pop).then(|| pop.group.clone());
        if self.pops.holds.insert(anchor, connection, deadline, pop).is_err() {
            return Some(ResponseCode::PollingFull);
        }
        if let Some(group) = needs_room {
            self.pops.flights.wait_for_room(&group, anchor);
        }
        if is_moved {
            // What is behind may be wanted.
            self.pops.holds.queue_has_grown(anchor);
        }
        None
    }

    /// Whether a pop is given nothing, whatever there is, because of what its group, or the shard, has in flight already. In order there is no such bound.
    pub(super) fn lacks_room(&self, pop: &Pop) -> bool {
        let has_room = self.pops.flights.has_room(&pop.group) && self.pops.ahead.len() < POP_UNPROMISED_MAX;
        !pop.is_ordered && !has_room
    }

    /// A pop is given nothing although there is something. It is answered as with RocketMQ at a limit of its own, `popInflightMessageThreshold`.
    fn say_no_room(&mut self, pop: &Pop) {
        self.counters.pops_without_room_count += 1;
        if pop.is_ordered {
            tracing::warn!(
                target: BY_STRANGERS,
                group = %pop.group, topic = %pop.topic, queues_in_order = self.pops.in_order.len(),
                "messages of as many queues are out in order as may be: a group gets nothing until those of another queue are acknowledged, or their time is over"
            );
            return;
        }
        let (flights, unsafe_notes) = (self.pops.flights.len_of(&pop.group), self.pops.ahead.len());
        tracing::warn!(
            target: BY_STRANGERS,
            group = %pop.group, topic = %pop.topic, pops_in_flight = flights, of_all_groups = self.pops.flights.len(), unsafe_notes,
            "a group has as many pops in flight as it may: it gets nothing until some are acknowledged, or their time is over"
        );
    }

    /// The queue that stands for a topic of which pops wait, when all its queues, and those of the pop retry topic, lead to it.
    pub(super) fn anchor_of(&mut self, pop: &Pop) -> Option<QueueIndex> {
        let anchor = self.topics.get_mut(pop.topic.as_str())?.queue(&mut self.log, QueueId(0));
        for name in [&pop.topic].into_iter().chain(pop.retries.iter().map(|(name, _)| name)) {
            let Some(topic) = self.topics.get_mut(name.as_str()) else { continue };
            for queue_id in (0..topic.config.read_queues).map(QueueId) {
                self.pops.anchors.insert(topic.queue(&mut self.log, queue_id), anchor);
            }
        }
        Some(anchor)
    }

    /// Gives pops that wait their turn, as many as one turn of the shard has room for.
    pub(in crate::broker) fn wake_pops(&mut self, now: Now, out: &mut Output) {
        let mut budget = HoldBudget::of_turn();
        while budget.is_left()
            && let Some((id, why)) = self.pops.holds.next_turn()
        {
            let Some(pop) = self.pops.holds.get_mut(id).map(|held| held.clone()) else { continue };
            let bytes = match why {
                Turn::Ended => {
                    self.pops.holds.remove(id);
                    answer_ended(&pop, out)
                }
                Turn::Grown | Turn::Hurried => self.run_held(now, &pop, Some(id), out),
            };
            budget.spend(bytes);
        }
    }

    /// Answers pops whose time is over, as many as one turn of the shard has room for.
    pub(in crate::broker) fn expire_pops(&mut self, now: Now, due: MonoNs, out: &mut Output) {
        let mut budget = HoldBudget::of_turn();
        while (budget.is_left() || due > now.mono)
            && let Some(pop) = self.pops.holds.pop_due(due)
        {
            let bytes = self.run_held(now, &pop, None, out);
            if budget.is_left() {
                budget.spend(bytes);
            }
        }
    }

    /// Runs a pop that waits, or has waited, once more. Returns what that has cost, as bytes that were looked at.
    fn run_held(&mut self, now: Now, pop: &Pop, held: Option<HoldId>, out: &mut Output) -> usize {
        if pop.wants == PopWants::Word {
            let has_messages = self.has_to_pop(now, pop);
            if has_messages || held.is_none() {
                answer_word(pop, has_messages, false, out);
                if let Some(id) = held {
                    self.pops.holds.remove(id);
                }
            } else {
                self.wait_for_room(pop);
            }
            return QUEUE_LOOK_BYTES;
        }
        let mut batch = PopBatch::new(now.unix, std::mem::take(&mut self.scratch.records));
        let is_read = !out.outbox.is_over(pop.asked.connection) && !out.outbox.is_full() && self.may_still_pop(pop);
        let may_take = is_read && !self.holds_pops() && self.check_can_store(false).is_ok();
        let end = if may_take { Some(self.run_pop(now, pop, &mut batch)) } else { None };
        let waits = held.filter(|_| batch.messages == 0 && matches!(end, Some(ControlFlow::Continue(()))));
        if batch.messages > 0 {
            answer_pop(&pop.asked, (ResponseCode::Success, "FOUND"), pop.invisible_ms, &batch, out);
        } else if waits.is_none() {
            // Its client asks again, and is told why it gets nothing, or waits for the block then.
            answer_pop(&pop.asked, (ResponseCode::PollingTimeout, NOTHING), pop.invisible_ms, &batch, out);
        } else if batch.is_moved
            && let Some(anchor) = self.anchor_of(pop)
        {
            self.pops.holds.queue_has_grown(anchor);
        }
        match held {
            Some(id) if waits.is_none() => drop(self.pops.holds.remove(id)),
            Some(_) => self.wait_for_room(pop),
            None => {}
        }
        let bytes = batch.records.len() + batch.queues * QUEUE_LOOK_BYTES;
        self.scratch.records = batch.records;
        bytes
    }

    /// A pop that goes on waiting has its turn when there is room for it.
    fn wait_for_room(&mut self, pop: &Pop) {
        if self.lacks_room(pop)
            && let Some(anchor) = self.anchor_of(pop)
        {
            self.pops.flights.wait_for_room(&pop.group, anchor);
        }
    }

    /// Whether a pop that has waited may still be answered with messages.
    fn may_still_pop(&self, pop: &Pop) -> bool {
        self.groups.version() == pop.allowed_by
            || self.groups.get(pop.group.as_str()).is_some_and(|config| config.consume_enable)
    }
}

/// RocketMQ's remark of a pop that has found nothing.
const NOTHING: &str = "NO_MESSAGE_IN_QUEUE";

fn answer_pop(
    asked: &Asked,
    (code, remark): (ResponseCode, &str),
    invisible_ms: u64,
    batch: &PopBatch,
    out: &mut Output,
) {
    if asked.is_oneway {
        return;
    }
    let signed = |number: u64| ExtValue::I64(i64::try_from(number).unwrap_or(i64::MAX));
    let ext = [
        ("popTime", ExtValue::I64(batch.popped.0)),
        ("invisibleTime", signed(invisible_ms)),
        ("reviveQid", ExtValue::I64(if batch.is_ordered { i64::from(ORDER_REVIVE_QUEUE) } else { 0 })),
        ("restNum", signed(batch.rest)),
        ("startOffsetInfo", ExtValue::Str(&batch.starts)),
        ("msgOffsetInfo", ExtValue::Str(&batch.offsets)),
        ("orderCountInfo", ExtValue::Str(&batch.counts)),
    ];
    let told = if batch.is_ordered { ext.len() } else { ext.len() - 1 };
    let body = if code == ResponseCode::Success { &batch.records[..] } else { &[] };
    let reply = Reply { code, remark: Some(remark), ext: ext.get(..told).unwrap_or_default(), body };
    encode_reply(asked.encoding, asked.opaque, &reply, out.outbox.buffer(asked.connection));
}

/// Answers a pop of a topic that was deleted.
fn answer_ended(pop: &Pop, out: &mut Output) -> usize {
    let remark = format!("topic[{}] not exist, apply first please!", pop.topic);
    let reply = Reply::error(ResponseCode::TopicNotExist, &remark);
    encode_reply(pop.asked.encoding, pop.asked.opaque, &reply, out.outbox.buffer(pop.asked.connection));
    0
}
