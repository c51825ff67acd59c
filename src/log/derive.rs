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
use crate::limits::BATCH_MESSAGES_MAX;
use crate::model::{QueueOffset, UnixMs};
use crate::protocol::message::{DelayLevels, SCHEDULE_TOPIC, WHEEL_TOPIC, WheelCode, sys_flag};
use crate::protocol::record::{Marks, RecordView, java_hash};

/// What is derived from a log, borrowed from whoever has it.
pub(super) struct Derived<'a> {
    pub(super) segments: &'a mut Segments,
    pub(super) queues: &'a mut ConsumeQueues,
    pub(super) keys: &'a mut KeyIndex,
    pub(super) index: &'a mut IndexFiles,
    pub(super) block_sizes: BlockSizes,
    pub(super) delay_levels: &'a DelayLevels,
}

/// What a record has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that can be read from a queue.
    None,
    /// A queue has so many entries more; more than one for an inner batch.
    Queued { queue: QueueIndex, count: u32 },
    /// The same, but the queue was emptied first: it did not go on where it ended.
    Restarted { queue: QueueIndex, count: u32 },
    /// A topic was removed: these queues are empty now.
    Removed(Vec<QueueIndex>),
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
    /// without a CRC property, which are theirs, may do so. In a log of ours it would be a gap.
    pub(super) fn derive(&mut self, view: &RecordView<'_>) -> Result<Change, QueueGap> {
        let at = view.log_offset;
        if view.topic == REMOVAL_TOPIC {
            self.segments.note_record(at, view.store_timestamp, view.has_crc(), view.bytes);
            return Ok(
                removed_topic(view).map_or(Change::None, |topic| Change::Removed(self.queues.remove_topic(topic, at)))
            );
        }
        let queue_index = self.queues.find_or_create(view.topic, view.queue_id);
        let queue = self.queues.get_mut(queue_index);
        let is_new = view.is_queued() && at >= queue.as_of;
        let expected = queue.next();
        let goes_on = view.queue_offset == expected;
        if is_new && queue.is_based && !goes_on && view.has_crc() {
            return Err(QueueGap { expected, found: view.queue_offset });
        }
        self.segments.note_record(at, view.store_timestamp, view.has_crc(), view.bytes);
        let marks = Marks::of(view.properties);
        if at >= self.keys.as_of {
            self.keys.push(queue.key_seed, &marks.keys, at, UnixMs(view.store_timestamp));
        }
        if !is_new {
            return Ok(Change::None);
        }
        let is_restarted = queue.is_based && !goes_on;
        if !queue.is_based || is_restarted {
            // The first that is left of this queue, or that was made of it.
            self.queues.begin_at(queue_index, view.queue_offset, at);
        }
        let (entry, count) = marked_entry_of(view, &marks, self.delay_levels);
        for _ in 0..count {
            push_entry(self.queues, self.index, self.block_sizes, queue_index, entry);
        }
        let queue = queue_index;
        Ok(if is_restarted { Change::Restarted { queue, count } } else { Change::Queued { queue, count } })
    }
}

/// The topic whose removal a record says.
pub(super) fn removed_topic<'a>(view: &RecordView<'a>) -> Option<&'a str> {
    std::str::from_utf8(view.body).ok().filter(|_| view.topic == REMOVAL_TOPIC)
}

/// The entry of a record that is in a queue, and how many offsets of it the record takes.
pub(super) fn entry_of(view: &RecordView<'_>, levels: &DelayLevels) -> (Entry, u32) {
    marked_entry_of(view, &Marks::of(view.properties), levels)
}

fn marked_entry_of(view: &RecordView<'_>, marks: &Marks<'_>, levels: &DelayLevels) -> (Entry, u32) {
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
