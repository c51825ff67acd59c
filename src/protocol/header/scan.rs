//! One pass over the JSON form of a header.

use super::{Header, HeaderError, Span};
use crate::limits::HEADER_DEPTH_MAX;
use crate::protocol::code::Language;

/// Decodes a JSON header.
pub(super) fn header(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let source = std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)?;
    let mut scan = Scan { bytes, at: 0, header: Header::new(source) };
    scan.object(Scan::field)?;
    scan.space();
    if scan.at != bytes.len() {
        return Err(scan.syntax());
    }
    Ok(scan.header)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    header: Header<'a>,
}

/// Where a key or a coerced value lies. Keys are compared as text, so that escaped ones are found too.
type Handler<'a> = fn(&mut Scan<'a>, Span) -> Result<(), HeaderError>;

impl<'a> Scan<'a> {
    fn syntax(&self) -> HeaderError {
        if self.at >= self.bytes.len() { HeaderError::Ended } else { HeaderError::Syntax { at: self.at } }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.step();
        }
    }

    /// Skips space, then takes `expected` or nothing. Stock clients write no space, so it is looked for second.
    #[inline]
    fn eat(&mut self, expected: u8) -> bool {
        if self.peek() == Some(expected) {
            self.step();
            return true;
        }
        self.space();
        let found = self.peek() == Some(expected);
        if found {
            self.step();
        }
        found
    }

    fn expect(&mut self, expected: u8) -> Result<(), HeaderError> {
        if self.eat(expected) { Ok(()) } else { Err(self.syntax()) }
    }

    /// An object, each value taken by `handler`.
    fn object(&mut self, handler: Handler<'a>) -> Result<(), HeaderError> {
        self.expect(b'{')?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.expect(b'"')?;
            let key = self.string()?;
            self.expect(b':')?;
            self.space();
            handler(self, key)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// One field of the header itself.
    fn field(&mut self, key: Span) -> Result<(), HeaderError> {
        match self.header.ext.text(key) {
            "code" => self.header.code = self.int("code")?,
            "opaque" => self.header.opaque = self.int("opaque")?,
            "flag" => self.header.flag = self.int("flag")?,
            "version" => self.header.version = self.int("version")?,
            "language" => {
                if let Some(value) = self.scalar()? {
                    let text = self.header.ext.text(value);
                    self.header.language =
                        text.parse().map_or_else(|_| Language::from_name(text), Language::from_number);
                }
            }
            "remark" => self.header.remark = self.scalar()?,
            "extFields" if self.peek() == Some(b'{') => self.object(Scan::ext_field)?,
            _ => self.skip(0)?,
        }
        Ok(())
    }

    /// One extension field. Numbers and booleans are kept as their text; null, arrays and objects are as good as absent.
    fn ext_field(&mut self, key: Span) -> Result<(), HeaderError> {
        match self.scalar()? {
            Some(value) => self.header.ext.push((key, value)),
            None => Ok(()),
        }
    }

    /// A number of 32 bits, bare or in quotes; null is 0.
    fn int(&mut self, field: &'static str) -> Result<i32, HeaderError> {
        match self.scalar()? {
            Some(value) => self.header.ext.text(value).parse().map_err(|_| HeaderError::Number { field }),
            None => Ok(0),
        }
    }

    /// The text of a string, number or boolean; `None` for null. Arrays and objects are skipped.
    fn scalar(&mut self) -> Result<Option<Span>, HeaderError> {
        match self.peek() {
            Some(b'"') => {
                self.step();
                self.string().map(Some)
            }
            Some(b'{' | b'[') => self.skip(0).map(|()| None),
            _ => {
                let span = self.word()?;
                Ok(Some(span).filter(|span| self.header.ext.text(*span) != "null"))
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
        Ok(self.source_span(start, self.at))
    }

    #[inline]
    fn source_span(&self, start: usize, end: usize) -> Span {
        let position = |at: usize| u32::try_from(at).expect("a header is shorter than 2^24 bytes");
        Span { start: position(start), end: position(end) }
    }

    /// The rest of a string whose opening quote is taken. Borrowed if nothing in it is escaped.
    #[inline]
    fn string(&mut self) -> Result<Span, HeaderError> {
        let start = self.at;
        self.at = self.at.saturating_add(self.plain_run());
        if self.peek() == Some(b'"') {
            let span = self.source_span(start, self.at);
            self.step();
            return Ok(span);
        }
        self.escaped_string(start)
    }

    /// The rest of a string that began at `start` and has an escape here.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize) -> Result<Span, HeaderError> {
        let decoded_start = self.header.ext.decoded.len();
        if decoded_start == 0 {
            // Decoded text is never longer than what it was made of; one allocation serves the whole header.
            self.header.ext.decoded.reserve(self.bytes.len().saturating_sub(start));
        }
        self.copy(start);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(self.header.ext.decoded_since(decoded_start));
                }
                Some(b'\\') => {
                    self.step();
                    let decoded = self.escape()?;
                    self.header.ext.decoded.push(decoded);
                }
                _ => return Err(self.syntax()),
            }
            let run = self.at;
            self.at = self.at.saturating_add(self.plain_run());
            self.copy(run);
        }
    }

    /// Copies what lies between `start` and here. Both are ends of runs that stop at ASCII, so they are ends of characters.
    fn copy(&mut self, start: usize) {
        let run = self.header.ext.source.get(start..self.at).expect("a run ends before an ASCII byte");
        self.header.ext.decoded.push_str(run);
    }

    /// Bytes from here up to the next quote, backslash or the end, eight at a time. Bare control characters are let through:
    /// they do no harm, and fastjson lets them through too.
    #[inline]
    fn plain_run(&self) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = ONES << 7;
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let quotes = has_zero(word ^ (ONES.wrapping_mul(b'"' as u64)));
            let backslashes = has_zero(word ^ (ONES.wrapping_mul(b'\\' as u64)));
            // The lowest set bit is exact; only bits above it may be raised by a borrow.
            let found = quotes | backslashes;
            if found != 0 {
                return index.saturating_mul(8).saturating_add((found.trailing_zeros() / 8) as usize);
            }
        }
        let in_tail = tail.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(tail.len());
        words.len().saturating_mul(8).saturating_add(in_tail)
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
            self.at = self.at.saturating_add(self.plain_run());
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
