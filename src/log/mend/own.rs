//! The log's own bytes, over disk blocks that cannot be read.
//!
//! They are read one piece after another. Where a read fails, smaller ones show which disk block it is; one that fails twice alone, with an error of
//! the medium, is a hole: zeros stand for it, and what lies in it is not taken for sound.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::limits::{COLD_BLOCK_BYTES, DISK_BLOCK_BYTES};
use crate::log::file::{BlockId, FileName, IoError};
use crate::model::LogOffset;

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// Start of the disk block in which a byte of the log lies. Segments are whole blocks.
pub(super) fn block_of(at: LogOffset) -> LogOffset {
    LogOffset(at.0 / BLOCK * BLOCK)
}

/// End of the disk block in which what ends at `end` does.
pub(super) fn block_end(end: LogOffset) -> LogOffset {
    LogOffset(end.0.next_multiple_of(BLOCK))
}

/// Whole disk blocks of one segment, as far as they were read.
#[derive(Debug)]
pub(super) struct OwnBytes {
    pub(super) from: LogOffset,
    /// What is to be read ends here.
    pub(super) to: LogOffset,
    data: BytesMut,
    /// Starts of the disk blocks that cannot be read.
    pub(super) holes: BTreeSet<LogOffset>,
    part_bytes: u64,
    /// Whether the smallest part has failed once.
    has_failed: bool,
}

/// A read has failed, which says nothing of the medium.
#[derive(Debug)]
pub(super) struct ReadFailed;

impl OwnBytes {
    pub(super) fn new(from: LogOffset, to: LogOffset) -> OwnBytes {
        let (data, holes) = (BytesMut::new(), BTreeSet::new());
        OwnBytes { from, to, data, holes, part_bytes: COLD_BLOCK_BYTES, has_failed: false }
    }

    /// End of what was read.
    pub(super) fn end(&self) -> LogOffset {
        self.from.plus(self.data.len() as u64)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.end() >= self.to
    }

    /// The next piece that is to be read, of a segment that begins at `segment`.
    pub(super) fn next_block(&self, segment: LogOffset) -> Option<BlockId> {
        let len = self.to.0.saturating_sub(self.end().0).min(self.part_bytes);
        let len = u32::try_from(len).ok().filter(|len| *len > 0)?;
        Some(BlockId { file: FileName::Segment(segment), at: self.end().since(segment), len })
    }

    /// Takes what a read has brought.
    ///
    /// # Errors
    /// [`ReadFailed`]: it is to be tried again later.
    pub(super) fn take(&mut self, block: BlockId, data: &Result<Bytes, IoError>) -> Result<(), ReadFailed> {
        match data {
            Ok(data) if data.len() == block.len as usize => {
                self.data.extend_from_slice(data);
                self.part_bytes = COLD_BLOCK_BYTES.min(2 * self.part_bytes);
            }
            Err(error) if error.is_of_medium() => {
                let len = u64::from(block.len);
                if len > BLOCK {
                    self.part_bytes = (len / 2).next_multiple_of(BLOCK);
                    return Ok(());
                }
                if !std::mem::replace(&mut self.has_failed, true) {
                    return Ok(());
                }
                self.holes.insert(self.end());
                self.data.resize(self.data.len() + DISK_BLOCK_BYTES, 0);
            }
            Ok(_) | Err(_) => return Err(ReadFailed),
        }
        self.has_failed = false;
        Ok(())
    }

    /// Whether a hole lies in, or reaches into, a range.
    pub(super) fn has_hole(&self, from: LogOffset, to: LogOffset) -> bool {
        from < to && self.holes.range(block_of(from)..to).next().is_some()
    }

    /// What was read from `at` on.
    pub(super) fn bytes(&self, at: LogOffset) -> &[u8] {
        let begin = at.0.checked_sub(self.from.0).and_then(|begin| usize::try_from(begin).ok());
        begin.and_then(|begin| self.data.get(begin..)).unwrap_or_default()
    }

    /// A range of it.
    pub(super) fn slice(&self, from: LogOffset, to: LogOffset) -> &[u8] {
        let len = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        self.bytes(from).get(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIO: IoError = IoError::Failed { errno: 5 };

    #[test]
    fn a_block_that_cannot_be_read_is_told_from_its_neighbours() {
        let segment = LogOffset(65_536);
        let bad = segment.plus(5 * BLOCK);
        let mut own = OwnBytes::new(segment.plus(BLOCK), segment.plus(9 * BLOCK));
        let mut reads = 0;
        while let Some(block) = own.next_block(segment) {
            let begin = segment.plus(block.at);
            let is_bad = (begin..begin.plus(u64::from(block.len))).contains(&bad);
            let data = if is_bad { Err(EIO) } else { Ok(Bytes::from(vec![7; block.len as usize])) };
            own.take(block, &data).expect("it is the medium");
            reads += 1;
            assert!(reads < 20, "{block:?}");
        }
        assert_eq!(own.holes, BTreeSet::from([bad]));
        assert_eq!(own.slice(bad, bad.plus(BLOCK)), [0; 4096]);
        assert!(own.bytes(bad.plus(BLOCK)).iter().all(|byte| *byte == 7) && own.end() == own.to);
        assert!(own.has_hole(bad.plus(4_095), bad.plus(4_096)) && own.has_hole(segment.plus(BLOCK), bad.plus(1)));
        assert!(!own.has_hole(segment.plus(BLOCK), bad) && !own.has_hole(bad.plus(4_096), own.to));
        assert!(!own.has_hole(bad.plus(5), bad.plus(5)), "nothing lies there");
    }

    #[test]
    fn what_does_not_come_of_the_medium_is_no_hole() {
        let mut own = OwnBytes::new(LogOffset(0), LogOffset(BLOCK));
        let block = own.next_block(LogOffset(0)).expect("all of it");
        for error in [IoError::Failed { errno: 12 }, IoError::NotBegun { errno: 5 }] {
            assert!(own.take(block, &Err(error)).is_err());
        }
        assert!(own.take(block, &Ok(Bytes::from(vec![0; 100]))).is_err(), "a short read");
        assert!(own.holes.is_empty() && !own.is_whole());
    }
}
