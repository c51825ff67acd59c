//! One pass over the JSON form of a header.

use super::{Header, HeaderError, Span};
use crate::code::Language;
use crate::limits::HEADER_DEPTH_MAX;

/// Decodes a JSON header.
pub(super) fn header(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let source = std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)?;
    let mut header = Header::new(source);
    let mut scan = HeaderScan { bytes, at: 0 };
    scan.header(&mut header)?;
    Ok(header)
}

/// Where in the header it is.
#[derive(Clone, Copy)]
struct HeaderScan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl HeaderScan<'_> {
    #[cold]
    fn syntax(&self) -> HeaderError {
        if self.at >= self.bytes.len() { HeaderError::Ended } else { HeaderError::Syntax { at: self.at } }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn step(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    #[cold]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.step();
        }
    }

    /// Takes `expected` or nothing. Space before it is skipped; stock clients write none.
    #[inline(always)]
    fn eat(&mut self, expected: u8) -> bool {
        match self.peek() {
            Some(found) if found == expected => {
                self.step();
                true
            }
            Some(b' ' | b'\t' | b'\r' | b'\n') => {
                self.space();
                let found = self.peek() == Some(expected);
                self.at = self.at.wrapping_add(usize::from(found));
                found
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn expect(&mut self, expected: u8) -> Result<(), HeaderError> {
        if self.eat(expected) { Ok(()) } else { Err(self.syntax()) }
    }

    fn header(&mut self, header: &mut Header<'_>) -> Result<(), HeaderError> {
        self.expect(b'{')?;
        if !self.eat(b'}') {
            loop {
                let key = self.key(header)?;
                self.field(key, header)?;
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.syntax()) }
    }

    /// A key and the colon behind it.
    #[inline(always)]
    fn key(&mut self, header: &mut Header<'_>) -> Result<Span, HeaderError> {
        // SEND_MESSAGE_V2 has fourteen keys of one letter.
        if let Some([b'"', letter, b'"', b':', byte]) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk())
            && letter.is_ascii_lowercase()
            && *byte > b' '
        {
            let start = self.at.wrapping_add(1);
            self.at = self.at.wrapping_add(4);
            return Ok(source_span(start, start.wrapping_add(1)));
        }
        self.expect(b'"')?;
        let key = self.string(header)?;
        self.expect(b':')?;
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.space();
        }
        Ok(key)
    }

    /// One field of the header itself.
    fn field(&mut self, key: Span, header: &mut Header<'_>) -> Result<(), HeaderError> {
        match header.ext.text(key) {
            "code" => header.code = self.int("code", header)?,
            "opaque" => {
                let value = self.scalar(header)?;
                header.opaque_at = value.unwrap_or_default();
                header.opaque = number("opaque", value, header)?;
            }
            "flag" => header.flag = self.int("flag", header)?,
            "version" => header.version = self.int("version", header)?,
            "language" => {
                if let Some(value) = self.scalar(header)? {
                    let text = header.ext.text(value);
                    header.language = text.parse().map_or_else(|_| Language::from_name(text), Language::from_number);
                }
            }
            "remark" => header.remark = self.scalar(header)?,
            "extFields" if self.peek() == Some(b'{') => self.ext_fields(header)?,
            _ => self.skip(0)?,
        }
        Ok(())
    }

    /// The extension fields. Numbers and booleans are kept as their text; null, arrays and objects are as good as absent.
    fn ext_fields(&mut self, header: &mut Header<'_>) -> Result<(), HeaderError> {
        self.step();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key(header)?;
            let value = if self.peek() == Some(b'"') {
                self.step();
                Some(self.string(header)?)
            } else {
                self.scalar(header)?
            };
            if let Some(value) = value {
                header.ext.push((key, value))?;
            }
            if !self.eat(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// A number of 32 bits, bare or in quotes; null is 0.
    fn int(&mut self, field: &'static str, header: &mut Header<'_>) -> Result<i32, HeaderError> {
        let value = self.scalar(header)?;
        number(field, value, header)
    }

    /// The text of a string, number or boolean; `None` for null. Arrays and objects are skipped.
    fn scalar(&mut self, header: &mut Header<'_>) -> Result<Option<Span>, HeaderError> {
        match self.peek() {
            Some(b'"') => {
                self.step();
                self.string(header).map(Some)
            }
            Some(b'{' | b'[') => self.skip(0).map(|()| None),
            _ => {
                let span = self.word()?;
                Ok(Some(span).filter(|span| header.ext.text(*span) != "null"))
            }
        }
    }

    /// A number, `true`, `false` or `null`: whatever stands up to the next mark of punctuation.
    fn word(&mut self) -> Result<Span, HeaderError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.')) {
            self.step();
        }
        if self.at == start {
            return Err(self.syntax());
        }
        Ok(source_span(start, self.at))
    }

    /// The rest of a string whose opening quote is taken. Borrowed if nothing in it is escaped.
    #[inline(always)]
    fn string(&mut self, header: &mut Header<'_>) -> Result<Span, HeaderError> {
        let start = self.at;
        let end = self.run_end(start);
        self.at = end;
        if self.bytes.get(end) == Some(&b'"') {
            self.step();
            return Ok(source_span(start, end));
        }
        self.escaped_string(start, header)
    }

    /// The rest of a string that began at `start` and has an escape here.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, header: &mut Header<'_>) -> Result<Span, HeaderError> {
        let ext = &mut header.ext;
        let decoded_start = ext.decoded.len();
        if decoded_start == 0 {
            // Decoded text is never longer than what it was made of; one allocation serves the whole header.
            ext.decoded.reserve(self.bytes.len().saturating_sub(start));
        }
        let mut run = start;
        loop {
            // Runs stop at ASCII, so their ends are ends of characters.
            ext.decoded.push_str(ext.source.get(run..self.at).expect("a run ends before an ASCII byte"));
            match self.peek() {
                Some(b'"') => {
                    let decoded = ext.decoded_since(decoded_start);
                    ext.escaped = Some((decoded, source_span(start, self.at)));
                    self.step();
                    return Ok(decoded);
                }
                Some(b'\\') => {
                    self.step();
                    let decoded = self.escape()?;
                    ext.decoded.push(decoded);
                }
                _ => return Err(self.syntax()),
            }
            run = self.at;
            self.at = self.run_end(run);
        }
    }

    /// End of the run from `from` on: the next quote or backslash, or the end of all. Bare control characters are let through:
    /// they do no harm, and fastjson lets them through too.
    #[inline(always)]
    fn run_end(&self, from: usize) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = ONES << 7;
        let mut at = from;
        while let Some(word) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            let quotes = word ^ ONES.wrapping_mul(b'"' as u64);
            let backslashes = word ^ ONES.wrapping_mul(b'\\' as u64);
            // The lowest set bit is exact; only bits above it may be raised by a borrow.
            let found =
                ((quotes.wrapping_sub(ONES) & !quotes) | (backslashes.wrapping_sub(ONES) & !backslashes)) & HIGHS;
            if found != 0 {
                return at.wrapping_add((found.trailing_zeros() / 8) as usize);
            }
            at = at.wrapping_add(8);
        }
        while self.bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\')) {
            at = at.wrapping_add(1);
        }
        at
    }

    /// The character of an escape whose backslash is taken. Half a surrogate pair becomes U+FFFD.
    fn escape(&mut self) -> Result<char, HeaderError> {
        let kind = self.peek().ok_or(HeaderError::Ended)?;
        self.step();
        Ok(match kind {
            b'"' | b'\\' | b'/' | b'\'' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.code_unit()?;
                if !(0xD800..0xDC00).contains(&unit) {
                    return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                let back = self.at;
                if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
                    self.at = self.at.saturating_add(2);
                    let low = self.code_unit()?;
                    if (0xDC00..0xE000).contains(&low) {
                        let pair = 0x1_0000_u32.saturating_add((unit & 0x3FF) << 10 | (low & 0x3FF));
                        return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = back;
                }
                char::REPLACEMENT_CHARACTER
            }
            _ => return Err(self.syntax()),
        })
    }

    fn code_unit(&mut self) -> Result<u32, HeaderError> {
        let digits = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(HeaderError::Ended)?;
        let mut unit = 0_u32;
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or_else(|| self.syntax())?;
            unit = (unit << 4) | value;
        }
        self.at = self.at.saturating_add(4);
        Ok(unit)
    }

    /// Passes over a value of any kind, `depth` levels down.
    fn skip(&mut self, depth: usize) -> Result<(), HeaderError> {
        let close = match self.peek() {
            Some(b'"') => {
                self.step();
                return self.skip_string();
            }
            Some(b'{') => b'}',
            Some(b'[') => b']',
            _ => return self.word().map(|_| ()),
        };
        if depth >= HEADER_DEPTH_MAX {
            return Err(HeaderError::TooDeep);
        }
        self.step();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.expect(b'"')?;
                self.skip_string()?;
                self.expect(b':')?;
            }
            self.space();
            self.skip(depth.saturating_add(1))?;
            if self.eat(close) {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn skip_string(&mut self) -> Result<(), HeaderError> {
        loop {
            self.at = self.run_end(self.at);
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(());
                }
                Some(b'\\') => self.at = self.at.saturating_add(2),
                _ => return Err(HeaderError::Ended),
            }
        }
    }
}

/// What a number of 32 bits says; null is 0.
fn number(field: &'static str, value: Option<Span>, header: &Header<'_>) -> Result<i32, HeaderError> {
    value.map_or(Ok(0), |value| header.ext.text(value).parse().map_err(|_| HeaderError::Number { field }))
}

#[inline(always)]
fn source_span(start: usize, end: usize) -> Span {
    let position = |at: usize| u32::try_from(at).expect("a header is shorter than 2^24 bytes");
    Span { start: position(start), end: position(end) }
}
