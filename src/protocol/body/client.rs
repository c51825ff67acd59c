//! Who is connected: members of groups and their connections.

use std::collections::BTreeMap;

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::code::Language;
use crate::json::{JsonForm, Writer};
use crate::model::{ClientId, GroupName, TopicName, UnixMs};

/// One client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ClientConnection {
    pub client_id: ClientId,
    /// Where it comes from, `ip:port`.
    pub address: String,
    /// What it is written in.
    pub language: Language,
    /// Its version as RocketMQ counts versions.
    pub version: i32,
}

fn write_connections(connections: &[ClientConnection], writer: &mut Writer) {
    writer.key("connectionSet").array(|writer| {
        for connection in connections {
            writer.object(|writer| {
                writer.key("clientAddr").text(&connection.address);
                writer.key("clientId").text(connection.client_id.as_str());
                writer.key("language").text(connection.language.name());
                writer.key("version").integer(i64::from(connection.version));
            });
        }
    });
}

/// The reply to 38: the client ids of a group. Without any, the reply is an error (code 1), not an empty list.
pub fn consumer_list<'c>(client_ids: impl IntoIterator<Item = &'c str>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Standard);
    writer.object(|writer| {
        writer.key("consumerIdList").texts(client_ids);
    });
    writer.finish()
}

/// The reply to 203: a consumer group that is online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConnection {
    /// Its members.
    pub connections: Vec<ClientConnection>,
    /// What they subscribe to.
    pub subscriptions: BTreeMap<TopicName, SubscriptionData>,
    /// Who starts a delivery.
    pub consume_type: ConsumeType,
    /// Whether members share the messages.
    pub message_model: MessageModel,
    /// Where the group starts.
    pub consume_from_where: ConsumeFromWhere,
}

impl ConsumerConnection {
    /// The group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            write_connections(&self.connections, writer);
            writer.key("consumeFromWhere").text(self.consume_from_where.name());
            writer.key("consumeType").text(self.consume_type.name());
            writer.key("messageModel").text(self.message_model.name());
            writer.key("subscriptionTable").object(|writer| {
                for (topic, subscription) in &self.subscriptions {
                    subscription.write(writer.key(topic.as_str()));
                }
            });
        });
        writer.finish()
    }
}

/// The reply to 204: a producer group that is online.
#[must_use]
pub fn producer_connection(connections: &[ClientConnection]) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| write_connections(connections, writer));
    writer.finish()
}

/// One producer, with the time of its last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerInfo {
    /// Address, language and version, as of a consumer.
    pub connection: ClientConnection,
    /// When it was last heard of.
    pub last_update: UnixMs,
}

/// The reply to 328: all producers by group.
#[must_use]
pub fn producer_table(groups: &BTreeMap<GroupName, Vec<ProducerInfo>>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("data").object(|writer| {
            for (group, producers) in groups {
                writer.key(group.as_str()).array(|writer| {
                    for ProducerInfo { connection, last_update } in producers {
                        writer.object(|writer| {
                            writer.key("clientId").text(connection.client_id.as_str());
                            writer.key("language").text(connection.language.name());
                            writer.key("lastUpdateTimestamp").integer(last_update.0);
                            writer.key("remoteIP").text(&connection.address);
                            writer.key("version").integer(i64::from(connection.version));
                        });
                    }
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
    fn connections_look_as_java_s() {
        let check = |found: Vec<u8>, expected: &str| assert_eq!(String::from_utf8(found).as_deref(), Ok(expected));
        let connection = ClientConnection {
            client_id: ClientId::from("cid"),
            address: "1.2.3.4:5".into(),
            language: Language::Java,
            version: 479,
        };
        let one = r#"[{"clientAddr":"1.2.3.4:5","clientId":"cid","language":"JAVA","version":479}]"#;
        check(producer_connection(std::slice::from_ref(&connection)), &format!(r#"{{"connectionSet":{one}}}"#));
        let group = ConsumerConnection {
            connections: vec![connection.clone()],
            subscriptions: [(TopicName::from("T"), SubscriptionData::from_tags("T", "*", 1))].into(),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
        };
        let subscription = r#"{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"T"}"#;
        check(
            group.encode(),
            &format!(
                r#"{{"connectionSet":{one},"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{{"T":{subscription}}}}}"#
            ),
        );
        let producer = ProducerInfo { connection, last_update: UnixMs(2) };
        check(
            producer_table(&[(GroupName::from("P"), vec![producer])].into()),
            r#"{"data":{"P":[{"clientId":"cid","language":"JAVA","lastUpdateTimestamp":2,"remoteIP":"1.2.3.4:5","version":479}]}}"#,
        );
        check(consumer_list(["a", "b"]), r#"{"consumerIdList":["a","b"]}"#);
    }
}
