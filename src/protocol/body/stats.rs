//! Where queues and groups stand, and how fast they go.

use std::collections::BTreeMap;

use super::fields::{Fields, as_double};
use super::{BodyError, MessageQueue};
use crate::json::{JsonForm, Key, Value, Writer, parse};
use crate::limits::JSON_TABLE_NODES_MAX;
use crate::model::UnixMs;

/// A table by queue, each key an object as Java writes it.
fn write_table<V>(
    name: &str,
    table: &BTreeMap<MessageQueue, V>,
    writer: &mut Writer,
    mut write: impl FnMut(&V, &mut Writer),
) {
    writer.key(name).object(|writer| {
        for (queue, value) in table {
            writer.object_key(|writer| queue.write(writer)).object(|writer| write(value, writer));
        }
    });
}

/// Reads a table by queue. Keys come as objects, or as texts that hold one.
fn read_table<V>(
    fields: Fields<'_>,
    field: &'static str,
    read: impl Fn(Fields<'_>) -> Result<V, BodyError>,
) -> Result<BTreeMap<MessageQueue, V>, BodyError> {
    let mut table = BTreeMap::new();
    let members = match fields.get(field) {
        None => return Ok(table),
        Some(Value::Object(members)) => &members.0,
        Some(_) => return Err(BodyError::Kind { field, expected: "a map by queue" }),
    };
    for (key, value) in members {
        let queue = match key {
            Key::Object(queue) => MessageQueue::read_fields(Fields::of_object(queue))?,
            Key::Text(text) => MessageQueue::read(&parse(text.as_bytes(), JSON_TABLE_NODES_MAX)?)?,
        };
        table.insert(queue, read(Fields::of(value, field)?)?);
    }
    Ok(table)
}

/// Where a group stands in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffsetStats {
    /// Next offset to be written.
    pub broker_offset: i64,
    /// Next offset that the group reads.
    pub consumer_offset: i64,
    /// Next offset that the group pulls.
    pub pull_offset: i64,
    /// Store time of the last message that the group has read; 0 if none.
    pub last_timestamp: UnixMs,
}

/// The reply to 208: where a group stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumeStats {
    /// By queue.
    pub offsets: BTreeMap<MessageQueue, OffsetStats>,
    /// Messages per second that the group reads.
    pub consume_tps: f64,
}

impl ConsumeStats {
    /// Reads what a broker answers to us.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<ConsumeStats, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "consumeStats")?;
        let offsets = |fields: Fields<'_>| {
            Ok(OffsetStats {
                broker_offset: fields.number("brokerOffset", 0)?,
                consumer_offset: fields.number("consumerOffset", 0)?,
                pull_offset: fields.number("pullOffset", 0)?,
                last_timestamp: UnixMs(fields.number("lastTimestamp", 0)?),
            })
        };
        Ok(ConsumeStats {
            offsets: read_table(fields, "offsetTable", offsets)?,
            consume_tps: fields.get("consumeTps").and_then(as_double).unwrap_or(0.0),
        })
    }

    /// JSON as Fastjson writes it: the answer to 208.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("consumeTps").double(self.consume_tps);
            write_table("offsetTable", &self.offsets, writer, |offsets, writer| {
                writer.key("brokerOffset").integer(offsets.broker_offset);
                writer.key("consumerOffset").integer(offsets.consumer_offset);
                writer.key("lastTimestamp").integer(offsets.last_timestamp.0);
                writer.key("pullOffset").integer(offsets.pull_offset);
            });
        });
    }
}

/// Where one queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Oldest offset.
    pub min_offset: i64,
    /// Next offset to be written.
    pub max_offset: i64,
    /// Store time of the newest message; 0 if none.
    pub last_update: UnixMs,
}

/// The reply to 202: where a topic stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicStats {
    /// By queue.
    pub offsets: BTreeMap<MessageQueue, TopicOffsets>,
    /// Messages per second that are sent to it.
    pub put_tps: f64,
}

impl TopicStats {
    /// Reads what a broker answers to us.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicStats, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "topicStats")?;
        let offsets = |fields: Fields<'_>| {
            Ok(TopicOffsets {
                min_offset: fields.number("minOffset", 0)?,
                max_offset: fields.number("maxOffset", 0)?,
                last_update: UnixMs(fields.number("lastUpdateTimestamp", 0)?),
            })
        };
        Ok(TopicStats {
            offsets: read_table(fields, "offsetTable", offsets)?,
            put_tps: fields.get("topicPutTps").and_then(as_double).unwrap_or(0.0),
        })
    }

    /// JSON as Fastjson writes it: the answer to 202.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            write_table("offsetTable", &self.offsets, writer, |offsets, writer| {
                writer.key("lastUpdateTimestamp").integer(offsets.last_update.0);
                writer.key("maxOffset").integer(offsets.max_offset);
                writer.key("minOffset").integer(offsets.min_offset);
            });
            writer.key("topicPutTps").double(self.put_tps);
        });
        writer.finish()
    }
}

/// A counter over one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StatsItem {
    /// Sum over the span.
    pub sum: i64,
    /// Sum per second.
    pub tps: f64,
    /// Sum per call.
    pub average: f64,
}

/// The reply to 315: one counter over a minute, an hour and a day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrokerStats {
    /// The last minute.
    pub minute: StatsItem,
    /// The last hour.
    pub hour: StatsItem,
    /// The last day.
    pub day: StatsItem,
}

impl BrokerStats {
    /// The counter.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            for (name, item) in [("statsDay", self.day), ("statsHour", self.hour), ("statsMinute", self.minute)] {
                writer.key(name).object(|writer| {
                    writer.key("avgpt").double(item.average).key("sum").integer(item.sum).key("tps").double(item.tps);
                });
            }
        });
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BrokerName, QueueId, TopicName};

    #[test]
    fn statistics_look_as_java_s() {
        let check = |found: Vec<u8>, expected: &str| assert_eq!(String::from_utf8(found).as_deref(), Ok(expected));
        let queue =
            MessageQueue { topic: TopicName::from("T"), broker_name: BrokerName::from("b"), queue_id: QueueId(0) };
        let mq = r#"{"brokerName":"b","queueId":0,"topic":"T"}"#;
        let offsets = OffsetStats { broker_offset: 10, consumer_offset: 5, pull_offset: 5, last_timestamp: UnixMs(0) };
        let consume = ConsumeStats { offsets: [(queue.clone(), offsets)].into(), consume_tps: 0.0 };
        check(
            consume.encode(),
            &format!(
                r#"{{"consumeTps":0.0,"offsetTable":{{{mq}:{{"brokerOffset":10,"consumerOffset":5,"lastTimestamp":0,"pullOffset":5}}}}}}"#
            ),
        );
        let offsets = TopicOffsets { min_offset: 0, max_offset: 9, last_update: UnixMs(0) };
        let topic = TopicStats { offsets: [(queue, offsets)].into(), put_tps: 0.0 };
        check(
            topic.encode(),
            &format!(
                r#"{{"offsetTable":{{{mq}:{{"lastUpdateTimestamp":0,"maxOffset":9,"minOffset":0}}}},"topicPutTps":0.0}}"#
            ),
        );
        let item = r#"{"avgpt":0.0,"sum":0,"tps":0.0}"#;
        check(
            BrokerStats::default().encode(),
            &format!(r#"{{"statsDay":{item},"statsHour":{item},"statsMinute":{item}}}"#),
        );
    }
}
