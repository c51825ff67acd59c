//! The header of a request or reply, decoded in one pass and without a tree.
//!
//! A send of 256 bytes has a JSON header of about 370 bytes with fourteen fields, so this is the largest single cost of
//! the data path before the log. Texts stay where they were received; the few that JSON escapes (a message's properties
//! always are: their separators are control characters) are decoded into one string that the header owns.
//!
//! The JSON here is the strict kind that every stock client writes; bodies are another matter ([`crate::json`]).

use std::ops::Range;
use std::str::FromStr;

use super::code::Language;
use super::cursor::{Cursor, Ended};
use super::frame::Encoding;
use crate::limits::{EXT_FIELDS_MAX, HEADER_DEPTH_MAX};

mod scan;

/// Bit 0 of `flag`: this frame answers a request.
pub(crate) const FLAG_RESPONSE: i32 = 1;

/// Bit 1 of `flag`: nothing may be written in answer, whatever happens.
pub(crate) const FLAG_ONEWAY: i32 = 2;

/// A decoded header. The extension fields and the remark borrow from the frame unless they were escaped.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Of a request: what it asks ([`super::code::RequestCode`]); of a reply: how it ended. Unknown numbers are kept.
    pub code: i32,
    /// What the sender is written in.
    pub language: Language,
    /// The sender's version as RocketMQ counts versions: 401 is 4.9.4, 479 is 5.3.3.
    pub version: i32,
    /// The sender's number of the request, echoed in the reply. Any value, also negative.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// The fields of the request, by name.
    pub ext: Ext<'a>,
    remark: Option<Span>,
    opaque_at: Span,
}

/// Why bytes are not a header. The connection must be closed: its other frames cannot be trusted either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum HeaderError {
    /// Text is not UTF-8.
    #[error("header is not UTF-8")]
    NotUtf8,
    /// The input is not JSON, at this byte.
    #[error("header is not JSON at byte {at}")]
    Syntax {
        /// Bytes before the mistake.
        at: usize,
    },
    /// A field that must be a number of 32 bits is none.
    #[error("`{field}` of the header is not a number of 32 bits")]
    Number { field: &'static str },
    /// The header ended within a value.
    #[error("header ends within a value")]
    Ended,
    /// An unknown key holds values nested deeper than [`HEADER_DEPTH_MAX`].
    #[error("header is nested deeper than {HEADER_DEPTH_MAX}")]
    TooDeep,
    /// More extension fields than [`EXT_FIELDS_MAX`].
    #[error("header has more than {EXT_FIELDS_MAX} extension fields")]
    TooManyFields,
}

impl From<Ended> for HeaderError {
    fn from(_: Ended) -> Self {
        HeaderError::Ended
    }
}

impl<'a> Header<'a> {
    /// Decodes what [`super::frame::split`] found.
    ///
    /// Missing fields take 0, `Other` or nothing: RocketMQ's own decoder is as lenient, and old clients depend on it.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn decode(encoding: Encoding, bytes: &'a [u8]) -> Result<Header<'a>, HeaderError> {
        match encoding {
            Encoding::Json => scan::header(bytes),
            Encoding::Binary => Header::decode_binary(bytes),
        }
    }

    /// Whether this is the answer to a request of ours.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether nothing may be written in answer.
    #[must_use]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Human text of an error; absent when null.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.map(|span| self.ext.text(span))
    }

    fn new(source: &'a str) -> Header<'a> {
        Header {
            code: 0,
            language: Language::Other,
            version: 0,
            opaque: 0,
            flag: 0,
            ext: Ext::new(source),
            remark: None,
            opaque_at: Span::default(),
        }
    }

    /// Bytes of a JSON header in which `opaque` stands, unless that is escaped or absent.
    pub(crate) fn opaque_range(&self) -> Option<Range<usize>> {
        self.opaque_at.source_range()
    }

    /// | field     | bytes | field            | bytes                                                |
    /// |-----------|-------|------------------|------------------------------------------------------|
    /// | code      | i16   | flag             | i32                                                  |
    /// | language  | u8    | remark           | i32 length, UTF-8; length 0: null                    |
    /// | version   | i16   | extension fields | i32 length of all; each i16 length, name, i32, value |
    /// | opaque    | i32   |                  | a value of length 0 is null                          |
    ///
    /// A code beyond 16 bits cannot be told from its remainder: 200050 arrives as 3442. Source: `RocketMQSerializable`.
    fn decode_binary(bytes: &[u8]) -> Result<Header<'a>, HeaderError> {
        let mut input = Cursor::new(bytes);
        let mut header = Header::new("");
        header.code = i32::from(input.i16()?);
        header.language = Language::from_number(i64::from(input.u8()?));
        header.version = i32::from(input.i16()?);
        header.opaque = input.i32()?;
        header.flag = input.i32()?;
        // All texts are copied into one string: lengths lie between them, so they are no single piece of UTF-8.
        header.ext.decoded.reserve(input.left());
        let remark = input.sized()?;
        if !remark.is_empty() {
            header.remark = Some(header.ext.keep(remark)?);
        }
        // Some encoders leave the length of an empty map out.
        let mut fields = Cursor::new(if input.is_empty() { &[] } else { input.sized()? });
        while !fields.is_empty() {
            let name_bytes = usize::try_from(fields.i16()?).map_err(|_| HeaderError::Ended)?;
            let name = fields.take(name_bytes)?;
            let value = fields.sized()?;
            if !value.is_empty() {
                let pair = (header.ext.keep(name)?, header.ext.keep(value)?);
                header.ext.push(pair)?;
            }
        }
        Ok(header)
    }
}

/// Where a text lies: in what was received, or in what was decoded from escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    /// First byte; with [`Span::DECODED`] set, within the decoded text.
    start: u32,
    /// Byte behind the last.
    end: u32,
}

impl Span {
    /// A frame is shorter than 2^24 bytes, so the top bit of `start` is free.
    const DECODED: u32 = 1 << 31;

    /// Where in what was received the text stands; none if it is empty, or was decoded.
    fn source_range(self) -> Option<Range<usize>> {
        (self.start < self.end).then_some(self.start as usize..self.end as usize)
    }

    /// Bytes of the text.
    #[inline]
    fn len(self) -> usize {
        self.end.wrapping_sub(self.start & !Span::DECODED) as usize
    }
}

const _: () = assert!(crate::limits::FRAME_BYTES_MAX < 1 << 31, "spans of a header keep their top bit free");

/// Pairs that need no allocation. SEND_MESSAGE_V2 has 14 and a signed or namespaced one a few more.
const INLINE_PAIRS: usize = 24;

/// The extension fields of a header: names and values, both text, in the order of arrival.
#[derive(Clone, Debug)]
pub struct Ext<'a> {
    source: &'a str,
    /// Texts that were escaped, back to back.
    decoded: String,
    /// The last of them, and where it was received.
    escaped: Option<(Span, Span)>,
    inline: [(Span, Span); INLINE_PAIRS],
    overflow: Vec<(Span, Span)>,
    count: usize,
    /// Place of the value whose name is one letter, plus one: SEND_MESSAGE_V2 has fourteen of them, and each is asked for once.
    letters: [u8; LETTERS],
}

const LETTERS: usize = 26;
const _: () = assert!(EXT_FIELDS_MAX < 255, "a place fits a byte");

impl<'a> Ext<'a> {
    fn new(source: &'a str) -> Ext<'a> {
        Ext {
            source,
            decoded: String::new(),
            escaped: None,
            inline: [(Span::default(), Span::default()); INLINE_PAIRS],
            overflow: Vec::new(),
            count: 0,
            letters: [0; LETTERS],
        }
    }

    /// The value of a field. If it came twice the last one counts, as in a Java map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.span(name).map(|value| self.text(value))
    }

    /// Bytes of a JSON header in which the value of a field stands as it was received, maybe with escapes. Of an escaped one only the last in the
    /// header is known.
    pub(crate) fn range(&self, name: &str) -> Option<Range<usize>> {
        let value = self.span(name)?;
        let escaped = self.escaped.filter(|(decoded, _)| *decoded == value);
        escaped.map_or(value, |(_, received)| received).source_range()
    }

    fn span(&self, name: &str) -> Option<Span> {
        if let Some(letter) = Self::letter(name) {
            let place = usize::from(*self.letters.get(letter)?).checked_sub(1)?;
            let overflow = || self.overflow.get(place.saturating_sub(INLINE_PAIRS));
            let (_, value) = self.inline.get(place).or_else(overflow)?;
            return Some(*value);
        }
        let mut found = None;
        for (key, value) in self.pairs() {
            if key.len() == name.len() && self.text(*key) == name {
                found = Some(*value);
            }
        }
        found
    }

    /// The value of a field as a number or another type with a text form; `None` if absent or not one.
    #[must_use]
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Names and values in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().map(|(name, value)| (self.text(*name), self.text(*value)))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Which letter `name` is, if it is one.
    #[inline]
    fn letter(name: &str) -> Option<usize> {
        match name.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(usize::from(letter.wrapping_sub(b'a'))),
            _ => None,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = &(Span, Span)> {
        self.inline.iter().take(self.count).chain(&self.overflow)
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let (text, start) = match span.start & Span::DECODED {
            0 => (self.source, span.start),
            _ => (self.decoded.as_str(), span.start & !Span::DECODED),
        };
        text.get(start as usize..span.end as usize).expect("a span is made of a text's own ends")
    }

    #[inline]
    fn push(&mut self, pair: (Span, Span)) -> Result<(), HeaderError> {
        if self.count >= EXT_FIELDS_MAX {
            return Err(HeaderError::TooManyFields);
        }
        match self.inline.get_mut(self.count) {
            Some(place) => *place = pair,
            None => self.overflow.push(pair),
        }
        self.count = self.count.saturating_add(1);
        if pair.0.len() == 1
            && let Some(letter) = Self::letter(self.text(pair.0))
            && let Some(place) = self.letters.get_mut(letter)
        {
            *place = u8::try_from(self.count).expect("fewer fields than a byte counts");
        }
        Ok(())
    }

    /// Copies a text behind the decoded ones.
    fn keep(&mut self, text: &[u8]) -> Result<Span, HeaderError> {
        let start = self.decoded.len();
        self.decoded.push_str(std::str::from_utf8(text).map_err(|_| HeaderError::NotUtf8)?);
        Ok(self.decoded_since(start))
    }

    /// The decoded text from `start` to its present end.
    fn decoded_since(&self, start: usize) -> Span {
        let position = |at: usize| u32::try_from(at).expect("decoded text is shorter than its frame");
        Span { start: position(start) | Span::DECODED, end: position(self.decoded.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Header<'_>, HeaderError> {
        Header::decode(Encoding::Json, text.as_bytes())
    }

    fn fields<'h>(header: &'h Header<'_>) -> Vec<(&'h str, &'h str)> {
        header.ext.iter().collect()
    }

    #[test]
    fn a_header_of_java_is_read() {
        let text = r#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":-7,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        let header = json(text).expect("a header");
        let numbers = (header.code, header.flag, header.opaque, header.version, header.language);
        assert_eq!(numbers, (105, 0, -7, 479, Language::Java));
        assert_eq!(fields(&header), [("topic", "T")]);
        assert_eq!((header.remark(), header.is_response(), header.is_oneway()), (None, false, false));
        assert!(header.ext.decoded.is_empty(), "nothing was escaped, so nothing is copied");
    }

    #[test]
    fn extension_fields_are_texts_whatever_they_were() {
        let check = |ext: &str, expected: &[(&str, &str)]| {
            let text = format!(r#"{{"extFields":{ext},"opaque":1}}"#);
            let header = json(&text).unwrap_or_else(|error| panic!("{ext}: {error}"));
            assert_eq!(fields(&header), expected, "{ext}");
            assert_eq!(header.opaque, 1, "{ext}");
        };
        check("{}", &[]);
        check("null", &[]);
        check("[1]", &[]);
        check(
            r#"{"a":1,"b":-2.5e3,"c":true,"d":null,"e":{"x":[1]},"f":"z"}"#,
            &[("a", "1"), ("b", "-2.5e3"), ("c", "true"), ("f", "z")],
        );
        check(r#"{ "a" : "1" , "b" : "" }"#, &[("a", "1"), ("b", "")]);
        check(
            r#"{"i":"TAGS\u0001A\u0002","\u0061":"\"\\\/\b\f\n\r\t"}"#,
            &[("i", "TAGS\u{1}A\u{2}"), ("a", "\"\\/\u{8}\u{c}\n\r\t")],
        );
        check(
            r#"{"a":"\uD83D\uDE00","b":"\uD83D","c":"\uD83D\u0041","d":"ä\u00e4"}"#,
            &[("a", "\u{1F600}"), ("b", "\u{FFFD}"), ("c", "\u{FFFD}A"), ("d", "\u{e4}\u{e4}")],
        );
        check(
            r#"{"12345678":"1234567","1234567":"12345678\"12345678"}"#,
            &[("12345678", "1234567"), ("1234567", "12345678\"12345678")],
        );
    }

    #[test]
    fn unknown_keys_odd_languages_and_null_remarks_are_passed_over() {
        let check = |text: &str, language: Language, remark: Option<&str>| {
            let header = json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((header.language, header.remark(), header.code), (language, remark, 3), "{text}");
        };
        check(r#"{"code":3}"#, Language::Other, None);
        check(r#"{"code":"3","language":9,"remark":null}"#, Language::Go, None);
        check(
            r#"{"language":"COBOL","remark":"no \u2014 \"x\"","code":3}"#,
            Language::Other,
            Some("no \u{2014} \"x\""),
        );
        check(
            r#"{"x":{"a":[1,{"b":"}"}],"c":"\""},"y":[],"code":3,"language":"CPP","remark":""}"#,
            Language::Cpp,
            Some(""),
        );
        check(" {\n\"code\"\t:\r3 } ", Language::Other, None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let check = |text: &str, expected: HeaderError| {
            assert_eq!(json(text).map(|header| header.code), Err(expected), "{text}");
        };
        check("", HeaderError::Ended);
        check("{", HeaderError::Ended);
        check("[]", HeaderError::Syntax { at: 0 });
        check(r#"{"code":1}}"#, HeaderError::Syntax { at: 10 });
        check(r#"{"code":1"opaque":2}"#, HeaderError::Syntax { at: 9 });
        check(r#"{"code":2147483648}"#, HeaderError::Number { field: "code" });
        check(r#"{"opaque":1.5}"#, HeaderError::Number { field: "opaque" });
        check(r#"{"code":"#, HeaderError::Ended);
        check(r#"{"a":"\u12"#, HeaderError::Ended);
        check(r#"{"remark":"\x"}"#, HeaderError::Syntax { at: 13 });
        check(r#"{"a":"\"#, HeaderError::Ended);
        check(&format!(r#"{{"a":{}"#, "[".repeat(100_000)), HeaderError::TooDeep);
        let many: Vec<_> = (0..=EXT_FIELDS_MAX).map(|index| format!(r#""f{index}":"v""#)).collect();
        check(&format!(r#"{{"extFields":{{{}}}}}"#, many.join(",")), HeaderError::TooManyFields);
        assert_eq!(
            Header::decode(Encoding::Json, b"{\"a\":\"\xff\"}").map(|header| header.code),
            Err(HeaderError::NotUtf8)
        );
    }

    #[test]
    fn many_fields_are_found_and_the_last_of_a_name_counts() {
        let many: Vec<_> = (0..EXT_FIELDS_MAX).map(|index| format!(r#""f{}":"{index}""#, index % 100)).collect();
        let text = format!(r#"{{"extFields":{{{}}}}}"#, many.join(","));
        let header = json(&text).expect("a header");
        assert_eq!(header.ext.len(), EXT_FIELDS_MAX);
        assert_eq!(header.ext.get("f27"), Some("127"));
        assert_eq!(header.ext.number::<u8>("f99"), Some(99));
        assert_eq!(header.ext.get("f100"), None);
    }

    #[test]
    fn a_binary_header_is_read() {
        let mut bytes = vec![0x0D, 0x72, 9, 0x01, 0x3D];
        bytes.extend_from_slice(&(-7_i32).to_be_bytes());
        bytes.extend_from_slice(&2_i32.to_be_bytes());
        bytes.extend_from_slice(b"\0\0\0\x02no");
        bytes.extend_from_slice(b"\0\0\0\x15\0\x05topic\0\0\0\x01T\0\x03nil\0\0\0\0");
        let header = Header::decode(Encoding::Binary, &bytes).expect("a header");
        let numbers = (header.code, header.flag, header.opaque, header.version, header.language);
        assert_eq!(numbers, (3442, 2, -7, 317, Language::Go), "3442 is what 16 bits keep of 200050");
        assert_eq!((header.remark(), header.is_oneway()), (Some("no"), true));
        assert_eq!(fields(&header), [("topic", "T")], "a value of length 0 is null");

        for end in 0..bytes.len() {
            let cut = Header::decode(Encoding::Binary, &bytes[..end]).map(|header| header.ext.len());
            // A frame may end right behind the remark: that header has no fields.
            assert_eq!(cut, if end == 19 { Ok(0) } else { Err(HeaderError::Ended) }, "{end} bytes");
        }
        bytes[13] = 0x80;
        assert_eq!(Header::decode(Encoding::Binary, &bytes).map(|header| header.code), Err(HeaderError::Ended));
    }
}
