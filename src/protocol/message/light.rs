//! Light queues: a message of a topic is in queues of other names as well, which no topic stands for.
//!
//! Its property `INNER_MULTI_DISPATCH` names them, with commas between; `INNER_MULTI_QUEUE_OFFSET`, which the broker sets when the message is stored, says
//! at which offset it is in each. Source: RocketMQ `LmqDispatch`, `MultiDispatchUtils`, `MixAll`.

use super::{HALF_TOPIC, Properties, SCHEDULE_TOPIC, WHEEL_TOPIC, is_retry_topic, property};
use crate::limits::{LIGHT_QUEUES_PER_MESSAGE_MAX, TOPIC_NAME_BYTES_MAX};
use crate::model::{QueueId, QueueOffset};

/// What the names of light queues begin with.
const LIGHT_PREFIX: &str = "%LMQ%";

/// The number of each.
pub const LIGHT_QUEUE: QueueId = QueueId(0);

/// Whether this is the name of a light queue.
#[must_use]
pub fn is_light(name: &str) -> bool {
    name.starts_with(LIGHT_PREFIX)
}

/// Whether messages of this topic may be in light queues: what such a property says of others counts for nothing. Master, slave and restart go by it.
#[must_use]
pub fn allows_light(topic: &str) -> bool {
    !is_retry_topic(topic) && !topic.starts_with("rmq_sys_") && topic != SCHEDULE_TOPIC
}

/// The light queues that a client names in `INNER_MULTI_DISPATCH`; `None` if one of them may not be: each once, of bounded length and number, and without
/// what RocketMQ's brokers cannot make a folder of.
#[must_use]
pub fn light_queues(names: &str) -> Option<Vec<&str>> {
    let is_sound = |name: &&str| {
        is_light(name)
            && name.len() > LIGHT_PREFIX.len()
            && name.len() <= TOPIC_NAME_BYTES_MAX
            && !name.contains(|letter: char| letter == '/' || letter.is_control())
    };
    let queues: Vec<&str> = names.split(',').take(LIGHT_QUEUES_PER_MESSAGE_MAX.saturating_add(1)).collect();
    let mut sorted = queues.clone();
    sorted.sort_unstable();
    let is_once = sorted.is_sorted_by(|a, b| a < b);
    (queues.len() <= LIGHT_QUEUES_PER_MESSAGE_MAX && queues.iter().all(is_sound) && is_once).then_some(queues)
}

/// In which light queues a stored record of `topic` is besides its own queue, and at which offset, as its properties say, which a stranger may have
/// written if the broker that stored it knows no light queues: of two with one name the first counts, and no more than one message may have.
#[must_use]
pub fn light_places<'a>(topic: &str, properties: &'a [u8]) -> Vec<(&'a str, QueueOffset)> {
    let read = Properties::new(properties);
    let (Some(names), Some(offsets)) = (read.get(property::LIGHT_QUEUES), read.get(property::LIGHT_OFFSETS)) else {
        return Vec::new();
    };
    // Java leaves out what is empty at the end.
    let (names, offsets) = (names.trim_end_matches(','), offsets.trim_end_matches(','));
    if names.split(',').count() != offsets.split(',').count() {
        return Vec::new();
    }
    let mut places: Vec<(&str, QueueOffset)> = (names.split(',').zip(offsets.split(',')))
        .take(LIGHT_QUEUES_PER_MESSAGE_MAX)
        .filter(|(name, _)| {
            is_light(name) && *name != topic && name.len() <= TOPIC_NAME_BYTES_MAX && !name.contains('/')
        })
        .filter_map(|(name, offset)| Some((name, QueueOffset(offset.parse().ok()?))))
        .collect();
    places.sort_by_key(|(name, _)| *name);
    places.dedup_by(|(later, _), (first, _)| later == first);
    places
}

/// Whether what is stored in this topic waits, and may be in light queues later.
#[must_use]
pub fn may_await_light(topic: &str) -> bool {
    [SCHEDULE_TOPIC, WHEEL_TOPIC, HALF_TOPIC].contains(&topic)
}

/// The light queues in which a stored record of `topic` is to be when its time has come, or its transaction is committed: those that it names, and the
/// one that it was sent to, if it was.
#[must_use]
pub fn awaited_light<'a>(topic: &str, properties: &'a [u8]) -> Vec<&'a str> {
    let read = Properties::new(properties);
    let real = read.get(property::REAL_TOPIC).filter(|real| allows_light(real));
    let Some(real) = real.filter(|_| may_await_light(topic)) else {
        return Vec::new();
    };
    let named = read.get(property::LIGHT_QUEUES).and_then(light_queues).filter(|names| !names.contains(&real));
    named.unwrap_or_default().into_iter().chain(Some(real).filter(|real| is_light(real))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_each_comes_once() {
        let many = |count: usize| (0..count).map(|nth| format!("%LMQ%{nth}")).collect::<Vec<_>>().join(",");
        assert_eq!(light_queues("%LMQ%b,%LMQ%a"), Some(vec!["%LMQ%b", "%LMQ%a"]));
        assert!(light_queues(&many(LIGHT_QUEUES_PER_MESSAGE_MAX)).is_some());
        let long = format!("%LMQ%{}", "x".repeat(TOPIC_NAME_BYTES_MAX));
        let many = many(LIGHT_QUEUES_PER_MESSAGE_MAX + 1);
        for wrong in ["", "a", "%LMQ%", "%LMQ%a,b", "%LMQ%a,", "%LMQ%a,%LMQ%a", "%LMQ%a/b", "%LMQ%a\u{7}", &long, &many]
        {
            assert_eq!(light_queues(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn places_are_those_that_both_properties_name() {
        let check = |names: &str, offsets: &str, expected: &[(&str, u64)]| {
            let text = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}INNER_MULTI_QUEUE_OFFSET\u{1}{offsets}\u{2}");
            let found: Vec<_> =
                light_places("%LMQ%own", text.as_bytes()).into_iter().map(|(name, at)| (name, at.0)).collect();
            assert_eq!(found, expected, "{names} {offsets}");
        };
        check("%LMQ%b,%LMQ%a", "7,0", &[("%LMQ%a", 0), ("%LMQ%b", 7)]);
        check("%LMQ%a,b,%LMQ%c/d", "1,2,3", &[("%LMQ%a", 1)]);
        check("%LMQ%own,%LMQ%a", "1,2", &[("%LMQ%a", 2)]);
        check("%LMQ%a,,", "1", &[("%LMQ%a", 1)]);
        let many = |count: usize, one: &str| vec![one; count].join(",");
        let names = format!("{},%LMQ%late", many(LIGHT_QUEUES_PER_MESSAGE_MAX, "%LMQ%a"));
        check(&names, &many(LIGHT_QUEUES_PER_MESSAGE_MAX + 1, "3"), &[("%LMQ%a", 3)]);
        check("%LMQ%a,%LMQ%a", "4,5", &[("%LMQ%a", 4)]);
        check("%LMQ%a", "1,2", &[]);
        check("%LMQ%a", "x", &[]);
        assert!(light_places("T", b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02").is_empty());
        let waits = b"REAL_TOPIC\x01T\x02INNER_MULTI_DISPATCH\x01%LMQ%b,%LMQ%a\x02";
        for topic in [SCHEDULE_TOPIC, WHEEL_TOPIC, HALF_TOPIC] {
            assert_eq!(awaited_light(topic, waits), ["%LMQ%b", "%LMQ%a"]);
            assert!(awaited_light(topic, b"REAL_TOPIC\x01%RETRY%g\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02").is_empty());
        }
        assert_eq!(awaited_light(WHEEL_TOPIC, b"REAL_TOPIC\x01%LMQ%own\x02"), ["%LMQ%own"]);
        assert!(awaited_light("T", waits).is_empty(), "it does not wait");
        assert!(allows_light("T") && allows_light("%DLQ%G") && !allows_light("%RETRY%G"));
        assert!(!allows_light(SCHEDULE_TOPIC) && !allows_light("rmq_sys_wheel_timer"));
    }
}
