//! Consumer offsets: the next message that a group reads of a queue.
//!
//! State of the shard, durable: what has changed is written once a second, so that a crash loses at most the
//! last second of commits (consumers then read those messages again). A commit below the stored offset is accepted, because
//! that is how tools move a group back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::unwritten::Unwritten;
use crate::letter::OffsetCommit;
use crate::limits::OFFSETS_MAX;
use crate::model::{GroupName, QueueId, QueueOffset, ReignId, TopicName};
use crate::protocol::body::{self, SetBack, TableChange};

/// The offsets that consumer groups have committed on this shard.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    groups: BTreeMap<GroupName, GroupOffsets>,
    /// Groups that have offsets of a topic.
    by_topic: BTreeMap<TopicName, BTreeSet<GroupName>>,
    count: usize,
    /// On a slave: what consumers committed here, as long as the master does not have it.
    kept: BTreeSet<GroupQueue>,
    /// Those of `kept` that a master which starts has asked for: it has them, and whatever it says of them from now on is its own will.
    told: BTreeSet<GroupQueue>,
    /// Queues whose offset an operator has set, and whose group has not asked for messages since: what it commits of them until then is from
    /// before. Each has an offset in `groups`, which bounds them.
    resets: BTreeMap<GroupName, BTreeMap<TopicName, BTreeSet<QueueId>>>,
    /// The newest change here, or at the master whose offsets these are, that made offsets less.
    set_back: SetBack,
    /// The reign in which such changes are made here; unknown on a slave.
    reign: ReignId,
    /// Those that are new, other or no longer kept.
    changed: Unwritten<GroupQueue>,
    /// Topics of groups all of whose offsets went, before what is in `changed` came.
    removed: Unwritten<(TopicName, GroupName)>,
    /// As the store has it, when all is written that is on its way; and as it has it in any case.
    written_set_back: SetBack,
    flushed_set_back: SetBack,
    /// Whether there are changes since [`CommittedOffsets::take_dirty`].
    dirty: bool,
    /// Those that were made less, set or removed since [`CommittedOffsets::take_set_back`].
    moved_back: BTreeSet<GroupQueue>,
}

type GroupQueue = (GroupName, TopicName, QueueId);

/// A group and a topic of it.
pub(super) type Pair = (GroupName, TopicName);

/// Those of one group by topic.
type GroupOffsets = BTreeMap<TopicName, Offsets>;

/// Committed offsets of one topic by queue.
pub(crate) type Offsets = BTreeMap<QueueId, QueueOffset>;

impl CommittedOffsets {
    /// The committed offset, if there is one.
    #[must_use]
    pub(crate) fn get(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.groups.get(group)?.get(topic)?.get(&queue).copied()
    }

    /// Stores a commit. False if the table is full; the commit is then lost, as after a crash.
    pub(crate) fn commit(&mut self, group: &str, topic: &str, queue: QueueId, offset: QueueOffset) -> bool {
        if let Some((group_name, topics)) = self.groups.get_key_value(group)
            && let Some((topic_name, offsets)) = topics.get_key_value(topic)
            && let Some(before) = offsets.get(&queue).copied()
        {
            if offset == before {
                return true;
            }
            let place = (group_name.clone(), topic_name.clone(), queue);
            if offset < before {
                self.moved_back.insert(place.clone());
                self.note_set_back();
            }
            self.set(place, offset);
            return true;
        }
        if self.count >= OFFSETS_MAX {
            return false;
        }
        self.count += 1;
        self.set((GroupName::from(group), TopicName::from(topic), queue), offset);
        true
    }

    fn set(&mut self, place: GroupQueue, offset: QueueOffset) {
        let (group, topic, queue) = &place;
        let topics = self.groups.entry(group.clone()).or_default();
        let offsets = topics.entry(topic.clone()).or_default();
        if offsets.is_empty() {
            self.by_topic.entry(topic.clone()).or_default().insert(group.clone());
        }
        offsets.insert(*queue, offset);
        self.changed.insert(place);
        self.touch();
    }

    /// Sets an offset against what consumers may still commit. False if the table is full.
    pub(crate) fn reset(&mut self, group: &str, topic: &str, queue: QueueId, offset: QueueOffset) -> bool {
        let stored = self.commit(group, topic, queue, offset);
        if stored {
            let topics = self.resets.entry(GroupName::from(group)).or_default();
            topics.entry(TopicName::from(topic)).or_default().insert(queue);
            self.moved_back.insert((GroupName::from(group), TopicName::from(topic), queue));
        }
        stored
    }

    /// Queues of groups whose offset was made less, set or removed since this was asked last.
    pub(super) fn take_set_back(&mut self) -> BTreeSet<GroupQueue> {
        std::mem::take(&mut self.moved_back)
    }

    /// Whether the offset was set, and the group has not asked for messages since.
    #[must_use]
    pub(crate) fn is_reset(&self, group: &str, topic: &str, queue: QueueId) -> bool {
        let queues = self.resets.get(group).and_then(|topics| topics.get(topic));
        queues.is_some_and(|queues| queues.contains(&queue))
    }

    /// The offset that was set, for a group that asks for messages: it is told, and its commits count again.
    pub(crate) fn take_reset(&mut self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        let topics = self.resets.get_mut(group)?;
        let queues = topics.get_mut(topic)?;
        if !queues.remove(&queue) {
            return None;
        }
        if queues.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.resets.remove(group);
        }
        self.get(group, topic, queue)
    }

    /// Stores a commit that a consumer made on a slave. It is kept until the master has it: see [`CommittedOffsets::take_part`].
    pub(crate) fn commit_on_slave(&mut self, group: &str, topic: &str, queue: QueueId, offset: QueueOffset) -> bool {
        let stored = self.commit(group, topic, queue, offset);
        if stored {
            let place = (GroupName::from(group), TopicName::from(topic), queue);
            self.told.remove(&place);
            if self.kept.insert(place.clone()) {
                self.changed.insert(place);
                self.dirty = true;
            }
        }
        stored
    }

    /// Takes over what the master has behind one pair of group and topic up to another. What is further here stays and is returned, to be given back: all
    /// of it, if nothing was set back at the master since its tables were told last, for then the master has lost it; else only what consumers committed
    /// here while the master was away, for what was set back there is set back here.
    pub(crate) fn take_part(
        &mut self,
        behind: Option<&Pair>,
        until: Option<&Pair>,
        part: &body::ConsumerOffsets,
    ) -> Vec<OffsetCommit> {
        let has_only_grown = part.set_back == Some(self.set_back);
        let is_gone = |(group, topic): &Pair| !part.offsets.contains_key(&(topic.clone(), group.clone()));
        let gone: Vec<Pair> = self.pairs(behind, until).filter(is_gone).collect();
        let mut given = Vec::new();
        for pair in gone {
            self.take_pair(&pair, &Offsets::new(), has_only_grown, &mut given);
        }
        for ((topic, group), theirs) in &part.offsets {
            self.take_pair(&(group.clone(), topic.clone()), theirs, has_only_grown, &mut given);
        }
        given
    }

    /// Pairs behind one up to another.
    fn pairs(&self, behind: Option<&Pair>, until: Option<&Pair>) -> impl Iterator<Item = Pair> {
        let from = behind.map_or(Bound::Unbounded, |(group, _)| Bound::Included(group));
        let to = until.map_or(Bound::Unbounded, |(group, _)| Bound::Included(group));
        let groups = self.groups.range::<GroupName, _>((from, to));
        let pairs = groups.flat_map(|(group, topics)| topics.keys().map(move |topic| (group.clone(), topic.clone())));
        pairs.filter(move |pair| behind.is_none_or(|behind| pair > behind) && until.is_none_or(|until| pair <= until))
    }

    fn take_pair(&mut self, pair: &Pair, theirs: &Offsets, has_only_grown: bool, given: &mut Vec<OffsetCommit>) {
        let (group, topic) = pair;
        let ours = self.of_topic(group.as_str(), topic.as_str()).cloned().unwrap_or_default();
        let mut offsets = theirs.clone();
        let mut ahead = BTreeSet::new();
        for (queue, offset) in &ours {
            if theirs.get(queue).is_some_and(|theirs| offset <= theirs) {
                continue;
            }
            let place = (group.clone(), topic.clone(), *queue);
            if has_only_grown || self.is_to_be_given(&place) {
                offsets.insert(*queue, *offset);
                ahead.insert(*queue);
                let (group, topic, queue) = place;
                given.push(OffsetCommit { group, topic, queue, offset: *offset });
            }
        }
        if ours.keys().any(|queue| !offsets.contains_key(queue)) {
            // What is left of a pair is said again behind its removal.
            self.forget_pair(pair);
        }
        for (queue, offset) in offsets {
            let place = (group.clone(), topic.clone(), queue);
            self.take_one(&place, offset);
            self.set_kept(place, ahead.contains(&queue));
        }
    }

    /// Takes over what has changed at the master since its tables were told, in the order of the changes.
    pub(crate) fn take_changed(&mut self, changed: &body::ConsumerOffsets, removed: &[(TopicName, GroupName)]) {
        for (topic, group) in removed {
            self.forget_pair(&(group.clone(), topic.clone()));
        }
        for ((topic, group), queues) in &changed.offsets {
            for (queue, offset) in queues {
                let place = (group.clone(), topic.clone(), *queue);
                let ours = self.get(group.as_str(), topic.as_str(), *queue);
                if self.is_to_be_given(&place) && ours.is_some_and(|ours| ours > *offset) {
                    continue;
                }
                self.take_one(&place, *offset);
                self.set_kept(place, false);
            }
        }
        if let Some(set_back) = changed.set_back {
            self.follow_set_back(set_back);
        }
    }

    /// Offsets are those of a master that was set back last so.
    pub(crate) fn follow_set_back(&mut self, set_back: SetBack) {
        self.dirty |= std::mem::replace(&mut self.set_back, set_back) != set_back;
    }

    /// What the master lacks, so many commits at most.
    pub(crate) fn to_give_back(&self, most: usize) -> Vec<OffsetCommit> {
        let places = self.kept.difference(&self.told).take(most);
        let commits = places.filter_map(|(group, topic, queue)| {
            let offset = self.get(group.as_str(), topic.as_str(), *queue)?;
            Some(OffsetCommit { group: group.clone(), topic: topic.clone(), queue: *queue, offset })
        });
        commits.collect()
    }

    fn is_to_be_given(&self, place: &GroupQueue) -> bool {
        self.kept.contains(place) && !self.told.contains(place)
    }

    /// Stores an offset of the master's, also a smaller one, if there is room.
    fn take_one(&mut self, place: &GroupQueue, offset: QueueOffset) {
        let (group, topic, queue) = place;
        match self.get(group.as_str(), topic.as_str(), *queue) {
            Some(ours) if ours == offset => return,
            Some(_) => {}
            None if self.count >= OFFSETS_MAX => return,
            None => self.count += 1,
        }
        self.set(place.clone(), offset);
    }

    fn set_kept(&mut self, place: GroupQueue, is_kept: bool) {
        self.told.remove(&place);
        let is_other = if is_kept { self.kept.insert(place.clone()) } else { self.kept.remove(&place) };
        if is_other {
            self.changed.insert(place);
            self.dirty = true;
        }
    }

    fn forget_pair(&mut self, pair: &Pair) {
        let (group, topic) = pair;
        if self.of_topic(group.as_str(), topic.as_str()).is_none() {
            return;
        }
        if let Some(groups) = self.by_topic.get_mut(topic) {
            groups.remove(group);
            if groups.is_empty() {
                self.by_topic.remove(topic);
            }
        }
        self.remove_pair(group.clone(), topic.clone());
        self.touch();
    }

    /// What a master that starts is told: all that consumers committed here while it was away.
    pub(crate) fn tell_kept(&mut self) -> body::OffsetTable {
        self.told = self.kept.clone();
        self.kept_table()
    }

    fn touch(&mut self) {
        self.dirty = true;
    }

    /// The master has these now.
    pub(crate) fn given_back(&mut self, commits: &[OffsetCommit]) {
        for commit in commits {
            // What was committed here since then is still to be given.
            if self.get(commit.group.as_str(), commit.topic.as_str(), commit.queue) == Some(commit.offset) {
                let place = (commit.group.clone(), commit.topic.clone(), commit.queue);
                if self.kept.remove(&place) {
                    self.changed.insert(place);
                    self.dirty = true;
                }
            }
        }
    }

    /// Takes what a replica kept while this master was away, where it is further. How many offsets that moved.
    pub(crate) fn take_further(&mut self, table: &body::OffsetTable) -> usize {
        let mut moved = 0_usize;
        for ((topic, group), queues) in table {
            let (topic, group) = (topic.as_str(), group.as_str());
            for (queue, offset) in queues {
                let is_further = self.get(group, topic, *queue).is_none_or(|own| own < *offset);
                moved += usize::from(is_further && self.commit(group, topic, *queue, *offset));
            }
        }
        moved
    }

    /// Brings offsets down to the ends of their queues. How many lay beyond.
    pub(super) fn lower(&mut self, end_of: impl Fn(&str, QueueId) -> QueueOffset) -> usize {
        let mut lowered = 0_usize;
        let topics = self.groups.iter_mut().flat_map(|(group, topics)| topics.iter_mut().map(move |of| (group, of)));
        for (group, (topic, offsets)) in topics {
            for (queue, offset) in offsets {
                let end = end_of(topic.as_str(), *queue);
                if *offset > end {
                    *offset = end;
                    self.changed.insert((group.clone(), topic.clone(), *queue));
                    lowered += 1;
                }
            }
        }
        if lowered > 0 {
            self.note_set_back();
            self.touch();
        }
        lowered
    }

    /// Topics of which the group has committed offsets.
    pub(crate) fn topics_of<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a TopicName> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// Groups that have committed offsets of the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> impl Iterator<Item = &GroupName> {
        self.by_topic.get(topic).into_iter().flatten()
    }

    /// What a group has committed of a topic, by queue.
    pub(crate) fn of_topic(&self, group: &str, topic: &str) -> Option<&Offsets> {
        self.groups.get(group)?.get(topic)
    }

    /// Takes over what the store's file holds. A master has nothing to give back.
    pub(super) fn load(&mut self, table: &body::ConsumerOffsets, is_slave: bool) {
        self.fill(table);
        self.set_back = table.set_back.unwrap_or_default();
        (self.written_set_back, self.flushed_set_back) = (self.set_back, self.set_back);
        self.changed = Unwritten::default();
        let kept = table.kept.iter().flat_map(|((topic, group), queues)| {
            queues.keys().map(move |queue| (group.clone(), topic.clone(), *queue))
        });
        let kept = kept.filter(|(group, topic, queue)| {
            let pair = (topic.clone(), group.clone());
            table.offsets.get(&pair).is_some_and(|queues| queues.contains_key(queue))
        });
        if is_slave {
            self.kept.extend(kept);
        } else {
            kept.for_each(|place| self.changed.insert(place));
        }
        self.dirty = !self.changed.is_taken();
    }

    /// What has changed and is to be written, so many queues at most, and whether that is all.
    pub(super) fn take_changes(&mut self, most: usize) -> (TableChange, bool) {
        let removed = self.removed.take(usize::MAX);
        let mut table = body::ConsumerOffsets::default();
        for place in self.changed.take(most) {
            let is_kept = self.kept.contains(&place);
            let (group, topic, queue) = place;
            let Some(offset) = self.get(group.as_str(), topic.as_str(), queue) else { continue };
            let pair = (topic, group);
            if is_kept {
                table.kept.entry(pair.clone()).or_default().insert(queue, offset);
            }
            table.offsets.entry(pair).or_default().insert(queue, offset);
        }
        let is_all = self.changed.is_taken();
        if is_all {
            // Before the last part, offsets that were set back may be missing: who says that there was such a change must have them.
            self.written_set_back = self.set_back;
        }
        table.set_back = Some(self.written_set_back);
        (TableChange::ConsumerOffsets(table, removed), is_all)
    }

    /// All changes that were taken are on the disk.
    pub(super) fn are_flushed(&mut self) {
        self.changed.is_flushed();
        self.removed.is_flushed();
        self.flushed_set_back = self.written_set_back;
    }

    /// What was taken and is not on the disk is to be written again.
    pub(super) fn put_back(&mut self) {
        self.changed.put_back();
        self.removed.put_back();
        self.written_set_back = self.flushed_set_back;
    }

    /// How many queues wait to be written.
    #[cfg(test)]
    pub(super) fn unwritten(&self) -> usize {
        self.changed.len()
    }

    /// How many topics of groups are gone and not so in the store.
    pub(super) fn pairs_gone(&self) -> usize {
        self.removed.len()
    }

    /// The table without its offsets, but for those that are kept.
    pub(super) fn frame(&self) -> body::ConsumerOffsets {
        body::ConsumerOffsets { kept: self.kept_table(), set_back: Some(self.written_set_back), ..Default::default() }
    }

    /// The offsets of some topics of groups, behind this one, with so many queues and one topic more at most; and how far that is, `None` at the end.
    pub(super) fn part(&self, behind: Option<&Pair>, most: usize) -> (body::ConsumerOffsets, Option<Pair>) {
        let mut table = body::ConsumerOffsets { set_back: Some(self.set_back), ..Default::default() };
        let mut count = 0_usize;
        let from = behind.map_or(Bound::Unbounded, |(group, _)| Bound::Included(group));
        for (group, topics) in self.groups.range::<GroupName, _>((from, Bound::Unbounded)) {
            let from = behind.filter(|(last, _)| last == group);
            let from = from.map_or(Bound::Unbounded, |(_, topic)| Bound::Excluded(topic));
            for (topic, offsets) in topics.range::<TopicName, _>((from, Bound::Unbounded)) {
                table.offsets.insert((topic.clone(), group.clone()), offsets.clone());
                count += offsets.len();
                if count >= most {
                    return (table, Some((group.clone(), topic.clone())));
                }
            }
        }
        (table, None)
    }

    /// Offsets are set back in this reign from now on.
    pub(super) fn begin_reign(&mut self, reign: ReignId) {
        self.reign = reign;
    }

    /// An offset speaks of what this log has lost: whoever has it is to take what is stored here.
    pub(super) fn note_lost(&mut self) {
        self.note_set_back();
        self.touch();
    }

    fn note_set_back(&mut self) {
        self.set_back = SetBack { count: self.set_back.count.saturating_add(1), reign: self.reign };
    }

    fn fill(&mut self, table: &body::ConsumerOffsets) {
        for ((topic, group), queues) in &table.offsets {
            for (queue, offset) in queues {
                self.commit(group.as_str(), topic.as_str(), *queue, *offset);
            }
        }
    }

    /// The newest change that made offsets less.
    pub(super) fn set_back(&self) -> SetBack {
        self.set_back
    }

    /// The same, of those changes that are in the store or on their way.
    pub(super) fn written_set_back(&self) -> SetBack {
        self.written_set_back
    }

    /// The table as the store's file holds it.
    pub(super) fn table(&self) -> body::ConsumerOffsets {
        let (kept, set_back) = (self.kept_table(), Some(self.set_back));
        let mut table = body::ConsumerOffsets { kept, set_back, ..body::ConsumerOffsets::default() };
        for (group, topics) in &self.groups {
            for (topic, offsets) in topics {
                table.offsets.insert((topic.clone(), group.clone()), offsets.clone());
            }
        }
        table
    }

    /// What consumers committed here and the master does not have yet.
    pub(super) fn kept_table(&self) -> body::OffsetTable {
        let mut table = body::OffsetTable::new();
        for (group, topic, queue) in &self.kept {
            if let Some(offset) = self.get(group.as_str(), topic.as_str(), *queue) {
                table.entry((topic.clone(), group.clone())).or_default().insert(*queue, offset);
            }
        }
        table
    }

    /// Forgets the offsets of a topic that is deleted.
    pub(crate) fn remove_topic(&mut self, topic: &str) {
        let Some((topic, groups)) = self.by_topic.remove_entry(topic) else { return };
        for group in groups {
            self.remove_pair(group, topic.clone());
        }
        self.note_set_back();
        self.touch();
    }

    /// How many offsets there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is room for so many offsets more.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.count.saturating_add(more) <= OFFSETS_MAX
    }

    /// Lets a group go on where another one stands in a topic: what it had of it before is gone. Nothing changes if the other has no offset there.
    /// The caller has asked for room ([`Self::has_room`]).
    pub(crate) fn clone_topic(&mut self, from: &str, to: &str, topic: &str) {
        let Some(offsets) = self.of_topic(from, topic).cloned() else { return };
        let has = self.of_topic(to, topic).map_or(0, Offsets::len);
        let (group, topic) = (GroupName::from(to), TopicName::from(topic));
        if has > 0 {
            self.remove_pair(group.clone(), topic.clone());
            self.note_set_back();
        }
        self.count += offsets.len();
        for (queue, offset) in offsets {
            self.set((group.clone(), topic.clone(), queue), offset);
        }
    }

    /// Forgets the offsets of a group that is deleted.
    pub(crate) fn remove_group(&mut self, group: &str) {
        let Some((group, topics)) = self.groups.get_key_value(group) else { return };
        let (group, topics): (GroupName, Vec<TopicName>) = (group.clone(), topics.keys().cloned().collect());
        for topic in topics {
            let groups = self.by_topic.entry(topic.clone()).or_default();
            groups.remove(&group);
            if groups.is_empty() {
                self.by_topic.remove(&topic);
            }
            self.remove_pair(group.clone(), topic);
        }
        self.note_set_back();
        self.touch();
    }

    fn remove_pair(&mut self, group: GroupName, topic: TopicName) {
        let Some(topics) = self.groups.get_mut(&group) else { return };
        let queues = topics.remove(&topic).unwrap_or_default();
        if topics.is_empty() {
            self.groups.remove(&group);
        }
        self.count -= queues.len();
        for queue in queues.into_keys() {
            let place = (group.clone(), topic.clone(), queue);
            self.kept.remove(&place);
            self.told.remove(&place);
            self.changed.remove(&place);
            self.moved_back.insert(place);
        }
        if let Some(topics) = self.resets.get_mut(&group) {
            topics.remove(&topic);
            if topics.is_empty() {
                self.resets.remove(&group);
            }
        }
        self.removed.insert((topic, group));
    }

    /// Whether there are changes to write.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether there are changes to write; from now on they count as written.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_move_both_ways_and_are_written_once() {
        let mut offsets = CommittedOffsets::default();
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
        let mut offsets = CommittedOffsets::default();
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

    #[test]
    fn a_clone_stands_where_the_other_stands() {
        let mut offsets = CommittedOffsets::default();
        for (queue, offset) in [(0, 7), (1, 9)] {
            offsets.commit("a", "t", QueueId(queue), QueueOffset(offset));
        }
        offsets.reset("g", "t", QueueId(2), QueueOffset(4));
        offsets.clone_topic("a", "g", "t");
        offsets.clone_topic("nobody", "g", "t");
        assert_eq!(shown(&offsets), [(0, 7), (1, 9)], "and nowhere else");
        assert!(!offsets.is_reset("g", "t", QueueId(2)) && offsets.count == 4);
        assert_eq!(offsets.groups_of("t").count(), 2);
        let mut stored = crate::protocol::body::StoredTables::default();
        stored.apply(offsets.take_changes(100).0);
        let stored = stored.offsets.expect("offsets were changed");
        assert_eq!(stored.offsets[&("t".into(), "g".into())].len(), 2, "a start finds no third one");
        offsets.clone_topic("a", "a", "t");
        assert_eq!(offsets.of_topic("a", "t").map(Offsets::len), Some(2), "to itself");
    }

    #[test]
    fn what_an_operator_sets_stays_until_the_group_asks() {
        let mut offsets = CommittedOffsets::default();
        for queue in 0..2 {
            assert!(offsets.reset("g", "t", QueueId(queue), QueueOffset(4)));
        }
        assert!(offsets.is_reset("g", "t", QueueId(0)) && !offsets.is_reset("h", "t", QueueId(0)));
        assert_eq!(offsets.take_reset("g", "t", QueueId(2)), None);
        assert_eq!(offsets.take_reset("g", "t", QueueId(0)), Some(QueueOffset(4)));
        assert_eq!(offsets.take_reset("g", "t", QueueId(0)), None, "told once");
        offsets.remove_topic("t");
        assert!(offsets.resets.is_empty() && offsets.get("g", "t", QueueId(1)).is_none());
        assert!(offsets.reset("g", "t", QueueId(0), QueueOffset(4)));
        offsets.remove_group("g");
        assert!(offsets.resets.is_empty());
    }

    fn told(offsets: &[(u32, u64)]) -> body::ConsumerOffsets {
        let queues = offsets.iter().map(|(queue, offset)| (QueueId(*queue), QueueOffset(*offset))).collect();
        let table = [((TopicName::from("t"), GroupName::from("g")), queues)].into();
        body::ConsumerOffsets { offsets: table, ..body::ConsumerOffsets::default() }
    }

    fn take_whole(offsets: &mut CommittedOffsets, table: &body::ConsumerOffsets) -> Vec<OffsetCommit> {
        let given = offsets.take_part(None, None, table);
        offsets.follow_set_back(table.set_back.unwrap_or_default());
        given
    }

    fn shown(offsets: &CommittedOffsets) -> Vec<(u32, u64)> {
        let of_topic = offsets.of_topic("g", "t").cloned().unwrap_or_default();
        of_topic.into_iter().map(|(queue, offset)| (queue.0, offset.0)).collect()
    }

    #[test]
    fn a_slave_takes_its_masters_offsets_as_they_are() {
        let mut offsets = CommittedOffsets::default();
        assert!(take_whole(&mut offsets, &told(&[(0, 10), (1, 5)])).is_empty());
        assert!(offsets.take_dirty());
        assert!(take_whole(&mut offsets, &told(&[(0, 10), (1, 5)])).is_empty());
        assert!(!offsets.take_dirty(), "nothing has changed");
        assert!(take_whole(&mut offsets, &told(&[(0, 3)])).is_empty());
        assert_eq!(shown(&offsets), [(0, 3)], "set back by an operator, and one deleted");
    }

    #[test]
    fn commits_on_a_slave_stay_until_the_master_has_them() {
        let mut offsets = CommittedOffsets::default();
        take_whole(&mut offsets, &told(&[(0, 10), (1, 5), (2, 7)]));
        for (queue, offset) in [(0, 20), (1, 6), (3, 1)] {
            assert!(offsets.commit_on_slave("g", "t", QueueId(queue), QueueOffset(offset)));
        }
        // The master returns; in one queue its consumers were further.
        let given = take_whole(&mut offsets, &told(&[(0, 10), (1, 8), (2, 7)]));
        assert_eq!(shown(&offsets), [(0, 20), (1, 8), (2, 7), (3, 1)]);
        assert_eq!(given.iter().map(|c| (c.queue.0, c.offset.0)).collect::<Vec<_>>(), [(0, 20), (3, 1)]);
        let stored = offsets.table();
        let mut restarted = CommittedOffsets::default();
        restarted.load(&stored, true);
        assert_eq!(restarted.kept_table(), offsets.kept_table(), "a restart of the slave does not forget them");
        // Before the master has answered, one of them moves on.
        offsets.commit_on_slave("g", "t", QueueId(0), QueueOffset(21));
        offsets.given_back(&given);
        let given = take_whole(&mut offsets, &told(&[(0, 20), (1, 8), (2, 7), (3, 1)]));
        assert_eq!(given.iter().map(|c| (c.queue.0, c.offset.0)).collect::<Vec<_>>(), [(0, 21)]);
        offsets.given_back(&given);
        // From now on the master's word counts again, also backwards.
        assert!(take_whole(&mut offsets, &told(&[(0, 0), (1, 0), (2, 0), (3, 0)])).is_empty());
        assert_eq!(shown(&offsets), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn what_a_master_was_told_is_its_own_from_then_on() {
        let mut offsets = CommittedOffsets::default();
        take_whole(&mut offsets, &told(&[(0, 10), (1, 10)]));
        for queue in 0..2 {
            offsets.commit_on_slave("g", "t", QueueId(queue), QueueOffset(20));
        }
        assert_eq!(offsets.tell_kept().values().map(BTreeMap::len).sum::<usize>(), 2);
        offsets.commit_on_slave("g", "t", QueueId(1), QueueOffset(25));
        // It has taken both, and an operator has set both back at once.
        let given = take_whole(&mut offsets, &told(&[(0, 3), (1, 3)]));
        assert_eq!(given.iter().map(|c| (c.queue.0, c.offset.0)).collect::<Vec<_>>(), [(1, 25)], "committed since");
        assert_eq!(shown(&offsets), [(0, 3), (1, 25)]);
    }

    /// The table of a ringmq master in which offsets were set back so often.
    fn told_by_ringmq(offsets: &[(u32, u64)], count: u64) -> body::ConsumerOffsets {
        body::ConsumerOffsets { set_back: Some(SetBack { count, reign: ReignId(9) }), ..told(offsets) }
    }

    #[test]
    fn a_master_with_less_has_lost_it_unless_it_was_set_back() {
        let mut offsets = CommittedOffsets::default();
        assert!(take_whole(&mut offsets, &told_by_ringmq(&[(0, 10), (1, 5)], 3)).is_empty());
        // It was killed before it had written the newest commits.
        let given = take_whole(&mut offsets, &told_by_ringmq(&[(0, 8)], 3));
        assert_eq!(given.iter().map(|c| (c.queue.0, c.offset.0)).collect::<Vec<_>>(), [(0, 10), (1, 5)]);
        assert_eq!(shown(&offsets), [(0, 10), (1, 5)]);
        // It has taken them, and is killed again before it has written them.
        offsets.given_back(&given);
        assert_eq!(take_whole(&mut offsets, &told_by_ringmq(&[(0, 8)], 3)), given);
        offsets.given_back(&given);
        assert!(take_whole(&mut offsets, &told_by_ringmq(&[(0, 4)], 4)).is_empty());
        assert_eq!(shown(&offsets), [(0, 4)], "an operator has set one back, and deleted the other");
    }

    #[test]
    fn a_slave_takes_parts_and_then_what_has_changed() {
        let (mut master, mut slave) = (CommittedOffsets::default(), CommittedOffsets::default());
        master.begin_reign(ReignId(7));
        let set = |offsets: &mut CommittedOffsets, at: u32, offset| {
            let (group, topic) = (format!("g{}", at % 13), format!("t{}", at % 7));
            assert!(offsets.commit(&group, &topic, QueueId(at % 3), QueueOffset(offset)));
        };
        for at in 0..1_000 {
            set(&mut master, at, 100);
            set(&mut slave, at * 5, 100);
        }
        assert!(
            slave.commit("h", "t1", QueueId(0), QueueOffset(1)) && slave.commit("g1", "u", QueueId(0), QueueOffset(1))
        );
        let told_set_back = master.written_set_back();
        let (mut behind, mut parts) = (None, 0);
        loop {
            let (part, next) = master.part(behind.as_ref(), 8);
            // Some of it changes meanwhile, in what was told and in what was not.
            set(&mut master, parts * 31, 90);
            assert_eq!(slave.take_part(behind.as_ref(), next.as_ref(), &part), []);
            parts += 1;
            behind = next;
            if behind.is_none() {
                break;
            }
        }
        slave.follow_set_back(told_set_back);
        master.remove_topic("t3");
        loop {
            let (TableChange::ConsumerOffsets(changed, removed), is_all) = master.take_changes(16) else {
                panic!("offsets")
            };
            slave.take_changed(&changed, &removed);
            if is_all {
                break;
            }
        }
        assert!(parts > 10 && master.table().offsets == slave.table().offsets);
        assert_eq!((slave.set_back, slave.count), (master.set_back, master.count));
        assert_eq!(slave.groups_of("t3").count() + slave.groups_of("u").count() + slave.topics_of("h").count(), 0);
    }

    #[test]
    fn whatever_makes_offsets_less_is_a_set_back() {
        let mut offsets = CommittedOffsets::default();
        offsets.begin_reign(ReignId(7));
        let count = |offsets: &CommittedOffsets| offsets.table().set_back.map(|last| (last.count, last.reign.0));
        for offset in [3, 3, 9] {
            offsets.commit("g", "t", QueueId(0), QueueOffset(offset));
        }
        assert_eq!(count(&offsets), Some((0, 0)));
        offsets.commit("g", "t", QueueId(0), QueueOffset(8));
        assert_eq!(count(&offsets), Some((1, 7)));
        offsets.lower(|_, _| QueueOffset(8));
        assert_eq!(count(&offsets), Some((1, 7)), "nothing lies beyond");
        offsets.lower(|_, _| QueueOffset(7));
        offsets.remove_group("g");
        offsets.remove_group("g");
        offsets.commit("g", "t", QueueId(0), QueueOffset(1));
        offsets.remove_topic("t");
        assert_eq!(count(&offsets), Some((4, 7)));
        let mut restarted = CommittedOffsets::default();
        restarted.load(&offsets.table(), false);
        assert_eq!(count(&restarted), Some((4, 7)));
    }

    #[test]
    fn a_master_that_returns_takes_what_is_further() {
        let mut offsets = CommittedOffsets::default();
        offsets.load(&told(&[(0, 10), (1, 5)]), false);
        assert_eq!(offsets.take_further(&told(&[(0, 8), (1, 6), (2, 1)]).offsets), 2);
        assert_eq!(shown(&offsets), [(0, 10), (1, 6), (2, 1)]);
        assert!(offsets.kept_table().is_empty());
    }
}
