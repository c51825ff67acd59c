//! Locks on queues, for consumers that need their order.

use super::fields::Fields;
use super::{BodyError, MessageQueue};
use crate::json::{JsonForm, Writer, parse};
use crate::limits::JSON_NODES_MAX;
use crate::model::{ClientId, GroupName};

/// The body of 41 and 42: which queues a client wants to lock or unlock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct LockRequest {
    /// The client's group.
    pub group: GroupName,
    pub client_id: ClientId,
    pub queues: Vec<MessageQueue>,
    /// Sent by a master to its replicas, which ask no one else.
    pub(crate) only_this_broker: bool,
}

impl LockRequest {
    /// Reads the request.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<LockRequest, BodyError> {
        let value = parse(body, JSON_NODES_MAX)?;
        let fields = Fields::of(&value, "body")?;
        Ok(LockRequest {
            group: GroupName::from(&*fields.required_text("consumerGroup")?),
            client_id: ClientId::from(&*fields.required_text("clientId")?),
            queues: fields.array("mqSet")?.iter().map(MessageQueue::read).collect::<Result<_, _>>()?,
            only_this_broker: fields.boolean("onlyThisBroker", false)?,
        })
    }
}

/// The reply to 41: the queues that the client holds now.
pub fn locked_queues<'q>(queues: impl IntoIterator<Item = &'q MessageQueue>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("lockOKMQSet").array(|writer| {
            for queue in queues {
                writer.object(|writer| queue.write(writer));
            }
        });
    });
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BrokerName, QueueId, TopicName};

    #[test]
    fn locks_look_as_java_s() {
        let text = br#"{"clientId":"c","consumerGroup":"G","mqSet":[{"brokerName":"b","queueId":1,"topic":"T"}],"onlyThisBroker":false}"#;
        let queue =
            MessageQueue { topic: TopicName::from("T"), broker_name: BrokerName::from("b"), queue_id: QueueId(1) };
        let expected = LockRequest {
            group: GroupName::from("G"),
            client_id: ClientId::from("c"),
            queues: vec![queue.clone()],
            only_this_broker: false,
        };
        assert_eq!(LockRequest::decode(text), Ok(expected));
        let reply = r#"{"lockOKMQSet":[{"brokerName":"b","queueId":1,"topic":"T"}]}"#;
        assert_eq!(String::from_utf8(locked_queues([&queue])).as_deref(), Ok(reply));
    }
}
