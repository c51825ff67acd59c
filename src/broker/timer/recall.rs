//! The recall of a timer message: 370 stores a message beside it that is read before it.
//!
//! Whoever is answered with success is not told whether there was such a message. Source of order, codes and remarks: RocketMQ 5.3.3
//! `RecallMessageProcessor`.

use crate::broker::ack::Promise;
use crate::broker::topic::perm;
use crate::broker::{Asked, Broker, Handled, Output, Refusal};
use crate::model::LogOffset;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{RecallHandle, append_property, is_retry_topic, property, recall_key};
use crate::protocol::record::{Marks, RecordDraft};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::RecallRequest;

/// The tag of a message that recalls another.
const RECALL_TAG: &str = "_RECALL_TAG_";

impl Broker {
    /// RECALL_MESSAGE 370.
    pub(in crate::broker) fn recall_message(
        &mut self,
        asked: &Asked,
        request: &RecallRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if let Err(refusal) = self.try_recall(asked, request, out) {
            let ext = [(property::MSG_REGION, ExtValue::Str(&self.settings.region))];
            let reply = Reply { code: refusal.code, remark: Some(&refusal.remark), ext: &ext, body: &[] };
            self.reply(asked, &reply, out);
        }
        Ok(Handled::Done)
    }

    fn try_recall(&mut self, asked: &Asked, request: &RecallRequest<'_>, out: &mut Output) -> Result<(), Refusal> {
        let refuse = |code, remark: &'static str| Err(Refusal::new(code, remark));
        if !self.settings.timers.takes_recalls {
            return refuse(ResponseCode::NoPermission, "recall failed, operation is forbidden");
        }
        if self.settings.permission & perm::WRITE == 0 && !self.settings.timers.recalls_unwritable {
            return refuse(ResponseCode::ServiceNotAvailable, "recall failed, broker service not available");
        }
        self.check_can_store(true)?;
        if self.topics.get(request.topic).is_none() {
            let remark = format!("recall failed, the topic[{}] not exist", request.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let Some(handle) = RecallHandle::decode(request.handle) else {
            return refuse(ResponseCode::IllegalOperation, "recall handle is invalid");
        };
        if handle.topic != request.topic {
            return refuse(ResponseCode::IllegalOperation, "recall failed, topic not match");
        }
        if handle.broker != self.settings.name.as_str() {
            return refuse(ResponseCode::IllegalOperation, "recall failed, broker service not available");
        }
        let now = asked.now;
        let left_ms = handle.time.parse::<i64>().unwrap_or(-1).saturating_sub(now.unix.0);
        let max_ms = self.settings.timers.delay_max_sec.saturating_mul(1_000);
        if left_ms <= 0 || left_ms.unsigned_abs() >= max_ms {
            return refuse(ResponseCode::IllegalOperation, "recall failed, timestamp invalid");
        }
        let stored_end = self.store_recall(asked, request, &handle)?;
        let ext =
            [("msgId", ExtValue::Str(&handle.unique)), (property::MSG_REGION, ExtValue::Str(&self.settings.region))];
        let mut frame = bytes::BytesMut::new();
        let reply = Reply { code: ResponseCode::Success, remark: None, ext: &ext, body: &[] };
        encode_reply(asked.encoding, asked.opaque, &reply, &mut frame);
        // RocketMQ says success also of what is stored here and is less safe than promised.
        let promise = Promise::sent(stored_end, true, None);
        self.answer(asked, promise, out, |_, answer| answer.extend_from_slice(&frame));
        Ok(())
    }

    /// By what the message of a draft is recalled; none of a consumer's retries. Source: `SendMessageProcessor.attachRecallHandle`.
    pub(in crate::broker) fn recall_handle(&self, draft: &RecordDraft<'_>, out_ms: i64) -> Option<String> {
        let unique = draft.marks.keys.unique.filter(|_| !is_retry_topic(draft.topic))?;
        Some(RecallHandle::encode(draft.topic, self.settings.name.as_str(), out_ms, unique))
    }

    fn store_recall(
        &mut self,
        asked: &Asked,
        request: &RecallRequest<'_>,
        handle: &RecallHandle,
    ) -> Result<LogOffset, Refusal> {
        let failed = || Refusal::new(ResponseCode::SystemError, "recall failed, execute error");
        let name = recall_key(&handle.topic, &handle.unique);
        let born = asked.now.unix.0.to_string();
        let mut properties = Vec::with_capacity(256);
        for (key, value) in [
            (property::TAGS, RECALL_TAG),
            (property::TIMER_DEL_UNIQKEY, &name),
            (property::UNIQUE_KEY, &handle.unique),
            (property::TIMER_DELIVER_MS, &handle.time),
            (property::BORN_TIMESTAMP, &born),
            (property::PRODUCER_GROUP, request.group.unwrap_or_default()),
        ] {
            // A separator in it would be another property.
            if value.bytes().any(|byte| byte <= 2) {
                return Err(failed());
            }
            if !value.is_empty() {
                append_property(&mut properties, key, value);
            }
        }
        let marks = Marks::of(&properties);
        let step = self.timer_out_ms(asked.now, &marks, &properties).map_err(|_| failed())?.ok_or_else(failed)?;
        // That is what the message waits for that a broker gave this handle for, whatever the steps were when it was stored.
        let told = handle.time.parse::<i64>().map_err(|_| failed())?.saturating_sub(1);
        let draft = RecordDraft {
            topic: &handle.topic,
            born_timestamp: asked.now.unix.0,
            born_host: self.peer(asked.connection),
            body: b"0",
            properties: &properties,
            marks,
            ..self.draft(asked.now)
        };
        if step != told {
            // Whoever has made the handle names any time within the step, as RocketMQ takes it.
            self.put_timer(asked.now, step, &draft).map_err(|_| failed())?;
        }
        Ok(self.put_timer(asked.now, told, &draft).map_err(|_| failed())?.end)
    }
}
