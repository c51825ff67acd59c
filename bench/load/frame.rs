//! Requests as bytes: built once as templates, then copied and patched in place.
//!
//! A frame is `u32 length of the rest, u8 header type, u24 header length, header, body`, big-endian. All that changes from message to message
//! has a fixed width, so a send is one copy and four patches:
//!
//! | field          | JSON header                  | binary header  |
//! |----------------|------------------------------|----------------|
//! | opaque         | 10 digits                    | i32            |
//! | born timestamp | 13 digits                    | 13 digits      |
//! | `UNIQ_KEY`     | last 16 of its 32 hex digits | the same       |
//! | body           | [`Stamp`] in its first bytes | the same       |

use std::fmt::Write as _;

use crate::load::record::{STAMP_BYTES, Stamp};

/// Request code: send one message, short field names.
pub const SEND_MESSAGE_V2: i32 = 310;
/// Request code: read messages of one queue.
pub const PULL_MESSAGE: i32 = 11;
/// Request code: make a client known.
pub const HEART_BEAT: i32 = 34;
/// Request code: create or change a topic.
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// Request code: the offset that a queue's next message gets.
pub const GET_MAX_OFFSET: i32 = 30;

/// Smallest opaque in use: from here on each has ten digits, and a JSON number may not be padded with zeros.
pub const OPAQUE_MIN: i32 = 1_000_000_000;

/// Version ordinal of RocketMQ 5.3.3, as its Java client sends it.
const CLIENT_VERSION: i16 = 479;

/// How request headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderKind {
    /// What stock clients send unless told otherwise.
    Json,
    /// The compact form, `rocketmq.serialize.type=ROCKETMQ`.
    Binary,
}

/// One request of any kind. For the few requests before and beside the load; the load itself uses [`SendTemplate`].
pub fn request(kind: HeaderKind, code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let header = match kind {
        HeaderKind::Json => json_header(code, opaque, fields),
        HeaderKind::Binary => binary_header(code, opaque, fields),
    };
    let rest = 4 + header.len() + body.len();
    let mut frame = Vec::with_capacity(4 + rest);
    frame.extend_from_slice(&u32::try_from(rest).expect("a request is far below 4 GiB").to_be_bytes());
    let type_byte = match kind {
        HeaderKind::Json => 0u32,
        HeaderKind::Binary => 1u32,
    };
    let header_len = u32::try_from(header.len()).expect("a header is far below 16 MiB");
    frame.extend_from_slice(&((type_byte << 24) | header_len).to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    frame
}

/// Keys in the order of RocketMQ's Java client.
fn json_header(code: i32, opaque: i32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{{\"code\":{code},\"extFields\":{{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\"{name}\":\"").expect("writing to a string cannot fail");
        escape_into(&mut text, value);
        text.push('"');
    }
    write!(
        text,
        "}},\"flag\":0,\"language\":\"JAVA\",\"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{CLIENT_VERSION}}}"
    )
    .expect("writing to a string cannot fail");
    text.into_bytes()
}

fn escape_into(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                write!(text, "\\u{:04x}", u32::from(control)).expect("writing to a string cannot fail");
            }
            other => text.push(other),
        }
    }
}

fn binary_header(code: i32, opaque: i32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (name, value) in fields {
        entries.extend_from_slice(&i16::try_from(name.len()).expect("our field names are short").to_be_bytes());
        entries.extend_from_slice(name.as_bytes());
        entries.extend_from_slice(&i32::try_from(value.len()).expect("our field values are short").to_be_bytes());
        entries.extend_from_slice(value.as_bytes());
    }
    let mut header = Vec::with_capacity(21 + entries.len());
    header.extend_from_slice(&i16::try_from(code).expect("only codes below 32768 are sent").to_be_bytes());
    header.push(0); // language JAVA
    header.extend_from_slice(&CLIENT_VERSION.to_be_bytes());
    header.extend_from_slice(&opaque.to_be_bytes());
    header.extend_from_slice(&0i32.to_be_bytes()); // flag: a request
    header.extend_from_slice(&0i32.to_be_bytes()); // no remark
    header.extend_from_slice(&i32::try_from(entries.len()).expect("our headers are short").to_be_bytes());
    header.extend_from_slice(&entries);
    header
}

/// A SEND_MESSAGE_V2 request to one queue, ready but for what differs from message to message.
#[derive(Debug, Clone)]
pub struct SendTemplate {
    bytes: Vec<u8>,
    opaque_at: usize,
    opaque_is_text: bool,
    born_at: usize,
    key_at: usize,
    body_at: usize,
}

/// What one message adds to its template.
#[derive(Debug, Clone, Copy)]
pub struct SendPatch {
    /// At least [`OPAQUE_MIN`].
    pub opaque: i32,
    /// Unix time in ms, 13 digits.
    pub born_ms: u64,
    /// What the body begins with.
    pub stamp: Stamp,
}

/// Stands for the opaque while a template is built: a number that occurs nowhere else in it.
const OPAQUE_MARK: i32 = 1_987_654_321;
const BORN_MARK: &str = "1111111111111";
const KEY_MARK: &str = "FEDCBA9876543210";

impl SendTemplate {
    /// For `topic`, queue `queue_id`, with a body of `body_bytes` (at least [`STAMP_BYTES`]). `run_id` keeps message keys of different runs
    /// apart.
    pub fn new(kind: HeaderKind, topic: &str, queue_id: u32, body_bytes: usize, run_id: u64) -> Self {
        assert!(body_bytes >= STAMP_BYTES, "a body of {body_bytes} B has no room for its stamp of {STAMP_BYTES} B");
        let queue_id = queue_id.to_string();
        let properties = format!("UNIQ_KEY\u{1}{run_id:016X}{KEY_MARK}\u{2}WAIT\u{1}true\u{2}");
        let fields = [
            ("a", "ringmq_bench_producer"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id),
            ("f", "0"),
            ("g", BORN_MARK),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let body: Vec<u8> = (b'a'..=b'z').cycle().take(body_bytes).collect();
        let bytes = request(kind, SEND_MESSAGE_V2, OPAQUE_MARK, &fields, &body);
        let opaque_text = OPAQUE_MARK.to_string();
        let (opaque_at, opaque_is_text) = match kind {
            HeaderKind::Json => (find(&bytes, opaque_text.as_bytes()), true),
            HeaderKind::Binary => (find(&bytes, &OPAQUE_MARK.to_be_bytes()), false),
        };
        Self {
            opaque_at,
            opaque_is_text,
            born_at: find(&bytes, BORN_MARK.as_bytes()),
            key_at: find(&bytes, KEY_MARK.as_bytes()),
            body_at: bytes.len() - body_bytes,
            bytes,
        }
    }

    /// Appends one request to `out`.
    pub fn write(&self, out: &mut Vec<u8>, patch: &SendPatch) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        if self.opaque_is_text {
            put_decimal(&mut frame[self.opaque_at..self.opaque_at + 10], u64::from(patch.opaque.unsigned_abs()));
        } else {
            frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&patch.opaque.to_be_bytes());
        }
        put_decimal(&mut frame[self.born_at..self.born_at + 13], patch.born_ms);
        put_hex(&mut frame[self.key_at..self.key_at + 16], patch.stamp.sequence);
        patch.stamp.write(&mut frame[self.body_at..self.body_at + STAMP_BYTES]);
    }

    /// Bytes of one request.
    pub fn frame_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("the mark was just written")
}

/// Fills all of `field` with the last digits of `value`.
fn put_decimal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + low_byte(value % 10);
        value /= 10;
    }
}

fn put_hex(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[usize::from(low_byte(value & 15))];
        value >>= 4;
    }
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: SendPatch = SendPatch {
        opaque: 1_000_000_042,
        born_ms: 1_763_856_000_123,
        stamp: Stamp { intended_ns: 7_000_000_001, sequence: 0xABCDEF, run_id: 99 },
    };

    /// An independent decoder: serde's JSON tree, or the binary layout read field by field.
    fn decode(frame: &[u8]) -> (i64, i64, i64, Vec<(String, String)>, Vec<u8>) {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(0) as usize, frame.len() - 4, "the length counts what follows it");
        let header_len = (word(4) & 0x00FF_FFFF) as usize;
        let header = &frame[8..8 + header_len];
        let body = frame[8 + header_len..].to_vec();
        if frame[4] == 0 {
            let tree: serde_json::Value = serde_json::from_slice(header).expect("a JSON header");
            let mut fields: Vec<(String, String)> = tree["extFields"]
                .as_object()
                .expect("extFields")
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().expect("values are strings").to_owned()))
                .collect();
            fields.sort();
            let number = |key: &str| tree[key].as_i64().expect("a number");
            assert_eq!(tree["language"], "JAVA");
            return (number("code"), number("opaque"), number("flag"), fields, body);
        }
        let half = |at: usize| usize::from(u16::from_be_bytes(header[at..at + 2].try_into().expect("two bytes")));
        let long = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
        assert_eq!((header[2], half(3), long(13)), (0, 479, 0), "language, version, remark");
        assert_eq!(long(17), header_len - 21, "the entries fill the header");
        let mut fields = Vec::new();
        let mut at = 21;
        while at < header_len {
            let name_len = half(at);
            let value_len = long(at + 2 + name_len);
            let text = |from: usize, len: usize| String::from_utf8(header[from..from + len].to_vec()).expect("UTF-8");
            fields.push((text(at + 2, name_len), text(at + 6 + name_len, value_len)));
            at += 6 + name_len + value_len;
        }
        fields.sort();
        (half(0) as i64, long(5) as i64, long(9) as i64, fields, body)
    }

    #[test]
    fn a_patched_template_decodes_to_what_was_meant() {
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            let template = SendTemplate::new(kind, "Bench-Topic_1", 7, 256, 0x1122_3344_5566_7788);
            let mut out = b"earlier frames".to_vec();
            template.write(&mut out, &PATCH);
            template.write(&mut out, &PATCH);
            let frame_bytes = template.frame_bytes();
            assert_eq!(out.len(), 14 + 2 * frame_bytes);
            for frame in out[14..].chunks(frame_bytes) {
                let (code, opaque, flag, fields, body) = decode(frame);
                assert_eq!((code, opaque, flag), (310, 1_000_000_042, 0), "{kind:?}");
                let field = |name: &str| fields.iter().find(|(key, _)| key == name).expect("present").1.as_str();
                let names: String = fields.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, "abcdefghijkm");
                assert_eq!((field("b"), field("e"), field("g")), ("Bench-Topic_1", "7", "1763856000123"));
                assert_eq!(field("i"), "UNIQ_KEY\u{1}11223344556677880000000000ABCDEF\u{2}WAIT\u{1}true\u{2}");
                assert_eq!(body.len(), 256);
                assert_eq!(Stamp::read(&body), Some(PATCH.stamp));
            }
        }
    }

    #[test]
    fn the_filler_of_a_body_survives_the_patches() {
        let template = SendTemplate::new(HeaderKind::Json, "T", 0, 1000, 1);
        let mut out = Vec::new();
        template.write(&mut out, &PATCH);
        let body = &out[out.len() - 1000..];
        let expected: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
        assert_eq!(body[STAMP_BYTES..], expected[STAMP_BYTES..]);
    }

    #[test]
    fn other_requests_decode_too() {
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            let frame = request(kind, PULL_MESSAGE, 5, &[("topic", "a\"b\\c\u{1}"), ("queueId", "3")], b"body");
            let (code, opaque, flag, fields, body) = decode(&frame);
            assert_eq!((code, opaque, flag, body.as_slice()), (11, 5, 0, b"body".as_slice()));
            assert_eq!(fields[1], ("topic".to_owned(), "a\"b\\c\u{1}".to_owned()));
        }
    }
}
