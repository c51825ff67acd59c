//! Checkpoints: what was derived from the log, as of some offset, so that a start reads only the log behind it.
//!
//! Many queues take long to write down, and sends go on meanwhile, so a checkpoint is made a slice at a time and each queue says up to which
//! log offset it is complete (`as_of`). A replay begins at `replay_from`, where the making began, and leaves out of each queue what it has.
//! Before retention takes a segment, what a start could not do without then is kept apart as well, see [`super::ends`].
//! The file is put into place only when the log is flushed to where the making ended, and the index files as far as they are named: a
//! checkpoint never speaks of what a power loss could take.
//!
//! | bytes   | field         | meaning                                                                             |
//! |---------|---------------|-------------------------------------------------------------------------------------|
//! | 0..8    | magic         | `RINGMQCP`                                                                          |
//! | 8..12   | version       | 7; 6 is read as well, which has no branches, 5, which does not say which segments   |
//! |         |               | are plain, nor where the life of a queue began, 4, from before the scrub, 3, from   |
//! |         |               | before `ends`, and 2, which has no fingerprints                                     |
//! | 12..16  | CRC-32        | of `length` bytes from 24 on                                                        |
//! | 16..24  | length        |                                                                                     |
//! | then    | queues        | each: 1, topic length `u16`, topic, queue id `u32`, `as_of`, `life_from`, floor,    |
//! |         |               | sealed end, count `u32` of blocks (first, last log, position, height `u8`), count   |
//! |         |               | `u32` of entries; then a 0                                                          |
//! |         | log           | `replay_from`, `flushed`, segment size, index file size, index end                  |
//! |         | index files   | count `u32`; each: number `u32`, last log offset                                    |
//! |         | segments      | count `u32`; each: start, earliest and latest store time, filler, fingerprint, time |
//! |         |               | at which it was closed; the last three are 2^64 - 1 where there is none; `u8`: 1 if |
//! |         |               | a record in it may lack the CRC property                                            |
//! |         | plain         | `u8`: 1 if the record before `replay_from` has no CRC property                      |
//! |         | keys          | `as_of`; count `u32` of runs (position, count `u32`, begin, end, last log);         |
//! |         |               | count `u32` of entries (hash `u32`, log offset, store time)                         |
//! |         | scrub         | `u8`: 0 in the log, 1 in the index; position; when it last came to the end, Unix ms |
//! |         |               | or -1                                                                               |
//! | then    | zeros         | to a whole disk block                                                               |
//!
//! Numbers are big-endian, eight bytes where nothing else is said.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::commit_log::Log;
use super::consume_queue::{BlockRef, ConsumeQueues, Entry, Queue};
use super::ends::{self, COPIES};
use super::file::{FileName, Work};
use super::key_index::{KeyEntry, KeyIndex, Run};
use super::scrub::ScrubPlace;
use super::segment::{KnownSegment, Segment};
use super::settings::LogSettings;
use crate::limits::{CHECKPOINT_SLICE_BYTES, DISK_BLOCK_BYTES};
use crate::model::{LogOffset, QueueId, QueueOffset, UnixMs};

const MAGIC: &[u8; 8] = b"RINGMQCP";
const VERSION: u32 = 7;
/// The oldest that is read: without its checkpoint, a store whose oldest segments are gone does not know where its empty queues go on.
const VERSION_MIN: u32 = 2;
/// From this version on, a checkpoint says how segments begin.
const VERSION_FINGERPRINTS: u32 = 3;
/// From this version on, no segment is taken that [`super::ends`] does not speak of, and it is known when each was closed.
const VERSION_ENDS: u32 = 4;
/// From this version on, a checkpoint says how far the scrub is.
const VERSION_SCRUB: u32 = 5;
/// From this version on, a checkpoint says in which segments a record may lack the CRC property (of older ones any may), and where the life of each
/// queue has begun.
const VERSION_LIVES: u32 = 6;
/// From this version on, a reference may lead to a branch.
const VERSION_BRANCHES: u32 = 7;
/// Stands for the filler or the fingerprint of a segment that has none yet.
const NONE: u64 = u64::MAX;
const HEADER_BYTES: usize = 24;
/// A checkpoint of `n` bytes is made anew when the log grew by so many times `n`.
const GROWTH_PER_SIZE: u64 = 8;

/// Makes checkpoints, one at a time.
#[derive(Debug, Default)]
pub(super) struct Checkpointer {
    state: State,
    /// Where the last one would begin to replay.
    last: LogOffset,
    last_bytes: u64,
    /// One is wanted now: retention waits for it.
    pub(super) is_wanted: bool,
    /// One is wanted now: the broker stops.
    pub(super) is_stopping: bool,
    /// Where retention wants the log to begin.
    start_wanted: LogOffset,
    /// As far on as here it may begin: both copies of the ends say so.
    start_max: LogOffset,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Queues are written down, a slice at a time.
    Collecting {
        replay_from: LogOffset,
        is_plain: bool,
        next_queue: usize,
        out: Vec<u8>,
        crc: crc32fast::Hasher,
        ends: Option<Vec<u8>>,
    },
    /// Made; waits for the log and the index files to be flushed.
    Waiting { replay_from: LogOffset, data: Bytes, flushed: LogOffset, index_end: u64, ends: Option<EndsToKeep> },
    /// Under way to the disk.
    Writing { replay_from: LogOffset, bytes: u64 },
}

/// Ends that are on their way to their files.
#[derive(Debug)]
struct EndsToKeep {
    data: Bytes,
    start_max: LogOffset,
    /// The copy that is next; the one before is under way.
    copy: u8,
}

impl Checkpointer {
    /// Where the log may begin at most: what lies before may be taken.
    pub(super) fn start_max(&self) -> LogOffset {
        self.start_max.min(self.last)
    }

    /// What was found of the ends at a start.
    pub(super) fn resume_ends(&mut self, start: LogOffset, start_max: LogOffset) {
        self.start_max = start_max;
        if start > start_max {
            self.want_start(start);
        }
    }

    /// Retention wants the log to begin at `start`, and cannot yet.
    pub(super) fn want_start(&mut self, start: LogOffset) {
        self.start_wanted = self.start_wanted.max(start);
        self.is_wanted = true;
    }

    /// A copy of the ends is in place.
    pub(super) fn kept_ends(&mut self, copy: u8) {
        if let State::Waiting { ends, .. } = &mut self.state
            && copy + 1 == COPIES
            && let Some(kept) = ends.take()
        {
            self.start_max = self.start_max.max(kept.start_max);
        }
    }

    /// Whether ends are on their way to their files for a checkpoint.
    pub(super) fn is_keeping_ends(&self) -> bool {
        matches!(&self.state, State::Waiting { ends: Some(_), .. })
    }

    /// Whether a flush of the log is waited for.
    pub(super) fn wants_flush(&self, reached: LogOffset) -> bool {
        self.is_stopping || matches!(&self.state, State::Waiting { flushed, .. } if reached < *flushed)
    }

    /// Whether a flush of the index files is waited for.
    pub(super) fn wants_index(&self, reached: u64) -> bool {
        matches!(&self.state, State::Waiting { index_end, .. } if reached < *index_end)
    }

    /// Where a start would begin to read the log.
    #[cfg(test)]
    pub(super) fn replay_from(&self) -> LogOffset {
        self.last
    }

    /// A log that goes on from a checkpoint, or begins anew; one that is being made is given up.
    pub(super) fn resume(&mut self, replay_from: LogOffset) {
        self.state = State::Idle;
        self.last = replay_from;
    }
}

impl Log {
    /// Flush and checkpoint everything, for a start that has nothing to replay. Nothing may be appended any more. Go on calling
    /// [`Log::tick`], [`Log::poll_commit`] and [`Log::poll_background`] until [`Log::is_settled`].
    pub(crate) fn begin_stop(&mut self) {
        self.checkpointer.is_stopping = true;
        self.begin_checkpoint_if_due();
    }

    /// Whether everything is flushed and in a checkpoint.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        let is_idle = matches!(self.checkpointer.state, State::Idle);
        is_idle && self.flushed == self.appended() && self.checkpointer.last == self.appended()
    }

    pub(super) fn begin_checkpoint_if_due(&mut self) {
        let checkpointer = &mut self.checkpointer;
        let grown = self.tail.appended().since(checkpointer.last);
        let due = self.settings.checkpoint_bytes.max(GROWTH_PER_SIZE * checkpointer.last_bytes);
        let lacks_ends = checkpointer.start_wanted > checkpointer.start_max;
        let is_due = grown >= due
            || (checkpointer.is_stopping && grown > 0)
            || (checkpointer.is_wanted && (grown > 0 || lacks_ends));
        if is_due && matches!(checkpointer.state, State::Idle) {
            let replay_from = self.tail.appended();
            let out = vec![0; HEADER_BYTES];
            checkpointer.is_wanted = false;
            let is_plain = self.replicated.is_plain == Some(true);
            let crc = crc32fast::Hasher::new();
            let ends = lacks_ends.then(ends::begin);
            checkpointer.state = State::Collecting { replay_from, is_plain, next_queue: 0, out, crc, ends };
        }
    }

    /// Goes on with the checkpoint; the file to be put into place when it is time.
    pub(super) fn poll_checkpoint(&mut self) -> Option<Work> {
        match std::mem::take(&mut self.checkpointer.state) {
            State::Collecting { replay_from, is_plain, next_queue, out, crc, ends } => {
                self.collect((replay_from, is_plain), next_queue, (out, ends), crc);
                None
            }
            // What they speak of is flushed: they must not know of more than the log.
            State::Waiting { replay_from, data, flushed, index_end, ends: Some(mut ends) }
                if flushed <= self.flushed && ends.copy < COPIES =>
            {
                let work = Work::Replace { file: FileName::Ends(ends.copy), data: ends.data.clone() };
                ends.copy += 1;
                self.checkpointer.state = State::Waiting { replay_from, data, flushed, index_end, ends: Some(ends) };
                Some(work)
            }
            State::Waiting { replay_from, data, flushed, index_end, ends: None }
                if flushed <= self.flushed && index_end <= self.index.flushed() =>
            {
                self.checkpointer.state = State::Writing { replay_from, bytes: data.len() as u64 };
                Some(Work::Replace { file: FileName::Checkpoint, data })
            }
            state => {
                self.checkpointer.state = state;
                None
            }
        }
    }

    fn collect(
        &mut self,
        begin: (LogOffset, bool),
        first: usize,
        outs: (Vec<u8>, Option<Vec<u8>>),
        mut crc: crc32fast::Hasher,
    ) {
        let (replay_from, is_plain) = begin;
        let (mut out, mut ends) = outs;
        let from = out.len();
        let as_of = self.tail.appended();
        let start = self.start();
        let mut next_queue = first;
        while out.len() - from < CHECKPOINT_SLICE_BYTES
            && let Some(queue) = self.queues.list.get_mut(next_queue)
        {
            queue.trim(start);
            next_queue += 1;
            if queue.is_nothing(start) {
                continue;
            }
            put_queue(&mut out, queue, as_of);
            if let Some(ends) = &mut ends {
                ends::put(ends, queue);
            }
        }
        if next_queue < self.queues.list.len() {
            crc.update(&out[from..]);
            self.checkpointer.state = State::Collecting { replay_from, is_plain, next_queue, out, crc, ends };
            return;
        }
        out.push(0);
        let index_end = self.index.end();
        let numbers = [replay_from.0, as_of.0, self.settings.segment_bytes, self.settings.index_file_bytes, index_end];
        out.extend(numbers.into_iter().flat_map(u64::to_be_bytes));
        put_count(&mut out, self.index.files().len());
        for (number, last) in self.index.files() {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&last.0.to_be_bytes());
        }
        let segments: Vec<_> = self.segments.iter().filter_map(Segment::known).collect();
        put_count(&mut out, segments.len());
        for KnownSegment { start, times: (first, last), filler, fingerprint, closed, is_plain } in segments {
            out.extend_from_slice(&start.0.to_be_bytes());
            out.extend_from_slice(&first.to_be_bytes());
            out.extend_from_slice(&last.to_be_bytes());
            out.extend_from_slice(&filler.map_or(NONE, |at| at.0).to_be_bytes());
            out.extend_from_slice(&fingerprint.map_or(NONE, u64::from).to_be_bytes());
            out.extend_from_slice(&closed.map_or(-1, |time| time.0).to_be_bytes());
            out.push(u8::from(is_plain));
        }
        out.push(u8::from(is_plain));
        put_keys(&mut out, &self.keys, as_of);
        let (kind, at) = match self.scrub.place() {
            ScrubPlace::Log(at) => (0, at.0),
            ScrubPlace::Index(at) => (1, at),
        };
        out.push(kind);
        out.extend_from_slice(&at.to_be_bytes());
        out.extend_from_slice(&self.scrub.last_end.map_or(-1, |time| time.0).to_be_bytes());
        crc.update(&out[from..]);
        let length = (out.len() - HEADER_BYTES) as u64;
        let header =
            [&MAGIC[..], &VERSION.to_be_bytes(), &crc.finalize().to_be_bytes(), &length.to_be_bytes()].concat();
        out[..HEADER_BYTES].copy_from_slice(&header);
        out.resize(out.len().next_multiple_of(DISK_BLOCK_BYTES), 0);
        let start_max = self.checkpointer.start_wanted.min(replay_from);
        let ends =
            ends.map(|ends| EndsToKeep { data: ends::finish(ends, replay_from, start_max).into(), start_max, copy: 0 });
        self.checkpointer.state = State::Waiting { replay_from, data: out.into(), flushed: as_of, index_end, ends };
    }

    pub(super) fn checkpointed(&mut self) {
        if let State::Writing { replay_from, bytes } = std::mem::take(&mut self.checkpointer.state) {
            self.checkpointer.last = replay_from;
            self.checkpointer.last_bytes = bytes;
        }
    }

    /// There was no space for it: another one is made later.
    pub(super) fn checkpoint_failed(&mut self) {
        self.checkpointer.state = State::Idle;
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("tables are smaller than 2^32").to_be_bytes());
}

fn put_queue(out: &mut Vec<u8>, queue: &Queue, as_of: LogOffset) {
    let topic = queue.topic.as_str().as_bytes();
    out.push(1);
    out.extend_from_slice(&u16::try_from(topic.len()).expect("a topic is short").to_be_bytes());
    out.extend_from_slice(topic);
    out.extend_from_slice(&queue.queue_id.0.to_be_bytes());
    for number in [as_of.0, queue.life_from.0, queue.floor.0, queue.sealed_end.0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    put_count(out, queue.blocks.len());
    for block in &queue.blocks {
        for number in [block.first.0, block.last_log.0, block.at] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(block.height);
    }
    put_count(out, queue.tail.len());
    for entry in &queue.tail {
        entry.put(out);
    }
}

fn put_keys(out: &mut Vec<u8>, keys: &KeyIndex, as_of: LogOffset) {
    out.extend_from_slice(&as_of.0.to_be_bytes());
    put_count(out, keys.runs.len());
    for run in &keys.runs {
        out.extend_from_slice(&run.at.to_be_bytes());
        out.extend_from_slice(&run.count.to_be_bytes());
        for number in [run.begin.0, run.end.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&run.last_log.0.to_be_bytes());
    }
    put_count(out, keys.active.len());
    for entry in &keys.active {
        out.extend_from_slice(&entry.hash.to_be_bytes());
        out.extend_from_slice(&entry.log_offset.0.to_be_bytes());
        out.extend_from_slice(&entry.time.0.to_be_bytes());
    }
}

/// A checkpoint that was read back.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) queues: ConsumeQueues,
    pub(super) keys: KeyIndex,
    /// Where to read the log from.
    pub(super) replay_from: LogOffset,
    /// The log was on stable storage at least to here.
    pub(super) flushed: LogOffset,
    pub(super) index_end: u64,
    pub(super) index_files: BTreeMap<u32, LogOffset>,
    /// Segments with records, all of which are flushed.
    pub(super) segments: Vec<KnownSegment>,
    /// Whether the record before `replay_from` has no CRC property.
    pub(super) is_plain: bool,
    /// Whether the log's beginning is where it says, but for what the ends speak of.
    pub(super) is_start_known: bool,
    /// Where the scrub goes on, and when it last came to the end.
    pub(super) scrub: Option<(ScrubPlace, Option<UnixMs>)>,
}

impl Checkpoint {
    /// Reads a checkpoint; `None` if it is damaged, of another version or of a store with other sizes: then the log says it all.
    pub(super) fn decode(bytes: &[u8], settings: &LogSettings) -> Option<Checkpoint> {
        let mut header = CheckpointReader { rest: bytes };
        if header.take(8)? != MAGIC {
            return None;
        }
        let version = header.u32().filter(|version| (VERSION_MIN..=VERSION).contains(version))?;
        let crc = header.u32()?;
        let length = usize::try_from(header.u64()?).ok()?;
        let body = header.take(length)?;
        if crc32fast::hash(body) != crc {
            return None;
        }
        let mut at = CheckpointReader { rest: body };
        let mut queues = ConsumeQueues::default();
        while at.take(1)? == [1] {
            at.queue(version, &mut queues)?;
        }
        let (replay_from, flushed) = (LogOffset(at.u64()?), LogOffset(at.u64()?));
        if at.u64()? != settings.segment_bytes || at.u64()? != settings.index_file_bytes {
            return None;
        }
        let index_end = at.u64()?;
        let mut index_files = BTreeMap::new();
        for _ in 0..at.u32()? {
            index_files.insert(at.u32()?, LogOffset(at.u64()?));
        }
        let mut segments = Vec::new();
        for _ in 0..at.u32()? {
            let (start, times) = (LogOffset(at.u64()?), (at.i64()?, at.i64()?));
            let filler = Some(at.u64()?).filter(|filler| *filler != NONE).map(LogOffset);
            let fingerprint = if version < VERSION_FINGERPRINTS { NONE } else { at.u64()? };
            let closed = if version < VERSION_ENDS { -1 } else { at.i64()? };
            let closed = Some(UnixMs(closed)).filter(|time| time.0 >= 0);
            let fingerprint = u32::try_from(fingerprint).ok();
            let is_plain = version < VERSION_LIVES || at.take(1)? == [1];
            segments.push(KnownSegment { start, times, filler, fingerprint, closed, is_plain });
        }
        let is_plain = at.take(1)? == [1];
        let keys = at.keys(settings)?;
        let scrub = if version < VERSION_SCRUB { None } else { Some(at.scrub()?) };
        let is_whole = at.rest.is_empty();
        is_whole.then_some(Checkpoint {
            queues,
            keys,
            replay_from,
            flushed,
            index_end,
            index_files,
            segments,
            is_plain,
            is_start_known: version >= VERSION_ENDS,
            scrub,
        })
    }

    /// How segments begin, by their starts; not in a checkpoint of an older version.
    pub(super) fn fingerprints(&self) -> BTreeMap<LogOffset, u32> {
        self.segments.iter().filter_map(|known| Some((known.start, known.fingerprint?))).collect()
    }
}

/// Reads fields one after another and checks what is left. Counts are not trusted: nothing is allocated for them in advance.
struct CheckpointReader<'a> {
    rest: &'a [u8],
}

impl<'a> CheckpointReader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (here, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(here)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn queue(&mut self, version: u32, queues: &mut ConsumeQueues) -> Option<()> {
        let topic_len = u16::from_be_bytes(self.array()?);
        let topic = std::str::from_utf8(self.take(usize::from(topic_len))?).ok()?;
        let index = queues.find_or_create(topic, QueueId(self.u32()?));
        let queue = queues.get_mut(index);
        queue.is_based = true;
        queue.as_of = LogOffset(self.u64()?);
        queue.life_from = LogOffset(if version < VERSION_LIVES { 0 } else { self.u64()? });
        queue.floor = QueueOffset(self.u64()?);
        queue.sealed_end = QueueOffset(self.u64()?);
        for _ in 0..self.u32()? {
            let (first, last_log, at) = (QueueOffset(self.u64()?), LogOffset(self.u64()?), self.u64()?);
            let height = if version < VERSION_BRANCHES { 0 } else { u8::from_be_bytes(self.array()?) };
            queue.blocks.push_back(BlockRef { first, last_log, at, height });
        }
        let count = self.u32()?;
        for _ in 0..count {
            queue.tail.push(Entry::get(self.take(super::consume_queue::ENTRY_BYTES)?)?);
        }
        queues.unsealed += count as usize;
        Some(())
    }

    fn scrub(&mut self) -> Option<(ScrubPlace, Option<UnixMs>)> {
        let place = match self.array()? {
            [0] => ScrubPlace::Log(LogOffset(self.u64()?)),
            [_] => ScrubPlace::Index(self.u64()?),
        };
        let last_end = self.i64()?;
        Some((place, Some(UnixMs(last_end)).filter(|time| time.0 >= 0)))
    }

    fn keys(&mut self, settings: &LogSettings) -> Option<KeyIndex> {
        let mut keys = KeyIndex::new(settings.key_run_entries);
        keys.as_of = LogOffset(self.u64()?);
        for _ in 0..self.u32()? {
            keys.runs.push_back(Run {
                at: self.u64()?,
                count: self.u32()?,
                begin: UnixMs(self.i64()?),
                end: UnixMs(self.i64()?),
                last_log: LogOffset(self.u64()?),
            });
        }
        for _ in 0..self.u32()? {
            let (hash, log_offset, time) = (self.u32()?, LogOffset(self.u64()?), UnixMs(self.i64()?));
            keys.active.push(KeyEntry { hash, log_offset, time });
        }
        Some(keys)
    }
}
