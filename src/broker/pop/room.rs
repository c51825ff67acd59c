//! Pops that wait and have found no room: their group has as many flights as it may. They have their turn when some have ended.
//!
//! A flight that ends makes room for its group, and may make some for others, of which one is asked each time, in turns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::limits::POP_ROOM_WAITS_MAX;
use crate::log::QueueIndex;
use crate::model::GroupName;

/// Groups that wait for room.
#[derive(Debug, Default)]
pub(super) struct RoomWaits {
    /// With the queues that stand for the topics of their pops.
    groups: BTreeMap<GroupName, BTreeSet<QueueIndex>>,
    /// How many queues that are.
    count: usize,
    /// The group that was asked last.
    asked: Option<GroupName>,
    /// Queues whose pops may find room now.
    ready: Vec<QueueIndex>,
}

impl RoomWaits {
    /// A group's pop that waits at this queue has found no room. Where too many do so, it is answered at its time.
    pub(super) fn put(&mut self, group: &GroupName, queue: QueueIndex) {
        if self.count < POP_ROOM_WAITS_MAX && self.groups.entry(group.clone()).or_default().insert(queue) {
            self.count += 1;
        }
    }

    /// A flight of this group has ended: it and the next one in turn are to be asked whether they have room.
    pub(super) fn next_asked(&mut self, group: &GroupName) -> [Option<GroupName>; 2] {
        if self.groups.is_empty() {
            return [None, None];
        }
        let behind = self.asked.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.groups.range::<GroupName, _>((behind, Bound::Unbounded)).next();
        self.asked = next.map(|(group, _)| group.clone());
        let own = self.groups.get_key_value(group).map(|(group, _)| group.clone());
        [own, self.asked.clone()]
    }

    /// All of its queues are popped again.
    pub(super) fn has_room(&mut self, group: &GroupName) {
        let queues = self.groups.remove(group).unwrap_or_default();
        self.count -= queues.len();
        self.ready.extend(queues);
    }

    /// Queues whose pops have their turn.
    pub(super) fn take_ready(&mut self) -> Vec<QueueIndex> {
        std::mem::take(&mut self.ready)
    }
}
