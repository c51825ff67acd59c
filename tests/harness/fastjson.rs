//! JSON as Apache's servers write it: object keys may be bare numbers or whole objects.
use std::io;

use serde_json::{Map, Value};

use crate::frame::invalid;

/// Parses it. A key that is no string becomes its JSON text: `0` is `"0"`, an object its text with sorted keys.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("JSON is not UTF-8"))?;
    let mut parser = Parser { text, rest: text };
    let value = parser.value()?;
    parser.skip_space();
    if parser.rest.is_empty() { Ok(value) } else { Err(parser.error("end")) }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> io::Result<Value> {
        self.skip_space();
        match self.rest.chars().next() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            _ => self.scalar(),
        }
    }

    fn object(&mut self) -> io::Result<Value> {
        self.expect('{')?;
        let mut map = Map::new();
        while !self.take('}') {
            let key = match self.value()? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            self.expect(':')?;
            map.insert(key, self.value()?);
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(Value::Object(map))
    }

    fn array(&mut self) -> io::Result<Value> {
        self.expect('[')?;
        let mut items = Vec::new();
        while !self.take(']') {
            items.push(self.value()?);
            if !self.take(',') {
                self.expect(']')?;
                break;
            }
        }
        Ok(Value::Array(items))
    }

    /// A string, number, boolean or null: those are as in JSON, so its parser says where one ends.
    fn scalar(&mut self) -> io::Result<Value> {
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                let used = stream.byte_offset();
                self.rest = self.rest.get(used..).unwrap_or_default();
                Ok(value)
            }
            // A bare number before a colon is no JSON text by itself.
            _ => self.bare_number(),
        }
    }

    fn bare_number(&mut self) -> io::Result<Value> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number: i64 = digits.parse().map_err(|_| self.error("a value"))?;
        self.rest = rest;
        Ok(Value::from(number))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(letter) else { return false };
        self.rest = rest;
        true
    }

    fn expect(&mut self, letter: char) -> io::Result<()> {
        if self.take(letter) { Ok(()) } else { Err(self.error(&format!("{letter:?}"))) }
    }

    fn error(&self, wanted: &str) -> io::Error {
        invalid(format!("{wanted} expected at {} of {:?}", self.text.len() - self.rest.len(), self.text))
    }
}
