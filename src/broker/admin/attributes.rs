//! Attributes of topics: what there is, what may be said of it, and when. Source: RocketMQ `TopicAttributes`, `AttributeUtil`.

use std::collections::BTreeMap;

use super::super::Refusal;
use super::super::topic::{BATCH_QUEUES, QUEUE_TYPE};
use crate::limits::TOPIC_ATTRIBUTES_MAX;
use crate::protocol::code::ResponseCode;
use crate::protocol::request::AttributeChange;

type Attributes = BTreeMap<String, String>;

/// One attribute that RocketMQ knows.
struct Attribute {
    name: &'static str,
    /// Whether it may change once the topic is there.
    is_changeable: bool,
    values: Values,
}

/// What an attribute may be. What ringmq does not do yet is not promised.
enum Values {
    OneOf {
        kept: &'static [&'static str],
        not_yet: &'static [&'static str],
    },
    /// A number of this range; only the first, which is the default, is kept.
    Numbers(std::ops::RangeInclusive<i64>),
}

const TOPIC_ATTRIBUTES: [Attribute; 4] = [
    Attribute {
        name: QUEUE_TYPE,
        is_changeable: false,
        values: Values::OneOf { kept: &["SimpleCQ", BATCH_QUEUES], not_yet: &[] },
    },
    Attribute {
        name: "cleanup.policy",
        is_changeable: false,
        values: Values::OneOf { kept: &["DELETE"], not_yet: &["COMPACTION"] },
    },
    Attribute {
        name: "message.type",
        is_changeable: true,
        // Proxies and consoles go by it, as they do with RocketMQ's broker.
        values: Values::OneOf { kept: &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"], not_yet: &["MIXED"] },
    },
    Attribute { name: "reserve.time", is_changeable: true, values: Values::Numbers(-1..=i64::MAX) },
];

fn refuse(remark: String) -> Refusal {
    Refusal::new(ResponseCode::SystemError, remark)
}

impl Attribute {
    fn check(&self, value: &str) -> Result<(), Refusal> {
        let not_yet = || Err(refuse(format!("{}={value} is not supported by ringmq yet", self.name)));
        match &self.values {
            Values::OneOf { kept, .. } if kept.contains(&value) => Ok(()),
            // As RocketMQ without `enableMixedMessageType`.
            Values::OneOf { .. } if (self.name, value) == ("message.type", "MIXED") => {
                Err(Refusal::new(ResponseCode::InvalidParameter, "MIXED message type is not supported."))
            }
            Values::OneOf { not_yet: known, .. } if known.contains(&value) => not_yet(),
            Values::OneOf { kept, not_yet } => {
                let all = [*kept, *not_yet].concat().join(", ");
                Err(refuse(format!("value is not in set: [{all}]. key: {}, value: {value}", self.name)))
            }
            Values::Numbers(range) => match value.parse::<i64>() {
                Ok(number) if number == *range.start() => Ok(()),
                Ok(number) if range.contains(&number) => not_yet(),
                _ => {
                    let (min, max) = (range.start(), range.end());
                    Err(refuse(format!("value is not in range({min}, {max}). key: {}, value: {value}", self.name)))
                }
            },
        }
    }
}

/// A topic's attributes after the changes; a new topic (`known` is `None`) can only be given some.
pub(super) fn of_topic(known: Option<&Attributes>, changes: &[AttributeChange<'_>]) -> Result<Attributes, Refusal> {
    altered(&TOPIC_ATTRIBUTES, known, changes)
}

/// The same of a consumer group: RocketMQ knows none.
pub(super) fn of_group(known: Option<&Attributes>, changes: &[AttributeChange<'_>]) -> Result<Attributes, Refusal> {
    altered(&[], known, changes)
}

/// Changes as the bodies of 18, 200 and 225 have them: `+key` with a value, or `-key`.
pub(super) fn changes(body: &Attributes) -> Result<Vec<AttributeChange<'_>>, Refusal> {
    body.iter()
        .map(|(key, value)| match (key.strip_prefix('+'), key.strip_prefix('-')) {
            (Some(name), _) => Ok(AttributeChange::Set(name, value)),
            (_, Some(name)) => Ok(AttributeChange::Remove(name)),
            (None, None) => Err(refuse(format!("wrong format key: {key}; it begins with + or -"))),
        })
        .collect()
}

fn altered(
    all: &[Attribute],
    known: Option<&Attributes>,
    changes: &[AttributeChange<'_>],
) -> Result<Attributes, Refusal> {
    let mut attributes = known.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for change in changes {
        let (name, value) = match change {
            AttributeChange::Set(name, value) => (*name, Some(*value)),
            AttributeChange::Remove(name) => (*name, None),
        };
        if name.is_empty() || name.contains(['+', '-']) {
            return Err(refuse("kv string format wrong.".to_owned()));
        }
        if seen.contains(&name) {
            return Err(refuse(format!("alter duplication key. key: {name}")));
        }
        seen.push(name);
        match (known, value) {
            (None, None) => {
                return Err(refuse(format!("only add attribute is supported while creating topic. key: {name}")));
            }
            (Some(known), None) if !known.contains_key(name) => {
                return Err(refuse(format!("attempt to delete a nonexistent key: {name}")));
            }
            _ => {}
        }
        let Some(attribute) = all.iter().find(|attribute| attribute.name == name) else {
            return Err(refuse(format!("unsupported key: {name}")));
        };
        if known.is_some() && !attribute.is_changeable {
            return Err(refuse(format!("attempt to update an unchangeable attribute. key: {name}")));
        }
        match value {
            Some(value) => {
                attribute.check(value)?;
                attributes.insert(name.to_owned(), value.to_owned());
            }
            None => {
                attributes.remove(name);
            }
        }
        if attributes.len() > TOPIC_ATTRIBUTES_MAX {
            return Err(refuse("too many attributes".to_owned()));
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_change_as_rocketmq_allows() {
        use AttributeChange::{Remove, Set};
        let known: Attributes = [("message.type".to_owned(), "FIFO".to_owned())].into();
        let check = |known: Option<&Attributes>, changes: &[AttributeChange<'_>], expected: Option<&[(&str, &str)]>| {
            let found = of_topic(known, changes).ok();
            let expected =
                expected.map(|pairs| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
            assert_eq!(found, expected, "{changes:?}");
        };
        check(None, &[Set("message.type", "FIFO")], Some(&[("message.type", "FIFO")]));
        check(
            None,
            &[Set("queue.type", "SimpleCQ"), Set("cleanup.policy", "DELETE")],
            Some(&[("cleanup.policy", "DELETE"), ("queue.type", "SimpleCQ")]),
        );
        check(None, &[Set("reserve.time", "-1")], Some(&[("reserve.time", "-1")]));
        check(None, &[Set("queue.type", "BatchCQ")], Some(&[("queue.type", "BatchCQ")]));
        check(None, &[Remove("message.type")], None);
        check(None, &[Set("nonsense", "1")], None);
        check(Some(&known), &[Set("message.type", "NORMAL")], Some(&[("message.type", "NORMAL")]));
        check(Some(&known), &[Remove("message.type")], Some(&[]));
        check(Some(&known), &[Remove("reserve.time")], None); // it is not there
        check(Some(&known), &[Set("queue.type", "SimpleCQ")], None); // too late
        check(Some(&known), &[Set("message.type", "NORMAL"), Remove("message.type")], None); // twice
        for wrong in [
            Set("message.type", "WRONG"),
            Set("message.type", "fifo"),
            Set("message.type", "MIXED"),
            Set("queue.type", "batchcq"),
            Set("cleanup.policy", "COMPACTION"),
            Set("reserve.time", "soon"),
            Set("reserve.time", "-2"),
            Set("reserve.time", "3600"),
            Set("", "1"),
            Set("+message.type", "FIFO"),
        ] {
            check(None, std::slice::from_ref(&wrong), None);
        }
        assert!(of_group(None, &[]).is_ok() && of_group(None, &[Set("message.type", "FIFO")]).is_err());
    }

    #[test]
    fn keys_of_a_body_say_what_is_to_be_done() {
        let body = |key: &str| Attributes::from([(key.to_owned(), "v".to_owned())]);
        assert_eq!(changes(&body("+a")).ok(), Some(vec![AttributeChange::Set("a", "v")]));
        assert_eq!(changes(&body("-a")).ok(), Some(vec![AttributeChange::Remove("a")]));
        assert!(changes(&body("a")).is_err());
    }
}
