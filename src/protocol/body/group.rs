//! Consumer groups' settings and the table of all of them.

use std::collections::BTreeMap;

use super::assign::{GroupMode, GroupModes, write_modes};
use super::fields::{Fields, as_integer};
use super::topic::{DataVersion, write_text_map};
use super::{BodyError, heartbeat};
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::{JSON_NODES_MAX, JSON_TABLE_NODES_MAX};
use crate::model::{GroupName, TopicName};

/// How long a message that failed waits before its next try.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum RetryPolicy {
    #[default]
    Levels,
    /// These waits one after another, ms; the last one repeats.
    Customized(Vec<i64>),
    /// `initial * multiplier^tries` up to `max`, ms.
    Exponential {
        /// First wait, ms.
        initial: i64,
        /// Longest wait, ms.
        max: i64,
        /// Factor from try to try.
        multiplier: i64,
    },
}

/// A consumer group's settings on one broker. RocketMQ: `SubscriptionGroupConfig`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SubscriptionGroupConfig {
    pub name: GroupName,
    /// Whether it may consume at all.
    pub consume_enable: bool,
    /// Whether a new member may start from the oldest message.
    pub(crate) consume_from_min_enable: bool,
    /// Whether it may consume in broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether popped messages keep their order.
    pub(crate) consume_message_orderly: bool,
    /// Queues of its retry topic.
    pub retry_queues: u32,
    /// Tries before a message is given up.
    pub retry_max_times: i32,
    pub(crate) retry_policy: RetryPolicy,
    /// Broker id to read from.
    pub broker_id: i64,
    /// Broker id to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
    /// Whether members are told when one joins or leaves.
    pub notify_consumer_ids_changed: bool,
    /// Bit 0: unit group.
    pub sys_flag: i32,
    /// How long a listener may hold a message, minutes.
    pub(crate) consume_timeout_minute: i32,
    /// Fixed subscriptions: topic, expression and its type, and version. `None` where not set.
    pub subscriptions: Option<Vec<heartbeat::SimpleSubscription>>,
    /// Further settings by name.
    pub attributes: BTreeMap<String, String>,
}

impl SubscriptionGroupConfig {
    /// RocketMQ's defaults.
    #[must_use]
    pub fn new(name: &str) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            name: GroupName::from(name),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queues: 1,
            retry_max_times: 16,
            retry_policy: RetryPolicy::Levels,
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed: true,
            sys_flag: 0,
            consume_timeout_minute: 15,
            subscriptions: None,
            attributes: BTreeMap::new(),
        }
    }

    /// Reads one group's settings: the body of 200.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<SubscriptionGroupConfig, BodyError> {
        SubscriptionGroupConfig::read(&parse(body, JSON_NODES_MAX)?)
    }

    /// Reads several groups' settings: the body of 225.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode_list(body: &[u8]) -> Result<Vec<SubscriptionGroupConfig>, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        Fields::of(&value, "body")?.array("groupConfigList")?.iter().map(SubscriptionGroupConfig::read).collect()
    }

    fn read(value: &Value<'_>) -> Result<SubscriptionGroupConfig, BodyError> {
        let fields = Fields::of(value, "subscriptionGroupConfig")?;
        let default = SubscriptionGroupConfig::new(&fields.required_text("groupName")?);
        let subscriptions =
            fields.get("subscriptionDataSet").map(|_| fields.array("subscriptionDataSet")).transpose()?;
        let subscriptions =
            subscriptions.map(|list| list.iter().map(heartbeat::SimpleSubscription::read).collect()).transpose()?;
        Ok(SubscriptionGroupConfig {
            consume_enable: fields.boolean("consumeEnable", true)?,
            consume_from_min_enable: fields.boolean("consumeFromMinEnable", true)?,
            consume_broadcast_enable: fields.boolean("consumeBroadcastEnable", true)?,
            consume_message_orderly: fields.boolean("consumeMessageOrderly", false)?,
            retry_queues: fields.integer("retryQueueNums")?.map_or(1, |found| u32::try_from(found).unwrap_or(0)),
            retry_max_times: fields.number("retryMaxTimes", default.retry_max_times)?,
            retry_policy: fields.object("groupRetryPolicy")?.map(read_policy).transpose()?.unwrap_or_default(),
            broker_id: fields.number("brokerId", 0)?,
            which_broker_when_consume_slowly: fields.number("whichBrokerWhenConsumeSlowly", 1)?,
            notify_consumer_ids_changed: fields.boolean("notifyConsumerIdsChangedEnable", true)?,
            sys_flag: fields.number("groupSysFlag", 0)?,
            consume_timeout_minute: fields.number("consumeTimeoutMinute", default.consume_timeout_minute)?,
            subscriptions,
            attributes: fields.text_map("attributes")?,
            name: default.name,
        })
    }

    /// The reply to 352, and an entry of the table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        self.write(&mut writer);
        writer.finish()
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            write_text_map(writer.key("attributes"), &self.attributes);
            writer.key("brokerId").integer(self.broker_id);
            writer.key("consumeBroadcastEnable").boolean(self.consume_broadcast_enable);
            writer.key("consumeEnable").boolean(self.consume_enable);
            writer.key("consumeFromMinEnable").boolean(self.consume_from_min_enable);
            writer.key("consumeMessageOrderly").boolean(self.consume_message_orderly);
            writer.key("consumeTimeoutMinute").integer(i64::from(self.consume_timeout_minute));
            writer.key("groupName").text(self.name.as_str());
            write_policy(&self.retry_policy, writer.key("groupRetryPolicy"));
            writer.key("groupSysFlag").integer(i64::from(self.sys_flag));
            writer.key("notifyConsumerIdsChangedEnable").boolean(self.notify_consumer_ids_changed);
            writer.key("retryMaxTimes").integer(i64::from(self.retry_max_times));
            writer.key("retryQueueNums").unsigned(u64::from(self.retry_queues));
            if let Some(subscriptions) = &self.subscriptions {
                writer
                    .key("subscriptionDataSet")
                    .array(|writer| subscriptions.iter().for_each(|subscription| subscription.write(writer)));
            }
            writer.key("whichBrokerWhenConsumeSlowly").integer(self.which_broker_when_consume_slowly);
        });
    }
}

fn read_policy(fields: Fields<'_>) -> Result<RetryPolicy, BodyError> {
    if let Some(policy) = fields.object("exponentialRetryPolicy")? {
        return Ok(RetryPolicy::Exponential {
            initial: policy.number("initial", 5_000)?,
            max: policy.number("max", 7_200_000)?,
            multiplier: policy.number("multiplier", 2)?,
        });
    }
    let Some(policy) = fields.object("customizedRetryPolicy")? else {
        return Ok(RetryPolicy::Levels);
    };
    let wait = |value| as_integer(value).ok_or(BodyError::Kind { field: "next", expected: "numbers" });
    Ok(RetryPolicy::Customized(policy.array("next")?.iter().map(wait).collect::<Result<_, _>>()?))
}

fn write_policy(policy: &RetryPolicy, writer: &mut Writer) {
    writer.object(|writer| match policy {
        RetryPolicy::Levels => {
            writer.key("type").text("CUSTOMIZED");
        }
        RetryPolicy::Customized(waits) => {
            writer.key("customizedRetryPolicy").object(|writer| {
                writer.key("next").array(|writer| {
                    for wait in waits {
                        writer.integer(*wait);
                    }
                });
            });
            writer.key("type").text("CUSTOMIZED");
        }
        RetryPolicy::Exponential { initial, max, multiplier } => {
            writer.key("exponentialRetryPolicy").object(|writer| {
                writer.key("initial").integer(*initial);
                writer.key("max").integer(*max).key("multiplier").integer(*multiplier);
            });
            writer.key("type").text("EXPONENTIAL");
        }
    });
}

/// Ours in the table of groups: RocketMQ has a file of its own for it.
const MODES: &str = "messageRequestModeTable";

/// All groups of a broker: the reply to 201, and the store's `subscriptionGroup.json`. RocketMQ: `SubscriptionGroupWrapper`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTable {
    /// A slave takes the table again when this has changed.
    pub version: DataVersion,
    /// The groups by name.
    pub groups: BTreeMap<GroupName, SubscriptionGroupConfig>,
    /// What a group may not do with a topic, as a mask of bit numbers; bit 2 is reading.
    pub forbidden: BTreeMap<GroupName, BTreeMap<String, i64>>,
    /// How a group gets the messages of a topic, where that was said (401). RocketMQ: `messageRequestMode.json`.
    pub modes: GroupModes,
}

impl GroupTable {
    /// Puts a group of another table into this one in place of its own, with what goes with its settings.
    pub fn take_group(&mut self, name: &GroupName, from: &mut GroupTable) {
        self.remove_group(name);
        self.groups.extend(from.groups.remove_entry(name));
        self.forbidden.extend(from.forbidden.remove_entry(name));
        self.modes.extend(from.modes.remove_entry(name));
    }

    /// A table that has this group alone, with what goes with its settings; none if it is unknown.
    #[must_use]
    pub fn only(&self, name: &GroupName) -> GroupTable {
        fn entry<V: Clone>(map: &BTreeMap<GroupName, V>, name: &GroupName) -> BTreeMap<GroupName, V> {
            map.get_key_value(name).map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
        }
        GroupTable {
            version: self.version,
            groups: entry(&self.groups, name),
            forbidden: entry(&self.forbidden, name),
            modes: entry(&self.modes, name),
        }
    }

    /// Forgets a group, with what goes with its settings. Whether there was anything of it.
    pub fn remove_group(&mut self, name: &GroupName) -> bool {
        let had = self.groups.remove(name).is_some() | self.forbidden.remove(name).is_some();
        had | self.modes.remove(name).is_some()
    }

    /// Reads a table, Java's own file included. It may have as many values as its bytes can hold: what was written must be read again, and it comes from
    /// a store or from the master of a slave.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<GroupTable, BodyError> {
        GroupTable::read(Fields::of(&parse(body, body.len())?, "groupTable")?)
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<GroupTable, BodyError> {
        let version = fields.object("dataVersion")?.map(DataVersion::read).transpose()?.unwrap_or_default();
        let mut table = GroupTable { version, ..GroupTable::default() };
        for (_, value) in fields.entries("subscriptionGroupTable")? {
            let group = SubscriptionGroupConfig::read(value)?;
            table.groups.insert(group.name.clone(), group);
        }
        for (group, value) in fields.entries("forbiddenTable")? {
            let Value::Object(topics) = value else {
                return Err(BodyError::Kind { field: "forbiddenTable", expected: "a map of maps" });
            };
            let masks = table.forbidden.entry(GroupName::from(group)).or_default();
            for (topic, mask) in &topics.0 {
                if let (crate::json::Key::Text(topic), Some(mask)) = (topic, as_integer(mask)) {
                    masks.insert(topic.to_string(), mask);
                }
            }
        }
        for (group, topics) in fields.entries(MODES)? {
            for (topic, mode) in Fields::of(topics, MODES)?.own_entries() {
                let mode = GroupMode::read(Fields::of(mode, MODES)?)?;
                table.modes.entry(GroupName::from(group)).or_default().insert(TopicName::from(topic), mode);
            }
        }
        Ok(table)
    }

    /// Java's JSON: `subscriptionGroupTable` and `dataVersion`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            self.version.write(writer.key("dataVersion"));
            writer.key("forbiddenTable").object(|writer| {
                for (group, topics) in &self.forbidden {
                    writer.key(group.as_str()).object(|writer| {
                        for (topic, mask) in topics {
                            writer.key(topic).integer(*mask);
                        }
                    });
                }
            });
            if !self.modes.is_empty() {
                write_modes(&self.modes, writer.key(MODES));
            }
            writer.key("subscriptionGroupTable").object(|writer| {
                for (name, group) in &self.groups {
                    group.write(writer.key(name.as_str()));
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_look_as_java_s() {
        let expected = r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        let group = SubscriptionGroupConfig::new("G");
        assert_eq!(String::from_utf8(group.encode()).as_deref(), Ok(expected));
        assert_eq!(SubscriptionGroupConfig::decode(expected.as_bytes()), Ok(group.clone()));
        assert_eq!(SubscriptionGroupConfig::decode(br#"{"groupName":"G"}"#), Ok(group));
        assert_eq!(SubscriptionGroupConfig::decode(b"{}"), Err(BodyError::Missing { field: "groupName" }));
    }

    #[test]
    fn a_table_with_all_policies_survives() {
        let list = br#"{"groupConfigList":[
            {"groupName":"A","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1000,5000]},"type":"CUSTOMIZED"}},
            {"groupName":"B","groupRetryPolicy":{"exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2},"type":"EXPONENTIAL"},
             "subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"T","version":1}]}]}"#;
        let groups = SubscriptionGroupConfig::decode_list(list).expect("a list");
        assert_eq!(groups[0].retry_policy, RetryPolicy::Customized(vec![1000, 5000]));
        assert_eq!(groups[1].retry_policy, RetryPolicy::Exponential { initial: 5000, max: 7_200_000, multiplier: 2 });
        let mut table = GroupTable::default();
        table.groups.extend(groups.into_iter().map(|group| (group.name.clone(), group)));
        table.forbidden.entry(GroupName::from("A")).or_default().insert("T".into(), 4);
        let mode = GroupMode { mode: crate::body::RequestMode::Pop, pop_share_queues: 2 };
        table.modes.entry(GroupName::from("B")).or_default().insert("T".into(), mode);
        assert_eq!(GroupTable::decode(&table.encode()), Ok(table.clone()));
        let (a, mut b) = (GroupName::from("A"), table.only(&GroupName::from("B")));
        assert_eq!((b.groups.len(), b.forbidden.len(), b.modes.len()), (1, 0, 1));
        b.take_group(&a, &mut table.clone());
        assert_eq!(b, table);
        assert!(b.remove_group(&a) && !b.remove_group(&a) && b.forbidden.is_empty());
    }
}
