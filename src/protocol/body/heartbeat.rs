//! What a client says of itself every 30 s: which groups it produces for and consumes in, and what they subscribe to.
//!
//! Java writes names and numbers, Go writes the codes of tags as texts, C++ writes enums as ordinals, versions as texts, and
//! leaves out what is empty. All of it is taken. Source: RocketMQ `HeartbeatData`, `ConsumerData`, `SubscriptionData`.

use std::collections::BTreeSet;

use super::BodyError;
use super::fields::{Fields, as_integer, as_text};
use crate::json::{Value, Writer, parse};
use crate::limits::JSON_NODES_MAX;
use crate::message::java_hash;
use crate::model::{ClientId, GroupName, TopicName};

macro_rules! names {
    ($(#[$doc:meta])* $type:ident, $field:literal; $($(#[$variant_doc:meta])* $variant:ident = $ordinal:literal, $name:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// RocketMQ's name of it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// By name, or by ordinal as a number or text; `default` if absent.
            pub(super) fn read(fields: Fields<'_>, default: $type) -> Result<$type, BodyError> {
                match fields.text($field)?.as_deref() {
                    None => Ok(default),
                    $(Some($name | $ordinal) => Ok($type::$variant),)*
                    Some(_) => Err(BodyError::Kind { field: $field, expected: "one of its names or ordinals" }),
                }
            }
        }
    };
}

names! {
    /// Who starts a delivery.
    ConsumeType, "consumeType";
    /// The application pulls.
    Actively = "0", "CONSUME_ACTIVELY";
    /// The client pulls ahead and pushes to a listener.
    Passively = "1", "CONSUME_PASSIVELY";
    /// The broker assigns and times each message.
    Pop = "2", "CONSUME_POP";
}

names! {
    /// Whether members share the messages.
    MessageModel, "messageModel";
    /// Every member gets every message.
    Broadcasting = "0", "BROADCASTING";
    /// Every message goes to one member.
    Clustering = "1", "CLUSTERING";
}

names! {
    /// Where a group without an offset starts.
    ConsumeFromWhere, "consumeFromWhere";
    /// At the newest message.
    LastOffset = "0", "CONSUME_FROM_LAST_OFFSET";
    /// Deprecated; as `LastOffset`.
    LastOffsetAndFromMinWhenBootFirst = "1", "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST";
    /// Deprecated; as `FirstOffset`.
    MinOffset = "2", "CONSUME_FROM_MIN_OFFSET";
    /// Deprecated; as `LastOffset`.
    MaxOffset = "3", "CONSUME_FROM_MAX_OFFSET";
    /// At the oldest message.
    FirstOffset = "4", "CONSUME_FROM_FIRST_OFFSET";
    /// At a time that the client knows.
    Timestamp = "5", "CONSUME_FROM_TIMESTAMP";
}

/// The language of a subscription's expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpressionType {
    /// Tags, joined with `||`.
    Tag,
    /// SQL92 over properties.
    Sql92,
    /// Something else, by its name.
    Other(String),
}

impl ExpressionType {
    /// By name; none or empty means tags.
    #[must_use]
    pub(crate) fn from_name(name: Option<&str>) -> ExpressionType {
        match name {
            None | Some("" | "TAG") => ExpressionType::Tag,
            Some("SQL92") => ExpressionType::Sql92,
            Some(other) => ExpressionType::Other(other.to_owned()),
        }
    }

    /// RocketMQ's name of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            ExpressionType::Tag => "TAG",
            ExpressionType::Sql92 => "SQL92",
            ExpressionType::Other(name) => name,
        }
    }
}

/// What a group wants of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SubscriptionData {
    pub topic: TopicName,
    /// The expression; `*` is everything.
    pub expression: String,
    /// Its language.
    pub expression_type: ExpressionType,
    /// The tags of a tag expression, empty for everything.
    pub tags: BTreeSet<String>,
    /// Java's hashes of the tags. Computed here from the tags: Go hashes bytes, which fails for all but ASCII.
    pub codes: BTreeSet<i32>,
    /// Rises with each change of the subscription; by default the client's time, ms.
    pub version: i64,
    /// A legacy filter in Java code; never honoured.
    pub class_filter_mode: bool,
}

impl SubscriptionData {
    /// A subscription from its expression, as a client makes it: tags split at `||`, trimmed, `*` and none are everything.
    #[cfg(test)]
    pub(crate) fn from_tags(topic: &str, expression: &str, version: i64) -> SubscriptionData {
        let everything = expression.trim().is_empty() || expression == "*";
        let tags = expression.split("||").map(str::trim).filter(|tag| !everything && !tag.is_empty());
        let tags: BTreeSet<String> = tags.map(str::to_owned).collect();
        SubscriptionData {
            topic: TopicName::from(topic),
            expression: if everything { "*".to_owned() } else { expression.to_owned() },
            expression_type: ExpressionType::Tag,
            codes: tags.iter().map(|tag| java_hash(tag)).collect(),
            tags,
            version,
            class_filter_mode: false,
        }
    }

    /// Whether everything of the topic is wanted.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.expression_type == ExpressionType::Tag && (self.expression == "*" || self.codes.is_empty())
    }

    pub(super) fn read(value: &Value<'_>) -> Result<SubscriptionData, BodyError> {
        let fields = Fields::of(value, "subscriptionData")?;
        let code = |value| {
            let wrong = BodyError::Kind { field: "codeSet", expected: "numbers" };
            as_integer(value).and_then(|code| i32::try_from(code).ok()).ok_or(wrong)
        };
        let tags: BTreeSet<String> = fields.texts("tagsSet")?.into_iter().collect();
        let codes = if tags.is_empty() {
            fields.array("codeSet")?.iter().map(code).collect::<Result<_, _>>()?
        } else {
            tags.iter().map(|tag| java_hash(tag)).collect()
        };
        Ok(SubscriptionData {
            topic: TopicName::from(&*fields.required_text("topic")?),
            expression: fields.text("subString")?.map_or_else(|| "*".to_owned(), String::from),
            expression_type: ExpressionType::from_name(fields.text("expressionType")?.as_deref()),
            tags,
            codes,
            version: fields.number("subVersion", 0)?,
            class_filter_mode: fields.boolean("classFilterMode", false)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("classFilterMode").boolean(self.class_filter_mode);
            writer.key("codeSet").array(|writer| {
                for code in &self.codes {
                    writer.integer(i64::from(*code));
                }
            });
            writer.key("expressionType").text(self.expression_type.name());
            writer.key("subString").text(&self.expression);
            writer.key("subVersion").integer(self.version);
            writer.key("tagsSet").texts(self.tags.iter().map(String::as_str));
            writer.key("topic").text(self.topic.as_str());
        });
    }
}

/// A subscription as a group's settings hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SimpleSubscription {
    pub topic: TopicName,
    pub expression: String,
    /// Its language.
    pub expression_type: ExpressionType,
    pub version: i64,
}

impl SimpleSubscription {
    pub(super) fn read(value: &Value<'_>) -> Result<SimpleSubscription, BodyError> {
        let fields = Fields::of(value, "subscriptionDataSet")?;
        Ok(SimpleSubscription {
            topic: TopicName::from(&*fields.required_text("topic")?),
            expression: fields.text("expression")?.map_or_else(|| "*".to_owned(), String::from),
            expression_type: ExpressionType::from_name(fields.text("expressionType")?.as_deref()),
            version: fields.number("version", 0)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("expression").text(&self.expression).key("expressionType").text(self.expression_type.name());
            writer.key("topic").text(self.topic.as_str()).key("version").integer(self.version);
        });
    }
}

/// A client as a member of one consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ConsumerData {
    pub group: GroupName,
    /// Who starts a delivery.
    pub consume_type: ConsumeType,
    /// Whether members share the messages.
    pub message_model: MessageModel,
    /// Where the group starts.
    pub consume_from_where: ConsumeFromWhere,
    /// What it subscribes to; empty in a heartbeat without subscriptions.
    pub subscriptions: Vec<SubscriptionData>,
    /// Whether its retry topic is a unit topic.
    pub unit_mode: bool,
}

/// The body of 34.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct HeartbeatData {
    pub client_id: ClientId,
    /// Groups that it produces for.
    pub producers: Vec<GroupName>,
    /// Groups that it consumes in.
    pub consumers: Vec<ConsumerData>,
    /// Not 0: a heartbeat of version 2, and the hash of its full form.
    pub fingerprint: i32,
    /// Subscriptions are left out, and must be kept as they are known.
    pub without_subscriptions: bool,
}

impl HeartbeatData {
    /// Reads a heartbeat of any stock client.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<HeartbeatData, BodyError> {
        let value = parse(body, JSON_NODES_MAX)?;
        let fields = Fields::of(&value, "heartbeat")?;
        let producer = |value| {
            // Some clients have written the bare name.
            if let Some(name) = as_text(value) {
                return Ok(GroupName::from(&*name));
            }
            Fields::of(value, "producerDataSet")?.required_text("groupName").map(|name| GroupName::from(&*name))
        };
        Ok(HeartbeatData {
            client_id: ClientId::from(&*fields.required_text("clientID")?),
            producers: fields.array("producerDataSet")?.iter().map(producer).collect::<Result<_, _>>()?,
            consumers: fields.array("consumerDataSet")?.iter().map(read_consumer).collect::<Result<_, _>>()?,
            fingerprint: fields.number("heartbeatFingerprint", 0)?,
            without_subscriptions: fields.boolean("withoutSub", false)?,
        })
    }
}

/// The body of 46: a subscription that a client is about to make. Source: RocketMQ `CheckClientRequestBody`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// What is to be checked, if anything.
    pub subscription: Option<SubscriptionData>,
}

impl ClientConfig {
    /// Reads the body of 46; without one there is nothing to check.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) fn decode(body: &[u8]) -> Result<ClientConfig, BodyError> {
        if body.is_empty() {
            return Ok(ClientConfig { subscription: None });
        }
        let value = parse(body, JSON_NODES_MAX)?;
        let wanted = Fields::of(&value, "client config")?.get("subscriptionData");
        Ok(ClientConfig { subscription: wanted.map(SubscriptionData::read).transpose()? })
    }
}

fn read_consumer(value: &Value<'_>) -> Result<ConsumerData, BodyError> {
    let fields = Fields::of(value, "consumerDataSet")?;
    let subscriptions = fields.array("subscriptionDataSet")?.iter().map(SubscriptionData::read);
    Ok(ConsumerData {
        group: GroupName::from(&*fields.required_text("groupName")?),
        consume_type: ConsumeType::read(fields, ConsumeType::Passively)?,
        message_model: MessageModel::read(fields, MessageModel::Clustering)?,
        consume_from_where: ConsumeFromWhere::read(fields, ConsumeFromWhere::LastOffset)?,
        subscriptions: subscriptions.collect::<Result<_, _>>()?,
        unit_mode: fields.boolean("unitMode", false)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(consumer: ConsumerData) -> HeartbeatData {
        HeartbeatData {
            client_id: ClientId::from("10.0.0.9@1#2"),
            producers: vec![GroupName::from("P")],
            consumers: vec![consumer],
            fingerprint: 0,
            without_subscriptions: false,
        }
    }

    fn consumer() -> ConsumerData {
        ConsumerData {
            group: GroupName::from("G"),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscriptions: vec![SubscriptionData::from_tags("T", "A || B", 1)],
            unit_mode: false,
        }
    }

    #[test]
    fn heartbeats_of_all_clients_say_the_same() {
        let check = |body: &str| {
            assert_eq!(HeartbeatData::decode(body.as_bytes()), Ok(expected(consumer())), "{body}");
        };
        // Java 5
        check(
            r#"{"clientID":"10.0.0.9@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"G","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[65,66],"expressionType":"TAG","subString":"A || B","subVersion":1,"tagsSet":["A","B"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"P"}],"withoutSub":false}"#,
        );
        // Go
        check(
            r#"{"clientID":"10.0.0.9@1#2","producerDataSet":[{"groupName":"P"}],"consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"A || B","tagsSet":["A","B"],"codeSet":["65","66"],"subVersion":1,"expressionType":"TAG"}],"unitMode":false}]}"#,
        );
        // C++
        check(
            r#"{"clientID":"10.0.0.9@1#2","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"G","messageModel":1,"subscriptionDataSet":[{"codeSet":["65","66"],"subString":"A || B","subVersion":"1","tagsSet":["A","B"],"topic":"T"}]}],"producerDataSet":[{"groupName":"P"}]}"#,
        );
    }

    #[test]
    fn enums_come_as_names_or_ordinals() {
        let check = |consumer_fields: &str, expected_consumer: ConsumerData| {
            let body = format!(
                r#"{{"clientID":"10.0.0.9@1#2","producerDataSet":["P"],"consumerDataSet":[{{"groupName":"G",{consumer_fields}}}]}}"#
            );
            assert_eq!(HeartbeatData::decode(body.as_bytes()), Ok(expected(expected_consumer)), "{body}");
        };
        let none = ConsumerData { subscriptions: vec![], ..consumer() };
        check(
            r#""consumeFromWhere":4"#,
            ConsumerData { consume_from_where: ConsumeFromWhere::FirstOffset, ..none.clone() },
        );
        check(r#""messageModel":"0""#, ConsumerData { message_model: MessageModel::Broadcasting, ..none.clone() });
        check(
            r#""consumeType":"CONSUME_POP","unitMode":"true""#,
            ConsumerData { consume_type: ConsumeType::Pop, unit_mode: true, ..none },
        );
    }

    #[test]
    fn a_star_is_everything() {
        let check = |expression: &str, tags: &[&str]| {
            let subscription = SubscriptionData::from_tags("T", expression, 0);
            assert_eq!(subscription.tags.iter().map(String::as_str).collect::<Vec<_>>(), tags, "{expression}");
            assert_eq!(subscription.is_everything(), tags.is_empty(), "{expression}");
        };
        check("*", &[]);
        check("", &[]);
        check(" a||b || ", &["a", "b"]);
        check("*||a", &["*", "a"]);
    }

    #[test]
    fn what_is_no_heartbeat_is_refused() {
        let check = |body: &str, expected: BodyError| {
            assert_eq!(HeartbeatData::decode(body.as_bytes()), Err(expected), "{body}");
        };
        check("{}", BodyError::Missing { field: "clientID" });
        check("[]", BodyError::Kind { field: "heartbeat", expected: "an object" });
        check(
            r#"{"clientID":"c","consumerDataSet":7}"#,
            BodyError::Kind { field: "consumerDataSet", expected: "an array" },
        );
        check(
            r#"{"clientID":"c","heartbeatFingerprint":9999999999}"#,
            BodyError::OutOfRange { field: "heartbeatFingerprint", found: 9_999_999_999 },
        );
    }
}
