//! Whether the end that the scan has found is one that a dead process can have left, or damage in the middle of the log.
//!
//! A crash tears what was not flushed, and nothing else. So behind the first unsound record there is at most what one life can have written and
//! not flushed, and all of it lies within a known reach. Two things prove that the log went on:
//!
//! - The ring of a killed process, which is whole and says how far the log went. What the ring lacks was written, and a kill takes nothing of that.
//! - A sound record of this log, at its own place, behind the reach. What a start finds within the reach it clears, and a recycled segment holds
//!   records of other places, so none can be left from an earlier end.
//!
//! The rest of the segment is not read from end to end: a start must not take a second for each gigabyte. Behind the reach records lie without a
//! gap if there are any, so a stretch without one and a look every few megabytes find what is not itself torn to pieces.

use bytes::Bytes;

use super::parse::{CLAIM_BYTES, CrcRule, Parsed, parse};
use super::{BLOCK, Recovery, RecoveryError, Step, floor, read};
use crate::limits::{COLD_BLOCK_BYTES, PREPARE_CHUNK_BYTES, PROBE_BYTES, PROBE_STRIDE_BYTES};
use crate::log::file::FileName;
use crate::model::LogOffset;
use crate::protocol::record::{FILLER_BYTES, find_claim, peek_size, peek_torn};

/// How far the search has come.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// What is looked through, and where it lies; a disk block's start.
    window: Bytes,
    window_at: LogOffset,
    /// First offset that was not looked at.
    at: LogOffset,
    /// A record that does not lie wholly in the window, and is being read.
    claim: Option<LogOffset>,
    /// End of the search without a gap.
    dense_end: LogOffset,
    has_begun: bool,
}

impl Recovery {
    /// First offset behind `end`, where the log is valid to, that no unflushed write of the last process reaches.
    ///
    /// What is flushed may end within a record, whose size is then known from its first bytes.
    pub(super) fn reach_of_unflushed(&self, end: LogOffset) -> LogOffset {
        let torn = self.torn.filter(|(at, _)| *at == end).map_or(BLOCK, |(_, bytes)| bytes);
        end.plus(torn + self.unflushed_max)
    }

    /// Looks for a proof that the log went on; without one, goes on to the ring.
    pub(super) fn look_beyond(&mut self) -> Result<Option<Step>, RecoveryError> {
        let (at, size) = (self.scan.at, self.settings.segment_bytes);
        if !self.beyond.has_begun {
            // Also with a ring: it may be that of a start which was killed before it had cleared what it found.
            self.note_torn();
        }
        if let Some(appended) = self.tail_appended {
            let ring_bytes = self.tail.as_ref().map_or(0, |tail| tail.len() as u64);
            if appended > at && appended.since(floor(at)) > ring_bytes {
                return Err(self.damaged(appended));
            }
            return self.take_tail().map(|()| None);
        }
        let segment = LogOffset(at.0 / size * size);
        let end = segment.plus(size);
        if !self.beyond.has_begun {
            let from = self.reach_of_unflushed(at);
            let dense_end = from.plus(PROBE_BYTES);
            self.beyond = Beyond { at: from, dense_end, has_begun: true, ..Beyond::default() };
        } else if let Some(data) = self.answer.take() {
            self.note_probe(data, end)?;
        }
        while let Some(found) = self.beyond.next_claim(end) {
            match self.beyond.parse(found, end) {
                Parsed::Record(view) => return Err(self.damaged(found.plus(u64::from(view.size)))),
                Parsed::Filler => return Err(self.damaged(end)),
                Parsed::Doubtful | Parsed::NoRecord => {}
                Parsed::More => {
                    let from = floor(found);
                    let whole = found.plus(self.beyond.claimed_size(found)).min(end);
                    self.beyond.claim = Some(found);
                    let len = whole.0.next_multiple_of(BLOCK) - from.0;
                    return Ok(Some(read(FileName::Segment(segment), from.since(segment), len)));
                }
            }
        }
        let from = floor(self.beyond.at);
        if from >= end {
            return self.take_tail().map(|()| None);
        }
        let most = if self.beyond.at < self.beyond.dense_end { PREPARE_CHUNK_BYTES } else { COLD_BLOCK_BYTES };
        Ok(Some(read(FileName::Segment(segment), from.since(segment), most.min(end.since(from)))))
    }

    /// Notes how long the record is that is cut by the end of what is valid, if that can be told.
    fn note_torn(&mut self) {
        let (at, size) = (self.scan.at, self.settings.segment_bytes);
        let from = usize::try_from(at.since(self.scan.window_at)).unwrap_or(usize::MAX);
        let bytes = self.scan.window.get(from..).unwrap_or_default();
        self.torn = Some((at, u64::from(peek_torn(bytes, at)).min(size - at.0 % size)));
    }

    fn note_probe(&mut self, data: Bytes, end: LogOffset) -> Result<(), RecoveryError> {
        if let Some(claim) = self.beyond.claim.take() {
            let from = usize::try_from(claim.since(floor(claim))).expect("less than a block");
            let bytes = data.get(from..).unwrap_or_default();
            return match parse(bytes, claim, end, CrcRule::Optional) {
                Parsed::Record(view) => Err(self.damaged(claim.plus(u64::from(view.size)))),
                Parsed::Filler => Err(self.damaged(end)),
                Parsed::Doubtful | Parsed::More | Parsed::NoRecord => Ok(()),
            };
        }
        if data.is_empty() {
            return Err(self.unreadable(self.beyond.at));
        }
        (self.beyond.window_at, self.beyond.window) = (floor(self.beyond.at), data);
        Ok(())
    }
}

impl Beyond {
    fn bytes(&self, at: LogOffset) -> &[u8] {
        let from = at.0.checked_sub(self.window_at.0).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.window.get(from..)).unwrap_or_default()
    }

    /// The next place in the window at which something claims to lie; at the end of the window, where to look next.
    fn next_claim(&mut self, end: LogOffset) -> Option<LogOffset> {
        let bytes = self.bytes(self.at);
        if let Some(last) = bytes.len().checked_sub(CLAIM_BYTES) {
            let found = find_claim(bytes, self.at).filter(|found| *found <= last);
            let from = self.at;
            self.at = from.plus(found.unwrap_or(last) as u64 + 1);
            if let Some(found) = found {
                return Some(from.plus(found as u64));
            }
        }
        let window_end = self.window_at.plus(self.window.len() as u64);
        if !self.window.is_empty() && window_end >= end {
            self.at = end;
        } else if !self.window.is_empty() && self.at >= self.dense_end {
            self.at = floor(self.at).plus(PROBE_STRIDE_BYTES);
        }
        self.window = Bytes::new();
        None
    }

    fn parse(&self, at: LogOffset, end: LogOffset) -> Parsed<'_> {
        parse(self.bytes(at), at, end, CrcRule::Optional)
    }

    fn claimed_size(&self, at: LogOffset) -> u64 {
        peek_size(self.bytes(at)).map_or(FILLER_BYTES as u64, u64::from)
    }
}
