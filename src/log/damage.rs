//! What cannot be read, and what was read and is not what was written.
//!
//! An error moves no reader. A read that fails is tried again: at once in smaller pieces, so that one bad sector does not hide its neighbours,
//! and the smallest piece when it has rested. Bytes that are not what was written are read from the device once more; only when they are the
//! same again, at a place that is known, they are proven to be damaged. A block of a queue's index is then built again from the log, which is
//! where it came from; a message is lost here, until it is mended from a replica ([`super::mend`]), and whoever reads decides what to do without it.
//! A disk block of the log that cannot be read at all proves nothing: its readers wait, and what lay there is taken from a replica as well.
//!
//! What a branch says is nowhere else. If one is damaged, the block that a reader wants of it is built from all of the log that the branch is about,
//! from where the last one was found: who reads on reads that part of the log once. Where blocks lie that branches lead past or wrongly to is in memory
//! ([`Damage::moved`]); a start forgets it, and whoever reads them then has them built once more.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::branch;
use super::commit_log::Log;
use super::consume_queue::{self, BlockRef, Entry, IndexSpan, QueueIndex, encode_block};
use super::derive::{entries_in, removed_topic};
use super::file::{BlockId, FileName};
use super::mend::{MendPlace, Mends};
use super::read::Miss;
use super::recovery::{CrcRule, Parsed, parse};
use super::remembered::Remembered;
use super::walk::Walk;
use crate::limits::{
    COLD_BLOCK_BYTES, DAMAGED_MAX, MOVED_BLOCKS_MAX, REBUILD_BYTES_PER_TURN, REBUILDS_MAX, SUSPECTS_MAX, UNREADABLE_MAX,
};
use crate::model::{LogOffset, QueueOffset};
use crate::protocol::record::{Check, RecordView, peek_size};

/// What a log has found to be wrong with its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DamageCounts {
    /// Records that are proven to be damaged, and have not been read whole since; counted to [`DAMAGED_MAX`].
    pub(crate) records: u64,
    /// Blocks of the index that were built again from the log.
    pub(crate) index_blocks_rebuilt: u64,
    /// Reads of old data that failed.
    pub(crate) reads_failed: u64,
    /// Records that were mended from a replica.
    pub(crate) mended: u64,
    /// Disk blocks of the log that cannot be read, and could not be since; counted to [`UNREADABLE_MAX`].
    pub(crate) unreadable: u64,
    /// Of `records`, those that are damaged wherever they are known to have been.
    pub(crate) lost: u64,
}

/// What is suspected, proven, and being mended.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Records and index blocks that were unsound once, by the file's block they begin in.
    suspects: VecDeque<Suspect>,
    /// Records that were unsound twice.
    pub(super) proven: BTreeSet<LogOffset>,
    /// Starts of the disk blocks of the log that could not be read twice, by an error of the medium. What lies there is not known to be damaged: it moves
    /// no reader, and is never lost.
    pub(super) unreadable: BTreeSet<LogOffset>,
    pub(super) rebuilds: VecDeque<Rebuild>,
    /// Blocks below branches that were built again, by their queue and first entry. Whoever reads on needs the last one: it says where the log is to be
    /// read from for the next.
    moved: Remembered<(QueueIndex, QueueOffset), Moved, MOVED_BLOCKS_MAX>,
    index_blocks_rebuilt: u64,
    pub(super) reads_failed: u64,
    pub(super) mends: Mends,
    /// There is no room for more that are proven, and that was said.
    is_full: bool,
}

/// What was unsound once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspect {
    Record(LogOffset),
    /// A position in the index files.
    Index(u64),
}

/// A block below a branch that was built again.
#[derive(Clone, Copy, Debug)]
struct Moved {
    span: IndexSpan,
    /// Log offset of the last entry that was found for it, or in front of it: what comes behind the block does not lie before.
    found_to: Option<LogOffset>,
}

/// A block of a queue that is built again.
#[derive(Debug)]
pub(super) struct Rebuild {
    queue: QueueIndex,
    span: IndexSpan,
    entries: Vec<Entry>,
    walk: Walk,
    /// What entries say whose record is not found: where the log is unsound since the last record of the queue, else that they went with the
    /// front of the log.
    lost_at: Option<LogOffset>,
    /// The block of the log that is waited for.
    pub(super) awaits: Option<BlockId>,
}

impl Damage {
    /// Notes that what lies at a place is unsound. Whether that was known: then it has been read twice.
    pub(super) fn suspect(&mut self, place: Suspect) -> bool {
        if let Some(known) = self.suspects.iter().position(|suspect| *suspect == place) {
            self.suspects.remove(known);
            return true;
        }
        if self.suspects.len() == SUSPECTS_MAX {
            self.suspects.pop_front();
        }
        self.suspects.push_back(place);
        false
    }

    /// A record was read whole.
    pub(super) fn note_sound(&mut self, at: LogOffset) {
        if !self.suspects.is_empty() {
            self.suspects.retain(|suspect| *suspect != Suspect::Record(at));
        }
        if !self.proven.is_empty() && self.proven.remove(&at) {
            self.mends.forget(MendPlace::record(at));
            tracing::info!(%at, "a damaged message can be read again");
        }
    }

    /// A disk block can be read.
    pub(super) fn note_readable(&mut self, block: LogOffset) {
        if self.unreadable.remove(&block) {
            self.mends.forget(MendPlace::block(block));
            tracing::info!(log_offset = %block, "a block of the disk can be read again");
        }
    }

    /// Where the block with the entry at `at` lies, if it was built again and a branch leads elsewhere.
    pub(super) fn moved(&self, queue: QueueIndex, at: QueueOffset) -> Option<IndexSpan> {
        self.moved_with(queue, at).map(|moved| moved.span)
    }

    fn moved_with(&self, queue: QueueIndex, at: QueueOffset) -> Option<Moved> {
        let moved = self.moved.last_of((queue, QueueOffset(0)), (queue, at))?;
        Some(*moved).filter(|moved| moved.span.contains(at))
    }

    /// Where the log is to be read from for what begins at `first`, if the block before it was built again. One that goes on beyond, as those of another
    /// branch may, says nothing: its last entry lies behind what is looked for.
    fn found_before(&self, queue: QueueIndex, first: QueueOffset) -> Option<LogOffset> {
        let before = self.moved_with(queue, QueueOffset(first.0.checked_sub(1)?))?;
        before.found_to.filter(|_| before.span.end == first)
    }

    /// Forgets what lies before the start of the log.
    pub(super) fn trim(&mut self, start: LogOffset) {
        self.moved.retain(|_, moved| moved.span.block.last_log >= start);
        while self.proven.first().is_some_and(|first| *first < start) {
            self.proven.pop_first();
        }
        while self.unreadable.first().is_some_and(|first| *first < start) {
            self.unreadable.pop_first();
        }
        self.mends.trim(start);
    }

    pub(super) fn clear(&mut self) {
        self.suspects.clear();
        self.proven.clear();
        self.unreadable.clear();
        self.rebuilds.clear();
        self.moved = Remembered::default();
        self.mends.clear();
    }

    /// Nothing is built again for these queues: they were emptied.
    pub(super) fn forget_queues(&mut self, queues: &[QueueIndex]) {
        self.rebuilds.retain(|rebuild| !queues.contains(&rebuild.queue));
        self.moved.retain(|(queue, _), _| !queues.contains(queue));
    }
}

impl Log {
    /// What was found to be wrong with the files, since the start.
    #[must_use]
    pub(crate) fn damage(&self) -> DamageCounts {
        let damage = &self.damage;
        DamageCounts {
            records: damage.proven.len() as u64,
            index_blocks_rebuilt: damage.index_blocks_rebuilt,
            reads_failed: damage.reads_failed,
            mended: damage.mends.mended,
            unreadable: damage.unreadable.len() as u64,
            lost: damage.mends.lost_count(),
        }
    }

    /// Whether a record whose CRCs are right, as far as it has any, is what was written. Its body's covers neither topic nor properties: where all
    /// have the CRC property, one that lacks it is damaged.
    pub(super) fn is_whole(&self, view: &RecordView<'_>) -> bool {
        let may_be_plain = || self.segments.find(view.log_offset).is_some_and(|segment| segment.is_plain);
        view.has_crc() || (may_be_plain() && !view.has_lost_crc())
    }

    /// What is at the beginning of `bytes`, which lie at `at` in a segment that ends at `end`. A segment has one filler, in a place that is known: what looks
    /// like one elsewhere hides what lies behind it, and is no record.
    pub(super) fn parse_at<'a>(&self, bytes: &'a [u8], at: LogOffset, end: LogOffset) -> Parsed<'a> {
        match parse(bytes, at, end, CrcRule::Optional) {
            Parsed::Filler | Parsed::Doubtful if self.has_filler_elsewhere(at) => Parsed::NoRecord,
            parsed => parsed,
        }
    }

    fn has_filler_elsewhere(&self, at: LogOffset) -> bool {
        self.segments.find(at).and_then(|segment| segment.filler).is_some_and(|known| known != at)
    }

    /// What to do about a record that is unsound: read it again, or say that it is lost.
    pub(super) fn unsound_record(&mut self, at: LogOffset, size: u32) -> Miss {
        let first = self.log_block(at);
        // The next reader has it from the device: it may have been mended.
        self.forget_blocks(at, at.plus(u64::from(size).max(1)));
        if self.note_unsound(at) {
            self.damage.mends.note_wanted(MendPlace::record(at));
            Miss::Damaged(at)
        } else {
            first.map_or(Miss::Failed, Miss::Cold)
        }
    }

    /// Notes that the record at `at` was read and is unsound. Whether that is proven: it was read twice, or was proven before.
    pub(super) fn note_unsound(&mut self, at: LogOffset) -> bool {
        if self.damage.proven.contains(&at) {
            return true;
        }
        if !self.damage.suspect(Suspect::Record(at)) {
            return false;
        }
        let segment = self.segments.find(at).map_or(at, |segment| segment.start);
        let (file, byte) = (FileName::Segment(segment), at.since(segment));
        if self.damage.proven.len() >= DAMAGED_MAX {
            // It is found again by each who reads it, and not worth a line each time.
            if !std::mem::replace(&mut self.damage.is_full, true) {
                tracing::error!(%file, byte, log_offset = %at, "a message is damaged on the disk, as are {DAMAGED_MAX} others: no more are mended and counted; `ringmq store repair` mends the store of a stopped node");
            }
            return true;
        }
        tracing::error!(%file, byte, log_offset = %at, "a message is damaged on the disk");
        self.damage.proven.insert(at);
        self.damage.is_full = false;
        self.damage.mends.wake();
        true
    }

    /// Notes that a disk block of a segment could not be read twice.
    pub(super) fn note_unreadable(&mut self, block: LogOffset) {
        if self.damage.unreadable.contains(&block) || self.damage.unreadable.len() >= UNREADABLE_MAX {
            return;
        }
        let segment = self.segments.find(block).map_or(block, |segment| segment.start);
        let (file, byte) = (FileName::Segment(segment), block.since(segment));
        tracing::error!(%file, byte, log_offset = %block, "a block of the disk cannot be read: what lay there is asked of a replica and written anew, if there is one");
        self.damage.unreadable.insert(block);
        self.damage.mends.wake();
    }

    /// A reader waits for a disk block that could not be read more than once.
    pub(super) fn note_block_failed(&mut self, block: BlockId) {
        if let FileName::Segment(start) = block.file {
            self.note_unreadable(start.plus(block.at));
            self.damage.mends.note_wanted(MendPlace::block(start.plus(block.at)));
        }
    }

    /// Disk blocks were read.
    pub(super) fn note_block_read(&mut self, block: BlockId) {
        if let FileName::Segment(start) = block.file
            && !self.damage.unreadable.is_empty()
        {
            let from = start.plus(block.at);
            let known = self.damage.unreadable.range(from..from.plus(u64::from(block.len)));
            for block in known.copied().collect::<Vec<_>>() {
                self.damage.note_readable(block);
            }
        }
    }

    pub(super) fn forget_blocks(&mut self, from: LogOffset, to: LogOffset) {
        let to = to.min(self.tail.low());
        let mut next = from;
        while next < to
            && let Some(block) = self.log_block(next)
        {
            self.caches.log.forget_block(block);
            next = start_of(block).plus(u64::from(block.len));
        }
    }

    /// Whether a sound record lies at a place of which a block that was built again says that its message is lost.
    pub(super) fn is_mended(&mut self, at: LogOffset) -> Result<bool, Miss> {
        let mut bytes = BytesMut::new();
        self.copy_log(at, self.room_at(at).min(8), &mut bytes)?;
        let Ok(size) = peek_size(&bytes) else { return Ok(false) };
        let len = size as usize;
        if len > self.room_at(at) {
            return Ok(false);
        }
        bytes.clear();
        self.copy_log(at, len, &mut bytes)?;
        let is_sound = RecordView::decode(&bytes, Some(at), Check::Crc).is_ok_and(|view| self.is_whole(&view));
        if !is_sound {
            self.forget_blocks(at, at.plus(u64::from(size)));
        }
        Ok(is_sound)
    }

    /// What to do about a block of a queue that is unsound or cannot be read: read it again, or build it from the log. The new block and where it
    /// lies, when it is ready.
    pub(super) fn unsound_block(
        &mut self,
        queue: QueueIndex,
        span: IndexSpan,
        is_read: bool,
    ) -> Result<(IndexSpan, Bytes), Miss> {
        let is_same = |one: &Rebuild| one.queue == queue && one.span.block == span.block;
        let known = self.damage.rebuilds.iter().position(is_same);
        if known.is_none() && is_read && !self.damage.suspect(Suspect::Index(span.block.at)) {
            return Err(self.read_index_again(span.block.at, consume_queue::bytes_of(span.count())));
        }
        let mut rebuild = match known.and_then(|known| self.damage.rebuilds.remove(known)) {
            Some(rebuild) => rebuild,
            None => self.begin_rebuild(queue, span),
        };
        match self.go_on_rebuilding(&mut rebuild) {
            Ok(()) => Ok(self.end_rebuild(rebuild)),
            Err(miss) => {
                rebuild.awaits = if let Miss::Cold(block) = miss { Some(block) } else { None };
                if self.damage.rebuilds.len() == REBUILDS_MAX {
                    self.damage.rebuilds.pop_front();
                }
                self.damage.rebuilds.push_back(rebuild);
                Err(miss)
            }
        }
    }

    /// What is unsound in the index is read once more, from the device.
    fn read_index_again(&mut self, at: u64, len: usize) -> Miss {
        let cold = self.index.cold_block(at, len as u64);
        self.caches.index.forget_block(cold);
        Miss::Cold(cold)
    }

    /// What to do about a branch that is unsound or cannot be read: read it again, or build the block that it should lead to for the entry at `at`.
    pub(super) fn unsound_branch(
        &mut self,
        queue: QueueIndex,
        span: &IndexSpan,
        at: QueueOffset,
        is_read: bool,
    ) -> Result<IndexSpan, Miss> {
        let entries = self.settings.queue_block_entries as u64;
        let nth = (at.0 - span.block.first.0) / entries;
        let first = span.block.first.plus(nth * entries);
        let block = BlockRef { first, height: 0, ..span.block };
        let after = self.damage.found_before(queue, first).max(span.after);
        let wanted = IndexSpan { block, end: first.plus(entries).min(span.end), after };
        let is_known = self.damage.rebuilds.iter().any(|one| one.queue == queue && one.span.block.at == block.at);
        if !is_known && is_read && !self.damage.suspect(Suspect::Index(block.at)) {
            return Err(self.read_index_again(block.at, branch::bytes_max(self.settings.branch_references)));
        }
        self.unsound_block(queue, wanted, false).map(|(built, _)| built)
    }

    fn begin_rebuild(&mut self, queue: QueueIndex, span: IndexSpan) -> Rebuild {
        let of = self.queues.get(queue);
        let at = span.after.unwrap_or_default().max(of.life_from).max(self.start());
        tracing::warn!(
            topic = %of.topic, queue = %of.queue_id, first = %span.block.first, count = span.count(),
            "a block of the index is damaged and is built again from the log"
        );
        Rebuild { queue, span, entries: Vec::new(), walk: Walk::new(at), lost_at: None, awaits: None }
    }

    /// Reads on, up to what one turn may do.
    fn go_on_rebuilding(&mut self, rebuild: &mut Rebuild) -> Result<(), Miss> {
        let mut read = 0;
        // The front of the log may have gone since the last turn, and entries with it.
        rebuild.skip_to(self.start());
        // To the last of its records, even if it is whole before, unless it is known where the queue's life began: an earlier one may have filled it.
        let is_one_life = self.queues.get(rebuild.queue).life_from > LogOffset(0);
        let is_done = |rebuild: &Rebuild| is_one_life && rebuild.is_full();
        while rebuild.walk.at <= rebuild.span.block.last_log && !is_done(rebuild) {
            let Some(segment) = self.segments.find(rebuild.walk.at).copied() else { break };
            let end = segment.start.plus(self.segments.size());
            match self.parse_at(&rebuild.walk.bytes, rebuild.walk.at, end) {
                Parsed::Record(view) if self.is_whole(&view) => {
                    let size = view.size as usize;
                    let queue = self.queues.get(rebuild.queue);
                    if removed_topic(&view) == Some(queue.topic.as_str()) {
                        rebuild.entries.clear();
                    }
                    let name = (queue.topic.as_str(), queue.queue_id);
                    if let Some((first, entry, count)) = entries_in(&view, name, &self.settings.delay_levels) {
                        rebuild.entries_push(first, entry, count);
                        rebuild.lost_at = None;
                    }
                    rebuild.walk.is_in_gap = false;
                    rebuild.walk.pass(size);
                }
                Parsed::Filler | Parsed::Doubtful => {
                    rebuild.walk.go_to(end);
                }
                Parsed::More => {
                    let from = rebuild.walk.at.plus(rebuild.walk.bytes.len() as u64);
                    let block = if from < self.tail.low() { self.log_block(from) } else { None };
                    let to = block.map_or(self.appended(), |block| start_of(block).plus(u64::from(block.len)));
                    let len = to.min(end).0.saturating_sub(from.0).min(COLD_BLOCK_BYTES);
                    if len == 0 {
                        break;
                    }
                    if read >= REBUILD_BYTES_PER_TURN
                        && let Some(block) = block
                    {
                        // It may be at hand, but others are to have their turn.
                        return Err(Miss::Cold(block));
                    }
                    self.copy_log(from, usize::try_from(len).expect("a block"), &mut rebuild.walk.bytes)?;
                    read += len;
                }
                Parsed::Record(_) | Parsed::NoRecord => {
                    let block = if rebuild.walk.at < self.tail.low() { self.log_block(rebuild.walk.at) } else { None };
                    if let Some(block) = block
                        && !rebuild.walk.is_in_gap
                        && !self.damage.suspect(Suspect::Record(rebuild.walk.at))
                    {
                        // Once more, from the device.
                        self.forget_blocks(rebuild.walk.at, rebuild.walk.at.plus(rebuild.walk.bytes.len() as u64));
                        rebuild.walk.bytes.clear();
                        return Err(Miss::Cold(block));
                    }
                    // The log itself is unsound here: on to the next record.
                    rebuild.lost_at.get_or_insert(rebuild.walk.at);
                    rebuild.walk.pass_gap();
                }
            }
        }
        Ok(())
    }

    /// Puts the block behind the others. What is missing of it was lost with the log's own bytes, and says so when it is read.
    fn end_rebuild(&mut self, mut rebuild: Rebuild) -> (IndexSpan, Bytes) {
        rebuild.fill(rebuild.span.count() as usize);
        let mut span = rebuild.span;
        let of = self.queues.get_mut(rebuild.queue);
        let mut bytes = Vec::new();
        encode_block(span.block.first, of.queue_id, &rebuild.entries, &mut bytes);
        // One that is lost does not say where it lay.
        let last_found = rebuild.entries.iter().rev().find(|entry| entry.size > 0);
        let found_to = last_found.map(|entry| entry.log_offset).max(span.after);
        if let Some(last) = rebuild.entries.last().filter(|last| last.size > 0) {
            span.block.last_log = last.log_offset;
        }
        span.block.at = self.index.push(&bytes, span.block.last_log);
        // It may have been built twice.
        match of.blocks.iter_mut().find(|block| block.height == 0 && block.first == span.block.first) {
            Some(block) => block.at = span.block.at,
            None => self.damage.moved.insert((rebuild.queue, span.block.first), Moved { span, found_to }),
        }
        self.forget_open_block(rebuild.queue);
        self.damage.index_blocks_rebuilt += 1;
        (span, bytes.into())
    }

    /// A block of the log has come: what is built again from it goes on, without waiting for its reader.
    pub(super) fn continue_rebuilds(&mut self, block: BlockId) {
        let Some(waiting) = self.damage.rebuilds.iter().find(|rebuild| rebuild.awaits == Some(block)) else { return };
        let (queue, span) = (waiting.queue, waiting.span);
        if let Err(Miss::Cold(next)) = self.unsound_block(queue, span, false) {
            self.want_ahead(next);
        }
    }
}

impl Rebuild {
    /// What lies before the log's start is gone.
    fn skip_to(&mut self, start: LogOffset) {
        if self.walk.at < start {
            (self.walk, self.lost_at) = (Walk::new(start), None);
        }
    }

    /// An earlier life of the queue may lie in the log as well: what comes later counts.
    fn entries_push(&mut self, offset: QueueOffset, entry: Entry, count: u32) {
        // Of a record with several messages the first ones may be in the block before.
        let end = offset.plus(u64::from(count));
        let of_block = self.span.block.first;
        let first = offset.max(of_block);
        let Some(count) = end.0.checked_sub(first.0).filter(|count| *count > 0) else { return };
        let room = self.span.count() as usize;
        let Some(nth) = usize::try_from(first.0 - of_block.0).ok().filter(|nth| *nth < room) else {
            // It lies behind the block, as where a branch does not say where that ends: what is missing of the block was lost in front of it.
            return self.fill(room);
        };
        self.entries.truncate(nth);
        // An earlier life may have gone on behind the block: what is missing in this one was lost in this one.
        while self.entries.pop_if(|last| last.size == 0).is_some() {}
        self.fill(nth);
        self.entries.extend(std::iter::repeat_n(entry, usize::try_from(count).unwrap_or(usize::MAX)));
        self.entries.truncate(room);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.span.count() as usize
    }

    fn fill(&mut self, count: usize) {
        let lost = Entry { log_offset: self.lost_at.unwrap_or_default(), size: 0, tag_code: 0 };
        self.entries.resize(count.max(self.entries.len()), lost);
    }
}

/// The log offset at which a block of a segment begins.
fn start_of(block: BlockId) -> LogOffset {
    match block.file {
        FileName::Segment(start) => start.plus(block.at),
        _ => LogOffset(block.at),
    }
}
