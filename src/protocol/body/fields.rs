//! Members of a body's object as the kinds they should be, coerced as fastjson coerces them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::BodyError;
use crate::json::{Key, Object, Value};

/// The members of one object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'v>(&'v Object<'v>);

impl<'v> Fields<'v> {
    /// The members of a value that must be an object.
    pub(super) fn of(value: &'v Value<'v>, field: &'static str) -> Result<Fields<'v>, BodyError> {
        match value {
            Value::Object(object) => Ok(Fields(object)),
            _ => Err(BodyError::Kind { field, expected: "an object" }),
        }
    }

    pub(super) fn of_object(object: &'v Object<'v>) -> Fields<'v> {
        Fields(object)
    }

    pub(super) fn get(self, field: &'static str) -> Option<&'v Value<'v>> {
        self.0.get(field)
    }

    /// A text; numbers and booleans are taken as theirs.
    pub(super) fn text(self, field: &'static str) -> Result<Option<Cow<'v, str>>, BodyError> {
        self.get(field).map(|value| as_text(value).ok_or(BodyError::Kind { field, expected: "a text" })).transpose()
    }

    pub(super) fn required_text(self, field: &'static str) -> Result<Cow<'v, str>, BodyError> {
        self.text(field)?.ok_or(BodyError::Missing { field })
    }

    pub(super) fn integer(self, field: &'static str) -> Result<Option<i64>, BodyError> {
        self.get(field)
            .map(|value| as_integer(value).ok_or(BodyError::Kind { field, expected: "a number" }))
            .transpose()
    }

    /// A number of the wanted range, or its default if absent.
    pub(super) fn number<T: TryFrom<i64>>(self, field: &'static str, default: T) -> Result<T, BodyError> {
        match self.integer(field)? {
            Some(found) => T::try_from(found).map_err(|_| BodyError::OutOfRange { field, found }),
            None => Ok(default),
        }
    }

    pub(super) fn boolean(self, field: &'static str, default: bool) -> Result<bool, BodyError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::Integer(number)) => Ok(*number == 1),
            Some(Value::Text(text)) => Ok(text.eq_ignore_ascii_case("true") || text == "1"),
            Some(_) => Err(BodyError::Kind { field, expected: "true or false" }),
        }
    }

    pub(super) fn object(self, field: &'static str) -> Result<Option<Fields<'v>>, BodyError> {
        self.get(field).map(|value| Fields::of(value, field)).transpose()
    }

    /// The values of an array; absent is empty.
    pub(super) fn array(self, field: &'static str) -> Result<&'v [Value<'v>], BodyError> {
        match self.get(field) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(BodyError::Kind { field, expected: "an array" }),
        }
    }

    /// The texts of an array; absent is empty.
    pub(super) fn texts(self, field: &'static str) -> Result<Vec<String>, BodyError> {
        let text = |value| as_text(value).map(Cow::into_owned).ok_or(BodyError::Kind { field, expected: "texts" });
        self.array(field)?.iter().map(text).collect()
    }

    /// The members of a map with texts for keys; absent is empty. Entries of null are left out.
    pub(super) fn entries(
        self,
        field: &'static str,
    ) -> Result<impl Iterator<Item = (&'v str, &'v Value<'v>)>, BodyError> {
        let members: &'v [(Key<'v>, Value<'v>)] = match self.get(field) {
            None => &[],
            Some(Value::Object(object)) => &object.0,
            Some(_) => return Err(BodyError::Kind { field, expected: "an object" }),
        };
        Ok(text_members(members))
    }

    /// This object's members, as a map with texts for keys. Entries of null are left out.
    pub(super) fn own_entries(self) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
        text_members(&self.0.0)
    }

    /// A map of texts to texts; absent is empty.
    pub(super) fn text_map(self, field: &'static str) -> Result<BTreeMap<String, String>, BodyError> {
        self.object(field)?.map_or_else(|| Ok(BTreeMap::new()), |map| map.own_text_map(field))
    }

    /// This object as a map of texts to texts. Entries of null are left out.
    pub(super) fn own_text_map(self, field: &'static str) -> Result<BTreeMap<String, String>, BodyError> {
        let mut map = BTreeMap::new();
        for (key, value) in text_members(&self.0.0) {
            let value = as_text(value).ok_or(BodyError::Kind { field, expected: "a map of texts" })?;
            map.insert(key.to_owned(), value.into_owned());
        }
        Ok(map)
    }
}

fn text_members<'v>(members: &'v [(Key<'v>, Value<'v>)]) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
    members.iter().filter_map(|(key, value)| match key {
        Key::Text(text) if *value != Value::Null => Some((text.as_ref(), value)),
        _ => None,
    })
}

pub(super) fn as_text<'v>(value: &'v Value<'v>) -> Option<Cow<'v, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text.as_ref())),
        Value::Integer(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        _ => None,
    }
}

pub(super) fn as_integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Bool(value) => Some(i64::from(*value)),
        // Java writes some whole numbers as doubles (1.7E12); beyond 2^53 they are not whole any more.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => format!("{number:.0}").parse().ok(),
        _ => None,
    }
}

pub(super) fn as_double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        _ => as_integer(value).and_then(|number| number.to_string().parse().ok()),
    }
}
