//! A send whose header is one that was read before, but for a few values.
//!
//! The headers of one producer's sends are the same bytes but for the opaque, the queue, the time, the properties' values and what no broker reads, such
//! as a signature. A template is a header that was read in full, with these places open. A header of the same length, with the same byte in each place
//! that is not open, and with digits, or text that needs no escape, in those that are, has the same fields with other values: the scanner would take
//! the same way through it. So it means what the template says, with these values. Whatever is not like that is read in full, and that remains the
//! only definition of what a header means; [`SendTemplate::of`] learns from it, and its tests compare the two.
//!
//! A Go client writes fields and properties in another order each time, and so has hardly any header like another one.

use std::ops::Range;

use super::send::is_read;
use super::{Request, SendRequest};
use crate::code::{Language, RequestCode};
use crate::frame::{Encoding, RawFrame};
use crate::header::Header;
use crate::limits::SEND_TEMPLATE_BYTES_MAX;
use crate::model::{QueueId, UnixMs};

/// Digits of the longest number of 32 bits; what is too large all the same is for the full reading to refuse.
const DIGITS_I32: usize = 10;

/// As many digits as certainly are a number of 64 bits.
const DIGITS_I64: usize = 18;

/// How JSON has the end of a property's name, and that of its value.
const NAME_END: &[u8] = b"\\u0001";
const VALUE_END: &[u8] = b"\\u0002";

/// A header of a send with open places, and what it means.
#[derive(Clone, Debug)]
pub struct SendTemplate {
    /// The header as it was learned.
    header: Box<[u8]>,
    /// For each of its bytes: all ones, or zero if the place is open.
    fixed: Box<[u8]>,
    opaque: Range<usize>,
    queue_id: Range<usize>,
    born_timestamp: Range<usize>,
    /// Values of properties.
    values: Vec<OpenValue>,
    /// Values of fields that a send does not read.
    unread: Vec<Range<usize>>,
    code: RequestCode,
    language: Language,
    version: i32,
    is_oneway: bool,
    producer_group: String,
    topic: String,
    default_topic: String,
    broker_name: Option<String>,
    /// With the values of the last header that was read.
    properties: Vec<u8>,
    /// All else that a send says; its texts and open values are empty.
    rest: SendRequest<'static>,
}

/// A property's value that may be any text of its length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenValue {
    /// In the header.
    from: Range<usize>,
    /// In the properties.
    to: Range<usize>,
}

/// A send that was read by a template.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in `Header`")]
pub struct TemplateSend<'a> {
    pub code: RequestCode,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub is_oneway: bool,
    /// A [`Request::Send`].
    pub request: Request<'a>,
}

impl SendTemplate {
    /// A template for headers like this one, of which `request` was read in full; `None` if there is none: the header is binary or long, or its
    /// open values are not written as stock clients write them.
    #[must_use]
    pub fn of(frame: &RawFrame<'_>, header: &Header<'_>, request: &SendRequest<'_>) -> Option<SendTemplate> {
        if frame.encoding != Encoding::Json || frame.header.len() > SEND_TEMPLATE_BYTES_MAX {
            return None;
        }
        let code = RequestCode::try_from(header.code).ok()?;
        let has_full_names = code == RequestCode::SendMessage;
        let [queue_id, born_timestamp, properties] = match code {
            RequestCode::SendMessage => ["queueId", "bornTimestamp", "properties"],
            RequestCode::SendMessageV2 | RequestCode::SendBatchMessage => ["e", "g", "i"],
            _ => return None,
        };
        let digits = |range: Option<Range<usize>>, max| {
            let range = range.filter(|range| range.len() <= max)?;
            number(frame.header, &range).map(|_| range)
        };
        let opaque = digits(header.opaque_range(), DIGITS_I32)?;
        let queue_id = digits(header.ext.range(queue_id), DIGITS_I32)?;
        let born_timestamp = digits(header.ext.range(born_timestamp), DIGITS_I64)?;
        let values = match header.ext.range(properties) {
            Some(received) => open_values(frame.header, &received, request.properties)?,
            None if request.properties.is_empty() => Vec::new(),
            None => return None,
        };
        let names = header.ext.iter().map(|(name, _)| name).filter(|name| !is_read(name, has_full_names));
        let unread = names.filter_map(|name| header.ext.range(name));
        let is_open = |range: &Range<usize>| {
            let is_string = range.start.checked_sub(1).and_then(|before| frame.header.get(before)) == Some(&b'"');
            is_string && frame.header.get(range.clone()).is_some_and(is_plain)
        };
        let unread: Vec<_> = unread.filter(is_open).collect();
        let mut fixed = vec![u8::MAX; frame.header.len()].into_boxed_slice();
        let numbers = [&opaque, &queue_id, &born_timestamp];
        for open in numbers.into_iter().chain(values.iter().map(|value| &value.from)).chain(&unread) {
            fixed.get_mut(open.clone())?.fill(0);
        }
        Some(SendTemplate {
            header: frame.header.into(),
            fixed,
            opaque,
            queue_id,
            born_timestamp,
            values,
            unread,
            code,
            language: header.language,
            version: header.version,
            is_oneway: header.is_oneway(),
            producer_group: request.producer_group.to_owned(),
            topic: request.topic.to_owned(),
            default_topic: request.default_topic.to_owned(),
            broker_name: request.broker_name.map(str::to_owned),
            properties: request.properties.as_bytes().to_vec(),
            rest: SendRequest {
                producer_group: "",
                topic: "",
                default_topic: "",
                properties: "",
                broker_name: None,
                body: &[],
                ..*request
            },
        })
    }

    /// What a frame asks if its header is like this one's.
    #[must_use]
    #[inline]
    pub fn read<'a>(&'a mut self, frame: &RawFrame<'a>) -> Option<TemplateSend<'a>> {
        let header = frame.header;
        if header.len() != self.header.len() || frame.encoding != Encoding::Json {
            return None;
        }
        let fixed = self.header.iter().zip(&self.fixed);
        if header.iter().zip(fixed).fold(0, |differs, (byte, (own, mask))| differs | ((byte ^ own) & mask)) != 0 {
            return None;
        }
        let opaque = i32::try_from(number(header, &self.opaque)?).ok()?;
        let queue_id = i32::try_from(number(header, &self.queue_id)?).ok()?;
        let born_timestamp = number(header, &self.born_timestamp)?;
        for value in &self.values {
            let text = header.get(value.from.clone())?;
            if !needs_no_escape(text) {
                return None;
            }
            self.properties.get_mut(value.to.clone())?.copy_from_slice(text);
        }
        for open in &self.unread {
            if !header.get(open.clone()).is_some_and(is_plain) {
                return None;
            }
        }
        Some(TemplateSend {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque,
            is_oneway: self.is_oneway,
            request: Request::Send(SendRequest {
                producer_group: &self.producer_group,
                topic: &self.topic,
                default_topic: &self.default_topic,
                queue_id: Some(QueueId(u32::try_from(queue_id).ok()?)),
                born_timestamp: UnixMs(born_timestamp),
                properties: std::str::from_utf8(&self.properties).ok()?,
                broker_name: self.broker_name.as_deref(),
                body: frame.body,
                ..self.rest
            }),
        })
    }
}

/// The digits of a place as a number, if there is nothing else. No more than [`DIGITS_I64`] are asked for.
#[inline]
fn number(header: &[u8], range: &Range<usize>) -> Option<i64> {
    header.get(range.clone())?.iter().try_fold(0_i64, |number, byte| {
        byte.is_ascii_digit().then(|| number.wrapping_mul(10).wrapping_add(i64::from(byte.wrapping_sub(b'0'))))
    })
}

/// Whether bytes stand in a JSON string as they are, and hold no separator of properties. Whether they are UTF-8 is another matter.
#[inline]
fn needs_no_escape(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\'))
}

/// Whether a text is letters, digits and what stands in base64 and names.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.'))
}

/// Which values of properties may be others: those of text that stands in the header as it is. `received` is where the properties are in the header,
/// `decoded` what they are; `None` if that is not told by their separators alone.
fn open_values(header: &[u8], received: &Range<usize>, decoded: &str) -> Option<Vec<OpenValue>> {
    let mut values = Vec::new();
    let mut rest = header.get(received.clone())?;
    // Where `rest` begins, in the header and in the properties.
    let (mut from, mut to) = (received.start, 0_usize);
    let mut is_value = false;
    loop {
        let run = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
        let (text, behind) = rest.split_at_checked(run)?;
        // The value ends with its separator, or with the properties: what stands before another separator is part of a longer one.
        let is_whole = behind.is_empty() || behind.starts_with(VALUE_END);
        if is_value && is_whole && !text.is_empty() && needs_no_escape(text) {
            values.push(OpenValue { from: from..from.checked_add(run)?, to: to..to.checked_add(run)? });
        }
        (from, to) = (from.checked_add(run)?, to.checked_add(run)?);
        if behind.is_empty() {
            break;
        }
        is_value = behind.starts_with(NAME_END);
        if !is_value && !behind.starts_with(VALUE_END) {
            return None;
        }
        rest = behind.get(NAME_END.len()..)?;
        (from, to) = (from.checked_add(NAME_END.len())?, to.checked_add(1)?);
    }
    (to == decoded.len()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::split;
    use crate::reply::{ExtValue, encode_request};
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// What the full reading finds, as a template says it.
    fn read_in_full<'a>(frame: &RawFrame<'a>, header: &'a Header<'a>) -> Option<TemplateSend<'a>> {
        let code = RequestCode::try_from(header.code).ok()?;
        let request = Request::decode(code, header, frame.body).ok()?;
        let (language, version, opaque) = (header.language, header.version, header.opaque);
        Some(TemplateSend { code, language, version, opaque, is_oneway: header.is_oneway(), request })
    }

    fn template_of(header: &[u8]) -> Option<SendTemplate> {
        let frame = RawFrame { encoding: Encoding::Json, header, body: b"body", size: 0 };
        let header = Header::decode(Encoding::Json, header).ok()?;
        let read = read_in_full(&frame, &header)?;
        let Request::Send(request) = &read.request else { return None };
        SendTemplate::of(&frame, &header, request)
    }

    /// Whether the template reads the header; what it reads is what the full reading finds.
    fn reads(template: &mut SendTemplate, header: &[u8]) -> bool {
        let frame = RawFrame { encoding: Encoding::Json, header, body: b"body", size: 0 };
        let Some(read) = template.read(&frame) else { return false };
        let text = String::from_utf8_lossy(header);
        let full = Header::decode(Encoding::Json, header).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(Some(read), read_in_full(&frame, &full), "{text}");
        true
    }

    const JAVA: &str = r#"{"code":310,"extFields":{"a":"P","b":"T","c":"TBW102","d":"4","e":"3","f":"0","g":"1700000000000","h":"7","i":"UNIQ_KEY\u00017F000001ABCD\u0002KEYS\u0001k1 k2\u0002WAIT\u0001true\u0002TAGS\u0001A","j":"0","k":"false","m":"false","n":"broker-a","Signature":"c2lnbmF0dXJl"},"flag":0,"language":"JAVA","opaque":123,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    const GO: &str = r#"{"code":10,"language":"GO","version":317,"opaque":9,"flag":0,"remark":"","extFields":{"producerGroup":"P","topic":"T","queueId":"1","sysFlag":"0","bornTimestamp":"1700000000000","flag":"0","properties":"UNIQ_KEY\u0001AB\u0002","reconsumeTimes":"0","unitMode":"false","maxReconsumeTimes":"0","batch":"false","defaultTopic":"TBW102","defaultTopicQueueNums":"4"}}"#;

    #[test]
    fn other_values_of_the_same_length_are_read() {
        let mut template = template_of(JAVA.as_bytes()).expect("a template");
        assert!(reads(&mut template, JAVA.as_bytes()));
        for (from, to) in [
            (":123,", ":007,"),
            (r#""e":"3""#, r#""e":"0""#),
            ("1700000000000", "1800000000001"),
            ("7F000001ABCD", "Z,{}[]:abc~ "),
            ("7F000001ABCD", "7F000001ABä"),
            ("c2lnbmF0dXJl", "T+/hZXI9bWU="),
            ("k1 k2", "other"),
            ("0001true", "0001abcd"),
            ("TAGS\\u0001A", "TAGS\\u0001 "),
        ] {
            assert!(JAVA.contains(from));
            assert!(reads(&mut template, JAVA.replace(from, to).as_bytes()), "{to}");
        }
        let mut template = template_of(GO.as_bytes()).expect("a template");
        assert!(reads(&mut template, GO.replace("\"queueId\":\"1\"", "\"queueId\":\"7\"").as_bytes()));
    }

    #[test]
    fn whatever_else_differs_is_not() {
        let mut template = template_of(JAVA.as_bytes()).expect("a template");
        for (from, to) in [
            (":123,", ":-12,"),
            (":123,", ":12 ,"),
            (r#""d":"4""#, r#""d":"5""#),
            (r#""e":"3""#, r#""e":"x""#),
            ("1700000000000", "170000000000.0"),
            ("1700000000000", "+170000000000"),
            ("7F000001ABCD", r"7F0000\u0002"),
            ("7F000001ABCD", "7F00000\u{1}ABCD"),
            ("7F000001ABCD", "7F000001AB\\\""),
            ("7F000001ABCD", "7F00000\"ABCD"),
            ("broker-a", "broker-b"),
            ("\"P\"", "\"Q\""),
            ("\"T\"", "\"U\""),
            ("\"flag\":0", "\"flag\":2"),
            ("479", "480"),
            ("KEYS", "KEYZ"),
            ("310", "320"),
        ] {
            let other = JAVA.replace(from, to);
            assert_ne!(other, JAVA);
            assert!(!reads(&mut template, other.as_bytes()), "{to}");
        }
    }

    #[test]
    fn numbers_that_are_too_large_are_for_the_full_reading() {
        let largest = JAVA.replace(":123,", ":2147483647,").replace(r#""e":"3""#, r#""e":"2147483647""#);
        let mut template = template_of(largest.as_bytes()).expect("a template");
        assert!(reads(&mut template, largest.replace("2147483647", "2147483646").as_bytes()));
        assert!(!reads(&mut template, largest.replace(":2147483647,", ":2147483648,").as_bytes()));
        assert!(!reads(&mut template, largest.replace("\"2147483647\"", "\"2147483648\"").as_bytes()));
    }

    #[test]
    fn what_stock_clients_do_not_write_makes_no_template() {
        for (from, to) in [
            (":123,", ":-12,"),
            (":123,", ":null,"),
            (r#""opaque":123,"#, ""),
            (r#""e":"3""#, r#""e":"-1""#),
            (r#""e":"3""#, r#""e":" 3""#),
            ("1700000000000", "1700000000000000000"),
            ("k1 k2", r"k1\tk2"),
            ("k1 k2", r"k1\u0041k2"),
            ("310", "324"),
            ("310", "11"),
        ] {
            let other = JAVA.replace(from, to);
            assert_ne!(other, JAVA);
            assert!(template_of(other.as_bytes()).is_none(), "{to}");
        }
        let long = JAVA.replace("k1 k2", &"k".repeat(SEND_TEMPLATE_BYTES_MAX));
        assert!(template_of(long.as_bytes()).is_none());
    }

    #[test]
    fn what_no_send_reads_is_open_as_text_alone() {
        let sent = JAVA.replace(r#""c2lnbmF0dXJl""#, "1234");
        let mut template = template_of(sent.as_bytes()).expect("a template");
        assert!(reads(&mut template, sent.replace(":123,", ":124,").as_bytes()));
        assert!(!reads(&mut template, sent.replace("1234", "1/34").as_bytes()), "that is no JSON");
        assert!(!reads(&mut template, sent.replace("1234", "null").as_bytes()));
    }

    /// Where the properties were received is not known if an escaped text follows them.
    #[test]
    fn another_text_with_escapes_is_no_hindrance_before_the_properties() {
        let behind = JAVA.replace("broker-a", r"broker\u002da");
        assert!(template_of(behind.as_bytes()).is_none());
        let before = JAVA.replace("\"T\"", r#""\u0054""#);
        let mut template = template_of(before.as_bytes()).expect("a template");
        assert!(reads(&mut template, before.replace("7F000001ABCD", "7F000001ABCE").as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is changed in a header: the template says what the full reading says, or nothing.
        #[test]
        fn a_template_never_says_anything_else_than_the_full_reading(
            properties in "([A-Za-z_]{1,4}\u{1}[ -~\u{e4}\u{1}]{0,6}\u{2}?){0,4}",
            group in "[ -~]{1,6}",
            queue in "[0-9]{1,4}",
            changes in prop::collection::vec((0.0..1.0_f64, prop_oneof![Just(b'"'), Just(b'\\'), Just(b'1'), Just(b'u'), Just(b' '), 0..=255_u8]), 0..3),
        ) {
            let ext = [("a", group.as_str()), ("b", "T"), ("e", queue.as_str()), ("g", "17"), ("i", properties.as_str()), ("n", "x"), ("Signature", "ab+/=")];
            let ext = ext.map(|(name, value)| (name, ExtValue::Str(value)));
            let mut frame = BytesMut::new();
            encode_request(Encoding::Json, 310, 77, false, &ext, b"body", &mut frame);
            let mut header = split(&frame).expect("a frame").expect("whole").header.to_vec();
            if let Some(mut template) = template_of(&header) {
                prop_assert!(reads(&mut template, &header));
                for (place, byte) in changes {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a header")]
                    let place = (place * header.len() as f64) as usize;
                    header[place] = byte;
                    reads(&mut template, &header);
                }
            }
        }
    }
}
