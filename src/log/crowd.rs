//! Many readers of old messages at once.
//!
//! Whoever waits for a block of the log is called again when that has come, and gets what lies in it: of a queue among thousands a message or
//! two. Two things keep what that costs near to what is got. What the index says of the next messages is kept for each, since no cache holds the
//! index blocks of so many. And a whole block of the log is read only where the queue goes on in it, or where somebody else has read: else it is
//! the record alone.

use std::collections::VecDeque;

use super::consume_queue::{Entry, IndexSpan, QueueIndex};
use super::file::BlockId;
use super::remembered::Remembered;
use crate::limits::{KEPT_ENTRIES_MAX, KEPT_READS_MAX, TOUCHED_BLOCKS_MAX};
use crate::model::QueueOffset;

/// What is remembered for readers that will be back.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    entries: Remembered<(QueueIndex, QueueOffset), Vec<Entry>, KEPT_READS_MAX>,
    /// How far down the index somebody has come who waits for a block of it.
    paths: Remembered<QueueIndex, IndexSpan, KEPT_READS_MAX>,
    /// Blocks of which a part was asked for, and which part: the last ones.
    touched: VecDeque<(BlockId, u64)>,
}

impl Crowd {
    /// Keeps what the index says of messages from `from` on, up to [`KEPT_ENTRIES_MAX`].
    pub(super) fn keep(&mut self, queue: QueueIndex, from: QueueOffset, mut entries: Vec<Entry>) {
        entries.truncate(KEPT_ENTRIES_MAX);
        if !entries.is_empty() {
            self.entries.insert((queue, from), entries);
        }
    }

    /// Takes what was kept of a queue from `from` on.
    pub(super) fn take(&mut self, queue: QueueIndex, from: QueueOffset) -> Vec<Entry> {
        self.entries.remove(&(queue, from)).unwrap_or_default()
    }

    /// Keeps how far down the index of a queue a reader has come: were it to begin at the top when the next block is there, no cache would hold for so
    /// many what lies above.
    pub(super) fn keep_path(&mut self, queue: QueueIndex, span: IndexSpan) {
        self.paths.insert(queue, span);
    }

    /// The way that was kept to the entry at `at`.
    pub(super) fn path(&self, queue: QueueIndex, at: QueueOffset) -> Option<IndexSpan> {
        self.paths.get(&queue).copied().filter(|span| span.contains(at))
    }

    /// Notes that the part of `block` that begins at `part` is wanted. Whether another part of it was, a moment ago.
    pub(super) fn touch(&mut self, block: BlockId, part: u64) -> bool {
        if let Some((_, known)) = self.touched.iter().rev().find(|(known, _)| *known == block) {
            return *known != part;
        }
        if self.touched.len() == TOUCHED_BLOCKS_MAX {
            self.touched.pop_front();
        }
        self.touched.push_back((block, part));
        false
    }

    /// Forgets these queues: they were emptied.
    pub(super) fn forget_queues(&mut self, queues: &[QueueIndex]) {
        self.entries.retain(|(queue, _), _| !queues.contains(queue));
        self.paths.retain(|queue, _| !queues.contains(queue));
    }

    pub(super) fn clear(&mut self) {
        *self = Crowd::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::FileName;
    use crate::model::LogOffset;

    fn entries(count: u64) -> Vec<Entry> {
        (0..count).map(|number| Entry { log_offset: LogOffset(number), size: 1, tag_code: 0 }).collect()
    }

    #[test]
    fn what_is_kept_is_taken_once_and_the_longest_kept_goes() {
        let mut crowd = Crowd::default();
        let at = QueueOffset;
        for queue in (0..).take(KEPT_READS_MAX) {
            crowd.keep(QueueIndex(queue), at(7), entries(3));
        }
        crowd.keep(QueueIndex(0), at(7), entries(2));
        crowd.keep(QueueIndex(0), at(9), entries(1_000));
        assert_eq!(crowd.entries.len(), KEPT_READS_MAX);
        assert_eq!(crowd.take(QueueIndex(1), at(7)).len(), 0, "it went first: what is kept again is new");
        assert_eq!(crowd.take(QueueIndex(0), at(7)).len(), 2);
        assert_eq!(crowd.take(QueueIndex(0), at(7)).len(), 0);
        assert_eq!(crowd.take(QueueIndex(0), at(9)).len(), KEPT_ENTRIES_MAX);
        crowd.forget_queues(&[QueueIndex(2), QueueIndex(3)]);
        assert_eq!((crowd.take(QueueIndex(3), at(7)).len(), crowd.take(QueueIndex(4), at(7)).len()), (0, 3));
    }

    #[test]
    fn a_block_is_read_whole_when_a_second_part_of_it_is_wanted() {
        let block = |at| BlockId { file: FileName::Segment(LogOffset(0)), at, len: 128 * 1024 };
        let mut crowd = Crowd::default();
        assert!(!crowd.touch(block(0), 4096));
        assert!(!crowd.touch(block(0), 4096), "the same reader, who is back");
        assert!(crowd.touch(block(0), 8192) && crowd.touch(block(0), 8192));
        for number in 1..=TOUCHED_BLOCKS_MAX as u64 {
            assert!(!crowd.touch(block(number << 17), 0));
        }
        assert!(!crowd.touch(block(0), 8192), "that was long ago");
    }
}
