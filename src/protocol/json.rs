//! fastjson's dialect, read leniently into a small tree, and JSON written compactly.
//!
//! RocketMQ's bodies are not JSON: maps with numbers for keys have them bare (`{0:"a"}`), maps with objects for keys have the
//! objects there (`{{"topic":"T"}:7}`), and parsers accept far more than they write. The reader here takes all that stock
//! clients, brokers and their files hold; it never fails on what it can understand. `$ref` is kept as an ordinary member.

use std::borrow::Cow;

mod read;
mod write;

pub use read::parse;
pub use write::{JsonForm, Writer};

/// A value of a body. Texts borrow from the input unless they were escaped.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Value<'a> {
    /// `null`, `undefined`, `NaN`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// What stands before a colon. A bare number is kept as its text, so that `0` and `"0"` are the same key.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Key<'a> {
    /// A string, number or identifier.
    Text(Cow<'a, str>),
    Object(Object<'a>),
}

/// Members in the order of arrival. Names may come twice; the last one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a>(pub Vec<(Key<'a>, Value<'a>)>);

impl<'a> Object<'a> {
    /// The value of a member; null is as good as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        let named = |(key, _): &&(Key<'a>, Value<'a>)| matches!(key, Key::Text(text) if text == name);
        self.0.iter().rev().find(named).map(|(_, value)| value).filter(|value| **value != Value::Null)
    }
}

/// Why a text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum JsonError {
    #[error("JSON is not UTF-8")]
    NotUtf8,
    /// Not even fastjson's JSON, at this byte.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Bytes before the mistake.
        at: usize,
    },
    /// Nested deeper than [`crate::limits::JSON_DEPTH_MAX`].
    #[error("JSON is nested too deep")]
    TooDeep,
    /// More values than the caller allows.
    #[error("JSON has more than {max} values")]
    TooManyValues { max: usize },
}
