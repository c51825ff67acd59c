//! Consumer offsets: the table that is stored, and the body that resets a client's.

use std::collections::BTreeMap;
use std::fmt;

use super::BodyError;
use super::MessageQueue;
use super::fields::{Fields, as_integer};
use super::topic::DataVersion;
use crate::code::Language;
use crate::json::{JsonForm, Key, Value, Writer, parse};
use crate::limits::{DELAY_LEVELS_MAX, JSON_NODES_MAX};
use crate::model::{ClientId, GroupName, LogOffset, QueueId, QueueOffset, ReignId, TopicName};

/// The offsets of all groups: the store's `consumerOffset.json`, and the reply to 43.
///
/// `{"dataVersion":{..},"offsetTable":{"topic@group":{0:12,1:13}}}`, the inner keys bare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerOffsets {
    /// Version of the table; brokers before 5.0 have none.
    pub version: DataVersion,
    /// Next offset to read, by topic and group, then by queue.
    pub offsets: OffsetTable,
    /// Those of `offsets` that were committed on a slave and are not known to its master yet. Ours: `keptOffsetTable`, absent if empty.
    pub kept: OffsetTable,
    /// The newest one of those changes that made offsets less. Ours: `lastSetBack`, a text `COUNT/REIGN`; absent from other brokers' tables.
    pub set_back: Option<SetBack>,
}

/// A change that made offsets less: a commit below the last one, a reset, a deleted topic or group. Between two tables with the same one, offsets
/// have only grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetBack {
    /// How many there were before, and this one.
    pub count: u64,
    /// In which reign it was made: the count of a master that was killed may come twice.
    pub reign: ReignId,
}

impl fmt::Display for SetBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.reign)
    }
}

impl SetBack {
    /// Reads `COUNT/REIGN`.
    #[must_use]
    pub fn parse(text: &str) -> Option<SetBack> {
        let (count, reign) = text.split_once('/')?;
        Some(SetBack { count: count.parse().ok()?, reign: reign.parse().ok()? })
    }
}

/// Next offset to read, by topic and group, then by queue.
pub type OffsetTable = BTreeMap<(TopicName, GroupName), BTreeMap<QueueId, QueueOffset>>;

impl ConsumerOffsets {
    /// Reads a table, Java's own file included. It may have as many values as its bytes can hold: what was written must be read again, and it comes from
    /// a store or from the master of a slave. Entries without `@` and negative offsets are left out.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<ConsumerOffsets, BodyError> {
        ConsumerOffsets::read(Fields::of(&parse(body, body.len())?, "consumerOffsets")?)
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<ConsumerOffsets, BodyError> {
        let version = fields.object("dataVersion")?.map(DataVersion::read).transpose()?.unwrap_or_default();
        let table = ConsumerOffsets {
            version,
            offsets: read_table(fields, "offsetTable")?,
            kept: read_table(fields, "keptOffsetTable")?,
            set_back: fields.text("lastSetBack")?.and_then(|text| SetBack::parse(&text)),
        };
        Ok(table)
    }

    /// The table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            self.version.write(writer.key("dataVersion"));
            if !self.kept.is_empty() {
                write_table(&self.kept, writer.key("keptOffsetTable"));
            }
            if let Some(set_back) = self.set_back {
                writer.key("lastSetBack").text(&set_back.to_string());
            }
            write_table(&self.offsets, writer.key("offsetTable"));
        });
    }
}

/// How far delayed messages were delivered: the store's `delayOffset.json`, and the reply to 45. RocketMQ: `DelayOffsetSerializeWrapper`.
///
/// `{"dataVersion":{..},"offsetTable":{1:12,3:4}}`, the levels bare. Ours adds `logOffset`, `safeOffsetTable`, `timers` and
/// `safeTimers`, which Java passes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayOffsets {
    /// Version of the table.
    pub version: DataVersion,
    /// Next message of each delay level to deliver.
    pub offsets: LevelOffsets,
    /// A log that ends before this may lack copies that `offsets` says are there. 0 if that is not known, as in Java's.
    pub log_offset: LogOffset,
    /// What holds for such a log.
    pub safe: LevelOffsets,
    /// Which timer messages were delivered. Ours as well.
    pub timers: TimerPlaces,
    /// What holds for such a log.
    pub safe_timers: TimerPlaces,
}

/// Queue offsets by delay level.
pub type LevelOffsets = BTreeMap<i32, QueueOffset>;

/// Which timer messages were delivered: `{"end":900,"floor":512,"steps":[[0,3400000000001,880]]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerPlaces {
    /// All that is said here is of messages that begin in the log before this.
    pub end: LogOffset,
    /// All before this offset of their queue are done with.
    pub floor: QueueOffset,
    /// Ascending by where they begin: more than one after the clock was set back.
    pub steps: Vec<TimerStep>,
}

/// The timer messages from some place of the log on that were delivered: in the order of their codes, and of one code in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerStep {
    /// Of messages that begin here or beyond, to the next step.
    pub from: LogOffset,
    /// Up to this `WheelCode`;
    pub code: i64,
    /// of those with this one up to the message that begins here.
    pub at: LogOffset,
}

impl TimerPlaces {
    /// Takes away what is said of messages that begin at `end` or beyond.
    pub fn cut(&mut self, end: LogOffset) {
        self.end = self.end.min(end);
        self.steps.retain(|step| step.from < end.max(LogOffset(1)));
    }

    fn read(fields: Option<Fields<'_>>) -> Result<TimerPlaces, BodyError> {
        let Some(fields) = fields else { return Ok(TimerPlaces::default()) };
        let kind = BodyError::Kind { field: "steps", expected: "three numbers" };
        let step = |value: &Value<'_>| {
            let Value::Array(numbers) = value else { return None };
            let [from, code, at] = numbers.as_slice() else { return None };
            let place = |value| Some(LogOffset(u64::try_from(as_integer(value)?).ok()?));
            Some(TimerStep { from: place(from)?, code: as_integer(code)?, at: place(at)? })
        };
        let steps: Option<Vec<TimerStep>> = fields.array("steps")?.iter().map(step).collect();
        Ok(TimerPlaces {
            end: LogOffset(fields.number("end", 0)?),
            floor: QueueOffset(fields.number("floor", 0)?),
            steps: steps.ok_or(kind)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("end").unsigned(self.end.0);
            writer.key("floor").unsigned(self.floor.0);
            writer.key("steps").array(|writer| {
                for step in &self.steps {
                    writer.array(|writer| {
                        writer.unsigned(step.from.0).integer(step.code).unsigned(step.at.0);
                    });
                }
            });
        });
    }
}

impl DelayOffsets {
    /// Reads a table, Java's own file included. Levels that cannot be and negative offsets are left out.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<DelayOffsets, BodyError> {
        DelayOffsets::read(Fields::of(&parse(body, JSON_NODES_MAX)?, "delayOffsets")?)
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<DelayOffsets, BodyError> {
        let log_offset: u64 = fields.number("logOffset", 0)?;
        Ok(DelayOffsets {
            version: fields.object("dataVersion")?.map(DataVersion::read).transpose()?.unwrap_or_default(),
            offsets: read_levels(fields, "offsetTable")?,
            log_offset: LogOffset(log_offset),
            safe: read_levels(fields, "safeOffsetTable")?,
            timers: TimerPlaces::read(fields.object("timers")?)?,
            safe_timers: TimerPlaces::read(fields.object("safeTimers")?)?,
        })
    }

    /// The table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            self.version.write(writer.key("dataVersion"));
            if self.log_offset > LogOffset(0) {
                writer.key("logOffset").unsigned(self.log_offset.0);
            }
            write_levels(&self.offsets, writer.key("offsetTable"));
            if !self.safe.is_empty() {
                write_levels(&self.safe, writer.key("safeOffsetTable"));
            }
            for (name, timers) in [("timers", &self.timers), ("safeTimers", &self.safe_timers)] {
                if *timers != TimerPlaces::default() {
                    timers.write(writer.key(name));
                }
            }
        });
    }

    /// What holds for a log that ends here.
    #[must_use]
    pub fn at(&self, log_end: LogOffset) -> &LevelOffsets {
        if self.log_offset <= log_end { &self.offsets } else { &self.safe }
    }
}

fn read_levels(fields: Fields<'_>, field: &'static str) -> Result<LevelOffsets, BodyError> {
    let level = |key: &Key<'_>, value: &Value<'_>| {
        let Key::Text(level) = key else { return None };
        let level = level.trim().parse().ok().filter(|level| (1..=DELAY_LEVELS_MAX).contains(level))?;
        Some((i32::try_from(level).ok()?, QueueOffset(u64::try_from(as_integer(value)?).ok()?)))
    };
    let Some(value) = fields.get(field) else { return Ok(LevelOffsets::new()) };
    let Value::Object(levels) = value else { return Err(BodyError::Kind { field, expected: "a map" }) };
    Ok(levels.0.iter().filter_map(|(key, value)| level(key, value)).collect())
}

fn write_levels(levels: &LevelOffsets, writer: &mut Writer) {
    writer.object(|writer| {
        for (level, offset) in levels {
            writer.integer_key(u64::from(level.unsigned_abs())).unsigned(offset.0);
        }
    });
}

fn read_table(fields: Fields<'_>, field: &'static str) -> Result<OffsetTable, BodyError> {
    let mut table = OffsetTable::new();
    for (key, value) in fields.entries(field)? {
        let Some((topic, group)) = key.split_once('@') else { continue };
        let Value::Object(queues) = value else {
            return Err(BodyError::Kind { field, expected: "a map of maps" });
        };
        let queues = queues.0.iter().filter_map(|(key, value)| queue_offset(key, value));
        table.insert((TopicName::from(topic), GroupName::from(group)), queues.collect());
    }
    Ok(table)
}

fn write_table(table: &OffsetTable, writer: &mut Writer) {
    writer.object(|writer| {
        for ((topic, group), queues) in table {
            writer.key(&format!("{topic}@{group}")).object(|writer| {
                for (queue, offset) in queues {
                    writer.integer_key(u64::from(queue.0)).unsigned(offset.0);
                }
            });
        }
    });
}

fn queue_offset(key: &Key<'_>, value: &Value<'_>) -> Option<(QueueId, QueueOffset)> {
    let Key::Text(queue) = key else { return None };
    let offset = u64::try_from(as_integer(value)?).ok()?;
    Some((QueueId(queue.trim().parse().ok()?), QueueOffset(offset)))
}

/// In which form a client reads new offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetForm {
    /// Queues as keys: Java, and Go, which reads the text by hand and takes neither spaces nor standard JSON.
    ObjectKeys,
    /// A list: C++, and Python over it.
    List,
}

impl ResetForm {
    /// The form that a client of this language reads.
    #[must_use]
    pub fn for_language(language: Language) -> ResetForm {
        match language {
            Language::Cpp | Language::Python => ResetForm::List,
            _ => ResetForm::ObjectKeys,
        }
    }
}

/// New offsets by queue: the reply to 222 and the body of 220.
#[must_use]
pub fn reset_offsets(offsets: &BTreeMap<MessageQueue, QueueOffset>, form: ResetForm) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("offsetTable");
        match form {
            ResetForm::ObjectKeys => writer.object(|writer| {
                for (queue, offset) in offsets {
                    writer.object_key(|writer| queue.write(writer)).unsigned(offset.0);
                }
            }),
            ResetForm::List => writer.array(|writer| {
                for (queue, offset) in offsets {
                    writer.object(|writer| {
                        writer.key("brokerName").text(queue.broker_name.as_str());
                        writer.key("offset").unsigned(offset.0);
                        writer.key("queueId").unsigned(u64::from(queue.queue_id.0));
                        writer.key("topic").text(queue.topic.as_str());
                    });
                }
            }),
        };
    });
    writer.finish()
}

/// Where one client stands in its queues: its answer to 221.
///
/// `{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:12}}`. Queues that cannot be read are left out.
///
/// # Errors
/// [`BodyError`].
pub fn decode_client_offsets(body: &[u8]) -> Result<BTreeMap<MessageQueue, i64>, BodyError> {
    const FIELD: &str = "messageQueueTable";
    let value = parse(body, JSON_NODES_MAX)?;
    match Fields::of(&value, "body")?.get(FIELD) {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(queues)) => {
            Ok(queues.0.iter().filter_map(|(key, value)| client_offset(key, value)).collect())
        }
        Some(_) => Err(BodyError::Kind { field: FIELD, expected: "an object" }),
    }
}

fn client_offset(key: &Key<'_>, value: &Value<'_>) -> Option<(MessageQueue, i64)> {
    let offset = as_integer(value)?;
    match key {
        Key::Object(queue) => Some((MessageQueue::read_fields(Fields::of_object(queue)).ok()?, offset)),
        // Go cannot write objects as keys: it writes them as texts.
        Key::Text(queue) => Some((MessageQueue::read(&parse(queue.as_bytes(), JSON_NODES_MAX).ok()?).ok()?, offset)),
    }
}

/// Where several clients stand: the reply to 223.
#[must_use]
pub fn client_offsets(clients: &BTreeMap<ClientId, BTreeMap<MessageQueue, i64>>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("consumerTable").object(|writer| {
            for (client, queues) in clients {
                writer.key(client.as_str()).object(|writer| {
                    for (queue, offset) in queues {
                        writer.object_key(|writer| queue.write(writer)).integer(*offset);
                    }
                });
            }
        });
        writer.key("messageQueueTable").object(|_| ());
    });
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BrokerName;

    #[test]
    fn a_table_of_a_java_store_is_read() {
        let text =
            b"{\n\t\"offsetTable\":{\n\t\t\"T@G\":{0:12,1:13\n\t\t},\"%RETRY%G@G\":{0:\"7\",1:-1},\"odd\":{}\n\t}\n}";
        let table = ConsumerOffsets::decode(text).expect("a table");
        let of = |topic: &str| table.offsets.get(&(TopicName::from(topic), GroupName::from("G")));
        assert_eq!(of("T"), Some(&[(QueueId(0), QueueOffset(12)), (QueueId(1), QueueOffset(13))].into()));
        assert_eq!(of("%RETRY%G"), Some(&[(QueueId(0), QueueOffset(7))].into()));
        assert_eq!(table.offsets.len(), 2);
        let written = table.encode();
        assert_eq!(ConsumerOffsets::decode(&written), Ok(table));
        let expected = r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{"%RETRY%G@G":{0:7},"T@G":{0:12,1:13}}}"#;
        assert_eq!(String::from_utf8(written).as_deref(), Ok(expected));
    }

    #[test]
    fn how_far_a_java_master_delivered_is_read_and_what_is_ours_written_beside_it() {
        let text = b"{\n\t\"dataVersion\":{\"counter\":2,\"stateVersion\":0,\"timestamp\":9},\n\t\"offsetTable\":{1:12,\"18\":\"3\",0:1,65:1,x:1,2:-1\n\t}\n}";
        let java = DelayOffsets::decode(text).expect("a table");
        let levels = |pairs: &[(i32, u64)]| pairs.iter().map(|&(level, offset)| (level, QueueOffset(offset))).collect();
        let expected: LevelOffsets = levels(&[(1, 12), (18, 3)]);
        assert_eq!((&java.offsets, java.log_offset, java.at(LogOffset(0))), (&expected, LogOffset(0), &expected));
        let ours = DelayOffsets { log_offset: LogOffset(700), safe: levels(&[(1, 10)]), ..java };
        let expected = r#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":9},"logOffset":700,"offsetTable":{1:12,18:3},"safeOffsetTable":{1:10}}"#;
        assert_eq!(String::from_utf8(ours.encode()).as_deref(), Ok(expected));
        assert_eq!(DelayOffsets::decode(expected.as_bytes()).as_ref(), Ok(&ours));
        assert_eq!((ours.at(LogOffset(699)), ours.at(LogOffset(700))), (&ours.safe, &ours.offsets));
        assert_eq!(
            DelayOffsets::default().encode(),
            br#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{}}"#
        );
        assert!(DelayOffsets::decode(br#"{"offsetTable":[1]}"#).is_err());
        let step = |from: u64, code: i64, at: u64| TimerStep { from: LogOffset(from), code, at: LogOffset(at) };
        let steps = vec![step(0, 90, 40), step(50, i64::MIN, 0)];
        let timers = TimerPlaces { end: LogOffset(60), floor: QueueOffset(3), steps };
        let table = DelayOffsets { timers: timers.clone(), ..DelayOffsets::default() };
        let text = r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{},"timers":{"end":60,"floor":3,"steps":[[0,90,40],[50,-9223372036854775808,0]]}}"#;
        assert_eq!(String::from_utf8(table.encode()).as_deref(), Ok(text));
        assert_eq!(DelayOffsets::decode(text.as_bytes()).as_ref(), Ok(&table));
        let mut cut = timers.clone();
        cut.cut(LogOffset(50));
        assert_eq!((cut.end, cut.steps.len()), (LogOffset(50), 1), "what begins there is gone");
        let both = DelayOffsets { safe_timers: timers, ..table };
        assert_eq!(DelayOffsets::decode(&both.encode()).as_ref(), Ok(&both));
        assert!(DelayOffsets::decode(br#"{"timers":{"steps":[[1,2]]}}"#).is_err());
    }

    #[test]
    fn what_a_slave_kept_is_read_back() {
        let key = |topic: &str| (TopicName::from(topic), GroupName::from("G"));
        let table = ConsumerOffsets {
            version: DataVersion::default(),
            offsets: [(key("T"), [(QueueId(0), QueueOffset(12)), (QueueId(1), QueueOffset(4))].into())].into(),
            kept: [(key("T"), [(QueueId(1), QueueOffset(4))].into())].into(),
            set_back: Some(SetBack { count: 3, reign: ReignId(0xAB) }),
        };
        assert_eq!(ConsumerOffsets::decode(&table.encode()).as_ref(), Ok(&table));
        let never = ConsumerOffsets { set_back: Some(SetBack::default()), ..table };
        assert_eq!(ConsumerOffsets::decode(&never.encode()), Ok(never));
    }

    #[test]
    fn each_language_gets_its_form() {
        let queue =
            MessageQueue { topic: TopicName::from("T"), broker_name: BrokerName::from("b"), queue_id: QueueId(1) };
        let offsets = [(queue, QueueOffset(8))].into();
        let check = |language: Language, expected: &str| {
            let found = reset_offsets(&offsets, ResetForm::for_language(language));
            assert_eq!(String::from_utf8(found).as_deref(), Ok(expected), "{language:?}");
        };
        let keys = r#"{"offsetTable":{{"brokerName":"b","queueId":1,"topic":"T"}:8}}"#;
        check(Language::Java, keys);
        check(Language::Go, keys);
        check(Language::Cpp, r#"{"offsetTable":[{"brokerName":"b","offset":8,"queueId":1,"topic":"T"}]}"#);
    }

    #[test]
    fn offsets_of_clients_are_gathered() {
        let queue = |queue| MessageQueue {
            topic: TopicName::from("T"),
            broker_name: BrokerName::from("b"),
            queue_id: QueueId(queue),
        };
        let java = r#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:12,{"brokerName":"b","queueId":1,"topic":"T"}:-1}}"#;
        let go = r#"{"messageQueueTable":{"{\"topic\":\"T\",\"brokerName\":\"b\",\"queueId\":0}":12,"odd":1}}"#;
        let of_java = decode_client_offsets(java.as_bytes()).expect("a table");
        assert_eq!(of_java, [(queue(0), 12), (queue(1), -1)].into());
        assert_eq!(decode_client_offsets(go.as_bytes()), Ok([(queue(0), 12)].into()));
        assert_eq!(decode_client_offsets(b"{}"), Ok(BTreeMap::new()));
        assert!(decode_client_offsets(b"[]").is_err());
        let expected = r#"{"consumerTable":{"c":{{"brokerName":"b","queueId":0,"topic":"T"}:12,{"brokerName":"b","queueId":1,"topic":"T"}:-1}},"messageQueueTable":{}}"#;
        let written = client_offsets(&[(ClientId::from("c"), of_java)].into());
        assert_eq!(String::from_utf8(written).as_deref(), Ok(expected));
    }
}
