//! One remoting frame, by hand: length, header length, JSON or binary header, body.
use std::collections::BTreeMap;
use std::io::{self, Read};

use serde_json::{Map, Value, json};

use crate::fastjson;

/// Largest frame that is read: RocketMQ's own limit.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// `flag` bits.
const RESPONSE: i32 = 1;
const ONEWAY: i32 = 2;
/// What a Java client 5.3.3 says it is.
const VERSION: i32 = 479;

/// A request or response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Request code, or response code.
    pub code: i32,
    /// Sender's language; as text even in binary headers (by number there).
    pub language: String,
    /// Sender's version.
    pub version: i32,
    /// Number that pairs a response with its request.
    pub opaque: i32,
    /// Bit 0: response; bit 1: oneway.
    pub flag: i32,
    /// Text beside an error.
    pub remark: Option<String>,
    /// `extFields`.
    pub ext: BTreeMap<String, String>,
    /// Body, empty when there is none.
    pub body: Vec<u8>,
    /// Header in the binary form (`ROCKETMQ`) instead of JSON.
    pub binary: bool,
}

impl Frame {
    /// A request with a JSON header. [`crate::Client`] gives it its opaque.
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: "JAVA".to_owned(),
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: BTreeMap::new(),
            body: Vec::new(),
            binary: false,
        }
    }

    /// With an entry of `extFields`.
    pub fn ext(mut self, name: &str, value: impl ToString) -> Self {
        self.ext.insert(name.to_owned(), value.to_string());
        self
    }

    /// Without an entry of `extFields`.
    pub fn without(mut self, name: &str) -> Self {
        self.ext.remove(name);
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With the sender's version, for answers that depend on it.
    pub fn version(mut self, version: i32) -> Self {
        self.version = version;
        self
    }

    /// With the binary header.
    pub fn binary(mut self) -> Self {
        self.binary = true;
        self
    }

    /// As a request that nobody answers.
    pub fn oneway(mut self) -> Self {
        self.flag |= ONEWAY;
        self
    }

    /// Whether it answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// An entry of `extFields` as a number; an error names what is wrong, since a test depends on it.
    pub fn ext_number(&self, name: &str) -> io::Result<i64> {
        let value = self.ext.get(name).ok_or_else(|| invalid(format!("no {name} in {self:?}")))?;
        value.parse().map_err(|_| invalid(format!("{name} is {value:?}, not a number")))
    }

    /// The body as JSON, Apache's liberties with it included.
    pub fn json(&self) -> io::Result<Value> {
        fastjson::parse(&self.body)
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let header = if self.binary { self.binary_header() } else { self.json_header() };
        let mut bytes = Vec::with_capacity(8 + header.len() + self.body.len());
        put_length(&mut bytes, 4 + header.len() + self.body.len());
        let mut length = Vec::new();
        put_length(&mut length, header.len());
        bytes.push(u8::from(self.binary));
        bytes.extend_from_slice(&length[1..]);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn json_header(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("code".to_owned(), json!(self.code));
        header.insert("language".to_owned(), json!(self.language));
        header.insert("version".to_owned(), json!(self.version));
        header.insert("opaque".to_owned(), json!(self.opaque));
        header.insert("flag".to_owned(), json!(self.flag));
        if let Some(remark) = &self.remark {
            header.insert("remark".to_owned(), json!(remark));
        }
        if !self.ext.is_empty() {
            header.insert("extFields".to_owned(), json!(self.ext));
        }
        header.insert("serializeTypeCurrentRPC".to_owned(), json!("JSON"));
        Value::Object(header).to_string().into_bytes()
    }

    fn binary_header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        let small = |number: i32| i16::try_from(number).expect("fits the binary header").to_be_bytes();
        header.extend_from_slice(&small(self.code));
        header.push(0); // JAVA
        header.extend_from_slice(&small(self.version));
        header.extend_from_slice(&self.opaque.to_be_bytes());
        header.extend_from_slice(&self.flag.to_be_bytes());
        let remark = self.remark.as_deref().unwrap_or_default();
        put_length(&mut header, remark.len());
        header.extend_from_slice(remark.as_bytes());
        let mut entries = Vec::new();
        for (name, value) in &self.ext {
            entries.extend_from_slice(&u16::try_from(name.len()).expect("short names").to_be_bytes());
            entries.extend_from_slice(name.as_bytes());
            put_length(&mut entries, value.len());
            entries.extend_from_slice(value.as_bytes());
        }
        put_length(&mut header, entries.len());
        header.extend_from_slice(&entries);
        header
    }

    /// Reads one whole frame. A clean end of the stream before it is `UnexpectedEof`.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).expect("64-bit machine");
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(invalid(format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        Self::decode(&bytes)
    }

    /// Decodes what follows the frame's length.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut cursor = Cursor { bytes };
        let kind = cursor.number(1)?;
        let header_length = usize::try_from(cursor.number(3)?).map_err(|_| invalid("header length"))?;
        let header = cursor.take(header_length)?;
        let mut frame = match kind {
            0 => Self::from_json(header)?,
            1 => Self::from_binary(header)?,
            other => return Err(invalid(format!("header type {other}"))),
        };
        frame.body = cursor.bytes.to_vec();
        Ok(frame)
    }

    fn from_json(header: &[u8]) -> io::Result<Self> {
        let text = || String::from_utf8_lossy(header).into_owned();
        let value: Value = serde_json::from_slice(header).map_err(|error| invalid(format!("{error}: {}", text())))?;
        let number = |name: &str| {
            value[name]
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .ok_or_else(|| invalid(format!("{name}: {}", text())))
        };
        let mut ext = BTreeMap::new();
        for (name, entry) in value["extFields"].as_object().into_iter().flatten() {
            // The Go client refuses anything but strings, so a number here is a failure.
            let entry = entry.as_str().ok_or_else(|| invalid(format!("{name} is no string: {}", text())))?;
            ext.insert(name.clone(), entry.to_owned());
        }
        Ok(Self {
            code: number("code")?,
            language: value["language"].as_str().unwrap_or_default().to_owned(),
            version: number("version")?,
            opaque: number("opaque")?,
            flag: number("flag")?,
            remark: value["remark"].as_str().map(str::to_owned),
            ext,
            body: Vec::new(),
            binary: false,
        })
    }

    fn from_binary(header: &[u8]) -> io::Result<Self> {
        let mut cursor = Cursor { bytes: header };
        let code = cursor.number(2)?;
        let language = cursor.number(1)?;
        let version = cursor.number(2)?;
        let opaque = cursor.signed_int()?;
        let flag = cursor.signed_int()?;
        let remark = cursor.text(4)?;
        let ext_length = usize::try_from(cursor.number(4)?).map_err(|_| invalid("ext length"))?;
        let mut entries = Cursor { bytes: cursor.take(ext_length)? };
        let mut ext = BTreeMap::new();
        while !entries.bytes.is_empty() {
            let name = entries.text(2)?;
            ext.insert(name, entries.text(4)?);
        }
        Ok(Self {
            code: i32::try_from(code).map_err(|_| invalid("code"))?,
            language: language.to_string(),
            version: i32::try_from(version).map_err(|_| invalid("version"))?,
            opaque,
            flag,
            remark: (!remark.is_empty()).then_some(remark),
            ext,
            body: Vec::new(),
            binary: true,
        })
    }
}

/// Big-endian reader over bytes that may be too short.
pub(crate) struct Cursor<'a> {
    pub bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| invalid(format!("{length} bytes wanted, {} there", self.bytes.len())))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// An unsigned number of `length` bytes, up to 7.
    pub(crate) fn number(&mut self, length: usize) -> io::Result<i64> {
        Ok(self.take(length)?.iter().fold(0, |number, &byte| (number << 8) | i64::from(byte)))
    }

    /// A signed number of 4 bytes.
    pub(crate) fn signed_int(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// A signed number of 8 bytes.
    pub(crate) fn signed_long(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    /// A text behind a length of `length_bytes` bytes.
    pub(crate) fn text(&mut self, length_bytes: usize) -> io::Result<String> {
        let length = usize::try_from(self.number(length_bytes)?).map_err(|_| invalid("text length"))?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| invalid("text is not UTF-8"))
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&u32::try_from(length).expect("a test's frame is small").to_be_bytes());
}

/// An answer that makes no sense.
pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
