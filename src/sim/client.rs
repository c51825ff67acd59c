//! What clients of the made-up worlds say.

use bytes::BytesMut;

use crate::broker::{Broker, Output};
use crate::model::{ConnectionId, Now};
use crate::protocol::code::RequestCode;
use crate::protocol::frame::{self, Encoding};
use crate::protocol::reply::{ExtValue, encode_request};

/// A request with these fields.
pub(super) fn request(code: RequestCode, opaque: i32, ext: &[(&str, &str)], body: &[u8]) -> BytesMut {
    let ext: Vec<(&str, ExtValue<'_>)> = ext.iter().map(|(name, value)| (*name, ExtValue::Str(value))).collect();
    let mut bytes = BytesMut::new();
    encode_request(Encoding::Json, code.number(), opaque, false, &ext, body, &mut bytes);
    bytes
}

/// A client says these bytes, which are one request.
pub(super) fn say(broker: &mut Broker, now: Now, client: ConnectionId, bytes: &[u8], out: &mut Output) {
    let frame = frame::split(bytes).expect("a frame").expect("a whole one");
    broker.handle_frame(now, client, &frame, out).expect("a request");
}

/// A message for a queue of a topic.
pub(super) fn send(opaque: i32, topic: &str, queue: u64, properties: &str, body: &[u8]) -> BytesMut {
    send_born(opaque, topic, queue, properties, body, 1_700_000_000_000)
}

/// The same of a message that was made then, Unix ms.
pub(super) fn send_born(opaque: i32, topic: &str, queue: u64, properties: &str, body: &[u8], born: i64) -> BytesMut {
    let (queue, born) = (queue.to_string(), born.to_string());
    let ext = [
        ("a", "P"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue.as_str()),
        ("f", "0"),
        ("g", born.as_str()),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    request(RequestCode::SendMessageV2, opaque, &ext, body)
}
