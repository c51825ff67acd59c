//! Messages as an operator sees them.

use ringmq_protocol::message::{MessageId, Properties, property};
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

/// The records that an answer to a pull or a query holds, back to back.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
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
