//! Blocks of the disk that readers asked for. Readers near one another share them; the one that was unused longest goes first.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::file::{BlockId, FileName};
use crate::limits::FAILED_BLOCKS_MAX;

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
    /// Blocks that could not be read: reported once, then asked for again.
    failed: Vec<BlockId>,
}

impl BlockCache {
    pub(super) fn new(bytes_max: usize) -> BlockCache {
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

    pub(super) fn note_failed(&mut self, block: BlockId) {
        if self.failed.len() == FAILED_BLOCKS_MAX {
            self.failed.remove(0);
        }
        self.failed.push(block);
    }

    /// Whether the block failed; it is forgotten, so that the next reader tries again.
    pub(super) fn take_failed(&mut self, block: BlockId) -> bool {
        let found = self.failed.iter().position(|failed| (failed.file, failed.at) == (block.file, block.at));
        found.map(|index| self.failed.swap_remove(index)).is_some()
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
}
