//! The segments of a shard's log, record by record.
//!
//! A segment is `commitlog/` and the log offset of its first byte in 20 digits; all have the same size. Layout of a record: `record`.

#![expect(clippy::disallowed_methods, reason = "a shell's: files are read here")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{RepairError, io_of};
use crate::model::LogOffset;
use crate::protocol::record::{Check, MAGIC_FILLER, RecordView, claims_place, is_filler, peek_size};

/// Bytes that are read at once; more if a record is longer.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that show whether something claims its place.
pub(super) const CLAIM_BYTES: usize = 36;

/// A stretch of a segment in which there is no sound record, though there are some behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DamagedStretch {
    pub(super) segment: u64,
    /// Bytes in the file.
    pub(super) from: u64,
    pub(super) to: u64,
    /// The whole file.
    pub(super) is_missing: bool,
}

/// What was found in one shard.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) records: u64,
    pub(super) start: u64,
    /// Behind the last sound record.
    pub(super) end: u64,
    pub(super) damages: Vec<DamagedStretch>,
}

/// Walks through the records of a shard.
pub(super) fn look_through(shard: &Path, segment_bytes: u64) -> Result<Findings, RepairError> {
    let segments = segments(shard)?;
    let mut found = Findings { start: segments.first().map_or(0, |(start, _)| *start), ..Findings::default() };
    let mut expected = found.start;
    for (nth, (start, path)) in segments.iter().enumerate() {
        while expected < *start {
            found.damages.push(DamagedStretch { segment: expected, from: 0, to: segment_bytes, is_missing: true });
            expected += segment_bytes;
        }
        expected = start + segment_bytes;
        let mut segment = SegmentFile::open(path, *start, segment_bytes)?;
        let follows = match segments.get(nth + 1) {
            Some((next, path)) => SegmentFile::open(path, *next, segment_bytes)?.claims(0),
            None => false,
        };
        let mut at = 0;
        while at < segment.len {
            match segment.step(at) {
                Content::Record(size) => {
                    at += size;
                    found.records += 1;
                    found.end = start + at;
                }
                Content::Filler => break,
                Content::Unsound => {
                    let next = segment.next_sound(at + 1).or(follows.then_some(segment.len));
                    let Some(next) = next else { return Ok(found) };
                    found.damages.push(DamagedStretch { segment: *start, from: at, to: next, is_missing: false });
                    at = next;
                }
            }
        }
    }
    Ok(found)
}

/// What lies at a place.
pub(super) enum Content {
    Record(u64),
    Filler,
    Unsound,
}

/// One file of the log, read through a window.
pub(super) struct SegmentFile {
    file: File,
    start: u64,
    /// As long as it should be.
    pub(super) len: u64,
    found_len: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Where the last record ended that has the CRC property.
    crc_to: Option<u64>,
}

impl SegmentFile {
    pub(super) fn open(path: &Path, start: u64, len: u64) -> Result<SegmentFile, RepairError> {
        let file = File::open(path).map_err(io_of(path))?;
        let found_len = file.metadata().map_err(io_of(path))?.len();
        Ok(SegmentFile { file, start, len, found_len, window: Vec::new(), window_at: 0, crc_to: None })
    }

    /// Up to `len` bytes at `at`; fewer at the end of the segment. What is missing, or cannot be read, is zeros.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let len = len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let is_there = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !is_there {
            let wanted = len.max(WINDOW_BYTES).min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
            self.window.clear();
            self.window.resize(wanted, 0);
            self.window_at = at;
            let there = usize::try_from(self.found_len.saturating_sub(at)).unwrap_or(usize::MAX).min(wanted);
            let window = self.window.get_mut(..there).unwrap_or_default();
            if self.file.read_exact_at(window, at).is_err() {
                for (nth, piece) in window.chunks_mut(4096).enumerate() {
                    if self.file.read_exact_at(piece, at + 4096 * nth as u64).is_err() {
                        piece.fill(0);
                    }
                }
            }
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        self.window.get(from..from + len).unwrap_or_default()
    }

    pub(super) fn step(&mut self, at: u64) -> Content {
        let (place, room) = (LogOffset(self.start + at), self.len - at);
        let head = self.bytes(at, CLAIM_BYTES);
        let remaining = head.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four)));
        let is_closed = head.get(4..8) == Some(&MAGIC_FILLER.to_be_bytes()) && remaining == Some(room);
        if is_closed || is_filler(head, place, room) {
            return Content::Filler;
        }
        let Ok(size) = peek_size(head) else { return Content::Unsound };
        if u64::from(size) > room {
            return Content::Unsound;
        }
        let (end, is_first) = (at + u64::from(size), self.crc_to != Some(at));
        let has_crc = match self.decode(at, size) {
            Some(view) if view.has_crc() => true,
            // Those of RocketMQ's own brokers have none. One of ours that lost its own is damaged, whatever its body's says.
            Some(view) if is_first || !view.has_lost_crc() => false,
            Some(_) | None => return Content::Unsound,
        };
        if has_crc {
            self.crc_to = Some(end);
        } else if !is_first && self.has_crc_at(end) {
            return Content::Unsound;
        }
        Content::Record(u64::from(size))
    }

    fn decode(&mut self, at: u64, size: u32) -> Option<RecordView<'_>> {
        let place = LogOffset(self.start + at);
        RecordView::decode(self.bytes(at, size as usize), Some(place), Check::Crc).ok()
    }

    /// Whether a sound record with the CRC property begins here.
    fn has_crc_at(&mut self, at: u64) -> bool {
        let size = peek_size(self.bytes(at, CLAIM_BYTES)).ok();
        size.and_then(|size| self.decode(at, size)).is_some_and(|view| view.has_crc())
    }

    pub(super) fn claims(&mut self, at: u64) -> bool {
        let place = LogOffset(self.start + at);
        claims_place(self.bytes(at, CLAIM_BYTES), place)
    }

    /// The next place from `at` on at which something sound lies.
    fn next_sound(&mut self, mut at: u64) -> Option<u64> {
        while at + (CLAIM_BYTES as u64) < self.len {
            if self.claims(at) && !matches!(self.step(at), Content::Unsound) {
                return Some(at);
            }
            at += 1;
        }
        None
    }
}

/// Starts and paths of the segments of a shard, in order.
pub(super) fn segments(shard: &Path) -> Result<Vec<(u64, PathBuf)>, RepairError> {
    let folder = shard.join("commitlog");
    let mut segments = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io_of(&folder))? {
        let path = entry.map_err(io_of(&folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(start) = Some(name).filter(|name| name.len() == 20).and_then(|name| name.parse().ok()) {
            segments.push((start, path));
        }
    }
    segments.sort();
    Ok(segments)
}
