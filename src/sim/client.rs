//! What clients of the made-up worlds say.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::node::{SimNode, address_of};
use crate::broker::{Broker, Output};
use crate::model::{ConnectionId, Now};
use crate::protocol::code::RequestCode;
use crate::protocol::frame::{self, Encoding};
use crate::protocol::reply::{ExtValue, encode_request};

/// A client of one node, and what it has asked and not been answered: `T` says what that was about.
pub(super) struct SimClient<T> {
    last_opaque: i32,
    pub(super) waiting: BTreeMap<i32, T>,
}

impl<T> SimClient<T> {
    pub(super) fn new() -> SimClient<T> {
        SimClient { last_opaque: 0, waiting: BTreeMap::new() }
    }

    /// It connects to a life of the node that begins.
    pub(super) fn connect(&mut self, node: &mut SimNode, now: Now) {
        self.waiting.clear();
        let connection = node.client();
        node.act(now, |broker, _| broker.handle_connected(now, connection, address_of(90)));
    }

    /// It asks; `request` makes the bytes of an opaque.
    pub(super) fn ask(&mut self, node: &mut SimNode, now: Now, about: T, request: impl FnOnce(i32) -> BytesMut) {
        self.last_opaque += 1;
        self.waiting.insert(self.last_opaque, about);
        let (connection, bytes) = (node.client(), request(self.last_opaque));
        node.act(now, |broker, out| say(broker, now, connection, &bytes, out));
    }

    /// What a response is to.
    pub(super) fn answered(&mut self, opaque: i32) -> T {
        self.waiting.remove(&opaque).expect("each request is answered once")
    }
}

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
