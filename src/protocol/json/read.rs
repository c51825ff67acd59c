//! The reader: one recursive descent, bounded in depth and in the number of values.

use std::borrow::Cow;

use super::{JsonError, Key, Object, Value};
use crate::limits::JSON_DEPTH_MAX;

/// Reads one value and nothing but space and comments after it.
///
/// # Errors
/// [`JsonError`]; more than `nodes_max` values (members count as one) are refused before they are kept.
pub fn parse(text: &[u8], nodes_max: usize) -> Result<Value<'_>, JsonError> {
    let text = std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
    let mut reader = Reader { text, at: 0, nodes_left: nodes_max, nodes_max };
    let value = reader.value(0)?;
    reader.space()?;
    if reader.at == text.len() { Ok(value) } else { Err(reader.syntax()) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes_left: usize,
    nodes_max: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'+' | b'-' | b'.') || byte >= 0x80
}

impl<'a> Reader<'a> {
    fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at.min(self.text.len()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// What is left. Positions are always ends of characters: every step passes whole characters or ASCII.
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes space and comments.
    fn space(&mut self) -> Result<(), JsonError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C) => self.skip(1),
                Some(b'/') => {
                    let rest = self.rest();
                    let (open, close) = if rest.starts_with("//") { (2, "\n") } else { (2, "*/") };
                    if !rest.starts_with("//") && !rest.starts_with("/*") {
                        return Err(self.syntax());
                    }
                    let comment = rest.get(open..).unwrap_or_default();
                    let end = match comment.find(close) {
                        Some(end) => end.saturating_add(close.len()),
                        None if close == "\n" => comment.len(),
                        None => return Err(self.syntax()),
                    };
                    self.skip(open.saturating_add(end));
                }
                _ => return Ok(()),
            }
        }
    }

    fn eat(&mut self, expected: u8) -> Result<bool, JsonError> {
        self.space()?;
        let found = self.peek() == Some(expected);
        if found {
            self.skip(1);
        }
        Ok(found)
    }

    fn count(&mut self) -> Result<(), JsonError> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(JsonError::TooManyValues { max: self.nodes_max })?;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        if depth > JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.count()?;
        self.space()?;
        match self.peek() {
            Some(b'{') => self.object(depth).map(Value::Object),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Value::Text),
            _ => self.word_value(),
        }
    }

    /// Commas may be missing nowhere but may come again and again, as fastjson has it.
    fn commas(&mut self, close: u8) -> Result<bool, JsonError> {
        let mut seen = false;
        while self.eat(b',')? {
            seen = true;
        }
        if self.eat(close)? {
            return Ok(true);
        }
        if seen { Ok(false) } else { Err(self.syntax()) }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.skip(1);
        let mut values = Vec::new();
        if self.eat(b']')? {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth.saturating_add(1))?);
            if self.commas(b']')? {
                return Ok(Value::Array(values));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        self.skip(1);
        let mut members = Vec::new();
        if self.eat(b'}')? {
            return Ok(Object(members));
        }
        loop {
            let key = self.key(depth)?;
            if !self.eat(b':')? {
                return Err(self.syntax());
            }
            let value = self.value(depth.saturating_add(1))?;
            members.push((key, value));
            if self.commas(b'}')? {
                return Ok(Object(members));
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<Key<'a>, JsonError> {
        if depth >= JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.space()?;
        match self.peek() {
            Some(b'{') => {
                self.count()?;
                self.object(depth.saturating_add(1)).map(Key::Object)
            }
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Key::Text),
            _ => self.word().map(|word| Key::Text(Cow::Borrowed(word))),
        }
    }

    fn word(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let bytes = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
        let word = rest.get(..bytes).filter(|word| !word.is_empty()).ok_or_else(|| self.syntax())?;
        self.skip(bytes);
        Ok(word)
    }

    fn word_value(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        let word = self.word()?;
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" | "undefined" | "NaN" => Value::Null,
            _ => {
                let digits = word.strip_suffix(['L', 'B', 'S', 'D', 'F', 'l']).unwrap_or(word);
                let float = || digits.parse::<f64>().ok().filter(|float| float.is_finite()).map(Value::Float);
                let number = digits.parse::<i64>().ok().map(Value::Integer).or_else(float);
                number
                    .filter(|_| digits.contains(|c: char| c.is_ascii_digit()))
                    .ok_or(JsonError::Syntax { at: start })?
            }
        };
        Ok(value)
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, JsonError> {
        self.skip(1);
        let stop = |c: char| c == '\\' || c == char::from(quote);
        let first = self.rest().find(stop).ok_or_else(|| self.syntax())?;
        let plain = self.rest().get(..first).unwrap_or_default();
        self.skip(first);
        if self.peek() == Some(quote) {
            self.skip(1);
            return Ok(Cow::Borrowed(plain));
        }
        let mut decoded = String::from(plain);
        loop {
            if self.peek() == Some(quote) {
                self.skip(1);
                return Ok(Cow::Owned(decoded));
            }
            self.skip(1);
            decoded.push(self.escape()?);
            let run = self.rest().find(stop).ok_or_else(|| self.syntax())?;
            decoded.push_str(self.rest().get(..run).unwrap_or_default());
            self.skip(run);
        }
    }

    /// The character of an escape whose backslash is taken.
    fn escape(&mut self) -> Result<char, JsonError> {
        let kind = self.rest().chars().next().ok_or_else(|| self.syntax())?;
        self.skip(kind.len_utf8());
        Ok(match kind {
            '"' | '\\' | '/' | '\'' => kind,
            'b' => '\u{8}',
            'f' | 'F' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => char::from_u32(u32::from(kind) & 7).unwrap_or(char::REPLACEMENT_CHARACTER),
            'x' => char::from_u32(self.hex(2)?).unwrap_or(char::REPLACEMENT_CHARACTER),
            'u' => {
                let high = self.hex(4)?;
                let back = self.at;
                if (0xD800..0xDC00).contains(&high) && self.rest().starts_with("\\u") {
                    self.skip(2);
                    let low = self.hex(4)?;
                    if (0xDC00..0xE000).contains(&low) {
                        let pair = 0x1_0000_u32.saturating_add(((high & 0x3FF) << 10) | (low & 0x3FF));
                        return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = back;
                }
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.syntax()),
        })
    }

    fn hex(&mut self, digits: usize) -> Result<u32, JsonError> {
        let text = self.rest().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let value = text.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or_else(|| self.syntax())?;
        self.skip(digits);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonForm, Writer};
    use proptest::prelude::*;

    fn put(value: &Value<'_>, writer: &mut Writer) {
        match value {
            Value::Null => writer.null(),
            Value::Bool(value) => writer.boolean(*value),
            Value::Integer(value) => writer.integer(*value),
            Value::Float(value) => writer.double(*value),
            Value::Text(text) => writer.text(text),
            Value::Array(values) => writer.array(|writer| values.iter().for_each(|value| put(value, writer))),
            Value::Object(object) => writer.object(|writer| put_members(object, writer)),
        };
    }

    fn put_members(object: &Object<'_>, writer: &mut Writer) {
        for (key, value) in &object.0 {
            match key {
                Key::Text(text) => writer.key(text),
                Key::Object(object) => writer.object_key(|writer| put_members(object, writer)),
            };
            put(value, writer);
        }
    }

    fn written(value: &Value<'_>, form: JsonForm) -> String {
        let mut writer = Writer::new(form);
        put(value, &mut writer);
        String::from_utf8(writer.finish()).expect("JSON is text")
    }

    #[test]
    fn the_dialect_is_understood() {
        let check = |text: &str, expected: &str| {
            let value = parse(text.as_bytes(), 1000).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(written(&value, JsonForm::Fastjson), expected, "{text}");
        };
        check(r#"{0:"a:1",1:"b:1"}"#, r#"{"0":"a:1","1":"b:1"}"#);
        check(r#"{{"brokerName":"b","queueId":0,"topic":"T"}:7}"#, r#"{{"brokerName":"b","queueId":0,"topic":"T"}:7}"#);
        check(r#"{"a":{"$ref":"$.x\\ \\[y\\]"}}"#, r#"{"a":{"$ref":"$.x\\ \\[y\\]"}}"#);
        check("{'a':'it\\'s',b_1:tr/**/ue}".replace("tr/**/ue", "true").as_str(), r#"{"a":"it's","b_1":true}"#);
        check("[1,2,]", "[1,2]");
        check("{\"a\":1,,\"b\":2,}", r#"{"a":1,"b":2}"#);
        check("// one\n{ /* two */ \"a\" : null } // three", r#"{"a":null}"#);
        check("{\"T@G\":{0:12,1:13\n\t\t}\n\t}", r#"{"T@G":{"0":12,"1":13}}"#);
        check(
            "[-9223372036854775808,9223372036854775807,10L,1.5,1e3,0.0,NaN]",
            "[-9223372036854775808,9223372036854775807,10,1.5,1000.0,0.0,null]",
        );
        check(
            r#"["\u00e4\uD83D\uDE00\x41\0","\ud800","\ud800\u0041"]"#,
            "[\"\u{e4}\u{1F600}A\\u0000\",\"\u{FFFD}\",\"\u{FFFD}A\"]",
        );
        check(" \"\" ", "\"\"");
        check("{}", "{}");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let check = |text: &[u8], expected: JsonError| assert_eq!(parse(text, 100), Err(expected), "{text:?}");
        check(b"", JsonError::Syntax { at: 0 });
        check(b"{", JsonError::Syntax { at: 1 });
        check(b"[1 2]", JsonError::Syntax { at: 3 });
        check(b"{\"a\" 1}", JsonError::Syntax { at: 5 });
        check(b"{} x", JsonError::Syntax { at: 3 });
        check(b"[+]", JsonError::Syntax { at: 1 });
        check(b"[inf]", JsonError::Syntax { at: 1 });
        check(b"\"a", JsonError::Syntax { at: 1 });
        check(b"\"\\u12", JsonError::Syntax { at: 3 });
        check(b"\xff", JsonError::NotUtf8);
        check("[".repeat(10_000).as_bytes(), JsonError::TooDeep);
        check("{{".repeat(10_000).as_bytes(), JsonError::TooDeep);
        check("{\"a\":".repeat(10_000).as_bytes(), JsonError::TooDeep);
        check(format!("[{}]", "0,".repeat(100)).as_bytes(), JsonError::TooManyValues { max: 100 });
    }

    fn any_value() -> impl Strategy<Value = Value<'static>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-1e12..1e12).prop_map(Value::Float),
            any::<String>().prop_map(|text| Value::Text(text.into())),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let object = prop::collection::vec((any::<String>(), inner.clone()), 0..5)
                .prop_map(|members| Object(members.into_iter().map(|(k, v)| (Key::Text(k.into()), v)).collect()));
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                object.clone().prop_map(Value::Object),
                (object, inner).prop_map(|(key, value)| Value::Object(Object(vec![(Key::Object(key), value)]))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_value()) {
            for form in [JsonForm::Fastjson, JsonForm::Standard] {
                let text = written(&value, form);
                prop_assert_eq!(parse(text.as_bytes(), 10_000), Ok(value.clone()), "{}", text);
            }
        }

        #[test]
        fn any_text_is_json_or_refused(text in "[\\[\\]{}:,\"'0-9a-c\\\\u /*]{0,40}") {
            let _ = parse(text.as_bytes(), 100);
        }
    }
}
