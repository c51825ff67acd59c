//! The index files: one stream of blocks of all consume queues and key runs, cut into files of the same size.
//!
//! Blocks are put into memory and written many at a time. A position counts bytes from the start of file 0; no block crosses the end of a
//! file. Nothing here is precious: what a crash takes is derived again from the log. A checkpoint only names blocks that were flushed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::file::{BlockId, FileName};
use crate::limits::{COLD_BLOCK_BYTES, DISK_BLOCK_BYTES, PREPARE_CHUNK_BYTES};
use crate::model::LogOffset;

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// A write that is under way.
#[derive(Clone, Copy, Debug)]
struct OpenWrite {
    end: u64,
    flush: bool,
}

#[derive(Debug)]
pub(super) struct IndexFiles {
    file_bytes: u64,
    /// Position of `pending[0]`: the start of the disk block in which `written` lies.
    base: u64,
    pending: Vec<u8>,
    written: u64,
    flushed: u64,
    in_flight: Option<OpenWrite>,
    /// Of each file, the highest log offset that a block in it tells about: it may go when the log starts beyond.
    files: BTreeMap<u32, LogOffset>,
}

/// A write of the stream.
pub(super) struct IndexWrite {
    pub(super) file: FileName,
    pub(super) at: u64,
    pub(super) data: Bytes,
    pub(super) flush: bool,
}

impl IndexFiles {
    pub(super) fn new(file_bytes: u64) -> IndexFiles {
        IndexFiles {
            file_bytes,
            base: 0,
            pending: Vec::new(),
            written: 0,
            flushed: 0,
            in_flight: None,
            files: BTreeMap::new(),
        }
    }

    /// Goes on where a checkpoint left off. The stream begins anew at the next disk block, whose bytes need not be known then.
    pub(super) fn resume(&mut self, end: u64, files: BTreeMap<u32, LogOffset>) {
        let end = end.next_multiple_of(BLOCK);
        (self.base, self.written, self.flushed) = (end, end, end);
        self.files = files;
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.pending.len() as u64
    }

    pub(super) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Bytes that are not written yet.
    pub(super) fn unwritten(&self) -> usize {
        usize::try_from(self.end() - self.written).expect("bounded by memory")
    }

    pub(super) fn files(&self) -> &BTreeMap<u32, LogOffset> {
        &self.files
    }

    fn number(&self, position: u64) -> u32 {
        u32::try_from(position / self.file_bytes).expect("fewer than 2^32 index files")
    }

    /// Adds a block that tells about the log up to `last`. Its position.
    pub(super) fn push(&mut self, block: &[u8], last: LogOffset) -> u64 {
        let len = block.len() as u64;
        assert!(len <= self.file_bytes, "a block of {len} bytes does not fit a file");
        let room = self.file_bytes - self.end() % self.file_bytes;
        if len > room {
            self.pending.resize(self.pending.len() + usize::try_from(room).expect("bounded by the file"), 0);
        }
        let at = self.end();
        self.pending.extend_from_slice(block);
        let file = self.number(at);
        let known = self.files.entry(file).or_insert(last);
        *known = last.max(*known);
        at
    }

    /// The next write, if there is none under way: whole disk blocks within one file. Partly filled ones only if `all`.
    pub(super) fn poll_write(&mut self, at_least: usize, all: bool) -> Option<IndexWrite> {
        let is_due = if all { self.flushed < self.end() } else { self.unwritten() >= at_least };
        if self.in_flight.is_some() || !is_due {
            return None;
        }
        // Only a flush may be missing; then the last block is written once more, which needs it in memory.
        let from =
            if self.written == self.end() && self.base == self.written { return self.flush_only() } else { self.base };
        let file_end = (from / self.file_bytes + 1) * self.file_bytes;
        let end = self.end().min(file_end).min(from + PREPARE_CHUNK_BYTES);
        let len = usize::try_from(end - from).expect("bounded by the chunk");
        let mut data = self.pending[..len].to_vec();
        data.resize(len.next_multiple_of(DISK_BLOCK_BYTES), 0);
        // A file that is left is flushed with its last write, so that only the newest one can hold unflushed bytes.
        let flush = all || end == file_end;
        self.in_flight = Some(OpenWrite { end, flush });
        Some(IndexWrite {
            file: FileName::Index(self.number(from)),
            at: from % self.file_bytes,
            data: data.into(),
            flush,
        })
    }

    /// All is written, to the end of a disk block, and not flushed: a padding block takes the flush along.
    fn flush_only(&mut self) -> Option<IndexWrite> {
        let len =
            DISK_BLOCK_BYTES.min(usize::try_from(self.file_bytes - self.base % self.file_bytes).unwrap_or(usize::MAX));
        self.pending.resize(len, 0);
        self.in_flight = Some(OpenWrite { end: self.base + len as u64, flush: true });
        let at = self.base % self.file_bytes;
        let file = self.number(self.base);
        Some(IndexWrite { file: FileName::Index(file), at, data: vec![0; len].into(), flush: true })
    }

    pub(super) fn wrote(&mut self) {
        let done = self.in_flight.take().expect("a result belongs to a write");
        self.written = self.written.max(done.end);
        if done.flush {
            self.flushed = self.written;
        }
        let base = self.written / BLOCK * BLOCK;
        self.pending.drain(..usize::try_from(base - self.base).expect("bounded by memory"));
        self.base = base;
    }

    /// The write found no space; it is asked for again later.
    pub(super) fn write_failed(&mut self) {
        self.in_flight = None;
    }

    /// The bytes of `at..at + len`, if they are in memory.
    pub(super) fn in_memory(&self, at: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.base)?).ok()?;
        self.pending.get(from..from.checked_add(len)?)
    }

    /// The disk blocks that hold `len` bytes from `position` on, which is below `base`: as many as one read has, and its file.
    pub(super) fn cold_block(&self, position: u64, len: u64) -> BlockId {
        assert!(position < self.base, "{position} is not on disk yet");
        let at = position % self.file_bytes / BLOCK * BLOCK;
        let file_start = position / self.file_bytes * self.file_bytes;
        let end = (position % self.file_bytes + len).next_multiple_of(BLOCK).min(at + COLD_BLOCK_BYTES);
        let end = end.min(self.file_bytes).min(self.base - file_start);
        let len = u32::try_from(end - at).expect("bounded by the block");
        BlockId { file: FileName::Index(self.number(position)), at, len }
    }

    /// First position that is in memory.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Takes a file out of the index of which nothing is alive. Never the newest.
    pub(super) fn retire(&mut self, start: LogOffset) -> Option<FileName> {
        let newest = self.number(self.base);
        let dead =
            self.files.iter().find(|&(&number, &last)| number < newest && last < start).map(|(&number, _)| number)?;
        self.files.remove(&dead);
        Some(FileName::Index(dead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_crosses_a_file_and_bytes_leave_memory_when_written() {
        let mut index = IndexFiles::new(16 * 1024);
        assert_eq!(index.push(&[1; 10_000], LogOffset(5)), 0);
        assert_eq!(index.push(&[2; 10_000], LogOffset(9)), 16 * 1024, "the second begins the next file");
        let write = index.poll_write(1, false).expect("due");
        assert_eq!((write.file, write.at, write.data.len(), write.flush), (FileName::Index(0), 0, 16 * 1024, true));
        assert!(index.poll_write(1, true).is_none(), "one at a time");
        index.wrote();
        assert_eq!(index.in_memory(0, 10), None);
        let block = |at, len| BlockId { file: FileName::Index(0), at, len };
        assert_eq!(index.cold_block(100, 1), block(0, 4096));
        assert_eq!(index.cold_block(5_000, 4_000), block(4096, 8192));
        assert_eq!(index.cold_block(100, 1 << 20), block(0, 16 * 1024), "to the end of the file");
        let write = index.poll_write(1, true).expect("due");
        assert_eq!((write.file, write.data.len()), (FileName::Index(1), 12 * 1024));
        index.wrote();
        assert_eq!(index.flushed(), index.end());
        assert_eq!(index.in_memory(16 * 1024 + 9_000, 1000), Some(&[2; 1000][..]), "the last disk block stays");
        assert_eq!(index.retire(LogOffset(6)), Some(FileName::Index(0)));
        assert_eq!(index.retire(LogOffset(100)), None, "never the newest");
    }
}
