//! Offsets asked for and committed, and queue locks: 14, 15, 29, 30, 31, 32, 41, 42.
//!
//! Source: RocketMQ `ConsumerManageProcessor`, `AdminBrokerProcessor`.

use super::group::check_is_clients;
use super::heartbeat::check_client;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::OFFSETS_MAX;
use crate::log::{BlockId, QueueIndex, Search, StoreTime};
use crate::model::{QueueId, QueueOffset};
use crate::protocol::body::{LockRequest, locked_queues};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{LIGHT_QUEUE, check_group};
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{CommitOffsetRequest, ConsumerOffsetRequest, QueueRequest, SearchOffsetRequest};

pub(super) fn too_many_offsets() -> Refusal {
    let remark = format!("this broker holds {OFFSETS_MAX} consumer offsets: no more");
    Refusal::new(ResponseCode::SystemError, remark)
}

impl Broker {
    /// QUERY_CONSUMER_OFFSET 14. A group without an offset is told "apply your consumeFromWhere" (22), except on a young queue: there it
    /// starts at 0, or a group that starts some time after the first message would lose it.
    pub(super) fn query_offset(
        &mut self,
        asked: &Asked,
        at: &ConsumerOffsetRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let not_found = || Refusal::new(ResponseCode::QueryNotFound, "Not found, maybe this group consumer boot first");
        let queue_id = at.queue_id;
        if let Some(offset) = self.offsets.get(at.group, at.topic, queue_id) {
            return self.answer_offset(asked, offset, out);
        }
        if !at.zero_if_not_found {
            return Err(not_found());
        }
        let is_young = match self.log.find_queue(at.topic, queue_id) {
            // A queue without a message is as young as it gets.
            None => Ok(true),
            Some(queue) => self.is_young(queue),
        };
        match is_young {
            Ok(true) => self.answer_offset(asked, QueueOffset(0), out),
            Ok(false) => Err(not_found()),
            Err(block) => Ok(Handled::Cold(block)),
        }
    }

    /// Whether all that a queue ever had is there, and no more was stored since its first message than the operating system would keep in memory,
    /// as RocketMQ reckons (`accessMessageInMemoryMaxRatio`): users know how long a new group may be late. What is really in memory here is less.
    pub(super) fn is_young(&mut self, queue: QueueIndex) -> Result<bool, BlockId> {
        if self.log.bounds(queue).max.0 == 0 {
            return Ok(true);
        }
        let Some(first) = self.log.place(queue, QueueOffset(0))? else { return Ok(false) };
        let stored_since = self.log.appended().0.saturating_sub(first.0);
        Ok(self.log.is_in_tail(first) || stored_since <= self.settings.young_bytes_max)
    }

    fn answer_offset(&self, asked: &Asked, offset: QueueOffset, out: &mut Output) -> Result<Handled, Refusal> {
        let offset = i64::try_from(offset.0).unwrap_or(i64::MAX);
        self.reply(asked, &Reply::fields(&[("offset", ExtValue::I64(offset))]), out);
        Ok(Handled::Done)
    }

    /// UPDATE_CONSUMER_OFFSET 15.
    pub(super) fn update_offset(
        &mut self,
        asked: &Asked,
        at: &CommitOffsetRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        // A commit makes no group: a late one would bring back what was deleted. But what a slave gives back may be of a group that came to
        // be while this master was away.
        // And a group with the name of a light queue is always there, as with RocketMQ.
        if at.is_given_back || self.is_light(at.group) {
            self.group_config(asked.now, at.group, out)?;
        } else if self.groups.get(at.group).is_none() {
            let remark = format!("Group {} not exist!", at.group);
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        }
        let queue_id = match self.topics.get(at.topic) {
            Some(topic) => topic.check_queue(at.queue_id)?,
            None if self.is_light(at.topic) && self.log.find_queue(at.topic, LIGHT_QUEUE).is_some() => LIGHT_QUEUE,
            None => return Err(Refusal::new(ResponseCode::TopicNotExist, format!("Topic {} not exist!", at.topic))),
        };
        // Go commits -1 for a queue of which it has seen nothing: there is nothing to store.
        if let Some(offset) = at.offset {
            if at.is_given_back && self.offsets.get(at.group, at.topic, queue_id).is_some_and(|own| own >= offset) {
                // Consumers have come further here since the slave has seen this one's offset.
                self.reply(asked, &Reply::new(ResponseCode::Success), out);
                return Ok(Handled::Done);
            }
            if at.is_given_back && offset > self.end_of(at.topic, queue_id) {
                // The slave has it still, and would give it again as the queue grows, past messages that the group has not had.
                self.offsets.note_lost();
            }
            self.commit(at.group, at.topic, queue_id, offset)?;
        }
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// Stores a consumer's commit; on a slave it is also kept for the master. What was set by an operator and is not told yet stays. What lies beyond
    /// a master's queue speaks of messages that this log has lost: whoever went on from there would miss those that take their places.
    pub(super) fn commit(
        &mut self,
        group: &str,
        topic: &str,
        queue: QueueId,
        offset: QueueOffset,
    ) -> Result<(), Refusal> {
        check_is_clients(group)?;
        let is_stored = if self.offsets.is_reset(group, topic, queue) {
            true
        } else if self.is_slave() {
            self.offsets.commit_on_slave(group, topic, queue, offset)
        } else {
            self.offsets.commit(group, topic, queue, offset.min(self.end_of(topic, queue)))
        };
        if is_stored { Ok(()) } else { Err(too_many_offsets()) }
    }

    /// GET_MAX_OFFSET 30. What was never written begins and ends at 0.
    pub(super) fn max_offset(
        &mut self,
        asked: &Asked,
        request: &QueueRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let bounds = self.known_queue(request.topic, request.queue_id).map(|queue| self.log.bounds(queue));
        let max = bounds.map_or(QueueOffset(0), |of| if request.committed { of.max } else { of.appended_max });
        self.answer_offset(asked, max, out)
    }

    /// GET_MIN_OFFSET 31.
    pub(super) fn min_offset(
        &mut self,
        asked: &Asked,
        request: &QueueRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let Some(queue) = self.known_queue(request.topic, request.queue_id) else {
            return self.answer_offset(asked, QueueOffset(0), out);
        };
        match self.log.first(queue) {
            Ok(first) => self.answer_offset(asked, first, out),
            Err(block) => Ok(Handled::Cold(block)),
        }
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP 29.
    pub(super) fn search_offset(
        &mut self,
        asked: &Asked,
        request: &SearchOffsetRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let Some(queue) = self.known_queue(request.topic, request.queue_id) else {
            return self.answer_offset(asked, QueueOffset(0), out);
        };
        if let Err(block) = self.log.first(queue) {
            return Ok(Handled::Cold(block));
        }
        match self.log.offset_by_time(queue, request.timestamp, request.boundary) {
            Search::Found(offset) => self.answer_offset(asked, offset, out),
            Search::Failed => Err(Refusal::unreadable()),
            Search::Cold(block) => Ok(Handled::Cold(block)),
        }
    }

    /// GET_EARLIEST_MSG_STORETIME 32: -1 if there is no message.
    pub(super) fn earliest_time(
        &mut self,
        asked: &Asked,
        request: &QueueRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let mut timestamp = -1;
        if let Some(queue) = self.known_queue(request.topic, request.queue_id) {
            let first = match self.log.first(queue) {
                Ok(first) => first,
                Err(block) => return Ok(Handled::Cold(block)),
            };
            match self.log.store_time(queue, first) {
                StoreTime::At(time) => timestamp = time.0,
                StoreTime::Missing => {}
                StoreTime::Cold(block) => return Ok(Handled::Cold(block)),
            }
        }
        self.reply(asked, &Reply::fields(&[("timestamp", ExtValue::I64(timestamp))]), out);
        Ok(Handled::Done)
    }

    /// The log's handle of a queue if it was ever written. An unknown topic or queue is an empty one, as in RocketMQ: tools ask
    /// every broker of a cluster.
    fn known_queue(&self, topic: &str, queue_id: Option<QueueId>) -> Option<QueueIndex> {
        if self.topics.get(topic).is_none() && !self.is_light(topic) {
            return None;
        }
        self.log.find_queue(topic, queue_id?)
    }

    /// LOCK_BATCH_MQ 41: answers which of the queues the client holds now.
    pub(super) fn lock_queues(
        &mut self,
        asked: &Asked,
        request: &LockRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        check_client(&request.client_id)?;
        check_group(request.group.as_str())?;
        let mut locked = Vec::with_capacity(request.queues.len());
        for queue in &request.queues {
            let (group, client) = (&request.group, &request.client_id);
            // Only queues that may be: else a client could fill the table with made-up names.
            let name = queue.topic.as_str();
            let exists = match self.topics.get(name) {
                Some(topic) => queue.queue_id.0 < topic.queue_count(),
                // A consumer of a light queue is there before its first message.
                None => queue.queue_id == LIGHT_QUEUE && self.is_light_queue(name),
            };
            if exists && self.locks.lock(asked.now.mono, group, &queue.topic, queue.queue_id, client) {
                locked.push(queue);
            }
        }
        let body = locked_queues(locked);
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    /// UNLOCK_BATCH_MQ 42.
    pub(super) fn unlock_queues(
        &mut self,
        asked: &Asked,
        request: &LockRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        for queue in &request.queues {
            self.locks.unlock(&request.group, &queue.topic, queue.queue_id, &request.client_id);
        }
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }
}
