//! What follows from a record: the entry of its queue, its keys, its store time, the removal of a topic.
//!
//! A start replays the log through here and a slave stores its master's records through here, so that both come to the same. A master's own
//! append has all of it in its draft; what an entry says it asks here as well.

use super::background::REMOVAL_TOPIC;
use super::commit_log::push_entry;
use super::consume_queue::{BlockSizes, ConsumeQueues, Entry, QueueIndex};
use super::index_file::IndexFiles;
use super::key_index::KeyIndex;
use super::segment::Segments;
use crate::limits::{BATCH_MESSAGES_MAX, LIGHT_QUEUES_MAX};
use crate::model::{QueueId, QueueOffset, UnixMs};
use crate::protocol::message::{
    DelayLevels, LIGHT_QUEUE, SCHEDULE_TOPIC, WHEEL_TOPIC, WheelCode, allows_light, is_light, light_places,
    may_await_light, sys_flag,
};
use crate::protocol::record::{self, Marks, RecordView, java_hash};

/// What is derived from a log, borrowed from whoever has it.
pub(super) struct Derived<'a> {
    pub(super) segments: &'a mut Segments,
    pub(super) queues: &'a mut ConsumeQueues,
    pub(super) keys: &'a mut KeyIndex,
    pub(super) index: &'a mut IndexFiles,
    pub(super) block_sizes: BlockSizes,
    pub(super) delay_levels: &'a DelayLevels,
    /// As [`super::LogSettings::has_light`].
    pub(super) has_light: bool,
}

/// What a record has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that can be read from a queue.
    None,
    /// Its queue has grown.
    Queued(Grown),
    /// Its queue has, or none, and light ones.
    Several(Vec<Grown>),
    /// A topic was removed: these queues are empty now.
    Removed(Vec<QueueIndex>),
}

/// A queue has so many entries more; more than one for an inner batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) queue: QueueIndex,
    pub(super) count: u32,
    /// It was emptied first: it did not go on where it ended.
    pub(super) is_restarted: bool,
}

/// A record does not go on where its queue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueGap {
    pub(super) expected: QueueOffset,
    pub(super) found: QueueOffset,
}

impl Derived<'_> {
    /// Derives what follows from one record; nothing has changed if there is a gap. Full runs of keys are for the caller to close.
    ///
    /// A queue of RocketMQ's own brokers may begin anew: its topic was removed and made again, and their log has no record of that. So records
    /// without a CRC property, which are theirs, may do so. In a log of ours it would be a gap. A light queue may always: what a record says of it,
    /// brokers that know none have taken from their clients.
    pub(super) fn derive(&mut self, view: &RecordView<'_>) -> Result<Change, QueueGap> {
        let at = view.log_offset;
        if view.topic == REMOVAL_TOPIC {
            self.segments.note_record(at, view.store_timestamp, view.has_crc(), view.bytes);
            return Ok(
                removed_topic(view).map_or(Change::None, |topic| Change::Removed(self.queues.remove_topic(topic, at)))
            );
        }
        let queue_index = self.queues.find_or_create(view.topic, view.queue_id);
        let queue = self.queues.get(queue_index);
        let is_new = view.is_queued() && at >= queue.as_of;
        let expected = queue.next();
        if is_new && queue.is_based && view.queue_offset != expected && view.has_crc() {
            return Err(QueueGap { expected, found: view.queue_offset });
        }
        self.segments.note_record(at, view.store_timestamp, view.has_crc(), view.bytes);
        let marks = Marks::of(view.properties);
        if at >= self.keys.as_of {
            self.keys.push(queue.key_seed, &marks.keys, at, UnixMs(view.store_timestamp));
        }
        if self.has_light && may_await_light(view.topic) {
            self.queues.reserve_light(view.topic, view.properties, at.plus(u64::from(view.size)));
        }
        let is_light = is_in_light(view.topic, view.sys_flag, &marks);
        if !is_new && !is_light {
            return Ok(Change::None);
        }
        let (entry, count) = entry_of(view, &marks, self.delay_levels);
        let grown = is_new.then(|| self.grow(queue_index, view.queue_offset, entry, count));
        if !is_light {
            return Ok(grown.map_or(Change::None, Change::Queued));
        }
        let mut all: Vec<Grown> = grown.into_iter().collect();
        for (name, offset) in light_places(view.topic, view.properties) {
            if let Some(queue) = self.light_queue(name).filter(|queue| at >= self.queues.get(*queue).as_of) {
                all.push(self.grow(queue, offset, entry, 1));
            }
        }
        Ok(Change::Several(all))
    }

    /// A light queue that a record names, unless there are so many that it cannot be one of ours.
    fn light_queue(&mut self, name: &str) -> Option<QueueIndex> {
        if self.queues.light < LIGHT_QUEUES_MAX {
            return Some(self.queues.find_or_create(name, LIGHT_QUEUE));
        }
        let found = self.queues.find(name, LIGHT_QUEUE);
        if found.is_none() && !std::mem::replace(&mut self.queues.has_told_full, true) {
            tracing::warn!(
                name,
                "this log has {LIGHT_QUEUES_MAX} light queues: messages are not put into further ones"
            );
        }
        found
    }

    /// Adds the entries of a record that is at this offset of a queue.
    fn grow(&mut self, queue: QueueIndex, offset: QueueOffset, entry: Entry, count: u32) -> Grown {
        let known = self.queues.get(queue);
        let is_restarted = known.is_based && known.next() != offset;
        if !known.is_based || is_restarted {
            // The first that is left of this queue, or that was made of it.
            self.queues.begin_at(queue, offset, entry.log_offset);
        }
        for _ in 0..count {
            push_entry(self.queues, self.index, self.block_sizes, queue, entry);
        }
        Grown { queue, count, is_restarted }
    }
}

/// Whether a record of this topic is in light queues as well, those that [`light_places`] tells. A batch that is stored whole is in none, as with RocketMQ.
#[inline]
pub(super) fn is_in_light(topic: &str, sys_flag: i32, marks: &Marks<'_>) -> bool {
    marks.is_in_light
        && marks.wants_light
        && record::is_queued(sys_flag)
        && sys_flag & sys_flag::INNER_BATCH == 0
        && allows_light(topic)
}

/// The entries of a queue that lead to a record: the offset of the first, what each says, and how many there are.
pub(super) fn entries_in(
    view: &RecordView<'_>,
    (topic, queue_id): (&str, QueueId),
    levels: &DelayLevels,
) -> Option<(QueueOffset, Entry, u32)> {
    if !view.is_queued() {
        return None;
    }
    let is_its_own = view.topic == topic && view.queue_id == queue_id;
    if !is_its_own && (queue_id != LIGHT_QUEUE || !is_light(topic)) {
        return None;
    }
    let marks = Marks::of(view.properties);
    let (entry, count) = entry_of(view, &marks, levels);
    if is_its_own {
        return Some((view.queue_offset, entry, count));
    }
    if !is_in_light(view.topic, view.sys_flag, &marks) {
        return None;
    }
    let places = light_places(view.topic, view.properties);
    places.iter().find(|(name, _)| *name == topic).map(|(_, offset)| (*offset, entry, 1))
}

/// The topic whose removal a record says.
pub(super) fn removed_topic<'a>(view: &RecordView<'a>) -> Option<&'a str> {
    std::str::from_utf8(view.body).ok().filter(|_| view.topic == REMOVAL_TOPIC)
}

/// The entry of a record, and how many offsets of its own queue it takes.
fn entry_of(view: &RecordView<'_>, marks: &Marks<'_>, levels: &DelayLevels) -> (Entry, u32) {
    let tag_code = tag_code(view.topic, view.store_timestamp, marks, levels);
    let count = message_count(view.sys_flag, marks.inner_count);
    (Entry { log_offset: view.log_offset, size: view.size, tag_code }, count)
}

/// How many messages a record holds: as many offsets of its queue it takes, each with an entry that leads to the whole of it. `inner_count`: what
/// its properties say. Source: RocketMQ `CommitLog.getMessageNum`.
#[inline]
pub(super) fn message_count(sys_flag: i32, inner_count: Option<u32>) -> u32 {
    if sys_flag & sys_flag::INNER_BATCH == 0 { 1 } else { inner_count.unwrap_or_default().clamp(1, INNER_COUNT_MAX) }
}

/// What the index entry of a record says beside its place: Java's hash of the tag, as consumers filter by it, 0 without one; in the scheduled
/// topic the time at which the message is due, Unix ms; in that of timers a [`WheelCode`]. Everything that makes an entry asks here, so that master,
/// slave and restart agree.
/// Source: RocketMQ `CommitLog.checkMessageAndReturnSize`.
#[inline]
pub(super) fn tag_code(topic: &str, store_timestamp: i64, marks: &Marks<'_>, levels: &DelayLevels) -> i64 {
    if marks.delay_level > 0
        && topic == SCHEDULE_TOPIC
        && let Some(due) = levels.due(marks.delay_level, store_timestamp)
    {
        return due;
    }
    if topic == WHEEL_TOPIC {
        return WheelCode::of(marks).0;
    }
    marks.tag.map_or(0, |tag| i64::from(java_hash(0, tag)))
}

#[expect(clippy::cast_possible_truncation, reason = "a constant below 2^32")]
const INNER_COUNT_MAX: u32 = BATCH_MESSAGES_MAX as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduled_message_s_code_is_its_due_time_and_any_other_s_its_tag() {
        let levels = DelayLevels::parse("1s 10s").unwrap();
        let check = |topic: &str, properties: &str, expected: i64| {
            let marks = Marks::of(properties.as_bytes());
            assert_eq!(tag_code(topic, 1_000_000, &marks, &levels), expected, "{topic} {properties}");
        };
        check("T", "", 0);
        check("T", "TAGS\x01A\x02", 65);
        check("T", "TAGS\x01polygenelubricants\x02", i64::from(i32::MIN));
        check("T", "TAGS\x01A\x02DELAY\x012\x02", 65);
        check(SCHEDULE_TOPIC, "TAGS\x01A\x02DELAY\x011\x02", 1_001_000);
        check(SCHEDULE_TOPIC, "DELAY\x0199\x02", 1_010_000);
        check(SCHEDULE_TOPIC, "DELAY\x012\x02DELAY\x011\x02", 1_001_000);
        check(SCHEDULE_TOPIC, "TAGS\x01A\x02DELAY\x010\x02", 65);
        check(SCHEDULE_TOPIC, "TAGS\x01A\x02DELAY\x01soon\x02", 65);
        check(WHEEL_TOPIC, "TAGS\x01A\x02TIMER_OUT_MS\x015000\x02", 10_001);
        check(WHEEL_TOPIC, "TIMER_OUT_MS\x015000\x02TIMER_DEL_UNIQKEY\x01T+U\x02", 10_000);
        check(WHEEL_TOPIC, "TAGS\x01A\x02", 1);
    }
}
