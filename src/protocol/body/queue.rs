//! One message queue, as bodies name it.

use super::BodyError;
use super::fields::Fields;
use crate::json::{Value, Writer};
use crate::model::{BrokerName, QueueId, TopicName};

/// A queue of a topic on a broker: `{"brokerName":"b","queueId":0,"topic":"T"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct MessageQueue {
    pub topic: TopicName,
    /// Name of the broker that holds it.
    pub broker_name: BrokerName,
    /// Its number within the topic on that broker.
    pub queue_id: QueueId,
}

impl MessageQueue {
    pub(super) fn read(value: &Value<'_>) -> Result<MessageQueue, BodyError> {
        MessageQueue::read_fields(Fields::of(value, "messageQueue")?)
    }

    pub(super) fn read_fields(fields: Fields<'_>) -> Result<MessageQueue, BodyError> {
        Ok(MessageQueue {
            topic: TopicName::from(&*fields.required_text("topic")?),
            broker_name: BrokerName::from(&*fields.required_text("brokerName")?),
            queue_id: QueueId(fields.number("queueId", 0)?),
        })
    }

    /// Writes the members; the caller decides whether they are a value or a key.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.key("brokerName").text(self.broker_name.as_str());
        writer.key("queueId").unsigned(u64::from(self.queue_id.0));
        writer.key("topic").text(self.topic.as_str());
    }
}
