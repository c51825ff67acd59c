//! What can be set of a log. Defaults are those of the product; the simulator makes everything small.

use super::branch;
use super::consume_queue::BlockSizes;
use crate::limits::{
    BRANCH_BYTES_MAX, BRANCH_REFERENCES, COLD_BLOCK_BYTES, COMMIT_BYTES_MAX, DISK_BLOCK_BYTES, PREPARE_CHUNK_BYTES,
    QUEUE_BLOCK_ENTRIES, RECORD_BYTES_MAX, UNFLUSHED_BYTES_MAX,
};

use crate::model::UnixMs;
use crate::protocol::message::DelayLevels;

/// When a send is answered. RocketMQ: `flushDiskType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPolicy {
    /// SYNC_FLUSH: each commit is written and flushed.
    Sync,
    /// ASYNC_FLUSH: each commit is written at once, and flushed when one of the two is reached.
    Async {
        /// Bytes since the last flush; at most [`UNFLUSHED_BYTES_MAX`].
        flush_bytes: u64,
        /// Milliseconds since the last flush. RocketMQ: `flushIntervalCommitLog`.
        flush_ms: u64,
    },
}

impl FlushPolicy {
    /// ASYNC_FLUSH with the default bounds.
    pub const ASYNC: FlushPolicy = FlushPolicy::Async { flush_bytes: UNFLUSHED_BYTES_MAX, flush_ms: 500 };
}

/// What may be thrown away, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Hours that a segment stays after its last message. RocketMQ: `fileReservedTime`.
    pub(crate) reserved_hours: u32,
    /// Hours of the day, UTC, in which expired segments go: bit `h` is hour `h` of 0..24. RocketMQ: `deleteWhen`.
    pub(crate) delete_hours: u32,
    /// Percent of the disk above which expired segments go at any hour. RocketMQ: `diskMaxUsedSpaceRatio`.
    pub(crate) used_percent_max: u8,
    /// Percent above which the oldest segments go, expired or not; `None` keeps what is not expired, and sends are refused instead.
    /// RocketMQ: `cleanFileForciblyEnable`, `diskSpaceCleanForciblyRatio`.
    pub(crate) used_percent_forced: Option<u8>,
    /// Percent above which sends are refused. RocketMQ: `diskSpaceWarningLevelRatio`.
    pub(crate) used_percent_refused: u8,
    /// When an operator last said that the wall clock is right, by that clock.
    pub(crate) clock_accepted: UnixMs,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            reserved_hours: 72,
            delete_hours: 1 << 4,
            used_percent_max: 75,
            used_percent_forced: None,
            used_percent_refused: 90,
            clock_accepted: UnixMs(0),
        }
    }
}

/// Settings of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Size of a segment: whole disk blocks, less than 4 GiB. RocketMQ: `mappedFileSizeCommitLog`. A property of the store.
    pub segment_bytes: u64,
    /// When a send is answered.
    pub flush: FlushPolicy,
    /// Whether records end in the CRC property. RocketMQ: `enabledAppendPropCRC`, off there.
    pub has_record_crc: bool,
    /// Most that one commit writes: whole disk blocks, at most [`COMMIT_BYTES_MAX`].
    pub commit_bytes_max: usize,
    /// Zeros that are written at once into a segment to be: whole disk blocks. A waiting writer gets a segment when four times as many
    /// are written.
    pub prepare_bytes: u64,
    /// Bound of the cache of cold blocks.
    pub cache_bytes: usize,
    /// What may be thrown away.
    pub retention: Retention,
    /// Entries of a queue that are closed into one block.
    pub queue_block_entries: usize,
    /// References to blocks of a queue that are closed into one branch.
    pub branch_references: usize,
    /// Keys that are closed into one run.
    pub key_run_entries: usize,
    /// Size of an index file. A property of the store.
    pub index_file_bytes: u64,
    /// Growth of the log after which a checkpoint is due; more if the last one was large.
    pub checkpoint_bytes: u64,
    /// Every sealed byte is read once in so many milliseconds, to find damage; 0: none is.
    pub scrub_interval_ms: u64,
    /// What the entries of the scheduled topic say: when a message is due. RocketMQ: `messageDelayLevel`.
    pub delay_levels: DelayLevels,
    /// Whether messages are put into light queues: those that wait to be have their places from when they are taken. RocketMQ: `enableLmq`.
    pub has_light: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            segment_bytes: 1024 * 1024 * 1024,
            flush: FlushPolicy::Sync,
            has_record_crc: true,
            commit_bytes_max: COMMIT_BYTES_MAX,
            prepare_bytes: PREPARE_CHUNK_BYTES,
            // The largest record, whole, and room for what leads to it.
            cache_bytes: RECORD_BYTES_MAX + 1024 * 1024,
            retention: Retention::default(),
            queue_block_entries: QUEUE_BLOCK_ENTRIES,
            branch_references: BRANCH_REFERENCES,
            key_run_entries: 64 * 1024,
            index_file_bytes: 64 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
            scrub_interval_ms: 7 * 24 * 3_600_000,
            delay_levels: DelayLevels::default(),
            has_light: false,
        }
    }
}

impl LogSettings {
    /// Most that is written and not flushed at any moment: how far behind what is flushed a power loss can leave something of the log.
    #[must_use]
    pub fn unflushed_bytes_max(&self) -> u64 {
        let flush_bytes = match self.flush {
            FlushPolicy::Sync => 0,
            FlushPolicy::Async { flush_bytes, .. } => flush_bytes,
        };
        flush_bytes + self.commit_bytes_max as u64
    }

    /// Zeros that a new segment is filled with at once; 0 under ASYNC_FLUSH, where it is only allocated.
    pub(super) fn zeros_bytes(&self) -> u64 {
        match self.flush {
            FlushPolicy::Sync => self.prepare_bytes,
            FlushPolicy::Async { .. } => 0,
        }
    }

    pub(super) fn block_sizes(&self) -> BlockSizes {
        BlockSizes { entries: self.queue_block_entries, references: self.branch_references }
    }

    /// Most that a run of keys takes.
    pub(super) fn key_run_bytes_max(&self) -> u64 {
        32 * 1024 + 32 * self.key_run_entries as u64
    }

    /// Settings that fit each other are the config's matter; this is its last line of defence.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn check(&self, ring_bytes: u64) {
        let block = DISK_BLOCK_BYTES as u64;
        let segment = self.segment_bytes;
        assert!(segment.is_multiple_of(block) && segment > 0 && segment <= 1 << 31, "segments of {segment} bytes");
        assert!(self.index_file_bytes.is_multiple_of(block), "index files of {} bytes", self.index_file_bytes);
        let commit = self.commit_bytes_max;
        assert!(
            commit.is_multiple_of(DISK_BLOCK_BYTES) && (1..=COMMIT_BYTES_MAX).contains(&commit),
            "commits of {commit} bytes"
        );
        assert!(
            self.prepare_bytes.is_multiple_of(block) && self.prepare_bytes > 0,
            "zeros by {} bytes",
            self.prepare_bytes
        );
        let run_bytes = self.key_run_bytes_max();
        assert!(run_bytes <= self.index_file_bytes, "a key run of {run_bytes} bytes does not fit an index file");
        assert!(self.queue_block_entries > 0 && self.key_run_entries > 0, "blocks hold something");
        let references = self.branch_references;
        let is_read = branch::bytes_max(references) <= BRANCH_BYTES_MAX;
        assert!(references > 1 && is_read, "a branch of {references} references");
        assert!(self.cache_bytes as u64 >= 4 * COLD_BLOCK_BYTES, "a cache of {} bytes", self.cache_bytes);
        let largest = (ring_bytes / 2).min(RECORD_BYTES_MAX as u64).min(segment);
        let needed = largest + 4 * COLD_BLOCK_BYTES;
        assert!(self.cache_bytes as u64 >= needed.min(ring_bytes), "the largest record does not fit the cache");
        if let FlushPolicy::Async { flush_bytes, .. } = self.flush {
            assert!(flush_bytes <= UNFLUSHED_BYTES_MAX, "recovery would not look {flush_bytes} bytes back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_one_another_whatever_the_ring() {
        for ring_mib in [1, 4, 32, 256] {
            LogSettings::default().check(ring_mib * 1024 * 1024);
        }
    }
}
