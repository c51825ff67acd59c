//! Messages that a consumer could not consume: 36 puts a copy up for another try, or gives it up.
//!
//! The copy goes to the group's retry topic, delayed by the tries that were made, and after too many tries to its dead letter topic. Source:
//! RocketMQ `AbstractSendMessageProcessor.consumerSendMsgBack`.

use bytes::BytesMut;

use super::ack::{Promise, Ticket};
use super::topic::subscribers_flag;
use super::{Asked, Broker, Handled, Output, Refusal, topic};
use crate::log::RecordRead;
use crate::model::{LogOffset, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    MessageId, Properties, append_property, dlq_topic, property, retry_topic, set_property, sys_flag,
};
use crate::protocol::record::Check;
use crate::protocol::record::{Marks, RecordDraft, RecordView};
use crate::protocol::reply::{Reply, encode_reply};
use crate::protocol::request::SendBackRequest;
use crate::said::BY_STRANGERS;

/// A client from this version on says how often its messages are tried: 3.4.9.
const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// Delay level of the first retry, if the consumer does not choose: 10 s.
const FIRST_RETRY_LEVEL: i32 = 3;

impl Broker {
    /// CONSUMER_SEND_MSG_BACK 36.
    pub(super) fn send_back(
        &mut self,
        asked: &Asked,
        request: &SendBackRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_can_store(false)?;
        let group = self.group_config(asked.now, request.group, out)?;
        let (retry_queues, mut times_max) = (group.retry_queues, group.retry_max_times);
        if self.settings.permission & topic::perm::WRITE == 0 {
            let remark = format!("the broker[{}] sending message is forbidden", self.settings.name);
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if retry_queues == 0 {
            self.reply(asked, &Reply::new(ResponseCode::Success), out);
            return Ok(Handled::Done);
        }
        // Before anything is known of the message, as RocketMQ does: tools look for a group by this topic.
        let retry = retry_topic(request.group);
        let ticket =
            self.ensure_plain_topic(asked.now, &retry, retry_queues, subscribers_flag(request.unit_mode), out)?;
        if self.topics.get(&retry).is_some_and(|topic| topic.config.perm & topic::perm::WRITE == 0) {
            let remark = format!("the topic[{retry}] sending message is forbidden");
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        if asked.version >= VERSION_WITH_MAX_RECONSUME
            && let Some(max) = request.max_reconsume_times
        {
            times_max = max;
        }
        let at = request.log_offset;
        let mut original = std::mem::take(&mut self.scratch.records);
        original.clear();
        let result = match self.log.record(at, &mut original) {
            RecordRead::Found { .. } => self.store_copy(asked, request, (at, &original), (times_max, ticket), out),
            RecordRead::Cold(block) => Ok(Handled::Cold(block)),
            RecordRead::Failed => Err(Refusal::unreadable()),
            RecordRead::Missing => {
                Err(Refusal::new(ResponseCode::SystemError, format!("look message by offset failed, {at}")))
            }
        };
        self.scratch.records = original;
        result
    }

    fn store_copy(
        &mut self,
        asked: &Asked,
        request: &SendBackRequest<'_>,
        (at, original): (LogOffset, &BytesMut),
        (times_max, mut ticket): (i32, Option<Ticket>),
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let view = RecordView::decode(original, Some(at), Check::Shape)
            .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
        if view.sys_flag & sys_flag::INNER_BATCH != 0 {
            // It holds more than the message that is meant. Clients send that one anew then; RocketMQ answers them so as well.
            return Err(Refusal::new(ResponseCode::SystemError, "MESSAGE_ILLEGAL"));
        }
        let is_given_up = view.reconsume_times >= times_max || request.delay_level < 0;
        let name = if is_given_up { dlq_topic(request.group) } else { retry_topic(request.group) };
        if is_given_up {
            ticket = self.ensure_plain_topic(asked.now, &name, 1, 0, out)?.or(ticket);
        }
        let level = match request.delay_level {
            _ if is_given_up => 0,
            0 => FIRST_RETRY_LEVEL.saturating_add(view.reconsume_times),
            level => level,
        };
        let properties = copied_properties(&view, level);
        let queue_id = self.next_queue_of(&name);
        let queue = self.log.queue(&name, queue_id);
        let draft = RecordDraft {
            topic: &name,
            queue_id,
            reconsume_times: view.reconsume_times.saturating_add(1),
            properties: &properties,
            marks: Marks::of(&properties),
            ..self.draft_of_copy(asked.now, &view)
        };
        let stored = self.store_or_put_off(asked.now, queue, &draft)?;
        let from = Properties::new(view.properties).get(property::RETRY_TOPIC).unwrap_or(view.topic);
        if is_given_up {
            let (broker, by, tries) = (&self.settings.name, self.peer(asked.connection).ip(), view.reconsume_times);
            tracing::info!(
                target: BY_STRANGERS,
                %broker, %by, group = request.group, topic = from, tries, "a message is given up, and goes to the dead letters"
            );
        }
        self.statistics.note_sent_back(asked.now.mono, from, request.group, u64::from(stored.size));
        // The client forgets the message when this is answered, so the copy is to be as safe as any acknowledged message. If it does not get so in
        // time, or there is no slave, the answer is success all the same, as RocketMQ's is without waiting: a client that is told of less puts a
        // second copy up itself.
        let promise = Promise::stored(stored.end, true).behind(ticket);
        self.answer(asked, promise, out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::new(ResponseCode::Success), frame);
        });
        Ok(Handled::Done)
    }

    /// One queue of a topic after the other.
    fn next_queue_of(&mut self, name: &str) -> QueueId {
        let queues = self.topics.get(name).map_or(1, |topic| topic.config.write_queues.max(1));
        self.next_queue = self.next_queue.wrapping_add(1);
        QueueId(self.next_queue % queues)
    }
}

/// The original's properties, with where it came from and the delay level.
fn copied_properties(original: &RecordView<'_>, level: i32) -> Vec<u8> {
    let read = Properties::new(original.properties);
    let mut copied = Vec::with_capacity(original.properties.len() + 128);
    let dropped = |name: &str| matches!(name, property::DELAY | property::CRC32 | property::WAIT);
    for (name, value) in read.iter().filter(|(name, _)| !dropped(name)) {
        append_property(&mut copied, name, value);
    }
    if read.get(property::RETRY_TOPIC).is_none() {
        append_property(&mut copied, property::RETRY_TOPIC, original.topic);
    }
    if read.get(property::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
        let id = MessageId { store_host: original.store_host, log_offset: original.log_offset }.encode();
        set_property(&mut copied, property::ORIGIN_MESSAGE_ID, id.as_str());
    }
    append_property(&mut copied, property::DELAY, &level.to_string());
    append_property(&mut copied, property::WAIT, "false");
    copied
}
