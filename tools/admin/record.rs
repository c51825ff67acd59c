//! Messages as an operator sees them.

use ringmq_protocol::message::{MessageId, Properties, property, split_batch, sys_flag};
use ringmq_protocol::record::{Check, RecordView};
use serde_json::{Map, Value};

use crate::output::Output;
use crate::time;

/// Of a record's `sysFlag`: the producer has compressed the body.
const COMPRESSED: i32 = 1;

/// The members of a message in JSON.
pub(crate) const MEMBERS: [&str; 13] = [
    "broker",
    "queue",
    "offset",
    "topic",
    "id",
    "stored_ms",
    "born_ms",
    "born_host",
    "tag",
    "keys",
    "properties",
    "body",
    "body_hex",
];

/// The messages that an answer to a pull or a query holds, one by one.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
    records(bytes).flat_map(|record| messages_of(&record))
}

/// Whether a message is at this offset or behind it: a batch that holds it is told from its first message on.
pub(crate) fn is_from(message: &RecordView<'_>, offset: i64) -> bool {
    i64::try_from(message.queue_offset.0).is_ok_and(|own| own >= offset)
}

/// Of the messages of an answer to a query those with this key. Brokers find a batch by the keys of each of its messages, and one by its own id.
pub(crate) fn messages_with<'a>(bytes: &'a [u8], key: &str) -> Vec<RecordView<'a>> {
    let has_key = |message: &RecordView<'_>| {
        let properties = Properties::new(message.properties);
        let keys = properties.get(property::KEYS).unwrap_or_default();
        properties.get(property::UNIQUE_KEY) == Some(key) || keys.split(' ').any(|it| it == key)
    };
    let mut found = Vec::new();
    for record in records(bytes) {
        let all = messages_of(&record);
        let those: Vec<RecordView<'_>> = all.iter().copied().filter(has_key).collect();
        found.extend(if those.is_empty() { all } else { those });
    }
    found
}

/// The messages of a record: itself, or those of a batch that is stored whole, each at its own offset.
fn messages_of<'a>(record: &RecordView<'a>) -> Vec<RecordView<'a>> {
    if record.sys_flag & sys_flag::INNER_BATCH == 0 || record.sys_flag & COMPRESSED != 0 {
        return vec![*record];
    }
    let each = split_batch(record.body).zip(0_u64..).map(|(message, nth)| {
        let message = message.ok()?;
        Some(RecordView {
            queue_offset: record.queue_offset.plus(nth),
            flag: message.flag,
            sys_flag: record.sys_flag & !(sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP),
            body: message.body,
            properties: message.properties,
            ..*record
        })
    });
    // What is no batch after all is shown as it is.
    each.collect::<Option<Vec<_>>>().unwrap_or_else(|| vec![*record])
}

/// The records that an answer to a pull or a query holds, back to back.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
    std::iter::from_fn(move || {
        let record = RecordView::decode(bytes, None, Check::Shape).ok()?;
        let size = usize::try_from(record.size).unwrap_or(usize::MAX);
        bytes = bytes.get(size..).unwrap_or_default();
        Some(record)
    })
}

/// Prints a message on a line of its own: as JSON, or for people where it lies, when it was stored, its tag, its keys and its text.
pub(crate) fn print(output: Output, broker: &str, address: &str, record: &RecordView<'_>) {
    if output.json {
        output.object(&members(broker, record));
        return;
    }
    let properties = Properties::new(record.properties);
    let mut line = format!(
        "{broker} {} {} from {address} at {}",
        record.queue_id,
        record.queue_offset,
        time::text(record.store_timestamp)
    );
    let tag = properties.tag().map(|tag| format!(" tag {tag}"));
    let keys = properties.get(property::KEYS).map(|keys| format!(" keys {keys}"));
    line.extend(tag.into_iter().chain(keys));
    output.text(&format!("{line}: {}", body_text(record)));
}

/// Everything of one message, a line each.
pub(crate) fn print_whole(output: Output, broker: &str, record: &RecordView<'_>) {
    let members = members(broker, record);
    if output.json {
        output.object(&members);
        return;
    }
    for name in MEMBERS {
        match (name, members.get(name)) {
            ("stored_ms", _) => output.text(&format!("stored      {}", time::text(record.store_timestamp))),
            ("born_ms", _) => output.text(&format!("born        {}", time::text(record.born_timestamp))),
            ("properties", Some(Value::Object(properties))) => {
                for (name, value) in properties {
                    output.text(&format!("property    {name}={}", value.as_str().unwrap_or_default()));
                }
            }
            ("body", _) => output.text(&format!("body        {}", body_text(record))),
            ("body_hex", _) | (_, None | Some(Value::Null)) => {}
            (name, Some(Value::String(value))) => output.text(&format!("{name:<11} {value}")),
            (name, Some(value)) => output.text(&format!("{name:<11} {value}")),
        }
    }
}

fn members(broker: &str, record: &RecordView<'_>) -> Map<String, Value> {
    let properties = Properties::new(record.properties);
    let id = MessageId { store_host: record.store_host, log_offset: record.log_offset }.encode();
    let all: Map<String, Value> = properties
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .filter(|(name, _)| name != property::CRC32)
        .collect();
    let text = body(record);
    let hex = text.is_none().then(|| hex(record.body));
    let values: [Value; MEMBERS.len()] = [
        broker.into(),
        record.queue_id.0.into(),
        record.queue_offset.0.into(),
        record.topic.into(),
        id.as_str().into(),
        record.store_timestamp.into(),
        record.born_timestamp.into(),
        record.born_host.to_string().into(),
        properties.tag().into(),
        properties.get(property::KEYS).into(),
        all.into(),
        text.into(),
        hex.into(),
    ];
    MEMBERS.iter().map(|name| (*name).to_owned()).zip(values).collect()
}

/// The body where it is text.
fn body<'r>(record: &RecordView<'r>) -> Option<&'r str> {
    std::str::from_utf8(record.body).ok().filter(|_| record.sys_flag & COMPRESSED == 0)
}

fn body_text(record: &RecordView<'_>) -> String {
    let bytes = record.body.len();
    match body(record) {
        Some(text) => text.to_owned(),
        None if record.sys_flag & COMPRESSED != 0 => format!("({bytes} bytes, compressed by the producer)"),
        None => format!("({bytes} bytes that are no text)"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(four.into(), 16).expect("four bits are a digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use ringmq_protocol::message::{BatchedMessage, append_batched};
    use ringmq_protocol::model::{LogOffset, QueueId, QueueOffset};
    use ringmq_protocol::record::{Marks, Place, RecordDraft, Sized};

    use super::*;

    fn record(sys_flag: i32, body: &[u8], properties: &[u8], queue_offset: u64) -> Vec<u8> {
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let draft = RecordDraft {
            topic: "T",
            queue_id: QueueId(0),
            flag: 0,
            sys_flag,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            store_timestamp: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties,
            marks: Marks::default(),
        };
        let sized = Sized::new(&draft, false).expect("it is small");
        let mut bytes = vec![0; sized.size() as usize];
        sized.encode(Place { log_offset: LogOffset(0), queue_offset: QueueOffset(queue_offset) }, &mut bytes);
        bytes
    }

    #[test]
    fn a_batch_is_shown_message_by_message() {
        let mut body = Vec::new();
        for (body_of, properties) in [("a", "KEYS\u{1}k l\u{2}"), ("b", "KEYS\u{1}m\u{2}"), ("c", "")] {
            let message = BatchedMessage { flag: 0, body: body_of.as_bytes(), properties: properties.as_bytes() };
            append_batched(&message, &mut body);
        }
        let batch = record(sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP, &body, b"UNIQ_KEY\x01U\x02", 5);
        let bytes = [record(0, b"plain", b"", 4), batch].concat();
        let shown: Vec<(u64, &[u8])> = messages(&bytes).map(|found| (found.queue_offset.0, found.body)).collect();
        assert_eq!(shown, [(4, &b"plain"[..]), (5, b"a"), (6, b"b"), (7, b"c")]);
        let bodies =
            |key: &str| -> Vec<u8> { messages_with(&bytes[..], key).iter().flat_map(|it| it.body.to_vec()).collect() };
        assert_eq!((bodies("l"), bodies("U")), (b"plaina".to_vec(), b"plainabc".to_vec()));
        let broken = record(sys_flag::INNER_BATCH, b"no batch", b"", 9);
        assert_eq!(messages(&broken).map(|found| found.body.to_vec()).collect::<Vec<_>>(), [b"no batch"]);
    }
}
