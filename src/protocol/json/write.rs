//! The writer: compact, because the Go client splits the raw text of a route and takes spaces for parts of addresses.

/// How maps with numbers for keys, and texts beyond ASCII, are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonForm {
    /// As fastjson writes by default, and all clients before 4.9.4 expect: `{0:"a"}`, text as it is.
    #[default]
    Fastjson,
    /// Standard JSON, for those who ask for it: `{"0":"a"}`, text beyond ASCII as `\uXXXX`.
    Standard,
}

/// Appends values. Commas come by themselves; what stands between `object` and `array` is theirs.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    form: JsonForm,
}

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub fn new(form: JsonForm) -> Writer {
        Writer { out: Vec::with_capacity(256), form }
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A comma, unless this is the first value of its parent or the value of a key.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    fn word(&mut self, word: &str) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(word.as_bytes());
        self
    }

    /// An object with the members that `fill` writes.
    pub fn object(&mut self, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        self.separate();
        self.out.push(b'{');
        fill(self);
        self.out.push(b'}');
        self
    }

    /// An array with the values that `fill` writes.
    pub fn array(&mut self, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        fill(self);
        self.out.push(b']');
        self
    }

    /// A member's name; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.out.push(b':');
        self
    }

    /// A number as a member's name: bare or quoted as the form has it.
    pub(crate) fn integer_key(&mut self, number: u64) -> &mut Self {
        match self.form {
            JsonForm::Fastjson => {
                self.word(itoa::Buffer::new().format(number));
                self.out.push(b':');
                self
            }
            JsonForm::Standard => self.key(itoa::Buffer::new().format(number)),
        }
    }

    /// An object as a member's name. Every form has it as an object: the Go client reads the text by hand and takes nothing else.
    pub(crate) fn object_key(&mut self, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        self.object(fill);
        self.out.push(b':');
        self
    }

    /// A string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.out.extend_from_slice(&[b'\\', character as u8]),
                '\n' => self.out.extend_from_slice(b"\\n"),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\t' => self.out.extend_from_slice(b"\\t"),
                '\u{8}' => self.out.extend_from_slice(b"\\b"),
                '\u{c}' => self.out.extend_from_slice(b"\\f"),
                control if control < ' ' => self.unicode(control),
                other if self.form == JsonForm::Standard && !other.is_ascii() => self.unicode(other),
                other => self.out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.push(b'"');
        self
    }

    fn unicode(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
        }
    }

    /// A whole number.
    pub fn integer(&mut self, number: i64) -> &mut Self {
        self.word(itoa::Buffer::new().format(number))
    }

    /// A whole number without a sign.
    pub(crate) fn unsigned(&mut self, number: u64) -> &mut Self {
        self.word(itoa::Buffer::new().format(number))
    }

    /// A number with a point, as Java writes 0.0. What is not finite becomes 0.0: it only ever is the result of a division by no time.
    pub(crate) fn double(&mut self, number: f64) -> &mut Self {
        let number = if number.is_finite() { number } else { 0.0 };
        self.word(&format!("{number:?}"))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.word(if value { "true" } else { "false" })
    }

    /// No value.
    pub fn null(&mut self) -> &mut Self {
        self.word("null")
    }

    /// An array of strings.
    pub fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> &mut Self {
        self.array(|writer| {
            for text in texts {
                writer.text(text);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_written_without_a_space() {
        let check = |form: JsonForm, expected: &str| {
            let mut writer = Writer::new(form);
            writer.object(|writer| {
                writer.key("addrs").object(|writer| {
                    writer.integer_key(0).text("a:1").integer_key(1).text("\u{e4}");
                });
                writer.key("list").texts(["a", "b"]).key("empty").array(|_| ());
                writer.key("n").double(0.0).key("m").double(f64::NAN).key("c").text("\u{1}\"\\\n");
                writer.object_key(|writer| {
                    writer.key("q").integer(0);
                });
                writer.unsigned(7);
            });
            assert_eq!(String::from_utf8(writer.finish()).as_deref(), Ok(expected));
        };
        let rest = r#""list":["a","b"],"empty":[],"n":0.0,"m":0.0,"c":"\u0001\"\\\n",{"q":0}:7}"#;
        check(JsonForm::Fastjson, &format!(r#"{{"addrs":{{0:"a:1",1:"ä"}},{rest}"#));
        check(JsonForm::Standard, &format!(r#"{{"addrs":{{"0":"a:1","1":"\u00E4"}},{rest}"#));
    }
}
