//! The files of the commit log: where each begins, how far it may be written, and the spare ones.
//!
//! All segments have the same size, so that the next one's start is known before it is needed and a roll costs no I/O:
//!
//! ```text
//!   list:   [oldest] [..] [current] [next]      spares: [being made, or kept for reuse]
//!                            ^ the writer's      ^ renamed behind `next` when the writer rolls
//! ```

use std::collections::VecDeque;

use super::file::{FileName, Work};
use crate::limits::{DISK_BLOCK_BYTES, SPARES_MAX};
use crate::model::{LogOffset, UnixMs};
use crate::protocol::record::peek_size;

/// A writer that waits gets a segment when so many chunks of it are zeros.
const PREPARE_FIRST_CHUNKS: u64 = 4;

/// One file of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) start: LogOffset,
    /// Bytes from its beginning that were written once, with zeros or in an earlier life, or that need not be.
    pub(super) prepared: u64,
    /// The commits have caught up with the zeros: no more are written.
    is_overtaken: bool,
    /// The earliest and the latest store time in it, Unix ms; nothing before there is a record.
    pub(super) times: Option<(i64, i64)>,
    /// Where its filler begins, once it is closed.
    pub(super) filler: Option<LogOffset>,
    /// Of the record with which it begins, if there is one.
    pub(super) fingerprint: Option<u32>,
    /// When it was closed, by the clock of retention; not known of one that recovery found closed.
    pub(super) closed: Option<UnixMs>,
    /// A record in it may lack the CRC property, as those of RocketMQ's own brokers do. In any other, one that lacks it is damaged.
    pub(super) is_plain: bool,
}

/// What a checkpoint says of a segment in which there is a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownSegment {
    pub(super) start: LogOffset,
    /// See [`Segment::times`].
    pub(super) times: (i64, i64),
    pub(super) filler: Option<LogOffset>,
    pub(super) fingerprint: Option<u32>,
    /// See [`Segment::closed`].
    pub(super) closed: Option<UnixMs>,
    /// See [`Segment::is_plain`].
    pub(super) is_plain: bool,
}

/// What tells the segment that begins with these bytes from one of another store, which may hold sound records for the same places: CRC-32 of
/// its first record, or of what of it lies in the first disk block. It never changes once it is flushed. `None` if no record begins there.
pub(super) fn fingerprint(bytes: &[u8]) -> Option<u32> {
    let size = peek_size(bytes).ok()? as usize;
    bytes.get(..size.min(DISK_BLOCK_BYTES)).map(crc32fast::hash)
}

impl Segment {
    fn new(start: LogOffset, prepared: u64) -> Segment {
        let (times, filler, fingerprint, closed) = (None, None, None, None);
        Segment { start, prepared, is_overtaken: false, times, filler, fingerprint, closed, is_plain: false }
    }

    /// What a checkpoint keeps of it; nothing of one without a record.
    pub(super) fn known(&self) -> Option<KnownSegment> {
        let Segment { start, filler, fingerprint, closed, is_plain, .. } = *self;
        Some(KnownSegment { start, times: self.times?, filler, fingerprint, closed, is_plain })
    }
}

/// A file that will become a segment.
#[derive(Clone, Copy, Debug)]
struct Spare {
    number: u32,
    prepared: u64,
}

/// All segments of a log.
#[derive(Debug)]
pub(super) struct Segments {
    size: u64,
    /// Zeros that are written at once; 0: none are written, a file is only allocated. A flush of fresh extents costs a journal commit of the
    /// file system: worth a second write of each byte if every commit is flushed, and not if one in many is.
    chunk: u64,
    list: VecDeque<Segment>,
    /// Index in `list` of the writer's segment; `list.len()` while there is none.
    current: usize,
    spares: VecDeque<Spare>,
    next_spare: u32,
}

impl Segments {
    /// Segments of `size` bytes, made ready by `chunk` bytes of zeros at a time, or by allocation alone if that is 0.
    pub(super) fn new(size: u64, chunk: u64) -> Segments {
        Segments { size, chunk, list: VecDeque::new(), current: 0, spares: VecDeque::new(), next_spare: 0 }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a segment that was found, in order of starts. It counts as prepared.
    pub(super) fn add_found(&mut self, start: LogOffset) {
        self.list.push_back(Segment::new(start, self.size));
    }

    /// Adds a spare that was found with its full size.
    pub(super) fn add_found_spare(&mut self, number: u32) {
        self.next_spare = self.next_spare.max(number.saturating_add(1));
        self.spares.push_back(Spare { number, prepared: self.size });
    }

    /// Makes the segment that holds `end` the writer's; if `end` is where the last one ends, there is none yet.
    pub(super) fn set_writer(&mut self, end: LogOffset) {
        self.current =
            self.list.iter().position(|segment| end < segment.start.plus(self.size)).unwrap_or(self.list.len());
    }

    pub(super) fn oldest(&self) -> Option<&Segment> {
        self.list.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.list.iter()
    }

    #[inline]
    pub(super) fn current(&self) -> Option<&Segment> {
        self.list.get(self.current)
    }

    /// Moves the writer on to the next segment. False if that is not in place.
    pub(super) fn roll(&mut self) -> bool {
        let is_ready = self.current.saturating_add(1) < self.list.len();
        if is_ready {
            self.current += 1;
        }
        is_ready
    }

    pub(super) fn has_next(&self) -> bool {
        self.current.saturating_add(1) < self.list.len()
    }

    /// The segment that holds `offset`.
    pub(super) fn find(&self, offset: LogOffset) -> Option<&Segment> {
        let index = offset.0.checked_sub(self.list.front()?.start.0)? / self.size;
        self.list.get(usize::try_from(index).ok()?)
    }

    fn find_mut(&mut self, offset: LogOffset) -> Option<&mut Segment> {
        let index = offset.0.checked_sub(self.list.front()?.start.0)? / self.size;
        self.list.get_mut(usize::try_from(index).ok()?)
    }

    /// Notes the store time of the record at `offset`, whether it has the CRC property, and how the segment begins if it does so with this record.
    #[inline]
    pub(super) fn note_record(&mut self, offset: LogOffset, time: i64, has_crc: bool, record: &[u8]) {
        let segment = match self.list.get_mut(self.current) {
            Some(current) if current.start <= offset && offset < current.start.plus(self.size) => Some(current),
            _ => self.find_mut(offset),
        };
        if let Some(segment) = segment {
            let (earliest, latest) = segment.times.unwrap_or((time, time));
            segment.times = Some((earliest.min(time), latest.max(time)));
            segment.is_plain |= !has_crc;
            if segment.start == offset {
                segment.fingerprint = fingerprint(record);
            }
        }
    }

    /// Notes that a segment is closed by a filler.
    pub(super) fn note_filler(&mut self, at: LogOffset) {
        if let Some(segment) = self.find_mut(at) {
            segment.filler = Some(at);
        }
    }

    /// Notes when a segment was closed.
    pub(super) fn note_closed(&mut self, at: LogOffset, time: Option<UnixMs>) {
        if let Some(segment) = self.find_mut(at) {
            segment.closed = time;
        }
    }

    /// When the `nth` segment was written last, as far as is known. Its records' own stamps may come from a clock that was wrong: a time
    /// at which it was closed is believed before them, and it cannot have been closed after the one behind it.
    pub(super) fn written_last(&self, nth: usize) -> Option<i64> {
        let segment = self.list.get(nth)?;
        if let Some(closed) = segment.closed {
            return Some(closed.0);
        }
        let (_, last) = segment.times?;
        let next = self.list.get(nth + 1).and_then(|next| next.closed);
        Some(next.map_or(last, |next| last.min(next.0)))
    }

    /// Puts back what a checkpoint knows of a segment.
    pub(super) fn set_known(&mut self, known: &KnownSegment) {
        if let Some(segment) = self.find_mut(known.start).filter(|segment| segment.start == known.start) {
            segment.times = Some(known.times);
            segment.filler = known.filler;
            segment.fingerprint = known.fingerprint;
            segment.closed = known.closed;
            segment.is_plain |= known.is_plain;
        }
    }

    /// Notes how a segment begins that was made before checkpoints said so.
    pub(super) fn note_fingerprint(&mut self, start: LogOffset, fingerprint: Option<u32>) {
        if let Some(segment) = self.find_mut(start) {
            segment.fingerprint = fingerprint;
        }
    }

    /// Takes all segments out of a log that holds nothing, for one that begins elsewhere: what to do with their files, in order.
    pub(super) fn clear(&mut self) -> Vec<Work> {
        self.current = 0;
        let list = std::mem::take(&mut self.list);
        let mut room = SPARES_MAX.saturating_sub(self.spares.len());
        list.into_iter()
            .map(|segment| {
                let file = FileName::Segment(segment.start);
                if segment.prepared < self.size || room == 0 {
                    return Work::Remove { file };
                }
                room -= 1;
                Work::Rename { from: file, to: FileName::Spare(self.take_spare_number()) }
            })
            .collect()
    }

    /// What must be done for the writer to have a segment and another one after it. `writer` is the end of the log.
    pub(super) fn poll_prepare(&mut self, writer: LogOffset) -> Option<Work> {
        self.zeros_of(self.list.get(self.current))
            .or_else(|| self.poll_next(writer))
            .or_else(|| self.list.get(self.current.saturating_add(1)).and_then(|next| self.zeros_of(Some(next))))
    }

    fn poll_next(&mut self, writer: LogOffset) -> Option<Work> {
        if self.has_next() {
            return None;
        }
        let start = self.list.back().map_or(writer, |last| last.start.plus(self.size));
        let remaining = self.current().map_or(0, |current| current.start.plus(self.size).since(writer));
        // A writer that waits, or soon will, gets a segment of which only the beginning is ready; otherwise it is made ready first,
        // so that a crash does not leave it half prepared.
        let enough =
            if remaining < self.size / 4 { (PREPARE_FIRST_CHUNKS * self.chunk).clamp(1, self.size) } else { self.size };
        match self.spares.front() {
            Some(spare) if spare.prepared >= enough => {
                Some(Work::Rename { from: FileName::Spare(spare.number), to: FileName::Segment(start) })
            }
            Some(spare) => Some(self.zeros(FileName::Spare(spare.number), spare.prepared)),
            None => {
                // Its number is taken from now on, also while the first zeros are under way.
                let number = self.take_spare_number();
                self.spares.push_back(Spare { number, prepared: 0 });
                Some(self.zeros(FileName::Spare(number), 0))
            }
        }
    }

    fn zeros_of(&self, segment: Option<&Segment>) -> Option<Work> {
        let segment = segment.filter(|segment| segment.prepared < self.size && !segment.is_overtaken)?;
        Some(self.zeros(FileName::Segment(segment.start), segment.prepared))
    }

    /// How far a commit into the segment at `start` that wants to reach `wanted` may write. `preparing` is the file into which zeros are being
    /// written: only those are waited for. A log that is faster than the zeros goes on without them.
    pub(super) fn writable(&mut self, start: LogOffset, wanted: LogOffset, preparing: Option<FileName>) -> LogOffset {
        let size = self.size;
        let segment = self.find_mut(start).expect("commits lie in a segment");
        let prepared = segment.start.plus(segment.prepared);
        if wanted <= prepared {
            return wanted;
        }
        segment.is_overtaken = true;
        if preparing == Some(FileName::Segment(segment.start)) {
            return prepared;
        }
        segment.prepared = size;
        wanted
    }

    fn zeros(&self, file: FileName, at: u64) -> Work {
        let len = self.chunk.min(self.size.saturating_sub(at));
        Work::Prepare { file, at, len, size: self.size }
    }

    /// `len` zeros are written at `at` of `file`.
    pub(super) fn prepared(&mut self, file: FileName, at: u64, len: u64) {
        let end = if self.chunk == 0 { self.size } else { at + len };
        match file {
            FileName::Spare(number) => {
                let spare = self.spares.iter_mut().find(|spare| spare.number == number);
                spare.expect("a spare stays while it is prepared").prepared = end;
            }
            FileName::Segment(start) => {
                if let Some(segment) = self.find_mut(start) {
                    segment.prepared = end;
                }
            }
            FileName::Index(_) | FileName::Checkpoint | FileName::Ends(_) => unreachable!("{file} is never prepared"),
        }
    }

    /// A spare lies in place as the next segment.
    pub(super) fn placed(&mut self, number: u32, start: LogOffset) {
        let index = self.spares.iter().position(|spare| spare.number == number).expect("only a known spare is renamed");
        let spare = self.spares.remove(index).expect("found above");
        if let Some(last) = self.list.back() {
            assert_eq!(last.start.plus(self.size), start, "segments are contiguous");
        }
        self.list.push_back(Segment::new(start, spare.prepared));
    }

    /// Takes the oldest segment out of the log, if it is not the writer's: what to do with its file.
    pub(super) fn retire(&mut self, may_recycle: bool) -> Option<Work> {
        if self.current == 0 {
            return None;
        }
        let oldest = self.list.pop_front()?;
        self.current -= 1;
        let file = FileName::Segment(oldest.start);
        if may_recycle && self.spares.len() < SPARES_MAX {
            // It is a spare only when the rename is done (`recycled`); the number is taken now.
            let to = FileName::Spare(self.take_spare_number());
            return Some(Work::Rename { from: file, to });
        }
        Some(Work::Remove { file })
    }

    fn take_spare_number(&mut self) -> u32 {
        let number = self.next_spare;
        self.next_spare = number.checked_add(1).expect("fewer than 2^32 spares in a life");
        number
    }

    /// An expired segment has become a spare.
    pub(super) fn recycled(&mut self, number: u32) {
        self.spares.push_back(Spare { number, prepared: self.size });
    }

    /// A spare that is not needed, to give its space back.
    pub(super) fn drop_spare(&mut self, keep: usize) -> Option<Work> {
        if self.spares.len() <= keep {
            return None;
        }
        let spare = self.spares.pop_back()?;
        Some(Work::Remove { file: FileName::Spare(spare.number) })
    }
}
