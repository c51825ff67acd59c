//! The log's bytes for a replica: from the ring while they are new, else from large blocks of the disk.
//!
//! A replica that is far behind reads the log from one end to the other, once. So its blocks are larger than those of consumers, the next one is
//! asked for before it is needed, and they stay apart from the cache: there they would drive out what consumers share.
//!
//! What lies between a filler and the end of its segment has no meaning, and on the disk it may be anything. A replica gets zeros.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::commit_log::Log;
use super::file::{BlockId, FileName, IoError};
use super::segment::Segment;
use crate::limits::{DISK_BLOCK_BYTES, PREFETCH_BLOCKS_MAX, STREAM_BLOCK_BYTES, STREAM_BLOCKS_MAX};
use crate::model::LogOffset;
use crate::protocol::record::FILLER_BYTES;

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// What a read of the log's bytes has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// So many bytes were put out, at least one.
    Bytes(usize),
    /// `from` is the end of the log: call again when something was appended.
    CaughtUp,
    /// Call again when this block was supplied.
    Cold(BlockId),
    /// The disk could not give the block; the next call asks for it again.
    Failed(BlockId),
    /// `from` lies before the start of the log.
    Removed,
    /// `from` lies beyond the end of the log.
    Beyond,
}

/// Blocks for replicas, the one that was used longest ago first.
#[derive(Debug, Default)]
pub(super) struct StreamBlocks {
    blocks: VecDeque<(BlockId, Bytes)>,
    /// Blocks that were asked for and have not come.
    asked: VecDeque<BlockId>,
    failed: VecDeque<BlockId>,
    /// Whether a block was used since the last tick.
    is_used: bool,
}

impl StreamBlocks {
    /// The bytes of a block from `offset` on, if there are any here. A block may have come when its segment had fewer.
    fn get(&mut self, block: BlockId, offset: usize) -> Option<Bytes> {
        self.is_used = true;
        let is_same = |other: &BlockId| (other.file, other.at) == (block.file, block.at);
        let found = self.blocks.iter().position(|(other, data)| is_same(other) && data.len() > offset)?;
        let used = self.blocks.remove(found)?;
        let data = used.1.slice(offset..);
        self.blocks.push_back(used);
        Some(data)
    }

    fn is_known(&self, block: BlockId) -> bool {
        self.asked.contains(&block) || self.blocks.iter().any(|(known, _)| *known == block)
    }

    fn ask(&mut self, block: BlockId) {
        self.is_used = true;
        if !self.asked.contains(&block) {
            if self.asked.len() == STREAM_BLOCKS_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(block);
        }
    }

    /// Takes a block that was asked for here.
    pub(super) fn supply(&mut self, block: BlockId, data: &Result<Bytes, IoError>) {
        let Some(asked) = self.asked.iter().position(|asked| *asked == block) else { return };
        self.asked.remove(asked);
        let room = STREAM_BLOCKS_MAX - 1;
        match data {
            Ok(data) if data.len() == block.len as usize => {
                self.blocks.retain(|(other, _)| (other.file, other.at) != (block.file, block.at));
                self.blocks.drain(..self.blocks.len().saturating_sub(room));
                self.blocks.push_back((block, data.clone()));
            }
            Ok(_) | Err(_) => {
                self.failed.drain(..self.failed.len().saturating_sub(room));
                self.failed.push_back(block);
            }
        }
    }

    fn take_failed(&mut self, block: BlockId) -> bool {
        let found = self.failed.iter().position(|failed| *failed == block);
        found.and_then(|found| self.failed.remove(found)).is_some()
    }

    /// Forgets a file that is gone.
    pub(super) fn forget(&mut self, file: FileName) {
        self.blocks.retain(|(block, _)| block.file != file);
        self.failed.retain(|block| block.file != file);
    }

    pub(super) fn clear(&mut self) {
        *self = StreamBlocks::default();
    }

    /// Gives the memory back when no replica has been behind for a while.
    pub(super) fn tick(&mut self) {
        if !std::mem::take(&mut self.is_used) {
            self.blocks = VecDeque::new();
        }
    }
}

impl Log {
    /// Puts out bytes of the log from `from` on, at most `bytes_max`, exactly as the files hold them, with zeros for the padding behind a
    /// filler. They end where the segment ends, and anywhere within a record. Not bounded by what is flushed.
    ///
    /// A block is asked for with `Cold` and, ahead of need, with [`Log::prefetch`]; it comes back through [`Log::supply`]. It has up to
    /// [`STREAM_BLOCK_BYTES`].
    ///
    /// # Panics
    /// If `bytes_max` is 0.
    pub fn stream(&mut self, from: LogOffset, bytes_max: usize, out: &mut BytesMut) -> Stream {
        assert!(bytes_max > 0, "a stream that may not carry a byte");
        let appended = self.appended();
        if from < self.start() {
            return Stream::Removed;
        }
        if from >= appended {
            return if from == appended { Stream::CaughtUp } else { Stream::Beyond };
        }
        let segment = *self.segments.find(from).expect("what is appended lies in a segment");
        let end = segment.start.plus(self.segments.size()).min(appended);
        let filled = segment.filler.map_or(end, |filler| filler.plus(FILLER_BYTES as u64).min(end));
        let until = |to: LogOffset| usize::try_from(to.since(from)).unwrap_or(usize::MAX).min(bytes_max);
        if from >= filled {
            out.put_bytes(0, until(end));
            return Stream::Bytes(until(end));
        }
        let len = until(filled);
        if from >= self.tail.low() {
            let (before, after) = self.tail.read(from, len);
            out.extend_from_slice(before);
            out.extend_from_slice(after);
            return Stream::Bytes(len);
        }
        let block = self.stream_block(&segment, from, filled);
        let offset = usize::try_from(from.since(segment.start) - block.at).expect("within a block");
        if let Some(data) = self.replicated.blocks.get(block, offset) {
            self.stream_ahead(&segment, &block, filled);
            let len = len.min(data.len());
            out.extend_from_slice(&data[..len]);
            return Stream::Bytes(len);
        }
        if self.replicated.blocks.take_failed(block) {
            return Stream::Failed(block);
        }
        self.replicated.blocks.ask(block);
        self.stream_ahead(&segment, &block, filled);
        Stream::Cold(block)
    }

    /// The block for replicas that holds `from`, which is no longer in the ring; of what is written for good, and without padding.
    fn stream_block(&self, segment: &Segment, from: LogOffset, filled: LogOffset) -> BlockId {
        let stable = LogOffset(self.written.0 / BLOCK * BLOCK);
        let at = from.since(segment.start) / STREAM_BLOCK_BYTES * STREAM_BLOCK_BYTES;
        let end = filled.min(stable).since(segment.start).next_multiple_of(BLOCK);
        let len = end.min(at + STREAM_BLOCK_BYTES) - at;
        let len = u32::try_from(len).expect("at most a block of a stream");
        BlockId { file: FileName::Segment(segment.start), at, len }
    }

    /// Asks for the block behind `block`, before it is needed.
    fn stream_ahead(&mut self, segment: &Segment, block: &BlockId, filled: LogOffset) {
        let next = segment.start.plus(block.at + STREAM_BLOCK_BYTES);
        let segment_end = segment.start.plus(self.segments.size());
        let (next, segment, filled) = if next < filled {
            (next, *segment, filled)
        } else {
            let Some(following) = self.segments.find(segment_end).copied() else { return };
            let end =
                following.filler.map_or(following.start.plus(self.segments.size()), |at| at.plus(FILLER_BYTES as u64));
            (segment_end, following, end.min(following.start.plus(self.segments.size())))
        };
        if next >= self.tail.low() {
            return;
        }
        let ahead = self.stream_block(&segment, next, filled);
        if !self.replicated.blocks.is_known(ahead) && self.prefetch.len() < PREFETCH_BLOCKS_MAX {
            self.replicated.blocks.ask(ahead);
            self.prefetch.push_back(ahead);
        }
    }
}
