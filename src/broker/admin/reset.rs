//! Where a group goes on in a topic, set by an operator: 222, and 220 to its clients.
//!
//! The broker sets the offsets itself (`useServerSideResetOffset`, as RocketMQ 5 does): from then on commits of these queues are passed over,
//! until the group's next pull, which is answered 21 with the new offset. Or it tells the clients that are online, as RocketMQ 4 did, and they
//! commit. Source: RocketMQ `AdminBrokerProcessor.resetOffset`, `Broker2Client.resetOffset`.

use std::collections::BTreeMap;

use super::super::call::check_notice_room;
use super::super::group::check_is_clients;
use super::super::light::check_light_queue;
use super::super::query::too_many_offsets;
use super::super::{Asked, Broker, Handled, Output, Refusal};
use super::client::{VERSION_WITH_STATUS, check_version};
use crate::limits::OUTBOX_NOTICE_BYTES_MAX;
use crate::log::{BlockId, QueueIndex, Search};
use crate::model::{QueueId, QueueOffset, UnixMs};
use crate::protocol::body::{MessageQueue, ResetForm, reset_offsets};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::frame::Encoding;
use crate::protocol::message::LIGHT_QUEUE;
use crate::protocol::reply::{ExtValue, Reply, encode_request};
use crate::protocol::request::{Boundary, ResetOffsetRequest};

type NewOffsets = BTreeMap<QueueId, QueueOffset>;

impl Broker {
    /// INVOKE_BROKER_TO_RESET_OFFSET 222. Nothing is changed before all the new offsets are known: it may have to wait for blocks.
    pub(in crate::broker) fn reset_offsets(
        &mut self,
        asked: &Asked,
        request: &ResetOffsetRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let is_there = self.topics.get(request.topic).is_some()
            || (self.is_light_queue(request.topic) && self.log.find_queue(request.topic, LIGHT_QUEUE).is_some());
        if !is_there {
            let remark = format!("Topic {} does not exist", request.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let result =
            if self.settings.resets_offsets { self.new_offsets(request) } else { self.offsets_for_clients(request) };
        let offsets = match result? {
            Ok(offsets) => offsets,
            Err(block) => return Ok(Handled::Cold(block)),
        };
        if self.settings.resets_offsets {
            self.set_offsets(request, &offsets)?;
        } else {
            self.tell_new_offsets(request, &offsets, out)?;
        }
        let body = reset_offsets(&self.by_message_queue(request.topic, &offsets), ResetForm::ObjectKeys);
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    /// What the broker sets: one queue, to an offset or a time, or all that can be read.
    fn new_offsets(&mut self, request: &ResetOffsetRequest<'_>) -> Result<Result<NewOffsets, BlockId>, Refusal> {
        let (name, group) = (request.topic, request.group);
        if self.groups.get(group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, remark));
        }
        let Some((read_queues, _)) = self.queues_of(name) else { return Ok(Ok(NewOffsets::new())) };
        let queues = match request.queue_id {
            Some(queue) => {
                let queue = match self.topics.get(name) {
                    Some(topic) => topic.check_queue(queue)?,
                    None => check_light_queue(name, Some(queue)).map(|()| queue)?,
                };
                if let Some(offset) = request.offset {
                    if let Some(index) = self.log.find_queue(name, queue)
                        && let Err(block) = self.log.first(index)
                    {
                        return Ok(Err(block));
                    }
                    return Ok(Ok([(queue, self.check_in_queue(name, queue, offset)?)].into()));
                }
                queue.0..queue.0 + 1
            }
            None => 0..read_queues,
        };
        if queues.is_empty() {
            return Err(Refusal::new(ResponseCode::SystemError, "No queues to reset."));
        }
        let mut offsets = NewOffsets::new();
        for queue in queues.map(QueueId) {
            match self.offset_at(name, queue, request.timestamp)? {
                Ok(offset) => offsets.insert(queue, offset),
                Err(block) => return Ok(Err(block)),
            };
        }
        Ok(Ok(offsets))
    }

    fn check_in_queue(&self, topic: &str, queue: QueueId, offset: i64) -> Result<QueueOffset, Refusal> {
        let bounds = self.log.find_queue(topic, queue).map(|queue| self.log.bounds(queue));
        let (min, max) = bounds.map_or((0, 0), |bounds| (bounds.min.0, bounds.max.0));
        // One beyond the end, as RocketMQ allows: the group then waits for the message after the next.
        let allowed = min..=max.saturating_add(1);
        if let Some(offset) = u64::try_from(offset).ok().filter(|offset| allowed.contains(offset)) {
            return Ok(QueueOffset(offset));
        }
        let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
        Err(Refusal::new(ResponseCode::SystemError, remark))
    }

    /// What clients are told: of each queue the offset at the time, or where the group stands if that is further back and nothing is forced.
    fn offsets_for_clients(
        &mut self,
        request: &ResetOffsetRequest<'_>,
    ) -> Result<Result<NewOffsets, BlockId>, Refusal> {
        let (name, group) = (request.topic, request.group);
        let queues = self.queues_of(name).map_or(0, |(_, write_queues)| write_queues);
        let mut offsets = NewOffsets::new();
        for queue in (0..queues).map(QueueId) {
            let Some(committed) = self.offsets.get(group, name, queue) else {
                let remark = format!("THe consumer group <{group}> not exist");
                return Err(Refusal::new(ResponseCode::SystemError, remark));
            };
            match self.offset_at(name, queue, request.timestamp)? {
                Ok(offset) => offsets.insert(queue, if request.force { offset } else { offset.min(committed) }),
                Err(block) => return Ok(Err(block)),
            };
        }
        Ok(Ok(offsets))
    }

    /// The first message that was stored at this time or later; the end of the queue if the time is negative.
    fn offset_at(
        &mut self,
        topic: &str,
        queue: QueueId,
        time: UnixMs,
    ) -> Result<Result<QueueOffset, BlockId>, Refusal> {
        let Some(queue) = self.log.find_queue(topic, queue) else { return Ok(Ok(QueueOffset(0))) };
        if time.0 < 0 {
            return Ok(Ok(self.log.bounds(queue).max));
        }
        match self.log.offset_by_time(queue, time, Boundary::Lower) {
            Search::Found(offset) => Ok(Ok(offset)),
            Search::Cold(block) => Ok(Err(block)),
            Search::Failed => Err(Refusal::unreadable()),
        }
    }

    fn set_offsets(&mut self, request: &ResetOffsetRequest<'_>, offsets: &NewOffsets) -> Result<(), Refusal> {
        check_is_clients(request.group)?;
        for (queue, offset) in offsets {
            if !self.offsets.reset(request.group, request.topic, *queue, *offset) {
                return Err(too_many_offsets());
            }
        }
        // A consumer that waits for messages is to learn of it now, not when its hold is over.
        let held: Vec<QueueIndex> =
            offsets.keys().filter_map(|queue| self.log.find_queue(request.topic, *queue)).collect();
        for queue in held {
            self.holds.hurry_queue(self.holds_of(queue));
        }
        Ok(())
    }

    /// RESET_CONSUMER_CLIENT_OFFSET 220 to all members, to each in the form of its language; nobody answers it.
    fn tell_new_offsets(
        &mut self,
        request: &ResetOffsetRequest<'_>,
        offsets: &NewOffsets,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let (topic, group) = (request.topic, request.group);
        let Some(online) = self.clients.consumer_group(group) else {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
                request.timestamp
            );
            return Err(Refusal::new(ResponseCode::ConsumerNotOnline, remark));
        };
        for member in online.members.values() {
            check_version(member, VERSION_WITH_STATUS, "V3_0_7_SNAPSHOT")?;
        }
        // All or none: what none of them is told, the tool is to try again.
        if let Some((_, member)) = online.members.iter().find(|(connection, _)| out.outbox.is_over(**connection)) {
            let remark =
                format!("The Consumer <{}> does not read what it is sent, so it cannot be told", member.client);
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        check_notice_room(out)?;
        let table = self.by_message_queue(topic, offsets);
        let ext = [
            ("topic", ExtValue::Str(topic)),
            ("group", ExtValue::Str(group)),
            ("timestamp", ExtValue::I64(request.timestamp.0)),
            // What was asked for is done already; RocketMQ's broker leaves both as they are in a new header.
            ("isForce", ExtValue::Bool(false)),
            ("queueId", ExtValue::I64(-1)),
        ];
        let code = RequestCode::ResetConsumerClientOffset.number();
        let mut bodies = BTreeMap::new();
        let mut bytes = 0_usize;
        for member in online.members.values() {
            let form = ResetForm::for_language(member.language);
            bytes += bodies.entry(form).or_insert_with(|| reset_offsets(&table, form)).len();
        }
        if bytes > OUTBOX_NOTICE_BYTES_MAX {
            let members = online.members.len();
            let remark = format!(
                "{members} clients cannot be told of {} queues at once; with useServerSideResetOffset=true the broker sets the offsets itself",
                table.len()
            );
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        for (connection, member) in &online.members {
            self.next_opaque = self.next_opaque.wrapping_add(1);
            let body = &bodies[&ResetForm::for_language(member.language)];
            let buffer = out.outbox.buffer(*connection);
            encode_request(Encoding::Json, code, self.next_opaque, true, &ext, body, buffer);
        }
        Ok(())
    }

    fn by_message_queue(&self, topic: &str, offsets: &NewOffsets) -> BTreeMap<MessageQueue, QueueOffset> {
        let queue = |queue_id| MessageQueue { topic: topic.into(), broker_name: self.settings.name.clone(), queue_id };
        offsets.iter().map(|(queue_id, offset)| (queue(*queue_id), *offset)).collect()
    }
}
