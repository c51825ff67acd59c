//! Blocks of the disk that readers asked for. Readers near one another share them; the one that was unused longest goes first.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::file::{BlockId, FileName};
use crate::limits::{DISK_BLOCK_BYTES, FAILED_BLOCKS_MAX, FAILED_REST_MS_MAX, FAILED_REST_MS_MIN, INDEX_CACHE_PART};
use crate::model::MonoNs;

#[derive(Debug)]
struct Cached {
    data: Bytes,
    used: u64,
}

/// A bounded cache of blocks.
#[derive(Debug)]
pub(super) struct BlockCache {
    bytes_max: usize,
    bytes: usize,
    blocks: BTreeMap<(FileName, u64), Cached>,
    /// Counts uses, so that the oldest is known without a clock.
    uses: u64,
    /// Blocks that could not be read, the one that failed longest ago first.
    failed: Vec<FailedBlock>,
}

#[derive(Clone, Copy, Debug)]
struct FailedBlock {
    block: BlockId,
    tries: u32,
    until: MonoNs,
}

/// Blocks of the log, and apart from them blocks of the index: small, many, and each good for one reader.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) log: BlockCache,
    pub(super) index: BlockCache,
}

impl Caches {
    /// `bytes_max` for the log, a part of it for the index.
    pub(super) fn new(bytes_max: usize) -> Caches {
        Caches { log: BlockCache::new(bytes_max), index: BlockCache::new(bytes_max / INDEX_CACHE_PART) }
    }

    pub(super) fn of(&mut self, file: FileName) -> &mut BlockCache {
        if let FileName::Segment(_) = file { &mut self.log } else { &mut self.index }
    }

    pub(super) fn clear(&mut self) {
        self.log.clear();
        self.index.clear();
    }
}

impl BlockCache {
    fn new(bytes_max: usize) -> BlockCache {
        BlockCache { bytes_max, bytes: 0, blocks: BTreeMap::new(), uses: 0, failed: Vec::new() }
    }

    /// The block, if at least its `len` is here. A block is asked for with a larger length when its file has grown.
    pub(super) fn get(&mut self, block: BlockId) -> Option<Bytes> {
        self.uses += 1;
        let cached = self.blocks.get_mut(&(block.file, block.at))?;
        cached.used = self.uses;
        Some(cached.data.clone())
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.blocks.get(&(block.file, block.at)).is_some_and(|cached| cached.data.len() >= block.len as usize)
    }

    pub(super) fn insert(&mut self, block: BlockId, data: Bytes) {
        if !self.failed.is_empty() {
            self.note_read(block);
        }
        if self.contains(block) {
            return;
        }
        self.uses += 1;
        self.bytes += data.len();
        if let Some(shorter) = self.blocks.insert((block.file, block.at), Cached { data, used: self.uses }) {
            self.bytes -= shorter.data.len();
        }
        while self.bytes > self.bytes_max && self.blocks.len() > 1 {
            let oldest = self.blocks.iter().min_by_key(|(_, cached)| cached.used).map(|(key, _)| *key);
            let removed = oldest.and_then(|key| self.blocks.remove(&key)).expect("there are at least two");
            self.bytes -= removed.data.len();
        }
    }

    /// Forgets what is known of a file that is gone.
    pub(super) fn forget(&mut self, file: FileName) {
        self.failed.retain(|failed| failed.block.file != file);
        let bytes = &mut self.bytes;
        self.blocks.retain(|key, cached| {
            let stays = key.0 != file;
            if !stays {
                *bytes -= cached.data.len();
            }
            stays
        });
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.failed.clear();
        self.bytes = 0;
    }

    /// Forgets a block, or the parts in which it was read: it is to be read from the device again.
    pub(super) fn forget_block(&mut self, block: BlockId) {
        let end = (block.file, block.at + u64::from(block.len));
        while let Some((&part, _)) = self.blocks.range((block.file, block.at)..end).next()
            && let Some(cached) = self.blocks.remove(&part)
        {
            self.bytes -= cached.data.len();
        }
    }

    /// A block could not be read: it rests, longer each time. How often that was.
    pub(super) fn note_failed(&mut self, block: BlockId, now: MonoNs) -> u32 {
        let known = self.failed.iter().position(|failed| failed.block == block);
        let tries = known.map_or(0, |known| self.failed.remove(known).tries);
        if self.failed.len() == FAILED_BLOCKS_MAX {
            self.failed.remove(0);
        }
        let rest_ms = (FAILED_REST_MS_MIN << tries.min(16)).min(FAILED_REST_MS_MAX);
        self.failed.push(FailedBlock { block, tries: tries + 1, until: now.plus_ms(rest_ms) });
        tries + 1
    }

    /// A block was read: so can be what it is part of, and its parts.
    pub(super) fn note_read(&mut self, block: BlockId) {
        let end = block.at + u64::from(block.len);
        self.failed.retain(|FailedBlock { block: failed, .. }| {
            failed.file != block.file || failed.at < block.at || failed.at + u64::from(failed.len) > end
        });
    }

    /// Whether a block is not to be read for byte `at` of its file: it has failed a moment ago, or the smaller part that has failed since has
    /// not been read.
    fn is_resting(&self, block: BlockId, at: u64, now: MonoNs) -> bool {
        self.failed.iter().any(|failed| match failed.block {
            same if same == block => now < failed.until,
            part => {
                let is_within = part.file == block.file && part.at >= block.at && part.len < block.len;
                is_within && (part.at..part.at + u64::from(part.len)).contains(&at)
            }
        })
    }

    /// The part of `block` to be read for byte `at` of its file: all of it, or a smaller one if it has failed. `None` while the smallest rests.
    pub(super) fn readable_part(&self, mut block: BlockId, at: u64, now: MonoNs) -> Option<BlockId> {
        let smallest = DISK_BLOCK_BYTES as u64;
        while !self.failed.is_empty() && self.is_resting(block, at, now) {
            let len = u64::from(block.len);
            if len <= smallest {
                return None;
            }
            let half = (len / 2).next_multiple_of(smallest);
            let (begin, len) = if at < block.at + half { (block.at, half) } else { (block.at + half, len - half) };
            block = BlockId { file: block.file, at: begin, len: u32::try_from(len).expect("part of a block") };
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogOffset;

    #[test]
    fn the_longest_unused_goes_and_the_sum_is_kept() {
        let block = |at: u64, len: u32| BlockId { file: FileName::Segment(LogOffset(0)), at, len };
        let mut cache = BlockCache::new(300);
        for at in 0..3 {
            cache.insert(block(at, 100), Bytes::from(vec![0; 100]));
        }
        assert!(cache.get(block(0, 100)).is_some());
        cache.insert(block(3, 100), Bytes::from(vec![0; 100]));
        assert_eq!([0, 1, 2, 3].map(|at| cache.contains(block(at, 100))), [true, false, true, true]);
        assert!(!cache.contains(block(0, 120)), "a longer one is another matter");
        cache.insert(block(0, 120), Bytes::from(vec![0; 120]));
        assert!(cache.bytes <= 300 && cache.contains(block(0, 120)));
        cache.forget(FileName::Segment(LogOffset(0)));
        assert_eq!((cache.bytes, cache.blocks.len()), (0, 0));
    }

    #[test]
    fn a_block_that_fails_is_read_in_smaller_pieces_and_rests_longer_each_time() {
        let block = |at: u64, len: u32| BlockId { file: FileName::Segment(LogOffset(0)), at, len };
        let now = |ms| MonoNs(0).plus_ms(ms);
        let mut cache = BlockCache::new(1 << 20);
        let whole = block(0, 12_288);
        assert_eq!(cache.readable_part(whole, 9_000, now(0)), Some(whole));
        cache.note_failed(whole, now(0));
        assert_eq!(cache.readable_part(whole, 100, now(0)), Some(block(0, 8_192)));
        assert_eq!(cache.readable_part(whole, 9_000, now(0)), Some(block(8_192, 4_096)), "its neighbours are read");
        cache.note_failed(block(8_192, 4_096), now(0));
        assert_eq!(cache.readable_part(whole, 9_000, now(0)), None, "the smallest rests");
        assert_eq!(cache.readable_part(whole, 9_000, now(100)), Some(block(8_192, 4_096)), "and is tried again");
        assert_eq!(cache.readable_part(whole, 100, now(100)), Some(whole), "for its neighbours all is");
        cache.note_failed(whole, now(100));
        assert_eq!(cache.readable_part(whole, 100, now(299)), Some(block(0, 8_192)), "twice as long");
        cache.insert(block(8_192, 4_096), Bytes::from(vec![0; 4_096]));
        assert_eq!(cache.readable_part(whole, 9_000, now(300)), Some(whole), "it can be read again");
        cache.insert(block(0, 8_192), Bytes::from(vec![0; 8_192]));
        cache.forget_block(whole);
        assert_eq!((cache.bytes, cache.blocks.len()), (0, 0), "parts go with the whole");
        cache.insert(whole, Bytes::from(vec![0; 12_288]));
        assert!(cache.failed.is_empty(), "what could be read has not failed");
    }
}
