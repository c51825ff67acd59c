//! What follows from a record: the entry of its queue, its keys, its store time, the removal of a topic.
//!
//! A start replays the log through here and a slave stores its master's records through here, so that both come to the same. A master's own
//! append knows all of it from the draft and does without.

use super::background::REMOVAL_TOPIC;
use super::commit_log::push_entry;
use super::consume_queue::{Entry, QueueIndex, Queues};
use super::index_file::IndexFiles;
use super::key_index::KeyIndex;
use super::segment::Segments;
use crate::limits::BATCH_MESSAGES_MAX;
use crate::model::{QueueOffset, UnixMs};
use crate::protocol::record::{KeysToIndex, RecordView, java_hash, pairs};

/// The record holds a whole batch, which takes as many queue offsets as it has messages. Source: RocketMQ `MessageSysFlag.INNER_BATCH_FLAG`.
const SYS_FLAG_INNER_BATCH: i32 = 1 << 7;

/// What is derived from a log, borrowed from whoever has it.
pub(super) struct Derived<'a> {
    pub(super) segments: &'a mut Segments,
    pub(super) queues: &'a mut Queues,
    pub(super) keys: &'a mut KeyIndex,
    pub(super) index: &'a mut IndexFiles,
    /// Entries of a queue that are closed into one block.
    pub(super) block_entries: usize,
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
            self.segments.note_record(at, view.store_timestamp, view.bytes);
            let topic = std::str::from_utf8(view.body).ok();
            return Ok(topic.map_or(Change::None, |topic| Change::Removed(self.queues.remove_topic(topic, at))));
        }
        let queue_index = self.queues.find_or_create(view.topic, view.queue_id);
        let queue = self.queues.get_mut(queue_index);
        let is_new = view.is_queued() && at >= queue.as_of;
        let expected = queue.next();
        let goes_on = view.queue_offset == expected;
        if is_new && queue.is_based && !goes_on && view.has_crc() {
            return Err(QueueGap { expected, found: view.queue_offset });
        }
        self.segments.note_record(at, view.store_timestamp, view.bytes);
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
        let count = if view.sys_flag & SYS_FLAG_INNER_BATCH == 0 { 1 } else { marks.inner_count };
        let entry = Entry { log_offset: at, size: view.size, tag_code: marks.tag_code() };
        for _ in 0..count {
            push_entry(self.queues, self.index, self.block_entries, queue_index, entry);
        }
        let queue = queue_index;
        Ok(if is_restarted { Change::Restarted { queue, count } } else { Change::Queued { queue, count } })
    }
}

/// The properties from which something is derived, found in one pass. Of two with one name the last one counts.
struct Marks<'a> {
    keys: KeysToIndex<'a>,
    tag: Option<&'a str>,
    /// Messages of an inner batch.
    inner_count: u32,
}

impl<'a> Marks<'a> {
    fn of(properties: &'a [u8]) -> Marks<'a> {
        let mut marks = Marks { keys: KeysToIndex::default(), tag: None, inner_count: 1 };
        for (name, value) in pairs(properties) {
            let text = || std::str::from_utf8(value).ok();
            match name {
                b"UNIQ_KEY" => marks.keys.unique = text(),
                b"KEYS" => marks.keys.keys = text(),
                b"TAGS" => marks.tag = text(),
                b"INNER_NUM" => {
                    let count = text().and_then(|text| text.parse::<u32>().ok());
                    marks.inner_count = count.map_or(1, |count| count.clamp(1, INNER_COUNT_MAX));
                }
                _ => {}
            }
        }
        marks
    }

    /// Java hash of the tag, as consumers filter by it; 0 without a tag.
    fn tag_code(&self) -> i64 {
        self.tag.map_or(0, |tag| i64::from(java_hash(0, tag)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a constant below 2^32")]
const INNER_COUNT_MAX: u32 = BATCH_MESSAGES_MAX as u32;
