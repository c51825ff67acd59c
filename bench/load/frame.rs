//! Requests as bytes: built once as templates, then copied and patched in place.
//!
//! A frame is `u32 length of the rest, u8 header type, u24 header length, header, body`, big-endian. All that changes from message to message
//! has a fixed width, so a send is two copies, header and body, and a few patches:
//!
//! | field          | JSON header                  | binary header  |
//! |----------------|------------------------------|----------------|
//! | opaque         | 10 digits                    | i32            |
//! | born timestamp | 13 digits                    | 13 digits      |
//! | `UNIQ_KEY`     | last 16 of its 32 hex digits | the same       |
//! | `KEYS`, `TAGS` | 16 hex digits; 4 digits      | the same       |
//! | `TIMER_DELIVER_MS` | 13 digits                | the same       |
//! | body           | [`Stamp`] in its first bytes | the same       |
//!
//! The messages of a batch stand in the body with their properties, and are patched there.

use std::fmt::Write as _;

use crate::load::record::{STAMP_BYTES, Stamp, seal};
use crate::load::settings::SizeShare;

/// Request code: send one message, short field names.
pub const SEND_MESSAGE_V2: i32 = 310;
/// Request code: send several messages of one queue.
pub const SEND_BATCH_MESSAGE: i32 = 320;
/// Request code: read messages of one queue.
pub const PULL_MESSAGE: i32 = 11;
/// Request code: make a client known.
pub const HEART_BEAT: i32 = 34;
/// Request code: create or change a topic.
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// Request code: the offset that a queue's next message gets.
pub const GET_MAX_OFFSET: i32 = 30;
/// Request code: the offset from which a group goes on in a queue.
pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
/// Request code: a broker's configuration.
pub const GET_BROKER_CONFIG: i32 = 26;
/// Request code: take messages of any queue for a while. Too large for binary headers.
pub const POP_MESSAGE: i32 = 200_050;
/// Request code: one popped message is done.
pub const ACK_MESSAGE: i32 = 200_051;
/// Asks where each queue of a topic stands.
pub const GET_TOPIC_STATS: i32 = 202;
/// Request code: the offset of a queue's oldest message.
pub const GET_MIN_OFFSET: i32 = 31;

/// Request code: commit a half message or roll it back.
pub const END_TRANSACTION: i32 = 37;
/// Request code, of brokers: what became of a transaction?
pub const CHECK_TRANSACTION_STATE: i32 = 39;

/// The group of those who send.
pub const SEND_GROUP: &str = "ringmq_bench_producer";
/// `sysFlag` of a half message.
const HALF_FLAG: &str = "4";

/// Flag of a request that wants no reply.
const ONEWAY_FLAG: i32 = 2;

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
    frame(kind, code, 0, opaque, fields, body)
}

/// One that wants no reply.
pub fn oneway(kind: HeaderKind, code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    frame(kind, code, ONEWAY_FLAG, opaque, fields, body)
}

fn frame(kind: HeaderKind, code: i32, flag: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let header = match kind {
        HeaderKind::Json => json_header(code, flag, opaque, fields),
        HeaderKind::Binary => binary_header(code, flag, opaque, fields),
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
fn json_header(code: i32, flag: i32, opaque: i32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{{\"code\":{code},\"extFields\":{{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\"{name}\":\"").expect("writing to a string cannot fail");
        escape_into(&mut text, value);
        text.push('"');
    }
    write!(
        text,
        "}},\"flag\":{flag},\"language\":\"JAVA\",\"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{CLIENT_VERSION}}}"
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

fn binary_header(code: i32, flag: i32, opaque: i32, fields: &[(&str, &str)]) -> Vec<u8> {
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
    header.extend_from_slice(&flag.to_be_bytes());
    header.extend_from_slice(&0i32.to_be_bytes()); // no remark
    header.extend_from_slice(&i32::try_from(entries.len()).expect("our headers are short").to_be_bytes());
    header.extend_from_slice(&entries);
    header
}

/// What all sends of a load have in common.
#[derive(Debug, Clone, Copy)]
pub struct SendShape {
    /// How headers are written.
    pub header: HeaderKind,
    /// Messages of one request: more than one are a SEND_BATCH_MESSAGE.
    pub batch: usize,
    /// Whether messages have keys (KEYS).
    pub keys: bool,
    /// Different tags (TAGS); 0 for none.
    pub tags: u32,
    /// Whether the number of its tag is a property of a message as well (`place`), for SQL92 filters.
    pub is_placed: bool,
    /// How long after it was born a message is to be delivered (TIMER_DELIVER_MS), ms; 0: at once.
    pub deliver_after_ms: u64,
    /// At which delay level a message is to be delivered (DELAY); 0 for at once.
    pub delay_level: u8,
    /// Whether messages are halves of transactions (TRAN_MSG).
    pub is_half: bool,
    /// Whether no reply is wanted.
    pub is_oneway: bool,
    /// Keeps message keys of different runs apart.
    pub run_id: u64,
}

/// What one request adds to its template.
#[derive(Debug, Clone, Copy)]
pub struct SendPatch {
    /// At least [`OPAQUE_MIN`].
    pub opaque: i32,
    /// Unix time in ms, 13 digits.
    pub born_ms: u64,
    /// What the body begins with; of a batch the first, the others count on from it.
    pub stamp: Stamp,
}

/// Stands for the opaque while a template is built: a number that occurs nowhere else in it.
const OPAQUE_MARK: i32 = 1_987_654_321;
const BORN_MARK: &str = "1111111111111";
const KEY_MARK: &str = "FEDCBA9876543210";
const TAG_MARK: &str = "TAG9876";
const PLACE_MARK: &str = "PL:E";
const DELIVER_MARK: &str = "2222222222222";

/// Where the properties of a message change from message to message.
#[derive(Debug, Clone, Default)]
struct Marks {
    keys: Vec<usize>,
    /// Where the four digits of its number are.
    tags: Vec<usize>,
}

impl Marks {
    fn of(bytes: &[u8]) -> Self {
        let keys = positions(bytes, KEY_MARK.as_bytes()).collect();
        let tags = positions(bytes, TAG_MARK.as_bytes()).map(|at| at + 3);
        Self { keys, tags: tags.chain(positions(bytes, PLACE_MARK.as_bytes())).collect() }
    }

    fn patch(&self, bytes: &mut [u8], sequence: u64, tags: u32) {
        for at in &self.keys {
            put_hex(&mut bytes[*at..*at + KEY_MARK.len()], sequence);
        }
        for at in &self.tags {
            put_decimal(&mut bytes[*at..at + 4], sequence % u64::from(tags));
        }
    }
}

impl SendShape {
    fn properties(&self) -> String {
        let keys = if self.keys { format!("KEYS\u{1}{KEY_MARK}\u{2}") } else { String::new() };
        let tags = if self.tags > 0 { format!("TAGS\u{1}{TAG_MARK}\u{2}") } else { String::new() };
        let place = if self.is_placed { format!("place\u{1}{PLACE_MARK}\u{2}") } else { String::new() };
        let deliver = match self.deliver_after_ms {
            0 => String::new(),
            _ => format!("TIMER_DELIVER_MS\u{1}{DELIVER_MARK}\u{2}"),
        };
        let level = match self.delay_level {
            0 => String::new(),
            level => format!("DELAY\u{1}{level}\u{2}"),
        };
        let half =
            if self.is_half { format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{SEND_GROUP}\u{2}") } else { String::new() };
        let fixed = format!("WAIT\u{1}true\u{2}{half}{level}");
        format!("{keys}UNIQ_KEY\u{1}{:016X}{KEY_MARK}\u{2}{fixed}{deliver}{place}{tags}", self.run_id)
    }
}

/// The header of sends to one queue, ready but for what differs from request to request.
#[derive(Debug, Clone)]
pub struct SendTemplate {
    bytes: Vec<u8>,
    opaque_at: usize,
    opaque_is_text: bool,
    born_at: usize,
    /// Of a message that is to be delivered later.
    deliver_at: Option<usize>,
    marks: Marks,
}

impl SendTemplate {
    /// For queue `queue_id` of `topic`.
    pub fn new(shape: &SendShape, topic: &str, queue_id: u32) -> Self {
        let queue_id = queue_id.to_string();
        let is_batch = shape.batch > 1;
        // The messages of a batch have their properties with them.
        let properties = if is_batch { "WAIT\u{1}true\u{2}".to_owned() } else { shape.properties() };
        let fields = [
            ("a", SEND_GROUP),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id),
            ("f", if shape.is_half { HALF_FLAG } else { "0" }),
            ("g", BORN_MARK),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", if is_batch { "true" } else { "false" }),
        ];
        let code = if is_batch { SEND_BATCH_MESSAGE } else { SEND_MESSAGE_V2 };
        let flag = if shape.is_oneway { ONEWAY_FLAG } else { 0 };
        let bytes = frame(shape.header, code, flag, OPAQUE_MARK, &fields, &[]);
        let opaque_text = OPAQUE_MARK.to_string();
        let (opaque_at, opaque_is_text) = match shape.header {
            HeaderKind::Json => (find(&bytes, opaque_text.as_bytes()), true),
            HeaderKind::Binary => (find(&bytes, &OPAQUE_MARK.to_be_bytes()), false),
        };
        let born_at = find(&bytes, BORN_MARK.as_bytes());
        let deliver_at = positions(&bytes, DELIVER_MARK.as_bytes()).next();
        Self { opaque_at, opaque_is_text, born_at, deliver_at, marks: Marks::of(&bytes), bytes }
    }
}

/// Writes requests: a header, and the bodies of its messages.
#[derive(Debug)]
pub struct Packer {
    shape: SendShape,
    /// Whether bodies get a checksum.
    is_sealed: bool,
    sizes: Vec<SizeShare>,
    shares: u64,
    /// A message a size, as it is in a body: alone, its body; in a batch, with lengths and properties around it.
    messages: Vec<PackedMessage>,
}

#[derive(Debug)]
struct PackedMessage {
    bytes: Vec<u8>,
    body_at: usize,
    body_bytes: usize,
    marks: Marks,
}

impl Packer {
    /// For bodies of `sizes`, each at least [`STAMP_BYTES`].
    pub fn new(shape: SendShape, sizes: &[SizeShare], is_sealed: bool) -> Self {
        let messages = sizes.iter().map(|size| PackedMessage::new(&shape, size.bytes)).collect();
        let shares = sizes.iter().map(|size| u64::from(size.share)).sum();
        Self { shape, is_sealed, sizes: sizes.to_vec(), shares, messages }
    }

    /// Appends one request to `out`.
    pub fn write(&self, out: &mut Vec<u8>, template: &SendTemplate, patch: &SendPatch) {
        let start = out.len();
        out.extend_from_slice(&template.bytes);
        let header = &mut out[start..];
        if template.opaque_is_text {
            put_decimal(
                &mut header[template.opaque_at..template.opaque_at + 10],
                u64::from(patch.opaque.unsigned_abs()),
            );
        } else {
            header[template.opaque_at..template.opaque_at + 4].copy_from_slice(&patch.opaque.to_be_bytes());
        }
        put_decimal(&mut header[template.born_at..template.born_at + 13], patch.born_ms);
        if let Some(at) = template.deliver_at {
            // The millisecond in which it is born has begun already.
            put_decimal(&mut header[at..at + 13], patch.born_ms + self.shape.deliver_after_ms + 1);
        }
        template.marks.patch(header, patch.stamp.sequence, self.shape.tags);
        let mut stamp = patch.stamp;
        for _ in 0..self.shape.batch {
            self.write_message(out, &stamp);
            stamp.sequence += 1;
        }
        let rest = u32::try_from(out.len() - start - 4).expect("a request is far below 4 GiB");
        out[start..start + 4].copy_from_slice(&rest.to_be_bytes());
    }

    fn write_message(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        let message = &self.messages[self.size_of(stamp.sequence)];
        let start = out.len();
        out.extend_from_slice(&message.bytes);
        let bytes = &mut out[start..];
        message.marks.patch(bytes, stamp.sequence, self.shape.tags);
        let body = &mut bytes[message.body_at..message.body_at + message.body_bytes];
        stamp.write(body);
        if self.is_sealed {
            seal(body);
        }
    }

    /// Index of the size of message `sequence`: always the same one, however often it is sent.
    fn size_of(&self, sequence: u64) -> usize {
        if self.sizes.len() == 1 {
            return 0;
        }
        let mut left = mixed(sequence) % self.shares;
        for (index, size) in self.sizes.iter().enumerate() {
            match left.checked_sub(u64::from(size.share)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        unreachable!("what is left is below the sum of the shares")
    }
}

impl PackedMessage {
    fn new(shape: &SendShape, body_bytes: usize) -> Self {
        assert!(body_bytes >= STAMP_BYTES, "a body of {body_bytes} B has no room for its stamp of {STAMP_BYTES} B");
        let body: Vec<u8> = (b'a'..=b'z').cycle().take(body_bytes).collect();
        if shape.batch == 1 {
            return Self { bytes: body, body_at: 0, body_bytes, marks: Marks::default() };
        }
        // Size, magic, CRC, flag, body with its length, properties with theirs. Source: `MessageDecoder.encodeMessage` of Apache RocketMQ 5.
        let properties = shape.properties();
        let size = 4 * 5 + body_bytes + 2 + properties.len();
        let number = |value: usize| u32::try_from(value).expect("a message is far below 4 GiB").to_be_bytes();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&number(size));
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&number(body_bytes));
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&u16::try_from(properties.len()).expect("our properties are short").to_be_bytes());
        bytes.extend_from_slice(properties.as_bytes());
        Self { body_at: 20, body_bytes, marks: Marks::of(&bytes), bytes }
    }
}

/// A number that looks random, the same for the same input (the finalizer of MurmurHash3).
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    value = (value ^ (value >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    value ^ (value >> 33)
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    positions(haystack, needle).next().expect("the mark was just written")
}

fn positions<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    haystack.windows(needle.len()).enumerate().filter(move |(_, window)| *window == needle).map(|(at, _)| at)
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
    use crate::load::record::is_intact;

    const PATCH: SendPatch = SendPatch {
        opaque: 1_000_000_042,
        born_ms: 1_763_856_000_123,
        stamp: Stamp { intended_ns: 7_000_000_001, sequence: 0xABCDEF, run_id: 99, sender: 5 },
    };

    fn shape(header: HeaderKind) -> SendShape {
        SendShape {
            header,
            batch: 1,
            keys: false,
            tags: 0,
            is_placed: false,
            deliver_after_ms: 0,
            delay_level: 0,
            is_half: false,
            is_oneway: false,
            run_id: 0x1122_3344_5566_7788,
        }
    }

    fn sizes(bytes: usize) -> [SizeShare; 1] {
        [SizeShare { bytes, share: 1 }]
    }

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
            let template = SendTemplate::new(&shape(kind), "Bench-Topic_1", 7);
            let packer = Packer::new(shape(kind), &sizes(256), false);
            let mut out = b"earlier frames".to_vec();
            packer.write(&mut out, &template, &PATCH);
            packer.write(&mut out, &template, &PATCH);
            let frame_bytes = (out.len() - 14) / 2;
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
                assert!(!is_intact(&body), "nobody asked for a checksum");
                let filler: Vec<u8> = (b'a'..=b'z').cycle().take(256).collect();
                assert_eq!(body[STAMP_BYTES..], filler[STAMP_BYTES..]);
            }
        }
    }

    #[test]
    fn keys_tags_and_the_wish_for_no_reply_are_written() {
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            let shape = SendShape { keys: true, tags: 100, deliver_after_ms: 5_000, is_oneway: true, ..shape(kind) };
            let mut out = Vec::new();
            Packer::new(shape, &sizes(64), true).write(&mut out, &SendTemplate::new(&shape, "T", 0), &PATCH);
            let (_, _, flag, fields, body) = decode(&out);
            let properties = &fields.iter().find(|(key, _)| key == "i").expect("properties").1;
            let expected = "KEYS\u{1}0000000000ABCDEF\u{2}UNIQ_KEY\u{1}11223344556677880000000000ABCDEF\u{2}WAIT\u{1}true\u{2}\
                            TIMER_DELIVER_MS\u{1}1763856005124\u{2}TAGS\u{1}TAG0075\u{2}";
            assert_eq!((flag, properties.as_str()), (2, expected));
            assert!(is_intact(&body));
            let mut damaged = body;
            damaged[40] ^= 1;
            assert!(!is_intact(&damaged));
        }
    }

    #[test]
    fn a_level_a_place_and_a_half_message_are_written() {
        let written = |shape: SendShape| {
            let mut out = Vec::new();
            Packer::new(shape, &sizes(64), false).write(&mut out, &SendTemplate::new(&shape, "T", 0), &PATCH);
            let (_, _, _, fields, _) = decode(&out);
            let field = |name: &str| fields.iter().find(|(key, _)| key == name).expect("present").1.clone();
            (field("f"), field("i"))
        };
        let key = "UNIQ_KEY\u{1}11223344556677880000000000ABCDEF\u{2}WAIT\u{1}true\u{2}";
        let (flag, properties) = written(SendShape { delay_level: 3, ..shape(HeaderKind::Json) });
        assert_eq!((flag.as_str(), properties), ("0", format!("{key}DELAY\u{1}3\u{2}")));
        let (flag, properties) = written(SendShape { tags: 100, is_placed: true, ..shape(HeaderKind::Json) });
        assert_eq!((flag.as_str(), properties), ("0", format!("{key}place\u{1}0075\u{2}TAGS\u{1}TAG0075\u{2}")));
        let (flag, properties) = written(SendShape { is_half: true, ..shape(HeaderKind::Json) });
        let half = format!("{key}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{SEND_GROUP}\u{2}");
        assert_eq!((flag.as_str(), properties), ("4", half));
    }

    #[test]
    fn a_batch_holds_its_messages_with_their_properties() {
        let shape = SendShape { batch: 3, ..shape(HeaderKind::Json) };
        let mut out = Vec::new();
        Packer::new(shape, &sizes(100), true).write(&mut out, &SendTemplate::new(&shape, "T", 2), &PATCH);
        let (code, _, _, fields, mut body) = decode(&out);
        assert_eq!((code, fields.iter().find(|(key, _)| key == "m").expect("a batch").1.as_str()), (320, "true"));
        for sequence in 0xABCDEF..0xABCDEF + 3 {
            let size = u32::from_be_bytes(*body.first_chunk().expect("a size")) as usize;
            let (message, rest) = body.split_at(size);
            assert_eq!(message[4..16], [0; 12]);
            assert_eq!(message[16..20], 100u32.to_be_bytes());
            assert_eq!(Stamp::read(&message[20..]).expect("a stamp").sequence, sequence);
            assert!(is_intact(&message[20..120]));
            let properties = String::from_utf8_lossy(&message[122..]).into_owned();
            assert_eq!(message[120..122], u16::try_from(properties.len()).expect("short").to_be_bytes());
            assert_eq!(properties, format!("UNIQ_KEY\u{1}1122334455667788{sequence:016X}\u{2}WAIT\u{1}true\u{2}"));
            body = rest.to_vec();
        }
        assert!(body.is_empty());
    }

    #[test]
    fn sizes_come_as_often_as_their_shares_say() {
        let sizes = [(64, 90), (512, 9), (4096, 1)].map(|(bytes, share)| SizeShare { bytes, share });
        let packer = Packer::new(shape(HeaderKind::Json), &sizes, false);
        let mut counts = [0u32; 3];
        for sequence in 0..100_000 {
            counts[packer.size_of(sequence)] += 1;
        }
        assert!((89_500..90_500).contains(&counts[0]) && (900..1100).contains(&counts[2]), "{counts:?}");
        let template = SendTemplate::new(&shape(HeaderKind::Binary), "T", 0);
        for sequence in 0..100 {
            let mut out = Vec::new();
            let stamp = Stamp { sequence, ..PATCH.stamp };
            packer.write(&mut out, &template, &SendPatch { stamp, ..PATCH });
            let length = u32::from_be_bytes(*out.first_chunk().expect("a length")) as usize;
            assert_eq!(length, out.len() - 4);
            assert_eq!(Stamp::read(&out[template.bytes.len()..]), Some(stamp));
        }
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
