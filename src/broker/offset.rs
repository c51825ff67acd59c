//! Consumer offsets: the next message that a group reads of a queue.
//!
//! State of the shard, durable: written as one file at most once a second while it changes, so that a crash loses at most the
//! last second of commits (consumers then read those messages again). A commit below the stored offset is accepted, because
//! that is how tools move a group back.

use std::collections::BTreeMap;

use crate::limits::OFFSETS_MAX;
use crate::model::{GroupName, QueueId, QueueOffset, TopicName};
use crate::protocol::body;

/// The offsets that consumer groups have committed on this shard.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    groups: BTreeMap<GroupName, BTreeMap<TopicName, Offsets>>,
    count: usize,
    /// Whether there are changes that no file holds yet.
    dirty: bool,
}

/// Committed offsets of one topic by queue.
pub type Offsets = BTreeMap<QueueId, QueueOffset>;

impl ConsumerOffsets {
    /// The committed offset, if there is one.
    #[must_use]
    pub fn get(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.groups.get(group)?.get(topic)?.get(&queue).copied()
    }

    /// Stores a commit. False if the table is full; the commit is then lost, as after a crash.
    pub fn commit(&mut self, group: &str, topic: &str, queue: QueueId, offset: QueueOffset) -> bool {
        let known = self.groups.get_mut(group).and_then(|topics| topics.get_mut(topic));
        if let Some(stored) = known.and_then(|offsets| offsets.get_mut(&queue)) {
            self.dirty |= *stored != offset;
            *stored = offset;
            return true;
        }
        if self.count >= OFFSETS_MAX {
            return false;
        }
        self.count += 1;
        self.dirty = true;
        let topics = self.groups.entry(GroupName::from(group)).or_default();
        topics.entry(TopicName::from(topic)).or_default().insert(queue, offset);
        true
    }

    /// Topics of which the group has committed offsets.
    pub fn topics_of<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a TopicName> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// Groups that have committed offsets of the topic.
    pub fn groups_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a GroupName> {
        self.groups.iter().filter(move |(_, topics)| topics.contains_key(topic)).map(|(group, _)| group)
    }

    /// What a group has committed of a topic, by queue.
    #[must_use]
    pub fn of_topic(&self, group: &str, topic: &str) -> Option<&Offsets> {
        self.groups.get(group)?.get(topic)
    }

    /// Takes over what the store's file holds.
    pub(super) fn load(&mut self, table: &body::ConsumerOffsets) {
        for ((topic, group), queues) in &table.offsets {
            for (queue, offset) in queues {
                self.commit(group.as_str(), topic.as_str(), *queue, *offset);
            }
        }
        self.dirty = false;
    }

    /// The table as the store's file holds it.
    pub(super) fn table(&self) -> body::ConsumerOffsets {
        let mut table = body::ConsumerOffsets::default();
        for (group, topics) in &self.groups {
            for (topic, offsets) in topics {
                table.offsets.insert((topic.clone(), group.clone()), offsets.clone());
            }
        }
        table
    }

    /// Forgets the offsets of a topic that is deleted.
    pub fn remove_topic(&mut self, topic: &str) {
        for topics in self.groups.values_mut() {
            if let Some(offsets) = topics.remove(topic) {
                self.count -= offsets.len();
                self.dirty = true;
            }
        }
        self.groups.retain(|_, topics| !topics.is_empty());
    }

    /// Forgets the offsets of a group that is deleted.
    pub fn remove_group(&mut self, group: &str) {
        if let Some(topics) = self.groups.remove(group) {
            self.count -= topics.values().map(BTreeMap::len).sum::<usize>();
            self.dirty = true;
        }
    }

    /// Whether there are changes to write; from now on they count as written.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_move_both_ways_and_are_written_once() {
        let mut offsets = ConsumerOffsets::default();
        assert_eq!(offsets.get("g", "t", QueueId(0)), None);
        assert!(offsets.commit("g", "t", QueueId(0), QueueOffset(10)));
        assert!(offsets.take_dirty());
        assert!(!offsets.take_dirty());
        offsets.commit("g", "t", QueueId(0), QueueOffset(10));
        assert!(!offsets.take_dirty(), "the same offset again is no change");
        offsets.commit("g", "t", QueueId(0), QueueOffset(4));
        assert!(offsets.take_dirty());
        assert_eq!(offsets.get("g", "t", QueueId(0)), Some(QueueOffset(4)));
    }

    #[test]
    fn what_is_deleted_leaves_nothing() {
        let mut offsets = ConsumerOffsets::default();
        for group in ["g", "h"] {
            for topic in ["t", "u"] {
                for queue in 0..4 {
                    offsets.commit(group, topic, QueueId(queue), QueueOffset(1));
                }
            }
        }
        offsets.remove_topic("t");
        assert_eq!(offsets.groups_of("t").count(), 0);
        assert_eq!(offsets.groups_of("u").count(), 2);
        offsets.remove_group("g");
        assert_eq!(offsets.topics_of("g").count(), 0);
        offsets.remove_topic("u");
        assert!(offsets.groups.is_empty() && offsets.count == 0);
    }
}
