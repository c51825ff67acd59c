//! What a broker registers with: its topics and their version.
//!
//! Brokers of today send JSON, those before 5.0 may send zlib of a binary form:
//!
//! | part        | bytes                                                              |
//! |-------------|--------------------------------------------------------------------|
//! | version     | i32 length, JSON of [`DataVersion`]                                 |
//! | topics      | i32 count, each i32 length and a line of text                       |
//! | filters     | i32 length, JSON list of addresses                                  |
//! | mappings    | from 5.0: i32 count, each i32 length and JSON; static topics, unread |
//!
//! A line is `topicName readQueueNums writeQueueNums perm topicFilterType [attributes as JSON]`, one space between each.
//! Source: RocketMQ `RegisterBrokerBody`, `TopicConfig.decode`.

use std::collections::BTreeMap;
use std::io::Read;

use super::BodyError;
use super::fields::Fields;
use super::topic::{DataVersion, TopicConfig, TopicFilterType, TopicTable};
use crate::cursor::Cursor;
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::{
    JSON_NODES_MAX, JSON_TABLE_NODES_MAX, REGISTER_BODY_BYTES_MAX, REGISTER_TOPICS_MAX, TOPIC_QUEUES_MAX,
};

/// The body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterBody {
    /// The broker's topics, or only those that changed.
    pub table: TopicTable,
    /// Addresses of filter servers, which no one runs any more.
    pub filter_servers: Vec<String>,
}

impl RegisterBody {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<RegisterBody, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "registerBrokerBody")?;
        let table = fields.object("topicConfigSerializeWrapper")?.map(TopicTable::read).transpose()?;
        Ok(RegisterBody { table: table.unwrap_or_default(), filter_servers: fields.texts("filterServerList")? })
    }

    /// Reads the compressed form. It is inflated to at most [`REGISTER_BODY_BYTES_MAX`].
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode_compressed(body: &[u8]) -> Result<RegisterBody, BodyError> {
        let damaged = BodyError::Inflate { max: REGISTER_BODY_BYTES_MAX };
        let bound = u64::try_from(REGISTER_BODY_BYTES_MAX).unwrap_or(u64::MAX);
        let mut inflated = Vec::new();
        let mut inflater = flate2::read::ZlibDecoder::new(body).take(bound.saturating_add(1));
        inflater.read_to_end(&mut inflated).map_err(|_| damaged.clone())?;
        if inflated.len() > REGISTER_BODY_BYTES_MAX {
            return Err(damaged);
        }
        RegisterBody::decode_binary(&inflated)
    }

    fn decode_binary(body: &[u8]) -> Result<RegisterBody, BodyError> {
        let mut input = Cursor::new(body);
        let version = DataVersion::decode(input.sized()?)?;
        let mut table = TopicTable { version, topics: BTreeMap::new() };
        let count = usize::try_from(input.i32()?).map_err(|_| BodyError::Ended)?;
        if count > REGISTER_TOPICS_MAX {
            return Err(BodyError::TooMany { field: "topicConfigTable", max: REGISTER_TOPICS_MAX });
        }
        for _ in 0..count {
            let topic = topic_line(input.sized()?)?;
            table.topics.insert(topic.name.clone(), topic);
        }
        let filter_servers = match parse(input.sized()?, JSON_NODES_MAX)? {
            Value::Array(values) => values.iter().filter_map(super::fields::as_text).map(String::from).collect(),
            _ => Vec::new(),
        };
        Ok(RegisterBody { table, filter_servers })
    }

    /// The JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        writer.object(|writer| {
            writer.key("filterServerList").texts(self.filter_servers.iter().map(String::as_str));
            self.table.write(writer.key("topicConfigSerializeWrapper"));
        });
        writer.finish()
    }
}

fn topic_line(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let wrong = || BodyError::Kind { field: "topicConfig", expected: "a line of name, queues, permission and filter" };
    let line = std::str::from_utf8(line).map_err(|_| wrong())?;
    let mut words = line.splitn(6, ' ');
    let name = words.next().filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok()).ok_or_else(wrong);
    let mut topic = TopicConfig::new(name, 0);
    topic.read_queues = number()?;
    topic.write_queues = number()?;
    topic.perm = number()?;
    for (field, found) in [("readQueueNums", topic.read_queues), ("writeQueueNums", topic.write_queues)] {
        if found > TOPIC_QUEUES_MAX {
            return Err(BodyError::OutOfRange { field, found: i64::from(found) });
        }
    }
    topic.filter_type = TopicFilterType::from_name(words.next().ok_or_else(wrong)?);
    let attributes = words.next().filter(|text| !text.trim().is_empty());
    let attributes = attributes.map(|text| parse(text.as_bytes(), JSON_NODES_MAX)).transpose()?;
    if let Some(Value::Object(attributes)) = attributes {
        topic.attributes = Fields::of_object(&attributes).own_text_map("attributes")?;
    }
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TopicName, UnixMs};
    use std::io::Write as _;

    fn body() -> RegisterBody {
        let mut topic = TopicConfig::new("T", 8);
        topic.attributes.insert("message.type".into(), "FIFO".into());
        let version = DataVersion { state_version: 1, timestamp: UnixMs(2), counter: 3 };
        let topics = [(TopicName::from("T"), topic), (TopicName::from("U"), TopicConfig::new("U", 1))].into();
        RegisterBody { table: TopicTable { version, topics }, filter_servers: vec!["f:1".into()] }
    }

    fn compressed(count: i32, lines: &[&str], rest: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut sized = |bytes: &[u8]| {
            plain.extend_from_slice(&i32::try_from(bytes.len()).expect("short").to_be_bytes());
            plain.extend_from_slice(bytes);
        };
        sized(br#"{"counter":3,"stateVersion":1,"timestamp":2}"#);
        plain.extend_from_slice(&count.to_be_bytes());
        for line in lines {
            plain.extend_from_slice(&i32::try_from(line.len()).expect("short").to_be_bytes());
            plain.extend_from_slice(line.as_bytes());
        }
        plain.extend_from_slice(rest);
        let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        deflater.write_all(&plain).expect("a Vec takes it");
        deflater.finish().expect("a Vec takes it")
    }

    #[test]
    fn both_forms_say_the_same() {
        assert_eq!(RegisterBody::decode(&body().encode()), Ok(body()));
        let lines = [r#"T 8 8 6 SINGLE_TAG {"message.type":"FIFO"}"#, "U 1 1 6 SINGLE_TAG "];
        let old = compressed(2, &lines, b"\0\0\0\x07[\"f:1\"]");
        assert_eq!(RegisterBody::decode_compressed(&old), Ok(body()));
        let new = compressed(2, &lines, b"\0\0\0\x07[\"f:1\"]\0\0\0\x01\0\0\0\x02{}");
        assert_eq!(RegisterBody::decode_compressed(&new), Ok(body()));
    }

    #[test]
    fn static_topics_of_a_java_broker_are_passed_over() {
        let text = r#"{"filterServerList":["f:1"],"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":1,"timestamp":2},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"topicConfigTable":{},"topicQueueMappingDetailMap":{"T":{"bname":"broker-a","currIdMap":{},"dirty":false,"epoch":1,"hostedQueues":{0:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"T","totalQueues":8}},"topicQueueMappingInfoMap":{"T":{"bname":"broker-a","currIdMap":{0:0},"dirty":false,"epoch":1,"scope":"__global__","topic":"T","totalQueues":8}}}}"#;
        let mut expected = body();
        expected.table.topics.clear();
        assert_eq!(RegisterBody::decode(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_body_that_lies_is_refused() {
        let check = |body: &[u8], expected: BodyError| assert_eq!(RegisterBody::decode_compressed(body), Err(expected));
        let damaged = BodyError::Inflate { max: REGISTER_BODY_BYTES_MAX };
        check(b"", damaged.clone());
        check(b"not zlib", damaged.clone());
        check(&compressed(-1, &[], b""), BodyError::Ended);
        check(&compressed(1, &[], b""), BodyError::Ended);
        check(
            &compressed(i32::MAX, &[], b""),
            BodyError::TooMany { field: "topicConfigTable", max: REGISTER_TOPICS_MAX },
        );
        let line = BodyError::Kind { field: "topicConfig", expected: "a line of name, queues, permission and filter" };
        check(&compressed(1, &["T 8"], b""), line);
        check(
            &compressed(1, &["T 8 70000 6 SINGLE_TAG"], b""),
            BodyError::OutOfRange { field: "writeQueueNums", found: 70_000 },
        );

        let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..=(REGISTER_BODY_BYTES_MAX >> 20) {
            deflater.write_all(&zeros).expect("a Vec takes it");
        }
        check(&deflater.finish().expect("a Vec takes it"), damaged);
    }
}
