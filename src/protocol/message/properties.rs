//! A message's properties as text: `name 0x01 value 0x02`, again and again.
//!
//! The last 0x02 may be missing: 5.x clients write it, older SDKs may not. Whoever appends must look, or two properties
//! become one. Source: RocketMQ `MessageDecoder.string2messageProperties`.

use super::property;

/// Between a name and its value.
pub(super) const NAME_END: u8 = 1;

pub(super) const VALUE_END: u8 = 2;

/// The properties of one message, still as text. Reading is lenient as Java's: pairs without a name or a value vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties<'a> {
    text: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Any bytes are properties, maybe none.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Properties { text }
    }

    /// Names and values in their order. Pairs that are not UTF-8 are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.text)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
    }

    /// The value of a property. If it is there twice the last one counts, as in a Java map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let (_, value) = pairs(self.text).filter(|(key, _)| *key == name.as_bytes()).last()?;
        std::str::from_utf8(value).ok()
    }

    /// The message's tag.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.get(property::TAGS)
    }

    /// The client's own id of the message.
    #[must_use]
    pub fn unique_key(&self) -> Option<&'a str> {
        self.get(property::UNIQUE_KEY)
    }
}

/// Names and values of properties that are known to be text, in their order: as [`Properties::iter`], without looking at each byte again.
#[inline]
pub fn text_pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let separated = text.split(char::from(VALUE_END)).filter_map(|pair| pair.split_once(char::from(NAME_END)));
    separated.filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// The keys of a `KEYS` property, one by one.
pub fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|key| !key.is_empty())
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == VALUE_END).filter_map(|pair| {
        let name_end = pair.iter().position(|byte| *byte == NAME_END)?;
        let (name, rest) = pair.split_at_checked(name_end)?;
        let value = rest.get(1..)?;
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// Appends one property, with a separator before it if the text lacks one.
///
/// `name` and `value` are ours or were read from properties, so that they hold no separator themselves.
pub fn append_property(text: &mut Vec<u8>, name: &str, value: &str) {
    if text.last().is_some_and(|last| *last != VALUE_END) {
        text.push(VALUE_END);
    }
    text.extend_from_slice(name.as_bytes());
    text.push(NAME_END);
    text.extend_from_slice(value.as_bytes());
    text.push(VALUE_END);
}

/// Sets one property, whatever its value was before.
pub fn set_property(text: &mut Vec<u8>, name: &str, value: &str) {
    let before = std::mem::take(text);
    without_property(&before, name, text);
    append_property(text, name, value);
}

/// Copies properties to the end of `out`, without those named `name`; all else byte by byte as it was.
pub fn without_property(text: &[u8], name: &str, out: &mut Vec<u8>) {
    for piece in text.split_inclusive(|byte| *byte == VALUE_END) {
        let named = piece.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&NAME_END));
        if !named {
            out.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn reading_is_as_lenient_as_java() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found: Vec<_> = Properties::new(text.as_bytes()).iter().collect();
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(text_pairs(text).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check("KEYS\u{1}k1 k2\u{2}TAGS\u{1}A\u{2}", &[("KEYS", "k1 k2"), ("TAGS", "A")]);
        check("TAGS\u{1}A", &[("TAGS", "A")]);
        check("empty\u{1}\u{2}\u{1}nameless\u{2}bare\u{2}\u{2}a\u{1}b", &[("a", "b")]);
        check("a\u{1}b\u{1}c\u{2}", &[("a", "b\u{1}c")]);
        assert_eq!(Properties::new(b"a\x01b\x02a\x01c\x02").get("a"), Some("c"));
        assert_eq!(Properties::new(b"ab\x01c\x02").get("a"), None);
        assert_eq!(keys(" k1  k2 ").collect::<Vec<_>>(), ["k1", "k2"]);
    }

    #[test]
    fn a_property_that_is_set_has_one_value() {
        for (before, after) in [
            ("", "DELAY\u{1}3\u{2}"),
            ("DELAY\u{1}1\u{2}A\u{1}b\u{2}DELAY\u{1}2", "A\u{1}b\u{2}DELAY\u{1}3\u{2}"),
            ("DELAYED\u{1}1", "DELAYED\u{1}1\u{2}DELAY\u{1}3\u{2}"),
        ] {
            let mut text = before.as_bytes().to_vec();
            set_property(&mut text, "DELAY", "3");
            assert_eq!(String::from_utf8(text).as_deref(), Ok(after), "{before:?}");
        }
    }

    #[test]
    fn appending_never_joins_two_properties() {
        for start in ["", "TAGS\u{1}A", "TAGS\u{1}A\u{2}"] {
            let mut text = start.as_bytes().to_vec();
            append_property(&mut text, "CLUSTER", "c");
            let read = Properties::new(&text);
            assert_eq!(read.get("CLUSTER"), Some("c"), "{start:?}");
            assert_eq!(read.tag(), (!start.is_empty()).then_some("A"), "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn known_text_is_read_as_any_bytes_are(text in "[a\u{1}\u{2}\u{e4}]{0,24}") {
            prop_assert!(text_pairs(&text).eq(Properties::new(text.as_bytes()).iter()));
        }

        #[test]
        fn a_map_survives(map in prop::collection::btree_map("[^\u{1}\u{2}]{1,8}", "[^\u{1}\u{2}]{1,8}", 0..8), gone in 0_usize..8) {
            let mut text = Vec::new();
            for (name, value) in &map {
                append_property(&mut text, name, value);
            }
            let read: BTreeMap<String, String> =
                Properties::new(&text).iter().map(|(name, value)| (name.into(), value.into())).collect();
            prop_assert_eq!(&read, &map);

            let mut expected = map.clone();
            let name = map.keys().nth(gone).cloned().unwrap_or_default();
            expected.remove(&name);
            let mut left = Vec::new();
            without_property(&text, &name, &mut left);
            let read: BTreeMap<String, String> =
                Properties::new(&left).iter().map(|(name, value)| (name.into(), value.into())).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
