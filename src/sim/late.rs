//! Reads of a made-up disk that take their time, and requests that must be served in time.

use bytes::{Bytes, BytesMut};

use super::world::LogWorld;
use crate::limits::COLD_BLOCK_BYTES;
use crate::log::{BlockId, FileName, IoError, Read, ReadLimits};
use crate::model::QueueId;

/// Reads that are under way at a time.
const LATE_MAX: usize = 4;
/// Rounds of everything a shell does within which a log that has all it needs takes a message and makes it safe.
const ROUNDS_MAX: usize = 2_000;

/// A read that was begun.
#[derive(Clone, Debug)]
pub(super) struct Late {
    block: BlockId,
    /// Which file was opened.
    id: u64,
}

impl LogWorld {
    /// A read that needs a block of the disk, which comes later.
    pub(super) fn begin_late_read(&mut self) {
        let Some((name, message)) = self.pick_live() else { return };
        let Some(queue) = self.log().find_queue(name.0, name.1) else { return };
        let limits = ReadLimits { messages_max: 1, bytes_max: 1, entries_max: 1 };
        let read = self.log().read(queue, message.queue_offset, &limits, &|_| true, &mut BytesMut::new());
        if let Read::Cold(block) = read {
            self.open_late(block);
        }
    }

    fn open_late(&mut self, block: BlockId) {
        if self.late.len() < LATE_MAX
            && let Some(id) = self.disk.open(block.file)
        {
            self.late.push(Late { block, id });
            self.counts.late_reads += 1;
        }
    }

    /// The oldest segments are being read, once more perhaps, when they come to be taken.
    pub(super) fn begin_old_reads(&mut self) {
        let (start, size, written) = (self.log().start(), self.settings.segment_bytes, self.log().written());
        for nth in 0..LATE_MAX as u64 {
            let segment = start.plus(nth * size);
            if segment.plus(size) <= written && !self.log().is_in_tail(segment.plus(size)) {
                let len = u32::try_from(size.min(COLD_BLOCK_BYTES)).expect("small");
                self.open_late(BlockId { file: FileName::Segment(segment), at: 0, len });
            }
        }
    }

    /// One of them comes to its end: with what its file holds now, which may have another name and other content.
    pub(super) fn end_late_read(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let Late { block, id } = self.late.swap_remove(self.random.index(self.late.len()));
        let found = self.disk.read_open(id, block.at, block.len as usize);
        let is_recycled = found.as_ref().is_some_and(|(name, _)| *name != block.file);
        self.counts.late_reads_of_recycled += u64::from(is_recycled);
        if found.is_none() {
            self.read_failed_at = Some(self.now.mono);
        }
        self.log().supply(block, found.map(|(_, bytes)| Bytes::from(bytes)).ok_or(IoError::Failed { errno: 5 }));
    }

    /// A log that has room and a disk without faults takes a message, and makes it safe, before long.
    pub(super) fn check_progress(&mut self) {
        let capacity = self.disk.capacity;
        self.disk.capacity = 200 * self.settings.segment_bytes;
        self.is_healthy = true;
        let queue = (super::world::TOPICS[0], QueueId(0));
        let mut wanted = None;
        for _ in 0..ROUNDS_MAX {
            self.pass(10);
            self.tick();
            self.begin_commit();
            self.end_commit(false);
            self.background();
            if wanted.is_none() && self.append(queue, 100) {
                wanted = Some(self.log().appended());
            }
            if wanted.is_some_and(|end| self.log().flushed() >= end && self.log().confirm() >= end) {
                (self.disk.capacity, self.is_healthy) = (capacity, false);
                self.counts.progress_seen += 1;
                return;
            }
        }
        panic!("nothing is wrong, and the log does not go on: {:?} was appended", wanted);
    }
}
