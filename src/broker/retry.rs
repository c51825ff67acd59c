//! Messages that a consumer could not consume: 36 puts a copy up for another try, or gives it up.
//!
//! The copy goes to the group's retry topic, after too many tries to its dead letter topic. RocketMQ delays the copy by the tries
//! that were made; there are no delays here yet, so it can be consumed at once. Source: RocketMQ
//! `AbstractSendMessageProcessor.consumerSendMsgBack`.

use bytes::BytesMut;

use super::ack::Promise;
use super::{Asked, Broker, Handled, Output, Refusal, topic};
use crate::log::RecordRead;
use crate::model::{LogOffset, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{MessageId, Properties, append_property, dlq_topic, property, retry_topic};
use crate::protocol::record::Check;
use crate::protocol::record::{Marks, RecordDraft, RecordView};
use crate::protocol::reply::{Reply, encode_reply};
use crate::protocol::request::SendBackRequest;

/// A client from this version on says how often its messages are tried: 3.4.9.
const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// Set on messages that are given up: where they came from. Source: `MessageConst`.
const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";

impl Broker {
    /// CONSUMER_SEND_MSG_BACK 36.
    pub(super) fn send_back(
        &mut self,
        asked: &Asked,
        request: &SendBackRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_can_store()?;
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
        if asked.version >= VERSION_WITH_MAX_RECONSUME
            && let Some(max) = request.max_reconsume_times
        {
            times_max = max;
        }
        let at = request.log_offset;
        let mut original = std::mem::take(&mut self.scratch.records);
        original.clear();
        let result = match self.log.record(at, &mut original) {
            RecordRead::Found { .. } => {
                self.store_copy(asked, request, (at, &original), (retry_queues, times_max), out)
            }
            RecordRead::Cold(block) => Ok(Handled::Cold(block)),
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
        (retry_queues, times_max): (u32, i32),
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let view = RecordView::decode(original, Some(at), Check::Shape)
            .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
        let is_given_up = view.reconsume_times >= times_max || request.delay_level < 0;
        let name = if is_given_up { dlq_topic(request.group) } else { retry_topic(request.group) };
        let ticket = self.ensure_plain_topic(asked.now, &name, if is_given_up { 1 } else { retry_queues }, out)?;
        let properties = self.copied_properties(&view, at, is_given_up);
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
        let stored = self.store(queue, &draft)?;
        // The client forgets the message when this is answered, so the copy must be as safe as any acknowledged message.
        self.answer(asked, Promise { at: stored.end, ticket }, out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::new(ResponseCode::Success), frame);
        });
        Ok(Handled::Done)
    }

    /// The original's properties, with where it came from.
    fn copied_properties(&self, view: &RecordView<'_>, at: LogOffset, is_given_up: bool) -> Vec<u8> {
        let original = Properties::new(view.properties);
        let mut copied = Vec::with_capacity(view.properties.len() + 128);
        let dropped = |name: &str| matches!(name, property::DELAY | property::CRC32 | property::WAIT);
        for (name, value) in original.iter().filter(|(name, _)| !dropped(name)) {
            append_property(&mut copied, name, value);
        }
        let id = MessageId { store_host: self.settings.address, log_offset: at }.encode();
        if original.get(property::RETRY_TOPIC).is_none() {
            append_property(&mut copied, property::RETRY_TOPIC, view.topic);
        }
        if original.get(property::ORIGIN_MESSAGE_ID).is_none() {
            append_property(&mut copied, property::ORIGIN_MESSAGE_ID, id.as_str());
        }
        if is_given_up {
            let first_topic = original.get(property::RETRY_TOPIC).unwrap_or(view.topic);
            append_property(&mut copied, DLQ_ORIGIN_TOPIC, first_topic);
            let first_id = original.get(property::ORIGIN_MESSAGE_ID).unwrap_or(id.as_str());
            append_property(&mut copied, DLQ_ORIGIN_MESSAGE_ID, first_id);
        }
        append_property(&mut copied, property::WAIT, "false");
        copied
    }

    /// One queue of a topic after the other.
    fn next_queue_of(&mut self, name: &str) -> QueueId {
        let queues = self.topics.get(name).map_or(1, |topic| topic.config.write_queues.max(1));
        self.next_queue = self.next_queue.wrapping_add(1);
        QueueId(self.next_queue % queues)
    }
}
