//! Branches: references to blocks of one queue, closed into a block of the index files of their own.
//!
//! A log of 10 TB whose 100,000 queues are written side by side has 10^9 blocks, and no memory for a reference to each. So when a queue has
//! [`super::LogSettings::branch_references`] references of the same height in a row, they go into a branch, and one reference to that, one higher, takes
//! their place; what stays in memory of a queue grows with the logarithm of its length. A branch is written once and never changed, as every block
//! of the index. Whoever reads old messages goes down from the reference in memory, with one small read a height.
//!
//! | bytes   | field      | meaning                                                              |
//! |---------|------------|----------------------------------------------------------------------|
//! | 0..4    | magic      | [`BRANCH_MAGIC`]                                                     |
//! | 4..8    | CRC-32     | of all bytes from 8 on                                               |
//! | 8..16   | `first`    | queue offset of the first entry of its first block                   |
//! | 16..20  | `count`    | references                                                           |
//! | 20..24  | `queue_id` |                                                                      |
//! | then 24 | reference  | `first`, log offset of the last entry, position in the index files   |

use bytes::BytesMut;

use super::commit_log::Log;
use super::consume_queue::{BLOCK_HEADER_BYTES, BlockRef, IndexSpan, QueueIndex, has_sound_crc};
use super::read::Miss;
use crate::limits::BRANCH_BYTES_MAX;
use crate::model::{LogOffset, QueueId, QueueOffset};

pub(super) const BRANCH_MAGIC: u32 = u32::from_be_bytes(*b"RQBR");
const REFERENCE_BYTES: usize = 24;

/// The bytes of a branch.
pub(super) fn encode<'a>(
    first: QueueOffset,
    queue_id: QueueId,
    references: impl ExactSizeIterator<Item = &'a BlockRef>,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(&BRANCH_MAGIC.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&first.0.to_be_bytes());
    out.extend_from_slice(&u32::try_from(references.len()).expect("a branch has few references").to_be_bytes());
    out.extend_from_slice(&queue_id.0.to_be_bytes());
    for block in references {
        out.extend([block.first.0, block.last_log.0, block.at].into_iter().flat_map(u64::to_be_bytes));
    }
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// Bytes that a branch has by its own header; `None` if too few of them are there.
pub(super) fn bytes_of(bytes: &[u8]) -> Option<usize> {
    let count = bytes.get(16..20)?.first_chunk().map(|four| u32::from_be_bytes(*four))?;
    Some(BLOCK_HEADER_BYTES + count as usize * REFERENCE_BYTES)
}

/// Bytes of a branch of so many references.
pub(super) fn bytes_max(references: usize) -> usize {
    BLOCK_HEADER_BYTES + references * REFERENCE_BYTES
}

/// Whether these bytes begin as the branch to which a reference leads.
fn is_of(bytes: &[u8], span: &IndexSpan, queue_id: QueueId) -> bool {
    let first = bytes.get(8..16).is_some_and(|first| first == span.block.first.0.to_be_bytes());
    bytes.starts_with(&BRANCH_MAGIC.to_be_bytes()) && first && bytes.get(20..24) == Some(&queue_id.0.to_be_bytes())
}

/// What the branch of `span` has for the entry at `at`, which lies in it; `None` if it is not sound.
fn reference_for(branch: &[u8], span: &IndexSpan, at: QueueOffset) -> Option<IndexSpan> {
    let height = span.block.height.checked_sub(1)?;
    let references = branch.get(BLOCK_HEADER_BYTES..).filter(|_| has_sound_crc(branch))?;
    let (references, _) = references.as_chunks::<REFERENCE_BYTES>();
    let reference = |nth: usize| {
        let (numbers, _) = references.get(nth)?.as_chunks::<8>();
        let [first, last_log, position] = numbers else { return None };
        Some(BlockRef {
            first: QueueOffset(u64::from_be_bytes(*first)),
            last_log: LogOffset(u64::from_be_bytes(*last_log)),
            at: u64::from_be_bytes(*position),
            height,
        })
    };
    let above = (0..references.len()).find(|nth| reference(*nth).is_some_and(|block| block.first > at));
    let nth = above.unwrap_or(references.len()).checked_sub(1)?;
    let before = nth.checked_sub(1).and_then(reference);
    Some(IndexSpan {
        block: reference(nth)?,
        end: above.and_then(reference).map_or(span.end, |next| next.first),
        after: before.map_or(span.after, |before| Some(before.last_log)),
    })
}

impl Log {
    /// Goes down from `span` to the block that has the entry at `at`, or as far as what is gone from the log; not below a branch of which
    /// `is_enough` says that what it covers is all that is asked.
    pub(super) fn descend(
        &mut self,
        queue: QueueIndex,
        mut span: IndexSpan,
        at: QueueOffset,
        is_enough: &dyn Fn(&Log, &IndexSpan) -> bool,
    ) -> Result<IndexSpan, Miss> {
        if span.block.height == 0 {
            return Ok(span);
        }
        if let Some(known) = self.damage.moved(queue, at).or_else(|| self.crowd.path(queue, at)) {
            span = known;
        }
        while span.block.height > 0 && span.block.last_log >= self.start() && !is_enough(self, &span) {
            span = match self.child(queue, &span, at) {
                Ok(child) => child,
                Err(miss) => {
                    self.crowd.keep_path(queue, span);
                    return Err(miss);
                }
            };
        }
        Ok(span)
    }

    /// What a branch leads to for the entry at `at`.
    fn child(&mut self, queue: QueueIndex, span: &IndexSpan, at: QueueOffset) -> Result<IndexSpan, Miss> {
        let queue_id = self.queues.get(queue).queue_id;
        // As long as they are by today's setting, so that one read has it.
        let at_hand = self.index.end().saturating_sub(span.block.at);
        let room = self.settings.index_file_bytes - span.block.at % self.settings.index_file_bytes;
        let len = usize::try_from(room.min(at_hand)).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::new();
        let expected = bytes_max(self.settings.branch_references).min(len);
        let mut read = self.copy_index(span.block.at, expected, &mut bytes);
        let wanted = bytes_of(&bytes).filter(|len| *len <= BRANCH_BYTES_MAX);
        match wanted.filter(|_| is_of(&bytes, span, queue_id)) {
            Some(len) if len > bytes.len() => {
                bytes.clear();
                read = self.copy_index(span.block.at, len, &mut bytes);
            }
            Some(len) => bytes.truncate(len),
            None => {}
        }
        match read {
            Ok(()) => match reference_for(&bytes, span, at) {
                Some(child) if is_of(&bytes, span, queue_id) => Ok(child),
                _ => self.unsound_branch(queue, span, at, true),
            },
            // As with a block: the log has what it said.
            Err(Miss::Failed) => self.unsound_branch(queue, span, at, false),
            Err(miss) => Err(miss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_leads_to_the_block_of_each_entry_and_a_changed_bit_is_noticed() {
        let block = |nth: u64| BlockRef {
            first: QueueOffset(100 + 10 * nth),
            last_log: LogOffset(5_000 * (nth + 1)),
            at: 7_000 + nth,
            height: 0,
        };
        let blocks = [block(0), block(1), block(2)];
        let root = BlockRef { first: QueueOffset(100), last_log: LogOffset(15_000), at: 9_000, height: 1 };
        let span = IndexSpan { block: root, end: QueueOffset(125), after: Some(LogOffset(40)) };
        let mut bytes = Vec::new();
        encode(root.first, QueueId(3), blocks.iter(), &mut bytes);
        assert_eq!(bytes_of(&bytes), Some(bytes.len()));
        assert!(is_of(&bytes, &span, QueueId(3)) && !is_of(&bytes, &span, QueueId(4)));
        for (at, nth, end, after) in
            [(100, 0, 110, 40), (109, 0, 110, 40), (110, 1, 120, 5_000), (120, 2, 125, 10_000), (124, 2, 125, 10_000)]
        {
            let expected = IndexSpan { block: block(nth), end: QueueOffset(end), after: Some(LogOffset(after)) };
            assert_eq!(reference_for(&bytes, &span, QueueOffset(at)), Some(expected), "{at}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let is_taken =
                is_of(&changed, &span, QueueId(3)) && reference_for(&changed, &span, QueueOffset(111)).is_some();
            assert!(!is_taken, "bit {bit}");
        }
    }
}
