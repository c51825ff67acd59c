//! Tables with as much as the bounds allow are read again: else a node would write what its next start refuses.

use std::collections::BTreeMap;

use super::*;
use crate::limits::{GROUP_NAME_BYTES_MAX, GROUPS_MAX, OFFSETS_MAX, TOPIC_NAME_BYTES_MAX, TOPICS_MAX};
use crate::model::{GroupName, QueueId, QueueOffset, TopicName};

/// A name of this length, one of its kind.
fn name(number: usize, length: usize) -> String {
    format!("{number:0length$}")
}

#[test]
fn a_full_table_of_topics_is_read_again() {
    let mut table = TopicTable::default();
    for number in 0..TOPICS_MAX {
        let topic = TopicConfig::new(&name(number, TOPIC_NAME_BYTES_MAX), 4);
        table.topics.insert(topic.name.clone(), topic);
    }
    assert!(TopicTable::decode(&table.encode()) == Ok(table));
}

#[test]
fn a_full_table_of_groups_is_read_again() {
    let mut table = GroupTable::default();
    for number in 0..GROUPS_MAX {
        let group = SubscriptionGroupConfig::new(&name(number, GROUP_NAME_BYTES_MAX));
        table.groups.insert(group.name.clone(), group);
    }
    assert!(GroupTable::decode(&table.encode()) == Ok(table));
}

#[test]
fn a_full_table_of_offsets_is_read_again() {
    const QUEUES: usize = 16;
    let topic = TopicName::from("T");
    let mut table = ConsumerOffsets::default();
    for number in 0..OFFSETS_MAX / QUEUES {
        let queues: BTreeMap<QueueId, QueueOffset> =
            (0..QUEUES).map(|queue| (QueueId(u32::try_from(queue).unwrap()), QueueOffset(number as u64))).collect();
        table.offsets.insert((topic.clone(), GroupName::from(name(number, 20).as_str())), queues);
    }
    assert!(ConsumerOffsets::decode(&table.encode()) == Ok(table));
}
