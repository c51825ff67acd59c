//! Replies and requests to frames. Everything is written straight into the connection's buffer, in Java's key order.
//!
//! Extension values are always JSON strings: one bare number makes the Go client refuse the whole header.

use bytes::{BufMut, BytesMut};

use super::code::{Language, ResponseCode};
use super::frame::{Encoding, PREFIX_BYTES};
use super::header::{FLAG_ONEWAY, FLAG_RESPONSE};
use crate::limits::{FRAME_BYTES_MAX, SHOWN_CHARS_MAX};

/// The version that ringmq says it has: RocketMQ 5.3.3. Below 232 consumers with SQL92 subscriptions would stop pulling.
pub const VERSION: i16 = 479;

/// A value of an extension field; on the wire always text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtValue<'a> {
    /// Text.
    Str(&'a str),
    /// A number in decimal.
    I64(i64),
    /// `true` or `false`.
    Bool(bool),
}

/// A value that somebody sent or wrote, as a remark or a line of the log repeats it: one line, cut to 100 characters.
#[must_use]
pub fn shown(value: &str) -> String {
    let start: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    let cut = if start.len() < value.len() { "..." } else { "" };
    let mut text = String::with_capacity(start.len());
    for character in start.chars() {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text + cut
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// How the request ended.
    pub code: ResponseCode,
    /// Human text, for errors.
    pub remark: Option<&'a str>,
    /// Extension fields, written in this order.
    pub ext: &'a [(&'a str, ExtValue<'a>)],
    /// The body, maybe empty.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// A reply without text, fields or body.
    #[must_use]
    pub fn new(code: ResponseCode) -> Reply<'a> {
        Reply { code, remark: None, ext: &[], body: &[] }
    }

    /// A reply that says why a request failed.
    #[must_use]
    pub fn error(code: ResponseCode, remark: &'a str) -> Reply<'a> {
        Reply { code, remark: Some(remark), ext: &[], body: &[] }
    }

    /// Success with these fields.
    #[must_use]
    pub fn fields(ext: &'a [(&'a str, ExtValue<'a>)]) -> Reply<'a> {
        Reply { code: ResponseCode::Success, remark: None, ext, body: &[] }
    }

    /// Success with this body.
    #[must_use]
    pub fn body(body: &'a [u8]) -> Reply<'a> {
        Reply { code: ResponseCode::Success, remark: None, ext: &[], body }
    }
}

/// Appends the reply to request `opaque` to `out`.
///
/// A reply that no frame can hold is replaced by one that says so: a longer frame would close the connection, and the
/// client would come back and ask again.
pub fn encode_reply(encoding: Encoding, opaque: i32, reply: &Reply<'_>, out: &mut BytesMut) {
    let head = Head { code: reply.code.number(), opaque, flag: FLAG_RESPONSE, remark: reply.remark };
    if !encode(encoding, &head, reply.ext, reply.body, out) {
        let remark = Some("the answer is longer than a frame may be");
        let head = Head { code: ResponseCode::SystemError.number(), opaque, flag: FLAG_RESPONSE, remark };
        assert!(encode(encoding, &head, &[], &[], out), "a reply of one sentence fits a frame");
    }
}

/// Appends a request of our own to `out`: to a client over its connection, or to a name server.
///
/// # Panics
/// If fields and body exceed a frame: whoever asks bounds what it asks with.
pub fn encode_request(
    encoding: Encoding,
    code: i32,
    opaque: i32,
    oneway: bool,
    ext: &[(&str, ExtValue<'_>)],
    body: &[u8],
    out: &mut BytesMut,
) {
    let head = Head { code, opaque, flag: if oneway { FLAG_ONEWAY } else { 0 }, remark: None };
    assert!(
        encode(encoding, &head, ext, body, out),
        "request {code} with {} bytes of body exceeds a frame",
        body.len()
    );
}

/// What the reply to a stored message says.
#[derive(Clone, Copy, Debug)]
pub struct SendReplyFields<'a> {
    /// [`ResponseCode::Success`], or one of the three that mean "stored, but": 10, 11, 12.
    pub code: ResponseCode,
    /// Address and log offset as 32 or 56 hexadecimal digits; of a batch several, joined with commas.
    pub message_id: &'a str,
    /// Queue that took the message.
    pub queue_id: u32,
    /// Position in the queue; of a batch, of its first message.
    pub queue_offset: u64,
    /// The client's own id of the message (`UNIQ_KEY`).
    pub transaction_id: Option<&'a str>,
    /// Of a timer message: by what it is recalled.
    pub recall_handle: Option<&'a str>,
    /// Of a batch that was stored as one record: the client's own id of the batch.
    pub batch_id: Option<&'a str>,
    /// Region of the broker, for traces.
    pub region: &'a str,
    /// Whether clients should trace.
    pub trace: bool,
    /// Human text when `code` is not success.
    pub remark: Option<&'a str>,
}

/// Appends the reply of a send: the hottest of all, so its JSON form is written from a template, its fields in the order
/// that Java's have.
pub fn encode_send_reply(encoding: Encoding, opaque: i32, fields: &SendReplyFields<'_>, out: &mut BytesMut) {
    if encoding == Encoding::Binary || fields.remark.is_some() {
        // A batch has no recall handle, so one place is enough for both.
        let (name, value) = match fields.batch_id {
            Some(id) => ("batchUniqId", Some(id)),
            None => ("recallHandle", fields.recall_handle),
        };
        let ext = [
            ("msgId", ExtValue::Str(fields.message_id)),
            ("queueId", ExtValue::I64(i64::from(fields.queue_id))),
            ("queueOffset", ExtValue::I64(offset(fields.queue_offset))),
            ("transactionId", ExtValue::Str(fields.transaction_id.unwrap_or_default())),
            ("MSG_REGION", ExtValue::Str(fields.region)),
            ("TRACE_ON", ExtValue::Bool(fields.trace)),
            (name, ExtValue::Str(value.unwrap_or_default())),
        ];
        let count = if value.is_some() { ext.len() } else { ext.len().saturating_sub(1) };
        let ext = ext.get(..count).unwrap_or_default();
        let reply = Reply { code: fields.code, remark: fields.remark, ext, body: &[] };
        return encode_reply(encoding, opaque, &reply, out);
    }
    let mut number = itoa::Buffer::new();
    let optional = [fields.transaction_id, fields.recall_handle, fields.batch_id].into_iter().flatten();
    let texts =
        optional.map(str::len).fold(fields.message_id.len().saturating_add(fields.region.len()), usize::saturating_add);
    out.reserve(texts.saturating_add(SEND_REPLY_TEMPLATE_BYTES));
    let start = open(out);
    out.put_slice(b"{\"code\":");
    out.put_slice(number.format(fields.code.number()).as_bytes());
    out.put_slice(b",\"extFields\":{\"queueId\":\"");
    out.put_slice(number.format(fields.queue_id).as_bytes());
    out.put_u8(b'"');
    if let Some(transaction_id) = fields.transaction_id {
        out.put_slice(b",\"transactionId\":");
        put_text(transaction_id, out);
    }
    if let Some(handle) = fields.recall_handle {
        out.put_slice(b",\"recallHandle\":");
        put_text(handle, out);
    }
    if let Some(id) = fields.batch_id {
        out.put_slice(b",\"batchUniqId\":");
        put_text(id, out);
    }
    // Hexadecimal digits and commas: nothing to escape.
    out.put_slice(b",\"msgId\":\"");
    out.put_slice(fields.message_id.as_bytes());
    out.put_slice(b"\",\"TRACE_ON\":\"");
    out.put_slice(bool_text(fields.trace).as_bytes());
    out.put_slice(b"\",\"MSG_REGION\":");
    put_text(fields.region, out);
    out.put_slice(b",\"queueOffset\":\"");
    out.put_slice(number.format(fields.queue_offset).as_bytes());
    out.put_u8(b'"');
    out.put_slice(b"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    out.put_slice(number.format(opaque).as_bytes());
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}");
    assert!(close(Encoding::Json, start, &[], out), "a send reply of {texts} bytes of text fits a frame");
}

/// Fixed text, numbers and prefix of the template take less than this.
const SEND_REPLY_TEMPLATE_BYTES: usize = 320;

const _: () = assert!(VERSION == 479, "the template of a send reply holds the version as text");

fn offset(queue_offset: u64) -> i64 {
    i64::try_from(queue_offset).expect("a queue offset stays below 2^63")
}

struct Head<'a> {
    code: i32,
    opaque: i32,
    flag: i32,
    remark: Option<&'a str>,
}

/// Appends a whole frame; `false`, and nothing appended, if it would be too long.
fn encode(encoding: Encoding, head: &Head<'_>, ext: &[(&str, ExtValue<'_>)], body: &[u8], out: &mut BytesMut) -> bool {
    let start = open(out);
    match encoding {
        Encoding::Json => put_json_header(head, ext, out),
        Encoding::Binary => put_binary_header(head, ext, out),
    }
    close(encoding, start, body, out)
}

/// Leaves room for the prefix; gives where the frame starts.
fn open(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_u64(0);
    start
}

/// Appends the body and fills in the prefix of the frame that starts at `start`.
fn close(encoding: Encoding, start: usize, body: &[u8], out: &mut BytesMut) -> bool {
    let size = out.len().saturating_sub(start).saturating_add(body.len());
    if size > FRAME_BYTES_MAX {
        out.truncate(start);
        return false;
    }
    let header = out.len().saturating_sub(start).saturating_sub(PREFIX_BYTES);
    let header = u32::try_from(header).expect("a header is shorter than its frame");
    let length = u32::try_from(size.saturating_sub(4)).expect("a frame is shorter than 16 MiB");
    let word = (u32::from(encoding.to_byte()) << 24) | header;
    let prefix = (u64::from(length) << 32) | u64::from(word);
    let place = out.get_mut(start..).and_then(|frame| frame.first_chunk_mut::<PREFIX_BYTES>());
    *place.expect("the prefix was reserved when the frame was opened") = prefix.to_be_bytes();
    out.put_slice(body);
    true
}

fn put_json_header(head: &Head<'_>, ext: &[(&str, ExtValue<'_>)], out: &mut BytesMut) {
    let mut number = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(number.format(head.code).as_bytes());
    for (index, (name, value)) in ext.iter().enumerate() {
        out.put_slice(if index == 0 { b",\"extFields\":{" } else { b"," });
        put_text(name, out);
        out.put_u8(b':');
        match value {
            ExtValue::Str(text) => put_text(text, out),
            ExtValue::I64(value) => put_text(number.format(*value), out),
            ExtValue::Bool(value) => put_text(bool_text(*value), out),
        }
    }
    out.put_slice(if ext.is_empty() { b",\"flag\":" } else { b"},\"flag\":" });
    out.put_slice(number.format(head.flag).as_bytes());
    out.put_slice(b",\"language\":\"JAVA\",\"opaque\":");
    out.put_slice(number.format(head.opaque).as_bytes());
    if let Some(remark) = head.remark {
        out.put_slice(b",\"remark\":");
        put_text(remark, out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(number.format(VERSION).as_bytes());
    out.put_u8(b'}');
}

fn put_binary_header(head: &Head<'_>, ext: &[(&str, ExtValue<'_>)], out: &mut BytesMut) {
    // The form has 16 bits for the code; what does not fit arrives as its remainder, as from Java.
    let [_, _, high, low] = head.code.to_be_bytes();
    out.put_slice(&[high, low]);
    out.put_u8(Language::Java.number());
    out.put_i16(VERSION);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    put_sized(head.remark.unwrap_or_default(), out);
    let start = out.len();
    out.put_u32(0);
    let mut number = itoa::Buffer::new();
    for (name, value) in ext {
        let name_bytes = u16::try_from(name.len()).expect("names of fields are short and ours");
        out.put_u16(name_bytes);
        out.put_slice(name.as_bytes());
        match value {
            ExtValue::Str(text) => put_sized(text, out),
            ExtValue::I64(value) => put_sized(number.format(*value), out),
            ExtValue::Bool(value) => put_sized(bool_text(*value), out),
        }
    }
    let ext_bytes = u32::try_from(out.len().saturating_sub(start).saturating_sub(4)).expect("fields fit a frame");
    let place = out.get_mut(start..).and_then(|ext| ext.first_chunk_mut::<4>());
    *place.expect("the length was reserved above") = ext_bytes.to_be_bytes();
}

fn put_sized(text: &str, out: &mut BytesMut) {
    out.put_u32(u32::try_from(text.len()).expect("a text of a header is shorter than a frame"));
    out.put_slice(text.as_bytes());
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A JSON string: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn put_text(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    // Without an early end, so that many bytes are looked at together.
    let escaped = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |found, byte| found | escaped(byte)) {
        out.put_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => out.put_slice(&[b'\\', byte]),
                b'\n' => out.put_slice(b"\\n"),
                b'\r' => out.put_slice(b"\\r"),
                b'\t' => out.put_slice(b"\\t"),
                0..0x20 => {
                    let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
                    out.put_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                }
                _ => out.put_u8(byte),
            }
        }
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::RequestCode;
    use crate::frame::{RawFrame, split};
    use crate::header::Header;
    use proptest::prelude::*;

    fn only_frame(bytes: &[u8]) -> RawFrame<'_> {
        let frame = split(bytes).expect("a frame").expect("a whole frame");
        assert_eq!(frame.size, bytes.len());
        frame
    }

    #[test]
    fn a_shown_value_is_one_short_line() {
        assert_eq!(shown("slaveTimeout=2500"), "slaveTimeout=2500");
        assert_eq!(shown("a\nb\u{1}\u{e9}"), "a\\nb\\u{1}\u{e9}");
        let long = "\u{e9}".repeat(SHOWN_CHARS_MAX);
        assert_eq!(shown(&long), long);
        assert_eq!(shown(&(long.clone() + "x")), long + "...");
    }

    #[test]
    fn replies_look_as_java_s() {
        let check = |opaque: i32, reply: &Reply<'_>, header: &str, body: &[u8]| {
            let mut out = BytesMut::new();
            encode_reply(Encoding::Json, opaque, reply, &mut out);
            let frame = only_frame(&out);
            assert_eq!(std::str::from_utf8(frame.header), Ok(header));
            assert_eq!((frame.encoding, frame.body), (Encoding::Json, body));
        };
        check(
            1,
            &Reply::new(ResponseCode::Success),
            r#"{"code":0,"flag":1,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}"#,
            b"",
        );
        check(
            -1,
            &Reply {
                code: ResponseCode::PullNotFound,
                remark: Some("no \"x\"\n\u{1f}\u{e4}"),
                ext: &[("minOffset", ExtValue::I64(-1)), ("on", ExtValue::Bool(true)), ("t", ExtValue::Str("a\\"))],
                body: b"body",
            },
            r#"{"code":19,"extFields":{"minOffset":"-1","on":"true","t":"a\\"},"flag":1,"language":"JAVA","opaque":-1,"remark":"no \"x\"\n\u001fä","serializeTypeCurrentRPC":"JSON","version":479}"#,
            b"body",
        );
    }

    #[test]
    fn requests_look_as_java_s() {
        let mut out = BytesMut::new();
        let ext = [("consumerGroup", ExtValue::Str("G"))];
        let code = RequestCode::NotifyConsumerIdsChanged.number();
        encode_request(Encoding::Json, code, 5, true, &ext, b"", &mut out);
        let expected = r#"{"code":40,"extFields":{"consumerGroup":"G"},"flag":2,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        assert_eq!(std::str::from_utf8(only_frame(&out).header), Ok(expected));
    }

    fn stored() -> SendReplyFields<'static> {
        SendReplyFields {
            code: ResponseCode::Success,
            message_id: "7F00000100002A9F0000000000000000",
            queue_id: 3,
            queue_offset: 12_345,
            transaction_id: Some("0A000001000718403C4B000000010002"),
            recall_handle: None,
            batch_id: None,
            region: "DefaultRegion",
            trace: true,
            remark: None,
        }
    }

    #[test]
    fn a_send_reply_says_the_same_in_every_form() {
        let remark = SendReplyFields { code: ResponseCode::FlushDiskTimeout, remark: Some("late"), ..stored() };
        let odd = SendReplyFields { transaction_id: Some("a\"b"), region: "r\\", ..stored() };
        let none = SendReplyFields { transaction_id: None, ..stored() };
        let timer = SendReplyFields { recall_handle: Some("djEgVA=="), ..stored() };
        let batch = SendReplyFields { batch_id: Some("0A00000100\""), ..stored() };
        for fields in [stored(), remark, odd, none, timer, batch] {
            for encoding in [Encoding::Json, Encoding::Binary] {
                let mut out = BytesMut::new();
                encode_send_reply(encoding, -9, &fields, &mut out);
                let frame = only_frame(&out);
                assert_eq!((frame.encoding, frame.body), (encoding, &b""[..]));
                let header = Header::decode(encoding, frame.header).expect("a header");
                assert_eq!((header.code, header.opaque, header.version), (fields.code.number(), -9, 479));
                assert!(header.is_response() && !header.is_oneway());
                assert_eq!(header.remark(), fields.remark);
                assert_eq!(header.ext.get("msgId"), Some(fields.message_id));
                assert_eq!(header.ext.number("queueId"), Some(fields.queue_id));
                assert_eq!(header.ext.number("queueOffset"), Some(fields.queue_offset));
                assert_eq!(header.ext.get("transactionId"), fields.transaction_id);
                assert_eq!(header.ext.get("recallHandle"), fields.recall_handle);
                assert_eq!(header.ext.get("batchUniqId"), fields.batch_id);
                assert_eq!(header.ext.get("MSG_REGION"), Some(fields.region));
                assert_eq!(header.ext.get("TRACE_ON"), Some("true"));
            }
        }
    }

    #[test]
    fn a_reply_that_no_frame_holds_says_so() {
        let check = |body_bytes: usize, expected: ResponseCode| {
            let mut out = BytesMut::from(&b"before"[..]);
            let body = vec![0; body_bytes];
            encode_reply(Encoding::Json, 1, &Reply::body(&body), &mut out);
            let frame = only_frame(&out[6..]);
            let header = Header::decode(frame.encoding, frame.header).expect("a header");
            assert_eq!(header.code, expected.number(), "{body_bytes}");
        };
        let mut empty = BytesMut::new();
        encode_reply(Encoding::Json, 1, &Reply::new(ResponseCode::Success), &mut empty);
        check(FRAME_BYTES_MAX - empty.len(), ResponseCode::Success);
        check(FRAME_BYTES_MAX - empty.len() + 1, ResponseCode::SystemError);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            code in any::<i16>(),
            opaque in any::<i32>(),
            oneway in any::<bool>(),
            ext in prop::collection::btree_map("\\PC{1,9}|[\u{0}-\u{1f}]{1,9}", "\\PC{1,30}|[\u{0}-\u{1f}\"\\\\]{1,9}", 0..40),
            body in any::<Vec<u8>>(),
        ) {
            let pairs: Vec<_> = ext.iter().map(|(name, value)| (name.as_str(), ExtValue::Str(value))).collect();
            for encoding in [Encoding::Json, Encoding::Binary] {
                let mut out = BytesMut::new();
                encode_request(encoding, i32::from(code), opaque, oneway, &pairs, &body, &mut out);
                let frame = only_frame(&out);
                prop_assert_eq!(frame.body, &body[..]);
                let header = Header::decode(encoding, frame.header).expect("a header");
                prop_assert_eq!((header.code, header.opaque), (i32::from(code), opaque));
                prop_assert_eq!(header.is_oneway(), oneway);
                let read: Vec<_> = header.ext.iter().map(|(name, value)| (name, ExtValue::Str(value))).collect();
                prop_assert_eq!(&read, &pairs);
            }
        }

        #[test]
        fn any_bytes_are_a_header_or_refused(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}:,\"0-9a-c\\\\u ]{0,60}") {
            let _ = Header::decode(Encoding::Binary, &bytes);
            let _ = Header::decode(Encoding::Json, &bytes);
            let _ = Header::decode(Encoding::Json, text.as_bytes());
        }
    }
}
