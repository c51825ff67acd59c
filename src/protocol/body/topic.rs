//! Topics' settings, the table of all of them, and its version.

use std::collections::BTreeMap;

use super::BodyError;
use super::fields::Fields;
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::{JSON_NODES_MAX, JSON_TABLE_NODES_MAX, TOPIC_QUEUES_MAX};
use crate::message::sys_flag;
use crate::model::{TopicName, UnixMs};

/// Bits of a topic's or broker's permission. Source: RocketMQ `PermName`.
pub mod perm {
    /// Other topics may be created after this one's example.
    pub const INHERIT: u32 = 1;
    /// Messages may be sent.
    pub const WRITE: u32 = 1 << 1;
    /// Messages may be consumed.
    pub const READ: u32 = 1 << 2;
}

/// How many tags a message of a topic has. Tags are matched as if it were one, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TopicFilterType {
    /// A message has one tag.
    #[default]
    SingleTag,
    /// A message has several.
    MultiTag,
}

impl TopicFilterType {
    /// RocketMQ's name of it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            TopicFilterType::SingleTag => "SINGLE_TAG",
            TopicFilterType::MultiTag => "MULTI_TAG",
        }
    }

    /// By name; anything unknown is the default.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> TopicFilterType {
        if name == "MULTI_TAG" { TopicFilterType::MultiTag } else { TopicFilterType::SingleTag }
    }
}

/// A topic's settings on one broker. RocketMQ: `TopicConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct TopicConfig {
    pub name: TopicName,
    /// Queues that consumers see, at most [`TOPIC_QUEUES_MAX`].
    pub read_queues: u32,
    /// Queues that producers see, at most [`TOPIC_QUEUES_MAX`].
    pub write_queues: u32,
    /// Bits of [`perm`].
    pub perm: u32,
    /// How tags are matched.
    pub(crate) filter_type: TopicFilterType,
    /// Bit 0: unit topic; bit 1: subscribed across units.
    pub sys_flag: i32,
    /// Whether the order of its queues matters to the route.
    pub order: bool,
    /// Further settings by name, e.g. `message.type`.
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A readable and writable topic with this many queues for both.
    #[must_use]
    pub fn new(name: &str, queues: u32) -> TopicConfig {
        TopicConfig {
            name: TopicName::from(name),
            read_queues: queues,
            write_queues: queues,
            perm: perm::READ | perm::WRITE,
            filter_type: TopicFilterType::SingleTag,
            sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    /// What the `sysFlag` of its messages says of how many tags they have.
    #[must_use]
    pub fn tags_flag(&self) -> i32 {
        match self.filter_type {
            TopicFilterType::SingleTag => 0,
            TopicFilterType::MultiTag => sys_flag::MULTI_TAGS,
        }
    }

    /// Reads one topic's settings.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicConfig, BodyError> {
        TopicConfig::read(&parse(body, JSON_NODES_MAX)?)
    }

    pub(super) fn read(value: &Value<'_>) -> Result<TopicConfig, BodyError> {
        let fields = Fields::of(value, "topicConfig")?;
        let filter_type = fields.text("topicFilterType")?;
        Ok(TopicConfig {
            name: TopicName::from(&*fields.required_text("topicName")?),
            read_queues: queues(fields, "readQueueNums")?,
            write_queues: queues(fields, "writeQueueNums")?,
            perm: fields.number("perm", perm::READ | perm::WRITE)?,
            filter_type: filter_type.map_or_else(TopicFilterType::default, |name| TopicFilterType::from_name(&name)),
            sys_flag: fields.number("topicSysFlag", 0)?,
            order: fields.boolean("order", false)?,
            attributes: fields.text_map("attributes")?,
        })
    }

    /// The reply to 351, and an entry of every table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            write_text_map(writer.key("attributes"), &self.attributes);
            writer.key("order").boolean(self.order);
            writer.key("perm").unsigned(u64::from(self.perm));
            writer.key("readQueueNums").unsigned(u64::from(self.read_queues));
            writer.key("topicFilterType").text(self.filter_type.name());
            writer.key("topicName").text(self.name.as_str());
            writer.key("topicSysFlag").integer(i64::from(self.sys_flag));
            writer.key("writeQueueNums").unsigned(u64::from(self.write_queues));
        });
    }
}

fn queues(fields: Fields<'_>, field: &'static str) -> Result<u32, BodyError> {
    let default = 16;
    let found = fields.number(field, default)?;
    if found > TOPIC_QUEUES_MAX { Err(BodyError::OutOfRange { field, found: i64::from(found) }) } else { Ok(found) }
}

pub(super) fn write_text_map(writer: &mut Writer, map: &BTreeMap<String, String>) {
    writer.object(|writer| {
        for (key, value) in map {
            writer.key(key).text(value);
        }
    });
}

/// The version of a table. Two tables are the same if all three numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataVersion {
    /// Version of the broker's role; larger wins when two brokers claim one id.
    pub state_version: i64,
    /// When the table last changed.
    pub timestamp: UnixMs,
    /// How often it changed.
    pub counter: i64,
}

impl DataVersion {
    /// Reads a version: the body of 322, or the header field of 21 and 201.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<DataVersion, BodyError> {
        DataVersion::read(Fields::of(&parse(body, JSON_NODES_MAX)?, "dataVersion")?)
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<DataVersion, BodyError> {
        Ok(DataVersion {
            state_version: fields.number("stateVersion", 0)?,
            timestamp: UnixMs(fields.number("timestamp", 0)?),
            counter: fields.number("counter", 0)?,
        })
    }

    /// The version, as a body or as the value of a header field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("counter").integer(self.counter);
            writer.key("stateVersion").integer(self.state_version);
            writer.key("timestamp").integer(self.timestamp.0);
        });
    }

    /// The version after one more change.
    #[must_use]
    pub fn next(self, now: UnixMs) -> DataVersion {
        DataVersion { timestamp: now, counter: self.counter.saturating_add(1), ..self }
    }
}

/// All topics of a broker: the reply to 21, and the store's `topics.json`. RocketMQ: `TopicConfigSerializeWrapper`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicTable {
    /// A slave takes the table again when this has changed.
    pub version: DataVersion,
    /// The topics by name.
    pub topics: BTreeMap<TopicName, TopicConfig>,
}

impl TopicTable {
    /// Reads a table, Java's own file included. It may have as many values as its bytes can hold: what was written must be read again, and it comes from
    /// a store or from the master of a slave.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicTable, BodyError> {
        TopicTable::read(Fields::of(&parse(body, body.len())?, "topicTable")?)
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<TopicTable, BodyError> {
        let version = fields.object("dataVersion")?.map(DataVersion::read).transpose()?.unwrap_or_default();
        let topic = |(_, value)| TopicConfig::read(value).map(|topic| (topic.name.clone(), topic));
        let topics = fields.entries("topicConfigTable")?.map(topic).collect::<Result<_, _>>()?;
        Ok(TopicTable { version, topics })
    }

    /// The table with the empty maps of static topics, which Java's administration tools expect to be there.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            self.version.write(writer.key("dataVersion"));
            DataVersion::default().write(writer.key("mappingDataVersion"));
            writer.key("topicConfigTable").object(|writer| {
                for (name, topic) in &self.topics {
                    topic.write(writer.key(name.as_str()));
                }
            });
            writer.key("topicQueueMappingDetailMap").object(|_| ());
            writer.key("topicQueueMappingInfoMap").object(|_| ());
        });
    }
}

/// Several topics' settings: the body of 18.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfigList {
    /// The settings, in the order of arrival.
    pub topics: Vec<TopicConfig>,
}

impl TopicConfigList {
    /// Reads the list.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicConfigList, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let topics = Fields::of(&value, "body")?.array("topicConfigList")?;
        Ok(TopicConfigList { topics: topics.iter().map(TopicConfig::read).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAVA: &str = r#"{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}"#;

    #[test]
    fn a_topic_looks_as_java_s() {
        let mut topic = TopicConfig::new("T", 16);
        topic.attributes.insert("message.type".into(), "FIFO".into());
        assert_eq!(String::from_utf8(topic.encode()).as_deref(), Ok(JAVA));
        assert_eq!(TopicConfig::decode(JAVA.as_bytes()), Ok(topic));
    }

    #[test]
    fn a_table_of_a_java_store_is_read() {
        let text = format!(
            "{{\n\t\"dataVersion\":{{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1700000000000\n\t}},\n\t\
             \"topicConfigTable\":{{\n\t\t\"T\":{JAVA}\n\t}}\n}}"
        );
        let table = TopicTable::decode(text.as_bytes()).expect("a table");
        assert_eq!(table.version, DataVersion { state_version: 0, timestamp: UnixMs(1_700_000_000_000), counter: 2 });
        assert_eq!(table.topics.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["T"]);
        let written = table.encode();
        assert_eq!(TopicTable::decode(&written), Ok(table));
        let version = r#"{"counter":2,"stateVersion":0,"timestamp":1700000000000}"#;
        let none = r#"{"counter":0,"stateVersion":0,"timestamp":0}"#;
        let expected = format!(
            r#"{{"dataVersion":{version},"mappingDataVersion":{none},"topicConfigTable":{{"T":{JAVA}}},"topicQueueMappingDetailMap":{{}},"topicQueueMappingInfoMap":{{}}}}"#
        );
        assert_eq!(String::from_utf8(written), Ok(expected));
    }

    #[test]
    fn impossible_numbers_of_queues_are_refused() {
        let check = |queues: &str, found: i64| {
            let body = format!(r#"{{"topicName":"T","readQueueNums":{queues}}}"#);
            let expected = BodyError::OutOfRange { field: "readQueueNums", found };
            assert_eq!(TopicConfig::decode(body.as_bytes()), Err(expected));
        };
        check("-1", -1);
        check("65537", 65_537);
        check("\"4294967296\"", 4_294_967_296);
    }
}
