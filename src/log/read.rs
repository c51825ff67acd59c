//! Reading the log: from the ring while the bytes are new, else from blocks of the disk that the shell brings.
//!
//! A read that needs a block says `Cold` and is called again, with the same arguments, when the block was supplied. What it has found by
//! then it returns rather than wait.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::commit_log::Log;
use super::consume_queue::{self, BLOCK_HEADER_BYTES, ENTRY_BYTES, Entry, IndexSpan, Located, QueueIndex};
use super::derive;
use super::file::{BlockId, FileName, IoError};
use super::key_index::{KeyEntry, RUN_ENTRY_BYTES, Run, key_hash};
use crate::limits::{
    COLD_BLOCK_BYTES, DISK_BLOCK_BYTES, FILTER_SCAN_BYTES_MAX, KEPT_ENTRIES_MAX, LOOKUP_MS_MAX, LOOKUPS_MAX,
    PREFETCH_BLOCKS_MAX,
};
use crate::model::{LogOffset, MonoNs, QueueOffset, UnixMs};
use crate::protocol::body::QueueEntry;
use crate::protocol::record::{self, Check, Marks, RecordError, RecordView};
use crate::protocol::request::Boundary;

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// How much one read of a queue may return and look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages returned; the first record is returned however many it holds.
    pub messages_max: usize,
    /// Bytes returned; the first message is returned whatever its size.
    pub(crate) bytes_max: usize,
    /// Entries looked at, whether they match or not.
    pub(crate) entries_max: usize,
}

/// What a read of a queue has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Whole records were put out.
    Found {
        /// Where to go on.
        next: QueueOffset,
        /// How many messages they hold: a record may hold several.
        messages: usize,
    },
    /// Nothing up to `next` matches; also if there is nothing at all below the end.
    NoMatch {
        /// Where to go on.
        next: QueueOffset,
    },
    /// The messages up to `next` are gone.
    Removed {
        /// The first that may be there.
        next: QueueOffset,
    },
    /// The message before `next` is proven to be damaged here: its bytes were read twice from a place that is known.
    Damaged {
        /// Where it lies.
        at: LogOffset,
        /// Where to go on without it.
        next: QueueOffset,
    },
    /// The disk failed. Nothing is known to be lost: try again, with some patience, from the same offset.
    Failed,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// What the index says of a message, beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// Java's hash of its tag; in the scheduled topic when it is due, Unix ms; in that of timers its `WheelCode`. And where it lies.
    Code(i64, LogOffset),
    /// There is no such message.
    None,
    /// The entry cannot be read now.
    Unreadable,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// What was found at a log offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordRead {
    /// The whole record was put out.
    Found {
        /// Its bytes.
        size: u32,
    },
    /// There is no record at this offset.
    Missing,
    /// There is one, and the disk failed, or its bytes are not what was written: try again, with some patience.
    Failed,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// Result of a search by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Found(QueueOffset),
    /// The disk failed: try again later.
    Failed,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// When a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreTime {
    At(UnixMs),
    /// There is no such message.
    Missing,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// Result of a search by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySearch {
    /// Where records that may have the key lie, newest first. Equal hashes are no proof: check the keys.
    Ready(Vec<LogOffset>),
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// Why bytes are not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    Cold(BlockId),
    /// The disk failed, and is to be left alone for a moment.
    Failed,
    /// The record that lies there is not what was written.
    Damaged(LogOffset),
}

impl From<Miss> for RecordRead {
    fn from(miss: Miss) -> RecordRead {
        match miss {
            Miss::Cold(block) => RecordRead::Cold(block),
            Miss::Failed | Miss::Damaged(_) => RecordRead::Failed,
        }
    }
}

/// A search by time that was interrupted by a cold block, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeSearch {
    queue: QueueIndex,
    time: UnixMs,
    boundary: Boundary,
    low: QueueOffset,
    high: QueueOffset,
}

impl TimeSearch {
    pub(super) fn is_of(&self, queues: &[QueueIndex]) -> bool {
        queues.contains(&self.queue)
    }

    fn is_same(&self, other: &TimeSearch) -> bool {
        (self.queue, self.time, self.boundary) == (other.queue, other.time, other.boundary)
    }
}

/// A search by key that was interrupted by a cold block: what it has found, and which run is next. Without it a search over many runs would
/// need all their blocks in the cache at once.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    asked: KeyQuery,
    /// When it was interrupted last.
    kept: MonoNs,
    /// Runs that begin at or beyond this position of the index files were searched.
    searched: u64,
    found: Vec<LogOffset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyQuery {
    hash: u32,
    max: usize,
    begin: UnixMs,
    end: UnixMs,
}

impl Log {
    /// Reads messages of a queue from `from` on, as far as `limits` allow and consumers may see, and puts those records out whose tag code is
    /// `wanted`. Bounds are checked by the caller, who knows what to say of an offset outside them.
    pub fn read(
        &mut self,
        queue: QueueIndex,
        from: QueueOffset,
        limits: &ReadLimits,
        wanted: &dyn Fn(i64) -> bool,
        out: &mut BytesMut,
    ) -> Read {
        self.read_matching(queue, from, limits, wanted, &|_| true, out)
    }

    /// The same of those records alone that also `matches` of all their bytes. What does not match is passed over, up to a bound of bytes.
    pub(crate) fn read_matching(
        &mut self,
        queue: QueueIndex,
        from: QueueOffset,
        limits: &ReadLimits,
        wanted: &dyn Fn(i64) -> bool,
        matches: &dyn Fn(&[u8]) -> bool,
        out: &mut BytesMut,
    ) -> Read {
        let begin = out.len();
        let mut passed_bytes = 0;
        let end = QueueOffset(self.queues.get(queue).visible.0.min(from.0.saturating_add(limits.entries_max as u64)));
        let kept = self.crowd.take(queue, from);
        let mut at = from;
        let mut messages = 0;
        while at < end && messages < limits.messages_max && passed_bytes < FILTER_SCAN_BYTES_MAX {
            let nth = usize::try_from(at.0 - from.0).unwrap_or(usize::MAX);
            let entry = match kept.get(nth).map_or_else(|| self.entry(queue, at), |entry| Ok(Some(*entry))) {
                Ok(Some(entry)) if entry.log_offset >= self.start() => entry,
                Ok(_) => return self.removed(queue, at, messages),
                Err(miss) => return self.interrupted(queue, miss, (from, at), messages),
            };
            let is_wanted = wanted(entry.tag_code);
            if is_wanted && messages > 0 && out.len() - begin + entry.size as usize > limits.bytes_max {
                break;
            }
            if is_wanted {
                let before = out.len();
                // Where the queue goes on matters to reads of the disk alone.
                let next = match entry.log_offset < self.tail.low() {
                    true => kept.get(nth + 1).copied().or_else(|| self.known_entries(queue, at.plus(1)).next()),
                    false => None,
                };
                if let Err(miss) = self.copy_record(&entry, next.map(|next| next.log_offset), out) {
                    self.keep_entries(queue, at, kept.get(nth..).unwrap_or_default());
                    return self.interrupted(queue, miss, (from, at), messages);
                }
                let (next, count) = match record::is_inner_batch(&out[before..]) {
                    true => self.behind_batch(queue, at, &out[before..]),
                    false => (at.plus(1), 1),
                };
                if messages > 0 && messages + count > limits.messages_max {
                    out.truncate(before);
                    break;
                }
                if matches(&out[before..]) {
                    messages += count;
                } else {
                    passed_bytes += out.len() - before;
                    out.truncate(before);
                }
                at = next;
                continue;
            }
            at = at.plus(1);
        }
        let nth = usize::try_from(at.0 - from.0).unwrap_or(usize::MAX);
        self.keep_entries(queue, at, kept.get(nth..).unwrap_or_default());
        if messages > 0 { Read::Found { next: at, messages } } else { Read::NoMatch { next: at } }
    }

    /// Where a queue goes on behind the record that the entry at `at` leads to, which says that it is a batch, and how many messages that holds. It
    /// is read whole, from whichever of its offsets. Source: RocketMQ `BatchConsumeQueue`.
    fn behind_batch(&self, queue: QueueIndex, at: QueueOffset, record: &[u8]) -> (QueueOffset, usize) {
        let one = (at.plus(1), 1);
        let Ok(view) = RecordView::decode(record, None, Check::Shape) else { return one };
        let count = derive::message_count(view.sys_flag, Marks::of(view.properties).inner_count);
        let end = view.queue_offset.plus(u64::from(count));
        let queue = self.queues.get(queue);
        let is_its_own = view.topic == queue.topic.as_str() && view.queue_id == queue.queue_id;
        if is_its_own && (view.queue_offset..end).contains(&at) { (end, count as usize) } else { one }
    }

    /// The first offset behind `at` whose entry leads elsewhere than to `place`.
    fn behind_place(&mut self, queue: QueueIndex, at: QueueOffset, place: LogOffset) -> QueueOffset {
        let mut next = at.plus(1);
        while matches!(self.entry(queue, next), Ok(Some(entry)) if entry.log_offset == place && entry.size > 0) {
            next = next.plus(1);
        }
        next
    }

    /// What the index says of the message at a queue offset that consumers may see; the message itself is not read.
    pub fn code(&mut self, queue: QueueIndex, at: QueueOffset) -> Coded {
        if at >= self.queues.get(queue).visible {
            return Coded::None;
        }
        match self.entry(queue, at) {
            Ok(Some(entry)) if entry.log_offset >= self.start() => Coded::Code(entry.tag_code, entry.log_offset),
            Ok(_) | Err(Miss::Damaged(_)) => Coded::None,
            Err(Miss::Failed) => Coded::Unreadable,
            Err(Miss::Cold(block)) => Coded::Cold(block),
        }
    }

    /// What the index says of a message that consumers may see; `None` if there is none, or if that cannot be read now.
    pub(crate) fn queue_entry(&mut self, queue: QueueIndex, at: QueueOffset) -> Result<Option<QueueEntry>, BlockId> {
        if at >= self.queues.get(queue).visible {
            return Ok(None);
        }
        match self.entry(queue, at) {
            Ok(Some(Entry { log_offset, size, tag_code })) if log_offset >= self.start() => {
                Ok(Some(QueueEntry { log_offset, size, tag_code }))
            }
            Ok(_) | Err(Miss::Damaged(_) | Miss::Failed) => Ok(None),
            Err(Miss::Cold(block)) => Err(block),
        }
    }

    /// Where the entry at a queue offset leads, and how long the record is, if that is known and needs no block of the disk.
    pub(super) fn place_at_hand(&mut self, queue: QueueIndex, at: QueueOffset) -> Option<(LogOffset, u32)> {
        let entry = self.entry(queue, at).ok().flatten().filter(|entry| entry.size > 0)?;
        Some((entry.log_offset, entry.size))
    }

    fn removed(&mut self, queue: QueueIndex, at: QueueOffset, messages: usize) -> Read {
        if messages > 0 {
            return Read::Found { next: at, messages };
        }
        let next = self.queues.get(queue).min(self.start()).max(at.plus(1));
        let next = match self.first_living(queue, next) {
            Ok(next) => next,
            Err(Miss::Cold(block)) => return Read::Cold(block),
            // An error moves no reader, nor would one message more be of use to it.
            Err(Miss::Failed) => return Read::Failed,
            Err(Miss::Damaged(_)) => next,
        };
        let queue = self.queues.get_mut(queue);
        // What lies before was just seen to be gone, though its block still lives.
        queue.floor = queue.floor.max(next.min(queue.next()));
        Read::Removed { next }
    }

    /// What has come together by then is returned. That goes for entries that were only passed over as well: were the read to begin anew with
    /// all of them, their blocks might drive each other out of the cache for ever.
    fn interrupted(
        &mut self,
        queue: QueueIndex,
        miss: Miss,
        (from, at): (QueueOffset, QueueOffset),
        messages: usize,
    ) -> Read {
        if let Miss::Cold(block) = miss {
            self.read_ahead(block, at > from);
        }
        match miss {
            _ if messages > 0 => Read::Found { next: at, messages },
            _ if at > from => Read::NoMatch { next: at },
            Miss::Cold(block) => Read::Cold(block),
            Miss::Failed => Read::Failed,
            Miss::Damaged(place) => Read::Damaged { at: place, next: self.behind_place(queue, at, place) },
        }
    }

    /// A reader of old messages goes on with the next block: it is asked for before it is needed. `itself`: this block as well, since its
    /// reader got an answer and will be back.
    fn read_ahead(&mut self, block: BlockId, itself: bool) {
        if let FileName::Segment(start) = block.file {
            let next = start.plus(block.at).plus(u64::from(block.len));
            let is_same_file = u64::from(block.len) == COLD_BLOCK_BYTES && next < start.plus(self.segments.size());
            let following = (is_same_file && next < self.stable()).then(|| self.log_block(next)).flatten();
            for block in itself.then_some(block).into_iter().chain(following) {
                self.want_ahead(block);
            }
        }
    }

    /// Notes a block that will be wanted.
    pub(crate) fn want_ahead(&mut self, block: BlockId) {
        let is_known = self.caches.of(block.file).contains(block) || self.prefetch.contains(&block);
        if !is_known && self.prefetch.len() < PREFETCH_BLOCKS_MAX {
            self.prefetch.push_back(block);
        }
    }

    /// Blocks that will be wanted soon, each once: fetch them with the least shares and [`Self::supply`] them, or leave them.
    pub(crate) fn prefetch(&mut self) -> VecDeque<BlockId> {
        let mut blocks = std::mem::take(&mut self.prefetch);
        blocks.retain(|block| !self.is_gone(block.file));
        blocks
    }

    /// The answer to `Cold` and to [`Self::prefetch`]. What failed is read in smaller pieces, and again when it has rested.
    pub(crate) fn supply(&mut self, block: BlockId, data: Result<Bytes, IoError>) {
        // The file may have been recycled while it was read: its bytes may be another segment's.
        if self.is_gone(block.file) {
            return;
        }
        self.replicated.blocks.supply(block, &data);
        let (is_mends, is_scrubs) = (self.supply_mend(block, &data), self.supply_scrub(block, &data));
        if is_mends || is_scrubs {
            return;
        }
        if u64::from(block.len) > COLD_BLOCK_BYTES {
            return;
        }
        match data {
            Ok(data) if data.len() == block.len as usize => {
                self.note_block_read(block);
                self.caches.of(block.file).insert(block, data);
            }
            Ok(_) | Err(_) => {
                self.damage.reads_failed += 1;
                let tries = self.caches.of(block.file).note_failed(block, self.now.mono);
                if tries >= 2 && u64::from(block.len) == BLOCK && data.is_err_and(IoError::is_of_medium) {
                    self.note_block_failed(block);
                }
            }
        }
        self.continue_rebuilds(block);
    }

    /// Whether a file was taken out of the log.
    pub(super) fn is_gone(&self, file: FileName) -> bool {
        match file {
            FileName::Segment(start) => self.segments.find(start).is_none_or(|segment| segment.start != start),
            FileName::Index(number) => !self.index.files().contains_key(&number),
            FileName::Spare(_) | FileName::Checkpoint | FileName::Ends(_) => true,
        }
    }

    /// Puts out the record at a log offset, which may come from a client: anything but a sound record that consumers may see is `Missing`.
    pub fn record(&mut self, at: LogOffset, out: &mut BytesMut) -> RecordRead {
        self.record_before(at, self.confirm, out)
    }

    /// The same, also of a record that consumers may not see yet: for those whose own it is.
    pub(crate) fn stored_record(&mut self, at: LogOffset, out: &mut BytesMut) -> RecordRead {
        self.record_before(at, self.appended(), out)
    }

    fn record_before(&mut self, at: LogOffset, end: LogOffset, out: &mut BytesMut) -> RecordRead {
        if at < self.start() || at >= end {
            return RecordRead::Missing;
        }
        let room = self.room_to(at, end);
        let begin = out.len();
        if let Err(miss) = self.copy_log(at, room.min(8), out) {
            return RecordRead::from(miss);
        }
        let size = record::peek_size(&out[begin..]).ok().filter(|&size| size as usize <= room);
        out.truncate(begin);
        let Some(size) = size else { return self.no_record(at, 1, RecordRead::Missing) };
        if let Err(miss) = self.copy_log(at, size as usize, out) {
            return RecordRead::from(miss);
        }
        let read = match RecordView::decode(&out[begin..], Some(at), Check::Crc) {
            Ok(view) if self.is_whole(&view) => return RecordRead::Found { size },
            // Its head says that it lies here.
            Ok(_) | Err(RecordError::BodyCrc { .. } | RecordError::RecordCrc) => RecordRead::Failed,
            Err(_) => RecordRead::Missing,
        };
        out.truncate(begin);
        self.no_record(at, size, read)
    }

    /// The next reader has it from the device: its bytes may have been harmed on the way, or mended since. More than the block in which a record
    /// begins is forgotten for what is one: the place may come from a stranger.
    fn no_record(&mut self, at: LogOffset, size: u32, read: RecordRead) -> RecordRead {
        let len = if read == RecordRead::Failed { size } else { 1 };
        self.forget_blocks(at, at.plus(u64::from(len)));
        read
    }

    /// Bytes that a record at `at` can have: to the end of its segment and of what consumers may see.
    pub(super) fn room_at(&self, at: LogOffset) -> usize {
        self.room_to(at, self.confirm)
    }

    fn room_to(&self, at: LogOffset, end: LogOffset) -> usize {
        let segment_end = self.segments.find(at).map_or(at, |segment| segment.start.plus(self.segments.size()));
        usize::try_from(segment_end.min(end).0.saturating_sub(at.0)).unwrap_or(usize::MAX)
    }

    /// The first message of a queue that the log still has, or the queue's end. Unlike [`Log::bounds`] this sees into the block that is partly
    /// gone, and may need it: once, for what is found is kept until the log begins elsewhere.
    ///
    /// # Errors
    /// Call again when this block was supplied.
    pub fn first(&mut self, queue: QueueIndex) -> Result<QueueOffset, BlockId> {
        let start = self.start();
        let known = self.queues.get(queue);
        let mut low = known.min(start);
        if known.floor_as_of != start {
            low = match self.first_living(queue, low) {
                Ok(first) => first,
                Err(Miss::Cold(block)) => return Err(block),
                // What cannot be read says nothing; a reader finds out message by message.
                Err(Miss::Failed | Miss::Damaged(_)) => return Ok(low),
            };
        }
        let known = self.queues.get_mut(queue);
        known.floor = known.floor.max(low);
        known.floor_as_of = start;
        Ok(low)
    }

    /// The first entry from `from` on that the log still has, as far as what is in one block, or below one branch, with `from`.
    fn first_living(&mut self, queue: QueueIndex, from: QueueOffset) -> Result<QueueOffset, Miss> {
        let start = self.start();
        let is_whole = |span: &IndexSpan| span.after.is_some_and(|after| after >= start);
        let Located::Block(top) = self.queues.get(queue).locate(from) else { return Ok(from) };
        let (mut low, mut high) = (from, top.end);
        while low < high {
            let middle = QueueOffset(low.0 + (high.0 - low.0) / 2);
            let span = self.descend(queue, top, middle, &|_, span| is_whole(span))?;
            if span.block.last_log < start {
                low = span.end;
            } else if is_whole(&span) {
                high = span.block.first.max(low);
            } else {
                match self.entry(queue, middle)? {
                    Some(entry) if entry.log_offset >= start => high = middle,
                    _ => low = middle.plus(1),
                }
            }
        }
        Ok(low)
    }

    /// Where the message at a queue offset lies; `None` if there is none, or its entry cannot be read.
    ///
    /// # Errors
    /// Call again when this block was supplied.
    pub fn place(&mut self, queue: QueueIndex, at: QueueOffset) -> Result<Option<LogOffset>, BlockId> {
        match self.entry(queue, at) {
            Ok(entry) => Ok(entry.map(|entry| entry.log_offset).filter(|offset| *offset >= self.start())),
            Err(Miss::Failed | Miss::Damaged(_)) => Ok(None),
            Err(Miss::Cold(block)) => Err(block),
        }
    }

    /// When the message at a queue offset was stored.
    pub(crate) fn store_time(&mut self, queue: QueueIndex, at: QueueOffset) -> StoreTime {
        if at >= self.queues.get(queue).visible {
            return StoreTime::Missing;
        }
        match self.entry(queue, at) {
            Ok(Some(entry)) if entry.log_offset >= self.start() => match self.record_time(entry.log_offset) {
                Ok(time) => StoreTime::At(time),
                Err(Miss::Cold(block)) => StoreTime::Cold(block),
                Err(Miss::Failed | Miss::Damaged(_)) => StoreTime::Missing,
            },
            Ok(_) | Err(Miss::Failed | Miss::Damaged(_)) => StoreTime::Missing,
            Err(Miss::Cold(block)) => StoreTime::Cold(block),
        }
    }

    /// Searches a queue by store time. Store times are taken to rise along a queue; a clock that was set back makes the result inexact.
    pub(crate) fn offset_by_time(&mut self, queue: QueueIndex, time: UnixMs, boundary: Boundary) -> Search {
        let bounds = self.bounds(queue);
        let mut search = TimeSearch { queue, time, boundary, low: bounds.min, high: bounds.max };
        if let Some(index) = self.time_searches.iter().position(|other| other.is_same(&search)) {
            let interrupted = self.time_searches.swap_remove_back(index).expect("found above");
            search.low = interrupted.low.max(bounds.min);
            search.high = interrupted.high.max(search.low);
        }
        let TimeSearch { mut low, mut high, .. } = search;
        // The first message after the moment (`Upper`), or at or after it (`Lower`).
        while low < high {
            let middle = QueueOffset(low.0 + (high.0 - low.0) / 2);
            let is_before = match self.is_before(queue, middle, time, boundary) {
                Ok(is_before) => is_before,
                Err(Miss::Cold(block)) => return self.interrupted_search(TimeSearch { low, high, ..search }, block),
                // What the search says may move a reader, so it guesses nothing.
                Err(Miss::Failed) => return Search::Failed,
                // What is damaged is passed over like what is gone.
                Err(Miss::Damaged(_)) => true,
            };
            if is_before {
                low = middle.plus(1);
            } else {
                high = middle;
            }
        }
        if boundary == Boundary::Lower {
            return Search::Found(low);
        }
        let last = QueueOffset(low.0.saturating_sub(1)).max(bounds.min);
        match self.record_begins_at(queue, last) {
            Ok(first) => Search::Found(first.min(low)),
            Err(Miss::Cold(block)) => self.interrupted_search(TimeSearch { low, high, ..search }, block),
            Err(Miss::Failed) => Search::Failed,
            Err(Miss::Damaged(_)) => Search::Found(last),
        }
    }

    fn interrupted_search(&mut self, search: TimeSearch, block: BlockId) -> Search {
        if self.time_searches.len() == LOOKUPS_MAX {
            self.time_searches.pop_front();
        }
        self.time_searches.push_back(search);
        Search::Cold(block)
    }

    /// The first offset of the record that the entry at `at` leads to: it may hold several messages. If it is gone, what follows it.
    fn record_begins_at(&mut self, queue: QueueIndex, at: QueueOffset) -> Result<QueueOffset, Miss> {
        let Some(entry) = self.entry(queue, at)?.filter(|entry| entry.log_offset >= self.start()) else {
            return Ok(at.plus(1));
        };
        let mut head = BytesMut::new();
        self.copy_log(entry.log_offset, self.room_at(entry.log_offset).min(record::HEAD_BYTES), &mut head)?;
        let Some(first) = record::peek_batch_base(&head, entry.log_offset).filter(|first| *first < at) else {
            return Ok(at);
        };
        let is_its_own = self.entry(queue, first)?.is_some_and(|other| other.log_offset == entry.log_offset);
        Ok(if is_its_own { first } else { at })
    }

    fn is_before(
        &mut self,
        queue: QueueIndex,
        at: QueueOffset,
        time: UnixMs,
        boundary: Boundary,
    ) -> Result<bool, Miss> {
        let is_before = |stored: i64| match boundary {
            Boundary::Lower => stored < time.0,
            Boundary::Upper => stored <= time.0,
        };
        // Of all that a branch covers the segments may decide it, and then no block below is read.
        let of_all = |log: &Log, span: &IndexSpan| {
            let times = |at| log.segments.find(at).and_then(|segment| segment.times);
            if times(span.block.last_log).is_some_and(|(_, last)| is_before(last)) {
                return Some(true);
            }
            // One of its own that is still there: what else lies in front may be from before a clock was set back.
            times(span.after?).filter(|(first, _)| !is_before(*first)).map(|_| false)
        };
        if let Located::Block(span) = self.queues.get(queue).locate(at)
            && span.block.height > 0
        {
            let span = self.descend(queue, span, at, &|log, span| of_all(log, span).is_some())?;
            if span.block.height > 0
                && let Some(is_before) = of_all(self, &span)
            {
                return Ok(is_before);
            }
        }
        let Some(entry) = self.entry(queue, at)?.filter(|entry| entry.log_offset >= self.start()) else {
            return Ok(true);
        };
        // Most steps are decided by what is known of the whole segment, without a read.
        if let Some((first, last)) = self.segments.find(entry.log_offset).and_then(|segment| segment.times) {
            if is_before(last) {
                return Ok(true);
            }
            if !is_before(first) {
                return Ok(false);
            }
        }
        self.record_time(entry.log_offset).map(|stored| is_before(stored.0))
    }

    fn record_time(&mut self, at: LogOffset) -> Result<UnixMs, Miss> {
        let mut head = BytesMut::new();
        let len = self.room_at(at).min(record::HEAD_BYTES);
        self.copy_log(at, len, &mut head)?;
        record::peek_store_time(&head, at).map(UnixMs).ok_or(Miss::Damaged(at))
    }

    /// Searches for messages of a topic that may have a key, stored within `begin..=end`, newest first, at most `max`.
    pub(crate) fn find_keys(&mut self, topic: &str, key: &str, max: usize, begin: UnixMs, end: UnixMs) -> KeySearch {
        let asked = KeyQuery::new(topic, key, max, (begin, end));
        let now = self.now.mono;
        // One that nobody came back for knows nothing of what was stored since.
        self.lookups.retain(|lookup| now.ms_since(lookup.kept) < LOOKUP_MS_MAX);
        let interrupted = self.lookups.iter().position(|lookup| lookup.asked == asked);
        let mut lookup = match interrupted.and_then(|index| self.lookups.remove(index)) {
            Some(lookup) => lookup,
            None => {
                let matching = self.keys.active.iter().rev().filter(|entry| asked.matches(entry)).take(max);
                Lookup { asked, kept: now, searched: u64::MAX, found: matching.map(|entry| entry.log_offset).collect() }
            }
        };
        let start = self.start();
        while lookup.found.len() < max {
            let runs = self.keys.runs.iter().rev();
            let next = runs.filter(|run| run.last_log >= start && run.begin <= end && run.end >= begin);
            let Some(run) = next.copied().find(|run| run.at < lookup.searched) else { break };
            match self.find_in_run(&run, &asked, &mut lookup.found) {
                Ok(()) | Err(Miss::Failed | Miss::Damaged(_)) => lookup.searched = run.at,
                Err(Miss::Cold(block)) => {
                    self.keep_lookup(lookup);
                    return KeySearch::Cold(block);
                }
            }
        }
        lookup.found.truncate(max);
        lookup.found.retain(|&offset| start <= offset && offset < self.confirm);
        lookup.found.dedup();
        KeySearch::Ready(lookup.found)
    }

    /// A search that has ended with these places comes again, since one of them lies in a block that is not at hand: it is not to begin anew.
    pub(crate) fn keep_found(
        &mut self,
        topic: &str,
        key: &str,
        max: usize,
        times: (UnixMs, UnixMs),
        found: Vec<LogOffset>,
    ) {
        let asked = KeyQuery::new(topic, key, max, times);
        self.keep_lookup(Lookup { asked, kept: self.now.mono, searched: 0, found });
    }

    fn keep_lookup(&mut self, mut lookup: Lookup) {
        lookup.kept = self.now.mono;
        if self.lookups.len() == LOOKUPS_MAX {
            self.lookups.pop_front();
        }
        self.lookups.push_back(lookup);
    }

    fn find_in_run(&mut self, run: &Run, asked: &KeyQuery, found: &mut Vec<LogOffset>) -> Result<(), Miss> {
        let mut bytes = BytesMut::new();
        self.copy_index(run.directory_at(asked.hash), 8, &mut bytes)?;
        let (at, len) = run.bucket_at(&bytes).ok_or(Miss::Failed)?;
        bytes.clear();
        self.copy_index(at, len, &mut bytes)?;
        let entries = bytes.rchunks(RUN_ENTRY_BYTES).filter_map(|bytes| run.entry(bytes));
        found.extend(entries.filter(|entry| asked.matches(entry)).map(|entry| entry.log_offset));
        Ok(())
    }

    /// The entry at a queue offset; `None` if the queue does not hold it.
    fn entry(&mut self, queue: QueueIndex, at: QueueOffset) -> Result<Option<Entry>, Miss> {
        let span = match self.queues.get(queue).locate(at) {
            Located::Memory(entry) => return Ok(Some(entry)),
            Located::Outside => return Ok(None),
            Located::Block(span) => span,
        };
        if span.block.last_log < self.start() {
            return Ok(None);
        }
        if self.open_block.as_ref().is_none_or(|open| !open.has(queue, at)) {
            let span = self.descend(queue, span, at, &|_, _| false)?;
            if span.block.last_log < self.start() {
                return Ok(None);
            }
            let (span, bytes) = self.read_block(queue, span)?;
            self.open_block = Some(OpenBlock { queue, span, bytes });
        }
        let open = self.open_block.as_ref().expect("opened above");
        let (span, found) = (open.span, open.entry(at));
        // The block was built when the log was damaged there; if that was mended, so is the block.
        if let Some(lost) = found.filter(|entry| entry.size == 0)
            && lost.log_offset >= self.start()
            && self.is_mended(lost.log_offset)?
        {
            let (span, bytes) = self.unsound_block(queue, span, false)?;
            let open = self.open_block.insert(OpenBlock { queue, span, bytes });
            return Ok(open.entry(at));
        }
        Ok(found)
    }

    fn read_block(&mut self, queue: QueueIndex, span: IndexSpan) -> Result<(IndexSpan, Bytes), Miss> {
        let mut bytes = BytesMut::new();
        let is_read = match self.copy_index(span.block.at, consume_queue::bytes_of(span.count()), &mut bytes) {
            Ok(()) => true,
            // The file may be gone; the log has what it said.
            Err(Miss::Failed) => false,
            Err(miss) => {
                self.crowd.keep_path(queue, span);
                return Err(miss);
            }
        };
        let queue_id = self.queues.get(queue).queue_id;
        if is_read && consume_queue::is_sound_block(&bytes, &span, queue_id) {
            return Ok((span, bytes.freeze()));
        }
        self.unsound_block(queue, span, is_read)
    }

    /// A block of a queue was built again: the one that was read last may be the one before.
    pub(super) fn forget_open_block(&mut self, queue: QueueIndex) {
        if self.open_block.as_ref().is_some_and(|open| open.queue == queue) {
            self.open_block = None;
        }
    }

    /// Entries of a queue from `at` on, as far as they are at hand in the block that was read last.
    fn known_entries(&self, queue: QueueIndex, at: QueueOffset) -> impl Iterator<Item = Entry> {
        let open = self.open_block.as_ref().filter(|open| open.has(queue, at));
        open.map_or(&[][..], |open| open.from(at)).chunks_exact(ENTRY_BYTES).filter_map(Entry::get)
    }

    /// A reader will be back for the message at `at`: what the index says of it and of the next ones is kept, `kept` of it already. What is lost is
    /// looked for anew each time.
    fn keep_entries(&mut self, queue: QueueIndex, at: QueueOffset, kept: &[Entry]) {
        let is_there = |entry: &Entry| entry.size > 0;
        let entries = match kept {
            [] => self.known_entries(queue, at).take(KEPT_ENTRIES_MAX).take_while(is_there).collect(),
            _ => kept.to_vec(),
        };
        self.crowd.keep(queue, at, entries);
    }

    /// Puts out a record that an entry names, and checks that it is the one. `next`: where the queue goes on, if that is at hand.
    fn copy_record(&mut self, entry: &Entry, next: Option<LogOffset>, out: &mut BytesMut) -> Result<(), Miss> {
        let begin = out.len();
        let end = entry.log_offset.plus(u64::from(entry.size));
        let is_dense = next.is_some_and(|next| next.0.saturating_sub(end.0) < COLD_BLOCK_BYTES / 2);
        self.copy_log_by(entry.log_offset, entry.size as usize, !is_dense, out)?;
        // From the ring it is what was appended; what comes from a disk is looked at.
        if entry.log_offset < self.tail.low() {
            let sound = RecordView::decode(&out[begin..], Some(entry.log_offset), Check::Crc);
            if sound.is_ok_and(|view| self.is_whole(&view)) {
                self.damage.note_sound(entry.log_offset);
            } else {
                out.truncate(begin);
                return Err(self.unsound_record(entry.log_offset, entry.size));
            }
        }
        Ok(())
    }

    /// End of the bytes in the segments that will never be written again.
    fn stable(&self) -> LogOffset {
        LogOffset(self.written.0 / BLOCK * BLOCK)
    }

    /// The cold block that holds a log offset below [`Self::stable`].
    pub(super) fn log_block(&self, offset: LogOffset) -> Option<BlockId> {
        let segment = self.segments.find(offset)?;
        let at = offset.since(segment.start) / COLD_BLOCK_BYTES * COLD_BLOCK_BYTES;
        let end = (at + COLD_BLOCK_BYTES).min(self.segments.size()).min(self.stable().since(segment.start));
        Some(BlockId { file: FileName::Segment(segment.start), at, len: u32::try_from(end - at).ok()? })
    }

    /// Appends `len` bytes of the log to `out`, or nothing. Each part comes from the ring if it is there.
    pub(super) fn copy_log(&mut self, from: LogOffset, len: usize, out: &mut BytesMut) -> Result<(), Miss> {
        self.copy_log_by(from, len, false, out)
    }

    /// The same; if `is_sparse`, whoever reads this needs nothing else nearby.
    pub(super) fn copy_log_by(
        &mut self,
        from: LogOffset,
        len: usize,
        is_sparse: bool,
        out: &mut BytesMut,
    ) -> Result<(), Miss> {
        let low = self.tail.low();
        if from >= low {
            let (before, after) = self.tail.read(from, len);
            out.extend_from_slice(before);
            out.extend_from_slice(after);
            return Ok(());
        }
        let begin = out.len();
        let end = from.plus(len as u64);
        let mut at = from;
        while at < end.min(low) {
            let exact = self.exact_block(at, end.min(low), is_sparse);
            let block = exact.or_else(|| self.log_block(at)).ok_or(Miss::Failed)?;
            let FileName::Segment(start) = block.file else { return Err(Miss::Failed) };
            let offset = at.since(start) - block.at;
            match self.copy_block(block, offset, end.min(low).since(at), out) {
                Ok(copied) => at = at.plus(copied),
                Err(miss) => {
                    out.truncate(begin);
                    return Err(miss);
                }
            }
        }
        if end > low {
            let (before, after) = self.tail.read(at, usize::try_from(end.since(at)).expect("part of `len`"));
            out.extend_from_slice(before);
            out.extend_from_slice(after);
        }
        Ok(())
    }

    /// The disk blocks of `from..to` alone, if they are to be read without those around them: nobody else needs these, or they lie in two cold blocks,
    /// which in a crowd may drive one another out of the cache for ever.
    fn exact_block(&mut self, from: LogOffset, to: LogOffset, is_sparse: bool) -> Option<BlockId> {
        let (first, last) = (self.log_block(from)?, self.log_block(LogOffset(to.0 - 1))?);
        let start = self.segments.find(from)?.start;
        let at = from.since(start) / BLOCK * BLOCK;
        let end = to.since(start).next_multiple_of(BLOCK).min(last.at + u64::from(last.len));
        let len = u32::try_from(end - at).ok().filter(|len| u64::from(*len) <= COLD_BLOCK_BYTES)?;
        let exact = BlockId { at, len, ..first };
        let cache = &self.caches.log;
        let is_exact = match first == last {
            _ if cache.contains(exact) => true,
            true => is_sparse && !cache.contains(first) && !self.crowd.touch(first, at),
            false => !(cache.contains(first) && cache.contains(last)),
        };
        is_exact.then_some(exact)
    }

    /// Appends `len` bytes of the index files to `out`, or nothing.
    pub(super) fn copy_index(&mut self, from: u64, len: usize, out: &mut BytesMut) -> Result<(), Miss> {
        if let Some(bytes) = self.index.in_memory(from, len) {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        let begin = out.len();
        let end = from + len as u64;
        let mut at = from;
        while at < end.min(self.index.base()) {
            let block = self.index.cold_block(at, end - at);
            let offset = at % self.settings.index_file_bytes - block.at;
            match self.copy_block(block, offset, end.min(self.index.base()) - at, out) {
                Ok(copied) => at += copied,
                Err(miss) => {
                    out.truncate(begin);
                    return Err(miss);
                }
            }
        }
        if at == end {
            return Ok(());
        }
        let rest = usize::try_from(end - at).expect("part of `len`");
        match self.index.in_memory(at, rest) {
            Some(bytes) => out.extend_from_slice(bytes),
            None => {
                out.truncate(begin);
                return Err(Miss::Failed);
            }
        }
        Ok(())
    }

    /// Appends up to `len` bytes from `offset` of a cached block. How many. A block that could not be read is asked for in parts.
    fn copy_block(&mut self, whole: BlockId, offset: u64, len: u64, out: &mut BytesMut) -> Result<u64, Miss> {
        let cache = self.caches.of(whole.file);
        let part = cache.readable_part(whole, whole.at + offset, self.now.mono);
        let block = part.ok_or(Miss::Failed)?;
        let offset = whole.at + offset - block.at;
        let from = usize::try_from(offset).expect("within a block");
        let wanted = usize::try_from(len.min(u64::from(block.len).saturating_sub(offset))).expect("within a block");
        let cached = cache.get(block).filter(|data| data.len() >= from + wanted && wanted > 0);
        let Some(data) = cached else {
            return Err(Miss::Cold(block));
        };
        out.extend_from_slice(&data[from..from + wanted]);
        Ok(wanted as u64)
    }
}

/// The index block that was read last: a reader takes many entries of one block.
#[derive(Debug)]
pub(super) struct OpenBlock {
    queue: QueueIndex,
    span: IndexSpan,
    bytes: Bytes,
}

impl OpenBlock {
    fn has(&self, queue: QueueIndex, at: QueueOffset) -> bool {
        self.queue == queue && self.span.contains(at)
    }

    /// The bytes of the entries from `at` on, which is in it.
    fn from(&self, at: QueueOffset) -> &[u8] {
        let nth = usize::try_from(at.0 - self.span.block.first.0).expect("within a block");
        self.bytes.get(BLOCK_HEADER_BYTES + nth * ENTRY_BYTES..).unwrap_or_default()
    }

    fn entry(&self, at: QueueOffset) -> Option<Entry> {
        Entry::get(self.from(at))
    }
}

impl KeyQuery {
    fn new(topic: &str, key: &str, max: usize, (begin, end): (UnixMs, UnixMs)) -> KeyQuery {
        let seed = record::java_hash(record::java_hash(0, topic), "#");
        KeyQuery { hash: key_hash(seed, key), max, begin, end }
    }

    fn matches(&self, entry: &KeyEntry) -> bool {
        // Times in a run are whole seconds after its beginning.
        let second = 1000;
        entry.hash == self.hash && entry.time.0 + second > self.begin.0 && entry.time <= self.end
    }
}

#[cfg(test)]
mod tests;
