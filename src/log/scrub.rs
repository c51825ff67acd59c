//! The scrub: every sealed byte is read once in a given time, so that damage is found while a replica still has what was there.
//!
//! It goes along the closed segments, then along the index files, one block at a time, no faster than the time asks and with the least shares of
//! the disk ([`Log::prefetch`]). What it reads stays out of the cache. A record that is unsound is read once more, and then counts as damaged
//! ([`super::damage`]); a block of a queue's index is built again. Where a read fails, smaller ones show which disk block it is.
//! Its place is in the checkpoint, so that nodes that are often started come to the end as well.
//!
//! What no reader can notice is only read: the padding behind a filler, which may be anything, not at all; a run of keys, which has no checksum,
//! is compared with its own directory.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::branch;
use super::commit_log::Log;
use super::consume_queue::{self, QueueIndex};
use super::damage::Suspect;
use super::file::{BlockId, FileName, IoError};
use super::key_index;
use super::recovery::Parsed;
use super::walk::Walk;
use crate::limits::{
    DISK_BLOCK_BYTES, PREFETCH_BLOCKS_MAX, REBUILDS_MAX, SCRUB_BLOCK_BYTES, SCRUB_PATIENCE_MS, SCRUB_SWEEP_PER_TICK,
    SUSPECTS_MAX,
};
use crate::model::{LogOffset, MonoNs, UnixMs};

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// Where a scrub goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScrubPlace {
    Log(LogOffset),
    /// A position in the index files; all of the log is done.
    Index(u64),
}

/// How far the scrub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScrubView {
    /// Bytes of this pass that are done.
    pub(crate) done_bytes: u64,
    /// Bytes of a pass, as of now.
    pub(crate) total_bytes: u64,
    /// When the last pass ended.
    pub(crate) last_end: Option<UnixMs>,
}

/// State of the scrub.
#[derive(Debug)]
pub(super) struct Scrub {
    /// Where it is in the log.
    walk: Walk,
    /// Where it is in the index files, once the log is done.
    index: Option<IndexWalk>,
    /// The block that was asked for, and when.
    asked: Option<(BlockId, MonoNs)>,
    /// Bytes that may be read by now, and what is left of the division that made them.
    credit: (u64, u64),
    earned_at: MonoNs,
    /// Bytes asked for at once: fewer where a read has failed.
    part_bytes: u64,
    /// Whether the smallest part has failed once.
    has_failed: bool,
    /// Ranges of the index files that are unsound, and where the search for whom they belong to has come to.
    unsound: VecDeque<Sweep>,
    pub(super) last_end: Option<UnixMs>,
}

#[derive(Debug)]
struct IndexWalk {
    /// Position of `bytes[0]`.
    at: u64,
    bytes: BytesMut,
    /// Where what is unsound began.
    gap: Option<u64>,
}

/// A search for the blocks that begin in a range of the index files.
#[derive(Debug)]
struct Sweep {
    from: u64,
    to: u64,
    queue: usize,
    nth: usize,
}

/// What begins at a position of the index files.
#[derive(Debug, PartialEq, Eq)]
enum IndexParsed {
    /// So many bytes that are as they should be.
    Sound(usize),
    More,
    Unsound,
}

impl Default for Scrub {
    fn default() -> Scrub {
        Scrub {
            walk: Walk::default(),
            index: None,
            asked: None,
            credit: (0, 0),
            earned_at: MonoNs(0),
            part_bytes: SCRUB_BLOCK_BYTES,
            has_failed: false,
            unsound: VecDeque::new(),
            last_end: None,
        }
    }
}

impl Scrub {
    /// Goes on where an earlier process was. If the log was cut since, no record need begin there.
    pub(super) fn resume(&mut self, place: ScrubPlace, last_end: Option<UnixMs>) {
        match place {
            ScrubPlace::Log(at) => self.walk = Walk { is_in_gap: true, ..Walk::new(at) },
            ScrubPlace::Index(at) => self.index = Some(IndexWalk::new(at)),
        }
        self.last_end = last_end;
    }

    /// What a checkpoint keeps of it.
    pub(super) fn place(&self) -> ScrubPlace {
        match &self.index {
            Some(index) => ScrubPlace::Index(index.gap.unwrap_or(index.at)),
            None => ScrubPlace::Log(self.walk.at),
        }
    }

    /// The pace changes: what is left of the last division was of another.
    pub(super) fn begin_pace(&mut self) {
        self.credit.1 = 0;
    }

    /// The time since this was last called is worth the part of `total` that it is of `interval_ms`; together never more than one pass.
    fn earn(&mut self, total: u64, interval_ms: u64, now: MonoNs) {
        let elapsed_ms = now.ms_since(self.earned_at);
        self.earned_at = self.earned_at.plus_ms(elapsed_ms);
        let (credit, rest) = self.credit;
        let earned = u128::from(total) * u128::from(elapsed_ms) + u128::from(rest);
        let bytes = u64::try_from(earned / u128::from(interval_ms)).unwrap_or(u64::MAX);
        let rest = u64::try_from(earned % u128::from(interval_ms)).unwrap_or(0);
        self.credit = (credit.saturating_add(bytes).min(total), rest);
    }
}

impl IndexWalk {
    fn new(at: u64) -> IndexWalk {
        IndexWalk { at, bytes: BytesMut::new(), gap: None }
    }

    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn go_to(&mut self, at: u64) {
        self.at = at;
        self.bytes.clear();
    }

    fn pass(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        self.at += bytes as u64;
    }

    /// What lies here is unsound: on to what may be the beginning of something, as far as was read.
    fn pass_gap(&mut self) {
        self.gap.get_or_insert(self.at);
        self.pass(1);
        let magics = [consume_queue::BLOCK_MAGIC, branch::BRANCH_MAGIC, key_index::RUN_MAGIC].map(u32::to_be_bytes);
        let next = self.bytes.windows(4).position(|four| magics.iter().any(|magic| four == magic));
        self.pass(next.unwrap_or(self.bytes.len().saturating_sub(3)));
    }
}

impl Log {
    /// How far the scrub is.
    #[must_use]
    pub(crate) fn scrub(&self) -> ScrubView {
        let log_bytes = self.sealed().since(self.start().min(self.sealed()));
        let done_bytes = match &self.scrub.index {
            Some(index) => log_bytes + index.at.saturating_sub(self.index_begin()),
            None => self.scrub.walk.at.0.saturating_sub(self.start().0).min(log_bytes),
        };
        ScrubView { done_bytes, total_bytes: self.scrub_total(), last_end: self.scrub.last_end }
    }

    /// End of the segments that are closed, flushed and out of the ring: nobody writes there again.
    fn sealed(&self) -> LogOffset {
        let end = self.flushed.min(self.tail.low());
        self.segments.find(end).map_or(end, |segment| segment.start)
    }

    fn index_begin(&self) -> u64 {
        let first = self.index.files().keys().next();
        first.map_or(self.index.base(), |number| u64::from(*number) * self.settings.index_file_bytes)
    }

    fn scrub_total(&self) -> u64 {
        let log = self.sealed().0.saturating_sub(self.start().0);
        log + self.index.base().saturating_sub(self.index_begin())
    }

    /// Some time has passed.
    pub(super) fn tick_scrub(&mut self) {
        let interval_ms = self.settings.scrub_interval_ms;
        if interval_ms == 0 {
            self.scrub.earned_at = self.now.mono;
            return;
        }
        self.scrub.earn(self.scrub_total(), interval_ms, self.now.mono);
        self.sweep_unsound();
        self.ask_to_scrub();
    }

    /// Asks for the next block, if its time has come and none is under way. One that does not come was given up by the shell.
    fn ask_to_scrub(&mut self) {
        if let Some((block, at)) = self.scrub.asked {
            if !self.is_gone(block.file) && self.now.mono < at.plus_ms(SCRUB_PATIENCE_MS) {
                return;
            }
            self.scrub.asked = None;
        }
        if let Some(block) = self.next_to_scrub()
            && self.scrub.credit.0 >= u64::from(block.len)
            && self.prefetch.len() < PREFETCH_BLOCKS_MAX
        {
            self.scrub.asked = Some((block, self.now.mono));
            self.prefetch.push_back(block);
        }
    }

    /// The next block of this pass; behind the last one the next pass begins, without a block for this moment.
    fn next_to_scrub(&mut self) -> Option<BlockId> {
        if self.scrub.index.is_none() {
            let start = self.start();
            if self.scrub.walk.at < start {
                self.scrub.walk = Walk::new(start);
            }
            if self.scrub.walk.at < self.sealed() {
                let from = self.scrub.walk.end();
                let segment = self.segments.find(from)?;
                let at = from.since(segment.start) / BLOCK * BLOCK;
                let len = self.scrub.part_bytes.min(self.segments.size() - at);
                return Some(BlockId { file: FileName::Segment(segment.start), at, len: u32::try_from(len).ok()? });
            }
            self.scrub.index = Some(IndexWalk::new(self.index_begin()));
        }
        let file_bytes = self.settings.index_file_bytes;
        let base = self.index.base();
        let walk = self.scrub.index.as_mut()?;
        let wanted = u32::try_from(walk.end() / file_bytes).ok()?;
        let begin = self.index.files().range(wanted..).next().map(|(number, _)| u64::from(*number) * file_bytes);
        match begin {
            Some(begin) if walk.end().max(begin) < base => {
                if walk.end() < begin {
                    *walk = IndexWalk::new(begin);
                }
                let at = (walk.end() - begin) / BLOCK * BLOCK;
                let len = self.scrub.part_bytes.min(file_bytes - at).min(base - begin - at);
                let number = u32::try_from(begin / file_bytes).ok()?;
                Some(BlockId { file: FileName::Index(number), at, len: u32::try_from(len).ok()? })
            }
            _ => {
                self.note_index_gap();
                self.scrub.index = None;
                self.scrub.walk = Walk::new(self.start());
                self.scrub.last_end = Some(self.now.unix);
                None
            }
        }
    }

    /// Takes a block that was asked for here. Whether it was.
    pub(super) fn supply_scrub(&mut self, block: BlockId, data: &Result<Bytes, IoError>) -> bool {
        if self.scrub.asked.is_none_or(|(asked, _)| asked != block) {
            return false;
        }
        self.scrub.asked = None;
        match data {
            Ok(data) if data.len() == block.len as usize => {
                self.scrub.credit.0 = self.scrub.credit.0.saturating_sub(u64::from(block.len));
                self.scrub.part_bytes = SCRUB_BLOCK_BYTES.min(2 * self.scrub.part_bytes);
                self.scrub.has_failed = false;
                match block.file {
                    FileName::Segment(start) => self.scrub_log(start.plus(block.at), data),
                    _ => self.scrub_index(block, data),
                }
                self.ask_to_scrub();
            }
            Ok(_) | Err(_) => self.scrub_failed(block, data.as_ref().is_err_and(|error| error.is_of_medium())),
        }
        true
    }

    fn scrub_log(&mut self, begin: LogOffset, data: &Bytes) {
        let mut walk = std::mem::take(&mut self.scrub.walk);
        let known = usize::try_from(walk.end().since(begin)).expect("it was asked for from there on");
        walk.bytes.extend_from_slice(&data[known..]);
        let sealed = self.sealed();
        while walk.at < sealed
            && let Some(segment) = self.segments.find(walk.at)
        {
            let end = segment.start.plus(self.segments.size());
            match self.parse_at(&walk.bytes, walk.at, end) {
                Parsed::Record(view) if self.is_whole(&view) => {
                    let size = view.size as usize;
                    self.damage.note_sound(walk.at);
                    walk.is_in_gap = false;
                    walk.pass(size);
                }
                Parsed::Filler | Parsed::Doubtful => {
                    walk.is_in_gap = false;
                    walk.go_to(end);
                }
                Parsed::More => break,
                Parsed::Record(_) | Parsed::NoRecord => {
                    if !walk.is_in_gap && !self.note_unsound(walk.at) {
                        // Once more, from the device.
                        walk.go_to(walk.at);
                        break;
                    }
                    walk.pass_gap();
                }
            }
        }
        self.scrub.walk = walk;
    }

    fn scrub_index(&mut self, block: BlockId, data: &Bytes) {
        let Some(mut walk) = self.scrub.index.take() else { return };
        let file_bytes = self.settings.index_file_bytes;
        let known = usize::try_from(walk.end() % file_bytes - block.at).expect("it was asked for from there on");
        walk.bytes.extend_from_slice(&data[known..]);
        loop {
            let room = file_bytes - walk.at % file_bytes;
            match parse_index(&walk.bytes, walk.at, room, self.settings.key_run_bytes_max()) {
                IndexParsed::Sound(len) => {
                    if let Some(from) = walk.gap.take() {
                        self.note_unsound_index(from, walk.at);
                    }
                    walk.pass(len);
                }
                IndexParsed::More => break,
                IndexParsed::Unsound => {
                    if walk.gap.is_none() && !self.damage.suspect(Suspect::Index(walk.at)) {
                        walk.go_to(walk.at);
                        break;
                    }
                    walk.pass_gap();
                }
            }
        }
        self.scrub.index = Some(walk);
    }

    /// A block could not be read: smaller ones are tried, after a rest. What cannot be read in the smallest is said, and passed over: it is no
    /// proof of damage, and readers try it again. If it is the medium, what lay there is taken from a replica ([`super::mend`]).
    fn scrub_failed(&mut self, block: BlockId, is_of_medium: bool) {
        self.damage.reads_failed += 1;
        let len = u64::from(block.len);
        if len > BLOCK {
            self.scrub.part_bytes = (len / 2).next_multiple_of(BLOCK);
            return;
        }
        if !std::mem::replace(&mut self.scrub.has_failed, true) {
            return;
        }
        self.scrub.has_failed = false;
        match block.file {
            FileName::Segment(start) if is_of_medium => self.note_unreadable(start.plus(block.at)),
            file => tracing::error!(%file, byte = block.at, bytes = len, "a block of the disk cannot be read"),
        }
        match (block.file, &mut self.scrub.index) {
            (FileName::Segment(start), _) => {
                self.scrub.walk.go_to(start.plus(block.at + len));
                self.scrub.walk.is_in_gap = true;
            }
            (_, Some(index)) => {
                let end = index.end() / BLOCK * BLOCK + len;
                index.gap.get_or_insert(index.at);
                index.go_to(end);
            }
            (_, None) => {}
        }
    }

    /// The index files end within what is unsound.
    fn note_index_gap(&mut self) {
        if let Some((from, to)) = self.scrub.index.as_ref().and_then(|walk| Some((walk.gap?, walk.at))) {
            self.note_unsound_index(from, to);
        }
    }

    fn note_unsound_index(&mut self, from: u64, to: u64) {
        if let Some(run) = self.keys.runs.iter().find(|run| (from..to).contains(&run.at)) {
            let (begin, end) = (run.begin.0, run.end.0);
            tracing::error!(
                position = run.at,
                begin,
                end,
                "keys of the index are damaged: messages stored between these times may not be found by key"
            );
        }
        if self.scrub.unsound.len() < SUSPECTS_MAX {
            self.scrub.unsound.push_back(Sweep { from, to, queue: 0, nth: 0 });
        }
    }

    /// Looks for the queues whose blocks are unsound, some at a time, and has them built again, as far as their references are in memory: of older ones,
    /// whoever reads them does. What belongs to no queue is of no use to anybody.
    fn sweep_unsound(&mut self) {
        let Some(sweep) = self.scrub.unsound.front_mut() else { return };
        // A shell that has much to do forgets what is wanted ahead of need.
        let awaited: Vec<BlockId> = self.damage.rebuilds.iter().filter_map(|rebuild| rebuild.awaits).collect();
        if awaited.len() > REBUILDS_MAX / 2 {
            awaited.into_iter().for_each(|block| self.want_ahead(block));
            return;
        }
        let mut found = None;
        for _ in 0..SCRUB_SWEEP_PER_TICK {
            let Some(queue) = self.queues.list.get(sweep.queue) else { break };
            match queue.blocks.get(sweep.nth) {
                Some(block) => {
                    sweep.nth += 1;
                    if (sweep.from..sweep.to).contains(&block.at) {
                        found = Some((sweep.queue, block.first));
                        break;
                    }
                }
                None => (sweep.queue, sweep.nth) = (sweep.queue + 1, 0),
            }
        }
        if sweep.queue >= self.queues.list.len() {
            self.scrub.unsound.pop_front();
        }
        let Some((queue, first)) = found else { return };
        let queue = QueueIndex(u32::try_from(queue).expect("fewer than 2^32 queues"));
        // What a branch leads to is built again when somebody reads it.
        if let consume_queue::Located::Block(span) = self.queues.get(queue).locate(first)
            && span.block.height == 0
            && span.block.last_log >= self.start()
            && let Err(super::read::Miss::Cold(next)) = self.unsound_block(queue, span, false)
        {
            self.want_ahead(next);
        }
    }
}

/// What begins at position `at` of the index files, in a file that has `room` from there on. `bytes` may be cut short.
fn parse_index(bytes: &[u8], at: u64, room: u64, run_bytes_max: u64) -> IndexParsed {
    let wanted = usize::try_from(room).unwrap_or(usize::MAX).min(4);
    let Some(magic) = bytes.get(..wanted) else { return IndexParsed::More };
    if magic.is_empty() {
        return IndexParsed::More;
    }
    let max = usize::try_from(room.min(run_bytes_max)).unwrap_or(usize::MAX);
    if magic == consume_queue::BLOCK_MAGIC.to_be_bytes() {
        return parsed(bytes, consume_queue::block_bytes(bytes), max, consume_queue::has_sound_crc);
    }
    if magic == branch::BRANCH_MAGIC.to_be_bytes() {
        return parsed(bytes, branch::bytes_of(bytes), max, consume_queue::has_sound_crc);
    }
    if magic == key_index::RUN_MAGIC.to_be_bytes() {
        return parsed(bytes, key_index::run_bytes(bytes), max, key_index::is_plausible_run);
    }
    // Behind the last block of a file, and where a process began anew, zeros lead to the next disk block.
    let padding = usize::try_from(BLOCK - at % BLOCK).expect("a disk block");
    match bytes.get(..padding) {
        None => IndexParsed::More,
        Some(zeros) if zeros.iter().all(|&byte| byte == 0) => IndexParsed::Sound(padding),
        Some(_) => IndexParsed::Unsound,
    }
}

/// `len` is what the bytes themselves say, as far as they are there.
fn parsed(bytes: &[u8], len: Option<usize>, max: usize, is_sound: fn(&[u8]) -> bool) -> IndexParsed {
    match len {
        None => IndexParsed::More,
        Some(len) if len > max => IndexParsed::Unsound,
        Some(len) => match bytes.get(..len) {
            None => IndexParsed::More,
            Some(whole) if is_sound(whole) => IndexParsed::Sound(len),
            Some(_) => IndexParsed::Unsound,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::consume_queue::{BlockRef, Entry, encode_block};
    use crate::log::key_index::KeyIndex;
    use crate::model::{QueueId, QueueOffset};
    use crate::protocol::record::KeysToIndex;

    fn parse_whole(bytes: &[u8], at: u64) -> IndexParsed {
        parse_index(bytes, at, 1 << 20, 1 << 19)
    }

    fn block() -> Vec<u8> {
        let entry = |number: u64| Entry { log_offset: LogOffset(number), size: 100, tag_code: 7 };
        let mut bytes = Vec::new();
        encode_block(QueueOffset(9), QueueId(2), &[entry(1), entry(2)], &mut bytes);
        bytes
    }

    fn branch() -> Vec<u8> {
        let block = |nth| BlockRef { first: QueueOffset(nth), last_log: LogOffset(9 + nth), at: 70 + nth, height: 0 };
        let mut bytes = Vec::new();
        branch::encode(QueueOffset(0), QueueId(2), [block(0), block(1)].iter(), &mut bytes);
        bytes
    }

    fn run() -> Vec<u8> {
        let (mut keys, mut bytes) = (KeyIndex::new(10), Vec::new());
        for number in 0..50_u64 {
            let key = number.to_string();
            let of_message = KeysToIndex { unique: Some(&key), keys: None };
            keys.push(3, &of_message, LogOffset(number), UnixMs(1_000_000));
        }
        keys.seal(|run, _| {
            bytes = run.to_vec();
            0
        });
        bytes
    }

    #[test]
    fn a_gap_ends_where_anything_begins() {
        for whole in [block(), branch(), run()] {
            let mut walk = IndexWalk::new(4096);
            walk.bytes.extend_from_slice(&[&[1; 50], &whole[..]].concat());
            walk.pass_gap();
            assert_eq!((walk.gap, walk.at, &walk.bytes[..]), (Some(4096), 4146, &whole[..]));
        }
    }

    #[test]
    fn what_lies_in_an_index_file_is_told_apart_at_each_length() {
        for whole in [block(), branch(), run(), vec![0; 4096]] {
            assert_eq!(parse_whole(&whole, 0), IndexParsed::Sound(whole.len()));
            let more = [&whole[..], b"RQCB and more"].concat();
            assert_eq!(parse_whole(&more, 0), IndexParsed::Sound(whole.len()), "what follows is another matter");
            for len in (0..whole.len()).step_by(whole.len() / 40) {
                assert_eq!(parse_whole(&whole[..len], 0), IndexParsed::More, "{len} of {} bytes", whole.len());
            }
        }
        assert_eq!(parse_whole(&[0; 300], 3 * 4096 - 300), IndexParsed::Sound(300), "to the next disk block");
        assert_eq!(parse_index(&[0; 3], 4093, 3, 1 << 19), IndexParsed::Sound(3), "to the end of the file");
        assert_eq!(parse_index(&block(), 0, 40, 1 << 19), IndexParsed::Unsound, "it would go beyond its file");
    }

    #[test]
    fn no_changed_bit_of_a_block_passes_nor_one_that_leads_a_search_by_key_astray() {
        let whole = block();
        for at in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_ne!(parse_whole(&changed, 0), IndexParsed::Sound(whole.len()), "bit {at}");
        }
        let whole = run();
        let directory = 16..16 + 4 * 4097;
        let first_hash = directory.end..directory.end + 2;
        for at in (0..8).chain(directory).chain(first_hash) {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            assert_ne!(parse_whole(&changed, 0), IndexParsed::Sound(whole.len()), "byte {at}");
        }
    }

    #[test]
    fn time_is_worth_its_part_of_all_bytes_and_never_more_than_one_pass() {
        let mut scrub = Scrub::default();
        let (total, week_ms) = (1_000_000, 7 * 24 * 3_600_000);
        for tick in 1..=6_048 {
            scrub.earn(total, week_ms, MonoNs(0).plus_ms(tick * 100));
        }
        assert_eq!(scrub.credit.0, 1_000, "a thousandth of a week, in steps each of which is worth less than a byte");
        scrub.earn(total, week_ms, MonoNs(0).plus_ms(10 * week_ms));
        assert_eq!(scrub.credit.0, total);
    }
}
