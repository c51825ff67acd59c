//! Which queues a consumer has, where its broker decides that (400), and how a group gets the messages of a topic (401, 402).

use std::collections::BTreeMap;

use super::BodyError;
use super::fields::Fields;
use super::heartbeat::MessageModel;
use crate::json::{JsonForm, Writer, parse};
use crate::limits::JSON_NODES_MAX;
use crate::model::{BrokerName, ClientId, GroupName, QueueId, TopicName};

/// Whether consumers say from where they read. RocketMQ: `MessageRequestMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestMode {
    /// They do: each queue is one consumer's, which asks for messages from an offset on.
    #[default]
    Pull,
    /// The broker does, and hands messages out for a while; consumers share queues.
    Pop,
}

impl RequestMode {
    /// RocketMQ's name of it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            RequestMode::Pull => "PULL",
            RequestMode::Pop => "POP",
        }
    }

    /// By that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<RequestMode> {
        [RequestMode::Pull, RequestMode::Pop].into_iter().find(|mode| mode.text() == text)
    }

    fn read(fields: Fields<'_>) -> Result<RequestMode, BodyError> {
        let text = fields.text("mode")?;
        let unknown = BodyError::Kind { field: "mode", expected: "PULL or POP" };
        text.map_or(Ok(RequestMode::Pull), |text| RequestMode::parse(&text).ok_or(unknown))
    }
}

/// How a group gets the messages of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupMode {
    /// By offset, or handed out.
    pub mode: RequestMode,
    /// Of a pop: each consumer has its own queues, and those of so many consumers behind it. 0 or less: all have all.
    pub pop_share_queues: i32,
}

impl GroupMode {
    pub(super) fn read(fields: Fields<'_>) -> Result<GroupMode, BodyError> {
        let pop_share_queues = fields.number("popShareQueueNum", 0)?;
        Ok(GroupMode { mode: RequestMode::read(fields)?, pop_share_queues })
    }

    /// Writes the members. Of 402 those between them are the names.
    fn write(self, names: Option<(&str, &str)>, writer: &mut Writer) {
        writer.object(|writer| {
            if let Some((_, group)) = names {
                writer.key("consumerGroup").text(group);
            }
            writer.key("mode").text(self.mode.text());
            writer.key("popShareQueueNum").integer(i64::from(self.pop_share_queues));
            if let Some((topic, _)) = names {
                writer.key("topic").text(topic);
            }
        });
    }
}

/// Groups' modes by group, then topic.
pub(crate) type GroupModes = BTreeMap<GroupName, BTreeMap<TopicName, GroupMode>>;

/// Writes modes as the table of groups has them.
pub(super) fn write_modes(modes: &GroupModes, writer: &mut Writer) {
    writer.object(|writer| {
        for (group, topics) in modes {
            writer.key(group.as_str()).object(|writer| {
                for (topic, mode) in topics {
                    mode.write(None, writer.key(topic.as_str()));
                }
            });
        }
    });
}

/// The body of 401. RocketMQ: `SetMessageRequestModeRequestBody`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ModeRequest {
    pub topic: TopicName,
    pub group: GroupName,
    /// From now on.
    pub mode: GroupMode,
}

impl ModeRequest {
    /// Reads the request.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<ModeRequest, BodyError> {
        let value = parse(body, JSON_NODES_MAX)?;
        let fields = Fields::of(&value, "body")?;
        Ok(ModeRequest {
            topic: TopicName::from(&*fields.required_text("topic")?),
            group: GroupName::from(&*fields.required_text("consumerGroup")?),
            mode: GroupMode::read(fields)?,
        })
    }
}

/// The reply to 402, by topic. RocketMQ: `MessageRequestModeManager`.
#[must_use]
pub fn request_modes(modes: &GroupModes) -> Vec<u8> {
    let mut by_topic: BTreeMap<&TopicName, BTreeMap<&GroupName, GroupMode>> = BTreeMap::new();
    for (group, topics) in modes {
        for (topic, mode) in topics {
            by_topic.entry(topic).or_default().insert(group, *mode);
        }
    }
    let mut writer = Writer::new(JsonForm::Standard);
    writer.object(|writer| {
        writer.key("messageRequestModeMap").object(|writer| {
            for (topic, groups) in by_topic {
                writer.key(topic.as_str()).object(|writer| {
                    for (group, mode) in groups {
                        mode.write(Some((topic.as_str(), group.as_str())), writer.key(group.as_str()));
                    }
                });
            }
        });
    });
    writer.finish()
}

/// Reads the reply to 402 of another broker.
///
/// # Errors
/// [`BodyError`].
pub fn decode_request_modes(body: &[u8]) -> Result<GroupModes, BodyError> {
    let value = parse(body, body.len())?;
    let mut modes = GroupModes::new();
    let Some(topics) = Fields::of(&value, "body")?.object("messageRequestModeMap")? else { return Ok(modes) };
    for (topic, groups) in topics.own_entries() {
        for (group, mode) in Fields::of(groups, "messageRequestModeMap")?.own_entries() {
            let mode = GroupMode::read(Fields::of(mode, "messageRequestModeMap")?)?;
            modes.entry(GroupName::from(group)).or_default().insert(TopicName::from(topic), mode);
        }
    }
    Ok(modes)
}

/// How queues are dealt out among consumers. RocketMQ: `AllocateMessageQueueStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Neighbouring queues to each.
    Averagely,
    /// Queue by queue to one after the other.
    ByCircle,
    /// One that a broker does not have.
    Unknown,
}

/// The body of 400. RocketMQ: `QueryAssignmentRequestBody`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct AssignmentRequest {
    pub topic: TopicName,
    pub group: GroupName,
    pub client_id: ClientId,
    pub strategy: Strategy,
    pub model: MessageModel,
}

impl AssignmentRequest {
    /// Reads the request.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<AssignmentRequest, BodyError> {
        let value = parse(body, JSON_NODES_MAX)?;
        let fields = Fields::of(&value, "body")?;
        let strategy = match fields.text("strategyName")?.as_deref() {
            Some("AVG") => Strategy::Averagely,
            Some("AVG_BY_CIRCLE") => Strategy::ByCircle,
            _ => Strategy::Unknown,
        };
        Ok(AssignmentRequest {
            topic: TopicName::from(&*fields.required_text("topic")?),
            group: GroupName::from(&*fields.required_text("consumerGroup")?),
            client_id: ClientId::from(&*fields.required_text("clientId")?),
            strategy,
            model: MessageModel::read(fields, MessageModel::Clustering)?,
        })
    }
}

/// A queue that a consumer has; `None` for the number: all that the broker has.
pub type AssignedQueue = (BrokerName, Option<QueueId>);

/// The reply to 400; `None`: nothing can be said, and the client goes on with what it has. RocketMQ: `QueryAssignmentResponseBody`.
#[must_use]
pub fn assignments(topic: &TopicName, mode: RequestMode, queues: Option<&[AssignedQueue]>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Standard);
    writer.object(|writer| {
        let Some(queues) = queues else { return };
        writer.key("messageQueueAssignments").array(|writer| {
            for (broker, queue_id) in queues {
                writer.object(|writer| {
                    writer.key("messageQueue").object(|writer| {
                        writer.key("brokerName").text(broker.as_str());
                        writer.key("queueId").integer(queue_id.map_or(-1, |queue| i64::from(queue.0)));
                        writer.key("topic").text(topic.as_str());
                    });
                    writer.key("mode").text(mode.text());
                });
            }
        });
    });
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_java_writes_them() {
        let body =
            br#"{"clientId":"c","consumerGroup":"G","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}"#;
        let request = AssignmentRequest::decode(body).expect("a request");
        let expected = AssignmentRequest {
            topic: TopicName::from("T"),
            group: GroupName::from("G"),
            client_id: ClientId::from("c"),
            strategy: Strategy::Averagely,
            model: MessageModel::Clustering,
        };
        assert_eq!(request, expected);
        let body = br#"{"consumerGroup":"G","mode":"POP","popShareQueueNum":8,"topic":"T"}"#;
        let mode = GroupMode { mode: RequestMode::Pop, pop_share_queues: 8 };
        let expected = ModeRequest { topic: TopicName::from("T"), group: GroupName::from("G"), mode };
        assert_eq!(ModeRequest::decode(body), Ok(expected));
        let plain = ModeRequest::decode(br#"{"consumerGroup":"G","topic":"T"}"#).expect("a request");
        assert_eq!(plain.mode, GroupMode::default());
        assert_eq!(ModeRequest::decode(b"{}"), Err(BodyError::Missing { field: "topic" }));
        assert!(ModeRequest::decode(br#"{"consumerGroup":"G","mode":"PUSH","topic":"T"}"#).is_err());
    }

    #[test]
    fn answers_look_as_java_s() {
        let (topic, broker) = (TopicName::from("T"), BrokerName::from("b"));
        let check = |mode, queues: Option<&[AssignedQueue]>, expected: &str| {
            assert_eq!(String::from_utf8(assignments(&topic, mode, queues)).as_deref(), Ok(expected));
        };
        check(RequestMode::Pull, None, "{}");
        check(RequestMode::Pull, Some(&[]), r#"{"messageQueueAssignments":[]}"#);
        check(
            RequestMode::Pop,
            Some(&[(broker.clone(), None), (broker, Some(QueueId(3)))]),
            r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":-1,"topic":"T"},"mode":"POP"},{"messageQueue":{"brokerName":"b","queueId":3,"topic":"T"},"mode":"POP"}]}"#,
        );
        let mode = GroupMode { mode: RequestMode::Pop, pop_share_queues: -1 };
        let modes: GroupModes = [(GroupName::from("G"), [(topic.clone(), mode)].into())].into();
        let text = r#"{"messageRequestModeMap":{"T":{"G":{"consumerGroup":"G","mode":"POP","popShareQueueNum":-1,"topic":"T"}}}}"#;
        assert_eq!(String::from_utf8(request_modes(&modes)).as_deref(), Ok(text));
        assert_eq!(decode_request_modes(text.as_bytes()), Ok(modes));
        assert_eq!(request_modes(&GroupModes::new()), br#"{"messageRequestModeMap":{}}"#);
    }
}
