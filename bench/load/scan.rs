//! Replies read by hand: no JSON tree, no allocation, and for replies that look like the last one no scan either.
//!
//! A send needs three numbers of its reply: `code`, `opaque` and the reply bit of `flag`. [`HeadScanner`] remembers where a full scan found
//! them and looks there first: brokers write all replies alike, `code` at the front, the others at a fixed distance from the end. What it
//! finds counts only with its key before it and a delimiter behind it, so a reply of another shape costs a full scan and never a wrong number.

/// Longest frame that RocketMQ sends or accepts, bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is not a frame, or not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum WireError {
    /// The length at the start is impossible.
    #[error("a frame of {bytes} B, which no RocketMQ broker sends")]
    FrameLength {
        /// The length given, its own four bytes included.
        bytes: usize,
    },
    /// The header is longer than its frame.
    #[error("a header of {header_bytes} B in a frame of {bytes} B")]
    HeaderLength {
        /// The header's length given.
        header_bytes: usize,
        bytes: usize,
    },
    /// `code`, `opaque` or `flag` is missing or no number, or the header is neither JSON nor binary.
    #[error("a header of {header_bytes} B that does not decode")]
    Header { header_bytes: usize },
}

/// One whole frame, borrowed from the bytes received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 0 for JSON, 1 for binary.
    pub header_type: u8,
    /// Without the eight bytes before it.
    pub header: &'a [u8],
    /// May be empty.
    pub body: &'a [u8],
}

/// The first frame of `bytes` and its length; `None` while more bytes are needed.
///
/// # Errors
/// When the lengths at the start contradict each other or the protocol.
pub fn split_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, WireError> {
    let (Some(rest_len), Some(header_word)) = (be_u32(bytes, 0), be_u32(bytes, 4)) else { return Ok(None) };
    let frame_len = usize::try_from(rest_len).unwrap_or(usize::MAX).saturating_add(4);
    if !(8..=FRAME_BYTES_MAX).contains(&frame_len) {
        return Err(WireError::FrameLength { bytes: frame_len });
    }
    let [header_type, ..] = header_word.to_be_bytes();
    let header_bytes = usize::try_from(header_word & 0x00FF_FFFF).unwrap_or(usize::MAX);
    if header_bytes > frame_len - 8 {
        return Err(WireError::HeaderLength { header_bytes, bytes: frame_len });
    }
    let Some(frame) = bytes.get(8..frame_len) else { return Ok(None) };
    let (header, body) = frame.split_at(header_bytes);
    Ok(Some((Frame { header_type, header, body }, frame_len)))
}

/// What every frame says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the request or of the reply.
    pub code: i32,
    /// Which request it answers.
    pub opaque: i32,
    /// Bit 0: a reply; bit 1: no reply wanted.
    pub flag: i32,
}

impl Head {
    /// A request of the broker's own, such as a notice to consumers, has this bit off.
    pub fn is_reply(&self) -> bool {
        self.flag & 1 == 1
    }
}

/// Finds the [`Head`] of frame after frame of one peer.
#[derive(Debug, Clone, Default)]
pub struct HeadScanner {
    /// Byte of the header where the number of `code` starts, as last seen.
    code_at: usize,
    /// Bytes from the start of the number to the end of the header.
    flag_from_end: usize,
    opaque_from_end: usize,
}

impl HeadScanner {
    /// Reads `frame`'s head.
    ///
    /// # Errors
    /// [`WireError::Header`] when one of the three numbers is missing.
    pub fn head(&mut self, frame: &Frame<'_>) -> Result<Head, WireError> {
        let found = match frame.header_type {
            0 => self.remembered(frame.header).or_else(|| self.scanned(frame.header)),
            1 => binary_head(frame.header),
            _ => None,
        };
        found.ok_or(WireError::Header { header_bytes: frame.header.len() })
    }

    fn remembered(&self, header: &[u8]) -> Option<Head> {
        let flag_at = header.len().checked_sub(self.flag_from_end)?;
        let opaque_at = header.len().checked_sub(self.opaque_from_end)?;
        Some(Head {
            code: number_after(header, b"\"code\":", self.code_at)?,
            opaque: number_after(header, b"\"opaque\":", opaque_at)?,
            flag: number_after(header, b"\"flag\":", flag_at)?,
        })
    }

    fn scanned(&mut self, header: &[u8]) -> Option<Head> {
        let (mut code, mut opaque, mut flag) = (None, None, None);
        visit_object(header, |key, value, value_at| {
            match key {
                b"code" => {
                    self.code_at = value_at;
                    code = integer(value);
                }
                b"opaque" => {
                    self.opaque_from_end = header.len() - value_at;
                    opaque = integer(value);
                }
                b"flag" => {
                    self.flag_from_end = header.len() - value_at;
                    flag = integer(value);
                }
                _ => {}
            };
        })?;
        Some(Head { code: code?, opaque: opaque?, flag: flag? })
    }
}

/// The number at `at` if `key` stands right before it and the value ends right behind it. A text with `"key":` in its middle would carry a
/// backslash before the quote, so what matches is a key; only one inside `extFields` could mislead, and no broker sends such a field.
fn number_after(header: &[u8], key: &[u8], at: usize) -> Option<i32> {
    let before = header.get(at.checked_sub(key.len())?..at)?;
    if before != key {
        return None;
    }
    let digits = header.get(at..)?;
    let end = digits.iter().position(|byte| !(byte.is_ascii_digit() || *byte == b'-'))?;
    if !matches!(digits.get(end)?, b',' | b'}') {
        return None;
    }
    integer(digits.get(..end)?)
}

fn binary_head(header: &[u8]) -> Option<Head> {
    let code = i32::from(i16::from_be_bytes(*header.first_chunk()?));
    Some(Head { code, opaque: be_i32(header, 5)?, flag: be_i32(header, 9)? })
}

/// The text that a broker adds to an error, or an empty one.
pub fn remark(frame: &Frame<'_>) -> String {
    if frame.header_type == 1 {
        let text = be_i32(frame.header, 13).and_then(|len| frame.header.get(17..)?.get(..usize::try_from(len).ok()?));
        return String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    }
    let mut found = String::new();
    let _ = visit_object(frame.header, |key, value, _| {
        if key == b"remark" {
            found = serde_json::from_slice(value).unwrap_or_default();
        }
    });
    found
}

/// A number in `extFields`; `None` if it is absent or no number.
pub fn field_number(frame: &Frame<'_>, name: &str) -> Option<i64> {
    integer(field(frame, name)?)
}

/// A text in `extFields`; `None` if it is absent or no text.
pub fn field_text(frame: &Frame<'_>, name: &str) -> Option<String> {
    let value = field(frame, name)?;
    if frame.header_type == 1 {
        return Some(std::str::from_utf8(value).ok()?.to_owned());
    }
    serde_json::from_slice(value).ok()
}

/// Raw: in JSON with its quotes.
fn field<'a>(frame: &Frame<'a>, name: &str) -> Option<&'a [u8]> {
    if frame.header_type == 1 {
        return binary_field(frame.header, name.as_bytes());
    }
    let mut found = None;
    visit_object(frame.header, |key, object, _| {
        if key == b"extFields" {
            let _ = visit_object(object, |key, value, _| {
                if key == name.as_bytes() {
                    found = Some(value);
                }
            });
        }
    })?;
    found
}

fn binary_field<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let remark_len = usize::try_from(be_i32(header, 13)?).ok()?;
    let mut rest = header.get(17..)?.get(remark_len..)?.get(4..)?;
    while !rest.is_empty() {
        let key_len = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        let key = rest.get(2..)?.get(..key_len)?;
        rest = rest.get(2 + key_len..)?;
        let value_len = usize::try_from(be_i32(rest, 0)?).ok()?;
        let value = rest.get(4..)?.get(..value_len)?;
        if key == name {
            return Some(value);
        }
        rest = rest.get(4 + value_len..)?;
    }
    None
}

/// Calls `visit(key, raw value, where the value starts)` for each member of the JSON object `text`, not for those of objects within.
/// `None` if it is no object. Keys and strings are raw: escapes stay as they are, and strings keep their quotes.
fn visit_object<'a>(text: &'a [u8], mut visit: impl FnMut(&'a [u8], &'a [u8], usize)) -> Option<()> {
    let mut at = skip_space(text, 0);
    if text.get(at)? != &b'{' {
        return None;
    }
    at = skip_space(text, at + 1);
    if text.get(at)? == &b'}' {
        return Some(());
    }
    loop {
        let key_end = string_end(text, at)?;
        let key = text.get(at + 1..key_end - 1)?;
        at = skip_space(text, key_end);
        if text.get(at)? != &b':' {
            return None;
        }
        let value_at = skip_space(text, at + 1);
        let value_end = value_end(text, value_at)?;
        visit(key, text.get(value_at..value_end)?, value_at);
        at = skip_space(text, value_end);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

fn skip_space(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// One past the closing quote of the string that opens at `from`.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    if text.get(from)? != &b'"' {
        return None;
    }
    let mut at = from + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn value_end(text: &[u8], from: usize) -> Option<usize> {
    match text.get(from)? {
        b'"' => string_end(text, from),
        b'{' | b'[' => {
            let (mut at, mut depth) = (from, 0u32);
            loop {
                match text.get(at)? {
                    b'"' => at = string_end(text, at)? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let len = text
                .get(from..)?
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())?;
            (len > 0).then_some(from + len)
        }
    }
}

/// A decimal number, quoted or not; `None` if it is none or too large for `N`.
fn integer<N: TryFrom<i64>>(value: &[u8]) -> Option<N> {
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let (digits, sign) = value.strip_prefix(b"-").map_or((value, 1), |digits| (digits, -1));
    if digits.is_empty() || digits.len() > 18 {
        return integer_at_length(value);
    }
    let mut total = 0i64;
    for digit in digits {
        total = total * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    N::try_from(total * sign).ok()
}

/// The rare number of 19 digits and more, and what is no number at all.
fn integer_at_length<N: TryFrom<i64>>(value: &[u8]) -> Option<N> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    N::try_from(number).ok()
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_i32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
